"""VRF with a threshold in place of the sigmoid, and its ablation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.api import registry
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
from bench.core.parameters import Count, NonNegative, setting
from bench.posthoc.ensembles import LogProbPair
from bench.posthoc.functional import failure_set


@registry.method
@dataclass(frozen=True)
class Nearby(Method):
    """More weight on the fine-tuned model within distance `r` of a corrected training sample."""

    name: ClassVar[str] = "nearby"
    title: ClassVar[str] = "Nearby"
    summary: ClassVar[str] = "More weight on the fine-tuned model near corrected mistakes."
    equation: ClassVar[str] = "p = w p_ft + (1 - w) p_zs, w = 0.9 if d(x, V) < r else 0.5"
    source: ClassVar[str] = "an example of bench's documents"
    default_base: ClassVar[str | None] = "e2e-ft"
    position: ClassVar[int] = 195  # behind VRF
    compared_with: ClassVar[tuple[str, ...]] = ("ose", "vrf")
    controls: ClassVar[tuple[str, ...]] = ("nearby-any",)
    colour: ClassVar[str | None] = "#8a6d00"

    k: Count = setting(1, "the nearest in the paper, the fifth in its code", official=5)
    r_grid: Grid[NonNegative] = setting(
        (0.2, 0.4, 0.6),
        "a search in the paper, one value in its code",
        official=(0.5,),
        grid_of="r",  # records say if the smallest or the largest was chosen
    )

    def candidates(self) -> tuple[Choice, ...]:
        return tuple({"r": r} for r in self.r_grid)

    def needs(self, models: Models, choice: Choice) -> tuple[Recipe, ...]:
        return (models.zero_shot, models.base)

    def train_needs(self, models: Models) -> tuple[Recipe, ...]:
        return (models.zero_shot, models.base)

    def fit(
        self, models: Models, selection: LabelledOutputs, train: LabelledOutputs
    ) -> dict[str, Any]:
        return {"reference": self.reference(train, models)}

    def reference(self, train: LabelledOutputs, models: Models) -> Any:
        return failure_set(train.correct(models.zero_shot), train.correct(models.base))

    def predict(
        self,
        models: Models,
        fitted: Fitted,
        outputs: Outputs,
        train: LabelledOutputs,
        choices: Sequence[Choice],
    ) -> Iterator[Prediction]:
        pair = LogProbPair.of(outputs.scores(models.zero_shot), outputs.scores(models.base))
        reference = fitted["reference"]
        k = max(1, min(self.k, reference.sum()))
        near = outputs.distance(models.base, train, reference, k)
        for choice in choices:
            weight = 0.5 + 0.4 * (near < choice["r"])
            yield Prediction(pair.average(weight), weight)


@registry.method
@dataclass(frozen=True)
class NearbyAny(Nearby):
    """Ablation: within `r` of any training sample that the fine-tuned model gets right."""

    name: ClassVar[str] = "nearby-any"
    title: ClassVar[str] = "Nearby, any correct"
    summary: ClassVar[str] = "Ablation: distances to all samples that the fine-tuned model solves."
    position: ClassVar[int] = 196
    in_all: ClassVar[bool] = False
    is_control: ClassVar[bool] = True
    controls: ClassVar[tuple[str, ...]] = ()

    def reference(self, train: LabelledOutputs, models: Models) -> Any:
        return train.correct(models.base)
