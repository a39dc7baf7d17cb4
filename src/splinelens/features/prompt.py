"""A prompt's keys and values, computed once and put before every text.

The prompt is the same for all texts and attention is causal, so its keys and values do not depend
on the text; a batch only borrows them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from splinelens.features.positions import run_tokens
from splinelens.tokens import padded


@dataclass(frozen=True, eq=False)
class Prompt:
    """The keys and values of the tokens that stand before every text.

    Attributes:
        length: Number of those tokens.
        states: For each block its keys and values, (1, head, token, head_dim).
    """

    length: int
    states: tuple[tuple[Tensor, Tensor], ...]

    def cache(self, rows: int) -> Any:  # a transformers Cache; the package is imported late
        """A fresh cache for a batch, with the prompt in every row.

        Args:
            rows: Rows of the batch.

        Returns:
            A ``transformers`` cache, or None without a prompt.
        """
        if not self.length:
            return None
        from transformers import DynamicCache

        cache = DynamicCache()
        for layer, (keys, values) in enumerate(self.states):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), layer)
        return cache


def run_prompt(model: nn.Module, ids: Sequence[int]) -> Prompt:
    """Run the prompt once and keep its keys and values.

    Args:
        model: A base model of transformers.
        ids: The prompt's token ids, with the opening token if the tokenizer uses one.

    Returns:
        The prompt; of length 0 if there are no ids.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> tiny = GPT2Model(GPT2Config(n_layer=2, n_head=2, n_embd=8, vocab_size=16)).eval()
        >>> prompt = run_prompt(tiny, [1, 2, 3])
        >>> prompt.length, prompt.cache(4).get_seq_length()
        (3, 3)
    """
    if not ids:
        return Prompt(0, ())
    from transformers import DynamicCache

    length = len(ids)
    cache = DynamicCache()  # the model's own would drop what its sliding window leaves behind
    # Padded as texts are, for the same sums; padding stands behind, where attention cannot see it.
    row = torch.tensor([[*ids, *[0] * (padded(length) - length)]])
    run_tokens(model, row, torch.arange(row.shape[1])[None], cache=cache)
    states = ((layer.keys[:, :, :length], layer.values[:, :, :length]) for layer in cache.layers)
    return Prompt(length, tuple(states))
