"""The features of a text while it grows: one token in, the row of the prefix so far out.

The model's keys and values are kept, and of the features only running minima, maxima, means and
deviations: a token costs one pass over itself and O(1) a layer, besides its attention. The numbers
are those of ``extract(..., prefixes=True)`` up to rounding, and to the bit where the matrix library
sums alike whatever the batch, because a step is padded as texts are. Linear
attention cannot be padded; there distances near 0 agree to rounding of the margins only.
"""

from collections.abc import Sequence
from copy import deepcopy
from functools import cache, partial
from operator import index
from typing import Any, SupportsIndex

import numpy as np
import torch
from torch import Tensor

from splinelens.anatomy import anatomy_of
from splinelens.errors import BadTexts
from splinelens.features.catalogue import Column, statistics
from splinelens.features.nonfinite import failing_layer
from splinelens.features.positions import positions_of, run_tokens
from splinelens.features.reader import TextReader
from splinelens.features.reading import BatchReader, RowReading
from splinelens.features.rows import threshold_number
from splinelens.features.spec import FeatureSpec
from splinelens.geometry.running import Running, spread
from splinelens.models import LoadedModel, load_model
from splinelens.tokens import padded

_STEP = 64
# Tokens of one pass: their margins are kept until the running numbers have taken them in.


