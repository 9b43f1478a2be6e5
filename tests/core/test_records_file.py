"""The form of records.jsonl: what goes in comes out, in both versions, and damage is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from board_records import record
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema.validators import Draft202012Validator
from places import ROOT
from write_schemas import FOLDER, schema_text, schemas

from bench.core.errors import InputError
from bench.core.records import (
    MissingCell,
    Record,
    read_missing,
    read_records,
    records_text,
    sort_key,
)

RECORDED = ROOT / "tests" / "recorded"
COMMITTED = sorted((ROOT / "results").glob("*/records.jsonl"))
NAMES = st.text(max_size=4) | st.sampled_from(["id", "v2", "a#2", "é\u2028\n", "a 0"])
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
FACTS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | NUMBERS | NAMES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
FIELDS = ("inputs", "key", "protocol", "environment", "method", "base", "label_map", "metric")
PROVENANCE = st.dictionaries(st.sampled_from((*FIELDS, "data", "own")) | NAMES, FACTS, max_size=6)
SPLITS = st.dictionaries(
    st.sampled_from(["train", "selection", "evaluation", "other"]), NAMES, max_size=4
)
RECORDS = st.builds(
    Record,
    suite=st.sampled_from(["s", "t"]),
    model=st.just("m"),
    method=st.sampled_from(["vrf", "ose"]),
    base=st.none() | st.sampled_from(["e2e-ft", ""]),
    title=NAMES,
    seed=st.none() | st.integers(0, 1),
    shift=NAMES,
    order=st.integers(0, 2),
    shifts_in_suite=st.integers(1, 2),
    notes=st.lists(NAMES, max_size=1).map(tuple),
    protocol=st.sampled_from(["clean", "official"]),
    role=st.sampled_from(["method", "oracle"]),
    primary_metric=st.sampled_from(["top1", "macro-f1"]),
    outside_mean=st.booleans(),
    test_only=st.booleans(),
    metric=NAMES,
    value=NUMBERS,
    n=st.integers(0, 9),
    kind=st.sampled_from(["cell", "scaled", "curve", "figure"]),
    temperature=st.none() | NUMBERS,
    data=st.none() | st.dictionaries(NAMES, FACTS, max_size=2),
    choice=st.dictionaries(NAMES, NUMBERS, max_size=2),
    chosen_on=st.none() | st.dictionaries(NAMES, FACTS, max_size=2),
    weight=st.none() | NUMBERS,
    provenance=st.tuples(PROVENANCE, SPLITS).map(lambda both: {"data": both[1]} | both[0]),
)
MADE = {
    "inputs": ["a"], "key": "k", "method": {"p": 1}, "environment": {"commit": "c"},
    "data": {"train": "t", "selection": "s", "evaluation": "e"}, "metric": {"name": "top1"},
}  # fmt: skip


def plain(records: list[Record]) -> list[str]:
    return [json.dumps(r.model_dump(mode="json"), sort_keys=True) for r in records]


def in_form_1(records: list[Record]) -> str:
    """The text that was written before files had a version."""
    old = {"primary_metric": ("judged_by", "top1"), "outside_mean": ("beside", False)}
    old["test_only"] = ("test_only", False)
    lines = []
    for one in records:
        fields = one.model_dump(mode="json")
        for name, (then, default) in old.items():
            if (value := fields.pop(name)) != default:
                fields[then] = value
        lines.append(json.dumps(fields, sort_keys=True) + "\n")
    return "".join(lines)


@settings(deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=5))
def test_both_forms_give_the_same_records_back(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    ordered = sorted(records, key=sort_key)
    text = records_text(records)
    (folder / "2.jsonl").write_text(text)
    (folder / "1.jsonl").write_text(in_form_1(ordered))
    new, old = read_records(folder / "2.jsonl"), read_records(folder / "1.jsonl")
    assert plain(new) == plain(old) == plain(ordered)
    assert records_text(new) == text
    for line in text.splitlines():
        VALID["records"].validate(json.loads(line))


def test_a_recorded_file_of_the_first_form_equals_its_rewritten_form() -> None:
    old, new = (read_records(RECORDED / f"records-{form}.jsonl") for form in (1, 2))
    assert old == new and plain(old) == plain(new) and len(old) == 38
    assert {r.kind for r in old} == {"cell", "scaled", "curve", "figure"}
    assert [r.primary_metric for r in old].count("worst-region") == 1
    assert [r.outside_mean for r in old].count(True) == 1
    assert records_text(old) == (RECORDED / "records-2.jsonl").read_text()
    assert in_form_1(new) == (RECORDED / "records-1.jsonl").read_text()


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_committed_results_are_as_written_now(path: Path) -> None:
    assert records_text(read_records(path)) == path.read_text()


def test_a_cell_takes_few_bytes() -> None:
    path = ROOT / "results" / "mini" / "records.jsonl"
    assert path.stat().st_size <= 300 * len(read_records(path))


def test_equal_provenance_is_one_object() -> None:
    records = read_records(ROOT / "results" / "mini" / "records.jsonl")
    cells = [r.provenance for r in records if r.kind == "cell"]
    for name in ("protocol", "backbone", "environment"):
        assert len({id(provenance[name]) for provenance in cells}) == 1
    assert len({id(provenance["method"]) for provenance in cells}) == 5


def test_cells_of_another_environment_keep_their_row(tmp_path: Path) -> None:
    """As in a run that another version had begun."""
    now = record("vrf", "e2e-ft", "v2", 0.5, provenance=MADE)
    before = record(
        "vrf", "e2e-ft", "id", 0.5, provenance=MADE | {"environment": {"commit": "before"}}
    )
    text = records_text([now, before])
    (tmp_path / "records.jsonl").write_text(text)
    assert read_records(tmp_path / "records.jsonl") == [before, now]
    assert text.count('"define": "row"') == 1 and text.count('"define": "environment"') == 2


GOOD = records_text(
    [
        record("vrf", "e2e-ft", shift, 0.5, provenance=MADE, chosen_on={"n": 1})
        for shift in ("id", "v2")
    ]
)


def lines_without(start: str) -> str:
    kept = [x for x in GOOD.splitlines(keepends=True) if not x.startswith(f'{{"define": "{start}"')]
    return "".join(kept)


DAMAGE: dict[str, tuple[Callable[[], str], str]] = {
    "cut between lines": (lambda: "".join(GOOD.splitlines(True)[:-1]), "after 1 records"),
    "cut in a line": (lambda: GOOD[:-20], "not JSON"),
    "no header": (lambda: "".join(GOOD.splitlines(True)[1:]), "1: the header is missing"),
    "cells alone": (lambda: GOOD.splitlines(True)[-1], "1: the header is missing"),
    "cut after the header": (lambda: GOOD.splitlines()[0], "after 0 records"),
    "a line twice": (lambda: GOOD + GOOD.splitlines(True)[-1], "after 3 records"),
    "joined": (lambda: GOOD + GOOD, "a second header"),
    "defined twice": (
        lambda: GOOD.replace('{"define": "set"', GOOD.splitlines(True)[1] + '{"define": "set"', 1),
        "defines the run 's' a second time",
    ),
    **{
        f"no {kind}": (lambda kind=kind: lines_without(kind), f"refers to the {kind} ")
        for kind in ("run", "environment", "row", "set", "metric", "chosen_on", "computation")
    },
    "newer": (lambda: GOOD.replace('"version": 2', '"version": 3'), "upgrade bench"),
    "no version": (lambda: GOOD.replace('"version": 2, ', ""), "version"),
    "another format": (lambda: GOOD.replace("bench-records", "else"), "format"),
    "unknown kind": (
        lambda: GOOD.replace('"define": "set"', '"define": "sets"'),
        "expected one of",
    ),
    "unknown field": (lambda: GOOD.replace('"seed": 0', '"sead": 0'), "sead"),
    "no value": (lambda: GOOD.replace('"value"', '"values"'), "value"),
    "no JSON": (lambda: GOOD.replace('{"row"', '{row"'), "not JSON"),
    "no object": (lambda: GOOD.replace('{"row"', '[]\n{"row"'), "not a JSON object"),
    "contradiction": (
        lambda: GOOD.replace('"key": "k"', '"key": "k", "provenance": {"inputs": ["b"]}'),
        "two values of 'inputs'",
    ),
    "deep": (lambda: GOOD.splitlines()[0] + "\n" + "[" * 10**5, "not JSON"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused_with_its_name_and_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "records.jsonl"
    text, reason = DAMAGE[damage]
    path.write_text(text())
    with pytest.raises(InputError) as caught:
        read_records(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:") and message[len(str(path)) + 1].isdigit()
    assert reason in message and "\n" not in message and len(message) < 500


@settings(deadline=None)
@given(st.data())
def test_any_cut_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.jsonl"
    path.write_text(GOOD[: data.draw(st.integers(1, len(GOOD) - 2))])
    with pytest.raises(InputError, match=r"cut\.jsonl:"):
        read_records(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_bytes(GOOD.encode() + b"\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        read_records(tmp_path / "records.jsonl")


def test_missing_cells_are_read_under_both_names(tmp_path: Path) -> None:
    place = record("vrf", "e2e-ft", "v2", 0.5).model_dump(include=set(MissingCell.model_fields))
    one = MissingCell(**place, reason="why").model_copy(update={"primary_metric": "ece"})
    path = tmp_path / "missing.jsonl"
    assert read_missing(path) == []
    new = one.model_dump_json()
    assert '"primary_metric":"ece"' in new
    VALID["missing"].validate(json.loads(new))
    path.write_text(f"{new}\n{new.replace('primary_metric', 'judged_by')}\n")
    assert read_missing(path) == [one, one]


VALID = {name: Draft202012Validator(schema) for name, schema in schemas().items()}


@pytest.mark.parametrize("name", VALID)
def test_published_schemas_are_those_of_the_models(name: str) -> None:
    schema = schemas()[name]
    Draft202012Validator.check_schema(schema)
    text = (FOLDER / f"{name}.schema.json").read_text()
    assert text == schema_text(schema), "run python scripts/assets/write_schemas.py"


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_committed_records_are_valid(path: Path) -> None:
    for line in path.read_text().splitlines():
        VALID["records"].validate(json.loads(line))


@pytest.mark.parametrize("path", sorted((ROOT / "results" / "golden").glob("*.json")))
def test_committed_golden_runs_are_valid(path: Path) -> None:
    VALID["golden"].validate(json.loads(path.read_text()))


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    cell = json.loads(GOOD.splitlines()[-1])
    assert VALID["records"].is_valid(cell)
    assert not VALID["records"].is_valid(cell | {"shift": "id"})
    assert not VALID["records"].is_valid({n: v for n, v in cell.items() if n != "value"})


def test_the_page_shows_lines_of_this_form() -> None:
    page = (ROOT / "docs" / "records.md").read_text()
    shown = [line for line in page.splitlines() if line.startswith("{")]
    assert len(shown) == 9
    for line in shown:
        VALID["records"].validate(json.loads(line))
