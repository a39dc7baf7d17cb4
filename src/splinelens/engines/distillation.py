"""Losses that draw a student model to a teacher.

Pure functions on tensors. Texts are padded, and a mask says which positions count: padding never reaches a
loss. Sums are float32 whatever the number type. Source of the divergence and of the relation loss: LLaVA-KD,
arXiv:2410.16236; the match of margins is ours.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_CHUNK = 256
# Positions whose logits are in float32 at once: 50 MB each for teacher and student at 49,152 tokens.
_TINY = torch.finfo(torch.float32).tiny


def token_divergence(
    teacher: Float[Tensor, "*position vocabulary"],
    student: Float[Tensor, "*position vocabulary"],
    mask: Bool[Tensor, "*position"],
) -> Float[Tensor, ""]:
    """Kullback-Leibler divergence of the student's next-token distribution from the teacher's.

    ``sum_v p(v) ln(p(v) / q(v))``, p the teacher's softmax and q the student's, at temperature 1, as the mean
    over positions. The probabilities of a chunk of positions are computed again in the backward pass and not
    kept.

    Args:
        teacher: Logits; no gradient flows to them.
        student: Logits.
        mask: Positions that count.

    Returns:
        Nats per position; 0 where no position counts.

    Example:
        >>> logits = torch.tensor([[0.0, 0.0]])
        >>> token_divergence(logits, torch.tensor([[1.0986123, 0.0]]), torch.tensor([True]))
        tensor(0.1438)
    """
    expected, actual = teacher[mask].detach(), student[mask]
    total = actual.new_zeros((), dtype=torch.float32)
    for p, q in zip(expected.split(_CHUNK), actual.split(_CHUNK), strict=True):
        total = total + checkpoint(_divergence, p, q, use_reentrant=False)
    return total / max(1, len(actual))


def relation_loss(
    teacher: Float[Tensor, "text token width"],
    student: Float[Tensor, "text token narrow"],
    mask: Bool[Tensor, "text token"],
) -> Float[Tensor, ""]:
    """How much the similarities between a text's positions differ: 1 minus the cosine of the Gram matrices.

    ``R = Z Z^T`` holds the products of a text's states. The loss is 0 exactly where one Gram matrix is a
    positive multiple of the other, so the widths may differ and a rotation of the states changes nothing.

    Args:
        teacher: States; no gradient flows to them.
        student: States.
        mask: Positions that count; a text without any is left out.

    Returns:
        Mean over texts, in [0, 1].

    Example:
        >>> states = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> relation_loss(states, states[..., :1], torch.ones(1, 2, dtype=torch.bool))
        tensor(0.2929)
    """
    counts = mask.any(dim=1)
    expected, actual = _gram(teacher.detach(), mask)[counts], _gram(student, mask)[counts]
    cosine = nn.functional.cosine_similarity(expected, actual, dim=1)
    return (1 - cosine).sum() / max(1, len(cosine))


def margin_match(
    teacher: Float[Tensor, "*position margin"],
    student: Float[Tensor, "*position margin"],
    mask: Bool[Tensor, "*position"],
) -> Float[Tensor, ""]:
    """Mean squared difference of signed margins, relative to the teacher's mean square.

    It is 0 where the student has the teacher's margins, and 1 for a student whose margins are all 0. Margins
    may be those of tokens or pooled over a text. Where the models' margins are to other hyperplanes, the
    student's are first mapped to the teacher's by a linear map that is trained along.

    Args:
        teacher: Margins; no gradient flows to them.
        student: Margins to the same hyperplanes.
        mask: Positions that count.

    Example:
        >>> margins = torch.tensor([[1.0, -2.0]])
        >>> margin_match(margins, margins / 2, torch.tensor([True]))
        tensor(0.2500)
    """
    expected, actual = teacher[mask].detach().float(), student[mask].float()
    return (expected - actual).square().sum() / expected.square().sum().clamp_min(_TINY)


def _divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """The sum over positions."""
    p, q = teacher.float().log_softmax(dim=-1), student.float().log_softmax(dim=-1)
    return nn.functional.kl_div(q, p, reduction="sum", log_target=True)


def _gram(states: Tensor, mask: Tensor) -> Tensor:
    """The Gram matrix of each text as a vector, 0 at positions that do not count."""
    states = torch.where(mask[..., None], states.float(), 0.0)
    return (states @ states.mT).flatten(1)
