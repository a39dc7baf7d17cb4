"""Render templates: HTML pages that work offline, and Markdown.

Values are escaped by jinja2. plotly.js comes out of the plotly package and is written into the page; a
content security policy admits exactly the scripts of the page and no connection.
"""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from splinelens import __version__
from splinelens.errors import CannotWrite
from splinelens.report.tables import code, one_line
from splinelens.texts.plain_text import readable

if TYPE_CHECKING:
    from jinja2 import Environment


def require_plotly(path: str = "the page") -> str:
    """The source of plotly.js.

    Raises:
        CannotWrite: plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise CannotWrite(
            f"cannot write {path}: its figures need plotly, which is not installed; run "
            "pip install 'splinelens[plot]', or leave the page out to see the text form"
        ) from error
    return str(get_plotlyjs())


def render_page(name: str, data: Mapping[str, Any], **context: Any) -> str:  # Any: JSON; template values
    """One HTML file that needs no other file and no network.

    Returns:
        The page; it can be encoded as UTF-8.

    Raises:
        CannotWrite: plotly is not installed.
    """
    from markupsafe import Markup

    scripts = [require_plotly(), _source("page.js") + _source(f"{name}.js")]
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    template = _environment().get_template(f"html/{name}.html.j2")
    return template.render(
        policy=policy,
        style=Markup(_source("page.css") + _source(f"{name}.css")),
        scripts=[Markup(script) for script in scripts],
        data=data,
        version=__version__,
        **context,
    )


def render_markdown(name: str, **context: Any) -> str:  # Any: template values
    """The Markdown of ``markdown/NAME.md.j2``."""
    return _environment().get_template(f"markdown/{name}.md.j2").render(**context)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("splinelens", "report"),
        autoescape=select_autoescape(disabled_extensions=("md.j2",), default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"readable": readable, "one_line": one_line, "code": code}
    return environment


def _source(name: str) -> str:
    file = files("splinelens.report").joinpath("html", name)
    return file.read_text("utf-8") if file.is_file() else ""


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
