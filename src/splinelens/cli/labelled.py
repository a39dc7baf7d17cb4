"""Texts with their labels, from the rows of a file that were asked for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from splinelens.texts import Texts, binary_labels, read_texts

if TYPE_CHECKING:
    import numpy


def labelled_texts(
    file: str,
    column: str | None,
    label: str,
    *,
    positive: str | None = None,
    split: tuple[str, str] | None = None,
    encoding: str = "utf-8",
    format: str | None = None,
    keep: Sequence[str] = (),
) -> "tuple[Texts, numpy.ndarray]":
    r"""Read texts and their labels.

    Args:
        file: What ``read_texts`` takes.
        column: Column of the texts.
        label: Column of the labels.
        positive: The label that counts as 1.
        split: Take only the rows where this column has this value.
        encoding: Of text files.
        format: Of the file, whatever its ending.
        keep: Other columns to keep beside the texts.

    Returns:
        The texts of those rows, and 0 or 1 for each.

    Raises:
        MissingColumn: A column is not there.
        BadTexts: The file cannot be read, or no row has the value.
        BadLabels: Labels are missing, of another kind, or of one class.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.csv"
        >>> _ = file.write_text("text,toxic\nyou idiot,1\nhello,0\n")
        >>> labelled_texts(str(file), "text", "toxic")[1].tolist()
        [1, 0]
    """
    kept = [label, *([] if split is None else [split[0]]), *keep]
    texts = read_texts(file, column, keep=list(dict.fromkeys(kept)), encoding=encoding, format=format)
    if split is not None:
        texts = texts.where(split[0], [split[1]])
    return texts, binary_labels(texts.columns[label], label, positive)
