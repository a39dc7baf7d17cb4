"""The labelled rows that detectors are fitted on and measured with, read from the evaluation data.

No row that fits a detector shares its normalised text with a test row of ``jigsaw-test-binary-12k``.
"""

from dataclasses import dataclass
from pathlib import Path

from splinelens.texts.evaluation import read_evaluation, repeats


@dataclass(frozen=True)
class Row:
    """One labelled text: 1 is toxic."""

    text: str
    label: int
    source: str


def jig12k(data: Path, split: str) -> list[Row]:
    """Balanced Jigsaw comments; ``split`` is ``train`` or ``test``."""
    return _rows(data, "jig", "jig12k", split=split)


def jigsaw6(data: Path, form: str) -> list[Row]:
    """Training rows of Jigsaw's six labels, ``raw`` or ``clean`` text; toxic is any of the six."""
    return _rows(data, form, f"jigsaw6-{form}", split="train", in_test12k="0")


def paradetox(data: Path) -> list[Row]:
    """Toxic sentences and their first detoxified paraphrase, each pair together."""
    rows = _rows(data, "para", "paradetox")
    pairs = len(rows) // 2
    return [row for pair in zip(rows[:pairs], rows[pairs:], strict=True) for row in pair]


def tweeteval(data: Path, split: str) -> list[Row]:
    """Tweets, offensive or not."""
    return _rows(data, "tweet", "tweeteval", split=split)


def identity_mentions(data: Path) -> list[str]:
    """Harmless sentences of HateCheck that name a group of people; never fitted on."""
    texts = read_evaluation(data, ["hatecheck"]).sets["hatecheck"]
    return list(texts.where("functionality", ["ident_neutral_nh", "ident_pos_nh"]).texts)


def without(rows: list[Row], others: list[Row]) -> list[Row]:
    """Rows whose normalised text is in none of the others, each text once."""
    found = repeats([row.text for row in rows], [row.text for row in others])
    return [row for row, repeated in zip(rows, found, strict=True) if not repeated]


def _rows(data: Path, name: str, source: str, **wanted: str) -> list[Row]:
    """The rows of a set whose columns hold what is wanted."""
    texts = read_evaluation(data, [name]).sets[name]
    for column, value in wanted.items():
        texts = texts.where(column, [value])
    labels = texts.columns["positive"]
    return [Row(text or "", label, source) for text, label in zip(texts.texts, labels, strict=True)]
