"""Erasing people, and what is kept for how long."""

import asyncio
from typing import Annotated

import typer
from rich.console import JustifyMethod
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from backend.cli.terminal import (
    FAILED_SHOWN,
    OPERATOR_PRINCIPAL,
    Database,
    Yes,
    check_present,
    say,
    settings_from,
    show_counts,
    show_problems,
)
from backend.clock import wall_clock_ms
from backend.config import Settings, load_messages
from backend.domain.messages import LOCALE_DEFAULT, LOCALES, render
from backend.domain.privacy import ErasureReason
from backend.errors import BadSetting, Refused
from backend.storage.engine import open_engine
from backend.usecases.privacy.erased import Erased
from backend.usecases.retention import Carried, Found, carry_out, look
from backend.wiring import open_eraser, open_file_service, reapply_erasures

ERASURE_REFUSED = 1
COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
verbs = typer.Typer()


@verbs.command(
    epilog="Example: selvedge erase 01890a5d-ac96-774b-bcce-b302099a8057 --reason REQUEST; after a restore: selvedge"
    " erase --reapply"
)
def erase(
    person_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="A contact, a consumer, or a colleague who has left.")
    ] = None,
    reason: Annotated[str, typer.Option(help=f"One of {', '.join(ErasureReason)}.")] = ErasureReason.REQUEST.value,
    strike_mentions: Annotated[
        bool,
        typer.Option("--strike-mentions", help="Strike the person out of other records' texts too."),
    ] = False,
    reapply: Annotated[
        bool, typer.Option("--reapply", help="Erase again whom a restored backup brought back; nothing else is given.")
    ] = False,
    yes: Yes = False,
    database: Database = None,
) -> None:
    """Erase a person everywhere, for good. Orders stay, without the person."""
    settings = settings_from(database_url=database)
    if (person_id is None) is not reapply or reason not in set(ErasureReason):
        raise BadSetting(f"ID, --reapply, --reason: wanted: an id with one of {', '.join(ErasureReason)}, or --reapply")
    check_present(settings)
    if reapply:
        say.print(f"{reapply_listed(settings):,} ids of erased people were in this database again, or new to it")
        return
    if not yes:
        typer.confirm("Nothing brings the person's data back. Erase?", abort=True)
    try:
        erased = asyncio.run(_erase(settings, str(person_id), ErasureReason(reason), strike_mentions))
    except Refused as refused:
        show_problems(refused)
        raise typer.Exit(ERASURE_REFUSED) from None
    _show_erased(erased)


def reapply_listed(settings: Settings) -> int:
    """Apply the erasure list to a database that was restored, showing how far it is."""
    with Progress(*COLUMNS, console=say, transient=True) as bar:
        shown = bar.add_task("erasing again", total=None)
        return asyncio.run(
            reapply_erasures(settings, told=lambda done, total: bar.update(shown, completed=done, total=total))
        )


async def _erase(settings: Settings, person_id: str, reason: ErasureReason, strike_mentions: bool) -> Erased:
    engine = open_engine(settings.database_url, pool_connections_max=2)
    await engine.start()
    files = open_file_service(settings, engine, wall_clock_ms)
    try:
        eraser = open_eraser(settings, engine, files, wall_clock_ms)
        return await eraser.erase(
            OPERATOR_PRINCIPAL, person_id, reason, strike_mentions=strike_mentions, by_operator=True
        )
    finally:
        await files.close()
        await engine.close()


@verbs.command(epilog="Example: selvedge retention; then: selvedge retention --run   (the server does it every night)")
def retention(
    run: Annotated[bool, typer.Option("--run", help="End what is past its period.")] = False,
    locale: Annotated[str, typer.Option(help=f"Language: {', '.join(LOCALES)}.")] = LOCALE_DEFAULT,
    database: Database = None,
) -> None:
    """Show what is kept, why, for how long, and how much of it is past its time; with --run end that."""
    settings = settings_from(database_url=database)
    check_present(settings)
    found = asyncio.run(_look(settings))
    texts = load_messages()
    shown = Table(box=None)
    for name in ("class", "days", "past it", "for", "because"):
        justify: JustifyMethod = "right" if name in ("days", "past it") else "left"
        shown.add_column(name, justify=justify, overflow="fold", no_wrap=name == "class")
    for one in found:
        shown.add_row(
            one.rule.kept.value,
            f"{one.rule.days:,}" if one.rule.ends else "for ever",
            "collect" if one.rows is None else f"{one.rows:,}",
            escape(render(texts, one.rule.purpose_key, locale)),
            escape(render(texts, one.rule.ground_key, locale)),
        )
    say.print(shown)
    if run:
        show_counts({kept.value: rows for kept, rows in asyncio.run(_carry_out(settings)).rows.items()})


async def _look(settings: Settings) -> list[Found]:
    engine = open_engine(settings.database_url, pool_connections_max=1)
    await engine.start()
    try:
        async with engine.read() as conn:
            return await look(conn, settings, wall_clock_ms())
    finally:
        await engine.close()


async def _carry_out(settings: Settings) -> Carried:
    engine = open_engine(settings.database_url, pool_connections_max=2)
    await engine.start()
    files = open_file_service(settings, engine, wall_clock_ms)
    eraser = open_eraser(settings, engine, files, wall_clock_ms)

    async def erase_one(one: str, reason: ErasureReason) -> None:
        await eraser.erase(OPERATOR_PRINCIPAL, one, reason, by_operator=True)

    try:
        with Progress(*COLUMNS, console=say, transient=True) as bar:
            shown = bar.add_task("retention", total=None)
            return await carry_out(
                engine,
                settings=settings,
                clock=wall_clock_ms,
                erase=erase_one,
                progress=lambda kept, done, total: bar.update(
                    shown, description=kept.value, completed=done, total=total
                ),
            )
    finally:
        await files.close()
        await engine.close()


def _show_erased(erased: Erased) -> None:
    say.print(f"{erased.collection} {erased.id} was erased {'before' if erased.already else 'now'}", soft_wrap=True)
    show_counts(dict(sorted(erased.counts.items())))
    for mention in erased.mentions[:FAILED_SHOWN]:
        told = f"named in {mention.collection} {mention.record_id} {mention.field}"
        say.print(escape(told), soft_wrap=True)
    if len(erased.mentions) > FAILED_SHOWN:
        say.print(f"… and named in {len(erased.mentions) - FAILED_SHOWN:,} more texts")
