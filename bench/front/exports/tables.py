"""Records as one table: a data frame, CSV or Arrow, all with the columns of `record_columns`."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.metrics import ACCURACY
from bench.core.errors import InputError
from bench.core.foreign.files import TABLE, read_bounded
from bench.core.paths import local_path, write_atomic
from bench.core.record_lines.columns import Column, columns_of, table_of
from bench.core.record_lines.kinds import FORMAT, VERSION
from bench.core.records import Record, sort_key
from bench.leaderboard.comparability import row_name
from bench.leaderboard.stats.estimates import exact_interval
from bench.report.formats.text import FORMULA

if TYPE_CHECKING:
    import pandas

SCHEMA = f"{FORMAT} {VERSION}"
"""The name and version of the form that the columns follow."""
DERIVED_COLUMNS = (
    Column("row", "text"),
    Column("scaled", "boolean"),
    Column("low", "number", nullable=True),
    Column("high", "number", nullable=True),
)
"""What a table has besides the fields of records: METHOD:BASE, whether it was calibrated
afterwards, and the exact 95% interval of an accuracy over the set's samples."""
ODD = re.compile(rf"[\s\x00-\x1f\x7f-\x9f]*[{re.escape(''.join(FORMULA))}]|'")
"""How texts begin that a spreadsheet might take for a formula, or for such a text made harmless."""


@cache
def record_columns() -> tuple[Column, ...]:
    """Return the columns: `DERIVED_COLUMNS`, then the fields of records from their JSON schema.

    Examples
    --------
    >>> from bench.front.exports.tables import record_columns
    >>> [column.name for column in record_columns()][:5]
    ['row', 'scaled', 'low', 'high', 'suite']
    """
    return (*DERIVED_COLUMNS, *columns_of(Record.model_json_schema()))


def records_table(records: Iterable[Record]) -> dict[str, list[Any]]:
    """Return the values of each column, for records in the given order.

    Raises InputError for a whole number beyond 64 bits, and for NaN in what has parts.

    Examples
    --------
    >>> from bench.front.exports.tables import records_table
    >>> from bench.testing.fakes import fake_records
    >>> table = records_table(fake_records()[:1])
    >>> table["row"], table["value"], table["base"]
    (['zero-shot'], [0.6], [None])
    """
    return table_of(record_columns(), map(_row, records))


def _row(record: Record) -> Mapping[str, Any]:
    low = high = None
    if record.metric == ACCURACY.name and record.n > 0 and 0 <= record.value <= 1:
        right = min(record.n, round(record.value * record.n))  # of large numbers, rounded upwards
        interval = exact_interval(right, record.n)  # scipy's is NaN for absurdly many samples
        low, high = (float(x) if math.isfinite(x) else None for x in (interval.low, interval.high))
    own = {name: getattr(record, name) for name in Record.model_fields}
    derived = {"row": row_name(record), "scaled": record.kind == "scaled"}
    return {**derived, "low": low, "high": high, **own}


def data_frame(records: Iterable[Record]) -> pandas.DataFrame:
    """Return the table as a data frame. Raises InputError if pandas is not installed.

    Whole numbers that may be missing have pandas' type Int64; what has parts stays an object.

    Examples
    --------
    >>> from bench.front.exports.tables import data_frame
    >>> from bench.testing.fakes import fake_records
    >>> frame = data_frame(fake_records())
    >>> len(frame), str(frame.seed.dtype), frame.attrs
    (9, 'Int64', {'schema': 'bench-records 2'})
    """
    try:
        import pandas
    except ImportError as error:
        raise InputError("to_pandas needs pandas: pip install pandas") from error
    types = {"integer": "int64", "number": "float64", "boolean": "bool", "json": "object"}
    table, columns = records_table(records), record_columns()
    kinds = {c.name: "Int64" if c.kind == "integer" and c.nullable else types.get(c.kind)
             for c in columns}  # fmt: skip
    frame = pandas.DataFrame(
        {name: pandas.Series(values, dtype=kinds[name]) for name, values in table.items()}
    )
    frame.attrs["schema"] = SCHEMA
    return frame


