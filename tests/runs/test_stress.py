"""A short form of ``scripts/stress.py``: a few kills, damage and runs at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from stress_attacks.case import Place, contents
from stress_attacks.corruption import corruption
from stress_attacks.crowds import crowd, different, one_folder
from stress_attacks.kills import kills

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("stress") / "done")
    code, said = place.run()
    assert code == 0, said
    return place


def test_three_kills(done: Place, tmp_path: Path) -> None:
    assert not kills(tmp_path, contents(done.out), 8.0, 3).broken


def test_each_kind_of_damage(done: Place, tmp_path: Path) -> None:
    assert not corruption(tmp_path, done, contents(done.out), ("fits",)).broken


def test_three_runs_at_once(done: Place, tmp_path: Path) -> None:
    expected = contents(done.out)
    assert not crowd(tmp_path, expected, 3).broken
    assert not one_folder(tmp_path, expected, 3).broken


def test_three_runs_of_other_methods_at_once(tmp_path: Path) -> None:
    """They wait for each other's trainings and choose for themselves: never a placeholder."""
    assert not different(tmp_path, 3).broken
