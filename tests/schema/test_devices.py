"""Devices on real sockets: a wipe reaches the phone, and whoever lost the right to listen is off the line at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from backend.ids import new_id
from tests.schema.conftest import Door
from tests.schema.lines import PATIENCE_SECONDS, POKE, events, line
from tests.schema.test_sessions import ME, REFRESH
from tests.schema.test_subscriptions import Office, open_office
from tests.servers import Served, serve

CHANGE = """
mutation ($id: ID!) { %sDevice(deviceId: $id) {
  ... on DeviceChanged { device { state wipeAcknowledgedAt unsent } } ... on Refusal { problems { code } } } }
"""
ACKNOWLEDGE = """
mutation ($token: String!, $unsent: Int! = 0) { acknowledgeWipe(refreshToken: $token, unsent: $unsent) {
  ... on WipeAcknowledged { ok } ... on Refusal { problems { code path } } } }
"""
STATUS = "query ($id: ID) { syncStatus(filter: {deviceId: $id}) { devices { state wipeAcknowledgedAt unsent } } }"
DAYS_60 = 60


async def wipe(door: Door, device_id: str) -> None:
    """By a colleague's other device."""
    session = await door.sign_in()
    answer = await door.served.ask(CHANGE % "wipe", {"id": device_id}, token=session["accessToken"])
    assert answer["data"]["wipeDevice"]["device"]["state"] == "WIPED"


@pytest.mark.requirement("R4")
async def test_a_wiped_phone_hears_it_at_every_door_and_says_when_it_is_done(door: Door) -> None:
    phone = await door.sign_in()
    assert "data" in await door.served.ask(ME, token=phone["accessToken"])
    await wipe(door, phone["deviceId"])
    for document in (
        ME,
        "{ serverTime }",
        "{ syncPull { clock } }",
        "mutation { syncPush(mutations: []) { __typename } }",
        "mutation { syncReport(unsent: 0) { __typename } }",
    ):
        answer = await door.served.post({"query": document}, authorization=f"Bearer {phone['accessToken']}")
        assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (403, "DEVICE_WIPED")
    assert (await door.sign_in(device_id=phone["deviceId"]))["problems"][0]["code"] == "DEVICE_WIPED"
    # it slept in a drawer: its tokens have run out, and still it learns what it must do
    door.clock.forward(days=DAYS_60)
    told = (await door.served.ask(REFRESH, {"token": phone["refreshToken"]}))["data"]["refresh"]
    assert told == {"problems": [{"code": "DEVICE_WIPED", "retry": "NEVER"}]}
    for _ in range(2):
        done = await door.served.ask(ACKNOWLEDGE, {"token": phone["refreshToken"], "unsent": 3})
        assert done == {"data": {"acknowledgeWipe": {"ok": True}}}
        door.clock.forward(days=1)
    other = await door.sign_in()
    (seen,) = (await door.served.ask(STATUS, {"id": phone["deviceId"]}, token=other["accessToken"]))["data"][
        "syncStatus"
    ]["devices"]
    assert (seen["state"], seen["unsent"]) == ("WIPED", 3)
    assert seen["wipeAcknowledgedAt"].startswith("2026-03-02")
    async with door.served.services.engine.read() as conn:
        audits = await conn.fetch(
            "SELECT action, device_id FROM audit_entry WHERE collection = 'devices' AND record_id = ? ORDER BY at",
            phone["deviceId"],
        )
    assert [row[0] for row in audits] == ["WIPE", "WIPE_ACKED"]
    assert audits[1][1] == phone["deviceId"]


async def test_only_a_wiped_device_acknowledges_and_only_for_itself(door: Door) -> None:
    phone = await door.sign_in()
    tokens, good = door.served.services.tokens, phone["refreshToken"]
    forged = good[:-5] + ("A" if good[-5] != "A" else "B") + good[-4:]
    for token, unsent, expected in (
        (phone["refreshToken"], 0, ("INVALID_TRANSITION", ["state"])),
        (phone["refreshToken"], -1, ("OUT_OF_RANGE", ["unsent"])),
        (phone["refreshToken"], 2**31 - 1, ("OUT_OF_RANGE", ["unsent"])),
        ("r1.nothing", 0, ("UNAUTHENTICATED", [])),
        (forged, 0, ("UNAUTHENTICATED", [])),
        (tokens.refresh_token(new_id(), 1), 0, ("UNAUTHENTICATED", [])),
    ):
        answer = await door.served.ask(ACKNOWLEDGE, {"token": token, "unsent": unsent})
        (problem,) = answer["data"]["acknowledgeWipe"]["problems"]
        assert (problem["code"], problem["path"]) == expected


