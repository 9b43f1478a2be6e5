"""The data of the board are those of reports and published tables; marks and refusals hold."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from decimal import Decimal
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from board_records import on_imagenet
from browser import run_of_chance
from commands import Finished, assert_refused, bench
from places import ROOT

from bench.core.errors import InputError
from bench.core.records import MissingCell, Record, records_text
from bench.leaderboard.published.tables import published_tables
from bench.leaderboard.samples import SampleOutputs
from bench.report.document import Chapter, document
from bench.report.formats.board.folder import described_runs, write_board
from bench.report.formats.board.measured import measured_board
from bench.report.formats.board.page import board_html
from bench.report.formats.board.published import PROTOCOL, published_cells
from bench.report.formats.board.view import board_view
from bench.report.formats.board.words import CITATION
from bench.report.tables.table import Table
from bench.testing.fakes import fake_records


def chapter_of(made: tuple[list[Record], list[SampleOutputs]]) -> Chapter:
    records, samples = made
    (chapter,) = document(records, samples=samples).chapters
    return chapter


def table_named(chapter: Chapter, name: str) -> Table:
    return next(table for table in chapter.tables if table.name == name)


def test_numbers_intervals_and_ranks_are_those_of_the_report(
    made: tuple[list[Record], list[SampleOutputs]],
) -> None:
    chapter = chapter_of(made)
    board = measured_board(chapter)
    view = board["views"][0]
    printed = {
        line.row: line.items
        for group in table_named(chapter, "leaderboard").groups
        for line in group
        if line.kind != "difference"
    }
    assert [column["label"] for column in view["columns"]] == [
        "ID",
        "v2",
        "sketch",
        "a",
        "OOD mean",
    ]
    assert [row["key"] for row in board["rows"]] == list(printed)
    for row, cells in zip(board["rows"], view["cells"], strict=True):
        for item, cell in zip(printed[row["key"]][1:], cells, strict=True):
            assert (cell["t"], cell.get("s", "")) == (item.text, item.small)
            assert (cell.get("b", False), cell.get("u", False)) == (item.strong, item.tied)
            assert f"{cell['v']:.1f}" == cell["t"]
    standings = {
        line.row: line.items
        for group in table_named(chapter, "standings").groups
        for line in group
        if line.kind == "row"
    }
    for row, cells in zip(board["rows"], view["cells"], strict=True):
        _, _, interval, _, _, rank = (item.text for item in standings[row["key"]])
        first, last = cells[-1]["r"]
        assert (interval, rank) == (
            cells[-1]["i"],
            str(first) if first == last else f"{first} to {last}",
        )


def test_a_row_that_is_calibrated_by_itself_is_marked_where_others_are_not() -> None:
    records = []
    for record in fake_records():
        own = record.model_copy(update={"metric": "ece", "value": 0.1})
        if record.method == "vrf":
            own = own.model_copy(update={"provenance": {"calibrated": True}})
            record = record.model_copy(update={"provenance": {"calibrated": True}})
        records += [record, own]
    (chapter,) = document(records).chapters
    accuracy, ece = measured_board(chapter)["views"]
    assert [[cell.get("m") for cell in row] for row in accuracy["cells"]] == [[None] * 4] * 3
    assert [row[0].get("m") for row in ece["cells"]] == [None, None, "‡"]
    assert any(note.startswith("‡ ") for note in ece["notes"])
    assert not any("‡" in note for note in accuracy["notes"])


@pytest.mark.parametrize(
    ("role", "mark"),
    [("transductive", "(transductive)"), ("control", "(ablation)"), ("oracle", "(oracle)")],
)
def test_what_is_no_method_is_marked_and_not_ranked(role: str, mark: str) -> None:
    records, samples = run_of_chance()
    own = {r.method for r in records if r.method == "ose"}
    records = [r.model_copy(update={"role": role}) if r.method in own else r for r in records]
    chapter = chapter_of((records, samples))
    board = measured_board(chapter)
    (at,) = [i for i, row in enumerate(board["rows"]) if row["method"] == "ose"]
    assert (board["rows"][at]["mark"], board["rows"][at]["ranked"]) == (mark, False)
    for number, cells in enumerate(board["views"][0]["cells"]):
        assert all(("r" in cell) == (number != at) for cell in cells)


def test_a_partial_or_marked_board_says_why_nothing_is_ranked() -> None:
    records, samples = run_of_chance()
    fewer = [r for r in records if r.shift != "a"]
    board = measured_board(chapter_of((fewer, samples)))
    assert board["marks"] == ("partial: 2 of 3 shifts",)
    assert "Nothing here is ranked" in board["warnings"][0]
    assert board["views"][0]["reason"] == "not ranked: 2 of 3 shifts"
    limited = [r.model_copy(update={"notes": ("limit=5",)}) for r in records]
    board = measured_board(chapter_of((limited, [])))
    assert board["protocol"] == "clean, limit=5" and board["marks"] == ("limit=5",)
    assert not any("r" in cell for row in board["views"][0]["cells"] for cell in row)


def test_a_missing_cell_has_its_reason() -> None:
    records = [r for r in fake_records() if (r.method, r.shift) != ("vrf", "sketch")]
    gone = next(r for r in fake_records() if (r.method, r.shift) == ("vrf", "sketch"))
    address = {
        name: getattr(gone, name) for name in MissingCell.model_fields if hasattr(gone, name)
    }
    (chapter,) = document(records, [MissingCell(**address, reason="it diverged")]).chapters
    cells = measured_board(chapter)["views"][0]["cells"][-1]
    assert [cell.get("w") for cell in cells] == [None, None, ["it diverged"], ["it diverged"]]
    assert [cell["t"] for cell in cells][2:] == ["–", "–"]


def test_one_seed_is_said() -> None:
    made = run_of_chance(seeds=(0,))
    notes = measured_board(chapter_of(made))["views"][0]["notes"]
    assert any(note.startswith("Each row was trained once") for note in notes)


def test_every_published_claim_is_on_one_board_as_printed() -> None:
    view = board_view((), all_published=True)
    claims = Counter(
        (name, claim.text) for name, table in published_tables().items() for claim in table.claims
    )
    shown: Counter[tuple[str, str]] = Counter()
    places = [cell for cells in published_cells().values() for cell in cells]
    assert sum(claims.values()) == len(places)
    for board in view["boards"]:
        assert (board["measured"], board["protocol"]) == (False, PROTOCOL)
        seen = set()
        for one in board["views"]:
            for row, cells in zip(board["rows"], one["cells"], strict=True):
                for column, cell in zip(one["columns"], cells, strict=True):
                    place = (row["key"], column["key"], one["title"], column["label"])
                    if cell is None or place in seen:
                        continue
                    seen.add(place)
                    assert not {"r", "b", "u", "i"} & cell.keys()
                    told = [w for w in cell.get("w", ()) if w.startswith("printed as ")]
                    text = told[0].removeprefix("printed as ") if told else cell["t"]
                    if told:
                        assert Decimal(text) * 100 == Decimal(cell["t"])
                    shown[row["source"], text] += 1
    assert shown == claims
    assert {row["source"] for board in view["boards"] for row in board["rows"]} == set(
        view["sources"]
    )


def test_published_rows_stand_beside_those_on_the_same_images_and_have_no_rank() -> None:
    (chapter,) = document(on_imagenet()).chapters
    view = board_view([chapter])
    board = view["boards"][0]
    assert view["first"] == 0 and board["measured"]
    keys = [row["key"] for row in board["rows"]]
    assert keys[:3] == ["zero-shot", "clip-benchmark/zero-shot", "vrf-table1/zero-shot"]
    assert keys.index("vrf-table1/vrf:e2e-ft") == keys.index("vrf:e2e-ft") + 1
    accuracy = board["views"][0]
    cells = dict(zip(keys, accuracy["cells"], strict=True))
    assert [cell["t"] for cell in cells["vrf-table1/zero-shot"]] == [
        "63.3", "55.9", "42.3", "31.5", "69.3", "43.5", "48.5",
    ]  # fmt: skip
    published = [row for row in board["rows"] if "source" in row]
    assert published and not any(row.get("ranked") for row in published)
    assert all("b" not in cell for row in published for cell in cells[row["key"]] if cell)
    assert any("nothing here is ranked" in note for note in accuracy["notes"])
    assert {(b["suite"], b["measured"]) for b in view["boards"][1:]} == {("imagenet", False)}


def test_they_stand_beside_an_imported_checkpoint_of_the_same_model() -> None:
    records = on_imagenet(model="ViT-B-32/openai, imported 1f2e")
    (chapter,) = document(records).chapters
    assert any("source" in row for row in board_view([chapter])["boards"][0]["rows"])


@pytest.mark.parametrize("changed", [{"n": 50}, {"notes": ("limit=50",)}, {"suite": "my imagenet"}])
def test_they_do_not_stand_beside_those_on_other_images(changed: dict[str, Any]) -> None:
    (chapter,) = document([r.model_copy(update=changed) for r in on_imagenet()]).chapters
    assert all("source" not in row for row in board_view([chapter])["boards"][0]["rows"])


def test_a_published_mean_is_beside_a_mean_over_the_same_shifts_only() -> None:
    records = [r.model_copy(update={"shifts_in_suite": 4}) for r in on_imagenet() if r.shift != "a"]
    (chapter,) = document(records).chapters
    board = board_view([chapter])["boards"][0]
    at = [row["key"] for row in board["rows"]].index("vrf-table1/zero-shot")
    assert [cell and cell["t"] for cell in board["views"][0]["cells"][at]] == [
        "63.3", "55.9", "42.3", "69.3", "43.5", None,
    ]  # fmt: skip


def test_a_row_has_its_parameters_cost_and_command(small: Finished) -> None:
    page = small.cache.parent / "board-of-small.html"
    assert bench("board", small.out, "--out", page).code == 0
    text = page.read_text().partition('<script type="application/json" class="data">')[2]
    view = json.loads(text.partition("</script>")[0])
    board = view["boards"][view["first"]]
    rows = {row["key"]: row for row in board["rows"]}
    assert rows["wise-ft:e2e-ft"]["chosen"].startswith("alpha ")
    assert rows["wise-ft:e2e-ft"]["choices"]["seed 0"].startswith("alpha ")
    assert rows["vrf:e2e-ft"]["cost"]["encoders"] == 2
    assert rows["e2e-ft"]["cost"]["images"] > 0 == rows["zero-shot"]["cost"]["images"]
    assert rows["e2e-ft"]["command"].startswith("bench run --suite micro ")
    assert "lr " in rows["e2e-ft"]["settings"]["e2e-ft"]
    assert board["runs"] == [small.out.name]
    assert "limit=40" in board["marks"]
    vrf = view["methods"]["vrf"]
    assert (vrf["year"], vrf["venue"]) == (2024, "NeurIPS")
    assert vrf["paper"] == "https://arxiv.org/abs/2411.06966"


def test_runs_of_the_same_name_are_told_apart_and_links_are_paths(tmp_path: Path) -> None:
    names = ("a/run", "b/run", "javascript:alert(1)")
    runs = [tmp_path / name for name in names]
    for run in runs:
        run.mkdir(parents=True)
        (run / "records.jsonl").touch()
    found = described_runs(tmp_path, dict.fromkeys(runs, frozenset()))
    assert [run["name"] for run in found] == ["a/run", "b/run", "javascript:alert(1)"]
    assert found[2]["links"] == {"records": "./javascript%3Aalert%281%29/records.jsonl"}


def test_a_board_tells_nothing_of_folders_that_are_not_below_it(tmp_path: Path) -> None:
    runs = [tmp_path / "ada" / name / "run" for name in ("one", "other")]
    for run in runs:
        run.mkdir(parents=True)
        (run / "records.jsonl").write_text(records_text(fake_records()))
    page = write_board(tmp_path / "pages" / "board.html", runs).read_text()
    assert '"one/run"' in page and '"other/run"' in page
    assert "ada/" not in page and str(tmp_path) not in page


def test_the_name_of_a_folder_may_be_of_any_bytes(tmp_path: Path) -> None:
    run = tmp_path / os.fsdecode(b"caf\xe9")
    run.mkdir()
    (run / "records.jsonl").write_text(records_text(fake_records()))
    page = write_board(tmp_path / "board.html", [run]).read_text()
    assert "./caf%E9/records.jsonl" in page


def test_a_file_that_is_no_board_is_not_replaced(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    kept = records_text(fake_records())
    (run / "records.jsonl").write_text(kept)
    assert_refused(bench("board", run, "--out", run / "records.jsonl"), "no board", "another file")
    assert_refused(bench("board", run, "--out", run), "is a folder", "board.html")
    assert (run / "records.jsonl").read_text() == kept
    page = write_board(tmp_path / "new" / "board.html", [run])
    first = page.read_bytes()
    again = ("board", run, run / ".." / "run", "--out", page)
    assert bench(*again).out.strip() == str(page)
    assert page.read_bytes() == first
    assert_refused(bench("board", tmp_path / "no", "--out", page), "no records at")
    assert page.read_bytes() == first


def test_runs_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    runs = [tmp_path / "one", tmp_path / "other"]
    for run, value in zip(runs, (0.6, 0.7), strict=True):
        run.mkdir()
        records = fake_records({"zero-shot": (value, 0.5, 0.4)})
        (run / "records.jsonl").write_text(records_text(records))
    out = tmp_path / "board.html"
    assert_refused(bench("board", *runs, "--out", out), "two values of top1", "separately")
    assert not out.exists()


def test_without_scripts_the_page_says_what_the_boards_say_and_what_words_mean(
    made: tuple[list[Record], list[SampleOutputs]],
) -> None:
    chapter = chapter_of(made)
    text = unescape(board_html(board_view([chapter]), root="../..")).partition("<script")[0]
    assert chapter.summary in text.partition("<noscript>")[2]
    for word in ("tuned", "w/ LS", "Size", "metric", "source", "fixed parameter"):
        assert f"<dt>{word}</dt> <dd>" in text
    assert "<dt>OOD mean</dt> <dd>The plain mean over the shifts" in text
    assert '<a href="../../docs/statistics.md">docs/statistics.md</a>' in text
    assert "docs/statistics.md" in board_html(board_view([chapter]))  # named, not linked
    assert 'href="/docs' not in board_html(board_view([chapter]))


def test_the_citation_is_that_of_the_repository() -> None:
    stated = (ROOT / "CITATION.cff").read_text()
    for name in ("title", "version"):
        (value,) = re.findall(rf'^{name}: "?(.*?)"?$', stated, re.MULTILINE)
        assert f"{name} = {{{value}}}" in CITATION
    (author,) = re.findall(r"- name: (.*)", stated)
    assert f"{{{{{author}}}}}" in CITATION


def test_nothing_to_show_is_refused() -> None:
    with pytest.raises(InputError, match="no records and no published tables"):
        board_view(())


@pytest.mark.parametrize("field", ["suite", "model", "protocol", "title", "shift"])
def test_no_name_acts_on_the_page(field: str) -> None:
    nasty = "a\rb\0c\033[31md\x9b2J\u202ee\udcff\nf</script><img onerror>"
    own = {"title": "VRF", "shift": "v2"}
    records = [
        record.model_copy(update={field: nasty})
        if getattr(record, field) == own.get(field, getattr(record, field))
        else record
        for record in fake_records()
    ]
    text = board_html(board_view(document(records).chapters))
    assert {c for c in text if not c.isprintable() and c not in "\n\t"} == set()
    before = board_html(board_view(document(fake_records()).chapters))
    assert text.count("</script") == before.count("</script")
    assert "<img onerror" not in text
