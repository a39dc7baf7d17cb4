"""A linear head that says which words of a text people would mark, on what a detector says of each word.

It reads the word's learned margins, its Shapley value and how that compares with the other words of the text.
It is fitted to texts whose words were marked, as in SemEval-2021 task 5, and belongs to one detector.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

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

_FAR = 6.0  # standard deviations at which columns are cut


@dataclass(frozen=True, eq=False)
class WordHead:
    """A fitted head.

    Attributes:
        head: On standardized columns of ``word_columns``, which are cut at 6 standard deviations.
        share: A word is marked if its score reaches this share of the largest score of the text,
        least: and this score.
        detector: Digest of the detector that it belongs to.
        record: What it was fitted on and what was measured, plain JSON values.
    """

    head: LinearHead
    share: float
    least: float
    detector: str
    record: dict[str, Any]  # Any: plain JSON values

    @classmethod
    def load(cls, folder: Path) -> "WordHead":
        """The head in a folder.

        Raises:
            BrokenArtifact: Missing or damaged files.
        """
        record = FILES.read_manifest(folder)
        arrays = FILES.read_arrays(folder, record.pop("arrays", None))
        head = LinearHead.from_arrays(arrays)
        share, least, owner = (record.pop(name, None) for name in ("share", "least", "detector"))
        if not (isinstance(share, float) and isinstance(least, float) and isinstance(owner, str)):
            raise BrokenArtifact(
                f"the word head in {folder} does not say when a word is marked; {FILES.again}"
            )
        return cls(head, share, least, owner, record)

    def write(self, folder: Path) -> None:
        """Write it into a folder.

        Raises:
            CannotWrite: The folder cannot be written.
        """
        values = {"share": self.share, "least": self.least, "detector": self.detector, **self.record}
        FILES.write(folder, values, self.head.arrays())

    def scores(self, columns: Float[np.ndarray, "word column"]) -> Float[np.ndarray, " word"]:
        """The score of each word, around 1 where people mark it and 0 where they do not.

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
