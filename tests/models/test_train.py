"""The SGD loop: formulae, reproducibility and hooks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from picture_training import CLASSES, QUICK, SIDE, SIZE, Pictures, build, to_tensor, training
from torch import Tensor, nn

from bench.api.trainer import AtEpoch, Average, GradientTrainer, learning_rate
from bench.core.errors import CellError
from bench.models.training.batches import BatchShare, StepBatches
from bench.models.training.checkpoints import Checkpoints
from bench.models.transforms import RATIO, TrainImages, crop_box

GOLDEN = {
    "encoder.1.bias": 0.129454,
    "encoder.1.weight": 27.233497,
    "head.bias": 0.072818,
    "head.weight": 0.374947,
}


def test_golden_steps(tmp_path: Path) -> None:
    """If numbers change on purpose, raise GradientTrainer.version and record the new numbers."""
    weights = QUICK.train(training(tmp_path))
    assert GradientTrainer.version == 3
    assert weights.keys() == {"encoder.1.weight", "encoder.1.bias", "head.weight", "head.bias"}
    start = build().state_dict()
    moved = {n: float((t - start[n]).double().abs().sum()) for n, t in weights.items()}
    assert moved == pytest.approx(GOLDEN, rel=1e-3)


def test_the_same_bits_again_and_with_worker_processes(tmp_path: Path) -> None:
    first = QUICK.train(training(tmp_path / "a"))
    for workers in (0, 2):
        other = QUICK.train(training(tmp_path / f"b{workers}", workers=workers))
        assert all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("after", [1, 4, 5, 9])
def test_a_killed_training_goes_on_to_the_same_bits(
    tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = QUICK.train(training(tmp_path / "whole"))
    monkeypatch.setattr(Checkpoints, "due", True)
    steps = 0

    def kill(done: int, total: int) -> None:
        nonlocal steps
        steps += 1
        if steps == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        QUICK.train(training(tmp_path / "killed", kill))
    seen: list[int] = []
    rest = QUICK.train(training(tmp_path / "killed", lambda done, total: seen.append(done)))
    assert len(seen) == 12 - (after - 1)  # the step before the kill was saved
    assert all(torch.equal(whole[name], rest[name]) for name in whole)


@dataclass(frozen=True)
class Teaching(GradientTrainer):
    """A penalty on the distance from an EMA of the weights, through the hooks."""

    def state_dict(self, model: nn.Module) -> dict[str, Tensor]:
        return {n: t.detach().clone() for n, t in model.named_parameters()}

    def penalty(self, model: nn.Module, state: dict[str, Tensor]) -> Tensor | None:
        return sum(((p - state[n]) ** 2).sum() for n, p in model.named_parameters())  # type: ignore[return-value]

    def after_step(self, model: nn.Module, state: dict[str, Tensor], step: int, steps: int) -> None:
        for name, tensor in model.named_parameters():
            state[name].lerp_(tensor.detach(), 0.5)


def test_hooks_are_called_and_their_state_survives_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Teaching(lr=0.01, batch_size=16, epochs=2, warmup=0.2)
    whole = trainer.train(training(tmp_path / "whole"))
    plain = GradientTrainer(lr=0.01, batch_size=16, epochs=2, warmup=0.2)
    assert not torch.equal(
        whole["head.weight"], plain.train(training(tmp_path / "p"))["head.weight"]
    )
    monkeypatch.setattr(Checkpoints, "due", True)

    def kill(done: int, total: int) -> None:
        if done > 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.train(training(tmp_path / "killed", kill))
    rest = trainer.train(training(tmp_path / "killed"))
    assert all(torch.equal(whole[name], rest[name]) for name in whole)


def kept(store: Path, keeps: Any, **options: Any) -> dict[Any, dict[str, Tensor]]:
    """Return the weights that a training run emits, and its last ones."""
    found: dict[Any, dict[str, Tensor]] = {}
    inputs = replace(training(store, **options), keeps=keeps, emit=found.__setitem__)
    return found | {None: QUICK.train(inputs)}


def test_one_training_gives_its_checkpoints_averages_and_last_weights(tmp_path: Path) -> None:
    last = QUICK.train(training(tmp_path / "a"))
    found = kept(tmp_path / "b", (None, AtEpoch(1), AtEpoch(3), Average(0.5), Average(0.0)))
    names = last.keys()
    for same in (found[None], found[AtEpoch(3)], found[Average(0.0)]):
        assert all(torch.equal(last[n], same[n]) for n in names)
    for other in (found[AtEpoch(1)], found[Average(0.5)]):
        assert not torch.equal(last["head.weight"], other["head.weight"])


def test_a_checkpoint_alone_stops_the_training_there(tmp_path: Path) -> None:
    seen: list[int] = []
    whole = kept(tmp_path / "a", (None, AtEpoch(2)))
    early = kept(tmp_path / "b", (AtEpoch(2),), progress=lambda done, total: seen.append(total))
    assert set(seen) == {2 * SIZE}
    assert all(torch.equal(whole[AtEpoch(2)][n], t) for n, t in early[AtEpoch(2)].items())


def test_an_average_follows_its_formula(tmp_path: Path) -> None:
    """Compare with the average of the weights after each epoch of one step."""
    one = replace(QUICK, batch_size=SIZE)
    steps: dict[Any, dict[str, Tensor]] = {}
    keeps = (*(AtEpoch(e) for e in (1, 2, 3)), Average(0.9))
    one.train(replace(training(tmp_path), keeps=keeps, emit=steps.__setitem__))
    average = build().state_dict()
    for epoch in (1, 2, 3):
        average = {n: 0.9 * t + 0.1 * steps[AtEpoch(epoch)][n] for n, t in average.items()}
    for name, tensor in steps[Average(0.9)].items():
        torch.testing.assert_close(tensor, average[name])


@pytest.mark.parametrize("after", [2, 7])
def test_what_is_kept_survives_a_kill(
    tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the first run was to keep less than the second."""
    keeps = (None, AtEpoch(1), Average(0.7))
    whole = kept(tmp_path / "whole", keeps)
    monkeypatch.setattr(Checkpoints, "due", True)
    for name, wanted in (("same", keeps), ("more", (None,))):

        def kill(done: int, total: int) -> None:
            if done > after * 16:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            kept(tmp_path / name, wanted, progress=kill)
        rest = kept(tmp_path / name, keeps)
        for keep, weights in whole.items():
            assert all(torch.equal(weights[n], rest[keep][n]) for n in weights), (name, keep)


