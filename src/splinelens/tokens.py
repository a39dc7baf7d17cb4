"""Tokenization of texts and padded batches of token windows.

A text longer than the window is read in overlapping windows; each of its tokens is pooled exactly once, the
overlap only gives context. Windows are grouped by length under a token budget, and every row has the index
of its text, so results return in input order. A prompt before or after the text is run but never pooled.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from threading import Lock
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int

from splinelens.errors import BadModel, BadTexts
from splinelens.texts.normalize import NormalizedText, normalize_text

Long = Literal["windows", "cut"]
Side = Literal["right", "left"]

MAX_CHARACTERS = 1_000_000
"""Longer texts are not tokenized (10 million characters take 15 s); their reason gives this limit."""

_TOKENIZER_LOCK = Lock()  # held while a setting of a shared tokenizer is changed

PAD_MULTIPLE = 16
# Attention kernels sum the last 1-15 keys in another order than full vectors of 16. Padded to a multiple of
# 16 together with its prompt, a text gets the same sums single and in a batch (measured to 127 tokens; beyond
# that, margins to 1e-5 of their column's largest value; ``boundary_min`` may move by tenths:
# docs/features.md).
# ``models/load.py`` does the same for the matrix library.


@dataclass(frozen=True)
class TokenizedText:
    """One text as token ids.

    Attributes:
        ids: Token ids, after cutting.
        offsets: Character span (begin, end) of each id in the original text, normalized or not.
        total: Tokens of the whole text; more than ``len(ids)`` if it was cut.
        reason: Why the text cannot be read, or None.
    """

    ids: tuple[int, ...] = ()
    offsets: tuple[tuple[int, int], ...] = ()
    total: int = 0
    reason: str | None = None

    @property
    def cut(self) -> bool:
        """Whether tokens at the end were dropped."""
        return self.reason is None and self.total > len(self.ids)


@dataclass(frozen=True)
class Window:
    """A window of one text's tokens: ``start:stop`` is run, ``pooled:stop`` is pooled."""

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
    """Windows of similar length, padded to one shape; arrays are NumPy's, so that every engine reads them.

    Attributes:
        ids: Token ids; padding is id 0, which no other token can attend to.
        mask: True where a token is not padding.
        positions: Position of each token in its sequence, after ``offset`` earlier ones.
        spans: For each row the columns (start, stop) that are pooled.
        windows: For each row its window.
        side: Where the padding is.
    """

    ids: Int[np.ndarray, "row token"]
    mask: Bool[np.ndarray, "row token"]
    positions: Int[np.ndarray, "row token"]
    spans: tuple[tuple[int, int], ...]
    windows: tuple[Window, ...]
    side: Side

    def halves(self) -> tuple["TokenBatch", "TokenBatch"]:
        """The first and the second half of the rows, for when memory runs out."""
        middle = len(self.windows) // 2
        rows = ("ids", "mask", "positions", "spans", "windows")
        first = {name: getattr(self, name)[:middle] for name in rows}
        second = {name: getattr(self, name)[middle:] for name in rows}
        return replace(self, **first), replace(self, **second)


@dataclass(frozen=True)
class Positions:
    """The positions of a model; after the last one it has no output.

    Attributes:
        total: How many there are; None where nothing limits them.
        usable: How many of them one pass can use. Equal to ``total`` unless the model has longrope rotary
            embeddings: there a position after the original ones makes transformers rotate all positions
            of the pass by other angles, so mere padding would change the tokens before it.
    """

    total: int | None
    usable: int | None

    def exceeded(self, tokens: int, name: str) -> str | None:
        """The limit that a row of tokens exceeds, in words that follow "exceeds", or None.

        Args:
            tokens: Tokens of the row, prompt included and padding left out.
            name: The model's name.

        Example:
            >>> Positions(256, 64).exceeded(65, "tiny")
            'the 64 positions that one pass of tiny can use'
        """
        if self.usable is None or tokens <= self.usable:
            return None
        if self.usable == self.total:
            return f"the {self.total:,} positions of {name}"
        return f"the {self.usable:,} positions that one pass of {name} can use"


