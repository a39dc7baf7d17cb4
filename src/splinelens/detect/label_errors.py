"""Label errors: rows whose out-of-fold score contradicts their label, and texts labeled in two ways.

Confident learning: the threshold of a class is the mean score of the rows labeled with it. A row is suspect
if its score for another class is above that class's threshold while its score for its class is below.
Source: Northcutt, Jiang and Chuang, JAIR 2021, arXiv:1911.00068.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from splinelens.errors import BadFeatures, BadLabels


@dataclass(frozen=True)
class Suspect:
    """A label that is likely wrong.

    Attributes:
        row: Index of the row.
        label: Index of the label; None if the columns are classes of which a row has one.
        given: The label of the row: 0 or 1, or the index of its class.
        suggested: What its scores suggest, in the same way.
        score: Score of the suggestion, in [0, 1].
        margin: By how much that exceeds its threshold, plus by how much the score of the given label
            falls short of its threshold; above 0, higher is more suspect.
    """

    row: int
    label: int | None
    given: int
    suggested: int
    score: float
    margin: float


@dataclass(frozen=True)
class Contradiction:
    """Rows of one text with different labels.

    Attributes:
        rows: Indices of all rows of that text, ascending.
        labels: Indices of the labels in which they differ.
    """

    rows: tuple[int, ...]
    labels: tuple[int, ...]


def suspected_labels(labels: np.ndarray, scores: np.ndarray, *, exclusive: bool = False) -> list[Suspect]:
    """The suspect rows, the most suspect first.

    Args:
        labels: 0 or 1, (text,) or (text, label).
        scores: Calibrated out-of-fold probabilities of the same shape; rows with NaN were not judged
            and are skipped.
        exclusive: The columns are classes and each row has exactly one; else each column is a separate
            label.

    Returns:
        Suspects by descending margin, then by row. The suggestion is the class that exceeds its threshold
        by most.

    Raises:
        BadLabels: Labels other than 0 and 1, or with ``exclusive`` not exactly one class a row.
        BadFeatures: Scores of another shape or outside [0, 1].

    Example:
        >>> labels = np.array([0, 0, 0, 1, 1, 1])
        >>> suspects = suspected_labels(labels, np.array([0.1, 0.2, 0.9, 0.8, 0.9, 0.1]))
        >>> [(suspect.row, suspect.suggested, round(suspect.margin, 2)) for suspect in suspects]
        [(2, 1, 0.8), (5, 0, 0.8)]
    """
    given, judged = _tables(labels, scores)
    suspects: list[Suspect] = []
    if exclusive:
        if given.shape[1] < 2 or (given.sum(axis=1) != 1).any():
            wrong = np.flatnonzero(given.sum(axis=1) != 1)[:5].tolist()
            raise BadLabels(f"rows {wrong} have not exactly one class of {given.shape[1]}; see exclusive")
        suspects = _suspects(given.argmax(axis=1), judged, None)
    else:
        for label in range(given.shape[1]):
            positive = judged[:, label]
            suspects += _suspects(given[:, label], np.stack([1 - positive, positive], axis=1), label)
    return sorted(suspects, key=lambda suspect: (-suspect.margin, suspect.row))


def contradictions(keys: Sequence[Hashable], labels: np.ndarray) -> list[Contradiction]:
    """Groups of rows with the same key and different labels.

    Args:
        keys: Equal for rows of equal texts, such as hashes; None for a row without a text.
        labels: 0 or 1, (text,) or (text, label).

    Returns:
        One record per group, by its first row.

    Raises:
        BadLabels: Not one label per key.

    Example:
        >>> contradictions(["a", "b", "a", "b"], np.array([0, 1, 1, 1]))
        [Contradiction(rows=(0, 2), labels=(0,))]
    """
    given = np.asarray(labels)
    given = given[:, None] if given.ndim == 1 else given
    if given.ndim != 2 or len(given) != len(keys):
        raise BadLabels(f"{len(keys)} keys need as many labels; these have the shape {np.shape(labels)}")
    groups: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        if key is not None:
            groups.setdefault(key, []).append(row)
    records = []
    for rows in groups.values():
        differ = np.flatnonzero((given[rows] != given[rows[0]]).any(axis=0)) if len(rows) > 1 else ()
        if len(differ):
            records.append(Contradiction(tuple(rows), tuple(map(int, differ))))
    return records


def _tables(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores as (text, label), checked."""
    given, judged = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if given.shape != judged.shape or given.ndim not in (1, 2):
        raise BadFeatures(
            f"labels have the shape {given.shape} and scores {judged.shape}; give one score per label"
        )
    if not np.isin(given, (0, 1)).all():
        raise BadLabels(f"labels are {np.unique(given).tolist()[:5]} where 0 and 1 are judged")
    if (judged < 0).any() or (judged > 1).any():
        raise BadFeatures("scores outside [0, 1] are no probabilities; calibrate them first")
    shape = (len(given), -1) if len(given) else (0, 1)
    return given.reshape(shape).astype(int), judged.reshape(shape)


def _suspects(given: np.ndarray, scores: np.ndarray, label: int | None) -> list[Suspect]:
    """Suspects among rows of which each has one class; ``scores`` is (text, class)."""
    rows = np.flatnonzero(np.isfinite(scores).all(axis=1))
    given, scores = given[rows], scores[rows]
    classes = np.arange(scores.shape[1])
    present = (given[:, None] == classes).any(axis=0)
    thresholds = np.array(
        [scores[given == one, one].mean() if present[one] else np.inf for one in classes]
    )  # a class without rows is never suggested
    over = scores - thresholds
    short = -over[np.arange(len(given)), given]
    over[np.arange(len(given)), given] = -np.inf
    other = over.argmax(axis=1) if len(given) else np.zeros(0, dtype=int)
    excess = over[np.arange(len(given)), other]
    return [
        Suspect(
            int(rows[index]),
            label,
            int(given[index]),
            int(other[index]),
            float(scores[index, other[index]]),
            float(excess[index] + short[index]),
        )
        for index in np.flatnonzero((excess > 0) & (short > 0))
    ]
