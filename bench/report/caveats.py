"""The caveats of a leaderboard: what a reader should know of the data, the model and the rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from bench.core.records import Record
from bench.leaderboard.board import Board, BoardRow, Seed
from bench.report.tables.leaderboard import full_name

SHARED = ("run", "model", "prompts", "train", "selection", "evaluation")
"""What caveats concern that hold for every row, in the order of reports."""
NAMED = 3
"""The most rows that are named with a caveat; the others are counted."""


def caveat_sentences(board: Board, records: Iterable[Record]) -> tuple[str, ...]:
    """Return each caveat of a leaderboard's records once, as a sentence.

    Those of rows come last and begin with the names of the rows and their seeds.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.report.caveats import caveat_sentences
    >>> from bench.testing.fakes import fake_records
    >>> caveats = {"train": ["2 files were passed over."], "row": ["The loss did not fall."]}
    >>> records = [
    ...     record.model_copy(update={"provenance": {"caveats": caveats}})
    ...     for record in fake_records({"e2e-ft": (0.8, 0.4)}, shifts=["v2"])
    ... ]
    >>> (board,) = build_boards(records)
    >>> caveat_sentences(board, records)
    ('2 files were passed over.', 'E2E-FT, seed 0: The loss did not fall.')
    """
    found: dict[str, dict[str, None]] = {name: {} for name in SHARED}
    of_rows: dict[str, dict[BoardRow, set[Seed]]] = defaultdict(lambda: defaultdict(set))
    rows = {(row.method, row.base): row for row in board.rows}
    for record in sorted(records, key=lambda record: record.order):
        stated = record.provenance.get("caveats", {})
        for name in SHARED:
            found[name] |= dict.fromkeys(stated.get(name, ()))
        row = rows.get((record.method, record.base))
        if row is not None:
            for text in stated.get("row", ()):
                of_rows[text][row].add(record.seed)
    shared = dict.fromkeys(text for texts in found.values() for text in texts)
    owned = (f"{_names(board, of_rows[text])}: {text}" for text in sorted(of_rows))
    return (*shared, *owned)


def _names(board: Board, concerned: dict[BoardRow, set[Seed]]) -> str:
    ordered: Sequence[BoardRow] = [row for row in board.rows if row in concerned]
    names = ", ".join(full_name(board, row) for row in ordered[:NAMED])
    more = f" and {len(ordered) - NAMED} more" if len(ordered) > NAMED else ""
    seeds = {seed for row in ordered for seed in concerned[row] if seed is not None}
    plural = "" if len(seeds) == 1 else "s"
    listed = ", ".join(map(str, sorted(seeds)))
    return f"{names}{more}" + (f", seed{plural} {listed}" if seeds else "")
