"""The weight matrices of a model's blocks, one at a time.

They come from a loaded model, or straight from a folder of safetensors: then only one matrix is in memory,
and of the model only its structure is built, which holds no numbers.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from splinelens.anatomy import Anatomy, anatomy_of
from splinelens.errors import BadModel, SplinelensError
from splinelens.models.hub import shard_names
from splinelens.models.load import LoadedModel
from splinelens.models.quiet import quiet
from splinelens.models.source import find_source

_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_EXPERT_PARTS = {
    "gate_up_proj": (("gate_proj", "up_proj"), ("w1", "w3")),
    "down_proj": (("down_proj",), ("w2",)),
}
# In files the maps of an expert are tensors of their own; gate and up projection follow each other.
_EXPERT_STACKS = {"gate_up_proj": "input_linear.weight", "down_proj": "output_linear.weight"}
# Granite keeps the maps of all experts in one tensor of three axes.


@dataclass(frozen=True, eq=False)
class Matrix:
    """One linear map of a block.

    Attributes:
        layer: The block, from 0.
        name: Its path inside the block, such as ``self_attn.q_proj``; of the maps of an expert with the
            expert's index, ``mlp.experts.3.down_proj``.
        tensor: The weight in the dtype that it is stored in; row k gives output k. Of a loaded model it is a
            view: writing to it changes the model.
    """

    layer: int
    name: str
    tensor: Float[Tensor, "out width"]


def weight_matrices(source: str | os.PathLike[str] | LoadedModel | nn.Module) -> Iterator[Matrix]:
    """The matrices of the linear maps of all blocks, block by block: 7 for each block of a Llama.

    A map that transformers fuses (query, key and value, or gate and up projection) is one matrix; the maps of
    every expert are matrices of their own, with gate and up projection as one. GPT-2's maps are stored
    transposed and come out as (out, width). Not among them are the embeddings and the language-model head,
    which many models share (tied embeddings: a change of one would change the other), norms, convolutions,
    routers, and maps to a single number.

    Args:
        source: A model, or what ``load_model`` takes: alias, folder, ``.gguf`` file or hub id.

    Raises:
        UnknownModel: No model of this name.
        UnknownAnatomy: The architecture has no row in ``anatomy.py``.
        BadModel: The weights are quantized, or a file lacks one.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> tiny = GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16))
        >>> [(matrix.name, *matrix.tensor.shape) for matrix in weight_matrices(tiny)][:2]
        [('attn.c_attn', 24, 8), ('attn.c_proj', 8, 8)]
    """
    if isinstance(source, str | os.PathLike):
        yield from _stored_matrices(find_source(os.fspath(source))[0])
        return
    anatomy = anatomy_of(source.model if isinstance(source, LoadedModel) else source)
    _require_float(anatomy.base.config, "the model")
    for layer in range(anatomy.depth):
        for name, parameter, expert in _maps(anatomy, layer):
            weight = parameter.detach() if expert is None else parameter.detach()[expert]
            yield _matrix(anatomy, layer, name, weight)


def blocks_of(source: str | os.PathLike[str] | LoadedModel | nn.Module) -> Iterator[list[Matrix]]:
    """The matrices of ``weight_matrices``, a list for each block."""
    for _, block in groupby(weight_matrices(source), key=lambda matrix: matrix.layer):
        yield list(block)


def zero_counts(source: str | os.PathLike[str] | LoadedModel | nn.Module) -> tuple[int, int]:
    """How many weights of the matrices of ``weight_matrices`` are zero, and how many there are."""
    zeros = weights = 0
    for matrix in weight_matrices(source):
        zeros += int((matrix.tensor == 0).sum())
        weights += matrix.tensor.numel()
    return zeros, weights


def _stored_matrices(folder: Path) -> Iterator[Matrix]:
    """The matrices of a model folder, read one at a time."""
    anatomy = _structure(folder)
    with _Tensors(folder) as tensors:
        blocks = _stored_blocks(anatomy, tensors, folder)
        for layer in range(anatomy.depth):
            for name, parameter, expert in _maps(anatomy, layer):
                keys = _stored_keys(tensors, f"{blocks}.{layer}.", name, expert)
                if not keys:
                    raise BadModel(
                        f"{folder} lacks the weight of {name} in layer {layer}; save it whole again"
                    )
                weight = torch.cat([tensors.read(key, index) for key, index in keys])
                shape = tuple(parameter.shape if expert is None else parameter.shape[1:])
                if tuple(weight.shape) != shape:
                    raise BadModel(
                        f"{name} of layer {layer} in {folder} has the shape {tuple(weight.shape)}, and the "
                        f"configuration says {shape}"
                    )
                yield _matrix(anatomy, layer, name, weight)


def _matrix(anatomy: Anatomy, layer: int, name: str, weight: Tensor) -> Matrix:
    if weight.dtype not in _FLOATS:
        raise BadModel(
            f"{name} of layer {layer} is quantized ({weight.dtype}); use the model in a float dtype"
        )
    is_expert = anatomy.family.experts and name.startswith(anatomy.family.experts + ".")
    transposed = anatomy.family.interleaved if is_expert else anatomy.family.transposed
    return Matrix(layer, name, weight.T if transposed else weight)


def _maps(anatomy: Anatomy, layer: int) -> Iterator[tuple[str, Tensor, int | None]]:
    """Name, parameter and expert of each linear map of a block, in the order of its modules."""
    from transformers.pytorch_utils import Conv1D

    for path, module in anatomy.blocks[layer].named_modules():
        if path and path == anatomy.family.experts:
            experts: Any = module  # each family has a class of its own
            for expert in range(len(experts.gate_up_proj)):
                for part in _EXPERT_PARTS:
                    yield f"{path}.{expert}.{part}", getattr(experts, part), expert
        elif isinstance(module, nn.Linear | Conv1D):
            router = type(module).__name__.endswith("Router")  # some are linear modules, others are not
            if not router and min(module.weight.shape) > 1:
                yield path, module.weight, None


def _structure(folder: Path) -> Anatomy:
    """The anatomy of a folder's model, whose parameters have shapes only."""
    from transformers import AutoConfig, AutoModel

    try:
        with quiet():
            config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
            _require_float(config, str(folder))
            with torch.device("meta"):
                return anatomy_of(AutoModel.from_config(config))
    except SplinelensError:
        raise
    except Exception as error:  # transformers fails in many ways on a configuration that is broken
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadModel(f"the configuration of {folder} cannot be used: {reason}") from error


