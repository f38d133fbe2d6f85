"""The door of WatermelonDB: what it refuses and how it says so; what of a push is kept; Turbo's text."""

import math
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from backend.config import Settings
from backend.errors import Code
from backend.ids import new_id
from backend.sync.changes import Change, Intent
from backend.sync.work import Door, Work
from backend.usecases.customers import change_customers
from tests import factories
from tests.clients.watermelon.sessions import signed_in
from tests.house import House, create
from tests.schema.conftest import Door as FrontDoor
from tests.servers import JsonObject, Served, serve
from tests.usecases import asking

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PULL = """query ($at: Float, $v: Int! = 1, $m: JSON, $t: [String!], $again: JSON) {
  watermelonPull(lastPulledAt: $at, schemaVersion: $v, migration: $m, tables: $t, again: $again) {
    changes timestamp } }"""
PUSH = """mutation ($changes: JSON!, $at: Float!) { watermelonPush(changes: $changes, lastPulledAt: $at) {
  ... on WatermelonPushed { ok experimentalRejectedIds } ... on Refusal { problems { code path allowed } } } }"""


async def pull(house: House, who: str = "wei", at: float | None = None, **more: object) -> JsonObject:
    found: JsonObject = (await asking.data(house, who, PULL, at=at, **more))["watermelonPull"]
    return found


async def push(house: House, changes: object, at: float | None = None, who: str = "wei") -> JsonObject:
    at = (await pull(house, who))["timestamp"] if at is None else at
    found: JsonObject = (await asking.data(house, who, PUSH, changes=changes, at=at))["watermelonPush"]
    return found


async def code_of(house: House, document: str, **variables: Any) -> str:
    answer = await asking.ask(house, "wei", document, **variables)
    return str(answer["errors"][0]["extensions"]["code"])


def told(answer: JsonObject) -> list[tuple[str, tuple[str, ...]]]:
    """(code, path) of each problem."""
    return [(problem["code"], tuple(problem["path"])) for problem in answer["problems"]]


def updated(record_id: str, **columns: object) -> JsonObject:
    row = {"id": record_id, "_status": "updated", "_changed": ",".join(columns), **columns}
    return {"created": [], "updated": [row], "deleted": []}


def created(record_id: str, **columns: object) -> JsonObject:
    row = {"id": record_id, "_status": "created", "_changed": "", **columns}
    return {"created": [row], "updated": [], "deleted": []}


async def a_shop(house: House, who: str = "wei", **fields: object) -> str:
    shop = new_id()
    [outcome] = await house.change(
        who, change_customers, create(shop, {"nameEn": "Shop", "kind": "RETAILER", **fields})
    )
    assert not outcome.problems, outcome.problems
    return shop


async def shown(house: House, table: str, record_id: str, who: str = "wei") -> JsonObject:
    changes = (await pull(house, who, t=[table]))["changes"]
    [row] = [row for row in changes[table]["updated"] if row["id"] == record_id]
    found: JsonObject = row
    return found


async def kept(house: House, who: str = "wei") -> list[JsonObject]:
    changes = (await pull(house, who, t=["syncIssues"]))["changes"]
    found: list[JsonObject] = changes["syncIssues"]["updated"]
    return found


# -- the clock ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [1, 0.5, 2**30, -(2**41), 1e300, -1.0, 1.0])
async def test_a_clock_that_is_none_of_ours_is_expired(house: House, off: float) -> None:
    at = (await pull(house))["timestamp"]
    wrong = off if abs(off) >= 1e300 or (off in (-1.0, 1.0) and isinstance(off, float)) else at + off
    assert await code_of(house, PULL, at=wrong) == Code.CURSOR_EXPIRED
    assert await code_of(house, PULL, at=at + 1) == Code.CURSOR_EXPIRED
    assert (await pull(house, at=at))["timestamp"] == at


@pytest.mark.parametrize("at", ["NaN", math.nan, math.inf, "1e12", True, [1], {"a": 1}])
async def test_what_is_no_number_is_a_bad_request(house: House, at: object) -> None:
    answer = await asking.ask(house, "wei", PULL, at=at)
    assert answer["errors"][0]["extensions"]["code"] == Code.BAD_REQUEST


