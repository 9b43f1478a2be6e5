"""Shifts that are not part of the OOD mean, and sets on which not even an oracle chooses."""

from __future__ import annotations

from typing import Any

import pytest

from bench.core.errors import InputError
from bench.core.records import Record, records_text
from bench.leaderboard.board import Board
from bench.leaderboard.build import build_boards, build_curves
from bench.leaderboard.derived import oracle_records

PLACES = ("id", "v2", "objectnet", "video")
ALPHAS = (0.0, 0.5, 1.0)


def record(shift: str, value: float, **more: Any) -> Record:
    """A cell of a suite of two shifts and a video set (pm-0) that is not part of the OOD mean."""
    fields: dict[str, Any] = {
        "suite": "s", "model": "m", "method": "wise-ft", "base": "e2e-ft", "title": "WiSE-FT",
        "seed": 0, "shift": shift, "order": PLACES.index(shift), "shifts_in_suite": 2,
        "metric": "top1", "value": value, "n": 10, "test_only": shift == "objectnet",
    }  # fmt: skip
    if shift == "video":
        fields |= {"outside_mean": True, "primary_metric": "pm-0", "metric": "pm-0"}
    return Record(**(fields | more))


def board(*found: Record) -> Board:
    (made,) = build_boards(found)
    return made


CELLS = (record("id", 0.9), record("v2", 0.6), record("objectnet", 0.4), record("video", 0.1))


def test_the_mean_leaves_out_what_stands_beside() -> None:
    made = board(*CELLS)
    assert made.columns == ("ID", "v2", "objectnet", "video (pm-0)", "OOD mean")
    assert made.rows[0].cells[-1].mean == pytest.approx(0.5)
    assert (made.over, made.outside_mean, made.partial, made.ranked) == (
        ("v2", "objectnet"), ("video",), False, True,
    )  # fmt: skip


def test_a_set_beside_does_not_make_up_for_a_shift_that_was_not_run() -> None:
    made = board(CELLS[0], CELLS[1], CELLS[3])
    assert made.partial and not made.ranked and made.columns[-1] == "mean of 1"


def test_only_sets_beside_have_no_mean() -> None:
    made = board(CELLS[0], CELLS[3])
    assert made.columns == ("ID", "video (pm-0)") and made.over_shifts == "ID"


def test_records_of_one_set_agree_whether_it_stands_beside() -> None:
    other = record("video", 0.2, outside_mean=False, method="ose", title="OSE")
    with pytest.raises(InputError, match="place of video"):
        board(*CELLS, record("id", 0.8, method="ose", title="OSE"), other)


def test_files_say_once_that_a_set_is_outside_the_mean() -> None:
    lines = records_text(CELLS).splitlines()
    assert sum('"outside_mean": true' in line for line in lines) == 1
    assert sum('"test_only": true' in line for line in lines) == 1


def curve(values: dict[str, tuple[float, ...]]) -> list[Record]:
    found = []
    for shift, by_alpha in values.items():
        found.append(record(shift, by_alpha[-1], choice={"alpha": 1.0}))
        for alpha, value in zip(ALPHAS, by_alpha, strict=True):
            point = {"kind": "curve", "choice": {"alpha": alpha}}
            found.append(record(shift, value, **point))
            if shift == "video":
                found.append(record(shift, value, metric="top1", **point))
    return found


CURVE = {
    "id": (0.1, 0.9, 0.2),
    "v2": (0.1, 0.2, 0.3),
    "objectnet": (0.9, 0.1, 0.0),
    "video": (1.0, 0.0, 0.0),
}


def test_no_alpha_is_chosen_on_a_test_only_set() -> None:
    found = oracle_records(curve(CURVE))
    mean = {r.choice["alpha"] for r in found if r.method.endswith("oracle-mean")}
    each = {r.shift: r.choice["alpha"] for r in found if r.method.endswith("oracle-each")}
    assert mean == {1.0}  # by v2 alone: ObjectNet and the video set would have 0
    assert each == {"id": 0.5, "v2": 1.0, "objectnet": 0.5, "video": 0.0}


def test_curves_have_the_mean_of_the_others() -> None:
    (found,) = build_curves(curve(CURVE))
    assert [point.ood.mean for point in found.points] == pytest.approx([0.5, 0.15, 0.15])
