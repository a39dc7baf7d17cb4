"""Learned hyperplanes: directions in the space of MLP inputs, pooled over tokens, and one linear layer.

The margin of a token to direction h is ``sum_l <a[h, l], x_l> + b[h]`` over the layers that are read, on
standardized inputs. A text's logit is linear in the maximum and the minimum of each margin over its tokens,
so it splits exactly over tokens. Directions and linear layer are fitted together by gradient descent.

Training reads the inputs as 8-bit integers, in steps of 1/20 standard deviation: those of a million
tokens then fit into memory, and the rounding is far below the noise of half precision in deep layers.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from splinelens.detect.heads import LinearHead
from splinelens.features.inputs import Inputs

STEP = 0.05
"""Standard deviations per unit of the 8-bit integers."""

_SAMPLE_TOKENS = 6000  # of the moments


@dataclass(frozen=True)
class Settings:
    """How directions are fitted.

    Attributes:
        directions: How many.
        layers: Layers that they read.
        epochs: Passes over the rows.
        rate: Learning rate of AdamW, warmed up over 50 steps, then falling linearly.
        decay: Weight decay.
        dropout: Share of input columns that is dropped, anew in each batch.
        batch_texts: Most texts in a batch.
        batch_tokens: Most tokens in a batch.
        seed: Of weights, batches and dropout.
    """

    directions: int
    layers: tuple[int, ...]
    epochs: int = 5
    rate: float = 1e-3
    decay: float = 0.1
    dropout: float = 0.1
    batch_texts: int = 64
    batch_tokens: int = 6000
    seed: int = 0


class Tokens:
    """Standardized inputs of the rows of several sources, as 8-bit integers.

    Args:
        inputs: The inputs of each source.
        rows: (row,) boolean, which rows to keep; the others have no tokens.
        layers: The layers to keep, as indices of those of the inputs.
        mean: (layer, width) of all layers, subtracted.
        scale: (layer, width) of all layers, divided by.

    Attributes:
        values: (token, layer * width) int8.
        start: (row + 1,).
        lengths: (row,) tokens.
        mean: Of the layers that are kept.
        scale: Of the layers that are kept.
    """

    def __init__(
        self,
        inputs: Sequence[Inputs],
        rows: np.ndarray,
        layers: Sequence[int],
        mean: np.ndarray,
        scale: np.ndarray,
    ):
        self.lengths = np.concatenate([np.diff(each.start) for each in inputs]) * rows
        self.start = np.concatenate([[0], np.cumsum(self.lengths)])
        self.mean, self.scale = mean[layers], scale[layers]
        self.values = np.empty((int(self.start[-1]), self.mean.size), np.int8)
        factor = torch.from_numpy(1 / (self.scale * STEP)).float()
        shift = torch.from_numpy(self.mean).float()
        row = 0
        for each in inputs:
            kept = rows[row : row + len(each)]
            for first, last in _runs(kept):
                begin, end, at = int(each.start[first]), int(each.start[last]), int(self.start[row + first])
                for step in range(begin, end, 4096):
                    part = torch.from_numpy(np.array(each.tokens[step : min(end, step + 4096)]))[
                        :, layers
                    ].float()
                    part = part.sub_(shift).mul_(factor).round_().clamp_(-127, 127).to(torch.int8)
                    self.values[at : at + len(part)] = part.flatten(1).numpy()
                    at += len(part)
            row += len(each)

    def batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """The tokens of some rows and their lengths; (token, column) bfloat16 holds the integers exactly."""
        parts = [self.values[self.start[row] : self.start[row + 1]] for row in rows]
        return torch.from_numpy(np.concatenate(parts)).bfloat16(), torch.from_numpy(self.lengths[rows])


def moments(inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each input over a sample of finite tokens, (layer, width) each."""
    positions = np.sort(np.random.default_rng(0).permutation(len(inputs.tokens))[:_SAMPLE_TOKENS])
    sample = inputs.tokens[positions].astype(np.float32)
    sample = sample[np.isfinite(sample).all((1, 2))]
    return sample.mean(0), sample.std(0) + 1e-3


