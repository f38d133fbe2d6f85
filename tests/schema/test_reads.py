"""What a reader may count on: one statement, one form, scope at every level, pages that go on."""

import asyncio
from typing import Any

import orjson
import pytest
from graphql import GraphQLInputObjectType, GraphQLInterfaceType, GraphQLObjectType

from backend.domain.contacts import CONTACT, CUSTOMER_CONTACT
from backend.domain.customers import CUSTOMER
from backend.domain.orders import ORDER
from backend.domain.permissions import mask_text
from backend.domain.tasks import TASK
from backend.domain.territories import TERRITORY
from backend.domain.visits import VISIT
from backend.ids import new_id
from backend.reads.entities.customers import CUSTOMERS
from backend.reads.entities.table import ENTITIES
from backend.reads.ordinary import Loader
from backend.reads.selection import Form, Selection, Span, write_position
from backend.schema.execute import core_schema
from backend.schema.executor import COMPUTED_FIELDS
from backend.schema.types import COMPUTED, check_types
from backend.storage.engine import Engine
from backend.telemetry import metric_value
from backend.usecases.matches import keep_match_keys
from tests.factories import NOW_MS
from tests.reads.asking import SCHEMA, SETTINGS, Asker
from tests.reads.world import make_world

WHOLE = """
query Whole($id: ID!, $few: Int = 3) {
  customer(id: $id) {
    id nameZh kind stage tags openHours creditLimit { amountMinor currency } rev
    territory { path } parent { id } doors(first: $few) { totalCount nodes { id } } nextVisit { id plannedAt }
    contacts(first: $few) { nodes { role primary contact { nameZh phone birthDate channels } } }
    orders(first: $few) { nodes { number orderedAt total { amountMinor currency }
      lines { cells totalMinor style { code season { code } } colour { code } } } }
    visits(first: $few) { nodes { state happensAt rep { name } } }
    tasks(first: $few) { nodes { title dueOn assignee { name } } }
    score { priority segment lines { code points numbers } }
  }
}
"""


@pytest.fixture
async def asker(engine: Engine) -> Asker:
    return Asker(engine, await make_world(engine))


@pytest.mark.requirement("R1")
async def test_a_customer_with_everything_around_it_is_one_statement(asker: Asker) -> None:
    for customer_id in asker.world.customers["rep1"]:
        data = await asker.data("rep1", WHOLE, {"id": customer_id})
        assert data["customer"]["id"] == customer_id
        assert (asker.reads.statements, asker.reads.compiled, asker.reads.fallbacks) == (1, 1, 0)


async def test_each_root_selection_is_one_statement_whatever_the_size_of_the_list(asker: Asker) -> None:
    document = "{ a: customers(first: %d) { nodes { id orders { nodes { lines { id } } } } } b: tasks { totalCount } }"
    for rows in (1, 50):
        await asker.data("manager", document % rows)
        assert asker.reads.statements == 2


async def test_the_second_question_of_a_shape_finds_its_plan(asker: Asker) -> None:
    first, *others = asker.world.customers["rep1"]
    await asker.data("rep1", WHOLE, {"id": first, "few": 1})
    assert asker.reads.plan_hits == 0
    answers = {}
    for other in others:
        answers[other] = await asker.data("rep1", WHOLE, {"id": other, "few": 2})
        assert asker.reads.plan_hits == 1
        assert answers[other]["customer"]["id"] == other
    # another role has other masks, so another plan
    second, data = next(one for one in answers.items() if one[1]["customer"]["contacts"]["nodes"])
    masked = await asker.data("ANALYST", WHOLE, {"id": second, "few": 2})
    assert asker.reads.plan_hits == 0
    assert masked["customer"]["contacts"] != data["customer"]["contacts"]


async def test_a_switch_or_a_null_is_another_plan(asker: Asker) -> None:
    document = """query ($on: Boolean!, $after: String) {
      customers(first: 2, after: $after) { nodes { id code @include(if: $on) } pageInfo { endCursor } } }"""
    with_code = await asker.data("rep1", document, {"on": True})
    without = await asker.data("rep1", document, {"on": False, "after": None})
    assert "code" in with_code["customers"]["nodes"][0]
    assert "code" not in without["customers"]["nodes"][0]
    after = with_code["customers"]["pageInfo"]["endCursor"]
    later = await asker.data("rep1", document, {"on": True, "after": after})
    assert _ids(later["customers"]).isdisjoint(_ids(with_code["customers"]))


