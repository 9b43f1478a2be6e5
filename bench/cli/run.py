"""``bench run`` and ``bench plan``: a run from its options to its leaderboard."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

import cloup

from bench.cli.options import examples, run_options
from bench.core.environment import is_first_process, process_count
from bench.core.errors import CellError
from bench.core.streams import print_line

if TYPE_CHECKING:
    from bench.core.progress import Progress
    from bench.front.run import Run
    from bench.models.devices.group import ProcessGroup
    from bench.runs.session import Session
    from bench.runs.study.config import RunConfig


@cloup.command(
    "run",
    epilog=examples(
        "bench run                                 # the embedded suite: a minute",
        "bench run --methods all --seeds 0,1,2     # every method, three seeds",
        "bench run --suite imagenet --data DIR --model ViT-B-32 --pretrained openai",
        "bench run --suite my.yaml --data DIR --set vrf.p=0.01 --dry-run",
    ),
)
@run_options
@cloup.option("--dry-run", is_flag=True, help="Show the plan and stop.")
def run_command(as_json: bool, dry_run: bool, **options: Any) -> None:
    """Train, evaluate and write a leaderboard.

    Run the same command again to resume a run that was stopped.
    """
    config = _config(options)
    if process_count() == 1 or dry_run:
        if is_first_process():
            _run(_session(config), as_json, dry_run)
        return
    from bench.models.devices.group import process_group
    from bench.runs.session import follow_session

    with process_group(config.device) as group:
        if not (group.is_first or logging.getLogger("bench").isEnabledFor(logging.DEBUG)):
            for name in ("bench", "bench.progress"):
                logging.getLogger(name).setLevel(logging.ERROR)
        # The first process reads folders of images, which the others find in the cache then.
        session = group.first_alone(partial(_session, config))
        if group.is_first:
            _run(session, as_json, dry_run, group)
        else:
            follow_session(session, group)


def _run(session: Session, as_json: bool, dry_run: bool, group: ProcessGroup | None = None) -> None:
    from bench.front.plan import RunPlan

    if dry_run:
        _show_plan(session, as_json)
        return
    plan = RunPlan.of(session)
    if not as_json:
        print_line(plan.summary(), sys.stderr)
    known = [caveat for caveats in plan.caveats.values() for caveat in caveats]
    _say_caveats(known)
    run_and_show(session, as_json, known, group)


@cloup.command(
    "plan",
    epilog=examples(
        "bench plan --methods all --shifts all",
        "bench plan --suite imagenet --data DIR --model ViT-B-16 --pretrained openai",
    ),
)
@run_options
def plan_command(as_json: bool, **options: Any) -> None:
    """Show what `bench run` would do, and its cost.

    Takes the options of `bench run`; counts training runs, forward passes and decoded images.
    """
    _show_plan(_session(_config(options)), as_json)


def run_and_show(
    session: Session, as_json: bool, said: Collection[str] = (), group: ProcessGroup | None = None
) -> None:
    """Run a session with a live display and print its leaderboards.

    It is the first process of a `group`, if there are several. Caveats that were not `said` before
    go to standard error. Raises CellError, for exit code 1, if a cell is missing.
    """
    from bench.front.display import make_display
    from bench.front.functions import carry_out

    def shown() -> AbstractContextManager[Progress]:
        return make_display(session.expected(), as_json, session.work())

    run = carry_out(session, shown, "local", group)
    _say_caveats([caveat for caveat in run.caveats if caveat not in said])
    _show_result(run, session, as_json)


def _say_caveats(caveats: Iterable[str]) -> None:
    for caveat in caveats:
        print_line(f"caveat: {caveat}", sys.stderr)


def _config(options: dict[str, Any]) -> RunConfig:
    from bench.runs.study.config import load_config

    options["set"] = options.pop("assignments")
    return load_config(options.pop("config"), options)


def _session(config: RunConfig) -> Session:
    from bench.runs.session import prepare_session

    session = prepare_session(config)
    if not is_first_process():
        return session
    for study in session.studies:
        for shift, reason in study.suite.lacking.items():
            print_line(f"{study.suite.name} without {shift}: {reason}", sys.stderr)
    if unused := session.unused_settings():
        print_line(unused, sys.stderr)
    return session


def _show_plan(session: Session, as_json: bool) -> None:
    from bench.front.plan import RunPlan

    plan = RunPlan.of(session)
    print_line(json.dumps(plan.to_dict(), indent=1) if as_json else str(plan), sys.stdout)


def _show_result(run: Run, session: Session, as_json: bool) -> None:
    missing = run.missing
    if as_json:
        from bench.cli.show.catalogue import result_data

        print_line(json.dumps(result_data(run.path, run.records, missing, run.caveats)), sys.stdout)
    else:
        from bench.front.display import leaderboards_text

        text = leaderboards_text(run.records, missing, session.presets)
        print_line(text, sys.stdout, styled=True)
        print_line(f"report: {run.path / 'report.html'} and report.md", sys.stdout)
    if run.path != session.out:
        print_line(
            f"{session.out} keeps its earlier results, which have cells that failed now; this "
            f"outcome is in {run.path}",
            sys.stderr,
        )
    if missing:
        reasons = [f"{m.method} on {m.shift}: {m.reason}" for m in missing]
        more = f"; and {len(missing) - 3} more" if len(missing) > 3 else ""
        cells = "1 cell" if len(missing) == 1 else f"{len(missing)} cells"
        raise CellError(f"{cells} failed; the rest were written: {'; '.join(reasons[:3])}{more}")
