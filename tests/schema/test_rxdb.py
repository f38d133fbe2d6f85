"""RxDB's fields at the door: what they cost, what they take, and where a stream begins."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from graphql import parse

from backend.config import Settings
from backend.errors import Refused
from backend.schema.execute import core_schema
from backend.schema.http import DRAINING_FIELDS, operation_of
from backend.schema.limits import Limits
from backend.schema.rxdb import PUSHED, RX_COLLECTIONS
from tests.house import House
from tests.schema.lines import line
from tests.schema.test_subscriptions import Office, open_office
from tests.usecases.asking import SCHEMA, SETTINGS, ask, data

PULL = """query PullContacts($checkpoint: ContactsInputCheckpoint, $limit: Int!) {
  pullContacts(checkpoint: $checkpoint, limit: $limit) {
    documents { id rev nameEn _deleted } checkpoint { cursor } } }"""
PUSH = """mutation PushContacts($contactsPushRow: [ContactsInputPushRow!]) {
  pushContacts(contactsPushRow: $contactsPushRow) { id rev nameEn _deleted } }"""
STREAM = """subscription onStream($headers: CustomersInputHeaders) {
  streamCustomers(headers: $headers) { documents { id rev nameEn _deleted } checkpoint { cursor } } }"""
PERSON = "01999999-0000-7000-8000-000000000001"


def codes(answer: Any) -> list[str]:
    return [error["extensions"]["code"] for error in answer.get("errors", [])]


async def test_what_is_pushed_is_pulled_whole_or_in_part(house: House) -> None:
    row = {"newDocumentState": {"id": PERSON, "nameEn": "Kim", "_deleted": False}}
    assert (await data(house, "wei", PUSH, contactsPushRow=[row]))["pushContacts"] == []
    page = (await data(house, "wei", PULL, limit=10))["pullContacts"]
    [found] = page["documents"]
    assert (found["id"], found["nameEn"], found["_deleted"]) == (PERSON, "Kim", False)
    whole = " ".join([*RX_COLLECTIONS[1].kinds, "rev", "_deleted"])
    asked = f"{{ pullContacts(limit: 10) {{ documents {{ {whole} }} checkpoint {{ cursor }} }} }}"
    [document] = (await data(house, "wei", asked))["pullContacts"]["documents"]
    assert document.keys() == set(whole.split())
    assert {name: document[name] for name in found} == found
    again = (await data(house, "wei", PULL, limit=10, checkpoint=page["checkpoint"]))["pullContacts"]
    assert again["documents"] == []


@pytest.mark.parametrize(
    ("checkpoint", "code"),
    [
        ({}, "BAD_REQUEST"),
        ({"cursor": None}, "BAD_REQUEST"),
        ({"cursor": 7}, "BAD_REQUEST"),
        ({"cursor": "x", "updatedAt": 1}, "BAD_REQUEST"),
        ([], "BAD_REQUEST"),
        ("x", "BAD_REQUEST"),
        ({"cursor": ""}, "CURSOR_INVALID"),
        ({"cursor": "x"}, "CURSOR_INVALID"),
    ],
)
async def test_checkpoints_that_are_none_are_refused_by_code(house: House, checkpoint: Any, code: str) -> None:
    assert codes(await ask(house, "wei", PULL, limit=10, checkpoint=checkpoint)) == [code]


@pytest.mark.parametrize("rows", [None, []])
async def test_nothing_pushed_is_answered_with_nothing(house: House, rows: Any) -> None:
    assert (await data(house, "wei", PUSH, contactsPushRow=rows))["pushContacts"] == []


async def test_too_many_rows_are_refused_by_code(house: House) -> None:
    rows = [{"newDocumentState": {"id": f"{n}"}} for n in range(10_001)]
    assert codes(await ask(house, "wei", PUSH, contactsPushRow=rows)) == ["TOO_MANY"]


async def test_a_state_of_any_form_never_stops_a_push(house: House) -> None:
    good = {"newDocumentState": {"id": PERSON, "nameEn": "Kim"}}
    wrong: list[Any] = [7, "text", [], {}, {"id": 7}, {"id": PERSON.replace("1", "2"), "nameEn": {"deep": []}}]
    rows = [*({"newDocumentState": state} for state in wrong), good]
    answer = await data(house, "wei", PUSH, contactsPushRow=rows)
    assert [found["_deleted"] for found in answer["pushContacts"]] == [True]
    [found] = (await data(house, "wei", PULL, limit=10))["pullContacts"]["documents"]
    assert found["nameEn"] == "Kim"


def test_a_pull_is_priced_by_its_limit() -> None:
    def refused(limit: int) -> bool:
        document = parse(PULL)
        operation = operation_of(document, None)
        assert operation is not None
        try:
            Limits(core_schema(SCHEMA), SETTINGS).check_variables(document, operation, {"limit": limit})
        except Refused as costly:
            return [problem.params["measure"] for problem in costly.problems] == ["cost"]
        return False

    # 1 + limit × (documents 1 + its four fields + checkpoint 1 + cursor 1)
    most = (Settings().document_cost_max - 1) // 7
    assert not refused(most)
    assert refused(most + 1)


@pytest.mark.parametrize("rx", RX_COLLECTIONS, ids=lambda rx: rx.name)
def test_the_largest_page_of_every_collection_is_within_the_price(rx: Any) -> None:
    fields = " ".join([*rx.kinds, "rev", "_deleted"])
    text = f"query Q($n: Int!) {{ pull{rx.capital}(limit: $n) {{ documents {{ {fields} }} checkpoint {{ cursor }} }} }}"
    document = parse(text)
    operation = operation_of(document, None)
    assert operation is not None
    Limits(core_schema(SCHEMA), SETTINGS).check_variables(
        document, operation, {"limit": 0, "n": SETTINGS.pull_rows_max}
    )


def test_a_draining_device_may_push() -> None:
    assert {f"push{name[0].upper()}{name[1:]}" for name in PUSHED} <= DRAINING_FIELDS


@pytest.fixture
async def office(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with open_office(database_url, tmp_path) as office:
        yield office


async def test_a_stream_begins_where_its_connection_did_and_passes_nothing(office: Office) -> None:
    """What is written after the acknowledgement and before the subscription is in no pull the client makes on it."""
    async with line(office.served) as socket:
        await socket.send(
            {
                "type": "connection_init",
                "payload": {"headers": {"authorization": f"Bearer {await office.token('REP')}"}},
            }
        )
        assert await socket.hear() == {"type": "connection_ack"}
        await office.write()
        await office.write()
        await socket.subscribe("s", STREAM, headers={"authorization": "whatever", "more": 1})
        names: list[str] = []
        while len(names) < 2:
            heard = await socket.hear()
            names += [found["nameEn"] for found in heard["payload"]["data"]["streamCustomers"]["documents"]]
        assert names == ["Shop 1", "Shop 2"]
        await office.write()
        heard = await socket.hear()
        bulk = heard["payload"]["data"]["streamCustomers"]
        assert [found["nameEn"] for found in bulk["documents"]] == ["Shop 3"]
        token = await office.token("REP")
        pull = "query($c: CustomersInputCheckpoint) { pullCustomers(checkpoint: $c, limit: 9) { documents { id } } }"
        answer = await office.served.ask(pull, {"c": bulk["checkpoint"]}, token=token)
        assert answer["data"]["pullCustomers"]["documents"] == []


async def test_a_stream_ends_with_the_right_to_it(office: Office) -> None:
    async with line(office.served, await office.token("REP")) as socket:
        await socket.subscribe("s", STREAM)
        await office.write()
        assert (await socket.hear())["type"] == "next"
        await office.execute("UPDATE device SET state = 'REVOKED' WHERE id = ?", office.devices["REP"])
        office.clock.forward(seconds=1)
        assert (await socket.end())[0] == 4403
