"""``bench check RUN --against published:NAME``: tables, exit codes and refusals."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from claimed import in_counts, records_of, write_backed
from commands import Finished, Result, assert_refused, bench

from bench.core.records import CellAddress, MissingCell, Record, read_records, records_text
from bench.leaderboard.published.ledger import ledger
from bench.leaderboard.published.tables import find_published_table

TABLE = find_published_table("vrf-table1")
AGAINST = ("--against", "published:vrf-table1")


def write(folder: Path, records: list[Record], missing: list[MissingCell] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "records.jsonl").write_text(records_text(records))
    if missing:
        lines = "".join(absent.model_dump_json() + "\n" for absent in missing)
        (folder / "missing.jsonl").write_text(lines)
    return folder


def assert_missed(result: Result, *words: str) -> None:
    """Assert exit code 3 and one line on standard error with all `words`, after the table."""
    assert result.code == 3, result
    (line,) = result.err.splitlines()
    assert re.match(r"bench: \d+ of 70 attempted cells not reproduced: ", line)
    for word in words:
        assert word in line


@pytest.fixture(scope="module")
def backed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run with the values of the published table and made-up samples to match."""
    return write_backed(tmp_path_factory.mktemp("backed") / "run", in_counts(records_of(TABLE)))


def test_records_alone_end_in_3_and_reproduce_nothing(tmp_path: Path) -> None:
    run = write(tmp_path / "run", records_of(TABLE))
    junit = tmp_path / "junit.xml"
    for path in (run, run / "records.jsonl"):
        result = bench("check", path, *AGAINST, "--junit", junit)
        assert result.code == 3
        (line,) = result.err.splitlines()
        assert line.startswith("bench: 70 of 70 attempted cells not verified: ")
        assert "that has samples/ next to its records.jsonl" in line
        assert "0 reproduced, 0 not reproduced, 0 not attempted, 70 not verified" in result.out
        assert ElementTree.parse(junit).getroot().attrib["failures"] == "70"


def test_samples_of_another_accuracy_are_refused(backed: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(backed, tmp_path / "run"))
    records = read_records(run / "records.jsonl")
    better = [r.model_copy(update={"value": r.value + 0.001}) for r in records]
    (run / "records.jsonl").write_text(records_text(better))
    result = bench("check", run, *AGAINST)
    assert result.code == 4 and "run the suite again" in result.err and result.out == ""
    (run / "samples" / "SHA256SUMS").unlink()
    assert bench("check", run, *AGAINST).code == 3


def test_a_run_that_holds_ends_in_0(backed: Path) -> None:
    run = backed
    result = bench("check", run, *AGAINST)
    assert (result.code, result.err) == (0, "")
    summary = "70 reproduced, 0 not reproduced, 0 not attempted; measured with ViT-B-32/openai"
    assert result.out.rstrip().endswith(summary)
    assert result.out.startswith("Compared with VRF's Table 1")
    assert bench("check", run / "records.jsonl", *AGAINST) == result


def test_a_miss_ends_in_3_after_the_table(backed: Path) -> None:
    run = backed
    result = bench("check", run, *AGAINST, "--tolerance", "0.1")
    assert_missed(result, "1 of 70", "vrf:lp-ft on avg5 52.02, claimed 51.8 ± 0.10")
    assert "69 reproduced, 1 not reproduced, 0 not attempted" in result.out


def test_many_misses_are_said_in_short(tmp_path: Path) -> None:
    worse = [r.model_copy(update={"value": r.value - 0.1}) for r in records_of(TABLE)]
    result = bench("check", write(tmp_path / "run", worse), *AGAINST)
    assert_missed(result, "70 of 70", "zero-shot on imagenet 53.30, claimed 63.3 ± ", "and 67 more")


