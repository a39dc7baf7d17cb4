"""Does the default model tell true statements from false ones? Leave one topic out: writes truth.md.

    python benchmarks/truth.py --data DIR --cache CACHE [--rows 1000] [--derived] [-o benchmarks/truth.md]

Statements of ``true-false`` (Azaria and Mitchell, and variants): exact duplicates count once, statements that
occur with both labels are left out, and of each file at most ``--rows`` random ones are read. Every score is
fitted on all topics but the one that it is measured on. ``--derived`` adds the negated and conjoined files,
each in the fold of its topic. What is read of the model is kept in CACHE, 3 GB for the default rows.
"""

import argparse
import csv
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from splinelens.apps import truth
from splinelens.errors import SplinelensError
from splinelens.report.truth import TruthReport, curve_table, group_table, left_out_lines, rival_table
from splinelens.texts import Texts

SUFFIX = "_true_false.csv"
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
