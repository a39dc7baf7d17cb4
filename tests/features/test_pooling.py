"""Tests features/pooling.py: rows by hand, and on layers of experts against the definitions."""

import numpy as np
import pytest
import torch

from splinelens.engines.torch import TextStats, TokenStats
from splinelens.features.catalogue import CATALOGUE, columns, statistics
from splinelens.features.pooling import Layout, threshold_index
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.geometry.running import Running
from splinelens.geometry.settings import BOUNDARY_POOLINGS, SIGN_POOLINGS

TEXTS = ["you", "the kettle sings in the kitchen and you pour the tea", "?!"]
FEATURES = ("spline7", "margins", "occupancy")
POOLINGS = ("max", "min", "mean", "last")
EXPERTS = {"mixtral": (24, 4, 0), "qwen2_moe": (24, 4, 20), "gpt_oss": (24, 4, 0)}
"""Neurons of an expert, experts, neurons of the shared expert; qwen2_moe's layer 1 is dense."""


def layout(*names, layers=(0,), size=3, pooling=POOLINGS):
    sizes = {"neuron": [size] * 9, "width": [size] * 9}
    return Layout(columns(statistics(names, pooling), layers, sizes), layers, layers)


def reduced(values, poolings, **options):
    """The state of one text whose tokens are all pooled."""
    return Running.reduce(values[None], torch.ones(1, len(values), dtype=torch.bool), poolings, **options)


def test_a_request_holds_what_the_columns_need():
    request = layout("margins", "sign_mean", layers=(0, 2)).request
    assert (request.layers, request.spline7, request.margins, request.hidden) == ((0, 2), True, POOLINGS, ())
    request = layout("hidden", "attention_id_relative_max", "length", pooling=("mean",)).request
    assert (request.spline7, request.margins, request.hidden, request.attention) == (
        False,
        (),
        ("mean",),
        ("max",),
    )
    assert layout("margins", "occupancy", pooling=("last",)).request.margins == ("last", "occupancy")


def test_the_seven_features_by_hand():
    sign, boundary = torch.tensor([[0.25], [0.75], [0.5]]), torch.tensor([[1.0], [3.0], [8.0]])
    stats = TextStats(reduced(sign, SIGN_POOLINGS), reduced(boundary, BOUNDARY_POOLINGS))
    found = layout("spline7", "length").values(stats, [3])
    assert found.dtype == np.float32
    assert np.allclose(found, [[0.5, 0.25, 0.75, 0.25, 1, 4, np.std([1, 3, 8], ddof=1), 3]])
    prefixes = layout("spline7").scan(TokenStats(sign=sign[None], boundary=boundary[None]), None)
    rows = layout("spline7").values(prefixes, [1, 2, 3])
    assert np.allclose(rows[:, :3], [[0.25] * 3, [0.5, 0.25, 0.75], [0.5, 0.25, 0.75]])
    assert np.allclose(rows[2:], found[:, :7])


def test_a_distance_that_is_not_a_number_shows_in_all_seven():
    """The sign of NaN counts as off, which would look like a number."""
    sign, boundary = torch.tensor([[0.25], [0.0]]), torch.tensor([[1.0], [torch.nan]])
    stats = TextStats(reduced(sign, SIGN_POOLINGS), reduced(boundary, BOUNDARY_POOLINGS))
    assert np.isnan(layout("spline7").values(stats, [2])).all()


def test_dimensions_by_hand():
    counts = torch.tensor([[4.0, 5.0], [2.0, 9.0], [3.0, 7.0]])[..., None]  # (token, threshold, layer)
    found = layout("attention_id")
    row = found.values(TextStats(dimension=reduced(counts, found.request.attention)), [3])
    assert row.tolist() == [[3, 3, 4, 7, 7, 9]]
    prefixes = found.scan(TokenStats(dimension=counts[None]), None)
    assert found.values(prefixes, [1, 2, 3]).tolist() == [
        [4, 4, 4, 5, 5, 5],
        [2, 3, 4, 9, 7, 9],
        [3, 3, 4, 7, 7, 9],
    ]


