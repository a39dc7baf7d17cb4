"""Tests features/reader.py at named tokens: the rows of spans are those of their tokens by hand."""

import json

import numpy as np
import pytest
import torch

from splinelens.errors import BadFeatures, BadTexts, OutputExists
from splinelens.features.extract import extract
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.table import FeatureTable
from splinelens.texts import Texts

LONG = "The path goes over the hill, through the wood and along the river until you reach the mill."
TEXTS = [LONG, "you", LONG[:40], LONG[::-1]]
SPANS = [[(0, 8), (41, 42), (4, 90), (0, len(LONG))], [(0, 3)], [], [(6, 12)]]
EVERYTHING = ("spline7", "margins", "occupancy", "hidden", "attention_id", "length")
BY_HAND = ("spline7", "margins", "occupancy", "hidden", "length")
POOLINGS = ("max", "min", "mean", "last")


def reader_of(loaded, side="right", *, batch_tokens=None, **spec):
    options = {"features": EVERYTHING, "pooling": POOLINGS, "max_tokens": 96, "eps": 0.2} | spec
    return TextReader(loaded, FeatureSpec(**options), side=side, batch_tokens=batch_tokens)


def values_at(reader, texts, at):
    records = list(reader.read_at(texts, at))
    assert {record.reason for record in records} == {None}
    return np.stack([record.values for record in records])


def by_hand(slow, reader, texts, spans, before=(), after=()):
    """Each text as one unpadded sequence, and of it the tokens; a letter is a token."""
    rows = []
    for text, of_text in zip(texts, spans, strict=True):
        ids = before + reader.tokenize([text])[0].ids + after
        start = len(before)
        rows += [slow(reader, [(ids, slice(start + begin, start + end))]) for begin, end in of_text]
    return np.stack(rows)


def test_spans_are_what_their_tokens_give_by_hand(tiny_model, wrap, letter_tokenizer, slow, error, sides):
    loaded = wrap(tiny_model.double(), letter_tokenizer)
    before, after = (tuple(letter_tokenizer(text).input_ids) for text in ("Say: ", " (end)"))
    for side in sides:
        reader = reader_of(loaded, side, features=BY_HAND, max_tokens=128, prompt="Say: ", suffix=" (end)")
        found = values_at(reader, TEXTS, SPANS)
        assert error(reader, found, by_hand(slow, reader, TEXTS, SPANS, before, after)) <= 1e-6


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral", "bloom"])
def test_a_span_from_the_first_character_is_the_prefix_and_of_all_the_text(
    tiny_of, wrap, letter_tokenizer, error, name
):
    model = tiny_of(name).double()
    model.set_experts_implementation("eager")
    for window in (96, 16):
        reader = reader_of(wrap(model, letter_tokenizer), max_tokens=window)
        ((prefixes,), (whole,)) = (reader.read([LONG], prefixes=some) for some in (True, False))
        ends = [1, 15, 16, 17, 40, len(LONG)]
        found = values_at(reader, [LONG], [[(0, end) for end in ends]])
        assert error(reader, found, prefixes.values[[end - 1 for end in ends]]) <= 1e-6
        assert error(reader, found[-1:], whole.values[None]) <= 1e-6


def test_a_span_over_the_border_of_windows_is_merged(tiny_llama, wrap, letter_tokenizer, slow, error):
    reader = reader_of(wrap(tiny_llama.double(), letter_tokenizer), features=BY_HAND, max_tokens=16)
    ids = reader.tokenize([LONG])[0].ids
    found = values_at(reader, [LONG], [[(10, 30), (17, 20)]])
    # The windows start at 0, 12, 24 and pool 0 to 16, 16 to 28, 28 to 40.
    whole = [(ids[:16], slice(10, 16)), (ids[12:28], slice(4, 16)), (ids[24:40], slice(4, 6))]
    second = [(ids[12:28], slice(5, 8))]
    expected = np.stack([slow(reader, whole), slow(reader, second)])
    assert error(reader, found, expected) <= 1e-6


