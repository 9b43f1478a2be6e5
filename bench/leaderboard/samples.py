"""Outputs per sample: whether a row is right, its confidence, and the class it predicts.

They are stored for every accuracy cell (chosen candidate, without temperature scaling). The folder
of a run holds them in ``samples/``: a file ``KEY.safetensors`` per cell, named by the key in the
record's provenance, one more file per evaluation set, and ``SHA256SUMS`` in the format of
``sha256sum -c``.

These metrics can be recomputed from them: accuracy and everything that depends on right and wrong
only (pm-k, the worst region, paired tests), exactly; macro-F1, exactly, from the predicted classes
and the labels; the ECE to 0.001 points, with exact bins if their number divides 65,535 (as 15
does). NLL and Brier score cannot be recomputed: they need all probabilities of a sample.

A sample takes 1 bit for right or wrong, 2 bytes for the confidence and 1 byte for the predicted
class (2 with more than 256 classes).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.api.metrics import ACCURACY, LogProbs, correct
from bench.api.splits import Manifest
from bench.core.errors import DataError, InputError
from bench.core.hashing import key_of
from bench.core.paths import write_atomic
from bench.core.records import Record, read_records
from bench.core.store import Store
from bench.core.store.container import DamagedError, note_of, opened, unpacked_arrays

FOLDER, SUMS = "samples", "SHA256SUMS"
KIND, SETS = "samples", "sets"
"""The kinds of outputs in the store: those of a row on a set, and those of a set."""
STEPS = 65535
"""A confidence c is stored as the integer ceil(STEPS c) and read as the middle of its interval."""


@dataclass(frozen=True)
class EvaluationSet:
    """The samples and labels of one evaluation set.

    Attributes
    ----------
    ids, labels_digest : digests of the manifest's ids and of its labels, 32 hex digits each.
    labels : [N, L], padded with -1, as in the manifest.
    groups, names : as in the manifest.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.samples import EvaluationSet
    >>> labels = np.array([[0], [1]])
    >>> EvaluationSet("1f" * 16, "2e" * 16, labels, groups={}, names={}).digest[:8]
    '1f1f1f1f'
    """

    ids: str
    labels_digest: str
    labels: NDArray[np.int64]
    groups: Mapping[str, NDArray[np.int64]]
    names: Mapping[str, tuple[str, ...]]

    @property
    def digest(self) -> str:
        """The digest of ids and labels: rows on sets with equal digests may be paired by sample."""
        return f"{self.ids}{self.labels_digest}"


@dataclass(frozen=True)
class SampleOutputs:
    """A row's outputs on one evaluation set, for one seed.

    Attributes
    ----------
    record : the record of the accuracy, which identifies the row and the set.
    on : the evaluation set.
    right : [N] whether the predicted class is acceptable (`bench.api.metrics.correct`).
    confidence : [N] the largest probability, off by at most 1/131,070.
    predicted : [N] the predicted class, in the set's own label space.
    redrawn : [R], the set's primary metric with the choice that each resample of the selection
        split leads to (`bench.posthoc.redraws`); None if nothing was chosen there, or if it is not
        known.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.samples import EvaluationSet, SampleOutputs
    >>> from bench.testing.fakes import fake_records
    >>> on = EvaluationSet("1f" * 16, "2e" * 16, np.array([[0], [1]]), {}, {})
    >>> right, predicted = np.array([True, False]), np.array([0, 0])
    >>> one = SampleOutputs(fake_records()[0], on, right, np.array([0.9, 0.6]), predicted)
    >>> one.right.tolist()
    [True, False]
    """

    record: Record
    on: EvaluationSet
    right: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    predicted: NDArray[np.int64]
    redrawn: NDArray[np.float64] | None = None


def store_samples(
    store: Store,
    key: str,
    split: str,
    log_probs: LogProbs,
    manifest: Manifest,
    redrawn: NDArray[np.floating] | None = None,
) -> None:
    """Store the outputs per sample of a cell on `split`, from log-probabilities [N, C'].

    `redrawn` [R] is as in `SampleOutputs`.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.api.splits import single_label
    >>> from bench.core.store import Store
    >>> from bench.leaderboard.samples import has_stored_samples, store_samples
    >>> store, manifest = Store(Path("store")), single_label(["a", "b"], [0, 1])
    >>> store_samples(store, "1f" * 16, "split", np.log([[0.9, 0.1], [0.8, 0.2]]), manifest)
    >>> has_stored_samples(store, "1f" * 16, "split")
    True
    """
    set_key = _set_key(split)
    if not store.has(SETS, set_key):
        with store.claims.held([f"{SETS}-{set_key}"]) as got, store.files.looking_again():
            if got and not store.has(SETS, set_key):  # runs at once measure other rows on this set
                store.write_arrays(SETS, set_key, *_set_arrays(manifest))
    confidence = np.exp(log_probs.max(axis=1).astype(np.float64))
    arrays = {
        "right": np.packbits(correct(log_probs, manifest)),
        "confidence": np.ceil(confidence * STEPS).clip(0, STEPS).astype("<u2"),
        "predicted": log_probs.argmax(axis=1).astype(np.min_scalar_type(log_probs.shape[1] - 1)),
    }
    if redrawn is not None:
        arrays["redrawn"] = redrawn.astype("<f4")
    store.write_arrays(KIND, key, arrays, {"n": len(manifest), "set": set_key})


def has_stored_samples(store: Store, key: str, split: str) -> bool:
    """Return whether the store has the samples of a cell and of its split.

    Their checksums are verified when they are read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store import Store
    >>> from bench.leaderboard.samples import has_stored_samples
    >>> has_stored_samples(Store(Path("empty")), "1f" * 16, "split")
    False
    """
    return store.has(KIND, key) and store.has(SETS, _set_key(split))


def drop_damaged_samples(store: Store, key: str, split: str) -> None:
    """Remove the damaged files among a cell's samples, so that they are computed again.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.api.splits import single_label
    >>> from bench.core.store import Store
    >>> from bench.leaderboard import samples
    >>> store, manifest = Store(Path("damaged")), single_label(["a"], [0])
    >>> samples.store_samples(store, "1f" * 16, "split", np.log([[0.9, 0.1]]), manifest)
    >>> _ = store.path("samples", "1f" * 16).write_bytes(b"damaged")
    >>> samples.drop_damaged_samples(store, "1f" * 16, "split")
    >>> samples.has_stored_samples(store, "1f" * 16, "split")
    False
    """
    for kind, name in ((KIND, key), (SETS, _set_key(split))):
        store.read(kind, name)  # removes a damaged file


def _set_key(split: str) -> str:
    return key_of("set", split)


def _set_arrays(manifest: Manifest) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays and the note that are stored for an evaluation set."""
    labels = manifest.labels.astype("<i4")
    groups = {f"group.{name}": codes for name, codes in manifest.groups.items()}
    note = {"ids": manifest.ids_digest, "labels": _labels_digest(labels), "n": len(manifest)}
    return {"labels": labels, **groups}, note | {"names": dict(manifest.names)}


def _labels_digest(labels: NDArray[Any]) -> str:
    return hashlib.sha256(str(labels.shape).encode() + labels.tobytes()).hexdigest()[:32]


def write_samples(run: Path, store: Store, records: Iterable[Record]) -> None:
    """Copy the samples of a run's records from the store into ``samples/`` of the run's folder.

    Files of an earlier run there are removed. Raises DataError if samples are missing in the store.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.api.splits import single_label
    >>> from bench.core.store import Store
    >>> from bench.leaderboard.samples import store_samples, write_samples
    >>> from bench.testing.fakes import fake_records
    >>> store, manifest = Store(Path("cache")), single_label(["a", "b"], [0, 1])
    >>> store_samples(store, "1f" * 16, "split", np.log([[0.9, 0.1], [0.8, 0.2]]), manifest)
    >>> record = fake_records()[0].model_copy(update={"provenance": {"key": "1f" * 16}})
    >>> write_samples(Path("run"), store, [record])
    >>> len(Path("run/samples/SHA256SUMS").read_text().splitlines())  # the cell's and the set's
    2
    """
    folder = run / FOLDER
    sums: dict[str, str] = {}
    for record in records:
        if not has_samples(record):
            continue
        key = str(record.provenance["key"])
        note = note_of(_copy(store, KIND, key, folder, sums))
        if _name(note["set"]) not in sums:
            _copy(store, SETS, note["set"], folder, sums)
    for path in folder.glob("*.safetensors"):
        if path.name not in sums:
            path.unlink()
    lines = (f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    write_atomic(folder / SUMS, "".join(lines).encode())


def has_samples(record: Record) -> bool:
    """Return whether a run stores samples for a record: for accuracy cells that are no oracles.

    Examples
    --------
    >>> from bench.leaderboard.samples import has_samples
    >>> from bench.testing.fakes import fake_records
    >>> has_samples(fake_records()[0])
    True
    """
    return (record.kind, record.metric) == ("cell", ACCURACY.name) and record.role != "oracle"


def _copy(store: Store, kind: str, key: str, folder: Path, sums: dict[str, str]) -> bytes:
    data = store.read(kind, key)
    if data is None:
        raise DataError(
            f"samples of cell {key} are missing in the cache: run the same command again"
        )
    # Not flushed to disk one by one: the checksums reveal a file that a crash left incomplete.
    write_atomic(folder / _name(key), data, durable=False)
    sums[_name(key)] = hashlib.sha256(data).hexdigest()
    return data


def _name(key: str) -> str:
    return f"{key}.safetensors"


def sample_outputs(run: Path) -> Iterator[SampleOutputs]:
    """Yield the samples of a finished run, in the order of its records; one at a time in memory.

    Raises InputError if the folder is not that of a run or has no samples. Raises DataError if a
    file is missing or was changed, or if it does not give the accuracy of its record.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.api.splits import single_label
    >>> from bench.core.records import records_text
    >>> from bench.core.store import Store
    >>> from bench.leaderboard.samples import sample_outputs, store_samples, write_samples
    >>> from bench.testing.fakes import fake_records
    >>> store, manifest = Store(Path("cache")), single_label(["a", "b"], [0, 1])
    >>> store_samples(store, "1f" * 16, "split", np.log([[0.9, 0.1], [0.8, 0.2]]), manifest)
    >>> update = {"provenance": {"key": "1f" * 16}, "value": 0.5, "n": 2}
    >>> record = fake_records()[0].model_copy(update=update)
    >>> write_samples(Path("finished"), store, [record])
    >>> _ = Path("finished/records.jsonl").write_text(records_text([record]))
    >>> [outputs.right.tolist() for outputs in sample_outputs(Path("finished"))]
    [[True, False]]
    """
    records = [record for record in read_records(run / "records.jsonl") if has_samples(record)]
    sums = _sums(run / FOLDER / SUMS)
    sets: dict[str, EvaluationSet] = {}
    for record in records:
        key = str(record.provenance.get("key"))
        arrays, note = _read(run, KIND, key, sums)
        if note["set"] not in sets:
            sets[note["set"]] = own = _evaluation_set(*_read(run, SETS, note["set"], sums))
            if own.labels_digest != _labels_digest(own.labels.astype("<i4")):
                raise DataError(
                    f"{run / FOLDER / _name(note['set'])} has other labels than it says: run the "
                    "same command again"
                )
        sizes = {len(arrays[name]) for name in ("confidence", "predicted")}
        if sizes | {record.n, len(sets[note["set"]].labels)} != {note["n"]}:
            raise DataError(
                f"{run / FOLDER / _name(key)}: it has {note['n']} samples, but its arrays, the set "
                f"or the record ({record.n}) have other numbers: run the suite again"
            )
        right = np.unpackbits(arrays["right"], count=note["n"]).astype(bool)
        if float(right.mean()) != record.value:
            raise DataError(
                f"{run / FOLDER / _name(key)}: the accuracy is {float(right.mean()):g}, but the "
                f"record of {record.method} on {record.shift} says {record.value:g}: run the suite "
                "again"
            )
        confidence = np.maximum(arrays["confidence"] - 0.5, 0) / STEPS
        predicted = arrays["predicted"].astype(np.int64)
        redrawn = arrays.get("redrawn")
        yield SampleOutputs(record, sets[note["set"]], right, confidence, predicted, redrawn)


def sample_files(run: Path) -> tuple[str, ...]:
    """Return the files that a run's samples consist of, as paths in its folder; () without any.

    Raises DataError if their list is damaged. Other files may lie beside them.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.leaderboard.samples import sample_files
    >>> sample_files(Path("nowhere"))
    ()
    """
    if not (run / FOLDER / SUMS).is_file():
        return ()
    return tuple(f"{FOLDER}/{name}" for name in (SUMS, *_sums(run / FOLDER / SUMS)))


def _evaluation_set(arrays: Mapping[str, NDArray[Any]], note: Mapping[str, Any]) -> EvaluationSet:
    groups = {n.removeprefix("group."): a for n, a in arrays.items() if n.startswith("group.")}
    names = {group: tuple(values) for group, values in note["names"].items()}
    labels = arrays["labels"].astype(np.int64)
    return EvaluationSet(note["ids"], note["labels"], labels, groups, names)


def _sums(path: Path) -> dict[str, str]:
    """Return the checksums by file name."""
    if not path.is_file():
        raise InputError(
            f"no samples at {path.parent}: run the same command again, with the same --cache-dir"
        )
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    if malformed := [line for line in lines if not re.fullmatch(_LINE, line)]:
        raise DataError(
            f"{path} was altered: expected lines of checksum and file name, found "
            f"{malformed[0].strip()[:100]!r}; run the same command again"
        )
    return {line[66:].rstrip("\n"): line[:64] for line in lines}


_LINE = r"[0-9a-f]{64}  [0-9a-f]{32}\.safetensors\n"


def _read(
    run: Path, kind: str, key: str, sums: Mapping[str, str]
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays and the note of a file of ``samples/``, after verifying what it is."""
    path = run / FOLDER / _name(key)
    if path.name not in sums or not path.is_file():
        raise DataError(f"{path} is missing, or not in {SUMS}: run the same command again")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sums[path.name]:
        raise DataError(f"{path} was altered: it does not match {SUMS}; run the same command again")
    try:
        return unpacked_arrays(opened(f"{kind}/{key}", data)), note_of(data)
    except DamagedError as error:
        raise DataError(f"{path} was altered: {error}; run the same command again") from error
