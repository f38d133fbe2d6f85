"""A pull by one statement: the same page as by the transaction, or none; and what it costs the database to ask."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from backend.domain.territories import Move
from backend.errors import Code, Refused
from backend.ids import new_id
from backend.storage.engine import Engine, Row
from backend.sync.at_once import pull_at_once
from backend.sync.foretold import Beyond, Foretold
from backend.sync.protocol import answer_pull
from backend.sync.pull import Page, PullRequest, SumsKept, pull
from backend.sync.versions import SCHEMA_VERSION
from backend.usecases.customers import change_customers
from backend.usecases.territories import grant_territory, move_customers, revoke_territory
from tests.house import House, create

SECRET = b"of cursors"


@dataclass
class Watched:
    """An engine that counts how it is asked, and hands over rows in another order than the database's."""

    engine: Engine
    transactions: int = 0
    statements: int = 0
    turned: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def read(self) -> Any:
        self.transactions += 1
        return self.engine.read()

    async def fetch(self, sql: str, *args: object, steady: bool = False) -> list[Row]:
        self.statements += 1
        rows = await self.engine.fetch(sql, *args, steady=steady)
        return rows[::-1] if self.turned else rows


@dataclass
class Phone:
    house: House
    who: str
    sums: SumsKept = field(default_factory=SumsKept)
    cursor: str | None = None
    limit: int = 100

    @property
    def request(self) -> PullRequest:
        return PullRequest(self.cursor, self.limit, SCHEMA_VERSION)

    async def at_once(self, engine: Any = None) -> Page | None:
        return await pull_at_once(
            engine or self.house.engine, self.house.people[self.who], self.request, secret=SECRET, bytes_max=10**6,
            sums=self.sums, device_at_ms=self.house.now_ms,
        )  # fmt: skip

    async def usual(self) -> Page:
        async with self.house.engine.read() as conn:
            return await pull(
                conn, self.house.people[self.who], self.request, secret=SECRET, bytes_max=10**6, sums=self.sums,
                device_at_ms=self.house.now_ms,
            )  # fmt: skip

    async def pulls(self, engine: Any = None) -> Page:
        """As the protocol answers it; the phone goes on from there."""
        page = await answer_pull(
            engine or self.house.engine, self.house.people[self.who], self.request, secret=SECRET, rows_max=1_000,
            bytes_max=10**6, retries_max=3, clock=lambda: self.house.now_ms, sums=self.sums,
        )  # fmt: skip
        self.cursor = page.cursor
        return page


async def customers(house: House, count: int = 3) -> list[str]:
    """New customers of wei's."""
    ids = [new_id() for _ in range(count)]
    await house.change("wei", change_customers, *(create(one, {"nameZh": "春裳", "kind": "RETAILER"}) for one in ids))
    return ids


async def moved(house: House, patch: str, *ids: str) -> None:
    house.now_ms += 60_000
    moves = [Move(one, house.patches[patch]) for one in ids]
    await house.work("admin", lambda work: move_customers(work, moves))


def told(page: Page) -> set[tuple[str, str]]:
    return {(row.collection, row.record_id) for block in page.blocks for row in block.rows}


async def test_a_delta_is_read_by_one_statement_and_is_what_the_transaction_says(house: House) -> None:
    phone, engine = Phone(house, "wei"), Watched(house.engine)
    await phone.pulls(engine)
    while not (await phone.pulls(engine)).complete:
        pass
    one, two, three = await customers(house)
    await moved(house, "south", two)
    # a phone of which everything there is to note has been noted
    async with house.engine.write() as conn:
        await conn.execute(
            "UPDATE device SET pulled_at = 7, drain_until = 8, acked_seq = 2, last_client_seq = 5, schema_version = 3"
            " WHERE id = ?",
            house.people["wei"].device_id,
        )
    for limit in (1, 2, 3, 100):
        phone.limit = limit
        wanted = await phone.usual()
        assert (wanted.acked_mutation, wanted.device and wanted.device.pulled_at_ms) == (5, 7)
        assert await phone.at_once() == wanted
        assert await phone.at_once(Watched(house.engine, turned=True)) == wanted
    assert wanted.complete
    assert wanted.checksums
    assert told(wanted) >= {("customers", one), ("customers", three)}
    engine.transactions = engine.statements = 0
    assert await phone.pulls(engine) == wanted
    assert (engine.statements, engine.transactions) == (1, 0)


