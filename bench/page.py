"""A report as one self-contained HTML page: no network, readable without its script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from bench import drawing
from bench.document import Chapter, Document
from bench.page_data import LIMIT, ROOM, chapter_data, dumps, samples_data, samples_size

POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
    "style-src 'unsafe-inline'; script-src {hashes} 'unsafe-eval'"
)
"""No request leaves the page, and no script runs but its own; Vega compiles expressions."""
TOO_LARGE = (
    "Per-sample outcomes are not in this page, they would make it too large; averages over some of "
    "the shifts have no intervals and ranks here."
)
NO_LEVELS = (
    "Confidences of single samples are not in this page, they would make it too large; reliability "
    "diagrams keep their 15 bins."
)


def html(document: Document) -> str:
    """The report as one self-contained HTML page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("bench"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    chapters = document.chapters
    drawn = any(figure.spec for chapter in chapters for figure in chapter.figures)
    scripts = [drawing.script()] if drawn else []
    scripts += [_file(name) for name in ("statistics.js", "report.js")] if chapters else []
    data = [dumps(_data(chapter)) for chapter in chapters]
    used = sum(len(text.encode()) for text in (*scripts, *data))
    samples, notes = _samples(chapters, LIMIT - ROOM - used)
    return environment.get_template("report.html.j2").render(
        document=document,
        style=Markup(_file("report.css")),
        scripts=[Markup(_closed(script)) for script in scripts],
        policy=POLICY.format(hashes=" ".join(map(_hash, map(_closed, scripts))) or "'none'"),
        data=[Markup(text) for text in data],
        samples=[Markup(text) for text in samples],
        notes=notes,
    )


def _file(name: str) -> str:
    return (files("bench") / "templates" / name).read_text(encoding="utf-8")


def _closed(script: str) -> str:
    """A script whose text cannot end its own element."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _data(chapter: Chapter) -> Mapping[str, Any]:
    charts = {f.name: f.spec for f in chapter.figures if f.spec is not None}
    return chapter_data(chapter.numbers) | {"charts": charts}


def _samples(chapters: Sequence[Chapter], room: int) -> tuple[list[str], tuple[str, ...]]:
    """The samples of each chapter as JSON, as many as there is room for, and what is left out."""
    kept = [chapter.numbers for chapter in chapters if chapter.numbers.samples]
    sizes = {
        levels: sum(samples_size(numbers, with_levels=levels) for numbers in kept)
        for levels in (False, True)
    }
    with_levels = sizes[True] <= room
    if not kept:
        return ["null"] * len(chapters), ()
    if sizes[False] > room:
        return ["null"] * len(chapters), (TOO_LARGE,)
    texts = [dumps(samples_data(c.numbers, with_levels=with_levels)) for c in chapters]
    return texts, () if with_levels else (NO_LEVELS,)
