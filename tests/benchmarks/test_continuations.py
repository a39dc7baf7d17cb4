"""Tests ``benchmarks/continuations.py``: tokens are counted, kept searches are the same, choices by hand."""

import zlib
from functools import partial
from types import SimpleNamespace

import continuations
import pytest
from lockstep import together

from splinelens.generate.critics import Check, Finding
from splinelens.generate.sample import Sampling, Writer
from splinelens.generate.search import SearchBudget, search
from splinelens.generate.writer_steps import WriterSteps
from splinelens.models import load_model


@pytest.fixture
def writer(writer_folder):
    return Writer(load_model(writer_folder("llama"), head=True, device="cpu"))


@pytest.fixture
def small(monkeypatch, writer):
    """Short texts, and a critic with scores by checksum instead of a detector."""
    monkeypatch.setattr(continuations, "TOKENS", 30)
    monkeypatch.setattr(continuations, "SAMPLED", Sampling(max_tokens=10, temperature=2.0))
    monkeypatch.setattr(continuations, "read_writer", lambda: writer)

    def critic(threshold):
        def finding(text):
            score = zlib.crc32(text.encode()) % 1000 / 1000
            return Finding("pass" if score < threshold else "fail", 1 - score)

        return Check(finding, name="checksum")

    monkeypatch.setattr(continuations.Detector, "load", lambda name: SimpleNamespace(critic=critic))


def test_there_are_100_different_openings():
    assert len(set(continuations.read_openings())) == len(continuations.read_openings()) == 100


def test_openings_of_equal_length_are_written_in_batches_that_change_nothing(writer):
    openings = ["the path", "an old mill by the sea", "the hill", "the hill"]
    (alone,) = continuations.write_all(writer, openings[:1], Sampling(max_tokens=6), 1)
    batched = continuations.write_all(writer, openings, Sampling(max_tokens=6), 2)
    assert [row["text"] for row in batched[0]] == [alone[0]["text"]] * 2
    (reply,) = writer.write("the path", Sampling(max_tokens=6))
    assert alone == [{"text": reply.text, "tokens": len(reply.ids) + (reply.ended == "stop")}]
    assert all(1 <= row["tokens"] <= 6 for rows in batched for row in rows)


def test_searches_in_lockstep_are_those_of_each_alone(writer):
    critic = Check(lambda text: zlib.crc32(text.encode()) % 5 > 0, name="checksum")
    openings = ["the path", "an old mill by the sea", "the hill and the door", "a tree"]
    sampling = Sampling(max_tokens=9, temperature=2.0)

    def run(steps, opening, seed):
        return search(steps, [critic], opening, n=9, budget=SearchBudget(tokens=50), seed=seed)

    calls = [partial(run, opening=opening, seed=seed) for seed, opening in enumerate(openings)]
    for call, result in zip(calls, together(writer, sampling, calls), strict=True):
        alone = call(WriterSteps(writer, sampling=sampling))
        assert result == alone
        assert 0 < result.tokens <= 50


def test_a_search_that_raises_ends_the_others_too(writer):
    def fails(steps):
        steps.continuations("the path", (), 2, 20, 0)
        raise ZeroDivisionError

    def goes_on(steps):
        for seed in range(3):
            steps.continuations("the path", (), 2, 20, seed)

    with pytest.raises(ZeroDivisionError):
        together(writer, Sampling(max_tokens=5), [goes_on, fails])


def test_a_search_that_saw_no_score_above_a_threshold_is_the_search_with_it(small, tmp_path):
    openings = [f"the {word}" for word in ("path", "hill", "mill", "sea", "door", "tree")]
    kept, fresh = (continuations.Kept(tmp_path / f"{name}.jsonl") for name in ("kept", "fresh"))
    continuations.searches(openings, kept, 2.0)
    continuations.searches(openings, kept, 0.9, [2.0])
    continuations.searches(openings, fresh, 0.9)
    same = [kept["search", opening, 0.9] == kept["search", opening, 2.0] for opening in openings]
    assert 0 < sum(same) < len(openings)
    assert [kept["search", opening, 0.9] for opening in openings] == [
        fresh["search", opening, 0.9] for opening in openings
    ]
    assert all(row["tokens"] <= 30 for row in kept.values())
    assert continuations.Kept(tmp_path / "kept.jsonl") == kept


def test_choices_by_hand(tmp_path):
    kept = continuations.Kept(tmp_path / "kept.jsonl")
    texts = {"a": 0.5, "b": 0.2, "c": 0.1, " ": 0.0}
    samples = [{"text": text, "tokens": 3, "critic": score} for text, score in texts.items()]
    kept.add(("samples",), {"greedy": [samples[0]], "samples": [samples]})
    for threshold, found in ((0.3, "b"), (0.05, None)):
        kept.add(("search", "The", threshold), {"text": found, "tokens": 12})
    for text, score in texts.items():
        kept.add(("The", text), {"critic": score, "judge": score, "surprise": 1.0})
    rows = continuations.ways(["The"], kept, 0.3)
    assert {way: row["text"] for way, (row,) in rows.items()} == {
        "greedy": "a",
        "one sample": "a",
        "best of n": "c",
        "search": "b",
    }
    assert (rows["best of n"][0]["tokens"], rows["best of n"][0]["passing"]) == (12, 2)
    none = continuations.ways(["The"], kept, 0.05)
    assert none["best of n"][0]["text"] is none["search"][0]["text"] is None
    found = continuations.summary(none["search"], 0.05, 0.4, 0)
    assert (found["texts"], found["tokens written"]) == (0, 12.0)
    over = continuations.summary(rows["greedy"], 0.3, 0.4, 0)
    assert (over["critic over its threshold"], over["judge over its threshold"]) == (1, 1)
    differences = continuations.differences(rows, 0)
    assert differences["search less best of n"]["critic"] == [pytest.approx(0.1)]
