"""What the benchmark compares: each contender turns training rows and test rows into scores of the test rows.

``Fitted`` contenders get their head from ``heads.fit_scorer`` on the rows of the task. ``Ready`` ones come
fitted: our shipped detectors, and those of others.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer

from detection.data import EvaluationData
from detection.features import Features, gathered
from detection.heads import fit_scorer
from detection.protocols import POOLINGS, READY
from detection.rivals import Rival, rivals
from detection.rows import Rows
from detection.score_cache import are_cached, read_scores
from splinelens.apps.detector import Detector
from splinelens.errors import BadDetector
from splinelens.features.catalogue import statistics
from splinelens.features.spec import FeatureSpec
from splinelens.geometry.settings import SPLINE7

FAST_LAYERS = 6
"""Layers that ``toxicity-fast`` reads."""
TIMED_TEXTS = 10
_CHUNK = 2048


Matrix = Any  # Any: a NumPy array, or a sparse matrix of SciPy, which ships no types


@dataclass(frozen=True)
class Fitted:
    """A head fitted on the rows of each task.

    Attributes:
        inputs: From rows to a matrix, NaN for a text that cannot be read; with a vectorizer, to texts.
        unavailable: Why rows of some sets cannot be read, or None.
        head: As in ``fit_scorer``.
        seed: Of the fit.
        vectorizer: Fitted on the texts of the training rows.
    """

    inputs: Callable[[Rows], Matrix]
    unavailable: Callable[[Sequence[str]], str | None] = lambda sets: None
    head: str = "logistic"
    seed: int = 0
    vectorizer: TfidfVectorizer | None = None

    def scores(self, train: Rows, tests: Sequence[Rows]) -> list[np.ndarray]:
        """Calibrated scores of each test's rows, (row,) or (row, label); NaN for a row without a score."""
        train = train if self.head == "self-training" else train.labeled()
        matrix, read = self.inputs(train), self.inputs
        if self.vectorizer is not None:
            vectorizer = clone(self.vectorizer).set_params(min_df=2 if len(train) > 100 else 1)
            matrix = vectorizer.fit_transform(matrix)
            read = lambda rows: vectorizer.transform(self.inputs(rows))  # noqa: E731
        scorer = fit_scorer(matrix, train.labels, head=self.head, seed=self.seed)
        return [np.concatenate([scorer.scores(read(chunk)) for chunk in _chunks(test)]) for test in tests]


class Ready(ABC):
    """A detector that comes fitted.

    Attributes:
        sources: What it was fitted on, for the table.
        unrecorded: What is unknown about the texts it was fitted on, or empty.
    """

    sources = "its own rows"
    unrecorded = ""

    @abstractmethod
    def unavailable(self, sets: Sequence[str]) -> str | None:
        """Why it cannot score rows of these sets, or None."""

    @abstractmethod
    def scores(self, train: Rows, tests: Sequence[Rows]) -> list[np.ndarray]:
        """As of ``Fitted``; only the label names of the training rows are read."""

    def fitted_on(self, rows: Rows) -> np.ndarray:
        """A mask of the rows whose text it was fitted on, as far as it recorded them."""
        return np.zeros(len(rows), dtype=bool)

    def thresholds(self, fpr: float, names: Sequence[str]) -> np.ndarray | None:
        """(label,) its stored thresholds for a false-positive rate, or None; ``names`` orders several labels."""
        return None

    @abstractmethod
    def latency_ms(self, texts: Sequence[str]) -> float:
        """Median milliseconds from one text to its score, warm, each text alone."""


