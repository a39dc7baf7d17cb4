"""Balanced logistic regression on tables with more columns than rows, by way of their Gram matrix.

The best weights of an L2-penalised head lie in the span of the rows, ``w = sum_i a_i z_i``, so all that a
fit needs of the table is ``K[i, j] = <z_i, z_j>``: it is made once, in blocks of columns, and then every
fold, strength and label is a problem in the rows alone. They are solved together, by Newton steps whose
linear systems are solved by conjugate gradients on all of them at once. The objective is that of
scikit-learn's ``LogisticRegression(C=C, class_weight="balanced")`` on standardised columns.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from splinelens.errors import BadFeatures

if TYPE_CHECKING:
    from torch import Tensor

_NEWTON_STEPS = 60
_GRADIENT_STEPS = 100
_RESIDUAL = 1e-4  # left by each of Newton's linear systems; the next step mends it
_STRIPE = 2048  # rows of a Gram matrix that are made at once
_DIRECTIONS = 256  # of the products, that the steps are eased by


@dataclass(frozen=True, eq=False)
class Standard:
    """Mean and standard deviation of columns.

    Attributes:
        mean: Of each column, float64.
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
        mean = rows.mean(axis=0, dtype=np.float64)
        scale = np.sqrt(((rows - mean.astype(np.float32)) ** 2).mean(axis=0, dtype=np.float64))
        return cls(mean, np.where(scale > 1e-12, scale, 1.0).astype(np.float32))

    def times(self, factor: np.ndarray) -> "Standard":
        """The same columns, each stretched by a factor above 0.

        Example:
            >>> Standard(np.zeros(1), np.ones(1, dtype=np.float32)).times(np.array([2.0])).scale.tolist()
            [0.5]
        """
        return Standard(self.mean, (self.scale / factor).astype(np.float32))

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """Rows in standard units, float32."""
        return ((rows - self.mean) / self.scale).astype(np.float32, copy=False)


def gram(blocks: Iterable[np.ndarray], others: Iterable[np.ndarray] | None = None) -> np.ndarray:
    """Inner products of rows, summed over blocks of columns.

    Args:
        blocks: (row, column) of standardised columns, one block after the other.
        others: The same columns of other rows; None takes the rows themselves.

    Returns:
        (row, row), or (other, row), float32.

    Raises:
        BadFeatures: No block, or a number that is not finite.

    Example:
        >>> gram([np.array([[1.0], [2.0]], dtype=np.float32)]).tolist()
        [[1.0, 2.0], [2.0, 4.0]]
    """
    import torch

    total = None
    pairs = ((block, block) for block in blocks) if others is None else zip(others, blocks, strict=True)
    for left, right in pairs:
        a, b = torch.from_numpy(np.ascontiguousarray(left)), torch.from_numpy(np.ascontiguousarray(right))
        if total is None:
            total = torch.zeros(len(a), len(b))
        for start in range(0, len(a), _STRIPE):  # of a symmetric matrix only what lies left of the diagonal
            some = slice(start, start + _STRIPE)
            until = None if others is not None else some.stop
            total[some, :until].addmm_(a[some], b[:until].T)
    if total is not None and others is None:
        for start in range(_STRIPE, len(total), _STRIPE):
            total[:start, start : start + _STRIPE] = total[start : start + _STRIPE, :start].T
    if total is None or not bool(total.diagonal().isfinite().all()):
        raise BadFeatures("the table has no columns, or numbers that are not finite; leave such rows out")
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
    products: np.ndarray,
    targets: np.ndarray,
    weight: np.ndarray,
    C: Sequence[float],
    *,
    device: str = "cpu",
    tolerance: float = 2e-3,
) -> tuple[np.ndarray, np.ndarray]:
    """Solve many L2-penalised logistic regressions over the same rows at once.

    Each minimises ``a' K a / 2 + C sum_i weight_i log(1 + exp(-y_i (K a + b)_i))`` with ``y`` in -1, 1.

    Args:
        products: (row, row), as from ``gram``.
        targets: (row, problem) of 0 and 1.
        weight: (row, problem), such as from ``balance``; 0 leaves a row out of that problem.
        C: Inverse strength of the penalty of each problem.
        device: Where to compute.
        tolerance: A problem is solved when its Newton step moves no logit by more than this share of
            the largest one.

    Returns:
        ``a`` (row, problem) and ``b`` (problem,), float64: logits are ``K a + b``.

    Raises:
        BadFeatures: It does not settle in 60 Newton steps.

    Example:
        >>> rows = np.array([[0.0], [1.0], [2.0], [3.0]], dtype=np.float32)
        >>> y = np.array([[0], [0], [1], [1]])
        >>> a, b = dual_logistic(gram([rows]), y, np.ones((4, 1)), [1.0])
        >>> (gram([rows]) @ a + b > 0).ravel().tolist()
        [False, False, True, True]
    """
    import torch

    kernel = torch.as_tensor(products, dtype=torch.float32, device=device)
    target = torch.as_tensor(np.asarray(targets), dtype=torch.float32, device=device)
    pull = torch.as_tensor(np.asarray(weight) * np.asarray(C, dtype=np.float64), device=device).float()
    alpha, bias = torch.zeros_like(target), torch.zeros_like(target[0])
    main = _main_directions(kernel)
    logits, left = torch.zeros_like(target), torch.arange(target.shape[1], device=device)
    for _ in range(_NEWTON_STEPS):
        aim, heavy, at, now = target[:, left], pull[:, left], alpha[:, left], logits[:, left]
        ahead, shift = _newton(kernel, main, aim, heavy, now)
        step, turn = ahead - at, shift - bias[left]
        moved = kernel @ step + turn
        size = _step_size(aim, heavy, now, moved, at, step, bias[left], turn)
        alpha[:, left], bias[left], logits[:, left] = (
            at + size * step,
            bias[left] + size * turn,
            now + size * moved,
        )
        spread = (logits[:, left] * (heavy > 0)).abs().amax(dim=0)
        left = left[(moved.abs() * (heavy > 0)).amax(dim=0) > tolerance * spread]
        if not len(left):
            return alpha.double().cpu().numpy(), bias.double().cpu().numpy()
    raise BadFeatures(
        f"{len(left)} fits did not settle in {_NEWTON_STEPS} steps; are the columns standardised? "
        "Give smaller C"
    )


