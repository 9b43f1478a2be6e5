"""The folder with a user's data sets: what lies where, under whichever of the known names.

A set's card lists the folders in which official codes and packages expect its parts; all of them
are looked for. A folder of synthetic copies (`bench.fixtures`) says so in ``synthetic.json``:
everything made from it is marked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from bench.cards import UNKNOWN, cards
from bench.dataset import Split
from bench.errors import InputError

SYNTHETIC = "synthetic.json"
"""Its form: {set: {split: number of images}}."""
WATERMARK = "synthetic data"
"""The note that all results from synthetic copies carry."""

Reason = str
"""Why a folder is not what is looked for; empty if it is."""


class NotFound(InputError):
    """A data set, or a part of it, lies in none of its places."""


@dataclass(frozen=True)
class DataFolder:
    """The data folder `root` (None: none was named); `cache` keeps indexes."""

    root: Path | None
    cache: Path

    def place(self, name: str, part: str, fits: Callable[[Path], Reason] | None = None) -> Path:
        """Where a part of the set `name` lies, `part` being one of its card's folders.

        `fits` says why a folder that is there is not the right one. Raises NotFound that lists
        what was looked for, InputError if there are two and they are not the same folder.
        """
        card = cards()[name]
        if self.root is None:
            raise NotFound(f"{card.title}: no data folder: set --data DIR or $BENCH_DATA")
        right, tried = [], []
        for place in card.layout.folders[part]:
            path = self.root / place.path
            reason = "not there" if not path.exists() else "" if fits is None else fits(path)
            if reason:
                tried.append(f"{path} ({reason})")
            else:
                right.append(path)
        if not right:
            looked = "; ".join(tried)
            raise NotFound(
                f"{card.title}, {part}: looked for {looked}; 'bench show {name}' says how to get it"
            )
        if len({path.resolve() for path in right}) > 1:
            both = " and ".join(map(str, right))
            raise InputError(
                f"{card.title}, {part}: ambiguous: {both} are different folders; remove one, "
                "rename it, or make one a link to the other"
            )
        return right[0]

    def has(self, name: str, part: str, fits: Callable[[Path], Reason] | None = None) -> bool:
        """Whether `place` finds the part; it may still be ambiguous or incomplete."""
        try:
            self.place(name, part, fits)
        except NotFound:
            return False
        except InputError:
            return True
        return True

    @cached_property
    def synthetic(self) -> Mapping[str, Mapping[str, int]] | None:
        """The numbers of images of a folder of synthetic copies; None for real data."""
        path = None if self.root is None else self.root / SYNTHETIC
        if path is None or not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return {str(name): dict(counts) for name, counts in found.items()}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise InputError(f"{path}: expected {{set: {{split: count}}}}: {error}") from error

    @property
    def notes(self) -> tuple[str, ...]:
        """The watermarks of results from this folder."""
        return () if self.synthetic is None else (WATERMARK,)

    def expected(self, name: str, split: str) -> int | None:
        """How many images a split of a set has when it is whole; None where that is unknown."""
        if self.synthetic is not None:
            return self.synthetic.get(name, {}).get(split)
        count = cards()[name].images.get(split, UNKNOWN)
        return None if isinstance(count, str) else count

    def counted(self, split: Split, name: str, part: str) -> Split:
        """The split of a set, marked as faulty unless it has as many images as that should have."""
        split = replace(split, of=(name, part))
        expected = self.expected(name, part)
        if expected is None or split.size == expected:
            return split
        fault = f"{name} {part}: {split.size:,} of {expected:,} images"
        return replace(split, fault="; ".join(filter(None, (split.fault, fault))))


def class_folders(path: Path) -> Reason:
    """Whether a folder holds folders, as a reason why not."""
    if not path.is_dir():
        return "not a folder"
    entries = [e for e in path.iterdir() if not e.name.startswith(".")]
    if not entries:
        return "empty"
    return "" if any(e.is_dir() for e in entries) else "no class folders in it"


def holding(*names: str) -> Callable[[Path], Reason]:
    """A check that a folder holds files or folders of these names."""

    def fits(path: Path) -> Reason:
        lacking = [name for name in names if not (path / name).exists()]
        return f"no {', '.join(lacking)} in it" if lacking else ""

    return fits
