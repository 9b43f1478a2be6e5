"""``bench check RUN|FILE``: exit codes and messages; every alteration is detected."""

from __future__ import annotations

import errno
import json
import re
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from commands import Finished, Result, assert_refused, bench
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bench.core.records import read_records, records_text

ALTERED = settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def check(run: Finished, *more: object) -> Result:
    return bench("check", run.out, "--cache-dir", run.cache, *more)


def test_a_run_as_it_was_made_ends_in_0(small: Finished, tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    result = check(small, "--junit", junit)
    assert (result.code, result.err) == (0, "")
    records = read_records(small.out / "records.jsonl")
    count = sum(record.kind in ("cell", "scaled") for record in records)
    (line,) = result.out.splitlines()
    assert line.startswith(f"{count} cells recomputed from stored outputs; no difference in ")
    names = [case.get("name") for case in ElementTree.parse(junit).iter("testcase")]
    results = ["records.jsonl", "plan.json", "samples", "trainings.jsonl", "manifest.json"]
    assert names == [*results, "report.html", "report.md"]


@pytest.mark.parametrize("kind", ["md", "html", "tex", "csv", "json"])
@ALTERED
@given(st.data())
def test_any_digit_of_a_report(own: Finished, kind: str, data: st.DataObject) -> None:
    report = f"report.{kind}"
    path = own.out / report
    if not path.exists():
        assert bench("report", own.out, "--format", kind).code == 0
    text = path.read_text()
    at = data.draw(st.sampled_from([m.start() for m in re.finditer(r"\d", text)]))
    digit = str((int(text[at]) + data.draw(st.integers(1, 9))) % 10)
    path.write_text(text[:at] + digit + text[at + 1 :])
    try:
        result = bench("check", path, "--cache-dir", own.cache)
        assert result.code == 3, (at, result)
        assert f"{report}:{text.count(chr(10), 0, at) + 1}" in result.err
    finally:
        path.write_text(text)


def test_figures_are_drawn_again(own: Finished) -> None:
    assert bench("report", own.out, "--format", "svg").code == 0
    result = check(own)
    assert result.code == 0 and ".svg" in result.out
    path = max((own.out / "figures").iterdir(), key=lambda path: path.stat().st_size)
    path.write_text(path.read_text().replace("0", "1", 1))
    for checked in (own.out, path):
        result = bench("check", checked, "--cache-dir", own.cache)
        assert result.code == 3 and path.name in result.err


def stored(run: Finished) -> list[Path]:
    """Return the stored outputs of a run, and the samples computed from them."""
    folders = (run.cache / "features", run.cache / "weights", run.out / "samples")
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())


@ALTERED
@given(st.data())
def test_any_byte_of_a_stored_output(own: Finished, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(stored(own)))
    good = path.read_bytes()
    at, bit = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(0, 7))
    path.write_bytes(good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :])
    try:
        result = check(own)
        assert result.code in (3, 4), (path, at, bit, result)
        assert len(result.err.splitlines()) <= 2
        assert path.exists(), "a check removes nothing"
    finally:
        path.write_bytes(good)


@ALTERED
@given(st.data())
@example(None)
def test_any_value_of_the_records(own: Finished, data: st.DataObject | None) -> None:
    path = own.out / "records.jsonl"
    text, records = path.read_text(), read_records(path)
    row = data.draw(st.integers(0, len(records) - 1)) if data else 0
    fields = ["value", "n", "title", "notes"]
    field = data.draw(st.sampled_from(fields)) if data else "notes"
    value = {"title": "Ours", "notes": ()}.get(field, records[row].n + 1)
    records[row] = records[row].model_copy(update={field: value})
    try:
        path.write_text(records_text(records))
        assert check(own).code in (3, 4), (row, field)
    finally:
        path.write_text(text)


def test_differences_are_listed_and_counted(own: Finished, tmp_path: Path) -> None:
    path = own.out / "records.jsonl"
    records = read_records(path)
    altered = [r.model_copy(update={"value": r.value / 2 + 0.3}) for r in records]
    path.write_text(records_text(altered))
    junit = tmp_path / "junit.xml"
    result = check(own, "--junit", junit)
    assert result.code == 3
    lines = result.out.splitlines()
    assert len(lines) == 31 and re.fullmatch(r"and \d+ more", lines[-1])
    assert all(line.startswith("records.jsonl: ") for line in lines[:-1])
    (failure,) = ElementTree.parse(junit).iter("failure")
    assert "but the stored outputs give" in str(failure.get("message"))
    found = json.loads(check(own, "--json").out)
    assert len(found["differences"]) > 31 and found["files"] == ["records.jsonl"]


def test_a_damaged_output_is_in_junit_too(own: Finished, tmp_path: Path) -> None:
    path = max((own.cache / "features").rglob("*.safetensors"), key=lambda p: p.stat().st_size)
    path.write_bytes(path.read_bytes()[:-1])
    result = check(own, "--junit", tmp_path / "junit.xml")
    assert result.code == 4 and result.out == ""
    (failure,) = ElementTree.parse(tmp_path / "junit.xml").iter("failure")
    assert "damaged" in str(failure.get("message"))


def test_forged_samples_are_found_though_their_checksums_are_right(own: Finished) -> None:
    from hashlib import sha256

    sums = own.out / "samples" / "SHA256SUMS"
    one, other = [
        path for path in sorted((own.out / "samples").glob("*.safetensors")) if path.stat().st_size
    ][:2]
    text = sums.read_text()
    data = other.read_bytes()
    old = sha256(one.read_bytes()).hexdigest()
    one.write_bytes(data)
    sums.write_text(text.replace(old, sha256(data).hexdigest()))
    assert check(own).code in (3, 4)


