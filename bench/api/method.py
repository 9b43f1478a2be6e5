"""The method contract: what a leaderboard row needs, how it is fitted and how it predicts.

A method is a frozen dataclass; its fields are its hyper-parameters. The harness calls it in two
stages. Stage 1, on the selection split (and the training split, for methods that ask):
`fit`, then `predict` for every candidate, from which the selection rule picks one. Stage 2, on
the ID test set and the shifts: `predict` with the chosen candidate only. A method never sees a
label of a test set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol, TypeVar

import numpy as np
from annotated_types import MinLen
from numpy.typing import NDArray

from bench.api.recipes import (
    Classifier,
    Imported,
    Recipe,
    Tuned,
    head_of,
    needs_outputs,
    normalizes,
)
from bench.core.errors import InputError
from bench.core.parameters import Fraction
from bench.posthoc.functional import log_softmax

if TYPE_CHECKING:
    from bench.api.trainer import Trainer

Choice = Mapping[str, float]
Fitted = Mapping[str, NDArray[Any]]

Rule = Callable[[Sequence[float], Sequence[float]], int]
"""A selection rule: from accuracies and mean weights of the candidates to the index of one."""

V = TypeVar("V")
Grid = Annotated[tuple[V, ...], MinLen(1)]
"""The type of a field that lists the values to choose among: at least one."""


@dataclass(frozen=True)
class Models:
    """The recipes a method builds on.

    `zero_shot` is the untouched classifier; `base` the fine-tuned one an ensemble is built on
    (`zero_shot` itself for methods without a base); `train` and `selection` the fingerprints of
    those splits.
    """

    zero_shot: Classifier
    base: Recipe
    train: str
    selection: str
    seed: int

    def tuned(self, start: Recipe, trainer: Trainer) -> Tuned:
        """`start` trained by `trainer` on the training split with the seed.

        Raises InputError for a trainer that cannot start there.
        """
        if trainer.tunes_text and isinstance(head_of(start), Imported):
            raise InputError(
                f"training {trainer.title} needs a text tower, and imported classifiers have none"
            )
        if not needs_outputs(start):
            trainer.check(normalizes(start))
        selection = self.selection if trainer.selects else None
        seed = self.seed if trainer.is_random else 0
        return Tuned(start, trainer, self.train, seed, selection)


class Outputs(Protocol):
    """A split's outputs, computed from stored features when asked for."""

    def features(self, recipe: Recipe) -> NDArray[np.float32]:
        """Raw image embeddings [N, D] of the recipe's encoder."""
        ...

    def logits(self, recipe: Recipe) -> NDArray[np.float32]:
        """[N, C] over the task's classes."""
        ...

    def scores(self, recipe: Recipe) -> NDArray[np.float32]:
        """[N, C']: logits through the split's label map, before any softmax."""
        ...

    def project(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N, C] -> [N, C']: any scores over the task's classes through the label map."""
        ...


class LabelledOutputs(Outputs, Protocol):
    """Outputs on training or selection data, where labels may be seen."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """[N], over the task's classes."""
        ...

    def correct(self, recipe: Recipe) -> NDArray[np.bool_]:
        """[N]: whether the recipe's top-1 class is the label."""
        ...


@dataclass(frozen=True)
class Prediction:
    """Log-probabilities [N, C'] and the weight on the fine-tuned model, per sample or one for all.

    The mean weight is what the selection rules compare (0 for a method without two endpoints). What
    figures show besides is optional: `endpoints`, the log-probabilities of the zero-shot and the
    fine-tuned model, and each sample's `distance` [N] in [0, `reach`].
    """

    log_probs: NDArray[np.floating]
    weight: float | NDArray[np.floating] = 0.0
    endpoints: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None
    distance: NDArray[np.floating] | None = None
    reach: float = 2.0


@dataclass(frozen=True)
class Method:
    """Base class: a row that is one classifier. Ensembles override what differs.

    Class attributes
    ----------------
    name : the row's name on the command line.
    title : how the leaderboard prints it.
    summary : the idea in one or two lines.
    equation : in plain text.
    source : paper section or official file.
    default_base : the base of an ensemble if none is named; None for methods that take no base.
    in_all : whether ``--methods all`` includes it; variants and what needs more seeds do not.
    is_common_base : whether ``all`` builds the common ensembles on it.
    on_all_bases : for an ensemble, whether ``all`` builds it on every common base.
    own_rule : the name of how it chooses, for a method that follows no selection rule.
    is_control : whether it checks a claim about another method instead of making one; such rows
        are marked and never ranked.
    has_figures : whether its predictions carry what figures show.
    mixes_samples : whether a sample's prediction depends on the others of its split.
    version : raised whenever the same fields would give other predictions.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    equation: ClassVar[str]
    source: ClassVar[str]
    default_base: ClassVar[str | None] = None
    in_all: ClassVar[bool] = True
    is_common_base: ClassVar[bool] = False
    on_all_bases: ClassVar[bool] = False
    own_rule: ClassVar[str | None] = None
    is_control: ClassVar[bool] = False
    has_figures: ClassVar[bool] = False
    mixes_samples: ClassVar[bool] = False
    version: ClassVar[int] = 1

    def recipe(self, models: Models) -> Recipe:
        """The classifier this row is (for ensembles: not one; they override `needs`)."""
        raise InputError(f"{self.name} is not a single classifier and can be no base")

    def candidates(self) -> tuple[Choice, ...]:
        """The parameter settings to choose among; one empty setting if there is no choice."""
        return ({},)

    def chooser(self) -> Method:
        """The method whose fit and choice this one takes over. Default: its own."""
        return self

    def choose(self, accuracies: Sequence[float], weights: Sequence[float], rule: Rule) -> int:
        """The index of the candidate to take, by accuracy on the selection split and mean weight.

        Default: what `rule` says.
        """
        return rule(accuracies, weights)

    def needs(self, models: Models, choice: Choice) -> tuple[Recipe, ...]:
        """The classifiers whose outputs `predict` reads for `choice`."""
        return (self.recipe(models),)

    def train_needs(self, models: Models) -> tuple[Recipe, ...]:
        """The classifiers whose outputs on the training split `fit` or `predict` read."""
        return ()

    def fit(
        self, models: Models, selection: LabelledOutputs, train: LabelledOutputs
    ) -> dict[str, NDArray[Any]]:
        """What holds for all candidates: a failure set, a temperature. Default: nothing."""
        return {}

    def predict(
        self,
        models: Models,
        fitted: Fitted,
        outputs: Outputs,
        train: LabelledOutputs,
        choices: Sequence[Choice],
    ) -> Iterator[Prediction]:
        """One prediction per choice, in order. What they share is computed once.

        Default: softmax of the scores of the one classifier that `needs` names for a choice. The
        weight is its alpha, or 1 where an ensemble has none: it is made of the fine-tuned alone.
        """
        whole = float(self.default_base is not None)
        for choice in choices:
            (classifier,) = self.needs(models, choice)
            weight = choice.get("alpha", whole)
            yield Prediction(log_softmax(outputs.scores(classifier)), weight)


ALPHAS: tuple[float, ...] = tuple(round(0.1 * i, 1) for i in range(11))
"""The grid 0, 0.1, ..., 1 of the weight on the fine-tuned model (VRF section 5.1)."""


@dataclass(frozen=True)
class AlphaEnsemble(Method):
    """Base class of ensembles with one weight `alpha` on the fine-tuned model for all samples."""

    default_base: ClassVar[str | None] = "e2e-ft"
    on_all_bases: ClassVar[bool] = True

    alphas: Grid[Fraction] = ALPHAS

    def candidates(self) -> tuple[Choice, ...]:
        """One candidate per alpha."""
        return tuple({"alpha": alpha} for alpha in self.alphas)
