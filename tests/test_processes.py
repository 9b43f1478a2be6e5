"""Two processes under accelerate's launcher, as two GPUs would be, here on the CPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from commands import SAME_BENCH, SMALL, Finished

from bench.records import Record, read


def launch(*arguments: object) -> tuple[int, str]:
    import subprocess

    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_port", "0", "-m", "bench", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env=SAME_BENCH
    )
    return done.returncode, done.stderr


def cells(path: Path) -> dict[tuple[str, str], Record]:
    return {
        (r.method, r.shift): r
        for r in read(path / "records.jsonl")
        if r.kind == "cell" and r.metric == "top1"
    }


@pytest.mark.slow
def test_two_processes_fill_one_leaderboard(small: Finished, tmp_path: Path) -> None:
    """Zero-shot bit for bit as one process; trainings differ by the order of sums alone."""
    arguments = [*SMALL, "--cache-dir", tmp_path / "cache", "--out", tmp_path / "run"]
    code, errors = launch(*arguments)
    assert code == 0, errors
    alone, together = cells(small.out), cells(tmp_path / "run")
    assert alone.keys() == together.keys()
    for place, record in alone.items():
        if place[0] == "zero-shot":
            assert together[place].value == record.value
        else:
            assert together[place].value == pytest.approx(record.value, abs=0.1)
    made = {p.name for p in (tmp_path / "cache").glob("features/*/*")}
    assert made and made <= {p.name for p in small.cache.glob("features/*/*")}
    code, errors = launch(*arguments)
    assert code == 0 and "nothing" in errors
