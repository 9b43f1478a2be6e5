"""``bench cache``: what lies in the cache folder, whether it is intact, and what can go."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import cloup

from bench.cli.options import CACHE, DEBUG, JSON, examples
from bench.core.errors import DataError, InputError
from bench.core.streams import print_line

if TYPE_CHECKING:
    from bench.core.store import Store
    from bench.core.store.upkeep import CachedFile


@cloup.group(
    "cache",
    epilog=examples(
        "bench cache ls",
        "bench cache verify --remove               # the next run makes it again",
        "bench cache gc --older-than 90 --dry-run",
    ),
)
def cache() -> None:
    """List, verify and clean the folder of computed outputs."""


@cache.command("ls")
@CACHE
@JSON
@DEBUG
def cache_ls_command(cache_dir: Path | None, as_json: bool) -> None:
    """Show what lies in the cache, by kind: files, bytes and ages."""
    from tabulate import tabulate

    from bench.core.paths import format_bytes
    from bench.core.store.upkeep import KINDS, uses_of

    store = _store(cache_dir)
    uses = uses_of(_files(store))
    if as_json:
        kinds = [dataclasses.asdict(use) for use in uses]
        print_line(json.dumps({"cache": store.place, "kinds": kinds}, indent=1), sys.stdout)
        return
    rows = [
        (
            use.kind,
            f"{use.files:,}",
            format_bytes(use.size),
            format_bytes(use.on_disk),
            f"{use.newest:.1f} to {use.oldest:.1f}",
            KINDS.get(use.kind, "files that are not of bench"),
        )
        for use in uses
    ]
    columns = ("Kind", "Files", "Size", "On disk", "Days old", "What")
    align = ("left", *["right"] * 4, "left")
    print_line(
        f"{store.place}\n\n{tabulate(rows, columns, 'simple', colalign=align)}" if rows
        else f"{store.place} is empty", sys.stdout
    )  # fmt: skip


@cache.command("verify")
@CACHE
@cloup.option("--remove", is_flag=True, help="Remove damaged files; the next run makes them again.")
@JSON
@DEBUG
def cache_verify_command(cache_dir: Path | None, remove: bool, as_json: bool) -> None:
    """Check every stored output against its own checksum and name.

    Each damaged file is printed; the exit code is then 4, unless all of them were removed.
    """
    from bench.core.store.container import bytes_of
    from bench.core.store.remote import RemoteFiles
    from bench.core.store.upkeep import fault_of, removed
    from bench.front.display import make_display

    store = _store(cache_dir)
    files = [file for file in _files(store) if file.item]
    read = store.files.original if isinstance(store.files, RemoteFiles) else bytes_of
    faults: dict[Path, str] = {}
    with (
        make_display((), as_json) as progress,
        progress.task("verify the cache", len(files)) as task,
    ):
        for file in files:
            fault = fault_of(file, read)
            if fault:
                with store.files.looking_again():  # a run may just have replaced it
                    fault = fault_of(file, read)
            if fault:
                faults[file.path] = fault
            task.advance(1)
    gone = removed(faults, store.files.remove) if remove else []
    place = store.files.place
    if as_json:
        found = [
            {"file": place(path), "problem": fault, "removed": path in gone}
            for path, fault in faults.items()
        ]
        text = json.dumps({"cache": store.place, "files": len(files), "damaged": found}, indent=1)
        print_line(text, sys.stdout)
    else:
        for path, fault in faults.items():
            print_line(f"{place(path)}: {fault}{'; removed' * (path in gone)}", sys.stdout)
        print_line(f"{len(files):,} outputs read, {len(faults)} damaged", sys.stdout)
    if len(gone) < len(faults):
        names = ", ".join(str(p.relative_to(store.root)) for p in faults if p not in gone)
        advice = "remove them by hand" if remove else "add --remove to have them computed again"
        raise DataError(f"damaged in {store.place}: {names}; {advice}")


@cache.command("gc")
@CACHE
@cloup.option(
    "--older-than",
    metavar="DAYS",
    type=click.IntRange(min=0),
    help="Also remove outputs written more than DAYS ago, but no imported weights.",
)
@cloup.option("--unfinished", is_flag=True, help="Also remove checkpoints of unfinished trainings.")
@cloup.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@JSON
@DEBUG
def cache_gc_command(
    cache_dir: Path | None,
    older_than: int | None,
    unfinished: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove leftovers of killed runs and, on request, old outputs.

    No run loses what it uses: while one runs on the cache, outputs are not removed.
    """
    from bench.core.paths import format_bytes
    from bench.core.store.remote import RemoteFiles
    from bench.core.store.upkeep import leftover_files, outdated_files, removed
    from bench.runs.study.imported import imported_keys

    store = _store(cache_dir)
    root = store.root
    if isinstance(store.files, RemoteFiles):
        raise InputError(
            f"{store.place}: bench cache gc removes nothing from an object store, since it cannot "
            "know which machines need it: give the bucket a lifecycle rule, or delete objects "
            f"when no run uses them; the local copy, {root}, may be deleted at any time"
        )
    kept = set() if older_than is None else imported_keys(store)
    old = outdated_files(root, older_than, unfinished=unfinished, kept=kept)
    sizes = {path: path.lstat().st_size for path in (*leftover_files(root), *old)}
    gone = list(sizes) if dry_run else removed(sizes)
    size = sum(sizes[path] for path in gone)
    if as_json:
        facts = {"cache": str(root), "dry_run": dry_run, "bytes": size}
        text = json.dumps({**facts, "removed": list(map(str, gone))}, indent=1)
        print_line(text, sys.stdout)
    else:
        for path in gone if dry_run else ():
            print_line(str(path), sys.stdout)
        verb = "would be removed from" if dry_run else "removed from"
        files = f"{len(gone):,} file{'' if len(gone) == 1 else 's'}"
        print_line(f"{files} of {format_bytes(size)} {verb} {root}", sys.stdout)
    if stay := [path for path in sizes if path not in set(gone)]:
        raise DataError(f"{stay[0]} cannot be removed: change its rights, or remove it by hand")


def _store(option: Path | None) -> Store:
    from bench.core.store.opening import store_at

    store = store_at(option)
    if store.root.exists() and not store.root.is_dir():
        raise InputError(f"cache folder {store.root} is a file, expected a folder")
    return store


def _files(store: Store) -> Iterator[CachedFile]:
    from bench.core.store.remote import RemoteFiles
    from bench.core.store.upkeep import cached_files, remote_files

    files = store.files
    return remote_files(files) if isinstance(files, RemoteFiles) else cached_files(store.root)
