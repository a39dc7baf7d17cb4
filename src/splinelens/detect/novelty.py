"""Novelty detection: how far is a text from ordinary texts, and how rare is such a distance among them?

The range of ordinary texts is a multivariate normal of a few columns, given the length of a text, with a
shrunk covariance (Ledoit and Wolf 2004, doi:10.1016/S0047-259X(03)00096-4); the distance is that of
Mahalanobis. Whether the normal holds does not matter for the false-alarm rate: a distance becomes a conformal
p-value among ordinary texts that the range was not fitted on (Bates et al. 2023, arXiv:2104.08279).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from pydantic import ConfigDict, InstanceOf, PositiveInt, TypeAdapter
from pydantic.dataclasses import dataclass as pydantic_dataclass

from splinelens.detect.artifact_files import ArtifactFiles
from splinelens.detect.heads import LinearHead
from splinelens.errors import BadDetector, BadFeatures, BrokenArtifact

COMPONENTS = 4
"""Principal components that a vector is reduced to, beside the residual: its distance from them."""

MOST_BINS = 4
"""Length bins at most: a text is compared with ordinary texts of its bin, so that the rate holds in each."""

MIN_TEXTS = 20
"""Fewest texts to fit a range on."""

NOVELTY_FILES = ("novelty.json", "novelty.safetensors")
"""What the folder of a range holds."""

_MANIFEST, _ARRAYS = NOVELTY_FILES
_AGAIN = "run splinelens audit fit again"
_FILES = ArtifactFiles("a range", _MANIFEST, _ARRAYS, 1, _AGAIN)
_RANGE, _HEAD, _DISTANCES, _LOGITS = "range.", "contrast.", "calibration.distances", "calibration.logits"
_EDGES, _TOKENS = "calibration.edges", "calibration.tokens"
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)
_POWERS = 3  # constant, log length and its square


def conformal_p_values(
    calibration: Float[np.ndarray, " ordinary"],
    scores: Float[np.ndarray, " text"],
    calibration_bins: np.ndarray,
    bins: np.ndarray,
) -> Float[np.ndarray, " text"]:
    """Share of the ordinary texts of its bin that score at least as high as a text, itself included.

    ``(1 + number of calibration scores >= score) / (n + 1)``, with the n of that bin (Mondrian conformal
    prediction). If a text is exchangeable with those of its bin, its p-value is at most ``rate`` with a
    probability of at most ``rate``. NaN stays NaN.

    Example:
        >>> one_bin = np.zeros(3, dtype=int)
        >>> conformal_p_values(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 9.0]), one_bin, one_bin)
        array([1.  , 0.75, 0.25])
    """
    p_values = np.full(len(scores), np.nan)
    for number in np.unique(bins):
        ordinary, rows = np.sort(calibration[calibration_bins == number]), bins == number
        below = np.searchsorted(ordinary, scores[rows], "left")
        p_values[rows] = (1 + len(ordinary) - below) / (len(ordinary) + 1)
    return np.where(np.isnan(scores), np.nan, p_values)


def length_edges(tokens: np.ndarray, compared: int, rate: float) -> np.ndarray:
    """Where length bins begin, the first left out: quantiles of the lengths of texts.

    There are as many bins as give each, of ``compared`` texts, about twice what the rate needs; fewer where
    most texts are equally long, since a bin would then hold only the few others.

    Example:
        >>> length_edges(np.arange(1, 101), 120, 0.05).tolist()
        [34, 67]
    """
    least = 2 * texts_needed(rate)
    for count in range(min(MOST_BINS, compared // least), 1, -1):
        edges = np.unique(np.quantile(tokens, np.arange(1, count) / count, method="higher"))
        texts = np.bincount(length_bins(tokens, edges), minlength=len(edges) + 1)
        if texts[0] == 0:
            edges, texts = edges[1:], texts[1:]
        if texts.min() * compared >= 0.9 * least * len(tokens):
            return edges.astype(np.int64)
    return np.zeros(0, np.int64)


def length_bins(tokens: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The length bin of each text, from 0."""
    return np.searchsorted(edges, tokens, "right")


def texts_needed(rate: float) -> int:
    """Calibration texts that a false-alarm rate needs: the smallest p-value among n texts is 1 / (n + 1).

    Example:
        >>> texts_needed(0.05), texts_needed(0.01), texts_needed(0.001)
        (19, 99, 999)
    """
    return ceil(1 / rate) - 1


