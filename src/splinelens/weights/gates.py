"""Gate weights, biases and row norms of every layer.

Rows of the gate weight are the normals of the MLP's hyperplanes ("walls"); their norms turn a gate value
into a distance (arXiv:2312.01648). Norms are computed once per model and layer, in float64, and stored in
float32: the squares of float32 weights can overflow or underflow in float32.
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from splinelens.anatomy import Anatomy, anatomy_of
from splinelens.errors import BadModel
from splinelens.layers.experts import expert_weight

_NORMS: WeakKeyDictionary[nn.Module, Tensor] = WeakKeyDictionary()

_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# An 8-bit weight is quantized: its scales are stored elsewhere.

_ROWS = 1024
# Rows of a weight that are converted to float64 at once.

Walls = tuple[Float[Tensor, "neuron width"], Float[Tensor, " neuron"] | None]
"""Normals and biases of hyperplanes: the rows of a linear map."""


def linear_of(module: nn.Module | None, transposed: bool, name: str = "the weight of a linear map") -> Walls:
    """Weight and bias of a linear module, always as (out, width).

    Args:
        module: The linear module.
        transposed: Its weight is stored as (width, out), as in GPT-2's ``Conv1D``.
        name: The name of the weight in an error message.

    Returns:
        Views in the model's dtype: the weight as (out, width), and the bias or None.

    Raises:
        BadModel: The weight is quantized, so its rows cannot be read directly.

    Example:
        >>> linear_of(nn.Linear(3, 2, bias=False), False)[0].shape
        torch.Size([2, 3])
    """
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if not isinstance(weight, Tensor) or weight.dtype not in _FLOATS:
        raise BadModel(f"{name} is quantized; load the model with a float dtype")
    weight = weight.detach()
    return weight.T if transposed else weight, None if bias is None else bias.detach()


def walls_of(anatomy: Anatomy, layer: int, experts: Sequence[int] = ()) -> Walls:
    """Normals and biases of the hyperplanes of a dense layer, or of some experts of a layer of experts.

    Args:
        anatomy: The model's anatomy.
        layer: The layer, from 0.
        experts: Indices of experts, on a layer of experts. The shared expert, if any, comes last.

    Returns:
        Normals and biases in the order of the gate that ``watch`` passes to its reader.

    Raises:
        BadModel: The weights are quantized.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> tiny = GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16))
        >>> [part.shape for part in walls_of(anatomy_of(tiny), 0)]
        [torch.Size([32, 8]), torch.Size([32])]
    """
    if anatomy.experts(layer) is None:
        return _dense_walls(anatomy, layer)
    parts = _expert_walls(anatomy, layer, experts)
    weight = torch.cat([part for part, _ in parts])
    if all(bias is None for _, bias in parts):
        return weight, None
    return weight, torch.cat([weight.new_zeros(len(part)) if bias is None else bias for part, bias in parts])


def gate_norms(model: nn.Module, layer: int) -> Float[Tensor, " neuron"]:
    """The length of every hyperplane normal of a layer, in float32.

    Cached while the model lives; changing the weights afterwards does not update them. On a layer of
    experts the rows of all experts follow each other, those of the shared expert last.

    Returns:
        Norms; 0 where a neuron's weights are all zero (pruned): it has no hyperplane.

    Raises:
        BadModel: The weights are quantized.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> tiny = GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16))
        >>> gate_norms(tiny, 0).shape
        torch.Size([32])
    """
    anatomy = anatomy_of(model)
    module = anatomy.experts(layer) or anatomy.gate(layer)
    if module not in _NORMS:
        strips = [strip for weight in _all_weights(anatomy, layer) for strip in weight.split(_ROWS)]
        _NORMS[module] = torch.cat([strip.double().norm(dim=1).float() for strip in strips])
    return _NORMS[module].to(next(module.parameters()).device)


def routed_neurons(
    model: nn.Module, layer: int, routes: Int[Tensor, "*text token route"]
) -> Int[Tensor, "*text token neuron"]:
    """The neurons that each token's gate values belong to, on a layer of experts.

    Returns:
        Indices into ``gate_norms(model, layer)``: the neurons of the token's experts, then those of
        the shared expert.
    """
    anatomy = anatomy_of(model)
    sizes = [weight.shape[0] for weight in _all_weights(anatomy, layer)]
    neurons = (routes[..., None] * sizes[0] + torch.arange(sizes[0], device=routes.device)).flatten(-2)
    if anatomy.shared(layer) is None:
        return neurons
    last = torch.arange(sum(sizes) - sizes[-1], sum(sizes), device=routes.device)
    return torch.cat([neurons, last.expand(*neurons.shape[:-1], -1)], dim=-1)


def _dense_walls(anatomy: Anatomy, layer: int) -> Walls:
    """Normals and biases of a dense layer; the first half of a fused linear map."""
    module, name = anatomy.gate(layer), f"the gate weight of layer {layer}"
    weight, bias = linear_of(module, anatomy.family.transposed, name)
    neurons = len(weight) // 2 if anatomy.family.fused else len(weight)
    return weight[:neurons], None if bias is None else bias[:neurons]


def _expert_walls(anatomy: Anatomy, layer: int, experts: Sequence[int]) -> list[Walls]:
    """Normals and biases of some experts of a layer, then of the shared expert."""
    module: Any = anatomy.experts(layer)  # each family has a class of its own; callers check for None
    if module.gate_up_proj.dtype not in _FLOATS:
        raise BadModel(f"the experts of layer {layer} are quantized; load the model with a float dtype")
    parts = [expert_weight(module, expert, anatomy.family.interleaved) for expert in experts]
    shared: Any = anatomy.shared(layer)  # as above
    if shared is not None:
        parts.append(linear_of(shared.gate_proj, False, f"the shared gate weight of layer {layer}"))
    return [(weight.detach(), None if bias is None else bias.detach()) for weight, bias in parts]


def _all_weights(anatomy: Anatomy, layer: int) -> list[Tensor]:
    """The gate weight of a dense layer, or of each expert of a layer, the shared expert's last."""
    module: Any = anatomy.experts(layer)  # as above
    if module is None:
        return [walls_of(anatomy, layer)[0]]
    return [weight for weight, _ in _expert_walls(anatomy, layer, range(len(module.gate_up_proj)))]
