"""Model soups: averages of the weights of several training runs that differ in their seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, ClassVar

from annotated_types import Ge, MaxLen, MinLen

from bench.api.method import Choice, Method, Models, Rule
from bench.api.recipe_parts import reseeded
from bench.api.recipes import Recipe, merge
from bench.api.registry import method
from bench.core.parameters import setting

Members = Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1), MaxLen(6)]


@method
@dataclass(frozen=True)
class UniformSoup(Method):
    """The mean of the weights of several training runs.

    Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves
    accuracy without increasing inference time", ICML 2022, section 2. Here, the members differ only
    in their seed. The option ``--seeds`` does not affect them.

    Attributes
    ----------
    members : the seeds of the training runs, one to six.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import fake_models
    >>> soup = find_method("soup")(members=(0, 1))
    >>> (merged,) = soup.needs(fake_models(), {})
    >>> merged.weights, [part.seed for part in merged.parts]
    ((0.5, 0.5), [0, 1])
    """

    kind: ClassVar[str] = "UniformSoup"
    name: ClassVar[str] = "soup"
    title: ClassVar[str] = "Uniform soup"
    summary: ClassVar[str] = "The mean of the weights of training runs with several seeds."
    equation: ClassVar[str] = "theta = mean over seeds s of theta_s"
    source: ClassVar[str] = "Wortsman et al., ICML 2022, section 2"
    year: ClassVar[int | None] = 2022
    venue: ClassVar[str] = "ICML"
    paper: ClassVar[str] = "https://arxiv.org/abs/2203.05482"
    position: ClassVar[int] = 140
    colour: ClassVar[str | None] = "#40a0b8"
    default_base: ClassVar[str | None] = "e2e-ft"
    in_all: ClassVar[bool] = False

    members: Members = setting((0, 1, 2), "bench's choice; the paper's soups have up to 72 members")

    def needs(self, models: Models, choice: Choice) -> tuple[Recipe, ...]:
        """Return the merge of the members that `choice` includes; by default, of all members."""
        included = [s for s in dict.fromkeys(self.members) if choice.get(f"seed {s}", 1)]
        parts = [reseeded(models.base, seed) for seed in included]
        return (merge(parts, [1 / len(parts)] * len(parts)),)


@method
@dataclass(frozen=True)
class GreedySoup(UniformSoup):
    """A soup to which members are added from best to worst, unless the accuracy decreases.

    Wortsman et al., ICML 2022, recipe 1: members are sorted by their accuracy on the selection
    split. Each is added to the soup if the soup's accuracy on that split does not decrease. All
    subsets of the members are evaluated on that split, so at most six members are allowed.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> soup = find_method("greedy-soup")(members=(0, 1))
    >>> soup.candidates()
    ({'seed 0': 1, 'seed 1': 1}, {'seed 0': 1, 'seed 1': 0}, {'seed 0': 0, 'seed 1': 1})
    >>> soup.choose([0.79, 0.80, 0.78], [1, 1, 1], None)  # both, seed 0, seed 1
    1
    """

    kind: ClassVar[str] = "GreedySoup"
    name: ClassVar[str] = "greedy-soup"
    title: ClassVar[str] = "Greedy soup"
    summary: ClassVar[str] = "A mean of weights; runs are added unless the accuracy decreases."
    source: ClassVar[str] = "Wortsman et al., ICML 2022, recipe 1"
    year: ClassVar[int | None] = 2022
    venue: ClassVar[str] = "ICML"
    position: ClassVar[int] = 150
    colour: ClassVar[str | None] = "#386888"
    own_rule: ClassVar[str | None] = "greedy"

    def candidates(self) -> tuple[Choice, ...]:
        """Return all non-empty subsets of the members."""
        names = [f"seed {s}" for s in dict.fromkeys(self.members)]
        subsets = product((1, 0), repeat=len(names))
        return tuple(dict(zip(names, subset, strict=True)) for subset in subsets if any(subset))

    def choose(self, accuracies: Sequence[float], weights: Sequence[float], rule: Rule) -> int:
        """Return the index of the greedy algorithm's subset; ignores the selection rule."""
        subsets = [frozenset(k for k, used in c.items() if used) for c in self.candidates()]
        accuracy = dict(zip(subsets, accuracies, strict=True))
        members = sorted((s for s in subsets if len(s) == 1), key=lambda s: (-accuracy[s], min(s)))
        soup = members[0]
        for member in members[1:]:
            if accuracy[soup | member] >= accuracy[soup]:
                soup |= member
        return subsets.index(soup)
