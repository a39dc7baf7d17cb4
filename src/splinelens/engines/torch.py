"""The PyTorch engine: one watched forward pass, each layer reduced as soon as it is computed.

Works on every architecture of ``anatomy.py``. Reducers are batched and masked; a layer's gate, states
and attention are gone when the next layer runs, and a pass is copied to the host once. A prompt is
the same for all texts and attention is causal, so its keys and values are computed once and shared.
"""

import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from splinelens.anatomy import anatomy_of
from splinelens.errors import BadFeatures, BadModel
from splinelens.geometry.attention import (
    dimension_bounds,
    intrinsic_dimension_of_weights,
    intrinsic_dimensions,
)
from splinelens.geometry.codes import region_code
from splinelens.geometry.directions import Directions
from splinelens.geometry.partition import (
    boundary_distance,
    learned_margin,
    margin_scale,
    sign_fraction,
    signed_margin,
)
from splinelens.geometry.running import Running, last_token
from splinelens.geometry.settings import BOUNDARY_POOLINGS, SIGN_POOLINGS
from splinelens.geometry.walls import nearest_wall
from splinelens.layers import AttentionCall, watch
from splinelens.tokens import PAD_MULTIPLE, Positions, TokenBatch, padded
from splinelens.weights import gate_norms, linear_of, routed_neurons

if hasattr(os, "register_at_fork"):  # not on Windows
    # A forked process has none of the threads that OpenMP would wait for.
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))

_BLOCK = 2**18
# Numbers of a gate that are reduced at once on a CPU: 1 MB in float32 stays in its cache.


@dataclass(frozen=True)
class Request:
    """What a pass computes.

    Attributes:
        layers: Layers whose gate and states are reduced, rising.
        softmax_layers: Layers whose attention is reduced, rising.
        spline7: Sign fraction and boundary distance.
        margins: Poolings of the signed margins.
        hidden: Poolings of the residual stream after the block.
        attention: Poolings of the intrinsic dimension, summed over heads.
        bounds: Also its upper bounds, as two further thresholds of ``TextStats.dimension``.
        eps: Threshold of the intrinsic dimension.
        codes: Region codes, nearest boundaries, routes and the dimension of each head, for
            ``token_stats``.
        directions: Learned hyperplanes across the layers.
        learned: Poolings of the margins to them.
    """

    layers: tuple[int, ...]
    softmax_layers: tuple[int, ...] = ()
    spline7: bool = False
    margins: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    attention: tuple[str, ...] = ()
    bounds: bool = False
    eps: float = 0.1
    codes: bool = False
    directions: Directions | None = None
    learned: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class TextStats:
    """Layer statistics pooled over the tokens of each row of a batch.

    Attributes:
        sign: Sign fraction, (row, layer), pooled by ``SIGN_POOLINGS``.
        boundary: Boundary distance, (row, layer), pooled by ``BOUNDARY_POOLINGS``.
        dimension: Intrinsic dimension, (row, threshold, layer) over the layers with a softmax, and its
            bounds after the thresholds, if requested; NaN where attention is not finite.
        margins: For each layer the margins, (row, neuron).
        hidden: For each layer the residual stream, (row, width).
        learned: Learned margins, (row, direction).
        learned_tokens: Learned margins of every token, padding included; only if they are located.
    """

    sign: Running | None = None
    boundary: Running | None = None
    dimension: Running | None = None
    margins: dict[int, Running] = field(default_factory=dict)
    hidden: dict[int, Running] = field(default_factory=dict)
    learned: Running | None = None
    learned_tokens: Float[Tensor, "row token direction"] | None = None

    def rows(self, start: int, stop: int | None) -> "TextStats":
        """Some of the rows."""
        return _mapped(self, lambda part: part[start:stop])

    def clone(self) -> "TextStats":
        """A copy that holds no rows in memory but its own."""
        return _mapped(self, Tensor.clone)

    def text(self, row: int, start: int, stop: int) -> "TextStats":
        """One row, whose pooled tokens are these."""
        one = self.rows(row, row + 1)
        tokens = one.learned_tokens
        return one if tokens is None else replace(one, learned_tokens=tokens[:, start:stop])

    def located_from(self, offset: int) -> "TextStats":
        """The same statistics with the token that each margin comes from moved by an offset."""
        moved = {layer: state.located_from(offset) for layer, state in self.margins.items()}
        learned = None if self.learned is None else self.learned.located_from(offset)
        return replace(self, margins=moved, learned=learned)

    def merge(self, later: "TextStats") -> "TextStats":
        """Statistics of the tokens of this record and then those of a later one."""

        def merged(first: Running | None, second: Running | None) -> Running | None:
            return None if first is None or second is None else first.merge(second)

        first, second = self.learned_tokens, later.learned_tokens
        return TextStats(
            merged(self.sign, later.sign),
            merged(self.boundary, later.boundary),
            merged(self.dimension, later.dimension),
            {layer: state.merge(later.margins[layer]) for layer, state in self.margins.items()},
            {layer: state.merge(later.hidden[layer]) for layer, state in self.hidden.items()},
            merged(self.learned, later.learned),
            None if first is None or second is None else torch.cat([first, second], dim=1),
        )