# -- open connections ---------------------------------------------------------------------------------------------


@pytest.fixture
async def offices(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[Office, Served]]:
    """An office, and a second server on its database that shares nothing else; neither looks by itself for a minute."""
    async with (
        open_office(database_url, tmp_path, stream_check_seconds=60) as office,
        serve(office.served.services.settings, clock=office.clock) as other,
    ):
        yield office, other


async def change(office: Office, action: str, whose: str) -> Any:
    token = await office.token("MANAGER")
    return await office.served.ask(CHANGE % action, {"id": office.devices[whose]}, token=token)


@pytest.mark.parametrize(("action", "code"), [("revoke", "DEVICE_REVOKED"), ("wipe", "DEVICE_WIPED")])
async def test_a_device_given_up_is_off_every_line_of_every_server(
    offices: tuple[Office, Served], action: str, code: str
) -> None:
    """Nobody's clock is stepped and no stream looks by itself: what ends them was told."""
    office, other = offices
    token = await office.token("REP")
    bystander = await office.token("MANAGER")
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(line(served, token)) for served in (office.served, other)]
        idle = [await stack.enter_async_context(line(served, token)) for served in (office.served, other)]
        streams = [await stack.enter_async_context(events(served, POKE, token)) for served in (office.served, other)]
        quiet = await stack.enter_async_context(line(office.served, bystander))
        await quiet.subscribe("p", POKE)
        await quiet.clock()
        for socket in sockets:
            await socket.subscribe("p", POKE)
            await socket.clock()
        for stream in streams:
            await stream.clock()
        async with office.served.services.engine.write() as conn:
            # a manager above the rep: his scope holds the rep's own
            await conn.execute(
                "INSERT INTO user_scope (user_id, scope, granted_seq, granted_at) VALUES (?, ?, 1, 1)",
                office.users["MANAGER"],
                f"user:{office.users['REP']}",
            )
        told = await change(office, action, "REP")
        assert "device" in told["data"][f"{action}Device"], told
        async with asyncio.timeout(PATIENCE_SECONDS):
            for socket in [*sockets, *idle]:
                assert await socket.end() == (4403, code)
            for stream in streams:
                name, data = await stream.event()
                assert (name, data["errors"][0]["extensions"]["code"]) == ("next", code)
        clock = await _write_as_manager(office)
        assert await quiet.clock() == clock, "who may stay stays"


async def _write_as_manager(office: Office) -> int:
    async with office.served.services.engine.write() as conn:
        await conn.execute("UPDATE sync_clock SET seq = seq + 1")
        ((clock,),) = await conn.fetch("SELECT seq FROM sync_clock")
    office.served.services.pokes.step(clock)
    return int(clock)


async def test_a_draining_device_is_poked_no_more_but_may_push_on_its_line(offices: tuple[Office, Served]) -> None:
    office, other = offices
    token = await office.token("REP")
    async with office.served.services.engine.write() as conn:
        await conn.execute(
            "INSERT INTO user_scope (user_id, scope, granted_seq, granted_at) VALUES (?, ?, 1, 1)",
            office.users["MANAGER"],
            f"user:{office.users['REP']}",
        )
    async with line(other, token) as socket:
        await socket.subscribe("p", POKE)
        await socket.clock()
        await change(office, "drain", "REP")
        heard = await socket.hear()
        assert (heard["type"], heard["id"], heard["payload"][0]["extensions"]["code"]) == (
            "error",
            "p",
            "DEVICE_DRAINING",
        )
        await socket.subscribe("q", "mutation { syncPush(mutations: []) { __typename } }")
        assert (await socket.hear())["payload"] == {"data": {"syncPush": {"__typename": "SyncPushed"}}}


async def test_signing_out_and_being_let_out_end_the_line_in_another_process(offices: tuple[Office, Served]) -> None:
    office, other = offices
    family_id = new_id()
    await office.execute(
        "INSERT INTO refresh_family (id, user_id, device_id, generation, rotated_at, expires_at)"
        " VALUES (?, ?, ?, 1, ?, ?)",
        family_id, office.users["REP"], office.devices["REP"], office.clock(), office.clock() + 86_400_000,
    )  # fmt: skip
    tokens = office.served.services.tokens
    token, _ = tokens.issue(
        user_id=office.users["REP"], device_id=office.devices["REP"], family_id=family_id, role="REP", locale="en"
    )
    async with line(other, token) as socket:
        await socket.subscribe("p", POKE)
        await socket.clock()
        await office.served.services.sessions.sign_out(tokens.refresh_token(family_id, 1))
        assert await socket.end() == (4403, "UNAUTHENTICATED")
