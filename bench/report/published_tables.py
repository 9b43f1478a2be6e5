"""Published tables (`bench.leaderboard.published.tables`) in the terminal and in Markdown.

The same table, line and cell values as for bench's own numbers; the digits are the printed ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from shutil import get_terminal_size

from rich.console import Console

from bench.leaderboard.published.layouts import PRESETS
from bench.leaderboard.published.tables import (
    MEANS,
    MODELS,
    PLACES,
    Claim,
    PublishedGroup,
    PublishedRow,
    PublishedTable,
    Remark,
)
from bench.report.formats.text import escape, markdown_table
from bench.report.tables.ledger import MARK, claim_item
from bench.report.tables.table import Kind, Table, TableCell, TableLine
from bench.report.tables.terminal import WIDEST_ANYWHERE, terminal_paper_table

WHOLE = 160
"""Columns of a terminal in which every published table is shown whole."""


def as_table(published: PublishedTable) -> Table:
    """The table with its printed digits and titles; difference rows are as printed, too.

    Where it has several backbones each group is under the name of its own.
    """
    claims = {
        (claim.backbone, claim.row.name, claim.column.name): claim
        for claim in (*published.claims, *published.differences)
    }
    several = len(published.backbones) > 1
    groups = []
    for group in published.groups:
        head = (TableLine((TableCell(group.backbone),), "head"),) if several else ()
        lines = (_line(published, group, row, claims) for row in group.rows)
        groups.append((*head, *lines))
    labels = tuple(column.label for column in published.columns)
    units = " and ".join(dict.fromkeys(column.unit for column in published.columns))
    what = ", ".join((*published.suites, *published.backbones))
    caption = f"{published.title} ({what}; {units})"
    return Table(caption, ("Method", *labels), "l" + "r" * len(labels), tuple(groups))


def published_text(published: PublishedTable) -> str:
    """The table and all that is known of it for the terminal; wide tables are never cut."""
    content = as_table(published)
    wide = len(content.columns) > WIDEST_ANYWHERE
    facts = [f"{name}: {said}" for name, said in _facts(published)]
    remarks = [f"- {_said(remark)}" for remark in published.remarks]
    lines = reproduction_commands(published)
    mine = [f"ours: {line}" for line in lines] or ["ours: no run of bench is comparable with it"]
    return "\n".join((render_table(content, wide=wide), "", *facts, *remarks, *mine))


def render_table(content: Table, *, wide: bool) -> str:
    """A table for the terminal, coloured if it is one; whole in any if it is `wide`."""
    width = get_terminal_size().columns
    output = Console(width=max(width, WHOLE))
    with output.capture() as captured:
        output.print(terminal_paper_table(content, output.width if wide else width))
    return captured.get().rstrip("\n")


def published_markdown(published: PublishedTable) -> str:
    """The table as Markdown, with its source, its conditions and its remarks."""
    facts = (f"- {escape(name)}: {escape(said)}" for name, said in _facts(published))
    remarks = (f"- {escape(_said(remark))}" for remark in published.remarks)
    parts = (
        f"### {escape(published.title)}",
        markdown_table(as_table(published)),
        "\n".join((*facts, *remarks)),
    )
    return "\n\n".join(parts) + "\n"


def reproduction_commands(published: PublishedTable) -> tuple[str, ...]:
    """The command lines that make our rows of it, for each backbone, and compare them.

    None if no cell can be compared with a run of bench.
    """
    places = [column.dataset for column in published.columns]
    sets = [part for name in places for part in MEANS.get(name, (name,))]
    suites = ",".join(dict.fromkeys(PLACES[name].suite for name in sets if name in PLACES))
    if not suites or all(claim.is_barred for claim in published.claims):
        return ()
    found = []
    for backbone in published.backbones:
        rows = [row for group, row in published.rows if group.backbone == backbone]
        names = dict.fromkeys(row.ours for row in rows if row.ours not in (None, "zero-shot"))
        asked = ",".join(filter(None, names)) or "zero-shot"
        is_preset = published.name in PRESETS
        what = f"--table {published.name}" if is_preset else f"--methods {asked}"
        curves = " --curves" if any(row.given for row in rows) else ""
        model, _, pretrained = MODELS[backbone].partition("/")
        found.append(
            f"bench run {what}{curves} --suite {suites} --model {model} "
            f"--pretrained {pretrained} --protocol {published.conditions.ours} --out RUN"
        )
    return (*found, f"bench check RUN --against published:{published.name}")


def _line(
    published: PublishedTable,
    group: PublishedGroup,
    row: PublishedRow,
    claims: dict[tuple[str, str, str], Claim],
) -> TableLine:
    kind: Kind = "difference" if row.minus else "member" if row.base else "row"
    places = ((group.backbone, row.name, column.name) for column in published.columns)
    cells = (claims.get(place) for place in places)
    return TableLine((TableCell(row.label), *(claim_item(claim) for claim in cells)), kind)


def _facts(published: PublishedTable) -> Iterator[tuple[str, str]]:
    """Where it is printed and how its numbers came about."""
    source, conditions = published.source, published.conditions
    arxiv = f"arXiv {source.arxiv}" if source.arxiv else ""
    yield "source", ", ".join(filter(None, (source.paper, source.table, arxiv)))
    if source.url:
        yield "page", source.url
    yield "read from", source.seen_in
    if published.labels == "ours":
        yield "titles", "of rows and columns are ours"
    yield "chosen", conditions.chosen
    yield "training", conditions.training
    if conditions.ece:
        yield "ECE", conditions.ece


def _said(remark: Remark) -> str:
    """A remark after the cells it speaks of."""
    where = [", ".join(remark.rows)] * bool(remark.rows)
    if remark.columns:
        where.append(", ".join(remark.columns))
    mark = f" {MARK}" if remark.rows and remark.columns else ""
    return f"{' on '.join(where)}{mark}: {remark.text}" if where else remark.text
