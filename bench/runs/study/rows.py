"""Rows: the methods of a run with modifiers, bases and hyper-parameters, parsed from names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from bench.api.method import GROUPS, PROBE, ZERO_SHOT, Method, Models
from bench.api.protocol import CLEAN, Protocol
from bench.api.recipes import Recipe, Tuned
from bench.api.registry import find_method, methods
from bench.api.trainer import AtEpoch
from bench.core.errors import InputError, unknown_name
from bench.core.parameters import (
    parameters,
    pretraining_settings,
    suited_settings,
    with_parameters,
)
from bench.leaderboard.hyper_parameters import TUNED
from bench.runs.study.tuning import Tuning, searched

SMOOTHING = 0.1
"""The label smoothing of ``+ls``. The papers do not state the value of their rows."""


@dataclass(frozen=True)
class Row:
    """A leaderboard row: a method with its modifiers and, for ensembles, the base it is built on.

    Attributes
    ----------
    label : name of the row without its base: ``METHOD[@EPOCH][+ls[=VALUE]]``.
    title : name of the row on leaderboards, without its base.
    method : the method with its hyper-parameters.
    base : the row of the fine-tuned model that an ensemble is built on; None otherwise.
    """

    label: str
    title: str
    method: Method
    base: Row | None = None

    @property
    def name(self) -> str:
        """``METHOD`` or ``METHOD:BASE``, as on the command line."""
        return self.label if self.base is None else f"{self.label}:{self.base.name}"

    @property
    def chooser(self) -> Row:
        """The row whose fit and choice this row uses: usually itself."""
        method = self.method.chooser()
        return self if method is self.method else Row(method.name, method.title, method, self.base)

    @property
    def fits(self) -> bool:
        """Whether its method fits or chooses anything on the selection split."""
        return len(self.method.candidates()) > 1 or type(self.method).fit is not Method.fit


@dataclass(frozen=True)
class Checkpoint(Method):
    """``METHOD@EPOCH``: the weights of `method` after `epoch` epochs of its training."""

    kind: ClassVar[str] = "Checkpoint"
    name: ClassVar[str] = "checkpoint"
    version: ClassVar[int] = 1

    method: Method
    epoch: int

    def recipe(self, models: Models) -> Recipe:
        """Return the recipe that keeps the weights of the epoch. Raises InputError without it."""
        recipe = self.method.recipe(models)
        epochs = getattr(recipe.trainer, "epochs", 0) if isinstance(recipe, Tuned) else 0
        name = f"{self.method.name}@{self.epoch}"
        if isinstance(recipe, Tuned) and recipe.keep is not None:
            raise InputError(
                f"{name}: {self.method.name} is an average over epochs and has no checkpoints: use "
                f"{self.method.name}"
            )
        if not isinstance(recipe, Tuned) or self.epoch > epochs:
            valid = f"expected @1 to @{epochs}" if epochs else "leave @EPOCH out"
            raise InputError(f"{name}: {self.method.name} trains for {epochs} epochs: {valid}")
        return recipe if self.epoch == epochs else replace(recipe, keep=AtEpoch(self.epoch))


@dataclass(frozen=True)
class TrainingSize:
    """The data that recipes are fitted to: `images` for training, and whether the tower is small.

    Suites without settings of their own are trained so, except by ``--protocol official``.
    """

    images: int
    small: bool

    def changes(self, method: Method) -> dict[str, Any]:
        """Return the hyper-parameters of a method that follow from the data."""
        return suited_settings(method, self.images, small=self.small)


@dataclass(frozen=True)
class Settings:
    """The sources of hyper-parameters, each {method: {parameter: value}}, and what is searched.

    In increasing priority: the defaults of the method's class, what `protocol` sets on `task`, what
    follows from the training split's `size` if that is given and from the loss of the model's
    `pretraining`, the class's own for the suite named as the task, `suite`, and `overrides`.
    """

    protocol: Protocol = CLEAN
    task: str = ""
    suite: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    size: TrainingSize | None = None
    pretraining: str = "softmax"
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tuning: Tuning = field(default_factory=Tuning)

    def method(self, name: str) -> Method:
        """Return the configured method `name`. Raises InputError for unknown names or values."""
        method = find_method(name)()
        for changes in (
            self.protocol.changes(method, self.task),
            {} if self.size is None else self.size.changes(method),
            pretraining_settings(method, self.pretraining),
            method.defaults_on.get(self.task, {}),
            self.suite.get(name, {}),
            self.overrides.get(name, {}),
        ):
            method = with_parameters(method, changes, name)
        return method


def parse_rows(
    names: Sequence[str],
    settings: Settings,
) -> tuple[Row, ...]:
    """Return the rows, and their bases, for names such as ``vrf``, ``wise-ft:lp-ft+ls`` or ``all``.

    A name is ``METHOD[@EPOCH][+ls[=VALUE]]`` or, for ensembles, ``METHOD[:BASE]`` with a base of
    the first form; ``all`` and `GROUPS` stand for several. Modifiers of an ensemble apply to its
    base. The zero-shot row is always included. Raises InputError for unknown names, parameters or
    values, also in an override of a method that is not part of the run, and for a base of a method
    that takes none.
    """
    groups = {"all", *GROUPS}
    wanted = [m for name in names for m in (all_row_names(name) if name in groups else [name])]
    rows: dict[str, Row] = {}
    for name in [ZERO_SHOT, *wanted]:
        row = _row(name, settings)
        if row.base is not None:
            rows.setdefault(row.base.name, row.base)
        rows.setdefault(row.name, row)
    used = set(methods_of(tuple(rows.values())))
    for name in settings.tuning.methods:
        if name not in used:
            raise InputError(f"--tune {name}: {name} is not part of this run: add it to --methods")
    for owner in settings.overrides:
        if owner not in methods():
            valid = [*methods(), "protocol", "model"]
            raise unknown_name("method", owner, valid, "bench list methods")
        settings.method(owner)
    return tuple(rows.values())


def without_text(rows: Sequence[Row], model: str) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Return the rows that are possible for a `model` without a text tower, and a caveat.

    Raises InputError for ensembles, whose outputs are combined with those of zero-shot.
    """
    for row in rows:
        if row.method.group == "ensembles":
            raise InputError(
                f"{row.name} needs zero-shot, and {model} has no text tower: name other rows, such "
                "as --methods linear,e2e-ft,lp-ft,wise-ft:lp-ft"
            )
    return tuple(row for row in rows if row.name != ZERO_SHOT), (
        f"Zero-shot is not possible: {model} has no text tower. A merge has in its place the "
        f"linear classifier that the fine-tuned model started from, or that of the row {PROBE}.",
    )