async def test_plans_are_bounded(asker: Asker) -> None:
    asker.plans._entries_max = 3
    for number in range(6):
        await asker.data("rep1", f"{{ customers(first: {number}) {{ totalCount a{number}: totalCount }} }}")
    assert len(asker.plans) == 3


async def test_no_more_root_selections_than_the_limit(asker: Asker) -> None:
    most = SETTINGS.root_selections_max
    fields = " ".join(f"a{number}: tasks {{ totalCount }}" for number in range(most + 1))
    answer = orjson.loads(await asker.bytes("rep1", f"{{ {fields} }}"))
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["TOO_MANY"]
    assert answer["errors"][0]["extensions"]["problems"][0]["allowed"] == [str(most)]


# scope


async def test_a_row_of_another_territory_is_answered_like_one_that_does_not_exist(asker: Asker) -> None:
    nobody = "01900000-0000-7000-8000-000000000000"
    document = "query ($id: ID!) { customer(id: $id) { id } node(id: $id) { id } }"
    for foreign in asker.world.customers["rep2"]:
        known = await asker.bytes("rep1", document, {"id": foreign})
        assert known == await asker.bytes("rep1", document, {"id": nobody})


async def test_each_rep_reads_the_customers_of_the_own_territory_and_the_heads_of_its_doors(asker: Asker) -> None:
    document = "{ customers(first: 100) { totalCount nodes { id } } }"
    for who in ("rep1", "rep2"):
        page = (await asker.data(who, document))["customers"]
        north_or_south = asker.world.territories[1 if who == "rep1" else 2]
        own = {key for key in asker.world.ids["customer"] if asker.world.territory_of[key] == north_or_south}
        assert _ids(page) == own | set(asker.world.customers["head"])
        assert page["totalCount"] == len(_ids(page))


async def test_the_head_of_a_chain_shows_a_rep_only_what_is_in_scope_around_it(asker: Asker) -> None:
    head = asker.world.customers["head"][0]
    document = """query ($id: ID!) { customer(id: $id) { id orders { totalCount } visits { nodes { id } }
      score { priority } doors { nodes { id } } } }"""
    theirs = (await asker.data("rep2", document, {"id": head}))["customer"]
    ours = (await asker.data("rep1", document, {"id": head}))["customer"]
    assert theirs["orders"]["totalCount"] + len(theirs["visits"]["nodes"]) > 0
    assert (ours["orders"]["totalCount"], ours["visits"]["nodes"], ours["score"]) == (0, [], None)
    assert _ids(ours["doors"]) == {asker.world.customers["rep1"][1]}


async def test_a_buyer_of_two_shops_shows_each_rep_the_own_shop_only(asker: Asker) -> None:
    document = "{ contacts(first: 100) { nodes { id customers { totalCount nodes { customerId } } } } }"
    buyers = {}
    for who in ("rep1", "rep2"):
        nodes = (await asker.data(who, document))["contacts"]["nodes"]
        buyers[who] = {node["id"]: node["customers"] for node in nodes}
    shared = set(buyers["rep1"]) & set(buyers["rep2"])
    assert len(shared) == 1
    buyer = shared.pop()
    for who in ("rep1", "rep2"):
        assert buyers[who][buyer]["totalCount"] == 1
        assert buyers[who][buyer]["nodes"][0]["customerId"] == asker.world.customers[who][0]


async def test_filtering_contacts_by_a_foreign_customer_tells_nothing(asker: Asker) -> None:
    document = "query ($id: ID) { contacts(filter: {customerId: $id}) { nodes { id } } }"
    own, foreign = asker.world.customers["rep1"][0], asker.world.customers["rep2"][0]
    assert _ids((await asker.data("rep1", document, {"id": own}))["contacts"])
    assert not _ids((await asker.data("rep1", document, {"id": foreign}))["contacts"])


async def test_what_a_role_may_not_read_at_all_is_refused_at_the_root_and_empty_inside(asker: Asker) -> None:
    refused = orjson.loads(await asker.bytes("ANALYST", "{ orders { totalCount } }"))
    assert refused["errors"][0]["extensions"]["code"] == "NOT_PERMITTED"
    inside = await asker.data("ANALYST", "{ customers(first: 100) { nodes { orders { totalCount nodes { id } } } } }")
    assert {node["orders"]["totalCount"] for node in inside["customers"]["nodes"]} == {0}
    runs = orjson.loads(await asker.bytes("rep1", "{ scoreRuns { totalCount } }"))
    assert runs["errors"][0]["extensions"]["code"] == "NOT_PERMITTED"
    assert (await asker.data("ANALYST", "{ scoreRuns { totalCount } }"))["scoreRuns"]["totalCount"] > 0


@pytest.mark.requirement("R49")
async def test_masked_roles_read_no_personal_field_at_any_level(asker: Asker) -> None:
    document = """{ customers(first: 100) { edges { cursor node { kind nameZh nameEn phone email latE7
      contacts { nodes { contact { nameZh phone birthDate channels customers { edges { cursor } } } } } } } } }"""
    plain = (await asker.bytes("ADMIN", document)).decode()
    phones = {edge["node"]["phone"] for edge in orjson.loads(plain)["data"]["customers"]["edges"]}
    answer = await asker.bytes("MARKETER", document)
    assert not [phone for phone in phones if phone and phone in answer.decode()]
    for edge in orjson.loads(answer)["data"]["customers"]["edges"]:
        customer = edge["node"]
        assert customer["latE7"] is None
        if customer["kind"] == "CONSUMER":
            assert customer["nameEn"].endswith("•••")
        # the sort key spells the whole name, so a masked role's cursor does not carry it
        assert len(orjson.loads(bytes.fromhex(edge["cursor"]))) == 2
        for link in customer["contacts"]["nodes"]:
            assert link["contact"]["birthDate"] is None
            assert link["contact"]["channels"] is None
    assert await asker.answer("MARKETER", document)


@pytest.mark.requirement("R8", "R49")
@pytest.mark.parametrize("who", ["MARKETER", "ANALYST"])
async def test_a_persons_name_is_masked_and_a_shops_is_not(asker: Asker, who: str) -> None:
    document = """{ customers(first: 100) { nodes { id kind nameZh nameKo nameEn street notes taxId
      parent { kind nameEn } distanceM(fromLatE7: 0, fromLonE7: 0) } } }"""
    for asked in (document, document.replace("distanceM(fromLatE7: 0, fromLonE7: 0)", "")):
        plain = {node["id"]: node for node in (await asker.data("ADMIN", asked))["customers"]["nodes"]}
        shown = (await asker.data(who, asked))["customers"]["nodes"]
        kinds = {node["kind"] for node in shown}
        assert "CONSUMER" in kinds
        assert len(kinds) > 2
        for node in shown:
            for name in ("nameZh", "nameKo", "nameEn"):
                held = plain[node["id"]][name]
                assert node[name] == (mask_text(held) if node["kind"] == "CONSUMER" else held)
            for name in ("street", "notes", "taxId"):
                assert node[name] == mask_text(plain[node["id"]][name])
            if node["parent"]:
                assert node["parent"]["nameEn"].endswith("•••") == (node["parent"]["kind"] == "CONSUMER")
        assert any(node["nameEn"] for node in shown if node["kind"] != "CONSUMER")


def test_every_field_the_domain_calls_personal_is_masked() -> None:
    for shape in (CUSTOMER, CONTACT, CUSTOMER_CONTACT, VISIT, ORDER, TASK, TERRITORY):
        masked = {column.name for column in ENTITIES[shape.name].columns if column.personal}
        assert masked == {field.name for field in shape.fields if field.personal}, shape.name


# pages


@pytest.mark.parametrize("who", ["manager", "MARKETER"])
async def test_pages_forwards_and_backwards_are_the_list(asker: Asker, who: str) -> None:
    for sort in CUSTOMERS.orders:
        for direction in ("ASC", "DESC"):
            await _walk_both_ways(asker, who, sort, direction)


