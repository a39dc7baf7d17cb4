"""What may be asked of a text: refuses, in our own words, what is no text and no layers."""

from collections.abc import Iterable
from operator import index

from splinelens.errors import BadFeatures, BadTexts


def check_text(text: object, called: str = "the text") -> str:
    """One text, if it is one.

    Args:
        text: What a caller gave.
        called: What an error calls it.

    Returns:
        The text.

    Raises:
        BadTexts: It is no string.

    Example:
        >>> check_text(["Good morning."])
        Traceback (most recent call last):
        ...
        splinelens.errors.BadTexts: the text must be one string, and this is a list; give one text
    """
    if not isinstance(text, str):
        hint = "decode it first" if isinstance(text, bytes | bytearray) else "give one text"
        raise BadTexts(f"{called} must be one string, and this is a {type(text).__name__}; {hint}")
    return text


def check_layers(layers: object) -> tuple[int, ...] | None:
    """Layers, rising and none twice, if they are whole numbers from 0; None stands for all.

    Args:
        layers: What a caller gave.

    Returns:
        The layers, or None.

    Raises:
        BadFeatures: No list, an empty one, or what is in it is no whole number from 0.

    Example:
        >>> check_layers([2, 0, 2])
        (0, 2)
    """
    if layers is None:
        return None
    if isinstance(layers, str | bytes) or not isinstance(layers, Iterable):
        raise BadFeatures(f"layers is {layers!r}; give a list of whole numbers from 0, such as [0, 5]")
    chosen = tuple(sorted({_whole(layer, "a layer", "such as 5") for layer in layers}))
    if not chosen:
        raise BadFeatures("no layer to read; name at least one")
    below = [layer for layer in chosen if layer < 0]
    if below:
        raise BadFeatures(f"layers {below} do not exist: they are counted from 0")
    return chosen


def check_layer(layer: object) -> int:
    """One layer, if it is a whole number from 0.

    Args:
        layer: What a caller gave.

    Returns:
        The layer.

    Raises:
        BadFeatures: It is no whole number from 0.

    Example:
        >>> check_layer(3)
        3
    """
    found = check_layers([layer])
    return found[0] if found else 0


def check_token(token: object, tokens: int, called: str = "the text") -> int:
    """The number of a token, if the text has it.

    Args:
        token: What a caller gave.
        tokens: How many there are.
        called: What an error calls the text.

    Returns:
        The number.

    Raises:
        BadFeatures: It does not exist, the message says which do; or it is no whole number.

    Example:
        >>> check_token(9, 4)
        Traceback (most recent call last):
        ...
        splinelens.errors.BadFeatures: token 9 does not exist: the text has 4 tokens, 0 to 3
    """
    number = _whole(token, "a token", "such as 3")
    if not 0 <= number < tokens:
        raise BadFeatures(f"token {number} does not exist: {called} has {tokens} tokens, 0 to {tokens - 1}")
    return number


def check_most(max_tokens: object) -> int:
    """The most tokens a text may have, if that is a positive whole number.

    Args:
        max_tokens: What a caller gave.

    Returns:
        The number.

    Raises:
        BadTexts: It is none.

    Example:
        >>> check_most(2048)
        2048
    """
    try:
        number = 0 if isinstance(max_tokens, bool) else index(max_tokens)  # type: ignore[arg-type] # refused below
    except TypeError:
        number = 0
    if number < 1:
        raise BadTexts(f"max_tokens={max_tokens!r}: need a positive number")
    return int(number)


def _whole(number: object, called: str, example: str) -> int:
    """A whole number of Python or numpy; True is none."""
    try:
        if not isinstance(number, bool):
            return int(index(number))  # type: ignore[arg-type] # refused below
    except TypeError:
        pass
    raise BadFeatures(f"{number!r} is not {called}: give a whole number from 0, {example}")
