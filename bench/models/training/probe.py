"""Training of a linear head alone by gradient descent, on stored features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.api.trainer import GradientTrainer
from bench.core.errors import InputError
from bench.core.parameters import Positive

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class HeadTrainer(GradientTrainer):
    """A linear probe by AdamW; defaults are those of wise-ft's ``--freeze-encoder``.

    Attributes
    ----------
    start : ``zero-shot`` (the head made of class names) or ``random`` (torch's for a new layer).
    normalized : whether the head takes L2-normalised features. Without, the start must be random.
    """

    kind: ClassVar[str] = "HeadTrainer"
    title: ClassVar[str] = "linear head"
    version: ClassVar[int] = 2
    tunes_encoder: ClassVar[bool] = False

    lr: Positive = 1e-3
    start: Literal["zero-shot", "random"] = "zero-shot"
    normalized: bool = True

    @property
    def normalize(self) -> bool | None:
        """Whether the head takes L2-normalised features."""
        return self.normalized

    def check(self, starts_normalized: bool) -> None:
        """Raise InputError where the start's head is kept but takes other features."""
        if self.start == "zero-shot" and self.normalized != starts_normalized:
            kinds = {True: "L2-normalised", False: "raw"}
            raise InputError(
                f"a linear head on {kinds[self.normalized]} features cannot start from one on "
                f"{kinds[starts_normalized]} ones: set its start to random, or change normalized"
            )

    def prepare(self, model: nn.Module) -> None:
        """Draw a random head, if that is the start."""
        if self.start == "random":
            model.head.reset_parameters()  # type: ignore[operator, union-attr]
