"""What the shipped detectors of toxicity and types reach, beside bars and a rival: make bars.

    python benchmarks/bars.py --data DIR --cache CACHE [--detector NAME_OR_FOLDER ...] -o REPORT.md
    python benchmarks/bars.py --data DIR --cache CACHE --leave-one-out FILE.json -o REPORT.md

Texts are scored with ``splinelens.Detector`` as a user does, in float32, long ones whole. Each set is scored once a
detector; scores are kept in CACHE, so a stopped run continues. The rival is TF-IDF (characters 2-5, words 1-2) with
logistic regression, fitted on the training rows of the detector. Rows that a detector was fitted on are left out of
its numbers. Intervals are 95 %: bootstrap of rows (of pairs in ParaDetox), Clopper-Pearson for shares. FILE.json is
written by ``leave_one_out.py``; the bars of ``splinelens adapt`` are those of ``adapt.py``. Writes REPORT.md and,
beside it, REPORT.json. The report of the shipped detectors is ``benchmarks/bars.md``.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import spans
from detection.bar_sets import (
    LENGTHS,
    TestSet,
    in_length,
    joined_comments,
    labeled_sets,
    ordinary_windows,
    types_set,
)
from detection.data import TYPES, letters_and_digits, read_evaluation
from detection.fitting import Learned, Rows, gather
from detection.score_cache import Scores, read_scores
from detection.tfidf import Tfidf
from detectors import recipes
from pydantic_core import to_jsonable_python

from splinelens.apps.detector import Detector
from splinelens.apps.evaluation import evaluate_spans
from splinelens.detect.bootstrap import (
    ScoreHistogram,
    auc_gain_interval,
    auc_interval,
)
from splinelens.detect.calibration import offsets_at
from splinelens.detect.metrics import evaluate, evaluate_labels
from splinelens.detect.thresholds import Interval, proportion_interval
from splinelens.errors import BadTexts, SplinelensError
from splinelens.features.extract import provenance
from splinelens.report.evaluation import IDENTITY_MENTIONS
from splinelens.texts import Texts
from splinelens.texts.labeled import read_marked

RESAMPLES = 10_000
GROUPS = {
    "everyday": ("everyday", "short"),
    "hard harmless": ("technical", "identity", "typos", "self-deprecation", "quoted", "swearing", "negated"),
    "subtle": ("contempt", "threat", "exclusion", "sarcasm"),
    "open": ("insult", "caps", "misspelled", "group", "long"),
}
"""Kinds of forum comments; the first two are harmless."""
FAST = "toxicity-fast"
LEFT_OUT = {"para": ("ParaDetox", 0.98), "tweet": ("TweetEval", 0.82), "tgann": ("toxigen-seed", 0.86)}
"""What a number of ``leave_one_out.py`` is measured on, by the source left out, and its bar."""


@dataclass(frozen=True)
class Measured:
    """One row of the table.

    Attributes:
        detector: Its name.
        section: The set.
        what: The number.
        n: Texts it is computed from.
        value: None if it cannot be computed, such as an AUC of one class.
        interval: 95 % interval, None with too few texts.
        bar: In words; empty if there is none.
        met: Whether it is met; None without a bar or a value.
        rival: The same number of TF-IDF.
        rival_interval: Its interval.
    """

    detector: str
    section: str
    what: str
    n: int
    value: float | None
    interval: Interval | None = None
    bar: str = ""
    met: bool | None = None
    rival: float | None = None
    rival_interval: Interval | None = None

    def at_least(self, bar: float) -> "Measured":
        return self._judged(f">= {bar:g}", bar, float("inf"))

    def at_most(self, bar: float) -> "Measured":
        return self._judged(f"<= {bar:g}", -float("inf"), bar)

    def between(self, low: float, high: float) -> "Measured":
        return self._judged(f"{low:.4g} to {high:.4g}", low, high)

    def _judged(self, words: str, low: float, high: float) -> "Measured":
        met = None if self.value is None else bool(low <= self.value <= high)
        return replace(self, bar=words, met=met)


class Bars:
    """The numbers of one detector.

    Args:
        detector: The detector, binary or of the six types.
        data: The evaluation data.
        cache: Folder of the scores.
        limit: At most so many texts a set, for a try of the command.
        left_out: Numbers of ``leave_one_out.py`` for this detector, by source.
        report: Called with a line before texts are scored, and as they are.
    """

    def __init__(
        self,
        detector: Detector,
        data: Path,
        cache: Path,
        *,
        limit: int | None = None,
        left_out: dict[str, Any] | None = None,  # Any: JSON values
        report: Callable[[str], None] = lambda line: None,
    ):
        self.detector, self.data, self.cache = detector, data, cache
        self.limit, self.left_out, self.report = limit, left_out or {}, report
        self.name = detector.artifact.name
        self.resamples = RESAMPLES if limit is None else 200
        self.rows = training_rows(self.name, data)
        self._read: dict[str, Scores] = {}
        self.keys: set[str] = set()
        self.tfidf: Tfidf | None = None
        if self.rows is None:
            report(f"{self.name}: no recipe of this name, so no TF-IDF on the same rows")
        else:
            self.keys = {letters_and_digits(self.rows.texts[row]) for row in np.flatnonzero(self.rows.usable)}
            self.tfidf = self._tfidf(self.rows.usable)
        binary = detector.artifact.task == "binary"
        sets = labeled_sets(data, self.keys) if binary else {"types": types_set(data)}
        self.sets = {name: self._unseen(one).sample(limit) for name, one in sets.items()}

    def measured(self) -> Iterator[Measured]:
        """All rows of the table."""
        binary = (
            self._jigsaw,
            self._hatecheck,
            self._other_sets,
            self._left_out,
            self._forum,
            self._lengths,
            self._spans,
        )
        for part in binary if self.detector.artifact.task == "binary" else (self._types,):
            yield from part()

    def _jigsaw(self) -> Iterator[Measured]:
        one, fast = self.sets["jig"], self.name == FAST
        scores, tokens = self._scores(one)
        thresholds = {f"{t.target:g}": t for t in self.detector.artifact.thresholds[0]}
        at = {name: stored.score for name, stored in thresholds.items()}
        evaluations = [evaluate(one.labels, scores, tokens, thresholds=at, resamples=self.resamples)]
        if self.tfidf:
            rival = self.tfidf.scores(one.texts)
            evaluations.append(evaluate(one.labels, rival, tokens, resamples=self.resamples))
        ours, theirs = evaluations[0], evaluations[-1] if self.tfidf else None

        def row(
            what: str, read: Callable[[Any], tuple[float, Interval | None]]
        ) -> Measured:  # Any: Evaluation
            both = read(theirs) if theirs else (None, None)
            return self._row(one, what, ours.n, *read(ours), *both)

        yield row("AUC", lambda e: (e.auc, e.auc_interval)).at_least(0.966 if fast else 0.972)
        recalls = {"0.01": 0.52 if fast else 0.56, "0.05": None if fast else 0.83}
        for rate, bar in recalls.items():
            percent = f"{100 * float(rate):g} %"
            recall = row(
                f"recall at {percent} false positives",
                lambda e, rate=rate: (e.recall_at_fpr[rate], e.recall_intervals[rate]),
            )
            yield recall if bar is None else recall.at_least(bar)
        yield row("calibration error", lambda e: (e.calibration_error, e.calibration_interval)).at_most(0.03)
        negatives = int((one.labels == 0).sum())
        for rate in recalls:
            rates, stored = ours.at_threshold[rate], thresholds[rate]
            percent = f"{100 * float(rate):g} %"
            what = f"false positives at the stored {percent} threshold; bar: its stored interval"
            share = (rates["false_positive_rate"], rates["false_positive_interval"])
            yield self._row(one, what, negatives, *share).between(*stored.interval)
            what, share = (
                f"recall at the stored {percent} threshold",
                (rates["recall"], rates["recall_interval"]),
            )
            yield self._row(one, what, ours.positives, *share)

    def _hatecheck(self) -> Iterator[Measured]:
        one = self.sets["hatecheck"]
        yield self._auc(one).at_least(0.72)
        mentions = self._flagged(one, np.isin(one.kinds, IDENTITY_MENTIONS), "harmless identity mentions")
        yield mentions.at_most(0.06)
        yield from self._by_kind(one)
        for language in ("german", "spanish"):
            yield self._auc(self.sets[language])

    def _other_sets(self) -> Iterator[Measured]:
        safe = self.sets["xstest"]
        yield self._flagged(safe, safe.labels == 0, "safe prompts").at_most(0.01)
        names = self.rows.names if self.rows else []
        fitted = " (fitted on toxigen-annotated)" if "tgann" in names else ""
        yield self._auc(self.sets["toxigen"], f"AUC{fitted}")
        tweets = " (fitted on its train split)" if "tweet" in names else ""
        yield self._auc(self.sets["tweet"], f"AUC, test split{tweets}")
        pairs = " (fitted on other pairs)" if "para" in names else ""
        yield self._auc(self.sets["para"], f"AUC, pairs not fitted on{pairs}")
        yield self._auc(self.sets["tsd"], "AUC, toxic texts against beginnings of ordinary documents")

    def _left_out(self) -> Iterator[Measured]:
        for source, numbers in self.left_out.items():
            name, bar = LEFT_OUT.get(source, (source, None))
            interval = tuple(numbers["interval"]) if numbers["interval"] else None
            theirs, n = self._rival_without(source) if source in LEFT_OUT else ((None, None), 0)
            row = Measured(self.name, name, f"AUC, fitted without {source}", n, numbers["auc"], interval)
            row = replace(row, rival=theirs[0], rival_interval=theirs[1])
            yield row if bar is None else row.at_least(bar)

    def _rival_without(self, source: str) -> tuple[tuple[float | None, Interval | None], int]:
        """AUC of TF-IDF fitted without a source on the rows that ``leave_one_out.py`` measures, and their count."""
        rows = self.rows
        if rows is None or source not in rows.names:
            return (None, None), 0
        if source == "tgann":
            texts = read_evaluation(self.data, ["toxigen"]).sets["toxigen"]
            one = TestSet.of(source, texts.texts, texts.columns["positive"])
        else:
            chosen = np.flatnonzero(rows.of(source) & rows.usable)
            one = TestSet.of(source, [rows.texts[row] for row in chosen], rows.labels[chosen, 0])
        one = one.sample(self.limit)
        scores = self._tfidf(rows.usable & ~rows.of(source)).scores(one.texts)
        return self._auc_of(one, scores), len(one.texts)

    def _forum(self) -> Iterator[Measured]:
        one = self.sets["forum"]
        yield self._auc(one).at_least(0.88)
        if self.tfidf:
            ours, theirs = self._scores(one)[0], self.tfidf.scores(one.texts)
            (own, _), (rival, _) = self._auc_of(one, ours), self._auc_of(one, theirs)
            gain = None if own is None or rival is None else own - rival
            interval = None if gain is None else auc_gain_interval(one.labels, theirs, ours, self.resamples)
            yield self._row(one, "AUC minus that of TF-IDF", len(ours), gain, interval).at_least(0.05)
        assert one.writers is not None
        for writer in np.unique(one.writers):
            yield self._auc(one, f"AUC, writer {writer}", one.writers == writer)
        groups = {
            name: self._flagged(one, np.isin(one.kinds, kinds), f"{name}, its kinds together")
            for name, kinds in GROUPS.items()
        }
        yield groups["everyday"].at_most(0.02)
        yield groups["hard harmless"].at_most(0.12)
        yield groups["subtle"].at_least(0.45)
        yield groups["open"]
        yield from self._by_kind(one)

    def _lengths(self) -> Iterator[Measured]:
        model, jig = self.detector.reader.loaded, self.sets["jig"]
        by_length = self.detector.artifact.calibrations[0].by_length
        limit = self._limit_without_offsets() if by_length else np.inf
        ordinary = ordinary_windows(self.data, model, self.limit)
        for one in (ordinary, jig, joined_comments(jig, model, self.limit)):
            _, tokens = self._scores(one)
            for low, high in LENGTHS:
                chosen = (one.labels == 0) & in_length(tokens, low, high)
                row = self._flagged(one, chosen, f"harmless, {low:,} to {high:,} tokens", fpr=0.01)
                if row.n:
                    yield row.between(0.005, 0.015) if one is ordinary else row
                    if by_length:
                        yield self._flagged_without_offsets(one, chosen, f"{low:,} to {high:,} tokens", limit)

    def _limit_without_offsets(self) -> float:
        """The logit without offsets that as many harmless Jigsaw test rows reach as the stored 1 % threshold."""
        jig = self.sets["jig"]
        harmless = jig.labels == 0
        flagged = int((self._scores(jig)[0][harmless] >= self.detector.threshold(0.01)).sum())
        logits = self._without_offsets(jig)[harmless]
        return float(np.sort(logits[np.isfinite(logits)])[-flagged]) if flagged else np.inf

    def _flagged_without_offsets(
        self, one: TestSet, chosen: np.ndarray, length: str, limit: float
    ) -> Measured:
        """The share of harmless rows that would be flagged if the length of a text did not count."""
        logits = self._without_offsets(one)[chosen]
        count, n = int((logits >= limit).sum()), len(logits)
        what = f"before, {length}: flagged without offsets by length, at the 1 % threshold's rate on Jigsaw"
        return self._row(one, what, n, count / n, proportion_interval(count, n))

    def _without_offsets(self, one: TestSet) -> np.ndarray:
        """(text,) calibrated logits as if the length of a text did not count; NaN without a score."""
        scores, tokens = self._scores(one)
        with np.errstate(divide="ignore"):  # a score of 1 stays above every threshold
            logits = np.log(scores) - np.log1p(-scores)
        calibration = self.detector.artifact.calibrations[0]
        return logits + calibration.slope * offsets_at(calibration.by_length, tokens)

    def _types(self) -> Iterator[Measured]:
        one, labels = self.sets["types"], self.detector.artifact.labels
        assert one.types is not None
        read = self._scored(one)
        order = [TYPES.index(label) for label in labels]
        columns = [read.scores]
        if self.rows:
            rivals = [self._tfidf(self.rows.usable, at).scores(one.texts) for at in order]
            columns.append(np.stack(rivals, axis=1))
        evaluations = [
            evaluate_labels(one.types[:, order], scores, read.tokens, labels, resamples=self.resamples)
            for scores in columns
        ]
        means = [value for each in evaluations for value in (each.mean_auc, each.mean_auc_interval)]
        yield self._row(one, "mean AUC of the six types", evaluations[0].n, *means).at_least(0.95)
        for label in labels:
            each = [by_label.labels[label] for by_label in evaluations]
            aucs = [value for e in each for value in ((e.auc, e.auc_interval) if e else (None, None))]
            yield self._row(one, f"AUC of {label}", evaluations[0].n, *aucs)

    def _spans(self) -> Iterator[Measured]:
        artifact = self.detector.artifact
        path = self.cache / f"spans-{artifact.digest[:16]}-{artifact.word_limit}-{self.limit}.json"
        if not path.is_file():
            self.report(f"{self.name}: explains toxic-spans")
            trial = read_marked(str(self.data / spans.TRIAL), "text", "spans")
            limit = artifact.word_limit
            if limit is None:
                train = read_marked(str(self.data / spans.TRAIN), "text", "spans")
                limit = spans.choose_limit(
                    self.detector, spans.training_rows(train, trial, self.limit or 2000)
                )
            chosen = list(range(len(trial[0])))[: self.limit]
            measured = evaluate_spans(
                self.detector, trial[0].at(chosen), [trial[1][row] for row in chosen], limit=limit
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(measured.to_dict()) + "\n", "utf-8")
        numbers = json.loads(path.read_text("utf-8"))
        for name, what, n, bar in (
            ("character_f1", f"character F1 of explanations, limit {numbers['limit']:.3g}", "n", 0.62),
            ("word_auc", "word AUC within a text", "word_auc_texts", 0.88),
        ):
            interval = numbers[f"{name}_interval"]
            row = Measured(self.name, "toxic-spans trial", what, numbers[n], numbers[name])
            yield replace(row, interval=tuple(interval) if interval else None).at_least(bar)

    def _tfidf(self, usable: np.ndarray, label: int = 0) -> Tfidf:
        """TF-IDF on the usable training rows of which a label is known."""
        assert self.rows is not None
        labels = self.rows.labels[:, label]
        chosen = np.flatnonzero(usable & np.isfinite(labels))
        if self.limit is not None:
            chosen = np.sort(np.random.default_rng(0).permutation(chosen)[: 100 * self.limit])
        return Tfidf([self.rows.texts[row] for row in chosen], labels[chosen], self.cache)

    def _unseen(self, one: TestSet) -> TestSet:
        """The rows that the detector was not fitted on, and the set's title with the count of the others."""
        seen = self.detector.artifact.seen_in(one.texts)
        seen |= np.array([letters_and_digits(text) in self.keys for text in one.texts], dtype=bool)
        left_out = f" ({int(seen.sum())} rows it was fitted on left out)" if seen.any() else ""
        return replace(one.take(~seen), name=_TITLES[one.name] + left_out)

    def _scores(self, one: TestSet) -> tuple[np.ndarray, np.ndarray]:
        """(text,) scores of the first label, and tokens."""
        read = self._scored(one)
        return read.scores[:, 0], read.tokens

    def _scored(self, one: TestSet) -> Scores:
        """The scores of all labels; each set is read once."""
        if one.name not in self._read:

            def progress(done: int) -> None:
                self.report(f"{self.name}: {one.name}, {done:,} of {len(one.texts):,} texts")

            self._read[one.name] = read_scores(
                self.detector, Texts(one.texts, {}, one.name), self.cache, progress
            )
        return self._read[one.name]

    def _row(
        self,
        one: TestSet,
        what: str,
        n: int,
        value: float | None,
        interval: Interval | None,
        rival: float | None = None,
        rival_interval: Interval | None = None,
    ) -> Measured:
        return Measured(
            self.name, one.name, what, n, value, interval, rival=rival, rival_interval=rival_interval
        )

    def _auc(self, one: TestSet, what: str = "AUC", chosen: np.ndarray | None = None) -> Measured:
        """The AUC of some rows, None for all."""
        if not one.texts:  # all rows were fitted on
            return self._row(one, what, 0, None, None)
        chosen = np.ones(len(one.texts), bool) if chosen is None else chosen
        some, scores = one.take(chosen), self._scores(one)[0][chosen]
        rival = self._auc_of(some, self.tfidf.scores(one.texts)[chosen]) if self.tfidf else (None, None)
        return self._row(one, what, int(np.isfinite(scores).sum()), *self._auc_of(some, scores), *rival)

    def _auc_of(self, one: TestSet, scores: np.ndarray) -> tuple[float | None, Interval | None]:
        """AUC with its interval, over rows that have a score; None where one class is missing."""
        scored = np.isfinite(scores)
        labels, scores = one.labels[scored], scores[scored]
        if len(np.unique(labels)) < 2:
            return None, None
        value = float(ScoreHistogram.of(labels, scores).roc_auc())
        groups = None if one.groups is None else one.groups[scored]
        return value, auc_interval(labels, scores, self.resamples, groups=groups)

    def _flagged(self, one: TestSet, chosen: np.ndarray, what: str, fpr: float = 0.05) -> Measured:
        """The share of some rows at or above a stored threshold."""
        scores = self._scores(one)[0][chosen]
        count, n = int((scores >= self.detector.threshold(fpr)).sum()), len(scores)
        share = (count / n, proportion_interval(count, n)) if n else (None, None)
        return self._row(one, f"{what}: flagged at the stored {100 * fpr:g} % threshold", n, *share)

    def _by_kind(self, one: TestSet) -> Iterator[Measured]:
        """For each kind the share that is flagged: recall if it is toxic, else false positives."""
        for kind in dict.fromkeys(one.kinds.tolist()):
            chosen = one.kinds == kind
            toxic = one.labels[chosen].all()
            yield self._flagged(one, chosen, f"{kind} ({'toxic' if toxic else 'harmless'})")


