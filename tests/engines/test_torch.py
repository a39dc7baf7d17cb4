"""Tests engines/torch.py: a batch against each of its texts in a pass of its own, pooled in NumPy."""

import gc
import os
import signal
import subprocess
import sys
import weakref
from contextlib import suppress
from dataclasses import is_dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from splinelens.anatomy import anatomy_of
from splinelens.engines.torch import Request, TorchEngine
from splinelens.errors import BadFeatures
from splinelens.geometry.attention import intrinsic_dimension_of_weights, intrinsic_dimensions
from splinelens.geometry.codes import unpacked
from splinelens.layers import watch
from splinelens.tokens import TokenizedText, batches
from splinelens.weights import gate_norms, routed_neurons, walls_of

POOLINGS = ("max", "min", "mean", "last", "occupancy")
STATES = ("max", "min", "mean", "last")
COUNTS = ("last", "mean", "max")
TEXTS = tuple(
    tuple(5 + (7 * start + 3 * step) % 120 for step in range(n)) for start, n in enumerate((21, 6, 1))
)
EPS = 0.2
SIDES = ("right", "left")


def batch_of(texts=TEXTS, **options):
    """All texts in one batch, longest first."""
    tokenized = [TokenizedText(text, ((0, 0),) * len(text), len(text)) for text in texts]
    (batch,) = batches(tokenized, max_tokens=250, batch_tokens=10**6, **options)
    return batch


def everything(model, **changes):
    """A request for all statistics at all layers."""
    anatomy = anatomy_of(model)
    request = {
        "layers": tuple(range(anatomy.depth)),
        "softmax_layers": anatomy.softmax_layers,
        "spline7": True,
        "margins": POOLINGS,
        "hidden": STATES,
        "attention": COUNTS,
        "eps": EPS,
    }
    return Request(**(request | changes))


def exact(model):
    """The model in float64, where a text gives the same in a batch and in a pass of its own."""
    if model.config.model_type == "xglm":  # its eager attention has no float64
        return model
    model = model.double()
    if any(anatomy_of(model).experts(layer) is not None for layer in range(anatomy_of(model).depth)):
        model.set_experts_implementation("eager")  # the others have no float64
    return model


class Slow:
    """One text in an unpadded pass: (token, ...) arrays by layer, over its tokens after the prompt."""

    def __init__(self, model, ids, start=0, stop=None):
        self.margin, self.seen, self.hidden, self.heads, self.neurons = {}, {}, {}, {}, {}
        span, anatomy = slice(start, stop), anatomy_of(model)

        def routes(layer, values):
            self.neurons[layer] = routed_neurons(model, layer, values)[0, span].numpy()

        def gate(layer, values):
            norm, own = gate_norms(model, layer).double().numpy(), values[0, span].double().numpy()
            self.seen[layer] = np.ones((len(own), len(norm)), dtype=bool)
            if layer in self.neurons:
                at = self.neurons[layer]
                self.seen[layer][:] = False
                np.put_along_axis(self.seen[layer], at, True, axis=1)
                wide = np.zeros(self.seen[layer].shape)
                np.put_along_axis(wide, at, own, axis=1)
                own = wide
            self.margin[layer] = own / np.where(norm == 0, np.inf, norm)

        def hidden(layer, values):
            self.hidden[layer] = values[0, span].double().numpy()

        def attention(layer, call):
            if call.weights is not None:
                counts = intrinsic_dimension_of_weights(call.weights, EPS)
            else:
                counts = intrinsic_dimensions(
                    call.query,
                    call.key,
                    scaling=call.scaling,
                    mask=call.mask,
                    softcap=call.softcap,
                    sinks=call.sinks,
                    eps=EPS,
                )
            self.heads[layer] = counts[:, 0, :, span].numpy()  # (threshold, head, token)

        ids = torch.tensor([ids])
        with torch.no_grad(), watch(model, gate=gate, routes=routes, hidden=hidden):
            model(ids, use_cache=False)
        if anatomy.softmax_layers:
            with torch.no_grad(), watch(model, attention=attention, layers=anatomy.softmax_layers):
                model(ids, use_cache=False)

    def sign(self, layer):
        return ((self.margin[layer] > 0) & self.seen[layer]).sum(1) / self.seen[layer].sum(1)

    def distances(self, layer):
        """Distance of each token to each hyperplane that it has."""
        walls = self.seen[layer] & (self.margin[layer] != 0)
        return np.where(walls, np.abs(self.margin[layer]), np.inf)

    def pooled(self, layer, pooling):
        values, seen = self.margin[layer], self.seen[layer]
        count = seen.sum(0)
        if pooling == "last":
            return np.where(seen[-1], values[-1], 0)
        if pooling == "occupancy":
            return ((values > 0) & seen).sum(0) / len(values)
        if pooling == "mean":
            return np.where(seen, values, 0).sum(0) / np.maximum(count, 1)
        best = (
            np.where(seen, values, -np.inf).max(0)
            if pooling == "max"
            else np.where(seen, values, np.inf).min(0)
        )
        return np.where(count > 0, best, 0)


