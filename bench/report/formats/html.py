"""A report as one self-contained HTML page that works offline and is readable without scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bench.leaderboard.stats.row_samples import LEVELS
from bench.report.document import Chapter, Document
from bench.report.figures.rasterize import vega_script
from bench.report.formats.html_data import (
    COARSE,
    LIMIT,
    chapter_data,
    confidences_data,
    samples_data,
    script_json,
)
from bench.report.formats.pages import (
    closed_script,
    page_policy,
    page_template,
    template_file,
)
from bench.report.glossary import INTRODUCTION

SCRIPTS = ("statistics", "shared", "records", "figures", "tables", "report")
"""The page's own scripts, each after the scripts it uses."""
SPARE = 10_000
"""Bytes reserved for the elements around samples."""
TOO_LARGE = (
    "This page has no per-sample outcomes, as they would make it too large. Averages over a subset "
    "of the shifts therefore have no intervals and ranks here."
)
TIED = "Underlined: no other row is significantly better in that column."
NO_LEVELS = (
    "This page has no per-sample confidences, as they would make it too large. Its reliability "
    "diagrams therefore always have 15 bins."
)


def report_html(document: Document) -> str:
    """Return the report as one self-contained HTML page.

    Examples
    --------
    >>> from bench.report.document import document
    >>> from bench.report.formats.html import report_html
    >>> from bench.testing.fakes import fake_records
    >>> report_html(document(fake_records())).startswith("<!DOCTYPE html>")
    True
    """
    from markupsafe import Markup

    chapters = document.chapters
    has_figures = any(figure.spec for chapter in chapters for figure in chapter.figures)
    scripts = [vega_script()] if has_figures else []
    scripts += [template_file(f"{name}.js") for name in SCRIPTS] if chapters else []
    scripts = list(map(closed_script, scripts))
    data = [script_json(_data(chapter)) for chapter in chapters]
    template = page_template("report.html.j2")
    lines = (line for c in chapters for t in c.tables for group in t.groups for line in group)
    legend = [TIED] if any(item.tied for line in lines for item in line.items) else []

    def rendered(bits: Sequence[str], levels: Sequence[str], notes: Sequence[str]) -> str:
        return template.render(
            document=document,
            introduction=INTRODUCTION,
            style=Markup(template_file("report.css")),
            scripts=list(map(Markup, scripts)),
            policy=page_policy(scripts),
            data={"data": map(Markup, data), "samples": map(Markup, bits),
                  "levels": map(Markup, levels)},
            notes=[*legend, *notes],
        )  # fmt: skip

    def room() -> int:
        return LIMIT - _size([rendered([], [], [TOO_LARGE])]) - SPARE

    return rendered(*_samples(chapters, room))


def _data(chapter: Chapter) -> Mapping[str, Any]:
    charts = {f.name: f.spec for f in chapter.figures if f.spec is not None}
    return chapter_data(chapter.numbers) | {"charts": charts}


def _samples(
    chapters: Sequence[Chapter], room_of_page: Callable[[], int]
) -> tuple[list[str], list[str], tuple[str, ...]]:
    """JSON of each chapter's bits and confidences within a page's room, and notes on omissions."""
    nothing = ["null"] * len(chapters)
    found = [chapter.numbers for chapter in chapters]
    if not any(numbers.samples for numbers in found):
        return nothing, nothing, ()
    room = room_of_page()
    bits = [script_json(samples_data(numbers)) for numbers in found]
    if _size(bits) > room:
        return nothing, nothing, (TOO_LARGE,)
    for steps in (LEVELS, COARSE):
        levels = [script_json(confidences_data(numbers, steps)) for numbers in found]
        if _size(bits) + _size(levels) <= room:
            return bits, levels, ()
    return bits, nothing, (NO_LEVELS,)


def _size(texts: Iterable[str]) -> int:
    return sum(len(text.encode()) for text in texts)
