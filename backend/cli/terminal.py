"""What the verbs share: where they speak, what they are given, and who is asking."""

import asyncio
import contextlib
import io
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import asyncpg
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from backend.auth.principal import Principal, PrincipalKind
from backend.clock import wall_clock_ms
from backend.config import PREFIX, Settings, load_messages, read_settings
from backend.domain.messages import LOCALE_DEFAULT, render_problem
from backend.domain.permissions import DEVICES_RIGHT, EVALUATE_RIGHT, SCORE_RIGHT
from backend.errors import BadSetting, Refused
from backend.storage.engine import open_engine
from backend.storage.migrate import migrate as migrate_database
from backend.storage.migrate import pending as pending_migrations
from backend.sync.work import Door, Work, in_work
from backend.usecases.matches import keep_match_keys

T = TypeVar("T")
FAILED_SHOWN = 10
OPERATOR_PRINCIPAL = Principal(
    PrincipalKind.SERVICE,
    service_id="operator",
    rights=frozenset({SCORE_RIGHT, EVALUATE_RIGHT, DEVICES_RIGHT}),
    locale=LOCALE_DEFAULT,
)
"""Whoever may run this program on the server."""
say = Console(highlight=False)
complain = Console(stderr=True, highlight=False)

Host = Annotated[str | None, typer.Option(help=f"Address to listen on, else {PREFIX}HOST.")]
Port = Annotated[int | None, typer.Option(help=f"Port to listen on, else {PREFIX}PORT.")]
Database = Annotated[str | None, typer.Option(help=f"Database, else {PREFIX}DATABASE_URL.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def settings_from(**overrides: object) -> Settings:
    return read_settings(**{name: value for name, value in overrides.items() if value is not None})


def bring_up(settings: Settings) -> list[str]:
    """Names of the migrations applied."""
    # they speak to standard output too
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            plan = asyncio.run(migrate_database(settings.database_url))
        except (OSError, sqlite3.OperationalError, asyncpg.PostgresError) as error:
            raise BadSetting(
                f"{PREFIX}DATABASE_URL: the database cannot be opened ({error}); wanted:"
                f" {Settings.model_fields['database_url'].description}"
            ) from None
    steps = [step.removeprefix("+ ") for step in plan if step.startswith("+ ")]
    if steps:
        asyncio.run(_after_migrating(settings))
    return steps


async def _after_migrating(settings: Settings) -> None:
    """What rows from before a migration lack, and only the program can compute."""
    engine = open_engine(settings.database_url, pool_connections_max=1)
    await engine.start()
    try:
        await keep_match_keys(engine, OPERATOR_PRINCIPAL, clock=wall_clock_ms, retries_max=settings.write_retries_max)
    finally:
        await engine.close()


def pending(settings: Settings) -> list[str]:
    path = settings.database_url.removeprefix("sqlite://")
    if settings.database_url.startswith("sqlite://") and not Path(path).exists():
        raise BadSetting(f"{PREFIX}DATABASE_URL: there is no file {path}; wanted: a database that exists")
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            return asyncio.run(pending_migrations(settings.database_url))
        except (OSError, sqlite3.OperationalError, asyncpg.PostgresError) as error:
            raise BadSetting(
                f"{PREFIX}DATABASE_URL: the database cannot be opened ({error}); wanted:"
                f" {Settings.model_fields['database_url'].description}"
            ) from None


def check_present(settings: Settings) -> None:
    """Raise `BadSetting` for a database that is not of the present shape: this verb changes no shapes."""
    if lacking := pending(settings):
        raise BadSetting(f"{PREFIX}DATABASE_URL: lacks {', '.join(lacking)}; wanted: a database after selvedge migrate")


async def by_operator(settings: Settings, story: Callable[[Work], Awaitable[T]]) -> T:
    engine = open_engine(settings.database_url, pool_connections_max=1)
    await engine.start()
    try:
        told, _ = await in_work(
            engine,
            OPERATOR_PRINCIPAL,
            story,
            clock=wall_clock_ms,
            retries_max=settings.write_retries_max,
            door=Door.JOB,
        )
        return told
    finally:
        await engine.close()


def show_problems(refused: Refused, locale: str = LOCALE_DEFAULT) -> None:
    for problem in refused.problems:
        told = render_problem(load_messages(), problem, locale)
        complain.print(f"[red]{problem.code.value}[/red] {escape(told)}", soft_wrap=True)


def show_counts(counted: Mapping[str, int]) -> None:
    shown = Table(box=None, show_header=False)
    shown.add_column()
    shown.add_column(justify="right")
    for name, count in counted.items():
        shown.add_row(name, f"{count:,}")
    say.print(shown)
