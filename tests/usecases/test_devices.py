"""Giving devices up: who may, what each state lets through, and how support sees them stand."""

from dataclasses import replace
from typing import Any

import pytest

from backend.domain.times import DAY_MS, instant_text
from backend.errors import Code, Refused
from backend.ids import new_id
from backend.sync.work import Work
from backend.usecases.people import create_user, set_active
from tests import factories
from tests.house import NOON_MS, House
from tests.schema.test_sync import PULL, mutation, push
from tests.usecases.asking import ask, data

STATUS = """
query ($filter: SyncStatusFilter, $first: Int! = 50, $after: String) {
  syncStatus(filter: $filter, first: $first, after: $after) {
    totalCount pageInfo { hasNextPage endCursor }
    devices { id userId userName role platform state stateReason drainUntil lastSeenAt pulledAt pushedAt behind
      ackedMutation unsent unsentOldestAt refused openIssues appVersion schemaVersion wipeAcknowledgedAt }
  }
}"""
REPORT = """
mutation ($unsent: Int!, $at: DateTime, $refused: Int! = 0, $version: String) {
  syncReport(unsent: $unsent, oldestUnsentAt: $at, refused: $refused, appVersion: $version) {
    ... on SyncReported { noted deviceState } ... on Refusal { problems { code path allowed } }
  }
}"""
ACTIONS = {"drain": "DRAINING", "revoke": "REVOKED", "wipe": "WIPED", "reactivate": "ACTIVE"}


def device_of(house: House, who: str) -> str:
    return str(house.people[who].device_id)


async def change(house: House, who: str, action: str, device_id: str, reason: str | None = None) -> Any:
    document = (
        f"mutation ($id: ID!, $reason: String) {{ {action}Device(deviceId: $id, reason: $reason) {{"
        " ... on DeviceChanged { device { id state stateReason drainUntil } }"
        " ... on Refusal { problems { code path allowed } } } }"
    )
    return (await data(house, who, document, id=device_id, reason=reason))[f"{action}Device"]


async def changed(house: House, who: str, action: str, device_id: str) -> None:
    told = await change(house, who, action, device_id)
    assert told["device"]["state"] == ACTIONS[action], told


async def status(house: House, who: str, **wanted: Any) -> list[Any]:
    found: list[Any] = (await data(house, who, STATUS, filter=wanted))["syncStatus"]["devices"]
    return found


def codes(told: Any) -> list[str]:
    return [problem["code"] for problem in told["problems"]]


@pytest.mark.parametrize("action", ["drain", "revoke", "wipe"])
async def test_admins_managers_of_the_rep_and_the_owner_may_give_a_device_up(house: House, action: str) -> None:
    async def another(owner: str) -> str:
        async with house.engine.write() as conn:
            return await factories.device(conn, str(house.people[owner].user_id))

    for who, owner in (("admin", "wei"), ("admin", "analyst"), ("manager", "wei"), ("manager", "na"), ("wei", "wei"),
                       ("manager", "manager"), ("analyst", "analyst")):  # fmt: skip
        await changed(house, who, action, await another(owner))
    for who, owner in (("wei", "na"), ("wei", "manager"), ("manager", "admin"), ("analyst", "wei")):
        told = await change(house, who, action, await another(owner))
        assert codes(told) == ["NOT_FOUND"]
    told = await change(house, "agent", action, await another("wei"))
    assert codes(told) == ["NOT_PERMITTED"], "a service agent sees how it stands, and no more"


async def test_what_those_above_did_only_they_take_back(house: House) -> None:
    phone = device_of(house, "na")
    for action in ("drain", "revoke"):
        await changed(house, "wei", action, device_of(house, "wei"))
    async with house.engine.write() as conn:
        spare = await factories.device(conn, str(house.people["wei"].user_id))
        asking = await factories.device(conn, str(house.people["na"].user_id))
    mine = device_of(house, "wei")
    house.people["wei"] = _on(house, "wei", spare)
    await changed(house, "wei", "reactivate", mine)
    await changed(house, "manager", "revoke", phone)
    house.people["na"] = _on(house, "na", asking)
    assert codes(await change(house, "na", "reactivate", phone)) == ["NOT_PERMITTED"]
    await changed(house, "manager", "reactivate", phone)
    await changed(house, "admin", "revoke", phone)
    await changed(house, "manager", "reactivate", phone)


