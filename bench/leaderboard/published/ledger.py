"""The reproduction ledger: which printed numbers our records reproduce, cell by cell.

Pure: a published table and records in, entries out. A cell counts as attempted only if it was
measured as it was claimed: same suite, backbone, row and given parameters, under the protocol that
the table names, on the whole set, by a method's own row, without a watermark. Everything else is
"not attempted", with the first thing that is otherwise, and is never reproduced, however well the
numbers agree. And it counts as reproduced only if its records are backed by stored outputs
(`bench.leaderboard.published.evidence`), else it is "not verified". Difference rows claim nothing
that their two rows do not. Released weights that were imported onto the backbone count: some tables
are evaluations of such; entries name them.

**The tolerance.** Claim and ours are measured on the same images, by two models that differ at
most in training randomness and implementation. The tolerance of an accuracy p is, per cell,

    z sqrt( p (1 - p) / n  +  s^2 (1/S_claim + 1/S_ours) )  +  half of the last printed digit

- z is that of a two-sided 95% interval for one cell, on purpose not for all cells of a table
  together: a cell's verdict must not depend on how many others were attempted. So among many
  attempted cells a chance miss is to be expected now and then.
- p (1 - p) / n is the binomial variance of one accuracy, p the claim's. Were both measured on
  images of their own it would count twice. On the same images the difference has the variance
  2 p (1 - p) (1 - r) / n, r the correlation of being right; we assume r >= 1/2, as for two models
  that are mostly wrong on the same images. For a mean of sets each set's share counts, all with
  the mean's p.
- s is the deviation over seeds: that of our own, if there are at least two, else `SEED_ERROR`;
  0 for rows into which no training went. S are the numbers of seeds, 1 where the source is silent.
- As the images are the same, s alone covers a recipe that is followed exactly; the binomial part
  is what else a set of n images cannot tell. Where s is right the level is above 95%.

No standard error is known for an ECE, a macro-F1, a worst region or pm-0 from what is printed:
such cells are attempted only against a tolerance that is given.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isclose, sqrt
from statistics import NormalDist, fmean, stdev
from typing import Literal

from bench.core.errors import InputError
from bench.core.records import CellAddress as Where
from bench.core.records import MissingCell, Record
from bench.data.cards import UNKNOWN, cards
from bench.leaderboard.board import KINDS, BoardKey, Seed, board_key
from bench.leaderboard.comparability import check_comparable, describe_conflict
from bench.leaderboard.published.tables import (
    MEANS,
    MODELS,
    PLACES,
    Claim,
    Counterpart,
    PublishedTable,
)

Verdict = Literal["reproduced", "not reproduced", "not attempted", "not verified"]
UNBACKED = (
    "the claim is met by records alone, no stored outputs back them: check the folder of a run "
    "that has samples/ beside its records.jsonl"
)
"""What is said of a cell that is not verified."""
LEVEL = 0.95
"""Of the interval around each claim."""
SEED_ERROR = 0.003
"""The deviation over seeds where ours was not measured: 0.3 points, stated and not measured."""
SLACK = 0.01
"""By how much a set's number of images may be off: sources count some sets differently."""


@dataclass(frozen=True)
class LedgerEntry:
    """What became of one claim; shares, not percent.

    Attributes
    ----------
    reason : why it was not attempted, or not verified, else empty.
    ours : the mean over `seeds` seeds; None where nothing was attempted, as `tolerance`.
    model : what it was measured with, as records name it.
    seed_error : the deviation over seeds that the tolerance counts with; None where the tolerance
        was given.
    """

    claim: Claim
    verdict: Verdict
    reason: str = ""
    ours: float | None = None
    model: str = ""
    seeds: int = 0
    tolerance: float | None = None
    seed_error: float | None = None

    @property
    def difference(self) -> float | None:
        """Ours minus the claim, ours unrounded."""
        return None if self.ours is None else self.ours - claimed_fraction(self.claim)


@dataclass(frozen=True)
class _Measured:
    """Our value of a claim by seed, the number of samples of each of its sets, and the model."""

    model: str
    values: Mapping[Seed, float]
    sizes: Mapping[str, int]
    records: Sequence[Record]


