"""Which of several known writers wrote a text, from tables of numbers; whoever is none of them is unknown.

Each part of the features (character n-grams, and what a model computes of the texts) has a ridge regression
per writer, and a writer's score is the mean over parts. Which parts is chosen on held-out prompts. Whether a
text is of a known writer is a logistic regression on how sure the parts are, fitted to known writers who were
left out one after the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from splinelens.detect.bootstrap import percentile_interval, row_samples
from splinelens.detect.out_of_fold import auc
from splinelens.detect.thresholds import Interval
from splinelens.errors import BadLabels, BrokenArtifact

TEXT = "text"
"""The part that no model is needed for; it is always read."""

MOST_ROWS = 5_000
"""Most rows of a fit: hundreds of systems of equations of this size are solved."""

UNKNOWN_RATE = 0.05
"""Share of the known writers' answers, or packs of answers, that are called unknown."""

_RIDGE = 0.1  # relative to the mean squared length of a row
_CLIP = 4.0  # standard deviations of a number that says how sure a part is
_SAMPLED_PACKS = 2000
_LEAST = 1e-6

Values = Any
"""The numbers of a part, (row, column): an array, or a sparse matrix of counts."""

Rows = Int[np.ndarray, " row"]


@dataclass(frozen=True, eq=False)
class Scaling:
    """Turns the numbers of a part into rows with a mean squared length of 1, without labels.

    Counts become TF-IDF rows; other columns are standardized.

    Attributes:
        mean: (column,), subtracted; None of counts.
        factor: (column,), multiplied.
    """

    mean: np.ndarray | None
    factor: np.ndarray

    @classmethod
    def of(cls, values: Values) -> "Scaling":
        """Fitted to the rows of a part."""
        if not isinstance(values, np.ndarray):
            seen = np.bincount(values.indices, minlength=values.shape[1])
            return cls(None, (np.log((1 + values.shape[0]) / (1 + seen)) + 1).astype(np.float32))
        mean = values.mean(axis=0, dtype=np.float64)
        scale = np.maximum(values.std(axis=0, dtype=np.float64), _LEAST)
        factor = 1 / (scale * np.sqrt(values.shape[1]))
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
class PartHead:
    """What one part tells of the writers.

    Attributes:
        scaling: Of its columns.
        weight: (column, writer) of the ridge regression.
        bias: (writer,).
        center: (column, writer), mean row of each writer.
        spread: (writer,), mean squared distance of his rows to it.
    """

    scaling: Scaling
    weight: np.ndarray
    bias: np.ndarray
    center: np.ndarray
    spread: np.ndarray

    def read(self, values: Values) -> Float[np.ndarray, "2 row writer"]:
        """The score of each writer, and the log squared distance to him in units of his spread."""
        rows = self.scaling.rows(values)
        squares = rows.multiply(rows) if self.scaling.mean is None else rows * rows
        lengths = np.asarray(squares.sum(axis=1), dtype=np.float64).reshape(-1, 1)
        scores = np.asarray(rows @ self.weight, dtype=np.float64) + self.bias
        distances = lengths - 2 * np.asarray(rows @ self.center, dtype=np.float64)
        return np.stack([scores, _log_ratio(distances + (self.center**2).sum(axis=0), self.spread)])


