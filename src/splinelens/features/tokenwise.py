"""Every token of one text at every layer, from one pass: signs, walls, regions, intrinsic dimension.

Each layer's tensors are reduced as they come: a token keeps two numbers, its nearest wall, one bit a
neuron and two counts a head. Nothing of size (token, neuron) or (token, token) outlives its layer. A
prompt is run before the text in the same row; its tokens are seen by attention and never reported.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from splinelens.anatomy import anatomy_of
from splinelens.errors import BadFeatures, BadTexts, NoTokens
from splinelens.features.asked import check_layer, check_layers, check_most, check_text, check_token
from splinelens.features.nonfinite import blamed, failing_layer, place_in
from splinelens.features.positions import positions_of, run_tokens
from splinelens.features.spec import FeatureSpec
from splinelens.features.tokenwalk import TokenWalk
from splinelens.geometry.attention import check_eps
from splinelens.geometry.codes import (
    distinct_regions,
    occupancy_distance,
    region_ids,
    text_distance,
    unpacked,
)
from splinelens.geometry.partition import spline7
from splinelens.layers import AttentionCall, watch
from splinelens.models import LoadedModel, load_model
from splinelens.tokens import TokenizedText, Window, batches, prompt_ids, tokenize
from splinelens.weights import routed_neurons


@dataclass(frozen=True, eq=False)
class TokenReading:
    """What one pass says of each token of a text.

    Attributes:
        text: The text.
        spans: Character span (begin, end) of each token.
        layers: The layers that were read, rising; the layer axes below count these.
        sign: Share of neurons that are on.
        boundary: Distance to the nearest wall, in units of the MLP's input.
        wall: The neuron whose wall that is, numbered as in ``gate_norms``; -1 without any wall.
        dimension: Active keys of each head: with the absolute threshold, then with the relative
            one; -1 at layers without softmax attention.
        bound: Upper bound on the hull's dimension from the relative counts; -1 likewise.
        codes: For each layer the packed signs of the token's neurons (see ``geometry.codes``).
        neurons: For each layer how many neurons a code holds; on a layer of experts those of the
            experts that a token is routed to.
        routes: On layers of experts the token's experts, rising.
        inputs: What the MLP was given, at the layers asked for.
        call: What attention was given for the one token asked for, and no key behind it.
        before: Tokens of the prompt that were run before the text, the opening token included.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    layers: tuple[int, ...]
    sign: Float[np.ndarray, "layer token"]
    boundary: Float[np.ndarray, "layer token"]
    wall: Int[np.ndarray, "layer token"]
    dimension: Int[np.ndarray, "2 layer head token"]
    bound: Int[np.ndarray, "layer token"]
    codes: tuple[UInt8[Tensor, "token _"], ...]
    neurons: tuple[int, ...]
    routes: dict[int, Int[Tensor, "token _"]]
    inputs: dict[int, Float[Tensor, "token width"]]
    call: AttentionCall | None
    before: int

    @property
    def tokens(self) -> int:
        """Number of the text's own tokens."""
        return len(self.spans)

    @property
    def seven(self) -> Float[np.ndarray, "layer 7"]:
        """The seven features of the text at each layer, in the order of ``SPLINE7``."""
        return spline7(torch.from_numpy(self.sign), torch.from_numpy(self.boundary)).numpy()

    @property
    def regions(self) -> Int[np.ndarray, " layer"]:
        """How many different regions the text's tokens visit at each layer."""
        return np.array([distinct_regions(self._named(layer)) for layer in self.layers])

    def region_ids(self, layer: int) -> list[str]:
        """The name of each token's region at one layer that was read; see ``geometry.codes``.

        On a layer of experts the name is made of the experts and of their neurons' signs.
        """
        return region_ids(self._named(layer))

    def code(self, layer: int) -> UInt8[Tensor, "token byte"]:
        """The packed signs of each token at one layer that was read."""
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
    model: str | LoadedModel = "smollm2-135m",
    *,
    layers: Sequence[int] | None = None,
    prompt: str = "",
    eps: float = 0.1,
    max_tokens: int = 2048,
    keep_inputs: Sequence[int] = (),
    keep_call: tuple[int, int] | None = None,
    attention: bool = True,
    called: str = "the text",
) -> TokenReading:
    """Read every token of one text in one pass.

    Args:
        text: The text, with one token at least.
        model: A loaded model, or the name, folder or file of one; of a name only the blocks needed are
            loaded.
        layers: The layers to read, from 0; None reads all.
        prompt: Run before the text, never reported.
        eps: Threshold of the intrinsic dimension, in (0, 1).
        max_tokens: Longer texts are refused.
        keep_inputs: Layers, among those read, whose MLP inputs are kept.
        keep_call: A layer, among those read, and a token: keep what attention was given for it.
        attention: Also read intrinsic dimensions; False is faster and leaves them at -1.
        called: What an error calls the text.

    Returns:
        The reading, on the host except for what was asked to be kept.

    Raises:
        BadTexts: The text is no string, has more tokens than ``max_tokens``, or with the prompt more than
            the model has positions (with longrope: than it turns alike, see ``positions.py``).
        NoTokens: The text has no token.
        BadFeatures: A layer or token that does not exist or is not read, ``eps`` outside (0, 1), or
            activations that are not finite.
        BadModel: The model cannot be loaded.

    Example:
        >>> reading = read_tokens("Good morning.", layers=[0])  # doctest: +SKIP
        >>> reading.sign.shape  # doctest: +SKIP
        (1, 3)
    """
    eps, text, max_tokens = check_eps(eps), check_text(text, called), check_most(max_tokens)
    asked = check_layers(layers)
    loaded = loaded_up_to(model, asked)
    anatomy = anatomy_of(loaded.model)
    chosen = tuple(range(anatomy.depth)) if asked is None else asked
    keep_inputs = [_kept(layer, chosen, "inputs") for layer in keep_inputs]
    own = _tokenized(loaded, text, max_tokens, called)
    before = prompt_ids(loaded.tokenizer, prompt, beginning=True)
    limit = positions_of(loaded.model).exceeded(len(before) + len(own.ids), loaded.name)
    if limit is not None:
        raise BadTexts(
            f"{called} has {len(own.ids):,} tokens and {len(before)} more come before it: that exceeds "
            f"{limit}; give a shorter one"
        )
    if keep_call is not None:
        if not attention:
            raise BadFeatures("no call to keep without attention; pass attention=True")
        place = check_token(keep_call[1], len(own.ids), called)
        keep_call = (_kept(keep_call[0], chosen, "call"), place)
    (batch,) = batches([own], max_tokens=len(own.ids), prefix=before)
    walk = TokenWalk(loaded.model, batch.spans[0], eps, keep_call)
    softmax = [layer for layer in anatomy.softmax_layers if attention and layer in chosen]
    with ExitStack() as watches:
        # The outermost one ends the pass: behind the last block, whatever the order inside it.
        watches.enter_context(watch(loaded.model, hidden=_nothing, layers=chosen, stop=True))
        watches.enter_context(watch(loaded.model, gate=walk.gate, routes=walk.route, layers=chosen))
        if keep_inputs:
            watches.enter_context(watch(loaded.model, inputs=walk.input, layers=keep_inputs))
        if softmax:
            watches.enter_context(watch(loaded.model, attention=walk.attention, layers=softmax))
        run_tokens(loaded.model, batch.ids, batch.positions)
    _refuse_nonfinite(loaded, walk, own, before, called)
    return _reading(walk, text, own, chosen, len(before))


