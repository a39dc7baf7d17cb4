"""Which n-grams a number at words goes with, and whether that holds on other texts.

An n-gram's mean is pulled towards that of its last words (a single word towards the mean of all), the more
the fewer texts hold it: empirical Bayes, with the spread between n-grams and within them estimated from the
corpus. So what is rare must be extreme to be named, and a long n-gram must add something to its last word.
Source of ranking all n-grams of a corpus by a scalar: Singh et al., arXiv:2305.09863 (SASC).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from splinelens.detect.thresholds import Interval, proportion_interval

_CLEAR, _MORE = 2.0, 0.25
# A longer n-gram must exceed those within it by so many standard errors, and by this share of their distance
# from the mean of all words.
_LEAST_FOR_INTERVAL = 5
_BINS_PER_OCTAVE = 2  # of lengths
_COMPARED = 10  # n-grams of two rankings


@dataclass(frozen=True, eq=False)
class NgramRanking:
    """The n-grams of a corpus by a number at their last word.

    Attributes:
        mean: Mean over the texts that hold an n-gram; in a text the mean over its occurrences.
        score: The mean, pulled towards that of the last words.
        order: The n-grams that stand for themselves and whose score is above the mean of all words, highest
            score first.
    """

    mean: Float[np.ndarray, " ngram"]
    score: Float[np.ndarray, " ngram"]
    order: Int[np.ndarray, " ranked"]


def rank_ngrams(
    value: Float[np.ndarray, " occurrence"],
    ngram: Int[np.ndarray, " occurrence"],
    text: Int[np.ndarray, " occurrence"],
    suffix: Int[np.ndarray, " ngram"],
    prefix: Int[np.ndarray, " ngram"],
    center: float = -np.inf,
) -> NgramRanking:
    """Rank n-grams by the mean of a number at their last word.

    A longer n-gram stands for itself only if its mean is clearly higher, by two standard errors, and much
    higher, by a quarter, than the scores of both shorter ones within it: in a causal model the words after a
    strong one are high as well, and "the fool" is no more than "fool".

    Args:
        value: The number at the last word of each occurrence.
        ngram: Its n-gram; each occurs.
        text: Its text.
        suffix: For each n-gram the one without its first word, -1 of a single word; it stands before it.
        prefix: The one without its last word; likewise.
        center: Only n-grams with a higher score are ranked, such as the mean of all words.

    Example:
        >>> ranking = rank_ngrams(
        ...     np.array([5.0, 5.2, 0.0, 0.2, 5.2]),
        ...     np.array([0, 0, 1, 1, 2]),
        ...     np.array([0, 1, 0, 1, 1]),
        ...     np.array([-1, -1, 0]),
        ...     np.array([-1, -1, 1]),
        ... )
        >>> ranking.order.tolist(), ranking.score.round(2).tolist()
        ([0, 1], [5.1, 0.1, 5.1])
    """
    count = len(suffix)
    if not count:
        return NgramRanking(np.zeros(0), np.zeros(0), np.zeros(0, dtype=int))
    pairs, pair = np.unique(ngram * (int(text.max()) + 1) + text, return_inverse=True)
    of_pair = pairs // (int(text.max()) + 1)
    values = np.bincount(pair, value) / np.bincount(pair)
    texts = np.bincount(of_pair, minlength=count)
    mean = np.bincount(of_pair, values, minlength=count) / texts
    squares = np.bincount(of_pair, (values - mean[of_pair]) ** 2, minlength=count)
    within = squares.sum() / max(1, (texts - 1).sum())
    score, size = mean.copy(), _sizes(suffix)
    for level in range(1, int(size.max()) + 1):
        here = size == level
        if level == 1:
            towards = np.full(int(here.sum()), np.average(mean[here], weights=texts[here]))
        else:
            towards = score[suffix[here]]
        gap = mean[here] - towards
        between = max(float(np.mean(gap**2 - within / texts[here])), 1e-12)
        score[here] = towards + gap * between / (between + within / texts[here])
    error = np.sqrt(within / texts)
    shorter = np.maximum(score[suffix], score[prefix])
    overall = np.average(mean[size == 1], weights=texts[size == 1])
    least = np.maximum(_CLEAR * error, _MORE * np.abs(shorter - overall))
    standing = np.flatnonzero(((size == 1) | (mean > shorter + least)) & (score > center))
    order = standing[np.lexsort((standing, -score[standing]))]
    return NgramRanking(mean, score, order)


@dataclass(frozen=True)
class Contrast:
    """How much higher a number is in texts that hold an n-gram.

    Attributes:
        texts: Texts that hold it.
        difference: Mean difference to texts without it that are about as long; None if there is nothing to
            compare.
        interval: 95 % interval of it; None with fewer than 5 texts, or one text without the n-gram a length.
    """

    texts: int
    difference: float | None
    interval: Interval | None

    @property
    def holds(self) -> bool | None:
        """Whether the difference is above 0 by its interval; None without one."""
        return None if self.interval is None else self.interval[0] > 0


def contrast(
    value: Float[np.ndarray, " text"],
    present: Bool[np.ndarray, " text"],
    tokens: Int[np.ndarray, " text"],
) -> Contrast:
    """Compare texts that hold an n-gram with others about as long.

    A maximum over tokens is higher in longer texts, which also hold more n-grams: each text is compared with
    the mean of the texts without the n-gram whose length is within the same half octave. Texts without such a
    one are left out. The interval is Welch's: it takes in the error of those means, which is the larger one
    where few texts are without the n-gram.

    Args:
        value: The number of each text.
        present: Whether it holds the n-gram.
        tokens: Its length.

    Example:
        >>> present = np.array([True, False, False, True])
        >>> contrast(np.array([3.0, 1.0, 9.0, 2.0]), present, np.array([8, 8, 900, 8]))
        Contrast(texts=2, difference=1.5, interval=None)
    """
    from scipy.special import stdtrit

    octave = np.floor(_BINS_PER_OCTAVE * np.log2(np.maximum(tokens, 1))).astype(int)
    bins = int(octave.max(initial=0)) + 1
    others = np.bincount(octave[~present], minlength=bins)
    means = np.bincount(octave[~present], value[~present], minlength=bins) / np.maximum(others, 1)
    compared = present & (others[octave] > 0)
    texts, count = int(present.sum()), int(compared.sum())
    if not count:
        return Contrast(texts, None, None)
    gap = value[compared] - means[octave[compared]]
    difference = float(gap.mean())
    weight = np.bincount(octave[compared], minlength=bins)
    beside = ~present & (weight[octave] > 0)
    freedom = int(beside.sum()) - int((weight > 0).sum())
    if count < _LEAST_FOR_INTERVAL or freedom < 1:
        return Contrast(texts, difference, None)
    spread = ((value[beside] - means[octave[beside]]) ** 2).sum() / freedom
    with_it = gap.var(ddof=1) / count
    without = spread * (weight**2 / np.maximum(others, 1)).sum() / count**2
    if not with_it + without > 0:
        return Contrast(texts, difference, (difference, difference))
    welch = (with_it + without) ** 2 / (with_it**2 / (count - 1) + without**2 / freedom)
    half = float(stdtrit(welch, 0.975) * np.sqrt(with_it + without))
    return Contrast(texts, difference, (difference - half, difference + half))


@dataclass(frozen=True)
class Deletion:
    """What removing words does to the logit, beside removing as many random other words of the same text.

    As many as there are, where the text has fewer others.

    Attributes:
        texts: Texts that were read without them.
        drop: Mean fall of the logit without the words.
        random_drop: The same without random other words.
        larger: Share of the texts in which the words matter more than the random ones.
        interval: 95 % interval of that share (Clopper-Pearson).
    """

    texts: int
    drop: float
    random_drop: float
    larger: float
    interval: Interval


def deletion(drop: Float[np.ndarray, " text"], random_drop: Float[np.ndarray, " text"]) -> Deletion | None:
    """Compare the falls of the logit; a tie counts for the random words. None without a text.

    Example:
        >>> compared = deletion(np.array([2.0, 3.0, 0.0]), np.array([0.5, 0.0, 0.0]))
        >>> round(compared.larger, 2), round(compared.drop - compared.random_drop, 2)
        (0.67, 1.5)
    """
    if not len(drop):
        return None
    larger = int((drop > random_drop).sum())
    return Deletion(
        len(drop),
        float(drop.mean()),
        float(random_drop.mean()),
        larger / len(drop),
        proportion_interval(larger, len(drop)),
    )


def overlap(one: Sequence[str], other: Sequence[str]) -> float | None:
    """The share of the first ten n-grams that two rankings have in common; None if one has none.

    With fewer than ten in both, of as many as the longer has.

    Example:
        >>> overlap(["a", "b", "c"], ["c", "a", "d"])
        0.6666666666666666
    """
    first, second = set(one[:_COMPARED]), set(other[:_COMPARED])
    if not (first and second):
        return None
    return len(first & second) / max(len(first), len(second))


def _sizes(suffix: Int[np.ndarray, " ngram"]) -> Int[np.ndarray, " ngram"]:
    """How many words each n-gram has."""
    size, inner = np.ones(len(suffix), dtype=int), suffix
    while (inner >= 0).any():
        size += inner >= 0
        inner = np.where(inner >= 0, suffix[inner], -1)
    return size
