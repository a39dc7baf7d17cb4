"""How well scores separate labels, with intervals, and what length alone would have done."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from splinelens.detect.thresholds import highest_quiet
from splinelens.errors import BadLabels

ROWS_FOR_INTERVAL = 50
"""With fewer scored rows a bootstrap interval promises more than it holds, and there is none."""


@dataclass(frozen=True)
class Evaluation:
    """Numbers of one detector on one set of labelled texts.

    Attributes:
        n: Rows that were scored.
        positives: Positive rows among them.
        undetermined: Rows that could not be scored; they are in no other number.
        auc: Area under the ROC curve.
        auc_interval: 95 % bootstrap interval of it; None with fewer than 50 scored rows.
        recall_at_fpr: Recall at 1 % and 5 % false positives, keys ``0.01`` and ``0.05``; the threshold
            is chosen on these rows.
        brier: Mean squared difference of score and label.
        calibration_error: Expected calibration error over 15 bins of about equal count; rows of
            equal score share a bin.
        length_auc: AUC of the number of tokens alone, in the direction that is better on these rows,
            so at least 0.5: what a detector that cannot read would reach.
        length_auc_interval: 95 % bootstrap interval of that, in the same direction; may be None.
        at_threshold: For each stored threshold the measured rates on these rows.
    """

    n: int
    positives: int
    undetermined: int
    auc: float
    auc_interval: tuple[float, float] | None
    recall_at_fpr: dict[str, float]
    brier: float
    calibration_error: float
    length_auc: float
    length_auc_interval: tuple[float, float] | None
    at_threshold: dict[str, dict[str, float]]

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As plain JSON values; an interval is a list."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }


@dataclass(frozen=True)
class Evaluations:
    """Numbers of a detector of several labels on one set of labelled texts.

    Attributes:
        n: Rows that were scored.
        undetermined: Rows that could not be scored; they are in no other number.
        labels: The numbers of each label against all others; None for a label that all scored rows
            have or none has.
        mean_auc: Mean of the AUCs of the labels that were measured.
        accuracy: Of classes, share of rows whose own class has the highest score; else None.
        macro_f1: Of classes, mean F1 over the classes that occur among rows or verdicts; else None.
        confusion: Of classes, ``confusion[own][verdict]`` counts rows, in the order of ``labels``; else
            None.
    """

    n: int
    undetermined: int
    labels: dict[str, Evaluation | None]
    mean_auc: float
    accuracy: float | None = None
    macro_f1: float | None = None
    confusion: tuple[tuple[int, ...], ...] | None = None

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As plain JSON values; what is not there is left out."""
        own = {name: found and found.to_dict() for name, found in self.labels.items()}
        record: dict[str, Any] = {"n": self.n, "undetermined": self.undetermined, "mean_auc": self.mean_auc}
        if self.confusion is not None:
            record |= {"accuracy": self.accuracy, "macro_f1": self.macro_f1}
            record["confusion"] = [list(row) for row in self.confusion]
        return record | {"labels": own}


