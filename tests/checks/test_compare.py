"""Comparison of two runs: which tests are used, and which cells gate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from changed import MINI, N, record
from compare_power import CASES, LOSSES, Case, found
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from bench.api.metrics import METRICS
from bench.checks.compare import SEED_ERROR, Change, ComparedRun, compare_runs
from bench.core.errors import InputError
from bench.core.records import Record
from bench.leaderboard.samples import EvaluationSet, SampleOutputs


def samples(of: Record, right: NDArray[np.bool_], ids: str = "ids") -> SampleOutputs:
    labels = np.zeros((len(right), 1), dtype=np.int64)
    nothing = np.zeros(len(right))
    return SampleOutputs(of, EvaluationSet(ids, "", labels, {}, {}), right, nothing, labels[:, 0])


def run(right: NDArray[np.bool_], ids: str = "ids", **more: Any) -> ComparedRun:
    made = record(value=float(right.mean()), n=len(right), **more)
    return ComparedRun([made], [samples(made, right, ids)])


def rights(count: int, n: int = N) -> NDArray[np.bool_]:
    return np.arange(n) < count


def only(changes: Sequence[Change]) -> Change:
    (change,) = changes
    return change


def test_pairs_see_what_counts_alone_cannot() -> None:
    old, new = run(rights(300)), run(rights(285))
    paired = only(compare_runs(old, new))
    assert (paired.how, paired.state, paired.significant) == ("paired", "regression", True)
    unpaired = only(compare_runs(old, replace(new, samples=())))
    assert (unpaired.how, unpaired.state, unpaired.significant) == ("unpaired", "worse", False)
    assert paired.p_value is not None and unpaired.p_value is not None
    assert paired.p_value < 0.01 < 0.1 < unpaired.p_value
    assert paired.difference == unpaired.difference == pytest.approx(-15 / N)


def test_other_samples_are_not_paired() -> None:
    assert only(compare_runs(run(rights(300)), run(rights(285), "others"))).how == "unpaired"


def seeds(*values: float, first: int = 0, metric: str = "top1") -> ComparedRun:
    made = [record(value=v, seed=first + i, n=10**6, metric=metric) for i, v in enumerate(values)]
    return ComparedRun(made)


def test_seeds_that_both_runs_have_are_compared_and_the_others_are_gone() -> None:
    fewer = only(compare_runs(seeds(0.60, 0.90, 0.95), seeds(0.60)))
    assert (fewer.state, fewer.how, fewer.lost) == ("same", "unpaired", (1, 2))
    assert fewer.old == fewer.new == 0.60
    more = only(compare_runs(seeds(0.60), seeds(0.55, 0.90, 0.95)))
    assert (more.state, more.lost) == ("regression", ())
    moved = only(compare_runs(seeds(0.5, 0.7), seeds(0.7, 0.6, first=1)))
    assert (moved.state, moved.lost, moved.old) == ("same", (0,), 0.7)
    assert only(compare_runs(seeds(0.5, 0.7), seeds(0.6, first=2))).lost == ()


def test_shared_seeds_are_paired_by_sample() -> None:
    counts = (300, 200, 250)
    made = [record(value=count / N, seed=i) for i, count in enumerate(counts)]
    kept = [samples(one, rights(count)) for one, count in zip(made, counts, strict=True)]
    fewer = only(compare_runs(ComparedRun(made, kept), run(rights(285))))
    alone = only(compare_runs(ComparedRun(made[:1], kept[:1]), run(rights(285))))
    assert fewer.how == "paired" and fewer.state == "regression"
    assert replace(fewer, lost=()) == alone


def test_trainings_of_the_same_seeds_are_taken_as_given() -> None:
    """Their deviation does not tell whether each training run is worse than before."""
    change = only(compare_runs(seeds(0.60, 0.70, 0.80), seeds(0.58, 0.68, 0.78)))
    assert (change.state, change.how) == ("regression", "unpaired")
    assert only(compare_runs(seeds(0.60, 0.70, 0.80), seeds(0.80, 0.60, 0.70))).state == "same"


def test_seeds_that_are_averaged_are_paired_by_sample() -> None:
    """A loss of three seeds on the same images is not more significant than that of one."""

    def of(count: int, number: int) -> ComparedRun:
        made = [record(value=count / N, seed=i) for i in range(number)]
        return ComparedRun(made, [samples(one, rights(count)) for one in made])

    one, three = (only(compare_runs(of(300, k), of(285, k))) for k in (1, 3))
    assert one.how == three.how == "paired"
    assert one.p_value == pytest.approx(three.p_value)


def test_other_seeds_count_with_the_stated_deviation_or_their_own() -> None:
    near = only(compare_runs(seeds(0.60, 0.61, 0.62), seeds(0.58, 0.59, 0.60, first=3)))
    error = SEED_ERROR * (2 / 3) ** 0.5
    assert near.p_value == pytest.approx(2 * stats.norm.sf(0.02 / error), rel=0.02)
    assert (near.how, near.state) == ("other seeds", "worse")
    far = only(compare_runs(seeds(0.60, 0.64, 0.68), seeds(0.48, 0.52, 0.56, first=3)))
    error = 0.04 * (2 / 3) ** 0.5
    assert far.p_value == pytest.approx(2 * stats.t(4).sf(0.12 / error), rel=0.02)
    assert far.p_value > 2 * stats.norm.sf(0.12 / error) and far.state == "regression"


def test_one_other_seed_gates_only_what_no_seed_explains() -> None:
    assert only(compare_runs(seeds(0.60), seeds(0.56, first=1))).state == "worse"
    assert only(compare_runs(seeds(0.60), seeds(0.50, first=1))).state == "regression"
    for metric in ("ece", "nll", "brier"):
        change = only(compare_runs(seeds(0.1, metric=metric), seeds(0.9, first=1, metric=metric)))
        assert (change.state, change.how, change.p_value) == ("worse", "other seeds", None)


def test_other_seeds_may_move_other_metrics_as_they_do() -> None:
    old = seeds(0.20, 0.22, 0.24, metric="brier")
    assert (
        only(compare_runs(old, seeds(0.23, 0.25, 0.26, first=3, metric="brier"))).state == "worse"
    )
    worse = only(compare_runs(old, seeds(0.43, 0.45, 0.46, first=3, metric="brier")))
    assert (worse.state, worse.how) == ("regression", "other seeds")


def test_samples_of_other_seeds_are_still_of_the_same_images() -> None:
    kept = run(rights(300)), run(rights(220), seed=1)
    both, bare = (
        only(compare_runs(old, new))
        for old, new in (kept, tuple(replace(side, samples=()) for side in kept))
    )
    assert both.p_value is not None and bare.p_value is not None
    assert both.p_value < bare.p_value


def test_many_shifts_do_not_hide_a_loss_of_the_mean() -> None:
    """The number of shifts does not affect the correction for the headline cells."""
    shifts = [f"s{i}" for i in range(40)]
    old, new = (
        ComparedRun([record(shift=s, value=v, n=1000 + i) for i, s in enumerate(shifts)])
        for v in (0.60, 0.57)
    )
    states = {change.place: change.state for change in compare_runs(old, new)}
    assert states.pop("mean of 40") == "regression"
    assert set(states.values()) == {"worse"}


@pytest.mark.parametrize("metric", ["ece", "nll", "brier"])
def test_scaled_cells_are_gated_as_others_are(metric: str) -> None:
    def of(value: float, shift: str = "id", **more: Any) -> ComparedRun:
        one = record(metric=metric, shift=shift, value=0.2, **more)
        return ComparedRun([one, one.model_copy(update={"kind": "scaled", "value": value})])

    for value, state in ((0.209, "worse"), (0.211, "regression"), (0.1, "better"), (0.2, "same")):
        plain, scaled = compare_runs(of(0.2), of(value))
        assert (plain.scaled, plain.state) == (False, "same")
        assert (scaled.scaled, scaled.state, scaled.how) == (True, state, "")
    assert {c.state for c in compare_runs(of(0.2, role="control"), of(0.9, role="control"))} == {
        "same",
        "worse",
    }
    accuracy = [record(), record(kind="scaled")]
    assert not only(compare_runs(ComparedRun(accuracy), ComparedRun(accuracy))).scaled


TABLE = [
    line.split(" | ")
    for line in (MINI.parents[1] / "docs" / "ci.md").read_text().splitlines()
    if re.match(r"\| [\d.]+ \| \d+ / ", line)
]


def test_the_page_has_every_simulated_loss() -> None:
    assert [float(row[0].strip("| ")) / 100 for row in TABLE] == pytest.approx(LOSSES)


@pytest.mark.parametrize("number", range(len(LOSSES)))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_losses_are_found_as_surely_as_the_page_says(case: Case, number: int) -> None:
    """Allow four standard errors of 30 repetitions, and the error of the page's 400."""
    repetitions, loss = 30, LOSSES[number]
    on_page = TABLE[number][1 + CASES.index(case)].strip(" |").split(" / ")
    for fraction, printed in zip(found(case, loss, repetitions), on_page, strict=True):
        p = min(max(int(printed) / 100, 0.01), 0.99)
        assert abs(fraction - p) <= 4 * (p * (1 - p) / repetitions) ** 0.5 + 0.01
        assert loss or fraction <= 0.1, "a cell that is not worse rarely fails"


