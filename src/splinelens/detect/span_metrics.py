"""How well the words that an explanation marks are the words that people marked.

The measure is that of SemEval-2021 task 5: the F1 of two sets of characters, averaged over texts. A word is
marked if its contribution to the logit is at or above a limit, which is chosen on other texts. Source:
Pavlopoulos, Sorensen, Laugier and Androutsopoulos, SemEval 2021, 10.18653/v1/2021.semeval-1.6.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic_core import to_jsonable_python

from splinelens.detect.bootstrap import mean_interval
from splinelens.detect.thresholds import Interval
from splinelens.errors import BadLabels


@dataclass(frozen=True, eq=False)
class ScoredWords:
    """The words of one text, and the characters that people marked.

    Attributes:
        bounds: First character of each word, and the one after its last; in order, without overlap.
        contribution: What each word adds to the logit.
        gold: Offsets of the marked characters.
    """

    bounds: Int[np.ndarray, "word 2"]
    contribution: Float[np.ndarray, " word"]
    gold: Set[int]

    def marked(self, limit: float) -> set[int]:
        """The characters of all words that contribute at least ``limit``, and those between two neighbors.

        Example:
            >>> words = ScoredWords(np.array([[0, 2], [3, 5], [6, 7]]), np.array([1.0, 2.0, 0.0]), set())
            >>> sorted(words.marked(1.0))
            [0, 1, 2, 3, 4]
        """
        characters: set[int] = set()
        end = None  # of the word before, if that is marked
        for (begin, stop), amount in zip(self.bounds.tolist(), self.contribution.tolist(), strict=True):
            if amount >= limit:
                characters.update(range(begin if end is None else end, stop))
            end = stop if amount >= limit else None
        return characters

    def toxic(self) -> Bool[np.ndarray, " word"]:
        """Whether people marked more than half of each word's characters."""
        shares = [
            2 * sum(at in self.gold for at in range(begin, stop)) > stop - begin
            for begin, stop in self.bounds.tolist()
        ]
        return np.array(shares, dtype=bool)


@dataclass(frozen=True, kw_only=True)
class SpanEvaluation:
    """How explanations agree with what people marked.

    Intervals are 95 % bootstrap intervals over texts; None with fewer than 50 texts.

    Attributes:
        n: Texts that were explained.
        undetermined: Texts without an explanation; they are in no other number.
        limit: Contribution at and above which a word is marked.
        character_f1: Mean over texts of ``character_f1``.
        character_f1_interval: Its interval.
        word_auc: Mean over texts of the AUC by which contributions tell the words that people marked from the
            others; None if no text has words of both kinds. No limit takes part.
        word_auc_interval: Its interval.
        word_auc_texts: Texts with words of both kinds.
        without_gold: Texts in which people marked nothing.
        without_mark: Texts in which no word reaches the limit.
    """

    n: int
    undetermined: int
    limit: float
    character_f1: float
    character_f1_interval: Interval | None
    word_auc: float | None
    word_auc_interval: Interval | None
    word_auc_texts: int
    without_gold: int
    without_mark: int

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As plain JSON values; an interval is a list."""
        return to_jsonable_python(self)


def character_f1(gold: Set[int], marked: Set[int]) -> float:
    """F1 of two sets of characters; without a gold character 1 if nothing is marked, else 0.

    Example:
        >>> character_f1({0, 1, 2}, {2}), character_f1(set(), set()), character_f1(set(), {1})
        (0.5, 1.0, 0.0)
    """
    if not gold:
        return float(not marked)
    return 2 * len(gold & marked) / (len(gold) + len(marked))


def evaluate_spans(
    texts: Sequence[ScoredWords | None], limit: float, *, resamples: int = 10_000, seed: int = 0
) -> SpanEvaluation:
    """Compare explanations with what people marked; None is a text without an explanation.

    Raises:
        BadLabels: No text has an explanation.
    """
    from sklearn.metrics import roc_auc_score

    explained = _explained(texts)
    marked = [text.marked(limit) for text in explained]
    f1 = np.array([character_f1(text.gold, found) for text, found in zip(explained, marked, strict=True)])
    pairs = [(text.toxic(), text.contribution) for text in explained]
    aucs = np.array(
        [roc_auc_score(toxic, amounts) for toxic, amounts in pairs if 0 < toxic.sum() < len(toxic)]
    )
    return SpanEvaluation(
        n=len(explained),
        undetermined=len(texts) - len(explained),
        limit=float(limit),
        character_f1=float(f1.mean()),
        character_f1_interval=mean_interval(f1, resamples, seed),
        word_auc=float(aucs.mean()) if len(aucs) else None,
        word_auc_interval=mean_interval(aucs, resamples, seed),
        word_auc_texts=len(aucs),
        without_gold=sum(not text.gold for text in explained),
        without_mark=sum(not found for found in marked),
    )


def best_limit(texts: Sequence[ScoredWords | None]) -> float:
    """The limit with the highest mean ``character_f1`` on these texts; measure it on others.

    Exact: the mean changes only where the limit passes a contribution. Above all contributions if marking
    nothing is best.

    Raises:
        BadLabels: No text has an explanation, or none has a word.
    """
    explained = _explained(texts)
    limits, gains = [], []
    nothing = sum(character_f1(text.gold, set()) for text in explained)
    for text in explained:
        before = character_f1(text.gold, set())
        for limit in np.unique(text.contribution)[::-1].tolist():
            now = character_f1(text.gold, text.marked(limit))
            limits.append(limit)
            gains.append(now - before)
            before = now
    if not limits:
        raise BadLabels(
            f"none of the {len(explained)} texts has a word to choose a limit on; give other texts"
        )
    distinct, place = np.unique(limits, return_inverse=True)
    totals = nothing + np.cumsum(np.bincount(place, weights=gains)[::-1])
    best = int(totals.argmax())
    if totals[best] <= nothing:
        return float(np.nextafter(distinct[-1], np.inf))
    return float(distinct[::-1][best])


def _explained(texts: Sequence[ScoredWords | None]) -> list[ScoredWords]:
    explained = [text for text in texts if text is not None]
    if not explained:
        raise BadLabels(f"none of the {len(texts)} texts has an explanation; check the texts")
    return explained
