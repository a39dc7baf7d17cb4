"""Draw the figures of docs/geometry.md and docs/miniature.md: python docs/pictures.py [FOLDER].

Every number comes from the default model on the sentences below (the exact map from a random ReLU MLP; those
of ``miniature`` from the record of benchmarks/miniature.py).
The figures are SVG without scripts or external files; each has a background for light and dark pages.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from drawing import at, axes, color, curve, dot, frame, legend, svg, text

import splinelens
from splinelens.anatomy import anatomy_of
from splinelens.features.look import TokenDetail, region_map
from splinelens.features.token_report import TokenReport, read_tokens, text_distances
from splinelens.geometry.affine import piecewise_map
from splinelens.geometry.codes import hamming, region_code, unpacked
from splinelens.geometry.hulls import active_keys, attention_weights, hull_vertices, minkowski_point
from splinelens.geometry.partition import signed_margin
from splinelens.geometry.settings import SPLINE7, THRESHOLDS
from splinelens.geometry.slices import slice_partition
from splinelens.geometry.walls import gate_at
from splinelens.models import LoadedModel
from splinelens.weights import walls_of

SENTENCE = "The old lighthouse keeper counted the passing ships and wrote their names in a small book."
OTHER = "Please send the invoice to our new office in Leeds before Friday."
GROWING = (
    "In spring we plant beans along the fence and sow carrots in the sandy bed by the river. "
    "Timetable: 06:12, 06:42, 07:12, 07:42, 08:12, 08:42, 09:12, 09:42. "
    "In summer the children water the garden in the evening and count the ripe tomatoes."
)
LAYER = 12
FIRST, SECOND, THIRD = 2, 7, 16  # lighthouse, ships, and the full stop
RECORD = Path(__file__).parents[1] / "benchmarks" / "miniature.json"
HULL_LAYER, HULL_TOKEN, HULL_HEAD = 16, 12, 2


def main() -> None:
    """Draw them all."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    loaded = splinelens.load_model("smollm2-135m", device="cpu")
    report = read_tokens(SENTENCE, loaded, keep_inputs=[LAYER], keep_call=(HULL_LAYER, HULL_TOKEN))
    drawn = {
        "token": lambda: token_(loaded, report),
        "slice": lambda: slice_(loaded, report),
        "walk": lambda: walk(loaded, report),
        "texts": lambda: texts(loaded, report),
        "layers": lambda: layers(report),
        "seven": lambda: seven(loaded),
        "map": lambda: maps(loaded, report),
        "hull": lambda: hull(loaded, report),
        "dimension": lambda: dimension(report),
        "prefixes": lambda: prefixes(loaded),
        "miniature": miniature,
    }
    for name, draw in drawn.items():
        path = folder / f"{name}.svg"
        path.write_text(draw(), "utf-8")
        print(f"{path.name}  {path.stat().st_size:,} bytes")


