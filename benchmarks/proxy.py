"""Streams through the chat proxy, from a scripted upstream that is rude, breaks off, stalls and lies.

    python benchmarks/proxy.py [--streams 1000] [--detector toxicity-fast] [-o proxy.json]

Starts the upstream, the server and its clients in this process. Each stream is 2 to 8 sentences, in half of them
one is replaced by "You are an idiot."; its bytes are cut at random, also inside characters and lines. Two in five
streams break in one of the ways of ``FAULTS``. One client in twenty leaves. Without ``--detector`` a stub judges by
the word "idiot". Half of the streams are released by sentence, half as a whole. Counts events that are no JSON,
streams without an end, planted sentences that are released, and connections that are left open.
"""

import argparse
import asyncio
import json
import socket
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import httpx2
import numpy as np
import uvicorn

from splinelens.apps.group import DetectorGroup
from splinelens.detect.shipped import find_artifact
from splinelens.report.scores import TextScore
from splinelens.serve.app import create_app
from splinelens.serve.chat import Upstream
from splinelens.serve.service import ScoringService

RUDE = "You are an idiot."
KIND = (
    "The museum opens at nine on weekdays.",
    "Caf\u00e9 cr\u00e8me costs 3.50 at the corner.",
    "The river is calm in the morning \U0001f6f6.",
    "\u4f60\u597d means hello.",
    'She said "see you soon!"',
    "Bring a map, some water and a good pair of shoes.",
    "Is the train on time?",
    "It was built in 1889 by a local engineer...",
)
FAULTS = (
    "early close",
    "half event",
    "no JSON",
    "error",
    "status 500",
    "stall",
    "no end",
    "other type",
    "cut body",
)
STALL_S, TOTAL_S, HANG_S = 4.0, 15.0, 60.0
AT_ONCE = 16


class Stub(DetectorGroup):
    """Fires on a word."""

    def score(self, texts, **options):
        verdicts = ["toxic" if "idiot" in text else "clean" for text in texts]
        return [
            {"stub": TextScore(0, float(v == "toxic"), v, len(t), cut=False)}
            for v, t in zip(verdicts, texts, strict=True)
        ]


