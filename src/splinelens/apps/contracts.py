"""What splinelens can read of a model, and whether it reads it right: every contract, run on the model.

Each point is computed a second way: gates from weights and inputs, intrinsic dimensions from eager
attention's own weights, the attention's output from its hulls, prefixes from passes of their own. A quantity
that an architecture cannot have is no failure: the point says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from splinelens.anatomy import Anatomy, anatomy_of
from splinelens.engines.torch import head_dimensions
from splinelens.errors import SplinelensError
from splinelens.features.look import look
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.stream import Stream
from splinelens.layers import watch
from splinelens.layers.attention import watch_weights
from splinelens.models import Check, LoadedModel
from splinelens.tokens import prompt_ids, tokenize
from splinelens.weights import walls_of

PROBES = (
    "Have a nice day.",
    "The train was late again, and the coffee on the platform was cold.",
    "Rain.",
    "She counted the passing boats until the lamps along the river were lit.",
)
"""What the contracts are tried on."""

_CLOSE = 1e-4  # of the largest value of its kind
_EPS = 0.1  # threshold of the intrinsic dimension


def contracts(loaded: LoadedModel) -> list[Check]:
    """Run every contract on a model in float32 or float64, with all its blocks, on a few short texts.

    A quantity that the architecture lacks has ``ok`` and a detail that begins with ``none``.

    Example:
        >>> from splinelens import load_model  # doctest: +SKIP
        >>> all(point.ok for point in contracts(load_model("smollm2-135m")))  # doctest: +SKIP
        True
    """
    return [_point(what, contract, loaded) for what, contract in _CONTRACTS.items()]


class _Broken(SplinelensError):
    """A contract does not hold."""


def _point(what: str, contract: Callable[[LoadedModel], str], loaded: LoadedModel) -> Check:
    try:
        return Check(what, True, contract(loaded))
    except _Broken as error:
        return Check(what, False, str(error))
    except Exception as error:  # any error of a model is a result
        return Check(what, False, f"{type(error).__name__}: {error}")


def _run(loaded: LoadedModel, text: str = PROBES[1]) -> Tensor:
    """The last hidden states of the tokens that every reader runs: the tokenizer's opening, then the text."""
    ids = torch.tensor([_opening(loaded) + tokenize([text], loaded.tokenizer)[0].ids])
    with torch.no_grad():
        return loaded.model(ids.to(loaded.device), use_cache=False).last_hidden_state


def _opening(loaded: LoadedModel) -> tuple[int, ...]:
    return prompt_ids(loaded.tokenizer, "", beginning=True)


def _watching(loaded: LoadedModel) -> str:
    """A watched pass gives the same states to the last bit."""
    anatomy, plain = anatomy_of(loaded.model), _run(loaded)
    with watch(loaded.model, gate=_ignore, hidden=_ignore, inputs=_ignore, routes=_ignore):
        _same(_run(loaded), plain, "watching gates and hidden states changes the model's states")
    if not anatomy.softmax_layers:
        return "gates and hidden states: bit-equal"
    with watch(loaded.model, attention=_ignore, layers=anatomy.softmax_layers):
        watched = _run(loaded)
    if anatomy.softmax == "weights":
        difference = _difference(watched, plain)
        return (
            f"gates and hidden states: bit-equal; with attention it runs eager attention ({difference:.0e})"
        )
    _same(watched, plain, "watching the attention changes the model's states")
    return "gates, hidden states and attention: bit-equal"


def _gates(loaded: LoadedModel) -> str:
    """The gate is the gate weight times the MLP's input, plus the bias."""
    anatomy = anatomy_of(loaded.model)
    gates: dict[int, Tensor] = {}
    inputs: dict[int, Tensor] = {}
    routes: dict[int, Tensor] = {}
    with watch(loaded.model, gate=_keep(gates), inputs=_keep(inputs), routes=_keep(routes)):
        _run(loaded)
    worst = 0.0
    for layer in range(anatomy.depth):
        again = _gate_again(anatomy, layer, inputs[layer][0], routes.get(layer))
        worst = max(worst, _difference(gates[layer][0], again))
    _require(worst < _CLOSE, f"gates differ from weight times input by {worst:.1e} of their scale")
    return f"weight times input in all {anatomy.depth} layers ({worst:.0e}); {_kinds(anatomy)}"


def _gate_again(anatomy: Anatomy, layer: int, states: Tensor, routes: Tensor | None) -> Tensor:
    experts = [()] * len(states) if routes is None else routes[0].tolist()
    rows = []
    for token, chosen in zip(states, experts, strict=True):
        weight, bias = walls_of(anatomy, layer, chosen)
        rows.append(weight @ token + (0 if bias is None else bias))
    return torch.stack(rows)


