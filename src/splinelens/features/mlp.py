"""The matrices of one layer's MLP as geometry takes them, and what the MLP does around a point.

A dense MLP has walls and a map: exact if it is ungated with a piecewise linear activation, else of
first order. A layer of experts has the walls of the experts that a token visits, and no one map.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from splinelens.anatomy import Anatomy
from splinelens.errors import UnknownAnatomy
from splinelens.geometry.affine import RegionMap, gated_map, piecewise_map, smooth_map
from splinelens.layers.experts import expert_weight
from splinelens.weights import gate_weight


def walls_of(
    anatomy: Anatomy, layer: int, experts: tuple[int, ...] = ()
) -> tuple[Float[Tensor, "neuron width"], Float[Tensor, " neuron"] | None]:
    """The hyperplanes of a dense layer, or of some experts (and the shared one) of a layer of experts.

    Args:
        anatomy: The model's anatomy.
        layer: The layer, from 0.
        experts: Which experts, on a layer of experts.

    Returns:
        Their normals and biases, in the order of the gate that ``watch`` hands over.
    """
    holder = anatomy.experts(layer)
    if holder is None:
        bias = linear_of(anatomy.gate(layer), anatomy.family.transposed)[1]
        weight = gate_weight(anatomy, layer)
        return weight, None if bias is None else bias[: len(weight)]
    parts = [expert_weight(holder, expert, anatomy.family.interleaved) for expert in experts]
    shared: Any = anatomy.shared(layer)  # an MLP of some class
    if shared is not None:
        parts.append(linear_of(shared.gate_proj, False))
    weight = torch.cat([part for part, _ in parts])
    if all(bias is None for _, bias in parts):
        return weight, None
    return weight, torch.cat([weight.new_zeros(len(part)) if bias is None else bias for part, bias in parts])


def linear_of(
    module: nn.Module | None, transposed: bool
) -> tuple[Float[Tensor, "out width"], Float[Tensor, " out"] | None]:
    """Weight and bias of a linear map.

    Args:
        module: The linear map.
        transposed: Its weight is stored as (width, out), as GPT-2's ``Conv1D`` does.

    Returns:
        The weight as (out, width), and the bias or None.

    Example:
        >>> linear_of(nn.Linear(3, 2, bias=False), False)[0].shape
        torch.Size([2, 3])
    """
    linear: Any = module  # a linear map of some class; a caller has looked that it is there
    weight = linear.weight.detach()
    bias = getattr(linear, "bias", None)
    return weight.T if transposed else weight, None if bias is None else bias.detach()


def region_map(anatomy: Anatomy, layer: int, point: Float[Tensor, " width"]) -> RegionMap:
    """What the MLP of a dense layer does around a point of its input.

    Args:
        anatomy: The model's anatomy.
        layer: A dense layer, from 0.
        point: What the MLP is given.

    Returns:
        A map whose value at the point is the MLP's output, its last bias included. Its kind is ``exact``
        if the MLP is ungated and its activation ReLU or leaky ReLU, else ``first-order``.

    Raises:
        UnknownAnatomy: The layer consists of experts, or its activation is not known.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> from splinelens.anatomy import anatomy_of
        >>> tiny = GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16)).eval()
        >>> region_map(anatomy_of(tiny), 0, torch.zeros(8)).kind
        'first-order'
    """
    if anatomy.experts(layer) is not None:
        raise UnknownAnatomy(
            f"layer {layer} of {type(anatomy.base).__name__} consists of experts: how much each one counts "
            "depends on the input too, so there is no map of one MLP"
        )
    activation = anatomy.activation(layer)
    transposed = anatomy.family.transposed
    weight, bias = linear_of(anatomy.gate(layer), transposed)
    out = linear_of(anatomy.down(layer), transposed)
    if not anatomy.family.gated:
        slope = _slope(activation)
        if slope is not None:
            return piecewise_map(point, weight, bias, *out, slope)
        return smooth_map(point, weight, bias, *out, activation)
    if anatomy.family.fused:
        half = len(weight) // 2
        up = weight[half:], None if bias is None else bias[half:]
        weight, bias = weight[:half], None if bias is None else bias[:half]
    else:
        up = linear_of(anatomy.up(layer), transposed)
    return gated_map(point, weight, bias, *up, *out, activation)


def _slope(activation: object) -> float | None:
    """The slope on the negative side of a piecewise linear activation; None for any other."""
    if isinstance(activation, nn.LeakyReLU):
        return float(activation.negative_slope)
    if isinstance(activation, nn.ReLU) or activation in (torch.relu, nn.functional.relu):
        return 0.0
    return None
