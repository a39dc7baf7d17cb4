"""Check every request before any work: key, room, size, strict JSON. A pure ASGI middleware.

All requests that score are POST and hold JSON. What is refused is answered in the wire format of its path.
Logs and metrics name the route, never a path, a body or the message of an exception: they may hold a text.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import math
import re
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Annotated, Any
from urllib.parse import parse_qsl
from uuid import uuid4

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from splinelens.errors import NotReady, Overloaded
from splinelens.serve.service import ScoringService, log_failure

MAX_BODY_BYTES = 2 * 2**20
MAX_DEPTH = 32
MAX_VALUES = 10_000
"""Strings, numbers, objects and lists of a body."""

Share = Annotated[float, Field(strict=True, ge=0, le=1)]
"""A number in a body that is compared with scores: no string, such as ``"NaN"``."""

Strings = Annotated[list[str], Field(fail_fast=True)]
"""Texts in a body; the first that is none ends the check, since an error for each would take seconds."""

_REQUEST_ID = re.compile(rb"[\w.-]{1,64}", re.ASCII)
_KEY_HEADERS = (b"x-api-key", b"x-goog-api-key")  # of LiteLLM and of Google; OpenAI has a bearer token
_log = logging.getLogger("splinelens.serve")

ErrorResponse = Callable[[str, "Refused"], Response]
"""The answer to a path whose request was refused, in the path's wire format."""


class Refused(HTTPException):
    """A request that is not answered with scores.

    Attributes:
        code: A word for programs.
        param: The field of the body that is wrong.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(status, message, headers)
        self.code, self.param = code, param


def busy(error: Overloaded | NotReady, service: ScoringService) -> Refused:
    """The refusal of a request that may be sent again: 429 or 503, with the time to wait."""
    status, code = (
        (429, "rate_limit_exceeded") if isinstance(error, Overloaded) else (503, "service_unavailable")
    )
    return Refused(status, str(error), code=code, headers={"Retry-After": str(service.retry_after_s)})


class RequestGuard:
    """The middleware.

    Args:
        app: What answers the requests that pass.
        service: Says whether there is room.
        keys: The keys that may score; none lets everybody.
        error_response: The answer to what is refused.
        route_of: The route of a path, for the log and the metrics; ``other`` if there is none.
        body_s: How long a body may take to arrive.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        service: ScoringService,
        keys: Sequence[str],
        error_response: ErrorResponse,
        route_of: Callable[[str], str],
        body_s: float = 10.0,
    ):
        self._app, self._service, self._error_response = app, service, error_response
        self._route_of, self._body_s = route_of, body_s
        self._keys = [_digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = perf_counter(), 0
        headers = dict(scope["headers"])
        request_id = headers.get(b"x-request-id", b"")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = f"req_{uuid4().hex}".encode()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        try:
            if scope["method"] == "POST":
                receive = await self._checked(scope, headers, receive)
            await self._app(scope, receive, send_with_id)
        except Refused as refused:
            await self._error_response(scope["path"], refused)(scope, receive, send_with_id)
        except ClientDisconnect:
            status = 499
        except Exception as error:  # a bug: the caller gets an answer, the log the place
            log_failure("request failed", error)
            if not status:
                failure = Refused(500, "the server failed; its log says where", code="internal_error")
                await self._error_response(scope["path"], failure)(scope, receive, send_with_id)
        finally:
            seconds = perf_counter() - started
            route = getattr(scope.get("route"), "path", None) or self._route_of(scope["path"])
            self._service.metrics.requests.labels(route, status).inc()
            self._service.metrics.request_seconds.labels(route).observe(seconds)
            fields = {"id": request_id.decode(), "method": scope["method"], "route": route, "status": status}
            _log.info("request", extra={**fields, "ms": round(1e3 * seconds, 2)})

    async def _checked(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        """Refuse a request, or return its body as ASGI receives it."""
        if self._keys and not self._has_key(headers, scope["query_string"]):
            raise Refused(
                401,
                "no valid API key: send one that the server was started with, as Authorization: Bearer KEY, "
                "X-API-Key: KEY or ?key=KEY",
                code="invalid_api_key",
                headers={"WWW-Authenticate": 'Bearer realm="splinelens"'},
            )
        try:
            self._service.require_room()
        except (NotReady, Overloaded) as error:
            raise busy(error, self._service) from error
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json" or headers.get(b"content-encoding", b"identity") != b"identity":
            raise Refused(415, "send JSON, with Content-Type: application/json and no Content-Encoding")
        try:
            async with asyncio.timeout(self._body_s):
                body = await _read(headers, receive)
        except TimeoutError as error:
            raise Refused(
                408, f"the body did not arrive within {self._body_s:g} s", headers={"Connection": "close"}
            ) from error
        check_json(body)
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return waiting.pop() if waiting else await receive()

        return again

    def _has_key(self, headers: dict[bytes, bytes], query: bytes) -> bool:
        """Whether one of our keys is in a header or, as Google has it, in the query."""
        scheme, _, bearer = headers.get(b"authorization", b"").partition(b" ")
        given = [bearer.strip()] if scheme.lower() == b"bearer" else []
        given += [headers[name] for name in _KEY_HEADERS if name in headers]
        given += [key.encode() for name, key in parse_qsl(query.decode("latin-1")) if name == "key"]
        # Every pair is compared in full, by digests of one length: the time says nothing about a key.
        equal = [hmac.compare_digest(_digest(key), known) for key in given for known in self._keys]
        return any(equal)


def check_json(body: bytes) -> None:
    """Refuse what is no strict JSON in UTF-8, or holds strings that no tokenizer should see.

    Raises:
        Refused: With status 400; the message says what is wrong, and holds nothing of the body.
    """
    try:
        value = json.loads(
            body.decode(), object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite
        )
    except UnicodeDecodeError as error:
        raise Refused(400, f"the body is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise Refused(400, f"the body is not JSON at character {error.pos}") from error
    except RecursionError as error:
        raise Refused(400, f"the body has more than {MAX_DEPTH} levels") from error
    except ValueError as error:  # an integer of thousands of digits
        raise Refused(400, "the body has a number that is too long") from error
    level, values = [value], 1
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []  # Any: JSON values
        for each in level:
            if isinstance(each, str):
                _check_string(each)
            elif isinstance(each, dict):
                inner += [*each, *each.values()]
            elif isinstance(each, list):
                inner += each
        if not inner:
            return
        level, values = inner, values + len(inner)
        if values > MAX_VALUES:
            raise Refused(400, f"the body has more than {MAX_VALUES:,} values")
    raise Refused(400, f"the body has more than {MAX_DEPTH} levels")


async def _read(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    """The body, within its limit."""
    too_large = Refused(413, f"the body has more than {MAX_BODY_BYTES:,} bytes", code="payload_too_large")
    if int(headers.get(b"content-length", b"0")) > MAX_BODY_BYTES:
        raise too_large
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise too_large
        more = message.get("more_body", False)
    return b"".join(parts)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:  # Any: JSON values
    value = dict(pairs)
    if len(value) < len(pairs):
        raise Refused(400, "the body has an object with a key twice")
    return value


def _finite(number: str) -> float:
    if math.isinf(value := float(number)):
        raise Refused(400, "the body has a number that is too large")
    return value


def _refuse_constant(name: str) -> None:
    raise Refused(400, f"the body has {name}, which is not JSON")


def _check_string(text: str) -> None:
    if "\0" in text:
        raise Refused(400, "the body has a string with a NUL character")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise Refused(400, "the body has a string with half of a surrogate pair") from error


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
