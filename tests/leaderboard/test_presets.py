"""Layouts of papers' tables: their rows, their forms, and runs with such a table."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from commands import Finished, assert_refused, bench, contents
from rich.console import Console

from bench.api.registry import find_method
from bench.core.errors import InputError
from bench.core.records import MissingCell, Record
from bench.leaderboard.published.layouts import (
    CAROT_SLIDES,
    PRESETS,
    VRF_TABLE_1,
    Preset,
    find_preset,
)
from bench.report.formats.text import report_markdown
from bench.report.tables.paper_layout import paper_table
from bench.report.tables.table import Table
from bench.report.tables.terminal import terminal_paper_table
from bench.report.write import document
from bench.runs.study.config import load_config
from bench.runs.study.rows import Settings, parse_rows

PLACES = ("id", "v2", "sketch")


def record(name: str, shift: str, value: float, **more: Any) -> Record:
    method, _, base = name.partition(":")
    fields: dict[str, Any] = {
        "suite": "s",
        "model": "m",
        "method": method,
        "base": base or None,
        "title": method,
        "seed": None if method == "zero-shot" else 0,
        "shift": shift,
        "order": PLACES.index(shift),
        "shifts_in_suite": 2,
        "metric": "top1",
        "value": value,
        "n": 100,
    }
    return Record(**(fields | more))


def rows_of(preset: Preset) -> list[Record]:
    """Return all rows of a table: row i has accuracy 0.5 + i/100 on ID, 0.01 and 0.02 less OOD."""
    found = []
    for i, name in enumerate(preset.methods):
        for order, shift in enumerate(PLACES):
            accuracy = 0.5 + (i - order) / 100
            found.append(record(name, shift, accuracy))
            found.append(record(name, shift, i / 1000, metric="ece"))
            more = {"metric": "ece", "kind": "scaled", "temperature": 1.5}
            found.append(record(name, shift, i / 2000 + order / 1e4, **more))
    return found


def texts(table: Table) -> list[list[str]]:
    return [[item.text for item in line.items] for group in table.groups for line in group]


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_rows_are_those_of_a_run_in_order(preset: Preset) -> None:
    rows = parse_rows(preset.methods, Settings())
    assert {row.name for row in rows} == set(preset.methods)
    assert find_preset(preset.name) is preset
    lines = [line for group in preset.groups for line in group]
    for line in (line for line in lines if line.minus):
        assert line.minus in preset.methods
        minuend, subtrahend = line.name.split(":"), line.minus.split(":")
        assert subtrahend[0] in find_method(minuend[0]).compared_with
        assert minuend[1] == subtrahend[1]


def test_vrf_table_1() -> None:
    ((_, table),) = paper_table(VRF_TABLE_1, rows_of(VRF_TABLE_1)).items()
    assert table.columns == ("Method", "ID", "v2", "sketch", "Avg shifts")
    assert [line[0] for line in texts(table)] == [
        *("Zero-shot", "Linear classifier"),
        *("E2E-FT", "+ Weight-space ensemble", "+ Output-space ensemble", "+ VRF", "Δ"),
        *("LP-FT", "+ Weight-space ensemble", "+ Output-space ensemble", "+ VRF", "Δ"),
    ]
    assert [len(group) for group in table.groups] == [2, 5, 5]
    assert texts(table)[0][1:] == ["50.0", "49.0", "48.0", "48.5"]
    assert texts(table)[6][1:] == ["+1.0"] * 4
    assert "VRF's Table 1" in table.caption


def test_carot_slides() -> None:
    ((_, table),) = paper_table(CAROT_SLIDES, rows_of(CAROT_SLIDES)).items()
    assert table.columns == (
        *("Method", "ID Acc.", "OOD Acc.", "ID ECE w/o TS", "OOD ECE w/o TS"),
        *("ID ECE w/ TS", "OOD ECE w/ TS"),
    )
    assert [line[0] for line in texts(table)] == [
        *("ZS", "FT", "FT w/ LS", "WiSE-FT", "WiSE-FT w/ LS", "FLYP", "FLYP w/ LS", "CaRot"),
    ]
    assert texts(table)[4][1:] == ["0.5400", "0.5250", "0.0040", "0.0040", "0.0020", "0.0022"]


def test_the_columns_without_temperature_scaling_mark_rows_calibrated_by_themselves() -> None:
    own = {"provenance": {"calibrated": True}}
    records = [
        r.model_copy(update=own) if (r.method, r.kind) == ("flyp", "cell") else r
        for r in rows_of(CAROT_SLIDES)
    ]
    ((_, table),) = paper_table(CAROT_SLIDES, records).items()
    (group,) = table.groups
    assert [
        [item.sign for item in line.items] for line in group if line.items[0].text == "FLYP"
    ] == [["", "", "", "‡", "‡", "", ""]]
    assert sum(bool(item.sign) for line in group for item in line.items) == 2
    assert "In the columns w/ TS every row" in table.note
    shown = Console(width=120, force_terminal=False)
    with shown.capture() as captured:
        shown.print(terminal_paper_table(table, 120))
    assert captured.get().count("‡") == 3  # two cells, and the line below the table
    ((_, bare),) = paper_table(CAROT_SLIDES, rows_of(CAROT_SLIDES)).items()
    assert bare.note == ""


def test_best_are_those_of_the_table_at_its_own_precision() -> None:
    records = rows_of(CAROT_SLIDES)
    records += [record("ose:e2e-ft", shift, 0.9) for shift in PLACES]
    ((_, table),) = paper_table(CAROT_SLIDES, records).items()
    (group,) = table.groups
    best = {
        line.items[0].text: [i for i, item in enumerate(line.items) if item.strong]
        for line in group
    }
    assert {name: found for name, found in best.items() if found} == {"ZS": [3, 4, 5, 6]} | {
        "CaRot": [1, 2]
    }
    close = [record("flyp", shift, 0.56995) for shift in PLACES]
    fewer = [r for r in rows_of(CAROT_SLIDES) if (r.method, r.metric) != ("flyp", "top1")]
    ((_, table),) = paper_table(CAROT_SLIDES, [*fewer, *close]).items()
    assert [line.items[1].strong for line in table.groups[0]] == [False] * 7 + [True]


def test_rows_that_were_not_run_or_failed_are_dashes_with_a_reason() -> None:
    records = [r for r in rows_of(VRF_TABLE_1) if r.method != "vrf"]
    place = {k: v for k, v in dict(records[0]).items() if k in MissingCell.model_fields}
    place |= {"method": "vrf", "base": "e2e-ft", "title": "VRF", "seed": 0, "reason": "no memory"}
    missing = [MissingCell(**(place | {"shift": s, "order": i})) for i, s in enumerate(PLACES)]
    ((_, table),) = paper_table(VRF_TABLE_1, records, missing).items()
    failed, not_run = (table.groups[i][3].items[1:] for i in (1, 2))
    assert {item.text for item in (*failed, *not_run)} == {"–"}
    assert {item.reasons for item in failed} == {("no memory",)}
    assert {item.reasons for item in not_run} == {("not run",)}
    assert {item.text for item in table.groups[1][4].items[1:]} == {"–"}


def test_each_leaderboard_with_any_of_the_rows_has_its_table() -> None:
    other = [r.model_copy(update={"protocol": "official"}) for r in rows_of(VRF_TABLE_1)]
    alien = record("mine", "id", 0.5, suite="other")
    found = paper_table(VRF_TABLE_1, [*rows_of(VRF_TABLE_1), *other, alien])
    assert [key[:3] for key in found] == [("s", "m", "clean"), ("s", "m", "official")]
    alone = [r for r in rows_of(CAROT_SLIDES) if r.shift == "id"]
    alone = [r.model_copy(update={"shifts_in_suite": 0}) for r in alone]
    ((_, table),) = paper_table(CAROT_SLIDES, alone).items()
    assert table.columns == ("Method", "ID Acc.", "ID ECE w/o TS", "ID ECE w/ TS")


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_the_report_shows_the_table_first(preset: Preset) -> None:
    records = rows_of(preset)
    shuffled = random.Random(0).sample(records, len(records))
    (chapter,) = document(shuffled, presets=(preset,)).chapters
    ((_, table),) = paper_table(preset, records).items()
    assert chapter.tables[0] == table
    assert not any(t.caption.startswith("In the layout") for t in chapter.tables[1:])
    text = report_markdown(document(records, presets=(preset,)))
    assert text.index(f"In the layout of {preset.title}") < text.index("### Accuracy (percent)")
    assert preset.source in text
    assert "In the layout" not in report_markdown(document(records))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_table_fits_the_terminal(width: int) -> None:
    for preset in PRESETS.values():
        ((_, table),) = paper_table(preset, rows_of(preset)).items()
        printed = terminal_paper_table(table, width).renderables[1]
        assert len(printed.columns) == len(table.columns)
        assert sum(column.width or 0 for column in printed.columns) < width


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"table": "vrf-table-1"}, ["unknown table", "did you mean 'vrf-table1'?"]),
        ({"table": "vrf-table1", "methods": "vrf"}, ["--table vrf-table1", "--methods"]),
        ({"table": "carot-slides", "shifts": "v2"}, ["--table carot-slides", "--shifts"]),
    ],
)
def test_a_table_fixes_methods_and_shifts(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load_config(None, options)
    for word in words:
        assert word in str(caught.value)


def test_the_configuration_names_table_and_methods(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("table: carot-slides\nseeds: [0, 1]\n")
    config = load_config(path, {})
    assert config.methods == CAROT_SLIDES.methods
    assert config.results()["table"] == "carot-slides"
    path.write_text("table: carot-slides\nmethods: vrf\n")
    with pytest.raises(InputError, match="leave --methods out"):
        load_config(path, {})


def test_tables_are_listed() -> None:
    told = json.loads(bench("list", "tables", "--json").out)
    assert told == {"tables": {name: preset.title for name, preset in PRESETS.items()}}


def test_a_run_shows_its_table_and_so_does_its_report(own: Finished, tmp_path: Path) -> None:
    out = tmp_path / "table"
    result = bench(
        *("run", "--suite", "micro", "--limit", 40, "--table", "vrf-table1", "--controls"),
        *("--set", "e2e-ft.epochs=1", "--set", "lp-ft.epochs=1"),
        *("--cache-dir", own.cache, "--out", out),
    )
    assert result.code == 0, result.err
    assert result.out.startswith("In the layout of VRF's Table 1")
    before = contents(out)
    text = before["report.md"].decode()
    assert "In the layout of VRF's Table 1" in text
    assert "WiSE-FT, best alpha (oracle)" in text
    assert "VRF, w shuffled (ablation)" in text
    assert "Δ VRF - (OSE, calibrated)" in text
    (out / "report.md").unlink()
    assert bench("report", out).code == 0
    assert contents(out) == before
    (out / "config.json").write_text('{"table": "table-9"}')
    assert_refused(bench("report", out), "unknown table 'table-9'")
    (out / "config.json").write_text("[]")
    assert_refused(bench("report", out), "is not the configuration of a run")
    (out / "config.json").unlink()
    assert bench("report", out).code == 0
    assert "In the layout" not in (out / "report.md").read_text()
