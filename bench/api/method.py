"""The method contract: which classifiers a leaderboard row needs, how it is fitted and predicts.

A method is a frozen dataclass whose fields are its hyper-parameters. The harness calls it in two
stages. Stage 1 runs on the selection split (and the training split, for methods with
`train_needs`): `fit`, then `predict` for every candidate; the selection rule picks one. Stage 2
runs on the ID test set and the shifts: `predict` with the chosen candidate only. A method never
sees test labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
from annotated_types import MinLen
from numpy.typing import NDArray

from bench.api.recipe_parts import head_of, needs_outputs, normalizes
from bench.api.recipes import Imported, Recipe, Tuned
from bench.core.errors import InputError
from bench.core.parameters import Fraction, setting
from bench.posthoc.functional import log_softmax
from bench.posthoc.selection import ALPHAS, WEIGHTS, around

if TYPE_CHECKING:
    from bench.api.trainer import Trainer

Choice = Mapping[str, float]
Fitted = Mapping[str, NDArray[Any]]

Rule = Callable[[Sequence[float], Sequence[float]], int]
"""A selection rule: (accuracies, mean weights) of the candidates -> index of the chosen one."""

ZERO_SHOT, PROBE = "zero-shot", "linear"
"""The untouched model's row, which every run has; the row of runs whose model has no text tower."""

GROUPS = ("trained", "merges", "ensembles", "newer")
"""Names that select some of the methods of ``all``: by `Method.group`, or by `Method.is_newer`."""

DEFAULT_BASE = "e2e-ft"
"""The name of the row that ensembles are built on if no base is named."""

V = TypeVar("V")
Grid = Annotated[tuple[V, ...], MinLen(1)]
"""The type of a field that lists one or more values to choose from."""


@dataclass(frozen=True)
class Models:
    """The recipes a method builds on.

    Attributes
    ----------
    zero_shot : the zero-shot classifier, or what stands in for it without a text tower.
    base : the fine-tuned classifier an ensemble is built on; `zero_shot` if there is none.
    train, selection : fingerprints of the training and the selection split.
    seed : the training seed.

    Examples
    --------
    >>> from bench.api.trainer import GradientTrainer
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models()
    >>> models.tuned(models.zero_shot, GradientTrainer(epochs=3)).trainer.epochs
    3
    """

    zero_shot: Recipe
    base: Recipe
    train: str
    selection: str
    seed: int

    def tuned(self, start: Recipe, trainer: Trainer) -> Tuned:
        """Return the recipe of `start` trained by `trainer` on the training split with the seed.

        Raises InputError if the trainer cannot start from `start`.
        """
        if trainer.tunes_text and isinstance(head_of(start), Imported):
            raise InputError(
                f"training {trainer.title} needs a text tower, and imported classifiers have none: "
                "use another method, or start from a pretrained CLIP"
            )
        if not needs_outputs(start):
            trainer.check(normalizes(start))
        selection = self.selection if trainer.selects else None
        seed = self.seed if trainer.is_random else 0
        return Tuned(start, trainer, self.train, seed, selection)


