"""Which of several known writers wrote a text, from tables of numbers; whoever is none of them is unknown.

Each feature set (character n-grams, and what a model computes of the texts) has a ridge regression per
writer, and a writer's score is the mean over feature sets. The feature sets are chosen on held-out prompts.
Whether a text is of a known writer is a logistic regression on the confidence of the feature sets, fitted to
known writers who were left out one after the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from splinelens.detect.heads import LinearHead
from splinelens.detect.out_of_fold import auc
from splinelens.detect.thresholds import Interval, share_interval
from splinelens.errors import BadLabels, BrokenArtifact

TEXT = "text"
"""The feature set that needs no model; it is always read."""

MOST_ROWS = 5_000
"""Most rows of a fit: hundreds of systems of equations of this size are solved."""

UNKNOWN_RATE = 0.05
"""Share of the known writers' answers, or pools of answers, that are called unknown."""

_RIDGE = 0.1  # relative to the mean squared length of a row
_CLIP = 4.0  # standard deviations of a confidence number
_SAMPLED_POOLS = 2000
_LEAST = 1e-6
_ARRAYS = ("weight", "bias", "center", "variance")  # of a feature set, as stored

Values = Any
"""A feature set, (row, column): an array, or a sparse matrix of counts."""

Rows = Int[np.ndarray, " row"]


@dataclass(frozen=True, eq=False)
class Scaling:
    """Turns a feature set into rows with a mean squared length of 1, without labels.

    Counts become TF-IDF rows; other columns are standardized, those that are constant become 0.

    Attributes:
        mean: (column,), subtracted; None of counts.
        factor: (column,), multiplied.
    """

    mean: np.ndarray | None
    factor: np.ndarray

    @classmethod
    def of(cls, values: Values) -> "Scaling":
        """Fitted to the rows of a feature set."""
        if not isinstance(values, np.ndarray):
            seen = np.bincount(values.indices, minlength=values.shape[1])
            return cls(None, (np.log((1 + values.shape[0]) / (1 + seen)) + 1).astype(np.float32))
        mean = values.mean(axis=0, dtype=np.float64)
        scale = values.std(axis=0, dtype=np.float64) * np.sqrt(values.shape[1])
        factor = np.divide(1, scale, out=np.zeros_like(scale), where=scale > _LEAST)
        return cls(mean.astype(np.float32), factor.astype(np.float32))

    def rows(self, values: Values) -> Values:
        """The rows that heads read."""
        if self.mean is not None:
            return ((values - self.mean) * self.factor).astype(np.float32)
        rows = values.astype(np.float32)
        rows.data = (1 + np.log(rows.data)) * self.factor[rows.indices]
        length = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
        rows.data /= np.repeat(np.maximum(length, _LEAST), np.diff(rows.indptr))
        return rows


@dataclass(frozen=True, eq=False)
class FeatureSetHead:
    """What one feature set says of the writers.

    Attributes:
        scaling: Of its columns.
        weight: (column, writer) of the ridge regression.
        bias: (writer,).
        center: (column, writer), mean row of each writer.
        variance: (writer,), mean squared distance of its rows to the center.
    """

    scaling: Scaling
    weight: np.ndarray
    bias: np.ndarray
    center: np.ndarray
    variance: np.ndarray

    def read(self, values: Values) -> Float[np.ndarray, "2 row writer"]:
        """The score of each writer, and the log squared distance to its center in units of its variance."""
        rows = self.scaling.rows(values)
        squares = rows.multiply(rows) if self.scaling.mean is None else rows * rows
        lengths = np.asarray(squares.sum(axis=1), dtype=np.float64).reshape(-1, 1)
        scores = np.asarray(rows @ self.weight, dtype=np.float64) + self.bias
        distances = lengths - 2 * np.asarray(rows @ self.center, dtype=np.float64)
        return np.stack([scores, _log_ratio(distances + (self.center**2).sum(axis=0), self.variance)])