def check_rate(rate: float, texts: int) -> float:
    """Refuse a false-alarm rate at which so many calibration texts could never flag a text.

    Raises:
        BadDetector: The rate is not in (0, 1), or needs more texts; the message says how many.
    """
    if not 0 < rate < 1:
        raise BadDetector(f"{rate!r} is no false-alarm rate; give one between 0 and 1, such as 0.01")
    if texts < texts_needed(rate):
        raise BadDetector(
            f"a false-alarm rate of {rate:g} needs {texts_needed(rate):,} ordinary texts of each length to "
            f"compare with; with {texts:,} the smallest rate is {1 / (texts + 1):.2g}"
        )
    return float(rate)


@dataclass(frozen=True, eq=False)
class OrdinaryRange:
    """Where the numbers of ordinary texts lie, given the length of a text.

    A number is a scalar column of a table, or one of those that a vector column is reduced to: its first
    principal components, and the logarithm of the residual, its distance from them. Minima, maxima, last
    tokens and intrinsic dimension move with the number of tokens, so a regression on log length is taken
    out: of the number itself, and of the size of its deviation.

    Attributes:
        sizes: Entries of each column; 1 for a scalar.
        center: Mean of the entries of vector columns, which stand beside each other.
        components: Principal components of each vector column.
        lengths: Tokens of the shortest and the longest text; others count as the nearer of the two.
        mean: Coefficients of each number on a constant, log length and its square.
        spread: Likewise of the logarithm of its absolute deviation.
        scale: Standard deviation of each number where ``spread`` is divided out.
        precision: Inverse of the shrunk covariance of the standardized numbers.
    """

    sizes: np.ndarray
    center: Float[np.ndarray, " entry"]
    components: Float[np.ndarray, "component entry"]
    lengths: Float[np.ndarray, " 2"]
    mean: Float[np.ndarray, "power number"]
    spread: Float[np.ndarray, "power number"]
    scale: Float[np.ndarray, " number"]
    precision: Float[np.ndarray, "number number"]

    @classmethod
    def fit(
        cls, values: Float[np.ndarray, "text value"], sizes: Sequence[int], tokens: np.ndarray
    ) -> "OrdinaryRange":
        """Fit a range.

        Args:
            values: One row a text, columns of these sizes beside each other.
            sizes: Entries of each column.
            tokens: Tokens of each text.

        Raises:
            BadFeatures: Too few texts, or values that are not finite.
        """
        from sklearn.covariance import LedoitWolf

        if len(values) < MIN_TEXTS:
            raise BadFeatures(
                f"a range of ordinary texts needs {MIN_TEXTS} texts, and there are {len(values)}"
            )
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            raise BadFeatures(f"text {row} has a value that is not finite; leave it out")
        blocks = [_principal(block) for block in _vectors(values, sizes)]
        center = np.concatenate([np.zeros(0), *(mean for mean, _ in blocks)])
        components = np.concatenate([np.zeros((COMPONENTS, 0)), *(axes for _, axes in blocks)], axis=1)
        lengths = np.array([tokens.min(), tokens.max()], dtype=np.float64)
        numbers, powers = _reduced(values, sizes, center, components), _powers(tokens, lengths)
        mean = np.linalg.lstsq(powers, numbers, rcond=None)[0]
        residual = numbers - powers @ mean
        spread = _log_spread(powers, residual)
        relative = residual / np.exp(powers @ spread)
        scale = relative.std(axis=0)
        scale[scale < 1e-9 * np.abs(numbers).max(axis=0).clip(1e-9)] = 1.0
        precision = LedoitWolf(assume_centered=True).fit(relative / scale).precision_
        return cls(np.array(sizes), center, components, lengths, mean, spread, scale, precision)

    def deviations(
        self, values: Float[np.ndarray, "text value"], tokens: np.ndarray
    ) -> Float[np.ndarray, "text number"]:
        """Each number less what ordinary texts of that length have, in standard deviations of theirs.

        Raises:
            BadFeatures: The rows have another number of values than those that were fitted.
        """
        if values.shape[1] != self.sizes.sum():
            raise BadFeatures(f"rows of {values.shape[1]} values meet a range of {self.sizes.sum()}")
        numbers = _reduced(values, self.sizes, self.center, self.components)
        powers = _powers(tokens, self.lengths)
        with np.errstate(over="ignore", invalid="ignore"):
            return (numbers - powers @ self.mean) / np.exp(powers @ self.spread) / self.scale

    def distances(self, deviations: Float[np.ndarray, "text number"]) -> Float[np.ndarray, " text"]:
        """Mahalanobis distance; NaN where a deviation is not finite."""
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.einsum("ij,jk,ik->i", deviations, self.precision, deviations, optimize=True)
            distances = np.sqrt(np.maximum(squares, 0))
        return np.where(np.isfinite(distances), distances, np.nan)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to store."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "OrdinaryRange":
        """A range from what ``arrays`` gave.

        Raises:
            BrokenArtifact: Missing arrays, shapes that do not fit, or numbers that are not finite.
        """
        if arrays.keys() != {field.name for field in fields(cls)}:
            raise BrokenArtifact(f"a range needs other arrays than {', '.join(sorted(arrays))}")
        for name, array in arrays.items():
            if array.dtype.kind != ("i" if name == "sizes" else "f") or not np.isfinite(array).all():
                raise BrokenArtifact(f"{name} holds something other than finite numbers")
        sizes = arrays["sizes"]
        vectors = sizes[sizes > 1]
        entries, count = int(vectors.sum()), len(sizes) + COMPONENTS * len(vectors)
        shapes = {
            "sizes": (len(sizes),),
            "center": (entries,),
            "components": (COMPONENTS, entries),
            "lengths": (2,),
            "mean": (_POWERS, count),
            "spread": (_POWERS, count),
            "scale": (count,),
            "precision": (count, count),
        }
        wrong = [name for name, array in arrays.items() if array.shape != shapes[name]]
        if wrong or not (arrays["scale"] > 0).all() or not 1 <= arrays["lengths"][0] <= arrays["lengths"][1]:
            raise BrokenArtifact(
                f"the arrays of a range do not fit each other: {', '.join(wrong) or 'values'}"
            )
        return cls(**arrays)


