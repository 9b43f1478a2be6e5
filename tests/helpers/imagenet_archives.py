"""For tests: miniature ImageNet archives, and reading and writing folders of files."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import scipy.io

IDS = {1: "n02119789", 2: "n02100735", 3: "n01440764"}
"""The devkit's class numbers, which are not in the order of the WordNet ids."""
TRUTH = [3, 1, 2, 2, 3, 1]
IMAGES = {f"ILSVRC2012_val_{i + 1:08d}.JPEG": b"val %d " % i * 100 for i in range(len(TRUTH))}
SORTED = {f"{IDS[number]}/{name}": IMAGES[name] for number, name in zip(TRUTH, IMAGES, strict=True)}
TRAIN = {
    f"{wnid}/{wnid}_{i}.JPEG": f"{wnid} {i}".encode() * 50
    for wnid in sorted(IDS.values())
    for i in range(4)
}


def meta(ids: Mapping[int, str] = IDS) -> bytes:
    """Return the content of meta.mat: the classes, then a synset with the classes as children."""
    fields = [
        ("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("gloss", object),
        ("num_children", object), ("children", object), ("wordnet_height", object),
        ("num_train_images", object),
    ]  # fmt: skip
    synsets = np.zeros((len(ids) + 1, 1), dtype=fields)
    for row, (number, wnid) in enumerate(ids.items()):
        leaf = (float(number), wnid, f"name {number}, other", "what it is", 0.0, [], 0.0, 4.0)
        synsets[row, 0] = leaf
    parent = (1001.0, "n00001740", "entity", "all", float(len(ids)), list(ids), 1.0, 0.0)
    synsets[len(ids), 0] = parent
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"synsets": synsets})
    return buffer.getvalue()


def tar(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def devkit(path: Path, **changes: bytes) -> Path:
    files = {
        "readme.txt": b"ImageNet",
        "data/meta.mat": meta(),
        "data/ILSVRC2012_validation_ground_truth.txt": "".join(f"{n}\n" for n in TRUTH).encode(),
    }
    files |= {name.replace("__", "/").replace("_mat", ".mat"): c for name, c in changes.items()}
    return tar(path, {f"ILSVRC2012_devkit_t12/{name}": content for name, content in files.items()})


def train_tar(path: Path) -> Path:
    classes = {}
    for wnid in IDS.values():
        own = {k.split("/")[1]: v for k, v in TRAIN.items() if k.startswith(wnid)}
        classes[f"{wnid}.tar"] = tar(path.with_name("class.tar"), own).read_bytes()
    return tar(path, classes)


def found(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
