"""What 64 labels of a set add to a detector there, and what they cost on the detector's own test rows.

    python benchmarks/adapt.py --data DIR --cache CACHE [--detector NAME] [--forum FILE] [--rows 64 500]

Each sample is so many random rows of a set (the test part of tweeteval; all rows of FILE, CSV or JSONL with
``text`` and ``label``, 0 or 1): the detector's head is refitted near the old one as ``splinelens adapt`` does, and
the AUC is measured on the rest of the set and on the test part of jigsaw-test-binary-12k, against the head as it
was. ``estimated`` is the gain that held-out folds of the sampled rows show, and ``expected loss`` the mean of what
the sample of training rows says of the source, which is what a user sees. Features are read once and kept in
CACHE.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detection.data import read_evaluation
from detection.features import read_cached
from sklearn.metrics import roc_auc_score

from splinelens.apps.detector import Detector
from splinelens.detect.anchored import refit_anchored
from splinelens.detect.artifact import Artifact
from splinelens.detect.calibration import Calibration
from splinelens.detect.heads import LinearHead
from splinelens.detect.solver import ROWS_PER_CLASS
from splinelens.report.tables import Table
from splinelens.texts import Texts
from splinelens.texts.labeled import read_labeled

WINDOW = 256


@dataclass(frozen=True, eq=False)
class Measured:
    """Features, labels and tokens of the rows of a set that can be read."""

    values: np.ndarray
    labels: np.ndarray
    tokens: np.ndarray


@dataclass(frozen=True)
class Change:
    """What one sample of labels changed: differences of AUC, and the penalty chosen."""

    gain: float
    source: float
    estimated: float
    expected_loss: float | None
    penalty: float


def main() -> None:
    """Measure and print the table."""
    args = parse()
    detector = Detector.load(args.detector, max_tokens=WINDOW, long="cut")
    sets = dict(read_sets(args.data, args.forum))
    folder = args.cache / "adapt" / detector.artifact.digest[:16]
    measured = {name: read(detector, *rows, folder / name) for name, rows in sets.items()}
    source = measured.pop("jigsaw-test-binary-12k")
    rows = [
        summary(name, rows, changes(detector.artifact, part, source, rows, args.samples))
        for name, part in measured.items()
        for rows in args.rows
    ]
    head = (
        "set",
        "labels",
        "AUC gain on the rest",
        "on the source's test rows",
        "estimated",
        "expected loss",
        "moved",
    )
    print(f"{detector.artifact.name}, {args.samples} samples, means with 95 % intervals\n")
    print(Table(head, rows).markdown())


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the features")
    parser.add_argument("--detector", default="toxicity", help="shipped name or folder")
    parser.add_argument("--forum", help="labeled comments: text, label")
    parser.add_argument("--rows", type=int, nargs="+", default=[64], help="labels of a sample")
    parser.add_argument("--samples", type=int, default=20)
    return parser.parse_args()


def read_sets(data: Path, forum: str | None) -> Iterator[tuple[str, tuple[Texts, np.ndarray]]]:
    """The sets by name: texts and labels."""
    sets = read_evaluation(data, ("jig", "tweet")).sets
    for name, key in (("jigsaw-test-binary-12k", "jig"), ("tweeteval", "tweet")):
        texts = sets[key].where("split", ["test"])
        yield name, (texts, np.array(texts.columns["positive"]))
    if forum:
        texts, labels = read_labeled(forum, "text", "label")
        yield "forum", (texts, labels.values[:, 0])


def read(detector: Detector, texts: Texts, labels: np.ndarray, folder: Path) -> Measured:
    """The features of a set, from the cache or read now."""
    store = read_cached(detector.reader, texts, folder)
    index = np.flatnonzero(store.ok)
    labels = np.asarray(labels)[index].astype(int)
    return Measured(store.rows(list(store.sizes), index), labels, store.tokens[index])


def changes(artifact: Artifact, part: Measured, source: Measured, rows: int, count: int) -> list[Change]:
    """Adapt to ``count`` random samples of rows; each has at least ten rows of either class."""
    calibration, tested = artifact.calibrations[0], np.arange(len(source.labels))
    source_before = _auc(artifact.head, calibration, source, tested)
    changed: list[Change] = []
    rng = np.random.default_rng(0)
    while len(changed) < count:
        order = rng.permutation(len(part.labels))
        some, rest = order[:rows], order[rows:]
        if min(np.bincount(part.labels[some], minlength=2)) < ROWS_PER_CLASS:
            continue
        fitted = refit_anchored(
            part.values[some],
            part.labels[some],
            artifact.head,
            calibration,
            tokens=part.tokens[some],
            sample=artifact.sample,
        )
        changed.append(
            Change(
                _auc(fitted.head, calibration, part, rest) - _auc(artifact.head, calibration, part, rest),
                _auc(fitted.head, calibration, source, tested) - source_before,
                roc_auc_score(part.labels[some], fitted.logits)
                - roc_auc_score(part.labels[some], fitted.anchor_logits),
                fitted.sample_loss,
                fitted.penalty,
            )
        )
    return changed


def summary(name: str, rows: int, changed: list[Change]) -> tuple[str, ...]:
    """A row of the table."""
    source = [change.source for change in changed]
    losses = [change.expected_loss for change in changed if change.expected_loss is not None]
    return (
        name,
        str(rows),
        _mean([change.gain for change in changed]),
        f"{_mean(source)}, worst {min(source):+.4f}",
        _mean([change.estimated for change in changed]),
        f"{np.mean(losses):.4f}" if losses else "no sample",
        f"{sum(np.isfinite(change.penalty) for change in changed)} of {len(changed)}",
    )


def _auc(head: LinearHead, calibration: Calibration, part: Measured, rows: np.ndarray) -> float:
    """Of calibrated scores, which go by length."""
    scores = calibration.score(head.logit(part.values[rows])[:, 0], part.tokens[rows])
    return float(roc_auc_score(part.labels[rows], scores))


def _mean(values: list[float]) -> str:
    """The mean and its 95 % interval over samples (Student's t)."""
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):+.4f} [{np.mean(values) - half:+.4f}, {np.mean(values) + half:+.4f}]"


if __name__ == "__main__":
    main()
