"""The texts that the bars are measured on; none of them is fitted on."""

import csv
import json
import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from detection.data import letters_and_digits, read_evaluation
from detection.sources import FORUM, SOURCES, unfitted_documents
from detection.training_rows import measured_part
from splinelens.errors import BadTexts
from splinelens.models import LoadedModel
from splinelens.texts import Texts
from splinelens.tokens import tokenize

LENGTHS = ((8, 32), (33, 128), (129, 512), (513, 4096))
"""Classes of length in tokens, both ends included."""
WINDOWS = (1500, 1000, 200, 40)
"""Windows of ordinary text in each class, at most."""
JOINED = (150, 30)
"""Joined comments in each of the two upper classes, at most."""
PAIRS = 1000
"""Pairs of ParaDetox."""
ROWS = {"jig": 2000, "tweet": 1500, "german": 800, "spanish": 800}
"""Rows of the larger sets, at most; the others are read whole."""


@dataclass(frozen=True, eq=False)
class TestSet:
    """Texts to score.

    Attributes:
        name: For the table.
        texts: The texts.
        labels: (text,), 1 for toxic.
        kinds: (text,), what the text is an example of; empty where nobody says.
        groups: (text,), rows of a group are resampled together; None where each row stands by itself.
        writers: (text,), who wrote it; empty where nobody says.
        types: (text, type), which of the six types a text has; None where nobody says.
    """

    name: str
    texts: tuple[str, ...]
    labels: np.ndarray
    kinds: np.ndarray
    groups: np.ndarray | None = None
    writers: np.ndarray | None = None
    types: np.ndarray | None = None

    __test__ = False  # pytest takes classes of this name for tests

    @classmethod
    def of(cls, name: str, texts: Sequence[str | None], labels: Sequence[int], kinds: Sequence[str] = ()):
        """From columns; without ``kinds`` they are empty."""
        texts = tuple(text or "" for text in texts)
        return cls(name, texts, np.array(labels, dtype=int), np.array(kinds or [""] * len(texts)))

    def take(self, rows: np.ndarray) -> "TestSet":
        """Some of the rows, by number or by a boolean mask."""
        texts = tuple(np.array(self.texts, dtype=object)[rows].tolist())
        groups, writers, types = (
            None if column is None else column[rows] for column in (self.groups, self.writers, self.types)
        )
        return TestSet(self.name, texts, self.labels[rows], self.kinds[rows], groups, writers, types)

    def sample(self, limit: int | None) -> "TestSet":
        """At most so many rows; whole pairs where the rows are pairs."""
        if limit is None or len(self.texts) <= limit:
            return self
        rng = np.random.default_rng(0)
        if self.groups is not None:
            chosen = rng.permutation(np.unique(self.groups))[: max(1, limit // 2)]
            return self.take(np.isin(self.groups, chosen))
        return self.take(np.sort(rng.permutation(len(self.texts))[:limit]))


def labeled_sets(folder: Path, fitted_on: Set[str]) -> dict[str, TestSet]:
    """The sets with labels, by short name.

    Args:
        folder: The evaluation data.
        fitted_on: Letters and digits of the texts that a detector was fitted on; pairs of ParaDetox with one of
            them are left out.

    Raises:
        BadTexts: A set is missing or damaged.
    """
    names = ("jig", "hatecheck", "xstest", "toxigen", "tweet", "para")
    data = read_evaluation(folder, names)
    if data.missing:
        raise BadTexts(f"no {', '.join(map(str, data.missing.values()))}; check the data folder")
    sets = {}
    for name in names[:-1]:
        texts = data.sets[name]
        kinds = texts.columns.get("functionality", ())
        one = TestSet.of(name, texts.texts, texts.columns["positive"], kinds)
        if "split" in texts.columns:
            one = one.take(np.array(texts.columns["split"]) == "test")
        sets[name] = one
    sets["para"] = _pairs(data.sets["para"], fitted_on)
    for language in ("german", "spanish"):
        rows = _csv(folder / f"multilingual-hatecheck/{language}.csv")
        labels = [row["label"] == "hateful" for row in rows]
        kinds = [row["functionality"] for row in rows]
        sets[language] = TestSet.of(language, [row["text"] for row in rows], labels, kinds)
    with open(FORUM, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    forum = TestSet.of("forum", *([row[name] for row in rows] for name in ("text", "label", "kind")))
    writers = np.array([row["writer"] for row in rows])
    sets["forum"] = TestSet("forum", forum.texts, forum.labels, forum.kinds, writers=writers)
    sets["tsd"] = _spans_beside_ordinary(folder)
    return {name: one.sample(ROWS.get(name)) for name, one in sets.items()}


def types_set(folder: Path) -> TestSet:
    """The test rows of jigsaw6-raw with their six labels."""
    data = read_evaluation(folder, ["raw"])
    _, part = measured_part("labels", data)
    one = TestSet.of("types", part.texts(data), part.labels[:, 0])
    return replace(one, types=part.labels)


def ordinary_windows(folder: Path, model: LoadedModel, limit: int | None = None) -> TestSet:
    """Windows of ordinary text in each class of length, cut between words; ``kinds`` is ``window``.

    The text is that of the documents of ``domains`` and of the paragraphs of WikiText-2 that no detector was
    fitted on, those of one domain joined.
    """
    streams: dict[str, list[str]] = {}
    for domain, text in unfitted_documents(folder):
        streams.setdefault(domain, []).append(text)
    with open(folder / "wikitext2-test/wiki.test.txt", encoding="utf-8") as file:
        lines = [line.strip() for line in file if len(line) > 200 and not line.strip().startswith("=")]
    begun = tuple(SOURCES["wiki"].read(folder).texts)
    streams["wikitext"] = [line for line in lines if not line.startswith(begun)]
    joined = ["\n\n".join(texts) for texts in streams.values()]
    tokenized = tokenize(joined, model.tokenizer)
    if unread := [text.reason for text in tokenized if text.reason]:
        raise BadTexts(f"ordinary text of one domain {unread[0]}; cut windows from shorter parts")
    rng, windows = np.random.default_rng(0), []
    for (low, high), count in zip(LENGTHS, WINDOWS, strict=True):
        cut = [
            window
            for stream, text in zip(joined, tokenized, strict=True)
            for window in _windows(stream, text.offsets, low, high, rng)
        ]
        chosen = np.sort(rng.permutation(len(cut))[: min(count, limit or count)])
        windows += [cut[at] for at in chosen]
    return TestSet.of("ordinary text", windows, [0] * len(windows), ["window"] * len(windows))


def joined_comments(jig: TestSet, model: LoadedModel, limit: int | None = None) -> TestSet:
    """Harmless comments of a test set joined to long texts, in the two upper classes of length."""
    harmless = [text for text, label in zip(jig.texts, jig.labels, strict=True) if label == 0]
    lengths = [text.total for text in tokenize(harmless, model.tokenizer)]
    rng, texts = np.random.default_rng(0), []
    for (low, high), count in zip(LENGTHS[2:], JOINED, strict=True):
        joined: list[str] = []
        parts, total, target = [], 0, _length(low, high, rng)
        for row in rng.permutation(len(harmless)):
            if total and total + lengths[row] > high:
                parts, total, target = [], 0, _length(low, high, rng)
            parts.append(harmless[row])
            total += lengths[row] + 1
            if total >= target:
                joined.append("\n".join(parts))
                parts, total, target = [], 0, _length(low, high, rng)
        texts += joined[: min(count, limit or count)]
    return TestSet.of("harmless comments joined", texts, [0] * len(texts), ["joined"] * len(texts))


def in_length(tokens: np.ndarray, low: int, high: int) -> np.ndarray:
    """(text,) boolean, whether a text is of a class of length."""
    return (tokens >= low) & (tokens <= high)


def _pairs(texts: Texts, fitted_on: Set[str]) -> TestSet:
    """The first ``PAIRS`` pairs, in random order, neither text of which was fitted on."""
    half = len(texts) // 2
    known = [letters_and_digits(text) in fitted_on for text in texts.texts]
    pairs = [pair for pair in range(half) if not (known[pair] or known[pair + half])]
    pairs = np.sort(np.random.default_rng(0).permutation(pairs)[:PAIRS]).astype(int)
    rows = np.concatenate([pairs, pairs + half])
    one = TestSet.of("para", texts.texts, texts.columns["positive"]).take(rows)
    return TestSet("para", one.texts, one.labels, one.kinds, groups=rows % half)


def _spans_beside_ordinary(folder: Path) -> TestSet:
    """Toxic texts, and as many beginnings of ordinary documents with their numbers of words."""
    toxic = [row["text"] for row in _csv(folder / "toxic-spans/tsd_trial.csv")]
    held = [text for _, text in unfitted_documents(folder)]
    order = np.random.default_rng(0).permutation(len(held))
    words = [len(text.split()) for text in toxic]
    ordinary = [" ".join(held[row].split(" ")[:count]) for row, count in zip(order, words, strict=False)]
    return TestSet.of("tsd", [*toxic, *ordinary], [1] * len(toxic) + [0] * len(ordinary))


def _windows(
    stream: str, offsets: Sequence[tuple[int, int]], low: int, high: int, rng: np.random.Generator
) -> list[str]:
    """A text cut into windows one after the other, their lengths drawn on a log scale."""
    windows, start = [], 0
    while start + low <= len(offsets):
        stop = min(start + _length(low, high, rng), len(offsets))
        words = stream[offsets[start][0] : offsets[stop - 1][1]].split(" ")
        windows.append(" ".join(words[1:-1] if len(words) > 3 else words).strip())
        start = stop
    return windows


def _length(low: int, high: int, rng: np.random.Generator) -> int:
    return int(math.exp(rng.uniform(math.log(low), math.log(high + 1))))


def _csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
