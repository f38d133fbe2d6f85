"""The command line: one verb for each thing an operator does. A wrong setting ends it with status 2, named."""

import asyncio
import contextlib
import difflib
import io
import json
import socket
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Annotated, TypeVar, get_args
from urllib.parse import urlsplit

import asyncpg
import typer
import uvicorn
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from starlette.applications import Starlette

from backend.app import end_streams, make_app
from backend.auth.keys import load_rescue_keys
from backend.auth.passwords import Passwords
from backend.auth.principal import Principal, PrincipalKind, Role
from backend.clock import wall_clock_ms
from backend.config import PREFIX, Settings, load_messages, read_settings
from backend.domain.demo.frame import PROFILES
from backend.domain.demo.world import SEED, SignIn, World
from backend.domain.devices import DeviceState
from backend.domain.imports import ORDER_ID_COLUMN, TARGETS, ImportState, KeptReason
from backend.domain.issues import field_kinds
from backend.domain.line_texts import line_text
from backend.domain.messages import LOCALE_DEFAULT, LOCALES, label, render_problem
from backend.domain.names import display_name
from backend.domain.times import instant_text, local_day, parse_day
from backend.errors import OPERATOR, RETRY, BadSetting, Code, Problem, Refused, Retry
from backend.integrations.tables import Table as TableOfRows
from backend.integrations.tables import failed_rows_csv, read_table
from backend.schema.root import print_sdl
from backend.schema.rxdb import rxdb_schemas_text
from backend.storage.engine import Engine, open_engine
from backend.storage.migrate import migrate as migrate_database
from backend.storage.migrate import pending as pending_migrations
from backend.sync.changes import Intent
from backend.sync.collect import Collected, next_epoch
from backend.sync.collect import collect as collect_history
from backend.sync.doctor import Overview, Report, check_feed, look_over, repair_feed
from backend.sync.push import UNNUMBERED, Answer, Mutation
from backend.sync.rebuild import rebuild_feed
from backend.sync.rescue import Owner, Rescue, open_rescue, owner_of, play_rescue
from backend.sync.versions import declared_versions
from backend.sync.watermelon import app_schema
from backend.sync.work import Door, Work, in_work
from backend.telemetry import configure_logs
from backend.usecases.demo import PASSWORD, sign_ins_of
from backend.usecases.demo import ensure_demo as build_demo
from backend.usecases.demo_files import hang_demo_files
from backend.usecases.devices import DEVICES_RIGHT, DeviceStatus, StatusPage, Wanted, change_device, sync_status
from backend.usecases.import_undo import UndoReport, undo_import
from backend.usecases.imports import ImportReport, ImportWish, derived_ids, import_orders, importer
from backend.usecases.insights import (
    SCORE_RIGHT,
    Ranking,
    RunSummary,
    run_scores,
    territory_named,
    visit_priorities,
)
from backend.usecases.matches import keep_match_keys, queue_matches
from backend.usecases.people import create_user
from backend.usecases.uploads import Findings
from backend.web.pages import sign_in_example
from backend.wiring import USE_CASES, open_file_service, open_services

T = TypeVar("T")
SETTING_WRONG = 2
CONTRACT_DRIFTED = 1
DATABASE_NOT_EMPTY = 1
IMPORT_REFUSED = 1
SCORE_REFUSED = 1
USER_REFUSED = 1
RESCUE_REFUSED = 1
DRIFT_FOUND = 1
EPOCH_REFUSED = 1
DEVICE_REFUSED = 1
DEVICES_SHOWN = 50
GRACEFUL_SECONDS = 20
FAILED_SHOWN = 10
TOP_SHOWN = 5
EPOCH_BITS = 40
SCORE_PHASES = {"READ": "reading", "COMPUTE": "computing", "WRITE": "writing"}
OPERATOR_PRINCIPAL = Principal(
    PrincipalKind.SERVICE, service_id="operator", rights=frozenset({SCORE_RIGHT, DEVICES_RIGHT}), locale=LOCALE_DEFAULT
)
"""Whoever may run this program on the server."""
FAILED_COLUMNS = ("selvedge_row", "selvedge_codes", "selvedge_reasons")
"""Columns a file of failed rows has beside its own."""
CONTRACT_DIR = Path(__file__).resolve().parent.parent / "mobile_contract"

