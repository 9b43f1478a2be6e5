"""The reproduction ledger as a table, for ``bench check``, reports and the results pages."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from bench.core.records import MissingCell, Record
from bench.leaderboard.board import Board
from bench.leaderboard.published.ledger import LedgerEntry, count_verdicts, ledger
from bench.leaderboard.published.places import MODELS, PLACES
from bench.leaderboard.published.tables import Claim, PublishedTable, published_tables
from bench.report.tables.table import DASH, Table, TableCell, TableLine

MARK = "*"
"""Mark after a cell that a remark is about."""


def ledger_table(published: PublishedTable, entries: Iterable[LedgerEntry]) -> Table:
    """Return the reproduction ledger: claim, ours, difference, tolerance and verdict per cell.

    A row is a single line if none of its cells was attempted and all have the same reason.

    Examples
    --------
    >>> from bench.leaderboard.published.ledger import ledger
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> from bench.report.tables.ledger import ledger_table
    >>> table = find_published_table("vrf-table1")
    >>> [cell.text for cell in ledger_table(table, ledger(table, [])).groups[0][0].items][-1]
    'not attempted: no record of top1'
    """
    several = len(published.backbones) > 1
    groups: list[tuple[TableLine, ...]] = []
    for (backbone, name), found in groupby(entries, lambda e: (e.claim.backbone, e.claim.row.name)):
        same = list(found)
        title = TableCell(f"{name}, {backbone}" if several else name)
        reasons = {(entry.verdict, entry.reason) for entry in same}
        if len(same) > 1 and same[0].verdict == "not attempted" and len(reasons) == 1:
            summary = (
                TableCell(f"all {len(same)}"),
                *[TableCell(DASH)] * 4,
                TableCell(_verdict(same[0])),
            )
            groups.append((TableLine((title, *summary)),))
        else:
            groups.append(tuple(TableLine((title, *_compared(entry))) for entry in same))
    columns = ("Row", "Set", "Claim", "Ours", "Difference", "Tolerance", "Verdict")
    return Table(f"Compared with {published.title}", columns, "llrrrrl", tuple(groups))


def run_ledger_tables(
    board: Board,
    records: Sequence[Record],
    missing: Sequence[MissingCell],
    evidence: Container[Record] = (),
) -> Iterator[Table]:
    """Yield the ledger of every published table of the board's suite and model; often none.

    `records` and `missing` are those of the board. `evidence` holds the records that stored samples
    support (see `bench.leaderboard.published.ledger.ledger`).

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.report.tables.ledger import run_ledger_tables
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records())
    >>> list(run_ledger_tables(board, fake_records(), []))  # no published table is of this suite
    []
    """
    for published in published_tables().values():
        places = (PLACES.get(column.dataset) for column in published.columns)
        models = [MODELS[name] for name in published.backbones]
        if any(place and place.suite == board.suite for place in places) and any(
            board.model == model or board.model.startswith(f"{model}, imported ")
            for model in models
        ):
            entries = ledger(published, records, missing, evidence=evidence)
            table = ledger_table(published, entries)
            counts = ", ".join(
                f"{number} {verdict}" for verdict, number in count_verdicts(entries).items()
            )
            yield replace(table, note=f"Cells: {counts}.", name="published")


def describe_entry(entry: LedgerEntry) -> str:
    """Describe an attempted cell: ``vrf:lp-ft on avg5 46.23, claimed 51.8 ± 0.95``.

    Examples
    --------
    >>> from bench.leaderboard.published.ledger import LedgerEntry
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> from bench.report.tables.ledger import describe_entry
    >>> claim = find_published_table("vrf-table1").claims[0]
    >>> describe_entry(LedgerEntry(claim, "reproduced", ours=0.634, seeds=1, tolerance=0.01))
    'zero-shot on imagenet 63.40, claimed 63.3 ± 1.00'
    """
    _, claim, ours, _, tolerance, _ = _compared(entry)
    where = f"{entry.claim.row.name} on {entry.claim.column.name}"
    return f"{where} {ours.text}, claimed {claim.text} ± {tolerance.text}"


def _compared(entry: LedgerEntry) -> tuple[TableCell, ...]:
    """Cells of a ledger line after its title; numbers in the claim's unit with one more digit."""
    claim = entry.claim
    digits = len(claim.text.partition(".")[2]) + 1

    def number(value: float | None, sign: str = "") -> TableCell:
        shown = DASH if value is None else f"{value * claim.factor:{sign}z.{digits}f}"
        return TableCell(shown)

    return (
        TableCell(claim.column.name),
        claim_item(claim),
        number(entry.ours),
        number(entry.difference, "+"),
        number(entry.tolerance),
        TableCell(_verdict(entry), strong=entry.verdict == "reproduced"),
    )


def _verdict(entry: LedgerEntry) -> str:
    return f"{entry.verdict}: {entry.reason}" if entry.reason else entry.verdict


def claim_item(claim: Claim | None) -> TableCell:
    """Return a claim as printed, marked if a remark is about it; a dash if there is none.

    Examples
    --------
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> from bench.report.tables.ledger import claim_item
    >>> claim_item(find_published_table("vrf-table1").claims[0]).text, claim_item(None).text
    ('63.3', '–')
    """
    if claim is None:
        return TableCell(DASH)
    has_remark = any(remark.rows and remark.columns for remark in claim.remarks)
    return TableCell(claim.text, MARK if has_remark else "")
