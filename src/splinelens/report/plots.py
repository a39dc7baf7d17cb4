"""Color scales and axes shared by the figures of all pages; figures are plotly's, as plain JSON.

Numbers keep four significant digits. Labels come from strangers: what plotly would read as markup is
escaped here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import diverging, sequential

Figure = dict[str, Any]  # Any: JSON values, plotly's own form of a figure

SHARE = tuple(sequential.Viridis)
DISTANCE = tuple(sequential.Magma_r)
DIMENSION = tuple(sequential.ice)
DIVERGING = tuple(diverging.RdBu_r)
SERIES = ("#2f7ed8", "#e0662a", "#1f9e6e")
GRAY = "#8a8f98"

_TICK_GAP = 0.17  # of a scale's length: closer ticks would overlap


@dataclass(frozen=True)
class Scale:
    """A color scale, shared by figures whose numbers are to be compared.

    Attributes:
        colors: From the lowest to the highest number, evenly spaced.
        low: Number of the first color; its decimal logarithm if ``log``.
        high: Number of the last color; likewise.
        ticks: Positions in [0, 1] along the scale and their labels.
        log: Whether the scale is logarithmic; 0 then has the first color.
    """

    colors: tuple[str, ...]
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    @classmethod
    def linear(cls, arrays: Sequence[np.ndarray], colors: tuple[str, ...], trim: float = 0.0) -> "Scale":
        """The scale of every finite number of some arrays.

        Args:
            arrays: The numbers.
            colors: Of the scale.
            trim: Share of the numbers at each end that take the color of that end.

        Example:
            >>> Scale.linear([np.array([1.0, 3.0])], ("#000", "#fff")).ticks
            ((0.0, '1'), (0.5, '2'), (1.0, '3'))
        """
        values = _finite(arrays)
        if not values.size:
            return cls(colors, 0.0, 1.0, ((0.0, "0"), (0.5, "0.5"), (1.0, "1")))
        low, high = map(float, np.quantile(values, [trim, 1 - trim]))
        if low == high:
            return cls(colors, low, low + (abs(low) or 1.0) * 1e-3, ((0.0, f"{low:.3g}"),))
        first, middle, last = (f"{number:.3g}" for number in (low, (low + high) / 2, high))
        if (values.min(), values.max()) != (low, high):
            first, last = f"≤ {first}", f"≥ {last}"
        return cls(colors, low, high, ((0.0, first), (0.5, middle), (1.0, last)))

    @classmethod
    def logarithmic(cls, arrays: Sequence[np.ndarray], colors: tuple[str, ...]) -> "Scale":
        """The logarithmic scale of every finite number of some arrays, none below 0.

        Example:
            >>> Scale.logarithmic([np.array([1.0, 100.0])], ("#000", "#fff")).ticks
            ((0.0, '1'), (0.5, '10'), (1.0, '100'))
        """
        values = _finite(arrays)
        positive = np.log10(values[values > 0])
        low, high = (float(positive.min()), float(positive.max())) if positive.size else (-1.0, 0.0)
        high, lowest = max(high, low + 1e-3), _power(low)
        if positive.size < values.size:
            low, lowest = low - 0.1 * (high - low), "0"
        decades = np.arange(math.ceil(low), math.floor(high) + 1)
        ticks = [
            ((decade - low) / (high - low), _power(decade))
            for decade in decades.tolist()
            if _TICK_GAP < (decade - low) / (high - low) < 1 - _TICK_GAP
        ]
        return cls(colors, low, high, ((0.0, lowest), *ticks, (1.0, _power(high))), log=True)

    def values(self, numbers: np.ndarray) -> Any:  # Any: nested lists of numbers
        """Numbers as the color axis takes them, rounded: logarithms if the scale is logarithmic."""
        if not self.log:
            return rounded(numbers.astype(float))
        with np.errstate(divide="ignore"):
            return rounded(np.maximum(np.log10(numbers.astype(float)), self.low))


def figure(traces: Sequence[Any], height: int, x: Figure, y: Figure, **layout: Any) -> Figure:
    """A figure with one pair of axes, without legend or template.

    Args:
        traces: Of ``plotly.graph_objects``.
        height: In pixels.
        x: Properties of the horizontal axis.
        y: Properties of the vertical axis.
        layout: Further properties of the layout.

    Example:
        >>> figure([], 200, {}, {})["layout"]["height"]
        200
    """
    shared = {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "showlegend": False,
        "hovermode": "closest",
        "template": "none",
        "xaxis": {"automargin": True, **x},
        "yaxis": {"automargin": True, "exponentformat": "e", **y},
    }
    made: Figure = go.Figure(traces, shared | layout).to_plotly_json()
    del made["layout"]["template"]
    return made


def heat_map(z: Any, scale: Scale, **properties: Any) -> go.Heatmap:  # Any: nested lists; plotly's own
    """A heat map in the colors of a scale, without a color bar; None leaves a hole."""
    return go.Heatmap(
        z=z,
        zmin=scale.low,
        zmax=scale.high,
        colorscale=list(scale.colors),
        showscale=False,
        hoverongaps=False,
        **properties,
    )


def category_axis(title: str, **properties: Any) -> Figure:  # Any: plotly's own
    """An axis of names, such as layers."""
    return {
        "type": "category",
        "title": {"text": title},
        "showgrid": False,
        "tickangle": 0,
        "nticks": 16,
        **properties,
    }


def rounded(array: np.ndarray, digits: int = 4) -> Any:  # Any: nested lists of numbers
    """Nested lists with some significant digits; None for what is not finite.

    Example:
        >>> rounded(np.array([[0.123456, np.inf]]))
        [[0.1235, None]]
    """
    if array.dtype.kind != "f":
        return array.tolist()
    flat = [
        float(f"{number:.{digits}g}") if math.isfinite(number) else None for number in array.ravel().tolist()
    ]
    return np.array(flat, dtype=object).reshape(array.shape).tolist()


def shorten(label: str, characters: int) -> str:
    """A label of at most so many characters, an ellipsis included.

    Example:
        >>> shorten("Donaudampfschiff", 8)
        'Donauda…'
    """
    return label if len(label) <= characters else label[: characters - 1] + "…"


def plotly_text(label: str) -> str:
    """A label that plotly shows as it is, and whose writing direction ends with it.

    plotly interprets tags, entities and ``%{...}``; a word joiner disarms the last one.

    Example:
        >>> plotly_text("<b>&")[1:-1]
        '&lt;b&gt;&amp;'
    """
    safe = escape(label, quote=False).replace("%{", "%\u2060{")
    return f"\u2068{safe}\u2069"


def _finite(arrays: Sequence[np.ndarray]) -> np.ndarray:
    values = np.concatenate([array.ravel() for array in arrays]).astype(float)
    return values[np.isfinite(values)]


def _power(exponent: float) -> str:
    number = 10**exponent
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"
