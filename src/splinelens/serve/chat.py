"""Chat completions in OpenAI's format, in front of another server: prompts and replies are judged.

A prompt that is not cleared never reaches the upstream, and no character of a reply reaches the client before
it is cleared, except with release ``audit``. Sentences are those of ``texts.sentences``; the verdict on a
sentence, and on the reply up to its end, is that of the scoring service. Nothing here trusts the upstream: of
its answers only the fields of ``_Message`` and ``_Completion`` pass, and its time and size are limited.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import dropwhile, takewhile
from time import time
from typing import Annotated, Any, Literal, TypeVar, cast
from uuid import uuid4

import httpx2
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import AliasChoices, BaseModel, Field, StrictBool, StrictInt, ValidationError, model_validator
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from splinelens.apps.guard import Release
from splinelens.detect import UNDETERMINED
from splinelens.errors import BadTexts, CannotServe, NotReady, Overloaded
from splinelens.serve.openai import error_body
from splinelens.serve.requests import Refused, busy, check_json
from splinelens.serve.service import MAX_INPUTS, Records, ScoringService
from splinelens.texts.sentences import complete_sentences

MAX_ID = 128
"""Characters of the id of a call."""

SENTENCES = 8
"""Sentences of one text that are judged together."""

MAX_REPLY_BYTES = 8 * 2**20
"""Of all that the upstream sends in answer to one request."""

TEXT_FIELDS = ("content", "refusal", "reasoning_content")
"""The fields of a message that are judged, each by itself, and released."""

_Verdict = Literal["clean", "flagged", "undetermined"]

_SEVERITY: tuple[_Verdict, ...] = ("clean", "undetermined", "flagged")
_Result = TypeVar("_Result")
_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Upstream:
    """The server that writes the replies, and how they are guarded.

    Attributes:
        url: Its base URL, such as ``http://127.0.0.1:11434/v1``.
        key: Sent as its bearer token. The key of the client is never passed on.
        release: ``sentence`` holds characters back until their sentence is complete and cleared, ``all``
            until the reply is complete and all of it is cleared; ``audit`` blocks nothing, and reports.
        replacement: The content in place of what is not cleared.
        roles: Whose messages since the last reply are judged before the upstream sees them.
        idle_s: How long it may send nothing.
        total_s: How long an answer may take.
        transport: In place of the network.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    release: Release = "sentence"
    replacement: str = ""
    roles: tuple[str, ...] = ("user",)
    idle_s: float = 60.0
    total_s: float = 600.0
    transport: httpx2.AsyncBaseTransport | None = None


class _Given(BaseModel, extra="allow"):
    """Fields of a request that are read; all fields are passed on."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_lookalikes(cls, value: Any) -> Any:  # Any: a JSON value
        """Some servers ignore case, and would read another message than the one that is judged."""
        names = cls.model_fields
        if isinstance(value, dict) and any(key.casefold() in names and key not in names for key in value):
            raise ValueError("a key differs from one of OpenAI's in upper or lower case only")
        return value


class _Part(_Given):
    type: str
    text: str | None = None


class _Turn(_Given):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[_Part] | None = None


class _StreamOptions(_Given):
    include_usage: StrictBool | None = None


class _Function(BaseModel):
    name: str | None = None
    arguments: str | None = None


class _Tool(_Given):
    function: _Function | None = None


class ChatRequest(_Given):
    """What the client of OpenAI sends."""

    messages: list[_Turn] = Field(min_length=1)
    model: str = ""
    stream: StrictBool | None = None
    stream_options: _StreamOptions | None = None
    n: Annotated[StrictInt, Field(ge=1, le=128)] | None = None
    tools: list[_Tool] | None = None

    @property
    def includes_usage(self) -> bool:
        """Whether the last event of a stream counts tokens."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class _Call(BaseModel):
    """A call of a tool, or a piece of one."""

    index: int | None = None
    id: str | None = Field(None, pattern=r"^[\w.:-]{0,128}$")
    type: Literal["function"] | None = None
    function: _Function = _Function()


