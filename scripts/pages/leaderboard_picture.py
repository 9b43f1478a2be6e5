#!/usr/bin/env python
"""Draw the leaderboard of a run as an SVG picture. The same records give the same bytes.

python scripts/pages/leaderboard_picture.py results/runs/mini/records.jsonl docs/leaderboard.svg
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from xml.sax.saxutils import escape

from bench.core import records
from bench.core.errors import BenchError, InputError
from bench.core.paths import write_atomic
from bench.leaderboard.board import Board
from bench.leaderboard.build import build_boards
from bench.report.tables.leaderboard import leaderboard_table
from bench.report.tables.table import Table, TableCell, TableLine, printable

LINE = 26
MARGIN = 24
TOP = 104
CHARACTER = 7.6
BOLD = 9.2
"""Upper bounds of a character's width at 14 px."""
DEVIATION = 38

STYLE = """
.ground { fill: #ffffff; stroke: #d8dde5 } .tint { fill: #f2f5f9 } text { fill: #1d2430 }
.rule { stroke: #d8dde5 } .frame { stroke: #8a94a3; stroke-width: 1.5 }
.quiet { fill: #5c6675 } .small { fill: #5c6675; font-size: 11px } .best { fill: #0b5cad }
.best, .head, .title { font-weight: 600 } .title { font-size: 17px } .right { text-anchor: end }
@media (prefers-color-scheme: dark) {
.ground { fill: #12161d; stroke: #2c343f } .tint { fill: #1a2029 } text { fill: #e4e8ee }
.rule { stroke: #2c343f } .frame { stroke: #66717f }
.quiet, .small { fill: #9aa5b4 } .best { fill: #7cb8ff } }
"""


def svg(board: Board) -> str:
    """Return the picture of a leaderboard, for light and dark pages."""
    table = leaderboard_table(board)
    edges = _edges(table)
    width = edges[-1] + MARGIN
    count = sum(map(len, table.groups))
    bottom = TOP + LINE * count + 8 * (len(table.groups) - 1)
    parts = [
        _text(MARGIN, 36, f"{board.suite}, {board.model}", "title"),
        _text(MARGIN, 57, _subtitle(board), "small"),
        _text(MARGIN, TOP - 9, table.columns[0], "head"),
        *(
            _text(edge, TOP - 9, name, "head right")
            for edge, name in zip(edges[1:], table.columns[1:], strict=True)
        ),
        *_body(table, edges, width),
        _rule(TOP - LINE - 3, width, "frame"),
        _rule(TOP, width, "rule"),
        _rule(bottom, width, "frame"),
    ]
    height = bottom + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" font-family="system-ui, -apple-system, Segoe UI, Roboto, '
        'Helvetica, Arial, sans-serif" font-size="14" '
        'style="font-variant-numeric: tabular-nums">\n'
        f"<title>{_escape(f'Leaderboard of {board.suite}, {board.model}')}</title>\n"
        f"<style>{STYLE}</style>\n"
        f'<rect class="ground" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _subtitle(board: Board) -> str:
    parts = [f"{board.scale.title} in {board.scale.unit}, protocol {board.protocol}"]
    if board.has_deviations:
        parts.append("mean ± standard deviation over seeds")
    if board.ranked:
        parts.append("best in bold")
    parts += [f"not reportable: {note}" for note in board.notes]
    return "; ".join(parts)


def _edges(table: Table) -> list[int]:
    """Return the left edge of the first column, then the right edges of the other columns."""
    lines = [line for group in table.groups for line in group]
    names = max(len(printable(line.items[0].text)) for line in lines)
    edges = [MARGIN]
    edge = MARGIN + int(names * CHARACTER) + 8
    for index, name in enumerate(table.columns[1:], start=1):
        items = [line.items[index] for line in lines if index < len(line.items)]
        body = max(len(item.text) * CHARACTER + _room(item) for item in items)
        edge += int(max(body, len(name) * BOLD)) + 18
        edges.append(edge)
    return edges


def _room(item: TableCell) -> int:
    """Return the width of the small print after a value."""
    return max(DEVIATION, int(len(item.small) * 6.2)) if item.small else 0


def _body(table: Table, edges: list[int], width: int) -> list[str]:
    parts = []
    top = TOP
    for number, group in enumerate(table.groups):
        if number:
            parts.append(_rule(top + 4, width, "rule"))
            top += 8
        for line in group:
            parts += _line(line, edges, top, width)
            top += LINE
    return parts


def _line(line: TableLine, edges: list[int], top: int, width: int) -> list[str]:
    quiet = "quiet" if line.kind in ("difference", "head") else ""
    base = top + LINE - 9
    indent = 14 if line.kind in ("member", "difference") else 0
    parts = [_text(edges[0] + indent, base, line.items[0].text, quiet)]
    if line.kind == "difference":
        inner = width - 2 * MARGIN
        parts.insert(
            0, f'<rect class="tint" x="{MARGIN}" y="{top}" width="{inner}" height="{LINE}"/>'
        )
    for edge, item in zip(edges[1:], line.items[1:], strict=False):
        style = "best" if item.strong else quiet
        room = _room(item)
        parts.append(_text(edge - room, base, item.text, f"{style} right".strip()))
        if item.small:
            parts.append(_text(edge - room + 5, base, item.small, "small"))
    return parts


def _text(x: int, y: int, text: str, style: str) -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text x="{x}" y="{y}"{kind}>{_escape(text)}</text>'


def _rule(y: int, width: int, style: str) -> str:
    return f'<line class="{style}" x1="{MARGIN}" x2="{width - MARGIN}" y1="{y}" y2="{y}"/>'


def _escape(text: str) -> str:
    return escape(printable(text))


def main(arguments: list[str] | None = None) -> int:
    """Draw the first leaderboard of a ``records.jsonl`` and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("records", type=Path, help="records.jsonl of a run")
    parser.add_argument("picture", type=Path, help="SVG file to write")
    parser.add_argument("--metric", default="top1", help="top1 (default), ece, nll or brier")
    options = parser.parse_args(arguments)
    try:
        found = build_boards(records.read_records(options.records), metric=options.metric)
        if not found:
            raise InputError(f"{options.records} has no leaderboard cells: pass those of a run")
        write_atomic(options.picture, svg(found[0]).encode())
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