def test_the_answer_is_the_last_token_of_text_and_suffix_as_one_text(
    tiny_llama, wrap, letter_tokenizer, error, sides
):
    loaded, suffix = wrap(tiny_llama.double(), letter_tokenizer), " Rude?"
    features = ("margins", "hidden")
    for side in sides:
        reader = reader_of(loaded, side, features=features, prompt="Say: ", suffix=suffix, max_tokens=110)
        plain = reader_of(loaded, features=features, pooling=("last",), prompt="Say: ", max_tokens=110)
        found = values_at(reader, TEXTS, "answer")
        expected = values_at(plain, [text + suffix for text in TEXTS], [[(0, len(t) + 6)] for t in TEXTS])
        (joined,) = plain.read([TEXTS[2] + suffix])
        assert np.allclose(joined.values, expected[2], rtol=1e-6)
        # One token is its own maximum, minimum, mean and last.
        repeated, start = [], 0
        for column in plain.columns:
            repeated += [expected[:, start : start + column.size]] * len(POOLINGS)
            start += column.size
        assert error(reader, found, np.concatenate(repeated, axis=1)) <= 1e-6


def test_the_answer_of_a_long_text_is_pooled_over_its_windows(
    tiny_llama, wrap, letter_tokenizer, slow, error
):
    loaded = wrap(tiny_llama.double(), letter_tokenizer)
    reader = reader_of(loaded, features=BY_HAND, suffix=" Rude?", max_tokens=16)
    text, after = LONG[:40], tuple(letter_tokenizer(" Rude?").input_ids)
    ids = reader.tokenize([text])[0].ids
    windows = [(ids[start : start + 16] + after, slice(21, 22)) for start in (0, 12, 24)]
    found = values_at(reader, [text], "answer")
    assert error(reader, found, slow(reader, windows)[None]) <= 1e-6
    assert found[0, -1] == 3  # length


def test_single_batched_and_padded_left_are_equal(tiny_llama, wrap, error):
    loaded = wrap(tiny_llama)
    expected = np.concatenate(
        [
            values_at(reader_of(loaded, batch_tokens=1), [text], [spans])
            for text, spans in zip(TEXTS, SPANS, strict=True)
            if spans
        ]
    )
    for side, batch_tokens in (("right", 4096), ("left", 4096), ("left", 1)):
        reader = reader_of(loaded, side, batch_tokens=batch_tokens)
        assert error(reader, values_at(reader, TEXTS, SPANS), expected) <= 1e-4


def test_a_token_belongs_to_a_span_that_holds_one_of_its_characters(tiny_llama, wrap):
    """White space at the ends of a span does not count: it is a part of the next word's token."""
    reader = reader_of(wrap(tiny_llama), features=("length",))
    text = "in the garden"
    (tokens,) = reader.tokenize([text])
    assert tokens.offsets[:2] == ((0, 2), (2, 6))
    spans = [(0, 2), (0, 3), (1, 2), (1, 4), (5, 6), (2, 4), (5, 8)]
    assert values_at(reader, [text], [spans])[:, 0].tolist() == [1, 1, 1, 2, 1, 1, 3]


def test_each_text_is_run_once_whatever_its_spans_and_not_without_any(tiny_llama, wrap):
    reader, seen = reader_of(wrap(tiny_llama), batch_tokens=1), []
    tiny_llama.register_forward_pre_hook(lambda *_: seen.append(1))
    values_at(reader, TEXTS, SPANS)
    assert len(seen) == 3


