"""Answering requests until stopped."""

import asyncio
import contextlib
import gc
import os
import socket
import tempfile
from collections.abc import Callable
from typing import Annotated

import typer
import uvicorn
from rich.markup import escape
from starlette.applications import Starlette

from backend.app import end_streams, make_app
from backend.cli.starting import ensure_demo
from backend.cli.terminal import (
    Database,
    Host,
    Port,
    bring_up,
    say,
    settings_from,
)
from backend.cli.workers import Workers, stop_with_parent
from backend.config import PREFIX, Settings
from backend.errors import BadSetting
from backend.schema.root import build_schema
from backend.schema.trusted import check_operations
from backend.storage.dialects import Dialect
from backend.storage.engine import open_engine
from backend.telemetry import configure_logs
from backend.tracing import TRACES
from backend.usecases.demo import PASSWORD, sign_ins_of
from backend.web.graphiql import is_built
from backend.web.listener import server_config
from backend.web.pages import sign_in_example
from backend.wiring import open_services

GRACEFUL_SECONDS = 20
YOUNG_OBJECTS_MAX = 20_000
"""Made before it is looked for those that only hold each other alive. Python's own 700 are a part of what one push of a
device makes: looking six times took a twentieth of its work."""
verbs = typer.Typer()


@verbs.command(epilog="Example: selvedge serve --port 8080 --workers 4")
def serve(
    host: Host = None,
    port: Port = None,
    database: Database = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help=f"How many processes answer, else {PREFIX}WORKERS.")
    ] = None,
    worker: Annotated[str | None, typer.Option(hidden=True, help="Of a parent: its socket and pipe.")] = None,
) -> None:
    """Bring the database to the present shape and answer requests until stopped."""
    settings = settings_from(host=host, port=port, database_url=database, workers=workers)
    configure_logs(settings.log_level)
    if worker is not None:
        _work(settings, worker)
        return
    check_operations(build_schema(), settings)
    listening = _listen(settings)
    with contextlib.closing(listening):
        bring_up(settings)
        if settings.demo:
            ensure_demo(settings)
        email = asyncio.run(_demo_email(settings))

        def ready() -> None:
            greet(address_of(settings), email, graphiql=settings.graphiql_open)

        if settings.workers == 1:
            _answer(settings, listening, ready)
            return
        _check_workers(settings)
        status = _with_workers(settings, listening, ready)
    if status:
        raise typer.Exit(status)


def _answer(
    settings: Settings, listening: socket.socket, ready: Callable[[], None], *, of_parent: bool = False
) -> None:
    app_served = make_app(settings)
    config = server_config(app_served, settings, timeout_graceful_shutdown=GRACEFUL_SECONDS)
    end_traces = TRACES.start(settings.traces_url, settings.traces_share)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            _Server(config, app_served, ready, of_parent=of_parent).run(sockets=[listening])
    except SystemExit:
        # uvicorn ends the process where the application does not start, and says no more than that
        if isinstance(failure := getattr(app_served.state, "start_failure", None), BadSetting):
            raise failure from None
        raise
    finally:
        end_traces()


def _work(settings: Settings, given: str) -> None:
    """One of several processes: answers on the parent's socket until stopped, or until the parent is gone."""
    listening_number, told = (int(part) for part in given.split(","))

    def ready() -> None:
        with contextlib.suppress(BrokenPipeError):  # the parent went meanwhile: the standard input tells
            os.write(told, b"1")
        os.close(told)

    with socket.socket(fileno=listening_number) as listening:
        _answer(settings, listening, ready, of_parent=True)


def _with_workers(settings: Settings, listening: socket.socket, ready: Callable[[], None]) -> int:
    # what a first start makes is made once: keys, and what was erased stays erased
    asyncio.run(_open_once(settings))
    said: list[bool] = []

    def ready_first() -> None:
        if not said:
            said.append(True)
            ready()

    with tempfile.TemporaryDirectory(prefix="selvedge-metrics-", ignore_cleanup_errors=True) as metrics_folder:
        workers = Workers(
            settings,
            listening,
            metrics_folder=metrics_folder,
            graceful_seconds=GRACEFUL_SECONDS,
            ready=ready_first,
        )
        return asyncio.run(workers.run())


