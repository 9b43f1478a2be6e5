"""A report as Markdown, LaTeX (booktabs), CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bench.api.method import ZERO_SHOT
from bench.api.metrics import ACCURACY
from bench.leaderboard.board import MEAN, Board, BoardRow, Name
from bench.leaderboard.robustness import DERIVED
from bench.leaderboard.stats.estimates import Interval
from bench.leaderboard.stats.significance import ColumnStatistics
from bench.leaderboard.suite_results import SuiteResults
from bench.report.document import Chapter, Document
from bench.report.glossary import INTRODUCTION, Term
from bench.report.tables.table import Table, TableCell, TableLine, printable, printable_json

CELL_FIELDS = (
    "suite", "model", "protocol", "watermarks", "metric", "temperature_scaled", "method", "base",
    "role", "ranked", "calibrated", "set", "mean", "std", "seeds", "seeds_missing", "reason",
    "low", "high",
)  # fmt: skip
"""Fields of each cell. Values are fractions (nats for NLL), not percent.

`calibrated` says that the row's method fitted temperatures before it was measured; other rows have
a temperature only where `temperature_scaled`, or the calibration that the protocol names in its
place. `set` is ``OOD mean`` for means over the shifts. `ranked` rows are marked where they are
best, but never in a derived metric. The `role` of rows that others measured is ``elsewhere``. `low`
and `high` bound the 95% interval of `mean` if samples are stored: for the primary metric of a set
(also for differences), the ECE, and metrics that were asked for.
"""
Intervals = Mapping[Name, Sequence[Interval | None]]
"""Intervals of each column, by row or by name of a difference row."""
FORMULA = tuple("=+-@＝＋－＠")
"""How formulas begin in spreadsheets, in some languages also with characters of full width."""
OWN = "own metric"
"""Name of the metric in exports where each set has its primary metric."""


def report_markdown(document: Document) -> str:
    r"""Return the report as Markdown (GitHub's tables). Names from the records are escaped.

    Examples
    --------
    >>> from bench.report.document import document
    >>> from bench.report.formats.text import report_markdown
    >>> from bench.testing.fakes import fake_records
    >>> text = report_markdown(document(fake_records()))
    >>> [line for line in text.splitlines() if line.startswith("|") and "VRF" in line][0]
    '| \\+ VRF    |     78.0 | **57.0** | **45.0** |   **51.0** |'
    """
    parts = [f"# {escape(document.title)}", escape(INTRODUCTION)]
    for chapter in document.chapters:
        parts.append(f"## {escape(chapter.title)}")
        parts += [f"> **{escape(warning)}**" for warning in chapter.warnings]
        parts.append(f"**{escape(chapter.summary)}**")
        parts += [markdown_terms(chapter.terms, document.root)] if chapter.terms else []
        if chapter.caveats:
            parts.append("\n".join(["Caveats:", "", *(f"- {escape(c)}" for c in chapter.caveats)]))
        parts.append("\n".join(f"- {escape(k)}: {escape(v)}" for k, v in chapter.facts))
        for table in (*chapter.tables, *chapter.curves):
            parts += [f"### {escape(table.caption)}", markdown_table(table)]
            parts += [escape(table.note)] if table.note else []
    parts += [
        "## How to read this report",
        "\n".join(f"- {escape(note)}" for note in document.notes),
    ]
    return "\n\n".join(parts) + "\n"


def markdown_terms(terms: Iterable[Term], root: str) -> str:
    r"""Return a list of terms; pages of the documentation are links if `root` leads to them.

    Examples
    --------
    >>> from bench.report.formats.text import markdown_terms
    >>> from bench.report.glossary import Term
    >>> markdown_terms([Term("ECE", "Calibration error.", "docs/statistics.md")], "../..")
    '- **ECE**: Calibration error. ([docs/statistics.md](../../docs/statistics.md))'
    """

    def line(term: Term) -> str:
        page = f"[{escape(term.page)}]({root}/{term.file})" if root else escape(term.page)
        return f"- **{escape(term.name)}**: {escape(term.text)} ({page})"

    return "\n".join(map(line, terms))


def escape(text: str) -> str:
    r"""Return `text` on one line, with all Markdown and HTML syntax escaped.

    Examples
    --------
    >>> from bench.report.formats.text import escape
    >>> escape("a_b <c>")
    'a\\_b &lt;c&gt;'
    """
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;")):
        text = text.replace(character, entity)
    return re.sub(r"([\\`*_\[\]~])", r"\\\1", printable(text))


def markdown_table(table: Table) -> str:
    """Return a table as Markdown, with all its texts escaped.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.report.formats.text import markdown_table
    >>> from bench.report.tables.leaderboard import leaderboard_table
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records({"zero-shot": (0.6, 0.4)}, shifts=["sketch"]))
    >>> print(markdown_table(leaderboard_table(board)))
    | Method    |       ID |   sketch |   OOD mean |
    |:----------|---------:|---------:|-----------:|
    | Zero-shot | **60.0** | **40.0** |   **40.0** |
    """
    from tabulate import tabulate

    width = len(table.columns)
    lines = [line for group in table.groups for line in group]
    texts = [[_markdown_item(item) for item in line.items] for line in lines]
    rows = [row + [""] * (width - len(row)) for row in texts]
    sides = ["left" if side == "l" else "right" for side in table.align]
    headers = [escape(column) for column in table.columns]
    return tabulate(rows, headers, tablefmt="pipe", colalign=sides, disable_numparse=True)


def _markdown_item(item: TableCell) -> str:
    text = escape(item.text)
    if text.startswith("+ "):
        text = f"\\{text}"  # some parsers read a leading plus as a list item
    strong = (f"**{text}**" if item.strong else text) + escape(item.sign)
    return f"{strong} {escape(item.small)}" if item.small else strong


TEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "Δ": r"$\Delta$",
    "±": r"$\pm$",
    "–": "--",
    "‡": r"\textsuperscript{\ddag}",
    "−": "$-$",
}
"""Replacements for characters that TeX interprets or that text fonts lack."""


def report_latex(document: Document) -> str:
    r"""Return the tables as LaTeX with ``booktabs``; each caption has the watermarks.

    Examples
    --------
    >>> from bench.report.document import document
    >>> from bench.report.formats.text import report_latex
    >>> from bench.testing.fakes import fake_records
    >>> "\\toprule" in report_latex(document(fake_records()))
    True
    """
    parts = ["% Needs \\usepackage{booktabs}, \\usepackage[T1]{fontenc} and UTF-8."]
    for chapter in document.chapters:
        parts.append(f"% {printable(chapter.title)}")
        parts += [f"% Caveat: {printable(caveat)}" for caveat in chapter.caveats]
        parts += [_tex_table(chapter, table) for table in (*chapter.tables, *chapter.curves)]
    return "\n\n".join(parts) + "\n"


def _tex_table(chapter: Chapter, table: Table) -> str:
    caption = ". ".join((f"{chapter.title}: {table.caption}", *chapter.warnings))
    header = " & ".join(_tex(column) for column in table.columns)
    groups = ["\n".join(_tex_line(line, len(table.columns)) for line in g) for g in table.groups]
    lines = [
        r"\begin{table}",
        rf"\caption{{{_tex(caption)}}}",
        rf"\begin{{tabular}}{{{table.align}}}",
        r"\toprule",
        rf"{header} \\",
        r"\midrule",
        "\n\\midrule\n".join(groups),
        r"\bottomrule",
        r"\end{tabular}",
        *([rf"\par {_tex(table.note)}"] if table.note else []),
        r"\end{table}",
    ]
    return "\n".join(lines)


def _tex_line(line: TableLine, width: int) -> str:
    if line.kind == "head":
        return rf"\multicolumn{{{width}}}{{l}}{{\emph{{{_tex(line.items[0].text)}}}}} \\"
    return " & ".join(map(_tex_item, line.items)) + r" \\"


def _tex_item(item: TableCell) -> str:
    text = rf"\textbf{{{_tex(item.text)}}}" if item.strong else _tex(item.text)
    text += _tex(item.sign)
    return rf"{text} {{\scriptsize {_tex(item.small)}}}" if item.small else text


def _tex(text: str) -> str:
    return "".join(TEX.get(character, character) for character in printable(text))


def report_csv(document: Document) -> str:
    """Return all cells of all leaderboards as CSV, one per line, with the fields `CELL_FIELDS`.

    Examples
    --------
    >>> from bench.report.document import document
    >>> from bench.report.formats.text import report_csv
    >>> from bench.testing.fakes import fake_records
    >>> report_csv(document(fake_records())).splitlines()[0][:30]
    'suite,model,protocol,watermark'
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, CELL_FIELDS, lineterminator="\n")
    writer.writeheader()
    for chapter in document.chapters:
        for cell in board_cells(chapter):
            writer.writerow({name: _inert(value) for name, value in cell.items()})
    return file.getvalue()


