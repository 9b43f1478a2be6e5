"""The command line. Imports are late: ``bench --help`` loads click and nothing else."""

from __future__ import annotations

import json
import os
import signal
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.check import check_command
from bench.cli.compare import compare_command
from bench.cli.data import data as data_group
from bench.cli.options import CACHE, DATA, DEBUG, HELP, JSON, PATH, option, run_options
from bench.core.environment import is_first_process
from bench.core.errors import BenchError, CellError, InputError, one_line
from bench.core.streams import print_line
from bench.core.version import __version__

if TYPE_CHECKING:
    from bench.runs.execute import Outcome
    from bench.runs.session import Session


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bench")
def cli() -> None:
    """Robust fine-tuning of CLIP-like zero-shot models, measured on one footing.

    `bench run` runs the embedded suite: no data, no download, no GPU needed.
    """


@cli.command("run")
@run_options
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
def run_command(as_json: bool, dry_run: bool, **options: Any) -> None:
    """Train, evaluate and write a leaderboard. Repeat the command to resume."""
    session = _session(options)
    if dry_run:
        _show_plan(session, as_json)
        return
    from bench.cli.catalogue import cost_summary
    from bench.cli.display import make_display
    from bench.runs import session as runs

    if not is_first_process():
        runs.follow_session(session)
        return
    if not as_json:
        left = session.left()
        print_line(cost_summary(left, runs.estimate_time(session, left)), sys.stderr)
    outcomes = runs.run_session(session, lambda: make_display(session.asked(), as_json))
    _show_result(session, outcomes, as_json)


@cli.command("plan")
@run_options
def plan_command(as_json: bool, **options: Any) -> None:
    """Show what `bench run` with the same options would do: trainings, forwards, decodes."""
    _show_plan(_session(options), as_json)


@cli.command("score")
@click.option(
    "--outputs", "folder", required=True, type=PATH, help="Folder with outputs.yaml and its files."
)
@click.option(
    "--methods",
    metavar="NAMES",
    help="Post-hoc methods, comma separated, or 'all'. What was given is included. "
    "[default: ose,vrf on every base]",
)
@option("shifts", "NAMES")
@option("protocol", "NAME")
@option("select", "RULE")
@click.option("--controls", is_flag=True, default=None, help=HELP["controls"])
@click.option("--curves/--no-curves", default=None, help="Also evaluate every alpha on the shifts.")
@click.option("--set", "assignments", multiple=True, metavar="METHOD.PARAM=VALUE", help=HELP["set"])
@click.option("--seeds", hidden=True)
@option("out", type=PATH)
@CACHE
@JSON
@DEBUG
def score_command(folder: Path, seeds: str | None, as_json: bool, **options: Any) -> None:
    """Leaderboards of outputs that were computed elsewhere: no image, no model, no torch.

    There are no seeds: nothing is trained. docs/outputs.md says what the folder holds.
    """
    from bench.cli.display import make_display
    from bench.runs import session as runs
    from bench.runs.study.score import score_study

    if seeds is not None:
        raise InputError("--seeds: bench score trains nothing, so there are no seeds")
    options["set"] = options.pop("assignments")
    config, study = score_study(folder, options)
    session = runs.prepare_session(config, (study,))
    outcomes = runs.run_session(session, lambda: make_display(session.asked(), as_json))
    _show_result(session, outcomes, as_json)


@cli.command("import")
@click.argument("kind", type=click.Choice(["wise-ft"]))
@click.argument("zero_shot", metavar="ZEROSHOT.pt", type=PATH)
@click.argument("tuned", metavar="FINETUNED.pt", type=PATH)
@click.option("--name", required=True, help="What to call them: bench run --imported NAME.")
@click.option("--suite", required=True, help="A suite of their classes: a name or a file.")
@click.option("--trained-on", default="data that was not stated", help="In words, for reports.")
@click.option(
    "--selection-unseen",
    is_flag=True,
    help="No image of the suite's selection split was trained on: protocol clean may choose there.",
)
@option("model", "NAME")
@option("pretrained", "TAG|FILE")
@DATA
@option("device", "NAME", default="auto")
@CACHE
@DEBUG
def import_command(kind: str, cache_dir: Path | None, **options: Any) -> None:
    """Take over released classifiers: a pair of checkpoints of WiSE-FT's code.

    Nothing in the files is run. bench run --imported NAME evaluates them and ensembles of them.
    """
    from bench.runs.import_checkpoints import import_wise_ft

    made = import_wise_ft(**options, cache=cache_dir)
    print_line(f"imported {made.name}: {made.backbone}, {len(made.classes)} classes", sys.stdout)


@cli.command("list")
@click.argument(
    "what",
    required=False,
    metavar="[methods|suites|shifts|sets|tables|published|metrics|rules|protocols]",
)
@DATA
@JSON
@DEBUG
def list_command(what: str | None, data: Path | None, as_json: bool) -> None:
    """List methods, suites, shifts, data sets, papers' tables in form (tables) and in numbers
    (published), metrics, rules and protocols.
    """
    from bench.cli import catalogue
    from bench.core.paths import data_dir

    _show(catalogue.listing(what, data_dir(data)), as_json)


