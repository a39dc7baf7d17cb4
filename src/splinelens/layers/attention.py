"""The inputs of a softmax attention, taken from the model's own call.

Queries and keys are captured in transformers' ``AttentionInterface``: after rotary embedding, with the
model's mask, scaling, window, soft cap and sinks, so nothing is computed twice and no (token, key) matrix
is stored. The original function then runs as usual. Families outside that interface (Falcon, BLOOM, MPT,
GPT-Neo, XGLM) expose the weights of eager attention instead.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, contiguous_format, nn

from splinelens.anatomy import Anatomy
from splinelens.errors import BadFeatures

_SUPPORTED = ("sdpa", "eager")


@dataclass(frozen=True, eq=False)
class AttentionCall:
    """Arguments of one attention call, for all texts of a batch.

    Attributes:
        query: (text, head, token, head_dim), after rotary embedding; None if only weights are known.
        key: (text, kv_head, key, head_dim), cached keys first; None as above.
        value: (text, kv_head, key, value_dim); None as above.
        mask: (text or 1, 1 or head, token, key), bool (True is visible) or a float added to the scores;
            None is causal: query i of n sees the keys up to ``key count - n + i``.
        scaling: Factor of the scores.
        softcap: Scores are ``softcap * tanh(score / softcap)``; None for no cap.
        sinks: (head,) logits that join the softmax and belong to no token; None without.
        weights: (text, head, token, key) of eager attention, for families that expose no scores.
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
        """The call for some tokens of one text.

        Keeps their queries and the keys up to the last of them, so causal attention stays causal. Cached
        keys come before the tokens and stay.

        Returns:
            A call for one text; its tensors are views.

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
            text = one if len(values) > 1 else slice(1)  # all texts may share one mask
            return values[text, :, start:stop, : self._cached + stop]

        return replace(
            self,
            query=None if self.query is None else self.query[one, :, start:stop],
            key=keys(self.key),
            value=keys(self.value),
            mask=pairs(self.mask),
            weights=pairs(self.weights),
        )

    def copied(self) -> "AttentionCall":
        """The same call with copies of its tensors, so that storing it does not keep the whole batch.

        Example:
            >>> import torch
            >>> whole = AttentionCall(None, None, None, None, 1.0, weights=torch.zeros(1, 2, 50, 50))
            >>> whole.part(0, 3, 4).copied().weights.untyped_storage().nbytes()  # 2 heads, 4 keys
            32
        """
        copies: dict[str, Any] = {  # Any: mypy checks every field against it
            field.name: part.clone(memory_format=contiguous_format)
            for field in fields(self)
            if isinstance(part := getattr(self, field.name), Tensor)
        }
        return replace(self, **copies)

    @property
    def _cached(self) -> int:
        """Number of keys before the tokens of the pass."""
        if self.weights is not None:
            return self.weights.shape[3] - self.weights.shape[2]
        assert self.query is not None  # without weights there are queries and keys
        assert self.key is not None
        return self.key.shape[2] - self.query.shape[2]


CallReader = Callable[[int, AttentionCall], None]
"""Called as ``reader(layer, call)``."""

_READERS: "WeakKeyDictionary[nn.Module, list[Callable[[AttentionCall], None]]]" = WeakKeyDictionary()
# Readers of each attention module. A list: watches can be nested.

_RENAMED: dict[int, list[Any]] = {}
# By id of a configuration: its original implementation name, and the number of watches that changed it.


@contextmanager
def watch_attention(anatomy: Anatomy, layers: Sequence[int], reader: CallReader) -> Iterator[None]:
    """Pass every attention call of some layers to a reader while the ``with`` block runs.

    The model's configuration names a wrapped attention implementation meanwhile, then the original.

    Args:
        anatomy: The model's anatomy.
        layers: The layers.
        reader: Called before the attention is computed; after it with ``softmax="weights"``.

    Raises:
        BadFeatures: A layer whose attention cannot be read (see ``Anatomy.no_attention``), or an attention
            implementation that does not expose its inputs, such as flash attention.
    """
    modules = {layer: anatomy.attention(layer) for layer in layers}
    lacking = [layer for layer, module in modules.items() if module is None]
    if lacking:
        raise BadFeatures(
            f"the attention of layers {lacking} cannot be read: {anatomy.no_attention(lacking[0])}; layers "
            f"whose attention can: {list(anatomy.softmax_layers)}"
        )
    softmax = {layer: module for layer, module in modules.items() if module is not None}
    if not softmax:  # the model's own attention stays
        yield
        return
    if anatomy.softmax == "weights":
        with watch_weights(anatomy, softmax, reader):
            yield
        return
    readers = {module: partial(reader, layer) for layer, module in softmax.items()}
    for module, read in readers.items():
        _READERS.setdefault(module, []).append(read)
    try:
        with _renamed(_configs(anatomy, softmax.values()), _watched_name):
            yield
    finally:
        for module, read in readers.items():
            _READERS[module].remove(read)


@contextmanager
def watch_weights(anatomy: Anatomy, modules: dict[int, nn.Module], reader: CallReader) -> Iterator[None]:
    """Run eager attention while the ``with`` block runs, and pass its weights to a reader.

    Raises:
        BadFeatures: A module returns no weights.
    """

    def hook(layer: int) -> Callable[[nn.Module, tuple, tuple], None]:
        def read(module: nn.Module, _args: tuple, out: tuple) -> None:
            weights = out[1] if isinstance(out, tuple) and len(out) > 1 else None
            if not isinstance(weights, Tensor) or weights.dim() != 4:
                raise BadFeatures(
                    f"{type(module).__name__} of layer {layer} returns no attention weights; load the model "
                    "with attn_implementation='eager'"
                )
            reader(layer, AttentionCall(None, None, None, None, 1.0, weights=weights.detach()))

        return read

    handles = [module.register_forward_hook(hook(layer)) for layer, module in modules.items()]
    try:
        with _renamed(_configs(anatomy, modules.values()), lambda name: "eager"):
            yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _renamed(configs: list[Any], rename: Callable[[str | None], str]) -> Iterator[None]:  # Any: see _configs
    """Change the attention implementation of every configuration; the last watch to end restores it."""
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
    """The configurations in which the model and its attention modules look up their implementation."""
    configs = [anatomy.base.config, *(module.config for module in modules if hasattr(module, "config"))]
    text = anatomy.base.config.get_text_config()  # type: ignore[union-attr, operator]  # a transformers model
    return list({id(config): config for config in (*configs, text)}.values())


def _watched_name(name: str | None) -> str:
    """The registered name of the wrapped version of an attention implementation."""
    from transformers import AttentionInterface, AttentionMaskInterface

    if name is not None and name.startswith("splinelens_"):  # a nested watch
        return name
    if name not in _SUPPORTED:
        raise BadFeatures(
            f"the attention implementation {name!r} does not expose its scores; load the model with "
            "attn_implementation='sdpa' or 'eager'"
        )
    watched = f"splinelens_{name}"
    if watched not in AttentionInterface():
        AttentionMaskInterface.register(watched, AttentionMaskInterface()[name])
        AttentionInterface.register(watched, _watched(name))
    return watched


def _watched(name: str) -> Callable[..., Any]:  # Any: whatever the original function returns
    def attention(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **options: Any,
    ) -> Any:  # Any: as above, and its further arguments
        for reader in _READERS.get(module, ()):
            scaling = options.get("scaling")
            reader(
                AttentionCall(
                    query.detach(),
                    key.detach(),
                    value.detach(),
                    attention_mask,
                    query.shape[-1] ** -0.5 if scaling is None else float(scaling),
                    options.get("softcap"),
                    options.get("s_aux"),
                )
            )
        return _original(module, name)(module, query, key, value, attention_mask, **options)

    return attention


def _original(module: nn.Module, name: str) -> Callable[..., Any]:  # Any: as above
    """The function that the module calls unwatched: eager attention is in the module of its class."""
    if name != "eager":
        from transformers import AttentionInterface

        return AttentionInterface()[name]
    for kind in type(module).__mro__:  # a subclass may be defined elsewhere
        function = getattr(sys.modules[kind.__module__], "eager_attention_forward", None)
        if function is not None:
            return function
    raise BadFeatures(
        f"the module that defines {type(module).__name__} has no eager_attention_forward; load the model "
        "with attn_implementation='sdpa'"
    )
