"""Findings about the runs `vrf-table1` and `max-val`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from statistics import fmean

from results_numbers import Difference, Numbers, claim, points

from bench.leaderboard.derived import POOLED

BASES = (("e2e-ft", "E2E-FT"), ("lp-ft", "LP-FT"))
OTHERS = (
    ("ose", "OSE"),
    ("wise-ft", "WiSE-FT"),
    ("ose-calibrated", "OSE with calibrated endpoints"),
)
CONTROLS = (
    ("vrf-global", "one weight for all sets, its mean on the selection split"),
    ("vrf-constant", "one weight per set, its mean on it"),
    ("vrf-shuffled", "its weights shuffled within a set"),
)


def _ahead(n: Numbers) -> str:
    by_base = []
    for base, title in BASES:
        for other, _ in OTHERS:
            claim(n.ood(f"vrf:{base}") > n.ood(f"{other}:{base}"), f"VRF is ahead of {other}")
        for other, _ in OTHERS:
            claim(n.rank(f"{other}:{base}")[0] == 1, f"the standings tie {other} on {base}")
        against = (f"{_by(n, base, other)} to {name}" for other, name in OTHERS)
        by_base.append(f"on {title} (VRF {points(n.ood(f'vrf:{base}'))}) {', '.join(against)}")
    return (
        "On both bases VRF has the highest OOD mean of the ranked ensembles, but the standings, "
        "which allow for all pairs of rows, tie them all. Its differences: "
        f"{'; '.join(by_base)}."
    )


def _by(n: Numbers, base: str, other: str, *, on_id: bool = False) -> Difference:
    return n.minus(f"vrf:{base}", f"{other}:{base}", on_id=on_id)


def _on_bases(n: Numbers, other: str, *, on_id: bool = False) -> str:
    found = (f"{_by(n, base, other, on_id=on_id)} on {title}" for base, title in BASES)
    return " and ".join(found)


def _cost(n: Numbers) -> str:
    for base, _ in BASES:
        claim(n.id(f"vrf:{base}") < n.id(f"ose:{base}"), f"VRF is behind OSE on ID on {base}")
        for on_id in (False, True):
            chance = _by(n, base, "ose", on_id=on_id).may_be_chance
            claim(chance, f"VRF - OSE may be chance on {base}")
    return (
        f"On ID, VRF - OSE is {_on_bases(n, 'ose', on_id=True)}. Each of these intervals, and of "
        "those of the gains over OSE out of distribution, contains or touches 0."
    )


def _controls(n: Numbers) -> str:
    parts, differences = [], []
    for other, name in CONTROLS:
        found = [_by(n, base, other) for base, _ in BASES]
        for one, (base, _) in zip(found, BASES, strict=True):
            claim(one.may_be_chance, f"VRF and {other} are not separated on {base}")
        differences += [one.value for one in found]
        parts.append(f"{name}: {_on_bases(n, other)}")
    claim(min(differences) < 0 < max(differences), "controls are below and above VRF")
    below, above = points(max(differences)), points(-min(differences))
    small, cost = (n.minus(f"vrf-shuffled:{b}", f"vrf:{b}", on_id=True) for b, _ in BASES)
    claim(cost.value < 0 and not cost.may_be_chance, "shuffling costs ID accuracy on LP-FT")
    return (
        "The controls are not separated from VRF in OOD accuracy; by the estimates they are "
        f"between {below} points below and {above} above it. VRF minus VRF with "
        f"{'; with '.join(parts)}. No OOD gain from per-sample weights over one weight per set "
        f"was found. On ID, shuffling changes accuracy by {small} on E2E-FT and {cost} on LP-FT."
    )


def _failure_set(n: Numbers) -> str:
    for base, _ in BASES:
        claim(_by(n, base, "vrf-all-correct").may_be_chance, f"no difference was found on {base}")
    return (
        "No difference in OOD mean was found between distances to the failure set and to all "
        f"correct training samples: {_on_bases(n, 'vrf-all-correct')}. On ID it is "
        f"{_on_bases(n, 'vrf-all-correct', on_id=True)}."
    )


Figures = Mapping[tuple[str, int | None], Mapping[str, list[int]]]
"""The counts by distance to the failure set, by place and seed."""


def _figures(n: Numbers, base: str) -> Figures:
    return {
        (r.shift, r.seed): r.data
        for r in n.measured.figures
        if (r.method, r.base, r.metric) == ("vrf", base, "accuracy-by-distance") and r.data
    }


def _by_distance(n: Numbers) -> str:
    """VRF's figure 2: pooled over ID and all shifts, and within each shift."""
    pooled, within, shifts = [], [], n.measured.board.shifts
    for base, title in BASES:
        figures = _figures(n, base)
        near, far = (
            fmean(_gain(data, far=far) for (place, _), data in figures.items() if place == POOLED)
            for far in (False, True)
        )
        claim(near > 0 > far, "fine-tuning gains near the failure set and loses far from it")
        pooled.append(f"{100 * near:+.1f} and {100 * far:+.1f} points on {title}")
        always = [all(_nearer_gains_more(figures, shift)) for shift in shifts]
        within.append(f"{sum(always)} of {len(shifts)} shifts on {title}")
    return (
        "Pooled over ID and all shifts, as in VRF's figure 2, fine-tuned minus zero-shot on the "
        "tenths of the samples that are nearest to and farthest from the failure set is "
        f"{' and '.join(pooled)}. Pooling mixes sets. Within a set the nearest tenth gains more "
        f"than the farthest in every seed in {' and in '.join(within)}."
    )


