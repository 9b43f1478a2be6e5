"""What a cell would be if its row had been chosen on another draw of the selection split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.api.method import Choice
from bench.runs.items import CellItem, FitItem


class Redrawn(NamedTuple):
    """K candidates to measure, and the one that each of R resamples chose: `places` [R]."""

    choices: tuple[Choice, ...]
    places: NDArray[np.int64]


def also_on_shifts(fit: FitItem, curves: bool) -> tuple[Choice, ...]:
    """Return the candidates of a fit that are computed on the evaluation sets, too.

    With `curves`, those are all candidates of a method that has a curve. In output space they cost
    no forward passes.
    """
    method = fit.row.method
    return (*method.curve(), *method.candidates(), *fit.closer) if curves and method.curve() else ()


def redrawn_choices(cell: CellItem, note: Mapping[str, Any], curves: bool) -> Redrawn | None:
    """Return the choices made on resamples of the selection split, from the note of a cell's fit.

    None if nothing was chosen, or if choices need other outputs on the evaluation set than the cell
    and the candidates `also_on_shifts` do: a weight-space ensemble without `curves`.
    """
    drawn = note.get("redrawn")
    if not drawn:
        return None
    method, models = cell.row.method, cell.fit.models
    known = (cell.choice, *also_on_shifts(cell.fit, curves))
    at_hand = {recipe for choice in known for recipe in method.needs(models, choice)}
    texts = [repr(choice) for choice in drawn]
    distinct = dict(zip(texts, drawn, strict=True))
    if not all(at_hand.issuperset(method.needs(models, c)) for c in distinct.values()):
        return None
    places = {text: place for place, text in enumerate(distinct)}
    return Redrawn(tuple(distinct.values()), np.array([places[text] for text in texts]))
