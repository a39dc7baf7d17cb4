"""Which models are at hand, how to get one, and whether one is still what it was."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from splinelens.anatomy import anatomy_of
from splinelens.errors import BadModel
from splinelens.models.cache import cache_folder, file_sha256
from splinelens.models.fingerprint import made_from, read_sidecar, weight_chain
from splinelens.models.gguf import converted_folder
from splinelens.models.hub import cached_snapshot, is_hub_id
from splinelens.models.load import LoadedModel, load_model
from splinelens.models.source import find_source, require_whole
from splinelens.models.wheel import ALIASES, gguf_path

_PROBE = "Have a nice day."


@dataclass(frozen=True)
class ModelRecord:
    """One model that is cached, or that an alias would fetch.

    Attributes:
        name: Alias, hub id, or the name of the GGUF file a folder was converted from.
        kind: What the name is.
        cached: It can be loaded without network.
        size_bytes: What it takes on disk now.
        path: The folder to load from; None if it is not cached.
    """

    name: str
    kind: Literal["alias", "gguf", "hub"]
    cached: bool
    size_bytes: int
    path: Path | None


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what, whether it holds, and what was found."""

    what: str
    ok: bool
    detail: str


def list_models(cache: str | os.PathLike[str] | None = None) -> list[ModelRecord]:
    """The aliases, the other converted GGUF files, and the hub models that are cached whole.

    Args:
        cache: Our cache; see ``cache_folder``. Nothing is made or fetched.

    Example:
        >>> import tempfile
        >>> record = list_models(tempfile.mkdtemp())[0]
        >>> record.name, record.cached, record.size_bytes
        ('smollm2-135m', False, 0)
    """
    place = cache_folder(cache)
    ours = {converted_folder(alias.gguf_sha256, place): name for name, alias in ALIASES.items()}
    records = []
    for folder, name in ours.items():
        size_bytes = _size_bytes(folder) + _size_bytes(gguf_path(name, place).parent)
        cached = folder.is_dir()
        records.append(ModelRecord(name, "alias", cached, size_bytes, folder if cached else None))
    for folder in sorted((place / "converted").glob("*")):
        if folder not in ours:
            records.append(ModelRecord(made_from(folder), "gguf", True, _size_bytes(folder), folder))
    return records + _hub_models()


def pull(name: str, cache: str | os.PathLike[str] | None = None, revision: str | None = None) -> Path:
    """Fetch, verify and convert a model, so that later loads need no network; mend a broken one.

    Args:
        name: Alias, folder, ``.gguf`` file or hub id.
        cache: Our cache; see ``cache_folder``.
        revision: Branch, tag or commit of a hub id.

    Returns:
        The folder the model is loaded from.

    Raises:
        UnknownModel: The name is nothing we know.
        BadModel: It cannot be fetched or converted.
        BrokenDownload: What was fetched is not what it must be.
        CannotWrite: The cache cannot be written or the disk is too full.
    """
    if name in ALIASES:
        _discard_broken(name, cache_folder(cache))
    return find_source(name, revision, cache=cache, refresh=True).folder


def check(name: str, cache: str | os.PathLike[str] | None = None, revision: str | None = None) -> list[Check]:
    """Look a cached model over: files, hashes, tokenizer, fingerprint, one forward pass, gates.

    Nothing is fetched. What depends on a failed point is left out.

    Args:
        name: Alias, folder, ``.gguf`` file or hub id.
        cache: Our cache; see ``cache_folder``.
        revision: Branch, tag or commit of a hub id.

    Returns:
        The points in the order they were looked at.

    Raises:
        UnknownModel: The name is nothing we know.
    """
    place = cache_folder(cache)
    points: list[Check] = []
    if name in ALIASES:
        points += [_point("GGUF file", lambda: _gguf_holds(name, place))]
        points += [_point("converted folder", lambda: _conversion_holds(name, place))]
    elif is_hub_id(name):
        points += [_point("hub cache", lambda: _snapshot_holds(name, revision))]
    if not all(point.ok for point in points[-1:]):
        return points
    loaded: list[LoadedModel] = []
    points.append(_point("loads", lambda: _loads(name, revision, cache, loaded)))
    if loaded:
        points += [_point(what, partial(look, loaded[0])) for what, look in _LOOKS.items()]
    return points


