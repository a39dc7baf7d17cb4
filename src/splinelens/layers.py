"""Hand each layer's tensors to readers while the model runs, and keep nothing.

``watch`` hooks the gate of every layer asked for and the output of its block, calls the readers at
once, and removes every hook when the ``with`` block ends, also after an exception. The readers
never change what flows through the model, so its outputs stay bit-equal.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from splinelens.anatomy import Anatomy, anatomy_of
from splinelens.errors import BadFeatures

Reader = Callable[[int, Tensor], None]
"""Called as ``reader(layer, tensor)``, with a tensor of shape (text, token, neuron or width)."""


class _Enough(Exception):
    """Raised inside the last hook to end a pass that has nothing left to read."""


@contextmanager
def watch(
    model: nn.Module,
    *,
    gate: Reader | None = None,
    hidden: Reader | None = None,
    layers: Iterable[int] | None = None,
    stop: bool = False,
) -> Iterator[None]:
    """Read the layers of a model during the passes made inside the ``with`` block.

    Args:
        model: A transformers model whose architecture has a row in ``anatomy.py``.
        gate: Receives each layer's gate, before the nonlinearity: (text, token, neuron).
        hidden: Receives each block's output, the residual stream: (text, token, width).
        layers: The layers to read, from 0; None reads all.
        stop: Leave the ``with`` block as soon as the last layer has been read: what follows
            in the block, and the rest of the pass, is not run.

    Raises:
        BadFeatures: A layer that the model does not have.
        UnknownAnatomy: An architecture without a row.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> tiny = GPT2Model(GPT2Config(n_layer=2, n_head=2, n_embd=8, vocab_size=16))
        >>> with watch(tiny, gate=lambda layer, values: print(layer, tuple(values.shape))):
        ...     _ = tiny(torch.tensor([[1, 2, 3]]))
        0 (1, 3, 32)
        1 (1, 3, 32)
    """
    anatomy = anatomy_of(model)
    chosen = _checked(layers, anatomy.depth)
    handles: list[torch.utils.hooks.RemovableHandle] = []
    enough = _Enough()
    try:
        for layer in chosen:
            last = stop and layer == chosen[-1]
            if gate is not None:
                handles += _hook_gate(anatomy, layer, gate, enough if last and hidden is None else None)
            if hidden is not None:
                handles += [_hook_hidden(anatomy, layer, hidden, enough if last else None)]
        yield
    except _Enough as raised:
        if raised is not enough:  # it belongs to a watch around this one
            raise
        enough.__traceback__ = None  # it holds the frames of the pass, and with them its tensors
    finally:
        for handle in handles:
            handle.remove()


def _checked(layers: Iterable[int] | None, depth: int) -> list[int]:
    chosen = list(range(depth)) if layers is None else sorted(set(layers))
    wrong = [layer for layer in chosen if not 0 <= layer < depth]
    if wrong:
        raise BadFeatures(f"layers {wrong} do not exist: the model has {depth} blocks, 0 to {depth - 1}")
    return chosen


def _hook_gate(
    anatomy: Anatomy, layer: int, reader: Reader, enough: _Enough | None
) -> list[torch.utils.hooks.RemovableHandle]:
    shape: list[int] = []

    def remember(_module: nn.Module, args: tuple, kwargs: dict) -> None:
        states = args[0] if args else kwargs["hidden_states"]
        shape[:] = states.shape[:2]

    def read(_module: nn.Module, _args: tuple, out: Tensor) -> None:
        values = out[..., : out.shape[-1] // 2] if anatomy.family.fused else out
        if anatomy.family.flattened:
            values = values.view(*shape, -1)
        reader(layer, values.detach())
        if enough is not None:
            raise enough

    handles = [anatomy.gate(layer).register_forward_hook(read)]
    if anatomy.family.flattened:
        handles.append(anatomy.blocks[layer].register_forward_pre_hook(remember, with_kwargs=True))
    return handles


def _hook_hidden(
    anatomy: Anatomy, layer: int, reader: Reader, enough: _Enough | None
) -> torch.utils.hooks.RemovableHandle:
    def read(_module: nn.Module, _args: tuple, out: Tensor | tuple[Tensor, ...]) -> None:
        reader(layer, (out[0] if isinstance(out, tuple) else out).detach())
        if enough is not None:
            raise enough

    return anatomy.blocks[layer].register_forward_hook(read)
