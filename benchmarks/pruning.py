"""Perplexity of pruned models: magnitude, Wanda and SparseGPT, with the sparsity of each block by several rules.

    python benchmarks/pruning.py grid --data DIR --work WORK --minutes 20   # repeat until nothing is left
    python benchmarks/pruning.py neurons --data DIR --work WORK
    python benchmarks/pruning.py sensitivity --data DIR --work WORK
    python benchmarks/pruning.py effects --data DIR --work WORK
    python benchmarks/pruning.py record --work WORK                          # writes pruning.json and pruning.md

Each result is a line of a file in WORK, so a run that is stopped continues. Perplexity is that of 24 windows of 512 tokens, spread
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
from scipy.stats import spearmanr

from splinelens.apps.pruning import SPREADS, apply, plan, remove
from splinelens.apps.pruning_evaluation import evaluate, write_report
from splinelens.engines.neurons import gate_occupancy, remove_neurons
from splinelens.engines.pruning import block_scores, prune_blocks
from splinelens.generate.likelihood import perplexity
from splinelens.geometry.allocation import block_ratios, exact_counts
from splinelens.geometry.settings import CALIBRATED, METHODS
from splinelens.models import load_model
from splinelens.report.tables import Table
from splinelens.texts import read_texts
from splinelens.tokens import chunks
from splinelens.weights.masks import magnitude_mask
from splinelens.weights.matrices import weight_matrices, zero_counts

RULES = ("uniform", "alpha", "owl", "dlp", "arithmetic")
SPARSITIES = (0.7, 0.3, 0.6)
WINDOWS, CHUNKS, LENGTH = 24, 16, 512
REMOVED = (64, 32, 128, 256)  # neurons of each block
ROWS = 200  # comments for the shipped detectors
EFFECTS = {
    "magnitude 50%": {"method": "magnitude"},
    "wanda 50%": {"dtype": "bfloat16"},
    "wanda 70%": {"sparsity": 0.7, "dtype": "bfloat16"},
    "sparsegpt 50%": {"method": "sparsegpt"},
    "neurons 4%": {"share": 64 / 1536, "dtype": "bfloat16"},
}
ALPHA_SPREAD = {"magnitude": 0.3, "wanda": 0.2, "sparsegpt": 0.2}  # as published


def cells(model, rules):
    """The cells of the table, the most telling first: a run may be stopped when its time is over."""
    first = [("magnitude", 0), ("wanda", 0), ("sparsegpt", 0)]
    order = [(0.5, first, rules)]
    order += [(sparsity, first[:2], rules) for sparsity in SPARSITIES]
    order += [(0.5, [("wanda", seed), ("sparsegpt", seed)], ("uniform", "alpha")) for seed in (1, 2)]
    order += [(sparsity, first[2:], ("uniform", "alpha")) for sparsity in SPARSITIES]
    order += [(sparsity, first[2:], rules) for sparsity in SPARSITIES]
    order += [(0.5, [("wanda", seed), ("sparsegpt", seed)], rules) for seed in (1, 2)]
    listed = [
        {"model": model, "method": method, "by": by, "sparsity": sparsity, "seed": seed}
        for sparsity, methods, chosen in order
        for by in chosen
        for method, seed in methods
    ]
    return [cell for index, cell in enumerate(listed) if cell not in listed[:index]]


def calibration(loaded, data, seed):
    """Chunks of tokens of shuffled texts, none of them from Wikipedia."""
    with (data / "domains" / "domains.jsonl").open(encoding="utf-8") as lines:
        texts = [row["text"] for row in map(json.loads, lines) if row["domain"] != "wikipedia"]
    order = np.random.default_rng(seed).permutation(len(texts))
    return torch.from_numpy(chunks(loaded.tokenizer, (texts[index] for index in order), LENGTH, CHUNKS))


class Grid:
    """A model whose dense weights are restored before each cell."""

    def __init__(self, name, data, work):
        self.data, self.scores_file = data, work / f"scores-{Path(name).name}.json"
        self.stored = json.loads(self.scores_file.read_text()) if self.scores_file.is_file() else {}
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
        key = f"{by} {seed}" if by in CALIBRATED else by
        if key not in self.stored:
            if by in CALIBRATED:
                self.restore()
                ids = calibration(self.loaded, self.data, seed)
                blocks = [*block_scores(self.loaded.model, ids)]
                self.stored |= {f"{rule} {seed}": [each[rule] for each in blocks] for rule in CALIBRATED}
            else:
                allocations = plan(self.exact, 0.5).allocations
                self.stored |= {rule: allocations[rule].scores for rule in ("alpha", "arithmetic")}
            self.scores_file.write_text(json.dumps(self.stored))
        return np.array(self.stored[key])

    def ratios(self, cell):
        """The share that each block loses; the spread of each rule is the one of its paper."""
        by = cell["by"]
        if by == "uniform":
            return [cell["sparsity"]] * self.loaded.depth
        spread = ALPHA_SPREAD[cell["method"]] if by == "alpha" else SPREADS[by]
        layers, weights = [layer for layer, _ in self.dense], [each.numel() for each in self.dense.values()]
        sizes = np.bincount(layers, weights).astype(np.int64)
        return block_ratios(by, self.scores(by, cell["seed"]), sizes, cell["sparsity"], spread).tolist()

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
        zeros, weights = zero_counts(self.loaded)
        return self.measured(cell) | {
            "ratios": [round(ratio, 4) for ratio in ratios],
            "removed": sum(counts),
            "zeros": zeros,
            "weights": weights,
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


def run_sensitivity(options):
    """Perplexity after each single block loses half of its weights by magnitude, on a quarter of the windows."""
    grid = Grid(options.model, options.data, options.work)
    path = options.work / "sensitivity.jsonl"
    done = {line["layer"] for line in read_lines(path)}
    for layer in [-1, *range(grid.loaded.depth)]:
        if layer in done:
            continue
        grid.restore()
        for each in grid.matrices():
            if each.layer == layer:
                each.tensor.masked_fill_(magnitude_mask(each.tensor, each.tensor.numel() // 2), 0)
        result = perplexity(grid.loaded, grid.text, length=LENGTH, windows=WINDOWS // 4)
        append(path, {"layer": layer, "perplexity": result.value})


def run_neurons(options):
    """Perplexity and seconds with fewer neurons in every block; the dense model is timed in the same process."""
    grid = Grid(options.model, options.data, options.work)
    ids = calibration(grid.loaded, options.data, 0)
    fired = gate_occupancy(grid.loaded.model, ids)
    neurons = fired.shape[1]
    never = (fired == 0).sum(dim=1)
    path, done = options.work / "neurons.jsonl", read_lines(options.work / "neurons.jsonl")
    for count in REMOVED:
        if count in [line["removed"] for line in done]:
            continue
        smaller = load_model(options.model, head=True, dtype="bfloat16")
        started = time.perf_counter()
        lost = list(remove_neurons(smaller.causal, count, ids, fired)) if count else []
        seconds = time.perf_counter() - started
        passes = [
            [perplexity(each, grid.text, length=LENGTH, windows=WINDOWS) for each in (grid.loaded, smaller)]
            for _ in range(3)
        ]
        dense_s, smaller_s = (min(each[index].seconds for each in passes) for index in (0, 1))
        line = {
            "model": options.model,
            "neurons": neurons,
            "removed": count,
            "never_on": [int(number) for number in never],
            "prune_s": round(seconds, 1),
            "mass": round(float(np.mean([each.activation_share for each in lost])), 5) if lost else 0.0,
            "error": round(float(np.mean([each.output_change for each in lost])), 5) if lost else 0.0,
            "parameters": sum(each.numel() for each in smaller.causal.parameters()),
            "dense_perplexity": passes[0][0].value,
            "perplexity": passes[0][1].value,
            "dense_s": round(dense_s, 2),
            "smaller_s": round(smaller_s, 2),
        }
        append(path, line)


def run_effects(options):
    """Saved models by the functions of the command line, and their evaluation with the shipped detectors."""
    texts = read_texts(options.data / "domains" / "domains.jsonl", keep=["domain"])
    prose = texts.at([row for row, name in enumerate(texts.columns["domain"]) if name != "wikipedia"])
    folders = []
    for name, settings in EFFECTS.items():
        folder = options.work / name.replace(" ", "-").removesuffix("%")
        folders.append(folder)
        if not folder.is_dir():
            started = time.perf_counter()
            if "share" in settings:
                remove(options.model, prose, folder, **settings)
            else:
                apply(options.model, folder, calibration=prose, **settings)
            append(options.work / "applied.jsonl", {"name": name, "seconds": time.perf_counter() - started})
    rows = read_texts(
        options.data / "jigsaw-test-binary-12k" / "jigsaw_test_balanced.csv",
        "comment_text",
        ["toxic", "split"],
    ).where("split", ["test"])
    chosen = rows.at(np.random.default_rng(0).permutation(len(rows))[:ROWS].tolist())
    report = evaluate(
        options.model,
        folders,
        (options.data / "wikitext2-test" / "wiki.test.txt").read_text("utf-8"),
        chosen,
        labels=np.array([int(label) for label in chosen.columns["toxic"]]),
        detectors=("toxicity", "toxicity-fast"),
        text_name="wiki.test.txt",
        windows=WINDOWS // 3,
        length=LENGTH,
        dtype="bfloat16",
    )
    write_report(report, options.work / "effects.html", overwrite=True)


def write_record(options):
    """The record of all parts that have run, as JSON and as Markdown."""
    cells, work = read_lines(options.work / "cells.jsonl"), options.work
    dense = next(cell for cell in cells if cell["method"] == "dense")
    others = [cell for cell in cells if cell["model"] != dense["model"]]
    pruned = [cell for cell in cells if cell["method"] != "dense" and cell not in others]
    record = {
        "model": dense["model"],
        "windows": WINDOWS,
        "length": LENGTH,
        "calibration_tokens": CHUNKS * LENGTH,
        "dense": {name: dense[name] for name in ("perplexity", "transformers_alone", "tokens")},
        "cells": [
            {
                name: cell[name]
                for name in ("method", "by", "sparsity", "seed", "perplexity", "removed", "zeros", "prune_s")
            }
            for cell in pruned
        ],
        "others": [
            {name: cell[name] for name in ("model", "method", "by", "sparsity", "seed", "perplexity")}
            for cell in others
        ],
        "bars": bars(dense, pruned),
        "neurons": read_lines(work / "neurons.jsonl"),
        "applied": read_lines(work / "applied.jsonl"),
    }
    record["sensitivity"] = sensitivity(work, dense["model"])
    if (work / "effects.json").is_file():
        effects = json.loads((work / "effects.json").read_text())
        for model in effects["models"]:
            model["mean_shift"] = float(np.mean(model["shift"]))
        record["effects"] = {name: effects[name] for name in ("texts", "models")}
    (options.output / "pruning.json").write_text(json.dumps(record, indent=1) + "\n")
    (options.output / "pruning.md").write_text(markdown(record))


def bars(dense, pruned):
    """The increase of perplexity at 50 % of magnitude and uniform ratios over that of the best, and alpha's gain."""
    half = [cell for cell in pruned if cell["sparsity"] == 0.5 and cell["seed"] == 0]
    plain = next(cell for cell in half if (cell["method"], cell["by"]) == ("magnitude", "uniform"))
    best = min(half, key=lambda cell: cell["perplexity"])
    base = dense["perplexity"]
    gains = []
    for cell in pruned:
        if cell["by"] == "alpha":
            names = ("method", "sparsity", "seed")
            twin = [
                each for each in pruned if each["by"] == "uniform" and all(each[n] == cell[n] for n in names)
            ]
            if not twin and cell["method"] == "magnitude":
                continue
            difference = np.array(cell["nll"]) - np.array(twin[0]["nll"])
            error = difference.std(ddof=1) / len(difference) ** 0.5
            gains.append(
                {name: cell[name] for name in names}
                | {
                    "nll_of_alpha_less_uniform": round(float(difference.mean()), 4),
                    "standard_error": round(float(error), 4),
                }
            )
    return {
        "best": {name: best[name] for name in ("method", "by", "perplexity")},
        "increase_of_uniform_magnitude_over_best": (plain["perplexity"] - base) / (best["perplexity"] - base),
        "alpha": gains,
    }


