"""What docs/pictures.py draws with: lines, words and colors, as SVG without script or outer files."""

from html import escape

import numpy as np

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


def at(value: np.ndarray | float, scale: Scale) -> np.ndarray | float:
    """Where a number lies on the page."""
    low, high, start, end = scale
    return start + (value - low) / (high - low) * (end - start)


def color(share: float) -> str:
    """The color of a share from 0 to 1."""
    place = min(max(share, 0.0), 1.0) * (len(RAMP) - 1)
    low = min(int(place), len(RAMP) - 2)
    red, green, blue = (RAMP[low] + (place - low) * (RAMP[low + 1] - RAMP[low])).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def text(
    x: float, y: float, words: str, kind: str = "ink", turn: str = "", anchor: str = "start", size: int = 13
) -> str:
    """Words at a place."""
    place = f'transform="translate({x:.1f} {y:.1f}) {turn}"'
    return f'<text class="{kind}" {place} text-anchor="{anchor}" font-size="{size}">{escape(words)}</text>'


def dot(x: float, y: float, kind: int, radius: float = 5) -> str:
    """A point."""
    return f'<circle class="dot{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'


def frame(x: float, y: float, wide: float, tall: float) -> str:
    """The border of a panel."""
    return f'<rect class="axis" x="{x}" y="{y}" width="{wide:.1f}" height="{tall:.1f}"/>'


def curve(along: np.ndarray, values: np.ndarray, x: Scale, y: Scale, kind: str) -> str:
    """A line through some places."""
    places = "L".join(f"{at(a, x):.1f} {at(b, y):.1f}" for a, b in zip(along, values, strict=True))
    return f'<path class="{kind}" d="M{places}"/>'


def axes(
    x: Scale, y: Scale, across: object, up: object, below: str, beside: str, power: str = ""
) -> list[str]:
    """Two axes with their ticks and names."""
    parts = [f'<path class="axis" d="M{x[2]} {y[3]}V{y[2]}H{x[3]}"/>']
    wide, tall = ("1e" if axis in power else "" for axis in "xy")
    parts += [
        text(at(tick, x), y[2] + 16, f"{wide}{tick:g}", "faint", anchor="middle", size=11) for tick in across
    ]
    parts += [
        text(x[2] - 6, at(tick, y) + 4, f"{tall}{tick:g}", "faint", anchor="end", size=11) for tick in up
    ]
    parts.append(text((x[2] + x[3]) / 2, y[2] + 34, below, "faint", anchor="middle", size=12))
    parts.append(text(x[2] - 48, (y[2] + y[3]) / 2, beside, "faint", "rotate(-90)", "middle", 12))
    return parts


def legend(x: float, y: float, words: str) -> list[str]:
    """The colors of the shares from 0 to 1, and what they stand for."""
    parts = [
        f'<rect x="{x + 4 * k}" y="{y}" width="4" height="12" fill="{color(k / 39)}"/>' for k in range(40)
    ]
    return [*parts, text(x + 170, y + 11, words, "faint")]


def svg(wide: float, tall: float, body: list[str], title: str) -> str:
    """The whole picture, on a background of its own."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {tall:.0f}" width="{wide:.0f}" '
        f'height="{tall:.0f}" font-family="system-ui,sans-serif" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n"
        f'<rect class="paper" x=".5" y=".5" width="{wide - 1:.0f}" height="{tall - 1:.0f}" rx="8"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )
