"""Miniature synthetic copies of the data sets, with the real layouts, names and file formats.

They are for tests and for trying a suite without its data: ``bench data synthetic DIR``. Each
module of this package has a function ``make_*(root) -> {set: {split: number of images}}``. The
images are meaningless, and all results computed from such a folder carry a watermark
(`bench.data.folder`).
"""

from __future__ import annotations

import json
from pathlib import Path

from bench.core.errors import InputError
from bench.core.paths import write_atomic
from bench.data.folder import SYNTHETIC
from bench.testing.synthetic.cifar import make_cifar
from bench.testing.synthetic.domains import make_domains
from bench.testing.synthetic.imagenet import make_imagenet
from bench.testing.synthetic.imagenet_further import make_imagenet_further
from bench.testing.synthetic.objectnet import make_objectnet
from bench.testing.synthetic.transfer import make_transfer
from bench.testing.synthetic.videos import make_videos
from bench.testing.synthetic.wilds import make_wilds

MAKERS = (
    make_cifar,
    make_domains,
    make_imagenet,
    make_imagenet_further,
    make_objectnet,
    make_transfer,
    make_videos,
    make_wilds,
)


def make_copies(root: Path) -> dict[str, dict[str, int]]:
    """Write copies of all sets below `root`; returns {set: {split: number of images}}.

    Repeated calls write identical files. Raises InputError unless `root` is a new or empty folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.testing.synthetic import make_copies
    >>> Path("data/mine").mkdir(parents=True)
    >>> make_copies(Path("data"))  # otherwise this takes seconds and gives 11,000 small images
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: data: expected a new or empty folder for the synthetic copies
    """
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(f"{root}: expected a new or empty folder for the synthetic copies")
    root.mkdir(parents=True, exist_ok=True)
    counts: dict[str, dict[str, int]] = {}
    for make in MAKERS:
        counts |= make(root)
    write_atomic(root / SYNTHETIC, (json.dumps(counts, indent=1, sort_keys=True) + "\n").encode())
    return counts
