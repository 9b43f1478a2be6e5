"""Keys recorded before the code was moved into packages, so that older caches stay valid.

A name of a class, a module or a function may change; a key may not, unless what is computed does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from bench.api.dataset import LabelMap
from bench.api.metrics import METRICS
from bench.api.recipe_parts import features_key, weights_key
from bench.api.recipes import (
    Backbone,
    Classifier,
    External,
    Fisher,
    Imported,
    Merged,
    Pretrained,
    TextHead,
    Tuned,
)
from bench.api.registry import find_method, methods
from bench.api.splits import single_label
from bench.api.trainer import AtEpoch, Average, GradientTrainer
from bench.core import hashing
from bench.core.hashing import key_of
from bench.core.store import Store
from bench.data.classes import Classes
from bench.data.readers.arrays import Arrays, array_split
from bench.data.readers.folders import folder_split
from bench.leaderboard.samples import SETS, store_samples
from bench.runs.execution.execute import choice_lookup
from bench.runs.items import CellItem, FeaturesItem, FitItem, ScaleItem, WeightsItem
from bench.runs.plan import make_plan
from bench.runs.results.figure_data import FIGURES
from bench.runs.study.config import RunConfig
from bench.runs.study.endpoints import GivenClassifier
from bench.runs.study.resolve import resolve_studies
from bench.runs.study.rows import Checkpoint

BACKBONE = Backbone("ViT-B-32", "/somewhere/weights.pt", "0" * 64)
CLASSIFIER = Classifier(Pretrained(BACKBONE), TextHead(BACKBONE, ("cat", "dog"), ("a {c}",)))
IMPORTED = Imported(BACKBONE, "1" * 64, 2, True)
TUNED = Tuned(CLASSIFIER, GradientTrainer(), "2" * 32, 0)
RECIPES: Mapping[str, Any] = {
    "text head": CLASSIFIER.head,
    "imported": IMPORTED,
    "tuned": TUNED,
    "at epoch": Tuned(CLASSIFIER, GradientTrainer(), "2" * 32, 0, keep=AtEpoch(1)),
    "average": Tuned(CLASSIFIER, GradientTrainer(), "2" * 32, 0, keep=Average(0.5)),
    "fisher": Fisher(TUNED, "2" * 32, 8),
    "external": External("theirs"),
    "merged": Merged((TUNED, IMPORTED), (0.25, 0.75)),
    "label map": LabelMap(((0, 1), (2,))),
    "given": GivenClassifier(IMPORTED, "ImageNet"),
    "checkpoint": Checkpoint(find_method("e2e-ft")(), 1),
}


BASES = ("carot", "e2e-ft", "flyp", "linear", "lp-ft")
ENSEMBLES = ("ose", "ose-calibrated", "ose-logits", "vrf", "wise-ft")
ROWS = (
    *(*BASES, "carot-slides", "ema", "l2-sp", "linear-lbfgs", "zero-shot", "fisher:e2e-ft"),
    *(f"{ensemble}:{base}" for ensemble in ENSEMBLES for base in BASES),
)
MEASURES = ("top1", "ece", "nll", "brier")
"""The rows and metrics that were recorded: those that come later have keys of their own."""


def digest(keys: Any) -> str:
    """Return 32 hex digits that identify a list of keys in its order."""
    return hashlib.sha256("".join(keys).encode()).hexdigest()[:32]


def of_values() -> dict[str, str]:
    """Return a key for every kind of value that enters keys."""
    found = {name: key_of(recipe) for name, recipe in RECIPES.items()}
    found |= {f"method {name}": key_of(cls()) for name, cls in methods().items()}
    found |= {f"metric {name}": key_of(metric) for name, metric in METRICS.items()}
    found |= {f"figure {figure.name}": key_of(figure) for figure in FIGURES}
    stored = {"imported": IMPORTED, "text head": CLASSIFIER.head, "tuned": TUNED}
    found |= {f"weights of {name}": weights_key(value) for name, value in stored.items()}
    return found | {"features": features_key(CLASSIFIER.encoder, "3" * 32, "fp32")}


def of_plan(cache: Path) -> dict[str, str]:
    """Return, for each kind of item, all keys in the plan of the recorded rows on micro."""
    config = RunConfig.model_validate(
        {"suite": "micro", "methods": ROWS, "shifts": "all", "controls": True, "cache_dir": cache}
    )
    (study,) = resolve_studies(config)
    made = make_plan(study, choice_lookup(Store(cache)))
    kinds = (WeightsItem, FeaturesItem, FitItem, ScaleItem, CellItem)
    known = {*MEASURES, *(figure.name for figure in FIGURES)}
    return {
        kind.__name__: digest(
            sorted(
                item.key
                for item in made.of(kind)
                if not isinstance(item, CellItem) or item.metric.name in known
            )
        )
        for kind in kinds
    }


def of_data(place: Path) -> dict[str, str]:
    """Return fingerprints of splits in folders and arrays, and the key of a stored set."""
    for name in ("cat", "dog"):
        (place / "images" / name).mkdir(parents=True)
        (place / "images" / name / "1.png").write_bytes(name.encode())
    classes = Classes(("cat", "dog"), ("cat", "dog"))
    files = folder_split("test", place / "images", classes, place / "cache")
    (place / "pixels.npy").write_bytes(b"pixels")
    arrays = Arrays(np.array, np.array([0, 1]), ("cat", "dog"), (place / "pixels.npy",), "NHWC")
    array = array_split("test", arrays, place / "cache")
    store = Store(place / "store")
    store_samples(store, "4" * 32, array.fingerprint, np.zeros((1, 2)), single_label(["a"], [0]))
    (kept,) = (path.stem for path in (store.root / SETS).rglob("*.safetensors"))
    return {"folders": files.fingerprint, "arrays": array.fingerprint, "set": kept}


RECORDED: Mapping[str, Mapping[str, str]] = {
    "values": {
        "text head": "0c92c2c7dfcae71e68d52ebc866dffa2",
        "imported": "94611049d0fa379ed860bb3422622058",
        "tuned": "afe399cba1154eb8b2fb232230d7cd24",
        "at epoch": "ee04c4a54a86f01b4e1a9d6e84ff3ba6",
        "average": "778f26e2ac7eb3f4a45a06a5da514650",
        "fisher": "5bfe6c8e58fd4f0349866687e493d31e",
        "external": "ae1814fdd948597bf042d5bc7fa3a10e",
        "merged": "7938fccc90c3fa9b7c5ab17583944cf9",
        "label map": "a598516186031aadc358a16e242c2011",
        "given": "4ae92405d40d9c3b0d8f365a2819b0b8",
        "checkpoint": "8ecae147fdd96c638e3eb93c76ea6708",
        "method carot": "98e390cdcf51b3ea2cc16e1e2e544035",
        "method carot-slides": "24f435e64f28db9c0c966b5be411e684",
        "method e2e-ft": "b9e0b4a9975c2c248db97526530dbee3",
        "method ema": "e13c32a4acab53ecd36fe463a133acf7",
        "method fisher": "b71732ea1accfab81a19ddf64724280a",
        "method flyp": "6439ef111dba81c8136a05db41d6f9c1",
        "method greedy-soup": "4f50935f9300975b64c5bc2e78f0ee3d",
        "method l2-sp": "e4fa6b6be645d2dbfc6acbd986c1fa88",
        "method linear": "a85734ad72c006e732e71755a3c8a6e5",
        "method linear-lbfgs": "d829318d4b7b81dcc34250f6a61fbde9",
        "method lp-ft": "057cbc5d6375b968bb3608d49da87953",
        "method lp-ft-raw": "3b5f592dc9124428ec0ceb8c58ec92d3",
        "method lp-ft-sgd": "71d8f808499d68a23623e11ae88a4c56",
        "method ose": "a638c73a68458c694272e1cf839fab77",
        "method ose-calibrated": "e1a7df57afdeed8c836a43beed359439",
        "method ose-logits": "d5a257f5748acb309a45ea45cd425019",
        "method soup": "6cdf339587a8b748a6dd23b766bdf577",
        "method vrf": "d6ad979e46bafdbcf2b97e8ffd15d06f",
        "method vrf-all-correct": "185a4557d09036eccaa164b56a03a600",
        "method vrf-constant": "ec1a4d3bc6b2487f5d965c5b2acd836b",
        "method vrf-shuffled": "285b9296f7277c7bd8c52c4681c12a1c",
        "method wise-ft": "a1496ab34a13a95df95faa98e81527a1",
        "method zero-shot": "49de3861ba6a27201f52d4fedd4ee4c9",
        "metric top1": "c913419cbe46805251d742fe824cec1b",
        "metric ece": "5bc59d730d4c807988644996a9e1c82d",
        "metric nll": "f09eb860625ac27d10e13f8ae3134a01",
        "metric brier": "52ac258dc2789a0c37b8aea32dc81bec",
        "figure accuracy-by-distance": "ad44157f323c0da79eda2f628008aae8",
        "figure weight": "2d609a6de94e62367380f230e5d60f5c",
        "weights of imported": "1125a6f0b75ae11c1686d08879bb7523",
        "weights of text head": "9dcc837d64ca24b2f8c1936e4ab18ad7",
        "weights of tuned": "80e80e68fb6a8dd375159eba7e81bf74",
        "features": "1d29dc56370a77adac35563b715c3e1c",
    },
    "plan": {
        "WeightsItem": "a645bfabac52c4601f1ba9f55ddd097a",
        "FeaturesItem": "2f4dfef28a601e506fd59cd117eb66e8",
        "FitItem": "4a45e735708d34d214b41974216314c0",
        "ScaleItem": "d01fc3f2beddc0d08f2d1949ed84a044",
        "CellItem": "d74338a0647a4768310eddcc52dcc218",
    },
    "data": {
        "folders": "950be84f230b3f92a64270d2da366d61",
        "arrays": "e94ccaddcb652e17a8be9c09096cec70",
        "set": "838b06046605788091ea5143904acc4f",
    },
}


@pytest.mark.parametrize(("of", "name"), [(of_plan, "plan"), (of_data, "data")])
def test_what_earlier_caches_hold_is_found(of: Any, name: str, tmp_path: Path) -> None:
    assert of(tmp_path) == RECORDED[name]


def test_values_have_the_keys_they_had() -> None:
    assert RECORDED["values"].items() <= of_values().items()


@dataclass(frozen=True)
class Unnamed:
    """A plugin's value without a `kind`: it is named by its module and class."""


@dataclass(frozen=True)
class Named(Unnamed):
    """A plugin's value with a `kind`, which may be renamed."""

    kind: ClassVar[str] = "old name"


def test_a_kind_stays_when_its_class_is_renamed() -> None:
    renamed = type("Renamed", (Named,), {"kind": "old name"})
    renamed = dataclass(frozen=True)(renamed)
    assert key_of(renamed()) == key_of(Named()) != key_of(Unnamed())


def test_a_kind_is_not_inherited() -> None:
    heir = dataclass(frozen=True)(type("Heir", (Backbone,), {"__module__": "plugin"}))
    assert key_of(heir("m", "p", "d")) != key_of(Backbone("m", "p", "d"))


def test_every_class_of_ours_has_a_kind_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[type] = set()
    real = hashing.kind_of
    monkeypatch.setattr(hashing, "kind_of", lambda cls: seen.add(cls) or real(cls))
    of_values(), of_plan(tmp_path)
    ours = {cls for cls in seen if cls.__module__.startswith("bench.")}
    assert len(ours) > 40
    assert {cls.__name__ for cls in ours if not isinstance(cls.__dict__.get("kind"), str)} == set()
    assert len({real(cls) for cls in ours}) == len(ours)
