"""Tests anatomy.py."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from packaging.version import Version
from torch.nn import functional

from splinelens.anatomy import FAMILIES, anatomy_of
from splinelens.errors import UnknownAnatomy
from splinelens.models import LoadedModel

TOKENS = 20  # longer than the sliding windows of the tiny models
EXPERTS = sorted(name for name, row in FAMILIES.items() if row.experts)
SHARED = sorted(name for name, row in FAMILIES.items() if row.shared)
NEWER = Version(transformers.__version__) >= Version("5.24")
WEIGHTS = ["bloom", "falcon", "gpt_neo", "mpt", "xglm", *([] if NEWER else ["codegen", "gptj"])]
INTERFACE = sorted(FAMILIES.keys() - WEIGHTS)


def ran(model):
    """The last hidden state of two texts."""
    tokens = torch.randint(3, 128, (2, TOKENS))
    usual = torch.get_default_dtype()
    torch.set_default_dtype(model.dtype)  # XGLM makes its mask in the default type, whatever its own
    try:
        with torch.no_grad():
            return model(input_ids=tokens).last_hidden_state
    finally:
        torch.set_default_dtype(usual)


def doubled(model):
    """The model in float64, its experts run one by one: the fast ways refuse float64."""
    if model.config.model_type in EXPERTS:
        model.set_experts_implementation("eager")
    return model.double()


def recorded(module, calls):
    """From now on, each call of a module appends (inputs, output) to ``calls``.

    Copies: Falcon adds the attention to the MLP's output in place.
    """

    def read(_, args, kwargs, output):
        copies = tuple(part.clone() for part in output if isinstance(part, torch.Tensor))
        calls.append(
            (*args, *kwargs.values(), output.clone() if isinstance(output, torch.Tensor) else copies)
        )

    module.register_forward_hook(read, with_kwargs=True)


def layers_with_experts(anatomy):
    return [layer for layer in range(anatomy.depth) if anatomy.experts(layer) is not None]


def split_experts(anatomy, layer):
    """The gate and up weights (neuron, width) and biases of each expert, read off its parameters."""
    experts = anatomy.experts(layer)
    for number, weight in enumerate(experts.gate_up_proj):
        if anatomy.family.interleaved:
            bias = experts.gate_up_proj_bias[number]
            yield weight.T[0::2], weight.T[1::2], bias[0::2], bias[1::2]
        else:
            half = weight.shape[0] // 2
            yield weight[:half], weight[half:], None, None


def test_every_row_has_a_tiny_model_and_every_tiny_model_a_row():
    conftest = Path(__file__).with_name("conftest.py").read_text("utf-8")
    table = conftest.split("TINY = {")[1].split("\n}\n\n")[0]
    assert set(re.findall(r'^    "(\w+)": \(', table, re.MULTILINE)) == set(FAMILIES)


def test_the_row_is_picked_by_the_configuration(any_model):
    anatomy = anatomy_of(any_model)
    assert anatomy.family is FAMILIES[any_model.config.model_type]
    assert anatomy.depth == len(anatomy.blocks) == 3
    assert anatomy.width == 32
    assert anatomy.base is any_model
    assert ran(any_model).isfinite().all()


def test_gate_and_down_are_the_linear_maps_around_the_neurons(tiny_model):
    anatomy = anatomy_of(tiny_model)
    for layer in range(3):
        gate, down = anatomy.gate(layer).weight, anatomy.down(layer).weight
        if anatomy.family.transposed:
            gate, down = gate.T, down.T
        assert gate.shape == ((96 if anatomy.family.fused else 48), 32)
        assert down.shape == (32, 48)
    assert anatomy.gate(0) is not anatomy.gate(1)


def test_neurons_are_the_columns_of_all_down_projections(any_model):
    """Found by name in layers of experts, so that a shared expert cannot be forgotten."""
    anatomy = anatomy_of(any_model)
    for layer, block in enumerate(anatomy.blocks):
        down = re.compile(r"down_proj(.weight)?$")
        weights = [weight for name, weight in block.named_parameters() if down.search(name)]
        if anatomy.experts(layer) is None:
            weights = [anatomy.down(layer).weight]
        assert anatomy.neurons(layer) == sum(weight.numel() for weight in weights) // 32


def test_the_gate_is_what_the_activation_module_is_given(any_model):
    """In dense blocks; the modules of the block are hooked by their class, not by the row."""
    anatomy = anatomy_of(any_model)
    for layer in range(3):
        if anatomy.experts(layer) is not None:
            continue
        gates, calls = [], {}
        recorded(anatomy.gate(layer), gates)
        for name, module in anatomy.blocks[layer].named_modules():
            if re.search("GELU|SiLU|ReLU|XIELU|Gelu", type(module).__name__):
                recorded(module, calls.setdefault(name, []))
        ran(any_model)
        gate = gates[0][1].chunk(2, dim=-1)[0] if anatomy.family.fused else gates[0][1]
        assert gate.std() > 0.1
        fitting = [name for name, given in calls.items() if given and torch.equal(given[0][0], gate)]
        assert fitting == [anatomy.family.activation]
        assert anatomy.activation(layer) is anatomy.blocks[layer].get_submodule(fitting[0])


@pytest.mark.parametrize("name", sorted({*EXPERTS} - {"gpt_oss"}))
def test_an_expert_gives_its_activation_its_gate(name, tiny_of):
    """With experts run one by one: rows of rising experts, each (choice, token) in order."""
    model = tiny_of(name)
    anatomy = anatomy_of(model)
    model.set_experts_implementation("eager")
    assert layers_with_experts(anatomy)
    for layer in layers_with_experts(anatomy):
        calls, gates = [], []
        recorded(anatomy.experts(layer), calls)
        recorded(anatomy.activation(layer), gates)
        ran(model)
        points, routes = calls[0][:2]
        assert points.shape == (2 * TOKENS, 32)
        assert routes.shape == (2 * TOKENS, 2)
        assert (routes.sort(dim=1).values.diff(dim=1) > 0).all()
        expected = [
            points[(routes == number).T.nonzero()[:, 1]] @ gate.T
            for number, (gate, *_) in enumerate(split_experts(anatomy, layer))
        ]
        assert torch.allclose(torch.cat([given for given, _ in gates]), torch.cat(expected), atol=1e-5)


def test_a_dense_mlp_is_down_of_the_activation_times_up(any_model):
    model = doubled(any_model)
    anatomy = anatomy_of(model)
    for layer in range(3):
        if anatomy.experts(layer) is not None:
            continue
        gates, downs = [], []
        recorded(anatomy.gate(layer), gates)
        recorded(anatomy.down(layer), downs)
        ran(model)
        point, gate = gates[0]
        if anatomy.family.fused:
            gate, multiplier = gate.chunk(2, dim=-1)
        else:
            multiplier = anatomy.up(layer)(point) if anatomy.up(layer) is not None else 1.0
        assert anatomy.family.gated == isinstance(multiplier, torch.Tensor)
        again = anatomy.down(layer)(anatomy.activation(layer)(gate) * multiplier)
        assert torch.allclose(again, downs[0][1], rtol=0, atol=1e-12)
        assert (point.dim() == 2) == anatomy.family.flattened


def test_the_mlp_module_of_a_block_ends_with_down(any_model):
    """Nothing stands between ``down`` and the end of the MLP module, but the residual of two families."""
    anatomy = anatomy_of(any_model)
    path = anatomy.family.down.rpartition(".")[0]
    for layer in set(range(3)) - {*layers_with_experts(anatomy)} if path else ():  # OPT, XGLM: no module
        mlps, downs = [], []
        recorded(anatomy.blocks[layer].get_submodule(path), mlps)
        recorded(anatomy.down(layer), downs)
        ran(any_model)
        residual = mlps[0][1] if any_model.config.model_type in ("bloom", "mpt") else 0.0
        assert torch.equal(mlps[0][-1], downs[0][1] + residual)


@pytest.mark.parametrize("name", EXPERTS)
def test_experts_are_the_weighted_sum_of_their_mlps(name, tiny_of):
    model = doubled(tiny_of(name))
    anatomy = anatomy_of(model)
    for layer in layers_with_experts(anatomy):
        experts, calls = anatomy.experts(layer), []
        recorded(experts, calls)
        ran(model)
        points, routes, shares, got = calls[0]
        again = torch.zeros_like(got)
        for number, (gate, up, gate_bias, up_bias) in enumerate(split_experts(anatomy, layer)):
            gates, ups = functional.linear(points, gate, gate_bias), functional.linear(points, up, up_bias)
            if anatomy.family.interleaved:
                gates, ups = gates.clamp(max=7.0), ups.clamp(-7.0, 7.0)
                out = (gates * torch.sigmoid(1.702 * gates) * (ups + 1)) @ experts.down_proj[number]
                out = out + experts.down_proj_bias[number]
            else:
                out = (anatomy.activation(layer)(gates) * ups) @ experts.down_proj[number].T
            again += out * torch.where(routes == number, shares, 0.0).sum(dim=1, keepdim=True)
        assert torch.allclose(again, got, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SHARED)
def test_the_shared_expert_is_a_gated_mlp_of_its_own(name, tiny_of):
    model = doubled(tiny_of(name))
    anatomy = anatomy_of(model)
    layers = layers_with_experts(anatomy)
    assert layers == [layer for layer in range(3) if anatomy.shared(layer) is not None]
    for layer in layers:
        shared, calls = anatomy.shared(layer), []
        recorded(shared, calls)
        ran(model)
        point, got = calls[0]
        again = shared.down_proj(anatomy.activation(layer)(shared.gate_proj(point)) * shared.up_proj(point))
        assert torch.allclose(again, got, rtol=0, atol=1e-12)


def test_attention_is_missing_exactly_where_it_is_linear(any_model):
    anatomy = anatomy_of(any_model)
    if getattr(any_model.config, "alibi", False):  # see the next test
        return
    kinds = getattr(any_model.config.get_text_config(), "layer_types", None) or ["full_attention"] * 3
    for layer, kind in enumerate(kinds):
        attention, output = anatomy.attention(layer), anatomy.output(layer)
        assert (attention is None) == (output is None) == (kind == "linear_attention")
        if attention is not None:
            assert "Attention" in type(attention).__name__
            assert any(module is output for module in attention.modules())
    assert anatomy.softmax_layers == tuple(i for i, kind in enumerate(kinds) if kind != "linear_attention")
    assert anatomy.softmax_layers


def test_falcon_with_alibi_has_no_attention_to_read(tiny_of):
    anatomy = anatomy_of(tiny_of("falcon_alibi"))
    assert anatomy.softmax_layers == ()
    assert anatomy.attention(1) is None
    assert anatomy.no_attention(1).startswith("eager attention in transformers adds the ALiBi bias")
    assert not anatomy.has_linear_attention
    assert anatomy_of(tiny_of("falcon")).no_attention(1) is None


@pytest.fixture
def spied():
    """An attention function that notes (module, result) of each call."""
    calls = []

    def attend(module, query, key, value, mask, scaling=None, **_):
        groups = query.shape[1] // key.shape[1]
        key, value = (part.repeat_interleave(groups, dim=1) for part in (key, value))
        result = functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
        calls.append((module, result.transpose(1, 2)))
        return result.transpose(1, 2).contiguous(), None

    transformers.AttentionInterface.register("spied", attend)
    transformers.AttentionMaskInterface.register("spied", transformers.masking_utils.sdpa_mask)
    return calls


@pytest.mark.parametrize("name", INTERFACE)
def test_the_interface_is_called_once_in_each_softmax_layer(name, tiny_of, spied):
    model = tiny_of(name)
    anatomy = anatomy_of(model)
    model.set_attn_implementation("spied")
    ran(model)
    attentions = [anatomy.attention(layer) for layer in anatomy.softmax_layers]
    assert len(spied) == len(attentions)
    assert all(called is attention for (called, _), attention in zip(spied, attentions, strict=True))


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_interface_is_never_called_where_weights_must_do(name, tiny_of, spied):
    model = tiny_of(name)
    model.set_attn_implementation("spied")
    assert model.config._attn_implementation == ("sdpa" if name == "falcon" else "eager")
    ran(model)
    assert not spied


@pytest.mark.parametrize("name", WEIGHTS)
def test_eager_attention_hands_out_weights_where_the_interface_is_not_used(name, tiny_of):
    model = tiny_of(name)
    anatomy = anatomy_of(model)
    model.config._attn_implementation = "eager"  # Falcon prefers sdpa, and its setter does nothing
    for layer in range(3):
        calls = []
        recorded(anatomy.attention(layer), calls)
        ran(model)
        out, weights = calls[0][-1]
        assert out.shape == (2, TOKENS, 32)
        assert weights.shape == (2, 4, TOKENS, TOKENS)
        assert torch.allclose(weights.sum(dim=-1), torch.ones(2, 4, TOKENS), atol=1e-5)
        assert (weights.triu(1) == 0).all()


@pytest.mark.parametrize("name", INTERFACE)
def test_the_output_projection_takes_the_heads_side_by_side_unless_they_are_gated(name, tiny_of, spied):
    model = tiny_of(name)
    anatomy = anatomy_of(model)
    model.set_attn_implementation("spied")
    calls, layer = [], anatomy.softmax_layers[-1]
    recorded(anatomy.output(layer), calls)
    ran(model)
    given, projected = calls[0]
    heads = spied[-1][1].flatten(-2)
    assert given.shape == heads.shape
    assert torch.equal(given, heads) == (not anatomy.family.output_gate)
    assert projected.shape == (2, TOKENS, 32)


def test_the_output_projection_is_the_last_step_of_the_attention(any_model):
    anatomy = anatomy_of(any_model)
    for layer in anatomy.softmax_layers:
        calls, attended = [], []
        recorded(anatomy.output(layer), calls)
        recorded(anatomy.attention(layer), attended)
        ran(any_model)
        given = attended[0]
        residual = given[1] if any_model.config.model_type == "bloom" else 0.0
        assert torch.equal(calls[0][1] + residual, given[-1][0])


def test_what_load_model_returns_is_refused_with_its_model(tiny_llama, tiny_tokenizer):
    loaded = LoadedModel(tiny_llama, tiny_tokenizer, "tiny", None, 1, 1)
    with pytest.raises(UnknownAnatomy, match=r"a LoadedModel is no .* give its \.model"):
        anatomy_of(loaded)


def test_a_layer_of_experts_has_no_one_gate(tiny_of):
    anatomy = anatomy_of(tiny_of("deepseek_v3"))
    assert anatomy.gate(0) is anatomy.blocks[0].mlp.gate_proj
    assert anatomy.experts(0) is anatomy.shared(0) is None
    for look_up in (anatomy.gate, anatomy.up, anatomy.down):
        with pytest.raises(UnknownAnatomy, match="layer 1 of DeepseekV3Model consists of experts, each with"):
            look_up(1)


def test_a_gate_without_a_known_activation_says_why(tiny_of):
    anatomy = anatomy_of(tiny_of("gpt_oss"))
    with pytest.raises(
        UnknownAnatomy, match=r"layer 2 \(GptOssModel\) has no known activation: its experts clamp gate"
    ):
        anatomy.activation(2)


def test_the_activation_is_the_one_of_the_configuration(tiny_of):
    activation = anatomy_of(tiny_of("llama", hidden_act="relu")).activation(0)
    assert activation(torch.tensor([-2.0, 3.0])).tolist() == [0.0, 3.0]


def test_experts_beside_a_dense_mlp_are_not_passed_over(tiny_of):
    """Gemma 4 can run both on different inputs; to read the dense gate alone would hide the experts."""
    changes = {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 24}
    with pytest.raises(UnknownAnatomy, match="layer 0 has experts at 'experts', which the row does not name"):
        anatomy_of(tiny_of("gemma4_text", **changes))


def test_a_model_with_a_head_has_the_anatomy_of_its_base(tiny_llama):
    model = transformers.LlamaForCausalLM(tiny_llama.config)
    assert anatomy_of(model).base is model.model
    assert anatomy_of(model).gate(1) is model.model.layers[1].mlp.gate_proj


def test_the_language_model_is_found_among_other_parts(tiny_of):
    composite = tiny_of("gemma3")
    anatomy = anatomy_of(composite)
    assert anatomy.blocks is composite.language_model.layers
    head = transformers.AutoModelForImageTextToText.from_config(composite.config)
    assert anatomy_of(head).blocks is head.model.language_model.layers
    assert anatomy_of(composite.language_model).family is FAMILIES["gemma3_text"]


@pytest.mark.parametrize("model", [torch.nn.Linear(2, 2), SimpleNamespace(config=None)])
def test_what_is_no_transformers_model_is_refused(model):
    with pytest.raises(UnknownAnatomy, match="is no transformers model and has no row in anatomy"):
        anatomy_of(model)


def test_an_unknown_architecture_is_told_what_to_add_where():
    config = transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    with pytest.raises(UnknownAnatomy) as caught:
        anatomy_of(transformers.BertModel(config))
    message = str(caught.value)
    assert "architecture 'bert' (BertModel) has no row in anatomy.py" in message
    assert ", ".join(sorted(FAMILIES)) in message
    assert "If its blocks have an MLP with a linear gate, add one Family(blocks, gate, down, " in message
    assert "attention) in FAMILIES and one tiny model in tests/conftest.py" in message


def test_a_model_that_does_not_fit_its_row_is_refused(tiny_llama):
    tiny_llama.layers[2].mlp = torch.nn.Linear(32, 32)
    with pytest.raises(
        UnknownAnatomy, match=r"LlamaModel does not fit the row 'llama' .*no attribute 'gate_proj'"
    ):
        anatomy_of(tiny_llama)


@pytest.mark.parametrize(
    "lost", ["self_attn", "mlp.up_proj", "mlp.down_proj", "mlp.act_fn", "self_attn.o_proj"]
)
def test_every_path_of_the_row_is_followed_at_once(tiny_llama, lost):
    place, _, name = ("layers.1." + lost).rpartition(".")
    delattr(tiny_llama.get_submodule(place), name)
    with pytest.raises(UnknownAnatomy, match=f"does not fit the row 'llama' .*no attribute '{name}'"):
        anatomy_of(tiny_llama)


def test_a_model_is_looked_through_once(tiny_llama):
    """The look-up is asked for at each layer of each batch: after the first time it must cost nothing."""
    first = anatomy_of(tiny_llama)
    tiny_llama.layers[2].mlp = torch.nn.Linear(32, 32)
    assert anatomy_of(tiny_llama) == first
