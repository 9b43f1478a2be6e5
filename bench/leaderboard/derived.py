"""Records derived from other records, without a new prediction.

A pooled figure is one figure of a row over all evaluation sets together, like VRF's figure 2.
An oracle shows what an ensemble would reach if its alpha were chosen on the test sets. It is not a
method: it shows what is lost by choosing alpha without the shifts. Oracles are computed from the
curves of a run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from statistics import fmean
from typing import Any

from bench.api.metrics import OWN, averageable
from bench.core.records import Record

POOLED = "pooled"
"""The `shift` of a pooled figure; it comes after the last shift."""


def pool_figures(records: Iterable[Record]) -> list[Record]:
    """Return a pooled record for each figure of a row and seed: counts over ID and all shifts.

    Every sample counts the same, so large sets weigh more than small ones. A figure is not pooled
    if it is missing on a set that other rows of the run were measured on, if there is only one set,
    or if bins differ.

    Examples
    --------
    >>> from bench.leaderboard.derived import pool_figures
    >>> from bench.testing.fakes import fake_records
    >>> data = {"edges": [0, 1], "n": [10]}
    >>> figure = {"kind": "figure", "metric": "distance", "data": data}
    >>> figures = [record.model_copy(update=figure) for record in fake_records()[-3:]]
    >>> pool_figures([*fake_records(), *figures])[0].data
    {'edges': [0, 1], 'n': [30]}
    """
    measured: dict[tuple[object, ...], set[str]] = defaultdict(set)
    figures: dict[tuple[tuple[object, ...], ...], list[Record]] = defaultdict(list)
    for record in records:
        run: tuple[object, ...] = (record.suite, record.model, record.protocol, record.notes)
        if record.kind == "cell":
            measured[run].add(record.shift)
        elif record.kind == "figure":
            row = (record.method, record.base, record.seed, record.metric)
            figures[run, row].append(record)
    found = []
    for (of_run, _), parts in figures.items():
        places = measured[of_run] | {part.shift for part in parts}
        bins = {str((part.data or {}).get("edges")) for part in parts}
        if len(parts) == len(places) > 1 and len(bins) == 1:
            found.append(_pooled(sorted(parts, key=lambda part: part.order)))
    return found


def _pooled(parts: Sequence[Record]) -> Record:
    """Return the parts as one record: counts are summed, value and weight averaged over samples."""
    n = sum(part.n for part in parts)
    have_weights = all(part.weight is not None for part in parts)
    return parts[0].model_copy(
        update={
            "shift": POOLED,
            "order": parts[0].shifts_in_suite + 1,
            "n": n,
            "value": sum(part.value * part.n for part in parts) / n,
            "weight": sum((p.weight or 0) * p.n for p in parts) / n if have_weights else None,
            "data": _summed_counts([part.data or {} for part in parts]),
            "provenance": {"keys": [part.provenance.get("key") for part in parts]},
        }
    )


def _summed_counts(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the counts summed by bin; the ``edges`` of the bins, the same in all parts, stay."""
    counts = parts[0].keys() - {"edges"}
    sums = {name: [sum(c) for c in zip(*(p[name] for p in parts), strict=True)] for name in counts}
    return {"edges": parts[0]["edges"]} | sums


MEAN, EACH = "oracle-mean", "oracle-each"
"""Suffixes of a method's name: one alpha for all columns, or the best alpha of each column."""


_TITLES = {MEAN: "best alpha", EACH: "best alpha by column"}


_RULES = {MEAN: "highest OOD mean of {}", EACH: "highest {} in each column"}


_OWN = "own metric"


_Points = Mapping[tuple[float, str, str], Record]
"""A curve by (alpha, shift, metric)."""


