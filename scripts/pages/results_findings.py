"""Findings about the committed runs, as sentences whose numbers are computed from the records.

A finding whose claim no longer holds raises a ValueError: then rewrite the sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean

from bench.leaderboard.board import Cell, Curve
from bench.leaderboard.derived import POOLED
from bench.leaderboard.published.tables import find_published_table
from bench.leaderboard.suite_results import SuiteResults

SAME = 0.003
"""Two accuracies that differ by less than this fraction (0.3 points) are called equal here."""
ENSEMBLES = ("wise-ft", "ose", "vrf")


@dataclass(frozen=True)
class Numbers:
    """A run's numbers by row name, such as ``vrf:lp-ft``: fractions, means over seeds."""

    measured: SuiteResults
    others: Mapping[str, Numbers] = field(default_factory=dict)

    def _cells(self, row: str, metric: str, *, scaled: bool) -> tuple[Cell, ...]:
        boards = self.measured.scaled if scaled else self.measured.common
        groups = boards[metric].groups
        rows = (r for group in groups for r in (*group.rows, *group.differences))
        method, _, base = row.partition(":")
        return next(r.cells for r in rows if (r.method, r.base) == (method, base or None))

    def id(self, row: str, metric: str = "top1", *, scaled: bool = False) -> float:
        """The mean over seeds on the ID test set."""
        return _mean(self._cells(row, metric, scaled=scaled)[0])

    def ood(self, row: str, metric: str = "top1", *, scaled: bool = False) -> float:
        """The mean over seeds of the OOD mean."""
        return _mean(self._cells(row, metric, scaled=scaled)[-1])

    def ood_text(self, row: str, sign: str = "") -> str:
        """The OOD mean of the accuracy in percent, with its deviation over seeds."""
        cell = self._cells(row, "top1", scaled=False)[-1]
        return f"{100 * _mean(cell):{sign}.1f} ± {100 * (cell.std or 0):.1f}"

    def gain(self, one: str, other: str, base: str) -> str:
        """The paired difference of two rows' OOD accuracy, with its interval, in points."""
        column = self.measured.comparison and self.measured.comparison.last
        assert column is not None, "a finding is about rows with samples"
        value, interval = column.differences[(one, base), (other, base)]
        low, high = (f"{100 * bound:+.1f}" for bound in interval)
        doubt = ", which may be chance" if interval.low <= 0 <= interval.high else ""
        return f"{100 * value:+.1f} (95% interval {low} to {high}{doubt})"

    def below(self, one: str, other: str, base: str) -> float:
        """The lower end of the interval of such a difference, a fraction."""
        column = self.measured.comparison and self.measured.comparison.last
        assert column is not None, "a finding is about rows with samples"
        return float(column.differences[(one, base), (other, base)][1].low)

    def rank(self, row: str) -> tuple[int, int]:
        """The row's range of ranks by OOD accuracy."""
        method, _, base = row.partition(":")
        column = self.measured.comparison and self.measured.comparison.last
        assert column is not None, "a finding is about rows with samples"
        return column.ranks[method, base or None]

    def rows(self) -> tuple[str, ...]:
        """The names of all rows with the role "method"."""
        rows = (row for row in self.measured.board.rows if row.role == "method")
        return tuple(f"{r.method}:{r.base}" if r.base else r.method for r in rows)

    def temperature(self, row: str) -> float:
        """The row's temperature, mean over seeds."""
        method, _, base = row.partition(":")
        found = {
            r.seed: r.temperature
            for r in self.measured.records
            if (r.method, r.base) == (method, base or None) and r.temperature is not None
        }
        return fmean(found.values())

    def above_frontier(self, row: str, other: str) -> float:
        """The OOD mean of `row` minus the best on the curve of `other` at no less ID accuracy.

        Both are means over seeds. Between two alphas the curve is taken to be straight.
        """
        points = [(_mean(point.id), _mean(point.ood)) for point in self.curve(other).points]
        line = [
            (a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]))
            for a, b in pairwise(points)
            for t in (i / 50 for i in range(51))
        ]
        reached = [ood for id_, ood in line if id_ >= self.id(row)] or [max(line)[1]]
        return self.ood(row) - max(reached)

    def curve(self, row: str) -> Curve:
        """The curve of the row's candidates."""
        method, _, base = row.partition(":")
        return next(c for c in self.measured.curves if (c.method, c.base) == (method, base))


