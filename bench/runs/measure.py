"""Measurement of cells from stored outputs, and the records of cells.

Fits and temperatures are found on the selection split. A record holds its full provenance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.api.declarations import chosen_edges
from bench.api.method import Choice, Prediction
from bench.api.metrics import ACCURACY, Metric, correct, extra_metrics
from bench.api.recipe_parts import encoder_of, features_key, weights_key
from bench.api.recipes import Tuned
from bench.api.splits import Loaded, Manifest, Split
from bench.core.environment import environment
from bench.core.errors import CellError, InputError
from bench.core.hashing import canonical, canonical_json
from bench.core.progress import Progress
from bench.core.records import Record
from bench.core.store import MissingOutput, Store
from bench.leaderboard import samples
from bench.posthoc.redraws import choose_again, resample_counts
from bench.posthoc.remarks import collected
from bench.posthoc.selection import choose
from bench.runs.costs.counts import row_cost
from bench.runs.items import CellItem, FitItem, ScaleItem
from bench.runs.outputs import ArrayCache, LabelledStoredOutputs, StoredOutputs
from bench.runs.results.caveats import PlanCaveats, far_below_chance
from bench.runs.results.figure_data import Figure
from bench.runs.results.redrawn import redrawn_choices
from bench.runs.results.scaling import Scaling
from bench.runs.study.rows import Row
from bench.runs.study.study import Study
from bench.runs.study.tuning import Searched, trials_of

AT_END = 1e-5
"""Mean weights this close to 0 and 1 are those of an endpoint."""
PROBED = 64
"""The number of samples of a prediction whose probabilities are checked to sum to 1."""


Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Measurement:
    """The computations of a study on its store; `opened` returns a split with its manifest."""

    study: Study
    store: Store
    opened: Callable[[Split], Loaded]
    progress: Progress
    arrays: ArrayCache = field(default_factory=ArrayCache)

    def _labelled(self, split: Split) -> LabelledStoredOutputs:
        def labels() -> NDArray[np.int64]:
            return self.opened(split).manifest.first

        return LabelledStoredOutputs(
            self.store, self.arrays, split, self.study.precision, read_labels=labels
        )

    def fit(self, item: FitItem, failed: Container[str] = ()) -> None:
        """Fit a row and choose among its candidates on the selection split.

        Trials of a search whose outputs have `failed`, by key, cannot be chosen.
        """
        task, method = self.study.suite.task, item.row.method
        selection, train = self._labelled(task.selection), self._labelled(task.train)
        manifest, metric = self.opened(task.selection).manifest, self.study.primary_metric
        scores, weights = [], []
        with self.progress.task(f"fit {item.row.name}", 1), _cell_errors(), collected() as caveats:
            fitted = method.fit(item.models, selection, train)
        candidates = (*method.candidates_of(fitted), *item.closer)
        # Another trial of a search has no outputs on the shifts, so nothing is chosen again.
        again = metric == ACCURACY and len(candidates) > 1 and not isinstance(method, Searched)
        size, split = task.selection.size, task.selection.fingerprint
        counts = resample_counts(size, split) if again else None
        resampled: list[tuple[Floats, Floats]] = []
        label = f"choose for {item.row.name}"
        with self.progress.task(label, len(candidates)) as progress, _cell_errors():
            left = [c for c in candidates if not self._lost(item, c, failed)]
            if not left:
                raise CellError("all trials diverged: use a smaller lr as the default")
            predictions = method.predict(item.models, fitted, selection, train, left)
            found = _checked(predictions, method.name, len(left))
            for candidate in candidates:
                if candidate not in left:
                    scores.append(-math.inf)
                    weights.append(0.0)
                    continue
                p = next(found)
                scores.append(metric(p.log_probs, manifest))
                weights.append(float(np.mean(p.weight)))
                if counts is not None:
                    weight = np.broadcast_to(np.asarray(p.weight, np.float64), len(manifest))
                    right = correct(p.log_probs, manifest).astype(np.float64)
                    resampled.append((counts @ right, counts @ weight))
                progress.advance(1)
            next(found, None)  # which checks that there are no more
        rule = self.study.protocol.rule
        chosen_by = partial(method.choose, rule=partial(choose, rule=rule))
        best = chosen_by(scores, weights)
        note: dict[str, Any] = {
            "choice": dict(candidates[best]),
            "chosen_on": {
                "split": task.selection.name,
                "n": task.selection.size,
                "rule": method.own_rule or rule,
                metric.name: scores[best],
                "weight": weights[best],
                "candidates": len(candidates),
            },
        }
        if counts is not None:
            rights, means = (np.array(f) / size for f in zip(*resampled, strict=True))
            # Sums of weights are rounded as the memory lies; ties must not depend on it.
            index = choose_again(chosen_by, rights, means.round(9))
            note["redrawn"] = [dict(candidates[i]) for i in index]
        if isinstance(method, Searched):
            costs = [row_cost(method, item.models, c, task.train.size) for c in candidates]
            note["chosen_on"] |= {"trials": trials_of(method, scores, costs)}
        # An ensemble that is one of its endpoints is so with any other b.
        is_endpoint = method.default_base is not None and not AT_END < weights[best] < 1 - AT_END
        edges = [] if is_endpoint else chosen_edges(method, candidates[best])
        note |= {"caveats": [*caveats, *edges]}
        self.store.write_arrays("fits", item.key, fitted, note)

    def _lost(self, item: FitItem, candidate: Choice, failed: Container[str]) -> bool:
        """Whether a trial of a search has no outputs on the selection split, as it diverged."""
        if not isinstance(item.row.method, Searched):
            return False
        (recipe,) = item.row.method.needs(item.models, candidate)
        split, precision = self.study.suite.task.selection, self.study.precision
        return features_key(encoder_of(recipe), split.fingerprint, precision) in failed

    def scale(self, item: ScaleItem) -> None:
        """Fit the temperature, or other calibration, of a row's predictions."""
        task = self.study.suite.task
        selection = self._labelled(task.selection)
        with self.progress.task(f"find temperature of {item.row.name}", 1), _cell_errors():
            (prediction,) = self.predicted(item.row, item.fit, selection, [item.choice])
            self._scaling.fit(item.key, prediction.log_probs, selection.labels, task.selection.name)

    @property
    def _scaling(self) -> Scaling:
        return Scaling(self.study.protocol.scaling, self.store, self.arrays)

    def _over_task(self, cell: CellItem) -> Floats:
        """Return what a cell's row predicts on its set over the task's classes."""
        outputs = StoredOutputs(self.store, self.arrays, cell.shift.split, self.study.precision)
        (found,) = self.predicted(cell.row, cell.fit, outputs, [cell.choice])
        return found.log_probs

    def predicted(
        self, row: Row, fit: FitItem, outputs: StoredOutputs, choices: Sequence[Choice]
    ) -> Iterator[Prediction]:
        """Return one prediction per choice on a split, from stored outputs and the row's fit.

        Raises MissingOutput if the fit is absent or damaged.
        """
        fitted = self.store.read_arrays("fits", fit.key) if fit.inputs else {}
        if fitted is None:
            raise MissingOutput(f"fit {fit.key} of {row.name}")
        train = self._labelled(self.study.suite.task.train)
        predictions = row.method.predict(fit.models, fitted, outputs, train, choices)
        return _checked(predictions, row.name, len(choices))

    def score(
        self, cells: Sequence[CellItem], attempt: Callable[[CellItem, Callable[[], None]], None]
    ) -> None:
        """Measure the cells of a pack, each in its own `attempt`, and store what was measured."""
        measured: dict[str, Measured] = {}
        try:
            self._score(cells, attempt, measured)
        finally:
            self.store.write_cells(cells[0].pack, measured)

    def _score(
        self,
        cells: Sequence[CellItem],
        attempt: Callable[[CellItem, Callable[[], None]], None],
        measured: dict[str, Measured],
    ) -> None:
        row, fit, shift = cells[0].row, cells[0].fit, cells[0].shift
        self.arrays.measure(shift.split.fingerprint)
        outputs = StoredOutputs(
            self.store, self.arrays, shift.split, self.study.precision, shift.labels
        )
        manifest = self.opened(shift.split).manifest
        kept = next((c for c in cells if c.keeps_samples and c.fit.inputs), None)
        note = self.store.read_note("fits", fit.key) if kept else None
        redrawn = redrawn_choices(kept, note, self.study.curves) if kept and note else None
        others = redrawn.choices if redrawn else ()
        primary = next(iter(extra_metrics([shift.primary_metric])), ACCURACY)
        groups: dict[str, list[CellItem]] = {repr(choice): [] for choice in others}
        for cell in cells:
            groups.setdefault(repr(cell.choice), []).append(cell)
        # The cell with samples comes last, as it also keeps the values of all others.
        choices = {repr(choice): choice for choice in (*others, *(c.choice for c in cells))}
        values: dict[str, float] = {}
        last: Prediction | None = None
        label = f"measure {row.name} on {shift.name}"
        with self.progress.task(label, len(choices)) as progress, _cell_errors():
            predictions = self.predicted(row, fit, outputs, list(choices.values()))
            for name, prediction in zip(choices, predictions, strict=True):
                if len(values) < len(others):
                    values[name] = primary(prediction.log_probs, manifest)
                for cell in groups[name]:
                    if cell is kept:
                        last = prediction
                    else:
                        attempt(cell, partial(self._measure, measured, cell, prediction, manifest))
                progress.advance(1)
            if kept is not None and last is not None:
                again = np.array(list(values.values()))[redrawn.places] if redrawn else None
                attempt(kept, partial(self._measure, measured, kept, last, manifest, again))

    def _measure(
        self,
        found: dict[str, Measured],
        cell: CellItem,
        prediction: Prediction,
        manifest: Manifest,
        redrawn: Floats | None = None,
    ) -> None:
        data = temperature = None
        with _cell_errors():
            log_probs = prediction.log_probs
            if cell.scale is not None:
                log_probs, temperature = self._scaling.apply(
                    cell.scale.key,
                    log_probs,
                    cell.pack,
                    cell.shift.labels,
                    partial(self._over_task, cell),
                )
            if isinstance(cell.metric, Figure):
                measured, data = cell.metric.function(prediction, manifest)
            else:
                measured = cell.metric(log_probs, manifest)
        value: dict[str, object] = {
            "value": measured,
            "data": data,
            "temperature": temperature,
            "trained": self._chosen_in_training(cell),
            "weight": float(np.mean(prediction.weight)),
            "n": len(manifest),
            "environment": environment(),
            "devices": sorted({d for k in cell.inputs if (d := self.store.device(k))}),
        }
        if cell.keeps_samples and isinstance(measured, float):  # the accuracy
            classes, name = log_probs.shape[1], cell.shift.name
            value["caveats"] = far_below_chance(measured, len(manifest), classes, name)
        if cell.keeps_samples:
            split = cell.shift.split.fingerprint
            samples.store_samples(self.store, cell.key, split, log_probs, manifest, redrawn)
        try:
            canonical_json(value)
        except ValueError as error:  # else it would fail all cells of the pack
            raise CellError(f"{cell.metric.name} of {cell.row.name} is not finite") from error
        found[cell.key] = value
        if cell.chosen and cell.scale is None and isinstance(cell.metric, Metric):
            self.progress.measured(self.record(cell, value))

    def _chosen_in_training(self, cell: CellItem) -> dict[str, float]:
        """Return what the row's own training run chose on the selection split, such as C."""
        needs = cell.row.method.needs(cell.fit.models, cell.choice)
        chosen: dict[str, float] = {}
        for recipe in needs if cell.row.base is None else ():
            if isinstance(recipe, Tuned) and recipe.trainer.selects:
                arrays = self.store.read_arrays("weights", weights_key(recipe)) or {}
                named = {n: a for n, a in arrays.items() if n.startswith("chosen.")}
                chosen |= {n.removeprefix("chosen."): float(a[0]) for n, a in named.items()}
        return chosen

    def record(self, cell: CellItem, value: Measured, known: PlanCaveats | None = None) -> Record:
        """Return the record of a cell with its stored value and what is `known` of its inputs."""
        note = self.store.read_note("fits", cell.fit.key) if cell.fit.inputs else None
        record = record_of(self.study, cell, value, note)
        if known is None or "inputs" not in record.provenance:
            return record
        own = value.get("caveats", ())
        more = {"preprocessing": known.preprocessing, "caveats": known.of(cell, own)}
        provenance = record.provenance | {name: fact for name, fact in more.items() if fact}
        return record.model_copy(update={"provenance": provenance})


