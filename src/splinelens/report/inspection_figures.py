"""The pictures of an inspection, as the plain data that plotly draws.

Each figure has one pair of axes, so that a page can put several side by side or below each other. Numbers
keep 4 significant digits. Texts come from strangers: what plotly would read as markup is escaped here.
"""

import math
from typing import Any

import numpy as np

from splinelens.geometry.attention import THRESHOLDS
from splinelens.geometry.partition import SPLINE7
from splinelens.report.inspection import Inspection, Portrait, SliceView, readable
from splinelens.report.inspection_plots import Figure, category_axis, framed, heat_map
from splinelens.report.inspection_scales import (
    BETWEEN,
    POINTS,
    TEXTS,
    Grown,
    Scale,
    depth_colour,
    scales,
)

TITLES = (
    "sign fraction, mean",
    "sign fraction, smallest",
    "sign fraction, largest",
    "sign fraction, std. deviation",
    "boundary distance, smallest",
    "boundary distance, mean",
    "boundary distance, std. deviation",
)
"""``SPLINE7`` in words."""

_REACHED = {1: ("sign", np.argmin), 2: ("sign", np.argmax), 4: ("boundary", np.argmin)}
_ROW, _PLOT, _PANEL = 13, (150, 560), 210  # pixels
_FEW = {"nticks": 8}  # so that 30 layers side by side do not touch


def figures(inspection: Inspection) -> dict[str, Figure]:
    """Every figure by name; those of a text end in its number, such as ``sign-0``.

    Args:
        inspection: The record.

    Returns:
        ``sign``, ``boundary``, ``dimension``, ``heads``, ``percentiles`` and, for each of the seven,
        ``prefixes-NAME`` of each text; the seven by their names, ``regions``, ``text_distance`` and
        ``slice``. What the record does not hold is left out.
    """
    shared, layers = scales(inspection), [str(layer) for layer in inspection.layers]
    made: dict[str, Figure] = {}
    for number, text in enumerate(inspection.portraits):
        made[f"sign-{number}"] = _map(number, [_sign(text, shared["sign"])], layers)
        made[f"boundary-{number}"] = _map(number, [_boundary(text, shared["boundary"])], layers)
        if THRESHOLDS[0] in shared:
            made[f"dimension-{number}"] = _map(number, _dimension(text, shared), layers)
            made[f"heads-{number}"] = _heads(number, inspection.heads, shared)
        if text.percentiles is not None:
            made[f"percentiles-{number}"] = _percentiles(text, shared["percentiles"], layers)
        if text.prefixes is not None:
            made |= _prefixes(number, inspection, layers)
    for place, name in enumerate(SPLINE7):
        made[name] = _curves(
            layers, [(text.seven[:, place], _reached(text, place)) for text in inspection.portraits]
        )
    made["regions"] = _curves(layers, [(text.regions, None) for text in inspection.portraits])
    if inspection.text_distance is not None:
        made["text_distance"] = _distances(inspection, layers)
    for name in ("regions", "text_distance"):
        if name in made:
            heights = [height or 0 for curve in made[name]["data"] for height in curve["y"]]
            made[name]["layout"]["yaxis"]["range"] = [0, 1.1 * max(heights, default=0) or 1]
    if inspection.slice is not None:
        made["slice"] = _slice(inspection.slice)
    return made


def rounded(array: np.ndarray) -> Any:  # Any: nested lists of numbers
    """Nested lists with 4 significant digits; None for what is not finite.

    Example:
        >>> rounded(np.array([[0.123456, np.inf]]))
        [[0.1235, None]]
    """
    if array.dtype.kind != "f":
        return array.tolist()
    flat = [float(f"{number:.4g}") if math.isfinite(number) else None for number in array.ravel().tolist()]
    return np.array(flat, dtype=object).reshape(array.shape).tolist()


def precise(array: np.ndarray) -> list[float | None]:
    """Places with 8 significant digits: a cell is small beside its plane."""
    return [float(f"{number:.8g}") if math.isfinite(number) else None for number in array.tolist()]


