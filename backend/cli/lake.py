"""Orders for engines beside the database: Parquet out, statistics made of it."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from backend.cli.terminal import Database, check_present, say, settings_from
from backend.clock import wall_clock_ms
from backend.config import Settings
from backend.domain.times import local_day, parse_day
from backend.errors import BadSetting, Refused
from backend.integrations.lake import (
    MEMORY_MB,
    Lake,
    compare_purchases,
    export_lake,
    open_lake,
    rebuild_statistics,
)
from backend.storage.engine import open_engine

DIFFERS = 1
lake = typer.Typer(
    help="Orders as Parquet, and statistics made of them by DuckDB; needs the extra `lake`.",
    epilog="Example: selvedge lake export /var/lake/2026-11-22",
)
Folder = Annotated[Path, typer.Argument(help="The folder.")]
Memory = Annotated[int, typer.Option(min=64, help="What DuckDB may hold, in MB; beyond it goes to disk.")]


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=say, transient=True)


@lake.command(epilog="Example: selvedge lake export /var/lake/2026-11-22")
def export(folder: Folder, memory_mb: Memory = MEMORY_MB, database: Database = None) -> None:
    """Write orders, customers (ids and kinds) and exchange rates as Parquet into a new folder."""
    settings = settings_from(database_url=database)
    check_present(settings)
    made = asyncio.run(_export(settings, folder, memory_mb))
    say.print(f"orders      {made.orders_n:,}")
    say.print(f"customers   {made.customers_n:,}")
    say.print(f"as of       {made.as_of}, in {made.currency}")


async def _export(settings: Settings, folder: Path, memory_mb: int) -> Lake:
    engine = open_engine(settings.database_url, pool_connections_max=1)
    await engine.start()
    try:
        with _bar() as bar:
            shown = bar.add_task("orders", total=None)
            return await export_lake(
                engine,
                folder,
                as_of=local_day(wall_clock_ms(), settings.organisation_timezone),
                currency=settings.reporting_currency,
                memory_mb=memory_mb,
                progress=lambda what, done, total: bar.update(shown, description=what, completed=done, total=total),
            )
    finally:
        await engine.close()


@lake.command(epilog="Example: selvedge lake rebuild /var/lake/2026-11-22 --compare")
def rebuild(
    folder: Folder,
    as_of: Annotated[
        str | None, typer.Option(help="The day to look from, YYYY-MM-DD, else that of the export.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare the purchases found with those kept in the database.")
    ] = False,
    memory_mb: Memory = MEMORY_MB,
    database: Database = None,
) -> None:
    """Make purchases and statistics of the orders in a folder; with --compare, status 1 when the database differs."""
    settings = settings_from(database_url=database)
    try:
        day = None if as_of is None else parse_day(as_of)
    except Refused:
        raise BadSetting(f"--as-of: {as_of!r}; wanted: a day as YYYY-MM-DD") from None
    opened = open_lake(folder)
    with _bar() as bar:
        shown = bar.add_task("statistics", total=None)
        made = rebuild_statistics(
            opened,
            as_of=day,
            memory_mb=memory_mb,
            progress=lambda what, done, total: bar.update(shown, description=what, completed=done, total=total),
        )
    say.print(f"purchases   {made.purchases_n:,}")
    say.print(f"customers   {made.customers_n:,}")
    say.print(f"left out    {made.left_out_n:,}")
    if not compare:
        return
    check_present(settings)
    differ, moved = asyncio.run(_compare(settings, opened))
    told = "as the database keeps them" if not differ else f"{differ:,} rows differ"
    since = ", which has gone on since the export" if moved else ""
    say.print(f"compared    {escape(told + since)}", soft_wrap=True)
    if differ:
        raise typer.Exit(DIFFERS)


async def _compare(settings: Settings, opened: Lake) -> tuple[int, bool]:
    engine = open_engine(settings.database_url, pool_connections_max=1)
    await engine.start()
    try:
        return await compare_purchases(engine, opened)
    finally:
        await engine.close()
