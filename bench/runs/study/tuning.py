"""``--tune METHOD --trials N``: hyper-parameters of a training searched on the selection split.

The trials are points of a seeded Sobol design, so they are known before anything is trained, and
each is an ordinary recipe of the plan: cached, resumed and shared like any other. All methods that
are tuned have equally many. No test set has a part in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.api.method import Choice, Method, Models, Rule
from bench.api.recipes import Recipe
from bench.core.errors import InputError
from bench.core.parameters import parameters, search_spans, with_parameters

DESIGN_SEED = 0
"""The seed of the design; the trials are the same for all training seeds."""


@dataclass(frozen=True)
class Tuning:
    """The methods to tune and the number of trials of each."""

    methods: tuple[str, ...] = ()
    trials: int = 0


@dataclass(frozen=True)
class Searched(Method):
    """`method` with the best of `trials` settings by accuracy on the selection split.

    The first trial is the method as it is configured, so a search is never behind it on that split.
    """

    kind: ClassVar[str] = "Searched"
    name: ClassVar[str] = "searched"
    own_rule: ClassVar[str | None] = "max-val"
    version: ClassVar[int] = 1

    method: Method
    trials: tuple[Choice, ...]

    def candidates(self) -> tuple[Choice, ...]:
        """Return the settings to try."""
        return self.trials

    def choose(self, accuracies: Sequence[float], weights: Sequence[float], rule: Rule) -> int:
        """Return the trial with the highest accuracy; the first one among equals."""
        return int(np.argmax(accuracies))

    def needs(self, models: Models, choice: Choice) -> tuple[Recipe, ...]:
        """Return the classifier trained with the settings of a trial."""
        return (self.with_choice(choice).recipe(models),)

    def recipe(self, models: Models) -> Recipe:
        """Return the recipe of the first trial, for plans made before the choice is known."""
        return self.method.recipe(models)

    def with_choice(self, choice: Choice) -> Method:
        """Return the method with the settings of a trial."""
        known = parameters(self.method)
        typed = {n: int(v) if isinstance(known[n], int) else v for n, v in choice.items()}
        return with_parameters(self.method, typed, self.method.name)


def searched(method: Method, trials: int) -> Searched:
    """Return a method with `trials` settings to choose from.

    Its own hyper-parameters and those of its last training are searched if they state a span: each
    on a logarithmic scale between value / span and value x span. Raises InputError for a method
    that has none, or that is no single training.
    """
    spans = search_spans(method)
    values = {name: parameters(method)[name] for name in spans}
    moving = {name: span for name, span in spans.items() if values[name] > 0}
    if not moving or method.default_base is not None:
        raise InputError(
            f"--tune {method.name}: nothing to tune: name methods that train, such as e2e-ft"
        )
    found = [dict[str, float](values)]
    for point in _design(len(moving), trials - 1):
        moved = dict(values)
        for position, (name, span) in zip(point, moving.items(), strict=True):
            value = values[name] * span ** (2 * position - 1)
            is_count = isinstance(values[name], int)
            moved[name] = max(1, round(value)) if is_count else float(f"{value:.3g}")
        found.append(moved)
    return Searched(method, tuple(found))


def _design(dimensions: int, points: int) -> list[tuple[float, ...]]:
    """Return the first points of a scrambled Sobol sequence in the unit cube."""
    from scipy.stats import qmc

    if not points:
        return []
    sobol = qmc.Sobol(dimensions, scramble=True, seed=DESIGN_SEED)
    drawn = sobol.random_base2(math.ceil(math.log2(points)))[:points]
    return [tuple(map(float, point)) for point in drawn]


def trials_of(
    method: Searched, scores: Sequence[float], costs: Sequence[Mapping[str, int] | None]
) -> list[dict[str, float]]:
    """Return what records say of each trial: its settings, its score and its training images.

    A trial that diverged has no score.
    """
    return [
        {**choice, **({"score": score} if math.isfinite(score) else {}), **(cost or {})}
        for choice, score, cost in zip(method.trials, scores, costs, strict=True)
    ]