class Stream:
    """The features of every prefix of one growing text.

    Attributes:
        columns: What the values are, in order.
        length: Tokens of the text so far, the prompt not counted.

    Example:
        >>> import splinelens
        >>> stream = splinelens.Stream(features=["spline7"], layers=[0])  # doctest: +SKIP
        >>> for token in stream.ids("Good morning."):  # doctest: +SKIP
        ...     print(stream.push(token)[0])
    """

    def __init__(
        self,
        model: str | LoadedModel = "smollm2-135m",
        *,
        features: Sequence[str] = ("spline7",),
        layers: Sequence[int] | None = None,
        pooling: Sequence[str] = ("max",),
        prompt: str = "",
        eps: float = 0.1,
    ):
        """Start with an empty text.

        Args:
            model: A loaded model, or the name, folder or file of one.
            features: As in ``extract``.
            layers: Layers to read, from 0; None reads all. Blocks above the last one are not run.
            pooling: Poolings of margins and hidden states.
            prompt: Run before the text, never pooled.
            eps: Attention weights above it count for ``attention_id``; in (0, 1).

        Raises:
            BadFeatures: Names or layers that do not exist, or ``eps`` outside (0, 1).
            BadModel: The model cannot be loaded.
        """
        features = (features,) if isinstance(features, str) else features
        pooling = (pooling,) if isinstance(pooling, str) else pooling
        chosen = None if layers is None else tuple(sorted(set(layers)))
        spec = FeatureSpec(tuple(features), tuple(pooling), chosen, prompt, max_tokens=1, eps=eps)
        statistics(spec.features, spec.pooling)  # a wrong name shows before a model is loaded
        loaded = load_model(model, layers=spec.depth) if isinstance(model, str) else model
        self._reader = TextReader(loaded, spec)
        self.columns: tuple[Column, ...] = self._reader.columns
        self.length = 0
        self._reason: str | None = None
        self._ran = self._reader.prompt.length
        self._running: dict[tuple[str, int], Running] = {}
        anatomy = anatomy_of(loaded.model)
        self._linear = len(anatomy.softmax_layers) < anatomy.depth
        self._step = 1 if self._linear else _STEP
        self._cache: Any = self._reader.prompt.cache(1) or self._empty_cache()  # Any: see prompt.py
        self._occupied = any(row.pooling == "occupancy" for row in self._reader.statistics)
        self._sizes = {
            column.layer: column.size for column in self.columns if column.statistic.axis == "neuron"
        }
        for token in self._reader.prefix:
            self._run(self._cache, [token])
            self._ran += 1

    @property
    def names(self) -> list[str]:
        """Names of the columns, such as ``layer05.margin_max``; a vector has one name."""
        return [column.name for column in self.columns]

    @property
    def reason(self) -> str | None:
        """Why the values cannot be used any more, or None: the layer and token that are not finite.

        With linear attention, whose state cannot be wound back, the token alone.
        """
        return self._reason

    def __copy__(self) -> "Stream":
        """Another stream that goes on from the same place; the model is shared."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._cache, other._running = deepcopy(self._cache), dict(self._running)
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> "Stream":  # Any: as the copy module has it
        """As ``copy.copy``: the model is never copied."""
        return self.__copy__()

    def ids(self, text: str) -> tuple[int, ...]:
        """The token ids of a text, as ``feed`` takes it.

        Args:
            text: The text, or its next piece: pieces are tokenized apart, so end them between words.

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
        """Go on with a text.

        Args:
            text: As in ``ids``.

        Returns:
            (token, entry) float32: one row for each of its tokens, the last one being of all so far.

        Raises:
            BadTexts: As in ``ids`` and ``extend``.
        """
        return self.extend(self.ids(text))

    def push(self, token: SupportsIndex) -> np.ndarray:
        """Go on with one token.

        Args:
            token: Its id.

        Returns:
            (entry,) float32: the values of all columns for the text so far. From a token on whose
            activations are not finite they are not finite either.

        Raises:
            BadTexts: As in ``extend``.
        """
        return self.extend([token])[0]

    def extend(self, ids: Sequence[SupportsIndex] | np.ndarray) -> np.ndarray:
        """Go on with several tokens, up to 64 in one pass.

        Args:
            ids: Their ids.

        Returns:
            (token, entry) float32: one row for each of them.

        Raises:
            BadTexts: An id is none of the model's, the model has no position left for them (none
                of them is taken then), or an earlier step was interrupted.
        """
        tokens = self._whole_numbers(ids)
        self._require_fit(tokens)
        rows = [np.empty((0, self._reader.layout.width), dtype=np.float32)]
        for start in range(0, len(tokens), self._step):
            part = tokens[start : start + self._step]
            reading = self._read(part)
            if self._reason is None and not _is_finite(reading):
                layer = self._failing_layer(part)
                if layer is not None and len(part) > 1:  # it spoils tokens before it, too
                    self._wind_back(self._cache, len(part))
                    self._ran -= len(part)
                    rows += [self.extend([token]) for token in part]
                    continue
                self._tell(layer, reading)
            rows += [self._advance(reading, token)[None] for token in range(len(part))]
        return np.concatenate(rows)

    def _failing_layer(self, ids: Sequence[int]) -> int | None:
        """The first layer that fails when the tokens that were run last are run again, on a copy."""
        if self._linear:
            return None
        states, ran = deepcopy(self._cache), self._ran
        self._wind_back(states, len(ids))
        self._ran -= len(ids)
        try:
            with torch.no_grad():
                depth = max(self._reader.layers, default=0) + 1
                run = partial(self._run, states, ids)
                return failing_layer(self._reader.loaded.model, depth, (0, len(ids)), run)
        finally:
            self._ran = ran

    def _wind_back(self, states: Any, tokens: int) -> None:  # Any: see prompt.py
        """Take the last tokens out of a cache again."""
        for layer in states.layers:
            if layer.keys is not None:
                kept = self._ran - tokens
                layer.keys, layer.values = (part[:, :, :kept] for part in (layer.keys, layer.values))

    def _tell(self, layer: int | None, reading: RowReading) -> None:
        """Keep where a pass over one token failed; a layer without walls is no failure."""
        if layer is not None:
            self._reason = f"gives values that are not finite at layer {layer}, token {self.length}"
        elif self._linear and reading.series is not None and np.isnan(reading.series).any():
            self._reason = f"gives values that are not finite at token {self.length}"

    def _whole_numbers(self, ids: Sequence[SupportsIndex] | np.ndarray) -> tuple[int, ...]:
        try:
            return tuple(index(token) for token in ids)
        except TypeError as error:
            raise BadTexts(f"token ids are whole numbers: {error}; feed(text) takes a text") from error

    def _require_fit(self, ids: Sequence[int]) -> None:
        loaded = self._reader.loaded
        words: int = loaded.model.get_input_embeddings().num_embeddings  # type: ignore[operator]  # transformers' own
        wrong = [token for token in ids if not 0 <= token < words]
        if wrong:
            raise BadTexts(f"token ids {wrong[:5]} do not exist: {loaded.name} has {words:,}, from 0")
        limit = positions_of(loaded.model).exceeded(self._ran + len(ids), loaded.name)
        if limit is not None:
            raise BadTexts(
                f"no room for {len(ids)} more tokens: with the {self._ran} of prompt and text they exceed "
                f"{limit}; start a new Stream, or read long texts in windows with extract"
            )

    def _empty_cache(self) -> Any:  # Any: see prompt.py
        from transformers import DynamicCache

        # Without a configuration sliding windows drop nothing; linear attention needs one.
        return DynamicCache(config=self._reader.loaded.model.config) if self._linear else DynamicCache()

    def _read(self, ids: Sequence[int]) -> RowReading:
        reader, states = self._reader, self._cache
        if states is None:
            raise BadTexts("an earlier step of this stream was interrupted; start a new Stream")
        batch = BatchReader(
            reader.loaded.model,
            reader.statistics,
            reader.layers,
            [(0, len(ids))],
            whole=True,
            eps=reader.spec.eps,
            softmax=reader.softmax,
        )
        self._cache = None  # until all layers have taken the tokens in
        with torch.no_grad():
            (reading,) = batch.read(lambda: self._run(states, ids))
        self._cache = states
        self._ran += len(ids)
        for layer in () if self._linear else states.layers:
            if layer.keys is not None:  # of a block above the last layer that is read
                layer.keys, layer.values = (part[:, :, : self._ran] for part in (layer.keys, layer.values))
        return reading

    def _run(self, states: Any, ids: Sequence[int]) -> None:  # Any: see prompt.py
        # Padding stands behind the tokens, where they cannot see it, and leaves the cache again.
        width = len(ids) if self._linear else padded(len(ids), self._ran)
        row = torch.tensor([[*ids, *[0] * (width - len(ids))]])
        places = torch.arange(self._ran, self._ran + width)[None]
        run_tokens(self._reader.loaded.model, row, places, cache=states)

    def _advance(self, reading: RowReading, token: int) -> np.ndarray:
        """Take in one token of a pass and return the row of the text up to it."""
        self.length += 1
        if reading.series is not None:
            self._take("series", -1, torch.from_numpy(reading.series[..., token]))
        if reading.dimension is not None:
            self._take("dimension", -1, torch.from_numpy(reading.dimension[..., token]))
        for (needs, layer), vectors in reading.vectors.items():
            values, seen = torch.from_numpy(vectors[token]), None
            if needs == "gate":
                if layer in reading.neurons:
                    neurons = torch.from_numpy(reading.neurons[layer][token])
                    both = spread(values[None], neurons[None], self._sizes[layer])
                    values, seen = both[0][0], both[1][0]
                if self._occupied:  # a comparison hides NaN and infinity: let them show, as in ``pool``
                    self._take("on", layer, (values > 0) + 0 * values)
            self._take(needs, layer, values, seen)
        return self._row()

    def _take(self, name: str, layer: int, values: Tensor, seen: Tensor | None = None) -> None:
        state = self._running.get((name, layer)) or Running.started(tuple(values.shape))
        self._running[name, layer] = state.advanced(values, seen)

    def _row(self) -> np.ndarray:
        reader, values = self._reader, []
        series = self._running.get(("series", -1))
        # Where a sum of squares is not finite a token was not; also where only signs are asked for.
        good = series.square.isfinite().all(dim=0).tolist() if series else []

        @cache
        def pooled(name: str, layer: int, pooling: str) -> np.ndarray:
            return self._running[name, layer].pooled(pooling).numpy()

        for column in reader.columns:
            row, layer = column.statistic, column.layer
            entry: Any  # Any: a number or a vector
            if layer is None:
                entry = self.length
            elif row.needs == "attention":
                counts = pooled("dimension", -1, row.pooling)
                entry = counts[threshold_number(row.name), reader.softmax.index(layer)]
            elif row.feature == "spline7":
                kind, _, pooling = row.name.partition("_")
                place = reader.layers.index(layer)
                both = pooled("series", -1, pooling)
                entry = both[("sign", "boundary").index(kind), place] if good[place] else np.nan
            elif row.pooling == "occupancy":
                entry = pooled("on", layer, "mean")
            else:
                entry = pooled(row.needs, layer, row.pooling)
            values.append(np.atleast_1d(entry))
        return np.concatenate(values, dtype=np.float32)


def _is_finite(reading: RowReading) -> bool:
    """Whether every number that was read is one."""
    there = [reading.series, *reading.vectors.values()]
    if reading.dimension is not None and not bool((reading.dimension >= 0).all()):
        return False
    return all(bool(np.isfinite(part).all()) for part in there if part is not None)
