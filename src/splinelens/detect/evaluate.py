"""How well scores separate labels, with intervals, and what length alone would have done."""

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
