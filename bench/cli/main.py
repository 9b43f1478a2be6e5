"""The command line. Imports are late: ``bench --help`` loads click and cloup, nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click
import cloup

from bench.cli.cache import cache as cache_group
from bench.cli.data import data as data_group
from bench.cli.import_checkpoints import import_command
from bench.cli.interrupts import SAID, end
from bench.cli.options import examples
from bench.cli.reproduce import reproduce_command
from bench.cli.results.board import board_command
from bench.cli.results.check import check_command
from bench.cli.results.compare import compare_command
from bench.cli.results.export import export_command
from bench.cli.results.report import report_command
from bench.cli.results.submit import submit_command
from bench.cli.run import plan_command, run_command
from bench.cli.score import score_command
from bench.cli.show.commands import list_command, show_command
from bench.cli.show.status import run_status_command
from bench.core import __version__
from bench.core.errors import (
    INTERRUPTED,
    BenchError,
    code_of,
    concise,
    escape_control,
    one_line,
)
from bench.core.streams import print_line

SECTIONS = (
    cloup.Section(
        "Run", [run_command, plan_command, reproduce_command, score_command, import_command]
    ),
    cloup.Section(
        "Read", [list_command, show_command, report_command, board_command, run_status_command]
    ),
    cloup.Section("Check", [check_command, compare_command]),
    cloup.Section("Pass on", [export_command, submit_command]),
    cloup.Section("Files", [data_group, cache_group]),
)


@cloup.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    sections=SECTIONS,
    epilog=examples(
        "bench run                      # the embedded suite: no data, no GPU",
        "bench run --suite cifar10 --data DIR --methods vrf,wise-ft --shifts all",
        "bench COMMAND --help           # options and examples of a command",
    ),
)
@cloup.version_option(__version__, prog_name="bench")
def cli() -> None:
    """Benchmark robust fine-tuning of CLIP-like zero-shot models.

    Trains or loads, evaluates in distribution and under shift, and writes leaderboards with
    accuracy and calibration.
    """


def main() -> None:
    """Run the command line and exit with the code of what happened."""
    # Threads that wait by spinning for long make torch over 20 times slower on a CPU that has
    # other work; a short spin keeps what spinning wins on an idle one.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    arguments = sys.argv[1:]
    try:
        _set_up_logging("--debug" in arguments)
        code = exit_code(arguments)
    except KeyboardInterrupt:  # a second one, while the first was being said
        code = INTERRUPTED
    end(code)


def _set_up_logging(debug: bool) -> None:
    """Our warnings on standard error; those of other packages, and more of ours, to debug only."""
    import logging

    class Lines(logging.Formatter):
        """Messages that quote names of files cannot write to the terminal what is no text."""

        def format(self, record: logging.LogRecord) -> str:
            return "\n".join(map(escape_control, super().format(record).split("\n")))

    progress, handler = logging.getLogger("bench.progress"), logging.StreamHandler()
    handler.setFormatter(Lines())
    progress.setLevel(logging.INFO)
    progress.propagate = False
    progress.addHandler(handler)
    logging.captureWarnings(capture=True)
    if debug:
        logging.basicConfig(level=logging.INFO)
        logging.getLogger("bench").setLevel(logging.DEBUG)
        return
    os.environ.setdefault("HF_HUB_VERBOSITY", "critical")
    shown = logging.StreamHandler()
    shown.setFormatter(Lines("bench: %(message)s"))
    logging.basicConfig(handlers=[shown], level=logging.CRITICAL)
    logging.getLogger("bench").setLevel(logging.WARNING)


def exit_code(arguments: Sequence[str]) -> int:
    """Run the command line; an error is one line on standard error, or a traceback to debug."""
    try:
        with cli.make_context("bench", list(arguments)) as context:
            cli.invoke(context)
        return 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        print_line(error.format_message(), sys.stdout)
        return 0
    except click.ClickException as error:
        return _failed(error.format_message(), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        print_line(SAID, sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if "--debug" in arguments:
            import traceback

            traceback.print_exc()
        said, code = one_line(error), code_of(error)
        if isinstance(error, BenchError | OSError):
            return _failed(said, code)
        return _failed(f"internal error (--debug shows the traceback): {said}", code)


def _failed(message: str, code: int) -> int:
    print_line(concise(f"bench: {message}"), sys.stderr)
    return code
