"""Outside the scope is as if it were not there: by every query and mutation there is, made from the schema.

Each place of the schema that takes an id is asked with one of another territory's and with one nobody has. The answers
must be the same, but for the id, or whoever guesses ids learns what there is. Source: promises.md §2.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson
import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLUnionType,
    get_named_type,
    is_leaf_type,
    is_required_argument,
    is_required_input_field,
)

from backend.ids import new_id
from backend.schema.http import OPEN_FIELDS
from backend.storage.dialects import Dialect
from tests.house import House
from tests.schema.test_masks import GRAPH
from tests.usecases.asking import ask
from tests.usecases.test_erasure import contact_at, make, shop

VALUES = {
    "Int": "1",
    "Float": "1",
    "BigInt": "1",
    "Boolean": "true",
    "String": '"x"',
    "Date": '"2026-11-01"',
    "DateTime": '"2026-11-01T00:00:00.000Z"',
    "JSON": "{}",
}
"""What stands for everything else that must be given; headers of streams, which nothing here is, are left out."""
NESTED_MAX = 2
NEEDING_A_SERVER = frozenset({"createUser", "erasePerson"})
"""What they need is not there without one: the first is for admins, who see everybody; the second has its own test."""
NOWHERE = "00000000-0000-7000-8000-000000000000"
"""For further ids that must be given beside the one asked about."""


@dataclass(frozen=True)
class Place:
    """Where an id may stand: `text` is the document with `%s` for it."""

    name: str
    text: str

    @property
    def is_choice_of_id(self) -> bool:
        """Devices make the ids of their records, so one that is taken must be told."""
        return self.name.startswith("create") and self.name.endswith(".id") and self.name.count(".") == 1

    def meant(self, records: Mapping[str, str]) -> list[str]:
        """Those the place is for, by what it is called; all of them, where that says nothing."""
        last = self.name.rpartition(".")[2].lower()
        return [one for name, one in records.items() if name in last] or list(records.values())


def _filled(kind: GraphQLInputType, path: tuple[str, ...] | None = None) -> str:
    """A value of that type; with a path, one with the id asked about at its end."""
    if isinstance(kind, GraphQLNonNull):
        return _filled(kind.of_type, path)
    if isinstance(kind, GraphQLList):
        return f"[{_filled(kind.of_type, path)}]"
    if isinstance(kind, GraphQLInputObjectType):
        given = (
            {} if kind.is_one_of else {name: one for name, one in kind.fields.items() if is_required_input_field(one)}
        )
        if path:
            given = {**given, path[0]: kind.fields[path[0]]}
        parts = [
            f"{name}: {_filled(one.type, path[1:] if path and name == path[0] else None)}"
            for name, one in given.items()
        ]
        return f"{{{', '.join(parts)}}}"
    if isinstance(kind, GraphQLEnumType):
        return next(iter(kind.values))
    if kind.name == "ID":
        return '"%s"' if path is not None else f'"{NOWHERE}"'
    return VALUES[kind.name]


def _paths(kind: GraphQLInputType, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The ways to an id inside a type."""
    named = get_named_type(kind)
    if named.name == "ID":
        yield path
    elif isinstance(named, GraphQLInputObjectType) and len(path) < NESTED_MAX:
        for name, field in named.fields.items():
            yield from _paths(field.type, (*path, name))


def _selection(field: GraphQLField, depth: int = 1) -> str:
    kind = get_named_type(field.type)
    if is_leaf_type(kind):
        return ""
    if not isinstance(kind, GraphQLObjectType):
        refuses = isinstance(kind, GraphQLUnionType) and any(one.name == "Refusal" for one in kind.types)
        return (
            "{ __typename ... on Refusal { problems { code path allowed message } } }" if refuses else "{ __typename }"
        )
    parts = ["__typename"]
    for name, inner in kind.fields.items():
        if any(is_required_argument(one) for one in inner.args.values()):
            continue
        if is_leaf_type(get_named_type(inner.type)):
            parts.append(name)
        elif depth and name in ("nodes", "items", "pageInfo"):
            parts.append(f"{name} {_selection(inner, depth - 1)}")
    return f"{{ {' '.join(parts)} }}"


def places() -> list[Place]:
    found = []
    for word, root in (("query", GRAPH.query_type), ("mutation", GRAPH.mutation_type)):
        assert root is not None
        for name, field in root.fields.items():
            if name in OPEN_FIELDS | NEEDING_A_SERVER:
                continue
            needed = {one: arg for one, arg in field.args.items() if is_required_argument(arg)}
            for one, arg in field.args.items():
                for path in _paths(arg.type):
                    told = {other: _filled(each.type) for other, each in needed.items()}
                    told[one] = _filled(arg.type, path)
                    call = ", ".join(f"{other}: {value}" for other, value in told.items())
                    text = f"{word} {{ {name}({call}) {_selection(field)} }}"
                    found.append(Place(".".join((name, one, *path)), text))
    return found


@pytest.fixture
async def hidden(house: House) -> dict[str, str]:
    """Records of the north, which na cannot see."""
    customer = await shop(house, "wei", nameEn="Beichen")
    contact = await contact_at(house, customer, nameEn="Anna")
    visit = await make(house, "wei", "visits", customerId=customer, plannedAt="2026-11-23T02:00:00.000Z")
    return {"customer": customer, "contact": contact, "visit": visit}


async def test_an_id_of_another_territory_is_answered_like_one_nobody_has(house: House, hidden: dict[str, str]) -> None:
    # the same declarations decide on both databases, and the dearer one is asked once for each place
    each = 3 if house.engine.dialect is Dialect.SQLITE else 1
    asked, refused, different, unserved = 0, 0, [], set()
    for place in places():
        if place.is_choice_of_id:
            continue
        answers = []
        for record_id in (new_id(), *place.meant(hidden)[:each]):
            told = orjson.dumps(await ask(house, "na", place.text % record_id)).decode()
            if "INTERNAL" in told:
                unserved.add(place.name.partition(".")[0])
            answers.append(told.replace(record_id, "ID"))
            refused += "NOT_FOUND" in told
        asked += 1
        if len(set(answers)) > 1:
            different.append((place, answers))
    assert different == []
    assert unserved == set()
    assert asked > 150
    assert refused > 100
