"""The options of the command line that several commands share, with their help."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

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
    "columns model, source, id and the shifts' names, accuracies in percent. Kept as baselines.csv "
    "beside the report. [default: the one that is there]",
    "json": "Print the result as JSON.",
    "debug": "Show tracebacks and debug messages.",
}
PATH = click.Path(path_type=Path)
DATA = click.option("--data", type=PATH, help=HELP["data"])
CACHE = click.option("--cache-dir", type=PATH, help=HELP["cache-dir"])
JUNIT = click.option(
    "--junit", type=PATH, metavar="FILE", help="Also write the result as JUnit's XML."
)
JSON = click.option("--json", "as_json", is_flag=True, help=HELP["json"])
DEBUG = click.option("--debug", is_flag=True, expose_value=False, help=HELP["debug"])


def option(name: str, metavar: str | None = None, **kind: Any) -> Callable[..., Any]:
    """An option with the help that all commands have for it."""
    return click.option(f"--{name}", metavar=metavar, help=HELP[name], **kind)


RUN_OPTIONS = (
    option("suite", "NAMES"),
    option("table", "NAME"),
    option("methods", "NAMES"),
    option("shifts", "NAMES"),
    option("model", "NAME"),
    option("pretrained", "TAG|FILE"),
    option("imported", "NAME"),
    option("seeds", "LIST"),
    option("data", type=PATH),
    option("device", "NAME"),
    option("precision", "fp32|bf16"),
    option("train-batch-size", "N", type=int),
    option("eval-batch-size", "N", type=int),
    option("workers", "N", type=int),
    option("allow-incomplete", is_flag=True, default=None),
    option("limit", "N", type=int),
    option("shots", "N", type=int),
    option("templates", "FILE", type=PATH),
    option("protocol", "NAME"),
    option("select", "RULE"),
    option("controls", is_flag=True, default=None),
    click.option("--curves/--no-curves", default=None, help=HELP["curves"]),
    click.option(
        "--set", "assignments", multiple=True, metavar="METHOD.PARAM=VALUE", help=HELP["set"]
    ),
    option("out", type=PATH),
    option("cache-dir", type=PATH),
    option("config", "run.yaml", type=PATH),
    JSON,
    DEBUG,
)


def run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of ``bench run``."""
    for add in reversed(RUN_OPTIONS):
        command = add(command)
    return command
