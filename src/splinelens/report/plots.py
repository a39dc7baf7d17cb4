"""Color scales and axes shared by the figures of all pages; figures are plotly's, as plain JSON.

Numbers keep four significant digits. Labels are untrusted: what plotly would read as markup is
escaped here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

Figure = dict[str, Any]  # Any: JSON values, plotly's form of a figure

SERIES = ("#2f7ed8", "#e0662a", "#1f9e6e")
GRAY = "#8a8f98"
LONG_SERIES = (*SERIES, "#b58900", "#8e5bd0", GRAY)


@dataclass(frozen=True)
class Scale:
    """A color scale, shared by figures whose numbers are to be compared.

    Attributes:
        colors: Name of a color scale of plotly.
        low: Number of the first color; its decimal logarithm if ``log``.
        high: Number of the last color; likewise.
        unit: Title of the color bar.
        log: Whether the scale is logarithmic; 0 then has the first color.
        whole: Whether the numbers are counts, whose ticks are whole numbers.
    """

    colors: str
    low: float
    high: float
    unit: str = ""
    log: bool = False
    whole: bool = False

    @classmethod
    def of(
        cls,
        arrays: Sequence[np.ndarray],
        colors: str,
        unit: str = "",
        *,
        log: bool = False,
        whole: bool = False,
        trim: float = 0.0,
    ) -> "Scale":
        """The scale of every finite number of some arrays, none below 0 if ``log``; of counts if ``whole``.

        ``trim`` is the share of the numbers at each end that have the color of that end.

        Example:
            >>> scale = Scale.of([np.array([1.0, 100.0])], "Viridis", log=True)
            >>> scale.low, scale.high
            (0.0, 2.0)
        """
        values = np.concatenate([array.ravel() for array in arrays]).astype(float)
        values = values[np.isfinite(values)]
        values = np.log10(values[values > 0]) if log else values
        low, high = map(float, np.quantile(values, [trim, 1 - trim])) if values.size else (0.0, 1.0)
        if high <= low and whole:
            high = math.log10(10**low + 1) if log else low + 1
        high = high if high > low else low + (abs(low) or 1.0) * 1e-3
        return cls(colors, low, high, unit, log, whole)

    def values(self, numbers: np.ndarray) -> Any:  # Any: nested lists of numbers
        """Numbers as the color axis takes them, rounded: logarithms if the scale is logarithmic."""
        if not self.log:
            return rounded(numbers.astype(float))
        with np.errstate(divide="ignore"):
            return rounded(np.maximum(np.log10(numbers.astype(float)), self.low))

    def heat_map(self, z: Any, **properties: Any) -> go.Heatmap:  # Any: nested lists; properties of plotly
        """A heat map in these colors, with a color bar; None leaves a hole."""
        bar: Figure = {"thickness": 9, "outlinewidth": 0, "xpad": 4, "ypad": 2, "nticks": 5}
        bar["title"] = {"text": self.unit, "side": "right"}
        if self.whole:
            shown = np.linspace(self.low, self.high, 4)
            counts = np.unique((10**shown if self.log else shown).round())
            ticks = np.log10(counts) if self.log else counts
            bar |= {"tickvals": ticks.tolist(), "ticktext": [f"{count:,.0f}" for count in counts]}
        elif self.log:
            ticks = np.linspace(self.low, self.high, 4)
            bar |= {"tickvals": ticks.tolist(), "ticktext": [f"{10**tick:.2g}" for tick in ticks]}
        return go.Heatmap(
            z=z,
            zmin=self.low,
            zmax=self.high,
            colorscale=self.colors,
            colorbar=bar,
            hoverongaps=False,
            **properties,
        )


def figure(traces: Sequence[Any], height: int, x: Figure, y: Figure, **layout: Any) -> Figure:
    """A figure with one pair of axes, without legend or template.

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
    drawn: Figure = go.Figure(traces, shared | layout).to_plotly_json()
    del drawn["layout"]["template"]
    return drawn


def interval_dots(
    names: Sequence[str],
    values: Sequence[float | None],
    intervals: Sequence[tuple[float, float] | None],
    color: str,
    what: str,
    format: str = ".3~g",
) -> go.Scatter:
    """Dots with their 95 % intervals, a row each; a value without an interval has no bar.

    Args:
        names: The row of each dot.
        values: The values.
        intervals: Their intervals.
        color: Of the dots and bars.
        what: What the values are, for the label under the mouse.
        format: Of a value there, as d3 has it.
    """
    x = np.array(values, dtype=float)
    bounds = [interval or (value, value) for value, interval in zip(values, intervals, strict=True)]
    lower, upper = np.array(bounds, dtype=float).reshape(-1, 2).T
    return go.Scatter(
        mode="markers",
        x=rounded(x),
        y=list(names),
        customdata=rounded(np.stack([lower, upper], axis=1), 3),
        error_x={
            "symmetric": False,
            "array": rounded(upper - x),
            "arrayminus": rounded(x - lower),
            "color": color,
            "thickness": 1.5,
            "width": 4,
        },
        marker={"color": color, "size": 8},
        hovertemplate=f"%{{y}}<br>{what} %{{x:{format}}}<br>95 % interval %{{customdata[0]}} to "
        "%{customdata[1]}<extra></extra>",
    )


def vertical_line(x: float) -> Figure:
    """A dotted line through all rows."""
    line = {"color": GRAY, "width": 1, "dash": "dot"}
    return {"type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": line}


def category_axis(title: str, **properties: Any) -> Figure:  # Any: properties of plotly
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


def plotly_text(label: str) -> str:
    """A label that plotly shows as it is, and whose writing direction ends with it.

    plotly interprets tags, entities and ``%{...}``; a word joiner disarms the last one.

    Example:
        >>> plotly_text("<b>&")[1:-1]
        '&lt;b&gt;&amp;'
    """
    safe = escape(label, quote=False).replace("%{", "%\u2060{")
    return f"\u2068{safe}\u2069"
