"""The served database and its rep, as the tests of GraphQL know them; a server and a disk of a test's own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import RunFolder, Unavailable, _control, fresh_sqlite
from tests.schema.conftest import door, server_settings

__all__ = ["door", "server_settings"]
DISK = "size=3000000,mode=0755"
DURABLE = "fsync = on\nsynchronous_commit = on\nfull_page_writes = on\n"


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    return fresh_sqlite(sqlite_template, tmp_path)


@pytest.fixture(scope="module")
def own_server() -> Iterator[tuple[str, Path]]:
    """A PostgreSQL nobody else uses, that keeps what it said it would: (its address, its data)."""
    folder = RunFolder.begin()
    try:
        address = folder.postgres_url()
    except Unavailable as reason:
        folder.end()
        pytest.skip(str(reason))
    data = folder.path / "server" / "data"
    with (data / "postgresql.conf").open("a") as settings:
        settings.write(DURABLE)
    _control(data, "reload")
    yield address, data
    folder.end()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes. Only root can have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small disk is mounted by root only")
    command = ["mount", "-t", "tmpfs", "-o", DISK, "selvedge-small", str(folder)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.decode(errors='replace').strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
