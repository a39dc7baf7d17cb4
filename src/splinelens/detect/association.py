"""Does a number such as the intrinsic dimension (ID) of a prompt predict an outcome beyond length?

Rows are the answers of an audit: prompts x kinds of context x repetitions, where the rows of one cell (a
prompt at one length) are equally long. Whatever prompt and length do to the outcome is the same for all rows
of a cell, so only a comparison within cells can tell what the predictor adds.

**Permutation test.** If the predictor says nothing at equal length, outcomes of a cell may be exchanged
(Good, *Permutation, Parametric and Bootstrap Tests of Hypotheses*, 2005). Repetitions of one kind of context
share sentences and resemble each other, at all lengths, so counting them as independent would make chance
look like an effect. Kinds are therefore exchanged as a whole, at all lengths of a prompt at once, and besides
that the repetitions of one kind within a cell. For any influence of prompt, length and kind the test is
exact: it claims an association that is not there in at most ``LEVEL`` of audits. It is not where a repetition
resembles the same one at another length, more than the others of its kind: then it claims somewhat more.

**Unequal lengths.** If the rows of a cell differ in length, predictor and outcome are replaced by their
residuals on the prompt and a spline of log length, and residuals are exchanged within the prompt (Freedman
and Lane, 1983). That test is approximate.

**Odds ratio.** Conditional logistic regression: each cell (with unequal lengths: each prompt, beside the
spline) has an intercept of its own that cancels in the likelihood (Chamberlain, 1980). A random intercept
per prompt, ``BinomialBayesMixedGLM``, is not used: its intervals miss the planted odds ratio too often, most
of all where prompts that are refused more often also have a higher predictor (``benchmarks/association.md``).
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from splinelens.detect.bootstrap import (
    MIN_GROUPS,
    ScoreHistogram,
    auc_gain_interval,
    auc_interval,
    percentile_interval,
)
from splinelens.detect.groups import resampled_groups
from splinelens.detect.solver import fit
from splinelens.detect.thresholds import Interval
from splinelens.errors import BadFeatures, BadLabels, MissingPackage

LEVEL = 0.01
"""An association is claimed at p-values up to this."""

MIN_PROMPTS = 5
"""Fewest informative prompts for a claim; see ``Association``."""

NEGLIGIBLE_ODDS = 2.0
"""'No association' takes an interval of the odds ratio within 1/2 and 2."""

NEGLIGIBLE_CORRELATION = 0.3
"""The same for the partial correlation, where the outcome is not yes or no."""

_RESAMPLES = 2000
_AUCS = ("predictor", "length", "both", "gain")
_NOT_BINARY = "the outcome is not yes or no"
_KNOTS = 5  # of the spline of log length
_BLOCK = 2**21  # numbers in a block of permutations
_MOST_ODDS = 100.0  # a larger odds ratio per standard deviation is separation
_ROUNDING = 1e-9  # relative; differences below it are rounding


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: None if it cannot be computed.
        interval: None without a value, or with too few prompts.
        reason: Why there is no value; empty if there is one.
    """

    value: float | None
    interval: Interval | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Association:
    """What a predictor says about an outcome beyond length.

    Attributes:
        n: Rows with an outcome.
        excluded: Rows without one; they are in no other number.
        prompts: Prompts of the ``n`` rows.
        informative: Prompts among them with a cell in which both predictor and outcome vary.
        positives: Rows with outcome 1; None if the outcome is not yes or no.
        exact: Whether the rows of each cell are equally long.
        p_value: Of the permutation test, two-sided; None if nothing can be exchanged.
        p_within_kind: The same if only repetitions of one kind within a cell are exchanged: whether the
            predictor says more than the kind of context does.
        correlation: Partial correlation given prompt and length: Pearson's, within cells. It is the
            statistic that is permuted; ranks within cells of a few rows would discard most of a difference.
        odds_ratio: Factor on the odds of the outcome per standard deviation of the predictor within cells.
        auc: ROC AUC of logistic regressions on the ``predictor``, a spline of log ``length`` and ``both``,
            and the ``gain`` of both over length. Out of fold: no prompt is scored by a fit that saw it.
    """

    n: int
    excluded: int
    prompts: int
    informative: int
    positives: int | None
    exact: bool
    p_value: float | None
    p_within_kind: float | None
    correlation: Estimate
    odds_ratio: Estimate
    auc: dict[str, Estimate]

    @property
    def finding(self) -> Literal["association", "none", "cannot tell"]:
        """What the numbers allow to say.

        - ``association``: ``p_value`` is at most ``LEVEL``, and ``MIN_PROMPTS`` prompts are informative.
        - ``none``: it is above, and the 95 % interval of the effect holds "no effect" and nothing beyond
          ``NEGLIGIBLE_ODDS`` (``NEGLIGIBLE_CORRELATION`` if the outcome is not yes or no).
        - ``cannot tell``: everything else.
        """
        if self.informative < MIN_PROMPTS or self.p_value is None:
            return "cannot tell"
        if self.p_value <= LEVEL:
            return "association"
        low, high = self.effect_interval
        limit = NEGLIGIBLE_CORRELATION if self.positives is None else np.log(NEGLIGIBLE_ODDS)
        return "none" if -limit <= low <= 0 <= high <= limit else "cannot tell"

    @property
    def effect_interval(self) -> Interval:
        """Interval of the log odds ratio, or of the correlation of an outcome that is not yes or no."""
        estimate = self.correlation if self.positives is None else self.odds_ratio
        if estimate.interval is None:
            return -np.inf, np.inf
        low, high = estimate.interval
        return (low, high) if self.positives is None else (float(np.log(low)), float(np.log(high)))


