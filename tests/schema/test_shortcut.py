"""A document of one question is answered the short way from its second request on, and told what it always was."""

from typing import Any

import orjson
import pytest

from backend.config import Settings
from backend.ids import new_id
from backend.reads.plans import Plans
from backend.schema.context import Context
from backend.schema.execute import Documents, encode, execute
from backend.schema.shortcut import shortcut_of
from backend.storage.engine import Engine
from backend.sync.versions import SCHEMA_VERSION
from backend.usecases.customers import change_customers
from tests.house import House, create
from tests.reads.asking import SCHEMA, Asker
from tests.reads.world import make_world
from tests.usecases.asking import data

CARD = "query Card($id: ID!) { its: customer(id: $id) { id nameZh orders(first: 5) { nodes { number } } } }"
SHORT = (
    CARD,
    "query Card($id: ID!) { customer(id: $id) { ...All } } fragment All on Customer { __typename phone stage }",
    "{ customers(sort: PRIORITY, first: 5, filter: {stage: [NEW, PROSPECT]}) { nodes { id score { priority } } } }",
    "query Next($after: String) { customers(first: 5, after: $after) { edges { cursor node { id } } } }",
    "query N($id: ID!) { node(id: $id) { id } }",
)
LONG = (
    "query Q($id: ID!, $many: Int) { customer(id: $id) { orders(first: $many) { nodes { id } } } }",
    "query Q($id: ID!, $all: Boolean!) { customer(id: $id) { id code @include(if: $all) } }",
    "query Q($id: ID!) { customer(id: $id) { id } me: customer(id: $id) { id } }",
    "query Q($id: ID!) { ...Root } fragment Root on Query { customer(id: $id) { id } }",
    "query Q($id: ID!) { customer(id: $id) @skip(if: false) { id } }",
    "query Q($t: ID!) { customers(filter: {territoryId: $t}) { nodes { id } } }",
    "{ __typename }",
)


@pytest.fixture
async def asker(engine: Engine) -> Asker:
    return Asker(engine, await make_world(engine))


async def thrice(asker: Asker, who: str, document: str, variables: dict[str, Any]) -> tuple[bytes, bool]:
    """The answer, the same the usual way, the first time and the second; and whether that was the short way."""
    usual = await asker.bytes(who, document, variables, compiled=False)
    first = await asker.bytes(who, document, variables)
    second = await asker.bytes(who, document, variables)
    assert usual == first == second, document
    return second, asker.reads.shortcuts == 1


def variables_of(document: str, record: str) -> dict[str, Any]:
    asked = {"$id": ("id", record), "$t": ("t", record), "$many": ("many", 2), "$all": ("all", True)}
    return dict(pair for sign, pair in asked.items() if f"{sign}:" in document)


async def test_what_is_asked_again_is_answered_without_an_executor_and_in_one_statement(asker: Asker) -> None:
    mine = asker.world.customers["rep1"][0]
    for document in SHORT:
        variables = variables_of(document, mine)
        if "$after" in document:
            first = orjson.loads(await asker.bytes("rep1", document, {}))["data"]["customers"]["edges"]
            variables = {"after": first[1]["cursor"]}
        _, short = await thrice(asker, "rep1", document, variables)
        assert short, document
        assert asker.reads.selections == asker.reads.compiled == asker.reads.plan_hits == 1


async def test_whatever_is_not_as_simple_goes_the_usual_way(asker: Asker) -> None:
    mine = asker.world.customers["rep1"][0]
    for document in LONG:
        _, short = await thrice(asker, "rep1", document, variables_of(document, mine))
        assert not short, document
    await thrice(asker, "rep1", CARD, {"id": mine})
    for odd in ({"id": 7}, {}, {"id": None}, {"id": mine, "more": 1}, {"id": [mine]}):
        _, short = await thrice(asker, "rep1", CARD, odd)
        assert not short, odd


async def test_scope_masks_and_rights_are_those_of_who_asks_now(asker: Asker) -> None:
    """Each asks what another was answered before."""
    mine, theirs = asker.world.customers["rep1"][0], asker.world.customers["rep2"][0]
    document = "query Q($id: ID!) { customer(id: $id) { nameZh phone stage } }"
    told = {}
    for who in ("rep1", "rep2", "manager", "ANALYST", "rep1"):
        for record in (mine, theirs, new_id()):
            told[who, record], short = await thrice(asker, who, document, {"id": record})
            assert short
    assert told["rep1", theirs] == b'{"data":{"customer":null}}'
    assert told["rep1", mine] != told["rep1", theirs]
    assert told["ANALYST", mine] != told["rep1", mine]


