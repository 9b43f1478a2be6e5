"""Images become RGB in one place: the same picture in every mode, and what is never opened."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg
from PIL import EpsImagePlugin, Image, features

from bench.core.errors import DataError
from bench.data.readers import decoding
from bench.data.readers.decoding import FORMATS, SUFFIXES, as_rgb, decode_image
from bench.data.suites.corruptions import corrupt
from bench.models.transforms import (
    EvalImages,
    TrainImages,
    byte_tensor,
    evaluation_transform,
)

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 60)).astype(np.uint8)
COLOURS = Image.fromarray(RNG.integers(0, 256, (40, 60, 3)).astype(np.uint8))
INDEXED = COLOURS.quantize(32)
BILEVEL = Image.fromarray(GREY > 127)
ALPHA = Image.fromarray(RNG.integers(0, 256, (40, 60)).astype(np.uint8))


def with_alpha(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.putalpha(ALPHA)
    return image


grey, wide = Image.fromarray(GREY), Image.fromarray(GREY.astype(np.uint16) * 257)
SAVED: dict[str, tuple[Image.Image, str, dict[str, object], Image.Image]] = {
    "palette": (INDEXED, "png", {}, INDEXED),
    "palette, one colour transparent": (INDEXED, "png", {"transparency": 3}, INDEXED),
    "palette, alpha": (INDEXED, "png", {"transparency": bytes(range(32))}, INDEXED),
    "palette in a GIF": (INDEXED, "gif", {}, INDEXED),
    "palette in a BMP": (INDEXED, "bmp", {}, INDEXED),
    "palette in a TIFF": (INDEXED, "tif", {}, INDEXED),
    "bilevel": (BILEVEL, "png", {}, BILEVEL),
    "bilevel in a PBM": (BILEVEL, "pbm", {}, BILEVEL),
    "bilevel in a TIFF": (BILEVEL, "tiff", {}, BILEVEL),
    "grey": (grey, "png", {}, grey),
    "grey, one transparent": (grey, "png", {"transparency": 7}, grey),
    "grey in a PGM": (grey, "pgm", {}, grey),
    "grey and alpha": (with_alpha(grey), "png", {}, grey),
    "grey of 16 bits": (wide, "png", {}, grey),
    "grey of 16 bits in a TIFF": (wide, "tif", {}, grey),
    "grey of 16 bits in a PGM": (wide, "pgm", {}, grey),
    "colours": (COLOURS, "png", {}, COLOURS),
    "colours, one transparent": (COLOURS, "png", {"transparency": (1, 2, 3)}, COLOURS),
    "colours and alpha": (with_alpha(COLOURS), "png", {}, COLOURS),
    "colours and alpha in a TIFF": (with_alpha(COLOURS), "tif", {}, COLOURS),
    "colours and alpha in a WebP": (
        with_alpha(COLOURS), "webp", {"lossless": True, "exact": True}, COLOURS,
    ),
    "CMYK": (COLOURS.convert("CMYK"), "tif", {}, COLOURS),
}  # fmt: skip
"""{mode: (image to save, suffix, options, the same picture in another mode)}"""


@pytest.mark.parametrize("mode", SAVED)
def test_a_picture_has_the_same_pixels_in_every_mode(tmp_path: Path, mode: str) -> None:
    image, suffix, options, same = SAVED[mode]
    path = tmp_path / f"a.{suffix}"
    image.save(path, **options)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = decode_image(path, path)
    assert found.mode == "RGB"
    assert found.tobytes() == same.convert("RGB").tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "I;16", "CMYK"])
def test_images_of_plugins_are_made_rgb_before_they_are_resized(mode: str) -> None:
    images = {"P": INDEXED, "1": BILEVEL, "I;16": wide}
    image = images[mode] if mode in images else COLOURS.convert(mode)
    same = as_rgb(image, "a")
    config = PreprocessCfg(size=24)
    whole = evaluation_transform(config)
    assert torch.equal(EvalImages([image], whole)[0], EvalImages([same], whole)[0])
    crops = [
        TrainImages([one], [0], 24, byte_tensor, seed=0, flip=True)[(1, 0, 0)][0]
        for one in (image, same)
    ]
    assert torch.equal(*crops)
    assert corrupt(image, "fog", 3, 0, "a").tobytes() == corrupt(same, "fog", 3, 0, "a").tobytes()


def test_rgb_images_are_not_copied() -> None:
    assert as_rgb(COLOURS, "a") is COLOURS


def _numbers(tmp_path: Path) -> list[Path]:
    numbers = GREY.astype(np.int32) * 1000
    saved = {
        "whole.tif": Image.fromarray(numbers),
        "decimal.tiff": Image.fromarray(GREY.astype(np.float32)),
    }
    for name, image in saved.items():
        image.save(tmp_path / name)
    wide.save(tmp_path / "inverted.tif", tiffinfo={262: 0})
    return [*(tmp_path / name for name in saved), tmp_path / "inverted.tif"]


def test_modes_without_a_known_range_are_refused_by_name(tmp_path: Path) -> None:
    for path in _numbers(tmp_path):
        with pytest.raises(DataError) as error:
            decode_image(path, path)
        assert str(path) in str(error.value) and len(str(error.value)) < 500


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("suffix", ["png", "jpg", "eps"])
def test_no_file_reaches_a_decoder_that_starts_a_program(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: started.append(1))
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(POSTSCRIPT)
    with pytest.raises(DataError, match="none of JPEG, PNG"):
        decode_image(path, path)
    assert started == []


def others() -> list[tuple[str, Callable[[io.BytesIO], None]]]:
    kinds = ("ICO", "TGA", "PCX", "PDF", "SGI", "DDS")
    return [(kind, lambda file, kind=kind: COLOURS.save(file, kind)) for kind in kinds]  # type: ignore[misc]


@pytest.mark.parametrize(("kind", "save"), others())
def test_a_format_that_is_not_listed_is_not_opened(
    tmp_path: Path, kind: str, save: Callable[[io.BytesIO], None]
) -> None:
    file = io.BytesIO()
    save(file)
    (tmp_path / "a.png").write_bytes(file.getvalue())
    with pytest.raises(DataError, match="none of JPEG"):
        decode_image(tmp_path / "a.png", "a.png")


@pytest.mark.parametrize(
    ("kind", "suffix"), [(kind, suffix) for kind, own in FORMATS.items() for suffix in own]
)
def test_every_suffix_is_one_that_pillow_reads(tmp_path: Path, kind: str, suffix: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    image = BILEVEL if suffix == ".pbm" else COLOURS
    image.save(tmp_path / f"a{suffix}", kind)
    assert decode_image(tmp_path / f"a{suffix}", "a").size == image.size
    assert suffix in SUFFIXES


def test_formats_that_this_pillow_lacks_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(Image.OPEN, "AVIF", raising=False)
    decoding._readable.cache_clear()
    assert "AVIF" not in decoding._readable() and "JPEG" in decoding._readable()
    decoding._readable.cache_clear()
