"""Recompute a finished run from its stored outputs: ``bench check RUN``.

Everything that follows from features and weights is recomputed, including choices, and compared
with ``records.jsonl`` and ``samples/``. Reports are rendered again from the records and compared
byte by byte. This reveals an edited digit, and also an altered stored output, by its checksum or by
the numbers it gives. No model is run; to verify the features, run the suite again.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.api.recipe_parts import stored_parts
from bench.checks.differences import Difference, first_line_differing, text_differences, windows
from bench.checks.resample import resample
from bench.core.environment import processor
from bench.core.errors import DataError, InputError
from bench.core.foreign.files import read_regular
from bench.core.paths import write_atomic
from bench.core.progress import Progress, SilentProgress
from bench.core.records import CellAddress, MissingCell, Record, records_text, sort_key
from bench.core.store import Store
from bench.core.trainings import (
    ADDED,
    TRAININGS,
    TrainingRecord,
    read_trainings,
    write_trainings,
)
from bench.leaderboard import samples
from bench.leaderboard.board import KINDS
from bench.leaderboard.comparability import row_name, same_value
from bench.leaderboard.derived import oracle_records, pool_figures
from bench.report import write as report
from bench.report.glossary import linked_root
from bench.report.run_folder import (
    BASELINES,
    CONFIG,
    FIGURES,
    PLAN,
    RECORDS,
    SOURCES,
    ReportSources,
    read_run,
    report_files,
    report_sources,
)
from bench.runs.execution.execute import choice_lookup, execute_plan
from bench.runs.items import FeaturesItem, WeightsItem
from bench.runs.outputs import DISTANCES
from bench.runs.plan import Plan, make_plan
from bench.runs.results.manifest import MANIFEST, changed_files
from bench.runs.results.plan_lines import plan_text
from bench.runs.session import Session, session_of

if TYPE_CHECKING:
    from bench.runs.engine import Engine

FORMATS = report.FORMATS.keys() | report.PICTURES
REPEAT = "name the cache of the run with --cache-dir, or run the same command again to compute it"
FACTS = (*CellAddress.model_fields, "n", "data", "choice", "chosen_on", "weight", "temperature")
"""The fields of a record, besides its value, that follow from stored outputs and may be printed."""
COMPUTED = frozenset({"cells", "fits", DISTANCES, samples.KIND, samples.SETS})
"""The kinds of outputs that are recomputed."""


@dataclass(frozen=True)
class _RecomputingStore(Store):
    """A store that reads features and weights, but has the outputs to recompute in `scratch`."""

    scratch: Path = Path()

    @property
    def at_work(self) -> Path:
        """The scratch folder, as only recomputed outputs are written."""
        return self.scratch

    def path(self, kind: str, key: str, suffix: str = ".safetensors") -> Path:
        """Return the path of an output; that of a recomputed one is in the scratch folder."""
        root = self.scratch if kind in COMPUTED else self.root
        return root / kind / key[:2] / f"{key}{suffix}"


def _recomputing(session: Session, scratch: Path) -> Store:
    return _RecomputingStore(session.store.root, session.store.files, scratch=scratch)


@dataclass(frozen=True)
class RecomputedRun:
    """The result: how many leaderboard cells were recomputed, the checked files, differences.

    `elsewhere` names the processors that measured cells, if this machine has none of them.
    """

    cells: int
    files: tuple[str, ...]
    differences: tuple[Difference, ...]
    elsewhere: tuple[str, ...] = ()


def run_folder_of(path: Path) -> Path:
    """Return the folder of the run, or of the report of several runs, that `path` belongs to.

    `path` is that folder or a file in it. Raises InputError if it is neither.
    """
    folder = path if path.is_dir() else path.parent
    if path.is_file() and folder.name == FIGURES:
        folder = folder.parent
    if not path.exists() or not any((folder / name).is_file() for name in (RECORDS, SOURCES)):
        raise InputError(f"{path}: expected the folder of a run, or a report of one or more runs")
    return folder


def recompute_run(
    path: Path,
    options: Mapping[str, Any],
    progress: Progress | None = None,
    runs: Sequence[Path] = (),
    share: float = 0.0,
) -> RecomputedRun:
    """Recompute a run, or the runs of a report, and return all differences.

    A `share` of the images is forwarded again (`bench.checks.resample`).

    `path` is the folder of a run, or a report in it. A report may have any name; its suffix
    determines the format. With `runs`, the runs that the report was built from, it may be anywhere.
    Reports are compared only if the records of all their runs have no differences. `options` holds
    the locations of inputs: data, cache_dir. Raises InputError if `path` does not belong to a run,
    DataError if a stored output is missing or damaged.
    """
    if runs:
        folder = path.parent
        sources = report_sources(runs[0]) if len(runs) == 1 else ReportSources(tuple(runs))
    else:
        folder = run_folder_of(path)
        sources = report_sources(folder)
    reports = _reports_to_compare(path, folder, has_runs=bool(runs))
    files, found, cells = dict[str, None](), tuple[Difference, ...](), 0
    elsewhere = dict[str, None]()
    for run in sources.runs:
        prefix = "" if run == folder else f"{run}/"
        part = _recompute_one(run, prefix, options, progress or SilentProgress(), share)
        cells += part.cells
        files |= dict.fromkeys(part.files)
        found += part.differences
        elsewhere |= dict.fromkeys(part.elsewhere)
    if not found:
        formats = sorted({file.suffix[1:] for file in reports})
        with tempfile.TemporaryDirectory() as scratch:
            roots = (linked_root(read_regular(file)) for file in reports)
            sources.write(Path(scratch), formats, next(filter(None, roots), ""))
            for file in reports:
                rendered = Path(scratch) / _rendered_name(file)
                if rendered.is_file():
                    found += tuple(text_differences(file, rendered))
                    files[file.name] = None
                elif file == path:
                    raise InputError(f"{path}: these runs have no figure {file.name}")
    return RecomputedRun(cells, tuple(files), found, tuple(elsewhere))


def _reports_to_compare(path: Path, folder: Path, *, has_runs: bool) -> list[Path]:
    """Return the reports to compare. Raises InputError if `path` is no run and no report."""
    if path.is_dir() and has_runs:
        raise InputError(f"{path} is a folder: expected one report that was built from the runs")
    if path.is_dir() or (path.name == RECORDS and not has_runs):
        return report_files(folder)
    if not path.is_file():
        raise InputError(
            f"{path}: no such file: expected a report in one of the formats "
            f"{', '.join(sorted(FORMATS))}"
        )
    if path.suffix[1:] not in FORMATS or path.name in (CONFIG, SOURCES, BASELINES):
        raise InputError(
            f"{path}: not one of a run's reports, which are {', '.join(sorted(FORMATS))} files"
        )
    return [path]


def _rendered_name(file: Path) -> Path:
    """Return where a report is rendered again, relative to its folder."""
    if file.suffix[1:] in report.FORMATS:
        return Path(f"report{file.suffix}")
    return Path(FIGURES) / file.name


def _recompute_one(
    run: Path, prefix: str, options: Mapping[str, Any], progress: Progress, share: float
) -> RecomputedRun:
    """Return the differences of a run's records and samples; `prefix` precedes file names."""
    session = session_of(run, options)
    records, missing = read_run(run)
    _check_same_data(run, session, records)
    changed = changed_files(run)
    with tempfile.TemporaryDirectory() as scratch:
        recomputed, trainings, plans = _recomputed(session, Path(scratch), progress, missing)
        files, found = [RECORDS], tuple(_record_differences(records, recomputed))
        if not found and (run / PLAN).is_file():  # seeds and rows that were dropped since
            found = tuple(first_line_differing(run / PLAN, plan_text(plans)))
            files.append(PLAN)
        if not found and (run / samples.FOLDER).exists():
            recomputed_run = Path(scratch) / "run"
            samples.write_samples(recomputed_run, Store(Path(scratch)), recomputed)
            found = tuple(_sample_differences(run, recomputed_run, records))
            files.append(samples.FOLDER)
        if not found and (run / TRAININGS).is_file():  # older versions wrote none
            # Nor did all of them write every field.
            is_old = all(training.images is None for training in read_trainings(run))
            write_trainings(Path(scratch), trainings, ADDED if is_old else ())
            found = tuple(text_differences(run / TRAININGS, Path(scratch) / TRAININGS))
            files.append(TRAININGS)
        if not found and changed is not None:
            if trainings and not (run / TRAININGS).is_file():
                changed = sorted({*changed, TRAININGS})
            texts = "another digest", "the file as it is now"
            found = tuple(Difference(MANIFEST, f" {name}", *texts) for name in changed)
            files.append(MANIFEST)
        if not found and share:
            store = _recomputing(session, Path(scratch))
            count, different = resample(session, plans, store, share, progress)
            found = tuple(different)
            files.append(f"{count} features of images forwarded again")
    return RecomputedRun(
        sum(record.kind in KINDS for record in recomputed),
        tuple(prefix + file for file in files),
        tuple(replace(one, file=prefix + one.file) for one in found),
        _processors_elsewhere(records),
    )


