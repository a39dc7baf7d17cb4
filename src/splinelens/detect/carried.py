"""What a detector is worth with another model than its own: the scores of both, compared."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from splinelens.detect.bootstrap import auc_gain_interval, auc_interval
from splinelens.detect.thresholds import Interval


@dataclass(frozen=True)
class CarriedDetector:
    """A detector of one model, its head read with another model as it is.

    Attributes:
        detector: Its name.
        texts: Texts that both models scored.
        undetermined: Texts without a score in one of them; they are left out.
        same_verdict: Share of texts with the same verdict; None without texts, as is the next.
        mean_change: Mean absolute change of the score.
        rank_correlation: Spearman's, of the scores; None if one model gives all texts the same score.
        auc: With each of the models; None without labels of both classes.
        auc_intervals: Their 95 % intervals; None with too few texts.
        loss_interval: 95 % interval of the AUC that is lost, on the same resamples.
        false_positives: Share of negative texts that are flagged, with each model; None without labels.
        reason: Why there are no numbers.
    """

    detector: str
    texts: int = 0
    undetermined: int = 0
    same_verdict: float | None = None
    mean_change: float | None = None
    rank_correlation: float | None = None
    auc: tuple[float, float] | None = None
    auc_intervals: tuple[Interval | None, Interval | None] = (None, None)
    loss_interval: Interval | None = None
    false_positives: tuple[float, float] | None = None
    reason: str | None = None


def compare_scores(
    detector: str,
    scores: Float[np.ndarray, "model text"],
    verdicts: Shaped[np.ndarray, "model text"],
    labels: Int[np.ndarray, " text"] | None = None,
) -> CarriedDetector:
    """Compare the scores of a detector's own model with those of another one.

    Args:
        detector: Its name.
        scores: Of its own model and of the other; NaN for a text that could not be scored.
        verdicts: Of the two models; with labels True where a text is flagged.
        labels: 0 or 1, whether a text is positive.

    Example:
        >>> scores = np.array([[0.9, 0.2, np.nan], [0.8, 0.6, 0.1]])
        >>> carried = compare_scores("mine", scores, scores > 0.5)
        >>> carried.texts, carried.undetermined, carried.same_verdict
        (2, 1, 0.5)
        >>> round(carried.mean_change, 3)
        0.25
    """
    from scipy.stats import spearmanr
    from sklearn.metrics import roc_auc_score

    both = np.isfinite(scores).all(axis=0)
    undetermined = int((~both).sum())
    if not both.any():
        return CarriedDetector(detector, undetermined=undetermined, reason="scores no text")
    first, second = scores[:, both]
    decided = verdicts[:, both]
    varied = len(np.unique(first)) > 1 and len(np.unique(second)) > 1
    record: dict[str, Any] = {  # Any: fields of the record
        "texts": int(both.sum()),
        "undetermined": undetermined,
        "same_verdict": float((decided[0] == decided[1]).mean()),
        "mean_change": float(np.abs(second - first).mean()),
        "rank_correlation": float(spearmanr(first, second).statistic) if varied else None,
    }
    truth = None if labels is None else labels[both]
    if truth is not None and len(np.unique(truth)) == 2:
        gain = auc_gain_interval(truth, first, second)
        record |= {
            "auc": tuple(float(roc_auc_score(truth, values)) for values in (first, second)),
            "auc_intervals": tuple(auc_interval(truth, values) for values in (first, second)),
            "loss_interval": None if gain is None else (-gain[1], -gain[0]),
            "false_positives": tuple(float(flagged[truth == 0].mean()) for flagged in decided),
        }
    return CarriedDetector(detector, **record)
