"""Hyper-parameters set from text: parsing, ranges, names."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from bench.api.registry import find_method
from bench.api.trainer import GradientTrainer
from bench.core.errors import InputError
from bench.core.parameters import parameters, with_parameters


@dataclass(frozen=True)
class Owner:
    """Has a nested dataclass, like methods with a trainer."""

    trainer: GradientTrainer = field(default=GradientTrainer())
    scale: float = 2.0


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
