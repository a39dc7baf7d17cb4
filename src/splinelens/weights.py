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
    afterwards keeps the old norms.

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
    gate, weight = anatomy.gate(layer), gate_weight(anatomy, layer)
    if gate not in _NORMS:
        _NORMS[gate] = weight.detach().float().norm(dim=1)
    return _NORMS[gate].to(weight.device)


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
    gate, norms = anatomy_of(model).gate(layer), gate_norms(model, layer)
    if gate not in _ALIVE:
        alive = norms != 0  # a broken norm counts: what it makes must show, not vanish
        _ALIVE[gate] = None if bool(alive.all()) else alive.nonzero().flatten()
    indices = _ALIVE[gate]
    return None if indices is None else indices.to(norms.device)
