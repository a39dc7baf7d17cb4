"""Tests features/stream.py: one token after the other gives what running each prefix gives."""

import copy

import jaxtyping
import numpy as np
import pytest
import torch

from splinelens import Stream
from splinelens.errors import BadFeatures, BadTexts
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec

TEXT = "The path goes over the hill, through the wood and on."
OPTIONS = {
    "features": ("spline7", "margins", "occupancy", "hidden", "attention_id", "length"),
    "pooling": ("max", "min", "mean", "last"),
    "eps": 0.2,
}
FAMILIES = ["llama", "mistral", "gpt2", "opt", "mixtral", "qwen2_moe", "gpt_oss", "gemma2", "bloom"]


def again(loaded, text, **spec):
    """Each prefix of a text run as a text, and the reader that did it; a letter is a token."""
    reader = TextReader(loaded, FeatureSpec(**(OPTIONS | {"max_tokens": 96} | spec)))
    prefixes = [text[:end] for end in range(1, len(text) + 1)]
    return reader, np.stack([features.values for features in reader.read(prefixes)])


@pytest.fixture
def letters(wrap, letter_tokenizer):
    """Makes a loaded model of a model in memory, with one token a letter."""
    return lambda model: wrap(model, letter_tokenizer)


@pytest.mark.parametrize("prompt", ["", "Is the following remark rude? "])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_token_gives_the_row_of_its_prefix(tiny_of, letters, error, family, prompt):
    model = tiny_of(family).double()
    model.set_experts_implementation("eager")  # the others have no float64
    loaded = letters(model)
    stream = Stream(loaded, prompt=prompt, **OPTIONS)
    ids = stream.ids(TEXT)
    reader, expected = again(loaded, TEXT, prompt=prompt)
    found = [stream.push(token) for token in ids[:9]]
    found += [*stream.extend(ids[9:25]), *stream.extend([]), *stream.extend(ids[25:])]
    assert stream.columns == reader.columns
    assert stream.length == len(ids) > 36
    assert error(reader, np.stack(found), expected) <= 1e-4


def test_in_float32_they_agree_to_rounding(tiny_model, letters, error):
    """Also the distances near 0, because steps are padded: without that these differ by 1e-4 and more."""
    loaded = letters(tiny_model)
    stream = Stream(loaded, **OPTIONS)
    reader, expected = again(loaded, TEXT)
    found = np.stack([stream.push(token) for token in stream.ids(TEXT)])
    assert error(reader, found, expected) <= 1e-4


@pytest.mark.parametrize("prompt", ["", "So: "])
def test_the_padding_of_a_step_leaves_the_cache(tiny_mistral, wrap, prompt):
    """Each pass sees as many keys as there are tokens before it, and its padding after them."""
    stream, keys = Stream(wrap(tiny_mistral), features=("margins",), layers=(0, 1), prompt=prompt), []
    tiny_mistral.register_forward_pre_hook(lambda _, __, more: keys.append(cached(more)), with_kwargs=True)
    for token in (5, 6):
        stream.push(token)
    stream.extend([7] * 20)
    stream.push(8)
    assert keys == [len(prompt) + tokens for tokens in (0, 1, 2, 22)]


def cached(arguments):
    cache = arguments.get("cache", arguments.get("past_key_values"))
    return cache.get_seq_length()


@pytest.mark.parametrize("family", ["qwen3_5_text", "qwen3_next", "olmo_hybrid"])
def test_linear_attention_is_followed_token_by_token(tiny_of, letters, error, family):
    loaded, options = letters(tiny_of(family)), OPTIONS | {"features": ("margins", "hidden", "attention_id")}
    for prompt in ("", "Rude? "):
        stream = Stream(loaded, prompt=prompt, **options)
        reader, expected = again(loaded, TEXT[:24], prompt=prompt, features=options["features"])
        assert error(reader, stream.feed(TEXT[:24]), expected) <= 1e-4


@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2", "mixtral"])
def test_blocks_after_the_last_layer_that_is_read_are_not_run(tiny_of, letters, error, family):
    loaded = letters(tiny_of(family))
    options = OPTIONS | {"layers": (0, 1)}
    for features in (OPTIONS["features"], ("attention_id",)):
        stream = Stream(loaded, prompt="So: ", **(options | {"features": features}))
        ran = []
        block = loaded.model.get_submodule("h.2" if family == "gpt2" else "layers.2")
        handle = block.register_forward_pre_hook(lambda *_, ran=ran: ran.append(1))
        ids = stream.ids(TEXT)[:30]
        found = [stream.push(token) for token in ids[:10]] + list(stream.extend(ids[10:]))
        handle.remove()
        assert ran == []
        reader, expected = again(loaded, TEXT[:30], prompt="So: ", layers=(0, 1), features=features)
        assert error(reader, np.stack(found), expected) <= 1e-4