class Outputs(Protocol):
    """The outputs of classifiers on one split, computed from stored features on request."""

    def features(self, recipe: Recipe) -> NDArray[np.float32]:
        """Return the raw image embeddings [N, D] of the recipe's encoder."""
        ...

    def distance(
        self, recipe: Recipe, train: LabelledOutputs, rows: NDArray[np.bool_], k: int
    ) -> NDArray[np.float32]:
        """Return each sample's distance to the k-th nearest of the training samples `rows`, [N].

        It is the L2 distance between the recipe's normalised features, in [0, 2], and infinite if
        `rows`, bool [N_train], marks no sample. k is in [1, the number of those marked]. It is
        computed once and stored: for all rows and seeds that ask the same, and for later runs.
        """
        ...

    def logits(self, recipe: Recipe) -> NDArray[np.float32]:
        """Return the logits [N, C] over the task's classes."""
        ...

    def scores(self, recipe: Recipe) -> NDArray[np.float32]:
        """Return the logits after the split's label map, before any softmax: [N, C']."""
        ...

    def project(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply the split's label map to scores over the task's classes: [N, C] -> [N, C']."""
        ...


class LabelledOutputs(Outputs, Protocol):
    """Outputs on the training or selection split, where labels may be used."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels [N], in [0, C)."""
        ...

    def correct(self, recipe: Recipe) -> NDArray[np.bool_]:
        """Return whether the recipe's top-1 class is the label: bool [N]."""
        ...


@dataclass(frozen=True)
class Prediction:
    """The prediction of a method on one split.

    Attributes
    ----------
    log_probs : log-probabilities [N, C'] in nats.
    weight : the weight on the fine-tuned model, in [0, 1]: one number, or [N]. Selection rules
        compare its mean. 0 for a method without two endpoints.
    endpoints : for figures only: the log-probabilities [N, C'] of the zero-shot and the fine-tuned
        model.
    distance : for figures only: each sample's distance [N], in [0, `reach`].
    reach : the largest possible distance.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.method import Prediction
    >>> prediction = Prediction(np.log([[0.8, 0.2], [0.3, 0.7]]), weight=0.5)
    >>> prediction.log_probs.argmax(axis=1)
    array([0, 1])
    """

    log_probs: NDArray[np.floating]
    weight: float | NDArray[np.floating] = 0.0
    endpoints: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None
    distance: NDArray[np.floating] | None = None
    reach: float = 2.0


@dataclass(frozen=True)
class Method:
    """Base class of methods. As it is, a row is one classifier; ensembles override what differs.

    Class attributes
    ----------------
    kind : optional; its name in keys, so that renaming the class keeps caches valid.
    name : the row's name on the command line.
    title : the row's title in leaderboards.
    summary : the idea in one or two lines.
    equation : the method's equation in plain text.
    source : paper section or official file.
    year, venue, paper : when, where, at which address it was published; None and empty if not.
    is_newer : whether it came after the methods that bench was made for.
    default_base : the base of an ensemble if none is named; None for methods without a base.
    in_all : whether ``--methods all`` includes it. False for variants and for methods that need
        training runs with several seeds.
    is_common_base : whether ``all`` builds the common ensembles on it.
    on_all_bases : for an ensemble, whether ``all`` builds it on every common base.
    own_rule : the name of the method's own way to choose, if it does not use a selection rule.
    is_control : whether it is an ablation, which tests a claim about another method. Such rows are
        marked and never ranked.
    has_figures : whether its predictions contain the data that figures show.
    mixes_samples : whether the prediction for a sample depends on the other samples of its split.
        Unless it is a control, such a row is marked as transductive and never ranked.
    position : where the row stands within its group; smaller first, equal ones by name.
    compared_with : names of methods whose rows a leaderboard subtracts from this one's, where both
        are built on the same base.
    controls : names of the rows that ``--controls`` adds on the same base, to test a claim about
        this method. Hyper-parameters that the run changes for this method are changed for them too.
    colour : its colour in figures, ``#rrggbb``; None takes a free one. Not inherited.
    shape : the shape of the points of ensembles built on it, such as ``square`` (one of
        Vega-Lite's); None takes a free one. Not inherited.
    defaults_on : hyper-parameters that suit single suites, {suite: {parameter: value}}. Those that
        the suite itself names for the method take precedence.
    version : must be raised whenever the same fields would give other predictions.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import FakeOutputs, fake_models
    >>> models, ose = fake_models(), find_method("ose")(alphas=(0.5,))
    >>> (prediction,) = ose.predict(models, {}, FakeOutputs(size=40), None, ose.candidates())
    >>> prediction.log_probs.shape, prediction.weight
    ((40, 6), 0.5)
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    equation: ClassVar[str]
    source: ClassVar[str]
    year: ClassVar[int | None] = None
    venue: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    is_newer: ClassVar[bool] = False
    default_base: ClassVar[str | None] = None
    in_all: ClassVar[bool] = True
    is_common_base: ClassVar[bool] = False
    on_all_bases: ClassVar[bool] = False
    own_rule: ClassVar[str | None] = None
    is_control: ClassVar[bool] = False
    has_figures: ClassVar[bool] = False
    mixes_samples: ClassVar[bool] = False
    position: ClassVar[int] = 1000
    compared_with: ClassVar[tuple[str, ...]] = ()
    controls: ClassVar[tuple[str, ...]] = ()
    colour: ClassVar[str | None] = None
    shape: ClassVar[str | None] = None
    defaults_on: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    version: ClassVar[int] = 1

    @property
    def calibrated(self) -> bool:
        """Whether `fit` finds temperatures, so that the row is calibrated before it is measured.

        Leaderboards mark such a row where its calibration stands beside that of others.
        """
        return False

    @property
    def role(self) -> Literal["method", "transductive", "control"]:
        """What the row is on boards, by `is_control` and `mixes_samples`; methods are ranked."""
        if self.is_control:
            return "control"
        return "transductive" if self.mixes_samples else "method"

    @property
    def group(self) -> Literal["trained", "merges", "ensembles"]:
        """What kind of method it is.

        ``trained`` has no base; on its base, ``merges`` predicts with one classifier, as `predict`
        is by default, and ``ensembles`` combines the outputs of several.
        """
        if self.default_base is None:
            return "trained"
        return "merges" if type(self).predict is Method.predict else "ensembles"

    def recipe(self, models: Models) -> Recipe:
        """Return the classifier of this row.

        Ensembles override `needs` instead; for them this raises InputError.
        """
        raise InputError(f"{self.name} is not a single classifier and cannot be a base")

    def candidates(self) -> tuple[Choice, ...]:
        """Return the parameter settings to choose from; default: one empty setting, no choice."""
        return ({},)

    def candidates_of(self, fitted: Fitted) -> tuple[Choice, ...]:
        """Return the settings to choose from once `fit` is done. Default: `candidates`.

        They have the keys of `candidates` and need the same classifiers.
        """
        return self.candidates()

    def closer(self, choice: Choice) -> tuple[Choice, ...]:
        """Return further candidates near the chosen one, for a second choice. Default: none.

        For methods whose candidates cost forward passes each.
        """
        return ()

    def curve(self) -> tuple[Choice, ...]:
        """Return the candidates that ``--curves`` evaluates on the shifts, in order.

        Default: all of them if there are several, each with one parameter.
        """
        found = self.candidates()
        return found if len(found) > 1 and all(len(choice) == 1 for choice in found) else ()

    def chooser(self) -> Method:
        """Return the method whose fit and choice this method uses. Default: the method itself."""
        return self

    def choose(self, accuracies: Sequence[float], weights: Sequence[float], rule: Rule) -> int:
        """Return the index of the chosen candidate.

        Parameters
        ----------
        accuracies : each candidate's accuracy (or primary metric) on the selection split.
        weights : each candidate's mean weight on the fine-tuned model on that split.
        rule : the selection rule of the run; the default implementation applies it.
        """
        return rule(accuracies, weights)

    def needs(self, models: Models, choice: Choice) -> tuple[Recipe, ...]:
        """Return the classifiers whose outputs `predict` reads for `choice`."""
        return (self.recipe(models),)

    def train_needs(self, models: Models) -> tuple[Recipe, ...]:
        """Return the classifiers whose outputs on the training split `fit` or `predict` read."""
        return ()

    def fit(
        self, models: Models, selection: LabelledOutputs, train: LabelledOutputs
    ) -> dict[str, NDArray[Any]]:
        """Return fitted arrays that all candidates share, such as temperatures. Default: none."""
        return {}

    def predict(
        self,
        models: Models,
        fitted: Fitted,
        outputs: Outputs,
        train: LabelledOutputs,
        choices: Sequence[Choice],
    ) -> Iterator[Prediction]:
        """Yield one prediction per choice, in order; compute shared parts only once.

        Default: the softmax of the scores of the one classifier that `needs` returns for a choice.
        The weight is the choice's alpha. Without an alpha it is 1 for methods with a base, which
        then use fine-tuned models only, and 0 for others.
        """
        without_alpha = float(self.default_base is not None)
        for choice in choices:
            (classifier,) = self.needs(models, choice)
            weight = choice.get("alpha", without_alpha)
            yield Prediction(log_softmax(outputs.scores(classifier)), weight)


@dataclass(frozen=True)
class AlphaEnsemble(Method):
    """Base class of ensembles with one weight `alpha` on the fine-tuned model for all samples.

    Class attributes
    ----------------
    costs_forwards : whether each alpha is a classifier of its own. Then 0, 0.1, ..., 1 come first,
        and after them the alphas around the chosen one.

    Attributes
    ----------
    alphas : the alphas to choose from. None: steps of 0.02, as for all ensembles
        (`bench.posthoc.selection.RESOLUTION`).

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> find_method("ose")(alphas=(0.25, 0.75)).candidates()
    ({'alpha': 0.25}, {'alpha': 0.75})
    >>> len(find_method("ose")().candidates()), len(find_method("wise-ft")().candidates())
    (51, 11)
    >>> find_method("wise-ft")().closer({"alpha": 0.0})[-1]
    {'alpha': 0.08}
    """

    default_base: ClassVar[str | None] = DEFAULT_BASE
    on_all_bases: ClassVar[bool] = True
    costs_forwards: ClassVar[bool] = True

    alphas: Grid[Fraction] | None = setting(
        None,
        "steps of 0.02 for all ensembles, bench's choice; 0, 0.1, ..., 1 in VRF's paper, 0.1 to "
        "0.9 in its code",
        official=ALPHAS[1:-1],
        grid_of="alpha",
    )

    def candidates(self) -> tuple[Choice, ...]:
        """Return one candidate per alpha."""
        return _alphas(self.alphas or (ALPHAS if self.costs_forwards else WEIGHTS))

    def closer(self, choice: Choice) -> tuple[Choice, ...]:
        """Return the alphas around the chosen one, if no others were given."""
        own = self.alphas is None and self.costs_forwards
        return _alphas(around(choice["alpha"])) if own else ()

    def curve(self) -> tuple[Choice, ...]:
        """Return the given alphas, or 0, 0.1, ..., 1."""
        return self.candidates() if self.alphas else _alphas(ALPHAS)


def _alphas(alphas: Sequence[float]) -> tuple[Choice, ...]:
    return tuple({"alpha": alpha} for alpha in alphas)