@pydantic_dataclass(frozen=True, eq=False, kw_only=True, config=_STRICT)
class NoveltyManifest:
    """Everything of a fitted range but its arrays.

    Attributes:
        model: Name, revision and fingerprint of the model.
        spec: The features, as ``FeatureSpec.to_dict`` gives them.
        columns: Names and sizes of the columns, in order.
        rate: The false-alarm rate that is used where none is given.
        traffic: Source, hash, lengths and number of the ordinary texts, those fitted on and compared with.
        report: Alarm rates that were measured, see ``apps.novelty.fit_novelty``.
        command: The command that fits it again; empty if it was fitted from Python.
        version: Of the code that fitted it.
    """

    model: dict[str, Any]  # Any: plain JSON values, here and below
    spec: dict[str, Any]
    columns: tuple[tuple[str, PositiveInt], ...]
    rate: float
    traffic: dict[str, Any]
    report: dict[str, Any]
    command: str = ""
    version: str = ""


@pydantic_dataclass(frozen=True, eq=False, kw_only=True, repr=False, config=_STRICT)
class NoveltyArtifact(NoveltyManifest):
    """A fitted range with the scores of ordinary texts that it was not fitted on.

    Attributes:
        range: The range.
        edges: Where length bins begin, in tokens, the first left out.
        tokens: Length of each calibration text.
        distances: Their distances.
        head: Tells the other class from ordinary texts by their deviations; None without another class.
        logits: Logits of the calibration texts; empty without another class.
    """

    range: InstanceOf[OrdinaryRange]
    edges: np.ndarray
    tokens: np.ndarray
    distances: np.ndarray
    head: InstanceOf[LinearHead] | None = None
    logits: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def numbers(self) -> list[str]:
        """The name of each number of a text: that of its column, and which of a vector's."""
        parts = [f"component {1 + index}" for index in range(COMPONENTS)] + ["residual"]
        return [
            number
            for name, size in self.columns
            for number in ([name] if size == 1 else [f"{name} {part}" for part in parts])
        ]

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides a p-value."""
        digest = hashlib.sha256(json.dumps([self.model, self.spec], sort_keys=True).encode())
        for name, array in sorted(self._arrays().items()):
            digest.update(name.encode() + array.tobytes())
        return digest.hexdigest()

    @property
    def smallest_bin(self) -> int:
        """Calibration texts in the smallest length bin: they bound the false-alarm rate."""
        counts = np.bincount(length_bins(self.tokens, self.edges), minlength=len(self.edges) + 1)
        return int(counts.min())

    def p_values(self, deviations: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Conformal p-values of (text, number) deviations, by distance and by the other class's logit."""
        bins = length_bins(self.tokens, self.edges), length_bins(tokens, self.edges)
        distance = conformal_p_values(self.distances, self.range.distances(deviations), *bins)
        if self.head is None:
            return distance, None
        return distance, conformal_p_values(self.logits, self.head.logit(deviations)[:, 0], *bins)

    def save(self, folder: Path, *, overwrite: bool = False) -> None:
        """Write both files; those that exist are replaced only after both are written.

        Raises:
            OutputExists: The folder holds one, without ``overwrite``.
            CannotWrite: The disk is full or the folder may not be written.
        """
        values = {entry.name: getattr(self, entry.name) for entry in fields(NoveltyManifest)}
        _FILES.write(folder, values, self._arrays(), overwrite=overwrite)

    @classmethod
    def load(cls, folder: Path) -> "NoveltyArtifact":
        """Read what ``save`` wrote.

        Raises:
            BrokenArtifact: A file is missing, cut, edited, too large or of another schema.
        """
        record = _FILES.read_manifest(folder)
        arrays = _FILES.read_arrays(folder, record.pop("arrays", None))
        try:
            manifest = _VALUES.validate_json(json.dumps(record))
            head = _part(arrays, _HEAD)
            artifact = cls(
                **vars(manifest),
                range=OrdinaryRange.from_arrays(_part(arrays, _RANGE)),
                edges=arrays[_EDGES],
                tokens=arrays[_TOKENS],
                distances=arrays[_DISTANCES],
                head=LinearHead.from_arrays(head) if head else None,
                logits=arrays.get(_LOGITS, np.zeros(0)),
            )
            if problem := artifact._problem():
                raise ValueError(problem)
        except (
            AttributeError,
            BrokenArtifact,
            KeyError,
            TypeError,
            ValueError,
        ) as error:
            raise BrokenArtifact(f"{folder / _MANIFEST} is damaged: {error}; {_AGAIN}") from error
        return artifact

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {_RANGE + name: array for name, array in self.range.arrays().items()}
        arrays |= {_EDGES: self.edges, _TOKENS: self.tokens, _DISTANCES: self.distances}
        if self.head is not None:
            arrays |= {_HEAD + name: array for name, array in self.head.arrays().items()}
            arrays[_LOGITS] = self.logits
        return {name: np.ascontiguousarray(array) for name, array in arrays.items()}

    def _problem(self) -> str | None:
        """What does not fit together, or None."""
        if tuple(size for _, size in self.columns) != tuple(self.range.sizes.tolist()):
            return "its columns have other sizes than its range"
        if self.head is not None and self.head.width != len(self.range.scale):
            return "its range and its contrast have different numbers"
        calibration = [self.distances] if self.head is None else [self.distances, self.logits]
        if not all(len(scores) == len(self.tokens) and np.isfinite(scores).all() for scores in calibration):
            return "calibration scores are not finite, or not one a text"
        if any(array.dtype.kind != "i" or (array < 1).any() for array in (self.edges, self.tokens)):
            return "lengths are no numbers of tokens"
        if (
            (np.diff(self.edges) <= 0).any()
            or not 0 < self.rate < 1
            or self.smallest_bin < texts_needed(self.rate)
        ):
            return f"a rate of {self.rate!r} beside {self.smallest_bin} calibration texts of a length"
        return None


