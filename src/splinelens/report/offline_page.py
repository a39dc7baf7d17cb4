"""The frame of a page that works without a network: head, style, links, sections, figures and scripts.

The script that draws comes out of plotly's own wheel and is written into the page once. A policy in the
page forbids it to load anything.
"""

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from splinelens import __version__
from splinelens.errors import CannotWrite

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
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
<header><h1>{heading}</h1>{about}</header>
<nav aria-label="Sections">{links}</nav>
<main>
<noscript><section><p>The pictures are drawn by a script within this page; allow it to run. The texts, the
tables and the notes are readable without.</p></section></noscript>
{sections}
</main>
<footer class="quiet"><p>Made by splinelens {version}; {foot}. Drawn by plotly.js
(MIT licence), which is part of this file: it loads nothing.</p></footer>
<script type="application/json" id="data">{data}</script>
<script>{plotly}</script>
<script>
{script}</script>
</body>
</html>
"""


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
            "pip install 'splinelens[plot]', or leave the page out to see the text form"
        ) from error
    return str(get_plotlyjs())


def offline_page(
    *,
    title: str,
    heading: str,
    about: str,
    links: Mapping[str, str],
    sections: Mapping[str, tuple[str, str]],
    foot: str,
    data: Mapping[str, Any],
    plotly: str,
    names: Sequence[str],
) -> str:
    """One HTML file that needs nothing else.

    Args:
        title: Of the window; not yet escaped, like ``heading``, ``foot`` and the titles of sections.
        heading: The first line of the page.
        about: HTML below it.
        links: Words of the link to each section, by the section's name.
        sections: Title and HTML of each section by name.
        foot: What follows the version at the end of the page.
        data: What the scripts read, plain JSON values without NaN.
        plotly: The script that draws.
        names: Files of this package, style sheets and scripts of the page's own.

    Returns:
        The file.

    Example:
        >>> parts = {"a": ("A < B", "<p>text</p>")}
        >>> found = offline_page(title="t", heading="h", about="", links={"a": "A"}, sections=parts,
        ...     foot="for a test", data={}, plotly="", names=())
        >>> "<h2>A &lt; B</h2>" in found
        True
    """
    own = {kind: [_read(name) for name in names if name.endswith(kind)] for kind in (".css", ".js")}
    return _FRAME.format(
        policy=escape(_POLICY),
        title=escape(title),
        style="".join([_read("offline_page.css"), *own[".css"]]),
        heading=escape(heading),
        about=about,
        links="".join(f'<a href="#{name}">{escape(words)}</a>' for name, words in links.items()),
        sections="\n".join(
            f'<section id="{name}"><h2>{escape(title)}</h2>\n{body}</section>'
            for name, (title, body) in sections.items()
        ),
        version=escape(__version__),
        foot=escape(foot),
        data=_json(data),
        plotly=plotly,
        script="".join([_read("offline_page.js"), *own[".js"]]),
    )


def _json(held: Mapping[str, Any]) -> str:  # Any: plain JSON values
    """JSON that cannot end its own element."""
    text = json.dumps(held, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _read(name: str) -> str:
    return files("splinelens.report").joinpath(name).read_text("utf-8")
