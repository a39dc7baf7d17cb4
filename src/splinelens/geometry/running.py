"""Pooling over tokens: one mergeable accumulator for texts, windows, prefixes and streams.

Attention is causal: what a token's margins and attention are does not depend on what follows. So
the features of a text are those of its windows merged, and running minima, maxima, means and
deviations over tokens are the features of every prefix (arXiv:2312.01648). Means and sums of
squares are kept in float64 and merged by the rule of Chan, Golub and LeVeque (1979): the n-th prefix
is as exact as if it had been computed by itself.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splinelens.errors import BadFeatures

POOLINGS = ("max", "min", "mean", "last", "std", "occupancy")
"""The poolings that ``Running`` knows; ``std`` divides by n - 1 and is 0 for a single token."""

_NEEDS = {
    "max": ("high",),
    "min": ("low",),
    "mean": ("mean",),
    "last": ("last",),
    "std": ("mean", "square"),
    "occupancy": ("positive",),
}


@dataclass(frozen=True, eq=False)
class Running:
    """What the tokens so far say of some numbers; only what the chosen poolings need is kept.

    The first axis is ``row``: a text of a batch after ``reduce``, a prefix of one text after ``scan``.
    On a layer of experts a token has the numbers of its own experts only.

    Attributes:
        tokens: Tokens pooled so far, (row, 1 ...).
        count: Tokens that have the number; broadcasts to its axes.
        high: Largest value; minus infinity where no token has the number.
        low: Smallest value; infinity where no token has the number.
        mean: Mean, float64.
        square: Sum of squared deviations from the mean, float64.
        last: Value at the last token; 0 where that token does not have the number.
        positive: Tokens whose value is above 0, as floats: NaN and infinity show as NaN.
        high_at: First token that reaches ``high``, -1 where none does; None unless located.
        low_at: First token that reaches ``low``, likewise.
        last_at: The last token, likewise.

    Example:
        >>> values = torch.tensor([[[1.0], [3.0], [5.0]]])  # one text, three tokens, one number
        >>> seen = torch.tensor([[True, True, False]])  # the last token is padding
        >>> state = Running.reduce(values, seen, ("max", "mean"))
        >>> state.result("max"), state.result("mean")
        (tensor([[3.]]), tensor([[2.]], dtype=torch.float64))
        >>> state.merge(Running.reduce(values, ~seen, ("max", "mean"))).result("mean")
        tensor([[3.]], dtype=torch.float64)
    """

    tokens: Int[Tensor, "row *_"]
    count: Int[Tensor, "row *_"]
    high: Tensor | None = None
    low: Tensor | None = None
    mean: Tensor | None = None
    square: Tensor | None = None
    last: Tensor | None = None
    positive: Tensor | None = None
    high_at: Tensor | None = None
    low_at: Tensor | None = None
    last_at: Tensor | None = None

    @classmethod
    def reduce(
        cls,
        values: Float[Tensor, "text token *axes"],
        mask: Bool[Tensor, "text token"],
        poolings: Collection[str],
        *,
        locate: bool = False,
        unmasked: slice = slice(0, 0),
    ) -> "Running":
        """Pool each text of a padded batch.

        Args:
            values: One number or more a token; what stands at padding is ignored.
            mask: The tokens that are pooled, at least one a text.
            poolings: Some of ``POOLINGS``.
            locate: Also keep which token gives each maximum, minimum and last value.
            unmasked: Tokens that all texts pool; maxima and minima over them need no masked copy.

        Returns:
            One row a text.

        Raises:
            BadFeatures: Another pooling.
        """
        needs = _needed(poolings)
        shown = mask.reshape(*mask.shape, *[1] * (values.dim() - 2))
        tokens = shown.sum(1)
        parts: dict[str, Tensor] = {}
        if locate:
            for name, fill, both in (("high", -torch.inf, torch.max), ("low", torch.inf, torch.min)):
                if name in needs:
                    parts[name], parts[f"{name}_at"] = both(values.where(shown, fill), dim=1)
        elif needs & {"high", "low"}:
            pieces = _pieces(values, mask, shown, unmasked)
            for name, extreme in (("high", torch.amax), ("low", torch.amin)):
                if name in needs:
                    parts[name] = extreme(torch.stack([extreme(piece, dim=1) for piece in pieces]), dim=0)
        if "mean" in needs:
            exact = values.double().where(shown, 0)
            parts["mean"] = exact.sum(1) / tokens
            if "square" in needs:
                parts["square"] = (exact - parts["mean"][:, None]).where(shown, 0).square().sum(1)
        if "positive" in needs:
            kept = values.where(shown, 0)
            parts["positive"] = (kept > 0).sum(1) + 0 * kept.sum(1, dtype=torch.float32)
        if "last" in needs:
            at = last_token(mask)
            parts["last"] = values[torch.arange(values.shape[0], device=values.device), at]
            if locate:
                parts["last_at"] = at.reshape(-1, *[1] * (values.dim() - 2)).expand_as(parts["last"])
        return cls(tokens, tokens, **parts)

    @classmethod
    def reduce_routed(
        cls,
        values: Float[Tensor, "text token route"],
        neurons: Int[Tensor, "text token route"],
        size: int,
        mask: Bool[Tensor, "text token"],
        poolings: Collection[str],
        *,
        locate: bool = False,
    ) -> "Running":
        """As ``reduce``, on a layer of experts: a neuron is pooled over the tokens routed to its expert.

        Args:
            values: Margins of the neurons that each token is routed to.
            neurons: Their indices among all neurons of the layer, distinct at each token.
            size: Neurons of the layer.
            mask: The tokens that are pooled.
            poolings: Some of ``POOLINGS`` but ``std``.
            locate: As in ``reduce``.

        Returns:
            One row a text, with all neurons of the layer.

        Raises:
            BadFeatures: Another pooling.
        """
        needs = _needed(poolings)
        index = neurons.where(mask[..., None], size).flatten(1)  # one more column takes the padding
        flat = values.flatten(1)

        def scattered(start: int | float, source: Tensor, how: str) -> Tensor:
            empty = torch.full((values.shape[0], size + 1), start, dtype=source.dtype, device=source.device)
            return empty.scatter_reduce(1, index, source, how)

        count = scattered(0, torch.ones_like(index), "sum")[:, :size]
        token = torch.arange(values.shape[1], device=values.device)
        token = token.repeat_interleave(values.shape[2]).expand_as(index)
        parts: dict[str, Tensor] = {}
        for name, fill, how in (("high", -torch.inf, "amax"), ("low", torch.inf, "amin")):
            if name in needs:
                best = scattered(fill, flat, how)
                parts[name] = best[:, :size]
                if locate:
                    hit = (flat == best.gather(1, index)) | flat.isnan()
                    first = scattered(values.shape[1], token.where(hit, values.shape[1]), "amin")
                    parts[f"{name}_at"] = first[:, :size].where(count > 0, -1)
        if "mean" in needs:
            parts["mean"] = scattered(0, flat.double(), "sum")[:, :size] / count.clamp(min=1)
        if "positive" in needs:
            parts["positive"] = scattered(0, (flat > 0) + 0 * flat.float(), "sum")[:, :size]
        if "last" in needs:
            at, row = last_token(mask), torch.arange(values.shape[0], device=values.device)
            zero = values.new_zeros(values.shape[0], size)
            parts["last"] = zero.scatter(1, neurons[row, at], values[row, at])
            if locate:
                empty = torch.full_like(zero, -1, dtype=torch.long)
                parts["last_at"] = empty.scatter(1, neurons[row, at], at[:, None].expand_as(neurons[row, at]))
        return cls(mask.sum(1, keepdim=True), count, **parts)

    @classmethod
    def scan(
        cls,
        values: Float[Tensor, "token *axes"],
        poolings: Collection[str],
        *,
        seen: Bool[Tensor, "token *axes"] | None = None,
        before: "Running | None" = None,
    ) -> "Running":
        """Pool every prefix of one text.

        Args:
            values: One number or more for each token of the text.
            poolings: Some of ``POOLINGS``.
            seen: Which numbers each token has, on a layer of experts; None stands for all.
            before: The state after the tokens that come before these, with one row.

        Returns:
            One row a prefix: row n - 1 is the state after n of these tokens.

        Raises:
            BadFeatures: Another pooling.

        Example:
            >>> Running.scan(torch.tensor([1.0, 3.0, 2.0]), ("max",)).result("max")
            tensor([1., 3., 3.])
        """
        needs, ones = _needed(poolings), [1] * (values.dim() - 1)
        tokens = torch.arange(1, values.shape[0] + 1, device=values.device).reshape(-1, *ones)
        count = tokens if seen is None else seen.cumsum(0)
        kept = values if seen is None else values.where(seen, 0)
        parts: dict[str, Tensor] = {}
        if "high" in needs:
            parts["high"] = (values if seen is None else values.where(seen, -torch.inf)).cummax(0).values
        if "low" in needs:
            parts["low"] = (values if seen is None else values.where(seen, torch.inf)).cummin(0).values
        if "mean" in needs:
            # Deviations from the first value: equal values have a deviation of exactly 0.
            origin = kept[:1].double() if seen is None else kept[:1].double() * 0
            step = kept.double() - origin
            sums = step.cumsum(0)
            parts["mean"] = origin + sums / count.clamp(min=1)
            if "square" in needs:
                parts["square"] = (step.square().cumsum(0) - sums.square() / count.clamp(min=1)).clamp(min=0)
        if "positive" in needs:
            parts["positive"] = ((kept > 0) + 0 * kept.float()).cumsum(0)
        if "last" in needs:
            parts["last"] = kept
        state = cls(tokens, count, **parts)
        return state if before is None else before.merge(state)

    def merge(self, later: "Running") -> "Running":
        """The state after the tokens of this state and then those of a later one.

        Args:
            later: State of the tokens that follow; rows broadcast, so that one state can precede
                every prefix. Token indices (``*_at``) of both must count from the same token.

        Returns:
            A new state.
        """
        parts: dict[str, Tensor | None] = {"last": later.last, "last_at": later.last_at}
        count = self.count + later.count
        if self.high is not None and later.high is not None:
            parts["high"] = torch.maximum(self.high, later.high)
            parts["high_at"] = _first_of(self.high, self.high_at, later.high, later.high_at, torch.gt)
        if self.low is not None and later.low is not None:
            parts["low"] = torch.minimum(self.low, later.low)
            parts["low_at"] = _first_of(self.low, self.low_at, later.low, later.low_at, torch.lt)
        if self.mean is not None and later.mean is not None:
            step, share = later.mean - self.mean, later.count.double() / count.clamp(min=1)
            parts["mean"] = self.mean + step * share
            if self.square is not None and later.square is not None:
                parts["square"] = self.square + later.square + step.square() * self.count * share
        if self.positive is not None and later.positive is not None:
            parts["positive"] = self.positive + later.positive
        return Running(self.tokens + later.tokens, count, **parts)

    def result(self, pooling: str) -> Float[Tensor, "row *axes"]:
        """The pooled numbers.

        Returns:
            One number for each row and number; 0 where no token has the number. ``mean`` and ``std``
            in float64.
        """
        if pooling == "last":
            return _present(self.last)
        if pooling == "occupancy":
            return _present(self.positive) / self.tokens
        if pooling == "std":
            return (_present(self.square) / (self.count - 1).clamp(min=1)).sqrt()
        value = _present({"max": self.high, "min": self.low, "mean": self.mean}[pooling])
        return value.where(self.count > 0, 0)

    def source(self, pooling: str) -> Int[Tensor, "row *axes"] | None:
        """The token that each pooled number comes from, -1 where none does; None if it was not kept."""
        return {"max": self.high_at, "min": self.low_at, "last": self.last_at}.get(pooling)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Running":
        """The same state with a function applied to every tensor."""
        return Running(**{name: function(part) for name, part in self._parts()})

    def rows(self, start: int, stop: int | None) -> "Running":
        """Some of the rows."""
        return self.map(lambda part: part[start:stop])

    def scaled(self, factor: Float[Tensor, " neuron"]) -> "Running":
        """The state of the values times a non-negative factor for each number; float32 where it was a half.

        Scaling commutes with pooling: maxima of products are products of maxima, also when rounded.
        """
        scaled: dict[str, Tensor] = {}
        for name, part in self._parts():
            if name in ("high", "low", "last"):
                scaled[name] = part.float() * factor
            elif name == "mean":
                scaled[name] = part * factor
            elif name == "square":
                scaled[name] = part * factor.double().square()
            elif name == "positive":
                scaled[name] = part.float() * (factor > 0)
            elif name not in ("tokens", "count", "high_at", "low_at", "last_at"):
                raise NotImplementedError(f"how {name} scales")
        return replace(self, **scaled)

    def located_from(self, offset: int) -> "Running":
        """The same state with token indices moved by an offset, those of -1 kept."""
        moved = {
            name: part.where(part < 0, part + offset) for name, part in self._parts() if name.endswith("_at")
        }
        return replace(self, **moved)

    def _parts(self) -> list[tuple[str, Tensor]]:
        parts = [(item.name, getattr(self, item.name)) for item in fields(self)]
        return [(name, part) for name, part in parts if part is not None]


def spread(
    margin: Float[Tensor, "token route"], neurons: Int[Tensor, "token route"], size: int
) -> tuple[Float[Tensor, "token neuron"], Bool[Tensor, "token neuron"]]:
    """Put the margins of the neurons that each token is routed to at their index in the layer.

    Args:
        margin: Margins of those neurons.
        neurons: Their indices among all neurons of the layer, distinct at each token.
        size: Neurons of the layer.

    Returns:
        The margins, 0 elsewhere, and where they are.

    Example:
        >>> spread(torch.tensor([[5.0]]), torch.tensor([[1]]), 3)
        (tensor([[0., 5., 0.]]), tensor([[False,  True, False]]))
    """
    seen = torch.zeros(margin.shape[0], size, dtype=torch.bool, device=margin.device)
    return margin.new_zeros(margin.shape[0], size).scatter(1, neurons, margin), seen.scatter(1, neurons, True)


def last_token(mask: Bool[Tensor, "text token"]) -> Int[Tensor, " text"]:
    """Index of the last token of each text."""
    return (mask * torch.arange(mask.shape[1], device=mask.device)).amax(1)


def _needed(poolings: Collection[str]) -> set[str]:
    unknown = sorted(set(poolings) - set(POOLINGS))
    if unknown:
        raise BadFeatures(f"pooling {unknown[0]!r} is not one of {', '.join(POOLINGS)}")
    return {name for pooling in poolings for name in _NEEDS[pooling]}


def _pieces(
    values: Float[Tensor, "text token *axes"],
    mask: Bool[Tensor, "text token"],
    shown: Bool[Tensor, "text token *_"],
    unmasked: slice,
) -> list[Tensor]:
    """The values by chunks of tokens; padding holds the text's last value, which changes no extreme."""
    row = torch.arange(values.shape[0], device=values.device)
    last = values[row, last_token(mask)][:, None]
    pieces = [values[:, unmasked]] if unmasked.start < unmasked.stop else []
    for side in (slice(0, unmasked.start), slice(unmasked.stop, values.shape[1])):
        if side.start < side.stop:
            pieces.append(values[:, side].where(shown[:, side], last))
    return pieces


def _first_of(
    first: Tensor,
    first_at: Tensor | None,
    later: Tensor,
    later_at: Tensor | None,
    beats: Callable[[Tensor, Tensor], Tensor],
) -> Tensor | None:
    """Index of the better value, the first one of equal values; NaN beats every number."""
    if first_at is None or later_at is None:
        return None
    return later_at.where(beats(later, first) | (later.isnan() & ~first.isnan()), first_at)


def _present(part: Tensor | None) -> Tensor:
    assert part is not None  # requested at reduce or scan
    return part
