"""Files of results/ on the site: they lie below files/ as in the repository, with what they link.

Links of these HTML pages to pages of the repository lead to a redirection, which lies in their
place, so that nothing in the files is changed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

FILE = re.compile(r'"([\w./-]+\.(?:html|jsonl?|svg))["#]')
"""What may be the relative address of a file, in attributes and in data."""
REDIRECTION = (
    '<!doctype html><meta charset="utf-8"><title>{page}</title>'
    '<script>location.replace("{way}" + location.hash)</script>'
    '<noscript><meta http-equiv="refresh" content="0; url={way}"></noscript>'
    '<a href="{way}">{page}</a>\n'
)


def mirror(root: Path, page: str, out: Path) -> None:
    """Copy an HTML page of the repository at `root`, and the files that it names, one by one."""
    if (out / page).exists():
        return
    (out / page).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / page, out / page)
    if not page.endswith(".html"):
        return
    for named in sorted(set(FILE.findall((root / page).read_text(encoding="utf-8")))):
        found = os.path.normpath(PurePosixPath(page).parent / named)
        if found.startswith("results/") and (root / found).is_file():
            mirror(root, found, out)


def redirect(pages: Iterable[tuple[str, str]], out: Path) -> None:
    """Write a redirection for each (page of the repository, Markdown page of the site)."""
    for page, target in pages:
        there = PurePosixPath(target)
        address = there.parent if there.stem in ("index", "README") else there.with_suffix("")
        way = os.path.relpath(address, PurePosixPath("files") / page) + "/"
        (out / page).mkdir(parents=True, exist_ok=True)
        made = REDIRECTION.format(page=page, way=way)
        (out / page / "index.html").write_text(made, encoding="utf-8")
