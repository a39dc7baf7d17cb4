"""Texts without some of their words."""

from collections.abc import Sequence


def without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """A text without some spans of characters, and without the white space that would be doubled.

    Example:
        >>> without("you silly, silly goose!", [(4, 9), (11, 16)])
        'you , goose!'
    """
    kept, end = "", 0
    for begin, stop in spans:
        kept += text[end:begin]
        end = stop
        if (not kept or kept[-1].isspace()) and text[end : end + 1].isspace():
            end += 1
    return (kept + text[end:]).strip()
