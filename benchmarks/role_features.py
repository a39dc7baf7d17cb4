"""What heads of roles read in the study: features of every word, read once and kept in a folder, and words."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from up_ewt import Sentence

import splinelens
from splinelens.texts.parse import Tree

LAYERS = (2, 7, 12, 17, 22, 27)
KINDS = ("margin", "hidden")
_CHUNK = 200  # sentences of a file


def read_words(sentences: list[Sentence], cache: Path, *, twice: bool) -> dict[str, np.ndarray]:
    """(word, width) margins and hidden states at the last token of every word, by kind and layer, as float16.

    Args:
        sentences: In the order of the rows.
        cache: Folder; a stopped run continues.
        twice: Read each sentence after itself, so that a word's numbers may depend on the words after it.
    """
    folder = cache / ("twice" if twice else "once")
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"layer{layer:02d}.{kind}_last" for layer in LAYERS for kind in KINDS]
    for start in range(0, len(sentences), _CHUNK):
        chunk, part = sentences[start : start + _CHUNK], folder / f"{start:05d}"
        if part.is_dir():
            continue
        skip = [len(sentence.text) + 1 if twice else 0 for sentence in chunk]
        table = splinelens.extract(
            [f"{sentence.text}\n{sentence.text}" if twice else sentence.text for sentence in chunk],
            features=["margins", "hidden"],
            layers=LAYERS,
            pooling="last",
            at=[
                [(begin + by, end + by) for begin, end in sentence.spans]
                for sentence, by in zip(chunk, skip, strict=True)
            ],
        )
        if not table.ok.all():
            raise SystemExit(f"words without features: {[reason for reason in table.reasons if reason][:3]}")
        unfinished = part.with_suffix(".part")
        unfinished.mkdir(exist_ok=True)
        for name in names:
            np.save(unfinished / f"{name}.npy", np.stack(table.column(name)).astype(np.float16))
        unfinished.rename(part)
        print(f"{part}: {len(table)} words", flush=True)
    return {
        name: np.concatenate([np.load(part / f"{name}.npy") for part in sorted(folder.iterdir())])
        for name in names
    }


def word_clues(tree: Tree, predicate: int, word: int) -> list[str]:
    """Clues that need no tree: both words, their neighbors, order and distance."""
    words = [each.lower() for each in tree.words]
    side = "before" if word < predicate else "after"
    steps = min(abs(word - predicate), 10)
    verb, noun = words[predicate], words[word]
    before, after = _at(words, word - 1), _at(words, word + 1)
    return [
        side,
        f"{side} {steps}",
        f"word {noun}",
        f"predicate {verb}",
        f"word {noun} {side}",
        f"predicate {verb} {side}",
        f"both {noun} {verb} {side}",
        f"left {before}",
        f"right {after}",
        f"left2 {_at(words, word - 2)} {before}",
        f"predicate left {_at(words, predicate - 1)}",
        f"predicate right {_at(words, predicate + 1)}",
        f"predicate left {_at(words, predicate - 1)} {side}",
        f"predicate left2 {_at(words, predicate - 2)}",
        f"predicate right {_at(words, predicate + 1)} {side}",
        f"end {noun[-3:]} {side}",
        f"predicate end {verb[-3:]} {side}",
        f"left {before} {verb}",
    ]


def _at(words: Sequence[str], place: int) -> str:
    return words[place] if 0 <= place < len(words) else "-"
