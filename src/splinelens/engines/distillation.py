"""What the MLPs of a student read of texts, with the gradients that train it."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from splinelens.anatomy import anatomy_of
from splinelens.engines.torch import run_prompt, run_tokens
from splinelens.layers.hooks import EndOfPass


def text_inputs(
    model: nn.Module, ids: Sequence[Sequence[int]], prompt: Sequence[int], layers: Sequence[int]
) -> tuple[Float[Tensor, "text token column"], Bool[Tensor, "text token"]]:
    """The MLP inputs of every token at some layers, one layer after the other; products are bfloat16.

    Args:
        model: A base model of transformers.
        ids: The token ids of each text.
        prompt: The token ids that stand before each text.
        layers: The layers, rising; later ones do not run.

    Returns:
        The inputs, padded right, and which tokens are no padding.
    """
    device = next(model.parameters()).device
    lengths = torch.tensor([len(text) for text in ids])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    padded = torch.zeros(mask.shape, dtype=torch.long)
    padded[mask] = torch.tensor([number for text in ids for number in text])
    states: list[Tensor] = []

    def read(_module: nn.Module, args: tuple) -> None:
        states.append(args[0].reshape(*mask.shape, -1))
        if len(states) == len(layers):
            raise EndOfPass

    with torch.autocast(device.type, torch.bfloat16):
        before = run_prompt(model, prompt, gradients=torch.is_grad_enabled())
        positions = (torch.arange(mask.shape[1]) + before.length).expand_as(mask)
        handles = [anatomy_of(model).gate(layer).register_forward_pre_hook(read) for layer in layers]
        try:
            run_tokens(model, padded.to(device), positions, cache=before.cache(len(ids)), gradients=True)
        except EndOfPass:
            pass
        finally:
            for handle in handles:
                handle.remove()
    return torch.cat(states, dim=-1), mask.to(device)
