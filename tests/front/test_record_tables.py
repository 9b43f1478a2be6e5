"""Records as tables: one schema for data frames, CSV and Arrow, which keep every value."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from commands import Finished, assert_refused, bench
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import ipc, parquet

from bench.core.errors import InputError
from bench.core.record_lines.columns import columns_of
from bench.core.records import Record, read_records, sort_key
from bench.front.exports.tables import (
    DERIVED_COLUMNS,
    FILES,
    SCHEMA,
    data_frame,
    record_columns,
    records_table,
    write_records,
)
from bench.testing.fakes import fake_records

TEXT = st.text(max_size=4) | st.sampled_from(
    ["=1+1", "'", "''x", " @x", "é\u2028\r\n", '"a",b', ""]
)
WHOLE = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([2**53 + 1, 2**63 - 1])
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
FACTS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
OBJECTS = st.dictionaries(TEXT, FACTS, max_size=2)
RECORDS = st.builds(
    Record,
    **dict.fromkeys(("suite", "model", "method", "title", "shift", "protocol"), TEXT),
    base=st.none() | TEXT,
    seed=st.none() | WHOLE,
    order=WHOLE,
    shifts_in_suite=WHOLE,
    notes=st.lists(TEXT, max_size=2).map(tuple),
    outside_mean=st.booleans(),
    metric=TEXT | st.just("top1"),
    value=FLOATS | st.floats(0, 1),
    n=WHOLE,
    kind=st.sampled_from(["cell", "scaled", "curve", "figure"]),
    temperature=st.none() | FLOATS,
    data=st.none() | OBJECTS,
    choice=st.dictionaries(TEXT, FLOATS, max_size=2),
    chosen_on=st.none() | OBJECTS,
    weight=st.none() | FLOATS,
    provenance=OBJECTS,
)
ONE = fake_records()[0]


def from_csv(data: bytes) -> list[dict[str, Any]]:
    """Read as docs/exchange.md says."""
    kinds = {c.name: c for c in record_columns()}

    def value(name: str, text: str) -> Any:
        column = kinds[name]
        if text == "" and column.nullable:
            return None
        return {
            "text": lambda: text.removeprefix("'") if text.startswith("'") else text,
            "integer": lambda: int(text),
            "number": lambda: float(text),
            "boolean": lambda: {"true": True, "false": False}[text],
            "json": lambda: json.loads(text),
        }[column.kind]()

    rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    assert all(row.pop("schema") == SCHEMA for row in rows)
    return [{name: value(name, text) for name, text in row.items()} for row in rows]


def from_arrow(table: pa.Table) -> list[dict[str, Any]]:
    assert table.schema.metadata[b"format"] == b"bench-records"
    assert table.schema.metadata[b"version"] == b"2"
    is_json = {f.name for f in table.schema if (f.metadata or {}).get(b"format") == b"json"}
    return [
        {n: json.loads(v) if n in is_json and v is not None else v for n, v in row.items()}
        for row in table.to_pylist()
    ]


def record_of(row: Mapping[str, Any]) -> Record:
    derived = {column.name for column in DERIVED_COLUMNS}
    fields = {name: value for name, value in row.items() if name not in derived}
    return Record.model_validate(fields | {"notes": tuple(fields["notes"])})


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(RECORDS, min_size=1, max_size=3))
@example([ONE.model_copy(update={"seed": 2**53 + 1, "base": "", "value": 0.1 + 0.2})])
def test_every_file_gives_the_same_records_back(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record]
) -> None:
    folder, ordered = tmp_path_factory.getbasetemp(), sorted(records, key=sort_key)
    paths = {ending: write_records(folder / f"r{ending}", records) for ending in FILES}
    with ipc.open_file(paths[".arrow"]) as file:
        arrow = from_arrow(file.read_all())
    tables = [from_csv(paths[".csv"].read_bytes()), arrow]
    tables.append(from_arrow(parquet.read_table(paths[".parquet"])))
    for rows in tables:
        assert [list(row) for row in rows] == [[c.name for c in record_columns()]] * len(records)
        assert rows[0] == tables[0][0]  # the derived columns as well
        back = [record_of(row) for row in rows]
        assert [repr(b) for b in back] == [repr(o) for o in ordered]  # 1 is not 1.0, -0.0 not 0.0


def test_columns_are_the_fields_of_the_json_schema() -> None:
    schema = Record.model_json_schema()
    own = record_columns()[len(DERIVED_COLUMNS) :]
    assert [column.name for column in own] == list(schema["properties"])
    assert {c.name for c in own if c.nullable} == {
        *("base", "seed", "temperature", "data", "chosen_on", "weight")
    }
    with pytest.raises(TypeError, match="both"):
        columns_of({"properties": {"both": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}})


def test_all_forms_have_the_same_columns_and_types(tmp_path: Path) -> None:
    records = fake_records()
    frame = data_frame(records)
    table = parquet.read_table(write_records(tmp_path / "r.parquet", records))
    head = write_records(tmp_path / "r.csv", records).read_text().splitlines()[0].split(",")
    assert head[1:] == list(frame.columns) == table.column_names
    assert frame.attrs["schema"] == SCHEMA == "bench-records 2"
    assert str(frame["seed"].dtype) == "Int64" and frame["seed"].isna().sum() == 3
    assert table.schema.field("seed").type == pa.int64() and table["seed"].null_count == 3
    assert not table.schema.field("value").nullable


def test_an_interval_is_of_an_accuracy_alone() -> None:
    loss = ONE.model_copy(update={"metric": "nll"})
    table = records_table([ONE, loss])
    assert table["low"][0] < ONE.value < table["high"][0]
    assert table["low"][1] is None and table["high"][1] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 2**63}, "column seed: a whole number beyond 64 bits"),
        ({"n": -(2**63) - 1}, "column n: a whole number beyond 64 bits"),
        ({"choice": {"alpha": float("nan")}}, "column choice: holds NaN"),
        ({"data": {"a": [float("inf")]}}, "column data: holds NaN or infinity"),
    ],
)
@pytest.mark.parametrize("ending", FILES)
def test_what_no_table_can_hold_is_refused(
    tmp_path: Path, change: dict[str, Any], said: str, ending: str
) -> None:
    path = tmp_path / f"r{ending}"
    with pytest.raises(InputError, match=said):
        write_records(path, [ONE.model_copy(update=change)])
    assert not path.exists()


def test_halves_of_surrogate_pairs_stay_what_they_were(tmp_path: Path) -> None:
    odd = ONE.model_copy(update={"provenance": {"a": "\ud800"}})
    (row,) = from_csv(write_records(tmp_path / "r.csv", [odd]).read_bytes())
    (same,) = from_arrow(parquet.read_table(write_records(tmp_path / "r.parquet", [odd])))
    assert row["provenance"] == same["provenance"] == odd.provenance


def test_other_endings_and_a_missing_package_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"expected a name that ends in .csv, .parquet, .arrow"):
        write_records(tmp_path / "records.xlsx", [ONE])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'robust-ft-bench\[arrow\]'"):
        write_records(tmp_path / "records.parquet", [ONE])


def test_the_command_writes_all_records_of_a_run(small: Finished, tmp_path: Path) -> None:
    path = tmp_path / "records.parquet"
    said = bench("export", small.out, "--records", path)
    assert (said.code, said.out) == (0, f"{path}\n")
    found = [record_of(row) for row in from_arrow(parquet.read_table(path))]
    assert found == read_records(small.out / "records.jsonl")


@pytest.mark.parametrize("suffix", FILES)
def test_a_table_replaces_an_earlier_one_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    path.write_text("weights of a year\n")
    with pytest.raises(InputError, match=r"exists and is no table of records: name another file"):
        write_records(path, fake_records())
    assert path.read_text() == "weights of a year\n"
    path.unlink()
    first = write_records(path, fake_records()).read_bytes()
    assert write_records(path, fake_records()).read_bytes() == first


def test_the_command_refuses_what_is_no_run(tmp_path: Path) -> None:
    said = bench("export", tmp_path, "--records", tmp_path / "records.csv")
    assert_refused(said, "records.jsonl")
    assert not (tmp_path / "records.csv").exists()
