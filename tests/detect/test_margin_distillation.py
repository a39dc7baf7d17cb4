"""Tests ``detect/margin_distillation.py``: a student's hyperplanes and what they are trained on."""

import numpy as np
import pytest
import torch

from splinelens.detect.margin_distillation import Targets, keep_losses, ridge_head, teacher_scores
from splinelens.features.inputs import Margins

MASK = torch.arange(5) < torch.tensor([5, 2, 3])[:, None]


@pytest.fixture
def head_and_margins(directed):
    """A head for margins that are linear in the inputs, the inputs (text, token, column) and the margins."""
    rng = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 5, 16, generator=rng)
    weight = torch.randn(16, len(directed.directions), generator=rng)
    sample = torch.randn(4000, 16, generator=rng)
    head = ridge_head(sample, sample @ weight + 2, directed, (0, 1)).eval()
    return head, inputs, inputs[MASK] @ weight + 2


def losses(head, inputs, margins, factors):
    half = torch.full((3,), 0.5)
    return keep_losses(head, inputs, MASK, Targets(margins, half, half, torch.ones(3)), factors)


def test_margins_that_are_linear_in_the_inputs_are_given_back(head_and_margins):
    head, inputs, margins = head_and_margins
    assert losses(head, inputs, margins, {"margins": 1.0})["margins"] < 0.01  # bfloat16 and the ridge


def test_directions_on_raw_inputs_give_the_margins_of_the_head(head_and_margins):
    head, inputs, _ = head_and_margins
    directions = head.directions()
    weight = torch.from_numpy(directions.weight).float().flatten(1)
    raw = inputs[MASK] @ weight.T + torch.from_numpy(directions.bias)
    assert (raw - head.margins(inputs[MASK])).abs().max() < 0.1  # bfloat16 and half precision


def test_only_losses_that_have_a_factor_are_computed(head_and_margins):
    head, inputs, margins = head_and_margins
    assert list(losses(head, inputs, margins, {"labels": 1.0, "relation": 0.1})) == ["relation", "labels"]
    assert losses(head, inputs, margins, {}) == {}


def test_padding_reaches_no_loss(head_and_margins):
    head, inputs, margins = head_and_margins
    factors = {"margins": 1.0, "relation": 1.0, "score": 1.0, "labels": 1.0}
    spoiled = inputs.masked_fill(~MASK[..., None], torch.nan)
    expected = losses(head, inputs, margins, factors)
    for name, value in losses(head, spoiled, margins, factors).items():
        assert value.item() == pytest.approx(expected[name].item()), name


def test_the_teacher_gives_no_score_to_a_text_without_tokens(directed):
    margins = Margins(np.ones((2, 3), np.float16), np.array([0, 2, 2]))
    first, empty = teacher_scores(directed, margins, [2, 0])
    assert 0 < first < 1
    assert empty == 0