class _Message(BaseModel):
    """What passes of a reply, or of a piece of one: any other field may hold text that is not judged."""

    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(BaseModel):
    index: int = 0
    message: _Message = Field(default=_Message(), validation_alias=AliasChoices("message", "delta"))
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter", "function_call"] | None = None


class _Completion(BaseModel):
    """What passes of an answer, or of an event."""

    id: str | None = None
    object: Literal["chat.completion", "chat.completion.chunk"] | None = None
    created: int | None = None
    model: str | None = None
    choices: list[_Choice] = []
    usage: dict[str, Any] | None = None  # Any: JSON values

    def head(self) -> dict[str, Any]:  # Any: JSON values
        """All but the choices."""
        return self.model_dump(exclude={"choices"}, exclude_none=True)


class _UpstreamFailed(Exception):
    """The upstream did not answer as it should; the client gets an error in OpenAI's format."""

    def __init__(
        self,
        status: int,
        message: str,
        body: dict[str, Any] | None = None,  # Any: JSON values
        headers: dict[str, str] | None = None,
    ):
        refused = Refused(status, message, code="upstream_error")
        self.status, self.body, self.headers = status, body or error_body(refused), headers


def router(service: ScoringService, upstream: Upstream) -> APIRouter:
    """The route of chat completions.

    Raises:
        CannotServe: All detectors tell classes apart.
    """
    client = httpx2.AsyncClient(
        timeout=httpx2.Timeout(upstream.idle_s, connect=10.0, pool=10.0),
        limits=httpx2.Limits(max_connections=service.max_waiting),
        transport=upstream.transport,
    )
    proxy = _Proxy(_Judge(service), upstream, client)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:  # Any: the application
        async with client:
            yield

    routes = APIRouter(tags=["OpenAI"], lifespan=lifespan)

    @routes.post("/v1/chat/completions", response_model=None)
    async def completions(chat: ChatRequest, request: Request) -> Response:
        """A reply of the upstream, judged before it is released, as OpenAI's endpoint of this name."""
        return await _while_connected(request, proxy.answer(chat, await request.body()))

    return routes


class _Judge:
    """The verdicts of the served detectors, and their counts."""

    def __init__(self, service: ScoringService):
        self._service = service
        artifacts = service.group.artifacts.items()
        self._negative = {name: each.negative for name, each in artifacts if each.task != "classes"}
        if not self._negative:
            raise CannotServe("every detector tells classes apart, none of which is safe; serve another one")

    async def verdicts(self, texts: Sequence[str]) -> dict[str, _Verdict]:
        """The verdict on each text; one of white space holds nothing to object to.

        Raises:
            NotReady: As in ``ScoringService.score``.
            Overloaded: As in ``ScoringService.score``.
        """
        verdicts: dict[str, _Verdict] = dict.fromkeys(texts, "clean")
        scored = [text for text in verdicts if text.strip()]
        for start in range(0, len(scored), MAX_INPUTS):
            batch = scored[start : start + MAX_INPUTS]
            try:
                rows = await self._service.score(batch)
            except BadTexts:  # one has too many characters
                verdicts |= dict.fromkeys(batch, "undetermined")
                continue
            verdicts |= {text: self._verdict(records) for text, records in zip(batch, rows, strict=True)}
        return verdicts

    def report(self, part: Literal["prompt", "reply"], verdict: _Verdict) -> dict[str, str]:
        """Count a verdict; what the client gets of it."""
        self._service.metrics.chat.labels(part, verdict).inc()
        return {"part": part, "verdict": verdict}

    def busy(self, error: Overloaded | NotReady) -> dict[str, Any]:  # Any: JSON values
        """The error of a stream that cannot be judged now."""
        return error_body(busy(error, self._service))

    def _verdict(self, records: Records) -> _Verdict:
        verdicts = [(records[name].verdict, negative) for name, negative in self._negative.items()]
        if any(verdict not in (negative, UNDETERMINED) for verdict, negative in verdicts):
            return "flagged"
        return "undetermined" if any(verdict == UNDETERMINED for verdict, _ in verdicts) else "clean"


