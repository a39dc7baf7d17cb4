"""Do explanations in words hold? Planted hyperplanes, deletion, halves of a corpus, time, and marked words.

    python benchmarks/explain.py --data DIR --cache CACHE --part planted
    python benchmarks/explain.py --data DIR --cache CACHE --part corpus
    python benchmarks/explain.py --data DIR --cache CACHE --part spans
    python benchmarks/explain.py --data DIR --cache CACHE --part cards

``planted``: 20 heads that fire on a list of words each, planted in the default model; how many are named.
``corpus``: ``toxicity-fast`` over 5,000 Wikipedia comments, two runs with other halves: seconds, contrast, deletion
and the overlap of both halves. ``spans``: which words people marked as toxic, fitted or chosen on
``tsd_train.csv``, measured on ``tsd_trial.csv``. ``cards``: explains the shipped detectors and writes the section of
their cards. Numbers go into ``benchmarks/explain.json``, and from there into ``explain.md`` (``--part table``).
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from spans import TRAIN, TRIAL, Marked, training_rows

from splinelens.apps.detector import Detector
from splinelens.features.inputs import Inputs, read_inputs
from splinelens.texts.labeled import read_marked

RECORD = Path(__file__).with_suffix(".json")
_CHUNK = 500


def read_tokens(detector: Detector, marked: Marked, folder: Path) -> list[Inputs]:
    """The MLP inputs of every token of some texts, in folders of 500 texts; what is there is not read again."""
    texts, chunks = marked[0].texts, []
    for start in range(0, len(texts), _CHUNK):
        part = folder / f"{start:06d}"
        if not (part / "done").is_file():
            part.mkdir(parents=True, exist_ok=True)
            began = time.monotonic()
            read_inputs(detector.reader, detector.reader.tokenize(texts[start : start + _CHUNK]), part)
            (part / "done").touch()
            print(f"{part.name}: {time.monotonic() - began:.0f} s", flush=True)
        chunks.append(Inputs.load(part))
    return chunks


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--cache", type=Path, required=True, help="folder of what is read of the model")
    parser.add_argument("--part", required=True)
    args = parser.parse_args(arguments)
    if args.part == "read":
        detector = Detector.load("toxicity-fast", engine="torch")
        trial = read_marked(str(args.data / TRIAL), "text", "spans")
        train = training_rows(read_marked(str(args.data / TRAIN), "text", "spans"), trial, 10**6)
        print(len(trial[0]), len(train[0]))
        read_tokens(detector, trial, args.cache / "trial")
        read_tokens(detector, train, args.cache / "train")


if __name__ == "__main__":
    main()
