"""A study: everything that determines the numbers of one suite with one backbone, as a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from bench.api.dataset import Suite
from bench.api.method import Method, Models
from bench.api.metrics import ACCURACY, Metric, extra_metrics
from bench.api.protocol import Protocol
from bench.api.recipes import Backbone, Classifier, Pretrained, Recipe, TextHead, is_tuned
from bench.core.errors import InputError
from bench.runs.study.endpoints import Endpoints
from bench.runs.study.rows import Row


@dataclass(frozen=True)
class Study:
    """One suite, one backbone, the rows to fill and how they are trained, chosen and measured.

    `suite` is as `protocol` has it. `precision` is that of evaluation forwards, `curves` whether
    every candidate of a row is evaluated on the shifts, `notes` the watermarks of every record,
    `endpoints` the classifiers that were made elsewhere, if any.
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

    @property
    def model(self) -> str:
        """How reports name the model: the backbone, or whatever the classifiers are made of."""
        return self.endpoints.model if self.endpoints else str(self.backbone)

    @property
    def primary_metric(self) -> Metric:
        """What candidates are compared by on the selection split: what the ID set is judged by."""
        return next(iter(extra_metrics(self.suite.metrics[:1])), ACCURACY)

    @cached_property
    def zero_shot(self) -> Classifier:
        """The zero-shot classifier of the task."""
        if self.endpoints is not None:
            return self.endpoints.zero_shot
        task = self.suite.task
        head = TextHead(self.backbone, task.classnames, task.templates, precision=self.precision)
        return Classifier(Pretrained(self.backbone), head)

    def models(self, row: Row, seed: int) -> Models:
        """The recipes that `row` builds on with `seed`."""
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
            raise InputError(f"{row.name}: {row.base.name} is not fine-tuned and can be no base")
        return replace(ground, base=base)

    def entries(self) -> list[tuple[Row, int | None, Models]]:
        """(row, seed, models) for every row and seed; seed None, once, where it changes nothing.

        That is where no training enters, and where a row names its own seeds.
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
    """Every recipe the method may read for any candidate, without repeats."""
    wanted = [r for choice in method.candidates() for r in method.needs(models, choice)]
    return list(dict.fromkeys([*wanted, *method.train_needs(models)]))
