"""Views of functions, in which their similarities are measured, and the space that an index spans.

``words`` are n-grams of characters, ``terms`` n-grams of words and signs, ``structure`` n-grams of tokens
without names; their counts are hashed, so that a row depends on its function only. ``code``, ``summary`` and
``geometry`` are vectors of models.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from splinelens.texts.code import Language, syntax_tokens

if TYPE_CHECKING:
    import pyarrow as pa
    from scipy.sparse import csr_array

Vectors = Any  # a sparse or a dense matrix, with a row for each function

VIEWS = ("words", "terms", "structure", "code", "summary", "geometry")
"""All views; an index has the sparse ones, and others as requested."""

SPARSE = ("words", "terms", "structure")
"""The views that are counts."""

HASHED = 2**18
"""Columns of hashed counts."""

HUBNESS_SHARE = 0.5
"""The share of a function's nearness to everything that is subtracted from its similarities."""

_NGRAMS = {"words": (3, 5), "terms": (1, 3), "structure": (1, 5)}
_NEIGHBORS = 10  # whose mean similarity says how much a function resembles everything
_REFERENCE = 2000  # functions among which they are searched
_BLOCK = 1000
_MAX_WHITENED = 512
_SHRINKAGE = 0.1
_MIN_LANGUAGE = 20  # functions below which a language has no mean of its own
_TERM = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\sA-Za-z0-9]+")


def word_counts(texts: Sequence[str]) -> "csr_array":
    """Counts of n-grams of 3 to 5 characters in each text, hashed, whatever its case and white space."""
    from sklearn.feature_extraction.text import HashingVectorizer

    return _hashed(HashingVectorizer(analyzer="char", ngram_range=_NGRAMS["words"], **_HASHING), texts)


def term_counts(texts: Sequence[str]) -> "csr_array":
    """Counts of n-grams of 1 to 3 terms in each text, hashed."""
    from sklearn.feature_extraction.text import HashingVectorizer

    return _hashed(HashingVectorizer(analyzer=_term_ngrams, **_HASHING), texts)


def structure_counts(texts: Sequence[str], languages: Sequence[Language]) -> "csr_array":
    """Counts of n-grams of up to 5 tokens, in which all names are one."""
    from sklearn.feature_extraction.text import HashingVectorizer

    pairs = [*zip(texts, languages, strict=True)]
    return _hashed(HashingVectorizer(analyzer=_structure_ngrams, **_HASHING), pairs)


def terms(text: str) -> list[str]:
    """The words, numbers and runs of signs of a text, in lower case.

    Names are split where a capital letter begins a word and at underscores. Letters are those of ASCII;
    others count as signs.

    Example:
        >>> terms("maxValue = HTTPServer.max_len[10]")
        ['max', 'value', '=', 'http', 'server', '.', 'max', '_', 'len', '[', '10', ']']
    """
    return [term.lower() for term in _TERM.findall(text)]


