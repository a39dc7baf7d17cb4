"""Loading a frozen base transformer, or its first k blocks, with its tokenizer.

The language-model head is loaded on request, to generate. On a CPU the safetensors stay mapped from disk, so
loading costs a few megabytes and blocks that are not loaded cost nothing.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splinelens.errors import BadFeatures, BadModel
from splinelens.models.cache import cache_folder
from splinelens.models.fingerprint import (
    Fingerprint,
    config_hash,
    per_block,
    read_sidecar,
    tokenizer_hash,
    weight_chain,
)
from splinelens.models.gguf import is_converted
from splinelens.models.hub import shard_names
from splinelens.models.quiet import quiet
from splinelens.models.source import find_source

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16", "float64")
_DEPTHS = {"num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth"}  # keys of configurations
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_GENERIC = ("TokenizersBackend", "PreTrainedTokenizerFast")  # classes that do what tokenizer.json says


@dataclass(frozen=True)
class LoadedModel:
    """A base transformer in evaluation mode without gradients, and its tokenizer.

    Attributes:
        model: The blocks and what surrounds them, without the language-model head.
        tokenizer: Fast, with offsets, and always with a padding token.
        name: As given to ``load_model``.
        revision: Commit of a hub model; None for everything else.
        depth: Blocks loaded.
        total_depth: Blocks of the whole model.
        folder: Where the weights were read from.
        stored_chain: The weight chain that our cache stored when it converted the model; None where the
            weights must be hashed.
        causal: ``model`` and its language-model head, as one module that gives logits; None unless it was
            asked for.
    """

    model: "torch.nn.Module"
    tokenizer: Any  # transformers has no common type for its fast tokenizers
    name: str
    revision: str | None
    depth: int
    total_depth: int
    folder: Path | None = field(default=None, repr=False)
    stored_chain: tuple[str, ...] | None = field(default=None, repr=False)
    causal: "torch.nn.Module | None" = field(default=None, repr=False)

    def __repr__(self) -> str:
        kind, dtype = type(self.model).__name__, str(self.dtype).removeprefix("torch.")
        blocks = f"{self.depth} of {self.total_depth} blocks"
        return f"LoadedModel({self.name!r}, {kind}, {blocks}, {dtype}, {self.device})"

    @property
    def dtype(self) -> "torch.dtype":
        """Number type of the weights."""
        return next(self.model.parameters()).dtype

    @property
    def device(self) -> "torch.device":
        """Device of the weights."""
        return next(self.model.parameters()).device

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What another model must share to give the same numbers; computed at first use."""
        return self.fingerprint_at(self.depth)

    def fingerprint_at(self, depth: int) -> Fingerprint:
        """The fingerprint of the first blocks: equal to that of a model loaded with ``n_layers=depth``.

        Raises:
            BadModel: There are not that many blocks.
        """
        if not 1 <= depth <= self.depth:
            raise BadModel(f"no fingerprint at depth {depth}: {self.name} is loaded with {self.depth} blocks")
        with _refusals("the fingerprint", self.name):
            return Fingerprint(
                architecture=self.model.config.model_type,  # type: ignore[union-attr, arg-type]  # set by transformers
                config=config_hash(self.model.config, depth),
                tokenizer=self._tokenizer_hash,
                weights=self._chain[depth],
                dtype=str(self.dtype).removeprefix("torch."),
                depth=depth,
            )

    @cached_property
    def _tokenizer_hash(self) -> str:
        return tokenizer_hash(self.tokenizer)

    @cached_property
    def _chain(self) -> tuple[str, ...]:
        """The stored chain of a converted model: hashing its weights would read the whole file."""
        if self.stored_chain and str(self.dtype) == "torch.float32":
            return self.stored_chain
        return weight_chain(self.model)


