"""Published tables as data: what papers, slides and listings print, cell by cell.

There is one JSON file per table in results/published/ (`bench.leaderboard.published.papers` once
installed). A value is its printed text with all digits. Averages and differences are stored as
printed, whether or not they agree with the cells they were computed from. Errors and doubts are
noted as remarks. The tables hold no value measured by bench; those are in records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated, Literal, Self

import pydantic

from bench.core.errors import InputError, unknown_name
from bench.data.cards import Text, Url

Printed = Annotated[str, pydantic.StringConstraints(pattern=r"^[+-]?\d+(\.\d+)?$")]
"""A number as the source prints it."""
Kind = Literal["arithmetic", "doubt", "elsewhere", "note"]
"""The kind of a remark: the table's own arithmetic fails, the cells are doubtful, another source or
table has other numbers, or anything else."""


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class PublishedSource(_Strict):
    """Where a table is printed.

    `seen_in` states which text of it was read; `secondary` is whether it reports numbers that
    others measured.

    Examples
    --------
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> find_published_table("vrf-table1").source.table
    'Table 1'
    """

    paper: Text
    arxiv: Text | None
    table: Text
    url: Url | None
    seen_in: Text
    secondary: bool


class Conditions(_Strict):
    """How the numbers were obtained, as far as known.

    Attributes
    ----------
    ours : the protocol of bench that chooses and measures in the same way.
    chosen : what was chosen, and on which data.
    training : how models were fine-tuned.
    ece : the definition of the ECE; None if the table has no ECE.

    Examples
    --------
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> find_published_table("vrf-table1").conditions.ours
    'official'
    """

    ours: Literal["clean", "official"]
    chosen: Text
    training: Text
    ece: Text | None


class PublishedColumn(_Strict):
    """A column: its printed title, and the data set and metric it actually holds.

    `suite` is that of the source. `dataset` is one of `PLACES`, one of `MEANS`, or a set that no
    suite of bench has. `scaled` is whether temperature scaling was applied; None if it makes no
    difference.

    Examples
    --------
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> [column.name for column in find_published_table("vrf-table1").columns]
    ['imagenet', 'imagenet-v2', 'imagenet-sketch', 'imagenet-a', 'imagenet-r', 'objectnet', 'avg5']
    """

    label: Text
    suite: Text
    dataset: Text
    metric: Literal["top1", "ece", "macro-f1", "worst-region", "pm-0"]
    unit: Literal["percent", "fraction"]
    scaled: bool | None

    @property
    def name(self) -> str:
        """Its name in remarks: ``imagenet-a``, ``avg5 ece w/ TS``."""
        metric = () if self.metric == "top1" else (self.metric,)
        return " ".join((self.dataset, *metric, *(("w/ TS",) if self.scaled else ())))


class PublishedRow(_Strict):
    """A row: its title, the method it is, and its printed cells, one per column.

    Attributes
    ----------
    label : the title.
    ours : the corresponding row of bench, as on the command line.
    method : the method.
    base : the fine-tuned model that an ensemble is built on.
    minus : for a difference row, the method that is subtracted from `method`, on the same base.
    modifiers : what distinguishes it: a fixed alpha, a, b, label smoothing, how alpha was chosen...
    cells : the printed cells; None where the source has none.

    Examples
    --------
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> group, row = find_published_table("vrf-table1").rows[2]
    >>> row.name, row.ours
    ('e2e-ft', 'e2e-ft')
    """

    label: Text
    ours: Text | None
    method: Text
    base: Text | None
    minus: Text | None = None
    modifiers: dict[Text, bool | float | Text]
    cells: tuple[Printed | None, ...]

    @property
    def name(self) -> str:
        """Its name in remarks: ``vrf:lp-ft``, ``e2e-ft+ls``, ``wise-ft:linear alpha=0.5``."""
        minus = f" - {self.minus}" if self.minus else ""
        smoothed = "+ls" if self.modifiers.get("label_smoothing") else ""
        base = f":{self.base}" if self.base else ""
        given = [f"{k}={v:g}" for k, v in self.given.items()]
        source = self.modifiers.get("source_of_row")
        named = (f"source_of_row={source}",) if source else ()
        return " ".join((f"{self.method}{minus}{base}{smoothed}", *given, *named))

    @property
    def given(self) -> Mapping[str, float]:
        """The parameters that were fixed rather than chosen: alpha, or a and b."""
        return {k: float(self.modifiers[k]) for k in ("alpha", "a", "b") if k in self.modifiers}

    @property
    def in_hindsight(self) -> bool:
        """Whether its parameters were chosen on the test sets themselves."""
        return any("oracle" in str(value) for value in self.modifiers.values())


class PublishedGroup(_Strict):
    """Rows of one backbone, separated from other rows by a rule.

    Examples
    --------
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> find_published_table("vrf-table1").groups[0].backbone
    'ViT-B/32'
    """

    backbone: Text
    rows: tuple[PublishedRow, ...] = pydantic.Field(min_length=1)


class Remark(_Strict):
    """A remark on the cells of `rows` and `columns`; an empty tuple stands for all of them.

    `bars` is whether no run of bench can be compared with these cells; `text` gives the reason.

    Examples
    --------
    >>> from bench.leaderboard.published.tables import Remark, find_published_table
    >>> remark = Remark(text="a digit is missing", kind="doubt", rows=("vrf:lp-ft",))
    >>> table = find_published_table("vrf-table1")
    >>> [row.name for _, row in table.rows if remark.covers(row, table.columns[0])]
    ['vrf:lp-ft']
    """

    text: Text
    kind: Kind
    rows: tuple[Text, ...] = ()
    columns: tuple[Text, ...] = ()
    bars: bool = False

    def covers(self, row: PublishedRow, column: PublishedColumn) -> bool:
        """Return whether the remark applies to a cell."""
        return (not self.rows or row.name in self.rows) and (
            not self.columns or column.name in self.columns
        )


@dataclass(frozen=True)
class Claim:
    """A printed cell with its row and column, its printed `text` and the remarks on it.

    Examples
    --------
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> claim = find_published_table("vrf-table1").claims[0]
    >>> claim.row.name, claim.column.name, claim.value, claim.half_unit
    ('zero-shot', 'imagenet', Decimal('63.3'), Decimal('0.05'))
    """

    backbone: str
    row: PublishedRow
    column: PublishedColumn
    text: str
    remarks: tuple[Remark, ...]

    @property
    def is_barred(self) -> bool:
        """Whether no run of bench can be compared with the cell."""
        return self.row.in_hindsight or any(remark.bars for remark in self.remarks)

    @property
    def value(self) -> Decimal:
        """The number as printed, in the column's unit."""
        return Decimal(self.text)

    @property
    def half_unit(self) -> Decimal:
        """Half a unit of the last printed digit: the largest rounding error."""
        exponent = self.value.as_tuple().exponent
        assert isinstance(exponent, int), "a printed number is finite"
        return Decimal(5).scaleb(exponent - 1)

    @property
    def factor(self) -> int:
        """The factor from a fraction to the column's unit: 100 or 1."""
        return 100 if self.column.unit == "percent" else 1


