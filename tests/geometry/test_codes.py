"""Tests geometry/codes.py."""

import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from splinelens.errors import BadFeatures, NoTokens
from splinelens.geometry.codes import (
    distinct_regions,
    hamming,
    occupancy_distance,
    region_code,
    region_ids,
    text_distance,
    unpacked,
)


def test_a_code_by_hand():
    margin = torch.tensor([[1.0, -1.0, 2.0, 0.0, -0.0, 3.0, -5.0, 1.0, 4.0, -1.0]])
    assert region_code(margin).tolist() == [[0b10100101, 0b10000000]]


@pytest.mark.parametrize("neurons", [0, 1, 7, 8, 9, 16, 1003])
def test_packed_codes_come_back_as_they_were(neurons):
    margin = torch.randn(2, 5, neurons)
    code = region_code(margin)
    assert code.shape == (2, 5, -(-neurons // 8))
    assert torch.equal(unpacked(code, neurons), margin > 0)


def test_codes_are_packed_as_numpy_packs_bits():
    margin = torch.randn(6, 43)
    assert np.array_equal(region_code(margin).numpy(), np.packbits(margin.numpy() > 0, axis=-1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_only_the_sign_is_read_whatever_the_dtype(dtype):
    margin = torch.randn(4, 11)
    assert torch.equal(region_code(margin.to(dtype)), region_code(margin))
    assert torch.equal(region_code(1e-3 * margin), region_code(margin))


def test_zero_and_nan_count_as_off():
    assert region_code(torch.tensor([[0.0, -0.0, math.nan, math.inf, -math.inf]])).tolist() == [[16]]


def test_hamming_by_hand():
    code = region_code(torch.tensor([[1.0, 1.0, -1.0], [1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]]))
    assert hamming(code, code[:2]).tolist() == [[0, 2], [2, 0], [3, 1]]


@pytest.mark.parametrize("neurons", [5, 64, 9001])  # the last one is more than is unpacked at a time
def test_hamming_is_what_comparing_every_pair_gives(neurons):
    left, right = torch.randn(6, neurons), torch.randn(4, neurons)
    slow = [
        [sum((a > 0) != (b > 0) for a, b in zip(x, y, strict=True)) for y in right.tolist()]
        for x in left.tolist()
    ]
    assert hamming(region_code(left), region_code(right)).tolist() == slow


def test_hamming_is_a_distance():
    code = region_code(torch.randn(12, 37))
    far = hamming(code, code)
    assert torch.equal(far, far.T)
    assert (far.diagonal() == 0).all()
    assert (far[:, :, None] + far[None, :, :] >= far[:, None, :]).all()


def test_hamming_counts_the_walls_that_a_line_crosses():
    weight, bias = torch.randn(40, 6, dtype=torch.float64), torch.randn(40, dtype=torch.float64)
    start, end = torch.randn(2, 6, dtype=torch.float64)
    line = torch.stack([torch.lerp(start, end, share / 20000) for share in range(20001)])
    on = line @ weight.T + bias > 0
    crossed = int((on[1:] != on[:-1]).sum())
    code = region_code((on[[0, -1]]).double() - 0.5)
    assert crossed > 5
    assert hamming(code[:1], code[1:]).item() == crossed


def test_no_tokens_have_no_pairs():
    code = region_code(torch.randn(3, 9))
    assert hamming(code[:0], code).shape == (0, 3)
    assert distinct_regions(code[:0]) == 0
    assert region_ids(code[:0]) == []


def test_tokens_of_one_region_share_its_name_and_no_others_do():
    margin = torch.randn(50, 5)
    code, ids = region_code(margin), region_ids(region_code(margin))
    same = [[left == right for right in ids] for left in ids]
    assert same == (hamming(code, code) == 0).tolist()
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in ids)
    assert distinct_regions(code) == len(set(ids)) == len({tuple(row) for row in (margin > 0).tolist()}) < 33


def test_distinct_regions_of_one_region_is_1_however_long_the_text():
    assert distinct_regions(region_code(torch.rand(20, 9) + 0.1)) == 1


def test_text_distance_is_the_mean_over_all_pairs_of_tokens():
    left, right = region_code(torch.randn(7, 29)), region_code(torch.randn(5, 29) + 0.5)
    mean = hamming(left, right).double().mean().item() / 29
    assert text_distance(left, right, 29) == pytest.approx(mean, abs=1e-12)
    assert text_distance(right, left, 29) == pytest.approx(mean, abs=1e-12)


def test_occupancy_distance_by_hand():
    p, q = torch.tensor([1.0, 0.0, 0.5]), torch.tensor([0.0, 0.5, 0.25])
    assert float(occupancy_distance(p, q)) == pytest.approx((1 + 0.5 + 0.5 * 0.75 + 0.25 * 0.5) / 3)
    both = occupancy_distance(torch.stack([p, q]), torch.stack([q, q]))
    assert both.tolist() == pytest.approx([2 / 3, (0 + 2 * 0.25 + 2 * 0.1875) / 3])


def test_occupancy_distance_is_symmetric_and_a_share():
    p, q = torch.rand(2, 50)
    assert occupancy_distance(p, q) == occupancy_distance(q, p)
    assert 0 < occupancy_distance(p, q) < 1
    assert occupancy_distance(p.round(), 1 - p.round()) == 1


def test_text_distance_follows_from_the_occupancies():
    left, right = torch.randn(7, 29), torch.randn(5, 29) + 0.5
    p, q = (left > 0).double().mean(0), (right > 0).double().mean(0)
    expected = (p * (1 - q) + q * (1 - p)).mean().item()
    assert text_distance(region_code(left), region_code(right), 29) == pytest.approx(expected, abs=1e-12)


def test_repeating_a_text_leaves_its_distances_alone():
    left, right = region_code(torch.randn(7, 29)), region_code(torch.randn(5, 29))
    once, twice = text_distance(left, right, 29), text_distance(torch.cat([left, left]), right, 29)
    assert once == pytest.approx(twice, abs=1e-12)


@pytest.mark.parametrize("neurons", [8, 17, 0, -1])
def test_a_number_of_neurons_that_does_not_fit_is_refused(neurons):
    code = region_code(torch.randn(2, 3, 9))
    with pytest.raises(BadFeatures, match=f"codes of 2 bytes hold 9 to 16 neurons, not {neurons}"):
        unpacked(code, neurons)
    with pytest.raises(BadFeatures, match="hold 9 to 16 neurons"):
        text_distance(code[0], code[1], neurons)


def test_a_layer_without_neurons_has_no_share_that_differs():
    empty = region_code(torch.empty(2, 3, 0))
    with pytest.raises(BadFeatures, match="codes of 0 bytes hold 0 neurons, not 0"):
        text_distance(empty[0], empty[1], 0)


def test_a_text_without_tokens_has_no_distance():
    code = region_code(torch.randn(2, 3, 9))
    with pytest.raises(NoTokens, match="codes of 3 and 0 tokens have no pair"):
        text_distance(code[0], code[1, :0], 9)


def test_arguments_are_left_as_they_are():
    margin = torch.randn(2, 3, 9)
    before, code = margin.clone(), region_code(margin)
    packed = code.clone()
    unpacked(code, 9), hamming(code[0], code[1]), text_distance(code[0], code[1], 9)
    assert torch.equal(margin, before)
    assert torch.equal(code, packed)


@pytest.mark.parametrize(
    "call",
    [
        lambda: region_code(torch.ones(2, 3, dtype=torch.int64)),
        lambda: unpacked(torch.ones(2, 3), 24),
        lambda: hamming(torch.ones(2, 3, dtype=torch.uint8), torch.ones(2, 4, dtype=torch.uint8)),
    ],
)
def test_wrong_shapes_and_types_are_refused(call):
    with pytest.raises(TypeCheckError):
        call()
