"""Detectors by name: those that come with the package, and folders. No model is loaded for it."""

import difflib
import os
from importlib.resources import files
from os import PathLike
from pathlib import Path

from splinelens.detect.artifact import Artifact
from splinelens.errors import UnknownDetector

PURPOSES = {
    "domain": "what a document is, such as patent, court or code; needs 30 tokens",
    "replies": "open insults in replies of smollm2-135m, from the pass that writes them",
    "toxicity": "insults and quiet hostility; misses half of contempt, threats and sarcasm",
    "toxicity-fast": "open insults, several times faster; misses contempt, threats and sarcasm",
    "truth": "statements of general knowledge, experimental: little better than chance, checks no fact",
    "types": "six kinds of toxicity side by side; knows few threats and attacks on identity",
}
"""What each shipped detector is for, and what it misses; their cards and the README have the numbers."""


def shipped() -> dict[str, Path]:
    """The detectors that come with the package, by name.

    Example:
        >>> sorted(shipped())
        ['domain', 'replies', 'toxicity', 'toxicity-fast', 'truth', 'types']
    """
    folder = Path(str(files("splinelens"))) / "detectors"
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/detector.json"))}


def find_artifact(name: str | PathLike[str]) -> Artifact:
    """The artifact of a shipped detector such as ``toxicity``, or of a folder.

    A shipped name wins over a folder of that name; ``./toxicity`` or a ``Path`` is the folder. ``~`` is the
    home folder.

    Raises:
        UnknownDetector: Neither; the message suggests similar names.
        BrokenArtifact: It exists but cannot be read.
    """
    _require_name(name)
    known = shipped()
    if isinstance(name, str) and name in known:
        return Artifact.load(known[name])
    folder = os.path.expanduser(name)  # false below for names that no file can have
    if folder and os.path.isdir(folder):
        return Artifact.load(Path(folder))
    if os.path.isfile(folder):
        raise UnknownDetector(
            f"{str(name)!r} is a file; a detector is a folder: give {str(Path(name).parent)!r}"
        )
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"shipped are {', '.join(known)}"
    raise UnknownDetector(f"no detector and no folder {str(name)!r}; {hint}")


def _require_name(name: object) -> None:
    if not isinstance(name, str | PathLike):
        advice = "give its .detector" if hasattr(name, "detector") else "give one of these"
        raise UnknownDetector(
            f"a detector is a name or a folder, and this is a {type(name).__name__}; {advice}"
        )
