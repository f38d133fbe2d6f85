"""Keeping a database well: how it stands, what drifted, what is over, and the epoch."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from backend.cli.privacy import reapply_listed
from backend.cli.terminal import (
    FAILED_SHOWN,
    OPERATOR_PRINCIPAL,
    Database,
    by_operator,
    check_present,
    complain,
    pending,
    say,
    settings_from,
    show_counts,
    show_problems,
)
from backend.clock import wall_clock_ms
from backend.config import PREFIX, Settings
from backend.errors import BadSetting, Refused
from backend.schema.executor import COMPUTED_FIELDS
from backend.schema.types import COMPUTED
from backend.storage.engine import Engine, open_engine
from backend.sync.collect import Collected, next_epoch
from backend.sync.collect import collect as collect_history
from backend.sync.doctor import Overview, Report, check_feed, look_over, repair_feed
from backend.sync.purchases import PurchaseReport, check_purchases
from backend.sync.rebuild import rebuild_feed
from backend.usecases.uploads import Findings
from backend.wiring import open_file_service

DRIFT_FOUND = 1
EPOCH_REFUSED = 1
EPOCH_BITS = 40
verbs = typer.Typer()


@verbs.command(epilog="Example: selvedge doctor feed --repair; after an upgrade: selvedge doctor feed --rebuild")
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
    settings = settings_from(database_url=database)
    if what not in (None, "feed", "files") or (repair and what is None) or ((rebuild or as_json) and what != "feed"):
        raise BadSetting(
            "WHAT, --repair, --rebuild, --json: wanted: feed, files (with --repair only), or nothing for the overview"
        )
    lacking = pending(settings)
    sound = what is not None or _show_overview(settings, lacking)
    if lacking:
        raise BadSetting(f"{PREFIX}DATABASE_URL: lacks {', '.join(lacking)}; wanted: a database after selvedge migrate")
    if not sound:
        raise typer.Exit(DRIFT_FOUND)
    if what == "feed" and asyncio.run(_doctor_feed(settings, repair=repair, rebuild=rebuild, as_json=as_json)):
        raise typer.Exit(DRIFT_FOUND)
    if what == "files" and not asyncio.run(_doctor_files(settings, repair)):
        raise typer.Exit(DRIFT_FOUND)


def _show_overview(settings: Settings, lacking: Sequence[str]) -> bool:
    """Whether what is kept of orders is what they say."""
    address = urlsplit(settings.database_url)
    host = f"{address.hostname or ''}:{address.port}" if address.port else address.hostname or ""
    say.print(f"database    {escape(f'{address.scheme}://{host}{address.path}')}", soft_wrap=True)
    say.print(f"migrations  {escape(', '.join(lacking)) + ' to apply' if lacking else 'up to date'}", soft_wrap=True)
    if lacking:
        return True
    seen, purchases = asyncio.run(_look_over_all(settings))
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
    say.print(f"statistics  {_purchases_told(purchases)}", soft_wrap=True)
    shown = Table("collection", box=None)
    for name in ("records", "told", "tombstones"):
        shown.add_column(name, justify="right")
    for name, counts in seen.counts.items():
        shown.add_row(name, *(f"{count:,}" for count in counts))
    say.print(shown)
    say.print("\nread field by field, whenever one of these is asked for (counted in selvedge_reads_fallbacks_total):")
    for name in COMPUTED_FIELDS:
        kind, _, field = name.partition(".")
        say.print(f"  {name}  {COMPUTED[kind][field]}", soft_wrap=True)
    return purchases.clean


def _purchases_told(found: PurchaseReport) -> str:
    if found.clean:
        return f"as the orders say, of {found.sampled:,} customers looked at"
    whole = "" if found.accounted else "do not account for all orders; "
    return f"{whole}{len(found.drifted):,} of {found.sampled:,} customers differ: selvedge score --rebuild mends them"


async def _look_over_all(settings: Settings) -> tuple[Overview, PurchaseReport]:
    engine = open_engine(settings.database_url, pool_connections_max=1)
    await engine.start()
    try:
        return await look_over(engine), await check_purchases(engine)
    finally:
        await engine.close()


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


@verbs.command(epilog="Example: selvedge collect   (every night, from cron or a timer)")
def collect(database: Database = None) -> None:
    """Let go of history that every device has seen and that is old enough; settle devices whose time is over."""
    settings = settings_from(database_url=database)
    check_present(settings)
    done = asyncio.run(_collect(settings))
    say.print(f"clock       {done.clock}")
    say.print(f"horizon     {done.horizon}")
    show_counts(
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


@verbs.command(epilog="Example: selvedge epoch --next --yes   (after a restore, before the server starts)")
def epoch(
    next_: Annotated[bool, typer.Option("--next", help="Begin the next epoch.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    database: Database = None,
) -> None:
    """Show the epoch; after a backup was restored begin the next one, so that devices start over and send again."""
    settings = settings_from(database_url=database)
    check_present(settings)
    kept = _kept_epoch(settings)
    if not next_:
        seen = asyncio.run(_look_over(settings))
        say.print(f"epoch       {seen.clock >> EPOCH_BITS}")
        say.print(f"highest     {max(kept, seen.clock >> EPOCH_BITS)}, as {escape(str(_epoch_file(settings)))} knows")
        return
    if not yes:
        say.print("Every device will start over: it sends what it has, then loads everything anew.")
        typer.confirm("Begin the next epoch?", abort=True)
    begin_epoch(settings)
    if again := reapply_listed(settings):
        say.print(f"{again:,} ids of people erased since the backup were erased again")


def begin_epoch(settings: Settings, *, above: int = 0) -> None:
    """Begin the epoch after the highest that this server, the database or the caller knows of."""
    try:
        before, now = asyncio.run(_next_epoch(settings, max(above, _kept_epoch(settings))))
    except Refused as refused:
        show_problems(refused)
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
    return await by_operator(settings, lambda work: next_epoch(work, above=above))
