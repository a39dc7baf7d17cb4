"""Losses that draw a student model to a teacher, and the loop that trains it in stages.

The losses are pure functions on tensors. Texts are padded, and a mask says which positions count: padding
never reaches a loss. Sums are float32 whatever the number type. Source of the divergence, of the relation
loss and of the three stages: LLaVA-KD, arXiv:2410.16236; the match of margins is ours.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from splinelens.anatomy import anatomy_of
from splinelens.engines.torch import Prompt, run_tokens
from splinelens.errors import CannotResume, Diverged
from splinelens.files import atomic_write, differences

_CHUNK = 64
# Positions whose logits are in float32 at once: 13 MB each for teacher and student at 49,152 tokens.
_TINY = torch.finfo(torch.float32).tiny
_LARGEST_NORM = 1.0
_WARM_UP = 30
_LEAST_RATE = 0.02
_REPORT_S = 10.0
_STATE = ("step", "exp_avg", "exp_avg_sq")  # of AdamW

Losses = Callable[[int, Mapping[str, float]], tuple[dict[str, Tensor], int]]
"""From a step and the factors of its stage to the losses of its batch, by name, and its number of tokens."""


def token_divergence(
    teacher: Float[Tensor, "*position vocabulary"],
    student: Float[Tensor, "*position vocabulary"],
    mask: Bool[Tensor, "*position"],
) -> Float[Tensor, ""]:
    """Kullback-Leibler divergence of the student's next-token distribution from the teacher's.

    ``sum_v p(v) ln(p(v) / q(v))``, p the teacher's softmax and q the student's, at temperature 1, as the mean
    over positions. Its gradient ``q - p`` is computed beside it, chunk by chunk in float32, and kept in the
    student's number type: 3 to 6 times faster than what autograd derives.

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
    return _Divergence.apply(teacher[mask], student[mask]) / max(1, int(mask.sum()))


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


class _Stop(Exception):
    """Raised at the last layer that is read."""


def mlp_inputs(
    model: nn.Module, ids: Int[Tensor, "text token"], prompt: Prompt, layers: Sequence[int]
) -> Float[Tensor, "text token column"]:
    """What the MLPs of some layers read of every token, one layer after the other, with gradients.

    Args:
        model: A base model of transformers.
        ids: Token ids, padded right.
        prompt: What stands before each text.
        layers: The layers, rising; later ones do not run.
    """
    states: list[Tensor] = []

    def read(_module: nn.Module, args: tuple) -> None:
        states.append(args[0].reshape(*ids.shape, -1))
        if len(states) == len(layers):
            raise _Stop

    anatomy, rows = anatomy_of(model), len(ids)
    handles = [anatomy.gate(layer).register_forward_pre_hook(read) for layer in layers]
    positions = (torch.arange(ids.shape[1], device=ids.device) + prompt.length).expand(rows, -1)
    try:
        run_tokens(model, ids, positions, cache=prompt.cache(rows), gradients=True)
    except _Stop:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return torch.cat(states, dim=-1)


@dataclass(frozen=True)
class Stage:
    """Steps with the same losses.

    Attributes:
        name: For the progress.
        steps: How many.
        factors: What each loss is multiplied with in the sum; others are not computed.
        gains_only: Of the student only vectors are trained: gains and biases.
    """

    name: str
    steps: int
    factors: Mapping[str, float]
    gains_only: bool = False


class Batches:
    """Rows of similar length, cut into batches of so many tokens, in another random order in each epoch.

    The batch of a step follows from the seed, so a run that is continued reads the same ones.

    Example:
        >>> batches = Batches([3, 9, 4], batch_tokens=9, seed=0)
        >>> len(batches), sorted(map(len, (batches.at(0), batches.at(1))))
        (2, [1, 2])
    """

    def __init__(self, lengths: Sequence[int], batch_tokens: int, seed: int):
        self._seed = seed
        noise = np.random.default_rng([seed, 1]).normal(scale=0.1, size=len(lengths))
        self._batches: list[np.ndarray] = []
        batch: list[int] = []
        longest = 0
        for row in np.argsort(np.log(np.maximum(lengths, 1)) + noise).tolist():
            longest = max(longest, lengths[row])
            if batch and (len(batch) + 1) * longest > batch_tokens:
                self._batches.append(np.array(batch))
                batch, longest = [], lengths[row]
            batch.append(row)
        self._batches.append(np.array(batch))

    def __len__(self) -> int:
        return len(self._batches)

    def at(self, step: int) -> np.ndarray:
        """The rows of a step."""
        epoch, position = divmod(step, len(self))
        order = np.random.default_rng([self._seed, 2, epoch]).permutation(len(self))
        return self._batches[order[position]]


