"""Published tables: they are complete, and their averages and differences are checked."""

from __future__ import annotations

import json
import re
from collections import Counter
from decimal import Decimal
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT
from printed import averages
from published_digests import DIGESTS, contradictions, digest, lines

from bench.api.metrics import METRICS, OWN
from bench.api.protocol import PROTOCOLS
from bench.api.registry import datasets
from bench.core.errors import InputError
from bench.data.cards import cards
from bench.leaderboard.published import tables as published
from bench.leaderboard.published.places import MEANS, MODELS, PLACES
from bench.leaderboard.published.tables import (
    Claim,
    PublishedTable,
    find_published_table,
    parse_published_table,
    published_tables,
)
from bench.runs.study.rows import Settings, parse_rows

FOLDER = ROOT / "results" / "published"
ALL = pytest.mark.parametrize("table", published_tables().values(), ids=list(published_tables()))
Address = tuple[str, str, str]
"""Table, row, column."""

WRONG: frozenset[Address] = frozenset(
    {
        ("vrf-table1", "vrf:lp-ft", "avg5"),
        ("vrf-table1-poster", "vrf:lp-ft", "avg5"),
        ("vrf-table12", "ose:flyp", "avg5"),
        ("vrf-table12", "vrf:flyp", "avg5"),
        ("tracer-table1", "zero-shot", "avg5"),
    }
)
"""The printed averages that differ from the mean of their cells by more than rounding."""


def test_every_file_is_a_table_under_its_own_name() -> None:
    assert sorted(published_tables()) == sorted(path.stem for path in FOLDER.glob("*.json"))
    assert all(name == table.name for name, table in published_tables().items())
    assert len({table.title for table in published_tables().values()}) == len(published_tables())
    assert (ROOT / "bench" / "leaderboard" / "published" / "papers").is_symlink()


@ALL
def test_places_models_and_rows_are_those_of_bench(table: PublishedTable) -> None:
    assert table.conditions.ours in PROTOCOLS
    assert set(table.backbones) <= set(MODELS)
    assert (table.conditions.ece is None) == all(c.metric != "ece" for c in table.columns)
    assert all(c.metric in METRICS.keys() | OWN.keys() for c in table.columns)
    named = [row.ours for _, row in table.rows if row.ours is not None]
    rows = parse_rows(tuple(dict.fromkeys(named)), Settings())
    assert {row.name for row in rows} >= set(named)
    assert all((row.ours is None) == (row.minus is not None) for _, row in table.rows)


def test_data_sets_have_one_place_each_with_a_count_of_images() -> None:
    for place in PLACES.values():
        if place.card is not None:
            assert place.split in cards()[place.card].images
            assert cards()[place.card].images[place.split] != "unknown"
        if place.suite in datasets() and place.shift != "id":
            assert place.shift in datasets()[place.suite].card.shifts
    assert len({(p.suite, p.shift) for p in PLACES.values()}) == len(PLACES)
    assert all(part in PLACES or part in MEANS for parts in MEANS.values() for part in parts)


def each_column_has_its_own_alpha(claim: Claim) -> bool:
    """Return whether a row's cells have different alphas, so their mean belongs to no model."""
    return claim.row.modifiers.get("alpha_choice") == "best per column (oracle)"


def test_averages_are_those_of_their_cells_but_for_the_known_ones() -> None:
    wrong, checked = set(), 0
    for table in published_tables().values():
        for claim, mean, slack in averages(table):
            checked += 1
            if each_column_has_its_own_alpha(claim):
                assert claim.value <= mean + slack, "one alpha beats the best for each set"
            elif abs(claim.value - mean) > slack:
                wrong.add((table.name, claim.row.name, claim.column.name))
    assert checked > 300
    assert wrong == WRONG


def test_what_is_wrong_is_remarked_and_nothing_else_is() -> None:
    remarked = {
        (table.name, row, column)
        for table in published_tables().values()
        for remark in table.remarks
        if remark.kind == "arithmetic"
        for row in remark.rows
        for column in remark.columns
    }
    assert remarked == WRONG


