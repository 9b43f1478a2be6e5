"""The work items of a plan: what is computed and stored under one key, with the keys it reads."""

from __future__ import annotations

import io
import itertools
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.api.dataset import Shift
from bench.api.method import Choice, Models
from bench.api.metrics import ACCURACY, Metric
from bench.api.recipe_parts import weights_key
from bench.api.recipes import Encoder, Fisher, TextHead, Tuned
from bench.api.splits import Split
from bench.core.errors import InputError
from bench.core.hashing import canonical_json
from bench.core.store import Store
from bench.leaderboard import samples
from bench.runs.results.figure_data import Figure
from bench.runs.study.rows import Row


@dataclass(frozen=True)
class WorkItem:
    """One piece of work: the key of its output and the keys of its inputs."""

    key: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class WeightsItem(WorkItem):
    """Build a zero-shot head from the text tower, train a recipe or estimate Fisher information."""

    recipe: TextHead | Tuned | Fisher
    train: Split
    selection: Split

    @property
    def made_by(self) -> str:
        """The key of what is computed: weights of several epochs come from one training."""
        return weights_key(self.recipe.training) if isinstance(self.recipe, Tuned) else self.key


@dataclass(frozen=True)
class FeaturesItem(WorkItem):
    """Run an encoder over a split with the evaluation transform."""

    encoder: Encoder
    split: Split


@dataclass(frozen=True)
class GivenItem(WorkItem):
    """External outputs: nothing to compute. `reason` says why, if they do not suffice."""

    reason: str = ""


@dataclass(frozen=True)
class FitItem(WorkItem):
    """Fit a row on the training and selection splits and choose one of its candidates.

    `closer` are the candidates near the one that an earlier fit chose (`Method.closer`).
    """

    row: Row
    seed: int | None
    models: Models
    closer: tuple[Choice, ...] = ()


@dataclass(frozen=True)
class ScaleItem(WorkItem):
    """Find, on the selection split, the temperature for a row's predictions with its choice."""

    row: Row
    fit: FitItem
    choice: Choice


@dataclass(frozen=True)
class CellItem(WorkItem):
    """Measure a row, with one choice of its parameters, on one evaluation set.

    `fit` is the row's own fit or that of its chooser row. With a `scale`, predictions are first
    divided by its temperature. `chosen` is False for the other points of a candidate curve.
    `metric` measures a number or a figure. Cells of one row, seed and evaluation set are stored
    together, in a `pack`.
    """

    pack: str
    row: Row
    fit: FitItem
    scale: ScaleItem | None
    choice: Choice
    chosen: bool
    shift: Shift
    metric: Metric | Figure

    @property
    def kind(self) -> Literal["cell", "scaled", "curve", "figure"]:
        """The kind of its record (`bench.core.records.Record`)."""
        if isinstance(self.metric, Figure):
            return "figure"
        if not self.chosen:
            return "curve"
        return "cell" if self.scale is None else "scaled"

    @property
    def name(self) -> str:
        """What it adds to its row on its set, as in `bench.core.records.MissingCell.lacking`."""
        candidate = f" {canonical_json(dict(self.choice))}" if self.kind == "curve" else ""
        metric = self.metric.name
        return metric if self.kind == "cell" else f"{self.kind}{candidate} {metric}"

    @property
    def keeps_samples(self) -> bool:
        """Whether per-sample outputs are stored with the cell (`bench.leaderboard.samples`)."""
        return self.chosen and self.scale is None and self.metric.name == ACCURACY.name


def is_stored(item: WorkItem, store: Store) -> bool:
    """Return whether the item's output is in the store; small outputs are verified."""
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
            has_samples = samples.has_stored_samples(store, item.key, shift.split.fingerprint)
            return has_samples and store.read_cell(item.pack, item.key) is not None
        case CellItem():
            return store.read_cell(item.pack, item.key) is not None
        case _:
            raise TypeError(item)


def pack_items(items: Sequence[WorkItem]) -> bytes:
    """Return items for another process of the same run: pickled, with splits by fingerprint."""
    found = io.BytesIO()
    _Pickler(found).dump(list(items))
    return found.getvalue()


def unpack_items(packed: bytes, splits: Iterable[Split]) -> list[WorkItem]:
    """Return the items of `pack_items` with this process's splits.

    Raises InputError for a split that it lacks.
    """
    unpickler = pickle.Unpickler(io.BytesIO(packed))
    known = {split.fingerprint: split for split in splits}

    def split_of(place: tuple[str, str]) -> Split:
        name, fingerprint = place
        if fingerprint not in known:
            raise InputError(
                f"{name} differs between the processes of this run: give all of them the same "
                "data and the same cache folder"
            )
        return known[fingerprint]

    unpickler.persistent_load = split_of  # type: ignore[method-assign]
    found: list[WorkItem] = unpickler.load()
    return found


class _Pickler(pickle.Pickler):
    """Splits open files of their machine, by functions that cannot be sent."""

    def persistent_id(self, value: Any) -> tuple[str, str] | None:
        return (value.name, value.fingerprint) if isinstance(value, Split) else None


def by_split(items: Iterable[WorkItem]) -> list[list[FeaturesItem]]:
    """Group the features items by split, in the order in which the splits first appear."""
    features = [i for i in items if isinstance(i, FeaturesItem)]
    order = list(dict.fromkeys(i.split.fingerprint for i in features))
    ranked = sorted(features, key=lambda i: order.index(i.split.fingerprint))
    groups = itertools.groupby(ranked, key=lambda i: i.split.fingerprint)
    return [list(group) for _, group in groups]
