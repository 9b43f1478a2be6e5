"""Metrics derived from the cells of a row: how it does on the shifts, given how it does on ID.

They are functions of accuracies on ID and on the shifts, not of samples, and are computed when a
report is written. So asking for them changes no cell, no key and no record.

The **ID-OOD gap** is ID minus OOD. **Effective robustness** (Taori et al., Measuring Robustness to
Natural Distribution Shifts in Image Classification, NeurIPS 2020) is OOD - beta(ID), where beta is
the OOD accuracy that baseline models of the same ID accuracy have: a line through the baselines'
logits, fitted by least squares (`bench.leaderboard.published.baselines`). **Relative robustness**
(same paper) is OOD minus that of the model before the intervention, here the zero-shot model.

An interval accounts for what the intervals of accuracies do: the samples of the sets, training runs
and the selection split. Effective robustness is linearised at the row's ID accuracy x,

    OOD - beta(ID) ~ sum_k p_k / K - beta'(x) p_id + constant,
    beta'(x) = slope beta (1 - beta) / (x (1 - x)),

and its line is taken as given: the choice of baselines and their noise are not in the interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from bench.api.method import ZERO_SHOT
from bench.api.metrics import ACCURACY
from bench.leaderboard.board import ID, Board, BoardRow, Cell, Group, Name, Scale
from bench.leaderboard.published.baselines import (
    LEAST,
    Baseline,
    BaselineLine,
    fit_line,
    usable_baselines,
)
from bench.leaderboard.stats.contrasts import column_contrast
from bench.leaderboard.stats.estimates import Interval
from bench.leaderboard.stats.significance import difference
from bench.leaderboard.suite_results import SuiteResults

GAP, EFFECTIVE, RELATIVE = "id-ood-gap", "effective-robustness", "relative-robustness"


@dataclass(frozen=True)
class DerivedMetric:
    """A metric of a row's accuracies: its name, its title in reports, and its definition.

    Values are differences of accuracies, as fractions. `better` is ``higher`` or ``lower``.

    Examples
    --------
    >>> from bench.leaderboard.robustness import DERIVED
    >>> DERIVED["id-ood-gap"].title, DERIVED["id-ood-gap"].better
    ('ID-OOD gap', 'lower')
    """

    name: str
    title: str
    definition: str
    better: str

    @property
    def scale(self) -> Scale:
        """The scale on which it is printed: points, one decimal."""
        return Scale(self.name, self.title, "points", 100, 1, self.better == "higher")


DERIVED: Mapping[str, DerivedMetric] = {
    metric.name: metric
    for metric in (
        DerivedMetric(
            GAP,
            "ID-OOD gap",
            "The accuracy on ID minus that on a shift, or minus the mean over the shifts. A row "
            "that is bad everywhere has a small gap.",
            "lower",
        ),
        DerivedMetric(
            EFFECTIVE,
            "Effective robustness",
            "The accuracy on a shift minus that of baseline models with the same ID accuracy, by a "
            "line through the baselines' logits (Taori et al., NeurIPS 2020). It depends on the "
            "baselines, which the report names.",
            "higher",
        ),
        DerivedMetric(
            RELATIVE,
            "Relative robustness",
            "The accuracy on a shift minus that of the zero-shot model there (Taori et al., "
            "NeurIPS 2020: minus that of the model before the intervention).",
            "higher",
        ),
    )
}
"""The derived metrics by name, in the order of reports."""


@dataclass(frozen=True)
class DerivedBoard:
    """The values of a derived metric.

    Attributes
    ----------
    metric : the metric.
    board : the leaderboard with its values in place of accuracies; the cells of ID have none.
    intervals : by row, 95% intervals by column; None where there is none.
    about : what it was computed against, for the reader.
    reason : why there are no values; empty if there are.

    Examples
    --------
    >>> from bench.leaderboard.robustness import derived_board
    >>> from bench.leaderboard.suite_results import measured
    >>> from bench.testing.fakes import fake_records
    >>> (results,) = measured(fake_records())
    >>> found = derived_board("relative-robustness", results)
    >>> [round(cell.mean, 2) for cell in found.board.rows[1].cells[1:]], found.about
    ([0.0, -0.1, -0.05], 'Minus the accuracy of Zero-shot.')
    """

    metric: DerivedMetric
    board: Board
    intervals: Mapping[Name, tuple[Interval | None, ...]]
    about: str
    reason: str = ""


Value = tuple[float, Interval | None]
_Measure = Callable[[BoardRow, int, tuple[str, ...]], Value | None]
"""The value of a row in a column (its position), which averages these shifts."""


def derived_board(
    name: str, numbers: SuiteResults, baselines: Iterable[Baseline] = ()
) -> DerivedBoard:
    """Return the values of the derived metric `name` for every row of a suite's results.

    Parameters
    ----------
    name : a name in `DERIVED`.
    numbers : the results.
    baselines : models for effective robustness, besides those that ship with bench for the suite.

    Only accuracies count: a shift whose accuracy was not measured has no value. An interval needs
    stored samples, and accuracy as the primary metric of the sets. The column of the mean is
    computed from the means over the shifts. It is not the mean of the other columns.

    Examples
    --------
    >>> from bench.leaderboard.published.baselines import Baseline
    >>> from bench.leaderboard.robustness import derived_board
    >>> from bench.leaderboard.suite_results import measured
    >>> from bench.testing.fakes import fake_records
    >>> (results,) = measured(fake_records())
    >>> derived_board("effective-robustness", results).reason
    '0 baselines have ID and every shift of the mean, and a line needs 3 (bench report --baselines)'
    >>> given = [Baseline(f"m{i}", "a paper", {"id": x, "v2": x, "sketch": x})
    ...          for i, x in enumerate((0.5, 0.6, 0.7))]
    >>> cells = derived_board("effective-robustness", results, given).board.rows[0].cells
    >>> round(cells[1].mean, 3)
    -0.1
    """
    metric, board = DERIVED[name], numbers.common[ACCURACY.name]
    measure, about = _measures(name, numbers, board, baselines)
    if measure is None:
        return DerivedBoard(metric, _emptied(board, metric), {}, "", about)
    groups, intervals = [], {}
    for group in board.groups:
        rows = []
        for row in group.rows:
            values = [_value(row, at, board, measure) for at in range(1, len(board.columns))]
            cells = [_cell(cell, v) for cell, v in zip(row.cells[1:], values, strict=True)]
            rows.append(replace(row, cells=(Cell(), *cells)))
            intervals[row.method, row.base] = (None, *(v[1] if v else None for v in values))
        groups.append(Group(group.base, tuple(rows)))
    made = replace(_emptied(board, metric), groups=tuple(groups))
    return DerivedBoard(metric, made, intervals, about)


def _measures(
    name: str, numbers: SuiteResults, board: Board, given: Iterable[Baseline]
) -> tuple[_Measure | None, str]:
    """Return how a metric is measured and against what, or None and why it cannot be."""
    if not board.over:
        return None, "the results have no shift"
    if name == GAP:
        return _gap(numbers), "The accuracy on ID minus that of the column."
    if name == RELATIVE:
        rows = {(row.method, row.base): row for row in board.rows}
        zero = rows.get((ZERO_SHOT, None))
        if zero is None:
            return None, "the results have no zero-shot row to subtract"
        return _relative(numbers, zero), f"Minus the accuracy of {zero.title}."
    models = usable_baselines(numbers, given)
    if _line(models, board.over) is None:
        return None, (
            f"{len(models)} baselines have ID and every shift of the mean, and a line needs "
            f"{LEAST} (bench report --baselines)"
        )
    sources = "; ".join(sorted({model.source for model in models}))
    about = (
        f"Above a line through the logits of {len(models)} baselines ({sources}), one line for "
        "each column. Intervals take the line as given."
    )
    return _effective(numbers, models), about


def _value(row: BoardRow, at: int, board: Board, measure: _Measure) -> Value | None:
    """Return the value of a row in a column, or None if it has none."""
    is_mean = at > len(board.shifts)
    shifts = board.over if is_mean else (board.shifts[at - 1],)
    if row.cells[0].mean is None or row.cells[at].mean is None or not {*shifts} <= {*board.over}:
        return None
    return measure(row, at, shifts)


def _gap(numbers: SuiteResults) -> _Measure:
    def measure(row: BoardRow, at: int, shifts: tuple[str, ...]) -> Value:
        of_id, ood = _accuracies(row, at)
        weights = {ID: 1.0} | {shift: -1 / len(shifts) for shift in shifts}
        return of_id - ood, _interval(numbers, row, weights, of_id - ood)

    return measure


def _effective(numbers: SuiteResults, models: Sequence[Baseline]) -> _Measure:
    def measure(row: BoardRow, at: int, shifts: tuple[str, ...]) -> Value | None:
        line = _line(models, shifts)
        if line is None:
            return None
        of_id, ood = _accuracies(row, at)
        value = ood - line.expected(of_id)
        weights = {ID: -steepness(line, of_id)} | {shift: 1 / len(shifts) for shift in shifts}
        return value, _interval(numbers, row, weights, value)

    return measure


def _relative(numbers: SuiteResults, zero: BoardRow) -> _Measure:
    def measure(row: BoardRow, at: int, shifts: tuple[str, ...]) -> Value | None:
        before = zero.cells[at].mean
        _, ood = _accuracies(row, at)
        if before is None or row is zero:
            return None
        found = None
        if _is_accuracy(numbers, shifts) and numbers.samples:
            names = (row.method, row.base), (zero.method, zero.base)
            found = difference(numbers.board, numbers.samples, *names, at)
        return ood - before, None if found is None else found[1]

    return measure


def _accuracies(row: BoardRow, at: int) -> tuple[float, float]:
    return row.cells[0].mean or 0.0, row.cells[at].mean or 0.0


def _interval(
    numbers: SuiteResults, row: BoardRow, weights: Mapping[str, float], value: float
) -> Interval | None:
    """Return the interval of the contrast with these weights, moved to `value`."""
    if not _is_accuracy(numbers, weights):
        return None
    found = column_contrast(row, weights, numbers.samples)
    if found is None:
        return None
    low, high = (float(bound - found.value) + value for bound in found.interval())
    return Interval(low, high)


def _is_accuracy(numbers: SuiteResults, places: Iterable[str]) -> bool:
    """Whether the stored outcomes of the sets are right or wrong answers."""
    board = numbers.board
    metrics = dict(zip((ID, *board.shifts), board.metrics, strict=True))
    return {metrics[place] for place in places} == {ACCURACY.name}


def _line(models: Sequence[Baseline], shifts: Sequence[str]) -> BaselineLine | None:
    """Return the line of the mean over `shifts`; None with too few models."""
    return fit_line([(m.values[ID], fmean(m.values[s] for s in shifts)) for m in models])


def steepness(line: BaselineLine, of_id: float) -> float:
    """Return the derivative of the expected OOD accuracy at an ID accuracy; 0 near 0 and 1.

    Examples
    --------
    >>> from bench.leaderboard.published.baselines import BaselineLine
    >>> from bench.leaderboard.robustness import steepness
    >>> round(steepness(BaselineLine(slope=1.0, offset=0.0, r2=1.0), 0.7), 6)
    1.0
    """
    if not 0.0005 < of_id < 0.9995:  # beyond, logits are clipped
        return 0.0
    beta = line.expected(of_id)
    return line.slope * beta * (1 - beta) / (of_id * (1 - of_id))


def _cell(cell: Cell, value: Value | None) -> Cell:
    return Cell(None if value is None else value[0], None, cell.seeds, cell.absent)


def _emptied(board: Board, metric: DerivedMetric) -> Board:
    metrics = (metric.name,) * len(board.metrics)
    return replace(board, scale=metric.scale, metrics=metrics, groups=())
