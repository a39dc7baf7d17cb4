"""Validate user input: texts, layers, tokens and names."""

from collections.abc import Iterable
from operator import index
from sys import float_info
from typing import Any, Literal

import numpy as np

from splinelens.errors import BadFeatures, BadTexts, NoTokens
from splinelens.texts.spans import CharacterSpan, check_spans
from splinelens.texts.table import Texts, column_cells

MAX_SEED = 2**32 - 1
"""The largest seed that scikit-learn takes."""


def check_text(text: object, name: str = "the text") -> str:
    """Return the text if it is a string; errors call it ``name``.

    Raises:
        BadTexts: It is not a string.

    Example:
        >>> check_text(["Good morning."])
        Traceback (most recent call last):
        ...
        splinelens.errors.BadTexts: the text must be one string, and this is a list; give one text
    """
    if not isinstance(text, str):
        hint = "decode it first" if isinstance(text, bytes | bytearray) else "give one text"
        raise BadTexts(f"{name} must be one string, and this is a {type(text).__name__}; {hint}")
    return text


def check_texts(X: Any) -> list[str | None]:  # Any: lists, arrays, Series and frames have no common type
    """One text a row, from any column that scikit-learn accepts.

    Args:
        X: An iterable of strings: a list, an array, a Series, or a table of one column. None, NaN and
            NA are missing.

    Returns:
        Strings, and None where one is missing.

    Raises:
        NoTokens: There are no rows.
        BadTexts: One string, a dictionary or set, more than one column, or a row that is not a string;
            the row is named.

    Example:
        >>> check_texts(np.array([["good"], [None]], dtype=object))
        ['good', None]
    """
    if getattr(X, "shape", ())[1:] == (1,):
        X = np.asarray(X, dtype=object)[:, 0]
    texts = column_cells(X, "X")
    for row, value in enumerate(texts):
        if value is not None and not isinstance(value, str):
            raise BadTexts(
                f"row {row} of X (counted from 0) is a {type(value).__name__}, where a text is read; "
                "turn it into a string or choose another column"
            )
    if not texts:
        raise NoTokens("X has no texts; give at least one")
    return texts


def check_at(
    at: Any,  # Any: user input
    texts: Texts,
    *,
    suffix: str,
    prefixes: bool,
) -> Literal["answer"] | tuple[tuple[CharacterSpan, ...], ...] | None:
    """The tokens to name: spans of each text, or the answer position after a suffix; None names none.

    Raises:
        BadFeatures: Another word, ``"answer"`` without a suffix, or prefixes as well.
        BadTexts: As in ``check_spans``.

    Example:
        >>> check_at([[(0, 4)]], Texts.of(["Good morning."]), suffix="", prefixes=False)
        (((0, 4),),)
    """
    if at is None:
        return None
    if prefixes:
        raise BadFeatures("at and prefixes cannot be combined: a row is of a span or of a prefix; choose one")
    if not isinstance(at, str):
        return check_spans(at, texts)
    if at != "answer":
        raise BadFeatures(f"at={at!r}: need a list of spans (begin, end) for each text, or 'answer'")
    if not suffix:
        raise BadFeatures(
            "at='answer' is the last token of the suffix, and there is no suffix; give one (command line: "
            "--suffix TEXT)"
        )
    return "answer"


def check_names(names: object, parameter: str) -> tuple[str, ...]:
    """One name or several, as a tuple.

    Raises:
        BadFeatures: Neither.

    Example:
        >>> check_names("max", "pooling")
        ('max',)
    """
    if isinstance(names, str):
        return (names,)
    several = tuple(names) if isinstance(names, Iterable) and not isinstance(names, bytes) else None
    if several is None or not all(isinstance(name, str) for name in several):
        raise BadFeatures(f"{parameter}={names!r}: need one name, or a list of names")
    return several


def check_layers(layers: object) -> tuple[int, ...] | None:
    """Layers in rising order, each once; None stands for all.

    Raises:
        BadFeatures: Not a list, an empty one, or an entry that is not a whole number from 0.

    Example:
        >>> check_layers([2, 0, 2])
        (0, 2)
    """
    if layers is None:
        return None
    if isinstance(layers, str | bytes) or not isinstance(layers, Iterable):
        raise BadFeatures(f"layers={layers!r}: need a list of whole numbers from 0, such as [0, 5], or None")
    chosen = sorted({check_layer(layer) for layer in layers})
    if not chosen:
        raise BadFeatures("no layer to read; name at least one")
    return tuple(chosen)


