"""What a leaderboard is, as values: cells, rows, groups, boards and curves.

`bench.leaderboard.build` makes them of records. Values stay unrounded (fractions, nats); how they
are printed is `Scale`'s, where they are printed is the business of reports and of the terminal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from bench.api.metrics import METRICS, OWN, Metric, averageable
from bench.core.errors import unknown_name
from bench.core.records import MissingCell, Record, Role

ID = "id"
MEAN = "OOD mean"
PENDING = "pending"
"""The reason of a `MissingCell` cell that is planned and not yet computed (live display)."""
UNRECORDED = "no record"
"""The reason given for an absent cell that no `MissingCell` explains."""
MARKS: Mapping[Role, str] = {
    "method": "",
    "control": "(control)",
    "oracle": "(chosen in hindsight)",
}
"""What follows the title of a row that is no method; roles come in this order."""
Seed = int | None
Kind = Literal["cell", "scaled"]
KINDS: tuple[Kind, ...] = ("cell", "scaled")
"""The kinds of records that are cells of leaderboards: without and with temperature scaling."""
BoardKey = tuple[str, str, str, tuple[str, ...]]
"""What separates leaderboards: suite, model, protocol, watermarks."""
Name = tuple[str, str | None]
"""What separates rows: method and base."""


@dataclass(frozen=True)
class Scale:
    """How a metric is printed: value times `factor`, in `unit`, with `decimals`."""

    metric: str
    title: str
    unit: str
    factor: float
    decimals: int
    higher_is_better: bool

    def text(self, value: float, *, signed: bool = False) -> str:
        """The printed value; never a negative zero."""
        return f"{value * self.factor:{'+' if signed else ''}z.{self.decimals}f}"


def _scales(metrics: Mapping[str, Metric]) -> dict[str, Scale]:
    return {
        m.name: Scale(m.name, m.title, m.unit, m.factor, m.decimals, m.higher_is_better)
        for m in metrics.values()
    }


SCALES = _scales(METRICS)
"""How the metrics of all sets are printed, in the order of reports."""
OWN_SCALES = _scales(OWN)
"""How the metrics of some sets alone are printed: as accuracy is, so that one board holds both."""


@dataclass(frozen=True)
class Cell:
    """One cell of a row.

    `mean` over the `seeds` that have a value (None if none has); `std` the sample standard
    deviation (ddof 1), None with fewer than two; `absent` the seeds without a value and why;
    `best` whether it is the column's best at the printed precision.
    """

    mean: float | None = None
    std: float | None = None
    seeds: int = 0
    absent: tuple[tuple[Seed, str], ...] = ()
    best: bool = False


@dataclass(frozen=True)
class BoardRow:
    """A method on its base, with one cell per column; a difference row is one too.

    `seeds` is ``(None,)`` for rows into which no training went.
    """

    method: str
    base: str | None
    title: str
    seeds: tuple[Seed, ...]
    cells: tuple[Cell, ...]
    role: Role = "method"

    @property
    def complete(self) -> bool:
        """Whether no cell lacks a seed. Others have no OOD mean and are not ranked."""
        return not any(cell.absent for cell in self.cells)

    @property
    def seed_free(self) -> bool:
        """Whether no training went into the row, so that it has no deviation."""
        return self.seeds == (None,)


@dataclass(frozen=True)
class Group:
    """Rows that belong together: those of no base (`base` None), or a base and its ensembles.

    The base's own row comes first; it is not there if it was not run. Methods come before
    controls, and those before what was chosen in hindsight.
    """

    base: str | None
    rows: tuple[BoardRow, ...]
    differences: tuple[BoardRow, ...] = ()

    @property
    def lacks_base(self) -> bool:
        """Whether the base's own row was not run."""
        return self.base is not None and self.rows[0].base is not None

    def of(self, role: Role) -> tuple[BoardRow, ...]:
        """The rows of one role."""
        return tuple(row for row in self.rows if row.role == role)


