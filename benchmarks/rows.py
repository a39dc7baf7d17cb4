"""The labelled rows that detectors are fitted on and measured with, read from the evaluation data.

No row that fits a detector shares its normalised text with a test row of ``jigsaw-test-binary-12k``.
"""

import csv
import re
import sys
from dataclasses import dataclass
from pathlib import Path

csv.field_size_limit(sys.maxsize)


@dataclass(frozen=True)
class Row:
    """One labelled text: 1 is toxic."""

    text: str
    label: int
    source: str


def jig12k(data: Path, split: str) -> list[Row]:
    """Balanced Jigsaw comments; ``split`` is ``train`` or ``test``."""
    rows = _csv(data / "jigsaw-test-binary-12k/jigsaw_test_balanced.csv")
    return [Row(row["comment_text"], int(row["toxic"]), "jig12k") for row in rows if row["split"] == split]


def jigsaw6(data: Path, form: str) -> list[Row]:
    """Training rows of Jigsaw's six labels, ``raw`` or ``clean`` text; toxic is any of the six."""
    labels = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
    rows = _csv(data / f"jigsaw6-{form}/jigsaw6_{form}.csv")
    keep = [row for row in rows if row["split"] == "train" and row["in_test12k"] == "0"]
    return [
        Row(row["comment_text"], int(any(row[name] == "1" for name in labels)), f"jigsaw6-{form}")
        for row in keep
    ]


def paradetox(data: Path) -> list[Row]:
    """Toxic sentences and their first detoxified paraphrase."""
    with (data / "paradetox/paradetox.tsv").open(encoding="utf-8", newline="") as file:
        pairs = [(row["toxic"], row["neutral1"]) for row in csv.DictReader(file, delimiter="\t")]
    return [Row(text, label, "paradetox") for pair in pairs for text, label in zip(pair, (1, 0), strict=True)]


def tweeteval(data: Path, split: str) -> list[Row]:
    """Tweets, offensive or not."""
    rows = _csv(data / "tweeteval/tweeteval_offensive.csv")
    return [Row(row["text"], int(row["label"]), "tweeteval") for row in rows if row["split"] == split]


def identity_mentions(data: Path) -> list[str]:
    """Harmless sentences of HateCheck that name a group of people; never fitted on."""
    rows = _csv(data / "hatecheck/test_suite_cases.csv")
    return [row["test_case"] for row in rows if row["functionality"] in ("ident_neutral_nh", "ident_pos_nh")]


def without(rows: list[Row], others: list[Row]) -> list[Row]:
    """Rows whose normalised text is in none of the others, each text once."""
    seen = {normalised(row.text) for row in others}
    kept = []
    for row in rows:
        key = normalised(row.text)
        if key and key not in seen:
            seen.add(key)
            kept.append(row)
    return kept


def normalised(text: str) -> str:
    """Letters and digits only, lower case: what two forms of one comment share."""
    return re.sub(r"[\W_]+", "", text.lower())


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
