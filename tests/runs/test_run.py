"""Complete runs on the micro suite: files, repeats, reports, and failures of single cells."""

from __future__ import annotations

import json
import os
import pty
import resource
import select
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from commands import SAME_BENCH, SMALL, Finished, bench, contents, start

from bench.api import registry
from bench.api.method import Method, Models
from bench.api.metrics import METRICS
from bench.api.recipes import Recipe
from bench.core.errors import InputError
from bench.core.records import read_records
from bench.runs.results.figure_data import FIGURES

FILES = {
    *("config.json", "plan.json", "records.jsonl", "trainings.jsonl", "manifest.json"),
    *("report.html", "report.md"),
}


def again(run: Finished, *more: object, out: Path | None = None) -> Any:
    """Run the finished run's command on its cache, with `more` options."""
    return bench(*run.command, *more, "--cache-dir", run.cache, "--out", out or run.out)


def test_files_and_marks(small: Finished) -> None:
    assert {p.name for p in small.out.iterdir()} == {
        *FILES,
        "samples",
        "places.json",
        "timings.jsonl",
    }
    records = read_records(small.out / "records.jsonl")
    assert {r.shift for r in records if r.kind != "figure"} == {"id", "v2", "objectnet"}
    assert {r.shift for r in records if r.kind == "figure"} == {"id", "v2", "objectnet", "pooled"}
    figures = {figure.name for figure in FIGURES}
    assert {r.metric for r in records} == set(METRICS) | figures
    assert {r.method for r in records if r.kind == "figure"} == {"vrf"}
    assert all((r.temperature is None) == (r.kind != "scaled") for r in records)
    assert {r.notes for r in records} == {("micro suite", "limit=40")}
    assert {(r.method, r.seed) for r in records} == {
        ("zero-shot", None),
        *((name, 0) for name in ("e2e-ft", "wise-ft", "ose", "vrf")),
    }
    for record in (r for r in records if r.kind == "cell"):
        assert {"key", "inputs", "data", "environment", "precision"} <= record.provenance.keys()
    report = (small.out / "report.md").read_text()
    assert "limit=40" in report
    assert "mean of 2" in report
    assert "OOD mean |" not in report
    plan = json.loads((small.out / "plan.json").read_text())
    kinds = {"head", "train", "predict", "fit", "scale", "score"}
    assert {item["kind"] for item in plan} == kinds


@pytest.mark.usefixtures("no_engine")
def test_a_repeat_computes_nothing_and_changes_nothing(own: Finished) -> None:
    before = contents(own.out)
    result = again(own)
    assert result.code == 0, result.err
    first, *others = result.err.splitlines()
    assert first == "to do: nothing; every cell is in the cache"
    assert all(line.startswith("caveat: ") for line in others)
    assert contents(own.out) == before
    again(own, "--eval-batch-size", 3, "--workers", 1, "--device", "cpu", out=own.out / "other")
    assert contents(own.out / "other") == before


def test_a_repeat_needs_no_torch(own: Finished) -> None:
    before, started = contents(own.out), resource.getrusage(resource.RUSAGE_CHILDREN)
    code = (
        "import sys; sys.modules['torch'] = None; from bench.cli.main import exit_code; "
        "sys.exit(exit_code(sys.argv[1:]))"
    )
    command = (*own.command, "--cache-dir", own.cache, "--out", own.out)
    program = [sys.executable, "-c", code, *map(str, command)]
    done = subprocess.run(program, check=True, env=SAME_BENCH)
    assert done.returncode == 0
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ended.ru_utime - started.ru_utime < 10  # 2 s
    assert contents(own.out) == before


@pytest.mark.usefixtures("no_engine")
def test_some_of_the_methods_or_shifts(small: Finished, tmp_path: Path) -> None:
    every = {
        r.provenance["key"]: r
        for r in read_records(small.out / "records.jsonl")
        if r.kind == "cell"
    }
    result = again(small, "--methods", "ose", "--shifts", "objectnet", out=tmp_path)
    assert result.code == 0, result.err
    some = [r for r in read_records(tmp_path / "records.jsonl") if r.kind == "cell"]
    assert {r.method for r in some} == {"zero-shot", "e2e-ft", "ose"}
    for record in some:
        assert record == every[record.provenance["key"]]


