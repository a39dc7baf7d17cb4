"""Tests ``serve/requests.py`` and ``app.py``: refusals in the format of the caller, keys, health, metrics."""

import asyncio
import json
import logging

import pytest

from splinelens.serve.app import error_response
from splinelens.serve.requests import MAX_BODY_BYTES, RequestGuard
from splinelens.serve.service import ScoringService

SECRET = "zyxwv"  # part of every bad body that has a text: it may be in no answer's error and in no log
ROUTES = {
    "/v1/moderations": ("input", lambda body: body["error"]["message"]),
    "/v1alpha1/comments:analyze": (
        "comment",
        lambda body: body["error"]["message"] and body["error"]["status"],
    ),
    "/classify": ("input", lambda body: body["error"]["message"]),
    "/v1/models/toxicity:predict": ("instances", lambda body: body["error"]),
    "/api/v1/text/contents": ("contents", lambda body: body["message"]),
    "/beta/litellm_basic_guardrail_api": ("texts", lambda body: body["error"]["message"]),
    "/v1/score": ("texts", lambda body: body["error"]["message"]),
    "/v1/geometry": ("text", lambda body: body["error"]["message"]),
}


def bad_bodies(field):
    """Bodies that no route takes."""
    yield from (
        b"",
        b" ",
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"a"',
        b"true",
        b"{}x",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
    )
    yield json.dumps({field: SECRET}).encode("utf-16")
    for value in ("\ud800", f"{SECRET}\udfff", f"{SECRET}\0", "\ud83d\ud83d"):
        yield json.dumps({field: value}).encode()
        yield json.dumps({field: [value]}).encode()
        yield json.dumps({field: {value: 1}}).encode()
    for word in ("NaN", "Infinity", "-Infinity", "1" * 5000, "01", "'a'", "undefined", "{", "[", '"', "tru"):
        yield f'{{"{field}": {word}}}'.encode()
    yield f'{{"{field}": "a", "{field}": "{SECRET}"}}'.encode()
    yield b"[" * 100_000
    yield b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    yield f'{{"{field}": {"[" * 40}{"]" * 40}}}'.encode()
    yield json.dumps({field: "\n" + SECRET}).replace("\\n", "\n").encode()
    yield json.dumps({field: [1] * 20_000}).encode()
    for value in (1, 1.5, True, {"a": SECRET}, [1], [{"type": SECRET}], [[SECRET]], [None]):
        yield json.dumps({field: value}).encode()


def test_bad_bodies_are_refused_in_the_format_of_the_caller_without_a_text(client, caplog):
    caplog.set_level(logging.INFO)
    sent = 0
    for path, (field, message_of) in ROUTES.items():
        for body in bad_bodies(field):
            answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
            sent += 1
            assert answer.status_code in (400, 413), (path, body[:80], answer.text)
            assert message_of(answer.json()), (path, body[:80])
            assert SECRET not in answer.text
            assert "Traceback" not in answer.text
    assert sent >= 200
    assert len(caplog.records) >= sent
    assert not [record for record in caplog.records if SECRET in str(vars(record))]


@pytest.mark.parametrize("number", ['"NaN"', '"0.5"', "1e999", "5", "-1", "true"])
def test_a_threshold_is_a_number_from_0_to_1(client, number):
    attribute = f'{{"TOXICITY": {{"scoreThreshold": {number}}}}}'
    asked = f'{{"comment": {{"text": "a"}}, "requestedAttributes": {attribute}}}'
    contents = f'{{"contents": ["a"], "detector_params": {{"threshold": {number}}}}}'
    rate = f'{{"input": "a", "fpr": {number}}}'
    for path, body in (
        ("/v1alpha1/comments:analyze", asked),
        ("/api/v1/text/contents", contents),
        ("/v1/moderations", rate),
    ):
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400, (path, answer.text)


def test_fields_of_google_may_be_null(client):
    asked = {"comment": {"text": "a"}, "requestedAttributes": {"TOXICITY": None}, "languages": None}
    assert client.post("/v1alpha1/comments:analyze", json=asked).status_code == 200
    secret = asked | {"requestedAttributes": {f"{SECRET} and more": {}}}
    assert SECRET not in client.post("/v1alpha1/comments:analyze", json=secret).text


def test_a_field_of_the_wrong_type_is_named(client):
    error = client.post("/v1/moderations", json={"input": [1]}).json()["error"]
    assert (error["param"], error["type"]) == ("input", "invalid_request_error")
    assert error["message"].startswith("input: Input should be a valid string")


@pytest.mark.parametrize(
    "text", ["<|im_start|>system\n<|endoftext|>", "a\u200bb", "\u202eabc", "🤬" * 20, "\ufeffa", "a" * 150]
)
def test_odd_texts_are_scored(client, text):
    (result,) = client.post("/v1/score", json={"text": text}).json()["results"]
    assert result["toxicity"]["verdict"] in ("toxic", "clean")


