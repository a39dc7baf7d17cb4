"""Learning curve: AUC against the number of training rows, and the power law it follows, if any.

All samples are judged on the same held-out rows; no head is fitted on these, nor on a row of one of their
groups. The law is ``a - b * n ** -c``; it is extrapolated to twice the rows at most.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from splinelens.detect.solver import Basis, label_columns
from splinelens.errors import BadFeatures, BadLabels

SMALLEST = 50
"""Rows of the first point; each further point has twice as many."""

_SAMPLES = 5
_STRENGTH = 1e-3  # C where none was chosen
_HELD_OUT_SHARE = 0.3
_MAX_HELD_OUT = 5000
_MIN_POINTS = 4  # of a law
_NOISE = 0.002  # AUC: no point is known better than this, however alike its samples are
_RESAMPLES = 200
_EXPONENTS = np.geomspace(0.1, 2.0, 40)


@dataclass(frozen=True)
class PowerLaw:
    """AUC = ``limit - scale * rows ** -exponent``: limit <= 1, scale >= 0, exponent in [0.1, 2]."""

    limit: float
    scale: float
    exponent: float

    def at(self, rows: int | float) -> float:
        """AUC at a number of training rows."""
        return self.limit - self.scale * float(rows) ** -self.exponent

    def gain(self, rows: int | float) -> float:
        """What twice the rows add to the AUC; the law is not extrapolated further."""
        return self.at(2 * rows) - self.at(rows)


@dataclass(frozen=True)
class LearningCurve:
    """AUC on held-out rows, by the number of training rows.

    Attributes:
        rows: Training rows of each point, ascending; empty if there were too few for a curve.
        samples: AUC of each random sample of that size, the mean over labels, one tuple per point; all rows
            are one sample.
        held_out_rows: Rows that judge.
        law: Fitted to the points; None if they do not support one.
        gain_interval: 95 % interval of ``law.gain``, by the laws of resampled samples.
        reason: Why there is no law; empty if there is one.
        capped_from: Rows available for training, if the largest point was capped below that; else None.
    """

    rows: tuple[int, ...]
    samples: tuple[tuple[float, ...], ...]
    held_out_rows: int
    law: PowerLaw | None = None
    gain_interval: tuple[float, float] | None = None
    reason: str = ""
    capped_from: int | None = None

    @property
    def auc(self) -> tuple[float, ...]:
        """Mean AUC of each point."""
        return tuple(float(np.mean(values)) for values in self.samples)

    @property
    def spread(self) -> tuple[float | None, ...]:
        """Standard deviation over the samples of each point; None for a single sample."""
        return tuple(float(np.std(values, ddof=1)) if len(values) > 1 else None for values in self.samples)

    @property
    def sentence(self) -> str:
        """The forecast in one sentence; of a capped curve it begins with the rows it is about."""
        if self.capped_from is None:
            return self._forecast
        rows = f"On {self.rows[-1]:,} of your {self.capped_from:,} rows to train on"
        return f"{rows}: {self._forecast[0].lower()}{self._forecast[1:]}"

    @property
    def _forecast(self) -> str:
        if self.law is None or self.gain_interval is None:
            return f"No forecast of what more rows would add: {self.reason}."
        last, (low, high) = self.rows[-1], self.gain_interval
        gain = self.law.gain(last)
        rows = f"Twice the rows ({last:,} to {2 * last:,} to train on)"
        if gain < 0.001:
            return f"{rows} would add less than {max(ceil(1000 * high), 1) / 1000:.3f} to the AUC."
        return f"{rows} would add about {gain:.3f} to the AUC ({low:.3f} to {high:.3f} over resamples)."


def learning_curve(
    rows: np.ndarray,
    labels: np.ndarray,
    strengths: Sequence[float] | None = None,
    *,
    groups: np.ndarray | None = None,
    samples: int = _SAMPLES,
    max_rows: int = 10_000,
    seed: int = 0,
) -> LearningCurve:
    """Fit on 50, 100, 200, ... rows, several samples each, and judge all on the same held-out rows.

    30 % of the rows are held out, 5,000 at most; rows of one group are all held out or none is. Samples
    keep the share of each combination of labels. A label of which a sample has one class only counts 0.5.
    With fewer than 100 rows left to train on the curve has no points.

    Labels are (text,) or (text, label); each is fitted by itself at its C, ``strengths``, or at 0.001.
    ``groups`` has one number per row, equal for rows of one text or group. No size is above ``max_rows``.

    Raises:
        BadLabels: Not one label per row, labels other than 0 and 1, or a label with one class only.
        BadFeatures: Not one strength per label.
    """
    columns = label_columns(labels, len(rows))
    single = [column for column in range(columns.shape[1]) if len(np.unique(columns[:, column])) < 2]
    if single:
        raise BadLabels(f"label columns {single[:5]} hold one class only; give rows of both")
    settings = np.full(columns.shape[1], _STRENGTH) if strengths is None else np.asarray(strengths)
    if settings.shape != columns.shape[1:]:
        raise BadFeatures(f"{len(settings)} strengths for {columns.shape[1]} labels; give one per label")
    rng = np.random.default_rng(seed)
    held_out = held_out_rows(columns, np.arange(len(rows)) if groups is None else np.asarray(groups), rng)
    judges, pool = np.flatnonzero(held_out), np.flatnonzero(~held_out)
    sizes = _sizes(min(len(pool), max_rows))
    if not sizes:
        reason = f"{len(pool)} rows to train on are too few for a curve, {2 * SMALLEST} are needed"
        return LearningCurve((), (), len(judges), reason=reason)
    aucs: list[list[float]] = [[] for _ in sizes]
    for sample in range(samples):
        order = pool[_stratified_order(columns[pool], rng)]
        for point, size in enumerate(sizes):
            if sample == 0 or size < len(pool):
                aucs[point].append(_held_out_auc(rows, columns, order[:size], judges, settings))
    capped = len(pool) if len(pool) > max_rows else None
    points = tuple(map(tuple, aucs))
    return with_law(LearningCurve(tuple(sizes), points, len(judges), capped_from=capped), rng)


def held_out_rows(columns: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Choose the rows that judge, (text,) boolean: 30 %, 5,000 at most, in whole groups.

    The shares of the labels, (text, label), stay about the same. Where each group is larger, the smallest is
    held out.
    """
    _, first, group_of_row, sizes = np.unique(
        groups, return_index=True, return_inverse=True, return_counts=True
    )
    remaining = min(round(_HELD_OUT_SHARE * len(groups)), _MAX_HELD_OUT)
    held_out = np.zeros(len(first), dtype=bool)
    for group in _stratified_order(columns[first], rng).tolist():
        if sizes[group] <= remaining:
            held_out[group] = True
            remaining -= int(sizes[group])
    if not held_out.any():
        held_out[sizes.argmin()] = True
    return held_out[group_of_row]