class Network(nn.Module):
    """Directions and the linear layer on their pooled margins."""

    def __init__(self, columns: int, settings: Settings, labels: int = 1):
        super().__init__()
        self.directions = nn.Linear(columns, settings.directions)
        self.out = nn.Linear(2 * settings.directions, labels)
        nn.init.normal_(self.directions.weight, std=columns**-0.5)
        nn.init.zeros_(self.directions.bias)
        nn.init.normal_(self.out.weight, std=0.05)
        self.dropout = settings.dropout

    def margins(self, values: Tensor) -> Tensor:
        """(token, direction) margins of standardized inputs, bfloat16 in units of ``STEP``."""
        keep = torch.ones(values.shape[1], device=values.device)
        if self.training and self.dropout:
            keep = (torch.rand(values.shape[1], device=values.device) > self.dropout).float()
            keep = keep / (1 - self.dropout)
        weight = (self.directions.weight * (keep * STEP)).bfloat16()
        return (values @ weight.T).float() + self.directions.bias

    def pooled(self, values: Tensor, lengths: Tensor) -> Tensor:
        """(text, 2 * direction): the largest margin to each direction, then the smallest."""
        return pool(self.margins(values), lengths)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """(text, label) logits."""
        return self.out(self.pooled(values, lengths))


def pool(margins: Tensor, lengths: Tensor) -> Tensor:
    """(text, 2 * direction) of (token, direction): the maxima over each text's tokens, then the minima."""
    return torch.cat(
        [torch.segment_reduce(margins, how, lengths=lengths, axis=0) for how in ("max", "min")], 1
    )