def _processors_elsewhere(records: Sequence[Record]) -> tuple[str, ...]:
    """Return the processors that measured records, if they are known and this machine has none."""
    stated = [record.environment.get("hardware") for record in records]
    known = dict.fromkeys(_name(found) for found in stated if isinstance(found, Mapping))
    return () if _name(processor()) in known else tuple(known)


def _name(hardware: Mapping[str, Any]) -> str:
    return str(hardware.get("cpu") or hardware.get("machine"))


def _check_same_data(run: Path, session: Session, records: Sequence[Record]) -> None:
    """Raise DataError if a split has other images or labels now than in the run."""
    then = {
        (record.suite, part, record.shift if part == "evaluation" else ""): fingerprint
        for record in records
        for part, fingerprint in record.provenance.get("data", {}).items()
    }
    for study in session.studies:
        suite = study.suite
        parts = {("train", ""): suite.task.train, ("selection", ""): suite.task.selection}
        parts |= {("evaluation", shift.name): shift.split for shift in suite.evaluations()}
        for part, split in parts.items():
            if then.get((suite.name, *part), split.fingerprint) != split.fingerprint:
                raise DataError(
                    f"{run}: the data or labels of {split.name} have changed since the run, so "
                    "its numbers cannot be checked: restore the data, or run the suite again"
                )