@dataclass(frozen=True, eq=False)
class TokenStats:
    """Layer statistics of every token of a batch, padding included.

    Attributes:
        sign: Sign fraction.
        boundary: Boundary distance.
        dimension: Intrinsic dimension summed over heads, over the layers with a softmax, and its bounds, if
            requested.
        margins: For each layer the margins; on a layer of experts those of the token's experts.
        neurons: For each layer of experts the neurons that these margins belong to.
        hidden: For each layer the residual stream.
        nearest_wall: The neuron of the nearest boundary, -1 without any.
        finite: Whether a token's gate is finite.
        codes: For each layer the packed signs.
        routes: For each layer of experts the token's experts, rising.
        heads: For each layer with a softmax the intrinsic dimension of each head.
        value_dims: For each layer with a softmax the width of the values in a head.
        learned: Learned margins.
    """

    sign: Float[Tensor, "text token layer"] | None = None
    boundary: Float[Tensor, "text token layer"] | None = None
    dimension: Float[Tensor, "text token _threshold _layer"] | None = None
    margins: dict[int, Float[Tensor, "text token _neuron"]] = field(default_factory=dict)
    neurons: dict[int, Int[Tensor, "text token _neuron"]] = field(default_factory=dict)
    hidden: dict[int, Float[Tensor, "text token width"]] = field(default_factory=dict)
    nearest_wall: Int[Tensor, "text token layer"] | None = None
    finite: Bool[Tensor, "text token layer"] | None = None
    codes: dict[int, UInt8[Tensor, "text token _byte"]] = field(default_factory=dict)
    routes: dict[int, Int[Tensor, "text token _route"]] = field(default_factory=dict)
    heads: dict[int, Int[Tensor, "text token 2 _head"]] = field(default_factory=dict)
    value_dims: dict[int, int] = field(default_factory=dict)
    learned: Float[Tensor, "text token direction"] | None = None

    def text(self, row: int, start: int, stop: int) -> "TokenStats":
        """Some tokens of one row; the text axis stays, with one entry."""
        return _mapped(self, lambda part: part[row : row + 1, start:stop])


