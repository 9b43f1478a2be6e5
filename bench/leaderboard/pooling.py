"""Pooled figures: one figure of a row over all evaluation sets together, as VRF's figure 2 is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from bench.core.records import Record

POOLED = "pooled"
"""Where a pooled figure stands, in place of a shift; it comes after the last one."""


def pooled(records: Iterable[Record]) -> list[Record]:
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
