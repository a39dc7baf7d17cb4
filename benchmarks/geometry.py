"""Measure what reading the geometry costs: make bench. Prints Markdown and writes benchmarks/geometry.md.

Ratios come from runs that alternate in one process, as in run.py.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from run import batch_of, pairs, processor, text_of

import splinelens
from splinelens.features.extract import extract
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.geometry.partition import boundary_distance, sign_fraction, signed_margin
from splinelens.layers import watch
from splinelens.models import LoadedModel, load_model
from splinelens.tokens import TokenizedText, batches
from splinelens.weights import gate_norms

HERE = Path(__file__).parent
TEXTS, TOKENS = 8, 256
PARTS = {
    "spline7": ["spline7"],
    "max margins": ["margins"],
    "spline7 + max margins": ["spline7", "margins"],
    "intrinsic dimension of every token": ["attention_id"],
    "everything: spline7, max margins, intrinsic dimension of every token": [
        "spline7",
        "margins",
        "attention_id",
    ],
}


def overhead(loaded: LoadedModel) -> list[str]:
    """What watching each part costs over the plain pass."""
    ids = torch.randint(1000, 40000, (TEXTS, TOKENS), generator=torch.Generator().manual_seed(0))
    batch = batch_of(ids)

    def plain() -> None:
        with torch.no_grad():
            loaded.model(ids, use_cache=False)

    lines = []
    for name, features in PARTS.items():
        engine = TextReader(loaded, FeatureSpec(tuple(features))).engine
        watched_s, plain_s, ratio = pairs(partial(engine.text_stats, batch), plain, 11)
        lines.append(
            f"- {name}, {TEXTS} x {TOKENS} tokens, {loaded.depth} layers: {watched_s:.2f} s against {plain_s:.2f} s for the plain "
            f"pass; ratio {ratio}, 11 pairs."
        )
    return lines


def prefixes(loaded: LoadedModel) -> list[str]:
    """The seven features of every prefix of one text: at once, by a pass over each, and as a batch of texts."""
    text = text_of(loaded, TOKENS)
    reader = TextReader(loaded, FeatureSpec(("spline7",)))
    whole = reader.tokenize([text])[0]
    cut = [replace(whole, ids=whole.ids[:end], total=end) for end in range(1, len(whole.ids) + 1)]
    at_once_s, passes_s = [], []
    for _ in range(3):
        began = time.perf_counter()
        table = extract([text], loaded, prefixes=True)
        at_once_s.append(time.perf_counter() - began)
        began = time.perf_counter()
        passes = np.stack([_seven(loaded, text.ids) for text in cut])
        passes_s.append(time.perf_counter() - began)
    began = time.perf_counter()
    batch = _batched(reader, cut)
    batch_s = time.perf_counter() - began
    ratios = np.array(passes_s) / np.array(at_once_s)
    worst = {
        name: np.abs(table.values - rows) / np.abs(rows).max(axis=0)
        for name, rows in (("passes", passes), ("batch", batch))
    }
    column = table.names[int(worst["passes"].max(axis=0).argmax())]
    return [
        f"- The seven features of all {len(cut)} prefixes of one text: {np.median(at_once_s):.2f} s at once against "
        f"{np.median(passes_s):.1f} s for one bare pass a prefix: {np.median(ratios):.0f} times faster ({ratios.min():.0f} to "
        f"{ratios.max():.0f}, 3 pairs); as texts of their own, in batches, they took {batch_s:.1f} s. Largest difference "
        f"to that batch {worst['batch'].max():.0e} of a column's largest value; to bare passes, which sum in another order, "
        f"{worst['passes'].max():.0e} (at {column}), 99 % of the numbers within {np.quantile(worst['passes'], 0.99):.0e}."
    ]


def _batched(reader: TextReader, texts: list[TokenizedText]) -> np.ndarray:
    """The features of each text, in order, read in batches."""
    rows = np.empty((len(texts), reader.layout.width), np.float32)
    for batch in batches(texts, max_tokens=TOKENS, batch_tokens=reader.batch_tokens):
        index = [window.text for window in batch.windows]
        rows[index] = reader.layout.values(
            reader.engine.text_stats(batch), [len(texts[text].ids) for text in index]
        )
    return rows


def _seven(loaded: LoadedModel, ids: tuple[int, ...]) -> np.ndarray:
    """The features of one prefix as the paper's code computes them: a whole pass, then the statistics."""
    parts = []

    def read(layer: int, gate: torch.Tensor) -> None:
        margin = signed_margin(gate[0], gate_norms(loaded.model, layer))
        sign, distance = sign_fraction(margin), boundary_distance(margin)
        sign_std, distance_std = (v.std() if len(v) > 1 else v.new_zeros(()) for v in (sign, distance))
        seven = [sign.mean(), sign.min(), sign.max(), sign_std]
        parts.append(torch.stack([*seven, distance.min(), distance.mean(), distance_std]))

    with torch.no_grad(), watch(loaded.model, gate=read, stop=True):
        loaded.model(torch.tensor([ids]), use_cache=False)
    return torch.cat(parts).numpy()