def pooled(values, pooling):
    """(token, ...) to (...)."""
    if pooling == "std":
        return values.std(0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1:])
    return {"max": values.max(0), "min": values.min(0), "mean": values.mean(0), "last": values[-1]}[pooling]


def close(result, expected):
    scale = max(1.0, float(np.abs(expected).max()))
    return np.allclose(result.double().numpy(), expected, rtol=1e-5, atol=1e-5 * scale)  # norms are float32


def check_row(stats, row, slow, request):
    """One row of text statistics is what the text gives by itself."""
    for index, layer in enumerate(request.layers):
        for pooling in ("mean", "min", "max", "std"):
            assert close(stats.sign.result(pooling)[row, index], pooled(slow.sign(layer), pooling))
        for pooling in ("min", "mean", "std"):
            nearest = slow.distances(layer).min(1)
            assert close(stats.boundary.result(pooling)[row, index], pooled(nearest, pooling))
        for pooling in request.margins:
            assert close(stats.margins[layer].result(pooling)[row], slow.pooled(layer, pooling))
        for pooling in request.hidden:
            assert close(stats.hidden[layer].result(pooling)[row], pooled(slow.hidden[layer], pooling))
    for index, layer in enumerate(request.softmax_layers):
        for pooling in request.attention:
            expected = pooled(slow.heads[layer].sum(1).T, pooling)
            assert close(stats.dimension.result(pooling)[row, :, index], expected)


def check_batch(model, side):
    batch, request = batch_of(prompt=(9, 8), suffix=(7,), side=side), everything(model)
    stats = TorchEngine(model, request).text_stats(batch)
    tokens = TorchEngine(model, request).token_stats(batch)
    codes = TorchEngine(model, everything(model, margins=(), hidden=(), codes=True)).token_stats(batch)
    for row, window in enumerate(batch.windows):
        slow = Slow(model, (9, 8, *TEXTS[window.text]), 2)
        check_row(stats, row, slow, request)
        check_tokens(tokens.text(row, *batch.spans[row]), slow)
        check_codes(codes.text(row, *batch.spans[row]), slow)


def test_each_row_of_a_batch_is_its_text_in_a_pass_of_its_own(any_model):
    check_batch(exact(any_model), "right")


def test_so_it_is_padded_left(any_model):
    model = exact(any_model)
    if not anatomy_of(model).has_linear_attention:
        check_batch(model, "left")
        return
    # Transformers computes linear attention in float32 chunks, and padding on the left shifts the chunks.
    right, left = (TorchEngine(model, everything(model)).text_stats(batch_of(side=side)) for side in SIDES)
    for layer, margins in left.margins.items():
        for pooling in POOLINGS:
            expected = right.margins[layer].result(pooling)
            assert torch.allclose(margins.result(pooling), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mixtral", "experts of MixtralModel do not run in float64 as 'grouped_mm'; call its set_exp"),
        ("xglm", "XGLMModel does not run in float64: in transformers its attention .* dtype='float32'"),
    ],
)
def test_a_model_that_cannot_run_in_float64_says_so(tiny_of, name, message):
    model = tiny_of(name).double()
    with pytest.raises(BadFeatures, match=message):
        TorchEngine(model, everything(model)).text_stats(batch_of())