def evaluate(
    labels: np.ndarray,
    scores: np.ndarray,
    lengths: np.ndarray,
    *,
    thresholds: dict[str, float] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Evaluation:
    """Evaluate scores against labels.

    Args:
        labels: 0 or 1 for each text.
        scores: Calibrated scores; NaN marks rows that could not be scored.
        lengths: Tokens of each text, for the length-only baseline.
        thresholds: Scores to measure verdicts at, by name.
        resamples: Bootstrap resamples of the intervals; 0 for no intervals.
        seed: Of the bootstrap.

    Returns:
        The numbers.

    Raises:
        BadLabels: The scored rows hold one class only, or other labels than 0 and 1.

    Example:
        >>> labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
        >>> evaluate(labels, scores, np.array([3, 4, 5, 6]), resamples=10).auc
        0.75
    """
    scored = np.isfinite(scores)
    y, s, tokens = labels[scored].astype(int), scores[scored], lengths[scored].astype(float)
    if np.unique(y).tolist() != [0, 1]:
        raise BadLabels(
            f"the {len(y)} scored rows of {len(scores)} hold labels {np.unique(y).tolist()[:5]}; "
            "0 and 1 are both needed to evaluate"
        )
    shorter = auc(y, -tokens) >= 0.5
    by_length = -tokens if shorter else tokens
    return Evaluation(
        n=len(y),
        positives=int(y.sum()),
        undetermined=int((~scored).sum()),
        auc=auc(y, s),
        auc_interval=auc_interval(y, s, resamples, seed),
        recall_at_fpr={
            f"{rate:g}": float((s[y == 1] > highest_quiet(s[y == 0], rate)).mean()) for rate in (0.01, 0.05)
        },
        brier=float(((s - y) ** 2).mean()),
        calibration_error=calibration_error(y, s),
        length_auc=auc(y, by_length),
        length_auc_interval=auc_interval(y, by_length, resamples, seed),
        at_threshold={
            name: {
                "score": float(score),
                "false_positive_rate": float((s[y == 0] >= score).mean()),
                "recall": float((s[y == 1] >= score).mean()),
            }
            for name, score in (thresholds or {}).items()
        },
    )


def evaluate_labels(
    labels: np.ndarray,
    scores: np.ndarray,
    lengths: np.ndarray,
    names: Sequence[str],
    *,
    classes: bool = False,
    thresholds: Mapping[str, dict[str, float]] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Evaluations:
    """Evaluate the scores of several labels.

    Args:
        labels: (text, label), 0 or 1; with ``classes`` one 1 a row.
        scores: (text, label), calibrated; NaN in rows that could not be scored.
        lengths: Tokens of each text, for the length-only baseline.
        names: Of the labels.
        classes: Each text has one label: also accuracy, macro F1 and the confusion of classes.
        thresholds: For each name the scores to measure verdicts at, by name.
        resamples: Bootstrap resamples of the intervals; 0 for no intervals.
        seed: Of the bootstrap.

    Returns:
        The numbers.

    Raises:
        BadLabels: Not one label divides the scored rows, or labels other than 0 and 1.

    Example:
        >>> labels = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
        >>> scores = np.array([[0.9, 0.2], [0.3, 0.8], [0.1, 0.7], [0.2, 0.9]])
        >>> found = evaluate_labels(labels, scores, np.arange(4), ["a", "b"], classes=True, resamples=0)
        >>> found.accuracy, found.confusion, found.mean_auc
        (0.75, ((1, 1), (0, 2)), 0.875)
    """
    scored = np.isfinite(scores).all(axis=1)
    own: dict[str, Evaluation | None] = {}
    for place, name in enumerate(names):
        y, column = labels[:, place], np.where(scored, scores[:, place], np.nan)
        if len(np.unique(y[scored])) < 2:
            own[name] = None
            continue
        limits = (thresholds or {}).get(name)
        own[name] = evaluate(y, column, lengths, thresholds=limits, resamples=resamples, seed=seed)
    measured = [found.auc for found in own.values() if found]
    if not measured:
        raise BadLabels(
            f"of the labels {', '.join(names)} each is the same in all {int(scored.sum())} scored rows; "
            "give rows with and without a label"
        )
    numbers = _of_classes(labels[scored], scores[scored]) if classes else ()
    return Evaluations(int(scored.sum()), int((~scored).sum()), own, float(np.mean(measured)), *numbers)


def _of_classes(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float, tuple[tuple[int, ...], ...]]:
    """Accuracy, macro F1 and how often each class is taken for each."""
    own, verdict, classes = labels.argmax(axis=1), scores.argmax(axis=1), labels.shape[1]
    counts = np.bincount(own * classes + verdict, minlength=classes**2).reshape(classes, classes)
    right, either = np.diag(counts), counts.sum(axis=0) + counts.sum(axis=1)
    f1 = 2 * right[either > 0] / either[either > 0]
    confusion = tuple(tuple(int(count) for count in row) for row in counts)
    return float(right.sum() / len(own)), float(f1.mean()), confusion


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve; ties count one half.

    Args:
        labels: 0 or 1, both there.
        scores: Higher leans to 1.

    Returns:
        The share of (positive, negative) pairs in the right order, in [0, 1].

    Example:
        >>> auc(np.array([0, 1, 1]), np.array([0.2, 0.2, 0.9]))
        0.75
    """
    codes, ranks = _codes(labels, scores)
    return _share_in_order(np.bincount(codes, minlength=2 * ranks), ranks)


def auc_interval(
    labels: np.ndarray, scores: np.ndarray, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of the AUC; resamples of one class only are left out.

    Args:
        labels: 0 or 1, both there.
        scores: Higher leans to 1.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        Lower and upper bound; None with fewer than 50 rows or no resamples.

    Example:
        >>> auc_interval(np.arange(60) % 2, np.arange(60) % 2, resamples=20)
        (1.0, 1.0)
    """
    if len(labels) < ROWS_FOR_INTERVAL or not resamples:
        return None
    low, high = np.nanquantile(resampled_auc(labels, scores, resamples, seed), [0.025, 0.975])
    return float(low), float(high)


def resampled_auc(labels: np.ndarray, scores: np.ndarray, resamples: int, seed: int = 0) -> np.ndarray:
    """The AUC of bootstrap resamples; as many rows with the same seed are drawn alike.

    Args:
        labels: 0 or 1.
        scores: Higher leans to 1.
        resamples: How many.
        seed: Of the draws.

    Returns:
        (resample,), NaN where a class is missing.

    Example:
        >>> resampled_auc(np.array([0, 1] * 9), np.array([0.5] * 18), 3).tolist()
        [0.5, 0.5, 0.5]
    """
    n, rng = len(labels), np.random.default_rng(seed)
    codes, ranks = _codes(labels, scores)
    drawn = (codes[rng.integers(0, n, n)] for _ in range(resamples))
    return np.array([_share_in_order(np.bincount(draw, minlength=2 * ranks), ranks) for draw in drawn])


def calibration_error(labels: np.ndarray, scores: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error over bins of about equal count; rows of equal score share a bin.

    Args:
        labels: 0 or 1.
        scores: Probabilities.
        bins: How many.

    Returns:
        Mean distance of a bin's mean score to its share of positives, in [0, 1].

    Example:
        >>> calibration_error(np.array([0, 1]), np.array([0.25, 0.75]), bins=2)
        0.25
    """
    _, rank, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2  # of the rows of each score, in sorted order
    place = (middle * bins / len(scores)).astype(int)
    return float(
        np.abs(np.bincount(place[rank], weights=scores - labels, minlength=bins)).sum() / len(scores)
    )


def _codes(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, int]:
    """Each row as one number, its score's rank plus, if it is positive, the number of ranks; and that."""
    distinct, rank = np.unique(scores, return_inverse=True)
    return rank + len(distinct) * labels.astype(int), len(distinct)


def _share_in_order(counts: np.ndarray, ranks: int) -> float:
    """AUC from how often each code occurs, in whole numbers; NaN if a class is missing."""
    negative, positive = counts[:ranks], counts[ranks:]
    pairs = int(negative.sum()) * int(positive.sum())
    twice_below = 2 * np.cumsum(negative) - negative  # a tie counts one half
    return int(positive @ twice_below) / (2 * pairs) if pairs else float("nan")