def sensitivity(work, model):
    """Rank correlations of what each rule measures with the increase that each single block causes."""
    lines, scores = read_lines(work / "sensitivity.jsonl"), work / f"scores-{Path(model).name}.json"
    if not lines or not scores.is_file():
        return {}
    base = next(line["perplexity"] for line in lines if line["layer"] == -1)
    blocks = sorted((line for line in lines if line["layer"] >= 0), key=lambda line: line["layer"])
    increases = [line["perplexity"] / base - 1 for line in blocks]
    measured = json.loads(scores.read_text())
    names = {"alpha": "alpha", "depth": "arithmetic", "outliers (owl)": "owl 0", "median (dlp)": "dlp 0"}
    return {
        "increase": [round(each, 4) for each in increases],
        "alpha": [round(each, 3) for each in measured["alpha"]],
        "rank_correlation": {
            name: round(float(spearmanr(measured[key], increases).statistic), 3)
            for name, key in names.items()
            if key in measured
        },
    }


def markdown(record):
    """The tables of the record."""
    shown = {(cell["method"], cell["by"], cell["sparsity"], cell["seed"]): cell for cell in record["cells"]}
    shares = sorted({cell["sparsity"] for cell in record["cells"]})
    rows = []
    for method in METHODS:
        for by in RULES:
            values = [shown.get((method, by, share, 0)) for share in shares]
            if any(values):
                others = [shown.get((method, by, 0.5, seed)) for seed in (1, 2)]
                cells = [f"{value['perplexity']:,.1f}" if value else "" for value in values]
                rows.append(
                    (method, by, *cells, ", ".join(f"{each['perplexity']:,.1f}" for each in others if each))
                )
    head = ("method", "ratios", *(f"{100 * share:.0f} %" for share in shares), "50 %, further seeds")
    dense, best = record["dense"], record["bars"]["best"]
    lines = [
        "# Pruning, measured",
        f"{record['model']}, bfloat16: perplexity over {record['windows']} windows of {record['length']} tokens, "
        f"spread evenly over the WikiText-2 test text; {record['calibration_tokens']:,} calibration tokens of "
        "`domains` without Wikipedia. Written by `python benchmarks/pruning.py record`.",
        f"Dense: {dense['perplexity']:.3f}; by transformers alone {dense['transformers_alone']:.3f}.",
        Table(head, rows).markdown(),
        f"Best at 50 %: {best['method']} with {best['by']} ratios, {best['perplexity']:.2f}. Magnitude with uniform "
        f"ratios increases perplexity {record['bars']['increase_of_uniform_magnitude_over_best']:.1f} times as much.",
        *_other_models(record["others"]),
        "## Alpha against uniform ratios",
        "Mean negative log-likelihood with alpha's ratios less that with uniform ones, over the windows (negative: "
        "alpha is better), with its standard error over windows.",
        Table(
            ("method", "sparsity", "seed", "difference", "standard error"),
            [
                (
                    each["method"],
                    f"{100 * each['sparsity']:.0f} %",
                    str(each["seed"]),
                    f"{each['nll_of_alpha_less_uniform']:+.3f}",
                    f"{each['standard_error']:.3f}",
                )
                for each in record["bars"]["alpha"]
            ],
        ).markdown(),
    ]
    if found := record["sensitivity"]:
        lines += [
            "Rank correlation over blocks of what a rule measures with the increase of perplexity when this block "
            "alone loses half of its weights by magnitude, on a quarter of the windows. A rule that prunes blocks "
            "with a high value more (alpha, depth, median) needs a negative one, outliers a positive one.",
            Table(
                ("measured", "rank correlation"),
                [(name, f"{value:+.2f}") for name, value in found["rank_correlation"].items()],
            ).markdown(),
        ]
    if record["neurons"]:
        lines += [
            "## Removed neurons",
            _neuron_bar(record["neurons"]),
            _neuron_table(record["neurons"]).markdown(),
        ]
    if "effects" in record:
        lines += ["## Geometry, verdicts and seconds", _effect_table(record["effects"]).markdown()]
    if record["applied"]:
        cells = [(each["name"], f"{each['seconds']:.0f}") for each in record["applied"]]
        lines += [
            "Seconds of the functions of the command line, one thread:",
            Table(("model", "s"), cells).markdown(),
        ]
    return "\n\n".join(lines) + "\n"