def write_records(path: Path, records: Iterable[Record]) -> Path:
    """Write records, in their canonical order, to a file; its ending says how. Return the path.

    ``.csv``, or with the package pyarrow ``.parquet`` and ``.arrow``. Raises InputError for another
    ending, without that package, if something else is there, and as `records_table` does.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.front.exports.tables import write_records
    >>> from bench.testing.fakes import fake_records
    >>> path = write_records(Path("records.csv"), fake_records())
    >>> path.read_text().splitlines()[0][:34]
    'schema,row,scaled,low,high,suite,m'
    """
    write = FILES.get(local_path(path, "--records").suffix)
    if write is None:
        raise InputError(f"--records {path}: expected a name that ends in {', '.join(FILES)}")
    if path.exists() and FORMAT.encode() not in read_bounded(path, TABLE):
        raise InputError(f"--records {path} exists and is no table of records: name another file")
    table = records_table(sorted(records, key=sort_key))
    write_atomic(path, write(table))
    return path


def _as_csv(table: Mapping[str, list[Any]]) -> bytes:
    """Return the table as CSV, whose first column names the schema in every row.

    A missing value is empty. Texts that a spreadsheet would take for a formula, those that begin
    with ``'`` and, where a value may be missing, empty ones have ``'`` before them.
    """
    file = io.StringIO()
    writer = csv.writer(file)  # lines end as in RFC 4180; only so is "\r" in a text quoted
    writer.writerow(["schema", *table])
    columns = record_columns()
    texts = [[_csv_text(column, value) for value in table[column.name]] for column in columns]
    writer.writerows([SCHEMA, *cells] for cells in zip(*texts, strict=True))
    return file.getvalue().encode("utf-8", "backslashreplace")


def _csv_text(column: Column, value: Any) -> str:
    if value is None:
        return ""
    if column.kind == "json":
        return column.text(value)
    if column.kind == "boolean":
        return "true" if value else "false"
    text = str(value)  # of a float: the shortest that reads as the same number
    is_odd = column.kind == "text" and (ODD.match(text) or (column.nullable and not text))
    return f"'{text}" if is_odd else text


def _arrow_table(table: Mapping[str, list[Any]]) -> Any:
    """Return the table as one of pyarrow. Raises InputError if that is not installed."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise InputError(
            "files of Arrow need the package pyarrow: pip install 'robust-ft-bench[arrow]', or "
            "write a .csv"
        ) from error
    types = {"integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}
    columns = record_columns()
    fields = [
        pa.field(
            column.name,
            types.get(column.kind, pa.string()),
            nullable=column.nullable,
            metadata={"format": "json"} if column.kind == "json" else None,
        )
        for column in columns
    ]
    values = [
        [None if value is None else column.text(value) for value in table[column.name]]
        if column.kind == "json"
        else table[column.name]
        for column in columns
    ]
    schema = pa.schema(fields, metadata={"format": FORMAT, "version": str(VERSION)})
    arrays = [pa.array(v, type=f.type) for v, f in zip(values, fields, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _as_parquet(table: Mapping[str, list[Any]]) -> bytes:
    made, file = _arrow_table(table), io.BytesIO()
    from pyarrow import parquet

    parquet.write_table(made, file)
    return file.getvalue()


def _as_arrow(table: Mapping[str, list[Any]]) -> bytes:
    made, file = _arrow_table(table), io.BytesIO()
    from pyarrow import ipc

    with ipc.new_file(file, made.schema) as writer:
        writer.write_table(made)
    return file.getvalue()


FILES: Mapping[str, Callable[[Mapping[str, list[Any]]], bytes]] = {
    ".csv": _as_csv,
    ".parquet": _as_parquet,
    ".arrow": _as_arrow,
}
"""What writes a table, by the ending of the file."""
