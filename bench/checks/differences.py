"""Places where a file differs from what it should be, as short texts."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import escape_control, shortened

WINDOW = 90
"""The most characters shown of each side of a difference."""
NO_REPORTS = {"manifest.json", "plan.json"}
REPORTS = {".md", ".html", ".tex", ".csv", ".json", ".svg", ".png"}
"""The endings of reports, which some other files of a run have, too."""


@dataclass(frozen=True)
class Difference:
    """A place where a file does not agree with the stored outputs."""

    file: str
    place: str
    there: str
    expected: str

    def __str__(self) -> str:
        where = shortened(f"{self.file}:{self.place}", 2 * WINDOW, keep_end=True)
        return f"{where}: {self.there}, but the stored outputs give {self.expected}"


def text_differences(file: Path, rendered: Path) -> Iterator[Difference]:
    """Yield the lines in which a report differs from the one rendered from the records."""
    found, expected = file.read_bytes(), rendered.read_bytes()
    if found == expected:
        return
    try:
        one, two = (text.decode("utf-8").splitlines() for text in (found, expected))
    except UnicodeDecodeError:
        at = _first_difference(found, expected)
        sizes = f"other bytes from byte {at} on, {len(found)} in all", f"{len(expected)} bytes"
        yield Difference(file.name, "1", *sizes)
        return
    if one == two:
        yield Difference(file.name, "1", "other bytes", "the same lines")
    blocks = difflib.SequenceMatcher(None, one, two, autojunk=False).get_opcodes()
    for tag, a, b, c, d in blocks:
        if tag != "equal":
            texts = windows(" / ".join(one[a:b]), " / ".join(two[c:d]))
            yield Difference(file.name, str(a + 1), *(text or "nothing" for text in texts))


def _first_difference(one: Sequence[object], other: Sequence[object]) -> int:
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def windows(one: str, other: str) -> tuple[str, str]:
    """Return two texts; long ones are cut to the place of their first difference."""
    at = _first_difference(one, other)
    start = max(0, at - WINDOW // 3) if max(len(one), len(other)) > WINDOW else 0
    return _cut(one, start), _cut(other, start)


def _cut(text: str, start: int = 0) -> str:
    """Return at most `WINDOW` characters from `start` on, with control characters escaped."""
    part = escape_control(text[start : start + WINDOW])
    is_cut = start + WINDOW < len(text) or len(part) > WINDOW
    return ("..." if start else "") + part[:WINDOW] + ("..." if is_cut else "")


def first_line_differing(path: Path, expected: str) -> Iterator[Difference]:
    """Yield the first line of a long file that differs from the expected ones."""
    there = path.read_text(encoding="utf-8", errors="replace").splitlines()
    lines = expected.splitlines()
    if there != lines:
        at = _first_difference(there, lines)
        texts = (" / ".join(found[at : at + 1]) or "nothing" for found in (there, lines))
        yield Difference(path.name, str(at + 1), *windows(*texts))


def likely_reason(found: Sequence[Difference], elsewhere: Iterable[str]) -> str:
    """Return what may explain differences besides an edit, to follow a sentence; often nothing.

    `elsewhere` are the processors that measured, where this machine has none of them.
    """
    if all(Path(d.file).suffix in REPORTS and Path(d.file).name not in NO_REPORTS for d in found):
        return "; if another version of bench wrote the report, bench report RUN rebuilds it"
    if names := ", ".join(dict.fromkeys(elsewhere)):
        return (
            f"; the run was measured on {shortened(names, 80)}, which may round otherwise than "
            "this machine: a sample whose best classes are equal up to rounding can change sides, "
            "no more than that"
        )
    return ""
