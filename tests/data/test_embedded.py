"""The embedded suite: deterministic images, a tokenizer for any text, the documented model."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from importlib.resources import files

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from bench.data.mini import words
from bench.data.mini.model import ARCHITECTURE, CARD, PREPROCESS, WEIGHTS, load_tiny, tiny_tokenizer
from bench.data.mini.render import (
    ADVERSARIAL,
    CLASSES,
    DEV_SEEDS,
    OBJECTNET,
    RENDITION,
    SEEDS,
    SIZE,
    SPLITS,
    TEMPLATES,
    VERSION,
    render,
)
from bench.data.mini.shapes import DESIGNS

PACKAGE = files("bench.data.mini")
OWN_CLASSES = {
    "rendition": len(RENDITION),
    "adversarial": len(ADVERSARIAL),
    "objectnet": len(OBJECTNET),
}


def small(split: str, size: int = 40) -> tuple[np.ndarray, np.ndarray]:
    return render(split, size=size, seed=DEV_SEEDS[split])


@pytest.mark.parametrize("split", SPLITS)
def test_render_gives_balanced_labels_and_repeats(split: str) -> None:
    images, labels = small(split)
    again, same = small(split)
    assert images.shape == (40, SIZE, SIZE, 3)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    counts = np.bincount(labels, minlength=OWN_CLASSES.get(split, len(CLASSES)))
    assert len(counts) == OWN_CLASSES.get(split, len(CLASSES))
    assert counts.max() - counts.min() <= 1
    assert np.array_equal(images, again)
    assert np.array_equal(labels, same)


def test_another_seed_gives_other_images() -> None:
    assert not np.array_equal(render("train", size=20, seed=1)[0], small("train", 20)[0])


def test_final_and_development_seeds_are_all_different() -> None:
    seeds = [*SEEDS.values(), *DEV_SEEDS.values()]
    assert len(set(seeds)) == len(seeds) == 2 * len(SPLITS)
    assert list(SEEDS) == list(DEV_SEEDS) == list(SPLITS)


@pytest.mark.parametrize("arguments", [{"split": "imagenet"}, {"split": "val", "size": 0}])
def test_render_refuses_nonsense(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        render(**arguments)  # type: ignore[arg-type]


PROGRAM = """
import hashlib, sys
from bench.data.mini.render import DEV_SEEDS, render
if {other!r}: render({other!r}, size=20)
digest = hashlib.sha256()
for split in ("adversarial", "train", "objectnet"):
    for array in render(split, size=36, seed=DEV_SEEDS[split]):
        digest.update(array.tobytes())
