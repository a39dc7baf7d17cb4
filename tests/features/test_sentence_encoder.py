"""Tests features/sentence_encoder.py: batches, windows, and how tokens are pooled."""

import json
import shutil

import numpy as np
import pytest
import torch

from splinelens.errors import BadModel
from splinelens.features.sentence_encoder import SentenceEncoder


@pytest.fixture
def folder(writer_folder, tmp_path):
    return shutil.copytree(writer_folder(), tmp_path / "encoder")


def test_a_vector_is_the_mean_of_the_last_states_of_length_one(folder):
    encoder = SentenceEncoder(folder)
    ids = encoder.loaded.tokenizer("the sea", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        mean = encoder.loaded.model(ids).last_hidden_state[0].mean(0).numpy()
    np.testing.assert_allclose(encoder.encode(["the sea"])[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_a_text_has_the_same_vector_alone_and_in_a_batch(folder):
    encoder, texts = SentenceEncoder(folder), ["a", "the sea is in the town", "you"]
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode(texts), alone, atol=1e-5)


def test_nothing_of_a_long_text_is_cut(folder):
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 8}))
    encoder = SentenceEncoder(folder)
    assert encoder.window == 8
    start = "abcdefgh" * 3
    assert np.abs(encoder.encode([start + "xyz"]) - encoder.encode([start + "qrs"])).max() > 1e-3


def test_an_encoder_that_takes_the_first_token_takes_it(folder):
    (folder / "1_Pooling").mkdir()
    pooling = folder / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}))
    encoder = SentenceEncoder(folder)
    np.testing.assert_allclose(encoder.encode(["abc"]), encoder.encode(["axyz"]), atol=1e-5)  # a causal model


def test_another_pooling_is_refused(folder):
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(BadModel, match="pools its tokens by pooling_mode_max_tokens"):
        SentenceEncoder(folder)
