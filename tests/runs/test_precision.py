"""``--precision auto`` and ``bf16-eval``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from bench.api.recipes import Tuned
from bench.core.store import Store
from bench.models.features import Forward
from bench.runs.execution.execute import choice_lookup
from bench.runs.items import WeightsItem
from bench.runs.plan import make_plan
from bench.runs.session import prepare_session
from bench.runs.study import precision
from bench.runs.study.config import RunConfig
from bench.runs.study.resolve import resolve_studies


def config(cache: Path, **options: Any) -> RunConfig:
    given = {"suite": "micro", "methods": "wise-ft", "shifts": "v2", "limit": 40, "device": "cpu"}
    return RunConfig.model_validate({**given, **options, "cache_dir": cache})


@pytest.mark.parametrize(
    ("asked", "trained", "evaluated"),
    [(None, "fp32", "fp32"), ("bf16", "bf16", "bf16"), ("bf16-eval", "fp32", "bf16")],
)
def test_evaluation_alone_can_be_in_bf16(
    tmp_path: Path, asked: str | None, trained: str, evaluated: str
) -> None:
    (study,) = resolve_studies(config(tmp_path, precision=asked))
    items = make_plan(study, choice_lookup(Store(tmp_path))).of(WeightsItem)
    tuned = [item.recipe for item in items if isinstance(item.recipe, Tuned)]
    assert {recipe.trainer.precision for recipe in tuned} == {trained}
    assert study.precision == study.zero_shot.head.precision == evaluated  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("flips", "chosen", "evaluated"), [(2, "bf16-eval", "bf16"), (3, "fp32", "fp32")]
)
def test_auto_is_what_the_flips_allow_and_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    flips: int,
    chosen: str,
    evaluated: str,
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(precision, "has_bf16", lambda kind: kind == "cpu")
    monkeypatch.setattr(
        precision,
        "_flips",
        lambda *given: asked.append(1) or (flips, 1000),  # type: ignore[func-returns-value]
    )
    with caplog.at_level(logging.WARNING, "bench"):
        sessions = [
            prepare_session(config(tmp_path, precision="auto", out=tmp_path / "out"))
            for _ in range(2)
        ]
    assert f"{flips} of 1000 images have another class in bf16 than in fp32" in caplog.text
    assert len(asked) == 1  # the second time, the store knows
    for session in sessions:
        assert session.config.precision == session.resolved["precision"] == chosen
        assert [study.precision for study in session.studies] == [evaluated]
    plain = config(tmp_path, precision=chosen, out=tmp_path / "out")
    assert prepare_session(plain).resolved == sessions[0].resolved


def test_auto_is_fp32_where_bfloat16_is_not_in_hardware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda kind: False)
    found, _ = precision.with_measured_precision(
        config(tmp_path, precision="auto"),
        resolve_studies(config(tmp_path)),
        Store(tmp_path),
    )
    assert found.precision == "fp32"
    assert "fp32, as cpu does not multiply bfloat16 by itself" in caplog.text


def test_flips_are_counted_on_the_selection_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []
    real = Forward.__init__

    def noted(self: Forward, *given: Any, **options: Any) -> None:
        real(self, *given, **options)
        used.append(self.precision)

    monkeypatch.setattr(Forward, "__init__", noted)
    monkeypatch.setattr(precision, "has_bf16", lambda kind: True)
    store = Store(tmp_path)
    precision.with_measured_precision(
        config(tmp_path, precision="auto"), resolve_studies(config(tmp_path)), store
    )
    (path,) = (tmp_path / "precision").rglob("*.json")
    flips, size = store.read_json("precision", path.stem)
    assert size == 40 and 0 <= flips <= 4
    assert used == ["fp32", "bf16"]
