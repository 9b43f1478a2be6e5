"""Tables of chosen parameters and of the candidates of a method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from bench.core.records import Record
from bench.leaderboard.board import (
    ID,
    OWN_SCALES,
    SCALES,
    Board,
    Cell,
    Curve,
    Name,
    Point,
    Seed,
)
from bench.report.tables.leaderboard import full_name
from bench.report.tables.table import (
    DASH,
    Table,
    TableCell,
    TableLine,
    _align,
    _one_group,
    _seed_text,
    format_value,
)

MOST_POINTS = 25
"""For a curve with more candidates, only the chosen ones and the best two are shown."""


CRITERIA = {
    "nll": "T with the smallest NLL",
    "confidence": "T at which mean confidence equals accuracy",
    "vector": "in its place vector scaling (VS) with the smallest NLL",
    "isotonic": "in its place isotonic regression (IR), one class against the rest",
}
"""Descriptions of the criteria of temperature scaling, and of other calibrations."""
CALIBRATED_OTHERWISE = (
    "w/ {0} and w/o {0}: with and without calibration on the selection split, each row and seed "
    "for itself. It has parameters per class, over the task's classes, so it can change predicted "
    "classes and accuracy. Ranks and intervals are of the numbers without it."
)
SCALED = (
    "w/ TS and w/o TS: with and without temperature scaling, softmax(log p / T). Each row and seed "
    "has its own T; tables show the mean over seeds. Accuracy has no such columns, as T does not "
    "change the order of classes."
)


def choices_table(board: Board, records: Sequence[Record]) -> Table:
    """Choice of each row and seed, the data it was made on, and the resulting weights.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.report.tables.choices import choices_table
    >>> from bench.testing.fakes import fake_records
    >>> record = fake_records()[-3].model_copy(update={"choice": {"a": 0.5}, "weight": 0.6})
    >>> (board,) = build_boards(fake_records())
    >>> [cell.text for cell in choices_table(board, [record]).groups[0][0].items]
    ['VRF on E2E-FT', '0', 'a 0.5', '–', '0.60', '–']
    """
    found: dict[tuple[str, str | None, Seed], list[Record]] = defaultdict(list)
    for record in records:
        if record.choice or record.chosen_on:
            found[record.method, record.base, record.seed].append(record)
    # Without shifts there is no second mean.
    weights = ("Weight ID", *([f"Weight {board.over_shifts}"] if board.over else []))
    lines = []
    for row in board.rows:
        for seed in row.seeds:
            if same := found.get((row.method, row.base, seed)):
                on = chosen_on(same[0].chosen_on or {})
                texts = (full_name(board, row), _seed_text(seed), _choice_text(same), on)
                items = (*texts, *_weights(same, board.over)[: len(weights)])
                lines.append(TableLine(tuple(TableCell(text or DASH) for text in items)))
    columns = ("Row", "Seed", "Chosen", "Chosen on", *weights)
    caption = "Chosen parameters and the resulting mean weight on the fine-tuned model"
    return Table(caption, columns, _align(columns, texts=4), _one_group(lines), name="choices")


def candidates_table(curve: Curve, board: Board) -> Table:
    """ID and OOD mean of a method's candidates, with the chosen ones marked.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards, build_curves
    >>> from bench.report.tables.choices import candidates_table
    >>> from bench.testing.fakes import fake_records
    >>> (record,) = fake_records({"ose:e2e-ft": (0.8,)}, shifts=[])
    >>> point = record.model_copy(update={"kind": "curve", "choice": {"alpha": 0.5}})
    >>> (curve,), (board,) = build_curves([point]), build_boards([record])
    >>> [cell.text for cell in candidates_table(curve, board).groups[0][0].items]
    ['0.5', '80.0', '–', '']
    """
    shown = _points_to_show(curve.points)
    names = ", ".join(name for name, _ in shown[0].choice) or "candidate"
    lines = []
    for point in shown:
        values = (TableCell(_value(curve, point.id)), TableCell(_value(curve, point.ood)))
        choice = ", ".join(f"{value:g}" for _, value in point.choice)
        lines.append(TableLine((TableCell(choice), *values, TableCell(_chosen_by(point)))))
    row = next((r for r in board.rows if (r.method, r.base) == (curve.method, curve.base)), None)
    title = curve.title if row is None else full_name(board, row)
    count = len(curve.points)
    some = "" if shown == curve.points else f"; the chosen and the best of {count} candidates"
    columns = (names, "ID", board.over_shifts, "Chosen")
    caption = f"{title} over {names} ({curve.scale.title}, {curve.scale.unit}{some})"
    return Table(caption, columns, "rrrl", _one_group(lines))


def chosen_on(facts: Mapping[str, Any]) -> str:
    """The data a choice was made on and the accuracy there (percent), or its replacement.

    The trials of a tuned row are left out; `trials_tables` shows them.

    Examples
    --------
    >>> from bench.report.tables.choices import chosen_on
    >>> chosen_on({"split": "selection", "n": 1000, "rule": "max-val", "accuracy": 0.786})
    'split selection, n 1000, rule max-val, accuracy 78.6%'
    """
    percent = SCALES["top1"]
    scores = {name: scale.title for name, scale in OWN_SCALES.items()}
    scores |= dict.fromkeys(("accuracy", percent.metric), "accuracy")
    known = [key for key in ("split", "n", "samples", "rule", *scores) if key in facts]
    return ", ".join(
        f"{scores[key]} {percent.text(facts[key])}%"
        if key in scores
        else f"{key} {format_value(facts[key])}"
        for key in (*known, *sorted(facts.keys() - {*known, "trials"}))
    )


def _choice_text(records: Sequence[Record]) -> str:
    """A row's choice; for oracles that choose for each evaluation set, all their choices."""
    ordered = sorted(records, key=lambda record: record.order)
    choices = {record.shift: format_value(record.choice) for record in ordered}
    if len(set(choices.values())) == 1:
        return format_value(records[0].choice)
    return "; ".join(f"{'ID' if k == ID else k} {choice}" for k, choice in choices.items())


