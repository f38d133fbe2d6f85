"""The server as an ASGI application: paths, what every answer carries, opening and closing."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket
from structlog.contextvars import bind_contextvars, reset_contextvars
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from backend.clock import Clock, wall_clock_ms
from backend.config import Settings
from backend.domain.origins import LOCAL_ORIGIN
from backend.errors import OPERATOR, BadSetting, Code
from backend.ids import new_id
from backend.schema.sockets import GraphQLSockets
from backend.schema.streams import GraphQLStreams
from backend.telemetry import counter, error_told, histogram, logger
from backend.tracing import TRACES
from backend.web.compression import Compression
from backend.web.gate import Gate
from backend.web.metrics import MetricsDoor
from backend.wiring import Services, open_services

READY_SECONDS = 3
PREFLIGHT_SECONDS = 600
ASKED_HEADERS = (
    "authorization",
    "content-range",
    "content-type",
    "if-none-match",
    "if-range",
    "range",
    "x-client-name",
    "x-client-version",
    "x-query-cost",
    "x-request-id",
)
"""What pages of other sites may send, beside what every page may."""
TOLD_HEADERS = (
    "accept-ranges",
    "content-disposition",
    "content-language",
    "content-range",
    "etag",
    "retry-after",
    "upload-complete",
    "upload-length",
    "upload-offset",
    "www-authenticate",
    "x-request-id",
)
"""What they may read."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_LOG = logger(__name__)


def make_app(settings: Settings, *, clock: Clock = wall_clock_ms) -> Starlette:
    """The application; its database is opened when the server starts and closed when it stops."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            async with _served(app):
                yield
        except Exception as error:
            if not hasattr(app.state, "services"):
                app.state.start_failure = error
                _tell_start_failure(error)
            raise

    @asynccontextmanager
    async def _served(app: Starlette) -> AsyncIterator[None]:
        async with open_services(settings, clock=clock) as services:
            await services.shared_keys.start()
            app.state.services = services
            edge = services.graphql_edge()
            app.state.graphql = edge
            app.state.doors = services.doors()
            app.state.bulk = services.bulk_door(app.state.doors)
            app.state.turbo = services.turbo_door(app.state.doors)
            app.state.files = services.file_doors(app.state.doors)
            app.state.streams = GraphQLStreams(edge, services.pokes, settings)
            app.state.sockets = GraphQLSockets(edge, settings)
            app.state.graphiql = services.graphiql()
            app.state.metrics = MetricsDoor(
                services.engine,
                {
                    "websockets": lambda: app.state.sockets.open,
                    "pokes": lambda: services.pokes.subscribers,
                    "streams": lambda: services.pokes.standings.watchers,
                    "documents": lambda: len(services.documents),
                    "plans": lambda: len(services.plans),
                },
                settings=settings,
                clock=clock,
            )
            app.state.metrics.start()
            try:
                yield
            finally:
                await app.state.metrics.close()

    middleware = [
        pages_welcome(settings),
        Middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies)),
        Middleware(Edge),
        Middleware(Gate, settings=settings),
        Middleware(Compression, bytes_min=settings.compress_bytes_min),
        Middleware(Straight),
    ]
    return Starlette(routes=ROUTES, middleware=middleware, lifespan=lifespan)


def _tell_start_failure(error: Exception) -> None:
    """Why nobody is served. The words of a wrong setting are ours, and hold no secret; those of others stay unsaid."""
    if isinstance(error, BadSetting):
        _LOG.critical(f"the server does not start: {error}")
    else:
        _LOG.critical("the server does not start", code=Code.INTERNAL.value, **error_told(error))


def pages_welcome(settings: Settings) -> Middleware:
    """Which sites' pages may read answers. Nothing is asked with cookies, so none of them may send any."""
    return Middleware(
        Welcome,
        allow_origins=settings.allowed_origins,
        allow_origin_regex=LOCAL_ORIGIN if settings.demo else None,
        allow_methods=("GET", "POST", "PUT"),
        allow_headers=ASKED_HEADERS,
        expose_headers=TOLD_HEADERS,
        max_age=PREFLIGHT_SECONDS,
    )


def end_streams(app: Starlette) -> None:
    """Break off the streams of a server that stops; else it would wait for readers who have no reason to leave."""
    app.state.streams.end()
    app.state.doors.ending.set()


async def _graphql(request: Request) -> Response:
    answer: Response = await request.app.state.graphql.answer(request)
    return answer


async def _stream(request: Request) -> Response:
    answer: Response = await request.app.state.streams.answer(request)
    return answer


async def _socket(websocket: WebSocket) -> None:
    await websocket.app.state.sockets.serve(websocket)


async def _bulk(request: Request) -> Response:
    answer: Response = await request.app.state.bulk.answer(request)
    return answer


async def _turbo(request: Request) -> Response:
    answer: Response = await request.app.state.turbo.answer(request)
    return answer


async def _file(request: Request) -> Response:
    answer: Response = await request.app.state.files.answer(request)
    return answer


async def _file_preview(request: Request) -> Response:
    answer: Response = await request.app.state.files.answer_preview(request)
    return answer


async def _metrics(request: Request) -> Response:
    answer: Response = await request.app.state.metrics.answer(request)
    return answer


async def _live(_request: Request) -> Response:
    """The process answers; of the database it says nothing."""
    return JSONResponse({"status": "live"})