def _other_models(cells):
    if not cells:
        return []
    rows = [
        (
            cell["model"],
            cell["method"],
            cell["by"],
            f"{100 * cell['sparsity']:.0f} %",
            f"{cell['perplexity']:,.1f}",
        )
        for cell in cells
    ]
    head = ("model", "method", "ratios", "sparsity", "perplexity")
    return ["## Another model", Table(head, rows).markdown()]


def _neuron_bar(lines):
    """The most neurons that cost at most 1 % of perplexity, in words."""
    cheap = [line for line in lines if line["perplexity"] <= 1.01 * line["dense_perplexity"]]
    never = min(min(line["never_on"]) for line in lines)
    words = f"Neurons that never fire on the calibration text, in the block with the fewest: {never}. "
    if not cheap:
        return words + "No size that was tried costs at most 1 % of perplexity."
    most = max(cheap, key=lambda line: line["removed"])
    return words + (
        f"Of the sizes tried, the most neurons removed for at most 1 % of perplexity: {most['removed']} of "
        f"{most['neurons']} in every block ({100 * most['removed'] / most['neurons']:.1f} %), which saves "
        f"{100 * (1 - most['smaller_s'] / most['dense_s']):.1f} % of the seconds of the windows, head included."
    )


def _neuron_table(lines):
    rows = [
        (
            f"{line['removed']} of {line['neurons']}",
            f"{100 * line['removed'] / line['neurons']:.1f} %",
            f"{100 * (line['perplexity'] / line['dense_perplexity'] - 1):+.2f} %",
            f"{line['dense_s']:.2f}",
            f"{line['smaller_s']:.2f}",
            f"{100 * (1 - line['smaller_s'] / line['dense_s']):.1f} %",
            str(min(line["never_on"])),
        )
        for line in sorted(lines, key=lambda line: line["removed"])
    ]
    head = (
        "neurons removed",
        "share",
        "perplexity",
        "dense s",
        "smaller s",
        "saved",
        "never on, fewest of a block",
    )
    return Table(head, rows)


