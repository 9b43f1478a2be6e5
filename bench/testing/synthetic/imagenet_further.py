"""ImageNet-Hard in parquet files with several labels, and a font in place of ImageNet-W's."""

from __future__ import annotations

import importlib
import importlib.util
import io
from pathlib import Path

from PIL import Image, ImageFont

from bench.core.hashing import key_of
from bench.data.suites.imagenet import imagenet_classes
from bench.data.suites.watermark import FONT
from bench.testing.synthetic._pictures import pixels

FILES, ROWS, GROUP = 2, 40, 16
"""Number of parquet files, of rows in each, and of rows in a row group."""


def make_imagenet_further(root: Path) -> dict[str, dict[str, int]]:
    """Write both sets; see `bench.testing.synthetic`. ImageNet-Hard only if pyarrow is installed.

    The font is Pillow's own: the watermark of the copy is not that of ImageNet-W.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.testing.synthetic.imagenet_further import make_imagenet_further
    >>> make_imagenet_further(Path("data"))["imagenet-w"]
    {'val': 1000}
    """
    font = ImageFont.load_default(36)
    assert isinstance(font, ImageFont.FreeTypeFont)
    fonts = root / "imagenet-w" / "fonts"
    fonts.mkdir(parents=True)
    (fonts / FONT).write_bytes(font.font_bytes)
    counts = {"imagenet-w": {"val": len(imagenet_classes())}}
    return counts | (_hard(root) if importlib.util.find_spec("pyarrow") else {})


def _hard(root: Path) -> dict[str, dict[str, int]]:
    arrow, parquet = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
    folder = root / "imagenet-hard" / "data"
    folder.mkdir(parents=True)
    names = imagenet_classes().prompts
    for file in range(FILES):
        rows = []
        for row in range(ROWS):
            first = 23 * (ROWS * file + row) % len(names)
            labels = [(first + more) % len(names) for more in range(1 + row % 3)]
            stream = io.BytesIO()
            Image.fromarray(pixels(first, f"hard {file} {row}")).save(stream, "JPEG")
            rows.append(
                {
                    "image": {"bytes": stream.getvalue(), "path": None},
                    "label": labels,
                    "origin": ("imagenet", "objectnet")[row % 2],
                    "english_label": [names[label] for label in labels],
                }
            )
        name = f"validation-{file:05}-of-{FILES:05}-{key_of('hard', file)[:16]}.parquet"
        image = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
        columns = [("image", image), ("label", arrow.list_(arrow.int64()))]
        columns += [("origin", arrow.string()), ("english_label", arrow.list_(arrow.string()))]
        table = arrow.Table.from_pylist(rows, schema=arrow.schema(columns))
        parquet.write_table(table, folder / name, row_group_size=GROUP)
    return {"imagenet-hard": {"test": FILES * ROWS}}