@dataclass
class _Text:
    """A text of a reply while it is written: what may be released of it."""

    text: str = ""
    released: int = 0
    judged: int = 0
    verdict: _Verdict = "clean"

    async def release(self, judge: _Judge, mode: Release, *, final: bool) -> str:
        """The characters that may be released now; ``verdict`` says if the text is stopped.

        As ``Watch``, where the text so far is judged at the end of each sentence only. The result depends on
        the characters, not on the pieces in which they came.
        """
        if mode != "sentence" and not final:
            return ""
        sentences = complete_sentences(self.text, self.judged, final=final)
        cleared, held = self.released, self.judged > self.released
        for start in range(0, len(sentences), SENTENCES):  # no further than the first that stops the text
            batch = sentences[start : start + SENTENCES]
            parts = [(self.text[begin:end], self.text[:end]) for begin, end, _ in batch]
            verdicts = await judge.verdicts([text for pair in parts for text in pair])
            for (sentence, so_far), (*_, following) in zip(parts, batch, strict=True):
                self.verdict = verdicts[sentence]
                if verdicts[so_far] == "flagged":
                    self.verdict = "flagged"
                if self.verdict != "clean":
                    break
                self.judged, held = following, verdicts[so_far] != "clean"
                cleared = cleared if held else following
            if self.verdict != "clean":
                break
        if final and self.verdict == "clean":
            self.verdict = "undetermined" if held else "clean"
            cleared = cleared if held else len(self.text)
        if mode != "sentence" and self.verdict != "clean":
            return ""
        part, self.released = self.text[self.released : cleared], cleared
        return part


