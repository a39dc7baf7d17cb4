"""Which labels are likely wrong? Rows whose out-of-fold score sides with another class than their label.

Confident learning: a class's threshold is the mean score that rows labelled with it get for it. A row
is suspect when its score for another class exceeds that class's threshold while its score for its own
lies below its own's. Source: Northcutt, Jiang and Chuang, JAIR 2021, arXiv:1911.00068. Also rows that
are duplicates of each other with different labels.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from splinelens.errors import BadFeatures, BadLabels


@dataclass(frozen=True)
class Suspect:
    """A label that is likely wrong.

    Attributes:
        row: Number of the row, from 0.
        label: Column of the label; None where the columns are classes of which a row has one.
        given: What the row is labelled: 0 or 1, or the number of its class.
        suggested: What its scores side with, in the same way.
        score: Score of the suggested one, in [0, 1].
        margin: By how much that exceeds its threshold, plus by how much the score of the given one
            falls short of its own; above 0, higher is more suspect.
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
        rows: Numbers of all rows of that text, rising, from 0.
        labels: Columns of the labels on which they differ.
    """

    rows: tuple[int, ...]
    labels: tuple[int, ...]


def suspected_labels(labels: np.ndarray, scores: np.ndarray, *, exclusive: bool = False) -> list[Suspect]:
    """The suspect rows, the most suspect first.

    Args:
        labels: 0 or 1, (text,) or (text, label).
        scores: Calibrated out-of-fold probabilities of the same shape; a row with NaN was not judged
            and is passed over.
        exclusive: The columns are classes, each row has exactly one: it is held against the other
            classes. Else each column is a question of its own, answered 1 or 0.

    Returns:
        Suspects by falling margin, equal ones by row. Of the other classes above their
        thresholds the one that exceeds its own by most is suggested.

    Raises:
        BadLabels: Labels other than 0 and 1, or with ``exclusive`` not exactly one class a row.
        BadFeatures: Scores of another shape or outside [0, 1].

    Example:
        >>> labels = np.array([0, 0, 0, 1, 1, 1])
        >>> found = suspected_labels(labels, np.array([0.1, 0.2, 0.9, 0.8, 0.9, 0.1]))
        >>> [(suspect.row, suspect.suggested, round(suspect.margin, 2)) for suspect in found]
        [(2, 1, 0.8), (5, 0, 0.8)]
    """
    given, judged = _tables(labels, scores)
    found: list[Suspect] = []
    if exclusive:
        if given.shape[1] < 2 or (given.sum(axis=1) != 1).any():
            wrong = np.flatnonzero(given.sum(axis=1) != 1)[:5].tolist()
            raise BadLabels(f"rows {wrong} have not exactly one class of {given.shape[1]}; see exclusive")
        found = _suspects(given.argmax(axis=1), judged, None)
    else:
        for label in range(given.shape[1]):
            positive = judged[:, label]
            found += _suspects(given[:, label], np.stack([1 - positive, positive], axis=1), label)
    return sorted(found, key=lambda suspect: (-suspect.margin, suspect.row))


def contradictions(keys: Sequence[Hashable], labels: np.ndarray) -> list[Contradiction]:
    """Groups of rows with the same key that are labelled differently.

    Args:
        keys: Equal for rows of equal texts, such as hashes; None for a row without a text.
        labels: 0 or 1, (text,) or (text, label).

    Returns:
        One record a group, by its first row.

    Raises:
        BadLabels: Not one label a key.

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
    found = []
    for rows in groups.values():
        differ = np.flatnonzero((given[rows] != given[rows[0]]).any(axis=0)) if len(rows) > 1 else ()
        if len(differ):
            found.append(Contradiction(tuple(rows), tuple(map(int, differ))))
    return found


def _tables(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores as (text, label), checked."""
    given, judged = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if given.shape != judged.shape or given.ndim not in (1, 2):
        raise BadFeatures(
            f"labels have the shape {given.shape} and scores {judged.shape}; give one score a label"
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
    there = (given[:, None] == classes).any(axis=0)
    thresholds = np.array(
        [scores[given == one, one].mean() if there[one] else np.inf for one in classes]
    )  # nothing is suspected of a class without rows
    over = scores - thresholds
    short = -over[np.arange(len(given)), given]
    over[np.arange(len(given)), given] = -np.inf
    other = over.argmax(axis=1) if len(given) else np.zeros(0, dtype=int)
    excess = over[np.arange(len(given)), other]
    return [
        Suspect(
            int(rows[place]),
            label,
            int(given[place]),
            int(other[place]),
            float(scores[place, other[place]]),
            float(excess[place] + short[place]),
        )
        for place in np.flatnonzero((excess > 0) & (short > 0))
    ]