def _effect_table(effects):
    dense = effects["models"][0]
    rows = []
    for model in effects["models"]:
        cells = [
            f"{carried['same_verdict']:.3f}, AUC {carried['auc'][1]:.3f}"
            if carried["auc"] is not None
            else carried["reason"]
            for carried in model["detectors"]
        ]
        dimension = np.mean(model["dimension"]) / np.mean(dense["dimension"]) - 1
        rows.append(
            (
                model["name"],
                f"{100 * model['sparsity']:.1f} %",
                f"{model['perplexity']:,.1f}",
                f"{model['seconds']:.2f}",
                f"{model['mean_shift']:.2f}",
                f"{100 * dimension:+.1f} %",
                *cells,
            )
        )
    names = [f"{carried['detector']}: same verdict, AUC" for carried in dense["detectors"]]
    head = ("model", "removed", "perplexity", "s", "shift of spline7", "intrinsic dimension", *names)
    return Table(head, rows)


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def append(path, line):
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print({name: value for name, value in line.items() if not isinstance(value, list)}, flush=True)


def key(cell):
    return tuple(cell[name] for name in ("model", "method", "by", "sparsity", "seed"))


def run_grid(options):
    path, end = options.work / "cells.jsonl", time.monotonic() + 60 * options.minutes
    done = {key(cell) for cell in read_lines(path)}
    left = [cell for cell in cells(options.model, options.by.split(",")) if key(cell) not in done]
    if not left:
        print("nothing is left")
        return
    grid = Grid(options.model, options.data, options.work)
    if (options.model, "dense", "", 0.0, 0) not in done:
        append(path, dense_cells(grid, options.model))
    for cell in left:
        if time.monotonic() > end:
            break
        append(path, grid.run(cell))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for name, run in (
        ("grid", run_grid),
        ("neurons", run_neurons),
        ("effects", run_effects),
        ("sensitivity", run_sensitivity),
    ):
        command = commands.add_parser(name)
        command.add_argument("--data", type=Path, required=True)
        command.add_argument("--work", type=Path, required=True)
        command.add_argument("--model", default="smollm2-135m")
        command.set_defaults(run=run)
        if name == "grid":
            command.add_argument("--minutes", type=float, default=20)
            command.add_argument("--by", default=",".join(RULES))
    record = commands.add_parser("record")
    record.add_argument("--work", type=Path, required=True)
    record.add_argument("--output", type=Path, default=Path(__file__).parent)
    record.set_defaults(run=write_record)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
