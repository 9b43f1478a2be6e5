"""The history of a training run: exact, the same after a kill, and without effect on weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from picture_training import QUICK, build, training
from safetensors.torch import load, save
from small_heads import features
from small_heads import training as head_training
from torch import Tensor, nn

from bench.api.trainer import learning_rate
from bench.core.trainings import Entry, store_history, stored_history
from bench.methods.linear import LogisticRegression
from bench.models.training.accuracy import accuracy_in_training
from bench.models.training.checkpoints import Checkpoints
from bench.models.training.loop import Training
from bench.models.training.trainers import HeadTrainer


def traced(inputs: Training) -> tuple[Training, list[Entry]]:
    history: list[Entry] = []
    return replace(inputs, logged=lambda entry: history.append(dict(entry))), history


def test_an_epoch_has_its_mean_loss_and_last_rate(tmp_path: Path) -> None:
    inputs, history = traced(training(tmp_path))
    QUICK.train(inputs)
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert [entry["lr"] for entry in history] == [learning_rate(QUICK, s, 12) for s in (3, 7, 11)]
    still = replace(QUICK, lr=1e-12, weight_decay=0.0, epochs=1, batch_size=50)
    inputs, whole = traced(training(tmp_path / "whole"))
    still.train(inputs)
    inputs, mean = traced(training(tmp_path / "parts"))
    replace(still, batch_size=16).train(inputs)  # the last batch has two samples
    assert whole[0]["loss"] == pytest.approx(math.log(3), abs=0.5)
    assert mean[0]["loss"] == pytest.approx(whole[0]["loss"], abs=0.1)  # apart from dropout


def killed(inputs: Training, after: int) -> None:
    steps = 0

    def kill(done: int, total: int) -> None:
        nonlocal steps
        steps += 1
        if steps == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        QUICK.train(replace(inputs, progress=kill))


@pytest.mark.parametrize("after", [2, 5, 9, 12])
def test_a_killed_training_has_the_same_history(
    tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, whole = traced(training(tmp_path / "whole"))
    QUICK.train(inputs)
    monkeypatch.setattr(Checkpoints, "due", True)
    killed(training(tmp_path / "killed"), after)
    inputs, history = traced(training(tmp_path / "killed"))
    QUICK.train(inputs)
    assert history == whole


def test_a_checkpoint_of_an_older_version_goes_on_without_a_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = QUICK.train(training(tmp_path / "whole"))
    monkeypatch.setattr(Checkpoints, "due", True)
    inputs, history = traced(training(tmp_path / "killed"))
    killed(training(tmp_path / "killed"), 6)
    for path in (tmp_path / "killed").rglob("*.safetensors"):
        old = {n: t for n, t in load(path.read_bytes()).items() if n not in ("history", "sums")}
        inputs.store.write("progress", path.stem, save(old))
    rest = QUICK.train(inputs)
    assert history == []
    assert all(torch.equal(whole[name], rest[name]) for name in whole)


def test_measuring_accuracy_changes_no_bit(tmp_path: Path) -> None:
    plain = QUICK.train(training(tmp_path / "plain"))
    images = torch.rand((10, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, -1], [1, 2]] * 5)
    states: list[Tensor] = []

    def measure(model: nn.Module) -> float:
        states.append(torch.get_rng_state())
        torch_model = model.train()
        value = accuracy_in_training(torch_model, images.split(4), labels)  # type: ignore[arg-type]
        assert torch.equal(states[-1], torch.get_rng_state()) and torch_model.training
        return value

    inputs, history = traced(replace(training(tmp_path / "measured"), accuracy=measure))
    measured = QUICK.train(inputs)
    assert all(torch.equal(plain[name], measured[name]) for name in plain)
    assert len(states) == 3 and all(0 <= entry["selection"] <= 1 for entry in history)
    model = build().eval()
    predicted = model(images).argmax(dim=1)
    right = [bool((labels[i] == p).any()) for i, p in enumerate(predicted)]
    assert accuracy_in_training(model, [images], labels) == sum(right) / 10
    assert not model.training


@pytest.mark.parametrize(
    ("trainer", "names"),
    [
        (HeadTrainer(epochs=2), {"epoch", "loss", "lr"}),
        (LogisticRegression(cs=(1.0, 10.0)), {"C", "selection"}),
    ],
)
def test_heads_have_histories(
    tmp_path: Path, trainer: HeadTrainer | LogisticRegression, names: set[str]
) -> None:
    inputs, history = traced(head_training(tmp_path, trainer))
    weights = trainer.train(inputs)
    assert [entry.keys() for entry in history] == [names, names]
    if "C" in names:
        best = max(history, key=lambda entry: entry["selection"])
        assert best["C"] == float(weights["chosen.C"][0]) and len(features()[0])


def test_a_longer_history_is_kept(tmp_path: Path) -> None:
    store = training(tmp_path).store
    epochs: Callable[[int], list[Entry]] = lambda n: [{"epoch": i, "loss": 0.5} for i in range(n)]  # noqa: E731
    assert stored_history(store, "a") is None
    for count, expected in ((0, None), (2, 2), (1, 2), (3, 3)):
        store_history(store, "a", epochs(count))
        found = stored_history(store, "a")
        assert (None if found is None else len(found)) == expected
    store.path("trainings", "a", ".json").write_text("[]")  # damaged
    assert stored_history(store, "a") is None


def test_weights_have_the_history_where_its_own_file_is_lost(tmp_path: Path) -> None:
    store, entries = training(tmp_path).store, [{"epoch": 1, "loss": 0.5}]
    store.write_arrays("weights", "end", {}, {"history": entries})
    store.write_arrays("weights", "first epoch", {}, {"history": []})
    store.write_arrays("weights", "of an older version", {})
    weights = ("absent", "of an older version", "first epoch", "end")
    assert stored_history(store, "a", weights) == tuple(entries)
    assert stored_history(store, "a", weights[:3]) is None
