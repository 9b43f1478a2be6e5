"""For tests: the folders of the checkout and of real images, which not every machine has."""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("BENCH_TEST_DATA", ROOT.parent / "shared" / "data"))


def unlinked(report: Path) -> str:
    """A report in Markdown, its links to the documentation as names: they follow its folder."""
    return re.sub(r"\[(docs/[^]]+)\]\([^)]*\)", r"\1", report.read_text(encoding="utf-8"))