class PublishedTable(_Strict):
    """A published table.

    `labels` is whether titles of rows and columns are as printed, or ours because the available
    text does not show them.

    Examples
    --------
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> table = find_published_table("vrf-table1")
    >>> len(table.rows), len(table.claims), table.suites
    (12, 70, ('imagenet',))
    """

    name: Text
    title: Text
    source: PublishedSource
    conditions: Conditions
    labels: Literal["printed", "ours"]
    remarks: tuple[Remark, ...]
    columns: tuple[PublishedColumn, ...] = pydantic.Field(min_length=1)
    groups: tuple[PublishedGroup, ...] = pydantic.Field(min_length=1)

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        columns = [column.name for column in self.columns]
        if len(set(columns)) < len(columns):
            raise ValueError(f"two columns have the same name among {columns}")
        named = [(group.backbone, row.name) for group, row in self.rows]
        if len(set(named)) < len(named):
            raise ValueError(f"two rows have the same name among {named}")
        for _, row in self.rows:
            if len(row.cells) != len(columns):
                raise ValueError(
                    f"row {row.name} has {len(row.cells)} cells for {len(columns)} columns"
                )
        names = {name for _, name in named}
        for remark in self.remarks:
            if unknown := {*remark.rows} - names | {*remark.columns} - {*columns}:
                raise ValueError(
                    f"a remark on {', '.join(sorted(unknown))}: the table has no such row or column"
                )
        return self

    @property
    def rows(self) -> tuple[tuple[PublishedGroup, PublishedRow], ...]:
        """All rows in printed order, each with its group."""
        return tuple((group, row) for group in self.groups for row in group.rows)

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites of its columns, in order."""
        return tuple(dict.fromkeys(column.suite for column in self.columns))

    @property
    def backbones(self) -> tuple[str, ...]:
        """Its backbones, in order."""
        return tuple(dict.fromkeys(group.backbone for group in self.groups))

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The printed cells in order, without difference rows."""
        return tuple(claim for claim in self._cells() if claim.row.minus is None)

    @property
    def differences(self) -> tuple[Claim, ...]:
        """The printed cells of the difference rows."""
        return tuple(claim for claim in self._cells() if claim.row.minus is not None)

    def _cells(self) -> Iterator[Claim]:
        for group, row in self.rows:
            for column, text in zip(self.columns, row.cells, strict=True):
                if text is not None:
                    remarks = tuple(r for r in self.remarks if r.covers(row, column))
                    yield Claim(group.backbone, row, column, text, remarks)


@cache
def published_tables() -> Mapping[str, PublishedTable]:
    """Return every published table by name, sorted.

    Raises InputError, naming the file, if a file is not a valid table.

    Examples
    --------
    >>> from bench.leaderboard.published.tables import published_tables
    >>> "vrf-table1" in published_tables()
    True
    """
    found = {}
    for file in files("bench.leaderboard.published.papers").iterdir():
        if file.name.endswith(".json"):
            table = parse_published_table(file.name, file.read_text(encoding="utf-8"))
            found[table.name] = table
    return MappingProxyType(dict(sorted(found.items())))


def find_published_table(name: str) -> PublishedTable:
    """Return the published table `name`. Raises InputError, listing valid names, if unknown.

    Examples
    --------
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> find_published_table("vrf-table2").title
    "VRF's Table 2"
    >>> find_published_table("vrf")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: unknown published table 'vrf': valid: carot-slides, ...
    """
    if name not in published_tables():
        raise unknown_name("published table", name, published_tables(), "bench list published")
    return published_tables()[name]


def parse_published_table(file: str, text: str) -> PublishedTable:
    """Parse the `text` of `file`.

    Raises InputError if it is not a valid table, or if the file is not named after the table.

    Examples
    --------
    >>> from bench.leaderboard.published.tables import parse_published_table
    >>> parse_published_table("mine.json", "{}")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: published table mine.json: name: Field required
    """
    try:
        table = PublishedTable.model_validate_json(text)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "table"
        raise InputError(f"published table {file}: {where}: {first['msg']}") from error
    if file != f"{table.name}.json":
        raise InputError(
            f"published table {file}: its name is {table.name!r}: name the file {table.name}.json"
        )
    return table
