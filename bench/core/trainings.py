"""Histories of training runs: what a run's ``trainings.jsonl`` holds, one line per training.

The store keeps a history beside the weights, in ``trainings/KEY.json``, and once more in the note
of the weights themselves, as it cannot be computed again without them. It is part of no key.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import pydantic

from bench.core.errors import InputError, shortened
from bench.core.foreign.files import TABLE, text_of
from bench.core.paths import write_atomic
from bench.core.store import Store

KIND = "trainings"
TRAININGS = "trainings.jsonl"
Entry = dict[str, int | float]
"""The numbers of one epoch, or of one candidate of a trainer without epochs, by name."""
ADDED = ("images", "selection", "settings")
"""Fields that files of older versions lack, all or none of them."""


class TrainingRecord(pydantic.BaseModel):
    """One training run of a study.

    Attributes
    ----------
    suite, model, protocol, notes : as in records.
    rows : the rows of the leaderboard that use it: those that are not ensembles, if there are any.
    trainer : what is trained, such as ``end to end``.
    seed : the training seed.
    key : the key of its weights.
    history : the numbers of each epoch in order: ``epoch`` (from 1), ``loss`` (mean over the
        samples of the epoch), ``lr`` (of its last step) and, if it was evaluated, ``selection``
        (accuracy on the selection split, a fraction). For logistic regression, ``C`` and
        ``selection`` of each value tried. None if nothing was kept, as by older versions.
    images, selection : the numbers of training and of selection images; None if they are not
        known, as in files of older versions.
    settings : the trainer's hyper-parameters by name; empty if they are not known.

    Examples
    --------
    >>> from bench.core.trainings import TrainingRecord
    >>> run = TrainingRecord(
    ...     suite="mini", model="tiny/embedded", protocol="clean", notes=(), rows=("e2e-ft",),
    ...     trainer="end to end", seed=0, key="1f0c",
    ...     history=({"epoch": 1, "loss": 0.7, "lr": 1e-3},),
    ... )
    >>> run.history[0]["loss"]
    0.7
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    suite: str
    model: str
    protocol: str
    notes: tuple[str, ...]
    rows: tuple[str, ...]
    trainer: str
    seed: int
    key: str
    history: tuple[Entry, ...] | None
    images: int | None = None
    selection: int | None = None
    settings: dict[str, Any] = {}


def store_history(store: Store, key: str, history: Sequence[Entry]) -> None:
    """Store the history of training `key`, unless the store has one with as many entries.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store import Store
    >>> from bench.core.trainings import store_history, stored_history
    >>> store_history(Store(Path("store")), "1f0c", [{"epoch": 1, "loss": 0.7, "lr": 1e-3}])
    >>> stored_history(Store(Path("store")), "1f0c")
    ({'epoch': 1, 'loss': 0.7, 'lr': 0.001},)
    """
    known = stored_history(store, key)
    if history and (known is None or len(known) < len(history)):
        store.write_json(KIND, key, list(history))


def stored_history(store: Store, key: str, weights: Iterable[str] = ()) -> tuple[Entry, ...] | None:
    """Return the history of training `key`; None if the store has none.

    Where the file with it is gone or damaged, it is that in the notes of its `weights`, by key.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store import Store
    >>> from bench.core.trainings import stored_history
    >>> stored_history(Store(Path("store")), "an older key") is None
    True
    """
    found = store.read_json(KIND, key)
    if found is None:
        notes = (store.read_note("weights", name) or {} for name in weights)
        found = max((note.get("history", ()) for note in notes), key=len, default=())
    return tuple(found) or None


def write_trainings(
    run: Path, trainings: Iterable[TrainingRecord], without: Collection[str] = ()
) -> None:
    """Write the trainings of a run, sorted, or remove an old file if there are none.

    Fields named in `without` are left out, for comparison with a file of an older version.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.trainings import TrainingRecord, read_trainings, write_trainings
    >>> run = TrainingRecord(
    ...     suite="mini", model="tiny/embedded", protocol="clean", notes=(), rows=("e2e-ft",),
    ...     trainer="end to end", seed=0, key="1f0c",
    ...     history=({"epoch": 1, "loss": 0.7, "lr": 1e-3},),
    ... )
    >>> write_trainings(Path("."), [run])
    >>> read_trainings(Path(".")) == [run]
    True
    """
    dumped = [training.model_dump(mode="json", exclude={*without}) for training in trainings]
    places = ("suite", "model", "protocol", "rows", "seed", "key")
    ordered = sorted(dumped, key=lambda fields: [fields[name] for name in places])
    if ordered:
        text = "".join(json.dumps(fields, allow_nan=False) + "\n" for fields in ordered)
        write_atomic(run / TRAININGS, text.encode())
    else:
        (run / TRAININGS).unlink(missing_ok=True)


def read_trainings(run: Path) -> list[TrainingRecord]:
    """Return the trainings of a run; none if it was made by an older version, or trained nothing.

    Raises InputError that names the file and the first line that is not a training.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.trainings import read_trainings
    >>> read_trainings(Path("a run of an older version"))
    []
    """
    path, found = run / TRAININGS, list[TrainingRecord]()
    if not path.is_file():
        return found
    try:
        for line in text_of(path, TABLE).splitlines():
            found.append(TrainingRecord.model_validate_json(line))
    except ValueError as error:
        why = error.errors()[0]["msg"] if isinstance(error, pydantic.ValidationError) else error
        raise InputError(
            f"{path}:{len(found) + 1} is not a training: {shortened(str(why), 200)}"
        ) from error
    return found
