"""Linear classifiers on frozen features: with AdamW, and as logistic regression with L-BFGS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from bench.api.method import Grid, Method, Models
from bench.api.recipes import Recipe
from bench.api.registry import method
from bench.api.trainer import TrainInputs
from bench.core.parameters import Count, Fraction, Positive, Precision, setting
from bench.models.training.trainers import HeadTrainer

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@method
@dataclass(frozen=True)
class Linear(Method):
    """A linear head trained with AdamW on the features of the pretrained, frozen encoder.

    It uses stored features with the evaluation transform, without augmentation, as
    mlfoundations/wise-ft does with ``--freeze-encoder``. It therefore needs no forward passes of
    its own. Defaults are that code's; the paper (appendix D.3) uses a random search instead.

    Examples
    --------
    >>> from bench.api.recipe_parts import encoder_of
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models()
    >>> recipe = find_method("linear")().recipe(models)
    >>> encoder_of(recipe) == encoder_of(models.zero_shot)
    True
    """

    kind: ClassVar[str] = "Linear"
    name: ClassVar[str] = "linear"
    title: ClassVar[str] = "Linear classifier"
    summary: ClassVar[str] = "A linear head trained on frozen features."
    equation: ClassVar[str] = "min over head of mean -log softmax_y(head(f(x)))"
    source: ClassVar[str] = "Wortsman et al., CVPR 2022, appendix D.3; mlfoundations/wise-ft"
    year: ClassVar[int | None] = 2021
    venue: ClassVar[str] = "ICML"
    paper: ClassVar[str] = "https://arxiv.org/abs/2103.00020"
    position: ClassVar[int] = 10
    colour: ClassVar[str | None] = "#4048f8"
    is_common_base: ClassVar[bool] = True

    trainer: HeadTrainer = field(default=HeadTrainer())

    def recipe(self, models: Models) -> Recipe:
        """Return the recipe: the zero-shot model with its head tuned."""
        return models.tuned(models.zero_shot, self.trainer)


ROWS = 2**14
"""Samples whose logits are in memory at a time: 131 MB in float64 for 1,000 classes."""


@dataclass(frozen=True)
class _Blocks:
    """L2-normalised features in float64 and labels, `ROWS` samples at a time, on a device."""

    features: Tensor
    labels: Tensor
    device: torch.device

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        from torch.nn.functional import normalize

        for start in range(0, len(self.labels), ROWS):
            rows = slice(start, start + ROWS)
            features = self.features[rows].to(self.device).double()
            yield normalize(features, dim=1), self.labels[rows].to(self.device)


@dataclass(frozen=True)
class LogisticRegression:
    """Multinomial logistic regression with L-BFGS; C is chosen on the selection split.

    Minimises mean cross-entropy + |W|^2 / (2 C N), scikit-learn's objective, in float64, on a GPU
    if there is one. Values of C are tried in increasing order, each starting from the previous
    solution. The C with the highest accuracy on the selection split is chosen; ties go to the
    smallest.

    Attributes
    ----------
    cs : the values of C to choose from, > 0.
    max_iter : maximum number of L-BFGS iterations per C.
    smoothing : label smoothing, in [0, 1].
    precision : precision of the features, ``fp32`` or ``bf16``.

    Examples
    --------
    >>> from bench.methods.linear import LogisticRegression
    >>> LogisticRegression(cs=(0.1, 1.0)).selects
    True
    """

    kind: ClassVar[str] = "LogisticRegression"
    title: ClassVar[str] = "logistic regression"
    version: ClassVar[int] = 1
    tunes_encoder: ClassVar[bool] = False
    tunes_text: ClassVar[bool] = False
    selects: ClassVar[bool] = True
    is_random: ClassVar[bool] = False
    smoke: ClassVar[Mapping[str, Any]] = {"max_iter": 20}

    cs: Grid[Positive] = setting(
        (1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e4),
        "bench's choice; the codes of LP-FT and FLYP try 50 and 100 values",
        grid_of="C",
    )
    max_iter: Count = setting(200, "the codes of LP-FT and FLYP")
    smoothing: Fraction = setting(0.0, "none in the published codes")
    precision: Precision = setting("fp32", "the published codes")

    @property
    def normalize(self) -> bool | None:
        """Whether the head takes L2-normalised features: always true."""
        return True

    def check(self, starts_normalized: bool) -> None:
        """Accept any start, because the fit starts from zero."""

    def train(self, inputs: TrainInputs) -> dict[str, Tensor]:
        """Return ``head.weight`` [C, D], ``head.bias`` [C] and ``chosen.C``, their value of C."""
        import numpy as np
        import torch
        from scipy.optimize import minimize
        from torch.nn.functional import cross_entropy

        x, y = inputs.features("train")
        held, truth = inputs.features("selection")
        # Not every device has float64.
        device = x.device if x.device.type == "cuda" else torch.device("cpu")
        blocks, size = _Blocks(x, y, device), len(x)
        shape = inputs.classes, x.shape[1] + 1

        def objective(flat: np.ndarray, c: float) -> tuple[float, np.ndarray]:
            w = torch.from_numpy(flat).to(device).reshape(shape).requires_grad_()
            total = w[:, :-1].square().sum() / (2 * c * size)
            (slope,) = torch.autograd.grad(total, w)
            total = total.detach()
            for features, labels in blocks:
                logits = features @ w[:, :-1].T + w[:, -1]
                loss = cross_entropy(logits, labels, label_smoothing=self.smoothing)
                loss = loss * (len(labels) / size)
                total += loss.detach()
                slope += torch.autograd.grad(loss, w)[0]
            return total.item(), slope.flatten().cpu().numpy()

        best, flat = (-1.0, torch.empty(0), 0.0), np.zeros(shape[0] * shape[1])
        for c in sorted(self.cs):
            options = {"maxiter": self.max_iter}
            flat = minimize(objective, flat, (c,), "L-BFGS-B", jac=True, options=options).x
            w = torch.from_numpy(flat).reshape(shape)
            there, right = w.to(device), 0
            for features, labels in _Blocks(held, truth, device):
                logits = features @ there[:, :-1].T + there[:, -1]
                right += int((logits.argmax(dim=1) == labels).sum())
            accuracy = right / len(truth)
            inputs.log({"C": c, "selection": accuracy})
            best = max(best, (accuracy, w, c), key=lambda candidate: candidate[0])
        _, w, c = best
        return {
            "head.weight": w[:, :-1].float().contiguous(),
            "head.bias": w[:, -1].float().contiguous(),
            "chosen.C": torch.tensor([c], dtype=torch.float64),
        }


@method
@dataclass(frozen=True)
class LinearByLbfgs(Method):
    """Logistic regression on normalised features, as in CLIP's and LP-FT's linear probes.

    Radford et al., ICML 2021, appendix A.3; Kumar et al., ICLR 2022. It starts from zero instead of
    the zero-shot head, so it does not use class names.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import fake_models
    >>> find_method("linear-lbfgs")().recipe(fake_models()).selection
    'fake-selection'
    """

    kind: ClassVar[str] = "LinearByLbfgs"
    name: ClassVar[str] = "linear-lbfgs"
    title: ClassVar[str] = "Logistic regression"
    summary: ClassVar[str] = "A linear head fitted with L-BFGS; C is chosen on the selection split."
    equation: ClassVar[str] = "min over W, b of mean -log softmax_y(W f + b) + |W|^2 / (2 C N)"
    source: ClassVar[str] = "Radford et al., ICML 2021, appendix A.3; Kumar et al., ICLR 2022"
    year: ClassVar[int | None] = 2021
    venue: ClassVar[str] = "ICML"
    paper: ClassVar[str] = "https://arxiv.org/abs/2103.00020"
    position: ClassVar[int] = 20
    colour: ClassVar[str | None] = "#b048d8"

    trainer: LogisticRegression = field(default=LogisticRegression())

    def recipe(self, models: Models) -> Recipe:
        """Return the recipe: the zero-shot model with a new head."""
        return models.tuned(models.zero_shot, self.trainer)
