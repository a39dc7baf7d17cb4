"""Save a changed model as a folder that ``load_model`` and transformers load."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import copyfile, rmtree
from typing import Any

from splinelens.files import check_folder, move_files, write_errors
from splinelens.models.load import LoadedModel
from splinelens.models.quiet import quiet

PROVENANCE = "splinelens.json"
"""The file that says how a model was changed."""

_TOKENIZER = (
    "tokenizer*",
    "vocab.*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "*.model",
)
_LICENSES = ("LICENSE*", "NOTICE*")
_TEMPORARY = ".saving"


def check_model_folder(folder: Path, *, overwrite: bool, sources: Sequence[str] = ()) -> None:
    """Refuse a folder that ``save_model`` could not write, before any work.

    What a killed ``save_model`` left is no reason: ``.saving`` is there then, and no ``config.json``.

    Args:
        folder: The folder.
        overwrite: Whether a folder that holds files may be written to.
        sources: The models that are read; those that are folders are never written to.

    Raises:
        OutputExists: It holds files and ``overwrite`` is false, it is a file, or a source.
        CannotWrite: It cannot be made or written.
    """
    killed = (folder / _TEMPORARY).is_dir() and not (folder / "config.json").exists()
    for source in sources or [""]:
        model = str(Path(source) / "config.json") if source else None
        check_folder(folder, ["config.json"], {_TEMPORARY}, overwrite=overwrite or killed, source=model)


def save_model(
    loaded: LoadedModel, folder: Path, record: Mapping[str, Any]
) -> None:  # Any: plain JSON values
    """Write configuration, weights, tokenizer and a record of what was changed.

    Tokenizer and licenses are copied from the folder that the model was loaded from, so that the tokenizer
    has the same fingerprint. Weights of an older model in the folder are removed. Where the run is killed,
    the folder has no ``config.json``, or all files belong together.

    Args:
        loaded: Loaded with ``head=True``; its configuration fits its weights.
        folder: Made with its parents.
        record: Written as ``splinelens.json``.

    Raises:
        CannotWrite: The disk is full, or the folder may not be written.
    """
    causal: Any = loaded.causal  # Any: a model of transformers
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / _TEMPORARY
        rmtree(temporary, ignore_errors=True)  # of a killed run
        temporary.mkdir()
        with quiet():
            causal.save_pretrained(temporary)
        for weights in temporary.glob("*.safetensors"):  # the library lets only the owner read them
            weights.chmod((temporary / "config.json").stat().st_mode)
        for pattern in (*_TOKENIZER, *_LICENSES):
            for path in (loaded.folder or Path()).glob(pattern):
                copyfile(path, temporary / path.name)
        (temporary / PROVENANCE).write_text(json.dumps(record, indent=1) + "\n", "utf-8")
        names = sorted(path.name for path in temporary.iterdir())
        (folder / "config.json").unlink(missing_ok=True)
        for older in (*folder.glob("model*.safetensors"), *folder.glob("model*.safetensors.index.json")):
            older.unlink()
        move_files(temporary, folder, sorted(names, key=lambda each: each == "config.json"))
        temporary.rmdir()
