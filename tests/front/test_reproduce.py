"""``bench reproduce``: its data, its plan, its stages, and what it says of printed cells."""

from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Result, assert_refused, bench
from micro_table import NAME, print_table

from bench.cli import run
from bench.core.errors import CellError
from bench.core.records import read_records
from bench.front.reproduce import find_reproduction
from bench.leaderboard.published import places
from bench.leaderboard.published.layouts import PRESETS
from bench.runs.session import Session

SETS = ["imagenet", "imagenet-v2", "imagenet-sketch", "imagenet-a", "imagenet-r", "objectnet"]


@pytest.mark.parametrize("name", PRESETS)
def test_a_table_is_run_as_its_paper_did(name: str) -> None:
    goal = find_reproduction(name)
    assert goal.suites == ("imagenet",) and set(goal.sets) == set(SETS)
    first, clean, whole = (one.config for one in goal.runs({}))
    assert (first.protocol, clean.protocol, whole.protocol) == ("official", "clean", "official")
    assert f"{first.model}/{first.pretrained}" == goal.models[0]
    assert set(first.methods) <= {"zero-shot", "linear"} and clean.methods == ("zero-shot",)
    assert whole.table == name and whole.methods == PRESETS[name].methods
    assert whole.curves == (True if name.startswith("wise-ft") else None)  # alpha 0.5 is printed
    assert len({first.out, clean.out, whole.out}) == 3


def test_released_checkpoints_take_their_own_model_and_no_smoothed_row() -> None:
    options = {"imported": "b16", "model": "ViT-B-16", "pretrained": "openai", "out": "runs/b16"}
    runs = find_reproduction("carot").runs(options, clean_released=True)
    released = [one.config for one in runs if one.stage == "released"]
    assert [config.protocol for config in released] == ["official", "clean"]
    assert {config.methods for config in released} == {("zero-shot", "e2e-ft", "wise-ft:e2e-ft")}
    assert {config.model for config in released} == {None}
    assert [one.config.imported for one in runs if one.stage != "released"] == [None] * 3
    alone = find_reproduction("carot").runs(options)
    assert [one.stage for one in alone].count("released") == 1


def test_the_beginning_of_a_name_is_enough_where_it_is_one_tables() -> None:
    assert find_reproduction("wise-ft").preset.name == "wise-ft-table8"
    assert_refused(bench("reproduce", "wise-ft-table"), "unknown table", "wise-ft-table8")


def test_all_missing_sets_are_named_at_once_with_how_to_get_them(tmp_path: Path) -> None:
    result = bench("reproduce", "vrf-table1", "--data", tmp_path, "--cache-dir", tmp_path / "cache")
    assert result.code == 4 and "6 of 6 data sets are not ready" in result.err
    assert [line.split()[1] for line in result.out.splitlines() if "not found" in line] == [
        f"{name}:" for name in SETS
    ]
    assert "bench data download imagenet-v2 (1.26 GB, from https://" in result.out
    assert "terms to accept: ImageNet terms of access" in result.out
    assert "plan" not in result.out


@pytest.mark.parametrize(
    ("option", "value"), [("--seeds", "one"), ("--executor", "slrum"), ("--imported", "b16")]
)
def test_bad_options_are_said_before_the_data_are_read(
    option: str, value: str, tmp_path: Path
) -> None:
    place = ("--data", tmp_path, "--cache-dir", tmp_path / "cache")
    result = bench("reproduce", "vrf-table1", *place, "--verify", option, value)
    assert_refused(result, option.removeprefix("--"), value)


def test_a_damaged_set_is_named_and_nothing_is_planned(linked: Path, tmp_path: Path) -> None:
    folder = linked / "imagenet-a"
    real = folder.resolve()
    folder.unlink()
    shutil.copytree(real, folder)
    image = next(folder.rglob("*.jpg"))
    image.write_bytes(b"no image")
    command = ("reproduce", "vrf-table1", "--data", linked, "--cache-dir", tmp_path / "cache")
    assert bench(*command, "--until", "data").code == 0  # it has as many images as it should
    result = bench(*command, "--verify", "--until", "data")
    assert result.code == 4 and image.name in result.out
    image.unlink()
    result = bench(*command, "--until", "plan")
    assert result.code == 4 and "imagenet-a" in result.err and "plan:" not in result.out


