"""The margins of every token of many texts to chosen hyperplanes, from one pass over each text.

A layer's own hyperplanes are its gate neurons; learned ones cut several layers at once. Only the chosen ones
outlive a batch, so that memory grows with the tokens of the texts and not with the neurons of the model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from splinelens.engines.torch import TokenStats
from splinelens.errors import BadFeatures
from splinelens.features.reader import Progress, TextReader
from splinelens.tokens import TokenizedText, Window


@dataclass(frozen=True, order=True)
class Hyperplane:
    """One hyperplane that a reader reads.

    Attributes:
        layer: The layer whose gate it is of; -1 for a learned one, which cuts several layers.
        index: The neuron, or the learned direction.

    Example:
        >>> str(Hyperplane(5, 1200)), str(Hyperplane(-1, 3))
        ('layer 5, neuron 1,200', 'learned hyperplane 3')
    """

    layer: int
    index: int

    def __str__(self) -> str:
        if self.layer < 0:
            return f"learned hyperplane {self.index:,}"
        return f"layer {self.layer}, neuron {self.index:,}"


@dataclass(frozen=True, eq=False)
class TokenMargins:
    """The margins of the tokens of one text.

    Attributes:
        offsets: Character span (begin, end) of each token that was read.
        values: The margins, in the units of the reader's columns; no token where there is a reason.
        reason: Why the text has none; else None.
    """

    offsets: tuple[tuple[int, int], ...]
    values: Float[np.ndarray, "token hyperplane"]
    reason: str | None = None


def token_margins(
    reader: TextReader,
    texts: Sequence[str | None],
    hyperplanes: Sequence[Hyperplane],
    *,
    progress: Progress | None = None,
) -> Iterator[TokenMargins]:
    """Read the margins of every token to some hyperplanes.

    Args:
        reader: It runs PyTorch, and its columns hold margins to these hyperplanes.
        texts: The texts; None stands for a missing one.
        hyperplanes: Those to read. On a layer of experts only neurons of a token's experts have a margin, so
            none of it may be named.
        progress: Called with the texts and the characters read since the last call.

    Yields:
        The margins of each text, in input order.

    Raises:
        BadFeatures: The reader runs an exported graph, or a hyperplane is not among those that it reads.
    """
    _check(reader, hyperplanes)
    report = progress or (lambda texts, characters: None)
    for start in range(0, len(texts), reader.chunk):
        chunk = texts[start : start + reader.chunk]
        tokenized = reader.tokenize(chunk)
        margins = _of_chunk(reader, tokenized, hyperplanes)
        for text, tokens, parts in zip(chunk, tokenized, margins, strict=True):
            report(1, len(text or ""))
            yield _joined(tokens, parts, len(hyperplanes))


class MarginStore:
    """Margins of tokens that are kept in memory, those of all texts or none.

    Args:
        most_bytes: Where they need more, all are dropped.
    """

    def __init__(self, most_bytes: int):
        self._most, self._bytes = most_bytes, 0
        self._margins: dict[int, Float[np.ndarray, "token hyperplane"]] = {}

    def add(self, text: int, margins: Float[np.ndarray, "token hyperplane"] | None) -> None:
        """Keep a copy of the margins of a text; without any all are dropped."""
        self._bytes = self._most + 1 if margins is None else self._bytes + margins.nbytes
        if margins is None or self._bytes > self._most:
            self._margins.clear()
        else:
            self._margins[text] = margins.copy()

    def of(self, texts: Sequence[int]) -> list[Float[np.ndarray, "token hyperplane"]] | None:
        """The margins of some texts; None if they were dropped."""
        return None if self._bytes > self._most else [self._margins[text] for text in texts]


_Parts = list[tuple[Window, np.ndarray]] | str


def _of_chunk(
    reader: TextReader, tokenized: Sequence[TokenizedText], hyperplanes: Sequence[Hyperplane]
) -> Iterator[_Parts]:
    """The windows of each text with their margins, or why it has none."""
    parts: list[_Parts] = [[] for _ in tokenized]
    for batch, stats in reader.token_stats(tokenized):
        if isinstance(stats, str):
            parts[batch.windows[0].text] = stats
            continue
        margins = _chosen(stats, hyperplanes)
        for row, (window, (start, stop)) in enumerate(zip(batch.windows, batch.spans, strict=True)):
            of_text = parts[window.text]
            if not isinstance(of_text, str):
                of_text.append((window, margins[row, start:stop].copy()))
    return iter(parts)


def _chosen(
    stats: TokenStats, hyperplanes: Sequence[Hyperplane]
) -> Float[np.ndarray, "text token hyperplane"]:
    columns = []
    for hyperplane in hyperplanes:
        values = stats.learned if hyperplane.layer < 0 else stats.margins[hyperplane.layer]
        assert values is not None  # _check
        columns.append(values[..., hyperplane.index].float())
    return torch.stack(columns, dim=-1).numpy()


def _joined(tokens: TokenizedText, parts: _Parts, count: int) -> TokenMargins:
    """The margins of a text from those of its windows."""
    nothing = np.zeros((0, count), np.float32)
    if isinstance(parts, str) or not parts:
        return TokenMargins((), nothing, parts if isinstance(parts, str) else tokens.reason or "has no token")
    values = np.concatenate([margins for _, margins in sorted(parts, key=lambda part: part[0].start)])
    if not np.isfinite(values).all():
        return TokenMargins((), nothing, "gives values that are not finite")
    return TokenMargins(tokens.offsets, values)


def _check(reader: TextReader, hyperplanes: Sequence[Hyperplane]) -> None:
    """Refuse hyperplanes that the reader does not read."""
    engine = reader.torch_engine
    request = engine.request
    for hyperplane in hyperplanes:
        if hyperplane.layer < 0:
            count = len(request.directions) if request.directions is not None and request.learned else 0
        elif request.margins and hyperplane.layer in request.layers:
            count = len(engine.norms[hyperplane.layer])
        else:
            count = 0
        if not 0 <= hyperplane.index < count:
            raise BadFeatures(
                f"{hyperplane} is not among the {count:,} hyperplanes there whose margins are read; choose "
                "others"
            )
