"""Every statistic: what it reads, its meaning, range and source.

A feature name such as ``spline7`` or ``margins`` stands for one or more statistics; a statistic read
at a layer is a column of the table. Raise ``VERSION`` when a number would change: detectors refuse
tables of another version.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from splinelens.errors import BadFeatures
from splinelens.geometry.settings import SPLINE7

VERSION = 1

Needs = Literal["gate", "hidden", "attention", "inputs", "tokens"]
Axis = Literal["scalar", "neuron", "width", "direction"]


@dataclass(frozen=True)
class Statistic:
    """One documented number, or vector of numbers, of a text.

    Attributes:
        name: Its name in tables and detectors.
        feature: The feature that it belongs to.
        pooling: How it is pooled over tokens; empty when the feature fixes that.
        needs: Which tensor of a layer it reads; ``inputs`` are read at all layers for one number, and
            ``tokens`` means no layer at all.
        axis: One number (``scalar``), or one per neuron, per width of the stream, or per learned direction.
        unit: Its unit.
        low: Smallest possible value.
        high: Largest possible value.
        meaning: One line.
        source: Where it is defined.
    """

    name: str
    feature: str
    pooling: str
    needs: Needs
    axis: Axis
    unit: str
    low: float
    high: float
    meaning: str
    source: str

    @property
    def layered(self) -> bool:
        """Whether each layer has a column of it."""
        return self.needs not in ("inputs", "tokens")


_INF = float("inf")
_PAPER = "arXiv:2312.01648, features 1-7"
_HULLS = "arXiv:2312.01648, intrinsic dimension"
_POOLINGS = ("max", "min", "mean", "last")
_POOLED = ("margins", "hidden", "directions")  # the features that leave their pooling open


def _catalogue() -> dict[str, Statistic]:
    rows = [
        Statistic(name, "spline7", "", "gate", "scalar", unit, 0.0, high, meaning, _PAPER)
        for name, (unit, high, meaning) in zip(SPLINE7, _SPLINE7_MEANINGS, strict=True)
    ]
    reals = (-_INF, _INF)
    for pooling in _POOLINGS:
        name, meaning = (
            f"margin_{pooling}",
            f"{pooling} over tokens of the signed distance to each hyperplane",
        )
        rows.append(
            Statistic(name, "margins", pooling, "gate", "neuron", "MLP input", *reals, meaning, "ours")
        )
    name, meaning = "occupancy", "share of tokens at which each neuron is on"
    rows.append(Statistic(name, name, name, "gate", "neuron", "share", 0.0, 1.0, meaning, "ours"))
    for pooling in _POOLINGS:
        name, meaning = f"hidden_{pooling}", f"{pooling} over tokens of the residual stream after the block"
        rows.append(
            Statistic(name, "hidden", pooling, "hidden", "width", "stream", *reals, meaning, "baseline")
        )
    rows += [
        Statistic(
            f"{feature}_{threshold}_{pooling}",
            feature,
            pooling,
            "attention",
            "scalar",
            unit,
            0.0,
            _INF,
            f"{meaning} {edge}",
            _HULLS,
        )
        for feature, unit, meanings in (
            ("attention_id", "vertices", _ID_MEANINGS),
            ("attention_bound", "dimensions", _BOUND_MEANINGS),
        )
        for threshold, edge in _ID_EDGES.items()
        for pooling, meaning in meanings.items()
    ]
    for pooling in _POOLINGS:
        name, meaning = (
            f"direction_{pooling}",
            f"{pooling} over tokens of the margin to each learned hyperplane",
        )
        rows.append(
            Statistic(name, "directions", pooling, "inputs", "direction", "learned", *reals, meaning, "ours")
        )
    name, meaning = "length", "number of tokens of the text, cut ones included"
    rows.append(Statistic(name, name, "", "tokens", "scalar", "tokens", 1.0, _INF, meaning, "baseline"))
    return {row.name: row for row in rows}


_SPLINE7_MEANINGS = (
    ("share", 1.0, "mean over tokens of the share of neurons that are on"),
    ("share", 1.0, "smallest share of neurons that are on at one token"),
    ("share", 1.0, "largest share of neurons that are on at one token"),
    ("share", 1.0, "standard deviation over tokens of that share; 0 for one token"),
    ("MLP input", _INF, "smallest distance of a token to its nearest region boundary"),
    ("MLP input", _INF, "mean over tokens of that distance"),
    ("MLP input", _INF, "standard deviation over tokens of that distance; 0 for one token"),
)

# The keys of a token are those of its window and of the prompt before it.
_ID_MEANINGS = {
    "last": "keys that the last token looks at, summed over heads: those with a weight above",
    "mean": "mean over tokens of the keys that a token looks at, summed over heads: weights above",
    "max": "most keys that a token of the text looks at, summed over heads: weights above",
}
_BOUND_MEANINGS = {
    "last": "most dimensions that the hull of the last token's keys can have: weights above",
    "mean": "mean over tokens of the most dimensions that the hull of its keys can have: weights above",
    "max": "largest over tokens of the most dimensions that the hull of its keys can have: weights above",
}
_ID_EDGES = {"absolute": "eps", "relative": "eps times the head's largest weight"}

CATALOGUE: dict[str, Statistic] = _catalogue()
"""Every statistic by name."""

FEATURES: tuple[str, ...] = tuple(dict.fromkeys(row.feature for row in CATALOGUE.values()))
"""The names that ``--features`` takes, besides the names of single statistics.

