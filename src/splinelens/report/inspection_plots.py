"""What the figures of all pages share: frames in plotly's form, and places that wait for them in HTML."""

from html import escape
from typing import Any

from splinelens.report.inspection_scales import Scale

Figure = dict[str, Any]  # Any: plain JSON values, plotly's own form of a figure

_COLUMN = 5  # pixels of a token at least; longer texts scroll


def framed(height: int, x: Figure, y: Figure) -> Figure:
    """The layout of a figure with one pair of axes.

    Args:
        height: In pixels.
        x: Axis to the right.
        y: Axis upwards.

    Example:
        >>> framed(200, {}, {})["height"]
        200
    """
    return {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "showlegend": False,
        "xaxis": {"automargin": True, **x},
        "yaxis": {"automargin": True, "exponentformat": "e", **y},
    }


def category_axis(title: str) -> Figure:
    """An axis of names, such as layers.

    Example:
        >>> category_axis("layer")["type"]
        'category'
    """
    return {"type": "category", "title": {"text": title}, "showgrid": False, "tickangle": 0}


def heat_map(numbers: Any, scale: Scale) -> Figure:  # Any: nested lists of numbers
    """A heat map in the colours of a scale, without a legend of its own.

    Args:
        numbers: Rows of numbers; None leaves a hole.
        scale: Its colours and ends.

    Example:
        >>> heat_map([[0.5]], Scale(("#000", "#fff"), 0.0, 1.0, ()))["colorscale"]
        [[0.0, '#000'], [1.0, '#fff']]
    """
    steps = len(scale.colours) - 1
    return {
        "type": "heatmap",
        "z": numbers,
        "zmin": scale.low,
        "zmax": scale.high,
        "colorscale": [[step / steps, colour] for step, colour in enumerate(scale.colours)],
        "showscale": False,
        "hoverongaps": False,
    }


def figure_place(name: str, words: str, label: str, tokens: int = 0) -> str:
    """A place for a figure; a text with many tokens scrolls sideways instead of shrinking.

    Args:
        name: Of the figure.
        words: What it shows, for readers who do not see it.
        label: Its title, for the same.
        tokens: Columns of tokens, if it has any.

    Example:
        >>> 'data-figure="roc"' in figure_place("roc", "Recall against false positives.", "ROC")
        True
    """
    wide = 60 + _COLUMN * tokens
    style = f' style="min-width:{wide}px"' if wide > 300 else ""
    return (
        f'<figure><div class="scroll"><div class="plot" data-figure="{name}" tabindex="0" role="img" '
        f'aria-label="{escape(f"{label}. {words}")}"{style}></div></div>'
        '<output class="readout" aria-live="polite"></output></figure>'
    )


def panel(name: str, title: str, words: str = "") -> str:
    """A place for a figure below its title, with words for all readers.

    Example:
        >>> panel("roc", "ROC").startswith("<div><h3>ROC</h3><figure>")
        True
    """
    caption = f"<p class='quiet'>{escape(words)}</p>" if words else ""
    return f"<div><h3>{escape(title)}</h3>{figure_place(name, words or title, title)}{caption}</div>"


def scale_bar(scale: Scale, unit: str) -> str:
    """The colours of a scale with its ticks.

    Example:
        >>> "0.5 chance" in scale_bar(Scale(("#000", "#fff"), 0.5, 1.0, ((0.0, "0.5 chance"),)), "AUC")
        True
    """
    ticks = "".join(f'<span style="left:{100 * spot:.4g}%">{words}</span>' for spot, words in scale.ticks)
    name = f'<span class="quiet">{escape(unit)}</span>' if unit else ""
    gradient = ", ".join(scale.colours)
    return (
        f'{name}<div class="scale" role="presentation"><div style="background:linear-gradient(to right, '
        f'{gradient})"></div>{ticks}</div>'
    )
