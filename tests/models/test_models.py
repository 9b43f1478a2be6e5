"""Backbones: identification without torch, the zero-shot head, the evaluation transform."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from bench.api.recipes import TextHead
from bench.core.errors import InputError
from bench.models import clip as models

CLASSES = ("star", "fish", "zebra crossing", "Ünïcode")
TEMPLATES = ("a photo of a {}.", "a rather long sketch of the {}, by an unknown artist.", "{}")


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    first, second = tmp_path / "a.pt", tmp_path / "b.pt"
    first.write_bytes(b"weights")
    second.write_bytes(b"weights")
    cache = tmp_path / "cache"
    one, two = (models.identify_backbone("ViT-B-32", str(p), cache) for p in (first, second))
    assert one.digest == two.digest
    assert str(one) == f"ViT-B-32/a.pt@{one.digest[:8]}"
    second.write_bytes(b"other weights")
    assert models.identify_backbone("ViT-B-32", str(second), cache).digest != one.digest


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("ViT-B-33", "openai", "unknown model 'ViT-B-33': did you mean 'ViT-B-32'"),
        ("ViT-B-32", "missing.pt", "no such checkpoint file"),
        ("ViT-B-32", "some/folder/weights", "no such checkpoint file"),
        ("tiny", "openai", "only 'embedded'"),
    ],
)
def test_wrong_names(model: str, pretrained: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        models.identify_backbone(model, pretrained, tmp_path)


def test_a_wrong_tag_lists_the_valid_ones(tmp_path: Path) -> None:
    identity = models.identify_backbone("ViT-B-32", "openia", tmp_path)
    with pytest.raises(InputError, match="did you mean 'openai'"):
        models.load_clip(identity)


@pytest.mark.parametrize("tag", ["openai", "laion2b_s34b_b79k"])
def test_released_weights_get_their_own_activation(
    tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenAI's weights need QuickGELU, which the configuration of ViT-B-32 does not have."""
    made: dict[str, object] = {}

    def create(name: str, **options: object) -> None:
        made.update(options)
        raise RuntimeError("no download here")

    monkeypatch.setattr(open_clip, "create_model", create)
    with pytest.raises(InputError, match="could not be downloaded"):
        models.load_clip(models.identify_backbone("ViT-B-32", tag, tmp_path))
    assert made["force_quick_gelu"] is (tag == "openai")


def test_a_long_message_of_a_download_is_cut_between_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"cause-{n}" for n in range(300)]

    def create(name: str, **_: object) -> None:
        raise OSError("\n".join(words))

    monkeypatch.setattr(open_clip, "create_model", create)
    with pytest.raises(InputError) as caught:
        models.load_clip(models.identify_backbone("ViT-B-32", "openai", tmp_path))
    start, _, rest = str(caught.value).partition(" (")
    reason, _, advice = rest.partition("...); ")
    assert start == "weights ViT-B-32/openai could not be downloaded"
    assert reason.split() == words[: len(reason.split())] and len(reason) > 150
    assert advice.startswith("connect to the network, or give a local checkpoint file")


def test_a_checkpoint_of_another_shape(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"visual.proj": torch.zeros(3, 3)}, path)
    with pytest.raises(InputError, match="does not fit model ViT-S-32-alt"):
        models.load_clip(models.identify_backbone("ViT-S-32-alt", str(path), tmp_path))


@pytest.mark.parametrize("name", ["tiny", "ViT-S-32-alt"])
def test_cut_prompts_embed_as_whole_ones(name: str, tmp_path: Path) -> None:
    """The zero-shot head equals that of open_clip's own classifier builder."""
    torch.manual_seed(0)
    if name == "tiny":
        clip = models.load_clip(models.identify_backbone("tiny", "embedded", tmp_path))
    else:
        model = open_clip.create_model(name).eval()
        clip = models.Clip(model, open_clip.get_tokenizer(name), None)
    before = clip.model.state_dict()
    recipe = TextHead(None, CLASSES, TEMPLATES)  # type: ignore[arg-type]
    head = models.text_head(clip, recipe, torch.device("cpu"))
    whole = open_clip.build_zero_shot_classifier(clip.model, clip.tokenizer, CLASSES, TEMPLATES)
    expected = whole.T.detach() * clip.scale
    torch.testing.assert_close(head["head.weight"], expected, rtol=1e-4, atol=1e-4 * clip.scale)
    assert torch.equal(head["head.bias"], torch.zeros(len(CLASSES)))
    after = clip.model.state_dict()
    assert all(torch.equal(before[n], after[n]) for n in before)


def test_a_tower_that_is_not_causal_runs_in_full() -> None:
    class Tower:
        attn_mask = None

        def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
            return tokens.float()

    tokens = torch.tensor([[1, 9, 0, 0]])
    assert models.encode_text(Tower(), tokens).shape == (1, 4)


def test_small_images_pass_the_evaluation_transform_unscaled(tmp_path: Path) -> None:
    """At the model's own size, open_clip's transform is (x / 255 - mean) / std."""
    from PIL import Image

    from bench.models.transforms import evaluation_transform

    clip = models.load_clip(models.identify_backbone("tiny", "embedded", tmp_path))
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    tensor = evaluation_transform(clip.preprocess)(Image.fromarray(pixels)).permute(1, 2, 0)
    mean, std = np.array(clip.preprocess.mean), np.array(clip.preprocess.std)
    np.testing.assert_allclose(tensor, (pixels / 255 - mean) / std, rtol=1e-5, atol=1e-6)
