"""Fit the detectors that the package ships from the training rows of the evaluation data: make detectors.

    python benchmarks/detectors.py --data DIR --cache CACHE [--only NAME ...] [--dtype bfloat16]
    python benchmarks/detectors.py --data DIR --cache CACHE [--model MODEL] [--without SOURCE ...] --output DIR
    python benchmarks/detectors.py --data DIR --measure-only [NAME ...]

The choices (prompt, layers, directions, rows) come from benchmarks/search.md; the rows are those of
``detection/sources.py``. MLP inputs of the training rows are kept in CACHE in half precision, 30 GB for the default
model; the few features of ``domain`` are kept in float32. Fitting uses the test rows only to leave out training
rows that repeat them. Each detector is then measured on the test rows from the texts, in float32 as a user scores
them, and its card is written; ``--measure-only`` does only that, for detectors that exist. ``--dtype`` is that of
the model that reads the training rows: bfloat16 is twice as fast. ``--without`` leaves out sources of rows, for
numbers on these.
"""

import argparse
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from detection.data import SETS, TYPES, EvaluationData, read_evaluation
from detection.features import READINGS
from detection.fitting import Head, Learned, cached_layers, fit_learned
from detection.sources import FORUM, SOURCES
from detection.training_rows import Part, domain_parts, measured_part, toxic_parts
from pydantic_core import to_jsonable_python

from splinelens.apps.detector import Detector
from splinelens.apps.training import fit_detector
from splinelens.detect.artifact import Artifact, Task
from splinelens.detect.learned import Settings
from splinelens.detect.thresholds import proportion_interval
from splinelens.features.extract import read_table
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.models import LoadedModel, load_model
from splinelens.report.card import card
from splinelens.report.evaluation import IDENTITY_MENTIONS, Share
from splinelens.texts import Texts
from splinelens.texts.normalize import DISGUISES

HERE = Path(__file__).parent
SHIPPED = HERE.parent / "src/splinelens/detectors"
DEFAULT_MODEL = "smollm2-135m"
STRENGTHS = (1e-2, 1e-1, 1.0, 10.0)
DISGUISED_ROWS = 100
REPLY_LAYERS = (2, 5, 8, 11)
CONVERSATION = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\nWrite a comment.<|im_end|>\n<|im_start|>assistant\n"
)
"""In the chat template of the default model, up to where a reply begins."""
REPLY_LIMIT = (
    "Fitted on comments that were read as replies to one prompt, for splinelens generate and Guard: they judge the pass "
    "that writes. In other conversations scores move; docs/guard.md has by how much. For texts by themselves toxicity "
    "and toxicity-fast rank better."
)


@dataclass(frozen=True)
class Recipe:
    """What one shipped detector of a fixed set of features reads, and is fitted on."""

    name: str
    task: Task
    negative: str
    spec: FeatureSpec
    parts: Callable[[EvaluationData], list[Part]]
    min_tokens: int = 0
    min_score: float = 0.0
    by_length: float = 0.0


JIGSAW = {"jig": 1.0, "raw": 1.0, "clean": 1.0}
OTHERS = {"tgann": 1.5, "tweet": 0.5, "para": 0.3, "domains": 0.5, "wiki": 0.5}
ALL = {"jig": 8.0, "raw": 8.0, "clean": 0.5, "pairs": 12.0, **OTHERS}


def recipes(depth: int) -> tuple[Recipe | Learned, ...]:
    """The recipe of each detector, for a model of so many blocks."""
    every = replace(READINGS["plain64"], features=("spline7",), layers=tuple(range(depth)))
    replies = FeatureSpec(
        ("margins",),
        layers=tuple(layer for layer in REPLY_LAYERS if layer < depth),
        prompt=CONVERSATION,
        max_tokens=256,
        long="cut",
    )
    cached = cached_layers(depth)
    fast, middle = cached[:6], cached[-6:]
    toxicity = tuple(Head(Settings(128, middle, epochs=4, seed=seed), ALL, 1 / 3) for seed in range(3))
    toxicity_fast = (
        *(Head(Settings(64, fast, epochs=4, seed=seed), JIGSAW, 0.22) for seed in range(3)),
        Head(Settings(128, fast, epochs=4), ALL, 0.34),
    )
    types = (
        Head(Settings(64, fast, epochs=4), JIGSAW, 0.5),
        Head(Settings(64, middle, epochs=4), JIGSAW, 0.5),
    )
    return (
        Learned("toxicity", "binary", ("toxic",), "clean", toxicity),
        Learned("toxicity-fast", "binary", ("toxic",), "clean", toxicity_fast),
        Learned("types", "labels", TYPES, "none", types, judge="raw", floor=0.25),
        Recipe("domain", "classes", "", every, domain_parts, min_tokens=30, min_score=0.5),
        Recipe(
            "replies", "binary", "clean", replies, partial(toxic_parts, names=("jig", "raw")), by_length=1.0
        ),
    )


