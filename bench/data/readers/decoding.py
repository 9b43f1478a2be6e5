"""Decoding of image files, with one error message for files that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from PIL import Image

from bench.core.errors import DataError


def decode_image(file: Path | IO[bytes], where: object) -> Image.Image:
    """Return the image in a file; for an animation, its first frame.

    EXIF orientation is not applied. Raises DataError, naming `where`, if the file cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from bench.data.readers.decoding import decode_image
    >>> Image.new("RGB", (8, 6)).save("a.png")
    >>> decode_image(Path("a.png"), "a.png").size
    (8, 6)
    """
    try:
        with Image.open(file) as image:
            return image.copy()
    except Exception as error:  # decoders raise many types of errors on broken files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"cannot read image {where}: {reason}; replace or remove it ('bench data verify' lists "
            "all unreadable images of a data set)"
        ) from error
