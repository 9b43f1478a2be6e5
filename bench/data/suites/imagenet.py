"""ImageNet's classes, read from installed packages, and maps to the label spaces of its shifts.

Class indices are positions in the sorted WordNet ids, as is usual.
"""

from __future__ import annotations

import importlib.util
import runpy
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from bench.core.errors import InputError
from bench.core.foreign.documents import read_json
from bench.core.foreign.files import reading_form, text_of
from bench.data.classes import Classes
from bench.data.folder import DataFolder, Reason, holds_class_folders, holds_folders

OBJECTNET_FILES = (
    "folder_to_objectnet_label.json",
    "objectnet_to_imagenet_1k.json",
    "imagenet_to_label_2012_v2",
    "pytorch_to_imagenet_2012_id.json",
)
"""The files in ObjectNet's folder ``mappings`` that define its label map."""


def imagenet_classes() -> Classes:
    """Return ImageNet's 1,000 classes.

    Keys are WordNet ids from timm; prompts are open_clip's curated names. Raises InputError if one
    of the packages is not installed.

    Examples
    --------
    >>> from bench.data.suites.imagenet import imagenet_classes
    >>> classes = imagenet_classes()
    >>> classes.keys[0], classes.prompts[0]
    ('n01440764', 'tench')
    """
    return Classes(wordnet_ids(), tuple(_zero_shot("IMAGENET_CLASSNAMES")))


@cache
def wordnet_ids() -> tuple[str, ...]:
    """Return the WordNet ids of ImageNet's classes in order. InputError if timm is missing.

    Examples
    --------
    >>> from bench.data.suites.imagenet import wordnet_ids
    >>> len(wordnet_ids()), wordnet_ids()[0]
    (1000, 'n01440764')
    """
    path = _package_file("timm", "data/_info/imagenet_synsets.txt")
    return tuple(text_of(path).split())


def openai_templates() -> tuple[str, ...]:
    """Return OpenAI's 80 templates for ImageNet. InputError if open_clip is not installed.

    Examples
    --------
    >>> from bench.data.suites.imagenet import openai_templates
    >>> len(openai_templates()), openai_templates()[0]
    (80, 'a bad photo of a {}.')
    """
    return tuple(function("{}") for function in _zero_shot("OPENAI_IMAGENET_TEMPLATES"))


def imagenet_subset(name: Literal["a", "r"]) -> tuple[int, ...]:
    """Return the 200 class indices of ImageNet-A or ImageNet-R, ascending, from timm.

    Examples
    --------
    >>> from bench.data.suites.imagenet import imagenet_subset
    >>> imagenet_subset("a")[:3], len(imagenet_subset("r"))
    ((6, 11, 13), 200)
    """
    path = _package_file("timm", f"data/_info/imagenet_{name}_indices.txt")
    return tuple(sorted(map(int, text_of(path).split())))


def objectnet_classes(mappings: Path) -> Mapping[str, tuple[int, ...]]:
    """Return {image folder: its ImageNet classes}, sorted by folder, from ObjectNet's `mappings`.

    It contains the 113 of 313 folders with a matching ImageNet class. The `OBJECTNET_FILES` map a
    folder to ObjectNet's label, the label to the names of ImageNet classes (separated by ``; ``), a
    name to its line in the ILSVRC2012 development kit, and the line (counted from 0) to the class
    index. Raises InputError that names the missing or malformed file, or the name that matches no
    class or two.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.suites.imagenet import objectnet_classes
    >>> from bench.testing.synthetic.objectnet import make_objectnet
    >>> _ = make_objectnet(Path("data"))
    >>> classes = objectnet_classes(Path("data/objectnet-1.0/mappings"))
    >>> len(classes), classes["alarm_clock"]
    (113, (409, 530))
    """
    labels, names, lines, ids = (mappings / file for file in OBJECTNET_FILES)
    with reading_form(ids, "{class index: line}"):
        index_of_line = {int(line): int(index) for index, line in read_json(ids).items()}
    index_of: dict[str, set[int]] = {}
    for line, name in enumerate(text_of(lines).splitlines()):
        if name.strip():
            if line not in index_of_line:
                raise InputError(
                    f"{ids} has no class for line {line + 1} of {lines.name}: get both files again"
                )
            index_of.setdefault(name.strip(), set()).add(index_of_line[line])
    folder_of = {label: folder for folder, label in objectnet_folders(mappings).items()}
    found = {}
    with reading_form(names, "{label: names}"):
        for label, joined in read_json(names).items():
            if label not in folder_of:
                raise InputError(f"{labels} has no folder for {label!r}: get the file again")
            columns = [index_of.get(name, set()) for name in joined.split("; ")]
            if not all(len(indices) == 1 for indices in columns):
                raise InputError(
                    f"{names}: {label!r} is mapped to {joined!r}: expected names that each match "
                    f"one line of {lines}"
                )
            found[folder_of[label]] = tuple(sorted(min(indices) for indices in columns))
    return dict(sorted(found.items()))


def objectnet_folders(mappings: Path) -> dict[str, str]:
    """Return {image folder: ObjectNet's label}. InputError if the file is missing or malformed.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.suites.imagenet import objectnet_folders
    >>> from bench.testing.synthetic.objectnet import make_objectnet
    >>> _ = make_objectnet(Path("other"))
    >>> objectnet_folders(Path("other/objectnet-1.0/mappings"))["alarm_clock"]
    'Alarm clock'
    """
    path = mappings / OBJECTNET_FILES[0]
    with reading_form(path, "{folder: label}"):
        return {str(folder): str(label) for folder, label in read_json(path).items()}


def whole_folders(folder: DataFolder) -> dict[Path, Collection[str]]:
    """Return {folder: class folders} for the parts of ImageNet that are sorted by class.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.folder import DataFolder
    >>> from bench.data.suites.imagenet import whole_folders
    >>> whole_folders(DataFolder(Path("data"), Path("cache")))
    {}
    """
    parts = folder.those("imagenet", ("train", "val"), sorted_images)
    return dict.fromkeys(parts.values(), wordnet_ids())


def sorted_images(path: Path) -> Reason:
    """Return why a folder does not hold ImageNet's images in class folders; empty if it does.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.suites.imagenet import sorted_images
    >>> Path("val").mkdir()
    >>> sorted_images(Path("val"))
    'empty'
    """
    reason = holds_class_folders(wordnet_ids())(path)
    if holds_folders(path) and path.is_dir() and any(path.glob("*.JPEG")):
        return "images without class folders: run 'bench data prepare imagenet' to sort them"
    return reason


@cache
def _zero_shot_metadata() -> Mapping[str, Any]:
    """Run only open_clip's file of names and templates: importing open_clip imports torch."""
    return runpy.run_path(str(_package_file("open_clip", "zero_shot_metadata.py")))


def _zero_shot(name: str) -> Any:
    return _zero_shot_metadata()[name]


def _package_file(package: str, name: str) -> Path:
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec is not None else None
    for place in places or ():
        if (Path(place) / name).is_file():
            return Path(place) / name
    raise InputError(f"{package} with the file {name} is not installed: pip install {package}")
