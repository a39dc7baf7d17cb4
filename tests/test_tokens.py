"""Tests tokens.py."""

import copy
import inspect
import random
import threading

import pytest
from tokenizers import Regex, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from splinelens.errors import BadModel, BadTexts
from splinelens.tokens import TokenizedText, Window, batches, chunks, padded, prompt_ids, tokenize, windows

UNREADABLE = {
    "": "is empty",
    " \t\n\u2003": "is only white space",
    "a\0b": "has a NUL character at position 1",
    "ab\ud800c": "has a lone surrogate at position 2",
    None: "is missing",
}


def record(length):
    return TokenizedText(ids=tuple(range(10, 10 + length)), total=length)


def lists(array):
    return array.astype(int).tolist()


@pytest.mark.parametrize("text", list(UNREADABLE), ids=list(UNREADABLE.values()))
def test_an_unreadable_text_keeps_its_index_with_a_reason(tiny_tokenizer, text):
    before, result, after = tokenize(["you", text, "the"], tiny_tokenizer)
    assert result == TokenizedText(reason=UNREADABLE[text])
    assert (result.ids, result.total, result.cut) == ((), 0, False)
    assert before.reason is after.reason is None
    assert len(before.ids) == 1


def test_a_tokenizer_that_fails_inside_is_named(tiny_tokenizer):
    bad = copy.deepcopy(tiny_tokenizer)
    bad.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(a+)+$"), "isolated")
    bad.name_or_path = "models/bad"
    with pytest.raises(BadModel, match=r"the tokenizer of models/bad failed at these texts: .*retry-limit"):
        tokenize(["a" * 40 + "b"], bad)
    assert tokenize(["b"], bad)[0].total == 1


def test_unreadable_texts_never_reach_the_tokenizer():
    huge = "yes " * 2_500_000  # 10 MB; None has no method that could be called
    reasons = [result.reason for result in tokenize([huge, *UNREADABLE], None)]
    assert reasons == ["has 10,000,000 characters, more than the limit of 1,000,000", *UNREADABLE.values()]


def test_the_limit_of_characters_is_allowed_itself(tiny_tokenizer, monkeypatch):
    monkeypatch.setattr("splinelens.tokens.MAX_CHARACTERS", 4)
    at, above = tokenize(["abcd", "abcde"], tiny_tokenizer)
    assert (at.reason, above.reason) == (None, "has 5 characters, more than the limit of 4")


def test_a_text_that_gives_no_tokens_says_so(tiny_tokenizer):
    tiny_tokenizer.backend_tokenizer.normalizer = normalizers.Replace("~", "")
    assert [result.reason for result in tokenize(["~~", "~a"], tiny_tokenizer)] == ["has no tokens", None]


def test_ids_and_offsets_are_the_texts_own(tiny_tokenizer):
    text = "the thing, you said: ä!"
    (result,) = tokenize([text], tiny_tokenizer)
    assert "".join(text[begin:end] for begin, end in result.offsets) == text
    assert len(result.ids) == len(result.offsets) == result.total
    for token, (begin, end) in zip(result.ids, result.offsets, strict=True):
        assert tiny_tokenizer.convert_ids_to_tokens(token) in (text[begin:end], "<unk>")


def test_a_normalized_text_has_the_tokens_of_the_plain_one_and_spans_of_its_own(tiny_tokenizer):
    text, plain = "\u200bt\u200bh\u0435 thing, ｙou\u0301\u0301\u0301 ok", "the thing, you\u0301\u0301 ok"
    result, wanted = tokenize([text, plain], tiny_tokenizer, normalize=True)
    assert (result.ids, result.total) == (wanted.ids, wanted.total)
    assert wanted == tokenize([plain], tiny_tokenizer)[0]
    pieces = [text[begin:end] for begin, end in result.offsets]
    assert pieces[0] == "t\u200bh\u0435"
    assert " ｙou" in pieces
    assert pieces[-1] == "k"