@pytest.mark.parametrize("at", [None, 0, 0.0])
async def test_null_and_0_are_a_first_sync(house: House, at: float | None) -> None:
    shop = await a_shop(house)
    changes = (await pull(house, at=at))["changes"]
    assert shop in [row["id"] for row in changes["customers"]["updated"]]
    assert all(not one["deleted"] and not one["created"] for one in changes.values())


async def test_a_clock_below_the_horizon_is_expired(house: House) -> None:
    at = (await pull(house))["timestamp"]
    await a_shop(house)
    async with house.engine.write() as conn:
        await conn.execute("UPDATE sync_clock SET horizon = seq")
    assert await code_of(house, PULL, at=at) == Code.CURSOR_EXPIRED


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"t": ["nothing"]}, Code.NOT_ALLOWED_VALUE),
        ({"t": ["customers", "feed; DROP TABLE feed"]}, Code.NOT_ALLOWED_VALUE),
        ({"m": []}, Code.INVALID_VALUE),
        ({"m": {"from": 1, "tables": "customers", "columns": []}}, Code.INVALID_VALUE),
        ({"m": {"from": 1, "tables": [], "columns": [{"table": 5, "columns": []}]}}, Code.INVALID_VALUE),
        ({"m": {"from": 1, "tables": [], "columns": [{"table": "customers"}]}}, Code.INVALID_VALUE),
        ({"again": {"customers": ["x"]}}, Code.INVALID_VALUE),
        ({"again": {"nothing": []}}, Code.NOT_ALLOWED_VALUE),
        ({"v": 0}, Code.UPGRADE_REQUIRED),
    ],
)
async def test_a_wrong_request_is_told_so(house: House, more: JsonObject, code: Code) -> None:
    assert await code_of(house, PULL, **more) == code


# -- what is pushed -----------------------------------------------------------------------------------------------

FORMS: list[tuple[object, Code]] = [
    ([], Code.INVALID_VALUE),
    ("customers", Code.INVALID_VALUE),
    ({"customers": []}, Code.INVALID_VALUE),
    ({"customers": {"created": {}}}, Code.INVALID_VALUE),
    ({"nothing": {"created": [{"id": "x"}], "updated": [], "deleted": []}}, Code.NOT_ALLOWED_VALUE),
    ({"people": {"created": [{"id": "x"}], "updated": [], "deleted": []}}, Code.NOT_ALLOWED_VALUE),
    ({"scores": {"created": [], "updated": [], "deleted": [new_id()]}}, Code.NOT_ALLOWED_VALUE),
    ({"customers": {"created": [7], "updated": [], "deleted": []}}, Code.INVALID_VALUE),
    ({"customers": {"created": [{"nameEn": "x"}], "updated": [], "deleted": []}}, Code.INVALID_VALUE),
    ({"customers": {"created": [], "updated": [], "deleted": ["x\ud800"]}}, Code.INVALID_VALUE),
    ({"customers": {"created": [], "updated": [{"id": new_id()}], "deleted": []}}, Code.REQUIRED),
]


@pytest.mark.parametrize(("changes", "code"), FORMS)
async def test_changes_of_another_form_are_told_so(house: House, changes: object, code: Code) -> None:
    answer = await push(house, changes)
    assert [problem["code"] for problem in answer["problems"]] == [code]


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("searchKeys", "x", Code.SERVER_ONLY_FIELD),
        ("createdAt", 5, Code.SERVER_ONLY_FIELD),
        ("nothing", 1, Code.UNKNOWN_FIELD),
        ("__proto__", 1, Code.UNKNOWN_FIELD),
        ("nameEn", 5, Code.INVALID_VALUE),
        ("nameEn", "x\0y", Code.INVALID_VALUE),
        ("kind", "FRIEND", Code.NOT_ALLOWED_VALUE),
        ("geofenceM", 1.5, Code.INVALID_VALUE),
        ("geofenceM", 10**30, Code.OUT_OF_RANGE),
        ("tags", "no JSON", Code.INVALID_VALUE),
        ("tags", ["a list"], Code.INVALID_VALUE),
        ("tags", '{"a": 1}', Code.INVALID_VALUE),
        ("openHours", "[1]", Code.INVALID_VALUE),
        ("parentId", "x", Code.INVALID_VALUE),
    ],
)
async def test_a_wrong_value_names_table_id_and_column_and_is_kept(
    house: House, column: str, value: object, code: Code
) -> None:
    shop, other = await a_shop(house), new_id()
    changes = {"customers": updated(shop, **{column: value}), "tasks": created(other, title="fine")}
    answer = await push(house, changes)
    assert [(c, path[:4]) for c, path in told(answer)] == [(code, ("customers", "updated", shop, column))]
    again = await push(house, changes)
    assert told(again) == told(answer)
    [issue] = await kept(house)
    assert (issue["recordId"], issue["code"], issue["state"]) == (shop, code, "OPEN")
    assert await house.row("task", other, "id") == ()


