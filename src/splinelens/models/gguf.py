"""A GGUF file as a model folder: converted once to float32, then loaded in a fraction of a second.

Reading a GGUF file with transformers takes many seconds each time (14 s for the default model) and
all of its memory; a folder with safetensors is mapped into memory and only the pages used are read.
"""

import hashlib
import io
import json
import logging
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splinelens.errors import BadModel, CannotWrite
from splinelens.models.cache import file_sha256, place, workroom
from splinelens.models.fingerprint import weight_chain, write_sidecar
from splinelens.models.quiet import quiet
from splinelens.models.tokenizer import gguf_tokenizer

if TYPE_CHECKING:
    from torch import Tensor, nn

_log = logging.getLogger(__name__)
_FLOAT32_BYTES = 4


def converted_folder(sha256: str, cache: Path) -> Path:
    """Where the folder made of the GGUF file with this hash lies, whether it exists or not."""
    return cache / "converted" / sha256


def converted(gguf: Path, cache: Path, sha256: str | None = None) -> Path:
    """The model folder made of a GGUF file; made now if the cache does not hold it.

    Args:
        gguf: The file.
        cache: The folder of ``cache_folder``.
        sha256: Its hash, if it is known; otherwise it is computed, and remembered for as long as
            path, size and time of the file stay the same.

    Returns:
        A folder with ``config.json``, the tokenizer, ``model.safetensors`` in float32 and
        ``fingerprint.json``.

    Raises:
        BadModel: The file is broken or of an architecture that transformers cannot convert.
        CannotWrite: The cache cannot be written or the disk is too full.
    """
    folder = converted_folder(sha256 or _remembered_sha256(gguf, cache), cache)
    if not folder.is_dir():
        size_bytes = _float32_bytes(gguf)
        with workroom(cache, size_bytes) as room:
            if not folder.is_dir():
                _log.info("converting %s once to float32 (%.0f MB)", gguf.name, size_bytes / 1e6)
                made = room / "model"
                made.mkdir()
                _convert(gguf, made)
                place(made, folder)
    return folder


def _remembered_sha256(gguf: Path, cache: Path) -> str:
    """The hash of a file; files of gigabytes are not read again for it at every load."""
    path, state = gguf.resolve(), gguf.stat()
    seen = {"path": str(path), "size_bytes": state.st_size, "mtime_ns": state.st_mtime_ns}
    memo = cache / "seen" / f"{hashlib.sha256(str(path).encode()).hexdigest()}.json"
    try:
        known = json.loads(memo.read_text(encoding="utf-8"))
        if {**known, **seen} == known:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never seen, or the note is broken: hash it
    sha256 = file_sha256(gguf)
    with workroom(cache, 0) as room:
        note = room / "note.json"
        note.write_text(json.dumps({**seen, "sha256": sha256}), encoding="utf-8")
        place(note, memo)
    return sha256


def _float32_bytes(gguf: Path) -> int:
    from gguf import GGUFReader

    try:
        tensors = GGUFReader(str(gguf)).tensors
        return _FLOAT32_BYTES * sum(int(tensor.n_elements) for tensor in tensors)
    except Exception as error:  # the reader fails in many ways on a cut or foreign file
        raise BadModel(f"{gguf} is not a whole GGUF file: {error}. Fetch it again") from error


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    try:
        with quiet(), redirect_stderr(io.StringIO()):  # its progress bar asks no setting
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
        reason = str(error).strip().splitlines() or [type(error).__name__]
        advice = "Name a folder with safetensors instead"
        raise BadModel(f"{gguf} cannot be converted: {reason[0]}. {advice}") from error
    _require_all_weights(gguf, info)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    try:
        save_file(_unshared(model), folder / "model.safetensors", metadata={"format": "pt"})
    except SafetensorError as error:
        cache = folder.parent.parent
        raise CannotWrite(f"{gguf.name} could not be converted into {cache}: {error}") from error
    with quiet():
        model.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    write_sidecar(folder, weight_chain(model.base_model), gguf.name)


def _require_all_weights(gguf: Path, info: dict[str, Any]) -> None:  # Any: transformers' report
    lacking = sorted(info["missing_keys"])
    if lacking:
        raise BadModel(f"{gguf} lacks {len(lacking)} of its weights, first {lacking[0]}; fetch it again")


def _unshared(model: "nn.Module") -> "dict[str, Tensor]":
    """The weights, without second names of the same memory (a head tied to the embedding)."""
    kept: dict[tuple[int, tuple[int, ...]], tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict().items():
        kept.setdefault((tensor.data_ptr(), tuple(tensor.shape)), (name, tensor.contiguous()))
    return dict(kept.values())
