"""Remove gate neurons from every block of a model: its matrices get smaller, and any engine runs it."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from splinelens.anatomy import Anatomy, anatomy_of
from splinelens.engines.blocks import BlockPasses
from splinelens.engines.torch import run_tokens
from splinelens.errors import BadFeatures, BadModel
from splinelens.layers import watch
from splinelens.weights.gates import linear_of
from splinelens.weights.neurons import neuron_losses, refitted_down

_SIZES = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")
# What configurations call the number of neurons of a block.


@dataclass(frozen=True)
class RemovedNeurons:
    """The neurons that a block lost.

    Attributes:
        layer: The block.
        neurons: Their indices.
        silent: How many of them never fire on the calibration text: their gate is never positive.
        activation_share: Their share of the activations: root mean square times the norm of the outgoing
            weights.
        output_change: The mean square of the change of the MLP's output over that of the output, on the
            calibration text, after the others were refitted.
    """

    layer: int
    neurons: tuple[int, ...]
    silent: int
    activation_share: float
    output_change: float


def gate_occupancy(model: nn.Module, ids: Int[Tensor, "text token"]) -> Float[Tensor, "layer neuron"]:
    """The share of tokens at which the gate of each neuron is positive.

    Args:
        model: A transformers model whose layers are dense and of one size.
        ids: Token ids of texts of equal length.

    Raises:
        BadModel: A layer has experts.
    """
    anatomy = anatomy_of(model)
    _require_dense(anatomy, type(model).__name__)
    counts = torch.zeros(anatomy.depth, anatomy.neurons(0), dtype=torch.int64)

    def count(layer: int, gate: Tensor) -> None:
        counts[layer] += (gate > 0).sum(dim=(0, 1)).cpu()

    with watch(anatomy.base, gate=count):
        for row in ids.split(1):
            run_tokens(anatomy.base, row, torch.arange(row.shape[1])[None])
    return counts / ids.numel()


def remove_neurons(
    model: nn.Module,
    count: int,
    ids: Int[Tensor, "text token"],
    occupancy: Float[Tensor, "layer neuron"],
    highest: float = 1.0,
) -> Iterator[RemovedNeurons]:
    """Remove the same number of neurons from every block, in place, one block after the other.

    A configuration has one number of neurons for all blocks. Each block loses those whose removal changes the
    output of its MLP least if the others make up for it; the down projection of the others is refitted.

    Args:
        model: A transformers model; its weights and its configuration change.
        count: How many neurons each block loses.
        ids: Calibration tokens.
        occupancy: As from ``gate_occupancy``.
        highest: Remove only neurons whose occupancy is not above it.

    Yields:
        What each block lost.

    Raises:
        BadModel: The blocks have experts or differ in size, the weights are quantized, or the configuration
            has no number of neurons that can be changed.
        BadFeatures: A block has fewer such neurons, or would keep none.
    """
    anatomy = anatomy_of(model)
    allowed = (occupancy <= highest).sum(dim=1)
    if not 0 <= count < anatomy.neurons(0) or count > int(allowed.min()):
        raise BadFeatures(
            f"cannot remove {count:,} neurons: layer {int(allowed.argmin())} has {int(allowed.min()):,} of "
            f"{anatomy.neurons(0):,} at an occupancy of at most {highest:g}, and one must stay"
        )
    name = _resizable(model, count)
    passes = BlockPasses(model, ids)
    for layer in range(anatomy.depth):
        down = linear_of(anatomy.down(layer), anatomy.family.transposed, f"the down projection of {layer}")[0]
        gram = passes.input_stats([anatomy.family.down], gram=True)[anatomy.family.down].gram
        assert gram is not None
        losses = neuron_losses(down, gram).masked_fill(occupancy[layer].to(down.device) > highest, torch.inf)
        order = losses.argsort(stable=True)
        gone, kept = order[:count].sort().values, order[count:].sort().values
        refitted = refitted_down(down, gram, kept)
        mass = gram.diagonal().double().sqrt() * down.double().norm(dim=0)
        change = down.double().clone()
        change[:, kept] -= refitted.double()
        removed = RemovedNeurons(
            layer=layer,
            neurons=tuple(gone.tolist()),
            silent=int((occupancy[layer][gone.cpu()] == 0).sum()),
            activation_share=_share(float(mass[gone].sum()), float(mass.sum())),
            output_change=_share(_power(change, gram), _power(down.double(), gram)),
        )
        _shrink(anatomy, layer, kept, refitted)
        if layer + 1 < anatomy.depth:
            passes.advance()
        yield removed
    setattr(_text_config(model), name, anatomy.neurons(0))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0  # 0 where no neuron of the block ever fires


def _power(weight: Tensor, gram: Tensor) -> float:
    """The mean square of ``W a``, summed over outputs."""
    return float(((weight @ gram.double()) * weight).sum())


def _shrink(anatomy: Anatomy, layer: int, kept: Tensor, down: Tensor) -> None:
    """Keep some neurons of the gate, the up projection and the down projection of a block."""
    transposed, fused = anatomy.family.transposed, anatomy.family.fused
    neurons = anatomy.neurons(layer)
    for module in (anatomy.gate(layer), anatomy.up(layer)):
        if module is not None:
            weight, bias = linear_of(module, transposed)
            rows = torch.cat([kept, neurons + kept]) if fused else kept
            _replace(module, weight[rows], None if bias is None else bias[rows], transposed)
    module = anatomy.down(layer)
    _replace(module, down, linear_of(module, transposed)[1], transposed)


def _replace(module: Any, weight: Tensor, bias: Tensor | None, transposed: bool) -> None:  # Any: linear
    """Give a linear module another weight of (out, width)."""
    stored = weight.T if transposed else weight
    module.weight = nn.Parameter(stored.contiguous(), requires_grad=False)
    if bias is not None:
        module.bias = nn.Parameter(bias.clone(), requires_grad=False)
    names = ("nf", "nx") if transposed else ("out_features", "in_features")
    for name, size in zip(names, weight.shape, strict=True):
        setattr(module, name, size)


def _text_config(model: nn.Module) -> Any:  # Any: transformers' configurations share no typed interface
    config: Any = model.config
    return config.get_text_config()


def _require_dense(anatomy: Anatomy, kind: str) -> None:
    if anatomy.expert_layers:
        raise BadModel(
            f"layer {anatomy.expert_layers[0]} of {kind} consists of experts; only dense layers lose neurons"
        )


def _resizable(model: nn.Module, count: int) -> str:
    """What the configuration calls its number of neurons, if a smaller one gives the expected shapes."""
    anatomy, kind = anatomy_of(model), type(model).__name__
    _require_dense(anatomy, kind)
    for layer in range(anatomy.depth):
        linear_of(anatomy.gate(layer), anatomy.family.transposed, f"the gate weight of layer {layer}")
    sizes = {anatomy.neurons(layer) for layer in range(anatomy.depth)}
    if len(sizes) > 1:
        raise BadModel(f"the layers of {kind} have {sorted(sizes)} neurons; they must have one number")
    neurons = sizes.pop()
    for name in _SIZES:
        if hasattr(_text_config(model), name) and _changed(model, name, neurons - count) == _expected(
            anatomy, neurons - count
        ):
            return name
    raise BadModel(
        f"the configuration of {kind} has no number of neurons that can be changed by itself, so a smaller "
        "model could not be loaded"
    )


def _changed(model: nn.Module, name: str, neurons: int) -> dict[str, tuple[int, ...]] | None:
    """The tensors whose shape another number of neurons changes; None if no such model can be built."""
    from transformers import AutoModel

    base = anatomy_of(model).base
    config: Any = deepcopy(base.config)
    setattr(config.get_text_config(), name, neurons)
    try:
        with torch.device("meta"):
            smaller = AutoModel.from_config(config)
    except Exception:  # classes refuse sizes that do not fit in many ways
        return None
    shapes = {path: tuple(tensor.shape) for path, tensor in smaller.state_dict().items()}
    now = {path: tuple(tensor.shape) for path, tensor in base.state_dict().items()}
    if shapes.keys() != now.keys():
        return None
    return {path: shape for path, shape in shapes.items() if shape != now[path]}


def _expected(anatomy: Anatomy, neurons: int) -> dict[str, tuple[int, ...]]:
    """The tensors that removing neurons changes, with their shapes then."""
    paths = {module: path for path, module in anatomy.base.named_modules()}
    before, shapes = anatomy.neurons(0), {}
    for layer in range(anatomy.depth):
        for module, axis in ((anatomy.gate(layer), 0), (anatomy.up(layer), 0), (anatomy.down(layer), 1)):
            for name, tensor in () if module is None else module.named_parameters():
                shape, of_bias = list(tensor.shape), tensor.dim() == 1
                if of_bias and axis == 1:
                    continue
                index = 0 if of_bias else axis ^ anatomy.family.transposed
                shape[index] = shape[index] // before * neurons
                shapes[f"{paths[module]}.{name}"] = tuple(shape)
    return shapes if neurons != before else {}