def test_differences_are_those_of_the_printed_rows() -> None:
    checked = Counter[str]()
    for table in published_tables().values():
        cells = {(c.row.name, c.column.name): c.value for c in table.claims}
        for claim in table.differences:
            row = claim.row
            left = cells[f"{row.method}:{row.base}", claim.column.name]
            right = cells[f"{row.minus}:{row.base}", claim.column.name]
            assert claim.value == left - right
            assert claim.text[0] in "+-"
            checked[table.name] += 1
    assert checked == {
        **dict.fromkeys(("vrf-table1", "vrf-table1-poster", "vrf-table2"), 14),
        **dict.fromkeys(("vrf-table3a", "vrf-table3b"), 8),
    }


def values(table: str, row: str, backbone: str | None = None) -> dict[str, Decimal]:
    """Return a printed row by column."""
    return {
        c.column.name: c.value
        for c in find_published_table(table).claims
        if c.row.name == row and backbone in (None, c.backbone)
    }


def differing(one: dict[str, Decimal], other: dict[str, Decimal]) -> set[str]:
    """Return the common columns in which two rows differ."""
    shared = one.keys() & other.keys()
    assert shared
    return {name for name in shared if one[name] != other[name]}


SAME_ELSEWHERE = {
    ("vrf-table2", "ose:e2e-ft", "vrf-table8", "ose:e2e-ft alpha=0.5"): set(),
    ("vrf-table2", "wise-ft:e2e-ft", "vrf-table9", "wise-ft:e2e-ft alpha=0.7"): {
        *("imagenet-v2", "imagenet-sketch", "imagenet-a", "imagenet-r", "objectnet"),
    },
    ("vrf-table2", "vrf:e2e-ft", "vrf-table10", "vrf:e2e-ft a=1.5 b=0.6"): {
        *("imagenet-sketch", "imagenet-a", "imagenet-r"),
    },
    ("vrf-table2", "e2e-ft", "wise-ft-table5", "wise-ft:e2e-ft alpha=1"): {
        *("imagenet-v2", "imagenet-sketch", "imagenet-a", "objectnet", "avg5"),
    },
    ("vrf-table9", "wise-ft:e2e-ft alpha=0", "wise-ft-table5", "wise-ft:e2e-ft alpha=0"): {
        *("imagenet-sketch", "imagenet-a", "objectnet", "avg5"),
    },
    **{
        ("vrf-table9", row, "wise-ft-table5", row): {"imagenet"} if "0.7" in row else set[str]()
        for row in (f"wise-ft:e2e-ft alpha=0.{digit}" for digit in range(1, 10))
    },
    ("vrf-table2", "zero-shot", "carot-slides", "zero-shot"): {"imagenet"},  # 68.3 and 0.6832
    ("tracer-table7", "e2e-ft", "tracer-table7", "lp-ft"): {
        *(c.name for c in find_published_table("tracer-table7").columns),
    },
}  # fmt: skip
"""Rows that are printed twice, and the columns in which they differ."""


@pytest.mark.parametrize("pair", SAME_ELSEWHERE, ids=" ".join)
def test_rows_that_are_printed_twice(pair: tuple[str, str, str, str]) -> None:
    one, other = values(*pair[:2]), values(*pair[2:])
    if "carot-slides" in pair:
        one = {name: value / 100 for name, value in one.items()}
    assert differing(one, other) == SAME_ELSEWHERE[pair]


def test_the_poster_has_the_papers_table() -> None:
    paper, poster = find_published_table("vrf-table1"), find_published_table("vrf-table1-poster")
    assert [c.text for c in paper.claims] == [c.text for c in poster.claims]
    assert [c.text for c in paper.differences] == [c.text for c in poster.differences]


def test_temperature_scaling_lowers_the_id_ece_of_the_slides_but_in_one_row() -> None:
    plain, scaled = "imagenet ece", "imagenet ece w/ TS"
    rows = {
        row.name: values("carot-slides", row.name)
        for _, row in find_published_table("carot-slides").rows
    }
    assert {name for name, row in rows.items() if row[scaled] > row[plain]} == {"e2e-ft+ls"}
    (remark,) = [
        r
        for r in find_published_table("carot-slides").remarks
        if r.rows == ("e2e-ft+ls",) and scaled in r.columns
    ]
    assert remark.kind == "doubt"


def test_a_header_that_errs_is_kept_as_printed_and_read_right() -> None:
    columns = {
        column.label: column.dataset for column in find_published_table("vrf-table12").columns
    }
    assert columns["IN-Sketch"] == "imagenet-r"
    assert columns["IN-R"] == "imagenet-sketch"


# No digit changes by accident: digests of what the reference confirmed, in every clone.


def test_every_cell_is_the_one_whose_digest_is_committed() -> None:
    assert DIGESTS.read_text() == lines(published_tables()), (
        "docs/published.md says how to change a table"
    )


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_changed_digit_changes_a_digest(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(published_tables())))
    text = (FOLDER / f"{name}.json").read_text()
    committed = dict(line.split()[::-1] for line in DIGESTS.read_text().splitlines())
    printed = [
        cell for _, row in find_published_table(name).rows for cell in row.cells if cell is not None
    ]
    cells = [m for m in re.finditer(r'"([+-]?[0-9.]+)"', text) if m[1] in printed]
    cell = data.draw(st.sampled_from(cells))
    at = data.draw(st.sampled_from([i for i in range(*cell.span()) if text[i].isdigit()]))
    digit = str((int(text[at]) + data.draw(st.integers(1, 9))) % 10)
    changed = text[:at] + digit + text[at + 1 :]
    assert digest(parse_published_table(f"{name}.json", text)) == committed[name]
    assert digest(parse_published_table(f"{name}.json", changed)) != committed[name]


def test_a_cell_that_the_reference_contradicts_is_named() -> None:
    table = find_published_table("vrf-table1")
    records = [
        {
            "metric": c.column.metric, "unit": c.column.unit, "suite": c.column.suite,
            "dataset": c.column.dataset, "backbone": c.backbone, "method": c.row.method,
            "base": c.row.base, "modifiers": dict(c.row.modifiers), "value": float(c.value),
            "source": {"paper": table.source.paper, "table": table.source.table},
        }
        for c in table.claims
    ]  # fmt: skip
    assert not contradictions(records, [table])
    records[3]["value"] = 12.3
    one, other = contradictions(records, [table])
    assert one.startswith("only reference: ") and "12.3" in one
    assert other.startswith("only here: ")


# The form.


def text(**changes: Any) -> str:
    return json.dumps(json.loads((FOLDER / "vrf-table1.json").read_text()) | changes)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"colour": "red"}, "colour"),
        ({"title": " "}, "title"),
        ({"name": "vrf-table9"}, "its name is 'vrf-table9'"),
        ({"columns": []}, "columns"),
        ({"columns": json.loads(text())["columns"][:6]}, "has 7 cells for 6 columns"),
        ({"columns": json.loads(text())["columns"][:1] * 7}, "two columns have the same name"),
        ({"groups": json.loads(text())["groups"][:1] * 2}, "two rows have the same name"),
        ({"remarks": [{"text": "x", "kind": "note", "rows": ["soup"]}]}, "a remark on soup"),
        ({"remarks": [{"text": "x", "kind": "slip"}]}, "remarks.0.kind"),
    ],
)
def test_a_table_with_a_fault_is_refused_in_one_line(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=re.escape(word)) as error:
        parse_published_table("vrf-table1.json", text(**changes))
    assert str(error.value).startswith("published table vrf-table1.json: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("cell", ["/5.4", "75,4", "75.", "nan", "", "7e1"])
def test_a_cell_is_a_printed_number(cell: str) -> None:
    with pytest.raises(InputError, match="pattern"):
        parse_published_table("vrf-table1.json", text().replace('"75.4"', json.dumps(cell)))


def test_an_unknown_table_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'vrf-table1'"):
        find_published_table("vrf-tabel1")


@pytest.mark.parametrize(
    "model", [m for m in vars(published).values() if isinstance(m, type(pydantic.BaseModel))]
)
def test_forms_are_frozen_and_closed(model: type[pydantic.BaseModel]) -> None:
    assert model.model_config["frozen"]
    assert model.model_config["extra"] == "forbid"


def test_the_page_names_every_table_with_a_remark_of_a_slip() -> None:
    page = (ROOT / "docs" / "published.md").read_text()
    wrong = {table.name for table in published_tables().values() if "arithmetic" in _kinds(table)}
    assert wrong == {table for table, _, _ in WRONG}
    for name in wrong - {"vrf-table1-poster"}:
        assert f"`{name}`" in page
    cells = sum(len(table.claims) for table in published_tables().values())
    assert f"{len(published_tables())} of them with {cells:,} cells" in page


def _kinds(table: PublishedTable) -> set[str]:
    return {remark.kind for remark in table.remarks}
