"""The statistics of a leaderboard, column by column, against computations from its samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from browser import run_of_chance
from scipy import stats

from bench.core.records import Record
from bench.leaderboard.samples import EvaluationSet, SampleOutputs
from bench.leaderboard.stats.chance import zero_shot_guesses
from bench.leaderboard.stats.ece_interval import Confidences, ece_interval
from bench.leaderboard.stats.estimates import mcnemar, mean_estimate, paired_difference
from bench.leaderboard.stats.outcomes import Outcomes
from bench.leaderboard.stats.ranking import rank
from bench.leaderboard.stats.row_samples import samples_by_board
from bench.leaderboard.stats.significance import BoardStatistics, difference
from bench.leaderboard.suite_results import SuiteResults, measured
from bench.testing.fakes import fake_records

SETS = {"id": 150, "v2": 90, "sketch": 70}
PLACES = (("id",), ("v2",), ("sketch",), ("v2", "sketch"))
"""The sets of the columns: ID, each shift, and the mean over shifts."""


def results_of(records: Sequence[Record], outputs: Sequence[SampleOutputs]) -> SuiteResults:
    (found,) = measured(records, samples=samples_by_board(outputs))
    return found


def statistics_of(results: SuiteResults) -> BoardStatistics:
    assert results.comparison is not None
    return results.comparison


def outcomes(outputs: Sequence[SampleOutputs], name: tuple[str, str | None]) -> dict[str, Outcomes]:
    """A row's outcomes by set, with its seeds in order."""
    found: dict[str, list[Any]] = {}
    ids = {}
    for one in outputs:
        if (one.record.method, one.record.base) == name:
            found.setdefault(one.record.shift, []).append(one.right)
            ids[one.record.shift] = one.on.ids
    return {shift: Outcomes(ids[shift], np.array(right)) for shift, right in found.items()}


@pytest.mark.parametrize("seeds", [(0, 1, 2), (0, 1), (0,)])
def test_each_column_is_computed_from_the_samples_of_its_sets(seeds: tuple[int, ...]) -> None:
    records, outputs = run_of_chance(SETS, seeds=seeds)
    results = results_of(records, outputs)
    found = statistics_of(results)
    assert found.sets == PLACES and found.reason == "" and found.trained_once == (seeds == (0,))
    names = list(dict.fromkeys((o.record.method, o.record.base) for o in outputs))
    rows = {name: outcomes(outputs, name) for name in names}
    for column, places in zip(found.columns, PLACES, strict=True):
        assert column is not None and set(column.intervals) == set(names)
        of = {name: [own[place] for place in places] for name, own in rows.items()}
        for name, interval in column.intervals.items():
            (only, *others) = of[name]
            if not others and len(only.values) == 1:
                right, n = int(only.values.sum()), only.values.shape[1]
                test = stats.binomtest(right, n).proportion_ci(method="exact")
                expected = test.low, test.high
            else:
                low, high = mean_estimate(of[name]).interval()
                expected = max(0.0, float(low)), min(1.0, float(high))
            assert interval == pytest.approx(expected, abs=1e-9)
        assert {one for one, other in column.differences if other[0] == "zero-shot"} == {
            name for name in names if name[0] != "zero-shot"
        }
        for (one, other), (value, interval) in column.differences.items():
            expected_difference = paired_difference(of[one], of[other])
            assert value == pytest.approx(float(expected_difference.value))
            assert interval == pytest.approx([float(b) for b in expected_difference.interval()])
            at = PLACES.index(places)
            again = difference(results.board, results.samples, one, other, at)
            assert again == (value, interval)
        assert set(column.mcnemar) == (set(column.differences) if len(places) == 1 else set())
        for (one, other), p_values in column.mcnemar.items():
            pair = np.broadcast_arrays(of[one][0].values, of[other][0].values)
            both = zip(*pair, strict=True)
            expected_p = [mcnemar(sum(a & ~b), sum(b & ~a)) for a, b in both]
            assert p_values == pytest.approx(expected_p)
        ranked = list(column.ranks)
        if seeds != (0,):
            assert list(column.ranks.values()) == rank([of[name] for name in ranked]).ranges
        assert column.tied == {name for name, (best, _) in column.ranks.items() if best == 1}


def test_with_one_seed_only_zero_shot_is_compared() -> None:
    records, outputs = run_of_chance({"id": 2000, "v2": 2000}, seeds=(0,))
    last = statistics_of(results_of(records, outputs)).last
    assert last is not None
    zero_shot = last.ranks[("zero-shot", None)]
    others = [found for name, found in last.ranks.items() if name != ("zero-shot", None)]
    assert zero_shot[0] > 1 and zero_shot[1] - zero_shot[0] < len(others)
    assert all(best == 1 for best, worst in others if worst < zero_shot[1])


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"notes": ("40 samples per set",)}, "not ranked: 40 samples per set"),
        ({"shifts_in_suite": 5}, "not ranked: 2 of 5 shifts"),
    ],
)
def test_why_rows_are_not_ranked(more: dict[str, Any], reason: str) -> None:
    found = statistics_of(results_of(*run_of_chance(SETS, **more)))
    assert found.reason == reason and all(c is None or not c.ranks for c in found.columns)
    assert found.last is not None and found.last.intervals


