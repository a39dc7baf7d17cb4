"""The evaluation sets: where each lies in the data folder, what its labels are, and which texts repeat.

The folder holds texts of third parties and is no part of this repository. A missing set is named and skipped.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from splinelens.errors import BadTexts
from splinelens.texts import Texts, read_texts

TYPES = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
"""Jigsaw's six labels, those of the sets ``raw`` and ``clean``."""


@dataclass(frozen=True)
class _Set:
    """A file, its text column, other columns, and what makes a row positive: any label column holds the value."""

    file: str
    text: str
    keep: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    positive: str = "1"


_SPLITS = ("split", "in_test12k")
SETS = {
    "jig": _Set("jigsaw-test-binary-12k/jigsaw_test_balanced.csv", "comment_text", ("split",), ("toxic",)),
    "raw": _Set("jigsaw6-raw/jigsaw6_raw.csv", "comment_text", _SPLITS, TYPES),
    "clean": _Set("jigsaw6-clean/jigsaw6_clean.csv", "comment_text", _SPLITS, TYPES),
    "para": _Set("paradetox/paradetox.tsv", "toxic", ("neutral1",)),
    "tweet": _Set("tweeteval/tweeteval_offensive.csv", "text", ("split",), ("label",)),
    "toxigen": _Set("toxigen-seed/toxigen_seed_sentences.csv", "text", (), ("label",), "hate"),
    "hatecheck": _Set(
        "hatecheck/test_suite_cases.csv", "test_case", ("functionality",), ("label_gold",), "hateful"
    ),
    "xstest": _Set("xstest/xstest_prompts.csv", "prompt", (), ("label",), "unsafe"),
    "domains": _Set("domains/domains.jsonl", "text", ("domain", "doc_id")),
}


@dataclass(frozen=True)
class EvaluationData:
    """The sets of a data folder.

    Attributes:
        sets: All rows of each set in the order of its file, with ``positive``, 1 or 0, where the set has two
            classes. ``para`` holds all toxic sentences, then the first paraphrase of each; its column ``pair``
            says which belong together.
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
        BadTexts: No set is in the folder, or a file is damaged or lacks a column.
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
    known = SETS[name]
    texts = read_texts(path, known.text, (*known.keep, *known.labels))
    if name == "para":
        numbers = tuple(range(len(texts)))
        columns = {"positive": (1,) * len(texts) + (0,) * len(texts), "pair": numbers * 2}
        return Texts(texts.texts + texts.columns["neutral1"], columns, texts.source)
    if not known.labels:
        return texts
    cells = zip(*(texts.columns[label] for label in known.labels), strict=True)
    positive = tuple(int(known.positive in row) for row in cells)
    return replace(texts, columns={**texts.columns, "positive": positive})
