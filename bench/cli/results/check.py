"""``bench check``: a run's numbers against its stored outputs, golden or published numbers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cloup

from bench.cli.options import CACHE, DATA, DEBUG, JSON, JUNIT, PATH, PLUGIN_ONLY_LOADED, examples
from bench.core.errors import RegressionError
from bench.core.streams import print_line


@cloup.command(
    "check",
    epilog=examples(
        "bench check results/runs/RUN                 # recompute stored outputs",
        "bench check results/runs/RUN/report.md       # is each digit right?",
        "bench check results/runs/RUN --against golden:mini",
        "bench check results/runs/RUN --against published:vrf-table1",
    ),
)
@cloup.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN|FILE...")
@cloup.option(
    "--against",
    metavar="golden:NAME|published:NAME|samples",
    help="Compare with recorded numbers of the embedded suite (golden:mini), with a published "
    "table (`bench list published`), or with the folder's own samples, as before it is committed "
    "to results/. [default: the run's own stored outputs]",
)
@cloup.option(
    "--tolerance",
    type=float,
    metavar="POINTS",
    help="Largest difference from a published number that counts as reproduced, in points "
    "(percent). [default: by the size of each set and the deviation over seeds]",
)
@cloup.option(
    "--resample",
    metavar="SHARE",
    help="Also forward a random share of the images again (1%) and compare with stored features.",
)
@cloup.option(
    "--run",
    "made_of",
    type=PATH,
    multiple=True,
    metavar="RUN",
    help="Folder of a run that FILE was made from, if it is elsewhere. Repeatable.",
)
@DATA
@CACHE
@JUNIT
@JSON
@PLUGIN_ONLY_LOADED
@DEBUG
def check_command(
    runs: tuple[Path, ...],
    against: str | None,
    tolerance: float | None,
    resample: str | None,
    made_of: tuple[Path, ...],
    data: Path | None,
    cache_dir: Path | None,
    junit: Path | None,
    as_json: bool,
) -> None:
    """Check a run, or a report of it, number by number.

    RUN is a folder; FILE is one of its reports, such as report.md, or a copy under another name in
    the same folder.

    Without --against every number is recomputed from the run's stored outputs and the tables are
    rebuilt. The exit code is 3 if a digit differs and 4 if a stored output is missing or damaged.
    With --against cells are compared. The exit code is 3 if a cell differs from what was recorded
    or published and 2 if no cell is comparable. With --against samples neither data nor cache is
    needed. See docs/ci.md, docs/published.md and docs/reproduce.md.
    """
    from bench.checks.junit import publish_verdicts
    from bench.front.check import RECOMPUTED, DamagedRunError, check

    try:
        result = check(
            *runs, against=against, tolerance=tolerance, made_of=made_of, data=data,
            cache_dir=cache_dir, resample=resample,
        )  # fmt: skip
    except DamagedRunError as error:
        publish_verdicts(RECOMPUTED, error.verdicts, junit)
        raise
    publish_verdicts(result.title, result.verdicts, junit)
    print_line(json.dumps(result.data) if as_json else result.text, sys.stdout, styled=True)
    if result.failure:
        raise RegressionError(result.failure)