async def _walk_both_ways(asker: Asker, who: str, sort: str, direction: str) -> None:
    document = """query ($sort: CustomerSort!, $direction: Direction, $first: Int, $after: String,
        $last: Int, $before: String) {
      customers(sort: $sort, direction: $direction, first: $first, after: $after, last: $last, before: $before) {
        totalCount edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""
    order: dict[str, Any] = {"sort": sort, "direction": direction}
    whole = (await asker.data(who, document, {**order, "first": 100}))["customers"]
    listed = [edge["node"]["id"] for edge in whole["edges"]]
    assert len(listed) == whole["totalCount"] > 10

    forwards: list[str] = []
    after, more = None, True
    while more:
        page = (await asker.data(who, document, {**order, "first": 3, "after": after}))["customers"]
        forwards += [edge["node"]["id"] for edge in page["edges"]]
        assert page["pageInfo"]["hasPreviousPage"] == (after is not None)
        assert page["pageInfo"]["startCursor"] == page["edges"][0]["cursor"]
        after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert forwards == listed

    backwards: list[str] = []
    before, more = None, True
    while more:
        page = (await asker.data(who, document, {**order, "last": 4, "before": before}))["customers"]
        backwards = [edge["node"]["id"] for edge in page["edges"]] + backwards
        before, more = page["pageInfo"]["startCursor"], page["pageInfo"]["hasPreviousPage"]
    assert backwards == listed


NOT_CURSORS = (
    "",
    "zz",
    "00",
    "5B5D",
    write_position("PRIORITY", (1, "a")),
    write_position("NAME", (1, "a")),
    write_position("NAME", ("a", "b", "c")),
    write_position("NAME", ("a\x00", "b")),
    orjson.dumps(["NAME", "a", None]).hex(),
    orjson.dumps({"NAME": 1}).hex(),
)


async def test_a_cursor_that_is_none_of_this_list_is_refused(asker: Asker) -> None:
    document = "query ($after: String) { customers(after: $after) { totalCount } }"
    for cursor in NOT_CURSORS:
        error = (await asker.answer("rep1", document, {"after": cursor}))["errors"][0]
        assert error["extensions"]["code"] == "CURSOR_INVALID", cursor
        assert error["extensions"]["problems"][0]["path"] == ["customers", "after"]


async def test_a_masked_role_goes_on_after_its_cursor_row_is_gone(asker: Asker) -> None:
    document = "query ($after: String) { customers(first: 2, after: $after) { nodes { id } } }"
    gone = write_position("NAME", ("01900000-0000-7000-8000-000000000000",))
    first = await asker.data("ANALYST", document)
    assert await asker.data("ANALYST", document, {"after": gone}) == first


async def test_every_argument_out_of_bounds_is_named_at_once_with_what_is_allowed(asker: Asker) -> None:
    document = """{ customers(first: 101) { nodes {
      deals: orders(first: 21) { totalCount } visits(last: -1) { totalCount } } } }"""
    answer = await asker.answer("rep1", document)
    problems = answer["errors"][0]["extensions"]["problems"]
    assert [(problem["code"], problem["path"], problem["allowed"]) for problem in problems] == [
        ("OUT_OF_RANGE", ["customers", "first"], ["0", "100"]),
        ("OUT_OF_RANGE", ["customers", "nodes", "deals", "first"], ["0", "20"]),
        ("OUT_OF_RANGE", ["customers", "nodes", "visits", "last"], ["0", "20"]),
    ]


async def test_two_directions_in_one_page_are_refused(asker: Asker) -> None:
    answer = await asker.answer("rep1", "{ customers(first: 1, last: 1) { totalCount } }")
    assert answer["errors"][0]["extensions"]["problems"][0]["path"] == ["customers", "last"]


# documents


async def test_keys_longer_than_any_identifier_and_more_than_64_fields_at_one_level(asker: Asker) -> None:
    key = "k" * 80
    many = " ".join(f"{key}{number}: {name}" for number, name in enumerate(["id", "code", "tags", "rev"] * 40))
    data = await asker.data("rep1", f"{{ customers(first: 2) {{ nodes {{ {many} }} }} }}")
    node = data["customers"]["nodes"][0]
    assert list(node) == [f"{key}{number}" for number in range(160)]
    assert node[f"{key}0"] == node[f"{key}4"]
    assert asker.reads.fallbacks == 0


async def test_fragments_directives_and_typenames(asker: Asker) -> None:
    document = """query ($yes: Boolean!, $no: Boolean!) {
      customers(first: 1) { __typename edges { __typename node { ...A ... on Customer { code @skip(if: $yes) stage } } }
        pageInfo { __typename } } }
      fragment A on Customer { __typename kind @include(if: $yes) id @include(if: $no)
        orders(first: 1) { nodes { id } } orders(first: 1) { nodes { __typename total { __typename } } } }"""
    data = await asker.data("rep2", document, {"yes": True, "no": False})
    assert data["customers"]["__typename"] == "CustomerConnection"
    assert data["customers"]["edges"][0]["__typename"] == "CustomerEdge"
    node = data["customers"]["edges"][0]["node"]
    assert list(node) == ["__typename", "kind", "orders", "stage"]
    for order in node["orders"]["nodes"]:
        assert order["__typename"] == "Order"
        assert order["total"]["__typename"] == "Money"


async def test_text_of_every_kind_and_large_money_come_through(asker: Asker) -> None:
    data = await asker.data(
        "ADMIN",
        "{ customers(first: 100) { nodes { notes street } } orders(first: 100) { nodes { total { amountMinor } } } }",
    )
    texts = {node["notes"] for node in data["customers"]["nodes"]} | {n["street"] for n in data["customers"]["nodes"]}
    assert any(text and "\u0001" in text for text in texts)
    assert any(text and '"' in text for text in texts)
    assert any(text and "🧵" in text for text in texts)
    assert max(node["total"]["amountMinor"] for node in data["orders"]["nodes"]) == 2**53 - 1


async def test_node_finds_every_kind_of_record_by_its_bare_id(asker: Asker) -> None:
    document = (
        "query ($id: ID!) { node(id: $id) { __typename id ... on Customer { nameZh } ... on Order { lines { id } } } }"
    )
    for entity in ENTITIES.values():
        if entity.node:
            found = asker.world.ids[entity.table][0]
            node = (await asker.data("ADMIN", document, {"id": found}))["node"]
            assert (node["__typename"], node["id"]) == (entity.typename, found)
    for nothing in ("", "x", "\x00", asker.world.ids["order_line"][0]):
        assert (await asker.data("ADMIN", document, {"id": nothing}))["node"] is None


# computed fields


async def test_a_computed_field_is_answered_record_by_record_with_batched_relations(asker: Asker) -> None:
    document = """{ customers(first: 20) { nodes { latE7 distanceM(fromLatE7: 312304160, fromLonE7: 1214737010)
      orders(first: 5) { totalCount nodes { orderedOn ageDays(on: "2026-01-01") lines { id style { code } } } } } } }"""
    data = await asker.data("manager", document)
    assert (asker.reads.fallbacks, asker.reads.compiled) == (1, 0)
    # customers, their orders, the counts, the lines, the styles
    assert asker.reads.statements == 5
    distances = [node["distanceM"] for node in data["customers"]["nodes"] if node["latE7"] is not None]
    assert 0 in distances


async def test_a_masked_role_cannot_measure_a_position_it_may_not_read(asker: Asker) -> None:
    data = await asker.data("ANALYST", "{ customers(first: 100) { nodes { distanceM(fromLatE7: 0, fromLonE7: 0) } } }")
    assert {node["distanceM"] for node in data["customers"]["nodes"]} == {None}


async def test_what_cannot_be_a_position_is_refused(asker: Asker) -> None:
    answer = await asker.answer(
        "rep1", "{ customers(first: 1) { nodes { distanceM(fromLatE7: 900000001, fromLonE7: 0) } } }"
    )
    assert answer["errors"][0]["extensions"]["problems"][0]["path"] == ["fromLatE7"]


async def test_levels_too_many_for_the_database_are_answered_the_ordinary_way(asker: Asker) -> None:
    deep = "rescheduledFrom { " * 12 + "id" + " }" * 12
    for visit in asker.world.ids["visit"][:3]:
        await asker.data("ADMIN", f'{{ visit(id: "{visit}") {{ id {deep} }} }}')
        assert asker.reads.compiled + asker.reads.fallbacks == 1


# filters


async def test_filters_narrow_and_all_must_hold(asker: Asker) -> None:
    document = """query ($filter: CustomerFilter) {
      customers(filter: $filter, first: 100) { nodes { id kind tags territoryId } } }"""

    async def found(**given: Any) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = (await asker.data("manager", document, {"filter": given}))["customers"]["nodes"]
        return nodes

    everyone = await found()
    kinds = {node["kind"] for node in everyone}
    chosen = sorted(kinds)[0]
    assert {node["kind"] for node in await found(kind=[chosen])} == {chosen}
    assert await found(kind=[]) == []
    north = asker.world.territories[1]
    assert {node["territoryId"] for node in await found(territoryId=north)} == {north}
    tagged = [node for node in everyone if 'x"vip' in node["tags"]]
    assert [node["id"] for node in await found(tag='x"vip')] == [node["id"] for node in tagged] != []
    assert all("vip" in node["tags"] for node in await found(tag="vip"))
    assert await found(tag="ip") == []
    both = await found(kind=[chosen], territoryId=north)
    assert [node["id"] for node in both] == [
        node["id"] for node in everyone if node["kind"] == chosen and node["territoryId"] == north
    ]


@pytest.mark.parametrize(
    ("typed", "name"), [("ww", "王伟"), ("wangwei", "王伟"), ("百货", "北辰百货"), ("bcbh", "北辰百货")]
)
async def test_search_finds_names_by_characters_pinyin_and_initials(asker: Asker, typed: str, name: str) -> None:
    document = "query ($text: String) { customers(filter: {search: $text}, first: 100) { nodes { nameZh nameEn } } }"
    for typed, name in (("ww", "王伟"), ("wangwei", "王伟"), ("百货", "北辰百货"), ("bcbh", "北辰百货")):
        nodes = (await asker.data("manager", document, {"text": typed}))["customers"]["nodes"]
        assert nodes, typed
        assert all(name in (node["nameZh"], node["nameEn"]) for node in nodes)


@pytest.mark.requirement("R49")
@pytest.mark.parametrize("who", ["MARKETER", "ANALYST"])
async def test_a_masked_role_finds_no_person_by_what_it_may_not_read(asker: Asker, who: str) -> None:
    customers = "query ($text: String) { customers(filter: {search: $text}, first: 100) { nodes { id kind phone } } }"
    contacts = "query ($text: String) { contacts(filter: {search: $text}) { totalCount } }"
    nobody, somebody = set(), set()
    for text in ("王伟", "ww", "wangwei", "北辰", "grace", "miller beyond", "a"):
        everyone = (await asker.data("ADMIN", customers, {"text": text}))["customers"]["nodes"]
        found = (await asker.data(who, customers, {"text": text}))["customers"]["nodes"]
        assert [node["id"] for node in found] == [node["id"] for node in everyone if node["kind"] != "CONSUMER"]
        nobody |= {node["id"] for node in everyone} - {node["id"] for node in found}
        somebody |= {node["id"] for node in found}
    assert nobody
    assert somebody
    phone = next(node["phone"] for node in everyone if node["kind"] != "CONSUMER")
    for text in (phone, phone[-4:], f"北辰 {phone[3:]}", "1-3", "１３８"):
        await _refused_search(asker, who, customers, text)
    for text in ("王伟", "13"):
        await _refused_search(asker, who, contacts, text)
    # a blank compares nothing
    assert (await asker.data(who, customers, {"text": " "}))["customers"]["nodes"]
    assert (await asker.data(who, contacts, {"text": ""}))["contacts"]["totalCount"]


async def _refused_search(asker: Asker, who: str, document: str, text: str) -> None:
    error = (await asker.answer(who, document, {"text": text}))["errors"][0]
    assert error["extensions"]["code"] == "NOT_PERMITTED", text
    assert error["extensions"]["problems"][0]["path"] == ["search"]
    assert "errors" not in await asker.answer("ADMIN", document, {"text": text})


@pytest.mark.parametrize("entity", ["customers", "contacts"])
async def test_a_personal_filter_finds_nothing_for_a_masked_role_even_where_nobody_refused_it(
    asker: Asker, entity: str
) -> None:
    chosen = Selection(entity, Form.LIST, (("search", ("a",)),))
    for who, some in (("ADMIN", True), ("ANALYST", False)):
        loader = Loader(asker.engine, asker.world.principal(who), NOW_MS, lambda: None)
        assert bool(await loader.read(chosen, Span(50))) is some


async def test_a_search_no_one_types_is_refused(asker: Asker) -> None:
    document = "query ($text: String) { customers(filter: {search: $text}) { totalCount } }"
    for text, code in (("x" * 101, "TOO_LONG"), ("a b c d e f g h i", "TOO_MANY"), ("nul\x00", "INVALID_VALUE")):
        answer = await asker.answer("rep1", document, {"text": text})
        assert answer["errors"][0]["extensions"]["code"] == code


async def test_nobody_signed_in_reads_nothing(asker: Asker) -> None:
    asker.world.people["rep1"] = ""
    assert (await asker.data("rep1", "{ customers { totalCount } people { totalCount } }")) == {
        "customers": {"totalCount": 0},
        "people": {"totalCount": 0},
    }


# the schema


def test_types_and_entity_table_agree_and_a_difference_is_told() -> None:
    schema = core_schema(SCHEMA)
    assert check_types(schema) == []
    customer = schema.type_map["Customer"]
    assert isinstance(customer, GraphQLObjectType)
    taken = customer.fields.pop("phone")
    try:
        assert check_types(schema) == ["Customer.phone: only in the entity table"]
    finally:
        customer.fields["phone"] = taken


def test_every_type_field_and_argument_is_described() -> None:
    lacking = []
    for name, kind in core_schema(SCHEMA).type_map.items():
        if name.startswith("__"):
            continue
        if not kind.description:
            lacking.append(name)
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            for field_name, found in kind.fields.items():
                if not found.description:
                    lacking.append(f"{name}.{field_name}")
                for argument_name, argument in getattr(found, "args", {}).items():
                    if not argument.description:
                        lacking.append(f"{name}.{field_name}({argument_name})")
    assert lacking == []


def _ids(page: dict[str, Any]) -> set[str]:
    return {node["id"] for node in page.get("nodes") or [edge["node"] for edge in page.get("edges", [])]}


# lists by a key of another table


@pytest.mark.parametrize("direction", ["ASC", "DESC"])
@pytest.mark.parametrize("who", ["rep1", "manager", "ADMIN", "ANALYST", "service"])
async def test_priority_pages_are_the_whole_list_in_order(asker: Asker, who: str, direction: str) -> None:
    document = """query ($first: Int, $after: String, $last: Int, $before: String) {
      customers(sort: PRIORITY, direction: %s, first: $first, after: $after, last: $last, before: $before) {
        nodes { id score { priority } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount } }"""
    document %= direction
    whole = (await asker.data(who, document, {"first": 100}))["customers"]
    listed = [node["id"] for node in whole["nodes"]]
    assert len(listed) == whole["totalCount"] > 2
    keys = [(node["score"]["priority"] if node["score"] else -1, node["id"]) for node in whole["nodes"]]
    assert keys == sorted(keys, reverse=direction == "DESC")
    assert who == "service" or {key for key, _ in keys} > {-1}, "some are scored, some are not"
    for rows in (1, 2, 5):
        for ends, way in ((("first", "after"), "endCursor"), (("last", "before"), "startCursor")):
            met: list[str] = []
            cursor, more = None, True
            while more:
                page = (await asker.data(who, document, {ends[0]: rows, ends[1]: cursor}))["customers"]
                ids = [node["id"] for node in page["nodes"]]
                met = met + ids if ends[0] == "first" else ids + met
                cursor = page["pageInfo"][way]
                more = page["pageInfo"]["hasNextPage" if ends[0] == "first" else "hasPreviousPage"]
            assert met == listed


# records in a list of answers


async def test_records_in_a_list_of_answers_are_one_statement(asker: Asker) -> None:
    document = """{ matchQueue(collection: "customers", first: 50) { id firstId
      firstCustomer { id nameEn orders(first: 2) { nodes { id } } } } }"""
    pairs = (await asker.data("ADMIN", document))["matchQueue"]
    assert len(pairs) > 3
    assert all(pair["firstCustomer"]["id"] == pair["firstId"] for pair in pairs)
    assert asker.reads.statements == 1
    # the same of a list that no table holds, however long it is
    await keep_match_keys(asker.engine, asker.world.principal("ADMIN"), clock=lambda: NOW_MS, retries_max=1)
    listed = """{ customerDuplicates(candidate: {nameEn: "Grace Miller"}, first: 20) {
      recordId customer { id nameEn orders(first: 2) { nodes { id } } %s } } }"""
    for more, fallbacks in (("", 0), ("distanceM(fromLatE7: 1, fromLonE7: 1)", 1)):
        found = (await asker.data("ADMIN", listed % more))["customerDuplicates"]
        assert len(found) > 1
        assert [one["customer"]["id"] for one in found] == [one["recordId"] for one in found]
        assert (asker.reads.selections, asker.reads.fallbacks) == (1, fallbacks)
        assert asker.reads.statements == 1 + fallbacks, (
            "the orders of all come with a second one, read the ordinary way"
        )


async def test_a_queue_goes_on_behind_a_pair_there_is_and_from_no_other(asker: Asker) -> None:
    document = """query ($after: ID, $collection: String! = "customers") {
      matchQueue(after: $after, collection: $collection, first: 3) { id } }"""
    met: list[str] = []
    while page := (await asker.data("ADMIN", document, {"after": met[-1] if met else None}))["matchQueue"]:
        met += [pair["id"] for pair in page]
    assert len(met) == len(set(met)) > 3
    for after, collection in (("x", "customers"), (new_id(), "customers"), (met[0], "contacts")):
        answered = await asker.answer("ADMIN", document, {"after": after, "collection": collection})
        assert answered["errors"][0]["extensions"]["code"] == "CURSOR_INVALID"
        assert answered["errors"][0]["extensions"]["problems"][0]["path"] == ["after"]


# what is counted


async def test_what_is_read_field_by_field_is_counted_by_the_field(asker: Asker) -> None:
    def counted(field: str) -> float:
        return metric_value("selvedge_reads_fallbacks_total", field=field)

    before = {name: counted(name) for name in ("Customer.distanceM", "Order.ageDays", "depth")}
    compiled = metric_value("selvedge_reads_compiled_total")
    await asker.bytes("rep1", "{ customers { nodes { id far: distanceM(fromLatE7: 1, fromLonE7: 1) } } }")
    await asker.bytes("rep1", '{ orders { nodes { id ageDays(on: "2026-01-01") } } }')
    await asker.bytes("rep1", "{ customers { nodes { id } } }")
    after = {name: counted(name) - before[name] for name in before}
    assert after == {"Customer.distanceM": 1, "Order.ageDays": 1, "depth": 0}
    assert metric_value("selvedge_reads_compiled_total") == compiled + 1


def test_every_computed_field_is_a_word_of_the_metric_and_has_its_reason() -> None:
    for name in COMPUTED_FIELDS:
        kind, _, field = name.partition(".")
        assert len(COMPUTED[kind][field]) > 10
    assert "Customer.distanceM" in COMPUTED_FIELDS


async def test_a_thousand_shapes_keep_no_more_plans_than_allowed_and_a_few_are_found_again(asker: Asker) -> None:
    def looked(outcome: str) -> float:
        return metric_value("selvedge_plan_lookups_total", outcome=outcome)

    asker.plans._entries_max = 50
    hits, misses = looked("hit"), looked("miss")
    for number in range(200):
        await asker.bytes("rep1", f"{{ seasons(first: 1) {{ totalCount a{number}: totalCount }} }}")
        # what is asked again and again stays
        await asker.bytes("rep1", "{ seasons(first: 1) { nodes { id } } }")
        assert len(asker.plans) <= 50
    assert (looked("hit") - hits, looked("miss") - misses) == (199, 201)
    assert metric_value("selvedge_plans") == 50


async def test_counts_of_one_turn_are_each_of_their_own_relation(asker: Asker) -> None:
    """Attachments of customers and of orders lie in one table and differ in what they hang on alone."""
    loader = Loader(asker.engine, asker.world.principal("ADMIN"), NOW_MS, lambda: None)
    pairs = [
        (ENTITIES[name].by_name["attachments"], asker.world.ids[table][0])
        for name, table in (("customers", "customer"), ("orders", "sales_order"), ("visits", "visit"))
    ]
    counts = await asyncio.gather(*(loader._count(relation, key) for relation, key in pairs))
    for (_, key), count in zip(pairs, counts, strict=True):
        rows = await asker.engine.fetch("SELECT count(*) FROM attachment WHERE record_id = ?", key)
        assert count == rows[0][0] > 0