class CodeSpace:
    """What the functions of an index decide about a similarity.

    Rare n-grams weigh more. Of dense views the mean of each language is removed, so that functions are not
    alike only because they are written in one, and those of up to 512 entries are whitened: an encoder's
    vectors of code differ in few directions only. The covariance is shrunk, so that few functions suffice.

    Args:
        vectors: Of the functions of the index, by view; at least one function.
        languages: Of each function.
    """

    def __init__(self, vectors: Mapping[str, Vectors], languages: Sequence[str]):
        self._idf = {
            name: _inverse_frequency(np.bincount(counts.indices, minlength=HASHED), len(languages))
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

    def unit_vectors(self, vectors: Mapping[str, Vectors], languages: Sequence[str]) -> dict[str, Vectors]:
        """Vectors of length 1, whose products are cosines; of length 0 where a function lacks a view.

        Args:
            vectors: Of any functions, by view.
            languages: Of each function; one that the index does not have is centered by the mean of all.

        Raises:
            KeyError: A view that the functions of the index do not have.
        """
        return {
            name: self._weighted(name, values) if name in SPARSE else self._centered(name, values, languages)
            for name, values in vectors.items()
        }

    def _weighted(self, name: str, counts: "csr_array") -> "csr_array":
        values = counts.astype(np.float32)
        values.data = (1 + np.log(values.data)) * self._idf[name][values.indices]
        lengths = np.sqrt(values.power(2).sum(axis=1))
        values.data /= np.repeat(np.maximum(lengths, 1e-12), np.diff(values.indptr))
        return values

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
    """The cosine of each function of ``left`` with each of ``right``, as dense matrices.

    Args:
        left: Vectors of length 1, by view.
        right: The same; only views that both have are compared.

    Example:
        >>> cosines({"code": np.array([[1.0, 0.0]])}, {"code": np.array([[0.6, 0.8], [0.0, 1.0]])})
        {'code': array([[0.6, 0. ]])}
    """
    return {
        # scipy converts the second factor, so it is the smaller one: a few queries.
        name: (right[name] @ values.T).toarray().T if name in SPARSE else values @ right[name].T
        for name, values in left.items()
        if name in right
    }


def nearness(
    unit: Mapping[str, Vectors],
    score: Callable[[Mapping[str, Float[np.ndarray, "row other"]]], Float[np.ndarray, "row other"]],
    seed: int = 0,
) -> Float[np.ndarray, " function"]:
    """How similar each function is to the 10 that are nearest to it, of at most 2,000 chosen by chance.

    Args:
        unit: Vectors of length 1, by view.
        score: The similarity of pairs, from their cosines by view.
        seed: Of the choice.

    Returns:
        Mean scores; 0 if there is only one function.
    """
    rows = next(iter(unit.values())).shape[0]
    reference = np.sort(np.random.default_rng(seed).permutation(rows)[:_REFERENCE])
    others = {name: values[reference] for name, values in unit.items()}
    result = np.zeros(rows)
    for start in range(0, rows if len(reference) > 1 else 0, _BLOCK):
        block = {name: values[start : start + _BLOCK] for name, values in unit.items()}
        similarity = score(cosines(block, others))
        itself = reference[None] == np.arange(start, start + len(similarity))[:, None]
        result[start : start + len(similarity)] = mean_of_nearest(np.where(itself, -np.inf, similarity))
    return result


def mean_of_nearest(similarity: Float[np.ndarray, "row other"]) -> Float[np.ndarray, " row"]:
    """The mean of the 10 largest values of each row, or of all; minus infinity is no value.

    Example:
        >>> mean_of_nearest(np.array([[0.5, 0.1, -np.inf]]))
        array([0.3])
    """
    count = min(_NEIGHBORS, similarity.shape[1])
    largest = np.partition(similarity, -count, axis=1)[:, -count:]
    return np.mean(largest, axis=1, where=np.isfinite(largest))


def less_hubness(
    score: Float[np.ndarray, "query candidate"], nearness: Float[np.ndarray, " candidate"]
) -> Float[np.ndarray, "query candidate"]:
    """Scores for a ranking, less a half of how near each candidate is to everything.

    Some functions are near to all others, and would be the answer to every query. Cross-domain similarity
    local scaling (Conneau et al., arXiv:1710.04087) subtracts the nearness of both sides; that of a query
    does not change its ranking.

    Example:
        >>> less_hubness(np.array([[0.75, 0.5]]), np.array([1.0, 0.25]))
        array([[0.25 , 0.375]])
    """
    return score - HUBNESS_SHARE * nearness


def view_columns(vectors: Mapping[str, Vectors]) -> dict[str, "pa.Array"]:
    """Columns of a table that hold vectors: sparse ones as lists, dense ones in half precision."""
    import pyarrow as pa

    columns: dict[str, pa.Array] = {}
    for name, values in vectors.items():
        if name in SPARSE:
            offsets = pa.array(values.indptr.astype(np.int32))
            columns[f"{name}_column"] = pa.ListArray.from_arrays(offsets, values.indices.astype(np.int32))
            columns[f"{name}_count"] = pa.ListArray.from_arrays(offsets, values.data.astype(np.float32))
        else:
            flat = pa.array(np.ascontiguousarray(values, np.float16).ravel())
            columns[f"{name}_vector"] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return columns


def read_views(table: "pa.Table") -> dict[str, Vectors]:
    """The vectors of all views that a table has, as ``view_columns`` stored them."""
    from scipy.sparse import csr_array

    vectors: dict[str, Vectors] = {}
    for name in VIEWS:
        if f"{name}_column" in table.column_names:
            columns, counts = (table[f"{name}_{part}"].combine_chunks() for part in ("column", "count"))
            pointers = np.concatenate([[0], np.cumsum(np.diff(read_array(columns.offsets)))])
            cells = (read_array(counts.flatten()), read_array(columns.flatten()), pointers)
            vectors[name] = csr_array(cells, shape=(len(table), HASHED))
        elif f"{name}_vector" in table.column_names:
            column = table[f"{name}_vector"].combine_chunks()
            vectors[name] = read_array(column.flatten()).reshape(len(table), column.type.list_size)
    return vectors


def read_array(column: "pa.Array") -> np.ndarray:
    """The numbers of a column without missing ones; its ``to_numpy`` would import pandas first."""
    return np.from_dlpack(column)


_HASHING: dict[str, Any] = {"n_features": HASHED, "norm": None, "alternate_sign": False, "dtype": np.float32}


def _inverse_frequency(functions: np.ndarray, total: int) -> Float[np.ndarray, " column"]:
    """The weight of each column, from the functions that have it and all, as scikit-learn smooths it."""
    return (np.log((1 + total) / (1 + functions)) + 1).astype(np.float32)


def _whitening(centered: Float[np.ndarray, "function entry"]) -> Float[np.ndarray, "entry entry"]:
    """A square root of the inverse covariance, with a share of its mean added to each variance.

    All square roots give the same products of whitened vectors; that of Cholesky needs no eigenvalues.
    """
    covariance = (centered.T @ centered / len(centered)).astype(np.float64)
    ridge = _SHRINKAGE * np.trace(covariance) / len(covariance) + 1e-12
    root = np.linalg.cholesky(covariance + ridge * np.eye(len(covariance)))
    return np.linalg.inv(root).T.astype(np.float32)


def _hashed(vectorizer: Any, items: Sequence[object]) -> "csr_array":  # Any: of scikit-learn
    from scipy.sparse import csr_array

    return csr_array(vectorizer.transform(items))


def _term_ngrams(text: str) -> Iterator[str]:
    return _ngrams(terms(text), *_NGRAMS["terms"])


def _structure_ngrams(function: tuple[str, Language]) -> Iterator[str]:
    return _ngrams(syntax_tokens(*function), *_NGRAMS["structure"])


def _ngrams(tokens: Sequence[str], shortest: int, longest: int) -> Iterator[str]:
    for size in range(shortest, longest + 1):
        for start in range(len(tokens) - size + 1):
            yield " ".join(tokens[start : start + size])
