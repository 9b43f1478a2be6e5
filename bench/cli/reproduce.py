"""``bench reproduce``: a published table, from the data to the comparison, in stages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from bench.cli.options import CACHE, DATA, DEBUG, PATH, examples, option
from bench.core.environment import process_count
from bench.core.errors import CellError, DataError, InputError, RegressionError, one_line
from bench.core.streams import print_line

if TYPE_CHECKING:
    from bench.front.reproduce import Reproduction, StageRun

ORDER = ("data", "plan", "zero-shot", "released", "trainings")
"""The stages; the first two run nothing."""


@cloup.command(
    "reproduce",
    epilog=examples(
        "bench reproduce vrf-table1 --data DIR --until plan      # data, hours and disk",
        "bench reproduce vrf-table1 --data DIR --until zero-shot # the first numbers",
        "bench reproduce vrf-table1 --data DIR                   # all; again to go on",
        "bench reproduce wise-ft --data DIR --executor slurm:partition=gpu",
    ),
)
@cloup.argument("name", metavar="TABLE")
@cloup.option_group(
    "Stages",
    cloup.option(
        "--until",
        type=click.Choice(ORDER),
        default=ORDER[-1],
        help="The last stage: data, plan (which runs nothing), zero-shot (with the linear "
        "classifier), released (checkpoints, with --imported) or trainings. [default: trainings]",
    ),
    cloup.option("--verify", is_flag=True, help="Also read every file of the data sets first."),
    cloup.option("--ignore-disk", is_flag=True, help="Go on if the disk seems too small."),
)
@cloup.option_group(
    "Model and data",
    option("model", "NAME"),
    option("pretrained", "TAG|FILE"),
    option("imported", "NAME"),
    DATA,
    option("seeds", "LIST"),
)
@cloup.option_group(
    "Computation",
    option("device", "NAME"),
    option("executor", "NAME"),
    option("precision", "fp32|bf16|bf16-eval|auto"),
    option("eval-batch-size", "N", type=int),
    option("micro-batch", "N", type=int),
    option("workers", "N", type=int),
)
@cloup.option_group(
    "Files and output",
    cloup.option(
        "--out",
        type=PATH,
        help="Folder of the run of all rows; the other stages' stand beside it. "
        "[default: results/runs/TABLE-MODEL]",
    ),
    CACHE,
    DEBUG,
)
def reproduce_command(
    name: str, until: str, verify: bool, ignore_disk: bool, **options: Any
) -> None:
    """Reproduce a paper's table, stage by stage.

    TABLE is vrf-table1, carot-slides or wise-ft. Each stage is a run with a report of its own,
    compared with the printed cells under the paper's protocol. Run the same command again to go on
    after a stop. The exit code is 3 if a printed cell is contradicted, 1 if cells failed and 4 if
    data are missing. See docs/reproduce.md.
    """
    from bench.front.executors.choice import check_executor
    from bench.front.reproduce import check_disk, costs_text, find_reproduction, stage_costs
    from bench.runs.session import prepare_session

    if process_count() > 1:
        raise InputError("bench reproduce is for one process: use --executor for several devices")
    goal = find_reproduction(name)
    unseen = _is_unseen(options["imported"], options["cache_dir"])
    runs = goal.runs(options, clean_released=unseen)
    if options["executor"] is not None:
        check_executor(options["executor"])
    _check_data(goal, options["data"], options["cache_dir"], verify)
    if until == "data":
        return
    wanted = ORDER if until == "plan" else ORDER[: ORDER.index(until) + 1]
    runs = tuple(run for run in runs if run.stage in wanted)
    sessions = [prepare_session(run.config) for run in runs]
    costs = stage_costs(list(zip(runs, sessions, strict=True)))
    print_line(f"plan: {goal.preset.title} with {sessions[0].studies[0].model}", sys.stdout)
    print_line(costs_text(costs), sys.stdout)
    if "released" in wanted and options["imported"] is None:
        print_line(f"released: skipped; {_how_to_import(goal)}", sys.stdout)
    if not ignore_disk:
        check_disk(costs, sessions[0].store.root)
    if until != "plan":
        _run_stages(goal, runs)


def _check_data(goal: Reproduction, data: Path | None, cache: Path | None, verify: bool) -> None:
    """Print the state of each set that a table needs. Raises DataError unless all are ready."""
    from bench.checks.readiness import data_findings, how_to_get
    from bench.core.paths import cache_dir, data_dir
    from bench.data.cards import cards
    from bench.data.folder import DataFolder
    from bench.front.display import make_display

    folder, sets = DataFolder(data_dir(data), cache_dir(cache)), goal.sets
    if folder.root is None and sets:
        raise InputError("no data folder: set --data DIR or $BENCH_DATA")
    for note in folder.notes:
        print_line(f"{folder.root}: {note}", sys.stderr)
    with make_display((), quiet=False) as progress:
        findings = data_findings(folder, sets, progress, verify=verify)
    absent = []
    for found in findings:
        images = ", ".join(f"{split} {count}" for split, count in found.splits.items())
        said = "; ".join(filter(None, (found.state, images, *found.problems[:3], *found.notes)))
        print_line(f"data: {found.name}: {said}", sys.stdout)
        if found.state != "complete":
            absent.append(found.name)
            print_line(f"  get it: {how_to_get(cards()[found.name])}", sys.stdout)
    if absent:
        raise DataError(
            f"{len(absent)} of {len(sets)} data sets are not ready in {folder.root}: "
            f"{', '.join(absent)}; the lines above say how to get them"
        )


def _is_unseen(imported: str | None, cache: Path | None) -> bool:
    """Whether an import states that its checkpoint has not seen the selection split."""
    from bench.core.store.opening import store_at
    from bench.runs.study.imported import read_import

    return imported is not None and bool(read_import(store_at(cache), imported).unseen)


def _how_to_import(goal: Reproduction) -> str:
    if not goal.preset.released:
        return f"no checkpoints of {goal.preset.title} are known to be released"
    return f"{goal.preset.released}: bench import wise-ft, then --imported NAME"


def _run_stages(goal: Reproduction, runs: tuple[StageRun, ...]) -> None:
    """Run the stages and compare them. Raises what is to be said at the end, for its exit code."""
    from bench.cli.run import run_and_show
    from bench.runs.session import prepare_session

    failed, contradicted = list[str](), dict[str, None]()
    for run in runs:
        print_line(f"\n{run.stage}: {run.note}, protocol {run.config.protocol}", sys.stdout)
        session = prepare_session(run.config)
        try:
            run_and_show(session, as_json=False)
        except CellError as error:
            failed.append(f"{run.stage}: {one_line(error)}")
            print_line(f"bench: {one_line(error)}", sys.stderr)
        if run.is_compared:
            found = goal.compared(session.out)
            print_line(str(found), sys.stdout)
            contradicted |= dict.fromkeys(found.contradictions)
    if runs[-1].stage == ORDER[-1]:
        print_line(f"next: bench submit {runs[-1].config.out}", sys.stdout)
    if failed:
        raise CellError(f"cells failed: {'; '.join(failed)}")
    if contradicted:
        count = len(contradicted)
        cells = "1 printed cell is" if count == 1 else f"{count} printed cells are"
        raise RegressionError(f"{cells} contradicted: {'; '.join(contradicted)}")
