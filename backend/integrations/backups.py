"""Copies of everything a server holds, made while it serves, and put back where there is nothing.

A backup is a folder: `manifest.json`, the database (`database.sqlite3` or `database.dump`), `files/` and `keys/`. It
is written under another name and renamed when it is whole. The database is one snapshot; files are gathered before
and after it, so that every file it refers to is there, and perhaps some that nothing refers to.
"""

import asyncio
import json
import os
import re
import shutil
import sqlite3
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import asyncpg

from backend.errors import SelvedgeError
from backend.storage.dialects import Dialect

FORMAT = 1
MANIFEST = "manifest.json"
DATABASE_FILES: Mapping[Dialect, str] = {Dialect.SQLITE: "database.sqlite3", Dialect.POSTGRES: "database.dump"}
FILES, KEYS = "files", "keys"
KEY_FILES = ("keys.json", "rescue-keys.json")
ERASURES = "erasures.jsonl"
KEPT_BESIDE = (ERASURES, "epoch")
"""What a server keeps beside its database, because it must outlive any backup of it."""
PAGES_PER_STEP = 2_000
SERVERS_FOLDER = Path("/usr/lib/postgresql")
SAID_CHARACTERS = 400
MIGRATIONS_SQL = "SELECT name FROM tortoise_migrations ORDER BY name"
DIGESTS_SQL = (
    "SELECT stored_sha256 FROM attachment WHERE state = 'STORED' AND stored_sha256 IS NOT NULL"
    " UNION SELECT preview_sha256 FROM attachment WHERE preview_state <> 'NONE' AND preview_sha256 IS NOT NULL"
)
"""The files that a database names."""
TABLES_SQL = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public'"

Progress = Callable[[str, int, int | None], None]
"""Hears of (what is done, so many, of how many)."""


class BackupFailed(SelvedgeError):
    """A backup could not be made or put back; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself. `files` is None where they lie in an object store and are not in it."""

    made_at: str
    dialect: str
    database_sha256: str
    database_bytes: int
    migrations: tuple[str, ...]
    clock: int
    files: int | None
    keys: bool
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class _Taken:
    """What was read in the database's snapshot or right beside it."""

    migrations: tuple[str, ...]
    clock: int
    digests: tuple[str, ...]


async def back_up(
    url: str,
    data_dir: Path,
    folder: Path,
    *,
    made_at: str,
    with_files: bool,
    with_keys: bool,
    progress: Progress,
) -> tuple[Manifest, list[str]]:
    """Write a backup into a folder that is not there yet; returns what it says of itself, and which files that its
    attachments name are missing. Raises `BackupFailed`; then nothing stays of it."""
    making = folder.with_name(f".{folder.name}.making")
    try:
        _begin(folder, making)
        dialect = _dialect(url)
        if with_files:
            await asyncio.to_thread(_gather_files, data_dir / FILES, making / FILES, progress)
        target = making / DATABASE_FILES[dialect]
        if dialect is Dialect.SQLITE:
            taken = await asyncio.to_thread(_copy_sqlite, _path(url), target, progress)
        else:
            taken = await _dump(url, target, progress)
        files = (
            await asyncio.to_thread(_gather_files, data_dir / FILES, making / FILES, progress) if with_files else None
        )
        _copy_keys(data_dir, making / KEYS, (*(KEY_FILES if with_keys else ()), *KEPT_BESIDE))
        manifest = Manifest(
            made_at=made_at,
            dialect=dialect.value,
            database_sha256=await asyncio.to_thread(_sha256, target),
            database_bytes=target.stat().st_size,
            migrations=taken.migrations,
            clock=taken.clock,
            files=files,
            keys=with_keys,
        )
        (making / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1) + "\n", "utf-8")
        await asyncio.to_thread(_flush, making)
        missing = missing_files(making / FILES, taken.digests) if with_files else []
        making.rename(folder)
        return manifest, missing
    except OSError as error:
        raise BackupFailed(f"{error.strerror}: {error.filename or folder}") from error
    finally:
        shutil.rmtree(making, ignore_errors=True)