@dataclass(frozen=True, eq=False)
class LayerAssociation:
    """Partial correlation of each layer's predictor with the outcome, as in ``Association``.

    Attributes:
        correlation: (layer,), NaN for a layer that does not vary within cells.
        interval: (layer, 2), 95 %; NaN with fewer than ``MIN_GROUPS`` informative prompts.
        p_value: (layer,), corrected for the number of layers: how often chance makes the largest correlation
            of any layer as large as this one. 1 if nothing can be exchanged.
    """

    correlation: np.ndarray
    interval: np.ndarray
    p_value: np.ndarray


def association(
    outcome: np.ndarray,
    predictor: np.ndarray,
    length: np.ndarray,
    *,
    prompt: np.ndarray,
    cell: np.ndarray,
    kind: np.ndarray,
    permutations: int = 1999,
    seed: int = 0,
) -> Association:
    """Measure what a predictor says about an outcome beyond length.

    Args:
        outcome: (row,) 0 or 1, or any number; NaN where it is undetermined.
        predictor: (row,) finite.
        length: (row,) in tokens, at least 1.
        prompt: (row,) number or name, equal for rows of one prompt.
        cell: (row,) the same for rows of one prompt at one length.
        kind: (row,) the same for rows with one kind of context.
        permutations: The smallest p-value is 1 / (permutations + 1).
        seed: Of permutations, folds and resamples.

    Raises:
        BadFeatures: Arguments of different lengths, a predictor, length or outcome that is not a number,
            or a cell with rows of two prompts.
        MissingPackage: statsmodels is not installed.
    """
    table = _Table.of(outcome, np.asarray(predictor, dtype=float)[:, None], length, prompt, cell, kind)
    y, x = table.residuals(table.outcome[:, None], table.stratum), table.residuals(table.x, table.stratum)
    informative = np.unique(table.prompt[_informative(y, x, table.stratum)])
    correlation, interval = _correlations(y, x, table.prompt, informative, seed)
    binary = bool(np.isin(table.outcome, (0, 1)).all())
    p_value, p_within_kind = (
        None if values is None else float(values[0])
        for values in (
            _p_values(table, exchange, permutations, seed)
            for exchange in (table.exchange(), table.exchange(within_kind=True))
        )
    )
    return Association(
        n=len(table.outcome),
        excluded=table.excluded,
        prompts=len(np.unique(table.prompt)),
        informative=len(informative),
        positives=int(table.outcome.sum()) if binary else None,
        exact=table.exact,
        p_value=p_value,
        p_within_kind=p_within_kind,
        correlation=_estimate(
            correlation[0], interval[0], "outcome or predictor does not vary at equal length"
        ),
        odds_ratio=_odds_ratio(table, x) if binary else Estimate(None, reason=_NOT_BINARY),
        auc=_aucs(table, seed) if binary else dict.fromkeys(_AUCS, Estimate(None, reason=_NOT_BINARY)),
    )


