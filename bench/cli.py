"""The command line. Imports are late: ``bench --help`` loads click and nothing else."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench import __version__

if TYPE_CHECKING:
    from bench.session import Session

HELP = {
    "suite": "Suites, comma separated: names, a suite file (my.yaml), or 'available' for all "
    "whose data is found. [default: mini]",
    "methods": "Methods, comma separated, such as vrf,wise-ft or vrf:e2e-ft, or 'all'. Their "
    "bases and zero-shot are included. [default: all]",
    "shifts": "Shifts, comma separated, or 'all'. [default: all]",
    "model": "open_clip model name, or 'tiny'. [default: the suite's]",
    "pretrained": "Pretrained tag (downloads) or checkpoint file. [default: the suite's]",
    "seeds": "Seeds of the trainings, comma separated. [default: 0]",
    "data": "Folder with the data sets; also $BENCH_DATA.",
    "device": "auto, cpu, cuda, cuda:1, mps. [default: auto]",
    "precision": "Of trainings and forwards. [default: fp32]",
    "train-batch-size": "Batch size of all trainings; changes results. [default: each method's]",
    "eval-batch-size": "Images per forward; does not change results. [default: 256]",
    "workers": "Processes that decode images. [default: 0 on a CPU, up to 8 on a GPU]",
    "limit": "At most N samples of every split; the result is marked not reportable.",
    "select": "How alpha, a, b are chosen on the selection split: within-1pt or max-val. "
    "[default: within-1pt]",
    "curves": "Also evaluate every alpha on the shifts. [default: on for mini]",
    "set": "Any hyper-parameter; 'bench show METHOD' lists them. Repeatable.",
    "out": "Output folder. [default: results/runs/SUITE-HASH]",
    "cache-dir": "Where computed things are kept; also $BENCH_CACHE.",
    "config": "A YAML file with these options; the command line wins.",
    "json": "Print the result as JSON.",
    "debug": "Show tracebacks and debug messages.",
}
PATH = click.Path(path_type=Path)


def _option(name: str, metavar: str | None = None, **kind: Any) -> Callable[..., Any]:
    return click.option(f"--{name}", metavar=metavar, help=HELP[name], **kind)


RUN_OPTIONS = (
    _option("suite", "NAMES"),
    _option("methods", "NAMES"),
    _option("shifts", "NAMES"),
    _option("model", "NAME"),
    _option("pretrained", "TAG|FILE"),
    _option("seeds", "LIST"),
    _option("data", type=PATH),
    _option("device", "NAME"),
    _option("precision", "fp32|bf16"),
    _option("train-batch-size", "N", type=int),
    _option("eval-batch-size", "N", type=int),
    _option("workers", "N", type=int),
    _option("limit", "N", type=int),
    _option("select", "RULE"),
    click.option("--curves/--no-curves", default=None, help=HELP["curves"]),
    click.option(
        "--set", "assignments", multiple=True, metavar="METHOD.PARAM=VALUE", help=HELP["set"]
    ),
    _option("out", type=PATH),
    _option("cache-dir", type=PATH),
    _option("config", "run.yaml", type=PATH),
    click.option("--json", "as_json", is_flag=True, help=HELP["json"]),
    click.option("--debug", is_flag=True, help=HELP["debug"]),
)


def run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of ``bench run``."""
    for option in reversed(RUN_OPTIONS):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bench")
def cli() -> None:
    """Robust fine-tuning of CLIP-like zero-shot models, measured on one footing.

    `bench run` runs the embedded suite: no data, no download, no GPU needed.
    """


@cli.command("run")
@run_options
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
def run_command(as_json: bool, dry_run: bool, debug: bool, **options: Any) -> None:
    """Train, evaluate and write a leaderboard. Repeat the command to resume."""
    session = _session(options)
    if dry_run:
        _show_plan(session, as_json)
        return
    from bench import session as sessions
    from bench.display import display

    with _first_process_speaks() as speaks:
        if speaks and not as_json:
            _print_counts(session)
        outcomes = sessions.run(session, lambda: display(session.asked(), as_json or not speaks))
        if speaks:
            _show_result(session, outcomes, as_json)


@cli.command("plan")
@run_options
def plan_command(as_json: bool, debug: bool, **options: Any) -> None:
    """Show what `bench run` with the same options would do: trainings, forwards, decodes."""
    _show_plan(_session(options), as_json)


