"""Write the board of folders of runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from urllib.parse import quote

from bench.core.errors import InputError
from bench.core.foreign.files import read_bounded
from bench.core.paths import check_writable, write_atomic
from bench.leaderboard.board import BoardKey
from bench.report.formats.board.cells import Data
from bench.report.formats.board.page import board_html
from bench.report.formats.board.view import Parameters, board_view
from bench.report.glossary import path_to_root
from bench.report.run_folder import RECORDS, ReportSources

LINKED = {"report": "report.html", "records": RECORDS}
"""The files of a run that the board links, by what it calls them."""
MARK = b'<body class="board">'
"""What tells a board from other files."""


def write_board(
    path: Path, runs: Sequence[Path], parameters: Parameters = lambda model: None
) -> Path:
    """Write the board of finished runs into a file, atomically; return its path.

    Runs of the same suite, model and protocol share a leaderboard. Raises InputError if the file
    exists and is no board, or if the runs cannot be read or contradict each other; DataError if
    samples are damaged. Nothing is written then.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.records import records_text
    >>> from bench.report.formats.board.folder import write_board
    >>> from bench.testing.fakes import fake_records
    >>> Path("run").mkdir()
    >>> _ = Path("run/records.jsonl").write_text(records_text(fake_records()))
    >>> write_board(Path("board.html"), [Path("run")]).name
    'board.html'
    """
    check_writable(path.parent, "folder of the board")
    if path.is_dir():
        raise InputError(f"--out {path} is a folder: name a file such as {path / 'board.html'}")
    if path.exists() and MARK not in read_bounded(path):
        raise InputError(f"--out {path} exists and is no board: choose another file")
    distinct = {run.resolve(): run for run in runs}  # a folder may be named in several ways
    content, keys = ReportSources(tuple(distinct.values())).content()
    about = described_runs(path.parent, keys)
    view = board_view(content.chapters, about, parameters=parameters)
    page = board_html(view, root=path_to_root(path.parent))
    write_atomic(path, page.encode("utf-8", "backslashreplace"))
    return path


def described_runs(folder: Path, keys: Mapping[Path, frozenset[BoardKey]]) -> list[Data]:
    """Return what a board in `folder` says of runs: names, leaderboards and links to their files.

    Runs whose folders have the same name are told apart by the folders above. Files are linked of
    runs below `folder` alone: others would be lost, and the way to them told, with a page that is
    passed on.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.report.formats.board.folder import described_runs
    >>> Path("my run").mkdir()
    >>> Path("my run/records.jsonl").touch()
    >>> described_runs(Path(), {Path("my run"): frozenset()})[0]["links"]
    {'records': './my%20run/records.jsonl'}
    """
    places, root = {run: run.resolve() for run in keys}, folder.resolve()
    found = []
    for run, place in places.items():
        links = {}
        if place.is_relative_to(root):
            way = quote(os.fsencode(place.relative_to(root).as_posix()))  # of any bytes
            links = {w: f"./{way}/{file}" for w, file in LINKED.items() if (run / file).is_file()}
        name = _name_apart(place, {*places.values()} - {place})
        found.append({"name": name, "keys": keys[run], "links": links})
    return found


def _name_apart(place: Path, others: Set[Path]) -> str:
    """Return as many last parts of a path as tell it from others."""
    size = 1
    while size < len(place.parts) and any(o.parts[-size:] == place.parts[-size:] for o in others):
        size += 1
    return "/".join(place.parts[-size:])
