"""Features of every word of Universal Propositions, read once and kept in a folder."""

from pathlib import Path

import numpy as np
from up_ewt import Sentence

import splinelens

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
