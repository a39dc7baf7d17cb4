"""A fitted detector on disk: arrays in safetensors, everything else in one JSON manifest.

Nothing is unpickled. Sizes are checked before anything is parsed, and hashes before anything is used,
so a cut or edited artifact is refused. The hashes find damage; they do not prove who made it.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args  # Any: plain JSON values, here and below

import numpy as np

from splinelens.detect.calibration import Calibration
from splinelens.detect.heads import Head, head_of
from splinelens.detect.thresholds import Threshold
from splinelens.errors import BrokenArtifact, CannotWrite
from splinelens.texts import text_hashes

Task = Literal["binary", "classes", "labels"]
"""One label or not, one of several classes, or any of several labels."""

SCHEMA = 2
_MANIFEST, _ARRAYS = "detector.json", "detector.safetensors"
_SEEN = "seen"
_MAX_MANIFEST_BYTES, _MAX_ARRAYS_BYTES = 4_000_000, 1_000_000_000
_KINDS = {
    **dict.fromkeys(("name", "task", "negative", "head", "version", "sha256"), str),
    **dict.fromkeys(("model", "spec", "training", "metrics", "arrays"), dict),
    **dict.fromkeys(("labels", "columns", "calibrations", "thresholds"), list),
}
_ANEW = "fetch or train the detector anew"


@dataclass(frozen=True, eq=False)
class Artifact:
    """Everything a detector is.

    Attributes:
        name: Its name.
        task: ``binary``; ``classes``, of which each text has one; or ``labels``, of which it has any number.
        labels: What is told apart, each with a logit of its own; of ``binary`` the positive word alone.
        negative: The verdict on a text without any label, such as ``clean``; empty for ``classes``.
        model: Name, revision and fingerprint of the model it was made for.
        spec: The feature spec, as plain values.
        columns: Names and sizes of the columns that the head reads, in order.
        head: The fitted head.
        calibrations: From the head's logits to scores, one a label.
        thresholds: Scores for promised false-positive rates, for each label the same rates.
        training: Rows, hashes and sources that it was fitted on.
        metrics: What was measured at training; NaN and infinities are stored as null.
        version: Version of the code that made it.
        seen: Hashes of the training texts (``texts.text_hashes``), rising; the lowest ones where there were
            too many to keep, none where they were not recorded.
    """

    name: str
    task: Task
    labels: tuple[str, ...]
    negative: str
    model: dict[str, Any]
    spec: dict[str, Any]
    columns: tuple[tuple[str, int], ...]
    head: Head
    calibrations: tuple[Calibration, ...]
    thresholds: tuple[tuple[Threshold, ...], ...]
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    version: str = ""
    seen: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated scores.

        Args:
            logits: (text, label), as from the head.

        Returns:
            (text, label), each in [0, 1] or NaN; those of several classes are each against all others
            and do not sum to 1.
        """
        columns = zip(self.calibrations, logits.T, strict=True)
        return np.stack([calibration.score(column) for calibration, column in columns], axis=1)

    def alone(self, label: str) -> "Artifact":
        """One label of it against the rest, as a binary detector.

        Args:
            label: One of ``labels``.

        Returns:
            A detector that gives that label's score and thresholds, and keeps the ``origin``; of a binary
            one itself.
        """
        if self.task == "binary":
            return self
        place = self.labels.index(label)
        return replace(
            self,
            task="binary",
            labels=(label,),
            negative=f"not {label}",
            head=self.head.alone(place),
            calibrations=(self.calibrations[place],),
            thresholds=(self.thresholds[place],),
            training={**self.training, "part_of": self.origin},
        )

    def seen_in(self, texts: Sequence[str | None]) -> np.ndarray:
        """Which texts the detector was fitted on, as far as it recorded them.

        Args:
            texts: The texts; case, spaces and signs do not count.

        Returns:
            (text,) boolean.
        """
        return np.isin(text_hashes(texts), self.seen)

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides a score: model, spec, head and calibrations."""
        calibrations = [asdict(calibration) for calibration in self.calibrations]
        digest = hashlib.sha256(json.dumps([self.model, self.spec, calibrations], sort_keys=True).encode())
        for name, array in sorted(self.head.arrays().items()):
            digest.update(name.encode() + array.tobytes())
        return digest.hexdigest()

    @property
    def origin(self) -> str:
        """The digest of the detector that this one is a label of, or else its own."""
        return str(self.training.get("part_of") or self.digest)

    def save(self, folder: Path) -> None:
        """Write the artifact; one that was there before is replaced only after both files are written.

        Args:
            folder: Made if it is not there.

        Raises:
            CannotWrite: The disk is full or the folder may not be written.
        """
        from safetensors.numpy import save

        arrays = self.head.arrays() | ({_SEEN: self.seen} if len(self.seen) else {})
        data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        manifest = _plain(
            {
                "schema": SCHEMA,
                **{
                    key: getattr(self, key)
                    for key in ("name", "task", "labels", "negative", "model", "spec", "columns")
                },
                "head": self.head.kind,
                "calibrations": [asdict(calibration) for calibration in self.calibrations],
                "thresholds": [[asdict(stored) for stored in own] for own in self.thresholds],
                **{key: getattr(self, key) for key in ("training", "metrics", "version")},
                "arrays": {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()},
            }
        )
        text = json.dumps({**manifest, "sha256": _hash(manifest)}, indent=1, allow_nan=False) + "\n"
        contents = {_ARRAYS: data, _MANIFEST: text.encode()}
        parts = {name: folder / (name + ".tmp") for name in contents}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                for name, part in parts.items():
                    part.write_bytes(contents[name])
                for name, part in parts.items():
                    part.replace(folder / name)
            finally:
                for part in parts.values():
                    part.unlink(missing_ok=True)
        except OSError as error:
            raise CannotWrite(
                f"cannot write the detector to {folder}: {error.strerror or error}; "
                "free space or name another folder"
            ) from error

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
        path = folder / _MANIFEST
        manifest = _manifest(path)
        try:
            columns = tuple((_text(name), _count(size)) for name, size in manifest["columns"])
            task = _task(manifest["task"])
            labels = tuple(_text(label) for label in manifest["labels"])
            calibrations = tuple(_calibration(row) for row in manifest["calibrations"])
            thresholds = tuple(tuple(_threshold(row) for row in own) for own in manifest["thresholds"])
            size_bytes, sha256 = _count(manifest["arrays"]["size_bytes"]), _text(manifest["arrays"]["sha256"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BrokenArtifact(f"{path} is damaged near {error}; {_ANEW}") from error
        head, seen = _arrays(folder / _ARRAYS, manifest["head"], size_bytes, sha256)
        total = sum(size for _, size in columns)
        if total != head.width:
            raise BrokenArtifact(
                f"{path} names columns of {total} entries, {_ARRAYS} beside it weighs {head.width}; {_ANEW}"
            )
        plain = ("name", "negative", "model", "spec", "training", "metrics", "version")
        found = cls(
            **{key: manifest[key] for key in plain},
            task=task,
            labels=labels,
            columns=columns,
            head=head,
            calibrations=calibrations,
            thresholds=thresholds,
            seen=seen,
        )
        if problem := _labels_problem(found):
            raise BrokenArtifact(f"{path} does not hold together: {problem}; {_ANEW}")
        return found


def _labels_problem(artifact: Artifact) -> str | None:
    """What is wrong with the labels, or None."""
    count = len(artifact.labels)
    if len(set(artifact.labels)) < count or (artifact.task == "binary") != (count == 1) or not count:
        return f"{count} labels, {len(set(artifact.labels))} of them different, for task {artifact.task}"
    counts = {artifact.head.labels, len(artifact.calibrations), len(artifact.thresholds), count}
    rates = {tuple(stored.target for stored in own) for own in artifact.thresholds}
    if len(counts) > 1 or len(rates) > 1:
        return f"{count} labels need as many rows of weights, calibrations and equal lists of thresholds"
    return None


def _plain(value: Any) -> Any:
    """As values that JSON has: arrays' numbers as numbers, what is not finite as null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _hash(manifest: dict[str, Any]) -> str:
    """Of everything in the manifest but the hash itself; spaces and order do not matter."""
    text = json.dumps({key: value for key, value in manifest.items() if key != "sha256"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _manifest(path: Path) -> dict[str, Any]:
    """The manifest, of this schema, with all keys, and as it was written."""
    raw = _bytes(path, _MAX_MANIFEST_BYTES)
    try:
        manifest = json.loads(raw, parse_constant=_refuse)
        found_hash = _hash(manifest) if isinstance(manifest, dict) else ""
    except (ValueError, RecursionError) as error:
        raise BrokenArtifact(f"{path} is not JSON, perhaps cut short: {error}; {_ANEW}") from error
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        older = "made by an older version; " if schema == 1 else ""
        raise BrokenArtifact(f"{path} has schema {schema!r}; {older}this version reads {SCHEMA}; {_ANEW}")
    for key, kind in _KINDS.items():
        if not isinstance(manifest.get(key), kind):
            found = f"holds {manifest[key]!r:.40} as" if key in manifest else "lacks"
            raise BrokenArtifact(f"{path} {found} {key!r}, where a {kind.__name__} is read; {_ANEW}")
    if manifest["sha256"] != found_hash:
        raise BrokenArtifact(f"{path} does not have the hash that it says: damaged or edited; {_ANEW}")
    return manifest


def _arrays(path: Path, kind: str, size_bytes: int, sha256: str) -> tuple[Head, np.ndarray]:
    """The head and the hashes of seen texts, from arrays of this size and hash."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    raw = _bytes(path, _MAX_ARRAYS_BYTES)
    if len(raw) != size_bytes:
        raise BrokenArtifact(
            f"{path} has {len(raw)} bytes where {_MANIFEST} says {size_bytes}: cut short? {_ANEW}"
        )
    if hashlib.sha256(raw).hexdigest() != sha256:
        raise BrokenArtifact(
            f"{path} does not have the hash that {_MANIFEST} says: damaged or edited; {_ANEW}"
        )
    try:
        arrays = load(raw)
        seen = arrays.pop(_SEEN, np.zeros(0, dtype=np.uint64))
        if seen.dtype != np.uint64 or seen.ndim != 1 or (seen[1:] <= seen[:-1]).any():
            raise BrokenArtifact(f"{_SEEN} holds something other than rising hashes")
        return head_of(kind, arrays), seen
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BrokenArtifact(f"{path} does not hold arrays that can be read: {error}; {_ANEW}") from error
    except BrokenArtifact as error:
        raise BrokenArtifact(f"{path}: {error}; {_ANEW}") from error


def _bytes(path: Path, limit: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            raise BrokenArtifact(
                f"{path} has {size:,} bytes, more than the {limit:,} that a detector may have"
            )
        return path.read_bytes()
    except OSError as error:
        raise BrokenArtifact(
            f"{path} cannot be read: {error.strerror or error}; "
            f"a detector is a folder with {_MANIFEST} and {_ARRAYS}"
        ) from error


def _task(value: str) -> Task:
    for task in get_args(Task):
        if value == task:
            return task
    raise ValueError(f"task {value!r:.40}, where one of {', '.join(get_args(Task))} is read")


def _calibration(row: Any) -> Calibration:
    return Calibration(_number(row["slope"]), _number(row["intercept"]))


def _threshold(row: Any) -> Threshold:
    low, high = row["interval"]
    numbers = {key: _number(row[key]) for key in ("target", "score", "rate", "recall")}
    return Threshold(**numbers, interval=(_number(low), _number(high)))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r:.40}, where a finite number is read")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise TypeError(f"{value!r:.40}, where a count is read")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40}, where a text is read")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")
