"""Reports: ``report.md`` and ``report.html``, made from the records alone.

`document` puts the records into words and tables once; `markdown` and `html` only dress them.
No dates and no durations: the same records give the same bytes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from bench import forms, tables
from bench.leaderboard import (
    ID,
    KINDS,
    OWN_SCALES,
    SCALES,
    Board,
    Curve,
    Key,
    Seed,
    boards,
    curves,
    key_of,
)
from bench.paths import write_atomic
from bench.presets import Preset
from bench.records import Missing, Record, sort_key
from bench.severities import merged
from bench.tables import DASH, Item, Table

CRITERIA = {
    "nll": "T with the smallest NLL",
    "confidence": "T at which the mean confidence is the accuracy",
}
"""What the criteria of temperature scaling are."""
PROVENANCE = ("precision", "versions", "commit", "hardware")
"""What a report says of the records' provenance and its environment, where it is there."""

READING = (
    "ID is the in-distribution test set. The OOD mean is the plain mean over the shifts, per seed.",
    "A row that lacks a cell has no OOD mean and is not ranked. A dash in a cell: no value.",
    "Numbers are means over seeds ± the sample standard deviation. A single seed has none.",
    f"Rows into which no training went have no seeds: their deviation is a dash ({DASH}).",
    "Best in bold, over all complete rows of methods; ties at the printed precision are all bold.",
    "Rows marked + are ensembles of the zero-shot model with the fine-tuned model above them.",
    "Δ rows are differences, per seed and then averaged (accuracy: in points). Not ranked.",
)
CHOSEN = "Parameters were chosen on the selection split only, never on the test set or a shift."
CHOSEN_MOSTLY = (
    "Parameters were chosen on the selection split, except where a warning or a row says otherwise."
)
SCALED = (
    "w/ TS: after temperature scaling, softmax(log p / T), with one T for each row and seed, shown "
    "as the mean over seeds. Accuracy has no such columns: T does not change the order of classes."
)
JUDGED = (
    "An evaluation set that is judged by a metric of its own says so in its header, where that is "
    "not the one of the caption. What was chosen was chosen by the metric of ID; the OOD mean is "
    "that of the columns shown, and there is none over a macro-F1 and accuracies."
)
CONTROLS = "Controls check what makes a method work. They claim nothing and are not ranked."
ORACLES = (
    "Rows chosen in hindsight take their alpha on the test sets themselves: best alpha is that of "
    "the highest OOD mean of the accuracy, best alpha by column each set's own. They are no "
    "methods and are not ranked."
)
CURVES = (
    "Curves show every candidate on the test sets, chosen or not. No method's choice was made by "
    "them."
)
MERGED = "A corruption's column is the plain mean over its five severities; records.jsonl has each."
ON_TEST = (
    "Chosen on the ID test set, as the official codes do: alpha, a, b, C and temperatures. "
    "ID numbers are too good by what that gains."
)


@dataclass(frozen=True)
class Chapter:
    """All that is said of one suite, model, protocol and set of watermarks."""

    title: str
    warnings: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    curves: tuple[Table, ...]


@dataclass(frozen=True)
class Document:
    """A report before it is dressed. Its texts are plain: nothing is escaped yet."""

    title: str
    chapters: tuple[Chapter, ...]
    notes: tuple[str, ...]


def write(
    directory: Path,
    records: Iterable[Record],
    missing: Iterable[Missing] = (),
    presets: Sequence[Preset] = (),
) -> tuple[Path, Path]:
    """Write ``report.md`` and ``report.html`` into `directory`, each in one step."""
    content = document(records, missing, presets)
    texts = {directory / "report.md": markdown(content), directory / "report.html": html(content)}
    for path, text in texts.items():
        write_atomic(path, text.encode())
    markdown_path, html_path = texts
    return markdown_path, html_path


