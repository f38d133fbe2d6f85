"""The served database and its rep, as the tests of GraphQL know them; a server and a disk of a test's own."""

import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from tests.databases import TEMPLATE, RunFolder, Unavailable, _administer, _control, _unprivileged, fresh_sqlite
from tests.schema.conftest import door, server_settings

__all__ = ["door", "server_settings"]
DISK = "size=3000000,mode=0755"
MOUNT_SECONDS_MAX = 20
DURABLE = "fsync = on\nsynchronous_commit = on\nfull_page_writes = on\n"


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    return fresh_sqlite(sqlite_template, tmp_path)


@pytest.fixture(scope="session")
def own_server(postgres_server: str) -> Iterator[tuple[str, Path]]:
    """A PostgreSQL nobody else uses, that keeps what it said it would: (its address, its data)."""
    folder = RunFolder.begin()
    try:
        address = folder.postgres_url(template_of=postgres_server)
    except Unavailable as reason:
        folder.end()
        pytest.skip(str(reason))
    data = folder.path / "server" / "data"
    with (data / "postgresql.conf").open("a") as settings:
        settings.write(DURABLE)
    _control(data, "reload")
    yield address, data
    folder.end()


@contextmanager
def small_disk(folder: Path, options: str = DISK) -> Iterator[Path]:
    """A file system of a few megabytes, mounted there. Only root can have one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "selvedge-small", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        _no_small_disk("only root mounts one")
    done = subprocess.run(command, capture_output=True, check=False, timeout=MOUNT_SECONDS_MAX)
    if done.returncode != 0:
        _no_small_disk(done.stderr.decode(errors="replace").strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=MOUNT_SECONDS_MAX)


def _no_small_disk(reason: str) -> NoReturn:
    """The test is skipped with the reason; where `SELVEDGE_SMALL_DISK_TESTS` says that there must be one, it fails.

    A build server does not always run as root, so that `CI` alone does not say it.
    """
    told = f"no small disk can be mounted here: {reason}"
    if os.environ.get("SELVEDGE_SMALL_DISK_TESTS"):
        pytest.fail(told, pytrace=False)
    pytest.skip(told)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as folder:
        yield folder


@pytest.fixture
async def postgres_on_a_small_disk(postgres_server: str, run_folder: RunFolder) -> AsyncIterator[tuple[str, Path]]:
    """A database whose tables are on a disk of their own: (its address, the disk). The log has room."""
    name = f"small_{uuid.uuid4().hex}"
    with small_disk(run_folder.path / name, "size=60000000") as folder:
        account = _unprivileged()
        assert account is not None, "only root has a disk"
        os.chown(folder, account.pw_uid, account.pw_gid)
        await _administer(postgres_server, lambda _version: f"CREATE TABLESPACE {name} LOCATION '{folder}'")
        try:
            await _administer(
                postgres_server, lambda _version: f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} TABLESPACE {name}"
            )
            try:
                yield f"{postgres_server}/{name}", folder
            finally:
                await _administer(postgres_server, lambda _version: f"DROP DATABASE {name} WITH (FORCE)")
        finally:
            await _administer(postgres_server, lambda _version: f"DROP TABLESPACE {name}")
