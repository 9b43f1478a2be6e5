"""The plan: the work items of a study, their dependencies, and which of them are pending.

Five kinds of item are stored: **weights** (a text head or a trained recipe), **features** (of an
encoder on a split), **fit** (the candidate chosen on the selection split), **scale** (the
temperature of a row's predictions, found on the selection split) and **cell** (one metric of one
row on one evaluation set). Merged weights are not stored: they are computed in memory for the
forward passes that need them. `make_plan` is pure: it opens no image and loads no model. What stage
2 needs is known only after the fits of stage 1; until then a row's middle candidate is a
placeholder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from bench.api.dataset import Shift
from bench.api.method import Choice, Models
from bench.api.metrics import ACCURACY, BY_CLASS, Metric, extra_metrics
from bench.api.recipe_parts import (
    backbone_of,
    encoder_of,
    features_key,
    head_of,
    needs_outputs,
    normalizes,
    weights_key,
)
from bench.api.recipes import Encoder, External, Fisher, Head, Merged, Recipe, TextHead, Tuned
from bench.api.splits import Split
from bench.core.errors import DataError, InputError
from bench.core.hashing import CanonicalText, key_of
from bench.models.sources.configurations import check_trainable
from bench.posthoc.calibrators import CALIBRATORS
from bench.runs.items import (
    CellItem,
    FeaturesItem,
    FitItem,
    GivenItem,
    ScaleItem,
    WeightsItem,
    WorkItem,
)
from bench.runs.results.figure_data import FIGURES, Figure
from bench.runs.results.redrawn import also_on_shifts
from bench.runs.study.rows import Row
from bench.runs.study.study import Study

CELL = 3
"""Version of the stored form of a cell; raised when that form changes."""

FIT = 2
"""Version of the stored form of a fit: 2 keeps what resamples of the selection split choose."""

SCALE = 2
"""Version of the search for a row's temperature; raised when it would find another one."""

W = TypeVar("W", bound=WorkItem)


@dataclass(frozen=True)
class Plan:
    """All items of a study by key, each after its inputs.

    `cells` has one cell per record; a point of a curve and the chosen cell may be the same item.
    `undecided` are the fits without a stored choice: the cells that depend on them are
    placeholders. `first` are the next goals: the undecided fits, without those of ensembles whose
    base is undecided itself, and all temperatures whose choice is known.
    """

    study: Study
    items: Mapping[str, WorkItem]
    cells: tuple[CellItem, ...]
    undecided: tuple[FitItem, ...]
    first: tuple[WorkItem, ...]

    def of(self, *kinds: type[W]) -> list[W]:
        """Return the items of these classes, in order."""
        return [item for item in self.items.values() if isinstance(item, kinds)]


def make_plan(study: Study, known: Callable[[str], Choice | None]) -> Plan:
    """Return the plan of a study.

    `known` returns the choice stored under a fit's key, or None. Raises InputError, prefixed with
    the row's name, if a row cannot be planned.
    """
    builder = _Builder(study)
    undecided: dict[str, FitItem] = {}
    waiting: set[str] = set()
    for row, seed, models in study.entries():
        with _row_named_in_errors(row):
            base = builder.base(row, seed, models, known)
            models = models if base is None else replace(models, base=base)
            is_known, chosen = base is not None, None
            for fit in builder.fits(row.chooser, seed, models, known):
                choice = known(fit.key) if fit.inputs else fit.row.method.candidates()[0]
                if choice is not None:
                    _check_choice(choice, fit)
                if choice is None or base is None:
                    undecided[fit.key] = fit
                if not is_known:
                    waiting.add(fit.key)
                is_known, chosen = is_known and choice is not None, choice or chosen
            builder.cells(row, fit, chosen)
    decided = [item for item in builder.scales if item.fit.key not in undecided]
    ready = [fit for key, fit in undecided.items() if key not in waiting]
    first = (*ready, *decided)
    return Plan(study, builder.items, tuple(builder.records), tuple(undecided.values()), first)


