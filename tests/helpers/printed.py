"""For tests: the averages in published tables, compared with the cells that they average."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from bench.leaderboard.published.places import MEANS
from bench.leaderboard.published.tables import Claim, PublishedTable


def averages(table: PublishedTable) -> Iterator[tuple[Claim, Decimal, Decimal]]:
    """Yield (printed average, mean of its cells, largest difference that rounding can cause)."""
    cells = {(c.backbone, c.row.name, c.column.name): c for c in table.claims}
    for claim in table.claims:
        parts = MEANS.get(claim.column.dataset)
        if parts is None:
            continue
        names = (claim.column.name.replace(claim.column.dataset, part, 1) for part in parts)
        found = [cells.get((claim.backbone, claim.row.name, name)) for name in names]
        whole = [cell for cell in found if cell is not None]
        if len(whole) == len(parts):
            mean = sum((c.value for c in whole), Decimal(0)) / len(whole)
            slack = sum((c.half_unit for c in whole), Decimal(0)) / len(whole) + claim.half_unit
            yield claim, mean, slack
