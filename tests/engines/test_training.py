"""Tests ``engines/training.py``: stages, checkpoints and batches."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from splinelens.engines.training import Batches, Stage, Trainer
from splinelens.errors import CannotResume, Diverged

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

    trainer = Trainer(student, head, STAGES, rate=rate, checkpoint=file, request={"rate": rate})
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


@pytest.mark.parametrize(
    ("lost", "metadata"),
    [
        ("none", None),
        ("none", {"step": "x"}),
        ("none", {"step": "2.5"}),
        ("weight.student.gain", {}),
        ("exp_avg_sq.student.gain", {}),
        ("random", {}),
    ],
)
def test_a_checkpoint_that_lacks_something_is_refused(lost, metadata, tmp_path):
    file = tmp_path / "file"
    with pytest.raises(KeyboardInterrupt):
        trained(file, stop=2, save_every_s=0.0)
    with safe_open(file, "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in {*opened.keys()} - {lost}}
        metadata = None if metadata is None else opened.metadata() | metadata
    save_file(tensors, file, metadata)
    with pytest.raises(CannotResume, match=r"is damaged .*remove it to start again"):
        trained(file)


def test_a_student_without_gains_is_trained_in_the_stage_of_gains(tmp_path):
    student = torch.nn.Linear(2, 2, bias=False)
    before = student.weight.detach().clone()

    def losses(step, factors):
        return {"fit": student(torch.ones(1, 2)).square().sum()}, 1

    request = {"rate": 0.1}
    trainer = Trainer(student, None, STAGES[:1], rate=0.1, checkpoint=tmp_path / "file", request=request)
    trainer.run(losses, report=lambda line: None)
    assert not torch.equal(student.weight, before)


def test_a_run_that_is_stopped_after_its_last_step_trains_no_more(tmp_path):
    whole = trained(tmp_path / "file")
    continued = trained(tmp_path / "file", stop=0)
    for name, values in whole.state_dict().items():
        assert torch.equal(values, continued.state_dict()[name]), name


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
