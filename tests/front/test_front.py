"""The front door in Python: the same options, runs and errors as on the command line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import SAME_BENCH, SMALL, Finished, contents
from commands import bench as command
from outputs_folders import folder

import bench
from bench.cli.run import run_command
from bench.core.errors import InputError
from bench.core.records import Record
from bench.front.options import RunOptions

OPTIONS: dict[str, Any] = {
    "suite": "micro",
    "limit": 40,
    "shifts": ["v2", "objectnet"],
    "set": {"e2e-ft": {"epochs": 1}},
}
"""`SMALL` as keyword arguments."""


@pytest.fixture
def run(small: Finished, tmp_path: Path) -> bench.Run:
    return bench.run(**OPTIONS, cache_dir=small.cache, out=tmp_path / "run")


@pytest.mark.usefixtures("no_engine")
def test_a_run_is_that_of_the_command_line(small: Finished, run: bench.Run) -> None:
    assert contents(run.path) == contents(small.out)
    loaded = bench.load(small.out)
    assert (loaded.records, loaded.missing, loaded.status) == (run.records, (), "complete")


def test_options_are_those_of_the_command_line() -> None:
    named = {p.name for p in run_command.params if p.name} - {"as_json", "dry_run", "debug"}
    assert named - {"assignments", "help"} | {"set"} == RunOptions.__annotations__.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"suite": "mikro"}, "unknown suite 'mikro': did you mean 'micro'"),
        ({"methdos": "vrf"}, "unknown option 'methdos': did you mean 'methods'"),
        ({"suite": "micro", "seeds": [-1]}, "--seeds -1"),
        ({"suite": "micro", "set": {"e2e-ft": {"lr": "fast"}}}, "e2e-ft.lr=fast"),
        ({"config": "nowhere.yaml"}, "--config nowhere.yaml"),
    ],
)
def test_errors_are_those_of_the_command_line(options: dict[str, Any], message: str) -> None:
    for function in (bench.run, bench.plan):
        with pytest.raises(InputError, match=message):
            function(**options)


def test_nothing_is_printed_unless_asked(
    run: bench.Run, capfd: pytest.CaptureFixture[str], small: Finished, tmp_path: Path
) -> None:
    assert capfd.readouterr() == ("", "")
    bench.run(**OPTIONS, cache_dir=small.cache, out=tmp_path / "again", progress=False)
    assert capfd.readouterr() == ("", "")


def test_a_plan_is_that_of_the_command_line(small: Finished) -> None:
    plan = bench.plan(**OPTIONS, cache_dir=small.cache)
    said = command("plan", *SMALL[1:], "--cache-dir", small.cache)
    assert said.out == f"{plan}\n"
    assert plan.summary() == "to do: nothing; every cell is in the cache"


def test_a_data_frame_has_every_cell(run: bench.Run) -> None:
    frame = run.to_pandas()
    cells = [r for r in run.records if r.kind in ("cell", "scaled")]
    assert len(frame) == len(cells)
    first: Record = next(r for r in cells if r.metric == "top1" and r.method == "vrf")
    row = frame[
        (frame.metric == "top1")
        & (frame.row == "vrf:e2e-ft")
        & (frame["shift"] == first.shift)
        & ~frame.scaled
    ].iloc[0]
    assert row["value"] == first.value and row.n == first.n and row.choice == first.choice
    assert row.low < row["value"] < row.high
    assert frame[frame.metric == "ece"].low.isna().all()


def test_without_pandas_one_line_says_what_to_do(
    run: bench.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"^to_pandas needs pandas: pip install pandas$"):
        run.to_pandas()


def test_a_leaderboard_shows_itself(small: Finished, run: bench.Run) -> None:
    boards = run.leaderboard()
    assert str(boards).splitlines()[0] == "micro, tiny/embedded, clean"
    page = boards._repr_html_()
    assert page.count("<table>") == len(boards.boards) == 1
    assert "VRF" in page and "<script" not in page


def test_names_in_a_leaderboard_cannot_do_anything(run: bench.Run) -> None:
    bad = "<script>alert(1)</script>"
    records = tuple(r.model_copy(update={"title": bad}) for r in run.records)
    page = bench.Run(run.path, records).leaderboard()._repr_html_()
    assert "<script" not in page and "&lt;script" in page


def test_reports_are_written_where_the_run_is(run: bench.Run) -> None:
    assert run.report() == run.path / "report.html"
    assert run.report("csv").read_text().startswith("suite,")
    assert list(run.report("svg").glob("*.svg"))
    with pytest.raises(InputError, match="unknown format 'docx'"):
        run.report("docx")


@pytest.mark.parametrize("row", ["zero-shot", "e2e-ft", "wise-ft", "ose:e2e-ft", "vrf"])
@pytest.mark.parametrize("split", ["id", "v2", "objectnet"])
def test_outputs_give_the_numbers_of_the_records(run: bench.Run, row: str, split: str) -> None:
    found = run.outputs(row, split)
    right = found.log_probs.argmax(axis=1) == found.labels[:, 0]
    (value,) = (
        r.value
        for r in run.records
        if (r.kind, r.metric, r.shift) == ("cell", "top1", split)
        and r.method == row.partition(":")[0]
    )
    assert right.mean() == pytest.approx(value)
    assert len(found.ids) == len(right) == 40
    assert found.features.keys() == found.logits.keys()
    for name, logits in found.logits.items():
        assert logits.shape == (40, 20) and found.features[name].shape == (40, 96)
    assert np.allclose(np.exp(found.log_probs).sum(axis=1), 1, atol=1e-5)


def test_outputs_of_the_selection_split(run: bench.Run) -> None:
    found = run.outputs("vrf", "selection")
    assert found.log_probs.shape == (40, 20) and found.logits.keys() == {"zero-shot", "e2e-ft"}


@pytest.mark.parametrize(
    ("row", "split", "options", "message"),
    [
        ("vfr", "id", {}, "unknown row of the run 'vfr': valid: e2e-ft, ose:e2e-ft, vrf"),
        ("vrf", "v3", {}, "unknown split of micro 'v3': did you mean 'v2'"),
        ("vrf", "id", {"seed": 5}, "with a seed of"),
        ("vrf", "id", {"suite": "mini"}, "unknown suite of the run 'mini'"),
    ],
)
def test_outputs_of_what_is_not_there(
    run: bench.Run, row: str, split: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run.outputs(row, split, **options)


def test_outputs_of_a_loaded_run_need_its_cache(small: Finished, tmp_path: Path) -> None:
    found = bench.load(small.out, cache_dir=small.cache).outputs("vrf", "v2")
    assert found.log_probs.shape == (40, 20)
    with pytest.raises(InputError, match=r"not in the cache .*cache_dir"):
        bench.load(small.out, cache_dir=tmp_path / "empty").outputs("vrf", "v2")


def test_failed_cells_are_warned_of_and_listed(
    small: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.api.registry import find_method

    def broken(*_: object, **__: object) -> None:
        raise KeyError("broken")

    monkeypatch.setattr(find_method("vrf"), "fit", broken)
    with pytest.warns(RuntimeWarning, match=r"cells failed; the first: vrf on id: KeyError"):
        run = bench.run(**OPTIONS, protocol="official", cache_dir=small.cache, out=tmp_path / "o")
    assert run.status == "incomplete" and {m.method for m in run.missing} == {"vrf"}
    assert any(r.method == "ose" for r in run.records)


def test_a_board_keeps_its_watermarks_in_a_notebook(run: bench.Run) -> None:
    page = run.leaderboard()._repr_html_()
    assert "not reportable: limit=40" in page and "partial: 2 of 5 shifts" in page


def test_a_damaged_fit_is_one_line(own: Finished) -> None:
    run = bench.load(own.out, cache_dir=own.cache)
    assert run.outputs("vrf", "v2").ids
    for fit in (own.cache / "fits").rglob("*.safetensors"):
        fit.write_bytes(fit.read_bytes()[:-1])
    with pytest.raises(InputError, match="not in the cache"):
        run.outputs("vrf", "v2")


def test_shifts_without_data_are_warned_of(copies: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(copies, tmp_path / "data"))
    shutil.rmtree(data / "CIFAR-10.1")
    places = {"data": data, "cache_dir": tmp_path / "cache", "out": tmp_path / "out"}
    with pytest.warns(RuntimeWarning, match=r"^cifar10 without "):
        run = bench.run(suite="cifar10", methods="zero-shot", **places)
    assert run.status == "complete"


def test_several_processes_are_started_with_the_command_line(
    monkeypatch: pytest.MonkeyPatch, small: Finished
) -> None:
    launched = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": "29500"}
    for name, text in {**launched, "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(InputError, match="python -m bench run"):
        bench.run(**OPTIONS, cache_dir=small.cache)


def test_hyper_parameters_are_given_as_values(small: Finished) -> None:
    from bench.front.options import config_of

    changes = {"vrf": {"a_grid": (0.1, 0.5), "p": 1e-05, "squared": True}, "ose": {"alphas": [1]}}
    assert config_of({"set": changes}).set == {
        "vrf": {"a_grid": "[0.1, 0.5]", "p": "1e-05", "squared": "true"},
        "ose": {"alphas": "[1]"},
    }
    plan = bench.plan(suite="micro", methods="vrf,ose", set=changes, cache_dir=small.cache)
    methods = {row.name: row.method for row in plan.plans[0].study.rows}
    assert (methods["vrf:e2e-ft"].a_grid, methods["vrf:e2e-ft"].p) == ((0.1, 0.5), 1e-05)


def test_scores_are_those_of_the_command_line(tmp_path: Path) -> None:
    outputs = folder(tmp_path / "outputs")
    options = {"cache_dir": tmp_path / "cache", "set": {"vrf": {"p": 0.01}}}
    run = bench.score(outputs, methods=["ose", "vrf"], out=tmp_path / "a", **options)
    same = ("--methods", "ose,vrf", "--set", "vrf.p=0.01", "--cache-dir", tmp_path / "cache")
    said = command("score", "--outputs", outputs, *same, "--out", tmp_path / "b")
    assert said.code == 0, said.err
    assert contents(run.path) == contents(tmp_path / "b")
    assert {r.method for r in run.records} == {"zero-shot", "e2e-ft", "ose", "vrf"}
    found = run.outputs("ose", "sketch")
    assert found.log_probs.shape == (20, 3) and found.features.keys() == {"e2e-ft"}
    with pytest.raises(InputError, match="seeds: not an option of score: expected cache_dir, "):
        bench.score(outputs, seeds=[0])


def test_importing_loads_nothing() -> None:
    code = (
        "import sys; import bench; bench.__version__; "
        "heavy = {'numpy', 'torch', 'rich', 'pydantic', 'pandas', 'click'} & sys.modules.keys(); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], env=SAME_BENCH, capture_output=True)
    assert done.returncode == 0, done.stderr
