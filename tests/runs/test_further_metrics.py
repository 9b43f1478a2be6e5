"""Metrics that are asked for: in which cells they are measured, and what is missing of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import assert_refused
from outputs_folders import Arrays, alter, folder, found, score

import bench
from bench.api.metrics import BY_CLASS, FURTHER
from bench.core.errors import InputError
from bench.core.records import read_missing
from bench.report.glossary import ASKED

EVERY = ",".join(FURTHER)


def test_asking_adds_cells_and_changes_none(tmp_path: Path) -> None:
    assert score(folder(tmp_path), "--curves").code == 0
    plain = {r.model_dump_json() for r in found(tmp_path)}
    asked = ("--curves", "--metrics", EVERY, "--overwrite")
    assert score(tmp_path, *asked).code == 0
    more = [r for r in found(tmp_path) if r.model_dump_json() not in plain]
    assert len(plain) == len(found(tmp_path)) - len(more)
    assert {(r.metric, r.kind) for r in more} == {
        *((name, "cell") for name in FURTHER),
        *((name, "scaled") for name in FURTHER.keys() - BY_CLASS),
    }


def test_reports_and_exports_show_them(tmp_path: Path) -> None:
    assert score(folder(tmp_path), "--metrics", "worst-class,auroc").code == 0
    text = (tmp_path / "out" / "report.md").read_text()
    page = (tmp_path / "out" / "report.html").read_text()
    for title in ("Worst class", "AUROC of confidence"):
        assert f"### {title} (percent)" in text and title in page
        assert f"- **{title}**: " in text
    assert ASKED.keys() == FURTHER.keys()
    assert "of --metrics do not account for choosing parameters" in text
    assert "AURC" not in text and "Missing cells" not in text
    assert "w/ TS" not in text.partition("### Worst class")[2].partition("###")[0]


def test_where_all_are_right_the_auroc_is_missing_with_its_reason(tmp_path: Path) -> None:
    def right(arrays: Arrays) -> None:
        of = 50 * np.eye(3, dtype=np.float32)[arrays["labels"]]
        arrays["tuned.logits"] = arrays["tuned.logits"] + of

    alter(folder(tmp_path), "sketch", right)
    done = score(tmp_path, "--methods", "zero-shot", "--metrics", "auroc,aurc")
    assert done.code == 1
    reason = "auroc: all 20 predictions are right, expected right and wrong ones"
    (missing,) = read_missing(tmp_path / "out" / "missing.jsonl")
    assert (missing.method, missing.shift, missing.reason) == ("e2e-ft", "sketch", reason)
    assert missing.lacking == ("auroc", "scaled auroc")
    text = (tmp_path / "out" / "report.md").read_text()
    assert f"sketch (AUROC of confidence) | – | {reason}" in " ".join(text.split())
    assert "sketch (AURC)" not in text
    assert {r.metric for r in found(tmp_path) if r.shift == "sketch"} >= {"top1", "aurc", "auroc"}


def test_what_no_row_has_is_reported_as_missing(tmp_path: Path) -> None:
    def right(arrays: Arrays) -> None:
        of = 50 * np.eye(3, dtype=np.float32)[arrays["labels"]]
        arrays |= {name: arrays[name] + of for name in ("tuned.logits", "clip.logits")}

    for role in ("test", "sketch"):
        alter(folder(tmp_path) if role == "test" else tmp_path, role, right)
    assert score(tmp_path, "--methods", "zero-shot", "--metrics", "auroc").code == 1
    assert not [r for r in found(tmp_path) if r.metric == "auroc"]
    text = (tmp_path / "out" / "report.md").read_text()
    assert "ID (AUROC of confidence)" in text and "auroc: all 30 predictions are right" in text


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("top1", "--metrics: metric 'top1' is part of every run: leave it out"),
        ("rocau", "unknown further metric 'rocau'"),
        ("", "expected at least one value"),
    ],
)
def test_other_names_are_refused(names: str, says: str, tmp_path: Path) -> None:
    assert_refused(score(folder(tmp_path), "--metrics", names), says)


def test_they_are_asked_for_from_python_too(tmp_path: Path) -> None:
    options: dict[str, Any] = {"suite": "micro", "methods": "zero-shot", "shifts": "v2"}
    options |= {"cache_dir": tmp_path / "empty"}
    # Of one row on two sets: as it is, and with temperature scaling.
    plain, more = (bench.plan(**options, **own).summary() for own in ({}, {"metrics": ["aurc"]}))
    assert "16 cells" in plain and "20 cells" in more
    run = bench.score(
        folder(tmp_path / "outputs"), metrics="aurc", methods="zero-shot",
        cache_dir=tmp_path / "cache", out=tmp_path / "run",
    )  # fmt: skip
    assert {r.metric for r in run.records} == {"top1", "ece", "nll", "brier", "aurc"}
    with pytest.raises(InputError, match="unknown further metric 'auc'"):
        bench.plan(**options, metrics="auc")
