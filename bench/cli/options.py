"""Options that several commands share, in groups, and how a command shows its examples."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import cloup

from bench.core.errors import InputError
from bench.core.paths import cache_path, local_path

HELP = {
    "suite": "Suites, comma separated: names ('transfer' for the five transfer sets, dtd=3 for the "
    "third official partition), a suite file (my.yaml), or 'available' for all whose data are "
    "found (mini if there are none). NAME+corruptions takes the ID test images, corrupted, as "
    "shifts; NAME+corruptions=3 those of severity 3. [default: mini]",
    "table": "The rows and layout of a paper's table: vrf-table1, carot-slides or "
    "wise-ft-table8. Replaces --methods.",
    "methods": "Methods, comma separated, such as vrf,wise-ft or vrf:lp-ft, 'all', or a part of "
    "it: trained, merges, ensembles, newer. Their bases and zero-shot are added. "
    "[default: wise-ft,ose,vrf]",
    "shifts": "Shifts, comma separated, or 'all'. [default: all]",
    "model": "open_clip model name, 'tiny', local-dir:PATH (a folder of open_clip's or "
    "transformers' CLIP or SigLIP), hf-hub:OWNER/NAME, or timm:NAME, a model without a text tower. "
    "[default: the suite's]",
    "pretrained": "Pretrained tag (downloaded) or checkpoint file. [default: the suite's]",
    "imported": "Use the zero-shot and e2e-ft classifiers stored by `bench import`; train the "
    "rest.",
    "seeds": "Training seeds, comma separated. [default: 0]",
    "data": "Folder that holds the data sets. [default: $BENCH_DATA]",
    "device": "auto, cpu, cuda, cuda:1 or mps. [default: auto]",
    "executor": "Who computes: local, local:N for N processes here, ray[:ADDRESS] for a Ray "
    "cluster, slurm[:OPTIONS] for job arrays (docs/scaling.md). [default: local, with a process "
    "for each GPU]",
    "precision": "Precision for training and evaluation; bf16-eval is for evaluation alone, and "
    "auto takes it where it is fast and at most 0.2% of a sample change their class. "
    "[default: fp32]",
    "train-batch-size": "Batch size of every training; changes results. [default: each method's]",
    "eval-batch-size": "Images per forward pass; does not change results. [default: 256]",
    "micro-batch": "Images that go through a model in training at a time, for small devices; the "
    "gradients are those of the whole batch up to rounding. [default: what fits]",
    "workers": "Processes that decode images. [default: 0 on a CPU, up to 8 on a GPU]",
    "epoch-accuracy": "Also evaluate the selection split after each epoch of trainings still to "
    "do, for the report; changes no result. Costs a forward pass of that split per epoch.",
    "allow-incomplete": "Run on incomplete data sets too; mark every number.",
    "limit": "Use at most N samples of every split; mark the result as not reportable.",
    "shots": "Train on N samples of each class; at most N of each in the selection split.",
    "templates": "Prompt templates to use in place of the suite's: a text file with one per line "
    "and {} for the class name, a .json or .yaml list, or a .py file in the official codes' form.",
    "protocol": "clean, or official: what the papers' codes do, leaks included. Change single "
    "fields with --set protocol.FIELD=VALUE. [default: clean]",
    "select": "Rule that chooses alpha, a and b: within-1pt or max-val. [default: the protocol's]",
    "tune": "Methods, comma separated, whose training is searched: --trials settings of rate, "
    "epochs, decay and the method's own, judged on the selection split.",
    "trials": "Settings to try for each method of --tune; the first one is the default.",
    "controls": "Also run the ablations that test each method and report the oracle alpha.",
    "curves": "Also evaluate every alpha on the shifts. [default: on for mini]",
    "metrics": "Further metrics, comma separated: balanced, worst-class, adaptive-ece, "
    "classwise-ece, auroc, aurc, id-ood-gap, effective-robustness, relative-robustness (bench show "
    "NAME). Every run has accuracy, ECE, NLL and Brier score.",
    "set": "Set a hyper-parameter; `bench show METHOD` lists them. model.FIELD=VALUE says what a "
    "checkpoint file does not. Repeatable.",
    "out": "Output folder. [default: results/runs/SUITE-HASH]",
    "overwrite": "Replace the run in --out, even one with other settings or more cells.",
    "cache-dir": "Folder for computed outputs, or s3://BUCKET/PREFIX (docs/scaling.md). [default: "
    "$BENCH_CACHE, or the user's cache folder]",
    "tracker": "Log trainings and leaderboard rows to tensorboard, wandb or mlflow, in "
    "OUT/trackers. Repeatable.",
    "config": "YAML file with these options (docs/config-file.md), relative paths from its folder; "
    "the command line takes precedence.",
    "plugin": "Python file with further methods or data sets (docs/new-method.md). Repeatable.",
    "format": "Comma separated: md, html, tex (or latex), csv, json; svg or png write every figure "
    "to a file.",
    "baselines": "Models that define the line of effective robustness: a CSV file with the columns "
    "model, source, id and the shifts' names; accuracies in percent. Stored as baselines.csv with "
    "the report. [default: the report's own baselines.csv, if any]",
    "json": "Print the result as JSON.",
    "debug": "Show tracebacks and debug messages.",
}
"""Help of the options that several commands share."""


class LocalPath(click.Path):
    """A path of an option, refused if it is empty or an address such as ``s3://bucket/folder``.

    Examples
    --------
    >>> from bench.cli.options import LocalPath
    >>> LocalPath(path_type=str).convert("results/run", None, None)
    'results/run'
    """

    checked = staticmethod(local_path)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Return the path of an option's text; errors name the option."""
        name = "path" if param is None else max(param.opts, key=len)
        if value == "":
            raise InputError(f"{name} is empty: give a path, or leave it out")
        return super().convert(self.checked(value, name), param, ctx)


