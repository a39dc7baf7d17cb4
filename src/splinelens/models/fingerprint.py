"""Fingerprints of models: hashes of the configuration, the tokenizer and the weights that are used.

The weights are hashed as a chain: link 0 covers everything outside the blocks, link i + 1 covers link i and
block i. So a model of 30 blocks and its first 6 blocks agree on link 6. What changes no number computed
here is left out: names, paths, versions, token ids, defaults of transformers.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from splinelens.anatomy import anatomy_of
from splinelens.errors import BadModel, UnknownAnatomy
from splinelens.files import write_text
from splinelens.models.cache import file_sha256

if TYPE_CHECKING:
    from torch import Tensor, nn

_SIDECAR = "fingerprint.json"
_IRRELEVANT = set(
    "architectures attention_dropout dtype gradient_checkpointing id2label initializer_range "
    "label2id output_attentions output_hidden_states pretraining_tp problem_type return_dict "
    "tie_word_embeddings torch_dtype transformers_version use_cache".split()
)


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Fingerprint:
    """What must agree for two models to give the same numbers.

    ``config``, ``tokenizer`` and ``weights`` are hashes up to the ``depth`` in blocks; ``architecture`` is
    the ``model_type``, ``dtype`` that of the weights, such as ``float32``.
    """

    architecture: str
    config: str
    tokenizer: str
    weights: str
    dtype: str
    depth: int

    def to_dict(self) -> dict[str, str | int]:
        """The fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Fingerprint":  # Any: it comes from JSON
        """Read what :meth:`to_dict` wrote.

        Raises:
            BadModel: A field is missing, unknown or of the wrong type.

        Example:
            >>> Fingerprint.from_dict({"depth": 3})
            Traceback (most recent call last):
            ...
            splinelens.errors.BadModel: a fingerprint needs architecture, ... found {'depth': 3}
        """
        try:
            return cls(**values)
        except (TypeError, ValidationError) as error:
            names = ", ".join(field.name for field in fields(cls))
            raise BadModel(f"a fingerprint needs {names}; found {values!r}") from error

    def difference(self, other: "Fingerprint") -> str | None:
        """The first difference in one clause, or None.

        Example:
            >>> a = Fingerprint("llama", "c", "t", "w", "float32", 6)
            >>> a.difference(Fingerprint("llama", "c", "t", "w", "float32", 30))
            'the depth differs: 6 here, 30 in the other'
            >>> a.difference(a) is None
            True
        """
        words = {"config": "configuration", "dtype": "number type"}
        for name in ("architecture", "depth", "dtype", "config", "tokenizer", "weights"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                verb = "differ" if name == "weights" else "differs"
                values = f"{str(mine)[:12]} here, {str(theirs)[:12]} in the other"
                return f"the {words.get(name, name)} {verb}: {values}"
        return None


def config_hash(config: Any, depth: int) -> str:  # Any: transformers is not imported for a type
    """SHA-256 of a transformers configuration up to a depth.

    Only values that differ from the defaults of their class enter, so that a field added by a later
    transformers changes nothing. Lists with one entry a block are cut to ``depth``.
    """
    config = config.get_text_config()
    try:
        defaults = type(config)().to_dict()
    except Exception:  # code from a repository may not have defaults: then all values enter
        defaults = {}
    blocks = per_block(config)
    values = {
        key: value[:depth] if key in blocks else value
        for key, value in config.to_dict().items()
        if not (key in _IRRELEVANT or key.startswith("_") or key.endswith(("_token_id", "_name_or_path")))
        and (key in blocks or key not in defaults or value != defaults[key])
    }
    for depth_name in ("num_hidden_layers", config.attribute_map.get("num_hidden_layers")):
        values.pop(depth_name, None)
    return _json_hash(values | {"model_type": config.model_type})


def per_block(config: Any) -> set[str]:  # Any: transformers is not imported for a type
    """Names of the configuration's lists that hold one entry a block, such as ``layer_types``."""
    depth = config.num_hidden_layers
    return {
        key
        for key, value in config.to_dict().items()
        if isinstance(value, list) and len(value) == depth and key not in _IRRELEVANT and "token" not in key
    }


def tokenizer_hash(tokenizer: Any) -> str:  # Any: a tokenizer of transformers
    """SHA-256 of a fast tokenizer: vocabulary, merges, rules and special tokens.

    Padding and truncation are left out, they change with use; so are fields that are null or false,
    which later versions of the tokenizers library add, and the padding token, which is never read.
    """
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    special = {key: str(value) for key, value in tokenizer.special_tokens_map.items() if key != "pad_token"}
    kept = {key: value for key, value in rules.items() if key not in ("padding", "truncation", "version")}
    return _json_hash({"rules": _without_unset(kept), "special": special})


def weight_chain(model: "nn.Module") -> tuple[str, ...]:
    """The SHA-256 chain over a base model's weights; entry k covers the first k blocks.

    Parameters and persistent buffers enter with name, shape and bytes, sorted by name. All weights are
    read once: for a memory-mapped model this brings the whole file into memory.

    Raises:
        BadModel: The model has no list of blocks.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> tiny = GPT2Model(GPT2Config(n_layer=2, n_head=2, n_embd=8, vocab_size=16))
        >>> len(weight_chain(tiny))
        3
    """
    blocks = _blocks_of(model)
    prefix = next(name for name, module in model.named_modules() if module is blocks) + "."
    outside = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(prefix)}
    links = [_tensors_hash(b"", outside.items())]
    for block in blocks:
        links.append(_tensors_hash(bytes.fromhex(links[-1]), block.state_dict().items()))
    return tuple(links)


