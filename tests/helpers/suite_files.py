"""For tests: suite files of small generated images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from bench.api.dataset import Suite
from bench.core.errors import InputError
from bench.data.suites.from_yaml import load_suite_file

NAMES = ["cat", "dog", "fox"]
BASE: dict[str, Any] = {
    "name": "pets",
    "classes": NAMES,
    "templates": ["a photo of a {}."],
    "train": {"folder": "train"},
    "test": {"folder": "test"},
}


def draw(path: Path, colour: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (colour % 256, colour // 256, 0)).save(path)


def folders(root: Path, classes: list[str], count: int = 5) -> None:
    for position, name in enumerate(classes):
        for number in range(count):
            draw(root / name / f"{root.name}{number}.png", 10 * position + number)


def write(place: Path, form: Mapping[str, Any] | str, name: str = "my.yaml") -> Path:
    path = place / name
    text = form if isinstance(form, str) else yaml.safe_dump(dict(form), sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return path


def load(data: Path, **changes: Any) -> Suite:
    """Return the suite of BASE with `changes`; None removes a key. Its file is in `data`."""
    form = {key: value for key, value in (BASE | changes).items() if value is not None}
    suite = load_suite_file(write(data, form), None, data.parent / "cache")
    return suite.under(selects="selection", share=0.1, border=0)


def refused(data: Path, *parts: object, **changes: Any) -> None:
    with pytest.raises(InputError) as error:
        load(data, **changes)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(str(data / "my.yaml"))
    for part in parts:
        assert str(part) in text
