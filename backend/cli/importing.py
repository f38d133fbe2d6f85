"""Taking over data from other systems."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from backend.cli.terminal import (
    FAILED_SHOWN,
    Database,
    bring_up,
    complain,
    say,
    settings_from,
    show_counts,
)
from backend.clock import wall_clock_ms
from backend.config import Settings, load_messages
from backend.domain.imports import ORDER_ID_COLUMN, TARGETS, ImportState, KeptReason
from backend.domain.messages import LOCALE_DEFAULT, label, render_problem
from backend.errors import BadSetting, Refused
from backend.integrations.tables import Table as TableOfRows
from backend.integrations.tables import failed_rows_csv, read_table
from backend.storage.engine import open_engine
from backend.usecases.imports.orders import ImportReport, derived_ids, import_orders, importer
from backend.usecases.imports.undo import UndoReport, undo_import
from backend.usecases.imports.wishes import ImportWish

IMPORT_REFUSED = 1
FAILED_COLUMNS = ("selvedge_row", "selvedge_codes", "selvedge_reasons")
"""Columns a file of failed rows has beside its own."""
importing = typer.Typer(
    help="Take over data from other systems.",
    no_args_is_help=True,
    epilog="Example: selvedge import orders history.csv --map customerCode=code --system erp",
)


@importing.command(
    "orders",
    epilog="Example: selvedge import orders history.csv --map customerCode=customer_code --map netAmount=net_amount_usd"
    " --currency USD --system cdnow --kind CONSUMER --territory /cn/east/sh-01",
)
def import_orders_verb(
    file: Annotated[
        Path | None, typer.Argument(help="CSV (UTF-8) or XLSX, one order a row.", exists=True, dir_okay=False)
    ] = None,
    system: Annotated[str, typer.Option(help="The system the rows come from; its ids are kept under it.")] = "",
    map_: Annotated[
        list[str] | None, typer.Option("--map", help=f"TARGET=COLUMN, repeated. Targets: {', '.join(TARGETS)}.")
    ] = None,
    currency: Annotated[str | None, typer.Option(help="ISO 4217 code of all amounts, unless a column says it.")] = None,
    kind: Annotated[str | None, typer.Option(help="Kind of new customers, unless a column says it.")] = None,
    territory: Annotated[str | None, typer.Option(help="Path of the patch new customers go to.")] = None,
    match_codes: Annotated[
        bool, typer.Option("--match-codes", help="Find customers by our own code where the system's is not known yet.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; say what would happen.")] = False,
    failed_rows: Annotated[Path | None, typer.Option(help="Write the rows not taken here, with the reasons.")] = None,
    undo: Annotated[str | None, typer.Option(metavar="BATCH", help="Take this import back instead.")] = None,
    as_: Annotated[str | None, typer.Option("--as", metavar="EMAIL", help="Who imports, else an admin.")] = None,
    database: Database = None,
) -> None:
    """Take over order history. The same file again changes nothing; a run cut short goes on where it stopped."""
    settings = settings_from(database_url=database)
    if (file is None) == (undo is None):
        raise BadSetting("FILE, --undo: wanted: a file to import, or the batch to take back")
    wish = ImportWish(
        file.name if file else "", system, _mapping(map_ or []), currency, kind, territory, match_codes=match_codes
    )
    bring_up(settings)
    try:
        if undo is not None:
            _show_undone(asyncio.run(_undo_import(settings, undo, as_)))
        elif file is not None:
            asyncio.run(_import_orders(settings, file, wish, as_, dry_run, failed_rows))
    except Refused as refused:
        messages = load_messages()
        for problem in refused.problems:
            told = render_problem(messages, problem, LOCALE_DEFAULT)
            where = f"{'.'.join(problem.path)}: " if problem.path else ""
            complain.print(f"[red]{problem.code.value}[/red] {escape(where + told)}", soft_wrap=True)
        raise typer.Exit(IMPORT_REFUSED) from None


def _mapping(pairs: Sequence[str]) -> dict[str, str]:
    """Target → column of `TARGET=COLUMN` texts."""
    columns: dict[str, str] = {}
    for pair in pairs:
        target, given, column = pair.partition("=")
        if not given or target.strip() in columns:
            raise BadSetting(f"--map: {pair!r}; wanted: TARGET=COLUMN, each target once")
        columns[target.strip()] = column.strip()
    return columns


async def _import_orders(
    settings: Settings, file: Path, wish: ImportWish, email: str | None, dry_run: bool, failed_rows: Path | None
) -> None:
    columns = (TextColumn("importing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    engine = open_engine(settings.database_url, pool_connections_max=2)
    await engine.start()
    try:
        with file.open("rb") as content, Progress(*columns, console=say, transient=True) as bar:
            table = read_table(content, bytes_max=settings.import_file_bytes_max)
            shown = bar.add_task("rows", total=table.rows_total)
            who = await importer(engine, email)
            began = perf_counter()
            report = await import_orders(
                engine,
                who,
                table,
                wish,
                settings=settings,
                clock=wall_clock_ms,
                failed_max=table.rows_total,
                dry_run=dry_run,
                progress=lambda done, _total: bar.update(shown, completed=done),
            )
            seconds = perf_counter() - began
            if failed_rows is not None:
                ids = await derived_ids(engine, who, table, wish, settings=settings, clock=wall_clock_ms)
                _write_failed(table, report, ids, failed_rows)
    finally:
        await engine.close()
    _show_imported(report, seconds, failed_rows)


def _write_failed(table: TableOfRows, report: ImportReport, ids: Mapping[int, str], path: Path) -> None:
    messages = load_messages()
    added = ((ORDER_ID_COLUMN,) if ids else ()) + FAILED_COLUMNS
    reasons = {
        row.number: (
            *((ids.get(row.number, ""),) if ids else ()),
            str(row.number),
            " ".join(problem.code.value for problem in row.problems),
            " ".join(render_problem(messages, problem, LOCALE_DEFAULT) for problem in row.problems),
        )
        for row in report.failed
    }
    with path.open("w", encoding="utf-8", newline="") as out:
        failed_rows_csv(table, reasons, added, out)


def _show_imported(report: ImportReport, seconds: float, failed_rows: Path | None) -> None:
    messages = load_messages()
    for row in report.failed[:FAILED_SHOWN]:
        told = " ".join(render_problem(messages, problem, LOCALE_DEFAULT) for problem in row.problems)
        say.print(f"row {row.number}: {escape(told)}", soft_wrap=True)
    if len(report.failed) > FAILED_SHOWN:
        say.print(f"… and {len(report.failed) - FAILED_SHOWN:,} more rows that were not taken")
    counted = {
        "rows": report.rows_total,
        "orders created": report.orders_created,
        "customers created": report.customers_created,
        "rows unchanged": report.rows_unchanged,
        "rows not taken": report.rows_failed,
    }
    show_counts(counted)
    if report.batch is None:
        say.print("a dry run: nothing was written")
    elif report.repeated and report.batch.state == ImportState.DONE:
        say.print(f"this content was imported before, as batch {report.batch.id}", soft_wrap=True)
    else:
        rate = f"{report.rows_total / seconds:,.0f} rows/s" if seconds > 0 else ""
        say.print(f"batch {report.batch.id}, {seconds:.2f} s, {rate}", soft_wrap=True)
    if failed_rows is not None:
        say.print(f"wrote the rows not taken to {escape(str(failed_rows))}", soft_wrap=True)


async def _undo_import(settings: Settings, batch_id: str, email: str | None) -> UndoReport:
    engine = open_engine(settings.database_url, pool_connections_max=2)
    await engine.start()
    try:
        who = await importer(engine, email)
        return await undo_import(engine, who, batch_id, settings=settings, clock=wall_clock_ms)
    finally:
        await engine.close()


def _show_undone(report: UndoReport) -> None:
    messages = load_messages()
    for kept in report.kept[:FAILED_SHOWN]:
        why = label(messages, KeptReason.__name__, kept.reason.value, LOCALE_DEFAULT)
        say.print(f"kept {kept.collection} {kept.record_id}: {escape(why)}", soft_wrap=True)
    if len(report.kept) > FAILED_SHOWN:
        say.print(f"… and {len(report.kept) - FAILED_SHOWN:,} more records that stay")
    show_counts(
        {
            "orders deleted": report.orders_deleted,
            "customers deleted": report.customers_deleted,
            "records kept": len(report.kept),
        }
    )
