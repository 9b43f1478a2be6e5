"""A committed run's numbers by row name, for the sentences of results/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean

from bench.leaderboard.board import ID, Cell, Curve
from bench.leaderboard.stats.estimates import Interval
from bench.leaderboard.stats.significance import difference
from bench.leaderboard.suite_results import SuiteResults


@dataclass(frozen=True)
class Difference:
    """One row minus another, in fractions, with its 95% interval."""

    value: float
    interval: Interval

    @property
    def may_be_chance(self) -> bool:
        """Whether the interval contains 0 at the printed precision."""
        low, high = (round(100 * bound, 1) for bound in self.interval)
        return low <= 0 <= high

    def __str__(self) -> str:
        low, high = (f"{100 * bound:+.1f}" for bound in self.interval)
        return f"{100 * self.value:+.1f} ({low} to {high})"


@dataclass(frozen=True)
class Numbers:
    """A run's numbers by row name, such as ``vrf:lp-ft``: fractions, means over seeds."""

    measured: SuiteResults
    others: Mapping[str, Numbers] = field(default_factory=dict)

    def _cells(self, row: str, metric: str, *, scaled: bool) -> tuple[Cell, ...]:
        boards = self.measured.scaled if scaled else self.measured.common
        groups = boards[metric].groups
        rows = (r for group in groups for r in (*group.rows, *group.differences))
        return next(r.cells for r in rows if (r.method, r.base) == _name(row))

    def id(self, row: str, metric: str = "top1", *, scaled: bool = False) -> float:
        """The mean over seeds on the ID test set."""
        return mean(self._cells(row, metric, scaled=scaled)[0])

    def ood(self, row: str, metric: str = "top1", *, scaled: bool = False) -> float:
        """The mean over seeds of the OOD mean."""
        return mean(self._cells(row, metric, scaled=scaled)[-1])

    def ood_text(self, row: str) -> str:
        """The OOD mean of the accuracy in percent, with its deviation over seeds."""
        cell = self._cells(row, "top1", scaled=False)[-1]
        return f"{100 * mean(cell):.1f} ± {100 * (cell.std or 0):.1f}"

    def ood_by_seed(self, row: str) -> Mapping[int | None, float]:
        """The OOD mean of the accuracy by seed."""
        found: dict[int | None, list[float]] = {}
        for r in self.measured.records:
            is_cell = (r.kind, r.metric) == ("cell", "top1") and r.shift != ID
            if is_cell and (r.method, r.base) == _name(row):
                found.setdefault(r.seed, []).append(r.value)
        return {seed: fmean(values) for seed, values in found.items()}

    def minus(self, one: str, other: str, *, on_id: bool = False) -> Difference:
        """The paired difference of two rows' accuracy, of the OOD mean or on ID."""
        pair, at = (_name(one), _name(other)), 0 if on_id else -1
        found = difference(self.measured.board, self.measured.samples, *pair, at)
        assert found is not None, "a finding is about rows with samples"
        return Difference(*found)

    def rank(self, row: str) -> tuple[int, int]:
        """The row's range of ranks by OOD accuracy."""
        column = self.measured.comparison and self.measured.comparison.last
        assert column is not None, "a finding is about rows with samples"
        return column.ranks[_name(row)]

    def rows(self) -> tuple[str, ...]:
        """The names of all rows with the role "method"."""
        rows = (row for row in self.measured.board.rows if row.role == "method")
        return tuple(f"{r.method}:{r.base}" if r.base else r.method for r in rows)

    def temperature(self, row: str) -> float:
        """The row's temperature, mean over seeds."""
        found = {
            r.seed: r.temperature
            for r in self.measured.records
            if (r.method, r.base) == _name(row) and r.temperature is not None
        }
        return fmean(found.values())

    def above_frontier(self, row: str, other: str) -> float | None:
        """The OOD mean of `row` minus the best on the curve of `other` at no less ID accuracy.

        Both are means over seeds. Between two alphas the curve is taken to be straight. None if no
        point of the curve has the ID accuracy of `row`.
        """
        points = [(mean(point.id), mean(point.ood)) for point in self.curve(other).points]
        line = [
            (a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]))
            for a, b in pairwise(points)
            for t in (i / 50 for i in range(51))
        ]
        reached = [ood for id_, ood in line if id_ >= self.id(row)]
        return self.ood(row) - max(reached) if reached else None

    def curve(self, row: str) -> Curve:
        """The curve of the row's candidates."""
        return next(c for c in self.measured.curves if (c.method, c.base) == _name(row))


def _name(row: str) -> tuple[str, str | None]:
    method, _, base = row.partition(":")
    return method, base or None


def mean(cell: Cell) -> float:
    """The mean of a cell that has one."""
    assert cell.mean is not None, "a finding is about complete rows"
    return cell.mean


def claim(holds: bool, what: str) -> None:
    """Raise a ValueError if what a finding claims does not hold."""
    if not holds:
        raise ValueError(f"no longer so: {what}. Change the finding in scripts/pages/findings_*.py")


def points(fraction: float) -> str:
    """A fraction in percent or points."""
    return f"{100 * fraction:.1f}"
