"""What a run shows while it works: a live table and bars in a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bars
from rich.progress import Task as Bar
from rich.text import Text

from bench.core.progress import Progress, ProgressTask, SilentProgress
from bench.core.records import MissingCell, Record
from bench.core.streams import print_line
from bench.leaderboard.build import build_boards
from bench.leaderboard.published.layouts import Preset
from bench.leaderboard.severities import merge_severities
from bench.report.tables.leaderboard import prompts_sentence
from bench.report.tables.paper_layout import paper_table
from bench.report.tables.table import printable
from bench.report.tables.terminal import terminal_paper_table, terminal_table

QUIET_SECONDS = 2.0
"""Shorter work is not reported."""


class _LeftColumn(ProgressColumn):
    """How much is done and how long the rest takes; empty for work of one step."""

    def render(self, task: Bar) -> Text:
        if task.total is None:
            return Text()
        left = task.time_remaining
        soon = "" if left is None else f", about {left:.0f} s left"
        return Text(f"{task.completed:,.0f} of {task.total:,.0f}{soon}")


@dataclass(frozen=True)
class _BarTask:
    bars: Bars
    number: TaskID
    whole: TaskID | None
    work: float

    def advance(self, count: int) -> None:
        self.bars.advance(self.number, count)
        if self.whole is not None:
            self.bars.advance(self.whole, count * self.work)


@dataclass
class TerminalDisplay:
    """A live display: the leaderboard so far, and progress bars for the current work and for all.

    `work` is that of the whole run, in forward passes of an image.

    Examples
    --------
    >>> import io
    >>> from rich.console import Console
    >>> from bench.front.display import TerminalDisplay
    >>> from bench.testing.fakes import fake_records
    >>> with TerminalDisplay(Console(file=io.StringIO()), expected=[]) as display:
    ...     for record in fake_records():
    ...         display.measured(record)
    ...
    >>> len(display.records)
    9
    """

    output: Console
    expected: Sequence[MissingCell]
    work: float = 0.0
    records: list[Record] = field(default_factory=list)

    def __enter__(self) -> TerminalDisplay:
        self.bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            _LeftColumn(),
            console=self.output,
        )
        whole = self.bars.add_task("all work", total=self.work) if self.work else None
        self.whole: TaskID | None = whole
        self.live = Live(self._shown(), console=self.output, transient=True, refresh_per_second=4)
        self.live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.__exit__(None, None, None)

    @contextmanager
    def task(self, label: str, total: int, work: float = 0.0) -> Iterator[ProgressTask]:
        """A bar while the work lasts; a pulsing one for work of one step."""
        number = self.bars.add_task(printable(label), total=total if total > 1 else None)
        try:
            yield _BarTask(self.bars, number, self.whole, work)
        finally:
            self.bars.remove_task(number)

    def measured(self, record: Record) -> None:
        """Fill a cell of the table."""
        if record.metric == record.primary_metric:
            self.records.append(record)
            self.live.update(self._shown())

    def _shown(self) -> Group:
        found = build_boards(*merge_severities(self.records, self.expected))
        tables = [terminal_table(board, self.output.width) for board in found]
        return Group(*tables, self.bars)


@dataclass
class _Whole:
    """All work of a run, and how much of it is done, in forward passes of an image."""

    total: float
    done: float = 0.0
    seconds: float = 0.0

    def left(self) -> str:
        """How long the rest takes, at the pace so far; empty if that is not known."""
        if not 0 < self.done < self.total:
            return ""
        return f"; about {self.seconds * (self.total - self.done) / self.done:.0f} s left in all"


@dataclass
class _LineTask:
    label: str
    total: int
    whole: _Whole
    work: float
    started: float = field(default_factory=time.monotonic)
    reported: float = field(default_factory=time.monotonic)
    advanced: float = field(default_factory=time.monotonic)
    done: int = 0

    def advance(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        self.whole.done += count * self.work
        self.whole.seconds += (now - self.advanced) if self.work else 0.0
        self.advanced = now
        if now - self.reported > 5 * QUIET_SECONDS and 0 < self.done < self.total:
            left = (now - self.started) * (self.total - self.done) / self.done
            text = f"{self.label}: {self.done}/{self.total}, about {left:.0f} s left"
            text += self.whole.left()
            print_line(text, sys.stderr)
            self.reported = now


@dataclass
class LineDisplay:
    """Plain lines on standard error, for logs. `work` is as in `TerminalDisplay`.

    Examples
    --------
    >>> from bench.front.display import LineDisplay
    >>> with LineDisplay() as display, display.task("features of mini/test", total=2000) as task:
    ...     task.advance(2000)
    ...
    """

    work: float = 0.0

    def __enter__(self) -> LineDisplay:
        self.whole = _Whole(self.work)
        return self

    def __exit__(self, *error: object) -> None:
        pass

    @contextmanager
    def task(self, label: str, total: int, work: float = 0.0) -> Iterator[ProgressTask]:
        """A line now and then during long work, and one at its end."""
        task = _LineTask(label, total, self.whole, work)
        yield task
        seconds = time.monotonic() - task.started
        if seconds > QUIET_SECONDS:
            print_line(f"{label}: done in {seconds:.0f} s", sys.stderr)

    def measured(self, record: Record) -> None:
        """Do nothing: the table comes at the end."""


Display = TerminalDisplay | LineDisplay


def make_display(
    expected: Sequence[MissingCell], quiet: bool, work: float = 0.0
) -> AbstractContextManager[Display]:
    """The display that suits standard error; `expected` are the cells that the run will fill.

    `work` is that of the whole run, in forward passes of an image.

    Examples
    --------
    >>> from bench.front.display import make_display
    >>> type(make_display(expected=[], quiet=True)).__name__
    'LineDisplay'
    """
    output = Console(stderr=True)
    if output.is_terminal and not quiet:
        return TerminalDisplay(output, expected, work)
    return LineDisplay(work)


def live_display(
    expected: Sequence[MissingCell], progress: bool | None, work: float = 0.0
) -> AbstractContextManager[Progress]:
    """A live display for Python, or silence; None shows it in terminals and notebooks only.

    Examples
    --------
    >>> from bench.front.display import live_display
    >>> from bench.testing.fakes import fake_records
    >>> with live_display(expected=[], progress=False) as progress:
    ...     progress.measured(fake_records()[0])
    ...
    """
    output = Console(stderr=True)
    is_shown = output.is_terminal or output.is_jupyter if progress is None else progress
    return TerminalDisplay(output, expected, work) if is_shown else nullcontext(SilentProgress())


def leaderboards_text(
    records: Sequence[Record], missing: Sequence[MissingCell], presets: Sequence[Preset] = ()
) -> str:
    """All leaderboards as text for standard output, coloured if that is a terminal.

    The tables of `presets` come before the leaderboards whose rows they show.

    Examples
    --------
    >>> from bench.front.display import leaderboards_text
    >>> from bench.testing.fakes import fake_records
    >>> text = leaderboards_text(fake_records(), missing=[])
    >>> "VRF" in text, "WiSE-FT" in text
    (True, False)
    """
    output = Console()
    records, missing = merge_severities(records, missing)
    found = [paper_table(preset, records, missing) for preset in presets]
    with output.capture() as captured:
        for board in build_boards(records, missing):
            for content in (made[board.key] for made in found if board.key in made):
                output.print(terminal_paper_table(content, output.width))
            output.print(terminal_table(board, output.width))
            if line := prompts_sentence(board):
                output.print(Text(printable(line)))
    return captured.get().rstrip("\n")
