"""Extension of griffe: the docstrings of bench in the form that the reference of the site reads.

In ``name : text`` of a section the text describes; numpydoc would take it for a type. The types
are those of the signature. Sentences behind the last item of a section belong to no item.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ITEM = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*) : (.+(?:\n +.*)*)$", re.MULTILINE)
PAGE = re.compile(r"\bdocs/((?:[a-z]+/)?[a-z0-9-]+)\.md")
SECTION = re.compile(r"(Parameters|Attributes|Examples|Returns|Raises)\n-{3,}\n")


def readable(docstring: str) -> str:
    """Return a docstring with descriptions below their names, and pages of the site as links."""
    before: list[str] = []
    sections: list[str] = []
    examples = False
    for part in docstring.split("\n\n"):
        examples |= part.startswith("Examples\n---")
        is_item = SECTION.match(part) or ITEM.match(part) or part.startswith(" ") or examples
        (sections if is_item and (sections or SECTION.match(part)) else before).append(
            part if examples else _linked(part)
        )
    return "\n\n".join(before + sections)


def _linked(part: str) -> str:
    named = ITEM.sub(_items, part.replace("][", r"]\["))
    return PAGE.sub(r"[docs/\1.md](../../../\1/)", named)


def _items(found: re.Match[str]) -> str:
    """Each name by itself: of several, the reference would show the default of the first."""
    names, text = found.groups()
    return "\n".join(f"{name}\n    {text}" for name in names.split(", "))


class Docstrings(griffe.Extension):
    """Applies `readable` to the docstring of every object."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring before it is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = readable(obj.docstring.value)
