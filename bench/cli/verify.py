"""``bench data status`` and ``verify``: what of the data sets is there, and whether it is whole."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import CACHE, DATA, DEBUG, JSON, PATH
from bench.core.errors import DataError, InputError
from bench.core.streams import say

if TYPE_CHECKING:
    from bench.checks.verify_data import Finding, Inspector

NAMES = click.argument("names", nargs=-1, metavar="[NAME]...")


@click.command("status")
@NAMES
@DATA
@CACHE
@JSON
@DEBUG
def status_command(
    names: tuple[str, ...], data: Path | None, cache_dir: Path | None, as_json: bool
) -> None:
    """What of the data sets is found where, and whether it has all images.

    NAME is a data set (bench list sets) or a suite; all of them if none is named.
    """
    from bench.checks.verify_data import named

    inspector, wanted = _inspector(data, cache_dir), named(names)
    findings = [inspector.status(name) for name in wanted]
    if as_json:
        _say_json(findings)
    else:
        _table(findings)
        for found in findings if names else ():
            if found.state == "not found":
                say(f"{found.name}: {found.unchecked}", sys.stdout)


@click.command("verify")
@NAMES
@DATA
@CACHE
@JSON
@DEBUG
def verify_command(
    names: tuple[str, ...], data: Path | None, cache_dir: Path | None, as_json: bool
) -> None:
    """Read every file: images are decoded, bytes compared with the hashes recorded before.

    The first faultless verification records them, in DATA/bench-manifests. Exit code 4, and a
    line for each missing or altered file, if something is wrong, or if a set is there and cannot
    be checked. NAME is a data set or a suite; all that are found if none is named.
    """
    from bench.checks.verify_data import named
    from bench.cli.display import display

    inspector, findings = _inspector(data, cache_dir), []
    for name in named(names):
        with display((), as_json) as progress, progress.task(f"verify {name}", 0) as task:
            found = inspector.verify(name, task.advance)
        if found.state != "not found" or names:
            findings.append(found)
            if not as_json:
                _say(found)
    if as_json:
        _say_json(findings)
    bad = [found.name for found in findings if found.problems]
    if bad:
        raise DataError(f"incomplete or altered: {', '.join(bad)}; the lines above say what is")
    unchecked = [found.name for found in findings if found.state == "not checked"]
    if unchecked:
        raise DataError(
            f"not checked: {', '.join(unchecked)}; the lines above say what that lacks: put it "
            "there and verify again"
        )
    absent = [found.name for found in findings if found.state == "not found"]
    if absent:
        raise InputError(f"not found in {inspector.folder.root}: {', '.join(absent)}")


@click.command("synthetic")
@click.argument("folder", metavar="DIR", type=PATH)
@DEBUG
def synthetic_command(folder: Path) -> None:
    """Write miniature synthetic copies of all data sets to the new folder DIR.

    They have the true layouts and file formats, and meaningless pictures: for trying a suite
    (bench run --data DIR --suite NAME). Every result from them is marked.
    """
    from bench.testing.synthetic import make

    counts = make(folder)
    images = sum(sum(splits.values()) for splits in counts.values())
    say(f"{len(counts)} data sets, {images:,} images in {folder}", sys.stdout)


def _inspector(data: Path | None, cache: Path | None) -> Inspector:
    from bench.checks.verify_data import Inspector
    from bench.core.paths import cache_dir, data_dir
    from bench.data.folder import DataFolder

    root = data_dir(data)
    if root is None:
        raise InputError("no data folder: set --data DIR or $BENCH_DATA")
    folder = DataFolder(root, cache_dir(cache))
    for note in folder.notes:
        say(f"{root}: {note}", sys.stderr)
    return Inspector(folder)


def _table(findings: list[Finding]) -> None:
    from tabulate import tabulate

    rows = []
    for found in findings:
        images = ", ".join(f"{split} {count}" for split, count in found.splits.items())
        said = "" if found.state == "not found" else found.unchecked
        places = ", ".join(dict.fromkeys(str(place) for place in found.places.values()))
        rows.append((found.name, found.state, images or said, places))
    say(tabulate(rows, ("Set", "State", "Images", "Where"), tablefmt="simple"), sys.stdout)
    for found in findings:
        for problem in found.problems:
            say(f"{found.name}: {problem}", sys.stdout)


def _say(found: Finding) -> None:
    images = ", ".join(f"{split} {count}" for split, count in found.splits.items())
    said = [found.state, *([images] if images else []), *found.notes]
    if found.unchecked and found.state == "not checked":
        said.append(f"images were not counted: {found.unchecked}")
    elif found.state == "not found":
        said.append(found.unchecked)
    say(f"{found.name}: {'; '.join(said)}", sys.stdout)
    for problem in found.problems:
        say(f"  {problem}", sys.stdout)


def _say_json(findings: list[Finding]) -> None:
    data: list[dict[str, Any]] = [
        {
            "set": found.name,
            "state": found.state,
            "folders": {part: str(place) for part, place in found.places.items()},
            "splits": dict(found.splits),
            "problems": list(found.problems),
            "unchecked": found.unchecked,
            "notes": list(found.notes),
        }
        for found in findings
    ]
    say(json.dumps({"sets": data}, indent=1), sys.stdout)