def _recomputed(
    session: Session, scratch: Path, progress: Progress, lacking: Sequence[MissingCell]
) -> tuple[list[Record], list[TrainingRecord], list[Plan]]:
    """Return the run's records, recomputed from features and weights, its trainings and plans.

    Raises DataError if a cell is missing that is not among `lacking`, those of the run.
    """
    store = _recomputing(session, scratch)
    found, trainings, plans = list[Record](), list[TrainingRecord](), list[Plan]()
    for plan in session.plans:  # before anything is read, because reading removes damaged files
        _check_stored(plan, store)
    for study in session.studies:
        plan = make_plan(study, choice_lookup(store))  # whose choices are made again
        outcome = execute_plan(plan, store, _no_engine, progress)
        _check_stored(outcome.plan, store)
        found += [*outcome.records, *pool_figures(outcome.records)]
        trainings += outcome.trainings
        plans.append(outcome.plan)
        if session.config.controls:
            found += oracle_records(outcome.records)
        if new := [cell for cell in outcome.missing if cell not in lacking]:
            first = new[0]
            raise DataError(f"{first.method} on {first.shift}: {first.reason}")
    return found, trainings, plans


def _check_stored(plan: Plan, store: Store) -> None:
    """Raise DataError if stored weights or features of a plan's cells are damaged.

    Also if features were not made by the weights that are stored now: a checkpoint was swapped.
    """
    for item in plan.of(WeightsItem, FeaturesItem):
        for path in store.damaged(item.key):
            named = store.files.place(path)
            raise DataError(f"{named} is damaged, its numbers cannot be checked: {REPEAT}")
    for item in plan.of(FeaturesItem):
        for path in store.made_otherwise(item.key, stored_parts(item.encoder)):
            named = store.files.place(path)
            raise DataError(
                f"{named} was made by other weights than those in the cache now, its numbers "
                "cannot be checked: delete the folder of this file and run the same command again"
            )