def require_statsmodels() -> None:
    """Check that odds ratios can be computed.

    Raises:
        MissingPackage: statsmodels is not installed.
    """
    try:
        import statsmodels.discrete.conditional_models  # noqa: F401
    except ImportError as error:
        raise MissingPackage(
            "the odds ratio of an audit needs statsmodels, which is not installed; run "
            "pip install 'splinelens[audit]'"
        ) from error


def by_layer(
    outcome: np.ndarray,
    predictors: np.ndarray,
    length: np.ndarray,
    *,
    prompt: np.ndarray,
    cell: np.ndarray,
    kind: np.ndarray,
    permutations: int = 1999,
    seed: int = 0,
) -> LayerAssociation:
    """Measure predictors of several layers, (row, layer); the other arguments are those of ``association``.

    With one layer the p-value is that of ``association``.

    Raises:
        BadFeatures: As ``association``.
    """
    table = _Table.of(outcome, np.asarray(predictors, dtype=float), length, prompt, cell, kind)
    y, x = table.residuals(table.outcome[:, None], table.stratum), table.residuals(table.x, table.stratum)
    informative = np.unique(table.prompt[_informative(y, x, table.stratum)])
    correlation, interval = _correlations(y, x, table.prompt, informative, seed)
    p_value = _p_values(table, table.exchange(), permutations, seed)
    return LayerAssociation(correlation, interval, np.ones(len(correlation)) if p_value is None else p_value)


