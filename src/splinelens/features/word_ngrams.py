"""The n-grams of one to three words of a corpus, and where each of them occurs.

Each names the two n-grams of one word less within it, so that a ranking can compare it with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

_LONGEST = 3  # words


@dataclass(frozen=True, eq=False)
class WordNgrams:
    """The n-grams that enough texts hold, and where each of them occurs.

    Attributes:
        words: The words of each n-gram.
        suffix: The n-gram of all words but the first; -1 of a single word.
        prefix: The n-gram of all words but the last; -1 of a single word.
        texts: How many texts hold it.
        ngram: The n-gram of each occurrence, ascending.
        last: Index of its last word among the words of all texts, one text after the other.
        text: Index of its text.
    """

    words: tuple[tuple[str, ...], ...]
    suffix: Int[np.ndarray, " ngram"]
    prefix: Int[np.ndarray, " ngram"]
    texts: Int[np.ndarray, " ngram"]
    ngram: Int[np.ndarray, " occurrence"]
    last: Int[np.ndarray, " occurrence"]
    text: Int[np.ndarray, " occurrence"]

    def __len__(self) -> int:
        return len(self.words)

    @property
    def names(self) -> tuple[str, ...]:
        """The n-grams with a space between words."""
        return tuple(" ".join(words) for words in self.words)

    def occurrences(self, ngram: int) -> slice:
        """Where the entries of an n-gram are in ``ngram``, ``last`` and ``text``."""
        first, end = np.searchsorted(self.ngram, [ngram, ngram + 1]).tolist()
        return slice(first, end)

    def texts_with(self, ngram: int) -> Int[np.ndarray, " holding"]:
        """The texts that hold an n-gram, each once."""
        return np.unique(self.text[self.occurrences(ngram)])

    def within(self, texts: Bool[np.ndarray, " text"], *, least_texts: int = 1) -> "WordNgrams":
        """The n-grams that enough of some texts hold, and where they occur in these.

        Args:
            texts: Whether a text counts; it keeps its index, and its words keep theirs.
            least_texts: Of these texts; rarer n-grams are left out.
        """
        here = texts[self.text]
        pairs = np.unique(np.stack([self.ngram[here], self.text[here]]), axis=1)
        held = np.bincount(pairs[0], minlength=len(self))
        chosen = np.flatnonzero(held >= least_texts)  # with each n-gram also those within it
        number = np.full(len(self) + 1, -1)  # the last entry is that of no n-gram, -1
        number[chosen] = np.arange(len(chosen))
        here &= number[self.ngram] >= 0
        return WordNgrams(
            words=tuple(self.words[index] for index in chosen.tolist()),
            suffix=number[self.suffix[chosen]],
            prefix=number[self.prefix[chosen]],
            texts=held[chosen],
            ngram=number[self.ngram[here]],
            last=self.last[here],
            text=self.text[here],
        )


def word_ngrams(texts: Sequence[Sequence[str]], *, least_texts: int = 1) -> WordNgrams:
    """The n-grams of one to three words that ``least_texts`` texts hold.

    Args:
        texts: The words of each text, in order; no n-gram holds an empty one, such as of punctuation.
        least_texts: Rarer n-grams are left out.

    Returns:
        Single words first, then pairs, and so on; each kind in alphabetical order.

    Example:
        >>> ngrams = word_ngrams([["oh", "you", "fool"], ["you", "fool"]], least_texts=2)
        >>> ngrams.names, ngrams.suffix.tolist(), ngrams.texts.tolist()
        (('fool', 'you', 'you fool'), [-1, -1, 0], [2, 2, 2])
        >>> [(ngrams.names[ngram], int(last)) for ngram, last in zip(ngrams.ngram, ngrams.last, strict=True)]
        [('fool', 2), ('fool', 4), ('you', 1), ('you', 3), ('you fool', 2), ('you fool', 4)]
    """
    flat = [word for words in texts for word in words]
    vocabulary = sorted({*flat})
    index = {key: number for number, key in enumerate(vocabulary)}
    word = np.array([index[key] for key in flat], dtype=int)
    text = np.repeat(np.arange(len(texts)), [len(words) for words in texts])
    known = len(vocabulary) + 1
    names: list[tuple[str, ...]] = []
    prefixes, suffixes, counts = [_none()], [_none()], [_none()]
    occurrences: list[tuple[np.ndarray, np.ndarray]] = []
    before = np.full(len(flat), -1)  # the n-gram of one word less that ends at each word
    for size in range(1, _LONGEST + 1):
        ends = np.arange(len(flat))
        prefix = np.full(len(flat), -1)
        if size > 1:
            prefix[1:] = np.where(text[1:] == text[:-1], before[:-1], -1)
            ends = ends[(prefix >= 0) & (before >= 0)]
        keys, ngram = np.unique((prefix[ends] + 1) * known + word[ends], return_inverse=True)
        pairs = np.unique(np.stack([ngram, text[ends]]), axis=1)
        held = np.bincount(pairs[0], minlength=len(keys))
        enough = held >= least_texts
        if size == 1 and vocabulary[:1] == [""]:
            enough[0] = False
        chosen = np.flatnonzero(enough)
        if not len(chosen):
            break
        spelled = [
            ((*names[key // known - 1], vocabulary[key % known]) if size > 1 else (vocabulary[key],))
            for key in keys[chosen].tolist()
        ]
        order = sorted(range(len(chosen)), key=spelled.__getitem__)
        number = np.full(len(keys), -1)
        number[chosen[order]] = len(names) + np.arange(len(chosen))
        here = number[ngram]
        ends, here = ends[here >= 0], here[here >= 0]
        first = np.unique(here, return_index=True)[1]
        prefixes.append(prefix[ends[first]])
        suffixes.append(before[ends[first]])
        counts.append(held[chosen[order]])
        names += [spelled[at] for at in order]
        occurrences.append((np.sort(here), ends[np.argsort(here, kind="stable")]))
        before = np.full(len(flat), -1)
        before[ends] = here
    ngram_of, last = (np.concatenate([_none(), *(pair[at] for pair in occurrences)]) for at in (0, 1))
    return WordNgrams(
        words=tuple(names),
        suffix=np.concatenate(suffixes),
        prefix=np.concatenate(prefixes),
        texts=np.concatenate(counts),
        ngram=ngram_of,
        last=last,
        text=text[last],
    )


def _none() -> Int[np.ndarray, " 0"]:
    return np.zeros(0, dtype=int)