class _Reply:
    """One choice while it is written.

    Attributes:
        verdict: If it is not ``clean``, the reply is stopped.
        ended: Whether it is complete or stopped.
    """

    def __init__(self, judge: _Judge, mode: Release, replacement: str, tools: frozenset[str]):
        self._judge, self._mode, self._replacement, self._tools = judge, mode, replacement, tools
        self._texts = {name: _Text() for name in TEXT_FIELDS}
        self._calls: dict[int, dict[str, Any]] = {}  # Any: JSON values
        self.verdict: _Verdict = "clean"
        self.ended = False

    async def take(self, piece: _Message, *, final: bool) -> dict[str, Any]:  # Any: JSON values
        """Add a piece; the message that may be released now."""
        released: dict[str, Any] = {} if piece.role is None else {"role": "assistant"}
        for position, call in enumerate(piece.tool_calls or ()):
            self._add(call, position if call.index is None else call.index)
        verdicts: list[_Verdict] = []
        for name, text in self._texts.items():
            text.text += getattr(piece, name) or ""
            if part := await text.release(self._judge, self._mode, final=final):
                released[name] = part
            verdicts.append(text.verdict)
        if final and self._calls:
            verdicts.append(await self._verdict_on_calls())
        self.verdict = max(verdicts, key=_SEVERITY.index)
        self.ended = final or self.verdict != "clean"
        if self.verdict == "clean" and final and self._calls:
            released["tool_calls"] = list(self._calls.values())
        if self.verdict != "clean":
            released = released if self._mode == "sentence" else {}
            released["content"] = released.get("content", "") + self._replacement
        return released

    def _add(self, piece: _Call, index: int) -> None:
        """Add a piece of a call; calls are held until the reply is complete."""
        empty = {"index": index, "id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        call = self._calls.setdefault(index, empty)
        call["id"] = (call["id"] + (piece.id or ""))[:MAX_ID]
        call["function"]["name"] += piece.function.name or ""
        call["function"]["arguments"] += piece.function.arguments or ""

    async def _verdict_on_calls(self) -> _Verdict:
        """On the strings of all arguments; undetermined if they are no JSON, or a tool was not offered."""
        functions = [call["function"] for call in self._calls.values()]
        values = [_object((function["arguments"].strip() or "{}").encode()) for function in functions]
        if None in values or not self._tools.issuperset(function["name"] for function in functions):
            return "undetermined"
        arguments = _Text("\n".join(_strings(values)))
        await arguments.release(self._judge, "all", final=True)
        return arguments.verdict


class _Proxy:
    """Judges a prompt, asks the upstream, and guards its reply."""

    def __init__(self, judge: _Judge, upstream: Upstream, client: httpx2.AsyncClient):
        self._judge, self._upstream, self._client = judge, upstream, client
        self._audit = upstream.release == "audit"

    async def answer(self, chat: ChatRequest, body: bytes) -> Response:
        """The answer to a request, whose body is passed on as it came.

        Raises:
            Refused: A part of the prompt is no text.
            NotReady: As in ``ScoringService.score``.
            Overloaded: As in ``ScoringService.score``.
        """
        prompts = _prompts(chat, self._upstream.roles, audit=self._audit)
        verdicts = await self._judge.verdicts(prompts)
        verdict = max(verdicts.values(), key=_SEVERITY.index, default=_SEVERITY[0])
        report = self._judge.report("prompt", verdict)
        if verdict != "clean" and not self._audit:
            return _blocked(chat, self._upstream.replacement, report)
        try:
            return await self._ask(chat, body)
        except _UpstreamFailed as error:
            return JSONResponse(error.body, error.status, headers=error.headers)

    async def _ask(self, chat: ChatRequest, body: bytes) -> Response:
        headers = {"Content-Type": "application/json"}
        if self._upstream.key:
            headers["Authorization"] = f"Bearer {self._upstream.key}"
        url = f"{self._upstream.url.rstrip('/')}/chat/completions"
        deadline = asyncio.get_running_loop().time() + self._upstream.total_s
        async with AsyncExitStack() as stack:
            with _failures():
                async with asyncio.timeout_at(deadline):
                    response = await stack.enter_async_context(
                        self._client.stream("POST", url, content=body, headers=headers)
                    )
                    content = b"" if chat.stream and response.status_code == 200 else await _read(response)
            if response.status_code != 200:
                raise _passed_on(response, content)
            if chat.stream:
                return _EventStream(self._events(chat, response, deadline), stack.pop_all())
        return JSONResponse(await self._whole(chat, content))

    async def _whole(self, chat: ChatRequest, content: bytes) -> dict[str, Any]:  # Any: JSON values
        """A complete answer, judged."""
        completion, answer = _parsed(content)
        if not completion.choices:
            raise _UpstreamFailed(502, "the upstream answered without a choice")
        choices = []
        for choice in completion.choices:
            reply = self._reply(chat, "all")
            message = await reply.take(choice.message, final=True)
            for call in message.get("tool_calls", ()):
                del call["index"]
            content_ = None if "tool_calls" in message or "refusal" in message else ""
            message = {"role": "assistant", "content": content_, "refusal": None} | message
            choices.append(self._choice(choice, reply, "message", message))
        return _audited(answer, choices) if self._audit else {**completion.head(), "choices": choices}

    async def _events(
        self, chat: ChatRequest, response: httpx2.Response, deadline: float
    ) -> AsyncIterator[bytes]:
        """A stream of events, judged. It ends as a stream should, whatever the upstream does."""
        replies: dict[int, _Reply] = {}
        completion, error = _Completion(), None
        try:
            async with aclosing(_received(response, deadline)) as received:
                async for data in received:
                    completion, event = _parsed(data)
                    if guarded := await self._guarded(chat, completion, event, replies):
                        yield _event(guarded)
                    all_ended = len(replies) == (chat.n or 1) and all(each.ended for each in replies.values())
                    if all_ended and not chat.includes_usage:
                        break
        except (_UpstreamFailed, Overloaded, NotReady) as failed:
            error = failed
        held = {index: reply for index, reply in replies.items() if not reply.ended}
        try:
            choices = []
            for index, reply in held.items():
                rest = _Choice(index=index, finish_reason=None if error else "stop")
                delta = await reply.take(rest.message, final=True)
                choices.append(self._choice(rest, reply, "delta", {} if self._audit else delta))
            if choices:
                yield _event({**completion.head(), "usage": None, "choices": choices})
        except (Overloaded, NotReady) as failed:
            error = failed
        if error and (held or not replies):
            yield _event(self._judge.busy(error) if isinstance(error, CannotServe) else error.body)
        yield _DONE

    async def _guarded(
        self,
        chat: ChatRequest,
        completion: _Completion,
        event: dict[str, Any],
        replies: dict[int, _Reply],
    ) -> dict[str, Any] | None:  # Any: JSON values
        """What is sent on of an event; None if it is held back."""
        choices = []
        for choice in completion.choices:
            if not 0 <= choice.index < (chat.n or 1):
                raise _UpstreamFailed(502, "the upstream sent a choice that was not asked for")
            reply = replies.setdefault(choice.index, self._reply(chat, self._upstream.release))
            if reply.ended:
                continue
            delta = await reply.take(choice.message, final=choice.finish_reason is not None)
            if delta or reply.ended:
                choices.append(self._choice(choice, reply, "delta", delta))
        if self._audit:
            return _audited(event, choices)
        if choices or completion.usage is not None or not completion.choices:
            return {**completion.head(), "choices": choices}
        return None

    def _reply(self, chat: ChatRequest, mode: Release) -> _Reply:
        tools = frozenset(tool.function.name or "" for tool in chat.tools or () if tool.function)
        mode = "audit" if self._audit else mode
        return _Reply(self._judge, mode, self._upstream.replacement, tools)

    def _choice(
        self, choice: _Choice, reply: _Reply, kind: str, message: dict[str, Any]
    ) -> dict[str, Any]:  # Any: JSON values
        """A choice as it is sent; once it has ended with the verdict on it."""
        stopped = reply.verdict != "clean" and not self._audit
        finish = "content_filter" if stopped else choice.finish_reason
        sent = {"index": choice.index, kind: message, "logprobs": None, "finish_reason": finish}
        return sent | ({"splinelens": self._judge.report("reply", reply.verdict)} if reply.ended else {})


class _EventStream(StreamingResponse):
    """Events of a response that is open, and closed when they end or the client leaves."""

    def __init__(self, events: AsyncIterator[bytes], opened: AsyncExitStack):
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events, headers=headers, media_type="text/event-stream")
        self._opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        async with self._opened:
            await super().__call__(scope, receive, send)


