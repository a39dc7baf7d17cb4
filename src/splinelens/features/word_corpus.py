"""The words of many texts, numbered one text after the other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True)
class TextWords:
    """The words of a text.

    Attributes:
        keys: In lower case, without the punctuation around them; an empty one is no word.
        bounds: Characters of each of these.
        of_token: The word of each token that was read.
    """

    keys: tuple[str, ...]
    bounds: tuple[tuple[int, int], ...]
    of_token: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class WordCorpus:
    """Texts and their words.

    Attributes:
        texts: The texts.
        words: The words of each.
        start: Index of the first word of each among the words of all.
    """

    texts: tuple[str, ...]
    words: tuple[TextWords, ...]
    start: Int[np.ndarray, " text"]

    @classmethod
    def of(cls, texts: Sequence[str], words: Sequence[TextWords]) -> "WordCorpus":
        """Number the words of texts.

        Example:
            >>> one = TextWords(("oh", "fool"), ((0, 2), (3, 7)), ())
            >>> WordCorpus.of(["oh fool", "oh fool"], [one, one]).text_of_word.tolist()
            [0, 0, 1, 1]
        """
        sizes = [len(one.keys) for one in words]
        return cls(tuple(texts), tuple(words), np.cumsum([0, *sizes[:-1]]))

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def keys(self) -> list[str]:
        """The words of all texts."""
        return [key for one in self.words for key in one.keys]

    @property
    def text_of_word(self) -> Int[np.ndarray, " word"]:
        """The text of each word."""
        return np.repeat(np.arange(len(self)), [len(one.keys) for one in self.words])