def test_the_plan_states_work_time_and_space_and_runs_nothing(
    synthetic: Path, tmp_path: Path, no_engine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("reproduce", "vrf-table1", "--data", synthetic, "--cache-dir", tmp_path / "cache")
    command = (*command, "--out", tmp_path / "run", "--until", "plan")
    result = bench(*command)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("data:")] == [
        f"{name}:" for name in SETS
    ]
    assert "plan: VRF's Table 1 with ViT-B-32/openai" in lines
    assert sum("to do: " in line and "about" in line for line in lines) == 3
    assert sum("  at least" in line and "of disk" in line for line in lines) == 3
    assert "released: skipped; no checkpoints" in lines[-1]
    assert not list(tmp_path.glob("run*"))

    usage = namedtuple("usage", ("total", "used", "free"))(9, 0, 9)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    small = bench(*command)
    assert small.code == 2 and "9 bytes free" in small.err and "--ignore-disk" in small.err
    assert bench(*command, "--ignore-disk").code == 0


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Print a table with these cells of zero-shot and the linear classifier."""
    return lambda zero_shot, linear: print_table(
        monkeypatch, {"zero-shot": zero_shot, "linear": linear}
    )


def stages(tmp_path: Path, *more: str) -> Result:
    own = ("--cache-dir", tmp_path / "cache", "--out", tmp_path / "run")
    return bench("reproduce", NAME, *own, *more)


def test_contradicted_cells_are_said_in_words_and_end_in_code_3(
    printed: Callable[[str, str], None], tmp_path: Path
) -> None:
    printed("60.5", "2.5")
    result = stages(tmp_path)
    assert result.code == 3, result.err
    assert "contradicted, beyond the tolerance: linear on micro-id " in result.out
    (last,) = [line for line in result.err.splitlines() if line.startswith("bench: ")]
    assert last.startswith("bench: 1 printed cell is contradicted: linear on micro-id ")
    assert ", claimed 2.5 ± " in last
    assert "1 reproduced, 1 not reproduced" in result.out
    names = {path.parent.name for path in tmp_path.glob("*/report.md")}
    assert names == {"run", "run-zero-shot", "run-zero-shot-clean"}
    assert f"next: bench submit {tmp_path / 'run'}" in result.out
    # It goes on where it stopped: all is in the store, and what was said is said again.
    again = stages(tmp_path)
    assert again.code == 3 and again.out.count("to do: nothing") == 3


def test_reproduced_cells_end_in_code_0_and_a_stage_may_be_the_last(
    printed: Callable[[str, str], None], tmp_path: Path
) -> None:
    printed("60.5", "2.5")
    assert stages(tmp_path, "--until", "zero-shot").code == 3
    assert not (tmp_path / "run").exists()
    (linear,) = [
        f"{100 * record.value:.1f}"
        for record in read_records(tmp_path / "run-zero-shot" / "records.jsonl")
        if (record.method, record.shift, record.kind) == ("linear", "id", "cell")
        if record.metric == "top1"
    ]
    printed("60.5", linear)
    result = stages(tmp_path, "--until", "zero-shot")
    assert result.code == 0, result.err
    assert "2 reproduced, 0 not reproduced" in result.out and "next:" not in result.out


def test_another_model_reproduces_and_contradicts_nothing(
    printed: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed("1.0", "2.5")
    monkeypatch.setitem(places.MODELS, "tiny", "ViT-B-32/openai")
    result = stages(tmp_path, "--model", "tiny", "--until", "zero-shot")
    assert result.code == 0, result.err
    said = "measured with tiny/embedded, but the claim is for ViT-B-32/openai (2 cells)"
    assert f"No cell of A table can be compared with this run: {said}" in result.out


def test_failed_cells_end_in_code_1_after_the_other_stages(
    printed: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed("60.5", "2.5")
    real = run.run_and_show

    def failing(session: Session, as_json: bool) -> None:
        real(session, as_json)
        if session.out.name == "run-zero-shot":
            raise CellError("1 cell failed; the rest were written: linear on v2: no memory")

    monkeypatch.setattr(run, "run_and_show", failing)
    result = stages(tmp_path)
    assert result.code == 1 and (tmp_path / "run" / "report.md").is_file()
    last = result.err.splitlines()[-1]
    assert last.startswith("bench: cells failed: zero-shot: 1 cell failed")


def test_it_is_for_one_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"WORLD_SIZE": 2, "RANK": 0, "LOCAL_RANK": 0}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert_refused(bench("reproduce", "vrf-table1", "--data", tmp_path), "--executor")
