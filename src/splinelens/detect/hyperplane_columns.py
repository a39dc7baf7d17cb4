"""Columns of a head that are pooled margins to hyperplanes, and the margins of words behind them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from splinelens.detect.pooled_shapley import highest_of_words
from splinelens.features.catalogue import Column
from splinelens.features.token_margins import Hyperplane
from splinelens.features.word_corpus import WordCorpus


@dataclass(frozen=True)
class HyperplaneColumn:
    """A column of a head that is a pooled margin to a hyperplane.

    Attributes:
        hyperplane: Which.
        pooling: How the margin is pooled over tokens.
        index: Index of the column.
        raises: Whether the logit rises where it fires.
    """

    hyperplane: Hyperplane
    pooling: str
    index: int
    raises: bool

    @property
    def sign(self) -> int:
        """-1 if it fires where its margin is low."""
        return -1 if self.pooling == "min" else 1


def hyperplane_columns(
    blocks: Sequence[Column], slope: Float[np.ndarray, " column"]
) -> list[HyperplaneColumn]:
    """The columns of a head that are margins to hyperplanes.

    Args:
        blocks: The blocks of columns that a reader gives.
        slope: Of the logit in each column.
    """
    columns, start = [], 0
    for block in blocks:
        if block.statistic.feature in ("margins", "directions"):
            for number in range(block.size):
                hyperplane = Hyperplane(-1 if block.layer is None else block.layer, number)
                pooling = block.statistic.pooling
                raises = bool((slope[start + number] > 0) != (pooling == "min"))
                columns.append(HyperplaneColumn(hyperplane, pooling, start + number, raises))
        start += block.size
    return columns


def margins_of_columns(
    margins: Iterable[Float[np.ndarray, "token hyperplane"]],
    corpus: WordCorpus,
    hyperplanes: Sequence[Hyperplane],
    columns: Sequence[HyperplaneColumn],
) -> Iterator[tuple[Float[np.ndarray, " word"], Float[np.ndarray, " text"]]]:
    """For each column the margins of the words of all texts and the pooled ones, both in standard deviations.

    The sign is such that high is where it fires. A word has the margin of its token that fires most.

    Args:
        margins: Of the tokens of each text.
        corpus: The texts.
        hyperplanes: Those of the margins.
        columns: Of these hyperplanes.
    """
    chosen = [hyperplanes.index(column.hyperplane) for column in columns]
    signs = np.array([column.sign for column in columns], dtype=np.float32)
    by_word = np.empty((len(corpus.text_of_word), len(columns)), np.float32)
    by_text = np.empty((len(corpus), len(columns)), np.float32)
    for text, (of_tokens, words) in enumerate(zip(margins, corpus.words, strict=True)):
        values, start, size = of_tokens[:, chosen] * signs, corpus.start[text], len(words.keys)
        by_word[start : start + size] = highest_of_words(values, np.array(words.of_token), size)
        pooled = {"last": values[-1], "mean": values.mean(axis=0)}
        by_text[text] = [
            pooled.get(column.pooling, values.max(axis=0))[at] for at, column in enumerate(columns)
        ]
    for at in range(len(columns)):
        yield _standardized(by_word[:, at]), _standardized(by_text[:, at])


def _standardized(values: Float[np.ndarray, " entry"]) -> Float[np.ndarray, " entry"]:
    values = values.astype(np.float64)
    return (values - values.mean()) / (values.std() or 1.0)
