"""A report as one self-contained HTML page that works offline and is readable without scripts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
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
from bench.report.glossary import INTRODUCTION
from bench.report.tables.table import printable

POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
    "style-src 'unsafe-inline'; script-src {scripts}"
)
"""Content security policy: no requests, and only the page's own scripts.

Vega compiles expressions, which needs ``unsafe-eval``.
"""
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
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("bench.report.formats"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    chapters = document.chapters
    has_figures = any(figure.spec for chapter in chapters for figure in chapter.figures)
    scripts = [vega_script()] if has_figures else []
    scripts += [_file(f"{name}.js") for name in SCRIPTS] if chapters else []
    hashes = " ".join(map(_hash, map(_closed, scripts)))
    sources = f"{hashes} 'unsafe-eval'" if scripts else "'none'"
    data = [script_json(_data(chapter)) for chapter in chapters]
    template = environment.get_template("report.html.j2")
    lines = (line for c in chapters for t in c.tables for group in t.groups for line in group)
    legend = [TIED] if any(item.tied for line in lines for item in line.items) else []

    def rendered(bits: Sequence[str], levels: Sequence[str], notes: Sequence[str]) -> str:
        return template.render(
            document=document,
            introduction=INTRODUCTION,
            style=Markup(_file("report.css")),
            scripts=[Markup(_closed(script)) for script in scripts],
            policy=POLICY.format(scripts=sources),
            data={"data": map(Markup, data), "samples": map(Markup, bits),
                  "levels": map(Markup, levels)},
            notes=[*legend, *notes],
        )  # fmt: skip

    def room() -> int:
        return LIMIT - _size([rendered([], [], [TOO_LARGE])]) - SPARE

    return rendered(*_samples(chapters, room))


def _file(name: str) -> str:
    return (files("bench.report.formats") / "templates" / name).read_text(encoding="utf-8")


def _closed(script: str) -> str:
    """A script with escapes, so that its text cannot end the script element."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


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
