"""Tests features/look.py: token details, hulls and region maps."""

import pytest
import torch

from splinelens.anatomy import anatomy_of
from splinelens.errors import BadFeatures, BadModel, NoTokens, UnknownAnatomy
from splinelens.features.look import hull_of, look, region_map
from splinelens.features.token_report import read_tokens
from splinelens.layers import AttentionCall, watch
from splinelens.tokens import tokenize
from splinelens.weights import walls_of

TEXT = "the thing you are after"
IDS = torch.tensor([[5, 9, 17, 33, 60, 71, 20, 21, 22]])
GATED = {"qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_next"}


@pytest.fixture
def load(tiny_of, wrap):
    """Loads a tiny model of a family."""
    return lambda name, **changes: wrap(tiny_of(name, **changes))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["llama", "phi3", "gpt2", "opt", "mixtral", "qwen3_next", "falcon", "bloom"])
def test_a_place_agrees_with_the_report_of_its_text(load, name, dtype):
    loaded = load(name)
    loaded.model.to(dtype)
    report = read_tokens(TEXT, loaded)
    for layer in range(3):
        detail = look(TEXT, loaded, layer=layer, token=5)
        assert detail.region == report.region_ids(layer)[5]
        assert detail.nearest_wall == report.nearest_wall[layer, 5]
        assert detail.boundary == pytest.approx(report.boundary[layer, 5], rel=1e-4, abs=1e-6)
        assert detail.sign == report.sign[layer, 5]
        assert detail.piece == report.piece(5)
        assert torch.equal(detail.code, report.code(layer)[5])
        if detail.hull is not None:
            counts = [[head.absolute, head.relative] for head in detail.hull.heads]
            assert counts == report.dimension[:, layer, :, 5].T.tolist()
            assert detail.hull.tight[1] == report.bound[layer, 5]


def test_the_map_and_the_output_are_those_of_the_mlp(load):
    loaded = load("llama")
    mlp = loaded.model.double().layers[1].mlp
    detail = look(TEXT, loaded, layer=1, token=4)
    with torch.no_grad():
        assert (detail.output - mlp(detail.input)).abs().max() < 1e-10
        assert detail.map.value is detail.output
        assert detail.map.kind == "first-order"
        assert detail.notes == ()


def test_opt_is_exact(load):
    loaded = load("opt")
    block = loaded.model.double().decoder.layers[2]
    detail = look(TEXT, loaded, layer=2, token=4)
    assert detail.map.kind == "exact"
    with torch.no_grad():
        assert (detail.output - block.fc2(block.fc1(detail.input).relu())).abs().max() < 1e-10


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "mixtral", "qwen2_moe"])
def test_the_crossing_step_flips_the_sign_of_the_nearest_wall_only(load, name):
    loaded = load(name)
    detail = look(TEXT, loaded, layer=0, token=3)
    assert detail.crossing.neuron == detail.nearest_wall
    assert detail.crossing.distance == pytest.approx(detail.boundary, rel=1e-3, abs=1e-6)
    flipped = detail.on != signs_at(
        loaded.model, detail.experts, detail.input.double() + detail.crossing.step
    )
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
    detail = look(TEXT, load("mixtral"), layer=1, token=4)
    assert (detail.map, detail.output) == (None, None)
    assert len(detail.experts) == 2
    assert detail.hull.point is not None
    assert "no map and no output: layer 1 of MixtralModel consists of experts" in detail.notes[0]
    assert f"crosses one wall of experts {detail.experts[0]}, {detail.experts[1]}" in detail.notes[1]


def test_linear_attention_has_no_hull(load):
    detail = look(TEXT, load("qwen3_next"), layer=0, token=4)
    assert detail.hull is None
    assert detail.map is not None
    assert detail.notes == ("layer 0 has no hull and no dimension: linear attention has no softmax",)


def test_falcon_with_alibi_has_no_hull_and_the_states_that_it_has_unwatched(load):
    loaded = load("falcon_alibi")
    detail = look(TEXT, loaded, layer=2, token=4)
    assert detail.hull is None
    assert "layer 2 has no hull and no dimension: eager attention" in detail.notes[0]
    unwatched, ids = [], tokenize([TEXT], loaded.tokenizer)[0].ids
    with torch.no_grad(), watch(loaded.model, inputs=lambda _, values: unwatched.append(values.clone())):
        loaded.model(torch.tensor([ids]), use_cache=False)
    assert torch.allclose(detail.input, unwatched[2][0, 4], atol=1e-5)


@pytest.mark.parametrize("name", ["falcon", "bloom"])
def test_weights_alone_give_counts_but_no_vertices(load, name):
    detail = look(TEXT, load(name), layer=1, token=4)
    assert (detail.hull.point, detail.hull.measured) == (None, None)
    assert all(head.vertices is None and head.absolute > 0 for head in detail.hull.heads)
    assert "exposes attention weights only: the counts are there" in detail.notes[0]


def test_notes_tell_of_an_output_gate_and_of_sinks(load):
    gated = look(TEXT, load("qwen3_next"), layer=1, token=4)
    assert any("without that gate, not the attention's output" in note for note in gated.notes)
    sinks = look(TEXT, load("gpt_oss"), layer=1, token=4)
    assert any("a sink takes part of the attention" in note for note in sinks.notes)


def test_tokens_of_a_prompt_are_vertices_with_indices_below_0(load):
    detail = look("the", load("llama"), layer=1, token=0, prompt="so it is ", eps=0.01)
    numbers = {token for head in detail.hull.heads for token in head.tokens}
    assert min(numbers) < 0
    assert max(numbers) == 0


def test_a_single_token_lies_on_a_vertex(load):
    detail = look("a", load("llama"), layer=0, token=0)
    assert (detail.hull.tight, detail.hull.measured) == ((0, 0), (0, 0))
    assert [head.tokens for head in detail.hull.heads] == [(0,)] * 4


def test_a_layer_without_walls_has_no_crossing_step(tiny_of, wrap):
    model = tiny_of("llama")
    model.layers[1].mlp.gate_proj.weight.data.zero_()
    detail = look(TEXT, wrap(model), layer=1, token=4)
    assert (detail.crossing, detail.nearest_wall, detail.boundary) == (None, -1, float("inf"))
    assert "no crossing step: all 48 rows of the gate weight are 0" in detail.notes[0]


def test_a_named_model_is_loaded_up_to_the_layer(load, folder):
    detail = look(TEXT, folder, layer=1, token=4)
    assert detail.boundary == look(TEXT, load("llama"), layer=1, token=4).boundary


def test_what_does_not_exist_is_refused(load):
    loaded = load("llama")
    with pytest.raises(BadFeatures, match="token 12 does not exist: the text has 12 tokens, 0 to 11"):
        look(TEXT, loaded, layer=0, token=12)
    with pytest.raises(BadFeatures, match=r"layers \[7\] do not exist: 3 blocks are loaded, 0 to 2"):
        look(TEXT, loaded, layer=7, token=0)
    with pytest.raises(BadFeatures, match=r"eps is 1\.0"):
        look(TEXT, loaded, layer=0, token=0, eps=1.0)
    with pytest.raises(NoTokens, match="the text is empty"):
        look("", loaded, layer=0, token=0)


@pytest.mark.parametrize("name", ["llama", "mixtral", "qwen2_moe"])
def test_the_wall_of_a_place_is_one_of_its_neurons(tiny_of, wrap, name):
    loaded = wrap(tiny_of(name))
    for layer in range(3):
        detail = look("the thing", loaded, layer=layer, token=3)
        assert len(detail.neurons) == len(detail.on) == detail.neuron_count
        [bit] = (detail.neurons == detail.nearest_wall).nonzero().flatten().tolist()
        assert detail.crossing.neuron == detail.nearest_wall
        after = read_gate(loaded, layer, detail, detail.crossing.step)
        assert (after > 0).ne(detail.on).nonzero().flatten().tolist() == [bit]


def read_gate(loaded, layer, detail, step):
    """The gate of the detail's neurons after a step, from their weights."""
    weight, bias = walls_of(anatomy_of(loaded.model), layer, detail.experts)
    gate = weight.double() @ (detail.input.double() + step)
    return gate if bias is None else gate + bias


def test_print_shows_no_vectors(tiny_of, wrap):
    shown = repr(look("the thing", wrap(tiny_of("llama")), layer=0, token=1))
    assert "tensor" not in shown
    assert len(shown) < 600


def called(model, layer, token):
    """The call of one token and the output of the attention's last linear map there."""
    anatomy, found = anatomy_of(model), {}
    handle = anatomy.output(layer).register_forward_hook(
        lambda _module, _args, out: found.update(output=out.clone().reshape(-1, out.shape[-1]))
    )
    watching = watch(model, attention=lambda _layer, call: found.update(call=call), layers=[layer])
    with watching, torch.no_grad():
        model(IDS, use_cache=False)
    handle.remove()
    return found["call"].part(0, token, token + 1), found["output"][token]


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "qwen3", "phi3", "gpt2", "gpt_neox", "opt"])
def test_the_minkowski_point_is_the_attentions_output(tiny_of, name):
    model = tiny_of(name).double()
    for layer in range(3):
        call, output = called(model, layer, 8)
        point = hull_of(anatomy_of(model), layer, call, 0, 0.1).point
        assert (point - output).abs().max() < 1e-10


