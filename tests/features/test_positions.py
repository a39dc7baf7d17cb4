"""Tests features/positions.py."""

import pytest
import torch
from splinelens.features.positions import Positions, positions_of, run_tokens

from splinelens.errors import BadFeatures


def handed_over(model, *args, **options):
    """What a model is called with by ``run_tokens``."""
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


def test_longrope_turns_the_original_positions_alike(longrope):
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
        ((256, 40), 41, "the 40 positions that tiny turns alike"),
    ],
)
def test_a_row_exceeds_the_smaller_limit(limits, tokens, words):
    assert Positions(*limits).exceeded(tokens, "tiny") == words


def test_one_position_too_many_would_turn_them_all(longrope):
    """Why there is a second limit: without it the first token's neighbours see another text."""
    ids = torch.arange(4, 52)[None]
    with torch.no_grad():
        alone = longrope(ids[:, :40]).last_hidden_state[0, :8]
        turned = longrope(ids).last_hidden_state[0, :8]
    seen = []
    handle = longrope.register_forward_hook(lambda _, __, out: seen.append(out.last_hidden_state[0, :8]))
    run_tokens(longrope, ids, torch.arange(48)[None])
    handle.remove()
    assert torch.allclose(seen[0], alone, atol=1e-5)
    assert not torch.allclose(turned, alone, atol=1e-3)


def test_positions_end_at_the_last_one_and_there_is_no_cache_unless_given(tiny_llama):
    seen = handed_over(tiny_llama, torch.zeros(1, 4, dtype=torch.long), torch.tensor([[254, 255, 256, 257]]))
    assert seen["position_ids"].tolist() == [[254, 255, 255, 255]]
    assert (seen["use_cache"], seen.get("cache", seen.get("past_key_values")), seen["attention_mask"]) == (
        False,
        None,
        None,
    )


def test_a_cache_is_filled_and_a_mask_becomes_numbers(tiny_llama):
    from transformers import DynamicCache

    ids, cache = torch.tensor([[0, 5, 9]]), DynamicCache()
    seen = handed_over(tiny_llama, ids, torch.tensor([[0, 0, 1]]), mask=ids > 0, cache=cache)
    assert cache.get_seq_length() == 3
    assert seen["attention_mask"].tolist() == [[0, 1, 1]]


def test_a_model_without_positions_is_given_none(tiny_of):
    assert "position_ids" not in handed_over(tiny_of("bloom"), torch.tensor([[4, 5]]), torch.arange(2)[None])


def test_a_model_in_training_mode_is_refused(tiny_gpt2):
    with pytest.raises(BadFeatures, match=r"training mode, where dropout is random; call its eval\(\)"):
        run_tokens(tiny_gpt2.train(), torch.tensor([[5, 6]]), torch.arange(2)[None])
