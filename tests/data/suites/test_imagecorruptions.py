"""bench's corruptions compared with the package imagecorruptions, if it is installed.

imagecorruptions 1.1.2 (Michaelis et al., 2019) holds the authors' code for ImageNet-C. It needs
NumPy 1 and a SciPy and scikit-image of that time.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.data.suites.distortions import DISTORTIONS, LARGE, to_image, to_pixels

KINDS = sorted(set(DISTORTIONS) - {"elastic_transform"})
"""The package's elastic_transform differs from ImageNet-C's."""
SAME = {
    "brightness": 1.0,
    "contrast": 1.0,
    "defocus_blur": 1.5,
    "jpeg_compression": 1.0,
    "pixelate": 0.5,
    "zoom_blur": 4.0,
}
"""Largest mean difference, in grey levels, without randomness; the package rounds down."""
ALIKE = {"frost": 0.35, "fog": 0.25, "glass_blur": 0.3}
"""Largest relative difference of the mean distance from the clean image; 0.12 if not listed."""
IMAGES = 3


@pytest.fixture(scope="module")
def package() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pytest.importorskip(
            "imagecorruptions", reason="no imagecorruptions", exc_type=ImportError
        )
    from imagecorruptions import corruptions

    plain = corruptions.gaussian

    def gaussian(*given: Any, multichannel: bool = False, **more: Any) -> Any:
        """Accept the option that scikit-image has renamed."""
        return plain(*given, channel_axis=-1 if multichannel else None, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corruptions, "gaussian", gaussian)
        yield found


def picture(seed: int) -> NDArray[np.uint8]:
    """Return a coloured image with the spectrum of photographs and an edge."""
    rng = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(LARGE), np.fft.rfftfreq(LARGE)
    frequency = np.maximum(np.hypot(rows[:, None], columns[None, :]), 1 / LARGE)[..., None]
    white = np.fft.rfft2(rng.standard_normal((LARGE, LARGE, 3)), axes=(0, 1))
    noise = np.fft.irfft2(white / frequency, s=(LARGE, LARGE), axes=(0, 1))
    noise /= noise.std()
    noise[60:150, 80:160] += 1
    return (127 + 45 * noise).clip(0, 255).astype(np.uint8)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_pixels_or_damage_are_those_of_the_package(package: Any, kind: str, severity: int) -> None:
    np.random.seed(0)  # the package draws from the global generator
    apart, ours, theirs = [], [], []
    for seed in range(IMAGES):
        clean = picture(seed)
        for _ in range(1 if kind in SAME else 4):
            rng = np.random.default_rng([seed, len(ours)])
            own = np.asarray(to_image(DISTORTIONS[kind](to_pixels(clean), severity, rng)), float)
            other = package.corrupt(clean, corruption_name=kind, severity=severity).astype(float)
            apart.append(abs(own - other).mean())
            ours.append(abs(own - clean).mean())
            theirs.append(abs(other - clean).mean())
    said = f"apart {np.mean(apart):.2f}, damage {np.mean(ours):.2f} and {np.mean(theirs):.2f}"
    if kind in SAME:
        assert np.mean(apart) < SAME[kind], said
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=ALIKE.get(kind, 0.12)), said