MEMORY = """
import sys
import torch
from splinelens.geometry.attention import intrinsic_dimensions
heads, tokens = 9, 4096
generator = torch.Generator().manual_seed(0)
query = torch.randn(1, heads, tokens, 64, generator=generator)
key = torch.randn(1, 3, tokens, 64, generator=generator)
intrinsic_dimensions(query[:, :, :64], key[:, :, :64], scaling=0.125)  # loads the libraries
def peak():  # of this process alone
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
def now():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
base = now()
if sys.argv[1] == "blocks":
    intrinsic_dimensions(query, key, scaling=0.125)
else:
    weights = (query @ key.repeat_interleave(3, 1).transpose(2, 3) * 0.125 + torch.full((tokens, tokens), -torch.inf).triu(1)).softmax(-1)
print((peak() - base) * 1024)
"""


def memory() -> list[str]:
    """Peak extra memory of the intrinsic dimension of every token, against eager attention's weights."""
    weights = 9 * 4096 * 4096 * 4
    peaks = {
        form: np.median(
            [
                int(
                    subprocess.run(
                        [sys.executable, "-c", MEMORY, form], check=True, capture_output=True
                    ).stdout
                )
                for _ in range(3)
            ]
        )
        for form in ("blocks", "whole")
    }
    return [
        f"- Peak extra memory, intrinsic dimension of every token, 4,096 tokens x 9 heads: {peaks['blocks'] / 1e6:.0f} MB by blocks, "
        f"1/{weights / max(peaks['blocks'], 1):.0f} of the {weights / 1e6:.0f} MB that eager attention's weights take (making them took "
        f"{peaks['whole'] / 1e6:.0f} MB), median of 3."
    ]


LAYER = """
import sys
import time
import torch
from splinelens.geometry.affine import first_order_map
width, neurons = 4096, 11008
torch.manual_seed(0)
into = [torch.randn(neurons, width).mul_(width**-0.5) for _ in range(2)]
out, point = torch.randn(width, neurons).mul_(neurons**-0.5), torch.randn(width)
region = first_order_map(point, (into[0], None), (out, None), torch.nn.functional.silu, up=(into[1], None))
def bytes_of(name):
    return 1024 * int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith(name)))
do = {"apply": lambda: region.apply(point), "transposed": lambda: region.transposed(point), "norm": region.norm}[sys.argv[1]]
with open("/proc/self/clear_refs", "w") as refs:  # what making the weights took is forgotten
    refs.write("5")
base, began = bytes_of("VmRSS"), time.perf_counter()
do()
print(time.perf_counter() - began, bytes_of("VmHWM") - base)
"""


def layer() -> list[str]:
    """A large layer's map without its matrix: seconds, and peak extra memory against the matrix's."""
    took = []
    for what in ("apply", "transposed", "norm"):
        run = subprocess.run([sys.executable, "-c", LAYER, what], check=True, capture_output=True, text=True)
        seconds, peak = map(float, run.stdout.split())
        took.append(f"{what} {seconds:.2f} s and {peak / 1e6:.0f} MB")
    return [
        f"- The map of a gated layer of 4,096 x 11,008 (random float32 weights, {3 * 4096 * 11008 * 4 / 1e6:.0f} MB), matrix-free, peak "
        f"extra memory: {', '.join(took)}; the matrix itself would take {4096 * 4096 * 4 / 1e6:.0f} MB. First call of a fresh process each."
    ]


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()  # for --help
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    loaded = load_model("smollm2-135m", device="cpu")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE
    ).stdout.strip()
    lines = [
        "# Measured by `make bench`: the geometry",
        "",
        f"splinelens {splinelens.__version__}, commit {commit or 'unknown'}, torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{platform.machine()}, {json.dumps(processor())}, default model in float32.",
        "",
    ]
    for part in (memory, layer, lambda: prefixes(loaded), lambda: overhead(loaded)):
        for line in part():
            print(line, flush=True)
            lines.append(line)
    (HERE / "geometry.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