def train(
    tokens: Tokens,
    rows: np.ndarray,
    labels: np.ndarray,
    settings: Settings,
    *,
    weights: np.ndarray | None = None,
    sources: np.ndarray | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Network:
    """Fit directions and linear layer on some rows.

    Each source with both classes has an offset of its own, which is fitted and then dropped: how frequent
    positive rows are in it says nothing of a text. Of each label positive and negative rows weigh the same.

    Args:
        tokens: The inputs of all rows.
        rows: The rows to fit on; those without a token are left out.
        labels: (row of all, label), 0 or 1; NaN where the source does not have the label.
        settings: How.
        weights: (row of all,); None weighs all the same.
        sources: (row of all,), number of the source; None is one source, without an offset.
        report: Called with a line after each epoch.
    """
    rng = np.random.default_rng(settings.seed)
    rows = rows[tokens.lengths[rows] > 0]
    weights = np.ones(len(labels)) if weights is None else weights
    source = torch.zeros(len(labels), dtype=torch.long) if sources is None else torch.from_numpy(sources)
    mixed = torch.zeros(1, labels.shape[1])
    if sources is not None:
        mixed = torch.from_numpy(_has_both(labels, sources, rows))
    y = torch.from_numpy(np.nan_to_num(labels).astype(np.float32))
    balanced = torch.from_numpy(_balanced(labels, weights, rows))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        network = Network(tokens.values.shape[1], settings, labels.shape[1])
        offsets = nn.Parameter(torch.zeros_like(mixed))
        decayed = [network.directions.weight, network.out.weight]
        groups = [
            {"params": decayed, "weight_decay": settings.decay},
            {"params": [network.directions.bias, network.out.bias, offsets], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=settings.rate)
        step = 0
        for epoch in range(settings.epochs):
            started, total = time.monotonic(), 0.0
            order = _batches(tokens.lengths, rng.permutation(rows), settings)
            order = [order[index] for index in rng.permutation(len(order))]
            for batch in order:
                done = step / (settings.epochs * len(order))
                for group in optimizer.param_groups:
                    group["lr"] = settings.rate * min(1.0, (step + 1) / 50) * max(0.02, 1 - done)
                logits = network(*tokens.batch(batch)) + (offsets * mixed)[source[batch]]
                loss = nn.functional.binary_cross_entropy_with_logits(logits, y[batch], balanced[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step, total = step + 1, total + float(loss.detach())
            took_s = time.monotonic() - started
            report(f"epoch {epoch + 1} of {settings.epochs}: loss {total / len(order):.4f}, {took_s:.0f} s")
    return network.eval()


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Rows of one fold, and what directions and a linear layer say of them that were fitted without them.

    Attributes:
        rows: The rows.
        values: (row, 2 * direction) pooled margins.
        weight: (label, 2 * direction) of the linear layer.
        bias: (label,).
    """

    rows: np.ndarray
    values: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    @property
    def logits(self) -> np.ndarray:
        """(row, label)."""
        return self.values @ self.weight.T + self.bias


def cross_fit(
    tokens: Tokens,
    rows: np.ndarray,
    labels: np.ndarray,
    fold: np.ndarray,
    settings: Settings,
    report: Callable[[str], None] = lambda line: None,
) -> Iterator[HeldOut]:
    """Fit without each fold in turn.

    Args:
        tokens: The inputs of all rows.
        rows: The rows to fit on and to judge.
        labels: As in ``train``.
        fold: The fold of each of the rows, from 0.
        settings: How.
        report: Called with a line after each epoch.
    """
    count = int(fold.max()) + 1
    for number in range(count):
        title = f"fold {number + 1} of {count}"
        network = train(tokens, rows[fold != number], labels, settings, report=_titled(report, title))
        held = rows[fold == number]
        yield HeldOut(held, pooled(network, tokens, held, settings), *linear_layer(network))


def pooled(network: Network, tokens: Tokens, rows: np.ndarray, settings: Settings) -> np.ndarray:
    """(row, 2 * direction) pooled margins; NaN without tokens."""
    out = np.full((len(rows), 2 * settings.directions), np.nan, np.float32)
    order = np.argsort(tokens.lengths[rows], kind="stable")
    order = order[tokens.lengths[rows[order]] > 0]
    with torch.no_grad():
        for positions in _batches(tokens.lengths[rows], order, settings):
            out[positions] = network.pooled(*tokens.batch(rows[positions])).numpy()
    return out


def folded(network: Network, mean: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight (direction, layer, width) and bias of the directions on inputs that are not standardized.

    Args:
        network: A fitted one.
        mean: (layer, width) of its layers.
        scale: (layer, width) of its layers.
    """
    weight = network.directions.weight.detach().double().numpy().reshape(-1, *mean.shape) / scale
    bias = network.directions.bias.detach().double().numpy() - (weight * mean).sum((1, 2))
    return weight.astype(np.float32), bias.astype(np.float32)


def linear_layer(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Weight (label, 2 * direction) on the pooled margins and bias (label,) of a network, in float64."""
    return (
        network.out.weight.detach().double().numpy(),
        network.out.bias.detach().double().numpy(),
    )


def standardized_head(values: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> LinearHead:
    """A linear layer on pooled margins as a head on standardized columns; the logits are the same.

    Args:
        values: (row, column) of the training rows, which give mean and scale.
        weight: (label, column).
        bias: (label,).
    """
    mean, scale = values.mean(0, dtype=np.float64), values.std(0, dtype=np.float64) + 1e-6
    return LinearHead(mean, scale, weight * scale, bias + weight @ mean)


def _titled(report: Callable[[str], None], title: str) -> Callable[[str], None]:
    return lambda line: report(f"{title}, {line}")


def _has_both(labels: np.ndarray, sources: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(source, label): 1 where some rows have a label and others do not."""
    both = np.zeros((int(sources.max()) + 1, labels.shape[1]), np.float32)
    for source in np.unique(sources[rows]):
        own = labels[rows[sources[rows] == source]]
        both[source] = (own == 0).any(0) & (own == 1).any(0)
    return both


def _runs(kept: np.ndarray) -> list[tuple[int, int]]:
    """First and last + 1 of each run of rows that are kept."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], kept.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _balanced(labels: np.ndarray, weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(row, label) weights, 1 in the mean: of a label both classes weigh the same; 0 unlabeled."""
    known = ~np.isnan(labels)
    balanced = np.where(known, weights[:, None], 0.0)
    for label in range(labels.shape[1]):
        column = balanced[:, label]
        positive = labels[:, label] == 1
        total = {side: column[rows][positive[rows] == side].sum() for side in (True, False)}
        column[positive] *= total[False] / max(total[True], 1e-9)
    return (balanced / balanced[rows].mean()).astype(np.float32)


def _batches(lengths: np.ndarray, order: np.ndarray, settings: Settings) -> list[np.ndarray]:
    """The rows of an order cut into batches of so many texts and tokens at most."""
    batches: list[np.ndarray] = []
    batch: list[int] = []
    tokens = 0
    for row in order.tolist():
        if batch and (tokens + lengths[row] > settings.batch_tokens or len(batch) == settings.batch_texts):
            batches.append(np.array(batch))
            batch, tokens = [], 0
        batch.append(row)
        tokens += int(lengths[row])
    return [*batches, np.array(batch)] if batch else batches
