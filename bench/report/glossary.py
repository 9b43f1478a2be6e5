"""What a newcomer needs on the first screen of a report: what it is about, and its terms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.api.method import ZERO_SHOT, Method
from bench.api.metrics import FURTHER
from bench.api.registry import datasets, methods
from bench.leaderboard.board import Board, BoardRow
from bench.leaderboard.suite_results import SuiteResults
from bench.report.headline import CHANCE

INTRODUCTION = (
    "A zero-shot model such as CLIP classifies images without being trained for them. Fine-tuning "
    "makes it better on images like its training images (ID) and often worse on images that differ "
    "(OOD). The methods compared here try to have both."
)
PROTOCOLS = {
    "clean": "Every parameter is chosen on held-out training images, never on a test set.",
    "official": "As the published codes do it, which choose on the ID test set.",
}
"""What the protocols mean, by name."""
RULES = {
    "within-1pt": "How parameters are chosen: among candidates within 1 point of the best accuracy "
    "on held-out images, the one closest to zero-shot.",
    "max-val": "How parameters are chosen: the candidate with the best accuracy.",
}
"""What the selection rules mean, by name."""
ASKED = {
    "balanced": "The accuracy on the samples of a class, averaged over classes.",
    "worst-class": "The accuracy on the samples of the class where it is lowest.",
    "adaptive-ece": "The ECE in bins of equally many samples.",
    "classwise-ece": "The ECE of the probability of a class, averaged over classes.",
    "auroc": "How often a right prediction is more confident than a wrong one; half of the time is "
    "chance.",
    "aurc": "The error rate among the most confident samples, averaged over how many are kept.",
}
"""What the metrics that a run was asked for mean, by name."""


@dataclass(frozen=True)
class Term:
    """A term, what it means, and the page of the documentation that says more, maybe a section.

    Examples
    --------
    >>> from bench.report.glossary import Term
    >>> Term("ID", "In distribution.", "docs/datasets.md").name
    'ID'
    """

    name: str
    text: str
    page: str

    @property
    def file(self) -> str:
        """The path of the page in the repository."""
        return self.page.partition(" ")[0]


def terms(numbers: SuiteResults, best: Sequence[BoardRow], headline: str) -> tuple[Term, ...]:
    """Return the terms of a leaderboard and its headline, which names the `best` rows.

    Examples
    --------
    >>> from bench.leaderboard.suite_results import measured
    >>> from bench.report.glossary import terms
    >>> from bench.testing.fakes import fake_records
    >>> (results,) = measured(fake_records())
    >>> [term.name for term in terms(results, results.board.rows[-1:], "")]
    ['ID', 'OOD', 'Zero-shot', 'E2E-FT', 'VRF', 'clean']
    """
    return tuple(_terms(numbers, best, headline))


def new_terms(found: Iterable[Term], known: Iterable[Term]) -> tuple[Term, ...]:
    """Return each term once, without those that are `known`.

    Examples
    --------
    >>> from bench.report.glossary import Term, new_terms
    >>> one, other = (Term(name, "", "") for name in ("ID", "OOD"))
    >>> new_terms([one, other, one], known=[other]) == (one,)
    True
    """
    before = set(known)
    return tuple(dict.fromkeys(term for term in found if term not in before))


def path_to_root(folder: Path) -> str:
    """Return the relative path from a folder to the repository with the documentation, if any.

    Elsewhere the text is empty: then a report names pages of the documentation and links none.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.report.glossary import path_to_root
    >>> Path("docs").mkdir()
    >>> Path("docs/statistics.md").touch()
    >>> Path("bench/report").mkdir(parents=True)
    >>> path_to_root(Path("results/mini"))
    '../..'
    """
    full = folder.resolve()
    for up, parent in enumerate((full, *full.parents)):
        if (parent / "docs" / "statistics.md").is_file() and (parent / "bench" / "report").is_dir():
            return "/".join([".."] * up) or "."
    return ""


def linked_root(report: bytes) -> str:
    """Return the `path_to_root` with which a report was written, as its links show; else ''.

    A report may have been moved since.

    Examples
    --------
    >>> from bench.report.glossary import linked_root
    >>> linked_root(b'<a href="../../docs/datasets.md">'), linked_root(b"(docs/datasets.md)")
    ('../..', '')
    """
    found = re.search(rb"[\"(](\.|\.\.(?:/\.\.)*)/docs/", report)
    return found[1].decode() if found else ""


def _terms(numbers: SuiteResults, best: Sequence[BoardRow], headline: str) -> Iterator[Term]:
    board = numbers.board
    if board.suite in datasets():
        *_, title = datasets()[board.suite].card.title.partition(": ")
        yield Term(board.suite, f"The data: {title or board.suite}.", "docs/datasets.md")
    yield Term("ID", "In distribution: test images like the training images.", "docs/datasets.md")
    if board.over:
        names = ", ".join(board.over[:5]) + (", ..." if len(board.over) > 5 else "")
        text = f"Out of distribution: test images that differ ({names}); each such set is a shift."
        mean = f" The {board.over_shifts} is the plain mean over them." if board.averaged else ""
        yield Term("OOD", text + mean, "docs/datasets.md")
    yield from _methods(board, best)
    if any(row.role == "transductive" for row in board.rows):
        text = (
            "Predicts a test image with statistics of all unlabelled images of its set, which "
            "other rows may not use. Such rows are not ranked."
        )
        yield Term("Transductive", text, "docs/methods.md section 17")
    if any(cell.mean is not None for row in numbers.common["ece"].rows for cell in row.cells):
        text = "Expected calibration error: how far confidence is from accuracy. Lower is better."
        yield Term("ECE", text, "docs/methods.md section 11")
    for metric in (FURTHER[name] for name in FURTHER if name in numbers.common):
        better = "Higher" if metric.higher_is_better else "Lower"
        text = f"{ASKED[metric.name]} {better} is better."
        yield Term(metric.title, text, "docs/methods.md section 11")
    name = board.protocol.partition(",")[0]
    if name in PROTOCOLS:
        page = "docs/decisions/2026-11-22-protocols.md"
        yield Term(name, f"A protocol. {PROTOCOLS[name]}", page)
    rules = {str((record.chosen_on or {}).get("rule")) for record in numbers.records}
    for rule in (rule for rule in RULES if rule in rules):
        yield Term(rule, RULES[rule], "docs/decisions/2026-11-22-selection-rule.md")
    if CHANCE in headline:
        text = (
            "The probability that one or more of all such statements about a column are wrong is "
            "about 5% at most (family-wise error rate, Holm)."
        )
        yield Term(CHANCE, text, "docs/statistics.md")


def _methods(board: Board, best: Sequence[BoardRow]) -> Iterator[Term]:
    """Zero-shot, and the methods and bases of the best rows, in the order of the leaderboard."""
    named = {row.method for row in best} | {row.base for row in best} | {ZERO_SHOT}
    for row in board.rows:
        method: type[Method] | None = methods().get(re.split(r"[@+]", row.method)[0])
        if row.method in named and method is not None:
            named.remove(row.method)
            yield Term(row.title, method.summary, "docs/methods.md section 0")