def test_spans_of_normalized_texts_never_step_back(tiny_tokenizer):
    rng = random.Random(1)
    pieces = [*"the you,. ", "\r\n", *"\u200b\u200d\u0301\u0336\ufe0f", *"оеｙ𝐨😀👩é日"]
    texts = ["a" + "".join(rng.choices(pieces, k=30)) for _ in range(200)]
    for text, result in zip(texts, tokenize(texts, tiny_tokenizer, normalize=True), strict=True):
        begins, ends = zip(*result.offsets, strict=True)
        assert list(begins) == sorted(begins)
        assert list(ends) == sorted(ends)
        assert 0 <= begins[0] <= ends[-1] <= len(text)


def test_a_text_of_which_nothing_is_seen_has_a_reason_and_the_original_is_judged_first(tiny_tokenizer):
    result = tokenize(["\u200b\ufe0f", "", "\u200b \u200b", "\u200ba"], tiny_tokenizer, normalize=True)
    assert [text.reason for text in result] == [
        "has no character that is seen",
        "is empty",
        "has no character that is seen",
        None,
    ]


def test_tokens_the_tokenizer_would_add_are_left_out(tiny_tokenizer):
    plain = tokenize(["you and the cat"], tiny_tokenizer)
    tiny_tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    assert tiny_tokenizer("you").input_ids[0] == 1
    assert tokenize(["you and the cat"], tiny_tokenizer) == plain


def test_cutting_and_padding_set_in_the_tokenizer_are_switched_off(tiny_tokenizer):
    """A tokenizer.json may carry both, and a call with truncation leaves it behind."""
    tiny_tokenizer.backend_tokenizer.enable_truncation(3)
    tiny_tokenizer.backend_tokenizer.enable_padding(pad_id=0, pad_token="<pad>", length=40)
    short, long = tokenize(["a", "abcdefgh"], tiny_tokenizer)
    assert (short.total, long.total) == (1, 8)
    tiny_tokenizer.backend_tokenizer.enable_truncation(3)
    assert len(prompt_ids(tiny_tokenizer, "abcdefgh", beginning=False)) == 8


def test_cut_keeps_the_first_tokens_and_counts_the_rest(tiny_tokenizer):
    whole, exact = tokenize(["abcdefgh", "abc"], tiny_tokenizer)
    cut, kept = tokenize(["abcdefgh", "abc"], tiny_tokenizer, max_tokens=3, long="cut")
    assert (cut.ids, cut.offsets) == (whole.ids[:3], whole.offsets[:3])
    assert (cut.total, cut.cut, whole.cut) == (8, True, False)
    assert kept == exact


@pytest.mark.parametrize("max_tokens", [0, -1])
def test_a_window_without_room_is_refused(tiny_tokenizer, max_tokens):
    with pytest.raises(BadTexts, match=f"max_tokens={max_tokens}, .* need a positive number"):
        tokenize(["a"], tiny_tokenizer, max_tokens=max_tokens)


def test_a_policy_for_long_texts_that_does_not_exist_is_refused(tiny_tokenizer):
    unchecked = inspect.unwrap(tokenize)  # in tests the annotation alone would refuse it
    with pytest.raises(BadTexts, match="long='wrap': need a positive number and 'windows' or 'cut'"):
        unchecked(["a"], tiny_tokenizer, long="wrap")


def test_a_prompt_is_tokenized_apart_with_the_opening_token_first(tiny_tokenizer):
    plain = prompt_ids(tiny_tokenizer, "you the", beginning=True)
    assert plain == tuple(tiny_tokenizer("you the").input_ids)  # this tokenizer opens with nothing
    assert prompt_ids(tiny_tokenizer, "", beginning=True) == ()
    tiny_tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    assert prompt_ids(tiny_tokenizer, "you the", beginning=True) == (1, *plain)
    assert prompt_ids(tiny_tokenizer, "you the", beginning=False) == plain
    assert prompt_ids(tiny_tokenizer, "", beginning=True) == (1,)


