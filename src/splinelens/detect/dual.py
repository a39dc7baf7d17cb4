"""A linear head on a wide table: strength, out-of-fold logits and weights from one Gram matrix.

Each label is a balanced L2-penalised logistic regression of its own on standardised columns. All folds,
strengths and labels are solved at once (``wide.dual_logistic``), so a search over strengths costs little
more than one fit.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from splinelens.detect.evaluate import auc
from splinelens.detect.wide import balance, dual_logistic

_PROBLEMS = 64
# Solved at once: each takes some 12 vectors of the length of the rows.


@dataclass(frozen=True, eq=False)
class DualFit:
    """Heads in terms of the rows: the weights of label ``l`` are ``sum_i alpha[i, l] z_i``.

    Attributes:
        alpha: (row, label).
        bias: (label,).
        strengths: The chosen C of each label.
        logits: (row, label), out of fold at the chosen C; NaN where a row has no fold.
        tried: (label, strength): AUC of the out-of-fold logits.
    """

    alpha: np.ndarray
    bias: np.ndarray
    strengths: np.ndarray
    logits: np.ndarray
    tried: np.ndarray

    def weight(self, blocks: Iterable[np.ndarray]) -> np.ndarray:
        """The weights of the standardised columns.

        Args:
            blocks: The standardised columns, block by block, as they made the Gram matrix.

        Returns:
            (label, column) float32.
        """
        heads = self.alpha.T.astype(np.float32)
        return np.concatenate([heads @ block for block in blocks], axis=1)


def fit_dual(
    products: np.ndarray,
    labels: np.ndarray,
    folds: np.ndarray,
    strengths: Sequence[float],
    *,
    judged: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    device: str = "cpu",
) -> DualFit:
    """Choose each label's strength out of fold, then fit it on all rows.

    Args:
        products: (row, row) Gram matrix of the standardised columns.
        labels: (row, label) of 0 and 1.
        folds: The fold of each row, from 0, without which it is judged; -1 for rows of none, which
            help to fit in all.
        strengths: Values of C to try.
        judged: (row,) boolean, the rows that choose the strength; None takes all that have a fold.
        weight: (row,) of each row; None weighs all the same. Classes are balanced on top.
        device: Where to compute.

    Returns:
        The heads. The strength of a label is that of the best AUC over all judged rows.

    Example:
        >>> from splinelens.detect.wide import gram
        >>> rows = np.random.default_rng(0).standard_normal((40, 90)).astype(np.float32)
        >>> y = (rows[:, :30].sum(axis=1) > 0).astype(int)[:, None]
        >>> found = fit_dual(gram([rows]), y, np.arange(40) % 4, [1e-3, 1e-2])
        >>> found.logits.shape, bool(found.tried.max() > 0.6)
        ((40, 1), True)
    """
    own = np.ones(len(labels)) if weight is None else np.asarray(weight, dtype=np.float64)
    chosen = np.flatnonzero(folds >= 0 if judged is None else judged)
    count = int(folds.max()) + 1
    problems = [
        (fold, C, label) for C in strengths for label in range(labels.shape[1]) for fold in range(count)
    ]
    logits = np.full((len(strengths), *labels.shape), np.nan)
    place = {C: number for number, C in enumerate(strengths)}

    def keep(fold: int, C: float, label: int, found: np.ndarray) -> None:
        logits[place[C], folds == fold, label] = found[folds == fold]

    _solve(products, labels, own, folds, problems, keep, device)
    tried = np.array(
        [
            [auc(labels[chosen, label], row[chosen, label]) for row in logits]
            for label in range(labels.shape[1])
        ]
    )
    best = tried.argmax(axis=1)
    alpha, bias = dual_logistic(
        products,
        labels,
        balance(labels, np.repeat(own[:, None], labels.shape[1], axis=1)),
        [strengths[number] for number in best],
        device=device,
    )
    apart = np.stack([logits[number, :, label] for label, number in enumerate(best)], axis=1)
    return DualFit(alpha, bias, np.array(strengths)[best], apart, tried)


def _solve(
    products: np.ndarray,
    labels: np.ndarray,
    own: np.ndarray,
    folds: np.ndarray,
    problems: list[tuple[int, float, int]],
    keep: Callable[[int, float, int, np.ndarray], None],
    device: str,
) -> None:
    """Fit each (fold, strength, label) without its fold and hand on the logits of all rows."""
    for start in range(0, len(problems), _PROBLEMS):
        some = problems[start : start + _PROBLEMS]
        weight = np.stack([own * (folds != fold) for fold, _, _ in some], axis=1)
        targets = np.stack([labels[:, label] for _, _, label in some], axis=1)
        strengths = [C for _, C, _ in some]
        alpha, bias = dual_logistic(products, targets, balance(targets, weight), strengths, device=device)
        found = products @ alpha.astype(np.float32) + bias
        for number, (fold, C, label) in enumerate(some):
            keep(fold, C, label, found[:, number])
