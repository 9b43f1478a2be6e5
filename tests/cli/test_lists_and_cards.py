"""``bench list`` and ``bench show``: what there is, and a card of each."""

from __future__ import annotations

import json
import re

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


def test_methods_have_their_year_venue_kind_and_needs() -> None:
    listed = json.loads(bench("list", "methods", "--json").out)["methods"]
    for name, facts in listed.items():
        assert facts["kind"] in ("trained", "merges", "ensembles"), name
        assert facts["summary"] and facts["title"], name
        is_published = name == "carot-slides" or facts["role"] == "control" or facts["year"]
        assert is_published or name == "ose-calibrated", name
        assert facts["year"] is None or 2015 < facts["year"] < 2030, name
        assert isinstance(facts["needs"], list), name
        assert (facts["base"] is not None) == ("a fine-tuned base" in facts["needs"]), name
        paper = facts["paper"]
        assert (paper is None) == (facts["year"] is None), name
        assert paper is None or re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{5}", paper), name
    assert (listed["lines"]["year"], listed["lines"]["venue"]) == (2025, "ICLR")
    needs = {name: set(listed[name]["needs"]) - {"a fine-tuned base"} for name in listed}
    assert needs["zero-shot"] == {"a text tower"}
    assert needs["e2e-ft"] == needs["ftp"] == {"a training run"}
    assert needs["flyp"] == needs["lipsum-ft"] == {"a training run", "a text tower"}
    assert needs["model-stock"] == {"2 training runs"}
    assert needs["vrf"] == {"outputs on the training split", "the selection split"}
    transductive = "all unlabelled samples of an evaluation set"
    assert {name for name in needs if transductive in needs[name]} == {
        "dawin", "dawin-output-offset",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["vrf", "wise-ft", "e2e-ft", "mini"])
def test_cards(name: str) -> None:
    card = json.loads(bench("show", name, "--json").out)
    assert name in card.values()
    assert card["source"] in bench("show", name).out


def test_a_card_says_where_a_method_was_published_and_what_it_needs() -> None:
    card = json.loads(bench("show", "dawin", "--json").out)
    assert (card["published"], card["kind"]) == ("ICLR 2025", "ensembles, transductive")
    assert card["needs"].startswith("a fine-tuned base, the selection split, all unlabelled")
    assert json.loads(bench("show", "ose-calibrated", "--json").out)["published"] == "no"


def test_metrics_and_rules_have_cards() -> None:
    ece = bench("show", "ece").out
    assert "metric: ece" in ece and "--set protocol.ece_bins=VALUE: clean: 15" in ece
    assert "selection rule: within-1pt" in bench("show", "within-1pt").out
