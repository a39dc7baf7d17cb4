"""The matrices of one layer's MLP as geometry takes them, and what the MLP does around a point.

A dense MLP has walls and a map: exact if it is ungated with a piecewise linear activation, else of
first order. A layer of experts has the walls of the experts that a token visits, and no one map.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from splinelens.anatomy import Anatomy
from splinelens.errors import UnknownAnatomy
from splinelens.geometry.affine import RegionMap, gated_map, piecewise_map, smooth_map
from splinelens.weights import linear_of, walls_of


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
    (weight, bias), out = walls_of(anatomy, layer), _linear(anatomy, layer, "down")
    if not anatomy.family.gated:
        slope = _slope(activation)
        if slope is not None:
            return piecewise_map(point, weight, bias, *out, slope)
        return smooth_map(point, weight, bias, *out, activation)
    if anatomy.family.fused:
        both, biases = _linear(anatomy, layer, "gate")
        up = both[len(weight) :], None if biases is None else biases[len(weight) :]
    else:
        up = _linear(anatomy, layer, "up")
    return gated_map(point, weight, bias, *up, *out, activation)


def _linear(
    anatomy: Anatomy, layer: int, role: str
) -> tuple[Float[Tensor, "out width"], Float[Tensor, " out"] | None]:
    """One of the linear maps of a dense MLP: its ``gate``, ``up`` or ``down``."""
    module = getattr(anatomy, role)(layer)
    return linear_of(module, anatomy.family.transposed, f"the {role} weight of layer {layer}")


def _slope(activation: object) -> float | None:
    """The slope on the negative side of a piecewise linear activation; None for any other."""
    if isinstance(activation, nn.LeakyReLU):
        return float(activation.negative_slope)
    if isinstance(activation, nn.ReLU) or activation in (torch.relu, nn.functional.relu):
        return 0.0
    return None