@contextmanager
def _cell_errors() -> Iterator[None]:
    """Turn an InputError of a method's or metric's own computation into a failed cell."""
    try:
        yield
    except InputError as error:
        raise CellError(str(error)) from error


Measured = Mapping[str, Any]
"""What the store holds of a cell: its value and the facts measured with it."""


def record_of(study: Study, cell: CellItem, value: Measured, fitted: Measured | None) -> Record:
    """Return the record of a measured cell; `fitted` is the note stored with its fit, if any."""
    kind = cell.kind
    provenance: dict[str, object] = {"key": cell.key}
    if kind == "cell":  # curves and scaled cells share the provenance of the cell
        provenance |= _provenance(study, cell, value)
    return Record.model_validate(
        address_of(study, cell)
        | {
            "metric": cell.metric.name,
            "value": value["value"],
            "n": value["n"],
            "kind": kind,
            "temperature": value["temperature"],
            "data": value["data"],
            "choice": dict(cell.choice) | value["trained"],
            "chosen_on": fitted["chosen_on"] if fitted and cell.chosen else None,
            "weight": None if cell.row.base is None else value["weight"],
            "provenance": provenance,
        }
    )


def address_of(study: Study, cell: CellItem) -> dict[str, object]:
    """Return the fields that identify a cell; records and missing cells share them."""
    row = cell.row
    return {
        "suite": study.suite.name,
        "model": study.model,
        "method": row.label,
        "base": None if row.base is None else row.base.name,
        "title": row.title,
        "seed": cell.fit.seed,
        "shift": cell.shift.name,
        "order": study.suite.position(cell.shift.name),
        "shifts_in_suite": study.suite.averaged,
        "notes": study.notes,
        "protocol": study.protocol.name,
        "role": row.method.role,
        "primary_metric": cell.shift.primary_metric,
        "outside_mean": cell.shift.name in study.suite.outside_mean,
        "test_only": cell.shift.test_only,
    }