def test_a_threshold_has_its_index():
    names = [f"attention_id_{threshold}_max" for threshold in ("absolute", "relative")]
    assert [threshold_index(CATALOGUE[name]) for name in names] == [0, 1]


def test_numbers_of_all_tokens_have_no_source():
    """Those of attention, of the whole text and of no layer have none either."""
    values = torch.tensor([[1.0, 5.0, -2.0], [3.0, 4.0, -2.0]])
    found = layout("margins", "length", "sign_mean", pooling=("max", "mean"))
    stats = TextStats(margins={0: reduced(values, ("max", "mean"), locate=True)})
    assert found.sources(stats, 1).tolist() == [[-1, 1, 0, 0, -1, -1, -1, -1]]


def routed_window(margin, neurons):
    """The state of one window on a layer of four neurons."""
    margin, neurons = torch.tensor([margin]), torch.tensor([neurons])
    mask = torch.ones(neurons.shape[:2], dtype=torch.bool)
    poolings = (*POOLINGS, "occupancy")
    return Running.reduce_routed(margin, neurons, 4, mask, poolings, locate=True)


def test_a_window_without_a_token_of_an_expert_does_not_count():
    """Neuron 0 has tokens in both windows, 1 in the first, 2 in the second, 3 in neither."""
    first = TextStats(margins={0: routed_window([[-3.0, 5.0], [-1.0, 4.0]], [[0, 1], [0, 1]])})
    second = TextStats(margins={0: routed_window([[-4.0, 6.0]], [[0, 2]])})
    merged, found = first.merge(second.located_from(2)), layout("margins", "occupancy", size=4)
    row = found.values(merged, [3])[0].reshape(5, 4).tolist()
    assert dict(zip([column.statistic.name for column in found.columns], row, strict=True)) == {
        "margin_max": [-1, 5, 6, 0],
        "margin_min": [-4, 4, 6, 0],
        "margin_mean": pytest.approx([-8 / 3, 4.5, 6, 0]),
        "margin_last": [-4, 0, 6, 0],
        "occupancy": [0, pytest.approx(2 / 3), pytest.approx(1 / 3), 0],
    }
    assert found.sources(merged, 1).reshape(5, 4).tolist() == [
        [1, 0, 2, -1],
        [2, 1, 2, -1],
        [-1] * 4,
        [2, -1, 2, -1],
        [-1] * 4,
    ]


