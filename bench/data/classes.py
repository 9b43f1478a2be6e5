"""The classes of a label space, and how names of other sources are matched to them.

A name counts before an order: names that are known are matched by what they say, also if they are
spelled with other cases, spaces, ``_`` or ``-``.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError, shortened


@dataclass(frozen=True)
class Classes:
    """The classes of a label space, in index order.

    Attributes
    ----------
    keys : C unique names, used for class folders and for labels in lists.
    prompts : C names for the text tower. Names may repeat (ImageNet has "missile" twice).

    Examples
    --------
    >>> from bench.data.classes import Classes
    >>> classes = Classes(("n02123045", "n02110958"), ("tabby cat", "pug"))
    >>> classes.index("pug", classes.spellings()), classes.index("n02123045", classes.spellings())
    (1, 0)
    """

    keys: tuple[str, ...]
    prompts: tuple[str, ...]

    def __post_init__(self) -> None:
        for key, count in Counter(self.keys).items():
            if count > 1:
                raise InputError(f"class {key!r:.80} is listed {count} times: list each class once")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def shown(self) -> tuple[str, ...]:
        """C names for messages: keys, or prompts where a key is only a number."""
        both = zip(self.keys, self.prompts, strict=True)
        return tuple(prompt if key.isdecimal() else key for key, prompt in both)

    def spellings(self) -> dict[str, int]:
        """Return {accepted spelling of a class: index}.

        Accepted are keys and unique prompts. The index as a decimal number (as in ImageNet-V2's
        folders) is accepted unless a key or prompt is a number itself.
        """
        count = Counter(self.prompts)
        keys = {key: index for index, key in enumerate(self.keys)}
        prompts = {p: index for index, p in enumerate(self.prompts) if count[p] == 1}
        numbered = any(name.isdecimal() for name in (*self.keys, *self.prompts))
        numbers = {} if numbered else {str(index): index for index in range(len(self))}
        return numbers | prompts | keys

    def index(self, name: str, spellings: dict[str, int]) -> int:
        """Return the index of the class `name`. InputError lists the nearest keys first."""
        if name not in spellings:
            if name.isdecimal() and "0" in spellings and float(name) >= len(self):
                counted = "if these count from 1, subtract 1; " if name == str(len(self)) else ""
                raise InputError(
                    f"unknown class {name!r:.40}: numbers go from 0 to {len(self) - 1}; {counted}"
                    f"names are {shorten_list(self.keys, 10)}"
                )
            near = difflib.get_close_matches(name[:100], self.keys, n=3, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            ordered = [*near, *(key for key in self.keys if key not in near)]
            raise InputError(
                f"unknown class {name!r:.80}: {hint}valid: {shorten_list(ordered, 20)}"
            )
        return spellings[name]

    def matched(self, names: Sequence[str]) -> dict[str, int]:
        """Return {name: index} of those `names` that are names of classes.

        A name without an exact spelling is matched without regard to case, spaces, ``_`` and ``-``,
        if it is the only name of a class that no other name has.
        """
        spellings = self.spellings()
        found = {name: spellings[name] for name in names if name in spellings}
        meant: dict[str, set[int]] = {}
        for spelling, index in spellings.items():
            meant.setdefault(_plain(spelling), set()).add(index)
        loose = {n: meant.get(_plain(n), set()) - {*found.values()} for n in {*names} - {*found}}
        claimed = Counter(index for indices in loose.values() for index in indices)
        for name in names:
            if name in loose and len(meant.get(_plain(name), ())) == len(loose[name]) == 1:
                (index,) = loose[name]
                if claimed[index] == 1:
                    found[name] = index
        return found

    def of_numbers(self, labels: NDArray[np.int64], where: object) -> NDArray[np.int64]:
        """Return the class indices that whole numbers mean: indices, or names that are numbers.

        Raises InputError, naming `where`, if both are possible and differ.
        """
        if not all(key.isdecimal() and len(key) < 19 for key in self.keys):
            return labels
        named = {int(key): index for index, key in enumerate(self.keys)}
        present = set(np.unique(labels).tolist())
        moved = sorted(number for number in present if named.get(number) != number)
        if not moved or not present <= named.keys():
            return labels
        if all(0 <= number < len(self) for number in present):
            raise InputError(
                f"{where}: label {moved[0]} is class {self.keys[named[moved[0]]]!r} by its name, "
                f"but {self.keys[moved[0]]!r} by its position: store the labels as text, which is "
                "read as names"
            )
        return np.array([named[number] for number in labels.tolist()], dtype=np.int64)


def shorten_list(names: Iterable[str], count: int) -> str:
    """Join at most `count` names with commas and add how many more there are.

    Examples
    --------
    >>> from bench.data.classes import shorten_list
    >>> shorten_list(["a", "b", "c", "d"], 2)
    'a, b and 2 more'
    """
    every = [shortened(name, 60) for name in names]
    more = f" and {len(every) - count} more" if len(every) > count else ""
    return ", ".join(every[:count]) + more


def respelled(matched: Mapping[str, int], classes: Classes) -> tuple[str, ...]:
    """Return the caveat on names that were matched although they are spelled in another way.

    Examples
    --------
    >>> from bench.data.classes import Classes, respelled
    >>> classes = Classes(("cat", "dog"), ("cat", "dog"))
    >>> respelled(classes.matched(["Cat", "dog"]), classes)
    ("matched 1 name to its class without regard to case, spaces, _ and -: 'Cat' as 'cat'",)
    """
    exact = classes.spellings()
    others = [name for name in matched if name not in exact]
    if not others:
        return ()
    one = f"{others[0]!r:.60} as {classes.keys[matched[others[0]]]!r:.60}"
    number = (
        "1 name to its class" if len(others) == 1 else f"{len(others):,} names to their classes"
    )
    such = ":" if len(others) == 1 else ", such as"
    return (f"matched {number} without regard to case, spaces, _ and -{such} {one}",)


def _plain(name: str) -> str:
    """Return a name in lower case, with single spaces for spaces, ``_`` and ``-``."""
    return " ".join(re.split(r"[\s_-]+", name.casefold())).strip()
