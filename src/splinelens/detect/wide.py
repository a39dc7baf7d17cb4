"""Balanced logistic regression on tables with more columns than rows, by way of their Gram matrix.

The best weights of an L2-penalised head lie in the span of the rows, ``w = sum_i a_i z_i``, so all that a
fit needs of the table is ``K[i, j] = <z_i, z_j>``: it is made once, in blocks of columns, and then every
fold, strength and label is a problem in the rows alone. They are solved together, by Newton steps whose
linear systems are solved by conjugate gradients on all of them at once. These need ``K`` as a factor only,
so where it would not fit into memory the columns are walked again for each product. The objective is that of
scikit-learn's ``LogisticRegression(C=C, class_weight="balanced")`` on standardised columns.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from splinelens.errors import BadFeatures

if TYPE_CHECKING:
    from torch import Tensor

_NEWTON_STEPS = 60
_GRADIENT_STEPS = 100
_RESIDUALS = (1e-4, 1e-2)
# Left by Newton's linear systems, of what they ask: 3 % of what the step before moved, within these bounds.
# Far from the end the next step mends what is left; to solve the first ones closely takes most of the time.
_BLOCK = 1024  # columns standardised at once
_STRIPE = 2048  # rows of a Gram matrix that are made at once
_NOT_FINITE = "the table has no columns, or numbers that are not finite; leave such rows out"
_DIRECTIONS = 256  # of the products, that the steps are eased by


@dataclass(frozen=True, eq=False)
class Standard:
    """Mean and standard deviation of columns.

    Attributes:
        mean: Of each column, float64, rounded to float32 so that float32 rows lose nothing by it.
        scale: Of each column, float32; 1 where it is constant.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray) -> "Standard":
        """Of the columns of a table.

        Args:
            rows: (row, column).

        Returns:
            Both, as scikit-learn's ``StandardScaler`` has them.

        Example:
            >>> Standard.of(np.array([[1.0, 5.0], [3.0, 5.0]])).scale.tolist()
            [1.0, 1.0]
        """
        width = rows.shape[1]
        mean, scale = np.zeros(width, dtype=np.float32), np.zeros(width)
        for part in _parts(width):
            mean[part] = rows[:, part].mean(axis=0, dtype=np.float64)
            centred = np.subtract(rows[:, part], mean[part], dtype=np.float32)
            scale[part] = np.sqrt(np.square(centred, out=centred).mean(axis=0, dtype=np.float64))
        return cls(mean.astype(np.float64), np.where(scale > 1e-12, scale, 1.0).astype(np.float32))

    def times(self, factor: np.ndarray) -> "Standard":
        """The same columns, each stretched by a factor above 0.

        Example:
            >>> Standard(np.zeros(1), np.ones(1, dtype=np.float32)).times(np.array([2.0])).scale.tolist()
            [0.5]
        """
        return Standard(self.mean, (self.scale / factor).astype(np.float32))

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """Rows in standard units, float32."""
        found = np.subtract(rows, self.mean.astype(np.float32), dtype=np.float32)
        found /= self.scale
        return found

    def blocks(self, rows: np.ndarray, index: np.ndarray | slice = slice(None)) -> Iterator[np.ndarray]:
        """The same a block of columns at a time, so that the whole never lies in memory.

        Args:
            rows: (row, column).
            index: The rows to take.

        Yields:
            (row, some columns), in order.
        """
        for part in _parts(rows.shape[1]):
            yield Standard(self.mean[part], self.scale[part]).rows(rows[index, part])


@dataclass(frozen=True, eq=False)
class Streamed:
    """Inner products of rows that are never kept: each use walks all columns once.

    Attributes:
        blocks: Called for each use; gives the standardised columns as for ``gram``.

    Example:
        >>> import torch
        >>> rows = np.array([[1.0], [2.0]], dtype=np.float32)
        >>> (Streamed(lambda: [rows]) @ torch.eye(2)).tolist()
        [[1.0, 2.0], [2.0, 4.0]]
    """

    blocks: Callable[[], Iterable[np.ndarray]]

    def __matmul__(self, right: "Tensor") -> "Tensor":
        """The Gram matrix times a factor (row, any), where the factor lies."""
        import torch

        total = torch.zeros_like(right)
        for block in self.blocks():
            columns = torch.from_numpy(block).to(right.device)
            total.addmm_(columns, columns.T @ right)
        if not bool(total.isfinite().all()):
            raise BadFeatures(_NOT_FINITE)
        return total


