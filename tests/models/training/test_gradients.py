"""Gradients in parts are those of the whole; memory that ends and what cannot be repeated."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from picture_training import QUICK, build, training
from torch import Tensor, nn

from bench.api.registry import methods
from bench.api.trainer import GradientTrainer
from bench.core.errors import CellError, InputError
from bench.methods.l2_sp import PulledBack
from bench.methods.ldifs import FeaturesPulledBack
from bench.methods.lipsum_ft import TextGuided
from bench.models.clip import Clip, identify_backbone, load_clip
from bench.models.training.batches import BatchShare
from bench.models.training.gradients import Gradients
from bench.models.training.networks import DualEncoder, FrozenText, ImageClassifier

CPU = torch.device("cpu")
SIZE = 10


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return load_clip(identify_backbone("tiny", "embedded", tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def clip(loaded: Clip) -> Any:
    return loaded.model


def of_model(
    trainer: GradientTrainer, model: nn.Module, part: int | None = None
) -> tuple[Gradients, list[str]]:
    said: list[str] = []
    return Gradients(trainer, model, model, CPU, part, said.append), said


def computed(
    gradients: Gradients, batch: dict[str, Tensor], state: dict[str, Tensor], step: int = 3
) -> dict[str, Tensor]:
    """Return the loss and the gradients of all parameters, by name."""
    found = {"loss": gradients.of(batch, len(batch["labels"]), state, step, seed=5)}
    named = gradients.model.named_parameters()
    return found | {n: p.grad.clone() for n, p in named if p.grad is not None}


def pictures(side: int = 32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn((SIZE, 3, side, side), generator=generator)
    texts = torch.zeros((SIZE, 16), dtype=torch.long)
    texts[:, :4] = torch.randint(1, 30, (SIZE, 4), generator=generator)
    texts[:, 4] = 40
    return {"inputs": inputs, "labels": torch.arange(SIZE) % 3, "texts": texts}


def both(clip: Any) -> DualEncoder:
    return DualEncoder(copy.deepcopy(clip), torch.zeros((3, 1, 16), dtype=torch.long)).train()


@pytest.mark.parametrize("part", [1, 3, 5, 9])
@pytest.mark.parametrize("name", ["flyp", "carot", "carot-slides"])
def test_contrastive_gradients_in_parts_have_all_negatives(clip: Any, name: str, part: int) -> None:
    trainer = methods()[name]().trainer  # type: ignore[attr-defined]
    model = both(clip)
    state = {n: t + 0.01 for n, t in trainer.state_dict(model).items() if t.is_floating_point()}
    whole = computed(of_model(trainer, model)[0], pictures(), state)
    parts = computed(of_model(trainer, model, part)[0], pictures(), state)
    assert whole.keys() == parts.keys() and len(whole) > 40
    torch.testing.assert_close(parts["loss"], whole["loss"], rtol=1e-6, atol=1e-6)
    for gradient, exact in ((parts[n], whole[n]) for n in whole):
        torch.testing.assert_close(gradient, exact, rtol=1e-4, atol=1e-5)  # float32, any threads


TRAINERS = [
    GradientTrainer(smoothing=0.1),
    PulledBack(),
    FeaturesPulledBack(smoothing=0.1),
    TextGuided(texts=5),
]


@dataclass(frozen=True)
class OfAll(GradientTrainer):
    """A loss that is no mean over samples, as a plugin may have one."""

    def loss(self, embeddings: dict[str, Tensor], step: int) -> Tensor:
        return embeddings["logits"].square().sum().sqrt() + super().loss(embeddings, step)


@pytest.mark.parametrize("part", [1, 4, 7])
@pytest.mark.parametrize("trainer", [*TRAINERS, OfAll()])
def test_gradients_in_parts_equal_those_of_the_whole(
    loaded: Clip, trainer: GradientTrainer, part: int
) -> None:
    tower, text = copy.deepcopy(loaded.model.visual), FrozenText(loaded, CPU)
    model = ImageClassifier(tower, torch.randn(3, 96), torch.zeros(3), True, text).train()
    state = {n: t + 0.01 for n, t in trainer.state_dict(model).items()}
    whole = computed(of_model(trainer, model)[0], pictures(), state)
    parts = computed(of_model(trainer, model, part)[0], pictures(), state)
    assert whole.keys() == parts.keys()
    torch.testing.assert_close(parts["loss"], whole["loss"], rtol=1e-6, atol=1e-6)
    for gradient, exact in ((parts[n], whole[n]) for n in whole):
        torch.testing.assert_close(gradient, exact, rtol=1e-4, atol=1e-5)  # float32, any threads


@pytest.mark.parametrize("size", [1, 5, 7])
@pytest.mark.parametrize("trainer", TRAINERS)
def test_shares_of_three_processes_average_to_the_gradients_of_the_whole(
    loaded: Clip, trainer: GradientTrainer, size: int
) -> None:
    """Also those of a batch that leaves two of them without a sample."""
    tower, text = copy.deepcopy(loaded.model.visual), FrozenText(loaded, CPU)
    model = ImageClassifier(tower, torch.randn(3, 96), torch.zeros(3), True, text).train()
    state = {n: t + 0.01 for n, t in trainer.state_dict(model).items()}
    batch = {name: tensor[:size] for name, tensor in pictures().items()}
    whole = computed(of_model(trainer, model)[0], batch, state)
    shares = [BatchShare(rank, 3) for rank in range(3)]
    found = []
    for share in shares:
        own = {name: torch.stack(share.of(list(tensor))) for name, tensor in batch.items()}
        gradients = Gradients(trainer, model, model, CPU, share=share)
        loss = gradients.of(own, size, state, step=3, seed=5)
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        found[-1]["loss"] = loss * share.count(size) * 3 / size  # averaged below, too
    for name, exact in whole.items():
        mean = torch.stack([one[name] for one in found]).mean(dim=0)
        torch.testing.assert_close(mean, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [slice(None), slice(0, 2)])
def test_an_embedding_of_no_single_sample_is_refused_in_parts(rows: slice) -> None:
    class Spread(OfAll):
        title = "with a spread"

        def encode(self, model: Any, batch: Any, state: Any) -> dict[str, Tensor]:
            found = super().encode(model, batch, state)
            spread = found["logits"].std() if rows.stop is None else found["logits"][rows]
            return found | {"spread": spread}

    model = build().train()
    computed(of_model(Spread(), model)[0], pictures(8), {})
    with pytest.raises(CellError, match=r"with a spread does not go .* embedding spread"):
        computed(of_model(Spread(), model, 4)[0], pictures(8), {})


def test_the_second_pass_of_gradient_caching_has_the_dropout_of_the_first() -> None:
    model = build().train()
    seen: list[Tensor] = []
    model.encoder.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    computed(of_model(OfAll(), model, 4)[0], pictures(8), {})
    assert len(seen) == 6
    assert all(torch.equal(seen[i], seen[i + 3]) for i in range(3))
    assert (seen[0] == 0).any() and not torch.equal(seen[0] == 0, seen[1] == 0)


def test_a_training_in_parts_says_so_and_one_in_whole_batches_does_not(tmp_path: Path) -> None:
    said: list[str] = []
    for part in (None, 16, 17):
        inputs = replace(training(tmp_path / f"{part}"), micro_batch=part, remark=said.append)
        QUICK.train(inputs)
    assert said == []
    QUICK.train(replace(training(tmp_path / "parts"), micro_batch=5, remark=said.append))
    (sentence,) = said
    assert "parts of at most 5 samples, as --micro-batch demands" in sentence


def normalised() -> ImageClassifier:
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1))
    whole = nn.Sequential(encoder, nn.Flatten())
    return ImageClassifier(whole, torch.zeros(3, 4), torch.zeros(3), normalize=False).train()


def test_parts_are_refused_with_batch_normalisation() -> None:
    message = r"--micro-batch 5: the model has batch normalisation \(encoder\.0\.1\)"
    with pytest.raises(InputError, match=message):
        of_model(QUICK, normalised(), 5)
    of_model(QUICK, normalised(), QUICK.batch_size)  # no batch is larger


def test_a_parameter_that_several_processes_cannot_average_is_named() -> None:
    """torch would leave the gradients beside it as they are, and fail in the next step."""
    model = build().train()
    model.idle = nn.Parameter(torch.zeros(3))
    gradients = Gradients(QUICK, model, model, CPU, share=BatchShare(0, 2))
    with pytest.raises(CellError, match=r"the loss does not depend on idle, .* start one process"):
        gradients.of(pictures(8), 2 * SIZE, {}, step=0, seed=0)
    model.idle.requires_grad_(requires_grad=False)
    gradients.of(pictures(8), 2 * SIZE, {}, step=0, seed=0)


def test_several_processes_are_refused_with_batch_normalisation() -> None:
    message = r"has batch normalisation \(encoder\.0\.1\), .* start one process"
    with pytest.raises(InputError, match=message):
        Gradients(QUICK, normalised(), None, CPU, share=BatchShare(0, 2))


class Full:
    """Makes a module run out of memory with more than `most` samples, where `unless` is False."""

    def __init__(self, module: nn.Module, most: int, unless: Callable[[], bool]) -> None:
        self.most, self.unless, self.tried = most, unless, list[int]()
        module.register_forward_pre_hook(self)

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if torch.is_grad_enabled():
            self.tried.append(len(inputs[0]))
            if len(inputs[0]) > self.most and not self.unless():
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def test_parts_are_halved_until_they_fit_into_the_memory() -> None:
    model = build().train()
    exact = computed(of_model(replace(QUICK), model.eval())[0], pictures(8), {})
    full = Full(model.encoder, 3, lambda: False)
    gradients, said = of_model(QUICK, model)
    found = computed(gradients, pictures(8), {})
    for name in exact:
        torch.testing.assert_close(found[name], exact[name], rtol=1e-4, atol=1e-6)
    assert full.tried == [10, 5, 3, 3, 3, 1]
    computed(gradients, pictures(8), {})
    assert full.tried[6:] == [3, 3, 3, 1]  # it is not tried again
    assert "at most 3 samples, since 5 did not fit into the memory" in said[-1]


def small_vit() -> DualEncoder:
    torch.manual_seed(0)
    towers = {"width": 32, "layers": 2}
    vision = {**towers, "image_size": 32, "patch_size": 16, "head_width": 16}
    text = {**towers, "context_length": 16, "vocab_size": 50, "heads": 2}
    return both(open_clip.CLIP(24, vision, text))


def test_the_first_help_is_to_recompute_activations_which_changes_no_bit(clip: Any) -> None:
    trainer = methods()["flyp"]().trainer  # type: ignore[attr-defined]
    for model in (both(clip), small_vit()):
        exact = computed(of_model(trainer, model)[0], pictures(), {})
        text = model.clip.transformer
        full = Full(model.clip.visual, 3, lambda text=text: text.grad_checkpointing)
        gradients, said = of_model(trainer, model)
        found = computed(gradients, pictures(), {})
        assert full.tried == [10, 10] and said == []
        assert all(torch.equal(found[name], exact[name]) for name in exact)
        towers = [m for m in model.clip.visual.modules() if hasattr(m, "grad_checkpointing")]
        assert towers and all(module.grad_checkpointing for module in towers)


def test_a_model_with_batch_normalisation_that_does_not_fit_is_named() -> None:
    model = normalised()
    Full(model.encoder, 0, lambda: False)
    message = r"out of memory with 10 samples, which .* batch normalisation \(encoder\.0\.1\): use"
    with pytest.raises(CellError, match=message):
        computed(of_model(QUICK, model)[0], pictures(8), {})


def test_a_single_sample_that_does_not_fit_is_an_error() -> None:
    model = build().train()
    Full(model.encoder, 0, lambda: False)
    with pytest.raises(CellError, match="out of memory with a single sample: use a smaller"):
        computed(of_model(QUICK, model)[0], pictures(8), {})


def test_what_cannot_be_repeated_is_said_and_leaves_no_trace() -> None:
    """An operation without a deterministic form: the step is repeated, statistics included."""
    exact = normalised()
    model = copy.deepcopy(exact)
    expected = computed(of_model(QUICK, exact)[0], pictures(8), {})

    def raising(module: nn.Module, inputs: Any, output: Tensor) -> None:
        if not torch.is_deterministic_algorithms_warn_only_enabled():
            raise RuntimeError(
                "adaptive_max_pool2d_backward_cuda does not have a deterministic implementation, "
                "but you set 'torch.use_deterministic_algorithms(True)'."
            )

    model.encoder.register_forward_hook(raising)
    gradients, said = of_model(QUICK, model)
    try:
        torch.use_deterministic_algorithms(True)
        found = computed(gradients, pictures(8), {})
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    for (_, one), (_, other) in zip(model.named_buffers(), exact.named_buffers(), strict=True):
        assert torch.equal(one, other)
    assert "adaptive_max_pool2d_backward_cuda has no deterministic form" in said[0]
    with pytest.raises(RuntimeError, match="another"):
        gradients._give_up_determinism(RuntimeError("another"))


@pytest.mark.parametrize("name", ["RN50", "ViT-B-32"])
def test_towers_of_open_clip_are_seen_as_they_are(name: str) -> None:
    tower = open_clip.create_model(name).visual
    model = ImageClassifier(tower, torch.zeros(3, 4), torch.zeros(3), normalize=True).train()
    gradients, _ = of_model(QUICK, model)
    assert (gradients.normalised is None) == (name == "ViT-B-32")
