"""Hyper-parameters in records: compared with those of the record's protocol."""

from __future__ import annotations

from typing import Any

import pytest
from claimed import records_of

from bench.core.records import Record
from bench.leaderboard.hyper_parameters import fixed_by_protocols, off_protocol, own_parameters
from bench.leaderboard.published.matching import matching_records
from bench.leaderboard.published.places import PLACES
from bench.leaderboard.published.tables import find_published_table

TABLE = find_published_table("vrf-table1")
OFFICIAL = {
    "type": "VarianceReduction",
    "a_grid": [1.5],
    "b_grid": [0.6],
    "k_rule": "official-code",
}


def described(**method: Any) -> Record:
    """Return VRF's record on ImageNet-V2 under the protocol official, made by `method`."""
    record, *_ = [
        r for r in records_of(TABLE)
        if (r.method, r.base, r.shift, r.metric) == ("vrf", "e2e-ft", "v2", "top1")
    ]  # fmt: skip
    return record.model_copy(update={"provenance": {"method": OFFICIAL | method}})


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"b_grid": [0.5]}, ["b_grid of vrf"]),
        ({"k_rule": "round", "a_grid": [1.2]}, ["k_rule of vrf", "a_grid of vrf"]),
        ({"p": 0.5}, []),  # its value is the same under both protocols, so no protocol sets it
    ],
)
def test_other_settings_than_the_protocols_are_named(change: Any, found: list[str]) -> None:
    assert sorted(off_protocol(described(**change))) == sorted(found)


def test_what_suits_the_data_is_no_choice_of_a_protocol() -> None:
    """`linear` and the probes have official rates, batches or epochs; suites have their own."""
    assert fixed_by_protocols("linear", "imagenet") == {}
    assert fixed_by_protocols("lp-ft-raw", "cifar10") == {}
    names = ("start", "normalized", "optimizer", "weight_decay", "clip", "schedule")
    assert set(fixed_by_protocols("lp-ft-sgd", "imagenet")) == {f"probe.{n}" for n in names}


def test_a_known_choice_needs_no_grid() -> None:
    record = described(b_grid=[0.5], k_rule="round")
    assert off_protocol(record, grids=False) == ["k_rule of vrf"]


def test_a_claim_is_not_measured_with_other_settings() -> None:
    (claim,) = [
        c for c in TABLE.claims
        if (c.row.ours, c.column.dataset) == ("vrf:e2e-ft", "imagenet-v2")
    ]  # fmt: skip
    place = PLACES["imagenet-v2"]
    good, bad = described(), described(b_grid=[0.5])
    assert matching_records(claim, "official", place, [good], []) == [good]
    assert matching_records(claim, "official", place, [bad], []) == (
        "measured with another b_grid of vrf than that of protocol official"
    )


def test_trained_rows_are_described_by_what_they_checkpoint() -> None:
    trainer = {"type": "GradientTrainer", "lr": 0.1, "probe": {"type": "HeadTrainer", "lr": 0.2}}
    inner = {"type": "EndToEnd", "trainer": trainer}
    record = described().model_copy(
        update={"method": "e2e-ft@3", "base": None, "provenance": {"method": {"method": inner}}}
    )
    assert own_parameters(record) == {"e2e-ft@3": {"lr": 0.1, "probe.lr": 0.2}}
