"""Does the default model tell true statements from false ones? Leave one topic out: writes truth.md.

    python benchmarks/truth.py --data DIR --cache CACHE [--rows 1000] [--derived] [--ship] [-o
    benchmarks/truth.md]

Statements of ``true-false`` (Azaria and Mitchell, and variants): exact duplicates count once, statements that
occur with both labels are left out, and of each file at most ``--rows`` random ones are read. Every score is
fitted on all topics but the one that it is measured on. ``--derived`` adds the negated and conjoined files,
each in the fold of its topic. ``--ship`` then fits the detector ``truth`` on the same rows, with what was
measured in its card. What is read of the model is kept in CACHE, 1.5 GB for the default rows; a stopped run
continues.
"""

import argparse
import csv
import json
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from splinelens.apps import truth
from splinelens.errors import SplinelensError
from splinelens.report.truth import TruthReport, curve_table, group_table, left_out_lines, rival_table
from splinelens.texts import Texts

SHIPPED = Path(__file__).parent.parent / "src/splinelens/detectors/truth"
SUFFIX = "_true_false.csv"
SOURCE = "true-false (Azaria and Mitchell, repository balevinstein/Probes, MIT)"
DERIVED = ("conj_neg_", "neg_")
PUBLISHED = ("cities", "companies", "facts")
"""The topics of the earlier measurement that this one is compared with."""


def main() -> None:
    args = parse()
    texts, labels, dropped = read_statements(args.data / "true-false", args.rows, derived=args.derived)
    report(f"{len(texts):,} statements")
    done = 0

    def progress(count: int, _characters: int) -> None:
        nonlocal done
        done += count
        if done % 500 < count:
            report(f"{done:,} of {len(texts):,}")

    result = truth.evaluate(
        texts, labels, args.model, groups="topic", cache=args.cache, seed=args.seed, progress=progress
    )
    args.output.write_text(markdown(result, dropped, args), encoding="utf-8")
    args.output.with_suffix(".json").write_text(
        json.dumps(result.to_dict(), indent=1) + "\n", encoding="utf-8"
    )
    if args.page:
        truth.write_report(result, args.page, overwrite=True)
    report(f"wrote {args.output}")
    if args.ship:
        ship(texts, labels, result, args)
        report(f"wrote {SHIPPED}")


def ship(texts: Texts, labels: list[int], result: TruthReport, args: argparse.Namespace) -> None:
    """Fit the shipped detector, and say in its card what it is worth and what it cannot do."""
    command = f"python benchmarks/truth.py --data DIR --cache CACHE --rows {args.rows} --ship"
    fitted = truth.fit(
        texts,
        labels,
        args.model,
        groups="topic",
        method="all",
        seed=args.seed,
        command=command,
        cache=args.cache,
    )
    scorer = fitted.scorer
    assert isinstance(scorer, truth.LikelyTruth)
    artifact = scorer.detector.artifact
    details = {"limits": limits(result), "languages": ["English"], "sources": [SOURCE]}
    detector = replace(scorer.detector, artifact=replace(artifact, training=artifact.training | details))
    replace(scorer, detector=detector).save(SHIPPED, overwrite=True)


def limits(result: TruthReport) -> list[str]:
    """What the card says of its worth."""
    rivals = {rival.name: rival for rival in result.rivals}
    alone, both = rivals["margins and occupancy, head"], rivals["log-probabilities and geometry"]
    topics = sorted(zip((auc for auc, _ in both.groups), result.groups, strict=True))
    (lowest, worst), (highest, best) = topics[0], topics[-1]
    return [
        "Experimental. It says how likely a statement looks to a small model: what is often written looks true, what "
        "the model has never read looks false. It checks no fact. Do not decide by it whether a statement is true.",
        f"Left-out topics ({result.rows:,} statements of {len(result.groups)} topics): this head by itself has a mean "
        f"AUC of {alone.auc:.3f} [{alone.interval[0]:.3f}, {alone.interval[1]:.3f}] within topics, and with "
        f"log-probabilities, as splinelens truth score reads it, {both.auc:.3f} [{both.interval[0]:.3f}, "
        f"{both.interval[1]:.3f}]: from {lowest:.3f} ({worst}) to {highest:.3f} ({best}). The words alone reach "
        f"{result.best_text.auc:.3f}. 0.5 is a coin.",
        "Fitted on single affirmative English sentences of 5 to 30 words, half of them true. Longer texts, "
        "negations, questions and opinions were not fitted; benchmarks/truth-derived.md has negations.",
        "splinelens score reads the head of the geometry only; splinelens truth score adds log-probabilities.",
    ]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--cache", type=Path, required=True, help="folder of what is read of the model")
    parser.add_argument("--rows", type=int, default=1000, help="most statements of a file")
    parser.add_argument("--derived", action="store_true", help="also the negated and conjoined files")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ship", action="store_true", help="also fit the detector truth")
    parser.add_argument("--page", type=Path, help="also write the page here")
    parser.add_argument("--output", "-o", type=Path, default=Path(__file__).with_suffix(".md"))
    return parser.parse_args()


