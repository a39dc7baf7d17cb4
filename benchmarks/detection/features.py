"""The features of the evaluation sets: read once with the frozen model, kept in half precision in a cache."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from detection.data import EvaluationData
from detection.feature_store import FeatureStore
from detection.rows import Rows
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.models import LoadedModel
from splinelens.texts import Texts
from splinelens.tokens import tokenize

QUESTION = "Is the following comment rude, hateful, threatening or toxic?\nComment: "
WINDOW = 256
_HIDDEN = ("hidden_max", "hidden_mean", "hidden_min", "hidden_last")
READINGS = {
    "prompted": FeatureSpec(
        ("margin_max", "margin_min", "margin_last", *_HIDDEN),
        prompt=QUESTION,
        max_tokens=WINDOW,
        long="cut",
        normalize=True,
    ),
    "plain": FeatureSpec(("spline7", "length", *_HIDDEN), max_tokens=WINDOW, long="cut"),
    "plain64": FeatureSpec(("spline7", "length"), max_tokens=64, long="cut"),
}
"""What one pass over a set reads, by the name of its folder in the cache. ``prompted`` puts a
question before each text and makes disguised characters plain (some 30 of 10,000 of these texts hold one)."""

_COMPLETE = "complete.txt"


def read_cached(reader: TextReader, texts: Texts, folder: Path, progress=None) -> FeatureStore:
    """The features of a set, from the cache or read now; a stopped run continues."""
    store = FeatureStore(reader, texts, folder, progress)
    (folder / _COMPLETE).write_text(texts.data_hash, "utf-8")
    return store


class Features:
    """The cached features of the evaluation sets, by set and reading.

    Args:
        data: The evaluation data.
        cache: Folder of the features, SET/READING below it.
        model: The frozen model.
        cached_only: Never run the model over a set.
        report: Called with a line before a set is opened or read.
    """

    def __init__(
        self,
        data: EvaluationData,
        cache: Path,
        model: LoadedModel,
        *,
        cached_only: bool = False,
        report: Callable[[str], None] = lambda line: None,
    ):
        self.data, self.cache, self.model = data, cache, model
        self.cached_only, self.report = cached_only, report
        self.specs: dict[str, FeatureSpec] = dict(READINGS)
        self._readers: dict[str, TextReader] = {}
        self._stores: dict[tuple[str, str], FeatureStore] = {}
        self._tokens: dict[str, np.ndarray] = {}

    def reader(self, reading: str) -> TextReader:
        """The reader of a reading."""
        if reading not in self._readers:
            self._readers[reading] = TextReader(self.model, self.specs[reading])
        return self._readers[reading]

    def reading_for(self, spec: FeatureSpec, columns: Sequence[str], name: str) -> str:
        """The reading that holds these columns; where none does, the spec becomes one with this name."""
        for reading, known in READINGS.items():
            there = {column.name for column in self.reader(reading).columns}
            like = replace(spec, features=known.features, pooling=known.pooling, layers=known.layers)
            if like == known and set(columns) <= there:
                return reading
        self.specs[name] = spec
        return name

    def unavailable(self, sets: Sequence[str], reading: str) -> str | None:
        """Why the features of one of these sets may not be used, or None."""
        for name in sets if self.cached_only else ():
            complete = self.cache / name / reading / _COMPLETE
            if not (complete.is_file() and complete.read_text("utf-8") == self.data.sets[name].data_hash):
                return f"{name}/{reading} is not cached"
        return None

    def values(self, rows: Rows, reading: str, columns: Sequence[str]) -> np.ndarray:
        """(row, entry) float32 of some columns, NaN for texts that cannot be read."""
        return gathered(rows, lambda name, index: self._store(name, reading).rows(columns, index))

    def tokens(self, rows: Rows) -> np.ndarray:
        """(row,) tokens of each text, at most those of a window, NaN where it has none; needs no pass."""
        return gathered(rows, lambda name, index: self._token_counts(name)[index])

    def _store(self, name: str, reading: str) -> FeatureStore:
        if (name, reading) not in self._stores:
            self.report(f"features {name}/{reading}")
            folder = self.cache / name / reading
            self._stores[name, reading] = read_cached(self.reader(reading), self.data.sets[name], folder)
        return self._stores[name, reading]

    def _token_counts(self, name: str) -> np.ndarray:
        if name not in self._tokens:
            texts = self.data.sets[name].texts
            tokenized = tokenize(texts, self.model.tokenizer, max_tokens=WINDOW, long="cut")
            self._tokens[name] = np.array([len(text.ids) or np.nan for text in tokenized], np.float32)
        return self._tokens[name]


def gathered(rows: Rows, read: Callable[[str, np.ndarray], np.ndarray]) -> np.ndarray:
    """One array over rows of several sets, in their order.

    Args:
        rows: At least one row.
        read: From a set and row numbers to an array with one entry per row.
    """
    values: np.ndarray | None = None
    for name, positions in rows.by_set():
        part = read(name, rows.index[positions])
        if values is None:
            values = np.empty((len(rows), *part.shape[1:]), dtype=part.dtype)
        values[positions] = part
    assert values is not None  # no task has an empty part
    return values