_VALUES = TypeAdapter(NoveltyManifest)


def _powers(tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(text, power), a constant, the logarithm of the length within the range, and its square."""
    logs = np.log(np.clip(tokens, *lengths))
    return np.stack([np.ones_like(logs), logs, logs**2], axis=1)


def _log_spread(powers: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """(power, number), how the logarithm of the absolute deviation moves with length."""
    size = np.abs(residual)
    floor = 1e-3 * size.mean(axis=0)  # one deviation of nearly 0 would pull the line down
    return np.linalg.lstsq(powers, np.log(np.maximum(size, np.where(floor > 0, floor, 1.0))), rcond=None)[0]


def _vectors(values: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """The vector columns of a table, each (text, entry) in float64."""
    ends = np.cumsum(sizes)
    return [
        values[:, end - size : end].astype(np.float64)
        for end, size in zip(ends, sizes, strict=True)
        if size > 1
    ]


def _principal(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of a vector column, (entry,), and its first principal components, (component, entry)."""
    from sklearn.decomposition import PCA

    pca = PCA(min(COMPONENTS, block.shape[1]), svd_solver="randomized", random_state=0).fit(block)
    axes = np.zeros((COMPONENTS, block.shape[1]))
    axes[: len(pca.components_)] = pca.components_
    return pca.mean_, axes


def _reduced(
    values: np.ndarray, sizes: Sequence[int] | np.ndarray, center: np.ndarray, components: np.ndarray
) -> np.ndarray:
    """(text, number) float64: scalars as they are, of a vector its components and distance from them."""
    numbers, start, entry = [], 0, 0
    for size in sizes:
        block = values[:, start : start + size].astype(np.float64)
        start += size
        if size == 1:
            numbers.append(block)
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            centered = block - center[entry : entry + size]
            along = centered @ components[:, entry : entry + size].T
            rest = np.linalg.norm(centered - along @ components[:, entry : entry + size], axis=1)
            numbers += [along, np.log(np.maximum(rest, np.finfo(np.float32).tiny))[:, None]]
        entry += size
    return np.concatenate(numbers, axis=1)


def _part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
