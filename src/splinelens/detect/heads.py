"""Fitted heads as plain arrays, run in NumPy: nothing is pickled, nothing of scikit-learn is needed.

A head answers one or more labels, each against all others, from the same columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from splinelens.errors import BadFeatures, BadLabels, BrokenArtifact

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_CHUNK = 1 << 18
# Entries of a table that are worked on at once: 2 MB in float64 stay in a core's cache.


@dataclass(frozen=True, eq=False)
class LinearHead:
    """Logistic regressions on standardised columns, one a label.

    Attributes:
        mean: (column,), mean of each column over the training rows.
        scale: (column,), standard deviation of each column; 1 where it is constant.
        weight: (label, column), coefficients of the standardised columns.
        bias: (label,), the logits of a text whose columns all equal the mean.
    """

    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    kind: ClassVar[str] = "linear"

    @classmethod
    def of(cls, *pipelines: "Pipeline") -> "LinearHead":
        """From fitted pipelines of ``recipes.logistic``, one a label, all fitted on the same rows."""
        scaler, heads = pipelines[0]["standardise"], [pipeline["head"] for pipeline in pipelines]
        # A mean may be far larger than its scale: rounded to float32 it would shift the logit.
        return cls(
            np.asarray(scaler.mean_, dtype=np.float64),
            np.asarray(scaler.scale_, dtype=np.float32),
            np.stack([np.asarray(head.coef_[0], dtype=np.float32) for head in heads]),
            np.array([head.intercept_[0] for head in heads], dtype=np.float64),
        )

    @property
    def width(self) -> int:
        """Number of columns that it reads."""
        return self.weight.shape[1]

    @property
    def labels(self) -> int:
        """Number of labels that it answers."""
        return len(self.weight)

    def alone(self, label: int) -> "LinearHead":
        """The head of one of its labels."""
        return LinearHead(self.mean, self.scale, self.weight[[label]], self.bias[[label]])

    def logit(self, values: np.ndarray) -> np.ndarray:
        """Logits of rows; a row gives the same bits alone and in any table.

        Args:
            values: (text, column).

        Returns:
            (text, label) float64; positive leans to the label. NaN where a value is not finite.

        Raises:
            BadFeatures: The table has another number of columns than the head.
        """
        require_width(values, self.width)
        logit = np.empty((len(values), self.labels))
        with np.errstate(invalid="ignore"):  # inf - inf
            for rows in _chunks(len(values), self.width):
                for label, slope in enumerate(self._slope):
                    constant = float(self.bias[label]) - float((self.mean * slope).sum())
                    # A sum along rows that lie in one piece does not depend on how many rows there are.
                    logit[rows, label] = np.multiply(values[rows], slope, order="C").sum(axis=1) + constant
        return np.where(np.isfinite(logit), logit, np.nan)

    def parts(self, values: np.ndarray, label: int = 0) -> np.ndarray:
        """What each column adds to a label's logit beyond the bias; for a few rows: the result is as large.

        Args:
            values: (text, column).
            label: Whose logit.

        Returns:
            (text, column) float64; each row sums to its logit without the bias.

        Raises:
            BadFeatures: The table has another number of columns than the head.
        """
        require_width(values, self.width)
        return (values - self.mean.astype(np.float64)) * self._slope[label]

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to store."""
        return {"mean": self.mean, "scale": self.scale, "weight": self.weight, "bias": self.bias}

    @cached_property
    def _slope(self) -> np.ndarray:
        """(label, column), coefficients of the columns in their own units, float64."""
        return self.weight.astype(np.float64) / self.scale.astype(np.float64)


