"""Tests features/reading.py."""

import sys

import numpy as np
import pytest
import torch
from splinelens.features.reading import BatchReader, batch_dimensions, row_dimensions, wall_margins

from splinelens.anatomy import anatomy_of
from splinelens.errors import NoTokens
from splinelens.features.catalogue import statistics
from splinelens.layers import watch
from splinelens.weights import gate_norms, gate_weight

IDS = torch.arange(4, 34).reshape(3, 10)
SPANS = ((0, 10), (3, 7), (9, 10))
EVERYTHING = ["spline7", "margins", "occupancy", "hidden", "length"]
POOLINGS = ["max", "min", "mean", "last"]


def read(model, features=EVERYTHING, *, layers=(0, 1, 2), located=False, pooling=POOLINGS):
    reader = BatchReader(model, statistics(features, pooling), layers, SPANS, located)
    with torch.no_grad():
        return reader.read(lambda: model(IDS, use_cache=False))


def test_each_row_is_read_over_its_own_span(tiny_model, wrap, slow_margins):
    reader = type("Reader", (), {"loaded": wrap(tiny_model.double())})
    for row, reading in enumerate(read(tiny_model, located=True)):
        margins = slow_margins(reader, [(IDS[row].tolist(), slice(*SPANS[row]))])
        assert reading.series.shape == (2, 3, SPANS[row][1] - SPANS[row][0])
        for layer, margin in enumerate(margins):
            assert np.allclose(reading.series[0, layer], (margin > 0).mean(1))
            assert np.allclose(reading.series[1, layer], np.abs(margin).min(1), rtol=1e-5, atol=1e-7)
            assert np.allclose(reading.pooled["margin_max", layer], margin.max(0), rtol=1e-5, atol=1e-6)
            assert np.allclose(reading.pooled["margin_mean", layer], margin.mean(0), rtol=1e-5, atol=1e-6)
            assert np.allclose(reading.pooled["occupancy", layer], (margin > 0).mean(0))
            assert np.array_equal(reading.where["margin_max", layer], margin.argmax(0))
            assert np.array_equal(reading.where["margin_min", layer], margin.argmin(0))


def test_a_row_without_a_token_of_its_own_is_refused(tiny_llama):
    reader = BatchReader(tiny_llama, statistics(["spline7"]), (0,), ((0, 10), (4, 4), (10, 9)))
    with pytest.raises(NoTokens, match=r"rows \[1, 2\] of the batch have no tokens of their own; drop"):
        reader.read(lambda: pytest.fail("the model was run"))


def test_every_tokens_vectors_are_kept_for_prefixes(tiny_model, wrap, slow_margins):
    reader = type("Reader", (), {"loaded": wrap(tiny_model.double())})
    whole = BatchReader(tiny_model, statistics(["margins", "hidden"], POOLINGS), (0, 2), SPANS, whole=True)
    with torch.no_grad():
        readings = whole.read(lambda: tiny_model(IDS, use_cache=False))
    for row, reading in enumerate(readings):
        margins = slow_margins(reader, [(IDS[row].tolist(), slice(*SPANS[row]))])
        assert sorted(reading.vectors) == [("gate", 0), ("gate", 2), ("hidden", 0), ("hidden", 2)]
        for layer in (0, 2):
            assert np.allclose(reading.vectors["gate", layer], margins[layer], rtol=1e-5, atol=1e-6)
            assert reading.vectors["hidden", layer].shape == (len(margins[layer]), 32)
        assert (reading.pooled, reading.neurons, reading.visits) == ({}, {}, {})


def test_the_dimensions_of_some_tokens_are_those_of_the_whole_text(tiny_mistral):
    calls = []
    with torch.no_grad(), watch(tiny_mistral, attention=lambda _, call: calls.append(call), layers=[1]):
        tiny_mistral(torch.arange(4, 44).reshape(2, 20), use_cache=False)
    for row in (0, 1):
        whole = row_dimensions(calls[0], row, 0, 20, 0.2)
        assert whole.shape == (2, 4, 20)
        for start, stop in ((0, 3), (7, 20), (19, 20)):
            assert torch.equal(row_dimensions(calls[0], row, start, stop, 0.2), whole[:, :, start:stop])


def test_only_what_is_asked_for_is_read(tiny_llama):
    (reading, *_) = read(tiny_llama, ["margins"], pooling=["max"], layers=[1])
    assert reading.series is None
    assert list(reading.pooled) == [("margin_max", 1)]
    assert reading.where == {}
    (reading, *_) = read(tiny_llama, ["sign_mean"])
    assert reading.series.shape == (2, 3, 10)
    assert reading.pooled == {}


def test_a_feature_of_the_tokens_alone_does_not_run_the_model(tiny_llama):
    reader = BatchReader(tiny_llama, statistics(["length"]), (0,), SPANS)
    readings = reader.read(lambda: pytest.fail("the model was run"))
    assert [(reading.series, reading.pooled) for reading in readings] == [(None, {})] * 3


