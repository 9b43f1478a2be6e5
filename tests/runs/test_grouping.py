"""Items become jobs: each once, packs whole, trainings first, large splits shared."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.front.options import config_of
from bench.runs.execution.grouping import groups_of
from bench.runs.items import CellItem, FeaturesItem, GivenItem, WeightsItem, WorkItem
from bench.runs.plan import make_plan
from bench.runs.session import prepare_session


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[WorkItem]:
    folder: Path = tmp_path_factory.mktemp("plan")
    options = {"suite": "micro", "methods": "wise-ft,vrf,flyp", "seeds": [0, 1], "shifts": "v2"}
    session = prepare_session(config_of(options | {"out": folder / "o", "cache_dir": folder}))
    plan = make_plan(session.studies[0], lambda key: None)
    return [item for item in plan.items.values() if not isinstance(item, GivenItem)]


@given(
    slots=st.integers(0, 80), least=st.integers(0, 64), blocks=st.integers(1, 50), data=st.data()
)
def test_every_item_is_in_one_group(
    slots: int, least: int, blocks: int, data: st.DataObject, items: list[WorkItem]
) -> None:
    some = data.draw(st.lists(st.sampled_from(items), unique_by=lambda item: item.key))
    missing = {item.key: blocks for item in some if isinstance(item, FeaturesItem)}
    groups = [tuple(item.key for item in g) for g in groups_of(some, missing, slots, least)]
    kinds = {item.key: item for item in some}
    distinct = Counter(groups)
    assert sorted(key for group in distinct for key in group) == sorted(kinds)
    for group, copies in distinct.items():
        of = [kinds[key] for key in group]
        assert copies == 1 or (isinstance(of[0], FeaturesItem) and copies <= blocks)
        assert len({type(item) for item in of if isinstance(item, WeightsItem | CellItem)}) <= 1
    if len(groups) > len(distinct):
        assert len(groups) <= slots
    packs = [{kinds[key].pack for key in g if isinstance(kinds[key], CellItem)} for g in distinct]
    assert sum(map(len, packs)) == len(set().union(*packs))
    trains = [isinstance(kinds[group[0]], WeightsItem) for group in groups]
    assert trains == sorted(trains, reverse=True)


def test_free_workers_share_the_splits_with_most_blocks(items: list[WorkItem]) -> None:
    features = [item for item in items if isinstance(item, FeaturesItem)]
    split = features[-1].split.fingerprint
    large = {i.key: 100 if i.split.fingerprint == split else 1 for i in features}
    groups = [tuple(item.key for item in group) for group in groups_of(features, large, 12, 4)]
    (shared,) = {group for group in groups if groups.count(group) > 1}
    assert len(groups) == 12 and features[-1].key in shared