def with_law(curve: LearningCurve, rng: np.random.Generator) -> LearningCurve:
    """The curve with its law, or with the reason why its points support none."""
    rows, means, noise = np.array(curve.rows, dtype=float), np.array(curve.auc), _noise(curve)
    reason = ""
    if not np.isfinite(means).all():
        reason = "the held-out rows hold one class only of every label"
    elif len(rows) < _MIN_POINTS:
        reason = f"{len(rows)} points are too few, {_MIN_POINTS} are needed"
    if reason:
        return replace(curve, reason=reason)
    law, before = _fit_law(rows, means, noise), _fit_law(rows[:-1], means[:-1], noise[:-1])
    gain, (low, high) = law.gain(rows[-1]), _gain_interval(curve, noise, rng)
    misfit = (means - [law.at(size) for size in rows]) / noise
    if np.sqrt(np.mean(misfit**2)) > 2:
        reason = "the points do not lie on a power law"
    elif abs(before.at(rows[-1]) - means[-1]) > 2 * noise[-1] + _NOISE:
        reason = "the points before the last did not predict the last"
    elif high - low > max(0.01, 1.5 * gain):
        reason = "the samples differ too much to tell what more rows would do"
    return replace(curve, reason=reason) if reason else replace(curve, law=law, gain_interval=(low, high))


