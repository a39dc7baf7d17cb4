"""An inspection as one HTML file that works offline: figures with their units, tables and notes."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any
from unicodedata import east_asian_width

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from splinelens.features.slicing import Cell, TextSlice
from splinelens.features.token_report import TokenReport
from splinelens.geometry.settings import SPLINE7, THRESHOLDS
from splinelens.report.card import layer_ranges
from splinelens.report.inspection import (
    Inspection,
    characters,
    dimension_sums,
    distance_table,
    layer_table,
    token_labels,
)
from splinelens.report.page import render_page
from splinelens.report.plots import (
    GRAY,
    SERIES,
    Figure,
    Scale,
    category_axis,
    figure,
    plotly_text,
    rounded,
)
from splinelens.report.tables import count_of, shorten
from splinelens.texts.plain_text import readable, visible

TITLES = {
    "sign_mean": "sign fraction, mean",
    "sign_min": "sign fraction, smallest",
    "sign_max": "sign fraction, largest",
    "sign_std": "sign fraction, std. deviation",
    "boundary_min": "boundary distance, smallest",
    "boundary_mean": "boundary distance, mean",
    "boundary_std": "boundary distance, std. deviation",
}

_EXTREMES = {
    "sign_min": ("sign", np.argmin),
    "sign_max": ("sign", np.argmax),
    "boundary_min": ("boundary", np.argmin),
}
_BETWEEN = "#8a4fc4"
_DEPTH = ("#7a5cd6", "#c0449a", "#d9a521")  # of layers, first to last; no color of a text
_ROW, _MAP, _PANEL = 13, (150, 560), 210  # pixels
_TICK = 14  # characters of a token's label below a figure


def inspection_html(inspection: Inspection) -> str:
    """One HTML file that needs no other file.

    Raises:
        CannotWrite: plotly is not installed.
    """
    view, scales = inspection.slice, color_scales(inspection)
    softmax = [
        str(at)
        for at in range(len(inspection.layers))
        if np.isfinite(dimension_sums(inspection.texts[0], 0)[at]).all()
    ]
    return render_page(
        "inspection",
        data=_data(inspection),
        inspection=inspection,
        title=shorten(readable(inspection.texts[0].text), 60),
        about=(
            inspection.model,
            f"{count_of(len(inspection.layers), 'layer')} ({layer_ranges(inspection.layers)})",
            count_of(inspection.neurons, "neuron"),
            count_of(inspection.heads, "head"),
            f"eps {inspection.eps:g}",
        ),
        links=_links(inspection, scales),
        pieces=[list(token_pieces(text)) for text in inspection.texts],
        softmax_layers=softmax,
        titles=TITLES,
        thresholds=THRESHOLDS,
        colors={"series": SERIES, "between": _BETWEEN, "depth": _DEPTH},
        points=_points(view) if view else [],
        views=[*(f"near {shorten(label, 28)}" for label in view.labels), "whole window"] if view else [],
        layer_tables=[layer_table(text) for text in inspection.texts],
        distances=None if inspection.text_distance is None else distance_table(inspection),
        count_of=count_of,
    )


def inspection_figures(inspection: Inspection) -> dict[str, Figure]:
    """Every figure by name; those of one text end in its number, such as ``sign-0``."""
    scales, layers = color_scales(inspection), [str(layer) for layer in inspection.layers]
    drawn: dict[str, Figure] = {}
    for number, text in enumerate(inspection.texts):
        drawn[f"sign-{number}"] = _token_map(number, text, [_sign(text, scales["sign"])], layers)
        drawn[f"boundary-{number}"] = _token_map(number, text, [_boundary(text, scales["boundary"])], layers)
        if THRESHOLDS[0] in scales:
            drawn[f"dimension-{number}"] = _token_map(number, text, _dimension(text, scales), layers)
            drawn[f"heads-{number}"] = _heads(number, text, inspection.heads, scales)
        if inspection.percentiles is not None:
            shares = inspection.percentiles[number]
            drawn[f"percentiles-{number}"] = _percentiles(text, shares, scales["percentiles"], layers)
        if inspection.prefixes is not None:
            drawn |= _prefixes(number, inspection, layers)
    drawn |= _feature_curves(inspection.texts, layers)
    if inspection.text_distance is not None:
        drawn["text_distance"] = _distances(inspection, layers)
    if inspection.slice is not None:
        drawn["slice"] = _slice(inspection.slice)
    return drawn


def color_scales(inspection: Inspection) -> dict[str, Scale]:
    """The scale of each kind of heat map, the same for both texts.

    Signs are trimmed at the 5th and 95th percentile, because the first layer is often far from the others.
    Relative dimensions are logarithmic: they have no upper limit, and a few layers reach far above the rest.
    Without softmax attention there are no scales of the dimension.
    """
    texts = inspection.texts
    distances = [text.boundary for text in texts]
    scales = {
        "sign": Scale.of([text.sign for text in texts], "Viridis", "share of neurons", trim=0.05),
        "boundary": Scale.of(distances, "Magma_r", "distance", log=True),
        "percentiles": Scale("RdBu_r", 0, 100, "percentile"),
    }
    for number, name in enumerate(THRESHOLDS):
        sums, log = [dimension_sums(text, number) for text in texts], name == "relative"
        heads = [np.where(text.dimension[number] < 0, np.nan, text.dimension[number]) for text in texts]
        if any(np.isfinite(array).any() for array in sums):
            scales[name] = Scale.of(sums, "ice", "vertices, all heads", log=log, whole=True)
            scales[f"heads-{name}"] = Scale.of(heads, "ice", "vertices, one head", log=log, whole=True)
    return scales


def token_pieces(text: TokenReport) -> Iterator[tuple[str, str, list[tuple[str, bool]]]]:
    """The text in its tokens, with a character that several tokens share once.

    Yields:
        Numbers of the tokens, in words, and the pieces: characters, and whether they are symbols that stand
        for unprintable ones. Text that belongs to no token has no numbers.
    """
    end = 0
    for group in characters(text):
        begin, last = text.spans[group[0]][0], text.spans[group[-1]][1]
        if begin > end:
            yield "", "", _segments(text.text[end:begin])
        words = f"token {group[0]}" if len(group) == 1 else f"tokens {group[0]} to {group[-1]}"
        yield " ".join(map(str, group)), words, _segments(text.text[max(begin, end) : last]) or [("∅", True)]
        end = max(end, last)
    if end < len(text.text):
        yield "", "", _segments(text.text[end:])


def _segments(piece: str) -> list[tuple[str, bool]]:
    """Spaces and breaks stay, a break after a symbol; other unprintable characters become symbols."""
    shown = [_shown(character) for character in piece]
    return [
        ("".join(characters for characters, _ in run), symbol)
        for symbol, run in groupby(shown, key=lambda pair: pair[1])
    ]


def _shown(character: str) -> tuple[str, bool]:
    symbol = visible(character)
    if character in " \u200c\u200d" or symbol in (character, "◌" + character):
        return character, False
    return symbol + "\n" * (character == "\n"), True


def _links(inspection: Inspection, scales: dict[str, Scale]) -> dict[str, str]:
    titles = {
        "texts": "Text",
        "sign": "Sign fraction",
        "boundary": "Boundary distance",
        "dimension": THRESHOLDS[0] in scales and "Intrinsic dimension",
        "features": "Seven features",
        "text_distance": inspection.text_distance is not None and "Between texts",
        "prefixes": inspection.prefixes is not None and "Growing text",
        "slice": inspection.slice is not None and "Slice",
        "numbers": "Numbers and notes",
    }
    return {name: str(title) for name, title in titles.items() if title}


def _data(inspection: Inspection) -> dict[str, Any]:  # Any: JSON values
    labels = [token_labels(text) for text in inspection.texts]
    return {
        "layers": list(inspection.layers),
        "labels": [[plotly_text(f"{at} {label}") for at, label in enumerate(text)] for text in labels],
        "ticks": [[plotly_text(_tick(label)) for label in text] for text in labels],
        "dimension": [
            [[None if (layer < 0).any() else layer.tolist() for layer in counts] for counts in text.dimension]
            for text in inspection.texts
        ],
        "figures": inspection_figures(inspection),
    }


def _tick(label: str) -> str:
    return shorten(label.removeprefix("␣") or label, _TICK)


def _width(label: str) -> int:
    """Columns that a label takes: a wide character, such as a Chinese one, takes two."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in label)


