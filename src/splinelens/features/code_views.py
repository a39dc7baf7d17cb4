"""Views of functions, in which their similarities are measured, and the space that an index spans.

``words`` are n-grams of characters, ``structure`` n-grams of tokens without names; their counts are hashed,
so that a row depends on its function only. ``code``, ``summary`` and ``geometry`` are vectors of models.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from splinelens.texts.code import Language, syntax_tokens

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Vectors = Any  # a sparse or a dense matrix, with a row for each function

VIEWS = ("words", "structure", "code", "summary", "geometry")
"""All views; an index has the first two, and others as asked."""

SPARSE = ("words", "structure")
"""The views that are counts."""

HASHED = 2**18
"""Columns of hashed counts."""

_NGRAMS = {"words": (3, 5), "structure": (1, 5)}
_NEIGHBORS = 10  # whose mean similarity says how much a function resembles everything
_REFERENCE = 2000  # functions among which they are looked for
_BLOCK = 1000
_MAX_WHITENED = 512
_SHRINKAGE = 0.1
_MIN_LANGUAGE = 20  # functions that a mean of their own needs


def word_counts(texts: Sequence[str]) -> "csr_array":
    """Counts of n-grams of 3 to 5 characters in each text, hashed, whatever its case and white space."""
    from sklearn.feature_extraction.text import HashingVectorizer

    return _hashed(HashingVectorizer(analyzer="char", ngram_range=_NGRAMS["words"], **_HASHING), texts)


def structure_counts(texts: Sequence[str], languages: Sequence[Language]) -> "csr_array":
    """Counts of n-grams of up to 5 tokens, in which all names are one."""
    from sklearn.feature_extraction.text import HashingVectorizer

    pairs = [*zip(texts, languages, strict=True)]
    return _hashed(HashingVectorizer(analyzer=_token_ngrams, **_HASHING), pairs)


class CodeSpace:
    """What the functions of an index decide about a similarity.

    Rare n-grams weigh more. Of dense views the mean of each language is removed, so that functions are not
    alike only because they are written in one, and those of up to 512 entries are whitened: an encoder's
    vectors of code differ in few directions only. The covariance is shrunk, so that few functions suffice.

    Args:
        vectors: Of the functions of the index, by view.
        languages: Of each function.
    """

    def __init__(self, vectors: Mapping[str, Vectors], languages: Sequence[str]):
        self._idf = {
            name: np.log((1 + len(languages)) / (1 + np.bincount(counts.indices, minlength=HASHED))) + 1
            for name, counts in vectors.items()
            if name in SPARSE
        }
        self._means = {
            name: self._mean_by_language(values, np.array(languages))
            for name, values in vectors.items()
            if name not in SPARSE
        }
        self._whitening = {
            name: _whitening(self._deviations(name, vectors[name], languages))
            for name in self._means
            if vectors[name].shape[1] <= _MAX_WHITENED
        }

    def unit(self, vectors: Mapping[str, Vectors], languages: Sequence[str]) -> dict[str, Vectors]:
        """Vectors of length 1, whose products are cosines; of length 0 where a function lacks a view."""
        return {
            name: self._weighted(name, values) if name in SPARSE else self._centered(name, values, languages)
            for name, values in vectors.items()
        }

    def _weighted(self, name: str, counts: "csr_array") -> "csr_array":
        from sklearn.preprocessing import normalize

        values = counts.astype(np.float32)
        values.data = (1 + np.log(values.data)) * self._idf[name][values.indices].astype(np.float32)
        return normalize(values, copy=False)

    def _centered(self, name: str, values: np.ndarray, languages: Sequence[str]) -> np.ndarray:
        centered = self._deviations(name, values, languages)
        if name in self._whitening:
            centered = centered @ self._whitening[name]
        return centered / np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), 1e-12)

    def _deviations(self, name: str, values: np.ndarray, languages: Sequence[str]) -> np.ndarray:
        """From the mean of the language; zero where there is no vector."""
        means = self._means[name]
        centered = values.astype(np.float32)
        present = centered.any(axis=1)
        centered -= np.stack([means.get(language, means[""]) for language in languages])
        centered[~present] = 0
        return centered

    @staticmethod
    def _mean_by_language(values: np.ndarray, languages: np.ndarray) -> dict[str, np.ndarray]:
        present = values.any(axis=1)
        chosen = {"": present} | {str(name): present & (languages == name) for name in np.unique(languages)}
        return {
            name: values[rows].mean(axis=0, dtype=np.float32) if rows.any() else np.zeros(values.shape[1])
            for name, rows in chosen.items()
            if not name or rows.sum() >= _MIN_LANGUAGE
        }


def cosines(
    left: Mapping[str, Vectors], right: Mapping[str, Vectors]
) -> dict[str, Float[np.ndarray, "left right"]]:
    """The cosine of each of ``left`` with each of ``right``, which are of length 1, by view."""
    return {
        name: (values @ right[name].T).toarray() if name in SPARSE else values @ right[name].T
        for name, values in left.items()
        if name in right
    }


def fused(
    by_view: Mapping[str, Float[np.ndarray, "*shape"]], weights: Mapping[str, float]
) -> Float[np.ndarray, "*shape"]:
    """The weighted mean of cosines over the views that there are."""
    total = sum(weights[name] for name in by_view)
    return np.asarray(sum(weights[name] * values for name, values in by_view.items()) / total)


def hubness(
    unit: Mapping[str, Vectors], weights: Mapping[str, float], seed: int = 0
) -> Float[np.ndarray, " function"]:
    """How similar each function is to its 10 nearest others, of at most 2,000 that are chosen by chance.

    Some functions are near to everything; half of this is subtracted from their similarities, as in
    cross-domain similarity local scaling (Conneau et al., arXiv:1710.04087).
    """
    rows = next(iter(unit.values())).shape[0]
    reference = np.sort(np.random.default_rng(seed).permutation(rows)[:_REFERENCE])
    others = {name: values[reference] for name, values in unit.items()}
    result = np.zeros(rows)
    count = min(_NEIGHBORS, len(reference) - 1)
    for start in range(0, rows if count > 0 else 0, _BLOCK):
        block = {name: values[start : start + _BLOCK] for name, values in unit.items()}
        similarity = fused(cosines(block, others), weights)
        itself = reference[None] == np.arange(start, start + len(similarity))[:, None]
        similarity[itself] = -np.inf
        result[start : start + len(similarity)] = np.partition(similarity, -count)[:, -count:].mean(axis=1)
    return result


_HASHING: dict[str, Any] = {"n_features": HASHED, "norm": None, "alternate_sign": False, "dtype": np.float32}


def _whitening(centered: Float[np.ndarray, "function entry"]) -> Float[np.ndarray, "entry entry"]:
    """The inverse square root of the covariance, with a share of its mean added to each variance."""
    variances, directions = np.linalg.eigh(centered.T @ centered / len(centered))
    ridge = _SHRINKAGE * variances.mean() + 1e-12
    return (directions / np.sqrt(np.maximum(variances, 0) + ridge)).astype(np.float32)


def _hashed(vectorizer: Any, items: Sequence[object]) -> "csr_array":  # Any: of scikit-learn
    from scipy.sparse import csr_array

    return csr_array(vectorizer.transform(items))


def _token_ngrams(function: tuple[str, Language]) -> Iterator[str]:
    tokens = syntax_tokens(*function)
    low, high = _NGRAMS["structure"]
    for size in range(low, high + 1):
        for start in range(len(tokens) - size + 1):
            yield " ".join(tokens[start : start + size])
