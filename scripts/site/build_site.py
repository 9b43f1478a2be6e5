#!/usr/bin/env python
"""Build the documentation site: python scripts/site/build_site.py OUT

OUT/site is the site, OUT/pages what it is made from: both are made anew. Pages are those of docs/,
of results/ and those made from the code (`site_reference.py`); docs/mkdocs.yml has their order. A
link that leads nowhere is an error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from site_files import mirror, redirect
from site_reference import reference

ROOT = Path(__file__).parents[2]
PAGES: Mapping[str, str] = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
"""Where pages that lie outside of docs/ and results/ are on the site."""
INDEXES: Mapping[str, str] = {"docs/decisions": "docs/decisions/index.md"}
"""Pages made from the code that stand for folders."""
BOARDS = ("results/index.html",)
"""HTML pages that pages of the site link."""
LINK = re.compile(r"\[([^\[\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`|^ {4}.*?$)", re.MULTILINE | re.DOTALL)

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def place(path: str) -> str | None:
    """Return where a file of the repository is on the site; None for what is no page of it."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return path if path.startswith("results/") and path.endswith(".md") else None


def pages() -> Iterator[str]:
    """The pages that are written by hand or committed: their paths in the repository."""
    yield "CONTRIBUTING.md"
    for folder in ("docs", "results"):
        for path in sorted((ROOT / folder).rglob("*.md")):
            if not path.is_relative_to(ROOT / "results" / "runs"):
                yield path.relative_to(ROOT).as_posix()


def stage(page: str, out: Path) -> None:
    """Write a page with its links as they are on the site; files that it links are copied.

    Raises FileNotFoundError for a link that leads nowhere.
    """
    target = place(page)
    assert target is not None

    def moved(match: re.Match[str]) -> str:
        text, link, anchor = match.groups()
        if re.match(r"[a-z]+:", link):
            return match[0]
        found = PurePosixPath(os.path.normpath(PurePosixPath(page).parent / link)).as_posix()
        if not (ROOT / found).exists():
            raise FileNotFoundError(f"{page} links to {link}")
        if (ROOT / found).is_dir():
            index = INDEXES.get(found, f"{found}/README.md")
            if found not in INDEXES and not (place(index) and (ROOT / index).is_file()):
                return text
            found = index
        there = place(found) or f"files/{found}"
        if not there.endswith(".md"):
            (out / there).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / found, out / there)
        relative = os.path.relpath(there, PurePosixPath(target).parent)
        return f"[{text}]({relative}{anchor or ''})"

    parts = CODE.split((ROOT / page).read_text(encoding="utf-8"))
    parts[::2] = [LINK.sub(moved, part) for part in parts[::2]]
    (out / target).parent.mkdir(parents=True, exist_ok=True)
    (out / target).write_text("".join(parts), encoding="utf-8")


def build(out: Path) -> None:
    """Build the site in a folder. Raises SystemExit if a page or a link is not right."""
    for made in ("pages", "site"):
        shutil.rmtree(out / made, ignore_errors=True)
    for page in pages():
        stage(page, out / "pages")
    for path, text in reference(ROOT):
        (out / "pages" / path).parent.mkdir(parents=True, exist_ok=True)
        (out / "pages" / path).write_text(text, encoding="utf-8")
    shutil.copyfile(ROOT / "docs" / "mkdocs.yml", out / "mkdocs.yml")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(ROOT)]),
        "BENCH_SOURCES": str(ROOT),
    }
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    done = subprocess.run(command, cwd=out, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(COLOUR.sub("", done.stdout + done.stderr))
    files = out / "site" / "files"
    for page in BOARDS:
        (files / page).unlink(missing_ok=True)
        mirror(ROOT, page, files)
    redirect([(page, place(page) or "") for page in pages()], files)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
