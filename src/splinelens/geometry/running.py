"""The features of every prefix of a text, from its tokens read once.

Attention is causal: what a token's margins and attention are does not depend on what follows. So
running minima, maxima, means and deviations over tokens are the features of every prefix
(arXiv:2312.01648), and one more token costs O(1) for each number. Sums run in float64: the n-th
prefix is as exact as if it had been computed alone.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def running_spline7(
    sign: Float[Tensor, "*layer token"], boundary: Float[Tensor, "*layer token"]
) -> Float[Tensor, "*layer token 7"]:
    """The paper's seven features of every prefix, in the order of ``SPLINE7``.

    Args:
        sign: Sign fraction of each token of the text.
        boundary: Boundary distance of each token of the text.

    Returns:
        For each token what ``spline7`` gives of the tokens up to it, itself included; the standard
        deviations of the first token are 0. In the dtype of ``sign``.

    Example:
        >>> running_spline7(torch.tensor([0.25, 0.75]), torch.tensor([1.0, 3.0]))[:, :3]
        tensor([[0.2500, 0.2500, 0.2500],
                [0.5000, 0.2500, 0.7500]])
    """
    share, length = sign.double(), boundary.double()
    parts = [
        _mean(share),
        share.cummin(-1).values,
        share.cummax(-1).values,
        _std(share),
        length.cummin(-1).values,
        _mean(length),
        _std(length),
    ]
    return torch.stack(parts, dim=-1).to(sign.dtype)


def running_pool(
    values: Float[Tensor, "token neuron"], pooling: str, seen: Bool[Tensor, "token neuron"] | None = None
) -> Float[Tensor, "token neuron"]:
    """What ``pool`` gives of every prefix of a text.

    Args:
        values: Margins or hidden states of the text's own tokens.
        pooling: ``max``, ``min``, ``mean``, ``last`` or ``occupancy`` (share of values > 0).
        seen: Which values there are, on a layer of experts (see ``spread``); None stands for all.
            A neuron that no token of a prefix has seen is 0 there; occupancy is a share of all tokens.

    Returns:
        For each token the values pooled over the tokens up to it, in the dtype of ``values``.

    Raises:
        ValueError: Another pooling.

    Example:
        >>> running_pool(torch.tensor([[1.0, -2.0], [3.0, -4.0]]), "mean")
        tensor([[ 1., -2.],
                [ 2., -3.]])
    """
    if pooling == "last":
        return values.clone() if seen is None else torch.where(seen, values, 0)
    if pooling == "mean":
        if seen is None:
            return _mean(values.double(), dim=0).to(values.dtype)
        sums = torch.where(seen, values, 0).double().cumsum(0)
        return (sums / seen.cumsum(0).clamp(min=1)).to(values.dtype)
    if pooling == "occupancy":
        shown = values if seen is None else torch.where(seen, values, 0)
        # A comparison hides NaN and infinity: let them show, as in ``pool``.
        return (_mean((shown > 0).double(), dim=0) + 0 * shown.double().cumsum(0)).to(values.dtype)
    if pooling not in ("max", "min"):
        raise ValueError(f"pooling {pooling!r} is not one of max, min, mean, last, occupancy")
    best = torch.cummax if pooling == "max" else torch.cummin
    if seen is None:
        return best(values, dim=0)[0]
    worst = -torch.inf if pooling == "max" else torch.inf
    found = best(torch.where(seen, values, worst), dim=0)[0]
    return torch.where(seen.cumsum(0) > 0, found, 0)


def spread(
    margin: Float[Tensor, "token route"], neurons: Int[Tensor, "token route"], size: int
) -> tuple[Float[Tensor, "token neuron"], Bool[Tensor, "token neuron"]]:
    """Put the margins of the neurons that each token is routed to where the layer's table has them.

    Args:
        margin: Margins of those neurons.
        neurons: Their numbers among all neurons of the layer, none twice for a token.
        size: Neurons of the layer.

    Returns:
        The margins, 0 elsewhere, and where they are.

    Example:
        >>> spread(torch.tensor([[5.0]]), torch.tensor([[1]]), 3)
        (tensor([[0., 5., 0.]]), tensor([[False,  True, False]]))
    """
    there = torch.zeros(len(margin), size, dtype=torch.bool, device=margin.device)
    return (
        margin.new_zeros(len(margin), size).scatter(1, neurons, margin),
        there.scatter(1, neurons, True),
    )


@dataclass(frozen=True, eq=False)
class Running:
    """What has been seen of some numbers so far: the state that one more token updates in O(1).

    Attributes:
        count: How often each number was seen.
        last: Its last value; 0 where the last update did not see it.
        low: Its smallest value.
        high: Its largest value.
        mean: Its mean.
        square: Sum of squared deviations from the mean (Welford's recurrence).

    Example:
        >>> state = Running.started((2,))
        >>> for values in ([1.0, -2.0], [3.0, -4.0]):
        ...     state = state.advanced(torch.tensor(values))
        >>> state.pooled("mean"), state.pooled("max")
        (tensor([ 2., -3.], dtype=torch.float64), tensor([ 3., -2.], dtype=torch.float64))
    """

    count: Int[Tensor, "*place"]
    last: Float[Tensor, "*place"]
    low: Float[Tensor, "*place"]
    high: Float[Tensor, "*place"]
    mean: Float[Tensor, "*place"]
    square: Float[Tensor, "*place"]

    @classmethod
    def started(cls, shape: tuple[int, ...], device: torch.device | None = None) -> "Running":
        """The state before the first token.

        Args:
            shape: Axes of the numbers, such as ``(layer,)``.
            device: Where the state is kept.

        Returns:
            A state that has seen nothing; all poolings of it are 0.
        """
        zero = torch.zeros(shape, dtype=torch.float64, device=device)
        return cls(zero.long(), zero, zero + torch.inf, zero - torch.inf, zero, zero)

    def advanced(
        self, values: Float[Tensor, "*place"], seen: Bool[Tensor, "*place"] | None = None
    ) -> "Running":
        """The state after one more token.

        Args:
            values: The token's numbers.
            seen: Which of them it has; None stands for all.

        Returns:
            A new state; this one is left as it is.
        """
        number = values.double()
        there = torch.ones_like(number, dtype=torch.bool) if seen is None else seen
        count = self.count + there
        step = number - self.mean
        mean = self.mean + step / count.clamp(min=1)
        return Running(
            count,
            torch.where(there, number, 0),
            torch.where(there, torch.minimum(self.low, number), self.low),
            torch.where(there, torch.maximum(self.high, number), self.high),
            torch.where(there, mean, self.mean),
            torch.where(there, self.square + step * (number - mean), self.square),
        )

    def pooled(self, pooling: str) -> Float[Tensor, "*place"]:
        """One number for all tokens so far.

        Args:
            pooling: ``max``, ``min``, ``mean``, ``last`` or ``std`` (divides by n - 1; 0 for one token).

        Returns:
            The pooled numbers in float64; 0 where nothing was seen.

        Raises:
            ValueError: Another pooling.
        """
        if pooling == "std":
            return (self.square / (self.count - 1).clamp(min=1)).sqrt()
        places = {"max": self.high, "min": self.low, "mean": self.mean, "last": self.last}
        if pooling not in places:
            raise ValueError(f"pooling {pooling!r} is not one of max, min, mean, last, std")
        return torch.where(self.count > 0, places[pooling], 0)


def _counts(values: Tensor, dim: int) -> Tensor:
    """1, 2, 3, ... along one axis."""
    counts = torch.arange(1, values.shape[dim] + 1, dtype=torch.float64, device=values.device)
    return counts if dim == -1 else counts[:, None]


def _mean(values: Tensor, dim: int = -1) -> Tensor:
    return values.cumsum(dim) / _counts(values, dim)


def _std(values: Tensor) -> Tensor:
    """By sums of deviations from the first value: equal values give exactly 0, and no digit is lost."""
    count, step = _counts(values, -1), values - values[..., :1]
    square = step.square().cumsum(-1) - step.cumsum(-1).square() / count
    return (square.clamp(min=0) / (count - 1).clamp(min=1)).sqrt()
