"""The values a leaderboard consists of: cells, rows, groups, boards and curves.

`bench.leaderboard.build` builds them from records. Values are unrounded (fractions, nats). `Scale`
defines how a value is printed; reports and the terminal decide where.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from bench.api.metrics import FURTHER, METRICS, OWN, Metric, averageable
from bench.core.errors import unknown_name
from bench.core.records import MissingCell, Record, Role
from bench.core.trainings import TrainingRecord

ID = "id"
MEAN = "OOD mean"
PENDING = "pending"
"""The reason of a `MissingCell` that is planned and not yet computed (live display)."""
UNRECORDED = "no record"
"""The reason for an absent cell that no `MissingCell` explains."""
MARKS: Mapping[Role, str] = {
    "method": "",
    "transductive": "(transductive)",
    "control": "(ablation)",
    "oracle": "(oracle)",
}
"""What follows the title of a row that is not a method. Roles are listed in this order."""
Seed = int | None
Kind = Literal["cell", "scaled"]
KINDS: tuple[Kind, ...] = ("cell", "scaled")
"""The kinds of records that are leaderboard cells: without and with temperature scaling."""
BoardKey = tuple[str, str, str, tuple[str, ...]]
"""The key of a leaderboard: suite, model, protocol, watermarks."""
Name = tuple[str, str | None]
"""The key of a row: method and base."""


@dataclass(frozen=True)
class Scale:
    """How a metric is printed: the value times `factor`, in `unit`, with `decimals`.

    Examples
    --------
    >>> from bench.leaderboard.board import scale_of
    >>> scale_of("top1").text(0.78649), scale_of("nll").text(-0.0001)
    ('78.6', '0.000')
    """

    metric: str
    title: str
    unit: str
    factor: float
    decimals: int
    higher_is_better: bool

    def text(self, value: float, *, signed: bool = False) -> str:
        """Return the printed value; never a negative zero."""
        return f"{value * self.factor:{'+' if signed else ''}z.{self.decimals}f}"


def _scales(metrics: Mapping[str, Metric]) -> dict[str, Scale]:
    return {
        m.name: Scale(m.name, m.title, m.unit, m.factor, m.decimals, m.higher_is_better)
        for m in metrics.values()
    }


SCALES = _scales(METRICS)
"""Scales of the metrics that every set has, in the order of reports."""
OWN_SCALES = _scales(OWN)
"""Scales of the metrics that only some sets have. They match the scale of accuracy, so that one
board can hold both."""
FURTHER_SCALES = _scales(FURTHER)
"""Scales of the metrics that runs have only where they were asked for."""


@dataclass(frozen=True)
class Cell:
    """One cell of a row.

    Attributes
    ----------
    mean : mean over the seeds that have a value; None if none has.
    std : sample standard deviation (ddof 1); None with fewer than two seeds.
    seeds : the number of seeds that have a value.
    absent : the seeds without a value, each with the reason.
    best : whether the mean is the column's best at the printed precision.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records())
    >>> board.rows[0].cells[0]
    Cell(mean=0.6, std=None, seeds=1, absent=(), best=False)
    """

    mean: float | None = None
    std: float | None = None
    seeds: int = 0
    absent: tuple[tuple[Seed, str], ...] = ()
    best: bool = False


@dataclass(frozen=True)
class BoardRow:
    """A method on its base, or a difference of two methods, with one cell per column.

    `seeds` is ``(None,)`` for rows that need no training. `has_caveats` says whether a record of
    the row has a caveat that concerns this row, such as a training that changed nothing.
    `calibrated` says whether its method fitted temperatures before anything was measured.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records())
    >>> [(row.title, row.seeds, row.complete) for row in board.rows]
    [('Zero-shot', (None,), True), ('E2E-FT', (0,), True), ('VRF', (0,), True)]
    """

    method: str
    base: str | None
    title: str
    seeds: tuple[Seed, ...]
    cells: tuple[Cell, ...]
    role: Role = "method"
    has_caveats: bool = False
    calibrated: bool = False

    @property
    def complete(self) -> bool:
        """Whether every cell has all seeds. Incomplete rows have no OOD mean and no rank."""
        return not any(cell.absent for cell in self.cells)

    @property
    def seed_free(self) -> bool:
        """Whether the row needs no training and so has no deviation over seeds."""
        return self.seeds == (None,)


@dataclass(frozen=True)
class Group:
    """The rows without a base (`base` None), or the row of a base and its ensembles.

    The base's own row comes first, if it was run. Methods come before controls, and controls
    before oracles.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records())
    >>> [(group.base, [row.method for row in group.rows]) for group in board.groups]
    [(None, ['zero-shot']), ('e2e-ft', ['e2e-ft', 'vrf'])]
    """

    base: str | None
    rows: tuple[BoardRow, ...]
    differences: tuple[BoardRow, ...] = ()

    @property
    def lacks_base(self) -> bool:
        """Whether the base's own row was not run."""
        return self.base is not None and self.rows[0].base is not None

    def of(self, role: Role) -> tuple[BoardRow, ...]:
        """Return the rows of one role."""
        return tuple(row for row in self.rows if row.role == role)