def _token_map(
    number: int, text: TokenReport, traces: Sequence[go.Heatmap], rows: list[str], axis: str = "layer"
) -> Figure:
    """A heat map whose columns are tokens; the script adds their labels, for which room is left here."""
    for trace in traces:
        trace.y = rows
    room = 16 + round(5.8 * max((_width(_tick(label)) for label in token_labels(text)), default=0))
    return figure(
        traces,
        min(max(_ROW * len(rows), _MAP[0]), _MAP[1]) + room,
        {"showgrid": False, "automargin": False},
        category_axis(axis),
        margin={"l": 8, "r": 8, "t": 8, "b": room},
        meta={"text": number, "grid": True},
    )


def _sign(text: TokenReport, scale: Scale) -> go.Heatmap:
    return scale.heat_map(rounded(text.sign), hovertemplate=_hover("sign fraction %{z:.4~g}"))


def _boundary(text: TokenReport, scale: Scale) -> go.Heatmap:
    distances, walls = rounded(text.boundary), text.nearest_wall.tolist()
    pairs = [list(map(list, zip(*rows, strict=True))) for rows in zip(distances, walls, strict=True)]
    words = "boundary distance %{customdata[0]:.4~g}<br>to the wall of neuron %{customdata[1]}"
    return scale.heat_map(scale.values(text.boundary), customdata=pairs, hovertemplate=_hover(words))


