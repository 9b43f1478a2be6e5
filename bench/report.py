"""Reports: ``report.md`` and ``report.html``, made from the records alone.

`document` puts the records into words and tables once; `markdown` and `html` only dress them.
No dates and no durations: the same records give the same bytes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import tables
from bench.leaderboard import ID, SCALES, Board, Curve, Key, boards, curves, key_of
from bench.paths import write_atomic
from bench.records import Missing, Record, sort_key
from bench.tables import DASH, Item, Table

PROVENANCE = ("precision", "versions", "commit", "hardware")
"""What a report says of the records' provenance and its environment, where it is there."""

READING = (
    "ID is the in-distribution test set. The OOD mean is the plain mean over the shifts, per seed.",
    "A row that lacks a cell has no OOD mean and is not ranked. A dash in a cell: no value.",
    "Numbers are means over seeds ± the sample standard deviation. A single seed has none.",
    f"Rows into which no training went have no seeds: their deviation is a dash ({DASH}).",
    "Best in bold, over all complete rows; ties at the printed precision are all bold.",
    "Rows marked + are ensembles of the zero-shot model with the fine-tuned model above them.",
    "Δ rows are differences, per seed and then averaged (accuracy: in points). Not ranked.",
    "Parameters were chosen on the selection split only, never on the test set or a shift.",
)
CURVES = "Curves show every candidate on the test sets, chosen or not. Nothing was chosen by them."


@dataclass(frozen=True)
class Chapter:
    """All that is said of one suite, model, protocol and set of watermarks."""

    title: str
    warnings: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    curves: tuple[Table, ...]


@dataclass(frozen=True)
class Document:
    """A report before it is dressed. Its texts are plain: nothing is escaped yet."""

    title: str
    chapters: tuple[Chapter, ...]
    notes: tuple[str, ...]


def write(
    directory: Path, records: Iterable[Record], missing: Iterable[Missing] = ()
) -> tuple[Path, Path]:
    """Write ``report.md`` and ``report.html`` into `directory`, each in one step."""
    content = document(records, missing)
    texts = {directory / "report.md": markdown(content), directory / "report.html": html(content)}
    for path, text in texts.items():
        write_atomic(path, text.encode())
    markdown_path, html_path = texts
    return markdown_path, html_path


def document(records: Iterable[Record], missing: Iterable[Missing] = ()) -> Document:
    """The report's content. Raises InputError for records that contradict each other."""
    ordered, absent = sorted(records, key=sort_key), tuple(missing)
    by_metric = [boards(ordered, absent, metric) for metric in SCALES]
    cells: dict[Key, list[Record]] = defaultdict(list)
    for record in ordered:
        if record.kind == "cell":
            cells[key_of(record)].append(record)
    drawn: dict[Key, list[Curve]] = defaultdict(list)
    for curve in curves(ordered):
        drawn[curve.key].append(curve)
    chapters = tuple(
        _chapter(found, cells[found[0].key], drawn[found[0].key])
        for found in zip(*by_metric, strict=True)
    )
    suites = ", ".join(sorted({board.suite for board in by_metric[0]}))
    notes = (*READING, CURVES) if any(chapter.curves for chapter in chapters) else READING
    return Document(f"Robust fine-tuning on {suites or 'no suite'}", chapters, notes)


def markdown(document: Document) -> str:
    """The report as Markdown (GitHub's tables). Names from the records are escaped."""
    parts = [f"# {escape(document.title)}"]
    for chapter in document.chapters:
        parts.append(f"## {escape(chapter.title)}")
        parts += [f"> **{escape(warning)}**" for warning in chapter.warnings]
        parts.append("\n".join(f"- {escape(k)}: {escape(v)}" for k, v in chapter.facts))
        for table in (*chapter.tables, *chapter.curves):
            parts += [f"### {escape(table.caption)}", _markdown_table(table)]
    parts += ["## How to read this", "\n".join(f"- {escape(note)}" for note in document.notes)]
    return "\n\n".join(parts) + "\n"


