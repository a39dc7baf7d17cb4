"""Measure spectra of weight matrices: python benchmarks/spectrum.py. Writes spectrum.json and spectrum.md.

Needs powerlaw and weightwatcher (in the extra ``dev``), the default model, and ``qwen2.5-coder-0.5b`` where it is
cached. Set OMP_NUM_THREADS to the threads that the times are stated for. Minutes on one thread.
"""

import argparse
import json
import math
import platform
import subprocess
import warnings
from collections import defaultdict
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from itertools import combinations
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from run import processor

import splinelens
from splinelens.errors import BadModel
from splinelens.geometry.spectrum import (
    eigenvalues,
    positive,
    spectral_entropy,
    stable_rank,
    subsampled_eigenvalues,
    tail_mid,
    tail_peak,
)
from splinelens.weights import weight_matrices

HERE = Path(__file__).parent
MODELS = ("smollm2-135m", "qwen2.5-coder-0.5b")
ALPHAS = (1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
SIZES = (192, 576, 1536)
DRAWS = 20
PARTS = ("models", "libraries", "planted")
SEARCHED = (0, 20)  # blocks on which the library powerlaw searches its threshold: seconds a matrix


def fitted(values: np.ndarray, first: int) -> tuple[float, float]:
    """Alpha and distance of the tail from a value on, as the papers define them."""
    tail = values[first:]
    alpha = 1 + len(tail) / np.log(tail / tail[0]).sum()
    return alpha, np.abs(1 - (tail / tail[0]) ** (1 - alpha) - np.arange(len(tail)) / len(tail)).max()


def searched(values: np.ndarray, low: float, high: float, *, last: bool = True) -> float:
    """Alpha at the threshold with the smallest distance, among the values from ``low`` to ``high``.

    ``last`` says whether the largest of these is a threshold too; the largest value never is.
    """
    tried = [fitted(values, i) for i in range(len(values) - 1) if low <= values[i] <= high]
    return min(tried if last else tried[:-1], key=lambda one: one[1])[0]


def peak(values: np.ndarray) -> float:
    """The lower edge of the highest of 100 bins of the logarithms."""
    counts, edges = np.histogram(np.log10(values), 100)
    return float(10 ** edges[counts.argmax()])


def measured(model: str) -> dict:
    """Spectra of all matrices of a model, and the seconds that each step takes."""
    seconds: dict[str, float] = defaultdict(float)
    blocks: dict[str, dict[int, list[float]]] = {name: defaultdict(list) for name in ("peak", "mid", "farms")}
    matrices, spectra = 0, {}
    started = perf_counter()
    for matrix in weight_matrices(model):
        begun = perf_counter()
        values = positive(eigenvalues(matrix.tensor))
        seconds["eigenvalues"] += perf_counter() - begun
        begun = perf_counter()
        tails = tail_peak(values), tail_mid(values)
        stable_rank(values), spectral_entropy(values)
        seconds["tails"] += perf_counter() - begun
        seconds["both"] = perf_counter() - started - seconds["farms"]  # with reading the files
        begun = perf_counter()
        corrected = tail_peak(positive(subsampled_eigenvalues(matrix.tensor)))
        seconds["farms"] += perf_counter() - begun
        for name, tail in zip(blocks, (*tails, corrected), strict=True):
            blocks[name][matrix.layer].append(tail.alpha)
        spectra[matrix.layer, matrix.name] = matrix.tensor, values, *tails
        matrices += 1
    means = {name: [float(np.mean(each)) for each in of_block.values()] for name, of_block in blocks.items()}
    return {"matrices": matrices, "seconds": dict(seconds), "alpha": means, "spectra": spectra}


def against_svd(spectra: dict) -> dict:
    """Largest difference of the alphas from their definition by singular values, and the seconds of the SVDs."""
    seconds, worst = 0.0, {"mid": 0.0, "peak": 0.0, "distance": 0.0}
    for weight, _, best, mid in spectra.values():
        begun = perf_counter()
        singular = torch.linalg.svdvals(weight.double())
        seconds += perf_counter() - begun
        values = np.sort(singular.numpy() ** 2)
        values = values[values > values.max() * len(values) * np.finfo(float).eps]
        edge = peak(values)
        alpha = searched(values, 0.95 * edge, 1.5 * edge)
        distance = fitted(values, len(values) - best.size)[1]
        for name, difference in (
            ("mid", mid.alpha - fitted(values, len(values) // 2)[0]),
            ("peak", best.alpha - alpha),
            ("distance", best.distance - distance),
        ):
            worst[name] = max(worst[name], abs(difference))
    return {"largest_difference": worst, "svd_seconds": seconds}


def planted() -> list[dict]:
    """Alphas of matrices whose eigenvalues follow a power law from 1 on: its quantiles, and random draws."""
    rows = []
    for size in SIZES:
        generator = torch.Generator().manual_seed(size)
        left = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
        for alpha in ALPHAS:
            quantiles = (torch.arange(size, dtype=torch.float64) + 0.5) / size
            weight = left * ((1 - quantiles) ** (-1 / (alpha - 1))).sqrt()
            values = positive(eigenvalues(weight))
            errors = {"mid": tail_mid(values).alpha / alpha - 1, "peak": tail_peak(values).alpha / alpha - 1}
            drawn = defaultdict(list)
            for _ in range(DRAWS):
                shares = torch.rand(size, generator=generator, dtype=torch.float64)
                sample = ((1 - shares) ** (-1 / (alpha - 1))).sort().values
                drawn["mid"].append(tail_mid(sample).alpha / alpha - 1)
                drawn["peak"].append(tail_peak(sample).alpha / alpha - 1)
            spread = {name: [float(np.mean(each)), float(np.std(each))] for name, each in drawn.items()}
            rows.append({"size": size, "alpha": alpha, "error": errors, "of_draws": spread})
    return rows


def quietly(call):
    """The result of a call that prints and warns."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def synthetic() -> dict:
    """Eigenvalues of matrices that are random, heavy tailed, and a power law."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(576, 576, generator=generator)
    heavy = torch.distributions.StudentT(2.5)
    torch.manual_seed(0)
    return {
        ("synthetic", "normal, 576 x 576"): normal,
        ("synthetic", "normal, 1536 x 576"): torch.randn(1536, 576, generator=generator),
        ("synthetic", "Student t of 2.5, 1536 x 576"): heavy.sample((1536, 576)),
        ("synthetic", "power law of 3"): normal @ torch.diag(torch.rand(576, generator=generator) ** -0.25),
    }


def against_libraries(weights: dict) -> dict:
    """Differences from powerlaw and weightwatcher, each explained by the definition that reproduces it."""
    import powerlaw
    from weightwatcher import WeightWatcher
    from weightwatcher.RMT_Util import matrix_entropy

    watcher = quietly(WeightWatcher)
    gaps: dict[str, list[float]] = defaultdict(list)
    for key, weight in (synthetic() | weights).items():
        tensor = positive(eigenvalues(weight))
        values, best = tensor.numpy(), tail_peak(tensor)
        edge = peak(values)

        def library(values=values, **options):
            """A fit of powerlaw 2, whose alpha is at most 3 unless told otherwise."""
            return powerlaw.Fit(values, verbose=False, parameter_ranges={"alpha": [1, 1000]}, **options)

        theirs = quietly(lambda fit=library, best=best: fit(xmin=best.threshold).power_law)
        gaps["powerlaw at our threshold, alpha"].append(theirs.alpha - best.alpha)
        gaps["powerlaw at our threshold, distance"].append(theirs.D - best.distance)
        if key[0] == "synthetic" or key[0] in SEARCHED:
            free = quietly(lambda fit=library: fit().power_law.alpha)
            gaps["powerlaw with its search, alpha less ours"].append(free - best.alpha)
            gaps["powerlaw with its search, alpha less that of all thresholds"].append(
                free - searched(values, 0, math.inf)
            )
            near = math.log10(0.95 * edge), 1.5 * edge
            of_peak = quietly(lambda fit=library, near=near: fit(xmin=near).power_law.alpha)
            gaps["powerlaw as xmin_peak of weightwatcher calls it, alpha less ours"].append(
                of_peak - best.alpha
            )
            gaps["likewise, alpha less that of thresholds from log10(0.95 peak) but the last"].append(
                of_peak - searched(values, *near, last=False)
            )

        def watched(values=values):
            return watcher.fit_powerlaw(values, plot=False, savefig=False, thresh=0)[0]

        alpha = float(quietly(watched))
        gaps["weightwatcher, alpha less ours"].append(alpha - best.alpha)
        gaps["weightwatcher, alpha less that of all thresholds"].append(alpha - searched(values, 0, math.inf))
        gaps["AlphaPruning as released, alpha less ours"].append(
            searched(values, math.log10(0.95 * edge), 1.5 * edge) - best.alpha
        )
        singular = np.sqrt(values)
        entropy = matrix_entropy(singular, len(singular))
        gaps["weightwatcher, entropy"].append(entropy - spectral_entropy(tensor))
        rank = float(weight.double().square().sum() / torch.linalg.matrix_norm(weight.double(), 2) ** 2)
        gaps["stable rank by norms"].append(rank - stable_rank(tensor))
    return {
        name: {
            "matrices": len(each),
            "largest": float(np.abs(each).max()),
            "median": float(np.median(np.abs(each))),
            "equal_to_1e-6": int((np.abs(each) < 1e-6).sum()),
        }
        for name, each in gaps.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="the other parts are kept")
    only, file = parser.parse_args().only, HERE / "spectrum.json"
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE
    ).stdout.strip()
    record: dict = json.loads(file.read_text("utf-8")) if file.is_file() and len(only) < len(PARTS) else {}
    record |= {
        "splinelens": splinelens.__version__,
        "commit": commit or "unknown",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, {processor()}",
    }
    for model in MODELS if "models" in only else ():
        try:
            result = measured(model)
        except BadModel as error:
            print(f"{model} is left out: {error}")
            continue
        spectra = result.pop("spectra")
        record.setdefault("models", {})[model] = result
        print(model, json.dumps(result["seconds"]), flush=True)
        if model == MODELS[0]:
            record["naive"] = against_svd(spectra)
            print(json.dumps(record["naive"]), flush=True)
    if "libraries" in only:
        record["libraries"] = against_libraries(
            {(each.layer, each.name): each.tensor for each in weight_matrices(MODELS[0])}
        )
        print(json.dumps(record["libraries"], indent=1), flush=True)
    if "planted" in only:
        record["planted"] = planted()
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (HERE / "spectrum.md").write_text(page(record), encoding="utf-8")


def correlations(alphas: dict) -> str:
    """Of each pair of estimators over the blocks."""
    names = {"peak": "peak", "mid": "median", "farms": "FARMS"}
    return ", ".join(
        f"{names[one]} and {names[other]} {np.corrcoef(alphas[one], alphas[other])[0, 1]:.2f}"
        for one, other in combinations(alphas, 2)
    )


def page(record: dict) -> str:
    """The record in Markdown."""
    first = record["models"][MODELS[0]]
    naive, seconds = record["naive"], first["seconds"]
    worst = max(abs(error) for row in record["planted"] for error in row["error"].values())
    lines = [
        "# Measured by `python benchmarks/spectrum.py`: spectra of weight matrices",
        "",
        f"splinelens {record['splinelens']}, commit {record['commit']}, torch {record['torch']}, {record['threads']} threads, {record['machine']}.",
        "",
        f"- {MODELS[0]}: {first['matrices']} matrices, straight from safetensors: {seconds['both']:.1f} s, the start of transformers included "
        f"({seconds['eigenvalues']:.1f} s eigenvalues, {seconds['tails']:.1f} s tails, rank and entropy); submatrices of FARMS {seconds['farms']:.1f} s more. "
        f"Singular values of the same matrices take {naive['svd_seconds']:.1f} s.",
        f"- Largest difference from the definition by singular values over all {first['matrices']} matrices: alpha from the median "
        f"{naive['largest_difference']['mid']:.0e}, alpha at the peak {naive['largest_difference']['peak']:.0e}, distance {naive['largest_difference']['distance']:.0e}.",
        f"- Planted power laws (matrices of {', '.join(map(str, SIZES))} with the quantiles of exponents {', '.join(map(str, ALPHAS))}): largest relative error {100 * worst:.1f} %.",
        "",
        "## Beside powerlaw and weightwatcher",
        "",
        "| what | matrices | largest difference | median | equal to 1e-6 |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {each['matrices']} | {each['largest']:.2g} | {each['median']:.2g} | {each['equal_to_1e-6']} |"
            for name, each in record["libraries"].items()
        ),
        "",
        "## Planted power laws",
        "",
        f"Relative error of alpha; of {DRAWS} random samples mean and standard deviation.",
        "",
        "| eigenvalues | alpha | median, quantiles | peak, quantiles | median, samples | peak, samples |",
        "|---|---|---|---|---|---|",
    ]
    for row in record["planted"]:
        cells = [f"{100 * row['error'][name]:+.1f} %" for name in ("mid", "peak")]
        cells += [
            "{:+.1f} ± {:.1f} %".format(*(100 * each for each in row["of_draws"][name]))
            for name in ("mid", "peak")
        ]
        lines.append(f"| {row['size']} | {row['alpha']} | {' | '.join(cells)} |")
    for model, result in record["models"].items():
        lines += [
            "",
            f"## Alpha of the blocks of {model}",
            "",
            f"{result['matrices']} matrices, {result['seconds']['both']:.1f} s; mean over the matrices of a block. "
            f"Correlation over the blocks: {correlations(result['alpha'])}.",
            "",
            "| block | peak | median | FARMS |",
            "|---|---|---|---|",
            *(
                f"| {block} | {' | '.join(f'{value:.2f}' for value in values)} |"
                for block, values in enumerate(zip(*result["alpha"].values(), strict=True))
            ),
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
