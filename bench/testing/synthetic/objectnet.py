"""ObjectNet: images with red borders, the four mapping files, and folders that ImageNet lacks.

In the map to ImageNet, the nine classes with several indices are real. The other 104 are made up:
they are ImageNet classes under their own names.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from bench.core.hashing import key_of
from bench.data.suites.imagenet import OBJECTNET_FILES, imagenet_classes
from bench.testing.synthetic._pictures import pixels, save

SEVERAL = {
    "Alarm clock": (409, 530),
    "Bicycle": (444, 671),
    "Chair": (423, 559, 765),
    "Helmet": (518, 560),
    "Pen": (418, 563, 749),
    "Skirt": (601, 655, 689),
    "Still Camera": (732, 759),
    "Tie": (457, 906),
    "Wheel": (479, 694),
}
"""{ObjectNet's label: ImageNet's class indices}."""
OTHERS = ("Air freshener", "Baking sheet", "Bills (money)", "Whisk", "Wok")
"""Labels that ImageNet has no class for."""
CLASSES = 113


def make_objectnet(root: Path) -> dict[str, dict[str, int]]:
    """Write the set; see `bench.testing.synthetic`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.testing.synthetic.objectnet import make_objectnet
    >>> make_objectnet(Path("data"))
    {'objectnet': {'test': 113}}
    """
    names = imagenet_classes()
    # Names of the official kit: WordNet ids distinguish classes that share a name.
    kit = [f"{name}, {wnid}" for wnid, name in zip(names.keys, names.prompts, strict=True)]
    taken = {index for indices in SEVERAL.values() for index in indices}
    single = [index for index in range(404, 1000) if index not in taken]
    members = dict(SEVERAL)
    for index in single[: CLASSES - len(SEVERAL)]:
        members[names.prompts[index].capitalize()] = (index,)
    base = root / "objectnet-1.0"
    folders = {_folder(label): label for label in (*members, *OTHERS)}
    # As in the real files, the kit's order differs from the order of the class indices.
    line_of = {index: (355 + 7 * index) % len(kit) for index in range(len(kit))}
    lines = [""] * len(kit)
    for index, line in line_of.items():
        lines[line] = kit[index]
    joined = {label: "; ".join(kit[i] for i in indices) for label, indices in members.items()}
    contents = (
        json.dumps(folders, indent=2),
        json.dumps(joined, indent=2),
        "\n".join(lines) + "\n",
        json.dumps(line_of, indent=2),
    )
    mappings = base / "mappings"
    mappings.mkdir(parents=True)
    for file, text in zip(OBJECTNET_FILES, contents, strict=True):
        (mappings / file).write_text(text, encoding="utf-8")
    (mappings / "README.txt").write_text("Synthetic: not ObjectNet's own map.\n", encoding="utf-8")
    for folder, label in folders.items():
        array = pixels(members.get(label, (len(kit),))[0], folder)
        array[[0, -1], :] = array[:, [0, -1]] = (255, 0, 0)
        save(base / "images" / folder / f"{key_of('objectnet', folder)[:15]}.png", array)
    return {"objectnet": {"test": len(members)}}


def _folder(label: str) -> str:
    return re.sub(r"\W+", "_", label.lower()).strip("_")
