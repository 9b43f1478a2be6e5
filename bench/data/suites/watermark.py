"""ImageNet-W: a watermark over each image, as in Li et al., A Whac-A-Mole Dilemma, CVPR 2023.

What it looks like is taken from the authors' package ``imagenet_w`` 1.0.0, whose terms are CC BY-NC
4.0; the code is our own. White text of half opacity is drawn over an image that has been reduced
and cropped to a square, in a font that the package has. The size of the text is proportional to the
side of the square.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.Image import Resampling

from bench.api.splits import Images, Loaded, Split
from bench.core.foreign.files import read_bounded, reading
from bench.core.hashing import key_of
from bench.data.readers.decoding import as_rgb
from bench.data.readers.fingerprints import file_digest

VERSION = 1
"""Increase this number whenever the same images and font would give other pixels."""

FONT = "SourceHanSerifSC-ExtraLight.otf"
FONT_SHA256 = "9f5605324c82b264efc87a7cf0e8e2f26a02ec67f539843368f066cb2e08aed0"
"""The font of the authors' package, and its digest."""
MOST = 2**25
"""The most bytes of a font that are read; the authors' has 21 MB."""

SIDE, SIZE = 224, 36
"""Side of the square in pixels, and size of the text."""
TEXT = "\u6377\u5f84" * 3
"""The word for shortcut, three times."""
PLACE = (0.01, 0.4)
"""The upper left corner of the text as fractions of the side."""
WHITE = (255, 255, 255, 128)


def square(image: Image.Image) -> Image.Image:
    """Return the middle of an RGB image as CLIP's evaluation transform sees it, of side `SIDE`.

    Examples
    --------
    >>> from PIL import Image
    >>> from bench.data.suites.watermark import square
    >>> square(Image.new("RGB", (500, 375))).size
    (224, 224)
    """
    short = min(image.size)
    width, height = (int(SIDE * side / short) for side in image.size)
    left, top = round((width - SIDE) / 2), round((height - SIDE) / 2)
    reduced = image.resize((width, height), Resampling.BICUBIC)
    return reduced.crop((left, top, left + SIDE, top + SIDE))


def watermarked(image: Image.Image, font: ImageFont.FreeTypeFont) -> Image.Image:
    """Return the `square` of an image with the watermark in `font`.

    Examples
    --------
    >>> from PIL import Image, ImageFont
    >>> from bench.data.suites.watermark import watermarked
    >>> grey = Image.new("RGB", (448, 448), "grey")
    >>> watermarked(grey, ImageFont.load_default(36)).getextrema()[0]
    (128, 192)
    """
    below = square(image).convert("RGBA")
    layer = Image.new("RGBA", below.size, (255, 255, 255, 0))
    corner = (PLACE[0] * SIDE, PLACE[1] * SIDE)
    ImageDraw.Draw(layer).text(corner, TEXT, fill=WHITE, font=font)
    return Image.alpha_composite(below, layer).convert("RGB")


@dataclass(frozen=True)
class WatermarkedImages:
    """Images that get the watermark when they are read; `font` is the file of its font.

    Examples
    --------
    >>> from pathlib import Path
    >>> from PIL import Image, ImageFont
    >>> from bench.data.suites.watermark import WatermarkedImages
    >>> _ = Path("any.ttf").write_bytes(ImageFont.load_default(36).font_bytes)
    >>> WatermarkedImages([Image.new("RGB", (64, 48))], Path("any.ttf"))[0].size
    (224, 224)
    """

    images: Images
    font: Path

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Image.Image:
        image = as_rgb(self.images[index], f"{index} of the split")
        return watermarked(image, _kept_font(self.font))


def read_font(path: Path) -> ImageFont.FreeTypeFont:
    """Return a font in the size of the watermark. InputError if it cannot be read, or not drawn.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.suites.watermark import read_font
    >>> _ = Path("page.otf").write_text("<html></html>")
    >>> read_font(Path("page.otf"))
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: cannot read page.otf: unknown file format
    """
    with reading(path):
        font = ImageFont.truetype(io.BytesIO(read_bounded(path, MOST)), SIZE)
        font.getmask(TEXT)  # outlines are read when they are drawn
    return font


@lru_cache(maxsize=1)
def _kept_font(path: Path) -> ImageFont.FreeTypeFont:
    return read_font(path)


def watermarked_split(split: Split, name: str, font: Path, cache: Path) -> Split:
    """Return the split `name`: the images of `split` under the watermark, with its manifest.

    Raises InputError if the font cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from PIL import ImageFont
    >>> from bench.api.registry import find_dataset
    >>> from bench.data.suites.watermark import watermarked_split
    >>> _ = Path("any.ttf").write_bytes(ImageFont.load_default(36).font_bytes)
    >>> split = find_dataset("mini")().suite(None, Path("cache")).test
    >>> watermarked_split(split, "mini/watermark", Path("any.ttf"), Path("cache")).size
    2000
    """
    read_font(font)

    def load() -> Loaded:
        clean = split.load()
        return Loaded(WatermarkedImages(clean.images, font), clean.manifest)

    mark = key_of("watermark", VERSION, split.fingerprint, file_digest(font, cache))
    said = f"{name}: images are reduced to {SIDE} pixels, which larger models see enlarged"
    return Split(name, mark, split.size, load, caveats=(*split.caveats, said))
