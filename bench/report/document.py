"""The content of a report: texts, tables and figures made from records, before formatting.

It holds no dates and no durations, so the same records always give the same content.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from bench.api.metrics import ACCURACY
from bench.api.protocol import scaling_label
from bench.core.records import MissingCell, Record, sort_key
from bench.core.trainings import TrainingRecord
from bench.leaderboard.board import ID, Board, board_key
from bench.leaderboard.published.baselines import Baseline
from bench.leaderboard.published.clip_benchmark import ForeignRow
from bench.leaderboard.published.evidence import Evidence
from bench.leaderboard.published.layouts import Preset
from bench.leaderboard.robustness import DerivedBoard, derived_board
from bench.leaderboard.samples import SampleOutputs
from bench.leaderboard.severities import merge_severities
from bench.leaderboard.stats.chance import zero_shot_guesses
from bench.leaderboard.stats.row_samples import samples_by_board
from bench.leaderboard.suite_results import SuiteResults, measured
from bench.report.caveats import caveat_sentences
from bench.report.figures.spec import Chart
from bench.report.glossary import Term, new_terms, terms
from bench.report.headline import headline
from bench.report.tables.choices import (
    CALIBRATED_OTHERWISE,
    CRITERIA,
    SCALED,
    candidates_table,
    choices_table,
    mean_temperatures,
)
from bench.report.tables.differences import differences_table
from bench.report.tables.elsewhere import elsewhere_table
from bench.report.tables.leaderboard import (
    calibration_table,
    extra_metrics_table,
    leaderboard_table,
    missing_cells_table,
)
from bench.report.tables.ledger import run_ledger_tables
from bench.report.tables.paper_layout import paper_table
from bench.report.tables.robustness import derived_table
from bench.report.tables.standings import mark_ties, standings_table
from bench.report.tables.table import DASH, Table, format_value, seeds_text
from bench.report.tables.trainings import trainings_table
from bench.report.tables.trials import trials_tables

PROVENANCE = ("preprocessing", "precision", "versions", "commit", "hardware")
"""Provenance and environment fields that a report lists if the records have them."""

READING = (
    "ID is the in-distribution test set. The OOD mean is the unweighted mean over the shifts, "
    "computed for each seed.",
    "A row with a missing cell has no OOD mean and is not ranked. A cell with a dash has no value.",
    "Numbers are means over seeds ± the sample standard deviation. With a single seed there is no "
    "standard deviation.",
    f"Rows that involve no training have no seeds; a dash ({DASH}) replaces their deviation.",
    "The best number of each column, among the complete rows of methods, is bold. Ties at the "
    "printed precision are all bold. Bold does not mean that chance is excluded; ranks tell.",
    "Rows marked + are ensembles of the zero-shot model and the fine-tuned model above them.",
    "Δ rows are differences of two rows, computed for each seed and then averaged (in points for "
    "accuracy). They are not ranked.",
)
CHOSEN = "Parameters were chosen on the selection split only, never on the test set or a shift."
CHOSEN_MOSTLY = (
    "Parameters were chosen on the selection split, unless a warning or a row states otherwise."
)
PRIMARY_METRICS = (
    "Some evaluation sets have a primary metric of their own. The column header names it where it "
    "differs from the metric in the caption. Parameters were chosen by the primary metric of ID. "
    "The OOD mean averages the columns shown; there is none over a mix of macro-F1 and accuracy."
)
CONTROLS = "Ablations test which part of a method makes it work. They are not ranked."
ORACLES = (
    "Oracle rows choose alpha on the test sets themselves: 'best alpha' maximizes the OOD mean of "
    "accuracy; 'best alpha by column' is chosen for each set separately. They choose among the "
    "alphas of the curve, so a row that chose from finer steps can be higher. They are not methods "
    "and are not ranked."
)
CURVES = (
    "Curves show candidates on the test sets, whether they were chosen or not: alpha = 0, 0.1, "
    "..., 1 unless the run sets others. Chosen alphas have finer steps and may lie between."
)
UNUSED = "No method used them to choose its parameters."
MERGED = (
    "The column of a corruption is the unweighted mean over its five severities. records.jsonl has "
    "a record for each severity."
)
SURE = (
    "Intervals are 95% confidence intervals. They account for the sampling of the test set, with "
    "several seeds for the variation between training runs, and for choosing parameters on one "
    "draw of the selection split (docs/statistics.md); not for other training images, shifts or "
    "pretrained models.",
    "A rank is a range where the data do not separate the rows. All pairs of rows are compared on "
    "the same samples. In each column, the probability that any row is wrongly called better than "
    "another is about 5% at most (Holm). An interval stands alone, so it may exclude 0 where "
    "ranks, which allow for all pairs, do not separate two rows.",
)
SURE_ECE = (
    "Noise biases the ECE upwards, most on small sets. Its interval is corrected for this bias, so "
    "the value may lie in the upper part of the interval or above it."
)
SURE_ASKED = "Intervals of the ECE and of --metrics do not account for choosing parameters."
ON_TEST = (
    "Chosen on the ID test set, as in the official code: alpha, a, b, C and temperatures. "
    "This makes ID numbers too good."
)


@dataclass(frozen=True)
class Chapter:
    """Content for one suite, model, protocol and set of watermarks.

    `summary` is the headline, `terms` explains its words unless an earlier chapter did.

    Examples
    --------
    >>> from bench.report.document import document
    >>> from bench.testing.fakes import fake_records
    >>> (chapter,) = document(fake_records()).chapters
    >>> chapter.title, chapter.tables[0].name
    ('fake, fake/none', 'leaderboard')
    """

    title: str
    warnings: tuple[str, ...]
    caveats: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    curves: tuple[Table, ...]
    numbers: SuiteResults
    baselines: tuple[Baseline, ...]
    derived: tuple[DerivedBoard, ...]
    summary: str
    terms: tuple[Term, ...]
    beside: tuple[ForeignRow, ...] = ()

    @cached_property
    def figures(self) -> tuple[Chart, ...]:
        """The figures, drawn by altair when a format needs them."""
        from bench.report.figures.charts import charts

        return charts(self.numbers, self.baselines)

    @property
    def marks(self) -> tuple[str, ...]:
        """Short watermarks, shown with every table and figure of the chapter."""
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
    """A report before formatting. Its texts are plain; nothing is escaped yet.

    `root` is the path from the report to the repository, to link the documentation; empty if the
    report lies elsewhere.

    Examples
    --------
    >>> from bench.report.document import document
    >>> from bench.testing.fakes import fake_records
    >>> content = document(fake_records())
    >>> content.title, len(content.chapters)
    ('Robust fine-tuning on fake', 1)
    """

    title: str
    chapters: tuple[Chapter, ...]
    notes: tuple[str, ...]
    root: str = ""


def document(
    records: Iterable[Record],
    missing: Iterable[MissingCell] = (),
    presets: Sequence[Preset] = (),
    samples: Iterable[SampleOutputs] = (),
    baselines: Sequence[Baseline] = (),
    trainings: Iterable[TrainingRecord] = (),
    derived: Sequence[str] = (),
) -> Document:
    """Return the content of a report; the tables of `presets` come first in each chapter.

    `samples` add intervals, ranks and reliability diagrams. `baselines` add the fitted line for
    effective robustness, `trainings` the losses by epoch, `derived` metrics of
    `bench.leaderboard.robustness`. Raises InputError for records that contradict each other.

    Examples
    --------
    >>> from bench.report.document import document
    >>> from bench.testing.fakes import fake_records
    >>> (chapter,) = document(fake_records()).chapters
    >>> [table.name for table in chapter.tables]
    ['leaderboard']
    """
    all_records = list(records)
    shown, absent = merge_severities(all_records, missing)
    ordered = sorted(shown, key=sort_key)
    evidence = Evidence(ordered)
    stored = samples_by_board(evidence.passing(samples), {r.metric for r in ordered})
    found = measured(ordered, absent, stored)
    histories = list(trainings)
    preset_tables = [paper_table(preset, ordered, absent) for preset in presets]
    chapters: list[Chapter] = []
    for m in found:
        chapter = _chapter(
            m,
            [made[m.key] for made in preset_tables if m.key in made],
            run_ledger_tables(
                m.board,
                [record for record in ordered if board_key(record) == m.key],
                [place for place in absent if board_key(place) == m.key],
                evidence,
            ),
            baselines,
            trainings_table(m.board, [t for t in histories if board_key(t) == m.key]),
            tuple(derived_board(name, m, baselines) for name in derived),
        )
        known = [term for other in chapters for term in other.terms]
        chapters.append(replace(chapter, terms=new_terms(chapter.terms, known)))
    suites = ", ".join(sorted({m.board.suite for m in found}))
    title = f"Robust fine-tuning on {suites or 'no suite'}"
    notes = [*_notes(ordered, presets), *([MERGED] if len(ordered) < len(all_records) else [])]
    compared = [numbers.comparison for numbers in found if numbers.comparison is not None]
    notes += SURE if compared else ()
    notes += [SURE_ECE] if any(known.ece for known in compared) else []
    notes += [SURE_ASKED] if any(known.further for known in compared) else []
    return Document(title, tuple(chapters), tuple(notes))


def _notes(records: Sequence[Record], presets: Sequence[Preset]) -> Iterator[str]:
    """Yield the notes on how to read the report."""
    yield from READING
    roles, kinds = {record.role for record in records}, {record.kind for record in records}
    leaks = any(_protocol_of([record]).get("selects") == "test" for record in records)
    yield CHOSEN_MOSTLY if leaks or "oracle" in roles else CHOSEN
    if any(record.primary_metric != "top1" for record in records):
        yield PRIMARY_METRICS
    labels = {scaling_label(record.protocol) for record in records if record.kind == "scaled"}
    if "TS" in labels:
        yield SCALED
    yield from (CALIBRATED_OTHERWISE.format(label) for label in sorted(labels - {"TS"}))
    if "control" in roles:
        yield CONTROLS
    if "oracle" in roles:
        yield ORACLES
    if "curve" in kinds:
        yield CURVES if leaks else f"{CURVES} {UNUSED}"
    for preset in presets:
        yield (
            f"The table in the layout of {preset.title} has the rows and columns of "
            f"{preset.source}. All its numbers are from this run. Bold marks the best number among "
            "the rows of that table."
        )


def _title(board: Board) -> str:
    """Suite and model, and the protocol unless it is ``clean``."""
    protocol = "" if board.protocol == "clean" else f", {board.protocol}"
    return f"{board.suite}, {board.model}{protocol}"


def _chapter(
    numbers: SuiteResults,
    first: Sequence[Table],
    published: Iterable[Table],
    baselines: Sequence[Baseline],
    trainings: Table,
    derived: tuple[DerivedBoard, ...],
) -> Chapter:
    """Return a chapter.

    `first` holds tables in the layout of a paper. The leaderboard in each set's primary metric
    follows, then the common metrics (accuracy first) and further metrics that only some sets have.
    `published`, the reproduction ledger, comes last.
    """
    board, accuracy = numbers.board, numbers.common[ACCURACY.name]
    cells = [record for record in numbers.records if record.kind == "cell"]
    temperatures = mean_temperatures(numbers.records)
    calibrations = []
    reorders = scaling_label(board.protocol) != "TS"
    calibrated = [plain for plain in numbers.common.values() if reorders or plain is not accuracy]
    for plain in calibrated:
        if any(cell.mean is not None for row in plain.rows for cell in row.cells):
            scaled = numbers.scaled[plain.scale.metric]
            calibrations.append(calibration_table(plain, scaled, temperatures))
            temperatures = {}  # shown in one table only
    main, known = leaderboard_table(board), numbers.comparison
    standings = None if known is None else standings_table(board, known)
    shown = (
        *first,
        main if known is None else mark_ties(main, board, known),
        *(() if standings is None else (standings,)),
        *(
            (replace(leaderboard_table(accuracy), note="", name=""),)
            if accuracy.metrics != board.metrics
            else ()
        ),
        elsewhere_table(numbers),
        *map(derived_table, derived),
        extra_metrics_table(board, numbers.extra_boards),
        *calibrations,
        choices_table(board, cells),
        *trials_tables(board, cells),
        differences_table(_protocol_of(numbers.records), numbers.records),
        trainings,
        missing_cells_table(board, [plain for plain in calibrated if plain is not accuracy]),
        *published,
    )
    top = headline(board, known, zero_shot_guesses(board, numbers.samples))
    return Chapter(
        title=_title(board),
        warnings=tuple(_warnings(board, numbers.records)),
        caveats=caveat_sentences(board, numbers.records),
        facts=tuple(_facts(board, numbers.records)),
        tables=tuple(table for table in shown if table.groups),
        curves=tuple(candidates_table(curve, board) for curve in numbers.curves),
        numbers=numbers,
        baselines=tuple(baselines),
        derived=derived,
        summary=top.text,
        terms=terms(numbers, top.best, top.text),
    )


def _protocol_of(records: Iterable[Record]) -> Mapping[str, Any]:
    """Fields of the protocol from the first record that has them; empty if none has."""
    protocols = (record.provenance.get("protocol") for record in records)
    return next((fields for fields in protocols if isinstance(fields, Mapping)), {})


def _warnings(board: Board, records: Sequence[Record]) -> Iterator[str]:
    if _protocol_of(records).get("selects") == "test":
        yield ON_TEST
    if board.notes:
        yield f"Not reportable: {', '.join(board.notes)}. Nothing here is ranked."
    if board.partial:
        ran = f"{len(board.over)} of the suite's {board.shifts_in_suite} shifts"
        yield f"Partial: {ran} were run. Their mean is not the OOD mean. Nothing here is ranked."


def _facts(board: Board, records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Yield what was run: names, sizes and provenance."""
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
        yield "Not part of the OOD mean", ", ".join(board.outside_mean)
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
    """Provenance of a record, with the entries of its environment at the top level."""
    return record.provenance | record.environment


def _distinct(values: Iterable[Any]) -> str:
    """The distinct values as text; for mappings, the distinct values of each key."""
    found = [value for value in values if value is not None]
    if found and all(isinstance(value, dict) for value in found):
        keys = sorted({key for value in found for key in value})
        return ", ".join(f"{key} {_distinct(value.get(key) for value in found)}" for key in keys)
    return " / ".join(sorted({format_value(value) for value in found}))