def _nearer_gains_more(figures: Figures, shift: str) -> Iterator[bool]:
    """Yield by seed whether the nearest tenth of a set's samples gains more than the farthest."""
    for (place, _), data in figures.items():
        if place == shift:
            yield _gain(data, far=False) > _gain(data, far=True)


def _gain(data: Mapping[str, list[int]], *, far: bool, part: float = 0.1) -> float:
    """Fine-tuned minus zero-shot accuracy on the first bins with `part` of the samples.

    `far` takes the last bins instead, those with the largest distances.
    """
    bins = list(zip(data["n"], data["hits_ft"], data["hits_zs"], strict=True))
    total, n, gained = sum(data["n"]), 0, 0
    for count, tuned, before in reversed(bins) if far else bins:
        n, gained = n + count, gained + tuned - before
        if n >= part * total:
            break
    return gained / n


def _rule(n: Numbers) -> str:
    greedy = n.others["max-val"]
    for base, _ in BASES:
        for run in (n, greedy):
            claim(run.rank(f"ose:{base}")[0] == 1, f"the standings tie OSE on {base}")
        claim(_by(greedy, base, "ose").may_be_chance, f"under max-val it may be chance on {base}")
    return (
        "The rule within-1pt presumes that the zero-shot end is the more robust one, as no ID "
        "split can show. Under max-val, the rule of the papers (run max-val), VRF - OSE is "
        f"{_on_bases(greedy, 'ose')}; the standings tie them under both."
    )


def _frontier(n: Numbers) -> str:
    by_rule = []
    for rule, run in (("within-1pt", n), ("max-val", n.others["max-val"])):
        ahead = [
            f"on {title} {100 * found:+.1f}"
            if (found := run.above_frontier(f"vrf:{base}", f"ose:{base}")) is not None
            else f"on {title} there is none, as no point of the curve has VRF's ID accuracy"
            for base, title in BASES
        ]
        by_rule.append(f"under {rule}, {', and '.join(ahead)}")
    return (
        "VRF's OOD mean minus the best on OSE's curve at no less ID accuracy: "
        f"{'; '.join(by_rule)}. That curve has steps of 0.1, straight in between; its best point "
        "is chosen in hindsight, and there is no interval."
    )


def _greedy(n: Numbers) -> str:
    rows = [row for row in n.rows() if row.partition(":")[0] in ("wise-ft", "ose", "vrf")]
    for base, _ in BASES:
        claim(n.ood(f"vrf:{base}") > n.ood(f"ose:{base}"), f"VRF is ahead of OSE on {base}")
    lows = [n.minus(row, "zero-shot").interval.low for row in rows]
    claim(max(lows) <= 0, "no ensemble is above zero-shot by its interval")
    by_base = []
    for base, title in BASES:
        vrf, ose = (n.ood_by_seed(f"{method}:{base}") for method in ("vrf", "ose"))
        by_seed = (f"{100 * (vrf[seed] - ose[seed]):+.1f}" for seed in sorted(vrf, key=str))
        by_base.append(f"{', '.join(by_seed)} on {title}")
    return (
        "By its interval no ensemble has a higher OOD mean than zero-shot. VRF - OSE by seed is "
        f"{' and '.join(by_base)}."
    )


Findings = tuple[Callable[[Numbers], str], ...]
FINDINGS: Findings = (
    _ahead,
    _cost,
    _controls,
    _failure_set,
    _by_distance,
    _rule,
    _frontier,
)
FINDINGS_MAX_VAL: Findings = (_greedy,)
