"""A calibration as one HTML file that works offline: a plot of each map; the page holds no text."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from splinelens.detect.monotone import MonotoneMap
from splinelens.report.calibration import Record, decision_table, error_table, left_out, worse
from splinelens.report.page import render_page
from splinelens.report.plots import GRAY, SERIES, Figure, figure, rounded
from splinelens.report.tables import Table

_SHOWN, _HEIGHT = 2000, 380  # pairs of a plot; pixels


def calibration_html(record: Record, pairs: Mapping[str, tuple[MonotoneMap, np.ndarray, np.ndarray]]) -> str:
    """One HTML file that needs no other file.

    Args:
        record: What was measured.
        pairs: The map of each attribute, our scores and the logged ones.

    Raises:
        CannotWrite: plotly is not installed.
    """
    keys = ("command", "data_hash", "columns_hash", "seed", "splinelens")
    digests = [(f"{name}: {one['detector']}", one["digest"]) for name, one in record["attributes"].items()]
    return render_page(
        "calibration",
        data={"figures": {name: _map(*pair) for name, pair in pairs.items()}},
        about=(record["source"], f"{record['rows']:,} rows"),
        links={"errors": "Errors", "maps": "Maps", "thresholds": "Thresholds", "notes": "Notes"},
        errors=error_table(record),
        decisions=decision_table(record),
        left_out=[*left_out(record), *worse(record)],
        attributes={name: min(len(scores), _SHOWN) for name, (_, scores, _) in pairs.items()},
        colors=SERIES,
        provenance=Table(("provenance", "value"), [(key, str(record[key])) for key in keys] + digests),
    )


def _map(fitted: MonotoneMap, scores: np.ndarray, logged: np.ndarray) -> Figure:
    """The pairs as points, and the map through them."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(scores))[:_SHOWN])
    points = go.Scatter(
        mode="markers",
        x=rounded(scores[chosen]),
        y=rounded(logged[chosen]),
        marker={"color": SERIES[0], "size": 5, "opacity": 0.45},
        hovertemplate="our score %{x:.4~g}<br>logged %{y:.4~g}<extra></extra>",
    )
    knots = np.array([0.0, *fitted.x, 1.0])
    line = go.Scatter(
        mode="lines",
        x=rounded(knots, 6),
        y=rounded(fitted.at(knots), 6),
        line={"color": SERIES[1], "width": 2.5},
        hovertemplate="our score %{x:.4~g}<br>mapped to %{y:.4~g}<extra></extra>",
    )
    dotted = {"color": GRAY, "width": 1, "dash": "dot"}
    unchanged = go.Scatter(mode="lines", x=[0, 1], y=[0, 1], line=dotted, hoverinfo="skip")
    return figure([points, unchanged, line], _HEIGHT, _axis("our score"), _axis("score of the API"))


def _axis(title: str) -> dict[str, Any]:  # Any: properties of plotly
    return {"title": {"text": title}, "range": [-0.02, 1.02], "zeroline": False, "nticks": 6}