async def test_a_failure_stands_where_an_executor_tells_it(asker: Asker) -> None:
    mine = asker.world.customers["rep1"][0]
    for document in (CARD, "query Q($id: ID!) { visit(id: $id) { id } }"):
        await thrice(asker, "rep1", document, {"id": mine})
    refused, _ = await thrice(asker, "rep1", CARD, {"id": "a\x00b"})
    assert orjson.loads(refused)["data"] == {"its": None}
    assert orjson.loads(refused)["errors"][0]["path"] == ["its"]
    page = "query Q($after: String) { customers(after: $after) { nodes { id } } }"
    await thrice(asker, "rep1", page, {})
    bad, _ = await thrice(asker, "rep1", page, {"after": "no cursor"})
    assert orjson.loads(bad)["data"] is None


async def test_a_resolver_that_wants_more_than_the_short_way_has_is_answered_the_usual_way(asker: Asker) -> None:
    mine = asker.world.customers["rep1"][0]
    usual, _ = await thrice(asker, "rep1", CARD, {"id": mine})
    prepared = asker.documents.prepare(CARD)
    assert prepared.document is not None
    shortcut = shortcut_of(SCHEMA, prepared.document, None)
    assert shortcut is not None
    assert asker.context is not None

    def curious(_self: object, info: Any, id: str) -> Any:
        return info.operation, id

    object.__setattr__(shortcut, "resolve", curious)
    assert await shortcut.answer(asker.context, {"id": mine}) is None
    object.__setattr__(shortcut, "resolve", lambda *_args, **_named: "no selection")
    assert await shortcut.answer(asker.context, {"id": mine}) is None
    assert b"its" in usual


def context_of(house: House, who: str) -> Context:
    return Context(
        engine=house.engine, principal=house.people[who], settings=Settings(), clock=lambda: house.now_ms,
        now_ms=house.now_ms, plans=Plans(10), cursor_secret=b"test",
    )  # fmt: skip


async def test_a_finished_answer_is_picked_the_short_way(house: House) -> None:
    """A pull: numbers among its variables, fragments and other names below; each asks for what he may see."""
    document = (
        "query Delta($cursor: String, $limit: Int!)"
        f" {{ page: syncPull(cursor: $cursor, limit: $limit, schemaVersion: {SCHEMA_VERSION})"
        " { __typename at: clock cursor complete checksums { ...Sum } blocks { scope rows { seq document } } } }"
        " fragment Sum on SyncChecksum { collection count @skip(if: true) sum }"
    )
    cursors = {}
    for who in ("wei", "na"):
        cursors[who] = (await data(house, who, f"{{ syncPull(schemaVersion: {SCHEMA_VERSION}) {{ cursor }} }}"))[
            "syncPull"
        ]["cursor"]
    await house.change("wei", change_customers, create(new_id(), {"nameZh": "春裳", "kind": "RETAILER"}))
    documents = Documents(SCHEMA, Settings())
    told: dict[tuple[str, int], list[bytes]] = {}
    for turn in range(3):
        for who, limit in (("wei", 1), ("na", 1), ("wei", 400)):
            context = context_of(house, who)
            found = await execute(SCHEMA, context, documents, document, {"cursor": cursors[who], "limit": limit})
            told.setdefault((who, limit), []).append(encode(found))
            assert context.reads.shortcuts == (turn > 0 or who != "wei" or limit != 1)
    for answers in told.values():
        assert len(set(answers)) == 1
    assert told["wei", 400][0].count(b'"document":{') == 1
    assert b'"document"' not in told["na", 1][0]
    for odd in ({"limit": 400}, {"cursor": None, "limit": 400}, {"cursor": cursors["wei"], "limit": "400"},
                {"cursor": cursors["wei"], "limit": True}, {"cursor": cursors["wei"], "limit": 2**31},
                {"cursor": cursors["wei"], "limit": 400.0}):  # fmt: skip
        context = context_of(house, "wei")
        here = await execute(SCHEMA, context, documents, document, odd)
        assert not context.reads.shortcuts, odd
        fresh = await execute(SCHEMA, context_of(house, "wei"), Documents(SCHEMA, Settings()), document, odd)
        assert encode(here) == encode(fresh)
    for refused in ({"cursor": "nobody's", "limit": 1}, {"cursor": cursors["wei"], "limit": 0}):
        context = context_of(house, "wei")
        here = await execute(SCHEMA, context, documents, document, refused)
        fresh = await execute(SCHEMA, context_of(house, "wei"), Documents(SCHEMA, Settings()), document, refused)
        assert encode(here) == encode(fresh)
        assert here["errors"][0]["path"] == ["page"]
