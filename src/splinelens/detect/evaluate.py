"""How well scores separate labels, with intervals, and what length alone would have done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from splinelens.detect.ranked import ROWS_FOR_INTERVAL, Bounds, Counts, Ranked, middle
from splinelens.detect.thresholds import share_interval
from splinelens.errors import BadLabels

RATES = (0.01, 0.05)
"""False-positive rates at which recall is told."""


@dataclass(frozen=True)
class Evaluation:
    """Numbers of one detector on one set of labelled texts.

    Attributes:
        n: Rows that were scored.
        positives: Positive rows among them.
        undetermined: Rows that could not be scored; they are in no other number.
        auc: Area under the ROC curve.
        auc_interval: 95 % bootstrap interval of it; None with fewer than 50 scored rows, as all of those.
        recall_at_fpr: Recall at 1 % and 5 % false positives, keys ``0.01`` and ``0.05``; the threshold
            is chosen on these rows.
        recall_intervals: 95 % bootstrap intervals of those, the threshold chosen anew on each resample.
        brier: Mean squared difference of score and label.
        brier_interval: 95 % bootstrap interval of it.
        calibration_error: Expected calibration error over 15 bins of about equal count; rows of
            equal score share a bin.
        calibration_interval: 95 % bootstrap interval of it. Chance adds to a calibration error, and twice
            to that of resamples, so their mean is moved to the number itself.
        length_auc: AUC of the number of tokens alone, in the direction that is better on these rows,
            so at least 0.5: what a detector that cannot read would reach.
        length_auc_interval: 95 % bootstrap interval of that, in the same direction; may be None.
        at_threshold: For each stored threshold the ``score``, and measured on these rows
            ``false_positive_rate`` and ``recall``, each with its 95 % interval (Clopper-Pearson) below
            ``false_positive_interval`` and ``recall_interval``.
    """

    n: int
    positives: int
    undetermined: int
    auc: float
    auc_interval: Bounds | None
    recall_at_fpr: dict[str, float]
    recall_intervals: dict[str, Bounds | None]
    brier: float
    brier_interval: Bounds | None
    calibration_error: float
    calibration_interval: Bounds | None
    length_auc: float
    length_auc_interval: Bounds | None
    at_threshold: dict[str, dict[str, Any]]  # Any: a number, or the two of an interval

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As plain JSON values; an interval is a list."""
        return {key: _listed(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Evaluations:
    """Numbers of a detector of several labels on one set of labelled texts.

    Attributes:
        n: Rows that were scored.
        undetermined: Rows that could not be scored; they are in no other number.
        labels: The numbers of each label against all others; None for a label that all scored rows
            have or none has.
        mean_auc: Mean of the AUCs of the labels that were measured.
        mean_auc_interval: 95 % bootstrap interval of it; None with fewer than 50 scored rows.
        accuracy: Of classes, share of rows whose own class has the highest score; else None.
        accuracy_interval: 95 % interval of it (Clopper-Pearson).
        macro_f1: Of classes, mean F1 over the classes that occur among rows or verdicts; else None.
        macro_f1_interval: 95 % bootstrap interval of it; None with fewer than 50 scored rows.
        confusion: Of classes, ``confusion[own][verdict]`` counts rows, in the order of ``labels``; else
            None.
    """

    n: int
    undetermined: int
    labels: dict[str, Evaluation | None]
    mean_auc: float
    mean_auc_interval: Bounds | None = None
    accuracy: float | None = None
    accuracy_interval: Bounds | None = None
    macro_f1: float | None = None
    macro_f1_interval: Bounds | None = None
    confusion: tuple[tuple[int, ...], ...] | None = None

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As plain JSON values; of labels without the numbers of classes."""
        own = {name: found and found.to_dict() for name, found in self.labels.items()}
        names = ["n", "undetermined", "mean_auc", "mean_auc_interval"]
        if self.confusion is not None:
            names += ["accuracy", "accuracy_interval", "macro_f1", "macro_f1_interval", "confusion"]
        return {**{name: _listed(getattr(self, name)) for name in names}, "labels": own}


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
    ranked, recall = Ranked.of(y, s), {f"{rate:g}": partial(Counts.recall_at, rate=rate) for rate in RATES}
    numbers: dict[str, Callable[[Counts], float]] = {
        "auc": Counts.auc,
        "brier": Counts.brier,
        "calibration": Counts.calibration_error,
        **recall,
    }
    own = {name: number(ranked.counts()) for name, number in numbers.items()}
    bounds = ranked.intervals(numbers, resamples, seed, inflated=("calibration",))
    return Evaluation(
        n=len(y),
        positives=int(y.sum()),
        undetermined=int((~scored).sum()),
        auc=own["auc"],
        auc_interval=bounds["auc"],
        recall_at_fpr={rate: own[rate] for rate in recall},
        recall_intervals={rate: bounds[rate] for rate in recall},
        brier=own["brier"],
        brier_interval=bounds["brier"],
        calibration_error=own["calibration"],
        calibration_interval=bounds["calibration"],
        length_auc=auc(y, by_length),
        length_auc_interval=auc_interval(y, by_length, resamples, seed),
        at_threshold={name: _at(score, s[y == 0], s[y == 1]) for name, score in (thresholds or {}).items()},
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
    drawn: list[np.ndarray] = []
    y, s, enough = labels[scored], scores[scored], scored.sum() >= ROWS_FOR_INTERVAL and resamples
    for place, name in enumerate(names):
        column = np.where(scored, scores[:, place], np.nan)
        if len(np.unique(y[:, place])) < 2:
            own[name] = None
            continue
        limits = (thresholds or {}).get(name)
        own[name] = evaluate(
            labels[:, place], column, lengths, thresholds=limits, resamples=resamples, seed=seed
        )
        drawn += [resampled_auc(y[:, place], s[:, place], resamples, seed)] if enough else []
    measured = [found.auc for found in own.values() if found]
    if not measured:
        raise BadLabels(
            f"of the labels {', '.join(names)} each is the same in all {len(y)} scored rows; "
            "give rows with and without a label"
        )
    return Evaluations(
        len(y),
        int((~scored).sum()),
        own,
        float(np.mean(measured)),
        middle(np.mean(drawn, axis=0)) if drawn else None,
        **(_of_classes(y, s, resamples if enough else 0, seed) if classes else {}),
    )


def _of_classes(
    labels: np.ndarray, scores: np.ndarray, resamples: int, seed: int
) -> dict[str, Any]:  # Any: accuracy, macro F1 with their intervals, and how often each is taken for each
    own, verdict, classes = labels.argmax(axis=1), scores.argmax(axis=1), labels.shape[1]
    codes, n, rng = own * classes + verdict, len(own), np.random.default_rng(seed)

    def confusion(codes: np.ndarray) -> np.ndarray:
        return np.bincount(codes, minlength=classes**2).reshape(classes, classes)

    def macro_f1(counts: np.ndarray) -> float:
        either = counts.sum(axis=0) + counts.sum(axis=1)
        return float((2 * np.diag(counts)[either > 0] / either[either > 0]).mean())

    counts = confusion(codes)
    drawn = [macro_f1(confusion(codes[rng.integers(0, n, n)])) for _ in range(resamples)]
    right = int(np.trace(counts))
    return {
        "accuracy": right / n,
        "accuracy_interval": share_interval(right, n),
        "macro_f1": macro_f1(counts),
        "macro_f1_interval": middle(np.array(drawn)) if drawn else None,
        "confusion": tuple(tuple(row) for row in counts.tolist()),
    }


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
    return Ranked.of(labels, scores).counts().auc()


def recall_at(labels: np.ndarray, scores: np.ndarray, rate: float) -> float:
    """Recall at a false-positive rate, the threshold chosen on the same rows.

    Args:
        labels: 0 or 1, both there.
        scores: Higher leans to 1.
        rate: In (0, 1); at most this share of the negative rows fires.

    Returns:
        Share of the positive rows above the lowest such threshold.

    Example:
        >>> recall_at(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]), 0.5)
        1.0
    """
    return Ranked.of(labels, scores).counts().recall_at(rate)


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
    return Ranked.of(labels, scores).intervals({"auc": Counts.auc}, resamples, seed)["auc"]


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
    return np.array([counts.auc() for counts in Ranked.of(labels, scores).draws(resamples, seed)])


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
    return Ranked.of(labels, scores).counts().calibration_error(bins)


def _at(score: float, clean: np.ndarray, toxic: np.ndarray) -> dict[str, Any]:  # Any: as in Evaluation
    """What a threshold does to rows of each class."""
    alarms, hits = int((clean >= score).sum()), int((toxic >= score).sum())
    return {
        "score": float(score),
        "false_positive_rate": alarms / len(clean),
        "false_positive_interval": share_interval(alarms, len(clean)),
        "recall": hits / len(toxic),
        "recall_interval": share_interval(hits, len(toxic)),
    }


def _listed(value: Any) -> Any:  # Any: values of a record in, plain JSON values out
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, tuple) else value
