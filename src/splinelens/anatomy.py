"""The module paths of each architecture: blocks, gate, activation, down projection, attention.

The gate is the input of the MLP's nonlinearity: the output of ``gate_proj`` in a gated MLP, of the first
linear map in an ungated one (arXiv:2312.01648). In a layer of experts every expert has its gate. Nothing
is guessed: an architecture without a row in ``FAMILIES`` is refused. Paths were taken from models
instantiated with transformers 5.24.
"""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakSet

from splinelens.errors import BadFeatures, UnknownAnatomy

if TYPE_CHECKING:
    from torch import Tensor, nn

_VERIFIED: "WeakSet[nn.Module]" = WeakSet()
# Models whose every path was followed once: that takes 0.7 ms for 30 blocks, too long for every layer.


@dataclass(frozen=True)
class Family:
    """Dotted module paths of one architecture; all but ``blocks`` are relative to a block.

    Attributes:
        blocks: The list of blocks, relative to the base model.
        gate: The linear map whose output is the gate.
        down: The linear map after the nonlinearity.
        attention: The attention module.
        up: The linear map that multiplies the activation; empty if the MLP is not gated or the map is
            fused with the gate.
        output: The output projection of the attention.
        activation: The module of the nonlinearity; experts store theirs as ``act_fn``.
        no_activation: The reason if ``activation`` is empty.
        gated: A second linear map multiplies the activation (such as SwiGLU).
        fused: Gate and up projection share one linear map; the gate is its first half.
        transposed: The weight is stored as (width, neuron), as in GPT-2's ``Conv1D``.
        flattened: The MLP's input is (text * token, width) instead of (text, token, width).
        experts: The module with the experts' ``gate_up_proj``, of shape (expert, 2 neuron, width) with
            the gate first. Blocks without it have a dense MLP.
        shared: The expert that processes every token, an MLP with ``gate_proj``, ``up_proj`` and
            ``down_proj``.
        interleaved: ``gate_up_proj`` is (expert, width, 2 neuron) with the gate at even indices.
        linear: The module that replaces the attention in blocks without a softmax.
        softmax: "interface" if the attention uses transformers' ``AttentionInterface``; "weights" if
            only eager attention returns its weights, as its second output.
        output_gate: The attention's result is multiplied by a gate before the output projection, so
            the output is not a sum of hull points.
        unread_with: A switch of the configuration with which transformers' eager attention computes
            other weights than the model uses, so that its attention cannot be read.
        unread_because: What eager attention does then.
        no_float64: Why transformers cannot run the family in float64; empty if it can.
    """

    blocks: str
    gate: str
    down: str
    attention: str
    up: str = ""
    output: str = ""
    activation: str = ""
    no_activation: str = ""
    gated: bool = False
    fused: bool = False
    transposed: bool = False
    flattened: bool = False
    experts: str = ""
    shared: str = ""
    interleaved: bool = False
    linear: str = ""
    softmax: Literal["interface", "weights"] = "interface"
    output_gate: bool = False
    unread_with: str = ""
    unread_because: str = ""
    no_float64: str = ""


_LLAMA = Family(
    blocks="layers",
    gate="mlp.gate_proj",
    down="mlp.down_proj",
    attention="self_attn",
    up="mlp.up_proj",
    output="self_attn.o_proj",
    activation="mlp.act_fn",
    gated=True,
)
_UNGATED = replace(_LLAMA, gate="mlp.up_proj", up="", gated=False)
_FUSED = replace(_LLAMA, gate="mlp.gate_up_proj", up="", activation="mlp.activation_fn", fused=True)
_FC = replace(_UNGATED, gate="mlp.fc1", down="mlp.fc2", activation="mlp.activation_fn")
_GPT2 = Family(
    blocks="h",
    gate="mlp.c_fc",
    down="mlp.c_proj",
    attention="attn",
    output="attn.c_proj",
    activation="mlp.act",
)
_GPTJ = replace(_GPT2, gate="mlp.fc_in", down="mlp.fc_out", output="attn.out_proj")
_GPTNEO = replace(_GPT2, attention="attn.attention", output="attn.attention.out_proj", softmax="weights")
_NEOX = Family(
    blocks="layers",
    gate="mlp.dense_h_to_4h",
    down="mlp.dense_4h_to_h",
    attention="attention",
    output="attention.dense",
    activation="mlp.act",
)
_FALCON = replace(
    _NEOX, blocks="h", attention="self_attention", output="self_attention.dense", softmax="weights"
)
_OPT = Family(
    blocks="decoder.layers",
    gate="fc1",
    down="fc2",
    attention="self_attn",
    output="self_attn.out_proj",
    activation="activation_fn",
    flattened=True,
)
_MIXTRAL = replace(_LLAMA, experts="mlp.experts")
_QWEN_MOE = replace(_MIXTRAL, shared="mlp.shared_expert")
_DEEPSEEK = replace(_MIXTRAL, shared="mlp.shared_experts")
_QWEN3_5 = replace(_LLAMA, linear="linear_attn", output_gate=True)
_QWEN3_NEXT = replace(_QWEN3_5, experts="mlp.experts", shared="mlp.shared_expert")