async def test_all_that_is_wrong_is_told_at_once(house: House) -> None:
    shop, visit = await a_shop(house), new_id()
    changes = {
        "customers": updated(shop, nameEn=5, nothing=1),
        "visits": created(visit, customerId=shop, state="COMPLETED"),
        "tasks": updated(new_id(), title="nowhere"),
    }
    codes = {(path[0], code) for code, path in told(await push(house, changes))}
    assert codes == {
        ("customers", "INVALID_VALUE"),
        ("customers", "UNKNOWN_FIELD"),
        ("visits", "REQUIRED"),
        ("tasks", "NOT_FOUND"),
    }
    assert {issue["collection"] for issue in await kept(house)} == {"customers", "visits", "tasks"}


async def test_a_deleted_row_is_not_undeleted_by_creating_it_again(house: House) -> None:
    """It is refused, kept, and comes back by the mutation that says so, as it was."""
    shop = await a_shop(house, "wei")
    [outcome] = await house.change("admin", change_customers, Change(shop, Intent.DELETE))
    assert outcome.status.value == "APPLIED", outcome.problems
    again = {"customers": created(shop, nameEn="again", kind="RETAILER")}
    for _ in range(2):
        assert told(await push(house, again)) == [("ID_TAKEN", ("customers", "created", shop, "id"))]
    assert await house.row("customer", shop, "id") == ()
    back = "mutation ($id: ID!) { restoreCustomer(id: $id) { ... on CustomerChanged { status } } }"
    assert (await asking.data(house, "wei", back, id=shop))["restoreCustomer"] == {"status": "APPLIED"}
    found = (await pull(house))["changes"]["customers"]["updated"]
    assert [row["nameEn"] for row in found if row["id"] == shop] == ["Shop"]


async def test_ids_of_another_territory_or_collection_are_not_found(house: House) -> None:
    theirs = await a_shop(house, "na")
    assert told(await push(house, {"customers": updated(theirs, nameEn="mine now")})) == [
        ("NOT_FOUND", ("customers", "updated", theirs, "id"))
    ]
    assert told(await push(house, {"visits": updated(theirs, nextStep="x")})) == [
        ("NOT_FOUND", ("visits", "updated", theirs, "id"))
    ]
    assert told(await push(house, {"customers": created(theirs, nameEn="taken", kind="RETAILER")})) == [
        ("ID_TAKEN", ("customers", "created", theirs, "id"))
    ]
    gone = {"customers": {"created": [], "updated": [], "deleted": [theirs, new_id()]}}
    assert (await push(house, gone))["ok"] is True
    assert await house.row("customer", theirs, "name_en") == ("Shop",)


async def test_one_row_too_many_is_refused_before_any_is_read(house: House) -> None:
    rows_max = asking.SETTINGS.watermelon_push_rows_max
    ids = [new_id() for _ in range(10_001)]
    changes = {"tasks": {"created": [], "updated": [], "deleted": ids}}
    assert told(await push(house, changes)) == [("TOO_MANY", ("changes",))]
    at_most = {"tasks": {"created": [], "updated": [], "deleted": ids[:rows_max]}}
    assert (await push(house, at_most))["ok"] is True


async def test_an_id_twice_in_a_table_is_refused(house: House) -> None:
    task = new_id()
    twice = {"tasks": {**created(task, title="x"), "deleted": [task]}}
    assert told(await push(house, twice)) == [("INVALID_VALUE", ("tasks", "deleted", task))]


