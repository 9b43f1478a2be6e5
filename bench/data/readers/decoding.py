"""Decoding of image files to RGB, with one error message for files that cannot be read.

Every image that bench uses is made RGB here, before anything else is done with it, as torchvision's
`ImageFolder` does (through which wise-ft, VRF and CaRot read class folders). Resampling then acts
on colours: a picture gives the same numbers in every lossless mode that can hold it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

from bench.core.errors import DataError, reason_of
from bench.core.foreign.files import open_regular

FORMATS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg"),
        "PNG": (".png",),
        "WEBP": (".webp",),
        "BMP": (".bmp",),
        "GIF": (".gif",),
        "TIFF": (".tif", ".tiff"),
        "PPM": (".pbm", ".pgm", ".pnm", ".ppm"),
        "JPEG2000": (".j2k", ".jp2", ".jpx"),
        "AVIF": (".avif",),
    }
)
"""Pillow's names of the formats that are read, and the suffixes of their files.

A file of another format is never opened, whatever its name: some decoders start other programs.
"""

SUFFIXES = tuple(sorted(suffix for suffixes in FORMATS.values() for suffix in suffixes))
"""Suffixes of image files, in upper or lower case."""

SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of greys from 0 to 65,535."""

SCALED = ("PNG", "PPM")
"""Formats whose mode I, of whole numbers of 32 bits, holds greys from 0 to 65,535."""


def decode_image(file: Path | IO[bytes], where: object) -> Image.Image:
    """Return the image in a file as RGB (see `as_rgb`); for an animation, its first frame.

    EXIF orientation is not applied. Raises DataError, naming `where`, if the file cannot be read or
    has none of the `FORMATS`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from bench.data.readers.decoding import decode_image
    >>> Image.new("L", (8, 6)).save("a.png")
    >>> image = decode_image(Path("a.png"), "a.png")
    >>> image.size, image.mode
    ((8, 6), 'RGB')
    """
    try:
        with (
            open_regular(file) if isinstance(file, Path) else nullcontext(file) as stream,
            Image.open(stream, formats=_readable()) as image,
        ):
            image.load()
            found = as_rgb(image, where)
            return image.copy() if found is image else found
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise _unreadable(where, f"it is damaged or none of {', '.join(_readable())}") from error
    except Exception as error:  # decoders raise many types of errors on broken files
        reason = getattr(error, "strerror", None) or reason_of(error)
        raise _unreadable(where, reason) from error


def as_rgb(image: Image.Image, where: object) -> Image.Image:
    """Return an image as RGB: the image itself if it is, otherwise a converted copy.

    Alpha is dropped, not blended with a background. Greys of 16 bits are divided by 257, so that
    65,535 becomes 255. Raises DataError, naming `where`, for a mode without a known range of
    values: 32-bit whole numbers and decimal numbers.

    Examples
    --------
    >>> from PIL import Image
    >>> from bench.data.readers.decoding import as_rgb
    >>> as_rgb(Image.new("I;16", (8, 6), 65535), "a.png").getpixel((0, 0))
    (255, 255, 255)
    >>> as_rgb(Image.new("F", (8, 6)), "a.tif")
    Traceback (most recent call last):
    ...
    bench.core.errors.DataError: image a.tif has decimal numbers as pixels (mode F), ...
    """
    if image.mode == "RGB":
        return image
    kind = getattr(image, "format", None)
    if image.mode in SIXTEEN_BITS or (image.mode == "I" and kind in SCALED):
        _check_bits(image, where)
        grey = np.asarray(image).astype(np.int64)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("F", "I"):
        numbers = "decimal numbers" if image.mode == "F" else "whole numbers of 32 bits"
        raise DataError(
            f"image {where} has {numbers} as pixels (mode {image.mode}), so that it is unknown "
            "which of them is white: expected 8 or 16 bits a channel; save it again as a PNG with "
            "values from 0 to 255"
        )
    # Pillow would warn of a palette with transparency, and turn a transparent colour into one.
    image = image.copy()
    image.info.pop("transparency", None)
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise _unreadable(where, f"mode {image.mode} cannot be made RGB") from error


def _check_bits(image: Image.Image, where: object) -> None:
    """Raise DataError for a TIFF whose greys have fewer bits than 16, or whose white is 0."""
    tags = getattr(image, "tag_v2", {})
    bits, white = tags.get(258, (16,)), tags.get(262, 1)
    if tuple(np.atleast_1d(bits)) != (16,) or white == 0:
        shown, low = ", ".join(map(str, np.atleast_1d(bits))), "0" if white == 0 else "high"
        raise DataError(
            f"image {where} has greys of {shown} bits, white being {low}: "
            "expected 8 or 16 bits, black being 0; save it again as a PNG"
        )


@cache
def _readable() -> tuple[str, ...]:
    """Return those `FORMATS` that the installed Pillow can read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _unreadable(where: object, reason: str) -> DataError:
    return DataError(f"cannot read image {where}: {reason}; replace or remove it")