class Script:
    """What the upstream answers to the request of a number."""

    def __init__(self, number: int):
        self.rng = np.random.default_rng(number)
        sentences = self.rng.choice(KIND, self.rng.integers(2, 9)).tolist()
        self.planted = bool(self.rng.random() < 0.5)
        if self.planted:
            sentences[self.rng.integers(len(sentences))] = RUDE
        self.text = self.rng.choice([" ", "\n"]).join(sentences)
        self.fault = str(self.rng.choice(FAULTS)) if self.rng.random() < 0.4 else None
        self.leaves = bool(self.rng.random() < 0.05)

    def body(self) -> bytes:
        """The events."""
        plain, end = bool(self.rng.random() < 0.5), self.rng.choice(["\n\n", "\r\n\r\n", "\r\r"])
        cuts = np.sort(self.rng.integers(0, len(self.text) + 1, 12)).tolist()
        pieces = [self.text[begin:end] for begin, end in zip([0, *cuts], [*cuts, None], strict=True)]
        deltas = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in pieces), {}]
        events = []
        for index, delta in enumerate(deltas):
            choice = {
                "index": 0,
                "delta": delta,
                "finish_reason": "stop" if index == len(deltas) - 1 else None,
            }
            value = {
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "m",
                "choices": [choice],
            }
            events.append(f"data: {json.dumps(value, ensure_ascii=not plain)}{end}")
        keep = int(self.rng.integers(1, len(events)))
        match self.fault:
            case "early close" | "stall" | "no end" | "cut body":
                events = events[:keep]
            case "half event":
                events = [*events[:keep], events[keep][: len(events[keep]) // 2]]
            case "no JSON":
                events.insert(keep, f"data: {{'choices': [{end}")
            case "error":
                events.insert(keep, f'data: {{"error": {{"message": "full", "code": "overloaded"}}}}{end}')
            case _:
                events += [f": a comment{end}", f"data: [DONE]{end}"]
        return "".join(events).encode()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, opened: Counter) -> None:
    """One connection to the upstream."""
    opened["open"] += 1
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        script = Script(json.loads(await reader.readexactly(length))["number"])
        status = "500 Broken" if script.fault == "status 500" else "200 OK"
        kind = "text/html" if script.fault == "other type" else "text/event-stream"
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        content = script.body()
        cuts = np.unique(script.rng.integers(1, len(content), 30)).tolist()
        for begin, end in zip([0, *cuts], [*cuts, None], strict=True):
            part = content[begin:end]
            writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0)
        if script.fault == "stall":
            await reader.read()
        while script.fault == "no end" and not reader.at_eof():
            writer.write(b"5\r\n: a\n\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)
        if script.fault != "cut body":
            writer.write(b"0\r\n\r\n")
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        opened["open"] -= 1
        writer.close()


async def read(client: httpx2.AsyncClient, number: int, counts: Counter) -> None:
    """One stream, checked."""
    script, released, errors, finish, done = Script(number), "", 0, None, False
    request = {
        "model": "m",
        "stream": True,
        "number": number,
        "messages": [{"role": "user", "content": "Hello."}],
    }
    counts["streams"] += 1
    counts["planted"] += script.planted
    counts[f"fault {script.fault}" if script.fault else "no fault"] += 1
    try:
        async with (
            asyncio.timeout(HANG_S),
            client.stream("POST", "/v1/chat/completions", json=request) as response,
        ):
            if response.status_code != 200:
                counts["refused with an error"] += 1
                counts["invalid"] += "error" not in json.loads(await response.aread())
                return
            async for line in response.aiter_lines():
                if script.leaves:
                    counts["left"] += 1
                    return
                if not line:
                    continue
                counts["events"] += 1
                counts["invalid"] += done or not line.startswith("data: ")
                if line == "data: [DONE]":
                    done = True
                    continue
                event = json.loads(line.removeprefix("data: "))
                errors += "error" in event
                for choice in event.get("choices", ()):
                    released += choice["delta"].get("content") or ""
                    finish = choice["finish_reason"] or finish
    except TimeoutError:
        counts["hangs"] += 1
        return
    except ValueError:
        counts["invalid"] += 1
    counts["without an end"] += not (done and (finish or errors))
    counts["changed"] += not script.text.startswith(released)
    counts["planted released"] += RUDE in released
    counts["planted, its beginning released at a break"] += script.planted and len(
        released
    ) > script.text.find(RUDE)
    counts["blocked"] += finish == "content_filter"
    counts["ended in an error"] += errors > 0
    if not script.planted and script.fault is None:
        counts["kind and whole"] += 1
        counts["kind and whole, released"] += released == script.text


async def measure(group: DetectorGroup, release: str, numbers: range, counts: Counter) -> None:
    """Send the streams of these numbers through a server."""
    opened: Counter = Counter()
    upstream = await asyncio.start_server(lambda r, w: answer(r, w, opened), "127.0.0.1", 0)
    port = upstream.sockets[0].getsockname()[1]
    app = create_app(
        ScoringService(group),
        upstream=Upstream(f"http://127.0.0.1:{port}/v1", release=release, idle_s=STALL_S, total_s=TOTAL_S),
    )
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    serving = asyncio.create_task(server.serve([listener]))
    room = asyncio.Semaphore(AT_ONCE)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with httpx2.AsyncClient(
        base_url=address, timeout=HANG_S, limits=httpx2.Limits(max_keepalive_connections=0)
    ) as client:

        async def one(number: int) -> None:
            async with room:
                await read(client, number, counts)

        while not server.started:
            await asyncio.sleep(0.01)
        await asyncio.gather(*map(one, numbers))
    deadline = time.monotonic() + 5
    while opened["open"] and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    counts["connections left open"] += opened["open"]
    server.should_exit = True
    await serving
    upstream.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--detector", help="A detector in place of the stub.")
    parser.add_argument("-o", "--output", type=Path, help="A JSON file of the counts.")
    given = parser.parse_args()
    if given.detector:
        group = DetectorGroup.load([given.detector])
    else:
        reader = SimpleNamespace(loaded=SimpleNamespace(name="none"), max_tokens=512)
        group = Stub({"stub": find_artifact("toxicity-fast")}, [(reader, {})])
    counts, started, half = Counter(), time.monotonic(), given.streams // 2
    for release, numbers in (("sentence", range(half)), ("all", range(half, given.streams))):
        asyncio.run(measure(group, release, numbers, counts))
    record = {"detector": given.detector or "stub", "seconds": round(time.monotonic() - started, 1)}
    for name in (
        "invalid",
        "planted released",
        "changed",
        "without an end",
        "hangs",
        "connections left open",
    ):
        counts.setdefault(name, 0)
    record |= dict(sorted(counts.items()))
    print("\n".join(f"{name}: {value}" for name, value in record.items()))
    if given.output:
        given.output.write_text(json.dumps(record, indent=1) + "\n")
