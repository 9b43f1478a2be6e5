"""Finished runs, read from their folders: what reports are made of.

The folder of a run has its records. A folder with reports of other folders' runs has
``sources.json`` instead, which names them, seen from itself. In either, ``baselines.csv`` holds the
baseline models that its reports show. So every report can be made again, and checked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import InputError
from bench.core.paths import write_atomic
from bench.core.records import MissingCell, Record, read_records
from bench.leaderboard import samples
from bench.leaderboard.published.baselines import Baseline
from bench.leaderboard.published.baselines import read_baselines as read_baselines
from bench.leaderboard.published.layouts import Preset, find_preset
from bench.report.write import FORMATS, PICTURES, write_report

CONFIG = "config.json"
RECORDS = "records.jsonl"
SOURCES = "sources.json"
BASELINES = "baselines.csv"
FIGURES = "figures"


@dataclass(frozen=True)
class ReportSources:
    """What the reports of a folder are made of: `runs` are folders of finished runs."""

    runs: tuple[Path, ...]
    baselines: tuple[Baseline, ...] = ()

    def write(self, folder: Path, formats: Sequence[str]) -> tuple[Path, ...]:
        """Write reports into a folder, as `report.write` does.

        Raises InputError if a run cannot be read, DataError if its samples are damaged.
        """
        found = [read_run(run) for run in self.runs]
        records = {r.model_dump_json(): r for each, _ in found for r in each}
        if not records and not any(lacking for _, lacking in found):
            raise InputError(f"{', '.join(map(str, self.runs))}: no records to report")
        return write_report(
            folder,
            records.values(),
            [m for _, lacking in found for m in lacking],
            tuple(dict.fromkeys(preset for run in self.runs for preset in read_presets(run))),
            formats,
            (one for run in self.runs for one in read_samples(run)),
            self.baselines,
        )


def report_sources(folder: Path) -> ReportSources:
    """What a folder's reports are made of: its own run, or those that it names.

    Raises InputError if the folder holds neither a run nor reports of runs.
    """
    path = folder / SOURCES
    if (folder / RECORDS).is_file():
        return ReportSources((folder,), kept_baselines(folder))
    if not path.is_file():
        raise InputError(f"{folder}: expected the folder of a run, or of reports of runs")
    try:
        names: list[str] = json.loads(path.read_text(encoding="utf-8"))["runs"]
        if not isinstance(names, list) or not names:
            raise TypeError("no list of folders")
        runs = tuple(Path(os.path.normpath(folder / name)) for name in names)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not name the runs of a report: make it again") from error
    return ReportSources(runs, kept_baselines(folder))


def kept_baselines(folder: Path) -> tuple[Baseline, ...]:
    """The baseline models of a folder's reports. Raises InputError if they cannot be read."""
    path = folder / BASELINES
    return read_baselines(path) if path.is_file() else ()


def rewrite_reports(
    folder: Path, runs: Sequence[Path], baselines: Path | None, formats: Sequence[str]
) -> tuple[Path, ...]:
    """Write reports of runs into a folder, with what they are made of; returns the reports.

    Without `baselines` those that the folder has remain. Formats that are there already are
    written again where what they are made of has changed. Raises InputError if the folder is that
    of a run and others are to be reported in it, DataError if samples are damaged.
    """
    own = [folder.resolve()] == [run.resolve() for run in runs]
    if (folder / RECORDS).is_file() and not own:
        raise InputError(f"{folder} is the folder of a run: expected another for this report")
    made_of = ReportSources(tuple(runs), kept_baselines(folder))
    beside: dict[Path, bytes] = {}
    if baselines is not None:
        made_of = ReportSources(tuple(runs), read_baselines(baselines))
        beside[folder / BASELINES] = baselines.read_bytes()
    if not own:
        names = [Path(os.path.relpath(run.resolve(), folder.resolve())).as_posix() for run in runs]
        text = json.dumps({"runs": names}, indent=1) + "\n"
        beside[folder / SOURCES] = text.encode()
    changed = any(not p.is_file() or p.read_bytes() != data for p, data in beside.items())
    there = {path.suffix[1:] for path in report_files(folder)} if changed else set()
    written = made_of.write(folder, tuple(dict.fromkeys([*formats, *sorted(there)])))
    for path, data in beside.items():
        write_atomic(path, data)
    return written


def report_files(folder: Path) -> list[Path]:
    """The reports and figures that a folder has."""
    known = FORMATS.keys() | PICTURES
    found = sorted([*folder.glob("report.*"), *folder.glob(f"{FIGURES}/*")])
    return [path for path in found if path.suffix[1:] in known]


def read_run(folder: Path) -> tuple[list[Record], list[MissingCell]]:
    """Records and missing cells of a finished run's folder. Raises InputError if it is none."""
    records = read_records(folder / RECORDS)
    path = folder / "missing.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return records, [MissingCell.model_validate_json(line) for line in lines]
    except ValueError as error:
        raise InputError(f"{path} does not list missing cells: run the suite again") from error


def read_samples(folder: Path) -> Iterator[samples.SampleOutputs]:
    """The samples of a finished run, if it kept any. Raises DataError if one is damaged."""
    if (folder / samples.FOLDER / samples.SUMS).is_file():
        yield from samples.sample_outputs(folder)


def read_presets(folder: Path) -> tuple[Preset, ...]:
    """The paper's table that a finished run was to show, if its ``config.json`` names one.

    Raises InputError if that cannot be read or names a table there is not.
    """
    path = folder / CONFIG
    if not path.is_file():
        return ()
    try:
        name = json.loads(path.read_text(encoding="utf-8")).get("table")
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path} is no run's configuration: run the suite again") from error
    return () if name is None else (find_preset(name),)
