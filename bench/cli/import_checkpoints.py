"""``bench import``: released checkpoints taken into the cache."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import cloup

from bench.cli.options import CACHE, DATA, DEBUG, PATH, examples, option
from bench.core.streams import print_line


@cloup.command(
    "import",
    epilog=examples(
        "bench import wise-ft zeroshot.pt checkpoint_10.pt --name b32 \\",
        "    --suite imagenet --data DIR --model ViT-B-32 --pretrained openai",
        "bench run --imported b32 --methods wise-ft,vrf --suite imagenet --data DIR",
    ),
)
@cloup.argument("kind", type=click.Choice(["wise-ft"]))
@cloup.argument("zero_shot", metavar="ZEROSHOT.pt", type=PATH)
@cloup.argument("tuned", metavar="FINETUNED.pt", type=PATH)
@cloup.option_group(
    "Classifiers",
    cloup.option("--name", required=True, help="Name for `bench run --imported NAME`."),
    cloup.option("--suite", required=True, help="Suite with their classes: a name or a file."),
    cloup.option(
        "--trained-on", default="data that was not stated",
        help="Their training data in words, for reports.",
    ),
    cloup.option(
        "--selection-unseen", is_flag=True,
        help="State that no image of the suite's selection split was trained on, so that protocol "
        "clean may choose there.",
    ),
)  # fmt: skip
@cloup.option_group(
    "Model and data", option("model", "NAME"), option("pretrained", "TAG|FILE"), DATA
)
@cloup.option_group("Computation", option("device", "NAME", default="auto"), CACHE, DEBUG)
def import_command(kind: str, cache_dir: Path | None, **options: Any) -> None:
    """Import released classifiers of WiSE-FT's code.

    Reads a pair of pickled checkpoints without running any code in them. `bench run --imported
    NAME` evaluates them and the ensembles built on them.
    """
    from bench.runs.import_checkpoints import import_wise_ft

    made = import_wise_ft(**options, cache=cache_dir)
    print_line(f"imported {made.name}: {made.backbone}, {len(made.classes)} classes", sys.stdout)