@dataclass(frozen=True, eq=False)
class WriterHead:
    """Scores of known writers, and how likely a text is of one of them.

    Attributes:
        writers: Their names.
        parts: A head for each part that is read.
        known: (4, number): mean, scale, weight and, in the first entry of the last row, bias of the logistic
            regression on how sure the parts are.
        held_out: (row,), its logits of the rows of the fit, by heads that were not fitted to their prompts;
            thresholds are taken from them.
        labels: (row,), who wrote these rows.
    """

    writers: tuple[str, ...]
    parts: dict[str, PartHead]
    known: np.ndarray
    held_out: np.ndarray
    labels: np.ndarray

    def read(
        self, values: Mapping[str, Values]
    ) -> tuple[Float[np.ndarray, "row writer"], Float[np.ndarray, " row"]]:
        """The writers' scores, about 1 for who wrote a text and -1 for others, and the logits of `known`.

        Both are NaN where a number of the row is not finite.
        """
        each = np.stack([head.read(values[part]) for part, head in self.parts.items()])
        scores, logits = each[:, 0].mean(axis=0), _known_logits(self.known, sureness(each))
        finite = np.isfinite(scores).all(axis=1) & np.isfinite(logits)
        return np.where(finite[:, None], scores, np.nan), np.where(finite, logits, np.nan)

    def threshold(self, answers: int) -> float:
        """The mean logit below which so many answers of one writer count as those of an unknown one.

        5 % of packs of the known writers' held-out answers are below it.
        """
        if answers == 1:
            return float(np.quantile(self.held_out, UNKNOWN_RATE))
        rng = np.random.default_rng(0)
        means = [
            self.held_out[rng.choice(np.flatnonzero(self.labels == writer), answers)].mean()
            for writer in rng.integers(len(self.writers), size=_SAMPLED_PACKS).tolist()
        ]
        return float(np.quantile(means, UNKNOWN_RATE))

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to store."""
        arrays = {"known": self.known, "held_out": self.held_out, "labels": self.labels}
        for part, head in self.parts.items():
            own = {"factor": head.scaling.factor, "weight": head.weight, "bias": head.bias}
            own |= {"center": head.center, "spread": head.spread}
            own |= {} if head.scaling.mean is None else {"mean": head.scaling.mean}
            arrays |= {f"{part}.{name}": array for name, array in own.items()}
        return arrays

    @classmethod
    def from_arrays(
        cls, writers: Sequence[str], parts: Sequence[str], arrays: Mapping[str, np.ndarray]
    ) -> "WriterHead":
        """A head from what ``arrays`` gave.

        Raises:
            BrokenArtifact: Arrays are missing, do not fit each other, or hold numbers that are not finite.
        """
        names = ("weight", "bias", "center", "spread")
        try:
            heads = {
                part: PartHead(
                    Scaling(arrays.get(f"{part}.mean"), arrays[f"{part}.factor"]),
                    *(arrays[f"{part}.{name}"] for name in names),
                )
                for part in parts
            }
            head = cls(tuple(writers), heads, arrays["known"], arrays["held_out"], arrays["labels"])
        except KeyError as error:
            raise BrokenArtifact(f"a head of writers needs the array {error}") from error
        count = len(head.writers)
        fits = head.known.shape == (4, 3 * len(parts)) and head.held_out.shape == head.labels.shape
        fits &= {*np.unique(head.labels).tolist()} == {*range(count)}
        for one in heads.values():
            columns = one.scaling.factor.shape
            fits &= one.weight.shape == one.center.shape == (*columns, count)
            fits &= one.bias.shape == one.spread.shape == (count,)
            fits &= one.scaling.mean is None or one.scaling.mean.shape == columns
        if not fits or not all(np.isfinite(array).all() for array in arrays.values()):
            raise BrokenArtifact("the arrays of a head of writers do not fit each other, or are not finite")
        return head


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What a choice of parts reaches on rows of prompts that it was not fitted to.

    Attributes:
        parts: The parts.
        scores: (row, writer).
        accuracy: Share of rows whose likeliest writer wrote them.
        interval: Of the accuracy, 95 % by bootstrap over prompts; None of too few.
    """

    parts: tuple[str, ...]
    scores: np.ndarray
    accuracy: float
    interval: Interval | None


@dataclass(frozen=True, eq=False)
class AuthorFit:
    """A head of writers, and what was measured of it on held-out prompts.

    Attributes:
        head: The head, of the parts with the least squared error.
        tried: Every choice of parts, n-grams by themselves first.
        unknown: For each writer the AUC of others' answers against his where he is unknown: heads are fitted
            without him, and the logistic regression on simulations of other unknown writers. Empty of two
            writers.
    """

    head: WriterHead
    tried: tuple[HeldOut, ...]
    unknown: dict[str, float]

    @property
    def chosen(self) -> HeldOut:
        """What the parts of the head reach."""
        return next(one for one in self.tried if one.parts == tuple(self.head.parts))