def cut(label: str, characters: int) -> str:
    """A label of at most so many characters, an ellipsis included.

    Example:
        >>> cut("Donaudampfschiff", 8)
        'Donauda…'
    """
    return label if len(label) <= characters else label[: characters - 1] + "…"


def escaped(label: str) -> str:
    """A label that plotly shows as it is, and whose direction of writing stays within it.

    plotly reads tags, entities and ``%{...}``; a word joiner takes the last one apart.

    Example:
        >>> escaped("<b>&")[1:-1]
        '&lt;b&gt;&amp;'
    """
    safe = label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "%\u2060{")
    return f"\u2068{safe}\u2069"


def _sign(text: Portrait, scale: Scale) -> Figure:
    return heat_map(rounded(text.sign), scale) | {"hovertemplate": _hover("sign fraction %{z:.4~g}")}


def _boundary(text: Portrait, scale: Scale) -> Figure:
    distances, walls = rounded(text.boundary), text.wall.tolist()
    pairs = [list(map(list, zip(*rows, strict=True))) for rows in zip(distances, walls, strict=True)]
    return heat_map(_coloured(text.boundary, scale), scale) | {
        "customdata": pairs,
        "hovertemplate": _hover(
            "boundary distance %{customdata[0]:.4~g}<br>to the wall of neuron %{customdata[1]}"
        ),
    }


def _dimension(text: Portrait, shared: dict[str, Scale]) -> list[Figure]:
    traces = []
    for number, name in enumerate(THRESHOLDS):
        counts = text.dimension[number].sum(axis=1)
        there = (text.dimension[number] >= 0).all(axis=1)
        trace = heat_map(_coloured(np.where(there, counts, np.nan), shared[name]), shared[name])
        words = f"intrinsic dimension, {name}: %{{customdata}}"
        trace["customdata"] = counts.tolist()
        if name == "relative":
            trace["customdata"] = np.stack([counts, text.bound], axis=2).tolist()
            words = words.replace("}", "[0]}") + "<br>its hull has at most %{customdata[1]} dimensions"
        traces.append(trace | {"hovertemplate": _hover(words), "visible": number == 0, "name": name})
    return traces


def _heads(number: int, heads: int, shared: dict[str, Scale]) -> Figure:
    """Without numbers: the page holds those of all layers and puts in the ones of the layer chosen."""
    traces = [
        heat_map([], shared[f"heads-{name}"])
        | {
            "hovertemplate": _hover(f"intrinsic dimension, {name}: %{{customdata}}", "head %{y}"),
            "meta": {"log": shared[f"heads-{name}"].log},
            "visible": name == THRESHOLDS[0],
            "name": name,
        }
        for name in THRESHOLDS
    ]
    return _map(number, traces, [str(head) for head in range(heads)], "head")


def _percentiles(text: Portrait, scale: Scale, layers: list[str]) -> Figure:
    assert text.percentiles is not None
    trace = heat_map(rounded(text.percentiles.T), scale) | {
        "x": layers,
        "y": list(SPLINE7),
        "customdata": rounded(text.seven.T),
        "hovertemplate": "%{y} %{customdata:.4~g}<br>layer %{x}<br>percentile %{z:.3~g}<extra></extra>",
    }
    layout = framed(_PANEL + 30, category_axis("layer") | _FEW, category_axis(""))
    layout["yaxis"]["autorange"] = "reversed"
    return {"data": [trace], "layout": layout}


def _prefixes(number: int, inspection: Inspection, layers: list[str]) -> dict[str, Figure]:
    made = {}
    every = [text.prefixes for text in inspection.portraits if text.prefixes is not None]
    prefixes = inspection.portraits[number].prefixes
    assert prefixes is not None
    for place, name in enumerate(SPLINE7):
        grown = Grown.of([array[..., place] for array in every], name.startswith("boundary"))
        lines = [
            {
                "type": "scatter",
                "mode": "lines" if prefixes.shape[1] > 1 else "markers",
                "name": f"layer {layer}",
                "x": list(range(1, prefixes.shape[1] + 1)),
                "y": rounded(grown.drawn(prefixes[at, :, place])),
                "customdata": rounded(prefixes[at, :, place]),
                "line": {"color": depth_colour(at / max(1, len(layers) - 1)), "width": 1.2},
                "hovertemplate": f"the first %{{x}} tokens, to %{{text}}<br>layer {layer}<br>"
                f"{TITLES[place]} %{{customdata:.4~g}}<extra></extra>",
            }
            for at, layer in enumerate(layers)
        ]
        layout = framed(_PANEL, {"title": {"text": "tokens"}, "rangemode": "tozero"}, grown.axis)
        layout |= {"meta": {"portrait": number}, "hovermode": "closest"}
        made[f"prefixes-{name}-{number}"] = {"data": lines, "layout": layout}
    return made


