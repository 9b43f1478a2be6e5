"""What changed between two runs: tests, gates and exit codes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from commands import Finished, assert_refused, bench
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from bench.changes import Change, Measured, compare
from bench.errors import InputError
from bench.metrics import METRICS
from bench.records import Record, to_lines
from bench.samples import EvaluationSet, SampleOutputs

N = 400
WHO = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")


def record(method: str = "vrf", shift: str = "id", value: float = 0.5, **more: Any) -> Record:
    fields: dict[str, Any] = {
        "suite": "mini", "model": "tiny/embedded", "method": method, "base": "e2e-ft",
        "title": method, "seed": 0, "shift": shift, "order": 0 if shift == "id" else 1,
        "shifts_in_suite": 2, "metric": "top1", "value": value, "n": N,
    }  # fmt: skip
    return Record.model_validate(fields | more)


def samples(of: Record, right: NDArray[np.bool_], ids: str = "ids") -> SampleOutputs:
    labels = np.zeros((len(right), 1), dtype=np.int64)
    nothing = np.zeros(len(right))
    return SampleOutputs(of, EvaluationSet(ids, "", labels, {}, {}), right, nothing, labels[:, 0])


def run(right: NDArray[np.bool_], ids: str = "ids", **more: Any) -> Measured:
    made = record(value=float(right.mean()), n=len(right), **more)
    return Measured([made], [samples(made, right, ids)])


def rights(count: int, n: int = N) -> NDArray[np.bool_]:
    return np.arange(n) < count


def only(changes: Sequence[Change]) -> Change:
    (change,) = changes
    return change


def test_pairs_see_what_counts_alone_cannot() -> None:
    old, new = run(rights(300)), run(rights(285))
    paired = only(compare(old, new))
    assert (paired.how, paired.state, paired.significant) == ("paired", "regression", True)
    unpaired = only(compare(old, replace(new, samples=())))
    assert (unpaired.how, unpaired.state, unpaired.significant) == ("unpaired", "worse", False)
    assert paired.p_value is not None and unpaired.p_value is not None
    assert paired.p_value < 0.01 < 0.1 < unpaired.p_value
    assert paired.difference == unpaired.difference == pytest.approx(-15 / N)


@pytest.mark.parametrize("other", [run(rights(285), "others"), run(rights(285), seed=1)])
def test_other_samples_and_other_seeds_are_not_paired(other: Measured) -> None:
    assert only(compare(run(rights(300)), other)).how == "unpaired"


def test_few_seeds_are_no_normal_sample() -> None:
    """Two of three seeds that differ by chance: Student's t, not the normal distribution."""

    def seeds(*values: float) -> Measured:
        return Measured([record(value=v, seed=i, n=10**6) for i, v in enumerate(values)])

    change = only(compare(seeds(0.60, 0.61, 0.62), seeds(0.58, 0.59, 0.60), 0.0))
    error = (2 * 0.01**2 / 3) ** 0.5  # of the difference: 2.4 standard errors
    normal, student = (2 * d.sf(0.02 / error) for d in (stats.norm(), stats.t(2)))
    assert normal < 0.05 < student
    assert change.p_value == pytest.approx(student, rel=0.02) and change.state == "worse"


def test_what_is_within_the_tolerance_is_no_regression_however_certain() -> None:
    old, new = run(rights(300)), run(rights(270))
    assert only(compare(old, new, 0.075)).state == "worse"
    assert only(compare(old, new, 0.0749)).state == "regression"
    assert only(compare(new, old, 0.0)).state == "better"


def test_chance_alone_is_no_regression() -> None:
    rng = np.random.default_rng(0)
    old, new = (run(rng.random(N) < 0.6) for _ in range(2))
    change = only(compare(old, new, 0.0))
    assert not change.significant and change.state != "regression"