def read_manifest(folder: Path) -> Manifest:
    """What a backup says of itself. Raises `BackupFailed` for a folder that is none, or of a later program."""
    try:
        found = json.loads((folder / MANIFEST).read_text("utf-8"))
        if found["format"] != FORMAT:
            raise BackupFailed(f"{folder}: made by a later program (format {found['format']})")
        return Manifest(**{**found, "migrations": tuple(found["migrations"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BackupFailed(f"{folder} is no backup: {MANIFEST} cannot be read ({type(error).__name__})") from None


async def check(folder: Path, manifest: Manifest, url: str, known_migrations: Sequence[str]) -> None:
    """Raise `BackupFailed` for a backup that is not whole, not for this database, or newer than this program."""
    if _dialect(url).value != manifest.dialect:
        raise BackupFailed(f"the backup is of {manifest.dialect}, the database named is {_dialect(url).value}")
    unknown = sorted(set(manifest.migrations) - set(known_migrations))
    if unknown:
        raise BackupFailed(f"the backup is of a later program: it has {', '.join(unknown)}; use that program or later")
    database = folder / DATABASE_FILES[_dialect(url)]
    if not database.exists() or await asyncio.to_thread(_sha256, database) != manifest.database_sha256:
        raise BackupFailed(f"{database} is not what was written: it is missing or damaged")


async def holds_anything(url: str) -> bool:
    """True when the database has tables. Raises `BackupFailed` when it cannot be asked."""
    if _dialect(url) is Dialect.SQLITE:
        path = _path(url)
        return path.exists() and path.stat().st_size > 0
    try:
        raw = await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError) as error:
        raise BackupFailed(f"the database cannot be reached: {type(error).__name__}") from None
    try:
        return bool(await raw.fetchval(TABLES_SQL))
    finally:
        await raw.close()


async def in_use(url: str) -> int:
    """How many others are connected to the database now; 0 on SQLite where nobody writes or has it open."""
    if _dialect(url) is Dialect.SQLITE:
        return int(await asyncio.to_thread(_is_open, _path(url)))
    raw = await asyncpg.connect(url)
    try:
        return int(
            await raw.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    finally:
        await raw.close()


async def put_back(folder: Path, url: str, data_dir: Path, *, aside: str, progress: Progress) -> tuple[int, list[str]]:
    """The backup's database and files in place; returns (files put back, what was kept of this server's own).

    What an SQLite database held is kept beside it under a name that ends with `aside`. Keys and lists that this
    server has already are never overwritten: they may be newer.
    """
    try:
        if _dialect(url) is Dialect.SQLITE:
            await asyncio.to_thread(_replace_sqlite, folder / DATABASE_FILES[Dialect.SQLITE], _path(url), aside)
        else:
            await _load(url, folder / DATABASE_FILES[Dialect.POSTGRES], progress)
        files = 0
        if (folder / FILES).exists():
            files = await asyncio.to_thread(_gather_files, folder / FILES, data_dir / FILES, progress)
        kept = _copy_keys(folder / KEYS, data_dir, (*KEY_FILES, ERASURES))
        return files, kept
    except OSError as error:
        raise BackupFailed(f"{error.strerror}: {error.filename or folder}") from error


def _begin(folder: Path, making: Path) -> None:
    if folder.exists():
        raise BackupFailed(f"{folder} is there already; a backup is never written over another")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True, mode=0o700)


def _copy_keys(source: Path, goal: Path, names: Sequence[str]) -> list[str]:
    """Copy what there is and what the goal has not; the names of what it had already."""
    there = []
    for name in names:
        if not (source / name).exists():
            continue
        if (goal / name).exists():
            there.append(name)
            continue
        goal.mkdir(parents=True, mode=0o700, exist_ok=True)
        shutil.copy2(source / name, goal / name)
    return there


def highest_epoch(folder: Path) -> int:
    """The highest epoch the backed-up server knew of; 0 where it kept none."""
    with suppress(OSError, ValueError):
        return int((folder / KEYS / "epoch").read_text("utf-8"))
    return 0


def missing_files(folder: Path, digests: Sequence[str]) -> list[str]:
    """Which of the files a database refers to are not in a folder of files."""
    return [digest for digest in digests if not (folder / digest[:2] / digest[2:4] / digest).exists()]


# -- files --------------------------------------------------------------------------------------------------------


def _gather_files(source: Path, target: Path, progress: Progress) -> int:
    """Link, else copy, every finished file that is not there yet; how many there are then.

    A file's name is the hash of what is in it, and it is never written again: a link is as good as a copy.
    """
    found = [path for path in sorted(source.glob("*/*/*")) if re.fullmatch(r"[0-9a-f]{64}", path.name)]
    for done, path in enumerate(found):
        progress(FILES, done + 1, len(found))
        goal = target / path.relative_to(source)
        if goal.exists():
            continue
        goal.parent.mkdir(parents=True, exist_ok=True)
        copied = goal.with_name(f".{goal.name}.copying")
        with suppress(FileNotFoundError):  # removed meanwhile: nothing refers to it any more
            try:
                os.link(path, goal)
            except FileExistsError:
                continue
            except FileNotFoundError:
                raise
            except OSError:
                shutil.copy2(path, copied)
                copied.rename(goal)
    return sum(1 for path in target.glob("*/*/*") if not path.name.startswith("."))


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return file_digest(handle, "sha256").hexdigest()


def _flush(folder: Path) -> None:
    """What is renamed afterwards is on the disk, also after a power cut."""
    for path in (*(one for one in folder.glob("*") if one.is_file()), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# -- SQLite -------------------------------------------------------------------------------------------------------


def _copy_sqlite(source: Path, target: Path, progress: Progress) -> _Taken:
    """One snapshot of the file, by SQLite's own online backup; writers go on meanwhile."""
    if not source.exists():
        raise BackupFailed(f"there is no file {source}")
    try:
        with (
            closing(sqlite3.connect(source, isolation_level=None)) as reading,
            closing(sqlite3.connect(target)) as copy,
        ):
            reading.execute("PRAGMA busy_timeout=5000")
            # a snapshot held from here on: else each commit of another process would begin the copy anew
            reading.execute("BEGIN")
            ((clock,),) = reading.execute("SELECT seq FROM sync_clock WHERE id = 1").fetchall()
            names = tuple(row[0] for row in reading.execute(MIGRATIONS_SQL))
            digests = tuple(row[0] for row in reading.execute(DIGESTS_SQL))
            reading.backup(
                copy, pages=PAGES_PER_STEP, progress=lambda _status, left, of: progress("database", of - left, of)
            )
            reading.execute("ROLLBACK")
            # one file and nothing beside it
            copy.execute("PRAGMA journal_mode=DELETE")
            if copy.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise BackupFailed(f"{source} is damaged: the copy does not pass SQLite's check")
        return _Taken(names, int(clock), digests)
    except sqlite3.DatabaseError as error:
        raise BackupFailed(f"{source}: {error}") from error


def _is_open(path: Path) -> bool:
    """Whether another connection has the file open: only then may its write-ahead log not be folded in and closed."""
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as raw:
            raw.execute("PRAGMA locking_mode=EXCLUSIVE")
            raw.execute("BEGIN EXCLUSIVE")
            raw.execute("ROLLBACK")
        return False
    except sqlite3.OperationalError:
        return True
    except sqlite3.DatabaseError:
        return False  # no database at all is nobody's


def _replace_sqlite(source: Path, goal: Path, aside: str) -> None:
    goal.parent.mkdir(parents=True, exist_ok=True)
    copied = goal.with_name(f".{goal.name}.restoring")
    shutil.copy2(source, copied)
    for beside in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            goal.with_name(f"{goal.name}{beside}").rename(goal.with_name(f"{goal.name}{aside}{beside}"))
    copied.rename(goal)


# -- PostgreSQL ---------------------------------------------------------------------------------------------------


async def _dump(url: str, target: Path, progress: Progress) -> _Taken:
    """One snapshot by `pg_dump`, in its own packed format."""
    raw = await asyncpg.connect(url)
    try:
        program = program_for("pg_dump", raw.get_server_version().major)
        tables = await raw.fetchval(f"{TABLES_SQL} AND c.relkind = 'r'")
        # the dump sees exactly what is read here
        async with raw.transaction(isolation="repeatable_read", readonly=True):
            snapshot = await raw.fetchval("SELECT pg_export_snapshot()")
            clock = await raw.fetchval("SELECT seq FROM sync_clock WHERE id = 1")
            names = tuple(row[0] for row in await raw.fetch(MIGRATIONS_SQL))
            digests = tuple(row[0] for row in await raw.fetch(DIGESTS_SQL))
            options = ("--format=custom", "--no-owner", "--no-privileges", "--schema=public", "--verbose")
            await _run(
                [str(program), *options, f"--snapshot={snapshot}", f"--file={target}"],
                url,
                lambda done: progress("tables", done, tables),
                "dumping contents of table",
            )
        return _Taken(names, int(clock), digests)
    finally:
        await raw.close()


async def _load(url: str, source: Path, progress: Progress) -> None:
    """Everything in the schema is dropped and comes from the dump: wholly, or the database stays empty."""
    raw = await asyncpg.connect(url)
    try:
        program = program_for("pg_restore", raw.get_server_version().major)
        await raw.execute("DROP SCHEMA IF EXISTS public CASCADE")
    finally:
        await raw.close()
    options = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--verbose")
    name = unquote(urlsplit(url).path[1:])
    await _run(
        [str(program), *options, f"--dbname={name}", str(source)],
        url,
        lambda done: progress("tables", done, None),
        "processing data for table",
    )


def program_for(name: str, major: int) -> Path:
    """PostgreSQL's own tool of the server's major version. Raises `BackupFailed`, saying where it was looked for."""
    fitting = SERVERS_FOLDER / str(major) / "bin" / name
    if fitting.exists():
        return fitting
    if (found := shutil.which(name)) is not None:
        return Path(found)
    raise BackupFailed(
        f"{name} is not here: neither {fitting} nor on the PATH; install the client of PostgreSQL {major}"
    )


async def _run(command: list[str], url: str, told: Callable[[int], None], marker: str) -> None:
    """Raises `BackupFailed` with the last words of a program that fails. No password stands in its command line."""
    address = urlsplit(url)
    environment = {**os.environ, "LC_ALL": "C"}
    bare = address.hostname or ""
    if address.password:
        environment["PGPASSWORD"] = unquote(address.password)
    where = [f"--host={bare}", *([f"--port={address.port}"] if address.port else [])]
    where += [f"--username={unquote(address.username)}"] if address.username else []
    if command[0].endswith("pg_dump"):
        where.append(f"--dbname={unquote(address.path[1:])}")
    process = await asyncio.create_subprocess_exec(
        command[0], *where, *command[1:], "--no-password", env=environment, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
    )
    assert process.stderr is not None
    done, last = 0, ""
    try:
        async for line in process.stderr:
            said = line.decode(errors="replace").strip()
            if marker in said:
                done += 1
                told(done)
            if "error" in said.lower() or not last:
                last = said
        status = await process.wait()
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if status:
        raise BackupFailed(f"{Path(command[0]).name} ended with {status}: {last[:SAID_CHARACTERS]}")


def _dialect(url: str) -> Dialect:
    return Dialect.SQLITE if url.startswith("sqlite://") else Dialect.POSTGRES


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite://"))


def shown(url: str) -> str:
    """The address without its password."""
    address = urlsplit(url)
    if address.password is None:
        return url
    host = address.netloc.rpartition("@")[2]
    return urlunsplit(address._replace(netloc=f"{address.username or ''}@{host}"))
