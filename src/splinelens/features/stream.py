"""The features of a growing text: one token in, the row of the prefix so far out.

The model's keys and values are cached, and running statistics of the features. A token costs one pass over
itself and O(1) a layer, besides its attention. The numbers are those of ``extract(..., prefixes=True)`` up to
rounding. They are bit-equal where the matrix library sums alike for any batch: a step is padded as texts are.
Linear attention cannot be padded: with it, distances near 0 agree to rounding of the margins only.
"""

from collections import deque
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from operator import index
from os import PathLike
from typing import Any, SupportsIndex

import numpy as np
import torch

from splinelens.anatomy import anatomy_of
from splinelens.engines.torch import TextStats, TokenStats, positions_of, require_evaluation, run_tokens
from splinelens.errors import BadTexts
from splinelens.features.catalogue import Column
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.geometry.directions import Directions
from splinelens.models import LoadedModel
from splinelens.models.load import load_up_to
from splinelens.tokens import TokenBatch, Window, padded

_STEP = 64
# Tokens of one pass, whose margins are in memory together.

_REWIND = 64
# Tokens that can be taken back without reading the text again.


class Stream:
    """The features of every prefix of one growing text.

    Attributes:
        columns: What the values are, in order.
        names: Their names, such as ``layer05.sign_mean``; a vector such as ``layer05.margin_max`` has one
            name and ``columns[i].size`` values.
        reason: Why the values cannot be used any more, or None.
        length: Tokens of the text so far, the prompt not counted.

    Example:
        >>> import splinelens
        >>> stream = splinelens.Stream(features=["spline7"], layers=[0])  # doctest: +SKIP
        >>> for token in stream.ids("Good morning."):  # doctest: +SKIP
        ...     print(stream.push(token)[0])
    """

    def __init__(
        self,
        model: str | PathLike[str] | LoadedModel = "smollm2-135m",
        *,
        features: str | Sequence[str] = "spline7",
        layers: Sequence[int] | None = None,
        pooling: str | Sequence[str] = "max",
        prompt: str = "",
        eps: float = 0.1,
        directions: Directions | None = None,
        revision: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ):
        """Start with an empty text.

        Args:
            model: A loaded model, or the name, folder or file of one.
            features: As in ``extract``.
            layers: Layers to read, from 0; None reads all. Blocks above the last one run the prompt only.
            pooling: Poolings of margins and hidden states.
            prompt: Run before the text, never pooled.
            eps: Attention weights above it count for ``attention_id``; in (0, 1).
            directions: Learned hyperplanes for the feature ``directions``, as in ``extract``.
            revision: Branch, tag or commit of a hub id.
            device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.
            dtype: Number type of the weights; None takes ``float32``.

        Raises:
            BadFeatures: Names or layers that do not exist, ``eps`` outside (0, 1), or a model in
                training mode.
            BadModel: The model cannot be loaded, or an option of loading is given for a loaded one.
        """
        spec = FeatureSpec.of(
            features, layers, pooling, directions=directions, prompt=prompt, max_tokens=1, eps=eps
        )
        loaded = load_up_to(model, spec.layers, revision=revision, device=device, dtype=dtype)
        require_evaluation(loaded.model)
        self._reader = TextReader(loaded, spec, directions=directions)
        self.columns: tuple[Column, ...] = self._reader.columns
        self._linear = anatomy_of(loaded.model).has_linear_attention
        self._step = 1 if self._linear else _STEP
        self._begin()

    def __repr__(self) -> str:
        layers = self._reader.layers
        read = (
            f"{len(layers)} layers ({layers[0]} to {layers[-1]})" if len(layers) > 1 else f"layer {layers[0]}"
        )
        return (
            f"Stream({self._reader.loaded.name!r}, {self.length} tokens, {len(self.columns)} columns, {read})"
        )

    @property
    def names(self) -> list[str]:
        """Names of the columns, such as ``layer05.margin_max``; a vector has one name."""
        return [column.name for column in self.columns]

    @property
    def reason(self) -> str | None:
        """Why the values cannot be used any more, or None: the layer and token that are not finite.

        With linear attention, whose state cannot be wound back, only the token.
        """
        return self._reason

    def __copy__(self) -> "Stream":
        """Another stream that continues after the same token; the model is shared."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._cache = deepcopy(self._cache)
        other._ids, other._states = self._ids.copy(), self._states.copy()
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> "Stream":  # Any: as the copy module has it
        """As ``copy.copy``: the model is never copied."""
        return self.__copy__()

    def ids(self, text: str) -> tuple[int, ...]:
        """The token ids of a text or of its next piece; end pieces between words.

        Returns:
            Its ids, special tokens read as letters.

        Raises:
            BadTexts: The text is empty, only white space, or cannot be encoded.
        """
        (tokenized,) = self._reader.tokenize([text])
        if tokenized.reason is not None:
            raise BadTexts(f"the text {tokenized.reason}; feed one with tokens, or push token ids")
        return tokenized.ids

    def feed(self, text: str) -> np.ndarray:
        """Continue with a text; one row for each of its tokens, (token, entry) float32.

        Raises:
            BadTexts: As in ``ids`` and ``extend``.
        """
        return self.extend(self.ids(text))

    def push(self, token: SupportsIndex) -> np.ndarray:
        """Continue with one token.

        Returns:
            (entry,) float32: the values of all columns for the text so far. From a token on whose
            activations are not finite they are not finite either.

        Raises:
            BadTexts: As in ``extend``.
        """
        return self.extend([token])[0]

    def extend(self, ids: Sequence[SupportsIndex] | np.ndarray) -> np.ndarray:
        """Continue with several token ids, up to 64 in one pass; one row for each, (token, entry) float32.

        Raises:
            BadTexts: An id is none of the model's, the model has no position left for them (then none is
                taken), or an earlier step was interrupted.
        """
        tokens = _whole_numbers(ids)
        self._check_fit(tokens)
        rows = [np.empty((0, self._reader.layout.width), dtype=np.float32)]
        for start in range(0, len(tokens), self._step):
            rows += self._take(tokens[start : start + self._step])
        return np.concatenate(rows)

    def become(self, ids: Sequence[SupportsIndex] | np.ndarray) -> np.ndarray:
        """Make these the tokens of the text: take back those that differ, and read the rest.

        A text that grows by a character may have another last word, and so other last tokens. Up to 64 tokens
        are taken back without a pass; for more, and with linear attention, the text is read again.

        Returns:
            (entry,) float32: the values for the text, as ``push`` gives them.

        Raises:
            BadTexts: As in ``extend``, or there is no token.
        """
        tokens = _whole_numbers(ids)
        if not tokens:
            raise BadTexts("no token; a text needs one to have features")
        kept = 0
        for ours, theirs in zip(self._ids, tokens, strict=False):
            if ours != theirs:
                break
            kept += 1
        kept = min(kept, len(tokens) - 1)  # the last one is read for its row
        if kept < self.length or self._cache is None:
            self._rewind(kept)
        return self.extend(tokens[self.length :])[-1]

    def _begin(self) -> None:
        """Start with an empty text after the prompt."""
        self.length = 0
        self._ids: list[int] = []
        self._states: deque[TextStats] = deque(maxlen=_REWIND + 1)  # after each of the last tokens
        self._reason: str | None = None
        self._state: TextStats | None = None
        prompt_cache = self._reader.torch_engine.prompt
        self._cached = prompt_cache.length
        self._cache: Any = None  # until the prompt is complete; Any: see engines/torch.py
        cache = prompt_cache.cache(1) or self._empty_cache()
        for token in self._reader.prompt:
            batch = self._batch([token])
            ids, positions = torch.from_numpy(batch.ids), torch.from_numpy(batch.positions)
            run_tokens(self._reader.torch_engine.model, ids, positions, cache=cache)
            self._cached += 1
        self._cache = cache

    def _rewind(self, length: int) -> None:
        """Take back all tokens but the first ones; all of them where that is not possible."""
        back = self.length - length
        broken = self._linear or self._reason is not None or self._cache is None
        if broken or not length or back >= len(self._states):
            self._begin()
            return
        for _ in range(back):
            self._states.pop()
        self._state, self.length = self._states[-1], length
        del self._ids[length:]
        self._cached -= back
        self._crop(self._cache, self._cached)

    def _take(self, part: Sequence[int]) -> list[np.ndarray]:
        """Take in the tokens of one pass; the rows of their prefixes."""
        cache = self._cache
        if cache is None:
            raise BadTexts("an earlier step of this stream was interrupted; start a new Stream")
        self._cache = None  # until the step is complete
        stats = self._run(part, cache)
        if self._reason is None and not _is_finite(stats):
            layer = self._failing_layer(part, cache)
            if layer is not None and len(part) > 1:  # it spoils tokens before it, too
                self._cached -= len(part)
                self._crop(cache, self._cached)
                self._cache = cache
                return [row for token in part for row in self._take([token])]
            self._set_reason(layer, stats)
        rows = self._rows(stats, len(part))
        self._ids += part
        self._cache = cache
        return [rows]

    def _run(self, ids: Sequence[int], cache: Any) -> TokenStats:  # Any: see engines/torch.py
        """Run some tokens after those in the cache."""
        stats = self._reader.torch_engine.token_stats(self._batch(ids), cache)
        self._cached += len(ids)
        if not self._linear:
            self._crop(cache, self._cached)  # the padding leaves the cache again
        return stats.text(0, 0, len(ids))

    def _batch(self, ids: Sequence[int]) -> TokenBatch:
        """Tokens that follow those in the cache; padding comes after them, where they cannot see it."""
        width = len(ids) if self._linear else padded(len(ids), self._cached)
        row = np.array([[*ids, *[0] * (width - len(ids))]])
        positions = np.arange(self._cached, self._cached + width)[None]
        window = Window(0, 0, 0, len(ids))
        mask = np.arange(width)[None] < len(ids)
        return TokenBatch(row, mask, positions, ((0, len(ids)),), (window,), "right")

    def _rows(self, stats: TokenStats, count: int) -> np.ndarray:
        """Rows of the prefixes that end at some new tokens."""
        layout = self._reader.layout
        pooled = layout.scan(stats, self._state)
        lengths = range(self.length + 1, self.length + count + 1)
        self._states.extend(pooled.rows(row, row + 1) for row in range(count))
        self._state, self.length = self._states[-1], self.length + count
        return layout.values(pooled, lengths)

    def _failing_layer(self, ids: Sequence[int], cache: Any) -> int | None:  # Any: see engines/torch.py
        """The first layer that fails when the tokens that were run last are run again, on a copy."""
        if self._linear:
            return None
        cache, cached = deepcopy(cache), self._cached
        self._cached -= len(ids)
        self._crop(cache, self._cached)
        try:
            return self._reader.torch_engine.failing_layer(self._batch(ids), cache)
        finally:
            self._cached = cached

    def _crop(self, cache: Any, length: int) -> None:  # Any: see engines/torch.py
        """Keep the first tokens of a cache."""
        for layer in cache.layers:
            if layer.keys is not None:  # of a block after the last layer that is read
                layer.keys, layer.values = (part[:, :, :length] for part in (layer.keys, layer.values))

    def _set_reason(self, layer: int | None, stats: TokenStats) -> None:
        """Record where a pass over one token failed; a layer without hyperplanes is no failure."""
        boundary = torch.zeros(1) if stats.boundary is None else stats.boundary
        if layer is not None:
            self._reason = f"gives values that are not finite at layer {layer}, token {self.length}"
        elif self._linear and (boundary.isnan().any() or not _is_finite(replace(stats, boundary=None))):
            self._reason = f"gives values that are not finite at token {self.length}"

    def _check_fit(self, ids: Sequence[int]) -> None:
        name, model = self._reader.loaded.name, self._reader.torch_engine.model
        words: int = model.get_input_embeddings().num_embeddings  # type: ignore[operator]  # transformers' own
        unknown = [token for token in ids if not 0 <= token < words]
        if unknown:
            raise BadTexts(f"token ids {unknown[:5]} do not exist: {name} has {words:,}, from 0")
        limit = positions_of(model).exceeded(self._cached + len(ids), name)
        if limit is not None:
            raise BadTexts(
                f"no room for {len(ids)} more tokens: with the {self._cached} of prompt and text they exceed "
                f"{limit}; start a new Stream, or read long texts in windows with extract"
            )

    def _empty_cache(self) -> Any:  # Any: see engines/torch.py
        from transformers import DynamicCache

        # Without a configuration sliding windows drop nothing; linear attention needs one.
        return DynamicCache(config=self._reader.torch_engine.model.config) if self._linear else DynamicCache()


def _whole_numbers(ids: Sequence[SupportsIndex] | np.ndarray) -> tuple[int, ...]:
    try:
        return tuple(index(token) for token in ids)
    except TypeError as error:
        raise BadTexts(f"token ids are whole numbers: {error}; feed(text) takes a text") from error


def _is_finite(stats: TokenStats) -> bool:
    """Whether every number of some tokens is finite."""
    pooled = stats.sign, stats.boundary, stats.dimension, stats.learned
    parts = (*pooled, *stats.margins.values(), *stats.hidden.values())
    return all(bool(part.isfinite().all()) for part in parts if part is not None)
