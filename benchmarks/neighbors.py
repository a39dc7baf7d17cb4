"""Measure the estimators of intrinsic dimension: python benchmarks/neighbors.py. Writes benchmarks/neighbors.md.

Needs scikit-dimension (in the extra ``dev``). The times of both are taken in turns in one process; set
OMP_NUM_THREADS to give both the same number of threads.
"""

import argparse
import json
import platform
import subprocess
from pathlib import Path

import numpy as np
import torch
from run import pairs, processor
from skdim.id import MLE

import splinelens
from splinelens.geometry.neighbors import lid_geomle, lid_mle, nearest, two_nn

HERE = Path(__file__).parent
POINTS, WIDE, K = 2000, 4096, 20
DIMENSIONS, WIDTHS = range(1, 21), (20, 100, 1000)  # one seed for each width


def ball(dimension: int, width: int, seed: int) -> torch.Tensor:
    """A uniform sample of the unit ball, rotated into a wider space."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(POINTS, dimension, generator=generator)
    radius = torch.rand(POINTS, 1, generator=generator) ** (1 / dimension)
    axes = torch.linalg.qr(torch.randn(width, dimension, generator=generator)).Q
    return direction / direction.norm(dim=1, keepdim=True) * radius @ axes.T


def balls() -> list[str]:
    """The mean estimates over the points of a ball, for each dimension."""
    lines = [
        f"Uniform balls, {POINTS:,} points, rotated into {', '.join(f'{width:,}' for width in WIDTHS)} dimensions (one seed each): mean over points "
        f"of the estimates; median of the seeds and, in brackets, their range. MLE: k = {K}. GeoMLE: defaults.",
        "",
        "| d | MLE | MLE, unbiased divisor | GeoMLE | standard deviation of GeoMLE over points | TwoNN | worst error of MLE | of MLE, unbiased | of GeoMLE |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    own = torch.arange(POINTS)
    worst_of_all = 0.0
    for dimension in DIMENSIONS:
        rows = []
        for seed, width in enumerate(WIDTHS):
            points = ball(dimension, width, seed)
            mle = float(lid_mle(nearest(points, points, K, own=own)[0]).mean())
            geomle = lid_geomle(points, points, own=own)
            rows.append((mle, mle * (K - 2) / K, float(geomle.mean()), float(geomle.std()), two_nn(points)))
        columns = np.array(rows).T
        worst = np.abs(columns[:3] / dimension - 1).max(axis=1)
        worst_of_all = max(worst_of_all, worst[2])
        cells = [f"{np.median(each):.2f} ({each.min():.2f} to {each.max():.2f})" for each in columns]
        lines.append(
            f"| {dimension} | {' | '.join(cells)} | {' | '.join(f'{100 * error:.1f} %' for error in worst)} |"
        )
        print(lines[-1], flush=True)
    return [*lines, "", f"Largest error of GeoMLE over all balls and seeds: {100 * worst_of_all:.1f} %."]


def against_scikit_dimension() -> list[str]:
    """Seconds for the local dimensions of all points, ours and scikit-dimension's in turns."""
    lines = []
    own = torch.arange(POINTS)
    sets = {
        "normal distribution": torch.randn(POINTS, WIDE, generator=torch.Generator().manual_seed(0)),
        "ball of 20 dimensions": ball(20, WIDE, 0),
        "ball of 5 dimensions": ball(5, WIDE, 0),
        "ball of 2 dimensions, whose short distances are computed twice": ball(2, WIDE, 0),
    }
    for name, points in sets.items():
        array, other = points.numpy(), MLE()

        def ours() -> torch.Tensor:
            return lid_mle(nearest(points, points, K, own=own)[0])

        def theirs() -> np.ndarray:
            return other.fit(array, n_neighbors=K).dimension_pw_

        difference = np.abs(ours().numpy() * (K - 1) / K / theirs() - 1).max()
        ours_s, theirs_s, ratio = pairs(ours, theirs, 11)
        lines.append(
            f"- {POINTS:,} x {WIDE:,} points in float32, {name}, k = {K}: {ours_s:.2f} s against {theirs_s:.2f} s of scikit-dimension's `MLE`; "
            f"ratio {ratio}, 11 pairs. Largest relative difference of a local dimension, with the same divisor: {difference:.0e}."
        )
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()  # for --help
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE
    ).stdout.strip()
    lines = [
        "# Measured by `python benchmarks/neighbors.py`: intrinsic dimension",
        "",
        f"splinelens {splinelens.__version__}, commit {commit or 'unknown'}, torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{platform.machine()}, {json.dumps(processor())}.",
        "",
    ]
    lines += [*against_scikit_dimension(), "", *balls()]
    (HERE / "neighbors.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
