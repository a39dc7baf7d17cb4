"""Characters that people marked in texts, as lists of offsets: the format of SemEval-2021 task 5."""

import json

from splinelens.errors import BadTexts
from splinelens.texts.table import Texts


def read_offsets(texts: Texts, column: str) -> tuple[frozenset[int], ...]:
    """The marked characters of each text, from a kept column of lists such as ``[15, 16, 17]``.

    Offsets count the characters of the text from 0; ``[]`` marks none.

    Raises:
        BadTexts: A cell is no list of whole numbers, or an offset lies outside its text.

    Example:
        >>> texts = Texts(("you fool", "hello"), {"spans": ("[4, 5, 6, 7]", "[]")}, "a.csv")
        >>> [sorted(offsets) for offsets in read_offsets(texts, "spans")]
        [[4, 5, 6, 7], []]
    """
    offsets = []
    for row, text, cell in zip(texts.numbers, texts.texts, texts.columns[column], strict=True):
        marked, length = _offsets(cell), len(text or "")
        if marked is None:
            raise BadTexts(
                f"{texts.source}: column {column!r} of row {row} is no list of character offsets; write one "
                "such as [4, 5, 6], or [] where nothing is marked"
            )
        if outside := sorted(at for at in marked if not 0 <= at < length):
            raise BadTexts(
                f"{texts.source}: column {column!r} of row {row} marks character {outside[0]}, and the text "
                f"has {length}, counted from 0; are they offsets of this text, in characters?"
            )
        offsets.append(marked)
    return tuple(offsets)


def _offsets(cell: object) -> frozenset[int] | None:
    """The offsets of a cell; None if it is no list of whole numbers."""
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            return None
    try:
        numbers = list(cell)  # type: ignore[call-overload]  # a list, tuple or array; else it raises
    except TypeError:
        return None
    if isinstance(cell, dict) or any(isinstance(n, bool) or not hasattr(n, "__index__") for n in numbers):
        return None
    return frozenset(int(number) for number in numbers)