class TorchEngine:
    """Runs token batches through a model under ``watch``.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> from splinelens.tokens import TokenizedText, batches
        >>> tiny = GPT2Model(GPT2Config(n_layer=2, n_head=2, n_embd=8, vocab_size=16)).eval()
        >>> engine = TorchEngine(tiny, Request(layers=(0, 1), margins=("max",)))
        >>> (batch,) = batches([TokenizedText(ids=(1, 2, 3), total=3)], max_tokens=8)
        >>> engine.text_stats(batch).margins[1].result("max").shape
        torch.Size([1, 32])
    """

    pad_multiple = PAD_MULTIPLE
    """Batches are padded to a multiple of so many tokens; its kernels then sum in one order."""

    def __init__(self, model: nn.Module, request: Request, prompt: Sequence[int] = ()):
        """Bind a model to a request.

        Args:
            model: A base model of transformers.
            request: What every pass computes.
            prompt: Token ids to run once; every row of a batch then follows them.

        Raises:
            BadFeatures: The model lacks a layer of the request.
        """
        anatomy_of(model).layers(request.layers)
        self.model = model
        self.request = request
        self.prompt = run_prompt(model, prompt)
        gated = request.layers if request.spline7 or request.margins or request.codes else ()
        self.norms = {layer: gate_norms(model, layer) for layer in gated}
        self.scales = {layer: margin_scale(norm) for layer, norm in self.norms.items()}
        self.pruned = {layer for layer, norm in self.norms.items() if bool((norm == 0).any())}
        device = next(model.parameters()).device
        self.normals: dict[int, Float[Tensor, "direction width"]] = {}
        if request.directions is not None:
            weight = torch.from_numpy(request.directions.weight).float().to(device)
            self.normals = dict(zip(request.layers, weight.unbind(1), strict=True))
            self.bias = torch.from_numpy(request.directions.bias).to(device)

    def text_stats(self, batch: TokenBatch, *, locate: bool = False) -> TextStats:
        """Run a batch and pool each row over the tokens of its span.

        Args:
            batch: The batch.
            locate: Also keep the column of the batch that each margin comes from, and the learned margins of
                every token.

        Returns:
            Statistics on the host, one row for each row of the batch.
        """
        reducer = _Reducer(self, self._pooled(batch), _common(batch), locate)
        self._run(batch, reducer, None)
        return _to_host(reducer.text_stats())

    def token_stats(self, batch: TokenBatch, cache: Any = None) -> TokenStats:  # Any: see run_tokens
        """Run a batch and keep the statistics of every token.

        Args:
            batch: The batch.
            cache: A cache of transformers to follow instead of the prompt; the batch is added to it.

        Returns:
            Statistics on the host.
        """
        reducer = _Reducer(self)
        self._run(batch, reducer, cache)
        return _to_host(reducer.token_stats())

    def next_token(
        self,
        causal: nn.Module,
        ids: Int[Tensor, "row token"],
        positions: Int[Tensor, "row token"],
        cache: Any,  # Any: see run_tokens
    ) -> tuple[TextStats, Float[Tensor, "row vocabulary"]]:
        """Continue sequences of equal length by some tokens, through all blocks and the language-model head.

        Args:
            causal: The engine's model with its head.
            ids: The next tokens of each sequence.
            positions: Their positions.
            cache: A cache of transformers with what stands before; the tokens are added to it.

        Returns:
            Statistics of each row pooled over its new tokens, on the host; logits of the token that follows.
        """
        reducer = _Reducer(self, torch.ones_like(ids, dtype=torch.bool), slice(0, ids.shape[1]))
        with torch.no_grad(), self.watched(reducer, self._layers, stop=False):
            output = run_tokens(causal, ids, positions, cache=cache, last_logits=True)
        return _to_host(reducer.text_stats()), output.logits[:, -1].float()

    def inputs(self, batch: TokenBatch) -> Float[Tensor, "row token layer width"]:
        """Run a batch and keep what the MLPs read of every token, padding included.

        Returns:
            The inputs of the MLPs of the requested layers, on the host.
        """
        states: dict[int, Tensor] = {}
        layers = self.request.layers
        with torch.no_grad(), watch(self.model, inputs=states.__setitem__, layers=layers, stop=True):
            self._forward(batch, None)
        return torch.stack([states[layer] for layer in layers], dim=2).cpu()

    def failing_layer(self, batch: TokenBatch, cache: Any = None) -> int | None:  # Any: see run_tokens
        """The first layer whose gate or output is not finite at a pooled token of the batch.

        Args:
            batch: The batch.
            cache: As in ``token_stats``.

        Returns:
            The layer; None if all up to the last layer of the request are finite.
        """
        failing: list[int] = []
        mask = self._pooled(batch)

        def check(layer: int, values: Tensor) -> None:
            if not failing and not bool(values[mask].isfinite().all()):
                failing.append(layer)

        depth = max(self.request.layers, default=0) + 1
        with torch.no_grad(), watch(self.model, gate=check, hidden=check, layers=range(depth), stop=True):
            self._forward(batch, cache)
        return failing[0] if failing else None

    def _pooled(self, batch: TokenBatch) -> Bool[Tensor, "row token"]:
        """The tokens of each row that are pooled."""
        start, stop = torch.tensor(batch.spans).T[..., None]
        column = torch.arange(batch.ids.shape[1])
        return ((column >= start) & (column < stop)).to(next(self.model.parameters()).device)

    def _run(self, batch: TokenBatch, reducer: "_Reducer", cache: Any) -> None:  # Any: see run_tokens
        if self._layers:
            with torch.no_grad(), self.watched(reducer, self._layers, stop=True):
                self._forward(batch, cache)

    @property
    def _layers(self) -> Sequence[int]:
        """The layers that a pass has to be watched at; none if nothing is computed."""
        request = self.request
        if request.spline7 or request.margins or request.codes or request.hidden or request.learned:
            return request.layers
        return request.softmax_layers

    @contextmanager
    def watched(self, reducer: "_Reducer", layers: Sequence[int], *, stop: bool) -> Iterator[None]:
        """Let a reducer have the layers of every pass inside the ``with`` block; see ``watch``."""
        request = self.request
        gate = reducer.gate if request.spline7 or request.margins or request.codes else None
        attention = reducer.attention if request.softmax_layers else None
        separate = attention is not None and layers != request.softmax_layers
        with ExitStack() as watches:
            watches.enter_context(  # the outer watch ends the pass
                watch(
                    self.model,
                    gate=gate,
                    routes=reducer.routes if gate else None,
                    inputs=reducer.inputs if request.learned else None,
                    hidden=reducer.hidden if request.hidden else None,
                    attention=None if separate else attention,
                    layers=layers,
                    stop=stop,
                )
            )
            if separate:  # some of the layers have no softmax
                watches.enter_context(watch(self.model, attention=attention, layers=request.softmax_layers))
            yield

    def _forward(self, batch: TokenBatch, cache: Any) -> None:  # Any: see run_tokens
        # Right padding comes after every token that is pooled, where causal attention cannot see it.
        mask = torch.from_numpy(batch.mask) if batch.side == "left" else None
        cache = self.prompt.cache(len(batch.ids)) if cache is None else cache
        ids, positions = torch.from_numpy(batch.ids), torch.from_numpy(batch.positions)
        run_tokens(self.model, ids, positions, mask=mask, cache=cache)


