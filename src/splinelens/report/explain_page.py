"""An explanation of a detector as one HTML file that works offline; the page holds pieces of the texts."""

import numpy as np
import plotly.graph_objects as go

from splinelens.report.explain import (
    FAITHFULNESS,
    ExplainedHyperplane,
    Explanation,
    confusions,
    contrast_cells,
    faithfulness_cells,
    group_table,
    hyperplane_table,
    left_out_lines,
    ngram_table,
    summary_lines,
)
from splinelens.report.page import render_page
from splinelens.report.plots import SERIES, Figure, figure, interval_dots, plotly_text, rounded, vertical_line
from splinelens.report.tables import Table, shorten

_ROW = 26  # pixels
_NAME = 28  # characters of a name beside a figure, which leave room for it on a narrow screen
_SETTINGS = ("layer", "top", "fpr", "seed", "least_texts")


def explanation_html(explanation: Explanation) -> str:
    """One HTML file that needs no other file.

    Raises:
        CannotWrite: plotly is not installed.
    """
    whole = explanation.whole
    keys = ("splinelens", "torch", "device", "data_hash", "detector")
    provenance = [(key, str(explanation.provenance[key])) for key in keys if key in explanation.provenance]
    provenance += [(key, str(explanation.settings[key])) for key in _SETTINGS if key in explanation.settings]
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
        confused=confusions(explanation),
        hyperplanes=[_hyperplane(number, one) for number, one in enumerate(explanation.hyperplanes, start=1)],
        table=hyperplane_table(explanation),
        left_out=left_out_lines(explanation),
        provenance=Table(("provenance", "value"), provenance),
    )


def _hyperplane(number: int, one: ExplainedHyperplane) -> dict[str, object]:
    """What the page shows of a hyperplane."""
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
            ("held-out texts", "value"),
            [*zip(FAITHFULNESS, faithfulness_cells(one.faithfulness), strict=True)],
        ),
        "sentence": sentence,
    }


def _contrast(explanation: Explanation) -> Figure:
    """The contrast of each name on held-out texts; dotted is none."""
    compared = [one for one in explanation.hyperplanes if one.faithfulness.contrast.difference is not None]
    traces = []
    for color, raises in zip(SERIES[1::-1], (True, False), strict=True):
        chosen = [one for one in compared if one.raises == raises]
        contrasts = [one.faithfulness.contrast for one in chosen]
        traces.append(
            interval_dots(
                [_row(explanation, one) for one in chosen],
                [contrast.difference for contrast in contrasts],
                [contrast.interval for contrast in contrasts],
                color,
                "contrast",
            )
        )
    x = {"title": {"text": "standard deviations"}, "zeroline": False}
    return figure(traces, _height(explanation), x, _rows(explanation), shapes=[vertical_line(0)])


def _share(explanation: Explanation) -> Figure:
    """The share of the variance that each hyperplane carries."""
    hyperplanes = explanation.hyperplanes
    bars = go.Bar(
        orientation="h",
        x=rounded(100 * np.array([one.share for one in hyperplanes], dtype=float)),
        y=[_row(explanation, one) for one in hyperplanes],
        marker={"color": [SERIES[1] if one.raises else SERIES[0] for one in hyperplanes]},
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
