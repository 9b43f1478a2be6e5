"""Folders of finished runs and of reports: read the inputs of reports, write reports again.

The folder of a run contains its records. A folder with reports on runs in other folders contains
``sources.json`` instead, with the relative paths of those runs. In both, ``baselines.csv`` holds
the baseline models that the reports show. Every report can thus be regenerated and checked.
"""

from __future__ import annotations

import gc
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.api.registry import loaded_plugins
from bench.core.errors import InputError
from bench.core.foreign.documents import read_json
from bench.core.paths import local_path, write_atomic
from bench.core.records import (
    MissingCell,
    Record,
    distinct_records,
    read_missing,
    read_records,
)
from bench.core.trainings import TrainingRecord, read_trainings
from bench.leaderboard import samples
from bench.leaderboard.board import BoardKey, board_key
from bench.leaderboard.published.baselines import Baseline
from bench.leaderboard.published.baselines import read_baselines as read_baselines
from bench.leaderboard.published.clip_benchmark import ForeignFile, read_clip_benchmark
from bench.leaderboard.published.layouts import Preset, find_preset
from bench.leaderboard.robustness import DERIVED
from bench.report.document import Document, document
from bench.report.run_config import CONFIG as CONFIG
from bench.report.run_config import read_config
from bench.report.staging import finish
from bench.report.write import FORMATS, PICTURES, with_foreign_rows, write_document

RECORDS = "records.jsonl"
MISSING = "missing.jsonl"
PLAN = "plan.json"
SOURCES = "sources.json"
BASELINES = "baselines.csv"
FIGURES = "figures"
BESIDE = "beside"
"""The folder with the files of foreign rows that the reports show."""


@dataclass(frozen=True)
class ReportSources:
    """Inputs of the reports in a folder; `runs` are folders of finished runs.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.records import records_text
    >>> from bench.report.run_folder import ReportSources
    >>> from bench.testing.fakes import fake_records
    >>> _ = Path("run").mkdir(), Path("run/records.jsonl").write_text(records_text(fake_records()))
    >>> [path.name for path in ReportSources((Path("run"),)).write(Path("reports"), ["md"])]
    ['report.md']
    """

    runs: tuple[Path, ...]
    baselines: tuple[Baseline, ...] = ()
    beside: tuple[ForeignFile, ...] = ()

    def write(
        self, folder: Path, formats: Sequence[str], root: str | None = None
    ) -> tuple[Path, ...]:
        """Write reports into a folder with `bench.report.write.write_document`.

        Raises InputError if a run cannot be read, DataError if its samples are damaged.
        """
        with _without_collector():
            return write_document(folder, self.content()[0], formats, root)

    def content(self) -> tuple[Document, Mapping[Path, frozenset[BoardKey]]]:
        """Return the reports' content, and by run the keys of the leaderboards it has cells in.

        It takes less memory than all records, which end here. Raises as `write` does.
        """
        contents = [read_run(run) for run in self.runs]
        records = distinct_records(r for own, _ in contents for r in own)
        if not records and not any(missing for _, missing in contents):
            raise InputError(
                f"{', '.join(map(str, self.runs))}: no records to report; run the suite first"
            )
        keys = {
            run: frozenset({*map(board_key, own), *map(board_key, missing)})
            for run, (own, missing) in zip(self.runs, contents, strict=True)
        }
        made = document(
            records,
            [m for _, missing in contents for m in missing],
            tuple(dict.fromkeys(preset for run in self.runs for preset in read_presets(run))),
            (outputs for run in self.runs for outputs in read_samples(run)),
            self.baselines,
            _distinct_trainings(self.runs),
            tuple(dict.fromkeys(name for run in self.runs for name in read_derived(run))),
        )
        return with_foreign_rows(made, self.beside), keys


