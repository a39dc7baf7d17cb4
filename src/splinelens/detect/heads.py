"""Fitted heads as plain arrays, run in NumPy: nothing is unpickled, nothing of scikit-learn is needed."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from splinelens.errors import BadFeatures, BrokenArtifact

_CHUNK = 1 << 18  # entries of a table worked on at once: 2 MB in float64 stay in a core's cache


@dataclass(frozen=True, eq=False)
class LinearHead:
    """Logistic regressions on standardized columns, one per label.

    Attributes:
        mean: (column,), mean of each column over the training rows; float64, since rounded to float32 a
            mean far larger than its scale would shift the logit.
        scale: (column,), standard deviation of each column, 1 where it is constant.
        weight: (label, column), coefficients of the standardized columns.
        bias: (label,), the logits of a text whose columns all equal the mean.
    """

    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "LinearHead":
        """A head from what ``arrays`` gave.

        Raises:
            BrokenArtifact: Missing arrays, wrong shapes or types, or numbers that are not finite.
        """
        if set(arrays) != {field.name for field in fields(cls)}:
            raise BrokenArtifact(f"a linear head needs other arrays than {', '.join(sorted(arrays))}")
        head = cls(**arrays)
        if problem := head._problem():
            raise BrokenArtifact(f"the arrays of the linear head do not fit each other: {problem}")
        return head

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to store."""
        return {"mean": self.mean, "scale": self.scale, "weight": self.weight, "bias": self.bias}

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.weight.shape[1]

    @property
    def labels(self) -> int:
        """Number of labels."""
        return len(self.weight)

    def single_label(self, label: int) -> "LinearHead":
        """The head of one label."""
        return LinearHead(self.mean, self.scale, self.weight[[label]], self.bias[[label]])

    def columns(self, start: int, stop: int) -> "LinearHead":
        """The head of some consecutive columns."""
        chosen = slice(start, stop)
        return LinearHead(self.mean[chosen], self.scale[chosen], self.weight[:, chosen], self.bias)

    def logit(self, values: np.ndarray) -> np.ndarray:
        """(text, label) logits in float64 of (text, column) values; NaN where a value is not finite.

        A row gives the same bits by itself and in any table.

        Raises:
            BadFeatures: The table has another number of columns than the head.
        """
        self._require_width(values)
        logit = np.empty((len(values), self.labels))
        step = max(1, _CHUNK // max(1, self.width))
        with np.errstate(over="ignore", invalid="ignore"):  # inf - inf
            for start in range(0, len(values), step):
                rows = slice(start, start + step)
                for label, (slope, constant) in enumerate(zip(self._slope, self._constants, strict=True)):
                    # A sum along contiguous rows does not depend on how many rows there are.
                    logit[rows, label] = np.multiply(values[rows], slope, order="C").sum(axis=1) + constant
        return np.where(np.isfinite(logit), logit, np.nan)

    def contributions(self, values: np.ndarray, label: int = 0) -> np.ndarray:
        """What each column adds to a label's logit, (text, column) in float64.

        Each row sums to its logit without the bias. The result is as large as the table.

        Raises:
            BadFeatures: The table has another number of columns than the head.
        """
        self._require_width(values)
        with np.errstate(over="ignore", invalid="ignore"):
            return (values - self.mean.astype(np.float64)) * self._slope[label]

    def block_scores(self, values: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
        """One number per block of consecutive columns, such as one statistic of one layer, of one row.

        Of a single column its value, else the sum of what its columns add to the logit of the first label.
        """
        starts, single = np.cumsum(sizes) - np.asarray(sizes), np.asarray(sizes) == 1
        with np.errstate(over="ignore", invalid="ignore"):
            sums = np.add.reduceat(self.contributions(values[None])[0], starts)
        return np.where(single, values[starts], sums)

    @cached_property
    def _slope(self) -> np.ndarray:
        """(label, column), coefficients of the columns in their units, float64; inf where they overflow."""
        with np.errstate(over="ignore"):
            return self.weight.astype(np.float64) / self.scale.astype(np.float64)

    @cached_property
    def _constants(self) -> list[float]:
        """The logit of each label for a text whose columns are all 0."""
        pairs = zip(self.bias, self._slope, strict=True)
        with np.errstate(over="ignore", invalid="ignore"):
            return [float(bias) - float((self.mean * slope).sum()) for bias, slope in pairs]

    def _require_width(self, values: np.ndarray) -> None:
        if values.ndim != 2 or values.shape[1] != self.width:
            raise BadFeatures(
                f"a table of shape {values.shape} meets a head of {self.width} columns; "
                "extract the features that the detector's spec names"
            )

    def _problem(self) -> str | None:
        """What is wrong with the arrays, or None."""
        shape = self.weight.shape
        if len(shape) != 2 or not (self.mean.shape == self.scale.shape == shape[1:]):
            shapes = f"{self.mean.shape}, {self.scale.shape}, {shape}"
            return f"mean, scale and weight have shapes {shapes}"
        if not shape[0] or self.bias.shape != shape[:1]:
            return f"bias has shape {self.bias.shape} beside weights of shape {shape}"
        for name, array in self.arrays().items():
            if array.dtype.kind != "f" or not np.isfinite(array).all():
                return f"{name} holds something other than finite floats"
        return None if (self.scale > 0).all() else "a scale is not positive"
