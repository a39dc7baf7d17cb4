"""Measure the numbers that docs/geometry.md quotes: python docs/quoted.py [BLOCKS].

About half a minute on one core; tests/docs reads its lines. With BLOCKS, for a trial, only the first blocks
of the model are read.
"""

import sys

import numpy as np
from pictures import OTHER, SENTENCE, neighbor_distances

import splinelens
from splinelens.features.token_report import TokenReport, read_tokens, text_distances
from splinelens.geometry.codes import hamming
from splinelens.models import LoadedModel


def main() -> None:
    """Print them all."""
    blocks = int(sys.argv[1]) if len(sys.argv) > 1 else None
    loaded = splinelens.load_model("smollm2-135m", n_layers=blocks, device="cpu")
    reading = read_tokens(SENTENCE, loaded, keep_inputs=range(loaded.depth))
    walls(reading)
    distances(loaded, reading)
    hulls(loaded, reading)
    exact = splinelens.load_model("smollm2-135m", n_layers=blocks, dtype="float64", device="cpu")
    half = splinelens.load_model("smollm2-135m", n_layers=blocks, dtype="bfloat16", device="cpu")
    for name, other in (("float32", loaded), ("bfloat16", half)):
        rounding(name, read_tokens(SENTENCE, other), read_tokens(SENTENCE, exact))


def walls(reading: TokenReport) -> None:
    """Regions and distances of one text."""
    lengths = np.stack([states.norm(dim=1).numpy() for states in reading.inputs.values()])
    print(
        f"regions of {reading.tokens} tokens: {reading.regions.min()} to {reading.regions.max()} at a layer"
    )
    print(
        f"median boundary distance {np.median(reading.boundary):.1e}; of inputs {np.median(lengths):.2f} long"
    )


def distances(loaded: LoadedModel, reading: TokenReport) -> None:
    """Between two texts, and between neighboring layers."""
    other = read_tokens(OTHER, loaded, attention=False)
    layer = min(12, loaded.depth - 1)
    apart, own = (text_distances(loaded, reading, each)[layer] for each in (other, reading))
    print(f"layer {layer}: to another text {apart:.3f}, to itself {own:.3f}")
    measured, expected = neighbor_distances(reading)
    gaps = measured - expected
    print(f"neighboring layers differ from unmatched codes by {np.abs(gaps).max():.3f} at most")


def hulls(loaded: LoadedModel, reading: TokenReport) -> None:
    """Counts, and how often the tight bound is met."""
    absolute, relative = reading.dimension.sum(axis=2).max(axis=(1, 2))
    print(f"intrinsic dimension of a layer: up to {absolute} absolute, {relative} relative")
    chosen = sorted({*range(0, loaded.depth, 5), loaded.depth - 1})
    found = [
        splinelens.look(SENTENCE, loaded, layer=layer, token=token).hull
        for layer in chosen
        for token in range(reading.tokens)
    ]
    met = [sum(hull.measured[number] == hull.tight[number] for hull in found) for number in (0, 1)]
    print(f"tight bound met: {met[0]} and {met[1]} of {len(found)} places")
    region = splinelens.look(SENTENCE, loaded, layer=min(12, loaded.depth - 1), token=2).map
    print(f"map: norm {region.norm():.0f}, Frobenius {region.frobenius():.0f}")
    print(f"map: effective rank {region.effective_rank():.0f}")


def rounding(name: str, reading: TokenReport, exact: TokenReport) -> None:
    """What a number type does to signs, counts and distances."""
    error = np.abs(reading.boundary - exact.boundary) / exact.boundary
    pairs = zip(reading.codes, exact.codes, strict=True)
    signs = sum(int(hamming(a, b).diagonal().sum()) for a, b in pairs)
    counts = int((reading.dimension != exact.dimension).sum())
    same = float((reading.nearest_wall == exact.nearest_wall).mean())
    total = sum(reading.neuron_count) * reading.tokens
    print(f"{name}: {signs} of {total:,} signs differ ({signs / total:.2%})")
    print(f"{name}: {counts} of {exact.dimension.size:,} counts differ ({counts / exact.dimension.size:.1%})")
    most = f"{error.max():.0f}-fold" if error.max() > 10 else f"{error.max():.0%}"
    print(f"{name}: same wall {same:.0%}, distance off by {np.median(error):.2%}, at most {most}")


if __name__ == "__main__":
    main()
