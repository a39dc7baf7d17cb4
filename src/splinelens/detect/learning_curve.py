"""What would more rows add? The AUC against the number of training rows, and the law it follows, if any.

All draws are judged on the same held-out rows, on which none of them is fitted, nor on a row that holds a
text of theirs. The law is the power law of learning curves, ``a - b * n ** -c``; it is followed to twice the
rows at most.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import Any

import numpy as np

from splinelens.detect.fitting import fitted_head
from splinelens.errors import BadDetector, BadFeatures, BadLabels

SMALLEST = 50
"""Rows of the first point; each further point has twice as many."""

FURTHEST = 2.0
"""A curve says nothing of more than this many times its rows."""

_DRAWS = 5
_STRENGTH = 1e-3  # C where none was chosen
_HELD_SHARE = 0.3
_MOST_HELD = 5000
_POINTS_OF_A_LAW = 4
_NOISE = 0.002  # AUC: no point is known better than this, however alike its draws are
_RESAMPLES = 200
_EXPONENTS = np.geomspace(0.1, 2.0, 40)


@dataclass(frozen=True)
class PowerLaw:
    """``limit - scale * rows ** -exponent``.

    Attributes:
        limit: AUC that the curve leans to, at most 1.
        scale: How far below it one row would be, at least 0.
        exponent: How fast it is approached, in [0.1, 2].
    """

    limit: float
    scale: float
    exponent: float

    def at(self, rows: int | float) -> float:
        """The AUC at so many training rows.

        Example:
            >>> PowerLaw(0.9, 1.0, 0.5).at(100)
            0.8
        """
        return self.limit - self.scale * float(rows) ** -self.exponent


@dataclass(frozen=True)
class LearningCurve:
    """AUC on held-out rows, by the number of training rows.

    Attributes:
        rows: Training rows of each point, rising; empty where there were too few for a curve.
        draws: AUC of each draw of so many rows, a tuple a point; the mean over labels if there are
            several. Where all rows are drawn there is one draw.
        held_rows: Rows that judge.
        law: What was fitted to the points; None where they do not support it.
        gain_range: What twice the rows add by the laws of resampled draws, 2.5th to 97.5th
            percentile; None without a law.
        why: Why there is no law; empty if there is one.
        capped_from: How many rows could be trained on, where the largest point was capped below that;
            else None.
    """

    rows: tuple[int, ...]
    draws: tuple[tuple[float, ...], ...]
    held_rows: int
    law: PowerLaw | None = None
    gain_range: tuple[float, float] | None = None
    why: str = ""
    capped_from: int | None = None

    @property
    def auc(self) -> tuple[float, ...]:
        """Mean AUC of each point."""
        return tuple(float(np.mean(values)) for values in self.draws)

    @property
    def spread(self) -> tuple[float | None, ...]:
        """Standard deviation over the draws of each point; None where there is one draw."""
        return tuple(float(np.std(values, ddof=1)) if len(values) > 1 else None for values in self.draws)

    def gain(self, factor: int | float = FURTHEST) -> float | None:
        """What so many times the rows would add to the AUC by the law; None without one.

        Args:
            factor: From 1 to 2 times the rows of the last point.

        Raises:
            BadDetector: The factor lies outside.
        """
        if not 1 <= factor <= FURTHEST:
            raise BadDetector(
                f"factor {factor:g}: the curve says nothing beyond {FURTHEST:g} times its rows; ask for 1 to "
                f"{FURTHEST:g}, or label more rows and draw it again"
            )
        return None if self.law is None else _added(self.law, self.rows[-1], factor)

    @property
    def sentence(self) -> str:
        """What the curve says in plain words, and that it was capped if it was."""
        if self.capped_from is None:
            return self._forecast
        rest = f"{self.capped_from:,} could be trained on"
        return f"{self._forecast} The curve's largest point is capped at {self.rows[-1]:,} rows; {rest}."

    @property
    def _forecast(self) -> str:
        gain = self.gain()
        if gain is None or self.gain_range is None:
            return f"No forecast of what more rows would add: {self.why}."
        last, (low, high) = self.rows[-1], self.gain_range
        rows = f"Twice the rows ({last:,} to {2 * last:,} to train on)"
        if gain < 0.001:
            return f"{rows} would add less than {max(ceil(1000 * high), 1) / 1000:.3f} to the AUC."
        return f"{rows} would add about {gain:.3f} to the AUC ({low:.3f} to {high:.3f} over resampled draws)."

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As plain JSON values, with the means, the spreads and the sentence."""
        shown = {"auc": list(self.auc), "spread": list(self.spread), "sentence": self.sentence}
        return asdict(self) | shown


