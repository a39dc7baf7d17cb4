"""A linear head that says which words of a text people would mark, on what a detector says of each word.

It reads the word's learned margins, its Shapley value and how that compares with the other words of the text,
and perhaps how often people marked the word. It is fitted to texts whose words were marked, as those of
SemEval-2021 task 5, and belongs to one detector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from splinelens.detect.artifact_files import ArtifactFiles
from splinelens.detect.heads import LinearHead
from splinelens.detect.pooled_shapley import FIRES, highest_of_words
from splinelens.detect.shipped import shipped
from splinelens.errors import BadFeatures, BrokenArtifact
from splinelens.features.marked_counts import COUNT_COLUMNS, MarkedCounts

FILES = ArtifactFiles(
    "a word head",
    "words.json",
    "words.safetensors",
    1,
    "fit it again with benchmarks/word_head.py",
    (1_000_000, 10_000_000),
)

WORD_COLUMNS = (
    "Shapley value",
    "share of the largest value",
    "at least 0.45 of it",
    "function word",
    "square of the share",
    "root of the share",
    "at least 0.45 of it and no function word",
    "the largest",
    "characters",
    "log of the words of the text",
    "sum of the values",
    "largest value",
)
"""What a word head reads of a word, before its neighbors and margins. A linear head can neither bend nor
multiply: the square and the root of the share stand for a curve, the bounds at 0.45 and at the largest for
the steps of ``firing_words``, and numbers of the text, equal for all its words, move the limit for short and
for strong texts."""

_BESIDE = 4  # the first of these are also read of the word before and after
_WIDTH = len(WORD_COLUMNS) + 2 * _BESIDE  # and two for each direction
_COUNTS = ("word", "marked", "occurrences")
_FAR = 6.0  # standard deviations at which columns are cut


@dataclass(frozen=True, eq=False)
class WordHead:
    """A fitted head.

    Attributes:
        head: On standardized columns of ``word_columns``, and of the counts if there are any; columns are cut
            at 6 standard deviations.
        share_of_largest: The score of a marked word reaches this share of the largest score of the text.
        least: The score of a marked word reaches this, too.
        detector: Digest of the detector that it belongs to.
        record: What it was fitted on and what was measured, plain JSON values.
        counts: How often people marked each word; None if it does not read that.
    """

    head: LinearHead
    share_of_largest: float
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
        limits = ("share_of_largest", "least", "detector")
        share, least, owner = (record.pop(name, None) for name in limits)
        if not (isinstance(share, float) and isinstance(least, float) and isinstance(owner, str)):
            raise BrokenArtifact(
                f"the word head in {folder} does not say when a word is marked; {FILES.again}"
            )
        if not (0 <= share <= 1 and np.isfinite(least)):
            raise BrokenArtifact(
                f"the word head in {folder} marks words from {share} of the largest score and {least} on, "
                f"which are no such limits; {FILES.again}"
            )
        counts = _counts_of(counted, folder)
        margins = head.width - _WIDTH - (0 if counts is None else len(COUNT_COLUMNS))
        if len(head.weight) != 1 or margins < 2 or margins % 2:
            raise BrokenArtifact(
                f"the word head in {folder} has {head.width} columns for {len(head.weight)} labels, which no "
                f"word has; {FILES.again}"
            )
        return cls(head, share, least, owner, record, counts)

    def write(self, folder: Path) -> None:
        """Write it into a folder.

        Raises:
            CannotWrite: The folder cannot be written.
        """
        limits = {"share_of_largest": self.share_of_largest, "least": self.least}
        values = {**limits, "detector": self.detector, **self.record}
        counts = self.counts
        counted = {} if counts is None else {name: getattr(counts, name) for name in _COUNTS}
        FILES.write(folder, values, self.head.arrays() | counted)

    def scores(self, columns: Float[np.ndarray, "word column"]) -> Float[np.ndarray, " word"]:
        """The score of each word, around 1 where people mark it and 0 where they do not.

        Args:
            columns: As ``word_columns`` gives them, then those of ``counts``.

        Raises:
            BadFeatures: Another number of columns than the head has.
        """
        if columns.shape[1] != self.head.width:
            raise BadFeatures(f"the word head has {self.head.width} columns, not {columns.shape[1]}")
        far = _FAR * self.head.scale
        return self.head.logit(np.clip(columns, self.head.mean - far, self.head.mean + far))[:, 0]

    def marked(self, scores: Float[np.ndarray, " word"]) -> Bool[np.ndarray, " word"]:
        """Which words of a text are marked."""
        if not len(scores):
            return np.zeros(0, dtype=bool)
        return (scores >= self.share_of_largest * scores.max()) & (scores >= self.least)


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
        The twelve ``WORD_COLUMNS`` of the word, the first four of the word before and of the word after it (0
        at the ends), and the highest and the lowest margins of its tokens.
    """
    words = len(value)
    largest = max(float(value.max(initial=0.0)), 1e-6)
    share = value / largest
    fires = share >= FIRES
    root = np.sqrt(np.maximum(share, 0))
    of_word = (
        value,
        share,
        fires,
        function_word,
        share**2,
        root,
        fires & ~function_word,
        share >= 1,
        letters,
    )
    of_text = (np.full(words, number) for number in (np.log(max(words, 1)), value.sum(), largest))
    numbers = np.stack([*of_word, *of_text], axis=1).astype(np.float64)
    end, neighbor = np.zeros((1, _BESIDE)), numbers[:, :_BESIDE]
    before, after = np.concatenate([end, neighbor[:-1]]), np.concatenate([neighbor[1:], end])
    highest = highest_of_words(margins, word, words)
    lowest = -highest_of_words(-margins, word, words)
    return np.concatenate([numbers, before[:words], after[:words], highest, lowest], axis=1)


def shipped_word_head(name: str, digest: str) -> WordHead | None:
    """The word head that comes with a shipped detector; None if it has none.

    Args:
        name: Of the detector.
        digest: Of the detector; the head of another one is not used.

    Raises:
        BrokenArtifact: Its files are damaged.
    """
    folder = shipped().get(name)
    if folder is None or not (folder / FILES.manifest).is_file():
        return None
    head = WordHead.load(folder)
    return head if head.detector == digest else None


def _counts_of(arrays: Sequence[np.ndarray | None], folder: Path) -> MarkedCounts | None:
    """The counts that were stored, checked; None if there are none."""
    word, marked, occurrences = arrays
    if word is None or marked is None or occurrences is None:
        if word is marked is occurrences:
            return None
        raise BrokenArtifact(f"the word head in {folder} has a part of its counts only; {FILES.again}")
    kinds = [array.dtype for array in (word, marked, occurrences)]
    if (
        kinds != [np.uint64, np.int32, np.int32]
        or not word.ndim == 1
        or not word.shape == marked.shape == occurrences.shape
    ):
        raise BrokenArtifact(f"the counts of the word head in {folder} do not fit each other; {FILES.again}")
    if (word[1:] <= word[:-1]).any() or (marked < 0).any() or (marked > occurrences).any():
        raise BrokenArtifact(f"the counts of the word head in {folder} are no counts; {FILES.again}")
    return MarkedCounts(word, marked, occurrences)
