"""A linear head on a wide table: strength, out-of-fold logits and weights from one Gram matrix.

Each label is a balanced L2-penalised logistic regression of its own on standardised columns. All folds,
strengths and labels are solved at once (``wide.dual_logistic``), so a search over strengths costs little
more than one fit.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from splinelens.detect.wide import Streamed, balance, dual_logistic

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
    products: np.ndarray | Streamed,
    labels: np.ndarray,
    folds: np.ndarray,
    strengths: Sequence[float],
    *,
    judged: np.ndarray | None = None,
    tried: np.ndarray | None = None,
    device: str = "cpu",
) -> DualFit:
    """Choose each label's strength out of fold, then fit it on all rows.

    Args:
        products: (row, row) inner products of the standardised columns.
        labels: (row, label) of 0 and 1.
        folds: The fold of each row, from 0, without which it is judged; -1 for rows of none, which
            help to fit in all.
        strengths: Values of C to choose from.
        judged: (row,) boolean, the rows that choose the strength; None takes all that have a fold.
        tried: (label, strength), what ``tried_strengths`` found elsewhere, such as on some of the rows;
            None tries all strengths on these rows.
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
    if tried is None:
        tried = tried_strengths(products, labels, folds, strengths, judged=judged, device=device)
    chosen = np.array(strengths)[tried.argmax(axis=1)]
    alpha, bias = np.zeros(labels.shape), np.zeros(labels.shape[1])
    logits, whole = np.full(labels.shape, np.nan), int(folds.max()) + 1  # a fold without rows: all are fitted
    problems = [(fold, chosen[label], label) for label in range(len(chosen)) for fold in range(whole + 1)]
    for (fold, _, label), own, shift, found in _solved(products, labels, folds, problems, device):
        if fold == whole:
            alpha[:, label], bias[label] = own, shift
        else:
            logits[folds == fold, label] = found[folds == fold]
    return DualFit(alpha, bias, chosen, logits, tried)


def tried_strengths(
    products: np.ndarray | Streamed,
    labels: np.ndarray,
    folds: np.ndarray,
    strengths: Sequence[float],
    *,
    judged: np.ndarray | None = None,
    device: str = "cpu",
) -> np.ndarray:
    """The out-of-fold AUC of each label at each strength.

    Args:
        products: As for ``fit_dual``.
        labels: As for ``fit_dual``.
        folds: As for ``fit_dual``.
        strengths: Values of C to try.
        judged: As for ``fit_dual``.
        device: Where to compute.

    Returns:
        (label, strength).

    Example:
        >>> from splinelens.detect.wide import gram
        >>> rows = np.random.default_rng(0).standard_normal((40, 90)).astype(np.float32)
        >>> y = (rows[:, :30].sum(axis=1) > 0).astype(int)[:, None]
        >>> tried_strengths(gram([rows]), y, np.arange(40) % 4, [1e-3, 1e-2]).shape
        (1, 2)
    """
    chosen = np.flatnonzero(folds >= 0 if judged is None else judged)
    logits = np.full((len(strengths), *labels.shape), np.nan)
    place = {C: number for number, C in enumerate(strengths)}
    problems = [
        (fold, C, label)
        for C in strengths
        for label in range(labels.shape[1])
        for fold in range(int(folds.max()) + 1)
    ]
    for (fold, C, label), _, _, found in _solved(products, labels, folds, problems, device):
        logits[place[C], folds == fold, label] = found[folds == fold]
    columns = enumerate(labels.T)
    from sklearn.metrics import roc_auc_score as auc

    return np.array([[auc(y[chosen], row[chosen, label]) for row in logits] for label, y in columns])


def _solved(
    products: np.ndarray | Streamed,
    labels: np.ndarray,
    folds: np.ndarray,
    problems: Sequence[tuple[int, float, int]],
    device: str,
) -> Iterator[tuple[tuple[int, float, int], np.ndarray, float, np.ndarray]]:
    """Each (fold, strength, label), fitted without its fold: its ``a`` and ``b``, and logits of all rows."""
    for start in range(0, len(problems), _PROBLEMS):
        some = problems[start : start + _PROBLEMS]
        targets = np.stack([labels[:, label] for _, _, label in some], axis=1)
        weight = balance(targets, np.stack([folds != fold for fold, _, _ in some], axis=1))
        strengths = [C for _, C, _ in some]
        alpha, bias, logits = dual_logistic(products, targets, weight, strengths, device=device)
        yield from zip(some, alpha.T, bias.tolist(), logits.T, strict=True)
