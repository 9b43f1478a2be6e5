"""For tests: made-up records that say exactly what a published table claims."""

from __future__ import annotations

from typing import Any

from bench.cards import cards
from bench.ledger import share, weights
from bench.published import MODELS, PLACES, Claim, PublishedTable
from bench.records import Record


def records_of(table: PublishedTable, seeds: tuple[int, ...] = (0,), **more: Any) -> list[Record]:
    """A record of each claimed cell, and of each set of an average whose cells are not there.

    Where two rows claim something of the same row of ours, it is as the first says.
    """
    printed = {(c.backbone, c.row.name, c.column.name) for c in table.claims}
    found: dict[tuple[object, ...], Record] = {}
    for claim in table.claims:
        for dataset in weights(claim.column.dataset):
            name = claim.column.name.replace(claim.column.dataset, dataset, 1)
            is_part = dataset != claim.column.dataset
            if is_part and (claim.backbone, claim.row.name, name) in printed:
                continue
            if dataset in PLACES and claim.row.ours is not None:
                for seed in (None,) if claim.row.ours == "zero-shot" else seeds:
                    key = (claim.backbone, claim.row.ours, *claim.row.given.items(), name, seed)
                    found.setdefault(key, record(claim, dataset, seed, **more))
    return list(found.values())


def record(claim: Claim, dataset: str, seed: int | None, **more: Any) -> Record:
    """The record of a claim on one set, with the claim's own value."""
    place, given = PLACES[dataset], dict(claim.row.given)
    method, _, base = str(claim.row.ours).partition(":")
    images = 1000 if place.card is None else cards()[place.card].images[place.split]
    kind = "curve" if given else "scaled" if claim.column.scaled else "cell"
    fields: dict[str, Any] = {
        "suite": place.suite,
        "model": MODELS[claim.backbone],
        "method": method,
        "base": base or None,
        "title": method,
        "seed": seed,
        "shift": place.shift,
        "order": [p.shift for p in PLACES.values()].index(place.shift),
        "shifts_in_suite": 7,
        "protocol": "official",
        "metric": claim.column.metric,
        "kind": kind,
        "choice": given,
        "value": share(claim),
        "n": images,
    }
    return Record(**(fields | more))
