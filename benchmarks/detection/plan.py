"""What a protocol is, and what it may draw its rows from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from detection.data import EvaluationData
from detection.rows import Rows, Task, Test, joined, rows_of, thinned, two_parts

TRAIN_SHARE = 0.7

SPLINE7 = ("spline7 logistic", "spline7 forest")
COUNTS = ("words", "characters")
HIDDEN = ("hidden mean", "hidden max", "hidden last")
PROMPTED = ("prompted hidden mean", "prompted hidden max", "prompted hidden last")
ENCODED = ("sentence encoder",)
OURS = ("margins", "margins 0-5")
FITTED = ("length", *SPLINE7, *COUNTS, *HIDDEN, *PROMPTED, *ENCODED, *OURS)
"""What is fitted on the rows of a task."""
FEW = ("length", SPLINE7[0], *COUNTS, "prompted hidden mean", *ENCODED, *OURS)
"""What a quick run fits of it: no forest, and one pooling of hidden states, with the prompt."""
READY = ("toxicity", "toxicity-fast", "alt-profanity-check", "hatesonar", "detoxify")
"""What comes fitted and tells toxic from clean; it may have seen other rows than those of the task."""
TYPED, PLACED = ("types",), ("domain",)
"""What comes fitted and tells the six types, and what tells the domains."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What tasks are made of.

    Attributes:
        data: The evaluation data.
        depth: Layers of the model.
        tokens: Tokens of rows, at most 256.
        quick: Fewer draws and representations, and at most ``most`` training rows where a note says so.
        seed: Of every draw.
    """

    data: EvaluationData
    depth: int
    tokens: Callable[[Rows], np.ndarray]
    quick: bool = False
    seed: int = 0

    @property
    def most(self) -> int | None:
        """Most training rows of a task; None is all."""
        return 2000 if self.quick else None

    @property
    def most_judged(self) -> int | None:
        """Most rows of a set that is judged whole elsewhere; None is all."""
        return 4000 if self.quick else None

    @property
    def fitted(self) -> tuple[str, ...]:
        """What is fitted on the rows of a task."""
        return FEW if self.quick else FITTED

    def __contains__(self, name: str) -> bool:
        return name in self.data.sets

    def binary(self, name: str, split: str | None = None) -> Rows:
        """Rows of a set with two classes.

        Args:
            name: The set.
            split: Only rows of this split.

        Returns:
            All of them with their labels.
        """
        columns = self.data.sets[name].columns
        labels = np.array(columns["positive"], dtype=int)
        keep = np.arange(len(labels))
        if split is not None:
            keep = keep[np.array(columns["split"]) == split]
        return rows_of(name, keep, labels[keep])

    def halves(self, name: str) -> tuple[Rows, Rows]:
        """Training and test rows of a set: by its own split, else a stratified draw."""
        texts = self.data.sets[name]
        if "split" in texts.columns:
            return self.binary(name, "train"), self.binary(name, "test")
        rows = self.binary(name)
        groups = texts.columns.get("pair", tuple(range(len(texts))))
        first, second = two_parts(groups, rows.labels.tolist(), TRAIN_SHARE, self.seed)
        return rows.take(first), rows.take(second)

    def domains(self) -> tuple[Rows, Rows, tuple[str, ...]]:
        """Training and test rows of the domains, whole documents on one side; labels are one-hot."""
        texts = self.data.sets["domains"]
        names = np.array(texts.columns["domain"])
        kinds = tuple(sorted(set(names.tolist())))
        labels = (names[:, None] == np.array(kinds)).astype(int)
        groups = list(map(document, names.tolist(), texts.columns["doc_id"]))
        first, second = two_parts(groups, names.tolist(), TRAIN_SHARE, self.seed)
        rows = rows_of("domains", np.arange(len(names)), labels, kinds)
        return rows.take(first), rows.take(second), kinds

    def thin(self, rows: Rows) -> Rows:
        """At most ``most`` rows."""
        return thinned(rows, self.most, self.seed)

    def thin_note(self, rows: Rows) -> str:
        """What the table says of rows that are not used."""
        if self.most is None or len(rows) <= self.most:
            return ""
        return f"{self.most:,} of {len(rows):,} training rows"


@dataclass(frozen=True)
class Protocol:
    """One question of the benchmark.

    Attributes:
        name: As ``--only`` takes it.
        question: What its rows answer.
        needs: Sets without which it cannot be asked.
        tasks: Its tasks. Tasks of equal names are draws of one another: their numbers are averaged.
        trend: Its rows are points of a curve; a quick run gives them fewer resamples.
    """

    name: str
    question: str
    needs: tuple[str, ...]
    tasks: Callable[[Plan], Iterator[Task]]
    trend: bool = False


def relabelled(rows: Rows, label: int) -> Rows:
    """The same rows, all with one label."""
    return Rows(rows.sets, rows.index, np.full(len(rows), label))


def only(rows: Rows, label: int) -> Rows:
    """The rows of one class."""
    return rows.take(rows.labels == label)


def one_test(name: str, *parts: Rows) -> tuple[Test, ...]:
    """A single test of several parts."""
    return (Test(name, joined(parts)),)


def document(domain: str, piece: object) -> str:
    """The document of a row: patents and code come in several pieces, which stay together.

    Args:
        domain: Its domain.
        piece: Its ``doc_id``.

    Returns:
        One name for all pieces of a document.

    Example:
        >>> document("patent", "US1:4")
        'patent/US1'
    """
    name = str(piece)
    return f"{domain}/{name.split(':')[0] if domain in ('patent', 'code_python') else name}"
