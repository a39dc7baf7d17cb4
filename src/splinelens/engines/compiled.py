"""The compiled engine: one graph per detector, run by OpenVINO on a CPU.

``export_graph`` traces the PyTorch engine, its hooks and reducers included, into a graph from embeddings to
pooled columns; the keys and values of the prompt are constants in it. ``CompiledEngine`` runs it and needs
neither PyTorch nor transformers.
"""

import hashlib
import importlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Int
from pydantic import TypeAdapter, ValidationError

from splinelens.errors import BadFeatures, BrokenArtifact
from splinelens.files import write_errors, write_text
from splinelens.models.cache import file_sha256
from splinelens.models.fingerprint import Fingerprint
from splinelens.models.quiet import quiet
from splinelens.tokens import TokenBatch

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from splinelens.engines.torch import TextStats, TorchEngine
    from splinelens.models import LoadedModel

Precision = Literal["float32", "bfloat16", "int8"]
"""Number type in which the runtime multiplies matrices; ``int8`` also stores the weights in 8 bits."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

GRAPH_FILES = ("graph.json", "graph.xml", "graph.bin", "embeddings.npy", "tokenizer.json")
"""The files of an exported graph."""

POOLINGS = ("max", "min", "last", "mean")
"""Poolings of the columns that a graph can have: those of a text follow from those of its windows."""

GRAPH_FORMAT = 3
"""Version of the files; a folder of another one is refused, a cached one made again."""


@dataclass(frozen=True)
class GraphColumn:
    """One column of the output: name and pooling of a statistic, its layer and how many numbers it has."""

    name: str
    pooling: str
    layer: int | None
    size: int


@dataclass(frozen=True)
class GraphRecord:
    """What stands in ``graph.json``.

    Attributes:
        format: Version of the format of the folder.
        runtime: Name and version of the runtime that wrote the graph.
        model: Name of the model.
        revision: Its commit, if it came from a hub.
        fingerprint: Of the model, in the number type of the graph's weights.
        precision: Number type of the matrix products if no other is asked for; the only one, if it is int8.
        prompt_tokens: Tokens of the prompt before each text.
        positions: Positions that one pass can use; None without a limit.
        columns: The columns.
        reads: Hash of what the columns are made from besides the model: prompt, layers, directions.
        sha256: Hash of each other file.
    """

    format: int
    runtime: str
    model: str
    revision: str | None
    fingerprint: dict[str, str | int]
    precision: Precision
    prompt_tokens: int
    positions: int | None
    columns: tuple[GraphColumn, ...]
    reads: str
    sha256: dict[str, str]


@dataclass(frozen=True, eq=False)
class PooledRows:
    """Pooled columns of the rows of a batch.

    Attributes:
        values: (row, entry) float32.
        tokens: (row,) tokens that were pooled.
        poolings: (entry,) how each entry is pooled.
        source: (row, entry), the token that each entry comes from, -1 for means; None unless located.
    """

    values: Float[np.ndarray, "row entry"]
    tokens: Int[np.ndarray, " row"]
    poolings: np.ndarray
    source: Int[np.ndarray, "row entry"] | None = None

    learned_tokens = None
    """Learned margins of every token are not kept."""

    def text(self, row: int, _start: int, _stop: int) -> "PooledRows":
        """One row."""
        one = slice(row, row + 1)
        source = None if self.source is None else self.source[one]
        return replace(self, values=self.values[one], tokens=self.tokens[one], source=source)

    def located_from(self, offset: int) -> "PooledRows":
        """The same rows with the token that each entry comes from moved by an offset."""
        source = self.source
        return self if source is None else replace(self, source=np.where(source < 0, -1, source + offset))

    def merge(self, later: "PooledRows") -> "PooledRows":
        """The rows of the tokens of this record and then those of a later one.

        Example:
            >>> both = np.array(["max", "mean"])
            >>> first = PooledRows(np.array([[1.0, 1.0]]), np.array([3]), both)
            >>> first.merge(PooledRows(np.array([[2.0, 5.0]]), np.array([1]), both)).values.tolist()
            [[2.0, 2.0]]
        """
        mine, theirs = self.values, later.values
        tokens = self.tokens + later.tokens
        mean = (mine * self.tokens[:, None] + theirs * later.tokens[:, None]) / tokens[:, None]
        beats = np.isnan(theirs) & ~np.isnan(mine)  # NaN beats every number
        beats |= np.where(self.poolings == "min", theirs < mine, theirs > mine) | (self.poolings == "last")
        values = np.where(self.poolings == "mean", mean, np.where(beats, theirs, mine))
        source = None
        if self.source is not None and later.source is not None:
            source = np.where(beats, later.source, self.source)
        return PooledRows(values.astype(np.float32), tokens, self.poolings, source)


@dataclass(frozen=True)
class _Prompt:
    """Of the prompt only its length is known: its keys and values are in the graph."""

    length: int


class CompiledModel:
    """An exported graph and its tokenizer, in place of a ``LoadedModel``.

    The files are hashed in a thread of their own, while the engine compiles the graph.

    Args:
        folder: Of an exported detector.
        precision: Of the matrix products; None takes the one that is recorded.

    Raises:
        BrokenArtifact: A file is missing or changed, or the folder is of another version.
        BadFeatures: The runtime is not installed, or the processor lacks the precision.
    """

    def __init__(self, folder: Path, precision: str | None = None):
        require_runtime()
        self.record = read_record(folder)
        self.verified = ThreadPoolExecutor(1).submit(verify, folder, self.record)
        self.folder, self.precision = folder, check_precision(precision or self.record.precision)
        if self.record.precision == "int8" != self.precision:
            raise BadFeatures(f"{folder} has weights of 8 bits: leave {precision} out, or export it in that")
        self.name, self.revision = self.record.model, self.record.revision
        self.device = "cpu"
        self.fingerprint = Fingerprint.from_dict(self.record.fingerprint)
        self.depth = self.fingerprint.depth

    def __reduce__(self) -> tuple[Any, ...]:  # Any: as pickle has it
        return CompiledModel, (self.folder, self.precision)

    def __repr__(self) -> str:
        return f"CompiledModel({self.name!r}, {self.depth} blocks, {self.engine_name})"

    @property
    def engine_name(self) -> str:
        """The runtime, its version and the precision, such as ``openvino 2026.4.1 float32``."""
        return f"openvino {runtime_version()} {self.precision}"

    def fingerprint_at(self, depth: int) -> Fingerprint:
        """The fingerprint that the graph was made with, which has one depth."""
        return self.fingerprint

    @cached_property
    def tokenizer(self) -> Any:  # Any: as ``LoadedModel.tokenizer``
        """The tokenizer, as far as texts need it."""
        from types import SimpleNamespace

        from tokenizers import Tokenizer

        path = self.folder / "tokenizer.json"
        try:
            backend = Tokenizer.from_file(str(path))
        except Exception as error:  # of the Rust library, which has no class for it
            raise BrokenArtifact(f"{path} cannot be read ({error}); export the detector again") from error
        return SimpleNamespace(backend_tokenizer=backend, name_or_path=self.name)


class CompiledEngine:
    """Runs token batches through an exported graph.

    Args:
        model: The graph.

    Raises:
        BrokenArtifact: A file was changed since it was written, or cannot be read.
    """

    pad_multiple = 1
    """Batches are padded to their longest text: more would cost time, and its sums agree to 1e-5."""

    def __init__(self, model: CompiledModel):
        self.model = model
        self._lock = Lock()  # a compiled graph holds the tensors of one call
        self.prompt = _Prompt(model.record.prompt_tokens)
        sizes = [column.size for column in model.record.columns]
        self._poolings = np.repeat([column.pooling for column in model.record.columns], sizes)
        try:
            self.embeddings = np.load(model.folder / "embeddings.npy", mmap_mode="r")
            values = _openvino().Model([self._graph.output("values")], self._graph.get_parameters(), "pooled")
            self._pooled = self._compile(values)
        except (RuntimeError, ValueError, EOFError, OSError) as error:
            model.verified.result()  # says more, if the file was changed
            raise BrokenArtifact(
                f"{model.folder} cannot be read ({error}); export the detector again"
            ) from error
        model.verified.result()

    def __reduce__(self) -> tuple[Any, ...]:  # Any: as pickle has it
        return CompiledEngine, (self.model,)

    def text_stats(self, batch: TokenBatch, *, locate: bool = False) -> PooledRows:
        """Run a batch and pool each row over the tokens of its span.

        Args:
            batch: The batch, padded right.
            locate: Also say which column of the batch each entry comes from.
        """
        spans = np.array(batch.spans, dtype=np.int64)
        with self._lock:
            compiled = self._located if locate else self._pooled
            embedded = self.embeddings[batch.ids]
            result = compiled({"embedded": embedded, "start": spans[:, 0], "stop": spans[:, 1]})
            values = np.array(result["values"], dtype=np.float32)
            source = np.array(result["source"], dtype=np.int64) if locate else None
        return PooledRows(values, spans[:, 1] - spans[:, 0], self._poolings, source)

    @cached_property
    def _graph(self) -> Any:  # Any: openvino has no types
        graph = _core().read_model(str(self.model.folder / "graph.xml"))
        if self.model.precision == "int8" != self.model.record.precision:
            _round_weights(graph)
        return graph

    @cached_property
    def _located(self) -> Any:  # Any: as above
        return self._compile(self._graph)

    def _compile(self, graph: Any) -> Any:  # Any: as above
        hints: dict[str, Any] = {  # Any: of several types
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if self.model.precision == "bfloat16" else "f32",
            "ENABLE_CPU_PINNING": False,  # two processes would share one core
        }
        threads = os.environ.get("OMP_NUM_THREADS", "")  # as PyTorch has it; Ray sets it for each actor
        if threads.isdecimal() and int(threads):
            hints["INFERENCE_NUM_THREADS"] = int(threads)
        return _core().compile_model(graph, "CPU", hints)


def require_runtime() -> None:
    """Refuse without the runtime.

    Raises:
        BadFeatures: It is not installed.
    """
    if not runtime_installed():
        raise BadFeatures("the compiled engine needs OpenVINO, which is not installed: pip install openvino")


def runtime_installed() -> bool:
    """Whether OpenVINO is installed."""
    return find_spec("openvino") is not None


def has_gpu() -> bool:
    """Whether a Linux machine has a GPU for PyTorch, without importing that, which takes a second."""
    return any(any(Path("/dev").glob(name)) for name in ("nvidia[0-9]*", "kfd", "dxg"))  # CUDA, ROCm, WSL


def runtime_version() -> str:
    """Version of the installed runtime, such as ``2026.4.1``."""
    return version("openvino")


def check_precision(precision: str) -> Precision:
    """Return a precision that the engine has and the processor is made for.

    Raises:
        BadFeatures: The message lists those that can be used.
    """
    known = [name for name in PRECISIONS if name == precision]
    if not known:
        raise BadFeatures(
            f"the compiled engine has {', '.join(PRECISIONS)}, not {precision}; give one of these"
        )
    if known[0] == "bfloat16" and "BF16" not in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise BadFeatures("this processor does not multiply in bfloat16; use float32")
    return known[0]


def read_record(folder: Path) -> GraphRecord:
    """Read the record of an exported graph, whose files must be there.

    Raises:
        BrokenArtifact: The message names the file and says what is wrong with it.
    """
    path, again = folder / "graph.json", "export the detector again"
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BrokenArtifact(f"{path} cannot be read ({error}); {again}") from error
    number = values.get("format") if isinstance(values, dict) else None
    if number != GRAPH_FORMAT or isinstance(number, bool):
        raise BrokenArtifact(f"{path} has format {number!r}, and this version reads {GRAPH_FORMAT}; {again}")
    if values.pop("record_sha256", None) != _hash(values):
        raise BrokenArtifact(f"{path} was changed since it was written; {again}")
    try:
        record = TypeAdapter(GraphRecord).validate_python(values)
    except ValidationError as error:
        raise BrokenArtifact(f"{path} is damaged ({error.errors()[0]['msg']}); {again}") from error
    for name in GRAPH_FILES[1:]:
        if not (folder / name).is_file():
            raise BrokenArtifact(f"{folder / name} is missing; {again}")
    return record


def verify(folder: Path, record: GraphRecord) -> None:
    """Compare the hash of every file of an exported graph with the recorded one.

    Raises:
        BrokenArtifact: The message names the file that is another.
    """
    for name in GRAPH_FILES[1:]:
        if file_sha256(folder / name) != record.sha256.get(name):
            raise BrokenArtifact(
                f"{folder / name} was cut or changed since it was written; export the detector again"
            )


def export_graph(
    engine: "TorchEngine",
    columns: Sequence[GraphColumn],
    gather: "Callable[[TextStats, int], tuple[Tensor, Tensor]]",
    model: "LoadedModel",
    reads: str,
    folder: Path,
    precision: Precision = "float32",
) -> None:
    """Trace an engine into a graph and write it.

    Args:
        engine: What is traced, on a CPU and in float32.
        columns: The columns of the graph's output.
        gather: From pooled statistics and the number of rows to values and sources, (row, entry) each.
        model: The model of the engine.
        reads: Recorded, see ``GraphRecord``.
        folder: Where the files are written; it exists.
        precision: Recorded as the one to use; ``int8`` rounds the weights.

    Raises:
        BadFeatures: The runtime is not installed, or the architecture cannot be traced.
        CannotWrite: The disk is full.
    """
    require_runtime()
    import torch

    from splinelens.engines.torch import positions_of

    with torch.no_grad():
        table = engine.model.get_input_embeddings()  # type: ignore[operator]  # transformers' own
        embeddings = table(torch.arange(table.num_embeddings))
    graph = _traced(engine, gather, embeddings[:10].reshape(2, 5, -1), model.name)
    for port, name in zip(graph.inputs, ("embedded", "start", "stop"), strict=True):
        port.get_tensor().set_names({name})
    for port, name in zip(graph.outputs, ("values", "source"), strict=True):
        port.get_tensor().set_names({name})
    if precision == "int8":
        _round_weights(graph)
    with write_errors(folder):
        try:
            _openvino().save_model(graph, folder / "graph.xml", compress_to_fp16=False)
        except RuntimeError as error:  # its words for a full disk
            raise OSError(f"{str(error).splitlines()[0]}") from error
        np.save(folder / "embeddings.npy", embeddings.numpy())
        try:
            model.tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
        except Exception as error:  # of the Rust library, which has no class for it
            raise OSError(str(error)) from error
    record = GraphRecord(
        GRAPH_FORMAT,
        f"openvino {runtime_version()}",
        model.name,
        model.revision,
        model.fingerprint_at(model.depth).to_dict(),
        precision,
        engine.prompt.length,
        positions_of(model.model).usable,
        tuple(columns),
        reads,
        {name: file_sha256(folder / name) for name in GRAPH_FILES[1:]},
    )
    values = json.loads(json.dumps(asdict(record)))
    write_text(folder / "graph.json", json.dumps(values | {"record_sha256": _hash(values)}, indent=1))


def _traced(
    engine: "TorchEngine",
    gather: "Callable[[TextStats, int], tuple[Tensor, Tensor]]",
    embedded: "Tensor",
    name: str,
) -> Any:  # Any: openvino has no types
    _openvino()
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    from splinelens.engines.torch import Pass

    # Two rows of different lengths, so that the trace takes neither axis for a constant.
    start, stop = torch.tensor([0, 1]), torch.tensor([5, 3])
    auto = torch.export.Dim.AUTO
    shapes = ({0: auto, 1: auto}, {0: auto}, {0: auto})
    frontend = FrontEndManager().load_by_framework("pytorch")
    try:
        with quiet(), _without_warnings(), _packed_heads(engine.model), torch.no_grad():
            program = torch.export.export(
                Pass(engine, gather).eval(), (embedded, start, stop), dynamic_shapes=shapes, strict=False
            )
            decoder = TorchFXPythonDecoder.from_exported_program(program)  # must outlive the conversion
        return frontend.convert(frontend.load(decoder))
    except Exception as error:  # both fail in many ways on what they do not know
        raise BadFeatures(
            f"{name} cannot be compiled ({type(error).__name__}: {str(error).strip().splitlines()[0]}); "
            "use the torch engine"
        ) from error


def _round_weights(graph: Any) -> None:  # Any: as above
    """Round the weights of a graph to 8 bits, with one scale for each output of a matrix product.

    The runtime keeps them so, and multiplies in 8 bits with a scale for every 32 inputs of a token.
    """
    operators = importlib.import_module("openvino.opset13")
    for product in graph.get_ops():
        if product.get_type_name() != "MatMul":
            continue
        constant, transposed = product.input_value(1).get_node(), product.get_attributes()["transpose_b"]
        if constant.get_type_name() != "Constant" or len(constant.get_output_shape(0)) != 2:
            continue
        weight = constant.get_data()
        scale = np.abs(weight).max(axis=int(transposed), keepdims=True) / np.float32(127)
        scale[scale == 0] = 1
        rounded = operators.constant(np.rint(weight / scale).astype(np.int8))
        restored = operators.multiply(operators.convert(rounded, "f32"), operators.constant(scale))
        product.input(1).replace_source_output(restored.output(0))


@contextmanager
def _packed_heads(model: "Module") -> Iterator[None]:
    """Let query heads that share keys and values be tokens of one head inside the ``with`` block.

    The model repeats keys and values for each of them, a fifth of a batch's time in bfloat16.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    config: Any = model.config  # Any: each architecture has its own class
    before = config._attn_implementation
    if before == "sdpa":
        AttentionInterface.register("splinelens_packed", _packed_attention)
        AttentionMaskInterface.register("splinelens_packed", sdpa_mask)
        config._attn_implementation = "splinelens_packed"
    try:
        yield
    finally:
        config._attn_implementation = before