class Trainer:
    """Trains modules in stages, from one checkpoint to the next.

    The optimizer is AdamW, with a learning rate that is warmed up over 30 steps and then falls linearly.
    Weights of the student's matrices that are 0 when training begins stay 0: a pruned model stays pruned.

    Args:
        student: The model; those of its parameters that require gradients are trained.
        head: What is trained beside it, in all stages; None for nothing.
        stages: The stages.
        rate: Learning rate of the student.
        head_rate: Of the head.
        checkpoint: Where the state is kept while training; an existing one is continued.
        request: What decides the weights, as plain JSON values.

    Attributes:
        step: Steps that are done.

    Raises:
        CannotResume: The checkpoint is of another request.
    """

    def __init__(
        self,
        student: nn.Module,
        head: nn.Module | None,
        stages: Sequence[Stage],
        *,
        rate: float,
        head_rate: float,
        checkpoint: Path,
        request: dict[str, Any],  # Any: plain JSON values
    ):
        trained = {name: each for name, each in student.named_parameters() if each.requires_grad}
        self._matrices = [each for each in trained.values() if each.ndim > 1]
        self._zeros = [(each, each == 0) for each in self._matrices if bool((each == 0).any())]
        of_head = dict(head.named_parameters()) if head is not None else {}
        self._parameters = {f"student.{name}": each for name, each in trained.items()}
        self._parameters |= {f"head.{name}": each for name, each in of_head.items()}
        self._stages = stages
        self.total = sum(stage.steps for stage in stages)
        groups = [{"params": list(trained.values()), "weight_decay": 0.0, "peak": rate}]
        groups += [{"params": list(of_head.values()), "weight_decay": 0.1, "peak": head_rate}] if head else []
        self._optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
        self._file, self._request, self.step = checkpoint, request, 0
        if checkpoint.is_file():
            self._resume()

    def run(self, losses: Losses, *, report: Callable[[str], None], save_every_s: float = 300.0) -> None:
        """Train from the current step to the last.

        Args:
            losses: Computes the losses of a step.
            report: Called with a line on the progress, at most every 10 seconds.
            save_every_s: Seconds from one checkpoint to the next.

        Raises:
            Diverged: A loss or gradient is not finite; the checkpoint holds the state before that step.
        """
        first, tokens = self.step, 0
        started = reported = saved = perf_counter()
        while self.step < self.total:
            stage = self._stage()
            values, count = losses(self.step, stage.factors)
            self._update(stage, values)
            tokens, now = tokens + count, perf_counter()
            if now - reported >= _REPORT_S or self.step == self.total:
                shown = ", ".join(f"{name} {value.item():.4f}" for name, value in values.items())
                left_s = (now - started) / (self.step - first) * (self.total - self.step)
                report(
                    f"step {self.step:,} of {self.total:,} ({stage.name}): {shown}; "
                    f"{tokens / (now - started):,.0f} tokens/s, {math.ceil(left_s / 60)} min left"
                )
                reported = now
            if now - saved >= save_every_s:
                self.save()
                saved = perf_counter()

    def save(self) -> None:
        """Write weights, optimizer and random state to the checkpoint, which is replaced in one go."""
        from safetensors.torch import save_file

        tensors = {"random": torch.get_rng_state()}
        for name, parameter in self._parameters.items():
            tensors[f"weight.{name}"] = parameter.detach()
            for key, value in self._optimizer.state.get(parameter, {}).items():
                tensors[f"{key}.{name}"] = value
        metadata = {"request": json.dumps(self._request), "step": str(self.step)}
        with atomic_write(self._file) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)

    def _resume(self) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._file, framework="pt") as file:
                metadata = file.metadata()
                if different := differences(json.loads(metadata["request"]), self._request):
                    raise CannotResume(
                        f"{self._file} holds a run with other settings: {'; '.join(different)}. Repeat its "
                        "command, or remove the file to start again"
                    )
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        except (SafetensorError, KeyError, ValueError) as error:
            raise CannotResume(f"{self._file} is damaged ({error}); remove it to start again") from error
        for name, parameter in self._parameters.items():
            parameter.data.copy_(tensors[f"weight.{name}"])
            state = {key: tensors[f"{key}.{name}"] for key in _STATE if f"{key}.{name}" in tensors}
            if state:
                self._optimizer.state[parameter] = state
        torch.set_rng_state(tensors["random"])
        self.step = int(metadata["step"])

    def _stage(self) -> Stage:
        """The stage of the current step."""
        end = 0
        for stage in self._stages:
            end += stage.steps
            if self.step < end:
                break
        for matrix in self._matrices:
            matrix.requires_grad_(not stage.gains_only)
        return stage

    def _update(self, stage: Stage, values: Mapping[str, Tensor]) -> None:
        """One step of the optimizer, unless a loss or the gradient is not finite."""
        loss = torch.stack([stage.factors[name] * value for name, value in values.items()]).sum()
        self._optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._parameters.values(), _LARGEST_NORM)
        if not bool(loss.isfinite() & norm.isfinite()):
            self.save()
            shown = ", ".join(f"{name} {value.item():.4g}" for name, value in values.items())
            raise Diverged(
                f"step {self.step + 1:,} of {self.total:,} gives numbers that are not finite ({shown}; "
                f"gradient {norm.item():.4g}). The state before it is kept in {self._file}; start again "
                "with a lower rate"
            )
        share = 1 - self.step / self.total
        factor = min(1.0, (self.step + 1) / _WARM_UP) * max(_LEAST_RATE, share)
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        self._optimizer.step()
        with torch.no_grad():
            for parameter, zero in self._zeros:
                parameter.masked_fill_(zero, 0.0)
        self.step += 1


class _Divergence(torch.autograd.Function):
    """The divergence summed over positions, with its gradient in closed form."""

    @staticmethod
    def forward(ctx: Any, teacher: Tensor, student: Tensor) -> Tensor:  # Any: torch's own
        total, gradient = torch.zeros((), device=student.device), torch.empty_like(student)
        for p, q, out in zip(*(each.split(_CHUNK) for each in (teacher, student, gradient)), strict=True):
            p, q = p.float().log_softmax(dim=-1), q.float().log_softmax(dim=-1)
            expected = p.exp()
            total += (expected * (p - q)).sum()
            out.copy_(q.exp_().sub_(expected))
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:  # Any: as above
        (gradient,) = ctx.saved_tensors
        return None, gradient * gradients[0]


def _gram(states: Tensor, mask: Tensor) -> Tensor:
    """The Gram matrix of each text as a vector, 0 at positions that do not count."""
    states = torch.where(mask[..., None], states.float(), 0.0)
    return (states @ states.mT).flatten(1)
