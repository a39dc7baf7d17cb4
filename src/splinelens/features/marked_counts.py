"""How often people marked each word of a corpus, and the columns that a word head reads of it."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int32, UInt64

COUNT_COLUMNS = (
    "share marked, two occurrences added",
    "share marked, eight occurrences added",
    "log of 1 + occurrences",
    "never seen",
    "share beside the largest of the text",
    "square of the share",
)
"""Of a word. The share of a rare word says little: it is pulled to a twentieth by two and by eight added
occurrences, and a linear head weighs both with the number of occurrences. The square lets it bend."""


@dataclass(frozen=True, eq=False)
class MarkedCounts:
    """How often people marked each word; words are kept as hashes, so that no list of them is stored.

    Attributes:
        word: Hashes of the words, rising.
        marked: Occurrences of each that people marked.
        occurrences: All its occurrences.
    """

    word: UInt64[np.ndarray, " word"]
    marked: Int32[np.ndarray, " word"]
    occurrences: Int32[np.ndarray, " word"]

    @classmethod
    def of(cls, texts: Iterable[tuple[Sequence[str], Bool[np.ndarray, " _"]]]) -> "MarkedCounts":
        """Count the words of some texts, each with whether it was marked.

        A word that occurs once and was not marked is left out.

        Example:
            >>> counts = MarkedCounts.of([(["you", "fool", "fool"], np.array([False, True, False]))])
            >>> counts.share(["fool", "you", "goose"]).tolist()
            [0.25, 0.0, 0.0]
        """
        marked: Counter[int] = Counter()
        occurrences: Counter[int] = Counter()
        for keys, chosen in texts:
            for key, mark in zip(keys, chosen.tolist(), strict=True):
                number = _hash(key)
                occurrences[number] += 1
                marked[number] += bool(mark)
        stored = sorted(number for number, count in occurrences.items() if count > 1 or marked[number])
        return cls(
            np.array(stored, dtype=np.uint64),
            np.array([marked[number] for number in stored], dtype=np.int32),
            np.array([occurrences[number] for number in stored], dtype=np.int32),
        )

    def share(self, keys: Sequence[str]) -> Float[np.ndarray, " word"]:
        """The share of its occurrences that people marked, of each word, with two unmarked ones added."""
        marked, occurrences = self._counts(keys)
        return marked / (occurrences + 2)

    def columns(self, keys: Sequence[str]) -> Float[np.ndarray, "word count"]:
        """What a word head reads of the counts of each word of a text: ``COUNT_COLUMNS``.

        Args:
            keys: The words, in lower case.
        """
        marked, occurrences = self._counts(keys)
        share = (marked + 0.1) / (occurrences + 2)
        cautious = (marked + 0.4) / (occurrences + 8)
        unseen, beside = occurrences == 0, share / max(share.max(initial=0.0), 1e-6)
        columns = [share, cautious, np.log1p(occurrences), unseen, beside, share**2]
        return np.column_stack(columns).astype(np.float64)

    def _counts(self, keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        number = np.array([_hash(key) for key in keys], dtype=np.uint64)
        if not len(self.word):
            return np.zeros(len(number)), np.zeros(len(number))
        at = np.minimum(np.searchsorted(self.word, number), len(self.word) - 1)
        known = self.word[at] == number
        return np.where(known, self.marked[at], 0), np.where(known, self.occurrences[at], 0)


def _hash(word: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )
