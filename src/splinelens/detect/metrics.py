"""How well scores separate labels, with intervals, and what text length alone would reach.

Metrics that scikit-learn has are scikit-learn's; intervals come from ``bootstrap``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from pydantic_core import to_jsonable_python

from splinelens.detect.bootstrap import (
    ScoreHistogram,
    auc_interval,
    bootstrap,
    can_resample,
    percentile_interval,
    row_samples,
)
from splinelens.detect.thresholds import Interval, share_interval, threshold_rates
from splinelens.detect.within_group_auc import WithinGroupAuc, within_group_auc
from splinelens.errors import BadLabels

RATES = (0.01, 0.05)
"""False-positive rates at which recall is reported."""

_METRICS: dict[str, Callable[[ScoreHistogram], np.ndarray]] = {
    "auc": ScoreHistogram.roc_auc,
    "average_precision": ScoreHistogram.average_precision,
    "brier": ScoreHistogram.brier,
    "calibration_error": ScoreHistogram.calibration_error,
    **{f"{fpr:g}": partial(ScoreHistogram.recall_at_fpr, fpr=fpr) for fpr in RATES},
}


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one label on one set of labeled texts.

    Intervals are 95 % bootstrap intervals, over rows or, if these have groups, over whole groups; None with
    fewer than 50 scored rows or 10 groups.

    Attributes:
        n: Rows that were scored.
        positives: Positive rows among them.
        undetermined: Rows that could not be scored; they are in no other number.
        auc: Area under the ROC curve.
        auc_interval: Its interval, as of each number below.
        average_precision: Area under the precision-recall curve as a sum of steps; the share of positive
            rows is what chance gives.
        recall_at_fpr: Recall at 1 % and 5 % false positives, keys ``0.01`` and ``0.05``; the threshold is
            chosen on these rows, and for the interval on each resample.
        brier: Mean squared difference of score and label.
        calibration_error: ``ScoreHistogram.calibration_error`` over 15 bins.
        calibration_interval: Chance adds to a calibration error, and twice to that of a resample, so the
            resamples are shifted to have the mean of the rows themselves.
        length_auc: AUC of the number of tokens, in the direction that is better on these rows, so at
            least 0.5: what a detector that cannot read would reach.
        at_threshold: For each stored threshold the ``score``, and its ``threshold_rates`` on these rows.
        cut: Scored rows of which only the beginning was read.
        within_groups: AUC within groups; None without groups.
    """

    n: int
    positives: int
    undetermined: int
    auc: float
    auc_interval: Interval | None
    average_precision: float
    average_precision_interval: Interval | None
    recall_at_fpr: dict[str, float]
    recall_intervals: dict[str, Interval | None]
    brier: float
    brier_interval: Interval | None
    calibration_error: float
    calibration_interval: Interval | None
    length_auc: float
    length_auc_interval: Interval | None
    at_threshold: dict[str, dict[str, Any]]  # Any: a number, or the two of an interval
    cut: int = 0
    within_groups: WithinGroupAuc | None = None

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As plain JSON values; an interval is a list."""
        return to_jsonable_python(self)


@dataclass(frozen=True, kw_only=True)
class Evaluations:
    """Metrics of several labels on one set of labeled texts; accuracy to confusion of classes only.

    Attributes:
        n: Rows that were scored.
        undetermined: Rows that could not be scored; they are in no other number.
        cut: Scored rows of which only the beginning was read.
        mean_auc: Mean of the AUCs of the measured labels.
        accuracy: Share of rows whose class has the highest score, with its ``share_interval``.
        macro_f1: Mean F1 over the classes that occur among labels or predictions.
        confusion: ``confusion[label][prediction]`` counts rows, in the order of ``labels``.
        labels: Each label against all others; None for a label that all scored rows have or none has.
    """

    n: int
    undetermined: int
    cut: int = 0
    mean_auc: float
    mean_auc_interval: Interval | None = None
    accuracy: float | None = None
    accuracy_interval: Interval | None = None
    macro_f1: float | None = None
    macro_f1_interval: Interval | None = None
    confusion: tuple[tuple[int, ...], ...] | None = None
    labels: dict[str, Evaluation | None]

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As plain JSON values; the metrics of classes only if the labels are classes."""
        of_classes = {"accuracy", "accuracy_interval", "macro_f1", "macro_f1_interval", "confusion"}
        return to_jsonable_python(self, exclude=of_classes if self.confusion is None else None)