def ledger(
    table: PublishedTable,
    records: Iterable[Record],
    missing: Iterable[MissingCell] = (),
    tolerance: float | None = None,
    backing: Container[Record] = (),
) -> tuple[LedgerEntry, ...]:
    """An entry for each claim of `table`, in printed order.

    `tolerance`, a share, stands in for the one above; `backing` holds the records that are backed
    by stored outputs. Raises InputError for records that contradict each other.
    """
    lacking = list(missing)
    metrics = {column.metric for column in table.columns}
    found = [r for r in records if r.kind != "figure" and r.metric in metrics]
    boards: dict[BoardKey, list[Record]] = defaultdict(list)
    for record in found:
        if record.kind in KINDS:
            boards[board_key(record)].append(record)
    for same in boards.values():
        check_comparable(same)
    protocol = table.conditions.ours
    return tuple(
        _entry(claim, protocol, found, lacking, tolerance, backing) for claim in table.claims
    )


def count_verdicts(entries: Iterable[LedgerEntry]) -> Mapping[Verdict, int]:
    """How many cells have each verdict; "not verified" is left out where there is none."""
    found = Counter(entry.verdict for entry in entries)
    verdicts: tuple[Verdict, ...] = ("reproduced", "not reproduced", "not attempted")
    unverified: tuple[Verdict, ...] = ("not verified",) if found["not verified"] else ()
    return {verdict: found[verdict] for verdict in (*verdicts, *unverified)}


def claimed_fraction(claim: Claim) -> float:
    """The claimed number as a share."""
    return float(claim.value / claim.factor)


def mean_weights(dataset: str) -> Mapping[str, Fraction]:
    """The sets that a column is the mean of, with their weights; the set itself if it is one."""
    if dataset not in MEANS:
        return {dataset: Fraction(1)}
    found: dict[str, Fraction] = {}
    for part in MEANS[dataset]:
        for name, weight in mean_weights(part).items():
            found[name] = found.get(name, Fraction(0)) + weight / len(MEANS[dataset])
    return found


def _entry(
    claim: Claim,
    protocol: str,
    records: Sequence[Record],
    missing: Sequence[MissingCell],
    tolerance: float | None,
    backing: Container[Record],
) -> LedgerEntry:
    measured = _measured(claim, protocol, records, missing)
    if isinstance(measured, str):
        return LedgerEntry(claim, "not attempted", measured)
    if tolerance is None and claim.column.metric != "top1":
        reason = f"no standard error of {claim.column.metric} is known: give a tolerance"
        return LedgerEntry(claim, "not attempted", reason)
    ours, seeds = fmean(measured.values.values()), len(measured.values)
    seed_error = _seed_error(measured.values) if tolerance is None else None
    allowed = tolerance if seed_error is None else _tolerance(claim, measured, seed_error)
    assert allowed is not None, "given, or computed with a seed error"
    gap = abs(ours - claimed_fraction(claim))
    holds = gap <= allowed or isclose(gap, allowed, abs_tol=1e-9)
    verdict: Verdict = "reproduced" if holds else "not reproduced"
    reason = ""
    if holds and any(record not in backing for record in measured.records):
        verdict, reason = "not verified", UNBACKED
    return LedgerEntry(claim, verdict, reason, ours, measured.model, seeds, allowed, seed_error)


def _tolerance(claim: Claim, measured: _Measured, seed_error: float) -> float:
    p = claimed_fraction(claim)
    parts = mean_weights(claim.column.dataset)
    sampling = p * (1 - p) * sum(float(w**2) / measured.sizes[name] for name, w in parts.items())
    theirs = float(claim.row.modifiers.get("seeds", 1))
    training = seed_error**2 * (1 / theirs + 1 / len(measured.values))
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    return z * sqrt(sampling + training) + float(claim.half_unit / claim.factor)


def _seed_error(values: Mapping[Seed, float]) -> float:
    if set(values) == {None}:
        return 0.0
    return stdev(values.values()) if len(values) > 1 else SEED_ERROR


def _measured(
    claim: Claim, protocol: str, records: Sequence[Record], missing: Sequence[MissingCell]
) -> _Measured | str:
    """Our value of a claim, or why there is none."""
    for remark in claim.remarks:
        if remark.bars:
            return f"not comparable: {remark.text}"
    if claim.row.in_hindsight:
        return "not comparable: chosen in hindsight on the test sets"
    by_set: dict[str, Sequence[Record]] = {}
    for name in mean_weights(claim.column.dataset):
        if name not in PLACES:
            return f"no suite of bench has {name}"
        found = _matching(claim, protocol, PLACES[name], records, missing)
        if isinstance(found, str):
            return found
        by_set[name] = found
    values = {name: _by_seed(found) for name, found in by_set.items()}
    seeds = [seeds.keys() for seeds in values.values()]
    if any(other != seeds[0] for other in seeds):
        return "its sets were measured with different seeds"
    parts = mean_weights(claim.column.dataset).items()
    means = {s: sum(float(w) * values[name][s] for name, w in parts) for s in seeds[0]}
    models = _all(record.model for found in by_set.values() for record in found)
    sizes = {name: found[0].n for name, found in by_set.items()}
    return _Measured(models, means, sizes, [r for found in by_set.values() for r in found])


