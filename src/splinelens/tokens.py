"""Texts become batches of token windows that lose nothing and remember where they came from.

A text longer than the window is read in overlapping windows; each of its tokens is pooled exactly
once, the overlap only gives context. Windows are grouped by length under a token budget and every
row carries the index of its text, so results return in input order. A prompt before or after the
text is run but never pooled.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from splinelens.errors import BadTexts
from splinelens.texts.normalize import NormalizedText, normalize_text

Long = Literal["windows", "cut"]
Side = Literal["right", "left"]

MAX_CHARACTERS = 1_000_000
"""Longer texts are not tokenized (10 million characters take 15 s); their reason names this limit."""

_SETTING = Lock()  # held while a tokenizer is set otherwise, which other threads share

_PAD_MULTIPLE = 16
# Attention kernels sum the last 1-15 keys in another order than full vectors of 16, so a text
# that fills them together with its prompt gets the same sums alone and in a batch. What the matrix
# library does with batches of other sizes is settled in ``models/load.py``.


@dataclass(frozen=True)
class TokenizedText:
    """One text as token ids.

    Attributes:
        ids: The text's own token ids, after cutting.
        offsets: Character span (begin, end) of each id in the text as it was given, normalized or not.
        total: Tokens the whole text has; more than ``len(ids)`` if it was cut.
        reason: Why the text cannot be read, or None.
    """

    ids: tuple[int, ...] = ()
    offsets: tuple[tuple[int, int], ...] = ()
    total: int = 0
    reason: str | None = None

    @property
    def cut(self) -> bool:
        """Whether tokens at the end were dropped."""
        return self.total > len(self.ids)


@dataclass(frozen=True)
class Window:
    """A stretch of one text's tokens: ``start:stop`` is run, ``pooled:stop`` is pooled."""

    text: int
    start: int
    pooled: int
    stop: int

    @property
    def length(self) -> int:
        """Tokens that are run."""
        return self.stop - self.start


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """Windows of similar length, padded to one shape.

    Attributes:
        ids: Token ids; padding repeats id 0, which no read token can attend to.
        mask: True where a token is not padding.
        positions: Position of each token in its sequence, after ``offset`` earlier ones.
        spans: For each row the columns (start, stop) that are pooled.
        windows: For each row its window.
        side: Where the padding is.
    """

    ids: Int[Tensor, "row token"]
    mask: Bool[Tensor, "row token"]
    positions: Int[Tensor, "row token"]
    spans: tuple[tuple[int, int], ...]
    windows: tuple[Window, ...]
    side: Side

    def halves(self) -> tuple["TokenBatch", "TokenBatch"]:
        """The first and the second half of the rows, for when memory runs out."""
        middle = len(self.windows) // 2

        def part(rows: slice) -> "TokenBatch":
            return TokenBatch(
                self.ids[rows],
                self.mask[rows],
                self.positions[rows],
                self.spans[rows],
                self.windows[rows],
                self.side,
            )

        return part(slice(0, middle)), part(slice(middle, None))


