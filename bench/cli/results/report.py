"""``bench report``: reports of finished runs, rebuilt from their records."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Iterable
from pathlib import Path

import cloup

from bench.cli.options import DEBUG, HELP, PATH, PLUGIN_ONLY_LOADED, examples
from bench.core.errors import InputError
from bench.core.streams import print_line


@cloup.command(
    "report",
    epilog=examples(
        "bench report results/runs/RUN --open",
        "bench report results/runs/RUN --format tex,svg --out paper",
        "bench report RUN1 RUN2 --out merged         # one report of several runs",
        "bench report results/runs/RUN --beside imagenet1k.json --beside v2.json",
    ),
)
@cloup.argument("runs", nargs=-1, required=True, type=PATH)
@cloup.option(
    "--format", "formats", default="md,html", metavar="LIST", help=HELP["format"], show_default=True
)
@cloup.option("--out", type=PATH, help="Output folder. [default: the run's]")
@cloup.option("--baselines", type=PATH, metavar="CSV", help=HELP["baselines"])
@cloup.option(
    "--beside",
    type=PATH,
    multiple=True,
    metavar="FILE",
    help="Show results of CLIP_benchmark (.json, .csv) beside the rows, marked and not ranked; "
    "they stay with the report. Repeatable.",
)
@cloup.option("--open", "show", is_flag=True, help="Open report.html in the browser.")
@PLUGIN_ONLY_LOADED
@DEBUG
def report_command(
    runs: tuple[Path, ...],
    formats: str,
    out: Path | None,
    baselines: Path | None,
    beside: tuple[Path, ...],
    show: bool,
) -> None:
    """Rebuild the report of finished runs.

    RUNS are folders; only their records and samples are read.
    """
    from bench.core.paths import check_writable
    from bench.report.run_folder import rewrite_reports
    from bench.report.write import parse_formats

    if len(runs) > 1 and out is None:
        raise InputError("a report of several runs needs a folder of its own: add --out FOLDER")
    wanted = parse_formats(f"{formats},html" if show else formats)
    say_unloaded_plugins(runs)
    target = check_writable(out or runs[0], "output folder")
    written = rewrite_reports(target, runs, baselines, wanted, beside)
    for path in written:
        print_line(str(path), sys.stdout)
    if show:
        page = next(path for path in written if path.suffix == ".html")
        if not webbrowser.open(page.resolve().as_uri()):
            print_line("no browser was found: open the page yourself", sys.stderr)


def say_unloaded_plugins(runs: Iterable[Path]) -> None:
    """Print a line for each plugin file that a run used and that is not loaded as it was then."""
    from bench.report.run_folder import unloaded_plugins

    for run in runs:
        for plugin in unloaded_plugins(run):
            print_line(
                f"{run} used the plugin {plugin}, which is not loaded as it was then: without "
                f"--plugin {plugin}, unchanged, its rows stand last and without differences",
                sys.stderr,
            )
