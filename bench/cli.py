"""The command line. Imports are late: ``bench --help`` loads click and nothing else."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench import __version__, cli_data
from bench.cli_check import check_command
from bench.cli_compare import compare_command
from bench.errors import BenchError, CellError, InputError, one_line
from bench.processes import is_first_process
from bench.streams import say

if TYPE_CHECKING:
    from bench.run import Outcome
    from bench.session import Session

HELP = {
    "suite": "Suites, comma separated: names ('transfer' for the five transfer sets, dtd=3 for an "
    "official partition), a suite file (my.yaml), or 'available' for all "
    "whose data is found (mini if there is none); NAME+corruptions has the ID test images "
    "corrupted as its shifts, NAME+corruptions=3 those of severity 3. [default: mini]",
    "table": "The rows of a paper's table, shown in its form: vrf-table1 or carot-slides; in place "
    "of --methods.",
    "methods": "Methods, comma separated, such as vrf,wise-ft or vrf:e2e-ft, or 'all'. Their "
    "bases and zero-shot are included. [default: wise-ft,ose,vrf]",
    "shifts": "Shifts, comma separated, or 'all'. [default: all]",
    "model": "open_clip model name, or 'tiny'. [default: the suite's]",
    "pretrained": "Pretrained tag (downloads) or checkpoint file. [default: the suite's]",
    "imported": "Zero-shot and e2e-ft are those of this `bench import`; the rest is trained.",
    "seeds": "Seeds of the trainings, comma separated. [default: 0]",
    "data": "Folder with the data sets; also $BENCH_DATA.",
    "device": "auto, cpu, cuda, cuda:1, mps. [default: auto]",
    "precision": "Of trainings and forwards. [default: fp32]",
    "train-batch-size": "Batch size of all trainings; changes results. [default: each method's]",
    "eval-batch-size": "Images per forward; does not change results. [default: 256]",
    "workers": "Processes that decode images. [default: 0 on a CPU, up to 8 on a GPU]",
    "allow-incomplete": "Also run on incomplete data; every number is marked.",
    "limit": "At most N samples of every split; the result is marked not reportable.",
    "shots": "Train on N samples of each class.",
    "templates": "Prompts in place of the suite's: a text file with one a line, {} for the class "
    "name, or a .json or .py file as official codes have them.",
    "protocol": "clean, or official: what the papers' codes do, leaks included. Change a field of "
    "it with --set protocol.FIELD=VALUE. [default: clean]",
    "select": "How alpha, a, b are chosen: within-1pt or max-val. [default: the protocol's]",
    "controls": "Also the rows that check VRF's claims, and the best alpha in hindsight.",
    "curves": "Also evaluate every alpha on the shifts. [default: on for mini]",
    "set": "Any hyper-parameter; 'bench show METHOD' lists them. Repeatable.",
    "out": "Output folder. [default: results/runs/SUITE-HASH]",
    "cache-dir": "Where computed things are kept; also $BENCH_CACHE.",
    "config": "A YAML file with these options; the command line wins.",
    "format": "Comma separated: md, html, tex, csv, json; svg or png: every figure as a file.",
    "baselines": "Models to draw a line of effective robustness through: a CSV file with the "
    "columns model, source, id and the shifts' names, accuracies in percent.",
    "json": "Print the result as JSON.",
    "debug": "Show tracebacks and debug messages.",
}
PATH = click.Path(path_type=Path)
JSON = click.option("--json", "as_json", is_flag=True, help=HELP["json"])
DEBUG = click.option("--debug", is_flag=True, expose_value=False, help=HELP["debug"])


def _option(name: str, metavar: str | None = None, **kind: Any) -> Callable[..., Any]:
    return click.option(f"--{name}", metavar=metavar, help=HELP[name], **kind)


RUN_OPTIONS = (
    _option("suite", "NAMES"),
    _option("table", "NAME"),
    _option("methods", "NAMES"),
    _option("shifts", "NAMES"),
    _option("model", "NAME"),
    _option("pretrained", "TAG|FILE"),
    _option("imported", "NAME"),
    _option("seeds", "LIST"),
    _option("data", type=PATH),
    _option("device", "NAME"),
    _option("precision", "fp32|bf16"),
    _option("train-batch-size", "N", type=int),
    _option("eval-batch-size", "N", type=int),
    _option("workers", "N", type=int),
    _option("allow-incomplete", is_flag=True, default=None),
    _option("limit", "N", type=int),
    _option("shots", "N", type=int),
    _option("templates", "FILE", type=PATH),
    _option("protocol", "NAME"),
    _option("select", "RULE"),
    _option("controls", is_flag=True, default=None),
    click.option("--curves/--no-curves", default=None, help=HELP["curves"]),
    click.option(
        "--set", "assignments", multiple=True, metavar="METHOD.PARAM=VALUE", help=HELP["set"]
    ),
    _option("out", type=PATH),
    _option("cache-dir", type=PATH),
    _option("config", "run.yaml", type=PATH),
    JSON,
    DEBUG,
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
def run_command(as_json: bool, dry_run: bool, **options: Any) -> None:
    """Train, evaluate and write a leaderboard. Repeat the command to resume."""
    session = _session(options)
    if dry_run:
        _show_plan(session, as_json)
        return
    from bench import session as sessions
    from bench.catalogue import summary
    from bench.display import display

    if not is_first_process():
        sessions.follow(session)
        return
    if not as_json:
        left = session.left()
        say(summary(left, sessions.estimate(session, left)), sys.stderr)
    outcomes = sessions.run(session, lambda: display(session.asked(), as_json))
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
@_option("shifts", "NAMES")
@_option("protocol", "NAME")
@_option("select", "RULE")
@click.option("--controls", is_flag=True, default=None, help=HELP["controls"])
@click.option("--curves/--no-curves", default=None, help="Also evaluate every alpha on the shifts.")
@click.option("--set", "assignments", multiple=True, metavar="METHOD.PARAM=VALUE", help=HELP["set"])
@click.option("--seeds", hidden=True)
@_option("out", type=PATH)
@_option("cache-dir", type=PATH)
@JSON
@DEBUG
def score_command(folder: Path, seeds: str | None, as_json: bool, **options: Any) -> None:
    """Leaderboards of outputs that were computed elsewhere: no image, no model, no torch.

    There are no seeds: nothing is trained. docs/outputs.md says what the folder holds.
    """
    from bench import scoring
    from bench import session as sessions
    from bench.display import display

    if seeds is not None:
        raise InputError("--seeds: bench score trains nothing, so there are no seeds")
    options["set"] = options.pop("assignments")
    config, study = scoring.study(folder, options)
    session = sessions.prepare(config, (study,))
    outcomes = sessions.run(session, lambda: display(session.asked(), as_json))
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
@_option("model", "NAME")
@_option("pretrained", "TAG|FILE")
@_option("data", type=PATH)
@_option("device", "NAME", default="auto")
@_option("cache-dir", type=PATH)
@DEBUG
def import_command(kind: str, cache_dir: Path | None, **options: Any) -> None:
    """Take over released classifiers: a pair of checkpoints of WiSE-FT's code.

    Nothing in the files is run. bench run --imported NAME evaluates them and ensembles of them.
    """
    from bench.importing import wise_ft

    made = wise_ft(**options, cache=cache_dir)
    say(f"imported {made.name}: {made.backbone}, {len(made.classes)} classes", sys.stdout)


@cli.command("list")
@click.argument(
    "what",
    required=False,
    metavar="[methods|suites|shifts|sets|tables|published|metrics|rules|protocols]",
)
@click.option("--data", type=PATH, help=HELP["data"])
@JSON
@DEBUG
def list_command(what: str | None, data: Path | None, as_json: bool) -> None:
    """List methods, suites, shifts, data sets, papers' tables in form (tables) and in numbers
    (published), metrics, rules and protocols.
    """
    from bench import catalogue
    from bench.paths import data_dir

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
    from bench import catalogue, published_tables

    if not as_json and (table := catalogue.published_table(name)):
        say(published_tables.text(table), sys.stdout)
        return
    _show(catalogue.card(name, suite), as_json)


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
    from bench import report
    from bench.baselines import read as read_baselines
    from bench.paths import check_writable
    from bench.session import read_presets, read_run, read_samples

    if len(runs) > 1 and out is None:
        raise InputError("bench report of several runs needs --out FOLDER")
    asked = report.asked(f"{formats},html" if show else formats)
    target = check_writable(out or runs[0], "output folder")
    folders = [read_run(run) for run in runs]
    records = {r.model_dump_json(): r for found, _ in folders for r in found}
    missing = [m for _, lacking in folders for m in lacking]
    presets = dict.fromkeys(preset for run in runs for preset in read_presets(run))
    written = report.write(
        target,
        records.values(),
        missing,
        tuple(presets),
        asked,
        samples=(one for run in runs for one in read_samples(run)),
        baselines=() if baselines is None else read_baselines(baselines),
    )
    for path in written:
        say(str(path), sys.stdout)
    if show:
        click.launch(str(next(path for path in written if path.suffix == ".html")))


cli.add_command(check_command)
cli.add_command(compare_command)
cli.add_command(cli_data.data)


def _session(options: dict[str, Any]) -> Session:
    from bench.config import load
    from bench.session import prepare

    options["set"] = options.pop("assignments")
    session = prepare(load(options.pop("config"), options))
    for study in session.studies:
        for shift, reason in study.suite.lacking.items():
            say(f"{study.suite.name} without {shift}: {reason}", sys.stderr)
    return session


def _show(data: dict[str, Any], as_json: bool) -> None:
    from bench.catalogue import as_text

    say(json.dumps(data, indent=1) if as_json else as_text(data), sys.stdout)


def _show_plan(session: Session, as_json: bool) -> None:
    from bench import catalogue
    from bench.session import estimate

    plans, left = session.plans, session.left()
    time = estimate(session, left)
    if as_json:
        data = catalogue.plan_data(session.out, plans, left, time)
        say(json.dumps(data, indent=1), sys.stdout)
    else:
        say(catalogue.counts_text(plans, left, time), sys.stdout)


def _show_result(session: Session, outcomes: Sequence[Outcome], as_json: bool) -> None:
    """Print the leaderboards. Raises CellError, for exit code 1, if a cell is missing."""
    records = [r for outcome in outcomes for r in outcome.records]
    missing = [m for outcome in outcomes for m in outcome.missing]
    if as_json:
        from bench.catalogue import result_data

        say(json.dumps(result_data(session.out, records, missing)), sys.stdout)
    else:
        from bench.display import leaderboards

        say(leaderboards(records, missing, session.presets), sys.stdout)
        say(f"report: {session.out / 'report.html'} and report.md", sys.stdout)
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
        say(error.format_message(), sys.stdout)
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
    say(f"bench: {' '.join(message.split())}", sys.stderr)
    return code
