"""Whether a finished run's numbers follow from its stored outputs: ``bench check RUN``.

Everything from features and weights on is computed again, choices included, and compared with
``records.jsonl`` and ``samples/``; reports are written again from those records and compared with
what is there, byte by byte. So an edited digit is found, and an altered stored output too: by its
checksum, or by what it makes of the numbers. No model is run: whoever doubts the features runs the
suite again.
"""

from __future__ import annotations

import difflib
import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import report, samples
from bench.agreement import row_name
from bench.board import KINDS
from bench.config import RunConfig, load
from bench.errors import DataError, InputError
from bench.oracle import oracles
from bench.paths import write_atomic
from bench.plan import FeaturesItem, Plan, WeightsItem
from bench.pooling import pooled
from bench.progress import Progress, Silent
from bench.prompts import digest
from bench.records import Place, Record, sort_key, to_lines
from bench.run import execute
from bench.session import Session, prepare, read_presets, read_run, read_samples, resolved
from bench.store import Store

if TYPE_CHECKING:
    from bench.engine import Engine

RECORDS = "records.jsonl"
CONFIG = "config.json"
FIGURES = "figures"
REPEAT = "repeat the run, which makes it again, with the same --cache-dir"
CLOSE = 1e-6
"""Relative difference up to which a value counts as the same: sums may be taken in another order
by another NumPy. Printed digits are compared exactly."""
FACTS = (*Place.model_fields, "n", "data", "choice", "chosen_on", "weight", "temperature")
"""What else of a record follows from stored outputs and may be printed."""


COMPUTED = frozenset({"cells", "fits", samples.KIND, samples.SETS})
"""The kinds of outputs that are computed again."""


@dataclass(frozen=True)
class _Fresh(Store):
    """A store in which all that follows from features is computed anew, into another folder."""

    scratch: Path = Path()

    def path(self, kind: str, key: str, suffix: str = ".safetensors") -> Path:
        """Where an output lies: what is computed anew in the scratch folder."""
        root = self.scratch if kind in COMPUTED else self.root
        return root / kind / key[:2] / f"{key}{suffix}"


@dataclass(frozen=True)
class Difference:
    """A place where what is there is not what follows from the stored outputs."""

    file: str
    place: str
    there: str
    expected: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.place}"
        return f"{where}: {self.there}, but the stored outputs give {self.expected}"


@dataclass(frozen=True)
class Rechecked:
    """What was found: `cells` of leaderboards computed again, `files` of the run that hold them."""

    cells: int
    files: tuple[str, ...]
    differences: tuple[Difference, ...]


def folder_of(path: Path) -> Path:
    """The run's folder of a run, or of a file in it. Raises InputError if it is none."""
    folder = path if path.is_dir() else path.parent
    if path.is_file() and folder.name == FIGURES:
        folder = folder.parent
    if not path.exists() or not (folder / RECORDS).is_file():
        raise InputError(f"{path}: expected the folder of a run, or a report in one")
    return folder


def recheck(path: Path, options: Mapping[str, Any], progress: Progress | None = None) -> Rechecked:
    """All differences of a run, or of one of its reports: `path` is a folder or a file in it.

    Reports are compared where the records hold. `options` say where things lie: data, cache_dir.
    Raises InputError if it is no run's, DataError if a stored output is missing or damaged.
    """
    folder = folder_of(path)
    session = _session(folder, options)
    records, missing = read_run(folder)
    with tempfile.TemporaryDirectory() as scratch:
        made = _recomputed(session, Path(scratch), progress or Silent())
        cells = sum(record.kind in KINDS for record in made)
        if found := tuple(_values(records, made)):
            return Rechecked(cells, (RECORDS,), found)
        again = Path(scratch) / "run"
        fresh = _settled(records, made)
        files = [RECORDS]
        if (folder / samples.FOLDER).exists():
            samples.write(again, Store(Path(scratch)), made)
            found += tuple(_samples(folder, again, fresh))
            files.append(samples.FOLDER)
        wanted = [path] if path.is_file() and path.name != RECORDS else _reports(folder)
        formats = {file.suffix[1:] for file in wanted} & (report.FORMATS.keys() | report.PICTURES)
        # Where samples agree up to rounding, reports show those that the run kept.
        presets, kept = read_presets(folder), read_samples(again if found else folder)
        report.write(again, fresh, missing, presets, sorted(formats), kept)
        for file in wanted:
            rendered = again / file.relative_to(folder)
            if rendered.is_file():
                found += tuple(_lines(file, file.read_bytes(), rendered.read_bytes()))
                files.append(file.name)
            elif file == path:
                raise InputError(f"{path}: not one of a run's reports, which are checked")
    return Rechecked(cells, tuple(files), found)


def _reports(folder: Path) -> list[Path]:
    return sorted([*folder.glob("report.*"), *folder.glob(f"{FIGURES}/*")])


