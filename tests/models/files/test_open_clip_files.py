"""Files for open_clip's models: sizes, activation and preprocessing that they do not say."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from torch import Tensor

from bench.api.reading import Reading
from bench.core.errors import InputError
from bench.models.files.architecture import fitting_models
from bench.models.files.names import adapted
from bench.models.files.preprocessing import assumed
from bench.models.files.strict import load_strictly, widened
from bench.models.sources.released_tags import model_names, released_tags

HALF = (0.5, 0.5, 0.5)


def small(
    side: int = 32, context: int = 7, layers: int | tuple[int, ...] = 2, patch: int = 8
) -> open_clip.CLIP:
    torch.manual_seed(0)
    vision = CLIPVisionCfg(
        image_size=side, patch_size=patch, width=64, layers=layers, head_width=64
    )
    text = CLIPTextCfg(context_length=context, vocab_size=10, width=64, heads=1, layers=2)
    return open_clip.CLIP(16, vision, text).eval()


def transformers_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with the names and the layout of transformers' ``CLIPModel``."""
    whole = {
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "logit_scale": "logit_scale",
    }
    parts = {
        "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm",
        "visual.transformer.resblocks": "vision_model.encoder.layers",
        "transformer.resblocks": "text_model.encoder.layers",
        "ln_final": "text_model.final_layer_norm", "ln_1": "layer_norm1", "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2", "attn.out_proj": "self_attn.out_proj",
    }  # fmt: skip
    found = {
        "visual_projection.weight": state["visual.proj"].T,
        "text_projection.weight": state["text_projection"].T,
        "vision_model.embeddings.position_ids": torch.arange(17)[None],
    }
    for name, tensor in state.items():
        if name in whole:
            found[whole[name]] = tensor
        elif name not in ("visual.proj", "text_projection"):
            other = name
            for ours, theirs in parts.items():
                other = other.replace(ours, theirs)
            if "in_proj" in other:
                for one, third in zip("qkv", tensor.chunk(3), strict=True):
                    part = other.replace("attn.in_proj_", f"self_attn.{one}_proj.")
                    found[part] = third
            else:
                found[other] = tensor
    return found


def test_transformers_names_are_converted(tmp_path: Path) -> None:
    model, other = small(), small()
    state = {n: t.clone() for n, t in model.state_dict().items()}
    for parameter in other.parameters():
        parameter.data.zero_()
    converted = adapted(transformers_names(state), other, tmp_path / "w.pt")
    load_strictly(other, converted, "checkpoint w.pt", "small")
    assert all(torch.equal(tensor, state[name]) for name, tensor in other.state_dict().items())
    images, texts = torch.randn(2, 3, 32, 32), torch.tensor([[1, 2, 9, 0, 0, 0, 0]])
    torch.testing.assert_close(other.encode_image(images), model.encode_image(images))
    torch.testing.assert_close(other.encode_text(texts), model.encode_text(texts))


def test_other_models_of_transformers_are_refused(tmp_path: Path) -> None:
    names = transformers_names(dict(small().state_dict()))
    for odd in ("vision_model.head.probe", "vision_model.encoder.layers.0.mlp.fc3.weight"):
        with pytest.raises(InputError, match=r"names of transformers.*only CLIPModel"):
            adapted({**names, odd: torch.zeros(1)}, small(), tmp_path / "w.pt")
    del names["text_model.encoder.layers.0.self_attn.k_proj.bias"]
    with pytest.raises(InputError, match="names of transformers"):
        adapted(names, small(), tmp_path / "w.pt")


@pytest.mark.parametrize("size", [16, 40, 64])
def test_positions_are_not_resampled(size: int) -> None:
    with pytest.raises(InputError) as caught:
        load_strictly(small(), small(size).state_dict(), "checkpoint w.pt", "small")
    message = str(caught.value)
    assert f"for images of {size} pixels, the model's for 32" in message
    assert f"--set model.image_size={size}" in message and len(message) < 500


@pytest.mark.parametrize("size", [32, 96, 128])
def test_positions_of_a_resnet_are_not_resampled(size: int) -> None:
    blocks = (1, 1, 1, 1)
    theirs, model = (small(one, layers=blocks) for one in (size, 64))
    with pytest.raises(InputError, match=f"attnpool.*images of {size} pixels, the model's for 64"):
        load_strictly(model, theirs.state_dict(), "checkpoint w.pt", "small")