def _on(house: House, who: str, device_id: str) -> Any:
    return replace(house.people[who], device_id=device_id)


async def test_states_step_as_declared_and_the_same_again_changes_nothing(house: House) -> None:
    phone = device_of(house, "wei")
    first = await change(house, "admin", "drain", phone, "left the company")
    house.now_ms += DAY_MS
    assert await change(house, "admin", "drain", phone, "again") == first
    assert first["device"]["drainUntil"] == instant_text(NOON_MS + 14 * DAY_MS)
    assert first["device"]["stateReason"] == "left the company"
    await changed(house, "admin", "reactivate", phone)
    await changed(house, "admin", "reactivate", phone)
    await changed(house, "admin", "revoke", phone)
    told = await change(house, "admin", "drain", phone)
    assert (codes(told), told["problems"][0]["allowed"]) == (["INVALID_TRANSITION"], ["ACTIVE", "WIPED"])
    await changed(house, "admin", "wipe", phone)
    await changed(house, "admin", "wipe", phone)
    for action in ("reactivate", "revoke", "drain"):
        assert codes(await change(house, "admin", action, phone)) == ["INVALID_TRANSITION"]
    async with house.engine.read() as conn:
        audits = await conn.fetch(
            "SELECT action, actor FROM audit_entry WHERE collection = 'devices' AND record_id = ? ORDER BY at, id",
            phone,
        )
    admin = f"staff:{house.people['admin'].user_id}"
    assert sorted(map(tuple, audits)) == sorted((a, admin) for a in ("DRAIN", "REACTIVATE", "REVOKE", "WIPE"))


MALFORMED = [
    ("", None, "NOT_FOUND"),
    ("phone", None, "NOT_FOUND"),
    ("01890A5D-AC96-774B-BCCE-B302099A8057", None, "NOT_FOUND"),
    (None, "x" * 201, "TOO_LONG"),
    (None, "a\x00b", "INVALID_VALUE"),
    (None, "\ud800", "INVALID_VALUE"),
]


async def test_what_is_malformed_is_refused(house: House) -> None:
    for device_id, reason, code in MALFORMED:
        told = await change(
            house, "admin", "revoke", device_of(house, "wei") if device_id is None else device_id, reason
        )
        assert codes(told) == [code], (device_id, reason)
    assert await house.row("device", device_of(house, "wei"), "state") == ("ACTIVE",)


# -- draining -----------------------------------------------------------------------------------------------------


async def test_a_draining_device_hands_in_what_was_captured_before_and_nothing_is_lost(house: House) -> None:
    before, after, unsaid = new_id(), new_id(), new_id()
    await changed(house, "manager", "drain", device_of(house, "wei"))
    house.now_ms += DAY_MS
    results = await push(
        house,
        "wei",
        mutation(1, "task", before, {"title": "in time"}, capturedAt=instant_text(NOON_MS - 1)),
        mutation(2, "task", after, {"title": "too late"}, capturedAt=instant_text(NOON_MS + 1)),
        mutation(3, "task", unsaid, {"title": "who knows when"}),
        mutation(4, "task", new_id(), {"title": "in time too"}, capturedAt=instant_text(NOON_MS)),
    )
    assert [r["status"] for r in results] == ["APPLIED", "REFUSED", "REFUSED", "APPLIED"]
    assert [p["code"] for r in results for p in r["problems"]] == ["DEVICE_DRAINING"] * 2
    assert results[1]["problems"][0]["path"] == ["capturedAt"]
    async with house.engine.read() as conn:
        kept = await conn.fetch("SELECT record_id, mine FROM sync_issue WHERE code = 'DEVICE_DRAINING' ORDER BY mine")
    assert [row[0] for row in kept] == [after, unsaid]
    assert "too late" in kept[0][1]
    answer = await ask(house, "wei", PULL)
    assert answer["errors"][0]["extensions"]["code"] == "DEVICE_DRAINING"
    again = await push(house, "wei", mutation(5, "task", new_id(), {"title": "x"}, group="g"))
    assert [r["status"] for r in again] == ["REFUSED"]