def load_model(
    name: str | os.PathLike[str] = "smollm2-135m",
    *,
    n_layers: int | None = None,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    trust_remote_code: bool = False,
    cache: str | os.PathLike[str] | None = None,
    head: bool = False,
) -> LoadedModel:
    """Load a model by name; the network is used only for what no cache holds.

    Args:
        name: An alias (``smollm2-135m``, ``qwen2.5-coder-0.5b``, ``qwen2.5-coder-1.5b``), a folder, a
            ``.gguf`` file, or a hub id ``owner/name``.
        n_layers: Load only the first blocks, from 1 to all; None loads all.
        revision: Branch, tag or commit of a hub id.
        device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.
        dtype: ``float32``, ``bfloat16``, ``float16`` or ``float64``; None takes ``float32``.
        trust_remote_code: Run Python files that come with the model. Only for authors you trust.
        cache: Folder for fetched and converted models; see ``splinelens.models.cache``.
        head: Also load the language-model head, which generates; then all blocks are loaded.

    Raises:
        BadFeatures: ``n_layers`` above what the model has, or none; or given with ``head``.
        UnknownModel: No model of this name.
        BadModel: The model cannot be fetched or loaded this way; the message says why.
        CannotWrite: The cache cannot be written.

    Example:
        >>> import tempfile
        >>> load_model(tempfile.mkdtemp())
        Traceback (most recent call last):
        ...
        splinelens.errors.BadModel: ... has no config.json: it is no model folder. ...
    """
    _require_name(name)
    if head and n_layers is not None:
        raise BadFeatures(f"n_layers={n_layers!r} with head=True: only the whole model generates")
    _make_sums_reproducible()
    number_type, target, name = (
        _dtype("float32" if dtype is None else dtype),
        _device(device),
        os.fspath(name),
    )
    folder, commit = find_source(name, revision, trust_remote_code, cache)
    options = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    with quiet():
        config, depth, total_depth = _read_config(folder, name, n_layers, options)
        tokenizer = _read_tokenizer(folder, options)
        whole = _read_model(folder, config, number_type, target, options, head=head)
        model = whole.base_model if head else whole
        _require_embeddings(model, tokenizer, folder)
    sidecar = read_sidecar(folder) if is_converted(folder, cache_folder(cache)) else None
    chain = sidecar.chain if sidecar and len(sidecar.chain) == total_depth + 1 else None
    causal = whole if head else None
    return LoadedModel(model, tokenizer, name, commit, depth, total_depth, folder, chain, causal)


def load_up_to(
    model: str | os.PathLike[str] | LoadedModel,
    layers: Sequence[int] | None,
    *,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    trust_remote_code: bool = False,
) -> LoadedModel:
    """The model itself, or of a named one the blocks that some layers need; None stands for all layers.

    Raises:
        BadFeatures: A layer that does not exist.
        BadModel: The model cannot be loaded, or an option of loading is given for a loaded one.
    """
    if isinstance(model, LoadedModel):
        options = {"revision": revision, "device": device, "dtype": dtype}
        require_unset("load_model: the model", **options, trust_remote_code=trust_remote_code or None)
        return model
    depth = None if layers is None else max(layers, default=0) + 1
    return load_model(
        model,
        n_layers=depth,
        revision=revision,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )


def require_head(loaded: LoadedModel) -> Any:  # Any: a model of transformers
    """The model with its language-model head.

    Raises:
        BadModel: It was loaded without it.
    """
    if loaded.causal is None:
        raise BadModel(f"{loaded.name} is loaded without its language-model head: load_model(..., head=True)")
    return loaded.causal


def require_same_tokenizer(first: LoadedModel, second: LoadedModel) -> None:
    """Refuse two models that do not cut a text into the same tokens.

    Raises:
        BadModel: Their tokenizers differ; the message names the first token that does.
    """
    if first._tokenizer_hash == second._tokenizer_hash:
        return
    ours, theirs = (
        {number: token for token, number in each.tokenizer.get_vocab().items()} for each in (first, second)
    )
    names = f"{second.name} has another tokenizer than {first.name}"
    for number in sorted(ours.keys() | theirs.keys()):
        if ours.get(number) != theirs.get(number):
            raise BadModel(
                f"{names}: token {number} is {theirs.get(number)!r} in place of {ours.get(number)!r}; "
                "models are compared at the same tokens"
            )
    raise BadModel(f"{names}: the same tokens and other rules; models are compared at the same tokens")


def require_unset(owner: str, /, **options: object) -> None:
    """Refuse options of loading for what is loaded already; ``owner`` says where they belong.

    Raises:
        BadModel: One of them is not None.

    Example:
        >>> require_unset("load_model: the model", device=None, dtype="bfloat16")
        Traceback (most recent call last):
        ...
        splinelens.errors.BadModel: dtype='bfloat16' belongs to load_model: the model is loaded already
    """
    for name, value in options.items():
        if value is not None:
            raise BadModel(f"{name}={value!r} belongs to {owner} is loaded already")


def _require_name(name: object) -> None:
    if isinstance(name, str | os.PathLike):
        return
    in_memory = hasattr(name, "save_pretrained")
    advice = (
        "save it and its tokenizer with save_pretrained, and give the folder" if in_memory else "give one"
    )
    raise BadModel(
        "a model is a name, a folder, a file or what load_model returns, and this is a "
        f"{type(name).__name__}; {advice}"
    )


def _make_sums_reproducible() -> None:
    """Set Intel's MKL to sums that do not depend on the shape of the batch or the number of threads.

    Otherwise a text's sums are split by the size of its batch, and distances near 0 change. MKL reads the
    variable at its first product; a value that the user set is kept.
    """
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    if capability in ("AVX2", "AVX512"):
        os.environ.setdefault("MKL_CBWR", f"{capability},STRICT")


def _dtype(name: str) -> "torch.dtype":
    import torch

    plain = str(name).removeprefix("torch.")
    if plain not in DTYPES:
        raise BadModel(f"dtype {name!r} is not one of {', '.join(DTYPES)}")
    number_type: torch.dtype = getattr(torch, plain)
    return number_type


def _device(name: str | None) -> "torch.device":
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name).tolist()  # the device meta holds no numbers
        return torch.device(name)
    except Exception as error:  # devices that this torch was built without fail in many ways
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise BadModel(
            f"device {name!r} is not available here: this torch sees the CPU and {gpus} CUDA devices. Use "
            f"{'cpu or cuda:0' if gpus else 'cpu'}"
        ) from error


def _read_config(
    folder: Path, name: str, n_layers: int | None, options: dict[str, bool]
) -> tuple[Any, int, int]:  # Any: transformers loads lazily
    """The configuration without later blocks, which are neither built nor read; blocks to load, and all."""
    from transformers import AutoConfig

    _require_possible_depth(folder)
    with _refusals("the configuration", folder):
        config = AutoConfig.from_pretrained(str(folder), **options)
        text = config.get_text_config()
        total_depth, blocks = int(text.num_hidden_layers), per_block(text)
    depth = _depth(n_layers, total_depth, name)
    if n_layers is not None:
        for key in blocks:
            setattr(text, key, getattr(text, key)[:depth])
        text.num_hidden_layers = depth
    return config, depth, total_depth


def _depth(n_layers: object, total_depth: int, name: str) -> int:
    """How many blocks to load; None stands for all."""
    whole = hasattr(n_layers, "__index__") and not isinstance(n_layers, bool)  # numbers of NumPy too
    depth = index(n_layers) if whole else total_depth if n_layers is None else 0  # type: ignore[arg-type]
    if not 1 <= depth <= total_depth:
        error = BadModel if n_layers is None else BadFeatures
        raise error(
            f"cannot load {n_layers!r} blocks: {name} has {total_depth}, its layers are 0 to "
            f"{total_depth - 1}"
        )
    return depth


def _require_possible_depth(folder: Path) -> None:
    """Refuse more blocks than there are weights: transformers would build them for hours."""
    from safetensors import safe_open

    with _refusals("the configuration", folder):
        found = [json.loads((folder / "config.json").read_bytes())]
    tensors = 0
    for name in shard_names(folder):
        with safe_open(folder / name, framework="numpy") as file:
            tensors += len(file.keys())
    while found:
        value = found.pop()
        found += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        for key in _DEPTHS & value.keys() if isinstance(value, dict) else ():
            if isinstance(value[key], int | float) and value[key] > tensors:
                raise BadModel(
                    f"{folder / 'config.json'} states {key} {value[key]:,}, and the weights are {tensors:,} "
                    "tensors in all; fetch or save the model again"
                )


