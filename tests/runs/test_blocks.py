"""Report blocks other than methods: ablations, oracles, temperature scaling and protocols."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from bench.api.protocol import CLEAN, OFFICIAL, Protocol, protocol_with
from bench.api.registry import find_method, methods
from bench.core.hashing import canonical
from bench.core.records import Record
from bench.leaderboard.board import Board
from bench.leaderboard.build import build_boards
from bench.report.document import CHOSEN, CONTROLS, ORACLES, document
from bench.report.formats.html import report_html
from bench.report.formats.text import report_latex, report_markdown
from bench.report.tables.choices import choices_table
from bench.report.tables.leaderboard import CALIBRATED, leaderboard_table
from bench.report.tables.table import Table
from bench.report.tables.terminal import terminal_table

PLACES = ("id", "v2", "sketch")
METHODS = ("zero-shot", "e2e-ft", "ose:e2e-ft", "ose-calibrated:e2e-ft", "vrf:e2e-ft")
SHUFFLED, BEST = "vrf-shuffled:e2e-ft", "ose-oracle-mean:e2e-ft"
ROLES = {SHUFFLED: "control", BEST: "oracle"}


def rows(*names: str, protocol: Protocol = CLEAN, scaled: bool = True) -> list[Record]:
    """Rows with T = 2; every metric of the i-th row is (i + 1)/10 on every evaluation set."""
    found = []
    for i, name in enumerate(names):
        method, _, base = name.partition(":")
        for order, shift in enumerate(PLACES):
            for metric in ("top1", "ece", "nll", "brier"):
                fields: dict[str, Any] = {
                    "suite": "s",
                    "model": "m",
                    "method": method,
                    "base": base or None,
                    "title": method.upper(),
                    "role": ROLES.get(name, "method"),
                    "seed": None if method == "zero-shot" else 0,
                    "shift": shift,
                    "order": order,
                    "shifts_in_suite": 2,
                    "metric": metric,
                    "value": (i + 1) / 10,
                    "n": 100,
                    "protocol": protocol.name,
                    "provenance": {
                        "protocol": canonical(protocol.facts()),
                        "label_map": "subset" if shift == "v2" else "identity",
                    },
                }
                found.append(Record(**fields))
                if scaled and name != BEST:
                    with_ts = {"kind": "scaled", "temperature": 2.0, "value": (i + 1) / 20}
                    found.append(Record(**(fields | with_ts)))
    return found


def methods_of(board: Board) -> list[str]:
    return [row.method for row in board.rows]


def names(table: Table) -> list[str]:
    """The texts of the first column, small print included."""
    lines = [line for group in table.groups for line in group]
    return [f"{line.items[0].text} {line.items[0].small}".strip() for line in lines]


def captions(records: list[Record]) -> dict[str, Table]:
    (chapter,) = document(records).chapters
    return {table.caption: table for table in chapter.tables}


def test_controls_and_oracles_come_last_and_are_marked() -> None:
    (board,) = build_boards(rows(SHUFFLED, BEST, *METHODS))
    assert methods_of(board) == [
        *("zero-shot", "e2e-ft", "ose", "ose-calibrated", "vrf"),
        *("vrf-shuffled", "ose-oracle-mean"),
    ]
    assert names(leaderboard_table(board)) == [
        *("ZERO-SHOT", "E2E-FT", "+ OSE", "+ OSE-CALIBRATED", "+ VRF"),
        *("Δ VRF - OSE", "Δ VRF - OSE-CALIBRATED"),
        *("not ranked: ablations", "+ VRF-SHUFFLED (ablation)"),
        *("not ranked: oracles", "+ OSE-ORACLE-MEAN (oracle)"),
    ]


def test_only_methods_are_ranked() -> None:
    (board,) = build_boards(rows(*METHODS, SHUFFLED, BEST))
    assert {row.method for row in board.rows if any(c.best for c in row.cells)} == {"vrf"}
    alone = build_boards(rows(SHUFFLED))[0]
    assert not any(cell.best for row in alone.rows for cell in row.cells)


def test_only_methods_are_subtracted() -> None:
    found = rows(*METHODS)
    disguised = [
        r.model_copy(update={"role": "control"}) if r.method == "vrf" else r for r in found
    ]
    assert all(group.differences == () for group in build_boards(disguised)[0].groups)


def test_a_base_of_controls_alone_keeps_its_group() -> None:
    (board,) = build_boards(rows(SHUFFLED))
    assert names(leaderboard_table(board))[:2] == [
        "e2e-ft (not run)",
        "not ranked: ablations",
    ]


def test_new_methods_have_a_place() -> None:
    some = ["mine", "carot", "linear-lbfgs", "l2-sp", "lp-ft-raw", "e2e-ft@3", "ema", "lp-ft-sgd"]
    some += ["carot-slides", "flyp", "lp-ft", "linear"]
    (board,) = build_boards(rows(*some))
    assert methods_of(board) == [
        *("linear", "linear-lbfgs", "e2e-ft@3", "ema", "l2-sp", "lp-ft", "lp-ft-sgd", "lp-ft-raw"),
        *("flyp", "carot-slides", "carot", "mine"),
    ]
    ensembles = ["ose-logits", "soup", "vrf", "fisher", "ose-calibrated", "greedy-soup", "wise-ft"]
    (board,) = build_boards(rows(*(f"{name}:e2e-ft" for name in (*ensembles, "ose"))))
    assert methods_of(board) == [
        *("wise-ft", "fisher", "soup", "greedy-soup", "ose", "ose-logits", "ose-calibrated", "vrf"),
    ]


def test_full_names_are_marked_where_choices_are_listed() -> None:
    records = [r.model_copy(update={"choice": {"alpha": 0.5}}) for r in rows(*METHODS, BEST)]
    each = [
        r.model_copy(update={"choice": {"alpha": r.order / 4}}) if r.role == "oracle" else r
        for r in records
    ]
    (board,) = build_boards(each)
    table = choices_table(board, [r for r in each if r.kind == "cell"])
    (line,) = (group[-1] for group in table.groups)
    assert line.items[0].text == "OSE-ORACLE-MEAN on E2E-FT (oracle)"
    assert line.items[2].text == "ID alpha 0; v2 alpha 0.25; sketch alpha 0.5"


def test_temperature_scaling_has_columns_of_its_own() -> None:
    found = captions(rows(*METHODS, BEST))
    table = found["ECE (percent)"]
    labels = ("ID w/ TS", "OOD mean w/ TS", "ID w/o TS", "OOD mean w/o TS")
    assert table.columns == ("Method", *labels, "T")
    last_method, oracle = table.groups[-1][3], table.groups[-1][-1]
    assert [item.text for item in last_method.items[1:]] == ["25.0", "25.0", "50.0", "50.0", "2.00"]
    assert [item.text for item in oracle.items[1:]] == ["–", "–", "60.0", "60.0", "–"]
    first = table.groups[0][0]
    assert [item.strong for item in first.items] == [False, True, True, True, True, False]
    assert found["NLL (nats)"].columns == table.columns[:-1]
    assert found["Accuracy (percent)"].columns == ("Method", "ID", *PLACES[1:], "OOD mean")


def signs(table: Table) -> dict[str, list[str]]:
    """The columns with a sign, by row."""
    lines = (line for group in table.groups for line in group if len(line.items) > 1)
    heads = table.columns
    return {
        line.row: [heads[i] for i, item in enumerate(line.items) if item.sign == CALIBRATED]
        for line in lines
        if any(item.sign for item in line.items)
    }


@pytest.mark.parametrize("scaled", [True, False])
def test_a_row_that_is_calibrated_by_itself_is_marked_beside_rows_that_are_not(
    scaled: bool,
) -> None:
    found = [
        r.model_copy(update={"provenance": {"calibrated": r.method == "vrf"}})
        if r.kind == "cell"
        else r
        for r in rows(*METHODS, scaled=scaled)
    ]
    tables = captions(found)
    without = ["ID w/o TS", "OOD mean w/o TS"] if scaled else ["ID", "OOD mean"]
    for caption in ("ECE (percent)", "NLL (nats)"):
        table = tables[caption]
        assert signs(table) == {"vrf:e2e-ft": without}
        assert table.note.startswith(f"{CALIBRATED} ")
        assert ("In the columns w/ TS every row" in table.note) == scaled
    assert not signs(tables["Accuracy (percent)"])
    text = report_markdown(document(found))
    assert f"50.0{CALIBRATED}" in text and tables["ECE (percent)"].note in text
    tex = report_latex(document(found))
    assert r"50.0\textsuperscript{\ddag}" in tex and CALIBRATED not in tex
    plain = report_markdown(document(rows(*METHODS, scaled=scaled)))
    assert CALIBRATED not in plain


@pytest.mark.parametrize("scaled", [True, False])
def test_a_row_that_is_calibrated_by_itself_is_not_best_of_rows_that_are_not(scaled: bool) -> None:
    own = {"value": 0.01, "provenance": {"calibrated": True}}
    every = rows(*METHODS, scaled=scaled)
    found = [r.model_copy(update=own) if r.method == "vrf" else r for r in every]
    table = captions(found)["ECE (percent)"]
    best = {
        line.row: {
            head for head, item in zip(table.columns, line.items, strict=True) if item.strong
        }
        for group in table.groups
        for line in group
    }
    without = {"ID w/o TS", "OOD mean w/o TS"} if scaled else {"ID", "OOD mean"}
    assert best["zero-shot"] == without
    assert best["vrf:e2e-ft"] == ({"ID w/ TS", "OOD mean w/ TS"} if scaled else set())


def test_records_of_before_tell_it_by_the_setting_of_their_method() -> None:
    for setting, marked in (("nll", True), ("confidence", True), ("none", False)):
        old = {"provenance": {"method": {"type": "VarianceReduction", "calibrate": setting}}}
        records = [r.model_copy(update=old) if r.method == "vrf" else r for r in rows(*METHODS)]
        (board,) = build_boards(records)
        assert [row.method for row in board.rows if row.calibrated] == ["vrf"] * marked
    of_oracle = [*records, *rows("vrf-oracle-mean:e2e-ft", BEST, scaled=False)]
    found = [
        r.model_copy(update={"provenance": {"calibrated": True}}) if r.method == "vrf" else r
        for r in of_oracle
    ]
    marked_rows = [row.method for row in build_boards(found)[0].rows if row.calibrated]
    assert marked_rows == ["vrf", "vrf-oracle-mean"]
    stated = {"provenance": {"method": {"calibrate": "mine"}, "calibrated": False}}
    records = [r.model_copy(update=stated) for r in rows(*METHODS)]
    assert not any(row.calibrated for row in build_boards(records)[0].rows)


def test_a_method_says_whether_it_is_calibrated() -> None:
    found = {name for name, method in methods().items() if method().calibrated}
    assert found == {"vrf", *methods()["vrf"].controls, "dawin-output", "dawin-output-offset"}
    for name in found:
        assert not find_method(name)(calibrate="none").calibrated


def test_without_scaled_records_there_are_no_such_columns() -> None:
    found = captions(rows(*METHODS, scaled=False))
    assert found["ECE (percent)"].columns == ("Method", "ID", "OOD mean")
    assert "w/ TS" not in report_markdown(document(rows(*METHODS, scaled=False)))


def test_the_kinds_of_records_do_not_mix() -> None:
    found = rows(*METHODS)
    plain, scaled = (build_boards(found, metric="ece", kind=k)[0] for k in ("cell", "scaled"))
    assert methods_of(plain) == methods_of(scaled)
    for one, other in zip(plain.rows, scaled.rows, strict=True):
        assert one.cells[0].mean == pytest.approx(2 * (other.cells[0].mean or 0))


def test_reports_say_how_and_where_temperatures_were_found() -> None:
    def fact(of: Protocol) -> str:
        (chapter,) = document(rows(*METHODS, protocol=of)).chapters
        return dict(chapter.facts)["Temperature scaling"]

    assert fact(CLEAN) == "T with the smallest NLL, on the selection split"
    assert fact(OFFICIAL) == "T at which mean confidence equals accuracy, on the ID test set"
    assert "order of classes" in report_markdown(document(rows(*METHODS)))


def test_what_was_chosen_on_the_test_set_is_said_aloud() -> None:
    clean = document(rows(*METHODS))
    assert clean.chapters[0].warnings == ()
    assert CHOSEN in clean.notes
    leaky = document(rows(*METHODS, protocol=OFFICIAL))
    (warning,) = leaky.chapters[0].warnings
    assert warning.startswith("Chosen on the ID test set, as in the official code")
    assert CHOSEN not in leaky.notes
    for text in (report_markdown(leaky), report_html(leaky)):
        assert "Chosen on the ID test set, as in the official code" in text
    careful = replace(OFFICIAL, name="official, selects selection", selects="selection")
    assert document(rows(*METHODS, protocol=careful)).chapters[0].warnings == ()


def test_differences_from_clean_are_listed_with_their_reasons() -> None:
    caption = "Differences from the clean protocol"
    assert caption not in captions(rows(*METHODS))
    changed = protocol_with("clean", {"ece_bins": "10"})
    (group,) = captions(rows(*METHODS, protocol=changed))[caption].groups
    ((field, clean, here, about),) = ([item.text for item in line.items] for line in group)
    assert (field, clean, here) == ("ece_bins", "15", "10")
    assert "CaRot" in about
    (group,) = captions(rows(*METHODS, protocol=OFFICIAL))[caption].groups
    shown = {line.items[0].text: line.items[1:3] for line in group}
    before, after = CLEAN.facts(), OFFICIAL.facts()
    assert shown.keys() == {name for name in after if after[name] != before[name]}
    assert [item.text for item in shown["ece_batch"]] == ["–", "512"]


def test_notes_and_facts_are_those_of_what_is_there() -> None:
    plain, full = (document(rows(*names)) for names in (METHODS, (*METHODS, SHUFFLED, BEST)))
    for note in (CONTROLS, ORACLES):
        assert note in full.notes
        assert note not in plain.notes
    assert dict(full.chapters[0].facts)["Label maps"] == "v2 subset"
    bare = [r.model_copy(update={"provenance": {}}) if r.role == "oracle" else r
            for r in rows(*METHODS, BEST)]  # fmt: skip
    assert dict(document(bare).chapters[0].facts)["Label maps"] == "v2 subset"


@pytest.mark.parametrize("width", [50, 80, 160])
def test_the_terminal_tells_what_is_not_ranked(width: int) -> None:
    (board,) = build_boards(rows(*METHODS, SHUFFLED, BEST))
    file = io.StringIO()
    Console(file=file, width=width).print(terminal_table(board, width))
    lines = [line.split("  ")[0].strip() for line in file.getvalue().splitlines()]
    assert "not ranked: ablations" in lines
    assert "not ranked: oracles" in lines
    assert max(map(len, file.getvalue().splitlines())) <= width
