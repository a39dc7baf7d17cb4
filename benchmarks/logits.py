"""Logits of the shipped detectors on 500 texts, and how far they are from those of another commit.

    python benchmarks/logits.py --data DIR -o now.npz
    PYTHONPATH=OTHER/src python benchmarks/logits.py --data DIR -o then.npz
    python benchmarks/logits.py --compare then.npz now.npz

The texts are samples of five evaluation sets, the same for every commit: seed 0.
"""

import argparse
import csv
import json
import random
from pathlib import Path

import numpy as np

NAMES = ("toxicity", "toxicity-fast", "types", "domain")


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


def logits(name: str, texts: list[str]) -> np.ndarray:
    """(text, label) logits of a shipped detector, in its default dtype; texts are cut at its window."""
    from splinelens import Detector, read_texts
    from splinelens.features.extract import read_table

    detector = Detector.load(name, long="cut")
    table = read_table(detector.reader, read_texts(texts))
    return detector.artifact.head.logit(table.values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--output", "-o", type=Path)
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("THEN", "NOW"))
    args = parser.parse_args()
    if args.compare:
        then, now = (np.load(path) for path in args.compare)
        for name in NAMES:
            differences = np.abs(then[name] - now[name])
            print(
                f"{name:14} largest difference {differences.max():.2e}, median {np.median(differences):.2e}"
            )
        return
    texts = sample(args.data)
    found = {name: logits(name, texts) for name in NAMES}
    np.savez(args.output, **found)
    for name, values in found.items():
        print(f"{name:14} {values.shape}, {values.min():.3f} to {values.max():.3f}")


if __name__ == "__main__":
    main()
