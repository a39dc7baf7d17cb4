"""Tests features/reader.py with prompts: seen as if prompt and text were one sequence, never pooled."""

import numpy as np

from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec

TEXTS = ["a", "the kettle sings in the kitchen", "you and the cat", "?" * 33]
PROMPT = "Is the following comment rude? "  # longer than the sliding window of tiny Mistral
SUFFIX = " (yes)"


def around(reader, ids, before, after=()):
    return [(before + ids + after, slice(len(before), len(before) + len(ids)))]


def test_cached_states_equal_running_prompt_and_text_as_one_sequence(
    tiny_model, wrap, rows, slow, error, sides, tiny_tokenizer
):
    before = tuple(tiny_tokenizer(PROMPT).input_ids)
    assert len(before) > 16
    for side in sides:
        got, reader = rows(wrap(tiny_model.double()), TEXTS, prompt=PROMPT, side=side)
        ids = [text.ids for text in reader.tokenize(TEXTS)]
        expected = np.stack([slow(reader, around(reader, own, before)) for own in ids])
        assert error(reader, got, expected) <= 1e-6


def test_a_prompt_padded_beyond_the_positions_that_longrope_can_use_is_rotated_as_it_is(
    longrope, wrap, rows, slow, error, tiny_tokenizer
):
    before = tuple(tiny_tokenizer("(" * 34).input_ids)  # padded to 48
    got, reader = rows(wrap(longrope.double()), ["a", "????"], prompt="(" * 34, max_tokens=6)
    ids = [text.ids for text in reader.tokenize(["a", "????"])]
    expected = np.stack([slow(reader, around(reader, own, before)) for own in ids])
    assert error(reader, got, expected) <= 1e-6


def test_a_prompt_changes_the_numbers(tiny_llama, wrap, rows, error):
    plain, reader = rows(wrap(tiny_llama), TEXTS)
    primed, _ = rows(wrap(tiny_llama), TEXTS, prompt=PROMPT)
    assert error(reader, primed, plain) > 0.1
    assert np.array_equal(primed[:, -1], plain[:, -1])  # the length is the text's own


def test_prompt_and_suffix_tokens_are_never_pooled(tiny_llama, wrap, rows, slow, error, tiny_tokenizer):
    """They would win every maximum: their gates are made ten times as large as any of the text's."""
    loaded = wrap(tiny_llama.double())
    loaded.model.embed_tokens.weight[tiny_tokenizer("(").input_ids[0]] = 0.0
    loaded.model.layers[0].mlp.gate_proj.weight *= 10
    before, after = (tuple(tiny_tokenizer(text).input_ids) for text in ("((", "(("))
    got, reader = rows(loaded, TEXTS, prompt="((", suffix="((")
    ids = [text.ids for text in reader.tokenize(TEXTS)]
    expected = np.stack([slow(reader, around(reader, own, before, after)) for own in ids])
    assert error(reader, got, expected) <= 1e-6
    pooled = np.stack([slow(reader, [(before + own + after, slice(None))]) for own in ids])
    assert error(reader, got, pooled) > 0.01


def test_a_suffix_does_not_reach_the_text(tiny_model, wrap, rows, error, sides):
    loaded = wrap(tiny_model.double())
    plain, reader = rows(loaded, TEXTS, prompt=PROMPT)
    for side in sides:
        followed, _ = rows(loaded, TEXTS, prompt=PROMPT, suffix=SUFFIX, side=side)
        assert error(reader, followed, plain) <= 1e-6


def test_the_opening_token_is_run_but_never_pooled(tiny_model, wrap, rows, slow, error, sides, bos_tokenizer):
    for side in sides:
        for prompt in ("", "Hm: "):
            got, reader = rows(wrap(tiny_model.double(), bos_tokenizer), TEXTS, prompt=prompt, side=side)
            before = (1, *bos_tokenizer(prompt, add_special_tokens=False).input_ids)
            ids = [text.ids for text in reader.tokenize(TEXTS)]
            assert all(1 not in own for own in ids)
            expected = np.stack([slow(reader, around(reader, own, before)) for own in ids])
            assert error(reader, got, expected) <= 1e-6


def test_an_opening_of_several_tokens_is_run_whole(tiny_llama, wrap, rows, slow, error, opening_tokenizer):
    got, reader = rows(wrap(tiny_llama.double(), opening_tokenizer), TEXTS)
    ids = [text.ids for text in reader.tokenize(TEXTS)]
    expected = np.stack([slow(reader, around(reader, own, (2, 3))) for own in ids])
    assert error(reader, got, expected) <= 1e-6


def test_a_prompt_serves_any_number_of_batches(tiny_llama, wrap):
    reader = TextReader(wrap(tiny_llama), FeatureSpec(prompt=PROMPT, max_tokens=96))
    first = [text.values for text in reader.read(TEXTS)]
    again = [text.values for text in reader.read(TEXTS)]
    assert all(map(np.array_equal, first, again))