def _check_choice(choice: Choice, fit: FitItem) -> None:
    """Raise DataError if a stored choice has no settings of a fit's method."""
    if choice.keys() != fit.row.method.candidates()[0].keys():
        raise DataError(
            f"stored output fits/{fit.key} of {fit.row.name} chose other settings than the method "
            "has: remove it from the cache"
        )


@contextmanager
def _row_named_in_errors(row: Row) -> Iterator[None]:
    """Prefix the message of an InputError with the name of the row."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{row.name}: {error}") from error


class _Builder:
    """Collects the items of a plan; each is added after its inputs."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.items: dict[str, WorkItem] = {}
        self.records: list[CellItem] = []
        self.scales: list[ScaleItem] = []
        self.inputs: dict[tuple[int, str], list[str]] = {}
        self.needs: dict[object, tuple[Row, Models, tuple[Recipe, ...]]] = {}
        self.texts: dict[int, tuple[object, CanonicalText]] = {}

    def text(self, value: object) -> CanonicalText:
        """Return the text of a value that stays and is part of many keys."""
        return self._text_of(value, value)

    def identity(self, row: Row) -> CanonicalText:
        """Return what identifies a row in keys: also its name, as plugin classes may share one."""
        return self._text_of(row, (row.name, row.method))

    def _text_of(self, of: object, value: object) -> CanonicalText:
        if id(of) not in self.texts:  # which keeps it, so that its id stays its own
            self.texts[id(of)] = of, CanonicalText.of(value)
        return self.texts[id(of)][1]

    def add(self, item: WorkItem) -> str:
        """Add an item, unless one with its key exists, and return its key."""
        self.items.setdefault(item.key, item)
        return item.key

    def weights(self, recipe: Recipe | Encoder | Head | Fisher) -> list[str]:
        """Return the keys of the stored weights that `recipe` consists of."""
        match recipe:
            case Tuned() | TextHead() | Fisher():
                key = weights_key(recipe)
                if key not in self.items:
                    task, inputs = self.study.suite.task, tuple(self.weights_inputs(recipe))
                    self.add(WeightsItem(key, inputs, recipe, task.train, task.selection))
                return [key]
            case Merged():
                parts = (*recipe.parts, *recipe.fishers)
                return [key for part in parts for key in self.weights(part)]
            case _:
                return []

    def weights_inputs(self, recipe: TextHead | Tuned | Fisher) -> list[str]:
        """Return the keys that building `recipe` reads."""
        match recipe:
            case Tuned():
                return self.training_inputs(recipe)
            case Fisher(of=of):
                return [*self.weights(encoder_of(of)), *self.weights(head_of(of))]
        return []

    def training_inputs(self, recipe: Tuned) -> list[str]:
        """Return the keys a training run reads: its start's weights, or features for a head."""
        task, trainer = self.study.suite.task, recipe.trainer
        check_trainable(self.study.backbone, trainer)
        encoder, head = encoder_of(recipe.start), self.weights(head_of(recipe.start))
        if trainer.tunes_encoder:
            return [*self.weights(encoder), *head]
        read = (task.train, task.selection) if trainer.selects else (task.train,)
        return [*(self.features(encoder, split, trainer.precision) for split in read), *head]

    def features(self, encoder: Encoder, split: Split, precision: str) -> str:
        """Add the features of an encoder on a split and return their key."""
        key = features_key(encoder, split.fingerprint, precision)
        if key not in self.items:
            self.add(FeaturesItem(key, tuple(self.weights(encoder)), encoder, split))
        return key

    def outputs(self, recipe: Recipe, split: Split) -> list[str]:
        """Return the keys that `recipe`'s logits on `split` depend on: its features and head."""
        if needs_outputs(recipe):
            return [self.external(recipe, split)]
        normalizes(recipe), backbone_of(recipe)  # raise InputError for parts that cannot be merged
        features = self.features(encoder_of(recipe), split, self.study.precision)
        return [features, *self.weights(head_of(recipe))]

    def needed(self, row: Row, models: Models, choice: Choice) -> tuple[Recipe, ...]:
        """Return the recipes that a row with one choice needs, the same objects each time."""
        of = (id(row), id(models), *choice.items())
        if of not in self.needs:  # which keeps both, so that their ids stay their own
            self.needs[of] = row, models, row.method.needs(models, choice)
        return self.needs[of][-1]

    def read(self, recipes: Iterable[Recipe], split: Split) -> list[str]:
        """Return the keys that the logits of `needed` recipes on `split` depend on, each once."""
        found: dict[str, None] = {}
        for recipe in recipes:
            of = (id(recipe), split.fingerprint)  # `needs` keeps the recipe
            if of not in self.inputs:
                self.inputs[of] = self.outputs(recipe, split)
            found |= dict.fromkeys(self.inputs[of])
        return list(found)

    def external(self, recipe: Recipe, split: Split) -> str:
        """Add the outputs in the split's file, or an item that fails if weights are needed."""
        encoder = encoder_of(recipe)
        if isinstance(encoder, External) and encoder.seed is None and encoder == head_of(recipe):
            return self.add(GivenItem(key_of("given", encoder, split.fingerprint), ()))
        reason = "not computable: the method needs model weights, but only outputs were supplied"
        return self.add(GivenItem(key_of("not given"), (), reason))

    def base(
        self, row: Row, seed: int | None, models: Models, known: Callable[[str], Choice | None]
    ) -> Recipe | None:
        """Return the base that a row is built on; None if its settings are still to be chosen."""
        if row.base is None or not row.base.fits:
            return models.base
        ground = self.study.models(row.base, models.seed)
        choice = known(self.fit(row.base, models.seed if seed is None else seed, ground).key)
        return None if choice is None else row.base.method.needs(ground, choice)[0]

    def fits(
        self, row: Row, seed: int | None, models: Models, known: Callable[[str], Choice | None]
    ) -> Iterator[FitItem]:
        """Yield the row's fit and, if its method wants to look closer, the one that does.

        Until the first choice is known, the middle candidate stands for it.
        """
        first = self.fit(row, seed, models)
        yield first
        candidates = row.method.candidates()
        if first.inputs and len(candidates) > 1:
            chosen = known(first.key) or candidates[len(candidates) // 2]
            if closer := row.method.closer(chosen):
                yield self.fit(row, seed, models, closer, (first.key,))

    def fit(
        self,
        row: Row,
        seed: int | None,
        models: Models,
        closer: tuple[Choice, ...] = (),
        after: tuple[str, ...] = (),
    ) -> FitItem:
        """Return the row's fit; it has no inputs and is not added if there is nothing to fit.

        `closer` are further candidates, which depend on the fits `after` which they come.
        """
        method, task = row.method, self.study.suite.task
        inputs: list[str] = []
        if row.fits:
            candidates = (*method.candidates(), *closer)
            wanted = [r for c in candidates for r in self.needed(row, models, c)]
            for recipe in dict.fromkeys(wanted):
                inputs += self.outputs(recipe, task.selection)
            for recipe in method.train_needs(models):
                inputs += self.outputs(recipe, task.train)
        rule, primary = method.own_rule or self.study.protocol.rule, self.study.primary_metric
        by = (rule,) if primary == ACCURACY else (rule, primary)
        chosen_by = (task.selection.fingerprint, *by) if inputs else None
        more = (closer,) if closer else ()
        key = key_of(
            "fit", FIT, self.identity(row), models.zero_shot, models.base, inputs, chosen_by, *more
        )
        item = FitItem(key, tuple(dict.fromkeys((*inputs, *after))), row, seed, models, closer)
        if item.inputs:
            self.add(item)
        return item

    def cells(self, row: Row, fit: FitItem, choice: Choice | None) -> None:
        """Add the row's cells on every evaluation set; with curves, those of all candidates too."""
        study, method = self.study, row.method
        candidates, curve = method.candidates(), method.curve() if study.curves else ()
        chosen = choice if choice is not None else candidates[len(candidates) // 2]
        scaled = study.protocol.scaling != "none" and not study.suite.task.selection.absent
        scale = self.scale(row, fit, chosen) if scaled else None
        reorders = study.protocol.scaling in CALIBRATORS
        figures = FIGURES if method.has_figures else ()
        others = also_on_shifts(fit, study.curves)  # which other draws would have chosen
        more = {id(r): r for c in others for r in self.needed(row, fit.models, c)}.values()
        for shift in study.suite.evaluations():
            metrics = (*study.metrics, *extra_metrics(shift.metrics))
            column = self.column(row, fit, chosen, shift, more)
            self.measured(column, None, chosen, True, (*metrics, *study.asked, *figures))
            if scale is not None:
                changed = (m for m in study.asked if reorders or m.name not in BY_CLASS)
                self.measured(column, scale, chosen, True, (*study.metrics, *changed))
            for candidate in curve:
                self.measured(column, None, candidate, False, metrics)

    def scale(self, row: Row, fit: FitItem, choice: Choice) -> ScaleItem:
        """Add the item that finds the temperature, or other calibration, of a row's predictions."""
        selection = self.study.suite.task.selection
        inputs = self.prediction_inputs(row, fit, choice, selection)
        how = (selection.fingerprint, self.study.protocol.scaling)
        key = key_of("scale", SCALE, self.identity(row), fit.key, choice, inputs, how)
        item = ScaleItem(key, inputs, row, fit, choice)
        self.scales.append(item)
        self.add(item)
        return item

    def prediction_inputs(
        self, row: Row, fit: FitItem, choice: Choice, split: Split
    ) -> tuple[str, ...]:
        """Return the keys that a row's prediction on `split` depends on."""
        inputs = [fit.key] if fit.inputs else []
        inputs += self.read(self.needed(row, fit.models, choice), split)
        for recipe in row.method.train_needs(fit.models):
            inputs += self.outputs(recipe, self.study.suite.task.train)
        return tuple(dict.fromkeys(inputs))

    def column(
        self, row: Row, fit: FitItem, decided: Choice, shift: Shift, more: Iterable[Recipe]
    ) -> _Column:
        """Return what the cells of a row on one evaluation set share."""
        identity, labels = self.identity(row), self.text(shift.labels)
        # Rows without a base have one fit for all seeds, as there is nothing to fit.
        place = (identity, fit.key, fit.seed, shift.split.fingerprint, labels)
        pack = key_of("cells", CELL, *place)
        return _Column(row, fit, decided, shift, more, pack, identity, labels)

    def measured(
        self,
        at: _Column,
        scale: ScaleItem | None,
        choice: Choice,
        chosen: bool,
        metrics: Iterable[Metric | Figure],
    ) -> None:
        """Add the cells of one choice. A curve's point at the decided choice is the chosen cell."""
        own = self.prediction_inputs(at.row, at.fit, choice, at.shift.split)
        own += () if scale is None else (scale.key,)
        of_choice, of_own = self.text(choice), CanonicalText.of(own)
        for metric in metrics:
            inputs, read = own, of_own
            if metric == ACCURACY and scale is None and choice == at.decided:
                inputs = tuple(dict.fromkeys((*own, *self.read(at.more, at.shift.split))))
                read = CanonicalText.of(inputs)
            of = (at.identity, at.fit.key, of_choice, read, at.labels, self.text(metric))
            key = key_of("cell", CELL, *of)
            item = CellItem(
                key, inputs, at.pack, at.row, at.fit, scale, choice, chosen, at.shift, metric
            )
            self.records.append(item)
            self.add(item)


@dataclass(frozen=True)
class _Column:
    """What the cells of a row, seed and evaluation set share; `decided` is the row's choice.

    `more` are recipes whose outputs the cell of accuracy reads beside those of its prediction.
    """

    row: Row
    fit: FitItem
    decided: Choice
    shift: Shift
    more: Iterable[Recipe]
    pack: str
    identity: CanonicalText
    labels: CanonicalText