def test_the_point_is_the_output_in_every_family_that_exposes_values(any_model):
    anatomy = anatomy_of(any_model)
    for layer in anatomy.softmax_layers:
        call, output = called(any_model, layer, 6)
        hull = hull_of(anatomy, layer, call, 0, 0.1)
        if call.value is None:
            assert (hull.point, hull.measured, hull.heads[0].vertices) == (None, None, None)
        else:
            alike = torch.allclose(hull.point, output, rtol=1e-4, atol=1e-4)
            assert alike == (any_model.config.model_type not in GATED)
            assert all(rank <= bound for rank, bound in zip(hull.measured, hull.tight, strict=True))
        assert hull.tight[0] <= hull.tight[1] <= hull.loose[1]


def test_vertices_and_weights_of_all_keys_give_the_point(tiny_llama):
    model = tiny_llama.double()
    call, output = called(model, 1, 8)
    hull = hull_of(anatomy_of(model), 1, call, 0, 1e-9)  # next to every key is active
    total = sum(head.weights @ head.vertices for head in hull.heads)
    assert (total - output).abs().max() < 1e-6
    assert all(head.relative == 9 for head in hull.heads)


def test_active_keys_have_the_order_of_their_weights(tiny_llama):
    call, _ = called(tiny_llama, 1, 8)
    keys = call.key[0].repeat_interleave(2, dim=0)
    weights = (call.scaling * call.query[0] @ keys.transpose(1, 2))[:, 0].softmax(-1)
    hull = hull_of(anatomy_of(tiny_llama), 1, call, 2, 0.1)
    for head, row in zip(hull.heads, weights, strict=True):
        order = [key for key in row.argsort(descending=True).tolist() if row[key] > 0.1 * row.max()]
        assert list(head.tokens) == [key - 2 for key in order]
        assert torch.allclose(head.weights, row[order], atol=1e-6)
        assert head.absolute == int((row > 0.1).sum())
        assert head.relative == len(order)


def test_the_measured_dimension_is_the_rank_of_all_edges(tiny_llama):
    model = tiny_llama.double()
    for token in (0, 1, 4, 8):
        call, _ = called(model, 2, token)
        hull = hull_of(anatomy_of(model), 2, call, 0, 0.05)
        for detail, counts in enumerate(
            zip(*((head.absolute, head.relative) for head in hull.heads), strict=True)
        ):
            edges = [
                head.vertices[:count] - head.vertices[0]
                for head, count in zip(hull.heads, counts, strict=True)
                if count
            ]
            assert hull.measured[detail] == torch.linalg.matrix_rank(torch.cat(edges))
            assert hull.tight[detail] == min(sum(min(max(count - 1, 0), 8) for count in counts), 32)
            assert hull.loose[detail] == sum(counts)


def test_keys_on_one_point_have_no_dimension(tiny_llama):
    call = AttentionCall(
        query=torch.randn(1, 4, 1, 8),
        key=torch.randn(1, 2, 20, 8),
        value=torch.randn(1, 2, 1, 8).expand(-1, -1, 20, -1),
        mask=None,
        scaling=0.01,
    )
    hull = hull_of(anatomy_of(tiny_llama), 0, call, 0, 0.1)
    assert hull.loose == (0, 80)  # 20 keys share the attention: none has more than 0.1
    assert hull.tight == (0, 32)
    assert hull.measured == (0, 0)


def test_keys_whose_values_differ_by_rounding_alone_have_no_dimension(tiny_llama):
    """A text of one token again and again: at layer 1 its values are equal in exact arithmetic."""
    ids, found = torch.full((1, 12), 7), {}
    for dtype in (torch.float32, torch.float64):
        model = tiny_llama.to(dtype)
        watching = watch(model, attention=lambda _layer, call: found.update(call=call), layers=[1])
        with watching, torch.no_grad():
            model(ids, use_cache=False)
        hull = hull_of(anatomy_of(model), 1, found["call"].part(0, 11, 12), 0, 0.05)
        assert hull.tight[1] > 0
        assert hull.measured == (0, 0)
    value = found["call"].value
    assert (value - value[:, :, :1]).abs().max() < 1e-12