class Pass(nn.Module):
    """One pass of an engine as a function of tensors alone, which a compiler can trace.

    It starts from embeddings: their table, the largest tensor of a small model, stays out of the graph.

    Args:
        engine: The engine.
        gather: From the pooled statistics and the rows of a batch to values and sources, (row, entry) each.
    """

    def __init__(self, engine: TorchEngine, gather: Callable[[TextStats, int], tuple[Tensor, Tensor]]):
        super().__init__()
        self.model = engine.model
        self.engine = engine
        self.gather = gather

    def forward(
        self,
        embedded: Float[Tensor, "row token width"],
        start: Int[Tensor, " row"],
        stop: Int[Tensor, " row"],
    ) -> tuple[Float[Tensor, "row entry"], Int[Tensor, "row entry"]]:
        """Pool the tokens ``start:stop`` of each row.

        Args:
            embedded: What the model's embedding gives for the ids.
            start: First token of each row that is pooled.
            stop: The one after the last.

        Returns:
            Values, and the token that each comes from. Values do not depend on the latter, so that a graph of
            them alone needs no search for it.
        """
        rows, column = embedded.shape[0], torch.arange(embedded.shape[1])
        mask = (column >= start[:, None]) & (column < stop[:, None])
        plain, located = (_Reducer(self.engine, mask, locate=locate) for locate in (False, True))
        positions = (column + self.engine.prompt.length).expand(rows, -1)
        cache = self.engine.prompt.cache(rows)
        table: nn.Module = self.model.get_input_embeddings()  # type: ignore[operator]  # transformers' own
        with ExitStack() as watches:
            watches.callback(table.register_forward_hook(lambda *_: embedded).remove)
            for reducer in (plain, located):  # a tracer does not survive the early end of a pass
                watches.enter_context(self.engine.watched(reducer, self.engine.request.layers, stop=False))
            run_tokens(self.model, torch.zeros_like(positions), positions, cache=cache)
        return self.gather(plain.text_stats(), rows)[0], self.gather(located.text_stats(), rows)[1]


