"""Which token of a text gives non-finite values, and at which layer they first show.

Attention mixes tokens: once one of them is NaN, kernels may hand NaN to tokens before it as well,
because 0 * NaN is NaN. So the token cannot be read off one pass. Prefixes of the text are run
instead, and the shortest one that fails ends with the token to blame. Only texts that failed pay.
"""

from collections.abc import Callable, Sequence

from splinelens.tokens import TokenizedText, Window


def first_nonfinite(
    parts: Sequence[Window], failing: Callable[[int, int], int | None]
) -> tuple[int, int] | None:
    """The layer and the token at which a text first gives values that are not finite.

    Args:
        parts: The text's windows, in order.
        failing: Called as ``failing(start, stop)``: runs these tokens of the text and returns the
            first layer that fails, or None.

    Returns:
        Layer and token, both from 0; None if every window runs without fail.

    Example:
        >>> first_nonfinite([Window(0, 0, 0, 8)], lambda start, stop: 3 if stop > 5 else None)
        (3, 5)
    """
    for window in parts:
        layer = failing(window.start, window.stop)
        if layer is None:
            continue
        good, bad = window.start, window.stop
        while bad - good > 1:
            middle = (good + bad) // 2
            fails_at = failing(window.start, middle)
            if fails_at is None:
                good = middle
            else:
                bad, layer = middle, fails_at
        return layer, bad - 1
    return None


def location(text: TokenizedText, layer: int, token: int) -> str:
    """A layer and a token of a text, in words that end a sentence.

    Example:
        >>> location(TokenizedText((7, 8), ((0, 2), (2, 5)), 2), 3, 1)
        ' at layer 3, token 1 (characters 2 to 5)'
    """
    begin, end = text.offsets[token]
    return f" at layer {layer}, token {token} (characters {begin} to {end})"
