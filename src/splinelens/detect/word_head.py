"""A linear head that says which words of a text people would mark, on what a detector says of each word.

It reads the word's learned margins, its Shapley value and how that compares with the other words of the text,
and perhaps how often people marked the word. It is fitted to texts whose words were marked, as those of
SemEval-2021 task 5, and belongs to one detector.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Int32, UInt64

from splinelens.detect.artifact_files import ArtifactFiles
from splinelens.detect.heads import LinearHead
from splinelens.detect.pooled_shapley import STRONG
from splinelens.errors import BadFeatures, BrokenArtifact
from splinelens.features.token_margins import highest_of_words

FILES = ArtifactFiles(
    "a word head",
    "words.json",
    "words.safetensors",
    1,
    "fit it again with benchmarks/word_head.py",
    (1_000_000, 10_000_000),
)

_COUNTS = ("word", "marked", "places")
_FAR = 6.0  # standard deviations at which columns are cut


@dataclass(frozen=True, eq=False)
class MarkedCounts:
    """How often people marked each word; words are kept as hashes, so that no list of them is stored.

    Attributes:
        word: Hashes of the words, rising.
        marked: Places at which people marked each.
        places: Its places.
    """

    word: UInt64[np.ndarray, " word"]
    marked: Int32[np.ndarray, " word"]
    places: Int32[np.ndarray, " word"]

    @classmethod
    def of(cls, texts: Iterable[tuple[Sequence[str], Bool[np.ndarray, " _"]]]) -> "MarkedCounts":
        """Count the words of some texts, each with whether it was marked.

        A word at one place that was never marked is left out.

        Example:
            >>> counts = MarkedCounts.of([(["you", "fool", "fool"], np.array([False, True, False]))])
            >>> counts.share(["fool", "you", "goose"]).tolist()
            [0.25, 0.0, 0.0]
        """
        marked: Counter[int] = Counter()
        places: Counter[int] = Counter()
        for keys, chosen in texts:
            for key, mark in zip(keys, chosen.tolist(), strict=True):
                number = _hash(key)
                places[number] += 1
                marked[number] += bool(mark)
        kept = sorted(number for number, count in places.items() if count > 1 or marked[number])
        return cls(
            np.array(kept, dtype=np.uint64),
            np.array([marked[number] for number in kept], dtype=np.int32),
            np.array([places[number] for number in kept], dtype=np.int32),
        )

    def share(self, keys: Sequence[str]) -> Float[np.ndarray, " word"]:
        """The share of its places at which each word was marked, with two unmarked places added."""
        marked, places = self._counts(keys)
        return marked / (places + 2)

    def columns(self, keys: Sequence[str]) -> Float[np.ndarray, "word 6"]:
        """What a word head reads of the counts of each word of a text."""
        marked, places = self._counts(keys)
        share = (marked + 0.1) / (places + 2)
        more = [share, (marked + 0.4) / (places + 8), np.log1p(places), places == 0]
        return np.column_stack([*more, share / max(share.max(initial=0.0), 1e-6), share**2]).astype(
            np.float64
        )

    def _counts(self, keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        number = np.array([_hash(key) for key in keys], dtype=np.uint64)
        if not len(self.word):
            return np.zeros(len(number)), np.zeros(len(number))
        at = np.minimum(np.searchsorted(self.word, number), len(self.word) - 1)
        known = self.word[at] == number
        return np.where(known, self.marked[at], 0), np.where(known, self.places[at], 0)


@dataclass(frozen=True, eq=False)
class WordHead:
    """A fitted head.

    Attributes:
        head: On standardized columns of ``word_columns``, and of the counts if there are any; columns are cut
            at 6 standard deviations.
        share: A word is marked if its score reaches this share of the largest score of the text,
        least: and this score.
        detector: Digest of the detector that it belongs to.
        record: What it was fitted on and what was measured, plain JSON values.
        counts: How often people marked each word; None if it does not read that.
    """

    head: LinearHead
    share: float
    least: float
    detector: str
    record: dict[str, Any]  # Any: plain JSON values
    counts: MarkedCounts | None = None

    @classmethod
    def load(cls, folder: Path) -> "WordHead":
        """The head in a folder.

        Raises:
            BrokenArtifact: Missing or damaged files.
        """
        record = FILES.read_manifest(folder)
        arrays = FILES.read_arrays(folder, record.pop("arrays", None))
        counted = [arrays.pop(name, None) for name in _COUNTS]
        head = LinearHead.from_arrays(arrays)
        share, least, owner = (record.pop(name, None) for name in ("share", "least", "detector"))
        if not (isinstance(share, float) and isinstance(least, float) and isinstance(owner, str)):
            raise BrokenArtifact(
                f"the word head in {folder} does not say when a word is marked; {FILES.again}"
            )
        return cls(head, share, least, owner, record, _counts_of(counted, folder))

    def write(self, folder: Path) -> None:
        """Write it into a folder.

        Raises:
            CannotWrite: The folder cannot be written.
        """
        values = {"share": self.share, "least": self.least, "detector": self.detector, **self.record}
        counts = self.counts
        counted = {} if counts is None else {name: getattr(counts, name) for name in _COUNTS}
        FILES.write(folder, values, self.head.arrays() | counted)

    def scores(
        self, columns: Float[np.ndarray, "word column"], keys: Sequence[str]
    ) -> Float[np.ndarray, " word"]:
        """The score of each word, around 1 where people mark it and 0 where they do not.

        Args:
            columns: As ``word_columns`` gives them.
            keys: The words, in lower case.

        Raises:
            BadFeatures: Another number of columns than the head has.
        """
        if self.counts is not None:
            columns = np.concatenate([columns, self.counts.columns(keys)], axis=1)
        if columns.shape[1] != self.head.width:
            raise BadFeatures(f"the word head has {self.head.width} columns, not {columns.shape[1]}")
        far = _FAR * self.head.scale
        return self.head.logit(np.clip(columns, self.head.mean - far, self.head.mean + far))[:, 0]

    def marked(self, scores: Float[np.ndarray, " word"]) -> Bool[np.ndarray, " word"]:
        """Which words of a text are marked."""
        if not len(scores):
            return np.zeros(0, dtype=bool)
        return (scores >= self.share * scores.max()) & (scores >= self.least)


def word_columns(
    margins: Float[np.ndarray, "token direction"],
    word: Int[np.ndarray, " token"],
    value: Float[np.ndarray, " word"],
    function_word: Bool[np.ndarray, " word"],
    letters: Int[np.ndarray, " word"],
) -> Float[np.ndarray, "word column"]:
    """What a word head reads of each word of a text.

    Args:
        margins: The learned margins of the text's tokens.
        word: The word of each token.
        value: The Shapley value of each word, as ``shapley_of_words`` gives it.
        function_word: Whether it is a function word.
        letters: Its characters.

    Returns:
        Twelve numbers of the word, four of the word before and after it (0 at the ends), and the highest and
        the lowest margins of its tokens.
    """
    words = len(value)
    largest = max(float(value.max(initial=0.0)), 1e-6)
    share = value / largest
    strong = share >= STRONG
    numbers = np.stack(
        [
            value,
            share,
            strong,
            function_word,
            share**2,
            np.sqrt(np.maximum(share, 0)),
            strong & ~function_word,
            share >= 1,
            letters,
            np.full(words, np.log(max(words, 1))),
            np.full(words, value.sum()),
            np.full(words, largest),
        ],
        axis=1,
    ).astype(np.float64)
    nothing = np.zeros((1, 4))
    beside = [np.concatenate([nothing, numbers[:-1, :4]]), np.concatenate([numbers[1:, :4], nothing])]
    highest = highest_of_words(margins, word, words)
    lowest = -highest_of_words(-margins, word, words)
    return np.concatenate([numbers, *(part[:words] for part in beside), highest, lowest], axis=1)


def _hash(word: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )


def _counts_of(arrays: Sequence[np.ndarray | None], folder: Path) -> MarkedCounts | None:
    """The counts that were stored, checked; None if there are none."""
    word, marked, places = arrays
    if word is None or marked is None or places is None:
        if word is marked is places:
            return None
        raise BrokenArtifact(f"the word head in {folder} has a part of its counts only; {FILES.again}")
    kinds = [array.dtype for array in (word, marked, places)]
    if (
        kinds != [np.uint64, np.int32, np.int32]
        or not word.ndim == 1
        or not word.shape == marked.shape == places.shape
    ):
        raise BrokenArtifact(f"the counts of the word head in {folder} do not fit each other; {FILES.again}")
    return MarkedCounts(word, marked, places)
