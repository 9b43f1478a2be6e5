"""What planning costs, in counts: it stays in proportion to the number of cells."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from commands import bench

from bench.core import hashing
from bench.core.store import Store
from bench.runs import plan as planning
from bench.runs.execution.execute import choice_lookup
from bench.runs.plan import Plan, make_plan
from bench.runs.study.config import RunConfig
from bench.runs.study.resolve import resolve_studies


def planned(cache: Path, seeds: tuple[int, ...] = (0,)) -> Plan:
    options = {"suite": "micro", "methods": "wise-ft,ose", "seeds": seeds, "curves": True}
    config = RunConfig.model_validate(options | {"cache_dir": cache})
    return make_plan(resolve_studies(config)[0], choice_lookup(Store(cache)))


def calls_in(cache: Path, seeds: tuple[int, ...]) -> tuple[int, int]:
    """How many functions a plan calls, and the number of its cells."""
    calls = 0

    def count(_: Any, event: str, __: Any) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        cells = len(planned(cache, seeds).cells)
    finally:
        sys.setprofile(before)
    return calls, cells


def test_the_work_of_a_plan_is_in_proportion_to_its_cells(tmp_path: Path) -> None:
    planned(tmp_path)  # fills caches
    (few, cells), (many, more) = (calls_in(tmp_path, tuple(range(n))) for n in (2, 8))
    assert more > 3 * cells
    assert many / more < 1.1 * few / cells


def test_what_cells_share_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: Counter[str] = Counter()

    def counted(*values: Any) -> str:
        made[str(values[0])] += 1
        return hashing.key_of(*values)

    monkeypatch.setattr(planning, "key_of", counted)
    plan = planned(tmp_path, (0, 1))
    assert made["cell"] == len(plan.cells)
    assert made["cells"] == len({cell.pack for cell in plan.cells})


@pytest.mark.parametrize("methods, plans", [("e2e-ft", 1), ("ose", 2)])
def test_a_run_plans_once_and_again_only_after_choices(
    methods: str, plans: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def counted(*arguments: Any) -> Plan:
        made.append(arguments)
        return make_plan(*arguments)

    for module in ("execution.execute", "session"):
        monkeypatch.setattr(f"bench.runs.{module}.make_plan", counted)
    command = ["run", "--suite", "micro", "--methods", methods, "--shifts", "v2", "--limit", 20]
    command += ["--cache-dir", tmp_path / "cache", "--out", tmp_path / "run"]
    command += ["--set", "e2e-ft.epochs=1"]
    assert bench(*command).code == 0
    assert len(made) == plans
    made.clear()
    assert bench(*command).code == 0
    assert len(made) == 1  # all choices are stored
