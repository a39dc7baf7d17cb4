"""Which detector and label measure a category or an attribute of another API."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from splinelens.detect import UNDETERMINED
from splinelens.detect.artifact import Artifact
from splinelens.report.scores import TextScore

TOXIC = "toxic"
"""The first binary detector measures it, whatever its label is called; without one the label ``toxic``."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Measure:
    """A label of a detector.

    Attributes:
        detector: Its name.
        label: The label.
    """

    detector: str
    label: str

    def score(self, records: Mapping[str, TextScore]) -> float | None:
        """The calibrated probability of the label, if the text has one."""
        record = records[self.detector]
        return record.score if record.scores is None else record.scores.get(self.label)

    def threshold(self, artifacts: Mapping[str, Artifact], fpr: float) -> float:
        """The stored threshold of the label.

        Raises:
            BadDetector: No threshold was stored for ``fpr``.
        """
        artifact = artifacts[self.detector]
        return artifact.limits(fpr)[artifact.label_index(self.label)]

    def fired(self, records: Mapping[str, TextScore]) -> bool:
        """Whether the score reaches the threshold of the label."""
        record = records[self.detector]
        return record.verdict == self.label if record.labels is None else self.label in record.labels


def find_measures(artifacts: Mapping[str, Artifact]) -> dict[str, Measure]:
    """What is measured, by name of the label, in the words of the shipped detector ``types``.

    Args:
        artifacts: Detectors by name; of two with one label the first measures it.
    """
    measures: dict[str, Measure] = {}
    for name, artifact in artifacts.items():
        if artifact.task == "labels":
            for label in artifact.labels:
                measures.setdefault(label, Measure(name, label))
    binary = [name for name, artifact in artifacts.items() if artifact.task == "binary"]
    if binary:
        measures[TOXIC] = Measure(binary[0], artifacts[binary[0]].labels[0])
    return measures


def scores_or_reason(
    records: Mapping[str, TextScore], measures: Mapping[Key, Measure]
) -> dict[Key, float] | str:
    """The score of each measure, or why a detector has no verdict on the text."""
    scores: dict[Key, float] = {}
    for key, measure in measures.items():
        record, score = records[measure.detector], measure.score(records)
        if record.verdict == UNDETERMINED or score is None:
            return record.reason or "has no verdict"
        scores[key] = score
    return scores
