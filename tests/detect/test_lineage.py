"""Tests ``detect/lineage.py``: p-values hold for strangers, and copies are found."""

import math
from itertools import permutations

import numpy as np
import pytest

from splinelens.detect.lineage import aligned_layers, best_matches, relation
from splinelens.features.lineage_profile import LayerSigns

NEURONS, TOKENS = 40, 192


def model(rng, depth=3, neurons=NEURONS, tokens=TOKENS):
    """Layers whose neurons share a common part, as those of real models do."""
    common = rng.normal(size=(6, tokens))

    def signs():
        return rng.normal(size=(neurons, 6)) @ common + rng.normal(size=(neurons, tokens)) > 0.5

    return [LayerSigns(signs(), signs()) for _ in range(depth)]


def strangers(rng, depth=3):
    """Two models that see the same: neurons of one have near twins in the other, in any order and sign."""
    first, second = model(rng, depth), []
    for layer in first:
        order = rng.permutation(NEURONS)
        flipped = rng.random(NEURONS) < 0.5
        second.append(
            LayerSigns(noisy(rng, layer.gate)[order], noisy(rng, layer.signed[order]) ^ flipped[:, None])
        )
    return first, second


def noisy(rng, signs, share=0.1):
    return signs ^ (rng.random(signs.shape) < share)


def permuted(rng, layers):
    orders = [rng.permutation(len(layer.gate)) for layer in layers]
    return [
        LayerSigns(layer.gate[order], layer.signed[order])
        for layer, order in zip(layers, orders, strict=True)
    ]


def child(rng, layers, share=0.1):
    return [LayerSigns(noisy(rng, layer.gate, share), noisy(rng, layer.signed, share)) for layer in layers]


def test_p_values_of_strangers_keep_their_promise():
    """Even of strangers whose neurons do the same things: p <= alpha in at most a share alpha."""
    rng = np.random.default_rng(0)
    found = [relation(*strangers(rng)) for _ in range(240)]
    for alpha in (0.5, 0.1, 0.01):
        least = 3 * math.sqrt(alpha * (1 - alpha) / len(found))
        for name in ("log10_index", "log10_sign", "log10_p"):
            share = np.mean([getattr(one, name) <= math.log10(alpha) for one in found])
            assert share <= alpha + least, (name, alpha, share)
    assert min(one.log10_p for one in found) > -6
    assert np.mean([one.log10_sign <= -1 for one in found]) > 0.04


@pytest.mark.parametrize(
    "change", [child, permuted, lambda rng, layers: permuted(rng, child(rng, layers, 0.2))]
)
def test_copies_are_found(change):
    rng = np.random.default_rng(2)
    parent = model(rng)
    assert relation(parent, change(rng, parent)).log10_p < -6


def test_a_copy_in_order_is_found_by_its_index_and_a_permuted_one_by_its_signs():
    rng = np.random.default_rng(3)
    parent = model(rng)
    in_order, reordered = relation(parent, child(rng, parent)), relation(parent, permuted(rng, parent))
    assert in_order.log10_index < in_order.log10_sign < -6
    assert reordered.log10_sign < -6
    assert reordered.log10_index > -2


def test_changed_signs_hide_a_copy_from_the_test_of_signs_only():
    rng = np.random.default_rng(4)
    parent = model(rng)
    hidden = [LayerSigns(layer.gate, layer.signed ^ (rng.random(NEURONS) < 0.5)[:, None]) for layer in parent]
    found = relation(parent, hidden)
    assert found.log10_sign > -3
    assert found.log10_index < -6


@pytest.mark.parametrize("change", [child, permuted])
@pytest.mark.parametrize("swapped", [False, True])
def test_layers_of_a_shortened_copy_are_aligned(change, swapped):
    rng = np.random.default_rng(5)
    parent = model(rng, depth=6)
    shorter = change(rng, [parent[layer] for layer in (0, 1, 4, 5)])
    pair = (shorter, parent) if swapped else (parent, shorter)
    kept = [(0, 0), (1, 1), (4, 2), (5, 3)]
    assert aligned_layers(*pair) == [(b, a) if swapped else (a, b) for a, b in kept]
    assert relation(*pair).log10_p < -6


@pytest.mark.parametrize(
    "order", [(5, 4, 3, 2, 1, 0), (1, 2, 3, 4, 5, 0), (1, 0, 3, 2, 5, 4), (1, 2, 3, 4, 5, 5)]
)
@pytest.mark.parametrize("change", [child, permuted])
def test_a_copy_whose_blocks_were_moved_is_found(order, change):
    rng = np.random.default_rng(14)
    parent = model(rng, depth=6)
    moved = change(rng, [parent[layer] for layer in order])
    assert {(order[place], place) for place in range(4)} <= set(aligned_layers(parent, moved))
    assert relation(parent, moved).log10_p < -6