@cli.command("show")
@click.argument("name")
@click.option("--suite", default="mini", help="Whose hyper-parameters to show. [default: mini]")
@JSON
@DEBUG
def show_command(name: str, suite: str, as_json: bool) -> None:
    """Show the card of a method (idea, source, hyper-parameters), a suite (file), a data set
    (where to get it, its terms, its folders), a protocol or a published table.
    """
    from bench.cli import catalogue
    from bench.report import published_tables

    if not as_json and (table := catalogue.published_table(name)):
        print_line(published_tables.published_text(table), sys.stdout)
        return
    _show(catalogue.describe_name(name, suite), as_json)


@cli.command("report")
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option(
    "--format", "formats", default="md,html", metavar="LIST", help=HELP["format"], show_default=True
)
@click.option("--out", type=PATH, help="Output folder. [default: the run's]")
@click.option("--baselines", type=PATH, metavar="CSV", help=HELP["baselines"])
@click.option("--open", "show", is_flag=True, help="Open report.html in the browser.")
@DEBUG
def report_command(
    runs: tuple[Path, ...], formats: str, out: Path | None, baselines: Path | None, show: bool
) -> None:
    """Write the report of one or more finished RUNS again, from their records alone."""
    from bench.core.paths import check_writable
    from bench.report.run_folder import rewrite_reports
    from bench.report.write import parse_formats

    if len(runs) > 1 and out is None:
        raise InputError("bench report of several runs needs --out FOLDER")
    asked = parse_formats(f"{formats},html" if show else formats)
    target = check_writable(out or runs[0], "output folder")
    written = rewrite_reports(target, runs, baselines, asked)
    for path in written:
        print_line(str(path), sys.stdout)
    if show:
        page = next(path for path in written if path.suffix == ".html")
        if not webbrowser.open(page.resolve().as_uri()):
            print_line("no browser was found: open the page yourself", sys.stderr)


cli.add_command(check_command)
cli.add_command(compare_command)
cli.add_command(data_group)


def _session(options: dict[str, Any]) -> Session:
    from bench.runs.session import prepare_session
    from bench.runs.study.config import load_config

    options["set"] = options.pop("assignments")
    session = prepare_session(load_config(options.pop("config"), options))
    for study in session.studies:
        for shift, reason in study.suite.lacking.items():
            print_line(f"{study.suite.name} without {shift}: {reason}", sys.stderr)
    return session


def _show(data: dict[str, Any], as_json: bool) -> None:
    from bench.cli.catalogue import as_text

    print_line(json.dumps(data, indent=1) if as_json else as_text(data), sys.stdout)


def _show_plan(session: Session, as_json: bool) -> None:
    from bench.cli import catalogue
    from bench.runs.session import estimate_time

    plans, left = session.plans, session.left()
    time = estimate_time(session, left)
    if as_json:
        data = catalogue.plan_data(session.out, plans, left, time)
        print_line(json.dumps(data, indent=1), sys.stdout)
    else:
        print_line(catalogue.counts_text(plans, left, time), sys.stdout)


def _show_result(session: Session, outcomes: Sequence[Outcome], as_json: bool) -> None:
    """Print the leaderboards. Raises CellError, for exit code 1, if a cell is missing."""
    records = [r for outcome in outcomes for r in outcome.records]
    missing = [m for outcome in outcomes for m in outcome.missing]
    if as_json:
        from bench.cli.catalogue import result_data

        print_line(json.dumps(result_data(session.out, records, missing)), sys.stdout)
    else:
        from bench.cli.display import leaderboards_text

        print_line(leaderboards_text(records, missing, session.presets), sys.stdout)
        print_line(f"report: {session.out / 'report.html'} and report.md", sys.stdout)
    if missing:
        reasons = [f"{m.method} on {m.shift}: {m.reason}" for m in missing]
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        said = "; ".join(reasons[:3]) + more
        raise CellError(f"cells failed, {len(missing)} in all, the others stand: {said}")


def main() -> None:
    """Run the command line and exit with the code of what happened."""
    # Threads that wait by spinning for long make torch over 20 times slower on a CPU that has
    # other work; a short spin keeps what spinning wins on an idle one.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    arguments = sys.argv[1:]
    _set_up_logging("--debug" in arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(exit_code(arguments))


def _set_up_logging(debug: bool) -> None:
    """Our warnings on standard error; those of other packages, and more of ours, to debug only."""
    import logging

    if debug:
        logging.basicConfig(level=logging.INFO)
        logging.getLogger("bench").setLevel(logging.DEBUG)
        return
    os.environ.setdefault("HF_HUB_VERBOSITY", "critical")
    logging.basicConfig(format="bench: %(message)s", level=logging.CRITICAL)
    logging.getLogger("bench").setLevel(logging.WARNING)


def exit_code(arguments: Sequence[str]) -> int:
    """Run the command line; an error is one line on standard error, or a traceback to debug."""
    try:
        cli.main(list(arguments), prog_name="bench", standalone_mode=False)
        return 0
    except click.exceptions.NoArgsIsHelpError as error:
        print_line(error.format_message(), sys.stdout)
        return 0
    except click.ClickException as error:
        return _failed(error.format_message(), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _failed("interrupted; the same command goes on where it stopped", 130)
    except Exception as error:
        if "--debug" in arguments:
            import traceback

            traceback.print_exc()
        if isinstance(error, BenchError):
            return _failed(one_line(error), error.exit_code)
        if isinstance(error, OSError):
            return _failed(one_line(error), 1)
        return _failed(f"internal error, --debug shows where: {one_line(error)}", 1)


def _failed(message: str, code: int) -> int:
    print_line(f"bench: {' '.join(message.split())}", sys.stderr)
    return code
