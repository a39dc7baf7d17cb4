"""The features of the benchmark's sets: cached on disk, read by one model pass where they are not."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from detection.data import EvaluationData
from detection.rows import Rows
from splinelens.features.catalogue import statistics
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.store import FeatureStore, stored
from splinelens.models import LoadedModel, load_model
from splinelens.tokens import tokenize

PROMPT = "Is the following comment rude, hateful, threatening or toxic?\nComment: "
WINDOW = 256
_HIDDEN = ("hidden_mean", "hidden_max", "hidden_last")
READINGS = {
    "prompted": FeatureSpec(
        ("margin_max", "margin_min", "margin_last", *_HIDDEN),
        prompt=PROMPT,
        max_tokens=WINDOW,
        long="cut",
        normalize=True,
    ),
    "plain": FeatureSpec(("spline7", "length", *_HIDDEN), max_tokens=WINDOW, long="cut"),
    "plain64": FeatureSpec(("spline7", "length"), max_tokens=64, long="cut"),
}
"""What one pass over a set reads, by the name of its folder in the cache; ours as our detectors read texts,
with disguised characters made plain (some 30 in 10,000 of these texts hold one)."""

TIMED_TEXTS = 10
_CHUNK = 2048


@dataclass(frozen=True, eq=False)
class Pass:
    """One text alone, read by the warm model.

    Attributes:
        seconds: From the text to its row of numbers.
        values: That row, (1, entry).
    """

    seconds: float
    values: np.ndarray


class Readings:
    """Opens the features of each set once; reads them with the model where they are not cached."""

    def __init__(
        self,
        data: EvaluationData,
        cache: Path,
        model: str | LoadedModel = "smollm2-135m",
        *,
        cached_only: bool = False,
        told: Callable[[str], None] = lambda line: None,
    ):
        """Bind data to a cache.

        Args:
            data: The evaluation data.
            cache: Folder of the features: SET/READING below it.
            model: The frozen model.
            cached_only: Never run the model over a set.
            told: Called with a line before a pass over a set.
        """
        self.data, self.cache, self.cached_only, self.told = data, cache, cached_only, told
        self.specs: dict[str, FeatureSpec] = dict(READINGS)
        self._model: str | LoadedModel = model
        self._readers: dict[str, TextReader] = {}
        self._stores: dict[tuple[str, str], FeatureStore] = {}
        self._tokens: dict[str, np.ndarray] = {}
        self._passes: dict[FeatureSpec, tuple[Pass, ...]] = {}

    @property
    def loaded(self) -> LoadedModel:
        """The model, loaded when it is first needed."""
        if isinstance(self._model, str):
            self._model = load_model(self._model)
        return self._model

    def reader(self, reading: str) -> TextReader:
        """The reader of a reading."""
        if reading not in self._readers:
            self._readers[reading] = TextReader(self.loaded, self.specs[reading])
        return self._readers[reading]

    def admit(self, spec: FeatureSpec, name: str) -> str:
        """Find the reading that holds the columns of a spec; where none does, the spec becomes one.

        Args:
            spec: What a head reads.
            name: Of the new reading.

        Returns:
            The name of the reading.
        """
        wanted = {row.name for row in statistics(spec.features, spec.pooling)}
        for found, known in READINGS.items():
            there = {row.name for row in statistics(known.features, known.pooling)}
            like = replace(spec, features=known.features, pooling=known.pooling, layers=known.layers)
            if wanted <= there and like == known:
                return found
        self.specs[name] = spec
        return name

    def lacking(self, name: str, reading: str) -> str | None:
        """Why the features of a set may not be used, or None.

        Args:
            name: The set.
            reading: The reading.

        Returns:
            A phrase for the table.
        """
        if not self.cached_only or (name, reading) in self._stores:
            return None
        rows = len(self.data.sets[name])
        try:
            record = json.loads((self.cache / name / reading / "store.json").read_text("utf-8"))
            done = len(record["tokens"])
        except (OSError, ValueError, KeyError):
            done = 0
        return None if done == rows else f"{name}/{reading} is not cached ({done:,} of {rows:,} rows)"

    def store(self, name: str, reading: str) -> FeatureStore:
        """The features of a set, read now if they are not cached.

        Args:
            name: The set.
            reading: The reading.

        Returns:
            The open store.

        Raises:
            CannotResume: The cache holds numbers of another model, spec or text.
        """
        if (name, reading) not in self._stores:
            self.told(f"features {name}/{reading}")
            place = self.cache / name / reading
            self._stores[name, reading] = stored(self.reader(reading), self.data.sets[name], place)
        return self._stores[name, reading]

    def values(self, rows: Rows, reading: str, columns: Sequence[str]) -> np.ndarray:
        """Columns of rows of any sets.

        Args:
            rows: The rows.
            reading: The reading.
            columns: Names of columns.

        Returns:
            (row, entry) float32, NaN for texts that cannot be read.
        """
        found: np.ndarray | None = None
        for name, places in rows.each_set():
            part = self.store(name, reading).rows(columns, rows.index[places])
            if found is None:
                found = np.empty((len(rows), part.shape[1]), dtype=np.float32)
            found[places] = part
        assert found is not None  # no task has no rows
        return found

    def chunks(self, rows: Rows, reading: str, columns: Sequence[str]) -> Iterator[np.ndarray]:
        """As ``values``, a stretch of rows after the other."""
        for start in range(0, len(rows), _CHUNK):
            yield self.values(rows.take(np.arange(start, min(start + _CHUNK, len(rows)))), reading, columns)

    def tokens(self, rows: Rows) -> np.ndarray:
        """Tokens of each text, at most those of a window; (row,) float32, NaN where it has none."""
        found = np.full(len(rows), np.nan, dtype=np.float32)
        for name, places in rows.each_set():
            if name not in self._tokens:
                self._tokens[name] = self.counted(self.data.sets[name].texts)
            found[places] = self._tokens[name][rows.index[places]]
        return found

    def counted(self, texts: Sequence[str | None]) -> np.ndarray:
        """As ``tokens``, of any texts."""
        each = tokenize(texts, self.loaded.tokenizer, max_tokens=WINDOW, long="cut")
        return np.array([len(text.ids) or np.nan for text in each], dtype=np.float32)

    def sample(self) -> list[str]:
        """The texts that latency is measured with: the first ten of Jigsaw's test rows, else of any set."""
        name = "jig" if "jig" in self.data.sets else next(iter(self.data.sets))
        texts = self.data.sets[name]
        splits = texts.columns.get("split", ("test",) * len(texts))
        pairs = zip(texts.texts, splits, strict=True)
        found = [text for text, split in pairs if split == "test" and text and text.strip()]
        return found[:TIMED_TEXTS]

    def passes(self, spec: FeatureSpec) -> tuple[Pass, ...]:
        """Read each text of the sample alone, the model warm; measured once a spec.

        Args:
            spec: What is read.

        Returns:
            Each text's time and row.
        """
        if spec not in self._passes:
            reader, found = TextReader(self.loaded, spec), []
            for text in [*self.sample()[:1], *self.sample()]:
                began = perf_counter()
                [reading] = reader.read(reader.tokenize([text]))
                found.append(Pass(perf_counter() - began, reading.values[None]))
            self._passes[spec] = tuple(found[1:])  # the first one warms the model
        return self._passes[spec]