def fit_authors(
    values: Mapping[str, Values],
    labels: Rows,
    prompt: Rows,
    writers: Sequence[str],
    *,
    choose: bool = True,
    folds: int = 5,
    seed: int = 0,
) -> AuthorFit:
    """Fit the writers' heads, and choose the parts on held-out prompts.

    Args:
        values: The numbers of each part, ``text`` first.
        labels: The number of each row's writer.
        prompt: Rows of one prompt are in one fold.
        writers: Their names.
        choose: Whether parts are chosen; else all are read.
        folds: How many folds.
        seed: Of folds and bootstrap.

    Raises:
        BadLabels: As ``require_writers`` refuses them.
    """
    require_writers(labels, prompt, writers)
    scalings = {part: Scaling.of(one) for part, one in values.items()}
    rows = {part: scalings[part].rows(one) for part, one in values.items()}
    grams = {part: _gram(one) for part, one in rows.items()}
    fold, everyone = prompt_folds(prompt, folds, seed), np.arange(len(writers))
    each = {part: _held_out(gram, labels, fold, everyone) for part, gram in grams.items()}
    tried = [
        _measured(parts, np.mean([each[part][0] for part in parts], axis=0), labels, prompt, seed)
        for parts in _choices(tuple(values))
    ]
    target = _target(labels, everyone)
    candidates = tried if choose else tried[-1:]
    best = min(candidates, key=lambda one: float(np.mean((one.scores - target) ** 2))).parts
    chosen = {part: grams[part] for part in best}
    known, unknown = _fit_known(chosen, labels, fold, writers)
    heads = {part: _part_head(scalings[part], rows[part], grams[part], labels, everyone) for part in best}
    held_out = _known_logits(known, sureness(np.stack([each[part] for part in best])))
    head = WriterHead(tuple(writers), heads, known, held_out, labels.astype(np.int32))
    return AuthorFit(head, tuple(tried), unknown)


def measure_text(
    counts: Values, labels: Rows, prompt: Rows, writers: Sequence[str], *, folds: int = 5, seed: int = 0
) -> HeldOut:
    """What counts of n-grams reach by themselves on the held-out prompts of ``fit_authors``."""
    fold, gram = prompt_folds(prompt, folds, seed), _gram(Scaling.of(counts).rows(counts))
    scores = _held_out(gram, labels, fold, np.arange(len(writers)))[0]
    return _measured((TEXT,), scores, labels, prompt, seed)


def require_writers(labels: Rows, prompt: Rows, writers: Sequence[str]) -> None:
    """Refuse rows that no writer can be told from.

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


def sureness(each: Float[np.ndarray, "part 2 row writer"]) -> Float[np.ndarray, "row number"]:
    """How sure the parts are: of each its two best scores, and the distance to the likeliest writer."""
    likeliest = each[:, 0].mean(axis=0).argmax(axis=1)
    columns = []
    for scores, distances in each:
        best = np.sort(scores, axis=1)
        second = best[:, -2] if best.shape[1] > 1 else best[:, -1]
        columns += [best[:, -1], second, distances[np.arange(len(distances)), likeliest]]
    return np.stack(columns, axis=1)


def packs(
    labels: Rows, answers: int, rng: np.random.Generator, repeats: int = 5
) -> list[Int[np.ndarray, " answer"]]:
    """Random packs of answers of one writer each: his rows are dealt out, several times over."""
    dealt = []
    for writer in np.unique(labels):
        own = np.flatnonzero(labels == writer)
        for _ in range(repeats):
            order = rng.permutation(own)
            dealt += [order[start : start + answers] for start in range(0, len(own) - answers + 1, answers)]
    return dealt


def share_interval(hits: np.ndarray, prompt: Rows, seed: int = 0) -> Interval | None:
    """95 % interval of the share of hits by bootstrap over prompts; None with one prompt.

    Example:
        >>> share_interval(np.array([True, True, True]), np.array([0, 0, 1]))
        (1.0, 1.0)
    """
    if len(np.unique(prompt)) < 2:
        return None
    blocks = row_samples(len(hits), prompt, 2000, seed)
    return percentile_interval(np.concatenate([times @ hits / times.sum(axis=1) for times in blocks]))


def _measured(
    parts: tuple[str, ...], scores: np.ndarray, labels: np.ndarray, prompt: np.ndarray, seed: int
) -> HeldOut:
    hits = scores.argmax(axis=1) == labels
    return HeldOut(parts, scores, float(hits.mean()), share_interval(hits, prompt, seed))


def _choices(parts: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Parts to choose from: n-grams, these with one other, with the first two others, and all."""
    text, *others = parts
    choices = [(text,), *((text, other) for other in others), (text, *others[:2]), parts]
    return list(dict.fromkeys(choices))


def _target(labels: np.ndarray, writers: np.ndarray) -> np.ndarray:
    return np.where(labels[:, None] == writers, 1.0, -1.0)


def _gram(rows: Values) -> np.ndarray:
    product = rows @ rows.T
    return np.asarray(product if isinstance(product, np.ndarray) else product.toarray(), dtype=np.float64)


