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
from splinelens.detect.out_of_fold import auc
from splinelens.errors import BadFeatures
from splinelens.geometry.neighbors import lid_geomle, lid_mle, nearest, two_nn

NEIGHBORS = 20
"""Neighbors of a state where no other number is given."""

_REFERENCE_ROWS, _CHOICE_ROWS = 2000, 500  # states of true texts; rows of each class that choose the layer
_GEOMLE_NEIGHBORS = 45


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

        With a calibration the probability of a true text; else the share of known texts, this one counted
        among them, whose own dimension is at least as high.

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
            f"the reference has {len(states)} texts with {different} different states, and {neighbors} "
            f"neighbors need {neighbors + 1} or more; give more texts that are known to be true, or fewer "
            "neighbors (command line: --neighbors N)"
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


def dimension_scores(
    states: Float[np.ndarray, "text layer width"],
    labels: np.ndarray,
    fold: np.ndarray,
    neighbors: int,
    seed: int = 0,
) -> tuple[list[float], Float[np.ndarray, "text layer"], list[int], dict[str, np.ndarray]]:
    """Negative dimensions of each row among true rows of other folds, up to 2,000 random ones.

    The layer is chosen for each fold on its training rows, and once more without labels.

    Returns:
        The intrinsic dimension of true rows at each layer; the scores at each layer; the layer that was
        chosen for each fold; and the scores at chosen layers, by name.

    Raises:
        BadFeatures: As in ``require_reference``.
    """
    rng, depth = np.random.default_rng(seed), states.shape[1]
    every = np.full((len(labels), depth), np.nan)
    named = {
        name: np.full(len(labels), np.nan)
        for name in ("LID by MLE", "LID by MLE, layer without labels", "LID by GeoMLE")
    }
    chosen, curves = [], []
    for number in np.unique(fold):
        held_out = fold == number
        bank = rng.permutation(np.flatnonzero(~held_out & (labels == 1)))[:_REFERENCE_ROWS]
        false = rng.permutation(np.flatnonzero(~held_out & (labels == 0)))[:_CHOICE_ROWS]
        true = np.arange(len(bank))[:_CHOICE_ROWS]
        truth, aucs = np.repeat([1, 0], [len(true), len(false)]), []
        for layer in range(depth):
            known = states[bank, layer]
            require_reference(known, neighbors)
            inside = dimensions(known[true], known, neighbors, true)
            outside = dimensions(states[false, layer], known, neighbors)
            aucs.append(auc(truth, -np.concatenate([inside, outside])))
            every[held_out, layer] = -dimensions(states[held_out, layer], known, neighbors)
        curves.append(two_nn_curve(states[bank]))
        best, peak = int(np.argmax(aucs)), first_peak(curves[-1])
        chosen.append(best)
        scores = every[held_out, best], every[held_out, peak], -_geomle(states, held_out, bank, best, seed)
        for one, values in zip(named.values(), scores, strict=True):
            one[held_out] = values
    return np.mean(curves, axis=0).tolist(), every, chosen, named


def _geomle(
    states: np.ndarray, rows: np.ndarray, bank: np.ndarray, layer: int, seed: int
) -> Float[np.ndarray, " row"]:
    """The dimension by GeoMLE of up to 45 neighbors, a third of the reference where it is small."""
    known = torch.from_numpy(np.ascontiguousarray(states[bank, layer]))
    most = min(_GEOMLE_NEIGHBORS, max(6, len(known) // 3))
    ks = range(max(3, most // 3), most + 1)
    points = torch.from_numpy(np.ascontiguousarray(states[rows, layer]))
    width = states.shape[-1]
    return lid_geomle(points, known, neighbors=ks, seed=seed).double().clamp(-width, width).numpy()
