"""Names of rows on the command line, and the recipes that they stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.api.recipe_parts import normalizes
from bench.api.recipes import Tuned
from bench.api.registry import find_dataset, find_method, methods
from bench.api.trainer import AtEpoch, Average
from bench.core.errors import InputError
from bench.runs.study.rows import (
    Row,
    Settings,
    all_row_names,
    control_names,
    control_parameters,
    parse_rows,
)
from bench.runs.study.tuning import Tuning
from bench.testing.fakes import fake_models

MODELS = fake_models(tuned=False)


def rows(*names: str, **overrides: dict[str, object]) -> dict[str, Row]:
    settings = Settings(overrides={m.replace("_", "-"): p for m, p in overrides.items()})
    return {row.name: row for row in parse_rows(names, settings)}


@pytest.mark.parametrize(
    ("name", "expected", "title"),
    [
        ("flyp+ls", "flyp+ls", "FLYP w/ LS"),
        ("flyp+ls=0.1", "flyp+ls", "FLYP w/ LS"),
        ("flyp+ls=.20", "flyp+ls=0.2", "FLYP w/ LS 0.2"),
        ("e2e-ft@3", "e2e-ft@3", "E2E-FT, epoch 3"),
        ("e2e-ft+ls@3", "e2e-ft@3+ls", "E2E-FT, epoch 3 w/ LS"),
        ("vrf", "vrf:e2e-ft", "VRF"),
        ("vrf+ls", "vrf:e2e-ft+ls", "VRF"),
        ("vrf:lp-ft+ls", "vrf:lp-ft+ls", "VRF"),
        ("wise-ft:e2e-ft@2", "wise-ft:e2e-ft@2", "WiSE-FT"),
    ],
)
def test_names(name: str, expected: str, title: str) -> None:
    found = rows(name)
    assert expected in found
    assert found[expected].title == title


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vrf+ls:lp-ft", "applies to the base: write vrf:lp-ft[+]ls"),
        ("zero-shot+ls", "no loss"),
        ("e2e-ft+ls+ls", "twice"),
        ("e2e-ft@1@2", "twice"),
        ("e2e-ft@0", "expected @EPOCH"),
        ("e2e-ft+la", "expected @EPOCH"),
        ("e2e-ft+ls=1.5", "expected @EPOCH"),
        ("e2e-ft:linear", "takes no base"),
        ("vrf:wise-ft", "is an ensemble"),
        ("vrf:", "no base after the colon"),
        ("flip", "did you mean 'flyp'"),
        ("vrf:flip", "did you mean 'flyp'"),
    ],
)
def test_invalid_names(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rows(name)


def test_smoothing_reaches_every_training_of_the_base_and_no_other() -> None:
    found = rows("vrf:lp-ft+ls=0.2", "lp-ft")
    smoothed = found["lp-ft+ls=0.2"].method.recipe(MODELS)
    assert isinstance(smoothed, Tuned) and isinstance(smoothed.start, Tuned)
    assert smoothed.trainer.smoothing == smoothed.start.trainer.smoothing == 0.2  # type: ignore[attr-defined]
    plain = found["lp-ft"].method.recipe(MODELS)
    assert isinstance(plain, Tuned) and plain.trainer.smoothing == 0  # type: ignore[attr-defined]


def test_a_checkpoint_is_kept_of_the_same_training() -> None:
    found = rows("e2e-ft@3", "e2e-ft", "ema")
    whole = found["e2e-ft"].method.recipe(MODELS)
    early = found["e2e-ft@3"].method.recipe(MODELS)
    average = found["ema"].method.recipe(MODELS)
    assert isinstance(early, Tuned) and early.keep == AtEpoch(3)
    assert isinstance(average, Tuned) and average.keep == Average(0.9999)
    assert early.training == average.training == whole
    with pytest.raises(InputError, match="trains for 10 epochs"):
        rows("e2e-ft@11")["e2e-ft@11"].method.recipe(MODELS)
    with pytest.raises(InputError, match="trains for 0 epochs"):
        rows("linear-lbfgs@1")["linear-lbfgs@1"].method.recipe(MODELS)


def test_overrides_reach_nested_trainers() -> None:
    found = rows("lp-ft", lp_ft={"probe.lr": 0.5, "lr": 0.25})["lp-ft"].method.recipe(MODELS)
    assert isinstance(found, Tuned) and isinstance(found.start, Tuned)
    assert (found.start.trainer.lr, found.trainer.lr) == (0.5, 0.25)  # type: ignore[attr-defined]


def test_all_has_every_ensemble_on_every_common_base() -> None:
    found = all_row_names()
    for ensemble in ("wise-ft", "ose", "vrf"):
        assert {n for n in found if n.startswith(f"{ensemble}:")} == {
            f"{ensemble}:{base}" for base in ("linear", "e2e-ft", "lp-ft", "flyp", "carot")
        }
    assert not {n for n in found if "soup" in n or "+ls" in n or n.startswith("vrf-")}
    assert {"linear-lbfgs", "ema", "l2-sp", "carot-slides", "fisher:e2e-ft"} <= set(found)
    assert len(found) == len(set(found))


def test_groups_divide_all_and_newer_is_a_part_of_it() -> None:
    parts = {group: all_row_names(group) for group in ("trained", "merges", "ensembles")}
    assert sorted(name for part in parts.values() for name in part) == sorted(all_row_names())
    assert {"e2e-ft", "linear", "carot", "ftp"} <= set(parts["trained"])
    assert {"wise-ft:lp-ft", "fisher:e2e-ft", "lines:e2e-ft"} <= set(parts["merges"])
    assert {"vrf:flyp", "ose:linear", "dawin:e2e-ft"} <= set(parts["ensembles"])
    newer = {name.partition(":")[0] for name in all_row_names("newer")}
    assert newer == {
        "dawin", "dawin-output", "dawin-output-offset", "ftp", "ldifs", "lines", "lipsum-ft",
        "model-stock",
    }  # fmt: skip


def test_groups_may_stand_beside_names_and_are_no_names_of_methods() -> None:
    found = rows("newer", "wise-ft")
    assert {"zero-shot", "e2e-ft", "ldifs", "dawin:e2e-ft", "wise-ft:e2e-ft"} <= set(found)
    assert "vrf:e2e-ft" not in found
    assert not {"trained", "merges", "ensembles", "newer", "all"} & set(methods())


def test_controls_come_with_every_base_of_vrf() -> None:
    found = control_names(tuple(rows("vrf:lp-ft", "vrf", "ose:flyp").values()))
    checks = ("vrf-all-correct", "vrf-global", "vrf-constant", "vrf-shuffled", "ose-calibrated")
    assert set(found) == {f"{c}:{base}" for c in checks for base in ("lp-ft", "e2e-ft")}
    assert all(methods()[check].is_control for check in checks[:3])


def test_controls_of_a_tuned_base_are_built_on_it() -> None:
    settings = Settings(tuning=Tuning(("lp-ft",), 3))
    names = control_names(parse_rows(["vrf:lp-ft"], settings))
    found = parse_rows(names, settings)
    assert {row.base.name for row in found if row.base} == {"lp-ft+tuned"}
    assert len([row for row in found if row.base]) == len(names) > 0


def test_a_controls_fit_is_vrfs() -> None:
    row = rows("vrf-shuffled:lp-ft", "vrf:lp-ft")
    assert row["vrf-shuffled:lp-ft"].chooser == row["vrf:lp-ft"]
    own = rows("vrf-all-correct")["vrf-all-correct:e2e-ft"]
    assert own.chooser is own


def test_the_last_checkpoint_is_the_training_itself() -> None:
    whole, last = rows("e2e-ft", "e2e-ft@10")["e2e-ft"], rows("e2e-ft@10")["e2e-ft@10"]
    assert last.method.recipe(MODELS) == whole.method.recipe(MODELS)
    with pytest.raises(InputError, match="average over epochs"):
        rows("ema@3")["ema@3"].method.recipe(MODELS)


def test_a_head_starts_from_one_on_the_same_features() -> None:
    with pytest.raises(InputError, match="start to random"):
        rows("linear", linear={"normalized": False})["linear"].method.recipe(MODELS)
    random = rows("linear", linear={"normalized": False, "start": "random"})["linear"]
    assert not normalizes(random.method.recipe(MODELS))


def test_vrfs_settings_are_those_of_its_controls() -> None:
    own = {"vrf": {"p": 0.01, "calibrate": "confidence"}, "ose": {"alphas": [0.5]}}
    found = control_parameters(tuple(rows("vrf", "ose").values()), own)
    assert set(found) == set(find_method("vrf").controls)
    assert found["vrf-shuffled"] == {"p": 0.01, "calibrate": "confidence"}
    assert found["ose-calibrated"] == {"calibrate": "confidence"}
    assert control_parameters(tuple(rows("ose").values()), own) == {}


def test_few_shots_make_another_suite(tmp_path: Path) -> None:
    from bench.runs.study.config import RunConfig
    from bench.runs.study.resolve import resolve_studies

    find_dataset("micro")
    config = RunConfig.model_validate({"suite": "micro", "shots": 2, "cache_dir": tmp_path})
    suite = resolve_studies(config)[0].suite
    assert suite.name == "micro, 2 shots"
    assert suite.task.train.size == 2 * len(suite.task.classnames)
    selection = suite.task.selection
    assert np.bincount(selection.load().manifest.first).max() == 2
    assert any("--shots 2 bounds the selection split" in text for text in selection.caveats)
    official = config.model_copy(update={"protocol": "official"})
    suite = resolve_studies(official)[0].suite
    assert suite.task.selection == suite.test and suite.test.size == 200  # never cut