def _dimension(text: TokenReport, scales: dict[str, Scale]) -> list[go.Heatmap]:
    traces = []
    for number, name in enumerate(THRESHOLDS):
        counts = text.dimension[number].sum(axis=1)
        words, details = f"intrinsic dimension, {name}: %{{customdata}}", counts.tolist()
        if name == "relative":
            words = f"intrinsic dimension, {name}: %{{customdata[0]}}<br>"
            words += "dimension of the hull at most %{customdata[1]}"
            details = np.stack([counts, text.bound], axis=2).tolist()
        scale = scales[name]
        traces.append(
            scale.heat_map(
                scale.values(dimension_sums(text, number)),
                customdata=details,
                hovertemplate=_hover(words),
                visible=number == 0,
                name=name,
            )
        )
    return traces


def _heads(number: int, text: TokenReport, heads: int, scales: dict[str, Scale]) -> Figure:
    """Without numbers: the page holds those of all layers, and its script inserts those of one."""
    traces = [
        scales[f"heads-{name}"].heat_map(
            [],
            hovertemplate=_hover(f"intrinsic dimension, {name}: %{{customdata}}", "head %{y}"),
            meta={"log": scales[f"heads-{name}"].log},
            visible=name == THRESHOLDS[0],
            name=name,
        )
        for name in THRESHOLDS
    ]
    return _token_map(number, text, traces, [str(head) for head in range(heads)], "head")


def _percentiles(text: TokenReport, shares: np.ndarray, scale: Scale, layers: list[str]) -> Figure:
    trace = scale.heat_map(
        rounded(shares.T),
        x=layers,
        y=list(SPLINE7),
        customdata=rounded(text.seven.T),
        hovertemplate="%{y} %{customdata:.4~g}<br>layer %{x}<br>percentile %{z:.3~g}<extra></extra>",
    )
    y = category_axis("", autorange="reversed")
    return figure([trace], _PANEL + 30, category_axis("layer", nticks=8), y)


def _prefixes(number: int, inspection: Inspection, layers: list[str]) -> dict[str, Figure]:
    assert inspection.prefixes is not None  # the caller checked
    prefixes, drawn = inspection.prefixes[number], {}
    colors = sample_colorscale(list(_DEPTH), np.linspace(0, 1, max(2, len(layers))).tolist())
    for at, name in enumerate(SPLINE7):
        axis, lowest = prefix_axis(
            [array[..., at] for array in inspection.prefixes], name.startswith("boundary")
        )
        lines = [
            go.Scatter(
                mode="lines" if prefixes.shape[1] > 1 else "markers",
                name=f"layer {layer}",
                x=list(range(1, prefixes.shape[1] + 1)),
                y=rounded(np.maximum(prefixes[row, :, at], lowest)),
                customdata=rounded(prefixes[row, :, at]),
                line={"color": colors[row], "width": 1.2},
                hovertemplate=f"the first %{{x}} tokens, to %{{text}}<br>layer {layer}<br>"
                f"{TITLES[name]} %{{customdata:.4~g}}<extra></extra>",
            )
            for row, layer in enumerate(layers)
        ]
        x = {"title": {"text": "tokens"}}
        drawn[f"prefixes-{name}-{number}"] = figure(lines, _PANEL, x, axis, meta={"text": number})
    return drawn


