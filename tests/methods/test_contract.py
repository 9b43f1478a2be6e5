"""The contract that every method passes."""

from __future__ import annotations

import pytest
from fake_ensembles import MODELS

from bench.api.registry import find_method, methods
from bench.core.errors import InputError
from bench.testing.contract import check_method


@pytest.mark.parametrize("name", sorted(methods()))
def test_contract(name):
    check_method(methods()[name])


def test_an_ensemble_can_be_no_base():
    with pytest.raises(InputError, match="vrf is not a single classifier"):
        find_method("vrf")().recipe(MODELS)
