"""VRF: output-space ensembling with one weight per sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from bench.api.method import (
    Choice,
    Fitted,
    Grid,
    LabelledOutputs,
    Method,
    Models,
    Outputs,
    Prediction,
)
from bench.api.recipes import Recipe
from bench.api.registry import method
from bench.core.parameters import Fraction, NonNegative, Positive
from bench.posthoc.functional import (
    TEMPERATURES,
    KRule,
    failure_set,
    kth,
    log_softmax,
    mix,
    sigmoid_weight,
)
from bench.posthoc.neighbors import kth_distance


@method
@dataclass(frozen=True)
class VarianceReduction(Method):
    """Trusts the fine-tuned model on samples near those where fine-tuning repaired a mistake.

    Zhu et al., "Robust Fine-tuning of Zero-shot Models via Variance Reduction", NeurIPS 2024:
    1. V: training samples that the fine-tuned model gets right and the zero-shot model wrong.
    2. d(x): L2 distance to the k-th neighbour in V, in normalised fine-tuned features.
    3. The ends' probabilities, averaged with weight sigmoid(-(d(x) - a) / b) on the fine-tuned.

    Distances are plain L2 in [0, 2], as the paper writes; the official code's are squared, in
    [0, 4], and so are the scales of the published a and b: `squared` takes those. An empty V means
    that fine-tuning repaired nothing there is to see: every distance is infinite and the zero-shot
    model is used throughout.

    Attributes
    ----------
    p : k as a share of V.
    k_rule : how k is rounded, or the official code's rule, which knows no p (`posthoc.kth`).
    squared : square the distances before the sigmoid; a and b are then on that scale.
    a_grid, b_grid : candidates are all pairs (a, b).
    calibrate : divide each end's logits by a temperature first, fitted on the selection split by
        ``nll``, or by ``confidence`` as in the official code (there on the test set); ``none`` as
        in the paper's method section.
    """

    kind: ClassVar[str] = "VarianceReduction"
    name: ClassVar[str] = "vrf"
    title: ClassVar[str] = "VRF"
    summary: ClassVar[str] = "Average of probabilities, weighted by distance to repaired mistakes."
    equation: ClassVar[str] = "p = w softmax(f_ft) + (1 - w) softmax(f_zs), w = sigmoid(-(d - a)/b)"
    source: ClassVar[str] = "Zhu et al., NeurIPS 2024, equation 3 and steps 1 to 3"
    default_base: ClassVar[str | None] = "e2e-ft"
    on_all_bases: ClassVar[bool] = True
    has_figures: ClassVar[bool] = True

    p: Fraction = 0.001
    k_rule: KRule = "round"
    squared: bool = False
    # The published (a, b), on squared distances, are (1.5, 0.6), (1.1, 0.6) and (0.3, 0.3). With
    # d = sqrt(d2) and slope dd = dd2 / 2d they become (1.2, 0.24), (1.0, 0.29) and (0.55, 0.27).
    # The grids span these and smaller distances, which tightly clustered encoders show.
    a_grid: Grid[NonNegative] = (0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5)
    b_grid: Grid[Positive] = (0.05, 0.1, 0.2, 0.4)
    calibrate: Literal["nll", "confidence", "none"] = "nll"

    def candidates(self) -> tuple[Choice, ...]:
        """Every pair (a, b)."""
        return tuple({"a": a, "b": b} for a, b in product(self.a_grid, self.b_grid))

    def needs(self, models: Models, choice: Choice) -> tuple[Recipe, ...]:
        """Both ends."""
        return (models.zero_shot, models.base)

    def train_needs(self, models: Models) -> tuple[Recipe, ...]:
        """Both ends, to find where fine-tuning repaired a mistake."""
        return (models.zero_shot, models.base)

    def fit(
        self, models: Models, selection: LabelledOutputs, train: LabelledOutputs
    ) -> dict[str, NDArray[Any]]:
        """``failure`` bool [N_train] and ``temperature`` float64 [2] (zero-shot, fine-tuned)."""
        ends = (models.zero_shot, models.base)
        failure = self.reference(*(train.correct(end) for end in ends))
        search = TEMPERATURES[self.calibrate]
        temperatures = [search(selection.logits(end), selection.labels) for end in ends]
        return {"failure": failure, "temperature": np.array(temperatures)}

    def reference(
        self, correct_zs: NDArray[np.bool_], correct_ft: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Which training samples distances are to, bool [N_train]: the failure set V."""
        return failure_set(correct_zs, correct_ft)

    def weigh(self, weight: NDArray[np.floating]) -> NDArray[np.floating]:
        """The weights that are used, [N], made of VRF's own: for controls. Here: themselves."""
        return weight

    def predict(
        self,
        models: Models,
        fitted: Fitted,
        outputs: Outputs,
        train: LabelledOutputs,
        choices: Sequence[Choice],
    ) -> Iterator[Prediction]:
        """Distances and the ends' probabilities once, then one average per (a, b)."""
        t_zs, t_ft = fitted["temperature"].tolist()
        log_p_zs = log_softmax(outputs.scores(models.zero_shot) / t_zs)
        log_p_ft = log_softmax(outputs.scores(models.base) / t_ft)
        distance = self._distance(models, fitted, outputs, train)
        endpoints, reach = (log_p_zs, log_p_ft), 4.0 if self.squared else 2.0
        for choice in choices:
            weight = self.weigh(sigmoid_weight(distance, choice["a"], choice["b"]))
            yield Prediction(mix(*endpoints, weight), weight, endpoints, distance, reach)

    def _distance(
        self, models: Models, fitted: Fitted, outputs: Outputs, train: LabelledOutputs
    ) -> NDArray[np.floating]:
        queries = outputs.features(models.base)
        if not fitted["failure"].any():
            return np.full(len(queries), np.inf)
        failures = train.features(models.base)[fitted["failure"]]
        k = kth(len(failures), self.p, self.k_rule, len(fitted["failure"]))
        distance = kth_distance(queries, failures, k)
        return np.square(distance) if self.squared else distance