def test_other_patches_are_another_architecture() -> None:
    state = open_clip.create_model("ViT-S-32-alt", pretrained_text=False).state_dict()
    assert fitting_models(state) == ("ViT-S-32-alt",)
    with pytest.raises(InputError) as caught:
        load_strictly(
            open_clip.create_model("ViT-S-16-alt", pretrained_text=False),
            state, "checkpoint w.pt", "ViT-S-16-alt",
        )  # fmt: skip
    message = str(caught.value)
    assert "its patches are 32 x 32 pixels, the model's 16 x 16" in message
    assert message.endswith("give --model ViT-S-32-alt") and "image_size" not in message
    with pytest.raises(InputError, match=r"16 x 16.*give the --model it was made with"):
        load_strictly(small(), small(patch=16).state_dict(), "checkpoint w.pt", "small")


def test_sparse_weights_are_refused() -> None:
    with pytest.raises(InputError, match=r"checkpoint w\.pt: w is sparse \(torch\.sparse_coo"):
        widened({"w": torch.eye(3).to_sparse()}, "checkpoint w.pt")


def test_positions_of_text_are_not_resampled() -> None:
    with pytest.raises(InputError, match="texts of 9 tokens, and positions are not resampled"):
        load_strictly(small(), small(context=9).state_dict(), "checkpoint w.pt", "small")


@pytest.mark.parametrize(
    ("model", "mean", "interpolation", "resize"),
    [
        ("MobileCLIP2-S0", (0.0, 0.0, 0.0), "bilinear", "shortest"),
        ("MobileCLIP-B", (0.0, 0.0, 0.0), "bilinear", "shortest"),
        ("ViT-B-16-SigLIP-256", HALF, "bicubic", "squash"),
        ("ViT-H-14-CLIPA-336", (0.485, 0.456, 0.406), "bilinear", "squash"),
        ("PE-Core-B-16", HALF, "bilinear", "squash"),
        ("RN50", (0.48145466, 0.4578275, 0.40821073), "bicubic", "shortest"),
    ],
)
def test_a_file_gets_the_preprocessing_of_the_released_weights(
    model: str, mean: tuple[float, ...], interpolation: str, resize: str
) -> None:
    found = assumed(model, False, Reading(), is_openai=False)
    assert found.preprocess["mean"] == mean
    assert found.preprocess["interpolation"] == interpolation
    assert found.preprocess["resize_mode"] == resize
    unusual = model != "RN50"
    assert any(f"weights of {model} was taken" in one for one in found.caveats) == unusual


def test_every_assumption_is_said() -> None:
    """For all of open_clip's models: either the released weights agree, or a caveat says so."""
    for model in model_names():
        tags = released_tags(model).values()
        found = assumed(model, False, Reading(), is_openai=False)
        text = " ".join(found.caveats)
        assert all(len(caveat) < 300 for caveat in found.caveats), model
        guessed = text.partition("OpenAI's ")[2].partition(" were taken")[0].split(", ")
        for field in ("mean", "std", "interpolation", "resize_mode"):
            name = field.partition("_")[0]
            assert (len({str(t[field]) for t in tags}) != 1) == (name in guessed), model
        flags = {bool(t.get("quick_gelu")) for t in tags}
        assert ("quick_gelu" in text) == (True in flags), model
        assert ("activation of the model" in text) == (not flags), model
        assert found.quick_gelu == (flags == {True})


def test_what_is_said_of_a_file_counts() -> None:
    own = assumed("ViT-B-32", False, Reading(), is_openai=False)
    assert not own.quick_gelu and "--set model.quick_gelu=true" in own.caveats[0]
    for reading in (Reading(quick_gelu=True), Reading(like="openai")):
        said = assumed("ViT-B-32", False, reading, is_openai=False)
        assert said.quick_gelu and said.caveats == ()
    assert not assumed("ViT-B-32-quickgelu", True, Reading(quick_gelu=False), False).quick_gelu
    archive = assumed("ViT-L-14", False, Reading(), is_openai=True)
    assert archive.quick_gelu and archive.caveats == ()
    other = assumed("ViT-S-32", False, Reading(like="ViT-B-16-SigLIP/webli", mean=HALF), False)
    assert other.preprocess["resize_mode"] == "squash" and other.caveats == ()


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ("openia", "did you mean 'openai'"),
        ("ViT-B32/openai", "did you mean 'ViT-B-32'"),
        ("ViT-S-32/openai", "has no released weights"),
    ],
)
def test_a_wrong_like_is_refused(like: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        assumed("ViT-B-32", False, Reading(like=like), is_openai=False)


def test_the_table_of_tags_is_open_clips() -> None:
    for model in model_names():
        assert list(released_tags(model)) == open_clip.list_pretrained_tags_by_model(model)
