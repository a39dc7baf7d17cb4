"""How likely a written function is wrong: a linear head on its numbers, calibrated, with an interval.

Columns are bent at the quartiles of the training rows, so that the head may rise and fall again. The interval
comes from heads that were fitted to resamples of the training tasks: it says how much the probability depends
on which tasks these were.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from math import log
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from splinelens.detect.artifact_files import ArtifactFiles
from splinelens.detect.calibration import require_prevalence
from splinelens.detect.heads import LinearHead
from splinelens.errors import BadFeatures, BrokenArtifact

FILES = ArtifactFiles(
    "a code head",
    "head.json",
    "head.safetensors",
    1,
    "install splinelens again, or fit it again with benchmarks/code_check.py",
    (4_000_000, 50_000_000),
)


@dataclass(frozen=True, eq=False)
class CodeHead:
    """A head on the numbers of functions.

    Attributes:
        columns: What each number is.
        knots: (knot, column), where the columns are bent.
        heads: On ``bent`` columns; the first label is the head, the others are its resamples. The logits are
            calibrated.
        record: What it was fitted on and what was measured, plain JSON values.
    """

    columns: tuple[str, ...]
    knots: Float[np.ndarray, "knot column"]
    heads: LinearHead
    record: dict[str, Any]  # Any: plain JSON values

    @classmethod
    def load(cls, folder: Path | None = None) -> "CodeHead":
        """The head in a folder; None takes the one that comes with the package.

        Raises:
            BrokenArtifact: Missing or damaged files, or arrays that do not fit each other.
        """
        folder = folder or Path(str(files("splinelens"))) / "detectors" / "code"
        record = FILES.read_manifest(folder)
        arrays = FILES.read_arrays(folder, record.pop("arrays", None))
        columns, knots = tuple(record.pop("columns", ())), arrays.pop("knots", np.zeros((0, 0)))
        heads = LinearHead.from_arrays(arrays)
        if (
            knots.ndim != 2
            or knots.shape[1] != len(columns)
            or heads.width != len(columns) * (1 + len(knots))
        ):
            raise BrokenArtifact(
                f"the arrays of {folder} do not fit its {len(columns)} columns; {FILES.again}"
            )
        return cls(columns, knots, heads, record)

    def write(self, folder: Path) -> None:
        """Write it to a folder.

        Raises:
            CannotWrite: The folder cannot be written.
        """
        FILES.write(
            folder, {"columns": self.columns, **self.record}, {"knots": self.knots, **self.heads.arrays()}
        )

    def likely_wrong(
        self, values: Float[np.ndarray, "function column"], prevalence: float | None = None
    ) -> Float[np.ndarray, "function 3"]:
        """The probability that each function is wrong, and the ends of its 95 % interval.

        Args:
            values: The numbers of functions.
            prevalence: The share of functions that are wrong; None takes that of the training rows, which is
                ``record["share"]``.

        Raises:
            BadFeatures: Another number of columns than the head has.
            BadDetector: A prevalence that is no share.
        """
        if values.shape[1:] != (len(self.columns),):
            raise BadFeatures(f"the code head has {len(self.columns)} columns, not {values.shape[1:]}")
        logits = self.heads.logit(bent(values, self.knots))
        if prevalence is not None:
            share, prevalence = self.record["share"], require_prevalence(prevalence)
            logits = logits + log(prevalence / (1 - prevalence)) - log(share / (1 - share))
        probability = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
        ends = np.quantile(probability[:, 1:], [0.025, 0.975], axis=1)
        return np.column_stack([probability[:, 0], *ends])


def bent(
    values: Float[np.ndarray, "row column"], knots: Iterable[Float[np.ndarray, " column"]]
) -> Float[np.ndarray, "row bent"]:
    """The columns, and how far they are above each knot: a linear function of these bends at the knots.

    Example:
        >>> bent(np.array([[1.0], [5.0]]), [np.array([3.0])]).tolist()
        [[1.0, 0.0], [5.0, 2.0]]
    """
    return np.concatenate([values, *(np.maximum(values - knot, 0) for knot in knots)], axis=1)
