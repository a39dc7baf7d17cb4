"""An audit as one HTML file that works offline; answers, where they were kept, stay hidden until opened."""

from typing import Any

import numpy as np
import plotly.graph_objects as go

from splinelens.detect.association import LEVEL
from splinelens.report.audit import (
    AuditReport,
    Comparison,
    association_table,
    comparison_table,
    contrast_table,
    kind_table,
    p_words,
    prompt_table,
    shift_table,
)
from splinelens.report.page import render_page
from splinelens.report.plots import GRAY, Figure, category_axis, figure, rounded
from splinelens.report.tables import Table

COLORS = {
    "none": GRAY,
    "related": "#e0662a",
    "unrelated": "#2f7ed8",
    "neutral": "#1f9e6e",
    "random": "#a05fc4",
    "repeated": "#c79a1b",
}
"""The color of each kind of context."""

_HEIGHT = 380  # pixels
_OUTCOMES = ("#e0662a", "#2f7ed8", "#1f9e6e", "#a05fc4")


def audit_html(report: AuditReport) -> str:
    """One HTML file that needs no other file.

    Raises:
        CannotWrite: plotly is not installed.
    """
    kinds = [kind.kind for kind in report.kinds]
    compared = report.comparison
    return render_page(
        "audit",
        data={"figures": audit_figures(report)},
        report=report,
        about=(report.model, report.prompts, f"{len(report.points):,} trials"),
        links=_links(report),
        keys=[(COLORS[kind], kind) for kind in kinds],
        outcomes=list(zip(_OUTCOMES, report.associations, strict=False)),
        level=LEVEL,
        last=f"{report.last_layers[0]} to {report.last_layers[-1]}",
        kinds=kind_table(report),
        contrasts=contrast_table(report.contrasts),
        associations=association_table(report.associations),
        prompts=prompt_table(report),
        compared=compared and comparison_table(compared),
        shifts=compared and shift_table(compared),
        answers=[point for point in report.points if point.answer is not None],
        provenance=Table(("provenance", "value"), _flat(report.provenance)),
    )


def audit_figures(report: AuditReport) -> dict[str, Figure]:
    """Every figure by name."""
    figures = {"length": _length(report), "layers": _layers(report)}
    if report.varied:
        figures["correlations"] = _correlations(report)
    if report.comparison is not None and report.comparison.layers:
        figures["shifts"] = _shifts(report.comparison)
    return figures


def _links(report: AuditReport) -> dict[str, str]:
    titles = {
        "findings": "Findings",
        "kinds": "By context",
        "length": "ID and length",
        "layers": "By layer",
        "beyond": report.associations and "Beyond length",
        "compared": report.comparison is not None and "Second model",
        "prompts": "By prompt",
        "answers": any(point.answer is not None for point in report.points) and "Answers",
        "notes": "Notes",
    }
    return {name: str(title) for name, title in titles.items() if title}


def _length(report: AuditReport) -> Figure:
    """Intrinsic dimension against length, a point a trial: figure 2 of the paper, for any two kinds."""
    traces = []
    for kind in (summary.kind for summary in report.kinds):
        points = [point for point in report.points if point.kind == kind]
        traces.append(
            go.Scatter(
                mode="markers",
                x=[point.tokens for point in points],
                y=rounded(np.array([point.relative for point in points])),
                marker={
                    "color": COLORS[kind],
                    "size": 7,
                    "opacity": 0.75,
                    "symbol": ["x" if point.refusal == "refused" else "circle" for point in points],
                },
                customdata=[[point.prompt, point.refusal] for point in points],
                hovertemplate=f"{kind}, prompt %{{customdata[0]}}<br>%{{x}} tokens, ID %{{y:.1f}}<br>"
                "%{customdata[1]}<extra></extra>",
            )
        )
    return figure(
        traces,
        _HEIGHT,
        {"title": {"text": "tokens before the answer"}, "zeroline": False},
        {"title": {"text": "intrinsic dimension, last layers"}, "zeroline": False},
    )


def _layers(report: AuditReport) -> Figure:
    """Mean intrinsic dimension of each layer, a line a kind."""
    traces = []
    for kind in (summary.kind for summary in report.kinds):
        traces.append(
            go.Scatter(
                mode="lines+markers",
                x=[str(layer.layer) for layer in report.layers],
                y=rounded(np.array([layer.relative[kind] for layer in report.layers])),
                line={"color": COLORS[kind], "width": 2},
                marker={"size": 4},
                customdata=[[layer.absolute[kind], layer.bound[kind]] for layer in report.layers],
                hovertemplate=f"{kind}, layer %{{x}}<br>relative %{{y:.1f}}, absolute "
                "%{customdata[0]:.1f}<br>bound %{customdata[1]:.1f}<extra></extra>",
            )
        )
    return figure(
        traces, _HEIGHT, category_axis("layer"), {"title": {"text": "intrinsic dimension"}, "zeroline": False}
    )


def _correlations(report: AuditReport) -> Figure:
    """Partial correlation of each layer's dimension with each outcome; filled if it is not chance."""
    traces = []
    for color, outcome in zip(_OUTCOMES, report.associations, strict=False):
        values = [layer.correlation[outcome] for layer in report.layers]
        tests = [layer.p_value[outcome] for layer in report.layers]
        significant = [p is not None and p <= LEVEL for p in tests]
        traces.append(
            go.Scatter(
                mode="lines+markers",
                x=[str(layer.layer) for layer in report.layers],
                y=rounded(np.array([np.nan if value is None else value for value in values])),
                line={"color": color, "width": 1.5},
                marker={"size": 9, "symbol": ["circle" if yes else "circle-open" for yes in significant]},
                customdata=[[p_words(p)] for p in tests],
                hovertemplate=f"{outcome}, layer %{{x}}<br>correlation %{{y:.2f}}<br>p: %{{customdata[0]}}"
                "<extra></extra>",
            )
        )
    axis = {"title": {"text": "partial correlation"}, "range": [-1, 1], "zeroline": True}
    return figure(traces, _HEIGHT, category_axis("layer"), axis)


def _shifts(comparison: Comparison) -> Figure:
    """Relative change of the stream after each layer, on a logarithmic axis; 0 stands at its foot."""
    values = np.array([shift.stream for shift in comparison.layers])
    foot = min(comparison.tolerance / 10, *(value for value in values if value > 0), 1.0)
    layers = [str(shift.layer) for shift in comparison.layers]
    line = go.Scatter(
        mode="lines+markers",
        x=layers,
        y=rounded(np.maximum(values, foot)),
        line={"color": _OUTCOMES[0], "width": 2},
        customdata=[[value] for value in values],
        hovertemplate="layer %{x}<br>changed by %{customdata[0]:.2g} of its norm<extra></extra>",
    )
    dotted = {"color": GRAY, "width": 1, "dash": "dot"}
    rounding = go.Scatter(
        mode="lines", x=layers, y=[comparison.tolerance] * len(layers), line=dotted, hoverinfo="skip"
    )
    axis = {"title": {"text": "change of the stream"}, "type": "log"}
    return figure([rounding, line], _HEIGHT, category_axis("layer"), axis)


def _flat(record: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:  # Any: plain JSON values
    """The entries of nested records, a row each."""
    rows: list[tuple[str, str]] = []
    for key, value in record.items():
        name = f"{prefix}{key}"
        rows += _flat(value, f"{name}.") if isinstance(value, dict) else [(name, str(value))]
    return rows
