"""From the scores of a text to the labels that fire: at their thresholds, or the highest of the classes."""

from collections.abc import Sequence

import numpy as np

from splinelens.detect.artifact import Artifact
from splinelens.errors import BadDetector


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
