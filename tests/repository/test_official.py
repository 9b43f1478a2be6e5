"""`benchmarks/official.py`: the whole job if $BENCH_OFFICIAL is set; how answers are compared."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from places import ROOT

from bench.core.store import Store

OFFICIAL = os.environ.get("BENCH_OFFICIAL")
COMMITS = {"VRF": "de9647d1", "wise-ft": "58b7a4b1"}
MARKS = {"VRF": "src/knn_distance.py", "wise-ft": "src/models/finetune.py"}


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import official as module

    return module


@pytest.mark.slow
@pytest.mark.skipif(OFFICIAL is None, reason="BENCH_OFFICIAL names no folder of checkouts")
def test_both_sides_have_the_same_answers(
    official: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--official", str(OFFICIAL), "--precision", "fp32", "--workers", "0"]
    assert official.main([*options, "--model", "official-small"]) == 0
    out = capsys.readouterr().out
    # 11 alphas, both endpoints, OSE and VRF on six sets; by default the chosen alpha alone.
    assert "90 accuracies of 90 compared; 0 of " in out
    (table,) = (part for part in out.split("\n\n") if "| official / this |" in part)
    sides = ["official", "bench", "bench with curves"]
    assert [line.split(" | ")[1] for line in table.splitlines()[2:5]] == sides


def repositories(folder: Path, commits: dict[str, str]) -> Path:
    for name, commit in commits.items():
        (folder / name / MARKS[name]).parent.mkdir(parents=True)
        (folder / name / MARKS[name]).touch()
        (folder / name / "COMMIT").write_text(commit)
    return folder


@pytest.mark.parametrize(
    ("commits", "more", "message"),
    [
        (COMMITS, ("--images", "10"), "--images 10: VRF's script needs at least 1000"),
        ({"wise-ft": "58b7a4b1"}, (), "no checkout of VRF"),
        (COMMITS | {"VRF": "0123456789"}, (), "is at 0123456, expected de9647d"),
        (COMMITS, (), "preparation failed"),
    ],
)
def test_what_cannot_be_run_is_one_line(
    official: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    commits: dict[str, str],
    more: tuple[str, ...],
    message: str,
) -> None:
    folder = repositories(tmp_path, commits)
    assert official.main(["--official", str(folder), *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_what_the_scripts_print_is_read(official: ModuleType, tmp_path: Path) -> None:
    answers, top1 = official.answers, {f"{n}:top1": 0.25 for n in official.answers.NAMES}
    (tmp_path / "r.jsonl").write_text(json.dumps({"alpha": 0.3, **top1}) + "\n")
    found = answers.of_wise_ft(tmp_path / "r.jsonl")
    assert len(found) == 6 and found["wise-ft 0.3", "objectnet"] == 0.25
    printed = (
        "ImageNetV2\n * zeroshot performance 37.50 %\n * ose      performance 50.00 %\n"
        " * wse      performance 25.00 %\nObjectNet\n * finetune performance 12.50 %\n"
    )
    wanted = {("zero-shot", "v2"): 0.375, ("ose", "v2"): 0.5, ("e2e-ft", "objectnet"): 0.125}
    assert answers.of_baselines(printed) == wanted
    printed = "Loading x\nImageNetA: 50.00 %\n => ID Acc 28.21 % OOD Acc 47.80 %\n"
    assert answers.of_vrf(printed) == {("vrf", "a"): 0.5}


def test_other_answers_and_distances_are_noticed(official: ModuleType, tmp_path: Path) -> None:
    answers, counts = official.answers, {"val": 40, "v2": 8, "sketch": 1, "a": 1, "r": 1}
    counts |= {"objectnet": 1}
    theirs, ours = official.Side(), official.Side()
    theirs.found = {answers.Cell("vrf", "id"): 0.5, answers.Cell("vrf", "v2"): 0.375}
    ours.found = {answers.Cell("vrf", "id"): 0.475, answers.Cell("vrf", "v2"): 0.375}
    assert list(answers.other_images(theirs.found, ours.found, {"id": 40, "v2": 8})) == [
        (("vrf", "id"), 1),
        (("vrf", "v2"), 0),
    ]
    assert not official.differences(theirs, ours, counts, "fp32", everywhere=True)
    assert official.differences(theirs, theirs, counts, "fp32", everywhere=True)
    theirs.found[answers.Cell("wise-ft 0.5", "v2")] = 0.125
    ours.found[answers.Cell("vrf", "id")] = 0.5
    assert official.differences(theirs, ours, counts, "fp32", everywhere=False)
    assert not official.differences(theirs, ours, counts, "fp32", everywhere=True)
    store, rng = Store(tmp_path / "cache"), np.random.default_rng(0)
    saved = {}
    for i, name in enumerate(answers.NAMES):
        distance = rng.random(5 + i // 2).astype(np.float32)  # two sets of each size
        saved[f"ft_scores_{name}"] = -np.square(distance)[::-1]
        store.write_arrays("distances", f"{i:064x}", {"distance": distance})
    np.savez(tmp_path / "knn.npz", **saved)
    assert answers.distance_error(tmp_path / "knn.npz", tmp_path / "cache") == 0
    np.savez(
        tmp_path / "other.npz", **saved | {"ft_scores_ImageNet": saved["ft_scores_ImageNet"] - 1}
    )
    assert answers.distance_error(tmp_path / "other.npz", tmp_path / "cache") > 0.1
