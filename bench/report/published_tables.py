"""Published tables (`bench.leaderboard.published.tables`) in the terminal and in Markdown.

They use the same table, line and cell values as bench's own numbers and show the printed digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from shutil import get_terminal_size

from rich.console import Console

from bench.api.method import ZERO_SHOT
from bench.leaderboard.published.layouts import PRESETS
from bench.leaderboard.published.places import MEANS, MODELS, PLACES
from bench.leaderboard.published.tables import (
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
"""Terminal width in columns that fits every published table completely."""


def as_table(published: PublishedTable) -> Table:
    """Return the table with its printed digits and titles, including printed difference rows.

    If it has several backbones, each group has the name of its backbone as its header.

    Examples
    --------
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> from bench.report.published_tables import as_table
    >>> as_table(find_published_table("vrf-table1")).columns[:3]
    ('Method', 'IN', 'IN-V2')
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
    """Return the table, its source and its remarks for the terminal; wide tables are never cut.

    Examples
    --------
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> from bench.report.published_tables import published_text
    >>> published_text(find_published_table("vrf-table1")).splitlines()[0]
    "VRF's Table 1 (imagenet, ViT-B/32; percent)"
    """
    content = as_table(published)
    wide = len(content.columns) > WIDEST_ANYWHERE
    facts = [f"{name}: {value}" for name, value in _facts(published)]
    remarks = [f"- {_remark_text(remark)}" for remark in published.remarks]
    commands = reproduction_commands(published)
    ours = [f"ours: {command}" for command in commands]
    ours = ours or ["ours: no bench run is comparable with this table"]
    return "\n".join((render_table(content, wide=wide), "", *facts, *remarks, *ours))


def render_table(content: Table, *, wide: bool) -> str:
    """Return a table as terminal text, coloured if the output is a terminal.

    A `wide` table keeps all its columns even if the terminal is narrower.

    Examples
    --------
    >>> from bench.report.published_tables import render_table
    >>> from bench.report.tables.table import Table, TableCell, TableLine
    >>> line = TableLine((TableCell("Zero-shot"), TableCell("60.0")))
    >>> table = Table("Accuracy (percent)", ("Method", "ID"), "lr", ((line,),))
    >>> print(render_table(table, wide=True))
    Accuracy (percent)
    Method      ID
    ──────────────
    Zero-shot 60.0
    """
    width = get_terminal_size().columns
    output = Console(width=max(width, WHOLE))
    with output.capture() as captured:
        output.print(terminal_paper_table(content, output.width if wide else width))
    return captured.get().rstrip("\n")


def published_markdown(published: PublishedTable) -> str:
    """Return the table as Markdown, with its source, conditions and remarks.

    Examples
    --------
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> from bench.report.published_tables import published_markdown
    >>> published_markdown(find_published_table("vrf-table1")).splitlines()[0]
    "### VRF's Table 1"
    """
    facts = (f"- {escape(name)}: {escape(value)}" for name, value in _facts(published))
    remarks = (f"- {escape(_remark_text(remark))}" for remark in published.remarks)
    parts = (
        f"### {escape(published.title)}",
        markdown_table(as_table(published)),
        "\n".join((*facts, *remarks)),
    )
    return "\n\n".join(parts) + "\n"


def reproduction_commands(published: PublishedTable) -> tuple[str, ...]:
    """Return the commands that compute our rows for each backbone and compare them with the table.

    The result is empty if no cell can be compared with a bench run.

    Examples
    --------
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> from bench.report.published_tables import reproduction_commands
    >>> reproduction_commands(find_published_table("vrf-table1"))[0]
    'bench run --table vrf-table1 --suite imagenet --model ViT-B-32 --pretrained openai ...
    """
    places = [column.dataset for column in published.columns]
    sets = [part for name in places for part in MEANS.get(name, (name,))]
    suites = ",".join(dict.fromkeys(PLACES[name].suite for name in sets if name in PLACES))
    if not suites or all(claim.is_barred for claim in published.claims):
        return ()
    commands = []
    for backbone in published.backbones:
        rows = [row for group, row in published.rows if group.backbone == backbone]
        names = dict.fromkeys(row.ours for row in rows if row.ours not in (None, ZERO_SHOT))
        methods = ",".join(filter(None, names)) or ZERO_SHOT
        is_preset = published.name in PRESETS
        what = f"--table {published.name}" if is_preset else f"--methods {methods}"
        curves = " --curves" if any(row.given for row in rows) else ""
        model, _, pretrained = MODELS[backbone].partition("/")
        commands.append(
            f"bench run {what}{curves} --suite {suites} --model {model} "
            f"--pretrained {pretrained} --protocol {published.conditions.ours} --out RUN"
        )
    return (*commands, f"bench check RUN --against published:{published.name}")


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
    """Yield the source of the table and how its numbers were obtained."""
    source, conditions = published.source, published.conditions
    arxiv = f"arXiv {source.arxiv}" if source.arxiv else ""
    yield "source", ", ".join(filter(None, (source.paper, source.table, arxiv)))
    if source.url:
        yield "page", source.url
    yield "read from", source.seen_in
    if published.labels == "ours":
        yield "titles", "row and column titles are ours"
    yield "chosen", conditions.chosen
    yield "training", conditions.training
    if conditions.ece:
        yield "ECE", conditions.ece


def _remark_text(remark: Remark) -> str:
    """A remark, preceded by the cells it is about."""
    where = [", ".join(remark.rows)] * bool(remark.rows)
    if remark.columns:
        where.append(", ".join(remark.columns))
    mark = f" {MARK}" if remark.rows and remark.columns else ""
    return f"{' on '.join(where)}{mark}: {remark.text}" if where else remark.text