def test_what_is_within_the_tolerance_is_no_regression_however_certain() -> None:
    old, new = run(rights(300)), run(rights(270))
    assert only(compare_runs(old, new, 0.075)).state == "worse"
    assert only(compare_runs(old, new, 0.0749)).state == "regression"
    assert only(compare_runs(new, old, 0.0)).state == "better"


def test_chance_alone_is_no_regression() -> None:
    rng = np.random.default_rng(0)
    old, new = (run(rng.random(N) < 0.6) for _ in range(2))
    change = only(compare_runs(old, new, 0.0))
    assert not change.significant and change.state != "regression"


@given(st.lists(st.booleans(), min_size=2, max_size=60), st.floats(0, 1))
def test_a_run_beside_itself_has_not_changed(bits: list[bool], tolerance: float) -> None:
    one = run(np.array(bits))
    assert only(compare_runs(one, one, tolerance)).state == "same"


@pytest.mark.parametrize("metric", [m for m in METRICS if m != "top1"])
def test_other_metrics_have_their_tolerance_alone(metric: str) -> None:
    old = ComparedRun([record(metric=metric, value=0.20)])
    for value, state in ((0.209, "worse"), (0.211, "regression"), (0.1, "better"), (0.2, "same")):
        change = only(compare_runs(old, ComparedRun([record(metric=metric, value=value)])))
        assert (change.state, change.how, change.p_value) == (state, "", None)