def test_the_alignment_is_the_best_of_all():
    rng = np.random.default_rng(6)
    long, short = model(rng, 5), model(rng, 2)

    def similarity(pairs):
        total = 0.0
        for one, other in pairs:
            a, b = long[one].gate.astype(float), short[other].gate.astype(float)
            total += np.corrcoef(a, b)[:NEURONS, NEURONS:].max(axis=1).mean()
        return total

    candidates = [sorted([(first, 0), (second, 1)]) for first, second in permutations(range(5), 2)]
    assert aligned_layers(long, short) == max(candidates, key=similarity)


def test_the_alignment_does_not_look_at_the_order_of_neurons():
    rng = np.random.default_rng(15)
    first, second = model(rng, 6, neurons=300), model(rng, 6, neurons=300)
    expected = aligned_layers(first, second)
    for _ in range(3):
        assert aligned_layers(permuted(rng, first), permuted(rng, second)) == expected


def test_shortened_strangers_keep_their_promise():
    rng = np.random.default_rng(7)
    found = [relation(first, second[:2]) for first, second in (strangers(rng, 4) for _ in range(80))]
    assert np.mean([one.log10_p <= math.log10(0.1) for one in found]) < 0.18
    assert min(one.log10_p for one in found) > -6


def test_the_bound_of_fixed_points_holds_for_every_permutation_of_six():
    """P(f or more fixed points) of one layer, counted, is at most the bound 1 / f!."""
    counts = [sum(k == j for k, j in enumerate(order)) for order in permutations(range(6))]
    for least in range(1, 7):
        assert np.mean([count >= least for count in counts]) <= 1 / math.factorial(least) + 1e-12


def test_log10_of_both_tests_by_hand():
    """Four neurons in order, all signs equal: 1 / 4! and 1 / 2^4, the weaker of which is the second."""
    gate = np.eye(4, 8, dtype=bool)
    found = relation([LayerSigns(gate, gate)], [LayerSigns(gate, gate)])
    assert found.log10_index == pytest.approx(math.log10(1 / 24))
    assert found.log10_sign == pytest.approx(math.log10(1 / 16))
    assert found.log10_p == pytest.approx(math.log10(2 / 24))
    assert found.log10_least == pytest.approx(math.log10(2 / 16))


def test_matches_move_with_the_neurons():
    rng = np.random.default_rng(8)
    first, second = rng.random((2, 30, 64)) < 0.5
    order = rng.permutation(30)
    pairs, correlation = best_matches(first, second)
    moved, same = best_matches(first, second[order])
    assert {(a, b) for a, b in pairs} == {(a, order[b]) for a, b in moved}
    assert correlation.tolist() == same.tolist()


def test_matches_are_mutual_best_by_definition():
    rng = np.random.default_rng(9)
    first, second = rng.random((2, 25, 501)) < 0.3
    table = np.corrcoef(first, second)[:25, 25:]
    expected = {(k, table[k].argmax()) for k in range(25) if table[:, table[k].argmax()].argmax() == k}
    assert {(a, b) for a, b in best_matches(first, second)[0]} == expected


def test_constant_and_repeated_neurons_match_nothing():
    signs = np.array([[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0]], dtype=bool)
    assert best_matches(signs, signs)[0].tolist() == [[4, 4]]


def test_many_neurons_match_as_few_do():
    """More than one block of rows gives the same as the whole table."""
    rng = np.random.default_rng(10)
    signs = rng.random((2100, 96)) < 0.5
    order = rng.permutation(2100)
    pairs, _ = best_matches(signs, signs[order])
    assert len(pairs) > 2090
    assert (order[pairs[:, 1]] == pairs[:, 0]).all()


def test_values_are_matched_whatever_their_signs():
    rng = np.random.default_rng(11)
    gate, values = rng.random((2, 40, 256)) < 0.5
    order, flipped = rng.permutation(40), rng.random(40) < 0.5
    parent = [LayerSigns(gate, values, by_gate=False)]
    copied = [LayerSigns(gate[::-1], values[order], by_gate=False)]
    turned = [LayerSigns(gate[::-1], values[order] ^ flipped[:, None], by_gate=False)]
    assert relation(parent, copied).log10_sign < -6
    assert relation(parent, turned).log10_sign > -2


def test_nothing_to_compare_is_no_evidence():
    silent = [LayerSigns(np.zeros((8, 64), bool), np.zeros((8, 64), bool))]
    found = relation(silent, silent)
    assert (found.log10_p, found.log10_least) == (0.0, 0.0)


def test_layers_of_different_size_are_compared_by_their_signs():
    rng = np.random.default_rng(12)
    parent = model(rng)
    fewer = [LayerSigns(layer.gate[5:], layer.signed[5:]) for layer in parent]
    found = relation(parent, fewer)
    assert found.log10_index == 0
    assert found.log10_sign < -6
