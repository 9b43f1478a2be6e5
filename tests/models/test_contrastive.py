"""FLYP's and CaRot's terms against hand-computed values and their own invariants."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from bench.models.training.losses import (
    contrastive_loss,
    cross_covariance,
    distillation,
    ema_momentum,
    kl_distillation,
    orthogonality,
)

B, D = 6, 4
SEEDS = st.integers(0, 1000)
STEPS = 25_030


def normal(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def embeddings(seed: int) -> tuple[Tensor, Tensor]:
    return normalize(normal(seed, B, D), dim=1), normalize(normal(seed + 5000, B, D), dim=1)


def scale(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@given(SEEDS, st.floats(0, 100), st.floats(0, 1))
def test_contrastive_loss_equals_the_formula(seed, size, smoothing):
    images, texts = embeddings(seed)
    logits = size * images @ texts.T
    expected = 0.0
    for rows in (logits, logits.T):
        log_p = rows - rows.logsumexp(dim=1, keepdim=True)
        expected -= (1 - smoothing) * float(log_p.diagonal().mean()) / 2
        expected -= smoothing * float(log_p.mean()) / 2
    assert contrastive_loss(images, texts, scale(size), smoothing) == pytest.approx(expected)


@given(SEEDS)
def test_contrastive_loss_is_symmetric_and_blind_to_the_order_of_pairs(seed):
    images, texts = embeddings(seed)
    loss, order = contrastive_loss(images, texts, scale(9)), torch.randperm(B)
    assert contrastive_loss(texts, images, scale(9)) == pytest.approx(float(loss))
    assert contrastive_loss(images[order], texts[order], scale(9)) == pytest.approx(float(loss))
    assert contrastive_loss(images, texts, scale(0)) == pytest.approx(math.log(B))


def test_a_caption_of_the_same_class_is_a_negative():
    images = torch.eye(2, dtype=torch.float64)
    texts = images[[0, 0]]
    assert contrastive_loss(images[[0, 0]], texts, scale(100)) == pytest.approx(math.log(2))


def test_contrastive_gradients_are_those_of_the_value():
    inputs = [t.requires_grad_() for t in (*embeddings(3), scale(5))]
    assert torch.autograd.gradcheck(lambda *x: contrastive_loss(*x, smoothing=0.1), inputs)


def test_cross_covariance_is_the_norm_of_the_product():
    visual, text = normal(0, 7, D), normal(1, 5, D)
    product = [sum(float(v * t) for v, t in zip(a, b, strict=True)) for a in visual for b in text]
    assert cross_covariance(visual, text) == pytest.approx(math.hypot(*product))
    inputs = (visual.requires_grad_(), text.requires_grad_())
    assert torch.autograd.gradcheck(cross_covariance, inputs)


def test_orthogonality_is_the_distance_of_the_gram_matrix_from_the_identity():
    stretched = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    assert orthogonality(stretched) == pytest.approx(math.hypot(3, 8))
    assert orthogonality(normal(0, 2, 6)) >= math.sqrt(6 - 2)  # too few rows to be orthonormal
    assert torch.autograd.gradcheck(orthogonality, (normal(0, 7, D).requires_grad_(),))


def test_norms_of_zero_have_gradient_zero():
    columns = torch.eye(7, D, dtype=torch.float64).requires_grad_()
    torch.autograd.backward(orthogonality(columns))
    assert orthogonality(columns) == 0
    assert torch.equal(columns.grad, torch.zeros(7, D))
    visual, text = torch.zeros(7, D).requires_grad_(), torch.ones(5, D).requires_grad_()
    torch.autograd.backward(cross_covariance(visual, text))
    assert torch.equal(visual.grad, torch.zeros(7, D))
    assert torch.equal(text.grad, torch.zeros(5, D))


@given(SEEDS)
def test_kl_is_distillation_less_the_entropy_of_the_teacher(seed):
    student, teacher = (*embeddings(seed), scale(6)), (*embeddings(seed + 1), scale(3))
    logits = 3 * teacher[0] @ teacher[1].T
    entropies = [torch.distributions.Categorical(logits=x).entropy() for x in (logits, logits.T)]
    entropy = float(sum(e.mean() for e in entropies))
    kl = float(kl_distillation(*student, *teacher))
    assert distillation(*student, *teacher) == pytest.approx(kl + entropy)
    assert kl > 0
    assert kl_distillation(*student, *student) == pytest.approx(0, abs=1e-12)
    assert distillation(*teacher, *teacher) == pytest.approx(entropy)


@pytest.mark.parametrize("term", [distillation, kl_distillation])
def test_distillation_moves_the_student_alone_and_nothing_where_both_agree(term):
    student = [t.clone().requires_grad_() for t in (*embeddings(0), scale(6))]
    teacher = [t.clone().requires_grad_() for t in (*embeddings(1), scale(3))]
    torch.autograd.backward(term(*student, *teacher))
    assert all(t.grad is None for t in teacher)
    assert all(t.grad.abs().sum() > 0 for t in student)
    same = [t.detach().clone().requires_grad_() for t in student]
    torch.autograd.backward(term(*same, *student))
    assert all(t.grad.abs().max() < 1e-12 for t in same)
    moved = [t.detach().clone().requires_grad_() for t in student]
    fixed = [t.detach() for t in teacher]
    assert torch.autograd.gradcheck(lambda *x: term(*x, *fixed), moved)


@pytest.mark.parametrize("term", [distillation, kl_distillation])
def test_distillation_stays_finite_where_probabilities_underflow(term):
    images = torch.eye(2, 3).requires_grad_()
    found = term(images, images.detach()[[1, 0]], torch.tensor(1e4), -images, images, scale(1e4))
    torch.autograd.backward(found)
    assert found.isfinite()
    assert images.grad.isfinite().all()


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.05), (500, 0.1349), (1000, 0.2198), (2500, 0.4745), (5000, 0.8990), (5006, 0.9)],
)
def test_ema_momentum_of_the_published_run(step, expected):
    assert ema_momentum(step, STEPS) == pytest.approx(expected, abs=5e-5)


@given(st.integers(1, 10**6), st.floats(0, 1), st.data())
def test_ema_momentum_rises_from_start_to_end_and_stays(steps, ramp, data):
    step = data.draw(st.integers(0, steps))
    m = ema_momentum(step, steps, 0.05, 0.9, ramp)
    assert 0.05 <= m <= 0.9 + 1e-12
    assert m <= ema_momentum(step + 1, steps, 0.05, 0.9, ramp) + 1e-12
    assert ema_momentum(steps, steps, 0.05, 0.9, ramp) == 0.9