def test_the_pass_ends_at_the_last_layer_that_is_read(tiny_llama):
    ran = []
    handle = tiny_llama.layers[2].register_forward_pre_hook(lambda *_: ran.append(2))
    read(tiny_llama, layers=[0, 1])
    handle.remove()
    assert ran == []


def test_a_batch_is_copied_to_the_host_once(tiny_llama, monkeypatch):
    """Every call of ours that would make a GPU wait is counted; a ``to`` that stays in place is none."""
    calls = []
    read(tiny_llama)  # norms are computed once per model, before

    def counting(name, plain):
        def counted(self, *args, **kwargs):
            out = plain(self, *args, **kwargs)
            if sys._getframe(1).f_globals["__name__"].startswith("splinelens.") and out is not self:
                calls.append(name)
            return out

        return counted

    for name in ("to", "item", "tolist", "numpy", "nonzero", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(torch.Tensor, name, counting(name, getattr(torch.Tensor, name)))
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: calls.append("cpu") or self)
    read(tiny_llama, located=True)
    assert sorted(calls) == ["cpu", "numpy"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_model_is_read_in_float32(tiny_llama, dtype):
    model = tiny_llama.to(dtype)
    gates, seen = [], []
    handle = model.layers[1].mlp.gate_proj.register_forward_hook(lambda _, __, out: gates.append(out))
    reader = BatchReader(model, statistics(["spline7", "margins"], ["mean"]), (1,), SPANS)
    keep = reader._keep
    reader._keep = lambda *args: (seen.append(args[-1].dtype), keep(*args))
    with torch.no_grad():
        (reading, *_) = reader.read(lambda: model(IDS, use_cache=False))
    handle.remove()
    assert gates[0].dtype == dtype
    assert set(seen) == {torch.float32}
    norm = model.layers[1].mlp.gate_proj.weight.detach().double().norm(dim=1)
    exact = (gates[0][0].double() / norm).numpy()
    assert np.allclose(reading.pooled["margin_mean", 1], exact.mean(0), rtol=1e-5, atol=1e-6)
    assert np.allclose(reading.series[1, 0], np.abs(exact).min(1), rtol=1e-5, atol=1e-9)
    rounded = torch.from_numpy(exact).to(dtype).double().numpy().mean(0)
    assert not np.allclose(rounded, exact.mean(0), rtol=1e-5, atol=1e-6)  # half precision would show


def test_a_neuron_with_a_zero_row_is_never_the_nearest_wall(tiny_model):
    anatomy = anatomy_of(tiny_model)
    with torch.no_grad():
        gate_weight(anatomy, 1)[5] = 0
        if getattr(anatomy.gate(1), "bias", None) is not None:
            anatomy.gate(1).bias[5] = 0
    assert gate_norms(tiny_model, 1)[5] == 0
    for reading in read(tiny_model):
        assert (reading.series[1] > 0).all()
        assert (reading.pooled["margin_max", 1][5], reading.pooled["occupancy", 1][5]) == (0, 0)


def test_a_layer_without_any_hyperplane_is_infinitely_far(tiny_llama):
    with torch.no_grad():
        tiny_llama.layers[1].mlp.gate_proj.weight.zero_()
    (reading, *_) = read(tiny_llama)
    assert np.isinf(reading.series[1, 1]).all()
    assert np.isfinite(reading.series[1, [0, 2]]).all()


def test_nothing_of_the_size_of_the_gate_is_kept(tiny_llama):
    reader = BatchReader(tiny_llama, statistics(EVERYTHING, POOLINGS), (0, 1, 2), SPANS)
    with torch.no_grad():
        reader.read(lambda: tiny_llama(IDS, use_cache=False))
    for values in reader._flat:
        assert values.untyped_storage().nbytes() <= 4 * 48  # no view of (token, neuron) hides behind it


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma"])
def test_all_rows_at_once_have_the_dimensions_of_each_row_alone(tiny_of, name):
    model, calls = tiny_of(name), []
    ids = torch.arange(4, 94).reshape(3, 30)
    with torch.no_grad(), watch(model, attention=lambda _, call: calls.append(call)):
        model(ids, use_cache=False)
    for call in calls:
        assert call.mask is None
        together = batch_dimensions(call, 0.1)
        assert together.shape == (2, 3, 4, 30)
        for row, (start, stop) in enumerate([(0, 30), (2, 17), (29, 30)]):
            assert torch.equal(together[:, row, :, start:stop], row_dimensions(call, row, start, stop, 0.1))


def test_margins_are_left_alone_where_every_neuron_has_a_wall(tiny_llama):
    margin = torch.randn(5, 48)
    assert wall_margins(tiny_llama, 1, margin, None) is margin
    with torch.no_grad():
        tiny_llama.layers[2].mlp.gate_proj.weight[7] = 0
    walls = wall_margins(tiny_llama, 2, margin, None)
    assert walls.isinf().nonzero()[:, 1].tolist() == [7] * 5
    assert torch.equal(walls[:, :7], margin[:, :7])
