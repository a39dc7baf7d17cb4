"""Fit the detectors that the package ships, from the evaluation data's training rows: make detectors.

    python benchmarks/detectors.py --data DIR [--only toxicity-fast]

Test rows of jigsaw-test-binary-12k are read for nothing but leaving out training rows that repeat
them. Choices (prompt, layers, pooling, rows) come from benchmarks/search.md. About 70 minutes on two
cores, a few minutes on a GPU; a killed run goes on where it stopped.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rows import Row, jig12k, jigsaw6, without

from splinelens.apps.training import train
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--only", choices=[recipe.name for recipe in RECIPES])
    parser.add_argument("--output", type=Path, default=HERE.parent / "src/splinelens/detectors")
    parser.add_argument("--work", type=Path, default=HERE / "out", help="features of a run that was stopped")
    arguments = parser.parse_args()
    rows, judged = rows_for(arguments.data)
    print(f"{len(rows)} training rows, {int(judged.sum())} of them judge", flush=True)
    arguments.work.mkdir(parents=True, exist_ok=True)
    for recipe in RECIPES:
        if arguments.only in (None, recipe.name):
            build(recipe, rows, judged, arguments.output / recipe.name, arguments.work / f"{recipe.name}.parquet")


def build(recipe: Recipe, rows: list[Row], judged: np.ndarray, folder: Path, work: Path) -> None:
    """Read the features, fit, and write artifact and card."""
    spec = FeatureSpec(
        features=("margins",), pooling=recipe.pooling, layers=recipe.layers, prompt=PROMPT, max_tokens=256, long="cut"
    )
    done = 0

    def progress(texts: int, _characters: int) -> None:
        nonlocal done
        done += texts
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
    (folder / "CARD.md").write_text(card(artifact), encoding="utf-8")
    work.unlink()
    found = artifact.metrics["out_of_fold"]
    print(f"{recipe.name}: out-of-fold AUC {found['auc']:.4f}, length alone {found['length_auc']:.4f}", flush=True)


if __name__ == "__main__":
    main()
