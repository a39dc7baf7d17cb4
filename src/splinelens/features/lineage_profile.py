"""A lineage profile: the signs of every neuron of a model at 1,024 tokens of a fixed text, and no weights.

Every block reads what the first one reads, the embeddings of the text, in place of the output of the block
before it. So its signs do not change where blocks were moved or removed, and the errors of pruned or rounded
weights do not add up over the depth.

Two profiles tell whether their models are related (``detect/lineage.py``), so a model can be compared with
one that never leaves its site. A profile is one Parquet file, a row a neuron.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from splinelens import __version__
from splinelens.errors import BadFeatures, BadModel
from splinelens.files import atomic_write
from splinelens.models import Fingerprint, LoadedModel

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from splinelens.anatomy import Anatomy
    from splinelens.layers import AttentionCall

FORMAT = "splinelens lineage profile 2"
"""Name and version of the format; another one is refused."""

_META = b"splinelens.lineage"
_ROWS, _ROW_TOKENS = 16, 64  # rows are short, so that a model of few positions can be read
_KINDS = ("gate", "up", "value")

Signs = Bool[np.ndarray, "_neuron token"]


@dataclass(frozen=True, eq=False)
class LayerSigns:
    """What one layer does at the same tokens of a fixed text.

    Attributes:
        gate: Whether the gate of each neuron is positive.
        signed: The same of quantities whose sign could be changed together with that of the weights that
            read them: the up projection of each neuron, or the values of the attention. None without any.
        by_gate: Whether row k of ``signed`` belongs to row k of ``gate``.
    """

    gate: Signs
    signed: Signs | None = None
    by_gate: bool = True


@dataclass(frozen=True, eq=False)
class LineageProfile:
    """The signs of a model's neurons, and what is needed to compare them with those of another model.

    Attributes:
        model: Name of the model.
        fingerprint: Of the whole model.
        width: Of the residual stream.
        zeros: Share of the weights of all gates that are exactly 0.
        ids: Token ids of the fixed text.
        tokens: The same tokens as the tokenizer writes them.
        layers: Signs of each layer that has one MLP; layers of experts are left out.
        settings: Number type, device and versions that the signs were read with.
    """

    model: str
    fingerprint: Fingerprint
    width: int
    zeros: float
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    layers: tuple[LayerSigns, ...]
    settings: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, loaded: LoadedModel) -> "LineageProfile":
        """Read the fixed text with a model.

        Raises:
            BadModel: Every layer consists of experts, or the tokenizer makes fewer than 64 tokens of the
                text, or a pass fails or computes values that are not finite.
            UnknownAnatomy: The architecture has no row in ``anatomy.py``.
        """
        from splinelens.anatomy import anatomy_of
        from splinelens.tokens import literal_ids

        anatomy = anatomy_of(loaded.model)
        ids = literal_ids(loaded.tokenizer, lineage_text())
        rows = min(_ROWS, len(ids) // _ROW_TOKENS)
        dense = [layer for layer in range(anatomy.depth) if anatomy.experts(layer) is None]
        if not dense:
            raise BadModel(f"{loaded.name} has experts in every layer; lineage compares layers of one MLP")
        if not rows:
            raise BadModel(
                f"the tokenizer of {loaded.name} makes {len(ids)} tokens of a text of {len(lineage_text())} "
                f"characters, and {_ROW_TOKENS} are needed; use a model with a tokenizer for text"
            )
        ids = ids[: rows * _ROW_TOKENS]
        return cls(
            model=loaded.name,
            fingerprint=loaded.fingerprint,
            width=anatomy.width,
            zeros=_zeros(anatomy, dense),
            ids=ids,
            tokens=tuple(map(str, loaded.tokenizer.convert_ids_to_tokens(list(ids)))),
            layers=_layer_signs(loaded, anatomy, dense, ids),
            settings={
                "splinelens": __version__,
                "dtype": str(loaded.dtype).removeprefix("torch."),
                "device": str(loaded.device),
            },
        )

    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the profile as one Parquet file.

        Raises:
            OutputExists: The file exists, without ``overwrite``.
            CannotWrite: The disk is full or the folder may not be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns: dict[str, list[Any]] = {
            name: [] for name in ("layer", "kind", "unit", "signs")
        }  # Any: cells
        for number, layer in enumerate(self.layers):
            signed = "up" if layer.by_gate else "value"
            for kind, signs in (("gate", layer.gate), (signed, layer.signed)):
                if signs is not None:
                    columns["layer"] += [number] * len(signs)
                    columns["kind"] += [kind] * len(signs)
                    columns["unit"] += range(len(signs))
                    columns["signs"] += [row.tobytes() for row in np.packbits(signs, axis=1)]
        record: dict[str, Any] = {  # Any: JSON values
            "format": FORMAT,
            "text": _digest(lineage_text().encode()),
            "model": self.model,
            "fingerprint": self.fingerprint.to_dict(),
            "width": self.width,
            "zeros": self.zeros,
            "ids": self.ids,
            "tokens": self.tokens,
            "settings": self.settings,
        }
        record["hash"] = _content_hash(record, columns)
        names = pa.array(columns["kind"]).dictionary_encode()
        table = pa.table({**columns, "kind": names}).replace_schema_metadata({_META: json.dumps(record)})
        with atomic_write(Path(path), overwrite=overwrite) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "LineageProfile":
        """Read what :meth:`save` wrote.

        Raises:
            BadFeatures: The file is no profile, is damaged, or is of another version or text.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        again = "make it again with splinelens lineage profile"
        if not Path(path).is_file():  # opening a pipe would wait for its writer
            raise BadFeatures(f"{path} is no file; {again}")
        try:
            table = pq.read_table(path, memory_map=False)
            record = json.loads((table.schema.metadata or {})[_META])
            version, text = record["format"], record["text"]
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise BadFeatures(f"{path} is no lineage profile, or damaged: {error!s:.200}; {again}") from error
        if version != FORMAT:
            raise BadFeatures(f"{path} is a {version!s:.60}, this version reads {FORMAT}; {again}")
        if text != _digest(lineage_text().encode()):
            raise BadFeatures(f"{path} was read from another text than this version reads; {again}")
        try:
            if record.pop("hash") != _content_hash(record, table.to_pydict()):
                raise ValueError("its content does not have the hash that it states")
            profile = cls(
                model=str(record["model"]),
                fingerprint=Fingerprint.from_dict(record["fingerprint"]),
                width=int(record["width"]),
                zeros=float(record["zeros"]),
                ids=tuple(map(int, record["ids"])),
                tokens=tuple(map(str, record["tokens"])),
                layers=_stored_layers(table, len(record["ids"])),
                settings=dict(record["settings"]),
            )
            if not profile.ids or len(profile.tokens) != len(profile.ids):
                raise ValueError(f"{len(profile.ids)} token ids and {len(profile.tokens)} tokens")
            if profile.width < 1 or not 0 <= profile.zeros <= 1:
                raise ValueError(f"width {profile.width} or a share of zeros of {profile.zeros}")
            return profile
        except (pa.ArrowException, KeyError, OverflowError, TypeError, ValueError, BadModel) as error:
            raise BadFeatures(f"{path} is damaged: {error!s:.200}; {again}") from error

    def different_token(self, other: "LineageProfile") -> str | None:
        """The first token of the fixed text that two tokenizers do not share, in words, or None."""
        pairs = [list(zip(each.ids, each.tokens, strict=True)) for each in (self, other)]
        for place, (mine, theirs) in enumerate(zip(*pairs, strict=False)):
            if mine != theirs:
                one, two = (f"{token!r} (id {number})" for number, token in (mine, theirs))
                return f"token {place} of the text is {one} in {self.model} and {two} in {other.model}"
        if len(self.ids) != len(other.ids):
            return (
                f"the text has {len(self.ids)} tokens in {self.model} and {len(other.ids)} in {other.model}"
            )
        return None


