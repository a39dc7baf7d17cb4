"""The losses of distillation."""

import pytest
import torch

from splinelens.geometry.distillation import margin_match, relation_loss, token_divergence


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


def mask_of(*lengths, width=5):
    return torch.arange(width) < torch.tensor(lengths)[:, None]


def test_divergence_by_hand():
    teacher, student = torch.tensor([[[0.75, 0.25]]]).log(), torch.tensor([[[0.5, 0.5]]]).log()
    expected = 0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log()
    assert token_divergence(teacher, student, mask_of(1, width=1)) == pytest.approx(expected.item(), rel=1e-6)


def test_divergence_of_a_model_from_itself_is_0(rng):
    logits = torch.randn(2, 5, 300, generator=rng)
    assert token_divergence(logits, logits + 3, mask_of(5, 2)).abs() < 1e-6


def test_a_token_that_the_teacher_excludes_adds_nothing_to_the_divergence():
    teacher = torch.tensor([[[0.75, 0.25, 0.0]]]).log()
    student = torch.tensor([[[0.4, 0.4, 0.2]]]).log().requires_grad_()
    loss = token_divergence(teacher, student, mask_of(1, width=1))
    expected = 0.75 * torch.tensor(0.75 / 0.4).log() + 0.25 * torch.tensor(0.25 / 0.4).log()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, student)
    torch.testing.assert_close(gradient, torch.tensor([[[-0.35, 0.15, 0.2]]]))


def test_chunks_change_neither_the_divergence_nor_its_gradient(rng):
    teacher, student = torch.randn(2, 700, 7, generator=rng), torch.randn(2, 700, 7, generator=rng)
    student.requires_grad_()
    mask = mask_of(700, 650, width=700)
    p, q = teacher[mask].softmax(-1), student[mask].log_softmax(-1)
    plain = (p * (p.log() - q)).sum(-1).mean()
    (expected,) = torch.autograd.grad(plain, student)
    loss = token_divergence(teacher, student, mask)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-9)


def test_half_precision_is_summed_in_float32(rng):
    teacher, student = torch.randn(1, 5, 4096, generator=rng), torch.randn(1, 5, 4096, generator=rng)
    half = token_divergence(teacher.bfloat16(), student.bfloat16(), mask_of(5))
    assert half.dtype == torch.float32
    assert half == pytest.approx(token_divergence(teacher, student, mask_of(5)).item(), rel=1e-2)


def test_rotating_and_scaling_the_states_leaves_no_relation_loss(rng):
    states = torch.randn(2, 5, 8, generator=rng)
    rotation, _ = torch.linalg.qr(torch.randn(8, 8, generator=rng))
    assert relation_loss(states, 7 * states @ rotation, mask_of(5, 3)).abs() < 1e-6
    wider = torch.cat([states @ rotation, torch.zeros(2, 5, 4)], dim=2)
    assert relation_loss(states, wider, mask_of(5, 3)).abs() < 1e-6


def test_rotation_of_both_changes_no_relation_loss(rng):
    teacher, student = torch.randn(2, 5, 8, generator=rng), torch.randn(2, 5, 6, generator=rng)
    turned, _ = torch.linalg.qr(torch.randn(8, 8, generator=rng))
    loss = relation_loss(teacher, student, mask_of(5, 3))
    assert loss > 0.01
    assert relation_loss(teacher @ turned, student, mask_of(5, 3)) == pytest.approx(loss.item(), rel=1e-4)


def test_relation_loss_is_positive_unless_the_gram_matrices_are_proportional(rng):
    states = torch.randn(1, 5, 8, generator=rng)
    other = states.clone()
    other[0, 0] *= 1.5
    assert relation_loss(states, other, mask_of(5)) > 1e-3


def test_margins_match_themselves_and_zeros_miss_all(rng):
    margins = torch.randn(2, 5, 3, generator=rng)
    assert margin_match(margins, margins, mask_of(5, 2)) == 0
    assert margin_match(margins, torch.zeros(2, 5, 3), mask_of(5, 2)) == 1
    pooled = torch.ones(2, dtype=torch.bool)
    assert margin_match(9 * margins[:, 0], 9 * margins[:, 1], pooled) == pytest.approx(
        margin_match(margins[:, 0], margins[:, 1], pooled).item(), rel=1e-5
    )


@pytest.mark.parametrize("loss", [token_divergence, relation_loss, margin_match])
def test_padding_reaches_neither_a_loss_nor_its_gradient(loss, rng):
    teacher, student = torch.randn(2, 5, 8, generator=rng), torch.randn(2, 5, 8, generator=rng)
    mask = mask_of(5, 2)
    spoiled = student.masked_fill(~mask[..., None], torch.inf).requires_grad_()
    value = loss(teacher.masked_fill(~mask[..., None], torch.nan), spoiled, mask)
    assert value.item() == pytest.approx(loss(teacher, student, mask).item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(value, spoiled)
    assert gradient.isfinite().all()
    assert (gradient[~mask] == 0).all()


@pytest.mark.parametrize("loss", [token_divergence, relation_loss, margin_match])
def test_without_a_position_that_counts_a_loss_is_0(loss):
    states = torch.ones(1, 2, 3, requires_grad=True)
    assert loss(states, states, mask_of(0, width=2)) == 0
