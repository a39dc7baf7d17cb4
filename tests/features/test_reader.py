"""Tests features/reader.py: single, in a batch, padded on either side; one row a text, in input order.

Long texts are in test_windows.py, prefixes in test_prefixes.py, failing texts in test_nonfinite.py.
"""

import numpy as np
import pytest
import torch

from splinelens.errors import BadFeatures, BadModel
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.models import load_model

TEXTS = [
    "Good morning.",
    "a",
    "The kettle sings in the kitchen and you pour the tea.",
    "you",
    "On Tuesday the library opens at nine; the reading room is upstairs, behind the stairs.",
    "?!",
    "in the garden",
    "Sixteen tokens!!",
]
SENTENCES = [
    "The bus was late again, but the driver waved and smiled.",
    "Thanks!",
    "Could you send me the recipe for the lemon cake?",
    "Honestly, that was a silly idea.",
    "Rain is expected in the north from Thursday on, with clear skies returning by the weekend.",
    "Ja, natürlich, wir treffen uns um acht.",
    "My cat knocked the cup off the table and looked proud of it.",
    "No.",
]
MIXED = [
    " ".join(SENTENCES[(first + step) % 8] for step in range(count))
    for first in range(8)
    for count in range(1, 9)
]


def single(loaded, texts, rows, **options):
    return np.concatenate([rows(loaded, [text], **options)[0] for text in texts])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_text_gives_the_same_alone_in_a_batch_and_padded_left_or_right(
    tiny_model, wrap, rows, error, dtype
):
    loaded = wrap(tiny_model.to(dtype))
    right, reader = rows(loaded, TEXTS, side="right")
    left, _ = rows(loaded, TEXTS, side="left")
    alone = single(loaded, TEXTS, rows)
    bound = 1e-4 if dtype == torch.float32 else 1e-6  # margins are float32 also in a float64 model
    assert error(reader, right, alone) <= bound
    assert error(reader, left, alone) <= bound


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-3), (torch.float64, 1e-6)])
def test_every_statistic_is_what_its_definition_says(tiny_model, wrap, rows, slow, error, dtype, bound):
    got, reader = rows(wrap(tiny_model.to(dtype)), TEXTS, side="left")
    expected = [slow(reader, [(text.ids, slice(None))]) for text in reader.tokenize(TEXTS)]
    assert error(reader, got, np.stack(expected)) <= bound


def test_a_small_budget_changes_nothing(tiny_llama, wrap, rows, error):
    loaded = wrap(tiny_llama.double())
    wide, reader = rows(loaded, TEXTS)
    narrow, _ = rows(loaded, TEXTS, batch_tokens=32)
    assert error(reader, narrow, wide) <= 1e-6


def test_texts_come_in_input_order_with_those_that_cannot_be_read(tiny_llama, wrap):
    reader = TextReader(wrap(tiny_llama), FeatureSpec(("length", "sign_mean"), layers=(0,), max_tokens=96))
    features = list(reader.read(["", "Good morning.", None, "a", "  ", TEXTS[2]]))
    assert [text.index for text in features] == [0, 1, 2, 3, 4, 5]
    assert [text.reason for text in features] == [
        "is empty",
        None,
        "is missing",
        None,
        "is only white space",
        None,
    ]
    for text in features:
        assert (text.values.shape, text.values.dtype) == ((2,), np.float32)
        assert np.isnan(text.values).all() == (text.reason is not None)
        assert text.source is None
        assert len(text.offsets) == text.tokens
        assert text.tokens == (0 if text.reason else text.values[1])
    assert [features[1].offsets[0][0], features[1].offsets[-1][1]] == [0, len("Good morning.")]


def test_no_text_gives_nothing(tiny_llama, wrap):
    assert list(TextReader(wrap(tiny_llama), FeatureSpec(max_tokens=96)).read([])) == []


def test_a_function_is_applied_as_soon_as_a_text_is_there_and_yielded_in_input_order(tiny_llama, wrap):
    """The longest texts run first, and rows of wide specs need not be in memory together."""
    reader = TextReader(wrap(tiny_llama), FeatureSpec(max_tokens=96), batch_tokens=32)
    calls = []

    def apply(features):
        calls.append(features.index)
        return features.index, len(features.offsets)

    results = reader.map(apply, [*TEXTS, ""])
    first = next(results)
    assert 0 in calls
    results = [*results]
    assert sorted(calls) == list(range(9))
    assert calls != sorted(calls)
    lengths = [len(text.ids) for text in reader.tokenize(TEXTS)]
    assert [first, *results] == list(enumerate([*lengths, 0]))


