"""Tests features/place.py."""

import pytest
import splinelens.features.tokenwise as tokenwise
import torch
from splinelens.features.place import look
from splinelens.features.tokenwise import read_tokens

from splinelens.anatomy import anatomy_of
from splinelens.errors import BadFeatures, NoTokens
from splinelens.weights import walls_of

TEXT = "the thing you are after"


@pytest.fixture
def load(tiny_of, wrap):
    """Loads a tiny model of a family."""
    return lambda name, **changes: wrap(tiny_of(name, **changes))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["llama", "phi3", "gpt2", "opt", "mixtral", "qwen3_next", "falcon", "bloom"])
def test_a_place_agrees_with_the_reading_of_its_text(load, name, dtype):
    loaded = load(name)
    loaded.model.to(dtype)
    reading = read_tokens(TEXT, loaded)
    for layer in range(3):
        place = look(TEXT, loaded, layer=layer, token=5)
        assert place.region == reading.region_ids(layer)[5]
        assert place.wall == reading.wall[layer, 5]
        assert place.boundary == pytest.approx(reading.boundary[layer, 5], rel=1e-4, abs=1e-6)
        assert place.sign == reading.sign[layer, 5]
        assert place.piece == reading.piece(5)
        assert torch.equal(place.code, reading.code(layer)[5])
        if place.hull is not None:
            counts = [[head.absolute, head.relative] for head in place.hull.heads]
            assert counts == reading.dimension[:, layer, :, 5].T.tolist()
            assert place.hull.tight[1] == reading.bound[layer, 5]


def test_the_map_and_the_output_are_those_of_the_mlp(load):
    loaded = load("llama")
    mlp = loaded.model.double().layers[1].mlp
    place = look(TEXT, loaded, layer=1, token=4)
    with torch.no_grad():
        assert (place.output - mlp(place.input)).abs().max() < 1e-10
        assert place.map.value is place.output
        assert place.map.kind == "first-order"
        assert place.notes == ()


def test_opt_is_exact(load):
    loaded = load("opt")
    block = loaded.model.double().decoder.layers[2]
    place = look(TEXT, loaded, layer=2, token=4)
    assert place.map.kind == "exact"
    with torch.no_grad():
        assert (place.output - block.fc2(block.fc1(place.input).relu())).abs().max() < 1e-10


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "mixtral", "qwen2_moe"])
def test_the_crossing_step_flips_the_sign_of_the_nearest_wall_only(load, name):
    loaded = load(name)
    place = look(TEXT, loaded, layer=0, token=3)
    assert place.crossing.neuron == place.wall
    assert place.crossing.distance == pytest.approx(place.boundary, rel=1e-3, abs=1e-6)
    flipped = place.on != signs_at(loaded.model, place.experts, place.input.double() + place.crossing.step)
    assert int(flipped.sum()) == 1


def signs_at(model, experts, point):
    """The signs of the neurons of layer 0 at a point of its input, from paths typed here."""
    kind = model.config.model_type
    if kind in ("mixtral", "qwen2_moe"):
        mlp = model.layers[0].mlp
        gates = [mlp.experts.gate_up_proj[expert, :24] for expert in experts]
        gates += [mlp.shared_expert.gate_proj.weight] if kind == "qwen2_moe" else []
        return torch.cat(gates).double() @ point > 0
    gate = {
        "llama": lambda: model.layers[0].mlp.gate_proj,
        "gpt2": lambda: model.h[0].mlp.c_fc,
        "opt": lambda: model.decoder.layers[0].fc1,
    }[kind]()
    weight = gate.weight.T if kind == "gpt2" else gate.weight
    return weight.double() @ point + (0 if gate.bias is None else gate.bias.double()) > 0


def test_experts_have_walls_and_hulls_but_no_map(load):
    place = look(TEXT, load("mixtral"), layer=1, token=4)
    assert (place.map, place.output) == (None, None)
    assert len(place.experts) == 2
    assert place.hull.point is not None
    assert "no map and no output: layer 1 of MixtralModel consists of experts" in place.notes[0]
    assert f"crosses one wall of experts {place.experts[0]}, {place.experts[1]}" in place.notes[1]


