"""The pictures of an evaluation, as the plain data that plotly draws; no text of the data is in them."""

from typing import Any

import numpy as np

from splinelens.report.evaluation import EvaluationReport
from splinelens.report.evaluation_parts import Bounds, HeatMap
from splinelens.report.inspection import readable
from splinelens.report.inspection_figures import escaped, rounded
from splinelens.report.inspection_scales import DIVERGING, TEXTS, VIRIDIS, Scale
from splinelens.report.plots import Figure, category_axis, framed, heat_map

_CURVE = 360  # pixels
_CELL = 26
_EDGES = (-0.02, 1.02)


def figures(report: EvaluationReport) -> dict[str, Figure]:
    """Every figure by name.

    Args:
        report: The record.

    Returns:
        ``roc``, ``precision_recall``, ``reliability``, and where the record holds them ``layers``, ``pca``
        and ``tsne``. The last trace of the two curves is the point that the page's slider moves.
    """
    sweep = report.sweep
    rate, recall = np.array(sweep.false_positive_rate), np.array(sweep.recall)
    precision = np.array([np.nan if part is None else part for part in sweep.precision])
    chance = report.numbers["positives"] / report.numbers["n"]
    made = {
        "roc": _curve(rate, recall, sweep.threshold, ("false positives", "recall"), [[0, 1], [0, 1]]),
        "precision_recall": _curve(
            recall, precision, sweep.threshold, ("recall", "precision"), [[0, 1], [chance, chance]]
        ),
        "reliability": _reliability(report),
    }
    if report.heat is not None:
        made["layers"] = _layers(report.heat)
    if report.map is not None:
        first, second = (f"{100 * share:.1f} % of the variance" for share in report.map.explained)
        made["pca"] = _points(report, report.map.pca, (first, second))
        if report.map.tsne:
            made["tsne"] = _points(report, report.map.tsne, ("", ""))
    return made


def heat_scale(heat: HeatMap) -> Scale:
    """The colours of AUCs: from chance up, or around chance where some lie clearly below it.

    Example:
        >>> heat_scale(HeatMap(("a",), (0,), ((0.9,),), "")).low
        0.5
    """
    there = [cell for row in heat.auc for cell in row if cell is not None]
    if min(there, default=0.5) >= 0.47:
        return Scale(VIRIDIS, 0.5, 1.0, ((0.0, "0.5 chance"), (0.5, "0.75"), (1.0, "1")))
    return Scale(DIVERGING, 0.0, 1.0, ((0.0, "0"), (0.5, "0.5 chance"), (1.0, "1")))


def _curve(
    x: np.ndarray,
    y: np.ndarray,
    thresholds: tuple[float, ...],
    names: tuple[str, str],
    chance: list[list[float]],
) -> Figure:
    words = f"{names[0]} %{{x:.4~g}}<br>{names[1]} %{{y:.4~g}}<br>threshold %{{customdata:.4~g}}"
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": rounded(x),
        "y": rounded(y),
        "customdata": rounded(np.array(thresholds)),
        "line": {"color": TEXTS[0], "width": 2},
        "hovertemplate": f"{words}<extra></extra>",
    }
    here = {
        "type": "scatter",
        "mode": "markers",
        "x": [None],
        "y": [None],
        "marker": {"color": TEXTS[1], "size": 12, "line": {"color": "#fff", "width": 1.5}},
        "hoverinfo": "skip",
    }
    layout = framed(_CURVE, _axis(names[0]), _axis(names[1]))
    return {"data": [line, _dotted(*chance), here], "layout": layout | {"hovermode": "closest"}}


def _reliability(report: EvaluationReport) -> Figure:
    bins = report.reliability
    shares = np.array([part.share for part in bins])
    dots = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": rounded(np.array([part.score for part in bins])),
        "y": rounded(shares),
        "customdata": [[part.count, *(float(f"{end:.3g}") for end in part.interval)] for part in bins],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": rounded(np.array([part.interval[1] for part in bins]) - shares),
            "arrayminus": rounded(shares - np.array([part.interval[0] for part in bins])),
            "color": TEXTS[0],
            "thickness": 1.2,
            "width": 3,
        },
        "line": {"color": TEXTS[0], "width": 1},
        "marker": {"size": 7},
        "hovertemplate": "%{customdata[0]} rows<br>mean score %{x:.4~g}<br>share positive %{y:.4~g}"
        "<br>95 % interval %{customdata[1]} to %{customdata[2]}<extra></extra>",
    }
    layout = framed(_CURVE, _axis("mean score"), _axis("share positive"))
    return {"data": [dots, _dotted([0, 1], [0, 1])], "layout": layout | {"hovermode": "closest"}}


def _layers(heat: HeatMap) -> Figure:
    cells = np.array([[np.nan if cell is None else cell for cell in row] for row in heat.auc], dtype=float)
    trace = heat_map(rounded(cells), heat_scale(heat)) | {
        "x": [str(layer) for layer in heat.layers],
        "y": list(heat.rows),
        "xgap": 1,
        "ygap": 1,
        "hovertemplate": "%{y}<br>layer %{x}<br>AUC %{z:.4~g}<extra></extra>",
    }
    height = max(110, 70 + _CELL * len(heat.rows))
    layout = framed(height, category_axis("layer") | {"nticks": 16}, category_axis(""))
    layout["yaxis"]["autorange"] = "reversed"
    return {"data": [trace], "layout": layout | {"meta": {"grid": True}}}


def _points(report: EvaluationReport, places: tuple[Bounds, ...], titles: tuple[str, str]) -> Figure:
    assert report.map is not None  # asked of records that have one
    spots, label = np.array(places), np.array(report.map.label)
    row, score = np.array(report.map.row), np.array(report.map.score)
    traces = []
    for side, name in enumerate((report.negative, report.label)):
        chosen = label == side
        pairs = [[int(r), float(f"{s:.4g}")] for r, s in zip(row[chosen], score[chosen], strict=True)]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": rounded(spots[chosen, 0]),
                "y": rounded(spots[chosen, 1]),
                "customdata": pairs,
                "marker": {
                    "color": TEXTS[side],
                    "size": 6,
                    "opacity": 0.7,
                    "symbol": ("circle", "diamond")[side],
                },
                "hovertemplate": f"{escaped(readable(name))}<br>"
                "row %{customdata[0]}<br>score %{customdata[1]}"
                "<extra></extra>",
            }
        )
    bare: dict[str, Any] = {"zeroline": False, "showticklabels": False}  # Any: plotly's own form
    x, y = ({"title": {"text": title}, **bare} for title in titles)
    return {"data": traces, "layout": framed(420, x, y) | {"hovermode": "closest"}}


def _dotted(x: list[float], y: list[float]) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": y,
        "line": {"color": "#8a8f98", "width": 1, "dash": "dot"},
        "hoverinfo": "skip",
    }


def _axis(title: str) -> Figure:
    return {"title": {"text": title}, "range": list(_EDGES), "zeroline": False, "nticks": 6}
