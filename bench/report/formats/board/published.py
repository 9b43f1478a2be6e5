"""The published boards of the page: what papers print on the sets of a suite with one model.

Printed digits stay as they are, except that fractions are shown in percent by moving the point.
Nothing published is ranked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.api.metrics import ACCURACY, OWN
from bench.api.registry import datasets
from bench.leaderboard.board import ID, MEAN, scale_of
from bench.leaderboard.published.places import MEANS, MODELS, PLACES
from bench.leaderboard.published.tables import (
    Claim,
    PublishedColumn,
    PublishedTable,
    published_tables,
)
from bench.report.formats.board.cells import Data, cell_data
from bench.report.formats.board.measured import ALONE, MEAN_KEY, PRIMARY
from bench.report.formats.board.methods import method_data, method_id
from bench.report.published_tables import reproduction_commands
from bench.report.tables.ledger import claim_item
from bench.report.tables.table import TableCell

PROTOCOL = "as published"
"""What stands for the protocol of numbers that papers print."""
ROLES = {
    "given": "(fixed parameters)",
    "oracle": "(chosen on the test sets)",
    "method": "",
}
"""What follows the title of a published row, by its role."""
NOTE = (
    "Published numbers are copied digit by digit and were not measured by bench. Tables differ in "
    "training, prompts and choice of parameters, so nothing here is ranked."
)


@dataclass(frozen=True)
class PublishedCell:
    """A printed number at its place on the board: the key of its column and its claim.

    Examples
    --------
    >>> from bench.report.formats.board.published import published_cells
    >>> place, cells = next(iter(published_cells().items()))
    >>> place, cells[0].key, cells[0].claim.text
    (('imagenet', 'ViT-B-32-quickgelu/laion400m_e32'), 'id', '62.934')
    """

    table: PublishedTable
    key: str
    claim: Claim

    @property
    def row(self) -> str:
        """The key of its row on the board."""
        return f"{self.table.name}/{self.claim.row.name}"

    @property
    def view(self) -> str:
        """The name of its metric's view."""
        column = self.claim.column
        return f"{column.metric} w/ TS" if column.scaled else column.metric


Place = tuple[str, str]
"""Suite and model."""


def published_cells() -> Mapping[Place, list[PublishedCell]]:
    """Return the cells of all published tables by suite and model, in printed order.

    Examples
    --------
    >>> from bench.report.formats.board.published import published_cells
    >>> len(published_cells()["imagenet", "ViT-B-32/openai"]) > 70
    True
    """
    found: dict[Place, list[PublishedCell]] = defaultdict(list)
    for table in published_tables().values():
        for claim in table.claims:
            suite, key = _place(claim.column)
            found[suite, MODELS[claim.backbone]].append(PublishedCell(table, key, claim))
    return found


def published_board(place: Place, cells: Sequence[PublishedCell]) -> Data:
    """Return the published numbers of a suite and model as a board of the page.

    Examples
    --------
    >>> from bench.report.formats.board.published import published_board, published_cells
    >>> place = ("imagenet", "ViT-B-32/openai")
    >>> board = published_board(place, published_cells()[place])
    >>> board["rows"][1]["name"], board["views"][0]["columns"][0]
    ('Zero-shot', {'key': 'id', 'label': 'ID'})
    """
    suite, model = place
    counts = {"row": len(_names(cells)), "published table": len({c.table.name for c in cells})}
    rows, tables = (f"{count} {what}{'s' * (count > 1)}" for what, count in counts.items())
    keys = _ordered(suite, cells)
    views = []
    for name, of_view in _views(cells).items():
        shown = [key for key in keys if any(cell.key == key for cell in of_view)]
        metrics = {cell.key: cell.claim.column.metric for cell in of_view}
        first = scale_of(next(iter(metrics.values())))
        how = " w/ TS" if name.endswith("w/ TS") else ""
        title = "Accuracy or a set's own metric" if name == PRIMARY else f"{first.title}{how}"
        views.append(
            {
                "name": name,
                "title": title,
                "unit": first.unit,
                "higher": first.higher_is_better,
                "columns": [{"key": k, "label": _label(k, metrics[k], name)} for k in shown],
                "reason": "",
                "notes": [NOTE],
                "cells": cells_on(of_view, _names(cells), shown),
            }
        )
    return {
        "suite": suite,
        "model": model,
        "protocol": PROTOCOL,
        "measured": False,
        "runs": [],
        "summary": f"{rows} printed in {tables}. None was measured by bench, and none is ranked.",
        "warnings": [],
        "marks": ["published, not measured"],
        "caveats": [],
        "facts": [["Suite", suite], ["Model", model]],
        "rows": published_rows(cells),
        "views": views,
    }


