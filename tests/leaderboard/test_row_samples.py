"""The stored samples of rows in compact form, and what a board says of one row on one set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from bench.leaderboard.samples import EvaluationSet, SampleOutputs
from bench.leaderboard.stats.chance import zero_shot_guesses
from bench.leaderboard.stats.row_samples import reliability, samples_by_board
from bench.leaderboard.stats.significance import comparison
from bench.leaderboard.suite_results import measured
from bench.testing.fakes import fake_records

ZERO_SHOT = ("zero-shot", None)


def outputs(
    right: NDArray[np.bool_], confidence: NDArray[np.float64], shift: str = "id"
) -> SampleOutputs:
    """Samples of zero-shot with ten classes."""
    records = fake_records({"zero-shot": (float(right.mean()),) * 2}, shifts=["v2"])
    record = next(r for r in records if r.shift == shift and r.metric == "top1")
    labels = np.arange(len(right)) % 10
    on = EvaluationSet(f"{shift:0>32}", "2e" * 16, labels[:, None], {}, {})
    return SampleOutputs(record, on, right, confidence, labels)


def test_reliability_counts_sets_alike_and_samples_by_bin() -> None:
    two = outputs(np.array([True, False]), np.array([0.95, 0.5]))
    four = outputs(np.array([True, True, False, True]), np.array([0.95, 0.95, 0.95, 0.5]), "v2")
    (of_rows,) = samples_by_board([two, four]).values()
    found = reliability(of_rows[ZERO_SHOT], ["id", "v2"])
    last, middle = 14, 7  # (14/15, 1] and (7/15, 8/15]
    assert found.n.sum() == pytest.approx(1)
    assert found.n[[middle, last]] == pytest.approx([3 / 8, 5 / 8])
    assert found.right[[middle, last]] == pytest.approx([1 / 8, 1 / 2])
    assert found.confidence[[middle, last]] == pytest.approx([0.5 * 3 / 8, 0.95 * 5 / 8])


def test_of_samples_that_several_runs_stored_the_first_are_taken() -> None:
    right, confidence = np.array([True, False]), np.array([0.9, 0.6])
    first, again = outputs(right, confidence), outputs(~right, confidence)
    (samples,) = samples_by_board([first, again]).values()
    assert samples[ZERO_SHOT]["id"][None].right.tolist() == [True, False]


def test_one_seed_on_one_set_has_the_exact_interval() -> None:
    right = np.arange(200) < 150
    (results,) = measured(
        [outputs(right, np.full(200, 0.9)).record],
        (),
        samples_by_board([outputs(right, np.full(200, 0.9))]),
    )
    statistics = comparison(results.board, results.samples)
    assert statistics is not None and statistics.columns[0] is not None
    expected = scipy_stats.binomtest(150, 200).proportion_ci(method="exact")
    found = statistics.columns[0].intervals[ZERO_SHOT]
    assert found == pytest.approx((expected.low, expected.high), abs=1e-6)


@pytest.mark.parametrize("classes", [1, 2, 3, 10])
def test_zero_shot_guesses_unless_guessing_is_seldom_as_often_right(classes: int) -> None:
    labels, record = np.arange(60) % classes, fake_records({"zero-shot": (0.1,)}, shifts=[])[0]
    on = EvaluationSet("1f" * 16, "2e" * 16, labels[:, None], {}, {})
    seldom = 1 + int(scipy_stats.binom.isf(0.05, 60, 1 / classes))
    for right in {0, seldom - 1, seldom, 60} & set(range(61)):
        one = SampleOutputs(record, on, np.arange(60) < right, np.full(60, 0.9), labels)
        (results,) = measured([record], (), samples_by_board([one]))
        found = zero_shot_guesses(results.board, results.samples)
        if classes == 1 or right >= seldom:
            assert found is None
        else:
            assert found == (pytest.approx(right / 60), pytest.approx(1 / classes), True)


@pytest.mark.parametrize(("units", "is_known"), [([0], False), ([3, 3], False), ([3, 4], True)])
def test_of_a_single_sample_or_camera_nothing_is_known(units: list[int], is_known: bool) -> None:
    labels, predicted = np.arange(len(units)), np.zeros(len(units), int)
    groups = {"location": np.array(units)}
    on = EvaluationSet("1f" * 16, "2e" * 16, labels[:, None], groups, {})
    record = fake_records({"zero-shot": (0.5,)}, shifts=[])[0]
    record = record.model_copy(update={"primary_metric": "macro-f1"})
    one = SampleOutputs(record, on, labels == predicted, np.full(len(units), 0.9), predicted)
    (samples,) = samples_by_board([one]).values()
    assert (samples[ZERO_SHOT]["id"][None].linear is not None) == is_known


@pytest.mark.parametrize(
    ("changes", "is_chosen"),
    [
        ({"chosen_on": {"candidates": 2}}, True),
        ({"chosen_on": {"candidates": 1}, "choice": {"alpha": 0.5}}, False),
        ({"chosen_on": None, "choice": {"lr": 0.1}, "base": None}, True),  # in training
        ({"chosen_on": None, "choice": {"lr": 0.1}, "base": "lp-ft"}, False),
        ({"chosen_on": None, "choice": {}, "base": None}, False),
    ],
)
def test_a_row_was_chosen_if_there_was_something_to_choose_from(
    changes: dict[str, object], is_chosen: bool
) -> None:
    one = outputs(np.array([True, False]), np.array([0.95, 0.5]))
    one = replace(one, record=one.record.model_copy(update=changes))
    (of_rows,) = samples_by_board([one]).values()
    ((of_row,),) = (list(of_sets.values()) for of_sets in of_rows.values())
    assert of_row[one.record.seed].chosen is is_chosen
