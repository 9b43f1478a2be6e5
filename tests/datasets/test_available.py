"""All suites of real data in one command, on their synthetic copies."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from commands import bench

from bench.api.registry import datasets
from bench.core.records import read_records
from bench.data.cards import cards
from bench.runs.study.resolve import EMBEDDED

REAL = tuple(name for name in datasets() if name not in EMBEDDED)


def test_every_set_has_a_suite_and_every_suite_is_listed(synthetic: Path, tmp_path: Path) -> None:
    of_cards = {suite for card in cards().values() for suite in card.suites}
    assert set(REAL) == of_cards
    found = json.loads(bench("list", "suites", "--data", synthetic, "--json").out)["suites"]
    assert all(found[name].endswith("[found]") for name in REAL)
    for name in ("imagenet", "imagenet-a", "objectnet-1.0"):
        (tmp_path / "some").mkdir(exist_ok=True)
        (tmp_path / "some" / name).symlink_to(synthetic / name)
    some = json.loads(bench("list", "suites", "--data", tmp_path / "some", "--json").out)["suites"]
    assert some["imagenet"] == (
        "ImageNet (ILSVRC2012) [found, without imagenet-r, imagenet-sketch, imagenet-v2, "
        "imagenet-vid-robust, ytbb-robust]"
    )
    (tmp_path / "none").mkdir()
    absent = json.loads(bench("list", "suites", "--data", tmp_path / "none", "--json").out)
    assert all(absent["suites"][name].endswith("[no data]") for name in REAL)


@pytest.mark.slow
def test_all_suites_in_one_command(synthetic: Path, tmp_path: Path) -> None:
    run = bench(
        *("run", "--suite", "available", "--methods", "vrf,wise-ft", "--shifts", "all"),
        *("--data", synthetic, "--cache-dir", tmp_path / "cache", "--out", tmp_path / "out"),
    )
    assert run.code == 0, run.err
    report = (tmp_path / "out" / "report.md").read_text()
    blocks = re.findall(r"^## (\S+), ", report, re.MULTILINE)
    assert blocks == sorted(REAL)
    assert report.count("Not reportable: synthetic data") == len(REAL)
    records = read_records(tmp_path / "out" / "records.jsonl")
    assert all(record.notes == ("synthetic data",) for record in records)
    shifts = {(r.suite, r.shift) for r in records if r.kind == "cell"}
    named = {(s.name, name) for s in suites(synthetic, tmp_path) for name in ("id", *s.all_shifts)}
    assert shifts == named
    methods = {(r.suite, r.method) for r in records}
    assert methods >= {(name, m) for name in REAL for m in ("zero-shot", "vrf", "wise-ft")}
    judged = {(r.suite, r.shift): r.primary_metric for r in records}
    assert judged["fmow", "ood"] == "worst-region"
    assert judged["iwildcam", "id"] == judged["iwildcam", "ood"] == "macro-f1"
    assert judged["imagenet", "vid-robust"] == judged["imagenet", "ytbb"] == "pm-0"


def suites(data: Path, tmp_path: Path) -> list:  # type: ignore[type-arg]
    return [datasets()[name]().suite(data, tmp_path / "cache") for name in REAL]


def test_a_damaged_set_is_named_and_not_left_out_unseen(synthetic: Path, tmp_path: Path) -> None:
    data, whole = tmp_path / "data", synthetic / "cifar-100-python"
    shutil.copytree(whole, data / "cifar-100-python")
    (data / "dtd").symlink_to(synthetic / "dtd")
    (data / "cifar-100-python" / "test").write_bytes((whole / "test").read_bytes()[:1000])
    refused = bench("run", "--suite", "available", "--data", data, "--out", tmp_path / "out")
    assert refused.code == 4 and not (tmp_path / "out").exists()
    assert refused.err.startswith("bench: suite cifar100 was found but cannot be used: ")
    assert "or name the suites" in refused.err and len(refused.err.splitlines()) == 1
