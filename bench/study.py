"""A study: everything that determines the numbers of one suite with one backbone, as a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.dataset import Suite
from bench.errors import InputError
from bench.method import Method, Models
from bench.metrics import Metric
from bench.parameters import with_parameters
from bench.recipes import Backbone, Classifier, Pretrained, Recipe, TextHead, is_seeded
from bench.registry import find_method, methods


@dataclass(frozen=True)
class Row:
    """A leaderboard row: a method and, for ensembles, the base it is built on."""

    method: Method
    base: Method | None = None

    @property
    def name(self) -> str:
        """``METHOD`` or ``METHOD:BASE``, as on the command line."""
        return self.method.name if self.base is None else f"{self.method.name}:{self.base.name}"


@dataclass(frozen=True)
class Study:
    """One suite, one backbone, the rows to fill and how they are trained, chosen and measured.

    `rule` is the selection rule, `precision` that of evaluation forwards, `curves` whether every
    candidate of a row is evaluated on the shifts, `notes` the watermarks of every record.
    """

    suite: Suite
    backbone: Backbone
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    rule: str
    precision: str
    metrics: tuple[Metric, ...]
    curves: bool
    notes: tuple[str, ...] = ()

    @cached_property
    def zero_shot(self) -> Classifier:
        """The zero-shot classifier of the task."""
        task = self.suite.task
        head = TextHead(self.backbone, task.classnames, task.templates, precision=self.precision)
        return Classifier(Pretrained(self.backbone), head)

    def models(self, row: Row, seed: int) -> Models:
        """The recipes that `row` builds on with `seed`."""
        train = self.suite.task.train.fingerprint
        ground = Models(self.zero_shot, self.zero_shot, train, seed)
        if row.base is None:
            return ground
        base = row.base.recipe(ground)
        if not is_seeded(base):
            raise InputError(f"{row.name}: {row.base.name} is not fine-tuned and can be no base")
        return Models(self.zero_shot, base, train, seed)

    def entries(self) -> list[tuple[Row, int | None, Models]]:
        """(row, seed, models) for every row and seed; seed None, once, where no training enters."""
        found: list[tuple[Row, int | None, Models]] = []
        for row in self.rows:
            for seed in self.seeds:
                models = self.models(row, seed)
                if any(map(is_seeded, reads(row.method, models))):
                    found.append((row, seed, models))
                else:
                    found.append((row, None, models))
                    break
        return found


def reads(method: Method, models: Models) -> list[Recipe]:
    """Every recipe the method may read for any candidate, without repeats."""
    wanted = [r for choice in method.candidates() for r in method.needs(models, choice)]
    return list(dict.fromkeys([*wanted, *method.train_needs(models)]))


def parse_rows(
    names: Sequence[str],
    suite: Suite,
    overrides: Mapping[str, Mapping[str, Any]],
) -> tuple[Row, ...]:
    """Rows for names such as ``vrf``, ``wise-ft:lp-ft`` or ``all``, and the rows they build on.

    Hyper-parameters are the class's, then the suite's defaults, then `overrides`
    ({method: {parameter: value}}). Raises InputError for unknown names, parameters or values, for
    an override of a method that is not run, and for a base on a method that takes none.
    """
    wanted = [m for name in names for m in (methods() if name == "all" else [name])]
    rows: dict[str, Row] = {}
    for name in ["zero-shot", *wanted]:
        row = _row(name, suite, overrides)
        if row.base is not None:
            base = Row(row.base)
            rows.setdefault(base.name, base)
        rows.setdefault(row.name, row)
    used = {m.name for row in rows.values() for m in (row.method, row.base) if m is not None}
    for owner in overrides:
        find_method(owner)
        if owner not in used:
            raise InputError(f"--set {owner}: not among the methods of this run, {', '.join(rows)}")
    return tuple(rows.values())


def _row(name: str, suite: Suite, overrides: Mapping[str, Mapping[str, Any]]) -> Row:
    method_name, colon, base_name = name.partition(":")
    if colon and not base_name:
        raise InputError(f"method {name!r} names no base after the colon")
    method = configured(method_name, suite, overrides)
    if base_name and method.default_base is None:
        raise InputError(f"method {method_name!r} takes no base, got {name!r}")
    base_name = base_name or method.default_base or ""
    base = configured(base_name, suite, overrides) if base_name else None
    if base is not None and base.default_base is not None:
        raise InputError(f"{base_name!r} is an ensemble and can be no base, got {name!r}")
    return Row(method, base)


def configured(name: str, suite: Suite, overrides: Mapping[str, Mapping[str, Any]]) -> Method:
    """The method `name` with the suite's defaults and then `overrides` applied."""
    method = find_method(name)()
    for changes in (suite.defaults.get(name, {}), overrides.get(name, {})):
        method = with_parameters(method, changes, name)
    return method
