"""Tests ``engines/blocks.py``: blocks run one by one give what the model gives, and their inputs' sums."""

import pytest
import torch

from splinelens.anatomy import anatomy_of
from splinelens.engines.blocks import BlockPasses, keep_blocks
from splinelens.errors import BadFeatures, BadModel
from splinelens.weights.matrices import weight_matrices

SIDE_CHANNELS = ("gemma4", "gemma4_text")  # embeddings of each block's own, of the tokens


def _ids(rows=6, tokens=12):
    return torch.randint(4, 128, (rows, tokens))


def _last_output(model, ids):
    outputs = []
    blocks = anatomy_of(model).blocks
    handle = blocks[-1].register_forward_hook(
        lambda _module, _args, out: outputs.append(out[0] if isinstance(out, tuple) else out)
    )
    with torch.no_grad():
        getattr(model, "base_model", model)(input_ids=ids, use_cache=False)
    handle.remove()
    return outputs[0]


def test_blocks_one_by_one_give_what_the_model_gives(any_model):
    ids = _ids(rows=2)
    if any_model.config.model_type in SIDE_CHANNELS:
        with pytest.raises(BadModel, match="cannot be run one by one"):
            BlockPasses(any_model, ids)
        return
    passes = BlockPasses(any_model, ids)
    for layer in range(3):
        assert passes.layer == layer
        passes.advance()
    torch.testing.assert_close(passes.states[0], _last_output(any_model, ids), rtol=1e-4, atol=1e-4)


def test_input_stats_are_the_sums_over_all_tokens(tiny_model):
    ids = _ids()
    names = [matrix.name for matrix in weight_matrices(tiny_model) if matrix.layer == 1]
    inputs, block = {name: [] for name in names}, anatomy_of(tiny_model).blocks[1]
    for name in names:
        block.get_submodule(name).register_forward_pre_hook(
            lambda _module, args, name=name: inputs[name].append(args[0].flatten(0, -2))
        )
    _last_output(tiny_model, ids)
    expected = {name: torch.cat(parts) for name, parts in inputs.items()}
    passes = BlockPasses(tiny_model, ids)
    passes.advance()
    for gram in (True, False):
        stats = passes.input_stats(names, gram=gram)
        assert stats.keys() == expected.keys()
        for name, values in expected.items():
            torch.testing.assert_close(stats[name].power, values.square().mean(dim=0), rtol=1e-4, atol=1e-5)
            if gram:
                torch.testing.assert_close(
                    stats[name].gram, values.T @ values / len(values), rtol=1e-3, atol=1e-4
                )


def test_maps_whose_inputs_are_unknown_or_not_finite_are_refused(tiny_llama):
    passes = BlockPasses(tiny_llama, _ids(rows=1))
    tiny_llama.layers[0].mlp.idle = torch.nn.Linear(2, 2)
    with pytest.raises(BadModel, match=r"layer 0 does not call its map mlp.idle"):
        passes.input_stats(["mlp.idle"], gram=False)
    passes.states[0][0, 0, 0] = torch.inf
    with pytest.raises(BadFeatures, match=r"the inputs of self_attn.q_proj in layer 0 are not finite"):
        passes.input_stats(["self_attn.q_proj"], gram=True)


def test_a_block_that_was_changed_reaches_the_next_one(tiny_llama):
    ids = _ids(rows=1)
    passes = BlockPasses(tiny_llama, ids)
    with torch.no_grad():
        tiny_llama.layers[0].mlp.down_proj.weight.zero_()
    for _ in range(3):
        passes.advance()
    torch.testing.assert_close(passes.states[0], _last_output(tiny_llama, ids), rtol=1e-5, atol=1e-5)


def test_products_of_bfloat16_inputs_are_summed_in_float32(tiny_llama):
    model, ids = tiny_llama.bfloat16(), _ids(rows=4, tokens=64)
    passes = BlockPasses(model, ids)
    kept = []
    handle = model.layers[0].mlp.down_proj.register_forward_pre_hook(
        lambda _module, args: kept.append(args[0].flatten(0, 1).double())
    )
    before = torch.get_float32_matmul_precision()
    gram = passes.input_stats(["mlp.down_proj"], gram=True)["mlp.down_proj"].gram
    handle.remove()
    assert torch.get_float32_matmul_precision() == before
    values = torch.cat(kept)
    expected = values.T @ values / len(values)
    assert (gram.double() - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_kept_blocks_are_those_of_the_model_and_the_configuration_follows(tiny_llama):
    first, _, last = anatomy_of(tiny_llama).blocks
    keep_blocks(tiny_llama, [0, 2])
    assert [*anatomy_of(tiny_llama).blocks] == [first, last]
    assert tiny_llama.config.num_hidden_layers == 2
    assert last.self_attn.layer_idx == 1
    ids = _ids(rows=1)
    assert tiny_llama(input_ids=ids).last_hidden_state.isfinite().all()
