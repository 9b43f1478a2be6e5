"""Derived records: oracles of curves and pooled figures."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.records import Record
from bench.leaderboard.build import build_boards, build_curves
from bench.leaderboard.derived import POOLED, oracle_records, pool_figures

ALPHAS = (0.0, 0.5, 1.0)
PLACES = ("id", "v2", "sketch")
ACCURACY = {"id": (0.5, 0.7, 0.8), "v2": (0.6, 0.5, 0.4), "sketch": (0.2, 0.4, 0.2)}


def record(shift: str, value: float, **more: Any) -> Record:
    """Return a top-1 cell of WiSE-FT on a suite with two shifts."""
    fields: dict[str, Any] = {
        "suite": "s",
        "model": "m",
        "method": "wise-ft",
        "base": "e2e-ft",
        "title": "WiSE-FT",
        "seed": 0,
        "shift": shift,
        "order": PLACES.index(shift),
        "shifts_in_suite": 2,
        "metric": "top1",
        "value": value,
        "n": 10,
    }
    return Record(**(fields | more))


def curve(values: dict[str, tuple[float, ...]] = ACCURACY, **more: Any) -> list[Record]:
    """Return a row: all alphas in accuracy and ECE, and the cells at the chosen alpha, 1."""
    found = []
    for shift, by_alpha in values.items():
        found.append(record(shift, by_alpha[-1], choice={"alpha": 1.0}, **more))
        for alpha, value in zip(ALPHAS, by_alpha, strict=True):
            point = {"kind": "curve", "choice": {"alpha": alpha}, "weight": alpha}
            found.append(record(shift, value, **point, **more))
            found.append(record(shift, alpha / 10, metric="ece", **point, **more))
    return found


def values(found: list[Record], method: str, metric: str = "top1") -> dict[str, float]:
    return {r.shift: r.value for r in found if (r.method, r.metric) == (method, metric)}


def test_one_alpha_for_the_mean_and_one_for_each_column() -> None:
    found = oracle_records(curve())
    assert values(found, "wise-ft-oracle-mean") == {"id": 0.7, "v2": 0.5, "sketch": 0.4}
    assert values(found, "wise-ft-oracle-each") == {"id": 0.8, "v2": 0.6, "sketch": 0.4}
    each = {"id": 0.1, "v2": 0.0, "sketch": 0.05}
    assert values(found, "wise-ft-oracle-each", "ece") == each
    assert {(r.kind, r.role) for r in found} == {("cell", "oracle")}
    assert {r.weight for r in found if r.method == "wise-ft-oracle-mean"} == {0.5}
    assert all(r.chosen_on and "highest" in r.chosen_on["rule"] for r in found)


def test_ties_go_to_the_smaller_alpha() -> None:
    flat = dict.fromkeys(PLACES, (0.3, 0.3, 0.3))
    assert {r.choice["alpha"] for r in oracle_records(curve(flat))} == {0.0}
    # 0.1 + 0.2 and 0.15 + 0.15 have one mean, but not in floating point.
    near = {"id": (0.5, 0.5, 0.5), "v2": (0.15, 0.1, 0.0), "sketch": (0.15, 0.2, 0.0)}
    mean = [r for r in oracle_records(curve(near)) if r.method == "wise-ft-oracle-mean"]
    assert {r.choice["alpha"] for r in mean} == {0.0}


def test_every_row_seed_and_board_has_its_own() -> None:
    other = {place: by_alpha[::-1] for place, by_alpha in ACCURACY.items()}
    found = oracle_records([*curve(), *curve(other, seed=1), *curve(protocol="official")])
    chosen = {
        (r.protocol, r.seed): r.choice["alpha"]
        for r in found
        if (r.method, r.shift) == ("wise-ft-oracle-each", "id")
    }
    assert chosen == {("clean", 0): 1.0, ("clean", 1): 0.0, ("official", 0): 1.0}


@pytest.mark.parametrize("shift", PLACES)
@pytest.mark.parametrize("metric", ["top1", "ece"])
def test_a_partial_curve_has_no_oracle(shift: str, metric: str) -> None:
    lost = {"kind": "curve", "shift": shift, "metric": metric, "choice": {"alpha": 0.5}}
    whole = curve()
    partial = [r for r in whole if any(getattr(r, k) != v for k, v in lost.items())]
    assert len(partial) == len(whole) - 1
    assert oracle_records(partial) == []


def test_a_curve_without_a_shift_that_others_have_has_no_oracle() -> None:
    lacking = [r for r in curve() if r.shift != "sketch"]
    assert oracle_records([*lacking, record("sketch", 0.5, method="e2e-ft", base=None)]) == []


def test_id_alone_has_no_mean() -> None:
    found = oracle_records(curve({"id": ACCURACY["id"]}))
    assert {r.method for r in found} == {"wise-ft-oracle-each"}


def test_curves_over_other_parameters_and_cells_have_none() -> None:
    grid = [r.model_copy(update={"choice": {"a": 1.0}}) for r in curve()]
    assert oracle_records(grid) == oracle_records([]) == []
    assert oracle_records([r for r in curve() if r.kind == "cell"]) == []


@given(st.lists(st.lists(st.integers(0, 8), min_size=3, max_size=3), min_size=3, max_size=3))
@settings(max_examples=50, deadline=None)
def test_no_alpha_beats_the_oracles(counts: list[list[int]]) -> None:
    accuracy = {p: tuple(c / 8 for c in by) for p, by in zip(PLACES, counts, strict=True)}
    records = curve(accuracy)
    (board,) = build_boards([*records, *oracle_records(records)])
    ends = {row.method: (row.cells[0].mean, row.cells[-1].mean) for row in board.rows}
    (drawn,) = build_curves(records)
    for point in drawn.points:
        assert (point.ood.mean or 0) <= (ends["wise-ft-oracle-mean"][1] or 0) + 1e-9
        assert (point.id.mean or 0) <= (ends["wise-ft-oracle-each"][0] or 0)
    assert (ends["wise-ft-oracle-mean"][1] or 0) <= (ends["wise-ft-oracle-each"][1] or 0) + 1e-9


def figure(shift: str, n: list[int], total: int, **more: Any) -> Record:
    """Return a figure of `total` samples, some of which are in bins."""
    data = {"edges": [0, 1, 2], "n": n, "hits_zs": [c // 2 for c in n]}
    fields = {"metric": "accuracy-by-distance", "kind": "figure", "method": "vrf", "n": total}
    fields |= {"data": data, "choice": {"a": 1.0}, "weight": 0.5, "provenance": {"key": shift}}
    return record(shift, sum(n) / total, **(fields | more))


def figures() -> list[Record]:
    return [
        figure("id", [4, 6], 10),
        figure("v2", [2, 0], 4, weight=1.0),
        figure("sketch", [0, 1], 2, weight=0.25),
    ]


def test_pooled_figures_sum_counts_and_weigh_by_samples() -> None:
    (one,) = pool_figures(figures())
    assert one.data == {"edges": [0, 1, 2], "n": [6, 7], "hits_zs": [3, 3]}
    assert (one.shift, one.order, one.n) == (POOLED, 3, 16)
    assert one.value == pytest.approx(13 / 16)
    assert one.weight == pytest.approx((5 + 4 + 0.5) / 16)
    assert one.provenance == {"keys": ["id", "v2", "sketch"]}
    assert one.choice == {"a": 1.0}
    again = [r.model_copy(update={"seed": 1}) for r in figures()]
    assert {r.seed for r in pool_figures([*figures(), *again])} == {0, 1}


def test_what_cannot_be_pooled_is_not() -> None:
    assert pool_figures([]) == []
    assert pool_figures(figures()[:1]) == []
    assert pool_figures([*figures()[:2], record("sketch", 0.5)]) == []
    bins = {"edges": [0, 1, 4], "n": [1, 1], "hits_zs": [0, 0]}
    assert pool_figures([*figures()[:2], figure("sketch", [1, 1], 2, data=bins)]) == []


def test_leaderboards_do_not_see_pooled_figures() -> None:
    rows = [r.model_copy(update={"method": "vrf", "title": "VRF"}) for r in curve()]
    assert build_boards([*rows, *figures(), *pool_figures(figures())]) == build_boards(rows)