FAMILIES: dict[str, Family] = {
    # gated, three linear maps
    "llama": _LLAMA,
    "cohere": _LLAMA,
    "cohere2": _LLAMA,
    "cwm": _LLAMA,
    "ernie4_5": _LLAMA,
    "exaone4": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": _LLAMA,
    "gemma3": replace(_LLAMA, blocks="language_model.layers"),
    "gemma3_text": _LLAMA,
    "gemma4": replace(_LLAMA, blocks="language_model.layers"),
    "gemma4_text": _LLAMA,
    "granite": _LLAMA,
    "granite_swa": _LLAMA,
    "helium": _LLAMA,
    "hunyuan_v1_dense": _LLAMA,
    "ministral": _LLAMA,
    "ministral3": _LLAMA,
    "mistral": _LLAMA,
    "mistral3": replace(_LLAMA, blocks="language_model.layers"),
    "olmo": _LLAMA,
    "olmo2": _LLAMA,
    "olmo3": _LLAMA,
    "olmo_hybrid": replace(_LLAMA, linear="linear_attn"),
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "qwen3_5": replace(_QWEN3_5, blocks="language_model.layers"),
    "qwen3_5_text": _QWEN3_5,
    "seed_oss": _LLAMA,
    "smollm3": _LLAMA,
    "stablelm": _LLAMA,
    "vaultgemma": _LLAMA,
    # gated, gate and up projection in one map
    "glm": _FUSED,
    "glm4": _FUSED,
    "phi3": _FUSED,
    # ungated
    "apertus": _UNGATED,
    "arcee": _UNGATED,
    "bloom": replace(_FALCON, activation="mlp.gelu_impl"),
    "codegen": _GPTJ,
    "falcon": replace(
        _FALCON,
        unread_with="alibi",
        unread_because="eager attention in transformers adds the ALiBi bias of Falcon twice",
    ),
    "gpt2": replace(_GPT2, transposed=True),
    "gpt_bigcode": _GPT2,
    "gpt_neo": _GPTNEO,
    "gpt_neox": _NEOX,
    "gptj": _GPTJ,
    "jais2": _UNGATED,
    "mpt": Family(
        blocks="blocks",
        gate="ffn.up_proj",
        down="ffn.down_proj",
        attention="attn",
        output="attn.out_proj",
        activation="ffn.act",
        softmax="weights",
    ),
    "nanochat": _FC,
    "nemotron": _UNGATED,
    "opt": _OPT,
    "persimmon": replace(_NEOX, attention="self_attn", output="self_attn.dense"),
    "phi": replace(_FC, output="self_attn.dense"),
    "starcoder2": replace(_UNGATED, gate="mlp.c_fc", down="mlp.c_proj", activation="mlp.act"),
    "xglm": replace(
        _OPT,
        blocks="layers",
        flattened=False,
        softmax="weights",
        no_float64="its attention creates the least float64 as a float32",
    ),
    # experts, in all or some blocks
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": _DEEPSEEK,
    "dots1": _DEEPSEEK,
    "ernie4_5_moe": _DEEPSEEK,
    "exaone_moe": _DEEPSEEK,
    "flex_olmo": _MIXTRAL,
    "glm4_moe": _DEEPSEEK,
    "gpt_oss": replace(
        _MIXTRAL,
        activation="",
        no_activation="its experts clamp gate and up projection and scale the gate inside the sigmoid",
        interleaved=True,
    ),
    "granitemoe": replace(_MIXTRAL, experts="block_sparse_moe.experts"),
    "hunyuan_v1_moe": replace(_MIXTRAL, shared="mlp.shared_mlp"),
    "mixtral": _MIXTRAL,
    "olmoe": _MIXTRAL,
    "phimoe": _MIXTRAL,
    "qwen2_moe": _QWEN_MOE,
    "qwen3_5_moe": replace(_QWEN3_NEXT, blocks="language_model.layers"),
    "qwen3_5_moe_text": _QWEN3_NEXT,
    "qwen3_moe": _MIXTRAL,
    "qwen3_next": _QWEN3_NEXT,
}
"""One row per architecture, by the ``model_type`` of its configuration."""


