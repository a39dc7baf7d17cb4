"""Tests ``weights/masks.py``: magnitude, Wanda and SparseGPT, by hand, by slow versions and by laws."""

import pytest
import torch

from splinelens.errors import BadFeatures
from splinelens.weights.masks import Pattern, magnitude_mask, sparsegpt, wanda_mask


def _matrix(rows=12, columns=32):
    return torch.randn(rows, columns)


def _inputs(columns=32, tokens=400):
    mixing = torch.randn(columns, 4) @ torch.randn(4, columns) / 2 + torch.eye(columns)
    return torch.randn(tokens, columns) @ mixing * torch.rand(columns).add(0.1)


def _gram(inputs):
    return inputs.T @ inputs / len(inputs)


def test_wanda_by_hand():
    weight = torch.tensor([[4.0, -1.0, 2.0], [1.0, 1.0, 1.0]])
    power = torch.tensor([1.0, 100.0, 4.0])  # scores 4 10 4 and 1 10 2
    assert wanda_mask(weight, power, 2).tolist() == [[True, False, False], [True, False, False]]
    # the third goes to the row whose next score is smallest
    assert wanda_mask(weight, power, 3).tolist() == [[True, False, False], [True, False, True]]


def test_magnitude_compares_over_the_whole_matrix():
    weight = torch.tensor([[0.1, -0.2, 0.3], [4.0, 5.0, 6.0]])
    assert magnitude_mask(weight, 3).tolist() == [[True] * 3, [False] * 3]


@pytest.mark.parametrize("count", [0, 1, 13, 191, 192, 383, 384])
def test_counts_are_met_exactly_also_among_equal_weights(count):
    weight = torch.randint(-2, 3, (12, 32)).to(torch.bfloat16)
    power, gram = torch.ones(32), torch.eye(32)
    assert magnitude_mask(weight, count).sum() == count
    assert wanda_mask(weight, power, count).sum() == count
    pruned, removed = sparsegpt(weight, gram, count)
    assert removed.sum() == count
    assert pruned[removed].eq(0).all()


@pytest.mark.parametrize("pattern", ["2:4", "4:8", "1:4"])
def test_a_pattern_holds_in_every_group(pattern):
    weight, gram = _matrix(), _gram(_inputs())
    n_m = Pattern.parse(pattern)
    masks = [
        magnitude_mask(weight, n_m),
        wanda_mask(weight, gram.diagonal(), n_m),
        sparsegpt(weight, gram, n_m)[1],
    ]
    for mask in masks:
        assert (~mask).reshape(-1, n_m.group).sum(dim=1).eq(n_m.kept).all()
        assert mask.sum() == n_m.count(weight)


def test_wanda_with_equal_inputs_is_magnitude_in_each_row():
    weight = _matrix()
    mask = wanda_mask(weight, torch.full((32,), 7.0), 12 * 10)
    for row, removed in zip(weight, mask, strict=True):
        assert removed.equal(magnitude_mask(row[None], 10)[0])


def test_sparsegpt_with_independent_inputs_is_magnitude():
    weight = _matrix()
    pruned, removed = sparsegpt(weight, torch.eye(32), 150)
    assert removed.equal(magnitude_mask(weight, 150))
    torch.testing.assert_close(pruned, weight.masked_fill(removed, 0))


def test_sparsegpt_equals_the_least_squares_answer_of_the_later_weights():
    weight, gram = _matrix(rows=3, columns=10), _gram(_inputs(columns=10))
    pruned, removed = sparsegpt(weight, gram, 12, columns=4)
    damped = (gram + 0.01 * gram.diagonal().mean() * torch.eye(10)).double()
    for row, gone, result in zip(weight.double(), removed, pruned, strict=True):
        current = row.clone()
        for column in gone.nonzero().flatten().tolist():
            later = slice(column + 1, None)
            current[later] += torch.linalg.solve(
                damped[later, later], damped[later, column] * current[column]
            )
            current[column] = 0
        torch.testing.assert_close(result.double(), current, rtol=1e-4, atol=1e-5)


def test_one_removed_first_weight_is_the_optimal_brain_surgeons_answer():
    weight, gram = torch.tensor([[0.01, 1.0, -2.0, 1.5]]), _gram(_inputs(columns=4))
    pruned, removed = sparsegpt(weight, gram, 1)
    assert removed.tolist() == [[True, False, False, False]]
    inverse = torch.linalg.inv(gram + 0.01 * gram.diagonal().mean() * torch.eye(4))
    expected = weight[0] - weight[0, 0] / inverse[0, 0] * inverse[0]
    torch.testing.assert_close(pruned[0], expected, atol=1e-5, rtol=1e-4)


def test_the_outputs_error_falls_from_magnitude_to_wanda_to_sparsegpt():
    errors = torch.zeros(3)
    for _ in range(10):
        weight, inputs = _matrix(), _inputs()
        gram, half = _gram(inputs), weight.numel() // 2
        wanda = wanda_mask(weight, gram.diagonal(), half)
        versions = [
            weight.masked_fill(magnitude_mask(weight, half), 0),
            weight.masked_fill(wanda, 0),
            sparsegpt(weight, gram, half)[0],
        ]
        errors += torch.stack([(inputs @ (version - weight).T).square().mean() for version in versions])
    assert errors[0] > errors[1] > 2 * errors[2]


def test_the_scale_of_the_inputs_changes_nothing():
    weight, gram = _matrix(), _gram(_inputs())
    assert wanda_mask(weight, gram.diagonal(), 99).equal(wanda_mask(weight, 100 * gram.diagonal(), 99))
    assert sparsegpt(weight, gram, 99)[1].equal(sparsegpt(weight, 100 * gram, 99)[1])


def test_an_input_that_is_always_zero_loses_its_weights_first():
    weight, inputs = _matrix(), _inputs()
    inputs[:, 5] = 0
    gram = _gram(inputs)
    assert wanda_mask(weight, gram.diagonal(), 12)[:, 5].all()
    pruned, removed = sparsegpt(weight, gram, 12, columns=32)
    assert removed[:, 5].all()
    few, _ = sparsegpt(weight, gram, 7, columns=32)
    assert (pruned.eq(0).sum(), few.eq(0).sum()) == (12, 7)
    assert few[7:, 5].equal(weight[7:, 5])


def test_the_arguments_stay_as_they_are():
    weight, gram = _matrix(), _gram(_inputs())
    copies = weight.clone(), gram.clone()
    sparsegpt(weight, gram, 100)
    assert weight.equal(copies[0])
    assert gram.equal(copies[1])


def test_what_cannot_be_is_refused():
    weight = _matrix(rows=2, columns=6)
    for text in ("4:2", "0:4", "2/4", "4:4", "100:200", "many"):
        with pytest.raises(BadFeatures, match="no pattern n:m"):
            Pattern.parse(text)
    with pytest.raises(BadFeatures, match="rows of 6 weights do not divide into groups of 4"):
        magnitude_mask(weight, Pattern(2, 4))
    for count in (-1, 13):
        with pytest.raises(BadFeatures, match="of 12 weights"):
            wanda_mask(weight, torch.ones(6), count)
    with pytest.raises(BadFeatures, match="not finite"):
        wanda_mask(weight, torch.full((6,), torch.nan), 3)
    with pytest.raises(BadFeatures, match="not finite"):
        sparsegpt(weight, torch.full((6, 6), torch.nan), 3)
