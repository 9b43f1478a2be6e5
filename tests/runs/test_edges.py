"""Choices at the edge of their candidates and temperatures at a bound are stored as caveats."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Finished
from outputs_folders import alter, folder

import bench
from bench.api.declarations import chosen_edges
from bench.api.method import Grid
from bench.api.registry import find_method, methods
from bench.api.trainer import GradientTrainer
from bench.core.parameters import (
    Fraction,
    NonNegative,
    Positive,
    open_grids,
    parameters,
    setting,
)
from bench.core.records import read_records
from bench.runs.items import FitItem, ScaleItem, WeightsItem


@dataclass(frozen=True)
class Grids:
    """One grid of each type of number, and one that says nothing of itself."""

    fractions: Grid[Fraction] = setting((0.0, 0.5, 1.0), "", grid_of="f")
    positive: Grid[Positive] = setting((0.5, 1.0), "", grid_of="p")
    at_least_zero: Grid[NonNegative] = setting((0.0, 1.0), "", grid_of="n")
    one: Grid[Positive] = setting((2.0,), "", grid_of="o")
    silent: Grid[Positive] = (1.0, 2.0)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"f": 0.0}, ""),  # natural bounds of the type
        ({"f": 1.0}, ""),
        ({"f": 0.5}, ""),
        ({"p": 0.5}, "p = 0.5 is the smallest of its candidates (0.5 to 1)"),
        ({"p": 1.0}, "p = 1 is the largest of its candidates (0.5 to 1)"),
        ({"n": 0.0}, ""),
        ({"n": 1.0}, "n = 1 is the largest"),
        ({"o": 2.0}, ""),  # nothing was searched
        ({"silent": 2.0}, ""),
        ({}, ""),
    ],
)
def test_edges_are_said_unless_nothing_can_lie_beyond(choice: dict[str, float], said: str) -> None:
    found = chosen_edges(Grids(), choice)
    assert len(found) == bool(said) and all(text.startswith(said) for text in found)


def test_every_parameter_that_methods_choose_says_where_its_candidates_are() -> None:
    for name, cls in methods().items():
        method = cls()
        chosen = {key for choice in method.candidates() for key in choice}
        several = {k for k in chosen if len({c.get(k) for c in method.candidates()}) > 2}
        grids = {f.metadata.get("grid_of") for f in fields(method)}  # None: no list was given
        assert several <= grids | open_grids(method).keys(), name


def test_grids_of_trainers_are_found() -> None:
    assert "C" in open_grids(find_method("linear-lbfgs")())
    assert open_grids(GradientTrainer()) == {}
    for cls in methods().values():
        trainer = getattr(cls(), "trainer", None)
        if getattr(trainer, "selects", False):
            grids = [n for n, v in parameters(trainer).items() if isinstance(v, tuple)]
            assert len(open_grids(trainer)) == len(grids)


def kept(run: bench.Run, kind: type[Any]) -> set[str]:
    """The caveats that the store has of a run's items of a kind."""
    assert run.session is not None
    store = run.session.store
    return {t for plan in run.session.plans for i in plan.of(kind) for t in store.caveats(i.key)}


def test_a_scored_folder_keeps_what_its_searches_say(tmp_path: Path) -> None:
    path = folder(tmp_path / "outputs")

    def all_right(arrays: dict[str, Any]) -> None:
        arrays["tuned.logits"] = 9 * np.eye(3, dtype=np.float32)[arrays["labels"]] + 1e-3

    alter(path, "selection", all_right)
    options: dict[str, Any] = {"cache_dir": tmp_path / "cache", "out": tmp_path / "out"}
    grids = {"vrf": {"b_grid": [9.0, 10.0], "a_grid": [0.0, 0.1]}}
    run = bench.score(path, methods="vrf,ose", set=grids, **options)
    fits, scales = kept(run, FitItem), kept(run, ScaleItem)
    bound = "T = 0.1 is the bound of its search: all samples are classified correctly"
    assert any(text.startswith(bound) for text in fits) and any(
        text.startswith(bound) for text in scales
    )
    assert any(text.startswith("b = ") for text in fits)
    assert not any(text.startswith(("a = 0 ", "alpha = ")) for text in fits)
    assert all(len(text) < 300 for text in fits | scales)


def test_an_ensemble_that_is_zero_shot_has_no_edge(small: Finished) -> None:
    records = [r for r in read_records(small.out / "records.jsonl") if r.method == "vrf"]
    chosen = next(r for r in records if r.chosen_on)
    assert chosen.chosen_on and chosen.chosen_on["weight"] < 1e-5  # 40 images do not suffice
    assert "of its candidates" not in (small.out / "report.md").read_text()
    assert not any((r.provenance.get("caveats") or {}).get("row") for r in records)


def test_a_search_in_training_keeps_what_it_says(tmp_path: Path) -> None:
    options: dict[str, Any] = {"cache_dir": tmp_path / "cache", "out": tmp_path / "out"}
    run = bench.run(
        suite="micro",
        limit=40,
        shifts="v2",
        methods="linear-lbfgs",
        curves=False,
        set={"linear-lbfgs": {"cs": [1e-9, 1e3]}},
        **options,
    )
    (said,) = kept(run, WeightsItem)
    assert said.startswith("C = ") and "of its candidates (1e-09 to 1000)" in said
    inside = {"linear-lbfgs": {"cs": [1e-9, 1e3, 1e9]}}
    again = bench.run(
        suite="micro",
        limit=40,
        shifts="v2",
        methods="linear-lbfgs",
        set=inside,
        overwrite=True,
        **options,
    )
    chosen = {r.choice["C"] for r in again.records if r.method == "linear-lbfgs" and r.choice}
    assert kept(again, WeightsItem) == set() or chosen != {1e3}