def test_what_was_attempted_decides(tmp_path: Path) -> None:
    records = in_counts(records_of(TABLE))
    some = [r for r in records if r.method == "zero-shot" and r.shift in ("id", "v2")]
    result = bench("check", write_backed(tmp_path / "run", some), *AGAINST)
    assert result.code == 0
    assert "2 reproduced, 0 not reproduced, 68 not attempted" in result.out
    assert "not attempted: no record of zero-shot on imagenet/sketch" in result.out


@pytest.mark.parametrize(
    ("note", "word"), [("synthetic data", "synthetic data"), ("limit=50", "limit=50")]
)
def test_a_watermark_is_never_reproduced(tmp_path: Path, note: str, word: str) -> None:
    run = write(tmp_path / "run", records_of(TABLE, notes=(note,)))
    result = bench("check", run, *AGAINST, "--tolerance", "100")
    assert_refused(result, "no cell is comparable", f"not reportable: {word} (70 cells)")


def test_a_run_on_mini_is_not_comparable(small: Finished) -> None:
    result = bench("check", small.out, *AGAINST)
    assert_refused(result, "on suite micro, but the claim is for imagenet (70 cells)")


def test_runs_are_taken_together(tmp_path: Path) -> None:
    records = in_counts(records_of(TABLE))
    one = write_backed(tmp_path / "one", [r for r in records if r.base is None])
    two = write_backed(tmp_path / "two", [r for r in records if r.base is not None])
    result = bench("check", one, two, *AGAINST)
    assert "70 reproduced" in result.out
    again = [r.model_copy(update={"value": 0.5}) for r in records[:1]]
    three = write(tmp_path / "three", again)
    assert_refused(bench("check", one, three, *AGAINST), "two values of top1")


def test_missing_cells_of_a_run_are_no_attempts(tmp_path: Path) -> None:
    records = records_of(TABLE)
    place = next(r for r in records if r.method == "linear")
    fields = {name: getattr(place, name) for name in CellAddress.model_fields}
    run = write(tmp_path / "run", records, [MissingCell(**fields, reason="disk full")])
    for path in (run, run / "records.jsonl"):
        assert "missing with seed 0: disk full" in bench("check", path, *AGAINST).out


def test_json_has_every_cell(backed: Path) -> None:
    result = bench("check", backed, *AGAINST, "--tolerance", "0.1", "--json")
    assert result.code == 3
    data = json.loads(result.out)
    assert data["against"] == "vrf-table1"
    assert data["counts"] == {"reproduced": 69, "not reproduced": 1, "not attempted": 0}
    records = read_records(backed / "records.jsonl")
    entries = ledger(TABLE, records, tolerance=0.001, evidence=records)
    assert [cell["verdict"] for cell in data["cells"]] == [e.verdict for e in entries]
    (miss,) = [cell for cell in data["cells"] if cell["verdict"] == "not reproduced"]
    assert (miss["row"], miss["column"], miss["printed"]) == ("vrf:lp-ft", "avg5", "51.8")
    assert miss["ours"] == pytest.approx(0.5202, abs=1e-5)
    assert "average 52.02" in miss["remarks"][0]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--against", "published:vrf-tabel1"), "did you mean 'vrf-table1'"),
        (("--against", "vrf-table1"), "expected published:NAME"),
        ((*AGAINST, "--tolerance", "-1"), "--tolerance -1.0"),
        ((*AGAINST, "--tolerance", "inf"), "--tolerance inf"),
        ((*AGAINST, "--tolerance", "nan"), "--tolerance nan"),
        ((), "cannot read the configuration of a run"),
        (("--tolerance", "1"), "only with --against published:NAME"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: tuple[str, ...], word: str) -> None:
    run = write(tmp_path / "run", records_of(TABLE)[:1])
    assert_refused(bench("check", run, *options), word)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    assert_refused(bench("check", tmp_path, *AGAINST), "no records at")
    assert_refused(bench("check", tmp_path / "none", *AGAINST), "no records at")
    (tmp_path / "mine.jsonl").write_text("{}\n")
    assert_refused(bench("check", tmp_path / "mine.jsonl", *AGAINST), "mine.jsonl:1: not a record")
