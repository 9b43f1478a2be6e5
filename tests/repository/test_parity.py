"""Parity with the official codes: recorded numbers, and live ones if $BENCH_OFFICIAL is set."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import parity
import pytest
from parity_cases import CASES, Case, checkouts, difference
from places import ROOT

RECORDED: list[dict[str, Any]] = json.loads((ROOT / "tests/recorded/parity.json").read_text())
OFFICIAL = os.environ.get("BENCH_OFFICIAL")

# A repository with one loss, the mean of the cross-entropies of rows and columns; SIGN varies it.
LOSS = """
class ClipLoss:
    def __init__(self, **options): pass
    def __call__(self, images, texts, scale):
        logits = SIGN * scale * images @ texts.T
        rows, columns = logits.logsumexp(1), logits.logsumexp(0)
        return ((rows + columns) / 2 - logits.diagonal()).mean()
"""
LOOP = """
def flyp_loss(args):
    clip_loss_fn = ClipLoss()
"""
IDS = [f"{case.repository} {case.name}" for case in CASES]
ONLY = ("--only", "contrastive")


def repository(folder: Path, sign: object = 1, loop: str = LOOP) -> Path:
    for file, text in (
        ("clip/loss.py", LOSS.replace("SIGN", str(sign))),
        ("src/models/flyp_loss.py", loop),
        ("COMMIT", "0123456789\n"),
    ):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    return folder


@pytest.mark.parametrize(("case", "record"), list(zip(CASES, RECORDED, strict=True)), ids=IDS)
def test_equals_the_recorded_official_numbers(case: Case, record: dict[str, Any]) -> None:
    for name in ("name", "repository", "source", "seed"):
        assert record[name] == getattr(case, name), "record again: scripts/parity.py --record"
    assert record["shapes"] == {n: list(shape) for n, shape in case.shapes.items()}
    official = {name: np.array(values) for name, values in record["numbers"].items()}
    assert difference(case.ours(case.inputs()), official) <= case.tolerance


def test_recorded_momentum_is_that_of_the_published_run() -> None:
    (record,) = (r for r in RECORDED if "EMA" in r["name"])
    momentum = record["numbers"]["momentum"]
    assert [round(m, 4) for m in momentum[:5]] == [0.05, 0.1349, 0.2198, 0.4745, 0.8990]


def test_one_commit_of_each_repository_was_recorded_and_the_page_names_it() -> None:
    page = (ROOT / "docs/parity.md").read_text()
    assert len({(r["repository"], r["commit"]) for r in RECORDED}) == 10
    for r in RECORDED:
        assert f"| {r['name']} " in page
        assert f"{r['repository']} {r['source']}" in page
        assert r["commit"][:7] in page


@pytest.mark.skipif(OFFICIAL is None, reason="BENCH_OFFICIAL names no folder of checkouts")
def test_equals_the_official_codes_live(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--official", str(OFFICIAL), "--record", str(tmp_path / "parity.json")]
    assert parity.main(arguments) == 0, capsys.readouterr().out
    again = json.loads((tmp_path / "parity.json").read_text())
    assert [r["commit"] for r in again] == [r["commit"] for r in RECORDED]


@pytest.mark.parametrize(("sign", "code", "word"), [(1, 0, "ok"), (-1, 1, "DIFFERS")])
def test_a_difference_is_shown_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sign: int, code: int, word: str
) -> None:
    repository(tmp_path / "flyp", sign)
    for path in (tmp_path, tmp_path / "flyp"):
        assert parity.main(["--official", str(path), *ONLY, "--markdown"]) == code
        last = capsys.readouterr().out.splitlines()[-1]
        assert last.startswith("| contrastive loss")
        assert "0123456" in last
        assert word in last


def test_the_commit_comes_from_git_if_there_is_no_file(tmp_path: Path) -> None:
    folder = repository(tmp_path / "flyp")
    (folder / "COMMIT").unlink()
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "files"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    assert checkouts(tmp_path)["FLYP"].commit == head.stdout.strip()


@pytest.mark.parametrize(
    ("path", "more", "message"),
    [
        ("nowhere", (), "no such folder"),
        ("empty", (), "expected a checkout of VRF, wise-ft"),
        ("flyp", ("--only", "bicycle"), "no comparison with FLYP"),
        ("flyp", ("--record", "x.json", *ONLY), "needs checkouts of all"),
        ("flyp", (), "utils.py has 0 definitions of"),
        ("twice", ONLY, "2 statements with ClipLoss, expected 1"),
        ("unknown", ONLY, "COMMIT"),
        ("broken", ONLY, "clip/loss.py:ClipLoss failed: NameError"),
    ],
)
def test_what_cannot_be_compared_is_reported_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    path: str,
    more: tuple[str, ...],
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    repository(tmp_path / "flyp")
    repository(tmp_path / "twice", loop=LOOP + "    other = ClipLoss()\n")
    repository(tmp_path / "broken", sign="undefined")
    (repository(tmp_path / "unknown") / "COMMIT").unlink()
    assert parity.main(["--official", str(tmp_path / path), *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize(
    "found", [{}, {"a": np.zeros(3)}, {"a": np.array([0, np.nan])}, {"a": np.zeros(2), "b": 0}]
)
def test_other_names_shapes_and_nan_are_infinitely_far(found: dict[str, Any]) -> None:
    assert difference(found, {"a": np.zeros(2)}) == np.inf
    assert difference({"a": np.array([0, 0.5])}, {"a": np.zeros(2)}) == 0.5
