"""Full disks: a small file system in memory as cache, or as output folder (Linux, as root)."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stress_attacks.case import Place, Tally, compared, contents, leftovers

SIZES = ("64k", "256k", "512k", "1m", "2m", "3m", "4m")


def sizes_of(seed: int) -> tuple[str, ...]:
    """The usual sizes for seed 0; for any other, as many at random between the same ends."""
    if not seed:
        return SIZES
    draw = random.Random(seed)
    powers = sorted(draw.uniform(4, 10) for _ in SIZES)
    return tuple(f"{round(4 * 2**power)}k" for power in powers)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def full_disks(
    folder: Path, done: Place, expected: dict[str, bytes], sizes: tuple[str, ...]
) -> Tally:
    """Run with a cache, then with an output folder, on disks of some sizes; then free space."""
    tally = Tally("full disks")
    for size in sizes:
        place = Place(folder / f"cache-{size}")
        with small_disk(place.cache, size):
            code, said = place.run()
            before = contents(place.cache)
            fault = _named(code, said, place.cache)
            if place.out.exists() and code != 0:
                shutil.rmtree(place.out)  # of a run with missing cells
            subprocess.run(["mount", "-o", "remount,size=64m", place.cache], check=True)
            again = compared(place.out, expected, place.run())
            after = contents(place.cache)
            lost = [n for n in before if _is_result(n) and after.get(n) != before[n]]
            left = leftovers(place.cache)
            tally.add(place.root.name, fault, again, f"lost {lost[:2]}" if lost else "", left)
        shutil.rmtree(place.root)
    for size in sizes[:4]:
        place = Place(folder / f"out-{size}")
        shutil.copytree(done.cache, place.cache)
        with small_disk(place.root / "disk", size):
            out = place.root / "disk" / "run"
            out.mkdir()
            (out / "records.jsonl").write_bytes(b"mine")
            code, said = place.run("--overwrite", out=out)
            kept = (out / "records.jsonl").read_bytes() == b"mine" or code == 0
            fault = _named(code, said, place.root / "disk")
            subprocess.run(["mount", "-o", "remount,size=64m", place.root / "disk"], check=True)
            again = compared(out, expected, place.run("--overwrite", out=out))
            lost = "" if kept else "the earlier run was lost"
            tally.add(place.root.name, fault, again, lost, leftovers(out))
        shutil.rmtree(place.root)
    return tally


def _is_result(name: str) -> bool:
    kinds = ("renders", "weights", "features", "fits", "samples", "sets", "trainings")
    return name.startswith(kinds)


def _named(code: int, said: str, disk: Path) -> str:
    """Say what is wrong with the answer to a full disk, if it was too small."""
    last = said.strip().splitlines()[-1]
    if code == 0:
        return ""
    named = str(disk)[:40] in last and "No space left" in last
    good = code in (1, 2, 4) and last.startswith("bench: ") and named
    return "" if good else f"exit {code}: {last[:300]}"
