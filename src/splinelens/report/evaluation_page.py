"""An evaluation as one HTML file that works without a network; texts of errors stay hidden until clicked.

A slider over the thresholds says what each would do where a stated share of texts is positive. Nothing a
text holds becomes markup.
"""

from html import escape
from typing import Any

from splinelens.report.evaluation import EvaluationReport
from splinelens.report.evaluation_figures import figures
from splinelens.report.evaluation_sections import sections
from splinelens.report.inspection import readable
from splinelens.report.offline_page import offline_page, require_plotly

_LINKS = {
    "numbers": "Numbers",
    "thresholds": "Threshold",
    "curves": "Curves",
    "layers": "Layers",
    "map": "Map",
    "hatecheck": "HateCheck",
    "xstest": "XSTest",
    "groups": "Groups",
    "evasion": "Evasion",
    "errors": "Errors",
    "notes": "Notes",
}


def page(report: EvaluationReport) -> str:
    """One HTML file that needs nothing else.

    Args:
        report: The record.

    Returns:
        The file, in characters that UTF-8 can write.

    Raises:
        CannotWrite: plotly is not installed.
    """
    script = require_plotly("the page")
    parts = sections(report)
    name = readable(report.detector)
    return offline_page(
        title=f"splinelens: {name} evaluated",
        heading=f"How well {name} tells {readable(report.label)} texts",
        about=_about(report),
        links={part: _LINKS[part] for part in parts},
        sections=parts,
        foot="group AUCs after arXiv:1903.04561",
        data=_data(report),
        plotly=script,
        names=("evaluation_page.css", "evaluation_page.js"),
    )


def _about(report: EvaluationReport) -> str:
    rows = report.numbers["n"] + report.numbers["undetermined"]
    words = [report.source, f"{rows:,} rows", f"model {report.model}"]
    return f'<p class="quiet">{" · ".join(escape(readable(word)) for word in words)}</p>'


def _data(report: EvaluationReport) -> dict[str, Any]:  # Any: plain JSON values
    """What the script reads."""
    sweep = report.sweep
    return {
        "sweep": {
            "threshold": [float(f"{value:.6g}") for value in sweep.threshold],
            "recall": [round(value, 6) for value in sweep.recall],
            "rate": [round(value, 6) for value in sweep.false_positive_rate],
            "precision": [None if value is None else round(value, 6) for value in sweep.precision],
        },
        "figures": figures(report),
    }