def training_rows(name: str, folder: Path) -> Rows | None:
    """The rows that the recipe of a detector is fitted on; None if no recipe has the name."""
    known = {recipe.name: recipe for recipe in recipes(_DEPTH) if isinstance(recipe, Learned)}
    return gather(known[name], folder) if name in known else None


def table(rows: Sequence[Measured], preface: str) -> str:
    """The report, in Markdown."""
    judged = [row for row in rows if row.met is not None]
    lines = [
        "# Bars",
        "",
        preface,
        "",
        f"{sum(row.met is True for row in judged)} of {len(judged)} bars are met.",
        "",
        "| detector | set | number | texts | value | interval | bar | | TF-IDF | interval |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        met = "" if row.met is None else "met" if row.met else "**missed**"
        cells = [row.detector, row.section, row.what, f"{row.n:,}", _number(row.value), _bounds(row.interval)]
        cells += [row.bar, met, _number(row.rival), _bounds(row.rival_interval)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the scores")
    parser.add_argument(
        "--detector",
        nargs="+",
        default=["toxicity", FAST, "types"],
        metavar="NAME_OR_FOLDER",
        help="default: the shipped ones",
    )
    parser.add_argument("--leave-one-out", type=Path, metavar="FILE", help="JSON of leave_one_out.py")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N texts a set, to try the command")
    parser.add_argument("--output", "-o", type=Path, required=True, help="REPORT.md; REPORT.json beside it")
    args = parser.parse_args(arguments)
    if args.limit is not None and args.limit < 1:
        parser.error(f"--limit {args.limit} leaves no text; give at least 1")
    if args.output.suffix != ".md":
        parser.error(f"--output {args.output} must end in .md; the same name with .json is written beside it")
    left_out = read_left_out(args.leave_one_out)
    rows: list[Measured] = []
    origins = []
    for name in args.detector:
        detector = Detector.load(name, dtype="float32")
        if detector.artifact.task != "binary" and {*detector.artifact.labels} != {*TYPES}:
            raise BadTexts(
                f"detector {name} has several labels other than {', '.join(TYPES)}; no bar is of them"
            )
        one = left_out.get(detector.artifact.name)
        options = {"limit": args.limit, "left_out": one, "report": report}
        rows += Bars(detector, args.data, args.cache, **options).measured()
        origin = provenance(detector.reader, Texts((), {}, "no texts"))
        origins.append({"name": detector.artifact.name, "digest": detector.artifact.digest, **origin})
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(table(rows, preface(origins, args.limit)), "utf-8")
    record = {"detectors": origins, "limit": args.limit, "rows": to_jsonable_python(rows)}
    args.output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    report(f"wrote {args.output} and {args.output.with_suffix('.json')}")


def preface(origins: Sequence[dict[str, Any]], limit: int | None) -> str:  # Any: JSON values
    """What the table is, under its title."""
    names = "; ".join(f"`{one['name']}` {one['digest'][:12]} on {one['device']}" for one in origins)
    lines = [
        f"Made by `benchmarks/bars.py` with {names}, in float32, texts of any length read whole. Intervals are 95 %: "
        "bootstrap of rows, of pairs in ParaDetox, Clopper-Pearson for shares. `TF-IDF` (characters 2-5, words 1-2, "
        "logistic regression) is fitted on the same training rows, each counted once. `flagged` of harmless texts is "
        "the rate of false positives, of toxic ones the recall. Bars that differ between the two detectors of toxicity "
        "are those of Jigsaw; the others are applied to both. `before` is the rate of false positives that a detector "
        "would have if its scores did not take the length of a text into account, at the threshold that flags as many "
        "harmless Jigsaw test rows as the stored 1 % threshold."
    ]
    if limit is not None:
        lines.append(
            f"\n**A try of the command: at most {limit} texts a set, and the rival fitted on few rows.**"
        )
    return "\n".join(lines)


def read_left_out(path: Path | None) -> dict[str, dict[str, Any]]:  # Any: JSON values
    """Numbers by detector and source that was left out.

    Raises:
        BadTexts: The file is no such JSON.
    """
    if path is None:
        return {}
    try:
        numbers = json.loads(path.read_text("utf-8"))
        complete = all(
            {"auc", "interval"} <= {*one} for sources in numbers.values() for one in sources.values()
        )
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise BadTexts(f"{path} cannot be read: {error}; leave_one_out.py writes it") from error
    if not complete:
        raise BadTexts(f"{path} has an entry without auc or interval; leave_one_out.py writes them")
    return numbers


def report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _bounds(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


_DEPTH = 30  # of the default model; the sources of a recipe are those of any depth
_TITLES = {
    "jig": "Jigsaw test rows",
    "hatecheck": "HateCheck",
    "xstest": "XSTest",
    "toxigen": "toxigen-seed",
    "tweet": "TweetEval",
    "para": "ParaDetox",
    "german": "HateCheck, German",
    "spanish": "HateCheck, Spanish",
    "forum": "forum comments",
    "tsd": "toxic-spans trial",
    "types": "jigsaw6-raw test rows",
}


if __name__ == "__main__":
    try:
        main()
    except SplinelensError as error:
        sys.exit(f"bars: {error}")
