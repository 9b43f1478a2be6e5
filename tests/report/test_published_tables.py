"""Published tables show the printed digits, in the terminal and in Markdown."""

from __future__ import annotations

import json
import re

import pytest
from commands import assert_refused, bench

from bench.leaderboard.published.layouts import PRESETS
from bench.leaderboard.published.tables import (
    PublishedTable,
    find_published_table,
    published_tables,
)
from bench.report.published_tables import MARK, as_table, published_markdown, reproduction_commands
from bench.report.tables.table import DASH

ALL = pytest.mark.parametrize("table", published_tables().values(), ids=list(published_tables()))
Grid = list[list[str]]


def printed(table: PublishedTable) -> Grid:
    """Titles and cells of every row as the data has them."""
    return [[row.label, *(cell or DASH for cell in row.cells)] for _, row in table.rows]


@ALL
def test_every_cell_has_its_printed_digits(table: PublishedTable) -> None:
    shown = as_table(table)
    lines = [line for group in shown.groups for line in group if line.kind != "head"]
    assert [[item.text for item in line.items] for line in lines] == printed(table)
    assert shown.columns == ("Method", *(column.label for column in table.columns))
    assert len(shown.align) == len(shown.columns)


@ALL
def test_markdown_has_the_printed_digits_in_their_cells(table: PublishedTable) -> None:
    rows = [
        line.strip("|").split("|")
        for line in published_markdown(table).splitlines()
        if line[:1] == "|"
    ]
    cells = [[cell.strip().replace("\\", "") for cell in row] for row in rows[2:]]
    unmarked = [[cell.removesuffix(f" {MARK}") for cell in row] for row in cells]
    several = len(table.backbones) > 1
    body = [row for row in unmarked if not (several and row[0] in table.backbones)]
    assert body == printed(table)
    assert [cell.strip().replace("\\", "") for cell in rows[0][1:]] == [
        column.label for column in table.columns
    ]


@ALL
def test_show_prints_every_digit_remark_and_source(table: PublishedTable) -> None:
    result = bench("show", f"published:{table.name}")
    assert result.code == 0
    body = result.out.split("\nsource: ")[0]
    found = [re.findall(r"(?<![\w.(])[+-]?\d+\.\d+", line) for line in body.splitlines()]
    lines = [numbers for numbers in found if numbers]
    for (_, row), numbers in zip(table.rows, lines[-len(table.rows) :], strict=True):
        assert numbers[-sum(c is not None for c in row.cells) :] == [c for c in row.cells if c]
    for text in (table.source.paper, table.source.table, *(r.text for r in table.remarks)):
        assert text in result.out
    for command in reproduction_commands(table):
        assert command in result.out


def test_cells_that_are_singled_out_are_marked() -> None:
    lines = [
        line for group in as_table(find_published_table("vrf-table1")).groups for line in group
    ]
    marked = [(line.items[0].text, i.text) for line in lines for i in line.items if i.small == MARK]
    assert marked == [("LP-FT", "69.9"), ("LP-FT", "48.6"), ("+ VRF (ours)", "51.8")]
    assert " 51.8 \\* |" in published_markdown(find_published_table("vrf-table1"))


def test_groups_are_under_their_backbones_where_there_are_several() -> None:
    groups = as_table(find_published_table("wise-ft-table8")).groups
    assert [group[0].items[0].text for group in groups] == ["ViT-B/16", "ViT-L/14@336"]
    assert [group[0].kind for group in groups] == ["head", "head"]


@pytest.mark.parametrize("name", PRESETS)
def test_the_table_of_a_preset_has_its_rows_and_the_command_that_makes_them(name: str) -> None:
    table = find_published_table(name)
    # Some rows are printed for several backbones, and with several values of alpha.
    names = dict.fromkeys(row.ours for _, row in table.rows if row.ours is not None)
    assert tuple(names) == PRESETS[name].methods
    curves = " --curves" if any(row.given for _, row in table.rows) else ""
    assert reproduction_commands(table)[0].startswith(
        f"bench run --table {name}{curves} --suite imagenet --model ViT-B"
    )
    differences = [(r.method, r.minus, r.base) for _, r in table.rows if r.minus is not None]
    assert differences == [
        (line.name.split(":")[0], line.minus.split(":")[0], line.minus.split(":")[1])
        for group in PRESETS[name].groups
        for line in group
        if line.minus is not None
    ]


def test_commands_ask_for_every_row_set_and_curve() -> None:
    (run, check) = reproduction_commands(find_published_table("vrf-table9"))
    assert "--methods wise-ft:e2e-ft --curves --suite imagenet --model ViT-B-16 " in run
    assert check == "bench check RUN --against published:vrf-table9"
    assert (
        "--suite cifar10,entity30 " in reproduction_commands(find_published_table("vrf-table3a"))[0]
    )
    assert len(reproduction_commands(find_published_table("wise-ft-table8"))) == 3
    assert (
        reproduction_commands(find_published_table("lp-ft-table1"))
        == reproduction_commands(find_published_table("vrf-table11"))
        == ()
    )


def test_show_vrf_table_1() -> None:
    result = bench("show", "vrf-table1")
    assert (
        "+ VRF (ours)            77.8  66.7      46.1 31.0  70.0      46.3      51.8*" in result.out
    )
    assert (
        "Δ                       +0.0  +0.4      +2.1 +1.5  +3.8      +0.8       +1.5" in result.out
    )
    assert "ours: bench run --table vrf-table1 " in result.out


def test_a_method_is_shown_where_it_has_a_tables_name() -> None:
    method = bench("show", "carot-slides")
    assert method.out.startswith("method: carot-slides")
    assert "bench show published:carot-slides" in method.out
    assert bench("show", "published:carot-slides").out.startswith("CaRot's slides")


def test_show_as_json_is_the_data() -> None:
    shown = json.loads(bench("show", "vrf-table1", "--json").out)
    assert PublishedTable.model_validate_json(json.dumps(shown)) == find_published_table(
        "vrf-table1"
    )


def test_unknown_tables_are_refused() -> None:
    assert_refused(bench("show", "vrf-tabel1"), "did you mean 'vrf-table1'")
    assert_refused(bench("show", "published:vrf"), "unknown published table 'vrf'")


def test_list_says_source_suite_backbone_and_number_of_cells() -> None:
    listed = json.loads(bench("list", "published", "--json").out)["published"]
    assert list(listed) == list(published_tables())
    assert listed["vrf-table1"] == (
        "VRF's Table 1 [Table 1, arXiv 2411.06966; imagenet; ViT-B/32; 70 cells]"
    )
    assert "second hand" in listed["tracer-table1"]