def test_spans_without_a_token_keep_a_row_with_the_reason(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    hidden = "a\u200bb"
    texts, spans = [LONG, hidden, "x\0y"], [[(0, 4), (80, 84)], [(0, 1), (1, 2)], [(0, 1)]]
    table = extract(texts, loaded, at=spans, features="sign_mean", long="cut", max_tokens=8, normalize=True)
    assert table.text.tolist() == [0, 0, 1, 1, 2]
    assert table.spans.tolist() == [list(span) for of_text in spans for span in of_text]
    assert table.ok.tolist() == np.isfinite(table.values).all(1).tolist() == [True, False, True, False, False]
    assert table.reasons[1] == "characters 80 to 84 come after the 8 tokens that were read"
    assert table.reasons[3] == "characters 1 to 2 have no token"
    assert table.reasons[4] == "has a NUL character at position 1"
    assert table.cut.tolist() == [True, True, False, False, False]


def test_a_token_that_fails_is_named_in_the_row_of_its_span(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    tiny_llama.layers[0].register_forward_hook(
        lambda _, __, out: out.masked_fill(torch.arange(out.shape[1])[:, None] == 4, torch.inf)
    )
    table = extract(["abcd~efg"], loaded, at=[[(0, 4), (3, 6)]], features="hidden", layers=[0])
    assert table.ok.tolist() == [True, False]
    assert "layer 0, token 4 (characters 4 to 5)" in table.reasons[1]


def test_a_table_of_spans_is_the_same_from_disk_with_columns_that_are_kept(tiny_llama, wrap, tmp_path):
    texts = Texts(tuple(TEXTS), {"id": (7, 8, 9, 10)}, "list")
    options = {"features": ["spline7", "margins"], "at": SPANS, "keep": ["id"]}
    table = extract(texts, wrap(tiny_llama), output=tmp_path / "a.parquet", **options)
    again = FeatureTable.read(tmp_path / "a.parquet")
    assert again.text.tolist() == table.text.tolist() == [0, 0, 0, 0, 1, 3]
    assert again.spans.tolist() == [list(span) for of_text in SPANS for span in of_text]
    assert again.kept["id"].to_pylist() == [7, 7, 7, 7, 8, 10]
    assert np.array_equal(again.values, table.values)
    assert (again.prefix, again.texts) == (None, 3)
    assert again.tokens[again.whole].tolist() == [table.tokens[3], table.tokens[4], table.tokens[5]]
    assert [*again.to_pandas().columns[:3]] == ["text", "begin", "end"]
    assert table.provenance["at"]["spans"] == 6
    with pytest.raises(BadTexts, match="column 'begin' cannot be kept"):
        extract(Texts(("a",), {"begin": (1,)}, "list"), "nowhere", at=[[(0, 1)]], keep=["begin"])


def test_a_plain_table_may_keep_columns_named_as_those_of_spans(tiny_llama, wrap, tmp_path):
    names = ("text", "prefix", "begin", "end")
    texts = Texts(("a", "b"), dict.fromkeys(names, (3, 4)), "list")
    extract(texts, wrap(tiny_llama), keep=names, output=tmp_path / "a.parquet")
    table = FeatureTable.read(tmp_path / "a.parquet")
    assert (table.text, table.prefix, table.spans) == (None, None, None)
    assert table.kept["begin"].to_pylist() == [3, 4]


def test_a_killed_run_resumes_and_an_equal_run_reads_its_table(tiny_llama, wrap, tmp_path, monkeypatch):
    monkeypatch.setattr("splinelens.features.reader.CHUNK", 1)
    loaded, steps = wrap(tiny_llama), []

    def killed(texts, characters):
        steps.append(texts)
        if len(steps) == 3:
            raise KeyboardInterrupt

    whole = extract(TEXTS, loaded, at=SPANS)
    with pytest.raises(KeyboardInterrupt):
        extract(TEXTS, loaded, at=SPANS, output=tmp_path / "a.parquet", progress=killed)
    table = extract(TEXTS, loaded, at=SPANS, output=tmp_path / "a.parquet")
    assert np.array_equal(table.values, whole.values)
    assert (table.text.tolist(), table.spans.tolist()) == (whole.text.tolist(), whole.spans.tolist())
    assert table.provenance == whole.provenance
    again = extract(TEXTS, loaded, at=SPANS, output=tmp_path / "a.parquet", progress=pytest.fail)
    assert np.array_equal(again.values, whole.values)
    with pytest.raises(OutputExists, match="it exists"):
        extract(TEXTS, loaded, at=[[(0, 1)]] * 4, output=tmp_path / "a.parquet")


def test_progress_counts_every_text_and_character_once(tiny_llama, wrap):
    counted = []
    reader = reader_of(wrap(tiny_llama), max_tokens=16)
    list(reader.read_at(TEXTS, SPANS, progress=lambda *step: counted.append(step)))
    assert np.sum(counted, axis=0).tolist() == [len(TEXTS), sum(map(len, TEXTS))]


def test_the_answer_position_has_a_row_a_text(tiny_llama, wrap):
    table = extract(["Good morning.", "", "you"], wrap(tiny_llama), at="answer", suffix=" Rude?")
    assert (len(table), table.text, table.spans) == (3, None, None)
    assert table.reasons == (None, "is empty", None)
    assert json.loads(json.dumps(table.provenance))["at"] == "answer"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"at": "answer"}, BadFeatures, "there is no suffix; give one"),
        ({"at": "last"}, BadFeatures, "at='last': need a list of spans"),
        ({"at": [[(0, 1)]], "prefixes": True}, BadFeatures, "at and prefixes cannot be combined"),
        ({"at": [[(0, 9)]]}, BadTexts, "text 0, span 0 is .* the text has 5 characters"),
        ({"at": [[(0, 1)], []]}, BadTexts, "2 lists of spans for 1 texts"),
    ],
)
def test_what_cannot_be_named_is_refused_before_a_model_is_looked_for(options, error, words):
    with pytest.raises(error, match=words):
        extract(["Hello"], "owner/that-is-nowhere", **options)