def own_margins(model, name, ids):
    """For each layer and token a dict neuron -> margin, from what the experts were given, in float64."""
    size, _, shared = EXPERTS[name]
    given, handles = {}, []
    for layer, block in enumerate(model.layers):
        experts = getattr(block.mlp, "experts", None)
        module = block.mlp.gate_proj if experts is None else experts
        handles.append(
            module.register_forward_pre_hook(
                lambda _, args, kwargs, layer=layer: given.update({layer: [*args, *kwargs.values()][:2]}),
                with_kwargs=True,
            )
        )
    with torch.no_grad():
        model(torch.tensor([ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    found = []
    for layer, block in enumerate(model.layers):
        states, tokens = given[layer][0].reshape(len(ids), -1), []
        for token in range(len(ids)):
            if not hasattr(block.mlp, "experts"):
                tokens.append(dict(enumerate(plane(block.mlp.gate_proj.weight, None, states[token]))))
                continue
            margins = {}
            for expert in given[layer][1].reshape(len(ids), -1)[token].tolist():
                weight = block.mlp.experts.gate_up_proj[expert]
                bias = getattr(block.mlp.experts, "gate_up_proj_bias", None)
                bias = None if bias is None else bias[expert][::2]
                weight = weight[:, ::2].T if name == "gpt_oss" else weight[:size]
                margins |= {expert * size + k: m for k, m in enumerate(plane(weight, bias, states[token]))}
            if shared:
                own = plane(block.mlp.shared_expert.gate_proj.weight, None, states[token])
                margins |= {4 * size + k: m for k, m in enumerate(own)}
            tokens.append(margins)
        found.append(tokens)
    return found


def plane(weight, bias, state):
    gate = weight @ state if bias is None else weight @ state + bias
    return (gate / weight.norm(dim=1)).tolist()


def by_definition(tokens, size):
    """The row of one layer from its tokens' margins."""
    shares = np.array([np.mean([m > 0 for m in token.values()]) for token in tokens])
    walls = np.array([min(abs(m) for m in token.values()) for token in tokens])
    std = (lambda values: values.std(ddof=1)) if len(tokens) > 1 else (lambda values: 0.0)
    row = [shares.mean(), shares.min(), shares.max(), std(shares), walls.min(), walls.mean(), std(walls)]
    own = [[token[k] for token in tokens if k in token] for k in range(size)]
    row += [max(m, default=0) for m in own]
    row += [min(m, default=0) for m in own]
    row += [sum(m) / max(len(m), 1) for m in own]
    row += [tokens[-1].get(k, 0) for k in range(size)]
    return row + [sum(m > 0 for m in ms) / len(tokens) for ms in own]


@pytest.mark.parametrize("window", [8, 96])
@pytest.mark.parametrize("name", list(EXPERTS))
def test_layers_of_experts_are_read_as_defined(tiny_of, wrap, error, name, window):
    model = tiny_of(name).double()
    model.set_experts_implementation("eager")  # the others have no float64
    reader = TextReader(wrap(model), FeatureSpec(FEATURES, POOLINGS, max_tokens=window))
    found = np.stack([text.values for text in reader.read(TEXTS)])
    expected = []
    for text in reader.tokenize(TEXTS):
        layers = [[], [], []]
        for start, pooled, stop in cuts(len(text.ids), window):
            for layer, tokens in enumerate(own_margins(model, name, text.ids[start:stop])):
                layers[layer] += tokens[pooled - start :]
        size, experts, shared = EXPERTS[name]
        sizes = [48 if (name, layer) == ("qwen2_moe", 1) else size * experts + shared for layer in range(3)]
        expected.append(np.concatenate([by_definition(*both) for both in zip(layers, sizes, strict=True)]))
    assert error(reader, found, np.stack(expected)) <= 1e-6
    assert (found == 0).any()  # no token of a short text is routed to some experts


def cuts(length, window):
    found, start = [(0, 0, min(window, length))], 0
    while found[-1][2] < length:
        start += window - window // 4
        found.append((start, found[-1][2], min(start + window, length)))
    return found


def test_the_source_of_an_experts_margin_is_its_token(tiny_of, wrap):
    model = tiny_of("mixtral").double()
    model.set_experts_implementation("eager")
    reader = TextReader(wrap(model), FeatureSpec(("margins",), ("max",), max_tokens=8))
    for text, tokenized in zip(reader.read(TEXTS, locate=True), reader.tokenize(TEXTS), strict=True):
        ids, layers = tokenized.ids, [[], [], []]
        for start, pooled, stop in cuts(len(ids), 8):
            for layer, tokens in enumerate(own_margins(model, "mixtral", ids[start:stop])):
                layers[layer] += tokens[pooled - start :]
        for layer in range(3):
            for neuron in range(96):
                at, value = text.source[layer * 96 + neuron], text.values[layer * 96 + neuron]
                if at < 0:
                    assert value == 0
                    assert not any(neuron in token for token in layers[layer])
                else:
                    assert layers[layer][at][neuron] == pytest.approx(value, rel=1e-5)


def test_zero_rows_of_experts_have_no_boundary(tiny_of, wrap):
    model = tiny_of("mixtral")
    with torch.no_grad():
        model.layers[0].mlp.experts.gate_up_proj[:, 5] = 0
    reader = TextReader(wrap(model), FeatureSpec(("boundary_min", "margins", "occupancy"), max_tokens=64))
    for text in reader.read(TEXTS):
        assert text.reason is None
        assert text.values[0] > 0
        assert (text.values[1:193].reshape(2, 4, 24)[:, :, 5] == 0).all()
