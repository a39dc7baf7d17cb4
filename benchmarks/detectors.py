"""Fit the detectors that the package ships, from the evaluation data's training rows: make detectors.

    python benchmarks/detectors.py --data DIR --cache CACHE [--only toxicity-fast ...] [--fit | --measure]

Choices (prompt, layers, pooling, rows) come from benchmarks/search.md. Features are kept in CACHE in the
layout of ``bench_detectors.py`` (half precision), so a killed run goes on. Fitting reads the test rows for
nothing but leaving out training rows that repeat them; then each detector is measured on them, in float32
and from the texts, for its card. ``--measure`` only measures those that are there. ``--dtype bfloat16`` reads
the training rows twice as fast; it moves a margin by 0.02 of its standard deviation.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from detection.controls import MENTIONS
from detection.data import TYPES, EvaluationData, read_evaluation
from detection.readings import READINGS
from rows import Part, domain_parts, of_split, positive, toxic_parts, type_parts

from splinelens.apps.detector import Detector
from splinelens.apps.evaluation import evaluation_report
from splinelens.apps.training import train
from splinelens.detect.artifact import Artifact, Task
from splinelens.detect.thresholds import proportion_interval
from splinelens.detect.verdicts import measured
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.store import FeatureStore, stored
from splinelens.features.table import FeatureTable
from splinelens.models import LoadedModel, load_model
from splinelens.report.card import card
from splinelens.texts import Texts
from splinelens.texts.normalize import DISGUISES

HERE = Path(__file__).parent
STRENGTHS = (3e-4, 1e-3, 3e-3)
COMMAND = "make detectors DATA=DIR"


@dataclass(frozen=True)
class Recipe:
    """What one shipped detector reads and is fitted on."""

    name: str
    task: Task
    labels: tuple[str, ...]
    negative: str
    reading: str
    features: tuple[str, ...]
    layers: tuple[int, ...]
    parts: Callable[[EvaluationData], list[Part]]
    prior: Mapping[str, float] | None = None

    @property
    def spec(self) -> FeatureSpec:
        """What the detector reads: some columns of a reading of the benchmark."""
        return replace(READINGS[self.reading], features=self.features, layers=self.layers)


ALL, FAST = tuple(range(30)), tuple(range(6))
RECIPES = (
    Recipe(
        "toxicity",
        "binary",
        ("toxic",),
        "clean",
        "prompted",
        ("margin_max", "margin_min", "margin_last"),
        ALL,
        toxic_parts,
        {"margin_last": 0.3},
    ),
    Recipe(
        "toxicity-fast",
        "binary",
        ("toxic",),
        "clean",
        "prompted",
        ("margin_max", "margin_min"),
        FAST,
        toxic_parts,
    ),
    Recipe("types", "labels", TYPES, "none", "prompted", ("margin_max",), ALL, type_parts),
    Recipe("domain", "classes", (), "", "plain64", ("spline7",), ALL, domain_parts),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [recipe.name for recipe in RECIPES]
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the features, as of bench")
    parser.add_argument("--only", nargs="*", choices=names, default=names)
    parser.add_argument(
        "--dtype", default="float32", help="of the model that reads the training rows: float32, bfloat16"
    )
    parser.add_argument("--fit", action="store_true", help="measure nothing")
    parser.add_argument("--measure", action="store_true", help="fit nothing, measure what is there")
    parser.add_argument("--output", type=Path, default=HERE.parent / "src/splinelens/detectors")
    arguments = parser.parse_args()
    data, model = read_evaluation(arguments.data), load_model("smollm2-135m")
    quick = load_model("smollm2-135m", dtype=arguments.dtype)
    for recipe in RECIPES:
        if recipe.name in arguments.only:
            folder = arguments.output / recipe.name
            if not arguments.measure:
                build(recipe, data, model, quick, arguments.cache).save(folder)
            if not arguments.fit:
                measure(recipe, folder, data, quick, arguments.cache)


def build(
    recipe: Recipe, data: EvaluationData, model: LoadedModel, quick: LoadedModel, cache: Path
) -> Artifact:
    """Open the features or read them with ``quick``, and fit a detector for ``model``."""
    parts = recipe.parts(data)
    labels = recipe.labels or tuple(sorted(set(data.sets["domains"].columns["domain"])))
    reader, source = TextReader(model, recipe.spec), TextReader(quick, READINGS[recipe.reading])
    stores = [
        stored(source, data.sets[part.name], cache / part.name / recipe.reading, _told(part))
        for part in parts
    ]
    texts = tuple(data.sets[part.name].texts[row] for part in parts for row in part.index)
    judged = np.concatenate([np.full(len(part.index), part.judges) for part in parts])
    print(f"{recipe.name}: {len(texts)} training rows, {int(judged.sum())} of them judge", flush=True)
    return train(
        Texts(texts, {}, "the evaluation data"),
        np.concatenate([part.labels for part in parts]),
        reader,
        name=recipe.name,
        task=recipe.task,
        label=labels,
        negative=recipe.negative,
        judged=judged,
        sources=[f"{part.name} train" for part in parts],
        languages=["English"],
        strengths=STRENGTHS if recipe.reading == "prompted" else (1e-2, 1e-1, 1.0, 10.0),
        prior=recipe.prior,
        table=_table(reader, stores, parts),
    )


def measure(recipe: Recipe, folder: Path, data: EvaluationData, quick: LoadedModel, cache: Path) -> None:
    """Measure a finished detector on rows that it was not fitted on, and write its card."""
    artifact = Artifact.load(folder)
    detector = Detector.load(folder, max_tokens=artifact.spec["max_tokens"], long="cut")
    what, part = _test_part(artifact, data)
    source = TextReader(quick, READINGS[recipe.reading])
    store = stored(source, data.sets[part.name], cache / part.name / recipe.reading, _told(part))
    scores = _scores(artifact, store, part)
    found = measured(artifact, part.labels, scores, store.tokens[part.index]).to_dict()
    texts = Texts(tuple(data.sets[part.name].texts[row] for row in part.index), {}, part.name)
    limits = [
        "Thresholds were chosen on texts of up to 256 tokens; longer texts, read whole in windows, score a "
        "little higher, and one rude sentence in a long friendly text may stay below the threshold."
    ]
    if artifact.task == "binary":
        fast = Detector(artifact, TextReader(quick, detector.reader.spec))
        limits += [*_false_alarms(detector, data), *_disguised(fast, texts, part.labels[:, 0])]
    if artifact.task == "labels":
        limits.append(
            "The rows are lower case without punctuation, and rude ones are far more frequent than in life: "
            "calibration and thresholds hold for such rows only."
        )
    if artifact.task == "classes":
        limits = ["It read the first 64 tokens of each text; what follows is not read."]
    limits.append(_apart(detector, texts, scores, quick))
    metrics = {"out_of_fold": artifact.metrics["out_of_fold"], what: found}
    training = {**artifact.training, "limits": limits, "command": COMMAND}
    artifact = replace(artifact, metrics=metrics, training=training)
    artifact.save(folder)
    (folder / "CARD.md").write_text(card(artifact), encoding="utf-8")
    print(f"{artifact.name}: {json.dumps(found)}\n" + "\n".join(limits), flush=True)


def _scores(artifact: Artifact, store: FeatureStore, part: Part) -> np.ndarray:
    """Calibrated scores from stored features, (row, label)."""
    names, scores = [name for name, _ in artifact.columns], []
    for start in range(0, len(part.index), 1024):
        rows = store.rows(names, part.index[start : start + 1024])
        scores.append(artifact.scores(artifact.head.logit(rows)))
    return np.concatenate(scores)


def _apart(detector: Detector, texts: Texts, scores: np.ndarray, quick: LoadedModel) -> str:
    """How far the scores that were measured are from those that a user gets."""
    rows = np.random.default_rng(1).permutation(len(scores))[:100]
    records = detector.score([texts.texts[row] for row in rows])
    own = [list(record.scores.values()) if record.scores else [record.score] for record in records]
    off = np.abs(np.array(own, dtype=float) - scores[rows])
    return (
        f"Measured on features that were kept in half precision, the model in {quick.fingerprint.dtype}; of "
        f"{len(rows)} of these texts, scored anew from the text in float32, the scores differ by "
        f"{np.median(off):.4f} in the median and by {off.max():.4f} at most."
    )


def _false_alarms(detector: Detector, data: EvaluationData) -> list[str]:
    """How many harmless sentences of three kinds are called toxic."""
    hatecheck, lines = data.sets["hatecheck"], []
    pairs = zip(hatecheck.texts, hatecheck.columns["functionality"], strict=True)
    named = {
        "Harmless sentences that name a group of people (HateCheck, functionalities ident_neutral_nh and "
        "ident_pos_nh)": [text for text, kind in pairs if kind in MENTIONS],
        "Safe prompts with words of harm (XSTest)": _clean(data, "xstest"),
        "Neutral statements on groups of people (ToxiGen)": _clean(data, "toxigen"),
    }
    for what, texts in named.items():
        flagged = sum(record.verdict == detector.artifact.labels[0] for record in detector.score(texts))
        low, high = proportion_interval(flagged, len(texts))
        lines.append(
            f"{what}: {flagged} of {len(texts)} are called toxic at the 5 % threshold "
            f"({100 * flagged / len(texts):.1f} %, 95 % interval {100 * low:.1f} to {100 * high:.1f} %)."
        )
    return lines


def _disguised(detector: Detector, texts: Texts, labels: np.ndarray) -> list[str]:
    """What recall each disguise costs, with disguised characters read as plain ones and as they are."""
    dice = np.random.default_rng(0)
    rows = np.concatenate([dice.permutation(np.flatnonzero(labels == side))[:100] for side in (1, 0)])
    some, y = Texts(tuple(texts.texts[row] for row in rows), {}, texts.source), labels[rows]
    loaded, spec = detector.reader.loaded, detector.reader.spec
    raw = Detector(detector.artifact, TextReader(loaded, replace(spec, normalize=False)))
    plain, as_written = (
        evaluation_report(one, some, y, disguises=DISGUISES, resamples=10).evasion or ()
        for one in (detector, raw)
    )
    lost = "; ".join(
        f"{one.disguise} {100 * one.lost:.0f} ({100 * other.lost:.0f})"
        for one, other in zip(plain, as_written, strict=True)
    )
    return [
        f"Disguised, of {plain[0].positives} toxic test rows {100 * plain[0].recall:.0f} % of which are "
        "flagged at the 5 % threshold, so many percent more get through (in brackets: if disguised "
        f"characters were not read as plain ones): {lost}."
    ]


def _clean(data: EvaluationData, name: str) -> list[str | None]:
    return [data.sets[name].texts[row] for row in np.flatnonzero(positive(data, name) == 0)]


def _test_part(artifact: Artifact, data: EvaluationData) -> tuple[str, Part]:
    if artifact.task == "classes":
        from detection.plan import Plan

        _, rest, _ = Plan(data, 30, lambda rows: np.zeros(len(rows))).domains()
        return "the test documents of nine domains, 64 tokens", Part("domains", rest.index, rest.labels)
    name = "jig" if artifact.task == "binary" else "clean"
    index = of_split(data, name, "test")
    if artifact.task == "binary":
        what = "the test rows of jigsaw-test-binary-12k, 256 tokens, cut"
        return what, Part(name, index, positive(data, name)[index, None])
    columns = data.sets[name].columns
    labels = np.array([[columns[label][row] == "1" for label in TYPES] for row in index]).astype(int)
    return "the test rows of jigsaw6-clean, 256 tokens, cut", Part(name, index, labels)


def _table(reader: TextReader, stores: list[FeatureStore], parts: list[Part]) -> FeatureTable:
    """The columns that a reader wants, out of stores that hold more."""
    names = [column.name for column in reader.columns]
    values = np.empty((sum(len(part.index) for part in parts), reader.layout.width), dtype=np.float32)
    start = 0
    for store, part in zip(stores, parts, strict=True):
        values[start : start + len(part.index)] = store.rows(names, part.index)
        start += len(part.index)
    pairs = list(zip(stores, parts, strict=True))
    return FeatureTable(
        reader.columns,
        values,
        np.concatenate([store.tokens[part.index] for store, part in pairs]),
        np.concatenate([store.cut[part.index] for store, part in pairs]),
        tuple(store.reasons[row] for store, part in pairs for row in part.index),
        {"half_precision": True, "stores": [store.provenance for store in stores]},
    )


def _told(part: Part) -> Callable[[int, int], None]:
    done = 0

    def progress(texts: int, _characters: int) -> None:
        nonlocal done
        done += texts
        if done % 1000 < texts:
            print(f"{part.name}: {done} texts read", flush=True)

    return progress


if __name__ == "__main__":
    main()
