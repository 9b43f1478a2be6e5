"""``bench export``: what other tools read of a finished run."""

from __future__ import annotations

import sys
from pathlib import Path

import cloup

from bench.cli.options import DEBUG, PATH, PLUGIN_ONLY_LOADED, examples
from bench.core.streams import print_line


@cloup.command(
    "export",
    epilog=examples(
        "bench export results/runs/RUN --records records.parquet",
        "bench export results/runs/RUN --records records.csv",
    ),
)
@cloup.argument("run", type=PATH, metavar="RUN")
@cloup.option(
    "--records",
    type=PATH,
    required=True,
    metavar="FILE",
    help="Write all records as a table: .csv, or .parquet and .arrow (extra 'arrow').",
)
@PLUGIN_ONLY_LOADED
@DEBUG
def export_command(run: Path, records: Path) -> None:
    """Export records of a run for other tools.

    RUN is a folder. docs/exchange.md explains the files.
    """
    from bench.front.exports.tables import write_records
    from bench.report.run_folder import read_run

    print_line(str(write_records(records, read_run(run)[0])), sys.stdout)
