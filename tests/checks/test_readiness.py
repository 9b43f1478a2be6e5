"""Sets that a run needs are prepared where their archives lie at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.checks import readiness
from bench.checks.readiness import data_findings
from bench.core.errors import DataError
from bench.core.progress import SilentProgress
from bench.data.cards import SetCard
from bench.data.folder import SYNTHETIC, DataFolder

NAME, PLACE = "imagenet-a", "imagenet-a"


@pytest.fixture
def packed(linked: Path) -> Path:
    """A data folder without a set, whose archives lie in bench-downloads, and without a mark."""
    (linked / SYNTHETIC).unlink()
    (linked / PLACE).unlink()
    (linked / "bench-downloads" / NAME).mkdir(parents=True)
    return linked


def test_a_set_is_made_of_its_archives(
    packed: Path, synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def prepare(card: SetCard, data: Path, progress: object) -> None:
        asked.append(card.name)
        (data / PLACE).symlink_to(synthetic / PLACE)

    monkeypatch.setattr(readiness, "prepare_set", prepare)
    folder = DataFolder(packed, tmp_path / "cache")
    found, other = data_findings(folder, [NAME, "imagenet-r"], SilentProgress())
    assert asked == [NAME]  # the other set has no archives there
    assert found.places and found.splits == {"test": "200 images"}
    assert other.name == "imagenet-r"


def test_archives_that_cannot_be_used_are_a_problem_of_their_set(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(*_: object) -> None:
        raise DataError("imagenet-a.tar is damaged")

    monkeypatch.setattr(readiness, "prepare_set", prepare)
    (found,) = data_findings(DataFolder(packed, tmp_path / "cache"), [NAME], SilentProgress())
    assert "imagenet-a.tar is damaged" in found.problems and found.state != "complete"


def test_copies_are_never_prepared(
    linked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (linked / "bench-downloads" / NAME).mkdir(parents=True)
    (linked / PLACE).unlink()
    monkeypatch.setattr(readiness, "prepare_set", lambda *_: pytest.fail("prepared"))
    (found,) = data_findings(DataFolder(linked, tmp_path / "cache"), [NAME], SilentProgress())
    assert found.state == "not found"
