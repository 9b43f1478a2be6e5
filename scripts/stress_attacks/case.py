"""A small run that is attacked: how it is started, and what it must have written in the end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import bench
from bench.core.records import read_missing, read_records
from bench.runs.execution.jobs import LOGS

COMMAND = (
    *("run", "--suite", "micro", "--limit", "20", "--shifts", "v2"),
    *("--set", "e2e-ft.epochs=1", "--workers", "2"),
)
COUNTED = Path(__file__).with_name("counted.py")
ENV = os.environ | {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(Path(bench.__file__).parents[1])}
ENV |= {"OMP_NUM_THREADS": "1"}  # workers give the bits of one process with as many threads
OTHERS = ("timings.jsonl", "places.json", "jobs.json")  # when and where, not what


@dataclass
class Tally:
    """How many trials of an attack held, and a sentence for each that did not."""

    title: str
    trials: int = 0
    broken: list[str] = field(default_factory=list)

    def add(self, trial: str, *faults: str) -> None:
        """Count a trial; `faults` are what did not hold, empty texts where all did."""
        self.trials += 1
        if found := [fault for fault in faults if fault]:
            self.broken.append(f"{trial}: {'; '.join(found)}")

    def __str__(self) -> str:
        return f"{self.title}: {self.trials - len(self.broken)} of {self.trials}"


@dataclass(frozen=True)
class Place:
    """The cache and the output folder of a run below `root`; its `store` may be elsewhere.

    Runs see the variables of `environment`, too.
    """

    root: Path
    store: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def cache(self) -> Path:
        """The cache folder."""
        return self.root / "cache"

    @property
    def out(self) -> Path:
        """The output folder."""
        return self.root / "run"

    def start(self, *more: str, command: tuple[str, ...] = COMMAND, counted: Path | None = None,
              out: Path | None = None) -> subprocess.Popen[str]:  # fmt: skip
        """Start the command in a process group of its own; its writes go to the list `counted`."""
        self.root.mkdir(parents=True, exist_ok=True)
        program = ["-m", "bench"] if counted is None else [str(COUNTED), str(counted)]
        places = ("--cache-dir", self.store or str(self.cache), "--out", str(out or self.out))
        environment = ENV | {"BENCH_CACHE": str(self.cache), **self.environment}
        return subprocess.Popen(
                [sys.executable, *program, *command, *more, *places],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment,
                start_new_session=True,
            )  # fmt: skip

    def run(self, *more: str, **options: object) -> tuple[int, str]:
        """Run the command; return its exit code and what it said."""
        process = self.start(*more, **options)  # type: ignore[arg-type]
        _, said = process.communicate(timeout=600)
        return process.returncode, said


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a run that must be the same whenever it is repeated."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name not in OTHERS)
    named = {path.relative_to(folder).as_posix(): path for path in files}
    return {n: path.read_bytes() for n, path in named.items() if not n.startswith(f"{LOGS}/")}


def leftovers(*places: Path) -> str:
    """Say which temporary files and claims are left in caches and output folders."""
    found = [str(path) for place in places for path in _temporary(place)]
    return f"left {found[:3]}" if found else ""


def _temporary(place: Path) -> Iterator[Path]:
    for path in place.rglob("*"):
        hidden = path.name.startswith(".") and path.name != ".lock"
        if hidden or path.parent in (place / "tmp", place / "claims"):
            yield path


def compared(out: Path, expected: dict[str, bytes], said: tuple[int, str]) -> str:
    """Say what is wrong with a finished run that must be `expected` byte by byte."""
    code, text = said
    if code != 0:
        return f"exit {code}: {last_line(text)}"
    found = contents(out)
    other = sorted(n for n in {*found, *expected} if found.get(n) != expected.get(n))
    return f"other bytes in {other[:3]}" if other else ""


def same_or_said(place: Place, expected: dict[str, bytes], said: tuple[int, str]) -> str:
    """Say what is wrong with a run that may be the expected one, or fail with a sentence.

    With exit code 4 nothing is written; with 1 each planned cell is a record or is said to be
    missing, and each record has the expected value.
    """
    code, text = said
    if code == 0:
        return compared(place.out, expected, said)
    line = last_line(text)
    if code not in (1, 4) or not line.startswith("bench: ") or "internal error" in text:
        return f"exit {code}: {line}"
    if code == 4:
        return "" if not place.out.exists() else compared(place.out, expected, (0, ""))
    return accounted(place.out, expected)


def accounted(out: Path, expected: dict[str, bytes]) -> str:
    """Say which planned cells are neither a record with its value nor missing."""
    whole = out.parent / "expected.jsonl"
    whole.write_bytes(expected["records.jsonl"])
    values = {_place(r): r.value for r in read_records(whole)}
    found = read_records(out / "records.jsonl")
    missing = read_missing(out / "missing.jsonl")
    wrong = [r.method for r in found if r.shift != "pooled" and values[_place(r)] != r.value]
    planned = sum(place[4] != "pooled" for place in values)
    counted = sum(r.shift != "pooled" for r in found) + sum(cell.count for cell in missing)
    if wrong:
        return f"another number of {wrong[0]}"
    return "" if counted == planned else f"{planned} cells were planned, {counted} are accounted"


def _place(record: object) -> tuple[object, ...]:
    names = ("method", "base", "seed", "kind", "shift", "metric")
    return (*(getattr(record, n) for n in names), repr(sorted(record.choice.items())))  # type: ignore[attr-defined]


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing was said"])[-1][:300]
