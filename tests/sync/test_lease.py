"""The offline lease: a phone nobody reaches shows nothing after a week, and goes on capturing and pushing."""

import asyncio

import pytest

from backend.ids import new_id
from backend.storage.engine import Engine
from mobile_contract.replica import Document, Locked, Replica
from tests.factories import NOW_MS
from tests.sync.offices import Line, Office, visit_fields

DAY_MS = 86_400_000
LEASE = {"leaseUntil": "2026-01-08T00:00:00.000Z", "leaseSeconds": 7 * 86_400, "keepAnsweredDays": 14}


class LeasingLine(Line):
    """A line whose pages carry the lease, as GraphQL adds it."""

    def pull(self, request: Document) -> Document:
        return {**super().pull(request), **LEASE}


async def leased(engine: Engine) -> tuple[Office, LeasingLine, Replica, list[int]]:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    line = LeasingLine(engine, phone.line.principal, asyncio.get_running_loop())
    now = [NOW_MS]
    replica = Replica(now_ms=lambda: now[0])
    await asyncio.to_thread(replica.sync, line)
    return office, line, replica, now


async def test_a_lease_that_is_over_locks_reading_and_nothing_else(engine: Engine) -> None:
    office, line, replica, now = await leased(engine)
    shop, visit = office.shops[0], new_id()
    now[0] += 7 * DAY_MS - 1
    assert replica.view("customers", shop)
    now[0] += 1
    assert replica.locked
    for look in (
        lambda: replica.view("customers", shop),
        lambda: replica.views("customers"),
        lambda: replica.search("customers", "shop"),
        lambda: replica.ranked("2026-01-08"),
    ):
        with pytest.raises(Locked):
            look()
    replica.edit("visits", visit, visit_fields(shop, notes="captured while locked"))
    replica.edit("customers", shop, {"termsDays": 30})
    await asyncio.to_thread(replica.send, line)
    assert replica.queue == []
    assert await office.rows("SELECT notes FROM visit WHERE id = ?", visit) == [("captured while locked",)]
    assert replica.locked, "a push shows nothing new"
    await asyncio.to_thread(replica.sync, line)
    seen = replica.view("visits", visit)
    assert seen is not None
    assert seen["notes"] == "captured while locked"


async def test_a_clock_set_back_does_not_lengthen_the_lease(engine: Engine) -> None:
    office, _, replica, now = await leased(engine)
    now[0] = NOW_MS - 60_000
    assert replica.view("customers", office.shops[0]), "clocks are put right by seconds all the time"
    now[0] = NOW_MS - 3 * DAY_MS
    with pytest.raises(Locked):
        replica.view("customers", office.shops[0])


async def test_a_wiped_phone_holds_nothing_and_knows_how_much_was_lost(engine: Engine) -> None:
    office, _, replica, _ = await leased(engine)
    replica.edit("customers", office.shops[0], {"termsDays": 30})
    assert replica.wipe() == 1
    assert replica.views("customers") == {}
    held = (replica.documents, replica.places, replica.queue, replica.kept, replica.outcomes, replica.answered)
    assert not any(held)
    assert (replica.cursor, replica.client_seq) == (None, 0)
