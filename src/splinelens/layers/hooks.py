"""``watch``: call readers with each layer's tensors during a forward pass.

Forward hooks call the readers at once, nothing is stored, and every hook is removed when the ``with``
block ends, also after an exception. Readers get detached tensors and the model's outputs stay bit-equal.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from splinelens.anatomy import Anatomy, anatomy_of
from splinelens.layers.attention import CallReader, watch_attention
from splinelens.layers.experts import routed_gate
from splinelens.models import LoadedModel

Reader = Callable[[int, Tensor], None]
"""Called as ``reader(layer, tensor)``, with a tensor of shape (text, token, neuron or width)."""

_Handle = torch.utils.hooks.RemovableHandle

_LOCKS: "WeakKeyDictionary[nn.Module, threading.RLock]" = WeakKeyDictionary()
_NEW_LOCK = threading.Lock()
# Hooks belong to the model, not to a thread: one thread watches a model at a time.


class EndOfPass(Exception):
    """Raised inside a hook to end a forward pass early."""


@contextmanager
def watch(
    model: nn.Module | LoadedModel,
    *,
    gate: Reader | None = None,
    hidden: Reader | None = None,
    inputs: Reader | None = None,
    routes: Reader | None = None,
    attention: CallReader | None = None,
    layers: Iterable[int] | None = None,
    stop: bool = False,
) -> Iterator[None]:
    """Call readers with the tensors of every forward pass inside the ``with`` block.

    A model is watched by one thread at a time: others wait at the ``with``. Passes that other threads
    run meanwhile are not read. If attention is read and the family's row says ``softmax="weights"``, the
    model runs eager attention, which may round differently. A model in training mode is read as it is, with
    its dropout: call its ``eval()`` for numbers that can be repeated.

    Args:
        model: A transformers model whose architecture has a row in ``anatomy.py``, or what ``load_model``
            returned; then the passes are those of its ``model``.
        gate: Receives each layer's gate, before the nonlinearity: (text, token, neuron). On a layer
            of experts, the gates of the experts that a token is routed to, in rising order, then that
            of the shared expert.
        hidden: Receives each block's output, the residual stream: (text, token, width).
        inputs: Receives the input of each layer's MLP, the normalized residual: (text, token, width).
        routes: On layers of experts, receives the experts of each token in rising order, just
            before ``gate`` is called: (text, token, route).
        attention: Receives each layer's attention call: queries, keys, values and mask.
        layers: The layers to read, from 0; None reads all.
        stop: Leave the ``with`` block as soon as the last layer has been read: the rest of the pass and
            of the block is skipped. ``routes`` alone never stop it: the last layer may be dense.

    Raises:
        BadFeatures: A layer that does not exist, or ``attention`` on a layer without softmax.
        UnknownAnatomy: The architecture has no row in ``anatomy.py``.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> tiny = GPT2Model(GPT2Config(n_layer=2, n_head=2, n_embd=8, vocab_size=16))
        >>> with watch(tiny, gate=lambda layer, values: print(layer, tuple(values.shape))):
        ...     _ = tiny(torch.tensor([[1, 2, 3]]))
        0 (1, 3, 32)
        1 (1, 3, 32)
    """
    anatomy = anatomy_of(model.model if isinstance(model, LoadedModel) else model)
    chosen = anatomy.layers(layers)
    thread, end = threading.get_ident(), EndOfPass()
    readers = {"gate": gate, "hidden": hidden, "inputs": inputs, "attention": attention}
    pending = {kind for kind, reader in readers.items() if reader} if stop and chosen else set()

    def guarded(kind: str, reader: Callable[..., None] | None) -> Callable[..., None] | None:
        """The reader for passes of this thread; ends the pass once every kind has read the last layer."""

        def read(layer: int, values: object) -> None:
            if threading.get_ident() != thread:
                return
            reader(layer, values)  # type: ignore[misc]  # not None, see below
            if kind in pending and layer == chosen[-1]:
                pending.remove(kind)
                if not pending:
                    raise end

        return None if reader is None else read

    handles: list[_Handle] = []
    with _lock_of(anatomy.base), ExitStack() as contexts:
        try:
            if on_call := guarded("attention", attention):
                contexts.enter_context(watch_attention(anatomy, chosen, on_call))
            mlp = guarded("inputs", inputs), guarded("gate", gate), guarded("routes", routes)
            for layer in chosen:
                handles += _hook_mlp(anatomy, layer, *mlp)
            if on_hidden := guarded("hidden", hidden):
                handles += [_hook_hidden(anatomy, layer, on_hidden) for layer in chosen]
            yield
        except EndOfPass as raised:
            if raised is not end:  # raised by an outer watch
                raise
            raised.__traceback__ = None  # its frames hold the tensors of the pass
        finally:
            for handle in handles:
                handle.remove()


def _lock_of(base: nn.Module) -> threading.RLock:
    with _NEW_LOCK:
        return _LOCKS.setdefault(base, threading.RLock())


def _hook_mlp(
    anatomy: Anatomy,
    layer: int,
    inputs: Callable[..., None] | None,
    gate: Callable[..., None] | None,
    routes: Callable[..., None] | None,
) -> list[_Handle]:
    """Hook the input of a layer's MLP and its gate."""
    if inputs is None and gate is None and routes is None:
        return []
    shapes: dict[int, torch.Size] = {}  # by thread

    def record_shape(_module: nn.Module, args: tuple, kwargs: dict) -> None:
        states = args[0] if args else kwargs["hidden_states"]
        shapes[threading.get_ident()] = states.shape[:2]

    def shaped(values: Tensor) -> Tensor:
        return values.detach().reshape(*shapes[threading.get_ident()], -1)

    experts = anatomy.experts(layer)
    handles = [anatomy.blocks[layer].register_forward_pre_hook(record_shape, with_kwargs=True)]
    if experts is not None:
        return handles + _hook_experts(anatomy, layer, shaped, inputs, gate, routes)
    module = anatomy.gate(layer)
    if inputs is not None:
        handles.append(module.register_forward_pre_hook(lambda _module, args: inputs(layer, shaped(args[0]))))
    if gate is not None:

        def read(_module: nn.Module, _args: tuple, out: Tensor) -> None:
            values = out[..., : out.shape[-1] // 2] if anatomy.family.fused else out
            gate(layer, shaped(values) if anatomy.family.flattened else values.detach())

        handles.append(module.register_forward_hook(read))
    return handles


def _hook_experts(
    anatomy: Anatomy,
    layer: int,
    shaped: Callable[[Tensor], Tensor],
    inputs: Callable[..., None] | None,
    gate: Callable[..., None] | None,
    routes: Callable[..., None] | None,
) -> list[_Handle]:
    """Hook a layer of experts; the shared expert may run before or after them."""
    experts, shared = anatomy.experts(layer), anatomy.shared(layer)
    assert experts is not None
    thread, parts = threading.get_ident(), dict[str, Tensor]()

    def read_gate() -> None:
        if gate is not None and "routed" in parts and (shared is None or "shared" in parts):
            values = [shaped(parts.pop(name)) for name in ("routed", "shared") if name in parts]
            gate(layer, torch.cat(values, dim=-1))

    def read(_module: nn.Module, args: tuple, kwargs: dict) -> None:
        if threading.get_ident() != thread:
            return
        states, chosen = [*args, *kwargs.values()][:2]
        rising = chosen.sort(dim=-1).values
        if inputs is not None:
            inputs(layer, shaped(states))
        if routes is not None:
            routes(layer, shaped(rising))
        if gate is not None:
            with torch.no_grad():
                parts["routed"] = routed_gate(experts, states, rising, anatomy.family.interleaved)
            read_gate()

    def read_shared(_module: nn.Module, _args: tuple, out: Tensor) -> None:
        if threading.get_ident() == thread:
            parts["shared"] = out
            read_gate()

    handles = [experts.register_forward_pre_hook(read, with_kwargs=True)]
    if shared is not None and gate is not None:
        handles.append(shared.gate_proj.register_forward_hook(read_shared))  # type: ignore[union-attr]  # a linear map
    return handles


def _hook_hidden(anatomy: Anatomy, layer: int, reader: Callable[..., None]) -> _Handle:
    def read(_module: nn.Module, _args: tuple, out: Tensor | tuple) -> None:
        reader(layer, (out[0] if isinstance(out, tuple) else out).detach())

    return anatomy.blocks[layer].register_forward_hook(read)