class _Control(VarianceReduction):
    """What controls of VRF share; their hyper-parameters are VRF's."""

    in_all: ClassVar[bool] = False
    is_control: ClassVar[bool] = True
    has_figures: ClassVar[bool] = False


class _Reweighted(_Control):
    """A control that takes VRF's fit and choice and changes its weights."""

    mixes_samples: ClassVar[bool] = True

    def chooser(self) -> Method:
        """VRF with the same hyper-parameters."""
        return VarianceReduction(**{f.name: getattr(self, f.name) for f in fields(self)})


@method
@dataclass(frozen=True)
class Shuffled(_Reweighted):
    """Is it the sample that matters? VRF's weights in a random order within each data set."""

    kind: ClassVar[str] = "Shuffled"
    name: ClassVar[str] = "vrf-shuffled"
    title: ClassVar[str] = "VRF, w shuffled"
    summary: ClassVar[str] = "Control: VRF's weights, shuffled within each data set."
    equation: ClassVar[str] = "as VRF, with w of another sample of the same data set"
    source: ClassVar[str] = "a control of bench"

    def weigh(self, weight: NDArray[np.floating]) -> NDArray[np.floating]:
        """The weights in a random order, the same each time."""
        return np.random.Generator(np.random.Philox(key=0)).permutation(weight)


@method
@dataclass(frozen=True)
class Constant(_Reweighted):
    """Is it the data set that matters? VRF's mean weight on each data set for all its samples."""

    kind: ClassVar[str] = "Constant"
    name: ClassVar[str] = "vrf-constant"
    title: ClassVar[str] = "VRF, mean w"
    summary: ClassVar[str] = "Control: one weight for each data set, the mean of VRF's there."
    equation: ClassVar[str] = "as VRF, with the mean of w over the data set"
    source: ClassVar[str] = "a control of bench"

    def weigh(self, weight: NDArray[np.floating]) -> NDArray[np.floating]:
        """Their mean, for every sample."""
        return np.full_like(weight, weight.mean())


@method
@dataclass(frozen=True)
class AllCorrect(_Control):
    """Does the failure set matter? Distances to all training samples that f_ft gets right."""

    kind: ClassVar[str] = "AllCorrect"
    name: ClassVar[str] = "vrf-all-correct"
    title: ClassVar[str] = "VRF, V = all correct"
    summary: ClassVar[str] = "Control: distances to all correctly classified training samples."
    equation: ClassVar[str] = "as VRF, with V = {i : argmax f_ft(x_i) = y_i}"
    source: ClassVar[str] = "a control of bench; cf. Zhu et al., NeurIPS 2024, ablation of V"

    def reference(
        self, correct_zs: NDArray[np.bool_], correct_ft: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """All that the fine-tuned model gets right."""
        return correct_ft