def learning_curve(
    rows: np.ndarray,
    labels: np.ndarray,
    recipe: str = "logistic",
    strengths: Sequence[float] | None = None,
    *,
    groups: np.ndarray | None = None,
    draws: int = _DRAWS,
    most_rows: int = 10_000,
    seed: int = 0,
) -> LearningCurve:
    """Fit on 50, 100, 200, ... rows, several draws each, and judge all on the same held-out rows.

    30 % of the rows are held out, 5,000 at most; rows of one group are all held out or none is. Draws keep
    the share of each combination of labels. A label whose rows in a draw are all of one class counts 0.5
    there: nothing can be fitted on them.

    Args:
        rows: (text, column), finite.
        labels: 0 or 1, (text,) or (text, label); each label is fitted by itself.
        recipe: What is fitted, as for ``fit``.
        strengths: The C that was chosen for each label; None takes 0.001. Not read for a forest.
        groups: (text,) a number a row, the same for rows that hold the same text; None takes all as
            different.
        draws: Draws of each size.
        most_rows: Largest size, for the time it takes. Where it caps the curve, the curve says so.
        seed: Of the draws.

    Returns:
        The curve; without points where fewer than 100 rows can be trained on.

    Raises:
        BadLabels: Not one label a row, labels other than 0 and 1, or a label with one class only.
        BadFeatures: An unknown recipe, or not one strength a label.

    Example:
        >>> labels = np.arange(400) % 2
        >>> values = np.random.default_rng(0).normal(size=(400, 5)) + labels[:, None]
        >>> curve = learning_curve(values, labels)
        >>> curve.rows, curve.held_rows
        ((50, 100, 200, 280), 120)
    """
    columns = _columns(labels, len(rows))
    settings = np.full(columns.shape[1], _STRENGTH) if strengths is None else np.asarray(strengths)
    if settings.shape != columns.shape[1:]:
        raise BadFeatures(f"{len(settings)} strengths for {columns.shape[1]} labels; give one a label")
    rng = np.random.default_rng(seed)
    held = _held_out(columns, np.arange(len(rows)) if groups is None else np.asarray(groups), rng)
    judges, pool = np.flatnonzero(held), np.flatnonzero(~held)
    sizes = _sizes(min(len(pool), most_rows))
    if not sizes:
        why = f"{len(pool)} rows to train on are too few for a curve, {2 * SMALLEST} are needed"
        return LearningCurve((), (), len(judges), why=why)
    found: list[list[float]] = [[] for _ in sizes]
    for draw in range(draws):
        drawn = pool[_spread_out(columns[pool], rng)]
        for point, size in enumerate(sizes):
            if draw == 0 or size < len(pool):
                found[point].append(
                    _judged(rows, columns, drawn[:size], judges, recipe, settings.tolist(), seed)
                )
    capped = len(pool) if len(pool) > most_rows else None
    points = tuple(map(tuple, found))
    return _with_law(LearningCurve(tuple(sizes), points, len(judges), capped_from=capped), rng)


def _columns(labels: np.ndarray, rows: int) -> np.ndarray:
    """Labels as (text, label) of 0 and 1, both there in each column."""
    columns = np.asarray(labels)
    columns = columns[:, None] if columns.ndim == 1 else columns
    if columns.ndim != 2 or len(columns) != rows:
        raise BadLabels(f"{rows} rows need as many labels; these have the shape {np.shape(labels)}")
    if not np.isin(columns, (0, 1)).all():
        raise BadLabels(f"labels are {np.unique(columns).tolist()[:5]} where 0 and 1 are fitted")
    single = [column for column in range(columns.shape[1]) if len(np.unique(columns[:, column])) < 2]
    if single:
        raise BadLabels(f"label columns {single[:5]} hold one class only; give rows of both")
    return columns.astype(np.int8)


