"""Tests generate/summaries.py: one sentence a function, from a local model or a server."""

import json
import sys

import httpx2
import pytest

from splinelens.errors import BadModel, MissingPackage
from splinelens.generate.summaries import ChatSummarizer, LocalSummarizer, first_sentence


def test_a_local_model_writes_one_line_for_each_function(writer_folder):
    summaries = LocalSummarizer(writer_folder()).summarize(["def f(): pass", "def g(): pass"])
    assert len(summaries) == 2
    assert all("\n" not in summary for summary in summaries)


def test_a_server_is_asked_and_the_first_sentence_is_kept():
    asked = []

    def handle(request):
        asked.append((str(request.url), request.headers["authorization"], json.loads(request.content)))
        answer = {"choices": [{"message": {"content": "It adds two numbers. Nothing else."}}]}
        return httpx2.Response(200, json=answer)

    chat = ChatSummarizer("http://host/v1/", "m", key="theirs", transport=httpx2.MockTransport(handle))
    assert chat.summarize(["def f(a, b): return a + b"]) == ["It adds two numbers."]
    url, key, body = asked[0]
    assert (url, key, body["model"]) == ("http://host/v1/chat/completions", "Bearer theirs", "m")
    assert body["messages"][0]["content"].endswith("def f(a, b): return a + b")


@pytest.mark.parametrize(
    "answer", [httpx2.Response(500), httpx2.Response(200, json={"choices": []}), httpx2.Response(200)]
)
def test_a_server_without_an_answer_stops_the_index(answer):
    chat = ChatSummarizer("http://host/v1", "m", transport=httpx2.MockTransport(lambda request: answer))
    with pytest.raises(BadModel, match="m at http://host/v1 gave no summary"):
        chat.summarize(["def f(): pass"])


def test_a_server_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(MissingPackage, match="httpx2"):
        ChatSummarizer("http://host/v1", "m")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [("Sorts 3.5 items. Fast.", "Sorts 3.5 items."), ("no end", "no end"), ("", ""), ("A?\nB", "A?")],
)
def test_the_first_sentence_of_an_answer(answer, sentence):
    assert first_sentence(answer) == sentence
