"""Which words did people mark as toxic? Rules and a head fitted on toxic-spans train, measured on trial.

    python benchmarks/word_head.py --data DIR --cache CACHE
    python benchmarks/word_head.py --data DIR --cache CACHE --rows 7000 --ship

The measure is that of SemEval-2021 task 5: the F1 of sets of characters, averaged over texts; without a gold
character 1 if nothing is marked. Everything is chosen on ``tsd_train.csv`` without the texts of ``tsd_trial.csv``:
the limits by the mean over four folds by text, the heads by ridge regression; what a head reads of a lexicon comes
from the other folds. Rivals: marking nothing and everything,
a lexicon of the training words, and the split by the token that a maximum comes from (``score --explain``) with the
limit that the detector stores. ``--rows`` takes the first rows of train only. The margins of tokens are read once
and kept in CACHE; a stopped run continues.
``--ship`` writes the head beside the detector.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from spans import TRAIN, TRIAL, Marked, reference, training_rows

from splinelens.apps.detector import Detector
from splinelens.detect.bootstrap import mean_interval
from splinelens.detect.heads import LinearHead
from splinelens.detect.pooled_shapley import firing_words, shapley_of_words
from splinelens.detect.shipped import shipped
from splinelens.detect.span_metrics import character_f1
from splinelens.detect.word_head import WordHead, word_columns
from splinelens.features.inputs import Margins, read_margins
from splinelens.features.marked_counts import MarkedCounts
from splinelens.report.scores import Span
from splinelens.report.spans import core, word_of_token, words
from splinelens.texts.function_words import function_words
from splinelens.texts.labeled import read_marked

NAME = "toxicity-fast"
RECORD = Path(__file__).with_name("explain.json")
_CHUNK, _FOLDS = 500, 4
_SHARES = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
_LEAST = (0.0, 0.05, 0.1, 0.15, 0.2)
_PENALTIES = (100.0, 300.0, 1000.0, 3000.0)  # per 100,000 words


@dataclass(frozen=True, eq=False)
class Row:
    """The words of one text and what people marked.

    Attributes:
        bounds: Characters of each word, without the punctuation around it.
        keys: In lower case.
        gold: Offsets of the marked characters.
        value: Shapley value of each word in the detector's logit.
        split: What its tokens give where each maximum goes to one token.
        columns: Of a word head.
    """

    bounds: list[tuple[int, int]]
    keys: list[str]
    gold: frozenset[int]
    value: np.ndarray
    split: np.ndarray
    columns: np.ndarray

    @property
    def function_word(self) -> np.ndarray:
        return np.array([key in function_words() for key in self.keys], dtype=bool)

    @property
    def marked(self) -> np.ndarray:
        """1 for words of whose characters people marked more than half."""
        shares = [
            2 * sum(at in self.gold for at in range(*bound)) > bound[1] - bound[0] for bound in self.bounds
        ]
        return np.array(shares, dtype=float)

    def f1(self, chosen: np.ndarray) -> float:
        """F1 of the characters of some words; those between two neighbors that are chosen count."""
        characters: set[int] = set()
        end = None
        for (begin, stop), mark in zip(self.bounds, chosen.tolist(), strict=True):
            if mark:
                characters.update(range(begin if end is None else end, stop))
            end = stop if mark else None
        return character_f1(self.gold, characters)


def read_rows(detector: Detector, marked: Marked, cache: Path) -> list[Row]:
    """The words of every text that has a token; the margins of 500 texts are a file."""
    texts, rows = marked[0].texts, []
    cache.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(texts), _CHUNK):
        chunk, file = texts[start : start + _CHUNK], cache / f"{start:06d}.npy"
        tokenized, began = detector.reader.tokenize(chunk), time.monotonic()
        is_new = not file.is_file()
        margins = read_margins(detector.reader, tokenized, file)
        if is_new:
            print(f"{file}: {time.monotonic() - began:.0f} s", flush=True)
        for index, tokens in enumerate(tokenized):
            if tokens.ids:
                text, gold = chunk[index] or "", marked[1][start + index]
                rows.append(row_of(detector, text, gold, tokens.offsets, margins, index))
    return rows


def row_of(
    detector: Detector,
    text: str,
    gold: frozenset[int],
    offsets: Sequence[tuple[int, int]],
    read: Margins,
    index: int,
) -> Row:
    """One text: its words, their values and columns."""
    whole = words(text, [Span(*bounds, 0.0) for bounds in offsets])
    bounds = [core(text, word) for word in whole]
    word = np.array(word_of_token(text, offsets, whole))
    margins = read.of([index]).astype(np.float64)
    head, slope = detector.artifact.head, detector.artifact.calibrations[0].slope
    pooled = np.concatenate([margins.max(axis=0), margins.min(axis=0)])
    source = np.concatenate([margins.argmax(axis=0), margins.argmin(axis=0)])
    split = np.bincount(word[source], head.contributions(pooled[None])[0], minlength=len(whole))
    value = slope * shapley_of_words(margins, word, len(whole), head, ["max", "min"])
    keys = [text[begin:end].lower() for begin, end in bounds]
    ignored = np.array([key in function_words() for key in keys], dtype=bool)
    letters = np.array([end - begin for begin, end in bounds])
    columns = word_columns(margins, word, value, ignored, letters).astype(np.float32)
    return Row(bounds, keys, gold, value, slope * split, columns)


def counted(rows: Sequence[Row]) -> MarkedCounts:
    """How often people marked each word."""
    return MarkedCounts.of((row.keys, row.marked > 0) for row in rows)


def with_counts(row: Row, counts: MarkedCounts) -> Row:
    """A row with what a head reads of counts."""
    columns = np.concatenate([row.columns, counts.columns(row.keys)], axis=1)
    return replace(row, columns=columns.astype(np.float32))


def best_limits(
    rows: Sequence[Row], scores: Sequence[np.ndarray], shares: Sequence[float], least: Sequence[float]
) -> tuple[float, float, float]:
    """Mean F1, share of the largest score and least score with the best mean F1."""
    return max((mean_f1(rows, scores, share, limit), share, limit) for share in shares for limit in least)


def mean_f1(rows: Sequence[Row], scores: Sequence[np.ndarray], share: float, least: float) -> float:
    chosen = (
        (row, (score >= share * score.max()) & (score >= least))
        for row, score in zip(rows, scores, strict=True)
    )
    return float(np.mean([row.f1(mark) for row, mark in chosen]))


class Ridge:
    """Ridge regression of marked words; sums of products are kept by fold, so that penalties cost nothing."""

    def __init__(self, rows: Sequence[Row], folds: np.ndarray):
        sample = np.concatenate([row.columns for row in rows[::5]]).astype(np.float64)
        self.mean, self.scale = sample.mean(axis=0), sample.std(axis=0) + 1e-3
        self._gram, self._product, self._words = [], [], []
        for fold in range(_FOLDS):
            gram, product, count = 0.0, 0.0, 0
            chosen = [row for row, own in zip(rows, folds, strict=True) if own == fold]
            for start in range(0, len(chosen), 200):
                part = chosen[start : start + 200]
                x = self.standardized(np.concatenate([row.columns for row in part]))
                gram, product = gram + x.T @ x, product + x.T @ np.concatenate([row.marked for row in part])
                count += len(x)
            self._gram.append(gram)
            self._product.append(product)
            self._words.append(count)

    def standardized(self, columns: np.ndarray) -> np.ndarray:
        x = np.clip((columns - self.mean) / self.scale, -6, 6)
        return np.concatenate([x, np.ones((len(x), 1))], axis=1)

    def head(self, penalty: float, without: int | None = None) -> LinearHead:
        """The head fitted on all folds but one."""
        kept = [fold for fold in range(_FOLDS) if fold != without]
        words = sum(self._words[fold] for fold in kept)
        gram = sum(self._gram[fold] for fold in kept) + penalty * words / 1e5 * np.eye(len(self.mean) + 1)
        weight = np.linalg.solve(gram, sum(self._product[fold] for fold in kept))
        return LinearHead(self.mean, self.scale, weight[None, :-1], weight[-1:])


def fit_head(rows: Sequence[Row], detector: str) -> tuple[WordHead, float]:
    """The head, and its mean F1 on the folds that it was not fitted on."""
    folds = np.arange(len(rows)) % _FOLDS
    ridge, best = Ridge(rows, folds), (0.0, 0.0, 0.0, 0.0)
    for penalty in _PENALTIES:
        heads = [WordHead(ridge.head(penalty, fold), 0.0, 0.0, detector, {}) for fold in range(_FOLDS)]
        scores = [heads[fold].scores(row.columns) for row, fold in zip(rows, folds, strict=True)]
        f1, share, least = best_limits(rows, scores, _SHARES, _LEAST)
        print(f"penalty {penalty:g}: {f1:.4f} at share {share}, least {least}", flush=True)
        best = max(best, (f1, share, least, penalty))
    f1, share, least, penalty = best
    return WordHead(ridge.head(penalty), share, least, detector, {"penalty": penalty}), f1


def measure(data: Path, cache: Path, count: int) -> tuple[dict[str, Any], WordHead]:  # Any: plain JSON values
    """Every rule and the head, on trial."""
    detector = Detector.load(NAME, engine="torch")
    trial = read_marked(str(data / TRIAL), "text", "spans")
    train = training_rows(read_marked(str(data / TRAIN), "text", "spans"), trial, 10**6)
    train = train[0].at(range(min(count, len(train[0])))), train[1][:count]
    test, rows = (
        read_rows(detector, marked, cache / name) for name, marked in (("trial", trial), ("train", train))
    )
    lexicon, limit = counted(rows), detector.artifact.word_limit
    others = [counted([row for at, row in enumerate(rows) if at % _FOLDS != fold]) for fold in range(_FOLDS)]
    held = [others[at % _FOLDS].share(row.keys) for at, row in enumerate(rows)]
    lexical = best_limits(rows, held, (0.0,), np.arange(0.1, 0.6, 0.05).tolist())
    shared = [np.where(row.function_word, -1.0, row.value) for row in rows]
    _, share, _ = best_limits(rows, shared, _SHARES, (0.0,))
    head, folds = fit_head(rows, detector.artifact.digest)
    counted_rows = [with_counts(row, others[at % _FOLDS]) for at, row in enumerate(rows)]
    both, folds_of_both = fit_head(counted_rows, detector.artifact.digest)
    both = replace(both, counts=lexicon)
    methods: dict[str, Callable[[Row], np.ndarray]] = {
        "lexicon of train": lambda row: lexicon.share(row.keys) >= lexical[2],
        "split by token, stored limit": lambda row: row.split >= limit,
        "Shapley values": lambda row: firing_words(row.value, row.function_word),
        "head": lambda row: head.marked(head.scores(row.columns)),
        "head with counts of words": lambda row: both.marked(
            both.scores(np.concatenate([row.columns, lexicon.columns(row.keys)], axis=1))
        ),
    }
    f1_of = {name: np.array([row.f1(method(row)) for row in test]) for name, method in methods.items()}
    gains = {name: f1_of[name] - f1_of["Shapley values"] for name in f1_of if name.startswith("head")}
    record = {
        "detector": NAME,
        "train_rows": len(rows),
        "trial_rows": len(test),
        "without_gold": sum(not row.gold for row in test),
        "nothing": reference(trial, False),
        "everything": reference(trial, True),
        "share_of_shapley": share,
        "limit_of_lexicon": lexical[2],
        "head": {
            "columns": both.head.width,
            "words": len(lexicon.word),
            "share_of_largest": both.share_of_largest,
            "least": both.least,
        },
        "folds_of_train": {"head": folds, "head with counts of words": folds_of_both},
        "f1": {name: {"mean": float(f1.mean()), "interval": mean_interval(f1)} for name, f1 in f1_of.items()},
        "gains": {
            name: {"mean": float(gain.mean()), "interval": mean_interval(gain)}
            for name, gain in gains.items()
        },
    }
    return record, both


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--cache", type=Path, required=True, help="folder of what is read of the model")
    parser.add_argument("--rows", type=int, default=10**6, help="first rows of train")
    parser.add_argument("--ship", action="store_true", help="write the head beside the detector")
    args = parser.parse_args(arguments)
    measured, head = measure(args.data, args.cache, args.rows)
    record = json.loads(RECORD.read_text("utf-8")) if RECORD.is_file() else {}
    RECORD.write_text(json.dumps(record | {"marked": measured}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(measured, indent=1))
    if args.ship:
        f1 = {name: measured["f1"][name] for name in ("Shapley values", "head with counts of words")}
        rows = {
            "train": f"{TRAIN}, {measured['train_rows']:,} rows",
            "trial": f"{TRIAL}, {measured['trial_rows']:,} rows",
        }
        record = {"penalty": head.record["penalty"], **rows, "f1": f1}
        replace(head, record=record).write(shipped()[NAME])


if __name__ == "__main__":
    main()
