"""GGUF files: converted once to a folder of float32 safetensors, with the tokenizer inside the file.

Reading a GGUF file with transformers takes many seconds each time (14 s for the default model) and all of
its memory; a folder with safetensors is mapped into memory and only the pages used are read.

Tokenizers of byte-level BPE with the splits of GPT-2 (the default model's kind) are built here, from the
file alone: what transformers makes of such a file depends on its version, and 5.3 builds another tokenizer.
Other kinds are left to transformers. Either way a probe must survive encoding and decoding.
"""

import hashlib
import io
import logging
import mmap
import os
import re
import struct
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splinelens.errors import BadModel, CannotWrite
from splinelens.files import write_errors, write_text
from splinelens.models.cache import file_sha256, publish, working_folder
from splinelens.models.fingerprint import store_chain, weight_chain
from splinelens.models.quiet import quiet

if TYPE_CHECKING:
    from torch import Tensor, nn

_log = logging.getLogger(__name__)
_FLOAT32_BYTES = 4
_GPT2_SPLITS = {"gpt-2", "smollm"}  # smollm also splits digits, which no merge of its vocabulary joins
_CONTROL, _USER_DEFINED = 3, 4
_STRING, _LIST = 8, 9  # kinds of values of the format
_KIND_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_ROLES = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
_PROBE = "The cat's 12 hats, and you."


def converted_folder(sha256: str, cache: Path) -> Path:
    """The folder that a GGUF file with this hash is converted to, whether it exists or not."""
    return cache / "converted" / sha256


def is_converted(folder: Path, cache: Path) -> bool:
    """Whether a folder was converted into this cache, so that its record of hashes can be believed."""
    return folder.parent == cache / "converted" and not folder.is_symlink()


def is_gguf(path: Path) -> bool:
    """Whether a path is a file that is called ``.gguf``."""
    return path.suffix.lower() == ".gguf" and os.path.isfile(path)


def converted(gguf: Path, cache: Path, sha256: str | None = None) -> Path:
    """The model folder of a GGUF file, converted now if the cache lacks it.

    The ``sha256`` of the file is computed where it is not given, and stored for as long as its path, size
    and time stay the same.

    Raises:
        BadModel: The file is broken or of an architecture that transformers cannot convert.
        CannotWrite: The cache cannot be written or the disk is too full.
    """
    folder = converted_folder(sha256 or _known_sha256(gguf, cache), cache)
    if not folder.is_dir():
        size_bytes = _float32_bytes(gguf)
        with working_folder(cache, size_bytes) as temporary:
            if not folder.is_dir():
                _log.info("converting %s once to float32 (%.0f MB)", gguf.name, size_bytes / 1e6)
                (temporary / "model").mkdir()
                _convert(gguf, temporary / "model")
                publish(temporary / "model", folder)
    return folder


def gguf_tokenizer(gguf: Path) -> Any:  # Any: transformers has no common type for its fast tokenizers
    """The fast tokenizer inside a GGUF file; it adds a first token only if the file says so.

    Raises:
        BadModel: The file has none, or its tokenizer garbles text.
    """
    from gguf import GGUFReader

    fields = GGUFReader(str(gguf)).fields
    kind, splits = _field(fields, "model"), _field(fields, "pre")
    if kind == "gpt2" and splits in _GPT2_SPLITS:
        tokenizer = _byte_level(fields)
    else:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(
            str(gguf.parent), gguf_file=gguf.name, local_files_only=True
        )
    back = tokenizer.decode(tokenizer(_PROBE)["input_ids"], skip_special_tokens=True)
    if back.strip() != _PROBE:
        raise BadModel(
            f"the tokenizer of {gguf} (kind {kind}, splits {splits}) turns {_PROBE!r} into {back!r}: this "
            "version of transformers misreads it. Use a newer one, or name a folder with tokenizer.json"
        )
    return tokenizer


def _field(fields: dict[str, Any], name: str) -> Any:  # Any: whatever a GGUF field holds
    field = fields.get(f"tokenizer.ggml.{name}")
    return None if field is None else field.contents()


def _byte_level(fields: dict[str, Any]) -> Any:  # Any: see gguf_tokenizer
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens = _field(fields, "tokens")
    vocabulary = {token: index for index, token in enumerate(tokens)}
    merges = [tuple(merge.split(" ", 1)) for merge in _field(fields, "merges")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, continuing_subword_prefix="", end_of_word_suffix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    for token, kind in zip(tokens, _field(fields, "token_type"), strict=True):
        if kind in (_CONTROL, _USER_DEFINED):
            tokenizer.add_tokens([AddedToken(token, special=kind == _CONTROL, normalized=False)])
    ids = {role: _field(fields, f"{name}_token_id") for role, name in _ROLES.items()}
    special = {role: tokens[index] for role, index in ids.items() if index is not None}
    first = special["bos_token"] if _field(fields, "add_bos_token") else None
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first}:0 $A:0" if first else "$A:0",
        pair=f"{first}:0 $A:0 {first}:1 $B:1" if first else "$A:0 $B:1",
        special_tokens=[(first, ids["bos_token"])] if first else [],
    )
    template = fields.get("tokenizer.chat_template")
    chat_template = template.contents() if template else None
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=chat_template, **special)


