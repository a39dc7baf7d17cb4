"""Quotations in a text, and who speaks in their sentences."""

from collections.abc import Sequence

from splinelens.texts.sentences import Bounds


def quotations(text: str) -> list[Bounds]:
    """Characters (begin, end) within double quotation marks, straight or curly.

    An open one ends with its line. A straight mark after a digit stands for inches.

    Example:
        >>> quotations('He said: "Go. Now." I went.')
        [(10, 18)]
    """
    found, begin = [], None
    for place, character in enumerate(text):
        if begin is None and character == '"' and text[place - 1 : place].isdigit():
            continue
        if begin is None and character in '"\u201c\u201e':
            begin = place + 1
        elif begin is not None and character in '"\u201d\u201c\n':
            found.append((begin, place))
            begin = None
    return found if begin is None else [*found, (begin, len(text))]


def with_speakers(
    text: str, sentences: Sequence[Bounds], agents: Sequence[Bounds | None]
) -> list[Bounds | None]:
    """The agents of sentences; of one within a quotation that of the sentence that names the speaker.

    That is a sentence with a part of the quotation, or one that ends in a colon or comma before it.

    Args:
        text: The text.
        sentences: Characters of each sentence.
        agents: Characters of the agent of each, None without one.

    Example:
        >>> text = 'Tom said: "You fool. Go." I left.'
        >>> with_speakers(text, [(0, 20), (21, 25), (26, 33)], [(0, 3), None, (26, 27)])
        [(0, 3), (0, 3), (26, 27)]
    """
    found = list(agents)
    for begin, end in quotations(text):
        inside = {row for row, one in enumerate(sentences) if begin <= one[0] + 1 and one[1] <= end + 1}
        for row, (first, last) in enumerate(sentences):
            speaker = found[row]
            touches = (first < end and begin < last) or _introduces(text, last, begin)
            if row in inside or not touches or speaker is None or begin <= speaker[0] < end:
                continue
            for other in inside:
                found[other] = speaker
            break
    return found


def _introduces(text: str, end: int, begin: int) -> bool:
    """Whether a sentence ends in a colon or comma before a quotation."""
    return end <= begin and text[end - 1 : begin].strip(' "\u201c\u201e\n') in (":", ",")