``directions`` needs learned hyperplanes, which only detectors have.
"""


@dataclass(frozen=True)
class Column:
    """A statistic at a layer: one column of a table, ``size`` numbers wide."""

    statistic: Statistic
    layer: int | None
    size: int

    @property
    def name(self) -> str:
        """Such as ``layer05.margin_max``, or ``length`` without a layer."""
        return self.statistic.name if self.layer is None else f"layer{self.layer:02d}.{self.statistic.name}"


def statistics(features: Iterable[str], pooling: Iterable[str] = ("max",)) -> tuple[Statistic, ...]:
    """The statistics that a choice of features stands for, in catalogue order.

    Args:
        features: Feature names (``spline7``, ``margins``, ...) or names of single statistics.
        pooling: Poolings of those features that leave them open.

    Returns:
        The statistics, each once.

    Raises:
        BadFeatures: A name that does not exist (the message names near ones), or no name at all.

    Example:
        >>> [row.name for row in statistics(["margins", "length"], ["max", "mean"])]
        ['margin_max', 'margin_mean', 'length']
    """
    features, pooling = list(features), list(pooling)
    _check_known(features, (*FEATURES, *CATALOGUE), "feature")
    _check_known(pooling, _POOLINGS, "pooling")
    chosen = tuple(
        row
        for row in CATALOGUE.values()
        if row.name in features
        or (row.feature in features and (row.feature not in _POOLED or row.pooling in pooling))
    )
    if not chosen:
        raise BadFeatures(f"no statistic chosen; features are {', '.join(FEATURES)}")
    return chosen


def columns(
    chosen: Sequence[Statistic],
    layers: Sequence[int],
    sizes: dict[str, Sequence[int]],
    softmax_layers: Sequence[int] | None = None,
    directions: int = 0,
) -> tuple[Column, ...]:
    """The columns of a table, layer by layer, those without a layer last.

    Args:
        chosen: The statistics.
        layers: The layers to read them at.
        sizes: For the axes ``neuron`` and ``width``, the size at each of the model's layers.
        softmax_layers: The layers whose attention is a softmax; only they have columns of the statistics of
            attention. None stands for all.
        directions: Number of learned directions.

    Example:
        >>> layout = columns(statistics(["margins", "length"]), [0, 1], {"neuron": [48, 48]})
        >>> [(column.name, column.size) for column in layout]
        [('layer00.margin_max', 48), ('layer01.margin_max', 48), ('length', 1)]
    """
    layered = [
        Column(row, layer, 1 if row.axis == "scalar" else sizes[row.axis][layer])
        for layer in layers
        for row in chosen
        if row.layered and (row.needs != "attention" or softmax_layers is None or layer in softmax_layers)
    ]
    whole = [
        Column(row, None, directions if row.axis == "direction" else 1) for row in chosen if not row.layered
    ]
    return (*layered, *whole)


def _check_known(names: Sequence[str], known: Sequence[str], what: str) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = (
                f"did you mean {' or '.join(near)}?"
                if near
                else f"known are {', '.join(dict.fromkeys(known))}"
            )
            if "," in name:
                hint = "give a list of names"
            raise BadFeatures(f"no {what} {name!r}; {hint}")