def positions_of(model: nn.Module) -> Positions:
    """The positions that a model of transformers has, and how many of them one pass can use.

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
    last_logits: bool = False,
    gradients: bool = False,
) -> Any:  # Any: a ModelOutput of transformers
    """One pass over tokens, for those who watch the model.

    Padding after the text, where causal attention cannot see it, may have positions beyond the last one:
    they are clamped to it.

    Args:
        model: A transformers model.
        ids: Token ids.
        positions: The position of each, from 0; unused by a model that has none.
        mask: False on padding; None where it comes after every token that matters.
        cache: Keys and values of what stands before; those of the tokens are added to it.
        last_logits: Of a model with a language-model head only the logits after the last token are needed.
        gradients: Keep what the gradients need.

    Returns:
        What the model returns.

    Raises:
        BadFeatures: The model is in training mode, where dropout would make every number random; or it is in
            float64, and transformers cannot run it so.
        BadModel: The pass fails, as where the configuration does not fit the weights.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> tiny = GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16, n_positions=2)).eval()
        >>> run_tokens(tiny, torch.tensor([[1, 2, 0]]), torch.arange(3)[None]).last_hidden_state.shape
        torch.Size([1, 3, 8])
    """
    require_evaluation(model)
    double = next(model.parameters()).dtype == torch.float64
    if double:
        _check_float64(model)
    device, limit = next(model.parameters()).device, positions_of(model).usable
    positions = positions if limit is None else positions.clamp(max=limit - 1)
    parameters = inspect.signature(model.forward).parameters
    takes, earlier = "position_ids" in parameters, "cache" if "cache" in parameters else "past_key_values"
    positioned = {"position_ids": positions.to(device)} if takes else {}
    kept = {"logits_to_keep": 1} if last_logits and "logits_to_keep" in parameters else {}
    mask = None if mask is None else mask.to(device)
    try:
        with (
            torch.set_grad_enabled(gradients),
            _finite_padding(model, mask) if double and mask is not None else nullcontext(),
        ):
            return model(
                ids.to(device),
                attention_mask=None if mask is None else mask.long(),
                use_cache=cache is not None,
                **{earlier: cache},  # so named from transformers 5.24 on, and otherwise before
                **positioned,
                **kept,
            )
    except torch.OutOfMemoryError:
        raise  # the reader halves the batch
    except (RuntimeError, IndexError) as error:
        raise BadModel(
            f"a forward pass of {type(model).__name__} fails ({error}); does its config.json fit its weights?"
        ) from error


def require_evaluation(model: nn.Module) -> None:
    """Refuse a model in training mode.

    Raises:
        BadFeatures: It is.
    """
    if model.training:
        raise BadFeatures("the model is in training mode, where dropout is random; call its eval() first")


def _check_float64(model: nn.Module) -> None:
    """Refuse a model in float64 that transformers cannot run."""
    anatomy, name = anatomy_of(model), type(model).__name__
    if anatomy.family.no_float64:
        raise BadFeatures(
            f"{name} does not run in float64: in transformers {anatomy.family.no_float64}; load it with "
            "dtype='float32'"
        )
    config: Any = model.config  # Any: each architecture has its own class
    experts = getattr(config.get_text_config(), "_experts_implementation", None) or "eager"
    if experts != "eager" and anatomy.expert_layers:
        raise BadFeatures(
            f"the experts of {name} do not run in float64 as {experts!r}; call its "
            "set_experts_implementation('eager'), or load it with load_model(..., dtype='float64')"
        )


@contextmanager
def _finite_padding(model: nn.Module, mask: Bool[Tensor, "text token"]) -> Iterator[None]:
    """Set what a block gives for padding to 0 while the ``with`` block runs.

    Padding on the left sees no key. Where a family computes its softmax of float64 scores in float32
    (Gemma-2, BLOOM, MPT), their least value becomes minus infinity there and the outcome NaN, and in the next
    block NaN times a weight of 0 would spoil every token.
    """

    def clear(_module: nn.Module, _args: tuple, out: Tensor | tuple) -> Tensor | tuple:
        states = out[0] if isinstance(out, tuple) else out
        cleared = states.masked_fill(~mask[:, -states.shape[1] :, None], 0.0)
        return (cleared, *out[1:]) if isinstance(out, tuple) else cleared

    handles = [block.register_forward_hook(clear) for block in anatomy_of(model).blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


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

        Returns:
            A ``transformers`` cache, or None without a prompt.
        """
        if not self.length:
            return None
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer

        cache = DynamicCache()
        for keys, values in self.states:
            layer = DynamicLayer()
            layer.lazy_initialization(keys, values)
            # Views: ``cache.update`` would join them to empty tensors, a copy that the compiler refuses.
            layer.keys, layer.values = keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)
            cache.layers.append(layer)
        return cache


