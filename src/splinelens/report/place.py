"""One token at one layer, in lines for eyes or as one line of JSON.

The numbers are those of ``features.look``; what is long (the input, the output, the crossing step) is
given by its length, and ``splinelens.look`` has it in full.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from splinelens.features.look import Hull, Place
from splinelens.report.inspection import readable, visible

if TYPE_CHECKING:
    from rich.text import Text

SCHEMA = 1
"""Number of the JSON form; it rises when a key changes its meaning or goes."""

_SHOWN = 8  # active tokens of a head that are printed
_LEAD = 14  # cells of the names before the lines
_PIECE = 28  # cells of a token at most


@dataclass(frozen=True)
class HeadReport:
    """What one head looks at.

    Attributes:
        absolute: Keys above the absolute threshold; they are the first of ``tokens``.
        relative: Keys above the relative one: all of ``tokens``.
        tokens: Their numbers in the text, largest weight first; below 0 is what stands before the text.
        weights: Their attention weights, in [0, 1].
    """

    absolute: int
    relative: int
    tokens: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class HullReport:
    """Where attention puts the token. Pairs are for the absolute threshold and for the relative one.

    Attributes:
        heads: One entry a head.
        tight: Upper bound on the dimension, in dimensions.
        loose: The paper's bound: active keys over all heads.
        measured: Dimensions that the active keys span; None without vertices.
    """

    heads: tuple[HeadReport, ...]
    tight: tuple[int, int]
    loose: tuple[int, int]
    measured: tuple[int, int] | None


@dataclass(frozen=True)
class MapReport:
    """What the MLP does around the token.

    Attributes:
        kind: ``exact`` throughout the region, or ``first-order``.
        norm: Spectral norm: the most that a step is stretched.
        frobenius: Root of the sum of squares of the map's entries.
        effective_rank: Directions really used, from 1 to the width; 0 of a map that is 0.
    """

    kind: str
    norm: float
    frobenius: float
    effective_rank: float


@dataclass(frozen=True)
class PlaceReport:
    """One token at one layer, as plain values.

    Attributes:
        model: Name of the model.
        layer: The layer.
        token: The token's number in the text, from 0.
        piece: Its characters.
        region: Name of its region.
        code: Its neurons' signs in hexadecimal, eight to a byte, the first neuron in the highest bit; on a
            layer of experts the neurons of its experts, one expert after the other.
        neurons: How many neurons the code holds.
        experts: The token's experts; empty on a dense layer.
        sign: Share of neurons that are on, in [0, 1].
        boundary: Distance to the nearest wall, in units of the MLP's input; None without a wall.
        wall: The neuron whose wall that is; None likewise.
        crossing: Length of the shortest step through that wall and no other; None if there is none.
        input: Length of what the MLP is given.
        output: Length of what it makes of it; None on a layer of experts.
        map: What the MLP does there; None likewise.
        eps: Threshold of the active keys.
        hull: What attention does there; None without softmax.
        notes: What could not be had, and why.
    """

    model: str
    layer: int
    token: int
    piece: str
    region: str
    code: str
    neurons: int
    experts: tuple[int, ...]
    sign: float
    boundary: float | None
    wall: int | None
    crossing: float | None
    input: float
    output: float | None
    map: MapReport | None
    eps: float
    hull: HullReport | None
    notes: tuple[str, ...]

    @classmethod
    def of(cls, place: Place, model: str) -> "PlaceReport":
        """The plain values of a place; the map's numbers are computed here, once.

        Args:
            place: From ``look``.
            model: Name of the model.

        Returns:
            The record.
        """
        far, found = not math.isfinite(place.boundary), place.map
        return cls(
            model=model,
            layer=place.layer,
            token=place.token,
            piece=place.piece,
            region=place.region,
            code=place.code.cpu().numpy().tobytes().hex(),
            neurons=place.neurons,
            experts=place.experts,
            sign=place.sign,
            boundary=None if far else place.boundary,
            wall=None if far else place.wall,
            crossing=None if place.crossing is None else float(place.crossing.step.norm()),
            input=float(place.input.double().norm()),
            output=None if place.output is None else float(place.output.double().norm()),
            map=None
            if found is None
            else MapReport(found.kind, found.norm(), found.frobenius(), found.effective_rank()),
            eps=place.eps,
            hull=None if place.hull is None else _hull(place.hull),
            notes=place.notes,
        )

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """Plain values under the names of the attributes, and ``schema``; None is what there is not."""
        return {"schema": SCHEMA, **asdict(self)}

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)


def place_terminal(report: PlaceReport, width: int, pieces: Sequence[str] = ()) -> "Text":
    """One token at one layer in lines.

    Args:
        report: The record.
        width: Columns of the terminal; at fewer than 60 lines are longer than that.
        pieces: The characters of each of the text's tokens, to be shown beside their numbers.

    Returns:
        A ``rich`` text; its ``plain`` is the form for pipes.
    """
    from rich.text import Text

    shown, hull = Text(no_wrap=True), report.hull
    shown.append(readable(report.model), style="bold")
    shown.append(f", layer {report.layer}, token {report.token} '{visible(report.piece)}'\n\n")
    for name, parts in _lines(report).items():
        _hanging(shown, f"{name:{_LEAD}}", parts, width)
    if hull is not None:
        shown.append("\nhead  abs  rel  active tokens and their weights\n", style="dim")
        for number, head in enumerate(hull.heads):
            lead = f"{number:4}  {head.absolute:3}  {head.relative:3}  "
            _hanging(shown, lead, _looked_at(head, pieces), width)
    for note in report.notes:
        _hanging(shown, "note: ", readable(note).split(" "), width, style="yellow", gap=" ")
    shown.rstrip()
    return shown


def _hull(hull: Hull) -> HullReport:
    heads = tuple(
        HeadReport(head.absolute, head.relative, head.tokens, tuple(head.weights.tolist()))
        for head in hull.heads
    )
    return HullReport(heads, hull.tight, hull.loose, hull.measured)


def _lines(report: PlaceReport) -> dict[str, list[str]]:
    """The numbers under their names, in parts that are not broken."""
    lines = {
        "region": [report.region, f"{report.sign:.3f} of {report.neurons:,} neurons on"],
        "nearest wall": ["none"],
    }
    if report.experts:
        lines["experts"] = [str(expert) for expert in report.experts]
    if report.boundary is not None:
        step = "no step" if report.crossing is None else f"a step of {report.crossing:.3g}"
        through = f"{step} goes through it and no other"
        lines["nearest wall"] = [f"neuron {report.wall}", f"{report.boundary:.3g} away", through]
    lines["MLP"] = [f"input {report.input:.3g} long"]
    if report.output is not None:
        lines["MLP"].append(f"output {report.output:.3g} long")
    if report.map is not None:
        lines["map"] = [
            report.map.kind,
            f"norm {report.map.norm:.3g}",
            f"Frobenius norm {report.map.frobenius:.3g}",
            f"effective rank {report.map.effective_rank:.1f}",
        ]
    if report.hull is not None:
        measured = report.hull.measured or ("-", "-")
        for place, threshold in enumerate(("absolute", "relative")):
            lines[f"ID {threshold}"] = [
                f"{report.hull.loose[place]:,} vertices",
                f"bound on the hull's dimension {report.hull.tight[place]:,}",
                f"measured {measured[place]}",
                f"eps {report.eps:g}",
            ]
    return lines


def _looked_at(head: HeadReport, pieces: Sequence[str]) -> list[str]:
    """The active tokens of a head, and how many more there are."""
    from rich.cells import cell_len, set_cell_size

    shown = []
    for token, weight in zip(head.tokens[:_SHOWN], head.weights, strict=False):
        piece = "before" if token < 0 else f"'{visible(pieces[token])}'" if token < len(pieces) else ""
        piece = piece if cell_len(piece) <= _PIECE else set_cell_size(piece, _PIECE - 2) + "…'"
        shown.append(" ".join(filter(None, (str(token), piece, f"{weight:.3f}"))))
    more = len(head.tokens) - _SHOWN
    return [*shown, f"{more:,} more"] if more > 0 else shown


def _hanging(
    shown: "Text", lead: str, parts: Sequence[str], width: int, *, style: str = "", gap: str = ", "
) -> None:
    """Parts one after the other; where a line is full the next one begins below the first part."""
    from rich.cells import cell_len

    shown.append(lead, style=style or "dim")
    at = cell_len(lead)
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        words = part if last else part + gap
        if at + cell_len(words.rstrip()) > max(width, 60) and at > len(lead):
            shown.rstrip()
            shown.append("\n" + " " * len(lead))
            at = len(lead)
        shown.append(words, style=style)
        at += cell_len(words)
    shown.append("\n")
