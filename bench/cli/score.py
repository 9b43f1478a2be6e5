"""``bench score``: leaderboards of outputs that were computed elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cloup

from bench.cli.options import (
    CACHE,
    CONTROLS,
    CURVES,
    DEBUG,
    JSON,
    METRICS,
    OVERWRITE,
    PATH,
    PLUGIN,
    PROTOCOL,
    SELECT,
    SET,
    SHIFTS,
    examples,
    option,
)
from bench.cli.run import run_and_show
from bench.core.errors import InputError
from bench.core.streams import print_line


@cloup.command(
    "score",
    epilog=examples(
        "bench score --outputs my-outputs                 # OSE and VRF on every base",
        "bench score --outputs my-outputs --methods all --select max-val",
    ),
)
@cloup.option_group(
    "What to score",
    cloup.option(
        "--outputs", "folder", required=True, type=PATH, metavar="DIR",
        help="Folder with outputs.yaml and the arrays it names.",
    ),
    cloup.option(
        "--methods", metavar="NAMES",
        help="Post-hoc methods, comma separated, or 'all'. The supplied models are added. "
        "[default: ose,vrf on every base]",
    ),
    SHIFTS,
    CONTROLS,
    CURVES,
    METRICS,
)  # fmt: skip
@cloup.option_group("Choices", PROTOCOL, SELECT, SET, PLUGIN)
@cloup.option_group("Files and output", option("out", type=PATH), OVERWRITE, CACHE, JSON, DEBUG)
@cloup.option("--seeds", hidden=True)
def score_command(folder: Path, seeds: str | None, as_json: bool, **options: Any) -> None:
    """Make leaderboards of outputs computed elsewhere.

    Needs no image, no model and no torch. Nothing is trained, so there are no seeds.
    docs/outputs.md describes the folder.
    """
    from bench.runs.session import prepare_session
    from bench.runs.study.score import score_study

    if seeds is not None:
        raise InputError("--seeds: bench score trains nothing, so there are no seeds; leave it out")
    options["set"] = options.pop("assignments")
    config, study = score_study(folder, options)
    session = prepare_session(config, (study,), folder)
    if unused := session.unused_settings():
        print_line(unused, sys.stderr)
    run_and_show(session, as_json)