@dataclass(frozen=True, eq=False)
class _Exchange:
    """Which rows may exchange their outcomes: kinds of a prompt as a whole, and rows of one kind in a cell.

    Kinds are exchanged if they have as many rows in each cell.

    Attributes:
        orbit: (row,) a number, equal for rows that can take each other's place.
        order: Rows sorted so that exchanged blocks are contiguous and alike.
        run: (sorted row,) number of its kind and cell, ascending.
        block: (sorted row,) number of its kind and prompt, ascending.
        start: (block,) its first sorted row.
        shape: (block,) number of the blocks it may be exchanged with, ascending.
    """

    orbit: np.ndarray
    order: np.ndarray
    run: np.ndarray
    block: np.ndarray
    start: np.ndarray
    shape: np.ndarray

    @classmethod
    def of(cls, prompt: np.ndarray, cell: np.ndarray, kind: np.ndarray) -> "_Exchange":
        """From numbers per row; the rows of a cell are of one prompt."""
        block = _codes(prompt, kind)
        rows = np.zeros((block.max(initial=-1) + 1, cell.max(initial=-1) + 1), dtype=int)
        np.add.at(rows, (block, cell), 1)
        shape = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
        order = np.lexsort((cell, block, shape[block]))
        starts = np.flatnonzero(np.diff(block[order], prepend=-1))
        return cls(
            orbit=_codes(shape[block], cell),
            order=order,
            run=np.cumsum(np.diff(_codes(block, cell)[order], prepend=-1) != 0),
            block=np.cumsum(np.diff(block[order], prepend=-1) != 0) - 1,
            start=starts,
            shape=shape[block[order]][starts],
        )

    def permutations(self, count: int, seed: int) -> Iterator[np.ndarray]:
        """Random exchanges in blocks, (permutation, row): the row whose outcome each row takes."""
        rng = np.random.default_rng(seed)
        rows = len(self.order)
        offset = np.arange(rows) - self.start[self.block]
        step = max(1, _BLOCK // max(rows, 1))
        for first in range(0, count, step):
            size = min(step, count - first)
            within = np.argsort(self.run + rng.random((size, rows)), axis=1)
            source = np.argsort(self.shape + rng.random((size, len(self.start))), axis=1)
            chosen = np.take_along_axis(within, self.start[source][:, self.block] + offset, axis=1)
            exchanged = np.empty_like(chosen)
            exchanged[:, self.order] = self.order[chosen]
            yield exchanged


@dataclass(frozen=True, eq=False)
class _Table:
    """Rows with an outcome, in an order that does not depend on the order they came in.

    Attributes:
        outcome: (row,)
        x: (row, layer), the predictors.
        spline: (row, column), a spline of log length, centered; no columns if all lengths are equal.
        prompt: (row,) a number, as of ``cell`` and ``kind``.
        exact: Whether the rows of each cell are equally long.
        excluded: Rows without an outcome.
    """

    outcome: np.ndarray
    x: np.ndarray
    spline: np.ndarray
    prompt: np.ndarray
    cell: np.ndarray
    kind: np.ndarray
    exact: bool
    excluded: int

    @classmethod
    def of(
        cls,
        outcome: np.ndarray,
        x: np.ndarray,
        length: np.ndarray,
        prompt: np.ndarray,
        cell: np.ndarray,
        kind: np.ndarray,
    ) -> "_Table":
        """Checked, without undetermined rows, and sorted."""
        columns = {"outcome": outcome, "predictor": x, "length": length}
        columns |= {"prompt": prompt, "cell": cell, "kind": kind}
        sizes = {name: len(column) for name, column in columns.items()}
        if len(set(sizes.values())) > 1:
            raise BadFeatures(f"each row needs one value of each; there are {sizes}")
        y, length = np.asarray(outcome, dtype=float), np.asarray(length, dtype=float)
        for name, wrong, needed in (
            ("outcome", np.isinf(y), "a number, or NaN where it is undetermined"),
            ("predictor", ~np.isfinite(x).all(axis=1), "a finite number; leave such rows out"),
            ("length", ~(np.isfinite(length) & (length >= 1)), "a number of tokens, at least 1"),
        ):
            if wrong.any():
                row = int(wrong.argmax())
                raise BadFeatures(
                    f"the {name} of row {row} is {np.asarray(columns[name])[row].tolist()}; "
                    f"it has to be {needed}"
                )
        scored = ~np.isnan(y)
        numbers = [_codes(np.asarray(values)[scored]) for values in (prompt, cell, kind)]
        if len(np.unique(numbers[1])) < len(np.unique(_codes(*numbers[:2]))):
            raise BadFeatures("a cell has rows of two prompts; a cell is one prompt at one length")
        y, x, length = y[scored], x[scored], length[scored]
        order = np.lexsort((*x.T[::-1], y, length, *numbers[::-1]))
        prompt, cell, kind = (values[order] for values in numbers)
        length = length[order]
        return cls(
            outcome=y[order],
            x=x[order],
            spline=_length_spline(np.log(length)),
            prompt=prompt,
            cell=cell,
            kind=kind,
            exact=len(np.unique(_codes(cell, length))) == len(np.unique(cell)),
            excluded=int((~scored).sum()),
        )

    @property
    def stratum(self) -> np.ndarray:
        """Rows that are compared: those of a cell, or with unequal lengths those of a prompt."""
        return self.cell if self.exact else self.prompt

    def exchange(self, *, within_kind: bool = False) -> _Exchange:
        """Which rows may exchange their outcomes."""
        if within_kind:
            same = _codes(self.stratum, self.kind)
            return _Exchange.of(same, same, same)
        return _Exchange.of(self.prompt, self.stratum, self.kind)

    def residuals(self, values: np.ndarray, stratum: np.ndarray) -> np.ndarray:
        """What stratum, and with unequal lengths the spline, leave of (row, column); rounding becomes 0."""
        centered = _centered(values, stratum)
        if self.exact:
            return centered
        spline = _centered(self.spline, stratum)
        rest = centered - spline @ np.linalg.lstsq(spline, centered, rcond=None)[0]
        explained = (rest**2).sum(axis=0) <= _ROUNDING**2 * (centered**2).sum(axis=0)
        return np.where(explained, 0.0, rest)


def _codes(*columns: np.ndarray) -> np.ndarray:
    """Number rows from 0 so that rows that are equal in all columns have the same number."""
    numbers = [np.unique(column, return_inverse=True)[1] for column in columns]
    return np.unique(np.stack(numbers, axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def _centered(values: np.ndarray, stratum: np.ndarray) -> np.ndarray:
    """(row, column) minus the means of strata; rounding becomes 0."""
    member = _codes(stratum)
    rows = np.bincount(member)
    sums = np.zeros((len(rows), values.shape[1]))
    np.add.at(sums, member, values)
    centered = values - (sums / rows[:, None])[member]
    return np.where(np.abs(centered) <= _ROUNDING * np.abs(values).max(axis=0, initial=0), 0.0, centered)


def _length_spline(log_length: np.ndarray) -> np.ndarray:
    """A cubic spline of log length, (row, column), centered; an indicator of each length if they are few."""
    from sklearn.preprocessing import SplineTransformer

    distinct = np.unique(log_length)
    if len(distinct) <= _KNOTS:
        columns = (log_length[:, None] == distinct[1:]).astype(float)
    else:
        knots = np.quantile(distinct, np.linspace(0, 1, _KNOTS))
        spline = SplineTransformer(degree=3, knots=knots[:, None], include_bias=False)
        columns = spline.fit_transform(log_length[:, None])
    return columns - columns.mean(axis=0) if len(columns) else columns


def _informative(y: np.ndarray, x: np.ndarray, stratum: np.ndarray) -> np.ndarray:
    """Rows of strata in which the residuals of the outcome and of a predictor vary."""
    varied = [np.bincount(stratum, values.any(axis=1)) > 0 for values in (y, x)]
    return (varied[0] & varied[1])[stratum]


def _p_values(table: _Table, exchange: _Exchange, permutations: int, seed: int) -> np.ndarray | None:
    """Two-sided p-value of each layer, corrected for their number; None if nothing can be exchanged."""
    y = table.residuals(table.outcome[:, None], exchange.orbit)
    x = table.residuals(table.x, exchange.orbit)
    if not _informative(y, x, exchange.orbit).any():
        return None
    x = x / np.maximum(np.linalg.norm(x, axis=0), np.finfo(float).tiny)
    observed = np.abs(y[:, 0] @ x) * (1 - _ROUNDING)
    as_large = np.ones(x.shape[1])
    for exchanged in exchange.permutations(permutations, seed):
        largest = np.abs(y[exchanged, 0] @ x).max(axis=1)
        as_large += (largest[:, None] >= observed).sum(axis=0)
    return as_large / (permutations + 1)


def _correlations(
    y: np.ndarray, x: np.ndarray, prompt: np.ndarray, informative: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of the residuals, (layer,), and its interval by bootstrap of prompts, (layer, 2)."""
    member = _codes(prompt)
    sums = np.zeros((3, member.max(initial=-1) + 1, x.shape[1]))
    for total, product in zip(sums, (y * x, y * y + 0 * x, x * x), strict=True):
        np.add.at(total, member, product)

    def correlation(xy: np.ndarray, yy: np.ndarray, xx: np.ndarray) -> np.ndarray:
        varies = (yy > 0) & (xx > 0)
        return np.where(varies, xy / np.sqrt(np.where(varies, yy * xx, 1)), np.nan)

    interval = np.full((x.shape[1], 2), np.nan)
    if len(informative) >= MIN_GROUPS:
        times = np.concatenate(list(resampled_groups(sums.shape[1], _RESAMPLES, seed)))
        values = correlation(*(times @ total for total in sums))
        interval = np.array([percentile_interval(column) or (np.nan, np.nan) for column in values.T])
    return correlation(*sums.sum(axis=1)), interval


def _odds_ratio(table: _Table, x: np.ndarray) -> Estimate:
    """Odds ratio per standard deviation of the predictor, whose residuals are ``x``.

    The interval is that of a sandwich estimator with prompts as clusters, and Student's t with a degree of
    freedom less than prompts: it also holds where rows of one prompt resemble each other.
    """
    from scipy.linalg import orth
    from scipy.stats import t as student

    y, stratum = table.outcome, table.stratum
    mixed = _centered(y[:, None], stratum).any(axis=1)
    prompts = np.unique(table.prompt[mixed])
    if not x[mixed].any() or len(prompts) < 2:
        return Estimate(None, reason="outcome and predictor both vary in fewer than two prompts")
    freedom = len(x) - len(np.unique(stratum)) - (0 if table.exact else table.spline.shape[1])
    deviation = np.sqrt((x**2).sum() / max(freedom, 1))
    columns = _centered(table.x, stratum)[mixed] / deviation
    if not table.exact:
        spline = orth(_centered(table.spline, stratum)[mixed]) * np.sqrt(mixed.sum())
        columns = np.concatenate([columns, spline], axis=1)
    fitted = _conditional_logit(y[mixed], columns, stratum[mixed], table.prompt[mixed])
    if fitted is None:
        return Estimate(
            None, reason="the likelihood has no maximum: predictor or length separate the outcomes"
        )
    log_odds, error = fitted
    if len(prompts) < MIN_PROMPTS:
        return Estimate(float(np.exp(log_odds)))
    wide = student.ppf(0.975, len(prompts) - 1) * error
    return Estimate(float(np.exp(log_odds)), (float(np.exp(log_odds - wide)), float(np.exp(log_odds + wide))))


def _conditional_logit(
    y: np.ndarray, columns: np.ndarray, stratum: np.ndarray, prompt: np.ndarray
) -> tuple[float, float] | None:
    """Weight of the first column and its standard error; None if the likelihood has no maximum.

    statsmodels' warning of convergence depends on units. The fit counts as converged if the remaining Newton
    step is small against the standard errors and the first weight is not that of separated outcomes.

    Raises:
        MissingPackage: statsmodels is not installed.
    """
    require_statsmodels()
    from statsmodels.discrete.conditional_models import ConditionalLogit
    from statsmodels.tools.sm_exceptions import ConvergenceWarning

    model = ConditionalLogit(y, columns, groups=stratum)
    with warnings.catch_warnings(), np.errstate(all="ignore"):  # the result is checked below
        warnings.simplefilter("ignore", ConvergenceWarning)
        weights = model.fit(disp=False, skip_hessian=True).params
        score, information = model.score(weights), -model.hessian(weights)
    if not np.isfinite(information).all():
        return None
    information = (information + information.T) / 2  # numerical derivatives differ in the last digits
    curvature = np.linalg.eigvalsh(information)
    if curvature.min() <= 1e-6 * curvature.max():
        return None
    covariance = np.linalg.inv(information)
    if score @ covariance @ score > 1e-4 or abs(weights[0]) > np.log(_MOST_ODDS):
        return None
    groups = list(dict.fromkeys(stratum.tolist()))  # in the order of the model
    scores = np.stack([model.score_grp(number, weights) for number in range(len(groups))])
    owner = _codes(np.array([prompt[stratum == group][0] for group in groups]))
    clusters = np.zeros((owner.max() + 1, scores.shape[1]))
    np.add.at(clusters, owner, scores)
    sandwich = covariance @ clusters.T @ clusters @ covariance * len(clusters) / (len(clusters) - 1)
    return float(weights[0]), float(np.sqrt(sandwich[0, 0]))


def _aucs(table: _Table, seed: int) -> dict[str, Estimate]:
    """AUC of predictor, length and both, out of fold by prompt, and what the predictor adds to length."""
    labels = table.outcome.astype(int)
    if len(np.unique(labels)) < 2:
        return dict.fromkeys(_AUCS, Estimate(None, reason="the outcome is the same in all rows"))
    x = _centered(table.x, np.zeros_like(labels))
    columns = {"predictor": x, "length": table.spline, "both": np.concatenate([x, table.spline], axis=1)}
    try:
        logits = {
            name: fit(values, labels[:, None], strengths=(1.0,), seed=seed, groups=table.prompt).logits[:, 0]
            if values.any()
            else np.zeros(len(labels))
            for name, values in columns.items()
        }
    except BadLabels as error:
        return dict.fromkeys(_AUCS, Estimate(None, reason=str(error)))
    auc = {name: float(ScoreHistogram.of(labels, scores).roc_auc()) for name, scores in logits.items()}
    estimates = {
        name: Estimate(auc[name], auc_interval(labels, scores, _RESAMPLES, seed, table.prompt))
        for name, scores in logits.items()
    }
    gain = auc_gain_interval(labels, logits["length"], logits["both"], _RESAMPLES, seed, table.prompt)
    return estimates | {"gain": Estimate(auc["both"] - auc["length"], gain)}


def _estimate(value: float, interval: np.ndarray, reason: str) -> Estimate:
    """From numbers that are NaN where they are missing."""
    if not np.isfinite(value):
        return Estimate(None, reason=reason)
    low, high = interval.tolist()
    return Estimate(float(value), (low, high) if np.isfinite(low) else None)