def token_(loaded: LoadedModel, report: TokenReport) -> str:
    """One token among the walls of one layer: margins, code, and the step through the nearest wall."""
    detail = splinelens.look(SENTENCE, loaded, layer=LAYER, token=FIRST)
    weight, bias = walls_of(anatomy_of(loaded.model), LAYER)
    gate = gate_at(detail.input.double(), weight, bias)[None]
    margin = signed_margin(gate, weight.norm(dim=1))[0].numpy()
    rising, off, half = np.sort(margin), int((margin <= 0).sum()), max(abs(margin))
    x, y = (0, len(margin), 60, 300), (-half, half, 230, 50)
    middle, turn = at(0.0, y), at(off, x)
    body = [text(20, 24, f"layer {LAYER}, token “{_piece(report, FIRST)}”: {len(margin):,} signed margins")]
    for begin, end, kind in ((0, off, "three"), (off, len(margin), "one")):
        body.append(curve(np.arange(begin, end), rising[begin:end], x, y, kind))
    body.append(f'<path class="dash" d="M60 {middle:.1f}H300M{turn:.1f} 230V50"/>')
    body += axes(x, y, [0, off, len(margin)], [-0.5, 0, 0.5], "neurons, by margin", "signed margin")
    body.append(text(turn + 6, 222, f"on: {detail.sign:.1%}", "ink", size=12))
    bits = unpacked(region_code(torch.from_numpy(margin)[None]), len(margin))[0].reshape(-1, 48).tolist()
    ones = "".join(
        f"M{360 + 4 * column} {52 + 6 * row}h4"
        for row, line in enumerate(bits)
        for column, bit in enumerate(line)
        if bit
    )
    body += [f'<path class="one" style="stroke-width:5" d="{ones}"/>', frame(360, 48, 192, 6 * len(bits) + 2)]
    body += [text(360, 260, "code, one cell a neuron, on is filled", "faint", size=12)]
    body.append(text(360, 276, f"region {detail.region}", "faint", size=12))
    way = detail.crossing.step.double() / detail.crossing.step.norm()
    met = (-gate_at(detail.input.double(), weight, bias) / (weight.double() @ way)).numpy()
    return svg(
        760, 420, body + _ray(detail, np.sort(met)), "One token: its margins, its code, and the nearest wall"
    )


def _ray(detail: TokenDetail, met: np.ndarray) -> list[str]:
    """The walls on the way of the crossing step, behind the token and in front of it."""
    step = float(detail.crossing.step.norm())
    following = met[met > 0][1]
    x = (-0.6 * following, 1.2 * following, 40, 720)
    first, here, end = at(detail.boundary, x), at(0, x), at(step, x)
    body = [text(20, 312, f"straight to the wall of neuron {detail.nearest_wall}, and through it")]
    body.append('<path class="axis" d="M40 356H720"/>')
    seen = met[(met > x[0]) & (met < x[1])]
    body += [f'<path class="axis" d="M{at(wall, x):.1f} 340v32"/>' for wall in seen]
    body.append(f'<path class="two" d="M{first:.1f} 336v40"/>')
    body.append(
        f'<path class="one" d="M{here:.1f} 386H{first:.1f}"/>'
        f'<path class="two" d="M{here:.1f} 330H{end:.1f}"/>'
    )
    body += [dot(here, 356, 1), dot(end, 330, 2, 4)]
    body.append(text(here - 8, 390, f"boundary distance {detail.boundary:.1e}", "ink", anchor="end", size=12))
    return [*body, text(end + 8, 326, f"crossing step {step:.1e}, ends just behind it", "ink", size=12)]


def slice_(loaded: LoadedModel, report: TokenReport) -> str:
    """All walls on the plane through three tokens, and the cells around one of them."""
    weight, bias = walls_of(anatomy_of(loaded.model), LAYER)
    points = report.inputs[LAYER][[FIRST, SECOND, THIRD]]
    whole = slice_partition(points, weight, bias)
    half = 0.1
    near = slice_partition(points, weight, bias, box=(-half, -half, half, half))
    low_x, low_y, high_x, high_y = whole.box
    tall = 340 * (high_y - low_y) / (high_x - low_x)
    x, y = (low_x, high_x, 20, 360), (low_y, high_y, 44 + tall, 44)
    ends = np.stack([at(whole.segments[..., 0], x), at(whole.segments[..., 1], y)], axis=-1)
    lines = "".join(f"M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}" for (a, b), (c, d) in ends)
    body = [text(20, 24, f"layer {LAYER}: {len(whole.walls):,} of {len(weight):,} walls cross this window")]
    body += [f'<path class="hair" d="{lines}"/>', frame(20, 44, 340, tall)]
    for number, (place, token) in enumerate(zip(whole.positions, (FIRST, SECOND, THIRD), strict=True), 1):
        left, top = at(place[0], x), at(place[1], y)
        body += [dot(left, top, number), text(left + 8, top - 8, f"“{_piece(report, token)}”")]
    own = near.on(near.positions[:1])[0]
    x, y = (-half, half, 400, 740), (-half, half, 384, 44)
    apart = [int((near.on(cell.mean(axis=0)[None])[0] != own).sum()) for cell in near.polygons]
    body += [text(400, 24, f"{len(apart):,} cells around “{_piece(report, FIRST)}”")]
    for cell, count in zip(near.polygons, apart, strict=True):
        path = "L".join(f"{at(a, x):.1f} {at(b, y):.1f}" for a, b in cell)
        body.append(f'<path d="M{path}z" fill="{color(count / max(apart))}"/>')
    body += [frame(400, 44, 340, 340), dot(570, 214, 1)]
    body += legend(400, 404, f"0 to {max(apart)} walls to the token")
    body.append(text(400, 444, f"the window is {2 * half} wide, the left one {high_x - low_x:.1f}", "faint"))
    return svg(760, max(60 + tall, 460), body, "The partition of one layer on the plane through three tokens")


