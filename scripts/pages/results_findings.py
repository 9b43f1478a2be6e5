"""What the committed runs show, in sentences: every number is computed from their records.

A finding whose claim no longer holds fails loudly: then the sentence is to be thought over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean

from bench.leaderboard.board import Cell, Curve
from bench.leaderboard.derived import POOLED
from bench.leaderboard.published.tables import find_published_table
from bench.leaderboard.suite_results import SuiteResults

KEPT = 0.003
"""Two accuracies that differ by less than this are called the same here: 0.3 points."""
ENSEMBLES = ("wise-ft", "ose", "vrf")


@dataclass(frozen=True)
class Numbers:
    """A run's numbers by the names of its rows, ``vrf:lp-ft``; shares, means over seeds."""

    measured: SuiteResults

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

    def rank(self, row: str) -> tuple[int, int]:
        """The range of ranks of a row by its OOD accuracy."""
        method, _, base = row.partition(":")
        column = self.measured.comparison and self.measured.comparison.last
        assert column is not None, "a finding is about rows with samples"
        return column.ranks[method, base or None]

    def rows(self) -> tuple[str, ...]:
        """The names of all rows of methods."""
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

    def curve(self, row: str) -> Curve:
        """The row's candidates."""
        method, _, base = row.partition(":")
        return next(c for c in self.measured.curves if (c.method, c.base) == (method, base))


def findings(run: str, measured: SuiteResults) -> Iterator[str]:
    """The sentences on the run of that name; none on others."""
    numbers = Numbers(measured)
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


def _points(share: float) -> str:
    return f"{100 * share:.1f}"


def _trade_off(n: Numbers) -> str:
    gain = n.id("e2e-ft") - n.id("zero-shot")
    loss = n.ood("zero-shot") - n.ood("e2e-ft")
    _claim(gain > 0 and loss > 0, "E2E-FT gains ID accuracy and loses OOD accuracy")
    return (
        f"E2E-FT gains {_points(gain)} points over zero-shot in distribution "
        f"({_points(n.id('e2e-ft'))} against {_points(n.id('zero-shot'))}) and loses "
        f"{_points(loss)} in the mean of the shifts ({_points(n.ood('e2e-ft'))} against "
        f"{_points(n.ood('zero-shot'))}): the trade-off that the field fights."
    )


def _won_back(n: Numbers) -> str:
    rows = [f"{name}:e2e-ft" for name in ENSEMBLES]
    for row in rows:
        _claim(n.id(row) >= n.id("e2e-ft"), f"{row} keeps the ID accuracy of E2E-FT")
        _claim(n.ood(row) > n.ood("zero-shot") - KEPT, f"{row} wins back OOD accuracy")
    least, most = min(map(n.id, rows)), max(map(n.id, rows))
    wise, ose, vrf = map(n.ood_text, rows)
    return (
        "The ensembles keep the gain and win back what fine-tuning lost: at "
        f"{_points(least)} to {_points(most)} ID, OOD is {wise} for WiSE-FT, {ose} for OSE and "
        f"{vrf} for VRF. VRF - OSE is {n.gain('vrf', 'ose', 'e2e-ft')}."
    )


def _curves(n: Numbers) -> str:
    ends = max(n.ood("zero-shot"), n.ood("e2e-ft"))
    said = []
    for row, title in (("wise-ft:e2e-ft", "WiSE-FT"), ("ose:e2e-ft", "OSE")):
        best = max(n.curve(row).points, key=lambda point: _mean(point.ood))
        _claim(_mean(best.ood) > ends, f"the curve of {row} beats both ends")
        alpha = dict(best.choice)["alpha"]
        said.append(
            f"{title} reaches {_points(_mean(best.ood))} OOD at alpha {alpha:g} "
            f"({_points(_mean(best.id))} ID)"
        )
    return (
        "In hindsight, read off the test sets, both plain ensembles beat both ends along their "
        f"curves: {' and '.join(said)}."
    )


def _ahead(n: Numbers) -> str:
    said = []
    for base, title in (("e2e-ft", "E2E-FT"), ("lp-ft", "LP-FT")):
        vrf, others = n.ood(f"vrf:{base}"), ("wise-ft", "ose", "ose-calibrated")
        for other in others:
            _claim(vrf > n.ood(f"{other}:{base}"), f"VRF is ahead of {other} on {base}")
        wise, ose, calibrated = (_points(n.ood(f"{other}:{base}")) for other in others)
        said.append(
            f"on {title} {_points(vrf)} OOD against {ose} of OSE, {wise} of WiSE-FT and "
            f"{calibrated} of OSE with calibrated ends"
        )
    return (
        "In the mean VRF is ahead on both bases (the standings say what is significant), and "
        f"calibration alone does not explain it: {'; '.join(said)}."
    )


def _per_set(n: Numbers) -> str:
    said = []
    for base, title in (("e2e-ft", "E2E-FT"), ("lp-ft", "LP-FT")):
        vrf, constant = n.ood(f"vrf:{base}"), n.ood(f"vrf-constant:{base}")
        _claim(constant > vrf - KEPT, f"on {base} one w for each set does as well")
        said.append(f"{_points(constant)} instead of {_points(vrf)} on {title}")
    return (
        "Here VRF's gain comes from one weight for each data set, not for each sample: with w "
        f"replaced by its mean over the data set OOD accuracy is {' and '.join(said)}. Distances "
        "tell the sets apart better than the samples within one."
    )