def read_statements(folder: Path, rows: int, *, derived: bool) -> tuple[Texts, list[int], dict[str, int]]:
    """Statements with their topic, their labels, and how many were dropped, by reason."""
    files: dict[str, dict[str, int]] = {}
    labels: dict[str, set[int]] = defaultdict(set)
    repeated = 0
    for path in sorted(
        folder.glob(f"*{SUFFIX}"), key=lambda path: (path.name.startswith(DERIVED), path.name)
    ):
        statements = files.setdefault(path.name.removesuffix(SUFFIX), {})
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                repeated += row["statement"] in labels
                labels[row["statement"]].add(int(row["label"]))
                if len(labels[row["statement"]]) == 1 and not any(
                    row["statement"] in one for one in files.values()
                ):
                    statements[row["statement"]] = int(row["label"])
    both = sum(len(values) > 1 for values in labels.values())
    chosen, topics, truths = [], [], []
    rng = np.random.default_rng(0)
    for name, statements in files.items():
        if name.startswith(DERIVED) and not derived:
            continue
        single = [text for text in statements if len(labels[text]) == 1]
        kept = sorted(rng.permutation(len(single))[:rows].tolist())
        chosen += [single[index] for index in kept]
        topics += [topic_of(name)] * len(kept)
        truths += [statements[single[index]] for index in kept]
    return (
        Texts(tuple(chosen), {"topic": tuple(topics)}, "true-false"),
        truths,
        {"rows that repeat another": repeated, "statements with both labels": both},
    )


def topic_of(name: str) -> str:
    """The base topic of a file.

    Example:
        >>> topic_of("conj_neg_facts"), topic_of("cities")
        ('facts', 'cities')
    """
    for prefix in DERIVED:
        name = name.removeprefix(prefix)
    return name


def markdown(result: TruthReport, dropped: dict[str, int], args: argparse.Namespace) -> str:
    """The tables."""
    places = [result.groups.index(name) for name in PUBLISHED if name in result.groups]
    three = [
        f"- {rival.name}: {np.mean([rival.groups[place][0] for place in places]):.3f}"
        for rival in result.rivals
    ]
    lines = [
        "# Truthfulness of statements, leave one topic out",
        "",
        f"Made by `python benchmarks/truth.py --data DIR --cache CACHE --rows {args.rows}"
        f"{' --derived' if args.derived else ''}` with {result.model} in float32, seed {args.seed}.",
        "",
        f"{result.rows:,} statements of {len(result.groups)} topics, {result.true:,} of them true; "
        + ", ".join(f"{count:,} {what}" for what, count in dropped.items())
        + f" were dropped. {result.protocol[0].upper()}{result.protocol[1:]}.",
        "",
        *left_out_lines(result),
        "",
        f"**{result.verdict}**",
        "",
        "Mean AUC over the topics; 95 % bootstrap intervals of rows within topics. The intervals of gains hold for all "
        "scores of the model together.",
        "",
        rival_table(result).markdown(),
        "",
        "## Each topic",
        "",
        group_table(result).markdown(),
        "",
        f"## Mean over {', '.join(PUBLISHED)}",
        "",
        *three,
        "",
        "## Layers",
        "",
        "Intrinsic dimension of the last token's states of true statements, and the AUC of the local dimension.",
        f"Without labels layer {result.curve.peak} is chosen.",
        "",
        curve_table(result.curve).markdown(),
        "",
    ]
    return "\n".join(lines)


def report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except SplinelensError as error:
        sys.exit(f"truth: {error}")
