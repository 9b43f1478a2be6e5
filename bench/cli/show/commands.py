"""``bench list`` and ``bench show``: what there is, and the card of one thing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cloup

from bench.cli.options import DATA, DEBUG, JSON, PLUGIN_ONLY_LOADED, examples
from bench.core.streams import print_line


@cloup.command(
    "list",
    epilog=examples(
        "bench list                          # everything",
        "bench list methods --json           # also year, venue, kind and needs",
        "bench list models                   # and their tags for --pretrained",
        "bench list suites --data DIR        # and whether their data are found",
    ),
)
@cloup.argument(
    "what",
    required=False,
    metavar="[methods|suites|shifts|sets|tables|published|metrics|rules|protocols|models]",
)
@DATA
@JSON
@PLUGIN_ONLY_LOADED
@DEBUG
def list_command(what: str | None, data: Path | None, as_json: bool) -> None:
    """List methods, suites, data sets, metrics and more.

    `models` are open_clip's, with the tags of their released weights; they are listed alone.
    `tables` are layouts for `bench run --table`, `published` are papers' tables with their numbers.
    """
    from bench.cli.show.catalogue import listing
    from bench.core.paths import data_dir

    _show(listing(what, data_dir(data), facts=as_json), as_json)


@cloup.command(
    "show",
    epilog=examples(
        "bench show vrf                      # equation, source, hyper-parameters",
        "bench show imagenet-v2              # where to get it, its terms and folders",
        "bench show vrf-table1               # a published table",
    ),
)
@cloup.argument("name")
@cloup.option(
    "--suite", default="mini", help="Suite whose hyper-parameters to show. [default: mini]"
)
@JSON
@PLUGIN_ONLY_LOADED
@DEBUG
def show_command(name: str, suite: str, as_json: bool) -> None:
    """Show the card of a method, suite, data set or table.

    NAME may also be a suite file, a metric, a selection rule or a protocol.
    """
    from bench.cli.show.catalogue import describe_name, published_table
    from bench.report.published_tables import published_text

    if not as_json and (table := published_table(name)):
        print_line(published_text(table), sys.stdout, styled=True)
        return
    _show(describe_name(name, suite), as_json)


def _show(data: dict[str, Any], as_json: bool) -> None:
    from bench.cli.show.catalogue import as_text

    print_line(json.dumps(data, indent=1) if as_json else as_text(data), sys.stdout)
