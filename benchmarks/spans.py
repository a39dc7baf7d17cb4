"""Do explanations mark the words that people marked? Chooses a limit on toxic-spans train, measures on trial.

    python benchmarks/spans.py --data DIR toxicity toxicity-fast
    python benchmarks/spans.py --data DIR --store toxicity-fast

A word is marked if it adds at least the limit to the logit. The limit with the best F1 of characters on
``--rows`` rows of ``tsd_train.csv``, none of which repeats a row of ``tsd_trial.csv``, is measured on all rows of
the latter; ``--store`` also writes it into the detector and its card. The lines of reference are those of
marking nothing and of marking everything.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from detection.data import letters_and_digits

from splinelens.apps.detector import Detector
from splinelens.apps.evaluation import evaluate_spans, scored_words
from splinelens.detect.shipped import find_artifact, shipped
from splinelens.detect.span_metrics import best_limit, character_f1
from splinelens.report.card import card
from splinelens.texts import Texts
from splinelens.texts.labeled import read_marked

TRAIN, TRIAL = "toxic-spans/tsd_train.csv", "toxic-spans/tsd_trial.csv"
Marked = tuple[Texts, tuple[frozenset[int], ...]]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("detectors", nargs="+", metavar="NAME", help="shipped detectors or folders")
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--rows", type=int, default=2000, help="rows of train to choose the limit on")
    parser.add_argument("--store", action="store_true", help="write the limit into the detectors")
    args = parser.parse_args(arguments)
    trial = read_marked(str(args.data / TRIAL), "text", "spans")
    train = training_rows(read_marked(str(args.data / TRAIN), "text", "spans"), trial, args.rows)
    print(json.dumps({"mark nothing": reference(trial, False), "mark everything": reference(trial, True)}))
    for name in args.detectors:
        detector = Detector.load(name)
        limit = choose_limit(detector, train)
        measured = evaluate_spans(detector, *trial, limit=limit).to_dict()
        print(json.dumps({"detector": name, "train_rows": len(train[0]), **measured}), flush=True)
        if args.store:
            store(name, limit)


def training_rows(train: Marked, trial: Marked, rows: int, seed: int = 0) -> Marked:
    """Some rows to choose a limit on, each text once and none of a trial row."""
    (texts, gold), seen = train, set(map(letters_and_digits, trial[0].texts))
    unseen = []
    for row, text in enumerate(texts.texts):
        key = letters_and_digits(text)
        if key and key not in seen:
            seen.add(key)
            unseen.append(row)
    chosen = np.sort(np.random.default_rng(seed).permutation(unseen)[:rows]).tolist()
    return texts.at(chosen), tuple(gold[row] for row in chosen)


def choose_limit(detector: Detector, train: Marked) -> float:
    """The limit with the best F1 of characters on training rows."""
    return best_limit(scored_words(detector, *train))


def reference(marked: Marked, everything: bool) -> float:
    """Mean F1 of characters if every text is marked whole, or not at all."""
    pairs = zip(marked[0].texts, marked[1], strict=True)
    return float(
        np.mean(
            [character_f1(gold, set(range(len(text or ""))) if everything else set()) for text, gold in pairs]
        )
    )


def store(name: str, limit: float) -> None:
    """Write the limit into a detector and its card."""
    folder = shipped().get(name, Path(name))
    artifact = replace(find_artifact(name), word_limit=limit)
    artifact.save(folder)
    (folder / "CARD.md").write_text(card(artifact), encoding="utf-8")


if __name__ == "__main__":
    main()
