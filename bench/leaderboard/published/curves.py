"""Curves over alpha in published tables: measured elsewhere, shown beside ours, never ranked.

The ID values are those of the source's test set, and there is no selection split. So what a
selection rule picks on a published curve (`rule_picks`) is a check of the curve's shape. It is not
a result under a protocol.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from statistics import fmean

from bench.api.metrics import ACCURACY
from bench.leaderboard.board import ID
from bench.leaderboard.published.places import PLACES
from bench.leaderboard.published.tables import PublishedRow, PublishedTable, published_tables
from bench.posthoc.selection import RULES, choose

LEAST_POINTS = 3
"""The least number of alphas of a curve."""


@dataclass(frozen=True)
class PublishedPoint:
    """The accuracies of one alpha, fractions by evaluation set (``id`` and shifts).

    Examples
    --------
    >>> from bench.leaderboard.published.curves import PublishedPoint
    >>> PublishedPoint(0.5, {"id": 0.7, "v2": 0.6, "a": 0.2}).ood(["v2", "a"])
    0.4
    """

    alpha: float
    values: Mapping[str, float]

    def ood(self, shifts: Iterable[str]) -> float:
        """Return the unweighted mean over `shifts`, a fraction."""
        return fmean(self.values[shift] for shift in shifts)


@dataclass(frozen=True)
class PublishedCurve:
    """An alpha curve of one training, as a published table states it; `points` by rising alpha.

    Attributes
    ----------
    table : the name of the table.
    backbone : the backbone, as the table names it.
    row : the row of bench that it corresponds to, such as ``wise-ft:e2e-ft``.
    training : what tells it from other curves of the row in the table; empty if it is the only one.

    Examples
    --------
    >>> from bench.leaderboard.published.curves import published_curves
    >>> curve = published_curves("imagenet")[0]
    >>> curve.title, len(curve.points)
    ('ViT-B/32 (LAION-400M), wise-ft:e2e-ft, lr 3e-07, augmentation 1', 11)
    """

    table: str
    backbone: str
    row: str
    training: str
    points: tuple[PublishedPoint, ...]

    @property
    def title(self) -> str:
        """Its backbone, row and training."""
        return ", ".join(filter(None, (self.backbone, self.row, self.training)))

    def covers(self, shifts: Iterable[str]) -> bool:
        """Return whether every point has a value on ID and on all of the shifts."""
        return all(point.values.keys() >= {ID, *shifts} for point in self.points)


@cache
def published_curves(suite: str) -> tuple[PublishedCurve, ...]:
    """Return the curves over alpha on the evaluation sets of a suite, in the order of the tables.

    A curve needs `LEAST_POINTS` alphas with an accuracy on ID and on a shift.

    Examples
    --------
    >>> from bench.leaderboard.published.curves import published_curves
    >>> len(published_curves("imagenet")) > 10, published_curves("mini")
    (True, ())
    """
    found = (curve for t in published_tables().values() for curve in _curves(t, suite))
    return tuple(curve for curve in found if len(curve.points) >= LEAST_POINTS)


def rule_picks(curve: PublishedCurve) -> Mapping[str, PublishedPoint]:
    """Return the point that each selection rule picks on a curve, by the source's ID accuracy.

    The rules are those of `bench.posthoc.selection`; alpha is the weight on the fine-tuned model.

    Examples
    --------
    >>> from bench.leaderboard.published.curves import published_curves, rule_picks
    >>> curve = published_curves("imagenet")[0]
    >>> {rule: point.alpha for rule, point in rule_picks(curve).items()}
    {'within-1pt': 0.8, 'max-val': 1.0}
    """
    of_id = [point.values[ID] for point in curve.points]
    alphas = [point.alpha for point in curve.points]
    return {rule: curve.points[choose(of_id, alphas, rule)] for rule in RULES}


def best_mean(curve: PublishedCurve, shifts: Collection[str]) -> PublishedPoint:
    """Return the point with the highest mean over `shifts`: chosen on test sets, no rule gets it.

    Ties go to the smaller alpha.

    Examples
    --------
    >>> from bench.leaderboard.published.curves import best_mean, published_curves
    >>> best_mean(published_curves("imagenet")[0], ["v2", "a"]).alpha
    1.0
    """
    return max(curve.points, key=lambda point: (point.ood(shifts), -point.alpha))


def _curves(table: PublishedTable, suite: str) -> list[PublishedCurve]:
    places = [
        PLACES.get(column.dataset) if column.metric == ACCURACY.name else None
        for column in table.columns
    ]
    points: dict[tuple[str, str, str], list[PublishedPoint]] = defaultdict(list)
    for group, row in table.rows:
        if row.given.keys() != {"alpha"} or row.minus or row.ours is None:
            continue
        values = {
            place.shift: float(text) / (100 if column.unit == "percent" else 1)
            for place, column, text in zip(places, table.columns, row.cells, strict=True)
            if place is not None and place.suite == suite and text is not None
        }
        if ID in values and len(values) > 1:
            key = group.backbone, row.ours, _training(row)
            points[key].append(PublishedPoint(row.given["alpha"], values))
    return [
        PublishedCurve(table.name, *key, tuple(sorted(found, key=lambda point: point.alpha)))
        for key, found in points.items()
    ]


def _training(row: PublishedRow) -> str:
    return str(row.modifiers.get("training", ""))
