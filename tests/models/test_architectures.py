"""Every architecture of open_clip, small and with random weights: zero-shot, trained and merged.

Full models need gigabytes; here each has the same kinds of towers, with few and narrow layers.
Those whose text tower is described in Hugging Face's hub have a local stand-in, and are named.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load, save
from small_clips import WIDTH, WORDS, built, reduced, texts_of
from torch import Tensor

from bench.api.recipes import Backbone
from bench.core.errors import CellError, InputError
from bench.data.mini.model import load_tiny
from bench.methods.carot import CarotTrainer, SelfDistillation
from bench.methods.lipsum_ft import TextGuided
from bench.models.clip import Clip, prompt_head
from bench.models.sources.configurations import check_trainable, parameters_of
from bench.models.sources.released_tags import configuration, model_names
from bench.models.sources.towers import two_towers
from bench.models.training.networks import DualEncoder, FrozenText, ImageClassifier
from bench.models.training.trainers import ContrastiveTrainer
from bench.models.weights import interpolate

TEXT_IN_HUB = {
    "coca_roberta-ViT-B-32": "roberta",
    "mt5-base-ViT-B-32": "mt5",
    "mt5-xl-ViT-H-14": "mt5",
    "nllb-clip-base": "m2m_100",
    "nllb-clip-base-siglip": "m2m_100",
    "nllb-clip-large": "m2m_100",
    "nllb-clip-large-siglip": "m2m_100",
    "roberta-ViT-B-32": "roberta",
    "xlm-roberta-base-ViT-B-32": "xlm-roberta",
    "xlm-roberta-large-ViT-H-14": "xlm-roberta",
}
"""Models whose text tower is one of transformers', with the kind that stands in for it."""

WITHOUT_PROJECTION = ("ViT-SO400M-16-SigLIP-i18n-256",)
"""Models whose text tower has no projection: CaRot, whose penalties need one, refuses the plan."""


@cache
def kinds() -> dict[str, list[str]]:
    """{a model: all models that are the same when small}, of all of open_clip's."""
    found: dict[str, list[str]] = {}
    for name in model_names():
        small = json.dumps(reduced(configuration(name)), sort_keys=True)
        found.setdefault(small, []).append(name)
    return {names[0]: names for names in found.values()}


def test_every_model_is_walked() -> None:
    walked = [name for names in kinds().values() for name in names]
    assert sorted(walked) == sorted(open_clip.list_models()) and len(kinds()) < len(walked)
    has_transformers = [n for n in walked if "hf_model_name" in configuration(n)["text_cfg"]]
    assert set(has_transformers) == set(TEXT_IN_HUB)


@pytest.mark.parametrize("name", [name for name in kinds() if name not in TEXT_IN_HUB])
def test_a_model_is_evaluated_trained_and_merged(name: str) -> None:
    trainers = [ContrastiveTrainer, SelfDistillation, CarotTrainer]
    if name in WITHOUT_PROJECTION:
        backbone = Backbone(name, "webli", "tag:webli")
        with pytest.raises(InputError, match="does not end in a linear projection"):
            check_trainable(backbone, trainers.pop()())
    check(reduced(configuration(name)), "sigmoid" if "SigLIP" in name else "softmax", trainers)


