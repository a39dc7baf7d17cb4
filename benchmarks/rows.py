"""The training rows of shipped detectors, read from the evaluation data.

No row that fits a detector shares its letters and digits with a test row of ``jigsaw-test-binary-12k``, and
each text is there once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from detection.data import TYPES, EvaluationData, letters_and_digits


@dataclass(frozen=True, eq=False)
class Part:
    """Training rows of one set.

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


def toxic_parts(data: EvaluationData, names: Sequence[str] = ("jig", "clean", "raw")) -> list[Part]:
    """Jigsaw comments, toxic or not: those of the balanced set judge, the others only help to fit."""
    taken = keys(data, "jig", of_split(data, "jig", "test"))
    parts = []
    for name in names:
        index = of_split(data, name, "train")
        marks = data.sets[name].columns.get("in_test12k")
        if marks is not None:
            index = index[np.array(marks)[index] == "0"]
        index = fresh(data, name, index, taken)
        parts.append(Part(name, index, positive(data, name)[index, None], judges=name == "jig"))
    return parts


def type_parts(data: EvaluationData) -> list[Part]:
    """Jigsaw comments with six labels, cleaned ones."""
    taken = keys(data, "clean", of_split(data, "clean", "test")) | keys(
        data, "jig", of_split(data, "jig", "test")
    )
    columns = data.sets["clean"].columns
    labels = np.array([[value == "1" for value in columns[name]] for name in TYPES]).T.astype(int)
    index = fresh(data, "clean", of_split(data, "clean", "train"), taken)
    return [Part("clean", index, labels[index])]


def domain_parts(data: EvaluationData) -> list[Part]:
    """Seven of ten documents of each domain, as the benchmark draws them."""
    from detection.plan import Plan

    first, _, _ = Plan(data, 30, lambda rows: np.zeros(len(rows))).domains()
    return [Part("domains", first.index, first.labels)]


def of_split(data: EvaluationData, name: str, split: str) -> np.ndarray:
    """Numbers of the rows of one split of a set."""
    return np.flatnonzero(np.array(data.sets[name].columns["split"]) == split)


def positive(data: EvaluationData, name: str) -> np.ndarray:
    """1 for each row of the positive class of a set, else 0."""
    return np.array(data.sets[name].columns["positive"], dtype=int)


def keys(data: EvaluationData, name: str, index: np.ndarray) -> set[str]:
    """Letters and digits of rows."""
    return {letters_and_digits(data.sets[name].texts[row]) for row in index}


def fresh(data: EvaluationData, name: str, index: np.ndarray, taken: set[str]) -> np.ndarray:
    """Rows whose letters and digits were not seen yet; they are taken from then on."""
    kept = []
    for row in index:
        key = letters_and_digits(data.sets[name].texts[row])
        if key and key not in taken:
            taken.add(key)
            kept.append(row)
    return np.array(kept)
