"""Models of the Hugging Face hub as folders, at a fixed commit, safetensors only.

A completely cached model is used without the network; ``pull`` looks for a newer one. Torch pickles are
never fetched: they can run code when loaded.
"""

import hashlib
import json
import os
import re
from pathlib import Path

from splinelens.errors import BadModel, UnknownModel
from splinelens.models.cache import file_sha256

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
POOLING = "1_Pooling/config.json"  # of a sentence encoder
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_SUFFIXES = (".json", ".txt", ".model", ".jinja")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")


def is_hub_id(name: str) -> bool:
    """Whether a name has the form ``owner/name`` and is no file or folder.

    Example:
        >>> is_hub_id("HuggingFaceTB/SmolLM2-360M"), is_hub_id("./models"), is_hub_id("a/b.gguf")
        (True, False, False)
    """
    if not _HUB_ID.fullmatch(name) or name.lower().endswith(".gguf") or os.path.exists(name):
        return False
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:  # too long, or with -- or .. inside
        return False
    return True


def cached_snapshot(repository: str, revision: str | None, with_code: bool = False) -> Path | None:
    """The folder of a hub model in the cache of transformers; None if a file is missing."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repository, "config.json", revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    weights = shard_names(folder)
    complete = bool(weights) and all((folder / name).is_file() for name in weights)
    complete &= any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    if with_code and "auto_map" in Path(config).read_text(encoding="utf-8"):
        complete &= any(folder.glob("*.py"))
    return folder if complete else None


def discard_broken(repository: str, revision: str | None) -> list[str]:
    """Delete the cached files of a snapshot whose content has another hash than the hub gave, and name them.

    The cache calls a file's content by its hash: the SHA-256 of large files, that of git for small ones.
    """
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repository, "config.json", revision=revision)
    names = []
    for path in Path(config).parent.iterdir() if isinstance(config, str) else ():
        blob = path.resolve()
        if path.is_symlink() and blob.is_file() and _content_hash(blob) not in (blob.name, None):
            path.unlink()
            blob.unlink()
            names.append(path.name)
    return sorted(names)


def _content_hash(blob: Path) -> str | None:
    """The hash of a file of the kind that its name is; None if the name is no hash."""
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        return file_sha256(blob)
    if re.fullmatch("[0-9a-f]{40}", blob.name):
        content = blob.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return None


def shard_names(folder: Path) -> list[str]:
    """Names of the safetensors files of a model folder; empty if there are none.

    Raises:
        BadModel: The index of the files cannot be read.
    """
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    index = folder / INDEX
    if not index.is_file():
        return []
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadModel(f"{index} is broken ({error}): fetch the model again") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise BadModel(
                f"{index} names {name!r:.100}, which is no safetensors file beside it: fetch the model again"
            )
    return names


def fetch_snapshot(repository: str, revision: str | None, with_code: bool = False) -> Path:
    """Fetch the needed files of a hub model into a folder whose name is the current commit of the revision.

    Raises:
        UnknownModel: The hub has no such repository or revision.
        BadModel: The hub cannot be reached or refuses, or the repository has no safetensors.
    """
    from huggingface_hub import HfApi, snapshot_download

    try:
        info = HfApi().model_info(repository, revision=revision)
        names = [sibling.rfilename for sibling in info.siblings or []]
        needed = _needed(repository, names, with_code)
        # By branch and not by commit, so that the cache records the commit of the branch.
        return Path(snapshot_download(repository, revision=revision, allow_patterns=needed))
    except BadModel:
        raise
    except Exception as error:  # the hub fails as OSError, ValueError or an error of its HTTP library
        raise _refusal(repository, revision, error) from error


def fetch_file(repository: str, file: str, folder: Path) -> Path:
    """Fetch one file of a hub repository into a folder.

    Raises:
        UnknownModel: The hub has no such repository.
        BadModel: The hub cannot be reached, refuses, or has no such file there.
    """
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, file, local_dir=folder))
    except Exception as error:  # as above
        raise _refusal(repository, None, error) from error


def _needed(repository: str, names: list[str], with_code: bool) -> list[str]:
    top = [name for name in names if "/" not in name]
    shards = [name for name in top if name.endswith(".safetensors")] if INDEX in top else []
    weights = [WEIGHTS] if WEIGHTS in top else shards
    if not weights:
        pickles = [name for name in names if name.endswith(PICKLES)][:3]
        others = f"only {', '.join(pickles)}, which can run code when read" if pickles else "no weights"
        raise BadModel(
            f"{repository} has no {WEIGHTS} (it has {others}). Choose a revision or repository with "
            "safetensors, or convert it once with save_pretrained and name the folder"
        )
    suffixes = (*_SUFFIXES, ".py") if with_code else _SUFFIXES
    pooling = [name for name in names if name == POOLING]
    return weights + [name for name in top if name.endswith(suffixes)] + pooling


def _refusal(repository: str, revision: str | None, error: Exception) -> BadModel:
    from huggingface_hub import errors

    what = f"model {repository!r}" + (f" at revision {revision!r}" if revision else "")
    if isinstance(error, errors.GatedRepoError):
        return BadModel(
            f"{what} is gated: accept its terms on the hub and log in with 'hf auth login', or set HF_TOKEN"
        )
    if isinstance(error, errors.RepositoryNotFoundError | errors.RevisionNotFoundError):
        return UnknownModel(
            f"{what} is no folder here and no repository or revision on the hub that you may read; check the "
            "spelling, and log in with 'hf auth login' if it is private"
        )
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, errors.OfflineModeIsEnabled):
        reason = "HF_HUB_OFFLINE is set"
    return BadModel(
        f"{what} is not cached and could not be fetched from the hub: {reason}. Check the network, or name "
        "a folder or a .gguf file"
    )
