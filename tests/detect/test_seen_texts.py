"""Tests ``detect/seen_texts.py``: what is counted, warned of and refused."""

from dataclasses import replace

import pytest

from splinelens.detect.seen_texts import count_seen
from splinelens.errors import BadTexts
from splinelens.texts import Texts, text_hashes

KNOWN = tuple(f"the text {row}" for row in range(40))


def test_rows_of_a_training_that_is_not_recorded_whole_are_at_least_so_many(artifact, caplog):
    artifact = replace(artifact, name="tiny", training={"seen": {"texts": 40, "kept": 40}})
    whole = replace(artifact, seen=text_hashes(KNOWN))
    part = replace(whole, seen=whole.seen[:20], training={"seen": {"texts": 40, "kept": 20}})
    known, other = Texts((*KNOWN, *"abc"), {}, "list"), Texts(("of something else",), {}, "list")
    assert count_seen(part, known, refusal=None) == 20
    assert caplog.messages == [
        "at least 20 of 43 rows were in the training data of detector tiny, which records 20 of its 40 texts"
    ]
    assert count_seen(part, other, refusal="leave them out") == 0
    assert caplog.messages[1].startswith("at least 0 of 1 rows were")
    assert count_seen(whole, other, refusal="leave them out") == 0
    assert len(caplog.messages) == 2
    assert count_seen(replace(whole, seen=whole.seen[:0]), other, refusal="leave them out") is None
    assert (
        caplog.messages[2]
        == "detector tiny does not record its training texts; rows among them are not known"
    )
    with pytest.raises(BadTexts, match=r"list: 40 of 43 rows were .* of detector tiny, so leave them out"):
        count_seen(whole, known, refusal="so leave them out")
    with pytest.raises(BadTexts, match=r"list: at least 20 of 43 rows .* 20 of its 40 texts, leave them"):
        count_seen(part, known, refusal="leave them out")
    assert len(caplog.messages) == 3
