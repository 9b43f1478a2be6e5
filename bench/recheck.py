"""Whether a finished run's numbers follow from its stored outputs: ``bench check RUN``.

Everything from features and weights on is computed again, choices included, and compared with
``records.jsonl``; reports are written again from those records and compared with what is there,
byte by byte. So an edited digit is found, and an altered stored output too: by its checksum, or by
what it makes of the numbers. No model is run: whoever doubts the features runs the suite again.
"""

from __future__ import annotations

import difflib
import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import report
from bench.config import RunConfig, load
from bench.errors import DataError, InputError
from bench.oracle import oracles
from bench.pooling import pooled
from bench.progress import Progress, Silent
from bench.prompts import digest
from bench.records import Record, sort_key
from bench.run import execute
from bench.session import prepare, read_presets, read_run
from bench.store import Store

if TYPE_CHECKING:
    from bench.engine import Engine

RECORDS = "records.jsonl"
CONFIG = "config.json"
CLOSE = 1e-6
"""Relative difference up to which a value counts as the same: sums may be taken in another order
by another NumPy. Printed digits are compared exactly."""


@dataclass(frozen=True)
class _Fresh(Store):
    """A store whose cells and fits are computed anew, into another folder."""

    scratch: Path = Path()

    def path(self, kind: str, key: str, suffix: str = ".safetensors") -> Path:
        """Where an output lies: cells and fits in the scratch folder."""
        root = self.scratch if kind in ("cells", "fits") else self.root
        return root / kind / key[:2] / f"{key}{suffix}"


@dataclass(frozen=True)
class Difference:
    """A place where what is there is not what follows from the stored outputs."""

    where: str
    there: str
    expected: str

    def __str__(self) -> str:
        return f"{self.where}: {self.there}, but the stored outputs give {self.expected}"


def folder_of(path: Path) -> Path:
    """The run's folder of a run, or of a file in it. Raises InputError if it is none."""
    folder = path if path.is_dir() else path.parent
    if not path.exists() or not (folder / RECORDS).is_file():
        raise InputError(f"{path}: expected the folder of a run, or a report in one")
    return folder


def recheck(
    path: Path, options: Mapping[str, Any], progress: Progress | None = None
) -> list[Difference]:
    """All differences of a run, or of one of its reports: `path` is a folder or a file in it.

    Reports are compared where the records hold. `options` say where things lie: data, cache_dir.
    Raises InputError if it is no run's, DataError if a stored output is missing or damaged.
    """
    folder = folder_of(path)
    config = _config(folder, options)
    records, missing = read_run(folder)
    with tempfile.TemporaryDirectory() as scratch:
        made = _recomputed(config, Path(scratch), progress or Silent())
        if found := list(_values(records, made)):
            return found
        presets = read_presets(folder)
        values = {sort_key(r): r.value for r in made}
        fresh = [r.model_copy(update={"value": values.get(sort_key(r), r.value)}) for r in records]
        out = Path(scratch) / "reports"
        report.write(out, _settled(records, fresh), missing, presets)
        wanted = [path] if path.is_file() and path.name != RECORDS else sorted(folder.iterdir())
        for file in wanted:
            again = out / file.name
            if again.is_file():
                found += _lines(file, file.read_text("utf-8"), again.read_text("utf-8"))
            elif file == path:
                raise InputError(f"{path}: not one of a run's reports, which are checked")
    return found


def _config(folder: Path, options: Mapping[str, Any]) -> RunConfig:
    """The configuration of a finished run.

    Raises InputError if there is none that can be read, DataError if its templates have changed.
    """
    path = folder / CONFIG
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        known = {k: v for k, v in raw.items() if k in RunConfig.model_fields and v is not None}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: no configuration of a run can be read: {error}") from error
    if known.get("table"):
        known = {k: v for k, v in known.items() if k not in ("methods", "shifts")}
    changes = known.pop("set", {})
    config = load(None, {**known, **{k: v for k, v in options.items() if v is not None}})
    if config.templates is not None and digest(config.templates) != raw.get("templates_sha256"):
        raise DataError(f"{config.templates} has changed: these are not the templates of the run")
    return config.model_copy(update={"set": changes})


def _recomputed(config: RunConfig, scratch: Path, progress: Progress) -> list[Record]:
    """The run's records, from features and weights alone."""
    session = prepare(config)
    store = _Fresh(session.store.root, scratch)
    found: list[Record] = []
    for study in session.studies:
        outcome = execute(study, store, _no_engine, progress)
        more = (*pooled(outcome.records), *(oracles(outcome.records) if config.controls else ()))
        found += [*outcome.records, *more]
        if outcome.missing:
            first = outcome.missing[0]
            raise DataError(f"{first.method} on {first.shift}: {first.reason}")
    return found


def _no_engine(*_: object) -> Engine:
    raise DataError(
        "a stored output of this run is missing or damaged, so that its numbers cannot be checked: "
        "repeat the run, which makes it again, with the same --cache-dir"
    )


def _values(records: Sequence[Record], made: Sequence[Record]) -> Iterator[Difference]:
    """Where the values of records are not those computed again."""
    again = {sort_key(record): record for record in made}
    there = {sort_key(record): record for record in records}
    for key in sorted(again.keys() | there.keys(), key=repr):
        old, new = there.get(key), again.get(key)
        one = old or new
        assert one is not None
        seed = "" if one.seed is None else f", seed {one.seed}"
        base = "" if one.base is None else f":{one.base}"
        where = f"{RECORDS}: {one.metric} ({one.kind}) of {one.method}{base} on {one.shift}{seed}"
        if old is None or new is None:
            yield Difference(where, "there" if old else "not there", "it" if new else "none")
        elif not math.isclose(old.value, new.value, rel_tol=CLOSE, abs_tol=1e-9):
            yield Difference(where, repr(old.value), repr(new.value))
        elif _facts(old) != _facts(new):
            yield Difference(where, str(_facts(old)), str(_facts(new)))


def _facts(record: Record) -> tuple[object, ...]:
    """What else of a record is printed and follows from stored outputs."""
    weight = None if record.weight is None else round(record.weight, 6)
    temperature = None if record.temperature is None else round(record.temperature, 5)
    return (record.n, sorted(record.choice.items()), weight, temperature)


def _settled(records: Sequence[Record], fresh: Sequence[Record]) -> list[Record]:
    """Recomputed values, or the recorded ones where they are the same up to rounding."""
    return [
        old if math.isclose(old.value, new.value, rel_tol=CLOSE, abs_tol=1e-9) else new
        for old, new in zip(records, fresh, strict=True)
    ]


def _lines(file: Path, there: str, expected: str) -> Iterator[Difference]:
    """The first lines in which a report is not the one that the records give."""
    if there == expected:
        return
    one, two = there.splitlines(), expected.splitlines()
    blocks = difflib.SequenceMatcher(None, one, two, autojunk=False).get_opcodes()
    for tag, a, b, c, d in blocks:
        if tag != "equal":
            shown = _short(" / ".join(one[a:b])), _short(" / ".join(two[c:d]))
            yield Difference(f"{file.name}:{a + 1}", *(text or "nothing" for text in shown))


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:197]}..."
