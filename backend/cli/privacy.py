"""Erasing people, and what is kept for how long."""

import asyncio
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

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
from backend.config import Settings
from backend.domain.privacy import ErasureReason
from backend.errors import BadSetting, Refused
from backend.storage.engine import open_engine
from backend.usecases.privacy import Erased
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


def _show_erased(erased: Erased) -> None:
    say.print(f"{erased.collection} {erased.id} was erased {'before' if erased.already else 'now'}", soft_wrap=True)
    show_counts(dict(sorted(erased.counts.items())))
    for mention in erased.mentions[:FAILED_SHOWN]:
        told = f"named in {mention.collection} {mention.record_id} {mention.field}"
        say.print(escape(told), soft_wrap=True)
    if len(erased.mentions) > FAILED_SHOWN:
        say.print(f"… and named in {len(erased.mentions) - FAILED_SHOWN:,} more texts")