@dataclass(frozen=True)
class Anatomy:
    """The modules of one model that define its geometry, by its family's row.

    Every method takes a layer: models mix dense blocks with experts, and softmax with linear attention.
    """

    family: Family
    base: "nn.Module"
    blocks: "nn.ModuleList"

    @property
    def depth(self) -> int:
        """Number of blocks in the model."""
        return len(self.blocks)

    @property
    def has_linear_attention(self) -> bool:
        """Whether some layer has linear attention."""
        return any(_optional(block, self.family.linear) is not None for block in self.blocks)

    @property
    def width(self) -> int:
        """Width of the residual stream, for a multimodal model that of its language model."""
        config: Any = self.base.config  # transformers' configurations share no typed interface
        return int(config.get_text_config().hidden_size)

    @property
    def softmax(self) -> Literal["interface", "weights"]:
        """The row's value, or "weights" with older transformers (GPT-J and CodeGen before 5.24)."""
        kinds = {kind for layer in self.softmax_layers for kind in type(self.attention(layer)).__mro__}
        through = any(hasattr(sys.modules[kind.__module__], "ALL_ATTENTION_FUNCTIONS") for kind in kinds)
        return self.family.softmax if through else "weights"

    @property
    def softmax_layers(self) -> tuple[int, ...]:
        """The layers with softmax attention that can be read, in rising order."""
        return tuple(layer for layer in range(self.depth) if self.attention(layer) is not None)

    def layers(self, requested: Iterable[int] | None) -> tuple[int, ...]:
        """The requested layers in rising order, each once; None stands for all.

        Raises:
            BadFeatures: A layer that does not exist.
        """
        chosen = range(self.depth) if requested is None else sorted(set(requested))
        wrong = [layer for layer in chosen if not 0 <= layer < self.depth]
        if wrong:
            raise BadFeatures(
                f"layers {wrong} do not exist: {self.depth} blocks are loaded, 0 to {self.depth - 1}"
            )
        return tuple(chosen)

    def gate(self, layer: int) -> "nn.Module":
        """The linear map whose output is the gate of a dense layer (with ``fused``, its first half).

        Raises:
            UnknownAnatomy: The layer consists of experts: it has several gates.
        """
        return self._dense(layer, self.family.gate)

    def up(self, layer: int) -> "nn.Module | None":
        """The linear map that multiplies the activation of a dense layer; None if ungated or fused.

        Raises:
            UnknownAnatomy: The layer consists of experts.
        """
        return self._dense(layer, self.family.up) if self.family.up else None

    def down(self, layer: int) -> "nn.Module":
        """The linear map after the nonlinearity of a dense layer.

        Raises:
            UnknownAnatomy: The layer consists of experts.
        """
        return self._dense(layer, self.family.down)

    def experts(self, layer: int) -> "nn.Module | None":
        """The module with the experts of a layer; None on a dense layer."""
        return _optional(self.blocks[layer], self.family.experts)

    @property
    def expert_layers(self) -> tuple[int, ...]:
        """The layers that consist of experts, in rising order."""
        return tuple(layer for layer in range(self.depth) if self.experts(layer) is not None)

    def shared(self, layer: int) -> "nn.Module | None":
        """The expert of a layer that processes every token; None without one."""
        return _optional(self.blocks[layer], self.family.shared)

    def attention(self, layer: int) -> "nn.Module | None":
        """The attention module of a layer; None where ``no_attention`` gives a reason."""
        return self._softmax(layer, self.family.attention)

    def output(self, layer: int) -> "nn.Module | None":
        """The output projection of a layer's attention; None as for ``attention``."""
        return self._softmax(layer, self.family.output)

    def no_attention(self, layer: int) -> str | None:
        """Why the attention of a layer cannot be read, or None.

        Linear attention has no softmax. Falcon with ALiBi has one, but transformers' eager attention, which
        alone exposes its weights, adds the bias twice: its weights, and all states after it, are those of
        another model.
        """
        if _optional(self.blocks[layer], self.family.linear) is not None:
            return "linear attention has no softmax"
        config: Any = self.base.config  # Any: see width
        if self.family.unread_with and getattr(config, self.family.unread_with, False):
            return f"{self.family.unread_because}, so its weights are not those of the model"
        return None

    def activation(self, layer: int) -> "Callable[[Tensor], Tensor]":
        """The elementwise nonlinearity that a layer applies to its gate.

        Raises:
            UnknownAnatomy: The architecture applies no function to the gate only.
        """
        experts = self.experts(layer)
        if not self.family.activation:
            raise UnknownAnatomy(
                f"the gate of layer {layer} ({type(self.base).__name__}) has no known activation: "
                f"{self.family.no_activation}; features that need none (signs, distances) still work"
            )
        if experts is not None:
            return _below(experts, "act_fn")
        return _below(self.blocks[layer], self.family.activation)

    def neurons(self, layer: int) -> int:
        """Number of neurons of a layer: of all its experts and then the shared expert."""
        experts: Any = self.experts(layer)  # each family has a class of its own
        if experts is None:
            gate: Any = self.gate(layer)  # a linear module of some class, perhaps quantized
            rows = gate.nf if self.family.transposed else gate.out_features
            return int(rows // 2 if self.family.fused else rows)
        count, *shape = experts.gate_up_proj.shape
        routed = count * shape[1 if self.family.interleaved else 0] // 2
        shared: Any = self.shared(layer)
        return int(routed if shared is None else routed + shared.gate_proj.out_features)

    def _dense(self, layer: int, path: str) -> "nn.Module":
        if self.experts(layer) is not None:
            raise UnknownAnatomy(
                f"layer {layer} of {type(self.base).__name__} consists of experts, each with a "
                "gate of its own; use Anatomy.experts"
            )
        return _below(self.blocks[layer], path)

    def _softmax(self, layer: int, path: str) -> "nn.Module | None":
        return None if self.no_attention(layer) else _below(self.blocks[layer], path)


def anatomy_of(model: "nn.Module") -> Anatomy:
    """Find the blocks and gates of a transformers model.

    Returns:
        The anatomy of the base model inside ``model``.

    Raises:
        UnknownAnatomy: The architecture has no row, or the model does not fit its row.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> tiny = GPT2Model(GPT2Config(n_layer=2, n_head=2, n_embd=8, vocab_size=16))
        >>> anatomy_of(tiny).depth
        2
    """
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    if model_type is None:
        kind = type(model).__name__
        raise UnknownAnatomy(
            f"a {kind} is no transformers model and has no row in anatomy.py; "
            f"give {'its .model' if kind == 'LoadedModel' else 'a model, such as load_model(name).model'}"
        )
    family = FAMILIES.get(str(model_type))
    if family is None:
        raise UnknownAnatomy(
            f"architecture {model_type!r} ({type(model).__name__}) has no row in anatomy.py; supported are "
            f"{', '.join(sorted(FAMILIES))}. If its blocks have an MLP with a linear gate, add one "
            "Family(blocks, gate, down, attention) in FAMILIES and one tiny model in tests/conftest.py, see "
            "CONTRIBUTING.md; without such an MLP there is nothing to measure"
        )
    base = getattr(model, "base_model", model)
    try:
        blocks = _below(base, family.blocks)
        anatomy = Anatomy(family, base, blocks)  # type: ignore[arg-type]  # a path ends at the ModuleList
        if model not in _VERIFIED:
            for layer in range(anatomy.depth):
                _verify(anatomy, layer)
            _VERIFIED.add(model)
    except AttributeError as error:
        raise UnknownAnatomy(
            f"{type(model).__name__} does not fit the row {model_type!r} of anatomy.py: {error}"
        ) from error
    return anatomy


def _verify(anatomy: Anatomy, layer: int) -> None:
    """Follow every path of the row; a wrong one raises ``AttributeError``."""
    anatomy.attention(layer)
    anatomy.output(layer)
    anatomy.neurons(layer)
    if anatomy.family.activation:
        anatomy.activation(layer)
    if anatomy.experts(layer) is None:
        anatomy.down(layer)
        anatomy.up(layer)
        for path in ("experts", "mlp.experts"):
            if _optional(anatomy.blocks[layer], path) is not None:
                raise AttributeError(f"layer {layer} has experts at {path!r}, which the row does not name")


def _below(module: "nn.Module", path: str) -> "nn.Module":
    return reduce(getattr, path.split("."), module)


def _optional(module: "nn.Module", path: str) -> "nn.Module | None":
    """The module at a path; None if the path is empty or does not exist."""
    current: nn.Module | None = module if path else None
    for name in path.split("."):
        current = getattr(current, name, None)
    return current
