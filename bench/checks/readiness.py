"""Whether the data sets that a run needs are ready, prepared where their archives lie at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.checks.verify_data import Finding, Inspector
from bench.core.errors import BenchError
from bench.core.progress import Progress
from bench.data.cards import SetCard, cards
from bench.data.download.acquire import DOWNLOADS, prepare_set
from bench.data.folder import DataFolder


def data_findings(
    folder: DataFolder, names: Sequence[str], progress: Progress, *, verify: bool = False
) -> list[Finding]:
    """Return what is known of the named sets: found, counted, and with `verify` every file read.

    A set that is not complete is prepared first if there are archives of it in
    ``DATA/bench-downloads/NAME``.
    """
    inspector, found = Inspector(folder), list[Finding]()
    for name in names:
        finding = inspector.status(name)
        if finding.state != "complete" and (packed := _archives_of(folder, name)):
            try:
                prepare_set(cards()[name], packed, progress)
            except BenchError as error:
                finding = replace(finding, problems=(*finding.problems, str(error)))
            else:
                inspector = Inspector(folder)
                finding = inspector.status(name)
        if verify and finding.state == "complete":
            with progress.task(f"verify {name}", 0) as task:
                finding = inspector.verify(name, task.advance)
        found.append(finding)
    return found


def _archives_of(folder: DataFolder, name: str) -> Path | None:
    """Return the data folder if archives of a set lie in it; copies of a set have none."""
    if folder.root is None or folder.synthetic is not None:
        return None
    return folder.root if (folder.root / DOWNLOADS / name).is_dir() else None


def how_to_get(card: SetCard) -> str:
    """Say in one line how to get a set: the command or the page, its size, and its terms.

    Examples
    --------
    >>> from bench.checks.readiness import how_to_get
    >>> from bench.data.cards import cards
    >>> how_to_get(cards()["imagenet-v2"])
    'bench data download imagenet-v2 (1.26 GB, from https://github.com/modestyachts/ImageNetV2)'
    >>> how_to_get(cards()["imagenet"]).partition(" (")[0]
    'bench data download imagenet says which archives to get and where to put them'
    """
    by_hand = any(not archive.urls for archive in card.archives)
    what = " says which archives to get and where to put them" if by_hand else ""
    terms = f"; terms to accept: {card.terms.licence}" if card.terms.gated else ""
    return f"bench data download {card.name}{what} ({card.download}, from {card.source}{terms})"