def _require_float(config: Any, name: str) -> None:  # Any: transformers' configurations share no interface
    if getattr(config, "quantization_config", None) is not None:
        raise BadModel(f"{name} is quantized, so its weights cannot be read; use one in a float dtype")


def _stored_blocks(anatomy: Anatomy, tensors: "_Tensors", folder: Path) -> str:
    """What the names of a block's tensors start with: a language-model head or old versions prefix them."""
    blocks, prefix = anatomy.family.blocks, getattr(anatomy.base, "base_model_prefix", "")
    older = blocks.replace("language_model.", "language_model.model.")
    for candidate in (f"{prefix}.{blocks}", blocks, f"model.{blocks}", older, f"transformer.{blocks}"):
        if any(name.startswith(f"{candidate}.0.") for name in tensors.files):
            return candidate
    raise BadModel(f"{folder} has no tensors of {blocks}.0, so its blocks cannot be found")


def _stored_keys(
    tensors: "_Tensors", block: str, name: str, expert: int | None
) -> list[tuple[str, int | None]]:
    """The tensors that together hold a map, each with its index on the first axis if it is a stack."""
    if expert is None:
        return [(f"{block}{name}.weight", None)] if f"{block}{name}.weight" in tensors.files else []
    experts, _, part = name.rsplit(".", 2)
    owner = experts.removesuffix(".experts")
    for stack in (f"{block}{experts}.{part}", f"{block}{owner}.{_EXPERT_STACKS[part]}"):
        if stack in tensors.files:
            return [(stack, expert)]
    for folder in (experts, "block_sparse_moe.experts"):
        for names in _EXPERT_PARTS[part]:
            keys = [f"{block}{folder}.{expert}.{each}.weight" for each in names]
            if all(key in tensors.files for key in keys):
                return [(key, None) for key in keys]
    return []


class _Tensors:
    """The tensors of the safetensors files of a folder by name, each file opened at first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, Any] = {}  # Any: a handle of safetensors, which has no public type
        self.files: dict[str, str] = {}

    def __enter__(self) -> "_Tensors":
        for file in shard_names(self._folder):
            self.files |= dict.fromkeys(self._handle(file).keys(), file)
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._open.values():
            handle.__exit__(None, None, None)

    def read(self, name: str, index: int | None) -> Tensor:
        """A tensor, or one entry of a stack without reading the others."""
        handle = self._handle(self.files[name])
        tensor: Tensor = handle.get_tensor(name) if index is None else handle.get_slice(name)[index]
        return tensor

    def _handle(self, file: str) -> Any:  # Any: as above
        from safetensors import safe_open

        if file not in self._open:
            self._open[file] = safe_open(self._folder / file, framework="pt").__enter__()
        return self._open[file]
