"""Tests of the weight matrices of a model and of a folder."""

import json

import pytest
import torch

from splinelens.errors import BadModel
from splinelens.weights import Matrix, weight_matrices


def _same(first: list[Matrix], second: list[Matrix]) -> bool:
    names = [(matrix.layer, matrix.name) for matrix in first] == [(one.layer, one.name) for one in second]
    return names and all(torch.equal(a.tensor, b.tensor) for a, b in zip(first, second, strict=True))


def test_a_model_and_its_folder_give_the_same_matrices(any_model, tmp_path):
    any_model.save_pretrained(tmp_path)
    matrices = list(weight_matrices(any_model))
    assert _same(matrices, list(weight_matrices(tmp_path)))
    assert {matrix.layer for matrix in matrices} == {0, 1, 2}
    assert all(matrix.tensor.dim() == 2 for matrix in matrices)


def test_a_llama_has_seven_matrices_a_block_as_out_by_width(tiny_llama):
    block = [matrix for matrix in weight_matrices(tiny_llama) if matrix.layer == 1]
    assert [(matrix.name, *matrix.tensor.shape) for matrix in block] == [
        ("self_attn.q_proj", 32, 32),
        ("self_attn.k_proj", 16, 32),
        ("self_attn.v_proj", 16, 32),
        ("self_attn.o_proj", 32, 32),
        ("mlp.gate_proj", 48, 32),
        ("mlp.up_proj", 48, 32),
        ("mlp.down_proj", 32, 48),
    ]
    assert torch.equal(block[4].tensor, tiny_llama.layers[1].mlp.gate_proj.weight)


def test_matrices_of_gpt2_map_states_to_outputs(tiny_gpt2):
    fc = next(matrix for matrix in weight_matrices(tiny_gpt2) if matrix.name == "mlp.c_fc")
    states, module = torch.randn(5, 32), tiny_gpt2.h[0].mlp.c_fc
    assert torch.allclose(module(states) - module.bias, states @ fc.tensor.T, atol=1e-5)


def test_every_expert_has_matrices_of_its_own(tiny_of):
    model = tiny_of("gpt_oss")
    experts = {matrix.name: matrix.tensor for matrix in weight_matrices(model) if matrix.layer == 0}
    assert sum("experts" in name for name in experts) == 8
    assert experts["mlp.experts.3.gate_up_proj"].shape == (48, 32)
    assert torch.equal(experts["mlp.experts.3.down_proj"], model.layers[0].mlp.experts.down_proj[3].T)


def test_shards_with_an_index_and_a_head_give_the_same_matrices(writer_folder, tmp_path):
    from transformers import AutoModelForCausalLM

    folder = writer_folder("llama")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    assert _same(list(weight_matrices(folder)), list(weight_matrices(tmp_path)))
    assert _same(list(weight_matrices(folder)), list(weight_matrices(model)))


def test_the_folder_keeps_its_number_type(tiny_llama, tmp_path):
    tiny_llama.bfloat16().save_pretrained(tmp_path)
    assert {matrix.tensor.dtype for matrix in weight_matrices(tmp_path)} == {torch.bfloat16}


def test_tied_embeddings_are_no_matrix_of_a_block(tiny_of, tmp_path):
    from transformers import AutoModelForCausalLM

    config = tiny_of("llama").config
    config.tie_word_embeddings = True
    model = AutoModelForCausalLM.from_config(config)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.save_pretrained(tmp_path)
    for source in (model, tmp_path):
        assert len(matrices := list(weight_matrices(source))) == 21
        assert not any("embed" in matrix.name or "head" in matrix.name for matrix in matrices)


def test_writing_to_a_matrix_changes_the_model(tiny_llama):
    next(weight_matrices(tiny_llama)).tensor.zero_()
    assert not tiny_llama.layers[0].self_attn.q_proj.weight.any()


def test_quantized_weights_are_refused(tiny_llama, tmp_path):
    tiny_llama.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadModel, match="is quantized"):
        list(weight_matrices(tmp_path))
    module = tiny_llama.layers[0].self_attn.q_proj
    module.weight = torch.nn.Parameter(module.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(BadModel, match=r"self_attn.q_proj of layer 0 is quantized"):
        list(weight_matrices(tiny_llama))


def test_a_missing_weight_and_a_wrong_shape_are_named(tiny_llama, tmp_path):
    from safetensors.torch import load_file, save_file

    tiny_llama.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    broken = tensors | {"layers.1.mlp.up_proj.weight": torch.zeros(3, 32)}
    save_file(broken, tmp_path / "model.safetensors")
    with pytest.raises(BadModel, match=r"mlp.up_proj of layer 1 .* has the shape \(3, 32\)"):
        list(weight_matrices(tmp_path))
    del tensors["layers.1.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(BadModel, match=r"lacks the weight of mlp.up_proj in layer 1"):
        list(weight_matrices(tmp_path))