async def test_draining_is_over_by_looking_when_its_days_are(house: House) -> None:
    await changed(house, "admin", "drain", device_of(house, "wei"))
    late = mutation(1, "task", new_id(), {"title": "x"}, capturedAt=instant_text(NOON_MS - 1))
    house.now_ms += 14 * DAY_MS
    answer = await data(
        house,
        "wei",
        "mutation ($m: [SyncMutation!]!) { syncPush(mutations: $m) { ... on Refusal { problems { code } } } }",
        m=[late],
    )
    assert codes(answer["syncPush"]) == ["DEVICE_REVOKED"]
    (seen,) = await status(house, "admin", deviceId=device_of(house, "wei"))
    assert seen["state"] == "REVOKED"
    assert [one["id"] for one in await status(house, "admin", state=["REVOKED"])] == [device_of(house, "wei")]
    assert await status(house, "admin", state=["DRAINING"]) == []
    await changed(house, "admin", "reactivate", device_of(house, "wei"))
    assert [r["status"] for r in await push(house, "wei", late)] == ["APPLIED"]


@pytest.mark.parametrize("action", ["revoke", "wipe"])
async def test_a_device_given_up_is_refused_whatever_it_asks(house: House, action: str) -> None:
    await changed(house, "admin", action, device_of(house, "wei"))
    code = f"DEVICE_{ACTIONS[action]}"
    assert (await ask(house, "wei", PULL))["errors"][0]["extensions"]["code"] == code
    pushed = await data(house, "wei", "mutation { syncPush(mutations: []) { ... on Refusal { problems { code } } } }")
    assert codes(pushed["syncPush"]) == [code]


# -- what devices report, and how they stand ----------------------------------------------------------------------


async def test_a_report_is_kept_at_most_every_few_seconds_unless_the_queue_fell_empty(house: House) -> None:
    async def report(unsent: int, **more: Any) -> Any:
        return (await data(house, "wei", REPORT, unsent=unsent, **more))["syncReport"]

    at = instant_text(NOON_MS - 60_000)
    assert await report(3, at=at, refused=2, version="1.4.0") == {"noted": True, "deviceState": "ACTIVE"}
    assert (await report(4))["noted"] is False
    (seen,) = await status(house, "manager", userId=house.people["wei"].user_id)
    assert [seen[name] for name in ("unsent", "unsentOldestAt", "refused", "appVersion")] == [3, at, 2, "1.4.0"]
    assert [one["id"] for one in await status(house, "manager", unsent=True)] == [device_of(house, "wei")]
    assert (await report(0, at=at))["noted"] is True
    (seen,) = await status(house, "manager", userId=house.people["wei"].user_id)
    assert (seen["unsent"], seen["unsentOldestAt"], seen["appVersion"]) == (0, None, "1.4.0")
    house.now_ms += 10_000
    future = instant_text(house.now_ms + DAY_MS)
    assert (await report(1, at=future))["noted"] is True
    (seen,) = await status(house, "manager", userId=house.people["wei"].user_id)
    assert seen["unsentOldestAt"] == instant_text(house.now_ms), "no work waits since tomorrow"


REPORTS: list[tuple[Any, str, str]] = [
    ({"unsent": -1}, "unsent", "OUT_OF_RANGE"),
    ({"unsent": 1_000_001}, "unsent", "OUT_OF_RANGE"),
    ({"unsent": 0, "refused": -5}, "refused", "OUT_OF_RANGE"),
    ({"unsent": 0, "version": "x" * 41}, "appVersion", "TOO_LONG"),
    ({"unsent": 0, "version": "\x00"}, "appVersion", "INVALID_VALUE"),
]


async def test_a_report_out_of_bounds_is_refused(house: House) -> None:
    for given, path, code in REPORTS:
        told = (await data(house, "wei", REPORT, **given))["syncReport"]
        assert [(p["code"], p["path"]) for p in told["problems"]] == [(code, [path])]
    assert await house.row("device", device_of(house, "wei"), "reported_at") == (None,)


