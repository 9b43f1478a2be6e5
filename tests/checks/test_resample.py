"""Images that are forwarded again: what only forward passes tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import Finished, assert_refused, bench
from numpy.typing import NDArray

from bench.checks.resample import TOLERANCE, _differences, parse_share, resample
from bench.core.errors import InputError
from bench.core.progress import SilentProgress
from bench.core.store import Store
from bench.core.store.container import metadata, packed_arrays, sealed, unpacked_arrays
from bench.runs.items import FeaturesItem
from bench.runs.session import session_of

Features = NDArray[np.float32]


def test_the_features_of_a_run_are_those_of_its_images(small: Finished) -> None:
    result = bench("check", small.out, "--cache-dir", small.cache, "--resample", "20%")
    assert result.code == 0, result.err
    assert "features of images forwarded again" in result.out


Change = Callable[[Features], Features]


def one_class_preferred(features: Features) -> Features:
    """Each image moved by a ten-thousandth of its length in one direction."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features + 1e-4 * lengths * np.eye(1, features.shape[1], dtype=np.float32)


@pytest.mark.parametrize(
    "change",
    [lambda f: f[::-1], lambda f: f * np.float32(1.001), one_class_preferred],
    ids=["exchanged", "longer", "moved"],
)
def test_other_features_are_found(change: Change, own: Finished) -> None:
    """Stored features that were changed, with a name and a checksum that fit.

    Whoever also writes records of them passes all checks but this one.
    """
    for path in (own.cache / "features").rglob("*.safetensors"):
        features = change(unpacked_arrays(path.read_bytes())["features"])
        packed = packed_arrays({"features": features}, metadata(path))
        path.write_bytes(b"".join(sealed(f"features/{path.parent.name}/{path.stem}", packed)))
    forget(own.cache)
    again = bench(*own.command, "--overwrite", "--cache-dir", own.cache, "--out", own.out)
    assert again.code == 0
    assert bench("check", own.out, "--cache-dir", own.cache).code == 0
    result = bench("check", own.out, "--cache-dir", own.cache, "--resample", "1%")
    assert result.code == 3 and "features: " in result.err + result.out


@pytest.mark.parametrize(
    ("factor", "is_found"), [(1, False), (1.001, True), (0.999, True), (1.0001, False)]
)
def test_a_common_factor_is_found_below_the_rounding_of_bf16(
    factor: float, is_found: bool, own: Finished
) -> None:
    session = session_of(own.out, {"cache_dir": own.cache})
    item = session.plans[0].of(FeaturesItem)[0]
    rng = np.random.default_rng(5)
    features = rng.standard_normal((8, 512)).astype(np.float32)
    stored = (features * factor * (1 + 1e-2 * rng.standard_normal((8, 512)))).astype(np.float32)
    found = list(_differences(item, np.arange(8), features, stored, TOLERANCE["bf16"]))
    assert ["times as long" in str(one) for one in found] == [True] * is_found


def forget(cache: Path) -> None:
    for kind in ("cells", "fits", "distances", "samples"):
        for path in (cache / kind).rglob("*.*"):
            path.unlink()


@pytest.mark.parametrize("text", ["0", "0%", "101%", "2", "-1%", "nan", "1e-3", "", "%", "9" * 99])
def test_a_share_is_a_share(text: str, small: Finished) -> None:
    with pytest.raises(InputError, match="--resample"):
        parse_share(text)


def test_with_other_numbers_it_has_no_meaning(small: Finished) -> None:
    result = bench("check", small.out, "--against", "golden:mini", "--resample", "1%")
    assert_refused(result, "--resample", "--against")


def test_nothing_to_compare_is_said(own: Finished) -> None:
    """Of features that are not stored any more, and of runs of bench score, which have none."""
    session = session_of(own.out, {"cache_dir": own.cache})
    with pytest.raises(InputError, match="nothing to compare"):
        resample(session, session.plans, Store(own.cache / "empty"), 0.5, SilentProgress())