def _held_out(columns: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which rows judge: groups in random order, each as long as it fits."""
    _, first, place, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    room = min(round(_HELD_SHARE * len(groups)), _MOST_HELD)
    held = np.zeros(len(first), dtype=bool)
    for group in _spread_out(columns[first], rng).tolist():
        if sizes[group] <= room:
            held[group] = True
            room -= int(sizes[group])
    return held[place]


def _spread_out(columns: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The rows in random order, each combination of labels spread evenly: any beginning is stratified."""
    _, kind = np.unique(columns, axis=0, return_inverse=True)
    kind, place = kind.reshape(-1), np.empty(len(columns))
    for number in np.unique(kind):
        own = rng.permutation(np.flatnonzero(kind == number))
        place[own] = (np.arange(len(own)) + rng.random()) / len(own)
    return np.argsort(place, kind="stable")


def _sizes(most: int) -> list[int]:
    """50, 100, 200, ... and all, unless that is about the last; none below 100."""
    sizes = [SMALLEST * 2**power for power in range(40) if SMALLEST * 2**power <= most]
    if len(sizes) < 2:
        return []
    return sizes if most < 1.25 * sizes[-1] else [*sizes, most]


def _judged(
    rows: np.ndarray,
    columns: np.ndarray,
    drawn: np.ndarray,
    held: np.ndarray,
    recipe: str,
    strengths: Sequence[float],
    seed: int,
) -> float:
    """Mean AUC over labels, on the held-out rows, of heads fitted on the drawn rows."""
    known, y = columns[held], columns[drawn]
    judged = [label for label, column in enumerate(known.T) if len(np.unique(column)) == 2]
    fitted = [label for label in judged if len(np.unique(y[:, label])) == 2]
    found = [0.5] * (len(judged) - len(fitted))  # a label too rare to be judged at all does not count
    if fitted:
        own = [strengths[label] for label in fitted]
        logits = fitted_head(rows[drawn], y[:, fitted], recipe, own, seed).logit(rows[held])
        from sklearn.metrics import roc_auc_score as auc

        found += [auc(known[:, label], column) for label, column in zip(fitted, logits.T, strict=True)]
    return float(np.mean(found)) if found else float("nan")


def _with_law(curve: LearningCurve, rng: np.random.Generator) -> LearningCurve:
    """The curve with its law, or with the reason why its points support none."""
    rows, means, noise = np.array(curve.rows, dtype=float), np.array(curve.auc), _noise(curve)
    why = ""
    if not np.isfinite(means).all():
        why = "the held-out rows hold one class only of every label"
    elif len(rows) < _POINTS_OF_A_LAW:
        why = f"{len(rows)} points are too few, {_POINTS_OF_A_LAW} are needed"
    if why:
        return replace(curve, why=why)
    law, before = _fitted(rows, means, noise), _fitted(rows[:-1], means[:-1], noise[:-1])
    gain, (low, high) = _added(law, rows[-1]), _gain_range(curve, noise, rng)
    misfit = (means - [law.at(size) for size in rows]) / noise
    if np.sqrt(np.mean(misfit**2)) > 2:
        why = "the points do not lie on a power law"
    elif abs(before.at(rows[-1]) - means[-1]) > 2 * noise[-1] + _NOISE:
        why = "the points before the last did not foretell the last"
    elif high - low > max(0.01, 1.5 * gain):
        why = "the draws differ too much to tell what more rows would do"
    return replace(curve, why=why) if why else replace(curve, law=law, gain_range=(low, high))


def _gain_range(curve: LearningCurve, noise: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """What twice the rows add by laws of resampled draws: the middle 95 %."""
    rows, gains = np.array(curve.rows, dtype=float), []
    shaken = np.where([len(values) == 1 for values in curve.draws], noise, 0)
    for _ in range(_RESAMPLES):
        means = np.array([np.mean(rng.choice(values, len(values))) for values in curve.draws])
        gains.append(_added(_fitted(rows, means + rng.normal(0, shaken), noise), rows[-1]))
    low, high = np.quantile(gains, [0.025, 0.975])
    return float(low), float(high)


def _added(law: PowerLaw, rows: int | float, factor: int | float = FURTHEST) -> float:
    """What so many times the rows add by a law."""
    return law.at(factor * rows) - law.at(rows)


def _noise(curve: LearningCurve) -> np.ndarray:
    """Standard error of each mean; a single draw is as uncertain as one of the draws before it."""
    errors: list[float] = []
    known = [0.0] + [spread for spread in curve.spread if spread is not None]
    for values, spread in zip(curve.draws, curve.spread, strict=True):
        errors.append(known[-1] if spread is None else spread / len(values) ** 0.5)
    return np.maximum(errors, _NOISE)


def _fitted(rows: np.ndarray, means: np.ndarray, noise: np.ndarray) -> PowerLaw:
    """The law of least squares, weighted by noise: exponents are tried, the rest is linear."""
    best, least = PowerLaw(float(means.mean()), 0.0, 1.0), np.inf
    weight = noise**-2.0 / (noise**-2.0).sum()
    for exponent in _EXPONENTS.tolist():
        below = rows**-exponent
        middle, centre = weight @ below, weight @ means
        scale = -(weight @ ((below - middle) * (means - centre))) / (weight @ (below - middle) ** 2)
        limit = centre + scale * middle
        if limit > 1:
            limit, scale = 1.0, (weight @ (below * (1 - means))) / (weight @ below**2)
        if scale < 0:
            limit, scale = centre, 0.0
        error = weight @ (means - limit + scale * below) ** 2
        if error < least:
            best, least = PowerLaw(float(limit), float(scale), exponent), error
    return best