def html(document: Document) -> str:
    """The report as one self-contained HTML page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("bench"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html.j2").render(document=document)


def escape(text: str) -> str:
    """`text` on one line, with all that Markdown or HTML would interpret made inert."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;")):
        text = text.replace(character, entity)
    return re.sub(r"([\\`*_\[\]~])", r"\\\1", tables.printable(text))


def _markdown_table(table: Table) -> str:
    from tabulate import tabulate

    width = len(table.columns)
    lines = [line for group in table.groups for line in group]
    texts = [[_markdown_item(item) for item in line.items] for line in lines]
    rows = [row + [""] * (width - len(row)) for row in texts]
    sides = ["left" if side == "l" else "right" for side in table.align]
    headers = [escape(column) for column in table.columns]
    return tabulate(rows, headers, tablefmt="pipe", colalign=sides, disable_numparse=True)


def _markdown_item(item: Item) -> str:
    text = escape(item.text)
    if text.startswith("+ "):
        text = f"\\{text}"  # a line that starts with a plus is a list item to some readers
    strong = f"**{text}**" if item.strong else text
    return f"{strong} {escape(item.small)}" if item.small else strong


def _chapter(found: Sequence[Board], records: Sequence[Record], drawn: Sequence[Curve]) -> Chapter:
    """A chapter from its leaderboard in every metric, its records and its curves."""
    board = found[0]
    others = [b for b in found[1:] if any(c.mean is not None for r in b.rows for c in r.cells)]
    shown = (
        tables.leaderboard(board),
        *((tables.ends(others),) if others else ()),
        tables.choices(board, records),
        tables.absences(board),
    )
    return Chapter(
        title=f"{board.suite}, {board.model}",
        warnings=tuple(_warnings(board)),
        facts=tuple(_facts(board, records)),
        tables=tuple(table for table in shown if table.groups),
        curves=tuple(tables.candidates(curve, board) for curve in drawn),
    )


def _warnings(board: Board) -> Iterator[str]:
    if board.notes:
        yield f"Not reportable: {', '.join(board.notes)}. Nothing here is ranked."
    if board.partial:
        ran = f"{len(board.shifts)} of the suite's {board.shifts_in_suite} shifts"
        yield f"Partial: {ran} were run. Their mean is no OOD mean, and nothing here is ranked."


def _facts(board: Board, records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """What was run: names, sizes and provenance."""
    yield "Suite", board.suite
    yield "Model", board.model
    yield "Protocol", board.protocol
    yield "Seeds", tables.seeds_text({record.seed for record in records})
    rules = {str(r.chosen_on["rule"]) for r in records if r.chosen_on and "rule" in r.chosen_on}
    if rules:
        yield "Selection rule", ", ".join(sorted(rules))
    sizes: dict[str, set[int]] = defaultdict(set)
    for record in records:
        sizes[record.shift].add(record.n)
    labels = {ID: "ID"} | {shift: shift for shift in board.shifts}
    counts = (f"{labels[s]} {'/'.join(map(str, sorted(sizes[s])))}" for s in labels if s in sizes)
    yield "Test samples", ", ".join(counts) or DASH
    maps = {record.shift: record.provenance.get("label_map", "identity") for record in records}
    if mapped := [f"{s} {maps[s]}" for s in board.shifts if maps.get(s, "identity") != "identity"]:
        yield "Label maps", ", ".join(mapped)
    for name in PROVENANCE:
        if found := _distinct(_provenance(record).get(name) for record in records):
            yield name.capitalize(), found


def _provenance(record: Record) -> dict[str, Any]:
    """What made a number; the environment's entries beside the others."""
    environment = record.provenance.get("environment")
    return record.provenance | (environment if isinstance(environment, dict) else {})


def _distinct(values: Iterable[Any]) -> str:
    """The different values in words; of mappings, the different values of each key."""
    found = [value for value in values if value is not None]
    if found and all(isinstance(value, dict) for value in found):
        keys = sorted({key for value in found for key in value})
        return ", ".join(f"{key} {_distinct(value.get(key) for value in found)}" for key in keys)
    return " / ".join(sorted({tables.phrase(value) for value in found}))
