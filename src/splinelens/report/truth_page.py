"""A comparison of truthfulness scores as one HTML file that works offline; the page holds no text."""

import numpy as np
import plotly.graph_objects as go

from splinelens.report.page import render_page
from splinelens.report.plots import (
    GRAY,
    SERIES,
    Figure,
    figure,
    interval_dots,
    plotly_text,
    rounded,
    vertical_line,
)
from splinelens.report.tables import Table
from splinelens.report.truth import (
    TEXT_ONLY,
    TruthReport,
    curve_table,
    group_table,
    left_out_lines,
    rival_table,
)

_HEIGHT, _ROW = 300, 26  # pixels


def truth_html(report: TruthReport) -> str:
    """One HTML file that needs no other file.

    Raises:
        CannotWrite: plotly is not installed.
    """
    keys = ("splinelens", "torch", "device", "data_hash")
    provenance = [(key, str(report.provenance[key])) for key in keys if key in report.provenance]
    provenance += [(key, str(value)) for key, value in report.settings.items()]
    return render_page(
        "truth",
        data={"figures": {"rivals": _rivals(report), "dimension": _dimension(report), "lid": _lid(report)}},
        about=(report.source, f"{report.rows:,} rows, {report.true:,} of them true", report.model),
        links={"verdict": "Verdict", "scores": "Scores", "layers": "Layers", "notes": "Notes"},
        report=report,
        rivals=rival_table(report),
        groups=group_table(report) if report.groups else None,
        curve=curve_table(report.curve),
        left_out=left_out_lines(report),
        colors=SERIES,
        provenance=Table(("provenance", "value"), provenance),
    )


def _rivals(report: TruthReport) -> Figure:
    """The AUC of each score with its interval; a dotted line at the best from text only."""
    traces = []
    for color, is_text in zip(SERIES, (True, False), strict=False):
        chosen = [rival for rival in report.rivals if (rival.kind == TEXT_ONLY) == is_text]
        traces.append(
            interval_dots(
                [plotly_text(rival.name) for rival in chosen],
                [rival.auc for rival in chosen],
                [rival.interval for rival in chosen],
                color,
                "AUC",
                ".3f",
            )
        )
    shapes = [vertical_line(report.best_text.auc)]
    names = [plotly_text(rival.name) for rival in report.rivals]
    y = {"type": "category", "categoryarray": names, "autorange": "reversed", "showgrid": False}
    x = {"title": {"text": "AUC"}, "zeroline": False}
    return figure(traces, 70 + _ROW * len(names), x, y, shapes=shapes)


def _dimension(report: TruthReport) -> Figure:
    """The intrinsic dimension of true texts at each layer, and the layer of its first peak."""
    curve = report.curve
    line = _line(curve.layers, curve.two_nn, "dimension")
    peak = go.Scatter(
        mode="markers",
        x=[curve.peak],
        y=rounded(np.array([curve.two_nn[curve.layers.index(curve.peak)]])),
        marker={"color": SERIES[1], "size": 12, "symbol": "diamond"},
        hovertemplate="first peak: layer %{x}<br>dimension %{y:.4~g}<extra></extra>",
    )
    return figure(
        [line, peak], _HEIGHT, _layers(), {"title": {"text": "dimension (TwoNN)"}, "rangemode": "tozero"}
    )


def _lid(report: TruthReport) -> Figure:
    """The AUC of the local dimension at each layer; dotted lines at chance and the best from text only."""
    curve, dotted = report.curve, {"color": GRAY, "width": 1, "dash": "dot"}
    ends = [curve.layers[0], curve.layers[-1]]
    flat = [
        go.Scatter(mode="lines", x=ends, y=[level, level], line=dotted, hoverinfo="skip")
        for level in (0.5, round(report.best_text.auc, 4))
    ]
    return figure(
        [_line(curve.layers, curve.lid_auc, "AUC"), *flat],
        _HEIGHT,
        _layers(),
        {"title": {"text": "AUC of LID"}},
    )


def _line(layers: tuple[int, ...], values: tuple[float, ...], name: str) -> go.Scatter:
    return go.Scatter(
        mode="lines+markers",
        x=list(layers),
        y=rounded(np.array(values)),
        line={"color": SERIES[0], "width": 2},
        marker={"size": 5},
        hovertemplate=f"layer %{{x}}<br>{name} %{{y:.4~g}}<extra></extra>",
    )


def _layers() -> Figure:
    return {"title": {"text": "layer"}, "zeroline": False}
