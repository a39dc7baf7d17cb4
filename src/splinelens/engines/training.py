"""Train a model in stages, from one checkpoint to the next.

Source of the stages: LLaVA-KD, arXiv:2410.16236.
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
from torch import Tensor, nn

from splinelens.errors import CannotResume, Diverged
from splinelens.files import atomic_write, differences

_LARGEST_NORM = 1.0
_WARM_UP = 30
_LEAST_RATE = 0.02
_REPORT_S = 10.0
_STATE = ("step", "exp_avg", "exp_avg_sq")  # of AdamW

Losses = Callable[[int, Mapping[str, float]], tuple[dict[str, Tensor], int]]
"""From a step and the factors of its stage to the losses of its batch, by name, and its number of tokens."""


@dataclass(frozen=True)
class Stage:
    """Steps with the same losses.

    Attributes:
        name: For the progress.
        steps: How many.
        factors: What each loss is multiplied with in the sum; others are not computed.
        gains_only: Of the student only vectors are trained, gains and biases; all of it if nothing else is.
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
        rate: Largest learning rate.
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
        checkpoint: Path,
        request: dict[str, Any],  # Any: plain JSON values
    ):
        trained = {name: each for name, each in student.named_parameters() if each.requires_grad}
        matrices = [each for each in trained.values() if each.ndim > 1]
        self._zeros = [(each, each == 0) for each in matrices if bool((each == 0).any())]
        of_head = dict(head.named_parameters()) if head is not None else {}
        self._parameters = {f"student.{name}": each for name, each in trained.items()}
        self._parameters |= {f"head.{name}": each for name, each in of_head.items()}
        self._frozen = matrices if len(matrices) < len(self._parameters) else []  # while gains are trained
        self._stages = stages
        self.total = sum(stage.steps for stage in stages)
        groups = [{"params": list(trained.values()), "weight_decay": 0.0}]
        groups += [{"params": list(of_head.values()), "weight_decay": 0.1}] if head else []
        self._optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
        self._rate = rate
        self._file = checkpoint
        self._request = request
        self.step = 0
        if checkpoint.is_file():
            self._resume()

    def run(self, losses: Losses, *, report: Callable[[str], None], save_every_s: float = 300.0) -> None:
        """Train from the current step to the last.

        Args:
            losses: Computes the losses of a step.
            report: Called with a line on the progress, at most every 10 seconds.
            save_every_s: Seconds from one checkpoint to the next; the last step also writes one.

        Raises:
            Diverged: A loss or gradient is not finite; the checkpoint holds the state before that step.
        """
        first, tokens = self.step, 0
        started = reported = saved = perf_counter()
        while self.step < self.total:
            stage = self._enter_stage()
            values, count = losses(self.step, stage.factors)
            self._update(stage, values)
            tokens, now = tokens + count, perf_counter()
            if now - saved >= save_every_s or self.step == self.total:
                self.save()
                saved = perf_counter()
            if now - reported >= _REPORT_S or self.step == self.total:
                shown = ", ".join(f"{name} {value.item():.4f}" for name, value in values.items())
                left_s = (now - started) / (self.step - first) * (self.total - self.step)
                report(
                    f"step {self.step:,} of {self.total:,} ({stage.name}): {shown}; "
                    f"{tokens / (now - started):,.0f} tokens/s, {math.ceil(left_s / 60)} min left"
                )
                reported = now

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
                metadata = file.metadata() or {}
                if different := differences(json.loads(metadata["request"]), self._request):
                    raise CannotResume(
                        f"{self._file} holds a run with other settings: {'; '.join(different)}. Repeat its "
                        "command, or remove the file to start again"
                    )
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
            for name, parameter in self._parameters.items():
                parameter.data.copy_(tensors[f"weight.{name}"])
                if f"step.{name}" in tensors:
                    self._optimizer.state[parameter] = {key: tensors[f"{key}.{name}"] for key in _STATE}
            torch.set_rng_state(tensors["random"])
            self.step = int(metadata["step"])
        except (SafetensorError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CannotResume(f"{self._file} is damaged ({error}); remove it to start again") from error

    def _enter_stage(self) -> Stage:
        """The stage of the current step; sets which parameters require gradients."""
        end = 0
        for stage in self._stages:
            end += stage.steps
            if self.step < end:
                break
        for matrix in self._frozen:
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
            group["lr"] = self._rate * factor
        self._optimizer.step()
        with torch.no_grad():
            for parameter, zero in self._zeros:
                parameter.masked_fill_(zero, 0.0)
        self.step += 1
