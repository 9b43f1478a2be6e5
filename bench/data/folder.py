"""The folder with a user's data sets: what lies where, under whichever of the known names.

A set's card lists the folders in which official codes and packages expect its parts; all of them
are looked for. A folder of synthetic copies (`bench.testing.synthetic`) says so in
``synthetic.json``: everything made from it is marked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from bench.api.splits import Split
from bench.core.errors import InputError
from bench.data.cards import UNKNOWN, cards

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
            try:
                reason = "not there" if not path.exists() else "" if fits is None else fits(path)
            except OSError as error:
                reason = f"cannot be read: {error.strerror}"
            if reason:
                tried.append(f"{path} ({reason})")
            else:
                right.append(path)
        if not right:
            how = f"'bench show set:{name}' says how to get it"
            raise NotFound(f"{card.title}, {part}: looked for {'; '.join(tried)}; {how}")
        # Of a folder and one in it (torchvision's dtd/dtd) the inner one is meant.
        right = [p for p in right if not any(p in other.parents for other in right)]
        if len({path.resolve() for path in right}) > 1:
            both = " and ".join(map(str, right))
            raise InputError(
                f"{card.title}, {part}: ambiguous: {both} are different folders; remove one, "
                "rename it, or make one a link to the other"
            )
        return right[0]

    def those(
        self, name: str, parts: Iterable[str], fits: Callable[[Path], Reason] | None = None
    ) -> dict[str, Path]:
        """{part: its place} of those parts of a set that `place` finds."""
        found = {}
        for part in parts:
            with suppress(InputError):
                found[part] = self.place(name, part, fits)
        return found

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
        """The split of a set, marked as faulty unless it has as many images as that should have.

        Where the card says how many each class has, those are counted too.
        """
        faults = filter(None, (split.fault, self._fault(split, name, part)))
        return replace(split, of=(name, part), fault="; ".join(faults))

    def _fault(self, split: Split, name: str, part: str) -> str:
        expected = self.expected(name, part)
        if expected is not None and split.size != expected:
            return f"{name} {part}: {split.size:,} of {expected:,} images"
        each = cards()[name].per_class.get(part)
        if expected is None or each is None or self.synthetic is not None:
            return ""
        counts = np.bincount(split.load().manifest.first, minlength=expected // each)
        wrong = np.flatnonzero(counts != each)
        if not len(wrong):
            return ""
        more = f" and {len(wrong) - 1} more classes are wrong" if len(wrong) > 1 else ""
        return f"{name} {part}: {counts[wrong[0]]:,} of {each:,} images of class {wrong[0]}{more}"


def holds_folders(path: Path) -> Reason:
    """Whether a folder holds folders, as a reason why not."""
    if not path.is_dir():
        return "not a folder"
    files = 0
    with os.scandir(path) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                if entry.is_dir():
                    return ""
                files += 1
    return f"no class folders in it, but {files:,} files" if files else "empty"


def holds_class_folders(names: Iterable[str]) -> Callable[[Path], Reason]:
    """A check that a folder holds class folders, at least one of them of these names."""
    known = tuple(names)

    def fits(path: Path) -> Reason:
        if reason := holds_folders(path):
            return reason
        if any((path / name).is_dir() for name in known):
            return ""
        return f"none of the {len(known):,} class folders looked for, such as {known[0]}"

    return fits


def holds_entries(*names: str) -> Callable[[Path], Reason]:
    """A check that a folder holds files or folders of these names."""

    def fits(path: Path) -> Reason:
        lacking = [name for name in names if not (path / name).exists()]
        return f"no {', '.join(lacking)} in it" if lacking else ""

    return fits
