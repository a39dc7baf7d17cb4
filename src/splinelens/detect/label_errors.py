"""Label errors: rows whose out-of-fold score contradicts their label, and texts labeled in two ways.

Confident learning: the threshold of a class is the mean score of the rows labeled with it. A row is suspect
if its score for another class is above that class's threshold while its score for its class is below.
Source: Northcutt, Jiang and Chuang, JAIR 2021, arXiv:1911.00068.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from splinelens.detect.solver import label_columns
from splinelens.errors import BadFeatures, BadLabels


@dataclass(frozen=True)
class Suspect:
    """A label that is likely wrong.

    Attributes:
        row: Index of the row.
        label: Index of the label; None if the columns are classes of which a row has one.
        given: The label of the row: 0 or 1, or the index of its class.
        suggested: Likewise, by its scores.
        score: The score of the label that is concerned, whatever was suggested; of classes that of the
            suggested class.
        margin: By how much the probability of the suggestion exceeds its threshold, plus by how much that of
            the given label falls short of its own; above 0, higher is more suspect.
    """

    row: int
    label: int | None
    given: int
    suggested: int
    score: float
    margin: float


@dataclass(frozen=True)
class Contradiction:
    """All rows of one text, ascending, and the labels in which they differ, by index."""

    rows: tuple[int, ...]
    labels: tuple[int, ...]


def suspected_labels(labels: np.ndarray, scores: np.ndarray, *, exclusive: bool = False) -> list[Suspect]:
    """The suspect rows, the most suspect first; the class that exceeds its threshold by most is suggested.

    Args:
        labels: 0 or 1, (text,) or (text, label).
        scores: Calibrated out-of-fold probabilities of the same shape; rows with NaN are skipped.
        exclusive: The columns are classes and each row has exactly one; else each column is a separate
            label.

    Raises:
        BadLabels: Labels other than 0 and 1, or with ``exclusive`` not exactly one class a row.
        BadFeatures: Scores of another shape or outside [0, 1].

    Example:
        >>> labels = np.array([0, 0, 0, 1, 1, 1])
        >>> suspects = suspected_labels(labels, np.array([0.1, 0.2, 0.9, 0.8, 0.9, 0.1]))
        >>> [(suspect.row, suspect.suggested, round(suspect.margin, 2)) for suspect in suspects]
        [(2, 1, 0.8), (5, 0, 0.8)]
    """
    given, judged = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if given.shape != judged.shape:
        raise BadFeatures(
            f"labels have the shape {given.shape} and scores {judged.shape}; give one score per label"
        )
    if (judged < 0).any() or (judged > 1).any():
        raise BadFeatures("scores outside [0, 1] are no probabilities; calibrate them first")
    given = label_columns(given, len(given))
    judged = judged.reshape(given.shape)
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
    """Groups of rows with the same key, such as a hash of the text, and different labels.

    Labels are (text,) or (text, label). A row whose key is None is in no group.

    Raises:
        BadLabels: Not one 0 or 1 per key and label.
    """
    given = label_columns(labels, len(keys))
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


def _suspects(given: np.ndarray, scores: np.ndarray, label: int | None) -> list[Suspect]:
    """Suspects among rows of which each has one class; ``scores`` is (text, class)."""
    rows = np.flatnonzero(np.isfinite(scores).all(axis=1))
    given, scores = given[rows], scores[rows]
    classes = np.arange(scores.shape[1])
    present = (given[:, None] == classes).any(axis=0)
    thresholds = np.array(
        [scores[given == one, one].mean() if present[one] else np.inf for one in classes]
    )  # a class without rows is never suggested
    over, each = scores - thresholds, np.arange(len(given))
    short = -over[each, given]
    over[each, given] = -np.inf
    other = over.argmax(axis=1) if len(given) else np.zeros(0, dtype=int)
    excess = over[each, other]
    wrong = (excess > 0) & (short > 0)
    shown = scores[:, 1] if label is not None else scores[each, other]
    columns = (rows, given, other, shown, excess + short)
    suspects = zip(*(column[wrong].tolist() for column in columns), strict=True)
    return [Suspect(row, label, *rest) for row, *rest in suspects]
