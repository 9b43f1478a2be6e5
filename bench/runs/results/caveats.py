"""What a reader should know of a plan's inputs and results, by what it concerns.

Sentences about data stand on the splits, those about the model in the note that the engine stores
with it, those about prompts, trainings and choices in the stored outputs
(`bench.core.store.Store.caveats`). Records hold them in their provenance, so a report needs
nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.api.recipes import TextHead
from bench.core.store import Store
from bench.models.facts import read_model_note
from bench.runs.items import CellItem, FitItem, GivenItem, WeightsItem
from bench.runs.plan import Plan

Caveats = dict[str, list[str]]
"""Sentences by what they concern: run, model, prompts, train, selection, evaluation, row."""


@dataclass(frozen=True)
class PlanCaveats:
    """The caveats of a plan that are known: on data at once, others once things are computed."""

    plan: Plan
    store: Store

    def of(self, cell: CellItem, own: Sequence[str] = ()) -> Caveats:
        """Return the caveats of one cell, with its `own`; nothing under what has none."""
        found = {**self._shared, "evaluation": cell.shift.split.caveats}
        keys = self._inputs(cell)
        found["prompts"] = self._stated(k for k in keys if self._is_prompt(k))
        found["row"] = (*own, *self._stated(k for k in keys if not self._is_prompt(k)))
        return {name: _sentences(texts) for name, texts in found.items() if texts}

    def of_inputs(self) -> list[str]:
        """Return every known sentence on the model, the prompts and the data once."""
        shared = [text for texts in self._shared.values() for text in texts]
        prompts = self._stated(key for key in self._keyed() if self._is_prompt(key))
        splits = [text for s in self.plan.study.suite.evaluations() for text in s.split.caveats]
        return _sentences([*shared, *prompts, *splits])

    @cached_property
    def preprocessing(self) -> dict[str, Any]:
        """Activation, image size and preprocessing of the model, if it was loaded."""
        return dict(self._model["facts"])

    @cached_property
    def _model(self) -> Mapping[str, Any]:
        nothing: dict[str, Any] = {"facts": {}, "caveats": ()}
        return read_model_note(self.store, self.plan.study.backbone) or nothing

    @cached_property
    def _shared(self) -> dict[str, tuple[str, ...]]:
        task = self.plan.study.suite.task
        return {
            "run": self.plan.study.caveats,
            "model": tuple(self._model["caveats"]),
            "train": task.train.caveats,
            "selection": task.selection.caveats,
        }

    @cached_property
    def _temperatures(self) -> dict[tuple[str, str], set[str]]:
        """The temperatures of each row and fit: its plain cells say when one ended at a bound."""
        found: dict[tuple[str, str], set[str]] = {}
        for cell in self.plan.cells:
            if cell.scale is not None:
                found.setdefault((cell.row.name, cell.fit.key), set()).add(cell.scale.key)
        return found

    def _inputs(self, cell: CellItem) -> list[str]:
        """Return the keys of what a cell, and the temperature of its row, are made of.

        What a choice was made among is left out: the candidates that were not chosen, such as other
        trials of a search.
        """
        queue = [cell.key, *sorted(self._temperatures.get((cell.row.name, cell.fit.key), ()))]
        seen: dict[str, None] = {}
        while queue:
            key = queue.pop()
            if key not in seen and key in self.plan.items:
                seen[key] = None
                item = self.plan.items[key]
                queue += () if isinstance(item, FitItem) else item.inputs
        return list(seen)

    def _is_prompt(self, key: str) -> bool:
        item = self.plan.items[key]
        return isinstance(item, WeightsItem) and isinstance(item.recipe, TextHead)

    def _stated(self, keys: Iterable[str]) -> tuple[str, ...]:
        return tuple(text for key in keys for text in self._stored.get(key, ()))

    @cached_property
    def _stored(self) -> dict[str, tuple[str, ...]]:
        """The sentences stored with the plan's items; most items have none."""
        return {key: found for key in self._keyed() if (found := self.store.caveats(key))}

    def _keyed(self) -> Iterator[str]:
        for key, item in self.plan.items.items():
            if not isinstance(item, CellItem | GivenItem):
                yield key


def _sentences(texts: Iterable[str]) -> list[str]:
    """Return each text once, with a full stop at its end if it has no mark there."""
    return list(dict.fromkeys(t if t.endswith((".", "?")) else f"{t}." for t in texts))


def far_below_chance(accuracy: float, n: int, classes: int, shift: str) -> list[str]:
    """Return a sentence if an accuracy is so low that labels or scores are probably read wrong.

    That is less than half of 1 / `classes`, and surely not by chance (one-sided binomial tail below
    one in a million over `n` samples).

    Examples
    --------
    >>> from bench.runs.results.caveats import far_below_chance
    >>> far_below_chance(0.02, n=300, classes=3, shift="id")[0][:50]
    'On id, 2.0% are right, far below the 33.3% of chan'
    >>> far_below_chance(0.08, n=2000, classes=10, shift="id")
    []
    """
    if accuracy * classes >= 0.5:
        return []
    from scipy.special import bdtr

    if bdtr(round(accuracy * n), n, 1 / classes) >= 1e-6:
        return []
    right, chance = f"{100 * accuracy:.1f}%", f"{100 / classes:.1f}%"
    return [
        f"On {shift}, {right} are right, far below the {chance} of chance: check labels, the order "
        "of the classes and the sign of scores."
    ]