@pytest.mark.usefixtures("no_engine")
def test_a_new_metric_forwards_nothing(
    small: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = replace(METRICS["nll"], name="extra", title="Extra")
    monkeypatch.setattr(
        "bench.api.protocol.Protocol.metrics", lambda _: {**METRICS, "extra": extra}
    )
    result = again(small, "--no-curves", out=tmp_path)
    assert result.code == 0, result.err
    # 30 of the new metric, and 3 accuracies of WiSE-FT, which kept the values of its curve before.
    assert "0 training runs, 0 forward passes of 0 decoded images, 33 cells" in result.err
    records = read_records(tmp_path / "records.jsonl")
    values = {(r.method, r.shift, r.kind, r.metric): r.value for r in records}
    for (*place, metric), value in values.items():
        if metric == "extra":
            assert value == values[*place, "nll"]


def test_json(small: Finished, tmp_path: Path) -> None:
    result = again(small, "--json", out=tmp_path)
    told = json.loads(result.out)
    assert result.err.splitlines() == [f"caveat: {caveat}" for caveat in told["caveats"]]
    assert told["out"] == str(tmp_path)
    assert told["missing"] == []
    cells = {(c["method"], c["shift"], c["metric"]): c["value"] for c in told["cells"]}
    assert len(cells) == 5 * 3 * len(METRICS)


def test_a_report_is_made_again_from_records_and_trainings(own: Finished) -> None:
    before = contents(own.out)
    for name in FILES - {"records.jsonl", "trainings.jsonl"}:
        (own.out / name).unlink()
    result = bench("report", own.out)
    assert result.code == 0
    assert result.out.split() == [str(own.out / "report.md"), str(own.out / "report.html")]
    for name in ("report.md", "report.html"):
        assert (own.out / name).read_bytes() == before[name]


@pytest.mark.usefixtures("no_engine")
def test_reports_of_two_runs_merge(small: Finished, tmp_path: Path) -> None:
    for name, methods, shift in (("a", "wise-ft", "objectnet"), ("b", "ose,vrf", "objectnet")):
        again(small, "--methods", methods, "--shifts", shift, out=tmp_path / name)
    again(small, "--shifts", "v2", out=tmp_path / "c")
    result = bench("report", *(tmp_path / n for n in "abc"), "--out", tmp_path / "all")
    assert result.code == 0, result.err
    merged = (tmp_path / "all" / "report.md").read_bytes()
    assert merged == contents(small.out)["report.md"]


@dataclass(frozen=True)
class Broken(Method):
    """A method that cannot predict."""

    name: ClassVar[str] = "broken"
    title: ClassVar[str] = "Broken"
    summary: ClassVar[str] = "Fails."
    equation: ClassVar[str] = "1/0"
    source: ClassVar[str] = "this test"

    def recipe(self, models: Models) -> Recipe:
        return models.zero_shot

    def predict(self, *_: object) -> Any:
        raise KeyError("what this\nneeds")


class Refusing(Broken):
    """A method whose computation raises InputError, as bench's own functions do."""

    name: ClassVar[str] = "refusing"

    def predict(self, *_: object) -> Any:
        raise InputError("weight 1.0001 is no fraction")


@pytest.mark.usefixtures("no_engine")
def test_an_input_error_in_a_method_is_a_failed_cell(
    own: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.methods()
    monkeypatch.setitem(registry._METHODS, "refusing", Refusing)
    result = again(own, "--methods", "ose,refusing", out=tmp_path / "out")
    assert result.code == 1
    assert "weight 1.0001" in result.err
    assert {r.method for r in read_records(tmp_path / "out" / "records.jsonl")} >= {
        "zero-shot",
        "ose",
    }


@pytest.mark.usefixtures("no_engine")
def test_a_failing_method_leaves_the_others(
    own: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.methods()
    monkeypatch.setitem(registry._METHODS, "broken", Broken)
    out, other = tmp_path / "out", tmp_path / "other"
    result = again(own, "--methods", "ose,broken", out=out)
    assert result.code == 1
    assert "bench: 3 cells failed; the rest were written: broken on id: KeyError" in result.err
    assert "Traceback" not in result.err
    records = read_records(out / "records.jsonl")
    assert {r.method for r in records} == {"zero-shot", "e2e-ft", "ose"}
    assert "Broken" in (out / "report.md").read_text()
    assert "KeyError" in (out / "report.md").read_text()
    assert len((out / "missing.jsonl").read_text().splitlines()) == 3
    assert bench("report", out, "--out", other).code == 0
    assert contents(other)["report.md"] == contents(out)["report.md"]
    result = again(own, "--methods", "ose,broken", "--json", out=out)
    assert [m["shift"] for m in json.loads(result.out)["missing"]] == ["id", "v2", "objectnet"]
    again(own, "--methods", "ose", out=out)
    assert not (out / "missing.jsonl").exists()


def test_a_diverged_training_leaves_zero_shot(small: Finished, tmp_path: Path) -> None:
    command = (*SMALL, "--set", "e2e-ft.lr=1e30", "--set", "e2e-ft.clip=0", "--set")
    result = bench(
        *command, "e2e-ft.warmup=0", "--methods", "vrf", "--cache-dir", small.cache,
        "--out", tmp_path,
    )  # fmt: skip
    assert result.code == 1
    assert "e2e-ft on id: training diverged: " in result.err
    assert {r.method for r in read_records(tmp_path / "records.jsonl")} == {"zero-shot"}


def test_seeds(small: Finished, tmp_path: Path) -> None:
    for order in ("1,0", "0,1"):
        result = again(small, "--seeds", order, "--methods", "ose", out=tmp_path / order)
        assert result.code == 0, result.err
    assert contents(tmp_path / "1,0") == contents(tmp_path / "0,1")
    cells = [r for r in read_records(tmp_path / "0,1" / "records.jsonl") if r.kind == "cell"]
    assert {r.seed for r in cells if r.method == "zero-shot"} == {None}
    assert {r.seed for r in cells if r.method == "ose"} == {0, 1}
    first = [
        r for r in read_records(small.out / "records.jsonl") if r.kind == "cell" and r.seed == 0
    ]
    assert all(r in first for r in cells if r.seed == 0)


def test_seeds_at_once_are_those_of_each_alone(small: Finished, tmp_path: Path) -> None:
    """All of a row's seeds are measured in one process, from an empty cache."""
    alone = again(small, "--seeds", 1, "--methods", "e2e-ft", out=tmp_path / "alone")
    assert alone.code == 0, alone.err
    fresh = bench(*SMALL, "--seeds", "0,1", "--methods", "e2e-ft", "--out", tmp_path / "both",
                  "--cache-dir", tmp_path / "cache")  # fmt: skip
    assert fresh.code == 0, fresh.err
    expected, found = (read_records(tmp_path / n / "records.jsonl") for n in ("alone", "both"))
    assert [r for r in found if r.seed == 1] == [r for r in expected if r.seed == 1]
    assert [r.value for r in found if r.seed == 1] != [r.value for r in found if r.seed == 0]


def test_estimates_use_measured_rates(own: Finished) -> None:
    shifts = ("--shifts", "v2,objectnet,sketch")
    result = bench("plan", *SMALL[1:], *shifts, "--cache-dir", own.cache)
    assert "training runs: 0" in result.out
    assert "about" in result.out
    assert "a guess" not in result.out


def test_hardly_any_samples(small: Finished, tmp_path: Path) -> None:
    result = again(small, "--limit", 1, "--shifts", "v2", out=tmp_path)
    assert result.code == 0, result.err


def on_terminal(command: list[str], columns: int = 100) -> str:
    """Return what a command writes to a pseudo-terminal."""
    import fcntl
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color"}
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    seen = b""
    while select.select([master], [], [], 120)[0]:
        try:
            seen += os.read(master, 65536)
        except OSError:  # the other end is closed
            break
    os.close(master)
    assert process.wait() == 0, seen.decode()
    return seen.decode()


def test_on_a_terminal(own: Finished) -> None:
    """A table is displayed during the run; the final output has it once."""
    shutil.rmtree(own.cache / "cells")
    command = (*own.command, "--cache-dir", own.cache, "--out", own.out)
    seen = on_terminal([sys.executable, "-m", "bench", *map(str, command)])
    assert "to do: " in seen
    assert "\x1b[" in seen  # colours and cursor movements
    last = seen.split("\x1b[2K")[-1]
    assert last.count("Zero-shot") == 1
    assert "report.html" in last


def test_plain_lines_elsewhere(own: Finished) -> None:
    shutil.rmtree(own.cache / "cells")
    process = start(*own.command, "--cache-dir", own.cache, "--out", own.out)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "\x1b" not in out + err
    assert "Zero-shot" in out
