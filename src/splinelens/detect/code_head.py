"""How likely a written function is wrong: a linear head on its numbers, calibrated, with an interval.

The head is piecewise linear in each column, with knots at the quartiles of the training rows. The interval
comes from heads that were fitted to resamples of the training tasks: it says how much the probability depends
on which tasks these were.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from splinelens.detect.artifact_files import ArtifactFiles
from splinelens.detect.calibration import Calibration, prior_shift, require_prevalence
from splinelens.detect.heads import LinearHead
from splinelens.errors import BadFeatures, BrokenArtifact
from splinelens.features.code_numbers import FUNCTION_NUMBERS

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
        knots: (knot, column), where ``hinge_columns`` start to rise.
        heads: On ``hinge_columns``; the first label is the head, the others are its resamples. The logits are
            calibrated.
        record: What it was fitted on and what was measured, plain JSON values.
    """

    columns: tuple[str, ...]
    knots: Float[np.ndarray, "knot column"]
    heads: LinearHead
    record: dict[str, Any]  # Any: plain JSON values

    @classmethod
    def load(cls, folder: Path | None = None, columns: Sequence[str] = FUNCTION_NUMBERS) -> "CodeHead":
        """The head in a folder; None takes the one that comes with the package.

        Args:
            folder: As ``write`` wrote it.
            columns: The numbers that it will be applied to, in their order.

        Raises:
            BrokenArtifact: Missing or damaged files, arrays that do not fit each other, or a head on other
                columns; the message names the first that differs.
        """
        folder = folder or Path(str(files("splinelens"))) / "detectors" / "code"
        record = FILES.read_manifest(folder)
        arrays = FILES.read_arrays(folder, record.pop("arrays", None))
        stored, knots = tuple(record.pop("columns", ())), arrays.pop("knots", np.zeros((0, 0)))
        heads = LinearHead.from_arrays(arrays)
        fits = knots.ndim == 2 and knots.shape[1] == len(stored)
        if not fits or heads.width != len(stored) * (1 + len(knots)):
            raise BrokenArtifact(
                f"the arrays of {folder} do not fit its {len(stored)} columns; {FILES.again}"
            )
        for number, (of_head, ours) in enumerate(zip_longest(stored, columns)):
            if of_head != ours:
                raise BrokenArtifact(
                    f"column {number} of {folder} is {of_head!r}, not {ours!r}: it was fitted to other "
                    f"numbers than these; {FILES.again}"
                )
        return cls(stored, knots, heads, record)

    def write(self, folder: Path) -> None:
        """Write it to a folder.

        Raises:
            CannotWrite: The folder cannot be written.
        """
        FILES.write(
            folder, {"columns": self.columns, **self.record}, {"knots": self.knots, **self.heads.arrays()}
        )

    def wrong_probability(
        self, values: Float[np.ndarray, "function column"], prevalence: float | None = None
    ) -> Float[np.ndarray, "function 3"]:
        """The probability that each function is wrong, and the ends of its 95 % interval.

        Args:
            values: The numbers of functions. A row with NaN has NaN for its probability and both ends.
            prevalence: The share of functions that are wrong; None takes that of the training rows, which is
                ``record["share"]``.

        Raises:
            BadFeatures: Another number of columns than the head has.
            BadDetector: A prevalence that is no share.
        """
        if values.shape[1:] != (len(self.columns),):
            raise BadFeatures(f"the code head has {len(self.columns)} columns, not {values.shape[1:]}")
        added = 0.0
        if prevalence is not None:
            added = prior_shift(self.record["share"], require_prevalence(prevalence))
        logits = self.heads.logit(hinge_columns(values, self.knots))
        probability = Calibration(1.0, added).score(logits)
        ends = np.quantile(probability[:, 1:], [0.025, 0.975], axis=1)
        return np.column_stack([probability[:, 0], *ends])


def hinge_columns(
    values: Float[np.ndarray, "row column"], knots: Iterable[Float[np.ndarray, " column"]]
) -> Float[np.ndarray, "row hinge"]:
    """The columns, then for each knot how far they are above it.

    A linear function of these is piecewise linear in each column, and bends at the knots.

    Returns:
        As many columns as ``values`` has, times one more than there are knots.

    Example:
        >>> hinge_columns(np.array([[1.0], [5.0]]), [np.array([3.0])]).tolist()
        [[1.0, 0.0], [5.0, 2.0]]
    """
    return np.concatenate([values, *(np.maximum(values - knot, 0) for knot in knots)], axis=1)
