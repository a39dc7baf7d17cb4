"""What a benchmark compares: each turns training rows and test rows into scores of the test rows.

All get their head from the one function ``fit_scorer``; what comes fitted is in ``ready``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from detection.outside import Encoder
from detection.readings import Pass, Readings
from detection.rows import Rows
from detection.scoring import Scorer, fit_scorer
from splinelens.features.catalogue import statistics

FAST_LAYERS = 6
"""Layers of the fast variant: what ``toxicity-fast`` runs."""

_Rows = Any  # Any: a NumPy array or a sparse matrix of SciPy, which ships no types
_BYTES_OF_A_COLUMN = 12  # mean, scale and weight in float32


@dataclass(frozen=True)
class Cost:
    """What one text costs.

    Attributes:
        latency_ms: Median milliseconds from one text to its score, on the same ten texts for all, warm; None
            if it was not measured.
        size_bytes: Bytes kept beside the frozen model; None if unknown.
    """

    latency_ms: float | None = None
    size_bytes: int | None = None


class Representation(Protocol):
    """Something that scores texts."""

    def lacking(self, names: Sequence[str]) -> str | None:
        """Why it cannot score rows of these sets, or None."""

    def scores(self, train: Rows, tests: Sequence[Rows]) -> list[np.ndarray]:
        """Calibrated scores of each test's rows; NaN for one that has no score."""

    def cost(self) -> Cost:
        """What a text costs; asked after ``scores``."""


@dataclass
class Stored:
    """Features of the frozen model with a head.

    Attributes:
        readings: The cached features.
        reading: Which of them.
        names: Statistics to take.
        head: As in ``fit_scorer``.
        layers: Layers to take; None takes all.
        seed: Of the fit.
    """

    readings: Readings
    reading: str
    names: tuple[str, ...]
    head: str = "logistic"
    layers: tuple[int, ...] | None = None
    seed: int = 0
    _scorer: Scorer | None = None

    def lacking(self, names: Sequence[str]) -> str | None:
        """As in ``Representation``."""
        return next(filter(None, (self.readings.lacking(name, self.reading) for name in names)), None)

    def scores(self, train: Rows, tests: Sequence[Rows]) -> list[np.ndarray]:
        """As in ``Representation``."""
        train = train if self.head == "self-training" else train.labelled()
        columns = self._columns()
        rows = self.readings.values(train, self.reading, columns)
        self._scorer = scorer = fit_scorer(rows, train.labels, head=self.head, seed=self.seed)
        return [_scored(scorer, self.readings.chunks(test, self.reading, columns)) for test in tests]

    def cost(self) -> Cost:
        """As in ``Representation``."""
        spec = replace(self.readings.specs[self.reading], features=self.names, layers=self.layers)
        sizes = {column.name: column.size for column in self.readings.reader(self.reading).columns}
        width = sum(sizes[name] for name in self._columns())
        size = None if self.head == "forest" else _BYTES_OF_A_COLUMN * width
        assert self._scorer is not None  # it is asked after ``scores``
        return Cost(head_latency(self.readings.passes(spec), self._scorer.scores), size)

    def _columns(self) -> list[str]:
        wanted = {row.name for row in statistics(self.names)}
        return [
            column.name
            for column in self.readings.reader(self.reading).columns
            if column.statistic.name in wanted
            and (self.layers is None or column.layer is None or column.layer in self.layers)
        ]


@dataclass
class Length:
    """The number of tokens alone: what a detector that cannot read would reach."""

    readings: Readings
    seed: int = 0
    _scorer: Scorer | None = None

    def lacking(self, names: Sequence[str]) -> str | None:
        """Never anything: tokens are counted without a pass."""
        return None

    def scores(self, train: Rows, tests: Sequence[Rows]) -> list[np.ndarray]:
        """As in ``Representation``."""
        train = train.labelled()
        values = self.readings.tokens(train)[:, None]
        self._scorer = scorer = fit_scorer(values, train.labels, seed=self.seed)
        return [scorer.scores(self.readings.tokens(test)[:, None]) for test in tests]

    def cost(self) -> Cost:
        """As in ``Representation``."""
        scorer = self._scorer
        assert scorer is not None  # it is asked after ``scores``

        def score(text: str) -> np.ndarray:
            return scorer.scores(self.readings.counted([text])[:, None])

        return Cost(score_latency(score, self.readings.sample()), _BYTES_OF_A_COLUMN)