def prefix_axis(arrays: Sequence[np.ndarray], log: bool) -> tuple[Figure, float]:
    """The axis of every finite number of some arrays; logarithmic only if one is above 0.

    Returns:
        The axis, and the number that smaller ones are drawn as: half the smallest above 0 on a logarithmic
        axis, minus infinity on a linear one.

    Example:
        >>> prefix_axis([np.array([0.0, 0.02, 1.0])], log=True)[1]
        0.01
    """
    values = np.concatenate([array.ravel() for array in arrays]).astype(float)
    values = values[np.isfinite(values)]
    if not values.size:
        return {}, -math.inf
    axis: Figure = {}
    low, high, lowest = float(values.min()), float(values.max()), -math.inf
    if log and high > 0:
        lowest, axis = float(values[values > 0].min()) / 2, {"type": "log"}
        low, high = math.log10(max(low, lowest)), math.log10(high)
        ticks = (10 ** np.linspace(low, high, 4)).tolist()  # plotly's own pile up where the range is narrow
        axis |= {"tickvals": ticks, "ticktext": [f"{tick:.3g}" for tick in ticks]}
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return {**axis, "range": [low - room, high + room]}, lowest


def _feature_curves(texts: Sequence[TokenReport], layers: list[str]) -> dict[str, Figure]:
    """A curve per text over the layers, for each feature; extremes name the token that reached them."""
    names = [f"text {number}" for number, _ in enumerate(texts, start=1)] if len(texts) > 1 else [""]
    values = {name: [text.seven[:, at] for text in texts] for at, name in enumerate(SPLINE7)}
    values["regions"] = [text.regions for text in texts]
    drawn = {}
    for name, curves_of in values.items():
        curves = [_curve(layers, curves_of[at], names[at], SERIES[at]) for at in range(len(texts))]
        for curve, text in zip(curves, texts, strict=True):
            if name in _EXTREMES:
                quantity, where = _EXTREMES[name]
                tokens, labels = where(getattr(text, quantity), axis=1), token_labels(text)
                curve.text = [plotly_text(f"{token} {labels[token]}") for token in tokens.tolist()]
                curve.hovertemplate = curve.hovertemplate.replace("<extra>", "<br>at token %{text}<extra>")
        y = {"rangemode": "tozero"} if name == "regions" else {}
        drawn[name] = figure(curves, _PANEL, category_axis("layer", nticks=8), y)
    return drawn


def _curve(layers: list[str], values: np.ndarray, name: str, color: str, width: float = 1.6) -> go.Scatter:
    return go.Scatter(
        mode="lines+markers",
        x=layers,
        y=rounded(values),
        line={"color": color, "width": width},
        marker={"size": 4, "symbol": "square" if color == SERIES[1] else "circle"},
        hovertemplate=f"{name}<br>" * bool(name) + "layer %{x}<br>%{y:.4~g}<extra></extra>",
    )


def _distances(inspection: Inspection, layers: list[str]) -> Figure:
    """The distance between two texts, and as thin lines that of each text to itself."""
    assert inspection.text_distance is not None  # the caller checked
    selves = () if inspection.self_distance is None else inspection.self_distance
    lines = [
        _curve(layers, values, f"text {number + 1} to itself", SERIES[number], width=1)
        for number, values in enumerate(selves)
    ]
    lines.append(_curve(layers, inspection.text_distance, "text 1 to text 2", _BETWEEN, width=2))
    return figure(lines, _PANEL, category_axis("layer", nticks=8), {"rangemode": "tozero"})


def _points(view: TextSlice) -> list[tuple[str, str, str]]:
    """Color, label and remark of each point of a slice."""
    remarks = {
        number: f" (in the same region as {view.labels[earlier]})"
        for number, earlier in view.same_cell().items()
    }
    return [(SERIES[at], label, remarks.get(at, "")) for at, label in enumerate(view.labels)]


