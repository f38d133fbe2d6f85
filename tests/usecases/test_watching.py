"""What is given out is counted: many people's contact data to somebody who sees all, and pulls beyond all measure."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from backend.auth.principal import Principal, PrincipalKind
from backend.config import Settings
from backend.domain.permissions import Role
from backend.domain.privacy import is_watched, unusual_rows
from backend.domain.times import DAY_MS
from backend.errors import Code, Problem, Refused
from backend.ids import new_id
from backend.schema.context import Context
from backend.schema.execute import encode, execute
from backend.schema.sensitive import SensitiveKeys
from backend.sync.bulk import BulkRequest, bulk_lines
from backend.sync.pull import SumsKept
from backend.sync.versions import SCHEMA_VERSION
from backend.usecases import watching
from backend.usecases.watching import PENDING_ROWS_MAX, Watch
from backend.web.bulk import BulkDoor, bulk_limits
from tests.house import House
from tests.usecases.asking import DOCUMENTS, PLANS, SCHEMA, ask, data
from tests.usecases.test_erasure import _rows, contact_at, shop

SETTINGS = Settings(sensitive_rows_min=3, unusual_pull_rows_min=1_000, unusual_pull_times=3)
PHONES = "{ contacts(first: 50) { nodes { id number: phone } } }"


def watch_of(house: House) -> Watch:
    return Watch(house.engine, settings=SETTINGS, clock=lambda: house.now_ms)


async def asked(house: House, who: str, document: str, watch: Watch | None = None) -> Any:
    context = Context(
        engine=house.engine,
        principal=house.people[who],
        settings=SETTINGS,
        clock=lambda: house.now_ms,
        now_ms=house.now_ms,
        plans=PLANS,
        watch_door=watch or watch_of(house),
        sensitive_keys=SensitiveKeys(),
    )
    answer = orjson.loads(encode(await execute(SCHEMA, context, DOCUMENTS, document)))
    assert "errors" not in answer, answer
    return answer["data"]


async def noted(house: House, action: str) -> list[tuple[str, str, int]]:
    rows = await _rows(house, "SELECT actor, collection, record_id, changes FROM audit_entry WHERE action = ?"
                              " ORDER BY at, id", action)  # fmt: skip
    return [(row[0], row[1], orjson.loads(row[3])[0]["after"]) for row in rows]


@pytest.mark.requirement("R48")
async def test_reading_many_phone_numbers_is_noted_once_with_a_count_and_no_value(house: House) -> None:
    customer = await shop(house)
    for number in range(4):
        await contact_at(house, customer, nameEn=f"Ann{number}", phone=f"+8613755501{number:03}")
    await contact_at(house, customer, nameEn="without")
    assert len((await asked(house, "agent", PHONES))["contacts"]["nodes"]) == 5
    assert await noted(house, "READ") == [(house.people["agent"].actor, "contacts", 4)]
    for who, document in (
        ("agent", "{ contacts(first: 50) { nodes { id nameEn } } }"),  # no contact data
        ("agent", "{ contacts(first: 2) { nodes { phone } } }"),  # of few
        ("wei", PHONES),  # of one's own territory
        ("analyst", PHONES),  # masked
    ):
        await asked(house, who, document)
    assert len(await noted(house, "READ")) == 1
    text = b"".join(str(row).encode() for row in await _rows(house, "SELECT * FROM audit_entry WHERE action = 'READ'"))
    assert b"1375550" not in text


def test_whose_reading_is_noted() -> None:
    assert {role for role in Role if is_watched(role)} == {Role.SERVICE_AGENT, Role.BACK_OFFICE, Role.ADMIN}
    assert is_watched(None)


async def pull(house: House, watch: Watch, who: str, rows: int) -> None:
    """So many rows, in pages."""
    while rows > 0:
        await watch.pulled(house.people[who], {"customers": min(rows, PENDING_ROWS_MAX)})
        await watch.write_down()
        rows -= PENDING_ROWS_MAX


async def events(house: House, who: str = "admin", **more: Any) -> Any:
    asked_for = "query ($first: Int!, $after: ID) { securityEvents(first: $first, after: $after) {" \
                " id kind userId deviceId rows rowsExpected } }"  # fmt: skip
    return (await data(house, who, asked_for, **{"first": 50, **more}))["securityEvents"]


@pytest.mark.requirement("R48")
async def test_a_device_that_takes_far_more_than_there_is_raises_one_event_a_day(house: House) -> None:
    watch = watch_of(house)
    await pull(house, watch, "wei", 1_000)
    assert await events(house) == []
    await pull(house, watch, "wei", 500)
    [found] = await events(house)
    device = house.people["wei"].device_id
    assert (found["kind"], found["deviceId"], found["rows"], found["rowsExpected"]) == (
        "UNUSUAL_PULL", device, 1_500, 1_000,
    )  # fmt: skip
    await pull(house, watch, "wei", 5_000)
    await pull(house, watch, "na", 900)
    assert len(await events(house)) == 1
    assert await noted(house, "UNUSUAL_PULL") == [(house.people["wei"].actor, "devices", 1_500)]
    house.now_ms += DAY_MS
    await pull(house, watch, "wei", 1_000)
    assert len(await events(house)) == 1
    await pull(house, watch, "wei", 1_000)
    newest, oldest = await events(house)
    assert [one["id"] for one in await events(house, first=1, after=newest["id"])] == [oldest["id"]]


async def test_a_first_sync_is_nothing_unusual_however_much_there_is(house: House) -> None:
    async with house.engine.write() as conn:
        await conn.execute("UPDATE scope_sum SET live = 700 WHERE key = (SELECT min(key) FROM scope_sum WHERE scope ="
                           " 'organisation')")  # fmt: skip
    [(held,)] = await _rows(house, "SELECT sum(s.live) FROM scope_sum s JOIN user_scope g ON g.scope = s.scope"
                                   " WHERE g.user_id = ? AND g.revoked_seq IS NULL",
                                   house.people["wei"].user_id)  # fmt: skip
    watch = watch_of(house)
    for _ in range(3):
        await watch.pulled_all(house.people["wei"])
    await watch.write_down()
    [(rows,)] = await _rows(house, "SELECT rows FROM pulled_rows")
    assert rows == 3 * held > 1_000
    assert await events(house) == []
    await watch.pulled_all(house.people["wei"])
    await watch.write_down()
    assert len(await events(house)) == 1


async def stream(house: House, watch: Watch, who: str, cursor: str | None = None) -> list[dict[str, Any]]:
    """The lines of /sync/bulk as the door gives them out."""
    doors: Any = None
    door = BulkDoor(doors, house.engine, settings=SETTINGS, secret=b"s" * 32, clock=lambda: house.now_ms,
                    sums=SumsKept(), watch=watch)  # fmt: skip
    parts = bulk_lines(
        house.engine, house.people[who], BulkRequest(cursor, None, SCHEMA_VERSION), secret=b"s" * 32,
        limits=bulk_limits(SETTINGS), clock=lambda: house.now_ms, retries_max=3,
    )  # fmt: skip
    visit: Any = SimpleNamespace(principal=house.people[who], locale="en")
    text = b"".join([part async for part in door._told(visit, parts)])
    await watch.close()
    return [orjson.loads(line) for line in text.splitlines()]


@pytest.mark.requirement("R48")
async def test_people_that_come_in_a_stream_are_noted_like_those_of_an_answer(house: House) -> None:
    customer = await shop(house)
    for number in range(4):
        await contact_at(house, customer, nameEn=f"Ann{number}", phone=f"+8613755501{number:03}")
    lines = await stream(house, watch_of(house), "agent")
    assert len([line for line in lines if line.get("collection") == "contacts"]) == 4
    assert await noted(house, "READ") == [(house.people["agent"].actor, "contacts", 4)]
    await stream(house, watch_of(house), "wei")
    assert len(await noted(house, "READ")) == 1, "a rep's own territory"
    # what came since, as a page at the end
    for number in range(3):
        await contact_at(house, customer, nameEn=f"Bea{number}", phone=f"+8613755502{number:03}")
    since = [line["cursor"] if "cursor" in line else line["page"]["cursor"] for line in lines if
             "cursor" in line or "page" in line][-1]  # fmt: skip
    await stream(house, watch_of(house), "agent", since)
    assert [rows for _, _, rows in await noted(house, "READ")] == [4, 3]
    watch = watch_of(house)
    asked_for = f"{{ watermelonPull(schemaVersion: {SCHEMA_VERSION}, lastPulledAt: null) {{ timestamp }} }}"
    await asked(house, "agent", asked_for, watch)
    await watch.close()
    assert [rows for _, _, rows in await noted(house, "READ")] == [4, 3, 7]


async def test_of_another_system_it_is_noted_whose_data_it_took_and_no_more(house: House) -> None:
    watch, service = watch_of(house), Principal(PrincipalKind.SERVICE, service_id=new_id())
    await watch.pulled(service, {"contacts": 2, "": 600})
    await watch.write_down()
    assert await noted(house, "READ") == []
    await watch.pulled(service, {"contacts": 4})
    await watch.close()
    assert await noted(house, "READ") == [(service.actor, "contacts", 4)]
    assert await _rows(house, "SELECT rows FROM pulled_rows") == []


async def test_few_rows_are_added_up_and_written_down_at_least_every_minute(house: House) -> None:
    watch = watch_of(house)
    for _ in range(10):
        await watch.pulled(house.people["wei"], {"visits": 3})
        await watch.write_down()
    assert await _rows(house, "SELECT rows FROM pulled_rows") == []
    house.now_ms += 60_000
    await watch.pulled(house.people["wei"], {"visits": 3})
    await watch.write_down()
    assert [row[0] for row in await _rows(house, "SELECT rows FROM pulled_rows")] == [33]
    await watch.pulled(Principal(PrincipalKind.SERVICE, service_id=new_id()), {"visits": 10_000})
    assert len(await _rows(house, "SELECT rows FROM pulled_rows")) == 1


async def test_much_is_written_down_by_itself_and_the_rest_when_the_process_stops(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "WRITE_AFTER_SECONDS", 0.0)
    watch, written, write_down = watch_of(house), asyncio.Event(), Watch.write_down

    async def told(self: Watch) -> None:
        await write_down(self)
        written.set()

    monkeypatch.setattr(Watch, "write_down", told)
    await watch.pulled(house.people["wei"], {"visits": PENDING_ROWS_MAX})
    await asyncio.wait_for(written.wait(), 20)
    assert [row[0] for row in await _rows(house, "SELECT rows FROM pulled_rows")] == [PENDING_ROWS_MAX]
    await watch.pulled(house.people["wei"], {"visits": 3})
    await watch.close()
    assert [row[0] for row in await _rows(house, "SELECT rows FROM pulled_rows")] == [PENDING_ROWS_MAX + 3]


async def test_what_a_database_that_is_away_did_not_take_is_written_with_the_next(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def away() -> AsyncIterator[Any]:
        raise Refused(Problem(Code.UNAVAILABLE))
        yield

    watch = watch_of(house)
    await watch.pulled(house.people["wei"], {"visits": 600})
    with monkeypatch.context() as patch:
        patch.setattr(house.engine, "write", away)
        await watch.write_down()
    await watch.pulled(house.people["wei"], {"visits": 1})
    await watch.close()
    assert [row[0] for row in await _rows(house, "SELECT rows FROM pulled_rows")] == [601]


@pytest.mark.parametrize("who", ["wei", "manager", "agent", "analyst"])
async def test_security_events_are_for_admins(house: House, who: str) -> None:
    answer = await ask(house, who, "{ securityEvents { id } }")
    assert answer["errors"][0]["extensions"]["code"] == "NOT_PERMITTED"


def test_unusual_is_judged_by_what_there_is() -> None:
    assert unusual_rows(60_000, times=3, rows_min=5_000) == 180_000
    assert unusual_rows(10, times=3, rows_min=5_000) == 5_000
