"""Run the server: its socket, its log, and a stop that finishes what was accepted."""

import json
import logging
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import uvicorn
from fastapi import FastAPI

from splinelens.errors import CannotServe
from splinelens.serve.service import ScoringService

DRAIN_S = 25
"""How long accepted requests may take after a signal to stop."""

_log = logging.getLogger("splinelens.serve")


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket at the address, before any work; it listens when the server is ready.

    Raises:
        CannotServe: The address cannot be used.
    """
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        return listener
    except (OSError, UnicodeError) as error:  # the latter: a label of the name is too long
        if listener is not None:
            listener.close()
        reason = str(getattr(error, "strerror", "no such name")).lower()
        raise CannotServe(
            f"cannot listen at port {port} of {host}: {reason}; stop what uses it, or give another --port or "
            "--host"
        ) from error


def run_server(app: FastAPI, service: ScoringService, listener: socket.socket) -> None:
    """Serve until a signal comes, and score what was accepted.

    Raises:
        CannotServe: Accepted texts are left when the time is over.
    """

    class Server(uvicorn.Server):
        """Says when it listens, takes no text from a signal on, and ends with exit code 0."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if not self.started:
                return
            host, port = listener.getsockname()[:2]
            address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            _log.info("serving", extra={"address": address, "detectors": list(service.group.artifacts)})

        def handle_exit(self, sig: int, frame: Any) -> None:  # Any: of the standard library
            service.refuse_new()
            self.should_exit = True

    config = uvicorn.Config(
        app,
        http="h11",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
    )
    server = Server(config)
    with suppress(SystemExit):  # it could not listen
        server.run(sockets=[listener])
    if not server.started:
        raise CannotServe("cannot listen: the port was taken while the model was loaded; give another --port")
    unfinished = service.stop(0)
    _log.info("stopped", extra={"unfinished": unfinished})
    if unfinished:
        raise CannotServe(f"{unfinished} accepted texts were not scored within {DRAIN_S} s")


def log_as_json() -> None:
    """All that is logged, on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter())
    for name in ("splinelens", "uvicorn"):
        log = logging.getLogger(name)
        log.handlers, log.propagate = [handler], False
    logging.getLogger("splinelens").setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


class _JsonFormatter(logging.Formatter):
    """A log record as a line of JSON: time, level, event, and what was given as ``extra``.

    Messages of exceptions are left out: they may hold a text.
    """

    _USUAL = frozenset(vars(logging.makeLogRecord({})))

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        event = record.getMessage().partition("\n")[0]  # of uvicorn it may be a traceback
        fields = {name: value for name, value in vars(record).items() if name not in self._USUAL}
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        if record.exc_info and record.exc_info[0]:
            fields["error"] = record.exc_info[0].__name__
        return json.dumps({"time": time, "level": record.levelname.lower(), "event": event, **fields})