@pytest.mark.parametrize("name", [name for name in kinds() if name in TEXT_IN_HUB])
def test_a_model_with_a_text_tower_of_transformers(name: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    config = reduced(configuration(name))
    config["text_cfg"]["hf_model_name"] = str(text_tower(TEXT_IN_HUB[name], tmp_path))
    config["text_cfg"]["hf_model_pretrained"] = False
    trainers = [ContrastiveTrainer, CarotTrainer]
    check(config, "sigmoid" if "siglip" in name else "softmax", trainers)


@pytest.mark.parametrize("name", ["coca_ViT-B-32", "coca_base"])
def test_a_coca_is_used_by_its_two_towers(name: str) -> None:
    config = reduced(configuration(name))
    whole, images = built(config), torch.randn(2, 3, 32, 32)
    tokens = texts_of(config)[:, 0]
    with torch.no_grad():
        expected = whole.encode_image(images, normalize=False), whole.encode_text(tokens, False)
        both = two_towers(whole)
        torch.testing.assert_close((both.encode_image(images), both.encode_text(tokens)), expected)
    assert not any(name.startswith("text_decoder") for name in both.state_dict())


def counted(model: Any) -> dict[str, int]:
    towers = {"image": model.visual, "whole": model}
    return {part: sum(one.numel() for one in of.parameters()) for part, of in towers.items()}


@pytest.mark.parametrize(
    "name", ["RN50", "ViT-L-14-336", "coca_ViT-B-32", "ViT-B-16-SigLIP", "EVA02-B-16"]
)
def test_parameters_are_those_of_the_model_that_is_used(name: str) -> None:
    with torch.device("meta"):
        used = two_towers(open_clip.create_model(name, device="meta", load_weights=False))
    assert parameters_of(f"{name}/tag") == parameters_of(f"{name}/my.pt@1f2e3d4c") == counted(used)


def test_parameters_are_known_by_the_architecture_alone() -> None:
    assert parameters_of("tiny/embedded") == counted(load_tiny())
    for name in ("fake/none", "local-dir/ViT-B-32@1f2e3d4c", "hf-hub/owner/name@1f2e3d4c", ""):
        assert parameters_of(name) is None
    for name in TEXT_IN_HUB:  # their sizes would have to be downloaded
        assert parameters_of(f"{name}/tag") is None


@pytest.mark.parametrize("name", ["EVA02-B-16", "PE-Core-B-16", "MobileCLIP2-S0", "ViT-B-16"])
def test_random_texts_are_embedded_by_towers_that_read_the_end_token(name: str) -> None:
    config = reduced(configuration(name))
    tokens = texts_of(config)[:1, 0]
    tokens[0, 3:] = 0
    tokens[0, 2] = WORDS - 1
    clip = Clip(built(config), lambda texts: tokens, None)
    found = FrozenText(clip, torch.device("cpu")).random(count=3, length=4, seed=0)
    assert found.shape == (3, WIDTH)
    other = built(reduced(configuration("ViT-B-16-SigLIP")))
    with pytest.raises(CellError, match="reads its end token"):
        FrozenText(Clip(other, lambda texts: tokens, None), torch.device("cpu")).random(3, 4, 0)


@pytest.mark.parametrize(
    ("name", "works"),
    [
        *((name, True) for name in ("EVA02-B-16", "PE-Core-B-16", "MobileCLIP2-S0", "ViT-B-16")),
        *((name, False) for name in ("ViT-B-16-SigLIP", "roberta-ViT-B-32", "ViT-H-14-worldwide")),
    ],
)
def test_towers_that_read_no_end_token_are_refused_by_the_plan(name: str, works: bool) -> None:
    backbone = Backbone(name, "released", "tag:released")
    with nullcontext() if works else pytest.raises(InputError, match="reads its end token"):
        check_trainable(backbone, TextGuided())


def text_tower(kind: str, folder: Path) -> Path:
    """A folder with the configuration of a small text tower."""
    from transformers import AutoConfig

    sizes: dict[str, Any] = {"vocab_size": WORDS, "pad_token_id": 1}
    if kind == "mt5":
        sizes |= {"d_model": WIDTH, "d_ff": WIDTH, "d_kv": 16, "num_layers": 1, "num_heads": 2}
    elif kind == "m2m_100":
        sizes |= {"d_model": WIDTH, "encoder_layers": 1, "decoder_layers": 1}
        sizes |= {"encoder_ffn_dim": WIDTH, "decoder_ffn_dim": WIDTH}
        sizes |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    else:
        sizes |= {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 1}
        sizes |= {"num_attention_heads": 2, "max_position_embeddings": 40}
    AutoConfig.for_model(kind, **sizes).save_pretrained(folder)
    return folder


def check(config: Mapping[str, Any], loss: str, trainers: Sequence[Any]) -> None:
    """Evaluate, train end to end, train both towers, and merge; nothing may stay untouched."""
    model, prompts = two_towers(built(config)), texts_of(config)
    side, labels = config["vision_cfg"]["image_size"], torch.tensor([0, 1, 2, 0])
    images = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(2))
    start = {name: tensor.clone() for name, tensor in model.visual.state_dict().items()}

    head = prompt_head(model, prompts)
    assert len({tuple(row) for row in head["head.weight"].tolist()}) == 3
    classifier = ImageClassifier(copy.deepcopy(model.visual), *head.values(), normalize=True)
    logits = classifier.eval()(images)
    assert logits.shape == (4, 3) and logits.isfinite().all()
    with torch.no_grad():
        own = model.encode_image(images)
        torch.testing.assert_close(classifier.encoder(images), own, rtol=0, atol=0)

    optimizer = torch.optim.AdamW(classifier.parameters(), 1e-3)
    torch.nn.functional.cross_entropy(classifier.train()(images), labels).backward()
    assert unmoved(classifier) == []
    optimizer.step()
    tuned = stored(classifier.weights())
    state = {name.removeprefix("encoder."): t for name, t in tuned.items() if "encoder." in name}
    merged = interpolate([start, state], [0.5, 0.5])
    classifier.encoder.load_state_dict(merged)
    assert classifier.eval()(images).isfinite().all()

    for kind in trainers:
        trainer = kind(contrast=loss if loss == "sigmoid" else None)
        both = DualEncoder(copy.deepcopy(model), prompts).train()
        trainer.prepare(both)
        teacher = trainer.state_dict(both)
        batch = {"inputs": images, "texts": prompts[labels, 0]}
        found = trainer.loss(trainer.encode(both, batch, teacher), step=1)
        penalty = trainer.penalty(both, teacher)
        (found if penalty is None else found + penalty).backward()
        assert unmoved(both) == []
        weights = stored(both.weights())
        assert {n.removeprefix("encoder.") for n in weights if "encoder." in n} >= set(start)
        if trainer.reads_projections:
            image, text = both.projections()
            assert image.shape[1] == text.shape[1] == config["embed_dim"]


def unmoved(model: torch.nn.Module) -> list[str]:
    """Parameters that the loss does not reach."""
    return [name for name, p in model.named_parameters() if p.grad is None]


def stored(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as they are after the store."""
    return load(save({name: t.clone().contiguous() for name, t in weights.items()}))
