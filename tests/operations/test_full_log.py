"""PostgreSQL's log has no room: it panics and does not come up again until there is room and somebody starts it.

Our server stays the same process all the time. What it refused meanwhile, pushes above all, is sent again as it was.
"""

import asyncio
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from backend.errors import Code
from tests.databases import TEMPLATE, Unavailable, _administer, _control, _run, _unprivileged
from tests.operations.conftest import small_disk
from tests.operations.test_trouble_served import (
    NOT_READY_SECONDS,
    READ,
    READY_SECONDS,
    Phone,
    fill,
    settings_for,
    until,
    until_pokes_arrive,
    until_status,
)
from tests.operations.test_workers import kept, prepare, sign_in
from tests.servers import Served, serve

LOG_DISK = "size=8000000,mode=0755"
LOG = "-c min_wal_size=2MB -c max_wal_size=64MB -c checkpoint_timeout=1h"
"""Segments of the log are of one megabyte; nothing but its end ever asks for a checkpoint."""
PUSHES_MAX = 2_000
PHONES = 2


@contextmanager
def small_log(data: Path, folder: Path) -> Iterator[Path]:
    """The log of a stopped server on a small disk; taken back at the end, when it is stopped again."""
    account = _unprivileged()
    own = data / "pg_wal"
    with small_disk(folder, LOG_DISK) as disk:
        assert account is not None, "only root has a disk"
        _run("pg_resetwal", "--wal-segsize=1", data)
        shutil.copytree(own, disk, dirs_exist_ok=True)
        for path in (disk, *disk.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid)
        aside = own.rename(data.parent / "log_before")
        own.symlink_to(disk)
        try:
            yield disk
        finally:
            own.unlink()
            shutil.rmtree(aside)
            shutil.copytree(disk, own)
            for path in (own, *own.rglob("*")):
                os.chown(path, account.pw_uid, account.pw_gid)


def start(data: Path) -> None:
    _control(data, "start", "-w", "-t", "30", "-o", LOG, "-l", str(data.parent / "log"))


def runs(data: Path) -> bool:
    return (data / "postmaster.pid").exists()


@pytest.mark.postgres
async def test_a_full_log_below_postgresql_stops_it_and_nothing_that_was_answered_is_lost(
    own_server: tuple[str, Path], tmp_path: Path
) -> None:
    address, data = own_server
    name = f"full_{uuid.uuid4().hex}"
    # copied before, since its making is a large part of such a log; it goes with its server
    await _administer(address, lambda _version: f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    await prepare(url := f"{address}/{name}")
    _control(data, "stop", "-m", "fast")
    try:
        with small_log(data, data.parent / "small") as disk:
            try:
                start(data)
                async with serve(settings_for(url, tmp_path)) as served:
                    await fill_and_free_twice(served, url, data, disk)
            finally:
                with suppress(Unavailable):  # it may have stopped by itself
                    _control(data, "stop", "-m", "immediate")
    finally:
        start(data)


async def fill_and_free_twice(served: Served, url: str, data: Path, disk: Path) -> None:
    phones = [Phone(served, await sign_in(served.client)) for _ in range(PHONES)]
    for _ in range(2):
        stone = fill(disk)
        for phone in phones:
            phone.told.clear()
        await asyncio.gather(*(push_until_refused(phone) for phone in phones))
        sent = [list(phone.waiting) for phone in phones]

        await until_status(served, 503, NOT_READY_SECONDS)
        assert (await served.client.get("/live")).status_code == 200
        await until_stopped(data)
        # started without room it stops at once, and nobody of ours takes it for a change
        with pytest.raises(Unavailable):
            await asyncio.to_thread(start, data)
        assert not runs(data)
        for phone in phones:
            assert not await phone.push()
            read = await phone.ask(READ)
            assert {error["extensions"]["code"] for error in read.json()["errors"]} == {Code.UNAVAILABLE.value}
            assert int(read.headers["retry-after"]) > 0
            # a commit that met the end of the log may say so; from then on there is no database
            assert {code for _, code in phone.told} <= {Code.UNAVAILABLE.value, Code.STORAGE_FULL.value}
            assert (503, Code.UNAVAILABLE.value) in phone.told

        stone.unlink()
        await asyncio.to_thread(start, data)
        await until_status(served, 200, READY_SECONDS)
        for phone, waited in zip(phones, sent, strict=True):
            assert waited, "nothing was refused"
            await until(phone.push, READY_SECONDS)
            await phone.hears_the_same(waited)
    await until_pokes_arrive(served, url)
    assert {record for phone in phones for record in phone.recorded} == await kept(url)


async def push_until_refused(phone: Phone) -> None:
    for _ in range(PUSHES_MAX):
        phone.note(40)
        if not await phone.push():
            return
    pytest.fail("the log is never full")


async def until_stopped(data: Path) -> None:
    async def stopped() -> bool:
        return not runs(data)

    await until(stopped)
