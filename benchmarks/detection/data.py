"""The evaluation sets: where each lies in the data folder, what its labels are, and which texts repeat.

The folder holds texts of third parties and is no part of this repository. A missing set is named and skipped.
"""

import csv
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from splinelens.errors import BadTexts, MissingColumn
from splinelens.texts import Texts

TYPES = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
"""Jigsaw's six labels, those of the sets ``raw`` and ``clean``."""

IDENTITY_MENTIONS = ("ident_neutral_nh", "ident_pos_nh")
"""HateCheck's functionalities of harmless sentences that name a group of people."""


@dataclass(frozen=True)
class _Set:
    """A file, its text column, and what makes a row positive: any label column holds the value."""

    file: str
    text: str
    labels: tuple[str, ...] = ()
    positive: str = "1"


SETS = {
    "jig": _Set("jigsaw-test-binary-12k/jigsaw_test_balanced.csv", "comment_text", ("toxic",)),
    "raw": _Set("jigsaw6-raw/jigsaw6_raw.csv", "comment_text", TYPES),
    "clean": _Set("jigsaw6-clean/jigsaw6_clean.csv", "comment_text", TYPES),
    "para": _Set("paradetox/paradetox.tsv", "toxic"),
    "tweet": _Set("tweeteval/tweeteval_offensive.csv", "text", ("label",)),
    "toxigen": _Set("toxigen-seed/toxigen_seed_sentences.csv", "text", ("label",), "hate"),
    "hatecheck": _Set("hatecheck/test_suite_cases.csv", "test_case", ("label_gold",), "hateful"),
    "xstest": _Set("xstest/xstest_prompts.csv", "prompt", ("label",), "unsafe"),
    "domains": _Set("domains/domains.jsonl", "text"),
}


@dataclass(frozen=True)
class EvaluationData:
    """The sets of a data folder.

    Attributes:
        sets: All rows of each set in the order of its file, with the other columns as strings and
            ``positive``, 1 or 0, where the set has two classes. ``para`` holds all toxic sentences, then the
            first paraphrase of each; its column ``pair`` says which belong together.
        missing: The file of each set that is not in the folder.
    """

    sets: dict[str, Texts]
    missing: dict[str, Path]


def read_evaluation(folder: str | Path, names: Sequence[str] = tuple(SETS)) -> EvaluationData:
    """Read the evaluation data.

    Args:
        folder: The folder that holds one folder per set.
        names: The sets to read.

    Raises:
        BadTexts: No set is in the folder, or a file is damaged.
        MissingColumn: A file lacks a column.
    """
    paths = {name: Path(folder) / SETS[name].file for name in names}
    missing = {name: path for name, path in paths.items() if not path.is_file()}
    if len(missing) == len(paths):
        files = ", ".join(SETS[name].file for name in names)
        raise BadTexts(f"{folder} holds none of the evaluation files {files}; check the folder")
    return EvaluationData({n: _read(n, path) for n, path in paths.items() if n not in missing}, missing)


def letters_and_digits(text: str | None) -> str:
    """Letters and digits only, in lower case: what two forms of one comment share.

    Example:
        >>> letters_and_digits("Good day, Sir!")
        'gooddaysir'
    """
    return re.sub(r"[\W_]+", "", (text or "").lower())


def count_repeats(texts: Texts) -> dict[str, int]:
    """How many rows repeat an earlier one, and how many repeated texts span splits or carry two labels."""
    count = len(texts)
    splits = texts.columns.get("split", ("",) * count)
    labels = texts.columns.get("positive", (0,) * count)
    groups: dict[str, list[int]] = {}
    for row, key in enumerate(map(letters_and_digits, texts.texts)):
        groups.setdefault(key, []).append(row)
    repeated = [rows for rows in groups.values() if len(rows) > 1]
    return {
        "rows": count,
        "repeated": sum(len(rows) - 1 for rows in repeated),
        "across_splits": sum(len({splits[row] for row in rows}) > 1 for rows in repeated),
        "two_labels": sum(len({labels[row] for row in rows}) > 1 for rows in repeated),
    }


def _read(name: str, path: Path) -> Texts:
    known, rows = SETS[name], _rows(path)
    needed = (known.text, *known.labels, *(("neutral1",) if name == "para" else ()))
    absent = [column for column in needed if column not in rows[0]]
    if absent:
        raise MissingColumn(f"{path} has no column {', '.join(absent)}; it has {', '.join(rows[0])}")
    if name == "para":
        texts = tuple(row["toxic"] for row in rows) + tuple(row["neutral1"] for row in rows)
        positive = (1,) * len(rows) + (0,) * len(rows)
        return Texts(texts, {"positive": positive, "pair": tuple(range(len(rows))) * 2}, str(path))
    columns = {column: tuple(row.get(column) for row in rows) for column in rows[0] if column != known.text}
    if known.labels:
        columns["positive"] = tuple(int(known.positive in (row[c] for c in known.labels)) for row in rows)
    return Texts(tuple(row[known.text] for row in rows), columns, str(path))


def _rows(path: Path) -> list[dict[str, str]]:
    csv.field_size_limit(sys.maxsize)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix == ".jsonl":
                rows = [json.loads(line) for line in file if line.strip()]
            else:
                rows = list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
    except (ValueError, csv.Error) as error:
        raise BadTexts(f"{path} cannot be read: {error}; fetch it anew") from error
    if not rows:
        raise BadTexts(f"{path} has no rows; fetch it anew")
    return rows
