"""The two files of an artifact: a JSON manifest, and arrays in safetensors that it states the hash of.

Nothing is unpickled. Sizes are checked before anything is parsed and hashes before anything is used, so a cut
or edited file is refused. The hashes detect damage; they do not prove who made the artifact.
"""

import hashlib
import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import to_json

from splinelens.errors import BrokenArtifact
from splinelens.files import atomic_write, write_errors


@dataclass(frozen=True)
class ArtifactFiles:
    """How the files of one kind of artifact are called, written and read.

    Attributes:
        what: The kind, as in ``a detector``.
        manifest: Name of the JSON file.
        arrays: Name of the safetensors file.
        schema: Version of the manifest.
        again: What to do about a broken one.
        most_bytes: Largest manifest and largest arrays that are read.

    Example:
        >>> import tempfile
        >>> files = ArtifactFiles("a line", "line.json", "line.safetensors", 1, "fit it again")
        >>> folder = Path(tempfile.mkdtemp())
        >>> files.write(folder, {"name": "one"}, {"slope": np.ones(2)})
        >>> manifest = files.read_manifest(folder)
        >>> manifest["name"], files.read_arrays(folder, manifest["arrays"])["slope"]
        ('one', array([1., 1.]))
    """

    what: str
    manifest: str
    arrays: str
    schema: int
    again: str
    most_bytes: tuple[int, int] = (4_000_000, 1_000_000_000)

    def write(
        self,
        folder: Path,
        values: Mapping[str, Any],  # Any: what pydantic writes as JSON
        arrays: Mapping[str, np.ndarray],
        *,
        overwrite: bool = True,
    ) -> None:
        """Write both files; existing ones are replaced only after both are written.

        Raises:
            OutputExists: The folder holds one, without ``overwrite``.
            CannotWrite: The disk is full or the folder may not be written.
        """
        from safetensors.numpy import save

        data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        record = {"schema": self.schema, **values, "arrays": _stated(data)}
        manifest = json.loads(to_json(record, inf_nan_mode="null", fallback=np.generic.item))
        text = json.dumps({**manifest, "sha256": _hash(manifest)}, indent=1, allow_nan=False) + "\n"
        with write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        # Both are written before either takes its final name.
        with (
            atomic_write(folder / self.arrays, overwrite=overwrite) as arrays_file,
            atomic_write(folder / self.manifest, overwrite=overwrite) as manifest_file,
        ):
            arrays_file.write_bytes(data)
            manifest_file.write_bytes(text.encode())

    def read_manifest(self, folder: Path) -> dict[str, Any]:  # Any: plain JSON values
        """The values of a manifest of this schema, unchanged since it was written.

        Raises:
            BrokenArtifact: The file is missing, too large, no JSON, of another schema, or edited.
        """
        path = folder / self.manifest
        raw = self._read(path, self.most_bytes[0])
        try:
            manifest = json.loads(raw, parse_constant=_refuse_constant)
            json.dumps(manifest, ensure_ascii=False).encode()  # refuses lone surrogates
            expected = _hash(manifest) if isinstance(manifest, dict) else ""
        except (ValueError, RecursionError) as error:
            raise BrokenArtifact(f"{path} is not JSON, perhaps cut short: {error}; {self.again}") from error
        schema = manifest.pop("schema", None) if isinstance(manifest, dict) else None
        if schema != self.schema or isinstance(schema, bool):
            older = "made by an older version; " if schema in range(1, self.schema) else ""
            raise BrokenArtifact(
                f"{path} has schema {schema!r}; {older}this version reads {self.schema}; {self.again}"
            )
        if manifest.pop("sha256", None) != expected:
            raise BrokenArtifact(
                f"{path} does not have the hash that it states: damaged or edited; {self.again}"
            )
        return manifest

    def read_arrays(self, folder: Path, stated: object) -> dict[str, np.ndarray]:
        """The arrays of size and hash ``stated``, the manifest's ``arrays``.

        Raises:
            BrokenArtifact: The file is missing, too large, cut short, edited, or holds no arrays.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        path = folder / self.arrays
        raw = self._read(path, self.most_bytes[1])
        size = stated.get("size_bytes") if isinstance(stated, dict) else None
        if size != len(raw):
            raise BrokenArtifact(
                f"{path} has {len(raw)} bytes where {self.manifest} states {size}: cut short? {self.again}"
            )
        if stated != _stated(raw):
            raise BrokenArtifact(
                f"{path} does not have the hash that {self.manifest} states: damaged or edited; {self.again}"
            )
        try:
            return load(raw)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise BrokenArtifact(
                f"{path} does not hold arrays that can be read: {error}; {self.again}"
            ) from error

    def _read(self, path: Path, limit: int) -> bytes:
        holds = f"{self.what} is a folder with {self.manifest} and {self.arrays}"
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # a pipe or device may never end
                raise BrokenArtifact(f"{path} is no file; {holds}")
            if (size := status.st_size) > limit:
                raise BrokenArtifact(
                    f"{path} has {size:,} bytes, more than the {limit:,} that {self.what} may have"
                )
            return path.read_bytes()
        except OSError as error:
            raise BrokenArtifact(f"{path} cannot be read: {error.strerror or error}; {holds}") from error


def _stated(data: bytes) -> dict[str, Any]:  # Any: JSON values
    return {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _hash(manifest: dict[str, Any]) -> str:  # Any: as above
    """Of everything in the manifest but the hash itself; spaces and order do not matter."""
    text = json.dumps({key: value for key, value in manifest.items() if key != "sha256"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")