def _session(folder: Path, options: Mapping[str, Any]) -> Session:
    """The session of a finished run, to be repeated.

    Raises InputError if there is no configuration that can be read, or if it has come to mean other
    rows or models, DataError if its templates have changed.
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
    session = prepare(config.model_copy(update={"set": changes}))
    now = resolved(session.config, session.studies)
    for name in ("backbones", "rows"):
        if now[name] != raw.get(name):
            raise InputError(
                f"{path}: the {name} {_short(str(raw.get(name)))} cannot be had again, now they "
                f"are {_short(str(now[name]))}: only what bench run made can be checked, with the "
                "same suites and plugins"
            )
    return session


def _recomputed(session: Session, scratch: Path, progress: Progress) -> list[Record]:
    """The run's records, from features and weights alone."""
    store = _Fresh(session.store.root, scratch)
    found: list[Record] = []
    for known in session.plans:  # before anything is read, as reading removes what is damaged
        _check_stored(known, store)
    for study in session.studies:
        outcome = execute(study, store, _no_engine, progress)
        _check_stored(outcome.plan, store)
        found += [*outcome.records, *pooled(outcome.records)]
        if session.config.controls:
            found += oracles(outcome.records)
        if outcome.missing:
            first = outcome.missing[0]
            raise DataError(f"{first.method} on {first.shift}: {first.reason}")
    return found


def _check_stored(plan: Plan, store: Store) -> None:
    """Raise DataError unless all weights and features behind a plan's cells are as written."""
    paths = [store.path("weights", item.key) for item in plan.of(WeightsItem)]
    for item in plan.of(FeaturesItem):
        paths += sorted(store.path("features", item.key, "").glob("*.safetensors"))
    for path in paths:
        if path.exists() and not store.intact(path):
            raise DataError(f"{path} was damaged, so that its numbers cannot be checked: {REPEAT}")


def _no_engine(*_: object) -> Engine:
    raise DataError(
        "a stored output of this run is missing or damaged, so that its numbers cannot be checked: "
        + REPEAT
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
        row = f"{row_name(one)} on {one.shift}{seed}"
        where = RECORDS, f" {one.metric} ({one.kind}) of {row}"
        if old is None or new is None:
            yield Difference(*where, "there" if old else "not there", "it" if new else "none")
        elif not _same(old.value, new.value):
            yield Difference(*where, repr(old.value), repr(new.value))
        elif odd := _odd(_facts(old), _facts(new)):
            yield Difference(*where, *(_short(f"{odd} {_facts(r).get(odd)}") for r in (old, new)))
    count, usual = Counter(map(sort_key, records)), Counter(map(sort_key, made))
    if repeated := [key for key in there if count[key] > usual[key] > 0]:
        yield Difference(RECORDS, f" {len(repeated)} cells", "there more than once", "each once")


def _facts(record: Record) -> dict[str, Any]:
    """All but the value that follows from stored outputs: not versions, commit and machine."""
    made = {name: fact for name, fact in record.provenance.items() if name != "environment"}
    return {name: getattr(record, name) for name in FACTS} | made


def _odd(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The first name under which both hold something, and not the same; empty if there is none.

    Another version of bench may say more, or less, of what a cell was made of.
    """
    return next((name for name in one if name in other and not _same(one[name], other[name])), "")


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same up to rounding of the numbers in them."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=CLOSE, abs_tol=1e-9)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _settled(records: Sequence[Record], made: Sequence[Record]) -> list[Record]:
    """The records with computed values, or with their own where those differ by rounding alone."""
    again = {sort_key(record): record.value for record in made}
    close = [(r, again[sort_key(r)]) for r in records]
    return [r if _same(r.value, v) else r.model_copy(update={"value": v}) for r, v in close]


def _samples(folder: Path, again: Path, records: Sequence[Record]) -> Iterator[Difference]:
    """Where the samples of a run are not those that its stored outputs give."""
    write_atomic(again / RECORDS, to_lines(records).encode())
    pairs = zip(samples.sample_outputs(folder), samples.sample_outputs(again), strict=True)
    for old, new in pairs:
        parts = {
            "right": (old.right, new.right),
            "predicted": (old.predicted, new.predicted),
            "labels": (old.on.labels, new.on.labels),
            **{f"group {g}": (old.on.groups.get(g), codes) for g, codes in new.on.groups.items()},
        }
        odd = [name for name, arrays in parts.items() if not np.array_equal(*arrays)]  # type: ignore[arg-type]
        # A confidence is stored in steps, the next of which rounding can reach.
        if not odd and np.abs(old.confidence - new.confidence).max() > 1.5 / samples.STEPS:
            odd.append("confidence")
        if old.on.digest != new.on.digest:
            odd.append("ids")
        if odd:
            where = f" {row_name(new.record)} on {new.record.shift}"
            yield Difference(samples.FOLDER, where, f"other {', '.join(odd)}", "what the cache has")


def _lines(file: Path, there: bytes, expected: bytes) -> Iterator[Difference]:
    """The first lines in which a report is not the one that the records give."""
    if there == expected:
        return
    one, two = (text.decode("utf-8", "replace").splitlines() for text in (there, expected))
    if one == two:
        yield Difference(file.name, "1", "other bytes", "the same lines")
    blocks = difflib.SequenceMatcher(None, one, two, autojunk=False).get_opcodes()
    for tag, a, b, c, d in blocks:
        if tag != "equal":
            shown = _short(" / ".join(one[a:b])), _short(" / ".join(two[c:d]))
            yield Difference(file.name, str(a + 1), *(text or "nothing" for text in shown))


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:197]}..."