@dataclass(frozen=True, eq=False)
class WriterHead:
    """Scores of known writers, and how likely a text is of one of them.

    Attributes:
        writers: Their names.
        feature_sets: A head for each feature set that is read.
        known: Logistic regression on the confidence of the feature sets.
        held_out: (row,), its logits of the rows of the fit, by heads that were not fitted to their prompts;
            thresholds are quantiles of them.
        labels: (row,), who wrote these rows.
    """

    writers: tuple[str, ...]
    feature_sets: dict[str, FeatureSetHead]
    known: LinearHead
    held_out: np.ndarray
    labels: np.ndarray

    def read(
        self, values: Mapping[str, Values]
    ) -> tuple[Float[np.ndarray, "row writer"], Float[np.ndarray, " row"]]:
        """The writers' scores, about 1 for who wrote a text and -1 for others, and the logits of `known`.

        Both are NaN where a number of the row is not finite.
        """
        outputs = np.stack([head.read(values[name]) for name, head in self.feature_sets.items()])
        scores = outputs[:, 0].mean(axis=0)
        logits = _clipped_logits(self.known, confidence(outputs))
        finite = np.isfinite(scores).all(axis=1) & np.isfinite(logits)
        return np.where(finite[:, None], scores, np.nan), np.where(finite, logits, np.nan)

    def threshold(self, answers: int) -> float:
        """The mean logit below which so many answers of one writer count as those of an unknown one.

        5 % of pools of the known writers' held-out answers are below it.
        """
        if answers == 1:
            return float(np.quantile(self.held_out, UNKNOWN_RATE))
        rng = np.random.default_rng(0)
        means = [
            self.held_out[rng.choice(np.flatnonzero(self.labels == writer), answers)].mean()
            for writer in rng.integers(len(self.writers), size=_SAMPLED_POOLS).tolist()
        ]
        return float(np.quantile(means, UNKNOWN_RATE))

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to store."""
        arrays = {"held_out": self.held_out, "labels": self.labels}
        arrays |= {f"known.{name}": array for name, array in self.known.arrays().items()}
        for name, head in self.feature_sets.items():
            arrays[f"{name}.factor"] = head.scaling.factor
            arrays |= {f"{name}.{array}": getattr(head, array) for array in _ARRAYS}
            if head.scaling.mean is not None:
                arrays[f"{name}.mean"] = head.scaling.mean
        return arrays

    @classmethod
    def from_arrays(
        cls, writers: Sequence[str], feature_sets: Sequence[str], arrays: Mapping[str, np.ndarray]
    ) -> "WriterHead":
        """A head from what ``arrays`` gave.

        Raises:
            BrokenArtifact: Arrays are missing, do not fit each other, or hold numbers that are not finite.
        """
        try:
            heads = {
                name: FeatureSetHead(
                    Scaling(arrays.get(f"{name}.mean"), arrays[f"{name}.factor"]),
                    *(arrays[f"{name}.{array}"] for array in _ARRAYS),
                )
                for name in feature_sets
            }
            known = LinearHead.from_arrays(
                {name: arrays[f"known.{name}"] for name in ("mean", "scale", "weight", "bias")}
            )
            head = cls(tuple(writers), heads, known, arrays["held_out"], arrays["labels"])
        except KeyError as error:
            raise BrokenArtifact(f"a head of writers needs the array {error}") from error
        count = len(head.writers)
        fits = known.weight.shape == (1, 3 * len(heads)) and head.held_out.shape == head.labels.shape
        fits &= {*np.unique(head.labels).tolist()} == {*range(count)}
        for one in heads.values():
            columns = one.scaling.factor.shape
            fits &= one.weight.shape == one.center.shape == (*columns, count)
            fits &= one.bias.shape == one.variance.shape == (count,)
            fits &= one.scaling.mean is None or one.scaling.mean.shape == columns
        if not fits or not all(np.isfinite(array).all() for array in arrays.values()):
            raise BrokenArtifact("the arrays of a head of writers do not fit each other, or are not finite")
        return head


@dataclass(frozen=True, eq=False)
class HeldOutAccuracy:
    """What a choice of feature sets reaches on rows of prompts that it was not fitted to.

    Attributes:
        feature_sets: Their names.
        scores: (row, writer).
        accuracy: Share of rows that the writer with the highest score wrote.
        interval: 95 % interval of the accuracy, over prompts.
        squared_error: Mean squared difference of the scores from 1 for who wrote a row and -1 for the others.
    """

    feature_sets: tuple[str, ...]
    scores: np.ndarray
    accuracy: float
    interval: Interval
    squared_error: float


@dataclass(frozen=True, eq=False)
class WriterFit:
    """A head of writers, and what was measured of it on held-out prompts.

    Attributes:
        head: The head, of the feature sets with the least squared error.
        choices: Every choice of feature sets, n-grams by themselves first.
        unknown: For each writer the AUC of others' answers against the writer's where it is unknown: heads
            and scalings of each fold are fitted without it, and the logistic regression on simulations of
            other unknown writers, whose heads know it but of which its rows are left out. Empty with two
            writers.
    """

    head: WriterHead
    choices: tuple[HeldOutAccuracy, ...]
    unknown: dict[str, float]

    @property
    def chosen(self) -> HeldOutAccuracy:
        """What the feature sets of the head reach."""
        return next(one for one in self.choices if one.feature_sets == tuple(self.head.feature_sets))


def fit_writers(
    values: Mapping[str, Values],
    labels: Rows,
    prompt: Rows,
    writers: Sequence[str],
    *,
    choose: bool = True,
    folds: int = 5,
    seed: int = 0,
) -> WriterFit:
    """Fit the writers' heads, and choose the feature sets on held-out prompts.

    Args:
        values: The feature sets, ``text`` first.
        labels: The number of each row's writer.
        prompt: Rows of one prompt are in one fold.
        writers: Their names.
        choose: Whether feature sets are chosen; else all are read.
        folds: How many folds.
        seed: Of the folds.

    Raises:
        BadLabels: As ``require_writers`` refuses them.
    """
    require_writers(labels, prompt, writers)
    scalings = {name: Scaling.of(one) for name, one in values.items()}
    rows = {name: scalings[name].rows(one) for name, one in values.items()}
    grams = {name: _gram(one) for name, one in rows.items()}
    everyone = np.arange(len(writers))
    fold = prompt_folds(prompt, folds, seed)
    outputs = {name: _held_out(gram, labels, fold, everyone) for name, gram in grams.items()}
    choices = [
        _accuracy(names, np.mean([outputs[name][0] for name in names], axis=0), labels, prompt)
        for names in _choices(tuple(values))
    ]
    candidates = choices if choose else choices[-1:]
    best = min(candidates, key=lambda one: one.squared_error).feature_sets
    known = _fit_known([grams[name] for name in best], labels, fold, writers)
    unknown = _unknown_aucs([values[name] for name in best], labels, fold, writers)
    heads = {name: _fit_head(scalings[name], rows[name], grams[name], labels, everyone) for name in best}
    held_out = _clipped_logits(known, confidence(np.stack([outputs[name] for name in best])))
    head = WriterHead(tuple(writers), heads, known, held_out, labels.astype(np.int32))
    return WriterFit(head, tuple(choices), unknown)


def measure_text(
    counts: Values, labels: Rows, prompt: Rows, writers: Sequence[str], *, folds: int = 5, seed: int = 0
) -> HeldOutAccuracy:
    """What counts of n-grams reach by themselves on the held-out prompts of ``fit_writers``."""
    gram = _gram(Scaling.of(counts).rows(counts))
    fold = prompt_folds(prompt, folds, seed)
    scores = _held_out(gram, labels, fold, np.arange(len(writers)))[0]
    return _accuracy((TEXT,), scores, labels, prompt)


def require_writers(labels: Rows, prompt: Rows, writers: Sequence[str]) -> None:
    """Validate the writers' rows.

    Raises:
        BadLabels: One writer, a writer with answers to one prompt only, or too many rows.
    """
    if len(writers) < 2:
        raise BadLabels(
            f"all {len(labels)} texts are of one writer, {writers[0]!r}; give texts of two or more"
        )
    if len(labels) > MOST_ROWS:
        raise BadLabels(f"{len(labels):,} texts are more than the {MOST_ROWS:,} of a fit; give a sample")
    for number, writer in enumerate(writers):
        if len(np.unique(prompt[labels == number])) < 2:
            raise BadLabels(
                f"writer {writer!r} has texts of one prompt only, and prompts are held out; give texts of "
                "two or more prompts, or leave the writer out"
            )


def prompt_folds(prompt: Rows, folds: int, seed: int) -> Rows:
    """The fold of each row: prompts in random order, as many in each."""
    _, numbers = np.unique(prompt, return_inverse=True)
    prompts = int(numbers.max()) + 1
    order = np.random.default_rng(seed).permutation(prompts) % min(folds, prompts)
    return np.asarray(order[numbers])


def confidence(outputs: Float[np.ndarray, "set 2 row writer"]) -> Float[np.ndarray, "row number"]:
    """Of each feature set its two best scores, and the distance to the writer with the best mean score."""
    nearest = outputs[:, 0].mean(axis=0).argmax(axis=1)
    columns = []
    for scores, distances in outputs:
        best = np.sort(scores, axis=1)
        second = best[:, -2] if best.shape[1] > 1 else best[:, -1]
        columns += [best[:, -1], second, distances[np.arange(len(distances)), nearest]]
    return np.stack(columns, axis=1)


def answer_pools(
    labels: Rows, answers: int, rng: np.random.Generator, repeats: int = 5
) -> list[Int[np.ndarray, " answer"]]:
    """Random pools of answers of one writer each; in each repeat no answer is in two."""
    pools = []
    for writer in np.unique(labels):
        rows = np.flatnonzero(labels == writer)
        for _ in range(repeats):
            order = rng.permutation(rows)
            pools += [order[start : start + answers] for start in range(0, len(rows) - answers + 1, answers)]
    return pools


def _accuracy(
    feature_sets: tuple[str, ...], scores: np.ndarray, labels: np.ndarray, prompt: np.ndarray
) -> HeldOutAccuracy:
    hits = scores.argmax(axis=1) == labels
    error = float(np.mean((scores - _target(labels, np.arange(scores.shape[1]))) ** 2))
    return HeldOutAccuracy(feature_sets, scores, float(hits.mean()), share_interval(hits, prompt), error)


def _choices(feature_sets: tuple[str, ...]) -> list[tuple[str, ...]]:
    """N-grams, these with one other, with the first two others, and all."""
    text, *others = feature_sets
    choices = [(text,), *((text, other) for other in others), (text, *others[:2]), feature_sets]
    return list(dict.fromkeys(choices))


def _target(labels: np.ndarray, writers: np.ndarray) -> np.ndarray:
    return np.where(labels[:, None] == writers, 1.0, -1.0)


def _gram(rows: Values) -> np.ndarray:
    product = rows @ rows.T
    return np.asarray(product if isinstance(product, np.ndarray) else product.toarray(), dtype=np.float64)


def _solve(gram: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression with a bias that is not penalized: the dual coefficients, and the bias.

    The kernel is centered on these rows only; centered on others too, it would know of writers left out.
    Where no row has a number, the scores are the bias.
    """
    from scipy.linalg import solve

    means, center = gram.mean(axis=0), target.mean(axis=0)
    centered = gram - means - means[:, None] + means.mean()
    np.einsum("ii->i", centered)[:] += _RIDGE * max(np.trace(gram) / len(gram), _LEAST)
    dual = np.asarray(solve(centered, target - center, assume_a="pos", check_finite=False))
    return dual, center - means @ dual


