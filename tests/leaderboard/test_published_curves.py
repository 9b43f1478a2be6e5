"""Published curves over alpha: read from the tables, never ranked, and what rules pick on them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import published_curves as script
import pytest
from browser import opened
from hypothesis import given
from hypothesis import strategies as st
from imagenet_rows import IMAGENET, on_request, rows, scatter

from bench.core.records import Record
from bench.leaderboard.published.curves import (
    PublishedCurve,
    PublishedPoint,
    best_mean,
    published_curves,
    rule_picks,
)
from bench.leaderboard.published.ledger import ledger
from bench.leaderboard.published.tables import find_published_table, parse_published_table
from bench.report.document import Chapter, document
from bench.report.tables.elsewhere import elsewhere_table, rules_table
from bench.report.write import write_report

SHIFTS = tuple(IMAGENET)[1:]


def chapter(records: list[Record]) -> Chapter:
    (found,) = document(records).chapters
    return found


def test_the_curves_are_the_rows_of_the_tables_with_their_printed_values() -> None:
    curves = published_curves("imagenet")
    tables = ("beyond-wise-ft", "vrf-table8", "vrf-table9", "wise-ft-table4", "wise-ft-table5")
    assert tuple(dict.fromkeys(curve.table for curve in curves)) == tables
    assert [len(c.points) for c in curves if c.table == "beyond-wise-ft"] == [11] * 11
    assert len({(curve.table, curve.title) for curve in curves}) == len(curves) == 17
    for curve in curves:
        assert curve.covers(SHIFTS)
        alphas = [point.alpha for point in curve.points]
        assert alphas == sorted(set(alphas)) and (alphas[0], alphas[-1]) == (0, 1)
    printed = {claim.text for claim in find_published_table("wise-ft-table5").claims}
    read = [
        f"{100 * value:.1f}"
        for curve in curves
        if curve.table == "wise-ft-table5"
        for point in curve.points
        for value in point.values.values()
    ]
    assert len(read) == 2 * 21 * 6 and set(read) <= printed


def test_rules_pick_what_is_defined_on_real_curves_and_never_by_the_shifts() -> None:
    for curve in published_curves("imagenet"):
        picks = rule_picks(curve)
        best = max(point.values["id"] for point in curve.points)
        near = [p.alpha for p in curve.points if p.values["id"] >= best - 0.01 - 1e-9]
        assert picks["within-1pt"].alpha == min(near)
        top = [p.alpha for p in curve.points if p.values["id"] == best]
        assert picks["max-val"].alpha == min(top)
        assert best_mean(curve, SHIFTS).ood(SHIFTS) >= picks["within-1pt"].ood(SHIFTS)
        blind = [PublishedPoint(p.alpha, p.values | dict.fromkeys(SHIFTS, 0)) for p in curve.points]
        other = PublishedCurve(curve.table, curve.backbone, curve.row, "", tuple(blind))
        assert {k: p.alpha for k, p in rule_picks(other).items()} == {
            k: p.alpha for k, p in picks.items()
        }


def test_within_1pt_is_no_worse_than_max_val_on_the_shifts_of_every_real_curve() -> None:
    """The premise of the default rule, on curves that were not used to choose it."""
    for curve in published_curves("imagenet"):
        within, greedy = (rule_picks(curve)[rule] for rule in ("within-1pt", "max-val"))
        assert within.ood(SHIFTS) >= greedy.ood(SHIFTS), curve.title
        assert within.values["id"] >= greedy.values["id"] - 0.01 - 1e-9


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_the_best_mean_is_the_highest_and_the_first_of_equals(values: list[float]) -> None:
    points = tuple(PublishedPoint(i / 20, {"id": 0.5, "v2": v}) for i, v in enumerate(values))
    best = best_mean(PublishedCurve("t", "b", "r", "", points), ["v2"])
    assert best is points[values.index(max(values))]


def test_no_cell_of_the_repository_is_compared_with_a_run() -> None:
    table = find_published_table("beyond-wise-ft")
    assert all(claim.is_barred for claim in table.claims)
    records = rows("imagenet", IMAGENET)
    assert {entry.verdict for entry in ledger(table, records)} == {"not attempted"}


def test_a_report_of_imagenet_shows_them_apart_and_ranks_nothing_of_them() -> None:
    records = rows("imagenet", IMAGENET)
    found = chapter(records)
    (table,) = [t for t in found.tables if t.name == "elsewhere"]
    cells = [cell for group in table.groups for line in group for cell in line.items]
    assert "not ranked" in table.caption and not any(c.strong or c.tied for c in cells)
    assert len([line for group in table.groups for line in group if line.kind == "row"]) == 17
    names = {row.title for row in found.numbers.board.rows}
    assert not names & {curve.title for curve in published_curves("imagenet")}
    figure = scatter(records)
    assert figure.spec is not None and figure.table is not None
    assert "elsewhere" in on_request(figure)
    assert "Grey lines are 17 curves" in figure.caption
    drawn = figure.spec["datasets"]["elsewhere"]
    assert len(drawn) == sum(len(curve.points) for curve in published_curves("imagenet"))
    first = published_curves("imagenet")[0].points[0]
    assert (drawn[0]["id"], drawn[0]["ood"]) == (first.values["id"], first.ood(SHIFTS))
    listed = [line.items[0].text for group in figure.table.groups for line in group]
    assert "Measured elsewhere" in listed


def test_a_mean_over_fewer_shifts_is_theirs_too() -> None:
    few = {k: IMAGENET[k] for k in ("id", "v2", "a")}
    (table,) = [t for t in chapter(rows("imagenet", few)).tables if t.name == "elsewhere"]
    again = rules_table(published_curves("imagenet"), ["v2", "a"], "OOD mean")
    assert table.groups == again.groups


@pytest.mark.parametrize(
    ("suite", "sizes", "more"),
    [
        ("imagenet", IMAGENET, {"notes": ("synthetic data",)}),
        ("imagenet", IMAGENET | {"id": 49_999}, {}),
        ("imagenet", IMAGENET | {"mine": 100}, {}),
        ("mini", IMAGENET, {}),
    ],
)
def test_they_are_not_shown_beside_other_data(
    suite: str, sizes: Mapping[str, int], more: Mapping[str, Any]
) -> None:
    records = [r.model_copy(update=more) for r in rows(suite, sizes)]
    assert not elsewhere_table(chapter(records).numbers).groups
    assert "elsewhere" not in on_request(scatter(records))


def test_a_page_draws_them_on_request_over_the_shifts_that_count(tmp_path: Path) -> None:
    write_report(tmp_path, rows("imagenet", IMAGENET), formats=("html",))
    drawn = """() => {
      const { spec } = benchReport.drawings.find((d) => d.figure.dataset.figure === "id-ood");
      return spec.layer.some((l) => l.name === "elsewhere") ? spec.datasets.elsewhere : null;
    }"""
    with opened(tmp_path / "report.html") as page:
        for shift in IMAGENET.keys() - {"id", "v2", "a"}:
            page.get_by_label(f"{shift} counts in the mean").uncheck()
        before = page.evaluate(drawn)
        page.get_by_role("checkbox", name="Curves measured elsewhere").check()
        after = page.evaluate(drawn)
    wanted = [p.ood(["v2", "a"]) for c in published_curves("imagenet") for p in c.points]
    assert before is None
    assert [value["ood"] for value in after] == pytest.approx(wanted)


def test_the_table_is_written_from_result_files() -> None:
    """Evaluations during training, which list all alphas, are no points of the curve."""
    point: dict[str, Any] = {f"{name}:top1": 0.5 for name in script.COLUMNS}
    point |= {"model": "ViT-B-16", "lr": 3e-06, "data_augmentation": 1}
    other = point | {"model": "ViT-B-32-quickgelu"}
    files = {
        n: json.dumps([one | {"alpha": [0.0, 1.0]}, *({**one, "alpha": a} for a in (0.0, 1.0))])
        for n, one in ((29, point), (18, other))
    }
    table = parse_published_table("beyond-wise-ft.json", script.table(files))
    assert [len(group.rows) for group in table.groups] == [2, 2]
    assert [claim.text for claim in table.claims] == ["50.000"] * 24
    committed = find_published_table("beyond-wise-ft")
    assert (table.source, table.remarks) == (committed.source, committed.remarks)
