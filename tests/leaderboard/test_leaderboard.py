"""Leaderboards from synthetic records: grouping, means, deviations, ranking, differences."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
from board_records import SHIFTS, TITLES, record, row_records
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import InputError
from bench.core.records import MissingCell, Record
from bench.leaderboard.board import MEAN, PENDING, SCALES, Board, BoardRow
from bench.leaderboard.build import build_boards, build_curves

# VRF's Table 1 (ViT-B/32): ID, five shifts, and the printed average of the shifts.
TABLE_1: dict[tuple[str, str | None], tuple[tuple[float, ...], str]] = {
    ("zero-shot", None): ((63.3, 55.9, 42.3, 31.5, 69.3, 43.5), "48.5"),
    ("linear", None): ((75.4, 63.4, 38.8, 26.1, 58.7, 41.5), "45.7"),
    ("e2e-ft", None): ((76.2, 64.2, 38.7, 21.0, 57.1, 40.1), "44.2"),
    ("wise-ft", "e2e-ft"): ((77.9, 67.2, 45.1, 28.8, 66.4, 45.1), "50.5"),
    ("ose", "e2e-ft"): ((77.3, 66.0, 44.2, 27.1, 68.4, 44.4), "50.0"),
    ("vrf", "e2e-ft"): ((77.6, 66.7, 47.0, 29.2, 70.9, 46.3), "52.0"),
    ("lp-ft", None): ((76.9, 64.8, 39.9, 25.7, 69.9, 42.6), "48.6"),
    ("wise-ft", "lp-ft"): ((78.0, 67.0, 44.8, 31.2, 65.8, 46.1), "51.0"),
    ("ose", "lp-ft"): ((77.8, 66.3, 44.0, 29.5, 66.2, 45.5), "50.3"),
    # The paper prints 51.8 here; the mean of its own cells is 52.0.
    ("vrf", "lp-ft"): ((77.8, 66.7, 46.1, 31.0, 70.0, 46.3), "52.0"),
}


def absent(
    method: str, base: str | None, shift: str, reason: str, seed: int | None = 0
) -> MissingCell:
    order = 0 if shift == "id" else 1 + SHIFTS.index(shift)
    return MissingCell(
        suite="s",
        model="m",
        method=method,
        base=base,
        title=TITLES.get(method, method),
        seed=seed,
        shift=shift,
        order=order,
        shifts_in_suite=len(SHIFTS),
        reason=reason,
    )


def table_1() -> list[Record]:
    return [
        r
        for (method, base), (values, _) in TABLE_1.items()
        for r in row_records(
            method,
            base,
            tuple(v / 100 for v in values),
            seed=None if method == "zero-shot" else 0,
        )
    ]


def row(board: Board, method: str, base: str | None = None) -> BoardRow:
    return next(r for r in board.rows if (r.method, r.base) == (method, base))


def texts(board: Board, found: BoardRow, *, signed: bool = False) -> list[str]:
    means = [cell.mean for cell in found.cells]
    return ["-" if m is None else board.scale.text(m, signed=signed) for m in means]


def test_reproduces_vrf_table_1() -> None:
    (board,) = build_boards(table_1())
    assert board.columns == ("ID", *SHIFTS, MEAN)
    for (method, base), (values, average) in TABLE_1.items():
        assert texts(board, row(board, method, base)) == [*(f"{v:.1f}" for v in values), average]
    e2e, lp = board.groups[1:]
    vrf_ose, vrf_wise = e2e.differences
    assert " ".join(texts(board, vrf_ose, signed=True)) == "+0.3 +0.7 +2.8 +2.1 +2.5 +1.9 +2.0"
    assert vrf_ose.title == "VRF - OSE"
    assert texts(board, vrf_wise, signed=True)[0] == "-0.3"
    lp_vrf_ose = " ".join(texts(board, lp.differences[0], signed=True)[:6])
    assert lp_vrf_ose == "+0.0 +0.4 +2.1 +1.5 +3.8 +0.8"


def test_groups_and_order() -> None:
    rows = [
        *TABLE_1,
        ("zebra", None),
        ("stacked", "lp-ft"),
        ("vrf", "lp-ft+ls"),
        ("lp-ft+ls", None),
    ]
    found = [r for name in reversed(rows) for r in row_records(*name)]
    (board,) = build_boards(found)
    assert [g.base for g in board.groups] == [None, "e2e-ft", "lp-ft", "lp-ft+ls"]
    assert [r.method for r in board.groups[0].rows] == ["zero-shot", "linear", "zebra"]
    assert [r.method for r in board.groups[2].rows] == ["lp-ft", "wise-ft", "ose", "vrf", "stacked"]
    assert not any(group.lacks_base for group in board.groups)


def test_ensembles_of_a_base_that_was_not_run_keep_their_group() -> None:
    (board,) = build_boards([*row_records("zero-shot"), *row_records("vrf", "flyp")])
    assert board.groups[1].base == "flyp"
    assert board.groups[1].lacks_base
    assert [r.method for r in board.groups[1].rows] == ["vrf"]


def test_linear_probe_leads_a_group_once_it_is_a_base() -> None:
    (board,) = build_boards([*row_records("linear"), *row_records("wise-ft", "linear")])
    assert [(g.base, len(g.rows)) for g in board.groups] == [("linear", 2)]


def test_deviation_is_the_sample_deviation_over_seeds() -> None:
    per_seed = [(0.6, 0.5, 0.4, 0.3, 0.2, 0.1), (0.7, 0.4, 0.4, 0.5, 0.2, 0.3)]
    found = [r for s, v in enumerate(per_seed) for r in row_records("e2e-ft", None, v, seed=s)]
    found += row_records("zero-shot", seed=None) + row_records("lp-ft", seed=3)
    (board,) = build_boards(found)
    cells = row(board, "e2e-ft").cells
    assert cells[0].mean == pytest.approx(0.65)
    assert cells[0].std == pytest.approx(statistics.stdev([0.6, 0.7]))
    means = [statistics.fmean(v[1:]) for v in per_seed]
    assert cells[-1].mean == pytest.approx(statistics.fmean(means))
    assert cells[-1].std == pytest.approx(statistics.stdev(means))
    assert row(board, "zero-shot").cells[0].std is None
    assert row(board, "zero-shot").seed_free
    assert row(board, "lp-ft").cells[0].std is None
    assert not row(board, "lp-ft").seed_free
    assert board.seeds_differ


def test_differences_are_taken_per_seed_over_the_common_seeds() -> None:
    found = []
    for seed, (vrf, ose) in enumerate([(0.5, 0.4), (0.7, 0.5)]):
        found += row_records("vrf", "e2e-ft", (vrf,) * 6, seed=seed)
        found += row_records("ose", "e2e-ft", (ose,) * 6, seed=seed)
    found += row_records("vrf", "e2e-ft", (0.9,) * 6, seed=2)
    (board,) = build_boards(found)
    (difference,) = board.groups[0].differences
    assert difference.seeds == (0, 1)
    assert difference.cells[-1].mean == pytest.approx(0.15)
    assert difference.cells[0].std == pytest.approx(statistics.stdev([0.1, 0.2]))


def test_no_difference_without_common_seeds_and_only_where_both_cells_exist() -> None:
    apart = [*row_records("vrf", "e2e-ft", seed=0), *row_records("ose", "e2e-ft", seed=1)]
    assert build_boards(apart)[0].groups[0].differences == ()
    lacking = [*row_records("vrf", "e2e-ft"), *row_records("ose", "e2e-ft")[:-1]]
    (difference,) = build_boards(lacking)[0].groups[0].differences
    assert [cell.mean is None for cell in difference.cells] == [False] * 5 + [True, True]


def test_a_row_lacking_one_cell_of_one_seed_has_no_mean_and_no_rank() -> None:
    best = row_records("e2e-ft", None, (0.9,) * 6, seed=0)
    best += row_records("e2e-ft", None, (0.9,) * 5, seed=1)
    missing = [absent("e2e-ft", None, "objectnet", "out of memory", seed=1)]
    (board,) = build_boards([*best, *row_records("zero-shot", seed=None)], missing)
    partial = row(board, "e2e-ft")
    assert not partial.complete
    assert partial.cells[-1].mean is None
    assert partial.cells[-2].seeds == 1
    assert partial.cells[-2].absent == ((1, "out of memory"),)
    assert not any(cell.best for cell in partial.cells)
    assert all(cell.best for cell in row(board, "zero-shot").cells)


def test_a_row_that_is_only_missing_is_still_there() -> None:
    missing = [absent("vrf", "e2e-ft", shift, PENDING) for shift in ("id", *SHIFTS)]
    (board,) = build_boards(row_records("e2e-ft"), missing)
    assert all(cell.mean is None for cell in row(board, "vrf", "e2e-ft").cells)
    (alone,) = build_boards([], missing)
    assert alone.columns == ("ID", *SHIFTS, MEAN)
    assert build_boards([]) == ()


def test_a_run_on_some_shifts_is_labelled_and_not_ranked() -> None:
    (board,) = build_boards(row_records("e2e-ft", None, (0.6, 0.5, 0.3)))
    assert board.columns == ("ID", "v2", "sketch", "mean of 2")
    assert board.rows[0].cells[-1].mean == pytest.approx(0.4)
    assert board.partial
    assert not board.ranked
    assert not any(cell.best for cell in board.rows[0].cells)


def test_id_alone_has_no_mean_column() -> None:
    (board,) = build_boards([record("zero-shot", None, "id", 0.5, shifts_in_suite=0)])
    assert board.columns == ("ID",)
    assert board.rows[0].cells[0].best


def test_watermarked_records_stand_apart() -> None:
    limited = row_records("vrf", "e2e-ft", (0.99,) * 6, notes=("limit=200",))
    clean, marked = build_boards([*limited, *table_1()])
    assert clean.notes == ()
    assert marked.notes == ("limit=200",)
    assert not marked.ranked
    assert texts(clean, row(clean, "vrf", "e2e-ft"))[0] == "77.6"
    assert not any(cell.best for r in marked.rows for cell in r.cells)


def test_a_missing_cell_belongs_to_the_leaderboard_of_its_watermarks() -> None:
    lost = absent("vrf", "e2e-ft", "id", "out of memory").model_copy(update={"notes": ("limit=9",)})
    clean, marked = build_boards(row_records("zero-shot"), [lost])
    assert [r.method for r in clean.rows] == ["zero-shot"]
    assert [r.method for r in marked.rows] == ["vrf"]


def test_suites_models_and_protocols_stand_apart() -> None:
    found = [
        *row_records("zero-shot"),
        *row_records("zero-shot", model="other"),
        *row_records("zero-shot", suite="another"),
        *row_records("zero-shot", protocol="official"),
    ]
    keys = [board.key[:3] for board in build_boards(found)]
    assert keys == [
        ("another", "m", "clean"),
        ("s", "m", "clean"),
        ("s", "m", "official"),
        ("s", "other", "clean"),
    ]


def test_ties_at_the_printed_precision_are_all_best() -> None:
    found = [*row_records("zero-shot", None, (0.50149,) * 6)]
    found += row_records("linear", None, (0.5012,) * 6) + row_records("e2e-ft", None, (0.4,) * 6)
    (board,) = build_boards(found)
    assert [r.cells[0].best for r in board.rows] == [True, True, False]


@pytest.mark.parametrize("metric", sorted(SCALES))
def test_the_structure_is_the_same_for_every_metric(metric: str) -> None:
    found = [r.model_copy(update={"metric": metric}) for r in table_1()]
    (board,), (accuracy,) = build_boards(found, metric=metric), build_boards(table_1())
    assert [r.method for r in board.rows] == [r.method for r in accuracy.rows]
    best = [r.method for r in board.rows if r.cells[0].best]
    assert best == (["wise-ft"] if metric == "top1" else ["zero-shot"])
    (other,) = build_boards(found, metric="nll" if metric != "nll" else "ece")
    assert [r.method for r in other.rows] == [r.method for r in board.rows]
    assert all(cell.mean is None for r in other.rows for cell in r.cells)


def test_an_unknown_metric_is_named_with_the_valid_ones() -> None:
    with pytest.raises(InputError, match=r"'top5'.*top1"):
        build_boards([], metric="top5")


def test_contradicting_records_are_refused_and_repeated_ones_are_not() -> None:
    once = row_records("vrf", "e2e-ft")
    assert build_boards([*once, *once]) == build_boards(once)
    with pytest.raises(InputError, match=r"vrf:e2e-ft on s/id"):
        build_boards([*once, once[0].model_copy(update={"value": 0.9})])


def test_printed_values_have_no_negative_zero() -> None:
    assert SCALES["top1"].text(-0.0004, signed=True) == "+0.0"
    assert SCALES["top1"].text(0.5) == "50.0"
    assert SCALES["nll"].text(1.23456) == "1.235"


def test_curves_mark_what_was_chosen_and_stay_out_of_leaderboards() -> None:
    found: list[Record] = []
    for seed in (0, 1):
        found += row_records("wise-ft", "e2e-ft", seed=seed, choice={"alpha": 0.5 + 0.5 * seed})
        for alpha in (1.0, 0.0, 0.5):
            value = 0.2 + alpha / 10 + seed / 100
            found += row_records(
                "wise-ft", "e2e-ft", (value,) * 6, seed=seed, choice={"alpha": alpha}, kind="curve"
            )
    (board,) = build_boards(found)
    assert board.rows[0].cells[0].mean == pytest.approx(0.5)
    (curve,) = build_curves(found)
    assert [dict(point.choice) for point in curve.points] == [{"alpha": a} for a in (0, 0.5, 1)]
    assert [point.chosen for point in curve.points] == [(), (0,), (1,)]
    assert curve.points[0].ood.mean == pytest.approx(0.205)
    lacking = [r for r in found if not (r.kind == "curve" and r.shift == "a" and r.seed == 1)]
    assert all(point.ood.mean is None for point in build_curves(lacking)[0].points)


@given(st.randoms(use_true_random=False), st.sets(st.integers(0, 59), max_size=20))
@settings(max_examples=40, deadline=None)
def test_order_of_records_does_not_matter(random: Any, dropped: set[int]) -> None:
    found = [r for i, r in enumerate(table_1()) if i not in dropped]
    shuffled = list(found)
    random.shuffle(shuffled)
    assert build_boards(shuffled) == build_boards(found)


@given(st.lists(st.tuples(*(st.floats(0, 1) for _ in range(6))), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_mean_over_shifts_then_seeds_equals_statistics(values: list[tuple[float, ...]]) -> None:
    found = [r for s, v in enumerate(values) for r in row_records("e2e-ft", None, v, seed=s)]
    cell = build_boards(found)[0].rows[0].cells[-1]
    means = [statistics.fmean(v[1:]) for v in values]
    assert cell.mean == pytest.approx(statistics.fmean(means))
    if len(values) == 1:
        assert cell.std is None
    else:
        assert cell.std == pytest.approx(statistics.stdev(means), abs=1e-12)
    assert cell.best
