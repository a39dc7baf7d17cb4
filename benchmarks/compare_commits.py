"""Hold this checkout against another one: logits, scoring speed and memory of the shipped detectors.

    git worktree add ../before COMMIT
    python benchmarks/compare_commits.py --before ../before/src --data DIR

Both run in the same environment. Speeds are measured in pairs, one process after the other, so that a
machine that slows down slows both; the median and the range of the ratios is printed.
"""

import argparse
import csv
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

NAMES = ("toxicity", "toxicity-fast", "types", "domain")
HERE = Path(__file__).resolve().parents[1] / "src"


def sample(data: Path) -> list[str]:
    """500 texts: 200 of Jigsaw, 100 of ParaDetox, 100 of TweetEval, 50 each of domains and XSTest."""
    csv.field_size_limit(10**7)

    def column(path: str, name: str, delimiter: str = ",") -> list[str]:
        with (data / path).open(encoding="utf-8", newline="") as file:
            return [row[name] for row in csv.DictReader(file, delimiter=delimiter) if row[name]]

    documents = (data / "domains/domains.jsonl").read_text("utf-8").strip().split("\n")
    sets = [
        (200, column("jigsaw-test-binary-12k/jigsaw_test_balanced.csv", "comment_text")),
        (100, column("paradetox/paradetox.tsv", "toxic", "\t")),
        (100, column("tweeteval/tweeteval_offensive.csv", "text")),
        (50, [json.loads(line)["text"] for line in documents]),
        (50, column("xstest/xstest_prompts.csv", "prompt")),
    ]
    rng = random.Random(0)
    return [text for count, texts in sets for text in rng.sample(texts, count)]


def save_logits(texts: list[str], path: Path) -> None:
    """(text, label) logits of every shipped detector, in its default dtype; texts are cut at its window."""
    from splinelens import Detector, read_texts
    from splinelens.features.extract import read_table

    logits = {}
    for name in NAMES:
        detector = Detector.load(name, long="cut")
        table = read_table(detector.reader, read_texts(texts))
        logits[name] = detector.artifact.head.logit(table.values)
    np.savez(path, **logits)


def measure(name: str, texts: list[str]) -> None:
    """Print the seconds that a warm detector takes for the texts, and the peak memory of the process."""
    from resource import RUSAGE_SELF, getrusage
    from time import perf_counter

    from splinelens import Detector

    detector = Detector.load(name)
    detector.score(texts[:20])
    start = perf_counter()
    detector.score(texts)
    print(perf_counter() - start, getrusage(RUSAGE_SELF).ru_maxrss / 1024)


def worker(source: Path, *arguments: str) -> str:
    """Run this file's worker with the package of one checkout."""
    command = [sys.executable, __file__, "--worker", *arguments]
    environment = os.environ | {"PYTHONPATH": str(source.resolve()), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def compare_logits(before: Path, data: str) -> None:
    print("largest and median difference of logits on 500 texts")
    with TemporaryDirectory() as folder:
        then, now = (Path(folder) / f"{name}.npz" for name in ("then", "now"))
        worker(before, "logits", data, str(then))
        worker(HERE, "logits", data, str(now))
        first, second = np.load(then), np.load(now)
        for name in NAMES:
            if first[name].shape != second[name].shape:
                print(f"  {name:14} other labels")
                continue
            differences = np.abs(first[name] - second[name])
            print(f"  {name:14} {differences.max():.1e}  {np.median(differences):.1e}")


def compare_speed(before: Path, data: str, name: str, texts: int, pairs: int) -> None:
    ratios, seconds, memory = [], [], []
    for pair in range(pairs):
        order = (before, HERE) if pair % 2 == 0 else (HERE, before)  # neither is always the second
        found = {source: [*map(float, worker(source, name, data, str(texts)).split())] for source in order}
        (old, old_mb), (new, new_mb) = found[before], found[HERE]
        ratios.append(old / new)
        seconds.append((texts / old, texts / new))
        memory.append((old_mb, new_mb))
    old_speed, new_speed = (median(column) for column in zip(*seconds, strict=True))
    old_mb, new_mb = (median(column) for column in zip(*memory, strict=True))
    print(
        f"{name}: {new_speed:.1f} texts/s, before {old_speed:.1f}; ratio {median(ratios):.3f} "
        f"({min(ratios):.3f} to {max(ratios):.3f}, {pairs} pairs of {texts} texts); "
        f"peak memory {new_mb:.0f} MB, before {old_mb:.0f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--before", type=Path, help="src folder of the other checkout")
    parser.add_argument("--data", default="../shared/data", help="folder of the evaluation sets")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", choices=("logits", "speed"))
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        task, data, last = args.worker
        texts = sample(Path(data))
        if task == "logits":
            save_logits(texts, Path(last))
        else:
            measure(task, texts[: int(last)])
        return
    if args.only != "speed":
        compare_logits(args.before, args.data)
    if args.only != "logits":
        compare_speed(args.before, args.data, "toxicity-fast", 200, args.pairs)
        compare_speed(args.before, args.data, "toxicity", 60, args.pairs)


if __name__ == "__main__":
    main()
