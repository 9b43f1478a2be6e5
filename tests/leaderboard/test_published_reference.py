"""Published tables compared with the facts that the reference collected."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from places import DATA
from printed import averages
from published_digests import CURVES, contradictions, of_curves, of_record

from bench.leaderboard.published.tables import find_published_table, published_tables

REFERENCE = DATA.parent / "reference" / "published.json"


@pytest.fixture(scope="module")
def reference() -> dict[str, list[dict[str, Any]]]:
    """Return the collected facts: ``records`` and ``checks``."""
    if not REFERENCE.is_file():
        pytest.skip(f"no {REFERENCE}: set BENCH_TEST_DATA to the data folder beside its folder")
    loaded: dict[str, list[dict[str, Any]]] = json.loads(REFERENCE.read_text())
    loaded["records"] += of_curves(json.loads(REFERENCE.with_name(CURVES).read_text()))
    return loaded


def test_every_record_of_the_reference_is_a_cell_once_and_nothing_else_is(
    reference: dict[str, list[dict[str, Any]]],
) -> None:
    assert not contradictions(reference["records"], published_tables().values())
    assert set(Counter(map(of_record, reference["records"])).values()) == {1}
    sources = {(r["source"]["paper"], r["source"]["table"]) for r in reference["records"]}
    assert len(sources) == len(published_tables()), "one file for each published table"


def test_sources_are_those_of_the_reference(
    reference: dict[str, list[dict[str, Any]]],
) -> None:
    by_table = {(r["source"]["paper"], r["source"]["table"]): r for r in reference["records"]}
    for table in published_tables().values():
        source = by_table[table.source.paper, table.source.table]["source"]
        if "arxiv" not in source:  # curves
            continue
        assert (source["arxiv"], source.get("url")) == (table.source.arxiv, table.source.url)
        assert table.source.secondary == ("secondary source" in source["paper"])


NOT_HERE = "LP-FT Table"
"""Averages over sets that are not all in our suites: their cells are not in our tables."""


def test_the_checks_of_the_reference_come_out_alike(
    reference: dict[str, list[dict[str, Any]]],
) -> None:
    computed = Counter(
        (float(round(mean, 4)), float(claim.value))
        for table in published_tables().values()
        for claim, mean, _ in averages(table)
    )
    checked = Counter(
        (c["computed"], c["printed"])
        for c in reference["checks"]
        if "computed" in c and not c["check"].startswith(NOT_HERE)
    )
    assert sum(checked.values()) > 100
    assert checked <= computed
    differences = {
        tuple(float(c.value) for c in table.differences if c.row.base == base)
        for table in published_tables().values()
        for base in ("e2e-ft", "lp-ft")
    }
    printed = [
        tuple(c["detail"]["printed"])
        for c in reference["checks"]
        if "printed delta row" in c["check"]
    ]
    assert len(printed) == 8
    assert set(printed) <= differences


FAILING = {
    "VRF Table 1 ViT-B/32: vrf on lp-ft avg5": ("vrf-table1", "arithmetic"),
    "VRF Table 1 ViT-B/32, VRF on LP-FT": ("vrf-table1-poster", "arithmetic"),
    "VRF Table 1 LP-FT ViT-B/32 ImageNet-R": ("vrf-table1", "doubt"),
    "VRF Table 12 ose on flyp": ("vrf-table12", "arithmetic"),
    "VRF Table 12 vrf on flyp": ("vrf-table12", "arithmetic"),
    "VRF Table 12 header": ("vrf-table12", "doubt"),
    "VRF Table 2 WSE row": ("vrf-table2", "elsewhere"),
    "VRF Table 2 VRF row": ("vrf-table2", "elsewhere"),
    "seed CaRot table: temperature scaling": ("carot-slides", "doubt"),
    "seed CaRot table: per-shift cells": ("carot-slides", "note"),
    "seed CaRot e2e-ft": ("carot-slides", "elsewhere"),
    "The WiSE-FT released E2E-FT": ("vrf-table2", "elsewhere"),
    "WiSE-FT best-alpha avg5": ("wise-ft-table1", "elsewhere"),
    "LP-FT section 4.2 text": ("lp-ft-table2", "elsewhere"),
    "TRACER Table 1 zero-shot": ("tracer-table1", "arithmetic"),
    "TRACER Table 3 ViT-L/14 LP-FT row": ("tracer-table7", "elsewhere"),
    "TRACER CaRot and FLYP": ("tracer-table1", "elsewhere"),
    "Zero-shot CIFAR-10": ("vrf-table3a", "elsewhere"),
}
"""The reference's failed checks, with the table that has a remark on each and its kind."""


def test_whatever_the_reference_found_amiss_is_remarked(
    reference: dict[str, list[dict[str, Any]]],
) -> None:
    amiss = [check["check"] for check in reference["checks"] if not check["ok"]]
    for name in amiss:
        (start,) = [start for start in FAILING if name.startswith(start)]
        table, kind = FAILING[start]
        assert kind in {remark.kind for remark in find_published_table(table).remarks}, name
    assert len(amiss) == len(FAILING)