def findings(
    run: str, measured: SuiteResults, others: Mapping[str, SuiteResults] | None = None
) -> Iterator[str]:
    """Yield the findings about the run of that name; nothing for other runs.

    Some compare with `others`, the results of further runs by name.
    """
    numbers = Numbers(measured, {name: Numbers(of) for name, of in (others or {}).items()})
    for finding in FINDINGS.get(run, ()):
        yield finding(numbers)


def _mean(cell: Cell) -> float:
    assert cell.mean is not None, "a finding is about complete rows"
    return cell.mean


def _claim(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(
            f"no longer so: {what}. Change the finding in scripts/pages/results_findings.py"
        )


def _points(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _trade_off(n: Numbers) -> str:
    gain = n.id("e2e-ft") - n.id("zero-shot")
    loss = n.ood("zero-shot") - n.ood("e2e-ft")
    _claim(gain > 0 and loss > 0, "E2E-FT gains ID accuracy and loses OOD accuracy")
    return (
        f"E2E-FT gains {_points(gain)} points over zero-shot in distribution "
        f"({_points(n.id('e2e-ft'))} against {_points(n.id('zero-shot'))}) and loses "
        f"{_points(loss)} in the mean over the shifts ({_points(n.ood('e2e-ft'))} against "
        f"{_points(n.ood('zero-shot'))}): the trade-off that robust fine-tuning addresses."
    )


def _won_back(n: Numbers) -> str:
    rows = [f"{name}:e2e-ft" for name in ENSEMBLES]
    for row in rows:
        _claim(n.id(row) >= n.id("e2e-ft"), f"{row} keeps the ID accuracy of E2E-FT")
        _claim(n.ood(row) > n.ood("zero-shot") - SAME, f"{row} recovers OOD accuracy")
    least, most = min(map(n.id, rows)), max(map(n.id, rows))
    wise, ose, vrf = map(n.ood_text, rows)
    return (
        "The ensembles keep the gain and recover what fine-tuning lost: at "
        f"{_points(least)} to {_points(most)} ID, OOD is {wise} for WiSE-FT, {ose} for OSE and "
        f"{vrf} for VRF. VRF - OSE is {n.gain('vrf', 'ose', 'e2e-ft')}."
    )


def _curves(n: Numbers) -> str:
    endpoints = max(n.ood("zero-shot"), n.ood("e2e-ft"))
    maxima = []
    for row, title in (("wise-ft:e2e-ft", "WiSE-FT"), ("ose:e2e-ft", "OSE")):
        best = max(n.curve(row).points, key=lambda point: _mean(point.ood))
        _claim(_mean(best.ood) > endpoints, f"the curve of {row} beats both endpoints")
        alpha = dict(best.choice)["alpha"]
        maxima.append(
            f"{title} reaches {_points(_mean(best.ood))} OOD at alpha {alpha:g} "
            f"({_points(_mean(best.id))} ID)"
        )
    return (
        "With an oracle alpha, chosen on the test sets, WiSE-FT and OSE beat both endpoints: "
        f"{' and '.join(maxima)}."
    )


BASES = (("e2e-ft", "E2E-FT"), ("lp-ft", "LP-FT"))


def _ahead(n: Numbers) -> str:
    by_base = []
    for base, title in BASES:
        vrf, others = n.ood(f"vrf:{base}"), ("wise-ft", "ose", "ose-calibrated")
        for other in others:
            _claim(vrf > n.ood(f"{other}:{base}"), f"VRF is ahead of {other} on {base}")
            _claim(n.rank(f"{other}:{base}")[0] == 1, f"the standings tie {other} on {base}")
        wise, ose, calibrated = (_points(n.ood(f"{other}:{base}")) for other in others)
        by_base.append(
            f"on {title}, VRF has {_points(vrf)} OOD, OSE {ose}, WiSE-FT {wise} and OSE with "
            f"calibrated endpoints {calibrated}"
        )
    return (
        "On both bases VRF has the highest OOD mean of the ranked ensembles, but the standings tie "
        f"all of them: {'; '.join(by_base)}."
    )


def _controls(n: Numbers) -> str:
    overall = [f"{n.gain('vrf', 'vrf-global', base)} on {title}" for base, title in BASES]
    per_set = [f"{n.gain('vrf', 'vrf-constant', base)} on {title}" for base, title in BASES]
    for base, _ in BASES:
        _claim(n.below("vrf", "vrf-global", base) <= 0, f"on {base} one weight may do as well")
        _claim(n.below("vrf", "vrf-constant", base) <= 0, f"on {base} one per set may do as well")
    return (
        "Three seeds and one selection split do not separate VRF from the controls. With one "
        "weight for all sets, VRF's mean on the selection split, VRF minus this control is "
        f"{' and '.join(overall)}. With one weight per set, VRF's mean on it, the difference is "
        f"{' and '.join(per_set)}: no OOD gain from weights by sample over one weight per set was "
        "found."
    )


def _rule(n: Numbers) -> str:
    greedy = n.others["max-val"]
    within = [
        f"{n.gain('vrf', 'ose', base)} on {title} (at {_signed(n, base)} points of ID accuracy)"
        for base, title in BASES
    ]
    chosen = [f"{greedy.gain('vrf', 'ose', base)} on {title}" for base, title in BASES]
    ahead = [
        f"{100 * n.above_frontier(f'vrf:{base}', f'ose:{base}'):+.1f} on {title}"
        for base, title in BASES
    ]
    for base, _ in BASES:
        for run in (n, greedy):
            _claim(run.rank(f"ose:{base}")[0] == 1, f"the standings tie OSE on {base}")
    return (
        "VRF - OSE is "
        f"{' and '.join(within)} under within-1pt, which presumes that the zero-shot end is the "
        "more robust one, as no ID split can show, and "
        f"{' and '.join(chosen)} under max-val, the rule of the papers (run max-val); the "
        "standings tie them under both. Against "
        "OSE's frontier in hindsight, the best OOD mean among eleven alphas of its curve at no "
        f"less ID accuracy than VRF's, it is {' and '.join(ahead)} under within-1pt (means "
        "over seeds, without an interval)."
    )


def _signed(n: Numbers, base: str) -> str:
    """VRF minus OSE on ID, in points."""
    return f"{100 * (n.id(f'vrf:{base}') - n.id(f'ose:{base}')):+.1f}"


def _failure_set(n: Numbers) -> str:
    by_base = []
    for base, title in (("e2e-ft", "E2E-FT"), ("lp-ft", "LP-FT")):
        vrf, other = n.ood(f"vrf:{base}"), n.ood(f"vrf-all-correct:{base}")
        _claim(abs(other - vrf) < SAME, f"on {base} the OOD means are close")
        ids = (n.id(f"vrf-all-correct:{base}"), n.id(f"vrf:{base}"))
        by_base.append(
            f"{_points(other)} instead of {_points(vrf)} on {title} (ID {_points(ids[0])} instead "
            f"of {_points(ids[1])})"
        )
    return (
        "With distances to all correct training samples instead of the failure set, the OOD mean "
        f"is {' and '.join(by_base)}: no difference in OOD was found."
    )


def _by_distance(n: Numbers) -> str:
    figures = [
        r.data
        for r in n.measured.figures
        if (r.method, r.base, r.metric) == ("vrf", "e2e-ft", "accuracy-by-distance")
        and r.shift == POOLED
        and r.data is not None
    ]
    near = fmean(_gain(data, reverse=False) for data in figures)
    far = fmean(_gain(data, reverse=True) for data in figures)
    _claim(near > 0 > far, "E2E-FT gains near the failure set and loses far from it")
    return (
        "The observation that motivates VRF holds for ID and all shifts pooled, which also mixes "
        f"sets: E2E-FT minus zero-shot is {100 * near:+.1f} points on the tenth of the samples "
        f"that is nearest to the failure set, and {100 * far:+.1f} points on the farthest tenth."
    )


def _within_sets(n: Numbers) -> str:
    by_base, slopes = [], []
    for base, title in BASES:
        figures = [
            r.data
            for r in n.measured.figures
            if (r.method, r.base, r.metric) == ("vrf", base, "accuracy-by-distance")
            and r.shift not in ("id", POOLED)
            and r.data is not None
        ]
        near, far = (
            fmean(_gain(data, reverse=reverse, part=0.25) for data in figures)
            for reverse in (False, True)
        )
        slopes.append(near - far)
        by_base.append(f"{100 * near:+.1f} and {100 * far:+.1f} points on {title}")
    _claim(slopes[0] > slopes[1] > 0, "within a set distances say less on LP-FT than on E2E-FT")
    return (
        "Within a single shift they say less: on the nearest and on the farthest quarter of its "
        f"samples, fine-tuned minus zero-shot is {' and '.join(by_base)} (means over the shifts)."
    )


def _gain(data: Mapping[str, list[int]], *, reverse: bool, part: float = 0.1) -> float:
    """Fine-tuned minus zero-shot accuracy on the first bins with `part` of the samples.

    `reverse` takes the last bins instead, those with the largest distances.
    """
    bins = list(zip(data["n"], data["hits_ft"], data["hits_zs"], strict=True))
    total, n, gained = sum(data["n"]), 0, 0
    for count, tuned, before in reversed(bins) if reverse else bins:
        n, gained = n + count, gained + tuned - before
        if n >= part * total:
            break
    return gained / n


def _carot(n: Numbers) -> str:
    tuned = [row for row in n.rows() if row != "zero-shot"]
    slides = {
        row.ours: [float(cell or 0) for cell in row.cells]
        for _, row in find_published_table(SLIDES).rows
    }
    ahead = [row for row in tuned if n.ood(row) > n.ood("carot-slides")]
    ahead_in_print = [row for row in tuned if slides[row][1] > slides["carot-slides"][1]]
    best_in_print = max(slides, key=lambda row: slides[row][0])
    _claim(max(tuned, key=n.id) == "carot-slides", "CaRot has the best ID accuracy")
    _claim(best_in_print == "carot-slides", "CaRot has the best ID accuracy on the slides")
    only_wise = {*ahead} == {*ahead_in_print} and all("wise-ft" in row for row in ahead)
    _claim(only_wise, "only WiSE-FT is ahead")
    gain = n.ood("carot-slides") - n.ood("flyp")
    less, scaled = (
        n.ood("carot-slides", "ece", scaled=s) / n.ood("flyp", "ece", scaled=s)
        for s in (False, True)
    )
    _claim(gain > 0 and less < 1, "CaRot is ahead of FLYP out of distribution")
    for column, sign in ((1, 1), (3, -1)):
        is_ahead = sign * (slides["carot-slides"][column] - slides["flyp"][column]) > 0
        _claim(is_ahead, "CaRot is ahead of FLYP out of distribution on the slides")
    first, last = n.rank("carot-slides")
    return (
        "CaRot has the highest ID accuracy. Compared with FLYP, it gains "
        f"{_points(gain)} points of OOD accuracy, and its OOD ECE is {less:.0%} of FLYP's ("
        f"{scaled:.0%} with temperature scaling). Of the "
        "fine-tuned rows only those of WiSE-FT are ahead of it in OOD accuracy, where its rank is "
        f"{first} to {last}: much of this order may be chance. The slides agree on the directions."
    )


def _smoothed_wise(n: Numbers) -> str:
    row = "wise-ft:e2e-ft+ls"
    claimed = next(r for _, r in find_published_table(SLIDES).rows if r.ours == row).cells[2]
    here = n.id(row, "ece")
    _claim(here < 0.5 * float(claimed or 0), "WiSE-FT with label smoothing is better calibrated")
    return (
        "WiSE-FT with label smoothing is less miscalibrated here than on the slides: its ID ECE is "
        f"{here:.4f} instead of {claimed}."
    )


def _temperatures(n: Numbers) -> str:
    for row in n.rows():
        helps = n.ood(row, "ece", scaled=True) < n.ood(row, "ece")
        helps_id = n.id(row, "ece", scaled=True) < n.id(row, "ece")
        _claim(helps_id, f"a temperature improves the ID calibration of {row}")
        _claim(helps == (n.temperature(row) > 1), f"{row}: OOD calibration improves iff T > 1")
    improved = sum(n.temperature(row) > 1 for row in n.rows())
    return (
        f"Temperature scaling improves ID calibration for all {len(n.rows())} rows. It improves "
        f"OOD calibration only for the {improved} rows that were over-confident (T above 1)."
    )


def _nothing_known(n: Numbers) -> str:
    chance, ensembles = 0.1, [f"{name}:e2e-ft" for name in ENSEMBLES]
    _claim(n.id("zero-shot") < chance < n.id("e2e-ft"), "zero-shot alone is below chance")
    best = max(n.ood(row) for row in ensembles)
    _claim(best <= n.ood("e2e-ft"), "no ensemble is ahead of E2E-FT")
    return (
        "The images are real photographs, but the model has seen none: the tiny CLIP only knows "
        f"rendered shapes. Zero-shot is at {_points(n.id('zero-shot'))}, below chance, and no "
        f"ensemble with it has a higher OOD mean than E2E-FT ({_points(best)} at most, E2E-FT "
        f"{_points(n.ood('e2e-ft'))}). The run shows that the path for real images works; it says "
        "nothing about the methods: docs/cifar10.md."
    )


SLIDES = "carot-slides"
FINDINGS: Mapping[str, tuple[Callable[[Numbers], str], ...]] = {
    "cifar10": (_nothing_known,),
    "mini": (_trade_off, _won_back, _curves),
    "vrf-table1": (_ahead, _controls, _failure_set, _by_distance, _within_sets, _rule),
    SLIDES: (_carot, _smoothed_wise, _temperatures),
}
"""The findings by run name. Each raises a ValueError if its claim does not hold."""
