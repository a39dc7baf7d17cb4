"""Texts with their labels, from the rows of a file that were asked for."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from splinelens.errors import BadTexts, MissingColumn
from splinelens.texts import Labels, Texts, read_labels, read_texts

_NUMBER = re.compile(r"\s*[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?\s*", re.ASCII)


def labelled_texts(
    file: str,
    column: str | None,
    label: str | Sequence[str],
    *,
    positive: str | None = None,
    expected: Sequence[str] | None = None,
    split: tuple[str, str] | None = None,
    encoding: str = "utf-8",
    format: str | None = None,
    keep: Sequence[str] = (),
    told: Callable[[str], None] = lambda line: None,
) -> tuple[Texts, Labels]:
    r"""Read texts and their labels; rows without a label are left out and counted.

    Args:
        file: What ``read_texts`` takes.
        column: Column of the texts.
        label: Column of the labels, or one column of 0 and 1 for each of several labels.
        positive: The label that counts as 1.
        expected: The labels of a detector of several, as ``read_labels`` takes them.
        split: Take only the rows where this column has this value.
        encoding: Of text files.
        format: Of the file, whatever its ending.
        keep: Other columns to keep beside the texts.
        told: Called with a line where rows outside the split hold the same text as rows inside.

    Returns:
        The texts of those rows with the numbers that the rows have in the file, and their labels.

    Raises:
        MissingColumn: A column is not there.
        BadTexts: The file cannot be read, no row has the value, or the texts are numbers alone.
        BadLabels: Labels are all missing, of another kind, or of one class.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.csv"
        >>> _ = file.write_text("text,toxic\nyou idiot,1\nhello,0\nwell,\n")
        >>> texts, labels = labelled_texts(str(file), "text", "toxic")
        >>> texts.texts, labels.values.tolist(), labels.missing
        (('you idiot', 'hello'), [[1], [0]], 1)
    """
    names = list(dict.fromkeys([label] if isinstance(label, str) else label))
    kept = [*names, *([] if split is None else [split[0]]), *keep]
    texts = read_texts(file, column, keep=list(dict.fromkeys(kept)), encoding=encoding, format=format)
    _require_words(texts, file, column, encoding, format)
    if split is not None:
        whole, texts = texts, texts.where(split[0], [split[1]])
        if (line := _repeats_line(whole, texts, split)) is not None:
            told(line)
    labels = read_labels({name: texts.columns[name] for name in names}, positive, expected)
    own = {name: texts.columns[name] for name in keep}
    return replace(texts, columns=own).at(labels.rows), labels


def missing_line(labels: Labels) -> str | None:
    """What to say of rows that were left out for want of a label, or None.

    Example:
        >>> import numpy as np
        >>> missing_line(Labels("binary", ("rude",), None, np.ones((1, 1)), (0,), 3))
        '3 of 4 rows left out: their label is missing'
    """
    if not labels.missing:
        return None
    return (
        f"{labels.missing:,} of {labels.missing + len(labels.rows):,} rows left out: their label is missing"
    )


def _repeats_line(whole: Texts, chosen: Texts, split: tuple[str, str]) -> str | None:
    """What to say of rows that another part of the file repeats, or None."""
    inside, numbers = {text for text in chosen.texts if text}, set(chosen.numbers)
    pairs = zip(whole.numbers, whole.texts, strict=True)
    twice = sum(text in inside for number, text in pairs if number not in numbers)
    if not twice:
        return None
    return f"{twice:,} rows outside {split[0]}={split[1]} hold the same text as rows inside: split them anew"


def _require_words(texts: Texts, file: str, column: str | None, encoding: str, format: str | None) -> None:
    """Refuse a column of the texts that holds numbers alone, and name those that could be meant."""
    there = [text for text in texts.texts if text and text.strip()]
    if not there or not all(map(_NUMBER.fullmatch, there)):
        return
    columns = "name the column of the texts with --column"
    if file != "-":
        try:  # a column that cannot be there: the refusal names those that are, and the likeliest
            read_texts(file, "\0", encoding=encoding, format=format)
        except MissingColumn as error:
            columns = str(error).partition("; ")[2]
    raise BadTexts(
        f"{texts.source}: each text in column {column or 'text'!r} is a number, not words; {columns}"
    )