def evaluate(
    labels: np.ndarray,
    scores: np.ndarray,
    lengths: np.ndarray,
    *,
    thresholds: Mapping[str, float] | None = None,
    cut: np.ndarray | None = None,
    prevalence: float | None = None,
    groups: np.ndarray | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Evaluation:
    """Evaluate the calibrated scores of one label, 0 or 1; NaN marks rows that could not be scored.

    ``lengths`` are the tokens of each text, for the AUC of length alone; ``thresholds`` are scores to
    measure verdicts at, by name; ``cut`` marks texts of which only the beginning was read. With a
    ``prevalence`` Brier score and calibration error count the rows as if that share of them were positive, as
    suits scores for that share. ``groups`` has a number per row, equal within a group. Without resamples
    there are no bootstrap intervals.

    Raises:
        BadLabels: The scored rows hold one class only, or other labels than 0 and 1.

    Example:
        >>> labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
        >>> evaluate(labels, scores, np.array([3, 4, 5, 6]), resamples=10).auc
        0.75
    """
    return _evaluate(labels, scores, lengths, thresholds or {}, cut, groups, resamples, seed, prevalence)[0]


def evaluate_labels(
    labels: np.ndarray,
    scores: np.ndarray,
    lengths: np.ndarray,
    names: Sequence[str],
    *,
    classes: bool = False,
    thresholds: Mapping[str, Mapping[str, float]] | None = None,
    cut: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Evaluations:
    """Evaluate the scores of several labels, (text, label); the other arguments are those of ``evaluate``.

    ``thresholds`` are scores by name for each of the label's ``names``. With ``classes`` each text has one
    label, and there are also accuracy, macro F1 and the confusion matrix.

    Raises:
        BadLabels: No label divides the scored rows, or labels other than 0 and 1.
    """
    scored = np.isfinite(scores).all(axis=1)
    evaluations: dict[str, Evaluation | None] = dict.fromkeys(names)
    resampled_aucs = []
    for index, name in enumerate(names):
        if len(np.unique(labels[scored, index])) < 2:
            continue
        column, limits = np.where(scored, scores[:, index], np.nan), (thresholds or {}).get(name, {})
        evaluations[name], aucs = _evaluate(
            labels[:, index], column, lengths, limits, cut, groups, resamples, seed
        )
        resampled_aucs.append(aucs)  # all labels share the rows of a resample
    measured = [evaluation.auc for evaluation in evaluations.values() if evaluation]
    if not measured:
        raise BadLabels(
            f"of the labels {', '.join(names)} each is the same in all {scored.sum()} scored rows; "
            "give rows with and without a label"
        )
    return Evaluations(
        n=int(scored.sum()),
        undetermined=int((~scored).sum()),
        cut=0 if cut is None else int(cut[scored].sum()),
        mean_auc=float(np.mean(measured)),
        mean_auc_interval=percentile_interval(np.mean(resampled_aucs, axis=0)),
        labels=evaluations,
        **(
            _class_metrics(
                labels[scored], scores[scored], None if groups is None else groups[scored], resamples, seed
            )
            if classes
            else {}
        ),
    )


def _evaluate(
    labels: np.ndarray,
    scores: np.ndarray,
    lengths: np.ndarray,
    thresholds: Mapping[str, float],
    cut: np.ndarray | None,
    groups: np.ndarray | None,
    resamples: int,
    seed: int,
    prevalence: float | None = None,
) -> tuple[Evaluation, np.ndarray]:
    """The metrics of one label, and its AUC on each resample."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    scored = np.isfinite(scores)
    y, s, tokens = labels[scored].astype(int), scores[scored], lengths[scored].astype(float)
    if np.unique(y).tolist() != [0, 1]:
        raise BadLabels(
            f"the {len(y)} scored rows of {len(scores)} hold labels {np.unique(y).tolist()[:5]}; "
            "0 and 1 are both needed to evaluate"
        )
    by_length = -tokens if roc_auc_score(y, tokens) < 0.5 else tokens
    metrics = _METRICS | {
        name: partial(_at_prevalence, metric=_METRICS[name], prevalence=prevalence)
        for name in ("brier", "calibration_error")
    }
    members = None if groups is None else groups[scored]
    histogram, values = ScoreHistogram.of(y, s), bootstrap(y, s, metrics, resamples, seed, members)
    calibration_error = float(metrics["calibration_error"](histogram))
    if len(values["calibration_error"]):
        shift = calibration_error - np.nanmean(values["calibration_error"])
        values["calibration_error"] = (values["calibration_error"] + shift).clip(min=0)
    intervals = {name: percentile_interval(resampled) for name, resampled in values.items()}
    evaluation = Evaluation(
        n=len(y),
        positives=int(y.sum()),
        undetermined=int((~scored).sum()),
        auc=float(roc_auc_score(y, s)),
        auc_interval=intervals["auc"],
        average_precision=float(average_precision_score(y, s)),
        average_precision_interval=intervals["average_precision"],
        recall_at_fpr={f"{fpr:g}": float(histogram.recall_at_fpr(fpr)) for fpr in RATES},
        recall_intervals={f"{fpr:g}": intervals[f"{fpr:g}"] for fpr in RATES},
        brier=float(metrics["brier"](histogram)),
        brier_interval=intervals["brier"],
        calibration_error=calibration_error,
        calibration_interval=intervals["calibration_error"],
        length_auc=float(roc_auc_score(y, by_length)),
        length_auc_interval=auc_interval(y, by_length, resamples, seed, members),
        at_threshold={
            name: {"score": float(score), **threshold_rates(y, s, score, members)}
            for name, score in thresholds.items()
        },
        cut=0 if cut is None else int(cut[scored].sum()),
        within_groups=None
        if members is None
        else within_group_auc(y, s, members, resamples=resamples, seed=seed),
    )
    return evaluation, values["auc"]


def _at_prevalence(
    histogram: ScoreHistogram, metric: Callable[[ScoreHistogram], np.ndarray], prevalence: float | None
) -> np.ndarray:
    """A metric as if a share of the rows were positive, None for theirs; NaN without a class."""
    if prevalence is None:
        return metric(histogram)
    return np.where(histogram.has_both(), metric(histogram.reweighted(prevalence)), np.nan)


def _class_metrics(
    labels: np.ndarray, scores: np.ndarray, groups: np.ndarray | None, resamples: int, seed: int
) -> dict[str, Any]:  # Any: accuracy and macro F1 with their intervals, and the confusion matrix
    from sklearn.metrics import confusion_matrix

    label, prediction, classes = labels.argmax(axis=1), scores.argmax(axis=1), labels.shape[1]
    confusion = confusion_matrix(label, prediction, labels=range(classes))
    codes, n, resampled = label * classes + prediction, len(label), []
    cells = (codes[:, None] == np.arange(classes**2)).astype(int)
    for times in row_samples(n, groups, resamples if can_resample(n, groups) else 0, seed):
        resampled.append(_macro_f1((times @ cells).reshape(-1, classes, classes)))
    correct = label == prediction
    return {
        "accuracy": float(correct.mean()),
        "accuracy_interval": share_interval(correct, groups),
        "macro_f1": float(_macro_f1(confusion)),
        "macro_f1_interval": percentile_interval(np.concatenate([np.zeros(0), *resampled])),
        "confusion": tuple(tuple(row) for row in confusion.tolist()),
    }


def _macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes that occur, from confusion matrices (..., label, prediction)."""
    occurrences = confusion.sum(axis=-2) + confusion.sum(axis=-1)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    total = (2 * hits / np.maximum(occurrences, 1)).sum(axis=-1)
    return np.asarray(total / (occurrences > 0).sum(axis=-1))