def _known_sha256(gguf: Path, cache: Path) -> str:
    """The hash of a file, stored in the cache: files of gigabytes are not hashed again at every load.

    Times of change count, since users can set every other time of a file.
    """
    state = gguf.stat()
    key = f"{gguf.resolve()}:{state.st_size}:{state.st_mtime_ns}:{state.st_ctime_ns}"
    record = cache / "seen" / hashlib.sha256(os.fsencode(key)).hexdigest()
    if os.path.isfile(record) and re.fullmatch("[0-9a-f]{64}", known := record.read_text(errors="replace")):
        return known
    sha256 = file_sha256(gguf)
    with write_errors(record, "set SPLINELENS_CACHE to another folder"):
        record.parent.mkdir(parents=True, exist_ok=True)
        write_text(record, sha256)
    return sha256


def _float32_bytes(gguf: Path) -> int:
    from gguf import GGUFReader

    _require_possible_lengths(gguf)
    try:
        tensors = GGUFReader(str(gguf)).tensors
        return _FLOAT32_BYTES * sum(int(tensor.n_elements) for tensor in tensors)
    except Exception as error:  # the reader fails in many ways on a cut or foreign file
        raise BadModel(f"{gguf} is not a whole GGUF file: {error}. Fetch it again") from error


def _require_possible_lengths(gguf: Path) -> None:
    """Refuse counts and lengths beyond the end of the file: its reader would go through them one by one."""
    if not gguf.stat().st_size:
        raise BadModel(f"{gguf} is not a whole GGUF file: it is empty. Fetch it again")
    with gguf.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            magic, version, tensors, fields = struct.unpack_from("<4sIQQ", data)
            # A version of big-endian machines reads as a large number.
            if magic != b"GGUF" or not 2 <= version < 2**16:
                raise ValueError(f"it starts with {magic!r}, version {version}")
            at = 24
            for _ in range(_possible(fields, data, at)):
                at = _after_string(data, at)
                at = _after_value(data, at + 4, struct.unpack_from("<I", data, at)[0])
            _possible(tensors, data, at)
        except (ValueError, struct.error) as error:
            raise BadModel(f"{gguf} is not a whole GGUF file: {error}. Fetch it again") from error


def _possible(count: int, data: mmap.mmap, at: int) -> int:
    """A count of things of a byte or more that follow an offset."""
    if count > len(data) - at:
        raise ValueError(f"{count:,} entries are announced at byte {at:,} of {len(data):,}")
    return count


def _after_string(data: mmap.mmap, at: int) -> int:
    return at + 8 + _possible(struct.unpack_from("<Q", data, at)[0], data, at + 8)


def _after_value(data: mmap.mmap, at: int, kind: int) -> int:
    """The offset after a value of a kind; those of strings and lists state their length."""
    if kind == _STRING:
        return _after_string(data, at)
    if kind != _LIST:
        if kind not in _KIND_BYTES:
            raise ValueError(f"byte {at:,} is of the unknown kind {kind}")
        return at + _KIND_BYTES[kind]
    inner, length = struct.unpack_from("<IQ", data, at)
    at += 12
    if inner in _KIND_BYTES:
        return at + _possible(length * _KIND_BYTES[inner], data, at)
    if inner != _STRING:
        raise ValueError(f"byte {at:,} is a list of the unknown kind {inner}")
    for _ in range(_possible(length, data, at)):
        at = _after_string(data, at)
    return at


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    try:
        with quiet(), redirect_stderr(io.StringIO()):  # its progress bar ignores every setting
            tokenizer = gguf_tokenizer(gguf)
            model, info = AutoModelForCausalLM.from_pretrained(
                str(gguf.parent),
                gguf_file=gguf.name,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except BadModel:
        raise
    except Exception as error:  # a GGUF file fails in as many ways as there are architectures
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadModel(
            f"{gguf} cannot be converted: {reason}. Name a folder with safetensors instead"
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise BadModel(f"{gguf} lacks {len(missing)} of its weights, first {missing[0]}; fetch it again")
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    try:
        save_file(_unshared(model), folder / "model.safetensors", metadata={"format": "pt"})
    except SafetensorError as error:  # the disk filled up
        raise CannotWrite(f"{gguf.name} could not be converted into {folder}: {error}") from error
    with quiet():
        model.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    store_chain(folder, weight_chain(model.base_model), gguf.name)


def _unshared(model: "nn.Module") -> "dict[str, Tensor]":
    """The weights, without second names of the same memory (a head tied to the embedding)."""
    kept: dict[tuple[int, tuple[int, ...]], tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict().items():
        kept.setdefault((tensor.data_ptr(), tuple(tensor.shape)), (name, tensor.contiguous()))
    return dict(kept.values())
