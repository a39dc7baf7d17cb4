"""Tests features/rows.py: windows become a row, on layers of experts too; the definitions are written out."""

import numpy as np
import pytest
import torch
from splinelens.features.reading import RowReading
from splinelens.features.rows import Layout, prefix_rows, text_row, threshold_number

from splinelens.features.catalogue import columns, statistics
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.tokens import Window

TEXTS = ["you", "the kettle sings in the kitchen and you pour the tea", "?!"]
FEATURES = ("spline7", "margins", "occupancy")
POOLINGS = ("max", "min", "mean", "last")
EXPERTS = {"mixtral": (24, 4, 0), "qwen2_moe": (24, 4, 20), "gpt_oss": (24, 4, 0)}
"""Neurons of an expert, experts, neurons of the shared expert; qwen2_moe's layer 1 is dense."""


def layout(*names, layers=(0,), size=3):
    found = columns(statistics(names, POOLINGS), layers, {"neuron": [size] * 9, "width": [size] * 9})
    return Layout(found, layers, layers)


def reading(**parts):
    return RowReading(**({"series": None, "pooled": {}, "where": {}} | parts))


def test_the_tokens_of_all_windows_are_put_end_to_end():
    first = reading(series=np.array([[[0.25, 0.75]], [[1.0, 3.0]]]))
    second = reading(series=np.array([[[0.5]], [[8.0]]]))
    parts = [(Window(0, 0, 0, 2), first), (Window(0, 1, 2, 3), second)]
    row, where = text_row(layout("spline7"), 3, parts)
    assert np.allclose(row, [0.5, 0.25, 0.75, 0.25, 1, 4, np.std([1, 3, 8], ddof=1)])
    assert where.tolist() == [-1] * 7
    assert np.allclose(prefix_rows(layout("spline7"), parts)[1:, :3], [[0.5, 0.25, 0.75], [0.5, 0.25, 0.75]])


def test_dimensions_by_hand():
    first = reading(dimension=np.array([[[4.0, 2.0]], [[5.0, 9.0]]], dtype=np.float32))
    second = reading(dimension=np.array([[[3.0]], [[7.0]]], dtype=np.float32))
    parts = [(Window(0, 0, 0, 2), first), (Window(0, 1, 2, 3), second)]
    assert text_row(layout("attention_id"), 3, parts)[0].tolist() == [3, 3, 4, 7, 7, 9]
    assert prefix_rows(layout("attention_id"), parts).tolist() == [
        [4, 4, 4, 5, 5, 5],
        [2, 3, 4, 9, 7, 9],
        [3, 3, 4, 7, 7, 9],
    ]


def test_a_threshold_is_told_from_the_name():
    assert [threshold_number(f"attention_id_{name}_max") for name in ("absolute", "relative")] == [0, 1]


def routed_windows():
    """Neuron 0 is visited in both windows, 1 in the first, 2 in the second, 3 never."""
    names = [f"margin_{pooling}" for pooling in POOLINGS] + ["occupancy"]
    first = dict(
        zip(
            names,
            np.array([[-1, 5, 0, 0], [-3, 4, 0, 0], [-2, 4.5, 0, 0], [-1, 0, 0, 0], [0, 1, 0, 0]]),
            strict=True,
        )
    )
    second = dict(
        zip(
            names,
            np.array([[-4, 0, 6, 0], [-4, 0, 6, 0], [-4, 0, 6, 0], [0, 0, 6, 0], [0, 0, 1, 0]]),
            strict=True,
        )
    )
    where = [
        {("margin_max", 0): np.array([1, 0, -1, -1]), ("margin_min", 0): np.array([0, 1, -1, -1])},
        {("margin_max", 0): np.array([0, -1, 0, -1]), ("margin_min", 0): np.array([0, -1, 0, -1])},
    ]
    visits = [np.array([2, 2, 0, 0]), np.array([1, 0, 1, 0])]
    return [
        (
            window,
            reading(
                pooled={(name, 0): values for name, values in pooled.items()}, where=at, visits={0: seen}
            ),
        )
        for window, pooled, at, seen in zip(
            [Window(0, 0, 0, 2), Window(0, 1, 2, 4)], [first, second], where, visits, strict=True
        )
    ]


def test_a_window_that_an_expert_is_not_visited_in_does_not_count():
    found = layout("margins", "occupancy", size=4)
    row, where = text_row(found, 4, routed_windows())
    assert dict(
        zip([column.statistic.name for column in found.columns], row.reshape(5, 4).tolist(), strict=True)
    ) == {
        "margin_max": [-1, 5, 6, 0],
        "margin_min": [-4, 4, 6, 0],
        "margin_mean": pytest.approx([-8 / 3, 4.5, 6, 0]),
        "margin_last": [0, 0, 6, 0],
        "occupancy": [0, 0.5, 0.5, 0],
    }
    assert where.reshape(5, 4)[:2].tolist() == [[1, 0, 2, -1], [2, 1, 2, -1]]


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
    readings = sorted(reader.read(reader.tokenize(TEXTS)), key=lambda row: row.text)
    expected = []
    for text in reader.tokenize(TEXTS):
        layers = [[], [], []]
        for start, pooled, stop in cuts(len(text.ids), window):
            for layer, tokens in enumerate(own_margins(model, name, text.ids[start:stop])):
                layers[layer] += tokens[pooled - start :]
        size, experts, shared = EXPERTS[name]
        sizes = [48 if (name, layer) == ("qwen2_moe", 1) else size * experts + shared for layer in range(3)]
        expected.append(np.concatenate([by_definition(*both) for both in zip(layers, sizes, strict=True)]))
    found = np.stack([row.values for row in readings])
    assert error(reader, found, np.stack(expected)) <= 1e-6
    assert (found == 0).any()  # some experts are not visited by short texts


def cuts(length, window):
    found, start = [(0, 0, min(window, length))], 0
    while found[-1][2] < length:
        start += window - window // 4
        found.append((start, found[-1][2], min(start + window, length)))
    return found


def test_where_an_experts_margin_comes_from_is_told(tiny_of, wrap):
    model = tiny_of("mixtral").double()
    model.set_experts_implementation("eager")
    reader = TextReader(wrap(model), FeatureSpec(("margins",), ("max",), max_tokens=8))
    tokenized = reader.tokenize(TEXTS)
    for reading in reader.read(tokenized, located=True):
        ids, layers = tokenized[reading.text].ids, [[], [], []]
        for start, pooled, stop in cuts(len(ids), 8):
            for layer, tokens in enumerate(own_margins(model, "mixtral", ids[start:stop])):
                layers[layer] += tokens[pooled - start :]
        for layer in range(3):
            for neuron in range(96):
                at, value = reading.where[layer * 96 + neuron], reading.values[layer * 96 + neuron]
                if at < 0:
                    assert value == 0
                    assert not any(neuron in token for token in layers[layer])
                else:
                    assert layers[layer][at][neuron] == pytest.approx(value, rel=1e-5)


def test_neurons_of_experts_without_a_row_are_no_walls(tiny_of, wrap):
    model = tiny_of("mixtral")
    with torch.no_grad():
        model.layers[0].mlp.experts.gate_up_proj[:, 5] = 0
    reader = TextReader(wrap(model), FeatureSpec(("boundary_min", "margins", "occupancy"), max_tokens=64))
    for reading in reader.read(reader.tokenize(TEXTS)):
        assert reading.reason is None
        assert reading.values[0] > 0
        assert (reading.values[1:193].reshape(2, 4, 24)[:, :, 5] == 0).all()
