"""trainings.jsonl: written by runs, read by reports, valid by its schema."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import Finished, bench
from jsonschema.validators import Draft202012Validator
from write_schemas import schemas

from bench.core.errors import InputError
from bench.core.store import Store
from bench.core.trainings import (
    ADDED,
    TRAININGS,
    TrainingRecord,
    read_trainings,
    write_trainings,
)
from bench.leaderboard.build import build_boards
from bench.report.tables.trainings import trainings_table
from bench.testing.fakes import fake_records

TITLE = "Training runs"


def test_a_run_has_the_history_of_each_training(small: Finished) -> None:
    found = read_trainings(small.out)
    assert [(t.rows, t.trainer, t.seed) for t in found] == [(("e2e-ft",), "end to end", 0)]
    (training,) = found
    assert training.history is not None
    (epoch,) = training.history  # the run has one epoch
    assert training.images and training.selection
    assert training.settings["epochs"] == 1 and training.settings["weight_decay"] == 0.1
    assert training.settings.keys() >= {"batch_size", "lr", "warmup", "clip", "optimizer"}
    assert not training.settings.keys() & {"type", "version"}
    assert epoch.keys() == {"epoch", "loss", "lr"} and 0 < epoch["loss"] < 5
    valid = Draft202012Validator(schemas()["trainings"])
    for line in (small.out / TRAININGS).read_text().splitlines():
        valid.validate(json.loads(line))
    for name in ("report.md", "report.html"):
        text = (small.out / name).read_text()
        assert TITLE in text and f"{epoch['loss']:.3g}" in text


@pytest.mark.usefixtures("no_engine")
def test_a_cache_of_an_older_version_has_none_and_the_report_says_so(
    own: Finished, tmp_path: Path
) -> None:
    shutil.rmtree(own.cache / "trainings")
    store = Store(own.cache)
    for path in (own.cache / "weights").rglob("*.safetensors"):
        store.write_arrays("weights", path.stem, store.read_arrays("weights", path.stem) or {})
    command = (*own.command, "--cache-dir", own.cache, "--out", tmp_path / "out")
    assert bench(*command).code == 0
    (training,) = read_trainings(tmp_path / "out")
    assert training.history is None
    assert "not kept, as by older versions" in (tmp_path / "out" / "report.md").read_text()
    records = [(folder / "records.jsonl").read_bytes() for folder in (own.out, tmp_path / "out")]
    assert records[0] == records[1]


def test_a_run_of_an_older_version_is_reported_without(own: Finished) -> None:
    (own.out / TRAININGS).unlink()
    for name in ("manifest.json", "plan.json"):  # which older versions did not write
        (own.out / name).unlink()
    assert bench("report", own.out).code == 0
    assert TITLE not in (own.out / "report.md").read_text()
    assert bench("check", own.out, "--cache-dir", own.cache).code == 0


def test_a_file_of_an_older_version_is_no_difference(own: Finished) -> None:
    path = own.out / TRAININGS
    write_trainings(own.out, read_trainings(own.out), without=ADDED)
    for name in ("manifest.json", "plan.json"):  # which older versions did not write
        (own.out / name).unlink()
    assert "settings" not in path.read_text()
    assert bench("report", own.out).code == 0
    assert "Batch size" not in (own.out / "report.md").read_text()
    assert bench("check", own.out, "--cache-dir", own.cache).code == 0
    path.write_text(path.read_text().replace('"loss": ', '"loss": 1'))
    assert bench("report", own.out).code == 0
    assert bench("check", own.out, "--cache-dir", own.cache).code == 3


def test_an_edited_setting_is_found(own: Finished) -> None:
    found = read_trainings(own.out)
    edited = [t.model_copy(update={"settings": t.settings | {"lr": 0.5}}) for t in found]
    write_trainings(own.out, edited)
    assert bench("report", own.out).code == 0
    result = bench("check", own.out, "--cache-dir", own.cache)
    assert result.code == 3 and "trainings.jsonl:1" in result.out


def test_a_report_says_what_a_training_was_given() -> None:
    known = TrainingRecord(
        suite="fake", model="fake/none", protocol="clean", notes=(), rows=("e2e-ft",),
        trainer="end to end", seed=0, key="k", history=None, images=3000, selection=600,
        settings={"batch_size": 64, "epochs": 3, "lr": 3e-5, "warmup": 0.1, "weight_decay": 0.1},
    )  # fmt: skip
    old = known.model_copy(
        update={"seed": 1, "images": None, "selection": None, "settings": {}, "key": "l"}
    )
    (board,) = build_boards(fake_records())
    table = trainings_table(board, [known, old])
    first, second = (
        dict(zip(table.columns, (cell.text for cell in line.items), strict=True))
        for line in table.groups[0]
    )
    expected = {"Training images": "3000", "Selection images": "600", "Batch size": "64"}
    expected |= {"Epochs": "3", "Peak rate": "3e-05", "Warm-up": "10% of steps"}
    assert first.items() >= (expected | {"Weight decay": "0.1"}).items()
    assert {second[name] for name in (*expected, "Weight decay")} == {"–"}
    steps = known.model_copy(update={"settings": {"warmup": 500}})
    assert any(c.text == "500 steps" for c in trainings_table(board, [steps]).groups[0][0].items)
    assert "Batch size" not in trainings_table(board, [old]).columns


def test_two_runs_on_one_training_show_it_once(own: Finished, tmp_path: Path) -> None:
    other = Path(shutil.copytree(own.out, tmp_path / "other"))
    (training,) = read_trainings(other)
    longer = (*(training.history or ()), {"epoch": 2, "loss": 0.25})
    write_trainings(other, [training.model_copy(update={"history": longer})])
    assert bench("report", own.out, other, "--out", tmp_path / "both").code == 0
    text = (tmp_path / "both" / "report.md").read_text()
    assert text.count("end to end") == 1 and ", 0.25" in text


def test_what_is_no_training_is_refused(tmp_path: Path) -> None:
    good = TrainingRecord(
        suite="s", model="m", protocol="clean", notes=(), rows=("a",), trainer="t", seed=0,
        key="k", history=None,
    )  # fmt: skip
    write_trainings(tmp_path, [good])
    assert read_trainings(tmp_path) == [good]
    for bad in ("{}", "[", '{"suite": 1}'):
        (tmp_path / TRAININGS).write_text(good.model_dump_json() + f"\n{bad}\n")
        with pytest.raises(InputError, match=r"trainings\.jsonl:2 is not a training"):
            read_trainings(tmp_path)
    write_trainings(tmp_path, [])
    assert read_trainings(tmp_path) == [] and not (tmp_path / TRAININGS).exists()


@pytest.mark.parametrize("change", ["loss", "empty"])
def test_an_edited_history_is_found(own: Finished, change: str) -> None:
    path = own.out / TRAININGS
    text = path.read_text()
    path.write_text("" if change == "empty" else text.replace('"loss": ', '"loss": 1'))
    assert path.read_text() != text
    assert bench("report", own.out).code == 0
    result = bench("check", own.out, "--cache-dir", own.cache)
    assert result.code == 3 and "trainings.jsonl:1" in result.out