@dataclass(frozen=True, eq=False)
class ForestHead:
    """A random forest as node arrays, all trees end to end; its trees serve all labels.

    Attributes:
        column: Column that each node splits on; -1 at leaves.
        threshold: Values at or below it go left.
        left: Index of the left child.
        right: Index of the right child.
        share: (node, label), share of the label's rows at each node.
        roots: Index of each tree's root.
        columns: Number of columns, one entry.
    """

    column: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    share: np.ndarray
    roots: np.ndarray
    columns: np.ndarray

    kind: ClassVar[str] = "forest"

    @classmethod
    def of(cls, pipeline: "Pipeline") -> "ForestHead":
        """From a fitted pipeline of ``recipes.forest``.

        Raises:
            BadLabels: It was fitted on one class only, in any label.
        """
        head = pipeline["head"]
        for classes in [head.classes_] if head.n_outputs_ == 1 else head.classes_:
            if len(classes) != 2:
                raise BadLabels(f"the forest was fitted on class {classes.tolist()} alone; give both classes")
        trees = [tree.tree_ for tree in head.estimators_]
        ends = np.cumsum([tree.node_count for tree in trees])
        roots = np.concatenate([[0], ends[:-1]])
        first = np.repeat(roots, np.diff(ends, prepend=0))  # the root of each node's tree
        column = np.concatenate([tree.feature for tree in trees])
        inner = column >= 0
        shares = [tree.value[:, :, 1] / tree.value.sum(axis=2) for tree in trees]
        return cls(
            np.where(inner, column, -1).astype(np.int32),
            np.where(inner, np.concatenate([tree.threshold for tree in trees]), 0.0),
            np.where(inner, np.concatenate([tree.children_left for tree in trees]) + first, -1).astype(
                np.int32
            ),
            np.where(inner, np.concatenate([tree.children_right for tree in trees]) + first, -1).astype(
                np.int32
            ),
            np.concatenate(shares).astype(np.float32),
            roots.astype(np.int32),
            np.array([head.n_features_in_], dtype=np.int32),
        )

    @property
    def width(self) -> int:
        """Number of columns that it reads."""
        return int(self.columns[0])

    @property
    def labels(self) -> int:
        """Number of labels that it answers."""
        return self.share.shape[1]

    def alone(self, label: int) -> "ForestHead":
        """The head of one of its labels."""
        return replace(self, share=self.share[:, [label]])

    def logit(self, values: np.ndarray) -> np.ndarray:
        """Logit of the mean share of each label over trees, clipped to 1e-4 .. 1 - 1e-4.

        Args:
            values: (text, column); rounded to float32 first, as scikit-learn does.

        Returns:
            (text, label) float64. NaN where a value is not finite.

        Raises:
            BadFeatures: The table has another number of columns than the head.
        """
        require_width(values, self.width)
        share = np.empty((len(values), self.labels))
        with np.errstate(invalid="ignore", over="ignore"):  # inf - inf, and what float32 cannot hold
            for rows in _chunks(len(values), len(self.roots)):
                some = values[rows].astype(np.float32, copy=False)
                whole = np.isfinite(some.sum(axis=1, dtype=np.float64))
                share[rows] = np.where(whole[:, None], self._shares(some), np.nan)
        share = share.clip(1e-4, 1 - 1e-4)
        return np.log(share / (1 - share))

    def _shares(self, values: np.ndarray) -> np.ndarray:
        """(text, label), mean share over the leaves that each row falls into."""
        rows = np.arange(len(values))[:, None]
        node = np.tile(self.roots, (len(values), 1))
        while (inner := self.column[node] >= 0).any():
            goes_left = values[rows, self.column[node]] <= self.threshold[node]
            node = np.where(inner, np.where(goes_left, self.left[node], self.right[node]), node)
        # A label at a time: the mean of rows that lie in one piece does not depend on how many there are.
        shares = [share[node].mean(axis=1, dtype=np.float64) for share in self.share.T]
        return np.stack(shares, axis=1)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to store."""
        names = ("column", "threshold", "left", "right", "share", "roots", "columns")
        return {name: getattr(self, name) for name in names}


Head = LinearHead | ForestHead


def require_width(values: np.ndarray, width: int) -> None:
    """Refuse a table that the head was not made for.

    Args:
        values: (text, column).
        width: Columns of the head.

    Raises:
        BadFeatures: Another number of columns.

    Example:
        >>> require_width(np.zeros((4, 3)), 3)
    """
    if values.ndim != 2 or values.shape[1] != width:
        raise BadFeatures(
            f"a table of shape {values.shape} meets a head of {width} columns; "
            "extract the features that the detector's spec names"
        )


def head_of(kind: str, arrays: dict[str, np.ndarray]) -> Head:
    """A head from stored arrays.

    Args:
        kind: ``linear`` or ``forest``.
        arrays: As from its ``arrays``.

    Returns:
        The head.

    Raises:
        BrokenArtifact: An unknown kind, missing arrays, wrong shapes or types, numbers that are not
            finite, or node indices out of range.

    Example:
        >>> one = np.ones(1)
        >>> head_of("linear", {"mean": one, "scale": one, "weight": one[None], "bias": one}).width
        1
    """
    kinds: dict[str, type[LinearHead] | type[ForestHead]] = {"linear": LinearHead, "forest": ForestHead}
    if kind not in kinds:
        raise BrokenArtifact(f"head {kind!r} is unknown; this version reads {' and '.join(kinds)}")
    if set(arrays) != {field.name for field in fields(kinds[kind])}:
        raise BrokenArtifact(f"a {kind} head needs other arrays than {', '.join(sorted(arrays))}")
    head = kinds[kind](**arrays)
    problem = _linear_problem(head) if isinstance(head, LinearHead) else _forest_problem(head)
    if problem:
        raise BrokenArtifact(f"the arrays of the {kind} head do not fit each other: {problem}")
    return head


def _linear_problem(head: LinearHead) -> str | None:
    arrays = head.arrays()
    shape = head.weight.shape
    if len(shape) != 2 or not (head.mean.shape == head.scale.shape == shape[1:]):
        return (
            f"mean, scale and weight have shapes {head.mean.shape}, {head.scale.shape}, {head.weight.shape}"
        )
    if not shape[0] or head.bias.shape != shape[:1]:
        return f"bias has shape {head.bias.shape} beside weights of shape {shape}"
    for name, array in arrays.items():
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            return f"{name} holds something other than finite floats"
    return None if (head.scale > 0).all() else "a scale is not positive"


def _forest_problem(head: ForestHead) -> str | None:
    arrays = head.arrays()
    for name, array in arrays.items():
        if array.ndim != 1 + (name == "share") or array.dtype.kind != (
            "f" if name in ("threshold", "share") else "i"
        ):
            return f"{name} is {array.dtype} of shape {array.shape}"
    nodes = len(head.column)
    if any(len(arrays[name]) != nodes for name in ("threshold", "left", "right", "share")):
        return "the node arrays differ in length"
    if len(head.columns) != 1 or not len(head.roots) or not head.labels:
        return "it has no trees, no labels or no number of columns"
    inner = np.flatnonzero(head.column >= 0)
    children = np.concatenate([head.left[inner], head.right[inner]])
    # A child stands behind its parent, so no chain of nodes can run in a circle.
    if (children <= np.tile(inner, 2)).any() or (children >= nodes).any():
        return "a child stands before its parent or behind the last node"
    if (head.roots < 0).any() or (head.roots >= nodes).any() or (head.column >= head.width).any():
        return "a root or a column is out of range"
    if not (np.isfinite(head.threshold).all() and ((head.share >= 0) & (head.share <= 1)).all()):
        return "a threshold is not finite or a share not in 0 .. 1"
    return None


def _chunks(rows: int, width: int) -> Iterator[slice]:
    """Slices of rows with about ``_CHUNK`` entries each."""
    step = max(1, _CHUNK // max(1, width))
    return (slice(start, start + step) for start in range(0, rows, step))