def tokenize(
    texts: Sequence[str | None],
    tokenizer: Any,  # any fast tokenizer of transformers; it has no common typed base
    *,
    max_tokens: int = 512,
    long: Long = "windows",
    max_characters: int = MAX_CHARACTERS,
    normalize: bool = False,
) -> list[TokenizedText]:
    """Tokenize texts one by one; a text that cannot be read keeps its place with a reason.

    Args:
        texts: The texts, in order.
        tokenizer: A fast tokenizer (its offsets are needed to name spans).
        max_tokens: With ``long="cut"``, tokens kept of each text.
        long: ``"windows"`` keeps every token; ``"cut"`` drops those after ``max_tokens``.
        max_characters: Longer texts get a reason before they are tokenized.
        normalize: Tokenize each text with its disguised characters mapped to plain ones.

    Returns:
        One record a text, in input order. A special token spelt out in a text is read as letters.

    Raises:
        BadTexts: ``max_tokens`` is not positive, or ``long`` is another word.

    Example:
        >>> tokenize(["", "a" * 50], None, max_characters=10)[1].reason
        'has 50 characters, more than the limit of 10'
    """
    if max_tokens < 1 or long not in ("windows", "cut"):
        raise BadTexts(
            f"max_tokens={max_tokens}, long={long!r}: need a positive number and 'windows' or 'cut'"
        )
    reasons = [_unreadable(text, max_characters) for text in texts]
    plain: dict[int, NormalizedText] = {}
    if normalize:
        plain = {row: normalize_text(text or "") for row, text in enumerate(texts) if reasons[row] is None}
        for row, found in plain.items():
            if not found.text.strip():
                reasons[row] = "has no character that is seen"
    shown = [plain[row].text if row in plain else text for row, text in enumerate(texts)]
    readable = [text for text, reason in zip(shown, reasons, strict=True) if reason is None]
    encodings = iter(_plain(tokenizer, readable))
    keep = max_tokens if long == "cut" else None
    tokenized = []
    for row, reason in enumerate(reasons):
        if reason is not None:
            tokenized.append(TokenizedText(reason=reason))
            continue
        encoding = next(encodings)
        ids, offsets = encoding.ids, encoding.offsets[:keep]
        if row in plain:
            offsets = [plain[row].span(begin, end) for begin, end in offsets]
        tokenized.append(
            TokenizedText(tuple(ids[:keep]), tuple(offsets), len(ids))
            if ids
            else TokenizedText(reason="has no tokens")
        )
    return tokenized


def prompt_ids(tokenizer: Any, prompt: str, *, beginning: bool) -> tuple[int, ...]:  # Any: as in tokenize
    """Token ids of a prompt, tokenized apart from the text, so they are the same for every text.

    Args:
        tokenizer: A fast tokenizer.
        prompt: The prompt; may be empty.
        beginning: Put the tokenizer's own opening token (BOS) first, if it uses one.

    Returns:
        The ids; empty if there is neither prompt nor opening token.

    Raises:
        BadTexts: The prompt holds a character that cannot be encoded.
    """
    reason = _unreadable(prompt, MAX_CHARACTERS) if prompt else None
    if reason:
        raise BadTexts(f"the prompt {reason}")
    opening = [i for i in tokenizer("").input_ids if i == tokenizer.bos_token_id] if beginning else []
    return (*opening, *_uncut(tokenizer).encode(prompt, add_special_tokens=False).ids)


def windows(tokenized: Sequence[TokenizedText], max_tokens: int) -> list[Window]:
    """Cut every readable text into windows that overlap by a quarter.

    Args:
        tokenized: The texts, as from ``tokenize``.
        max_tokens: Tokens in a window.

    Returns:
        Windows in input order. In each text ``pooled:stop`` of its windows cover every token once.

    Example:
        >>> windows([TokenizedText(ids=(7,) * 10, total=10)], max_tokens=8)
        [Window(text=0, start=0, pooled=0, stop=8), Window(text=0, start=6, pooled=8, stop=10)]
    """
    overlap = max_tokens // 4
    found = []
    for text, record in enumerate(tokenized):
        start = pooled = 0
        while pooled < len(record.ids):
            stop = min(start + max_tokens, len(record.ids))
            found.append(Window(text, start, pooled, stop))
            start, pooled = stop - overlap, stop
    return found


