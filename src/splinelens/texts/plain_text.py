"""Make untrusted text safe to print: nothing moves a cursor, rings a bell or turns a line around.

HTML is escaped by the templates (``page``); this module deals with control and invisible characters,
which HTML and terminals would both pass on.
"""

import unicodedata

_VISIBLE = {" ": "␣", "\n": "↵", "\r": "␍", "\t": "⇥", "\u00a0": "⍽"}
_JOINERS = "\u200c\u200d"  # they hold letters of Persian and parts of emoji together


def visible(token: str) -> str:
    r"""A token with every character shown: white space, control and invisible characters become symbols.

    Returns:
        One line that does not change the writing direction; ``∅`` for the empty string.

    Example:
        >>> visible(" the\n"), visible("\u202e"), visible("\x1b")
        ('␣the↵', '⟨202E⟩', '␛')
    """
    joined = token.strip(_JOINERS) != ""
    shown = "".join(
        character if character in _JOINERS and joined else _symbol(character) for character in token
    )
    return "◌" + shown if unicodedata.combining(shown[:1] or " ") else shown or "∅"


def readable(text: str) -> str:
    r"""As ``visible``, but spaces stay spaces: for messages and labels.

    Example:
        >>> readable("token 1 of a\nb")
        'token 1 of a↵b'
    """
    return visible(text).replace("␣", " ")


def harmless(text: str) -> str:
    r"""The text with each unprintable character replaced by one printable one, so that offsets stay valid.

    Example:
        >>> harmless("red:\x1b[31m\n")
        'red:␛[31m '
    """
    shown = []
    for character in text:
        if character.isprintable() or character in _JOINERS:
            shown.append(character)
        elif character.isspace():
            shown.append(" ")
        else:
            symbol = _symbol(character)
            shown.append(symbol if len(symbol) == 1 else "\ufffd")
    return "".join(shown)


def storable(text: str) -> str:
    r"""The text with lone surrogates escaped: file names that are not UTF-8 hold them, and JSON may not.

    Example:
        >>> storable("caf\udce9.csv")
        'caf\\udce9.csv'
    """
    return text.encode("utf-8", "backslashreplace").decode()


def _symbol(character: str) -> str:
    if character in _VISIBLE:
        return _VISIBLE[character]
    if character.isprintable():
        return character
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else f"⟨{code:04X}⟩"