def main() -> None:
    args = parse()
    data = read_evaluation(args.data)
    model = load_model(args.model) if args.only else None
    for recipe in recipes(model.depth if model else 30):
        for source in args.without if isinstance(recipe, Learned) else ():
            recipe = recipe.without(source)
        folder = args.output / recipe.name
        if model and recipe.name in args.only:
            made_by = command(recipe.name, model.name, args.dtype, args.without)
            fit(recipe, data, args.data, args.cache, model, args.dtype, made_by).save(folder)
        if recipe.name in (*args.only, *args.measure_only):
            artifact = Artifact.load(folder)
            detector = Detector.load(folder, max_tokens=artifact.spec["max_tokens"], long="cut")
            artifact = with_measurements(detector, data)
            artifact.save(folder)
            (folder / "CARD.md").write_text(card(artifact), encoding="utf-8")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, with ``only`` and ``measure_only`` filled in."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [recipe.name for recipe in recipes(30)]
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--cache", type=Path, help="folder of the features; needed to fit")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help="fit these; default: all")
    parser.add_argument("--measure-only", nargs="*", metavar="NAME", help="fit nothing, measure these or all")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="of another one give --output, too")
    parser.add_argument(
        "--without", nargs="+", default=[], choices=SOURCES, metavar="SOURCE", help="sources to leave out"
    )
    parser.add_argument("--dtype", default="float32", help="of the model that reads the training rows")
    parser.add_argument("--output", type=Path, default=SHIPPED, help="folder of the detectors")
    args = parser.parse_args(arguments)
    if args.measure_only is None and not args.cache:
        parser.error("give --cache, or --measure-only")
    if (args.model != DEFAULT_MODEL or args.without) and args.output == SHIPPED:
        parser.error(
            "the shipped detectors are for the default model and fitted on all sources; give --output DIR for others"
        )
    if unknown := sorted({*(args.measure_only or ())} - {*names}):
        parser.error(f"no detector {', '.join(unknown)}; there are {', '.join(names)}")
    if args.measure_only is None:
        args.only, args.measure_only = args.only or names, []
    else:
        args.only, args.measure_only = [], args.measure_only or names
    return args


def fit(
    recipe: Recipe | Learned,
    data: EvaluationData,
    folder: Path,
    cache: Path,
    model: LoadedModel,
    dtype: str,
    made_by: str,
) -> Artifact:
    """Read the training rows with the model in ``dtype``, or open their cached features, and fit a detector."""
    source = model if dtype == "float32" else load_model(model.name, n_layers=model.depth, dtype=dtype)
    if isinstance(recipe, Learned):
        return fit_learned(recipe, folder, cache, model, source, made_by)
    parts = recipe.parts(data)
    texts = Texts(tuple(text for part in parts for text in part.texts(data)), {}, "the evaluation data")
    output = cache / f"{recipe.name}-{source.fingerprint.weights[:12]}-{dtype}.parquet"
    fitted = fit_detector(
        texts,
        np.concatenate([part.labels for part in parts]),
        TextReader(model, recipe.spec),
        name=recipe.name,
        task=recipe.task,
        label="toxic"
        if recipe.task == "binary"
        else tuple(sorted(set(data.sets["domains"].columns["domain"]))),
        negative=recipe.negative,
        sources=[f"{Path(SETS[part.name].file).parent} train" for part in parts],
        languages=["English"],
        judged=np.concatenate([np.full(len(part.index), part.judges) for part in parts]),
        strengths=STRENGTHS,
        by_length=recipe.by_length,
        table=read_table(TextReader(source, recipe.spec), texts, output=output),
        features_dtype=dtype,
        command=made_by,
    ).artifact
    return replace(fitted, min_tokens=recipe.min_tokens, min_score=recipe.min_score)


def command(name: str, model: str, dtype: str, without: Sequence[str]) -> str:
    """The command that fits a detector again."""
    other = "" if model == DEFAULT_MODEL else f" --model {model}"
    if without:
        other += f" --without {' '.join(without)}"
    return f"python benchmarks/detectors.py --data DIR --cache CACHE --only {name} --dtype {dtype}{other}"


def with_measurements(detector: Detector, data: EvaluationData) -> Artifact:
    """The artifact with its numbers on the test rows, scored from the texts, and its limits."""
    artifact = detector.artifact
    title, part = measured_part(artifact.task, data)
    texts = Texts(tuple(part.texts(data)), {}, part.name)
    table = read_table(detector.reader, texts, progress=progress(f"{artifact.name}, test"))
    scores = artifact.scores(artifact.head.logit(table.values), table.tokens)
    numbers = artifact.evaluate(part.labels, scores, table.tokens).to_dict()
    limits = [
        "Thresholds were chosen on texts of up to 256 tokens. Scores take half of what the length of a text adds "
        "into account, so the rate of false positives still depends on the length, and one rude sentence in a long "
        "friendly text may stay below the threshold."
    ]
    if artifact.name == "replies":
        limits = [REPLY_LIMIT]
    if artifact.task == "binary":
        numbers["flagged"] = [to_jsonable_python(share) for share in false_alarms(detector, data)]
        limits += [forum_by_kind(detector), disguised(detector, texts, part.labels[:, 0])]
    if artifact.task == "labels":
        limits.append(
            "Rude comments are more frequent among the rows than in life, and of the rare labels there are few: "
            "look at the intervals, and at the precision of a threshold, before you use one."
        )
    if artifact.task == "classes":
        limits = ["Fitted on the first 64 tokens of each text; longer texts are scored in windows."]
        limits += abstentions(artifact, scores, table.tokens, part.labels)
    print(f"{artifact.name}: {json.dumps(numbers)}\n" + "\n".join(limits), flush=True)
    metrics = {"out_of_fold": artifact.metrics["out_of_fold"], title: numbers}
    return replace(artifact, metrics=metrics, training={**artifact.training, "limits": limits})


