"""A study: all that determines the numbers of one suite with one backbone, as a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from bench.api.dataset import Suite
from bench.api.method import PROBE, Method, Models
from bench.api.metrics import ACCURACY, Metric, extra_metrics
from bench.api.protocol import Protocol
from bench.api.recipe_parts import is_tuned
from bench.api.recipes import Backbone, BlankHead, Classifier, Pretrained, Recipe, TextHead, Tuned
from bench.core.errors import InputError
from bench.runs.study.endpoints import Endpoints
from bench.runs.study.rows import Row


@dataclass(frozen=True)
class Study:
    """One suite, one backbone, and the rows with how they are trained, chosen and measured.

    `suite` has the splits that `protocol` requires. `precision` is that of forward passes for
    evaluation. `curves` states whether every candidate of a row is evaluated on the shifts. `notes`
    are the watermarks of every record. `endpoints` are the external classifiers, if any. `caveats`
    concern the run as a whole. `metrics` are measured of every candidate, `asked` of those
    that were chosen. `width` is the number of features of a backbone without a text tower, else
    None.
    """

    suite: Suite
    backbone: Backbone
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    protocol: Protocol
    precision: str
    metrics: tuple[Metric, ...]
    curves: bool
    notes: tuple[str, ...] = ()
    endpoints: Endpoints | None = None
    caveats: tuple[str, ...] = ()
    asked: tuple[Metric, ...] = ()
    width: int | None = None

    @property
    def model(self) -> str:
        """The name of the model in reports: the backbone's, or that of the external classifiers."""
        return self.endpoints.model if self.endpoints else str(self.backbone)

    @property
    def primary_metric(self) -> Metric:
        """The primary metric of the ID set, by which candidates are compared and chosen."""
        return next(iter(extra_metrics(self.suite.metrics[:1])), ACCURACY)

    @cached_property
    def zero_shot(self) -> Classifier:
        """The zero-shot classifier of the task; without a text tower, what trainings start from."""
        if self.endpoints is not None:
            return self.endpoints.zero_shot
        task = self.suite.task
        if self.width is not None:
            blank = BlankHead(self.backbone, len(task.classnames), self.width)
            return Classifier(Pretrained(self.backbone), blank)
        head = TextHead(self.backbone, task.classnames, task.templates, precision=self.precision)
        return Classifier(Pretrained(self.backbone), head)

    def models(self, row: Row, seed: int) -> Models:
        """Return the recipes that `row` builds on with `seed`. Raises InputError for a bad base."""
        task = self.suite.task
        ground = Models(
            zero_shot=self.zero_shot,
            base=self.zero_shot,
            train=task.train.fingerprint,
            selection=task.selection.fingerprint,
            seed=seed,
        )
        if row.base is None:
            return ground
        base = row.base.method.recipe(ground)
        if not is_tuned(base):
            raise InputError(f"{row.name}: {row.base.name} is not fine-tuned and cannot be a base")
        if self.width is not None:
            ground = replace(ground, zero_shot=self._first_training(row, base, ground))
        return replace(ground, base=base)

    def _first_training(self, row: Row, base: Recipe, ground: Models) -> Recipe:
        """Return what stands in for zero-shot beside `base`, for a backbone without a text tower.

        It is the training that `base` starts from, if it starts from one, else the linear row's.
        """
        if isinstance(base, Tuned) and is_tuned(base.start):
            return base.start
        for probe in self.rows:
            if probe.name == PROBE:
                return probe.method.recipe(ground)
        raise InputError(
            f"{row.name} has the row {PROBE} in place of zero-shot, whose settings are searched: "
            f"leave {PROBE} out of --tune, or name {row.label}:lp-ft"
        )

    def entries(self) -> list[tuple[Row, int | None, Models]]:
        """Return (row, seed, models) for every row and seed.

        A row that does not depend on the seed has one entry with seed None: nothing is trained for
        it, or it has seeds of its own.
        """
        found: list[tuple[Row, int | None, Models]] = []
        for row in self.rows:
            for seed in self.seeds:
                models, other = self.models(row, seed), self.models(row, seed + 1)
                if recipes_read(row.method, models) == recipes_read(row.method, other):
                    found.append((row, None, models))
                    break
                found.append((row, seed, models))
        return found


def recipes_read(method: Method, models: Models) -> list[Recipe]:
    """Return every recipe that the method may read for any candidate, without repeats."""
    wanted = [r for choice in method.candidates() for r in method.needs(models, choice)]
    return list(dict.fromkeys([*wanted, *method.train_needs(models)]))
