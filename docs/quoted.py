"""Measure the numbers that docs/geometry.md quotes: python docs/quoted.py [BLOCKS].

About a minute on one core; tests/docs reads its lines. With BLOCKS, for a trial, only the first blocks of the
model are read.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pictures import OTHER, SENTENCE, neighbor_distances

import splinelens
from splinelens.features.token_report import TokenReport, read_tokens, text_distances
from splinelens.geometry.codes import hamming
from splinelens.models import LoadedModel

TEXTS = tuple((Path(__file__).parent / "sentences.txt").read_text("utf-8").splitlines())


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
    references = [read_tokens(text, exact) for text in TEXTS]
    for name, other in (("float32", loaded), ("bfloat16", half)):
        rounding(name, [read_tokens(text, other) for text in TEXTS], references)


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


def rounding(name: str, reports: Sequence[TokenReport], references: Sequence[TokenReport]) -> None:
    """What a number type does to signs, counts and distances: of each text, then median and largest."""
    signs, counts, moved, errors, largest = [], [], [], [], []
    for report, exact in zip(reports, references, strict=True):
        error = np.abs(report.boundary - exact.boundary) / exact.boundary
        pairs = zip(report.codes, exact.codes, strict=True)
        differ = sum(int(hamming(a, b).diagonal().sum()) for a, b in pairs)
        signs.append(100 * differ / (sum(report.neuron_count) * report.tokens))
        counts.append(100 * float((report.dimension != exact.dimension).mean()))
        moved.append(100 * float((report.nearest_wall != exact.nearest_wall).mean()))
        errors.append(100 * float(np.median(error)))
        largest.append(100 * float(error.max()))
    tokens = [report.tokens for report in reports]
    print(f"{name}: {len(reports)} texts of {min(tokens)} to {max(tokens)} tokens, {sum(tokens)} in all")
    for what, shares in (
        ("signs that differ", signs),
        ("counts that differ", counts),
        ("other nearest wall", moved),
        ("median error of the distance", errors),
        ("largest error of the distance", largest),
    ):
        print(f"{name}: {what} {percent(np.median(shares))}, at most {percent(np.max(shares))}")


def percent(share: float) -> str:
    """A share in percent, or as a multiple from 1,000 % on."""
    return f"{share / 100:,.0f}-fold" if share >= 1000 else f"{share:.2g} %"


if __name__ == "__main__":
    main()
