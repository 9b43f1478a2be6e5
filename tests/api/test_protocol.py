"""Protocols: each field changes only the work that depends on it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from PIL import Image

from bench.api.dataset import Shift, Suite
from bench.api.protocol import CLEAN, OFFICIAL, PROTOCOLS, Protocol, protocol_with
from bench.api.recipes import TextHead, Tuned
from bench.api.registry import find_dataset, find_method, methods
from bench.api.splits import Loaded, Split, single_label
from bench.core.errors import InputError
from bench.core.parameters import parameters, settings, with_parameters
from bench.posthoc.selection import RULES
from bench.runs.items import CellItem, FeaturesItem, FitItem, ScaleItem, WeightsItem, WorkItem
from bench.runs.plan import Plan, make_plan
from bench.runs.study.config import RunConfig
from bench.runs.study.resolve import resolve_studies

METHODS = (
    "vrf", "ose", "ose-calibrated", "ose-logits", "wise-ft", "lp-ft", "flyp", "carot",
    "carot-slides", "linear-lbfgs", "fisher",
)  # fmt: skip


def bordered(cls: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give micro's objectnet a border, as ObjectNet has."""
    made = cls.suite

    def suite(self: Any, data: Any, cache: Any) -> Suite:
        whole: Suite = made(self, data, cache)
        shifts = tuple(replace(s, border=s.name == "objectnet") for s in whole.shifts)
        return replace(whole, shifts=shifts)

    monkeypatch.setattr(cls, "suite", suite)


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    bordered(find_dataset("micro"), monkeypatch)

    def make(vrf: Any = None, **changes: Any) -> Plan:
        given = {"suite": "micro", "methods": METHODS, "shifts": "v2,objectnet", "curves": False}
        own = {"vrf": vrf or {}, "protocol": changes}
        config = RunConfig.model_validate(given | {"set": own, "cache_dir": tmp_path})
        # Every fit has a known result: its middle candidate.
        return make_plan(resolve_studies(config)[0], lambda key: None)

    return make


def what(item: WorkItem) -> str:
    """Return a short name of a work item."""
    match item:
        case WeightsItem(recipe=Tuned() as recipe):
            return f"train {recipe.trainer.title}"
        case WeightsItem(recipe=TextHead()):
            return "head"
        case WeightsItem():
            return "fisher"
        case FeaturesItem():
            return f"features {item.split.name.partition('/')[2]}"
        case FitItem():
            return f"fit {item.row.label}"
        case ScaleItem():
            return f"scale {item.row.label}"
        case CellItem():
            return f"cell {item.row.label} {item.metric.name}"
        case _:
            raise AssertionError(item)


def changed(planned: Any, **changes: Any) -> set[str]:
    """Return the kinds of items that must be recomputed after a change of the protocol."""
    before, after = planned().items, planned(**changes).items
    return {what(item) for key, item in after.items() if key not in before}


def kinds(found: set[str]) -> set[str]:
    return {name.split()[0] for name in found}


def rows(found: set[str], kind: str) -> set[str]:
    return {name.split()[1] for name in found if name.startswith(f"{kind} ")}


ALPHA = {"ose", "ose-calibrated", "ose-logits", "wise-ft", "fisher"}
VRF = {"k_rule": "paper", "p": 0.01, "squared": True, "a_grid": [0.5], "b_grid": [0.1]}


def test_what_concerns_the_ece_measures_it_again_and_nothing_else(planned: Any) -> None:
    for change in ({"ece_bins": 10}, {"ece_batch": 512}, {"ece_edges": "lower"}):
        found = changed(planned, **change)
        assert kinds(found) == {"cell"}
        assert {name.split()[2] for name in found} == {"ece"}


@pytest.mark.parametrize("field", VRF)
def test_vrfs_hyper_parameters_fit_vrf_again(planned: Any, field: str) -> None:
    found = changed(planned, vrf={field: VRF[field]})
    assert kinds(found) == {"fit", "scale", "cell"}
    assert rows(found, "fit") == rows(found, "cell") == {"vrf"}


def test_official_settings_fit_the_ensembles_and_train_the_contrastive_methods_again(
    planned: Any,
) -> None:
    found = changed(planned, settings="official")
    assert rows(found, "fit") == ALPHA | {"vrf"}
    assert rows(found, "train") == {"both"} and "fisher" in found
    assert rows(found, "cell") == ALPHA | {"vrf", "flyp", "carot", "carot-slides"}


