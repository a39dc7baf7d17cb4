"""The geometry of texts as a step of a scikit-learn pipeline.

An estimator holds names and numbers only: the model is loaded in whichever process reads, once for
all estimators that name it, so clones, pickles and joblib workers stay small.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from math import isnan
from os import PathLike, fspath
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from splinelens.errors import BadFeatures, BadTexts, NoTokens
from splinelens.features.catalogue import statistics
from splinelens.features.kept import KEPT, ROOM_BYTES
from splinelens.features.spec import FeatureSpec
from splinelens.models.shared import ModelKey, shared_model
from splinelens.tokens import Long

_STRETCH = 1024  # texts are sorted by length inside stretches of this many, as in extract


class GeometryFeatures(TransformerMixin, BaseEstimator):
    """Texts in, one row of numbers a text out; for pipelines, grid searches and feature unions.

    Nothing is learnt from texts: ``fit`` checks the parameters and ``transform`` works without it. A
    text gives the same row whatever stands beside it, to the rounding of float32.

    Args:
        model: Alias, hub id, folder or ``.gguf`` file; a name, not a loaded model.
        features: Feature names, or one: ``spline7``, ``margins``, ``occupancy``, ``hidden``,
            ``attention_id``, ``length``.
        layers: Layers to read, from 0; None reads all. Blocks above the last one are not loaded.
        pooling: Poolings of margins and hidden states, or one: ``max``, ``min``, ``mean``, ``last``.
        prompt: Run before every text, never pooled.
        max_tokens: Tokens of a window.
        long: ``"windows"`` reads long texts whole; ``"cut"`` drops what exceeds one window.
        normalize: Read disguised characters as plain ones.
        unreadable: What a text that cannot be read (missing, empty, broken) gives: ``"raise"`` an error,
            or ``"nan"`` a row of NaN.
        revision: Branch, tag or commit of a hub id.
        device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.
        cache: Folder of fetched and converted models; None takes the usual one.
        room_bytes: Memory of a process for rows that were read before, shared by all these
            estimators; 0 reads every text every time.

    Example:
        >>> geometry = GeometryFeatures(features="margins", layers=[0, 1])
        >>> geometry.fit(["good morning"]) is geometry
        True
        >>> geometry.transform(["good morning"]).shape  # doctest: +SKIP
        (1, 3072)
    """

    def __init__(
        self,
        model: str | PathLike[str] = "smollm2-135m",
        *,
        features: str | Sequence[str] = "spline7",
        layers: Sequence[int] | None = None,
        pooling: str | Sequence[str] = "max",
        prompt: str = "",
        max_tokens: int = 512,
        long: Long = "windows",
        normalize: bool = False,
        unreadable: Literal["raise", "nan"] = "raise",
        revision: str | None = None,
        device: str | None = None,
        cache: str | PathLike[str] | None = None,
        room_bytes: int = ROOM_BYTES,
    ):
        self.model = model
        self.features = features
        self.layers = layers
        self.pooling = pooling
        self.prompt = prompt
        self.max_tokens = max_tokens
        self.long = long
        self.normalize = normalize
        self.unreadable = unreadable
        self.revision = revision
        self.device = device
        self.cache = cache
        self.room_bytes = room_bytes

    def fit(self, X: Any = None, y: object = None) -> "GeometryFeatures":  # Any: see column_of_texts
        """Check the parameters and that ``X`` holds texts; no model is loaded and nothing learnt.

        Args:
            X: As in ``transform``; None checks the parameters alone.
            y: Not read.

        Returns:
            The estimator itself.

        Raises:
            BadTexts: ``X`` does not hold texts, or is empty.
            BadFeatures: A parameter that cannot be.
        """
        self._spec()
        if X is not None:
            column_of_texts(X)
        return self

    def transform(self, X: Any) -> np.ndarray:  # Any: see column_of_texts
        """Read texts.

        Args:
            X: Strings in a list, an array, a Series or an (n, 1) column; None, NaN and NA are missing.

        Returns:
            (text, entry) float32, columns named by ``get_feature_names_out``.

        Raises:
            BadTexts: ``X`` does not hold texts, or one cannot be read and ``unreadable`` is ``"raise"``.
            BadFeatures: A parameter that cannot be, or layers that the model lacks.
            BadModel: The model cannot be loaded.
        """
        spec, texts = self._spec(), column_of_texts(X)
        places: dict[str | None, list[int]] = {}
        for row, text in enumerate(texts):
            places.setdefault(text, []).append(row)
        group = (self._key(spec), spec)
        kept = KEPT.get(group, [text for text in places if text is not None]) if self.room_bytes else {}
        wanted = [text for text in places if text not in kept]
        if wanted:
            values = self._read(group, wanted, places, len(texts))
        else:
            values = np.empty((len(texts), len(next(iter(kept.values())))), dtype=np.float32)
        for text, numbers in kept.items():
            values[places[text]] = numbers
        return values

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """The name of each column of ``transform``; the model is loaded if it is not.

        Args:
            input_features: Not read.

        Returns:
            Strings such as ``layer05.sign_mean``, or ``layer05.margin_max[17]`` for the entry of one
            neuron.

        Raises:
            BadFeatures: A parameter that cannot be, or layers that the model lacks.
            BadModel: The model cannot be loaded.
        """
        from splinelens.features.reader import TextReader

        spec = self._spec()
        with shared_model(self._key(spec)) as loaded:
            columns = TextReader(loaded, spec).columns
        names: list[str] = []
        for column in columns:
            scalar = column.statistic.axis == "scalar"
            names += [column.name] if scalar else [f"{column.name}[{entry}]" for entry in range(column.size)]
        return np.array(names, dtype=object)

    def __sklearn_tags__(self) -> Any:  # Any: scikit-learn has no types
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        tags.transformer_tags.preserves_dtype = []  # float32 always
        tags.requires_fit = False
        return tags

    def _read(
        self,
        group: tuple[ModelKey, FeatureSpec],
        wanted: Sequence[str | None],
        places: Mapping[str | None, Sequence[int]],
        rows: int,
    ) -> np.ndarray:
        """A table of so many rows with those of the wanted texts filled in, the others NaN."""
        from splinelens.features.reader import TextReader

        with shared_model(group[0]) as loaded:
            reader = TextReader(loaded, group[1])
            values = np.full((rows, reader.layout.width), np.nan, dtype=np.float32)
            for start in range(0, len(wanted), _STRETCH):
                stretch = wanted[start : start + _STRETCH]
                tokenized = reader.tokenize(stretch)
                first = [places[text][0] for text in stretch]
                self._require_readable(first, [record.reason for record in tokenized])
                reasons: list[str | None] = [None] * len(stretch)
                fresh: dict[str, np.ndarray] = {}
                for reading in reader.read(tokenized):
                    text = stretch[reading.text]
                    reasons[reading.text] = reading.reason
                    if reading.reason is None and text is not None:
                        fresh[text] = reading.values
                        values[places[text]] = reading.values
                if self.room_bytes:
                    KEPT.put(group, list(fresh), list(fresh.values()), self.room_bytes)
                self._require_readable(first, reasons)
        return values

    def _require_readable(self, rows: Sequence[int], reasons: Sequence[str | None]) -> None:
        """Refuse rows that cannot be read, unless they are to be NaN."""
        unread = [(row, reason) for row, reason in zip(rows, reasons, strict=True) if reason is not None]
        if unread and self.unreadable == "raise":
            row, reason = unread[0]
            more = f" (and {len(unread) - 1} more texts cannot be read)" if len(unread) > 1 else ""
            raise BadTexts(
                f"the text in row {row} (counted from 0) {reason}{more}; leave such rows out, or set "
                "unreadable='nan' for rows of NaN"
            )

    def _key(self, spec: FeatureSpec) -> ModelKey:
        cache = None if self.cache is None else fspath(self.cache)
        return ModelKey.of(fspath(self.model), spec.depth, self.revision, self.device, cache)

    def _spec(self) -> FeatureSpec:
        """What to read, from parameters that can be."""
        if not isinstance(self.model, str | PathLike):
            raise BadFeatures(
                f"model is a {type(self.model).__name__}, where a name, folder or file is read: a loaded "
                "model cannot be cloned or sent to a worker"
            )
        if self.unreadable not in ("raise", "nan"):
            raise BadFeatures(f"unreadable={self.unreadable!r}: need 'raise' or 'nan'")
        if self.long not in ("windows", "cut") or not _whole(self.max_tokens, least=1):
            raise BadFeatures(
                f"max_tokens={self.max_tokens!r}, long={self.long!r}: need a positive number, and 'windows' "
                "or 'cut'"
            )
        if not _whole(self.room_bytes, least=0):
            raise BadFeatures(f"room_bytes={self.room_bytes!r}: need a number of bytes, 0 to keep no rows")
        if not isinstance(self.prompt, str) or not isinstance(self.normalize, bool | np.bool_):
            raise BadFeatures(
                f"prompt={self.prompt!r}, normalize={self.normalize!r}: need a string, and True or False"
            )
        self._require_names_or_none()
        features, pooling = _names(self.features, "features"), _names(self.pooling, "pooling")
        statistics(features, pooling)  # a wrong name shows before a model is loaded
        return FeatureSpec(
            features=features,
            pooling=pooling,
            layers=_layers(self.layers),
            prompt=self.prompt,
            max_tokens=int(self.max_tokens),
            long=self.long,
            normalize=bool(self.normalize),
        )

    def _require_names_or_none(self) -> None:
        """Refuse what cannot say where a model lies or runs."""
        for name, kinds in (("revision", str), ("device", str), ("cache", str | PathLike)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kinds):
                raise BadFeatures(f"{name}={value!r}: need a name, or None")


def column_of_texts(X: Any) -> list[str | None]:  # Any: lists, arrays, Series, frames have no common type
    """One text a row, from whatever scikit-learn hands around.

    Args:
        X: An iterable of strings: a list, an array, a Series, or a table of one column. None, NaN and
            NA are missing.

    Returns:
        Strings, and None where one is missing.

    Raises:
        NoTokens: There are no rows.
        BadTexts: One string, a dictionary or set, more than one column, or a row that is no string; the
            row is named.

    Example:
        >>> column_of_texts(np.array([["good"], [None]], dtype=object))
        ['good', None]
    """
    if isinstance(X, str | bytes):
        raise BadTexts("X is one string; give a list of texts")
    if len(getattr(X, "shape", ())) > 1:
        X = np.asarray(X, dtype=object)
        if X.ndim != 2 or X.shape[1] != 1:
            raise BadTexts(f"X has the shape {X.shape}; one text a row is read: choose one column")
        X = X[:, 0]
    if not isinstance(X, Iterable) or isinstance(X, Mapping | Set) or getattr(X, "shape", None) == ():
        raise BadTexts(f"X is a {type(X).__name__}; give a list of texts")
    texts = [None if _missing(value) else value for value in X]
    for row, value in enumerate(texts):
        if value is not None and not isinstance(value, str):
            raise BadTexts(
                f"row {row} of X (counted from 0) is a {type(value).__name__}, where a text is read; "
                "turn it into a string or choose another column"
            )
    if not texts:
        raise NoTokens("X has no texts; give at least one")
    return [None if text is None else str(text) for text in texts]


def _names(given: object, what: str) -> tuple[str, ...]:
    """One name or several, as a tuple."""
    if isinstance(given, str):
        return (given,)
    names = tuple(given) if isinstance(given, Iterable) and not isinstance(given, bytes) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise BadFeatures(f"{what}={given!r}: need one name, or a list of names")
    return names


def _layers(given: object) -> tuple[int, ...] | None:
    """Layers in rising order, each once; None stands for all."""
    if given is None:
        return None
    layers = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str | bytes) else None
    if layers is None or not all(_whole(layer, least=0) for layer in layers):
        raise BadFeatures(f"layers={given!r}: need a list of whole numbers from 0, or None for all")
    return tuple(sorted({int(layer) for layer in layers}))


def _missing(value: object) -> bool:
    """Whether a cell is None, NaN or the NA of pandas, which is neither true nor false."""
    return value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and isnan(value))


def _whole(value: object, least: int) -> bool:
    """Whether a value is a whole number, of Python or NumPy, and not too small."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= least