def _no_engine(*_: object) -> Engine:
    raise DataError(
        "a stored output of this run is missing or damaged, its numbers cannot be checked: "
        + REPEAT
    )


def _record_differences(
    records: Sequence[Record], recomputed: Sequence[Record]
) -> Iterator[Difference]:
    """Yield where records differ from the recomputed ones."""
    expected = {sort_key(record): record for record in recomputed}
    recorded = {sort_key(record): record for record in records}
    for key in sorted(expected.keys() | recorded.keys(), key=repr):
        old, new = recorded.get(key), expected.get(key)
        one = old or new
        assert one is not None
        seed = "" if one.seed is None else f", seed {one.seed}"
        row = f"{row_name(one)} on {one.shift}{seed}"
        place = RECORDS, f" {one.metric} ({one.kind}) of {row}"
        if old is None or new is None:
            yield Difference(*place, *(("a record", "none") if old else ("no record", "one")))
        elif not _same(old.value, new.value):
            yield Difference(*place, repr(old.value), repr(new.value))
        elif fact := _differing_fact(_facts(old), _facts(new)):
            texts = windows(*(f"{fact} {_facts(record).get(fact)}" for record in (old, new)))
            yield Difference(*place, *texts)
    counts, expected_counts = Counter(map(sort_key, records)), Counter(map(sort_key, recomputed))
    if repeated := [key for key in recorded if counts[key] > expected_counts[key] > 0]:
        yield Difference(RECORDS, f" {len(repeated)} cells", "recorded more than once", "each once")


def _facts(record: Record) -> dict[str, Any]:
    """Return what follows from stored outputs, except the value, versions, commit and machine."""
    provenance = {name: fact for name, fact in record.provenance.items() if name != "environment"}
    return {name: getattr(record, name) for name in FACTS} | provenance


def _differing_fact(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return the first name that both have with different values; empty if there is none.

    Names that only one has are ignored: another version of bench may record more facts, or fewer.
    """
    return next((name for name in one if name in other and not _same(one[name], other[name])), "")


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal up to rounding of the numbers in them.

    Printed digits are compared exactly.
    """
    if isinstance(one, float) and isinstance(other, float):
        return same_value(one, other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _sample_differences(
    folder: Path, recomputed: Path, records: Sequence[Record]
) -> Iterator[Difference]:
    """Yield where the samples of a run differ from the recomputed ones."""
    write_atomic(recomputed / RECORDS, records_text(records).encode())
    pairs = zip(samples.sample_outputs(folder), samples.sample_outputs(recomputed), strict=True)
    for old, new in pairs:
        parts = {
            "right": (old.right, new.right),
            "predicted": (old.predicted, new.predicted),
            "labels": (old.on.labels, new.on.labels),
            **{f"group {g}": (old.on.groups.get(g), codes) for g, codes in new.on.groups.items()},
        }
        differing = [n for n, (a, b) in parts.items() if a is None or not np.array_equal(a, b)]
        # Confidences are stored in steps, and rounding may move one to the next step.
        if not differing and np.abs(old.confidence - new.confidence).max() > 1.5 / samples.STEPS:
            differing.append("confidence")
        if old.on.digest != new.on.digest:
            differing.append("ids")
        if differing:
            place = f" {row_name(new.record)} on {new.record.shift}"
            recorded = f"{', '.join(differing)} as stored in the run"
            yield Difference(samples.FOLDER, place, recorded, "other values")