def document(
    records: Iterable[Record],
    missing: Iterable[Missing] = (),
    presets: Sequence[Preset] = (),
) -> Document:
    """The report's content; the tables of `presets` come first in each chapter.

    Raises InputError for records that contradict each other.
    """
    given = list(records)
    cells_shown, absent = merged(given, missing)
    ordered = sorted(cells_shown, key=sort_key)
    besides = {record.metric for record in ordered if record.metric != record.judged_by}
    metrics = (None, *SCALES, *(name for name in OWN_SCALES if name in besides))
    by_metric = {kind: [boards(ordered, absent, m, kind) for m in metrics] for kind in KINDS}
    in_form = [forms.in_form(preset, ordered, absent) for preset in presets]
    cells: dict[Key, list[Record]] = defaultdict(list)
    for record in ordered:
        if record.kind in KINDS:
            cells[key_of(record)].append(record)
    drawn: dict[Key, list[Curve]] = defaultdict(list)
    for curve in curves(ordered):
        drawn[curve.key].append(curve)
    chapters = []
    for found, scaled in zip(*(zip(*by_metric[k], strict=True) for k in KINDS), strict=True):
        key = found[0].key
        first = [made[key] for made in in_form if key in made]
        chapters.append(_chapter(found, scaled, cells[key], drawn[key], first))
    suites = ", ".join(sorted({board.suite for board in by_metric["cell"][0]}))
    title = f"Robust fine-tuning on {suites or 'no suite'}"
    notes = [*_notes(ordered, presets), *([MERGED] if len(ordered) < len(given) else [])]
    return Document(title, tuple(chapters), tuple(notes))


def _notes(records: Sequence[Record], presets: Sequence[Preset]) -> Iterator[str]:
    """How to read what is there."""
    yield from READING
    roles, kinds = {record.role for record in records}, {record.kind for record in records}
    leaks = any(_protocol_of([record]).get("selects") == "test" for record in records)
    yield CHOSEN_MOSTLY if leaks or "oracle" in roles else CHOSEN
    if any(record.judged_by != "top1" for record in records):
        yield JUDGED
    if "scaled" in kinds:
        yield SCALED
    if "control" in roles:
        yield CONTROLS
    if "oracle" in roles:
        yield ORACLES
    if "curve" in kinds:
        yield CURVES
    for preset in presets:
        yield (
            f"In the form of {preset.title}: the rows and columns of {preset.source}. All numbers "
            "are this run's; best in bold among the rows of that table."
        )


def markdown(document: Document) -> str:
    """The report as Markdown (GitHub's tables). Names from the records are escaped."""
    parts = [f"# {escape(document.title)}"]
    for chapter in document.chapters:
        parts.append(f"## {escape(chapter.title)}")
        parts += [f"> **{escape(warning)}**" for warning in chapter.warnings]
        parts.append("\n".join(f"- {escape(k)}: {escape(v)}" for k, v in chapter.facts))
        for table in (*chapter.tables, *chapter.curves):
            parts += [f"### {escape(table.caption)}", markdown_table(table)]
            parts += [escape(table.note)] if table.note else []
    parts += ["## How to read this", "\n".join(f"- {escape(note)}" for note in document.notes)]
    return "\n\n".join(parts) + "\n"


def html(document: Document) -> str:
    """The report as one self-contained HTML page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("bench"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html.j2").render(document=document)


def escape(text: str) -> str:
    """`text` on one line, with all that Markdown or HTML would interpret made inert."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;")):
        text = text.replace(character, entity)
    return re.sub(r"([\\`*_\[\]~])", r"\\\1", tables.printable(text))


def markdown_table(table: Table) -> str:
    """A table as Markdown; nothing in its texts is interpreted."""
    from tabulate import tabulate

    width = len(table.columns)
    lines = [line for group in table.groups for line in group]
    texts = [[_markdown_item(item) for item in line.items] for line in lines]
    rows = [row + [""] * (width - len(row)) for row in texts]
    sides = ["left" if side == "l" else "right" for side in table.align]
    headers = [escape(column) for column in table.columns]
    return tabulate(rows, headers, tablefmt="pipe", colalign=sides, disable_numparse=True)


def _markdown_item(item: Item) -> str:
    text = escape(item.text)
    if text.startswith("+ "):
        text = f"\\{text}"  # a line that starts with a plus is a list item to some readers
    strong = f"**{text}**" if item.strong else text
    return f"{strong} {escape(item.small)}" if item.small else strong


def _title(board: Board) -> str:
    """Suite and model; the protocol, too, where chapters may differ in it."""
    protocol = "" if board.protocol == "clean" else f", {board.protocol}"
    return f"{board.suite}, {board.model}{protocol}"