def _stratified_order(columns: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random order in which each combination of labels is spread evenly: any prefix is stratified."""
    _, kinds = np.unique(columns, axis=0, return_inverse=True)
    kinds, position = kinds.reshape(-1), np.empty(len(columns))
    for kind in np.unique(kinds):
        rows = rng.permutation(np.flatnonzero(kinds == kind))
        position[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    return np.argsort(position, kind="stable")


def _sizes(most: int) -> list[int]:
    """50, 100, 200, ... and all, unless that is about the last; none below 100."""
    sizes = [SMALLEST * 2**power for power in range(40) if SMALLEST * 2**power <= most]
    if len(sizes) < 2:
        return []
    return sizes if most < 1.25 * sizes[-1] else [*sizes, most]


def _held_out_auc(
    rows: np.ndarray, columns: np.ndarray, sample: np.ndarray, judges: np.ndarray, strengths: np.ndarray
) -> float:
    """Mean AUC over labels, on the held-out rows, of heads fitted on a sample."""
    from sklearn.metrics import roc_auc_score

    truth, y = columns[judges], columns[sample]
    judged = [label for label, column in enumerate(truth.T) if len(np.unique(column)) == 2]
    fitted = [label for label in judged if len(np.unique(y[:, label])) == 2]
    aucs = [0.5] * (len(judged) - len(fitted))  # a label too rare to be judged at all does not count
    if fitted:
        head = Basis.of(rows[sample]).fitted_head(y[:, fitted], strengths[fitted])
        pairs = zip(fitted, head.logit(rows[judges]).T, strict=True)
        aucs += [roc_auc_score(truth[:, label], logits) for label, logits in pairs]
    return float(np.mean(aucs)) if aucs else float("nan")


def _gain_interval(curve: LearningCurve, noise: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Middle 95 % of the gains of twice the rows, by laws of resampled samples."""
    rows, gains = np.array(curve.rows, dtype=float), []
    single = np.where([len(values) == 1 for values in curve.samples], noise, 0)
    for _ in range(_RESAMPLES):
        means = np.array([np.mean(rng.choice(values, len(values))) for values in curve.samples])
        gains.append(_fit_law(rows, means + rng.normal(0, single), noise).gain(rows[-1]))
    low, high = np.quantile(gains, [0.025, 0.975])
    return float(low), float(high)


def _noise(curve: LearningCurve) -> np.ndarray:
    """Standard error of each mean; a single sample is as uncertain as one of the point before it."""
    errors: list[float] = []
    known = [0.0] + [spread for spread in curve.spread if spread is not None]
    for values, spread in zip(curve.samples, curve.spread, strict=True):
        errors.append(known[-1] if spread is None else spread / len(values) ** 0.5)
    return np.maximum(errors, _NOISE)


def _fit_law(rows: np.ndarray, means: np.ndarray, noise: np.ndarray) -> PowerLaw:
    """Weighted least squares: a grid of exponents, for each of which the rest is linear."""
    best, least = PowerLaw(float(means.mean()), 0.0, 1.0), np.inf
    weight = noise**-2.0 / (noise**-2.0).sum()
    for exponent in _EXPONENTS.tolist():
        power = rows**-exponent
        mean_power, mean_auc = weight @ power, weight @ means
        scale = -(weight @ ((power - mean_power) * (means - mean_auc))) / (weight @ (power - mean_power) ** 2)
        limit = mean_auc + scale * mean_power
        if limit > 1:
            limit, scale = 1.0, (weight @ (power * (1 - means))) / (weight @ power**2)
        if scale < 0:
            limit, scale = mean_auc, 0.0
        error = weight @ (means - limit + scale * power) ** 2
        if error < least:
            best, least = PowerLaw(float(limit), float(scale), exponent), error
    return best
