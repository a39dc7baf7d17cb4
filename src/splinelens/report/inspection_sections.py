"""The sections of an inspection's page: each with its title, its units, its controls and places for figures.

A script draws the figures into these places. All words of a stranger are escaped on their way in.
"""

from collections.abc import Iterable
from html import escape

import numpy as np

from splinelens.geometry.attention import THRESHOLDS
from splinelens.geometry.partition import SPLINE7
from splinelens.report.inspection import Inspection, Portrait, SliceView, readable, visible
from splinelens.report.inspection_figures import TITLES, cut, twins
from splinelens.report.inspection_plots import figure_place, panel, scale_bar
from splinelens.report.inspection_scales import BETWEEN, DEPTH, POINTS, TEXTS, Scale, scales

_WORDS = {
    "sign": (
        "Sign fraction",
        "Share of the layer's neurons whose gate is positive at the token, from 0 to 1: mean over k of "
        "1[gate_k > 0]. Colours reach from the 5th to the 95th percentile of the numbers shown, because the "
        "first layer often lies far from the others: what is beyond has the colour of its end.",
    ),
    "boundary": (
        "Boundary distance",
        "Length of the shortest step of the MLP's input that flips one neuron's sign, in units of that "
        "input: min over k of |gate_k| / ‖w_k‖. Colours follow its logarithm; 0 is a token on a wall.",
    ),
    "dimension": (
        "Intrinsic dimension",
        "Vertices of the hull that count, summed over heads: absolute counts the tokens with attention above "
        "eps, relative those above eps times the head's largest.",
    ),
    "heads": (
        "",
        "The same for each head of one layer, in vertices; the absolute count stays below 1 / eps.",
    ),
    "features": (
        "The seven features",
        "Sign fraction (share of neurons) and boundary distance (units of the MLP's input) of a layer, "
        "pooled over the text's tokens; standard deviations divide by n - 1.",
    ),
    "percentiles": (
        "",
        "Share of the reference texts whose number is smaller, in percent, equal ones counted half: 50 is an "
        "ordinary text. Of some hundred percentiles a few are always extreme, of an ordinary text too.",
    ),
    "regions": (
        "distinct regions",
        "Different sign patterns among the text's tokens; at most as many as it has tokens.",
    ),
    "text_distance": (
        "Distance between the texts",
        "Mean share of neurons whose signs differ between a token of one and a token of the other, from 0 "
        "to 1. The thin lines are the same within each text: the distance between the texts is never below "
        "the mean of these two, and only what it lies above that mean is a difference of the texts.",
    ),
    "prefixes": (
        "While the text grows",
        "The seven features of the first 1, 2, 3, ... tokens, one line a layer, in shares of neurons and "
        "units of the MLP's input. One pass gives them all: attention is causal. Boundary features have a "
        "logarithmic axis; a 0, such as any deviation of one token, is drawn at its lower end.",
    ),
}


def sections(inspection: Inspection) -> dict[str, tuple[str, str]]:
    """The title and the HTML of each section by name, in their order on the page.

    Args:
        inspection: The record.

    Returns:
        ``texts``, ``sign``, ``boundary``, ``dimension``, ``features``, ``text_distance``, ``prefixes``,
        ``slice`` and ``numbers``; what the record does not hold is left out.
    """
    shared = scales(inspection)
    parts = {
        "texts": ("Text" if len(inspection.portraits) == 1 else "Texts", _texts(inspection)),
        "sign": (_WORDS["sign"][0], _maps("sign", inspection, shared["sign"], "share of neurons")),
        "boundary": (
            _WORDS["boundary"][0],
            _maps("boundary", inspection, shared["boundary"], "units of the MLP's input"),
        ),
        "dimension": (_WORDS["dimension"][0], _dimension(inspection, shared)),
        "features": (_WORDS["features"][0], _features(inspection, shared)),
        "text_distance": (_WORDS["text_distance"][0], _text_distance(inspection)),
        "prefixes": (_WORDS["prefixes"][0], _prefixes(inspection)),
        "slice": ("A slice of the partition", _slice(inspection.slice)),
        "numbers": ("Numbers and notes", _numbers(inspection) + _notes(inspection)),
    }
    return {name: part for name, part in parts.items() if part[1]}


def _texts(inspection: Inspection) -> str:
    return _side_by_side(
        inspection, [_tokens(text, number) for number, text in enumerate(inspection.portraits)]
    )


def _tokens(text: Portrait, number: int) -> str:
    """The text in its tokens: a character that several tokens share stands there once."""
    pieces, end = [], 0
    for run in text.characters():
        begin, last = text.spans[run[0]][0], text.spans[run[-1]][1]
        pieces.append(_quiet(text.text[end:begin]))
        words = f"token {run[0]}" if len(run) == 1 else f"tokens {run[0]} to {run[-1]}"
        shown = _readable(text.text[max(begin, end) : last])
        pieces.append(f'<span data-tokens="{" ".join(map(str, run))}" title="{words}">{shown}</span>')
        end = max(end, last)
    pieces.append(_quiet(text.text[end:]))
    count = len(text.spans)
    return (
        f'<div class="tokens" dir="auto" tabindex="0" role="group" data-text="{number}">{"".join(pieces)}'
        f'</div><p class="quiet">{count:,} token{"s" * (count != 1)}, numbered from 0</p>'
    )


def _readable(piece: str) -> str:
    """Blanks and breaks as they are, a break also as a sign; whatever else is hidden as a sign."""
    if not piece:
        return "<i>∅</i>"
    return "".join(
        character
        if character == " "
        else f"<i>{visible(character)}</i>" + "\n" * (character == "\n")
        if visible(character) not in (character, "◌" + character) and character not in "\u200c\u200d"
        else escape(character)
        for character in piece
    )


def _quiet(piece: str) -> str:
    return f"<i>{_readable(piece)}</i>" if piece else ""


def _maps(name: str, inspection: Inspection, scale: Scale, unit: str) -> str:
    title, words = _WORDS[name]
    plots = [
        figure_place(f"{name}-{number}", words, _label(title, number, inspection), len(text.spans))
        for number, text in enumerate(inspection.portraits)
    ]
    return f"<p>{escape(words)}</p>{scale_bar(scale, unit)}{_side_by_side(inspection, plots)}"


def _dimension(inspection: Inspection, shared: dict[str, Scale]) -> str:
    if THRESHOLDS[0] not in shared:
        return ""
    there = (inspection.portraits[0].dimension[0] >= 0).all(axis=(1, 2))
    usable = [str(place) for place in np.flatnonzero(there)]
    middle = len(usable) // 2
    title, words = _WORDS["dimension"]
    radios = "".join(
        f'<label><input type="radio" name="threshold" value="{name}"'
        f"{' checked' * (name == THRESHOLDS[0])}>{name}</label>"
        for name in THRESHOLDS
    )
    slider = (
        f'<label for="layer">Each head of <output id="layer-chosen">layer '
        f"{inspection.layers[int(usable[middle])]}</output></label>"
        f'<input type="range" id="layer" min="0" max="{len(usable) - 1}" value="{middle}" '
        f'data-layers="{",".join(usable)}">'
    )
    sums, heads = [
        _side_by_side(
            inspection,
            [
                figure_place(f"{name}-{number}", words, _label(title, number, inspection), len(text.spans))
                for number, text in enumerate(inspection.portraits)
            ],
        )
        for name in ("dimension", "heads")
    ]
    return (
        f"<p>{escape(words)} eps = {inspection.eps:g}.</p>"
        f'<fieldset class="controls"><legend hidden>Threshold</legend>{radios}</fieldset>'
        f"{_by_threshold(shared, '', 'vertices, all heads')}{sums}"
        f'<div class="controls">{slider}</div><p class="quiet">{escape(_WORDS["heads"][1])} A click on the '
        f"picture above chooses its layer.</p>{_by_threshold(shared, 'heads-', 'vertices, one head')}{heads}"
    )


def _by_threshold(shared: dict[str, Scale], prefix: str, unit: str) -> str:
    return "".join(
        f'<div data-threshold="{name}"{" hidden" * (name != THRESHOLDS[0])}>'
        f"{scale_bar(shared[prefix + name], unit)}</div>"
        for name in THRESHOLDS
    )


def _features(inspection: Inspection, shared: dict[str, Scale]) -> str:
    parts = [f"<p>{escape(_WORDS['features'][1])}</p>", _keys(inspection)]
    if inspection.reference and inspection.portraits[0].percentiles is not None:
        plots = [
            figure_place(
                f"percentiles-{number}", _WORDS["percentiles"][1], _label("Percentiles", number, inspection)
            )
            for number, _ in enumerate(inspection.portraits)
        ]
        against = f"Against {readable(inspection.reference)}. {_WORDS['percentiles'][1]}"
        parts += [f"<p>{escape(against)}</p>", scale_bar(shared["percentiles"], "percentile")]
        parts.append(_side_by_side(inspection, plots))
    panels = [panel(name, title) for name, title in zip(SPLINE7, TITLES, strict=True)]
    panels.append(panel("regions", _WORDS["regions"][0], _WORDS["regions"][1]))
    return "".join([*parts, f'<div class="panels">{"".join(panels)}</div>'])


def _text_distance(inspection: Inspection) -> str:
    if inspection.text_distance is None:
        return ""
    title, words = _WORDS["text_distance"]
    between = f'<span class="key" style="background:{BETWEEN}"></span> Text 1 to 2'
    keys = " &nbsp; ".join([between, *(f"{_whose(number)} to itself" for number in (0, 1))])
    return f"<p>{escape(words)}</p><p>{keys}</p>{figure_place('text_distance', words, title)}"


def _prefixes(inspection: Inspection) -> str:
    if all(text.prefixes is None for text in inspection.portraits):
        return ""
    first, last = inspection.layers[0], inspection.layers[-1]
    scale = Scale(DEPTH, 0, 1, ((0.0, f"layer {first}"), (1.0, f"layer {last}")))
    parts = [f"<p>{escape(_WORDS['prefixes'][1])}</p>", scale_bar(scale, "")]
    for number, text in enumerate(inspection.portraits):
        if text.prefixes is None:
            continue
        named = f"<h3>{_whose(number)}</h3>" if len(inspection.portraits) > 1 else ""
        panels = [
            panel(f"prefixes-{name}-{number}", title) for name, title in zip(SPLINE7, TITLES, strict=True)
        ]
        parts.append(f'{named}<div class="panels">{"".join(panels)}</div>')
    return "".join(parts)


def _slice(view: SliceView | None) -> str:
    if view is None:
        return ""
    title = (
        f"{'up to ' * (view.cells > 1)}{view.cells:,} region{'s' * (view.cells != 1)} "
        f"of layer {view.layer} in this window; "
        f"{len(view.walls):,} of {view.neurons:,} walls cross it"
    )
    words = (
        "The plane through three points of the layer's input, in units of that input: each line is the wall "
        "of one neuron, each cell between lines one region; coloured is the region that holds a point."
    )
    labels = [escape(readable(label)) for label in view.labels]
    keys = " · ".join(
        f'<span class="key" style="background:{colour}"></span> <bdi>{label}</bdi>'
        + _whereabouts(view, number)
        for number, (colour, label) in enumerate(zip(POINTS, labels, strict=True))
    )
    views = ["whole window", *(f"near {cut(label, 28)}" for label in view.labels)]
    radios = "".join(
        f'<label><input type="radio" name="view" value="{number}"{" checked" * (number == 0)}>'
        f"<bdi>{escape(readable(name))}</bdi></label>"
        for number, name in enumerate(views)
    )
    return (
        f"<h3>{title}</h3><p>{words}</p><p>{keys}</p>"
        f'<fieldset class="controls"><legend hidden>View</legend>{radios}</fieldset>'
        + figure_place("slice", words, title)
    )


def _whereabouts(view: SliceView, number: int) -> str:
    if view.own[number] is None:
        return " (its region is not known)"
    same = twins(view).get(number)
    return "" if same is None else f" (in the same region as {escape(readable(view.labels[same]))})"


def _numbers(inspection: Inspection) -> str:
    """The layers in a table: readable without a script, and by screen readers."""
    names = ["sign fraction", "nearest", *(f"ID {name}" for name in THRESHOLDS), "regions"]
    columns = [str(layer) for layer in inspection.layers], *_columns(inspection)
    marks = ["" if len(inspection.portraits) == 1 else f" {n + 1}" for n in range(len(inspection.portraits))]
    heads = ["layer", *(name + mark for mark in marks for name in names)]
    if inspection.text_distance is not None:
        heads += ["1 to 2", *(["1 to 1", "2 to 2"] if inspection.own_distance is not None else [])]
    rows = "".join(
        f"<tr>{''.join(f'<td>{value}</td>' for value in row)}</tr>" for row in zip(*columns, strict=True)
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return (
        "<details><summary>Each layer in numbers: means over tokens; of the distance the smallest</summary>"
        f'<div class="table" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        "</div></details>"
    )


def _columns(inspection: Inspection) -> Iterable[list[str]]:
    for text in inspection.portraits:
        yield [f"{value:.4f}" for value in text.seven[:, 0]]
        nearest = text.boundary.min(axis=1, initial=np.inf)
        yield [f"{value:.3g}" if np.isfinite(value) else "-" for value in nearest]
        for counts in text.dimension:
            there = (counts >= 0).all(axis=(1, 2)) & (counts.shape[1] > 0)
            means = counts.sum(axis=1).mean(axis=1)
            yield [f"{mean:.1f}" if real else "-" for mean, real in zip(means, there, strict=True)]
        yield [f"{value}" for value in text.regions]
    if inspection.text_distance is not None:
        yield [f"{value:.4f}" for value in inspection.text_distance]
        for own in () if inspection.own_distance is None else inspection.own_distance:
            yield [f"{value:.4f}" for value in own]


def _notes(inspection: Inspection) -> str:
    if not inspection.notes:
        return ""
    lines = "".join(f"<li>{escape(readable(note))}</li>" for note in inspection.notes)
    return f"<h3>Notes</h3><ul>{lines}</ul>"


def _side_by_side(inspection: Inspection, bodies: list[str]) -> str:
    if len(bodies) == 1:
        return bodies[0]
    cells = "".join(f"<div><h3>{_whose(number)}</h3>{body}</div>" for number, body in enumerate(bodies))
    return f'<div class="pair two">{cells}</div>'


def _whose(number: int) -> str:
    return f'<span class="key" style="background:{TEXTS[number]}"></span> Text {number + 1}'


def _keys(inspection: Inspection) -> str:
    if len(inspection.portraits) == 1:
        return ""
    return f"<p>{' &nbsp; '.join(_whose(number) for number in range(len(inspection.portraits)))}</p>"


def _label(title: str, number: int, inspection: Inspection) -> str:
    return title if len(inspection.portraits) == 1 else f"{title}, text {number + 1}"
