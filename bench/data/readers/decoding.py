"""Image files decoded, and what is said of one that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from PIL import Image

from bench.core.errors import DataError


def decode_image(file: Path | IO[bytes], where: object) -> Image.Image:
    """The image of a file, of an animation the first; EXIF orientation is not applied.

    Raises DataError, naming `where`, if it cannot be read.
    """
    try:
        with Image.open(file) as image:
            return image.copy()
    except Exception as error:  # a decoder may raise anything on a broken file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"cannot read image {where}: {reason}; replace or remove it ('bench data verify' lists "
            "all such images of a data set)"
        ) from error