def _batched(loaded: LoadedModel) -> str:
    """A single text, in a batch, padded left or right gives the same numbers."""
    features = ("margins", "hidden") + (("attention_id",) if anatomy_of(loaded.model).softmax_layers else ())
    spec = FeatureSpec(features, ("max", "mean", "last"), max_tokens=64)
    right = TextReader(loaded, spec)
    counts = np.concatenate(
        [[column.statistic.needs == "attention"] * column.size for column in right.columns]
    )
    single = np.concatenate([_rows(right, [text]) for text in PROBES])
    left = TextReader(loaded, spec, side="left")
    results = []
    for name, rows in (("in a batch", _rows(right, PROBES)), ("padded left", _rows(left, PROBES))):
        differ = float((rows[:, counts] != single[:, counts]).mean()) if counts.any() else 0.0
        _require(differ < 0.01, f"{differ:.1%} of the intrinsic dimensions of a text {name} differ")
        worst = _columnwise(right, rows, single)
        _require(worst < _CLOSE, f"numbers of a text {name} differ by {worst:.1e} of their scale")
        results.append(f"{name} as by itself ({worst:.0e})")
    return "; ".join(results)


def _dimensions(loaded: LoadedModel) -> str:
    """The intrinsic dimension by blocks is that of the weights of eager attention."""
    anatomy = anatomy_of(loaded.model)
    layers = anatomy.softmax_layers
    if not layers:
        return f"none: {anatomy.no_attention(0)}"
    calls: dict[int, Any] = {}  # Any: calls of attention, with scores or with weights
    eager: dict[int, Any] = {}
    with watch(loaded.model, attention=_keep(calls), layers=layers):
        _run(loaded)
    modules = {layer: anatomy.attention(layer) for layer in layers}
    with watch_weights(anatomy, modules, _keep(eager)):  # type: ignore[arg-type]  # they have one
        _run(loaded)
    differ = total = 0
    for layer in layers:
        call, weights = calls[layer], eager[layer].weights[0]
        top = weights.amax(-1, keepdim=True)
        whole = torch.stack([(weights > _EPS).sum(-1), (weights > _EPS * top).sum(-1)])
        blocks = head_dimensions(call, _EPS)[:, 0]
        if call.sinks is not None and bool((weights.sum(-1) > 0.999).all()):
            # Eager attention scales its outcome by the sinks, not these weights: absolute counts are larger.
            blocks, whole = blocks[1:], whole[1:]
        differ, total = differ + int((blocks != whole).sum()), total + whole.numel()
    _require(differ <= max(2, total / 1000), f"{differ} of {total} counts differ from eager attention's")
    source = "weights, no scores available" if anatomy.softmax == "weights" else "scores"
    rest = anatomy.depth - len(layers)
    lacking = f"; none in {rest} layers without softmax" if rest else ""
    return f"{total:,} counts in {len(layers)} layers, from {source}, are those of eager attention{lacking}"


def _hulls(loaded: LoadedModel) -> str:
    """The attention's output is the Minkowski sum of its hulls' points."""
    anatomy = anatomy_of(loaded.model)
    if not anatomy.softmax_layers:
        return f"none: {anatomy.no_attention(0)}"
    if anatomy.softmax == "weights":
        return "none: the family hands over no values"
    if anatomy.family.output_gate:
        return "vertices only: the model gates the attention's result before the output projection"
    layers = _few(anatomy.softmax_layers)
    worst = 0.0
    for layer in layers:
        token, output = _output_at_last_token(loaded, anatomy.output(layer))
        hull = look(PROBES[1], loaded, layer=layer, token=token).hull
        assert hull is not None
        assert hull.point is not None
        worst = max(worst, _difference(hull.point, output))
        measured, tight, loose = (part[1] for part in (hull.measured or (0, 0), hull.tight, hull.loose))
        _require(
            measured <= tight <= loose, f"layer {layer}: measured {measured}, bounds {tight} and {loose}"
        )
    _require(worst < _CLOSE, f"hull points and the attention's output differ by {worst:.1e} of their scale")
    named = ", ".join(map(str, layers))
    return f"their points add up to the attention's output in layers {named} ({worst:.0e})"


def _maps(loaded: LoadedModel) -> str:
    """The region's affine map gives the MLP's output at its own point."""
    anatomy = anatomy_of(loaded.model)
    dense = [layer for layer in range(anatomy.depth) if anatomy.experts(layer) is None]
    if not dense:
        return "none: every layer consists of experts, which have no one map"
    worst, kinds, layers = 0.0, set(), _few(dense)
    for layer in layers:
        token, output = _output_at_last_token(loaded, anatomy.down(layer))
        result = look(PROBES[1], loaded, layer=layer, token=token)
        _require(result.map is not None, f"layer {layer} has no map: {'; '.join(result.notes)}")
        assert result.map is not None
        kinds.add(result.map.kind)
        worst = max(worst, _difference(result.map.value, output))
    _require(worst < _CLOSE, f"the map and the MLP differ by {worst:.1e} of their scale")
    named = ", ".join(map(str, layers))
    return f"{' and '.join(sorted(kinds))}, the MLP's output in layers {named} ({worst:.0e})"


