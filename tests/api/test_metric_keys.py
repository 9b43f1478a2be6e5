"""What of a metric is part of its key, and how its values are printed."""

from __future__ import annotations

import dataclasses

from bench.api.metrics import FURTHER, METRICS, OWN, Metric, all_metrics, asked_metrics
from bench.core.hashing import key_of

TOP1, ECE = METRICS["top1"], METRICS["ece"]


def test_how_a_metric_is_printed_stays_out_of_its_key():
    for metric in METRICS.values():
        other = dataclasses.replace(metric, title="other", unit="other", factor=7, decimals=5)
        assert key_of(other) == key_of(metric)
    assert key_of(TOP1) == "c913419cbe46805251d742fe824cec1b"


def test_keys_hold_all_that_changes_numbers():
    assert len({key_of(metric) for metric in METRICS.values()}) == len(METRICS)
    assert len(set(METRICS.values())) == len(METRICS)
    variants = (all_metrics(), all_metrics(10), all_metrics(10, 512), all_metrics(15, 512))
    assert len({key_of(variant["ece"]) for variant in variants}) == 4
    assert all_metrics() == METRICS
    for change in ({"params": {"bins": 10}}, {"version": 2}):
        assert key_of(dataclasses.replace(ECE, **change)) != key_of(ECE)


def test_fractions_are_printed_in_percent_and_nats_and_scores_as_they_are():
    printed = {name: (m.factor, m.decimals, m.unit) for name, m in METRICS.items()}
    assert printed["top1"] == printed["ece"] == (100, 1, "percent")
    assert printed["nll"] == (1, 3, "nats") and printed["brier"] == (1, 3, "0 to 2")
    assert {(m.factor, m.unit) for m in asked_metrics(FURTHER)} == {(100, "percent")}


def test_own_metrics_are_printed_as_accuracy_is():
    def printed(metric: Metric) -> tuple[object, ...]:
        return (metric.higher_is_better, metric.unit, metric.factor, metric.decimals)

    assert {printed(metric) for metric in OWN.values()} == {printed(TOP1)}
    assert len({key_of(metric) for metric in (*METRICS.values(), *OWN.values())}) == 8
    assert not OWN.keys() & METRICS.keys()
