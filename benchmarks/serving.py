"""The server under load, beside the library: latency, texts a second, overload, a long run, SIGTERM.

    python benchmarks/serving.py [--only latency throughput overload soak stop] [--seconds 60] -o serving.json

Starts ``splinelens serve --detector toxicity-fast`` in a process of its own. Comments have 30 tokens. ``latency``
takes turns with ``Detector.score`` in this process; ``throughput`` is that of 32 clients beside one call of the
library with as many texts, in turns; ``overload`` offers ten times the requests a second that the server answers at
capacity, that is with as many clients as texts may wait; ``soak`` sends 10,000 requests; ``stop`` sends SIGTERM
under load. Prints one line a stage.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from timings import machine

WORDS = (
    "The museum opens at nine on weekdays, and if you come early there is hardly anybody in front of the old "
    "maps and globes, number {}."
)
STAGES = ("latency", "throughput", "overload", "soak", "stop")
WAITING = 64


@contextmanager
def server(*options: str, log: Any = subprocess.DEVNULL):  # Any: as subprocess takes it
    """A server that is ready: its port and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "splinelens",
        "serve",
        "-d",
        "toxicity-fast",
        "--port",
        str(port),
        *options,
    ]
    process = subprocess.Popen(command, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        while True:
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield port, process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


class Client:
    """One connection that is kept open; enough of HTTP for this server."""

    def __init__(self, port: int):
        self.port = port
        self.streams: Any = None  # Any: a pair of asyncio's

    async def connect(self) -> None:
        """Open the connection, unless it is open."""
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)

    async def post(self, text: str) -> tuple[int, dict[str, str]]:
        """Status and headers of the answer to one text."""
        body = json.dumps({"text": text}).encode()
        head = f"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        await self.connect()
        reader, writer = self.streams
        writer.write(head.encode() + b"\r\n\r\n" + body)
        await writer.drain()
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:] if line)}
        answer = await reader.readexactly(int(headers["content-length"]))
        json.loads(answer)
        if headers.get("connection") == "close":
            writer.close()
            self.streams = None
        return int(lines[0].split()[1]), headers


async def load(
    port: int, clients: int, until: Any, pause_s: float = 0.1
) -> tuple[Counter[int], dict[int, list[float]], int]:
    """Clients that send one text after another while ``until(sent)`` holds; a refused one waits ``pause_s``.

    Returns:
        Answers by status, their seconds by status, and requests that were sent and got no answer.
    """
    statuses: Counter[int] = Counter()
    seconds: dict[int, list[float]] = {}
    sent = lost = 0

    async def run() -> None:
        nonlocal sent, lost
        client = Client(port)
        while until(sent):
            try:
                await client.connect()
            except OSError:  # it does not listen any more
                await asyncio.sleep(0.05)
                continue
            sent += 1
            began = time.perf_counter()
            try:
                status, headers = await client.post(WORDS.format(sent))
            except (OSError, asyncio.IncompleteReadError):
                lost += 1
                client.streams = None
                await asyncio.sleep(0.05)
                continue
            if status == 429:
                assert headers["retry-after"], "429 without Retry-After"
            statuses[status] += 1
            seconds.setdefault(status, []).append(time.perf_counter() - began)
            if status == 429:
                await asyncio.sleep(pause_s)

    await asyncio.gather(*(run() for _ in range(clients)))
    return statuses, seconds, lost


def quantiles(values: list[float]) -> dict[str, float]:
    """Median and 99th percentile, in milliseconds."""
    return {"p50_ms": 1000 * float(np.median(values)), "p99_ms": 1000 * float(np.quantile(values, 0.99))}


def resident_mb(process: "subprocess.Popen[bytes]") -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def latency(port: int, detector: Any) -> dict[str, Any]:  # Any: plain JSON values
    """A request at a time and a call at a time, in turns of 20 after 5 that are not timed."""
    library, requests = [], []
    for turn in range(20):
        texts = [WORDS.format(f"{turn} {number}") for number in range(25)]
        each = []
        for text in texts:
            began = time.perf_counter()
            detector.score([text])
            each.append(time.perf_counter() - began)
        library.append(float(np.median(each[5:])))
        numbers = iter(range(26))
        _, seconds, _ = asyncio.run(load(port, 1, lambda sent, numbers=numbers: next(numbers) < 25))
        requests.append(float(np.median(seconds[200][5:])))
    ratios = np.array(requests) / np.array(library)
    return {
        "library_ms": 1000 * float(np.median(library)),
        "request_ms": 1000 * float(np.median(requests)),
        "ratio": np.quantile(ratios, [0.1, 0.5, 0.9]).tolist(),
    }