def _chapter(
    found: Sequence[Board],
    scaled: Sequence[Board],
    records: Sequence[Record],
    drawn: Sequence[Curve],
    first: Sequence[Table],
) -> Chapter:
    """A chapter from its leaderboards, its records, its curves and first tables.

    The first leaderboard is that in each set's own metric, then come those in the common metrics,
    accuracy first, and those in metrics that some sets are measured in besides.
    """
    board, accuracy = found[:2]
    common, besides = found[2 : 1 + len(SCALES)], found[1 + len(SCALES) :]
    in_accuracy = replace(tables.leaderboard(accuracy), note="")
    cells = [record for record in records if record.kind == "cell"]
    temperatures = _temperatures(records)
    calibrations = []
    for plain, with_ts in zip(common, scaled[2 : 1 + len(SCALES)], strict=True):
        if any(cell.mean is not None for row in plain.rows for cell in row.cells):
            calibrations.append(tables.calibration(plain, with_ts, temperatures))
            temperatures = {}  # once is enough
    shown = (
        *first,
        tables.leaderboard(board),
        *((in_accuracy,) if accuracy.metrics != board.metrics else ()),
        tables.further(board, besides),
        *calibrations,
        tables.choices(board, cells),
        tables.protocol(_protocol_of(records)),
        tables.absences(board),
    )
    return Chapter(
        title=_title(board),
        warnings=tuple(_warnings(board, records)),
        facts=tuple(_facts(board, records)),
        tables=tuple(table for table in shown if table.groups),
        curves=tuple(tables.candidates(curve, board) for curve in drawn),
    )


def _temperatures(records: Iterable[Record]) -> dict[tuple[str, str | None], float]:
    """Each row's temperature, by method and base: the mean over its seeds."""
    found: dict[tuple[str, str | None], dict[Seed, float]] = defaultdict(dict)
    for record in records:
        if record.temperature is not None:
            found[record.method, record.base][record.seed] = record.temperature
    return {row: fmean(by_seed.values()) for row, by_seed in found.items()}


def _protocol_of(records: Iterable[Record]) -> Mapping[str, Any]:
    """The fields of the protocol, as the first record that names them has them; or none."""
    said = (record.provenance.get("protocol") for record in records)
    return next((facts for facts in said if isinstance(facts, Mapping)), {})


def _warnings(board: Board, records: Sequence[Record]) -> Iterator[str]:
    if _protocol_of(records).get("selects") == "test":
        yield ON_TEST
    if board.notes:
        yield f"Not reportable: {', '.join(board.notes)}. Nothing here is ranked."
    if board.partial:
        ran = f"{len(board.over)} of the suite's {board.shifts_in_suite} shifts"
        yield f"Partial: {ran} were run. Their mean is no OOD mean, and nothing here is ranked."


def _facts(board: Board, records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """What was run: names, sizes and provenance."""
    yield "Suite", board.suite
    yield "Model", board.model
    protocol = _protocol_of(records)
    yield "Protocol", board.protocol
    yield "Seeds", tables.seeds_text({record.seed for record in records})
    chosen = [r.chosen_on for r in records if r.chosen_on and r.role != "oracle"]
    if rules := {str(on["rule"]) for on in chosen if "rule" in on}:
        yield "Selection rule", ", ".join(sorted(rules))
    if any(record.kind == "scaled" for record in records) and "scaling" in protocol:
        place = "ID test set" if protocol.get("selects") == "test" else "selection split"
        yield "Temperature scaling", f"{CRITERIA[protocol['scaling']]}, on the {place}"
    sizes: dict[str, set[int]] = defaultdict(set)
    for record in records:
        sizes[record.shift].add(record.n)
    if board.beside:
        yield "Beside the OOD mean", ", ".join(board.beside)
    labels = {ID: "ID"} | {shift: shift for shift in board.shifts}
    counts = (f"{labels[s]} {'/'.join(map(str, sorted(sizes[s])))}" for s in labels if s in sizes)
    yield "Test samples", ", ".join(counts) or DASH
    kinds = ((record.shift, record.provenance.get("label_map")) for record in records)
    maps = {shift: kind for shift, kind in kinds if kind is not None}
    if mapped := [f"{s} {maps[s]}" for s in board.shifts if maps.get(s, "identity") != "identity"]:
        yield "Label maps", ", ".join(mapped)
    for name in PROVENANCE:
        if found := _distinct(_provenance(record).get(name) for record in records):
            yield name.capitalize(), found


def _provenance(record: Record) -> dict[str, Any]:
    """What made a number; the environment's entries beside the others."""
    environment = record.provenance.get("environment")
    return record.provenance | (environment if isinstance(environment, dict) else {})


def _distinct(values: Iterable[Any]) -> str:
    """The different values in words; of mappings, the different values of each key."""
    found = [value for value in values if value is not None]
    if found and all(isinstance(value, dict) for value in found):
        keys = sorted({key for value in found for key in value})
        return ", ".join(f"{key} {_distinct(value.get(key) for value in found)}" for key in keys)
    return " / ".join(sorted({tables.phrase(value) for value in found}))
