"""Local intrinsic dimension of a text's state among those of known texts, as a score of truthfulness.

Source: Yin, Srinivasa and Chang, arXiv:2402.18048: a low dimension among the states of true texts speaks for
truth. The layer is chosen by the AUC of rows that are held out, or without labels at the first peak of the
intrinsic dimension (TwoNN) over layers, after arXiv:2605.26366.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from splinelens.detect.calibration import Calibration
from splinelens.errors import BadFeatures
from splinelens.geometry.neighbors import lid_mle, nearest, two_nn

NEIGHBORS = 20
"""Neighbors of a state where no other number is given."""


@dataclass(frozen=True, eq=False)
class LocalDimension:
    """States of known texts at one layer, and how a dimension becomes a confidence.

    Attributes:
        states: States of the texts known to be true.
        own: The dimension at each of them among the others, ascending.
        neighbors: Neighbors that a dimension is estimated from.
        calibration: Of the negative dimension, fitted to labels; None where there are none.
    """

    states: Float[np.ndarray, "text width"]
    own: Float[np.ndarray, " text"]
    neighbors: int
    calibration: Calibration | None = None

    @classmethod
    def of(
        cls, states: np.ndarray, neighbors: int, calibration: Calibration | None = None
    ) -> "LocalDimension":
        """The reference of some states.

        Raises:
            BadFeatures: As in ``require_reference``.
        """
        require_reference(states, neighbors)
        own = dimensions(states, states, neighbors, own=np.arange(len(states)))
        return cls(states, np.sort(own), neighbors, calibration)

    def dimension(self, states: Float[np.ndarray, "row width"]) -> Float[np.ndarray, " row"]:
        """The dimension at each state."""
        return dimensions(states, self.states, self.neighbors)

    def confidence(self, dimension: Float[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
        """A number in [0, 1], higher for lower dimensions.

        With a calibration the probability of a true text; else the share of known texts, this one counted among
        them, whose own dimension is at least as high.

        Example:
            >>> known = LocalDimension(np.zeros((3, 1)), np.array([4.0, 5.0, 6.0]), 2)
            >>> known.confidence(np.array([4.5, 9.0]))
            array([0.75, 0.25])
        """
        if self.calibration is not None:
            return self.calibration.score(-dimension)
        as_high = len(self.own) - np.searchsorted(self.own, dimension, side="left")
        return (as_high + 1) / (len(self.own) + 1)


def require_reference(states: np.ndarray, neighbors: int) -> None:
    """Refuse a reference with too few different states for a number of neighbors.

    Raises:
        BadFeatures: The message says how many there are and how many are needed.
    """
    if neighbors < 2:
        raise BadFeatures(f"neighbors={neighbors!r}: give 2 or more")
    different = len(np.unique(states, axis=0))
    if different <= neighbors:
        raise BadFeatures(
            f"the reference has {len(states)} texts with {different} different states, and {neighbors} neighbors need "
            f"{neighbors + 1} or more; give more texts that are known to be true, or fewer neighbors (command "
            "line: --neighbors N)"
        )


def dimensions(
    states: np.ndarray, reference: np.ndarray, neighbors: int, own: np.ndarray | None = None
) -> Float[np.ndarray, " row"]:
    """The dimension at each state among a reference, at most the width of the states.

    ``own`` is the row of the reference that each state is.
    """
    index = None if own is None else torch.from_numpy(own)
    rows, bank = (torch.from_numpy(np.ascontiguousarray(part)) for part in (states, reference))
    distances, _ = nearest(rows, bank, neighbors, own=index)
    return lid_mle(distances).double().clamp(max=states.shape[1]).numpy()


def two_nn_curve(states: Float[np.ndarray, "text layer width"]) -> list[float]:
    """The intrinsic dimension of all states at each layer."""
    return [two_nn(torch.from_numpy(np.ascontiguousarray(layer))) for layer in states.transpose(1, 0, 2)]


def first_peak(values: Sequence[float]) -> int:
    """The index of the first value above both of its neighbors; of the highest if there is none.

    Example:
        >>> first_peak([3.0, 5.0, 4.0, 9.0]), first_peak([1.0, 2.0, 3.0])
        (1, 2)
    """
    for index in range(1, len(values) - 1):
        if values[index - 1] < values[index] > values[index + 1]:
            return index
    return int(np.argmax(values))


def held_out_dimensions(
    states: Float[np.ndarray, "text layer width"], labels: np.ndarray, fold: np.ndarray, neighbors: int
) -> Float[np.ndarray, "text layer"]:
    """The dimension of each row at each layer, among the true rows (label 1) of the other folds."""
    result = np.full(states.shape[:2], np.nan)
    for number in np.unique(fold):
        held_out = fold == number
        bank = states[~held_out & (labels == 1)]
        for layer in range(states.shape[1]):
            require_reference(bank[:, layer], neighbors)
            result[held_out, layer] = dimensions(states[held_out, layer], bank[:, layer], neighbors)
    return result
