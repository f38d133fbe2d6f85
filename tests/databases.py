"""Fresh databases for tests: an SQLite file, and a database on a throw-away PostgreSQL server.

One test run has one folder. Whoever first needs a template or the server makes it there, under a file lock,
so the workers of a parallel run share them; the process that began the run stops the server at its end.
Should that process die without saying goodbye, a watch started beside the server stops it.
"""

import asyncio
import fcntl
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg

from backend.storage.engine import Connection, PostgresConnection
from backend.storage.migrate import migrate

USER = "selvedge"
TEMPLATE = "template_migrated"
STARTS_MAX = 3
CHECKPOINT_TRIES_MAX = 3
PROGRAM_SECONDS_MAX = 120
IN_MEMORY = Path("/dev/shm")
IN_MEMORY_BYTES_MIN = 4 * 2**30
"""With so much room there, the throw-away server keeps its files in memory: each test makes and drops a database of
several hundred of them."""
WATCH = """
(
  while kill -0 "$1" 2>/dev/null && [ -e "$2/postmaster.pid" ]; do sleep 1; done
  if [ -e "$2/postmaster.pid" ]; then
    kill -QUIT "$(head -n 1 "$2/postmaster.pid")"
    sleep 1
    rm -rf "$3"
  fi
) >/dev/null 2>&1 &
"""
CONFIGURATION = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 200
shared_buffers = 64MB
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
max_wal_size = 1GB
autovacuum = off
timezone = 'UTC'
"""


class Unavailable(Exception):
    """No PostgreSQL can be had here; the text says why."""


class RunFolder:
    """What one test run shares between its processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def begin(cls, path: Path | None = None) -> "RunFolder":
        """A new folder; or, for a benchmark that keeps what it built, a given one."""
        if path is not None:
            (path / "server").mkdir(parents=True, exist_ok=True)
            for stale in ("port", "unavailable", "data/postmaster.pid"):
                (path / "server" / stale).unlink(missing_ok=True)
            (path / "kept").touch()
        folder = cls(path or Path(tempfile.mkdtemp(prefix="selvedge-tests-", dir=_roomy_memory())))
        (folder.path / "began_by").write_text(str(os.getpid()))
        # the server runs as somebody else when tests run as root
        folder.path.chmod(0o755)
        return folder

    def end(self, *, keep: bool = False) -> None:
        if (self.path / "server" / "port").exists():
            _control(self.path / "server" / "data", "stop", "-m", "fast" if keep else "immediate")
            (self.path / "server" / "port").unlink()
        if not keep:
            shutil.rmtree(self.path, ignore_errors=True)

    def sqlite_template(self) -> Path:
        template = self.path / "template.sqlite3"
        with self._alone():
            if not template.exists():
                making = self.path / "making.sqlite3"
                asyncio.run(migrate(f"sqlite://{making}"))
                making.rename(template)
        return template

    def postgres_url(self, *, more: str = "", template_of: str | None = None) -> str:
        """Address of the server without a database name; starts it when nobody has. Raises `Unavailable`.

        `more` are lines of its configuration, for whoever starts it. Its migrated template is copied from that of the
        server at `template_of`, where one is named: a tenth of the time of migrating.
        """
        server = self.path / "server"
        with self._alone():
            if (server / "unavailable").exists():
                raise Unavailable((server / "unavailable").read_text())
            if not (server / "port").exists():
                built = (server / "data" / "PG_VERSION").exists()
                server.mkdir(exist_ok=True)
                try:
                    url = _address(_start(server, more))
                    if not built:
                        asyncio.run(_make_template(url, template_of))
                except Unavailable as error:
                    (server / "unavailable").write_text(str(error))
                    raise
            return _address(int((server / "port").read_text()))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.path / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _roomy_memory() -> Path | None:
    """A file system in memory with room enough; None: wherever temporary files go."""
    usable = os.access(IN_MEMORY, os.W_OK) and os.path.ismount(IN_MEMORY)
    return IN_MEMORY if usable and shutil.disk_usage(IN_MEMORY).free >= IN_MEMORY_BYTES_MIN else None


def fresh_sqlite(template: Path, folder: Path) -> str:
    """A copy of the migrated file; its URL."""
    path = folder / f"{uuid.uuid4().hex}.sqlite3"
    shutil.copyfile(template, path)
    return f"sqlite://{path}"


@asynccontextmanager
async def fresh_postgres(server_url: str) -> AsyncIterator[str]:
    """A copy of the migrated database; its URL. Dropped afterwards, whoever is still connected."""
    name = f"test_{uuid.uuid4().hex}"
    # copying files takes half the time of copying through the log, which older servers cannot do anyway
    await _administer(
        server_url,
        lambda version: (
            f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}" + (" STRATEGY FILE_COPY" if version >= 15 else "")
        ),
    )
    try:
        yield f"{server_url}/{name}"
    finally:
        await _administer(server_url, lambda _version: f"DROP DATABASE {name} WITH (FORCE)")