async def test_what_is_not_all_of_one_statement_goes_the_usual_way(house: House) -> None:
    phone = Phone(house, "wei")
    assert await phone.at_once() is None, "nothing is known of him, and he starts from nothing"
    while not (await phone.pulls()).complete:
        pass
    assert await phone.at_once() == await phone.usual()
    wei, south = str(house.people["wei"].user_id), house.patches["south"]
    await house.work("admin", lambda work: grant_territory(work, wei, south))
    assert await phone.at_once() is None, "he holds more than was read"
    assert phone.sums.scopes_held(house.people["wei"].holder) is None
    page = await phone.pulls()
    assert page.held == phone.sums.scopes_held(house.people["wei"].holder)
    assert f"territory:{south}" in page.held
    house.now_ms += 60_000
    await house.work("admin", lambda work: revoke_territory(work, wei, south))
    page = await phone.pulls()
    assert f"territory:{south}" in page.scopes_removed
    assert f"territory:{south}" not in page.held
    (one,) = await customers(house, 1)
    older = replace(phone.request, schema_version=SCHEMA_VERSION - 1)
    phone_of_before = Phone(house, "wei", phone.sums, phone.cursor)
    assert await pull_at_once(
        house.engine, house.people["wei"], older, secret=SECRET, bytes_max=10**6, sums=phone_of_before.sums
    ) is None  # fmt: skip
    # a document of another shape is printed anew from the tables: more than was read
    async with house.engine.write() as conn:
        await conn.execute("UPDATE feed SET doc_version = 1 WHERE key = ?", f"customers:{one}")
    assert await phone.at_once() is None
    assert told(await phone.pulls()) >= {("customers", one)}


async def test_who_may_not_pull_is_told_by_one_statement_too(house: House) -> None:
    phone = Phone(house, "wei")
    await phone.pulls()
    while not (await phone.pulls()).complete:
        pass
    for sql, code in (
        ("UPDATE sync_clock SET horizon = seq + 5", Code.CURSOR_EXPIRED),
        ("UPDATE device SET state = 'DRAINING'", Code.DEVICE_DRAINING),
        ("UPDATE device SET state = 'WIPED'", Code.DEVICE_WIPED),
        ("DELETE FROM device", Code.DEVICE_REVOKED),
    ):
        async with house.engine.write() as conn:
            await conn.execute(sql)
        for ask in (phone.at_once, phone.usual):
            with pytest.raises(Refused) as refused:
                await ask()
            assert [problem.code for problem in refused.value.problems] == [code]
    other = Phone(house, "na", phone.sums, phone.cursor)
    other.sums.hold_scopes(house.people["na"].holder, ("organisation",))
    with pytest.raises(Refused) as refused:
        await other.at_once()
    assert [problem.code for problem in refused.value.problems] == [Code.CURSOR_INVALID]


async def test_a_place_that_came_back_and_one_that_did_not_are_told_apart(house: House) -> None:
    phone = Phone(house, "wei")
    stays, goes = await customers(house, 2)
    while not (await phone.pulls()).complete:
        pass
    await moved(house, "south", stays, goes)
    await moved(house, "north", stays)
    page = await phone.at_once()
    assert page is not None
    assert page == await phone.usual()
    left = {record_id for block in page.blocks for record_id in block.left}
    assert goes in left
    assert stays not in left
    assert ("customers", stays) in told(page)


async def test_what_was_not_read_is_beyond(house: House) -> None:
    known = Foretold(house.engine.dialect, {"SELECT 1": ([7], [(1,)])})
    assert await known.fetch("SELECT 1", 7) == [(1,)]
    for asked in (known.fetch("SELECT 1", 8), known.fetch("SELECT 2", 7), known.execute("SELECT 1", 7),
                  known.execute_many("SELECT 1", [(7,)])):  # fmt: skip
        with pytest.raises(Beyond):
            await asked


def test_those_who_pulled_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.sync.pull.HOLDERS_KEPT_MAX", 2)
    sums = SumsKept()
    for user in ("a", "b", "a", "c"):
        sums.hold_scopes(user, (user,))
    assert [sums.scopes_held(user) for user in "abc"] == [("a",), None, ("c",)]
    sums.hold_scopes("a", None)
    sums.hold_scopes("nobody", None)
    assert sums.scopes_held("a") is None