def check_layer(layer: object) -> int:
    """One layer, as in ``check_layers``."""
    number = _whole_number(layer, "a layer", "such as 5")
    if number < 0:
        raise BadFeatures(f"layers [{number}] do not exist: they are counted from 0")
    return number


def check_token(token: object, tokens: int, name: str = "the text") -> int:
    """The index of a token from 0, if the text, which errors call ``name``, has it; -1 is the last.

    Raises:
        BadFeatures: There is no such token, or it is not a whole number.

    Example:
        >>> check_token(9, 4)
        Traceback (most recent call last):
        ...
        splinelens.errors.BadFeatures: token 9 does not exist: the text has 4 tokens, 0 to 3
    """
    number = _whole_number(token, "a token", "such as 3")
    if not -tokens <= number < tokens:
        raise BadFeatures(f"token {number} does not exist: {name} has {tokens} tokens, 0 to {tokens - 1}")
    return number % tokens


def check_positive(number: object, parameter: str) -> int:
    """A whole number from 1, as a number of Python.

    Raises:
        BadFeatures: It is none.

    Example:
        >>> check_positive(np.int64(2048), "max_tokens")
        2048
    """
    if not is_whole_number(number, minimum=1):
        raise BadFeatures(f"{parameter}={number!r}: need a positive number")
    return index(number)  # type: ignore[arg-type]  # checked above


def check_batch_tokens(batch_tokens: object) -> int | None:
    """The tokens of a batch, before a model is loaded; None stands for the default.

    Raises:
        BadFeatures: Neither None nor a positive number.
    """
    return None if batch_tokens is None else check_positive(batch_tokens, "batch_tokens")


def check_seed(seed: object) -> int:
    """A seed of generators and of scikit-learn, as a number of Python.

    Raises:
        BadFeatures: Not a whole number from 0 to ``MAX_SEED``.

    Example:
        >>> check_seed(-1)
        Traceback (most recent call last):
        ...
        splinelens.errors.BadFeatures: seed -1 is not a whole number from 0 to 4294967295; choose another
    """
    if not is_whole_number(seed, 0) or index(seed) > MAX_SEED:  # type: ignore[arg-type]  # a whole number
        raise BadFeatures(f"seed {seed!r} is not a whole number from 0 to {MAX_SEED}; choose another")
    return index(seed)  # type: ignore[arg-type]  # likewise


def check_share(share: object, parameter: str) -> float:
    """A share, from 0 to 1.

    Raises:
        BadFeatures: It is none.

    Example:
        >>> check_share(0.5, "by_length")
        0.5
    """
    numbers = int | float | np.integer | np.floating
    if isinstance(share, bool) or not isinstance(share, numbers) or not 0 <= share <= 1:  # also nan
        raise BadFeatures(f"{parameter}={share!r}: need a share from 0 to 1, such as 0.5")
    return float(share)


def check_weight(weight: object, parameter: str) -> float:
    """A finite number from 0.

    Raises:
        BadFeatures: It is none.

    Example:
        >>> check_weight(2, "value_weight")
        2.0
    """
    numbers = int | float | np.integer | np.floating
    if isinstance(weight, bool) or not isinstance(weight, numbers) or not 0 <= weight <= float_info.max:
        raise BadFeatures(f"{parameter}={weight!r}: need a number of at least 0")
    return float(weight)


def is_whole_number(value: object, minimum: int) -> bool:
    """Whether a value is a whole number of Python or NumPy, and at least the minimum.

    Example:
        >>> is_whole_number(True, 0), is_whole_number(np.int64(3), 0)
        (False, True)
    """
    try:
        return not isinstance(value, bool) and index(value) >= minimum  # type: ignore[arg-type]  # TypeError below
    except TypeError:
        return False


def _whole_number(value: object, name: str, example: str) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise BadFeatures(f"{value!r} is not {name}: give a whole number from 0, {example}")
    return int(index(value))
