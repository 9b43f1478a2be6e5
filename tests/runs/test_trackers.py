"""Trackers: what they are given, read back with their own readers; they change no result."""

from __future__ import annotations

import importlib
import logging
import os
import re
import struct
from collections.abc import Mapping
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import SMALL, Finished, assert_refused, bench, contents

from bench.core.records import read_records
from bench.leaderboard.build import build_boards
from bench.models.devices.group import ProcessGroup
from bench.runs.session import follow_session, prepare_session
from bench.runs.study.config import load_config
from bench.runs.trackers import PACKAGES, POINTS, Trackers

Found = Mapping[str, tuple[Mapping[str, Any], Mapping[str, list[tuple[int, float]]]]]
"""By the name of a run: its parameters, and the (step, value) points of each of its values."""

pytestmark = [
    # mlflow 3.17 uses what sqlalchemy 2.1 calls deprecated.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
EXTRA = "it is part of the extra trackers"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trackers' settings of whoever runs the tests do not count."""
    for name in Trackers().defaults:
        monkeypatch.delenv(name, raising=False)


def in_tensorboard(folder: Path) -> Found:
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason=EXTRA
    )
    found = {}
    for run in (folder / "tensorboard").iterdir():
        events = reader.EventAccumulator(str(run)).Reload()
        curves = {
            tag: [(event.step, event.value) for event in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }
        (file,) = run.glob("*/hparams.yml")
        lines = [line.split(": ") for line in file.read_text().splitlines()]
        found[run.name] = ({name: value.strip("'") for name, value in lines}, curves)
    return found


def in_wandb(folder: Path) -> Found:
    messages = pytest.importorskip("wandb.proto.wandb_internal_pb2", reason=EXTRA)
    importlib.import_module("wandb").teardown()  # waits until all is written
    found = {}
    for file in (folder / "wandb").glob("offline-run-*/*.wandb"):
        data, at = file.read_bytes(), 7  # behind the header, records in the format of LevelDB's log
        config, curves, name = {}, {}, ""
        while at + 7 <= len(data):
            length = struct.unpack("<H", data[at + 4 : at + 6])[0]
            record = messages.Record()
            record.ParseFromString(data[at + 7 : at + 7 + length])
            at += 7 + length
            name = record.run.display_name or name
            config |= {item.key: item.value_json.strip('"') for item in record.config.update}
            for item in record.history.item:
                key = item.key or "/".join(item.nested_key)
                if not key.startswith("_"):
                    point = (record.history.step.num, float(item.value_json))
                    curves.setdefault(key, []).append(point)
        found[name] = (config, curves)
    return found


def in_mlflow(folder: Path) -> Found:
    mlflow = pytest.importorskip("mlflow", reason=EXTRA)
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(folder.parent.name)
    found = {}
    for run in client.search_runs([experiment.experiment_id]):
        assert run.info.status == "FINISHED"
        curves = {
            name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        }
        found[run.info.run_name] = (run.data.params, curves)
    return found


READERS = {"tensorboard": in_tensorboard, "wandb": in_wandb, "mlflow": in_mlflow}


def plain(name: str) -> str:
    """A name as in folders of TensorBoard, which have no other characters."""
    return re.sub(r"\W", "", name)


def installed(tracker: str) -> None:
    for package in PACKAGES[tracker]:
        pytest.importorskip(package, reason=EXTRA)


@pytest.mark.parametrize("tracker", PACKAGES)
def test_trainings_and_rows_are_read_back(tracker: str, small: Finished, tmp_path: Path) -> None:
    installed(tracker)
    trackers = Trackers((tracker,), tmp_path / "run" / "trackers")
    steps = 2 * POINTS + 50
    with trackers.training("end to end, seed 3", {"lr": 0.5, "cs": (1, 2)}) as observe:
        for step in range(1, steps + 1):
            observe(step, steps, torch.tensor(float(step)), 1 / step)
    records = read_records(small.out / "records.jsonl")
    trackers.boards(records, [])
    assert not trackers.failed

    found = {plain(name): values for name, values in READERS[tracker](trackers.folder).items()}
    config, curves = found.pop("endtoendseed3")
    assert (config["lr"], config["cs"]) in [("0.5", "[1, 2]"), (0.5, "[1, 2]")]
    at = range(3, steps + 1, 3)
    assert curves["loss"] == [(step, pytest.approx(step - 1)) for step in at]
    assert curves["learning rate"] == [(step, pytest.approx(1 / step)) for step in at]

    (board,) = build_boards(records)
    assert len(found) == len(board.rows)
    for row in board.rows:
        config, curves = found[plain(f"{board.suite}{row.method}{row.base or ''}")]
        assert config["method"] == row.method
        values = [100 * cell.mean for cell in row.cells if cell.mean is not None]
        shown = ("id", *board.shifts, "OOD mean")
        assert [curves[key] for key in shown] == [[(0, pytest.approx(v))] for v in values]
        chosen = {r.chosen_on["top1"] for r in records if r.method == row.method and r.chosen_on}
        assert ("selection" in curves) == bool(chosen)
        if chosen:
            assert curves["selection"] == [(0, pytest.approx(100 * chosen.pop()))]


def test_a_run_is_the_same_with_and_without(
    small: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("tensorboard")
    options = ("--cache-dir", tmp_path / "cache", "--out", tmp_path / "run")
    tracked = (*SMALL, *options, "--tracker", "tensorboard")
    result = bench(*tracked)
    assert result.code == 0, result.err
    made = contents(tmp_path / "run")
    logged = {name for name in made if name.startswith("trackers/")}
    assert {name: data for name, data in made.items() if name not in logged} == contents(small.out)
    found = in_tensorboard(tmp_path / "run" / "trackers")
    (training,) = [curves for name, (_, curves) in found.items() if name.startswith("train-")]
    assert training["loss"] and len(training["loss"]) == len(training["learning rate"])
    assert all(value > 0 for _, value in training["loss"])

    # All in the cache: the rows alone.
    assert bench(*tracked, "--out", tmp_path / "again").code == 0
    again = in_tensorboard(tmp_path / "again" / "trackers")
    assert again.keys() == {name for name in found if not name.startswith("train-")}


def test_a_tracker_that_fails_is_left_out_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    installed("tensorboard")
    trackers = Trackers(("tensorboard",), tmp_path / "run" / "trackers")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("accelerate.tracking.TensorBoardTracker.log", refuse)
    with caplog.at_level(logging.WARNING, "bench"):
        for seed in range(2):
            with trackers.training(f"seed {seed}", {}) as observe:
                for step in range(1, 4):
                    observe(step, 3, torch.tensor(1.0), 0.1)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message == "--tracker tensorboard failed and is left out: OSError: disk full"


@pytest.mark.parametrize("package", ["wandb", "mlflow", "alembic"])
def test_an_absent_package_is_named_before_any_work(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb").mkdir()  # a folder of offline runs is not the package
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.runs.trackers.find_spec", lambda name: absent(name, package))
    tracker = "wandb" if package == "wandb" else "mlflow"
    result = bench("run", "--tracker", tracker, "--out", tmp_path / "run")
    assert_refused(result, f"--tracker {tracker} needs {package}", "robust-ft-bench[trackers]")
    assert not (tmp_path / "run").exists()


def absent(name: str, package: str) -> Any:
    """What Python finds for a package: nothing, or a folder without code, if it is `package`."""
    if name != package:
        return type("Spec", (), {"origin": "there"})
    return None if name != "wandb" else type("Spec", (), {"origin": None})


def test_names_from_all_places() -> None:
    both = ("tensorboard", "wandb")
    assert load_config(None, {"tracker": "tensorboard,wandb"}).tracker == both
    assert load_config(None, {"tracker": ["tensorboard", "wandb"]}).tracker == both
    assert load_config(None, {}).tracker == ()
    assert load_config(None, {"tracker": both}).results() == load_config(None, {}).results()
    assert_refused(bench("plan", "--tracker", "tensorbord"), "--tracker", "'tensorboard'")
    twice = bench("plan", "--tracker", "tensorboard", "--tracker", "aim")
    assert_refused(twice, "--tracker", "aim")


def test_several_processes_have_the_trackers_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("tensorboard")
    given: list[Trackers] = []
    monkeypatch.setattr("bench.runs.session.engine_maker", lambda *a: given.append(a[-1]))
    here, there = Pipe()
    here.send(("work", None))  # the first process has nothing to compute
    options = {"suite": "micro", "tracker": "tensorboard", "cache_dir": tmp_path / "cache"}
    session, group = prepare_session(load_config(None, options)), ProcessGroup(1, {0: there})
    here.send(("end", 0))
    with group:
        follow_session(session, group)
    assert [trackers.names for trackers in given] == [()]


def test_settings_of_the_user_win(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(
        Trackers, "_open", lambda *_: seen.update({n: os.environ[n] for n in Trackers().defaults})
    )
    with Trackers(("wandb",), Path("run/trackers")).training("a", {}):
        pass
    assert seen["WANDB_MODE"] == "online"
    assert seen["MLFLOW_TRACKING_URI"].endswith("/run/trackers/mlflow.db")
    assert "MLFLOW_TRACKING_URI" not in os.environ