def test_every_special_token_before_a_text_opens_it(opening_tokenizer):
    assert opening_tokenizer("you").input_ids[:2] == [2, 3]
    assert prompt_ids(opening_tokenizer, "", beginning=True) == (2, 3)
    letters = prompt_ids(opening_tokenizer, "you", beginning=False)
    assert prompt_ids(opening_tokenizer, "you", beginning=True) == (2, 3, *letters)


def test_white_space_is_a_prompt(tiny_tokenizer):
    assert prompt_ids(tiny_tokenizer, "\n", beginning=True) == tuple(tiny_tokenizer("\n").input_ids)


def test_a_prompt_that_cannot_be_encoded_is_refused(tiny_tokenizer):
    with pytest.raises(BadTexts, match="the prompt has a NUL character at position 0"):
        prompt_ids(tiny_tokenizer, "\0", beginning=True)


def test_windows_by_hand():
    assert windows([record(3), record(0), record(10)], 8) == [
        Window(text=0, start=0, pooled=0, stop=3),
        Window(text=2, start=0, pooled=0, stop=8),
        Window(text=2, start=6, pooled=8, stop=10),
    ]


def test_every_token_is_pooled_exactly_once_with_a_quarter_window_of_context():
    rng = random.Random(0)
    for _ in range(300):
        length, max_tokens = rng.randint(1, 90), rng.randint(1, 40)
        result = windows([record(length)], max_tokens)
        assert [token for window in result for token in range(window.pooled, window.stop)] == list(
            range(length)
        )
        for window in result:
            assert 0 <= window.start <= window.pooled < window.stop <= window.start + max_tokens
            assert window.pooled - window.start == (max_tokens // 4 if window.start else 0)
        assert len(result) == 1 or length > max_tokens


def test_padded_is_the_next_multiple_of_16():
    assert [padded(length) for length in (1, 15, 16, 17, 32, 33)] == [16, 16, 16, 32, 32, 48]
    assert [padded(length, offset=15) for length in (1, 2, 17, 18)] == [1, 17, 17, 33]


def test_a_batch_by_hand_padded_right():
    (batch,) = batches([record(2), record(3)], max_tokens=8, offset=5, suffix=(7, 7))
    assert lists(batch.ids) == [[10, 11, 12, 7, 7] + [0] * 6, [10, 11, 7, 7] + [0] * 7]
    assert lists(batch.mask) == [[1] * 5 + [0] * 6, [1] * 4 + [0] * 7]
    assert lists(batch.positions) == [list(range(5, 16))] * 2
    assert batch.spans == ((0, 3), (0, 2))
    assert [window.text for window in batch.windows] == [1, 0]
    assert batch.side == "right"


def test_a_batch_by_hand_padded_left():
    (batch,) = batches([record(2), record(3)], max_tokens=8, offset=5, suffix=(7, 7), side="left")
    assert lists(batch.ids) == [[0] * 6 + [10, 11, 12, 7, 7], [0] * 7 + [10, 11, 7, 7]]
    assert lists(batch.mask) == [[0] * 6 + [1] * 5, [0] * 7 + [1] * 4]
    assert [row[-5:] for row in lists(batch.positions)] == [[5, 6, 7, 8, 9], [5, 5, 6, 7, 8]]
    assert batch.spans == ((6, 9), (7, 9))


def test_a_prefix_stands_right_before_its_text_on_either_side():
    (right,) = batches([record(2), record(3)], max_tokens=8, prompt=(7, 8))
    assert lists(right.ids) == [[7, 8, 10, 11, 12] + [0] * 11, [7, 8, 10, 11] + [0] * 12]
    assert right.spans == ((2, 5), (2, 4))
    (left,) = batches([record(2), record(3)], max_tokens=8, prompt=(7, 8), side="left")
    assert lists(left.ids) == [[0] * 11 + [7, 8, 10, 11, 12], [0] * 12 + [7, 8, 10, 11]]
    assert left.spans == ((13, 16), (14, 16))


def test_the_overlap_of_windows_is_run_but_not_pooled():
    (batch,) = batches([record(10)], max_tokens=8)
    assert batch.windows == (Window(0, 0, 0, 8), Window(0, 6, 8, 10))
    assert lists(batch.ids[1, :5]) == [16, 17, 18, 19, 0]
    assert batch.spans == ((0, 8), (2, 4))


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_budget_is_kept_and_every_window_read_once(side):
    rng = random.Random(1)
    records = [record(rng.randint(0, 120)) for _ in range(60)]
    result = list(batches(records, max_tokens=50, batch_tokens=256, suffix=(7,), side=side))
    expected = windows(records, 50)
    assert sorted((w for batch in result for w in batch.windows), key=lambda w: (w.text, w.start)) == expected
    firsts = [min(window.text for window in batch.windows) for batch in result]
    assert firsts == sorted(firsts)
    for batch in result:
        assert batch.ids.size <= 256
        assert batch.ids.shape[1] % 16 == 0
        for row, (window, (start, stop)) in enumerate(zip(batch.windows, batch.spans, strict=True)):
            own = records[window.text].ids[window.pooled : window.stop]
            assert tuple(lists(batch.ids[row, start:stop])) == own
            assert batch.mask[row].sum() == window.length + 1
    by_length = sorted(result, key=lambda batch: -batch.windows[0].length)
    fuller = [batch.ids.size + batch.ids.shape[1] for batch in by_length[:-1]]
    assert all(size > 256 for size in fuller)  # one more row would have been too many


def test_a_window_beyond_the_budget_is_a_batch_of_its_own():
    result = list(batches([record(40), record(2), record(39)], max_tokens=64, batch_tokens=20))
    assert [batch.ids.shape for batch in result] == [(1, 48), (1, 16), (1, 48)]


def test_no_readable_text_gives_no_batch():
    assert list(batches([record(0)], max_tokens=8)) == []


def test_special_tokens_spelt_out_in_a_text_are_letters(tiny_tokenizer):
    (text,) = tokenize(["a<eos>b"], tiny_tokenizer)
    assert tiny_tokenizer.eos_token_id not in text.ids
    assert text.offsets[-1] == (6, 7)
    assert prompt_ids(tiny_tokenizer, "<eos>", beginning=False) == (tiny_tokenizer.eos_token_id,)


def test_threads_leave_the_tokenizer_as_it_was(tiny_tokenizer):
    backend, texts, result = tiny_tokenizer.backend_tokenizer, ["<eos> the thing"] * 200, []

    def work():
        for _ in range(20):
            result.extend(record.ids for record in tokenize(texts, tiny_tokenizer))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert backend.encode_special_tokens is False
    assert len(set(result)) == 1
    assert 2 not in result[0]  # the control token, spelt out, is read as letters


def test_chunks_are_the_texts_one_after_the_other(tiny_tokenizer):
    texts = ["you are the one", None, " ", "in the garden"]
    whole = tiny_tokenizer("you are the one\n\nin the garden", add_special_tokens=False)["input_ids"]
    parts = [tiny_tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("\n\n", *texts[::3])]
    joined = [*parts[1], *parts[0], *parts[2]]
    assert len(joined) == len(whole)
    for length, most in ((4, None), (4, 2), (100, None)):
        count = len(joined) // length if most is None else most
        expected = [joined[start * length : (start + 1) * length] for start in range(count)]
        assert chunks(tiny_tokenizer, texts, length, most).tolist() == expected


def test_chunks_name_the_text_that_cannot_be_encoded(tiny_tokenizer):
    with pytest.raises(BadTexts, match="a text has a lone surrogate at position 2"):
        chunks(tiny_tokenizer, ["fine", "ab\ud800c"], 4)