def test_the_steps_of_an_extension_do_not_matter(tiny_llama, wrap, error):
    """One pass takes up to 64 tokens; 100 are two, and here many more."""
    loaded, ids = wrap(tiny_llama.double()), [5 + step % 90 for step in range(100)]
    one, other = Stream(loaded, **OPTIONS), Stream(loaded, **OPTIONS)
    reader = TextReader(loaded, FeatureSpec(**OPTIONS, max_tokens=96))
    parts = np.concatenate([other.extend(ids[start : start + 7]) for start in range(0, 100, 7)])
    assert error(reader, one.extend(ids), parts) <= 1e-4


def test_a_text_is_fed_in_pieces(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    whole, pieces = (
        Stream(loaded, features=["spline7", "length"]),
        Stream(loaded, features=["spline7", "length"]),
    )
    rows = whole.feed("the kettle sings")
    found = np.concatenate([pieces.feed("the kettle"), pieces.feed(" sings")])
    assert rows.dtype == np.float32
    assert np.allclose(found, rows, rtol=1e-4, atol=1e-6)
    assert rows[:, -1].tolist() == list(range(1, len(rows) + 1))
    assert whole.names[-1] == "length"


def test_the_text_may_fill_all_positions_and_no_more(tiny_model, wrap):
    stream = Stream(wrap(tiny_model), features=["sign_mean"], prompt="(((((")
    assert np.isfinite(stream.extend([5] * 250)).all()
    with pytest.raises(
        BadTexts,
        match=r"no room for 2 more tokens: with the 255 of .* exceed the 256 positions of tiny; start",
    ):
        stream.extend([5, 6])
    assert stream.length == 250  # nothing of it was taken
    assert np.isfinite(stream.push(5)).all()
    with pytest.raises(BadTexts, match="no room for 1 more tokens"):
        stream.push(5)


def test_positions_end_where_longrope_would_rotate_them_otherwise(tiny_phi3, wrap):
    tiny_phi3.config.rope_parameters = {"rope_type": "longrope", "original_max_position_embeddings": 40}
    stream, last = Stream(wrap(tiny_phi3), features=["sign_mean"]), []
    tiny_phi3.register_forward_pre_hook(
        lambda _, __, more: last.append(int(more["position_ids"].max())), with_kwargs=True
    )
    stream.extend([5] * 40)  # padded to 48, and yet
    assert last == [39]
    with pytest.raises(BadTexts, match="exceed the 40 positions that one pass of tiny can use"):
        stream.push(5)


def test_ids_that_are_none_are_refused(tiny_llama, wrap):
    stream = Stream(wrap(tiny_llama), features=["sign_mean"])
    with pytest.raises(BadTexts, match=r"token ids \[128, -1\] do not exist: tiny has 128, from 0"):
        stream.extend([5, 128, -1])
    assert stream.length == 0


@pytest.mark.parametrize(
    ("text", "said"), [("", "is empty"), ("  ", "is only white space"), ("a\0", "has a NUL")]
)
def test_a_text_without_tokens_is_refused(tiny_llama, wrap, text, said):
    stream = Stream(wrap(tiny_llama), features=["sign_mean"])
    with pytest.raises(BadTexts, match=f"the text {said}"):
        stream.feed(text)


def test_wrong_names_are_refused_before_a_model_is_loaded():
    with pytest.raises(BadFeatures, match="no feature 'marginz'"):
        Stream("no-such-model", features=["marginz"])
    with pytest.raises(BadFeatures, match=r"eps is 1\.5; pass a number above 0 and below 1"):
        Stream("no-such-model", eps=1.5)


def test_a_stream_that_was_interrupted_is_over(tiny_llama, wrap):
    """The first layers have taken the token in, the later ones have not."""
    stream = Stream(wrap(tiny_llama), features=["sign_mean"])
    stream.push(5)

    def stop(*_):
        raise KeyboardInterrupt

    handle = tiny_llama.layers[1].register_forward_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        stream.push(6)
    handle.remove()
    with pytest.raises(BadTexts, match="an earlier step of this stream was interrupted; start a new Stream"):
        stream.push(6)


def test_from_a_token_that_is_not_finite_on_nothing_is(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    loaded.model.embed_tokens.weight[7] = torch.inf
    stream = Stream(loaded, features=("spline7", "margins", "occupancy", "attention_id"))
    rows = stream.extend([5, 6])
    assert np.isfinite(rows).all()
    assert not np.isfinite(stream.push(7)).any()
    later = dict(zip(stream.names, split(stream, stream.push(5)), strict=True))
    assert all(
        np.isnan(later[f"layer00.{name}"]).all() for name in ("sign_min", "boundary_min", "boundary_std")
    )


@pytest.mark.parametrize("feature", ["spline7", "margins", "hidden", "attention_id"])
@pytest.mark.parametrize("family", ["llama", "qwen3_next"])
def test_every_feature_shows_why_it_is_not_finite(tiny_of, wrap, family, feature):
    loaded = wrap(tiny_of(family))
    loaded.model.embed_tokens.weight[7] = torch.nan
    layers = [1] if feature == "attention_id" else None
    stream = Stream(loaded, features=[feature], layers=layers)
    stream.extend([5, 6])
    assert stream.reason is None
    stream.push(7)
    assert stream.reason.startswith("gives values that are not finite at ")
    assert stream.reason.endswith("token 2")


def split(stream, rows):
    return np.split(rows, np.cumsum([column.size for column in stream.columns])[:-1], axis=-1)


def test_two_streams_of_one_model_do_not_meet(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    first, second = (Stream(loaded, features=["spline7"], prompt="So: ") for _ in range(2))
    single = Stream(loaded, features=["spline7"], prompt="So: ").extend([5, 6, 7])
    for step, token in enumerate([5, 6, 7]):
        second.push(20 + token)
        assert np.allclose(first.push(token), single[step], rtol=1e-4, atol=1e-6)


def test_token_ids_of_numpy_are_whole_numbers_too(tiny_of, wrap):
    model = tiny_of("llama")
    values = Stream(wrap(model)).extend(np.array([5, 6]))
    assert np.array_equal(values, Stream(wrap(model)).extend([5, 6]))


def test_a_token_that_fails_does_not_spoil_the_rows_of_one_pass_before_it(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    loaded.model.embed_tokens.weight[7] = torch.nan
    one, other = (Stream(loaded, **OPTIONS) for _ in range(2))
    ids = [5, 6, 8, 9, 7, 5, 6]
    rows = one.extend(ids)
    assert other.reason is None
    pushed = np.stack([other.push(token) for token in ids])
    assert np.isfinite(rows[:4]).all()
    assert not np.isfinite(rows[4:]).all(axis=1).any()
    assert np.allclose(rows, pushed, rtol=1e-4, atol=1e-6, equal_nan=True)
    assert one.length == other.length == 7
    assert one.reason == other.reason == "gives values that are not finite at layer 0, token 4"


@pytest.mark.parametrize("family", ["llama", "qwen3_next"])
def test_a_copy_goes_its_own_way(tiny_of, wrap, family):
    loaded = wrap(tiny_of(family))
    stream, whole = (Stream(loaded, features=["spline7"], prompt="So: ") for _ in range(2))
    expected = whole.extend([5, 6, 7])
    stream.extend([5, 6])
    for other in (copy.copy(stream), copy.deepcopy(stream)):
        assert np.allclose(other.extend([9, 9, 7])[0], copy.copy(stream).push(9), rtol=1e-4, atol=1e-6)
        assert (other.length, stream.length) == (5, 2)
    assert np.allclose(stream.push(7), expected[2], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ids", ["abc", [0.5], [None]])
def test_ids_that_are_no_whole_numbers_are_refused(letters, tiny_llama, ids):
    jaxtyping.config.update("jaxtyping_disable", True)  # as in use
    with pytest.raises(BadTexts, match="token ids are whole numbers"):
        Stream(letters(tiny_llama)).push(ids)


def test_a_model_in_training_mode_is_refused_at_the_start(tiny_llama, letters):
    loaded = letters(tiny_llama)
    try:
        tiny_llama.train()
        with pytest.raises(BadFeatures, match="training mode, where dropout is random; call its eval"):
            Stream(loaded)
    finally:
        tiny_llama.eval()


def test_a_stream_is_printed_in_one_line(tiny_llama, letters):
    stream = Stream(letters(tiny_llama), layers=[1])
    stream.feed("good")
    assert repr(stream) == "Stream('tiny', 4 tokens, 7 columns, layer 1)"


@pytest.mark.parametrize("family", ["llama", "mixtral", "qwen3_next"])
def test_a_stream_becomes_another_text(tiny_of, letters, error, family):
    """Whatever is taken back: the row is that of a new stream."""
    model = tiny_of(family).double()
    model.set_experts_implementation("eager")  # the others have no float64
    loaded = letters(model)
    stream, rng = Stream(loaded, prompt="It is ", **OPTIONS), np.random.default_rng(0)
    reader = TextReader(loaded, FeatureSpec(**OPTIONS, prompt="It is ", max_tokens=160))
    ids = list(stream.ids(TEXT))[:20]
    for _ in range(4):
        length = int(rng.integers(1, len(ids) + 1))
        ids[length - 1] = int(rng.integers(10, 40))
        row = stream.become(ids[:length])
        again = Stream(loaded, prompt="It is ", **OPTIONS)
        assert stream.length == length
        assert error(reader, row[None], again.extend(ids[:length])[-1:]) <= 1e-4
    twin = copy.copy(stream)
    twin.become(ids[:3])
    again = Stream(loaded, prompt="It is ", **OPTIONS)
    assert error(reader, stream.become(ids)[None], again.extend(ids)[-1:]) <= 1e-4
    assert (twin.length, stream.length) == (3, len(ids))
    with pytest.raises(BadTexts, match="no token"):
        stream.become([])
