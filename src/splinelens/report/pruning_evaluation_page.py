"""What pruning does to a model as one HTML file that works offline; the page holds no text."""

import numpy as np
import plotly.graph_objects as go

from splinelens.report.page import render_page
from splinelens.report.plots import GRAY, SERIES, Figure, Scale, category_axis, figure, plotly_text, rounded
from splinelens.report.pruning_evaluation import (
    ModelEffect,
    PruningEvaluation,
    detector_table,
    layer_table,
    model_table,
)
from splinelens.report.tables import Table

_HEIGHT, _ROW = 300, 30  # pixels
_WIDE = 20  # times the least perplexity
_DASHES = ("dash", "dot", "dashdot", "longdash")


def pruning_evaluation_html(report: PruningEvaluation) -> str:
    """One HTML file that needs no other file.

    Raises:
        CannotWrite: plotly is not installed.
    """
    figures = {"perplexity": _perplexity(report), "shift": _shift(report)}
    if report.dimension_layers:
        figures["dimension"] = _dimension(report)
    names = [carried.detector for carried in report.models[0].detectors]
    if names:
        figures["verdicts"] = _verdicts(report, names)
    prints = report.provenance["fingerprints"]
    provenance = [(key, str(value)) for key, value in report.provenance.items() if value is not prints]
    provenance += [
        (f"weights of {name}", str(fingerprint["weights"])) for name, fingerprint in prints.items()
    ]
    return render_page(
        "pruning_evaluation",
        data={"figures": figures},
        about=(report.models[0].name, f"{len(report.models) - 1} pruned models", report.source),
        links={"models": "Models", "layers": "Layers", "notes": "Notes"},
        report=report,
        effects=model_table(report),
        verdicts=detector_table(report) if names else None,
        layers=layer_table(report),
        labeled=any(carried.auc is not None for carried in report.models[0].detectors),
        colors=SERIES,
        names=names,
        provenance=Table(("provenance", "value"), provenance),
    )


def _perplexity(report: PruningEvaluation) -> Figure:
    """A row a model; a dotted line at the dense model."""
    models = [model for model in report.models if np.isfinite(model.perplexity)]
    values = [model.perplexity for model in models]
    points = _points(models, values, SERIES[0], "perplexity")
    dense = {"type": "line", "x0": report.models[0].perplexity, "x1": report.models[0].perplexity}
    line = {"color": GRAY, "width": 1, "dash": "dot"}
    shapes = [{**dense, "yref": "paper", "y0": 0, "y1": 1, "line": line}]
    close = bool(values) and max(values) < _WIDE * min(values)
    x = {
        "title": {"text": "perplexity", "standoff": 12},
        "type": "log",
        "dtick": "D2" if close else 1,  # 1: a label a power of ten, which fit beside each other on a phone
        "exponentformat": "none",
    }
    return figure([points], _height(report), x, _rows(report), shapes=shapes)


def _verdicts(report: PruningEvaluation, names: list[str]) -> Figure:
    """AUC, or without labels the share of equal verdicts, of each detector; a row a model."""
    labeled = any(carried.auc is not None for model in report.models for carried in model.detectors)
    traces = []
    for index, (name, color) in enumerate(zip(names, SERIES * len(names), strict=False)):
        carried = [(model, model.detectors[index]) for model in report.models]
        values = [
            (model, each.auc and each.auc[1] if labeled else each.same_verdict) for model, each in carried
        ]
        known = [(model, value) for model, value in values if value is not None]
        traces.append(_points([model for model, _ in known], [value for _, value in known], color, name))
    title = "AUC" if labeled else "share of equal verdicts"
    return figure(traces, _height(report), {"title": {"text": title}}, _rows(report))


def _shift(report: PruningEvaluation) -> Figure:
    """A row a pruned model, a column a layer."""
    pruned = report.models[1:]
    values = np.array([model.shift for model in pruned])
    scale = Scale.of([values], "Viridis", "standard deviations")
    names = [plotly_text(model.name) for model in pruned]
    trace = scale.heat_map(
        scale.values(values),
        x=[str(layer) for layer in range(values.shape[1])],
        y=names,
        hovertemplate="%{y}<br>layer %{x}<br>shift %{z:.3~g}<extra></extra>",
    )
    y = {"type": "category", "autorange": "reversed", "showgrid": False}
    return figure([trace], 110 + _ROW * len(names), category_axis("layer"), y)


def _dimension(report: PruningEvaluation) -> Figure:
    """The intrinsic dimension of each layer, the dense model in gray; dashes tell lines that coincide."""
    dashes = ("solid", *_DASHES * len(report.models))
    traces = [
        go.Scatter(
            mode="lines",
            x=list(report.dimension_layers),
            y=rounded(np.array(model.dimension)),
            name=plotly_text(model.name),
            line={
                "color": color,
                "width": 3.5 if model is report.models[0] else 1.8,
                "dash": dash,
            },
            hovertemplate="%{fullData.name}<br>layer %{x}<br>dimension %{y:.4~g}<extra></extra>",
        )
        for model, color, dash in zip(report.models, _colors(report), dashes, strict=False)
    ]
    legend = {"orientation": "h", "y": -0.25}
    return figure(
        traces,
        _HEIGHT + 40,
        {"title": {"text": "layer"}, "zeroline": False},
        {"title": {"text": "intrinsic dimension"}, "rangemode": "tozero"},
        showlegend=True,
        legend=legend,
    )


def _points(models: list[ModelEffect], values: list[float], color: str, name: str) -> go.Scatter:
    return go.Scatter(
        mode="markers",
        x=rounded(np.array(values, dtype=float)),
        y=[_row(model) for model in models],
        name=plotly_text(name),
        cliponaxis=False,
        marker={"color": color, "size": 10},
        hovertemplate="%{y}<br>" + plotly_text(name) + " %{x:.4~g}<extra></extra>",
    )


def _row(model: ModelEffect) -> str:
    return f"{plotly_text(model.name)} ({100 * model.sparsity:.0f} %)"


def _rows(report: PruningEvaluation) -> Figure:
    """An axis of the models, from the least to the most removed weights."""
    order = sorted(report.models, key=lambda model: model.sparsity)
    names = [_row(model) for model in order]
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": names,
        "range": [len(names) - 0.5, -0.5],
        "ticklabelstandoff": 6,
    }


def _height(report: PruningEvaluation) -> int:
    return 90 + _ROW * len(report.models)


def _colors(report: PruningEvaluation) -> list[str]:
    """Gray for the dense model, and a color for each pruned one; they repeat after the last."""
    more = ("#8e5bd0", "#c2a100", "#d0417e", "#5a6a7a")
    return [GRAY, *((*SERIES, *more) * len(report.models))[: len(report.models) - 1]]
