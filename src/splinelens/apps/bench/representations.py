"""What a benchmark compares: each turns training rows and test rows into scores of the test rows.

All get their head from the one function ``fit_scores``; what comes fitted is in ``ready``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from time import perf_counter
from typing import Protocol

import numpy as np

from splinelens.apps.bench.outside import Encoder
from splinelens.apps.bench.readings import Readings
from splinelens.apps.bench.rows import Rows
from splinelens.detect.scoring import fit_scores
from splinelens.features.catalogue import statistics
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec

FAST_LAYERS = 6
"""Layers of the fast variant: what ``toxicity-fast`` runs."""

_TIMED_TEXTS = 10
_BYTES_OF_A_COLUMN = 12  # mean, scale and weight in float32


@dataclass(frozen=True)
class Cost:
    """What one text costs.

    Attributes:
        latency_ms: Median milliseconds of one text alone, the model warm; None if it was not measured.
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


@dataclass(frozen=True)
class Stored:
    """Features of the frozen model with a head.

    Attributes:
        readings: The cached features.
        reading: Which of them.
        names: Statistics to take.
        head: As in ``fit_scores``.
        layers: Layers to take; None takes all.
        seed: Of the fit.
    """

    readings: Readings
    reading: str
    names: tuple[str, ...]
    head: str = "logistic"
    layers: tuple[int, ...] | None = None
    seed: int = 0

    def lacking(self, names: Sequence[str]) -> str | None:
        """As in ``Representation``."""
        return next(filter(None, (self.readings.lacking(name, self.reading) for name in names)), None)

    def scores(self, train: Rows, tests: Sequence[Rows]) -> list[np.ndarray]:
        """As in ``Representation``."""
        train = train if self.head == "self-training" else train.labelled()
        columns = self._columns()
        rows = self.readings.values(train, self.reading, columns)
        chunks = [self.readings.chunks(test, self.reading, columns) for test in tests]
        return fit_scores(rows, train.labels, chunks, head=self.head, seed=self.seed)

    def cost(self) -> Cost:
        """As in ``Representation``."""
        spec = replace(self.readings.specs[self.reading], features=self.names, layers=self.layers)
        sizes = {column.name: column.size for column in self.readings.reader(self.reading).columns}
        width = sum(sizes[name] for name in self._columns())
        size = None if self.head == "forest" else _BYTES_OF_A_COLUMN * width
        return Cost(pass_latency(self.readings, spec), size)

    def _columns(self) -> list[str]:
        wanted = {row.name for row in statistics(self.names)}
        return [
            column.name
            for column in self.readings.reader(self.reading).columns
            if column.statistic.name in wanted
            and (self.layers is None or column.layer is None or column.layer in self.layers)
        ]


@dataclass(frozen=True)
class Length:
    """The number of tokens alone: what a detector that cannot read would reach."""

    readings: Readings
    seed: int = 0

    def lacking(self, names: Sequence[str]) -> str | None:
        """Never anything: tokens are counted without a pass."""
        return None

    def scores(self, train: Rows, tests: Sequence[Rows]) -> list[np.ndarray]:
        """As in ``Representation``."""
        train = train.labelled()
        values = [[self.readings.tokens(test)[:, None]] for test in tests]
        return fit_scores(self.readings.tokens(train)[:, None], train.labels, values, seed=self.seed)

    def cost(self) -> Cost:
        """As in ``Representation``."""
        return Cost(None, _BYTES_OF_A_COLUMN)


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
        self._cost = Cost(
            _latency_ms(lambda text: counts.transform([text]), texts[:_TIMED_TEXTS]),
            sum(len(term.encode()) + 8 for term in counts.vocabulary_),
        )
        chunks = [[counts.transform(test.texts(self.readings.data))] for test in tests]
        return fit_scores(rows, train.labels, chunks, seed=self.seed)

    def cost(self) -> Cost:
        """Of the last fit."""
        return self._cost


@dataclass(frozen=True)
class Encoded:
    """A sentence encoder of its own with the same head."""

    readings: Readings
    encoder: Encoder
    seed: int = 0

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
        values = [[self._values(test)] for test in tests]
        return fit_scores(self._values(train), train.labels, values, seed=self.seed)

    def cost(self) -> Cost:
        """As in ``Representation``."""
        return Cost(
            _latency_ms(lambda text: self.encoder.encode([text]), _some_texts(self.readings)),
            self.encoder.size_bytes(),
        )

    def _values(self, rows: Rows) -> np.ndarray:
        found: np.ndarray | None = None
        for name, places in rows.each_set():
            part = self.encoder.embeddings(name, self.readings.data.sets[name])[rows.index[places]]
            if found is None:
                found = np.empty((len(rows), part.shape[1]), dtype=np.float32)
            found[places] = part
        assert found is not None  # no task has no rows
        return found


_LATENCIES: dict[tuple[int, str], float] = {}


def pass_latency(readings: Readings, spec: FeatureSpec) -> float:
    """Median milliseconds from one text to its row of numbers, the model warm; measured once a spec.

    Args:
        readings: The model and some texts.
        spec: What is read.

    Returns:
        Milliseconds.
    """
    key = (id(readings.loaded), repr(spec))
    if key not in _LATENCIES:
        reader = TextReader(readings.loaded, spec)
        _LATENCIES[key] = _latency_ms(
            lambda text: list(reader.read(reader.tokenize([text]))), _some_texts(readings)
        )
    return _LATENCIES[key]


def _some_texts(readings: Readings) -> list[str]:
    texts = next(iter(readings.data.sets.values())).texts
    return list(_first(texts, _TIMED_TEXTS))


def _first(texts: Sequence[str | None], count: int) -> Iterator[str]:
    there = (text for text in texts if text and text.strip())
    return (text for text, _ in zip(there, range(count), strict=False))


def _latency_ms(score: Callable[[str], object], texts: Sequence[str]) -> float:
    score(texts[0])
    seconds = []
    for text in texts:
        began = perf_counter()
        score(text)
        seconds.append(perf_counter() - began)
    return 1000 * median(seconds)
