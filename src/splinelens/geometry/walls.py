"""The nearest wall of a point's region, and the shortest step across it.

Wall k of a layer is the hyperplane of neuron k, ``{x : <w_k, x> + b_k = 0}``. The region code is constant
up to the nearest wall; across it exactly one sign flips. Source: Balestriero, Cosentino and Shekkizhar,
arXiv:2312.01648.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splinelens.errors import BadFeatures

_BEYOND, _ROUNDINGS = 1e-3, 8
# How far a step goes beyond its wall: this share of the distance, plus so many rounding errors.
_ROWS = 1024  # rows of a weight converted to float64 at once: 32 MiB at width 4,096


@dataclass(frozen=True, eq=False)
class Crossing:
    """The shortest step from a point that crosses one wall and no other.

    Attributes:
        neuron: The neuron whose sign flips.
        distance: Distance to its wall, in units of the MLP's input; the step is a thousandth longer.
        step: Vector to add to the point. It is perpendicular to the wall and ends just beyond it, far
            enough that rounding does not decide the side.
    """

    neuron: int
    distance: float
    step: Float[Tensor, " width"]

    def __repr__(self) -> str:
        return f"Crossing(neuron {self.neuron}, distance {self.distance:.3g})"


def nearest_wall(
    margin: Float[Tensor, "*text token neuron"],
) -> tuple[Float[Tensor, "*text token"], Int[Tensor, "*text token"]]:
    """Distance from each token to the nearest wall, and the neuron of that wall.

    Args:
        margin: Signed margins of all neurons; infinite for neurons without a hyperplane (if all weights
            are 0, the margin is 0 and would count as a wall at distance 0).

    Returns:
        Non-negative distances in units of the MLP's input, and neurons, the first if several are equally
        near. Infinity and -1 for a layer without walls; NaN for a token with NaN.

    Example:
        >>> nearest_wall(torch.tensor([[1.5, -0.5, torch.inf]]))
        (tensor([0.5000]), tensor([1]))
    """
    if not margin.shape[-1]:
        far = margin.new_full(margin.shape[:-1], torch.inf)
        return far, torch.full_like(far, -1, dtype=torch.int64)
    distance, neuron = margin.abs().min(dim=-1)
    return distance, neuron.masked_fill(distance.isinf(), -1)


def crossing_step(
    point: Float[Tensor, " width"],
    weight: Float[Tensor, "neuron width"],
    bias: Float[Tensor, " neuron"] | None,
) -> Crossing:
    """The shortest step that crosses the nearest wall of a point, and no other.

    Computed in float64 and verified: the returned step is added to the point and the code is computed
    again. Rows that are all 0 have no wall.

    Args:
        point: An input of the MLP.
        weight: Gate weight; row k is the normal of wall k.
        bias: Gate bias, or None.

    Returns:
        The neuron, the distance and the step; the step has the point's dtype, at least float32. It goes
        beyond the wall by a thousandth of the distance plus 8 rounding errors of the point's norm, but at
        most half way to the next wall on the ray; by 0.001 if the point is 0 and lies on the wall.

    Raises:
        BadFeatures: The point or a weight is not finite, the layer has no wall, or two walls are so close
            that no step in the point's dtype crosses only the nearest one.

    Example:
        >>> weight = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
        >>> crossing = crossing_step(torch.tensor([-1.0, -2.0]), weight, None)
        >>> crossing, crossing.step
        (Crossing(neuron 0, distance 1), tensor([1.0010, 0.0000]))
    """
    point = point.detach()
    gate = gate_at(point, weight, bias)
    norm = torch.cat([rows.double().norm(dim=1) for rows in weight.detach().split(_ROWS)])
    wall = norm > 0
    if not wall.any():
        raise BadFeatures(
            f"all {len(norm)} rows of the gate weight are 0: the layer has no wall; choose another"
        )
    distance, nearest = torch.where(wall, gate.abs() / norm, torch.inf).min(dim=0)
    neuron, on = int(nearest), gate > 0
    direction = (-1.0 if on[neuron] else 1.0) * weight[neuron].detach().double() / norm[neuron]
    rate = _product(weight, direction)
    ahead = torch.where(on, rate < 0, rate > 0)
    ahead[neuron] = False
    second, following = torch.where(ahead, (gate / rate).abs(), torch.inf).min(dim=0)
    gap = float(second - distance)  # infinite without another wall
    start = point.to(torch.promote_types(point.dtype, torch.float32))
    rounding = torch.finfo(start.dtype).eps * (float(point.double().norm()) + float(distance))
    beyond = min(gap / 2, (_BEYOND * float(distance) + _ROUNDINGS * rounding) or _BEYOND)
    step = ((distance + beyond) * direction).to(start.dtype)
    flipped = ((gate_at(start + step, weight, bias) > 0) != on).nonzero().flatten().tolist()
    if flipped != [neuron] or beyond <= _ROUNDINGS / 2 * rounding:
        raise BadFeatures(
            f"no step in {start.dtype} crosses only the wall of neuron {neuron}, {float(distance):.3g} away: "
            f"that of neuron {int(following)} follows {gap:.3g} beyond it; pass a float64 point, or "
            "another one"
        )
    return Crossing(neuron, float(distance), step)


def gate_at(
    point: Float[Tensor, " width"],
    weight: Float[Tensor, "neuron width"],
    bias: Float[Tensor, " neuron"] | None,
) -> Float[Tensor, " neuron"]:
    """The gate values of one point in float64, without a float64 copy of the weight.

    Returns:
        ``weight @ point + bias``, all finite.

    Raises:
        BadFeatures: The point, a row of the weight or the bias is not finite.

    Example:
        >>> gate_at(torch.tensor([1.0, 2.0]), torch.eye(2), torch.tensor([0.5, 0.0]))
        tensor([1.5000, 2.0000], dtype=torch.float64)
    """
    point = point.detach()
    bad = (~point.isfinite()).nonzero().flatten().tolist()
    if bad:
        raise BadFeatures(f"the point is {float(point[bad[0]])} at width {bad[0]}; pass a finite one")
    gate = _product(weight, point.double())
    gate = gate if bias is None else gate + bias.detach().double()
    bad = (~gate.isfinite()).nonzero().flatten().tolist()
    if bad:
        raise BadFeatures(
            f"the gate of neuron {bad[0]} is {float(gate[bad[0]])}: its weights or its bias are not finite; "
            "check the model's files and dtype"
        )
    return gate


def _product(
    weight: Float[Tensor, "neuron width"], vector: Float[Tensor, " width"]
) -> Float[Tensor, " neuron"]:
    return torch.cat([rows.double() @ vector for rows in weight.detach().split(_ROWS)])