def _failure_set(n: Numbers) -> str:
    said = []
    for base, title in (("e2e-ft", "E2E-FT"), ("lp-ft", "LP-FT")):
        vrf, other = n.ood(f"vrf:{base}"), n.ood(f"vrf-all-correct:{base}")
        _claim(abs(other - vrf) < KEPT, f"on {base} the failure set does not matter")
        said.append(f"{_points(other)} instead of {_points(vrf)} on {title}")
    return (
        "Nor does the failure set matter here: distances to all correct training samples give "
        f"{' and '.join(said)}."
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
        "The paper's observation behind it holds: over ID and all shifts together, E2E-FT is "
        f"{100 * near:+.1f} points from zero-shot on the tenth of the samples that is nearest to "
        f"the failure set, and {100 * far:+.1f} on the farthest tenth."
    )


def _gain(data: Mapping[str, list[int]], *, reverse: bool, part: float = 0.1) -> float:
    """Fine-tuned minus zero-shot accuracy on the first bins that hold `part` of the samples."""
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
    there = [row for row in tuned if slides[row][1] > slides["carot-slides"][1]]
    _claim(max(tuned, key=n.id) == "carot-slides", "CaRot has the best ID accuracy")
    _claim(max(slides, key=lambda row: slides[row][0]) == "carot-slides", "so it has on the slides")
    _claim({*ahead} == {*there} and all("wise-ft" in row for row in ahead), "only WiSE-FT is ahead")
    gain = n.ood("carot-slides") - n.ood("flyp")
    less = n.ood("carot-slides", "ece") / n.ood("flyp", "ece")
    _claim(gain > 0 and less < 1, "CaRot is ahead of FLYP out of distribution")
    for column, sign in ((1, 1), (3, -1)):
        there_too = sign * (slides["carot-slides"][column] - slides["flyp"][column]) > 0
        _claim(there_too, "so it is on the slides")
    first, last = n.rank("carot-slides")
    return (
        f"CaRot has the highest ID accuracy, {_points(gain)} points of OOD accuracy over FLYP and "
        f"{less:.0%} of FLYP's OOD ECE; of the fine-tuned rows only those of WiSE-FT are ahead of "
        f"it in OOD accuracy, where its rank is {first} to {last}: much of this order may be "
        "chance. On the slides all that points the same way."
    )


def _smoothed_wise(n: Numbers) -> str:
    row = "wise-ft:e2e-ft+ls"
    claimed = next(r for _, r in find_published_table(SLIDES).rows if r.ours == row).cells[2]
    here = n.id(row, "ece")
    _claim(here < 0.5 * float(claimed or 0), "WiSE-FT with label smoothing is better calibrated")
    return (
        "WiSE-FT with label smoothing is not the miscalibrated row that it is on the slides (ID "
        f"ECE {claimed}): {here:.4f}."
    )


def _temperatures(n: Numbers) -> str:
    for row in n.rows():
        helps = n.ood(row, "ece", scaled=True) < n.ood(row, "ece")
        _claim(n.id(row, "ece", scaled=True) < n.id(row, "ece"), f"a temperature mends {row} on ID")
        _claim(helps == (n.temperature(row) > 1), f"{row}: OOD calibration mended iff T > 1")
    mended = sum(n.temperature(row) > 1 for row in n.rows())
    return (
        f"Temperature scaling mends ID calibration for all {len(n.rows())} rows and OOD "
        f"calibration only for the {mended} that were over-confident (T above 1)."
    )


def _smoothing(n: Numbers) -> str:
    said = []
    for row, title in (("e2e-ft", "FT"), ("wise-ft:e2e-ft", "WiSE-FT"), ("flyp", "FLYP")):
        smoothed, scaled = n.ood(f"{row}+ls", "ece"), n.ood(row, "ece", scaled=True)
        _claim(smoothed < scaled, f"label smoothing does more for {row} than a temperature")
        said.append(f"{smoothed:.4f} against {scaled:.4f} for {title}")
    return f"Label smoothing does more for OOD ECE than a temperature does: {', '.join(said)}."


def _nothing_known(n: Numbers) -> str:
    chance, ensembles = 0.1, [f"{name}:e2e-ft" for name in ENSEMBLES]
    _claim(n.id("zero-shot") < chance < n.id("e2e-ft"), "zero-shot alone is below chance")
    best = max(n.ood(row) for row in ensembles)
    _claim(best <= n.ood("e2e-ft"), "no ensemble is ahead of E2E-FT")
    worst = max(n.id(row, "ece") for row in ensembles)
    return (
        "Real photographs, but a model that has seen none: the tiny CLIP knows rendered shapes, so "
        f"that zero-shot is at {_points(n.id('zero-shot'))}, below chance, and no ensemble with it "
        f"has anything to win ({_points(best)} OOD at most, E2E-FT {_points(n.ood('e2e-ft'))}); "
        f"what ensembles lose is calibration (ID ECE up to {_points(worst)}). It shows that the "
        "path for real images works, and nothing about the methods: docs/cifar10.md."
    )


SLIDES = "carot-slides"
FINDINGS: Mapping[str, tuple[Callable[[Numbers], str], ...]] = {
    "cifar10": (_nothing_known,),
    "mini": (_trade_off, _won_back, _curves),
    "vrf-table1": (_ahead, _per_set, _failure_set, _by_distance),
    SLIDES: (_carot, _smoothed_wise, _temperatures, _smoothing),
}
"""By the run's name; a finding fails if what it says is not so."""
