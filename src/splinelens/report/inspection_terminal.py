"""An inspection in lines of text: one a token, one a layer, and curves of blocks.

The same lines go to a terminal, in colours, and into a pipe, without. Nothing a text holds can move a
cursor or turn a line around.
"""

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from splinelens.geometry.partition import SPLINE7
from splinelens.report.card import layer_ranges
from splinelens.report.inspection import Inspection, Portrait, SliceView, readable

if TYPE_CHECKING:
    from rich.text import Text

BLOCKS = "▁▂▃▄▅▆▇█"
"""From the lowest to the highest number of a curve."""

_GAP = "·"
_TOKEN = (8, 28)  # cells for a token: at least, at most
_LEFT_OUT = ("least", "most", "regions", "ID abs", "ID rel")  # of two texts, where lines would be too long
_FIXED = 36  # cells of the other columns of a token's line, gaps included


def terminal(inspection: Inspection, width: int) -> "Text":
    """What is to be read of an inspection without pictures.

    Args:
        inspection: The record.
        width: Columns of the terminal; at fewer than 60 lines are longer than that.

    Returns:
        A ``rich`` text; its ``plain`` is the form for pipes.
    """
    from rich.text import Text

    shown = Text(no_wrap=True)
    shown.append(readable(inspection.model), style="bold")
    shown.append(
        f", {_counted(len(inspection.layers), 'layer')} ({layer_ranges(inspection.layers)}) of "
        f"{_counted(inspection.neurons, 'neuron')}, {_counted(inspection.heads, 'head')}, "
        f"eps {inspection.eps:g}\n"
    )
    span = _span(inspection)
    for number, text in enumerate(inspection.portraits):
        name = "text" if len(inspection.portraits) == 1 else f"text {number + 1}"
        shown.append(f"\n{name}: {_counted(len(text.spans), 'token')}\n", style="bold")
        _tokens(shown, text, inspection, span, width)
    shown.append("\n")
    _lines(shown, *_layers(inspection, width))
    for words in _legend(inspection, span):
        shown.append(_wrapped(words, width), style="dim")
    for number, text in enumerate(inspection.portraits):
        name = "" if len(inspection.portraits) == 1 else f", text {number + 1}"
        if text.percentiles is not None and inspection.reference:
            against = f"percentiles{name}, against {readable(inspection.reference)}"
            shown.append("\n" + _wrapped(against, width), style="bold")
            _lines(shown, *_percentiles(text.percentiles, inspection.layers))
        if text.prefixes is not None:
            shown.append(f"\nwhile the text grows{name}\n", style="bold")
            _lines(shown, *_prefixes(text.prefixes, inspection.layers, width))
    if inspection.slice is not None:
        shown.append("\n" + _wrapped(_slice(inspection.slice), width))
    for note in inspection.notes:
        shown.append(_wrapped(f"note: {readable(note)}", width), style="yellow")
    shown.rstrip()
    return shown


def curve(values: Sequence[float] | np.ndarray, low: float, high: float, room: int) -> str:
    """Numbers as a curve of blocks; several become one, their mean, where room is short.

    Args:
        values: The numbers; NaN leaves a dot.
        low: What the lowest block stands for.
        high: What the highest stands for.
        room: Blocks at most.

    Returns:
        One block a number, or ``room`` of them.

    Example:
        >>> curve([0.0, 7.0, float("nan"), 3.0], 0.0, 7.0, 10)
        '▁█·▄'
    """
    parts = np.array_split(np.asarray(values, float), min(room, len(values)) or 1)
    means = [part[np.isfinite(part)].mean() if np.isfinite(part).any() else np.nan for part in parts]
    steps = len(BLOCKS) - 1
    return "".join(
        _GAP
        if np.isnan(mean)
        else BLOCKS[int(np.clip((mean - low) / (high - low) * steps, 0, steps)) if high > low else 0]
        for mean in means
    )