_FORK = """
import os
import torch
from transformers import AutoModel, LlamaConfig
from splinelens.engines.torch import run_tokens

torch.set_num_threads(2)
sizes = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 1, "num_attention_heads": 4}
model = AutoModel.from_config(LlamaConfig(**sizes, vocab_size=16)).eval()
ids = torch.zeros(4, 512, dtype=torch.long)
run_tokens(model, ids, torch.arange(512)[None])
child = os.fork()
if child == 0:
    run_tokens(model, ids, torch.arange(512)[None])
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_is_forked_after_a_pass_runs_passes_too():
    """Without the threads of its parent, with which OpenMP waits for ever."""
    group = subprocess.Popen([sys.executable, "-c", _FORK], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert group.communicate(timeout=60)[0] == b"7\n"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(group.pid, signal.SIGKILL)


def test_a_prompt_that_ran_once_is_seen_by_every_row(tiny_model):
    model, prompt = exact(tiny_model), tuple(range(20, 39))
    batch, request = batch_of(offset=len(prompt)), everything(model)
    stats = TorchEngine(model, request, prompt).text_stats(batch)
    for row, window in enumerate(batch.windows):
        check_row(stats, row, Slow(model, (*prompt, *TEXTS[window.text]), len(prompt)), request)


def check_tokens(stats, slow):
    for layer in slow.margin:
        assert close(stats.sign[0, :, layer], slow.sign(layer))
        assert close(stats.boundary[0, :, layer], slow.distances(layer).min(1))
        assert close(stats.hidden[layer][0], slow.hidden[layer])
        margin = slow.margin[layer]
        assert (layer in stats.neurons) == (layer in slow.neurons)
        if layer in slow.neurons:
            assert (stats.neurons[layer][0].numpy() == slow.neurons[layer]).all()
            margin = np.take_along_axis(margin, slow.neurons[layer], axis=1)
        assert close(stats.margins[layer][0], margin)
    for index, layer in enumerate(slow.heads):
        assert (stats.dimension[0, :, :, index].numpy() == slow.heads[layer].sum(1).T).all()


def check_codes(stats, slow):
    assert bool(stats.finite.all())
    assert (stats.margins, stats.hidden) == ({}, {})
    for layer, margin in slow.margin.items():
        if layer in slow.neurons:
            margin = np.take_along_axis(margin, slow.neurons[layer], axis=1)
        assert (unpacked(stats.codes[layer][0], margin.shape[1]).numpy() == (margin > 0)).all()
        assert (stats.nearest_wall[0, :, layer].numpy() == slow.distances(layer).argmin(1)).all()
        assert close(stats.sign[0, :, layer], slow.sign(layer))
        assert close(stats.boundary[0, :, layer], slow.distances(layer).min(1))
    for layer, counts in slow.heads.items():
        assert (stats.heads[layer][0].permute(1, 2, 0).numpy() == counts).all()


@pytest.mark.parametrize(
    ("name", "side"),
    [(name, "right") for name in ("llama", "mistral", "gpt_oss", "gemma2", "bloom", "deepseek_v3")]
    + [(name, "left") for name in ("llama", "mistral", "gpt_oss", "deepseek_v3")],
)
def test_where_the_last_token_is_enough_its_attention_is_that_of_the_whole(tiny_of, name, side):
    """Plain, with a window, sinks, a soft cap, eager weights, values of another width."""
    model = exact(tiny_of(name))
    batch = batch_of(prompt=(9, 8), suffix=(7,), side=side)
    some, whole = (
        TorchEngine(model, everything(model, attention=poolings)).text_stats(batch).dimension
        for poolings in (("last",), COUNTS)
    )
    assert torch.equal(some.result("last"), whole.result("last"))


def test_after_a_prompt_the_last_token_sees_the_prompt(tiny_llama):
    model, prompt = exact(tiny_llama), range(20, 39)
    some, whole = (
        TorchEngine(model, everything(model, attention=poolings), prompt).text_stats(batch_of(offset=19))
        for poolings in (("last",), COUNTS)
    )
    assert torch.equal(some.dimension.result("last"), whole.dimension.result("last"))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", ["llama", "mixtral"])
def test_the_source_of_a_margin_is_a_column_of_the_batch(tiny_of, name, side):
    model, batch = exact(tiny_of(name)), batch_of(prompt=(9,), side=side)
    stats = TorchEngine(model, everything(model)).text_stats(batch, locate=True)
    plain = TorchEngine(model, everything(model)).text_stats(batch)
    for row, window in enumerate(batch.windows):
        slow, start = Slow(model, (9, *TEXTS[window.text]), 1), batch.spans[row][0]
        for layer, margin in slow.margin.items():
            for pooling in ("max", "min", "last"):
                source = stats.margins[layer].source(pooling)[row].numpy()
                result = stats.margins[layer].result(pooling)[row]
                assert torch.equal(result, plain.margins[layer].result(pooling)[row])
                assert plain.margins[layer].source(pooling) is None
                there = source >= 0
                assert (
                    there == (slow.seen[layer][-1] if pooling == "last" else slow.seen[layer].any(0))
                ).all()
                at = margin[source[there] - start, there.nonzero()[0]]
                assert np.allclose(at, result.numpy()[there], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["llama", "mixtral"])
def test_a_batch_too_large_for_the_cache_is_reduced_in_blocks(tiny_of, name):
    """On a CPU 2**18 numbers of a gate are reduced at once, here some 300,000 of each layer."""
    model = exact(tiny_of(name))
    texts = [tuple(5 + (row * 31 + step * step) % 120 for step in range(240)) for row in range(26)]
    request = Request((0, 1, 2), spline7=True)
    stats = TorchEngine(model, request).text_stats(batch_of(texts))
    for row in (0, 13, 25):
        (single,) = [TorchEngine(model, request).text_stats(batch_of(texts[row : row + 1]))]
        for state, other in ((stats.sign, single.sign), (stats.boundary, single.boundary)):
            for pooling in ("mean", "min"):
                assert torch.allclose(state.result(pooling)[row], other.result(pooling)[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("request_of", "present"),
    [
        ({"margins": ("max",)}, {"margins"}),
        ({"spline7": True}, {"sign", "boundary"}),
        ({"hidden": ("mean",)}, {"hidden"}),
        ({"softmax_layers": (1,), "attention": ("last",)}, {"dimension"}),
    ],
)
def test_only_what_is_requested_is_computed(tiny_llama, request_of, present):
    engine = TorchEngine(tiny_llama, Request(layers=(1,), **request_of))
    for stats in (engine.text_stats(batch_of()), engine.token_stats(batch_of())):
        assert {name for name, part in vars(stats).items() if part is not None and part != {}} == present
        assert all(list(part) == [1] for part in vars(stats).values() if isinstance(part, dict) and part)


def test_a_request_for_nothing_does_not_run_the_model(tiny_llama):
    ran = []
    tiny_llama.register_forward_pre_hook(lambda *_: ran.append(1))
    engine = TorchEngine(tiny_llama, Request(layers=(0,)))
    assert tensors(engine.text_stats(batch_of())) == tensors(engine.token_stats(batch_of())) == ran == []


@pytest.mark.parametrize("request_of", [{"spline7": True}, {"hidden": ("max",)}])
def test_the_pass_ends_at_the_last_layer_that_is_read(tiny_llama, request_of):
    ran = []
    tiny_llama.layers[2].register_forward_pre_hook(lambda *_: ran.append(2))
    engine = TorchEngine(tiny_llama, Request(layers=(0, 1), **request_of))
    engine.text_stats(batch_of())
    engine.token_stats(batch_of())
    assert engine.failing_layer(batch_of()) is None
    assert ran == []


def tensors(record):
    """All tensors in a record."""
    if isinstance(record, Tensor):
        return [record]
    if is_dataclass(record):
        record = vars(record)
    return [part for value in record.values() for part in tensors(value)] if isinstance(record, dict) else []


@pytest.mark.parametrize("name", ["llama", "mistral", "mixtral"])
def test_nothing_of_the_size_of_the_gate_or_the_attention_is_kept(tiny_of, name):
    """No view of (text, token, neuron) or (text, token, token) hides in the statistics either."""
    model = tiny_of(name)
    texts = [tuple(range(5, 105)), tuple(range(5, 105))]
    stats = TorchEngine(model, everything(model)).text_stats(batch_of(texts), locate=True)
    assert len(tensors(stats)) > 20
    for part in tensors(stats):
        assert part.untyped_storage().nbytes() <= 2 * 3 * 112 * 2 * 8  # (text, layer, token), two thresholds
    assert 2 * 3 * 112 * 2 * 8 < 2 * 100 * 48 * 4


def test_the_gate_of_a_layer_is_gone_when_the_next_layer_runs(tiny_llama):
    gates, alive = [], []
    for block in tiny_llama.layers:
        block.register_forward_pre_hook(lambda *_: alive.append(sum(gate() is not None for gate in gates)))
        block.mlp.gate_proj.register_forward_hook(lambda _, __, out: gates.append(weakref.ref(out)))
    stats = TorchEngine(tiny_llama, everything(tiny_llama)).text_stats(batch_of(), locate=True)
    gc.collect()
    assert alive == [0, 0, 0]
    assert [gate() for gate in gates] == [None, None, None]
    assert tensors(stats)


def test_a_pass_never_waits_for_the_device(tiny_llama, monkeypatch):
    """Calls of ours that would make a GPU wait are counted; a ``to`` that stays in place is none.

    On a CPU nothing is copied at the end either; the next test counts the copies of a GPU.
    """
    engine, calls = TorchEngine(tiny_llama, everything(tiny_llama)), []
    engine.text_stats(batch_of())  # norms are computed once per model, before

    def counting(name, plain):
        def counted(self, *args, **kwargs):
            out = plain(self, *args, **kwargs)
            if sys._getframe(1).f_globals["__name__"].startswith("splinelens.") and out is not self:
                calls.append(name)
            return out

        return counted

    for name in ("to", "cpu", "item", "tolist", "numpy", "nonzero", "__bool__", "__int__"):
        monkeypatch.setattr(torch.Tensor, name, counting(name, getattr(torch.Tensor, name)))
    engine.text_stats(batch_of(), locate=True)
    engine.token_stats(batch_of())
    assert calls == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_batch_is_copied_to_the_host_once_per_dtype(tiny_llama, monkeypatch):
    copies, plain = [], torch.Tensor.cpu
    engine = TorchEngine(tiny_llama.cuda(), everything(tiny_llama))
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: copies.append(self.dtype) or plain(self))
    stats = engine.text_stats(batch_of(), locate=True)
    assert {part.device.type for part in tensors(stats)} == {"cpu"}
    assert len(copies) == len(set(copies)) == len({part.dtype for part in tensors(stats)})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_gate_is_read_in_float32(tiny_llama, dtype):
    model, gates, batch = tiny_llama.to(dtype), [], batch_of()
    handle = model.layers[1].mlp.gate_proj.register_forward_hook(lambda _, __, out: gates.append(out))
    stats = TorchEngine(model, Request((1,), spline7=True, margins=("mean", "max"))).text_stats(batch)
    handle.remove()
    assert gates[0].dtype == dtype
    norm = model.layers[1].mlp.gate_proj.weight.detach().double().norm(dim=1)
    margin = (gates[0][0, : batch.spans[0][1]].double() / norm).numpy()
    assert stats.margins[1].result("max").dtype == torch.float32
    assert np.allclose(stats.margins[1].result("mean")[0], margin.mean(0), rtol=1e-5, atol=1e-6)
    assert np.allclose(stats.margins[1].result("max")[0], margin.max(0), rtol=1e-6)
    assert np.allclose(stats.boundary.result("mean")[0, 0], np.abs(margin).min(1).mean(), rtol=1e-5)
    rounded = torch.from_numpy(margin).to(dtype).double().numpy().mean(0)
    assert not np.allclose(rounded, margin.mean(0), rtol=1e-5, atol=1e-6)  # half precision would show


@pytest.mark.parametrize("codes", [False, True])
def test_a_neuron_with_a_zero_row_has_no_boundary(tiny_model, codes):
    anatomy = anatomy_of(tiny_model)
    with torch.no_grad():
        walls_of(anatomy, 1)[0][5] = 0
        if getattr(anatomy.gate(1), "bias", None) is not None:
            anatomy.gate(1).bias[5] = 0
    engine = TorchEngine(tiny_model, everything(tiny_model, codes=codes))
    tokens = engine.token_stats(batch_of())
    assert (tokens.boundary > 0).all()
    if codes:
        assert not (tokens.nearest_wall[:, :, 1] == 5).any()
        return
    texts = engine.text_stats(batch_of())
    assert (texts.boundary.result("min") > 0).all()
    for pooling in POOLINGS:
        assert (texts.margins[1].result(pooling)[:, 5] == 0).all()


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral", "qwen2_moe"])
def test_one_rule_for_zero_rows_holds_for_texts_and_codes(tiny_of, name):
    """On dense layers and layers of experts, half of whose neurons or experts have zero rows here."""
    model = tiny_of(name).requires_grad_(False)
    for layer in range(3):
        experts = anatomy_of(model).experts(layer)
        weight = walls_of(anatomy_of(model), layer)[0] if experts is None else experts.gate_up_proj
        weight[: len(weight) // 2] = 0
    plain = TorchEngine(model, everything(model)).token_stats(batch_of())
    coded = TorchEngine(model, everything(model, codes=True)).token_stats(batch_of())
    assert torch.equal(plain.sign, coded.sign)
    assert torch.equal(plain.boundary, coded.boundary)
    assert (plain.boundary > 0).all()
    for layer in range(3):
        nearest = coded.nearest_wall[:, :, layer]
        assert (gate_norms(model, layer)[nearest[nearest >= 0]] > 0).all()
        assert torch.equal(nearest < 0, plain.boundary[:, :, layer].isinf())


def test_a_layer_without_any_hyperplane_is_infinitely_far(tiny_llama):
    with torch.no_grad():
        tiny_llama.layers[1].mlp.gate_proj.weight.zero_()
    engine = TorchEngine(tiny_llama, everything(tiny_llama, codes=True))
    stats = engine.token_stats(batch_of())
    assert stats.boundary[:, :, 1].isinf().all()
    assert stats.boundary[:, :, [0, 2]].isfinite().all()
    assert (stats.nearest_wall[:, :, 1] == -1).all()


def test_tokens_may_follow_a_cache(tiny_llama):
    from transformers import DynamicCache

    model, cache = exact(tiny_llama), DynamicCache()
    engine = TorchEngine(model, everything(model))
    whole = engine.token_stats(batch_of(TEXTS[:1])).text(0, 0, 21)
    engine.token_stats(batch_of([TEXTS[0][:16]]), cache)
    rest = engine.token_stats(batch_of([TEXTS[0][16:]], offset=16), cache).text(0, 0, 5)
    for part, expected in zip(tensors(rest), tensors(whole), strict=True):
        assert torch.allclose(part, expected[:, 16:], rtol=1e-6, atol=1e-6)


def test_statistics_of_windows_merge_to_those_of_the_text(tiny_llama):
    """Windows that see all that is before them: the text cut after token 16, run on one cache."""
    model = exact(tiny_llama)
    request = everything(model)
    whole = TorchEngine(model, request).text_stats(batch_of(TEXTS[:1]), locate=True)
    first = TorchEngine(model, request).text_stats(batch_of([TEXTS[0][:16]]), locate=True)
    later = TorchEngine(model, request, TEXTS[0][:16]).text_stats(
        batch_of([TEXTS[0][16:]], offset=16), locate=True
    )
    merged = first.merge(later.located_from(16))
    for part, expected in zip(tensors(merged), tensors(whole), strict=True):
        assert torch.allclose(part.double(), expected.double(), rtol=1e-6, atol=1e-6)


def test_the_first_layer_that_fails_is_found_within_the_span(tiny_model):
    request = {"layers": (0, 1, 2), "spline7": True}
    engine = TorchEngine(tiny_model, Request(**request))
    ids = tuple(range(4, 24))
    assert engine.failing_layer(batch_of([ids])) is None
    anatomy_of(tiny_model).blocks[1].register_forward_hook(
        lambda _, __, out: spoil(out[0] if isinstance(out, tuple) else out)
    )
    assert engine.failing_layer(batch_of([ids])) == 1
    assert TorchEngine(tiny_model, Request((0,), spline7=True)).failing_layer(batch_of([ids])) is None
    padded = batch_of([ids[:7]], suffix=ids[7:])
    assert engine.failing_layer(padded) in (
        None,
        2,
    )  # whether 0 * NaN reaches earlier tokens is up to the kernel


def spoil(states):
    states[:, 7:] = torch.nan