@dataclass(frozen=True)
class Board:
    """The leaderboard of one suite, model and protocol.

    It is in one metric, or in the primary metric of each set.

    Attributes
    ----------
    notes : the watermarks of all its records.
    scale : the scale of the metric on ID.
    shifts : the shifts in suite order.
    shifts_in_suite : how many shifts of the suite count in the OOD mean.
    metrics : the metric on ID and on each shift.
    groups : its rows.
    outside_mean : the shifts that are not part of the OOD mean.
    prompts : where class names and templates came from, if the suite states it.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records())
    >>> board.columns, board.ranked
    (('ID', 'v2', 'sketch', 'OOD mean'), True)
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
        """The shifts that count in the mean."""
        return tuple(shift for shift in self.shifts if shift not in self.outside_mean)

    @property
    def title(self) -> str:
        """The name of the metric, or metrics, of the board."""
        others = "" if len(set(self.metrics)) == 1 else " or a set's own metric"
        return f"{self.scale.title}{others}"

    @property
    def key(self) -> BoardKey:
        """Suite, model, protocol, watermarks."""
        return (self.suite, self.model, self.protocol, self.notes)

    @property
    def partial(self) -> bool:
        """Whether some of the suite's shifts were not run."""
        return len(self.over) < self.shifts_in_suite

    @property
    def ranked(self) -> bool:
        """Whether the best values are marked: all shifts were run and there is no watermark."""
        return not self.notes and not self.partial

    @property
    def averaged(self) -> bool:
        """Whether there is an OOD mean: there are shifts, and their metrics can be averaged."""
        metrics = dict(zip(self.shifts, self.metrics[1:], strict=True))
        return bool(self.over) and averageable(metrics[shift] for shift in self.over)

    @property
    def over_shifts(self) -> str:
        """The label of the mean: ``OOD mean``, ``mean of k``, or ``ID`` if there are no shifts."""
        if not self.over:
            return "ID"
        return f"mean of {len(self.over)}" if self.partial else MEAN

    @property
    def columns(self) -> tuple[str, ...]:
        """The column labels: ``ID``, the shifts, and the mean over them if there is one.

        A shift whose metric differs from that of ID shows it in parentheses.
        """
        pairs = zip(("ID", *self.shifts), self.metrics, strict=True)
        labels = [label + self._metric_suffix(metric) for label, metric in pairs]
        return (*labels, *((self.over_shifts,) if self.averaged else ()))

    def _metric_suffix(self, metric: str) -> str:
        """Return what a column label appends for a metric other than that of ID."""
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
        """Whether rows with seeds were run with different seeds."""
        return len({row.seeds for row in self.rows if not row.seed_free}) > 1


@dataclass(frozen=True)
class Point:
    """One candidate of a curve.

    Attributes
    ----------
    choice : the candidate's hyper-parameters as sorted (name, value) pairs.
    id, ood : its cells on ID and for the OOD mean.
    chosen : the seeds that chose it.
    shifts : its cells on each shift that counts in the mean.

    Examples
    --------
    A candidate with its cells on ID and for the OOD mean, and the seeds that chose it.

    >>> from bench.leaderboard.board import Cell, Point
    >>> Point((("alpha", 0.5),), id=Cell(0.8, seeds=1), ood=Cell(0.5, seeds=1), chosen=(0,)).choice
    (('alpha', 0.5),)
    """

    choice: tuple[tuple[str, float], ...]
    id: Cell
    ood: Cell
    chosen: tuple[Seed, ...]
    shifts: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class Curve:
    """ID value and OOD mean of every candidate of a method, chosen or not. Never ranked.

    Examples
    --------
    >>> from bench.leaderboard.build import build_curves
    >>> from bench.testing.fakes import fake_records
    >>> (record,) = fake_records({"ose:e2e-ft": (0.8,)}, shifts=[])
    >>> point = record.model_copy(update={"kind": "curve", "choice": {"alpha": 0.5}})
    >>> (curve,) = build_curves([point])
    >>> curve.title, curve.points[0].choice
    ('OSE', (('alpha', 0.5),))
    """

    key: BoardKey
    method: str
    base: str | None
    title: str
    scale: Scale
    points: tuple[Point, ...]


def board_key(item: Record | MissingCell | TrainingRecord) -> BoardKey:
    """Return the key of the leaderboard that a cell or a training belongs to.

    Examples
    --------
    >>> from bench.leaderboard.board import board_key
    >>> from bench.testing.fakes import fake_records
    >>> board_key(fake_records()[0])
    ('fake', 'fake/none', 'clean', ())
    """
    notes = item.notes if len(item.notes) < 2 else tuple(sorted(item.notes))
    return (item.suite, item.model, item.protocol, notes)


def scale_of(metric: str | Scale) -> Scale:
    """Return the scale on which a metric is printed. Raises InputError for an unknown name.

    Examples
    --------
    >>> from bench.leaderboard.board import scale_of
    >>> scale_of("ece").unit, scale_of("pm-0").title
    ('percent', 'pm-0')
    """
    if isinstance(metric, Scale):
        return metric
    every = SCALES | OWN_SCALES | FURTHER_SCALES
    if metric not in every:
        raise unknown_name("metric", metric, every)
    return every[metric]