async def test_everybody_sees_his_own_a_manager_his_reps_support_and_admins_all(house: House) -> None:
    async def owners(who: str) -> set[str]:
        return {one["userName"] for one in await status(house, who)}

    everybody = {"wei", "na", "manager", "admin", "agent", "analyst"}
    assert await owners("wei") == {"wei"}
    assert await owners("manager") == {"manager", "wei", "na"}
    assert await owners("agent") == await owners("admin") == everybody
    assert await owners("analyst") == {"analyst"}
    assert await status(house, "wei", userId=house.people["na"].user_id) == []


async def test_how_a_device_stands_is_told(house: House) -> None:
    page = (await data(house, "wei", PULL))["syncPull"]
    house.now_ms += 61_000
    await data(house, "wei", PULL, cursor=page["cursor"])
    results = await push(house, "wei", mutation(1, "task", new_id(), {"colour": "red"}))
    assert results[0]["status"] == "REFUSED"
    (seen,) = await status(house, "agent", userId=house.people["wei"].user_id, openIssues=True)
    assert (seen["ackedMutation"], seen["openIssues"], seen["behind"]) == (1, 1, 1)
    assert seen["pulledAt"] == seen["pushedAt"] == seen["lastSeenAt"] == instant_text(house.now_ms)
    (other,) = await status(house, "agent", userId=house.people["na"].user_id)
    assert (other["behind"], other["pulledAt"], other["unsent"]) == (None, None, None)
    house.now_ms += 30 * DAY_MS
    silent = {one["userName"] for one in await status(house, "admin", silentSinceDays=31)}
    assert "wei" not in silent
    assert "na" in silent


async def test_pages_lead_through_all_devices_once(house: House) -> None:
    async with house.engine.write() as conn:
        for _ in range(7):
            await factories.device(conn, str(house.people["wei"].user_id))
    seen: list[str] = []
    after = None
    while True:
        page = (await data(house, "admin", STATUS, first=3, after=after))["syncStatus"]
        seen += [one["id"] for one in page["devices"]]
        after = page["pageInfo"]["endCursor"]
        assert page["totalCount"] == 13
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert len(seen) == len(set(seen)) == 13


QUESTIONS: list[tuple[Any, str]] = [
    ({"first": 0}, "OUT_OF_RANGE"),
    ({"first": 201}, "OUT_OF_RANGE"),
    ({"first": -1}, "OUT_OF_RANGE"),
    ({"after": "x"}, "CURSOR_INVALID"),
    ({"after": "1.1"}, "CURSOR_INVALID"),
    ({"after": "9" * 40 + "." + "0" * 36}, "CURSOR_INVALID"),
    ({"filter": {"silentSinceDays": -1}}, "OUT_OF_RANGE"),
    ({"filter": {"silentSinceDays": 2**31 - 1}}, "OUT_OF_RANGE"),
    ({"filter": {"userId": "a\x00"}}, "INVALID_VALUE"),
    ({"filter": {"deviceId": "1"}}, "INVALID_VALUE"),
]


async def test_a_question_out_of_bounds_is_refused(house: House) -> None:
    for asked, code in QUESTIONS:
        answer = await ask(house, "admin", STATUS, **asked)
        assert answer["errors"][0]["extensions"]["code"] == code, asked


# -- people -------------------------------------------------------------------------------------------------------


async def test_the_last_active_admin_stays(house: House) -> None:
    admin = str(house.people["admin"].user_id)

    async def out(work: Work) -> None:
        await set_active(work, admin, active=False)

    with pytest.raises(Refused) as refused:
        await house.work("admin", out)
    assert [problem.code for problem in refused.value.problems] == [Code.LAST_ADMIN]

    async def second(work: Work) -> str:
        return await create_user(work, email="b@haizhi.example", name="b", role="ADMIN", password_hash="none")

    other = await house.work("admin", second)
    await house.work("admin", out)

    async def other_out(work: Work) -> None:
        await set_active(work, other, active=False)

    with pytest.raises(Refused):
        await house.work("system", other_out)
