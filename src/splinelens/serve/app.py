"""The application: every wire format, health, metrics and the page, on one scoring service.

A request passes ``requests.py`` (key, room, size, JSON), the router of its wire format, and ``service.py``.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from splinelens import __version__
from splinelens.detect.monotone import MonotoneMap
from splinelens.errors import BadDetector, BadTexts, NotReady, Overloaded
from splinelens.serve import chat, guardrails, openai, perspective, score
from splinelens.serve.metrics import CONTENT_TYPE
from splinelens.serve.requests import Refused, RequestGuard, busy
from splinelens.serve.service import ScoringService

WORKER_STOP_S = 3.0
"""How long the worker may take to end, after the requests have ended or were given up; see run.DRAIN_S."""

_PAGE = Path(str(files("splinelens.serve"))) / "page"
_ERROR_BODIES = {
    "/v1alpha1/": perspective.error_body,
    "/$discovery/": perspective.error_body,
    "/v1/models/": guardrails.kserve_error_body,
    "/api/v1/": guardrails.fms_error_body,
}
"""By the beginning of the path; all others are OpenAI's."""


def create_app(
    service: ScoringService,
    *,
    keys: Sequence[str] = (),
    calibration: Mapping[str, MonotoneMap] | None = None,
    upstream: chat.Upstream | None = None,
) -> FastAPI:
    """The application of a service, which is started and stopped with it.

    Args:
        service: Scores the texts.
        keys: The keys that may score; none lets everybody.
        calibration: Maps of the attributes of Perspective.
        upstream: What answers chat completions; without it there is no such route.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop(WORKER_STOP_S)

    app = FastAPI(
        title="splinelens",
        version=__version__,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        responses={"default": {"description": "An error, in the format of the route."}},
        lifespan=lifespan,
    )
    app.include_router(openai.router(service))
    app.include_router(perspective.router(service, calibration or {}))
    app.include_router(guardrails.router(service))
    app.include_router(score.router(service, sorted(calibration or {})))
    if upstream is not None:
        app.include_router(chat.router(service, upstream))
    _add_operations(app, service)
    _add_error_handlers(app, service)
    patterns = {route: compile_path(route)[0] for route in app.openapi()["paths"]}

    def route_of(path: str) -> str:
        return next((route for route, pattern in patterns.items() if pattern.match(path)), "other")

    app.add_middleware(
        RequestGuard, service=service, keys=keys, error_response=error_response, route_of=route_of
    )
    return app


def error_response(path: str, refused: Refused) -> JSONResponse:
    """An error in the wire format of a path."""
    bodies = (body for prefix, body in _ERROR_BODIES.items() if path.startswith(prefix))
    body = next(bodies, openai.error_body)(refused)
    return JSONResponse(body, refused.status_code, headers=refused.headers)


def _add_operations(app: FastAPI, service: ScoringService) -> None:
    """Health, metrics and the page."""

    @app.head("/health/live", include_in_schema=False)
    @app.get("/health/live", tags=["operation"])
    async def live() -> dict[str, str]:
        """The process answers."""
        return {"status": "live"}

    @app.head("/health/ready", include_in_schema=False)
    @app.get("/health/ready", tags=["operation"])
    async def ready() -> JSONResponse:
        """A text was scored in the last seconds, or is now."""
        problem = await service.check()
        return JSONResponse(
            {"status": "ready" if problem is None else "not ready", "reason": problem},
            200 if problem is None else 503,
        )

    @app.get("/metrics", tags=["operation"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(
            _PAGE / "index.html",
            headers={"Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'"},
        )

    app.mount("/page", StaticFiles(directory=_PAGE), name="page")


def _add_error_handlers(app: FastAPI, service: ScoringService) -> None:
    """Every error as an answer in the wire format of its path."""

    async def refuse(request: Request, error: Any) -> Response:  # Any: one of the classes below
        match error:
            case Overloaded() | NotReady():
                refused = busy(error, service)
            case BadTexts() | BadDetector():  # raised by the service, without the text
                refused = Refused(400, str(error))
            case RequestValidationError():
                first = error.errors()[0]
                param = ".".join(map(str, first["loc"][1:2]))  # no deeper: there may be words of the caller
                message = first["msg"].removeprefix("Value error, ")
                refused = Refused(400, f"{param or 'the body'}: {message}", param=param or None)
            case Refused():
                refused = error
            case _:
                refused = Refused(error.status_code, str(error.detail), headers=error.headers)
        return error_response(request.url.path, refused)

    for kind in (Overloaded, NotReady, BadTexts, BadDetector, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, refuse)
