"""Tests detection/representations.py: each turns the same rows into scores, and says what it costs."""

from dataclasses import replace

import numpy as np
import pytest
from detection.outside import Encoder
from detection.readings import Pass, Readings
from detection.representations import (
    Encoded,
    Length,
    Stored,
    WordCounts,
    head_latency,
    score_latency,
)
from sklearn.metrics import roc_auc_score


@pytest.mark.parametrize(
    ("reading", "names", "head", "layers"),
    [
        ("plain", ("spline7",), "forest", None),
        ("prompted", ("margin_max",), "logistic", (0, 1)),
        ("plain", ("hidden_mean",), "logistic", None),
    ],
)
def test_features_with_a_head_tell_rude_from_kind(readings, halves, reading, names, head, layers):
    stored = Stored(readings, reading, names, head, layers)
    train_rows, test = halves
    first, again = stored.scores(train_rows, [test, test])
    assert np.array_equal(first, again)
    assert roc_auc_score(test.labels, first) > 0.6
    cost = stored.cost()
    assert cost.latency_ms > 0
    sizes = {"forest": None, "logistic": 12 * (2 * 48 if layers else 3 * 32)}
    assert cost.size_bytes == sizes[head]


def test_word_counts_know_no_word_of_a_row_without_a_label(readings, halves):
    train_rows, test = halves
    hidden = replace(train_rows, labels=np.where(np.arange(40) < 20, train_rows.labels, -1))
    words, known = (WordCounts(readings, "word", (1, 2)) for _ in range(2))
    [few] = words.scores(hidden, [test])
    assert np.array_equal(few, known.scores(train_rows.take(np.arange(20)), [test])[0])
    assert words.cost().size_bytes == known.cost().size_bytes


def test_words_and_length_need_no_pass(readings, halves, tmp_path):
    train_rows, test = halves
    words = WordCounts(readings, "word", (1, 2))
    [scores] = words.scores(train_rows, [test])
    assert roc_auc_score(test.labels, scores) > 0.9
    assert words.cost().size_bytes > 0
    assert words.cost().latency_ms > 0
    length = Length(readings)
    [lengths] = length.scores(train_rows, [test])
    assert np.isfinite(lengths).all()
    assert length.cost().latency_ms > 0
    assert not (tmp_path / "cache").exists()


def test_only_cached_features_and_embeddings_count_in_a_quick_run(data, loaded, tmp_path):
    quick = Readings(data, tmp_path, loaded, cached_only=True)
    assert Stored(quick, "plain", ("spline7",)).lacking(["jig"]).startswith("jig/plain is not cached")
    encoded = Encoded(quick, Encoder(tmp_path / "encoder", install=False))
    assert encoded.lacking(["jig", "para"]) == "embeddings of jig, para are not cached"
    assert Length(quick).lacking(["jig"]) is None


def test_embeddings_get_a_head_like_all_others(data, loaded, tmp_path, halves):
    encoder = Encoder(tmp_path / "encoder")
    encoder.encode = lambda texts: np.array([[("silly" in text), len(text)] for text in texts], np.float32)
    encoder.size_bytes = lambda: 7
    encoder.folder.mkdir()
    encoded = Encoded(Readings(data, tmp_path, loaded), encoder)
    [scores] = encoded.scores(halves[0], [halves[1]])
    assert roc_auc_score(halves[1].labels, scores) > 0.6
    assert encoded.cost().size_bytes == 7
    assert encoder.cached("jig", data.sets["jig"])


def test_latency_runs_from_the_text_to_the_score():
    asked = []
    assert score_latency(asked.append, ["a", "b", "c"]) > 0
    assert asked == ["a", "a", "b", "c"]  # the first one warms
    assert score_latency(asked.append, []) is None
    rows, passes = [], [Pass(2.0, np.zeros((1, 3))), Pass(4.0, np.ones((1, 3))), Pass(3.0, np.ones((1, 3)))]
    assert 3000 < head_latency(passes, rows.append) < 3100  # the head's time is added
    assert len(rows) == 4
    assert head_latency([], rows.append) is None
