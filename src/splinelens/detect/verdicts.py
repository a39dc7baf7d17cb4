"""From scores to the labels that fire, at their thresholds or the highest of the classes, and how well."""

from collections.abc import Sequence

import numpy as np

from splinelens.detect.artifact import Artifact
from splinelens.detect.metrics import Evaluation, Evaluations, evaluate, evaluate_labels
from splinelens.errors import BadDetector, BadLabels


def limits(artifact: Artifact, fpr: float) -> tuple[float, ...]:
    """The stored score of each label at and above which it fires.

    Args:
        artifact: The detector.
        fpr: One of the false-positive rates that were stored at training.

    Returns:
        One score a label.

    Raises:
        BadDetector: No thresholds were stored for that rate; the message names those there.
    """
    for place, stored in enumerate(artifact.thresholds[0]):
        if np.isclose(stored.target, fpr):
            return tuple(own[place].score for own in artifact.thresholds)
    there = ", ".join(f"{stored.target:g}" for stored in artifact.thresholds[0])
    raise BadDetector(
        f"detector {artifact.name} has thresholds for false-positive rates {there}, not {fpr:g}"
    )


def fired(artifact: Artifact, scores: np.ndarray, at: Sequence[float]) -> tuple[int, ...]:
    """The labels that fire on one text.

    Args:
        artifact: The detector; of classes the one with the highest score fires, whatever its threshold.
        scores: (label,), finite.
        at: The score of each label at and above which it fires.

    Returns:
        Places of labels, by falling score; of equal scores the first label comes first.
    """
    order = np.argsort(-scores, kind="stable").tolist()
    if artifact.task == "classes":
        return (order[0],)
    return tuple(place for place in order if scores[place] >= at[place])


def label_place(artifact: Artifact, label: str) -> int:
    """The place of a label among those of a detector.

    Args:
        artifact: The detector.
        label: Its name.

    Raises:
        BadDetector: No such label; the message names those there.
    """
    if label not in artifact.labels:
        there = ", ".join(map(repr, artifact.labels))
        raise BadDetector(f"detector {artifact.name} has no label {label!r}; it has {there}")
    return artifact.labels.index(label)


def measured(
    artifact: Artifact,
    labels: np.ndarray,
    scores: np.ndarray,
    lengths: np.ndarray,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Evaluation | Evaluations:
    """How well the scores of a detector separate labels.

    Args:
        artifact: The detector.
        labels: As ``require_known`` gives them.
        scores: (text, label), calibrated; NaN in rows that could not be scored.
        lengths: Tokens of each text.
        resamples: Bootstrap resamples of the intervals.
        seed: Of the bootstrap.

    Returns:
        An ``Evaluation`` of a binary detector, ``Evaluations`` of one of several labels.

    Raises:
        BadLabels: One class only among the rows that were scored.
    """
    at = [{f"{stored.target:g}": stored.score for stored in own} for own in artifact.thresholds]
    if artifact.task == "binary":
        return evaluate(labels[:, 0], scores[:, 0], lengths, thresholds=at[0], resamples=resamples, seed=seed)
    return evaluate_labels(
        labels,
        scores,
        lengths,
        artifact.labels,
        classes=artifact.task == "classes",
        thresholds=dict(zip(artifact.labels, at, strict=True)),
        resamples=resamples,
        seed=seed,
    )


def require_known(artifact: Artifact, labels: np.ndarray, texts: int) -> np.ndarray:
    """Labels as a table with a column for each label of a detector.

    Args:
        artifact: The detector.
        labels: (text,), 0 or 1; of a detector of several labels (text, label).
        texts: How many texts there are.

    Returns:
        (text, label).

    Raises:
        BadLabels: Not one 0 or 1 a text and label.
    """
    names, one = artifact.labels, artifact.task == "binary"
    if labels.shape != ((texts,) if one else (texts, len(names))) or not np.isin(labels, (0, 1)).all():
        each = "" if one else f" for each of {', '.join(names)}"
        raise BadLabels(
            f"{texts} texts need as many labels{each}, each 0 or 1; these have shape {labels.shape}"
        )
    return labels.reshape(texts, -1)
