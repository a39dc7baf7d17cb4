"""The rival of every bar: counts of words and characters, fitted on the training rows of a detector."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion

from detection.heads import Scorer, fit_scorer
from splinelens.texts import Texts


class Tfidf:
    """TF-IDF of characters 2-5 and words 1-2 with logistic regression, fitted when it is first needed.

    Rows count alike, whatever weight a detector gives their source.

    Args:
        texts: The training rows.
        labels: (row,), 0 or 1.
        cache: Folder of the scores, ``tfidf`` below it.
    """

    def __init__(self, texts: Sequence[str], labels: np.ndarray, cache: Path):
        self.texts, self.labels = tuple(texts), np.asarray(labels, dtype=int)
        key = Texts(self.texts, {}, "rows").data_hash + hashlib.sha256(self.labels.tobytes()).hexdigest()
        self.folder = cache / "tfidf" / hashlib.sha256(key.encode()).hexdigest()[:16]
        self._vectorizer = FeatureUnion(
            [
                (name, TfidfVectorizer(analyzer=name, ngram_range=ngrams, sublinear_tf=True, min_df=min_df))
                for min_df in (2 if len(self.texts) > 100 else 1,)
                for name, ngrams in (("char_wb", (2, 5)), ("word", (1, 2)))
            ]
        )

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        """(text,) calibrated scores."""
        path = self.folder / f"{Texts(tuple(texts), {}, 'rows').data_hash[:16]}.npy"
        if not path.is_file():
            values = self._scorer.scores(self._vectorizer.transform(texts))
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, values)
        return np.load(path)

    @cached_property
    def _scorer(self) -> Scorer:
        return fit_scorer(self._vectorizer.fit_transform(self.texts), self.labels)
