"""The words of a long text that fit into a few lines: those that fire most, and their neighbours."""

import re
from collections.abc import Sequence

from splinelens.report.scores import Span
from splinelens.report.spans import core, words

LEVELS = ((1.0, "bold white on red"), (0.5, "bold red"), (0.25, "red"))
"""Styles of words by what they add to the logit, strongest first: 1.0 multiplies the odds by 2.7."""

LEAST_LOGIT = LEVELS[-1][0]
"""A word that adds less fires for nobody."""

_WORD = re.compile(r"\w{1,24}|[^\w\s]{1,24}")
# At most 24 characters, so that scripts without spaces come in pieces too.

FEW = 3
"""Words that are named, and around which a long text is shown."""


def excerpt(text: str, spans: Sequence[Span] | None, characters: int) -> list[Span | None]:
    """The words of a text that fit, those that fire most and their neighbours first.

    Args:
        text: The text.
        spans: What its tokens add; None shows the beginning.
        characters: Room for the words and the blanks between them.

    Returns:
        Words in order, in pieces if they are long, and signs beside them, which have no colour; None
        stands where some are left out.

    Example:
        >>> [text and (text.begin, text.end) for text in excerpt("a b c d e", (Span(6, 7, 1.0),), 3)]
        [None, (6, 7), (8, 9)]
    """
    found = _pieces(text, spans or ())
    if not found or found[-1].end - found[0].begin <= characters:
        return list(found)
    seeds = [place for place in _strongest(found) if found[place].contribution >= LEAST_LOGIT][:FEW] or [0]
    kept = set(seeds)
    room = characters - sum(found[seed].end - found[seed].begin for seed in seeds)
    edges = [[seed, seed] for seed in seeds]
    grows = True
    while grows:
        grows = False
        for edge in edges:
            for side, step in ((1, 1), (0, -1)):
                place = edge[side] + step
                while place in kept:
                    place += step
                if 0 <= place < len(found) and (size := found[place].end - found[place].begin + 1) <= room:
                    kept.add(place)
                    edge[side], room, grows = place, room - size, True
    shown: list[Span | None] = []
    for place, word in enumerate(found):
        if place in kept:
            shown.append(word)
        elif not shown or shown[-1] is not None:
            shown.append(None)
    return shown


def _pieces(text: str, spans: Sequence[Span]) -> list[Span]:
    """Words in pieces that fit into a line, each with what its whole word adds; signs around words add 0."""
    bounds, end = [], 0
    for word in words(text, spans):
        begin, behind = core(text, word)
        bounds += [(end, begin, 0.0), (begin, behind, word.contribution)]
        end = behind
    bounds.append((end, len(text), 0.0))
    return [
        Span(*match.span(), amount)
        for begin, end, amount in bounds
        for match in _WORD.finditer(text, begin, end)
    ]


def _strongest(found: Sequence[Span]) -> list[int]:
    return sorted(range(len(found)), key=lambda place: (-found[place].contribution, place))
