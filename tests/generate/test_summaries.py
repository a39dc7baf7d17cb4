"""Tests generate/summaries.py: one sentence a function, from a local model or a server."""

import json
import sys

import httpx2
import pytest

from splinelens.errors import BadModel, MissingPackage
from splinelens.generate.sample import Sampling, Writer
from splinelens.generate.summaries import (
    MAX_CHARACTERS,
    chat_writer,
    first_sentence,
    local_writer,
    summarize,
)


def test_the_first_sentence_of_each_answer_is_taken():
    prompts = []

    def write(prompt):
        prompts.append(prompt)
        return f"Answer {len(prompts)}. More."

    assert summarize(write, ["def f(): pass", "x" * (MAX_CHARACTERS + 1)]) == ["Answer 1.", "Answer 2."]
    assert prompts[0].endswith("\n\ndef f(): pass")
    assert prompts[0].removesuffix("def f(): pass") + "x" * MAX_CHARACTERS == prompts[1]


def test_a_local_model_answers_as_its_writer_does(writer_folder):
    prompt = [{"role": "user", "content": "def f(): pass"}]
    (reply,) = Writer(writer_folder()).write(prompt, Sampling(max_tokens=60))
    assert reply.text
    assert local_writer(writer_folder())("def f(): pass") == reply.text


def test_a_server_gets_the_prompt_and_its_answer_is_returned():
    requests = []

    def handle(request):
        requests.append((str(request.url), request.headers["authorization"], json.loads(request.content)))
        answer = {"choices": [{"message": {"content": "It adds two numbers."}}]}
        return httpx2.Response(200, json=answer)

    write = chat_writer("http://host/v1/", "m", key="theirs", transport=httpx2.MockTransport(handle))
    assert write("def f(a, b): return a + b") == "It adds two numbers."
    url, key, body = requests[0]
    assert (url, key, body["model"]) == ("http://host/v1/chat/completions", "Bearer theirs", "m")
    assert body["messages"] == [{"role": "user", "content": "def f(a, b): return a + b"}]


@pytest.mark.parametrize(
    "answer", [httpx2.Response(500), httpx2.Response(200, json={"choices": []}), httpx2.Response(200)]
)
def test_a_server_without_an_answer_stops_the_index(answer):
    write = chat_writer("http://host/v1", "m", transport=httpx2.MockTransport(lambda request: answer))
    with pytest.raises(BadModel, match="m at http://host/v1 gave no answer"):
        write("def f(): pass")


def test_a_server_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(MissingPackage, match="httpx2"):
        chat_writer("http://host/v1", "m")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [("Sorts 3.5 items. Fast.", "Sorts 3.5 items."), ("no end", "no end"), ("", ""), ("A?\nB", "A?")],
)
def test_the_first_sentence_of_an_answer(answer, sentence):
    assert first_sentence(answer) == sentence