class Shipped(Ready):
    """One of our detectors; its head reads the cached features, or what it learned needs the texts.

    Margins to learned directions are no columns of a reading, so a detector that has directions scores each
    set once as a user does, and these scores are cached.
    """

    def __init__(self, features: Features, detector: Detector):
        self.features, self.detector = features, detector
        self.artifact = detector.artifact
        self.columns = [name for name, _ in self.artifact.columns]
        self.reading: str | None = None
        if self.artifact.directions is None:
            spec = replace(FeatureSpec.from_dict(self.artifact.spec), long="cut")
            self.reading = features.reading_for(spec, self.columns, self.artifact.name)
        self._sets: dict[str, np.ndarray] = {}  # (text, label) of whole sets, with directions
        self.sources = ", ".join(self.artifact.training.get("sources", [])) or Ready.sources
        kept = len(self.artifact.seen)
        texts = self.artifact.training.get("seen", {}).get("texts", kept)
        if not kept:
            self.unrecorded = "the texts it was fitted on are not recorded"
        elif kept < texts:
            self.unrecorded = f"only {kept:,} of the {texts:,} texts it was fitted on are recorded"

    def unavailable(self, sets: Sequence[str]) -> str | None:
        if self.reading is not None:
            return self.features.unavailable(sets, self.reading)
        for name in sets if self.features.cached_only else ():
            if not are_cached(self.detector, self.features.data.sets[name], self.features.cache):
                return f"scores of {name} by {self.artifact.name} are not cached"
        return None

    def scores(self, train: Rows, tests: Sequence[Rows]) -> list[np.ndarray]:
        """As of ``Ready``; rows it was fitted on have no score, and other labels are refused."""
        if set(train.names or self.artifact.labels) != set(self.artifact.labels):
            labels = ", ".join(self.artifact.labels)
            raise BadDetector(f"{self.artifact.name} has the labels {labels}; the rows have {train.names}")
        order = [self.artifact.labels.index(name) for name in train.names or self.artifact.labels]
        results = []
        for test in tests:
            scores = self._from_features(test) if self.reading else self._from_texts(test)
            scores[self.fitted_on(test)] = np.nan
            results.append(scores[:, order] if train.names else scores[:, 0])
        return results

    def _from_features(self, rows: Rows) -> np.ndarray:
        """(row, label), from the cached features."""
        chunks = (self.features.values(some, self.reading, self.columns) for some in _chunks(rows))
        logits = np.concatenate([self.artifact.head.logit(some) for some in chunks])
        return self.artifact.scores(logits, self.features.tokens(rows))

    def _from_texts(self, rows: Rows) -> np.ndarray:
        """(row, label), from the texts of whole sets."""

        def of_set(name: str, index: np.ndarray) -> np.ndarray:
            if name not in self._sets:
                self.features.report(f"scores {name}/{self.artifact.name}")
                texts = self.features.data.sets[name]
                self._sets[name] = read_scores(self.detector, texts, self.features.cache).scores
            return self._sets[name][index]

        return gathered(rows, of_set)

    def fitted_on(self, rows: Rows) -> np.ndarray:
        return self.artifact.seen_in(rows.texts(self.features.data))

    def thresholds(self, fpr: float, names: Sequence[str]) -> np.ndarray:
        stored = dict(zip(self.artifact.labels, self.artifact.thresholds, strict=True))
        labels = names or self.artifact.labels
        return np.array([next(t.score for t in stored[label] if t.target == fpr) for label in labels])

    def latency_ms(self, texts: Sequence[str]) -> float:
        seconds = []
        for text in [texts[0], *texts]:
            start = perf_counter()
            self.detector.score([text])
            seconds.append(perf_counter() - start)
        return 1000 * median(seconds[1:])


class Outside(Ready):
    """A detector of others, as it comes."""

    unrecorded = "the texts it was fitted on are not known"

    def __init__(self, data: EvaluationData, rival: Rival):
        self.data, self.rival = data, rival

    def unavailable(self, sets: Sequence[str]) -> str | None:
        return self.rival.unavailable()

    def scores(self, train: Rows, tests: Sequence[Rows]) -> list[np.ndarray]:
        return [_outputs(self.rival, self.data, rows) for rows in tests]

    def latency_ms(self, texts: Sequence[str]) -> float:
        return self.rival.latency_ms(texts)


