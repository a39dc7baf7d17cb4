"""Two thresholds on a detector's score: what lies between them is left to a judge, within a budget.

A detector is wrong most often near its threshold. A slower judge, such as a large language model, decides
there only, and its errors elsewhere cost nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from splinelens.errors import BadFeatures, BadLabels, BadTexts
from splinelens.generate.judge import Judge

CascadeVerdict = Literal["positive", "negative", "undetermined"]


@dataclass(frozen=True)
class CascadeResult:
    """The verdicts on some texts.

    Attributes:
        verdicts: One a text.
        judged: The texts by index whose verdict is the judge's.
        failed: Texts that the judge was asked about in vain: the detector's verdict stands.
        over_budget: Texts of the band beyond the budget: likewise.
    """

    verdicts: tuple[CascadeVerdict, ...]
    judged: tuple[int, ...]
    failed: int
    over_budget: int


@dataclass(frozen=True)
class Cascade:
    """The band of scores that is left to a judge.

    Attributes:
        low: Texts of a lower score are negative.
        high: Texts of this score or a higher one are positive.
        threshold: The detector's verdict between them is positive from here on.
        share: The most texts that are left to the judge, as a share of all.

    Example:
        >>> cascade = Cascade(low=0.2, high=0.8, threshold=0.5, share=0.5)
        >>> [cascade.decide(score) for score in (0.1, 0.2, 0.8, None)]
        ['negative', 'defer', 'positive', 'undetermined']
        >>> cascade.resolve([0.1, 0.3], ["a", "b"], lambda texts: [0.9]).verdicts
        ('negative', 'positive')
    """

    low: float
    high: float
    threshold: float
    share: float

    def __post_init__(self) -> None:
        if not self.low <= self.threshold <= self.high:
            raise BadFeatures(
                f"the threshold {self.threshold:g} is not from {self.low:g} to {self.high:g}; widen the band"
            )
        if not 0 <= self.share <= 1:
            raise BadFeatures(f"share={self.share:g}: give a share of the texts, such as 0.1")

    @classmethod
    def fit(
        cls,
        scores: Sequence[float],
        labels: Sequence[int],
        share: float,
        *,
        threshold: float | None = None,
        judge_error: float = 0.0,
    ) -> "Cascade":
        """Choose the band on texts with labels, which should be none that the detector was fitted on.

        Of all bands around the threshold with at most ``share`` of the texts it is the one that gains most:
        the detector's errors in it, less those that the judge is expected to make there.

        Args:
            scores: The detector's, one a text.
            labels: 1 or 0 for each.
            share: The most texts that may be left to the judge.
            threshold: The detector's; None takes the one with the fewest errors.
            judge_error: The share of texts that the judge gets wrong.

        Raises:
            BadLabels: No text, another number of labels, or labels other than 0 and 1.
            BadFeatures: A score or a share that is not from 0 to 1.
        """
        values, truth = np.asarray(scores, dtype=float), np.asarray(labels)
        if not len(values) or truth.shape != values.shape or not np.isin(truth, (0, 1)).all():
            raise BadLabels(
                f"{len(values)} scores and {len(truth)} labels: give at least one score, and 0 or 1 for each"
            )
        if not ((values >= 0) & (values <= 1)).all():
            raise BadFeatures("a score is not from 0 to 1; leave out texts without a verdict")
        order = np.argsort(values, kind="stable")
        values, truth = values[order], truth[order].astype(int)
        # cut[i] is between texts i - 1 and i: texts of equal scores stay together
        cut = np.concatenate([[True], values[1:] > values[:-1], [True]])
        edges = np.append(values, math.inf)
        positives = np.concatenate([[0], np.cumsum(truth)])
        if threshold is None:
            errors = positives + (len(values) - np.arange(len(edges))) - (positives[-1] - positives)
            middle = int(np.where(cut, errors, len(values) + 1).argmin())
        else:
            middle = int(np.searchsorted(values, threshold))
        wrong = (values >= edges[middle]) != truth
        gains = np.concatenate([[0.0], np.cumsum(wrong - judge_error)])
        most = math.floor(share * len(values))
        ends = [middle]  # for each reach beyond the threshold the end that gains most
        for end in range(middle + 1, min(middle + most, len(values)) + 1):
            ends.append(end if cut[end] and gains[end] > gains[ends[-1]] else ends[-1])
        best = (0.0, middle, middle)
        for begin in range(max(0, middle - most), middle + 1):
            end = ends[min(begin + most - middle, len(ends) - 1)]
            if cut[begin]:
                best = max(best, (gains[end] - gains[begin], begin, end))
        _, begin, end = best
        chosen = float(edges[middle]) if threshold is None else threshold
        return cls(min(float(edges[begin]), chosen), float(edges[end]), chosen, share)

    def decide(self, score: float | None) -> CascadeVerdict | Literal["defer"]:
        """The verdict on a text of this score; ``undetermined`` without one."""
        if score is None or math.isnan(score):
            return "undetermined"
        if self.low <= score < self.high:
            return "defer"
        return "positive" if score >= self.threshold else "negative"

    def resolve(self, scores: Sequence[float | None], texts: Sequence[str], judge: Judge) -> CascadeResult:
        """Decide texts, with the judge where the detector is unsure.

        Where the judge fails, or the budget is spent, the verdict is the detector's.

        Args:
            scores: The detector's, one a text; None without a verdict.
            texts: The texts.
            judge: Asked once, about at most ``share`` of the texts, the first ones of the band.

        Raises:
            BadTexts: Not one score a text.
        """
        if len(scores) != len(texts):
            raise BadTexts(f"{len(scores)} scores of {len(texts)} texts; give one a text")
        decided = [self.decide(score) for score in scores]
        band = [index for index, verdict in enumerate(decided) if verdict == "defer"]
        asked = band[: math.floor(self.share * len(texts))]
        known: dict[int, float] = {}
        if asked:
            try:  # also what it returns: the detector's verdicts stand, and it is counted
                answers = list(judge([texts[index] for index in asked]))
                pairs = list(zip(asked, answers, strict=True))
                known = {index: float(one) for index, one in pairs if one is not None and 0 <= one <= 1}
            except Exception:
                known = {}
        verdicts: list[CascadeVerdict] = []
        for index, (verdict, score) in enumerate(zip(decided, scores, strict=True)):
            if verdict != "defer":
                verdicts.append(verdict)
                continue
            assert score is not None
            positive = known[index] >= 0.5 if index in known else score >= self.threshold
            verdicts.append("positive" if positive else "negative")
        return CascadeResult(tuple(verdicts), tuple(known), len(asked) - len(known), len(band) - len(asked))