def run_prompt(model: nn.Module, ids: Sequence[int], *, gradients: bool = False) -> Prompt:
    """Run the prompt once and keep its keys and values, with ``gradients`` what these need, too.

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
    cache = DynamicCache()  # the model's default would drop keys outside its sliding window
    # Padded as texts are, for the same sums; padding comes last, where attention cannot see it.
    row = torch.tensor([[*ids, *[0] * (padded(length) - length)]])
    run_tokens(model, row, torch.arange(row.shape[1])[None], cache=cache, gradients=gradients)
    states = ((layer.keys[:, :, :length], layer.values[:, :, :length]) for layer in cache.layers)
    return Prompt(length, tuple(states))


def head_dimensions(call: AttentionCall, eps: float) -> Int[Tensor, "2 text head token"]:
    """Intrinsic dimension of each head at every token of an attention call.

    Args:
        call: From ``watch(attention=...)``, with scores or with weights only.
        eps: Threshold, in (0, 1).

    Returns:
        Counts of keys, absolute then relative; -1 where attention is not finite. Those of padding
        have no meaning.
    """
    if call.weights is not None:
        return intrinsic_dimension_of_weights(call.weights, eps)
    assert call.query is not None
    assert call.key is not None
    return intrinsic_dimensions(
        call.query,
        call.key,
        scaling=call.scaling,
        mask=call.mask,
        softcap=call.softcap,
        sinks=call.sinks,
        eps=eps,
    )


class _Reducer:
    """Reduces the layers of one pass as they come.

    Args:
        engine: The engine that runs the pass.
        mask: The tokens of each row to pool; None keeps every token.
        common: Tokens that all rows pool.
        locate: Also keep the token that each pooled margin comes from, and what a mean is of.
    """

    def __init__(
        self,
        engine: TorchEngine,
        mask: Bool[Tensor, "row token"] | None = None,
        common: slice = slice(0, 0),
        locate: bool = False,
    ):
        self.engine = engine
        self.request = engine.request
        self.mask = mask
        self.common = common
        self.locate = locate
        self.tokens = TokenStats()
        self.texts = TextStats()
        self.sign: list[Float[Tensor, "text token"]] = []  # one tensor a layer, here and below
        self.boundary: list[Float[Tensor, "text token"]] = []
        self.nearest_wall: list[Int[Tensor, "text token"]] = []
        self.finite: list[Bool[Tensor, "text token"]] = []
        self.dimension: list[Float[Tensor, "text token threshold"]] = []
        self.learned: Float[Tensor, "text token direction"] | None = None  # summed over the layers so far

    def text_stats(self) -> TextStats:
        """Text statistics of the whole pass."""
        mask = self.mask
        assert mask is not None

        def pooled(layers: list[Tensor], poolings: Sequence[str]) -> Running | None:
            return Running.reduce(torch.stack(layers, -1), mask, poolings) if layers else None

        return replace(
            self.texts,
            sign=pooled(self.sign, SIGN_POOLINGS),
            boundary=pooled(self.boundary, BOUNDARY_POOLINGS),
            dimension=pooled(self.dimension, self.request.attention),
            learned=None
            if self.learned is None
            else Running.reduce(
                self.learned, mask, self.request.learned, locate=self.locate, unmasked=self.common
            ),
            learned_tokens=self.learned if self.locate else None,
        )

    def token_stats(self) -> TokenStats:
        """Token statistics of the whole pass."""

        def stacked(layers: list[Tensor]) -> Tensor | None:
            return torch.stack(layers, -1) if layers else None

        return replace(
            self.tokens,
            sign=stacked(self.sign),
            boundary=stacked(self.boundary),
            nearest_wall=stacked(self.nearest_wall),
            finite=stacked(self.finite),
            dimension=stacked(self.dimension),
            learned=self.learned,
        )

    def routes(self, layer: int, routes: Int[Tensor, "text token route"]) -> None:
        """Keep the experts of each token; the layer's gate comes next."""
        self.tokens.neurons[layer] = routed_neurons(self.engine.model, layer, routes)
        if self.request.codes:
            self.tokens.routes[layer] = routes.clone()

    def gate(self, layer: int, gate: Float[Tensor, "text token neuron"]) -> None:
        """Reduce the gate of a layer."""
        request, neurons, norms = self.request, self.tokens.neurons.get(layer), self.engine.norms[layer]
        each_token = request.codes or request.spline7 or self.mask is None
        norm = norms if neurons is None or not each_token else norms[neurons]
        if request.codes:
            self._codes(layer, gate, norm)
        elif request.spline7:
            self._signs(layer, gate, norm)
        if request.margins and self.mask is None:
            self.tokens.margins[layer] = signed_margin(gate, norm)
        elif request.margins:
            pooled = self._pooled(gate, neurons, len(norms))
            self.texts.margins[layer] = pooled.scaled(self.engine.scales[layer])
        if not (request.codes or layer in self.tokens.margins):
            self.tokens.neurons.pop(layer, None)

    def inputs(self, layer: int, states: Float[Tensor, "text token width"]) -> None:
        """Add what a layer's MLP inputs contribute to the learned margins."""
        before = self.engine.bias if self.learned is None else self.learned
        self.learned = before + learned_margin(states, self.engine.normals[layer])

    def hidden(self, layer: int, states: Float[Tensor, "text token width"]) -> None:
        """Reduce the output of a block."""
        if self.mask is None:
            self.tokens.hidden[layer] = states.float()
        else:
            self.texts.hidden[layer] = Running.reduce(
                states.float(), self.mask, self.request.hidden, unmasked=self.common
            )

    def attention(self, layer: int, call: AttentionCall) -> None:
        """Reduce the attention of a layer to the intrinsic dimension of each token."""
        if self.mask is not None and set(self.request.attention) == {"last"}:
            call = _at_last_token(call, self.mask)
        counts = head_dimensions(call, self.request.eps)
        broken = (counts < 0).any(2)
        summed = counts.sum(2)
        if self.request.bounds:
            width, head_dim = anatomy_of(self.engine.model).width, self._value_dim(layer, call, counts)
            tight, _ = dimension_bounds(counts.movedim(2, 3), head_dim, width)
            summed, broken = torch.cat([summed, tight]), broken.repeat(2, 1, 1)
        numbers = summed.float().masked_fill(broken, torch.nan).permute(1, 2, 0)
        self.dimension.append(numbers if self.mask is None else numbers.expand(-1, self.mask.shape[1], -1))
        if self.request.codes:
            self.tokens.heads[layer] = counts.permute(1, 3, 0, 2)
            self.tokens.value_dims[layer] = self._value_dim(layer, call, counts)

    def _value_dim(self, layer: int, call: AttentionCall, counts: Int[Tensor, "2 text head token"]) -> int:
        """The width of the values in a head of a layer."""
        if call.value is not None:
            return call.value.shape[-1]
        anatomy = anatomy_of(self.engine.model)  # a quantized projection cannot be read, and seldom has to be
        projection, _ = linear_of(anatomy.output(layer), anatomy.family.transposed)
        return projection.shape[1] // counts.shape[2]

    def _pooled(
        self,
        gate: Float[Tensor, "text token neuron"],
        neurons: Int[Tensor, "text token neuron"] | None,
        size: int,
    ) -> Running:
        """The gate, pooled over the tokens of each row; margins are proportional to it."""
        assert self.mask is not None
        poolings, locate = self.request.margins, self.locate
        if neurons is None:
            return Running.reduce(gate, self.mask, poolings, locate=locate, unmasked=self.common)
        return Running.reduce_routed(gate, neurons, size, self.mask, poolings, locate=locate)

    def _signs(
        self, layer: int, gate: Float[Tensor, "text token neuron"], norm: Float[Tensor, "*text_token neuron"]
    ) -> None:
        """Sign fraction and boundary distance of every token, on a CPU some tokens at a time."""
        flat = gate.flatten(0, 1)
        rows = len(flat) if gate.device.type != "cpu" else max(1, _BLOCK // max(1, gate.shape[-1]))
        norms = norm.flatten(0, 1).split(rows) if norm.dim() > 1 else [norm] * -(-len(flat) // rows)
        sign, boundary = [], []
        for part, norm_part in zip(flat.split(rows), norms, strict=True):
            margin = signed_margin(part, norm_part)
            sign.append(sign_fraction(margin))
            boundary.append(boundary_distance(self._with_hyperplane(layer, margin, norm_part)))
        self.sign.append(torch.cat(sign).view(gate.shape[:2]))
        self.boundary.append(torch.cat(boundary).view(gate.shape[:2]))

    def _codes(
        self, layer: int, gate: Float[Tensor, "text token neuron"], norm: Float[Tensor, "*text_token neuron"]
    ) -> None:
        """Sign fraction, nearest boundary and region code of every token."""
        margin = signed_margin(gate, norm)
        distance, nearest = nearest_wall(self._with_hyperplane(layer, margin, norm))
        neurons = self.tokens.neurons.get(layer)
        if neurons is not None:
            index = neurons.gather(-1, nearest.clamp(min=0)[..., None])[..., 0]
            nearest = index.masked_fill(nearest < 0, -1)
        self.sign.append(sign_fraction(margin))
        self.boundary.append(distance)
        self.nearest_wall.append(nearest)
        self.finite.append(margin.isfinite().all(dim=-1))
        self.tokens.codes[layer] = region_code(margin)

    def _with_hyperplane(self, layer: int, margin: Tensor, norm: Tensor) -> Tensor:
        """Margins, infinite where a neuron's weights are all 0: it has no hyperplane, so no boundary."""
        return margin.masked_fill(norm == 0, torch.inf) if layer in self.engine.pruned else margin


def _common(batch: TokenBatch) -> slice:
    """The tokens that all rows of a batch pool."""
    starts, stops = zip(*batch.spans, strict=True)
    return slice(max(starts), max(max(starts), min(stops)))


def _at_last_token(call: AttentionCall, mask: Bool[Tensor, "text token"]) -> AttentionCall:
    """The attention call of only the last pooled token of each text."""
    last = last_token(mask)
    text = torch.arange(len(mask), device=mask.device)

    def query_rows(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.expand(len(mask), -1, -1, -1)[text, :, last, None]

    visible = query_rows(call.mask)
    if visible is None and call.key is not None:
        keys = call.key.shape[2]
        seen = keys - mask.shape[1] + last  # index of the token's key, after the cached ones
        visible = (torch.arange(keys, device=mask.device) <= seen[:, None])[:, None, None]
    return replace(call, query=query_rows(call.query), mask=visible, weights=query_rows(call.weights))


def _mapped(record: Any, function: Callable[[Tensor], Tensor]) -> Any:  # Any: a record of tensors
    """The same record with a function applied to every tensor in it, in the order of its fields."""
    if isinstance(record, Tensor):
        return function(record)
    if isinstance(record, dict):
        return {key: _mapped(part, function) for key, part in record.items()}
    if is_dataclass(record) and not isinstance(record, type):
        parts = {item.name: _mapped(getattr(record, item.name), function) for item in fields(record)}
        return replace(record, **parts)
    return record


def _to_host(stats: Any) -> Any:  # Any: a record of tensors
    """Copy a record to the host, all tensors of one dtype at once."""
    parts: list[Tensor] = []

    def collect(part: Tensor) -> Tensor:
        parts.append(part)
        return part

    _mapped(stats, collect)
    if all(part.device.type == "cpu" for part in parts):
        return stats
    copies: dict[int, Tensor] = {}
    for dtype in {part.dtype for part in parts}:
        same = [index for index, part in enumerate(parts) if part.dtype == dtype]
        flat = torch.cat([parts[index].reshape(-1) for index in same]).cpu()
        sizes = [parts[index].numel() for index in same]
        for index, piece in zip(same, flat.split(sizes), strict=True):
            copies[index] = piece.view(parts[index].shape)
    ordered = iter(range(len(parts)))
    return _mapped(stats, lambda _: copies[next(ordered)])