@dataclass(frozen=True)
class Sidecar:
    """The float32 weight chain of a converted model, stored beside ``model.safetensors``.

    Only the folders of our own cache are believed: anyone can write a record, and set the times of files.

    Attributes:
        made_from: Name of the file it was converted from.
        chain: As from ``weight_chain``.
        size_bytes: Of ``model.safetensors``, as ``mtime_ns``.
        files: SHA-256 of every file of the folder, to find damage; empty of older conversions.
    """

    made_from: str
    chain: tuple[str, ...]
    size_bytes: int
    mtime_ns: int
    files: dict[str, str] = field(default_factory=dict)


def store_chain(folder: Path, chain: tuple[str, ...], made_from: str) -> None:
    """Store the chain of the weights that are in the folder, and the hashes of its files."""
    weights = (folder / "model.safetensors").stat()
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.name != _SIDECAR}
    sidecar = Sidecar(made_from, chain, weights.st_size, weights.st_mtime_ns, files)
    write_text(folder / _SIDECAR, json.dumps(asdict(sidecar), indent=1))


def read_sidecar(folder: Path) -> Sidecar | None:
    """The record of a folder; None if there is none, it is broken, or the weights were changed since."""
    try:
        if not (folder / _SIDECAR).is_file():
            return None
        sidecar = TypeAdapter(Sidecar).validate_json((folder / _SIDECAR).read_bytes())
        weights = (folder / "model.safetensors").stat()
    except (OSError, ValidationError):
        return None
    unchanged = (sidecar.size_bytes, sidecar.mtime_ns) == (weights.st_size, weights.st_mtime_ns)
    return sidecar if unchanged else None


def _blocks_of(model: "nn.Module") -> "nn.ModuleList":
    from torch import nn

    try:
        return anatomy_of(model).blocks
    except UnknownAnatomy:  # a fingerprint needs the blocks only, not what is inside
        depth = model.config.get_text_config().num_hidden_layers  # type: ignore[union-attr, operator]  # transformers
        for module in model.modules():
            if isinstance(module, nn.ModuleList) and len(module) == depth:
                return module
        raise BadModel(
            f"{type(model).__name__} keeps its {depth} blocks in no list: it has no fingerprint"
        ) from None


def _tensors_hash(start: bytes, tensors: "Iterable[tuple[str, Tensor]]") -> str:
    import torch

    digest = hashlib.sha256(start)
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        digest.update(f"{name}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _json_hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _without_unset(value: Any) -> Any:  # Any: JSON of any shape
    if isinstance(value, dict):
        kept = {key: inner for key, inner in value.items() if inner is not None and inner is not False}
        return {key: _without_unset(inner) for key, inner in kept.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [_without_unset(inner) for inner in value]
    return value
