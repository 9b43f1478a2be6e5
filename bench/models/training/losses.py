"""The terms of FLYP's and CaRot's losses: pure, differentiable functions of tensors.

Embeddings are L2-normalised by the caller and row i of both sides belongs together. Sources are
the official codes (docs/methods.md section 6 and section 10): locuslab/FLYP 215d5bb
``clip/loss.py`` and MLAI-Yonsei/CaRot c3e8bdc ``clip/loss.py``, ``src/models/carot_loss.py``;
`scripts/parity.py` compares value and gradients with them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div


def contrastive_loss(
    images: Tensor, texts: Tensor, scale: Tensor, smoothing: float = 0.0
) -> Tensor:
    """Mean of image-to-text and text-to-image cross-entropy over the batch, in nats (``ClipLoss``).

    The target is the diagonal: captions of the same class elsewhere in the batch count as
    negatives, as in FLYP's training loop.

    Parameters
    ----------
    images, texts : [B, D], L2-normalised; B >= 1.
    scale : exp(logit_scale) > 0, one number; trainable and not clamped in the official codes.
    smoothing : label smoothing s in [0, 1]: (1 - s) NLL + s x mean over the batch of -log p
        (CaRot's ``ls``, 0 in its published command).

    Returns a scalar >= 0: log B where all pairs are equally similar.
    """
    logits = scale * images @ texts.T
    target = torch.arange(len(logits), device=logits.device)
    to_texts = cross_entropy(logits, target, label_smoothing=smoothing)
    to_images = cross_entropy(logits.T, target, label_smoothing=smoothing)
    return (to_texts + to_images) / 2


def cross_covariance(visual_projection: Tensor, text_projection: Tensor) -> Tensor:
    """Frobenius norm of W_v W_t^T (CaRot's ``cross_fnorm`` term, before its coefficient).

    Parameters
    ----------
    visual_projection : W_v [image width, D], open_clip's ``visual.proj``.
    text_projection : W_t [text width, D], open_clip's ``text_projection``. Both multiply features
        from the right (features @ W), so that the common axis D is the last one.

    Returns a scalar >= 0. Where it is 0 its gradient is 0 (torch's subgradient).
    """
    norm: Tensor = torch.linalg.matrix_norm(visual_projection @ text_projection.T)
    return norm


def orthogonality(projection: Tensor) -> Tensor:
    """||W^T W - I||_F, the root taken (CaRot's ``l_orth_wv`` term, before its coefficient).

    Parameters
    ----------
    projection : W [width, D], open_clip's ``visual.proj``. CaRot leaves the text projection free.

    Returns a scalar >= 0, at least sqrt(D - width) if D > width. Where it is 0 (orthonormal
    columns) its gradient is 0; the official expression, a power of 1/2, gives NaN there.
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
    """CaRot's self-distillation term: cross-entropy of the student's rows under the teacher's.

    Mean over the batch of CE(teacher's image-to-text row, student's), plus the same for
    text-to-image rows; the two are summed, not halved, and there is no further temperature. No
    gradient reaches the teacher.

    Parameters
    ----------
    images, texts, teacher_images, teacher_texts : [B, D], L2-normalised.
    scale, teacher_scale : exp(logit_scale) of each, one number.

    Returns a scalar >= 0 in nats, at least the teacher's entropy over both directions. It stays
    finite where a probability underflows; the official code takes the log of a softmax.
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
    """`distillation` less the teacher's entropy: KL(teacher, student) summed over both directions.

    The form of the slides (docs/methods.md section 10): the same gradient, and 0 where both
    agree. Arguments as in `distillation`; returns a scalar >= 0 in nats.
    """
    student = scale * images @ texts.T
    teacher = _teacher(teacher_images, teacher_texts, teacher_scale)
    return _kl(teacher, student) + _kl(teacher.T, student.T)


def ema_momentum(
    step: int, steps: int, start: float = 0.05, end: float = 0.9, ramp: float = 0.2
) -> float:
    """CaRot's momentum m of the teacher, teacher = m teacher + (1 - m) student, at `step`.

    Linear from `start` at step 0 to `end` at the fraction `ramp` of all `steps`, then constant.
    The official code calls it after the optimiser's step, and only every 500 steps.

    Parameters
    ----------
    step : from 0. steps : of the whole training, > 0.
    start, end : in [0, 1]. ramp : in [0, 1]; 0 is `end` from the first step.
    """
    length = ramp * steps
    if step >= length:
        return end
    return (end - start) / length * step + start if step else start


def _teacher(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """The teacher's similarities [B, B], outside the graph."""
    with torch.no_grad():
        return scale * images @ texts.T


def _kl(teacher: Tensor, student: Tensor) -> Tensor:
    """Mean over rows of KL(softmax(teacher), softmax(student))."""
    return kl_div(
        student.log_softmax(dim=1),
        teacher.log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )
