"""Draw the pictures of docs/geometry.md again: python docs/pictures.py [FOLDER].

Every number comes from the default model on the sentences below (the exact map from a random ReLU MLP).
The pictures are SVG without script or outer files; they carry their own background for light and dark pages.
"""

import sys
from html import escape
from pathlib import Path

import numpy as np
import torch

import splinelens
from splinelens.anatomy import anatomy_of
from splinelens.features.mlp import region_map, walls_of
from splinelens.features.tokenwise import TokenReading, read_tokens
from splinelens.geometry.affine import piecewise_map
from splinelens.geometry.codes import independent_distance, layer_distance
from splinelens.geometry.hulls import active, attention_weights, hull_vertices, minkowski_point
from splinelens.geometry.slices import slice_partition
from splinelens.geometry.walls import gate_at
from splinelens.models import LoadedModel

SENTENCE = "The old lighthouse keeper counted the passing ships and wrote their names in a small book."
GROWING = (
    "In spring we plant beans along the fence and sow carrots in the sandy bed by the river. "
    "Timetable: 06:12, 06:42, 07:12, 07:42, 08:12, 08:42, 09:12, 09:42. "
    "In summer the children water the garden in the evening and count the ripe tomatoes."
)
LAYER = 12
FIRST, SECOND, THIRD = 2, 7, 16  # lighthouse, ships, and the full stop
HULL_LAYER, HULL_TOKEN, HULL_HEAD = 16, 12, 2

STYLE = """
.paper{fill:#fbfbf8;stroke:#c9c9c4}.ink{fill:#20242a}.faint{fill:#5a6068}.axis{stroke:#5a6068;fill:none}
.hair{stroke:#20242a;fill:none;stroke-width:.5;opacity:.13}.one{stroke:#1f6fb2;fill:none;stroke-width:2}
.two{stroke:#c2560c;fill:none;stroke-width:2}.three{stroke:#2c8a57;fill:none;stroke-width:2}
.dot1{fill:#1f6fb2}.dot2{fill:#c2560c}.dot3{fill:#2c8a57}.area{fill:#1f6fb2;opacity:.18}
.dash{stroke:#5a6068;fill:none;stroke-dasharray:4 3}
@media(prefers-color-scheme:dark){.paper{fill:#16191d;stroke:#3a4048}.ink{fill:#e8eaed}.faint{fill:#a8b0ba}
.axis,.dash{stroke:#a8b0ba}.hair{stroke:#e8eaed}.one{stroke:#63b3f0}.dot1,.area{fill:#63b3f0}
.two{stroke:#f39a55}.dot2{fill:#f39a55}.three{stroke:#6fd39c}.dot3{fill:#6fd39c}}
"""
RAMP = np.array([[243, 246, 222], [160, 211, 180], [65, 160, 185], [33, 95, 160], [22, 33, 92]])
Scale = tuple[float, float, float, float]  # data low, data high, page low, page high


def main() -> None:
    """Draw them all."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    loaded = splinelens.load_model("smollm2-135m", device="cpu")
    reading = read_tokens(loaded, SENTENCE, keep_inputs=[LAYER], keep_call=(HULL_LAYER, HULL_TOKEN))
    drawn = {
        "slice": lambda: slice_(loaded, reading),
        "walk": lambda: walk(loaded, reading),
        "layers": lambda: layers(reading),
        "map": lambda: maps(loaded, reading),
        "hull": lambda: hull(loaded, reading),
        "dimension": lambda: dimension(reading),
        "prefixes": lambda: prefixes(loaded),
    }
    for name, draw in drawn.items():
        path = folder / f"{name}.svg"
        path.write_text(draw(), "utf-8")
        print(f"{path.name}  {path.stat().st_size:,} bytes")


def slice_(loaded: LoadedModel, reading: TokenReading) -> str:
    """All walls on the plane through three tokens, and the cells around one of them."""
    weight, bias = walls_of(anatomy_of(loaded.model), LAYER)
    points = reading.inputs[LAYER][[FIRST, SECOND, THIRD]]
    whole = slice_partition(points, weight, bias)
    half = 0.1
    near = slice_partition(points, weight, bias, box=(-half, -half, half, half))
    low_x, low_y, high_x, high_y = whole.box
    tall = 340 * (high_y - low_y) / (high_x - low_x)
    x, y = (low_x, high_x, 20, 360), (low_y, high_y, 44 + tall, 44)
    ends = np.stack([_at(whole.segments[..., 0], x), _at(whole.segments[..., 1], y)], axis=-1)
    lines = "".join(f"M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}" for (a, b), (c, d) in ends)
    body = [_text(20, 24, f"layer {LAYER}: {len(whole.walls):,} of {len(weight):,} walls cross this window")]
    body += [f'<path class="hair" d="{lines}"/>', _frame(20, 44, 340, tall)]
    for number, (place, token) in enumerate(zip(whole.places, (FIRST, SECOND, THIRD), strict=True), 1):
        at = _at(place[0], x), _at(place[1], y)
        body += [_dot(*at, number), _text(at[0] + 8, at[1] - 8, f"“{_piece(reading, token)}”")]
    own = near.on(near.places[:1])[0]
    x, y = (-half, half, 400, 740), (-half, half, 384, 44)
    apart = [int((near.on(cell.mean(axis=0)[None])[0] != own).sum()) for cell in near.polygons]
    body += [_text(400, 24, f"{len(apart):,} cells around “{_piece(reading, FIRST)}”")]
    for cell, count in zip(near.polygons, apart, strict=True):
        path = "L".join(f"{_at(a, x):.1f} {_at(b, y):.1f}" for a, b in cell)
        body.append(f'<path d="M{path}z" fill="{_colour(count / max(apart))}"/>')
    body += [_frame(400, 44, 340, 340), _dot(570, 214, 1)]
    body += _legend(400, 404, f"0 to {max(apart)} walls to the token")
    body.append(_text(400, 444, f"the window is {2 * half} wide, the left one {high_x - low_x:.1f}", "faint"))
    return _svg(
        760, max(60 + tall, 460), body, "The partition of one layer on the plane through three tokens"
    )


def walk(loaded: LoadedModel, reading: TokenReading) -> str:
    """How many walls lie between a token and each place on the straight way to another one."""
    weight, bias = walls_of(anatomy_of(loaded.model), LAYER)
    begin, end = (gate_at(reading.inputs[LAYER][token], weight, bias) for token in (FIRST, SECOND))
    turning = (begin > 0) != (end > 0)
    met = np.sort((begin / (begin - end))[turning].numpy())
    x, y = (0, 1, 60, 600), (0, len(met), 260, 40)
    steps = "".join(f"H{_at(place, x):.1f}V{_at(count, y):.1f}" for count, place in enumerate(met, start=1))
    body = [f'<path class="one" d="M{x[2]} {y[2]}{steps}H{x[3]}"/>']
    body += _axes(x, y, [0, 0.25, 0.5, 0.75, 1], [0, 100, 200, len(met)], "way gone", "signs that differ")
    start, stop = _piece(reading, FIRST), _piece(reading, SECOND)
    body += [
        _text(60, 24, f"layer {LAYER}: from “{start}” straight to “{stop}”, {len(met)} walls are crossed")
    ]
    return _svg(640, 310, body, "Walls crossed on the straight line between two tokens")


def layers(reading: TokenReading) -> str:
    """Distance between neighbouring layers, and what unmatched neurons give."""
    found = layer_distance(torch.stack(reading.codes), reading.neurons[0]).numpy()
    depth, share = len(reading.layers), reading.sign.tolist()
    chance = [
        np.mean([independent_distance(a, b) for a, b in zip(share[k], share[k + 1], strict=True)])
        for k in range(depth - 1)
    ]
    x, y = (0, depth - 2, 60, 600), (0.3, 0.6, 260, 40)
    body = [_curve(np.arange(depth - 1), np.array([found[k, k + 1] for k in range(depth - 1)]), x, y, "one")]
    body += [_curve(np.arange(depth - 1), np.array(chance), x, y, "two")]
    body += _axes(x, y, range(0, depth - 1, 4), [0.3, 0.4, 0.5, 0.6], "layer l", "share that differs")
    body += [_dot(250, 216, 1), _text(262, 220, "signs of layers l and l + 1, measured")]
    body += [_dot(250, 236, 2), _text(262, 240, "if their neurons had nothing to do with each other")]
    return _svg(640, 310, body, "Hamming distance between neighbouring layers")


def maps(loaded: LoadedModel, reading: TokenReading) -> str:
    """Error of the map of a region with the length of the step."""
    dice = torch.Generator().manual_seed(0)
    first, last = (torch.randn(*size, generator=dice).double() for size in ((256, 64), (64, 256)))
    bias, point = torch.randn(256, generator=dice).double(), torch.randn(64, generator=dice).double()
    way = torch.randn(64, generator=dice).double()
    steps = np.logspace(-5, 0, 101)
    exact = piecewise_map(point, first, bias, last, None)
    true = [torch.relu(first @ (point + step * way / way.norm()) + bias) @ last.T for step in steps]
    errors = [_error(exact, step * way / way.norm(), value) for step, value in zip(steps, true, strict=True)]
    turn = steps[np.array(errors) > 1e-12][0]
    start, anatomy = reading.inputs[LAYER][FIRST].double(), anatomy_of(loaded.model)
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
    body = [_curve(np.log10(steps), np.log10(np.maximum(errors, 1e-16)), x, y, "one")]
    body += [_curve(np.log10(steps), np.log10(np.maximum(bent, 1e-16)), x, y, "two")]
    body += _axes(
        x,
        y,
        [-5, -4, -3, -2, -1, 0],
        [-16, -12, -8, -4, 0],
        "length of the step",
        "relative error",
        power=True,
    )
    body += [
        _dot(90, 56, 1),
        _text(102, 60, "exact: a random ReLU MLP; the rise is its first wall on this way"),
    ]
    body += [
        _dot(90, 76, 2),
        _text(102, 80, f"first-order: layer {LAYER} of the default model (gated, SiLU)"),
    ]
    body += [f'<path class="dash" d="M{_at(np.log10(turn), x):.1f} {y[2]}V{y[3] + 60}"/>']
    return _svg(640, 340, body, "Error of an exact and of a first-order map")


def _error(region: object, step: torch.Tensor, value: torch.Tensor) -> float:
    found = region.apply(region.point + step)
    return float((found - value).norm() / value.norm())


def hull(loaded: LoadedModel, reading: TokenReading) -> str:
    """One head of one token: its weights with both thresholds, and the hull of the active keys."""
    call, anatomy = reading.call, anatomy_of(loaded.model)
    weights = attention_weights(call.query[0, :, 0], call.key[0], scaling=call.scaling)[HULL_HEAD]
    projection = anatomy.output(HULL_LAYER).weight.detach()
    corners = hull_vertices(call.value[0].double(), projection)[HULL_HEAD]
    point = minkowski_point(corners[None], weights[None]).numpy()
    inner, outer = (active(weights[None], threshold=form)[0].numpy() for form in ("absolute", "relative"))
    share, corners, most = weights.numpy(), corners.numpy(), float(weights.max())
    kinds = np.where(inner, 2, np.where(outer, 1, 3))
    body = [_text(20, 24, f"layer {HULL_LAYER}, head {HULL_HEAD}, token “{_piece(reading, HULL_TOKEN)}”: ")]
    body[0] = body[0].replace(": </text>", f": {inner.sum()} keys absolute, {outer.sum()} relative</text>")
    x, y = (-0.5, len(share) - 0.5, 60, 360), (0, 0.4, 270, 50)
    for key, weight in enumerate(share):
        left, top, wide = _at(key - 0.4, x), _at(weight, y), _at(0.8, x) - _at(0, x)
        place = f'x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{270 - top:.1f}"'
        body.append(f'<rect class="dot{kinds[key]}" {place}/>')
        body.append(_text(_at(key, x) - 2, 284, _piece(reading, key), "ink", "rotate(50)", size=11))
    for edge, label in ((0.1, "eps"), (0.1 * most, "eps of the largest")):
        body.append(f'<path class="dash" d="M60 {_at(edge, y):.1f}H360"/>')
        body.append(_text(364, _at(edge, y) + 4, label, "faint", size=11))
    body += _axes(x, y, [], [0, 0.1, 0.2, 0.3, 0.4], "", "weight")
    plane = np.linalg.qr((corners[inner][1:] - corners[inner][0]).T)[0].T
    flat, here = (corners - corners[inner][0]) @ plane.T, (point - corners[inner][0]) @ plane.T
    middle, half = (flat.max(0) + flat.min(0)) / 2, (flat.max(0) - flat.min(0)).max() / 2
    x = (middle[0] - half, middle[0] + half, 470, 720)
    y = (middle[1] - half, middle[1] + half, 310, 60)
    path = "L".join(f"{_at(a, x):.1f} {_at(b, y):.1f}" for a, b in flat[inner])
    body.append(f'<path class="area" d="M{path}z"/>')
    for key in np.argsort(share):
        at = _at(flat[key, 0], x), _at(flat[key, 1], y)
        body.append(_dot(*at, kinds[key], radius=2 + 10 * float(share[key]) ** 0.5))
        if outer[key]:
            body.append(_text(at[0] + 10, at[1] + 4, _piece(reading, key)))
    cross = f"M{_at(here[0], x) - 7:.1f} {_at(here[1], y):.1f}h14m-7 -7v14"
    body.append(f'<path class="axis" stroke-width="2" d="{cross}"/>')
    body.append(_text(440, 350, "the plane of the 3 keys above eps; + is the", "faint", size=12))
    body.append(_text(440, 366, "point of the head, all other keys are projected", "faint", size=12))
    return _svg(760, 390, body, "Weights and hull of one attention head")


def dimension(reading: TokenReading) -> str:
    """Intrinsic dimension by layer and token, both thresholds."""
    body, most = [], int(reading.dimension.sum(axis=2).max())
    for left, form, name in ((60, 0, "absolute"), (440, 1, "relative")):
        counts = reading.dimension[form].sum(axis=1)
        body.append(_text(left, 24, f"{name}: {counts.min()} to {counts.max()} keys, all 9 heads"))
        for (layer, token), count in np.ndenumerate(counts):
            body.append(
                f'<rect x="{left + 18 * token}" y="{40 + 10 * layer}" width="18" height="10" '
                f'fill="{_colour(count / most)}"/>'
            )
        body += [
            _text(left + 18 * token + 6, 356, _piece(reading, token), "ink", "rotate(50)", size=11)
            for token in range(reading.tokens)
        ]
        body += [
            _text(left - 6, 49 + 10 * layer, str(layer), "faint", anchor="end") for layer in (0, 10, 20, 29)
        ]
    body.append(_text(16, 190, "layer", "faint", "rotate(-90)"))
    body += _legend(60, 420, f"0 to {most}")
    return _svg(770, 450, body, "Intrinsic dimension of every token at every layer")


def prefixes(loaded: LoadedModel) -> str:
    """Some features while a text grows."""
    table = splinelens.extract([GROWING], loaded, prefixes=True, features=["spline7", "attention_id"])
    spans = read_tokens(loaded, GROWING, layers=[0], attention=False).spans
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
            body.append(_curve(np.arange(1, len(table) + 1), np.minimum(column, high), x, y, kind))
        body += [f'<path class="dash" d="M{_at(turn, x):.1f} {y[2]}V{y[3]}"/>' for turn in turns]
        ticks = (1, *range(20, len(table) + 1, 20)) if row == 2 else []
        body += _axes(
            x,
            y,
            ticks,
            [0, float(f"{high / 1.1:.1g}")],
            "tokens read" if row == 2 else "",
            name.replace("attention_id_", "id_"),
        )
    for kind, layer in enumerate((4, 12, 24), start=1):
        body += [_dot(90 * kind, 20, kind), _text(90 * kind + 10, 24, f"layer {layer}")]
    body.append(_text(700, 24, "dashed: a timetable begins, ends", "faint", anchor="end"))
    return _svg(730, 500, body, "Features of every prefix of one text")


def _at(value: np.ndarray | float, scale: Scale) -> np.ndarray | float:
    low, high, start, end = scale
    return start + (value - low) / (high - low) * (end - start)


def _colour(share: float) -> str:
    place = min(max(share, 0.0), 1.0) * (len(RAMP) - 1)
    low = min(int(place), len(RAMP) - 2)
    red, green, blue = (RAMP[low] + (place - low) * (RAMP[low + 1] - RAMP[low])).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _piece(reading: TokenReading, token: int) -> str:
    return reading.piece(int(token)).strip()


def _text(
    x: float, y: float, words: str, kind: str = "ink", turn: str = "", anchor: str = "start", size: int = 13
) -> str:
    place = f'transform="translate({x:.1f} {y:.1f}) {turn}"'
    return f'<text class="{kind}" {place} text-anchor="{anchor}" font-size="{size}">{escape(words)}</text>'


def _dot(x: float, y: float, kind: int, radius: float = 5) -> str:
    return f'<circle class="dot{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'


def _frame(x: float, y: float, wide: float, tall: float) -> str:
    return f'<rect class="axis" x="{x}" y="{y}" width="{wide:.1f}" height="{tall:.1f}"/>'


def _curve(along: np.ndarray, values: np.ndarray, x: Scale, y: Scale, kind: str) -> str:
    places = "L".join(f"{_at(a, x):.1f} {_at(b, y):.1f}" for a, b in zip(along, values, strict=True))
    return f'<path class="{kind}" d="M{places}"/>'


def _axes(
    x: Scale, y: Scale, across: object, up: object, below: str, beside: str, power: bool = False
) -> list[str]:
    parts = [f'<path class="axis" d="M{x[2]} {y[3]}V{y[2]}H{x[3]}"/>']
    shown = (lambda tick: f"1e{tick}") if power else (lambda tick: f"{tick:g}")
    parts += [
        _text(_at(tick, x), y[2] + 16, shown(tick), "faint", anchor="middle", size=11) for tick in across
    ]
    parts += [_text(x[2] - 6, _at(tick, y) + 4, shown(tick), "faint", anchor="end", size=11) for tick in up]
    parts.append(_text((x[2] + x[3]) / 2, y[2] + 34, below, "faint", anchor="middle", size=12))
    parts.append(_text(x[2] - 48, (y[2] + y[3]) / 2, beside, "faint", "rotate(-90)", "middle", 12))
    return parts


def _legend(x: float, y: float, words: str) -> list[str]:
    parts = [
        f'<rect x="{x + 4 * k}" y="{y}" width="4" height="12" fill="{_colour(k / 39)}"/>' for k in range(40)
    ]
    return [*parts, _text(x + 170, y + 11, words, "faint")]


def _svg(wide: float, tall: float, body: list[str], title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {tall:.0f}" width="{wide:.0f}" '
        f'height="{tall:.0f}" font-family="system-ui,sans-serif" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n"
        f'<rect class="paper" x=".5" y=".5" width="{wide - 1:.0f}" height="{tall - 1:.0f}" rx="8"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    main()
