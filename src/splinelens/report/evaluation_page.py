"""An evaluation as one HTML file that works offline; texts of errors stay hidden until opened.

A slider over the thresholds shows the effect of each where a stated share of texts is positive.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from splinelens.detect.thresholds import Interval
from splinelens.report.evaluation import (
    EvaluationReport,
    LayerAuc,
    Mistake,
    Share,
    report_tables,
    share_table,
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
from splinelens.report.tables import Table, percent, share_words
from splinelens.report.terminal import strongest_words
from splinelens.texts.plain_text import readable

_CURVE, _CELL = 360, 26  # pixels: height of a curve and of a cell of the heat map
_FAINT, _STRONG = 0.1, 2.0  # contributions below have no color; at and above have the full color


def evaluation_html(report: EvaluationReport) -> str:
    """One HTML file that needs no other file.

    Raises:
        CannotWrite: plotly is not installed.
    """
    thresholds = np.array(report.sweep.threshold)
    errors = (*report.false_positives, *report.false_negatives)
    rows = report.metrics["n"] + report.metrics["undetermined"]
    return render_page(
        "evaluation",
        data={"sweep": _sweep(report), "figures": evaluation_figures(report)},
        report=report,
        about=(report.source, f"{rows:,} rows", f"model {report.model}"),
        links=_links(report),
        tables=report_tables(report),
        provenance=_provenance(report),
        series=SERIES,
        limit=f"{report.threshold:.4f}",
        prevalence=percent(report.prevalence),
        score_words=share_words(report.score_share, readable(report.label)),
        start=int(np.abs(thresholds - report.threshold).argmin()),
        stored=[
            (point.name, int(np.abs(thresholds - point.threshold).argmin())) for point in report.thresholds
        ],
        totals=_totals,
        hatecheck=sorted(report.hatecheck or (), key=lambda share: share.share),
        share_table=share_table,
        explained=any(mistake.words for mistake in errors),
        false_positives=[_shown(mistake) for mistake in report.false_positives],
        false_negatives=[_shown(mistake) for mistake in report.false_negatives],
    )


def evaluation_figures(report: EvaluationReport) -> dict[str, Figure]:
    """Every figure by name; the last trace of the two curves is the point that the slider moves."""
    sweep, chance = report.sweep, report.metrics["positives"] / report.metrics["n"]
    figures_by_name = {
        "roc": _curve(report, "false positives", sweep.false_positive_rate, "recall", sweep.recall, (0, 1)),
        "precision_recall": _curve(
            report, "recall", sweep.recall, "precision", sweep.precision, (chance, chance)
        ),
        "reliability": _reliability(report),
    }
    if report.layer_auc is not None:
        figures_by_name["layers"] = _layers(report.layer_auc)
    if report.feature_map is not None:
        first, second = (f"{100 * share:.1f} % of the variance" for share in report.feature_map.explained)
        figures_by_name["pca"] = _points(report, report.feature_map.pca, first, second)
        if report.feature_map.tsne:
            figures_by_name["tsne"] = _points(report, report.feature_map.tsne, "", "")
    return figures_by_name


def _links(report: EvaluationReport) -> dict[str, str]:
    titles = {
        "metrics": "Metrics",
        "thresholds": "Threshold",
        "curves": "Curves",
        "layers": "Layers",
        "map": report.feature_map and "Map",
        "hatecheck": report.hatecheck is not None and "HateCheck",
        "xstest": report.xstest is not None and "XSTest",
        "groups": report.bias and "Groups",
        "evasion": report.evasion is not None and "Evasion",
        "errors": "Errors",
        "notes": "Notes",
    }
    return {name: str(title) for name, title in titles.items() if title}


def _provenance(report: EvaluationReport) -> Table:
    keys = {"detector": "detector", "texts": "data_hash", "seed": "seed"}
    keys |= {key: key for key in ("splinelens", "torch", "device")}
    provenance = report.provenance
    return Table(
        ("provenance", "value"),
        [(name, str(provenance[key])) for name, key in keys.items() if key in provenance],
    )


def _sweep(report: EvaluationReport) -> dict[str, Any]:  # Any: lists of numbers
    sweep = report.sweep
    return {
        "threshold": rounded(np.array(sweep.threshold), 6),
        "recall": rounded(np.array(sweep.recall), 6),
        "rate": rounded(np.array(sweep.false_positive_rate), 6),
        "precision": rounded(np.array(sweep.precision, dtype=float), 6),
    }


def _totals(shares: Iterable[Share]) -> tuple[str, str]:
    counts = [(share.count, share.total) for share in shares]
    return f"{sum(count for count, _ in counts):,}", f"{sum(total for _, total in counts):,}"


def _shown(
    mistake: Mistake,
) -> tuple[Mistake, list[tuple[str, float, int]], list[tuple[str, float]], float | None]:
    """A mistake with its text in pieces (text, contribution, strength in percent), and its logit."""
    pieces, end = [], 0
    for word in mistake.words:
        amount = word.contribution
        if abs(amount) >= _FAINT:
            pieces.append((_lines(mistake.text[end : word.begin]), 0.0, 0))
            strength = round(100 * min(1.0, abs(amount) / _STRONG))
            pieces.append((_lines(mistake.text[word.begin : word.end]), amount, strength))
            end = word.end
    pieces.append((_lines(mistake.text[end:]), 0.0, 0))
    logit = None
    if mistake.rest is not None:
        logit = mistake.rest + sum(word.contribution for word in mistake.words)
    return mistake, pieces, strongest_words(mistake.text, mistake.words), logit


def _lines(piece: str) -> str:
    """Line breaks stay; every other unprintable character becomes a symbol."""
    return "\n".join(readable(line) if line else "" for line in piece.split("\n"))


def _curve(
    report: EvaluationReport,
    x_name: str,
    x: Sequence[float],
    y_name: str,
    y: Sequence[float | None],
    chance: tuple[float, float],
) -> Figure:
    words = f"{x_name} %{{x:.4~g}}<br>{y_name} %{{y:.4~g}}<br>threshold %{{customdata:.4~g}}<extra></extra>"
    line = go.Scatter(
        mode="lines",
        x=rounded(np.array(x)),
        y=rounded(np.array(y, dtype=float)),
        customdata=rounded(np.array(report.sweep.threshold)),
        line={"color": SERIES[0], "width": 2},
        hovertemplate=words,
    )
    marker = {"color": SERIES[1], "size": 12, "line": {"color": "#fff", "width": 1.5}}
    here = go.Scatter(mode="markers", x=[None], y=[None], marker=marker, hoverinfo="skip")
    return figure([line, _dotted(chance), here], _CURVE, _axis(x_name), _axis(y_name))


def _reliability(report: EvaluationReport) -> Figure:
    bins = report.reliability
    share, bounds = np.array([part.share for part in bins]), np.array([part.interval for part in bins])
    dots = go.Scatter(
        mode="lines+markers",
        x=rounded(np.array([part.score for part in bins])),
        y=rounded(share),
        customdata=[[part.count, *rounded(np.array(part.interval), 3)] for part in bins],
        error_y={
            "symmetric": False,
            "array": rounded(bounds[:, 1] - share),
            "arrayminus": rounded(share - bounds[:, 0]),
            "color": SERIES[0],
            "thickness": 1.2,
            "width": 3,
        },
        line={"color": SERIES[0], "width": 1},
        marker={"size": 7},
        hovertemplate="%{customdata[0]} rows<br>mean score %{x:.4~g}<br>share %{y:.4~g}"
        "<br>95 % interval %{customdata[1]} to %{customdata[2]}<extra></extra>",
    )
    share_axis = _axis(f"share {plotly_text(readable(report.label))}")
    return figure([dots, _dotted((0, 1))], _CURVE, _axis("mean score"), share_axis)


def _layers(layer_auc: LayerAuc) -> Figure:
    cells = np.array(layer_auc.auc, dtype=float)
    low = 0.5 if np.nanmin(cells, initial=0.5) >= 0.47 else 0.0  # from chance up, unless some are below
    trace = Scale("Viridis", low, 1.0, "AUC").heat_map(
        rounded(cells),
        x=[str(layer) for layer in layer_auc.layers],
        y=list(layer_auc.statistics),
        xgap=1,
        ygap=1,
        hovertemplate="%{y}<br>layer %{x}<br>AUC %{z:.4~g}<extra></extra>",
    )
    height = max(110, 70 + _CELL * len(layer_auc.statistics))
    y = category_axis("", autorange="reversed")
    return figure([trace], height, category_axis("layer"), y, meta={"grid": True})


def _points(report: EvaluationReport, coordinates: tuple[Interval, ...], x_name: str, y_name: str) -> Figure:
    rows = report.feature_map
    assert rows is not None  # the caller checked
    points, label = np.array(coordinates), np.array(rows.label)
    traces = []
    for value, name in enumerate((report.negative, report.label)):
        chosen = np.flatnonzero(label == value)
        traces.append(
            go.Scatter(
                mode="markers",
                x=rounded(points[chosen, 0]),
                y=rounded(points[chosen, 1]),
                customdata=[[rows.row[at], float(f"{rows.score[at]:.4g}")] for at in chosen.tolist()],
                marker={
                    "color": SERIES[value],
                    "size": 6,
                    "opacity": 0.7,
                    "symbol": ("circle", "diamond")[value],
                },
                hovertemplate=f"{plotly_text(readable(name))}<br>row %{{customdata[0]}}<br>"
                "score %{customdata[1]}<extra></extra>",
            )
        )
    bare = {"zeroline": False, "showticklabels": False}
    x, y = ({"title": {"text": title}, **bare} for title in (x_name, y_name))
    return figure(traces, 420, x, y)


def _dotted(y: tuple[float, float]) -> go.Scatter:
    line = {"color": GRAY, "width": 1, "dash": "dot"}
    return go.Scatter(mode="lines", x=[0, 1], y=list(y), line=line, hoverinfo="skip")


def _axis(title: str) -> Figure:
    return {"title": {"text": title}, "range": [-0.02, 1.02], "zeroline": False, "nticks": 6}
