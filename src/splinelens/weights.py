"""The weight matrices of a model, one at a time.

Rows of the gate weight are the normals of the MLP's hyperplanes; their norms turn a gate value into
a distance (arXiv:2312.01648). Norms are computed once per model and layer, in float64, and kept in
float32: the squares of weights that float32 can hold may be too large or too small for it.
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
_ALIVE: WeakKeyDictionary[nn.Module, Tensor | None] = WeakKeyDictionary()


_PLAIN = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# A weight of 8 bits stands for others: its scales are kept elsewhere.

_ROWS = 1024
# Rows of a weight that are in float64 at once.

Walls = tuple[Float[Tensor, "neuron width"], Float[Tensor, " neuron"] | None]
"""Normals and biases of hyperplanes."""


def linear_of(
    module: nn.Module | None, transposed: bool, called: str = "the weight of a linear map"
) -> tuple[Float[Tensor, "out width"], Float[Tensor, " out"] | None]:
    """Weight and bias of a linear map, the one way in which they are read.

    Args:
        module: The linear map.
        transposed: Its weight is stored as (width, out), as GPT-2's ``Conv1D`` does.
        called: What an error calls the weight.

    Returns:
        Views in the model's own dtype: the weight as (out, width), and the bias or None.

    Raises:
        BadModel: The weight is quantised, so its rows cannot be read as they are.

    Example:
        >>> linear_of(nn.Linear(3, 2, bias=False), False)[0].shape
        torch.Size([2, 3])
    """
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if not isinstance(weight, Tensor) or weight.dtype not in _PLAIN:
        raise BadModel(f"{called} is quantised; load the model with a float dtype")
    weight = weight.detach()
    return weight.T if transposed else weight, None if bias is None else bias.detach()


def gate_weight(anatomy: Anatomy, layer: int) -> Float[Tensor, "neuron width"]:
    """The gate weight of a dense layer; row k is the normal of hyperplane k.

    Args:
        anatomy: The model's anatomy.
        layer: The layer, from 0.

    Returns:
        A view of the weight in the model's own dtype, (neuron, width) whatever the storage.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> tiny = GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16))
        >>> gate_weight(anatomy_of(tiny), 0).shape
        torch.Size([32, 8])
    """
    return _dense_walls(anatomy, layer)[0]


def walls_of(
    anatomy: Anatomy, layer: int, experts: Sequence[int] = ()
) -> tuple[Float[Tensor, "neuron width"], Float[Tensor, " neuron"] | None]:
    """The hyperplanes of a dense layer, or of some experts (and the shared one) of a layer of experts.

    Args:
        anatomy: The model's anatomy.
        layer: The layer, from 0.
        experts: Which experts, on a layer of experts.

    Returns:
        Their normals and biases, in the order of the gate that ``watch`` hands over.

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

    Computed once per layer and kept while the model lives; a model whose weights are changed
    afterwards keeps the old norms. On a layer of experts the hyperplanes of all experts stand one
    expert after the other, those of the shared expert last.

    Args:
        model: A transformers model whose architecture has a row in ``anatomy.py``.
        layer: The layer, from 0.

    Returns:
        Norms; 0 where a neuron's weight row is all zero (pruned): it has no hyperplane.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> tiny = GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16))
        >>> gate_norms(tiny, 0).shape
        torch.Size([32])
    """
    anatomy = anatomy_of(model)
    holder = anatomy.experts(layer) or anatomy.gate(layer)
    if holder not in _NORMS:
        weights = _all_weights(anatomy, layer)
        strips = [strip for weight in weights for strip in weight.split(_ROWS)]
        _NORMS[holder] = torch.cat([strip.double().norm(dim=1).float() for strip in strips])
    return _NORMS[holder].to(next(holder.parameters()).device)


def neurons_alive(model: nn.Module, layer: int) -> Int[Tensor, " neuron"] | None:
    """The neurons of a layer that have a hyperplane, or None if all have one.

    Args:
        model: A transformers model whose architecture has a row in ``anatomy.py``.
        layer: The layer, from 0.

    Returns:
        Indices of the neurons whose weight row is not all zero; None for the usual case of all.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> tiny = GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16))
        >>> neurons_alive(tiny, 0) is None
        True
        >>> pruned = GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16))
        >>> _ = gate_weight(anatomy_of(pruned), 0).data[1:].zero_()
        >>> neurons_alive(pruned, 0)
        tensor([0])
    """
    anatomy = anatomy_of(model)
    holder = anatomy.experts(layer) or anatomy.gate(layer)
    if holder not in _ALIVE:
        alive = gate_norms(model, layer) != 0  # a broken norm counts: what it makes must show, not vanish
        _ALIVE[holder] = None if bool(alive.all()) else alive.nonzero().flatten()
    indices = _ALIVE[holder]
    return None if indices is None else indices.to(next(holder.parameters()).device)


def routed_neurons(
    model: nn.Module, layer: int, routes: Int[Tensor, "*text token route"]
) -> Int[Tensor, "*text token neuron"]:
    """Which of a layer's neurons the gate of each token stands for, on a layer of experts.

    Args:
        model: A transformers model whose architecture has a row in ``anatomy.py``.
        layer: A layer of experts, from 0.
        routes: The experts of each token in rising order, as ``watch(routes=...)`` hands them over.

    Returns:
        Indices into ``gate_norms(model, layer)``: the neurons of the token's experts, then those of
        the shared expert.
    """
    anatomy = anatomy_of(model)
    sizes = [weight.shape[0] for weight in _all_weights(anatomy, layer)]
    own = torch.arange(sizes[0], device=routes.device)
    found = (routes[..., None] * sizes[0] + own).flatten(-2)
    if anatomy.shared(layer) is None:
        return found
    last = torch.arange(sum(sizes) - sizes[-1], sum(sizes), device=routes.device)
    return torch.cat([found, last.expand(*found.shape[:-1], -1)], dim=-1)


def _dense_walls(anatomy: Anatomy, layer: int) -> Walls:
    """Normals and biases of a dense layer; of a fused linear map the gate's half."""
    called = f"the gate weight of layer {layer}"
    weight, bias = linear_of(anatomy.gate(layer), anatomy.family.transposed, called)
    neurons = len(weight) // 2 if anatomy.family.fused else len(weight)
    return weight[:neurons], None if bias is None else bias[:neurons]


def _expert_walls(anatomy: Anatomy, layer: int, experts: Sequence[int]) -> list[Walls]:
    """Normals and biases of some experts of a layer, the shared expert's last."""
    holder: Any = anatomy.experts(layer)  # an experts module of some class; a caller has looked
    if holder.gate_up_proj.dtype not in _PLAIN:
        raise BadModel(f"the experts of layer {layer} are quantised; load the model with a float dtype")
    parts = [expert_weight(holder, expert, anatomy.family.interleaved) for expert in experts]
    shared: Any = anatomy.shared(layer)  # an MLP of some class
    if shared is not None:
        parts.append(linear_of(shared.gate_proj, False, f"the shared gate weight of layer {layer}"))
    return [(weight.detach(), None if bias is None else bias.detach()) for weight, bias in parts]


def _all_weights(anatomy: Anatomy, layer: int) -> list[Tensor]:
    """The gate weight of a dense layer, or those of all experts of a layer, the shared expert's last."""
    holder: Any = anatomy.experts(layer)  # an experts module of some class
    if holder is None:
        return [gate_weight(anatomy, layer)]
    return [weight for weight, _ in _expert_walls(anatomy, layer, range(len(holder.gate_up_proj)))]
