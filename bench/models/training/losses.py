"""The terms of FLYP's and CaRot's losses, as pure, differentiable functions of tensors.

For models pretrained with the sigmoid loss, SigLIP's, there is a counterpart of each.

Embeddings must be L2-normalised by the caller; row i of the images and row i of the texts are a
pair. Sources are the official codes (docs/methods.md section 6 and section 10): locuslab/FLYP
215d5bb ``clip/loss.py`` and MLAI-Yonsei/CaRot c3e8bdc ``clip/loss.py`` and
``src/models/carot_loss.py``. `scripts/parity.py` compares values and gradients with them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, kl_div


def contrastive_loss(
    images: Tensor, texts: Tensor, scale: Tensor, smoothing: float = 0.0
) -> Tensor:
    """Return the mean of image-to-text and text-to-image cross-entropy, in nats (``ClipLoss``).

    Pairs are on the diagonal. Other captions of the same class in the batch count as negatives, as
    in FLYP's training loop.

    Parameters
    ----------
    images, texts : [B, D], L2-normalised; B >= 1.
    scale : exp(logit_scale) > 0, one number; trainable and not clamped in the official codes.
    smoothing : label smoothing s in [0, 1]: (1 - s) NLL + s x mean over the batch of -log p
        (CaRot's ``ls``, 0 in its published command).

    Returns a scalar >= 0; it is log B if all pairs are equally similar.

    Examples
    --------
    >>> import torch
    >>> from bench.models.training.losses import contrastive_loss
    >>> pairs = torch.eye(2)
    >>> [contrastive_loss(pairs, pairs, torch.tensor(scale)) for scale in (0.0, 9.0)]  # 0: log 2
    [tensor(0.6931), tensor(0.0001)]
    """
    logits = scale * images @ texts.T
    target = torch.arange(len(logits), device=logits.device)
    to_texts = cross_entropy(logits, target, label_smoothing=smoothing)
    to_images = cross_entropy(logits.T, target, label_smoothing=smoothing)
    return (to_texts + to_images) / 2


def sigmoid_loss(
    images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, smoothing: float = 0.0
) -> Tensor:
    """Return SigLIP's loss: every pair of the batch is classified as matching or not, in nats.

    The sum over all B x B pairs of -log sigmoid(z (scale u.v + bias)), z = 1 on the diagonal and -1
    elsewhere, divided by B (Zhai et al., "Sigmoid loss for language image pre-training", ICCV 2023,
    algorithm 1; ``SigLipLoss`` of open_clip).

    Parameters
    ----------
    images, texts : [B, D], L2-normalised; B >= 1.
    scale, bias : exp(logit_scale) > 0 and logit_bias, one number each.
    smoothing : label smoothing s in [0, 1]: a target y of 0 or 1 becomes (1 - s) y + s / 2.

    Returns a scalar >= 0; it is B log 2 where all logits are 0.

    Examples
    --------
    >>> import torch
    >>> from bench.models.training.losses import sigmoid_loss
    >>> pairs, zero = torch.eye(2), torch.tensor(0.0)
    >>> sigmoid_loss(pairs, pairs, zero, zero), sigmoid_loss(pairs, pairs, zero + 4, zero - 2)
    (tensor(1.3863), tensor(0.2539))
    """
    logits = scale * images @ texts.T + bias
    target = (1 - smoothing) * torch.eye(len(logits), device=logits.device) + smoothing / 2
    return _binary(logits, target.to(logits.dtype))


def cross_covariance(visual_projection: Tensor, text_projection: Tensor) -> Tensor:
    """Return ||W_v W_t^T||_F (CaRot's ``cross_fnorm`` term without its coefficient).

    Parameters
    ----------
    visual_projection : W_v [image width, D], open_clip's ``visual.proj``.
    text_projection : W_t [text width, D], open_clip's ``text_projection``. Both are applied as
        features @ W, so the common axis D is the last one.

    Returns a scalar >= 0. If it is 0, its gradient is 0 (torch's subgradient).

    Examples
    --------
    >>> import torch
    >>> from bench.models.training.losses import cross_covariance
    >>> cross_covariance(torch.eye(2), torch.tensor([[3.0, 4.0]]))
    tensor(5.)
    """
    norm: Tensor = torch.linalg.matrix_norm(visual_projection @ text_projection.T)
    return norm


def orthogonality(projection: Tensor) -> Tensor:
    """Return ||W^T W - I||_F, not squared (CaRot's ``l_orth_wv`` term without its coefficient).

    Parameters
    ----------
    projection : W [width, D], open_clip's ``visual.proj``. CaRot does not penalise the text
        projection.

    Returns a scalar >= 0, at least sqrt(D - width) if D > width. If it is 0 (orthonormal columns),
    its gradient is 0; the official expression, a power of 1/2, has NaN gradients there.

    Examples
    --------
    >>> import torch
    >>> from bench.models.training.losses import orthogonality
    >>> orthogonality(torch.eye(3, 2)), orthogonality(2 * torch.eye(3, 2))
    (tensor(0.), tensor(4.2426))
    """
    gram = projection.T @ projection
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    norm: Tensor = torch.linalg.matrix_norm(gram - identity)
    return norm


def distillation(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    teacher_images: Tensor,
    teacher_texts: Tensor,
    teacher_scale: Tensor,
) -> Tensor:
    """Return CaRot's self-distillation term, a cross-entropy between teacher and student.

    It is the mean over the batch of CE(teacher's image-to-text row, student's), plus the same for
    text-to-image rows. The two are summed, not averaged, and there is no further temperature. No
    gradient flows into the teacher.

    Parameters
    ----------
    images, texts, teacher_images, teacher_texts : [B, D], L2-normalised.
    scale, teacher_scale : exp(logit_scale) of each, one number.

    Returns a scalar >= 0 in nats, at least the teacher's entropy summed over both directions. It is
    finite even if a probability underflows, unlike the official code, which takes the log of a
    softmax.

    Examples
    --------
    >>> import torch
    >>> from bench.models.training.losses import distillation
    >>> student = teacher = (torch.eye(2), torch.eye(2), torch.tensor(0.0))
    >>> distillation(*student, *teacher)  # 2 log 2, the teacher's entropy in both directions
    tensor(1.3863)
    """
    student = scale * images @ texts.T
    teacher = _teacher(teacher_images, teacher_texts, teacher_scale)
    to_texts = cross_entropy(student, teacher.softmax(dim=1))
    to_images = cross_entropy(student.T, teacher.T.softmax(dim=1))
    return to_texts + to_images


def kl_distillation(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    teacher_images: Tensor,
    teacher_texts: Tensor,
    teacher_scale: Tensor,
) -> Tensor:
    """Return KL(teacher, student) summed over both directions: `distillation` minus an entropy.

    This is the form of the slides (docs/methods.md section 10). It is `distillation` minus the
    teacher's entropy, so it has the same gradient, and it is 0 if student and teacher agree.
    Arguments are as in `distillation`. Returns a scalar >= 0 in nats.

    Examples
    --------
    >>> import torch
    >>> from bench.models.training.losses import kl_distillation
    >>> student = teacher = (torch.eye(2), torch.eye(2), torch.tensor(5.0))
    >>> kl_distillation(*student, *teacher)
    tensor(0.)
    """
    student = scale * images @ texts.T
    teacher = _teacher(teacher_images, teacher_texts, teacher_scale)
    return _kl(teacher, student) + _kl(teacher.T, student.T)


def sigmoid_distillation(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    bias: Tensor,
    teacher_images: Tensor,
    teacher_texts: Tensor,
    teacher_scale: Tensor,
    teacher_bias: Tensor,
) -> Tensor:
    """Return the counterpart of `distillation` for models trained with `sigmoid_loss`.

    It is the cross-entropy between the teacher's and the student's probabilities that a pair
    matches, summed over all pairs and divided by B. As `distillation` has both directions and
    `contrastive_loss` their mean, it counts twice. No gradient flows into the teacher. Returns a
    scalar >= 0 in nats.

    Examples
    --------
    >>> import torch
    >>> from bench.models.training.losses import sigmoid_distillation
    >>> student = teacher = (torch.eye(2), torch.eye(2), torch.tensor(0.0), torch.tensor(0.0))
    >>> sigmoid_distillation(*student, *teacher)  # 4 log 2
    tensor(2.7726)
    """
    student = scale * images @ texts.T + bias
    teacher = _teacher(teacher_images, teacher_texts, teacher_scale, teacher_bias)
    return 2 * _binary(student, teacher.sigmoid())


def sigmoid_kl_distillation(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    bias: Tensor,
    teacher_images: Tensor,
    teacher_texts: Tensor,
    teacher_scale: Tensor,
    teacher_bias: Tensor,
) -> Tensor:
    """Return `sigmoid_distillation` minus the teacher's entropy: 0 if student and teacher agree.

    Returns a scalar >= 0 in nats, with the same gradient.

    Examples
    --------
    >>> import torch
    >>> from bench.models.training.losses import sigmoid_kl_distillation
    >>> student = teacher = (torch.eye(2), torch.eye(2), torch.tensor(5.0), torch.tensor(-2.0))
    >>> sigmoid_kl_distillation(*student, *teacher)
    tensor(0.)
    """
    student = scale * images @ texts.T + bias
    teacher = _teacher(teacher_images, teacher_texts, teacher_scale, teacher_bias)
    matches = teacher.sigmoid()
    return 2 * (_binary(student, matches) - _binary(teacher, matches))


def ema_momentum(
    step: int, steps: int, start: float = 0.05, end: float = 0.9, ramp: float = 0.2
) -> float:
    """Return the momentum m of CaRot's teacher update at `step`.

    The update is teacher = m teacher + (1 - m) student. m rises linearly from `start` at step 0 to
    `end` at the fraction `ramp` of all `steps`, and is constant afterwards. The official code
    updates the teacher after the optimiser's step, and only every 500 steps.

    Parameters
    ----------
    step : the current step, from 0.
    steps : number of steps of the training run, > 0.
    start, end : the first and the last momentum, in [0, 1].
    ramp : length of the rise as a fraction of all steps, in [0, 1]; 0 uses `end` from step 0.

    Examples
    --------
    >>> from bench.models.training.losses import ema_momentum
    >>> [round(ema_momentum(step, steps=100), 3) for step in (0, 10, 20, 99)]
    [0.05, 0.475, 0.9, 0.9]
    """
    length = ramp * steps
    if step >= length:
        return end
    return (end - start) / length * step + start if step else start


def _teacher(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    """Return the teacher's similarities [B, B], without gradients."""
    with torch.no_grad():
        return scale * images @ texts.T + bias


def _binary(logits: Tensor, target: Tensor) -> Tensor:
    """Return the binary cross-entropy of pairs [B, B], summed and divided by B."""
    total: Tensor = binary_cross_entropy_with_logits(logits, target, reduction="sum")
    return total / len(logits)


def _kl(teacher: Tensor, student: Tensor) -> Tensor:
    """Return the mean over rows of KL(softmax(teacher), softmax(student))."""
    return kl_div(
        student.log_softmax(dim=1),
        teacher.log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )
