"""Leaderboards: which records may share a row."""

from __future__ import annotations

from typing import Any

import pytest
from board_records import row_records

from bench.core.errors import InputError
from bench.leaderboard.build import build_boards
from bench.leaderboard.suite_results import measured
from bench.report.glossary import terms
from bench.report.headline import headline
from bench.report.tables.leaderboard import leaderboard_table

MADE: dict[str, Any] = {
    "inputs": [],
    "method": {"type": "Vrf", "p": 0.1, "trainer": {"lr": 1}},
    "base": {"type": "E2e", "trainer": {"lr": 1, "epochs": 8}},
    "backbone": {"digest": "tag:openai"},
    "precision": "fp32",
    "data": {"train": "t", "selection": "s", "evaluation": "e"},
}
CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"method": {**MADE["method"], "p": 0.2}}, "vrf.p: 0.1 and 0.2"),
    ({"base": {"type": "E2e", "trainer": {"lr": 2, "epochs": 8}}}, "e2e-ft.trainer.lr: 1 and 2"),
    ({"base": {"type": "Other"}}, "e2e-ft.trainer: {'lr': 1, 'epochs': 8} and None"),
    ({"backbone": {"digest": "x"}}, "backbone.digest: tag:openai and x"),
    ({"precision": "bf16"}, "precision: fp32 and bf16"),
    ({"prompts": "3 templates"}, "prompts: the suite's own and 3 templates"),
    ({"data": {**MADE["data"], "train": "u"}}, "images of train: t and u"),
    ({"data": {**MADE["data"], "selection": "u"}}, "images of selection: s and u"),
    ({"data": {**MADE["data"], "evaluation": "u"}}, "images of id: e and u"),
]


def test_seeds_that_were_made_alike_share_a_row() -> None:
    found = [
        r
        for seed in (0, 1)
        for r in row_records("vrf", "e2e-ft", seed=seed, provenance=MADE, chosen_on={"rule": "a"})
    ]
    bare = row_records("vrf", "e2e-ft", seed=2)
    assert build_boards([*found, *bare])[0].rows[0].seeds == (0, 1, 2)


@pytest.mark.parametrize(("change", "what"), CHANGES)
def test_seeds_that_were_made_otherwise_share_no_row(change: dict[str, Any], what: str) -> None:
    first = row_records("vrf", "e2e-ft", provenance=MADE)
    second = row_records("vrf", "e2e-ft", seed=1, provenance=MADE | change)
    with pytest.raises(InputError) as error:
        build_boards([*first, *second])
    text = str(error.value)
    assert text.startswith("s: vrf:e2e-ft (seed 0) and vrf:e2e-ft (seed 1) differ in")
    assert f"differ in {what}" in text
    assert text.endswith("report their runs separately")
    assert "\n" not in text
    assert len(build_boards([*first, *(r.model_copy(update={"suite": "t"}) for r in second)])) == 2


def test_values_that_differ_by_rounding_are_one() -> None:
    """Two runs, on machines that round otherwise; more than that is a contradiction."""
    first = row_records("vrf", "e2e-ft")
    close, other = (
        [r.model_copy(update={"value": r.value * (1 + change)}) for r in first]
        for change in (1e-8, 1e-4)
    )
    zero = [r.model_copy(update={"value": 0.0}) for r in first]
    assert build_boards([*zero, *(r.model_copy(update={"value": 1e-12}) for r in first)])
    (row,) = build_boards([*first, *close])[0].rows
    assert [cell.mean for cell in row.cells] == [
        cell.mean for cell in build_boards(first)[0].rows[0].cells
    ]
    with pytest.raises(InputError, match=r"two values of .* report their runs separately"):
        build_boards([*first, *other])


def test_selection_rules_are_not_mixed_within_a_row() -> None:
    first = row_records("vrf", "e2e-ft", chosen_on={"rule": "max-val"})
    second = row_records("vrf", "e2e-ft", seed=1, chosen_on={"rule": "knee"})
    with pytest.raises(InputError, match=r"differ in selection rule: max-val and knee"):
        build_boards([*first, *second])


def test_rows_are_measured_alike_on_bases_that_are_those_shown() -> None:
    base = row_records("e2e-ft", provenance=MADE | {"method": MADE["base"], "base": None})
    vrf = row_records("vrf", "e2e-ft", provenance=MADE)
    assert len(build_boards([*base, *vrf])[0].rows) == 2
    changes = {"precision": "bf16", "data": {"evaluation": "u"}, "base": {"type": "Other"}}
    for name, value in changes.items():
        other = row_records("vrf", "e2e-ft", provenance=MADE | {name: value})
        with pytest.raises(InputError, match=r"e2e-ft \(seed 0\) and vrf:e2e-ft \(seed 0\) differ"):
            build_boards([*base, *other])
    apart = row_records("vrf", "lp-ft", provenance=MADE | {"method": {"p": 9}, "data": {}})
    assert len(build_boards([*base, *vrf, *apart])[0].rows) == 3


def test_transductive_rows_stand_apart_and_are_never_best_or_compared() -> None:
    plain = [*row_records("e2e-ft"), *row_records("ose", "e2e-ft", (0.6,) * 6)]
    best = row_records("dawin", "e2e-ft", (0.9,) * 6, role="transductive", title="DaWin")
    (board,) = build_boards([*plain, *best])
    names = [(row.method, row.role) for row in board.rows]
    assert names == [("e2e-ft", "method"), ("ose", "method"), ("dawin", "transductive")]
    assert [any(cell.best for cell in row.cells) for row in board.rows] == [False, True, False]
    (group,) = [group for group in board.groups if group.of("transductive")]
    assert not group.differences
    groups = leaderboard_table(board).groups
    text = repr(groups)
    assert 0 < text.index("+ OSE") < text.index("not ranked: transductive")
    assert text.index("not ranked: transductive") < text.index("+ DaWin")
    (results,) = measured([*plain, *best])
    terms_of = [term.name for term in terms(results, results.board.rows[:1], "")]
    assert "Transductive" in terms_of
    assert "DaWin" not in headline(board, None).text