def _inert(value: Any) -> Any:
    """A value that no spreadsheet interprets as a formula; numbers stay what they are."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.lstrip()[:1] in FORMULA else text


def report_json(document: Document) -> str:
    """Return the complete report as JSON: texts, printed tables, and all cells unrounded.

    Examples
    --------
    >>> import json
    >>> from bench.report.document import document
    >>> from bench.report.formats.text import report_json
    >>> from bench.testing.fakes import fake_records
    >>> json.loads(report_json(document(fake_records())))["chapters"][0]["title"]
    'fake, fake/none'
    """
    data = {
        "title": document.title,
        "notes": document.notes,
        "chapters": [
            {
                "title": chapter.title,
                "headline": chapter.summary,
                "warnings": chapter.warnings,
                "caveats": chapter.caveats,
                "facts": dict(chapter.facts),
                "tables": [_table_data(t) for t in (*chapter.tables, *chapter.curves)],
                "cells": list(board_cells(chapter)),
            }
            for chapter in document.chapters
        ],
    }
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    return printable_json(text)


def _table_data(table: Table) -> dict[str, Any]:
    return {
        "caption": table.caption,
        "note": table.note,
        "columns": table.columns,
        "groups": [
            [{"kind": line.kind, "cells": [_item_data(item) for item in line.items]} for line in g]
            for g in table.groups
        ],
    }


def _item_data(item: TableCell) -> dict[str, Any]:
    more = {
        "small": item.small, "best": item.strong, "reasons": item.reasons, "sign": item.sign
    }  # fmt: skip
    return {"text": item.text} | {name: value for name, value in more.items() if value}


def board_cells(chapter: Chapter) -> Iterator[Mapping[str, Any]]:
    """Yield the unrounded cells of a chapter's leaderboards, including difference rows.

    Examples
    --------
    >>> from bench.report.document import document
    >>> from bench.report.formats.text import board_cells
    >>> from bench.testing.fakes import fake_records
    >>> (chapter,) = document(fake_records()).chapters
    >>> cell = next(iter(board_cells(chapter)))
    >>> cell["method"], cell["mean"]
    ('zero-shot', 0.6)
    """
    numbers = chapter.numbers
    known = _intervals(numbers)
    found = {
        board.scale.metric: board for board in (*numbers.common.values(), *numbers.extra_boards)
    }
    if numbers.board.metrics != numbers.common["top1"].metrics:
        yield from _board_cells(numbers.board, OWN, known.get(OWN, {}))
    for name, board in found.items():
        yield from _board_cells(board, name, known.get(name, {}))
    for name, board in numbers.scaled.items():
        yield from _board_cells(board, name, {}, scaled=True)
    for derived in chapter.derived:
        name = derived.metric.name
        yield from _board_cells(derived.board, name, derived.intervals)
    board = numbers.board
    for row in chapter.beside:
        files = "; ".join(file.stated for file in row.files)
        place = (board.suite, row.title, "", f"measured elsewhere: {files}", ACCURACY.name, False)
        names = (ZERO_SHOT, None, "elsewhere", False, False)
        for shift, value in row.values.items():
            values = (value, None, None, "", "", None, None)
            yield dict(zip(CELL_FIELDS, (*place, *names, shift, *values), strict=True))


def _intervals(numbers: SuiteResults) -> Mapping[str, Intervals]:
    """Known intervals of each metric without temperature scaling."""
    known = numbers.comparison
    if known is None:
        return {}
    is_own = numbers.board.metrics != numbers.common[ACCURACY.name].metrics
    primary = {
        (row.method, row.base): tuple(_interval(column, row) for column in known.columns)
        for group in numbers.board.groups
        for row in (*group.rows, *group.differences)
    }
    return {OWN if is_own else ACCURACY.name: primary, "ece": known.ece, **known.further}


def _interval(column: ColumnStatistics | None, row: BoardRow) -> Interval | None:
    if column is None:
        return None
    one, minus, other = row.method.partition(" - ")
    if not minus:
        return column.intervals.get((row.method, row.base))
    between = column.differences.get(((one, row.base), (other, row.base)))
    return None if between is None else between[1]


def _board_cells(
    board: Board, metric: str, intervals: Intervals, *, scaled: bool = False
) -> Iterator[Mapping[str, Any]]:
    if not any(cell.seeds for row in board.rows for cell in row.cells):
        return
    names = ("id", *board.shifts, *((MEAN,) if board.averaged and not board.partial else ()))
    if board.averaged and board.partial:
        names = (*names, board.over_shifts)
    place = (board.suite, board.model, board.protocol, "; ".join(board.notes), metric, scaled)
    is_ranking = board.ranked and metric not in DERIVED
    for group in board.groups:
        for row in (*group.rows, *group.differences):
            is_ranked = is_ranking and row.complete and row in group.of("method")
            known = intervals.get((row.method, row.base)) or [None] * len(names)
            for name, cell, interval in zip(names, row.cells, known, strict=True):
                missing = " ".join(str(seed) for seed, _ in cell.absent)
                reasons = "; ".join(sorted({reason for _, reason in cell.absent}))
                bounds = interval or (None, None)
                values = (cell.mean, cell.std, cell.seeds, missing, reasons, *bounds)
                names_of_row = (row.method, row.base, _role(row), is_ranked, row.calibrated, name)
                yield dict(zip(CELL_FIELDS, (*place, *names_of_row, *values), strict=True))


def _role(row: BoardRow) -> str:
    return "difference" if " - " in row.method else row.role
