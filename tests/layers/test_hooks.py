"""Tests layers/hooks.py."""

import gc
import threading
import weakref

import pytest
import torch

from splinelens.errors import BadFeatures, UnknownAnatomy
from splinelens.layers import watch
from splinelens.models import LoadedModel

IDS = torch.arange(4, 24).reshape(2, 10)
_ACTIVATIONS = {"phi3": "mlp.activation_fn", "opt": "activation_fn", "gpt2": "mlp.act", "gpt_neox": "mlp.act"}


def blocks_of(model):
    """The list of blocks, found without anatomy.py."""
    return next(module for module in model.modules() if isinstance(module, torch.nn.ModuleList))


def activation_of(model, layer):
    return blocks_of(model)[layer].get_submodule(_ACTIVATIONS.get(model.config.model_type, "mlp.act_fn"))


def hooks_of(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def run(model, **options):
    with torch.no_grad():
        return model(IDS, use_cache=False, **options)


def test_watching_changes_nothing_and_leaves_nothing(tiny_model):
    before = run(tiny_model).last_hidden_state
    with watch(tiny_model, gate=lambda *_: None, hidden=lambda *_: None):
        assert hooks_of(tiny_model) >= 6
        watched = run(tiny_model).last_hidden_state
    assert hooks_of(tiny_model) == 0
    assert torch.equal(watched, before)
    assert torch.equal(run(tiny_model).last_hidden_state, before)


def test_the_logits_of_a_model_with_a_head_are_bit_equal():
    import transformers

    config = transformers.Qwen3Config(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=128,
    )
    model = transformers.Qwen3ForCausalLM(config).eval()
    read = []
    plain = run(model).logits
    with watch(model, gate=lambda layer, _: read.append(layer)):
        assert torch.equal(run(model).logits, plain)
    assert read == [0, 1]


def test_the_gate_is_what_enters_the_activation(tiny_model):
    entered, gates = {}, {}
    handles = [
        activation_of(tiny_model, layer).register_forward_pre_hook(
            lambda _, args, layer=layer: entered.setdefault(layer, args[0].clone())
        )
        for layer in range(3)
    ]
    with watch(tiny_model, gate=lambda layer, values: gates.setdefault(layer, values.clone())):
        run(tiny_model)
    for handle in handles:
        handle.remove()
    assert list(gates) == [0, 1, 2]
    for layer in range(3):
        assert gates[layer].shape == (2, 10, 48)  # OPT's MLP sees (20, 32)
        assert torch.equal(gates[layer].reshape(-1), entered[layer].reshape(-1))


def test_the_gate_of_a_fused_projection_is_its_first_half(tiny_phi3):
    gates, inputs = [], []
    fused = tiny_phi3.layers[1].mlp.gate_up_proj
    handle = fused.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with watch(tiny_phi3, gate=lambda _, values: gates.append(values), layers=[1]):
        run(tiny_phi3)
    handle.remove()
    half = inputs[0] @ fused.weight[:48].T
    assert torch.allclose(gates[0], half, atol=1e-5)
    assert not torch.allclose(gates[0], inputs[0] @ fused.weight[48:].T, atol=1e-5)


def test_hidden_is_the_residual_stream_behind_each_block(tiny_model):
    streams = {}
    with watch(tiny_model, hidden=lambda layer, values: streams.setdefault(layer, values.clone())):
        expected = run(tiny_model, output_hidden_states=True).hidden_states
    for layer in range(2):  # the last of hidden_states is normed
        assert torch.equal(streams[layer], expected[layer + 1])
    handle = blocks_of(tiny_model)[2].register_forward_hook(
        lambda _, __, out: streams.setdefault("last", (out[0] if isinstance(out, tuple) else out).clone())
    )
    run(tiny_model)
    handle.remove()
    assert torch.equal(streams[2], streams["last"])


def test_only_the_layers_asked_for_are_read_each_once(tiny_llama):
    read = []
    with watch(tiny_llama, gate=lambda layer, _: read.append(layer), layers=[2, 0, 2]):
        run(tiny_llama)
        run(tiny_llama)
    assert read == [0, 2, 0, 2]
    with watch(tiny_llama, gate=lambda layer, _: read.append(layer), layers=[]):
        run(tiny_llama)
    assert len(read) == 4


def test_what_is_read_carries_no_gradient(tiny_llama):
    seen = []
    with watch(
        tiny_llama, gate=lambda *args: seen.append(args[1]), hidden=lambda *args: seen.append(args[1])
    ):
        out = tiny_llama(IDS)
    assert out.last_hidden_state.requires_grad
    assert not any(values.requires_grad for values in seen)


@pytest.mark.parametrize("layers", [[3], [-1], [0, 7, 3]])
def test_a_layer_that_does_not_exist_is_refused(tiny_opt, layers):
    wrong = sorted(set(layers) - {0})
    with (
        pytest.raises(
            BadFeatures,
            match=rf"layers \[{', '.join(map(str, wrong))}\] do not exist: 3 blocks are loaded, 0 to 2",
        ),
        watch(tiny_opt, gate=lambda *_: None, layers=layers),
    ):
        run(tiny_opt)
    assert hooks_of(tiny_opt) == 0


def test_an_unknown_architecture_is_refused():
    with pytest.raises(UnknownAnatomy, match="no row"), watch(torch.nn.Linear(2, 2), gate=lambda *_: None):
        pass


def test_no_hook_is_left_after_an_exception_inside(tiny_model):
    with pytest.raises(ZeroDivisionError), watch(tiny_model, gate=lambda *_: None, hidden=lambda *_: None):
        run(tiny_model)
        raise ZeroDivisionError
    assert hooks_of(tiny_model) == 0


def test_no_hook_is_left_after_an_exception_of_a_reader(tiny_model):
    def reader(layer, _):
        if layer == 1:
            raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"), watch(tiny_model, gate=reader):
        run(tiny_model)
    assert hooks_of(tiny_model) == 0


def test_no_hook_is_left_after_ctrl_c(tiny_opt):
    with pytest.raises(KeyboardInterrupt), watch(tiny_opt, gate=lambda *_: None):
        raise KeyboardInterrupt
    assert hooks_of(tiny_opt) == 0


@pytest.mark.parametrize("what", ["gate", "hidden", "both"])
def test_stop_ends_the_pass_at_the_last_layer_that_is_read(tiny_model, what):
    ran, read = [], []
    blocks = blocks_of(tiny_model)
    handles = [
        block.register_forward_pre_hook(lambda *_, layer=layer: ran.append(layer))
        for layer, block in enumerate(blocks)
    ]
    handles.append(activation_of(tiny_model, 1).register_forward_hook(lambda *_: ran.append("activation 1")))
    readers = {name: lambda layer, _, name=name: read.append((name, layer)) for name in ("gate", "hidden")}
    chosen = readers if what == "both" else {what: readers[what]}
    with watch(tiny_model, **chosen, layers=[1, 0], stop=True):
        run(tiny_model)
        pytest.fail("what follows in the block is not run")
    for handle in handles:
        handle.remove()
    assert hooks_of(tiny_model) == 0
    assert ran == ([0, 1] if what == "gate" else [0, 1, "activation 1"])
    assert read == [(name, layer) for layer in (0, 1) for name in chosen]


def test_without_stop_the_pass_runs_to_its_end(tiny_llama):
    with watch(tiny_llama, gate=lambda *_: None, layers=[0]):
        out = run(tiny_llama)
    assert torch.equal(out.last_hidden_state, run(tiny_llama).last_hidden_state)


def test_a_watch_inside_another_ends_only_its_own_block(tiny_llama):
    ids, seen = torch.tensor([[5, 6, 7]]), []
    with watch(tiny_llama, gate=lambda layer, gate: seen.append(("outer", layer)), layers=[0], stop=True):
        with watch(tiny_llama, gate=lambda layer, gate: seen.append(("inner", layer)), layers=[2], stop=True):
            tiny_llama(ids)
        pytest.fail("the outer watch had seen its last layer")
    assert seen == [("outer", 0)]


def test_a_stopped_pass_leaves_none_of_its_tensors_behind(tiny_llama):
    kept = []
    gc.disable()  # what only the collector would free would pile up between its runs
    try:
        for block in tiny_llama.layers:
            block.mlp.gate_proj.register_forward_hook(
                lambda _module, _args, out: kept.append(weakref.ref(out))
            )
        with watch(tiny_llama, gate=lambda _layer, _gate: None, stop=True):
            tiny_llama(torch.tensor([[5, 6, 7]]))
        assert [reference() for reference in kept] == [None] * 3
    finally:
        gc.enable()


def test_threads_watch_one_model_one_after_the_other(tiny_llama):
    expected, seen, errors = {}, [], []
    texts = [torch.tensor([[5, 6, 7, 8]]), torch.tensor([[9, 10, 11, 12]])]

    def read(number):
        found = {}
        with (
            torch.no_grad(),
            watch(
                tiny_llama,
                gate=lambda layer, gate: found.update({layer: gate.clone()}),
                attention=lambda layer, call: found.update({("key", layer): call.key.clone()}),
                stop=True,
            ),
        ):
            tiny_llama(texts[number])
        return found

    def work(number):
        try:
            for _ in range(20):
                found = read(number)
                seen.append(all(torch.equal(found[key], value) for key, value in expected[number].items()))
        except BaseException as error:  # a thread must not hide what it met
            errors.append(error)

    for number in (0, 1):
        expected[number] = read(number)
    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1, 0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert seen == [True] * 80
    assert tiny_llama.config._attn_implementation == "sdpa"
    assert hooks_of(tiny_llama) == 0


@pytest.mark.parametrize("name", ["llama", "opt", "qwen2_moe"])
def test_a_pass_of_another_thread_is_not_read(tiny_of, name):
    model, read = tiny_of(name), []
    readers = {
        kind: lambda *_, kind=kind: read.append(kind) for kind in ("gate", "hidden", "inputs", "routes")
    }
    with watch(model, **readers, attention=lambda *_: read.append("attention"), stop=True):
        thread = threading.Thread(target=lambda: run(model))
        thread.start()
        thread.join()
        assert read == []
        run(model)
        pytest.fail("what follows in the block is not run")
    assert {"gate", "hidden", "inputs", "attention"} <= set(read)


def test_what_load_model_returns_is_watched_as_its_model(tiny_llama, tiny_tokenizer):
    depth = tiny_llama.config.num_hidden_layers
    loaded, seen = LoadedModel(tiny_llama, tiny_tokenizer, "tiny", None, depth, depth), []
    with watch(loaded, gate=lambda layer, values: seen.append(layer)):
        run(tiny_llama)
    assert seen == list(range(depth))


def test_what_is_no_transformers_model_is_named_with_what_to_give():
    wording = r"a str is no transformers model .* give a model, such as load_model\(name\)\.model"
    with pytest.raises(UnknownAnatomy, match=wording), watch("smollm2-135m", gate=lambda *_: None):
        pass
