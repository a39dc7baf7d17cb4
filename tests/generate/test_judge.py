"""Tests generate/judge.py: yes, no, answers that are neither, and connections that fail."""

import json
import sys

import httpx2
import pytest

from splinelens.errors import MissingPackage
from splinelens.generate.judge import ChatJudge


def test_a_model_is_asked_text_by_text_until_the_connection_fails():
    asked = []

    def handle(request):
        body = json.loads(request.content)
        asked.append((str(request.url), request.headers["authorization"], body["messages"][1]["content"]))
        if len(asked) == 5:
            raise httpx2.ConnectError("secret")
        content = ("**Yes.**", " no", "maybe", None)[len(asked) - 1]
        return httpx2.Response(200, json={"choices": [{"message": {"content": content}}]} if content else [])

    judge = ChatJudge("http://judge/v1/", "m", key="theirs", transport=httpx2.MockTransport(handle))
    assert judge(list("abcdef")) == [1.0, 0.0, None, None, None, None]
    assert asked[0] == ("http://judge/v1/chat/completions", "Bearer theirs", "a")
    assert [text for *_, text in asked] == list("abcde")


def test_words_that_only_begin_like_yes_or_no_decide_nothing():
    def handle(request):
        content = json.loads(request.content)["messages"][1]["content"]
        return httpx2.Response(200, json={"choices": [{"message": {"content": content}}]})

    judge = ChatJudge("http://judge/v1", "m", transport=httpx2.MockTransport(handle))
    assert judge(["Not sure.", "Nothing to say", "yesterday", "No, it answers."]) == [None, None, None, 0.0]


def test_a_judge_without_its_package_is_refused_before_anything_is_asked(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(MissingPackage, match="a judge needs httpx2"):
        ChatJudge("http://judge/v1", "m")
