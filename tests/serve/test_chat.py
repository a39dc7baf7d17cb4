"""Tests serve/chat.py against scripted upstreams: what is sent on, what is released, and how it ends."""

import asyncio
import json
from types import SimpleNamespace

import httpx2
import numpy as np
import openai
import pytest

from splinelens.apps.group import DetectorGroup
from splinelens.detect.shipped import find_artifact
from splinelens.report.scores import TextScore
from splinelens.serve.chat import Upstream

KIND, RUDE = "good to you all 3.", "you rude and the lot 7."
HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "m"}


class Body(httpx2.AsyncByteStream):
    """Sends parts; waits forever at None; raises an exception; remembers that it was closed."""

    def __init__(self, parts):
        self.parts, self.reached, self.closed = parts, asyncio.Event(), asyncio.Event()

    async def __aiter__(self):
        for part in self.parts:
            if part is None:
                self.reached.set()
                await asyncio.Event().wait()
            if isinstance(part, Exception):
                raise part
            yield part

    async def aclose(self):
        self.closed.set()


class Words(DetectorGroup):
    """A detector that fires on a word, and has no verdict on long texts."""

    def score(self, texts, **options):
        rows = []
        for text in texts:
            verdict = "toxic" if "rude" in text else "undetermined" if len(text) > 800 else "clean"
            score = None if verdict == "undetermined" else float(verdict == "toxic")
            rows.append({"toxicity-fast": TextScore(0, score, verdict, len(text.split()), cut=False)})
        return rows


@pytest.fixture
def group():
    """In place of the tiny detectors of conftest: one that judges by words."""
    reader = SimpleNamespace(loaded=SimpleNamespace(name="none"), max_tokens=512)
    return Words({"toxicity-fast": find_artifact("toxicity-fast")}, [(reader, {})])


@pytest.fixture
def proxied(served):
    """Starts a server in front of an upstream that sends these parts, and returns its client."""

    def start(*parts, status=200, kind="text/event-stream", headers=None, keys=(), **options):
        async def handle(request):
            body = Body([part.encode() if isinstance(part, str) else part for part in client.parts])
            client.asked += [request, body]
            return httpx2.Response(status, headers={"content-type": kind, **(headers or {})}, stream=body)

        upstream = Upstream("http://up/v1/", transport=httpx2.MockTransport(handle), **options)
        client = served(upstream=upstream, keys=keys)
        client.parts, client.asked = parts, []
        return client

    return start


def event(*choices, **fields):
    """An event with choices, each a delta or (index, delta, finish)."""
    triples = [(0, each, None) if isinstance(each, dict) else each for each in choices]
    made = [{"index": i, "delta": delta, "finish_reason": finish} for i, delta, finish in triples]
    return f"data: {json.dumps({**HEAD, 'choices': made, **fields})}\n\n"


def reply(text, finish="stop"):
    """The events of a text in pieces of five characters."""
    pieces = [event({"content": text[start : start + 5]}) for start in range(0, len(text), 5)]
    return [event({"role": "assistant", "content": ""}), *pieces, event((0, {}, finish)), "data: [DONE]\n\n"]


def whole(content=KIND, finish="stop", **fields):
    """A complete answer."""
    message = {"role": "assistant", "content": content, **fields}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": {"content": []}}
    return json.dumps(
        {**HEAD, "object": "chat.completion", "choices": [choice], "usage": {"total_tokens": 9}}
    )


def post(client, prompt=KIND, **fields):
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}], **fields}
    return client.post("/v1/chat/completions", json=body)


