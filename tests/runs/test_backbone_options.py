"""``--model`` and ``--pretrained``, with and without each other, and the list of models."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.api.reading import Reading
from bench.cli.show.catalogue import KINDS, listing
from bench.core.errors import InputError
from bench.runs.study.resolve import backbone_for

SUITE: Any = SimpleNamespace(name="pets", model="ViT-B-32", pretrained="openai")


@pytest.mark.parametrize(
    ("model", "pretrained", "name"),
    [
        (None, None, "ViT-B-32/openai"),
        (None, "laion2b_e16", "ViT-B-32/laion2b_e16"),
        ("ViT-B-32", None, "ViT-B-32/openai"),
        ("tiny", None, "tiny/embedded"),
        ("tiny", "embedded", "tiny/embedded"),
        ("RN50", "openai", "RN50/openai"),
    ],
)
def test_what_is_left_out_is_that_of_the_suite_or_of_tiny(
    model: str | None, pretrained: str | None, name: str, tmp_path: Path
) -> None:
    assert str(backbone_for(SUITE, model, pretrained, tmp_path, Reading())) == name


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("RN50", "openai, yfcc15m, cc12m"),
        ("ViT-B-16-SigLIP", "webli, or a checkpoint file"),
        ("ViT-S-32", "it has no released weights; give a checkpoint file"),
        ("ViT-B32", "ViT-B-32, ViT-S-32, ViT-M-32 and 1"),
        ("vit-b-32", "did you mean 'ViT-B-32'?"),
    ],
)
def test_a_model_alone_names_what_it_needs(model: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        backbone_for(SUITE, model, None, tmp_path)
    assert words in str(caught.value) and len(str(caught.value)) < 500


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; give an existing file"):
        backbone_for(SUITE, None, str(tmp_path), tmp_path)


def test_models_are_listed_alone() -> None:
    models = listing("models", None)["models"]
    assert models["tiny"] == "embedded" and models["ViT-S-32"] == "checkpoint files only"
    assert models["ViT-B-16-SigLIP"] == "webli"
    assert "models" in KINDS and "models" not in listing(None, None)
