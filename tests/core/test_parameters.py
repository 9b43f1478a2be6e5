"""Hyper-parameters set from text: parsing, ranges, names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import pytest

from bench.api.registry import find_method
from bench.api.trainer import GradientTrainer
from bench.core.errors import InputError
from bench.core.hashing import key_of
from bench.core.parameters import parameters, setting, settings, with_parameters


@dataclass(frozen=True)
class Owner:
    """Has a nested dataclass, like methods with a trainer."""

    trainer: GradientTrainer = field(default=GradientTrainer())
    scale: float = 2.0


@dataclass(frozen=True)
class Published(Owner):
    """Has official values for its trainer as a whole, others on one task, and a later field."""

    trainer: GradientTrainer = setting(
        GradientTrainer(lr=0.1),
        "the paper",
        official=GradientTrainer(lr=0.1, clip=0.5),
        on={"cats": GradientTrainer(lr=0.1)},
        also=("epochs",),
    )
    later: Literal["new"] | None = setting(None, "the code", official="new", keyed_if_set=True)


def changed(**texts: str) -> Owner:
    return with_parameters(Owner(), texts, "owner")


def test_nested_parameters_are_flat():
    found = parameters(Owner())
    assert found["lr"] == 3e-5
    assert found["scale"] == 2.0
    assert "trainer" not in found


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "0.001", ".001"])
def test_floats_are_read_as_people_write_them(text):
    assert changed(lr=text).trainer.lr == 0.001


def test_a_change_leaves_the_rest_and_the_original_alone():
    owner = Owner()
    new = with_parameters(owner, {"epochs": "3", "scale": "7"}, "owner")
    assert (new.trainer.epochs, new.scale) == (3, 7.0)
    assert new.trainer.lr == owner.trainer.lr
    assert owner == Owner()
    assert with_parameters(owner, {}, "owner") == owner


def test_values_need_not_be_text():
    assert with_parameters(Owner(), {"lr": 0.5, "epochs": 2}, "owner").trainer.lr == 0.5


def test_tuples_are_written_as_lists():
    method = find_method("wise-ft")()
    assert with_parameters(method, {"alphas": "[0,0.5,1]"}, "wise-ft").alphas == (0.0, 0.5, 1.0)
    assert with_parameters(method, {"alphas": "[1e-1]"}, "wise-ft").alphas == (0.1,)
    assert with_parameters(method, {"alphas": "null"}, "wise-ft").alphas is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lr", "0"),
        ("lr", "-1e-3"),
        ("lr", ".inf"),
        ("lr", "fast"),
        ("epochs", "0"),
        ("epochs", "2.5"),
        ("precision", "fp8"),
        ("lr", "[1"),
    ],
)
def test_values_out_of_type_or_range_name_the_parameter(name, text):
    with pytest.raises(InputError) as caught:
        changed(**{name: text})
    assert str(caught.value).startswith(f"owner.{name}={text}: ")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["[0, 1.5]", "[-0.1]", "[]", "0.5"])
def test_alphas_must_be_fractions_and_at_least_one(text):
    with pytest.raises(InputError, match=r"wise-ft\.alphas"):
        with_parameters(find_method("wise-ft")(), {"alphas": text}, "wise-ft")


def test_an_unknown_name_lists_the_valid_ones_nearest_first():
    with pytest.raises(InputError) as caught:
        changed(epoch="3")
    text = str(caught.value)
    assert "unknown hyper-parameter of owner 'epoch': did you mean 'epochs'?" in text
    assert text.index("valid: epochs") < text.index("weight_decay")


def test_a_trainer_may_have_official_values_as_a_whole():
    found = settings(Published())
    assert (found["clip"].clean, found["clip"].official) == (1.0, 0.5)
    assert all(own.official == own.clean for n, own in found.items() if n not in ("clip", "later"))
    on_cats = settings(Published(), "cats")
    assert (on_cats["clip"].official, on_cats["later"].official) == (1.0, "new")
    ours = {name for name, own in found.items() if own.source == "the paper"}
    assert ours == {"lr", "clip", "epochs"}
    mine = settings(Published(trainer=GradientTrainer(lr=0.2)))
    assert (mine["lr"].clean, mine["lr"].official) == (0.2, 0.1)


@dataclass(frozen=True)
class Before:
    """A method."""

    kind: ClassVar[str] = "Method"

    scale: float = 2.0


@dataclass(frozen=True)
class After:
    """The same method with a field that came later."""

    kind: ClassVar[str] = "Method"

    scale: float = 2.0
    later: Literal["new"] | None = setting(None, "the code", keyed_if_set=True)


def test_a_later_field_enters_keys_only_if_it_is_set():
    assert key_of(After()) == key_of(Before()) != key_of(After(later="new"))
