"""From logits to probabilities: Platt scaling of out-of-fold logits, offsets by length, and prior shift.

Maxima and minima over tokens move apart with their number, so one threshold would have another false-positive
rate at each length: an offset by length, which may rise or fall, is subtracted from the logit. A probability
holds for a share of positive texts; prior shift gives it for another share. Sources: Platt, Probabilistic
outputs for support vector machines, 1999; Saerens, Latinne and Decaestecker, Adjusting the outputs of a
classifier to new a priori probabilities, Neural Computation 14, 2002, equation 2.4.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import log

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from splinelens.errors import BadDetector, BadFeatures, BadLabels

Knots = tuple[tuple[int, float], ...]
"""Pairs of a number of tokens, rising, and an offset."""

KNOTS = (8, 32, 128, 512, 2048)
"""Tokens at which offsets are fitted."""

_RATES = (0.01, 0.05)  # false-positive rates whose offsets are averaged
_LEAST_ROWS = 200  # negative rows near a knot, of which two are above the lowest rate
_STEPS = 30  # each at least halves what is left of the error


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
class Calibration:
    """Platt scaling: ``score = 1 / (1 + exp(-(slope * (logit - offset(tokens)) + intercept)))``.

    Attributes:
        slope: Of the head's logit, above 0.
        intercept: The calibrated logit where the head's is 0.
        share: Share of positive texts that the scores assume: that of the rows it was fitted on. None in
            detectors from before it was recorded.
        by_length: Knots of the offset, see ``offsets_at``; without any it is 0.
    """

    slope: float
    intercept: float
    share: float | None = None
    by_length: Knots = ()

    def logit(self, logit: np.ndarray, tokens: np.ndarray | None = None) -> np.ndarray:
        """The calibrated logit of texts of so many tokens; None leaves the offsets by length out."""
        if tokens is not None and self.by_length:
            logit = logit - offsets_at(self.by_length, tokens)
        return self.slope * logit + self.intercept

    def score(self, logit: np.ndarray, tokens: np.ndarray | None = None) -> np.ndarray:
        """The calibrated probability, in [0, 1]; NaN where the calibrated logit is not finite."""
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows has no score
            calibrated = self.logit(logit, tokens)
        return np.where(np.isfinite(calibrated), 1 / (1 + np.exp(-np.clip(calibrated, -60, 60))), np.nan)

    def shifted(self, share: float, prevalence: float) -> "Calibration":
        """Scores for a ``prevalence`` of positive texts, from those that assume a ``share`` of them.

        Example:
            >>> float(Calibration(1.0, 0.0).shifted(0.5, 0.1).score(np.array([0.0]))[0].round(6))
            0.1
        """
        return replace(self, intercept=self.intercept + prior_shift(share, prevalence), share=prevalence)


def offsets_at(knots: Knots, tokens: np.ndarray) -> np.ndarray:
    """The offset of texts of so many tokens: linear in log2 of the tokens, constant outside the knots.

    Example:
        >>> offsets_at(((8, 0.0), (32, 2.0)), np.array([4, 16, 100])).tolist()
        [0.0, 1.0, 2.0]
    """
    places, offsets = zip(*knots, strict=True)
    return np.interp(np.log2(np.maximum(tokens, 1)), np.log2(places), offsets)


def length_offsets(
    logits: np.ndarray, tokens: np.ndarray, knots: Sequence[int] = KNOTS, share: float = 1.0
) -> Knots:
    """Fit offsets under which negative rows of every length exceed a threshold equally often.

    At each knot the 99 % quantile of ``logit - offset`` over the rows of lengths near it is made that of the
    others, and likewise the 95 % quantile; the two offsets are averaged. A maximum over more tokens never
    falls, but a head weighs maxima and minima against each other: offsets may rise or fall with the length.
    The offset is 0 at the knot with the most rows.

    Args:
        logits: (row,) of negative rows, out of fold.
        tokens: (row,) their lengths.
        knots: Tokens, rising. One with fewer than 200 rows near it is left out.
        share: What the offsets are multiplied with.

    Returns:
        Knots and their offsets, in units of the logit; none if all rows are of one length.

    Raises:
        BadFeatures: A logit is not finite.

    Example:
        >>> tokens = np.repeat([8, 32], 1000)
        >>> logits = np.tile(np.linspace(-1, 1, 1000), 2) + np.where(tokens > 8, 0.5, 0)
        >>> [(knot, round(offset, 6)) for knot, offset in length_offsets(logits, tokens)]
        [(8, 0.0), (32, 0.5)]
    """
    if not np.isfinite(logits).all():
        raise BadFeatures("a logit is not finite; leave out rows that cannot be read")
    size, places = np.log2(np.maximum(tokens, 1)), np.log2(knots)
    nearest = np.abs(size[:, None] - places).argmin(axis=1)
    counts = np.bincount(nearest, minlength=len(knots))
    used = np.flatnonzero(counts >= _LEAST_ROWS)
    if len(used) < 2:
        return ()
    classes, base = [nearest == knot for knot in used], int(counts[used].argmax())
    offsets = np.zeros((len(_RATES), len(used)))
    for rate, offset in zip(_RATES, offsets, strict=True):
        for _ in range(_STEPS):
            rest = logits - np.interp(size, places[used], offset)
            quantiles = np.array([np.quantile(rest[rows], 1 - rate) for rows in classes])
            offset += quantiles - quantiles[base]
    return tuple(
        (knots[knot], float(share * offset))
        for knot, offset in zip(used.tolist(), offsets.mean(axis=0), strict=True)
    )


def prior_shift(share: float, prevalence: float) -> float:
    """What to add to a logit that assumes a ``share`` of positive rows, so that it assumes a ``prevalence``.

    Args:
        share: Above 0 and below 1, as the prevalence.
        prevalence: The share of positive rows where the scores will be used.

    Example:
        >>> round(prior_shift(0.5, 0.1), 6)  # log(1 / 9)
        -2.197225
    """
    return log(prevalence / (1 - prevalence)) - log(share / (1 - share))


def shifted_score(score: float, share: float, prevalence: float) -> float:
    """A score after prior shift: its odds times ``(prevalence / (1 - prevalence)) / (share / (1 - share))``.

    A threshold of 1 and above, which no score or only 1 reaches, stays as it is.

    Example:
        >>> round(shifted_score(0.9, 0.5, 0.1), 6)
        0.5
    """
    ratio = prevalence / (1 - prevalence) / (share / (1 - share))
    return score if score >= 1 else ratio * score / (ratio * score + 1 - score)


def require_prevalence(prevalence: float) -> float:
    """Validate a share of positive rows.

    Raises:
        BadDetector: Not a number between 0 and 1, or one in a billion of either; nearer to them scores and
            thresholds are no longer told apart.
    """
    if (
        not isinstance(prevalence, int | float | np.number) or not 0 < prevalence < 1
    ):  # also nan, True and False
        raise BadDetector(f"prevalence {prevalence!r} is no share; give one between 0 and 1, such as 0.02")
    if not 1e-9 <= prevalence <= 1 - 1e-9:
        raise BadDetector(f"prevalence {prevalence!r} is too near to 0 or 1; give at least 1e-9 of either")
    return float(prevalence)


def calibrate(
    labels: np.ndarray, logits: np.ndarray, tokens: np.ndarray | None = None, by_length: Knots = ()
) -> Calibration:
    """Fit Platt scaling to out-of-fold logits, less their offsets by length; the slope is positive.

    The targets are Platt's, ``(n1 + 1) / (n1 + 2)`` and ``1 / (n0 + 2)`` for n1 positive and n0 negative
    rows, so that logits which separate the classes perfectly get a finite slope.

    Raises:
        BadLabels: One class only, or the logits do not rise with the labels.
        BadFeatures: A logit is not finite.
    """
    from sklearn.linear_model import LogisticRegression

    positive, logits = require_out_of_fold(labels, logits)
    if tokens is not None and by_length:
        logits = logits - offsets_at(by_length, tokens)
    center, spread = float(logits.mean()), float(logits.std()) if np.ptp(logits) else 0.0
    slope = 0.0
    if spread > 0:
        count = int(positive.sum())
        target = np.where(positive, (count + 1) / (count + 2), 1 / (len(logits) - count + 2))
        rows = np.tile((logits - center) / spread, 2)[:, None]
        sides, weights = np.repeat([1, 0], len(logits)), np.concatenate([target, 1 - target])
        model = LogisticRegression(C=1e6, tol=1e-8, max_iter=1000).fit(rows, sides, sample_weight=weights)
        slope = float(model.coef_[0, 0]) / spread
    if slope <= 0:
        raise BadLabels(
            f"the out-of-fold logits do not rise with the labels (slope {slope:.3g}): the features say "
            "nothing of these labels; check the label column and which value is positive, or give more rows"
        )
    intercept = float(model.intercept_[0]) - slope * center
    return Calibration(slope, intercept, float(positive.mean()), by_length)


def require_out_of_fold(labels: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Validate out-of-fold logits or scores: whether each row is positive, and its number in float64.

    Raises:
        BadLabels: One class only.
        BadFeatures: A number is not finite.
    """
    positive, numbers = np.asarray(labels) == 1, np.asarray(numbers, dtype=np.float64)
    if not positive.any() or positive.all():
        raise BadLabels(
            f"the {len(positive)} out-of-fold rows hold one class only; give rows of both to calibrate on"
        )
    broken = int((~np.isfinite(numbers)).sum())
    if broken:
        raise BadFeatures(
            f"{broken} of {len(numbers)} out-of-fold numbers are not finite; "
            "leave out rows that cannot be read"
        )
    return positive, numbers