def published_rows(cells: Sequence[PublishedCell]) -> list[Data]:
    """Return the rows of published cells, each once, in printed order.

    Examples
    --------
    >>> from bench.report.formats.board.published import published_cells, published_rows
    >>> rows = published_rows(published_cells()["imagenet", "ViT-B-32/openai"])
    >>> rows[1]["key"], rows[1]["role"], rows[1]["source"]
    ('vrf-table1/zero-shot', 'method', 'vrf-table1')
    """
    first = {cell.row: cell for cell in reversed(cells)}
    bases = {(cell.table.name, cell.claim.row.base) for cell in cells}
    found = []
    for key in _names(cells):
        row, table = first[key].claim.row, first[key].table
        role = "oracle" if row.in_hindsight else "given" if row.given else "method"
        is_base = (table.name, row.method) in bases and row.base is None
        method, base = _title(row.method), _title(row.base or "")
        smoothed = " w/ LS" if row.modifiers.get("label_smoothing") else ""
        given = ", ".join(f"{name} {value:g}" for name, value in row.given.items())
        about: Data = {
            "key": key,
            "ours": row.ours,
            "name": f"{method}{smoothed}" + (f" on {base}" if base else ""),
            "label": row.label.replace(" (ours)", ""),  # it is the paper's
            "method": method_id(row.method),
            "base": base,
            "group": base or (method if is_base else ALONE),
            "section": table.title,
            "role": role,
            "mark": ROLES[role],
            "source": table.name,
            "chosen": given,
            "choices": {name: str(value) for name, value in row.modifiers.items()},
        }
        found.append({name: value for name, value in about.items() if value})
    return found


def _title(name: str) -> str:
    card = method_data(method_id(name))
    return name if card is None else str(card["title"])


def cells_on(
    cells: Iterable[PublishedCell], rows: Sequence[str], columns: Sequence[str]
) -> list[list[Data | None]]:
    """Return published cells as [row][column], for rows and columns by key.

    Examples
    --------
    >>> from bench.report.formats.board.published import cells_on, published_cells
    >>> cells = published_cells()["imagenet", "ViT-B-32/openai"]
    >>> cells_on(cells, ["vrf-table1/zero-shot"], ["id", "nowhere"])
    [[{'t': '63.3', 'v': 63.3}, None]]
    """
    at = {(cell.row, cell.key): cell for cell in reversed(list(cells))}
    return [[_cell(at.get((row, column))) for column in columns] for row in rows]


def sources() -> Data:
    """Return what is known of every published table, by name, for those who read its numbers.

    Examples
    --------
    >>> from bench.report.formats.board.published import sources
    >>> sources()["vrf-table1"]["title"]
    "VRF's Table 1"
    """
    found = {}
    for name, table in published_tables().items():
        source, conditions = table.source, table.conditions
        arxiv = f"https://arxiv.org/abs/{source.arxiv}" if source.arxiv else ""
        about = {
            "title": table.title,
            "paper": source.paper,
            "where": source.table,
            "link": source.url or arxiv,
            "read": source.seen_in,
            "second": source.secondary,
            "chosen": conditions.chosen,
            "training": conditions.training,
            "ece": conditions.ece,
            "protocol": conditions.ours,
            "commands": reproduction_commands(table),
        }
        found[name] = {k: v for k, v in about.items() if v}
    return found


def _cell(cell: PublishedCell | None) -> Data | None:
    if cell is None:
        return None
    claim, item = cell.claim, claim_item(cell.claim)
    value, text, remarks = claim.value, claim.text, [remark.text for remark in claim.remarks]
    own = [remark.text for remark in claim.remarks if remark.rows or remark.columns]
    if claim.column.unit == "fraction":
        value = value.scaleb(2)
        text, remarks = f"{value:f}", [f"printed as {claim.text}", *own]
    else:
        remarks = own
    return cell_data(TableCell(text, sign=item.small), float(value), reasons=remarks)


def _names(cells: Iterable[PublishedCell]) -> list[str]:
    return list(dict.fromkeys(cell.row for cell in cells))


def _place(column: PublishedColumn) -> Place:
    """The suite and the key of the board's column that a published column belongs to."""
    if column.dataset == "avg5":
        return PLACES[MEANS["avg5"][0]].suite, MEAN_KEY
    if column.dataset in MEANS:
        return PLACES[MEANS["avg5"][0]].suite, column.dataset
    known = PLACES.get(column.dataset)
    return (known.suite, known.shift) if known else (column.suite, column.dataset)


def _ordered(suite: str, cells: Sequence[PublishedCell]) -> list[str]:
    """The keys of columns: ID, the suite's shifts in order, others, and the means last."""
    there = list(dict.fromkeys(cell.key for cell in cells))
    known = [ID, *(datasets()[suite].card.shifts if suite in datasets() else ())]
    means = [key for key in there if key == MEAN_KEY or key in MEANS]
    others = [key for key in there if key not in known and key not in means]
    return [*(key for key in known if key in there), *others, *sorted(means, reverse=True)]


def _views(cells: Sequence[PublishedCell]) -> Mapping[str, list[PublishedCell]]:
    """Cells by view; metrics that only some sets have share the first one with accuracy."""
    own = {cell.key for cell in cells if cell.claim.column.metric in OWN}
    found: dict[str, list[PublishedCell]] = {}
    if own:
        found[PRIMARY] = [
            cell
            for cell in cells
            if cell.claim.column.metric in OWN
            or (cell.view == ACCURACY.name and cell.key not in own)
        ]
    for cell in cells:
        if cell.claim.column.metric not in OWN:
            found.setdefault(cell.view, []).append(cell)
    places = [{(c.row, c.key) for c in found.get(v, ())} for v in (ACCURACY.name, PRIMARY)]
    if own and places[0] <= places[1]:
        found.pop(ACCURACY.name, None)
    return found


def _label(key: str, metric: str, view: str) -> str:
    if key == ID:
        label = "ID"
    elif key == MEAN_KEY:
        label = MEAN
    else:
        label = "mean of ID and OOD mean" if key in MEANS else key
    own = f" ({scale_of(metric).title})" if view == PRIMARY and metric in OWN else ""
    return label + own
