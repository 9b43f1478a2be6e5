"""``bench data``: getting data sets, preparing and verifying them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from bench.cli.options import CACHE, DATA, DEBUG, JSON, PATH, examples
from bench.core.errors import BenchError, DataError, InputError, one_line
from bench.core.streams import print_line

if TYPE_CHECKING:
    from bench.checks.verify_data import Finding, Inspector
    from bench.core.progress import Progress
    from bench.data.cards import SetCard
    from bench.data.download.acquire import AcquisitionStep

NAMES = cloup.argument("names", nargs=-1, required=True, metavar="NAME...")
OPTIONAL_NAMES = cloup.argument("names", nargs=-1, metavar="[NAME]...")
SUITE = cloup.option(
    "--suite", "suites", is_flag=True, help="Read each NAME as a suite: take all its data sets."
)


@cloup.group(
    "data",
    epilog=examples(
        "bench data download cifar-10.1 cifar-10.2 --data DIR",
        "bench data download --suite imagenet --data DIR",
        "bench data verify --data DIR",
        "bench data synthetic copies && bench run --suite cifar10 --data copies",
    ),
)
def data() -> None:
    """Download, prepare and verify data sets."""


@data.command("download")
@NAMES
@SUITE
@DATA
@cloup.option("--accept-terms", is_flag=True, help="Accept the terms of gated data sets.")
@cloup.option(
    "--password",
    metavar="[TEXT]",
    prompt=True,
    prompt_required=False,
    hide_input=True,
    help="Password of an encrypted zip; prompted for if TEXT is left out, never stored.",
)
@cloup.option("--keep", is_flag=True, help="Keep archives after unpacking them.")
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
    """Download, check, unpack and prepare data sets.

    Run the same command again to resume. What cannot be downloaded by a program is listed with the
    place to put it.
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
    """Make class folders and get official prompts.

    ImageNet's class folders are made from its archives in DATA/bench-downloads/imagenet, those of
    val also from flat images. Prompts and other small official files are downloaded.
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
                said = f"{name} is also a suite: --suite adds {', '.join(sorted(others))}"
                print_line(said, sys.stderr)
    return cards


def _data_folder(option: Path | None) -> Path:
    from bench.core.paths import check_writable, data_dir
    from bench.data.folder import SYNTHETIC

    found = data_dir(option)
    if found is None:
        raise InputError("no data folder: name one with --data or $BENCH_DATA")
    if (found / SYNTHETIC).exists():
        raise InputError(f"{found} holds synthetic copies: name another folder for the real data")
    return check_writable(found, "data folder")


def _show_terms(card: SetCard, accepted: bool) -> None:
    """Print the terms of a set. Raises InputError if those of a gated set are not accepted."""
    if not card.terms.accept:
        return
    note = f" ({card.terms.note})" if card.terms.note else ""
    print_line(f"{card.title}: {card.terms.licence}{note}. By using it you accept:", sys.stderr)
    for clause in card.terms.accept:
        print_line(f"- {clause}", sys.stderr)
    if not card.terms.gated or accepted:
        return
    place = f"they are at {card.source} and in 'bench show set:{card.name}'"
    if not sys.stdin.isatty():
        raise InputError(f"{card.name} has terms; {place}; add --accept-terms if you accept them")
    if not click.confirm("Do you accept these terms?", err=True):
        raise InputError(f"{card.name}: terms not accepted; {place}")


def _each(
    cards: Sequence[SetCard],
    act: Callable[[SetCard, Progress], tuple[AcquisitionStep, ...]],
    as_json: bool,
) -> None:
    """Act on each data set; a failure does not stop the others. Raises what failed."""
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
        raise kind(
            f"{len(failed)} of {len(cards)} data sets are incomplete; the others are complete"
        )


def _display(quiet: bool) -> AbstractContextManager[Any]:
    from bench.front.display import make_display

    return make_display((), quiet)


@data.command("status")
@OPTIONAL_NAMES
@DATA
@CACHE
@JSON
@DEBUG
def status_command(
    names: tuple[str, ...], data: Path | None, cache_dir: Path | None, as_json: bool
) -> None:
    """Show which data sets are found and complete.

    NAME is a data set (`bench list sets`) or a suite. [default: all]
    """
    from bench.checks.verify_data import sets_named

    inspector, wanted = _inspector(data, cache_dir), sets_named(names)
    findings = [inspector.status(name) for name in wanted]
    if as_json:
        _print_json(findings)
    else:
        _table(findings)
        for found in findings if names else ():
            if found.state == "not found":
                print_line(f"{found.name}: {found.unchecked}", sys.stdout)


@data.command("verify")
@OPTIONAL_NAMES
@DATA
@CACHE
@JSON
@DEBUG
def verify_command(
    names: tuple[str, ...], data: Path | None, cache_dir: Path | None, as_json: bool
) -> None:
    """Read every file of data sets and check it.

    Images are decoded and bytes are compared with recorded hashes. The first verification without
    errors records them in DATA/bench-manifests. Each missing or altered file is printed; the exit
    code is then 4, also if a data set cannot be checked. NAME is a data set or a suite. [default:
    all that are found]
    """
    from bench.checks.verify_data import sets_named
    from bench.front.display import make_display

    inspector, findings = _inspector(data, cache_dir), []
    for name in sets_named(names):
        with make_display((), as_json) as progress, progress.task(f"verify {name}", 0) as task:
            found = inspector.verify(name, task.advance)
        if found.state != "not found" or names:
            findings.append(found)
            if not as_json:
                _print_finding(found)
    if not findings:
        raise InputError(
            f"no data set was found in {inspector.folder.root}: correct --data, or get one with "
            "bench data download"
        )
    if as_json:
        _print_json(findings)
    bad = [found.name for found in findings if found.problems]
    if bad:
        raise DataError(f"incomplete or altered: {', '.join(bad)}; see the lines above")
    unchecked = [found.name for found in findings if found.state == "not checked"]
    if unchecked:
        raise DataError(
            f"not checked: {', '.join(unchecked)}; add what the lines above name and verify again"
        )
    absent = [found.name for found in findings if found.state == "not found"]
    if absent:
        raise InputError(
            f"not found in {inspector.folder.root}: {', '.join(absent)}; see bench data download"
        )


@data.command("synthetic")
@cloup.argument("folder", metavar="DIR", type=PATH)
@DEBUG
def synthetic_command(folder: Path) -> None:
    """Write miniature synthetic copies of all data sets.

    They have the true folders and file formats but meaningless pictures, to try a suite without its
    data: bench run --data DIR --suite NAME. Every result is marked. DIR must be new or empty.
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
        why = "" if found.state == "not found" else found.unchecked
        places = ", ".join(dict.fromkeys(str(place) for place in found.places.values()))
        rows.append((found.name, found.state, images or why, places))
    print_line(
        tabulate(rows, ("Data set", "State", "Images", "Folder"), tablefmt="simple"), sys.stdout
    )
    for found in findings:
        for problem in found.problems:
            print_line(f"{found.name}: {problem}", sys.stdout)


def _print_finding(found: Finding) -> None:
    images = ", ".join(f"{split} {count}" for split, count in found.splits.items())
    parts = [found.state, *([images] if images else []), *found.notes]
    if found.unchecked and found.state == "not checked":
        parts.append(f"images not counted: {found.unchecked}")
    elif found.state == "not found":
        parts.append(found.unchecked)
    print_line(f"{found.name}: {'; '.join(parts)}", sys.stdout)
    for problem in found.problems:
        print_line(f"  {problem}", sys.stdout)


def _print_json(findings: list[Finding]) -> None:
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
