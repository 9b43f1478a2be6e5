"""The files that hold the results of a run, and the reports that show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.paths import write_atomic
from bench.core.records import MissingCell, Record, records_text, write_missing
from bench.core.store import Store
from bench.core.trainings import TrainingRecord, write_trainings
from bench.leaderboard import samples
from bench.leaderboard.published.layouts import Preset
from bench.report.glossary import path_to_root
from bench.report.run_folder import (
    MISSING,
    RECORDS,
    kept_baselines,
    kept_beside,
    read_derived,
    read_samples,
    report_files,
)
from bench.report.write import USUAL, write_report


@dataclass(frozen=True)
class Results:
    """What a run found, over all its suites."""

    records: Sequence[Record]
    missing: Sequence[MissingCell]
    trainings: Sequence[TrainingRecord]

    def write(self, new: Path, out: Path, store: Store, presets: Sequence[Preset]) -> None:
        """Write records, samples and reports into `new`, which is to become the folder `out`.

        Its configuration is there already: it may ask for derived metrics.

        Reports are written in the usual formats and in those that `out` has.
        """
        formats = {path.suffix[1:]: None for path in report_files(out)}
        write_atomic(new / RECORDS, records_text(self.records).encode())
        write_missing(new / MISSING, self.missing)
        write_trainings(new, self.trainings)
        samples.write_samples(new, store, self.records)
        write_report(
            new,
            self.records,
            self.missing,
            presets,
            formats=tuple({**dict.fromkeys(USUAL), **formats}),
            samples=read_samples(new),
            baselines=kept_baselines(out),
            trainings=self.trainings,
            root=path_to_root(out),
            derived=read_derived(new),
            beside=kept_beside(out),
        )
