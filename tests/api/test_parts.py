"""Dividing one set in parts: complete, disjoint, by class, in whole groups, and stable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.api.parts import divided
from bench.api.splits import Manifest, single_label
from bench.core.errors import InputError

SHARES = {"train": 0.6, "selection": 0.2, "test": 0.2}


def manifest(counts: list[int]) -> Manifest:
    labels = np.repeat(np.arange(len(counts)), counts)
    return single_label([f"{label}/{i}.png" for i, label in enumerate(labels)], labels)


def parts_of(found: Manifest, seed: int = 0, group: str | None = None) -> dict[str, str]:
    rows = divided(found, SHARES, seed, group)
    return {found.ids[row]: part for part, own in rows.items() for row in own.tolist()}


@given(st.lists(st.integers(3, 40), min_size=1, max_size=5), st.integers(0, 9))
def test_parts_are_disjoint_complete_and_stratified(counts: list[int], seed: int) -> None:
    found = manifest(counts)
    rows = divided(found, SHARES, seed)
    assert sorted(np.concatenate([*rows.values()]).tolist()) == list(range(sum(counts)))
    for part, share in SHARES.items():
        assert rows[part].tolist() == sorted(rows[part].tolist())
        own = np.bincount(found.first[rows[part]], minlength=len(counts))
        assert (own >= 1).all() and (np.abs(own - share * np.array(counts)) <= 1.2).all()


@given(st.integers(3, 60), st.integers(0, 9))
def test_an_added_image_moves_few_others(count: int, seed: int) -> None:
    found = manifest([count, 10])
    more = single_label([*found.ids, "0/added.png"], [*found.first.tolist(), 0])
    before, after = parts_of(found, seed), parts_of(more, seed)
    moved = [name for name, part in before.items() if after[name] != part]
    assert len(moved) <= 2 and all(name.startswith("0/") for name in moved)


def test_the_order_of_samples_changes_nothing_and_the_seed_does() -> None:
    found = manifest([30, 30])
    turned = found.take(np.arange(60)[::-1])
    assert parts_of(found) == parts_of(turned)
    assert parts_of(found) != parts_of(found, seed=1)


def grouped(codes: list[int], labels: list[int], names: tuple[str, ...] = ()) -> Manifest:
    ids = tuple(f"{i}.png" for i in range(len(codes)))
    known = {"patient": names} if names else {}
    return Manifest(ids, np.array(labels).reshape(-1, 1), {"patient": np.array(codes)}, known)


@given(st.integers(0, 20))
def test_whole_groups_stay_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = np.sort(rng.integers(0, 60, 600))
    found = grouped(codes.tolist(), (codes % 2).tolist())
    rows = divided(found, SHARES, seed, "patient")
    own = [set(codes[part].tolist()) for part in rows.values()]
    assert not own[0] & own[1] and not own[0] & own[2] and not own[1] & own[2]
    assert sum(map(len, rows.values())) == 600
    for part, share in SHARES.items():
        assert abs(len(rows[part]) - 600 * share) <= 40


def test_groups_are_drawn_by_their_names_not_by_their_codes() -> None:
    names = tuple("abcdefghij")
    labels = [0] * 20
    one = grouped([i // 2 for i in range(20)], labels, names)
    other = grouped([9 - i // 2 for i in range(20)], labels, names[::-1])
    assert parts_of(one, group="patient") == parts_of(other, group="patient")


@pytest.mark.parametrize(
    "found", [manifest([5, 2]), grouped([0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1])]
)
def test_a_class_that_a_part_would_lack_is_named(found: Manifest) -> None:
    group = "patient" if found.groups else None
    with pytest.raises(InputError) as error:
        divided(found, SHARES, 0, group, ("cat", "dog"))
    assert "'dog'" in str(error.value) or "'cat'" in str(error.value)
    assert ("groups of 'patient'" in str(error.value)) == bool(group)