def test_what_is_too_large_or_too_many_is_refused(client):
    answer = client.post("/v1/moderations", json={"input": "a" * MAX_BODY_BYTES})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")
    parts = iter([b'{"input": "', b"a" * MAX_BODY_BYTES, b'"}'])
    answer = client.post("/v1/moderations", content=parts, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    for texts, match in (
        (["a"] * 33, "33 texts in one request"),
        ([], "0 texts"),
        (["a" * 60_000], "60,000 char"),
    ):
        answer = client.post("/v1/moderations", json={"input": texts})
        assert answer.status_code == 400
        assert match in answer.json()["error"]["message"]


def test_a_body_that_does_not_arrive_is_given_up(group):
    service = ScoringService(group)
    answers = []

    async def receive():
        await asyncio.sleep(60)

    async def send(message):
        answers.append(message)

    async def no_application(scope, receive, send):
        raise AssertionError("the request was let through")

    guard = RequestGuard(
        no_application, service=service, keys=(), error_response=error_response, route_of=str, body_s=0.01
    )
    headers = [(b"content-type", b"application/json"), (b"content-length", b"20")]
    scope = {"type": "http", "method": "POST", "path": "/v1/score", "headers": headers, "query_string": b""}
    asyncio.run(guard(scope, receive, send))
    start, body = answers
    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]
    assert json.loads(body["body"])["error"]["message"] == "the body did not arrive within 0.01 s"


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        {},
    ],
)
def test_only_plain_json_is_read(client, headers):
    answer = client.post("/v1/moderations", content=b'{"input": "a"}', headers=headers)
    assert answer.status_code == 415
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_unknown_paths_and_methods_are_refused_in_the_format_of_the_caller(client):
    assert client.get("/nothing").json()["error"]["message"] == "Not Found"
    answer = client.get("/v1alpha1/comments:analyze")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert client.get("/page/../app.py").status_code == 404


def test_scores_need_a_key_of_the_server_and_health_needs_none(served):
    client = served(keys=["first", "second"])
    body = {"input": "a"}
    for headers in ({}, {"Authorization": "Bearer third"}, {"Authorization": "first"}, {"X-API-Key": "firs"}):
        answer = client.post("/v1/moderations", json=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    for headers in (
        {"Authorization": "Bearer first"},
        {"Authorization": "bearer second"},
        {"X-API-Key": "first"},
        {"x-goog-api-key": "second"},
    ):
        assert client.post("/v1/moderations", json=body, headers=headers).status_code == 200
    assert client.post("/v1/moderations?key=first", json=body).status_code == 200
    asked = {"comment": {"text": "a"}, "requestedAttributes": {"TOXICITY": {}}}
    refused = client.post("/v1alpha1/comments:analyze?key=x", json=asked)
    assert (refused.status_code, refused.json()["error"]["status"]) == (401, "UNAUTHENTICATED")
    for path in ("/health/live", "/health/ready", "/metrics", "/info", "/", "/openapi.json"):
        assert client.get(path).status_code == 200


def test_a_full_server_answers_429_with_the_time_to_wait(served):
    client = served(max_waiting=0)
    answer = client.post("/v1/moderations", content=b"not read")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert answer.json()["error"] == {
        "message": "0 texts are waiting; try again in 1 s",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    answer = client.post("/v1alpha1/comments:analyze", content=b"")
    assert (answer.status_code, answer.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")


def test_a_stopping_server_is_alive_and_not_ready(client):
    assert client.get("/health/ready").json() == {"status": "ready", "reason": None}
    client.service.refuse_new()
    assert client.get("/health/live").status_code == 200
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["reason"]) == (503, "the server is stopping")
    answer = client.post("/v1/moderations", json={"input": "a"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")
    assert "retry-after" in answer.headers


def test_every_answer_has_a_request_id_that_is_logged(client, caplog):
    caplog.set_level(logging.INFO)
    answer = client.get("/nothing")
    assert answer.headers["x-request-id"].startswith("req_")
    assert caplog.records[-1].id == answer.headers["x-request-id"]
    assert client.get("/", headers={"X-Request-ID": "mine-7"}).headers["x-request-id"] == "mine-7"
    assert client.get("/", headers={"X-Request-ID": "a b"}).headers["x-request-id"] != "a b"


def test_metrics_count_requests_verdicts_and_batches_by_route(client):
    client.post("/v1/score", json={"texts": ["a", "", "b"]})
    client.post("/v1/score", content=b"{")
    client.get(f"/{SECRET}")
    text = client.get("/metrics").text
    for line in (
        'splinelens_requests_total{route="/v1/score",status="200"} 1.0',
        'splinelens_requests_total{route="/v1/score",status="415"} 1.0',
        'splinelens_requests_total{route="other",status="404"} 1.0',
        'splinelens_verdicts_total{detector="types",verdict="undetermined"} 1.0',
        "splinelens_batch_texts_sum 3.0",
        "splinelens_waiting_texts 0.0",
    ):
        assert line in text
    assert SECRET not in text


def test_the_page_loads_nothing_from_elsewhere(client):
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert "http" not in answer.text.replace("http-equiv", "")


def test_the_discovery_document_has_the_address_that_was_asked(client):
    answer = client.get("/$discovery/rest?version=v1alpha1", headers={"Host": "scores.example:81"})
    assert answer.json()["rootUrl"] == "http://scores.example:81/"
