"""Where each architecture keeps its blocks, its gate and the matrices around it.

The gate is the input of the MLP's nonlinearity: the output of ``gate_proj`` in a gated MLP, of the
first linear in an ungated one (arXiv:2312.01648). Nothing is guessed: an architecture has a row in
``FAMILIES`` or it is refused with the recipe for a row. Paths were read from models instantiated
with transformers 5.23.
"""

from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING
from weakref import WeakSet

from splinelens.errors import UnknownAnatomy

if TYPE_CHECKING:
    from torch import nn

_FITTING: "WeakSet[nn.Module]" = WeakSet()
# Models whose every layer was looked up once: that takes 0.15 ms for 30 blocks, and is asked per layer.


@dataclass(frozen=True)
class Family:
    """The places of one architecture, as dotted paths.

    Attributes:
        blocks: The list of blocks, below the base model.
        gate: The linear map whose output is the gate, below a block.
        down: The linear map behind the nonlinearity, below a block.
        attention: The attention module, below a block.
        gated: A second linear map multiplies the activation (SwiGLU and its kin).
        fused: Gate and up projection share one linear map; the gate is its first half.
        transposed: The weight is stored as (width, neuron), as GPT-2's ``Conv1D`` does.
        flattened: The MLP sees (text * token, width) instead of (text, token, width).
    """

    blocks: str
    gate: str
    down: str
    attention: str
    gated: bool = False
    fused: bool = False
    transposed: bool = False
    flattened: bool = False


_LLAMA = Family("layers", "mlp.gate_proj", "mlp.down_proj", "self_attn", gated=True)
_PHI3 = replace(_LLAMA, gate="mlp.gate_up_proj", fused=True)

FAMILIES: dict[str, Family] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "phi3": _PHI3,
    "gpt2": Family("h", "mlp.c_fc", "mlp.c_proj", "attn", transposed=True),
    "gpt_neox": Family("layers", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", "attention"),
    "opt": Family("decoder.layers", "fc1", "fc2", "self_attn", flattened=True),
}
"""One row an architecture, by the ``model_type`` of its configuration."""


@dataclass(frozen=True)
class Anatomy:
    """The modules of one model that hold its geometry, found through its family's row."""

    family: Family
    base: "nn.Module"
    blocks: "nn.ModuleList"

    @property
    def depth(self) -> int:
        """Number of blocks in the model."""
        return len(self.blocks)

    def gate(self, layer: int) -> "nn.Module":
        """The linear map whose output is the gate of a layer (with ``fused``, its first half)."""
        return _below(self.blocks[layer], self.family.gate)

    def down(self, layer: int) -> "nn.Module":
        """The linear map behind the nonlinearity of a layer."""
        return _below(self.blocks[layer], self.family.down)


def anatomy_of(model: "nn.Module") -> Anatomy:
    """Find the blocks and gates of a transformers model.

    Args:
        model: A base model or one with a head; ``model.config.model_type`` picks the row.

    Returns:
        The anatomy of the base model inside ``model``.

    Raises:
        UnknownAnatomy: The architecture has no row, or the model does not fit its row. The message
            names the architectures there are and the row to add.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> tiny = GPT2Model(GPT2Config(n_layer=2, n_head=2, n_embd=8, vocab_size=16))
        >>> anatomy_of(tiny).depth
        2
    """
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    family = FAMILIES.get(str(model_type))
    if family is None:
        raise UnknownAnatomy(
            f"architecture {model_type!r} ({type(model).__name__}) has no row in anatomy.py; it knows "
            f"{', '.join(sorted(FAMILIES))}. To add it: one Family(blocks, gate, down, attention) in "
            "FAMILIES and one tiny model in tests/conftest.py; see CONTRIBUTING.md"
        )
    base = getattr(model, "base_model", model)
    try:
        blocks = _below(base, family.blocks)
        anatomy = Anatomy(family, base, blocks)  # type: ignore[arg-type]  # a path ends at the ModuleList
        if model not in _FITTING:
            for layer in range(anatomy.depth):
                anatomy.gate(layer), anatomy.down(layer)
            _FITTING.add(model)
    except AttributeError as error:
        raise UnknownAnatomy(
            f"{type(model).__name__} does not fit the row {model_type!r} of anatomy.py: {error}"
        ) from error
    return anatomy


def _below(module: "nn.Module", path: str) -> "nn.Module":
    return reduce(getattr, path.split("."), module)
