"""Run one script of a checkout of wise-ft or VRF as its authors do, with what it needs to start.

    python script.py CHECKOUT SCRIPT PRECISION WORKERS [the script's own arguments]

The code that runs is the checkout's. Three things are given to it, none of which costs it time:

- `wilds` and `robustness`, of data sets that this job has not, are empty modules: faster to import.
- `imagenetv2_pytorch` has the one class that is used, which lists the images of ImageNet-V2. The
  package itself would also look for an archive to download.
- Class folders without images are accepted, as torchvision did when the code was written: a small
  copy of ImageNet has not an image of every class, and class indices follow from the folders.

PRECISION ``bf16`` runs the image tower under autocast and returns its features in float32. The
code has no such mode; this is the least that gives it one. WORKERS is ``own`` for the loaders' own
number of processes (32), or a number.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision import datasets


class ImageNetV2Dataset(Dataset[Any]):
    """The images below ``ImageNetV2-matched-frequency``; `fnames` are their paths."""

    def __init__(self, variant: str = "matched-frequency", transform: Any = None,
                 location: str = ".") -> None:  # fmt: skip
        self.transform = transform
        self.fnames = sorted(Path(location, f"ImageNetV2-{variant}").glob("*/*.jpeg"))

    def __len__(self) -> int:
        return len(self.fnames)

    def __getitem__(self, index: int) -> Any:
        path = self.fnames[index]
        return self.transform(Image.open(path, formats=["JPEG"])), int(path.parent.name)


def absent(*names: object, **options: object) -> None:
    """Stand for every function of the packages that this job does not use."""
    raise NotImplementedError("a stand-in was called: the job uses a package it should not need")


USED = {
    "wilds": (),
    "wilds.common": (),
    "wilds.common.data_loaders": ("get_train_loader", "get_eval_loader"),
    "wilds.datasets": (),
    "wilds.datasets.wilds_dataset": ("WILDSSubset",),
    "robustness": (),
    "robustness.tools": (),
    "robustness.tools.breeds_helpers": (
        *("ClassHierarchy", "print_dataset_info", "make_living17", "make_entity30"),
    ),
    "robustness.datasets": (),
}
"""What the checkouts import of packages that are stood in for: {module: names}."""


def stand_in() -> None:
    """Put the modules in place, and let class folders be empty."""
    for name, functions in USED.items():
        module = ModuleType(name)
        for function in functions:
            setattr(module, function, absent)
        sys.modules[name] = module
        package, _, child = name.rpartition(".")
        if package:
            setattr(sys.modules[package], child, module)
    v2 = ModuleType("imagenetv2_pytorch")
    v2.ImageNetV2Dataset = ImageNetV2Dataset  # type: ignore[attr-defined]
    sys.modules["imagenetv2_pytorch"] = v2
    found = datasets.DatasetFolder.make_dataset

    def made(*given: Any, **options: Any) -> Any:
        return found(*given, **options | {"allow_empty": True})

    datasets.DatasetFolder.make_dataset = staticmethod(made)  # type: ignore[assignment]


def in_bf16() -> None:
    """Let CLIP's image tower compute in bfloat16."""
    from clip.model import CLIP  # type: ignore[import-not-found]

    encode = CLIP.encode_image

    def encode_image(self: Any, image: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return encode(self, image).float()

    CLIP.encode_image = encode_image


def with_workers(count: int) -> None:
    """Set the number of the loaders' processes."""
    from src.datasets.imagenet import ImageNet  # type: ignore[import-not-found]

    build = ImageNet.__init__

    def init(self: Any, *given: Any, **options: Any) -> None:
        build(self, *given, num_workers=count, **options)

    ImageNet.__init__ = init


def main() -> None:
    checkout, script, precision, workers = sys.argv[1:5]
    sys.path[0] = checkout
    sys.argv = [script, *sys.argv[5:]]
    stand_in()
    if precision == "bf16":
        in_bf16()
    if workers != "own":
        with_workers(int(workers))
    runpy.run_path(str(Path(checkout, "src", script)), run_name="__main__")


if __name__ == "__main__":
    main()