async def _open_once(settings: Settings) -> None:
    async with open_services(settings):
        pass


def _check_workers(settings: Settings) -> None:
    """Raise `BadSetting` where the workers' pools together want more connections than PostgreSQL gives."""
    if os.name != "posix":
        raise BadSetting(f"{PREFIX}WORKERS: several processes share a socket on POSIX only; wanted: 1")
    wanted = settings.workers * (settings.pool_connections_max + 1)
    # past a pooler the server's own number says nothing
    if settings.poke_listen_url is not None or settings.pooler_url is not None:
        return
    given = asyncio.run(_connections_given(settings))
    if given is not None and wanted > given:
        raise BadSetting(
            f"{PREFIX}WORKERS, {PREFIX}POOL_CONNECTIONS_MAX: {settings.workers} workers may open {wanted} connections,"
            f" the server gives {given}; wanted: fewer of either, or a pooler and {PREFIX}POOLER_URL"
        )


async def _connections_given(settings: Settings) -> int | None:
    engine = open_engine(settings.database_url, pool_connections_max=1)
    if engine.dialect is not Dialect.POSTGRES:
        return None
    await engine.start()
    try:
        async with engine.read() as conn:
            rows = await conn.fetch(
                "SELECT current_setting('max_connections')::int"
                " - current_setting('superuser_reserved_connections')::int"
            )
        return int(rows[0][0])
    finally:
        await engine.close()


class _Server(uvicorn.Server):
    """Says that it listens once it does."""

    def __init__(self, config: uvicorn.Config, app: Starlette, ready: Callable[[], None], *, of_parent: bool) -> None:
        super().__init__(config)
        self._app = app
        self._ready = ready
        self._of_parent = of_parent

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            # what is made at the start stays: looking through it again and again stops everybody for .1 s each time
            gc.collect()
            gc.freeze()
            # what a request makes is mostly gone by the time it is answered, and needs no looking for
            gc.set_threshold(YOUNG_OBJECTS_MAX, *gc.get_threshold()[1:])
            if self._of_parent:
                stop_with_parent(asyncio.get_running_loop(), self._stop)
            self._ready()

    def _stop(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # streams end by themselves only when their readers leave; the others are waited for
        if self.started:
            end_streams(self._app)
        await super().shutdown(sockets)


async def _demo_email(settings: Settings) -> str | None:
    """A colleague of the demo company to sign in as, where that is what the database holds."""
    engine = open_engine(settings.database_url, pool_connections_max=1)
    await engine.start()
    try:
        sign_ins = await sign_ins_of(engine)
    finally:
        await engine.close()
    return sign_ins[0].email if sign_ins else None


def greet(address: str, demo_email: str | None, *, graphiql: bool) -> None:
    """Where the server is, and how to ask it something; with the demo company the command works as printed."""
    say.print(f"Selvedge answers at [bold]{address}/graphql[/bold]  (stop with Ctrl-C)")
    if is_built() and graphiql:
        say.print(f"GraphiQL, to look around in: [bold]{address}/graphiql[/bold]; or sign in from a terminal:\n")
    elif graphiql:
        say.print(f"GraphiQL is not built here: {address}/graphiql shows how to ask from a terminal, or sign in now:\n")
    else:
        say.print("To sign in from a terminal:\n")
    example = sign_in_example(address, email=demo_email, password=PASSWORD) if demo_email else sign_in_example(address)
    say.print(escape(example), soft_wrap=True)


def address_of(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


def _listen(settings: Settings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, backlog=2_048)
    except OSError as error:
        raise BadSetting(
            f"{PREFIX}HOST, {PREFIX}PORT: cannot listen on {settings.host}:{settings.port} ({error.strerror});"
            " wanted: an address of this machine and a free port"
        ) from None
