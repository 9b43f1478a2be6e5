"""The data of the board's page: one JSON value that the page's script shows and never changes.

Its form: ``boards`` lists what can be chosen, one entry per suite, model and protocol (and one per
suite and model of published tables). An entry has the ``parameters`` of its model if they are
known, ``rows``, and ``views``, one per metric; a view has ``columns`` and ``cells`` as
[row][column]. The other entries explain names: ``methods``,
``sources`` (published tables), ``suites`` and ``glossary``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import starmap

from bench.core.errors import InputError
from bench.leaderboard.board import MEAN
from bench.leaderboard.published.baselines import same_data
from bench.leaderboard.published.places import MEANS, PLACES
from bench.report.document import Chapter
from bench.report.figures.style import colours_of, shapes_of
from bench.report.formats.board.cells import Data
from bench.report.formats.board.measured import MEAN_KEY, PRIMARY, measured_board
from bench.report.formats.board.methods import method_data
from bench.report.formats.board.published import (
    NOTE,
    PublishedCell,
    cells_on,
    published_board,
    published_cells,
    published_rows,
    sources,
)
from bench.report.formats.board.words import ADDING, CITATION, glossary, suite_data
from bench.report.glossary import INTRODUCTION

Parameters = Callable[[str], Mapping[str, int] | None]
"""Counts the parameters of a model by its name, the ``whole`` and the ``image`` tower's."""


def board_view(
    chapters: Sequence[Chapter],
    runs: Sequence[Data] = (),
    *,
    all_published: bool = False,
    parameters: Parameters = lambda model: None,
) -> Data:
    """Return the data of a board of measured chapters and of the numbers in published tables.

    Published rows stand beside measured ones where these are of the same images. They also have
    boards of their own: those on suites that were measured, or `all_published`. `runs` describes
    the folders that the chapters come from: ``name``, ``keys`` (of `Board`) and ``links`` by name.

    Raises InputError if there is nothing to show.

    Examples
    --------
    >>> from bench.report.document import document
    >>> from bench.report.formats.board.view import board_view
    >>> from bench.testing.fakes import fake_records
    >>> view = board_view(document(fake_records()).chapters)
    >>> [(board["suite"], board["model"], len(board["rows"])) for board in view["boards"]]
    [('fake', 'fake/none', 3)]
    """
    suites = {chapter.numbers.board.suite for chapter in chapters}
    printed = {
        place: cells
        for place, cells in published_cells().items()
        if all_published or place[0] in suites
    }
    boards = []
    for chapter in chapters:
        board = measured_board(chapter)
        board["runs"] = [run["name"] for run in runs if chapter.numbers.key in run["keys"]]
        model, *_ = board["model"].partition(", imported ")  # a released checkpoint of the same
        cells = printed.get((board["suite"], model), [])
        if cells and same_data(chapter.numbers):
            _put_beside(board, cells, chapter)
        boards.append(board)
    boards += sorted(starmap(published_board, printed.items()), key=_methods, reverse=True)
    if not boards:
        raise InputError("no records and no published tables to show: name a finished run")
    for board in boards:
        _style(board["rows"])
        board["parameters"] = parameters(board["model"])
    labels = dict.fromkeys(row["method"] for board in boards for row in board["rows"])
    cards = {label: card for label in labels if (card := method_data(label)) is not None}
    used = {row["source"] for board in boards for row in board["rows"] if "source" in row}
    return {
        "introduction": INTRODUCTION,
        "first": max(range(len(boards)), key=lambda at: _weight(boards[at])),
        "boards": boards,
        "methods": cards,
        "sources": {name: about for name, about in sources().items() if name in used},
        "suites": suite_data(board["suite"] for board in boards),
        "glossary": glossary(chapters, cards),
        "runs": {run["name"]: run["links"] for run in runs},
        "citation": CITATION,
        "adding": ADDING,
    }


def _weight(board: Data) -> tuple[bool, int]:
    """What is shown first: the measured board with the most rows."""
    return board["measured"], len(board["rows"])


def _methods(board: Data) -> int:
    """How many rows of methods a board has: where most are compared is shown first of a suite."""
    return sum(row["role"] == "method" for row in board["rows"])


def _put_beside(board: Data, cells: Sequence[PublishedCell], chapter: Chapter) -> None:
    """Add published rows after the measured ones that they correspond to, else at the end."""
    rows, rest = board["rows"], published_rows(cells)
    order: list[tuple[int | None, Data]] = []
    for at, row in enumerate(rows):
        order.append((at, row))
        own = [other for other in rest if other.get("ours") == row["key"]]
        order += [(None, other | {"section": row["section"]}) for other in own]
        rest = [other for other in rest if other not in own]
    order += [(None, row) for row in rest]
    board["rows"] = [row for _, row in order]
    for view in board["views"]:
        names = {view["name"]}
        if view["name"] == PRIMARY:
            names |= {cell.claim.column.metric for cell in cells} - {"ece"}
        shown = [cell for cell in cells if cell.view in names]
        columns = [column["key"] for column in view["columns"]]
        if not _same_mean(chapter):
            columns = ["" if key == MEAN_KEY else key for key in columns]
        keys = [row["key"] for at, row in order if at is None]
        printed = dict(zip(keys, cells_on(shown, keys, columns), strict=True))
        view["cells"] = [
            printed[row["key"]] if at is None else view["cells"][at] for at, row in order
        ]
        view["notes"] = [*view["notes"], NOTE]


def _same_mean(chapter: Chapter) -> bool:
    """Whether the published means are over the shifts of the board's mean."""
    board = chapter.numbers.board
    shifts = {PLACES[name].shift for name in MEANS["avg5"]}
    return board.over_shifts == MEAN and set(board.over) == shifts


def _style(rows: Sequence[Data]) -> None:
    """Give each row the colour of its method and the shape of its base in figures."""
    colours = colours_of(row["method"] for row in rows)
    shapes = shapes_of(row.get("base") for row in rows)
    for row in rows:
        row["colour"], row["shape"] = colours[row["method"]], shapes[row.get("base")]
