"""Tests generate/judge.py: yes, no, answers that are neither, and connections that fail."""

import json

import httpx2

from splinelens.generate.judge import ChatJudge


def test_a_model_is_asked_text_by_text_until_the_connection_fails():
    asked = []

    def handle(request):
        body = json.loads(request.content)
        asked.append((str(request.url), request.headers["authorization"], body["messages"][1]["content"]))
        if len(asked) == 5:
            raise httpx2.ConnectError("secret")
        content = ("Yes.", " no", "maybe", None)[len(asked) - 1]
        return httpx2.Response(200, json={"choices": [{"message": {"content": content}}]} if content else [])

    judge = ChatJudge("http://judge/v1/", "m", key="theirs", transport=httpx2.MockTransport(handle))
    assert judge(list("abcdef")) == [1.0, 0.0, None, None, None, None]
    assert asked[0] == ("http://judge/v1/chat/completions", "Bearer theirs", "a")
    assert [text for *_, text in asked] == list("abcde")
