"""Records made of other records, without a new prediction.

Pooled figures are one figure of a row over all evaluation sets together, as VRF's figure 2 is.
Oracles say what an ensemble would reach if its alpha were chosen on the test sets themselves: no
methods, but what is lost by choosing without the shifts. They are made of a run's curves.
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
"""Where a pooled figure stands, in place of a shift; it comes after the last one."""


def pool_figures(records: Iterable[Record]) -> list[Record]:
    """One more record for each figure of a row and seed: counts summed over ID and all shifts.

    Every sample counts the same, so that a large set counts for more than a small one. There is
    none where the figure is lacking on a set that other rows of the run were measured on, where
    there is only one set, or where bins differ.
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
        whole = measured[of_run] | {part.shift for part in parts}
        bins = {str((part.data or {}).get("edges")) for part in parts}
        if len(parts) == len(whole) > 1 and len(bins) == 1:
            found.append(_sum(sorted(parts, key=lambda part: part.order)))
    return found


def _sum(parts: Sequence[Record]) -> Record:
    """The parts as one: counts summed, number and weight averaged over all samples."""
    n = sum(part.n for part in parts)
    weighed = all(part.weight is not None for part in parts)
    return parts[0].model_copy(
        update={
            "shift": POOLED,
            "order": parts[0].shifts_in_suite + 1,
            "n": n,
            "value": sum(part.value * part.n for part in parts) / n,
            "weight": sum((p.weight or 0) * p.n for p in parts) / n if weighed else None,
            "data": _data([part.data or {} for part in parts]),
            "provenance": {"keys": [part.provenance.get("key") for part in parts]},
        }
    )


def _data(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts by bin, summed; the bins' ``edges``, which are one figure's everywhere, stay."""
    counts = parts[0].keys() - {"edges"}
    sums = {name: [sum(c) for c in zip(*(p[name] for p in parts), strict=True)] for name in counts}
    return {"edges": parts[0]["edges"]} | sums


MEAN, EACH = "oracle-mean", "oracle-each"
"""What is appended to a method's name: one alpha for all columns, or each column's own."""


_TITLES = {MEAN: "best alpha", EACH: "best alpha by column"}


_RULES = {MEAN: "highest OOD mean of {}", EACH: "highest {} in each column"}


_OWN = "own metric"


_Points = Mapping[tuple[float, str, str], Record]
"""A curve by (alpha, shift, metric)."""


def oracle_records(records: Iterable[Record]) -> list[Record]:
    """For each row and seed with a whole curve over alpha, two rows chosen in hindsight.

    ``METHOD-oracle-mean`` takes the alpha with the highest mean accuracy over the shifts (none if
    there are no shifts), ``METHOD-oracle-each`` on every evaluation set the alpha with the highest
    accuracy there, as WiSE-FT's "optimal alpha" columns do (Wortsman et al., CVPR 2022). A set
    that is judged by another metric counts with that; there is no mean over what has none. Nothing
    is chosen on a set that is for tests only (ObjectNet): it counts in no mean here, and its own
    column has the alpha of ID. Shifts beside the mean do not count in it. Ties go to the smaller
    alpha. All metrics are those at the alpha taken. A curve is whole if every alpha
    has every metric on every evaluation set that any row of the run was measured on; a metric of
    some sets' own, on those.
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
        found += _of_curve(points, sorted(orders, key=lambda shift: (orders[shift], shift)))
    return found


def _of_curve(records: Sequence[Record], places: Sequence[str]) -> list[Record]:
    """The oracles of one row and seed; none if a point lacks."""
    points = {(r.choice["alpha"], r.shift, r.metric): r for r in records}
    alphas, metrics = sorted({r.choice["alpha"] for r in records}), {r.metric for r in records}
    metric_of = {r.shift: r.primary_metric for r in records}
    measured = {place: {r.metric for r in records if r.shift == place} for place in places}
    wanted = {place: (metrics - OWN.keys()) | measured[place] for place in places}
    if any(metric_of.get(place) not in wanted[place] for place in places):
        return []
    if any((a, p, m) not in points for a, p in product(alphas, places) for m in wanted[p]):
        return []
    first = {place: points[alphas[0], place, metric_of[place]] for place in places}
    shifts = [p for p, r in first.items() if r.order > 0 and not (r.outside_mean or r.test_only)]
    source = {place: places[0] if first[place].test_only else place for place in places}
    best = {place: _best(points, alphas, {place: metric_of[place]}) for place in source.values()}
    taken = {EACH: {place: best[source[place]] for place in places}}
    if shifts and averageable(metric_of[shift] for shift in shifts):
        mean = _best(points, alphas, {shift: metric_of[shift] for shift in shifts})
        taken[MEAN] = dict.fromkeys(places, mean)
    by = metric_of[places[0]] if len(set(metric_of.values())) == 1 else _OWN
    return [
        _chosen(points[alpha, place, metric], name, by)
        for name, by_place in taken.items()
        for place, alpha in by_place.items()
        for metric in wanted[place]
    ]


def _best(points: _Points, alphas: Sequence[float], metric_of: Mapping[str, str]) -> float:
    """The smallest of the alphas with the highest mean over sets, each by its metric."""
    means = {
        a: round(fmean(points[a, p, m].value for p, m in metric_of.items()), 12) for a in alphas
    }
    return max(alphas, key=lambda a: (means[a], -a))


def _chosen(point: Record, name: str, by: str) -> Record:
    """A curve's point as a cell of an oracle's row."""
    return point.model_copy(
        update={
            "method": f"{point.method}-{name}",
            "title": f"{point.title}, {_TITLES[name]}",
            "role": "oracle",
            "kind": "cell",
            "chosen_on": {"split": "the test sets", "rule": _RULES[name].format(by)},
        }
    )
