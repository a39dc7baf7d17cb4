"""A detector and a judge of known error: how many errors are left when the band between them is deferred.

    python benchmarks/cascade.py DATA [--cache FOLDER] [-o cascade.json]

Scores rows of ``jigsaw-test-binary-12k`` with ``toxicity-fast`` once. Threshold and band are chosen on 2,000 of its
training rows (on which the detector was fitted, too), and errors counted on all test rows. The judge is scripted:
it gives the label, and errs on each text independently with the probability of its column.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from detection.data import read_evaluation
from detection.score_cache import read_scores

from splinelens import Detector
from splinelens.apps.cascade import Cascade

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2)
JUDGE_ERRORS = (0.1, 0.15)
TRAIN_ROWS, RESAMPLES = 2000, 2000


def scored(folder: str, cache: Path) -> dict[str, np.ndarray]:
    """Scores, labels and splits of the test rows and a sample of the training rows."""
    rows = read_evaluation(folder, ["jig"]).sets["jig"]
    test = np.equal(rows.columns["split"], "test")
    sample = np.random.default_rng(0).choice(np.flatnonzero(~test), TRAIN_ROWS, replace=False)
    chosen = np.sort(np.concatenate([np.flatnonzero(test), sample])).tolist()
    scores = read_scores(Detector.load("toxicity-fast"), rows.at(chosen), cache).scores[:, 0]
    return {"scores": scores, "labels": np.array(rows.columns["positive"])[chosen], "test": test[chosen]}


def interval(wrong: np.ndarray, seed: int = 0) -> list[float]:
    """A share in %, with its 95 % interval of the bootstrap over texts."""
    rng = np.random.default_rng(seed)
    shares = [rng.choice(wrong, len(wrong)).mean() for _ in range(RESAMPLES)]
    return [round(100 * float(each), 2) for each in (wrong.mean(), *np.quantile(shares, (0.025, 0.975)))]


def measured(rows: dict[str, np.ndarray], share: float, judge_error: float, seed: int) -> dict[str, object]:
    """Errors of detector, judge and cascade on the test rows, in % of them."""
    train, test = ~rows["test"], rows["test"]
    cascade = Cascade.fit(rows["scores"][train], rows["labels"][train], share)
    scores, labels = rows["scores"][test], rows["labels"][test]
    judge = np.where(np.random.default_rng(seed).random(len(labels)) < judge_error, 1 - labels, labels)
    answers = {str(index): float(answer) for index, answer in enumerate(judge)}
    result = cascade.resolve(scores.tolist(), list(answers), lambda texts: [answers[text] for text in texts])
    wrong = (np.array(result.verdicts) == "positive") != labels
    alone = (scores >= cascade.threshold) != labels
    return {
        "share": share,
        "judge_error": judge_error,
        "band": [cascade.low, cascade.high],
        "threshold": cascade.threshold,
        "judged": round(100 * len(result.judged) / len(labels), 2),
        "over_budget": round(100 * result.over_budget / len(labels), 2),
        "detector": interval(alone),
        "judge": interval(judge != labels),
        "cascade": interval(wrong),
        "less_than_detector": interval(alone.astype(float) - wrong),
        "less_than_judge": interval((judge != labels).astype(float) - wrong),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="The folder of the data sets.")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("bench-cache"),
        help="Folder of the scores; a stopped run continues.",
    )
    parser.add_argument("--seed", type=int, default=0, help="Of the judge's errors.")
    parser.add_argument("-o", "--output", type=Path, help="A JSON file of the numbers.")
    given = parser.parse_args()
    rows = scored(given.data, given.cache)
    table = [measured(rows, share, error, given.seed) for error in JUDGE_ERRORS for share in SHARES]
    print("| deferred | judged | detector | judge | cascade | less than the detector | less than the judge |")
    print("|---|---|---|---|---|---|---|")
    for row in table:
        cells = [f"{row['share']:.0%}", f"{row['judged']} %"]
        for name in ("detector", "judge", "cascade", "less_than_detector", "less_than_judge"):
            cells.append("{:.1f} ({:.1f} to {:.1f})".format(*row[name]))
        print(f"| {' | '.join(cells)} |")
    if given.output:
        given.output.write_text(
            json.dumps({"test_rows": int(rows["test"].sum()), "table": table}, indent=1) + "\n"
        )
