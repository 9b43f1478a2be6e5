"""Per sample: whether a row is right, how sure it is, and what it predicts.

The store keeps this of every chosen cell of accuracy (without temperature scaling), and a run's
folder has it in ``samples/``: ``KEY.safetensors`` by the key in the record's provenance, one more
file for each evaluation set, and ``SHA256SUMS``, which ``sha256sum -c`` understands.

What can be computed again from it: accuracy and whatever is made of right and wrong (pm-k, the
worst region, paired tests), exactly; macro-F1, exactly, from the predicted classes and the labels;
the ECE to 0.001 points, and with exact bins where their number divides 65,535 (as 15 does). NLL
and Brier score cannot: they need all of a sample's probabilities.

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
from bench.core.store import Store, unpacked

FOLDER, SUMS = "samples", "SHA256SUMS"
KIND, SETS = "samples", "sets"
"""The kinds of outputs in the store: of a row on a set, and of a set."""
STEPS = 65535
"""A confidence c is stored as ceil(STEPS c), an integer, and read as its interval's middle."""


@dataclass(frozen=True)
class EvaluationSet:
    """What a row's outputs are held against.

    Attributes
    ----------
    ids, labels_digest : 32 hex digits each: of the manifest's ids, and of its labels.
    labels : [N, L], filled up with -1, as in the manifest; groups, names : as there.
    """

    ids: str
    labels_digest: str
    labels: NDArray[np.int64]
    groups: Mapping[str, NDArray[np.int64]]
    names: Mapping[str, tuple[str, ...]]

    @property
    def digest(self) -> str:
        """Of ids and labels: rows on sets of the same may be paired sample by sample."""
        return f"{self.ids}{self.labels_digest}"


@dataclass(frozen=True)
class SampleOutputs:
    """A row's outputs on one evaluation set, for one seed.

    Attributes
    ----------
    record : the accuracy's record, which says which row and set this is.
    right : [N] whether the predicted class is acceptable (`bench.api.metrics.correct`).
    confidence : [N] the largest probability, off by at most 1/131,070.
    predicted : [N] the predicted class, in the set's own label space.
    """

    record: Record
    on: EvaluationSet
    right: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    predicted: NDArray[np.int64]


def store_samples(
    store: Store, key: str, split: str, log_probs: LogProbs, manifest: Manifest
) -> None:
    """Store what a cell's log-probabilities [N, C'] say of each sample of the split `split`."""
    of_set = _set_key(split)
    if not store.has(SETS, of_set):
        store.write_arrays(SETS, of_set, *_of_set(manifest))
    confidence = np.exp(log_probs.max(axis=1).astype(np.float64))
    arrays = {
        "right": np.packbits(correct(log_probs, manifest)),
        "confidence": np.ceil(confidence * STEPS).clip(0, STEPS).astype("<u2"),
        "predicted": log_probs.argmax(axis=1).astype(np.min_scalar_type(log_probs.shape[1] - 1)),
    }
    store.write_arrays(KIND, key, arrays, {"n": len(manifest), "set": of_set})


def has_stored_samples(store: Store, key: str, split: str) -> bool:
    """Whether the store has a cell's samples and those of its split (verified when read)."""
    return store.has(KIND, key) and store.has(SETS, _set_key(split))


def drop_damaged_samples(store: Store, key: str, split: str) -> None:
    """Remove what is damaged of a cell's samples, so that they are made again."""
    for path in (store.path(KIND, key), store.path(SETS, _set_key(split))):
        store.read(path)


def _set_key(split: str) -> str:
    return key_of("set", split)


