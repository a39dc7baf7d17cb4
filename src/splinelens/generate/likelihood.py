"""How likely a language model finds texts: the log-probability of each token, and perplexity."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from splinelens.engines.torch import positions_of, run_tokens
from splinelens.errors import BadFeatures, BadTexts
from splinelens.features.reader import Progress, TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.files import write_text
from splinelens.models import LoadedModel
from splinelens.models.load import require_head
from splinelens.texts import Texts
from splinelens.tokens import TokenBatch, Window, chunks, prompt_ids

PROFILE = tuple(
    f"{kind} {what}"
    for kind in ("log-probability", "gap to the likeliest token")
    for what in (
        "mean",
        "mean of the inner tokens",
        "sum of the inner tokens",
        "least of the inner tokens",
        "of the last token",
        "of the last inner token",
        "mean of the last 2 inner tokens",
        "mean of the last 3 inner tokens",
        "mean of the last 4 inner tokens",
        "least of the last 2 inner tokens",
        "least of the last 3 inner tokens",
        "mean of the first half of the inner tokens",
    )
)
"""The numbers of ``profile``; inner tokens are all but the first and the last."""

_SEPARATOR = "<|endoftext|>"


def log_probabilities(
    loaded: LoadedModel,
    texts: Sequence[str | None],
    *,
    batch_tokens: int | None = None,
    progress: Progress | None = None,
) -> list[Float[np.ndarray, "2 token"]]:
    """The log-probability of each token of each text, and that of the likeliest token in its place.

    A text follows what the tokenizer puts before texts, or else ``<|endoftext|>`` where the vocabulary has
    it, which stands between documents at training; without either the first token is not predicted and left
    out. A long text is read in overlapping windows, as features are.

    Args:
        loaded: A model loaded with ``head=True``.
        texts: The texts.
        batch_tokens: Tokens of a batch, padding included; None takes 1,024 on a CPU, else 4,096.
        progress: Called with the texts and the characters read since the last call.

    Returns:
        For each text natural logarithms; without a token for a text that cannot be read, NaN where the model
        gives logits that are not finite.

    Raises:
        BadModel: The model was loaded without its head, or its pass fails.
    """
    causal = require_head(loaded)
    tokenizer = loaded.tokenizer
    separated = not prompt_ids(tokenizer, "", beginning=True) and _SEPARATOR in tokenizer.get_vocab()
    before = prompt_ids(tokenizer, _SEPARATOR if separated else "", beginning=True)
    spec = FeatureSpec(("length",), prompt=_SEPARATOR if separated else "")
    reader = TextReader(loaded, spec, batch_tokens=batch_tokens)
    first = _after(causal, before) if before else None
    result: list[np.ndarray] = []
    for start in range(0, len(texts), reader.chunk):
        chunk = texts[start : start + reader.chunk]
        parts: list[list[tuple[Window, np.ndarray]]] = [[] for _ in chunk]
        for batch in reader.batches(reader.tokenize(chunk)):
            rows = _predicted(causal, reader, batch, first)
            for window, values in zip(batch.windows, rows, strict=True):
                parts[window.text].append((window, values))
        for windows in parts:
            ordered = [values for _, values in sorted(windows, key=lambda part: part[0].start)]
            result.append(np.concatenate([np.empty((2, 0), np.float32), *ordered], axis=1))
        if progress:
            progress(len(chunk), sum(len(text or "") for text in chunk))
    return result


@dataclass(frozen=True, eq=False)
class Perplexity:
    """How well a model predicts a text.

    Attributes:
        value: ``exp`` of the mean negative log-likelihood of a token; inf or NaN where the logits are not
            finite.
        nll: The mean negative log-likelihood of each window.
        tokens: Tokens that were predicted: all but the first of each window.
        seconds: Of the forward passes.
    """

    value: float
    nll: Float[np.ndarray, " window"]
    tokens: int
    seconds: float


def perplexity(
    loaded: LoadedModel,
    text: str,
    *,
    length: int = 512,
    windows: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Perplexity:
    """The perplexity of a text over windows that follow each other without overlap, each read by itself.

    The first token of a window is not predicted, and nothing is put before it. The number depends on the
    tokenizer and on ``length``: compare models that share both.

    Args:
        loaded: A model loaded with ``head=True``.
        text: The text.
        length: Tokens of a window.
        windows: Read so many windows, spread evenly over the text; None reads all.
        progress: Called with the number of windows that are done, and of all.

    Raises:
        BadModel: The model was loaded without its head, or its pass fails.
        BadTexts: The text is shorter than the windows, or cannot be encoded.
        BadFeatures: ``length`` is below 2 or above the positions of the model, or ``windows`` below 1.
    """
    causal = require_head(loaded)
    usable = positions_of(loaded.model).usable
    if length < 2 or (usable is not None and length > usable) or (windows is not None and windows < 1):
        raise BadFeatures(
            f"length={length!r}, windows={windows!r}: a window has 2 to {usable or 'any number of'} tokens, "
            "and there is at least one"
        )
    ids = chunks(loaded.tokenizer, [text], length)
    count = len(ids) if windows is None else windows
    if not count or len(ids) < count:
        raise BadTexts(
            f"the text has {len(ids):,} windows of {length} tokens, fewer than {max(count, 1):,}; give more "
            "text, or fewer or shorter windows"
        )
    chosen = torch.from_numpy(ids[np.arange(count) * len(ids) // count])
    started = perf_counter()
    nll = window_nll(causal, chosen, progress=progress)
    seconds = perf_counter() - started
    with np.errstate(over="ignore"):
        value = float(np.exp(np.mean(nll)))
    return Perplexity(value, nll, count * (length - 1), seconds)


def window_nll(
    causal: Any,  # Any: a model of transformers
    ids: Int[Tensor, "window token"],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, " window"]:
    """The mean negative log-likelihood of the tokens of each window but its first, in nats.

    Args:
        causal: A model with its language-model head.
        ids: Token ids, read one window at a time.
        progress: As in ``perplexity``.
    """
    nll = list[float]()
    for row in ids:
        logits = run_tokens(causal, row[None], torch.arange(len(row))[None]).logits[0, :-1].float()
        target = logits.gather(-1, row[1:, None].to(logits.device))[:, 0]
        nll.append(float((logits.logsumexp(dim=-1) - target).mean()))
        if progress:
            progress(len(nll), len(ids))
    return np.array(nll)


def profile(values: Float[np.ndarray, "2 token"]) -> Float[np.ndarray, " 24"]:
    """The numbers of ``PROFILE`` of one text; NaN without a token.

    What is false often differs from what is true in its last words, so these have numbers of their own.

    Example:
        >>> dict(zip(PROFILE, profile(np.array([[-4.0, -2.0, -1.0], [-1.0, -1.0, -1.0]])), strict=True))[
        ...     "gap to the likeliest token of the last inner token"
        ... ]
        np.float64(-1.0)
    """
    if not values.shape[1]:
        return np.full(len(PROFILE), np.nan)
    numbers: list[float] = []
    for row in (values[0], values[0] - values[1]):
        inner = row[1:-1] if len(row) > 2 else row
        half = inner[: max(1, len(inner) // 2)]
        numbers += [row.mean(), inner.mean(), inner.sum(), inner.min(), row[-1], inner[-1]]
        numbers += [inner[-count:].mean() for count in (2, 3, 4)]
        numbers += [inner[-count:].min() for count in (2, 3)]
        numbers.append(half.mean())
    return np.array(numbers, dtype=np.float64)


def read_profiles(
    loaded: LoadedModel,
    texts: Texts,
    folder: Path | None = None,
    *,
    batch_tokens: int | None = None,
    progress: Progress | None = None,
) -> Float[np.ndarray, "text 24"]:
    """The profile of each text, NaN where it has none; with a folder they are stored there and read again.

    Raises:
        BadModel: As in ``log_probabilities``.
        CannotWrite: The folder cannot be written.
    """
    fingerprint, path = loaded.fingerprint, None
    if folder is not None:
        key = f"{texts.data_hash[:16]}-{fingerprint.weights[:16]}-{fingerprint.dtype}"
        path = folder / f"log-probabilities-{key}.json"
        if path.is_file():
            return np.array(json.loads(path.read_text("utf-8")), dtype=float)
    each = log_probabilities(loaded, texts.texts, batch_tokens=batch_tokens, progress=progress)
    values = np.stack([profile(one) for one in each])
    if path is not None:
        rows = [[None if np.isnan(number) else number for number in row] for row in values.tolist()]
        write_text(path, json.dumps(rows))
    return values


def _after(causal: Any, ids: Sequence[int]) -> Float[Tensor, " vocabulary"]:  # Any: a model of transformers
    """The log-probabilities of the token after some."""
    row = torch.tensor([list(ids)])
    logits = run_tokens(causal, row, torch.arange(row.shape[1])[None]).logits[0, -1]
    return logits.float().log_softmax(dim=-1)


def _predicted(
    causal: Any,  # Any: a model of transformers
    reader: TextReader,
    batch: TokenBatch,
    first: Float[Tensor, " vocabulary"] | None,
) -> list[Float[np.ndarray, "2 token"]]:
    """For each row the log-probabilities of its pooled tokens and of the likeliest ones."""
    ids, positions = torch.from_numpy(batch.ids), torch.from_numpy(batch.positions)
    mask = torch.from_numpy(batch.mask) if batch.side == "left" else None
    cache = reader.torch_engine.prompt.cache(len(ids))
    logits = run_tokens(causal, ids, positions, mask=mask, cache=cache).logits[:, :-1].float()
    total = logits.logsumexp(dim=-1)
    target = logits.gather(-1, ids[:, 1:, None].to(logits.device))[..., 0]
    values = torch.stack([target - total, logits.amax(dim=-1) - total], dim=1).cpu().numpy()
    rows = []
    for row, tokens, (start, stop), window in zip(
        values, batch.ids.tolist(), batch.spans, batch.windows, strict=True
    ):
        part = row[:, max(start - 1, 0) : stop - 1]
        if first is not None and window.start == 0 and start == 0:
            of_first = np.array([[float(first[tokens[0]])], [float(first.max())]], np.float32)
            part = np.concatenate([of_first, part], axis=1)
        rows.append(part)
    return rows
