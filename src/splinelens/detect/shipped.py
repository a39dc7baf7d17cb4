"""Detectors by name: those that come with the package, and folders. No model is loaded for it."""

import difflib
from importlib.resources import files
from os import PathLike
from pathlib import Path

from splinelens.detect.artifact import Artifact
from splinelens.errors import UnknownDetector


def shipped() -> dict[str, Path]:
    """The detectors that come with the package, by name.

    Example:
        >>> sorted(shipped())
        ['domain', 'toxicity', 'toxicity-fast', 'types']
    """
    folder = Path(str(files("splinelens"))) / "detectors"
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/detector.json"))}


def find_artifact(name: str | PathLike[str]) -> Artifact:
    """The artifact of a shipped detector such as ``toxicity``, or of a folder.

    A shipped name wins over a folder of that name; ``./toxicity`` or a ``Path`` is the folder.

    Raises:
        UnknownDetector: Neither; the message suggests similar names.
        BrokenArtifact: It exists but cannot be read.
    """
    known = shipped()
    if isinstance(name, str) and name in known:
        return Artifact.load(known[name])
    folder = Path(name)
    if folder.is_dir():
        return Artifact.load(folder)
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"shipped are {', '.join(known)}"
    raise UnknownDetector(f"no detector and no folder {str(name)!r}; {hint}")
