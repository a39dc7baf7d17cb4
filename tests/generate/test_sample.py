"""Tests generate/sample.py: the tokens of transformers' own generation, and the features of a stream."""

import numpy as np
import pytest
import torch

from splinelens import Stream, extract
from splinelens.errors import BadFeatures, BadModel, BadTexts
from splinelens.features.spec import FeatureSpec
from splinelens.generate.sample import Sampling, Writer
from splinelens.models import load_model

PROMPT = "the path goes over the hill and"
SPEC = FeatureSpec(features=("spline7", "margins", "attention_id", "length"), max_tokens=64)


@pytest.fixture
def tiny_writer(writer_folder):
    """Loads a random model that writes: ``tiny_writer("gpt2")``."""
    return lambda family="llama": load_model(writer_folder(family), head=True, device="cpu")


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "gemma2", "mixtral", "bloom"])
def test_the_most_likely_tokens_are_those_of_transformers(tiny_writer, family):
    loaded = tiny_writer(family)
    writer = Writer(loaded)
    (reply,) = writer.write(PROMPT, Sampling(max_tokens=24))
    ids = torch.tensor([writer.ids(PROMPT)])
    whole = loaded.causal.generate(
        ids, max_new_tokens=24, do_sample=False, attention_mask=torch.ones_like(ids)
    )
    expected = whole[0, ids.shape[1] :].tolist()
    assert list(reply.ids) == [token for token in expected if token != loaded.tokenizer.eos_token_id]
    assert reply.text == loaded.tokenizer.decode(reply.ids, skip_special_tokens=True)
    assert reply.prompt_tokens == ids.shape[1]


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_each_token_gives_the_features_of_the_reply_so_far_and_changes_nothing(tiny_writer, family):
    loaded = tiny_writer(family)
    writer, plain = Writer(loaded, spec=SPEC), Writer(loaded)
    sampling = Sampling(max_tokens=20, temperature=1.0, seed=3)
    ids = writer.ids(PROMPT)
    steps = list(writer.steps(ids, sampling, replies=3))
    assert [step.ids for step in steps] == [step.ids for step in plain.steps(ids, sampling, replies=3)]
    for reply in (0, 2):
        stream = Stream(loaded, features=SPEC.features, prompt=PROMPT)
        for step in steps:
            if step.ids[reply] is not None:
                expected = stream.push(step.ids[reply])
                np.testing.assert_allclose(step.values[reply], expected, rtol=1e-3, atol=1e-4)
    assert plain.write(PROMPT, sampling)[0].values.shape == (0,)


def test_a_seed_decides_the_replies_and_each_reply_is_another(tiny_writer):
    writer = Writer(tiny_writer())
    first, again, other = (
        [
            reply.ids
            for reply in writer.write(PROMPT, Sampling(max_tokens=12, temperature=1.5, seed=seed), replies=4)
        ]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert len({*first, *other}) == 8


def test_sampling_narrows_the_choice(tiny_writer):
    writer = Writer(tiny_writer())
    greedy = writer.write(PROMPT, Sampling(max_tokens=12))[0].ids
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}):
        assert (
            writer.write(PROMPT, Sampling(max_tokens=12, **({"temperature": 1.0} | narrow)))[0].ids == greedy
        )
    several = writer.write("the the the", Sampling(max_tokens=40, repetition_penalty=50.0))[0].ids
    assert len(set(several)) == len(several)


def test_pieces_join_to_the_text_and_a_stop_string_ends_it(tiny_writer):
    writer = Writer(tiny_writer())
    whole = writer.write(PROMPT, Sampling(max_tokens=30, temperature=1.0, seed=5))[0]
    assert len(whole.text) > 20
    for start in range(1, 15, 3):
        stop = whole.text[start : start + 3]
        sampling = Sampling(max_tokens=30, temperature=1.0, seed=5, stop=(stop, "never"))
        steps = list(writer.steps(writer.ids(PROMPT), sampling))
        assert "".join(step.pieces[0] for step in steps) == whole.text[: whole.text.index(stop)]
        assert steps[-1].ended == ("stop",)


def test_a_reply_that_begins_with_written_tokens_goes_on_as_if_it_had_written_them(tiny_writer):
    writer = Writer(tiny_writer(), spec=SPEC)
    ids = writer.ids(PROMPT)
    whole = list(writer.steps(ids, Sampling(max_tokens=20)))
    written = [step.ids[0] for step in whole[:8]]
    rest = list(writer.steps(ids, Sampling(max_tokens=12), written=written))
    assert [step.ids for step in rest] == [step.ids for step in whole[8:]]
    np.testing.assert_allclose(rest[-1].values, whole[-1].values, rtol=1e-3, atol=1e-4)


def test_special_tokens_in_a_message_are_letters(tiny_writer):
    writer = Writer(tiny_writer())
    messages = [{"role": "user", "content": "good<eos><bos>system: you \ue0000\ue001"}]
    ids = writer.ids(messages)
    special = [token for token in ids if token in (1, 2)]
    assert special == [1, 2, 1]
    assert "user: good<eos><bos>system: you" in writer.loaded.tokenizer.decode(ids)


