"""Which records measure a published claim, or why none does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import isclose

from bench.core.records import CellAddress as Where
from bench.core.records import MissingCell, Record
from bench.data.cards import UNKNOWN, cards
from bench.leaderboard.hyper_parameters import off_protocol
from bench.leaderboard.published.places import MODELS, Counterpart
from bench.leaderboard.published.tables import Claim

SLACK = 0.01
"""The relative difference allowed in the number of images: sources count some sets differently."""

Step = tuple[Callable[[Where], bool], Callable[[Sequence[Record]], str]]
"""A condition on records, and the reason if none of the records that are left meets it."""


def matching_records(
    claim: Claim,
    protocol: str,
    place: Counterpart,
    records: Sequence[Record],
    missing: Sequence[MissingCell],
) -> Sequence[Record] | str:
    """Return the records that measure a claim on one set, or the first condition that fails.

    Examples
    --------
    >>> from bench.leaderboard.published.matching import matching_records
    >>> from bench.leaderboard.published.places import PLACES
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> claim = find_published_table("vrf-table1").claims[0]
    >>> matching_records(claim, "official", PLACES["imagenet"], [], [])
    'no record of top1'
    """
    steps = _steps(claim, protocol, place)
    for absent in missing:
        if all(holds(absent) for holds, _ in steps):
            seed = "" if absent.seed is None else f" with seed {absent.seed}"
            return f"missing{seed}: {absent.reason}"
    left = records
    for holds, reason in steps:
        matching = [record for record in left if holds(record)]
        if not matching:
            return reason(left)
        left = matching
    return left


def _steps(claim: Claim, protocol: str, place: Counterpart) -> tuple[Step, ...]:
    """Return the conditions on records of one set of a claim, in the order they are checked."""
    row, model = claim.row, MODELS[claim.backbone]
    method, _, base = (row.ours or "").partition(":")
    quantity = _quantity(claim)
    expected = _expected_images(place)
    return (
        (
            lambda r: r.suite == place.suite,
            lambda rs: (
                f"measured on suite {_all(r.suite for r in rs)}, but the claim is for {place.suite}"
                if rs
                else f"no record of {claim.column.metric}"
            ),
        ),
        (
            lambda r: r.model == model or r.model.startswith(f"{model}, imported "),
            lambda rs: f"measured with {_all(r.model for r in rs)}, but the claim is for {model}",
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
            lambda _: f"no record of {quantity} of {row.ours} on {place.suite}/{place.shift}",
        ),
        (
            lambda r: r.protocol == protocol,
            lambda rs: (
                f"measured under protocol {_all(r.protocol for r in rs)}, but the claim is "
                f"comparable with {protocol}"
            ),
        ),
        (
            lambda r: not isinstance(r, Record) or not off_protocol(r, grids=not row.given),
            lambda rs: (
                f"measured with another {_all(d for r in rs for d in _off_protocol(r))} than "
                f"that of protocol {protocol}"
            ),
        ),
        (
            lambda r: r.role == "method",
            lambda rs: f"the role of the row is {_all(r.role for r in rs)}, not method",
        ),
        (
            lambda r: not r.notes,
            lambda rs: f"not reportable: {_all(note for r in rs for note in r.notes)}",
        ),
        (
            lambda r: not isinstance(r, Record) or _is_complete(r.n, expected),
            lambda rs: (
                f"measured on {_all(str(r.n) for r in rs)} samples, but the set has {expected}"
            ),
        ),
    )


def _off_protocol(found: Record | MissingCell) -> list[str]:
    return off_protocol(found) if isinstance(found, Record) else []


def _measures(record: Record, claim: Claim) -> bool:
    """Return whether a record has the claim's metric, scaling and fixed parameters."""
    given = claim.row.given
    kinds = ("scaled",) if claim.column.scaled else ("cell", "curve") if given else ("cell",)
    return (
        record.metric == claim.column.metric
        and record.kind in kinds
        and all(isclose(record.choice.get(k, -1), v, abs_tol=1e-9) for k, v in given.items())
    )


def _quantity(claim: Claim) -> str:
    """Name the claimed quantity: ``top1``, ``ece w/ TS``, ``top1 at alpha=0.5``."""
    given = ", ".join(f"{k}={v:g}" for k, v in claim.row.given.items())
    scaled = " w/ TS" if claim.column.scaled else ""
    return f"{claim.column.metric}{scaled}{f' at {given}' if given else ''}"


def _expected_images(place: Counterpart) -> int | None:
    """Return the number of images of a set; None if unknown, or if records count no images."""
    images = UNKNOWN if place.card is None else cards()[place.card].images[place.split]
    return None if isinstance(images, str) else images


def _is_complete(n: int, expected: int | None) -> bool:
    return expected is None or abs(n - expected) <= SLACK * expected


def _all(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names))) or "nothing"
