"""A report's content: the records in words, tables and figures, not yet dressed.

No dates and no durations: the same records give the same content.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from bench.api.metrics import ACCURACY
from bench.core.records import MissingCell, Record, sort_key
from bench.leaderboard.board import ID, Board, Seed, board_key
from bench.leaderboard.published.baselines import Baseline
from bench.leaderboard.published.evidence import Evidence
from bench.leaderboard.published.layouts import Preset
from bench.leaderboard.samples import SampleOutputs
from bench.leaderboard.severities import merge_severities
from bench.leaderboard.stats.significance import samples_by_board
from bench.leaderboard.suite_results import SuiteResults, measured
from bench.report.figures.charts import charts
from bench.report.figures.spec import Chart
from bench.report.tables.choices import candidates_table, choices_table
from bench.report.tables.leaderboard import (
    calibration_table,
    extra_metrics_table,
    leaderboard_table,
    missing_cells_table,
    protocol_differences,
)
from bench.report.tables.ledger import run_ledger_tables
from bench.report.tables.paper_layout import paper_table
from bench.report.tables.standings import mark_ties, standings_summary, standings_table
from bench.report.tables.table import DASH, Table, format_value, seeds_text

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
CURVES = "Curves show every candidate on the test sets, chosen or not."
UNUSED = "No method's choice was made by them."
MERGED = "A corruption's column is the plain mean over its five severities; records.jsonl has each."
SURE = (
    "Intervals are of 95%. They count the draw of the test samples and, with several seeds, of the "
    "trainings (docs/statistics.md).",
    "A rank is a range where the data cannot tell: all pairs of rows are compared on the same "
    "samples, and the probability that any row is wrongly called better than another is at most "
    "5% in each column (Holm).",
)
SURE_ECE = (
    "An ECE is too large by what noise adds, most on small sets: its interval is corrected for "
    "that, so that the value may lie in its upper part, or above it."
)
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
    numbers: SuiteResults
    figures: tuple[Chart, ...]
    summary: str

    @property
    def marks(self) -> tuple[str, ...]:
        """Watermarks, short: what nothing of the chapter is shown without."""
        board = self.numbers.board
        leaks = _protocol_of(self.numbers.records).get("selects") == "test"
        run = f"partial: {len(board.over)} of {board.shifts_in_suite} shifts"
        return (
            *board.notes,
            *([run] if board.partial else []),
            *(["chosen on the ID test set"] if leaks else []),
        )


@dataclass(frozen=True)
class Document:
    """A report before it is dressed. Its texts are plain: nothing is escaped yet."""

    title: str
    chapters: tuple[Chapter, ...]
    notes: tuple[str, ...]


def document(
    records: Iterable[Record],
    missing: Iterable[MissingCell] = (),
    presets: Sequence[Preset] = (),
    samples: Iterable[SampleOutputs] = (),
    baselines: Sequence[Baseline] = (),
) -> Document:
    """The report's content; the tables of `presets` come first in each chapter.

    With `samples` there are intervals, ranks and reliability diagrams; with `baselines` a line of
    effective robustness. Raises InputError for records that contradict each other.
    """
    given = list(records)
    shown, absent = merge_severities(given, missing)
    ordered = sorted(shown, key=sort_key)
    backing = Evidence(ordered)
    found = measured(ordered, absent, samples_by_board(backing.passing(samples)))
    in_form = [paper_table(preset, ordered, absent) for preset in presets]
    chapters = [
        _chapter(
            m,
            [made[m.key] for made in in_form if m.key in made],
            run_ledger_tables(
                m.board,
                [record for record in ordered if board_key(record) == m.key],
                [place for place in absent if board_key(place) == m.key],
                backing,
            ),
            baselines,
        )
        for m in found
    ]
    suites = ", ".join(sorted({m.board.suite for m in found}))
    title = f"Robust fine-tuning on {suites or 'no suite'}"
    notes = [*_notes(ordered, presets), *([MERGED] if len(ordered) < len(given) else [])]
    if any(numbers.comparison is not None for numbers in found):
        notes += SURE
    if any(numbers.comparison and numbers.comparison.ece for numbers in found):
        notes.append(SURE_ECE)
    return Document(title, tuple(chapters), tuple(notes))


def _notes(records: Sequence[Record], presets: Sequence[Preset]) -> Iterator[str]:
    """How to read what is there."""
    yield from READING
    roles, kinds = {record.role for record in records}, {record.kind for record in records}
    leaks = any(_protocol_of([record]).get("selects") == "test" for record in records)
    yield CHOSEN_MOSTLY if leaks or "oracle" in roles else CHOSEN
    if any(record.primary_metric != "top1" for record in records):
        yield JUDGED
    if "scaled" in kinds:
        yield SCALED
    if "control" in roles:
        yield CONTROLS
    if "oracle" in roles:
        yield ORACLES
    if "curve" in kinds:
        yield CURVES if leaks else f"{CURVES} {UNUSED}"
    for preset in presets:
        yield (
            f"In the form of {preset.title}: the rows and columns of {preset.source}. All numbers "
            "are this run's; best in bold among the rows of that table."
        )


def _title(board: Board) -> str:
    """Suite and model; the protocol, too, where chapters may differ in it."""
    protocol = "" if board.protocol == "clean" else f", {board.protocol}"
    return f"{board.suite}, {board.model}{protocol}"


def _chapter(
    numbers: SuiteResults,
    first: Sequence[Table],
    published: Iterable[Table],
    baselines: Sequence[Baseline],
) -> Chapter:
    """A chapter: tables in a paper's form, then the leaderboard in each set's own metric.

    Then come those in the common metrics, accuracy first, and those in metrics that some sets are
    measured in besides; `published`, the reproduction ledger, is last.
    """
    board, accuracy = numbers.board, numbers.common[ACCURACY.name]
    cells = [record for record in numbers.records if record.kind == "cell"]
    temperatures = _temperatures(numbers.records)
    calibrations = []
    for name, plain in numbers.common.items():
        if plain is accuracy:
            continue
        if any(cell.mean is not None for row in plain.rows for cell in row.cells):
            calibrations.append(calibration_table(plain, numbers.scaled[name], temperatures))
            temperatures = {}  # once is enough
    main, known = leaderboard_table(board), numbers.comparison
    order = None if known is None else standings_table(board, known)
    shown = (
        *first,
        main if known is None else mark_ties(main, board, known),
        *(() if order is None else (order,)),
        *(
            (replace(leaderboard_table(accuracy), note="", name=""),)
            if accuracy.metrics != board.metrics
            else ()
        ),
        extra_metrics_table(board, numbers.besides),
        *calibrations,
        choices_table(board, cells),
        protocol_differences(_protocol_of(numbers.records)),
        missing_cells_table(board),
        *published,
    )
    return Chapter(
        title=_title(board),
        warnings=tuple(_warnings(board, numbers.records)),
        facts=tuple(_facts(board, numbers.records)),
        tables=tuple(table for table in shown if table.groups),
        curves=tuple(candidates_table(curve, board) for curve in numbers.curves),
        numbers=numbers,
        figures=charts(numbers, baselines),
        summary=standings_summary(board, known),
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
    yield "Seeds", seeds_text({record.seed for record in records})
    chosen = [r.chosen_on for r in records if r.chosen_on and r.role != "oracle"]
    if rules := {str(on["rule"]) for on in chosen if "rule" in on}:
        yield "Selection rule", ", ".join(sorted(rules))
    if any(record.kind == "scaled" for record in records) and "scaling" in protocol:
        place = "ID test set" if protocol.get("selects") == "test" else "selection split"
        yield "Temperature scaling", f"{CRITERIA[protocol['scaling']]}, on the {place}"
    sizes: dict[str, set[int]] = defaultdict(set)
    for record in records:
        sizes[record.shift].add(record.n)
    if board.outside_mean:
        yield "Beside the OOD mean", ", ".join(board.outside_mean)
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
    return " / ".join(sorted({format_value(value) for value in found}))
