"""Where tokens sit among the regions that an MLP cuts.

The gate weight cuts the MLP's input space with one hyperplane per neuron; inside a region the signs
of the gate are constant. Source: Balestriero, Cosentino and Shekkizhar, arXiv:2312.01648. Pooled
margins keep which hyperplanes a text crosses, not only how many.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

SPLINE7 = (
    "sign_mean",
    "sign_min",
    "sign_max",
    "sign_std",
    "boundary_min",
    "boundary_mean",
    "boundary_std",
)
"""The paper's seven features of a layer, in their order."""


def signed_margin(
    gate: Float[Tensor, "*text token neuron"],
    norm: Float[Tensor, " neuron"] | Float[Tensor, "*text token neuron"],
) -> Float[Tensor, "*text token neuron"]:
    """Signed distance from each token to each hyperplane, ``gate_k / ||w_k||``.

    A length in units of the MLP's input, positive where the neuron is on. Computed in float32
    whatever the model's dtype: half precision loses the small distances that matter most.

    Args:
        gate: Gate values, before the nonlinearity.
        norm: Length of each hyperplane's normal. Where it is 0 there is no hyperplane: the
            margin is 0 by our definition, and the neuron counts as off. On a layer of experts each
            token has neurons, and so norms, of its own.

    Returns:
        Signed margins in float32.

    Example:
        >>> signed_margin(torch.tensor([[3.0, -8.0]]), torch.tensor([2.0, 4.0]))
        tensor([[ 1.5000, -2.0000]])
    """
    return gate.float() * torch.where(norm == 0, torch.inf, norm).reciprocal()


def sign_fraction(margin: Float[Tensor, "*text token neuron"]) -> Float[Tensor, "*text token"]:
    """Share of neurons that are on at each token, ``mean_k 1[margin_k > 0]``, in [0, 1].

    NaN counts as off; the boundary distance of such a token is NaN.

    Args:
        margin: Signed margins, or gate values: only the sign is read.

    Returns:
        One fraction a token; a value of exactly 0 counts as off.

    Example:
        >>> sign_fraction(torch.tensor([[1.5, -2.0, 0.0, 4.0]]))
        tensor([0.5000])
    """
    on = torch.empty_like(margin, dtype=torch.float32)
    return torch.gt(margin, 0, out=on).sum(dim=-1) / margin.shape[-1]


def boundary_distance(margin: Float[Tensor, "*text token neuron"]) -> Float[Tensor, "*text token"]:
    """Distance from each token to the nearest region boundary, ``min_k |margin_k|``.

    The length of the shortest step of the MLP's input that flips one sign of the layer's code.

    Args:
        margin: Signed margins of the neurons that have a hyperplane.

    Returns:
        Non-negative distances in units of the MLP's input; 0 is a token on a boundary, infinity a
        layer without any hyperplane.

    Example:
        >>> boundary_distance(torch.tensor([[1.5, -2.0]]))
        tensor([1.5000])
    """
    return margin.abs().amin(dim=-1) if margin.shape[-1] else margin.new_full(margin.shape[:-1], torch.inf)


def spline7(
    sign: Float[Tensor, "*layer token"], boundary: Float[Tensor, "*layer token"]
) -> Float[Tensor, "*layer 7"]:
    """The paper's seven features of each layer of one text, in the order of ``SPLINE7``.

    Standard deviations divide by n - 1; for a single token they are 0 by our definition (the
    reference gives NaN).

    Args:
        sign: Sign fraction of each token of the text.
        boundary: Boundary distance of each token of the text.

    Returns:
        Mean, min, max and std of the sign fraction; min, mean and std of the distance.

    Example:
        >>> spline7(torch.tensor([0.25, 0.75]), torch.tensor([1.0, 3.0]))[:3]
        tensor([0.5000, 0.2500, 0.7500])
    """
    return torch.stack(
        [
            sign.mean(-1),
            sign.amin(-1),
            sign.amax(-1),
            _std(sign),
            boundary.amin(-1),
            boundary.mean(-1),
            _std(boundary),
        ],
        dim=-1,
    )


def pooled_margin(
    margin: Float[Tensor, "token neuron"], pooling: str
) -> tuple[Float[Tensor, " neuron"], Int[Tensor, " neuron"] | None]:
    """One number per hyperplane for a whole text, and the token where it was reached.

    Args:
        margin: Signed margins of the text's own tokens.
        pooling: ``max``, ``min``, ``last``, ``mean``, or ``occupancy`` (share of tokens where the
            neuron is on).

    Returns:
        The pooled margins and, for ``max`` and ``min``, the first token that reaches each one.

    Example:
        >>> margin = torch.tensor([[1.0, -2.0], [3.0, -4.0]])
        >>> pooled_margin(margin, "max")
        (tensor([ 3., -2.]), tensor([1, 0]))
    """
    if pooling in ("max", "min"):
        values, where = margin.max(dim=0) if pooling == "max" else margin.min(dim=0)
        return values, where
    return pool(margin, pooling), None