def test_sgd_has_momentum_and_label_smoothing_its_formula(tmp_path: Path) -> None:
    adam, sgd = (
        replace(QUICK, optimizer=o).train(training(tmp_path / o)) for o in ("adamw", "sgd")
    )
    assert not torch.equal(adam["head.weight"], sgd["head.weight"])
    logits, labels = torch.randn(7, CLASSES), torch.arange(7) % CLASSES
    log_p = logits.log_softmax(dim=1)
    nll = -log_p[torch.arange(7), labels]
    expected = (0.7 * nll - 0.3 * log_p.mean(dim=1)).mean()
    found = replace(QUICK, smoothing=0.3).loss({"logits": logits, "labels": labels}, 0)
    torch.testing.assert_close(found, expected)


def test_bf16_is_close_to_fp32_and_keeps_fp32_weights(tmp_path: Path) -> None:
    full = QUICK.train(training(tmp_path / "fp32"))
    half = replace(QUICK, precision="bf16").train(training(tmp_path / "bf16"))
    for name in full:
        assert half[name].dtype == torch.float32
        torch.testing.assert_close(half[name], full[name], rtol=0.1, atol=0.05)
    assert not torch.equal(half["encoder.1.weight"], full["encoder.1.weight"])


def test_flips_mirror_half_of_the_crops() -> None:
    def crops(**options: Any) -> list[Tensor]:
        images = TrainImages(Pictures(), np.zeros(SIZE, int), SIDE, to_tensor, 1, **options)
        return [images[0, i, 0][0] for i in range(SIZE)]

    pairs = list(zip(crops(), crops(flip=True), strict=True))
    same = sum(torch.equal(a, b) for a, b in pairs)
    mirrored = sum(torch.equal(a.flip(-1), b) for a, b in pairs)
    assert same + mirrored == SIZE and SIZE / 4 < same < 3 * SIZE / 4


def test_divergence_is_a_failed_cell(tmp_path: Path) -> None:
    with pytest.raises(CellError, match=r"diverged: loss is nan after [1-9]\d* of 12 steps"):
        GradientTrainer(lr=1e30, batch_size=16, epochs=3, warmup=0, clip=0).train(
            training(tmp_path)
        )


