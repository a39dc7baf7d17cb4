"""List, fetch and check the cached models."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from splinelens.anatomy import anatomy_of
from splinelens.errors import BadModel
from splinelens.models.aliases import ALIASES, gguf_path
from splinelens.models.cache import cache_folder, file_sha256, working_folder
from splinelens.models.fingerprint import read_sidecar, weight_chain
from splinelens.models.gguf import converted_folder, is_gguf
from splinelens.models.hub import cached_snapshot, discard_broken, is_hub_id
from splinelens.models.load import LoadedModel, load_model
from splinelens.models.source import find_source, require_complete

_log = logging.getLogger(__name__)
_PROBE = "Have a nice day."


@dataclass(frozen=True)
class ModelRecord:
    """A model that is cached, or that an alias would fetch.

    Attributes:
        name: Alias, hub id, or the name of the GGUF file a folder was converted from.
        kind: What the name is.
        cached: Whether it can be loaded without network.
        size_bytes: Its size on disk now.
        path: The folder to load from; None if it is not cached.
    """

    name: str
    kind: Literal["alias", "gguf", "hub"]
    cached: bool
    size_bytes: int
    path: Path | None


@dataclass(frozen=True)
class Check:
    """One check of a model: what was checked, whether it passed, and the result or the reason."""

    what: str
    ok: bool
    detail: str


def list_models(cache: str | os.PathLike[str] | None = None) -> list[ModelRecord]:
    """The aliases, the other converted GGUF files, and the completely cached hub models.

    Nothing is created or fetched.

    Example:
        >>> import tempfile
        >>> record = list_models(tempfile.mkdtemp())[0]
        >>> record.name, record.cached, record.size_bytes
        ('smollm2-135m', False, 0)
    """
    root = cache_folder(cache)
    aliases = {converted_folder(alias.gguf_sha256, root): name for name, alias in ALIASES.items()}
    records = []
    for folder, name in aliases.items():
        size_bytes = _size_bytes(folder) + _size_bytes(gguf_path(name, root).parent)
        cached = folder.is_dir()
        records.append(ModelRecord(name, "alias", cached, size_bytes, folder if cached else None))
    for folder in sorted({*(root / "converted").glob("*")} - {*aliases}):
        sidecar = read_sidecar(folder)
        name = sidecar.made_from if sidecar else folder.name
        records.append(ModelRecord(name, "gguf", True, _size_bytes(folder), folder))
    return records + _hub_models()


def pull(name: str, cache: str | os.PathLike[str] | None = None, revision: str | None = None) -> Path:
    """Fetch, verify and convert a model, so that later loads need no network; mend what is damaged.

    Files of the caches that do not have the hashes they must have are made or fetched again, with a warning
    in the log. A folder of the user is only checked. Arguments and errors as in ``load_model``; also
    ``BrokenDownload`` for a file of the wrong size or hash.

    Returns:
        The folder the model is loaded from.
    """
    root = cache_folder(cache)
    if name in ALIASES:
        _discard_broken_gguf(name, root)
        _discard_broken_conversion(ALIASES[name].gguf_sha256, root)
    elif is_gguf(path := Path(os.path.expanduser(name))):
        _discard_broken_conversion(file_sha256(path), root)
    elif is_hub_id(name):
        for file in discard_broken(name, revision):
            _log.warning("%s of %s was damaged in the cache of the hub; fetching it again", file, name)
    return find_source(name, revision, cache=cache, refresh=True)[0]


def check(name: str, cache: str | os.PathLike[str] | None = None, revision: str | None = None) -> list[Check]:
    """Check a cached model: files, hashes, tokenizer, fingerprint, one forward pass, gates.

    Nothing is fetched. Checks that depend on a failed one are left out. Arguments as in ``load_model``.
    """
    root = cache_folder(cache)
    checks: list[Check] = []

    def passes(what: str, function: Callable[[], str]) -> bool:
        try:
            checks.append(Check(what, True, function()))
        except Exception as error:  # any failure of a model is a result of its check
            checks.append(Check(what, False, str(error)))
        return checks[-1].ok

    if name in ALIASES:
        folder = converted_folder(ALIASES[name].gguf_sha256, root)
        if folder.is_dir() and not gguf_path(name, root).is_file():
            checks.append(Check("GGUF file", True, "none: the model was converted from a file elsewhere"))
        else:
            passes("GGUF file", lambda: _check_gguf(name, root))
        passes("converted folder", lambda: _check_cached(name, folder))
    elif is_hub_id(name):
        passes("hub cache", lambda: _check_cached(name, cached_snapshot(name, revision)))
    if checks and not checks[-1].ok:
        return checks
    try:
        loaded = load_model(name, revision=revision, cache=cache, device="cpu")
    except Exception as error:  # as above
        return [*checks, Check("loads", False, str(error))]
    architecture = loaded.model.config.model_type  # type: ignore[union-attr]  # set by transformers
    checks.append(Check("loads", True, f"{loaded.depth} blocks of {architecture}"))
    passes("tokenizer", lambda: _check_offsets(loaded))
    passes("fingerprint", lambda: _check_fingerprint(loaded))
    passes("forward pass", lambda: _check_forward_pass(loaded))
    passes("gates", lambda: _check_gates(loaded))
    return checks


def _check_gguf(name: str, cache: Path) -> str:
    alias, path = ALIASES[name], gguf_path(name, cache)
    if not path.is_file():
        raise BadModel(f"{path} is missing; 'splinelens models pull {name}' fetches it")
    sha256 = file_sha256(path)
    if sha256 != alias.gguf_sha256:
        raise BadModel(
            f"{path} has sha256 {sha256}, not {alias.gguf_sha256}; 'splinelens models pull {name}' fetches it"
        )
    return f"{path}, sha256 as expected"


def _check_cached(name: str, folder: Path | None) -> str:
    if folder is None or not folder.is_dir():
        raise BadModel(f"{name} is not cached whole; 'splinelens models pull {name}' fetches it")
    require_complete(folder)
    return str(folder)


def _check_offsets(loaded: LoadedModel) -> str:
    encoded = loaded.tokenizer(_PROBE, return_offsets_mapping=True, add_special_tokens=False)
    decoded = "".join(_PROBE[start:end] for start, end in encoded["offset_mapping"])
    if decoded.replace(" ", "") != _PROBE.replace(" ", ""):
        raise BadModel(f"the offsets of {_PROBE!r} spell {decoded!r}")
    padding = loaded.tokenizer.pad_token
    return f"fast, {len(loaded.tokenizer)} tokens, exact offsets, padding token {padding!r}"


def _check_fingerprint(loaded: LoadedModel) -> str:
    link = weight_chain(loaded.model)[-1]
    stored = loaded.stored_chain
    if stored and stored[-1] != link:
        raise BadModel(
            f"the weights hash to {link}, not to {stored[-1]} as when they were converted; "
            f"'splinelens models pull {loaded.name}' converts them again"
        )
    return f"weights {link[:12]}" + (", as stored at conversion" if stored else ", computed now")


def _check_forward_pass(loaded: LoadedModel) -> str:
    import torch

    with torch.no_grad():
        states = loaded.model(**loaded.tokenizer(_PROBE, return_tensors="pt")).last_hidden_state
    if not bool(torch.isfinite(states).all()):
        raise BadModel(f"the last hidden states of {_PROBE!r} are not finite")
    return f"finite states of shape {tuple(states.shape)}"


def _check_gates(loaded: LoadedModel) -> str:
    anatomy = anatomy_of(loaded.model)
    routed = len(anatomy.expert_layers)
    paths = [f"{anatomy.depth - routed} at {anatomy.family.gate}"] if routed < anatomy.depth else []
    paths += [f"{routed} of experts at {anatomy.family.experts}"] if routed else []
    return f"in all {anatomy.depth} blocks: {', '.join(paths)}"


def _discard_broken_gguf(name: str, cache: Path) -> None:
    """Delete the GGUF file of an alias if it is not the original, for a pull to fetch again."""
    path = gguf_path(name, cache)
    if path.is_file() and file_sha256(path) != ALIASES[name].gguf_sha256:
        _log.warning("%s was damaged; removed", path)
        path.unlink()


def _discard_broken_conversion(sha256: str, cache: Path) -> None:
    """Delete a converted folder that is not as it was made, for a pull to make again."""
    folder = converted_folder(sha256, cache)
    if os.path.lexists(folder) and (damage := _damage(folder)):
        _log.warning("%s was damaged (%s); converting it again", folder, damage)
        with working_folder(cache, 0) as temporary:  # removed in one step, and not while it is being made
            folder.replace(temporary / "damaged")


def _damage(folder: Path) -> str | None:
    """What of a converted folder is not as it was made, or None."""
    if not folder.is_dir():
        return "it is no folder"
    try:
        require_complete(folder)
        sidecar = read_sidecar(folder)
        if sidecar is None:
            return "its record of hashes is missing, broken or of other weights"
        for name, sha256 in sidecar.files.items():
            if not (folder / name).is_file() or file_sha256(folder / name) != sha256:
                return f"{name} is missing or has another hash"
        if not sidecar.files:  # converted by an earlier version
            chain = weight_chain(load_model(str(folder), device="cpu").model)
            return None if chain == sidecar.chain else "the weights have another hash"
    except (BadModel, OSError, ValueError) as error:
        return str(error)
    return None


def _hub_models() -> list[ModelRecord]:
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return []
    records = []
    for repository in sorted(repositories, key=lambda repository: repository.repo_id):
        folder = cached_snapshot(repository.repo_id, None) if repository.repo_type == "model" else None
        if folder is not None:
            records.append(ModelRecord(repository.repo_id, "hub", True, repository.size_on_disk, folder))
    return records


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