def _legend(inspection: Inspection, span: tuple[float, float] | None) -> list[str]:
    """What the columns of both tables are, a paragraph a table and one on two texts."""
    tokens = (
        "a line a token: signs is the mean over the layers read of the share of neurons on; nearest is the "
        "smallest boundary distance over them, in units of that layer's MLP input. Distances of different "
        "layers have different units: compare within a layer, in the second table"
    )
    layers = (
        "a line a layer: signs is the mean over tokens, least and most the smallest and largest of a token; "
        "nearest the smallest distance of a token; regions: distinct regions"
    )
    if span is not None:
        low, high = span
        tokens += (
            f". ID: intrinsic dimension, vertices, sum over heads; curves: relative threshold, {BLOCKS[0]} "
            f"{low:,.0f} to {BLOCKS[-1]} {high:,.0f} vertices, logarithmic"
        )
        layers += (
            "; ID abs, ID rel: intrinsic dimension, vertices, with the absolute and the relative threshold: "
            "mean over tokens of the sum over heads"
        )
    distances = (
        "1 to 2: share of neurons whose signs differ between a token of one text and one of the other; 1 to "
        "1 and 2 to 2 the same within a text. 1 to 2 is at least the mean of those: what it lies above it is "
        "the difference of the texts"
    )
    return [tokens, layers] if inspection.text_distance is None else [tokens, layers, distances]


def _span(inspection: Inspection) -> tuple[float, float] | None:
    """The smallest and largest relative intrinsic dimension of both texts; None without softmax."""
    sums = np.concatenate([_sums(text, 1).ravel() for text in inspection.portraits])
    there = sums[np.isfinite(sums)]
    return (float(there.min()), float(there.max())) if there.size else None


def _sums(text: Portrait, threshold: int) -> np.ndarray:
    """Intrinsic dimension over all heads; NaN at layers without softmax attention."""
    counts = text.dimension[threshold]
    there = (counts >= 0).all(axis=1) & (counts.shape[1] > 0)
    return np.where(there, counts.sum(axis=1), np.nan)


def _tokens(
    shown: "Text", text: Portrait, inspection: Inspection, span: tuple[float, float] | None, width: int
) -> None:
    from rich.cells import cell_len

    labels, layers = text.labels(), inspection.layers
    digits = max(3, len(str(len(labels) - 1)))
    wide = max(_TOKEN[0], min(_TOKEN[1], max(map(cell_len, labels), default=0)))
    room = min(len(layers), max(12, width - _FIXED - digits - _TOKEN[0]))
    wide = max(_TOKEN[0], min(wide, width - _FIXED - digits - room))
    head = f"{'':{digits}} {'token':{wide}}  signs  nearest  {'layer/neuron':>12}"
    shown.append(head + (f"  ID, layers {layer_ranges(layers)}\n" if span else "\n"), style="dim")
    logs = np.log(np.maximum(_sums(text, 1), 0.5))
    least = text.boundary.min(initial=np.inf)
    for token, label in enumerate(labels):
        at = int(np.argmin(text.boundary[:, token]))
        nearest = text.boundary[at, token]
        where = f"{layers[at]}/{text.wall[at, token]}" if np.isfinite(nearest) else "-"
        shown.append(f"{token:{digits}} ", style="dim")
        shown.append(_fitted(label, wide))
        shown.append(f"  {text.sign[:, token].mean():.3f}")
        shown.append(f"  {_short(nearest):>7}  {where:>12}", style="bold" if nearest == least else "")
        if span:
            low, high = np.log(np.maximum(span, 0.5))
            shown.append(f"  {curve(logs[:, token], low, high, room)}", style="cyan")
        shown.append("\n")