def gram(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Inner products of rows, summed over blocks of columns.

    Args:
        blocks: (row, column) of standardised columns, one block after the other.

    Returns:
        (row, row) float32.

    Raises:
        BadFeatures: No block, or a number that is not finite.

    Example:
        >>> gram([np.array([[1.0], [2.0]], dtype=np.float32)]).tolist()
        [[1.0, 2.0], [2.0, 4.0]]
    """
    import torch

    total = None
    for block in blocks:
        columns = torch.from_numpy(np.ascontiguousarray(block))
        total = torch.zeros(len(columns), len(columns)) if total is None else total
        for start in range(0, len(columns), _STRIPE):  # only what lies left of the diagonal
            some = slice(start, start + _STRIPE)
            total[some, : some.stop].addmm_(columns[some], columns[: some.stop].T)
    if total is None or not bool(total.diagonal().isfinite().all()):
        raise BadFeatures(_NOT_FINITE)
    for start in range(_STRIPE, len(total), _STRIPE):
        total[:start, start : start + _STRIPE] = total[start : start + _STRIPE, :start].T
    return total.numpy()


def balance(targets: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weights under which both classes of each problem weigh the same, and the rows their number.

    Args:
        targets: (row, problem) of 0 and 1.
        weight: (row, problem), not negative; 0 leaves a row out.

    Returns:
        (row, problem) float64.

    Example:
        >>> balance(np.array([[1], [0], [0]]), np.ones((3, 1))).ravel().tolist()
        [1.5, 0.75, 0.75]
    """
    weight = np.asarray(weight, dtype=np.float64)
    half = (weight > 0).sum(axis=0) / 2
    sides = [np.where(targets == side, weight, 0.0) for side in (0, 1)]
    return sum(half * side / np.maximum(side.sum(axis=0), 1e-300) for side in sides)


def dual_logistic(
    products: np.ndarray | Streamed,
    targets: np.ndarray,
    weight: np.ndarray,
    C: Sequence[float],
    *,
    device: str = "cpu",
    tolerance: float = 2e-3,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Solve many L2-penalised logistic regressions over the same rows at once.

    Each minimises ``a' K a / 2 + C sum_i weight_i log(1 + exp(-y_i (K a + b)_i))`` with ``y`` in -1, 1.

    Args:
        products: (row, row), as from ``gram``, or ``Streamed``.
        targets: (row, problem) of 0 and 1.
        weight: (row, problem), such as from ``balance``; 0 leaves a row out of that problem.
        C: Inverse strength of the penalty of each problem.
        device: Where to compute.
        tolerance: A problem is solved when its Newton step moves no logit by more than this share of
            the largest one.

    Returns:
        ``a`` (row, problem), ``b`` (problem,) and the logits ``K a + b`` of all rows, float64.

    Raises:
        BadFeatures: It does not settle in 60 Newton steps, or streamed numbers are not finite.

    Example:
        >>> rows = np.array([[0.0], [1.0], [2.0], [3.0]], dtype=np.float32)
        >>> y = np.array([[0], [0], [1], [1]])
        >>> a, b, logits = dual_logistic(gram([rows]), y, np.ones((4, 1)), [1.0])
        >>> (logits > 0).ravel().tolist()
        [False, False, True, True]
    """
    import torch

    kernel: Tensor | Streamed = (
        products
        if isinstance(products, Streamed)
        else torch.as_tensor(products, dtype=torch.float32, device=device)
    )
    target = torch.as_tensor(np.asarray(targets), dtype=torch.float32, device=device)
    pull = torch.as_tensor(np.asarray(weight) * np.asarray(C, dtype=np.float64), device=device).float()
    alpha, bias = torch.zeros_like(target), torch.zeros_like(target[0])
    main = _main_directions(kernel, target)
    logits, left = torch.zeros_like(target), torch.arange(target.shape[1], device=device)
    residual = torch.full_like(bias, _RESIDUALS[1])
    for _ in range(_NEWTON_STEPS):
        aim, heavy, at, now = target[:, left], pull[:, left], alpha[:, left], logits[:, left]
        ahead, shift = _newton(kernel, main, aim, heavy, now, residual[left])
        step, turn = ahead - at, shift - bias[left]
        moved = kernel @ step + turn
        size = _step_size(aim, heavy, now, moved, at, step, bias[left], turn)
        alpha[:, left], bias[left], logits[:, left] = (
            at + size * step,
            bias[left] + size * turn,
            now + size * moved,
        )
        spread = (logits[:, left] * (heavy > 0)).abs().amax(dim=0)
        change = (moved.abs() * (heavy > 0)).amax(dim=0) / spread.clamp(min=1e-30)
        residual[left] = (0.03 * change).clamp(*_RESIDUALS)
        left = left[change > tolerance]
        if not len(left):
            alpha, bias, logits = alpha.double().cpu(), bias.double().cpu(), logits.double().cpu()
            return alpha.numpy(), bias.numpy(), logits.numpy()
    raise BadFeatures(
        f"{len(left)} fits did not settle in {_NEWTON_STEPS} steps; are the columns standardised? "
        "Give smaller C"
    )


def _parts(width: int) -> list[slice]:
    return [slice(start, start + _BLOCK) for start in range(0, width, _BLOCK)]


def _main_directions(kernel: "Tensor | Streamed", like: "Tensor") -> "Tensor":
    """A factor ``f`` of the largest part of the products, ``f f' ~ K``: (row, direction)."""
    import torch

    count = min(_DIRECTIONS, len(like) // 2)
    dice = torch.Generator(device=like.device).manual_seed(0)
    guess = torch.randn(len(like), count, generator=dice, device=like.device)
    base = torch.linalg.qr(kernel @ guess).Q
    values, vectors = torch.linalg.eigh(base.T @ (kernel @ base))
    return base @ (vectors * values.clamp(min=0).sqrt())


def _newton(
    kernel: "Tensor | Streamed",
    main: "Tensor",
    target: "Tensor",
    pull: "Tensor",
    logits: "Tensor",
    residual: "Tensor",
) -> tuple["Tensor", "Tensor"]:
    """Where the quadratic model of each problem has its least value: ``a`` and ``b``.

    With ``d`` the curvature of each row's loss, ``a = sqrt(d) (u - b v)``, where ``u`` and ``v`` solve
    ``(1 + sqrt(d) K sqrt(d)) u = sqrt(d) z`` for the working response ``z`` and for 1; ``sum a = 0``.
    """
    import torch

    share = logits.sigmoid()
    root = (pull * (share * (1 - share)).clamp(min=1e-6)).sqrt()
    rest = torch.where(pull > 0, pull * (target - share) / root.clamp(min=1e-30), 0.0)
    both = _conjugate_gradients(kernel, main, root, torch.stack([root * logits + rest, root]), residual)
    first, second = both
    bias = (root * first).sum(0) / (root * second).sum(0)
    return root * (first - bias * second), bias


def _conjugate_gradients(
    kernel: "Tensor | Streamed", main: "Tensor", root: "Tensor", wanted: "Tensor", residual: "Tensor"
) -> "Tensor":
    """Solve ``(1 + root K root) x = wanted`` for every problem, (2, row, problem), at once.

    What is left is at most ``residual`` (problem,) of what is wanted.

    Steps are eased by the exact inverse of ``1 + root f f' root``, so that a few suffice.
    """
    import torch

    # A problem at a time: of all at once (row, direction, problem) would lie in memory.
    inner = torch.stack([main.T @ (main * heavy[:, None]) for heavy in root.square().T])
    factor = torch.linalg.cholesky(inner + torch.eye(main.shape[1], device=inner.device))

    def eased(rest: "Tensor") -> "Tensor":
        low = torch.einsum("nk,snp->pks", main, root * rest)
        return rest - root * torch.einsum("nk,pks->snp", main, torch.cholesky_solve(low, factor))

    def image(way: "Tensor") -> "Tensor":
        flat = (root * way).permute(1, 0, 2).flatten(1)
        return way + root * (kernel @ flat).unflatten(1, (2, -1)).permute(1, 0, 2)

    found, rest = torch.zeros_like(wanted), wanted.clone()
    goal = residual * wanted.norm(dim=1)
    way = ease = eased(rest)
    product = (rest * ease).sum(1)
    for _ in range(_GRADIENT_STEPS):
        moved = image(way)
        size = (product / (way * moved).sum(1).clamp(min=1e-30))[:, None]
        found, rest = found + size * way, rest - size * moved
        if bool((rest.norm(dim=1) <= goal).all()):
            break
        ease = eased(rest)
        before, product = product, (rest * ease).sum(1)
        way = ease + (product / before.clamp(min=1e-30))[:, None] * way
    return found


def _step_size(
    target: "Tensor",
    pull: "Tensor",
    logits: "Tensor",
    moved: "Tensor",
    alpha: "Tensor",
    step: "Tensor",
    bias: "Tensor",
    turn: "Tensor",
) -> "Tensor":
    """Of 1, 1/2, 1/4, ... the longest that does not raise each problem's objective."""
    import torch

    sign, sizes = 1 - 2 * target, [0.0] + [0.5**power for power in range(8)]
    values = []
    for size in sizes:
        ahead = (logits + size * moved).double()
        smooth = (alpha + size * step).double() * (ahead - bias - size * turn)
        values.append(0.5 * smooth.sum(0) + (pull * torch.nn.functional.softplus(sign * ahead)).sum(0))
    start, tried = values[0], torch.stack(values[1:])
    good = tried <= start + 1e-6 * start.abs()  # what float32 in the products leaves open
    first = torch.where(good.any(0), good.int().argmax(0), len(sizes) - 2)
    return torch.tensor(sizes[1:], device=target.device)[first]