def loaded_up_to(model: str | LoadedModel, layers: Sequence[int] | None) -> LoadedModel:
    """The model itself, or the blocks of a named one that some layers need.

    Args:
        model: A loaded model, or the name, folder or file of one.
        layers: The layers that will be read, from 0; None stands for all.

    Returns:
        The model, with those layers if it has them.

    Raises:
        BadFeatures: A layer below 0 of a named model; a loaded one refuses it when it is watched.
        BadModel: The model cannot be loaded, or has fewer blocks.
    """
    if isinstance(model, LoadedModel):
        return model
    return load_model(model, layers=FeatureSpec(layers=check_layers(layers)).depth)


def text_distances(
    loaded: LoadedModel, reading: TokenReading, other: TokenReading
) -> Float[np.ndarray, " layer"]:
    """Mean share of a layer's neurons that differ in sign between a token of one text and one of another.

    Over all pairs of tokens, at each layer that both readings hold. On a layer of experts all neurons
    of all experts count, and those of experts that a token is not routed to are off.

    Args:
        loaded: The model that both were read with.
        reading: One text.
        other: The other text, read at the same layers.

    Returns:
        Shares in [0, 1].
    """
    found = []
    for layer, neurons in zip(reading.layers, reading.neurons, strict=True):
        if layer not in reading.routes:
            found.append(text_distance(reading.code(layer), other.code(layer), neurons))
            continue
        p, q = (_occupancy(loaded, each, layer, neurons) for each in (reading, other))
        found.append(float(occupancy_distance(p, q)))
    return np.array(found)