def test_chunks_change_nothing(tiny_llama, wrap, monkeypatch):
    """Each chunk is read and yielded before the next one is tokenized."""
    reader = TextReader(wrap(tiny_llama), FeatureSpec(("spline7", "length"), max_tokens=96))
    whole = list(reader.read([*TEXTS, None]))
    monkeypatch.setattr("splinelens.features.reader.CHUNK", 4)
    steps = []
    features = reader.read([*TEXTS, None], progress=lambda *step: steps.append(step))
    first = next(features)
    assert 0 < len(steps) <= 4
    parts = [first, *features]
    assert [text.index for text in parts] == list(range(9))
    assert [text.reason for text in parts] == [text.reason for text in whole]
    together, apart = (np.stack([text.values for text in texts]) for texts in (whole, parts))
    assert np.allclose(together, apart, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_progress_counts_every_text_and_character_once(tiny_llama, wrap):
    reader = TextReader(wrap(tiny_llama), FeatureSpec(max_tokens=12))
    texts, steps = [*TEXTS, "", None], []
    list(reader.read(texts, progress=lambda *step: steps.append(step)))
    assert [sum(counts) for counts in zip(*steps, strict=True)] == [
        len(texts),
        sum(map(len, filter(None, texts))),
    ]


@pytest.mark.parametrize("options", [{}, {"side": "left"}, {"prefixes": True}, {"max_tokens": 16}])
def test_where_memory_runs_out_the_halves_of_a_batch_are_run(tiny_llama, wrap, options):
    """A batch of more than two rows fails; every text still has the row that it has otherwise."""
    spec = FeatureSpec(("spline7", "margins", "hidden"), max_tokens=options.pop("max_tokens", 96))
    prefixes, side = options.get("prefixes", False), options.get("side", "right")
    loaded, widths = wrap(tiny_llama.double()), []
    expected = list(TextReader(loaded, spec, side=side).read(TEXTS, prefixes=prefixes))

    def exhaust(_module, args, kwargs):
        rows = len(kwargs["input_ids"] if "input_ids" in kwargs else args[0])
        widths.append(rows)
        if rows > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    reader = TextReader(loaded, spec, side=side)
    before = reader.batch_tokens
    handle = tiny_llama.register_forward_pre_hook(exhaust, with_kwargs=True)
    features = list(reader.read(TEXTS, prefixes=prefixes))
    handle.remove()
    assert widths[0] > 2
    assert reader.batch_tokens < before
    assert [text.index for text in features] == list(range(8))
    for text, other in zip(features, expected, strict=True):
        assert np.allclose(text.values, other.values, rtol=1e-5, atol=1e-5)
        assert text.reason is None


def test_a_single_text_that_exceeds_the_memory_is_an_error(tiny_llama, wrap):
    def exhaust(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    reader = TextReader(wrap(tiny_llama), FeatureSpec(max_tokens=96))
    tiny_llama.register_forward_pre_hook(exhaust)
    with pytest.raises(torch.OutOfMemoryError):
        list(reader.read(["you"]))


def test_a_normalizing_reader_reads_disguised_texts_as_plain_ones(tiny_llama, wrap, rows):
    plain, disguised = ["the thing you said"], ["th\u200b\u0435 thing ｙou said"]
    read = rows(wrap(tiny_llama), plain)[0]
    assert np.array_equal(rows(wrap(tiny_llama), disguised, normalize=True)[0], read)
    assert np.array_equal(rows(wrap(tiny_llama), plain, normalize=True)[0], read)
    assert not np.allclose(rows(wrap(tiny_llama), disguised)[0], read)


def test_layers_are_read_once_each_in_their_order(tiny_llama, wrap, rows):
    some, reader = rows(wrap(tiny_llama), TEXTS, layers=(2, 0, 2))
    assert reader.layers == (0, 2)
    every, whole = rows(wrap(tiny_llama), TEXTS)
    size = (every.shape[1] - 1) // 3
    assert np.array_equal(some[:, :size], every[:, :size])
    assert np.array_equal(some[:, size:-1], every[:, 2 * size : -1])
    assert reader.columns[0].name == whole.columns[0].name == "layer00.sign_mean"


def test_a_layer_that_was_not_loaded_is_refused(tiny_llama, wrap):
    with pytest.raises(BadFeatures, match=r"layers \[-1, 3\] do not exist: 3 blocks are loaded, 0 to 2"):
        TextReader(wrap(tiny_llama), FeatureSpec(layers=(0, 3, -1), max_tokens=96))


def test_no_layer_at_all_is_refused(tiny_llama, wrap):
    with pytest.raises(BadFeatures, match="no layer to read spline7 at; name at least one"):
        TextReader(wrap(tiny_llama), FeatureSpec(layers=(), max_tokens=96))


def test_a_prompt_and_a_window_beyond_the_positions_are_refused(tiny_llama, wrap):
    TextReader(wrap(tiny_llama), FeatureSpec(prompt="(((", suffix="))", max_tokens=251))
    with pytest.raises(
        BadFeatures, match="5 prompt tokens and windows of 252 exceed the 256 positions of tiny"
    ):
        TextReader(wrap(tiny_llama), FeatureSpec(prompt="(((", suffix="))", max_tokens=252))
    with pytest.raises(BadFeatures, match=r"256 prompt tokens and a token .* of tiny; shorten the prompt"):
        TextReader(wrap(tiny_llama), FeatureSpec(prompt="(" * 256))


def test_the_last_position_can_be_used(tiny_model, wrap, rows, slow, error, sides, tiny_tokenizer):
    """Five prompt tokens and 251 of the text fill 256 positions; the padding comes after the last one."""
    text = "yes, " * 48 + "and so on..."
    prompt = tuple(tiny_tokenizer("(((((").input_ids)
    for side in sides:
        got, reader = rows(wrap(tiny_model.double()), [text], side=side, prompt="(((((", max_tokens=251)
        (tokens,) = reader.tokenize([text])
        assert 240 < len(tokens.ids) <= 251
        assert error(reader, got, slow(reader, [(prompt + tokens.ids, slice(5, None))])[None]) <= 1e-6


def test_windows_beyond_the_positions_that_longrope_can_use_are_refused(tiny_phi3, wrap):
    loaded = wrap(tiny_phi3)
    loaded.model.config.rope_parameters = {"rope_type": "longrope", "original_max_position_embeddings": 64}
    TextReader(loaded, FeatureSpec(prompt="((", max_tokens=62))
    with pytest.raises(BadFeatures, match="exceed the 64 positions that one pass of tiny can use; lower"):
        TextReader(loaded, FeatureSpec(prompt="((", max_tokens=63))


def test_a_window_without_tokens_is_refused(tiny_llama, wrap):
    with pytest.raises(BadFeatures, match="max_tokens=0: need a positive number"):
        TextReader(wrap(tiny_llama), FeatureSpec(max_tokens=0))


def test_a_quantized_gate_is_refused_before_anything_is_run(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    weight = loaded.model.layers[1].mlp.gate_proj.weight
    loaded.model.layers[1].mlp.gate_proj.weight = torch.nn.Parameter(
        weight.to(torch.int8), requires_grad=False
    )
    with pytest.raises(BadModel, match="gate weight of layer 1 is quantized"):
        TextReader(loaded, FeatureSpec(max_tokens=96))
    for spec in (FeatureSpec(("hidden",), max_tokens=96), FeatureSpec(layers=(0, 2), max_tokens=96)):
        TextReader(loaded, spec)  # that weight is not needed


@pytest.mark.parametrize(
    "features", [("spline7",), ("margins",), ("occupancy",), ("sign_mean",), ("hidden",)]
)
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_values_that_are_not_finite_give_a_reason_that_names_layer_and_token(
    tiny_llama, wrap, features, poison
):
    loaded = wrap(tiny_llama)
    loaded.model.layers[1].mlp.gate_proj.weight[5] = poison
    reader = TextReader(loaded, FeatureSpec(features, layers=(0, 1), max_tokens=96))
    for text in reader.read(TEXTS):
        end = text.offsets[0][1]
        reason = f"gives values that are not finite at layer 1, token 0 (characters 0 to {end})"
        assert text.reason == reason
        assert np.isnan(text.values).all()


def test_one_row_that_is_not_finite_leaves_the_others_unchanged(tiny_llama, wrap, rows):
    clean, _ = rows(wrap(tiny_llama), ["in the garden", "you"], pooling=("max",))
    loaded = wrap(tiny_llama)
    loaded.model.embed_tokens.weight[loaded.tokenizer("~").input_ids[0]] = float("inf")
    reader = TextReader(
        loaded, FeatureSpec(("spline7", "margins", "occupancy", "hidden", "length"), max_tokens=96)
    )
    first, failing, last = reader.read(["in the garden", "~", "you"])
    assert [text.reason is None for text in (first, failing, last)] == [True, False, True]
    assert np.array_equal(np.stack([first.values, last.values]), clean)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_the_default_model_gives_64_mixed_sentences_the_same_numbers_alone_and_in_a_batch(
    default_model, rows, error
):
    """The bar: 1e-4 of each column's scale, in float32.

    One thread, because with more of them the matrix library splits a sum by the number of tokens in
    the batch. The margins then differ by 1e-6 of their scale, but the smallest distances, which lie
    near 0, by some percent of theirs: the next test bounds that.
    """
    loaded = load_model(default_model, n_layers=3, device="cpu")
    alone = single(loaded, MIXED, rows, max_tokens=256)
    for side in ("right", "left"):
        together, reader = rows(loaded, MIXED, max_tokens=256, side=side)
        assert error(reader, together, alone) <= 1e-4


def test_the_default_model_with_a_prompt_and_many_threads_differs_by_rounding_only(default_model, rows):
    loaded = load_model(default_model, n_layers=3, device="cpu")
    options = {"max_tokens": 256, "prompt": "Is this comment rude? ", "layers": (2,), "pooling": ("max",)}
    together, reader = rows(loaded, MIXED[:16], side="left", **options)
    alone = single(loaded, MIXED[:16], rows, **options)
    start, found = 0, {}
    for column in reader.columns:
        block = np.s_[:, start : start + column.size]
        found[column.statistic.name] = np.abs(together[block] - alone[block])
        start += column.size
    scale = np.abs(alone[:, 7 : 7 + 1536]).max()  # a distance is a margin: this is its unit
    for name in ("boundary_min", "boundary_mean", "boundary_std", "margin_max"):
        assert found[name].max() <= 1e-5 * scale
    for name in ("sign_mean", "sign_min", "sign_max", "sign_std"):
        assert found[name].max() <= 2 / 1536  # at most two of the neurons that lie on a boundary
    assert found["occupancy"].mean() <= 1e-4
    assert found["length"].max() == 0


def test_the_default_model_in_float64_gives_the_same_whatever_the_threads(default_model, rows, error):
    loaded = load_model(default_model, n_layers=2, dtype="float64", device="cpu")
    options = {
        "max_tokens": 256,
        "prompt": "Is this comment rude? ",
        "suffix": " Yes",
        "pooling": ("max", "last"),
    }
    alone = single(loaded, MIXED[::6], rows, **options)
    for side in ("right", "left"):
        together, reader = rows(loaded, MIXED[::6], side=side, **options)
        assert error(reader, together, alone) <= 1e-6


def test_many_batches_that_fail_cost_no_more_than_one(tiny_llama, wrap):
    """The budget falls to half of a batch that did not fit, not to half again with each of them."""
    reader = TextReader(wrap(tiny_llama), FeatureSpec(("sign_mean",), max_tokens=64), batch_tokens=256)

    def first_argument(_module, args, kwargs):
        rows, tokens = (args[0] if args else kwargs["input_ids"]).shape
        if rows * tokens > 128:
            raise torch.OutOfMemoryError("full")

    reader.loaded.model.register_forward_pre_hook(first_argument, with_kwargs=True)
    assert len(list(reader.read([f"in the garden {row:03}" for row in range(200)]))) == 200
    assert reader.batch_tokens == 128


_FAILURES = [
    (torch.OutOfMemoryError("CUDA out of memory"), "does not fit into memory"),
    (MemoryError(), "does not fit into memory"),
    (
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        "does not fit into memory",
    ),
    (RuntimeError("std::bad_alloc"), "does not fit into memory"),
    (RuntimeError("a kernel"), "cannot be run: a forward pass of LlamaModel fails (a kernel); does its"),
]


def _fail_at(model, letter, tokenizer, error):
    """The model fails on every batch that holds a token."""
    token = tokenizer(letter).input_ids[0]

    def fail(_module, args, kwargs):
        if ((args[0] if args else kwargs["input_ids"]) == token).any():
            raise error

    model.register_forward_pre_hook(fail, with_kwargs=True)


@pytest.mark.parametrize(("error", "reason"), _FAILURES, ids="gpu python cpu openvino other".split())
@pytest.mark.parametrize("options", [{}, {"prefixes": True}, {"max_tokens": 16}])
def test_a_text_that_fails_while_others_pass_is_a_row_with_the_reason(
    tiny_llama, wrap, error, reason, options
):
    spec = FeatureSpec(("margins", "length"), max_tokens=options.get("max_tokens", 96))
    prefixes, loaded = options.get("prefixes", False), wrap(tiny_llama)
    texts = ["~ first", *TEXTS, f"{TEXTS[4]} ~ {TEXTS[2]}", *TEXTS[::-1], "~"]
    expected = list(TextReader(loaded, spec).read(texts, prefixes=prefixes))
    _fail_at(tiny_llama, "~", loaded.tokenizer, error)
    steps = []
    features = list(
        TextReader(loaded, spec).read(texts, prefixes=prefixes, progress=lambda *step: steps.append(step))
    )
    assert [text.index for text in features] == list(range(19))
    for text, other in zip(features, expected, strict=True):
        if "~" in texts[text.index]:
            assert text.reason.startswith(reason)
            assert np.isnan(text.values).all()
        else:
            assert text.reason is None
            assert np.allclose(text.values, other.values, rtol=1e-4, atol=1e-5)
    assert sum(count for count, _ in steps) == 19


def test_spans_of_a_text_that_fails_are_rows_with_the_reason(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    _fail_at(tiny_llama, "~", loaded.tokenizer, MemoryError())
    reader = TextReader(loaded, FeatureSpec(("margins",), max_tokens=96))
    rows = list(reader.read_at(["in the garden", "you ~", "you"], [((0, 2),), ((0, 3), (4, 5)), ((0, 3),)]))
    assert [(row.index, row.reason) for row in rows] == [
        (0, None),
        (1, "does not fit into memory"),
        (1, "does not fit into memory"),
        (2, None),
    ]


def test_where_nothing_passes_or_many_in_a_row_fail_the_run_ends(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    _fail_at(tiny_llama, "~", loaded.tokenizer, RuntimeError("broken"))
    reader = TextReader(loaded, FeatureSpec(("margins",), max_tokens=96))
    with pytest.raises(BadModel, match="broken"):
        list(reader.read(["~", "~ you"]))
    assert [text.reason is None for text in reader.read(["you", "~"])] == [True, False]
    with pytest.raises(BadModel, match="broken"):
        list(reader.read([f"~ {number}" for number in range(40)]))


def test_a_long_text_all_of_whose_windows_fail_is_one_failure(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    _fail_at(tiny_llama, "~", loaded.tokenizer, RuntimeError("broken"))
    reader = TextReader(loaded, FeatureSpec(("margins",), max_tokens=16), batch_tokens=256)
    texts = ["you", "~" * 580, "in the garden"]
    assert [len(batch.windows) for batch in reader.batches(reader.tokenize(texts))] == [2, 16, 16, 16]
    assert [text.reason is None for text in reader.read(texts)] == [True, False, True]


def test_texts_that_an_earlier_run_has_read_are_left_out_and_change_no_bit(tiny_llama, wrap, monkeypatch):
    monkeypatch.setattr("splinelens.features.reader.CHUNK", 24)
    texts = [*MIXED[::3], "", None, *MIXED[1::3], *MIXED[:2]]
    reader = TextReader(wrap(tiny_llama), FeatureSpec(("margins", "length"), max_tokens=96))
    whole = list(reader.read(texts))
    for done in (1, 23, 24, 30, len(texts) - 1, len(texts)):
        steps = []
        rest = list(reader.read(texts, done=done, progress=lambda *step: steps.append(step)))  # noqa: B023
        assert [text.index for text in rest] == list(range(done, len(texts)))
        for text, other in zip(rest, whole[done:], strict=True):
            assert (text.values.tobytes(), text.reason) == (other.values.tobytes(), other.reason)
        totals = [sum(counts) for counts in zip(*steps, strict=True)] or [0, 0]
        assert totals == [len(texts) - done, sum(len(text or "") for text in texts[done:])]


def test_texts_that_repeat_run_once(tiny_llama, wrap):
    reader = TextReader(wrap(tiny_llama), FeatureSpec(("margins",), max_tokens=64))
    rows_run = 0

    def count(_module, args, kwargs):
        nonlocal rows_run
        rows_run += len(args[0] if args else kwargs["input_ids"])

    reader.loaded.model.register_forward_pre_hook(count, with_kwargs=True)
    texts = ["a good day", "", "a good day", "hello", ""] * 300  # of several chunks
    progress = np.zeros(2, int)
    read = list(reader.read(texts, progress=lambda *more: progress.__iadd__(more)))
    assert rows_run == 2
    assert [features.index for features in read] == list(range(1500))
    assert [features.reason for features in read[:5]] == [None, "is empty", None, None, "is empty"]
    assert read[0].values.tolist() == read[1497].values.tolist()
    assert progress.tolist() == [1500, sum(map(len, texts))]


def test_sources_are_located_without_margins_too(tiny_llama, wrap):
    reader = TextReader(wrap(tiny_llama), FeatureSpec(("sign_mean", "length"), max_tokens=64))
    (features,) = reader.read(["you"], locate=True)
    assert (features.source == -1).all()
