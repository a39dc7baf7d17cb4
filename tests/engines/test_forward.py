"""Tests engines/torch.py: the positions of a model, one pass over tokens, and a prompt that ran once."""

import pytest
import torch

from splinelens.engines.torch import Positions, positions_of, run_prompt, run_tokens
from splinelens.errors import BadFeatures, BadModel


@pytest.fixture
def longrope(tiny_of):
    """A tiny Phi-3 that rotates all positions by other angles as soon as one comes after the 40th."""
    factors = {"short_factor": [1.0, 1.0, 1.0, 1.0], "long_factor": [1.0, 2.0, 4.0, 8.0]}
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "factor": 6.4} | factors
    return tiny_of("phi3", rope_parameters=rope, original_max_position_embeddings=40)


def arguments(model, *args, **options):
    """What ``run_tokens`` calls a model with."""
    seen = {}
    handle = model.register_forward_pre_hook(lambda _, __, more: seen.update(more), with_kwargs=True)
    run_tokens(model, *args, **options)
    handle.remove()
    return seen


def test_a_model_has_the_positions_of_its_configuration(tiny_llama, tiny_of):
    assert positions_of(tiny_llama) == Positions(256, 256)
    assert positions_of(tiny_of("gemma3")) == Positions(256, 256)  # of its language model
    endless = tiny_of("bloom")
    del endless.config.max_position_embeddings
    assert positions_of(endless) == Positions(None, None)


def test_with_longrope_only_the_original_positions_can_be_used(longrope):
    assert positions_of(longrope) == Positions(256, 40)
    longrope.config.rope_parameters = {"sliding_attention": longrope.config.rope_parameters}
    assert positions_of(longrope) == Positions(256, 40)
    longrope.config.max_position_embeddings = 32
    assert positions_of(longrope) == Positions(32, 32)


@pytest.mark.parametrize(
    ("limits", "tokens", "words"),
    [
        ((None, None), 10**9, None),
        ((2048, 2048), 2048, None),
        ((2048, 2048), 2049, "the 2,048 positions of tiny"),
        ((256, 40), 40, None),
        ((256, 40), 41, "the 40 positions that one pass of tiny can use"),
    ],
)
def test_a_row_exceeds_the_smaller_limit(limits, tokens, words):
    assert Positions(*limits).exceeded(tokens, "tiny") == words


def test_one_position_too_many_would_rotate_them_all(longrope):
    """Why there is a second limit: without it the first tokens change with the length of the text."""
    ids = torch.arange(4, 52)[None]
    with torch.no_grad():
        single = longrope(ids[:, :40]).last_hidden_state[0, :8]
        rotated = longrope(ids).last_hidden_state[0, :8]
    states = []
    handle = longrope.register_forward_hook(lambda _, __, out: states.append(out.last_hidden_state[0, :8]))
    run_tokens(longrope, ids, torch.arange(48)[None])
    handle.remove()
    assert torch.allclose(states[0], single, atol=1e-5)
    assert not torch.allclose(rotated, single, atol=1e-3)


def test_positions_end_at_the_last_one_and_there_is_no_cache_unless_given(tiny_llama):
    seen = arguments(tiny_llama, torch.zeros(1, 4, dtype=torch.long), torch.tensor([[254, 255, 256, 257]]))
    assert seen["position_ids"].tolist() == [[254, 255, 255, 255]]
    assert (seen["use_cache"], seen.get("cache", seen.get("past_key_values")), seen["attention_mask"]) == (
        False,
        None,
        None,
    )


def test_a_cache_is_filled_and_a_mask_becomes_numbers(tiny_llama):
    from transformers import DynamicCache

    ids, cache = torch.tensor([[0, 5, 9]]), DynamicCache()
    seen = arguments(tiny_llama, ids, torch.tensor([[0, 0, 1]]), mask=ids > 0, cache=cache)
    assert cache.get_seq_length() == 3
    assert seen["attention_mask"].tolist() == [[0, 1, 1]]


def test_a_model_without_positions_is_given_none(tiny_of):
    assert "position_ids" not in arguments(tiny_of("bloom"), torch.tensor([[4, 5]]), torch.arange(2)[None])


def test_a_model_in_training_mode_is_refused(tiny_gpt2):
    with pytest.raises(BadFeatures, match=r"training mode, where dropout is random; call its eval\(\)"):
        run_tokens(tiny_gpt2.train(), torch.tensor([[5, 6]]), torch.arange(2)[None])


def test_a_pass_that_the_model_cannot_make_is_an_error_of_the_model(tiny_gpt2):
    with pytest.raises(BadModel, match=r"a forward pass of GPT2Model fails \(index out of range"):
        run_tokens(tiny_gpt2, torch.tensor([[1, 10**6]]), torch.arange(2)[None])


def test_the_states_of_a_prompt_are_one_pair_a_block_and_each_row_of_a_batch_gets_them(tiny_llama):
    prompt = run_prompt(tiny_llama, [5, 6, 7])
    assert prompt.length == 3
    assert [(keys.shape, values.shape) for keys, values in prompt.states] == [
        ((1, 2, 3, 8), (1, 2, 3, 8))
    ] * 3
    assert not any(keys.requires_grad for keys, _ in prompt.states)
    cache = prompt.cache(4)
    assert cache.get_seq_length() == 3
    assert all(torch.equal(cache.layers[2].keys[row], prompt.states[2][0][0]) for row in range(4))


def test_a_batch_only_borrows_the_states(tiny_llama):
    prompt = run_prompt(tiny_llama, [5, 6, 7])
    before = [(keys.clone(), values.clone()) for keys, values in prompt.states]
    cache = prompt.cache(2)
    run_tokens(tiny_llama, torch.tensor([[8, 9], [10, 11]]), torch.tensor([[3, 4]] * 2), cache=cache)
    assert cache.get_seq_length() == 5
    for pair, kept in zip(prompt.states, before, strict=True):
        assert all(map(torch.equal, pair, kept))


def test_a_sliding_window_drops_nothing_of_the_states(tiny_mistral):
    assert tiny_mistral.config.sliding_window == 16
    assert run_prompt(tiny_mistral, range(4, 44)).states[0][0].shape[2] == 40


def test_no_ids_are_no_prompt(tiny_llama):
    prompt = run_prompt(tiny_llama, ())
    assert (prompt.length, prompt.states, prompt.cache(4)) == (0, (), None)