def walk(loaded: LoadedModel, report: TokenReport) -> str:
    """How many walls lie between a token and each place on the straight way to another one."""
    weight, bias = walls_of(anatomy_of(loaded.model), LAYER)
    begin, end = (gate_at(report.inputs[LAYER][token], weight, bias) for token in (FIRST, SECOND))
    turning = (begin > 0) != (end > 0)
    met = np.sort((begin / (begin - end))[turning].numpy())
    x, y = (0, 1, 60, 600), (0, len(met), 260, 40)
    steps = "".join(f"H{at(place, x):.1f}V{at(count, y):.1f}" for count, place in enumerate(met, start=1))
    body = [f'<path class="one" d="M{x[2]} {y[2]}{steps}H{x[3]}"/>']
    body += axes(x, y, [0, 0.25, 0.5, 0.75, 1], [0, 100, 200, len(met)], "way gone", "signs that differ")
    start, stop = _piece(report, FIRST), _piece(report, SECOND)
    body += [
        text(60, 24, f"layer {LAYER}: from “{start}” straight to “{stop}”, {len(met)} walls are crossed")
    ]
    return svg(640, 310, body, "Walls crossed on the straight line between two tokens")


def texts(loaded: LoadedModel, report: TokenReport) -> str:
    """Walls between any two tokens of two texts, and the distance of the texts layer by layer."""
    other = read_tokens(OTHER, loaded, attention=False)
    code = torch.cat([report.code(LAYER), other.code(LAYER)])
    apart, most = hamming(code, code).numpy(), int(hamming(code, code).max())
    body = [text(20, 24, f"layer {LAYER}: walls between any two tokens of two texts")]
    for (row, column), count in np.ndenumerate(apart):
        place = f'x="{40 + 10 * column}" y="{40 + 10 * row}" width="10" height="10"'
        body.append(f'<rect {place} fill="{color(count / most)}"/>')
    edge, far = 40 + 10 * report.tokens, 40 + 10 * len(code)
    body.append(f'<path class="axis" stroke-width="2" d="M{edge} 40V{far}M40 {edge}H{far}"/>')
    for begin, end, name in ((40, edge, "the sentence"), (edge, far, "the other text")):
        body.append(text((begin + end) / 2, far + 16, name, "faint", anchor="middle", size=12))
        body.append(text(32, (begin + end) / 2, name, "faint", "rotate(-90)", "middle", 12))
    body += legend(40, far + 30, f"0 to {most}; 0 on the diagonal only")
    x, y = (0, len(report.layers) - 1, 450, 740), (0.25, 0.45, 340, 40)
    body += axes(x, y, range(0, len(report.layers), 5), [0.25, 0.3, 0.35, 0.4, 0.45], "layer", "")
    pairs = (("one", other, "sentence to the other text"), ("two", report, "sentence to itself"))
    for number, (kind, each, name) in enumerate(pairs, start=1):
        body.append(curve(np.array(report.layers), text_distances(loaded, report, each), x, y, kind))
        body += [dot(560, 282 + 18 * number, number), text(572, 286 + 18 * number, name, size=12)]
    body.append(text(450, 24, "mean share of neurons that differ"))
    return svg(760, far + 60, body, "Distances between the tokens of two texts")


def neighbor_distances(report: TokenReport) -> tuple[np.ndarray, np.ndarray]:
    """Share of neurons with the same index that differ in sign between layers l and l + 1.

    Returns:
        For each l the measured share, and ``r (1 - r') + r' (1 - r)``, expected of independent codes with
        the tokens' sign fractions r and r'.
    """
    neurons = report.neuron_count[0]
    signs = np.stack([unpacked(code, neurons).numpy() for code in report.codes])
    share = report.sign.astype(np.float64)
    measured = (signs[1:] != signs[:-1]).mean(axis=(1, 2))
    expected = (share[:-1] * (1 - share[1:]) + share[1:] * (1 - share[:-1])).mean(axis=1)
    return measured, expected


def layers(report: TokenReport) -> str:
    """Distance between neighboring layers, and what unmatched neurons give."""
    measured, expected = neighbor_distances(report)
    depth = len(report.layers)
    x, y = (0, depth - 2, 60, 600), (0.3, 0.6, 260, 40)
    body = [curve(np.arange(depth - 1), measured, x, y, "one")]
    body += [curve(np.arange(depth - 1), expected, x, y, "two")]
    body += axes(x, y, range(0, depth - 1, 4), [0.3, 0.4, 0.5, 0.6], "layer l", "share that differs")
    body += [dot(250, 216, 1), text(262, 220, "signs of layers l and l + 1, measured")]
    body += [dot(250, 236, 2), text(262, 240, "if their neurons had nothing to do with each other")]
    return svg(640, 310, body, "Hamming distance between neighboring layers")


def seven(loaded: LoadedModel) -> str:
    """The seven features of the sentence by layer, and their percentiles."""
    inspection = splinelens.inspect(SENTENCE, loaded)
    (report,) = inspection.texts
    found = report.seven
    depth = len(found)
    along, body = np.arange(depth), []
    panels = (
        (found[:, :4], (0, 1), [0, 0.25, 0.5, 0.75, 1], "sign fraction", ""),
        (np.log10(found[:, 4:]), (-8, -2), [-8, -6, -4, -2], "boundary distance", "y"),
    )
    for number, (values, (low, high), ticks, name, power) in enumerate(panels):
        x, y = (0, depth - 1, 70 + 370 * number, 350 + 370 * number), (low, high, 190, 40)
        if number == 0:
            band = [*zip(along, values[:, 1], strict=True), *zip(along[::-1], values[::-1, 2], strict=True)]
            edge = "L".join(f"{at(a, x):.1f} {at(b, y):.1f}" for a, b in band)
            body.append(f'<path class="area" d="M{edge}z"/>')
        shown = ((0, "one"), (3, "two")) if number == 0 else ((0, "three"), (1, "one"), (2, "two"))
        body += [curve(along, values[:, column], x, y, kind) for column, kind in shown]
        body += axes(x, y, range(0, depth, 5), ticks, "layer", "", power)
        body.append(text(x[2], 24, name))
    for kind, words in (
        (1, "mean"),
        (2, "standard deviation"),
        (3, "smallest (of signs: the band, to the largest)"),
    ):
        body += [dot((0, 75, 145, 300)[kind], 246, kind), text((0, 85, 155, 310)[kind], 250, words, size=12)]
    body.append(
        text(
            70,
            286,
            f"percentiles among ordinary texts as long; distinct regions: {_span(report.regions)}",
        )
    )
    for (layer, column), share in np.ndenumerate(inspection.percentiles[0]):
        place = f'x="{140 + 20 * layer}" y="{300 + 16 * column}" width="20" height="16"'
        body.append(f'<rect {place} fill="{color(share / 100)}"/>')
    for column, name in enumerate(SPLINE7):
        body.append(text(134, 312 + 16 * column, name, "faint", anchor="end", size=11))
    body += [
        text(150 + 20 * layer, 426, str(layer), "faint", anchor="middle", size=11)
        for layer in range(0, depth, 5)
    ]
    body += legend(140, 440, "percentile, 0 to 100")
    return svg(770, 470, body, "The seven features at every layer, and their percentiles")


def _span(counts: np.ndarray) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low} at each layer" if low == high else f"{low} to {high}"


def maps(loaded: LoadedModel, report: TokenReport) -> str:
    """Error of the map of a region with the length of the step."""
    dice = torch.Generator().manual_seed(0)
    first, last = (torch.randn(*size, generator=dice).double() for size in ((256, 64), (64, 256)))
    bias, point = torch.randn(256, generator=dice).double(), torch.randn(64, generator=dice).double()
    way = torch.randn(64, generator=dice).double()
    steps = np.logspace(-5, 0, 101)
    exact = piecewise_map(point, (first, bias), (last, None))
    true = [torch.relu(first @ (point + step * way / way.norm()) + bias) @ last.T for step in steps]
    errors = [_error(exact, step * way / way.norm(), value) for step, value in zip(steps, true, strict=True)]
    turn = steps[np.array(errors) > 1e-12][0]
    start, anatomy = report.inputs[LAYER][FIRST].double(), anatomy_of(loaded.model)
    tangent, way = region_map(anatomy, LAYER, start), torch.randn(len(start), generator=dice).double()
    bent = [
        _error(
            tangent,
            step * way / way.norm(),
            region_map(anatomy, LAYER, start + step * way / way.norm()).value,
        )
        for step in steps
    ]
    x, y = (-5, 0, 70, 600), (-16, 2, 290, 40)
    body = [curve(np.log10(steps), np.log10(np.maximum(errors, 1e-16)), x, y, "one")]
    body += [curve(np.log10(steps), np.log10(np.maximum(bent, 1e-16)), x, y, "two")]
    powers = [-5, -4, -3, -2, -1, 0], [-16, -12, -8, -4, 0]
    body += axes(x, y, *powers, "length of the step", "relative error", power="xy")
    body += [
        dot(90, 56, 1),
        text(102, 60, "exact: a random ReLU MLP; the rise is its first wall on this way"),
    ]
    body += [
        dot(90, 76, 2),
        text(102, 80, f"first-order: layer {LAYER} of the default model (gated, SiLU)"),
    ]
    body += [f'<path class="dash" d="M{at(np.log10(turn), x):.1f} {y[2]}V{y[3] + 60}"/>']
    return svg(640, 340, body, "Error of an exact and of a first-order map")


def _error(region: object, step: torch.Tensor, value: torch.Tensor) -> float:
    found = region.apply(region.point + step)
    return float((found - value).norm() / value.norm())


def hull(loaded: LoadedModel, report: TokenReport) -> str:
    """One head of one token: its weights with both thresholds, and the hull of the active keys."""
    call, anatomy = report.call, anatomy_of(loaded.model)
    weights = attention_weights(call.query[0, :, 0], call.key[0], scaling=call.scaling)[HULL_HEAD]
    projection = anatomy.output(HULL_LAYER).weight.detach()
    corners = hull_vertices(call.value[0].double(), projection)[HULL_HEAD]
    point = minkowski_point(corners[None], weights[None]).numpy()
    inner, outer = (active_keys(weights[None], threshold=name)[0].numpy() for name in THRESHOLDS)
    share, corners, most = weights.numpy(), corners.numpy(), float(weights.max())
    kinds = np.where(inner, 2, np.where(outer, 1, 3))
    body = [text(20, 24, f"layer {HULL_LAYER}, head {HULL_HEAD}, token “{_piece(report, HULL_TOKEN)}”: ")]
    body[0] = body[0].replace(": </text>", f": {inner.sum()} keys absolute, {outer.sum()} relative</text>")
    x, y = (-0.5, len(share) - 0.5, 60, 360), (0, 0.4, 270, 50)
    for key, weight in enumerate(share):
        left, top, wide = at(key - 0.4, x), at(weight, y), at(0.8, x) - at(0, x)
        place = f'x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{270 - top:.1f}"'
        body.append(f'<rect class="dot{kinds[key]}" {place}/>')
        body.append(text(at(key, x) - 2, 284, _piece(report, key), "ink", "rotate(50)", size=11))
    for edge, label in ((0.1, "eps"), (0.1 * most, "eps of the largest")):
        body.append(f'<path class="dash" d="M60 {at(edge, y):.1f}H360"/>')
        body.append(text(364, at(edge, y) + 4, label, "faint", size=11))
    body += axes(x, y, [], [0, 0.1, 0.2, 0.3, 0.4], "", "weight")
    plane = np.linalg.qr((corners[inner][1:] - corners[inner][0]).T)[0].T
    flat, here = (corners - corners[inner][0]) @ plane.T, (point - corners[inner][0]) @ plane.T
    middle, half = (flat.max(0) + flat.min(0)) / 2, (flat.max(0) - flat.min(0)).max() / 2
    x = (middle[0] - half, middle[0] + half, 470, 720)
    y = (middle[1] - half, middle[1] + half, 310, 60)
    path = "L".join(f"{at(a, x):.1f} {at(b, y):.1f}" for a, b in flat[inner])
    body.append(f'<path class="area" d="M{path}z"/>')
    for key in np.argsort(share):
        left, top = at(flat[key, 0], x), at(flat[key, 1], y)
        body.append(dot(left, top, kinds[key], radius=2 + 10 * float(share[key]) ** 0.5))
        if outer[key]:
            body.append(text(left + 10, top + 4, _piece(report, key)))
    cross = f"M{at(here[0], x) - 7:.1f} {at(here[1], y):.1f}h14m-7 -7v14"
    body.append(f'<path class="axis" stroke-width="2" d="{cross}"/>')
    body.append(text(440, 350, "the plane of the 3 keys above eps; + is the", "faint", size=12))
    body.append(text(440, 366, "point of the head, all other keys are projected", "faint", size=12))
    return svg(760, 390, body, "Weights and hull of one attention head")


def dimension(report: TokenReport) -> str:
    """Intrinsic dimension by layer and token, both thresholds."""
    body, most = [], int(report.dimension.sum(axis=2).max())
    for number, name in enumerate(THRESHOLDS):
        left = 60 + 380 * number
        counts = report.dimension[number].sum(axis=1)
        body.append(text(left, 24, f"{name}: {counts.min()} to {counts.max()} keys, all 9 heads"))
        for (layer, token), count in np.ndenumerate(counts):
            body.append(
                f'<rect x="{left + 18 * token}" y="{40 + 10 * layer}" width="18" height="10" '
                f'fill="{color(count / most)}"/>'
            )
        body += [
            text(left + 18 * token + 6, 356, _piece(report, token), "ink", "rotate(50)", size=11)
            for token in range(report.tokens)
        ]
        body += [
            text(left - 6, 49 + 10 * layer, str(layer), "faint", anchor="end") for layer in (0, 10, 20, 29)
        ]
    body.append(text(16, 190, "layer", "faint", "rotate(-90)"))
    body += legend(60, 420, f"0 to {most}")
    return svg(770, 450, body, "Intrinsic dimension of every token at every layer")


def prefixes(loaded: LoadedModel) -> str:
    """Some features while a text grows."""
    table = splinelens.extract([GROWING], loaded, prefixes=True, features=["spline7", "attention_id"])
    spans = read_tokens(GROWING, loaded, layers=[0], attention=False).spans
    turns = [
        next(k for k, (_, end) in enumerate(spans) if end > GROWING.index(word)) + 1
        for word in ("Time", "In summer")
    ]
    body = []
    for row, name in enumerate(("sign_mean", "boundary_mean", "attention_id_relative_mean")):
        values = {layer: table.column(f"layer{layer:02d}.{name}") for layer in (4, 12, 24)}
        low, high = 0.0, max(float(column[1:].max()) for column in values.values()) * 1.1
        x, y = (1, len(table), 80, 700), (low, high, 150 + 150 * row, 40 + 150 * row)
        for kind, column in zip(("one", "two", "three"), values.values(), strict=True):
            body.append(curve(np.arange(1, len(table) + 1), np.minimum(column, high), x, y, kind))
        body += [f'<path class="dash" d="M{at(turn, x):.1f} {y[2]}V{y[3]}"/>' for turn in turns]
        ticks = (1, *range(20, len(table) + 1, 20)) if row == 2 else []
        body += axes(
            x,
            y,
            ticks,
            [0, float(f"{high / 1.1:.1g}")],
            "tokens read" if row == 2 else "",
            name.replace("attention_id_", "id_"),
        )
    for kind, layer in enumerate((4, 12, 24), start=1):
        body += [dot(90 * kind, 20, kind), text(90 * kind + 10, 24, f"layer {layer}")]
    body.append(text(700, 24, "dashed: a timetable begins, ends", "faint", anchor="end"))
    return svg(730, 500, body, "Features of every prefix of one text")


def miniature() -> str:
    """Codes of visual and text tokens before and after training: the teacher and a student of each arm."""
    codes = json.loads(RECORD.read_text("utf-8"))["codes"]
    panels = (
        ("sign", 1.0, "neurons that are on", (0, 0.6), [0, 0.2, 0.4, 0.6]),
        ("distance", 1.0, "neurons that differ", (0, 0.6), [0, 0.2, 0.4, 0.6]),
        ("boundary", 1e4, "boundary distance, 1e-4", (0, 2.5), [0, 1, 2]),
    )
    kinds = (("one", "visual"), ("two", "text"), ("three", "visual to text"))
    body, trained = [], [name for name in codes if "before" not in name]
    for row, name in enumerate(trained):
        before, after = codes[f"{name.split(',')[0]}, before"], codes[name]
        depth, top = len(after["sign text"]), 72 + 180 * row
        body.append(text(20, top - 14, name.removesuffix(", after")))
        for column, (measure, unit, title, (low, high), ticks) in enumerate(panels):
            x, y = (0, depth - 1, 60 + 245 * column, 240 + 245 * column), (low, high, top + 120, top)
            for shown, dashes in ((before, "4 3"), (after, "none")):
                for line, kind in kinds:
                    if f"{measure} {kind}" in shown:
                        values = unit * np.array(shown[f"{measure} {kind}"])
                        drawn = curve(np.arange(depth), values, x, y, line)
                        body.append(drawn.replace("<path", f'<path stroke-dasharray="{dashes}"'))
            body += axes(
                x, y, range(0, depth, depth // 4), ticks, "layer" if row == len(trained) - 1 else "", ""
            )
            if row == 0:
                body.append(text(x[2], 34, title, "faint"))
    bottom = 72 + 180 * len(trained)
    for number, (_, kind) in enumerate(kinds, start=1):
        words = f"{kind} tokens" if number < 3 else "visual to text tokens"
        body += [dot(130 * number - 60, bottom, number), text(130 * number - 48, bottom + 4, words, size=12)]
    body.append(text(730, bottom + 4, "dashed: before training", "faint", anchor="end", size=12))
    return svg(760, bottom + 20, body, "Region codes of visual and of text tokens, before and after training")


def _piece(report: TokenReport, token: int) -> str:
    return report.piece(int(token)).strip()


if __name__ == "__main__":
    main()
