"""Tests of plans of pruning: scores, ratios and exact numbers of weights."""

from itertools import groupby

import numpy as np
import pytest
import torch

from splinelens.apps.pruning import METHODS, SPREADS, plan
from splinelens.errors import BadFeatures, BadModel, BadTexts
from splinelens.geometry.spectrum import eigenvalues, positive, tail_peak
from splinelens.models import load_model
from splinelens.weights import weight_matrices

PROSE = [f"the {word} is in the {other}" for word in "abcdefgh" for other in ("sea", "town", "house", "rain")]


@pytest.fixture(scope="module")
def loaded(writer_folder):
    return load_model(writer_folder())


@pytest.fixture(scope="module")
def full(loaded):
    """A plan with every method."""
    return plan(loaded, 0.6, calibration=3 * PROSE)


def test_all_methods_meet_the_sparsity_to_one_weight(loaded, full):
    assert tuple(full.methods) == METHODS
    assert full.weights == sum(each.size for each in full.matrices)
    assert full.removed == round(0.6 * full.weights)
    for method, allocation in full.methods.items():
        assert np.mean(allocation.ratios) == pytest.approx(0.6, abs=1e-12), method
        assert allocation.spread == SPREADS[method]
    for by in ("farms", "arithmetic"):
        assert plan(loaded, 1 / 3, by=by).removed == round(full.weights / 3)


def test_alpha_of_a_block_is_the_mean_of_its_matrices(loaded, full):
    for layer, block in groupby(weight_matrices(loaded), key=lambda matrix: matrix.layer):
        alphas = [tail_peak(positive(eigenvalues(matrix.tensor))).alpha for matrix in block]
        assert full.methods["alpha"].scores[layer] == pytest.approx(np.mean(alphas))
    order = np.argsort(full.methods["alpha"].scores)
    assert list(order) == list(np.argsort(full.methods["alpha"].ratios))


def test_owl_and_dlp_measure_weights_times_norms_of_inputs(loaded, full):
    inputs = {}

    def keep(name):
        return lambda _module, args: inputs.setdefault(name, []).append(args[0].detach())

    from splinelens.tokens import chunks

    ids = torch.from_numpy(chunks(loaded.tokenizer, 3 * PROSE, 256))
    assert full.calibration_tokens == ids.numel()
    block = loaded.model.layers[1]
    linear = {name: module for name, module in block.named_modules() if isinstance(module, torch.nn.Linear)}
    handles = [module.register_forward_pre_hook(keep(name)) for name, module in linear.items()]
    with torch.no_grad():
        loaded.model(ids)
    for handle in handles:
        handle.remove()
    metric = torch.cat(
        [
            (module.weight.abs() * inputs[name][0].square().mean(dim=(0, 1)).sqrt()).flatten()
            for name, module in linear.items()
        ]
    )
    assert full.methods["owl"].scores[1] == pytest.approx(float((metric > 5 * metric.mean()).float().mean()))
    assert full.methods["dlp"].scores[1] == pytest.approx(float(metric.median()), rel=1e-4)
    assert list(np.argsort(full.methods["owl"].scores)) == list(np.argsort(full.methods["owl"].ratios))[::-1]
    assert list(np.argsort(full.methods["dlp"].scores)) == list(np.argsort(full.methods["dlp"].ratios))


def test_the_progression_is_arithmetic_and_no_spread_is_uniform(loaded, full):
    assert full.methods["arithmetic"].ratios == pytest.approx((0.45, 0.6, 0.75))
    assert full.methods["uniform"].ratios == pytest.approx((0.6, 0.6, 0.6))
    uniform = plan(loaded, 0.37, by="uniform").counts
    assert all(plan(loaded, 0.37, by=by, spread=0.0).counts == uniform for by in ("alpha", "arithmetic"))


def test_methods_that_cannot_be_computed_say_why(loaded, writer_folder):
    assert plan(loaded, 0.5).left_out["owl"] == "it needs calibration texts"
    experts = load_model(writer_folder("mixtral"))
    planned = plan(experts, 0.5, calibration=3 * PROSE)
    assert planned.removed == round(0.5 * planned.weights)
    assert "layer 0 consists of experts" in planned.left_out["dlp"]
    with pytest.raises(BadModel, match=r"owl cannot be computed for .*: layer 0 consists of experts"):
        plan(experts, 0.5, by="owl", calibration=3 * PROSE)


def test_what_cannot_be_planned_is_refused(loaded, writer_folder):
    with pytest.raises(BadFeatures, match=r"a sparsity of 1 is not in \[0, 1\)"):
        plan(loaded, 1)
    with pytest.raises(BadFeatures, match=r"a sparsity of 0\.995 cannot be reached"):
        plan(loaded, 0.995)
    with pytest.raises(BadFeatures, match="a spread of 2 is not between 0, which is uniform, and 1"):
        plan(loaded, 0.5, spread=2)
    with pytest.raises(BadFeatures, match="dlp measures the inputs of each map: give calibration texts"):
        plan(loaded, 0.5, by="dlp")
    with pytest.raises(BadTexts, match="the calibration texts have fewer than 1,024 tokens"):
        plan(loaded, 0.5, calibration=["too short"])
    with pytest.raises(BadModel, match="has 3 blocks, and 2 are loaded"):
        plan(load_model(writer_folder(), n_layers=2), 0.5)


def test_weights_that_have_no_spectrum_are_refused(writer_folder):
    broken = load_model(writer_folder())
    broken.model.layers[1].mlp.up_proj.weight[0, 0] = torch.nan
    with pytest.raises(BadModel, match=r"mlp.up_proj of layer 1 holds weights that are not finite"):
        plan(broken, 0.5)
    for matrix in weight_matrices(broken):
        if matrix.layer == 1:
            matrix.tensor.zero_()
    with pytest.raises(BadModel, match="no matrix of layer 1 has 8 different eigenvalues above 0"):
        plan(broken, 0.5)