def oracle_records(records: Iterable[Record]) -> list[Record]:
    """Return two oracle rows for each row and seed with a complete curve over alpha.

    ``METHOD-oracle-mean`` takes the alpha with the highest mean accuracy over the shifts; there is
    no such row if there are no shifts. ``METHOD-oracle-each`` takes, on every evaluation set, the
    alpha with the highest accuracy there, as the "optimal alpha" columns of WiSE-FT do (Wortsman
    et al., CVPR 2022). All metrics are those at the chosen alpha. Ties go to the smaller alpha.

    Accuracy stands for the primary metric of each set. If the primary metrics of the shifts cannot
    be averaged, there is no ``METHOD-oracle-mean``. Shifts outside the mean do not count in it.
    Nothing is chosen on a test-only set (ObjectNet): it does not count in the mean, and its own
    column has the alpha chosen on ID.

    A curve is complete if every alpha has every metric on every evaluation set that any row of the
    run was measured on. A metric that only some sets have is required on those sets only.

    Examples
    --------
    >>> from bench.leaderboard.derived import oracle_records
    >>> from bench.testing.fakes import fake_records
    >>> rows = {"ose:e2e-ft": (0.8, 0.5)}
    >>> points = [
    ...     record.model_copy(update={"kind": "curve", "choice": {"alpha": alpha}})
    ...     for alpha in (0.0, 1.0)
    ...     for record in fake_records(rows, shifts=["v2"])
    ... ]
    >>> sorted({record.method for record in oracle_records(points)})
    ['ose-oracle-each', 'ose-oracle-mean']
    """
    measured: dict[tuple[object, ...], dict[str, int]] = defaultdict(dict)
    curves: dict[tuple[tuple[object, ...], ...], list[Record]] = defaultdict(list)
    for record in records:
        run: tuple[object, ...] = (record.suite, record.model, record.protocol, record.notes)
        if record.kind in ("cell", "curve"):
            measured[run][record.shift] = record.order
        if record.kind == "curve" and record.choice.keys() == {"alpha"}:
            curves[run, (record.method, record.base, record.seed)].append(record)
    found = []
    for (of_run, _), points in curves.items():
        orders = measured[of_run]
        found += _oracles_of_curve(points, sorted(orders, key=lambda shift: (orders[shift], shift)))
    return found


def _oracles_of_curve(records: Sequence[Record], places: Sequence[str]) -> list[Record]:
    """Return the oracles of one row and seed; empty if the curve is incomplete."""
    points = {(r.choice["alpha"], r.shift, r.metric): r for r in records}
    alphas, metrics = sorted({r.choice["alpha"] for r in records}), {r.metric for r in records}
    metric_of = {r.shift: r.primary_metric for r in records}
    measured = {place: {r.metric for r in records if r.shift == place} for place in places}
    required = {place: (metrics - OWN.keys()) | measured[place] for place in places}
    if any(metric_of.get(place) not in required[place] for place in places):
        return []
    if any((a, p, m) not in points for a, p in product(alphas, places) for m in required[p]):
        return []
    first = {place: points[alphas[0], place, metric_of[place]] for place in places}
    shifts = [p for p, r in first.items() if r.order > 0 and not (r.outside_mean or r.test_only)]
    chosen_on = {place: places[0] if first[place].test_only else place for place in places}
    best = {place: _best(points, alphas, {place: metric_of[place]}) for place in chosen_on.values()}
    alphas_of = {EACH: {place: best[chosen_on[place]] for place in places}}
    if shifts and averageable(metric_of[shift] for shift in shifts):
        mean = _best(points, alphas, {shift: metric_of[shift] for shift in shifts})
        alphas_of[MEAN] = dict.fromkeys(places, mean)
    by = metric_of[places[0]] if len(set(metric_of.values())) == 1 else _OWN
    return [
        _oracle_cell(points[alpha, place, metric], name, by)
        for name, by_place in alphas_of.items()
        for place, alpha in by_place.items()
        for metric in required[place]
    ]


def _best(points: _Points, alphas: Sequence[float], metric_of: Mapping[str, str]) -> float:
    """Return the smallest alpha with the highest mean over sets, each set in its metric."""
    means = {
        a: round(fmean(points[a, p, m].value for p, m in metric_of.items()), 12) for a in alphas
    }
    return max(alphas, key=lambda a: (means[a], -a))


def _oracle_cell(point: Record, name: str, by: str) -> Record:
    """Return a point of a curve as a cell of an oracle's row."""
    return point.model_copy(
        update={
            "method": f"{point.method}-{name}",
            "title": f"{point.title}, {_TITLES[name]}",
            "role": "oracle",
            "kind": "cell",
            "chosen_on": {"split": "the test sets", "rule": _RULES[name].format(by)},
        }
    )