def abstentions(
    artifact: Artifact, scores: np.ndarray, tokens: np.ndarray, labels: np.ndarray
) -> Iterator[str]:
    """On how many test texts a detector of classes abstains, and how often it is right on the others."""
    kept = np.array(
        [artifact.abstains(*row) is None for row in zip(tokens.tolist(), scores, strict=True)], dtype=bool
    )
    if not kept.all() and kept.any():
        right = int((scores[kept].argmax(axis=1) == labels[kept].argmax(axis=1)).sum())
        low, high = proportion_interval(right, int(kept.sum()))
        yield (
            f"It abstains on {int((~kept).sum())} of {len(kept)} test texts; of the others {right} of "
            f"{int(kept.sum())} have the right verdict ({100 * right / kept.sum():.1f} %, 95 % interval "
            f"{100 * low:.1f} to {100 * high:.1f} %). Accuracy above counts all."
        )


def false_alarms(detector: Detector, data: EvaluationData) -> Iterator[Share]:
    """How many harmless sentences of three kinds are flagged at the stored 5 % threshold."""
    hatecheck = data.sets["hatecheck"]
    pairs = zip(hatecheck.texts, hatecheck.columns["functionality"], strict=True)
    kinds = {
        "harmless identity mentions (HateCheck)": [text for text, kind in pairs if kind in IDENTITY_MENTIONS],
        "safe prompts with words of harm (XSTest)": _clean_texts(data, "xstest"),
        "neutral statements on groups of people (ToxiGen)": _clean_texts(data, "toxigen"),
    }
    for kind, texts in kinds.items():
        flagged, name = _flagged(detector, texts), f"{kind} flagged at the stored 5 % threshold"
        interval = proportion_interval(flagged, len(texts))
        yield Share(name, detector.artifact.negative, flagged, len(texts), flagged / len(texts), interval)


def forum_by_kind(detector: Detector) -> str:
    """How many forum comments of each kind are flagged, and what a small reader misses."""
    with open(FORUM, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    kinds: dict[tuple[int, str], list[str]] = {}
    for row in rows:
        kinds.setdefault((row["label"], row["kind"]), []).append(row["text"])
    flagged: dict[int, list[str]] = {1: [], 0: []}
    for (label, kind), texts in kinds.items():
        flagged[label].append(f"{kind} {_flagged(detector, texts)} of {len(texts)}")
    return (
        f"Of {len(rows)} forum comments, whose writers saw none of the training pairs, it flags at the 5 % threshold, "
        f"rude: {', '.join(flagged[1])}; harmless: {', '.join(flagged[0])}. Model and prompt are small: hostility that only the "
        "situation, the people or earlier comments give away stays below the threshold."
    )


def disguised(detector: Detector, texts: Texts, labels: np.ndarray) -> str:
    """What recall each disguise costs, with disguised characters read as plain ones and as written."""
    rng = np.random.default_rng(0)
    toxic = [texts.texts[row] or "" for row in rng.permutation(np.flatnonzero(labels))[:DISGUISED_ROWS]]
    reader = detector.reader
    written = Detector(
        detector.artifact,
        TextReader(
            reader.loaded, replace(reader.spec, normalize=False), directions=detector.artifact.directions
        ),
    )
    recall, costs = _flagged(detector, toxic) / len(toxic), []
    for name, disguise in DISGUISES.items():
        changed = [disguise(text, random.Random(row)) for row, text in enumerate(toxic)]
        lost = [100 * (recall - _flagged(one, changed) / len(toxic)) for one in (detector, written)]
        costs.append(f"{name} {lost[0]:.0f} ({lost[1]:.0f})")
    return (
        f"Points of recall lost per disguise (without normalization in brackets), on {len(toxic)} toxic test "
        f"rows, {100 * recall:.0f} % of which are flagged at the 5 % threshold: {'; '.join(costs)}."
    )


def progress(title: str) -> Callable[[int, int], None]:
    """A callback that prints every 1,000 texts."""
    done = 0

    def count(texts: int, _characters: int) -> None:
        nonlocal done
        done += texts
        if done % 1000 < texts:
            print(f"{title}: {done} texts", flush=True)

    return count


def _flagged(detector: Detector, texts: Sequence[str | None]) -> int:
    return sum(record.verdict == detector.artifact.labels[0] for record in detector.score(texts))


def _clean_texts(data: EvaluationData, name: str) -> list[str | None]:
    texts = data.sets[name]
    return [text for text, y in zip(texts.texts, texts.columns["positive"], strict=True) if y == 0]


if __name__ == "__main__":
    main()
