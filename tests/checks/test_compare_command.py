"""``bench compare``: messages, exit codes, committed runs and git revisions."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from changed import MINI, record, write
from commands import Finished, assert_refused, bench

from bench.checks.junit import SUMMARY
from bench.core.records import read_records

WHO = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")


def worsened(folder: Path, method: str, by: float) -> Path:
    """Return the committed records of mini with one method worse in accuracy; no samples."""
    records = read_records(MINI / "records.jsonl")
    is_meant = [(r.method, r.metric) == (method, "top1") for r in records]
    pairs = zip(records, is_meant, strict=True)
    return write(
        folder, *(r.model_copy(update={"value": r.value - by}) if odd else r for r, odd in pairs)
    )


def test_six_points_less_of_every_accuracy_of_a_row_are_a_regression(tmp_path: Path) -> None:
    worse = worsened(tmp_path / "worse", "vrf", 0.06)
    result = bench("compare", MINI, worse)
    assert (
        result.code == 3 and "7 of 245 cells are worse by more than 1: vrf:e2e-ft on " in result.err
    )
    assert bench("compare", worse, MINI).code == 0


def test_a_committed_run_beside_itself(tmp_path: Path) -> None:
    same = bench("compare", MINI, MINI)
    assert (same.code, same.out) == (0, "245 cells: 245 same\n")
    assert bench("compare", MINI, worsened(tmp_path / "same", "vrf", 0.0)).code == 0


def test_seeds_that_are_gone_are_a_failure_unless_allowed(tmp_path: Path) -> None:
    kept = [r for r in read_records(MINI / "records.jsonl") if r.seed in (None, 0)]
    fewer = write(tmp_path / "fewer", *kept)
    junit = tmp_path / "junit.xml"
    result = bench("compare", MINI, fewer, "--junit", junit)
    assert result.code == 3
    assert "bench: seeds are missing (--allow-missing accepts that): e2e-ft (seeds 1, 2), " in (
        result.err
    )
    assert "vrf:e2e-ft (seeds 1, 2)" in result.err and "zero-shot" not in result.err
    assert "245 cells: 245 same; 196 of them have fewer seeds" in result.out
    assert ElementTree.parse(junit).getroot().attrib["failures"] == "196"
    allowed = bench("compare", MINI, fewer, "--allow-missing", "--junit", junit)
    assert (allowed.code, allowed.err) == (0, "") and "196 of them have fewer" in allowed.out
    assert ElementTree.parse(junit).getroot().attrib["failures"] == "0"
    assert bench("compare", fewer, MINI).code == 0, "more seeds are not a failure"


def test_a_seed_that_is_gone_on_one_set_is_named_with_it(tmp_path: Path) -> None:
    whole = [record(seed=s, shift=shift) for s in (0, 1) for shift in ("id", "v2")]
    old, new = write(tmp_path / "old", *whole), write(tmp_path / "new", *whole[:-1])
    assert "vrf:e2e-ft (seed 1 on v2)\n" in bench("compare", old, new).err
    marked = [r.model_copy(update={"role": "control"}) for r in whole]
    old, new = write(tmp_path / "old", *marked), write(tmp_path / "new", *marked[:-1])
    assert bench("compare", old, new).code == 0
    assert bench("compare", old, new, "--all").code == 3


def test_what_temperature_scaling_leaves_is_compared(tmp_path: Path) -> None:
    records = read_records(MINI / "records.jsonl")
    doubled = write(
        tmp_path / "doubled",
        *(
            r.model_copy(update={"value": 2 * r.value}) if r.kind == "scaled" else r
            for r in records
        ),
    )
    result = bench("compare", MINI, doubled)
    assert result.code == 3 and "105 of 245 cells" in result.err
    assert "245 cells: 105 regression, 140 same" in result.out
    assert re.search(r"^vrf:e2e-ft +OOD mean +ECE w/ TS ", result.out, re.MULTILINE)
    bare = write(tmp_path / "bare", *(r for r in records if r.kind != "scaled"))
    result = bench("compare", MINI, bare)
    assert result.code == 3 and "140 same" in result.out
    assert (
        "105 cells are missing" in result.err and "vrf:e2e-ft (21 of 49: id w/ TS, " in result.err
    )
    result = bench("compare", bare, MINI)
    assert result.code == 0 and "245 cells: 105 new, 140 same" in result.out


def test_what_has_vanished_is_a_failure_unless_allowed(tmp_path: Path) -> None:
    kept = record("vrf")
    old = write(tmp_path / "old", kept, record("ose"), record("ose", "v2"), record("vrf", "v2"),
                record("oracle", role="oracle"))  # fmt: skip
    new = write(tmp_path / "new", kept)
    junit = tmp_path / "junit.xml"
    result = bench("compare", old, new, "--junit", junit)
    assert result.code == 3
    assert result.err == (
        "bench: 3 cells are missing (--allow-missing accepts that): vrf:e2e-ft (1 of 2: v2), "
        "ose:e2e-ft (all 2)\n"
    )
    assert ElementTree.parse(junit).getroot().attrib["failures"] == "3"
    allowed = bench("compare", old, new, "--allow-missing", "--junit", junit)
    assert allowed.code == 0 and "4 vanished" in allowed.out
    assert ElementTree.parse(junit).getroot().attrib["failures"] == "0"
    assert bench("compare", new, old).code == 0, "new cells are not a failure"
    every = bench("compare", old, new, "--all")
    assert every.code == 3 and "4 cells are missing" in every.err


def test_changes_come_worst_first_and_what_is_the_same_is_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"same": (0.5, 0.5), "better": (0.5, 0.6), "worse": (0.5, 0.48), "bad": (0.5, 0.3),
              "worst": (0.5, 0.2)}  # fmt: skip
    old, new = (
        write(tmp_path / str(i), *(record(name, value=v[i]) for name, v in values.items()))
        for i in (0, 1)
    )
    monkeypatch.setenv(SUMMARY, str(tmp_path / "summary.md"))
    result = bench("compare", old, new)
    assert result.code == 3
    rows = re.findall(r"^(\w+):e2e-ft", result.out, re.MULTILINE)
    assert rows == ["worst", "bad", "worse", "better"]
    text = (tmp_path / "summary.md").read_text()
    assert "2 regression, 1 worse, 1 better, 1 same" in text
    marks = re.findall(r"^\| (.) \|.*?\| (\w+):e2e-ft on id", text, re.MULTILINE)
    assert marks == [("✗", "worst"), ("✗", "bad"), ("▼", "worse"), ("▲", "better")]


def test_exit_codes_and_what_is_said(tmp_path: Path) -> None:
    good = write(tmp_path / "good", record(value=0.8), record("a<b & |c|", value=0.7))
    bad = write(tmp_path / "bad", record(value=0.6), record("a<b & |c|", value=0.9))
    junit = tmp_path / "junit.xml"
    worse = bench("compare", good, bad / "records.jsonl", "--junit", junit)
    assert worse.code == 3
    said = (
        "1 of 2 cells are worse by more than 1: vrf:e2e-ft on id: Accuracy 80.00 -> 60.00 (-20.00"
    )
    assert said in worse.err and len(worse.err.splitlines()) == 1
    assert "2 cells: 1 regression, 1 better" in worse.out
    root = ElementTree.parse(junit).getroot()
    assert (root.attrib["tests"], root.attrib["failures"]) == ("2", "1")
    assert "a<b & |c|:e2e-ft on id: Accuracy" in {c.get("name") for c in root.iter("testcase")}
    assert bench("compare", good, bad, "--tolerance", "20").code == 0
    same = bench("compare", good, good)
    assert (same.code, same.out, same.err) == (0, "2 cells: 2 same\n", "")
    data = json.loads(bench("compare", good, bad, "--json").out)
    assert {cell["state"] for cell in data} == {"better", "regression"}


def test_records_of_others_give_a_terminal_no_orders(tmp_path: Path) -> None:
    name = "v\x1b[31mrf\x07"
    old, new = (write(tmp_path / str(v), record(name, value=v)) for v in (0.8, 0.5))
    result = bench("compare", old, new)
    assert result.code == 3 and r"v\x1b[31mrf\x07:e2e-ft" in result.err
    assert "\x1b" not in result.out + result.err


def test_a_run_with_samples_is_paired(small: Finished) -> None:
    data = json.loads(bench("compare", small.out, small.out, "--json").out)
    assert {cell["how"] for cell in data if cell["metric"] == "top1"} == {"paired"}
    assert {cell["state"] for cell in data} == {"same"}
    assert not any(cell["gates"] for cell in data)


def test_git_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", *WHO, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    for value in (0.8, 0.6):
        write(tmp_path / "results" / "mini", record(value=value))
        (tmp_path / "results" / "mini" / "report.md").write_text("# Report\n")
        git("add", ".")
        git("commit", "-q", "-m", "numbers")
    monkeypatch.chdir(tmp_path)
    for old in ("HEAD~1:results/mini", "HEAD~1:results/mini/records.jsonl"):
        assert bench("compare", old, "results/mini").code == 3
        assert bench("compare", old, "HEAD:results/mini/").code == 3
    assert bench("compare", "HEAD:results/mini", "results/mini").code == 0
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path / "docs")
    assert bench("compare", "HEAD~1:results/mini", "../results/mini").code == 3
    assert bench("compare", "HEAD~1:../results/mini", "../results/mini").code == 3
    monkeypatch.chdir(tmp_path)
    for wrong, said in (
        ("HEAD~9:results/mini", "no revision HEAD~9 in this repository"),
        ("--version:results/mini", "no revision --version in this repository"),
        ("HEAD:results/none", "revision HEAD has no such path"),
        ("HEAD:results/mini/report.md", "is a file: expected the folder of a run"),
    ):
        result = bench("compare", "--", wrong, "results/mini")
        assert_refused(result, wrong, said)
        assert "fatal" not in result.err and "tree" not in result.err
    assert_refused(bench("compare", "HEAD:results", "results/mini"), "no records at HEAD:results/")


def test_committed_samples_are_paired(
    tmp_path: Path, small: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(small.out, tmp_path / "run")
    for arguments in (["init", "-q"], ["add", "."], [*WHO, "commit", "-q", "-m", "numbers"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.chdir(tmp_path)
    data = json.loads(bench("compare", "HEAD:run", "run", "--json").out)
    assert {cell["how"] for cell in data if cell["metric"] == "top1"} == {"paired"}


def test_wrong_arguments_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    one = write(tmp_path / "one", record())
    assert_refused(bench("compare", one, "nothing"), "nothing: no such run folder")
    assert_refused(
        bench("compare", one, "HEAD:one"), "HEAD:one", "this folder is in no git repository"
    )
    assert_refused(bench("compare", one, tmp_path), "no records at")
    assert_refused(bench("compare", one, one, "--tolerance", "nan"), "--tolerance nan")
    other = write(tmp_path / "other", record(suite="micro", notes=("micro suite",)))
    assert_refused(
        bench("compare", one, other),
        "share no cell: the first has mini, tiny/embedded, clean, the second micro, "
        "tiny/embedded, clean, micro suite",
    )
