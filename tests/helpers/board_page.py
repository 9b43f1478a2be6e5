"""For tests: the board in a real browser, and what it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from browser import opened

from bench.core.records import Record
from bench.leaderboard.samples import SampleOutputs
from bench.report.document import document
from bench.report.formats.board.page import board_html
from bench.report.formats.board.view import board_view

Made = tuple[list[Record], list[SampleOutputs]]
"""Records and samples, as `browser.run_of_chance` makes them."""


def two_suites(made: Made) -> Made:
    """The random run on two suites and under two protocols, with some rows that are no methods."""
    roles = {"wise-ft": "control", "ose": "oracle"}
    records, samples = made
    more = [r.model_copy(update={"suite": "other", "value": r.value / 2}) for r in records]
    more += [r.model_copy(update={"protocol": "official"}) for r in records if r.shift != "a"]
    extra = [
        r.model_copy(update={"role": roles[r.method], "base": "flyp", "title": f"{r.title} X"})
        for r in records
        if r.method in roles
    ]
    return [*records, *more, *extra], samples


@contextmanager
def board(tmp_path: Path, made: Made, width: int = 1440) -> Iterator[Any]:
    records, samples = made
    path = tmp_path / "board.html"
    path.write_text(board_html(board_view(document(records, samples=samples).chapters)))
    with opened(path, width) as page:
        yield page


def names(page: Any) -> list[str]:
    rows = page.locator('[data-table="board"] tbody tr:not(.head) th button')
    return [str(text) for text in rows.all_inner_texts()]


def numbers(page: Any, label: str) -> list[str]:
    """The texts of a column without small print."""
    heads = page.locator('[data-table="board"] thead th').all_inner_texts()
    at = [re.sub(r"[\s?]+$", "", head) for head in heads].index(label)
    cells = page.locator(f'[data-table="board"] tbody tr:not(.head) > :nth-child({at + 1})')
    return [re.sub(r"\s*±.*|\s*\[.*", "", text) for text in cells.all_inner_texts()]


def fragment(page: Any) -> str:
    return str(page.evaluate("decodeURIComponent(location.hash)"))


def saved(page: Any, label: str) -> tuple[str, str]:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=label).click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_text()
