"""An explanation of a detector as one HTML file that works offline; the page holds pieces of the texts."""

import numpy as np
import plotly.graph_objects as go

from splinelens.report.explain import (
    ExplainedHyperplane,
    Explanation,
    confusion_table,
    contrast_cells,
    faithfulness_cells,
    group_table,
    hyperplane_table,
    left_out_lines,
    ngram_table,
    summary_lines,
)
from splinelens.report.page import render_page
from splinelens.report.plots import GRAY, SERIES, Figure, figure, plotly_text, rounded
from splinelens.report.tables import Table, shorten

_ROW = 26  # pixels
_NAME = 40  # characters of a name beside a figure
_SETTINGS = ("layer", "top", "fpr", "seed", "least_texts")


def explanation_html(explanation: Explanation) -> str:
    """One HTML file that needs no other file.

    Raises:
        CannotWrite: plotly is not installed.
    """
    whole, label = explanation.whole, explanation.label
    keys = ("splinelens", "torch", "device", "data_hash", "detector")
    provenance = [(key, str(explanation.provenance[key])) for key in keys if key in explanation.provenance]
    provenance += [(key, str(explanation.settings[key])) for key in _SETTINGS if key in explanation.settings]
    confused = [
        (title, confusion_table(found, wrong) if found else None)
        for title, found, wrong in (
            (f"{explanation.negative} texts that are flagged", whole.false_positives, "flagged"),
            (f"{label} texts that are missed", whole.false_negatives, "missed"),
        )
        if found is not None
    ]
    return render_page(
        "explain",
        data={"figures": {"contrast": _contrast(explanation), "share": _share(explanation)}},
        about=(explanation.detector, explanation.source, explanation.model),
        links={"overview": "Overview", "words": "Words", "hyperplanes": "Hyperplanes", "notes": "Notes"},
        explanation=explanation,
        whole=whole,
        summary=summary_lines(explanation),
        colors=SERIES,
        words=ngram_table(whole.ngrams, "adds to the logit") if whole.ngrams else None,
        groups=[(group, group_table(group)) for group in whole.groups],
        confused=confused,
        planes=[_plane(number, one) for number, one in enumerate(explanation.hyperplanes, start=1)],
        table=hyperplane_table(explanation),
        left_out=left_out_lines(explanation),
        provenance=Table(("provenance", "value"), provenance),
    )


def _plane(number: int, one: ExplainedHyperplane) -> dict[str, object]:
    """What the page shows of a hyperplane."""
    head = ("contrast", "95 % interval", "deletion above random", "halves agree")
    sentence = None
    if one.sentence is not None:
        compared = ("-", "-") if one.sentence.contrast is None else contrast_cells(one.sentence.contrast)
        sentence = (one.sentence, compared)
    return {
        "number": number,
        "record": one,
        "holds": one.faithfulness.contrast.holds,
        "ngrams": ngram_table(one.ngrams, "margin"),
        "faithfulness": Table(
            ("held-out texts", "value"), [*zip(head, faithfulness_cells(one.faithfulness), strict=True)]
        ),
        "sentence": sentence,
    }


def _contrast(explanation: Explanation) -> Figure:
    """The contrast of each name on held-out texts; dotted is none."""
    planes = [one for one in explanation.hyperplanes if one.faithfulness.contrast.difference is not None]
    traces = []
    for color, raises in zip(SERIES[1::-1], (True, False), strict=True):
        chosen = [one for one in planes if one.raises == raises]
        found = [one.faithfulness.contrast for one in chosen]
        middle = np.array([each.difference for each in found], dtype=float)
        bounds = np.array([each.interval or (each.difference,) * 2 for each in found], dtype=float).reshape(
            -1, 2
        )
        traces.append(
            go.Scatter(
                mode="markers",
                x=rounded(middle),
                y=[_row(explanation, one) for one in chosen],
                customdata=rounded(bounds, 3),
                error_x={
                    "symmetric": False,
                    "array": rounded(bounds[:, 1] - middle),
                    "arrayminus": rounded(middle - bounds[:, 0]),
                    "color": color,
                    "thickness": 1.5,
                    "width": 4,
                },
                marker={"color": color, "size": 8},
                hovertemplate="%{y}<br>contrast %{x:.3~g}<br>95 % interval %{customdata[0]} to "
                "%{customdata[1]}<extra></extra>",
            )
        )
    line = {"color": GRAY, "width": 1, "dash": "dot"}
    zero = {"type": "line", "xref": "x", "yref": "paper", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "line": line}
    x = {"title": {"text": "standard deviations"}, "zeroline": False}
    return figure(traces, _height(explanation), x, _rows(explanation), shapes=[zero])


def _share(explanation: Explanation) -> Figure:
    """The share of the variance that each hyperplane carries."""
    planes = explanation.hyperplanes
    bars = go.Bar(
        orientation="h",
        x=rounded(100 * np.array([one.share for one in planes], dtype=float)),
        y=[_row(explanation, one) for one in planes],
        marker={"color": [SERIES[1] if one.raises else SERIES[0] for one in planes]},
        hovertemplate="%{y}<br>%{x:.3~g} % of the variance<extra></extra>",
    )
    return figure([bars], _height(explanation), {"title": {"text": "% of the variance"}}, _rows(explanation))


def _row(explanation: Explanation, one: ExplainedHyperplane) -> str:
    """The number of a hyperplane on the page, and its name."""
    number = explanation.hyperplanes.index(one) + 1
    name = one.name.removeprefix("fires on: ")
    return plotly_text(f"{number} {shorten(name, _NAME)}")


def _rows(explanation: Explanation) -> Figure:
    names = [_row(explanation, one) for one in explanation.hyperplanes]
    return {"type": "category", "categoryarray": names, "autorange": "reversed", "showgrid": False}


def _height(explanation: Explanation) -> int:
    return 70 + _ROW * len(explanation.hyperplanes)
