"""One forward pass: how many tokens a model can take, tokens at their positions, and a shared prompt.

After its last position a model has no output. With longrope rotary embeddings the limit is lower: a
position after the original ones makes transformers rotate all positions of the pass by other angles,
so a longer text, or mere padding, would change the tokens before it. A prompt is the same for all
texts and attention is causal, so its keys and values are computed once; a batch borrows them.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from splinelens.errors import BadFeatures
from splinelens.tokens import padded


@dataclass(frozen=True)
class Positions:
    """The positions of a model.

    Attributes:
        total: How many there are; None where nothing limits them.
        usable: How many of them one pass can use: those whose rotation does not depend on the others.
            Equal to ``total`` unless the model has longrope rotary embeddings.
    """

    total: int | None
    usable: int | None

    def exceeded(self, tokens: int, name: str) -> str | None:
        """The limit that a row of tokens exceeds, in words, or None.

        Args:
            tokens: Tokens of the row, prompt included and padding left out.
            name: The model's name.

        Returns:
            Words that follow "exceeds", or None.

        Example:
            >>> Positions(256, 64).exceeded(65, "tiny")
            'the 64 positions that one pass of tiny can use'
            >>> Positions(256, 256).exceeded(257, "tiny")
            'the 256 positions of tiny'
        """
        if self.usable is None or tokens <= self.usable:
            return None
        if self.usable == self.total:
            return f"the {self.total:,} positions of {name}"
        return f"the {self.usable:,} positions that one pass of {name} can use"


def positions_of(model: nn.Module) -> Positions:
    """The positions that a model has, and how many of them one pass may use.

    Args:
        model: A transformers model.

    Returns:
        Both limits.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> positions_of(GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=8, n_positions=32)))
        Positions(total=32, usable=32)
    """
    config: Any = model.config  # Any: each architecture has its own class
    config = config.get_text_config()
    total: int | None = getattr(config, "max_position_embeddings", None)
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(kind for kind in rope.values() if isinstance(kind, dict))]  # one for each kind of layer
    original = [
        kind.get("original_max_position_embeddings") for kind in kinds if kind.get("rope_type") == "longrope"
    ]
    limits = [limit for limit in (total, *original) if limit is not None]
    return Positions(total, min(limits, default=None))


def run_tokens(
    model: nn.Module,
    ids: Int[Tensor, "text token"],
    positions: Int[Tensor, "text token"],
    *,
    mask: Bool[Tensor, "text token"] | None = None,
    cache: Any = None,  # Any: a transformers Cache; the package is imported late
) -> None:
    """One pass over tokens, for those who watch the model.

    Padding that stands behind the text, where causal attention cannot see it, may have positions beyond
    the last one: they are given the last one.

    Args:
        model: A transformers model.
        ids: Token ids.
        positions: The position of each, from 0; unused by a model that has none.
        mask: False on padding; None where it stands behind every token that matters.
        cache: Keys and values of what stands before; those of the tokens are added to it.

    Raises:
        BadFeatures: The model is in training mode: dropout would make every number random.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> tiny = GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16, n_positions=2)).eval()
        >>> run_tokens(tiny, torch.tensor([[1, 2, 0]]), torch.arange(3)[None])
    """
    if model.training:
        raise BadFeatures("the model is in training mode, where dropout is random; call its eval() first")
    device, limit = next(model.parameters()).device, positions_of(model).usable
    positions = positions if limit is None else positions.clamp(max=limit - 1)
    parameters = inspect.signature(model.forward).parameters
    takes, earlier = "position_ids" in parameters, "cache" if "cache" in parameters else "past_key_values"
    places = {"position_ids": positions.to(device)} if takes else {}
    with torch.no_grad():
        model(
            ids.to(device),
            attention_mask=None if mask is None else mask.long().to(device),
            use_cache=cache is not None,
            **{earlier: cache},  # so named from transformers 5.24 on, and otherwise before
            **places,
        )


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
