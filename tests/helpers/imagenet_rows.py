"""For tests: invented rows on all images of a suite, and the figure of OOD mean against ID."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from browser import run_of_chance

from bench.core.records import Record
from bench.leaderboard.published.baselines import Baseline
from bench.report.document import document
from bench.report.figures.spec import Chart

IMAGENET = {
    "id": 50_000, "v2": 10_000, "sketch": 50_889, "a": 7_500, "r": 30_000, "objectnet": 18_574,
}  # fmt: skip


def rows(suite: str, sizes: Mapping[str, int]) -> list[Record]:
    """Return records that claim the given set sizes, although few samples were used."""
    made, _ = run_of_chance(dict.fromkeys(sizes, 60), seeds=(0,))
    return [r.model_copy(update={"suite": suite, "n": sizes[r.shift]}) for r in made]


def scatter(records: Sequence[Record], given: Sequence[Baseline] = ()) -> Chart:
    (chapter,) = document(records, baselines=given).chapters
    return next(figure for figure in chapter.figures if figure.name == "id-ood")


def on_request(figure: Chart) -> list[str]:
    """The layers that the page draws on request."""
    assert figure.spec is not None
    return [layer["name"] for layer in figure.spec.get("usermeta", {}).get("on_request", ())]
