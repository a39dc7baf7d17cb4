"""Hand each layer's tensors to readers while the model runs, and keep nothing.

``watch`` hooks what the readers ask for in every layer, calls them at once, and removes every hook
when the ``with`` block ends, also after an exception. The readers never change what flows through
the model, so its outputs stay bit-equal.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from splinelens.anatomy import Anatomy, anatomy_of
from splinelens.errors import BadFeatures
from splinelens.layers.attention import CallReader, handing_over
from splinelens.layers.experts import routed_gate

Reader = Callable[[int, Tensor], None]
"""Called as ``reader(layer, tensor)``, with a tensor of shape (text, token, neuron or width)."""

Handle = torch.utils.hooks.RemovableHandle

_LOCKS: "WeakKeyDictionary[nn.Module, threading.RLock]" = WeakKeyDictionary()
_NEW_LOCK = threading.Lock()
# Hooks are the model's own: a second thread waits until the first has left its block.


class _Enough(Exception):
    """Raised inside the last hook to end a pass that has nothing left to read."""


@contextmanager
def watch(
    model: nn.Module,
    *,
    gate: Reader | None = None,
    hidden: Reader | None = None,
    inputs: Reader | None = None,
    routes: Reader | None = None,
    attention: CallReader | None = None,
    layers: Iterable[int] | None = None,
    stop: bool = False,
) -> Iterator[None]:
    """Read the layers of a model during the passes made inside the ``with`` block.

    A model is watched by one thread at a time: another one waits at the ``with``. Passes that other
    threads make meanwhile are not read. Where attention is read and the family's row says
    ``softmax="weights"``, eager attention is run, which may round otherwise than the model's own.

    Args:
        model: A transformers model whose architecture has a row in ``anatomy.py``.
        gate: Receives each layer's gate, before the nonlinearity: (text, token, neuron). On a layer
            of experts the neurons of those that a token is routed to, experts in rising order, and
            then the shared expert's.
        hidden: Receives each block's output, the residual stream: (text, token, width).
        inputs: Receives what each layer's MLP is given, the normed residual: (text, token, width).
        routes: On layers of experts, receives the experts of each token in rising order, just
            before ``gate`` is called: (text, token, route).
        attention: Receives each layer's attention call: queries, keys, values and mask.
        layers: The layers to read, from 0; None reads all.
        stop: Leave the ``with`` block as soon as the last layer has been read: what follows
            in the block, and the rest of the pass, is not run.

    Raises:
        BadFeatures: A layer that the model does not have, or ``attention`` where there is no softmax.
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
    wanted = {"gate": gate, "hidden": hidden, "inputs": inputs, "attention": attention}
    ending = _Ending({kind for kind, reader in wanted.items() if reader} if stop and chosen else set())
    handles: list[Handle] = []
    with _lock_of(anatomy.base), ExitStack() as open_calls:
        try:
            if attention is not None:
                noted = _noted("attention", attention, chosen, ending)
                open_calls.enter_context(handing_over(anatomy, chosen, noted))
            noted_inputs = inputs and _noted("inputs", inputs, chosen, ending)
            noted_gate = gate and _noted("gate", gate, chosen, ending)
            noted_routes = routes and _noted("routes", routes, [], ending)
            for layer in chosen:
                handles += _hook_mlp(anatomy, layer, noted_inputs, noted_gate, noted_routes)
            if hidden is not None:
                noted = _noted("hidden", hidden, chosen, ending)
                handles += [_hook_hidden(anatomy, layer, noted) for layer in chosen]
            yield
        except _Enough as raised:
            if raised is not ending.enough:  # it belongs to a watch around this one
                raise
            raised.__traceback__ = None  # it holds the frames of the pass, and with them its tensors
        finally:
            for handle in handles:
                handle.remove()


class _Ending:
    """Ends the pass once every kind of reader has had the last layer."""

    def __init__(self, kinds: set[str]):
        self.waiting, self.enough = kinds, _Enough()

    def read(self, kind: str) -> None:
        """Note that the last layer was read by one kind of reader."""
        if self.waiting:
            self.waiting.discard(kind)
            if not self.waiting:
                raise self.enough


def _noted(kind: str, reader: Callable[..., None], chosen: list[int], ending: _Ending) -> Callable[..., None]:
    """The reader, for this thread's passes alone, which also tells when it has had the last layer."""
    owner = threading.get_ident()

    def read(layer: int, values: object) -> None:
        if threading.get_ident() != owner:
            return
        reader(layer, values)
        if chosen and layer == chosen[-1]:
            ending.read(kind)

    return read


def _lock_of(base: nn.Module) -> threading.RLock:
    with _NEW_LOCK:
        return _LOCKS.setdefault(base, threading.RLock())


def _checked(layers: Iterable[int] | None, depth: int) -> list[int]:
    chosen = list(range(depth)) if layers is None else sorted(set(layers))
    wrong = [layer for layer in chosen if not 0 <= layer < depth]
    if wrong:
        raise BadFeatures(f"layers {wrong} do not exist: the model has {depth} blocks, 0 to {depth - 1}")
    return chosen


def _hook_mlp(
    anatomy: Anatomy,
    layer: int,
    inputs: Callable[..., None] | None,
    gate: Callable[..., None] | None,
    routes: Reader | None,
) -> list[Handle]:
    """Hook what the MLP of a layer is given, and its gate."""
    if inputs is None and gate is None and routes is None:
        return []
    shapes: dict[int, torch.Size] = {}  # of each thread's pass

    def remember(_module: nn.Module, args: tuple, kwargs: dict) -> None:
        states = args[0] if args else kwargs["hidden_states"]
        shapes[threading.get_ident()] = states.shape[:2]

    def shaped(values: Tensor) -> Tensor:
        return values.detach().reshape(*shapes[threading.get_ident()], -1)

    experts = anatomy.experts(layer)
    handles = [anatomy.blocks[layer].register_forward_pre_hook(remember, with_kwargs=True)]
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
    routes: Reader | None,
) -> list[Handle]:
    """Hook a layer of experts; the shared expert may run before or after them."""
    experts, shared = anatomy.experts(layer), anatomy.shared(layer)
    assert experts is not None
    owner, parts = threading.get_ident(), dict[str, Tensor]()

    def hand_over() -> None:
        if gate is not None and "routed" in parts and (shared is None or "shared" in parts):
            values = [shaped(parts.pop(name)) for name in ("routed", "shared") if name in parts]
            gate(layer, torch.cat(values, dim=-1))

    def read(_module: nn.Module, args: tuple, kwargs: dict) -> None:
        if threading.get_ident() != owner:
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
            hand_over()

    def read_shared(_module: nn.Module, _args: tuple, out: Tensor) -> None:
        if threading.get_ident() == owner:
            parts["shared"] = out
            hand_over()

    handles = [experts.register_forward_pre_hook(read, with_kwargs=True)]
    if shared is not None and gate is not None:
        handles.append(shared.gate_proj.register_forward_hook(read_shared))  # type: ignore[union-attr]  # a linear map
    return handles


def _hook_hidden(anatomy: Anatomy, layer: int, reader: Callable[..., None]) -> Handle:
    def read(_module: nn.Module, _args: tuple, out: Tensor | tuple) -> None:
        reader(layer, (out[0] if isinstance(out, tuple) else out).detach())

    return anatomy.blocks[layer].register_forward_hook(read)
