"""The colours and axes of an inspection's pictures: where a number stands, the same for both texts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from splinelens.geometry.attention import THRESHOLDS
from splinelens.report.inspection import Inspection

VIRIDIS = tuple("#440154 #482878 #3e4989 #31688e #26828e #1f9e89 #35b779 #6ece58 #b5de2b #fde725".split())
MAGMA = tuple("#fcfdbf #feca8d #fd9668 #f1605d #cd4071 #9e2f7f #721f81 #440f76 #180f3d #000004".split())
MAKO = tuple("#170d1c #33264f #40427f #3a639a #348ba6 #37a9ac #5ac6ad #a5e1bd #def5e5".split())
DIVERGING = tuple("#2166ac #67a9cf #d1e5f0 #f4f1ec #fddbc7 #ef8a62 #b2182b".split())
DEPTH = tuple("#2f7ed8 #7a5cc9 #c0449a #e8563f #e89b23".split())
TEXTS = ("#2f7ed8", "#e0662a")
BETWEEN = "#8a4fc4"
POINTS = ("#2f7ed8", "#e0662a", "#1f9e6e")

_MIDDLE = (0.05, 0.95)  # of the signs: layer 0, 1 of 30, has the most extreme and would take the colours
_NEAR = 0.17  # of a scale's length: closer ticks would touch


@dataclass(frozen=True)
class Scale:
    """The colours that stand for numbers, shared by the pictures of both texts.

    Attributes:
        colours: From the lowest to the highest number, evenly spaced.
        low: The number of the first colour, a decimal logarithm if ``log``.
        high: That of the last.
        ticks: Places in [0, 1] along the scale and what stands there.
        log: Whether colours follow the logarithm; a 0 then takes the first colour.
    """

    colours: tuple[str, ...]
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    @classmethod
    def over(cls, arrays: Sequence[np.ndarray], colours: tuple[str, ...], log: bool = False) -> "Scale":
        """The scale that holds every finite number of some arrays.

        Example:
            >>> Scale.over([np.array([1.0, 3.0])], ("#000", "#fff")).ticks
            ((0.0, '1'), (0.5, '2'), (1.0, '3'))
        """
        values = np.concatenate([array.ravel() for array in arrays]).astype(float)
        values = values[np.isfinite(values)]
        return _logarithmic(values, colours) if log else _linear(values, colours)


@dataclass(frozen=True)
class Grown:
    """The axis of a number while the text grows, shared by the pictures of both texts.

    Attributes:
        axis: The axis as plotly reads it.
        lowest: On a logarithmic axis what smaller numbers are drawn as, half the smallest above 0; else None.
    """

    axis: dict[str, object]
    lowest: float | None = None

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray], log: bool) -> "Grown":
        """The axis that holds every finite number of some arrays; logarithmic only if one is above 0.

        Example:
            >>> Grown.of([np.array([0.0, 0.02, 1.0])], log=True).lowest
            0.01
        """
        values = np.concatenate([array.ravel() for array in arrays]).astype(float)
        values = values[np.isfinite(values)]
        lowest = float(values[values > 0].min()) / 2 if log and (values > 0).any() else None
        if not values.size:
            return cls({})
        ends = [float(values.min()), float(values.max())]
        low, high = ends if lowest is None else [math.log10(max(end, lowest)) for end in ends]
        room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        return cls(({} if lowest is None else {"type": "log"}) | {"range": [low - room, high + room]}, lowest)

    def drawn(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers as they are drawn."""
        return numbers if self.lowest is None else np.maximum(numbers, self.lowest)


def scales(inspection: Inspection) -> dict[str, Scale]:
    """The scale of each kind of heat map; those of the intrinsic dimension are missing without softmax."""
    texts = inspection.portraits
    made = {
        "sign": _most(np.concatenate([text.sign.ravel() for text in texts]), VIRIDIS),
        "boundary": Scale.over([text.boundary for text in texts], MAGMA, log=True),
        "percentiles": Scale(
            DIVERGING, 0, 100, ((0, "0"), (0.25, "25"), (0.5, "50"), (0.75, "75"), (1, "100"))
        ),
    }
    for number, name in enumerate(THRESHOLDS):
        heads = [_present(text.dimension[number]) for text in texts]
        if any(np.isfinite(array).any() for array in heads):
            log = name == "relative"  # it has no upper limit, and a few layers reach far above the others
            made[name] = Scale.over([array.sum(axis=1) for array in heads], MAKO, log)
            made[f"heads-{name}"] = Scale.over(heads, MAKO, log)
    return made


def depth_colour(share: float) -> str:
    """The colour of a layer between the first, at 0, and the last, at 1.

    Example:
        >>> depth_colour(0.0), depth_colour(0.125)
        ('#2f7ed8', '#546dd0')
    """
    place = share * (len(DEPTH) - 1)
    left = min(int(place), len(DEPTH) - 2)
    pair = [[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in DEPTH[left : left + 2]]
    mixed = [round(a + (place - left) * (b - a)) for a, b in zip(*pair, strict=True)]
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _present(counts: np.ndarray) -> np.ndarray:
    return np.where(counts < 0, np.nan, counts)


def _most(values: np.ndarray, colours: tuple[str, ...]) -> Scale:
    """A scale for all numbers but a few extreme ones, which take the colours of its ends."""
    values = values[np.isfinite(values)].astype(float)
    low, high = np.quantile(values, _MIDDLE) if values.size else (0.0, 1.0)
    scale = _linear(values.clip(low, high), colours)
    if len(scale.ticks) < 3 or (values.min(), values.max()) == (low, high):
        return scale
    (_, first), middle, (_, last) = scale.ticks
    return replace(scale, ticks=((0.0, f"≤ {first}"), middle, (1.0, f"≥ {last}")))


def _linear(values: np.ndarray, colours: tuple[str, ...]) -> Scale:
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    if low == high:
        return Scale(colours, low, low + (abs(low) or 1.0) * 1e-3, ((0.0, f"{low:.3g}"),))
    ticks = [(share, f"{low + share * (high - low):.3g}") for share in (0.0, 0.5, 1.0)]
    return Scale(colours, low, high, tuple(ticks))


def _logarithmic(values: np.ndarray, colours: tuple[str, ...]) -> Scale:
    positive = values[values > 0]
    low, high = (math.log10(positive.min()), math.log10(positive.max())) if positive.size else (-1.0, 0.0)
    high = max(high, low + 1e-3)
    lowest = _power(low)
    if positive.size < values.size:
        low, lowest = low - 0.1 * (high - low), "0"
    inner = [(decade - low) / (high - low) for decade in range(math.ceil(low), math.floor(high) + 1)]
    ticks = [(share, _power(low + share * (high - low))) for share in inner]
    ticks = [tick for tick in ticks if _NEAR < tick[0] < 1 - _NEAR]
    return Scale(colours, low, high, ((0.0, lowest), *ticks, (1.0, _power(high))), log=True)


def _power(exponent: float) -> str:
    number = 10**exponent
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"
