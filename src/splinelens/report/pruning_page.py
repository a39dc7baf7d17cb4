"""A plan of pruning as one HTML file that works offline."""

from typing import get_args

import numpy as np
import plotly.graph_objects as go

from splinelens.geometry.settings import Rule
from splinelens.report.page import render_page
from splinelens.report.plots import LONG_SERIES, Figure, Scale, category_axis, figure, plotly_text, rounded
from splinelens.report.pruning import (
    PrunePlan,
    left_out_lines,
    matrix_table,
    plan_heading,
    plan_table,
)
from splinelens.report.tables import Table

_COLORS = dict(zip(get_args(Rule), LONG_SERIES, strict=True))
_HEIGHT, _ROW = 320, 24  # pixels


def plan_html(plan: PrunePlan) -> str:
    """One HTML file that needs no other file.

    Raises:
        CannotWrite: plotly is not installed.
    """
    fingerprint = [(name, str(value)) for name, value in plan.fingerprint.to_dict().items()]
    spreads = ", ".join(f"{name} {each.spread:g}" for name, each in plan.allocations.items())
    provenance = [("splinelens", plan.version), ("spreads", spreads), *fingerprint]
    if plan.calibration_tokens:
        provenance.append(("calibration tokens", f"{plan.calibration_tokens:,}"))
    return render_page(
        "pruning",
        data={"figures": {"ratios": _ratios(plan), "alphas": _alphas(plan)}},
        about=(plan.model, f"{100 * plan.sparsity:.4g} % of the weights", f"by {plan.by}"),
        links={"plan": "Plan", "spectra": "Spectra", "notes": "Notes"},
        plan=plan,
        heading=plan_heading(plan),
        colors={name: _COLORS[name] for name in plan.allocations},
        blocks=plan_table(plan),
        matrices=matrix_table(plan),
        left_out=left_out_lines(plan.left_out),
        provenance=Table(("provenance", "value"), provenance),
    )


def _ratios(plan: PrunePlan) -> Figure:
    """The percentage of its weights that each block loses, a line a method; the chosen one is thick."""
    traces = [
        go.Scatter(
            mode="lines+markers",
            x=list(range(len(each.ratios))),
            y=rounded(100 * np.array(each.ratios)),
            line={"color": _COLORS[name], "width": 3.5 if name == plan.by else 1.3},
            marker={"size": 6 if name == plan.by else 3},
            hovertemplate=f"{name}<br>block %{{x}}<br>%{{y:.4~g}} % go<extra></extra>",
        )
        for name, each in plan.allocations.items()
    ]
    x = {"title": {"text": "block"}, "zeroline": False}
    return figure(traces, _HEIGHT, x, {"title": {"text": "% of the weights to remove"}, "zeroline": False})


def _alphas(plan: PrunePlan) -> Figure:
    """The alpha of each matrix; a map of a name that a block lacks leaves a hole."""
    names = list(dict.fromkeys(each.name for each in plan.matrices))
    values = np.full((len(names), len(plan.allocations[plan.by].ratios)), np.nan)
    for each in plan.matrices:
        values[names.index(each.name), each.layer] = np.nan if each.alpha is None else each.alpha
    scale = Scale.of([values], "Viridis", "alpha", trim=0.02)
    heat = scale.heat_map(
        scale.values(values),
        x=list(range(values.shape[1])),
        y=[plotly_text(name) for name in names],
        hovertemplate="%{y} of block %{x}<br>alpha %{z:.4~g}<extra></extra>",
    )
    y = category_axis("", autorange="reversed", nticks=len(names))
    return figure([heat], 90 + _ROW * len(names), {"title": {"text": "block"}, "showgrid": False}, y)