async def rows_as_script(conn: Connection) -> str:
    """Everything a PostgreSQL database holds, as one text of statements that puts it into a migrated one."""
    tables = await conn.fetch("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    script = []
    for (table,) in tables:
        rows = await conn.fetch(f'SELECT quote_literal(t::text) FROM "{table}" t')
        if rows:
            values = ", ".join(row[0] for row in rows)
            script.append(f'DELETE FROM "{table}"')
            script.append(f'INSERT INTO "{table}" SELECT * FROM unnest(ARRAY[{values}]::"{table}"[])')
    counted = await conn.fetch(
        "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public'"
        " AND (is_identity = 'YES' OR column_default LIKE 'nextval%')"
    )
    script += [
        f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), (SELECT max({column}) FROM \"{table}\"))"
        for table, column in counted
    ]
    return ";\n".join(script)


async def run_script(conn: Connection, script: str) -> None:
    """Run several statements at once, in the caller's transaction."""
    assert isinstance(conn, PostgresConnection)
    await conn.raw.execute(script)


async def _administer(server_url: str, statement: Callable[[int], str]) -> None:
    raw = await asyncpg.connect(f"{server_url}/postgres")
    try:
        for tries_left in reversed(range(CHECKPOINT_TRIES_MAX)):
            try:
                await raw.execute(statement(raw.get_server_version().major))
                return
            except asyncpg.InternalServerError as error:
                # a copy of files begins with a checkpoint, which may find files gone of a database that another drops
                if not tries_left or "checkpoint" not in str(error):
                    raise
    finally:
        await raw.close()


async def _make_template(server_url: str, template_of: str | None) -> None:
    await _administer(server_url, lambda _version: f"CREATE DATABASE {TEMPLATE}")
    if template_of is None:
        await migrate(f"{server_url}/{TEMPLATE}")
        return
    _copy_template(template_of, server_url)


def _copy_template(from_url: str, to_url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder) / "dump"
        Path(folder).chmod(0o777)  # the programs may run as somebody else
        _run("pg_dump", "--no-sync", "-f", dump, "-d", f"{from_url}/{TEMPLATE}")
        _run("psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", dump, "-d", f"{to_url}/{TEMPLATE}")


def _address(port: int) -> str:
    return f"postgres://{USER}@127.0.0.1:{port}"


def _binaries() -> Path:
    """The folder of `initdb` and `pg_ctl`: on PATH, else the newest where Debian puts them."""
    found = shutil.which("initdb")
    if found and (Path(found).resolve().parent / "pg_ctl").exists():
        return Path(found).resolve().parent
    installed = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not installed:
        raise Unavailable("no PostgreSQL: neither initdb on PATH nor /usr/lib/postgresql/*/bin")
    return max(installed, key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0))


def _start(server: Path, more: str = "") -> int:
    data = server / "data"
    account = _unprivileged()
    if account is not None:
        os.chown(server, account.pw_uid, account.pw_gid)
    if not (data / "PG_VERSION").exists():
        _run("initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
    settings = (data / "postgresql.conf").read_text()
    for attempt in range(STARTS_MAX):
        port = free_port()
        (data / "postgresql.conf").write_text(settings + CONFIGURATION.format(port=port) + more)
        try:
            _control(data, "start", "-w", "-t", "30", "-l", str(server / "log"))
        except Unavailable:
            # somebody else may have taken the port meanwhile
            if attempt == STARTS_MAX - 1:
                raise
            continue
        break
    began_by, kept = (server.parent / "began_by").read_text(), (server.parent / "kept").exists()
    subprocess.run(
        ["/bin/sh", "-c", WATCH, "watch", began_by, str(data), str(server.parent / "none" if kept else server.parent)],
        check=True,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
    )
    (server / "port").write_text(str(port))
    return port


def _unprivileged() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root: the account to run it as then."""
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "postgres"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Unavailable("tests run as root and there is no account `nobody` to run PostgreSQL as")


def _control(data: Path, verb: str, *options: str) -> None:
    _run("pg_ctl", "-D", data, verb, *options)


def _run(program: str, *arguments: str | Path) -> None:
    account = _unprivileged()
    command = [str(_binaries() / program), *map(str, arguments)]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    with tempfile.TemporaryFile() as output:
        # a file, not a pipe: the server inherits it and would keep a pipe open
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=environment,
            check=False,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            timeout=PROGRAM_SECONDS_MAX,
        )
        if done.returncode != 0:
            output.seek(0)
            said = output.read().decode(errors="replace").strip()
            raise Unavailable(f"{program} ended with {done.returncode}: {said[-800:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
