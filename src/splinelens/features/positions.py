"""How many tokens a model has positions for, and one pass over tokens at their positions.

Behind its last position a model has nothing to say. With longrope rotary embeddings there is a limit
before that one: a position beyond the original ones makes transformers turn all positions of the pass
by other angles, so a longer text, or mere padding, would change the tokens before it.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from splinelens.errors import BadFeatures


@dataclass(frozen=True)
class Positions:
    """The positions of a model.

    Attributes:
        room: How many there are; None where nothing limits them.
        alike: How many of them are turned by angles that do not depend on the others: the limit of a
            pass. It is ``room`` unless the model has longrope rotary embeddings.
    """

    room: int | None
    alike: int | None

    def exceeded(self, tokens: int, name: str) -> str | None:
        """The limit that a row of tokens exceeds, in words, or None.

        Args:
            tokens: Tokens of the row, prompt included and padding left out.
            name: The model's name.

        Returns:
            Words that follow "exceeds", or None.

        Example:
            >>> Positions(256, 64).exceeded(65, "tiny")
            'the 64 positions that tiny turns alike'
            >>> Positions(256, 256).exceeded(257, "tiny")
            'the 256 positions of tiny'
        """
        if self.alike is None or tokens <= self.alike:
            return None
        if self.alike == self.room:
            return f"the {self.room:,} positions of {name}"
        return f"the {self.alike:,} positions that {name} turns alike"


def positions_of(model: nn.Module) -> Positions:
    """The positions that a model has, and how many of them one pass may use.

    Args:
        model: A transformers model.

    Returns:
        Both limits.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> positions_of(GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=8, n_positions=32)))
        Positions(room=32, alike=32)
    """
    config: Any = model.config  # Any: each architecture has its own class
    config = config.get_text_config()
    room: int | None = getattr(config, "max_position_embeddings", None)
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(kind for kind in rope.values() if isinstance(kind, dict))]  # one for each kind of layer
    original = [
        kind.get("original_max_position_embeddings") for kind in kinds if kind.get("rope_type") == "longrope"
    ]
    limits = [limit for limit in (room, *original) if limit is not None]
    return Positions(room, min(limits, default=None))


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
    device, limit = next(model.parameters()).device, positions_of(model).alike
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
