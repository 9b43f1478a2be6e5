"""Heads trained on stored features, and heads built from text towers."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_heads import D, accuracy, training
from tiny_clip import Tiny
from torch import Tensor, nn

from bench.api.registry import methods
from bench.models.heads import LinearHead
from bench.models.training.batches import StepBatches
from bench.models.training.checkpoints import Checkpoints
from bench.models.training.fisher import fisher_information
from bench.models.training.networks import DualEncoder, ImageClassifier
from bench.models.training.trainers import ContrastiveTrainer, HeadTrainer


@pytest.mark.parametrize("start", ["zero-shot", "random"])
@pytest.mark.parametrize("normalized", [True, False])
def test_a_head_is_trained_on_features_alone(tmp_path: Path, start: Any, normalized: bool) -> None:
    trainer = HeadTrainer(
        lr=0.1, epochs=30, batch_size=20, warmup=0.1, start=start, normalized=normalized
    )
    weights = trainer.train(training(tmp_path / "a", trainer))
    assert weights.keys() == {"head.weight", "head.bias"}
    assert accuracy(weights, normalized) > 0.8
    again = trainer.train(training(tmp_path / "b", trainer))
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_where_a_head_starts(tmp_path: Path) -> None:
    still = HeadTrainer(lr=1e-12, epochs=1, weight_decay=0)
    given = training(tmp_path, still).build(still)
    kept = still.train(training(tmp_path / "a", still))
    torch.testing.assert_close(kept["head.weight"], given.head.weight)  # type: ignore[union-attr]
    drawn = replace(still, start="random")
    found = drawn.train(training(tmp_path / "b", drawn))
    assert found["head.weight"].abs().max() <= D**-0.5  # torch's bound for a new layer


def test_a_short_text_is_embedded_as_open_clip_does(tiny: Tiny) -> None:
    from bench.models.clip import encode_text

    model = copy.deepcopy(tiny.clip.model)
    tokens = tiny.prompts.flatten(0, 1)
    whole, cut = model.encode_text(tokens), encode_text(model, tokens)
    torch.testing.assert_close(cut, whole, rtol=1e-4, atol=1e-5)
    names = ("positional_embedding", "token_embedding.weight", "text_projection")
    parameters = [dict(model.named_parameters())[name] for name in names]
    for ours, theirs in zip(
        torch.autograd.grad(cut.square().sum(), parameters),
        torch.autograd.grad(whole.square().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_both_towers_are_kept_and_the_head_is_made_of_the_tuned_one(tiny: Tiny) -> None:
    from bench.models.clip import prompt_head

    model = DualEncoder(copy.deepcopy(tiny.clip.model), tiny.prompts)
    before = model.weights()
    with torch.no_grad():
        model.clip.text_projection.mul_(2)
        model.clip.logit_scale.add_(1)
        model.clip.token_embedding.weight.add_(0.05)
    after = model.weights()
    assert {name.partition(".")[0] for name in after} == {"encoder", "text", "head"}
    assert after.keys() >= {f"encoder.{n}" for n in model.clip.visual.state_dict()}
    assert torch.equal(after["head.weight"], prompt_head(model.clip, tiny.prompts)["head.weight"])
    assert not torch.equal(before["head.weight"], after["head.weight"])
    ratio = after["head.weight"].norm(dim=1) / before["head.weight"].norm(dim=1)
    torch.testing.assert_close(ratio, torch.full((3,), float(np.e)))


def test_the_projections_of_both_towers(tiny: Tiny) -> None:
    image, text = DualEncoder(tiny.clip.model, tiny.prompts).projections()
    assert (image.shape[1], text.shape[1]) == (96, 96)
    pixels = torch.randn(2, 3, 32, 32)
    trunk = tiny.clip.model.visual.trunk(pixels)
    torch.testing.assert_close(trunk @ image, tiny.clip.model.visual(pixels))


@pytest.mark.parametrize("name", ["flyp", "carot", "carot-slides"])
def test_contrastive_steps_pull_pairs_together(tiny: Tiny, name: str) -> None:
    trainer = methods()[name]().trainer  # type: ignore[attr-defined]
    model = DualEncoder(copy.deepcopy(tiny.clip.model), tiny.prompts)
    torch.manual_seed(0)
    images, labels = torch.randn(6, 3, 32, 32), torch.tensor([0, 1, 2, 0, 1, 2])
    batch = {"inputs": images, "labels": labels, "texts": tiny.prompts[labels, 0]}
    state, losses = trainer.state_dict(model), []
    contrastive = ContrastiveTrainer()
    optimizer = torch.optim.SGD(model.parameters(), 0.02)
    for step in range(6):
        embeddings = trainer.encode(model, batch, state)
        losses.append(contrastive.loss(embeddings, step).item())
        loss, penalty = trainer.loss(embeddings, step), trainer.penalty(model, state)
        loss = loss if penalty is None else loss + penalty
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for tensor in model.parameters():
            assert tensor.grad is not None
        optimizer.step()
        trainer.after_step(model, state, step, 6)
    assert losses[-1] < losses[0]


def test_captions_of_each_image_or_of_shuffled_rows() -> None:
    each, rows = (ContrastiveTrainer(captions=c, batch_size=25) for c in ("each-image", "csv-rows"))
    draws = each.draws(0, 0, 50, 4)
    assert sorted(draws[:, 0].tolist()) == list(range(50))
    assert set(draws[:, 1].tolist()) == {0, 1, 2, 3}
    pairs = np.concatenate([rows.draws(0, epoch, 50, 4) for epoch in range(4)])
    assert len({tuple(pair) for pair in pairs.tolist()}) == 200  # each pair once in four epochs
    assert len(set(pairs[:50, 0].tolist())) < 50  # in one epoch some images come twice
    later = np.concatenate([rows.draws(0, epoch, 50, 4) for epoch in range(4, 8)])
    assert len({tuple(pair) for pair in later.tolist()}) == 200
    assert not np.array_equal(pairs, later)


@pytest.mark.parametrize(("size", "batch"), [(50, 16), (48, 16), (7, 16), (50, 7), (5, 1)])
def test_rows_are_drawn_as_by_flyps_iterator(size: int, batch: int) -> None:
    """It goes on from epoch to epoch; the last batch of a pass over all pairs is a part of one."""
    from torch.utils.data import DataLoader

    rows = ContrastiveTrainer(captions="csv-rows", batch_size=batch)
    epochs, per_epoch = 12, -(-size // batch)
    draws = StepBatches(lambda epoch: rows.draws(0, epoch, size, 3), size, batch, epochs, 0)
    found = [[(sample, template) for _, sample, template in step] for step in draws]
    loader = DataLoader(range(size * 3), batch_size=batch, drop_last=False)  # type: ignore[arg-type]
    theirs = [len(pairs) for _ in range(epochs) for pairs in loader][: epochs * per_epoch]
    assert [len(step) for step in found] == theirs
    passes = [pair for step in found for pair in step]
    for first in range(0, len(passes) - size * 3 + 1, size * 3):
        one = passes[first : first + size * 3]
        assert sorted(one) == [(i, t) for i in range(size) for t in range(3)] != one


class Rows:
    """Images that are feature vectors."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        return self.x[index]


