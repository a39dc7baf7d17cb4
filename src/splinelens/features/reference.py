"""Is that number usual? The seven features of a text among those of ordinary texts of its length.

Minima, maxima and deviations over tokens move with the number of tokens, so a text is compared with
the beginnings of ordinary texts that are about as long. A reference holds quantiles only, for one
model; it is made from prefix tables (``extract(..., prefixes=True)``), see
benchmarks/reference.py. The shipped ones lie in the package's folder ``references``.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from splinelens.errors import BadFeatures, BadModel
from splinelens.files import write_bytes, write_errors, write_text
from splinelens.geometry.settings import SPLINE7
from splinelens.models import Fingerprint, LoadedModel
from splinelens.models.fingerprint import config_hash

LENGTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Lengths of the prefixes, in tokens."""

_LEVELS = 101  # the 0th to the 100th percentile
_FAR = 1.5  # ratio of lengths; the lengths double, so a text between two of them is at most 1.42 away
_SCHEMA = 1
_ARRAYS, _RECORD = "quantiles.safetensors", "reference.json"


@dataclass(frozen=True, eq=False)
class Reference:
    """Quantiles of the seven features over ordinary texts, for each length, of one model.

    Attributes:
        quantiles: The 0th to the 100th percentile, rising; the layers are 0, 1, 2, ...
        lengths: Tokens of the beginnings, rising.
        texts: How many texts were long enough, for each length.
        source: What the texts are, in words.
        fingerprints: The model's, cut to 1, 2, 3, ... blocks.
    """

    quantiles: Float[np.ndarray, "length layer 7 level"]
    lengths: tuple[int, ...]
    texts: tuple[int, ...]
    source: str
    fingerprints: tuple[Fingerprint, ...]

    @classmethod
    def of(
        cls,
        tables: Iterable[Float[np.ndarray, "layer _ 7"]],
        source: str,
        fingerprints: Sequence[Fingerprint],
    ) -> "Reference":
        """Make a reference from the features of every prefix of ordinary texts.

        Returns:
            Quantiles at those of ``LENGTHS`` that at least two texts reach.

        Raises:
            BadFeatures: There are not two texts, or one has features that are not finite.
        """
        rows_of: dict[int, list[np.ndarray]] = {length: [] for length in LENGTHS}
        for text, table in enumerate(tables):
            for length in LENGTHS:
                if length <= table.shape[1]:
                    rows_of[length].append(_finite(table[:, length - 1].astype(np.float32), text, length))
        stacked = {length: np.stack(rows) for length, rows in rows_of.items() if len(rows) > 1}
        if not stacked:
            raise BadFeatures("a reference needs two texts at least, with one token each; give more")
        levels = np.linspace(0, 1, _LEVELS)
        quantiles = [np.moveaxis(np.quantile(rows, levels, axis=0), 0, -1) for rows in stacked.values()]
        texts = tuple(len(rows) for rows in stacked.values())
        return cls(np.stack(quantiles).astype(np.float32), tuple(stacked), texts, source, tuple(fingerprints))

    def nearest(self, tokens: int) -> int:
        """The length that a text of so many tokens is compared with: the nearest by ratio (in log scale).

        Example:
            >>> flat = Reference(np.zeros((3, 1, 7, 101), np.float32), (1, 16, 32), (9, 9, 9), "", ())
            >>> flat.nearest(20), flat.nearest(5000)
            (16, 32)
        """
        return min(self.lengths, key=lambda length: abs(np.log(length / tokens)))

    def far(self, tokens: int, called: str = "the text") -> str | None:
        """A warning where a text and its reference differ in length by more than a factor of 1.5, or None.

        Example:
            >>> short = Reference(np.zeros((2, 1, 7, 101), np.float32), (8, 16), (9, 9), "", ())
            >>> short.far(24), short.far(25)[:58]
            (None, 'percentiles: the text has 25 tokens, compared with the fir')
        """
        length = self.nearest(tokens)
        if max(length / tokens, tokens / length) <= _FAR:
            return None
        return (
            f"percentiles: {called} has {tokens:,} tokens, compared with the first {length:,} of others; "
            "minima, maxima and deviations move with the number of tokens"
        )

    def percentiles(
        self, seven: Float[np.ndarray, "layer 7"], tokens: int, layers: Sequence[int]
    ) -> Float[np.ndarray, "layer 7"]:
        """Where the seven features of some layers stand among those of texts of about the same length.

        Returns:
            Percentiles in 0..100: share of ordinary texts below, half of the equal ones included; 0 and 100
            are at or beyond the extremes. NaN where a feature is not finite.

        Raises:
            BadFeatures: A layer that the reference does not hold.

        Example:
            >>> rising = np.tile(np.linspace(0, 1, 101, dtype=np.float32), (1, 1, 7, 1))
            >>> reference = Reference(rising, (8,), (500,), "an example", ())
            >>> reference.percentiles(np.full((1, 7), 0.25), tokens=8, layers=[0])[0, 0]
            np.float64(25.0)
        """
        wrong = [layer for layer in layers if not 0 <= layer < self.quantiles.shape[1]]
        if wrong:
            raise BadFeatures(
                f"the reference has no layers {wrong}: it holds 0 to {self.quantiles.shape[1] - 1}"
            )
        edges = self.quantiles[self.lengths.index(self.nearest(tokens))][list(layers)]
        flat = zip(seven.reshape(-1), edges.reshape(-1, _LEVELS), strict=True)
        return np.array([_percentile(float(value), edge) for value, edge in flat]).reshape(seven.shape)

    def description(self, tokens: int) -> str:
        """The texts that a text of so many tokens is compared with, in words.

        Example:
            >>> Reference(np.zeros((1, 1, 7, 101)), (8,), (1000,), "ordinary texts", ()).description(7)
            'the first 8 tokens of 1,000 ordinary texts'
        """
        length = self.nearest(tokens)
        first = "token" if length == 1 else f"{length} tokens"
        return f"the first {first} of {self.texts[self.lengths.index(length)]:,} {self.source}"

    def save(self, folder: str | PathLike[str]) -> None:
        """Write ``quantiles.safetensors`` and ``reference.json`` into a folder.

        Raises:
            CannotWrite: The folder cannot be written.
        """
        from safetensors.numpy import save

        folder = Path(folder)
        record = {
            "schema": _SCHEMA,
            "source": self.source,
            "features": list(SPLINE7),
            "lengths": self.lengths,
            "texts": self.texts,
            "fingerprints": [fingerprint.to_dict() for fingerprint in self.fingerprints],
        }
        with write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / _ARRAYS, save({"quantiles": np.ascontiguousarray(self.quantiles)}))
        write_text(folder / _RECORD, json.dumps(record, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> "Reference":
        """Read what :meth:`save` wrote, given the folder or a file in it.

        Raises:
            BadFeatures: There is no reference, or it is broken.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(folder).parent if Path(folder).is_file() else Path(folder)
        record = _record(folder)
        try:
            quantiles = load_file(folder / _ARRAYS)["quantiles"]
            lengths, texts = tuple(record["lengths"]), tuple(record["texts"])
            fingerprints = tuple(map(Fingerprint.from_dict, record["fingerprints"]))
            shape = (len(lengths), len(fingerprints), len(SPLINE7), _LEVELS)
            if quantiles.shape != shape or len(texts) != len(lengths):
                raise ValueError(f"quantiles of shape {quantiles.shape}, not {shape}")
            if not np.isfinite(quantiles).all():
                raise ValueError("it holds quantiles that are not finite")
            return cls(quantiles, lengths, texts, str(record["source"]), fingerprints)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, BadModel) as error:
            raise BadFeatures(
                f"the reference {folder} is broken: {error}. Make it again with benchmarks/reference.py"
            ) from error

    def fits(self, loaded: LoadedModel) -> str | None:
        """Why the reference is not of this very model, or None if it is."""
        return _difference(self.fingerprints, loaded)


def shipped(loaded: LoadedModel) -> Reference | None:
    """The shipped reference of this exact model, or of its first blocks.

    Returns:
        The reference, or None: without one there are no percentiles.
    """
    for path in sorted((Path(str(files("splinelens"))) / "references").glob(f"*/{_RECORD}")):
        fingerprints = tuple(map(Fingerprint.from_dict, _record(path.parent)["fingerprints"]))
        if _difference(fingerprints, loaded) is None:
            return Reference.load(path.parent)
    return None


def _difference(fingerprints: tuple[Fingerprint, ...], loaded: LoadedModel) -> str | None:
    """Why fingerprints are not those of a model, or None; the cheap reasons are looked for first."""
    if loaded.depth > len(fingerprints):
        return f"the reference holds {len(fingerprints)} blocks, {loaded.name} has {loaded.depth} loaded"
    expected = fingerprints[loaded.depth - 1]
    config: Any = loaded.model.config  # Any: each architecture has its own class
    if expected.architecture != config.model_type or expected.config != config_hash(config, loaded.depth):
        return f"the reference was made with another architecture or configuration than {loaded.name}"
    return expected.difference(loaded.fingerprint)


def _record(folder: Path) -> dict[str, Any]:  # Any: JSON
    """The JSON half of a reference."""
    for path in (folder / _RECORD, folder / _ARRAYS):
        if path.exists() and not path.is_file():  # a pipe or device may never end
            raise BadFeatures(
                f"no reference at {folder}: {path.name} is no file. Give a folder made by "
                "benchmarks/reference.py"
            )
    try:
        record = json.loads((folder / _RECORD).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadFeatures(
            f"no reference at {folder}: {error}. Give a folder made by benchmarks/reference.py"
        ) from error
    if not isinstance(record, dict) or record.get("schema") != _SCHEMA:
        raise BadFeatures(f"{folder / _RECORD} is no reference of schema {_SCHEMA}; make it again")
    return record


def _finite(row: Float[np.ndarray, "layer 7"], text: int, length: int) -> Float[np.ndarray, "layer 7"]:
    """One text's features, refused if they are not finite: a single NaN would make every percentile wrong."""
    bad = np.argwhere(~np.isfinite(row))
    if len(bad):
        layer, feature = bad[0]
        raise BadFeatures(
            f"text {text} has {SPLINE7[feature]} = {row[layer, feature]} at layer {layer} over its first "
            f"{length} tokens; leave it out, or load the model with dtype float32"
        )
    return row


def _percentile(value: float, edges: Float[np.ndarray, " level"]) -> float:
    """Where a value stands among quantiles that are evenly spaced, in 0..100."""
    if not np.isfinite(value):
        return float("nan")
    low, high = np.searchsorted(edges, value, "left"), np.searchsorted(edges, value, "right")
    if low < high:  # some quantiles are the value itself
        return float(low + high - 1) / 2
    if low in (0, len(edges)):
        return 0.0 if low == 0 else 100.0
    return float(low - 1 + (value - edges[low - 1]) / (edges[low] - edges[low - 1]))