def _weights(records: Sequence[Record], shifts: Sequence[str]) -> tuple[str, str]:
    """Mean weight on the fine-tuned model on ID and over all shifts; empty if unknown."""
    weights = {record.shift: record.weight for record in records if record.weight is not None}
    ood = [weights[shift] for shift in shifts if shift in weights]
    return (
        f"{weights[ID]:.2f}" if ID in weights else "",
        f"{fmean(ood):.2f}" if ood and len(ood) == len(shifts) else "",
    )


def _points_to_show(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """All points, or the chosen and the best ones (ID, OOD mean) above `MOST_POINTS`."""
    if len(points) <= MOST_POINTS:
        return points
    best_id = max(points, key=lambda point: point.id.mean or 0)
    best_ood = max(points, key=lambda point: point.ood.mean or 0)
    return tuple(p for p in points if p.chosen or p in (best_id, best_ood))


def _chosen_by(point: Point) -> str:
    """How many seeds chose a candidate; empty if none did."""
    count, seeds = len(point.chosen), point.id.seeds + len(point.id.absent)
    if count in (0, seeds):
        return "chosen" if count else ""
    return f"by {count} of {seeds} seeds"


def _value(curve: Curve, cell: Cell) -> str:
    return DASH if cell.mean is None else curve.scale.text(cell.mean)


def mean_temperatures(records: Iterable[Record]) -> dict[Name, float]:
    """Return the mean temperature over seeds of each row that has one.

    Examples
    --------
    >>> from bench.report.tables.choices import mean_temperatures
    >>> from bench.testing.fakes import fake_records
    >>> first = fake_records()[0].model_copy(update={"temperature": 1.5})
    >>> mean_temperatures([first])
    {('zero-shot', None): 1.5}
    """
    found: dict[Name, dict[Seed, float]] = defaultdict(dict)
    for record in records:
        if record.temperature is not None:
            found[record.method, record.base].setdefault(record.seed, record.temperature)
    return {row: fmean(by_seed.values()) for row, by_seed in found.items()}
