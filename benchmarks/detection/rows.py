"""The rows a task is fitted on and measured on: numbers of rows, no texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from detection.data import EvaluationData, letters_and_digits


@dataclass(frozen=True, eq=False)
class Rows:
    """Labeled rows of one or more sets.

    Attributes:
        sets: Name of the set of each row.
        index: Its number in that set.
        labels: 0, 1, or -1 for unknown; (row,) or (row, label).
        names: Names of the labels where each row has several.
    """

    sets: np.ndarray
    index: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.index)

    def take(self, chosen: np.ndarray) -> "Rows":
        """Some of the rows, by number or by a boolean mask."""
        return Rows(self.sets[chosen], self.index[chosen], self.labels[chosen], self.names)

    def labeled(self) -> "Rows":
        """The rows with at least one known label."""
        return self.take(np.any(self.labels.reshape(len(self), -1) >= 0, axis=1))

    def of_class(self, label: int) -> "Rows":
        """The rows with this label."""
        return self.take(self.labels == label)

    def relabeled(self, label: int) -> "Rows":
        """The same rows, all with one label."""
        return Rows(self.sets, self.index, np.full(len(self), label))

    def by_set(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each set's name and the positions of its rows among these."""
        for name in sorted(set(self.sets.tolist())):
            yield name, np.flatnonzero(self.sets == name)

    def texts(self, data: EvaluationData) -> list[str]:
        """The texts of the rows; a missing text is empty."""
        return [data.sets[name].texts[row] or "" for name, row in zip(self.sets, self.index, strict=True)]


@dataclass(frozen=True, eq=False)
class Test:
    """Rows to measure on; ``pairs`` numbers the pair of each row where texts come in pairs."""

    name: str
    rows: Rows
    pairs: np.ndarray | None = None

    __test__ = False  # pytest takes classes of this name for tests


@dataclass(frozen=True)
class Task:
    """One training set, the tests, and what is compared on them.

    Attributes:
        train_name: What the table calls the training rows.
        train: The training rows; those whose text is in a test are dropped before fitting.
        tests: The test rows.
        contenders: Names of what is fitted or scored.
        each_label: Each label gets a row of the table besides their mean.
        limit: The test on whose clean rows the limit of the column ``flagged`` is chosen.
        note: For the table.
    """

    train_name: str
    train: Rows
    tests: tuple[Test, ...]
    contenders: tuple[str, ...]
    each_label: bool = False
    limit: str | None = None
    note: str = ""


def rows_of(name: str, index: np.ndarray, labels: np.ndarray, names: tuple[str, ...] = ()) -> Rows:
    """Rows of one set."""
    return Rows(np.full(len(index), name, dtype=object), np.asarray(index), np.asarray(labels), names)


def concatenated(parts: Sequence[Rows]) -> Rows:
    """Rows one after the other; all must have the same label names."""
    arrays = (np.concatenate([getattr(p, field) for p in parts]) for field in ("sets", "index", "labels"))
    return Rows(*arrays, parts[0].names)


def split_groups(
    groups: Sequence[object], strata: Sequence[object], share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows at random; groups stay whole and each stratum keeps about the share.

    scikit-learn has no split that is both stratified and grouped at a given share.

    Args:
        groups: Rows of an equal group, such as a pair or a document, stay on one side.
        strata: Stratum of each row; a group belongs to that of its first row.
        share: Share of the first part.
        seed: Of the random generator.

    Returns:
        Row numbers of both parts, ascending.

    Example:
        >>> first, second = split_groups(["a", "a", "b", "b"], [0, 0, 0, 0], 0.5, 0)
        >>> len(first), len(second)
        (2, 2)
    """
    members: dict[object, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    by_stratum: dict[object, list[list[int]]] = {}
    for rows in members.values():
        by_stratum.setdefault(strata[rows[0]], []).append(rows)
    rng, first = np.random.default_rng(seed), np.zeros(len(groups), dtype=bool)
    for stratum in sorted(by_stratum, key=str):
        candidates = by_stratum[stratum]
        target, taken = share * sum(map(len, candidates)), 0
        for position in rng.permutation(len(candidates)):
            if taken + len(candidates[position]) / 2 <= target:
                first[candidates[position]] = True
                taken += len(candidates[position])
    return np.flatnonzero(first), np.flatnonzero(~first)


def sampled(rows: Rows, limit: int | None, seed: int) -> Rows:
    """At most so many rows, sampled at random; None keeps all."""
    if limit is None or len(rows) <= limit:
        return rows
    return rows.take(np.sort(np.random.default_rng(seed).permutation(len(rows))[:limit]))


def without_test_texts(task: Task, data: EvaluationData) -> tuple[Rows, int]:
    """The training rows whose letters and digits are those of no test row, and how many were dropped."""
    tested = {letters_and_digits(text) for test in task.tests for text in test.rows.texts(data)}
    keep = np.array([letters_and_digits(text) not in tested for text in task.train.texts(data)], dtype=bool)
    return task.train.take(keep), int((~keep).sum())
