"""Clusters of functions as one HTML file that works offline; it shows their sources."""

from collections.abc import Sequence
from itertools import count

import numpy as np
import plotly.graph_objects as go

from splinelens.report.code_index import REASONS, Cluster, IndexedFunction, reason_words
from splinelens.report.page import render_page
from splinelens.report.plots import LONG_SERIES, Figure, figure, plotly_text, rounded

MOST_SHOWN = 200
"""Clusters whose sources are in the page."""

_HEIGHT = 300  # pixels
_COLORS = dict(zip(REASONS, LONG_SERIES, strict=True))


def clusters_html(clusters: Sequence[Cluster], folder: str, functions: int) -> str:
    """One HTML file that needs no other file; of many clusters it shows the first.

    Raises:
        CannotWrite: plotly is not installed.
    """
    clustered = sum(len(cluster.functions) for cluster in clusters)
    used = {cluster.reason for cluster in clusters}
    return render_page(
        "code_clusters",
        data={"figures": {"clusters": _scatter(clusters)}},
        about=(folder, f"{functions:,} functions", f"{clustered:,} of them in {len(clusters):,} clusters"),
        links={"map": "Overview", "clusters": "Clusters", "notes": "Notes"},
        shown=[
            (f"c{number}", cluster, reason_words(cluster.reason, cluster.shared))
            for number, cluster in enumerate(clusters[:MOST_SHOWN], start=1)
        ],
        hidden=max(len(clusters) - MOST_SHOWN, 0),
        source_lines=_source_lines,
        keys=[(_COLORS[name], words) for name, words in REASONS.items() if name in used],
    )


def _source_lines(function: IndexedFunction) -> list[str]:
    """The lines of a function, without the indentation of the class around it.

    Its source begins after the indentation of its first line; in Python the body has four spaces more.
    """
    first, *others = function.text.expandtabs(4).splitlines()
    indents = [len(line) - len(line.lstrip()) for line in others if line.strip()]
    extra = max(min(indents, default=0) - (4 if function.language == "python" else 0), 0)
    return [first, *(line[extra:] for line in others)]


def _scatter(clusters: Sequence[Cluster]) -> Figure:
    """Size and score of each cluster, in the color of its reason."""
    trace = go.Scatter(
        mode="markers",
        x=[len(cluster.functions) for cluster in clusters],
        y=rounded(np.array([cluster.score for cluster in clusters])),
        text=[plotly_text(cluster.functions[0].location) for cluster in clusters],
        marker={"color": [_COLORS[cluster.reason] for cluster in clusters], "size": 9, "opacity": 0.8},
        hovertemplate="%{text}<br>%{x} functions, score %{y:.2f}<extra></extra>",
    )
    most = max((len(cluster.functions) for cluster in clusters), default=2)
    x = {"title": {"text": "functions"}, "zeroline": False, "tick0": 0, "dtick": _tick_step(most)}
    return figure([trace], _HEIGHT, x, {"title": {"text": "score"}, "zeroline": False})


def _tick_step(most: int) -> int:
    """The least of 1, 2, 5, 10, ... by which an axis up to this number has at most 8 ticks."""
    steps = (digit * 10**power for power in count() for digit in (1, 2, 5))
    return next(step for step in steps if most <= 8 * step)
