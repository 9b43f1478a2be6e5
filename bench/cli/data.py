"""``bench data``: getting data sets, preparing and verifying them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import CACHE, DATA, DEBUG, JSON, PATH
from bench.core.errors import BenchError, DataError, InputError, one_line
from bench.core.streams import print_line

if TYPE_CHECKING:
    from bench.checks.verify_data import Finding, Inspector
    from bench.core.progress import Progress
    from bench.data.cards import SetCard
    from bench.data.download.acquire import AcquisitionStep

NAMES = click.argument("names", nargs=-1, required=True, metavar="NAME...")
SUITE = click.option("--suite", "suites", is_flag=True, help="NAMEs are suites: all their sets.")


@click.group("data")
def data() -> None:
    """Get data sets, prepare and verify them."""


@data.command("download")
@NAMES
@SUITE
@DATA
@click.option("--accept-terms", is_flag=True, help="Accept the terms of gated sets unasked.")
@click.option(
    "--password",
    metavar="[TEXT]",
    prompt=True,
    prompt_required=False,
    hide_input=True,
    help="Of an encrypted zip; asked for if TEXT is left out, never kept.",
)
@click.option("--keep", is_flag=True, help="Keep downloaded archives once they are unpacked.")
@JSON
@DEBUG
def download_command(
    names: tuple[str, ...],
    suites: bool,
    data: Path | None,
    accept_terms: bool,
    password: str | None,
    keep: bool,
    as_json: bool,
) -> None:
    """Download data sets, check and unpack them, and prepare them. Repeat the command to resume.

    What no program can download is said, with the place to put it.
    """
    from bench.data.download.acquire import download_set

    cards = _find(names, suites)
    folder = _data_folder(data)
    for card in cards:
        _show_terms(card, accept_terms)

    def get(card: SetCard, progress: Progress) -> tuple[AcquisitionStep, ...]:
        return download_set(card, folder, progress, password, keep)

    _each(cards, get, as_json)


@data.command("prepare")
@NAMES
@SUITE
@DATA
@JSON
@DEBUG
def prepare_command(names: tuple[str, ...], suites: bool, data: Path | None, as_json: bool) -> None:
    """Make what loaders need beside the archives: ImageNet's class folders, official prompts.

    ImageNet's come from its archives in DATA/bench-downloads/imagenet, or of val from the flat
    images that are there; prompts and other small official files are downloaded.
    """
    from bench.data.download.acquire import prepare_set

    cards, folder = _find(names, suites), _data_folder(data)
    _each(cards, lambda card, progress: prepare_set(card, folder, progress), as_json)


def _find(names: Sequence[str], suites: bool) -> tuple[SetCard, ...]:
    from bench.data.download.acquire import find_cards, suite_sets

    cards = find_cards(names, suites)
    if not suites:
        for name in names:
            others = {c.name for c in suite_sets(name)} - {c.name for c in cards}
            if others:
                said = f"{name} is a suite, too: --suite also gets {', '.join(sorted(others))}"
                print_line(said, sys.stderr)
    return cards


def _data_folder(option: Path | None) -> Path:
    from bench.core.paths import check_writable, data_dir
    from bench.data.folder import SYNTHETIC

    found = data_dir(option)
    if found is None:
        raise InputError("where to? name the folder for data sets with --data or $BENCH_DATA")
    if (found / SYNTHETIC).exists():
        raise InputError(f"{found} holds synthetic copies: name another folder for real data")
    return check_writable(found, "data folder")


def _show_terms(card: SetCard, accepted: bool) -> None:
    """Print what one accepts. Raises InputError unless the terms of a gated set are accepted."""
    if not card.terms.accept:
        return
    note = f" ({card.terms.note})" if card.terms.note else ""
    print_line(f"{card.title}: {card.terms.licence}{note}. You accept:", sys.stderr)
    for clause in card.terms.accept:
        print_line(f"- {clause}", sys.stderr)
    if not card.terms.gated or accepted:
        return
    place = f"they stand at {card.source} and in 'bench show set:{card.name}'"
    if not sys.stdin.isatty():
        raise InputError(f"{card.name} has terms to accept; {place}; add --accept-terms if you do")
    if not click.confirm("Do you accept these terms?", err=True):
        raise InputError(f"{card.name}: terms not accepted; {place}")


def _each(
    cards: Sequence[SetCard],
    act: Callable[[SetCard, Progress], tuple[AcquisitionStep, ...]],
    as_json: bool,
) -> None:
    """Do it for each of the sets; what fails stops none of the others. Raises what failed."""
    done: dict[str, list[dict[str, str]]] = {}
    failed: list[BenchError] = []
    for card in cards:
        try:
            with _display(as_json) as display:
                steps = act(card, display)
        except BenchError as error:
            if len(cards) == 1:
                raise
            print_line(f"bench: {one_line(error)}", sys.stderr)
            failed.append(error)
            continue
        done[card.name] = [vars(step) for step in steps]
        if not as_json:
            for line in [str(step) for step in steps] or ["nothing to prepare"]:
                print_line(f"{card.name}: {line}", sys.stdout)
    if as_json:
        print_line(json.dumps({"sets": done}, indent=1), sys.stdout)
    if failed:
        kind = DataError if any(isinstance(e, DataError) for e in failed) else type(failed[0])
        raise kind(f"{len(failed)} of {len(cards)} sets are not complete, the others are")


def _display(quiet: bool) -> AbstractContextManager[Any]:
    from bench.cli.display import make_display

    return make_display((), quiet)


NAMES = click.argument("names", nargs=-1, metavar="[NAME]...")


@data.command("status")
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
    from bench.checks.verify_data import sets_named

    inspector, wanted = _inspector(data, cache_dir), sets_named(names)
    findings = [inspector.status(name) for name in wanted]
    if as_json:
        _say_json(findings)
    else:
        _table(findings)
        for found in findings if names else ():
            if found.state == "not found":
                print_line(f"{found.name}: {found.unchecked}", sys.stdout)


@data.command("verify")
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
    from bench.checks.verify_data import sets_named
    from bench.cli.display import make_display

    inspector, findings = _inspector(data, cache_dir), []
    for name in sets_named(names):
        with make_display((), as_json) as progress, progress.task(f"verify {name}", 0) as task:
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


@data.command("synthetic")
@click.argument("folder", metavar="DIR", type=PATH)
@DEBUG
def synthetic_command(folder: Path) -> None:
    """Write miniature synthetic copies of all data sets to the new folder DIR.

    They have the true layouts and file formats, and meaningless pictures: for trying a suite
    (bench run --data DIR --suite NAME). Every result from them is marked.
    """
    from bench.testing.synthetic import make_copies

    counts = make_copies(folder)
    images = sum(sum(splits.values()) for splits in counts.values())
    print_line(f"{len(counts)} data sets, {images:,} images in {folder}", sys.stdout)


def _inspector(data: Path | None, cache: Path | None) -> Inspector:
    from bench.checks.verify_data import Inspector
    from bench.core.paths import cache_dir, data_dir
    from bench.data.folder import DataFolder

    root = data_dir(data)
    if root is None:
        raise InputError("no data folder: set --data DIR or $BENCH_DATA")
    folder = DataFolder(root, cache_dir(cache))
    for note in folder.notes:
        print_line(f"{root}: {note}", sys.stderr)
    return Inspector(folder)


def _table(findings: list[Finding]) -> None:
    from tabulate import tabulate

    rows = []
    for found in findings:
        images = ", ".join(f"{split} {count}" for split, count in found.splits.items())
        said = "" if found.state == "not found" else found.unchecked
        places = ", ".join(dict.fromkeys(str(place) for place in found.places.values()))
        rows.append((found.name, found.state, images or said, places))
    print_line(tabulate(rows, ("Set", "State", "Images", "Where"), tablefmt="simple"), sys.stdout)
    for found in findings:
        for problem in found.problems:
            print_line(f"{found.name}: {problem}", sys.stdout)


def _say(found: Finding) -> None:
    images = ", ".join(f"{split} {count}" for split, count in found.splits.items())
    said = [found.state, *([images] if images else []), *found.notes]
    if found.unchecked and found.state == "not checked":
        said.append(f"images were not counted: {found.unchecked}")
    elif found.state == "not found":
        said.append(found.unchecked)
    print_line(f"{found.name}: {'; '.join(said)}", sys.stdout)
    for problem in found.problems:
        print_line(f"  {problem}", sys.stdout)


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
    print_line(json.dumps({"sets": data}, indent=1), sys.stdout)
