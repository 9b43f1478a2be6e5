"""Interrupted, killed, damaged or concurrent runs end with the same bytes as undisturbed ones."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import SMALL, Finished, bench, contents, start

from bench.core.records import read_missing, read_records
from bench.runs.execution.runner import Runner
from bench.runs.plan import Plan

KINDS = ("renders", "weights", "features", "distances", "fits", "samples", "sets", "cells")


def again(run: Finished) -> None:
    result = bench(*run.command, "--cache-dir", run.cache, "--out", run.out)
    assert result.code == 0, result.err


def outputs(cache: Path, kind: str) -> list[Path]:
    """The stored outputs of one kind."""
    return [p for p in sorted((cache / kind).rglob("*")) if p.suffix in (".safetensors", ".json")]


def flip(path: Path) -> None:
    """Change a byte in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def test_an_empty_cache_gives_the_same_bytes(small: Finished, tmp_path: Path) -> None:
    again(Finished(tmp_path / "cache", tmp_path / "run"))
    assert contents(tmp_path / "run") == contents(small.out)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_any_part_of_a_cache_is_a_start(seed: int, own: Finished) -> None:
    """A killed run leaves some of the files, each of them complete."""
    rng, before = np.random.default_rng(seed), contents(own.out)
    for kind in KINDS:
        for path in outputs(own.cache, kind):
            if rng.random() < 0.5:
                path.unlink()
    again(own)
    assert contents(own.out) == before


@pytest.mark.parametrize("kind", ["fits", "samples", "sets", "cells"])
def test_damage_is_noticed_at_once(kind: str, own: Finished) -> None:
    before = contents(own.out)
    for path in outputs(own.cache, kind):
        flip(path)
    again(own)
    assert contents(own.out) == before
    for path in outputs(own.cache, kind):
        assert path.read_bytes()


@pytest.mark.parametrize(
    "kind", [pytest.param("renders", marks=pytest.mark.slow), "weights", "features", "distances"]
)
def test_damage_is_noticed_when_it_is_read(kind: str, own: Finished) -> None:
    """All outputs that depend on the damaged ones are removed: the damaged ones must be read."""
    before = contents(own.out)
    for above in KINDS[KINDS.index(kind) + 1 :]:
        for path in outputs(own.cache, above):
            path.unlink()
    damaged = outputs(own.cache, kind)
    assert damaged
    for path in damaged:
        flip(path)
    again(own)
    assert contents(own.out) == before


@pytest.mark.slow
def test_everything_damaged(own: Finished) -> None:
    before = contents(own.out)
    for kind in KINDS:
        for path in outputs(own.cache, kind):
            flip(path)
    again(own)
    assert contents(own.out) == before


def wait_for(cache: Path, kind: str, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until the run has stored `count` outputs of a kind."""
    deadline = time.monotonic() + 120
    while len(outputs(cache, kind)) < count:
        assert process.poll() is None, f"ended before {kind}: {process.communicate()[1]}"
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("kind", ["trainings", "features"])
def test_emptied_files_change_nothing(kind: str, own: Finished) -> None:
    """The histories of trainings are not lost, and no block's device is made up."""
    before = contents(own.out)
    for path in outputs(own.cache, kind):
        path.write_bytes(b"")
    for name in ("sets", "samples", "fits", "cells") if kind == "features" else ():
        for path in outputs(own.cache, name):
            path.unlink()
    again(own)
    assert contents(own.out) == before


@pytest.mark.slow
def test_killed_again_and_again(small: Finished, tmp_path: Path) -> None:
    cache, out = tmp_path / "cache", tmp_path / "run"
    command = (*SMALL, "--cache-dir", cache, "--out", out)
    moments = (("renders", 1), ("weights", 1), ("weights", 2), ("features", 4), ("cells", 9))
    for kind, count in moments:
        process = start(*command)
        wait_for(cache, kind, count, process)
        process.kill()
        process.communicate()
        assert not out.exists()
    process = start(*command)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert contents(out) == contents(small.out)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number: int, small: Finished, tmp_path: Path) -> None:
    cache, out = tmp_path / "cache", tmp_path / "run"
    # A shell's background processes ignore SIGINT, and their children inherit that.
    attended = {"preexec_fn": partial(signal.signal, signal.SIGINT, signal.SIG_DFL)}
    process = start(*SMALL, "--cache-dir", cache, "--out", out, **attended)
    wait_for(cache, "weights", 2, process)
    process.send_signal(number)
    stdout, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert errors.splitlines()[-1].startswith("bench: interrupted; run the same command again")
    assert "Traceback" not in errors
    assert not out.exists()
    again(Finished(cache, out))
    assert contents(out) == contents(small.out)


@pytest.mark.slow
def test_two_at_once(small: Finished, tmp_path: Path) -> None:
    cache, outs = tmp_path / "cache", [tmp_path / "one", tmp_path / "two"]
    processes = [start(*SMALL, "--cache-dir", cache, "--out", out) for out in outs]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    assert contents(outs[0]) == contents(outs[1]) == contents(small.out)


@pytest.mark.slow
def test_nobody_reads_progress(small: Finished, tmp_path: Path) -> None:
    """``bench run 2>&1 | head -1``: the run continues to its end."""
    reader, writer = os.pipe()
    command = (*SMALL, "--cache-dir", tmp_path / "cache", "--out", tmp_path / "run")
    process = start(*command, stdout=writer, stderr=writer)
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)
    assert process.wait(timeout=300) == 0
    assert contents(tmp_path / "run") == contents(small.out)


def test_cells_whose_choice_is_not_known_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the fits were not reached, no placeholder for the choice is measured."""
    real, calls = Runner.work, list[int]()

    def gives_up_at_first(self: Runner, plan: Plan, left: Callable[[], Any]) -> None:
        calls.append(1)
        if len(calls) > 2:
            real(self, plan, left)

    monkeypatch.setattr(Runner, "work", gives_up_at_first)
    out = tmp_path / "out"
    result = bench(*SMALL, "--methods", "ose", "--cache-dir", tmp_path / "cache", "--out", out)
    assert result.code == 1
    assert {r.method for r in read_records(out / "records.jsonl")} == {"zero-shot", "e2e-ft"}
    missing = read_missing(out / "missing.jsonl")
    assert {cell.method for cell in missing} == {"ose"}
    assert {cell.reason for cell in missing} == {"nothing was chosen; run the same command again"}
    monkeypatch.undo()
    again = bench(*SMALL, "--methods", "ose", "--cache-dir", tmp_path / "cache", "--out", out)
    assert again.code == 0, again.err
