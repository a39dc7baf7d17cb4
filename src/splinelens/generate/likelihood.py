"""How likely a language model finds texts: the log-probability of each token after those before it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from splinelens.engines.torch import run_tokens
from splinelens.errors import BadModel
from splinelens.features.reader import Progress, TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.models import LoadedModel
from splinelens.tokens import TokenBatch, Window


def log_probabilities(
    loaded: LoadedModel,
    texts: Sequence[str | None],
    *,
    batch_tokens: int | None = None,
    progress: Progress | None = None,
) -> list[np.ndarray]:
    """The log-probability of every token that another one precedes, of each text.

    A long text is read in overlapping windows, as features are; a token is predicted from those of its window.

    Args:
        loaded: A model loaded with ``head=True``.
        texts: The texts.
        batch_tokens: Tokens of a batch, padding included; None takes 1,024 on a CPU, else 4,096.
        progress: Called with the texts and the characters read since the last call.

    Returns:
        For each text its natural logarithms, one a token; empty for a text that cannot be read or has one token
        only, NaN where the model gives logits that are not finite.

    Raises:
        BadModel: The model was loaded without its head, or its pass fails.
    """
    if loaded.causal is None:
        raise BadModel(f"{loaded.name} is loaded without its language-model head: load_model(..., head=True)")
    reader = TextReader(loaded, FeatureSpec(("length",)), batch_tokens=batch_tokens)
    result: list[np.ndarray] = []
    for start in range(0, len(texts), reader.chunk):
        chunk = texts[start : start + reader.chunk]
        parts: list[list[tuple[Window, np.ndarray]]] = [[] for _ in chunk]
        for batch in reader.batches(reader.tokenize(chunk)):
            for window, values in zip(batch.windows, _predicted(loaded.causal, reader, batch), strict=True):
                parts[window.text].append((window, values))
        for windows in parts:
            ordered = [values for _, values in sorted(windows, key=lambda part: part[0].start)]
            result.append(np.concatenate([np.empty(0, np.float32), *ordered]))
        if progress:
            progress(len(chunk), sum(len(text or "") for text in chunk))
    return result


def _predicted(causal: Any, reader: TextReader, batch: TokenBatch) -> list[np.ndarray]:
    """For each row the log-probabilities of its pooled tokens, without the first where nothing precedes it."""
    ids, positions = torch.from_numpy(batch.ids), torch.from_numpy(batch.positions)
    mask = torch.from_numpy(batch.mask) if batch.side == "left" else None
    cache = reader.torch_engine.prompt.cache(len(ids))
    logits = run_tokens(causal, ids, positions, mask=mask, cache=cache).logits[:, :-1].float()
    target = ids[:, 1:, None].to(logits.device)
    values = (logits.gather(-1, target)[..., 0] - logits.logsumexp(dim=-1)).cpu().numpy()
    return [row[max(start - 1, 0) : stop - 1] for row, (start, stop) in zip(values, batch.spans, strict=True)]