async def test_tables_of_the_apps_own_may_come_along_empty(house: House) -> None:
    assert (await push(house, {"drafts": {"created": [], "updated": [], "deleted": []}}))["ok"] is True


async def test_only_changed_columns_are_written(house: House) -> None:
    shop = await a_shop(house, city="Hangzhou")
    row = {"id": shop, "_status": "updated", "_changed": "district", "district": "Xihu", "city": "as it was long ago"}
    assert (await push(house, {"customers": {"created": [], "updated": [row], "deleted": []}}))["ok"] is True
    assert await house.row("customer", shop, "city", "district") == ("Hangzhou", "Xihu")


async def test_a_push_at_a_clock_to_come_is_expired(house: House) -> None:
    at = (await pull(house))["timestamp"]
    assert told(await push(house, {}, at + 1)) == [("CURSOR_EXPIRED", ("lastPulledAt",))]
    assert told(await push(house, {}, at - 0.5)) == [("CURSOR_EXPIRED", ("lastPulledAt",))]
    assert told(await push(house, {}, -5)) == [("CURSOR_EXPIRED", ("lastPulledAt",))]


async def test_an_expired_clock_of_the_past_still_hands_in(house: House) -> None:
    """Hand in first, then begin again: nothing of a device that was away is lost."""
    shop = await a_shop(house)
    at = (await pull(house))["timestamp"]
    async with house.engine.write() as conn:
        await conn.execute("UPDATE sync_clock SET seq = ?, horizon = ?", 3 * 2**40, 3 * 2**40)
    assert await code_of(house, PULL, at=at) == Code.CURSOR_EXPIRED
    assert (await push(house, {"customers": updated(shop, city="Hangzhou")}, at))["ok"] is True
    assert await house.row("customer", shop, "city") == ("Hangzhou",)


async def test_an_issue_is_settled_when_the_same_change_is_taken_later(house: House) -> None:
    other = replace(house.people["wei"], device_id=new_id())

    async def second_phone(work: Work) -> None:
        await factories.device(work.conn, str(other.user_id), id=other.device_id)

    await house.work("system", second_phone, door=Door.JOB)
    house.people["wei2"] = other
    shop = await a_shop(house)
    at = (await pull(house))["timestamp"]
    assert (await push(house, {"customers": updated(shop, city="theirs")}, at, "wei2"))["ok"] is True
    mine = {"customers": updated(shop, city="mine")}
    assert told(await push(house, mine, at)) == [("CONFLICT", ("customers", "updated", shop, "city"))]
    assert await house.row("customer", shop, "city") == ("theirs",)
    [issue] = await kept(house)
    assert (issue["state"], issue["mine"], issue["theirs"]) == ("OPEN", '"mine"', '"theirs"')
    assert (await push(house, mine))["ok"] is True
    [issue] = await kept(house)
    assert issue["state"] == "RESOLVED"
    assert await house.row("customer", shop, "city") == ("mine",)


async def test_rows_asked_again_are_those_its_user_sees(house: House) -> None:
    mine, theirs = await a_shop(house), await a_shop(house, "na")
    at = (await pull(house))["timestamp"]
    again = (await pull(house, at=at, again={"customers": [mine, theirs, new_id()]}))["changes"]
    assert [row["id"] for row in again["customers"]["updated"]] == [mine]


async def test_a_device_without_a_role_that_syncs_is_told_so(house: House) -> None:
    answer = await asking.ask(house, "analyst", PULL)
    assert answer["errors"][0]["extensions"]["code"] == Code.NOT_PERMITTED
    answer = await asking.ask(house, "analyst", PUSH, changes={}, at=0)
    assert answer["data"]["watermelonPush"]["problems"][0]["code"] == Code.NOT_PERMITTED