def _of_set(manifest: Manifest) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and note of an evaluation set."""
    labels = manifest.labels.astype("<i4")
    groups = {f"group.{name}": codes for name, codes in manifest.groups.items()}
    digest = hashlib.sha256(str(labels.shape).encode() + labels.tobytes()).hexdigest()[:32]
    note = {"ids": manifest.ids_digest, "labels": digest, "n": len(manifest)}
    return {"labels": labels, **groups}, note | {"names": dict(manifest.names)}


def write_samples(run: Path, store: Store, records: Iterable[Record]) -> None:
    """Copy the samples of a run's records out of the store into ``samples/`` of its folder.

    Files of an earlier run there are removed. Raises DataError if the store lost some meanwhile.
    """
    folder = run / FOLDER
    sums: dict[str, str] = {}
    for record in records:
        if not has_samples(record):
            continue
        key = str(record.provenance["key"])
        _, note = unpacked(_copy(store, KIND, key, folder, sums))
        if _name(note["set"]) not in sums:
            _copy(store, SETS, note["set"], folder, sums)
    for path in folder.glob("*.safetensors"):
        if path.name not in sums:
            path.unlink()
    lines = (f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    write_atomic(folder / SUMS, "".join(lines).encode())


def has_samples(record: Record) -> bool:
    """Whether a run keeps samples of a record: of accuracies not chosen in hindsight."""
    return (record.kind, record.metric) == ("cell", ACCURACY.name) and record.role != "oracle"


def _copy(store: Store, kind: str, key: str, folder: Path, sums: dict[str, str]) -> bytes:
    data = store.read(store.path(kind, key))
    if data is None:
        raise DataError(f"samples of cell {key} are gone from the cache: run the same again")
    # Not flushed to the disk one by one: what a crash leaves of them has another checksum.
    write_atomic(folder / _name(key), data, durable=False)
    sums[_name(key)] = hashlib.sha256(data).hexdigest()
    return data


def _name(key: str) -> str:
    return f"{key}.safetensors"


def sample_outputs(run: Path) -> Iterator[SampleOutputs]:
    """The samples of a finished run, in the order of its records; one at a time in memory.

    Raises InputError if the folder is no run's or has no samples, DataError that names the file if
    a byte of it was changed, if it is missing, or if it does not give the record's accuracy.
    """
    records = [record for record in read_records(run / "records.jsonl") if has_samples(record)]
    sums = _sums(run / FOLDER / SUMS)
    sets: dict[str, EvaluationSet] = {}
    for record in records:
        key = str(record.provenance.get("key"))
        arrays, note = _read(run, key, sums)
        if note["set"] not in sets:
            sets[note["set"]] = _as_set(*_read(run, note["set"], sums))
        right = np.unpackbits(arrays["right"], count=note["n"]).astype(bool)
        if float(right.mean()) != record.value:
            raise DataError(
                f"{run / FOLDER / _name(key)}: accuracy {float(right.mean()):g}, the record of "
                f"{record.method} on {record.shift} says {record.value:g}: run the suite again"
            )
        confidence = np.maximum(arrays["confidence"] - 0.5, 0) / STEPS
        predicted = arrays["predicted"].astype(np.int64)
        yield SampleOutputs(record, sets[note["set"]], right, confidence, predicted)


def _as_set(arrays: Mapping[str, NDArray[Any]], note: Mapping[str, Any]) -> EvaluationSet:
    groups = {n.removeprefix("group."): a for n, a in arrays.items() if n.startswith("group.")}
    names = {group: tuple(of_group) for group, of_group in note["names"].items()}
    labels = arrays["labels"].astype(np.int64)
    return EvaluationSet(note["ids"], note["labels"], labels, groups, names)


def _sums(path: Path) -> dict[str, str]:
    """Checksums by file name."""
    if not path.is_file():
        raise InputError(f"no samples at {path.parent}: run the same again, with its cache")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    if odd := [line for line in lines if not re.fullmatch(_LINE, line)]:
        raise DataError(
            f"{path} was altered: {odd[0].strip()!r} is no checksum; run the same again"
        )
    return {line[66:].rstrip("\n"): line[:64] for line in lines}


_LINE = r"[0-9a-f]{64}  [0-9a-f]{32}\.safetensors\n"


def _read(run: Path, key: str, sums: Mapping[str, str]) -> tuple[dict[str, NDArray[Any]], Any]:
    """Arrays and note of a file of ``samples/`` that is as it was written."""
    path = run / FOLDER / _name(key)
    if path.name not in sums or not path.is_file():
        raise DataError(f"{path} is missing, or not in {SUMS}: run the same again")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sums[path.name]:
        raise DataError(f"{path} was altered: it does not match {SUMS}; run the same again")
    return unpacked(data)
