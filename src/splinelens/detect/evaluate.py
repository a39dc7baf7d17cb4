"""How well scores separate labels, with intervals, and what length alone would have done."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from splinelens.errors import BadLabels


@dataclass(frozen=True)
class Evaluation:
    """Numbers of one detector on one set of labelled texts.

    Attributes:
        n: Rows that were scored.
        positives: Positive rows among them.
        undetermined: Rows that could not be scored; they are in no other number.
        auc: Area under the ROC curve.
        auc_interval: 95 % bootstrap interval of it.
        recall_at_fpr: Recall at 1 % and 5 % false positives, the threshold chosen on these rows.
        brier: Mean squared difference of score and label.
        calibration_error: Expected calibration error over 15 bins of equal count.
        length_auc: AUC of the number of tokens alone, in its better direction.
        length_auc_interval: 95 % bootstrap interval of that.
        at_threshold: For each stored threshold the measured rates on these rows.
    """

    n: int
    positives: int
    undetermined: int
    auc: float
    auc_interval: tuple[float, float]
    recall_at_fpr: dict[str, float]
    brier: float
    calibration_error: float
    length_auc: float
    length_auc_interval: tuple[float, float]
    at_threshold: dict[str, dict[str, float]]

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As plain JSON values."""
        return asdict(self)


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
        labels: 0 or 1, (text,).
        scores: Calibrated scores; NaN marks rows that could not be scored.
        lengths: Tokens of each text, for the length-only baseline.
        thresholds: Scores to measure verdicts at, by name.
        resamples: Bootstrap resamples of the intervals.
        seed: Of the bootstrap.

    Returns:
        The numbers.

    Raises:
        BadLabels: The scored rows hold one class only.

    Example:
        >>> labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
        >>> evaluate(labels, scores, np.array([3, 4, 5, 6]), resamples=10).auc
        0.75
    """
    scored = np.isfinite(scores)
    y, s, tokens = labels[scored].astype(int), scores[scored], lengths[scored].astype(float)
    if len(np.unique(y)) < 2:
        raise BadLabels(f"the {len(y)} scored rows hold one class only; both are needed to evaluate")
    shorter = auc(y, -tokens) >= 0.5
    by_length = -tokens if shorter else tokens
    return Evaluation(
        n=len(y),
        positives=int(y.sum()),
        undetermined=int((~scored).sum()),
        auc=auc(y, s),
        auc_interval=_bootstrap(y, s, resamples, seed),
        recall_at_fpr={f"{rate:g}": _recall(y, s, rate) for rate in (0.01, 0.05)},
        brier=float(((s - y) ** 2).mean()),
        calibration_error=_calibration_error(y, s),
        length_auc=auc(y, by_length),
        length_auc_interval=_bootstrap(y, by_length, resamples, seed),
        at_threshold={
            name: {
                "score": score,
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
    return float(_weighted_auc(labels, scores)(np.ones(len(labels))))


def _weighted_auc(labels: np.ndarray, scores: np.ndarray):  # noqa: ANN202  # a closure, typed by its use
    """A function from row counts to AUC, with the sorting done once."""
    order = np.argsort(scores, kind="stable")
    y, s = labels[order], scores[order]
    starts = np.flatnonzero(np.r_[True, s[1:] != s[:-1]])

    def weighted(counts: np.ndarray) -> float:
        counts = counts[order]
        up, down = np.add.reduceat(counts * y, starts), np.add.reduceat(counts * (1 - y), starts)
        below = np.cumsum(down) - down
        pairs = up.sum() * down.sum()
        return float((up * (below + down / 2)).sum() / pairs) if pairs else float("nan")

    return weighted


def _bootstrap(labels: np.ndarray, scores: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    rng, n, weighted = np.random.default_rng(seed), len(labels), _weighted_auc(labels, scores)
    values = [weighted(np.bincount(rng.integers(0, n, n), minlength=n)) for _ in range(resamples)]
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def _recall(labels: np.ndarray, scores: np.ndarray, rate: float) -> float:
    clean = np.sort(scores[labels == 0])
    highest = clean[len(clean) - int(np.floor(rate * len(clean) + 1e-9)) - 1]
    return float((scores[labels == 1] > highest).mean())


def _calibration_error(labels: np.ndarray, scores: np.ndarray, bins: int = 15) -> float:
    order = np.argsort(scores, kind="stable")
    groups = [group for group in np.array_split(order, bins) if len(group)]
    return float(sum(abs(scores[g].mean() - labels[g].mean()) * len(g) for g in groups) / len(labels))
