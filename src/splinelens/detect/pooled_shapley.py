"""What each word adds to a head on pooled learned margins, shared among words that fire alike.

A maximum over tokens comes from one token: a split by that token gives everything to the strongest word and
nothing to a second one that is almost as strong. The Shapley value asks instead what a word adds to the
maximum over the words before it, averaged over all orders of the words. For a maximum it has a closed form,
that of the airport game: with values ``v_1 <= ... <= v_n`` of the words, the step from ``v_(k-1)`` to ``v_k``
is shared equally by the words from the k-th on. Source: Littlechild and Owen, Management Science 20, 1973.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from splinelens.detect.heads import LinearHead
from splinelens.errors import BadFeatures

FIRES = 0.45
"""Share of the largest value from which on a word fires; chosen on ``toxic-spans`` train."""


def shapley_of_words(
    margins: Float[np.ndarray, "token direction"],
    word: Int[np.ndarray, " token"],
    words: int,
    head: LinearHead,
    poolings: Sequence[str],
    label: int = 0,
) -> Float[np.ndarray, " word"]:
    """The Shapley value of each word of a text; they sum to the logit of a label less its bias.

    Without any word a maximum or minimum is the mean of its column. Of a mean each token gives its part, and
    the last value comes from the last token: there the value is the plain split.

    Args:
        margins: The learned margins of the text's tokens.
        word: The word of each token.
        words: How many words there are; one without a token has the value 0.
        head: Its columns are the margins pooled in each way, one after the other.
        poolings: Of ``max``, ``min``, ``mean`` and ``last``, in the order of the head's columns.
        label: Index of the label.

    Raises:
        BadFeatures: The head has other columns.

    Example:
        >>> head = LinearHead(np.zeros(1), np.ones(1), np.ones((1, 1)), np.zeros(1))
        >>> margins = np.array([[1.0], [5.0], [4.0]])
        >>> shapley_of_words(margins, np.arange(3), 3, head, ["max"]).round(3).tolist()
        [0.333, 2.833, 1.833]
    """
    tokens, size = margins.shape
    if head.width != size * len(poolings):
        raise BadFeatures(
            f"{size} margins pooled in {len(poolings)} ways do not fit a head of {head.width} columns"
        )
    slope, mean = head.weight[label] / head.scale, head.mean.astype(np.float64)
    margins = margins.astype(np.float64)
    known, index = np.unique(word, return_inverse=True)
    total = np.zeros(len(known))
    for at, pooling in enumerate(poolings):
        columns = slice(at * size, (at + 1) * size)
        if pooling in ("max", "min"):
            sign = 1 if pooling == "max" else -1
            highest = highest_of_words(sign * margins, index, len(known))
            total += _shared_maximum(highest, sign * mean[columns]) @ (sign * slope[columns])
        elif pooling == "mean":
            added = (margins - mean[columns]) @ slope[columns] / tokens
            total += np.bincount(index, added, minlength=len(known))
        else:
            total[index[-1]] += (margins[-1] - mean[columns]) @ slope[columns]
    values = np.zeros(words)
    values[known] = total
    return values


def firing_words(
    values: Float[np.ndarray, " word"], function_word: Bool[np.ndarray, " word"]
) -> Bool[np.ndarray, " word"]:
    """Which words fire: those with at least 0.45 of the largest value, function words left out.

    Example:
        >>> firing_words(np.array([0.1, 2.0, 1.0, 1.5]), np.array([False, False, False, True])).tolist()
        [False, True, True, False]
    """
    if not len(values):
        return np.zeros(0, dtype=bool)
    return (values >= FIRES * values.max()) & (values > 0) & ~function_word


def highest_of_words(
    margins: Float[np.ndarray, "token hyperplane"], word: Int[np.ndarray, " token"], words: int
) -> Float[np.ndarray, "word hyperplane"]:
    """The highest margin of each word's tokens; of a word without a token the lowest of the text.

    Args:
        margins: The margins of the tokens.
        word: The word of each token.
        words: How many words there are.

    Example:
        >>> highest_of_words(np.array([[1.0], [3.0], [2.0]]), np.array([0, 0, 2]), 3).tolist()
        [[3.0], [1.0], [2.0]]
    """
    highest = np.full((words, margins.shape[1]), -np.inf, margins.dtype)
    np.maximum.at(highest, word, margins)
    return np.where(np.isfinite(highest), highest, margins.min(axis=0))


def _shared_maximum(
    values: Float[np.ndarray, "word column"], nothing: Float[np.ndarray, " column"]
) -> Float[np.ndarray, "word column"]:
    """The Shapley values of the maximum over words, which is ``nothing`` without any."""
    order = np.argsort(values, axis=0)
    rising = np.take_along_axis(values, order, axis=0)
    steps = np.diff(rising, axis=0, prepend=nothing[None]) / np.arange(len(values), 0, -1)[:, None]
    shared = np.empty_like(values)
    np.put_along_axis(shared, order, np.cumsum(steps, axis=0), axis=0)
    return shared
