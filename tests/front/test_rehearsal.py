"""The whole way of a table on true-format copies, with a ViT of random weights: see
docs/reproduce.md. The numbers mean nothing; every step is as in earnest."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import pytest
from commands import bench, contents, start
from model_folders import open_clip_folder

from bench.front.submit import write_submission

MARK = "its numbers are marked as not reportable: synthetic data"


def stored(cache: Path) -> int:
    return sum(1 for _ in (cache / "weights").rglob("*.safetensors"))


@pytest.mark.slow
def test_from_data_to_a_submission(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_clip_folder(Path("vit"), "ViT-B-32")
    table = ("reproduce", "vrf-table1", "--data", synthetic, "--model", "local-dir:vit")
    command = (*table, "--cache-dir", "cache", "--out", "runs/vrf")

    planned = bench(*command, "--until", "plan")
    assert planned.code == 0, planned.err
    assert "plan: VRF's Table 1 with local-dir/vit@" in planned.out
    assert not Path("runs").exists()

    first = bench(*command, "--until", "zero-shot")
    assert first.code == 0, first.err  # a random model claims nothing of the paper's
    assert "No cell of VRF's Table 1 can be compared with this run: measured with " in first.out
    names = {"vrf-zero-shot", "vrf-zero-shot-clean"}
    assert {path.name for path in Path("runs").iterdir()} == names
    before = stored(Path("cache"))
    shutil.copytree("cache", "other")

    going = start(*command, cwd=tmp_path)
    until = time.monotonic() + 300
    while stored(Path("cache")) == before and going.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    going.send_signal(signal.SIGKILL)
    out, err = going.communicate()
    assert going.returncode == -signal.SIGKILL, (out, err)
    assert "trainings: all rows of VRF's Table 1, protocol official" in out
    assert not Path("runs/vrf/records.jsonl").exists()

    again = bench(*command)
    assert again.code == 0, again.err
    assert "next: bench submit runs/vrf" in again.out
    unbroken = bench(*table, "--cache-dir", "other", "--out", "unbroken/vrf")
    assert unbroken.code == 0, unbroken.err
    assert contents(Path("runs/vrf")) == contents(Path("unbroken/vrf"))

    where = ("--data", synthetic, "--cache-dir", "cache")
    refused = bench("submit", "runs/vrf", *where)
    assert (refused.code, refused.out) == (2, f"refused: {MARK}\n")  # and nothing else
    write_submission(Path("runs/vrf"), Path("results/vrf"))
    recomputed = bench("check", "results/vrf", *where)
    assert recomputed.code == 0, recomputed.err
    gate = bench("check", "results/vrf", "--against", "samples")
    assert (gate.code, gate.out) == (3, f"results/vrf: {MARK}\n")
