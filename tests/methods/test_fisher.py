"""Fisher merges: WiSE-FT's endpoints, each with its own Fisher information."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_ensembles import MODELS

import bench
from bench.api.recipes import Fisher, Merged
from bench.api.registry import find_method
from bench.api.splits import Split
from bench.core.hashing import key_of
from bench.models.training.fisher import fisher_information
from bench.runs.engine import Engine


@pytest.mark.parametrize("alpha", [0.3, 0.5])
def test_each_endpoint_has_its_fisher_information_on_the_training_split(alpha):
    method = find_method("fisher")(samples=7, floor=1e-3)
    (merged,) = method.needs(MODELS, {"alpha": alpha})
    assert isinstance(merged, Merged)
    assert merged.parts == (MODELS.zero_shot, MODELS.base)
    assert merged.weights == (1 - alpha, alpha) and merged.floor == 1e-3
    assert merged.fishers == tuple(Fisher(part, "fake-train", 7) for part in merged.parts)


def test_it_may_use_the_selection_split() -> None:
    (merged,) = find_method("fisher")(split="selection").needs(MODELS, {"alpha": 0.5})
    assert isinstance(merged, Merged)
    assert [fisher.train for fisher in merged.fishers] == [MODELS.selection] * 2
    assert key_of(find_method("fisher")()) == "b71732ea1accfab81a19ddf64724280a"  # as before it


def test_the_official_fisher_information_is_that_of_the_test_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []

    def find(engine: Engine, recipe: Fisher, split: Split) -> None:
        assert recipe.train == split.fingerprint
        seen.append((split.name, recipe.samples))
        real(engine, recipe, split)

    def of_two(model: Any, images: Any, transform: Any, samples: int, progress: Any) -> Any:
        return fisher_information(model, images, transform, 2, progress)

    real = Engine.find_fisher
    monkeypatch.setattr(bench.runs.engine, "fisher_information", of_two)
    monkeypatch.setattr(Engine, "find_fisher", find)
    options: dict[str, Any] = {
        "suite": "micro", "methods": ["fisher"], "shifts": "v2", "cache_dir": tmp_path / "cache",
        "out": tmp_path / "out", "set": {"e2e-ft": {"epochs": 1}}, "progress": False,
    }  # fmt: skip
    for protocol, expected in (("clean", ("train", 1000)), ("official", ("test", 50_000))):
        seen.clear()
        bench.run(**options, protocol=protocol, overwrite=True)
        assert {(name.partition("/")[2], samples) for name, samples in seen} == {expected}


def test_its_curve_ends_in_the_endpoints_themselves():
    method = find_method("fisher")()
    assert method.needs(MODELS, {"alpha": 0.0}) == (MODELS.zero_shot,)
    assert method.needs(MODELS, {"alpha": 1.0}) == (MODELS.base,)
