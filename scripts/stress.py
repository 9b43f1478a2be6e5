"""Attack runs: kills, damaged files, many processes at once, full disks; figures N of N.

    python scripts/stress.py               # every attack, as docs/reliability.md records it
    python scripts/stress.py --kills 5 --damages 1 --together 3 --disks 0

Every attack compares with the files of an undisturbed run of the embedded suite, byte by byte.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from bench.cli.main import exit_code
from bench.core.records import read_missing, read_records

RUN = (
    *("run", "--suite", "micro", "--limit", "40", "--shifts", "v2,objectnet"),
    *("--set", "e2e-ft.epochs=1"),
)
KINDS = ("renders", "weights", "features", "fits", "samples", "sets", "cells")
OTHERS = ("timings.jsonl", "places.json")  # when and where, not what
COUNTED = """
import os, sys
from bench.core.store import Store
write = Store._write
def counted(self, path, *parts, **how):
    write(self, path, *parts, **how)
    with open(os.environ["WRITTEN"], "a") as file:
        file.write(str(path) + "\\n")
Store._write = counted
from bench.__main__ import start
sys.argv = ["bench", *sys.argv[1:]]
start()
"""
"""Runs the command line and notes each output that is stored."""


def command(cache: Path, out: Path, *more: str) -> list[str]:
    """Return the arguments of a run."""
    return [*RUN, *more, "--cache-dir", str(cache), "--out", str(out)]


def run(cache: Path, out: Path, *more: str) -> tuple[int, str]:
    """Run in this process; return the exit code and what went to standard error."""
    errors = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(errors):
        code = exit_code(command(cache, out, *more))
    return code, errors.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a run's folder that must not change when it is repeated."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in OTHERS]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def left_behind(cache: Path, out: Path) -> list[Path]:
    """Return temporary files and claims that should be gone."""
    found = [*(cache / "tmp").glob("*"), *(cache / "claims").glob("*")]
    return [*found, *out.parent.glob(f"{out.name}/.new-*")]


def kills(count: int, undisturbed: dict[str, bytes], rng: random.Random) -> int:
    """Kill a run's process group at random moments of its 15 seconds, then run it to its end."""
    good = 0
    for number in range(count):
        with tempfile.TemporaryDirectory() as folder:
            cache, out = Path(folder) / "cache", Path(folder) / "run"
            more = ("--workers", "2") if number % 3 == 0 else ()
            process = subprocess.Popen(
                [sys.executable, "-m", "bench", *command(cache, out, *more)],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            time.sleep(rng.uniform(1.5, 15))
            if number % 3 == 2:
                process.kill()  # the driver alone
            else:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code, _ = run(cache, out)
            good += code == 0 and contents(out) == undisturbed and not left_behind(cache, out)
    return good


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def exchange(path: Path, rng: random.Random) -> None:
    """Put an intact file of the same kind under this one's name."""
    kind = next(parent for parent in path.parents if parent.name in KINDS)
    others = sorted(p for p in kind.rglob(f"*{path.suffix}") if p != path)
    if others:
        shutil.copyfile(rng.choice(others), path)
    else:
        path.write_bytes(b"")


def as_folder(path: Path, _: random.Random) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "one bit": flip,
    "cut": lambda path, rng: os.truncate(path, rng.randrange(path.stat().st_size)),
    "empty": lambda path, _: os.truncate(path, 0),
    "another output": exchange,
    "a folder": as_folder,
    "gone": lambda path, _: path.unlink(),
}


def damages(
    repeats: int, made: tuple[Path, Path], rng: random.Random
) -> Iterator[tuple[str, int, int]]:
    """Damage a stored file of each kind in each way, so that it must be read, and run again.

    Good is the same result, or exit 1 with every missing cell named.
    """
    before = contents(made[1])
    planned = sum(r.shift != "pooled" for r in read_records(made[1] / "records.jsonl"))
    for name, damage in DAMAGES.items():
        good = total = 0
        for kind in KINDS:
            for _ in range(repeats):
                with tempfile.TemporaryDirectory() as folder:
                    cache, out = Path(folder) / "cache", Path(folder) / "run"
                    shutil.copytree(made[0], cache)
                    for above in KINDS[KINDS.index(kind) + 1 :]:
                        shutil.rmtree(cache / above, ignore_errors=True)
                    files = [p for p in (cache / kind).rglob("*.*") if p.is_file()]
                    damage(rng.choice(sorted(files)), rng)
                    code, _ = run(cache, out)
                    total += 1
                    good += code == 0 and contents(out) == before
                    if code == 1:
                        lacking = sum(m.count for m in read_missing(out / "missing.jsonl"))
                        kept = read_records(out / "records.jsonl")
                        good += lacking + sum(r.shift != "pooled" for r in kept) == planned
        yield name, good, total


def together(count: int, undisturbed: dict[str, bytes]) -> tuple[int, Counter[int]]:
    """Run the same command many times at once; count how often each output is stored."""
    with tempfile.TemporaryDirectory() as folder:
        cache, log = Path(folder) / "cache", Path(folder) / "written"
        outs = [Path(folder) / f"run{number}" for number in range(count)]
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", COUNTED, *command(cache, out)],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env=os.environ | {"WRITTEN": str(log)},
            )
            for out in outs
        ]  # fmt: skip
        codes = [process.wait() for process in processes]
        good = sum(
            code == 0 and contents(out) == undisturbed
            for code, out in zip(codes, outs, strict=True)
        )
        stored = Counter(log.read_text().splitlines())
        counted = {p: n for p, n in stored.items() if "/models/" not in p and "/renders/" not in p}
        return good, Counter(counted.values())


@contextmanager
def small_disk(size: int) -> Iterator[Path]:
    """Give a folder on a disk of `size` bytes. Needs the right to mount."""
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
        subprocess.run(mount, check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def disks(count: int, made: tuple[Path, Path], rng: random.Random) -> int:
    """Run on full disks, as cache and as output; then with room, on the same files."""
    before = contents(made[1])
    good = 0
    for number in range(count):
        with (
            tempfile.TemporaryDirectory() as folder,
            small_disk(rng.randrange(1, 30) << 20) as disk,
        ):
            of_cache = number % 2 == 0
            cache, out = (disk, Path(folder) / "run") if of_cache else (Path(folder), disk / "run")
            if of_cache:
                shutil.copytree(made[1], out)  # the earlier result that must stay
            code, errors = run(cache, out)
            kept = not of_cache or contents(out) == before
            said = code == 0 or "No space left" in errors
            subprocess.run(["mount", "-o", "remount,size=1G", str(disk)], check=True)
            again, _ = run(cache, out)
            good += kept and said and again == 0 and contents(out) == before
    return good


def main() -> None:
    """Make the attacks and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    for name, default in (("kills", 50), ("damages", 4), ("together", 8), ("disks", 12)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    rng = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "cache", Path(folder) / "run"
        code, errors = run(*made)
        assert code == 0, errors
        undisturbed = contents(made[1])
        if chosen.damages:
            for name, good, total in damages(chosen.damages, made, rng):
                print(f"stored files, {name}: {good} of {total}", flush=True)
        if chosen.together:
            good, written = together(chosen.together, undisturbed)
            print(f"runs at once: {good} of {chosen.together}", flush=True)
            print(f"outputs stored once: {written[1]} of {written.total()}", flush=True)
        if chosen.disks:
            print(f"full disks: {disks(chosen.disks, made, rng)} of {chosen.disks}", flush=True)
        if chosen.kills:
            print(f"kills: {kills(chosen.kills, undisturbed, rng)} of {chosen.kills}", flush=True)


if __name__ == "__main__":
    main()
