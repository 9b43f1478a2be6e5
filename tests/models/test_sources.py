"""Models from folders of open_clip and from the hub: how they are found, known and loaded."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from model_folders import (
    CONFIG,
    CONTEXT,
    PROCESSOR,
    TEXTS,
    TOKENS,
    clip_folder,
    identified,
    loaded,
    open_clip_folder,
    rewritten,
    save_tokenizer,
    siglip_folder,
)
from small_clips import built, small_trunks

from bench.api.reading import Reading
from bench.api.recipes import TextHead
from bench.core.errors import InputError
from bench.models.clip import default_weights, identify_backbone, load_clip, text_head, tokenized
from bench.models.distinct_classes import prompt_caveats
from bench.models.sources.configurations import pretraining_loss
from bench.models.sources.network import go_offline_without_network
from bench.models.sources.released_tags import configuration, model_names
from bench.models.sources.towers import two_towers
from bench.runs.study.config import RunConfig
from bench.runs.study.resolve import resolve_studies

pytest.importorskip("transformers")


@pytest.mark.parametrize("name", ["ViT-B-16", "EVA02-B-16", "coca_ViT-B-32", "ViT-B-16-SigLIP"])
def test_a_folder_of_open_clip(name: str, tmp_path: Path) -> None:
    own = {"hf_tokenizer_name": None}
    config = open_clip_folder(tmp_path / "model", name, **own)
    with small_trunks():
        clip = loaded(tmp_path / "model")
    assert (clip.preprocess.interpolation, clip.preprocess.resize_mode) == ("bilinear", "squash")
    tokens = clip.tokenizer(["a cat"])
    assert tokens.shape == (1, config["text_cfg"]["context_length"])
    images = torch.randn(2, 3, 32, 32)
    theirs = two_towers(built(config))
    with torch.no_grad():
        found, expected = (m.get_logits(images, tokens) for m in (clip.model, theirs))
    torch.testing.assert_close(found, expected)
    loss = "sigmoid" if "SigLIP" in name else "softmax"
    assert pretraining_loss(identified(tmp_path / "model")) == loss


def test_a_folder_is_known_by_its_contents(tmp_path: Path) -> None:
    clip_folder(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    one, two = identified(tmp_path / "one"), identified(tmp_path / "two")
    assert one.digest == two.digest and str(one) == f"local-dir/one@{one.digest[:8]}"
    assert identify_backbone("local-dir", str(tmp_path / "one"), tmp_path / "cache") == one
    (tmp_path / "two" / "README.md").write_text("no part of the model")
    assert identified(tmp_path / "two").digest == one.digest
    for name in ("tokenizer_config.json", PROCESSOR, CONFIG):
        rewritten(tmp_path / "two" / name, lambda values: values.update(more=1))
        assert identified(tmp_path / "two").digest != two.digest
        two = identified(tmp_path / "two")


@pytest.mark.parametrize(
    ("model", "more", "message"),
    [
        ("local-dir:nowhere", {}, "--model local-dir:nowhere: no such folder"),
        ("local-dir", {}, "needs more: --model local-dir:PATH"),
        ("hf-hub:", {}, "needs more: --model hf-hub:OWNER/NAME"),
        ("hf-hub:name", {}, r"expected hf-hub:OWNER/NAME\[@REVISION\]"),
        ("local-dir:one", {"pretrained": "openai"}, "has its own weights: leave --pretrained out"),
        ("local-dir:one", {"set": {"model": {"quick_gelu": "true"}}}, "describes itself"),
    ],
)
def test_wrong_names_are_refused_by_the_plan(
    model: str, more: dict[str, Any], message: str, tmp_path: Path
) -> None:
    config = RunConfig(suite=("micro",), model=model, cache_dir=tmp_path, **more)
    with pytest.raises(InputError, match=message):
        resolve_studies(config)


def test_a_missing_package_is_said_by_the_plan(tmp_path: Path, monkeypatch: Any) -> None:
    clip_folder(tmp_path / "model")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "transformers" else find(name)
    )
    for model, more in (
        (f"local-dir:{tmp_path / 'model'}", {}),
        ("ViT-B-16-SigLIP", {"pretrained": "webli"}),
        ("ViT-L-14-CLIPA", {"pretrained": "datacomp1b"}),
        ("roberta-ViT-B-32", {"pretrained": "laion2b_s12b_b32k"}),
    ):
        config = RunConfig(suite=("micro",), model=model, cache_dir=tmp_path, **more)
        with pytest.raises(InputError, match=r"pip install 'robust-ft-bench\[transformers\]'"):
            resolve_studies(config)
    plain = RunConfig(suite=("micro",), model="ViT-B-16", pretrained="openai", cache_dir=tmp_path)
    assert resolve_studies(plain)[0].backbone.model == "ViT-B-16"


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: Any) -> Path:
    """The hub's cache on a machine without a network, with one repository."""
    repository = tmp_path / "hub" / "models--owner--name"
    siglip_folder(repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return repository / "snapshots" / COMMIT


def test_a_repository_of_the_hub(hub: Path, tmp_path: Path) -> None:
    assert default_weights("hf-hub:owner/name") == "owner/name"
    backbone = identify_backbone("hf-hub:owner/name", "owner/name", tmp_path)
    assert (backbone.digest, str(backbone)) == (COMMIT, f"hf-hub/owner/name@{COMMIT[:8]}")
    assert pretraining_loss(backbone) == "sigmoid"
    named = f"owner/name@{COMMIT}"
    assert identify_backbone(f"hf-hub:{named}", named, tmp_path) == backbone
    clip, same = load_clip(backbone), loaded(hub)
    assert clip.preprocess == same.preprocess
    for name, tensor in same.model.state_dict().items():
        assert torch.equal(tensor, clip.model.state_dict()[name])
    assert torch.equal(clip.tokenizer(TEXTS), same.tokenizer(TEXTS))


def test_what_the_hub_does_not_give_is_one_line(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--model hf-hub:owner/other: .*connect to the network"):
        identify_backbone("hf-hub:owner/other", "owner/other", tmp_path)
    backbone = identify_backbone("hf-hub:owner/name", "owner/name", tmp_path)
    (hub / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors or pytorch_model\.bin cannot be dow"):
        load_clip(backbone)
    with pytest.raises(InputError, match="describes itself"):
        identify_backbone("hf-hub:owner/name", "owner/name", tmp_path, Reading(quick_gelu=True))


def test_no_network_means_offline(monkeypatch: Any) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://no.such.host.invalid")
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    from huggingface_hub import constants  # read before, as by an import of timm

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    go_offline_without_network()
    assert os.environ["HF_HUB_OFFLINE"] == "1" and constants.is_offline_mode()


TOKENIZERS = {
    '{"clean": "canonicalize"}': "ViT-B-16-SigLIP",
    '{"strip_sep_token": true}': "ViT-L-14-CLIPA",
    "{}": "ViT-H-14-worldwide",
}
"""A model for each way of open_clip's to use a tokenizer that is in the hub."""


def test_every_use_of_a_tokenizer_in_the_hub_has_a_stand_in() -> None:
    texts = {name: configuration(name)["text_cfg"] for name in model_names()}
    uses = {
        json.dumps(text.get("tokenizer_kwargs") or {}): name
        for name, text in texts.items()
        if text.get("hf_tokenizer_name")
    }
    assert uses.keys() == TOKENIZERS.keys()
    assert not any(text.get("tokenizer_mode") for text in texts.values())


@pytest.mark.parametrize("name", TOKENIZERS.values())
def test_a_tokenizer_of_the_hub_with_a_stand_in(name: str, tmp_path: Path) -> None:
    sizes = {"vocab_size": len(TOKENS), "context_length": CONTEXT, "eos_id": len(TOKENS) - 1}
    config = open_clip_folder(tmp_path / "model", name, **sizes)
    assert config["text_cfg"]["hf_tokenizer_name"]
    save_tokenizer(tmp_path / "model")
    with small_trunks():
        backbone, clip = identified(tmp_path / "model"), loaded(tmp_path / "model")
    recipe = TextHead(
        backbone, ("cat", "Dog", "a very long name of a thing"), ("a photo of a {}.",)
    )
    tokens = tokenized(clip, recipe)
    assert tokens.shape == (3, 1, CONTEXT)
    assert len(prompt_caveats(clip.tokenizer, recipe, tokens)) == 1  # one prompt is cut
    head = text_head(clip, recipe, torch.device("cpu"), tokens=tokens)
    assert head["head.weight"].isfinite().all()
