"""Tests ``generate/likelihood.py``: log-probabilities of tokens, their profile, perplexity."""

import numpy as np
import pytest
import torch

from splinelens.errors import BadFeatures, BadModel, BadTexts
from splinelens.generate.likelihood import PROFILE, log_probabilities, perplexity, profile
from splinelens.models import load_model

TEXTS = ["the tea is fine", "", "a", None, "we are at the sea and it is cold there"]


@pytest.fixture(scope="module")
def loaded(writer_folder):
    return load_model(writer_folder(), head=True, device="cpu")


def _expected(loaded, text):
    """Of one text by itself, from the logits as transformers gives them."""
    ids = torch.tensor(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])
    with torch.no_grad():
        logits = loaded.causal(ids[None]).logits[0].log_softmax(-1)
    rows = torch.arange(len(ids) - 1)
    return torch.stack([logits[rows, ids[1:]], logits[:-1].amax(-1)]).numpy()


def test_they_are_those_of_the_models_logits_in_any_batch(loaded):
    done = []
    values = log_probabilities(loaded, TEXTS, progress=lambda texts, _: done.append(texts))
    for row in (0, 4):
        assert np.allclose(values[row], _expected(loaded, TEXTS[row]), atol=1e-4)
        (single,) = log_probabilities(loaded, [TEXTS[row]])
        assert np.allclose(values[row], single, atol=1e-4)
    assert [values[row].shape for row in (1, 2, 3)] == [(2, 0)] * 3
    assert sum(done) == len(TEXTS)


def test_every_token_of_a_long_text_is_predicted_once(loaded):
    (values,) = log_probabilities(loaded, ["the sea and the tea " * 60])
    tokens = len(loaded.tokenizer("the sea and the tea " * 60, add_special_tokens=False)["input_ids"])
    assert values.shape == (2, tokens - 1)
    assert (values[0] <= values[1]).all()


def test_a_separator_of_documents_predicts_the_first_token(writer_folder):
    loaded = load_model(writer_folder(), head=True, device="cpu")
    loaded.tokenizer.add_special_tokens({"additional_special_tokens": ["<|endoftext|>"]})
    loaded.causal.resize_token_embeddings(len(loaded.tokenizer))
    (values,) = log_probabilities(loaded, ["the tea"])
    ids = loaded.tokenizer("<|endoftext|>the tea", add_special_tokens=False)["input_ids"]
    assert values.shape == (2, len(ids) - 1)
    with torch.no_grad():
        logits = loaded.causal(torch.tensor([ids])).logits[0].log_softmax(-1)
    assert values[0, 0] == pytest.approx(float(logits[0, ids[1]]), abs=1e-4)
    assert values[0, -1] == pytest.approx(float(logits[-2, ids[-1]]), abs=1e-4)


def test_a_model_without_its_head_is_refused(writer_folder):
    with pytest.raises(BadModel, match="without its language-model head"):
        log_probabilities(load_model(writer_folder(), device="cpu"), ["a"])


def test_a_profile_by_hand():
    values = np.array([[-9.0, -1.0, -2.0, -4.0, -3.0], [-1.0, -1.0, -1.0, -2.0, -3.0]])
    numbers = dict(zip(PROFILE, profile(values), strict=True))
    assert numbers["log-probability mean"] == -3.8
    assert numbers["log-probability sum of the inner tokens"] == -7
    assert numbers["log-probability of the last token"] == -3
    assert numbers["log-probability mean of the last 2 inner tokens"] == -3
    assert numbers["gap to the likeliest token least of the inner tokens"] == -2
    assert np.isnan(profile(np.empty((2, 0)))).all()
    assert np.isfinite(profile(np.array([[-1.0], [-0.5]]))).all()


LONG = " ".join(f"you are in the house {number} of the sea" for number in range(40))


@pytest.mark.parametrize("windows", [None, 3])
def test_perplexity_is_what_transformers_gives_for_the_same_windows(loaded, windows):
    ids = loaded.tokenizer(LONG, add_special_tokens=False, return_tensors="pt", verbose=False)["input_ids"][0]
    rows = ids[: len(ids) // 64 * 64].reshape(-1, 64)
    if windows:
        rows = rows[[number * len(rows) // windows for number in range(windows)]]
    with torch.no_grad():
        losses = [float(loaded.causal(row[None], labels=row[None]).loss) for row in rows]
    done = []
    result = perplexity(loaded, LONG, length=64, windows=windows, progress=lambda *at: done.append(at))
    assert np.allclose(result.nll, losses, rtol=1e-5)
    assert result.value == pytest.approx(float(np.exp(np.mean(losses))), rel=1e-5)
    assert result.tokens == 63 * len(rows)
    assert done[-1] == (len(rows), len(rows))


def test_a_model_that_knows_nothing_has_the_vocabulary_as_its_perplexity(writer_folder):
    blank = load_model(writer_folder(), head=True, device="cpu")
    with torch.no_grad():
        blank.causal.lm_head.weight.copy_(torch.zeros_like(blank.causal.lm_head.weight))
    vocabulary = len(blank.causal.lm_head.weight)
    assert perplexity(blank, LONG, length=32).value == pytest.approx(vocabulary)


def test_windows_that_the_text_or_the_model_cannot_fill_are_refused(loaded, writer_folder):
    with pytest.raises(BadTexts, match=r"windows of 64 tokens, fewer than 1,000"):
        perplexity(loaded, LONG, length=64, windows=1000)
    with pytest.raises(BadTexts, match=r"the text has 0 windows of 256 tokens"):
        perplexity(loaded, "short", length=256)
    for length, windows in ((1, None), (257, None), (64, 0)):
        with pytest.raises(BadFeatures, match="a window has 2 to 256 tokens"):
            perplexity(loaded, LONG, length=length, windows=windows)
    with pytest.raises(BadModel, match="without its language-model head"):
        perplexity(load_model(writer_folder()), LONG)