def _solve(gram: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression with a bias that is not penalized: the dual coefficients, and the bias.

    The kernel is centered on these rows only; centered on others too, it would know of writers left out.
    """
    from scipy.linalg import solve

    means, center = gram.mean(axis=0), target.mean(axis=0)
    centered = gram - means - means[:, None] + means.mean()
    np.einsum("ii->i", centered)[:] += _RIDGE * np.trace(gram) / len(gram)
    dual = np.asarray(solve(centered, target - center, assume_a="pos", check_finite=False))
    return dual, center - means @ dual


def _shares(labels: np.ndarray, writers: np.ndarray) -> np.ndarray:
    """(row, writer), what each row adds to the mean of its writer."""
    own = (labels[:, None] == writers).astype(float)
    return np.asarray(own / own.sum(axis=0))


def _spread(gram: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The squared length of each writer's center, and the mean squared distance of his rows to it."""
    squares = np.einsum("rw,rs,sw->w", shares, gram, shares, optimize=True)
    return squares, np.maximum(np.diag(gram) @ shares - squares, _LEAST)


def _log_ratio(distances: np.ndarray, spread: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(distances, _LEAST) / spread)


def _predicted(
    gram: np.ndarray, labels: np.ndarray, rest: np.ndarray, inside: np.ndarray, writers: np.ndarray
) -> np.ndarray:
    """(2, row, writer) as ``PartHead.read`` gives it for rows inside, by a head fitted to the rest."""
    block, across = gram[np.ix_(rest, rest)], gram[np.ix_(inside, rest)]
    dual, bias = _solve(block, _target(labels[rest], writers))
    shares = _shares(labels[rest], writers)
    squares, spread = _spread(block, shares)
    distances = np.diag(gram)[inside, None] - 2 * across @ shares + squares
    return np.stack([across @ dual + bias, _log_ratio(distances, spread)])


def _held_out(gram: np.ndarray, labels: np.ndarray, fold: np.ndarray, writers: np.ndarray) -> np.ndarray:
    """(2, row, writer) of each row by a head that was fitted to the other folds, and to these writers."""
    result = np.empty((2, len(labels), len(writers)))
    for number in np.unique(fold):
        inside = np.flatnonzero(fold == number)
        rest = np.flatnonzero((fold != number) & np.isin(labels, writers))
        result[:, inside] = _predicted(gram, labels, rest, inside, writers)
    return result


def _part_head(
    scaling: Scaling, rows: Values, gram: np.ndarray, labels: np.ndarray, writers: np.ndarray
) -> PartHead:
    dual, bias = _solve(gram, _target(labels, writers))
    shares = _shares(labels, writers)
    _, spread = _spread(gram, shares)
    weight, center = (np.asarray(rows.T @ one).astype(np.float32) for one in (dual, shares))
    return PartHead(scaling, weight, bias, center, spread)


def _fit_known(
    grams: Mapping[str, np.ndarray], labels: np.ndarray, fold: np.ndarray, writers: Sequence[str]
) -> tuple[np.ndarray, dict[str, float]]:
    """The logistic regression on how sure the parts are, and for each writer the AUC where he is unknown."""
    everyone = np.arange(len(writers))
    if len(writers) < 3:  # without one of two there is nothing to be sure of
        known = np.zeros((4, 3 * len(grams)))
        known[1], known[2, ::3] = 1.0, 1.0
        return known, {}
    simulated = {}
    for left_out in everyone.tolist():
        others = everyone[everyone != left_out]
        each = np.stack([_held_out(gram, labels, fold, others) for gram in grams.values()])
        simulated[left_out] = sureness(each)
    is_known = {left_out: (labels != left_out).astype(int) for left_out in simulated}

    def fitted(chosen: Sequence[int]) -> np.ndarray:
        numbers = np.concatenate([simulated[one] for one in chosen])
        return _logistic(numbers, np.concatenate([is_known[one] for one in chosen]))

    aucs = {}
    for left_out, numbers in simulated.items():
        known = fitted([one for one in simulated if one != left_out])
        aucs[writers[left_out]] = auc(is_known[left_out], _known_logits(known, numbers))
    return fitted(list(simulated)), aucs


def _logistic(numbers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(4, number), see ``WriterHead.known``."""
    from sklearn.linear_model import LogisticRegression

    mean, scale = numbers.mean(axis=0), np.maximum(numbers.std(axis=0), _LEAST)
    standardized = np.clip((numbers - mean) / scale, -_CLIP, _CLIP)
    model = LogisticRegression(class_weight="balanced", max_iter=2000).fit(standardized, labels)
    bias = np.zeros_like(mean)
    bias[0] = model.intercept_[0]
    return np.stack([mean, scale, model.coef_[0], bias])


def _known_logits(known: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    mean, scale, weight, bias = known
    return np.asarray(np.clip((numbers - mean) / scale, -_CLIP, _CLIP) @ weight + bias[0])