def _read_tokenizer(folder: Path, options: dict[str, bool]) -> Any:  # Any: see LoadedModel
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise BadModel(
            f"{folder} has no tokenizer (none of {', '.join(_VOCABULARIES)}); save it there as well"
        )
    with _refusals("the tokenizer", folder):
        # For Qwen2 and Qwen3.5 AutoTokenizer replaces a generic class that the folder names by its own one,
        # which splits and joins otherwise than tokenizer.json says: characters would be lost.
        declared = get_tokenizer_config(str(folder), local_files_only=True)
        generic = declared.get("tokenizer_class") in _GENERIC and "auto_map" not in declared
        kind = PreTrainedTokenizerFast if generic and (folder / "tokenizer.json").is_file() else AutoTokenizer
        tokenizer: Any = kind.from_pretrained(str(folder), **options)
    if not getattr(tokenizer, "is_fast", False) or len(tokenizer) == 0:
        raise BadModel(
            f"{folder} gives no fast tokenizer ({type(tokenizer).__name__}), and only those tell which "
            "characters a token stands for. Add its tokenizer.json"
        )
    if tokenizer.pad_token is None:
        # Padding is masked, so any token of the vocabulary will do.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def _read_model(
    folder: Path,
    config: Any,  # Any: as above
    dtype: "torch.dtype",
    device: "torch.device",
    options: dict[str, bool],
    *,
    head: bool,
) -> Any:  # Any: as above
    import torch
    from transformers import AutoModel, AutoModelForCausalLM

    # The faster ways to run experts have no float64.
    experts = {"experts_implementation": "eager"} if dtype == torch.float64 else {}
    with _refusals("the weights", folder):
        model, info = (AutoModelForCausalLM if head else AutoModel).from_pretrained(
            str(folder),
            config=config,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            **experts,
            **options,
        )
    missing = sorted(info["missing_keys"])
    if missing:
        raise BadModel(
            f"{folder} lacks {len(missing)} weights of {type(model).__name__}, first {missing[0]}: they "
            "would be random. Fetch or save the whole model again"
        )
    try:
        return model.eval().requires_grad_(False).to(device)
    except torch.OutOfMemoryError as error:
        raise BadModel(
            f"the model does not fit on {device}: use dtype bfloat16, fewer layers, or device cpu"
        ) from error


def _require_embeddings(model: "torch.nn.Module", tokenizer: Any, folder: Path) -> None:  # Any: as above
    """Refuse a tokenizer whose ids the model has no embedding for.

    Special tokens do not count, other than those put around every text: texts cannot contain them.
    """
    with _refusals("the tokenizer", folder):
        rows = len(model.get_input_embeddings().weight)  # type: ignore[operator]  # set by transformers
        special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        ids = {*tokenizer.get_vocab().values()} - special | {*tokenizer("a")["input_ids"]}
    if max(ids) >= rows:
        raise BadModel(
            f"the tokenizer of {folder} has ids up to {max(ids):,}, and the model embeds {rows:,} tokens: "
            "they are of different models. Fetch or save both again"
        )


@contextmanager
def _refusals(what: str, folder: Path | str) -> Iterator[None]:
    """Turn what transformers raises on a broken or foreign file, which can be anything, into ``BadModel``."""
    try:
        yield
    except (BadModel, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the tokenizers library is no Exception
        message = str(error).strip()
        if "trust_remote_code" in message:
            raise BadModel(
                f"{folder} comes with Python code of its own, which is not run unless you ask for it. If you "
                "trust its authors, pass trust_remote_code=True (command line: --trust-remote-code)"
            ) from error
        reason = (message.splitlines() or [""])[0][:300]
        raise BadModel(f"{what} of {folder} cannot be loaded: {type(error).__name__}: {reason}") from error