def pool(values: Float[Tensor, "token neuron"], pooling: str) -> Float[Tensor, " neuron"]:
    """One number per column for a whole text.

    Args:
        values: Margins or hidden states of the text's own tokens.
        pooling: ``max``, ``min``, ``mean``, ``last`` or ``occupancy`` (share of values > 0).

    Returns:
        The pooled values, in float32.

    Example:
        >>> pool(torch.tensor([[1.0, -2.0], [3.0, -4.0]]), "mean")
        tensor([ 2., -3.])
    """
    if pooling == "max":
        return values.amax(dim=0)
    if pooling == "min":
        return values.amin(dim=0)
    if pooling == "mean":
        return values.mean(dim=0)
    if pooling == "occupancy":
        on = torch.gt(values, 0, out=torch.empty_like(values)).mean(dim=0)
        return on + 0 * values.sum(dim=0)  # a comparison hides NaN and infinity: let them show
    if pooling == "last":
        return values[-1].clone()
    raise ValueError(f"pooling {pooling!r} is not one of max, min, mean, last, occupancy")


def pool_routed(
    margin: Float[Tensor, "token route"], neurons: Int[Tensor, "token route"], size: int, pooling: str
) -> tuple[Float[Tensor, " neuron"], Int[Tensor, " neuron"] | None]:
    """As ``pooled_margin``, on a layer of experts: each token has margins of its experts' neurons only.

    A neuron is pooled over the tokens that are routed to its expert; one that no token is routed to
    is 0 by our definition (``last``: one that the last token is not routed to). ``occupancy`` is the
    share of all tokens of the text at which the neuron is on: where it is not visited it is off.

    Args:
        margin: Signed margins of the neurons that each token is routed to.
        neurons: Their numbers among all neurons of the layer, none twice for a token.
        size: Neurons of the layer.
        pooling: As in ``pooled_margin``.

    Returns:
        The pooled margins of all neurons and, for ``max`` and ``min``, the first token that reaches
        each one, -1 where no token is routed.

    Raises:
        ValueError: Another pooling.

    Example:
        >>> margin, neurons = torch.tensor([[1.0, -2.0], [3.0, -4.0]]), torch.tensor([[0, 1], [0, 2]])
        >>> pool_routed(margin, neurons, 4, "max")
        (tensor([ 3., -2., -4.,  0.]), tensor([ 1,  0,  1, -1]))
    """
    found = margin.new_zeros(size)
    if pooling == "last":
        return found.scatter(0, neurons[-1], margin[-1]), None
    flat, place = margin.flatten(), neurons.flatten()
    if pooling in ("max", "min"):
        best = found.scatter_reduce(0, place, flat, f"a{pooling}", include_self=False)
        token = torch.arange(len(margin), device=margin.device).repeat_interleave(margin.shape[1])
        token = torch.where((flat == best[place]) | flat.isnan(), token, len(margin))
        where = torch.full((size,), -1, device=margin.device)
        return best, where.scatter_reduce(0, place, token, "amin", include_self=False)
    if pooling == "occupancy":
        # A comparison hides NaN and infinity: let them show, as in ``pool``.
        found = found.scatter_add(0, place, (flat > 0).to(margin.dtype) + 0 * flat)
        return found / len(margin), None
    if pooling == "mean":
        sums = found.double().scatter_add(0, place, flat.double())
        return (sums / visits(neurons, size).clamp(min=1)).to(margin.dtype), None
    raise ValueError(f"pooling {pooling!r} is not one of max, min, mean, last, occupancy")


def visits(neurons: Int[Tensor, "token route"], size: int) -> Int[Tensor, " neuron"]:
    """How many tokens are routed to each neuron of a layer of experts.

    Args:
        neurons: The neurons of the experts that each token is routed to.
        size: Neurons of the layer.

    Returns:
        One count a neuron, from 0 to the number of tokens.

    Example:
        >>> visits(torch.tensor([[0, 1], [0, 2]]), 4)
        tensor([2, 1, 1, 0])
    """
    place = neurons.flatten()
    return place.new_zeros(size).scatter_add(0, place, torch.ones_like(place))


def _std(values: Float[Tensor, "*layer token"]) -> Float[Tensor, "*layer"]:
    return values.std(-1) if values.shape[-1] > 1 else torch.zeros_like(values[..., 0])