def _curves(layers: list[str], curves: list[tuple[np.ndarray, tuple[Portrait, np.ndarray] | None]]) -> Figure:
    """One curve a text over the layers; the token that reached a number is named where it is known."""
    traces = []
    for number, (values, reached) in enumerate(curves):
        whose = f"text {number + 1}<br>" if len(curves) > 1 else ""
        trace: Figure = {
            "type": "scatter",
            "mode": "lines+markers",
            "x": layers,
            "y": rounded(values),
            "line": {"color": TEXTS[number], "width": 1.6},
            "marker": {"size": 4, "symbol": ("circle", "square")[number]},
            "hovertemplate": f"{whose}layer %{{x}}<br>%{{y:.4~g}}<extra></extra>",
        }
        if reached is not None:
            text, tokens = reached
            labels = text.labels()
            trace["text"] = [escaped(f"{token} {labels[token]}") for token in tokens.tolist()]
            trace["hovertemplate"] = (
                f"{whose}layer %{{x}}<br>%{{y:.4~g}}<br>at token %{{text}}<extra></extra>"
            )
        traces.append(trace)
    layout = framed(_PANEL, category_axis("layer") | _FEW, {})
    return {"data": traces, "layout": layout | {"hovermode": "closest"}}


def _distances(inspection: Inspection, layers: list[str]) -> Figure:
    """The distance between two texts over the layers, and thin beside it that of each text to itself."""
    between, own = inspection.text_distance, inspection.own_distance
    assert between is not None
    made = _curves(layers, [(values, None) for values in (() if own is None else own)])
    for number, line in enumerate(made["data"], start=1):
        line |= {"mode": "lines", "line": line["line"] | {"width": 1}}
        line["hovertemplate"] = f"text {number} to itself<br>layer %{{x}}<br>%{{y:.4~g}}<extra></extra>"
    (line,) = _curves(layers, [(between, None)])["data"]
    line |= {"line": {"color": BETWEEN, "width": 2}}
    line["hovertemplate"] = "text 1 to text 2<br>layer %{x}<br>%{y:.4~g}<extra></extra>"
    return made | {"data": [*made["data"], line]}


def _reached(text: Portrait, place: int) -> tuple[Portrait, np.ndarray] | None:
    if place not in _REACHED:
        return None
    quantity, where = _REACHED[place]
    return text, where(getattr(text, quantity), axis=1)


def _slice(view: SliceView) -> Figure:
    labels = [readable(label) for label in view.labels]
    own = [
        _cell(None if number in twins(view) else cell, POINTS[number]) for number, cell in enumerate(view.own)
    ]
    points = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [x],
            "y": [y],
            "marker": {"color": colour, "size": 9, "line": {"color": "#fff", "width": 1.5}},
            "text": [escaped(label)],
            "hovertemplate": f"%{{text}}<br>layer {view.layer}<br>(%{{x:.4~g}}, %{{y:.4~g}})<extra></extra>",
        }
        for (x, y), label, colour in zip(view.places.tolist(), labels, POINTS, strict=True)
    ]
    notes = [
        {
            "x": x,
            "y": y,
            "text": escaped(cut(label, 28)),
            "showarrow": False,
            "yshift": 17,
            "borderpad": 1,
            "font": {"size": 12},
        }
        for (x, y), label in zip(view.places.tolist(), labels, strict=True)
    ]
    low_x, low_y, high_x, high_y = view.box
    x = {"title": {"text": "units of the MLP's input"}, "range": [low_x, high_x]}
    y = {"scaleanchor": "x", "range": [low_y, high_y]}
    rest = {"zeroline": False, "showgrid": False, "constrain": "domain", "automargin": False}
    layout = framed(620, x | rest, y | rest)
    layout["margin"] |= {"l": 40, "b": 44}
    layout |= {"hovermode": "closest", "annotations": notes, "meta": {"views": _views(view)}}
    return {"data": [_walls(view), *own, *points], "layout": layout}


def twins(view: SliceView) -> dict[int, int]:
    """The points that lie in the cell of an earlier one, and which that is."""
    found: dict[int, int] = {}
    for number, cell in enumerate(view.own):
        for earlier, other in enumerate(view.own[:number]):
            if cell is not None and other is not None and np.array_equal(cell, other):
                found.setdefault(number, earlier)
    return found


def _walls(view: SliceView) -> Figure:
    """All walls as one line with gaps; each has points to hover over, near the three places too."""
    many = len(view.walls)
    few = many < 200
    begin, along = view.segments[:, 0], view.segments[:, 1] - view.segments[:, 0]
    length = np.maximum((along**2).sum(axis=1), 1e-300)
    nearest = ((view.places[None] - begin[:, None]) * along[:, None]).sum(axis=2) / length[:, None]
    even = np.broadcast_to(np.linspace(0, 1, 9 if few else 3), (len(begin), 9 if few else 3))
    shares = np.sort(np.concatenate([even, nearest.clip(0, 1)], axis=1), axis=1)
    points = begin[:, None] + shares[:, :, None] * along[:, None]
    points = np.concatenate([points, np.full((len(points), 1, 2), np.nan)], axis=1)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": precise(points[..., 0].ravel()),
        "y": precise(points[..., 1].ravel()),
        "customdata": np.repeat(view.walls, points.shape[1]).tolist(),
        "connectgaps": False,
        "line": {"color": "#8a8f98", "width": 1 if few else 0.6},
        "opacity": 1 if few else max(0.35, 1 - many / 2000),
        "hovertemplate": "wall of neuron %{customdata}<extra></extra>",
    }


def _cell(corners: np.ndarray | None, colour: str) -> Figure:
    closed = np.zeros((0, 2)) if corners is None else np.concatenate([corners, corners[:1]])
    return {
        "type": "scatter",
        "mode": "lines",
        "x": precise(closed[:, 0]),
        "y": precise(closed[:, 1]),
        "fill": "toself",
        "fillcolor": f"{colour}80",
        "line": {"color": colour, "width": 1.5},
        "hoverinfo": "skip",
    }


def _views(view: SliceView) -> list[list[float]]:
    """The window, and one around each point that shows its cell; as (low x, low y, high x, high y)."""
    low_x, low_y, high_x, high_y = view.box
    views = [list(view.box)]
    for place, cell in zip(view.places, view.own, strict=True):
        reach = 0.05 * max(high_x - low_x, high_y - low_y) if cell is None else 3 * np.abs(cell - place).max()
        views.append([*(place - reach).tolist(), *(place + reach).tolist()])
    return views


def _map(portrait: int, traces: list[Figure], rows: list[str], axis: str = "layer") -> Figure:
    """A heat map whose columns are tokens; the page puts the labels of the tokens in."""
    height = min(max(_ROW * len(rows), _PLOT[0]), _PLOT[1])  # the page adds room for the labels
    layout = framed(height, {"showgrid": False, "automargin": False}, category_axis(axis))
    layout["meta"] = {"portrait": portrait, "grid": True}
    return {"data": [trace | {"y": rows} for trace in traces], "layout": layout}


def _hover(words: str, row: str = "layer %{y}") -> str:
    return f"token %{{text}}<br>{row}<br>{words}<extra></extra>"


def _coloured(numbers: np.ndarray, scale: Scale) -> Any:  # Any: nested lists of numbers
    """Where numbers stand on their colour scale; 0 at the low end of a logarithmic one."""
    if not scale.log:
        return rounded(numbers.astype(float))
    with np.errstate(divide="ignore"):
        return rounded(np.maximum(np.log10(numbers.astype(float)), scale.low))