def test_a_forged_protocol_is_found(own: Finished) -> None:
    path = own.out / "records.jsonl"
    path.write_text(path.read_text().replace('"epochs": 1', '"epochs": 9'))
    result = check(own)
    assert result.code == 3 and "records.jsonl: " in result.err


def test_a_second_value_of_a_cell_is_found(own: Finished) -> None:
    path = own.out / "records.jsonl"
    records = read_records(path)
    for value in (records[0].value, 0.123):
        second = records[0].model_copy(update={"value": value})
        path.write_text(records_text([second, *records]))
        result = check(own)
        assert result.code == 3 and "more than once" in result.err


def test_scored_outputs_cannot_be_checked(own: Finished) -> None:
    path = own.out / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"backbones": ["exported: outputs"]}))
    assert_refused(check(own), "the backbones of the run were ['exported: outputs'], but")


def test_what_is_no_report_of_a_run_is_refused(own: Finished, tmp_path: Path) -> None:
    assert_refused(bench("check", tmp_path), "expected the folder of a run")
    assert_refused(bench("check", tmp_path / "report.md"), "expected the folder of a run")
    # The cache is empty: the file is refused before anything is computed.
    nothing = ("--cache-dir", tmp_path / "nothing")
    (own.out / "table.doc").write_text("")
    for name in ("config.json", "table.doc"):
        assert_refused(bench("check", own.out / name, *nothing), f"{name}: not one of a run's")


def test_a_table_may_have_any_name(own: Finished, tmp_path: Path) -> None:
    text = (own.out / "report.md").read_text()
    good, bad = own.out / "TABLE.md", own.out / "bad.md"
    good.write_text(text)
    bad.write_text(re.sub(r"\d(?=\.\d)", "0", text))
    result = bench("check", good, "--cache-dir", own.cache)
    assert result.code == 0 and result.out.endswith("TABLE.md\n"), result
    result = bench("check", bad, "--cache-dir", own.cache)
    assert result.code == 3 and "bad.md:" in result.err


def test_a_table_elsewhere_with_its_run(own: Finished, tmp_path: Path) -> None:
    text = (own.out / "report.md").read_text()
    (tmp_path / "paper").mkdir()
    table = tmp_path / "paper" / "ours.md"
    table.write_text(text)
    where = ("--run", own.out, "--cache-dir", own.cache)
    result = bench("check", table, *where)
    assert result.code == 0 and result.out.endswith("ours.md\n"), result
    digit = re.search(r"\d\.\d", text)
    assert digit is not None
    at = digit.start()
    table.write_text(text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :])
    assert bench("check", table, *where).code == 3
    assert_refused(bench("check", table), "expected the folder of a run")
    assert_refused(bench("check", table.parent, *where), "expected one report")
    assert_refused(bench("check", table, *where, "--against", "golden:micro"), "only without")


@pytest.mark.parametrize("kind", ["html", "svg"])
def test_long_lines_are_shown_around_the_first_difference(own: Finished, kind: str) -> None:
    assert bench("report", own.out, "--format", kind).code == 0
    files = [own.out / "report.html", *(own.out / "figures").glob("*.svg")]
    path = max((f for f in files if f.suffix == f".{kind}"), key=lambda f: f.stat().st_size)
    text = path.read_text()
    longest = max(text.splitlines(), key=len)
    assert len(longest) > 1000
    at = text.index(longest) + max(m.start() for m in re.finditer(r"\d", longest[:-200]))
    digit = str((int(text[at]) + 1) % 10)
    path.write_text(text[:at] + digit + text[at + 1 :])
    result = bench("check", path, "--cache-dir", own.cache)
    assert result.code == 3
    there, expected = result.out.splitlines()[0].split(", but the stored outputs give ")
    assert text[at - 20 : at] + digit in there and text[at - 20 : at + 1] in expected
    assert len(there) < 350 and len(expected) < 250


def test_other_bytes_of_a_picture_are_no_text(own: Finished) -> None:
    assert bench("report", own.out, "--format", "png").code == 0
    path = max((own.out / "figures").glob("*.png"), key=lambda f: f.stat().st_size)
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    result = bench("check", path, "--cache-dir", own.cache)
    assert result.code == 3 and f"{path.name}:1: other bytes from byte 1000 on" in result.out
    assert (result.out + result.err).replace("\n", "").isprintable()


def test_what_a_terminal_would_obey_is_escaped(own: Finished) -> None:
    path = own.out / "report.md"
    path.write_text(path.read_text() + "\x1b[31mred\x07\n")
    result = bench("check", path, "--cache-dir", own.cache)
    assert result.code == 3 and r"\x1b[31mred\x07" in result.out
    assert (result.out + result.err).replace("\n", "").isprintable()


def test_a_cache_that_is_read_only_is_enough(
    small: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tempfile.mkstemp

    def read_only(*given: Any, dir: Path | None = None, **more: Any) -> Any:
        if dir is not None and not Path(dir).is_relative_to(tempfile.gettempdir()):
            raise OSError(errno.EROFS, "Read-only file system")
        return made(*given, dir=dir, **more)

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    for name in ("mkstemp", "TemporaryFile"):
        monkeypatch.setattr(f"bench.core.paths.tempfile.{name}", read_only)
    monkeypatch.chdir(small.out)
    assert (check(small).code, check(small).err) == (0, "")