class CachePath(LocalPath):
    """The same, or the address of an object store.

    Examples
    --------
    >>> from bench.cli.options import CachePath
    >>> CachePath(path_type=str).convert("s3://bucket/prefix", None, None)
    's3://bucket/prefix'
    """

    checked = staticmethod(cache_path)


PATH, CACHE_PATH = LocalPath(path_type=Path), CachePath(path_type=Path)
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def option(name: str, metavar: str | None = None, **kind: Any) -> Decorator:
    """An option with the help that all commands have for it; `kind` goes to `click.option`."""
    return cloup.option(f"--{name}", metavar=metavar, help=HELP[name], **kind)


def _load_plugins(
    context: click.Context, parameter: click.Parameter, paths: tuple[Path, ...]
) -> tuple[Path, ...] | None:
    """Import plugin files as soon as they are parsed, so that every command knows their methods."""
    if paths:
        from bench.api.registry import load_plugin

        for path in paths:
            load_plugin(path)
    return paths or None


PLUGIN, PLUGIN_ONLY_LOADED = (
    option("plugin", "FILE.py", type=PATH, multiple=True, callback=_load_plugins, expose_value=kept)
    for kept in (True, False)
)
DATA = option("data", type=PATH)
CACHE = option("cache-dir", type=CACHE_PATH)
JUNIT = cloup.option(
    "--junit", type=PATH, metavar="FILE", help="Also write the result as JUnit XML."
)
JSON = cloup.option("--json", "as_json", is_flag=True, help=HELP["json"])
DEBUG = cloup.option("--debug", is_flag=True, expose_value=False, help=HELP["debug"])
SHIFTS, PROTOCOL, SELECT = (
    option("shifts", "NAMES"),
    option("protocol", "NAME"),
    option("select", "RULE"),
)
OVERWRITE = option("overwrite", is_flag=True, default=None)
CONTROLS = option("controls", is_flag=True, default=None)
CURVES = cloup.option("--curves/--no-curves", default=None, help=HELP["curves"])
METRICS = option("metrics", "NAMES")
SET = cloup.option(
    "--set", "assignments", multiple=True, metavar="METHOD.PARAM=VALUE", help=HELP["set"]
)
TRACKER = option(
    "tracker",
    "NAME",
    multiple=True,
    callback=lambda _, __, given: ",".join(given) if given else None,
)

RUN_OPTIONS = (
    cloup.option_group(
        "What to run",
        option("suite", "NAMES"),
        option("methods", "NAMES"),
        SHIFTS,
        option("seeds", "LIST"),
        option("table", "NAME"),
        CONTROLS,
        CURVES,
        METRICS,
    ),
    cloup.option_group(
        "Model and data",
        option("model", "NAME"),
        option("pretrained", "TAG|FILE"),
        option("imported", "NAME"),
        DATA,
        option("templates", "FILE", type=PATH),
        option("shots", "N", type=int),
        option("limit", "N", type=int),
        option("allow-incomplete", is_flag=True, default=None),
    ),
    cloup.option_group(
        "Choices",
        PROTOCOL,
        SELECT,
        SET,
        option("tune", "METHODS"),
        option("trials", "N", type=int),
        PLUGIN,
    ),
    cloup.option_group(
        "Computation",
        option("device", "NAME"),
        option("executor", "NAME"),
        option("precision", "fp32|bf16|bf16-eval|auto"),
        option("train-batch-size", "N", type=int),
        option("eval-batch-size", "N", type=int),
        option("micro-batch", "N", type=int),
        option("workers", "N", type=int),
        option("epoch-accuracy", is_flag=True, default=None),
    ),
    cloup.option_group(
        "Files and output",
        option("config", "run.yaml", type=PATH),
        option("out", type=PATH),
        OVERWRITE,
        CACHE,
        TRACKER,
        JSON,
        DEBUG,
    ),
)


def run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of ``bench run``."""
    for add in reversed(RUN_OPTIONS):
        command = add(command)
    return command


def examples(*lines: str) -> str:
    """The end of a command's help: command lines, each with what it does behind ``#``."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))