def _main_directions(kernel: "Tensor") -> "Tensor":
    """A factor ``f`` of the largest part of the products, ``f f' ~ K``: (row, direction)."""
    import torch

    count = min(_DIRECTIONS, len(kernel) // 2)
    dice = torch.Generator(device=kernel.device).manual_seed(0)
    guess = torch.randn(len(kernel), count, generator=dice, device=kernel.device)
    base = torch.linalg.qr(kernel @ guess).Q
    values, vectors = torch.linalg.eigh(base.T @ (kernel @ base))
    return base @ (vectors * values.clamp(min=0).sqrt())


def _newton(
    kernel: "Tensor", main: "Tensor", target: "Tensor", pull: "Tensor", logits: "Tensor"
) -> tuple["Tensor", "Tensor"]:
    """Where the quadratic model of each problem has its least value: ``a`` and ``b``.

    With ``d`` the curvature of each row's loss, ``a = sqrt(d) (u - b v)``, where ``u`` and ``v`` solve
    ``(1 + sqrt(d) K sqrt(d)) u = sqrt(d) z`` for the working response ``z`` and for 1; ``sum a = 0``.
    """
    import torch

    share = logits.sigmoid()
    root = (pull * (share * (1 - share)).clamp(min=1e-6)).sqrt()
    rest = torch.where(pull > 0, pull * (target - share) / root.clamp(min=1e-30), 0.0)
    both = _conjugate_gradients(kernel, main, root, torch.stack([root * logits + rest, root]))
    first, second = both
    bias = (root * first).sum(0) / (root * second).sum(0)
    return root * (first - bias * second), bias


def _conjugate_gradients(kernel: "Tensor", main: "Tensor", root: "Tensor", wanted: "Tensor") -> "Tensor":
    """Solve ``(1 + root K root) x = wanted`` for every problem, (2, row, problem), at once.

    Steps are eased by the exact inverse of ``1 + root f f' root``, so that a few suffice.
    """
    import torch

    inner = torch.einsum("nk,np,nl->pkl", main, root.square(), main)
    factor = torch.linalg.cholesky(inner + torch.eye(main.shape[1], device=inner.device))

    def eased(rest: "Tensor") -> "Tensor":
        low = torch.einsum("nk,snp->pks", main, root * rest)
        return rest - root * torch.einsum("nk,pks->snp", main, torch.cholesky_solve(low, factor))

    def image(way: "Tensor") -> "Tensor":
        flat = (root * way).permute(1, 0, 2).flatten(1)
        return way + root * (kernel @ flat).unflatten(1, (2, -1)).permute(1, 0, 2)

    found, rest = torch.zeros_like(wanted), wanted.clone()
    goal = _RESIDUAL * wanted.norm(dim=1)
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