def test_fisher_information_is_that_of_a_linear_softmax_model() -> None:
    """E over y of the squared gradient of log p: for W it is p (1 - p) x^2, from many draws."""
    torch.manual_seed(0)
    x = torch.randn(3, 5).repeat(1500, 1)
    weight, bias = torch.randn(4, 5) / 2, torch.zeros(4)
    model = ImageClassifier(nn.Identity(), weight, bias, normalize=False)
    found = fisher_information(model, Rows(x), lambda row: row, len(x))
    p = (x @ weight.T).softmax(dim=1)
    variance = p * (1 - p)
    assert found.keys() == {"head.weight", "head.bias"}
    torch.testing.assert_close(found["head.bias"], variance.mean(dim=0), rtol=0.1, atol=0.01)
    expected = (variance[:, :, None] * x.square()[:, None, :]).mean(dim=0)
    torch.testing.assert_close(found["head.weight"], expected, rtol=0.15, atol=0.02)


class Noise:
    """Images of noise."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> Any:
        from PIL import Image

        rng = np.random.default_rng(index)
        return Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", ["flyp", "carot"])
def test_a_killed_training_of_both_towers_goes_on_to_the_same_bits(
    tiny: Tiny, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.models.transforms import TrainImages, byte_tensor, normalisation

    trainer = replace(methods()[name]().trainer, lr=1e-3, batch_size=8, epochs=2)  # type: ignore[attr-defined]
    trainer = replace(trainer, **({"period": 2} if name == "carot" else {}))
    labels = np.arange(24) % 3

    def run(folder: str, progress: Any = lambda done, total: None) -> dict[str, Tensor]:
        images = TrainImages(Noise(), labels, 32, byte_tensor, 0)
        inputs = replace(
            training(tmp_path / folder, trainer),
            build=lambda _: DualEncoder(copy.deepcopy(tiny.clip.model), tiny.prompts),
            images=images,
            finish=normalisation(tiny.clip.preprocess),
            size=24,
            progress=progress,
        )
        found: dict[str, Tensor] = trainer.train(inputs)
        return found

    whole = run("whole")
    assert not torch.equal(whole["text.text_projection"], tiny.clip.model.text_projection)
    monkeypatch.setattr(Checkpoints, "due", True)

    def kill(done: int, total: int) -> None:
        if done >= 32:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("killed", kill)
    rest = run("killed")
    assert all(torch.equal(whole[n], rest[n]) for n in whole)


@pytest.mark.parametrize(("classes", "twins"), [(182, (5, 181)), (1000, (657, 744))])
@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_of_classes_with_one_name_the_first_wins(
    classes: int, twins: tuple[int, int], size: int
) -> None:
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(classes, 128)).astype(np.float32)
    first, later = twins
    weight[later] = weight[first]
    head = LinearHead(weight, np.zeros(classes, np.float32), normalize=True)
    features = generator.normal(size=(size, 128)).astype(np.float32)
    features[0] = weight[first]
    logits = head.logits(features)
    assert np.array_equal(logits[:, first], logits[:, later])
    assert not (logits.argmax(axis=1) == later).any()
    assert logits[0].argmax() == first
    others = np.delete(np.arange(classes), later)
    alone = LinearHead(weight[others], np.zeros(classes - 1, np.float32), normalize=True)
    np.testing.assert_allclose(logits[:, others], alone.logits(features), rtol=0, atol=1e-4)


def test_equal_rows_with_other_biases_are_other_classes() -> None:
    weight, bias = np.ones((2, 3), np.float32), np.array([0, 1], np.float32)
    logits = LinearHead(weight, bias, normalize=False).logits(np.ones((1, 3), np.float32))
    assert logits.tolist() == [[3, 4]]
