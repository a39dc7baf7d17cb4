"""Reads Universal Propositions (dev of UP English-EWT 1.0) and the PropBank frames: roles of argument heads.

``DIR/srl-ewt`` holds ``en_ewt-up-dev.conllu`` (CDLA-Sharing-1.0) and ``frames.jsonl`` (CC BY-SA 4.0).
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

FOLDER, CONLLU, FRAMES = "srl-ewt", "en_ewt-up-dev.conllu", "frames.jsonl"


@dataclass(frozen=True)
class Predicate:
    """A predicate of a sentence.

    Attributes:
        word: Index of its word, from 0.
        roleset: Its sense, such as ``come.03``.
        arguments: Index of each argument's head word and its role, such as ``ARG0`` or ``ARGM-TMP``.
    """

    word: int
    roleset: str
    arguments: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Sentence:
    """One sentence with its gold tree.

    Attributes:
        name: As in the file.
        text: As written; the words stand in it in order, with white space or nothing between.
        words: Forms.
        lemmas: Lemmas.
        tags: Universal parts of speech.
        fine_tags: Those of the Penn Treebank.
        heads: Index of each word's head, from 0; -1 for the root.
        relations: Universal dependency relation to it.
        features: Morphological ones, such as ``Voice=Pass``, as in the file.
        predicates: In the order of their words.
    """

    name: str
    text: str
    words: tuple[str, ...]
    lemmas: tuple[str, ...]
    tags: tuple[str, ...]
    fine_tags: tuple[str, ...]
    heads: tuple[int, ...]
    relations: tuple[str, ...]
    features: tuple[str, ...]
    predicates: tuple[Predicate, ...]

    @cached_property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """Characters (begin, end) of each word in the text."""
        spans, at = [], 0
        for word in self.words:
            begin = self.text.index(word, at)
            at = begin + len(word)
            spans.append((begin, at))
        return tuple(spans)


@dataclass(frozen=True)
class Frame:
    """A sense of the frames: its name and what its numbered roles are, such as ``{"ARG0": "performer"}``."""

    roleset: str
    name: str
    roles: dict[str, str]


def read_sentences(data: Path) -> list[Sentence]:
    """All sentences, in the order of the file."""
    content = (data / FOLDER / CONLLU).read_text(encoding="utf-8")
    return [_sentence(block) for block in content.strip("\n").split("\n\n")]


def read_frames(data: Path) -> dict[str, Frame]:
    """The senses by their roleset; some of the treebank's are not among them."""
    frames = {}
    for line in (data / FOLDER / FRAMES).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        roles = {f"ARG{role['n'].upper()}": role["descr"] for role in row["roles"]}
        frames[row["roleset"]] = Frame(row["roleset"], row["name"], roles)
    return frames


def _sentence(block: str) -> Sentence:
    lines = block.split("\n")
    known = dict(line[2:].split(" = ", 1) for line in lines if line.startswith("# ") and " = " in line)
    # "8-9" is a range of words and "8.1" an empty node of the enhanced graph: no words of the tree
    rows = [row for line in lines if line[:1] != "#" and (row := line.split("\t"))[0].isdigit()]
    predicates = [index for index, row in enumerate(rows) if row[10] not in ("_", "")]
    found = []
    for column, word in enumerate(predicates, 11):  # from the left: some lines end in an empty column
        roles = [(index, row[column]) for index, row in enumerate(rows) if row[column] not in ("_", "", "V")]
        found.append(Predicate(word, rows[word][10], tuple(roles)))
    columns = list(zip(*(row[:10] for row in rows), strict=True))
    return Sentence(
        name=known["sent_id"],
        text=known["text"],
        words=columns[1],
        lemmas=columns[2],
        tags=columns[3],
        fine_tags=columns[4],
        features=columns[5],
        heads=tuple(int(head) - 1 for head in columns[6]),
        relations=columns[7],
        predicates=tuple(found),
    )
