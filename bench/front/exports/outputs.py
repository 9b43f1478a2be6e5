"""``bench export RUN ROW --outputs``: the outputs of a row, as `bench score` reads them.

``outputs.yaml`` and its files have the two models that a row is compared with or built on, in the
form of docs/outputs.md. ``predictions/`` has what the row itself predicts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.api.dataset import LabelMap, Shift
from bench.api.method import ZERO_SHOT
from bench.api.recipes import Recipe
from bench.api.splits import Split
from bench.core.errors import CellError, InputError
from bench.core.paths import write_atomic
from bench.core.store import MissingOutput
from bench.front.exports.classifier import check_export_folder, records_of
from bench.front.run import SELECTION, Run
from bench.leaderboard.board import ID
from bench.report.staging import staged
from bench.runs.items import CellItem
from bench.runs.outputs import ArrayCache, LabelledStoredOutputs
from bench.runs.study.outputs_folder import FILE
from bench.runs.study.study import Study

PREDICTIONS = "predictions"
"""The folder of what the row itself predicts."""
ARRAYS = re.compile(rf"train|test|{SELECTION}|shift-.+")
"""The names of the files of arrays."""
_Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class _Row:
    """A row of a run, with the models that its files have: {name of a row: recipe}."""

    run: Run
    study: Study
    cell: CellItem

    @property
    def ends(self) -> Mapping[str, Recipe]:
        models, row = self.cell.fit.models, self.cell.row
        found: dict[str, Recipe] = {ZERO_SHOT: models.zero_shot}
        if row.base is not None:
            found[row.base.name] = models.base
        elif row.name != ZERO_SHOT:
            (found[row.name],) = row.method.needs(models, self.cell.choice)
        return found

    @property
    def evaluations(self) -> Mapping[str, tuple[str, Shift]]:
        """The evaluation sets: {file: (name of a split in `Run.outputs`, its shift)}."""
        task = self.study.suite.task
        found = {SELECTION: (SELECTION, Shift(SELECTION, task.selection))}
        for shift in self.study.suite.evaluations():
            plain = re.sub(r"[^A-Za-z0-9._-]+", "-", shift.name)
            file = "test" if shift.name == ID else f"shift-{plain}"
            found[file] = (shift.name, shift)
        return found


def export_outputs(
    run: Run, row: str, to: Path, seed: int | None = None, suite: str | None = None
) -> Path:
    """Write the outputs of a row into the folder `to`, from stored features; return the folder.

    Raises InputError as `bench.front.run.Run.outputs` does, for a model without a text tower, if
    the ID test set has samples that are not of one class, and if `to` has other files.

    Examples
    --------
    >>> from pathlib import Path
    >>> import bench
    >>> from bench.front.exports.outputs import export_outputs
    >>> run = bench.run(suite="micro", methods="zero-shot", shifts="v2", limit=20)
    >>> folder = export_outputs(run, "zero-shot", Path("mine"))
    >>> sorted(path.name for path in folder.iterdir())[:3]
    ['outputs.yaml', 'predictions', 'selection.safetensors']
    """
    check_export_folder(to, FILE)
    earlier = [path.name for path in to.glob("*.safetensors") if ARRAYS.fullmatch(path.stem)]
    study, cell = run.chosen(row, seed=seed, suite=suite)
    if study.width is not None:
        raise InputError(f"{study.model} has no zero-shot row, which {FILE} needs: export weights")
    records_of(run, study, cell)
    own = _Row(run, study, cell)
    with staged(to, (FILE, PREDICTIONS, *earlier)) as new:
        named = dict[str, str]()
        for file, (split, shift) in own.evaluations.items():
            if not shift.split.absent:
                _save(_predictions(own, split), new / PREDICTIONS / f"{file}.safetensors")
                if arrays := _evaluated(own, split, shift):
                    _save(arrays, new / f"{file}.safetensors")
                    named[file] = shift.name
        if "test" not in named:
            raise InputError(
                f"{study.suite.test.name} has samples without one class, which {FILE} cannot hold: "
                "read them from Python with run.outputs(row, split)"
            )
        if arrays := _train(own):
            _save(arrays, new / "train.safetensors")
            named["train"] = "train"
        write_atomic(new / FILE, _form(own, named).encode())
    return to


def _save(arrays: _Arrays, path: Path) -> None:
    from safetensors.numpy import save_file

    path.parent.mkdir(exist_ok=True)
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


def _predictions(own: _Row, split: str) -> _Arrays:
    """Return what the row predicts over the classes of a split: its probabilities and weights."""
    found = _outputs(own, own.cell.row.name, split)
    size = len(found.log_probs)
    weight = np.broadcast_to(np.asarray(found.weight, np.float64), size)
    arrays: _Arrays = {"probabilities": np.exp(found.log_probs), "log_probs": found.log_probs}
    arrays |= {"labels": found.labels, "weight": weight}
    if own.cell.row.method.group != "ensembles":
        (logits,), features = found.logits.values(), tuple(found.features.values())
        arrays |= {"logits": logits} | ({"features": features[0]} if features else {})
    return arrays


def _outputs(own: _Row, row: str, split: str) -> Any:
    suite = own.study.suite.name
    return own.run.outputs(row, split, seed=own.cell.fit.seed, suite=suite)


def _evaluated(own: _Row, split: str, shift: Shift) -> _Arrays:
    """Return the arrays of an evaluation set; none if its samples are not of one class each."""
    manifest = shift.split.load().manifest
    if manifest.labels.shape[1] > 1 or (manifest.first < 0).any():
        return {}
    arrays = _labels(shift.split)
    for name in own.ends:
        found = _outputs(own, name, split)
        arrays[f"{name}.logits"] = found.logits[name]
        if name in found.features:
            arrays[f"{name}.features"] = found.features[name]
    return arrays


def _labels(split: Split) -> _Arrays:
    manifest = split.load().manifest
    groups = {f"groups.{name}": codes for name, codes in manifest.groups.items()}
    return {"labels": manifest.first, **groups}


def _train(own: _Row) -> _Arrays:
    """Return the arrays of the training split, for VRF; none if the run did not compute them."""
    study, store = own.study, own.run.own_session.store
    split = study.suite.task.train
    outputs = LabelledStoredOutputs(
        store, ArrayCache(), split, study.precision, read_labels=lambda: split.load().manifest.first
    )
    try:
        arrays = _labels(split)
        for name, recipe in own.ends.items():
            arrays[f"{name}.correct"] = outputs.correct(recipe)
            if name != ZERO_SHOT:
                arrays[f"{name}.features"] = outputs.features(recipe)
    except (MissingOutput, CellError):
        return {}
    return arrays if len(own.ends) > 1 else {}


def _form(own: _Row, named: Mapping[str, str]) -> str:
    """Return the text of ``outputs.yaml``; `named` are the splits of the files that are there."""
    import yaml

    study, task = own.study, own.study.suite.task
    count = Counter(task.classnames)
    keys = [n if count[n] == 1 else f"{n} #{i}" for i, n in enumerate(task.classnames)]
    marks = f" ({', '.join(study.notes)})" if study.notes else ""
    form: dict[str, Any] = {
        "name": re.sub(r"[^\w.+-]+", "-", study.suite.name),
        "model": f"{study.model}{marks}",
        "classes": keys
        if len(count) == len(keys)
        else dict(zip(keys, task.classnames, strict=True)),
        "models": {name: name for name in own.ends},
    }
    form |= {n: {"file": f"{n}.safetensors"} for n in ("train", SELECTION, "test") if n in named}
    shifts = {shift.name: (file, shift.labels) for file, (_, shift) in own.evaluations.items()}
    form["shifts"] = {
        name: {"file": f"{file}.safetensors", **dict(_classes(labels, keys))}
        for name, (file, labels) in shifts.items()
        if file in named and file not in (SELECTION, "test")
    }
    return str(yaml.safe_dump(form, sort_keys=False, allow_unicode=True, width=1000))


def _classes(labels: LabelMap, keys: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield the classes of a shift, which bench knows by those of the task that they stand for."""
    if labels.columns is not None:
        names = [[keys[i] for i in group] for group in labels.columns]
        yield "classes", {" / ".join(group): group for group in names}
