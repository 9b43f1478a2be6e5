"""``bench list`` and ``bench show``: what there is, and a card of each."""

from __future__ import annotations

import json

import pytest
from commands import bench


@pytest.mark.parametrize("what", ["methods", "suites", "shifts", "sets", "metrics", "rules"])
def test_lists(what: str) -> None:
    listed = json.loads(bench("list", what, "--json").out)
    assert list(listed) == [what]
    assert listed[what]
    text = bench("list", what).out
    for name in listed[what]:
        assert name in text


@pytest.mark.parametrize("name", ["vrf", "wise-ft", "e2e-ft", "mini"])
def test_cards(name: str) -> None:
    card = json.loads(bench("show", name, "--json").out)
    assert name in card.values()
    assert card["source"] in bench("show", name).out


def test_metrics_and_rules_have_cards() -> None:
    ece = bench("show", "ece").out
    assert "metric: ece" in ece and "--set protocol.ece_bins=VALUE: clean: 15" in ece
    assert "selection rule: within-1pt" in bench("show", "within-1pt").out
