"""Perplexity of pruned models: magnitude, Wanda and SparseGPT, with the sparsity of each block by several rules.

    python benchmarks/pruning.py grid --data DIR --cells CELLS.jsonl --minutes 20   # repeat until nothing is left
    python benchmarks/pruning.py record --cells CELLS.jsonl                          # writes pruning.json and .md

Each cell is a line, so a run that is stopped continues. Perplexity is that of 24 windows of 512 tokens, spread
evenly over the WikiText-2 test text. Calibration texts are those of ``domains`` without Wikipedia, 16 chunks of
512 tokens for each seed. Weights, activations and perplexity are in bfloat16. The parameter of each rule is the
one of its paper; nothing is chosen on the test text.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from splinelens.apps.pruning import SPREADS, plan
from splinelens.engines.blocks import BlockPasses
from splinelens.engines.pruning import METHODS, prune_blocks
from splinelens.generate.likelihood import perplexity
from splinelens.geometry.allocation import (
    exact_counts,
    median_metric,
    outlier_share,
    scaled_ratios,
    shifted_ratios,
)
from splinelens.models import load_model
from splinelens.tokens import chunks
from splinelens.weights.matrices import weight_matrices

RULES = ("uniform", "alpha", "owl", "dlp", "arithmetic")
SPARSITIES = (0.5, 0.6, 0.7, 0.3)
WINDOWS, CHUNKS, LENGTH = 24, 16, 512
ALPHA_SPREAD = {"magnitude": 0.3, "wanda": 0.2, "sparsegpt": 0.2}  # as published


def cells(model, rules):
    """The cells of the table in the order of their weight: one seed first, then two more at 50 %."""
    for seed, sparsities in ((0, SPARSITIES), (1, (0.5,)), (2, (0.5,))):
        for sparsity in sparsities:
            for by in rules:
                for method in METHODS:
                    if seed == 0 or method != "magnitude" or by in ("owl", "dlp"):
                        yield {"model": model, "method": method, "by": by, "sparsity": sparsity, "seed": seed}


def calibration(loaded, data, seed):
    """Chunks of tokens of shuffled texts, none of them from Wikipedia."""
    with (data / "domains" / "domains.jsonl").open(encoding="utf-8") as lines:
        texts = [row["text"] for row in map(json.loads, lines) if row["domain"] != "wikipedia"]
    order = np.random.default_rng(seed).permutation(len(texts))
    return torch.from_numpy(chunks(loaded.tokenizer, (texts[index] for index in order), LENGTH, CHUNKS))


class Grid:
    """A model whose dense weights are restored before each cell."""

    def __init__(self, name, data, scores_file):
        self.data, self.scores_file = data, scores_file
        self.stored = json.loads(scores_file.read_text()) if scores_file.is_file() else {}
        self.exact = load_model(name, head=True)  # float32: the spectra are read from these
        self.loaded = load_model(name, head=True, dtype="bfloat16")
        self.text = (data / "wikitext2-test" / "wiki.test.txt").read_text("utf-8")
        self.dense = {(each.layer, each.name): each.tensor.clone() for each in self.matrices()}

    def matrices(self):
        return weight_matrices(self.loaded)

    def restore(self):
        for each in self.matrices():
            each.tensor.copy_(self.dense[each.layer, each.name])

    def scores(self, by, seed):
        """What a rule measures of each block of the dense model; stored, since it is the same for many cells."""
        key = by if by in ("alpha", "arithmetic") else f"{by} {seed}"
        if key not in self.stored:
            if by in ("alpha", "arithmetic"):
                planned = plan(self.exact, 0.5)
                self.stored |= {name: planned.methods[name].scores for name in ("alpha", "arithmetic")}
            else:
                self.stored |= self.input_scores(seed)
            self.scores_file.write_text(json.dumps(self.stored))
        return np.array(self.stored[key])

    def input_scores(self, seed):
        """Outlier shares (OWL) and medians (DLP) of the blocks on one sample."""
        self.restore()
        passes, scores = BlockPasses(self.loaded.model, calibration(self.loaded, self.data, seed)), {}
        for layer in range(self.loaded.depth):
            block = [each for each in self.matrices() if each.layer == layer]
            stats = passes.input_stats([each.name for each in block], gram=False)
            metrics = [each.tensor.float().abs() * stats[each.name].power.sqrt() for each in block]
            scores.setdefault(f"owl {seed}", []).append(outlier_share(metrics))
            scores.setdefault(f"dlp {seed}", []).append(median_metric(metrics))
            if layer + 1 < self.loaded.depth:
                passes.advance()
        return scores

    def ratios(self, cell):
        """The share that each block loses; the spread of each rule is the one of its paper."""
        by, sparsity, depth = cell["by"], cell["sparsity"], self.loaded.depth
        if by == "uniform":
            return [sparsity] * depth
        sizes = np.zeros(depth, dtype=np.int64)
        for (layer, _), weight in self.dense.items():
            sizes[layer] += weight.numel()
        scores = self.scores(by, cell["seed"])
        if by == "alpha":
            return scaled_ratios(scores, sizes, sparsity, ALPHA_SPREAD[cell["method"]]).tolist()
        return shifted_ratios(-scores if by == "owl" else scores, sizes, sparsity, SPREADS[by]).tolist()

    def run(self, cell):
        self.restore()
        started = time.perf_counter()
        ratios = self.ratios(cell)
        sizes = {key: weight.numel() for key, weight in self.dense.items()}
        shares = np.array([ratios[layer] for layer, _ in sizes])
        counts = exact_counts(shares, np.array([*sizes.values()]), cell["sparsity"]).tolist()
        ids = None if cell["method"] == "magnitude" else calibration(self.loaded, self.data, cell["seed"])
        removals = dict(zip(sizes, counts, strict=True))
        for _ in prune_blocks(self.loaded.model, removals, cell["method"], ids):
            pass
        pruned_s = time.perf_counter() - started
        zeros = sum(int((each.tensor == 0).sum()) for each in self.matrices())
        return self.measured(cell) | {
            "ratios": [round(ratio, 4) for ratio in ratios],
            "removed": sum(counts),
            "zeros": zeros,
            "weights": sum(sizes.values()),
            "prune_s": round(pruned_s, 1),
        }

    def measured(self, cell):
        result = perplexity(self.loaded, self.text, length=LENGTH, windows=WINDOWS)
        return cell | {
            "perplexity": result.value,
            "nll": [round(value, 4) for value in result.nll.tolist()],
            "tokens": result.tokens,
            "perplexity_s": round(result.seconds, 1),
        }


def dense_cells(grid, name):
    """The dense model, by our function and by transformers alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = str(grid.loaded.folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ids = tokenizer(grid.text, add_special_tokens=False, return_tensors="pt", verbose=False)["input_ids"][0]
    windows = ids[: len(ids) // LENGTH * LENGTH].reshape(-1, LENGTH)
    chosen = [windows[index * len(windows) // WINDOWS] for index in range(WINDOWS)]
    with torch.no_grad():
        losses = [float(model(row[None], labels=row[None]).loss) for row in chosen]
    ours = grid.measured({"model": name, "method": "dense", "by": "", "sparsity": 0.0, "seed": 0})
    return ours | {"transformers_alone": float(np.exp(np.mean(losses)))}


def key(cell):
    return tuple(cell[name] for name in ("model", "method", "by", "sparsity", "seed"))


def run_grid(options):
    path, end = options.cells, time.monotonic() + 60 * options.minutes
    done = {key(json.loads(line)) for line in path.read_text().splitlines()} if path.is_file() else set()
    left = [cell for cell in cells(options.model, options.by.split(",")) if key(cell) not in done]
    if not left:
        print("nothing is left")
        return
    grid = Grid(options.model, options.data, path.with_name(f"{path.stem}-{options.model}-scores.json"))

    def store(cell):
        with path.open("a") as file:
            file.write(json.dumps(cell) + "\n")
        print({name: cell[name] for name in ("method", "by", "sparsity", "seed", "perplexity")}, flush=True)

    if (options.model, "dense", "", 0.0, 0) not in done:
        store(dense_cells(grid, options.model))
    for cell in left:
        if time.monotonic() > end:
            break
        store(grid.run(cell))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    grid = commands.add_parser("grid")
    grid.add_argument("--data", type=Path, required=True)
    grid.add_argument("--cells", type=Path, required=True)
    grid.add_argument("--minutes", type=float, default=20)
    grid.add_argument("--model", default="smollm2-135m")
    grid.add_argument("--by", default=",".join(RULES))
    grid.set_defaults(run=run_grid)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