def _packed_attention(
    module: "Module",
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    attention_mask: "Tensor | None",
    scaling: float | None = None,
    **options: Any,  # Any: each architecture has its own
) -> "tuple[Tensor, None]":
    """As transformers' ``sdpa_attention_forward``, for batches whose rows have the same mask."""
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    rows, heads, tokens, width = query.shape
    group = heads // key.shape[1]
    if group == 1 or attention_mask is None or options.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    mask = attention_mask[:1]
    if mask.dtype == torch.bool:
        mask = torch.where(mask, 0.0, torch.finfo(torch.float32).min)
    packed = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(rows, -1, group * tokens, width),
        key,
        value,
        attn_mask=mask.repeat(1, 1, group, 1),
        scale=scaling,
    )
    return packed.reshape(rows, heads, tokens, -1).transpose(1, 2).contiguous(), None


def _hash(values: dict[str, Any]) -> str:  # Any: plain JSON values
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence the log of OpenVINO, which warns of operations that older versions of PyTorch had."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


_CORES: list[Any] = []  # Any: openvino has no types; one runtime a process


def _core() -> Any:  # Any: as above
    if not _CORES:
        _CORES.append(_openvino().Core())
    return _CORES[0]


def _openvino() -> Any:  # Any: as above
    """Import OpenVINO with its telemetry off: by default it reports each import to its authors."""
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # then it has a stub
    import openvino

    return openvino
