"""Tests ``engines/pruning.py``: blocks are pruned in order, each on what the pruned blocks before it give."""

import pytest
import torch

from splinelens.engines.blocks import BlockPasses
from splinelens.engines.pruning import prune_blocks
from splinelens.engines.torch import run_tokens
from splinelens.errors import BadFeatures, BadModel
from splinelens.geometry.settings import METHODS
from splinelens.weights.masks import wanda_mask
from splinelens.weights.matrices import weight_matrices


def _ids():
    return torch.randint(4, 128, (4, 32))


def _removals(model, share=0.5):
    return {(each.layer, each.name): int(each.tensor.numel() * share) + 1 for each in weight_matrices(model)}


@pytest.mark.parametrize("method", METHODS)
def test_every_matrix_loses_exactly_its_count(tiny_model, method):
    removals = _removals(tiny_model)
    blocks = list(prune_blocks(tiny_model, removals, method, _ids()))
    assert len(blocks) == 3
    for matrix in weight_matrices(tiny_model):
        assert matrix.tensor.eq(0).sum() == removals[matrix.layer, matrix.name]
        assert matrix.tensor.equal(blocks[matrix.layer][matrix.name])


def test_a_block_is_calibrated_on_what_the_pruned_blocks_give(tiny_llama):
    ids, removals = _ids(), _removals(tiny_llama)
    dense = {(each.layer, each.name): each.tensor.clone() for each in weight_matrices(tiny_llama)}
    blocks = list(prune_blocks(tiny_llama, removals, "wanda", ids))
    tiny_llama.layers[2].load_state_dict(
        {f"{name}.weight": dense[2, name] for name in blocks[2]}, strict=False
    )
    passes = BlockPasses(tiny_llama, ids)  # the first two blocks are pruned, the last is dense again
    passes.advance()
    passes.advance()
    stats = passes.input_stats(["mlp.down_proj"], gram=False)["mlp.down_proj"]
    mask = wanda_mask(dense[2, "mlp.down_proj"], stats.power, removals[2, "mlp.down_proj"])
    assert blocks[2]["mlp.down_proj"].eq(0).equal(mask)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_goes_on_after_finished_blocks_gives_the_same_bits(tiny_of, method):
    ids = _ids()
    whole = list(prune_blocks(tiny_of("qwen2"), _removals(tiny_of("qwen2")), method, ids))
    again = tiny_of("qwen2")
    rest = list(prune_blocks(again, _removals(again), method, ids, finished=whole[:2]))
    assert len(rest) == 1
    for matrix in weight_matrices(again):
        assert matrix.tensor.equal(whole[matrix.layer][matrix.name])


def test_sparsegpt_changes_the_models_output_less_than_magnitude(tiny_of):
    ids = _ids()
    expected = run_tokens(tiny_of("llama"), ids, torch.arange(32).expand(4, 32)).last_hidden_state
    errors = []
    for method in METHODS:
        model = tiny_of("llama")
        list(prune_blocks(model, _removals(model), method, ids))
        states = run_tokens(model, ids, torch.arange(32).expand(4, 32)).last_hidden_state
        errors.append(float((states - expected).square().mean()))
    assert errors[2] < errors[0]


def test_experts_are_pruned_by_magnitude_only(tiny_of):
    model = tiny_of("mixtral")
    removals = _removals(model)
    with pytest.raises(BadModel, match="layer 0 consists of experts"):
        next(prune_blocks(model, removals, "wanda", _ids()))
    list(prune_blocks(model, removals, "magnitude"))
    assert all(each.tensor.eq(0).sum() == removals[each.layer, each.name] for each in weight_matrices(model))


def test_calibration_tokens_and_finite_weights_are_required(tiny_llama):
    removals = _removals(tiny_llama)
    with pytest.raises(BadFeatures, match="wanda needs calibration tokens"):
        next(prune_blocks(tiny_llama, removals, "wanda"))
    with torch.no_grad():
        tiny_llama.layers[1].mlp.up_proj.weight[0, 0] = torch.nan
    with pytest.raises(BadModel, match=r"mlp.up_proj of layer 1 holds weights that are not finite"):
        list(prune_blocks(tiny_llama, removals, "magnitude"))
