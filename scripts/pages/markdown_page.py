"""Convert a Markdown page to one self-contained HTML page, in the style of the reports.

The page fetches nothing and runs no script. Links to Markdown pages with an HTML version lead to
that version.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

FETCH_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'"
POLICY = f"{FETCH_NOTHING}; style-src 'unsafe-inline'; img-src data:"
HTML_OF = {
    "../README.md": "../findings.html",
    "README.md": "index.html",
    "report.md": "report.html",
}
"""The HTML version of each Markdown file, by the whole target of a link or else by its name."""
KINDS = {"+": "member", "Δ": "difference"}
"""The CSS class of a table's line by the sign before its name."""
MORE = """
a { color: var(--best); }
main > p, main > ul { max-width: 60rem; }
main > ul, details > ul { color: inherit; font-size: inherit; }
pre { background: var(--tint); padding: .5rem .7rem; overflow-x: auto; font-size: .8rem; }
code { font-size: .9em; overflow-wrap: anywhere; }
pre code { font-size: inherit; overflow-wrap: normal; }
img { max-width: 100%; background: white; }
details { margin: 0 0 1rem; }
summary { cursor: pointer; font-weight: 600; font-size: .9rem; margin-bottom: .5rem; }
tbody td { max-width: 34rem; }
tbody td:last-child:not(.n) { min-width: 16rem; }
@media (max-width: 45rem) { pre { white-space: pre-wrap; } }
@media print {
  pre { white-space: pre-wrap; }
  details::details-content { content-visibility: visible; }
}
"""
"""Styles in addition to those of reports."""
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}</main>
</body>
</html>
"""


def page(markdown: str, folder: Path) -> str:
    """Return the HTML page. Its title is the first heading; pictures are SVG files in `folder`."""
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    parser.add_render_rule("table_open", _table_open)
    parser.add_render_rule("table_close", _table_close)
    tokens = parser.parse(markdown)
    _headings(tokens)
    _cells(tokens)
    _links(tokens)
    _pictures(tokens, folder)
    templates = files("bench.report.formats") / "templates"
    style = (templates / "report.css").read_text(encoding="utf-8") + MORE
    return PAGE.format(
        policy=POLICY,
        title=html.escape(tokens[1].content),
        style=style,
        body=parser.renderer.render(tokens, parser.options, {}),
    )


def anchor(heading: str) -> str:
    """Return the anchor that GitHub generates for a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _table_open(*_: object) -> str:
    return '<div class="scroll" role="region" tabindex="0" aria-label="Table">\n<table>\n'


def _table_close(*_: object) -> str:
    return "</table>\n</div>\n"


def _headings(tokens: Sequence[Token]) -> None:
    """Give sections (h2) an id; headings below them are not unique."""
    for opening, content in pairwise(tokens):
        if opening.type == "heading_open" and opening.tag == "h2":
            opening.attrSet("id", anchor(content.content))


def _cells(tokens: Sequence[Token]) -> None:
    """Right-align numbers; make a line's first cell its header and set the class of the line."""
    line: Token | None = None
    first = False
    for token, after in pairwise(tokens):
        if token.type == "tr_open":
            line, first = token, True
        elif token.type in ("th_open", "td_open"):
            if "right" in str(token.attrs.pop("style", "")):
                token.attrSet("class", "n")
            if token.type == "th_open":
                token.attrSet("scope", "col")
            elif first:
                token.tag = "th"
                token.attrSet("scope", "row")
                sign = after.content.lstrip("\\")[:1]
                if line is not None and sign in KINDS:
                    line.attrSet("class", KINDS[sign])
        elif token.type in ("th_close", "td_close"):
            token.tag = "th" if first else token.tag
            first = False


def _links(tokens: Sequence[Token]) -> None:
    for token in tokens:
        for inner in token.children or ():
            if inner.type == "link_open":
                target, hash_, place = str(inner.attrGet("href")).partition("#")
                folder, slash, name = target.rpartition("/")
                found = HTML_OF.get(target) or f"{folder}{slash}{HTML_OF.get(name, name)}"
                inner.attrSet("href", f"{found}{hash_}{place}")


def _pictures(tokens: Sequence[Token], folder: Path) -> None:
    """Embed pictures into the page."""
    for token in tokens:
        for inner in token.children or ():
            if inner.type == "image":
                data = base64.b64encode((folder / str(inner.attrGet("src"))).read_bytes())
                inner.attrSet("src", f"data:image/svg+xml;base64,{data.decode()}")