def test_the_rate_warms_up_and_falls_along_a_cosine() -> None:
    trainer = GradientTrainer(lr=2.0, warmup=10)
    rates = [learning_rate(trainer, step, 110) for step in range(110)]
    assert rates[:10] == pytest.approx([2.0 * (s + 1) / 10 for s in range(10)])
    assert rates[10] == pytest.approx(2.0)
    assert rates[60] == pytest.approx(1.0)
    assert 0 < rates[-1] < 0.01
    assert learning_rate(GradientTrainer(lr=2.0, warmup=0.1), 10, 100) == pytest.approx(2.0)


@given(st.floats(0, 50), st.integers(1, 200), st.data())
def test_the_rate_never_passes_its_peak(warmup: float, steps: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, steps - 1))
    assert 0 <= learning_rate(GradientTrainer(lr=1.0, warmup=warmup), step, steps) <= 1.0


@given(
    size=st.integers(1, 40), batch=st.integers(1, 12), epochs=st.integers(1, 3),
    ranks=st.integers(1, 3), data=st.data(),
)  # fmt: skip
def test_batches_cover_each_epoch_once(
    size: int, batch: int, epochs: int, ranks: int, data: st.DataObject
) -> None:
    draw = partial(QUICK.draws, 5, size=size, templates=4)
    whole = StepBatches(draw, size, batch, epochs, 0)
    steps = list(whole)
    assert len(steps) == len(whole)
    assert Counter((e, i) for s in steps for e, i, _ in s) == Counter(
        (e, i) for e in range(epochs) for i in range(size)
    )
    start = data.draw(st.integers(0, len(steps)))
    assert list(StepBatches(draw, size, batch, epochs, start)) == steps[start:]
    shares = [BatchShare(rank, ranks) for rank in range(ranks)]
    for step in steps:
        # A part that does not count has one sample all the same.
        parts = [(share.of(step), share.count(len(step))) for share in shares]
        assert sorted(i for part, count in parts for i in part[:count]) == sorted(step)
        assert all(len(part) == max(1, count) for part, count in parts)
        counts = [count for _, count in parts]
        assert max(counts) - min(counts) <= 1


def test_the_order_changes_with_the_epoch_and_the_seed() -> None:
    draws = [QUICK.draws(s, e, 30, 1)[:, 0] for s in range(3) for e in range(3)]
    orders = {tuple(samples.tolist()) for samples in draws}
    assert len(orders) == 9
    assert all(sorted(order) == list(range(30)) for order in orders)


def test_epochs_are_independent() -> None:
    """Epochs differ in order, crops and captions; once, each was a shifted copy of the last."""
    first, second = (QUICK.draws(0, epoch, 4000, 4) for epoch in (0, 1))
    places = [np.argsort(draws[:, 0]) for draws in (first, second)]
    batches = [place // 40 for place in places]
    assert (batches[0] == batches[1]).mean() < 0.03  # a hundredth by chance
    shift = np.bincount((places[1] - places[0]) % 4000)
    assert shift.max() < 20  # one by chance, thousands where shifted
    for lag in range(20):
        same = (first[lag:, 1] == second[: len(second) - lag, 1]).mean()
        assert same < 0.35  # a quarter by chance

    raw = partial(TrainImages, Pictures(), np.zeros(SIZE, int), SIDE, lambda image: image.tobytes())
    images = raw(1, min_area=0.2)
    crops = [[images[epoch, i, 0][0] for epoch in range(6)] for i in range(SIZE)]
    distinct = np.mean([len(set(own)) for own in crops])
    assert distinct > 5.5


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 1000), st.floats(0.01, 1))
def test_crops_lie_inside(width: int, height: int, seed: int, area: float) -> None:
    left, top, w, h = crop_box(width, height, np.random.default_rng(seed), area)
    assert w > 0 and h > 0 and left >= 0 and top >= 0
    assert left + w <= width and top + h <= height


@pytest.mark.parametrize("area", [0.9, 0.4])
def test_crops_are_distributed_as_torchvisions(area: float) -> None:
    from torchvision.transforms import RandomResizedCrop

    rng, image = np.random.default_rng(0), torch.zeros(3, 100, 120)
    torch.manual_seed(0)
    ours = np.array([crop_box(120, 100, rng, area) for _ in range(4000)])
    theirs = np.array(
        [RandomResizedCrop.get_params(image, [area, 1.0], list(RATIO)) for _ in range(4000)]
    )[:, [1, 0, 3, 2]]
    assert np.abs(ours.mean(0) - theirs.mean(0)).max() < 1
    assert np.abs(ours.std(0) - theirs.std(0)).max() < 1
