"""Which of the served detectors measures what the wire formats ask for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from splinelens.detect import UNDETERMINED
from splinelens.detect.artifact import Artifact
from splinelens.report.scores import TextScore

TOXIC = "toxic"
"""The first binary detector measures it, whatever its label is called; without one the label ``toxic``."""


@dataclass(frozen=True)
class Measure:
    """A label of a detector.

    Attributes:
        detector: Its name.
        label: The label.
    """

    detector: str
    label: str

    def score(self, records: Mapping[str, TextScore]) -> float:
        """The calibrated probability of the label, of a text that has a verdict."""
        record = records[self.detector]
        score = record.score if record.scores is None else record.scores[self.label]
        assert score is not None  # else the verdict is undetermined
        return score

    def fired(self, records: Mapping[str, TextScore]) -> bool:
        """Whether the score reaches the label's threshold."""
        record = records[self.detector]
        return record.verdict == self.label if record.labels is None else self.label in record.labels


def find_measures(artifacts: Mapping[str, Artifact]) -> dict[str, Measure]:
    """What is measured, by name of the label, in the words of the shipped detector ``types``."""
    measures: dict[str, Measure] = {}
    for name, artifact in artifacts.items():
        if artifact.task == "labels":
            for label in artifact.labels:
                measures.setdefault(label, Measure(name, label))
    binary = [name for name, artifact in artifacts.items() if artifact.task == "binary"]
    if binary:
        measures[TOXIC] = Measure(binary[0], artifacts[binary[0]].labels[0])
    return measures


def undetermined(records: Mapping[str, TextScore], measures: Iterable[Measure]) -> str | None:
    """Why a detector of these measures has no verdict on a text, or None if all have one."""
    for detector in {measure.detector: None for measure in measures}:
        if records[detector].verdict == UNDETERMINED:
            return records[detector].reason or "has no verdict"
    return None
