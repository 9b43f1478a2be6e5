#!/usr/bin/env python
"""Draw the figures of docs/tutorials/reading-a-report.md: python scripts/site/reading_figures.py

They are those of ``bench report results/mini --format svg``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bench.core.paths import write_atomic
from bench.report.run_folder import rewrite_reports

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "tutorials" / "figures"
FIGURES = ("id-ood", "differences", "reliability", "distance-vrf-e2e-ft")


def draw(folder: Path) -> None:
    """Write the figures into a folder."""
    with tempfile.TemporaryDirectory() as temporary:
        rewrite_reports(Path(temporary), [ROOT / "results" / "mini"], None, ["svg"])
        for name in FIGURES:
            drawn = Path(temporary, "figures", f"{name}.svg").read_bytes()
            write_atomic(folder / f"{name}.svg", drawn)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if sys.argv[1:] else FOLDER)
