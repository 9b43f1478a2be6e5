"""The part of results/README.md on curves over alpha of CLIP that others measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.leaderboard.board import ID
from bench.leaderboard.published.curves import PublishedCurve, published_curves, rule_picks
from bench.report.figures.elsewhere import curves_chart
from bench.report.figures.rasterize import chart_svg
from bench.report.formats.text import escape, markdown_table
from bench.report.tables.elsewhere import NOTE, points_table, rules_table

SUITE = "imagenet"
SHIFTS = ("v2", "sketch", "a", "r", "objectnet")
PICTURE = "elsewhere.svg"
TITLE = "Measured elsewhere: CLIP on ImageNet"
ABOUT = """\
These rows are foreign: published curves over alpha of CLIP models fine-tuned on ImageNet, from
[published tables](published/README.md). Nothing here was measured or verified by us, and none of
it is ranked with the rows above. The weights are real CLIP's, so the curves show what the suites
with small models can only imitate. [docs/published.md](../docs/published.md#curves-over-alpha)
has the sources and their caveats. One of them does not state its pretrained weights, and measures
ObjectNet with other class names or another crop.
"""


def curves() -> tuple[PublishedCurve, ...]:
    """Return the published curves that have all five shifts."""
    return tuple(curve for curve in published_curves(SUITE) if curve.covers(SHIFTS))


def picture() -> bytes:
    """Return the figure of all curves as SVG."""
    return chart_svg(curves_chart(curves(), SHIFTS), ["measured elsewhere"])


def comparison(found: Sequence[PublishedCurve]) -> str:
    """Return a sentence that compares the picks of the two rules on the curves."""
    within, greedy = zip(*(rule_picks(curve).values() for curve in found), strict=True)
    pairs = list(zip(within, greedy, strict=True))
    of_id = [100 * (one.values[ID] - other.values[ID]) for one, other in pairs]
    ood = [100 * (one.ood(SHIFTS) - other.ood(SHIFTS)) for one, other in pairs]
    higher, same = sum(d > 0 for d in ood), sum(d == 0 for d in ood)
    return (
        f"Where within-1pt and max-val would point if the published ID accuracies were of a "
        f"selection split: within-1pt has the higher OOD mean on {higher} of {len(found)} curves "
        f"and the same point on {same}. Its OOD mean is {min(ood):+.1f} to {max(ood):+.1f} points "
        f"from max-val's, its ID {min(of_id):+.1f} to {max(of_id):+.1f}. The curves are not "
        "independent: several share a zero-shot model, a training or a source."
    )


def parts() -> Iterator[str]:
    """Yield the parts of the section, the first is its heading."""
    found = curves()
    chart, table = curves_chart(found, SHIFTS), rules_table(found, SHIFTS)
    yield f"## {TITLE}"
    yield ABOUT
    yield f"![{escape(chart.title)}]({PICTURE})"
    yield escape(chart.caption)
    yield comparison(found)
    yield f"### {escape(table.caption)}"
    yield markdown_table(table)
    yield escape(NOTE)
    yield "<details><summary>Every point of the curves</summary>"
    for curve in found:
        content = points_table(curve, SHIFTS)
        yield f"[{escape(content.caption)}](published/README.md#{curve.table})"
        yield markdown_table(content)
    yield "</details>"


def path(results: Path) -> Path:
    """Return the path of the figure in the folder of results."""
    return results / PICTURE
