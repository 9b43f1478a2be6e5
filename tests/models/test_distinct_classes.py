"""Prompts that are cut, and classes that their prompts do not tell apart."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import open_clip
import pytest
import torch

from bench.api.recipes import TextHead
from bench.core.errors import InputError
from bench.models.clip import Clip, identify_backbone, load_clip, text_head, tokenized
from bench.models.distinct_classes import check_distinct, prompt_caveats

LONG = "this is a good photo of one of the things on the bright wood in the close picture"


@pytest.fixture(scope="module", params=["words", "bpe"])
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    cache = tmp_path_factory.mktemp("cache")
    if request.param == "words":
        return load_clip(identify_backbone("tiny", "embedded", cache))
    return Clip(None, open_clip.SimpleTokenizer(context_length=16), None)


def said(clip: Clip, classes: tuple[str, ...], templates: tuple[str, ...]) -> tuple[str, ...]:
    recipe = TextHead(None, classes, templates)  # type: ignore[arg-type]
    found = prompt_caveats(clip.tokenizer, recipe, tokenized(clip, recipe))
    assert all(len(caveat) < 300 and "\n" not in caveat for caveat in found)
    return found


def test_nothing_is_said_of_good_prompts(clip: Clip) -> None:
    assert said(clip, ("star", "cup", "key"), ("a photo of a {}.", "{}")) == ()
    assert said(clip, ("star",), ("a photo.",)) == ()


@pytest.mark.parametrize("room", [0, 1, 2, 40])
def test_prompts_are_cut_from_the_first_token_too_many(clip: Clip, room: int) -> None:
    fixed = 1 if len(clip.tokenizer([""])[0].nonzero()) == 1 else 2  # end, or start and end
    template = " ".join(["a"] * (16 - fixed - 1 + room) + ["{}"])
    classes = ("star", "cup")
    if room:
        with pytest.raises(InputError, match=r"all 2 classes .* longer than .* 16 tokens"):
            said(clip, classes, (template,))
    else:
        assert said(clip, classes, (template,)) == ()
    found = said(clip, classes, (template, "a {}."))
    assert len(found) == bool(room)
    if room:
        assert found[0].startswith("2 of 4 prompts are longer than the model's context of 16")


@pytest.mark.parametrize(
    ("classes", "few", "ceiling"),
    [
        (("missile", "cup", "missile"), "2 of 3", "66.7%"),
        (("Star", "cup", "star", "STAR"), "3 of 4", "50.0%"),
        (("a  star", "cup", "a star ", "cup"), "4 of 4", "50.0%"),
        ((*(f"x{'y' * i}" for i in range(9)), "maillot", "maillot"), "2 of 11", "91.0%"),
    ],
)
def test_equal_names_are_named_with_what_they_cost(
    clip: Clip, classes: tuple[str, ...], few: str, ceiling: str
) -> None:
    (caveat,) = said(clip, classes, ("a photo of a {}.", "a {} at night."))
    assert caveat.startswith(f"{few} classes cannot be told apart")
    assert f"accuracy is at most {ceiling}" in caveat


def test_names_behind_the_cut_are_equal_classes(clip: Clip) -> None:
    found = said(clip, ("red", "blue", "red " * 3), (f"{{}} {LONG}",))
    assert "3 of 3 prompts are longer" in found[0] and len(found) == 1
    found = said(clip, (f"{LONG} red", f"{LONG} blue", "cup"), ("{}",))
    assert len(found) == 2 and "2 of 3 classes cannot be told apart" in found[1]


def test_if_all_are_equal_there_is_nothing_to_measure(clip: Clip) -> None:
    with pytest.raises(InputError, match=r"all 2 classes have the same tokens.*classes names"):
        said(clip, ("star", "Star"), ("a {}.",))
    with pytest.raises(InputError) as caught:
        said(clip, ("red", "blue"), (f"{LONG} with a {{}} thing.",))
    assert "longer than" in str(caught.value) and len(str(caught.value)) < 500


def test_the_run_keeps_what_was_said(tmp_path: Path) -> None:
    """The engine stores facts and caveats, for runs that load nothing."""
    from bench.api.recipe_parts import weights_key
    from bench.core.progress import SilentProgress
    from bench.core.store import Store
    from bench.models.facts import read_model_note
    from bench.runs.engine import Engine

    backbone, store = identify_backbone("tiny", "embedded", tmp_path), Store(tmp_path / "store")
    assert read_model_note(store, backbone) is None
    progress = SilentProgress()
    engine = Engine(backbone, store, "cpu", "fp32", 8, 0, progress, lambda split: split.load())
    note = read_model_note(store, backbone)
    assert note is not None and note["caveats"] == []
    assert note["facts"] == {
        "activation": "gelu", "image_size": 32, "mean": [0.5] * 3, "std": [0.25] * 3,
        "interpolation": "bicubic", "resize": "shortest",
    }  # fmt: skip
    recipe = TextHead(backbone, ("star", "Star", "cup"), ("a {}.",))
    engine.build_head(recipe)
    (caveat,) = store.caveats(weights_key(recipe))
    assert "2 of 3 classes" in caveat


@pytest.mark.parametrize("part", ["token_embedding.weight", "text_projection"])
def test_a_text_tower_that_gives_one_embedding_is_refused(part: str, tmp_path: Path) -> None:
    backbone = identify_backbone("tiny", "embedded", tmp_path)
    clip = load_clip(backbone)
    recipe = TextHead(backbone, ("star", "cup", "key"), ("a photo of a {}.",))
    text_head(clip, recipe, torch.device("cpu"))
    dict(clip.model.named_parameters())[part].data.zero_()
    with pytest.raises(InputError, match="gives all 3 classes the same embedding: ") as caught:
        text_head(clip, recipe, torch.device("cpu"))
    assert len(str(caught.value)) < 500
    text_head(clip, TextHead(backbone, ("star",), ("a {}.",)), torch.device("cpu"))


def test_rows_that_differ_a_little_are_distinct() -> None:
    row = torch.full((64,), 12.5)
    for change, is_same in ((1e-6, True), (1e-2, False)):
        other = row.clone()
        other[0] += change
        with pytest.raises(InputError) if is_same else nullcontext():
            check_distinct(torch.stack([row, other]))