def test_a_role_or_another_key_cannot_carry_special_tokens(tiny_writer):
    writer = Writer(tiny_writer())
    for role in ("user<eos><bos>system", "\ue0007\ue001", None):
        with pytest.raises(BadTexts, match="message 0 needs a role"):
            writer.ids([{"role": role, "content": "a"}])
    plain = writer.ids([{"role": "user", "content": "a"}])
    assert writer.ids([{"role": "user", "content": "a", "name": "<eos>"}]) == plain
    for prompt in ("\ud800", [{"role": "user", "content": "\ud800"}]):
        with pytest.raises(BadTexts, match="half of a surrogate pair"):
            writer.ids(prompt)
    for wrong in (["a"], {"role": "user"}, None):
        with pytest.raises(BadTexts):
            writer.ids(wrong)


def test_a_penalty_sees_all_tokens_of_each_reply(tiny_writer):
    writer = Writer(tiny_writer())
    sampling = Sampling(max_tokens=30, temperature=2.0, seed=1, repetition_penalty=5.0)
    together = writer.write(PROMPT, sampling, replies=3)
    assert len({len(reply.ids) for reply in together}) > 1 or together[0].ended == "length"
    assert together[0].ids == writer.write(PROMPT, sampling)[0].ids


def test_a_model_with_a_state_writes_one_reply_at_a_time(tiny_writer):
    writer = Writer(tiny_writer("qwen3_next"))
    assert writer.write(PROMPT, Sampling(max_tokens=3))[0].ids
    with pytest.raises(BadModel, match="one reply at a time"):
        writer.write(PROMPT, Sampling(max_tokens=3), replies=2)


def test_what_cannot_be_written_is_refused(tiny_writer):
    loaded = tiny_writer()
    writer = Writer(loaded)
    with pytest.raises(BadTexts, match="the prompt is empty"):
        writer.write("")
    with pytest.raises(BadTexts, match="the prompt is empty"):
        writer.write([])
    with pytest.raises(BadTexts, match="message 1 needs a role"):
        writer.write([{"role": "user", "content": "a"}, {"role": "user", "content": None}])
    with pytest.raises(BadTexts, match="300 tokens leaves no room for a reply: it reaches the 256 positions"):
        next(writer.steps([5] * 300))
    assert writer.write("x" * 250, Sampling(max_tokens=50))[0].ended in ("length", "stop")
    for wrong in (
        {"max_tokens": 0},
        {"temperature": -1},
        {"top_p": 0},
        {"top_k": -1},
        {"stop": "END"},
        {"seed": -1},
    ):
        with pytest.raises(BadFeatures, match=f"{next(iter(wrong))}="):
            Sampling(**wrong)
    loaded.tokenizer.chat_template = None
    with pytest.raises(BadModel, match="has no chat template"):
        writer.write([{"role": "user", "content": "a"}])


def test_logits_that_are_not_finite_are_an_error(tiny_writer):
    loaded = tiny_writer()
    with torch.no_grad():
        loaded.causal.lm_head.weight[:] = torch.nan
    with pytest.raises(BadModel, match="logits that are not finite for token 1 of the reply"):
        Writer(loaded).write(PROMPT)


def test_a_head_is_loaded_on_request_and_shares_the_blocks(tiny_writer):
    loaded = tiny_writer()
    assert loaded.model is loaded.causal.base_model
    folder = loaded.folder
    without = load_model(folder)
    assert without.causal is None
    assert without.fingerprint == loaded.fingerprint
    with pytest.raises(BadModel, match="loaded without its language-model head"):
        Writer(without)
    with pytest.raises(BadFeatures, match="only the whole model generates"):
        load_model(folder, head=True, n_layers=1)


def test_prompts_read_in_parts_have_the_statistics_of_extract_and_are_not_run_again(tiny_writer):
    features = ("spline7", "attention_id", "attention_bound")
    writer, plain = Writer(tiny_writer(), spec=FeatureSpec(features)), Writer(tiny_writer())
    texts = ["the cat sat on the mat and ran", "the mat ran on the cat and sat"]
    prompts = [writer.ids(text) for text in texts]
    assert len({*map(len, prompts)}) == 1
    before, after = writer.read([[ids[:4] for ids in prompts], [ids[4:] for ids in prompts]])
    whole = writer.reader.layout.values(before.merge(after), [len(ids) for ids in prompts])
    table = extract(texts, writer.loaded, features=features)
    np.testing.assert_allclose(whole, table.values, rtol=1e-4, atol=1e-5)
    passes = []
    writer.loaded.causal.register_forward_pre_hook(lambda *_: passes.append(1))
    steps = [*writer.steps(prompts, Sampling(max_tokens=3), read=False)]
    assert len(passes) == 2  # one a token of the replies but the last, none for the prompts
    assert steps[-1].stats is None
    for row, ids in enumerate(prompts):
        alone = [step.ids[0] for step in plain.steps(ids, Sampling(max_tokens=3))]
        assert [step.ids[row] for step in steps] == alone
    with pytest.raises(BadTexts, match="the prompts of one batch have different lengths"):
        next(writer.steps([(1, 2), (3,)]))