@contextmanager
def _without_collector() -> Iterator[None]:
    """Do without the collector of cycles: it would go through all records again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _distinct_trainings(runs: Sequence[Path]) -> list[TrainingRecord]:
    """Return the trainings of runs; one that several runs used is there once."""
    found: dict[tuple[str, ...], TrainingRecord] = {}
    for training in (training for run in runs for training in read_trainings(run)):
        place = (training.suite, training.model, training.protocol, *training.notes, training.key)
        known = found.setdefault(place, training)
        rows = tuple(sorted({*known.rows, *training.rows}))
        history = max(known.history or (), training.history or (), key=len) or None
        full = known if known.images is not None else training  # older versions kept less
        found[place] = full.model_copy(update={"rows": rows, "history": history})
    return list(found.values())


def report_sources(folder: Path) -> ReportSources:
    """Return the inputs of a folder's reports: its own run, or those that ``sources.json`` names.

    Raises InputError if the folder holds neither a run nor reports of runs.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.records import records_text
    >>> from bench.report.run_folder import report_sources
    >>> from bench.testing.fakes import fake_records
    >>> Path("finished").mkdir()
    >>> _ = Path("finished/records.jsonl").write_text(records_text(fake_records()))
    >>> report_sources(Path("finished")).runs == (Path("finished"),)
    True
    """
    path = folder / SOURCES
    finish(folder)
    if (folder / RECORDS).is_file():
        return ReportSources((folder,), kept_baselines(folder), kept_beside(folder))
    if not path.is_file():
        raise InputError(f"{folder}: expected the folder of a run or of reports of runs")
    try:
        names: list[str] = read_json(path)["runs"]
        if not isinstance(names, list) or not names:
            raise TypeError("no list of folders")
        runs = tuple(Path(os.path.normpath(folder / local_path(name, "run"))) for name in names)
    except (InputError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} does not name the runs of a report: write it again with bench report"
        ) from error
    return ReportSources(runs, kept_baselines(folder), kept_beside(folder))


def kept_baselines(folder: Path) -> tuple[Baseline, ...]:
    """Return the baselines of a folder's reports. Raises InputError if they cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.report.run_folder import kept_baselines
    >>> kept_baselines(Path("nowhere"))
    ()
    """
    path = folder / BASELINES
    return read_baselines(path) if path.is_file() else ()


def kept_beside(folder: Path) -> tuple[ForeignFile, ...]:
    """Return the files of foreign rows of a folder's reports. Raises InputError for a damaged one.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.report.run_folder import kept_beside
    >>> kept_beside(Path("nowhere"))
    ()
    """
    return tuple(map(read_clip_benchmark, _files_beside(folder)))


def _files_beside(folder: Path) -> list[Path]:
    return sorted(p for p in (folder / BESIDE).glob("*") if p.suffix in (".csv", ".json"))


def rewrite_reports(
    folder: Path,
    runs: Sequence[Path],
    baselines: Path | None,
    formats: Sequence[str],
    beside: Sequence[Path] = (),
) -> tuple[Path, ...]:
    """Write reports of runs into a folder, together with their inputs; return the reports' paths.

    Without `baselines`, the folder's own baselines stay, and so do its foreign rows without files
    `beside`. If the inputs changed, formats that the folder already has are written again, too.
    Raises InputError if the folder is that of a run and other runs are to be reported in it, and
    for files `beside` that cannot be read or shown, DataError if samples are damaged.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.records import records_text
    >>> from bench.report.run_folder import rewrite_reports
    >>> from bench.testing.fakes import fake_records
    >>> Path("mine").mkdir()
    >>> _ = Path("mine/records.jsonl").write_text(records_text(fake_records()))
    >>> [path.name for path in rewrite_reports(Path("mine"), [Path("mine")], None, ["md"])]
    ['report.md']
    """
    own = [folder.resolve()] == [run.resolve() for run in runs]
    if (folder / RECORDS).is_file() and not own:
        raise InputError(
            f"{folder} is the folder of a run: choose another --out for a report of other runs"
        )
    sources = ReportSources(tuple(runs), kept_baselines(folder), kept_beside(folder))
    inputs: dict[Path, bytes] = {}
    if baselines is not None:
        sources = replace(sources, baselines=read_baselines(baselines))
        inputs[folder / BASELINES] = baselines.read_bytes()
    if beside:
        sources = replace(sources, beside=_read_beside(beside))
        inputs |= {folder / BESIDE / path.name: path.read_bytes() for path in beside}
    if not own:
        names = [Path(os.path.relpath(run.resolve(), folder.resolve())).as_posix() for run in runs]
        text = json.dumps({"runs": names}, indent=1) + "\n"
        inputs[folder / SOURCES] = text.encode()
    changed = any(not p.is_file() or p.read_bytes() != data for p, data in inputs.items())
    existing = {path.suffix[1:] for path in report_files(folder)} if changed else set()
    with _without_collector():
        content, _ = sources.content()
        if beside and not any(chapter.beside for chapter in content.chapters):
            raise InputError(
                "--beside: no result is an accuracy on an evaluation set of the reported suites: "
                "give results on their data sets"
            )
        wanted = tuple(dict.fromkeys([*formats, *sorted(existing)]))
        written = write_document(folder, content, wanted)
    for path, data in inputs.items():
        write_atomic(path, data)
    for path in _files_beside(folder) if beside else ():
        if path not in inputs:
            path.unlink()
    return written


def _read_beside(paths: Sequence[Path]) -> tuple[ForeignFile, ...]:
    """Return the given files, which are kept by their names, in the order of these."""
    names = Counter(path.name for path in paths)
    if twice := [name for name, count in names.items() if count > 1]:
        raise InputError(f"--beside: several files are named {twice[0]}: give them other names")
    return tuple(map(read_clip_benchmark, sorted(paths, key=lambda path: path.name)))


def report_files(folder: Path) -> list[Path]:
    """Return the paths of the reports and figures in a folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.report.run_folder import report_files
    >>> Path("old").mkdir()
    >>> Path("old/report.md").touch()
    >>> report_files(Path("old"))[0].name
    'report.md'
    """
    known = FORMATS.keys() | PICTURES
    found = sorted([*folder.glob("report.*"), *folder.glob(f"{FIGURES}/*")])
    return [path for path in found if path.suffix[1:] in known]


def read_run(folder: Path) -> tuple[list[Record], list[MissingCell]]:
    """Read records and missing cells of a finished run. Raises InputError for any other folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.records import records_text
    >>> from bench.report.run_folder import read_run
    >>> from bench.testing.fakes import fake_records
    >>> Path("done").mkdir()
    >>> _ = Path("done/records.jsonl").write_text(records_text(fake_records()))
    >>> records, missing = read_run(Path("done"))
    >>> len(records), missing
    (9, [])
    """
    finish(folder)
    return read_records(folder / RECORDS), read_missing(folder / MISSING)


def read_samples(folder: Path) -> Iterator[samples.SampleOutputs]:
    """Read the samples of a finished run, if it stored any. Raises DataError for damaged ones.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.report.run_folder import read_samples
    >>> list(read_samples(Path("nowhere")))
    []
    """
    if (folder / samples.FOLDER / samples.SUMS).is_file():
        yield from samples.sample_outputs(folder)


def unloaded_plugins(folder: Path) -> tuple[str, ...]:
    """Return the plugin files that a finished run used, as given then, which are not loaded now.

    They are not loaded from here: reading a report must not run code.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.report.run_folder import unloaded_plugins
    >>> config = '{"plugin": ["my_method.py"], "plugin_sha256": ["1a56"]}'
    >>> _ = Path("config.json").write_text(config)
    >>> unloaded_plugins(Path("."))
    ('my_method.py',)
    """
    try:
        config = read_config(folder)
    except InputError:
        return ()
    pairs = zip(config.get("plugin", ()), config.get("plugin_sha256", ()), strict=False)
    loaded = {file.digest for file in loaded_plugins().values()}
    return tuple(str(path) for path, digest in pairs if digest not in loaded)


def read_presets(folder: Path) -> tuple[Preset, ...]:
    """Return the paper's table that the ``config.json`` of a finished run names; often none.

    Raises InputError if the file cannot be read or names an unknown table.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.report.run_folder import read_presets
    >>> read_presets(Path("nowhere"))
    ()
    """
    if not (folder / CONFIG).exists():
        return ()
    name = read_config(folder).get("table")
    return () if name is None else (find_preset(name),)


def read_derived(folder: Path) -> tuple[str, ...]:
    """Return the derived metrics that the ``config.json`` of a run asks for, in their usual order.

    Raises InputError if the file cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.report.run_folder import read_derived
    >>> _ = Path("config.json").write_text('{"metrics": ["aurc", "id-ood-gap"]}')
    >>> read_derived(Path("."))
    ('id-ood-gap',)
    """
    if not (folder / CONFIG).exists():
        return ()
    asked = read_config(folder).get("metrics", ())
    return tuple(name for name in DERIVED if name in asked)