def tokenize(
    texts: Sequence[str | None],
    tokenizer: Any,  # any fast tokenizer of transformers; it has no common typed base
    *,
    max_tokens: int = 512,
    long: Long = "windows",
    normalize: bool = False,
    max_text_tokens: int | None = None,
) -> list[TokenizedText]:
    """Tokenize texts; one that cannot be read keeps its index, with a reason.

    A special token written in a text is read as letters.

    Args:
        texts: The texts, in order.
        tokenizer: A fast tokenizer (its offsets are needed to name spans).
        max_tokens: With ``long="cut"``, tokens kept of each text.
        long: ``"windows"`` keeps every token; ``"cut"`` drops those after ``max_tokens``.
        normalize: Tokenize each text with its disguised characters mapped to plain ones.
        max_text_tokens: A text of more tokens gets a reason instead of ids; None reads texts of any length.

    Raises:
        BadTexts: ``max_tokens`` is not positive, or ``long`` is another word.
        BadModel: The tokenizer itself fails, such as at its limit for regular expressions.

    Example:
        >>> [text.reason for text in tokenize(["", None], None)]
        ['is empty', 'is missing']
    """
    if max_tokens < 1 or long not in ("windows", "cut"):
        raise BadTexts(
            f"max_tokens={max_tokens}, long={long!r}: need a positive number and 'windows' or 'cut'"
        )
    tokenized = [TokenizedText(reason=_unreadable(text)) for text in texts]
    readable = {row: text for row, text in enumerate(texts) if tokenized[row].reason is None and text}
    normalized: dict[int, NormalizedText] = {}
    if normalize:
        normalized = {row: normalize_text(text) for row, text in readable.items()}
        readable = {row: plain.text for row, plain in normalized.items() if plain.text.strip()}
        for row in normalized.keys() - readable.keys():
            tokenized[row] = TokenizedText(reason="has no character that is seen")
    keep = max_tokens if long == "cut" else None
    encodings = _encode(tokenizer, [*readable.values()])
    for row, encoding in zip(readable, encodings, strict=True):
        total = len(encoding.ids)
        if max_text_tokens is not None and total > max_text_tokens:
            too_long = f"has {total:,} tokens, more than the limit of {max_text_tokens:,}"
            tokenized[row] = TokenizedText(total=total, reason=too_long)
            continue
        offsets = encoding.offsets[:keep]
        if row in normalized:
            offsets = [normalized[row].span(begin, end) for begin, end in offsets]
        reason = None if encoding.ids else "has no tokens"
        ids = tuple(encoding.ids[:keep])
        tokenized[row] = TokenizedText(ids, tuple(offsets), total, reason)
    return tokenized


def prompt_ids(tokenizer: Any, prompt: str, *, beginning: bool) -> tuple[int, ...]:  # Any: as in tokenize
    """Token ids of a prompt, tokenized separately, so they are the same for every text.

    With ``beginning`` the tokenizer's opening is first: all special tokens that it puts before a text, such
    as ``<bos>``, or ``[gMASK]<sop>`` of GLM. Those that it puts after a text are left out: in a causal model
    no token of the text sees them.

    Raises:
        BadTexts: The prompt holds a character that cannot be encoded.
    """
    reason = _unreadable(prompt) if prompt.strip() else None
    if reason:
        raise BadTexts(f"the prompt {reason}")
    with _TOKENIZER_LOCK:
        opening = _opening(tokenizer) if beginning else ()
        return (*opening, *_backend(tokenizer).encode(prompt, add_special_tokens=False).ids)


def literal_ids(tokenizer: Any, text: str) -> tuple[int, ...]:  # Any: as in tokenize
    """Token ids of a text that others wrote, to stand within a prompt: special tokens in it are letters.

    Raises:
        BadTexts: The text holds a character that cannot be encoded.
        BadModel: As in ``tokenize``.
    """
    reason = _unreadable(text) if text.strip() else None
    if reason:
        raise BadTexts(f"a text of the prompt {reason}")
    return tuple(_encode(tokenizer, [text])[0].ids)


def windows(tokenized: Sequence[TokenizedText], max_tokens: int) -> list[Window]:
    """Split every readable text into windows that overlap by a quarter, in input order.

    The ``pooled:stop`` of a text's windows cover every token once.

    Example:
        >>> windows([TokenizedText(ids=(7,) * 10, total=10)], max_tokens=8)
        [Window(text=0, start=0, pooled=0, stop=8), Window(text=0, start=6, pooled=8, stop=10)]
    """
    overlap = max_tokens // 4
    result = []
    for text, record in enumerate(tokenized):
        start = pooled = 0
        while pooled < len(record.ids):
            stop = min(start + max_tokens, len(record.ids))
            result.append(Window(text, start, pooled, stop))
            start, pooled = stop - overlap, stop
    return result


def chunks(
    tokenizer: Any,  # Any: as in tokenize
    texts: Iterable[str | None],
    length: int,
    most: int | None = None,
) -> Int[np.ndarray, "chunk token"]:
    """Token ids of texts, one after the other with an empty line between, cut into chunks of equal length.

    Args:
        tokenizer: A fast tokenizer.
        texts: The texts; those without words are skipped.
        length: Tokens of a chunk.
        most: Stop after so many chunks; None reads all texts. What does not fill a chunk is left out.

    Raises:
        BadTexts: A text holds a character that cannot be encoded.
        BadModel: As in ``tokenize``.
    """
    between, ids = literal_ids(tokenizer, "\n\n"), list[int]()
    for text in texts:
        if text is not None and text.strip():
            if reason := _lone_surrogate(text):
                raise BadTexts(f"a text {reason}; drop it")
            ids += [*(between if ids else ()), *_encode(tokenizer, [text])[0].ids]
        if most is not None and len(ids) >= most * length:
            break
    count = len(ids) // length if most is None else min(most, len(ids) // length)
    return np.array(ids[: count * length], dtype=np.int64).reshape(count, length)