Step = tuple[Callable[[Where], bool], Callable[[Sequence[Record]], str]]
"""What must hold of a record, and what to say if it holds of none that came so far."""


def _matching(
    claim: Claim,
    protocol: str,
    place: Counterpart,
    records: Sequence[Record],
    missing: Sequence[MissingCell],
) -> Sequence[Record] | str:
    """The records that measure a claim on one set, or the first thing that is otherwise."""
    steps = _steps(claim, protocol, place)
    for absent in missing:
        if all(holds(absent) for holds, _ in steps):
            seed = "" if absent.seed is None else f" with seed {absent.seed}"
            return f"missing{seed}: {absent.reason}"
    left = records
    for holds, reason in steps:
        kept = [record for record in left if holds(record)]
        if not kept:
            return reason(left)
        left = kept
    return left


def _steps(claim: Claim, protocol: str, place: Counterpart) -> tuple[Step, ...]:
    row, model = claim.row, MODELS[claim.backbone]
    method, _, base = (row.ours or "").partition(":")
    what = _what(claim)
    expected = _expected(place)
    return (
        (
            lambda r: r.suite == place.suite,
            lambda rs: (
                f"the run is of {_all(r.suite for r in rs)}, the claim of {place.suite}"
                if rs
                else f"no record of {claim.column.metric}"
            ),
        ),
        (
            lambda r: r.model == model or r.model.startswith(f"{model}, imported "),
            lambda rs: f"measured with {_all(r.model for r in rs)}, the claim is of {model}",
        ),
        (
            lambda r: (r.method, r.base) == (method, base or None),
            lambda _: f"no record of {row.ours}",
        ),
        (
            lambda r: r.shift == place.shift,
            lambda _: f"no record of {row.ours} on {place.suite}/{place.shift}",
        ),
        (
            lambda r: not isinstance(r, Record) or _measures(r, claim),
            lambda _: f"no record of {what} of {row.ours} on {place.suite}/{place.shift}",
        ),
        (
            lambda r: r.protocol == protocol,
            lambda rs: f"under protocol {_all(r.protocol for r in rs)}, comparable is {protocol}",
        ),
        (lambda r: r.role == "method", lambda rs: f"a row of {_all(r.role for r in rs)}"),
        (
            lambda r: not r.notes,
            lambda rs: f"not reportable: {_all(note for r in rs for note in r.notes)}",
        ),
        (
            lambda r: not isinstance(r, Record) or _is_whole(r.n, expected),
            lambda rs: f"{_all(str(r.n) for r in rs)} samples, the set has {expected}",
        ),
    )


def _measures(record: Record, claim: Claim) -> bool:
    """Whether a record has the claim's metric, scaled or not, at the parameters that are given."""
    given = claim.row.given
    kinds = ("scaled",) if claim.column.scaled else ("cell", "curve") if given else ("cell",)
    return (
        record.metric == claim.column.metric
        and record.kind in kinds
        and all(isclose(record.choice.get(k, -1), v, abs_tol=1e-9) for k, v in given.items())
    )


def _what(claim: Claim) -> str:
    """What is measured: ``top1``, ``ece w/ TS``, ``top1 at alpha=0.5``."""
    given = ", ".join(f"{k}={v:g}" for k, v in claim.row.given.items())
    scaled = " w/ TS" if claim.column.scaled else ""
    return f"{claim.column.metric}{scaled}{f' at {given}' if given else ''}"


def _expected(place: Counterpart) -> int | None:
    """The number of images of a set, where it is known and what records count."""
    images = UNKNOWN if place.card is None else cards()[place.card].images[place.split]
    return None if isinstance(images, str) else images


def _is_whole(n: int, expected: int | None) -> bool:
    return expected is None or abs(n - expected) <= SLACK * expected


def _by_seed(records: Sequence[Record]) -> dict[Seed, float]:
    """The value of each seed; what was chosen and a candidate with the same parameters agree.

    Raises InputError if there are two values for a seed.
    """
    found: dict[Seed, float] = {}
    for record in records:
        value = found.setdefault(record.seed, record.value)
        if value != record.value:
            raise InputError(describe_conflict(record, value))
    return found


def _all(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names))) or "nothing"
