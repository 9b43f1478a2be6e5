"""LiNeS: the update of fine-tuning, scaled from layer to layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.api.method import AlphaEnsemble, Choice, Grid, Models
from bench.api.recipes import Recipe, merge_tensors
from bench.api.registry import method
from bench.core.errors import CellError
from bench.core.parameters import Fraction, setting
from bench.models.weights import tower_blocks
from bench.posthoc.selection import ALPHAS


@dataclass(frozen=True)
class LayerScaling:
    """Weights of the start and of the tuned model that change linearly from block to block.

    Attributes
    ----------
    alpha : the weight of the tuned model in the first block and in all tensors outside blocks, in
        [0, 1]; in the last block it is 1.

    Examples
    --------
    >>> from bench.methods.lines import LayerScaling
    >>> state = {f"blocks.{i}.weight": None for i in range(3)} | {"proj": None}
    >>> LayerScaling(0.5).of([state, state])["blocks.1.weight"]
    (0.25, 0.75)
    """

    kind: ClassVar[str] = "LayerScaling"

    alpha: float

    def of(self, states: Sequence[Mapping[str, Any]]) -> Mapping[str, Sequence[float]]:
        """Return (1 - s, s) for every tensor; raises CellError for a tower without blocks."""
        blocks = tower_blocks(states[0])
        if len(blocks) < 2 and not all(name.startswith("head.") for name in states[0]):
            raise CellError(
                f"LiNeS scales the blocks of an image tower one by one, and {len(blocks)} numbered "
                "blocks were found: use wise-ft, or a tower with blocks"
            )
        beta, last = 1 - self.alpha, max(1, len(blocks) - 1)
        scale = {f"{block}.": self.alpha + beta * i / last for i, block in enumerate(blocks)}
        found = {}
        for name in states[0]:
            own = next((s for block, s in scale.items() if name.startswith(block)), self.alpha)
            found[name] = (1 - own, own)
        return found


@method
@dataclass(frozen=True)
class LayerIncreasing(AlphaEnsemble):
    """Interpolation of the endpoints with more weight on the fine-tuned model in later blocks.

    Wang et al., "LiNeS: Post-training layer scaling prevents forgetting and enhances model
    merging", ICLR 2025, with beta = 1 - alpha as for a single task in the official code
    (wang-kee/LiNeS ``src/eval/eval.py``). alpha is the weight outside of blocks, so also that of
    the head, which is frozen in that code. With alpha = 1 it is the fine-tuned model; with
    alpha = 0 not the zero-shot one, as the last block is always the fine-tuned model's.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import fake_models
    >>> models, lines = fake_models(), find_method("lines")()
    >>> lines.needs(models, {"alpha": 0.3})[0].by_tensor
    LayerScaling(alpha=0.3)
    >>> lines.needs(models, {"alpha": 1.0}) == (models.base,)
    True
    """

    kind: ClassVar[str] = "LayerIncreasing"
    name: ClassVar[str] = "lines"
    title: ClassVar[str] = "LiNeS"
    summary: ClassVar[str] = "Interpolation with more fine-tuning in later blocks of the tower."
    equation: ClassVar[str] = (
        "theta_l = theta_zs + (alpha + (1 - alpha) l/(L-1)) (theta_ft - theta_zs)"
    )
    source: ClassVar[str] = "Wang et al., ICLR 2025, section 4; wang-kee/LiNeS src/eval/eval.py"
    year: ClassVar[int | None] = 2025
    venue: ClassVar[str] = "ICLR"
    paper: ClassVar[str] = "https://arxiv.org/abs/2410.17146"
    is_newer: ClassVar[bool] = True
    position: ClassVar[int] = 125
    colour: ClassVar[str | None] = "#287050"
    on_all_bases: ClassVar[bool] = False
    compared_with: ClassVar[tuple[str, ...]] = ("wise-ft",)

    alphas: Grid[Fraction] | None = setting(
        None,
        "steps of 0.02 for all ensembles, bench's choice; 0, 0.1, ..., 1 in evaluate_task_vector "
        "of wang-kee/LiNeS src/eval/eval.py",
        official=ALPHAS,
        grid_of="alpha",
    )

    def needs(self, models: Models, choice: Choice) -> tuple[Recipe, ...]:
        """Return the merged classifier; with alpha = 1 the fine-tuned one."""
        if choice["alpha"] == 1:
            return (models.base,)
        return (merge_tensors((models.zero_shot, models.base), LayerScaling(choice["alpha"])),)