def batches(
    tokenized: Sequence[TokenizedText],
    *,
    max_tokens: int,
    token_budget: int = 4096,
    offset: int = 0,
    prefix: Sequence[int] = (),
    suffix: Sequence[int] = (),
    side: Side = "right",
) -> Iterator[TokenBatch]:
    """Group windows by length, longest first, under a token budget.

    Args:
        tokenized: The texts, as from ``tokenize``.
        max_tokens: Tokens in a window.
        token_budget: Upper bound of rows times padded length; a single longer window is
            still one batch.
        offset: Tokens that stand before each window in the model's cache.
        prefix: Ids to run before each window's text, never pooled.
        suffix: Ids to run after each window's text, never pooled.
        side: Where to pad.

    Yields:
        Batches; ``windows`` says which text and which of its tokens a row holds.

    Example:
        >>> texts = [TokenizedText(ids=(7,) * 3, total=3), TokenizedText(ids=(7,) * 20, total=20)]
        >>> [(tuple(batch.ids.shape), batch.spans) for batch in batches(texts, max_tokens=64)]
        [((2, 32), ((0, 20), (0, 3)))]
    """
    found = windows(tokenized, max_tokens)
    order = sorted(found, key=lambda window: (-window.length, window.text, window.start))
    group: list[Window] = []
    for window in order:
        widest = padded(len(prefix) + (group or [window])[0].length + len(suffix), offset)
        if group and (len(group) + 1) * widest > token_budget:
            yield _batch(tokenized, group, offset, prefix, suffix, side)
            group = []
        group.append(window)
    if group:
        yield _batch(tokenized, group, offset, prefix, suffix, side)


def padded(length: int, offset: int = 0) -> int:
    """The width that a batch gives to sequences of this length.

    Args:
        length: Tokens of the longest one.
        offset: Tokens that stand before it in the model's cache.

    Returns:
        The least width that makes a multiple of 16 together with ``offset``.

    Example:
        >>> padded(17), padded(17, offset=10)
        (32, 22)
    """
    return -(-(offset + length) // _PAD_MULTIPLE) * _PAD_MULTIPLE - offset


def _batch(
    tokenized: Sequence[TokenizedText],
    group: list[Window],
    offset: int,
    prefix: Sequence[int],
    suffix: Sequence[int],
    side: Side,
) -> TokenBatch:
    around = len(prefix) + len(suffix)
    width = padded(group[0].length + around, offset)
    ids = torch.zeros(len(group), width, dtype=torch.long)
    mask = torch.zeros(len(group), width, dtype=torch.bool)
    spans = []
    for row, window in enumerate(group):
        used = window.length + around
        first = 0 if side == "right" else width - used
        ids[row, first : first + used] = torch.tensor(
            (*prefix, *tokenized[window.text].ids[window.start : window.stop], *suffix)
        )
        mask[row, first : first + used] = True
        own = first + len(prefix)
        spans.append((own + window.pooled - window.start, own + window.length))
    ranks = torch.arange(width).repeat(len(group), 1)  # unbroken, or transformers sees packed sequences
    if side == "left":
        ranks = (mask.cumsum(1) - 1).clamp(min=0)
    return TokenBatch(ids, mask, ranks + offset, tuple(spans), tuple(group), side)


def _plain(tokenizer: Any, texts: list[str | None]) -> list[Any]:  # Any: as in tokenize
    """Encodings of texts in which ``<|im_end|>`` and its like are letters, not control tokens."""
    if not texts:
        return []
    backend = _uncut(tokenizer)
    with _SETTING:
        before, backend.encode_special_tokens = backend.encode_special_tokens, True
        try:
            encodings: list[Any] = backend.encode_batch(texts, add_special_tokens=False)
        finally:
            backend.encode_special_tokens = before
    return encodings


def _uncut(tokenizer: Any) -> Any:  # Any: as in tokenize
    """The Rust tokenizer without the truncation and padding that its file or an earlier call set."""
    backend = tokenizer.backend_tokenizer
    if backend.truncation is not None:
        backend.no_truncation()
    if backend.padding is not None:
        backend.no_padding()
    return backend


def _unreadable(text: str | None, max_characters: int) -> str | None:
    """Why a text cannot be tokenized, or None."""
    if text is None:
        return "is missing"
    if len(text) > max_characters:
        return f"has {len(text):,} characters, more than the limit of {max_characters:,}"
    if not text.strip():
        return "is empty" if not text else "is only white space"
    if "\0" in text:
        return f"has a NUL character at position {text.index(chr(0))}"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"has a lone surrogate at position {error.start}"
    return None
