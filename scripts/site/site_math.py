"""Markdown extension: LaTeX between dollar signs becomes MathML, which browsers draw themselves.

``$x^2$`` stands in a line, ``$$x^2$$`` on lines of its own. No script and no font is loaded.
"""

from __future__ import annotations

import re
from re import Match
from typing import Any

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.inlinepatterns import InlineProcessor

BLOCK, INLINE = r"\$\$(.+?)\$\$", r"\$(?=\S)([^$\n]+?)(?<=\S)\$"


class _Formula(InlineProcessor):
    def __init__(self, pattern: str, markdown: Markdown, display: str) -> None:
        super().__init__(pattern, markdown)
        self.display = display

    def handleMatch(self, match: Match[str], data: str) -> tuple[str, int, int]:  # type: ignore[override]
        formula = convert(match[1].strip(), display=self.display)
        if unknown := re.search(r"\\\w+", formula):
            raise ValueError(f"{unknown[0]} of ${match[1]}$: not a command that latex2mathml knows")
        return self.md.htmlStash.store(formula), match.start(0), match.end(0)


class MathML(Extension):
    """The extension, by the name of this module in the configuration of the site."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Look for formulas before emphasis and escapes, and after code."""
        md.inlinePatterns.register(_Formula(BLOCK, md, "block"), "math-block", 186)
        md.inlinePatterns.register(_Formula(INLINE, md, "inline"), "math", 185)


def makeExtension(**options: Any) -> MathML:
    """Return the extension, as Markdown asks for it."""
    return MathML(**options)
