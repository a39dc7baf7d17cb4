"""The rows of ``domain`` and of the tries in search.py, and those that each shipped detector is measured on.

No row of a try shares its letters and digits with a test row of ``jigsaw-test-binary-12k``, and each text occurs
once. The rows of the detectors with learned directions are those of ``sources.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detection.data import TYPES, EvaluationData, letters_and_digits
from detection.protocols import Plan


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of one set.

    Attributes:
        name: The set.
        index: Its rows.
        labels: (row, label) of 0 and 1.
        judges: Whether calibration and thresholds are computed on them.
    """

    name: str
    index: np.ndarray
    labels: np.ndarray
    judges: bool = True

    def texts(self, data: EvaluationData) -> list[str | None]:
        """The texts of the rows."""
        return [data.sets[self.name].texts[row] for row in self.index]


def toxic_parts(data: EvaluationData, names: Sequence[str] = ("jig", "clean", "raw")) -> list[Part]:
    """Jigsaw comments, toxic or not; only those of the balanced set decide thresholds."""
    seen = _keys(data, "jig", _of_split(data, "jig", "test"))
    parts = []
    for name in names:
        index = _of_split(data, name, "train")
        marks = data.sets[name].columns.get("in_test12k")
        if marks is not None:
            index = index[np.array(marks)[index] == "0"]
        index = _unseen(data, name, index, seen)
        parts.append(Part(name, index, _positive(data, name)[index], judges=name == "jig"))
    return parts


def domain_parts(data: EvaluationData) -> list[Part]:
    """Seven of ten documents of each domain, those of the benchmark's training rows."""
    train, _, _ = _plan(data).domains()
    return [Part("domains", train.index, train.labels)]


def measured_part(task: str, data: EvaluationData) -> tuple[str, Part]:
    """The test rows of the shipped detector of a task, with their title in its card."""
    if task == "classes":
        _, test, _ = _plan(data).domains()
        return "the test documents of nine domains, 64 tokens", Part("domains", test.index, test.labels)
    if task == "binary":
        index = _of_split(data, "jig", "test")
        title = "the test rows of jigsaw-test-binary-12k, 256 tokens, cut"
        return title, Part("jig", index, _positive(data, "jig")[index])
    index = _of_split(data, "raw", "test")
    return "the test rows of jigsaw6-raw, 256 tokens, cut", Part("raw", index, _types(data, "raw")[index])


def _plan(data: EvaluationData) -> Plan:
    return Plan(data, 30, lambda rows: np.zeros(len(rows)))


def _of_split(data: EvaluationData, name: str, split: str) -> np.ndarray:
    return np.flatnonzero(np.array(data.sets[name].columns["split"]) == split)


def _positive(data: EvaluationData, name: str) -> np.ndarray:
    return np.array(data.sets[name].columns["positive"], dtype=int)[:, None]


def _types(data: EvaluationData, name: str) -> np.ndarray:
    columns = data.sets[name].columns
    return np.array([[value == "1" for value in columns[name]] for name in TYPES]).T.astype(int)


def _keys(data: EvaluationData, name: str, index: np.ndarray) -> set[str]:
    return {letters_and_digits(data.sets[name].texts[row]) for row in index}


def _unseen(data: EvaluationData, name: str, index: np.ndarray, seen: set[str]) -> np.ndarray:
    """Rows whose letters and digits are not in ``seen``, which grows by theirs."""
    kept = []
    for row in index:
        key = letters_and_digits(data.sets[name].texts[row])
        if key and key not in seen:
            seen.add(key)
            kept.append(row)
    return np.array(kept, dtype=int)
