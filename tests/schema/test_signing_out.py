"""Signing out loses no work: it is refused until the work is sent, or lies in a rescue file."""

import secrets
from typing import Any

import pytest

from backend.auth.keys import load_rescue_keys
from backend.ids import new_id
from backend.sync.rescue import open_rescue
from mobile_contract.replica import Document, Refusal, Replica
from mobile_contract.rescue import write_rescue
from tests.schema.conftest import Door

SIGN_OUT = """
mutation ($token: String!, $unsent: Int, $rescued: Boolean! = false) {
  signOut(refreshToken: $token, unsent: $unsent, rescued: $rescued) {
    ... on SignedOut { ok } ... on Refusal { problems { code } }
  }
}"""
REPORT = "mutation ($unsent: Int!) { syncReport(unsent: $unsent) { __typename } }"
OK = {"ok": True}
UNSENT = {"problems": [{"code": "UNSENT_WORK"}]}


async def sign_out(door: Door, session: Any, **said: Any) -> Any:
    return (await door.served.ask(SIGN_OUT, {"token": session["refreshToken"], **said}))["data"]["signOut"]


async def test_what_the_device_says_it_holds_counts(door: Door) -> None:
    session = await door.sign_in()
    assert await sign_out(door, session, unsent=3) == UNSENT
    assert "data" in await door.served.ask("{ me { id } }", token=session["accessToken"]), "the session goes on"
    assert await sign_out(door, session, unsent=3, rescued=True) == OK
    assert await sign_out(door, session, unsent=3) == OK, "what has ended stays so, without complaint"


async def test_a_device_that_says_nothing_is_taken_by_its_last_report(door: Door) -> None:
    session = await door.sign_in()
    await door.served.ask(REPORT, {"unsent": 2}, token=session["accessToken"])
    assert await sign_out(door, session) == UNSENT
    assert await sign_out(door, session, unsent=0) == OK


@pytest.mark.parametrize("unsent", [-1, 2**31 - 1])
async def test_a_number_that_cannot_be_is_refused(door: Door, unsent: int) -> None:
    told = await sign_out(door, await door.sign_in(), unsent=unsent)
    assert told == {"problems": [{"code": "OUT_OF_RANGE"}]}


async def test_whoever_asks_gets_the_key_for_a_rescue_file(door: Door) -> None:
    found = (await door.served.ask("{ rescueKey { kid publicKey } }"))["data"]["rescueKey"]
    user, device = new_id(), new_id()
    content = {"user": user, "device": device, "madeAt": "2026-01-01T00:00:00.000Z", "queue": [{"id": "x"}]}
    data = write_rescue(content, found["kid"], found["publicKey"], iv=secrets.token_bytes(12))
    keys = load_rescue_keys(door.served.services.settings.data_dir)
    opened = open_rescue(data, keys, bytes_max=10_000, mutations_max=10)
    assert (opened.user_id, opened.device_id, opened.queue) == (user, device, ({"id": "x"},))


class Line:
    """A transport that takes nothing but answers RETRY, and hears of a sign-out."""

    def __init__(self, status: str) -> None:
        self.status = status
        self.told: list[tuple[int, bool]] = []

    def push(self, mutations: list[Document]) -> list[Document]:
        return [{"id": m["id"], "status": self.status, "problems": [], "records": []} for m in mutations]

    def sign_out(self, unsent: int, rescued: bool) -> None:
        self.told.append((unsent, rescued))


def test_the_reference_client_signs_out_only_when_nothing_would_be_lost() -> None:
    line, replica = Line("RETRY"), Replica()
    replica.edit("tasks", new_id(), {"title": "a"})
    with pytest.raises(Refusal, match="UNSENT_WORK"):
        replica.sign_out(line)
    files: list[Document] = []
    replica.rescue("u", "d", "now", files.append)
    assert [one["title"] for one in [m["change"]["task"]["set"] for m in files[0]["queue"]]] == ["a"]
    replica.sign_out(line)
    assert line.told == [(1, True)]
    replica.edit("tasks", new_id(), {"title": "b"})
    with pytest.raises(Refusal, match="UNSENT_WORK"):
        replica.sign_out(line)
    assert replica.wipe() == 1, "what lies in the file is not lost"
    sent = Replica()
    sent.edit("tasks", new_id(), {"title": "c"})
    taken = Line("APPLIED")
    sent.sign_out(taken)
    assert taken.told == [(0, False)]
