"""The reproduction ledger: which printed numbers our records reproduce, cell by cell.

The functions are pure: they take a published table and records and return entries.

A cell is attempted only if it was measured under the conditions of the claim: the same suite,
backbone, row and fixed parameters, the protocol that the table names, the complete set, a row of
role "method", no watermark. Otherwise it is "not attempted", with the first condition that does not
hold, even if the numbers agree. A cell is reproduced only if stored samples support its records
(`bench.leaderboard.published.evidence`); without them it is "not verified". Difference rows are
left out, because they claim nothing beyond their two rows. Records of released weights imported
onto the backbone count, because some tables evaluate such weights; the entry names the weights.

**Tolerance.** The claim and our value are measured on the same images, by two models that differ at
most in training randomness and implementation. The tolerance of an accuracy p is, per cell,

    z sqrt( p (1 - p) / n  +  s^2 (1/S_claim + 1/S_ours) )  +  half of the last printed digit

- z belongs to a two-sided 95% interval of one cell. It does not account for the number of cells in
  a table, because the verdict of a cell must not depend on how many others were attempted. Among
  many attempted cells, a few misses by chance are to be expected.
- p (1 - p) / n is the binomial variance of one accuracy, with p as claimed. If the two models were
  measured on different images, it would count twice. On the same images the variance of the
  difference is 2 p (1 - p) (1 - r) / n, where r is the correlation of being right. We assume
  r >= 1/2, as two models are mostly wrong on the same images. For a mean of sets, each set counts
  with its weight, and p is that of the mean.
- s is the standard deviation over seeds: that of our seeds if there are at least two, otherwise
  `SEED_ERROR`; 0 for rows without training. S_claim and S_ours are the numbers of seeds; S_claim is
  1 if the source does not state it.
- The images are the same, so s alone covers a recipe that is followed exactly. The binomial part
  covers other differences that a set of n images cannot resolve. If s is right, the level is above
  95%.

Printed values give no standard error for an ECE, a macro-F1, a worst region or pm-0. Such cells are
attempted only if a tolerance is supplied.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isclose, sqrt
from statistics import NormalDist, fmean, stdev
from typing import Literal

from bench.core.errors import InputError
from bench.core.records import MissingCell, Record
from bench.leaderboard.board import KINDS, BoardKey, Seed, board_key
from bench.leaderboard.comparability import check_comparable, describe_conflict, same_value
from bench.leaderboard.published.matching import matching_records
from bench.leaderboard.published.places import MEANS, PLACES
from bench.leaderboard.published.tables import Claim, PublishedTable

LedgerVerdict = Literal["reproduced", "not reproduced", "not attempted", "not verified"]
UNBACKED = (
    "the records meet the claim, but no stored samples support them: check the folder of a run "
    "that has samples/ next to its records.jsonl"
)
"""The reason of a cell that is not verified."""
LEVEL = 0.95
"""The confidence level of the interval around each claim."""
SEED_ERROR = 0.003
"""The deviation over seeds if ours was not measured: 0.3 points, an assumption."""


@dataclass(frozen=True)
class LedgerEntry:
    """The result for one claim. Values are fractions, not percent.

    Attributes
    ----------
    reason : why the claim was not attempted or not verified, else empty.
    ours : the mean over our `seeds` seeds; None if not attempted.
    model : the model it was measured with, as in records.
    tolerance : the allowed difference; None if not attempted.
    seed_error : the deviation over seeds in the tolerance; None if the tolerance was supplied.

    Examples
    --------
    >>> from bench.leaderboard.published.ledger import LedgerEntry
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> claim = find_published_table("vrf-table1").claims[0]
    >>> entry = LedgerEntry(claim, "reproduced", ours=0.634, seeds=1, tolerance=0.01)
    >>> claim.text, round(entry.difference, 4)
    ('63.3', 0.001)
    """

    claim: Claim
    verdict: LedgerVerdict
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
    """Our value of a claim by seed, the number of samples per set, the model and the records."""

    model: str
    values: Mapping[Seed, float]
    sizes: Mapping[str, int]
    records: Sequence[Record]


def ledger(
    table: PublishedTable,
    records: Iterable[Record],
    missing: Iterable[MissingCell] = (),
    tolerance: float | None = None,
    evidence: Container[Record] = (),
) -> tuple[LedgerEntry, ...]:
    """Return an entry for each claim of `table`, in printed order.

    `tolerance`, a fraction, replaces the tolerance described above. `evidence` holds the records
    that stored samples support. Raises InputError for records that contradict each other.

    Examples
    --------
    >>> from bench.leaderboard.published.ledger import ledger
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> from bench.testing.fakes import fake_records
    >>> entries = ledger(find_published_table("vrf-table1"), fake_records())
    >>> entries[0].verdict, entries[0].reason
    ('not attempted', 'measured on suite fake, but the claim is for imagenet')
    """
    absent = list(missing)
    metrics = {column.metric for column in table.columns}
    found = [r for r in records if r.kind != "figure" and r.metric in metrics]
    boards: dict[BoardKey, list[Record]] = defaultdict(list)
    for record in found:
        if record.kind in KINDS:
            boards[board_key(record)].append(record)
    for of_board in boards.values():
        check_comparable(of_board)
    protocol = table.conditions.ours
    return tuple(
        _entry(claim, protocol, found, absent, tolerance, evidence) for claim in table.claims
    )


def count_verdicts(entries: Iterable[LedgerEntry]) -> Mapping[LedgerVerdict, int]:
    """Count the cells with each verdict; "not verified" is left out if there are none.

    Examples
    --------
    >>> from bench.leaderboard.published.ledger import count_verdicts, ledger
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> count_verdicts(ledger(find_published_table("vrf-table1"), []))["not attempted"]
    70
    """
    found = Counter(entry.verdict for entry in entries)
    verdicts: tuple[LedgerVerdict, ...] = ("reproduced", "not reproduced", "not attempted")
    unverified: tuple[LedgerVerdict, ...] = ("not verified",) if found["not verified"] else ()
    return {verdict: found[verdict] for verdict in (*verdicts, *unverified)}


def claimed_fraction(claim: Claim) -> float:
    """Return the claimed number as a fraction.

    Examples
    --------
    >>> from bench.leaderboard.published.ledger import claimed_fraction
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> claim = find_published_table("vrf-table1").claims[0]
    >>> claim.text, claimed_fraction(claim)
    ('63.3', 0.633)
    """
    return float(claim.value / claim.factor)


def mean_weights(dataset: str) -> Mapping[str, Fraction]:
    """Return the sets that a column averages, with their weights; 1 for a column of one set.

    Examples
    --------
    >>> from bench.leaderboard.published.ledger import mean_weights
    >>> mean_weights("imagenet"), mean_weights("avg5")["imagenet-a"]
    ({'imagenet': Fraction(1, 1)}, Fraction(1, 5))
    """
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
    evidence: Container[Record],
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
    assert allowed is not None, "either supplied, or computed with a seed error"
    gap = abs(ours - claimed_fraction(claim))
    holds = gap <= allowed or isclose(gap, allowed, abs_tol=1e-9)
    verdict: LedgerVerdict = "reproduced" if holds else "not reproduced"
    reason = ""
    if holds and any(record not in evidence for record in measured.records):
        verdict, reason = "not verified", UNBACKED
    return LedgerEntry(claim, verdict, reason, ours, measured.model, seeds, allowed, seed_error)


def _tolerance(claim: Claim, measured: _Measured, seed_error: float) -> float:
    p = claimed_fraction(claim)
    parts = mean_weights(claim.column.dataset)
    sampling = p * (1 - p) * sum(float(w**2) / measured.sizes[name] for name, w in parts.items())
    claimed_seeds = float(claim.row.modifiers.get("seeds", 1))
    training = seed_error**2 * (1 / claimed_seeds + 1 / len(measured.values))
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    return z * sqrt(sampling + training) + float(claim.half_unit / claim.factor)


def _seed_error(values: Mapping[Seed, float]) -> float:
    if set(values) == {None}:
        return 0.0
    return stdev(values.values()) if len(values) > 1 else SEED_ERROR


def _measured(
    claim: Claim, protocol: str, records: Sequence[Record], missing: Sequence[MissingCell]
) -> _Measured | str:
    """Return our value of a claim, or the reason why there is none."""
    for remark in claim.remarks:
        if remark.bars:
            return f"not comparable: {remark.text}"
    if claim.row.in_hindsight:
        return "not comparable: its parameters were chosen on the test sets (oracle)"
    by_set: dict[str, Sequence[Record]] = {}
    for name in mean_weights(claim.column.dataset):
        if name not in PLACES:
            return f"no suite of bench has {name}"
        found = matching_records(claim, protocol, PLACES[name], records, missing)
        if isinstance(found, str):
            return found
        by_set[name] = found
    values = {name: _by_seed(found) for name, found in by_set.items()}
    seeds = [seeds.keys() for seeds in values.values()]
    if any(other != seeds[0] for other in seeds):
        return "its sets were measured with different seeds"
    parts = mean_weights(claim.column.dataset).items()
    means = {s: sum(float(w) * values[name][s] for name, w in parts) for s in seeds[0]}
    models = ", ".join(sorted({r.model for found in by_set.values() for r in found}))
    sizes = {name: found[0].n for name, found in by_set.items()}
    return _Measured(models, means, sizes, [r for found in by_set.values() for r in found])


def _by_seed(records: Sequence[Record]) -> dict[Seed, float]:
    """Return the value of each seed.

    A chosen cell and a candidate with the same parameters must agree. Raises InputError if there
    are two values for a seed.
    """
    found: dict[Seed, float] = {}
    for record in records:
        value = found.setdefault(record.seed, record.value)
        if not same_value(value, record.value):
            raise InputError(describe_conflict(record, value))
    return found