def _shares(labels: np.ndarray, writers: np.ndarray) -> np.ndarray:
    """(row, writer), what each row adds to the mean of its writer."""
    wrote = (labels[:, None] == writers).astype(float)
    return np.asarray(wrote / wrote.sum(axis=0))


def _variance(gram: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The squared length of each writer's center, and the mean squared distance of its rows to it."""
    squares = np.einsum("rw,rs,sw->w", shares, gram, shares, optimize=True)
    return squares, np.maximum(np.diag(gram) @ shares - squares, _LEAST)


def _log_ratio(distances: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(distances, _LEAST) / variance)


def _predicted(
    gram: np.ndarray, labels: np.ndarray, rest: np.ndarray, inside: np.ndarray, writers: np.ndarray
) -> np.ndarray:
    """(2, row, writer) as ``FeatureSetHead.read`` gives it for rows inside, by a head fitted to the rest."""
    block, across = gram[np.ix_(rest, rest)], gram[np.ix_(inside, rest)]
    dual, bias = _solve(block, _target(labels[rest], writers))
    shares = _shares(labels[rest], writers)
    squares, variance = _variance(block, shares)
    distances = np.diag(gram)[inside, None] - 2 * across @ shares + squares
    return np.stack([across @ dual + bias, _log_ratio(distances, variance)])


def _held_out(gram: np.ndarray, labels: np.ndarray, fold: np.ndarray, writers: np.ndarray) -> np.ndarray:
    """(2, row, writer) of each row by a head that was fitted to the other folds, and to these writers."""
    result = np.empty((2, len(labels), len(writers)))
    for inside, rest in _splits(labels, fold, writers):
        result[:, inside] = _predicted(gram, labels, rest, inside, writers)
    return result


def _rescaled(values: Values, labels: np.ndarray, fold: np.ndarray, writers: np.ndarray) -> np.ndarray:
    """As ``_held_out``; each fold has a scaling that is fitted to the rows of its heads."""
    result = np.empty((2, len(labels), len(writers)))
    for inside, rest in _splits(labels, fold, writers):
        gram = _gram(Scaling.of(values[rest]).rows(values))
        result[:, inside] = _predicted(gram, labels, rest, inside, writers)
    return result


def _splits(
    labels: np.ndarray, fold: np.ndarray, writers: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows of each fold, and the rows of these writers in the others."""
    for number in np.unique(fold):
        yield np.flatnonzero(fold == number), np.flatnonzero((fold != number) & np.isin(labels, writers))


def _fit_head(
    scaling: Scaling, rows: Values, gram: np.ndarray, labels: np.ndarray, writers: np.ndarray
) -> FeatureSetHead:
    dual, bias = _solve(gram, _target(labels, writers))
    shares = _shares(labels, writers)
    _, variance = _variance(gram, shares)
    weight, center = (np.asarray(rows.T @ one).astype(np.float32) for one in (dual, shares))
    return FeatureSetHead(scaling, weight, bias, center, variance)


def _fit_known(
    grams: Sequence[np.ndarray], labels: np.ndarray, fold: np.ndarray, writers: Sequence[str]
) -> LinearHead:
    """``WriterHead.known``."""
    if len(writers) < 3:  # a writer left out of two leaves one, whose score says nothing
        width = 3 * len(grams)
        weight = np.zeros((1, width))
        weight[:, ::3] = 1.0
        return LinearHead(np.zeros(width), np.ones(width), weight, np.zeros(1))
    simulated = [
        confidence(np.stack([_held_out(gram, labels, fold, others) for gram in grams]))
        for others in _each_left_out(len(writers))
    ]
    is_known = [labels != left_out for left_out in range(len(writers))]
    return _logistic(np.concatenate(simulated), np.concatenate(is_known))


def _unknown_aucs(
    values: Sequence[Values], labels: np.ndarray, fold: np.ndarray, writers: Sequence[str]
) -> dict[str, float]:
    """``WriterFit.unknown``."""
    if len(writers) < 3:
        return {}
    simulated = [
        confidence(np.stack([_rescaled(one, labels, fold, others) for one in values]))
        for others in _each_left_out(len(writers))
    ]
    aucs = {}
    for left_out, others in enumerate(_each_left_out(len(writers))):
        is_known = labels != left_out
        numbers = np.concatenate([simulated[other][is_known] for other in others])
        known = _logistic(numbers, np.concatenate([labels[is_known] != other for other in others]))
        aucs[writers[left_out]] = auc(is_known.astype(int), _clipped_logits(known, simulated[left_out]))
    return aucs


def _each_left_out(count: int) -> list[np.ndarray]:
    """The writers without the first, without the second, and so on."""
    return [np.delete(np.arange(count), left_out) for left_out in range(count)]


def _logistic(numbers: np.ndarray, labels: np.ndarray) -> LinearHead:
    from sklearn.linear_model import LogisticRegression

    mean = numbers.mean(axis=0)
    scale = np.maximum(numbers.std(axis=0), _LEAST)
    standardized = np.clip((numbers - mean) / scale, -_CLIP, _CLIP)
    model = LogisticRegression(class_weight="balanced", max_iter=2000).fit(standardized, labels)
    return LinearHead(mean, scale, model.coef_, model.intercept_)


def _clipped_logits(known: LinearHead, numbers: np.ndarray) -> np.ndarray:
    limit = _CLIP * known.scale
    return known.logit(np.clip(numbers, known.mean - limit, known.mean + limit))[:, 0]