@given(st.lists(st.booleans(), min_size=2, max_size=60), st.floats(0, 1))
def test_a_run_beside_itself_has_not_changed(bits: list[bool], tolerance: float) -> None:
    one = run(np.array(bits))
    assert only(compare(one, one, tolerance)).state == "same"


@pytest.mark.parametrize("metric", [m for m in METRICS if m != "top1"])
def test_other_metrics_have_their_tolerance_alone(metric: str) -> None:
    old = Measured([record(metric=metric, value=0.20)])
    for value, state in ((0.209, "worse"), (0.211, "regression"), (0.1, "better"), (0.2, "same")):
        change = only(compare(old, Measured([record(metric=metric, value=value)])))
        assert (change.state, change.how, change.p_value) == (state, "", None)


@pytest.mark.parametrize(
    "more", [{"role": "control"}, {"role": "oracle"}, {"notes": ("limit=400",)}]
)
def test_what_is_no_result_does_not_gate(more: dict[str, Any]) -> None:
    old, new = run(rights(380), **more), run(rights(20), **more)
    assert only(compare(old, new)).state == "worse"
    assert only(compare(old, new, everything=True)).state == "regression"


def test_new_and_vanished_cells_are_listed() -> None:
    old, new = Measured([record("ose"), record("vrf")]), Measured([record("vrf"), record("wise")])
    states = {change.row: change.state for change in compare(old, new)}
    assert states == {"ose:e2e-ft": "vanished", "vrf:e2e-ft": "same", "wise:e2e-ft": "new"}


def both(first: int, second: int) -> Measured:
    made = [record(shift="v2", value=first / N), record(shift="sketch", value=second / N)]
    outputs = [samples(made[0], rights(first), "v2"), samples(made[1], rights(second), "sketch")]
    return Measured(made, outputs)


def test_the_mean_over_shifts_is_compared_as_well() -> None:
    changes = {c.place: c for c in compare(both(300, 200), both(290, 190))}
    mean = changes["OOD mean"]
    assert (mean.old, mean.new, mean.how) == (0.625, 0.6, "paired")
    assert mean.p_value is not None and mean.p_value < (changes["v2"].p_value or 0)


def test_corruptions_of_the_same_images_count_once() -> None:
    """Without samples a mean over 15 copies of a set is no surer than one of them."""
    names = [f"fog-{i}" for i in range(15)]
    old, new = (Measured([record(shift=s, value=v) for s in names]) for v in (0.60, 0.54))
    found = compare(old, new)
    mean = next(change for change in found if change.place == "mean of 15")
    assert mean.how == "unpaired" and mean.state == "worse"
    assert mean.p_value == pytest.approx(found[0].p_value) and mean.p_value > 0.05
    sizes = dict(zip(names, range(N, N + 15), strict=True))
    apart = [
        Measured([r.model_copy(update={"n": sizes[r.shift]}) for r in one.records])
        for one in (old, new)
    ]
    surer = next(change for change in compare(*apart) if change.place == "mean of 15")
    assert surer.p_value is not None and surer.p_value < 1e-6 and surer.state == "regression"


def test_means_over_other_shifts_are_not_compared() -> None:
    old = both(300, 200)
    other = Measured([*old.records[:1], record(shift="rendition")])
    assert "OOD mean" not in {change.place for change in compare(old, other)}


def test_many_cells_raise_no_false_alarm_together() -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(40):
        sides = []
        for _ in range(2):
            made = [(record(shift=f"s{i}"), rng.random(N) < 0.5) for i in range(20)]
            made = [(r.model_copy(update={"value": float(b.mean())}), b) for r, b in made]
            sides.append(Measured([r for r, _ in made], [samples(r, b) for r, b in made]))
        alarms += any(change.state == "regression" for change in compare(*sides, 0.0))
    assert alarms <= 6  # 40 * 0.05 expected at most; more than 6 has probability 0.4%


def test_two_values_of_a_cell_are_refused() -> None:
    with pytest.raises(InputError, match="two values"):
        compare(Measured([record(), record(value=0.6)]), Measured([record()]))


