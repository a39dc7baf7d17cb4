"""An inspection as one HTML file that works without a network: the pictures, their units, the notes.

The script that draws comes out of plotly's own wheel and is written into the page once. A policy in the
page forbids it to load anything. Nothing a text holds becomes markup.
"""

import json
from html import escape
from importlib.resources import files

from splinelens import __version__
from splinelens.errors import CannotWrite
from splinelens.report.card import layer_ranges
from splinelens.report.inspection import Inspection, readable
from splinelens.report.inspection_figures import Figure, cut, figures
from splinelens.report.inspection_sections import sections

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
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


def require_plotly(path: str) -> str:
    """The script that draws, from plotly's wheel.

    Args:
        path: The page that is to be written, for the message.

    Returns:
        JavaScript.

    Raises:
        CannotWrite: plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise CannotWrite(
            f"cannot write {path}: the page is drawn by plotly, which is not installed; run "
            "pip install 'splinelens[plot]', or leave -o out to see the text form"
        ) from error
    return str(get_plotlyjs())


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
    links = "".join(f'<a href="#{name}">{_LINKS[name]}</a>' for name in parts)
    shown = "\n".join(
        f'<section id="{name}"><h2>{escape(title)}</h2>\n{body}</section>'
        for name, (title, body) in parts.items()
    )
    return _FRAME.format(
        title=escape(f"splinelens: {cut(readable(inspection.portraits[0].text), 60)}"),
        policy=escape(_POLICY),
        style=_read("inspection_page.css"),
        about=_about(inspection),
        links=links,
        sections=shown,
        version=escape(__version__),
        data=_data(inspection, figures(inspection)),
        plotly=script,
        script=_read("inspection_page.js"),
    )


_FRAME = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header><h1>Where the text falls</h1>{about}</header>
<nav aria-label="Sections">{links}</nav>
<main>
<noscript><section><p>The pictures are drawn by a script within this page; allow it to run. The texts, the
table and the notes are readable without.</p></section></noscript>
{sections}
</main>
<footer class="quiet"><p>Made by splinelens {version}; definitions after arXiv:2312.01648. Drawn by plotly.js
(MIT licence), which is part of this file: it loads nothing.</p></footer>
<script type="application/json" id="data">{data}</script>
<script>{plotly}</script>
<script>
{script}</script>
</body>
</html>
"""


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


def _data(inspection: Inspection, drawn: dict[str, Figure]) -> str:
    """What the script reads, as JSON that cannot end its own element."""
    held = {
        "layers": list(inspection.layers),
        "tokens": [text.labels() for text in inspection.portraits],
        "dimension": [
            [[None if (head < 0).any() else head.tolist() for head in counts] for counts in text.dimension]
            for text in inspection.portraits
        ],
        "figures": drawn,
    }
    text = json.dumps(held, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _read(name: str) -> str:
    return files("splinelens.report").joinpath(name).read_text("utf-8")
