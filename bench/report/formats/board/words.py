"""The texts of the board that no record holds: its glossary, citations, and how a row is added."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.api.method import ZERO_SHOT
from bench.api.registry import datasets
from bench.core import __version__
from bench.report.document import Chapter
from bench.report.formats.board.cells import Data
from bench.report.formats.board.methods import method_data
from bench.report.glossary import ASKED, PROTOCOLS, RULES, Term

STATISTICS = "docs/statistics.md"
OWN_TERMS = (
    Term("ID", "In distribution: test images like the training images.", "docs/datasets.md"),
    Term(
        "OOD",
        "Out of distribution: test images that differ from the training images, such as sketches "
        "of the same things. Each such test set is a shift.",
        "docs/datasets.md",
    ),
    Term(
        "shift",
        "A set of test images that differ from the training images in one way, such as sketches.",
        "docs/datasets.md",
    ),
    Term(
        "OOD mean",
        "The plain mean over the shifts of the suite: how well a method holds up on other images.",
        "docs/datasets.md",
    ),
    Term("suite", "Training images, their test images (ID) and shifts.", "docs/datasets.md"),
    Term(
        "model",
        "The pretrained model that all methods start from, as ARCHITECTURE/WEIGHTS.",
        "docs/real-clip.md",
    ),
    Term(
        "Size",
        "The parameters of the two towers, image and text, counted from the model's architecture "
        "in open_clip. A row that combines models uses several image towers: see Encoders.",
        "docs/board.md",
    ),
    Term(
        "protocol",
        "The rules by which parameters are chosen and numbers are measured.",
        "docs/decisions/2026-11-22-protocols.md",
    ),
    Term(
        "metric",
        "What is measured on each set of test images: accuracy, or how far the confidences can be "
        "trusted (ECE, NLL, Brier).",
        STATISTICS,
    ),
    Term(
        "source",
        "Where a row's numbers are from: measured by bench, or copied from a published table.",
        "docs/published.md",
    ),
    Term(
        "base",
        "The fine-tuned model that a method is built on: + VRF on LP-FT combines LP-FT with the "
        "zero-shot model.",
        "docs/methods.md section 0",
    ),
    Term(
        "tuned",
        "A training whose learning rate, length and so on were searched on held-out images.",
        "docs/recipes.md",
    ),
    Term(
        "w/ LS",
        "Trained with label smoothing: towards a little of each class, not one class alone.",
        "docs/methods.md section 11",
    ),
    Term(
        "95% interval",
        "Where the number lies when chance is allowed for: other test images, other training runs, "
        "another choice of parameters.",
        STATISTICS,
    ),
    Term(
        "Rank",
        "1 is best. 1 to 3 means that the data do not separate this row from others: it may be "
        "first, and it may be third.",
        STATISTICS,
    ),
    Term("±", "The standard deviation over training runs. It is no interval.", STATISTICS),
    Term("bold", "The best number of its column as printed, chance not allowed for.", STATISTICS),
    Term("underlined", "No other row is significantly better in that column.", STATISTICS),
    Term(
        "published",
        "Copied digit by digit from a paper or a listing, not measured by bench, never ranked.",
        "docs/published.md",
    ),
    Term(
        "Paper",
        "Where the method was published; of a published row, the table that it is copied from.",
        "docs/published.md",
    ),
    Term(
        "ablation",
        "A method with one part changed, to test what makes it work. Not ranked.",
        "docs/methods.md section 0",
    ),
    Term(
        "fixed parameter",
        "A published row whose parameter was set beforehand, such as alpha 0.5, and not chosen.",
        "docs/board.md",
    ),
    Term(
        "oracle",
        "A row that looked at the test sets to choose its parameters. It shows what is possible, "
        "is no method, and is not ranked.",
        "docs/methods.md section 0",
    ),
    Term(
        "transductive",
        "Predicts a test image with statistics of all unlabelled images of its set, which other "
        "rows may not use. Not ranked.",
        "docs/methods.md section 17",
    ),
    Term("Accuracy", "The percentage of test images whose class is right.", STATISTICS),
    Term(
        "ECE",
        "Expected calibration error: how far confidence is from accuracy. Lower is better.",
        "docs/methods.md section 11",
    ),
    Term(
        "w/ TS",
        "After temperature scaling, which makes all confidences higher or lower by one number "
        "found on held-out images. w/o TS is without it.",
        "docs/methods.md section 11",
    ),
    Term(
        "NLL",
        "Negative log-likelihood of the right class. Lower is better.",
        "docs/methods.md section 11",
    ),
    Term(
        "Brier",
        "Squared distance of the probabilities from the truth. Lower is better.",
        "docs/methods.md section 11",
    ),
    Term(
        "Images",
        "Images seen in training, with repeats; heads fitted on stored features see none. There "
        "are no run times, which depend on the machine.",
        "docs/board.md",
    ),
    Term("Encoders", "How many image encoders each test image goes through.", "docs/board.md"),
    Term(
        "Chosen",
        "The parameters that were chosen for the row, as a range over training runs.",
        "docs/decisions/2026-11-22-selection-rule.md",
    ),
    *(
        Term(name, f"A protocol. {text}", "docs/decisions/2026-11-22-protocols.md")
        for name, text in PROTOCOLS.items()
    ),
    *(
        Term(name, text, "docs/decisions/2026-11-22-selection-rule.md")
        for name, text in RULES.items()
    ),
)
"""Words of the board that a stranger does not know."""
CITATION = f"""\
@software{{bench,
  title = {{bench: a benchmark suite and leaderboard harness for robust fine-tuning of CLIP-like \
zero-shot models}},
  author = {{{{The bench developers}}}},
  version = {{{__version__}}}
}}"""
"""How bench is cited, as CITATION.cff has it."""
ADDING = (
    "Run your method on a suite: bench run --suite SUITE --methods METHOD --seeds 0,1,2. A method "
    "of your own is one file of about 40 lines (docs/new-method.md).",
    "Put its row beside others on a page like this: bench board RUN... --out board.html "
    "(docs/board.md). Runs of the same suite, model and protocol share a board.",
    "For this project's board, add the run's folder to results/ and run python "
    "scripts/pages/results_page.py. For numbers of a paper, add a file to results/published/ "
    "(docs/published.md).",
)
"""How a row is added."""


def glossary(chapters: Sequence[Chapter], labels: Iterable[str]) -> Data:
    """Return what words mean, by word: those of the board, of the chapters, and method titles.

    `labels` are the registered names of the methods in the page.

    Examples
    --------
    >>> from bench.report.formats.board.words import glossary
    >>> glossary([], ["vrf"])["VRF"]["text"][:44]
    'Average of zero-shot and fine-tuned probabil'
    """
    found = {term.name: term for chapter in chapters for term in chapter.terms}
    for name in dict.fromkeys([ZERO_SHOT, *labels]):
        if (card := method_data(name)) is not None:
            page = "docs/methods.md section 0"
            found.setdefault(card["title"], Term(card["title"], card["idea"], page))
    own = {term.name.casefold() for term in OWN_TERMS}
    found = {name: term for name, term in found.items() if name.casefold() not in own}
    found |= {term.name: term for term in OWN_TERMS}
    for metric, text in ASKED.items():
        found.setdefault(metric, Term(metric, text, "docs/methods.md section 11"))
    return {name: {"text": term.text, "page": term.page} for name, term in found.items()}


def suite_data(names: Iterable[str]) -> Data:
    """Return title, shifts and citation of the suites that bench has, by name.

    Examples
    --------
    >>> from bench.report.formats.board.words import suite_data
    >>> suite_data(["mini", "my own"])["mini"]["title"][:30]
    'mini: drawings of objects, mad'
    """
    cards = {name: datasets()[name].card for name in dict.fromkeys(names) if name in datasets()}
    return {
        name: {
            "title": card.title,
            "source": card.source,
            "licence": card.licence,
            "shifts": dict(card.shifts),
            "citation": card.citation,
        }
        for name, card in cards.items()
    }
