"""Tests features/stream.py: one token after the other gives what running each prefix gives."""

import copy

import numpy as np
import pytest
import torch

from splinelens import Stream
from splinelens.errors import BadFeatures, BadTexts
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.tokens import TokenizedText

TEXT = "The path goes over the hill, through the wood and on."
OPTIONS = {
    "features": ("spline7", "margins", "occupancy", "hidden", "attention_id", "length"),
    "pooling": ("max", "min", "mean", "last"),
    "eps": 0.2,
}
FAMILIES = ["llama", "mistral", "gpt2", "opt", "mixtral", "qwen2_moe", "gpt_oss", "gemma2", "bloom"]


def again(loaded, ids, **spec):
    """Each prefix of these tokens run as a text of its own, and the reader that did it."""
    reader = TextReader(loaded, FeatureSpec(**(OPTIONS | {"max_tokens": 96} | spec)))
    cut = [TokenizedText(ids[:n], ((0, 0),) * n, n) for n in range(1, len(ids) + 1)]
    readings = sorted(reader.read(cut), key=lambda reading: reading.text)
    return reader, np.stack([reading.values for reading in readings])


@pytest.mark.parametrize("prompt", ["", "Is the following remark rude? "])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_token_gives_the_row_of_its_prefix(tiny_of, wrap, error, family, prompt):
    model = tiny_of(family).double()
    model.set_experts_implementation("eager")  # the others have no float64
    loaded = wrap(model)
    stream = Stream(loaded, prompt=prompt, **OPTIONS)
    ids = stream.ids(TEXT)
    reader, expected = again(loaded, ids, prompt=prompt)
    found = [stream.push(token) for token in ids[:9]]
    found += [*stream.extend(ids[9:25]), *stream.extend([]), *stream.extend(ids[25:])]
    assert stream.columns == reader.columns
    assert stream.length == len(ids) > 36
    assert error(reader, np.stack(found), expected) <= 1e-4


def test_in_float32_they_agree_to_rounding(tiny_model, wrap, error):
    """Also the distances near 0, because steps are padded: without that these differ by 1e-4 and more."""
    loaded = wrap(tiny_model)
    stream = Stream(loaded, **OPTIONS)
    ids = stream.ids(TEXT)
    reader, expected = again(loaded, ids)
    assert error(reader, np.stack([stream.push(token) for token in ids]), expected) <= 1e-4


@pytest.mark.parametrize("prompt", ["", "So: "])
def test_the_padding_of_a_step_leaves_the_cache(tiny_mistral, wrap, prompt):
    stream = Stream(wrap(tiny_mistral), features=("margins", "attention_id"), layers=(0, 1), prompt=prompt)
    before = len(prompt)
    for token in (5, 6):
        stream.push(token)
    stream.extend([7] * 20)
    lengths = [None if layer.keys is None else layer.keys.shape[2] for layer in stream._cache.layers]
    assert lengths == [before + 22, before + 22, *([before] if prompt else [])]


@pytest.mark.parametrize("family", ["qwen3_5_text", "qwen3_next", "olmo_hybrid"])
def test_linear_attention_is_followed_token_by_token(tiny_of, wrap, error, family):
    loaded, options = wrap(tiny_of(family)), OPTIONS | {"features": ("margins", "hidden", "attention_id")}
    for prompt in ("", "Rude? "):
        stream = Stream(loaded, prompt=prompt, **options)
        ids = stream.ids(TEXT)[:24]
        reader, expected = again(loaded, ids, prompt=prompt, features=options["features"])
        assert error(reader, stream.extend(ids), expected) <= 1e-4


@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2", "mixtral"])
def test_blocks_above_the_last_layer_that_is_read_are_not_needed(tiny_of, wrap, error, family):
    loaded = wrap(tiny_of(family))
    options = OPTIONS | {"layers": (0, 1)}
    for features in (OPTIONS["features"], ("attention_id",)):
        stream = Stream(loaded, prompt="So: ", **(options | {"features": features}))
        ran = []
        handle = loaded.model.get_submodule("h.2" if family == "gpt2" else "layers.2").register_forward_hook(
            lambda *_, ran=ran: ran.append(1)
        )
        ids = stream.ids(TEXT)[:30]
        found = [stream.push(token) for token in ids[:10]] + list(stream.extend(ids[10:]))
        handle.remove()
        assert ran == []
        reader, expected = again(loaded, ids, prompt="So: ", layers=(0, 1), features=features)
        assert error(reader, np.stack(found), expected) <= 1e-4


def test_the_steps_of_an_extension_do_not_matter(tiny_llama, wrap, monkeypatch, error):
    import splinelens.features.stream as module

    loaded = wrap(tiny_llama.double())
    one = Stream(loaded, **OPTIONS)
    ids = one.ids(TEXT)
    monkeypatch.setattr(module, "_STEP", 7)
    other = Stream(loaded, **OPTIONS)
    reader = TextReader(loaded, FeatureSpec(**OPTIONS, max_tokens=96))
    assert error(reader, one.extend(ids), other.extend(ids)) <= 1e-4


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


def test_positions_end_where_longrope_would_turn_them_anew(tiny_phi3, wrap):
    tiny_phi3.config.rope_parameters = {"rope_type": "longrope", "original_max_position_embeddings": 40}
    stream, places = Stream(wrap(tiny_phi3), features=["sign_mean"]), []
    tiny_phi3.register_forward_pre_hook(
        lambda _, __, more: places.append(int(more["position_ids"].max())), with_kwargs=True
    )
    stream.extend([5] * 40)  # padded to 48, and yet
    assert places == [39]
    with pytest.raises(BadTexts, match="exceed the 40 positions that tiny turns alike"):
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


def test_wrong_names_are_refused_before_a_model_is_looked_for():
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


def split(stream, rows):
    return np.split(rows, np.cumsum([column.size for column in stream.columns])[:-1], axis=-1)


def test_two_streams_of_one_model_do_not_meet(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    first, second = (Stream(loaded, features=["spline7"], prompt="So: ") for _ in range(2))
    alone = Stream(loaded, features=["spline7"], prompt="So: ").extend([5, 6, 7])
    for step, token in enumerate([5, 6, 7]):
        second.push(20 + token)
        assert np.allclose(first.push(token), alone[step], rtol=1e-4, atol=1e-6)


def test_a_token_costs_the_same_whatever_went_before(tiny_llama, wrap):
    """The state of a stream, cache aside, does not grow."""
    stream = Stream(wrap(tiny_llama), features=("spline7", "margins", "attention_id"))

    def size():
        return sum(state.mean.numel() for state in stream._running.values())

    stream.push(5)
    before = size()
    stream.extend([6] * 100)
    assert size() == before == 2 * 3 + 3 * 48 + 2 * 3


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
    alone = np.stack([other.push(token) for token in ids])
    assert np.isfinite(rows[:4]).all()
    assert not np.isfinite(rows[4:]).all(axis=1).any()
    assert np.allclose(rows, alone, rtol=1e-4, atol=1e-6, equal_nan=True)
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
        assert other._reader is stream._reader
        assert (other.length, stream.length) == (5, 2)
    assert np.allclose(stream.push(7), expected[2], rtol=1e-4, atol=1e-6)