async def _while_connected(request: Request, work: Coroutine[Any, Any, _Result]) -> _Result:  # Any: as typed
    """The result of work, which is canceled if the client leaves.

    Raises:
        ClientDisconnect: It left.
    """
    working, left = asyncio.create_task(work), asyncio.create_task(_left(request))
    try:
        await asyncio.wait({working, left}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        left.cancel()
        await asyncio.wait({working, left})


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _prompts(chat: ChatRequest, roles: Sequence[str], *, audit: bool) -> list[str]:
    """The messages of these roles since the last reply, an opening of the next reply left out."""
    turns = dropwhile(lambda turn: turn.role == "assistant", reversed(chat.messages))
    recent = takewhile(lambda turn: turn.role != "assistant", turns)
    prompts = []
    for turn in recent:
        if turn.role not in roles:
            continue
        parts = turn.content if isinstance(turn.content, list) else [_Part(type="text", text=turn.content)]
        if any(part.type != "text" for part in parts) and not audit:
            raise Refused(
                400,
                "only text is judged; send no images, sound or files",
                param="messages",
                code="unsupported_input",
            )
        prompts.append("\n".join(part.text or "" for part in parts))
    return prompts


def _blocked(chat: ChatRequest, replacement: str, report: dict[str, str]) -> Response:
    """The answer to a prompt that is not cleared, as a reply that the content filter stopped."""
    head = {"id": f"chatcmpl-{uuid4().hex}", "created": int(time()), "model": chat.model}
    usage = dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 0)
    kind = "delta" if chat.stream else "message"
    choices = [
        {
            "index": index,
            kind: {"role": "assistant", "content": replacement, "refusal": None},
            "logprobs": None,
            "finish_reason": "content_filter",
            "splinelens": report,
        }
        for index in range(chat.n or 1)
    ]
    if not chat.stream:
        return JSONResponse({**head, "object": "chat.completion", "choices": choices, "usage": usage})
    head["object"] = "chat.completion.chunk"
    events = [{**head, "choices": choices}]
    if chat.includes_usage:
        events.append({**head, "choices": [], "usage": usage})
    return Response(b"".join(map(_event, events)) + _DONE, media_type="text/event-stream")


