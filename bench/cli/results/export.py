"""``bench export``: what other tools read of a finished run."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import cloup

from bench.cli.options import CACHE, DATA, DEBUG, PATH, PLUGIN_ONLY_LOADED, examples
from bench.core.streams import print_line


@cloup.command(
    "export",
    epilog=examples(
        "bench export results/runs/RUN wise-ft:e2e-ft",
        "bench export results/runs/RUN e2e-ft --format open-clip --to mine",
        "bench export results/runs/RUN vrf:e2e-ft --outputs --to outputs",
        "bench export results/runs/RUN --records records.parquet",
    ),
)
@cloup.argument("run", type=PATH, metavar="RUN")
@cloup.argument("row", required=False, metavar="ROW")
@cloup.option("--to", type=PATH, help="Output folder. [default: results/exports/RUN/ROW]")
@cloup.option(
    "--format",
    "form",
    type=click.Choice(["safetensors", "open-clip"]),
    help="A classifier's files: image tower and head, or also a CLIP model that open_clip loads. "
    "[default: safetensors]",
)
@cloup.option(
    "--outputs",
    is_flag=True,
    help="Write features, logits and probabilities of the row instead, for `bench score`.",
)
@cloup.option("--seed", type=int, metavar="S", help="Training seed. [default: the only one]")
@cloup.option("--suite", metavar="NAME", help="Suite of the run. [default: the only one]")
@cloup.option(
    "--records",
    type=PATH,
    metavar="FILE",
    help="Write all records as a table: .csv, or .parquet and .arrow (extra 'arrow').",
)
@DATA
@CACHE
@PLUGIN_ONLY_LOADED
@DEBUG
def export_command(
    run: Path,
    row: str | None,
    to: Path | None,
    form: str | None,
    outputs: bool,
    seed: int | None,
    suite: str | None,
    records: Path | None,
    data: Path | None,
    cache_dir: Path | None,
) -> None:
    """Export a classifier, outputs or records for other tools.

    RUN is a folder; ROW is METHOD or METHOD:BASE, as in its leaderboard: a trained or merged
    classifier is written with a model card. docs/exchange.md explains the files.
    """
    from bench.front.exports.export import export

    written = export(
        run, row, to=to, format=form, outputs=outputs, records=records, seed=seed, suite=suite,
        data=data, cache_dir=cache_dir,
    )  # fmt: skip
    for path in written:
        print_line(str(path), sys.stdout)
