"""WILDS-FMoW and WILDS-iWildCam on synthetic copies, compared with the package.

The comparisons with the package ``wilds`` run where it is installed (``pip install wilds``).
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from wilds_copies import FMOW, IWILDCAM, THEIRS, names, random_log_probs, splits

from bench.api.metrics import OWN
from bench.testing.synthetic.wilds import CATEGORIES


def _mean(src: Any, index: Any, dim_size: int, reduce: str) -> Any:
    """Replace ``torch_scatter.scatter``, which the package needs and which is not installed."""
    import torch

    assert reduce == "mean"
    sums = torch.zeros(dim_size).index_add(0, index, src.float())
    return sums / torch.bincount(index, minlength=dim_size).clamp(min=1)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the package's data sets, patched for the copies and for current pandas."""
    # Without this the package asks the network for its newest version when it is imported.
    monkeypatch.setitem(sys.modules, "outdated", None)
    why = "wilds is not installed: with it (pip install wilds) the splits are compared"
    fmow = pytest.importorskip("wilds.datasets.fmow_dataset", reason=why)
    iwildcam = pytest.importorskip("wilds.datasets.iwildcam_dataset", reason=why)
    import pandas

    # pandas 2 infers the format of all times from the first (p-lambda/wilds issue 146).
    times = SimpleNamespace(
        read_csv=pandas.read_csv,
        to_datetime=lambda values: pandas.to_datetime(values, format="ISO8601"),
    )
    monkeypatch.setattr(fmow, "pd", times)
    monkeypatch.setitem(sys.modules, "torch_scatter", SimpleNamespace(scatter=_mean))
    return SimpleNamespace(
        categories=list(fmow.categories),
        module=fmow,
        fmow=fmow.FMoWDataset,
        iwildcam=iwildcam.IWildCamDataset,
    )


@pytest.mark.filterwarnings("ignore:Minimum metadata value for CombinatorialGrouper")
def test_fmow_is_as_the_package_has_it(
    package: Any, wilds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    assert package.categories == sorted(package.categories) and len(package.categories) == 62
    monkeypatch.setattr(package.module, "categories", list(CATEGORIES))
    theirs = package.fmow(root_dir=str(wilds))
    suite = FMOW().suite(wilds, tmp_path)
    region = theirs.metadata_fields.index("region")
    for name, split in splits(suite).items():
        subset = theirs.get_subset(THEIRS[name])
        manifest = split.load().manifest
        rows = {i: row for row, i in enumerate(manifest.ids)}
        order = [rows[f"images/rgb_img_{theirs.full_idxs[i]}.png"] for i in subset.indices]
        assert sorted(order) == list(range(len(manifest)))
        assert subset.y_array.tolist() == manifest.first[order].tolist()
        assert [theirs.metadata_map["region"][m[region]] for m in subset.metadata_array] == [
            names(manifest, "region")[row] for row in order
        ]
        log_probs = random_log_probs(len(manifest), 62, 0)
        hit = np.random.default_rng(1).random(len(manifest)) < 0.6
        log_probs[hit, manifest.first[hit]] = 0
        predicted = torch.from_numpy(log_probs.argmax(axis=1))[order]
        said, _ = theirs.eval(predicted, subset.y_array, subset.metadata_array)
        assert OWN["worst-region"](log_probs, manifest) == pytest.approx(said["acc_worst_region"])


def test_iwildcam_is_as_the_package_has_it(package: Any, wilds: Path, tmp_path: Path) -> None:
    import torch

    theirs = package.iwildcam(root_dir=str(wilds))
    suite = IWILDCAM().suite(wilds, tmp_path)
    for name, split in splits(suite).items():
        subset = theirs.get_subset(THEIRS[name])
        manifest = split.load().manifest
        rows = {i: row for row, i in enumerate(manifest.ids)}
        order = [rows[theirs._input_array[i]] for i in subset.indices]
        assert sorted(order) == list(range(len(manifest)))
        assert subset.y_array.tolist() == manifest.first[order].tolist()
        places = subset.metadata_array[:, theirs.metadata_fields.index("location")]
        assert places.tolist() == manifest.group("location")[order].tolist()
        log_probs = random_log_probs(len(manifest), 182, 2)
        hit = np.random.default_rng(3).random(len(manifest)) < 0.6
        log_probs[hit, manifest.first[hit]] = 0
        predicted = torch.from_numpy(log_probs.argmax(axis=1))[order]
        said, _ = theirs.eval(predicted, subset.y_array, subset.metadata_array)
        assert OWN["macro-f1"](log_probs, manifest) == pytest.approx(said["F1-macro_all"])
