"""What a softmax attention is given, taken from the model's own call.

Queries and keys are read as transformers' ``AttentionInterface`` hands them over: after rotary
embedding, with the model's own mask, scaling, window, soft cap and sinks, so nothing is computed
twice and no T x T matrix is kept. The stock function then runs as ever. Families outside that
interface (Falcon, BLOOM, MPT, GPT-Neo, XGLM) hand over eager attention's weights.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, contiguous_format, nn

from splinelens.anatomy import Anatomy
from splinelens.errors import BadFeatures

_STOCK = ("sdpa", "eager")


@dataclass(frozen=True, eq=False)
class AttentionCall:
    """What one attention call was given, for all texts of a batch.

    Attributes:
        query: (text, head, token, head_dim), after rotary embedding; None where only weights are had.
        key: (text, kv_head, key, head_dim), cached keys first; None as above.
        value: (text, kv_head, key, value_dim); None as above.
        mask: (text, 1 or head, token, key), boolean (True is seen) or to be added to the scores;
            None means causal: query i of n sees the keys up to number ``key count - n + i``.
        scaling: Factor of the scores.
        softcap: Scores are ``softcap * tanh(score / softcap)``; None leaves them.
        sinks: (head,) logits that join the softmax and stand for no token; None without.
        weights: (text, head, token, key): eager attention's, where the family hands over no scores.
    """

    query: Tensor | None
    key: Tensor | None
    value: Tensor | None
    mask: Tensor | None
    scaling: float
    softcap: float | None = None
    sinks: Tensor | None = None
    weights: Tensor | None = None

    def part(self, row: int, start: int, stop: int) -> "AttentionCall":
        """The part of the call that some tokens of one text have.

        Their queries, and the keys up to the last of them: causal attention stays causal, since the
        last query sees the last key. Cached keys are all before the tokens and stay.

        Args:
            row: The text's number in the batch.
            start: First token of the pass, from 0; cached ones are not counted.
            stop: One behind the last.

        Returns:
            A call of the same kind and of one text: views, no copies.

        Example:
            >>> import torch
            >>> query, key = torch.zeros(2, 4, 5, 8), torch.zeros(2, 1, 7, 8)  # two keys are cached
            >>> part = AttentionCall(query, key, key, None, 1.0).part(1, 3, 4)
            >>> part.query.shape, part.key.shape
            (torch.Size([1, 4, 1, 8]), torch.Size([1, 1, 6, 8]))
        """
        one = slice(row, row + 1)

        def keys(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[one, :, : self._cached + stop]

        def pairs(values: Tensor | None) -> Tensor | None:
            if values is None:
                return None
            own = one if len(values) > 1 else slice(1)  # one mask may hold for all texts
            return values[own, :, start:stop, : self._cached + stop]

        return replace(
            self,
            query=None if self.query is None else self.query[one, :, start:stop],
            key=keys(self.key),
            value=keys(self.value),
            mask=pairs(self.mask),
            weights=pairs(self.weights),
        )

    def copied(self) -> "AttentionCall":
        """The same call with tensors of its own: what is kept behind the pass must not keep the whole one.

        Example:
            >>> import torch
            >>> whole = AttentionCall(None, None, None, None, 1.0, weights=torch.zeros(1, 2, 50, 50))
            >>> whole.part(0, 3, 4).copied().weights.untyped_storage().nbytes()  # 2 heads, 4 keys
            32
        """

        def own(values: Tensor | None) -> Tensor | None:
            return None if values is None else values.clone(memory_format=contiguous_format)

        return replace(
            self,
            query=own(self.query),
            key=own(self.key),
            value=own(self.value),
            mask=own(self.mask),
            sinks=own(self.sinks),
            weights=own(self.weights),
        )

    @property
    def _cached(self) -> int:
        """Keys that stand before the tokens of the pass."""
        if self.weights is not None:
            return self.weights.shape[3] - self.weights.shape[2]
        assert self.query is not None  # a call has either weights or queries and keys
        assert self.key is not None
        return self.key.shape[2] - self.query.shape[2]


CallReader = Callable[[int, AttentionCall], None]
"""Called as ``reader(layer, call)``."""

_READERS: "WeakKeyDictionary[nn.Module, list[Callable[[AttentionCall], None]]]" = WeakKeyDictionary()
# Who reads which attention module now. A list: one watch may stand inside another.

_RENAMED: dict[int, list[Any]] = {}  # Any: of each configuration its own name, and the watches around it


@contextmanager
def handing_over(anatomy: Anatomy, layers: Sequence[int], reader: CallReader) -> Iterator[None]:
    """Hand every attention call of some layers to a reader while the ``with`` block runs.

    The model's attention implementation is named anew for that time and then named back.

    Args:
        anatomy: The model's anatomy.
        layers: The layers.
        reader: Called inside the pass, before the attention itself is computed (with
            ``softmax="weights"`` behind it).

    Raises:
        BadFeatures: A layer without softmax attention, or an attention implementation that keeps
            its scores to itself.
    """
    modules = {layer: anatomy.attention(layer) for layer in layers}
    lacking = [layer for layer, module in modules.items() if module is None]
    if lacking:
        there = [layer for layer in range(anatomy.depth) if anatomy.attention(layer) is not None]
        raise BadFeatures(
            f"layers {lacking} have linear attention: there is no softmax, so no hull and no intrinsic "
            f"dimension; layers that have one: {there}"
        )
    found = {layer: module for layer, module in modules.items() if module is not None}
    if anatomy.softmax == "weights":
        with weights_handed_over(anatomy, found, reader):
            yield
        return
    own = {module: partial(reader, layer) for layer, module in found.items()}
    for module, read in own.items():
        _READERS.setdefault(module, []).append(read)
    try:
        with _named(_configs(anatomy, found.values()), _watched_name):
            yield
    finally:
        for module, read in own.items():
            _READERS[module].remove(read)


@contextmanager
def weights_handed_over(
    anatomy: Anatomy, modules: dict[int, nn.Module], reader: CallReader
) -> Iterator[None]:
    """Hand over the weights of eager attention, which is run meanwhile whatever the model runs else.

    Args:
        anatomy: The model's anatomy.
        modules: The attention module of each layer to read.
        reader: Called behind each of them, with a call that holds weights alone.

    Raises:
        BadFeatures: A module gives no weights.
    """

    def hook(layer: int) -> Callable[[nn.Module, tuple, tuple], None]:
        def read(module: nn.Module, _args: tuple, out: tuple) -> None:
            weights = out[1] if isinstance(out, tuple) and len(out) > 1 else None
            if not isinstance(weights, Tensor) or weights.dim() != 4:
                raise BadFeatures(
                    f"{type(module).__name__} of layer {layer} gives no attention weights; load the model "
                    "with attn_implementation='eager'"
                )
            reader(layer, AttentionCall(None, None, None, None, 1.0, weights=weights.detach()))

        return read

    handles = [module.register_forward_hook(hook(layer)) for layer, module in modules.items()]
    try:
        with _named(_configs(anatomy, modules.values()), lambda name: "eager"):
            yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _named(configs: list[Any], rename: Callable[[str | None], str]) -> Iterator[None]:  # Any: see _configs
    """Name the attention implementation anew in every configuration; the last one out names it back."""
    names = [rename(config._attn_implementation) for config in configs]
    for config, name in zip(configs, names, strict=True):
        _RENAMED.setdefault(id(config), [config._attn_implementation, 0])[1] += 1
        config._attn_implementation_internal = name  # the property would also rename sub-models
    try:
        yield
    finally:
        for config in configs:
            entry = _RENAMED[id(config)]
            entry[1] -= 1
            if not entry[1]:
                config._attn_implementation_internal = _RENAMED.pop(id(config))[0]


def _configs(anatomy: Anatomy, modules: Any) -> list[Any]:  # Any: configurations have no common typed base
    """The configurations that the model and its attention modules look their implementation up in."""
    found = [anatomy.base.config, *(module.config for module in modules if hasattr(module, "config"))]
    text = anatomy.base.config.get_text_config()  # type: ignore[union-attr, operator]  # a transformers model
    return list({id(config): config for config in (*found, text)}.values())


def _watched_name(stock: str | None) -> str:
    """The name under which the watched twin of an attention implementation is registered."""
    if stock is not None and stock.startswith("splinelens_"):  # a watch inside another
        return stock
    if stock not in _STOCK:
        raise BadFeatures(
            f"the attention implementation {stock!r} keeps its scores to itself; load the model with "
            "attn_implementation='sdpa' or 'eager'"
        )
    _register(stock)
    return f"splinelens_{stock}"


def _register(stock: str) -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    name = f"splinelens_{stock}"
    if name not in AttentionInterface():
        AttentionMaskInterface.register(name, AttentionMaskInterface()[stock])
        AttentionInterface.register(name, _watched(stock))


def _watched(stock: str) -> Callable[..., Any]:  # Any: whatever the stock function returns
    def attention(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **more: Any,
    ) -> Any:  # Any: as above, and its further arguments
        for reader in _READERS.get(module, ()):
            scaling = more.get("scaling")
            reader(
                AttentionCall(
                    query.detach(),
                    key.detach(),
                    value.detach(),
                    attention_mask,
                    query.shape[-1] ** -0.5 if scaling is None else float(scaling),
                    more.get("softcap"),
                    more.get("s_aux"),
                )
            )
        return _stock_function(module, stock)(module, query, key, value, attention_mask, **more)

    return attention


def _stock_function(module: nn.Module, stock: str) -> Callable[..., Any]:  # Any: as above
    """The function that the module would have called: eager attention lies beside its class."""
    if stock != "eager":
        from transformers import AttentionInterface

        return AttentionInterface()[stock]
    for kind in type(module).__mro__:  # a class derived elsewhere has no such neighbour
        function = getattr(sys.modules[kind.__module__], "eager_attention_forward", None)
        if function is not None:
            return function
    raise BadFeatures(
        f"beside {type(module).__name__} there is no eager_attention_forward; load the model with "
        "attn_implementation='sdpa'"
    )
