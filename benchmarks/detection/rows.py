"""Which rows of which sets a task fits on and judges with: numbers only, no text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from detection.data import EvaluationData, letters_and_digits


@dataclass(frozen=True, eq=False)
class Rows:
    """Labelled rows of one or more sets.

    Attributes:
        sets: Name of the set of each row.
        index: Its number in that set.
        labels: 0, 1, or -1 for one whose label is not to be known; (row,) or (row, label).
        kinds: Names of the labels where each row has several.
    """

    sets: np.ndarray
    index: np.ndarray
    labels: np.ndarray
    kinds: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.index)

    def take(self, chosen: np.ndarray) -> "Rows":
        """Some of the rows, by number or by a boolean for each."""
        return Rows(self.sets[chosen], self.index[chosen], self.labels[chosen], self.kinds)

    def labelled(self) -> "Rows":
        """The rows of which a label is known."""
        known = np.any(self.labels.reshape(len(self), -1) >= 0, axis=1)
        return self if known.all() else self.take(known)

    def each_set(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each set's name with the places of its rows among these."""
        for name in sorted(set(self.sets.tolist())):
            yield name, np.flatnonzero(self.sets == name)

    def texts(self, data: EvaluationData) -> list[str]:
        """The texts of the rows; a missing one is empty."""
        return [data.sets[name].texts[row] or "" for name, row in zip(self.sets, self.index, strict=True)]


@dataclass(frozen=True, eq=False)
class Test:
    """Rows to judge with.

    Attributes:
        name: What the table calls them.
        rows: The rows.
        pairs: The pair of each row, where texts come in pairs.
        limit: Name of the test of the same task that says above which score a clean row is a false alarm.
    """

    name: str
    rows: Rows
    pairs: np.ndarray | None = None
    limit: str | None = None

    __test__ = False  # pytest takes classes of this name for tests


@dataclass(frozen=True)
class Task:
    """One training set, the sets it is judged on, and what is fitted.

    Attributes:
        train_name: What the table calls the training rows.
        train: The rows.
        tests: Sets of test rows; none of their texts stays in the training rows.
        representations: Names of what is fitted or asked.
        each_label: Each label gets a row of the table besides their mean.
        note: For the table.
    """

    train_name: str
    train: Rows
    tests: tuple[Test, ...]
    representations: tuple[str, ...]
    each_label: bool = False
    note: str = ""


def rows_of(name: str, index: np.ndarray, labels: np.ndarray, kinds: tuple[str, ...] = ()) -> Rows:
    """Rows of one set.

    Args:
        name: The set.
        index: Their numbers.
        labels: Their labels.
        kinds: Names of the labels, where each row has several.

    Returns:
        The rows.

    Example:
        >>> len(rows_of("jig", np.arange(3), np.array([0, 1, 1])))
        3
    """
    return Rows(np.full(len(index), name, dtype=object), np.asarray(index), np.asarray(labels), kinds)


def joined(several: Sequence[Rows]) -> Rows:
    """Rows one after the other; all with the same kinds of labels.

    Example:
        >>> one = rows_of("jig", np.arange(2), np.array([0, 1]))
        >>> joined([one, one]).index.tolist()
        [0, 1, 0, 1]
    """
    return Rows(
        np.concatenate([rows.sets for rows in several]),
        np.concatenate([rows.index for rows in several]),
        np.concatenate([rows.labels for rows in several]),
        several[0].kinds,
    )


def two_parts(
    groups: Sequence[object], strata: Sequence[object], share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """A random draw of rows that keeps groups together.

    Args:
        groups: Rows of an equal group, such as a pair or a document, stay on one side.
        strata: Of each stratum about the same share is drawn; a group lies in one stratum, that of its
            first row.
        share: Of the first part, of rows of each stratum.
        seed: Of the draw.

    Returns:
        Row numbers of both parts, rising.

    Example:
        >>> first, second = two_parts(["a", "a", "b", "b"], [0, 0, 0, 0], 0.5, 0)
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
        several = by_stratum[stratum]
        wanted, taken = share * sum(map(len, several)), 0
        for place in rng.permutation(len(several)):
            if taken + len(several[place]) / 2 <= wanted:
                first[several[place]] = True
                taken += len(several[place])
    return np.flatnonzero(first), np.flatnonzero(~first)


def thinned(rows: Rows, most: int | None, seed: int = 0) -> Rows:
    """At most so many rows, drawn at random; None keeps all.

    Example:
        >>> len(thinned(rows_of("jig", np.arange(9), np.zeros(9)), 4))
        4
    """
    if most is None or len(rows) <= most:
        return rows
    return rows.take(np.sort(np.random.default_rng(seed).permutation(len(rows))[:most]))


def without_tests(task: Task, data: EvaluationData) -> tuple[Rows, int]:
    """The training rows whose letters and digits are no test row's, and how many were dropped.

    Args:
        task: The task.
        data: The texts.

    Returns:
        Training rows and a count.
    """
    judged = {letters_and_digits(text) for test in task.tests for text in test.rows.texts(data)}
    keep = np.array([letters_and_digits(text) not in judged for text in task.train.texts(data)], dtype=bool)
    return task.train.take(keep), int((~keep).sum())
