"""``bench submit``: a finished run as a folder of ``results/``."""

from __future__ import annotations

import sys
from pathlib import Path

import cloup

from bench.cli.options import CACHE, DATA, DEBUG, PATH, examples
from bench.core.errors import InputError
from bench.core.streams import print_line

NEXT = """\
{to} has what results/ takes. Next, in a clone of the repository:
  python scripts/pages/results_page.py
  bench check {to} --against samples
  git switch -c results-{name}
  git add results
  git commit -m "Results: {name}"
  git push -u origin results-{name}
and open a pull request. Its workflow runs the same check."""


@cloup.command(
    "submit",
    epilog=examples(
        "bench submit results/runs/vrf-table1-ViT-B-32",
        "bench submit results/runs/vrf-table1-ViT-B-32 --to results/vrf-b32",
    ),
)
@cloup.argument("run", type=PATH, metavar="RUN")
@cloup.option("--to", type=PATH, metavar="DIR", help="The new folder. [default: results/RUN]")
@DATA
@CACHE
@DEBUG
def submit_command(run: Path, to: Path | None, data: Path | None, cache_dir: Path | None) -> None:
    """Check a run and write what results/ takes of it.

    Refused are marked, incomplete and unrepeatable runs, numbers that do not follow from stored
    outputs, and files that name folders, machines or people; each reason is printed. Nothing is
    sent anywhere: the commands for a pull request are printed.
    """
    from bench.front.submit import (
        check_new,
        submission_refusals,
        submission_remarks,
        write_submission,
    )

    place = to or Path("results") / run.resolve().name
    check_new(place)
    refusals = list(submission_refusals(run, data, cache_dir))
    for refusal in refusals:
        print_line(f"refused: {refusal}", sys.stdout)
    if refusals:
        reasons = "1 reason" if len(refusals) == 1 else f"{len(refusals)} reasons"
        raise InputError(f"{run} is not submitted, for {reasons}: see the lines above")
    for remark in submission_remarks(run):
        print_line(f"note: {remark}", sys.stdout)
    write_submission(run, place)
    print_line(NEXT.format(to=place, name=place.name), sys.stdout)
