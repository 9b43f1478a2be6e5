"""``bench status``: what the workers of a run do."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import cloup

from bench.cli.options import DEBUG, JSON, PATH, examples
from bench.core.errors import concise
from bench.core.streams import print_line


@cloup.command(
    "status",
    epilog=examples(
        "bench status results/runs/mini-1f0c22ab",
        "bench status results/runs/mini-1f0c22ab --json",
    ),
)
@cloup.argument("run", metavar="RUN", type=PATH)
@JSON
@DEBUG
def run_status_command(run: Path, as_json: bool) -> None:
    """Show which jobs of a run work, wait or failed, and their logs.

    For runs with --executor, while they run and afterwards.
    """
    from tabulate import tabulate

    from bench.runs.execution.states import read_jobs

    found = read_jobs(run)
    if as_json:
        print_line(found.model_dump_json(indent=1), sys.stdout)
        return
    counts = Counter(job.state for job in found.jobs)
    spent = sum(job.seconds for job in found.jobs)
    numbers = ", ".join(f"{counts[state]} {state}" for state in counts) or "none was sent"
    line = f"{found.executor}, {found.updated}: {len(found.jobs)} jobs: {numbers}"
    print_line(concise(f"{line}; {spent:.0f} s of workers"), sys.stdout)
    left, soon = found.work_left, found.seconds_left
    if left:
        work = f"{found.work_done:,.0f} forward passes done in {found.seconds:.0f} s, {left:,.0f}"
        time = "" if soon is None else f": about {soon:.0f} s at this pace"
        print_line(f"{work} left{time}", sys.stdout)
    shown = [job for job in found.jobs if job.state != "done"]
    if shown:
        rows = [
            (job.state, f"{job.share:.0%}", job.label, job.host, job.reason[:60], job.log)
            for job in shown
        ]
        columns = ("State", "Done", "Job", "On", "Reason", "Log")
        lines = [[" ".join(text.splitlines()) for text in row] for row in rows]
        print_line(tabulate(lines, columns, tablefmt="simple", disable_numparse=True), sys.stdout)