def test_the_rule_chooses_again_and_trains_nothing(planned: Any) -> None:
    found = changed(planned, rule="max-val")
    assert kinds(found) == {"fit", "scale", "cell"}
    assert rows(found, "fit") == ALPHA | {"vrf"}


def test_scaling_measures_the_scaled_block_again(planned: Any) -> None:
    found = changed(planned, scaling="confidence")
    assert kinds(found) == {"scale", "cell"}
    assert changed(planned, scaling="none") == set()


def test_selecting_on_the_test_set_forwards_more_and_trains_what_chooses(planned: Any) -> None:
    found = changed(planned, selects="test")
    assert rows(found, "train") == {"logistic"}  # it chooses C
    assert {n for n in found if n.startswith("features")} == {"features test"}
    assert "vrf" in rows(found, "fit")


def test_the_holdout_matters_where_no_selection_split_is_given(
    planned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert changed(planned, holdout=0.2) == set()
    dataset = find_dataset("micro")
    made = dataset.suite

    def suite(self: Any, data: Any, cache: Any) -> Suite:
        whole = made(self, data, cache)
        return replace(whole, task=replace(whole.task, selection=whole.task.train))

    monkeypatch.setattr(dataset, "suite", suite)
    found = changed(planned, holdout=0.2)
    assert {"train", "features", "fit", "scale", "cell"} <= kinds(found)


def test_the_border_concerns_the_shifts_that_have_one(planned: Any) -> None:
    found = changed(planned, objectnet_border=0)
    assert {n for n in found if n.startswith("features")} == {"features objectnet"}
    assert kinds(found) == {"features", "cell"}


def test_every_field_is_tested_and_has_a_source() -> None:
    source = Path(__file__).read_text()
    for field in fields(Protocol):
        if field.name != "name":
            assert field.metadata["source"].strip()
            assert field.name in source.partition("def test_every_field")[0], field.name


def test_every_hyper_parameter_has_a_source_and_a_valid_official_value() -> None:
    for name, cls in methods().items():
        if not cls.__module__.startswith("bench."):
            continue  # plugins may leave sources out
        for parameter, own in settings(cls()).items():
            assert own.source.strip(), f"{name}.{parameter}"
            with_parameters(cls(), {parameter: own.official}, name)
            assert own.clean == parameters(cls())[parameter]


def test_official_values_are_those_of_the_codes() -> None:
    """See docs/methods.md section 16; VRF's Table 7 for a and b."""
    found = {n: OFFICIAL.changes(cls(), "imagenet") for n, cls in methods().items()}
    alphas = {"alphas": tuple(i / 10 for i in range(1, 10))}
    vrf = {
        "k_rule": "official-code", "squared": True, "a_grid": (1.5,), "b_grid": (0.6,),
        "calibrate": "confidence",
    }  # fmt: skip
    expected = {
        **dict.fromkeys(("wise-ft", "ose", "ose-logits"), alphas),
        "fisher": alphas | {"samples": 50_000, "split": "selection"},
        "ftp": {
            "lr": 1e-4, "batch_size": 256, "epochs": 50, "warmup": 0, "clip": 0.0, "flip": True,
            "schedule": "by-epoch", "min_area": 0.08, "with_head": False,
        },
        "ldifs": {"lr": 1e-5, "batch_size": 128, "points": "official-code"},
        "lipsum-ft": {
            "lr": 1e-5, "weight_decay": 0.0, "batch_size": 256, "warmup": 0.1, "clip": 0.0,
            "precision": "bf16",
        },
        "lines": {"alphas": tuple(i / 10 for i in range(11))},
        "ose-calibrated": alphas | {"calibrate": "confidence"},
        **dict.fromkeys(("vrf", *find_method("vrf").controls[:-1]), vrf),
        **{key: {"captions": "csv-rows"} for key in ("flyp", "carot", "carot-slides")},
        "linear": {"batch_size": 128},
        "lp-ft": {"probe.lr": 0.1},
        "lp-ft-sgd": {
            "probe.start": "random", "probe.normalized": False, "probe.optimizer": "sgd",
            "probe.lr": 0.1, "probe.epochs": 5, "probe.batch_size": 128, "probe.warmup": 0,
            "probe.weight_decay": 0.0, "probe.clip": 0.0, "probe.schedule": "by-epoch",
        },
    }  # fmt: skip
    assert {n: changes for n, changes in found.items() if changes} == expected
    assert all(CLEAN.changes(cls(), "imagenet") == {} for cls in methods().values())
    for task, a, b in (("cifar10", 0.3, 0.3), ("entity30", 1.1, 0.6)):
        changes = OFFICIAL.changes(methods()["vrf"](), task)
        assert (changes["a_grid"], changes["b_grid"]) == ((a,), (b,))
        assert OFFICIAL.changes(methods()["lp-ft-raw"](), task) == {"probe.epochs": 10}


def test_names_share_all_they_agree_on(tmp_path: Path) -> None:
    """A protocol's name is not part of any key."""

    def keys(**options: Any) -> set[str]:
        config = {"suite": "micro", "methods": "e2e-ft", "cache_dir": tmp_path, **options}
        study = resolve_studies(RunConfig.model_validate(config))[0]
        return {item.key for item in make_plan(study, lambda key: None).items.values()}

    as_clean = {f.name: getattr(CLEAN, f.name) for f in fields(Protocol) if f.name != "name"}
    assert keys() == keys(protocol="official", set={"protocol": as_clean})


def test_both_protocols_and_their_changes_are_named() -> None:
    assert list(PROTOCOLS) == ["clean", "official"]
    assert OFFICIAL.selects == "test" and CLEAN.selects == "selection"
    assert protocol_with("clean", {}) == CLEAN
    found = protocol_with("official", {"ece_bins": "15", "ece_batch": "null"})
    assert found.name == "official, ece_bins 15, ece_batch None"
    assert protocol_with("clean", {"ece_bins": 15}) == CLEAN
    rule = get_type_hints(Protocol)["rule"]
    assert set(get_args(rule)) == set(RULES)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("clear", {}, "unknown protocol 'clear'"),
        ("clean", {"ece_bin": 3}, "did you mean 'ece_bins'"),
        ("clean", {"ece_bins": 0}, "protocol.ece_bins=0"),
        ("clean", {"name": "mine"}, "unknown field of a protocol 'name'"),
        ("clean", {"holdout": 1.0}, "protocol.holdout"),
    ],
)
def test_unknown_protocols_fields_and_values(name: str, changes: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        protocol_with(name, changes)


class Pictures:
    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Image.Image:
        return Image.fromarray(np.full((9, 7, 3), index, dtype=np.uint8))


def split() -> Split:
    labels = np.arange(40) % 4
    manifest = single_label([f"{i}" for i in range(40)], labels)
    return Split("toy/train", "mark", 40, lambda: Loaded(Pictures(), manifest))


def test_a_part_of_each_class_is_held_out_and_always_the_same() -> None:
    rest, held = split().held_out(0.25)
    assert (rest.size, held.size, held.name) == (32, 8, "toy/selection")  # 2 of 10 a class
    ids = [set(part.load().manifest.ids) for part in (rest, held)]
    assert not ids[0] & ids[1] and len(ids[0] | ids[1]) == 40
    assert split().held_out(0.25)[1].fingerprint == held.fingerprint
    assert split().held_out(0.5)[1].fingerprint != held.fingerprint


def test_a_border_is_cut_from_every_image() -> None:
    cut = split().cut(2)
    assert cut.load().images[5].size == (3, 5)
    assert cut.fingerprint != split().fingerprint
    assert split().cut(0) == split()
    with pytest.raises(InputError, match="too small to cut a border of 4 pixels"):
        split().cut(4).load().images[0]


def test_shots_take_as_many_of_each_class() -> None:
    few = split().few(3)
    labels = few.load().manifest.first
    assert np.bincount(labels).tolist() == [3, 3, 3, 3]
    assert few.fingerprint == split().few(3).fingerprint != split().few(4).fingerprint
    more = set(split().few(4).load().manifest.ids)
    assert set(few.load().manifest.ids) < more
    with pytest.raises(InputError, match="class 0 has 10 samples, not 11 shots"):
        split().few(11)


def test_the_test_set_stands_in_for_the_selection_split() -> None:
    suite = find_dataset("micro")().suite(None, Path("unused"))
    under = suite.under(selects="test", share=0.1, border=2)
    assert under.task.selection == suite.test
    assert under.task.train == suite.task.train
    shift = Shift("s", split(), border=True)
    cut = replace(suite, shifts=(shift,)).under(selects="selection", share=0.1, border=2)
    assert cut.shifts[0].split == split().cut(2)
