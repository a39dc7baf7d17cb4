"""Counts of character n-grams, and texts without their formatting: what a text tells without any model."""

import re
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float

BUCKETS = 2**14
"""Columns of the counts: n-grams are hashed, so that nothing of a text is stored and a table stays small."""

_LONGEST = 4
_LIST_MARK = re.compile(r"^[\s>#*•-]*(?:\d+[.)]\s)?", re.MULTILINE)
_WORD = re.compile(r"\w+")


def ngram_counts(
    texts: Sequence[str | None],
) -> Float[Any, "text bucket"]:  # Any: a sparse matrix of scipy
    """How often each text has each n-gram of one to four characters, case and spaces included.

    A missing text has no n-gram.

    Example:
        >>> counts = ngram_counts(["aab", None])
        >>> counts.shape, int(counts[0].sum()), int(counts[1].sum())
        ((2, 16384), 6, 0)
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(
        analyzer="char",
        ngram_range=(1, _LONGEST),
        lowercase=False,
        n_features=BUCKETS,
        norm=None,
        alternate_sign=False,
    )
    return hashing.transform([text or "" for text in texts])


def without_formatting(text: str) -> str:
    r"""The words of a text in lower case with single spaces: no list marks, markup, punctuation or lines.

    Example:
        >>> without_formatting("Steps:\n\n1. **Pick up** the block.\n2. Stack it!")
        'steps pick up the block stack it'
    """
    return " ".join(_WORD.findall(_LIST_MARK.sub("", text).replace("_", " ").lower()))


def only_formatting(text: str) -> str:
    r"""The text with each word replaced by w: list marks, markup, punctuation and lines are left.

    Example:
        >>> only_formatting("Steps:\n\n1. **Pick up** the block.")
        'w:\n\nw. **w w** w w.'
    """
    return _WORD.sub("w", text)
