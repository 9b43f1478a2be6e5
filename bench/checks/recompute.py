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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.errors import DataError, InputError, escape_control
from bench.core.paths import write_atomic
from bench.core.progress import Progress, SilentProgress
from bench.core.records import CellAddress, Record, records_text, sort_key
from bench.core.store import Store
from bench.data.prompts import templates_digest
from bench.leaderboard import samples
from bench.leaderboard.board import KINDS
from bench.leaderboard.comparability import row_name
from bench.leaderboard.derived import oracle_records, pool_figures
from bench.report import write as report
from bench.report.run_folder import (
    BASELINES,
    CONFIG,
    FIGURES,
    RECORDS,
    SOURCES,
    ReportSources,
    read_run,
    report_files,
    report_sources,
)
from bench.runs.execute import execute_plan
from bench.runs.plan import FeaturesItem, Plan, WeightsItem
from bench.runs.session import Session, prepare_session, resolved_config
from bench.runs.study.config import RunConfig, load_config

if TYPE_CHECKING:
    from bench.runs.engine import Engine

FORMATS = report.FORMATS.keys() | report.PICTURES
REPEAT = "repeat the run, which makes it again, with the same --cache-dir"
CLOSE = 1e-6
"""Relative difference up to which a value counts as the same: sums may be taken in another order
by another NumPy. Printed digits are compared exactly."""
FACTS = (*CellAddress.model_fields, "n", "data", "choice", "chosen_on", "weight", "temperature")
"""What else of a record follows from stored outputs and may be printed."""
WINDOW = 200
"""Characters that are shown of each side of a difference."""
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
        return f"{_cut(where)}: {self.there}, but the stored outputs give {self.expected}"


@dataclass(frozen=True)
class RecomputedRun:
    """What was found: `cells` of leaderboards computed again, `files` of the run that hold them."""

    cells: int
    files: tuple[str, ...]
    differences: tuple[Difference, ...]


def run_folder_of(path: Path) -> Path:
    """The folder that a file of a run, or a report of runs, is in, or `path` if it is one.

    Raises InputError if there is no such folder.
    """
    folder = path if path.is_dir() else path.parent
    if path.is_file() and folder.name == FIGURES:
        folder = folder.parent
    if not path.exists() or not any((folder / name).is_file() for name in (RECORDS, SOURCES)):
        raise InputError(f"{path}: expected the folder of a run, or a report of runs")
    return folder


def recompute_run(
    path: Path,
    options: Mapping[str, Any],
    progress: Progress | None = None,
    runs: Sequence[Path] = (),
) -> RecomputedRun:
    """All differences of a run, or of one of its reports: `path` is a folder or a file in it.

    A report may have any name, its suffix says which it is; with `runs`, those that it was made
    of, it may be anywhere. Reports are compared where the records of all their runs hold.
    `options` say where things lie: data, cache_dir. Raises InputError if it is no run's, DataError
    if a stored output is missing or damaged.
    """
    if runs:
        folder = path.parent
        made_of = report_sources(runs[0]) if len(runs) == 1 else ReportSources(tuple(runs))
    else:
        folder = run_folder_of(path)
        made_of = report_sources(folder)
    wanted = {file: _rendered(file, folder) for file in _wanted(path, folder, given=bool(runs))}
    files, found, cells = dict[str, None](), tuple[Difference, ...](), 0
    for run in made_of.runs:
        name = "" if run == folder else f"{run}/"
        part = _recheck_run(run, name, options, progress or SilentProgress())
        cells += part.cells
        files |= dict.fromkeys(part.files)
        found += part.differences
    if not found:
        formats = sorted({file.suffix[1:] for file in wanted})
        with tempfile.TemporaryDirectory() as scratch:
            made_of.write(Path(scratch), formats)
            for file, place in wanted.items():
                rendered = Path(scratch) / place
                if rendered.is_file():
                    found += tuple(_lines(file, file.read_bytes(), rendered.read_bytes()))
                    files[file.name] = None
                elif file == path:
                    raise InputError(f"{path}: these runs have no figure {file.name}")
    return RecomputedRun(cells, tuple(files), found)


def _wanted(path: Path, folder: Path, *, given: bool) -> list[Path]:
    """The reports to compare. Raises InputError if `path` is none and nothing of a run."""
    if path.is_dir() and given:
        raise InputError(f"{path} is a folder: expected one report that was made of the runs")
    if path.is_dir() or (path.name == RECORDS and not given):
        return report_files(folder)
    if not path.is_file():
        raise InputError(f"{path}: expected a report, of one of the formats {', '.join(FORMATS)}")
    if path.suffix[1:] not in FORMATS or path.name in (CONFIG, SOURCES, BASELINES):
        raise InputError(
            f"{path}: not one of a run's reports, which are {', '.join(sorted(FORMATS))} files"
        )
    return [path]