@cli.command("list")
@click.argument("what", required=False, metavar="[methods|suites|shifts|metrics|rules]")
@click.option("--data", type=click.Path(path_type=Path), help="Folder with the data sets.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_command(what: str | None, data: Path | None, as_json: bool) -> None:
    """List methods, suites and their shifts, metrics and selection rules."""
    from bench import catalogue

    listed = catalogue.listing(what, data)
    click.echo(json.dumps(listed, indent=1) if as_json else catalogue.as_text(listed))


@cli.command("show")
@click.argument("name")
@click.option("--suite", default="mini", help="Whose default hyper-parameters to show.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show_command(name: str, suite: str, as_json: bool) -> None:
    """Show the card of a method (idea, equation, source, hyper-parameters) or of a suite."""
    from bench import catalogue

    card = catalogue.card(name, suite)
    click.echo(json.dumps(card, indent=1) if as_json else catalogue.as_text(card))


@cli.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Output folder. [default: the run's]")
def report_command(runs: tuple[Path, ...], out: Path | None) -> None:
    """Write report.md and report.html again from the records of one or more finished RUNS."""
    from bench import report
    from bench.errors import InputError
    from bench.paths import writable
    from bench.session import read_run

    if len(runs) > 1 and out is None:
        raise InputError("bench report of several runs needs --out FOLDER")
    folders = [read_run(run) for run in runs]
    records = {r.model_dump_json(): r for found, _ in folders for r in found}
    missing = [m for _, lacking in folders for m in lacking]
    target = writable(out or runs[0], "output folder")
    for path in report.write(target, records.values(), missing):
        click.echo(path)


def _session(options: dict[str, Any]) -> Session:
    from bench.config import load
    from bench.session import prepare

    options["set"] = options.pop("assignments")
    return prepare(load(options.pop("config"), options))


def _show_plan(session: Session, as_json: bool) -> None:
    from bench import session as sessions
    from bench.plan import counts

    left = [counts(p, session.store) for p in session.plans]
    seconds = sessions.estimate(session, left)
    if as_json:
        import dataclasses

        studies = [
            dataclasses.asdict(c) | {"forwards": c.forwards, "decodes": c.decodes} for c in left
        ]
        click.echo(json.dumps({"out": str(session.out), "seconds": seconds, "studies": studies}))
    else:
        from bench.catalogue import counts_text

        click.echo(counts_text(session.plans, left, seconds))


def _print_counts(session: Session) -> None:
    from bench import session as sessions
    from bench.catalogue import summary
    from bench.plan import counts

    left = [counts(p, session.store) for p in session.plans]
    click.echo(summary(left, sessions.estimate(session, left)), err=True)


def _show_result(session: Session, outcomes: Any, as_json: bool) -> None:
    from bench.errors import CellError

    records = [r for outcome in outcomes for r in outcome.records]
    missing = [m for outcome in outcomes for m in outcome.missing]
    if as_json:
        from bench.catalogue import result_data

        click.echo(json.dumps(result_data(session.out, records, missing)))
    else:
        from rich.console import Console

        from bench import console
        from bench.leaderboard import boards

        output = Console()
        for board in boards(records, missing):
            output.print(console.table(board, output.width))
        click.echo(f"report: {session.out / 'report.html'} and report.md")
    if missing:
        places = sorted({f"{m.method} on {m.shift}: {m.reason}" for m in missing})
        raise CellError(f"{len(places)} cells failed, the others stand: {'; '.join(places[:3])}")


@contextmanager
def _first_process_speaks() -> Iterator[bool]:
    """Whether this process is the first of those that ``accelerate launch`` started."""
    yield os.environ.get("RANK", "0") == "0"


def main() -> None:
    """Run the command line and exit with the code of what happened."""
    sys.exit(_exit_code(sys.argv[1:]))


def _exit_code(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    if debug:
        import logging

        logging.basicConfig(level=logging.DEBUG)
        logging.getLogger("bench").setLevel(logging.DEBUG)
    from bench.errors import BenchError

    try:
        result = cli.main(arguments, prog_name="bench", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.UsageError as error:
        return _failed(error.format_message(), 2)
    except click.ClickException as error:
        return _failed(error.format_message(), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _failed("interrupted; the same command goes on where it stopped", 130)
    except BenchError as error:
        if debug:
            raise
        return _failed(str(error), error.exit_code)
    except Exception as error:
        if debug:
            raise
        return _failed(f"internal error: {type(error).__name__}: {error} (--debug shows where)", 1)
    return result if isinstance(result, int) else 0


def _failed(message: str, code: int) -> int:
    last = message.strip().splitlines()[-1] if "Traceback" in message else message
    click.echo(f"bench: {' '.join(last.removeprefix('bench.errors.').split())}", err=True)
    return code
