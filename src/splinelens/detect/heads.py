"""Fitted heads as plain arrays, run in NumPy: nothing is pickled, nothing of scikit-learn is needed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from splinelens.errors import BrokenArtifact

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


@dataclass(frozen=True)
class LinearHead:
    """A logistic regression on standardised columns.

    Attributes:
        mean: Mean of each column over the training rows.
        scale: Standard deviation of each column; 1 where it is constant.
        weight: Coefficient of each standardised column.
        bias: The logit of a text whose columns all equal the mean.
    """

    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    kind: ClassVar[str] = "linear"

    @classmethod
    def of(cls, pipeline: "Pipeline") -> "LinearHead":
        """From a fitted pipeline of ``recipes.logistic``."""
        scaler, head = pipeline["standardise"], pipeline["head"]
        arrays = (scaler.mean_, scaler.scale_, head.coef_[0], head.intercept_)
        return cls(*(np.asarray(array, dtype=np.float32) for array in arrays))

    @property
    def width(self) -> int:
        """Number of columns that it reads."""
        return len(self.weight)

    def logit(self, values: np.ndarray) -> np.ndarray:
        """Logits of rows, in float64.

        Args:
            values: (text, column).

        Returns:
            (text,); positive leans to the positive class.
        """
        return self.parts(values).sum(axis=1) + float(self.bias[0])

    def parts(self, values: np.ndarray) -> np.ndarray:
        """What each column adds to the logit beyond the bias, float64 (text, column)."""
        mean, scale, weight = (array.astype(np.float64) for array in (self.mean, self.scale, self.weight))
        return (values - mean) * (weight / scale)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to store."""
        return {"mean": self.mean, "scale": self.scale, "weight": self.weight, "bias": self.bias}


@dataclass(frozen=True)
class ForestHead:
    """A random forest as node arrays, all trees end to end.

    Attributes:
        column: Column that each node splits on; -1 at leaves. Standardised columns are folded
            back, so thresholds are in the columns' own units.
        threshold: Values at or below it go left.
        left: Index of the left child.
        right: Index of the right child.
        share: Share of the positive class at each node.
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
        """From a fitted pipeline of ``recipes.forest``."""
        scaler, trees = pipeline["standardise"], [tree.tree_ for tree in pipeline["head"].estimators_]
        roots = np.cumsum([0, *(tree.node_count for tree in trees)])
        column = np.concatenate([tree.feature for tree in trees])
        inner = column >= 0
        threshold = np.concatenate([tree.threshold for tree in trees])
        threshold[inner] = threshold[inner] * scaler.scale_[column[inner]] + scaler.mean_[column[inner]]
        shares = [tree.value[:, 0, 1] / tree.value[:, 0].sum(axis=1) for tree in trees]
        return cls(
            np.where(inner, column, -1).astype(np.int32),
            threshold,
            np.concatenate([tree.children_left + root for tree, root in zip(trees, roots, strict=False)]).astype(np.int32),
            np.concatenate([tree.children_right + root for tree, root in zip(trees, roots, strict=False)]).astype(np.int32),
            np.concatenate(shares).astype(np.float32),
            roots[:-1].astype(np.int32),
            np.array([scaler.n_features_in_], dtype=np.int32),
        )

    @property
    def width(self) -> int:
        """Number of columns that it reads."""
        return int(self.columns[0])

    def logit(self, values: np.ndarray) -> np.ndarray:
        """Logit of the mean share of the positive class over trees, clipped to 1e-4 .. 1 - 1e-4.

        Args:
            values: (text, column).

        Returns:
            (text,) float64.
        """
        rows = np.arange(len(values))[:, None]
        node = np.tile(self.roots, (len(values), 1))
        while (inner := self.column[node] >= 0).any():
            goes_left = values[rows, self.column[node]] <= self.threshold[node]
            node = np.where(inner, np.where(goes_left, self.left[node], self.right[node]), node)
        share = self.share[node].mean(axis=1, dtype=np.float64).clip(1e-4, 1 - 1e-4)
        return np.log(share / (1 - share))

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to store."""
        names = ("column", "threshold", "left", "right", "share", "roots", "columns")
        return {name: getattr(self, name) for name in names}


Head = LinearHead | ForestHead


def head_of(kind: str, arrays: dict[str, np.ndarray]) -> Head:
    """A head from stored arrays.

    Args:
        kind: ``linear`` or ``forest``.
        arrays: As from its ``arrays``.

    Returns:
        The head.

    Raises:
        BrokenArtifact: An unknown kind, missing arrays, wrong shapes, or node indices out of range.
    """
    kinds: dict[str, type[LinearHead] | type[ForestHead]] = {"linear": LinearHead, "forest": ForestHead}
    if kind not in kinds:
        raise BrokenArtifact(f"head {kind!r} is unknown; this version reads {' and '.join(kinds)}")
    try:
        head = kinds[kind](**arrays)
    except TypeError as error:
        raise BrokenArtifact(f"a {kind} head needs other arrays than {sorted(arrays)}") from error
    if isinstance(head, LinearHead):
        whole = head.mean.shape == head.scale.shape == head.weight.shape and head.bias.shape == (1,)
    else:
        nodes = len(head.column)
        same = all(len(array) == nodes for array in (head.threshold, head.left, head.right, head.share))
        inner = head.column >= 0
        children = np.concatenate([head.left[inner], head.right[inner]]) if same else np.array([nodes])
        after = np.concatenate([np.flatnonzero(inner)] * 2) if same else np.array([nodes])
        # A child stands behind its parent, so no chain of nodes can run in a circle.
        whole = bool(
            same
            and (children < nodes).all()
            and (children > after).all()
            and (head.roots < nodes).all()
            and (head.column < head.width).all()
        )
    if not whole:
        raise BrokenArtifact(f"the arrays of the {kind} head do not fit each other")
    return head
