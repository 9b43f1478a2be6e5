"""The plan: which items of work a study consists of, how they depend on each other, what is left.

Five kinds of item are stored: **weights** (a text head built or a recipe trained), **features**
(an encoder's on a split), **fit** (what was chosen on the selection split), **scale** (the
temperature of a row's predictions, found there) and **cell** (one metric of one row on one
evaluation set). Merges are made in memory inside the forwards that need
them. `plan` is pure: it opens no image and loads no model. What stage 2 needs is known exactly
once stage 1 is fitted; before that a row's stand-in is its middle candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from bench.api.dataset import Shift
from bench.api.method import Choice, Method, Models
from bench.api.metrics import ACCURACY, Metric, extra_metrics
from bench.api.recipes import (
    Encoder,
    External,
    Fisher,
    Head,
    Merged,
    Recipe,
    TextHead,
    Tuned,
    backbone_of,
    encoder_of,
    features_key,
    head_of,
    needs_outputs,
    normalizes,
    weights_key,
)
from bench.api.splits import Split
from bench.core.errors import InputError
from bench.core.hashing import canonical, key_of
from bench.core.store import Store
from bench.leaderboard import samples
from bench.runs.figure_data import FIGURES, Figure
from bench.runs.study.rows import Row
from bench.runs.study.study import Study

CELL = 2
"""Version of what is stored of a cell; raised when it holds something else."""


@dataclass(frozen=True)
class WorkItem:
    """One piece of work: the key of its output and the keys of what it reads."""

    key: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class WeightsItem(WorkItem):
    """Build a zero-shot head from the text tower, train a recipe, or find a Fisher information."""

    recipe: TextHead | Tuned | Fisher
    train: Split
    selection: Split


@dataclass(frozen=True)
class FeaturesItem(WorkItem):
    """Run an encoder over a split with the evaluation transform."""

    encoder: Encoder
    split: Split


@dataclass(frozen=True)
class GivenItem(WorkItem):
    """Outputs that were computed elsewhere: nothing to do. `reason` if they do not suffice."""

    reason: str = ""


@dataclass(frozen=True)
class FitItem(WorkItem):
    """Fit a row on the training and selection splits and choose among its candidates."""

    row: Row
    seed: int | None
    models: Models


@dataclass(frozen=True)
class ScaleItem(WorkItem):
    """Find the temperature of a row's predictions, with its choice, on the selection split."""

    row: Row
    fit: FitItem
    choice: Choice


@dataclass(frozen=True)
class CellItem(WorkItem):
    """Measure a row, with one choice of its parameters, on one evaluation set.

    `fit` is the row's own, or that of the row whose fit it takes over; `scale` is there if its
    predictions are to be scaled by a temperature first. `metric` is a number or a figure.
    """

    row: Row
    fit: FitItem
    scale: ScaleItem | None
    choice: Choice
    chosen: bool
    shift: Shift
    metric: Metric | Figure

    @property
    def keeps_samples(self) -> bool:
        """Whether what it says of each sample is stored beside it (`bench.leaderboard.samples`)."""
        return self.chosen and self.scale is None and self.metric.name == ACCURACY.name


@dataclass(frozen=True)
class Plan:
    """All items of a study by key, in an order in which each comes after its inputs.

    `cells` are the cells of all records: a point of a curve and the chosen cell may be one item.
    `undecided` lists the fits whose outcome is not known yet, so that their cells are stand-ins;
    `first` those, and what else can be found on the selection split: the goals of stage 1.
    """

    study: Study
    items: Mapping[str, WorkItem]
    cells: tuple[CellItem, ...]
    undecided: tuple[FitItem, ...]
    first: tuple[WorkItem, ...]

    def of(self, *kinds: type[WorkItem]) -> list[WorkItem]:
        """The items of some kinds, in order."""
        return [item for item in self.items.values() if isinstance(item, kinds)]


def plan(study: Study, known: Callable[[str], Choice | None]) -> Plan:
    """The plan of a study; `known` looks up the choice stored under a fit's key, if any."""
    builder = _Builder(study)
    undecided: dict[str, FitItem] = {}
    for row, seed, models in study.entries():
        with _naming(row):
            fit = builder.fit(row.chooser, seed, models)
        choice = known(fit.key) if fit.inputs else fit.row.method.candidates()[0]
        if choice is None:
            undecided[fit.key] = fit
        with _naming(row):
            builder.cells(row, fit, choice)
    decided = [item for item in builder.scales if item.fit.key not in undecided]
    first = (*undecided.values(), *decided)
    return Plan(study, builder.items, tuple(builder.records), tuple(undecided.values()), first)


