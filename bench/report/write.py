"""Write reports of runs: ``report.html``, ``report.md`` and other formats, from records alone.

`document` turns the records into texts, tables and figures once; each format only renders them.
Reports hold no dates and no durations, so the same records always give the same bytes; only their
links to the documentation depend on the folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench.core.errors import InputError, unknown_name
from bench.core.paths import write_atomic
from bench.core.records import MissingCell, Record
from bench.core.trainings import TrainingRecord
from bench.leaderboard.published.baselines import Baseline
from bench.leaderboard.published.clip_benchmark import ForeignFile, foreign_rows
from bench.leaderboard.published.layouts import Preset
from bench.leaderboard.samples import SampleOutputs
from bench.report.document import Document, document
from bench.report.figures.rasterize import chart_png, chart_svg
from bench.report.figures.spec import Chart
from bench.report.formats.html import report_html
from bench.report.formats.text import report_csv, report_json, report_latex, report_markdown
from bench.report.glossary import path_to_root
from bench.report.tables.elsewhere import foreign_table

FORMATS: dict[str, Callable[[Document], str]] = {
    "md": report_markdown,
    "html": report_html,
    "tex": report_latex,
    "csv": report_csv,
    "json": report_json,
}
"""Functions that render a document as the text of ``report.FORMAT``."""
PICTURES: dict[str, Callable[[Chart, Sequence[str]], bytes]] = {"svg": chart_svg, "png": chart_png}
"""Functions that render a figure as a file, with watermarks under its title."""
ALSO = {"latex": "tex", "markdown": "md"}
"""Other names of formats."""
USUAL = ("md", "html")
"""Default formats."""
FIRST = ("leaderboard", "standings")
"""The tables that come before foreign rows."""


def parse_formats(formats: str) -> tuple[str, ...]:
    """Split a comma-separated list into distinct formats. Raises InputError for an unknown one.

    Examples
    --------
    >>> from bench.report.write import parse_formats
    >>> parse_formats("md, html,md")
    ('md', 'html')
    >>> parse_formats("latex")
    ('tex',)
    """
    parts = [part.strip() for part in formats.split(",") if part.strip()]
    names = dict.fromkeys(ALSO.get(part, part) for part in parts)
    for name in names:
        if name not in FORMATS | PICTURES:
            raise unknown_name("format", name, FORMATS | PICTURES)
    if not names:
        raise InputError("--format: expected at least one format; separate several by commas")
    return tuple(names)


def write_report(
    directory: Path,
    records: Iterable[Record],
    missing: Iterable[MissingCell] = (),
    presets: Sequence[Preset] = (),
    formats: Sequence[str] = USUAL,
    samples: Iterable[SampleOutputs] = (),
    baselines: Sequence[Baseline] = (),
    trainings: Iterable[TrainingRecord] = (),
    root: str | None = None,
    derived: Sequence[str] = (),
    beside: Sequence[ForeignFile] = (),
) -> tuple[Path, ...]:
    """Write reports of records into `directory` with `write_document`; return their paths.

    Raises InputError for records that contradict each other; nothing is written then.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.report.write import write_report
    >>> from bench.testing.fakes import fake_records
    >>> paths = write_report(Path("reports"), fake_records(), formats=["md", "csv"])
    >>> [path.name for path in paths]
    ['report.md', 'report.csv']
    """
    content = document(records, missing, presets, samples, baselines, trainings, derived)
    return write_document(directory, with_foreign_rows(content, beside), formats, root)


def with_foreign_rows(content: Document, files: Sequence[ForeignFile]) -> Document:
    """Return a report with the rows of files on its suites' sets, below each leaderboard.

    Raises InputError if the files contradict each other.

    Examples
    --------
    >>> from bench.leaderboard.published.clip_benchmark import ForeignFile, ForeignResult
    >>> from bench.report.document import document
    >>> from bench.report.write import with_foreign_rows
    >>> from bench.testing.fakes import fake_records
    >>> records = [r.model_copy(update={"suite": "imagenet"}) for r in fake_records()]
    >>> result = ForeignResult("ViT-B-32", "openai", "en", "imagenet-v2", 0.5596)
    >>> files = [ForeignFile("v2.json", "1f" * 32, (result,))]
    >>> (chapter,) = with_foreign_rows(document(records), files).chapters
    >>> [table.name for table in chapter.tables]
    ['leaderboard', 'beside']
    """
    chapters = []
    for chapter in content.chapters:
        if rows := foreign_rows(files, chapter.numbers.board.suite):
            names = [table.name for table in chapter.tables]
            at = 1 + max((i for i, n in enumerate(names) if n in FIRST), default=len(names) - 1)
            table = foreign_table(chapter.numbers, rows)
            tables = (*chapter.tables[:at], table, *chapter.tables[at:])
            chapter = replace(chapter, tables=tables, beside=rows)
        chapters.append(chapter)
    return replace(content, chapters=tuple(chapters))


def write_document(
    directory: Path, content: Document, formats: Sequence[str], root: str | None = None
) -> tuple[Path, ...]:
    """Write ``report.FORMAT`` into `directory` for each format, atomically; return the paths.

    `root` leads from where the reports will stand to the documentation. The formats in `PICTURES`
    give one file per figure, in the folder ``figures``.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.report.document import document
    >>> from bench.report.write import write_document
    >>> from bench.testing.fakes import fake_records
    >>> write_document(Path("reports"), document(fake_records()), ["csv"])[0].name
    'report.csv'
    """
    content = replace(content, root=path_to_root(directory) if root is None else root)
    files = {
        directory / f"report.{name}": FORMATS[name](content).encode("utf-8", "backslashreplace")
        for name in formats
        if name in FORMATS
    }
    for name in (name for name in formats if name in PICTURES):
        files |= {directory / "figures" / path: data for path, data in _pictures(content, name)}
    for path, data in files.items():
        write_atomic(path, data)
    return tuple(files)


def _pictures(content: Document, kind: str) -> Iterator[tuple[str, bytes]]:
    """Yield file name and bytes of every figure that can be rendered."""
    for number, chapter in enumerate(content.chapters, start=1):
        prefix = f"{number}-" if len(content.chapters) > 1 else ""
        for figure in chapter.figures:
            if figure.spec is not None:
                name = re.sub(r"[^a-z0-9]+", "-", figure.name.lower()).strip("-")
                yield f"{prefix}{name}.{kind}", PICTURES[kind](figure, chapter.marks)


def id_ood_pictures(content: Document) -> dict[str, bytes]:
    """Return the figure `id-ood` of each chapter as SVG, by its name in a folder of ``results/``.

    Examples
    --------
    >>> from bench.report.document import document
    >>> from bench.report.write import id_ood_pictures
    >>> from bench.testing.fakes import fake_records
    >>> list(id_ood_pictures(document(fake_records())))
    ['id-ood.svg']
    """
    return {
        f"id-ood-{number}.svg" if number else "id-ood.svg": PICTURES["svg"](figure, chapter.marks)
        for number, chapter in enumerate(content.chapters)
        for figure in chapter.figures
        if figure.name == "id-ood" and figure.spec is not None
    }
