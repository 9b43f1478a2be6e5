"""What a cell would be if its row had been chosen on another draw of the selection split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.api.method import Choice
from bench.posthoc.redraws import mixture_at
from bench.runs.items import CellItem


class Redrawn(NamedTuple):
    """K candidates to measure, and how the value of each of R resamples follows from theirs.

    `mixture` [R, K] times the values of `choices` gives the values with the choice of each
    resample.
    """

    choices: tuple[Choice, ...]
    mixture: NDArray[np.float64]


def redrawn_choices(cell: CellItem, note: Mapping[str, Any], curves: bool) -> Redrawn | None:
    """Return the candidates that stand for the choices on resamples, from the note of a cell's fit.

    In output space they are those choices themselves. A weight-space ensemble needs other
    classifiers for them: with `curves`, those of its curve are at hand, and between two alphas of
    the curve values are interpolated. None without curves, and if nothing was chosen.
    """
    drawn = note.get("redrawn")
    if not drawn:
        return None
    method, models = cell.row.method, cell.fit.models
    texts = [repr(choice) for choice in drawn]
    distinct = dict(zip(texts, drawn, strict=True))
    at_hand = set(method.needs(models, cell.choice))
    if all(at_hand.issuperset(method.needs(models, choice)) for choice in distinct.values()):
        places = np.array([list(distinct).index(text) for text in texts])
        return Redrawn(tuple(distinct.values()), np.eye(len(distinct))[places])
    curve = method.curve()
    if not curves or not curve or curve[0].keys() != {"alpha"}:
        return None
    alphas = sorted({choice["alpha"] for choice in (*curve, cell.choice)})
    mixture = mixture_at([choice["alpha"] for choice in drawn], alphas)
    return Redrawn(tuple({"alpha": alpha} for alpha in alphas), mixture)
