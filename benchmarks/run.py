"""Measure what the README claims: make bench. Prints Markdown and writes it to benchmarks/results.md.

Every ratio comes from runs that alternate in one process (pairs), so that a busy machine slows both
sides; the median and the spread (10th to 90th percentile) of the pairs' ratios are given.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import splinelens
from splinelens.apps.detector import Detector
from splinelens.engines.torch import Request, TorchEngine
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.layers import watch
from splinelens.models import LoadedModel, load_model
from splinelens.tokens import TokenBatch, TokenizedText, batches

HERE = Path(__file__).parent
WORDS = "the quiet river bends past an old mill where children feed ducks and count passing boats in summer".split()


def text_of(loaded: LoadedModel, tokens: int, seed: int = 0) -> str:
    """A harmless text of exactly so many tokens."""
    rng, text = np.random.default_rng(seed), ""
    while True:
        longer = (text + " " + str(rng.choice(WORDS))).strip()
        if len(loaded.tokenizer(longer, add_special_tokens=False).input_ids) > tokens:
            return text
        text = longer


def pairs(one: Callable[[], object], other: Callable[[], object], count: int) -> tuple[float, float, str]:
    """Median seconds of both and the ratio one/other, as text with its spread."""
    times: list[tuple[float, float]] = []
    for index in range(count + 2):
        order = (one, other) if index % 2 else (other, one)
        seconds = {}
        for run in order:
            began = time.perf_counter()
            run()
            seconds[run] = time.perf_counter() - began
        if index >= 2:  # the first two warm up
            times.append((seconds[one], seconds[other]))
    both = np.array(times)
    low, middle, high = np.quantile(both[:, 0] / both[:, 1], [0.1, 0.5, 0.9])
    return (
        float(np.median(both[:, 0])),
        float(np.median(both[:, 1])),
        f"{middle:.3f} ({low:.3f} to {high:.3f})",
    )


def batch_of(ids: torch.Tensor) -> TokenBatch:
    """One batch of texts of equal length, without padding."""
    texts = [TokenizedText(ids=tuple(row), total=len(row)) for row in ids.tolist()]
    (batch,) = batches(texts, max_tokens=ids.shape[1], batch_tokens=ids.numel())
    return batch


def overhead(loaded: LoadedModel) -> list[str]:
    """What watching spline7 and max margins costs over the plain pass, 8 x 128 tokens."""
    ids = torch.randint(1000, 40000, (8, 128), generator=torch.Generator().manual_seed(0))
    layers = tuple(range(loaded.depth))
    engine, batch = TorchEngine(loaded.model, Request(layers, spline7=True, margins=("max",))), batch_of(ids)

    def plain() -> None:
        with torch.no_grad():
            loaded.model(ids, use_cache=False)

    def to_the_last_gate() -> None:
        with (
            torch.no_grad(),
            watch(loaded.model, gate=lambda layer, gate: None, layers=layers[-1:], stop=True),
        ):
            loaded.model(ids, use_cache=False)

    def watched() -> None:
        engine.text_stats(batch)

    lines = []
    for name, base in (
        ("the plain pass", plain),
        ("a pass that ends at the last gate, as the watched one does", to_the_last_gate),
    ):
        watched_s, plain_s, ratio = pairs(watched, base, 15)
        lines.append(
            f"- Watching spline7 and max margins of all 30 layers, 8 x 128 tokens: {watched_s * 1000:.0f} ms against "
            f"{plain_s * 1000:.0f} ms for {name}; ratio {ratio}, 15 pairs."
        )
    return lines


def latency(loaded: LoadedModel) -> list[str]:
    """One warm 30-token text: scoring against one full forward pass of the same model."""
    text = text_of(loaded, 30)
    ids = torch.tensor([loaded.tokenizer(text, add_special_tokens=False).input_ids])

    def full_pass() -> None:
        with torch.no_grad():
            loaded.model(ids, use_cache=False)

    lines = []
    for name in ("toxicity-fast", "toxicity"):
        detector = Detector.load(name)
        score_s, full_s, ratio = pairs(lambda detector=detector: detector.score([text]), full_pass, 40)
        lines.append(
            f"- `{name}`, one text of {ids.shape[1]} tokens, warm, from text to verdict: {score_s * 1000:.1f} ms against "
            f"{full_s * 1000:.1f} ms for a full forward pass; ratio {ratio}, 40 pairs."
        )
    return lines


COLD = """
import time; began = time.perf_counter(); marks = []
def mark(name):
    global began
    now = time.perf_counter(); marks.append((name, now - began)); began = now
