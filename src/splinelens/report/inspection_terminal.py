"""An inspection, or one token of it, in a terminal: tables of tokens and layers, and curves of blocks.

Nothing that a text holds can move a cursor or turn a line around.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from splinelens.features.token_report import TokenReport
from splinelens.geometry.settings import SPLINE7, THRESHOLDS
from splinelens.report.card import layer_ranges
from splinelens.report.inspection import (
    Inspection,
    dimension_sums,
    distance_table,
    layer_table,
    short,
    token_labels,
)
from splinelens.report.tables import Table, count_of
from splinelens.report.terminal import rich_table
from splinelens.texts.plain_text import readable, visible

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table as RichTable

BLOCKS = "▁▂▃▄▅▆▇█"
"""From the lowest to the highest number of a curve."""

_TOKEN = (8, 28)  # cells for a token: at least, at most
_FIXED = 36  # cells of the other columns of a token's line, gaps included
_HEAD_TOKENS = 8  # active tokens of a head that are shown

_TOKENS = (
    "Tokens: signs is the mean over the layers read of the share of positive neurons; nearest is the "
    "smallest boundary distance over them, in units of that layer's MLP input. Distances of different layers "
    "have different units: compare within a layer, in the table of layers."
)
_CURVES = (
    "ID: intrinsic dimension, vertices, sum over heads; curves: relative threshold, {} to {}, logarithmic."
)
_LAYERS = (
    "Layers: sign mean, min and max of the tokens' sign fractions; nearest: smallest boundary distance of a "
    "token; ID abs, ID rel: intrinsic dimension with the absolute and the relative threshold, mean over "
    "tokens of the sum over heads; regions: distinct regions."
)
_DISTANCES = (
    "1 to 2: share of neurons whose signs differ between a token of one text and one of the other; 1 to 1 "
    "and 2 to 2 the same within a text. 1 to 2 is at least the mean of those; the excess over that mean is "
    "the difference between the texts."
)


def inspection_view(inspection: Inspection, width: int) -> "Group":
    """Everything of an inspection that can be read without figures."""
    from rich.console import Group
    from rich.text import Text

    pair = len(inspection.texts) > 1
    sizes = (
        f"{count_of(len(inspection.layers), 'layer')} ({layer_ranges(inspection.layers)}) of "
        f"{count_of(inspection.neurons, 'neuron')}, {count_of(inspection.heads, 'head')}, "
        f"eps {inspection.eps:g}"
    )
    parts: list[Any] = [Text.assemble((readable(inspection.model), "bold"), ", ", sizes)]  # Any: renderables
    sums = np.concatenate([dimension_sums(text, 1).ravel() for text in inspection.texts])
    sums = sums[np.isfinite(sums)]
    legend = [_TOKENS, _LAYERS, *([_DISTANCES] if pair else [])]
    if sums.size:
        low, high = f"{BLOCKS[0]} {sums.min():,.0f}", f"{BLOCKS[-1]} {sums.max():,.0f} vertices"
        legend.insert(1, _CURVES.format(low, high))
    for number, text in enumerate(inspection.texts, start=1):
        name = f"text {number}" if pair else "text"
        parts += [Text(f"\n{name}: {count_of(text.tokens, 'token')}", style="bold")]
        parts += [_token_table(text, inspection, sums, width), Text(), rich_table(layer_table(text))]
    if inspection.text_distance is not None:
        parts += [Text("\ndistance between the texts", style="bold"), rich_table(distance_table(inspection))]
    parts += [Text(), *(Text(words, style="dim") for words in legend)]
    for at in range(len(inspection.texts)):
        name = f", text {at + 1}" if pair else ""
        if inspection.percentiles is not None:
            reference = readable(inspection.reference[at]) if inspection.reference else ""
            against = f"\npercentiles{name}, against {reference}"
            parts += [Text(against, style="bold")]
            parts += [rich_table(_percentile_table(inspection.percentiles[at], inspection.layers))]
        if inspection.prefixes is not None:
            parts += [Text(f"\nwhile the text grows{name}", style="bold")]
            parts += [rich_table(_prefix_table(inspection.prefixes[at], inspection.layers, width))]
    if inspection.slice is not None:
        view = inspection.slice
        through = "; ".join(readable(label) for label in view.labels)
        regions = f"{'up to ' * (view.regions > 1)}{count_of(view.regions, 'region')}"
        walls = f"{len(view.walls):,} of {count_of(view.neurons, 'wall')}"
        parts += [Text(f"\nslice of layer {view.layer} through {through}: {regions}, {walls} (-o draws it)")]
    parts += [Text(f"note: {readable(note)}", style="yellow") for note in inspection.notes]
    return Group(*parts)


def token_view(record: dict[str, Any], model: str, pieces: Sequence[str] = ()) -> "Group":
    """One token at one layer."""
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    facts = RichTable.grid(padding=(0, 2))
    for name, words in _facts(record).items():
        facts.add_row(Text(name, style="dim"), Text(words))
    where = f", layer {record['layer']}, token {record['token']} '{visible(record['piece'])}'\n"
    parts: list[Any] = [Text.assemble((readable(model), "bold"), where), facts]  # Any: renderables
    if record["hull"] is not None:
        heads = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("head", "abs", "rel"):
            heads.add_column(name, justify="right")
        heads.add_column("active tokens and their weights", overflow="fold")
        for number, head in enumerate(record["hull"]["heads"]):
            counts = (str(number), str(head["absolute"]), str(head["relative"]))
            heads.add_row(*counts, Text(_active(head, pieces)))
        parts += [Text(), heads]
    parts += [Text(f"note: {readable(note)}", style="yellow") for note in record["notes"]]
    return Group(*parts)


def curve(values: Sequence[float] | np.ndarray, low: float, high: float, room: int) -> str:
    """Numbers as a curve of blocks; where room is short, several are drawn as their mean.

    Example:
        >>> curve([0.0, 7.0, float("nan"), 3.0], 0.0, 7.0, 10)
        '▁█·▄'
    """
    parts = np.array_split(np.asarray(values, float), min(room, len(values)) or 1)
    means = [part[np.isfinite(part)].mean() if np.isfinite(part).any() else np.nan for part in parts]
    steps, span = len(BLOCKS) - 1, high - low
    return "".join(
        "·"
        if np.isnan(mean)
        else BLOCKS[int(np.clip((mean - low) / span * steps, 0, steps)) if span > 0 else 0]
        for mean in means
    )


def _token_table(text: TokenReport, inspection: Inspection, sums: np.ndarray, width: int) -> "RichTable":
    """One line per token; the nearest boundary of the text is bold."""
    from rich.table import Table as RichTable
    from rich.text import Text

    layers, labels = inspection.layers, token_labels(text)
    digits = max(3, len(str(len(labels) - 1)))
    room = min(len(layers), max(12, width - _FIXED - digits - _TOKEN[0]))
    shown = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    shown.add_column("", justify="right", style="dim", min_width=digits)
    longest = max(_TOKEN[0], min(_TOKEN[1], width - _FIXED - digits - room))
    shown.add_column("token", no_wrap=True, overflow="ellipsis", max_width=longest)
    for name in ("signs", "nearest", "layer/neuron"):
        shown.add_column(name, justify="right", no_wrap=True)
    if sums.size:
        shown.add_column(f"ID, layers {layer_ranges(layers)}", style="cyan", no_wrap=True)
        low, high = np.log(np.maximum([sums.min(), sums.max()], 0.5))
    logs, nearest = np.log(np.maximum(dimension_sums(text, 1), 0.5)), text.boundary.min(initial=np.inf)
    for token, label in enumerate(labels):
        at = int(np.argmin(text.boundary[:, token]))
        distance = text.boundary[at, token]
        where = f"{layers[at]}/{text.nearest_wall[at, token]}" if np.isfinite(distance) else "-"
        style = "bold" if distance == nearest else ""
        cells = [Text(label), Text(f"{text.sign[:, token].mean():.3f}")]
        cells += [Text(short(distance), style=style), Text(where, style=style)]
        cells += [Text(curve(logs[:, token], low, high, room))] if sums.size else []
        shown.add_row(str(token), *cells)
    return shown


def _percentile_table(percentiles: np.ndarray, layers: Sequence[int]) -> Table:
    rows = [
        (str(layer), *(f"{share:.0f}" for share in row))
        for layer, row in zip(layers, percentiles, strict=True)
    ]
    return Table(("layer", *(name.replace("boundary", "bound") for name in SPLINE7)), rows)


def _prefix_table(prefixes: np.ndarray, layers: Sequence[int], width: int) -> Table:
    """The first, the middle and the last layer."""
    rows = []
    for feature, name in enumerate(SPLINE7):
        for at in sorted({0, len(layers) // 2, len(layers) - 1}):
            values = prefixes[at, :, feature]
            low, high = float(np.min(values)), float(np.max(values))
            drawn = curve(values, low, high, max(12, width - 45))
            rows.append((name, str(layers[at]), short(low), short(high), drawn))
    head = ("feature", "layer", "lowest", "highest", f"over {count_of(prefixes.shape[1], 'token')}")
    return Table(head, rows)


def _facts(record: dict[str, Any]) -> dict[str, str]:
    """Everything about a token but the heads, by name."""
    neurons = count_of(record["neurons"], "neuron")
    facts = {
        "region": f"{record['region']}, {record['sign']:.3f} of {neurons} positive",
        "nearest wall": "none",
    }
    if record["experts"]:
        facts["experts"] = ", ".join(map(str, record["experts"]))
    if record["boundary"] is not None:
        step = "no step" if record["crossing"] is None else f"a step of {record['crossing']:.3g}"
        distance = f"neuron {record['wall']}, at distance {record['boundary']:.3g}"
        facts["nearest wall"] = f"{distance}, {step} crosses it and no other"
    facts["MLP"] = f"input norm {record['input']:.3g}"
    if record["output"] is not None:
        facts["MLP"] += f", output norm {record['output']:.3g}"
    if record["map"] is not None:
        norms = record["map"]
        facts["map"] = (
            f"{norms['kind']}, norm {norms['norm']:.3g}, Frobenius norm {norms['frobenius']:.3g}, "
            f"effective rank {norms['effective_rank']:.1f}"
        )
    if (hull := record["hull"]) is not None:
        for at, threshold in enumerate(THRESHOLDS):
            measured = "-" if hull["measured"] is None else hull["measured"][at]
            facts[f"ID {threshold}"] = (
                f"{hull['loose'][at]:,} vertices, bound on the hull's dimension {hull['tight'][at]:,}, "
                f"measured {measured}, eps {record['eps']:g}"
            )
    return facts


def _active(head: dict[str, Any], pieces: Sequence[str]) -> str:
    """The active tokens of a head, and how many more there are."""
    shown = []
    for token, weight in zip(head["tokens"][:_HEAD_TOKENS], head["weights"], strict=False):
        piece = "before" if token < 0 else f"'{visible(pieces[token])}'" if token < len(pieces) else ""
        shown.append(" ".join(filter(None, (str(token), piece, f"{weight:.3f}"))))
    more = len(head["tokens"]) - _HEAD_TOKENS
    return ", ".join([*shown, *([f"{more:,} more"] if more > 0 else [])])
