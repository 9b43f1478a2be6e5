"""Tables as values, and texts for values in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.leaderboard.board import Seed

Kind = Literal["head", "row", "member", "difference"]


DASH = "–"


@dataclass(frozen=True)
class TableCell:
    """A table cell: its text, small print after it, and the reasons if the value is missing.

    `strong` marks the best value. `tied` marks a value for which no other row is significantly
    better. `sign` follows the text at once, and the line below the table explains it.

    Examples
    --------
    >>> from bench.report.tables.table import TableCell
    >>> TableCell("78.6", small="±0.2", strong=True).text
    '78.6'
    """

    text: str
    small: str = ""
    strong: bool = False
    reasons: tuple[str, ...] = ()
    tied: bool = False
    sign: str = ""


@dataclass(frozen=True)
class TableLine:
    """A table line: the header of a group, a row, a member of a group, or a difference.

    `row` is the key (``METHOD:BASE``) of the leaderboard row that it shows, if any.

    Examples
    --------
    >>> from bench.report.tables.table import TableCell, TableLine
    >>> TableLine((TableCell("+ VRF"), TableCell("78.6")), "member", row="vrf:e2e-ft").row
    'vrf:e2e-ft'
    """

    items: tuple[TableCell, ...]
    kind: Kind = "row"
    row: str = ""


@dataclass(frozen=True)
class Table:
    """A table; `align` has ``l`` or ``r`` per column, `groups` are separated by a rule.

    `note` is a line below the table. `name` identifies it to programs, such as ``leaderboard`` or
    ``calibration METRIC``.

    Examples
    --------
    >>> from bench.report.formats.text import markdown_table
    >>> from bench.report.tables.table import Table, TableCell, TableLine
    >>> line = TableLine((TableCell("VRF"), TableCell("78.6")))
    >>> table = Table("Accuracy (percent)", ("Method", "ID"), "lr", ((line,),))
    >>> print(markdown_table(table))
    | Method   |   ID |
    |:---------|-----:|
    | VRF      | 78.6 |
    """

    caption: str
    columns: tuple[str, ...]
    align: str
    groups: tuple[tuple[TableLine, ...], ...]
    note: str = ""
    name: str = ""


def printable(text: str) -> str:
    r"""Return `text` on one line, without characters that act on a terminal or on other text.

    These are control characters, of which terminal escapes consist, those that change the direction
    of writing and invisible tags. Bytes of a name that are no UTF-8 (lone surrogates) are shown as
    the replacement character.

    Examples
    --------
    >>> from bench.report.tables.table import printable
    >>> printable("red \033[31m text")
    'red [31m text'
    """
    marks = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
    plain = re.sub(rf"[\s\x00-\x1f\x7f-\x9f{marks}]+", " ", text)
    return re.sub(r"[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", plain)


def printable_json(text: str) -> str:
    r"""Return a JSON text with what is not printable in its strings escaped.

    Examples
    --------
    >>> from bench.report.tables.table import printable_json
    >>> printable_json('{"title": "red \x9b31m"}')
    '{"title": "red \\u009b31m"}'
    """

    def escaped(found: re.Match[str]) -> str:
        return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]

    return re.sub(r"[^\x20-\x7e\n]", escaped, text)


def format_value(value: Any) -> str:
    """Return JSON data as text: ``a 1.5, b 0.6``; sorted keys, floats to four digits.

    Examples
    --------
    >>> from bench.report.tables.table import format_value
    >>> format_value({"b": 0.6, "a": 1.5})
    'a 1.5, b 0.6'
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {format_value(v)}" for k, v in sorted(value.items()))
    if isinstance(value, list | tuple):
        return ", ".join(map(format_value, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def seeds_text(seeds: Iterable[Seed]) -> str:
    """Return the number and list of seeds, ``3 (0, 1, 2)``; a dash if there are none.

    Examples
    --------
    >>> from bench.report.tables.table import seeds_text
    >>> seeds_text([0, 1, 2]), seeds_text([None])
    ('3 (0, 1, 2)', '–')
    """
    numbers = sorted(seed for seed in seeds if seed is not None)
    return f"{len(numbers)} ({', '.join(map(str, numbers))})" if numbers else DASH


def _value_or_dash(value: Any) -> str:
    return DASH if value is None else format_value(value)


def _one_group(lines: Sequence[TableLine]) -> tuple[tuple[TableLine, ...], ...]:
    return (tuple(lines),) if lines else ()


def _align(columns: Sequence[str], texts: int) -> str:
    """Alignment of columns: the first `texts` to the left, the numbers after them to the right."""
    return "l" * texts + "r" * (len(columns) - texts)


def _seed_text(seed: Seed) -> str:
    return DASH if seed is None else str(seed)
