"""Hold-outs: stratified, disjoint, and stable when samples are added or moved."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.api.splits import holdout, single_label

labelled = st.lists(st.integers(0, 4), min_size=1, max_size=60)
fractions = st.floats(0.01, 0.99)


@given(labelled, fractions, st.integers(0, 99))
def test_a_holdout_is_stratified_and_disjoint(labels: list[int], part: float, seed: int) -> None:
    manifest = single_label([f"{i}.png" for i in range(len(labels))], labels)
    kept, held = holdout(manifest, part, seed)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    for label in set(labels):
        total = labels.count(label)
        out = int(np.sum(manifest.first[held] == label))
        assert out == min(max(round(total * part), 1), total - 1)


@given(labelled, fractions, st.integers(0, 99), st.randoms())
def test_a_holdout_depends_on_ids_not_on_order(labels, part, seed, random) -> None:  # type: ignore[no-untyped-def]
    rows = list(enumerate(labels))
    chosen = []
    for _ in range(2):
        manifest = single_label([str(i) for i, _ in rows], [label for _, label in rows])
        chosen.append({manifest.ids[i] for i in holdout(manifest, part, seed)[1]})
        random.shuffle(rows)
    assert chosen[0] == chosen[1]


@given(labelled, fractions, st.integers(0, 4))
def test_another_sample_moves_few(labels: list[int], part: float, label: int) -> None:
    ids = [f"{i}.png" for i in range(len(labels) + 1)]
    before = single_label(ids[:-1], labels)
    after = single_label(ids, [*labels, label])
    old = {before.ids[i] for i in holdout(before, part, 0)[1]}
    new = {after.ids[i] for i in holdout(after, part, 0)[1]}
    assert len(old ^ new) <= 2


def test_another_seed_holds_out_others() -> None:
    manifest = single_label([f"{i}.png" for i in range(200)], [0] * 200)
    assert holdout(manifest, 0.5, 0)[1].tolist() != holdout(manifest, 0.5, 1)[1].tolist()
