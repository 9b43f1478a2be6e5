"""Folders of transformers: the same outputs and images as there, or a reason in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from model_folders import (
    CONFIG,
    CONTEXT,
    PROCESSOR,
    SIDE,
    SIZES,
    TEXTS,
    TOKENS,
    clip_folder,
    loaded,
    open_clip_folder,
    rewritten,
    siglip_folder,
)
from PIL import Image
from small_clips import built, reduced

from bench.core.errors import InputError
from bench.models.files.backbone import load_weights
from bench.models.files.containers import read_candidates
from bench.models.files.transformers_config import CLIP_DEFAULTS, SIGLIP_DEFAULTS
from bench.models.sources.folder import OPEN_CLIP
from bench.models.sources.released_tags import configuration
from bench.models.transforms import evaluation_transform, input_size

transformers = pytest.importorskip("transformers")


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
