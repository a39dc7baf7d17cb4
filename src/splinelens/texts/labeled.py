"""Texts with their labels or marked characters, from chosen rows of a file."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from splinelens.errors import BadTexts
from splinelens.texts.labels import Labels, read_labels
from splinelens.texts.offsets import read_offsets
from splinelens.texts.sources import read_texts
from splinelens.texts.table import Texts

_NUMBER = re.compile(r"\s*[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?\s*", re.ASCII)


def read_labeled(
    file: str,
    column: str | None,
    label: str | Sequence[str],
    *,
    positive: str | None = None,
    expected: Sequence[str] | None = None,
    verdicts: tuple[str, str] | None = None,
    split: tuple[str, str] | None = None,
    encoding: str = "utf-8",
    format: str | None = None,
    delimiter: str | None = None,
    header: bool = True,
    keep: Sequence[str] = (),
    report: Callable[[str], None] = lambda line: None,
) -> tuple[Texts, Labels]:
    r"""Read texts and their labels; rows without a label are left out and counted.

    Args:
        file: What ``read_texts`` takes.
        column: Column of the texts.
        label: Column of the labels, or one column of 0 and 1 for each of several labels.
        positive: The label that counts as 1.
        expected: The labels of a detector of several, as ``read_labels`` takes them.
        verdicts: The words of a binary detector, likewise.
        split: Take only the rows where this column has this value.
        encoding: Of text files.
        format: Of the file, overriding its ending.
        delimiter: Of the cells of CSV.
        header: Whether the first row of CSV names the columns.
        keep: Other columns to keep beside the texts.
        report: Called with a line if rows have no label, and if rows outside the split have the same text
            as rows inside.

    Returns:
        The texts of those rows with their row numbers in the file, and their labels.

    Raises:
        MissingColumn: A column does not exist.
        BadTexts: The file cannot be read, no row has the value, or the texts are numbers only.
        BadLabels: Labels are all missing, of another kind, or of one class.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.csv"
        >>> _ = file.write_text("text,toxic\nyou idiot,1\nhello,0\nwell,\n")
        >>> texts, labels = read_labeled(str(file), "text", "toxic", report=print)
        1 of 3 rows left out: their label is missing
        >>> texts.texts, labels.values.tolist(), labels.missing
        (('you idiot', 'hello'), [[1], [0]], 1)
    """
    names = list(dict.fromkeys([label] if isinstance(label, str) else label))
    columns = [*names, *([] if split is None else [split[0]]), *keep]
    texts = read_texts(
        file,
        column,
        keep=list(dict.fromkeys(columns)),
        encoding=encoding,
        format=format,
        delimiter=delimiter,
        header=header,
    )
    require_words(texts, column)
    if split is not None:
        whole, texts = texts, texts.where(split[0], [split[1]])
        _report_repeats(whole, texts, split, report)
    labels = read_labels({name: texts.columns[name] for name in names}, positive, expected, verdicts)
    if labels.missing:
        total = labels.missing + len(labels.rows)
        report(f"{labels.missing:,} of {total:,} rows left out: their label is missing")
    return replace(texts, columns={name: texts.columns[name] for name in keep}).at(labels.rows), labels


def read_marked(
    file: str,
    column: str | None,
    spans: str,
    *,
    split: tuple[str, str] | None = None,
    encoding: str = "utf-8",
    format: str | None = None,
    delimiter: str | None = None,
    header: bool = True,
) -> tuple[Texts, tuple[frozenset[int], ...]]:
    """Read texts and the characters that people marked in each, as ``read_offsets`` has them.

    ``spans`` names the column of the lists; the other arguments are those of ``read_labeled``.

    Raises:
        MissingColumn: A column does not exist.
        BadTexts: The file cannot be read, no row has the value of ``split``, the texts are numbers only, or a
            list is none or lies outside its text.
    """
    keep = list(dict.fromkeys([spans, *([] if split is None else [split[0]])]))
    texts = read_texts(
        file, column, keep=keep, encoding=encoding, format=format, delimiter=delimiter, header=header
    )
    require_words(texts, column)
    if split is not None:
        texts = texts.where(split[0], [split[1]])
    return texts, read_offsets(texts, spans)


def require_words(texts: Texts, column: str | None) -> None:
    """Refuse a column of numbers as texts.

    Raises:
        BadTexts: Each text that is not blank is a number.
    """
    given = [text for text in texts.texts if text and text.strip()]
    if given and all(map(_NUMBER.fullmatch, given)):
        raise BadTexts(
            f"{texts.source}: each text in column {column or 'text'!r} is a number, not words; name the "
            "column of the texts with --column"
        )


def _report_repeats(
    whole: Texts, chosen: Texts, split: tuple[str, str], report: Callable[[str], None]
) -> None:
    inside, numbers = {text for text in chosen.texts if text}, set(chosen.numbers)
    pairs = zip(whole.numbers, whole.texts, strict=True)
    if count := sum(text in inside for number, text in pairs if number not in numbers):
        report(f"{count:,} rows outside {split[0]}={split[1]} hold the same text as rows inside: split again")