@pytest.mark.parametrize(
    "more", [{"role": "control"}, {"role": "oracle"}, {"notes": ("limit=400",)}]
)
def test_what_is_no_result_does_not_gate(more: dict[str, Any]) -> None:
    old, new = run(rights(380), **more), run(rights(20), **more)
    assert only(compare_runs(old, new)).state == "worse"
    assert only(compare_runs(old, new, everything=True)).state == "regression"


def test_new_and_vanished_cells_are_listed() -> None:
    old, new = (
        ComparedRun([record("ose"), record("vrf")]),
        ComparedRun([record("vrf"), record("wise")]),
    )
    states = {change.row: change.state for change in compare_runs(old, new)}
    assert states == {"ose:e2e-ft": "vanished", "vrf:e2e-ft": "same", "wise:e2e-ft": "new"}


def both(first: int, second: int) -> ComparedRun:
    made = [record(shift="v2", value=first / N), record(shift="sketch", value=second / N)]
    outputs = [samples(made[0], rights(first), "v2"), samples(made[1], rights(second), "sketch")]
    return ComparedRun(made, outputs)


def test_the_mean_over_shifts_is_compared_as_well() -> None:
    changes = {c.place: c for c in compare_runs(both(300, 200), both(290, 190))}
    mean = changes["OOD mean"]
    assert (mean.old, mean.new, mean.how) == (0.625, 0.6, "paired")
    assert mean.p_value is not None and mean.p_value < (changes["v2"].p_value or 0)


def test_corruptions_of_the_same_images_count_once() -> None:
    """Without samples, a mean over 15 copies of a set is not more certain than one copy."""
    names = [f"fog-{i}" for i in range(15)]
    old, new = (ComparedRun([record(shift=s, value=v) for s in names]) for v in (0.60, 0.54))
    changes = compare_runs(old, new)
    mean = next(change for change in changes if change.place == "mean of 15")
    assert mean.how == "unpaired" and mean.state == "worse"
    assert mean.p_value == pytest.approx(changes[0].p_value) and mean.p_value > 0.05
    sizes = dict(zip(names, range(N, N + 15), strict=True))
    apart = [
        ComparedRun([r.model_copy(update={"n": sizes[r.shift]}) for r in one.records])
        for one in (old, new)
    ]
    surer = next(change for change in compare_runs(*apart) if change.place == "mean of 15")
    assert surer.p_value is not None and surer.p_value < 1e-6 and surer.state == "regression"


def test_means_over_other_shifts_are_not_compared() -> None:
    old = both(300, 200)
    other = ComparedRun([*old.records[:1], record(shift="rendition")])
    assert "OOD mean" not in {change.place for change in compare_runs(old, other)}


def test_many_cells_raise_no_false_alarm_together() -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(40):
        sides = []
        for _ in range(2):
            made = [(record(shift=f"s{i}"), rng.random(N) < 0.5) for i in range(20)]
            made = [(r.model_copy(update={"value": float(b.mean())}), b) for r, b in made]
            sides.append(ComparedRun([r for r, _ in made], [samples(r, b) for r, b in made]))
        alarms += any(change.state == "regression" for change in compare_runs(*sides, 0.0))
    assert alarms <= 6  # 40 * 0.05 expected at most; more than 6 has probability 0.4%


def test_two_values_of_a_cell_are_refused() -> None:
    with pytest.raises(InputError, match="two values"):
        compare_runs(ComparedRun([record(), record(value=0.6)]), ComparedRun([record()]))
