"""Answering requests until stopped."""

import asyncio
import contextlib
import socket

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
from backend.config import PREFIX, Settings
from backend.errors import BadSetting
from backend.schema.root import build_schema
from backend.schema.trusted import check_operations
from backend.storage.engine import open_engine
from backend.telemetry import configure_logs
from backend.usecases.demo import PASSWORD, sign_ins_of
from backend.web.graphiql import is_built
from backend.web.pages import sign_in_example

GRACEFUL_SECONDS = 20
verbs = typer.Typer()


@verbs.command(epilog="Example: selvedge serve --port 8080")
def serve(host: Host = None, port: Port = None, database: Database = None) -> None:
    """Bring the database to the present shape and answer requests until stopped."""
    settings = settings_from(host=host, port=port, database_url=database)
    check_operations(build_schema(), settings)
    listening = _listen(settings)
    with contextlib.closing(listening):
        configure_logs(settings.log_level)
        bring_up(settings)
        if settings.demo:
            ensure_demo(settings)
        app_served = make_app(settings)
        config = uvicorn.Config(
            app_served,
            http="httptools",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACEFUL_SECONDS,
        )
        with contextlib.suppress(KeyboardInterrupt):
            email = asyncio.run(_demo_email(settings))
            _Server(config, app_served, address_of(settings), email, graphiql=settings.graphiql_open).run(
                sockets=[listening]
            )


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(
        self, config: uvicorn.Config, app: Starlette, address: str, demo_email: str | None, *, graphiql: bool
    ) -> None:
        super().__init__(config)
        self._app = app
        self._address = address
        self._demo_email = demo_email
        self._graphiql = graphiql

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            greet(self._address, self._demo_email, graphiql=self._graphiql)

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