def _audited(answer: dict[str, Any], choices: list[dict[str, Any]]) -> dict[str, Any]:  # Any: JSON values
    """An answer or event as it came, with the verdict on each choice that has ended."""
    reports = {each["index"]: each["splinelens"] for each in choices if "splinelens" in each}
    for choice in answer.get("choices", ()):
        if (report := reports.get(choice.get("index", 0))) is not None:
            choice["splinelens"] = report
    return answer


def _event(value: dict[str, Any]) -> bytes:  # Any: JSON values
    return b"data: " + json.dumps(value).encode() + b"\n\n"


async def _received(response: httpx2.Response, deadline: float) -> AsyncGenerator[bytes, None]:
    """The data of the events of a stream, up to ``[DONE]``."""
    size = 0
    source = cast(AsyncGenerator[httpx2.ServerSentEvent, None], aiter(httpx2.EventSource(response)))
    async with aclosing(source) as events:
        while True:
            with _failures():
                async with asyncio.timeout_at(deadline):
                    event = await anext(events, None)
            if event is None:
                raise _UpstreamFailed(502, "the upstream broke off its answer")
            if event.data.strip() == "[DONE]":
                return
            size += len(event.data)
            if size > MAX_REPLY_BYTES:
                raise _UpstreamFailed(502, "the answer of the upstream is too long")
            if event.data:
                yield event.data.encode()


async def _read(response: httpx2.Response) -> bytes:
    """A whole body, within its limit."""
    content = bytearray()
    async for part in response.aiter_bytes():
        content += part
        if len(content) > MAX_REPLY_BYTES:
            raise _UpstreamFailed(502, "the answer of the upstream is too long")
    return bytes(content)


def _parsed(content: bytes) -> tuple[_Completion, dict[str, Any]]:  # Any: JSON values
    """An answer or event: what passes of it, and as it came."""
    value = _object(content)
    if value is None:
        raise _UpstreamFailed(502, "the upstream answered what is no JSON object")
    if value.get("error") is not None:
        raise _UpstreamFailed(502, "the upstream failed while it answered")
    try:
        return _Completion.model_validate(value), value
    except ValidationError as error:
        raise _UpstreamFailed(502, "the upstream answered what is no chat completion") from error


def _object(content: bytes) -> dict[str, Any] | None:  # Any: JSON values
    """A strict JSON object; None of anything else."""
    try:
        check_json(content)
        value = json.loads(content)
    except Refused:
        return None
    return value if isinstance(value, dict) else None


def _passed_on(response: httpx2.Response, content: bytes) -> _UpstreamFailed:
    """The error of an answer that is none, but for the server's own key."""
    status, body = response.status_code, _object(content)
    if status in (401, 403, 407):
        return _UpstreamFailed(502, f"the upstream refused the key of this server, with status {status}")
    message = f"the upstream answered with status {status}"
    if not 400 <= status < 600:
        return _UpstreamFailed(502, message)
    after = response.headers.get("retry-after", "")
    headers = {"Retry-After": after} if re.fullmatch("[0-9]{1,6}", after) else None
    error = body.get("error") if body else None
    if not isinstance(error, dict):
        return _UpstreamFailed(status, message, None, headers)
    kept = {name: error.get(name) for name in ("message", "type", "param", "code")}
    return _UpstreamFailed(status, message, {"error": kept}, headers)


@contextmanager
def _failures() -> Iterator[None]:
    """Errors of the connection to the upstream, without their messages."""
    try:
        yield
    except (TimeoutError, httpx2.TimeoutException) as error:
        raise _UpstreamFailed(504, "the upstream did not answer in time") from error
    except httpx2.SSEError as error:
        raise _UpstreamFailed(502, "the upstream sent no valid stream of events") from error
    except httpx2.ConnectError as error:
        raise _UpstreamFailed(502, "the upstream cannot be reached") from error
    except httpx2.HTTPError as error:
        raise _UpstreamFailed(502, "the upstream broke off its answer") from error


def _strings(values: list[Any]) -> Iterator[str]:  # Any: JSON values
    """All strings in JSON values, keys included."""
    values = [*values]
    while values:
        each = values.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            values += [*each, *each.values()]
        elif isinstance(each, list):
            values += each
