"""Model soups: averages of the weights of one training repeated with several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, ClassVar

from annotated_types import Ge, MaxLen, MinLen

from bench.api.method import Choice, Method, Models, Rule
from bench.api.recipes import Recipe, merge, reseeded
from bench.api.registry import method

Members = Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1), MaxLen(6)]


@method
@dataclass(frozen=True)
class UniformSoup(Method):
    """The mean of the weights of several trainings.

    Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves
    accuracy without increasing inference time", ICML 2022, section 2; here the members differ in
    their seed alone. The seeds of a run do not matter to it.

    Attributes
    ----------
    members : the seeds of the trainings.
    """

    kind: ClassVar[str] = "UniformSoup"
    name: ClassVar[str] = "soup"
    title: ClassVar[str] = "Uniform soup"
    summary: ClassVar[str] = "The mean of the weights of trainings with several seeds."
    equation: ClassVar[str] = "theta = mean over seeds s of theta_s"
    source: ClassVar[str] = "Wortsman et al., ICML 2022, section 2"
    default_base: ClassVar[str | None] = "e2e-ft"
    in_all: ClassVar[bool] = False

    members: Members = (0, 1, 2)

    def needs(self, models: Models, choice: Choice) -> tuple[Recipe, ...]:
        """The merged classifier of the members that `choice` takes, by default of all."""
        taken = [s for s in dict.fromkeys(self.members) if choice.get(f"seed {s}", 1)]
        parts = [reseeded(models.base, seed) for seed in taken]
        return (merge(parts, [1 / len(parts)] * len(parts)),)


@method
@dataclass(frozen=True)
class GreedySoup(UniformSoup):
    """Members are added from the best to the worst, each if it does no harm.

    Wortsman et al., ICML 2022, recipe 1: in the order of their own accuracy on the selection
    split, a member stays if the soup's accuracy there does not fall. All subsets of the members
    are evaluated on that split, which bounds their number to six.
    """

    kind: ClassVar[str] = "GreedySoup"
    name: ClassVar[str] = "greedy-soup"
    title: ClassVar[str] = "Greedy soup"
    summary: ClassVar[str] = "A mean of weights to which trainings are added while it helps."
    source: ClassVar[str] = "Wortsman et al., ICML 2022, recipe 1"
    own_rule: ClassVar[str | None] = "greedy"

    def candidates(self) -> tuple[Choice, ...]:
        """Every subset of the members that is not empty."""
        names = [f"seed {s}" for s in dict.fromkeys(self.members)]
        subsets = product((1, 0), repeat=len(names))
        return tuple(dict(zip(names, taken, strict=True)) for taken in subsets if any(taken))

    def choose(self, accuracies: Sequence[float], weights: Sequence[float], rule: Rule) -> int:
        """The greedy algorithm; no selection rule enters."""
        subsets = [frozenset(k for k, taken in c.items() if taken) for c in self.candidates()]
        accuracy = dict(zip(subsets, accuracies, strict=True))
        alone = sorted((s for s in subsets if len(s) == 1), key=lambda s: (-accuracy[s], min(s)))
        soup = alone[0]
        for member in alone[1:]:
            if accuracy[soup | member] >= accuracy[soup]:
                soup |= member
        return subsets.index(soup)
