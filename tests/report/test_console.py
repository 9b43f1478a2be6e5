"""The leaderboard in the terminal, and its picture."""

from __future__ import annotations

import importlib.util
import io
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from places import ROOT, unlinked
from rich.console import Console

from bench.core.records import MissingCell, Record, records_text
from bench.leaderboard.board import PENDING, Board
from bench.leaderboard.build import build_boards
from bench.report.tables.terminal import TRAINED_ONCE, terminal_table

SHIFTS = ("v2", "sketch", "rendition", "adversarial", "objectnet")
PLACES = ("id", *SHIFTS)
ROWS = (
    ("zero-shot", None, "Zero-shot"),
    ("e2e-ft", None, "E2E-FT"),
    ("wise-ft", "e2e-ft", "WiSE-FT"),
    ("ose", "e2e-ft", "OSE"),
    ("vrf", "e2e-ft", "VRF"),
)


def make_records(seeds: tuple[int, ...] = (0, 1, 2), **more: Any) -> list[Record]:
    return [
        Record(
            suite="mini",
            model="tiny/mini",
            method=method,
            base=base,
            seed=seed,
            shift=shift,
            order=order,
            metric="top1",
            value=0.7 - 0.05 * order + 0.01 * (seed or 0) + 0.02 * index,
            n=100,
            shifts_in_suite=5,
            **({"title": title} | more),
        )
        for index, (method, base, title) in enumerate(ROWS)
        for seed in ((None,) if method == "zero-shot" else seeds)
        for order, shift in enumerate(PLACES)
    ]


def pending(reason: str) -> list[MissingCell]:
    """A planned VRF row of three seeds."""
    return [
        MissingCell(
            suite="mini",
            model="tiny/mini",
            method="vrf",
            base="e2e-ft",
            title="VRF",
            seed=seed,
            shift=shift,
            order=order,
            shifts_in_suite=5,
            reason=reason,
        )
        for seed in (0, 1, 2)
        for order, shift in enumerate(PLACES)
    ]


def shown(board: Board, width: int, *, color: bool = False) -> str:
    file = io.StringIO()
    Console(
        file=file, width=width, force_terminal=color, color_system="standard" if color else None
    ).print(terminal_table(board, width))
    return file.getvalue()


def test_eighty_columns_hold_all_values_with_deviations() -> None:
    (board,) = build_boards(make_records())
    text = shown(board, 80)
    assert max(map(len, text.splitlines())) <= 80
    vrf = next(line for line in text.splitlines() if line.startswith("+ VRF"))
    assert len(re.findall(r"\d\d\.\d±\d\.\d", vrf)) == 7
    assert "Δ VRF - WiSE-FT" in text
    assert "Zero-shot" in text
    assert "±–" in text
    assert "mean ± standard deviation" in text


@pytest.mark.parametrize("width", [60, 70, 80, 100, 140])
def test_no_value_is_cut_at_any_usual_width(width: int) -> None:
    (board,) = build_boards(make_records())
    text = shown(board, width)
    assert max(map(len, text.splitlines())) <= width
    for line in text.splitlines():
        if line.startswith(("+ ", "E2E", "Zero", "Δ")):
            assert len(re.findall(r"\d\.\d(?:±|\s|$)", line)) >= 7


def test_cells_to_come_are_dots_and_failed_ones_dashes() -> None:
    records = [r for r in make_records() if r.method != "vrf"]
    waiting, failed = (build_boards(records, pending(why))[0] for why in (PENDING, "out of memory"))
    for board, sign in ((waiting, "·"), (failed, "–")):
        line = next(x for x in shown(board, 80).splitlines() if x.startswith("+ VRF"))
        assert line.removeprefix("+ VRF").split() == [sign] * 7


def test_best_is_bold_and_markup_in_names_is_inert() -> None:
    records = make_records(seeds=(0,), title="[red]x[/red]\x1b[2J")
    text = shown(build_boards(records)[0], 100, color=True)
    assert "[red]x[/red]" in text
    assert "\x1b[2J" not in text
    assert text.count("\x1b[1;32m") == 7


def test_one_seed_is_said_below_the_table() -> None:
    once, thrice = (build_boards(make_records(seeds=seeds))[0] for seeds in ((0,), (0, 1, 2)))
    assert f"\n{TRAINED_ONCE}" in shown(once, 80)
    assert TRAINED_ONCE not in shown(thrice, 80)
    pair = [r for r in make_records(seeds=(0,)) if r.method in ("zero-shot", "e2e-ft")]
    assert TRAINED_ONCE not in shown(build_boards(pair)[0], 80)  # nothing to compare it with


def test_the_mark_of_a_caveat_says_where_it_is() -> None:
    (board,) = build_boards(make_records(provenance={"caveats": {"row": ["Look here."]}}))
    assert "† report.md lists a caveat" in shown(board, 80)


def test_watermarks_and_partial_runs_are_in_the_title() -> None:
    records = [r for r in make_records(notes=("limit=200",)) if r.order < 3]
    text = shown(build_boards(records)[0], 80)
    assert "not reportable: limit=200" in text
    assert "2 of 5 shifts" in text
    assert "best in bold" not in text


def test_long_names_leave_room_for_values() -> None:
    text = shown(build_boards(make_records(title="a method of a very long name indeed"))[0], 80)
    assert "…" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_output_layer_needs_no_torch() -> None:
    code = (
        "import sys, bench.report.tables.terminal, bench.leaderboard.build; "
        "from bench.report.write import document, report_html; "
        "report_html(document([])); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_formats_without_figures_do_not_load_altair(tmp_path: Path) -> None:
    code = (
        "import sys; from bench.cli.main import exit_code; code = exit_code(sys.argv[1:]); "
        "sys.exit(code or 'altair' in sys.modules)"
    )
    mini = ROOT / "results" / "mini"
    command = ["report", mini, "--format", "md,tex,csv,json", "--out", tmp_path]
    done = [sys.executable, "-c", code, *map(str, command)]
    assert subprocess.run(done, check=False).returncode == 0
    assert unlinked(tmp_path / "report.md") == unlinked(mini / "report.md")


@pytest.fixture(scope="module")
def picture() -> ModuleType:
    path = ROOT / "scripts" / "pages" / "leaderboard_picture.py"
    spec = importlib.util.spec_from_file_location("leaderboard_picture", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_picture_is_valid_and_deterministic(picture: ModuleType, tmp_path: Path) -> None:
    records = make_records()
    for name, order in (("a", records), ("b", records[::-1])):
        (tmp_path / f"{name}.jsonl").write_text(records_text(order))
        assert picture.main([str(tmp_path / f"{name}.jsonl"), str(tmp_path / f"{name}.svg")]) == 0
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    texts = ["".join(element.itertext()) for element in root.iter()]
    assert "+ VRF" in texts
    assert "OOD mean" in texts
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_picture_escapes_names_and_names_missing_files(
    picture: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (board,) = build_boards(make_records(title="<script>&\x07"))
    ElementTree.fromstring(picture.svg(board))
    assert picture.main([str(tmp_path / "no.jsonl"), str(tmp_path / "x.svg")]) == 2
    assert "no.jsonl" in capsys.readouterr().err
    assert not (tmp_path / "x.svg").exists()
