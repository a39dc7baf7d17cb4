"""From the name of a model to a folder with its complete files.

A name is, in this order: an alias, a folder, a ``.gguf`` file, a hub id ``owner/name``. The files are checked
before transformers reads them, so that errors name what is missing or cut.
"""

import difflib
import os
import stat
from contextlib import suppress
from pathlib import Path

from splinelens.errors import BadModel, UnknownModel
from splinelens.models.aliases import ALIASES, fetch_gguf
from splinelens.models.cache import cache_folder
from splinelens.models.gguf import converted, converted_folder, is_gguf
from splinelens.models.hub import (
    INDEX,
    PICKLES,
    WEIGHTS,
    cached_snapshot,
    fetch_snapshot,
    is_hub_id,
    shard_names,
)

_TEXTS = (".json", ".txt", ".model", ".jinja")
_MAX_TEXT_BYTES = 1_000_000_000


def find_source(
    name: str,
    revision: str | None = None,
    with_code: bool = False,
    cache: str | os.PathLike[str] | None = None,
    refresh: bool = False,
) -> tuple[Path, str | None]:
    """A model's folder, fetched and converted where the caches lack it, and the commit of a hub model.

    Arguments and errors as in ``load_model``. ``with_code`` needs the Python files of a hub repository too;
    ``refresh`` looks for a newer commit even if the model is cached.
    """
    if is_hub_id(name):
        folder = None if refresh else cached_snapshot(name, revision, with_code)
        folder = folder or fetch_snapshot(name, revision, with_code)
        require_complete(folder)
        return folder, folder.name
    if revision is not None:
        raise BadModel(
            f"revision {revision!r} was given, but only hub models have one; {name!r} is no hub id"
        )
    folder = _local_folder(name, cache_folder(cache))
    try:
        require_complete(folder)
    except PermissionError as error:
        raise BadModel(f"{folder} may not be read; change its rights or choose another model") from error
    return folder, None


def lasting_name(name: str) -> str:
    """The name by which a model is found again from any folder: of a folder or file the absolute path.

    Example:
        >>> lasting_name("smollm2-135m"), lasting_name("owner/name")
        ('smollm2-135m', 'owner/name')
    """
    if name in ALIASES:
        return name
    path = Path(os.path.expanduser(name))  # what follows is false for names that no file can have
    return str(path.absolute()) if os.path.exists(path) else name


def require_complete(folder: Path) -> None:
    """Refuse a folder without ``config.json`` or without whole safetensors files.

    Raises:
        BadModel: What is missing, cut or of a kind that is not read.
    """
    from safetensors import SafetensorError, safe_open

    _require_files(folder)
    if not (folder / "config.json").is_file():
        raise BadModel(f"{folder} has no config.json: it is no model folder. Make one with save_pretrained")
    names = shard_names(folder)
    if not names:
        pickles = ", ".join(sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)[:3])
        others = f"only {pickles}, and torch pickles can run code when read" if pickles else "no weights"
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
        except (SafetensorError, OSError, MemoryError) as error:
            advice = "fetch or save the model again"
            if folder.parent.name == "converted":
                advice = "delete the folder, and the next load makes it again"
            raise BadModel(f"{folder / name} is cut short or broken ({error}); {advice}") from error


def _require_files(folder: Path) -> None:
    """Refuse pipes, devices and enormous files where transformers would read to their end."""
    for path in sorted(folder.iterdir()):
        with suppress(OSError):  # a link that leads nowhere is as no file
            status = path.stat()
            regular = stat.S_ISREG(status.st_mode)
            if not (regular or stat.S_ISDIR(status.st_mode)):
                raise BadModel(f"{path} is a pipe, socket or device; a model folder holds files only")
            if regular and status.st_size > _MAX_TEXT_BYTES and path.suffix in _TEXTS:
                raise BadModel(
                    f"{path} has {status.st_size:,} bytes, too many to read; fetch the model again"
                )


def _local_folder(name: str, cache: Path) -> Path:
    """The folder of an alias, a model folder or a GGUF file."""
    if name in ALIASES:
        sha256 = ALIASES[name].gguf_sha256
        folder = converted_folder(sha256, cache)
        return folder if folder.is_dir() else converted(fetch_gguf(name, cache), cache, sha256)
    path = Path(os.path.expanduser(name))  # what follows is false for names that no file can have
    if os.path.isdir(path):
        return path.absolute()
    if is_gguf(path):
        return converted(path, cache)
    if os.path.exists(path):
        raise BadModel(f"{path} is neither a folder nor a .gguf file; name the folder that holds config.json")
    beside: list[str] = []
    if os.path.isdir(path.parent):
        beside += [str(entry) for entry in path.parent.glob("*") if os.path.isfile(entry / "config.json")]
        beside += [str(entry) for entry in path.parent.glob("*.gguf")]
    near = difflib.get_close_matches(name, [*ALIASES, *beside], n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise UnknownModel(
        f"no model {name!r:.300}: no alias, folder or .gguf file of that name. {hint}Known aliases: "
        f"{', '.join(ALIASES)}. A model of the Hugging Face hub is written owner/name"
    )
