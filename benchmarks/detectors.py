"""Fit the detectors that the package ships, from the evaluation data's training rows: make detectors.

    python benchmarks/detectors.py --data DIR [--only toxicity-fast] [--measure]

Choices (prompt, layers, pooling, rows) come from benchmarks/search.md. Fitting reads the test rows of
jigsaw-test-binary-12k for nothing but leaving out training rows that repeat them; then the finished
detector is measured on them for its card. The shipped ones were fitted on one H100 (5 minutes for
toxicity, 1.5 for toxicity-fast). ``--measure`` only measures those that are there.
A killed run goes on where it stopped.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rows import Row, identity_mentions, jig12k, jigsaw6, without

from splinelens.apps.detector import Detector
from splinelens.apps.training import train
from splinelens.detect.thresholds import share_interval
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.models import load_model
from splinelens.report.card import card

HERE = Path(__file__).parent
PROMPT = "Is the following comment rude, hateful, threatening or toxic?\nComment: "


@dataclass(frozen=True)
class Recipe:
    """What one shipped detector reads."""

    name: str
    layers: tuple[int, ...]
    pooling: tuple[str, ...] = ("max",)


RECIPES = (Recipe("toxicity", tuple(range(30))), Recipe("toxicity-fast", tuple(range(6))))


def rows_for(data: Path) -> tuple[list[Row], np.ndarray]:
    """Training rows, and which of them judge: those of jigsaw-test-binary-12k, as the test rows are."""
    test = jig12k(data, "test")
    own = without(jig12k(data, "train"), test)
    rows = own + without(jigsaw6(data, "raw") + jigsaw6(data, "clean"), test + own)
    return rows, np.arange(len(rows)) < len(own)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--only", choices=[recipe.name for recipe in RECIPES])
    parser.add_argument("--measure", action="store_true", help="fit nothing, measure what is there")
    parser.add_argument("--output", type=Path, default=HERE.parent / "src/splinelens/detectors")
    parser.add_argument("--work", type=Path, default=HERE / "out", help="features of a run that was stopped")
    arguments = parser.parse_args()
    rows, judged = rows_for(arguments.data)
    print(f"{len(rows)} training rows, {int(judged.sum())} of them judge", flush=True)
    arguments.work.mkdir(parents=True, exist_ok=True)
    for recipe in RECIPES:
        if arguments.only in (None, recipe.name):
            folder = arguments.output / recipe.name
            if not arguments.measure:
                build(recipe, rows, judged, folder, arguments.work / f"{recipe.name}.parquet")
            measure(folder, arguments.data)


def build(recipe: Recipe, rows: list[Row], judged: np.ndarray, folder: Path, work: Path) -> None:
    """Read the features, fit, and write the artifact."""
    spec = FeatureSpec(
        features=("margins",),
        pooling=recipe.pooling,
        layers=recipe.layers,
        prompt=PROMPT,
        max_tokens=256,
        long="cut",
    )
    done = 0

    def progress(texts: int, _characters: int) -> None:
        nonlocal done
        done += texts
        if done % 1000 < texts:
            print(f"{recipe.name}: {done} of {len(rows)} texts read", flush=True)

    artifact = train(
        [row.text for row in rows],
        np.array([row.label for row in rows]),
        TextReader(load_model("smollm2-135m", layers=spec.depth), spec),
        name=recipe.name,
        label="toxic",
        negative="clean",
        judged=judged,
        sources=sorted({f"{row.source} train" for row in rows}),
        strengths=(1e-4, 3e-4, 1e-3, 3e-3),
        output=work,
        progress=progress,
    )
    artifact.save(folder)
    work.unlink()


def measure(folder: Path, data: Path) -> None:
    """Measure on test rows and on harmless mentions of groups; write the numbers and the card."""
    detector = Detector.load(folder, max_tokens=256, long="cut")
    test = jig12k(data, "test")
    found = detector.evaluate([row.text for row in test], np.array([row.label for row in test]))
    harmless = identity_mentions(data)
    flagged = sum(record.verdict == "toxic" for record in detector.score(harmless))
    low, high = share_interval(flagged, len(harmless))
    limits = [
        f"Harmless sentences that name a group of people (HateCheck, functionalities ident_neutral_nh and "
        f"ident_pos_nh): {flagged} of {len(harmless)} are called toxic at the 5 % threshold "
        f"({100 * flagged / len(harmless):.0f} %, 95 % interval {100 * low:.0f} to {100 * high:.0f} %).",
        "English only: no other language was measured.",
        "Thresholds were chosen on texts of up to 256 tokens; longer texts, read whole in windows, score a "
        "little higher, and one rude sentence in a long friendly text may stay below the threshold.",
        "The cleaned Jigsaw rows that it was also fitted on are lower case without punctuation and half of them "
        "are toxic, so harmless text in that form gets somewhat more false positives.",
    ]
    metrics = {
        "out_of_fold": detector.artifact.metrics["out_of_fold"],
        "the test rows of jigsaw-test-binary-12k, 256 tokens, cut": found.to_dict(),
    }
    artifact = replace(
        detector.artifact, metrics=metrics, training={**detector.artifact.training, "limits": limits}
    )
    artifact.save(folder)
    (folder / "CARD.md").write_text(card(artifact, "make detectors DATA=DIR"), encoding="utf-8")
    print(f"{artifact.name}: {json.dumps(found.to_dict())}\n{limits[0]}", flush=True)


if __name__ == "__main__":
    main()
