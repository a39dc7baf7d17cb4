"""Tests ``detect/learned.py``: margins by hand, what training learns and what it must not, and folding."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from splinelens.detect.learned import (
    STEP,
    Network,
    Settings,
    Tokens,
    cross_fit,
    folded,
    linear_layer,
    moments,
    pooled,
    standardized_head,
    train,
)
from splinelens.features.inputs import Inputs

WIDTH = 6
SETTINGS = Settings(4, (0,), epochs=30, rate=1e-2, dropout=0.0, batch_texts=16)


def _inputs(texts, lengths):
    """As ``Inputs``: (text, token, width) values with so many tokens each, at one layer."""
    parts = [text[:length] for text, length in zip(texts, lengths, strict=True)]
    start = np.concatenate([[0], np.cumsum(lengths)])
    tokens = np.concatenate(parts).astype(np.float16)[:, None]

    return Inputs(tokens, start)


def _tokens(texts, lengths, rows=None):
    rows = np.ones(len(texts), bool) if rows is None else rows
    mean, scale = np.zeros((1, WIDTH), np.float32), np.ones((1, WIDTH), np.float32)
    return Tokens([_inputs(texts, lengths)], rows, [0], mean, scale)


def _classes(count=200, seed=0):
    """Texts of 3 to 6 tokens; one token of a positive text is far out along the first column."""
    rng = np.random.default_rng(seed)
    texts, labels = rng.normal(0, 0.5, (count, 6, WIDTH)), np.arange(count) % 2
    texts[np.arange(count), rng.integers(0, 3, count), 0] += 4 * labels
    return texts, rng.integers(3, 7, count), labels.astype(float)[:, None]


def _train(texts, lengths, labels, sources=None, settings=SETTINGS, weights=None):
    rows = np.arange(len(texts))
    sources = np.zeros(len(texts), int) if sources is None else sources
    weights = np.ones(len(texts)) if weights is None else weights
    return train(_tokens(texts, lengths), rows, labels, settings, weights=weights, sources=sources)


def _scores(network, texts, lengths):
    values = pooled(network, _tokens(texts, lengths), np.arange(len(texts)), SETTINGS)
    return values @ network.out.weight.detach().numpy()[0]


def test_pooled_margins_by_hand():
    network = Network(2, Settings(1, (0,), dropout=0.0))
    with torch.no_grad():
        network.directions.weight[:] = torch.tensor([[1.0, -2.0]])
        network.directions.bias[:] = 0.5
    values = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]]) / STEP  # 2.5, -1.5 and -0.5
    found = network.eval().pooled(values.bfloat16(), torch.tensor([2, 1]))
    torch.testing.assert_close(found, torch.tensor([[2.5, -1.5], [-0.5, -0.5]]), atol=0.01, rtol=0)


def test_tokens_are_standardized_and_rounded_and_rows_that_are_left_out_have_none():
    texts = np.array([[[1.0] * WIDTH, [2.0] * WIDTH], [[5.0] * WIDTH] * 2, [[-90.0] * WIDTH] * 2])
    mean, scale = np.full((1, WIDTH), 1.0, np.float32), np.full((1, WIDTH), 2.0, np.float32)
    kept = np.array([True, False, True])
    tokens = Tokens([_inputs(texts, [2, 2, 1])], kept, [0], mean, scale)
    assert tokens.lengths.tolist() == [2, 0, 1]
    assert tokens.values[:, 0].tolist() == [
        0,
        10,
        -127,
    ]  # 0.5 standard deviations are 10 steps; far ones are cut
    values, lengths = tokens.batch(np.array([2, 0]))
    assert (values[:, 0].tolist(), lengths.tolist()) == ([-127, 0, 10], [1, 2])


def test_rows_without_tokens_have_no_margins():
    texts, lengths, labels = _classes(20)
    network, kept = _train(texts, lengths, labels), np.arange(20) != 3
    values = pooled(network, _tokens(texts, lengths, kept), np.arange(20), SETTINGS)
    assert np.isnan(values[3]).all()
    assert np.isfinite(values[kept]).all()


def test_rows_have_the_same_margins_alone_and_among_others_in_any_order():
    texts, lengths, labels = _classes(60)
    network, tokens = _train(texts, lengths, labels), _tokens(texts, lengths)
    order = np.random.default_rng(0).permutation(60)
    every = pooled(network, tokens, order, SETTINGS)
    for place in (0, 17, 59):
        alone = pooled(network, tokens, order[[place]], SETTINGS)
        np.testing.assert_allclose(alone[0], every[place], rtol=0.01, atol=0.01)


def test_moments_are_those_of_the_tokens():
    texts, lengths, _ = _classes()
    inputs = _inputs(3 + 2 * texts, lengths)
    mean, scale = moments(inputs)
    np.testing.assert_allclose(mean, inputs.tokens.astype(float).mean(0), atol=1e-4)
    np.testing.assert_allclose(scale, inputs.tokens.astype(float).std(0) + 1e-3, atol=1e-3)


def test_training_separates_two_easy_classes():
    texts, lengths, labels = _classes()
    network = _train(texts, lengths, labels)
    others, their_lengths, their_labels = _classes(seed=1)
    assert roc_auc_score(their_labels[:, 0], _scores(network, others, their_lengths)) > 0.99


def test_training_is_reproduced_by_its_seed():
    texts, lengths, labels = _classes(60)
    settings = Settings(4, (0,), epochs=2, batch_texts=16)
    first, again, other = (
        _scores(_train(texts, lengths, labels, settings=each), texts, lengths)
        for each in (settings, settings, Settings(4, (0,), epochs=2, batch_texts=16, seed=1))
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_how_frequent_positive_rows_are_in_a_source_says_nothing_of_its_texts():
    texts, lengths, labels = _classes(400)
    sources = np.arange(400) // 200
    texts[sources == 1, :, 1] += 3  # the second column says which source a text is of
    rare = (sources == 0) == (
        labels[:, 0] == 1
    )  # of the first source few are positive, of the second few negative
    kept = ~rare | (np.random.default_rng(0).random(400) < 0.15)
    texts, lengths, labels, sources = texts[kept], lengths[kept], labels[kept], sources[kept]
    neutral = np.zeros((2, 3, WIDTH))
    neutral[1, :, 1] = 3
    apart, together = (
        _scores(_train(texts, lengths, labels, which), neutral, [3, 3]) for which in (sources, 0 * sources)
    )
    assert abs(apart[1] - apart[0]) < 0.5 * (together[1] - together[0])


def test_a_source_with_one_class_has_no_offset_so_its_texts_teach():
    texts, lengths, labels = _classes(400)
    sources = np.arange(400) // 200
    texts[sources == 1, :, 1] += 3
    labels[sources == 1] = 0  # nothing of the second source is positive, not even what looks so
    neutral = np.zeros((2, 3, WIDTH))
    neutral[1, :, 1] = 3
    alone, with_positives = (labels.copy() for _ in range(2))
    with_positives[np.flatnonzero(sources == 1)[:20]] = 1  # then it has an offset
    first, second = (
        _scores(_train(texts, lengths, y, sources), neutral, [3, 3]) for y in (alone, with_positives)
    )
    assert first[1] - first[0] < -2
    assert first[1] - first[0] < second[1] - second[0]


def test_a_row_without_a_label_or_without_a_weight_has_no_say():
    texts, lengths, labels = _classes(80)
    labels[::8] = np.nan
    changed = texts.copy()
    changed[::8] *= -3
    first, second = (_train(each, lengths, labels) for each in (texts, changed))
    assert all(map(torch.equal, first.parameters(), second.parameters()))
    weights = np.where(np.arange(80) % 8, 1.0, 0.0)
    known = _classes(80)[2]
    first, second = (_train(each, lengths, known, weights=weights) for each in (texts, changed))
    assert all(map(torch.equal, first.parameters(), second.parameters()))


def test_a_label_that_one_source_lacks_is_learned_from_the_other():
    texts, lengths, labels = _classes(400)
    sources, second = np.arange(400) // 200, (np.arange(400) // 2 % 2).astype(float)
    texts[:, 0, 2] += 4 * second
    labels = np.hstack([labels, np.where(sources == 0, second, np.nan)[:, None]])
    network = _train(texts, lengths, labels, sources)
    values = pooled(network, _tokens(texts, lengths), np.arange(400), SETTINGS)
    logits = values @ network.out.weight.detach().numpy().T
    assert roc_auc_score(second[200:], logits[200:, 1]) > 0.98


def test_positive_and_negative_rows_weigh_the_same():
    texts, lengths, labels = _classes(400)
    few = (labels[:, 0] == 0) | (np.arange(400) % 20 == 1)
    network = _train(texts[few], lengths[few], labels[few])
    rest = _tokens(texts[~few], lengths[~few])
    missed = pooled(network, rest, np.arange((~few).sum()), SETTINGS)
    logits = missed @ network.out.weight.detach().numpy()[0] + network.out.bias.item()
    assert (logits > 0).mean() > 0.9


@pytest.mark.parametrize("layers", [1, 3])
def test_folded_directions_give_the_margins_of_inputs_that_are_not_standardized(layers):
    rng = np.random.default_rng(0)
    mean, scale = rng.normal(size=(layers, WIDTH)), rng.uniform(0.5, 9, (layers, WIDTH))
    network = Network(layers * WIDTH, Settings(5, tuple(range(layers))))
    torch.nn.init.normal_(network.directions.bias)
    weight, bias = folded(network, mean, scale)
    assert weight.shape == (5, layers, WIDTH)
    inputs = mean + scale * rng.normal(size=(7, layers, WIDTH))
    standardized = torch.from_numpy((inputs - mean) / scale).flatten(1).float()
    expected = network.directions(standardized).detach().numpy()
    np.testing.assert_allclose(np.einsum("tlw,hlw->th", inputs, weight) + bias, expected, atol=1e-5)


def test_rows_of_a_fold_are_judged_by_directions_that_were_fitted_without_them():
    texts, lengths, labels = _classes(60)
    tokens, rows, fold = _tokens(texts, lengths), np.arange(60), np.arange(60) % 3
    parts = list(cross_fit(tokens, rows, labels, fold, SETTINGS))
    assert np.array_equal(np.sort(np.concatenate([part.rows for part in parts])), rows)
    for number, part in enumerate(parts):
        network = train(tokens, rows[fold != number], labels, SETTINGS)
        weight, bias = linear_layer(network)
        expected = pooled(network, tokens, rows[fold == number], SETTINGS) @ weight.T + bias
        np.testing.assert_array_equal(part.logits, expected)


def test_a_linear_layer_is_a_head_on_standardized_columns():
    rng = np.random.default_rng(0)
    values, weight, bias = rng.normal(3, 2, (50, 4)), rng.normal(size=(2, 4)), rng.normal(size=2)
    head = standardized_head(values, weight, bias)
    np.testing.assert_allclose(head.logit(values), values @ weight.T + bias, atol=1e-9)
    np.testing.assert_allclose(head.mean, values.mean(0))


def test_training_leaves_the_random_state_of_torch_as_it_was():
    texts, lengths, labels = _classes(20)
    before = torch.get_rng_state()
    _train(texts, lengths, labels)
    assert torch.equal(torch.get_rng_state(), before)
