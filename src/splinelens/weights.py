"""The weight matrices of a model, one at a time.

Rows of the gate weight are the normals of the MLP's hyperplanes; their norms turn a gate value into
a distance (arXiv:2312.01648). Norms are computed once per model and layer, in float32.
"""

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


def gate_weight(anatomy: Anatomy, layer: int) -> Float[Tensor, "neuron width"]:
    """The gate weight of a layer; row k is the normal of hyperplane k.

    Args:
        anatomy: The model's anatomy.
        layer: The layer, from 0.

    Returns:
        A view of the weight in the model's own dtype, (neuron, width) whatever the storage.

    Raises:
        BadModel: The weight is quantised, so its rows cannot be read as they are.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> tiny = GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16))
        >>> gate_weight(anatomy_of(tiny), 0).shape
        torch.Size([32, 8])
    """
    weight = anatomy.gate(layer).weight
    if not isinstance(weight, Tensor) or weight.dtype not in _PLAIN:
        raise BadModel(f"the gate weight of layer {layer} is quantised; load the model with a float dtype")
    if anatomy.family.transposed:
        weight = weight.T
    return weight[: weight.shape[0] // 2] if anatomy.family.fused else weight


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
        weights = _expert_weights(anatomy, layer) or [gate_weight(anatomy, layer)]
        _NORMS[holder] = torch.cat([weight.detach().float().norm(dim=1) for weight in weights])
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
    sizes = [weight.shape[0] for weight in _expert_weights(anatomy, layer)]
    own = torch.arange(sizes[0], device=routes.device)
    found = (routes[..., None] * sizes[0] + own).flatten(-2)
    if anatomy.shared(layer) is None:
        return found
    last = torch.arange(sum(sizes) - sizes[-1], sum(sizes), device=routes.device)
    return torch.cat([found, last.expand(*found.shape[:-1], -1)], dim=-1)


def _expert_weights(anatomy: Anatomy, layer: int) -> list[Tensor]:
    """The gate weights of all experts of a layer, the shared expert's last; empty on a dense layer."""
    experts, shared = anatomy.experts(layer), anatomy.shared(layer)
    if experts is None:
        return []
    count = experts.gate_up_proj.shape[0]  # type: ignore[index]  # a parameter of three axes
    weights = [expert_weight(experts, index, anatomy.family.interleaved)[0] for index in range(count)]
    if shared is not None:
        weights.append(shared.gate_proj.weight)  # type: ignore[union-attr, arg-type]  # a linear map
    return weights