@contextmanager
def _naming(row: Row) -> Iterator[None]:
    """Put the row's name before what is refused of it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{row.name}: {error}") from error


class _Builder:
    """Collects items; each is added after its inputs."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.items: dict[str, WorkItem] = {}
        self.records: list[CellItem] = []
        self.scales: list[ScaleItem] = []

    def add(self, item: WorkItem) -> str:
        self.items.setdefault(item.key, item)
        return item.key

    def weights(self, recipe: Recipe | Encoder | Head | Fisher) -> list[str]:
        """The stored weights that `recipe` is made of."""
        match recipe:
            case Tuned():
                return [self.built(recipe, self.before(recipe))]
            case TextHead():
                return [self.built(recipe, [])]
            case Fisher():
                of = recipe.of
                return [
                    self.built(recipe, [*self.weights(encoder_of(of)), *self.weights(head_of(of))])
                ]
            case Merged():
                whole = (*recipe.parts, *recipe.fishers)
                return [key for part in whole for key in self.weights(part)]
            case _:
                return []

    def built(self, recipe: TextHead | Tuned | Fisher, before: list[str]) -> str:
        task = self.study.suite.task
        key = weights_key(recipe)
        return self.add(WeightsItem(key, tuple(before), recipe, task.train, task.selection))

    def before(self, recipe: Tuned) -> list[str]:
        """What a training reads: its start's weights, or the features its head is trained on."""
        task, trainer = self.study.suite.task, recipe.trainer
        encoder, head = encoder_of(recipe.start), self.weights(head_of(recipe.start))
        if trainer.tunes_encoder:
            return [*self.weights(encoder), *head]
        read = (task.train, task.selection) if trainer.selects else (task.train,)
        return [*(self.features(encoder, split, trainer.precision) for split in read), *head]

    def features(self, encoder: Encoder, split: Split, precision: str) -> str:
        key = features_key(encoder, split.fingerprint, precision)
        return self.add(FeaturesItem(key, tuple(self.weights(encoder)), encoder, split))

    def outputs(self, recipe: Recipe, split: Split) -> list[str]:
        """What `recipe`'s logits on `split` are made of: features of its encoder, its head."""
        if needs_outputs(recipe):
            return [self.given(recipe, split)]
        normalizes(recipe), backbone_of(recipe)  # refuse merges of what does not fit together
        features = self.features(encoder_of(recipe), split, self.study.precision)
        return [features, *self.weights(head_of(recipe))]

    def given(self, recipe: Recipe, split: Split) -> str:
        """Outputs in the split's file, or an item that fails where they are no substitute."""
        encoder = encoder_of(recipe)
        if isinstance(encoder, External) and encoder.seed is None and encoder == head_of(recipe):
            return self.add(GivenItem(key_of("given", encoder, split.fingerprint), ()))
        reason = "not computable: it needs weights, and outputs have none"
        return self.add(GivenItem(key_of("not given"), (), reason))

    def fit(self, row: Row, seed: int | None, models: Models) -> FitItem:
        """The row's fit; without inputs, and not to be run, if there is nothing to fit."""
        method, task = row.method, self.study.suite.task
        inputs: list[str] = []
        if needs_fit(method):
            wanted = [r for c in method.candidates() for r in method.needs(models, c)]
            for recipe in dict.fromkeys(wanted):
                inputs += self.outputs(recipe, task.selection)
            for recipe in method.train_needs(models):
                inputs += self.outputs(recipe, task.train)
        rule, judge = method.own_rule or self.study.protocol.rule, self.study.primary_metric
        by = (rule,) if judge == ACCURACY else (rule, judge)
        chosen_by = (task.selection.fingerprint, *by) if inputs else None
        key = key_of("fit", _identity(row), models.zero_shot, models.base, inputs, chosen_by)
        item = FitItem(key, tuple(dict.fromkeys(inputs)), row, seed, models)
        if item.inputs:
            self.add(item)
        return item

    def cells(self, row: Row, fit: FitItem, choice: Choice | None) -> None:
        """The row's cells on every evaluation set: the chosen candidate's, and curves if asked."""
        study, method = self.study, row.method
        candidates = method.candidates()
        shown = choice if choice is not None else candidates[len(candidates) // 2]
        scaled = study.protocol.scaling != "none" and not study.suite.task.selection.absent
        scale = self.scale(row, fit, shown) if scaled else None
        figures = FIGURES if method.has_figures else ()
        for shift in study.suite.evaluations():
            metrics = (*study.metrics, *extra_metrics(shift.metrics))
            for measure in (*metrics, *figures):
                self.cell(row, fit, None, shown, True, shift, measure)
            for metric in study.metrics if scale is not None else ():
                self.cell(row, fit, scale, shown, True, shift, metric)
            for candidate in candidates if study.curves and has_curve(method) else ():
                for metric in metrics:
                    self.cell(row, fit, None, candidate, False, shift, metric)

    def scale(self, row: Row, fit: FitItem, choice: Choice) -> ScaleItem:
        """The temperature of a row's predictions."""
        selection = self.study.suite.task.selection
        inputs = self.read(row, fit, choice, selection)
        how = (selection.fingerprint, self.study.protocol.scaling)
        key = key_of("scale", _identity(row), fit.key, choice, inputs, how)
        item = ScaleItem(key, inputs, row, fit, choice)
        self.scales.append(item)
        self.add(item)
        return item

    def read(self, row: Row, fit: FitItem, choice: Choice, split: Split) -> tuple[str, ...]:
        """What a row's prediction on `split` is made of."""
        inputs: list[str] = [fit.key] if fit.inputs else []
        for recipe in row.method.needs(fit.models, choice):
            inputs += self.outputs(recipe, split)
        for recipe in row.method.train_needs(fit.models):
            inputs += self.outputs(recipe, self.study.suite.task.train)
        return tuple(dict.fromkeys(inputs))

    def cell(
        self,
        row: Row,
        fit: FitItem,
        scale: ScaleItem | None,
        choice: Choice,
        chosen: bool,
        shift: Shift,
        metric: Metric | Figure,
    ) -> None:
        """One cell; a curve's point at the chosen candidate is the chosen cell's item."""
        inputs = self.read(row, fit, choice, shift.split)
        inputs += () if scale is None else (scale.key,)
        key = key_of("cell", CELL, _identity(row), fit.key, choice, inputs, shift.labels, metric)
        item = CellItem(key, inputs, row, fit, scale, choice, chosen, shift, metric)
        self.records.append(item)
        self.add(item)


def _identity(row: Row) -> tuple[object, ...]:
    """What a row is, for keys: its name, too, as two plugins' classes may be called alike."""
    return (row.name, row.method)


def needs_fit(method: Method) -> bool:
    """Whether a method has anything to fit or to choose on the selection split."""
    return len(method.candidates()) > 1 or type(method).fit is not Method.fit


def has_curve(method: Method) -> bool:
    """Whether a method's candidates differ in one parameter, so that they make a curve."""
    return len(method.candidates()) > 1 and all(len(c) == 1 for c in method.candidates())


def is_stored(item: WorkItem, store: Store) -> bool:
    """Whether the item's output is in the store; small outputs are verified."""
    match item:
        case GivenItem():
            return not item.reason
        case WeightsItem():
            return store.has("weights", item.key)
        case FeaturesItem():
            return not store.blocks(item.key, item.split.size)
        case FitItem() | ScaleItem():
            return store.has("fits", item.key)
        case CellItem(keeps_samples=True, shift=shift):
            is_kept = samples.has_stored_samples(store, item.key, shift.split.fingerprint)
            return is_kept and store.read_cell(item.key) is not None
        case _:
            return store.read_cell(item.key) is not None


def pending(
    plan: Plan, store: Store, goals: Iterable[WorkItem] | None = None
) -> dict[str, WorkItem]:
    """The items still to be done, in order: those missing `goals` (default: all cells) need.

    An output that is absent but that nothing missing needs is not pending, so a store from which
    old features were deleted stays valid.
    """
    targets = plan.cells if goals is None else goals
    wanted: set[str] = set()
    queue = [item for item in targets if not is_stored(item, store)]
    while queue:
        item = queue.pop()
        if item.key in wanted:
            continue
        wanted.add(item.key)
        queue += [i for k in item.inputs if not is_stored(i := plan.items[k], store)]
    return {key: item for key, item in plan.items.items() if key in wanted}


def describe_plan(plan: Plan) -> list[dict[str, object]]:
    """The plan's items as plain data, for ``plan.json``."""
    return [_described(item) for item in plan.items.values()]


def _described(item: WorkItem) -> dict[str, object]:
    base: dict[str, object] = {"key": item.key, "inputs": list(item.inputs)}
    match item:
        case WeightsItem():
            kinds = {Tuned: "train", TextHead: "head", Fisher: "fisher"}
            kind = kinds[type(item.recipe)]
            return base | {"kind": kind, "recipe": canonical(item.recipe)}
        case FeaturesItem():
            return base | {"kind": "predict", "split": item.split.name, "rows": item.split.size}
        case FitItem():
            return base | {"kind": "fit", "row": item.row.name, "seed": item.seed}
        case ScaleItem():
            row = {"row": item.row.name, "seed": item.fit.seed}
            return base | {"kind": "scale"} | row | {"choice": dict(item.choice)}
        case CellItem():
            where = {"shift": item.shift.name, "metric": item.metric.name}
            row = {"row": item.row.name, "seed": item.fit.seed, "scaled": item.scale is not None}
            return base | {"kind": "score"} | row | where | {"choice": dict(item.choice)}
        case GivenItem():
            return base | {"kind": "given"}
        case _:
            return base
