"""``bench board``: one interactive page of the leaderboards of several runs."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path

import cloup

from bench.cli.options import DEBUG, PATH, PLUGIN_ONLY_LOADED, examples
from bench.cli.results.report import say_unloaded_plugins
from bench.core.streams import print_line


@cloup.command(
    "board",
    epilog=examples(
        "bench board results/runs/RUN --open",
        "bench board results/runs/* --out lab.html   # choose suite, model, ... in it",
    ),
)
@cloup.argument("runs", nargs=-1, required=True, type=PATH)
@cloup.option(
    "--out", type=PATH, default=Path("board.html"), metavar="FILE", show_default=True,
    help="The page.",
)  # fmt: skip
@cloup.option("--open", "show", is_flag=True, help="Open the page in the browser.")
@PLUGIN_ONLY_LOADED
@DEBUG
def board_command(runs: tuple[Path, ...], out: Path, show: bool) -> None:
    """Write one interactive page of the boards of finished runs.

    RUNS are folders; only their records and samples are read. Runs of the same suite, model and
    protocol share a board; numbers of papers stand beside those on the same images.
    """
    from bench.models.sources.configurations import parameters_of
    from bench.report.formats.board.folder import write_board

    say_unloaded_plugins(runs)
    path = write_board(out, runs, parameters_of)
    print_line(str(path), sys.stdout)
    if show and not webbrowser.open(path.resolve().as_uri()):
        print_line("no browser was found: open the page yourself", sys.stderr)