import torch; mark("import torch")
import transformers.models.llama.modeling_llama, transformers.modeling_utils; mark("import transformers")
from splinelens.apps.detector import Detector; mark("import splinelens")
detector = Detector.load("toxicity"); mark("load model and detector")
detector.score(["Have a nice day."]); mark("first score")
print("; ".join(f"{name} {seconds:.2f} s" for name, seconds in marks))
"""


def cold() -> list[str]:
    """Seconds of a cold process, everything cached."""
    command = [sys.executable, "-m", "splinelens", "score", "--text", "Have a nice day.", "--json"]
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    stages = subprocess.run(
        [sys.executable, "-c", COLD], check=True, capture_output=True, text=True
    ).stdout.strip()
    return [
        f'- `splinelens score --text "Have a nice day."` in a new process, all cached: median {np.median(seconds):.2f} s '
        f"({min(seconds):.2f} to {max(seconds):.2f}, 5 runs). Where it goes: {stages}."
    ]


MEMORY = """
import sys
import torch
def peak():  # of this process alone: ru_maxrss would count the one that started it
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
base = peak()
from splinelens.apps.detector import Detector
detector = Detector.load(sys.argv[1])
loaded = peak()
detector.score(["Have a nice day.", "The train was late again and the coffee was cold."])
print(base / 1024, loaded / 1024, peak() / 1024)
"""


def memory() -> list[str]:
    """Peak resident memory of scoring above the interpreter with torch."""
    extra, parts = {}, []
    for name in ("toxicity", "toxicity-fast"):
        runs = [
            subprocess.run([sys.executable, "-c", MEMORY, name], check=True, capture_output=True, text=True)
            for _ in range(3)
        ]
        base, loaded, peak = np.median(
            [[float(value) for value in run.stdout.split()] for run in runs], axis=0
        )
        extra[name] = peak - base
        parts.append(f"`{name}` {peak - base:.0f} MB ({loaded - base:.0f} MB once loaded and its prompt run)")
    ratio = extra["toxicity-fast"] / extra["toxicity"]
    return [
        f"- Peak resident memory above an interpreter with torch ({base:.0f} MB): {' and '.join(parts)}; ratio {ratio:.2f}, median of 3."
    ]


def agreement(loaded: LoadedModel) -> list[str]:
    """The same text alone and among 63 others, padded right and left, with and without a prompt."""
    texts = [text_of(loaded, 1 + 2 * index, seed=index) for index in range(64)]
    lines = []
    for prompt in ("", "Is the following comment rude?\nComment: "):
        spec = FeatureSpec(("spline7", "margins", "occupancy"), ("max", "min", "mean", "last"), prompt=prompt)
        right = TextReader(loaded, spec, batch_tokens=64 * 256)
        left = TextReader(loaded, spec, side="left", batch_tokens=64 * 256)
        alone = np.concatenate([_values(right, [text]) for text in texts])
        scale = np.maximum(np.abs(alone).max(axis=0), 1e-30)
        kinds = np.concatenate([[column.statistic.name] * column.size for column in right.columns])
        for side, reader in (("right", right), ("left", left)):
            error = np.abs(_values(reader, texts) - alone)
            worst = {str(kind): (error / scale)[:, kinds == kind].max() for kind in dict.fromkeys(kinds)}
            lines.append(
                f"- The same text alone, and in a batch of 64 of 1 to 127 tokens padded {side}, {'with' if prompt else 'without'} a "
                f"prompt: {alone.size:,} numbers of 30 layers, bit-equal {100 * (error == 0).mean():.2f} %; largest difference relative to "
                "the column's largest value: "
                + (", ".join(f"{kind} {value:.0e}" for kind, value in worst.items()) if error.any() else "0")
                + "."
            )
    return lines


def _values(reader: TextReader, texts: list[str]) -> np.ndarray:
    return np.stack([features.values for features in reader.read(texts)]).astype(np.float64)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()  # for --help
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    loaded = load_model("smollm2-135m", device="cpu")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE
    ).stdout.strip()
    lines = [
        "# Measured by `make bench`",
        "",
        f"splinelens {splinelens.__version__}, commit {commit or 'unknown'}, torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{platform.machine()}, {json.dumps(processor())}, default model in float32.",
        "",
    ]
    for part in (lambda: overhead(loaded), lambda: latency(loaded), cold, memory, lambda: agreement(loaded)):
        for line in part():
            print(line, flush=True)
            lines.append(line)
    (HERE / "results.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def processor() -> str:
    try:
        names = [
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
    except OSError:
        return platform.processor()
    return f"{len(names)} x {names[0]}" if names else platform.processor()


if __name__ == "__main__":
    main()