def _layers(inspection: Inspection, width: int) -> tuple[list[str], list[list[str]]]:
    """The summary of each layer: of one text in more detail, of two side by side as far as there is room."""
    pair = len(inspection.portraits) > 1
    table = {"layer": [str(layer) for layer in inspection.layers]}
    for number, text in enumerate(inspection.portraits, start=1):
        found = {
            "signs": [f"{value:.3f}" for value in text.seven[:, 0]],
            "least": [f"{value:.3f}" for value in text.seven[:, 1]],
            "most": [f"{value:.3f}" for value in text.seven[:, 2]],
            "nearest": [_short(value) for value in text.boundary.min(axis=1, initial=np.inf)],
            "ID abs": [_mean(sums) for sums in _sums(text, 0)],
            "ID rel": [_mean(sums) for sums in _sums(text, 1)],
            "regions": [str(count) for count in text.regions],
        }
        table |= {f"{name} {number}" if pair else name: column for name, column in found.items()}
    distances = [] if inspection.text_distance is None else [("1 to 2", inspection.text_distance)]
    for number, own in enumerate(() if inspection.own_distance is None else inspection.own_distance, start=1):
        distances.append((f"{number} to {number}", own))
    table |= {name: [f"{share:.3f}" for share in shares] for name, shares in distances}
    for name in _LEFT_OUT if pair else ():
        if sum(2 + max(map(len, [head, *column])) for head, column in table.items()) - 2 <= width:
            break
        table = {head: column for head, column in table.items() if head[:-2] != name}
    return list(table), [list(row) for row in zip(*table.values(), strict=True)]


def _percentiles(percentiles: np.ndarray, layers: Sequence[int]) -> tuple[list[str], list[list[str]]]:
    heads = ["layer", *(name.replace("boundary", "bound") for name in SPLINE7)]
    rows = zip(layers, percentiles, strict=True)
    return heads, [[str(layer), *(f"{share:.0f}" for share in row)] for layer, row in rows]


def _prefixes(prefixes: np.ndarray, layers: Sequence[int], width: int) -> tuple[list[str], list[list[str]]]:
    """Three layers stand for all: the first, the middle and the last."""
    chosen = sorted({0, len(layers) // 2, len(layers) - 1})
    rows = []
    for place, name in enumerate(SPLINE7):
        for at in chosen:
            values = prefixes[at, :, place]
            low, high = float(np.min(values)), float(np.max(values))
            drawn = curve(values, low, high, max(12, width - 45))
            rows.append([name, str(layers[at]), _short(low), _short(high), drawn])
    return ["feature", "layer", "lowest", "highest", f"over {_counted(prefixes.shape[1], 'token')}"], rows


def _slice(view: SliceView) -> str:
    through = "; ".join(readable(label) for label in view.labels)
    return (
        f"slice of layer {view.layer} through {through}: "
        f"{'up to ' * (view.cells > 1)}{_counted(view.cells, 'region')}, "
        f"{len(view.walls):,} of {_counted(view.neurons, 'wall')} (-o draws it)"
    )


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' * (number != 1)}"


def _wrapped(words: str, width: int) -> str:
    return fill(words, max(40, width), break_on_hyphens=False) + "\n"


def _lines(shown: "Text", heads: list[str], rows: list[list[str]]) -> None:
    """Columns as wide as they need; numbers to the right, words and curves to the left."""
    table = [heads, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(heads))]
    words = [not any(character.isdigit() for character in cell) for cell in table[-1]]
    for number, row in enumerate(table):
        cells = [
            f"{cell:<{wide}}" if left else f"{cell:>{wide}}"
            for cell, wide, left in zip(row, widths, words, strict=True)
        ]
        shown.append("  ".join(cells).rstrip() + "\n", style="dim" if number == 0 else "")


def _fitted(label: str, cells: int) -> str:
    from rich.cells import cell_len, set_cell_size

    return set_cell_size(label, cells) if cell_len(label) <= cells else set_cell_size(label, cells - 1) + "…"


def _short(number: float) -> str:
    if not np.isfinite(number):
        return "-"
    return f"{number:.3g}" if number == 0 or abs(number) >= 1e-3 else f"{number:.1e}"


def _mean(counts: np.ndarray) -> str:
    return f"{counts.mean():.1f}" if np.isfinite(counts).all() else "-"