print(digest.hexdigest(), "torch" in sys.modules)
"""


def test_pixels_depend_neither_on_threads_nor_on_history_nor_on_torch() -> None:
    found = set()
    for threads, other in (("1", ""), ("4", "rendition")):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, threads)}
        command = [sys.executable, "-c", PROGRAM.format(other=other)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.add(run.stdout.strip())
    assert len(found) == 1
    assert found.pop().endswith(" False")


# mean, standard deviation and mean horizontal step of the first 40 development images
GOLDEN: dict[int, dict[str, tuple[float, float, float]]] = {
    1: {
        "train": (107.516, 67.522, 21.016),
        "val": (109.702, 70.860, 19.183),
        "test": (105.824, 72.376, 19.979),
        "v2": (110.647, 73.219, 20.206),
        "sketch": (205.419, 49.445, 19.955),
        "rendition": (122.903, 79.811, 18.562),
        "adversarial": (127.453, 77.708, 22.187),
        "objectnet": (112.389, 72.474, 18.074),
    }
}


@pytest.mark.parametrize("split", SPLITS)
def test_pixels_change_only_with_the_version(split: str) -> None:
    pixels = small(split)[0].astype(np.float64)
    found = (pixels.mean(), pixels.std(), np.abs(np.diff(pixels, axis=2)).mean())
    assert found == pytest.approx(GOLDEN[VERSION][split], abs=0.02)  # 1 = one of 255 levels


def test_label_maps_name_task_classes() -> None:
    everything = set(range(len(CLASSES)))
    assert len(CLASSES) == len(set(CLASSES)) == 20
    for subset in (RENDITION, ADVERSARIAL):
        assert len(subset) == 12
        assert list(subset) == sorted(set(subset) & everything)
    names = [name for name, _ in OBJECTNET]
    members = [c for _, group in OBJECTNET for c in group]
    assert len(set(names)) == len(names)
    assert len(set(members)) == len(members)
    assert set(members) < everything
    assert any(len(group) > 1 for _, group in OBJECTNET)


def test_every_class_has_a_drawing_and_every_template_a_gap() -> None:
    assert set(words.OBJECTS) == set(DESIGNS)
    assert all(template.count("{}") == 1 for template in TEMPLATES)


@given(st.lists(st.text(max_size=80) | st.sampled_from(["", "\ud800", "star " * 50]), max_size=4))
def test_tokenizer_accepts_any_text(texts: list[str]) -> None:
    tokens = tiny_tokenizer()(texts)
    assert tokens.dtype == torch.int64
    assert tokens.shape == (len(texts), words.CONTEXT)
    assert ((tokens >= 0) & (tokens < words.VOCABULARY)).all()
    assert (tokens == words.END).sum(1).eq(1).all()
    for row in tokens:  # only padding follows the end token
        assert (row[int(row.argmax()) + 1 :] == words.PAD).all()


@given(st.text(max_size=40))
def test_tokenizer_sees_words_not_case_or_spacing(text: str) -> None:
    again = "  " + "  ".join(text.lower().split()) + " "
    assert words.encode(text.lower()) == words.encode(again)


def test_known_words_have_ids_of_their_own_and_strangers_stable_ones() -> None:
    ids = [words.word_id(word) for word in words.KNOWN]
    assert len(set(ids)) == len(words.KNOWN) == max(ids)
    assert words.word_id("zebra") == 149
    assert max(ids) < words.word_id("été") < words.END
    assert words.encode("A photo, of a STAR!") == words.encode("a photo of a star")


def test_weights_are_small_and_are_those_of_the_card() -> None:
    data = PACKAGE.joinpath(WEIGHTS).read_bytes()
    card = json.loads(PACKAGE.joinpath(CARD).read_text())
    assert len(data) <= 2_000_000
    assert hashlib.sha256(data).hexdigest() == card["sha256"]
    assert card["render_version"] == VERSION
    assert min(card["forward_images_per_second"], card["train_images_per_second"]) > 0
    assert card["architecture"] == json.loads(json.dumps(ARCHITECTURE))
    assert card["preprocess"] == json.loads(json.dumps(PREPROCESS))


def test_load_gives_an_independent_open_clip_model() -> None:
    model, other = load_tiny(), load_tiny()
    assert type(model) is open_clip.CLIP
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    with torch.no_grad():
        model.visual.head.proj.weight.zero_()
    assert other.visual.head.proj.weight.abs().sum() > 0


@torch.no_grad()
def test_zero_shot_is_clearly_above_chance() -> None:
    model, encode = load_tiny(), tiny_tokenizer()
    heads = [
        F.normalize(model.encode_text(encode([t.format(name) for t in TEMPLATES]))).mean(0)
        for name in CLASSES
    ]
    mean, std = (torch.tensor(PREPROCESS[key]) for key in ("mean", "std"))
    images, labels = small("test", 300)
    pixels = ((torch.from_numpy(images) / 255 - mean) / std).permute(0, 3, 1, 2)
    scores = model.encode_image(pixels, normalize=True) @ F.normalize(torch.stack(heads)).T
    assert (scores.argmax(1).numpy() == labels).mean() > 0.4  # chance is 0.05
