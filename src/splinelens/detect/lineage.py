"""Does one model derive from another? Tests on the signs that the neurons of two models have at tokens.

The order of the neurons of a layer means nothing, and neither does the sign of a neuron's up projection: a
network with permuted neurons, or with the signs of a row of the up projection and of a column of the down
projection changed, computes the same function, its initialization is as likely, and its training takes the
same course. So for a model that was trained from an initialization of its own, whatever its data, every
order and every combination of signs is equally likely, given the other model. That bounds the p-values of two
statistics, without a third model to compare with:

* the number of neurons that match best *and* have the same index is one of fixed points of a random
  permutation, which Markov's inequality bounds;
* the number of neurons that match best by their gate and agree in the sign of the *up projection* is one of
  heads of fair coins.

The second also finds a copy whose neurons were permuted. Where the MLP is not gated, the values of the
attention take the place of the up projection. Both are invariant to a rotation of the residual stream.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from splinelens.features.lineage_profile import LayerSigns, Signs

_ROWS = 2048  # neurons of one model whose correlations are computed at once
_SAMPLE = 64  # neurons of a layer that the alignment of layers compares
_DECIMALS = 5  # of a correlation: those of equal signs then tie, whatever the order of sums
_LN10 = math.log(10)

Pairs = Int[np.ndarray, "pair 2"]


@dataclass(frozen=True)
class LayerMatch:
    """How a layer of one model matches a layer of the other.

    Attributes:
        layers: The two layers.
        neurons: Neurons of either layer.
        matched: Pairs of neurons each of which correlates best with the other.
        same_index: Those of them with the same index in both layers.
        correlation: Median over the pairs of the correlation of their gate signs, above 0 and at most 1; None
            without any.
        signed: Pairs with a sign to compare.
        same_sign: Those of them with the same sign.
    """

    layers: tuple[int, int]
    neurons: tuple[int, int]
    matched: int
    same_index: int
    correlation: float | None
    signed: int
    same_sign: int


@dataclass(frozen=True)
class Relation:
    """The evidence that two models have an initialization in common.

    Attributes:
        layers: The compared pairs of layers.
        log10_index: Of the p-value of the number of neurons with the same index; 0 stands for 1.
        log10_sign: Of the p-value of the number of equal signs.
        log10_p: Of both together: twice the smaller p-value.
        log10_least: Of the least p-value that the weaker of both tests could have given with these pairs.
    """

    layers: tuple[LayerMatch, ...]
    log10_index: float = 0.0
    log10_sign: float = 0.0
    log10_p: float = 0.0
    log10_least: float = 0.0

    @property
    def neurons(self) -> int:
        """Neurons of the first model."""
        return sum(layer.neurons[0] for layer in self.layers)

    @property
    def matched(self) -> int:
        """Matched pairs."""
        return sum(layer.matched for layer in self.layers)

    @property
    def indexed(self) -> int:
        """Matched pairs whose indices can be compared: those of layers of equal size."""
        return sum(layer.matched for layer in self._equal)

    @property
    def same_index(self) -> int:
        """Those of them with the same index."""
        return sum(layer.same_index for layer in self._equal)

    @property
    def expected_index(self) -> float:
        """How many of them have the same index by chance."""
        return math.fsum(layer.matched / layer.neurons[0] for layer in self._equal)

    @property
    def signed(self) -> int:
        """Pairs with a sign to compare."""
        return sum(layer.signed for layer in self.layers)

    @property
    def same_sign(self) -> int:
        """Those of them with the same sign."""
        return sum(layer.same_sign for layer in self.layers)

    @property
    def _equal(self) -> list[LayerMatch]:
        return [layer for layer in self.layers if layer.neurons[0] == layer.neurons[1]]


def relation(
    first: Sequence[LayerSigns],
    second: Sequence[LayerSigns],
    pairs: Sequence[tuple[int, int]] | None = None,
) -> Relation:
    """Compare two models, layer by layer.

    Args:
        first: The layers of one model.
        second: Those of the other.
        pairs: The layers to compare; None aligns them (``aligned_layers``). The p-values hold if they were
            chosen without a look at the order of neurons or at the signs of the up projection.

    Example:
        >>> gate, up = np.random.default_rng(0).random((2, 64, 256)) < 0.5
        >>> order = np.random.default_rng(1).permutation(64)
        >>> permuted = relation([LayerSigns(gate, up)], [LayerSigns(gate[order], up[order])])
        >>> permuted.layers[0].same_sign, round(permuted.log10_sign)
        (64, -19)
    """
    pairs = aligned_layers(first, second) if pairs is None else pairs
    evidence = Relation(tuple(_layer_match((one, other), first[one], second[other]) for one, other in pairs))
    index = _log_fixed_points(evidence.same_index, evidence.expected_index)
    sign = _log_heads(evidence.same_sign, evidence.signed)
    best_index = _log_fixed_points(evidence.indexed, evidence.expected_index)
    least = max(best_index, -evidence.signed * math.log(2))
    return replace(
        evidence,
        log10_index=index / _LN10,
        log10_sign=sign / _LN10,
        log10_p=min(0.0, min(index, sign) + math.log(2)) / _LN10,
        log10_least=min(0.0, least + math.log(2)) / _LN10,
    )


def best_matches(first: Signs, second: Signs, *, absolute: bool = False) -> tuple[Pairs, np.ndarray]:
    """The pairs of rows of two tables each of which correlates best with the other, and their correlations.

    A row that is constant, or whose best match is not unique, has none. So the pairs do not depend on the
    order of rows, as an assignment of all rows with ties would.

    Args:
        first: Signs of the neurons of one model.
        second: Signs of those of the other at the same tokens.
        absolute: Compare absolute correlations, so that changed signs change no match.

    Returns:
        (pair, 2) rows of the two tables, rising in the first; (pair,) correlations.

    Example:
        >>> signs = np.array([[1, 0, 0, 1], [1, 1, 0, 0]], dtype=bool)
        >>> best_matches(signs, signs[::-1])
        (array([[0, 1], [1, 0]]), array([1., 1.], dtype=float32))
    """
    a, b = _standardized(first), _standardized(second)
    row_best = np.full(len(a), -1)
    row_value = np.zeros(len(a), np.float32)
    column_best, column_value = np.full(len(b), -1), np.zeros(len(b), np.float32)
    for start in range(0, len(a), _ROWS):
        block = np.round(a[start : start + _ROWS] @ b.T, _DECIMALS)
        size = np.abs(block) if absolute else block
        rows = _unique_best(size)
        row_best[start : start + _ROWS] = rows
        row_value[start : start + _ROWS] = np.take_along_axis(block, rows[:, None], axis=1)[:, 0]
        columns, values = _unique_best(size.T), size.max(axis=0)
        better, tie = values > column_value, values == column_value
        column_best[better] = np.where(columns < 0, -1, columns + start)[better]
        column_best[tie] = -1
        column_value = np.maximum(column_value, values)
    mutual = [k for k, j in enumerate(row_best) if j >= 0 and column_best[j] == k]
    return np.stack([mutual, row_best[mutual]], axis=1).astype(int), row_value[mutual]


def aligned_layers(first: Sequence[LayerSigns], second: Sequence[LayerSigns]) -> list[tuple[int, int]]:
    """Pairs of layers, rising in the first model; every layer of the shallower model is in one.

    They have the greatest sum of similarities, in whatever order, so that blocks that were moved are found.
    The similarity is the mean correlation of neurons of the first model with their best match: of those
    whose signs vary most. It depends neither on the order of neurons nor on the signs of the up projection,
    so the p-values need no correction for the choice.

    Example:
        >>> layers = [LayerSigns(signs) for signs in np.random.default_rng(0).random((3, 8, 64)) < 0.5]
        >>> aligned_layers(layers, [layers[2], layers[0]])
        [(0, 1), (2, 0)]
    """
    from scipy.optimize import linear_sum_assignment

    varied = [_standardized(_most_varied(layer.gate)) for layer in first]
    ends = np.cumsum([len(one) for one in varied])
    all_varied = np.concatenate(varied)
    best = [(all_varied @ _standardized(layer.gate).T).max(axis=1) for layer in second]
    similarity = [[values.mean() for values in np.split(column, ends[:-1])] for column in best]
    columns, rows = linear_sum_assignment(np.round(similarity, _DECIMALS), maximize=True)
    return sorted(zip(rows.tolist(), columns.tolist(), strict=True))


def _layer_match(layers: tuple[int, int], first: LayerSigns, second: LayerSigns) -> LayerMatch:
    pairs, correlation = best_matches(first.gate, second.gate)
    agreement = np.zeros(0)
    if first.signed is not None and second.signed is not None and first.by_gate == second.by_gate:
        if first.by_gate:
            a, b = _standardized(first.signed[pairs[:, 0]]), _standardized(second.signed[pairs[:, 1]])
            agreement = np.round((a * b).sum(axis=1), _DECIMALS)
        else:
            agreement = best_matches(first.signed, second.signed, absolute=True)[1]
    return LayerMatch(
        layers=layers,
        neurons=(len(first.gate), len(second.gate)),
        matched=len(pairs),
        same_index=int((pairs[:, 0] == pairs[:, 1]).sum()),
        correlation=float(np.median(correlation)) if len(pairs) else None,
        signed=int((agreement != 0).sum()),
        same_sign=int((agreement > 0).sum()),
    )


def _standardized(signs: Signs) -> Float[np.ndarray, "_neuron token"]:
    """Rows of mean 0 and length 1, whose inner products are correlations; 0 where a row is constant."""
    values = signs.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    constant = signs.all(axis=1, keepdims=True) | ~signs.any(axis=1, keepdims=True)
    return np.where(constant, np.float32(0), values / np.where(constant, 1, length))


def _unique_best(values: np.ndarray) -> np.ndarray:
    """For each row the column of its greatest positive value; -1 if there is none, or several."""
    best = values.argmax(axis=1)
    most = np.take_along_axis(values, best[:, None], axis=1)
    unique = ((values == most).sum(axis=1) == 1) & (most[:, 0] > 0)
    return np.where(unique, best, -1)


def _most_varied(gate: Signs) -> Signs:
    """The neurons whose share of positive signs is nearest to half, in whatever order they stand."""
    distance = np.abs(gate.mean(axis=1) - 0.5)
    last = min(_SAMPLE, len(gate)) - 1
    return gate[distance <= np.partition(distance, last)[last]]


def _log_fixed_points(count: int, expected: float) -> float:
    """Logarithm of a bound on the probability of so many fixed points in random matchings, at most 0.

    Of ``m`` matched pairs among ``n`` neurons a random order lets ``f`` given ones keep their index with
    probability ``(n - f)! / n!``, so that the expected number of sets of ``f`` fixed points, summed over
    layers, is at most ``expected ** f / f!``; by Markov's inequality that bounds the probability of one.
    """
    from scipy.special import gammaln

    if not count:
        return 0.0
    return min(0.0, float(count * math.log(expected) - gammaln(count + 1)))


def _log_heads(heads: int, tosses: int) -> float:
    """Logarithm of the probability of so many heads or more among tosses of a fair coin."""
    from scipy.special import gammaln, logsumexp

    if 2 * heads <= tosses:
        return 0.0
    more = np.arange(heads, tosses + 1)
    terms = gammaln(tosses + 1) - gammaln(more + 1) - gammaln(tosses - more + 1)
    return float(logsumexp(terms) - tosses * math.log(2))
