"""Reports of runs: ``report.html``, ``report.md`` and other formats, made from records alone.

`document` puts the records into words, tables and figures once; the formats only dress them. No
dates and no durations: the same records give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bench.document import Document, document
from bench.errors import InputError, unknown
from bench.exports import csv_text, json_text, markdown, tex
from bench.page import html
from bench.paths import write_atomic
from bench.presets import Preset
from bench.records import Missing, Record

FORMATS: Mapping[str, Callable[[Document], str]] = {
    "md": markdown,
    "html": html,
    "tex": tex,
    "csv": csv_text,
    "json": json_text,
}
"""How a document becomes the text of ``report.FORMAT``."""
USUAL = ("md", "html")
"""What is written if nothing else is asked for."""


def asked(formats: str) -> tuple[str, ...]:
    """The formats of a comma separated list, each once. Raises InputError for an unknown one."""
    names = dict.fromkeys(part.strip() for part in formats.split(",") if part.strip())
    for name in names:
        if name not in FORMATS:
            raise unknown("format", name, FORMATS)
    if not names:
        raise InputError("--format: expected at least one, comma separated")
    return tuple(names)


def write(
    directory: Path,
    records: Iterable[Record],
    missing: Iterable[Missing] = (),
    presets: Sequence[Preset] = (),
    formats: Sequence[str] = USUAL,
) -> tuple[Path, ...]:
    """Write ``report.FORMAT`` for each of the formats into `directory`, each in one step.

    Raises InputError for records that contradict each other; nothing is then written.
    """
    content = document(records, missing, presets)
    texts = {directory / f"report.{name}": FORMATS[name](content) for name in formats}
    for path, text in texts.items():
        write_atomic(path, text.encode())
    return tuple(texts)
