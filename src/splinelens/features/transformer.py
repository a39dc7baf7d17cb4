"""The geometry of texts as a step of a scikit-learn pipeline.

An estimator holds names and numbers only: the model is loaded in whichever process reads, once for
all estimators that name it, so clones, pickles and joblib workers stay small.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from os import PathLike, fspath
from threading import RLock
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from splinelens.errors import BadFeatures, BadTexts
from splinelens.features.spec import FeatureSpec
from splinelens.features.table import entry_names
from splinelens.features.validation import check_batch_tokens, check_texts, is_whole_number
from splinelens.models.shared import ModelKey, shared_model
from splinelens.tokens import Long

CACHE_BYTES = 2**30
"""Default of a process for its in-memory cache of feature rows, in bytes."""


class GeometryFeatures(TransformerMixin, BaseEstimator):
    """Texts in, one row of numbers a text out; for pipelines, grid searches and feature unions.

    Nothing is learnt from texts: ``fit`` checks the parameters and ``transform`` works without it. A
    text gives the same row whatever stands beside it, to rounding: beyond 127 tokens margins to 1e-5 of
    their column's largest value; ``boundary_min`` may move by tenths (docs/features.md).

    Args:
        model: Alias, hub id, folder or ``.gguf`` file; a name, not a loaded model.
        features: Feature names, or one: ``spline7``, ``margins``, ``occupancy``, ``hidden``,
            ``attention_id``, ``length``.
        layers: Layers to read, from 0; None reads all. Blocks above the last one are not loaded.
        pooling: Poolings of margins and hidden states, or one: ``max``, ``min``, ``mean``, ``last``.
        prompt: Run before every text, never pooled.
        suffix: Run after every text, never pooled.
        max_tokens: Tokens of a window; None takes 512, or what fits into the model's positions.
        max_text_tokens: Texts of more tokens cannot be read; None reads texts of any length.
        long: ``"windows"`` reads long texts whole; ``"cut"`` drops what exceeds one window.
        eps: Attention weights above it count for ``attention_id``; in (0, 1).
        normalize: Read disguised characters as plain ones.
        unreadable: What a text that cannot be read (missing, empty, broken, too long) gives: ``"raise"`` an
            error, or ``"nan"`` a row of NaN.
        revision: Branch, tag or commit of a hub id.
        device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.
        dtype: Number type of the weights: ``float32``, ``bfloat16``, ``float16`` or ``float64``; None takes
            ``float32``.
        batch_tokens: Tokens of a batch, padding included; None takes 1,024 on a CPU, else 4,096.
        cache: Folder of fetched and converted models; None takes the usual one.
        cache_bytes: In-memory cache of feature rows, in bytes, shared by all these estimators of a
            process; 0 reads every text every time.

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
        suffix: str = "",
        max_tokens: int | None = None,
        max_text_tokens: int | None = None,
        long: Long = "windows",
        eps: float = 0.1,
        normalize: bool = False,
        unreadable: Literal["raise", "nan"] = "raise",
        revision: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        batch_tokens: int | None = None,
        cache: str | PathLike[str] | None = None,
        cache_bytes: int = CACHE_BYTES,
    ):
        self.model = model
        self.features = features
        self.layers = layers
        self.pooling = pooling
        self.prompt = prompt
        self.suffix = suffix
        self.max_tokens = max_tokens
        self.max_text_tokens = max_text_tokens
        self.long = long
        self.eps = eps
        self.normalize = normalize
        self.unreadable = unreadable
        self.revision = revision
        self.device = device
        self.dtype = dtype
        self.batch_tokens = batch_tokens
        self.cache = cache
        self.cache_bytes = cache_bytes

    def fit(self, X: Any = None, y: object = None) -> "GeometryFeatures":  # Any: see check_texts
        """Check the parameters and that ``X`` holds texts; no model is loaded and nothing learnt.

        Returns:
            The estimator itself.

        Raises:
            BadTexts: ``X`` does not hold texts, or is empty.
            BadFeatures: A parameter that cannot be.
        """
        self._spec()
        if X is not None:
            check_texts(X)
        return self

    def transform(self, X: Any) -> np.ndarray:  # Any: see check_texts
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
        spec, texts = self._spec(), check_texts(X)
        group = (self._key(spec), spec)
        rows = _CACHE.get(group, texts) if self.cache_bytes else {}
        missing: dict[str | None, int] = {}
        for row, text in enumerate(texts):
            if text not in rows:
                missing.setdefault(text, row)
        if missing:
            fresh = self._read(group, missing)
            if self.cache_bytes:
                _CACHE.put(group, fresh, self.cache_bytes)
            rows |= fresh
        return np.stack([rows[text] for text in texts])

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """The name of each column of ``transform``; the model is loaded if it is not.

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
        return np.array(entry_names(columns), dtype=object)

    def __sklearn_tags__(self) -> Any:  # Any: scikit-learn has no types
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        tags.transformer_tags.preserves_dtype = []  # float32 always
        tags.requires_fit = False
        return tags

    def _read(
        self, group: tuple[ModelKey, FeatureSpec], first_rows: Mapping[str | None, int]
    ) -> dict[str | None, np.ndarray]:
        """The values of each text; ``first_rows`` holds the first row of each, for errors."""
        from splinelens.features.reader import TextFeatures, TextReader

        texts = list(first_rows)

        def values(features: TextFeatures) -> np.ndarray:
            if features.reason is not None and self.unreadable == "raise":
                row = first_rows[texts[features.index]]
                raise BadTexts(
                    f"the text in row {row} (counted from 0) {features.reason}; leave such rows out, or set "
                    "unreadable='nan' for rows of NaN"
                )
            return features.values

        with shared_model(group[0]) as loaded:
            read = TextReader(loaded, group[1], batch_tokens=self.batch_tokens).map(values, texts)
            return dict(zip(texts, read, strict=True))

    def _key(self, spec: FeatureSpec) -> ModelKey:
        cache = None if self.cache is None else fspath(self.cache)
        return ModelKey(fspath(self.model), spec.depth, self.revision, self.device, cache, self.dtype)

    def _spec(self) -> FeatureSpec:
        """What to read, from parameters that can be."""
        if not isinstance(self.model, str | PathLike):
            raise BadFeatures(
                f"model is a {type(self.model).__name__}, where a name, folder or file is read: a loaded "
                "model cannot be cloned or sent to a worker"
            )
        if self.unreadable not in ("raise", "nan"):
            raise BadFeatures(f"unreadable={self.unreadable!r}: need 'raise' or 'nan'")
        check_batch_tokens(self.batch_tokens)
        if not is_whole_number(self.cache_bytes, 0):
            raise BadFeatures(f"cache_bytes={self.cache_bytes!r}: need a number of bytes, 0 to keep no rows")
        if not isinstance(self.normalize, bool | np.bool_):
            raise BadFeatures(f"normalize={self.normalize!r}: need True or False")
        self._require_names_or_none()
        return FeatureSpec.of(
            self.features,
            self.layers,
            self.pooling,
            prompt=self.prompt,
            suffix=self.suffix,
            max_tokens=self.max_tokens,
            max_text_tokens=self.max_text_tokens,
            long=self.long,
            eps=self.eps,
            normalize=bool(self.normalize),
        )

    def _require_names_or_none(self) -> None:
        """Refuse prompts that are no strings, and what cannot say where a model lies or runs."""
        for name in ("prompt", "suffix"):
            if not isinstance(getattr(self, name), str):
                raise BadFeatures(f"{name}={getattr(self, name)!r}: need a string")
        for name, kinds in (("revision", str), ("device", str), ("dtype", str), ("cache", str | PathLike)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kinds):
                raise BadFeatures(f"{name}={value!r}: need a name, or None")


class _RowCache:
    """In-memory cache of feature rows, by group (model and spec) and hash of the text.

    When it is full, the group used longest ago is dropped; a group never drops its own rows, since
    texts that are read again in the same order would each be dropped just before they are needed.
    """

    _OVERHEAD_BYTES = 256  # of a row's key, its slot in the table and the array around its numbers

    def __init__(self) -> None:
        self._groups: OrderedDict[Hashable, dict[bytes, np.ndarray]] = OrderedDict()
        self._lock = RLock()
        self._size_bytes = 0

    def get(self, group: Hashable, texts: Iterable[str | None]) -> dict[str | None, np.ndarray]:
        """The rows of those texts that are cached."""
        with self._lock:
            rows = self._groups.get(group, {})
            if rows:
                self._groups.move_to_end(group)
            hits = ((text, rows.get(_digest(text))) for text in texts if text is not None)
            return {text: row for text, row in hits if row is not None}

    def put(self, group: Hashable, rows: Mapping[str | None, np.ndarray], limit_bytes: int) -> None:
        """Cache rows as far as the limit of all groups together allows; rows of NaN are left out."""
        with self._lock:
            cached = self._groups.setdefault(group, {})
            self._groups.move_to_end(group)
            for text, row in rows.items():
                if text is None or np.isnan(row).any() or (digest := _digest(text)) in cached:
                    continue
                size = row.nbytes + self._OVERHEAD_BYTES
                if self._make_room(size, limit_bytes):
                    cached[digest] = row.copy()  # a view would keep a whole batch
                    self._size_bytes += size

    def _make_room(self, size: int, limit_bytes: int) -> bool:
        while self._size_bytes + size > limit_bytes and len(self._groups) > 1:
            _, rows = self._groups.popitem(last=False)
            self._size_bytes -= sum(row.nbytes + self._OVERHEAD_BYTES for row in rows.values())
        return self._size_bytes + size <= limit_bytes


_CACHE = _RowCache()  # of this process


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