def events_of(answer):
    """The events of a stream; all but the last are JSON, the last one says that it is done."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, done, rest = answer.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(each.removeprefix("data: ")) for each in events]


def released(events, index=0, name="content"):
    """The text of a choice, its finish, and the code of the error that the stream ended with."""
    choices = [each for event in events for each in event.get("choices", ()) if each["index"] == index]
    text = "".join(choice["delta"].get(name) or "" for choice in choices)
    errors = [event["error"].get("code") for event in events if "error" in event]
    return text, choices[-1]["finish_reason"] if choices else None, errors[0] if errors else None


def test_the_client_of_openai_gets_what_is_cleared(proxied):
    usage = event(usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
    *text, done = reply(f"{KIND} {RUDE} {KIND}")
    client = proxied(*text, usage, done, keys=["ours"], key="theirs")
    library = openai.OpenAI(base_url="http://testserver/v1", api_key="ours", http_client=client)
    messages = [{"role": "user", "content": KIND}]
    options = {"stream_options": {"include_usage": True}, "extra_body": {"unknown": 1}}
    chunks = list(library.chat.completions.create(model="m", messages=messages, stream=True, **options))
    assert {chunk.id for chunk in chunks} == {"chatcmpl-1"}
    assert chunks[0].choices[0].delta.role == "assistant"
    parts = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(part.delta.content or "" for part in parts) == f"{KIND} "
    assert parts[-1].finish_reason == "content_filter"
    assert parts[-1].model_extra["splinelens"] == {"part": "reply", "verdict": "flagged"}
    assert chunks[-1].usage.total_tokens == 3
    request = client.asked[0]
    assert str(request.url) == "http://up/v1/chat/completions"
    assert json.loads(request.content)["unknown"] == 1
    assert request.headers["authorization"] == "Bearer theirs"
    assert "ours" not in str(request.headers.raw)


@pytest.mark.parametrize(("content", "finish"), [(KIND, "stop"), (f"{KIND} {RUDE}", "content_filter")])
def test_a_complete_reply_is_released_whole_or_not_at_all(proxied, content, finish):
    client = proxied(whole(content), kind="text/html", replacement="-")
    library = openai.OpenAI(base_url="http://testserver/v1", api_key="x", http_client=client)
    answer = library.chat.completions.create(model="m", messages=[{"role": "user", "content": KIND}])
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == (content if finish == "stop" else "-", finish)
    assert (choice.logprobs, answer.usage.total_tokens) == (None, 9)
    assert f'chat_total{{part="reply",verdict="{"clean" if finish == "stop" else "flagged"}"}} 1.0' in (
        client.get("/metrics").text
    )


def test_a_prompt_that_is_not_cleared_never_reaches_the_upstream(proxied):
    client = proxied(replacement="[removed]")
    for prompt in (RUDE, "the " * 300, [{"type": "text", "text": KIND}, {"type": "text", "text": RUDE}]):
        (choice,) = post(client, prompt).json()["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("[removed]", "content_filter")
        events = events_of(post(client, prompt, stream=True, stream_options={"include_usage": True}, n=2))
        assert released(events, 1) == ("[removed]", "content_filter", None)
        assert events[-1]["usage"]["total_tokens"] == 0
    image = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    assert post(client, image).json()["error"]["code"] == "unsupported_input"
    assert client.asked == []


def test_the_messages_since_the_last_reply_are_judged(proxied):
    def roles(*turns):
        return [{"role": role, "content": content} for role, content in turns]

    client = proxied(whole())
    user, answer = ("user", KIND), ("assistant", RUDE)
    for messages, passes in (
        (roles(("user", RUDE), answer, user), True),
        (roles(("system", RUDE), user), True),
        (roles(("user", RUDE), user), False),
        (roles(("user", RUDE), answer), False),
        (roles(("user", " "), answer), True),
    ):
        finish = post(client, messages=messages).json()["choices"][0]["finish_reason"]
        assert finish == ("stop" if passes else "content_filter"), messages
    strict = proxied(whole(), roles=("user", "tool"))
    messages = roles(user, ("assistant", ""), ("tool", RUDE))
    assert post(strict, messages=messages).json()["choices"][0]["finish_reason"] == "content_filter"


@pytest.mark.parametrize("release", ["sentence", "all"])
def test_what_is_released_does_not_depend_on_the_chunks(proxied, release):
    rng, client = np.random.default_rng(3), proxied(release=release)
    for text, cleared in (
        (f"{KIND} {RUDE} {KIND}", f"{KIND} " if release == "sentence" else ""),
        (f"{KIND}\n\u00fc\u4f60\u597d\U0001f600 the sea. {KIND}", None),
    ):
        content = "".join(reply(text)).encode("utf-8").replace(b"\\u00fc", "\u00fc".encode())
        for _ in range(5):
            cuts = np.sort(rng.choice(np.arange(1, len(content)), 40, replace=False)).tolist()
            client.parts = [content[begin:end] for begin, end in zip([0, *cuts], [*cuts, None], strict=True)]
            expected = (cleared, "content_filter", None) if cleared is not None else (text, "stop", None)
            assert released(events_of(post(client, stream=True))) == expected


def test_characters_are_held_until_their_sentence_is_cleared(proxied):
    for release, before in (("sentence", f"{KIND} "), ("all", ""), ("audit", f"{KIND} the se")):
        events = events_of(post(proxied(*reply(f"{KIND} the sea."), release=release), stream=True))
        texts = [each["delta"].get("content") or "" for event in events for each in event["choices"]]
        assert "".join(texts).rstrip("a.") == f"{KIND} the se", release
        if release != "audit":
            assert next(filter(None, texts)) == (before or f"{KIND} the sea.")
        else:
            assert len([text for text in texts if text]) == 6


def test_no_field_of_a_reply_goes_unjudged(proxied):
    arguments = json.dumps({"to": RUDE}).replace("r", "\\u0072")
    call = {"id": "call_1", "type": "function", "function": {"name": "send", "arguments": arguments}}
    tools = [{"type": "function", "function": {"name": "send"}}]
    for field, value in (
        ("refusal", RUDE),
        ("reasoning_content", RUDE),
        ("tool_calls", [call]),
        ("tool_calls", [{**call, "function": {"name": "another", "arguments": "{}"}}]),
        ("tool_calls", [{**call, "function": {"name": "send", "arguments": '{"to": "r\\u0075de'}}]),
    ):
        answer = post(proxied(whole(None, **{field: value})), tools=tools).json()["choices"][0]
        assert (answer["finish_reason"], answer["message"]["content"]) == ("content_filter", ""), field
        events = [
            event({"role": "assistant"}),
            event({field: value}),
            event((0, {}, "stop")),
            "data: [DONE]\n\n",
        ]
        guarded = events_of(post(proxied(*events), stream=True, tools=tools))
        assert released(guarded, name=field)[:2] == ("", "content_filter")
    hidden = event({"audio": {"transcript": "rude"}, "content": KIND}, service_tier="x", other="rude")
    hidden = hidden.replace('"finish', '"logprobs": {"content": [{"token": "rude"}]}, "finish')
    answer = post(proxied(hidden, event((0, {}, "stop")), "data: [DONE]\n\n"), stream=True)
    assert released(events_of(answer))[0] == KIND
    assert "rude" not in answer.text


def test_calls_of_tools_are_held_until_they_are_complete_and_cleared(proxied):
    def piece(**function):
        return event({"tool_calls": [{"index": 0, "function": function}]})

    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "send", "arguments": ""}}
    parts = [piece(arguments=part) for part in ('{"to": ', '"the sea"}')]
    end = event((0, {}, "tool_calls"))
    tools = [{"type": "function", "function": {"name": "send"}}]
    client = proxied(event({"tool_calls": [first]}), *parts, end, "data: [DONE]\n\n")
    (only,) = events_of(post(client, stream=True, tools=tools))
    (choice,) = only["choices"]
    (call,) = choice["delta"]["tool_calls"]
    assert call["function"] == {"name": "send", "arguments": '{"to": "the sea"}'}
    assert choice["finish_reason"] == "tool_calls"


def test_choices_are_guarded_one_by_one(proxied):
    pieces = [(0, {"content": f"{KIND} "}, None), (1, {"content": f"{RUDE} "}, None)]
    more = [(index, {"content": KIND}, None) for index in (0, 1)]
    ends = [event((index, {}, "stop")) for index in (1, 0)]
    client = proxied(event(*pieces), event(*more), *ends, "data: [DONE]\n\n")
    events = events_of(post(client, stream=True, n=2))
    assert released(events) == (f"{KIND} {KIND}", "stop", None)
    assert released(events, 1) == ("", "content_filter", None)
    unasked = events_of(post(client, stream=True))
    assert released(unasked)[2] == "upstream_error"


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"stream": 1}, "stream: Input should be a valid boolean"),
        ({"stream": "true"}, "stream: Input should be a valid boolean"),
        ({"Stream": True}, "a key differs"),
        ({"\u017ftream": True}, "a key differs"),
        ({"messages": [{"role": "user", "content": KIND, "Content": RUDE}]}, "a key differs"),
        ({"messages": [{"role": "User", "content": RUDE}]}, "messages: Input should be"),
        ({"messages": []}, "messages"),
        ({"n": True}, "n: Input should be a valid integer"),
        ({"n": 1000}, "n: Input should be less"),
    ],
)
def test_a_request_that_may_be_read_in_two_ways_is_refused(proxied, fields, match):
    client = proxied(*reply(KIND))
    answer = post(client, **fields)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert match in answer.json()["error"]["message"]
    assert client.asked == []


BROKEN = {
    "an early close": ([event({"content": f"{KIND} the sea"})], f"{KIND} the sea", None),
    "an early close after a rude half": (
        [event({"content": f"{KIND} you rude"})],
        f"{KIND} ",
        "content_filter",
    ),
    "half an event": ([event({"content": f"{KIND} the"}), 'data: {"choices": ['], f"{KIND} the", None),
    "no JSON": ([event({"content": KIND}), "data: {oops}\n\n"], KIND, None),
    "another shape": ([event({"content": KIND}), 'data: {"choices": 4}\n\n'], KIND, None),
    "a list for a text": ([event({"content": KIND}), event({"content": ["rude"]})], KIND, None),
    "a lost connection": ([event({"content": KIND}), httpx2.ReadError("secret")], KIND, None),
    "no end": ([event({"content": KIND}), None], KIND, None),
    "an endless line": ([event({"content": KIND}), "data: " + "x" * 2**21], KIND, None),
    "no events at all": ([whole()], "", None),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_stream_that_breaks_ends_in_an_error_and_holds(proxied, case):
    parts, text, finish = BROKEN[case]
    answer = post(proxied(*parts, total_s=0.2), stream=True)
    assert released(events_of(answer)) == (text, finish, "upstream_error")
    assert "secret" not in answer.text


def test_what_cannot_be_judged_is_withheld_with_an_error(proxied):
    client = proxied(event({"content": f"{KIND} {KIND}"}), "data: {oops}\n\n")
    original, client.service.max_waiting = client.service.max_waiting, 1
    events = events_of(post(client, stream=True))
    assert released(events) == (f"{KIND} ", None, "rate_limit_exceeded")
    client.service.max_waiting = original
    assert released(events_of(post(client, stream=True)))[0] == f"{KIND} {KIND}"


def test_a_stream_that_ends_without_saying_so_is_complete(proxied):
    *events, end, _ = reply(KIND)
    assert released(events_of(post(proxied(*events, end), stream=True))) == (KIND, "stop", None)
    answer = post(proxied(*events, "data: [DONE]\n\n"), stream=True)
    assert released(events_of(answer)) == (KIND, "stop", None)
    failed = proxied(*events, 'data: {"error": {"message": "full", "code": "theirs"}}\n\n')
    assert released(events_of(post(failed, stream=True))) == (KIND, None, "upstream_error")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "body", "expected", "message"),
    [
        (429, '{"error": {"message": "slow down"}}', 429, "slow down"),
        (500, "<html>secret</html>", 500, "the upstream answered with status 500"),
        (401, '{"error": {"message": "bad key secret"}}', 502, "refused the key of this server"),
        (302, "secret", 502, "status 302"),
        (200, "secret", 502, "is no JSON object"),
        (200, '{"choices": []}', 502, "without a choice"),
        (200, '{"error": "secret"}', 502, "failed while it answered"),
    ],
)
def test_errors_of_the_upstream_are_passed_on_in_the_format_of_openai(
    proxied, status, body, expected, message, stream
):
    if stream and status == 200:
        return
    answer = post(proxied(body, status=status, headers={"Retry-After": "3"}), stream=stream)
    assert answer.status_code == expected
    assert message in answer.json()["error"]["message"]
    assert answer.headers.get("retry-after") == ("3" if expected < 502 else None)
    assert ("secret" in answer.text) == (message == "secret")


def test_an_upstream_that_is_not_there_or_never_answers_is_an_error(proxied, served):
    assert post(proxied(None, total_s=0.05)).status_code == 504

    async def refuse(request):
        raise httpx2.ConnectError("secret")

    answer = post(served(upstream=Upstream("http://up/v1", transport=httpx2.MockTransport(refuse))))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_error")
    assert "secret" not in answer.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_cancels_the_request_to_the_upstream(proxied, stream):
    client = proxied(event({"content": f"{KIND} {KIND}"}), None)
    message = {"role": "user", "content": KIND}
    body = json.dumps({"messages": [message], "stream": stream}).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "client": None,
        "server": None,
    }

    async def leave():
        received = [{"type": "http.request", "body": body}]

        async def receive():
            if received:
                return received.pop()
            while not client.asked:
                await asyncio.sleep(0)
            await client.asked[1].reached.wait()
            return {"type": "http.disconnect"}

        sent = []

        async def send(message):
            sent.append(message)

        await client.app(scope, receive, send)
        await asyncio.wait_for(client.asked[1].closed.wait(), 5)
        return sent

    sent = client.portal.call(leave)
    assert len(sent) == (2 if stream else 0)


def test_an_audit_sends_all_as_it_came_and_reports(proxied):
    client = proxied(*reply(f"{KIND} {RUDE}"), release="audit")
    events = events_of(post(client, RUDE, stream=True))
    assert released(events) == (f"{KIND} {RUDE}", "stop", None)
    assert events[-1]["choices"][0]["splinelens"] == {"part": "reply", "verdict": "flagged"}
    answer = post(proxied(whole(RUDE, audio="kept"), release="audit"), stream=False).json()
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": RUDE, "audio": "kept"}
    assert answer["choices"][0]["splinelens"]["verdict"] == "flagged"
    assert 'splinelens_chat_total{part="prompt",verdict="flagged"} 1.0' in client.get("/metrics").text