Contender = Fitted | Ready


def contenders(
    features: Features, detectors: Mapping[str, Detector], cache: Path, *, install: bool, seed: int
) -> dict[str, Contender]:
    """Everything a protocol may name.

    Args:
        features: The cached features.
        detectors: Our detectors, by name.
        cache: Folder of the rivals.
        install: Whether rivals may be installed.
        seed: Of the fits.
    """
    data, outside = features.data, rivals(cache, install)

    def columns(
        reading: str, *names: str, layers: Sequence[int] | None = None, head: str = "logistic"
    ) -> Fitted:
        def read(rows: Rows) -> np.ndarray:
            return features.values(rows, reading, _column_names(features, reading, names, layers))

        return Fitted(read, lambda sets: features.unavailable(sets, reading), head, seed)

    def tfidf(analyzer: str, ngrams: tuple[int, int]) -> Fitted:
        vectorizer = TfidfVectorizer(analyzer=analyzer, ngram_range=ngrams, sublinear_tf=True)
        return Fitted(lambda rows: rows.texts(data), seed=seed, vectorizer=vectorizer)

    encoder = outside["sentence-encoder"]
    known: dict[str, Contender] = {
        "length": Fitted(lambda rows: features.tokens(rows)[:, None], seed=seed),
        "words": tfidf("word", (1, 2)),
        "characters": tfidf("char_wb", (2, 5)),
        "sentence encoder": Fitted(
            lambda rows: _outputs(encoder, data, rows), lambda sets: encoder.unavailable(), seed=seed
        ),
        "margins": columns("prompted", "margin_max"),
        "margins 0-5": columns("prompted", "margin_max", layers=range(FAST_LAYERS)),
    }
    for head in ("logistic", "forest", "network"):
        known[f"spline7 {head} at 64"] = columns("plain64", "spline7", head=head)
    for head in ("logistic", "forest", "self-training"):
        known[f"spline7 {head}"] = columns("plain", "spline7", head=head)
    for pooling in POOLINGS:
        names = [f"hidden_{one}" for one in POOLINGS if one != "all" and pooling in (one, "all")]
        known[f"hidden {pooling}"] = columns("plain", *names)
        known[f"prompted hidden {pooling}"] = columns("prompted", *names)
    for layer in range(features.model.depth):
        known[f"spline7 layer {layer}"] = columns("plain", "spline7", layers=[layer])
        known[f"spline7 layers 0-{layer}"] = columns("plain", "spline7", layers=range(layer + 1))
    known |= {name: columns("plain", name) for name in SPLINE7}
    known |= {name: Outside(data, rival) for name, rival in outside.items() if name in READY}
    return known | {name: Shipped(features, detector) for name, detector in detectors.items()}


def sample_texts(data: EvaluationData) -> list[str]:
    """The texts that latency is measured with: the first ten test rows of Jigsaw, else of any set."""
    texts = data.sets["jig" if "jig" in data.sets else next(iter(data.sets))]
    splits = texts.columns.get("split", ("test",) * len(texts))
    pairs = zip(texts.texts, splits, strict=True)
    return [text for text, split in pairs if split == "test" and text and text.strip()][:TIMED_TEXTS]


def _chunks(rows: Rows) -> list[Rows]:
    return [rows.take(np.arange(len(rows))[start : start + _CHUNK]) for start in range(0, len(rows), _CHUNK)]


def _outputs(rival: Rival, data: EvaluationData, rows: Rows) -> np.ndarray:
    return gathered(rows, lambda name, index: rival.outputs(name, data.sets[name])[index])


def _column_names(
    features: Features, reading: str, names: Sequence[str], layers: Sequence[int] | None
) -> list[str]:
    wanted = {statistic.name for statistic in statistics(names)}
    return [
        column.name
        for column in features.reader(reading).columns
        if column.statistic.name in wanted
        and (layers is None or column.layer is None or column.layer in layers)
    ]
