"""Cut a layer's regions along the plane through three tokens, and draw it as an SVG file.

python examples/slice_of_a_layer.py [slice.svg]
"""

import sys
from pathlib import Path

import splinelens
from splinelens.anatomy import anatomy_of
from splinelens.geometry.slices import slice_partition
from splinelens.weights import walls_of

TEXT = "The old lighthouse keeper counted the passing ships."
LAYER, TOKENS, HALF = 5, (2, 4, 8), 0.12


def main() -> None:
    output = Path(sys.argv[1] if len(sys.argv) > 1 else "slice.svg")
    loaded = splinelens.load_model("smollm2-135m", n_layers=LAYER + 1)
    reading = splinelens.read_tokens(TEXT, loaded, layers=[LAYER], keep_inputs=[LAYER], attention=False)
    points = reading.inputs[LAYER][list(TOKENS)]
    weight, bias = walls_of(anatomy_of(loaded.model), LAYER)

    whole = slice_partition(points, weight, bias)
    pieces = [reading.piece(token).strip() for token in TOKENS]
    print(f"the plane through the tokens {', '.join(pieces)} at layer {LAYER}:")
    print(f"{len(whole.walls):,} of {len(weight):,} walls cross its window")
    print(f"and one another {whole.crossings:,} times in it,")
    print(f"that makes {whole.cell_count:,} cells")

    near = slice_partition(points, weight, bias, box=(-HALF, -HALF, HALF, HALF))
    own = near.on(near.positions[:1])[0]
    shapes = []
    for cell in near.polygons:
        apart = int((near.on(cell.mean(axis=0)[None])[0] != own).sum())
        corners = " ".join(f"{x:.5f},{-y:.5f}" for x, y in cell)
        shapes.append(f'<polygon points="{corners}" fill="hsl(205 60% {max(94 - 3 * apart, 12)}%)"/>')
    view = f"{-HALF} {-HALF} {2 * HALF} {2 * HALF}"
    output.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" width="600">'
        + "".join(shapes)
        + '<circle r="0.002" fill="crimson"/></svg>',
        "utf-8",
    )
    print(f"drawn around {pieces[0]!r}: {len(near.walls)} walls, {len(near.polygons):,} cells;")
    print(f"the darker a cell, the more walls lie between\nwrote {output}")


if __name__ == "__main__":
    main()
