"""The user's data folder: find data sets under any of their known folder names.

A set's card lists the folders in which official codes and packages expect its parts; all of them
are tried. A folder of synthetic copies (`bench.testing.synthetic`) contains ``synthetic.json``; all
results computed from it carry a watermark.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from bench.api.splits import Split
from bench.core.errors import InputError
from bench.core.foreign.documents import read_json
from bench.core.foreign.files import reading_form
from bench.data.cards import UNKNOWN, cards

SYNTHETIC = "synthetic.json"
"""File that marks a folder of synthetic copies: JSON, {set: {split: number of images}}."""
WATERMARK = "synthetic data"
"""The note on all results from synthetic copies."""

Reason = str
"""Why a folder is not the one searched for; empty if it is."""


class NotFound(InputError):
    """A data set, or a part of it, is in none of its possible folders.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.folder import DataFolder
    >>> DataFolder(None, Path("cache")).place("dtd", "all")
    Traceback (most recent call last):
    ...
    bench.data.folder.NotFound: Describable Textures: no data folder: set --data DIR or ...
    """


@dataclass(frozen=True)
class DataFolder:
    """A data folder.

    Attributes
    ----------
    root : the folder; None if the user named none.
    cache : folder for indexes.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.folder import DataFolder
    >>> from bench.testing.synthetic.cifar import make_cifar
    >>> _ = make_cifar(Path("data"))
    >>> folder = DataFolder(Path("data"), Path("cache"))
    >>> folder.place("cifar-10.1", "test").name, folder.has("dtd", "all")
    ('CIFAR-10.1', False)
    """

    root: Path | None
    cache: Path

    def place(self, name: str, part: str, fits: Callable[[Path], Reason] | None = None) -> Path:
        """Return the folder of a part of the set `name`; `part` is a key of its card's folders.

        `fits` returns why an existing folder is not the right one, or an empty string. Raises
        NotFound, listing the folders that were tried, and InputError if two different folders fit.
        """
        card = cards()[name]
        if self.root is None:
            raise NotFound(f"{card.title}: no data folder: set --data DIR or $BENCH_DATA")
        matching, tried = [], []
        for place in card.layout.folders[part]:
            path = self.root / place.path
            try:
                reason = "not there" if not path.exists() else "" if fits is None else fits(path)
            except OSError as error:
                reason = f"cannot be read: {error.strerror}"
            if reason:
                tried.append(f"{path} ({reason})")
            else:
                matching.append(path)
        if not matching:
            # A long message loses words of its middle, so folders that are there come first.
            tried.sort(key=lambda said: said.endswith("(not there)"))
            how = f"'bench show set:{name}' shows how to get it"
            raise NotFound(f"{card.title}, {part}: not found; looked for {'; '.join(tried)}; {how}")
        # If a folder and one inside it match (torchvision's dtd/dtd), take the inner one.
        matching = [p for p in matching if not any(p in other.parents for other in matching)]
        if len({path.resolve() for path in matching}) > 1:
            both = " and ".join(map(str, matching))
            raise InputError(
                f"{card.title}, {part}: ambiguous: {both} are different folders; delete or rename "
                "one of them, or make one a link to the other"
            )
        return matching[0]

    def those(
        self, name: str, parts: Iterable[str], fits: Callable[[Path], Reason] | None = None
    ) -> dict[str, Path]:
        """Return {part: its folder} for those parts of a set that `place` finds."""
        found = {}
        for part in parts:
            with suppress(InputError):
                found[part] = self.place(name, part, fits)
        return found

    def has(self, name: str, part: str, fits: Callable[[Path], Reason] | None = None) -> bool:
        """Whether the part is there; it may still be ambiguous or incomplete."""
        try:
            self.place(name, part, fits)
        except NotFound:
            return False
        except InputError:
            return True
        return True

    @cached_property
    def synthetic(self) -> Mapping[str, Mapping[str, int]] | None:
        """Numbers of images, {set: {split: count}}, in a folder of synthetic copies; else None.

        Raises InputError if ``synthetic.json`` cannot be read.
        """
        path = None if self.root is None else self.root / SYNTHETIC
        if path is None or not path.is_file():
            return None
        with reading_form(path, "{set: {split: count}}"):
            found = {str(name): dict(counts) for name, counts in read_json(path).items()}
            return {n: {str(s): int(k) for s, k in counts.items()} for n, counts in found.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """The watermarks of results computed from this folder."""
        return () if self.synthetic is None else (WATERMARK,)

    def expected(self, name: str, split: str) -> int | None:
        """Return the number of images in a complete split of a set; None if it is unknown."""
        if self.synthetic is not None:
            return self.synthetic.get(name, {}).get(split)
        count = cards()[name].images.get(split, UNKNOWN)
        return None if isinstance(count, str) else count

    def counted(self, split: Split, name: str, part: str) -> Split:
        """Return `split` as the split `part` of the set `name`, with a fault if images are missing.

        The number of images must be the expected one. If the card states the number of images per
        class, the classes are counted too. A fault that `split` already has stays first.
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
        more = f"; the counts of {len(wrong) - 1} more classes are wrong" if len(wrong) > 1 else ""
        first = f"class {wrong[0]} has {counts[wrong[0]]:,} images, expected {each:,}"
        return f"{name} {part}: {first}{more}"


def holds_folders(path: Path) -> Reason:
    """Return why a path is not a folder with folders in it; an empty string if it is.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.folder import holds_folders
    >>> Path("images/cat").mkdir(parents=True)
    >>> holds_folders(Path("images")), holds_folders(Path("images/cat"))
    ('', 'empty')
    """
    if not path.is_dir():
        return "not a folder"
    files = 0
    with os.scandir(path) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                if entry.is_dir():
                    return ""
                files += 1
    return f"has {files:,} files but no class folders" if files else "empty"


def holds_class_folders(names: Iterable[str]) -> Callable[[Path], Reason]:
    """Return a check that a folder has class folders, at least one of them with a given name.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.folder import holds_class_folders
    >>> Path("images/dog").mkdir(parents=True)
    >>> fits = holds_class_folders(["dog", "cow"])
    >>> fits(Path("images")), fits(Path("images/dog"))
    ('', 'empty')
    """
    known = tuple(names)

    def fits(path: Path) -> Reason:
        if reason := holds_folders(path):
            return reason
        if any((path / name).is_dir() for name in known):
            return ""
        return f"has none of the {len(known):,} expected class folders, such as {known[0]}"

    return fits


def holds_entries(*names: str) -> Callable[[Path], Reason]:
    """Return a check that a folder has files or folders with all of the given names.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.folder import holds_entries
    >>> Path("stl10").mkdir()
    >>> holds_entries("test_X.bin")(Path("stl10"))
    'has no test_X.bin'
    """

    def fits(path: Path) -> Reason:
        missing = [name for name in names if not (path / name).exists()]
        return f"has no {', '.join(missing)}" if missing else ""

    return fits
