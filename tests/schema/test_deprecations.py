"""Use of what is deprecated is counted under the name a client gives itself, within bounds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from graphql import OperationDefinitionNode, build_schema, parse, validate

from backend.config import Settings
from backend.schema.deprecations import Client, Deprecations, client_of
from backend.telemetry import OTHER, metric_value
from tests.databases import fresh_sqlite
from tests.schema.conftest import Door
from tests.schema.lines import line

OLD = build_schema("""
type Query {
  shop(id: ID, number: Int @deprecated(reason: "say id")): Shop
  store: Shop @deprecated(reason: "say shop")
  shops(filter: Filter, kinds: [Kind!]): [Shop!]!
}
type Shop { name: String, title: String @deprecated(reason: "say name") }
input Filter { text: String, match: String @deprecated(reason: "say text"), inner: [Filter!], kind: Kind }
enum Kind { ONE OTHER_ONE @deprecated(reason: "say ONE") }
""")
USED = [
    ("{ shop(id: 1) { name } }", {}, set()),
    ("{ store { title } }", {}, {"Query.store", "Shop.title"}),
    ("{ store { title } ...F } fragment F on Query { b: store { title } }", {}, {"Query.store", "Shop.title"}),
    ("{ shop(number: 5) { name } }", {}, {"Query.shop(number:)"}),
    ('{ shops(filter: { inner: [{ match: "x" }] }) { name } }', {}, {"Filter.match"}),
    ("{ shops(kinds: [ONE, OTHER_ONE]) { name } }", {}, {"Kind.OTHER_ONE"}),
    ("query ($k: [Kind!]) { shops(kinds: $k) { name } }", {"k": ["OTHER_ONE"]}, {"Kind.OTHER_ONE"}),
    ("query ($k: [Kind!]) { shops(kinds: $k) { name } }", {"k": "OTHER_ONE"}, {"Kind.OTHER_ONE"}),
    ("query ($k: [Kind!]) { shops(kinds: $k) { name } }", {"k": ["ONE"]}, set()),
    (
        "query ($f: Filter) { shops(filter: $f) { name } }",
        {"f": {"inner": [{"match": "x", "kind": "OTHER_ONE"}, 5, None]}},
        {"Filter.match", "Kind.OTHER_ONE"},
    ),
    ("query ($f: Filter) { shops(filter: $f) { name } }", {"f": [[5]], "g": 5}, set()),
]


def counted(client: Client, coordinate: str) -> float:
    labels = {"client": client.name, "version": client.version, "coordinate": coordinate}
    return metric_value("selvedge_deprecated_uses_total", **labels)


@pytest.mark.parametrize(("text", "variables", "used"), USED)
def test_each_use_of_a_request_is_counted_once(text: str, variables: Mapping[str, Any], used: set[str]) -> None:
    document = parse(text)
    assert validate(OLD, document) == []
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    deprecations, client = Deprecations(OLD, documents_max=2), Client("till", "1.2")
    known = deprecations.coordinates
    assert known == {"Query.shop(number:)", "Query.store", "Shop.title", "Filter.match", "Kind.OTHER_ONE"}
    before = {coordinate: counted(client, coordinate) for coordinate in known}
    for _ in range(2):
        deprecations.count(client, text, document, operation, variables)
    grown = {coordinate for coordinate in known if counted(client, coordinate) == before[coordinate] + 2}
    same = {coordinate for coordinate in known if counted(client, coordinate) == before[coordinate]}
    assert (grown, same) == (used, known - used)


@pytest.mark.parametrize(
    ("given", "name"),
    [(None, "unnamed"), ("", "unnamed"), ("till", "till"), ("Till 2 (beta)", OTHER), ("x" * 41, OTHER), ("\n", OTHER),
     ("com.example/app-1.2+3@x_y", "com.example/app-1.2+3@x_y"), (5, OTHER), ("收银", OTHER)],
)  # fmt: skip
def test_a_client_has_the_name_it_gives_when_it_looks_like_one(given: object, name: str) -> None:
    assert client_of({"x-client-name": given, "x-client-version": given}) == Client(name, name)


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    return fresh_sqlite(sqlite_template, tmp_path)


async def test_every_connection_tells_who_asks(door: Door, server_settings: Settings) -> None:
    told: list[tuple[Client, str]] = []
    deprecations = door.served.app.state.graphql.deprecations
    deprecations.count = lambda client, key, *_: told.append((client, key))
    token = (await door.sign_in())["accessToken"]
    told.clear()
    head = {"x-client-name": "till", "x-client-version": "7"}
    asked = {"query": "{ __typename }"}
    await door.served.client.post("/graphql", json=asked, headers=head)
    await door.served.client.get("/graphql", params=asked, headers=head)
    await door.served.client.post("/graphql/stream", json=asked, headers=head)
    async with line(door.served) as socket:
        payload = {"Authorization": f"Bearer {token}", "X-Client-Name": "till", "headers": {"x-client-version": "7"}}
        await socket.send({"type": "connection_init", "payload": payload})
        await socket.hear()
        await socket.subscribe("a", asked["query"])
        await socket.hear()
    await door.served.client.post("/graphql", json=asked)
    assert [client for client, _ in told] == [Client("till", "7")] * 4 + [Client()]
