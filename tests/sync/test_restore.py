"""A backup is restored: the next epoch begins, and what phones still know of what was lost comes back, once."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from backend.auth.principal import Principal, PrincipalKind
from backend.errors import Code, Refused
from backend.ids import new_id
from backend.storage.engine import Engine, open_engine
from backend.sync.collect import EPOCH_MAX, next_epoch
from backend.sync.doctor import check_feed
from backend.sync.feed import EPOCH_STEP, read_clock
from backend.sync.work import Door, Work, in_work
from tests.factories import NOW_MS
from tests.sync.offices import Office, Phone, visit_fields

JOB = Principal(PrincipalKind.SERVICE, service_id="operator")


@dataclass
class Store:
    """A database that can be put aside and put back, as operators do it: a copy while nobody is connected."""

    url: str
    engine: Engine

    @asynccontextmanager
    async def _closed(self) -> AsyncIterator[None]:
        await self.engine.close()
        yield
        self.engine = open_engine(self.url)
        await self.engine.start()

    async def back_up(self) -> None:
        async with self._closed():
            await self._copy(self.url, f"{self.url}_backup")

    async def restore(self) -> None:
        async with self._closed():
            await self._copy(f"{self.url}_backup", self.url)

    async def _copy(self, source: str, target: str) -> None:
        if source.startswith("sqlite://"):
            file, copied = (Path(url.removeprefix("sqlite://")) for url in (source, target))
            await asyncio.to_thread(_copy_file, file, copied)
            return
        name, copied_name = (urlsplit(url).path[1:] for url in (source, target))
        raw = await asyncpg.connect(source.rpartition("/")[0] + "/postgres")
        await raw.execute(f"DROP DATABASE IF EXISTS {copied_name} WITH (FORCE)")
        await raw.execute(f"CREATE DATABASE {copied_name} TEMPLATE {name}")
        await raw.close()


def _copy_file(file: Path, copied: Path) -> None:
    """What was written beside the file belongs to the life that is lost."""
    for beside in ("-wal", "-shm"):
        Path(f"{copied}{beside}").unlink(missing_ok=True)
    shutil.copy(file, copied)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    engine = open_engine(database_url)
    await engine.start()
    store = Store(database_url, engine)
    yield store
    await store.engine.close()


async def step_epoch(engine: Engine, *, above: int = 0) -> tuple[int, int]:
    async def story(work: Work) -> tuple[int, int]:
        return await next_epoch(work, above=above)

    epochs, _ = await in_work(engine, JOB, story, clock=lambda: NOW_MS, retries_max=3, door=Door.JOB)
    return epochs


async def restored(store: Store, office: Office, *phones: Phone) -> None:
    """The backup is back, the next epoch has begun, and phones reach the server again."""
    await store.restore()
    office.engine = store.engine
    for phone in phones:
        phone.line.engine = store.engine
    await step_epoch(store.engine)


async def alike(office: Office, *phones: Phone) -> None:
    """After two rounds each phone holds what a new one would, nobody waits, and the feed says what the tables say."""
    for _ in range(2):
        for phone in phones:
            await phone.sync()
    for phone in phones:
        assert phone.replica.queue == []
        fresh = await office.phone(str(phone.line.principal.user_id))
        assert phone.replica.documents == fresh.replica.documents
        assert phone.replica.places == fresh.replica.places
    assert (await check_feed(office.engine)).drifted == 0


@pytest.mark.requirement("R4")
async def test_what_was_answered_after_the_backup_comes_back_from_the_phones_once(store: Store) -> None:
    office = await Office(store.engine).open()
    phone, other = await office.phone(office.rep), await office.phone(office.manager)
    before = new_id()
    phone.replica.edit("visits", before, visit_fields(office.shops[0], notes="in the backup"))
    await phone.sync()
    await store.back_up()
    office.engine = phone.line.engine = other.line.engine = store.engine

    made = new_id()
    phone.replica.edit("visits", made, visit_fields(office.shops[1], notes="after the backup"))
    phone.replica.edit("tasks", new_id(), {"title": "after the backup too"})
    await phone.sync()
    # an edit based on the revision it was given in the life that is lost
    phone.replica.edit("visits", made, {"nextStep": "call"})
    phone.replica.edit("visits", before, {"nextStep": "write"})
    await phone.sync()
    other.replica.edit("customers", office.shops[2], {"termsDays": 60})
    await other.sync()
    phone.replica.edit("customers", office.shops[0], {"termsDays": 10})  # never sent in that life

    await restored(store, office, phone, other)
    assert await office.rows("SELECT count(*) FROM visit") == [(1,)]
    await alike(office, phone, other)
    assert await office.rows("SELECT notes, next_step FROM visit ORDER BY id") == [
        ("in the backup", "write"),
        ("after the backup", "call"),
    ]
    assert await office.rows("SELECT title FROM task") == [("after the backup too",)]
    assert await office.rows(
        "SELECT id, terms_days FROM customer WHERE terms_days IS NOT NULL ORDER BY terms_days"
    ) == [
        (office.shops[0], 10),
        (office.shops[2], 60),
    ]
    assert await office.rows("SELECT count(*) FROM sync_issue") == [(0,)]
    ((mutations,),) = await office.rows("SELECT count(*) FROM receipt")
    assert mutations == 7


async def test_an_edit_of_what_had_to_be_made_again_stands_though_its_base_is_of_the_life_that_is_lost(
    store: Store,
) -> None:
    office = await Office(store.engine).open()
    phone, other = await office.phone(office.rep), await office.phone(office.manager)
    await store.back_up()
    office.engine = phone.line.engine = other.line.engine = store.engine
    visit = new_id()
    phone.replica.edit("visits", visit, visit_fields(office.shops[0], notes="made"))
    await phone.sync()
    phone.replica.edit("visits", visit, {"nextStep": "call"})
    await phone.sync()
    await other.sync()
    other.replica.edit("visits", visit, {"minutesPlanned": 40})
    await other.sync()
    await restored(store, office, phone, other)
    # in requests of their own, so that the record was made again when its edit arrives
    await asyncio.to_thread(phone.replica.sync, phone.line, push_mutations=1)
    await alike(office, phone, other)
    assert await office.rows("SELECT notes, next_step, minutes_planned FROM visit") == [("made", "call", 40)]
    assert await office.rows("SELECT code FROM sync_issue") == []


async def test_a_phone_with_nothing_to_send_sends_again_what_was_lost(store: Store) -> None:
    office = await Office(store.engine).open()
    phone = await office.phone(office.rep)
    await store.back_up()
    office.engine = phone.line.engine = store.engine
    phone.replica.edit("tasks", new_id(), {"title": "answered"})
    await phone.sync()
    assert phone.replica.queue == []
    await restored(store, office, phone)
    assert await office.rows("SELECT count(*) FROM task") == [(0,)]
    await alike(office, phone)
    assert await office.rows("SELECT title FROM task") == [("answered",)]


async def test_every_position_of_the_life_that_is_lost_is_expired(store: Store) -> None:
    office = await Office(store.engine).open()
    phone = await office.phone(office.rep)
    await store.back_up()
    office.engine = phone.line.engine = store.engine
    phone.replica.edit("tasks", new_id(), {"title": "x"})
    await phone.sync()
    request = phone.replica.pull_request()
    await store.restore()
    phone.line.engine = store.engine
    # an epoch was forgotten: at least those from the future are known
    with pytest.raises(Refused, match="CURSOR_EXPIRED"):
        await phone.line.ask(request)
    assert await step_epoch(store.engine) == (1, 2)
    with pytest.raises(Refused, match="CURSOR_EXPIRED"):
        await phone.line.ask(request)
    async with store.engine.read() as conn:
        assert await read_clock(conn) == (2 * EPOCH_STEP, 2 * EPOCH_STEP)
        assert await conn.fetch("SELECT acked_seq FROM device WHERE acked_seq > 0") == []


async def test_two_restores_of_one_backup_are_two_epochs(store: Store) -> None:
    office = await Office(store.engine).open()
    await store.back_up()
    assert await step_epoch(store.engine) == (1, 2)
    await store.restore()
    assert await step_epoch(store.engine, above=2) == (1, 3)
    assert office.shops


async def test_epochs_end_before_clocks_are_too_large_to_count(store: Store) -> None:
    assert await step_epoch(store.engine, above=EPOCH_MAX - 1) == (1, EPOCH_MAX)
    with pytest.raises(Refused) as refused:
        await step_epoch(store.engine)
    (problem,) = refused.value.problems
    assert (problem.code, problem.allowed) == (Code.OUT_OF_RANGE, ("1", "8191"))
    async with store.engine.read() as conn:
        clock, _ = await read_clock(conn)
    assert clock < 2**53


async def test_what_nobody_has_kept_is_gone_and_work_goes_on(store: Store) -> None:
    """A phone that kept its answered work for too short a time, and one that was wiped meanwhile."""
    office = await Office(store.engine).open()
    phone = await office.phone(office.rep)
    await store.back_up()
    office.engine = phone.line.engine = store.engine
    for number in range(3):
        phone.replica.edit("tasks", new_id(), {"title": f"lost {number}"})
    await phone.sync()
    phone.replica.kept.clear()
    phone.replica.edit("tasks", new_id(), {"title": "still there"})
    await restored(store, office, phone)
    await alike(office, phone)
    assert await office.rows("SELECT title FROM task") == [("still there",)]
    assert await office.rows("SELECT last_client_seq FROM device WHERE user_id = ? ORDER BY created_at", office.rep)
    assert phone.replica.client_seq == 1


async def test_answered_work_is_kept_for_the_days_the_server_says(store: Store) -> None:
    office = await Office(store.engine).open()
    phone = await office.phone(office.rep)
    now = NOW_MS
    phone.replica.now_ms = lambda: now
    phone.replica.keep_answered_days = 3
    for day in range(6):
        now = NOW_MS + day * 86_400_000
        phone.replica.edit("tasks", new_id(), {"title": str(day)})
        await asyncio.to_thread(phone.replica.send, phone.line)
    assert [m["change"]["task"]["set"]["title"] for m in phone.replica.kept] == ["3", "4", "5"]
