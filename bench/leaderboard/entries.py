"""What the rows of a leaderboard have: values, and reasons for absent ones, by set and seed.

Records are gone through once; boards in all metrics are made of what was found then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev

from bench.api.metrics import averageable
from bench.core.errors import InputError
from bench.core.records import MissingCell, Record, Role
from bench.leaderboard.board import ID, MEAN, UNRECORDED, BoardRow, Cell, Name, Seed
from bench.leaderboard.comparability import describe_conflict, same_value

Place = tuple[str, Seed]
"""An evaluation set and a seed."""


@dataclass(frozen=True)
class RowEntry:
    """The data of a row: values, and reasons for absent values, by place.

    Examples
    --------
    >>> from bench.leaderboard.entries import RowEntry
    >>> entry = RowEntry("vrf", "e2e-ft", "VRF", values={("id", 0): 0.8, ("v2", 0): 0.6})
    >>> entry.with_mean(["v2"]).values["OOD mean", 0]
    0.6
    """

    method: str
    base: str | None
    title: str
    role: Role = "method"
    values: Mapping[Place, float] = field(default_factory=dict)
    reasons: Mapping[Place, str] = field(default_factory=dict)
    has_caveats: bool = False
    calibrated: bool = False

    @property
    def seeds(self) -> tuple[Seed, ...]:
        """All seeds planned or measured for the row, ascending."""
        found = {seed for _, seed in (*self.values, *self.reasons)}
        return tuple(sorted(found, key=lambda s: -1 if s is None else s))

    def with_mean(self, shifts: Sequence[str]) -> RowEntry:
        """Return the entry with its OOD mean per seed; unchanged if any cell is absent."""
        seeds = self.seeds
        needed = [(shift, seed) for shift in (ID, *shifts) for seed in seeds]
        if not shifts or not all(place in self.values for place in needed):
            return self
        ood = {(MEAN, s): fmean(self.values[shift, s] for shift in shifts) for s in seeds}
        return replace(self, values={**self.values, **ood})

    def row(self, columns: Sequence[str]) -> BoardRow:
        """Return the entry as a row of the board."""
        seeds = self.seeds
        cells = tuple(self._cell(column, seeds) for column in columns)
        names = self.method, self.base, self.title
        facts = self.role, self.has_caveats, self.calibrated
        return BoardRow(*names, seeds, cells, *facts)

    def _cell(self, column: str, seeds: Sequence[Seed]) -> Cell:
        found = [self.values[column, s] for s in seeds if (column, s) in self.values]
        absent = tuple(
            (seed, self.reasons.get((column, seed), UNRECORDED))
            for seed in seeds
            if (column, seed) not in self.values
        )
        mean = fmean(found) if found else None
        return Cell(mean, stdev(found) if len(found) > 1 else None, len(found), absent)


class BoardEntries:
    """The rows of a leaderboard in any metric, from its records and missing cells.

    Examples
    --------
    >>> from bench.leaderboard.entries import BoardEntries
    >>> from bench.testing.fakes import fake_records
    >>> found = BoardEntries(fake_records())
    >>> rows = found.of({"id": "top1", "v2": "top1", "sketch": "top1"}, "cell", ["v2", "sketch"])
    >>> rows["zero-shot", None].values["id", None]
    0.6
    """

    def __init__(self, items: Iterable[Record | MissingCell]) -> None:
        self._values: dict[tuple[str, str, str], dict[Name, dict[Seed, float]]] = {}
        self._conflicts: dict[tuple[str, str, str], str] = {}
        self._reasons: dict[Name, dict[Place, dict[str, str]]] = defaultdict(dict)
        self._titles: dict[Name, str] = {}
        self._roles: dict[Name, Role] = {}
        self._doubtful: set[Name] = set()
        self._calibrated: set[Name] = set()
        for item in items:
            self._add(item)

    def _add(self, item: Record | MissingCell) -> None:
        row, place = (item.method, item.base), (item.shift, item.seed)
        self._titles[row] = min(self._titles.get(row, item.title), item.title)
        self._roles[row] = item.role
        if isinstance(item, MissingCell):
            of_place = self._reasons[row].setdefault(place, {})
            of_place |= dict.fromkeys(("", *item.lacking), item.reason)
            return
        self._reasons[row].setdefault(place, {"": UNRECORDED})
        if item.provenance.get("caveats", {}).get("row"):
            self._doubtful.add(row)
        if _is_calibrated(item):
            self._calibrated.add(row)
        measured = (item.metric, item.kind, item.shift)
        of_row = self._values.setdefault(measured, {}).setdefault(row, {})
        if not same_value(of_row.setdefault(item.seed, item.value), item.value):
            self._conflicts.setdefault(measured, describe_conflict(item, of_row[item.seed]))

    def of(
        self, metrics: Mapping[str, str], kind: str, shifts: Sequence[str]
    ) -> dict[Name, RowEntry]:
        """Return one entry per row, even if it has no value of these metrics and kind.

        `metrics` has the metric of each set; the values of a row are averaged over `shifts`. Raises
        InputError if one of the values was given twice and differently; of values that differ by
        rounding alone (`same_value`), the first is taken.
        """
        places = {(metric, kind, shift) for shift, metric in metrics.items()}
        if conflict := next((c for at, c in self._conflicts.items() if at in places), None):
            raise InputError(conflict)
        averaged = shifts if averageable(metrics[shift] for shift in shifts) else ()
        measured = [(shift, self._values.get((m, kind, shift), {})) for shift, m in metrics.items()]
        # The records of an oracle are points of a curve, which the row of its method explains.
        known = self._calibrated
        calibrated = {r for r in self._titles if r in known or _of_method(r) in known}

        sign = "" if kind == "cell" else f"{kind} "  # as in `MissingCell.lacking`
        what = {shift: f"{sign}{metric}" for shift, metric in metrics.items()}

        def entry(row: Name, title: str) -> RowEntry:
            values = {(shift, s): v for shift, at in measured for s, v in at.get(row, {}).items()}
            marks = row in self._doubtful, row in calibrated
            reasons = {
                (shift, s): of_place.get(what[shift], of_place[""])
                for (shift, s), of_place in self._reasons[row].items()
                if shift in metrics
            }
            found = RowEntry(*row, title, self._roles[row], values, reasons, *marks)
            return found.with_mean(averaged)

        return {row: entry(row, title) for row, title in self._titles.items()}


def _of_method(row: Name) -> Name:
    """Return the row of the method that an oracle's row belongs to."""
    return row[0].partition("-oracle-")[0], row[1]


def _is_calibrated(record: Record) -> bool:
    """Whether the record's method fitted temperatures before it was measured.

    Records of earlier versions do not state it; the setting of such methods was ``calibrate``.
    """
    method = record.provenance.get("method")
    setting = method.get("calibrate", "none") if isinstance(method, Mapping) else "none"
    return bool(record.provenance.get("calibrated", setting != "none"))