@dataclass
class WordCounts:
    """TF-IDF of words or characters with the same head.

    Attributes:
        readings: Where the texts are.
        analyzer: ``word``, or ``char_wb`` for characters inside words.
        ngrams: Shortest and longest sequence.
        seed: Of the fit.
    """

    readings: Readings
    analyzer: str
    ngrams: tuple[int, int]
    seed: int = 0
    _cost: Cost = field(default_factory=Cost)

    def lacking(self, names: Sequence[str]) -> str | None:
        """Never anything: only texts are needed."""
        return None

    def scores(self, train: Rows, tests: Sequence[Rows]) -> list[np.ndarray]:
        """As in ``Representation``."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        train = train.labelled()
        least = 2 if len(train) > 100 else 1
        counts = TfidfVectorizer(
            analyzer=self.analyzer, ngram_range=self.ngrams, sublinear_tf=True, min_df=least
        )
        texts = train.texts(self.readings.data)
        rows = counts.fit_transform(texts)
        scorer = fit_scorer(rows, train.labels, seed=self.seed)
        self._cost = Cost(
            score_latency(lambda text: scorer.scores(counts.transform([text])), self.readings.sample()),
            sum(len(term.encode()) + 8 for term in counts.vocabulary_),
        )
        return [scorer.scores(counts.transform(test.texts(self.readings.data))) for test in tests]

    def cost(self) -> Cost:
        """Of the last fit."""
        return self._cost


@dataclass
class Encoded:
    """A sentence encoder of its own with the same head."""

    readings: Readings
    encoder: Encoder
    seed: int = 0
    _scorer: Scorer | None = None

    def lacking(self, names: Sequence[str]) -> str | None:
        """As in ``Representation``."""
        sets = self.readings.data.sets
        if self.readings.cached_only:
            missing = [name for name in names if not self.encoder.cached(name, sets[name])]
            if missing:
                return f"embeddings of {', '.join(missing)} are not cached"
        return self.encoder.lacking()

    def scores(self, train: Rows, tests: Sequence[Rows]) -> list[np.ndarray]:
        """As in ``Representation``."""
        train = train.labelled()
        self._scorer = scorer = fit_scorer(self._values(train), train.labels, seed=self.seed)
        return [scorer.scores(self._values(test)) for test in tests]

    def cost(self) -> Cost:
        """As in ``Representation``."""
        scorer = self._scorer
        assert scorer is not None  # it is asked after ``scores``

        def score(text: str) -> np.ndarray:
            return scorer.scores(self.encoder.encode([text]))

        return Cost(score_latency(score, self.readings.sample()), self.encoder.size_bytes())

    def _values(self, rows: Rows) -> np.ndarray:
        found: np.ndarray | None = None
        for name, places in rows.each_set():
            part = self.encoder.embeddings(name, self.readings.data.sets[name])[rows.index[places]]
            if found is None:
                found = np.empty((len(rows), part.shape[1]), dtype=np.float32)
            found[places] = part
        assert found is not None  # no task has no rows
        return found


def score_latency(score: Callable[[str], object], texts: Sequence[str]) -> float | None:
    """Median milliseconds from one text to its score, after one that is not timed.

    Args:
        score: What is measured.
        texts: One after the other.

    Returns:
        Milliseconds, or None where there is no text.
    """
    seconds = []
    for text in [*texts[:1], *texts]:
        began = perf_counter()
        score(text)
        seconds.append(perf_counter() - began)
    return 1000 * median(seconds[1:]) if texts else None


def head_latency(passes: Sequence[Pass], score: Callable[[np.ndarray], object]) -> float | None:
    """As ``score_latency`` where the passes of the texts were timed before: the head's time is added.

    Args:
        passes: Time and row of each text.
        score: From a row to a score.

    Returns:
        Milliseconds, or None where there is no text.
    """
    seconds = []
    for one in [*passes[:1], *passes]:
        began = perf_counter()
        score(one.values)
        seconds.append(one.seconds + perf_counter() - began)
    return 1000 * median(seconds[1:]) if passes else None


def _scored(scorer: Scorer, chunks: Iterable[_Rows]) -> np.ndarray:
    return np.concatenate([scorer.scores(chunk) for chunk in chunks])
