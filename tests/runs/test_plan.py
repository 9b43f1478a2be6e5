"""Plans: which work each kind of change adds. Nothing is computed here."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.api.metrics import METRICS
from bench.api.recipes import Tuned
from bench.api.splits import single_label
from bench.core.errors import InputError
from bench.core.store import Store, block_count
from bench.leaderboard.samples import store_samples
from bench.runs.costs.counts import Counts, pending_counts
from bench.runs.costs.pending import pending
from bench.runs.execution.execute import choice_lookup
from bench.runs.items import (
    CellItem,
    FeaturesItem,
    FitItem,
    WeightsItem,
    WorkItem,
    is_stored,
    pack_items,
    unpack_items,
)
from bench.runs.plan import Plan, make_plan
from bench.runs.results.figure_data import FIGURES
from bench.runs.study.config import RunConfig
from bench.runs.study.resolve import resolve_studies
from bench.runs.study.study import Study

TRAIN, VAL, TEST, SHIFT = 300, 100, 200, 150
METRIC = len(METRICS)
"""Sizes of the micro suite; number of metrics."""


@pytest.fixture(autouse=True)
def no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a plan opens an image."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a plan rendered an image")

    monkeypatch.setattr("bench.data.mini.render.render", refuse)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def study(store: Store, methods: str = "wise-ft", shifts: str = "v2", **options: Any) -> Study:
    """A study without temperature scaling, unless `options` set it for the protocol."""
    given = {"suite": "micro", "methods": methods, "shifts": shifts, "curves": False}
    own = {"protocol": {"scaling": "none"}} | options.pop("set", {})
    config = RunConfig.model_validate(given | options | {"set": own, "cache_dir": store.root})
    return resolve_studies(config)[0]


def planned(study: Study, store: Store) -> Plan:
    return make_plan(study, choice_lookup(store))


def left(study: Study, store: Store) -> Counts:
    return pending_counts(planned(study, store), store)


PLACEHOLDER = {
    "value": 0.5, "data": None, "temperature": None, "trained": {}, "weight": 0.0, "n": 1,
    "environment": {}, "devices": [],
}  # fmt: skip


def finish(study: Study, store: Store) -> None:
    """Store a placeholder under every pending key of the study."""
    while todo := pending(planned(study, store), store):
        for item in todo.values():
            match item:
                case WeightsItem():
                    store.write_arrays("weights", item.key, {})
                case FeaturesItem():
                    for block in range(block_count(item.split.size)):
                        store.write_block(item.key, block, np.zeros((1, 1), np.float32), "cpu")
                case FitItem():
                    candidates = item.row.method.candidates()
                    choice = dict(candidates[len(candidates) // 2])
                    note = {"choice": choice, "chosen_on": {}, "caveats": []}
                    store.write_arrays("fits", item.key, {}, note)
                case _:
                    assert isinstance(item, CellItem)
                    store.write_cells(item.pack, {item.key: PLACEHOLDER})
                    if isinstance(item, CellItem) and item.keeps_samples:
                        split = item.shift.split.fingerprint
                        store_samples(
                            store, item.key, split, np.zeros((1, 2)), single_label(["a"], [0])
                        )


def new(counted: Counts) -> tuple[int, int, int, int, int]:
    """(training runs, forward passes, decoded images, fits, cells)."""
    return (
        counted.trainings,
        counted.forwards,
        counted.decodes,
        counted.fits,
        counted.cells,
    )


def test_first_plan(store: Store) -> None:
    counted = left(study(store), store)
    # 11 alphas on val, 8 around the chosen one; both endpoints and one merge later.
    forwards = (11 + 8) * VAL + 3 * (TEST + SHIFT)
    assert new(counted) == (1, forwards, VAL + TEST + SHIFT, 2, 3 * 2 * METRIC)
    assert counted.text_heads == 1
    assert counted.training_images == 8 * TRAIN
    by_split = {f.split: (f.encoders, f.merges) for f in counted.splits}
    assert by_split == {"micro/val": (19, 17), "micro/test": (3, 1), "micro/v2": (3, 1)}
    assert counted.total == {"weights": 2, "features": 25, "fits": 2, "cells": 24}


def test_nothing_is_left_after_a_run(store: Store) -> None:
    first = study(store)
    finish(first, store)
    assert new(left(first, store)) == (0, 0, 0, 0, 0)
    assert not planned(first, store).undecided


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        # (training runs, forward passes, decoded images, fits, cells)
        ({"methods": "wise-ft,ose"}, (0, 0, 0, 1, 2 * METRIC)),
        ({"methods": "wise-ft,vrf"}, (0, 2 * TRAIN, TRAIN, 1, 2 * (METRIC + len(FIGURES)))),
        ({"methods": "e2e-ft"}, (0, 0, 0, 0, 0)),
        ({"shifts": "v2,sketch"}, (0, 3 * SHIFT, SHIFT, 0, 3 * METRIC)),
        (
            {"seeds": "0,1"},
            (1, 18 * VAL + 2 * (TEST + SHIFT), VAL + TEST + SHIFT, 2, 2 * 2 * METRIC),
        ),
        ({"select": "max-val"}, (0, 0, 0, 2, 2 * METRIC)),
        ({"eval_batch_size": 7}, (0, 0, 0, 0, 0)),
        ({"workers": 2, "device": "cpu"}, (0, 0, 0, 0, 0)),
        (
            {"train_batch_size": 7},
            (1, 18 * VAL + 2 * (TEST + SHIFT), VAL + TEST + SHIFT, 2, 2 * 2 * METRIC),
        ),
        (
            {"precision": "bf16"},
            (1, 19 * VAL + 3 * (TEST + SHIFT), VAL + TEST + SHIFT, 2, 3 * 2 * METRIC),
        ),
        # The accuracy is measured again: with curves it keeps what other choices would have given,
        # at eight more alphas of the curve and eight around the choice.
        ({"curves": True}, (0, 16 * (TEST + SHIFT), TEST + SHIFT, 0, 10 * 2 * METRIC + 2)),
        ({"set": {"wise-ft": {"alphas": [0, 0.5, 1]}}}, (0, 0, 0, 1, 2 * METRIC)),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_what_a_change_adds(
    change: dict[str, Any], expected: tuple[int, ...], store: Store
) -> None:
    finish(study(store), store)
    counted = left(study(store, **change), store)
    assert new(counted) == expected
    assert counted.text_heads == (1 if "precision" in change else 0)


def test_a_metric_adds_cells_alone(store: Store) -> None:
    first = study(store)
    finish(first, store)
    extra = replace(METRICS["nll"], name="extra")
    more = replace(first, metrics=(*first.metrics, extra))
    assert new(left(more, store)) == (0, 0, 0, 0, 3 * 2)


def test_other_bins_measure_ece_again_and_nothing_else(store: Store) -> None:
    first = study(store)
    finish(first, store)
    metrics = tuple(
        replace(m, params={"bins": 10}) if m.name == "ece" else m for m in first.metrics
    )
    assert new(left(replace(first, metrics=metrics), store)) == (0, 0, 0, 0, 3 * 2)


def test_an_old_output_that_nothing_needs_may_go(store: Store) -> None:
    first = study(store)
    finish(first, store)
    for path in (store.root / "features").rglob("*.safetensors"):
        path.unlink()
    assert new(left(first, store)) == (0, 0, 0, 0, 0)


def test_a_lost_training_comes_back_for_a_new_shift_alone(store: Store) -> None:
    finish(study(store), store)
    for path in (store.root / "weights").rglob("*.safetensors"):
        path.unlink()
    assert new(left(study(store), store)) == (0, 0, 0, 0, 0)
    assert new(left(study(store, shifts="sketch"), store))[0] == 1


def test_zero_shot_has_no_seed(store: Store) -> None:
    several = study(store, seeds="0,1,2")
    seeds = {(row.name, seed) for row, seed, _ in several.entries()}
    assert {s for n, s in seeds if n == "zero-shot"} == {None}
    assert {s for n, s in seeds if n != "zero-shot"} == {0, 1, 2}


def test_logistic_regression_and_soups_have_no_seed(store: Store) -> None:
    several = study(store, "linear-lbfgs,vrf:linear-lbfgs,soup,linear", seeds="0,1,2")
    seeds = {(row.name, seed) for row, seed, _ in several.entries()}
    assert {s for n, s in seeds if "lbfgs" in n or "soup" in n} == {None}
    assert {s for n, s in seeds if n == "linear"} == {0, 1, 2}


def test_the_order_of_seeds_means_nothing(store: Store) -> None:
    one, other = study(store, seeds="2,0,1"), study(store, seeds="0,1,2")
    assert planned(one, store).items.keys() == planned(other, store).items.keys()


def test_all_is_every_method_and_names_bring_what_they_need(store: Store) -> None:
    assert [r.name for r in study(store, "vrf,wise-ft").rows] == [
        "zero-shot",
        "e2e-ft",
        "vrf:e2e-ft",
        "wise-ft:e2e-ft",
    ]
    names = {r.method.name for r in study(store, "all").rows}
    assert {"zero-shot", "e2e-ft", "wise-ft", "ose", "vrf"} <= names


def test_all_trains_each_trainer_once(store: Store) -> None:
    """e2e-ft and its average share a training run; so do linear and the probe of lp-ft.

    Model Stock trains e2e-ft with a second seed.
    """
    plan = planned(study(store, "all", "all"), store)
    tuned = [i.recipe for i in plan.of(WeightsItem) if isinstance(i.recipe, Tuned)]
    assert pending_counts(plan, store).trainings == len({recipe.training for recipe in tuned}) == 12
    titles = {recipe.trainer.title for recipe in tuned}
    assert len(titles) == 10  # both phases of lp-ft are among them
    read = {i.split.name for i in plan.of(FeaturesItem)}
    assert len(read) == 8


def test_a_checkpoint_comes_out_of_the_training_that_is_to_be_done(store: Store) -> None:
    first = study(store, "e2e-ft,e2e-ft@1,e2e-ft@2,ema")
    assert left(first, store).trainings == 1
    finish(study(store, "e2e-ft"), store)
    assert left(first, store).trainings == 1
    finish(first, store)
    assert left(first, store).trainings == 0


def test_a_linear_head_forwards_nothing_of_its_own(store: Store) -> None:
    finish(study(store, "vrf"), store)
    counted = left(study(store, "vrf,linear,linear-lbfgs,wise-ft:linear,ose:linear"), store)
    assert (counted.trainings, counted.forwards) == (2, 0)


def test_items_come_after_their_inputs(store: Store) -> None:
    seen: set[str] = set()
    for item in planned(study(store, "all", "all", seeds="0,1"), store).items.values():
        assert seen.issuperset(item.inputs)
        seen.add(item.key)


def test_a_position_is_that_in_the_whole_suite(store: Store) -> None:
    suite = study(store, shifts="objectnet,v2").suite
    assert [(s.name, suite.position(s.name)) for s in suite.evaluations()] == [
        ("id", 0),
        ("v2", 1),
        ("objectnet", 5),
    ]


def test_a_method_with_anothers_class_name_has_its_own_cells(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a plugin's file was copied without renaming its class."""
    from bench.api import registry

    first = registry.find_method("ose")
    twin = type(
        first.__name__,
        (first,),
        {"name": "my-ose", "kind": first.kind, "__module__": first.__module__},
    )
    monkeypatch.setitem(registry._METHODS, "my-ose", twin)
    items = planned(study(store, methods="ose,my-ose"), store).of(FitItem)
    assert len({item.key for item in items}) == 2


