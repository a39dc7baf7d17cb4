"""Character n-grams of texts, and texts without their formatting; no model is needed."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
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


def ngram_similarity(
    answers: Sequence[Sequence[str]],
) -> Float[np.ndarray, "writer writer prompt"]:
    """Cosine of the TF-IDF of the n-grams of the answers, (writer, prompt), of two writers to each prompt.

    Example:
        >>> ngram_similarity([["a tree"], ["a tree"], ["##"]])[0, :, 0].round(6).tolist()
        [1.0, 1.0, 0.0]
    """
    from sklearn.feature_extraction.text import TfidfTransformer

    counts = ngram_counts([text for row in answers for text in row])
    rows = TfidfTransformer(sublinear_tf=True).fit_transform(counts)
    prompts = len(answers[0])
    of_prompts = [rows[prompt::prompts] for prompt in range(prompts)]
    return np.stack([(one @ one.T).toarray() for one in of_prompts], axis=2)


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
