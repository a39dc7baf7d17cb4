"""Every token of one text at every layer, from one pass: signs, boundaries, regions, intrinsic dimension.

A token keeps two numbers a layer, its nearest boundary, one bit a neuron and two counts a head;
nothing of size (token, neuron) or (token, token) outlives its layer. A prompt runs before the text in
the same row; attention sees its tokens, and they are never reported.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from splinelens.anatomy import Anatomy, anatomy_of
from splinelens.engines.torch import Request, TokenStats, TorchEngine, positions_of
from splinelens.errors import BadFeatures, BadTexts, NoTokens
from splinelens.features.nonfinite import first_nonfinite, location
from splinelens.features.validation import (
    check_layer,
    check_layers,
    check_positive,
    check_text,
    check_token,
)
from splinelens.geometry.attention import dimension_bounds
from splinelens.geometry.codes import (
    distinct_regions,
    occupancy_distance,
    region_ids,
    text_distance,
    unpacked,
)
from splinelens.geometry.partition import spline7
from splinelens.geometry.running import Running
from splinelens.geometry.settings import BOUNDARY_POOLINGS, SIGN_POOLINGS, check_eps
from splinelens.layers import AttentionCall, watch
from splinelens.models import LoadedModel
from splinelens.models.load import load_up_to
from splinelens.tokens import TokenBatch, TokenizedText, Window, batches, prompt_ids, tokenize
from splinelens.weights import routed_neurons


@dataclass(frozen=True, eq=False)
class TokenReport:
    """What one pass says of each token of a text, at each layer.

    Attributes:
        text: The text.
        spans: Character span (begin, end) of each token.
        layers: The layers that were read, rising; the layer axes below count these.
        sign: Share of neurons that are on.
        boundary: Distance to the nearest wall, in units of the MLP's input.
        nearest_wall: The neuron whose wall that is, numbered as in ``gate_norms``; -1 without any wall.
        dimension: Active keys of each head: with the absolute threshold, then with the relative
            one; -1 at layers without softmax attention.
        bound: Upper bound on the hull's dimension from the relative counts; -1 likewise.
        codes: For each layer the packed signs of the token's neurons (see ``geometry.codes``).
        neuron_count: For each layer how many neurons a code holds; on a layer of experts those of the
            experts that a token is routed to.
        routes: On layers of experts the token's experts, rising.
        inputs: MLP inputs, at the layers of ``keep_inputs``.
        call: The attention call of the token of ``keep_call``, without later keys.
        before: Tokens of the prompt that were run before the text, the opening token included.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    layers: tuple[int, ...]
    sign: Float[np.ndarray, "layer token"]
    boundary: Float[np.ndarray, "layer token"]
    nearest_wall: Int[np.ndarray, "layer token"]
    dimension: Int[np.ndarray, "2 layer head token"]
    bound: Int[np.ndarray, "layer token"]
    codes: tuple[UInt8[Tensor, "token _"], ...]
    neuron_count: tuple[int, ...]
    routes: dict[int, Int[Tensor, "token _"]]
    inputs: dict[int, Float[Tensor, "token width"]]
    call: AttentionCall | None
    before: int

    def __repr__(self) -> str:
        return f"TokenReport({self.tokens} tokens, layers {self.layers[0]} to {self.layers[-1]})"

    @property
    def tokens(self) -> int:
        """Number of tokens of the text."""
        return len(self.spans)

    @property
    def seven(self) -> Float[np.ndarray, "layer 7"]:
        """The seven features of the text at each layer, in the order of ``SPLINE7``."""
        return self.prefixes[:, -1]

    @property
    def prefixes(self) -> Float[np.ndarray, "layer token 7"]:
        """The seven features of every prefix of the text."""
        sign = Running.scan(torch.from_numpy(self.sign.T.copy()), SIGN_POOLINGS)
        boundary = Running.scan(torch.from_numpy(self.boundary.T.copy()), BOUNDARY_POOLINGS)
        return spline7(sign, boundary).transpose(0, 1).numpy()

    @property
    def regions(self) -> Int[np.ndarray, " layer"]:
        """How many different regions the text's tokens visit at each layer."""
        return np.array([distinct_regions(self._named(layer)) for layer in self.layers])

    def region_ids(self, layer: int) -> list[str]:
        """The name of each token's region at one layer that was read; see ``geometry.codes``.

        On a layer of experts the name combines the experts and the signs of their neurons.
        """
        return region_ids(self._named(layer))

    def code(self, layer: int) -> UInt8[Tensor, "token byte"]:
        """The packed signs of each token at one layer that was read, by its number in the model.

        Raises:
            BadFeatures: The layer was not read.
        """
        if layer not in self.layers:
            raise BadFeatures(f"layer {layer} was not read; the layers that were are {_listed(self.layers)}")
        return self.codes[self.layers.index(layer)]

    def piece(self, token: int) -> str:
        """The characters of the text that a token stands for."""
        return self.text[slice(*self.spans[token])]

    def _named(self, layer: int) -> UInt8[Tensor, "token byte"]:
        code, routes = self.code(layer), self.routes.get(layer)
        if routes is None:
            return code
        return torch.cat([(routes // 256).byte(), (routes % 256).byte(), code], dim=1)


def read_tokens(
    text: str,
    model: str | PathLike[str] | LoadedModel = "smollm2-135m",
    *,
    layers: Sequence[int] | None = None,
    prompt: str = "",
    max_tokens: int = 2048,
    eps: float = 0.1,
    keep_inputs: Sequence[int] = (),
    keep_call: tuple[int, int] | None = None,
    attention: bool = True,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
) -> TokenReport:
    """Read every token of one text in one pass.

    Args:
        text: The text, with one token at least.
        model: A loaded model, or the name, folder or file of one; of a name only the blocks needed are
            loaded.
        layers: The layers to read, from 0; None reads all.
        prompt: Run before the text, never reported.
        max_tokens: Longer texts are refused.
        eps: Threshold of the intrinsic dimension, in (0, 1).
        keep_inputs: Layers, among those read, whose MLP inputs are kept.
        keep_call: A layer, among those read, and a token: keep what attention was given for it.
        attention: Also read intrinsic dimensions; False is faster and leaves them at -1.
        revision: Branch, tag or commit of a hub id.
        device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.
        dtype: Number type of the weights; None takes ``float32``.

    Returns:
        The report, on the host except for kept inputs and call.

    Raises:
        BadTexts: The text is no string, has more tokens than ``max_tokens``, or with the prompt more than
            the model has positions (with longrope: than one pass can use, see ``engines/torch.py``).
        NoTokens: The text has no token.
        BadFeatures: A layer or token that does not exist or is not read, ``eps`` outside (0, 1), or
            activations that are not finite.
        BadModel: The model cannot be loaded, or an option of loading is given for a loaded one.

    Example:
        >>> report = read_tokens("Good morning.", layers=[0])  # doctest: +SKIP
        >>> report.sign.shape  # doctest: +SKIP
        (1, 3)
    """
    eps, text, max_tokens = check_eps(eps), check_text(text), check_positive(max_tokens, "max_tokens")
    requested = check_layers(layers)
    loaded = load_up_to(model, requested, revision=revision, device=device, dtype=dtype)
    return report_tokens(
        text,
        loaded,
        requested,
        prompt=prompt,
        max_tokens=max_tokens,
        eps=eps,
        keep_inputs=keep_inputs,
        keep_call=keep_call,
        attention=attention,
    )


def report_tokens(
    text: str,
    loaded: LoadedModel,
    layers: Sequence[int] | None,
    *,
    prompt: str = "",
    max_tokens: int = 2048,
    eps: float = 0.1,
    keep_inputs: Sequence[int] = (),
    keep_call: tuple[int, int] | None = None,
    attention: bool = True,
    name: str = "the text",
) -> TokenReport:
    """As ``read_tokens``, with a model that is ready and checked options; errors call the text ``name``."""
    anatomy = anatomy_of(loaded.model)
    chosen = anatomy.layers(layers)
    if not isinstance(keep_inputs, Iterable):
        raise BadFeatures(f"keep_inputs={keep_inputs!r}: need a list of layers, such as [5]")
    keep_inputs = [_kept_layer(layer, chosen, "inputs") for layer in keep_inputs]
    before = prompt_ids(loaded.tokenizer, prompt, beginning=True)
    tokens = _tokenize(loaded, text, len(before), max_tokens, name)
    if keep_call is not None:
        if not attention:
            raise BadFeatures("no call to keep without attention; pass attention=True")
        token = check_token(keep_call[1], len(tokens.ids), name)
        keep_call = (_kept_layer(keep_call[0], chosen, "call"), token)
    softmax = tuple(layer for layer in anatomy.softmax_layers if attention and layer in chosen)
    engine = TorchEngine(loaded.model, Request(chosen, softmax, eps=eps, codes=True))
    batch = _batch(tokens, before)
    ((start, stop),) = batch.spans
    kept_call = keep_call if keep_call is not None and keep_call[0] in softmax else None
    with _kept(loaded, start, stop, keep_inputs, kept_call) as (inputs, calls):
        stats = engine.token_stats(batch).text(0, start, stop)
    _check_finite(engine, stats, tokens, before, name)
    dimension, bound = _dimensions(anatomy, stats, chosen)
    assert stats.sign is not None
    assert stats.boundary is not None
    assert stats.nearest_wall is not None
    return TokenReport(
        text=text,
        spans=tokens.offsets,
        layers=chosen,
        sign=stats.sign[0].T.numpy(),
        boundary=stats.boundary[0].T.numpy(),
        nearest_wall=stats.nearest_wall[0].T.numpy(),
        dimension=dimension,
        bound=bound,
        codes=tuple(stats.codes[layer][0] for layer in chosen),
        neuron_count=tuple(
            stats.neurons[layer].shape[-1] if layer in stats.neurons else anatomy.neurons(layer)
            for layer in chosen
        ),
        routes={layer: routes[0] for layer, routes in stats.routes.items()},
        inputs=inputs,
        call=calls[0] if calls else None,
        before=len(before),
    )


def text_distances(
    loaded: LoadedModel, report: TokenReport, other: TokenReport
) -> Float[np.ndarray, " layer"]:
    """Mean share of a layer's neurons that differ in sign between tokens of two texts, in [0, 1].

    Over all pairs of tokens, at each layer of the reports. On a layer of experts all neurons of all experts
    count, and those of experts that a token is not routed to are off.

    Raises:
        BadFeatures: The reports are of other layers, or of models with other neurons.
    """
    if report.layers != other.layers:
        one, two = _listed(report.layers), _listed(other.layers)
        raise BadFeatures(f"one report is of layers {one}, the other of {two}; read both at the same layers")
    if report.neuron_count != other.neuron_count or report.routes.keys() != other.routes.keys():
        raise BadFeatures("the reports are of models with other neurons; read both texts with one model")
    distances = []
    for layer, neurons in zip(report.layers, report.neuron_count, strict=True):
        if layer not in report.routes:
            distances.append(text_distance(report.code(layer), other.code(layer), neurons))
            continue
        p, q = (_occupancy(loaded, each, layer, neurons) for each in (report, other))
        distances.append(float(occupancy_distance(p, q)))
    return np.array(distances)


def _occupancy(
    loaded: LoadedModel, report: TokenReport, layer: int, neurons: int
) -> Float[Tensor, " neuron"]:
    """Share of tokens at which each neuron of a layer of experts is on."""
    numbers = routed_neurons(loaded.model, layer, report.routes[layer]).cpu()
    on = unpacked(report.code(layer), neurons).double()
    total = torch.zeros(anatomy_of(loaded.model).neurons(layer), dtype=torch.float64)
    return total.scatter_add(0, numbers.flatten(), on.flatten()) / report.tokens


class _Inputs(dict[int, Tensor]):
    """What MLPs receive, at the layers where it was kept."""

    def __missing__(self, layer: int) -> Tensor:
        raise BadFeatures(f"inputs of layer {layer} were not kept: pass keep_inputs=[{layer}] to read_tokens")


@contextmanager
def _kept(
    loaded: LoadedModel, start: int, stop: int, layers: Sequence[int], call_of: tuple[int, int] | None
) -> Iterator[tuple[_Inputs, list[AttentionCall]]]:
    """MLP inputs at some layers, and the attention call of one layer and token, as the text is run."""
    inputs = _Inputs()
    calls: list[AttentionCall] = []

    def keep_inputs(layer: int, states: Tensor) -> None:
        inputs[layer] = states[0, start:stop].clone()

    layer, token = call_of or (0, 0)

    def keep_call(_layer: int, call: AttentionCall) -> None:
        calls.append(call.part(0, start + token, start + token + 1).copied())

    with (
        watch(loaded.model, inputs=keep_inputs, layers=layers),
        watch(loaded.model, attention=keep_call if call_of else None, layers=[layer]),
    ):
        yield inputs, calls


def _kept_layer(layer: object, chosen: tuple[int, ...], what: str) -> int:
    """A layer to keep something of, if it is among those that are read."""
    number = check_layer(layer)
    if number not in chosen:
        raise BadFeatures(
            f"no {what} to keep at layer {number}: the layers that are read are {_listed(chosen)}"
        )
    return number


def _listed(layers: tuple[int, ...]) -> str:
    return f"{layers[0]} to {layers[-1]}" if len(layers) > 8 else ", ".join(map(str, layers))


def _tokenize(loaded: LoadedModel, text: str, before: int, max_tokens: int, name: str) -> TokenizedText:
    """The tokens of a text that fits into one pass, with those of the prompt before it."""
    (tokens,) = tokenize([text], loaded.tokenizer)
    if tokens.reason is not None:
        raise NoTokens(f"{name} {tokens.reason}; give another text")
    limit = positions_of(loaded.model).exceeded(before + tokens.total, loaded.name)
    if limit is not None:
        more = f" and {before} more come before it" if before else ""
        raise BadTexts(
            f"{name} has {tokens.total:,} tokens{more}: that exceeds {limit}; give a shorter text, or read "
            "its features in windows with extract"
        )
    if tokens.total > max_tokens:
        raise BadTexts(
            f"{name} has {tokens.total:,} tokens; at most {max_tokens:,} are read: pass "
            f"max_tokens={tokens.total} (command line: --max-tokens {tokens.total}), or a shorter text"
        )
    return tokens


def _batch(tokens: TokenizedText, before: Sequence[int]) -> TokenBatch:
    """One row: the prompt and the text."""
    (batch,) = batches([tokens], max_tokens=len(tokens.ids), prompt=before)
    return batch


def _check_finite(
    engine: TorchEngine, stats: TokenStats, tokens: TokenizedText, before: Sequence[int], name: str
) -> None:
    """Refuse a text with a gate that is not finite; only then look for the token to blame."""
    assert stats.finite is not None
    if bool(stats.finite.all()):
        return

    def failing(start: int, stop: int) -> int | None:
        part = replace(tokens, ids=tokens.ids[start:stop], offsets=tokens.offsets[start:stop])
        return engine.failing_layer(_batch(part, before))

    prompt = TokenizedText(tuple(before), tuple((0, 0) for _ in before), len(before))
    blame = first_nonfinite([Window(0, 0, 0, len(tokens.ids))], failing)
    if before and engine.failing_layer(_batch(prompt, ())) is not None:
        where = ": the prompt before it does already"
    elif blame is not None:
        where = location(tokens, *blame)
    else:
        index, token = (~stats.finite[0].T).nonzero()[0].tolist()  # NaN spreads in later layers
        where = location(tokens, engine.request.layers[index], token)
        where += ", and does not when it is run again"
    raise BadFeatures(
        f"{name} gives activations that are not finite{where}; load the model with dtype float32, or check "
        "its files"
    )


def _dimensions(
    anatomy: Anatomy, stats: TokenStats, layers: Sequence[int]
) -> tuple[Int[np.ndarray, "2 layer head token"], Int[np.ndarray, "layer token"]]:
    """Intrinsic dimensions of the heads and the tight bound of their hulls; -1 without softmax attention."""
    heads = max([counts.shape[-1] for counts in stats.heads.values()], default=0)
    heads = heads or int(anatomy.base.config.get_text_config().num_attention_heads)  # type: ignore[union-attr, operator]  # a transformers model
    tokens = next(iter(stats.codes.values())).shape[1]
    dimension = np.full((2, len(layers), heads, tokens), -1)
    bound = np.full((len(layers), tokens), -1)
    for index, layer in enumerate(layers):
        if layer not in stats.heads:
            continue
        counts = stats.heads[layer][0]
        dimension[:, index, : counts.shape[-1]] = counts.permute(1, 2, 0)
        bound[index] = dimension_bounds(counts[:, 1], stats.value_dims[layer], anatomy.width)[0]
    return dimension, bound