# -- turbo --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def served(house: House, folder: Path, **more: Any) -> AsyncIterator[tuple[Served, dict[str, str]]]:
    settings = Settings(database_url=house.engine.url, data_dir=folder, access_token_seconds=3600, **more)
    async with serve(settings) as found:
        yield found, {"authorization": f"Bearer {(await signed_in(found, house.people['wei']))['token']}"}


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
async def test_turbo_is_the_first_pull_as_one_text(house: House, tmp_path: Path, encoding: str) -> None:
    for _ in range(25):
        await a_shop(house, tags=["new"])
    wanted = await pull(house)
    async with served(house, tmp_path, bulk_chunk_rows_max=4) as (found, headers):
        sent = {**headers, "accept-encoding": encoding}
        async with found.client.stream("GET", "/sync/turbo", headers=sent) as answer:
            raw = b"".join([part async for part in answer.aiter_raw()])
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert answer.headers.get("content-encoding", "identity") == encoding
    text = {"identity": bytes, "gzip": lambda body: zlib.decompress(body, 31), "zstd": zstd.decompress}[encoding](raw)
    got = orjson.loads(text)
    assert got["timestamp"] == wanted["timestamp"]
    assert got["changes"].keys() == wanted["changes"].keys()
    for name, one in wanted["changes"].items():
        ids = {row["id"]: row for row in got["changes"][name]["updated"]}
        assert ids == {row["id"]: row for row in one["updated"]}, name
        assert len(ids) == len(one["updated"])


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("lastPulledAt=5", 400, "NOT_ALLOWED_VALUE"),
        ("tables=nothing", 400, "NOT_ALLOWED_VALUE"),
        ("tables=", 400, "NOT_ALLOWED_VALUE"),
        ("schemaVersion=x", 400, "INVALID_VALUE"),
        ("cursor=x", 400, "UNKNOWN_FIELD"),
    ],
)
async def test_a_wrong_turbo_is_told_so(house: House, tmp_path: Path, query: str, status: int, code: str) -> None:
    async with served(house, tmp_path) as (found, headers):
        answer = await found.client.get(f"/sync/turbo?{query}", headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (status, code)


async def test_turbo_is_for_who_is_signed_in(house: House, tmp_path: Path) -> None:
    async with served(house, tmp_path) as (found, _):
        answer = await found.client.get("/sync/turbo")
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (401, "UNAUTHENTICATED")


async def test_a_turbo_whose_device_is_revoked_on_the_way_is_no_json(house: House, tmp_path: Path) -> None:
    for _ in range(6):
        await a_shop(house)
    async with served(house, tmp_path, bulk_chunk_rows_max=1) as (found, headers):
        looked = 0
        true = found.app.state.doors.look_again

        async def revoked_at_the_third(visit: Any, **more: Any) -> None:
            nonlocal looked
            looked += 1
            if looked == 3:
                async with found.services.engine.write() as conn:
                    await conn.execute(
                        "UPDATE device SET state = 'REVOKED' WHERE id = ?", house.people["wei"].device_id
                    )
                found.services.sessions.forget()
            await true(visit, **more)

        found.app.state.doors.look_again = revoked_at_the_third
        answer = await found.client.get("/sync/turbo", headers=headers)
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(answer.content)
        assert looked == 3
        assert found.app.state.turbo.streams == 0


async def test_a_draining_device_hands_in_and_all_of_it_is_kept_once(door: FrontDoor) -> None:
    """A client of this kind does not say when something was captured, so nothing is written; nothing is lost either."""
    token = (await door.sign_in())["accessToken"]
    pulled = await door.served.ask(PULL, token=token)
    await door.execute("UPDATE device SET state = 'DRAINING', state_since = ?", door.clock())
    door.clock.forward(seconds=1)
    task_id = new_id()
    variables = {
        "changes": {"tasks": {"created": [{"id": task_id, "title": "call about linen"}]}},
        "at": pulled["data"]["watermelonPull"]["timestamp"],
    }
    for _ in range(2):
        answer = (await door.served.ask(PUSH, variables, token=token))["data"]["watermelonPush"]
        assert [told_code for told_code, _ in told(answer)] == [Code.DEVICE_DRAINING]
    async with door.served.services.engine.read() as conn:
        kept = await conn.fetch("SELECT record_id, code, mine FROM sync_issue")
    assert [(row[0], row[1], orjson.loads(row[2])) for row in kept] == [
        (task_id, "DEVICE_DRAINING", {"title": "call about linen"})
    ]
    refused = await door.served.ask(PULL, token=token)
    assert refused["errors"][0]["extensions"]["code"] == "DEVICE_DRAINING"