def test_one_key_is_one_vertex(tiny_llama):
    call, output = called(tiny_llama, 0, 0)
    hull = hull_of(anatomy_of(tiny_llama), 0, call, 0, 0.1)
    assert (hull.tight, hull.loose, hull.measured) == ((0, 0), (4, 4), (0, 0))
    assert torch.allclose(sum(head.vertices[0] for head in hull.heads), output, atol=1e-5)


def passed(model, layer):
    """Inputs and outputs of the MLP of a layer in one pass, (token, width) each."""
    found = {}
    anatomy = anatomy_of(model)
    handle = anatomy.down(layer).register_forward_hook(
        lambda _module, _args, out: found.update(output=out.clone().reshape(-1, out.shape[-1]))
    )
    watching = watch(model, inputs=lambda _layer, states: found.update(input=states[0]), layers=[layer])
    with watching, torch.no_grad():
        model(IDS[:, :6], use_cache=False)
    handle.remove()
    return found["input"], found["output"]


def test_the_value_of_the_map_is_what_the_mlp_gives(tiny_model):
    model = tiny_model.double()
    for layer in range(3):
        inputs, outputs = passed(model, layer)
        for token in range(6):
            region = region_map(anatomy_of(model), layer, inputs[token])
            assert (region.value - outputs[token]).abs().max() < 1e-10


def test_the_map_is_the_mlp_in_every_family_with_dense_layers(any_model):
    anatomy = anatomy_of(any_model)
    dense = [layer for layer in range(anatomy.depth) if anatomy.experts(layer) is None]
    for layer in dense:
        inputs, outputs = passed(any_model, layer)
        region = region_map(anatomy, layer, inputs[3])
        assert torch.allclose(region.value, outputs[3], rtol=1e-4, atol=1e-4)


def test_relu_without_a_gate_is_exact_in_the_whole_region(tiny_opt):
    model = tiny_opt.double()
    anatomy = anatomy_of(model)
    inputs, _ = passed(model, 1)
    region = region_map(anatomy, 1, inputs[2])
    assert region.kind == "exact"
    block = model.decoder.layers[1]
    margin = (block.fc1(inputs[2]) / block.fc1.weight.norm(dim=1)).abs().min()
    near = inputs[2] + 0.99 * margin * torch.nn.functional.normalize(torch.randn(9, 32).double(), dim=1)
    assert (region.apply(near) - block.fc2(block.fc1(near).relu())).abs().max() < 1e-10


def test_leaky_relu_is_exact_too(tiny_of):
    model = tiny_of("gpt_neox", hidden_act="leaky_relu").double()
    inputs, outputs = passed(model, 0)
    region = region_map(anatomy_of(model), 0, inputs[4])
    assert region.kind == "exact"
    assert (region.value - outputs[4]).abs().max() < 1e-10


@pytest.mark.parametrize("name", ["llama", "phi3", "gpt2", "gpt_neox", "arcee", "nemotron"])
def test_everything_else_is_of_first_order(tiny_of, name):
    model = tiny_of(name).double()
    anatomy, step = anatomy_of(model), 1e-5
    inputs, _ = passed(model, 1)
    region = region_map(anatomy, 1, inputs[2])
    assert region.kind == "first-order"
    way = torch.nn.functional.normalize(torch.randn(32).double(), dim=0)
    ends = [region_map(anatomy, 1, inputs[2] + sign * step * way).value for sign in (1, -1)]
    assert torch.allclose((ends[0] - ends[1]) / (2 * step), region.linear(way), atol=1e-6)


def test_a_relu_gate_without_biases_gives_twice_its_value(tiny_of):
    model = tiny_of("llama", hidden_act="relu").double()
    inputs, _ = passed(model, 1)
    region = region_map(anatomy_of(model), 1, inputs[2])
    assert region.kind == "first-order"
    assert torch.allclose(region.linear(inputs[2]), 2 * region.value, atol=1e-10)


def test_a_layer_of_experts_has_no_map(tiny_of):
    with pytest.raises(
        UnknownAnatomy, match="layer 1 of MixtralModel consists of experts: how much each one"
    ):
        region_map(anatomy_of(tiny_of("mixtral")), 1, torch.zeros(32))


@pytest.mark.parametrize("role", ["up", "down"])
def test_a_quantized_weight_is_refused_by_name(tiny_llama, role):
    module = getattr(tiny_llama.layers[1].mlp, f"{role}_proj")
    module.weight = torch.nn.Parameter(module.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(BadModel, match=f"the {role} weight of layer 1 is quantized; load the model with a"):
        region_map(anatomy_of(tiny_llama), 1, torch.zeros(32))
