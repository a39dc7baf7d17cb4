"""The losses of distillation."""

import pytest
import torch

from splinelens.engines.distillation import (
    Batches,
    Stage,
    Trainer,
    margin_match,
    relation_loss,
    token_divergence,
)
from splinelens.errors import CannotResume, Diverged


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


STAGES = (Stage("match", 3, {"fit": 1.0}, gains_only=True), Stage("all", 5, {"fit": 1.0, "other": 0.5}))


class Line(torch.nn.Module):
    """A matrix with a 0, and a gain."""

    def __init__(self):
        super().__init__()
        self.matrix = torch.nn.Parameter(torch.tensor([[1.0, 0.0], [0.5, 2.0]]))
        self.gain = torch.nn.Parameter(torch.ones(2))

    def forward(self, x):
        return (x @ self.matrix.T) * self.gain


def trained(file, student=None, stop=None, bad=None, rate=0.1, save_every_s=300.0, lines=None):
    """A student trained with losses of random inputs; ``stop`` is the step of an interruption."""
    student = student or Line()
    head = torch.nn.Linear(2, 1)
    torch.nn.init.ones_(head.weight)

    def losses(step, factors):
        if step == stop:
            raise KeyboardInterrupt
        out = head(student(torch.rand(4, 2)))
        values = {"fit": (out - 3).square().mean(), "other": out.abs().mean()}
        if step == bad:
            values["fit"] = values["fit"] * torch.inf
        return {name: values[name] for name in factors}, 8

    trainer = Trainer(
        student, head, STAGES, rate=rate, head_rate=rate, checkpoint=file, request={"rate": rate}
    )
    trainer.run(losses, report=(lines if lines is not None else []).append, save_every_s=save_every_s)
    return student


def test_a_run_that_is_stopped_and_continued_has_the_weights_of_one_that_was_not(tmp_path):
    whole = trained(tmp_path / "whole").state_dict()
    torch.default_generator.manual_seed(0)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "parts", stop=5, save_every_s=0.0)
    torch.rand(7)  # the random state comes from the checkpoint
    continued = trained(tmp_path / "parts").state_dict()
    for name, values in whole.items():
        assert torch.equal(values, continued[name]), name


def test_in_a_stage_of_gains_matrices_stay_as_they_are(tmp_path):
    student = Line()
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "file", student, stop=3)
    assert torch.equal(student.matrix, Line().matrix)
    assert not torch.equal(student.gain, Line().gain)


def test_weights_that_are_0_stay_0(tmp_path):
    student = trained(tmp_path / "file")
    assert (student.matrix == 0).tolist() == [[False, True], [False, False]]


def test_numbers_that_are_not_finite_stop_a_run_and_keep_the_state_before(tmp_path):
    file, student = tmp_path / "file", Line()
    with pytest.raises(Diverged, match=r"step 5 of 8 .*fit inf.*kept in .*file; start again with a lower"):
        trained(file, student, bad=4)
    kept = Line()
    with pytest.raises(KeyboardInterrupt):
        trained(file, kept, stop=4)
    assert student.matrix.isfinite().all()
    assert torch.equal(kept.matrix, student.matrix)


def test_a_checkpoint_of_other_settings_or_a_damaged_one_is_refused(tmp_path):
    file = tmp_path / "file"
    with pytest.raises(KeyboardInterrupt):
        trained(file, stop=2, save_every_s=0.0)
    with pytest.raises(CannotResume, match=r"other settings: rate was 0\.1 and is 0\.2"):
        trained(file, rate=0.2)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(CannotResume, match=r"is damaged .*remove it to start again"):
        trained(file)


def test_the_last_step_is_reported_with_losses_rate_and_time_left(tmp_path):
    lines = []
    trained(tmp_path / "file", lines=lines)
    assert len(lines) == 1
    assert lines[0].startswith("step 8 of 8 (all): fit ")
    assert lines[0].endswith("tokens/s, 0 min left")


def test_batches_hold_every_row_once_an_epoch_and_no_more_tokens_than_allowed():
    lengths = torch.randint(1, 50, (200,), generator=torch.Generator().manual_seed(0)).tolist()
    batches, again = Batches(lengths, 128, seed=3), Batches(lengths, 128, seed=3)
    orders = []
    for epoch in range(2):
        rows = [batches.at(epoch * len(batches) + step) for step in range(len(batches))]
        assert sorted(row for batch in rows for row in batch) == list(range(200))
        assert all(len(batch) * max(lengths[row] for row in batch) <= 128 for batch in rows)
        orders.append([tuple(batch) for batch in rows])
        assert all((again.at(epoch * len(batches) + step) == batch).all() for step, batch in enumerate(rows))
    assert orders[0] != orders[1]