def test_a_suites_precision_stands_unless_another_is_asked_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.api.registry import find_dataset

    dataset = find_dataset("micro")
    made = dataset().suite(None, store.root)
    half = replace(made, defaults={"e2e-ft": dict(made.defaults["e2e-ft"]) | {"precision": "bf16"}})
    monkeypatch.setattr(dataset, "suite", lambda *_: half)

    def trained(**options: Any) -> set[str]:
        items = planned(study(store, **options), store).of(WeightsItem)
        return {i.recipe.trainer.precision for i in items if hasattr(i.recipe, "trainer")}

    assert trained() == {"bf16"}
    assert trained(precision="fp32") == {"fp32"}


@pytest.mark.parametrize("name", ["vrf:zero-shot", "wise-ft:", "vrf:ose"])
def test_bases_that_are_none(name: str, store: Store) -> None:
    with pytest.raises(InputError, match="base"):
        planned(study(store, methods=name), store)


def test_the_store_is_asked_once_for_each_item(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(study(store, "wise-ft,ose,vrf", curves=True), store)
    asked: Counter[str] = Counter()

    def counted(item: WorkItem, of: Store) -> bool:
        asked[item.key] += 1
        return is_stored(item, of)

    monkeypatch.setattr("bench.runs.costs.pending.is_stored", counted)
    assert pending(plan, store).keys() == asked.keys()
    assert set(asked.values()) == {1}


def test_items_reach_another_process_with_its_own_splits(store: Store) -> None:
    here, there = study(store, methods="all"), study(store, methods="all")
    items = [
        item
        for item in planned(here, store).items.values()
        if isinstance(item, WeightsItem | FeaturesItem)
    ]
    found = unpack_items(pack_items(items), there.suite.splits)
    assert found == items and len(items) > 50
    own = {id(split) for split in there.suite.splits}
    assert all(id(item.split) in own for item in found if isinstance(item, FeaturesItem))
    *others, _ = there.suite.splits
    with pytest.raises(InputError, match="micro/v2 differs between the processes"):
        unpack_items(pack_items(items), others)