async def _ready(request: Request) -> Response:
    """The database answers too, and the server is not about to stop."""
    services: Services = request.app.state.services
    if request.app.state.doors.ending.is_set():
        return JSONResponse({"status": "the server is about to stop"}, 503)
    try:
        async with asyncio.timeout(READY_SECONDS), services.engine.read() as conn:
            await conn.fetch("SELECT seq FROM sync_clock")
    except Exception as error:  # noqa: BLE001 - whatever keeps the database from answering, the answer is no
        _LOG.warning("not ready", error_type=type(error).__name__)
        return JSONResponse({"status": "the database does not answer"}, 503)
    return JSONResponse({"status": "ready"})


async def _graphiql(request: Request) -> Response:
    answer: Response = await request.app.state.graphiql.page(request)
    return answer


async def _graphiql_part(request: Request) -> Response:
    answer: Response = await request.app.state.graphiql.part(request)
    return answer


async def _jwks(request: Request) -> Response:
    """The keys that access tokens are checked with, for integrators who check them themselves."""
    services: Services = request.app.state.services
    await services.shared_keys.fresh()
    return JSONResponse(services.tokens.ring.jwks_at(services.clock()))


async def _home(_request: Request) -> Response:
    return RedirectResponse("/graphiql", 307)


GRAPHQL_METHODS = ("GET", "POST")
STREAM_METHODS = ("GET", "POST", "PUT", "DELETE")
Answering = Callable[[Request], Awaitable[Response]]
_STRAIGHT: Mapping[str, tuple[Answering | None, tuple[str, ...]]] = {
    "/graphql": (_graphql, GRAPHQL_METHODS),
    "/graphql/stream": (_stream, STREAM_METHODS),
}
_NO_DOOR: tuple[Answering | None, tuple[str, ...]] = (None, ())
ROUTES = (
    Route("/graphql", _graphql, methods=GRAPHQL_METHODS),
    Route("/graphql/stream", _stream, methods=STREAM_METHODS),
    WebSocketRoute("/graphql", _socket),
    Route("/sync/bulk", _bulk),
    Route("/sync/turbo", _turbo),
    Route("/files/{id}", _file, methods=["GET", "PUT"]),
    Route("/files/{id}/preview", _file_preview, methods=["GET", "PUT"]),
    Route("/graphiql", _graphiql),
    Route("/graphiql/assets/{name}", _graphiql_part),
    Route("/.well-known/jwks.json", _jwks),
    Route("/live", _live),
    Route("/metrics", _metrics),
    Route("/ready", _ready),
    Route("/", _home),
)
for _route in ROUTES:
    if isinstance(_route, Route) and _route.path.startswith("/sync/"):
        # the whole of a stream would be made to be thrown away
        _route.methods = {"GET"}
PATHS = frozenset(route.path for route in ROUTES)
"""What a log line may name; any other path is a client's own words."""
ELSEWHERE = "elsewhere"
_PATH_OF: Mapping[Any, str] = {route.endpoint: route.path for route in ROUTES}
_STATUSES = tuple(str(status) for status in range(100, 600))
_REQUESTS = counter("http_requests", "answers by path and status", path=PATHS, status=_STATUSES)
_SECONDS = histogram("http_seconds", "from a request's arrival to the last byte of its answer", path=PATHS)


class Welcome(CORSMiddleware):
    """What tells browsers whose pages may read an answer; a request no page sent is passed on with one remark."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or any(name == b"origin" for name, _ in scope["headers"]):
            await super().__call__(scope, receive, send)
            return

        async def send_varying(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(raw=message["headers"]).add_vary_header("Origin")
            await send(message)

        await self.app(scope, receive, send_varying)


class Straight:
    """What nearly everybody asks, and what stays open for long, goes to its door past the looking up of paths."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        door, methods = _STRAIGHT.get(scope["path"], _NO_DOOR) if scope["type"] == "http" else _NO_DOOR
        if door is not None and scope["method"] in methods:
            scope["endpoint"] = door
            await (await door(Request(scope, receive, send)))(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class Edge:
    """Around every request: an id, the headers every answer carries, one log line, and no failure in the open."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else new_id()
        began = perf_counter()
        status = 0

        async def send_marked(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = list(message.get("headers", ()))
                named = {name.lower() for name, _ in own}
                message["headers"] = [*own, *(each for each in _headers(request_id) if each[0] not in named)]
            await send(message)

        before = bind_contextvars(request_id=request_id)
        try:
            with TRACES.span("request", request_id=request_id) as tell:
                try:
                    await self._app(scope, receive, send_marked)
                except Exception as error:
                    # the one place where the unexpected ends
                    _LOG.error("unexpected failure", error_id=request_id, **error_told(error))
                    if status:
                        raise
                    await _failure(request_id)(scope, receive, send_marked)
                path = _PATH_OF.get(scope.get("endpoint"), ELSEWHERE)
                tell("path", path)
                tell("status", status)
                _REQUESTS.add(path=path, status=str(status))
                _SECONDS.observe(perf_counter() - began, path=path)
                _LOG.info("answered", where=path, code=status, milliseconds=_since(began))
        finally:
            reset_contextvars(**before)


def _headers(request_id: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-request-id", request_id.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-store"),
    ]


def _failure(request_id: str) -> Response:
    problem = {"code": Code.INTERNAL.value, "id": request_id}
    return JSONResponse({"errors": [{"message": OPERATOR[Code.INTERNAL], "extensions": problem}]}, 500)


def _since(began: float) -> float:
    return round((perf_counter() - began) * 1_000, 1)