def test_rows_of_other_seeds_are_not_ranked() -> None:
    records, outputs = run_of_chance(SETS)

    def kept(record: Record) -> bool:
        return record.method != "vrf" or record.seed in (None, 0, 1)

    found = statistics_of(
        results_of([r for r in records if kept(r)], [o for o in outputs if kept(o.record)])
    )
    assert found.reason == "not ranked: rows were run with different seeds"


def test_a_column_without_the_samples_of_a_set_has_no_statistics() -> None:
    records, outputs = run_of_chance(SETS)
    found = statistics_of(results_of(records, [o for o in outputs if o.record.shift != "v2"]))
    assert found.sets == (("id",), (), ("sketch",), ())
    assert [column is None for column in found.columns] == [False, True, False, True]


def test_a_row_that_lacks_samples_of_a_seed_has_none_of_that_column() -> None:
    records, outputs = run_of_chance(SETS)
    lost = ("vrf", "v2", 1)
    kept = [o for o in outputs if (o.record.method, o.record.shift, o.record.seed) != lost]
    found = statistics_of(results_of(records, kept))
    has = [any(name[0] == "vrf" for name in c.intervals) for c in found.columns if c is not None]
    assert has == [True, False, True, False]
    assert [bool(c.ranks) for c in found.columns if c is not None] == has


def test_rows_whose_choice_is_not_drawn_again_are_named() -> None:
    """And rows on a base that was chosen so; not rows without a choice."""
    records, outputs = run_of_chance(SETS)
    several = {"chosen_on": {"candidates": 11}}
    changed = [
        SampleOutputs(o.record.model_copy(update=several), o.on, o.right, o.confidence, o.predicted)
        if o.record.method == "ose"
        else o
        for o in outputs
    ]
    names = {(o.record.method, o.record.base) for o in outputs if o.record.method == "ose"}
    assert set(statistics_of(results_of(records, changed)).without_selection) == names
    drawn = [
        SampleOutputs(o.record, o.on, o.right, o.confidence, o.predicted, np.full(9, 0.5))
        for o in changed
    ]
    assert statistics_of(results_of(records, drawn)).without_selection == ()


def test_intervals_of_the_calibration_error_are_those_of_its_samples() -> None:
    """In steps of 1/240; and none where the record has another value."""
    records, outputs = run_of_chance(SETS)
    name = ("vrf", next(o.record.base for o in outputs if o.record.method == "vrf"))
    mine = [o for o in outputs if (o.record.method, o.record.base) == name]
    values = {}
    for one in mine:
        bins = np.ceil(one.confidence * 15).clip(1, 15).astype(int)
        gaps = [abs((one.confidence - one.right)[bins == b].sum()) for b in range(1, 16)]
        values[one.record.shift, one.record.seed] = sum(gaps) / len(one.right)
    exact = [
        r.model_copy(update={"value": values[r.shift, r.seed]})
        if r.metric == "ece" and (r.method, r.base) == name
        else r
        for r in records
    ]
    found = statistics_of(results_of(exact, outputs)).ece
    for interval, places in zip(found[name], PLACES, strict=True):
        row = [[o for o in mine if o.record.shift == place] for place in places]
        expected = ece_interval(
            [
                Confidences(
                    of[0].on.ids,
                    np.array([(np.ceil(o.confidence * 240) - 0.5) / 240 for o in of]),
                    np.array([o.right for o in of]),
                )
                for of in row
            ],
            15,
        )
        assert interval == pytest.approx(expected, abs=1e-9)
    wrong = [r.model_copy(update={"value": r.value / 2 + 0.2}) if r.metric == "ece" else r
             for r in exact]  # fmt: skip
    assert set(statistics_of(results_of(wrong, outputs)).ece[name]) == {None}


def zero_shot(rights: dict[str, tuple[int, int]], classes: int = 10) -> SuiteResults:
    """Zero-shot with so many right of n on each set, of labels of so many classes."""
    values = tuple(right / n for right, n in rights.values())
    records = fake_records({"zero-shot": values}, shifts=[s for s in rights if s != "id"])
    outputs = []
    for record in records:
        right, n = rights[record.shift]
        labels = np.arange(n) % classes
        on = EvaluationSet(f"{record.shift:0>32}", "2e" * 16, labels[:, None], {}, {})
        outputs.append(SampleOutputs(record, on, np.arange(n) < right, np.full(n, 0.9), labels))
    return results_of(records, outputs)


@pytest.mark.parametrize("right", [20, 27, 28, 29, 40])
def test_zero_shot_knows_classes_if_guessing_is_seldom_as_good(right: int) -> None:
    results = zero_shot({"id": (right, 200)})
    found = zero_shot_guesses(results.board, results.samples)
    knows = stats.binomtest(right, 200, 0.1, alternative="greater").pvalue < 0.05
    assert (found is None) == knows
    if found:
        assert found == pytest.approx((right / 200, 0.1, True))


def test_without_knowledge_of_all_shifts_zero_shot_guesses_there() -> None:
    results = zero_shot({"id": (150, 200), "v2": (21, 200), "sketch": (9, 100)})
    found = zero_shot_guesses(results.board, results.samples)
    assert found == pytest.approx(((0.105 + 0.09) / 2, 0.1, False))
    results = zero_shot({"id": (150, 200), "v2": (21, 200), "sketch": (50, 100)})
    assert zero_shot_guesses(results.board, results.samples) is None
    results = zero_shot({"id": (15, 200)}, classes=1)
    assert zero_shot_guesses(results.board, results.samples) is None
