"""Backups: made while the server answers, put back while it does not."""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from backend.cli.keeping import begin_epoch
from backend.cli.privacy import reapply_listed
from backend.cli.terminal import Database, Yes, bring_up, check_present, complain, say, settings_from, show_counts
from backend.clock import wall_clock_ms
from backend.config import Settings
from backend.domain.times import instant_text
from backend.integrations.backups import (
    DIGESTS_SQL,
    BackupFailed,
    Manifest,
    back_up,
    check,
    highest_epoch,
    holds_anything,
    in_use,
    missing_files,
    put_back,
    read_manifest,
    shown,
)
from backend.integrations.backups import Progress as Told
from backend.storage.engine import open_engine
from backend.storage.migrate import known_migrations
from backend.sync.feed import EPOCH_STEP

BACKUP_FAILED = 1
RESTORE_REFUSED = 1
FILES_MISSING = 1
SHOWN = 10
T = TypeVar("T")
verbs = typer.Typer()

Folder = Annotated[Path, typer.Argument(help="The folder of the backup.")]


@verbs.command(epilog="Example: selvedge backup /backups/2026-11-23   (while the server runs)")
def backup(
    folder: Folder,
    keys: Annotated[
        bool, typer.Option(help="With the keys that sign tokens and open rescue files: guard the backup like them.")
    ] = True,
    database: Database = None,
) -> None:
    """Copy the database, attachments and keys into a new folder, as they stand at one moment; the server goes on."""
    settings = settings_from(database_url=database)
    check_present(settings)
    made_at = instant_text(wall_clock_ms())
    with _bar() as bar:
        manifest, missing = _carried_out(
            back_up(
                settings.database_url,
                settings.data_dir,
                folder,
                made_at=made_at,
                with_files=settings.files_url is None,
                with_keys=keys,
                progress=_teller(bar),
            )
        )
    _show(manifest)
    say.print(f"wrote {escape(str(folder))}", soft_wrap=True)
    if manifest.files is None:
        say.print("attachments lie in an object store and are not in it: keep its versions as long as backups")
    _complain_of(missing)


@verbs.command(epilog="Example: selvedge restore /backups/2026-11-23   (while the server is stopped)")
def restore(
    folder: Folder,
    force: Annotated[bool, typer.Option("--force", help="Also onto a database that holds something.")] = False,
    yes: Yes = False,
    database: Database = None,
) -> None:
    """Put a backup back and begin the next epoch: devices send what it had not seen, then load everything anew."""
    settings = settings_from(database_url=database)
    url = settings.database_url
    try:
        manifest = read_manifest(folder)
        asyncio.run(check(folder, manifest, url, known_migrations()))
        full = asyncio.run(holds_anything(url))
        if full and not force:
            raise BackupFailed(f"{shown(url)} holds something: name an empty database, or say --force")
        if others := asyncio.run(in_use(url)):
            raise BackupFailed(f"{shown(url)} is in use by {others} others: stop the server first")
    except BackupFailed as failed:
        complain.print(escape(str(failed)), soft_wrap=True)
        raise typer.Exit(RESTORE_REFUSED) from None
    _show(manifest)
    if full and not yes:
        typer.confirm(f"Everything {shown(url)} holds now is replaced. Go on?", abort=True)
    aside = f".before-{datetime.fromtimestamp(wall_clock_ms() / 1_000, UTC):%Y%m%dT%H%M%SZ}"
    with _bar() as bar:
        files, kept = _carried_out(put_back(folder, url, settings.data_dir, aside=aside, progress=_teller(bar)))
    for name in bring_up(settings):
        say.print(f"applied {escape(name)}", soft_wrap=True)
    begin_epoch(settings, above=max(highest_epoch(folder), manifest.clock // EPOCH_STEP))
    if again := reapply_listed(settings):
        say.print(f"{again:,} ids of people erased since the backup were erased again")
    for name in kept:
        say.print(f"kept this server's own {name}; the backup has one too")
    say.print(f"restored the backup of {manifest.made_at}, {files:,} files; start the server")
    if settings.files_url is None:
        _complain_of(missing_files(settings.data_dir / "files", asyncio.run(_named(settings))))


def _carried_out(doing: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(doing)
    except BackupFailed as failed:
        complain.print(escape(str(failed)), soft_wrap=True)
        raise typer.Exit(BACKUP_FAILED) from None


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=say, transient=True)


def _teller(bar: Progress) -> Told:
    tasks: dict[str, TaskID] = {}

    def tell(what: str, done: int, of: int | None) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=of)
        bar.update(tasks[what], completed=done, total=of)

    return tell


def _show(manifest: Manifest) -> None:
    say.print(f"made at     {escape(manifest.made_at)}")
    show_counts(
        {
            "database bytes": manifest.database_bytes,
            "epoch": manifest.clock // EPOCH_STEP,
            "step": manifest.clock % EPOCH_STEP,
            **({} if manifest.files is None else {"files": manifest.files}),
        }
    )


def _complain_of(missing: Sequence[str]) -> None:
    """Attachments whose bytes are not there: said, and told by the status."""
    for digest in missing[:SHOWN]:
        complain.print(f"missing     {digest}")
    if missing:
        complain.print(f"{len(missing):,} files that attachments name are missing; see selvedge doctor files")
        raise typer.Exit(FILES_MISSING)


async def _named(settings: Settings) -> list[str]:
    engine = open_engine(settings.database_url, pool_connections_max=1)
    await engine.start()
    try:
        async with engine.read() as conn:
            return [str(row[0]) for row in await conn.fetch(DIGESTS_SQL)]
    finally:
        await engine.close()
