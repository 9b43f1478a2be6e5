"""For tests: invented records with the values of a published table, and samples for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.api.splits import Manifest
from bench.core.records import Record, records_text
from bench.core.store import Store
from bench.data.cards import cards
from bench.leaderboard.published.ledger import claimed_fraction, mean_weights
from bench.leaderboard.published.places import MODELS, PLACES
from bench.leaderboard.published.tables import Claim, PublishedTable
from bench.leaderboard.samples import store_samples, write_samples


def records_of(table: PublishedTable, seeds: tuple[int, ...] = (0,), **more: Any) -> list[Record]:
    """Return a record of each claimed cell.

    An average whose own cells are not printed gives one record per set that it averages. If two
    printed rows correspond to the same row of ours, the first one counts.
    """
    printed = {(c.backbone, c.row.name, c.column.name) for c in table.claims}
    found: dict[tuple[object, ...], Record] = {}
    for claim in table.claims:
        for dataset in mean_weights(claim.column.dataset):
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
    """Return the record of a claim on one set, with the value of the claim."""
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
        "value": claimed_fraction(claim),
        "n": images,
    }
    return Record(**(fields | more))


def in_counts(records: Sequence[Record]) -> list[Record]:
    """Return the records with accuracies rounded to whole samples, and a key for each."""
    return [
        r.model_copy(
            update={"value": round(r.value * r.n) / r.n, "provenance": {"key": f"{at:032x}"}}
        )
        for at, r in enumerate(records)
    ]


def write_backed(folder: Path, records: Sequence[Record]) -> Path:
    """Write a run folder with invented samples that have the accuracies of `in_counts` records."""
    store, manifests = Store(folder / "cache"), dict[str, Manifest]()
    for record in records:
        split = f"{record.suite}/{record.shift}"
        if split not in manifests:
            ids = tuple(map(str, range(record.n)))
            manifests[split] = Manifest(ids, np.zeros((record.n, 1), np.int64))
        is_right = np.arange(record.n) < round(record.value * record.n)
        low, high = np.log(0.25), np.log(0.75)
        scores = np.where(is_right[:, None], [high, low], [low, high])
        store_samples(store, str(record.provenance["key"]), split, scores, manifests[split])
    folder.mkdir(exist_ok=True)
    (folder / "records.jsonl").write_text(records_text(records))
    write_samples(folder, store, records)
    return folder
