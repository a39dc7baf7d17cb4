"""A fitted detector on disk: arrays in safetensors, everything else in one JSON manifest.

Nothing is unpickled. Sizes are checked before anything is parsed, and the arrays' hash before they
are used, so a cut or edited artifact is refused.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from splinelens.errors import BrokenArtifact, CannotWrite
from splinelens.detect.heads import Head, head_of
from splinelens.detect.thresholds import Calibration, Threshold

SCHEMA = 1
_MANIFEST, _ARRAYS = "detector.json", "detector.safetensors"
_MAX_MANIFEST_BYTES, _MAX_ARRAYS_BYTES = 4_000_000, 1_000_000_000


@dataclass(frozen=True)
class Artifact:
    """Everything a detector is.

    Attributes:
        name: Its name.
        label: What a positive row is called, such as ``toxic``.
        negative: What a negative row is called, such as ``clean``.
        model: Name, revision and fingerprint of the model it was made for.
        spec: The feature spec, as plain values.
        columns: Names and sizes of the columns that the head reads, in order.
        head: The fitted head.
        calibration: From the head's logit to the score.
        thresholds: Scores for promised false-positive rates.
        training: Rows, hashes and sources that it was fitted on.
        metrics: What was measured at training.
        version: Version of the code that made it.
    """

    name: str
    label: str
    negative: str
    model: dict[str, Any]
    spec: dict[str, Any]
    columns: tuple[tuple[str, int], ...]
    head: Head
    calibration: Calibration
    thresholds: tuple[Threshold, ...]
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    version: str = ""

    def save(self, folder: Path) -> None:
        """Write the artifact; the manifest comes last, so a half-written one is never read.

        Args:
            folder: Made if it is not there.

        Raises:
            CannotWrite: The disk is full or the folder may not be written.
        """
        from safetensors.numpy import save

        data = save({name: array.copy() for name, array in self.head.arrays().items()})
        manifest = {
            "schema": SCHEMA,
            **{key: getattr(self, key) for key in ("name", "label", "negative", "model", "spec", "columns")},
            "head": self.head.kind,
            "calibration": asdict(self.calibration),
            "thresholds": [asdict(threshold) for threshold in self.thresholds],
            **{key: getattr(self, key) for key in ("training", "metrics", "version")},
            "arrays": {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()},
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in ((_ARRAYS, data), (_MANIFEST, json.dumps(manifest, indent=1).encode() + b"\n")):
                part = folder / (name + ".tmp")
                part.write_bytes(content)
                part.replace(folder / name)
        except OSError as error:
            raise CannotWrite(f"cannot write the detector to {folder}: {error.strerror or error}") from error

    @classmethod
    def load(cls, folder: Path) -> "Artifact":
        """Read what ``save`` wrote.

        Args:
            folder: The artifact.

        Returns:
            The artifact.

        Raises:
            BrokenArtifact: A file is missing, cut, edited, too large or of another schema.
        """
        manifest = _manifest(folder / _MANIFEST)
        try:
            arrays = _arrays(folder / _ARRAYS, manifest["arrays"])
            head = head_of(manifest["head"], arrays)
            columns = tuple((str(name), int(size)) for name, size in manifest["columns"])
            thresholds = tuple(
                Threshold(**{**row, "interval": tuple(row["interval"])}) for row in manifest["thresholds"]
            )
            plain = {key: manifest[key] for key in ("name", "label", "negative", "model", "spec")}
            artifact = cls(
                **plain,
                columns=columns,
                head=head,
                calibration=Calibration(**manifest["calibration"]),
                thresholds=thresholds,
                training=manifest["training"],
                metrics=manifest["metrics"],
                version=manifest["version"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BrokenArtifact(f"{folder / _MANIFEST} is damaged near {error}; fetch or train the detector anew") from error
        if sum(size for _, size in columns) != head.width:
            raise BrokenArtifact(f"{folder}: the manifest's columns and the head's {head.width} weights do not fit")
        return artifact


def _manifest(path: Path) -> dict[str, Any]:
    raw = _bytes(path, _MAX_MANIFEST_BYTES)
    try:
        manifest = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BrokenArtifact(f"{path} is not JSON, perhaps cut short: {error}") from error
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise BrokenArtifact(f"{path} has schema {schema!r}; this version reads {SCHEMA}")
    return manifest


def _arrays(path: Path, expected: dict[str, Any]) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    raw = _bytes(path, _MAX_ARRAYS_BYTES)
    if len(raw) != expected["size_bytes"]:
        raise BrokenArtifact(f"{path} has {len(raw)} bytes where the manifest says {expected['size_bytes']}: cut short?")
    if hashlib.sha256(raw).hexdigest() != expected["sha256"]:
        raise BrokenArtifact(f"{path} does not have the hash that the manifest says: damaged or exchanged")
    try:
        return load(raw)
    except SafetensorError as error:
        raise BrokenArtifact(f"{path} is no safetensors file: {error}") from error


def _bytes(path: Path, limit: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            raise BrokenArtifact(f"{path} has {size:,} bytes, more than the {limit:,} that a detector may have")
        return path.read_bytes()
    except OSError as error:
        raise BrokenArtifact(f"{path} cannot be read: {error.strerror}; an artifact is a folder with {_MANIFEST} and {_ARRAYS}") from error
