"""The sets of the evaluation data folder, one way to read each, and the texts that they share.

The folder holds third-party texts and is no part of the package. A set that is missing is named, and the
others are read all the same. Sources, licences and caveats stand in the folder itself.
"""

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from splinelens.errors import BadTexts, MissingColumn
from splinelens.texts import Texts
from splinelens.texts.columns import quoted

TYPES = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
"""Jigsaw's six labels, those of the sets ``raw`` and ``clean``."""


@dataclass(frozen=True)
class _Set:
    """Where a set lies and what makes a row of it positive: any of the columns holds the value."""

    file: str
    text: str
    labels: tuple[str, ...] = ()
    positive: str = "1"


_SETS = {
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
SETS = tuple(_SETS)
"""Names of the sets."""


@dataclass(frozen=True)
class EvaluationData:
    """What was found in the folder.

    Attributes:
        folder: The folder.
        sets: The texts of each set, all rows in the order of the file, with every other column as a
            string and ``positive``, 1 or 0, where the set has two classes. ``para`` holds all toxic
            sentences and then the first paraphrase of each; its column ``pair`` says which belong together.
        missing: The file of each set that is not there.
        damaged: What is wrong with each set that cannot be read.
    """

    folder: Path
    sets: dict[str, Texts]
    missing: dict[str, Path]
    damaged: dict[str, str] = field(default_factory=dict)


def read_evaluation(folder: str | Path, names: Sequence[str] = SETS) -> EvaluationData:
    r"""Read the evaluation data.

    Args:
        folder: The folder that holds one folder a set.
        names: The sets to read.

    Returns:
        Those that can be read, and which are not there or damaged.

    Raises:
        BadTexts: None of them is there, or each that is there is damaged.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp())
        >>> (place / "xstest").mkdir()
        >>> _ = (place / "xstest/xstest_prompts.csv").write_text("prompt,label\nHello?,safe\n")
        >>> data = read_evaluation(place)
        >>> data.sets["xstest"].texts, data.sets["xstest"].columns["positive"], len(data.missing)
        (('Hello?',), (0,), 8)
    """
    folder = Path(folder)
    places = {name: folder / _SETS[name].file for name in names}
    there = {name: place for name, place in places.items() if place.is_file()}
    missing = {name: place for name, place in places.items() if name not in there}
    if not there:
        wanted = ", ".join(_SETS[name].file for name in names)
        raise BadTexts(f"{folder} holds none of the evaluation files {wanted}; name the folder they lie in")
    sets, damaged = {}, {}
    for name, place in there.items():
        try:
            sets[name] = _read(name, place)
        except (BadTexts, MissingColumn) as error:
            damaged[name] = str(error)
    if not sets:
        raise BadTexts(f"no set can be read: {'; '.join(damaged.values())}")
    return EvaluationData(folder, sets, missing, damaged)


def letters_and_digits(text: str | None) -> str:
    """Letters and digits only, lower case: what two forms of one comment share.

    Example:
        >>> letters_and_digits("Good day, Sir!")
        'gooddaysir'
    """
    return re.sub(r"[\W_]+", "", (text or "").lower())


def repeats(texts: Iterable[str | None], others: Iterable[str | None] = ()) -> list[bool]:
    """Which texts stood earlier among them or stand among the others, by letters and digits.

    Args:
        texts: Texts in order; one without a letter or digit counts as repeated.
        others: Texts of which none may be repeated.

    Returns:
        True for each repeated text.

    Example:
        >>> repeats(["Hello!", "hello", "bye", "..."], ["Bye"])
        [False, True, True, True]
    """
    seen = {"", *map(letters_and_digits, others)}
    found = []
    for key in map(letters_and_digits, texts):
        found.append(key in seen)
        seen.add(key)
    return found


def repeats_of(texts: Texts) -> dict[str, int]:
    """How many rows of a set repeat an earlier one, stand in two of its splits, or carry two labels.

    Args:
        texts: A set that ``read_evaluation`` gave.

    Returns:
        Counts ``rows``, ``repeated``, ``across_splits`` and ``two_labels``.
    """
    count = len(texts)
    splits = texts.columns.get("split", ("",) * count)
    labels = texts.columns.get("positive", (0,) * count)
    groups: dict[str, list[int]] = {}
    for row, key in enumerate(map(letters_and_digits, texts.texts)):
        groups.setdefault(key, []).append(row)
    several = [rows for rows in groups.values() if len(rows) > 1]
    return {
        "rows": count,
        "repeated": sum(len(rows) - 1 for rows in several),
        "across_splits": sum(len({splits[row] for row in rows}) > 1 for rows in several),
        "two_labels": sum(len({labels[row] for row in rows}) > 1 for rows in several),
    }


def _read(name: str, place: Path) -> Texts:
    known = _SETS[name]
    rows = list(_rows(place))
    if not rows:
        raise BadTexts(f"{place} has no rows; fetch the evaluation data anew")
    needed = (known.text, *known.labels, *(("neutral1",) if name == "para" else ()))
    lacking = [column for column in needed if column not in rows[0]]
    if lacking:
        raise MissingColumn(f"{place} has no column {quoted(lacking)}; it has {quoted(rows[0])}")
    if name == "para":
        texts = tuple(row["toxic"] for row in rows) + tuple(row["neutral1"] for row in rows)
        columns: dict[str, tuple[object, ...]] = {
            "positive": (1,) * len(rows) + (0,) * len(rows),
            "pair": tuple(range(len(rows))) * 2,
        }
        return Texts(texts, columns, str(place))
    columns = {column: tuple(row.get(column) for row in rows) for column in rows[0] if column != known.text}
    if known.labels:
        columns["positive"] = tuple(
            int(any(row[label] == known.positive for label in known.labels)) for row in rows
        )
    return Texts(tuple(row[known.text] for row in rows), columns, str(place))


def _rows(place: Path) -> Iterator[dict[str, str]]:
    limit = csv.field_size_limit(sys.maxsize)
    try:
        with place.open(encoding="utf-8", newline="") as file:
            if place.suffix == ".jsonl":
                yield from (json.loads(line) for line in file if line.strip())
            else:
                yield from csv.DictReader(file, delimiter="\t" if place.suffix == ".tsv" else ",")
    except (ValueError, csv.Error) as error:
        raise BadTexts(f"{place} cannot be read: {type(error).__name__}; fetch it anew") from error
    finally:
        csv.field_size_limit(limit)