def _slice(view: TextSlice) -> Figure:
    labels, shared = [readable(label) for label in view.labels], view.same_cell()
    cells = [
        _cell(None if number in shared else cell, SERIES[number]) for number, cell in enumerate(view.cells)
    ]
    points = go.Scatter(
        mode="markers",
        x=rounded(view.points[:, 0], 8),
        y=rounded(view.points[:, 1], 8),
        marker={"color": list(SERIES), "size": 9, "line": {"color": "#fff", "width": 1.5}},
        text=[plotly_text(label) for label in labels],
        hovertemplate=f"%{{text}}<br>layer {view.layer}<br>(%{{x:.4~g}}, %{{y:.4~g}})<extra></extra>",
    )
    shared_note = {"showarrow": False, "yshift": 17, "borderpad": 1, "font": {"size": 12}}
    notes = [
        {"x": x, "y": y, "text": plotly_text(shorten(label, 28)), **shared_note}
        for (x, y), label in zip(view.points.tolist(), labels, strict=True)
    ]
    walls, views = _walls(view), _views(view)
    whole = {"width": walls.line.width, "opacity": walls.opacity}
    walls.update(line_width=1, opacity=1)  # the figure opens near the first point
    low_x, low_y, high_x, high_y = views[0]
    bare = {"zeroline": False, "showgrid": False, "constrain": "domain", "automargin": False}
    return figure(
        [walls, *cells, points],
        620,
        {"title": {"text": "units of the MLP's input"}, "range": [low_x, high_x], **bare},
        {"scaleanchor": "x", "range": [low_y, high_y], **bare},
        margin={"l": 40, "r": 8, "t": 8, "b": 44},
        annotations=notes,
        meta={"views": views, "whole": whole},
    )


def _walls(view: TextSlice) -> go.Scatter:
    """All walls as one line with gaps; each has points to hover over, also near the three points."""
    many, few = len(view.walls), len(view.walls) < 200
    begin, along = view.segments[:, 0], view.segments[:, 1] - view.segments[:, 0]
    length = np.maximum((along**2).sum(axis=1), 1e-300)
    nearest = ((view.points[None] - begin[:, None]) * along[:, None]).sum(axis=2) / length[:, None]
    even = np.broadcast_to(np.linspace(0, 1, 9 if few else 3), (len(begin), 9 if few else 3))
    shares = np.sort(np.concatenate([even, nearest.clip(0, 1)], axis=1), axis=1)
    points = begin[:, None] + shares[:, :, None] * along[:, None]
    points = np.concatenate([points, np.full((len(points), 1, 2), np.nan)], axis=1)
    return go.Scatter(
        mode="lines",
        x=rounded(points[..., 0].ravel(), 8),  # a region is small beside the plane
        y=rounded(points[..., 1].ravel(), 8),
        customdata=np.repeat(view.walls, points.shape[1]).tolist(),
        connectgaps=False,
        line={"color": GRAY, "width": 1 if few else 0.6},
        opacity=1 if few else max(0.35, 1 - many / 2000),
        hovertemplate="wall of neuron %{customdata}<extra></extra>",
    )


def _cell(corners: Cell | None, color: str) -> go.Scatter:
    closed = np.zeros((0, 2)) if corners is None else np.concatenate([corners, corners[:1]])
    return go.Scatter(
        mode="lines",
        x=rounded(closed[:, 0], 8),
        y=rounded(closed[:, 1], 8),
        fill="toself",
        fillcolor=f"{color}80",
        line={"color": color, "width": 1.5},
        hoverinfo="skip",
    )


def _views(view: TextSlice) -> list[list[float]]:
    """A window around each point that shows its region, then the whole; (low x, low y, high x, high y)."""
    views = []
    for point, cell in zip(view.points, view.cells, strict=True):
        reach = 3 * np.abs(cell - point).max()
        views.append([*(point - reach).tolist(), *(point + reach).tolist()])
    return [*views, list(view.box)]


def _hover(words: str, row: str = "layer %{y}") -> str:
    return f"token %{{text}}<br>{row}<br>{words}<extra></extra>"