def _rendered(file: Path, folder: Path) -> Path:
    """Where a report is written again, seen from the folder that it is written into."""
    if file.suffix[1:] in report.FORMATS:
        return Path(f"report{file.suffix}")
    return Path(FIGURES) / file.name


def _recheck_run(
    run: Path, name: str, options: Mapping[str, Any], progress: Progress
) -> RecomputedRun:
    """The differences of a run's records and samples; `name` goes before those of its files."""
    session = _session(run, options)
    records, _ = read_run(run)
    with tempfile.TemporaryDirectory() as scratch:
        made = _recomputed(session, Path(scratch), progress)
        files, found = [RECORDS], tuple(_values(records, made))
        if not found and (run / samples.FOLDER).exists():
            again = Path(scratch) / "run"
            samples.write_samples(again, Store(Path(scratch)), made)
            found = tuple(_samples(run, again, records))
            files.append(samples.FOLDER)
    return RecomputedRun(
        sum(record.kind in KINDS for record in made),
        tuple(name + file for file in files),
        tuple(replace(one, file=name + one.file) for one in found),
    )


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
    config = load_config(None, {**known, **{k: v for k, v in options.items() if v is not None}})
    if config.templates is not None and templates_digest(config.templates) != raw.get(
        "templates_sha256"
    ):
        raise DataError(f"{config.templates} has changed: these are not the templates of the run")
    session = prepare_session(config.model_copy(update={"set": changes}))
    now = resolved_config(session.config, session.studies)
    for name in ("backbones", "rows"):
        if now[name] != raw.get(name):
            raise InputError(
                f"{path}: the {name} {_cut(str(raw.get(name)))} cannot be had again, now they "
                f"are {_cut(str(now[name]))}: only what bench run made can be checked, with the "
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
        outcome = execute_plan(study, store, _no_engine, progress)
        _check_stored(outcome.plan, store)
        found += [*outcome.records, *pool_figures(outcome.records)]
        if session.config.controls:
            found += oracle_records(outcome.records)
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
            said = _windows(*(f"{odd} {_facts(record).get(odd)}" for record in (old, new)))
            yield Difference(*where, *said)
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


def _samples(folder: Path, again: Path, records: Sequence[Record]) -> Iterator[Difference]:
    """Where the samples of a run are not those that its stored outputs give."""
    write_atomic(again / RECORDS, records_text(records).encode())
    pairs = zip(samples.sample_outputs(folder), samples.sample_outputs(again), strict=True)
    for old, new in pairs:
        parts = {
            "right": (old.right, new.right),
            "predicted": (old.predicted, new.predicted),
            "labels": (old.on.labels, new.on.labels),
            **{f"group {g}": (old.on.groups.get(g), codes) for g, codes in new.on.groups.items()},
        }
        odd = [n for n, (a, b) in parts.items() if a is None or not np.array_equal(a, b)]
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
    try:
        one, two = (text.decode("utf-8").splitlines() for text in (there, expected))
    except UnicodeDecodeError:
        pairs = zip(there, expected, strict=False)
        at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(there), len(expected)))
        sizes = f"other bytes from byte {at} on, {len(there)} in all", f"{len(expected)} bytes"
        yield Difference(file.name, "1", *sizes)
        return
    if one == two:
        yield Difference(file.name, "1", "other bytes", "the same lines")
    blocks = difflib.SequenceMatcher(None, one, two, autojunk=False).get_opcodes()
    for tag, a, b, c, d in blocks:
        if tag != "equal":
            shown = _windows(" / ".join(one[a:b]), " / ".join(two[c:d]))
            yield Difference(file.name, str(a + 1), *(text or "nothing" for text in shown))


def _windows(one: str, other: str) -> tuple[str, str]:
    """Two texts, long ones cut to where they differ first."""
    pairs = zip(one, other, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
    start = max(0, at - WINDOW // 3) if max(len(one), len(other)) > WINDOW else 0
    return _cut(one, start), _cut(other, start)


def _cut(text: str, start: int = 0) -> str:
    """At most `WINDOW` characters from `start` on, without any that a terminal would obey."""
    part = text[start : start + WINDOW]
    return (
        ("..." if start else "")
        + escape_control(part)
        + ("..." if start + WINDOW < len(text) else "")
    )
