"""Which token of a text makes numbers that are not finite, and at which layer they first show.

Attention mixes tokens: once one of them is NaN, kernels may hand NaN to tokens before it as well,
because 0 * NaN is NaN. So the token is not read off one pass. A prefix of the text is run alone, and
the shortest prefix that fails ends with the token that is to blame. Only texts that failed pay for it.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from splinelens.layers import watch
from splinelens.tokens import TokenizedText, Window


def blamed(
    text: TokenizedText,
    spans: Sequence[Window],
    prompt_finite: Callable[[], bool],
    failing: Callable[[int, int], int | None],
) -> tuple[str, int] | None:
    """Where a text that gave values that are not finite first does so, in words that end a sentence.

    Args:
        text: The text.
        spans: Its windows, in order.
        prompt_finite: Whether the prompt before it runs without fail.
        failing: As for ``first_nonfinite``.

    Returns:
        The prompt, or a layer and a token; and the first token that it spoils. None if everything runs
        without fail when it is run again.

    Example:
        >>> text = TokenizedText((7, 8), ((0, 2), (2, 5)), 2)
        >>> blamed(text, [Window(0, 0, 0, 2)], lambda: True, lambda start, stop: 3 if stop > 1 else None)
        (' at layer 3, token 1 (characters 2 to 5)', 1)
        >>> blamed(text, [Window(0, 0, 0, 2)], lambda: False, lambda start, stop: 0)
        (': the prompt before it does already', 0)
    """
    if not prompt_finite():
        return ": the prompt before it does already", 0
    found = first_nonfinite(spans, failing)
    return None if found is None else (place_in(text, *found), found[1])


def place_in(text: TokenizedText, layer: int, token: int) -> str:
    """A layer and a token of a text, in the words of ``blamed``."""
    begin, end = text.offsets[token]
    return f" at layer {layer}, token {token} (characters {begin} to {end})"


def first_nonfinite(
    spans: Sequence[Window], failing: Callable[[int, int], int | None]
) -> tuple[int, int] | None:
    """The layer and the token at which a text first gives values that are not finite.

    Args:
        spans: The text's windows, in order.
        failing: Called as ``failing(start, stop)``: runs these tokens of the text alone and
            returns the first layer that fails, or None.

    Returns:
        Layer and token, both from 0; None if every window runs without fail.

    Example:
        >>> first_nonfinite([Window(0, 0, 0, 8)], lambda start, stop: 3 if stop > 5 else None)
        (3, 5)
    """
    for window in spans:
        layer = failing(window.start, window.stop)
        if layer is None:
            continue
        good, bad = window.start, window.stop
        while bad - good > 1:
            middle = (good + bad) // 2
            found = failing(window.start, middle)
            if found is None:
                good = middle
            else:
                bad, layer = middle, found
        return layer, bad - 1
    return None


def failing_layer(
    model: nn.Module, depth: int, span: tuple[int, int], run: Callable[[], object]
) -> int | None:
    """The first layer of a pass over one row whose gate or output is not finite.

    Args:
        model: The model.
        depth: How many layers to look at.
        span: The tokens of the row to look at.
        run: Runs the pass.

    Returns:
        The layer, or None.
    """
    found: list[int] = []

    def look(layer: int, values: Tensor) -> None:
        if not found and not bool(values[0, span[0] : span[1]].isfinite().all()):
            found.append(layer)

    with watch(model, gate=look, hidden=look, layers=range(depth), stop=True):
        run()
    return found[0] if found else None
