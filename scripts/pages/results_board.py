"""results/index.html: the interactive board of all committed runs and published tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.models.sources.configurations import parameters_of
from bench.report.formats.board.folder import described_runs
from bench.report.formats.board.page import board_html
from bench.report.formats.board.view import board_view
from bench.report.glossary import path_to_root
from bench.report.run_folder import ReportSources

FINDINGS = "findings.html"
"""The page with what the committed runs show, and the reproduction ledger."""
LINKS = {"Findings and reproduction ledger": FINDINGS, "Published tables": "published/index.html"}


def board(results: Path, runs: Sequence[str]) -> str:
    """Return the page of the runs with these names in the folder `results`."""
    content, keys = ReportSources(tuple(results / name for name in runs)).content()
    about = described_runs(results, keys)
    view = board_view(content.chapters, about, all_published=True, parameters=parameters_of)
    return board_html(view, root=path_to_root(results), links=LINKS)