def methods_of(rows: Sequence[Row]) -> set[str]:
    """Return the names of the methods of rows, without modifiers and bases."""
    return {re.split("[@+]", row.label)[0] for row in rows}


def control_names(rows: Sequence[Row]) -> list[str]:
    """Return the names of the controls of all `rows`, base by base, as their methods list them."""
    return [  # the base as it was asked for: what is tuned follows from the settings
        f"{control}:{row.base.name.removesuffix(TUNED)}" if row.base else control
        for row in rows
        for control in row.method.controls
    ]


def control_parameters(
    rows: Sequence[Row], overrides: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return the hyper-parameters of the controls of `rows`, {method: {parameter: value}}.

    A control must differ from the method that it checks in one respect only, so it takes over those
    `overrides` of that method that it has a hyper-parameter for.
    """
    found: dict[str, dict[str, Any]] = {}
    for method in {row.method.name: row.method for row in rows}.values():
        for control in method.controls:
            known = parameters(find_method(control)())
            own = overrides.get(method.name, {})
            shared = {name: value for name, value in own.items() if name in known}
            found[control] = found.get(control, {}) | shared
    return {control: changes for control, changes in found.items() if changes}


def all_row_names(group: str = "all") -> list[str]:
    """Return the row names of ``all``: every method with `in_all`; or those of one of `GROUPS`.

    Ensembles with `on_all_bases` are on every common base, others on their default base.
    """

    def is_in(name: str) -> bool:
        method = find_method(name.partition(":")[0])
        return group == "all" or (method.is_newer if group == "newer" else method().group == group)

    known = {name: cls for name, cls in methods().items() if cls.in_all}
    common = [name for name, cls in known.items() if cls.is_common_base]
    found = [name for name, cls in known.items() if cls.default_base is None]
    for name, cls in known.items():
        if cls.default_base is not None:
            bases = common if cls.on_all_bases else [cls.default_base]
            found += [f"{name}:{base}" for base in bases]
    return [name for name in found if is_in(name)]


def _row(name: str, settings: Settings) -> Row:
    own, colon, base = name.partition(":")
    if colon and not base:
        raise InputError(
            f"method {name!r} has no base after the colon: expected METHOD:BASE, such as vrf:lp-ft"
        )
    method_name = own.partition("+")[0].partition("@")[0]
    modifiers = own.removeprefix(method_name)
    default = find_method(method_name).default_base
    if default is None:
        if colon:
            raise InputError(f"method {method_name!r} takes no base, got {name!r}: use {own!r}")
        return _single_row(own, settings)
    if colon and modifiers:
        raise InputError(
            f"method {name!r}: {modifiers} applies to the base: write "
            f"{method_name}:{base}{modifiers}"
        )
    found = _single_row(base or f"{default}{modifiers}", settings)
    if found.method.default_base is not None:
        raise InputError(
            f"method {name!r}: {base!r} is an ensemble and cannot be a base: use a fine-tuned model"
        )
    method = settings.method(method_name)
    return Row(method_name, method.title, method, found)


def _single_row(name: str, settings: Settings) -> Row:
    """Return the row of ``METHOD[@EPOCH][+ls[=VALUE]]``, modifiers in any order; no ensembles."""
    method_name, *modifiers = re.split(r"(?=[@+])", name)
    method = settings.method(method_name)
    label, title = method_name, method.title
    for modifier in sorted(modifiers, reverse=True):
        if modifier[0] in label:
            raise InputError(f"method {name!r} has the modifier {modifier[0]} twice: give it once")
        if at := re.fullmatch(r"@([1-9]\d{0,5})", modifier):
            method, title = Checkpoint(method, int(at[1])), f"{title}, epoch {at[1]}"
        elif ls := re.fullmatch(r"\+ls(?:=(0?\.\d+))?", modifier):
            smoothing = float(ls[1] or SMOOTHING)
            method = _smoothed(method, smoothing, name)
            modifier = "+ls" if smoothing == SMOOTHING else f"+ls={smoothing:g}"
            title += " w/ LS" if smoothing == SMOOTHING else f" w/ LS {smoothing:g}"
        else:
            raise InputError(f"method {name!r}: expected @EPOCH, +ls or +ls=0.2, got {modifier!r}")
        label += modifier
    if method_name in settings.tuning.methods:
        if isinstance(method, Checkpoint):
            raise InputError(f"--tune {method_name}: {name!r} names an epoch: leave @EPOCH out")
        method = searched(method, settings.tuning.trials)
        label, title = f"{label}{TUNED}", f"{title}, tuned"
    return Row(label, title, method)


def _smoothed(method: Method, smoothing: float, name: str) -> Method:
    """Return the method with label smoothing in each of its training runs."""
    smoothed = [p for p in parameters(method) if p.rpartition(".")[2] == "smoothing"]
    if not smoothed:
        raise InputError(
            f"method {name!r}: no loss of the method supports label smoothing: leave +ls out"
        )
    return with_parameters(method, dict.fromkeys(smoothed, smoothing), name)
