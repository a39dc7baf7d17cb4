"""An inspection as one HTML file that works without a network: the pictures, their units, the notes.

The script that draws comes out of plotly's own wheel and is written into the page once. A policy in the
page forbids it to load anything. Nothing a text holds becomes markup.
"""

from html import escape

from splinelens.report.card import layer_ranges
from splinelens.report.inspection import Inspection, readable
from splinelens.report.inspection_figures import cut, figures
from splinelens.report.inspection_plots import Figure
from splinelens.report.inspection_sections import sections
from splinelens.report.offline_page import offline_page, require_plotly

__all__ = ["page", "require_plotly"]

_LINKS = {
    "texts": "Text",
    "sign": "Sign fraction",
    "boundary": "Boundary distance",
    "dimension": "Intrinsic dimension",
    "features": "Seven features",
    "text_distance": "Between texts",
    "prefixes": "Growing text",
    "slice": "Slice",
    "numbers": "Numbers and notes",
}


def page(inspection: Inspection) -> str:
    """One HTML file that needs nothing else.

    Args:
        inspection: The record.

    Returns:
        The file, in characters that UTF-8 can write.

    Raises:
        CannotWrite: plotly is not installed.
    """
    script = require_plotly("the page")
    parts = sections(inspection)
    return offline_page(
        title=f"splinelens: {cut(readable(inspection.portraits[0].text), 60)}",
        heading="Where the text falls",
        about=_about(inspection),
        links={name: _LINKS[name] for name in parts},
        sections=parts,
        foot="definitions after arXiv:2312.01648",
        data=_data(inspection, figures(inspection)),
        plotly=script,
        names=("inspection_page.js",),
    )


def _about(inspection: Inspection) -> str:
    layers = len(inspection.layers)
    words = [
        inspection.model,
        f"{layers} layer{'s' * (layers != 1)} ({layer_ranges(inspection.layers)})",
        f"{inspection.neurons:,} neuron{'s' * (inspection.neurons != 1)}",
        f"{inspection.heads} head{'s' * (inspection.heads != 1)}",
        f"eps {inspection.eps:g}",
    ]
    return f'<p class="quiet">{" · ".join(escape(readable(word)) for word in words)}</p>'


def _data(inspection: Inspection, drawn: dict[str, Figure]) -> dict[str, object]:
    """What the script reads."""
    return {
        "layers": list(inspection.layers),
        "tokens": [text.labels() for text in inspection.portraits],
        "dimension": [
            [[None if (head < 0).any() else head.tolist() for head in counts] for counts in text.dimension]
            for text in inspection.portraits
        ],
        "figures": drawn,
    }
