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


def places(keys: Sequence[str], sought: Sequence[str]) -> list[int]:
    """Where a run of words begins in others.

    Example:
        >>> places(["you", "fool", "you", "fool"], ["you", "fool"])
        [0, 2]
    """
    size = len(sought)
    if sought[0] not in keys:
        return []
    return [at for at in range(len(keys) - size + 1) if tuple(keys[at : at + size]) == tuple(sought)]