def _prefixes(loaded: LoadedModel) -> str:
    """All prefixes from one pass are what passes over each of them give."""
    spec = FeatureSpec(("margins", "hidden"), ("max", "mean", "last"), max_tokens=64, long="cut")
    reader = TextReader(loaded, spec)
    (prefixes,) = reader.read([PROBES[1]], prefixes=True)
    ends = sorted({1, 2, len(prefixes.values) // 2, len(prefixes.values)})
    readers = [TextReader(loaded, replace(spec, max_tokens=end)) for end in ends]
    again = np.concatenate([_rows(each, [PROBES[1]]) for each in readers])
    difference = _columnwise(reader, prefixes.values[[end - 1 for end in ends]], again)
    _require(
        difference < _CLOSE, f"prefixes differ from passes of their own by {difference:.1e} of their scale"
    )
    return f"as passes of their own ({difference:.0e})"


def _stream(loaded: LoadedModel) -> str:
    """One token at a time gives what one pass over the text gives."""
    reader = TextReader(loaded, FeatureSpec(("margins",), ("max", "mean", "last"), max_tokens=64))
    stream = Stream(loaded, features=("margins",), pooling=("max", "mean", "last"))
    for token in reader.tokenize([PROBES[0]])[0].ids:
        values = stream.push(token)
    difference = _columnwise(reader, values[None], _rows(reader, [PROBES[0]]))
    _require(difference < _CLOSE, f"token by token differs from one pass by {difference:.1e} of its scale")
    return f"token by token as one pass ({difference:.0e})"


_CONTRACTS = {
    "watching": _watching,
    "gate values": _gates,
    "single or batched": _batched,
    "attention ID": _dimensions,
    "hulls": _hulls,
    "region maps": _maps,
    "prefixes": _prefixes,
    "stream": _stream,
}


def _keep(values: dict[int, Any]) -> Callable[[int, Any], None]:  # Any: tensors or calls of attention
    """A callback that stores each layer's values."""

    def keep(layer: int, value: Any) -> None:  # Any: as above
        values[layer] = value.clone() if isinstance(value, Tensor) else value

    return keep


def _ignore(_layer: int, _values: object) -> None:
    """A callback that keeps nothing."""


def _kinds(anatomy: Anatomy) -> str:
    routed = len(anatomy.expert_layers)
    mlp = "gated" if anatomy.family.gated else "ungated"
    return f"{mlp}, {routed} layers of experts" if routed else mlp


def _output_at_last_token(loaded: LoadedModel, module: nn.Module | None) -> tuple[int, Tensor]:
    """The last token of the probe, counted without the opening, and what a linear map gives for it."""
    assert module is not None  # called for layers that have one only
    seen: list[Tensor] = []
    handle = module.register_forward_hook(lambda _module, _args, out: seen.append(out.detach().clone()))
    try:
        tokens = _run(loaded).shape[1]
    finally:
        handle.remove()
    return tokens - 1 - len(_opening(loaded)), seen[0].reshape(-1, seen[0].shape[-1])[tokens - 1]


def _rows(reader: TextReader, texts: Sequence[str]) -> np.ndarray:
    return np.stack([features.values for features in reader.read(texts)]).astype(np.float64)


def _few(layers: Sequence[int]) -> list[int]:
    """The first, a middle and the last of some layers."""
    return sorted({layers[0], layers[len(layers) // 2], layers[-1]})


def _difference(result: Tensor, expected: Tensor) -> float:
    """The largest difference, in shares of the largest value."""
    scale = float(expected.detach().abs().max()) or 1.0
    return float((result.detach().double() - expected.detach().double()).abs().max()) / scale


def _columnwise(reader: TextReader, result: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of two tables, each column's in shares of its own largest value; counts aside.

    One scale for all would be that of the widest hidden channel, and beside it no margin counts.
    """
    worst, start = 0.0, 0
    for column in reader.columns:
        block = np.s_[:, start : start + column.size]
        start += column.size
        if column.statistic.needs != "attention":
            worst = max(
                worst, _difference(torch.from_numpy(result[block]), torch.from_numpy(expected[block]))
            )
    return worst


def _same(result: Tensor, expected: Tensor, what: str) -> None:
    _require(torch.equal(result, expected), f"{what} ({_difference(result, expected):.1e} of their scale)")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _Broken(otherwise)