def _point(what: str, look: Callable[[], str]) -> Check:
    try:
        return Check(what, True, look())
    except Exception as error:  # whatever is wrong with a model is what was asked for
        return Check(what, False, str(error))


def _gguf_holds(name: str, cache: Path) -> str:
    alias, path = ALIASES[name], gguf_path(name, cache)
    if not path.is_file():
        raise BadModel(f"{path} is missing; 'splinelens models pull {name}' fetches it")
    found = file_sha256(path)
    if found != alias.gguf_sha256:
        raise BadModel(
            f"{path} has sha256 {found}, not {alias.gguf_sha256}; 'splinelens models pull {name}' mends it"
        )
    return f"{path}, sha256 as expected"


def _conversion_holds(name: str, cache: Path) -> str:
    folder = converted_folder(ALIASES[name].gguf_sha256, cache)
    if not folder.is_dir():
        raise BadModel(f"{folder} is missing; 'splinelens models pull {name}' makes it")
    require_whole(folder)
    return str(folder)


def _snapshot_holds(name: str, revision: str | None) -> str:
    folder = cached_snapshot(name, revision)
    if folder is None:
        raise BadModel(f"{name} is not cached whole; 'splinelens models pull {name}' fetches it")
    return str(folder)


def _loads(
    name: str, revision: str | None, cache: str | os.PathLike[str] | None, into: list[LoadedModel]
) -> str:
    into.append(load_model(name, revision=revision, cache=cache, device="cpu"))
    return f"{into[0].depth} blocks of {into[0].model.config.model_type}"  # type: ignore[union-attr]  # transformers


def _offsets_hold(loaded: LoadedModel) -> str:
    encoded = loaded.tokenizer(_PROBE, return_offsets_mapping=True, add_special_tokens=False)
    spelt = "".join(_PROBE[start:end] for start, end in encoded["offset_mapping"])
    if spelt.replace(" ", "") != _PROBE.replace(" ", ""):
        raise BadModel(f"the offsets of {_PROBE!r} spell {spelt!r}")
    padding = loaded.tokenizer.pad_token
    return f"fast, {len(loaded.tokenizer)} tokens, exact offsets, padding token {padding!r}"


def _fingerprint_holds(loaded: LoadedModel) -> str:
    found = weight_chain(loaded.model)[-1]
    noted = read_sidecar(loaded.folder) if loaded.folder else None
    if noted and noted[-1] != found:
        raise BadModel(f"the weights hash to {found}, and {noted[-1]} was noted when they were converted")
    return f"weights {found[:12]}" + (", as noted at conversion" if noted else ", computed now")


def _pass_is_finite(loaded: LoadedModel) -> str:
    import torch

    with torch.no_grad():
        states = loaded.model(**loaded.tokenizer(_PROBE, return_tensors="pt")).last_hidden_state
    if not bool(torch.isfinite(states).all()):
        raise BadModel(f"the last hidden states of {_PROBE!r} are not finite")
    return f"finite states of shape {tuple(states.shape)}"


def _gates_found(loaded: LoadedModel) -> str:
    anatomy = anatomy_of(loaded.model)
    routed = sum(anatomy.experts(layer) is not None for layer in range(anatomy.depth))
    places = [f"{anatomy.depth - routed} at {anatomy.family.gate}"] if routed < anatomy.depth else []
    places += [f"{routed} of experts at {anatomy.family.experts}"] if routed else []
    return f"in all {anatomy.depth} blocks: {', '.join(places)}"


_LOOKS = {
    "tokenizer": _offsets_hold,
    "fingerprint": _fingerprint_holds,
    "forward pass": _pass_is_finite,
    "gates": _gates_found,
}


def _discard_broken(name: str, cache: Path) -> None:
    """Remove what a pull must make anew; whole files stay."""
    path = gguf_path(name, cache)
    if path.is_file() and file_sha256(path) != ALIASES[name].gguf_sha256:
        path.unlink()
    folder = converted_folder(ALIASES[name].gguf_sha256, cache)
    try:
        if folder.is_dir():
            require_whole(folder)
    except BadModel:
        shutil.rmtree(folder)


def _hub_models() -> list[ModelRecord]:
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return []
    records = []
    for repository in sorted(repositories, key=lambda found: found.repo_id):
        folder = cached_snapshot(repository.repo_id, None) if repository.repo_type == "model" else None
        if folder is not None:
            records.append(ModelRecord(repository.repo_id, "hub", True, repository.size_on_disk, folder))
    return records


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