@dataclass(frozen=True)
class Board:
    """The leaderboard of one suite, model and protocol in one metric, or in each set's own.

    `columns` holds the labels: ID, the shifts in suite order, the OOD mean (if there are shifts).
    `notes` are the watermarks all its records carry, `metrics` those of ID and of each shift;
    `scale` is that of ID; `outside_mean` names the shifts that are no part of the mean; `prompts`
    says where class names and templates came from, if the suite does.
    """

    suite: str
    model: str
    protocol: str
    notes: tuple[str, ...]
    scale: Scale
    shifts: tuple[str, ...]
    shifts_in_suite: int
    metrics: tuple[str, ...]
    groups: tuple[Group, ...]
    outside_mean: tuple[str, ...] = ()
    prompts: str = ""

    @property
    def over(self) -> tuple[str, ...]:
        """The shifts that the mean is over."""
        return tuple(shift for shift in self.shifts if shift not in self.outside_mean)

    @property
    def title(self) -> str:
        """What the numbers are."""
        others = "" if len(set(self.metrics)) == 1 else " or a set's own metric"
        return f"{self.scale.title}{others}"

    @property
    def key(self) -> BoardKey:
        """Suite, model, protocol, watermarks."""
        return (self.suite, self.model, self.protocol, self.notes)

    @property
    def partial(self) -> bool:
        """Whether only some of the suite's shifts were run."""
        return len(self.over) < self.shifts_in_suite

    @property
    def ranked(self) -> bool:
        """Whether the best are marked: no watermark, and all shifts of the suite."""
        return not self.notes and not self.partial

    @property
    def averaged(self) -> bool:
        """Whether there is an OOD mean: not over no shifts, nor over metrics that have none."""
        metrics = dict(zip(self.shifts, self.metrics[1:], strict=True))
        return bool(self.over) and averageable(metrics[shift] for shift in self.over)

    @property
    def over_shifts(self) -> str:
        """What a mean over the shifts is called: ``OOD mean`` or ``mean of k``; ``ID`` of none."""
        if not self.over:
            return "ID"
        return f"mean of {len(self.over)}" if self.partial else MEAN

    @property
    def columns(self) -> tuple[str, ...]:
        """Labels: ``ID``, the shifts with their metrics if not ID's, and the mean over them."""
        pairs = zip(("ID", *self.shifts), self.metrics, strict=True)
        labels = [label + self._own(metric) for label, metric in pairs]
        return (*labels, *((self.over_shifts,) if self.averaged else ()))

    def _own(self, metric: str) -> str:
        """What a label says of a metric that is not ID's."""
        if metric == self.scale.metric:
            return ""
        title = scale_of(metric).title
        return f" ({title[0].lower()}{title[1:]})"

    @cached_property
    def rows(self) -> tuple[BoardRow, ...]:
        """All rows in printed order, without difference rows."""
        return tuple(row for group in self.groups for row in group.rows)

    @property
    def has_deviations(self) -> bool:
        """Whether any row has at least two seeds."""
        return any(cell.std is not None for row in self.rows for cell in row.cells)

    @property
    def seeds_differ(self) -> bool:
        """Whether rows with seeds were run with different ones."""
        return len({row.seeds for row in self.rows if not row.seed_free}) > 1


@dataclass(frozen=True)
class Point:
    """One candidate of a curve; `chosen` lists the seeds that chose it.

    `shifts` are its cells on each of the shifts that the mean is over.
    """

    choice: tuple[tuple[str, float], ...]
    id: Cell
    ood: Cell
    chosen: tuple[Seed, ...]
    shifts: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class Curve:
    """ID and OOD mean of every candidate of a method, chosen or not. Never ranked."""

    key: BoardKey
    method: str
    base: str | None
    title: str
    scale: Scale
    points: tuple[Point, ...]


def board_key(item: Record | MissingCell) -> BoardKey:
    """The leaderboard a cell belongs to."""
    return (item.suite, item.model, item.protocol, tuple(sorted(item.notes)))


def scale_of(metric: str | Scale) -> Scale:
    """How a metric is printed. Raises InputError for an unknown name."""
    if isinstance(metric, Scale):
        return metric
    if metric not in SCALES | OWN_SCALES:
        raise unknown_name("metric", metric, SCALES | OWN_SCALES)
    return (SCALES | OWN_SCALES)[metric]