app = typer.Typer(
    name="selvedge",
    help="Offline-first field sales for apparel companies: the server and its tools.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
importing = typer.Typer(help="Take over data from other systems.", no_args_is_help=True)
app.add_typer(importing, name="import")
devices = typer.Typer(help="See how devices stand, and give them up.", no_args_is_help=True)
app.add_typer(devices, name="devices")
say = Console(highlight=False)
complain = Console(stderr=True, highlight=False)

Host = Annotated[str | None, typer.Option(help=f"Address to listen on, else {PREFIX}HOST.")]
Port = Annotated[int | None, typer.Option(help=f"Port to listen on, else {PREFIX}PORT.")]
Database = Annotated[str | None, typer.Option(help=f"Database, else {PREFIX}DATABASE_URL.")]


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line; returns the status to exit with."""
    try:
        app(list(arguments), standalone_mode=True)
    except BadSetting as bad:
        for line in str(bad).splitlines():
            complain.print(f"[red]setting[/red] {escape(line)}", soft_wrap=True)
        return SETTING_WRONG
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


@app.callback()
def _frame() -> None:
    """Offline-first field sales for apparel companies: the server and its tools."""


@app.command(epilog="Example: selvedge serve --port 8080")
def serve(host: Host = None, port: Port = None, database: Database = None) -> None:
    """Bring the database to the present shape and answer requests until stopped."""
    settings = _settings(host=host, port=port, database_url=database)
    listening = _listen(settings)
    with contextlib.closing(listening):
        configure_logs(settings.log_level)
        _migrate(settings)
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
            _Server(config, app_served, _address(settings), asyncio.run(_demo_email(settings))).run(sockets=[listening])


@app.command(epilog="Example: selvedge migrate --database postgres://selvedge@127.0.0.1:5432/selvedge")
def migrate(database: Database = None) -> None:
    """Bring the database to the present shape; harmless when it is there already."""
    steps = _migrate(_settings(database_url=database))
    for step in steps:
        say.print(f"applied {escape(step)}", soft_wrap=True)
    if not steps:
        say.print("nothing to apply")


@app.command(epilog="Example: selvedge demo --profile tiny --database sqlite://var/tiny.sqlite3")
def demo(
    profile: Annotated[str, typer.Option(help=f"How large: {', '.join(PROFILES)}.")] = "demo",
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other customers and orders.")] = SEED,
    as_of: Annotated[str | None, typer.Option(help="The day it is made for, YYYY-MM-DD, else today.")] = None,
    database: Database = None,
) -> None:
    """Build the demo company in an empty database: people, customers, two years of visits and orders."""
    settings = _settings(database_url=database)
    if profile not in PROFILES:
        raise BadSetting(f"--profile: {profile!r}; wanted: one of {', '.join(PROFILES)}")
    try:
        day = None if as_of is None else parse_day(as_of)
    except Refused:
        raise BadSetting(f"--as-of: {as_of!r}; wanted: a day as YYYY-MM-DD") from None
    _migrate(settings)
    if not ensure_demo(settings, profile=profile, seed=seed, as_of_day=day):
        complain.print("the database is not empty: the demo company needs one of its own (--database)")
        raise typer.Exit(DATABASE_NOT_EMPTY)


def ensure_demo(settings: Settings, *, profile: str = "demo", seed: int = SEED, as_of_day: str | None = None) -> bool:
    """Build the demo company where the (migrated) database is empty; says so, and shows the sign-ins there are.

    False, with nothing changed, where the database holds anything.
    """
    day = as_of_day or local_day(wall_clock_ms(), settings.organisation_timezone)
    columns = (TextColumn("building the demo company"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=say, transient=True) as bar:
        shown = bar.add_task("rows", total=None, visible=False)

        def tell(_doing: str, done: int, of: int) -> None:
            bar.update(shown, completed=done, total=of, visible=True)

        async def build() -> tuple[World | None, list[SignIn]]:
            engine = open_engine(settings.database_url, pool_connections_max=1)
            passwords = Passwords(workers=1)
            await engine.start()
            try:
                world = await build_demo(
                    engine,
                    profile=profile,
                    seed=seed,
                    as_of_day=day,
                    password_hash=await passwords.hash(PASSWORD),
                    clock=wall_clock_ms,
                    progress=tell,
                )
                if world is not None:
                    retries_max = settings.write_retries_max
                    for look in (keep_match_keys, queue_matches):
                        await look(engine, OPERATOR_PRINCIPAL, clock=wall_clock_ms, retries_max=retries_max)
                    files = open_file_service(settings, engine, wall_clock_ms)
                    try:
                        change = USE_CASES["attachments", Intent.CREATE]
                        await hang_demo_files(engine, change, files.send, clock=wall_clock_ms)
                    finally:
                        await files.close()
                return world, await sign_ins_of(engine)
            finally:
                passwords.close()
                await engine.close()

        world, sign_ins = asyncio.run(build())
    if world is not None:
        rows_n = sum(len(table) for table in world.tables)
        say.print(
            f"built the demo company: profile {profile}, seed {seed}, as of {day}, {rows_n:,} rows", soft_wrap=True
        )
        summary, _ = asyncio.run(_score(settings, day, None))
        say.print(f"scored {summary.customers_scored:,} customers as of {summary.as_of}", soft_wrap=True)
    if sign_ins:
        say.print(f"demo sign-ins, password [bold]{PASSWORD}[/bold]:")
        for one in sign_ins:
            say.print(f"  {one.role.value:14}{escape(one.email):34}{escape(one.name)}", soft_wrap=True)
    return world is not None


@app.command(epilog="Example: selvedge user li.na@example.com --name 李娜 --role ADMIN")
def user(
    email: Annotated[str, typer.Argument(help="What the colleague signs in with.")],
    name: Annotated[str, typer.Option(help="As shown to others.")],
    role: Annotated[str, typer.Option(help=f"One of {', '.join(Role)}.")],
    locale: Annotated[str, typer.Option(help=f"Language: {', '.join(LOCALES)}.")] = LOCALE_DEFAULT,
    password: Annotated[
        str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True, help="Asked for when left out.")
    ] = "",
    database: Database = None,
) -> None:
    """Add a colleague; this is how a new organisation gets its first admin."""
    settings = _settings(database_url=database)
    _migrate(settings)
    try:
        user_id = asyncio.run(_add_user(settings, email, name, role, locale, password))
    except Refused as refused:
        for problem in refused.problems:
            told = render_problem(load_messages(), problem, LOCALE_DEFAULT)
            complain.print(f"[red]{problem.code.value}[/red] {escape(told)}", soft_wrap=True)
        raise typer.Exit(USER_REFUSED) from None
    say.print(f"added {escape(email)} as {role}, id {user_id}", soft_wrap=True)


async def _add_user(settings: Settings, email: str, name: str, role: str, locale: str, password: str) -> str:
    async with open_services(settings) as services:
        password_hash, problems = await services.sessions.password_hash(password)

        async def story(work: Work) -> str:
            return await create_user(
                work, email=email, name=name, role=role, password_hash=password_hash, locale=locale, problems=problems
            )

        user_id, _ = await in_work(
            services.engine,
            OPERATOR_PRINCIPAL,
            story,
            clock=services.clock,
            retries_max=settings.write_retries_max,
            door=Door.JOB,
        )
        return user_id


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
    settings = _settings(database_url=database)
    if (file is None) == (undo is None):
        raise BadSetting("FILE, --undo: wanted: a file to import, or the batch to take back")
    wish = ImportWish(
        file.name if file else "", system, _mapping(map_ or []), currency, kind, territory, match_codes=match_codes
    )
    _migrate(settings)
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
    _show_counts(counted)
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
    _show_counts(
        {
            "orders deleted": report.orders_deleted,
            "customers deleted": report.customers_deleted,
            "records kept": len(report.kept),
        }
    )


def _show_counts(counted: Mapping[str, int]) -> None:
    shown = Table(box=None, show_header=False)
    shown.add_column()
    shown.add_column(justify="right")
    for name, count in counted.items():
        shown.add_row(name, f"{count:,}")
    say.print(shown)


@app.command(epilog="Example: selvedge score --as-of 1998-06-30 --territory /cn/east/sh-01")
def score(
    as_of: Annotated[str | None, typer.Option(help="The day to look from, YYYY-MM-DD, else today.")] = None,
    territory: Annotated[
        str | None, typer.Option(help="Path or id: write only the scores of this territory and those below it.")
    ] = None,
    locale: Annotated[str, typer.Option(help=f"Language of the lines: {', '.join(LOCALES)}.")] = LOCALE_DEFAULT,
    database: Database = None,
) -> None:
    """Score every customer, write what changed, and show whom to visit first and why."""
    settings = _settings(database_url=database)
    try:
        day = None if as_of is None else parse_day(as_of)
    except Refused:
        raise BadSetting(f"--as-of: {as_of!r}; wanted: a day as YYYY-MM-DD") from None
    _migrate(settings)
    try:
        summary, found = asyncio.run(_score(settings, day, territory))
    except Refused as refused:
        for problem in refused.problems:
            told = render_problem(load_messages(), problem, locale)
            complain.print(f"[red]{problem.code.value}[/red] {escape(told)}", soft_wrap=True)
        raise typer.Exit(SCORE_REFUSED) from None
    _show_run(summary, locale)
    _show_ranking(found, locale)


async def _score(settings: Settings, day: str | None, territory: str | None) -> tuple[RunSummary, Ranking]:
    engine = open_engine(settings.database_url, pool_connections_max=4)
    await engine.start()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        territory_id = None if territory is None else await territory_named(engine, territory)
        with Progress(*columns, console=say, transient=True) as bar:
            shown = {phase: bar.add_task(text, total=None) for phase, text in SCORE_PHASES.items()}
            summary = await run_scores(
                engine,
                OPERATOR_PRINCIPAL,
                settings=settings,
                clock=wall_clock_ms,
                as_of=day,
                territory_id=territory_id,
                progress=lambda phase, done, total: bar.update(shown[phase], completed=done, total=total),
            )
        found = await visit_priorities(
            engine, None, settings=settings, on=summary.as_of, first=TOP_SHOWN, territory_id=territory_id
        )
    finally:
        await engine.close()
    return summary, found


def _show_run(summary: RunSummary, locale: str) -> None:
    messages = load_messages()
    level = f"{summary.level:.3f}" if summary.level_measured else "not measured, history too short"
    shown = Table(box=None, show_header=False)
    for name, value in (
        ("as of", summary.as_of),
        ("run", f"{summary.id} {label(messages, 'RunState', summary.state.value, locale)}"),
        ("purchase model", label(messages, "FitStatus", summary.fit_status, locale)),
        ("level factor", level),
        ("tables", summary.table_version),
        ("customers", f"{summary.customers_scored:,}"),
        ("changed", f"{summary.customers_changed:,}"),
        ("withdrawn", f"{summary.customers_removed:,}"),
        ("left out", f"{summary.left_out_n:,}"),
        ("seconds", f"{summary.milliseconds / 1000:.2f}"),
    ):
        shown.add_row(name, escape(value))
    say.print(shown)
    for problem in summary.problems:
        told = render_problem(messages, problem, locale)
        complain.print(f"[yellow]{problem.code.value}[/yellow] {escape(told)}", soft_wrap=True)


def _show_ranking(found: Ranking, locale: str) -> None:
    messages = load_messages()
    if found.empty is not None:
        say.print(escape(label(messages, "EmptyBecause", found.empty.value, locale)))
        return
    say.print(f"\nvisit first on {found.on}, of {found.total:,}:")
    for item in found.items:
        name = display_name(item.names, locale) or item.customer_id
        say.print(f"[bold]{item.rank:3}  {item.score:3}  {escape(name)}[/bold]  {item.customer_id}", soft_wrap=True)
        for line in item.lines:
            if line.points:
                told = line_text(messages, line, locale, found.currency)
                say.print(f"     {line.points:+4}  {escape(told)}", soft_wrap=True)


@app.command(epilog="Example: selvedge doctor feed --repair; after an upgrade: selvedge doctor feed --rebuild")
def doctor(
    what: Annotated[
        str | None,
        typer.Argument(
            help="feed: compare what devices are told with the tables. files: compare the files kept with attachments."
        ),
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is found.")] = False,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Print documents of an earlier shape anew, when no older server runs any more."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Say what `feed` finds as JSON, for whoever watches at night.")
    ] = False,
    database: Database = None,
) -> None:
    """Show how the database stands; with `feed` or `files`, find drift (status 1 when there is) and mend it."""
    settings = _settings(database_url=database)
    if what not in (None, "feed", "files") or (repair and what is None) or ((rebuild or as_json) and what != "feed"):
        raise BadSetting(
            "WHAT, --repair, --rebuild, --json: wanted: feed, files (with --repair only), or nothing for the overview"
        )
    lacking = _pending(settings)
    if what is None:
        _show_overview(settings, lacking)
    if lacking:
        raise BadSetting(f"{PREFIX}DATABASE_URL: lacks {', '.join(lacking)}; wanted: a database after selvedge migrate")
    if what == "feed" and asyncio.run(_doctor_feed(settings, repair=repair, rebuild=rebuild, as_json=as_json)):
        raise typer.Exit(DRIFT_FOUND)
    if what == "files" and not asyncio.run(_doctor_files(settings, repair)):
        raise typer.Exit(DRIFT_FOUND)


def _pending(settings: Settings) -> list[str]:
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


def _show_overview(settings: Settings, lacking: Sequence[str]) -> None:
    address = urlsplit(settings.database_url)
    host = f"{address.hostname or ''}:{address.port}" if address.port else address.hostname or ""
    say.print(f"database    {escape(f'{address.scheme}://{host}{address.path}')}", soft_wrap=True)
    say.print(f"migrations  {escape(', '.join(lacking)) + ' to apply' if lacking else 'up to date'}", soft_wrap=True)
    if lacking:
        return
    seen = asyncio.run(_look_over(settings))
    say.print(f"clock       {seen.clock} (epoch {seen.clock >> EPOCH_BITS}, step {seen.clock % (1 << EPOCH_BITS):,})")
    say.print(f"horizon     {seen.horizon}")
    say.print(f"devices     {seen.devices:,} active")
    run = seen.last_run
    told = (
        f"{run.as_of} {run.state}, {run.customers_scored:,} scored, {run.customers_changed:,} changed"
        if run
        else "none"
    )
    say.print(f"score run   {told}")
    shown = Table("collection", box=None)
    for name in ("records", "told", "tombstones"):
        shown.add_column(name, justify="right")
    for name, counts in seen.counts.items():
        shown.add_row(name, *(f"{count:,}" for count in counts))
    say.print(shown)


async def _look_over(settings: Settings) -> Overview:
    engine = open_engine(settings.database_url, pool_connections_max=1)
    await engine.start()
    try:
        return await look_over(engine)
    finally:
        await engine.close()


async def _doctor_feed(settings: Settings, *, repair: bool, rebuild: bool, as_json: bool) -> int:
    """How much drift is left."""
    show = _tell_drift if as_json else _show_drift
    engine = open_engine(settings.database_url, pool_connections_max=2)
    await engine.start()
    try:
        if rebuild:
            await _rebuild(settings, engine, complain if as_json else say)
        with Progress(
            TextColumn("{task.description}"), TimeElapsedColumn(), console=complain if as_json else say, transient=True
        ) as bar:
            shown = bar.add_task("records", total=None)

            def tell(collection: str, done: int) -> None:
                bar.update(shown, description=f"{collection} {done:,}")

            report = await check_feed(engine, progress=tell)
            show(report)
            if not repair or not report.drifted:
                return report.drifted
            mended = await repair_feed(
                engine,
                OPERATOR_PRINCIPAL,
                report,
                clock=wall_clock_ms,
                retries_max=settings.write_retries_max,
                progress=tell,
            )
            (complain if as_json else say).print(f"mended {mended:,}; looking again")
            report = await check_feed(engine, progress=tell)
            show(report)
            return report.drifted
    finally:
        await engine.close()


async def _doctor_files(settings: Settings, repair: bool) -> bool:
    """Whether every file is there and none too many, after mending if that was asked for."""
    engine = open_engine(settings.database_url, pool_connections_max=2)
    await engine.start()
    files = open_file_service(settings, engine, wall_clock_ms)
    try:
        found = await files.survey()
        _show_files(found)
        if repair and not found.clean:
            await files.repair(found)
            await files.collect()
            say.print("mended; looking again")
            found = await files.survey()
            _show_files(found)
        return found.clean
    finally:
        await files.close()
        await engine.close()


def _show_files(found: Findings) -> None:
    say.print(f"{found.kept:,} files, {found.kept_bytes:,} bytes")
    for label_of, lines in (
        ("nothing refers to", [(digest, "") for digest in found.orphans]),
        ("missing", [(digest, " ".join(ids)) for digest, ids in found.missing.items()]),
        ("damaged", [(digest, " ".join(ids)) for digest, ids in found.damaged.items()]),
    ):
        for digest, ids in lines[:FAILED_SHOWN]:
            say.print(f"  {label_of} {digest} {ids}", soft_wrap=True)
        if len(lines) > FAILED_SHOWN:
            say.print(f"  {label_of}: {len(lines) - FAILED_SHOWN:,} more")


async def _rebuild(settings: Settings, engine: Engine, out: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=out, transient=True) as bar:
        shown: dict[str, TaskID] = {}

        def tell(collection: str, done: int, total: int) -> None:
            if collection not in shown:
                shown[collection] = bar.add_task(collection, total=total)
            bar.update(shown[collection], completed=done)

        rebuilt = await rebuild_feed(
            engine,
            OPERATOR_PRINCIPAL,
            clock=wall_clock_ms,
            retries_max=settings.write_retries_max,
            progress=tell,
        )
    out.print(f"rebuilt {rebuilt.reprinted:,} documents; {rebuilt.touched:,} had drifted and were written again")


def _show_drift(report: Report) -> None:
    say.print(f"checked {report.checked:,} records: {report.drifted:,} drifted")
    if report.behind:
        say.print(f"of an earlier shape: {report.behind:,}; selvedge doctor feed --rebuild prints them anew")
    for (collection, drift), count in sorted(report.counts.items()):
        say.print(f"  {collection:18}{drift.value:10}{count:,}")
    for finding in report.findings[:FAILED_SHOWN]:
        say.print(f"  {finding.drift.value} {finding.collection} {finding.record_id} {finding.scope}", soft_wrap=True)


def _tell_drift(report: Report) -> None:
    """One line of JSON per look."""
    told = {
        "checked": report.checked,
        "drifted": report.drifted,
        "behind": report.behind,
        "counts": [
            {"collection": collection, "drift": drift.value, "count": count}
            for (collection, drift), count in sorted(report.counts.items())
        ],
        "findings": [
            {"drift": one.drift.value, "collection": one.collection, "recordId": one.record_id, "scope": one.scope}
            for one in report.findings
        ],
    }
    typer.echo(json.dumps(told))


@app.command(epilog="Example: selvedge collect   (every night, from cron or a timer)")
def collect(database: Database = None) -> None:
    """Let go of history that every device has seen and that is old enough; settle devices whose time is over."""
    settings = _settings(database_url=database)
    _check_present(settings)
    done = asyncio.run(_collect(settings))
    say.print(f"clock       {done.clock}")
    say.print(f"horizon     {done.horizon}")
    _show_counts(
        {
            "drained devices revoked": done.devices_revoked,
            "silent devices dropped": done.devices_dropped,
            **{f"{kind.value} removed": count for kind, count in done.removed.items()},
        }
    )


async def _collect(settings: Settings) -> Collected:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    engine = open_engine(settings.database_url, pool_connections_max=2)
    await engine.start()
    try:
        with Progress(*columns, console=say, transient=True) as bar:
            shown = bar.add_task("collecting", total=None)
            return await collect_history(
                engine,
                OPERATOR_PRINCIPAL,
                settings=settings,
                clock=wall_clock_ms,
                progress=lambda kind, done, total: bar.update(
                    shown, description=kind.value, completed=done, total=total
                ),
            )
    finally:
        await engine.close()


def _check_present(settings: Settings) -> None:
    """Raise `BadSetting` for a database that is not of the present shape: this verb changes no shapes."""
    if lacking := _pending(settings):
        raise BadSetting(f"{PREFIX}DATABASE_URL: lacks {', '.join(lacking)}; wanted: a database after selvedge migrate")


@app.command(epilog="Example: selvedge epoch --next --yes   (after a restore, before the server starts)")
def epoch(
    next_: Annotated[bool, typer.Option("--next", help="Begin the next epoch.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    database: Database = None,
) -> None:
    """Show the epoch; after a backup was restored begin the next one, so that devices start over and send again."""
    settings = _settings(database_url=database)
    _check_present(settings)
    kept = _kept_epoch(settings)
    if not next_:
        seen = asyncio.run(_look_over(settings))
        say.print(f"epoch       {seen.clock >> EPOCH_BITS}")
        say.print(f"highest     {max(kept, seen.clock >> EPOCH_BITS)}, as {escape(str(_epoch_file(settings)))} knows")
        return
    if not yes:
        say.print("Every device will start over: it sends what it has, then loads everything anew.")
        typer.confirm("Begin the next epoch?", abort=True)
    try:
        before, now = asyncio.run(_next_epoch(settings, kept))
    except Refused as refused:
        _complain(refused)
        raise typer.Exit(EPOCH_REFUSED) from None
    file = _epoch_file(settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{now}\n", "utf-8")
    say.print(f"epoch {before} has ended, epoch {now} has begun", soft_wrap=True)


def _epoch_file(settings: Settings) -> Path:
    """Remembers the highest epoch ever begun: a backup may be restored twice, and does not know of the first time."""
    return settings.data_dir / "epoch"


def _kept_epoch(settings: Settings) -> int:
    file = _epoch_file(settings)
    try:
        return int(file.read_text("utf-8")) if file.exists() else 0
    except (OSError, ValueError) as error:
        raise BadSetting(f"{file}: {error}; wanted: a whole number, the highest epoch ever begun") from None


async def _next_epoch(settings: Settings, above: int) -> tuple[int, int]:
    return await _by_operator(settings, lambda work: next_epoch(work, above=above))


async def _by_operator(settings: Settings, story: Callable[[Work], Awaitable[T]]) -> T:
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


def _complain(refused: Refused) -> None:
    for problem in refused.problems:
        told = render_problem(load_messages(), problem, LOCALE_DEFAULT)
        complain.print(f"[red]{problem.code.value}[/red] {escape(told)}", soft_wrap=True)


@devices.command("list", epilog="Example: selvedge devices list --silent-days 14")
def devices_list(
    user_id: Annotated[str | None, typer.Option("--user", help="Id of a colleague.")] = None,
    state: Annotated[list[str] | None, typer.Option(help=f"Any of {', '.join(DeviceState)}; repeated.")] = None,
    silent_days: Annotated[int | None, typer.Option(help="Not heard of for so many days.")] = None,
    unsent: Annotated[bool, typer.Option("--unsent", help="With work that was not sent, as they reported.")] = False,
    issues: Annotated[bool, typer.Option("--issues", help="With open sync issues.")] = False,
    first: Annotated[int, typer.Option(min=1, help="How many.")] = DEVICES_SHOWN,
    database: Database = None,
) -> None:
    """Show how devices stand, the longest silent first."""
    settings = _settings(database_url=database)
    _check_present(settings)
    wrong = set(state or ()) - set(DeviceState)
    if wrong:
        raise BadSetting(f"--state: {', '.join(sorted(wrong))}; wanted: {', '.join(DeviceState)}")
    wanted = Wanted(
        user_id=user_id,
        states=tuple(DeviceState(one) for one in state or ()),
        silent_days=silent_days,
        unsent=unsent,
        issues=issues,
    )
    try:
        page = asyncio.run(_devices(settings, wanted, first))
    except Refused as refused:
        _complain(refused)
        raise typer.Exit(DEVICE_REFUSED) from None
    _show_devices(page)


async def _devices(settings: Settings, wanted: Wanted, first: int) -> StatusPage:
    engine = open_engine(settings.database_url, pool_connections_max=1)
    await engine.start()
    try:
        async with engine.read() as conn:
            return await sync_status(
                conn,
                OPERATOR_PRINCIPAL,
                wanted,
                first=first,
                after=None,
                now_ms=wall_clock_ms(),
                rows_max=max(first, settings.page_rows_max),
            )
    finally:
        await engine.close()


def _show_devices(page: StatusPage) -> None:
    for one in page.devices:
        behind = "starts over" if one.behind is None else f"{one.behind:,} steps behind"
        waiting = "" if one.unsent is None else f", {one.unsent:,} unsent"
        since = "" if one.unsent_oldest_at_ms is None else f" since {instant_text(one.unsent_oldest_at_ms)}"
        refused = f", {one.open_issues:,} open issues" if one.open_issues else ""
        wiped = ", wipe acknowledged" if one.wipe_acked_at_ms else ""
        say.print(
            f"{one.id}  {one.state.value:9}{escape(one.user_name)}, {escape(one.name)} ({escape(one.platform)}"
            f"{' ' + escape(one.app_version) if one.app_version else ''}): seen {instant_text(one.last_seen_at_ms)},"
            f" {behind}{waiting}{since}{refused}{wiped}",
            soft_wrap=True,
        )
    say.print(f"{len(page.devices):,} of {page.total:,}")


DeviceId = Annotated[str, typer.Argument(help="The device's id, as `selvedge devices list` shows it.")]
Reason = Annotated[str | None, typer.Option(help="Why; kept with the state.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@devices.command("drain", epilog="Example: selvedge devices drain 01890a5d-ac96-774b-bcce-b302099a8057")
def devices_drain(device_id: DeviceId, reason: Reason = None, database: Database = None) -> None:
    """Let a device hand in work captured until now, for some days, and read nothing more."""
    _change_device(database, device_id, DeviceState.DRAINING, reason)


@devices.command("revoke", epilog="Example: selvedge devices revoke 01890a5d-ac96-774b-bcce-b302099a8057 --reason lost")
def devices_revoke(device_id: DeviceId, reason: Reason = None, database: Database = None) -> None:
    """Give a device up at once."""
    _change_device(database, device_id, DeviceState.REVOKED, reason)


@devices.command("wipe", epilog="Example: selvedge devices wipe 01890a5d-ac96-774b-bcce-b302099a8057 --reason stolen")
def devices_wipe(device_id: DeviceId, reason: Reason = None, yes: Yes = False, database: Database = None) -> None:
    """Have a device destroy what it holds the next time it is heard of; this cannot be taken back."""
    if not yes:
        typer.confirm("What the device has not sent is lost. Wipe it?", abort=True)
    _change_device(database, device_id, DeviceState.WIPED, reason)


@devices.command("reactivate", epilog="Example: selvedge devices reactivate 01890a5d-ac96-774b-bcce-b302099a8057")
def devices_reactivate(device_id: DeviceId, reason: Reason = None, database: Database = None) -> None:
    """Let a draining or revoked device sync again."""
    _change_device(database, device_id, DeviceState.ACTIVE, reason)


def _change_device(database: str | None, device_id: str, state: DeviceState, reason: str | None) -> None:
    settings = _settings(database_url=database)
    _check_present(settings)

    async def story(work: Work) -> DeviceStatus:
        return await change_device(work, device_id, state, reason=reason, drain_days=settings.device_drain_days)

    try:
        changed = asyncio.run(_by_operator(settings, story))
    except Refused as refused:
        _complain(refused)
        raise typer.Exit(DEVICE_REFUSED) from None
    say.print(f"{changed.id} of {escape(changed.user_name)} is {changed.state.value}", soft_wrap=True)


@app.command(epilog="Example: selvedge rescue li-na.rescue --dry-run")
def rescue(
    file: Annotated[Path, typer.Argument(help="A rescue file that a device wrote.", exists=True, dir_okay=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; say what would happen.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before writing.")] = False,
    locale: Annotated[str, typer.Option(help=f"Language of the reasons: {', '.join(LOCALES)}.")] = LOCALE_DEFAULT,
    database: Database = None,
) -> None:
    """Take work from a device that can no longer send it, as its own; what it sent already is not taken twice."""
    settings = _settings(database_url=database)
    _migrate(settings)
    try:
        if file.stat().st_size > settings.rescue_bytes_max:
            raise Refused(Problem(Code.TOO_LARGE, ("file",), (str(settings.rescue_bytes_max),)))
        found = open_rescue(
            file.read_bytes(),
            load_rescue_keys(settings.data_dir),
            bytes_max=settings.rescue_bytes_max,
            mutations_max=settings.rescue_mutations_max,
        )
        played = asyncio.run(_rescue(settings, found, dry_run=dry_run, yes=yes))
    except Refused as refused:
        for problem in refused.problems:
            told = render_problem(load_messages(), problem, locale)
            complain.print(f"[red]{problem.code.value}[/red] {escape(told)}", soft_wrap=True)
        raise typer.Exit(RESCUE_REFUSED) from None
    _show_rescued(played, locale)
    if dry_run:
        say.print("a dry run: nothing was written")


async def _rescue(settings: Settings, found: Rescue, *, dry_run: bool, yes: bool) -> list[tuple[Mutation, Answer]]:
    async with open_services(settings) as services:
        async with services.engine.read() as conn:
            owner = await owner_of(conn, found)
        _show_owner(found, owner)
        if not (dry_run or yes):
            typer.confirm("Take this work as theirs?", abort=True)
        return await play_rescue(
            services.engine,
            found,
            services.use_cases,
            clock=services.clock,
            retries_max=settings.write_retries_max,
            chunk_max=settings.push_mutations_max,
            dry_run=dry_run,
        )


def _show_owner(found: Rescue, owner: Owner) -> None:
    active = "" if owner.active else ", who works here no more"
    say.print(f"work of  {escape(owner.name)} <{escape(owner.email)}>, {owner.role.value}{active}", soft_wrap=True)
    say.print(f"device   {escape(owner.device_name)}, {owner.state}, {owner.device_id}", soft_wrap=True)
    say.print(f"written  {instant_text(found.made_at_ms)} by its own clock")
    say.print(f"holds    {len(found.queue):,} mutations; answered before: up to number {owner.last_client_seq:,}")


def _show_rescued(played: Sequence[tuple[Mutation, Answer]], locale: str) -> None:
    messages = load_messages()
    shown = Table("number", "collection", "intent", "record", "outcome", "why", box=None)
    for mutation, answer in played:
        why = " ".join(render_problem(messages, problem, locale) for problem in answer.problems)
        number = "" if mutation.client_seq == UNNUMBERED else str(mutation.client_seq)
        shown.add_row(
            number,
            escape(mutation.collection),
            mutation.intent.value,
            escape(mutation.record_id),
            answer.status.value,
            escape(why),
        )
    say.print(shown)
    counted = Counter(answer.status.value for _, answer in played)
    say.print(", ".join(f"{count:,} {status}" for status, count in sorted(counted.items())) or "nothing to take")


@app.command(epilog="Example: selvedge contract --check")
def contract(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail when a file is not up to date.")] = False,
    folder: Annotated[Path, typer.Option(help="Where the contract lies.")] = CONTRACT_DIR,
    rxdb: Annotated[bool, typer.Option("--rxdb", help="Only the schemas RxDB's collections are made with.")] = False,
    watermelon: Annotated[
        bool, typer.Option("--watermelon", help="Only the tables WatermelonDB's appSchema is made with.")
    ] = False,
) -> None:
    """Write what clients build upon: the schemas, and the codes with their meaning; and the page of settings."""
    drifted = False
    only = {name for name, asked in {RXDB_SCHEMAS: rxdb, WATERMELON_SCHEMA: watermelon}.items() if asked}
    written = [(folder / name, write) for name, write in CONTRACT.items() if not only or name in only]
    written += [(folder.parent / "docs" / name, write) for name, write in DOCS.items() if not only]
    for path, write in written:
        wanted = write()
        found = path.read_text("utf-8") if path.exists() else ""
        if found == wanted:
            continue
        if check:
            drifted = True
            _show_difference(path.name, found, wanted)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted, "utf-8")
            say.print(f"wrote {escape(str(path))}")
    if drifted:
        complain.print("the contract has drifted; after reading the difference run: selvedge contract")
        raise typer.Exit(CONTRACT_DRIFTED)


def errors_text() -> str:
    """The table of codes, for people who write clients."""
    lines = [
        "# Codes",
        "",
        "Written by `selvedge contract`. A `Problem` and `errors[].extensions` carry one of these in `code`.",
        "More may be added: treat a code you do not know by its `retry`.",
        "",
        "`NEVER`: sending it again cannot help. `AFTER_CHANGE`: change what `path` names first. `LATER`: the same",
        "request may pass a little later.",
        "",
        "| code | retry | meaning |",
        "|---|---|---|",
    ]
    lines += [f"| `{code.value}` | {RETRY.get(code, Retry.AFTER_CHANGE).value} | {OPERATOR[code]} |" for code in Code]
    return "\n".join(lines) + "\n"


def fields_text() -> str:
    """Which field is of which kind, for clients that show values without asking."""
    return json.dumps(field_kinds(), indent=1, sort_keys=True) + "\n"


def versions_text() -> str:
    """Which schema version of documents brought what, for clients that were written for one of them."""
    return json.dumps(declared_versions(), indent=1, sort_keys=True) + "\n"


def settings_text() -> str:
    """The table of settings, for people who run a server."""
    lines = [
        "# Settings",
        "",
        "Written by `selvedge contract` from `backend/config.py`. Each is an environment variable, read once at the",
        "start; a wrong value stops the start with the variable's name and the form it wants.",
        "",
        "| variable | default | range | what it is |",
        "|---|---|---|---|",
    ]
    for name, info in Settings.model_fields.items():
        bounds = [f"{sign} {limit:,}" for sign, limit in _bounds(info.metadata)]
        choices = " · ".join(f"`{choice}`" for choice in get_args(info.annotation) if isinstance(choice, str))
        default = (
            ""
            if info.default in (None, ())
            else f"`{str(info.default).lower() if info.annotation is bool else info.default}`"
        )
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {choices or ', '.join(bounds)} | {info.description} |")
    return "\n".join(lines) + "\n"


def watermelon_schema_text() -> str:
    """What WatermelonDB's `appSchema` and `tableSchema` take."""
    return json.dumps(app_schema(), indent=2) + "\n"


def _bounds(metadata: Sequence[object]) -> list[tuple[str, int]]:
    """Signs and limits of a number, such as `≥ 1`."""
    signs = {"ge": "≥", "le": "≤"}
    return [(sign, getattr(rule, name)) for rule in metadata for name, sign in signs.items() if hasattr(rule, name)]


RXDB_SCHEMAS = "rxdb-schemas.json"
WATERMELON_SCHEMA = "watermelon-schema.json"
CONTRACT: Mapping[str, Callable[[], str]] = {
    "schema.graphql": print_sdl,
    "errors.md": errors_text,
    "fields.json": fields_text,
    "versions.json": versions_text,
    RXDB_SCHEMAS: rxdb_schemas_text,
    WATERMELON_SCHEMA: watermelon_schema_text,
}
"""File of the contract → what it must say."""
DOCS: Mapping[str, Callable[[], str]] = {"SETTINGS.md": settings_text}
"""Page of `docs/` beside the contract → what it must say."""


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, app: Starlette, address: str, demo_email: str | None) -> None:
        super().__init__(config)
        self._app = app
        self._address = address
        self._demo_email = demo_email

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            greet(self._address, self._demo_email)

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


def greet(address: str, demo_email: str | None) -> None:
    """Where the server is, and how to ask it something; with the demo company the command works as printed."""
    say.print(f"Selvedge answers at [bold]{address}/graphql[/bold]  (stop with Ctrl-C)")
    say.print(f"GraphiQL is not built here: {address}/graphiql shows how to ask from a terminal, or sign in now:\n")
    example = sign_in_example(address, email=demo_email, password=PASSWORD) if demo_email else sign_in_example(address)
    say.print(escape(example), soft_wrap=True)


def _settings(**overrides: object) -> Settings:
    return read_settings(**{name: value for name, value in overrides.items() if value is not None})


def _address(settings: Settings) -> str:
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


def _migrate(settings: Settings) -> list[str]:
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


def _show_difference(name: str, found: str, wanted: str) -> None:
    lines = difflib.unified_diff(
        found.splitlines(), wanted.splitlines(), f"{name} (committed)", f"{name} (wanted)", lineterm=""
    )
    complain.print(escape("\n".join(lines)), soft_wrap=True)
