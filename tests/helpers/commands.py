"""For tests: the command line in this process or in another, and the files that it writes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from bench.cli import main as cli
from bench.cli.main import exit_code

SMALL = (
    *("run", "--suite", "micro", "--limit", "40", "--shifts", "v2,objectnet"),
    *("--set", "e2e-ft.epochs=1"),
)
"""A run of the default methods that takes a few seconds."""


@dataclass(frozen=True)
class Result:
    """The exit code of a command and what it printed."""

    code: int
    out: str
    err: str


def bench(*arguments: object) -> Result:
    """Run a command line in this process and return its result."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = exit_code([str(a) for a in arguments])
    return Result(code, out.getvalue(), err.getvalue())


SAME_BENCH = os.environ | {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(Path(cli.__file__).parents[2])}
"""An environment in which another process imports the same bench, installed or from a checkout.

Otherwise the commit in records could differ."""

CONDITIONS = ("ATEN_CPU_CAPABILITY", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""The environment variables that select kernels and threads."""


def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """Start a command line in its own process."""
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": SAME_BENCH}
    return subprocess.Popen(command, **(pipes | options))  # type: ignore[call-overload]


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a run's folder that must not change when the run is repeated."""
    others = ("timings.jsonl", "places.json")  # when and where, not what
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in others]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def assert_refused(result: Result, *words: str, code: int = 2) -> None:
    """Assert an exit code and one line on standard error, besides progress, with all `words`."""
    assert result.code == code, result
    assert result.out == ""
    progress = ("to do: ", "load ", "open ")
    line, *others = [x for x in result.err.splitlines() if not x.startswith(progress)]
    assert line.startswith("bench: ") and not others, result.err
    for word in words:
        assert word in line


@dataclass(frozen=True)
class Finished:
    """A finished run: `command` is its command line without --out."""

    cache: Path
    out: Path
    command: tuple[str, ...] = SMALL