def write(folder: Path, *records: Record) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "records.jsonl").write_text(to_lines(records))
    return folder


def test_exit_codes_and_what_is_said(tmp_path: Path) -> None:
    good = write(tmp_path / "good", record(value=0.8), record("a<b & |c|", value=0.7))
    bad = write(tmp_path / "bad", record(value=0.6), record("a<b & |c|", value=0.9))
    junit = tmp_path / "junit.xml"
    worse = bench("compare", good, bad / "records.jsonl", "--junit", junit)
    assert worse.code == 3
    said = "worse by more than 1, 1 of 2 cells: vrf:e2e-ft on id: Accuracy 80.00 -> 60.00 (-20.00"
    assert said in worse.err and len(worse.err.splitlines()) == 1
    assert "2 cells: 1 better, 1 regression" in worse.out
    root = ElementTree.parse(junit).getroot()
    assert (root.attrib["tests"], root.attrib["failures"]) == ("2", "1")
    assert "a<b & |c|:e2e-ft on id: Accuracy" in {c.get("name") for c in root.iter("testcase")}
    assert bench("compare", good, bad, "--tolerance", "20").code == 0
    same = bench("compare", good, good)
    assert (same.code, same.out, same.err) == (0, "2 cells: 2 same\n", "")
    data = json.loads(bench("compare", good, bad, "--json").out)
    assert {cell["state"] for cell in data} == {"better", "regression"}


def test_a_run_with_samples_is_paired(small: Finished) -> None:
    data = json.loads(bench("compare", small.out, small.out, "--json").out)
    assert {cell["how"] for cell in data if cell["metric"] == "top1"} == {"paired"}
    assert {cell["state"] for cell in data} == {"same"}
    assert not any(cell["gates"] for cell in data)


def test_git_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", *WHO, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    for value in (0.8, 0.6):
        write(tmp_path / "results" / "mini", record(value=value))
        git("add", ".")
        git("commit", "-q", "-m", "numbers")
    monkeypatch.chdir(tmp_path)
    for old in ("HEAD~1:results/mini", "HEAD~1:results/mini/records.jsonl"):
        assert bench("compare", old, "results/mini").code == 3
        assert bench("compare", old, "HEAD:results/mini/").code == 3
    assert bench("compare", "HEAD:results/mini", "results/mini").code == 0
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path / "docs")
    assert bench("compare", "HEAD~1:results/mini", "../results/mini").code == 3
    assert bench("compare", "HEAD~1:../results/mini", "../results/mini").code == 3
    monkeypatch.chdir(tmp_path)
    for wrong in ("HEAD~9:results/mini", "HEAD:results/none", "--version:results/mini"):
        assert_refused(bench("compare", "--", wrong, "results/mini"), wrong, "fatal")
    assert_refused(bench("compare", "HEAD:results", "results/mini"), "no records at HEAD:results/")


def test_committed_samples_are_paired(
    tmp_path: Path, small: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(small.out, tmp_path / "run")
    for arguments in (["init", "-q"], ["add", "."], [*WHO, "commit", "-q", "-m", "numbers"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.chdir(tmp_path)
    data = json.loads(bench("compare", "HEAD:run", "run", "--json").out)
    assert {cell["how"] for cell in data if cell["metric"] == "top1"} == {"paired"}


def test_wrong_arguments_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    one = write(tmp_path / "one", record())
    assert_refused(bench("compare", one, "nothing"), "nothing: no run's folder")
    assert_refused(bench("compare", one, "HEAD:one"), "HEAD:one", "not a git repository")
    assert_refused(bench("compare", one, tmp_path), "no records at")
    assert_refused(bench("compare", one, one, "--tolerance", "nan"), "--tolerance nan")
    other = write(tmp_path / "other", record("ose"))
    assert_refused(bench("compare", one, other), "no cell in common")
