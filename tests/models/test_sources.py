"""Models from folders and from the hub: the same outputs as where they come from, or a reason."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from model_folders import (
    CONTEXT,
    SIDE,
    SIZES,
    TOKENS,
    clip_folder,
    open_clip_folder,
    save_tokenizer,
    siglip_folder,
)
from PIL import Image
from small_clips import built, reduced, small_trunks

from bench.api.reading import Reading
from bench.api.recipes import Backbone, TextHead
from bench.core.errors import InputError
from bench.models.clip import (
    Clip,
    default_weights,
    identify_backbone,
    load_clip,
    text_head,
    tokenized,
)
from bench.models.distinct_classes import prompt_caveats
from bench.models.files.backbone import load_weights
from bench.models.files.containers import read_candidates
from bench.models.files.transformers_config import CLIP_DEFAULTS, SIGLIP_DEFAULTS
from bench.models.sources.configurations import pretraining_loss
from bench.models.sources.folder import OPEN_CLIP
from bench.models.sources.network import go_offline_without_network
from bench.models.sources.released_tags import configuration, model_names
from bench.models.sources.towers import two_towers
from bench.models.transforms import evaluation_transform, input_size
from bench.runs.study.config import RunConfig
from bench.runs.study.resolve import resolve_studies

transformers = pytest.importorskip("transformers")
TEXTS = ["a photo of a cat.", "The dog", "a photo of the dog of the cat of a"]


def identified(folder: Path) -> Backbone:
    return identify_backbone(f"local-dir:{folder}", str(folder), folder.parent / "cache")


def loaded(folder: Path) -> Clip:
    return load_clip(identified(folder))


@pytest.mark.parametrize(
    ("make", "more"),
    [
        (clip_folder, {}),
        (clip_folder, {"act": "gelu"}),
        (clip_folder, {"eos_token_id": 2}),  # the highest token, as old files mean it
        (clip_folder, {"eos_token_id": 4}),  # the word "of"
        (siglip_folder, {}),
        (siglip_folder, {"image_size": 36}),  # with patches of 8, the last 4 pixels are left out
        (siglip_folder, {"layer_norm_eps": 1e-2, "intermediate_size": 47}),
    ],
)
def test_outputs_are_those_of_transformers(make: Any, more: dict[str, Any], tmp_path: Path) -> None:
    theirs = make(tmp_path / "model", **more)
    clip = loaded(tmp_path / "model")
    side = input_size(clip.preprocess)
    images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(3))
    tokens = clip.tokenizer(TEXTS)
    assert tokens.shape == (3, CONTEXT) and int(tokens[0, 0]) == TOKENS.index("<start>")
    with torch.no_grad():
        expected = theirs(input_ids=tokens, pixel_values=images).logits_per_image
        found, _ = clip.model.get_logits(images, tokens)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert float(expected.std()) > 0.3 and clip.caveats == ()


def test_what_old_files_say_twice_is_read_as_transformers_does(tmp_path: Path) -> None:
    clip_folder(tmp_path / "model")
    values = json.loads((tmp_path / "model" / CONFIG).read_text())
    own = {n: values["text_config"][n] for n in (*SIZES, "vocab_size", "max_position_embeddings")}
    more = {"text_config_dict": {**own, "hidden_act": "gelu"}}
    more |= {"vision_config_dict": {**values["vision_config"], "hidden_act": "gelu"}}
    rewritten(tmp_path / "model" / CONFIG, lambda old: old.update(more))
    theirs = transformers.CLIPModel.from_pretrained(tmp_path / "model").eval()
    clip, images = loaded(tmp_path / "model"), torch.randn(3, 3, SIDE, SIDE)
    tokens = clip.tokenizer(TEXTS)
    with torch.no_grad():
        expected = theirs(input_ids=tokens, pixel_values=images).logits_per_image
        found, _ = clip.model.get_logits(images, tokens)
    assert theirs.config.text_config.hidden_act == "gelu"
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_defaults_are_those_of_transformers() -> None:
    for ours, theirs in (
        (CLIP_DEFAULTS, transformers.CLIPConfig()),
        (SIGLIP_DEFAULTS, transformers.SiglipConfig()),
    ):
        for part, values in ours.items():
            own = getattr(theirs, part).to_dict()
            known = {name: own[name] for name in values}
            if known.get("projection_size") == known["hidden_size"]:
                known["projection_size"] = None  # it is filled in
            assert known == values


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("make", [clip_folder, siglip_folder])
def test_images_are_prepared_as_transformers_does(make: Any, both: bool, tmp_path: Path) -> None:
    make(tmp_path / "model")
    if both:  # as transformers 5 saves a folder of an older version again
        values = json.loads((tmp_path / "model" / PROCESSOR).read_text())
        newer = {"image_processor": values | {"image_mean": [0.1, 0.2, 0.3]}}
        (tmp_path / "model" / "processor_config.json").write_text(json.dumps(newer))
    clip = loaded(tmp_path / "model")
    pixels = torch.randint(0, 256, (40, 60, 3), generator=torch.Generator().manual_seed(4))
    image = Image.fromarray(pixels.to(torch.uint8).numpy())
    kind = transformers.CLIPImageProcessor if make is clip_folder else None
    kind = kind or transformers.SiglipImageProcessor
    theirs = kind.from_pretrained(tmp_path / "model")(image, return_tensors="pt").pixel_values[0]
    ours = evaluation_transform(clip.preprocess)(image)
    assert ours.shape == theirs.shape == (3, SIDE, SIDE)
    assert float((ours - theirs).abs().mean()) < 0.01  # filters round differently


def rewritten(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


PROCESSOR, CONFIG = "preprocessor_config.json", "config.json"
ODD: dict[str, tuple[Any, Callable[[Path], Any], str]] = {
    "crop of other sizes": (
        clip_folder,
        lambda f: rewritten(f / PROCESSOR, lambda v: v.update(size={"shortest_edge": 40})),
        r"size is \{'shortest_edge': 40\}.*images of 32 pixels",
    ),
    "not normalised": (
        siglip_folder,
        lambda f: rewritten(f / PROCESSOR, lambda v: v.update(do_normalize=False)),
        "do_normalize is False",
    ),
    "a grey mean": (
        clip_folder,
        lambda f: rewritten(f / PROCESSOR, lambda v: v.update(image_mean=[0.5])),
        r"image_mean is \[0\.5\]",
    ),
    "a mean that is none": (
        siglip_folder,
        lambda f: rewritten(f / PROCESSOR, lambda v: v.update(image_mean=None)),
        "has a value of another kind than expected",
    ),
    "a size of images that is none": (
        clip_folder,
        lambda f: rewritten(f / PROCESSOR, lambda v: v.update(size="big")),
        "size is big, which is not how",
    ),
    "a factor of 0": (
        clip_folder,
        lambda f: rewritten(f / PROCESSOR, lambda v: v.update(rescale_factor=0)),
        "has a value of another kind than expected",
    ),
    "a tower that is none": (
        clip_folder,
        lambda f: rewritten(f / CONFIG, lambda v: v.update(text_config="small")),
        r"config\.json has a value of another kind than expected",
    ),
    "a tower of open_clip that is none": (
        lambda f: open_clip_folder(f, "ViT-B-16"),
        lambda f: rewritten(f / OPEN_CLIP, lambda v: v["model_cfg"].update(text_cfg=None)),
        "has no model_cfg with embed_dim, vision_cfg and text_cfg",
    ),
    "another model": (
        clip_folder,
        lambda f: rewritten(f / CONFIG, lambda v: v.update(model_type="siglip2")),
        "of the model 'siglip2', expected clip or siglip",
    ),
    "two activations": (
        clip_folder,
        lambda f: rewritten(f / CONFIG, lambda v: v["text_config"].update(hidden_act="gelu")),
        "hidden_act is gelu and quick_gelu",
    ),
    "no pooling head": (
        siglip_folder,
        lambda f: rewritten(f / CONFIG, lambda v: v["vision_config"].update(vision_use_head=False)),
        "vision_use_head is False",
    ),
    "a size that is none": (
        siglip_folder,
        lambda f: rewritten(f / CONFIG, lambda v: v["vision_config"].update(image_size="big")),
        "image_size is 'big', expected a whole number",
    ),
    "other sizes than the weights": (
        siglip_folder,
        lambda f: rewritten(f / CONFIG, lambda v: v["vision_config"].update(num_hidden_layers=3)),
        r"does not fit model .*it lacks visual\.trunk\.blocks\.2",
    ),
    "weights of another model": (
        clip_folder,
        lambda f: siglip_folder(f / "other") and shutil.copy(f / "other" / "model.safetensors", f),
        "names of transformers, but not those of its CLIPModel",
    ),
    "no weights": (clip_folder, lambda f: (f / "model.safetensors").unlink(), "has no weights"),
    "weights in parts": (
        clip_folder,
        lambda f: (f / "model.safetensors").rename(f / "model.safetensors.index.json"),
        "weights in several files",
    ),
    "no tokenizer": (
        siglip_folder,
        lambda f: [(f / n).unlink() for n in ("tokenizer.json", "tokenizer_config.json")],
        "has no tokenizer",
    ),
    "a damaged tokenizer": (
        clip_folder,
        lambda f: (f / "tokenizer.json").write_text("{}"),
        "the tokenizer of .* cannot be read",
    ),
    "no configuration": (
        clip_folder,
        lambda f: (f / CONFIG).unlink(),
        r"neither open_clip_config\.json nor config\.json",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_what_cannot_be_converted_is_refused(case: str, tmp_path: Path) -> None:
    make, change, message = ODD[case]
    make(tmp_path / "model")
    change(tmp_path / "model")
    with pytest.raises(InputError, match=message) as caught:
        loaded(tmp_path / "model")
    assert len(str(caught.value)) < 500 + len(str(tmp_path)) * 2 and "\n" not in str(caught.value)


def test_what_is_assumed_is_said(tmp_path: Path) -> None:
    siglip_folder(tmp_path / "model")
    (tmp_path / "model" / PROCESSOR).unlink()
    clip = loaded(tmp_path / "model")
    assert clip.caveats == (
        "The folder has no preprocessor_config.json: that of SigLIP was taken.",
    )
    assert clip.preprocess.resize_mode == "squash" and clip.preprocess.mean == (0.5,) * 3


@pytest.mark.parametrize("name", ["ViT-B-16", "EVA02-B-16", "coca_ViT-B-32", "ViT-B-16-SigLIP"])
def test_a_folder_of_open_clip(name: str, tmp_path: Path, monkeypatch: Any) -> None:
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
    import os

    assert os.environ["HF_HUB_OFFLINE"] == "1" and constants.is_offline_mode()


def test_a_file_of_transformers_for_a_siglip_of_open_clip(tmp_path: Path) -> None:
    siglip_folder(tmp_path / "model", patch_size=16)
    clip, weights = loaded(tmp_path / "model"), tmp_path / "model" / "model.safetensors"
    config = reduced(configuration("ViT-B-16-SigLIP"))
    config["text_cfg"] |= {"vocab_size": len(TOKENS), "context_length": CONTEXT}
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 32, "mlp_ratio": 1.5}
    with patch("small_clips.trunk_sizes", lambda name: sizes):
        config["text_cfg"]["mlp_ratio"] = 1.5
        model = built(config)
    load_weights(model, weights, "ViT-B-16-SigLIP", read_candidates(weights))
    images, tokens = torch.randn(2, 3, 32, 32), clip.tokenizer(TEXTS)
    with torch.no_grad():
        found, expected = (m.get_logits(images, tokens)[0] for m in (model, clip.model))
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0.02)  # GELU, not its tanh form


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