def lineage_text() -> str:
    """The fixed text whose tokens are compared: sentences of everyday life, science, trade and code."""
    return (Path(str(files("splinelens"))) / "references" / "lineage.txt").read_text("utf-8")


def _layer_signs(
    loaded: LoadedModel, anatomy: "Anatomy", dense: Sequence[int], ids: Sequence[int]
) -> tuple[LayerSigns, ...]:
    """The signs of each layer where its block reads the embeddings of the text."""
    import torch
    from torch.nn.functional import linear

    from splinelens.engines.torch import run_tokens
    from splinelens.layers import watch

    gates: dict[int, Signs] = {}
    signed: dict[int, Signs] = {}
    gated = anatomy.family.gated

    def by_unit(values: "Tensor") -> Signs:
        """(text, token, unit) values as signs of each unit at all tokens."""
        return (values.flatten(0, 1) > 0).T.contiguous().cpu().numpy()

    def read_gate(layer: int, values: "Tensor") -> None:
        gates[layer] = by_unit(values)

    def read_inputs(layer: int, values: "Tensor") -> None:
        signed[layer] = by_unit(linear(values, *_up(anatomy, layer)))

    def read_attention(layer: int, call: "AttentionCall") -> None:
        if call.value is not None:
            signed[layer] = by_unit(call.value.transpose(1, 2).flatten(2))

    batch = torch.tensor(ids).reshape(-1, _ROW_TOKENS)
    positions = torch.arange(_ROW_TOKENS).expand(batch.shape)
    with torch.no_grad():
        with (
            _equal_inputs(loaded, anatomy),
            watch(loaded, gate=read_gate, inputs=read_inputs if gated else None, layers=dense),
        ):
            run_tokens(loaded.model, batch, positions)
        softmax = [layer for layer in dense if layer in anatomy.softmax_layers]
        if not gated and softmax and anatomy.softmax == "interface":
            with _equal_inputs(loaded, anatomy), watch(loaded, attention=read_attention, layers=softmax):
                run_tokens(loaded.model, batch, positions)
    return tuple(LayerSigns(gates[layer], signed.get(layer), gated) for layer in dense)


@contextmanager
def _equal_inputs(loaded: LoadedModel, anatomy: "Anatomy") -> Iterator[None]:
    """Every block reads what the first one reads, so that its signs do not depend on the blocks before it.

    Raises:
        BadModel: A block gives values that are not finite.
    """
    first: list[Tensor] = []

    def replace_input(_block: Any, args: Any, named: Any) -> Any:  # Any: what each architecture passes
        if not first:
            first.append(args[0] if args else named["hidden_states"])
        return ((first[0], *args[1:]), named) if args else (args, named | {"hidden_states": first[0]})

    def require_finite(layer: int, output: Any) -> None:  # Any: a tensor, or a tuple of it and others
        if not (output[0] if isinstance(output, tuple) else output).isfinite().all():
            raise BadModel(
                f"layer {layer} of {loaded.name} computes values that are not finite: its weights are "
                f"damaged, or too large for {str(loaded.dtype).removeprefix('torch.')}; try dtype float32"
            )

    handles = [
        handle
        for layer, block in enumerate(anatomy.blocks)
        for handle in (
            block.register_forward_pre_hook(replace_input, with_kwargs=True),
            block.register_forward_hook(lambda _block, _args, output, at=layer: require_finite(at, output)),
        )
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _up(anatomy: "Anatomy", layer: int) -> "tuple[Tensor, Tensor | None]":
    """Weight and bias of the up projection, a row a neuron; of a fused map the second half."""
    from splinelens.weights import linear_of

    family = anatomy.family
    module = anatomy.gate(layer) if family.fused else anatomy.up(layer)
    weight, bias = linear_of(module, family.transposed, f"the up projection of layer {layer}")
    first = len(weight) // 2 if family.fused else 0
    return weight[first:], None if bias is None else bias[first:]


def _zeros(anatomy: "Anatomy", dense: Sequence[int]) -> float:
    from splinelens.weights import walls_of

    weights = [walls_of(anatomy, layer)[0] for layer in dense]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)


def _stored_layers(table: "pa.Table", tokens: int) -> tuple[LayerSigns, ...]:
    """The layers of a table; ValueError where it is no complete one."""
    import pyarrow.compute as pc

    layers = []
    for number in range(1 + max(table["layer"].to_pylist(), default=-1)):
        rows = table.filter(pc.equal(table["layer"], number))
        signs = {}
        for kind in _KINDS:
            part = rows.filter(pc.equal(rows["kind"].cast("string"), kind)).sort_by("unit")
            if part.num_rows:
                if part["unit"].to_pylist() != list(range(part.num_rows)):
                    raise ValueError(f"units of layer {number} are missing")
                packed = np.frombuffer(b"".join(part["signs"].to_pylist()), np.uint8)
                bits = np.unpackbits(packed.reshape(part.num_rows, -1), axis=1)
                if bits.shape[1] != 8 * math.ceil(tokens / 8):
                    raise ValueError(f"layer {number} has {bits.shape[1]} signs a neuron, not {tokens}")
                signs[kind] = bits[:, :tokens].astype(bool)
        if "gate" not in signs:
            raise ValueError(f"layer {number} is missing")
        by_gate = "value" not in signs
        if by_gate and len(signs.get("up", signs["gate"])) != len(signs["gate"]):
            raise ValueError(f"layer {number} has {len(signs['gate'])} gates and {len(signs['up'])} up rows")
        layers.append(LayerSigns(signs["gate"], signs.get("up" if by_gate else "value"), by_gate))
    if not layers:
        raise ValueError("it has no layers")
    return tuple(layers)


def _content_hash(record: dict[str, Any], columns: dict[str, list[Any]]) -> str:  # Any: JSON values, cells
    """Hash of a whole profile: of its record, and of every row."""
    rows = [columns[name] for name in ("layer", "kind", "unit")]
    return _digest(json.dumps([record, rows], sort_keys=True).encode() + b"".join(columns["signs"]))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