def batches(
    tokenized: Sequence[TokenizedText],
    *,
    max_tokens: int,
    batch_tokens: int = 1024,
    offset: int = 0,
    prompt: Sequence[int] = (),
    suffix: Sequence[int] = (),
    side: Side = "right",
    multiple: int = PAD_MULTIPLE,
) -> Iterator[TokenBatch]:
    """Group windows by length under a token budget; the groups come in the order of their first texts.

    So the first texts are finished early, and can be stored.

    Args:
        tokenized: The texts, as from ``tokenize``.
        max_tokens: Tokens in a window.
        batch_tokens: Upper bound of rows times padded length; a single longer window is
            still one batch.
        offset: Tokens before each window in the model's cache.
        prompt: Ids to run before each window's text, never pooled.
        suffix: Ids to run after each window's text, never pooled.
        side: Where to pad.
        multiple: As in ``padded``.

    Example:
        >>> texts = [TokenizedText(ids=(7,) * 3, total=3), TokenizedText(ids=(7,) * 20, total=20)]
        >>> [(tuple(batch.ids.shape), batch.spans) for batch in batches(texts, max_tokens=64)]
        [((2, 32), ((0, 20), (0, 3)))]
    """
    groups: list[list[Window]] = []
    group: list[Window] = []
    for window in sorted(
        windows(tokenized, max_tokens), key=lambda window: (-window.length, window.text, window.start)
    ):
        widest = padded(len(prompt) + (group or [window])[0].length + len(suffix), offset, multiple)
        if group and (len(group) + 1) * widest > batch_tokens:
            group = []
        if not group:
            groups.append(group)
        group.append(window)
    for group in sorted(groups, key=lambda group: min(window.text for window in group)):
        yield _batch(tokenized, group, offset, prompt, suffix, side, multiple)


def padded(length: int, offset: int = 0, multiple: int = PAD_MULTIPLE) -> int:
    """The padded width of a batch whose longest sequence has this length.

    The least width that is such a multiple together with the ``offset`` tokens before it in the cache.

    Example:
        >>> padded(17), padded(17, offset=10)
        (32, 22)
    """
    return -(-(offset + length) // multiple) * multiple - offset


def _batch(
    tokenized: Sequence[TokenizedText],
    group: list[Window],
    offset: int,
    prompt: Sequence[int],
    suffix: Sequence[int],
    side: Side,
    multiple: int,
) -> TokenBatch:
    around = len(prompt) + len(suffix)
    width = padded(group[0].length + around, offset, multiple)
    ids = np.zeros((len(group), width), dtype=np.int64)
    mask = np.zeros((len(group), width), dtype=bool)
    spans = []
    for row, window in enumerate(group):
        used = window.length + around
        first = 0 if side == "right" else width - used
        ids[row, first : first + used] = (
            *prompt,
            *tokenized[window.text].ids[window.start : window.stop],
            *suffix,
        )
        mask[row, first : first + used] = True
        begin = first + len(prompt)
        spans.append((begin + window.pooled - window.start, begin + window.length))
    ranks = np.tile(np.arange(width), (len(group), 1))  # unbroken, or transformers sees packed sequences
    if side == "left":
        ranks = np.maximum(mask.cumsum(1) - 1, 0)
    return TokenBatch(ids, mask, ranks + offset, tuple(spans), tuple(group), side)


def _encode(tokenizer: Any, texts: list[str]) -> list[Any]:  # Any: as in tokenize
    """Encode texts; ``<|im_end|>`` and the like in them are letters, not control tokens."""
    if not texts:
        return []
    backend = _backend(tokenizer)
    with _TOKENIZER_LOCK:
        before, backend.encode_special_tokens = backend.encode_special_tokens, True
        try:
            encodings: list[Any] = backend.encode_batch(texts, add_special_tokens=False)
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of the Rust library, which exports no such name
                raise
            raise BadModel(
                f"the tokenizer of {getattr(tokenizer, 'name_or_path', '') or 'the model'} failed at these "
                f"texts: {error}; use a model with another tokenizer, or leave out texts that repeat one "
                "character very often"
            ) from error
        finally:
            backend.encode_special_tokens = before
    return encodings


def _opening(tokenizer: Any) -> Iterator[int]:  # Any: as in tokenize
    """The special tokens that the tokenizer puts before any text."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    pairs = zip(encoded.input_ids, encoded["special_tokens_mask"], strict=True)
    return (token for token, _ in takewhile(lambda pair: pair[1], pairs))


def _backend(tokenizer: Any) -> Any:  # Any: as in tokenize
    """The Rust tokenizer, without the truncation and padding that its file or an earlier call set."""
    backend = tokenizer.backend_tokenizer
    if backend.truncation is not None:
        backend.no_truncation()
    if backend.padding is not None:
        backend.no_padding()
    return backend


def _unreadable(text: str | None) -> str | None:
    """Why a text cannot be tokenized, or None."""
    if text is None:
        return "is missing"
    if len(text) > MAX_CHARACTERS:
        return f"has {len(text):,} characters, more than the limit of {MAX_CHARACTERS:,}"
    if not text.strip():
        return "is empty" if not text else "is only white space"
    if "\0" in text:
        return f"has a NUL character at position {text.index(chr(0))}"
    return _lone_surrogate(text)


def _lone_surrogate(text: str) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"has a lone surrogate at position {error.start}"
    return None
