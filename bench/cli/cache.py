"""``bench cache``: what lies in the cache folder, whether it is intact, and what can go."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import click
import cloup

from bench.cli.options import CACHE, DEBUG, JSON, examples
from bench.core.errors import DataError, InputError
from bench.core.streams import print_line


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
    from bench.core.store.upkeep import KINDS, cached_files, uses_of

    root = _root(cache_dir)
    uses = uses_of(cached_files(root))
    if as_json:
        kinds = [dataclasses.asdict(use) for use in uses]
        print_line(json.dumps({"cache": str(root), "kinds": kinds}, indent=1), sys.stdout)
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
        f"{root}\n\n{tabulate(rows, columns, 'simple', colalign=align)}" if rows
        else f"{root} is empty", sys.stdout
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
    from bench.core.store.upkeep import cached_files, fault_of, removed
    from bench.front.display import make_display

    root = _root(cache_dir)
    files = [file for file in cached_files(root) if file.item]
    faults: dict[Path, str] = {}
    with (
        make_display((), as_json) as progress,
        progress.task("verify the cache", len(files)) as task,
    ):
        for file in files:
            if fault := fault_of(file):
                faults[file.path] = fault
            task.advance(1)
    gone = removed(faults) if remove else []
    if as_json:
        found = [
            {"file": str(path), "problem": fault, "removed": path in gone}
            for path, fault in faults.items()
        ]
        text = json.dumps({"cache": str(root), "files": len(files), "damaged": found}, indent=1)
        print_line(text, sys.stdout)
    else:
        for path, fault in faults.items():
            print_line(f"{path}: {fault}{'; removed' * (path in gone)}", sys.stdout)
        print_line(f"{len(files):,} outputs read, {len(faults)} damaged", sys.stdout)
    if len(gone) < len(faults):
        names = ", ".join(str(path.relative_to(root)) for path in faults if path not in gone)
        advice = "remove them by hand" if remove else "add --remove to have them computed again"
        raise DataError(f"damaged in {root}: {names}; {advice}")


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
    from bench.core.store.upkeep import leftover_files, outdated_files, removed
    from bench.runs.study.imported import imported_keys

    root = _root(cache_dir)
    kept = set() if older_than is None else imported_keys(root)
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


def _root(option: Path | None) -> Path:
    from bench.core.paths import cache_dir

    root = cache_dir(option)
    if root.exists() and not root.is_dir():
        raise InputError(f"cache folder {root} is a file, expected a folder")
    return root