def _provenance(study: Study, cell: CellItem, value: Measured) -> dict[str, object]:
    """Return everything that determined a cell: arguments, keys, fingerprints, versions."""
    task = study.suite.task
    prompts = {"prompts": study.suite.prompts} if study.suite.prompts else {}
    return {
        "inputs": list(cell.inputs),
        "method": canonical(cell.row.method),
        "base": None if cell.row.base is None else canonical(cell.row.base.method),
        "backbone": canonical(study.backbone),
        "calibrated": cell.row.method.calibrated,
        "cost": row_cost(cell.row.method, cell.fit.models, cell.choice, task.train.size),
        "precision": study.precision,
        "protocol": canonical(study.protocol.facts()),
        "metric": canonical(cell.metric),
        "label_map": cell.shift.labels.relation,
        "data": {
            "train": task.train.fingerprint,
            "selection": task.selection.fingerprint,
            "evaluation": cell.shift.split.fingerprint,
        },
        "environment": value["environment"],
        "devices": value["devices"],
        **prompts,
    }


def _checked(predictions: Iterator[Prediction], row: str, count: int) -> Iterator[Prediction]:
    """Yield `count` predictions. Raise CellError for another number or wrong probabilities.

    Of each prediction, the first samples are looked at, which costs nothing.
    """
    seen = 0
    for prediction in predictions:
        seen += 1
        total = np.exp(prediction.log_probs[:PROBED].astype(np.float64)).sum(axis=1)
        if not np.allclose(total, 1, atol=1e-3):
            raise CellError(
                f"{row} predicted probabilities that sum to {total.min():.3g} to {total.max():.3g} "
                "over the classes, not to 1: log_probs must be log-probabilities"
            )
        yield prediction
    if seen != count:
        raise CellError(f"{row} yielded {seen} predictions for {count} choices")
