"""Label maps: what they take of a task's scores, and what kind of map they are."""

from __future__ import annotations

import numpy as np
import pytest

from bench.api.dataset import LabelMap
from bench.core.errors import InputError


def test_a_class_takes_the_largest_score_of_those_it_stands_for() -> None:
    scores = np.array([[0.1, 0.4, 0.2, 0.3], [0.7, 0.0, 0.2, 0.1]])
    assert LabelMap(((2,), (0, 1, 3))).project(scores).tolist() == [[0.2, 0.4], [0.2, 0.7]]
    assert LabelMap().project(scores) is scores


def test_a_map_may_name_the_last_class_and_none_beyond() -> None:
    assert LabelMap(((1,), (0,))).project(np.array([[0.25, 0.75]])).tolist() == [[0.75, 0.25]]
    with pytest.raises(InputError, match="names class 2, but the scores have 2 classes"):
        LabelMap(((0,), (2,))).project(np.array([[0.25, 0.75]]))


def test_kinds_of_maps() -> None:
    assert LabelMap().relation == "identity"
    assert LabelMap(((3,), (0,))).relation == LabelMap(((0,), (1,))).relation == "subset"
    assert LabelMap(((3,), (0, 1))).relation == "many-to-one"