def test_linear_attention_has_no_hull(load):
    place = look(TEXT, load("qwen3_next"), layer=0, token=4)
    assert place.hull is None
    assert place.map is not None
    assert place.notes == ("layer 0 has linear attention: there is no softmax, so no hull and no dimension",)


@pytest.mark.parametrize("name", ["falcon", "bloom"])
def test_weights_alone_give_counts_but_no_vertices(load, name):
    place = look(TEXT, load(name), layer=1, token=4)
    assert (place.hull.point, place.hull.measured) == (None, None)
    assert all(head.vertices is None and head.absolute > 0 for head in place.hull.heads)
    assert "hands over attention weights only: the counts are there" in place.notes[0]


def test_an_output_gate_and_sinks_are_told(load):
    gated = look(TEXT, load("qwen3_next"), layer=1, token=4)
    assert any("without that gate, not the attention's output" in note for note in gated.notes)
    sinks = look(TEXT, load("gpt_oss"), layer=1, token=4)
    assert any("a sink takes part of the attention" in note for note in sinks.notes)


def test_a_prompts_tokens_are_vertices_with_numbers_below_0(load):
    place = look("the", load("llama"), layer=1, token=0, prompt="so it is ", eps=0.01)
    numbers = {token for head in place.hull.heads for token in head.tokens}
    assert min(numbers) < 0
    assert max(numbers) == 0


def test_one_token_alone_lies_on_a_vertex(load):
    place = look("a", load("llama"), layer=0, token=0)
    assert (place.hull.tight, place.hull.measured) == ((0, 0), (0, 0))
    assert [head.tokens for head in place.hull.heads] == [(0,)] * 4


def test_a_layer_without_walls_has_no_crossing_step(tiny_of, wrap):
    model = tiny_of("llama")
    model.layers[1].mlp.gate_proj.weight.data.zero_()
    place = look(TEXT, wrap(model), layer=1, token=4)
    assert (place.crossing, place.wall, place.boundary) == (None, -1, float("inf"))
    assert "no crossing step: all 48 rows of the gate weight are 0" in place.notes[0]


def test_of_a_named_model_the_blocks_up_to_the_layer_are_loaded(load, monkeypatch):
    asked = []

    def load_model(name, *, layers):
        asked.append((name, layers))
        return load("llama")

    monkeypatch.setattr(tokenwise, "load_model", load_model)
    place = look(TEXT, "some model", layer=1, token=4)
    assert place.boundary == look(TEXT, load("llama"), layer=1, token=4).boundary
    assert asked == [("some model", 2)]


def test_what_does_not_exist_is_refused(load):
    loaded = load("llama")
    with pytest.raises(BadFeatures, match="token 12 does not exist: the text has 12 tokens, 0 to 11"):
        look(TEXT, loaded, layer=0, token=12)
    with pytest.raises(BadFeatures, match=r"layers \[7\] do not exist: the model has 3 blocks, 0 to 2"):
        look(TEXT, loaded, layer=7, token=0)
    with pytest.raises(BadFeatures, match=r"eps is 1\.0"):
        look(TEXT, loaded, layer=0, token=0, eps=1.0)
    with pytest.raises(NoTokens, match="the text is empty"):
        look("", loaded, layer=0, token=0)


@pytest.mark.parametrize("name", ["llama", "mixtral", "qwen2_moe"])
def test_the_wall_of_a_place_is_one_of_its_neurons(tiny_of, wrap, name):
    loaded = wrap(tiny_of(name))
    for layer in range(3):
        place = look("the thing", loaded, layer=layer, token=3)
        assert len(place.numbers) == len(place.on) == place.neurons
        [bit] = (place.numbers == place.wall).nonzero().flatten().tolist()
        assert place.crossing.neuron == place.wall
        after = read_gate(loaded, layer, place, place.crossing.step)
        assert (after > 0).ne(place.on).nonzero().flatten().tolist() == [bit]


def read_gate(loaded, layer, place, step):
    """The gate of the place's neurons behind a step, from their weights."""
    weight, bias = walls_of(anatomy_of(loaded.model), layer, place.experts)
    gate = weight.double() @ (place.input.double() + step)
    return gate if bias is None else gate + bias


def test_print_shows_no_vectors(tiny_of, wrap):
    shown = repr(look("the thing", wrap(tiny_of("llama")), layer=0, token=1))
    assert "tensor" not in shown
    assert len(shown) < 600
