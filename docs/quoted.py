"""Measure the numbers that docs/geometry.md quotes: python docs/quoted.py [FILE] [TEXT ...].

Prints them and writes the rounding of each text of docs/sentences.txt to FILE, by default docs/rounding.tsv,
from which the page's table of medians and worst texts is computed. With TEXTs, numbers from 0, only those are
measured; tests/docs does so and compares. About a minute on one core for all of them.
"""

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from pictures import OTHER, SENTENCE, neighbor_distances

import splinelens
from splinelens.anatomy import anatomy_of
from splinelens.features.look import hull_of
from splinelens.features.token_report import TokenReport, read_tokens, text_distances
from splinelens.geometry.codes import hamming
from splinelens.layers import AttentionCall, watch
from splinelens.models import LoadedModel

TEXTS = tuple((Path(__file__).parent / "sentences.txt").read_text("utf-8").splitlines())


ROUNDING = Path(__file__).with_name("rounding.tsv")
DTYPES = ("float32", "bfloat16")
QUANTITIES = (
    "signs that differ",
    "counts that differ",
    "other nearest wall",
    "median error of the distance",
    "largest error of the distance",
)


def main() -> None:
    """Print them all."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else ROUNDING
    chosen = list(map(int, sys.argv[2:])) or list(range(len(TEXTS)))
    loaded = splinelens.load_model("smollm2-135m", device="cpu")
    reading = read_tokens(SENTENCE, loaded, keep_inputs=range(loaded.depth))
    walls(reading)
    distances(loaded, reading)
    hulls(loaded, reading)
    exact = splinelens.load_model("smollm2-135m", dtype="float64", device="cpu")
    half = splinelens.load_model("smollm2-135m", dtype="bfloat16", device="cpu")
    rows = [rounding(text, exact, {"float32": loaded, "bfloat16": half}) for text in chosen]
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for line in summary(rows):
        print(line)


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
    anatomy = anatomy_of(loaded.model)
    calls: dict[int, AttentionCall] = {}

    def keep(layer: int, call: AttentionCall) -> None:
        calls[layer] = call.copied()

    with torch.no_grad(), watch(loaded.model, attention=keep, layers=chosen):
        loaded.model(input_ids=torch.tensor([loaded.tokenizer(SENTENCE)["input_ids"]]), use_cache=False)
    found = [
        hull_of(anatomy, layer, calls[layer].part(0, token, token + 1), before=0, eps=0.1)
        for layer in chosen
        for token in range(reading.tokens)
    ]
    met = [sum(hull.measured[number] == hull.tight[number] for hull in found) for number in (0, 1)]
    print(f"tight bound met: {met[0]} and {met[1]} of {len(found)} places")
    region = splinelens.look(SENTENCE, loaded, layer=min(12, loaded.depth - 1), token=2).map
    print(f"map: norm {region.norm():.0f}, Frobenius {region.frobenius():.0f}")
    print(f"map: effective rank {region.effective_rank():.0f}")


def rounding(number: int, exact: LoadedModel, others: Mapping[str, LoadedModel]) -> dict[str, str]:
    """What number types do to the signs, counts and distances of one text, in percent."""
    reference = read_tokens(TEXTS[number], exact)
    row = {"text": str(number), "tokens": str(reference.tokens)}
    for name, loaded in others.items():
        report = read_tokens(TEXTS[number], loaded)
        error = np.abs(report.boundary - reference.boundary) / reference.boundary
        pairs = zip(report.codes, reference.codes, strict=True)
        differ = sum(int(hamming(a, b).diagonal().sum()) for a, b in pairs)
        shares = (
            differ / (sum(report.neuron_count) * report.tokens),
            (report.dimension != reference.dimension).mean(),
            (report.nearest_wall != reference.nearest_wall).mean(),
            np.median(error),
            error.max(),
        )
        row |= {
            f"{name}: {what}": f"{100 * share:.4g}" for what, share in zip(QUANTITIES, shares, strict=True)
        }
    return row


def summary(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The median text and the worst one of each quantity, as lines."""
    tokens = [int(row["tokens"]) for row in rows]
    lines = [f"rounding: {len(rows)} texts of {min(tokens)} to {max(tokens)} tokens, {sum(tokens)} in all"]
    for name in (f"{dtype}: {what}" for dtype in DTYPES for what in QUANTITIES):
        shares = [float(row[name]) for row in rows]
        lines.append(f"{name} = {percent(np.median(shares))} ({percent(np.max(shares))})")
    return lines


def percent(share: float) -> str:
    """Two digits of a share in percent, or as a multiple from 1,000 % on."""
    if share < 1000:
        return f"{float(f'{share:.2g}'):g} %"
    return f"{float(f'{share / 100:.2g}'):,.0f}-fold"


if __name__ == "__main__":
    main()