def _occupancy(
    loaded: LoadedModel, reading: TokenReading, layer: int, neurons: int
) -> Float[Tensor, " neuron"]:
    """Share of tokens at which each neuron of a layer of experts is on."""
    numbers = routed_neurons(loaded.model, layer, reading.routes[layer]).cpu()
    on = unpacked(reading.code(layer), neurons).double()
    total = torch.zeros(anatomy_of(loaded.model).neurons(layer), dtype=torch.float64)
    return total.scatter_add(0, numbers.flatten(), on.flatten()) / reading.tokens


class _Inputs(dict[int, Tensor]):
    """What MLPs were given, at the layers where it was kept."""

    def __missing__(self, layer: int) -> Tensor:
        raise BadFeatures(f"inputs of layer {layer} were not kept: pass keep_inputs=[{layer}] to read_tokens")


def _kept(layer: object, chosen: tuple[int, ...], what: str) -> int:
    """A layer to keep something of, if it is among those that are read."""
    number = check_layer(layer)
    if number not in chosen:
        there = f"{chosen[0]} to {chosen[-1]}" if len(chosen) > 8 else ", ".join(map(str, chosen))
        raise BadFeatures(f"no {what} to keep at layer {number}: the layers that are read are {there}")
    return number


def _tokenized(loaded: LoadedModel, text: str, max_tokens: int, called: str) -> TokenizedText:
    (own,) = tokenize([text], loaded.tokenizer)
    if own.reason is not None:
        raise NoTokens(f"{called} {own.reason}; give one with at least one token")
    limit = positions_of(loaded.model).exceeded(own.total, loaded.name)
    if limit is not None:
        raise BadTexts(
            f"{called} has {own.total:,} tokens: that exceeds {limit}; give a shorter text, or read its "
            "features in windows with extract"
        )
    if own.total > max_tokens:
        raise BadTexts(
            f"{called} has {own.total:,} tokens; inspect reads at most {max_tokens:,}: pass "
            f"max_tokens={own.total} (command line: --max-tokens {own.total}), or a shorter text"
        )
    return own


def _nothing(_layer: int, _values: Tensor) -> None:
    """Reads nothing."""


def _refuse_nonfinite(
    loaded: LoadedModel, walk: TokenWalk, own: TokenizedText, before: Sequence[int], called: str
) -> None:
    """Refuse a text with a gate that is not finite; only then look for the token that is to blame."""
    if bool(torch.stack(list(walk.finite.values())).all()):
        return

    def failing(part: TokenizedText, prefix: Sequence[int]) -> int | None:
        (batch,) = batches([part], max_tokens=len(part.ids), prefix=prefix)
        run = partial(run_tokens, loaded.model, batch.ids, batch.positions)
        return failing_layer(loaded.model, max(walk.finite) + 1, batch.spans[0], run)

    def prompt_finite() -> bool:
        prompt = TokenizedText(tuple(before), tuple((0, 0) for _ in before), len(before))
        return not before or failing(prompt, ()) is None

    def cut(start: int, stop: int) -> int | None:
        part = replace(own, ids=own.ids[start:stop], offsets=own.offsets[start:stop])
        return failing(part, before)

    found = blamed(own, [Window(0, 0, 0, len(own.ids))], prompt_finite, cut)
    place = None if found is None else found[0]
    if place is None:
        layer = min(layer for layer, finite in walk.finite.items() if not bool(finite.all()))
        place = place_in(own, layer, int(walk.finite[layer].int().argmin()))
        place += ", and does not when it is run again"
    raise BadFeatures(
        f"{called} gives activations that are not finite{place}; load the model with dtype float32, or check "
        "its files"
    )


def _reading(
    walk: TokenWalk, text: str, own: TokenizedText, layers: tuple[int, ...], before: int
) -> TokenReading:
    """Everything on the host, after the pass."""
    numbers = torch.stack([walk.numbers[layer] for layer in layers], dim=1).cpu().numpy()
    dimension, bound = walk.dimensions(layers)
    return TokenReading(
        text=text,
        spans=own.offsets,
        layers=layers,
        sign=numbers[0],
        boundary=numbers[1],
        wall=torch.stack([walk.walls[layer] for layer in layers]).cpu().numpy(),
        dimension=dimension,
        bound=bound,
        codes=tuple(walk.codes[layer].cpu() for layer in layers),
        neurons=tuple(walk.neurons[layer] for layer in layers),
        routes={layer: routes.cpu() for layer, routes in walk.routes.items()},
        inputs=_Inputs(walk.inputs),
        call=walk.call,
        before=before,
    )
