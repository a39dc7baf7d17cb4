"""How much of the error calibrating to another API's scores removes, by the number of logged pairs.

    python benchmarks/perspective.py --data DIR [--texts 1500] [--repeats 20]

No scores of the Perspective API are at hand, so two stand-ins give the logged ones on test rows of jigsaw6-clean.
``rising`` is a rising function of our own score plus noise, ``sigmoid(0.6 * logit - 0.4 + N(0, 0.5))``, cut to
[0, 1]: a map with little error exists. ``tfidf`` is the probability of a TF-IDF model fitted on the training rows
of the same label: another detector, which a map can follow only as far as both rank texts alike.

Of the texts so many random ones are the pairs of ``splinelens calibrate``; errors and decisions are those on all
other texts, means over the repeats. Fewer pairs than 50 are refused by the command.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from splinelens import DetectorGroup
from splinelens.apps.perspective import DETECTORS, LABELS, attribute_measures
from splinelens.detect.monotone import MapErrors, fit_monotone, map_errors
from splinelens.report.tables import Table

ATTRIBUTES = ("TOXICITY", "INSULT", "PROFANITY")
THRESHOLDS = (0.5, 0.7, 0.9)


def main() -> None:
    """Measure and print the table."""
    args = parse()
    file = args.data / "jigsaw6-clean" / "jigsaw6_clean.csv"
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    fitted = [row for row in rows if row["split"] == "train"]
    rng = np.random.default_rng(0)
    test = [row for row in rows if row["split"] == "test"]
    test = [test[at] for at in rng.permutation(len(test))[: args.texts]]
    scores = our_scores([row["comment_text"] for row in test])
    cells = []
    for attribute in ATTRIBUTES:
        known = np.isfinite(scores[attribute])
        for name, logged in stand_ins(attribute, scores[attribute], fitted, test, rng):
            ours, theirs = scores[attribute][known], logged[known]
            for pairs in args.pairs:
                errors = [held_out(ours, theirs, pairs, rng) for _ in range(args.repeats)]
                cells.append((attribute, name, f"{pairs:,}", *summary(errors)))
    head = ["attribute", "stand-in", "pairs", "rank correlation", "mean absolute error", "mapped"]
    for threshold in THRESHOLDS:
        head += [f"agreement at {threshold:g}", "mapped", "flagged there", "as it is", "mapped"]
    print(f"{len(test):,} texts, means over {args.repeats} samples of pairs\n")
    print(Table(tuple(head), cells).markdown())


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--texts", type=int, default=1500, help="test rows to score")
    parser.add_argument("--pairs", type=int, nargs="+", default=[50, 200, 500], help="pairs of a map")
    parser.add_argument("--repeats", type=int, default=20, help="random samples of pairs")
    return parser.parse_args()


def our_scores(texts: list[str]) -> dict[str, np.ndarray]:
    """The score of each text by attribute; NaN where there is none."""
    group = DetectorGroup.load(DETECTORS)
    measured, records = attribute_measures(group.artifacts), group.score(texts)
    return {
        name: np.array([measured[name].score(one) for one in records], dtype=float) for name in ATTRIBUTES
    }


def stand_ins(
    attribute: str,
    scores: np.ndarray,
    fitted: list[dict[str, str]],
    test: list[dict[str, str]],
    rng: np.random.Generator,
) -> Iterator[tuple[str, np.ndarray]]:
    """Logged scores of the test rows, by name of the stand-in."""
    inside = np.clip(scores, 1e-6, 1 - 1e-6)
    logits = 0.6 * np.log(inside / (1 - inside)) - 0.4 + 0.5 * rng.normal(size=len(scores))
    yield "rising", 1 / (1 + np.exp(-logits))
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True, min_df=2), LogisticRegression(C=10))
    model.fit([row["comment_text"] for row in fitted], [int(row[LABELS[attribute]]) for row in fitted])
    yield "tfidf", model.predict_proba([row["comment_text"] for row in test])[:, 1]


def held_out(scores: np.ndarray, logged: np.ndarray, pairs: int, rng: np.random.Generator) -> MapErrors:
    """Fit a map to random pairs, and measure it on the rest."""
    order = rng.permutation(len(scores))
    some, rest = order[:pairs], order[pairs:]
    fitted = fit_monotone(scores[some], logged[some])
    return map_errors(scores[rest], logged[rest], fitted.at(scores[rest]), fitted, THRESHOLDS)


def summary(errors: list[MapErrors]) -> Iterator[str]:
    """The means over samples, as cells."""
    for key in ("rank_correlation", "mean_absolute_before", "mean_absolute_after"):
        yield f"{np.mean([getattr(one, key) for one in errors]):.3f}"
    for at in range(len(THRESHOLDS)):
        for key in ("agreement_before", "agreement_after"):
            yield f"{100 * np.mean([getattr(one.agreement[at], key) for one in errors]):.1f} %"
        for key in ("target", "before", "after"):
            yield f"{np.mean([getattr(one.agreement[at], key) for one in errors]):.0f}"


if __name__ == "__main__":
    main()
