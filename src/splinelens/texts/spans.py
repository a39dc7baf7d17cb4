"""Spans of characters: for each text pairs (begin, end), counted from 0, the end excluded."""

import json
from collections.abc import Sequence
from operator import index
from typing import Any

from splinelens.errors import BadTexts
from splinelens.texts.table import Texts, column_cells

CharacterSpan = tuple[int, int]


def check_spans(spans: Any, texts: Texts) -> tuple[tuple[CharacterSpan, ...], ...]:  # Any: user input
    """The spans of each text, any number, validated; a missing entry stands for none.

    Raises:
        BadTexts: Not one list a text, no span at all, or a span that is no pair of whole numbers, is empty or
            reversed, lies outside its text, or has only white space. The message names text and span.

    Example:
        >>> check_spans([[(0, 5)], None], Texts.of(["Hello you", "hi"]))
        (((0, 5),), ())
    """
    lists = column_cells(spans, "at")
    if len(lists) != len(texts):
        raise BadTexts(f"at has {len(lists)} lists of spans for {len(texts)} texts; give one list a text")
    checked = tuple(
        tuple(_checked(span, text or "", f"text {row}, span {number}") for number, span in _listed(cell, row))
        for row, (cell, text) in enumerate(zip(lists, texts.texts, strict=True))
    )
    if not any(checked):
        raise BadTexts("at has no span of any text; give at least one pair (begin, end)")
    return checked


def read_spans(texts: Texts, column: str) -> tuple[Any, ...]:  # Any: what check_spans validates
    """The spans of a kept column that holds lists such as ``[[0, 5], [10, 14]]``, or those as JSON.

    An empty cell stands for no span.

    Raises:
        BadTexts: A cell is a string that is no JSON; the message names the row.

    Example:
        >>> read_spans(Texts(("Hello you", "hi"), {"at": ("[[0, 5]]", "")}, "a.csv"), "at")
        ([[0, 5]], None)
    """
    spans = []
    for row, cell in zip(texts.numbers, texts.columns[column], strict=True):
        try:
            spans.append((json.loads(cell) if cell.strip() else None) if isinstance(cell, str) else cell)
        except (ValueError, RecursionError) as error:
            raise BadTexts(
                f"{texts.source}: column {column!r} of row {row} is no JSON; write pairs of characters such "
                "as [[0, 5], [10, 14]], or [] for none"
            ) from error
    return tuple(spans)


def _listed(cell: Any, row: int) -> enumerate[Any]:  # Any: as above
    if cell is None:
        return enumerate(())
    if isinstance(cell, str | bytes | dict) or not hasattr(cell, "__iter__"):
        raise BadTexts(
            f"at of text {row} is a {type(cell).__name__}; give a list of pairs, such as [(0, 5), (10, 14)]"
        )
    return enumerate(cell)


def _checked(span: Any, text: str, name: str) -> CharacterSpan:  # Any: as above
    pair: Sequence[Any] = () if isinstance(span, str | bytes | dict) or not hasattr(span, "__len__") else span
    if len(pair) != 2 or any(isinstance(end, bool) or not hasattr(end, "__index__") for end in pair):
        raise BadTexts(f"{name} is no pair of whole numbers; give (begin, end), such as (0, 5)")
    begin, end = map(index, pair)
    if begin >= end:
        raise BadTexts(
            f"{name} is ({begin}, {end}), which is empty or reversed; the end comes after the begin"
        )
    if begin < 0 or end > len(text):
        raise BadTexts(
            f"{name} is ({begin}, {end}), and the text has {len(text)} characters, counted from 0; are they "
            "characters of this text?"
        )
    if not text[begin:end].strip():
        raise BadTexts(f"{name} is ({begin}, {end}), where the text has only white space; name its words")
    return begin, end