def throughput(port: int, detector: Any) -> dict[str, Any]:  # Any: plain JSON values
    """Texts a second of 32 clients, and of one call, in turns."""
    count, library, served = 640, [], []
    for turn in range(11):
        texts = [WORDS.format(f"{turn} {number}") for number in range(count)]
        began = time.perf_counter()
        detector.score(texts)
        middle = time.perf_counter()
        statuses, _, lost = asyncio.run(load(port, 32, lambda sent: sent < count))
        assert not lost
        assert list(statuses) == [200], statuses
        if turn:
            library.append(count / (middle - began))
            served.append(count / (time.perf_counter() - middle))
    ratios = np.array(served) / np.array(library)
    return {
        "library_texts_s": float(np.median(library)),
        "served_texts_s": float(np.median(served)),
        "ratio": np.quantile(ratios, [0.1, 0.5, 0.9]).tolist(),
    }


def overload(seconds: float) -> dict[str, Any]:  # Any: plain JSON values
    """Ten times the requests that are answered at capacity, of ten times as many clients."""
    with server("--max-waiting", str(WAITING)) as (port, process):
        results: dict[str, Any] = {}  # Any: plain JSON values
        pause_s = 1.0
        for name, clients, length in (("capacity", WAITING - 4, 10), ("overload", 10 * WAITING, seconds)):
            end = time.perf_counter() + length
            statuses, taken, lost = asyncio.run(
                load(port, clients, lambda _, end=end: time.perf_counter() < end, pause_s)
            )
            pause_s = WAITING * length / statuses[200]
            results[name] = {
                "answers": dict(statuses),
                "requests_s": sum(statuses.values()) / length,
                "lost": lost,
                **{str(status): quantiles(values) for status, values in taken.items()},
            }
        results["alive"] = process.poll() is None
    return results


def soak(port: int, process: "subprocess.Popen[bytes]", count: int) -> dict[str, Any]:  # Any: plain JSON
    """Many requests of 8 clients: errors, drift of the median, growth of memory."""
    asyncio.run(load(port, 8, lambda sent: sent < 500))
    before = resident_mb(process)
    statuses, seconds, lost = asyncio.run(load(port, 8, lambda sent: sent < count))
    taken = seconds[200]
    tenth = len(taken) // 10
    first, last = float(np.median(taken[:tenth])), float(np.median(taken[-tenth:]))
    return {
        "answers": dict(statuses),
        "lost": lost,
        "drift": last / first - 1,
        "growth_mb": resident_mb(process) - before,
        "resident_mb": resident_mb(process),
        **quantiles(taken),
    }


def stop() -> dict[str, Any]:  # Any: plain JSON values
    """SIGTERM under load: what was accepted is answered."""
    with tempfile.TemporaryFile() as log, server(log=log) as (port, process):
        ended: list[float] = []

        async def run() -> tuple[Counter[int], dict[int, list[float]], int]:
            task = asyncio.create_task(load(port, 64, lambda _: not ended))
            await asyncio.sleep(3)
            began = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait, 35)
            ended.append(time.perf_counter() - began)
            return await task

        statuses, _, _ = asyncio.run(run())
        log.seek(0)
        scored = sum(b'"route": "/v1/score", "status": 200' in line for line in log)
    answers = dict(statuses)
    return {"answers": answers, "scored": scored, "exit": process.returncode, "seconds": ended[0]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--seconds", type=float, default=60, help="of the overload")
    parser.add_argument("--requests", type=int, default=10_000, help="of the soak")
    parser.add_argument("-o", "--output", type=Path, default=Path("serving.json"))
    arguments = parser.parse_args()
    record: dict[str, Any] = {"machine": machine()}  # Any: plain JSON values

    def keep(stage: str, result: dict[str, Any]) -> None:  # Any: plain JSON values
        record[stage] = result
        arguments.output.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
        print(stage, json.dumps(result), flush=True)

    from splinelens import Detector

    with server() as (port, process):
        detector = Detector.load("toxicity-fast")
        for stage, run in (("latency", latency), ("throughput", throughput)):
            if stage in arguments.only:
                keep(stage, run(port, detector))
        if "soak" in arguments.only:
            keep("soak", soak(port, process, arguments.requests))
    if "overload" in arguments.only:
        keep("overload", overload(arguments.seconds))
    if "stop" in arguments.only:
        keep("stop", stop())


if __name__ == "__main__":
    main()
