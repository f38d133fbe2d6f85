"""Requests nobody thought of: every field and mutation of the schema, drawn by schemathesis in GraphQL mode.

A drawn document has its arguments written into it. Here values are put in their place that go further than random
ones do: ids of records that exist, texts and numbers people have broken servers with; and every other document
hands its arguments over as variables. The same seed draws the same requests.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import schemathesis
from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    GraphQLObjectType,
    GraphQLSchema,
    IntValueNode,
    ListValueNode,
    NameNode,
    NullValueNode,
    ObjectFieldNode,
    OperationDefinitionNode,
    StringValueNode,
    ValueNode,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
    build_schema,
    introspection_from_schema,
    parse,
    parse_type,
    print_ast,
    value_from_ast_untyped,
    visit,
)
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis_graphql import nodes
from hypothesis_graphql import strategies as graphql_strategies

from backend.schema.root import print_sdl

REAL_IDS = 0.7
"""So many of the ids asked for exist."""
ODD_VALUES = 0.1
AS_VARIABLES = 0.5
SIMPLEST = 1
"""So many of the first documents of a field are the simplest there are, and are left out."""
ASKED_EACH = 2
"""Each document drawn is asked so many times, with other values in its places."""
ODD_TEXTS = (
    "", " ", "\x00", "a\x00b", "\u202eabc\u202c", "\u200b", "\ufeff", "김민서 杭州 👗", "e\u0301" * 50, "x" * 5_000,
    "' OR 1=1 --", "%", "_%\\", "{}", "null", "NaN", "1e999", "2026-02-30", "2026-01-01T00:00:00.000Z",
    "9999-12-31T23:59:59.999Z", "-1", "../../etc/passwd", "=cmd|' /C calc'!A0", "0" * 36, "\U0010ffff", "\r\n\t", "\\",
    "00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-4FFF-BFFF-FFFFFFFFFFFF",
)  # fmt: skip
COUNTS = {
    "first": 9,
    "last": 9,
    "limit": 9,
    "buckets": 9,
    "schemaVersion": 3,
    "olderThanDays": 30,
    "requestsPerMinute": 900,
}
"""Arguments that a field refuses before it looks at anything else, with the most they usually are."""
USUAL_COUNTS = 0.9
PLACES_IN_PAGES = frozenset({"after", "before", "cursor"})
NO_PLACE = 0.7
"""So many pages are the first: whatever is drawn as a cursor is refused."""
ODD_NUMBERS = (0, -1, 1, 2**31 - 1, -(2**31), 2**31, 2**53 - 1, 2**53, -(2**53), 2**63 - 1, 2**63, 10**30)
DAYS = ("2026-01-01", "1900-01-01", "2199-12-31", "1899-12-31", "2200-01-01", "2026-02-30", "0000-00-00", "x")
INSTANTS = (
    "2026-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000Z", "2199-12-31T23:59:59.999Z", "2200-01-01T00:00:00.000Z",
    "2026-06-30T23:59:60.000Z", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z", "2026-13-01T00:00:00.000Z",
)  # fmt: skip
JSON_VALUES = (
    "{}", "[]", "null", "0", '"x"', '{nameEn: "x"}', "{a: {b: [1, 2, {c: null}]}}", "[[[[[[]]]]]]", "{rev: -1}",
    '{authorization: "Bearer x"}', "9007199254740993", "1.5", "true",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Drawn:
    """One request: `label` says which field it asks for."""

    label: str
    body: dict[str, Any]


@cache
def schema() -> GraphQLSchema:
    return build_schema(print_sdl())


@cache
def operations() -> Mapping[str, st.SearchStrategy[Any]]:
    """A strategy for each field of Query and Mutation, by its label."""
    usual = {
        "BigInt": st.sampled_from(ODD_NUMBERS).map(nodes.Int),
        "Date": st.sampled_from(DAYS).map(nodes.String),
        "DateTime": st.sampled_from(INSTANTS).map(nodes.String),
    }
    ours = [name for name in schema().type_map if name == "JSON" or name.endswith("InputHeaders")]
    for name, strategy in usual.items():
        schemathesis.graphql.scalar(name, strategy)
    for name in ours:
        schemathesis.graphql.scalar(name, st.sampled_from(JSON_VALUES).map(_literal))
    _kept("queries")
    _kept("mutations")
    loaded = schemathesis.graphql.from_dict(dict(introspection_from_schema(schema())))
    found = (result.ok() for result in loaded.get_all_operations())
    return {one.label: one.as_strategy() for one in found}


def _kept(name: str) -> None:
    """Schemathesis builds the strategy of a field again for every document; here it is built once."""
    build, kept = getattr(graphql_strategies, name), dict[tuple[str, ...], st.SearchStrategy[Any]]()

    def strategy(client_schema: GraphQLSchema, *, fields: Sequence[str], **more: Any) -> st.SearchStrategy[Any]:
        found = kept.get(tuple(fields))
        if found is None:
            found = kept[tuple(fields)] = build(client_schema, fields=fields, **more)
        return found

    setattr(graphql_strategies, name, strategy)


def draw(count: int, seed_number: int, ids: Sequence[str]) -> Iterator[Drawn]:
    """So many requests, every field as often as any other. `ids` are of records that exist."""
    dice = random.Random(seed_number)
    strategies = sorted(operations().items())
    each, more = divmod(count, len(strategies))
    for number, (label, strategy) in enumerate(strategies):
        for text in _examples(strategy, each + (number < more), seed_number * 1_000 + number):
            yield Drawn(label, rewritten(parse(text), dice, ids))


def _examples(strategy: st.SearchStrategy[Any], count: int, seed_number: int) -> list[str]:
    found: list[str] = []
    if count <= 0:
        return found

    @seed(seed_number)
    @settings(
        max_examples=-(-count // ASKED_EACH) + SIMPLEST,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def take(case: Any) -> None:
        found.append(case.body)

    take()
    # a field with few arguments has few documents besides: they go round
    told = found[SIMPLEST:] or found
    return [told[place % len(told)] for place in range(count)]


def rewritten(document: DocumentNode, dice: random.Random, ids: Sequence[str]) -> dict[str, Any]:
    """The document with other values in places, as the body of a request."""
    document = visit(document, _Values(dice, ids))
    if dice.random() < AS_VARIABLES:
        lifted, variables = _lifted(document)
        if variables:
            return {"query": print_ast(lifted), "variables": variables}
    return {"query": print_ast(document)}


class _Values(Visitor):
    def __init__(self, dice: random.Random, ids: Sequence[str]) -> None:
        super().__init__()
        self._dice = dice
        self._ids = ids

    def enter_argument(self, node: ArgumentNode, *_: Any) -> ArgumentNode:
        return ArgumentNode(name=node.name, value=self._value(node.name.value, node.value))

    def enter_object_field(self, node: ObjectFieldNode, *_: Any) -> ObjectFieldNode:
        return ObjectFieldNode(name=node.name, value=self._value(node.name.value, node.value))

    def _value(self, name: str, value: ValueNode) -> ValueNode:
        dice = self._dice
        if isinstance(value, ListValueNode):
            return ListValueNode(values=tuple(self._value(name, each) for each in value.values))
        lowered = name.lower()
        if isinstance(value, StringValueNode | IntValueNode) and lowered.endswith(("id", "ids")):
            if dice.random() < REAL_IDS:
                return StringValueNode(value=dice.choice(self._ids))
            return StringValueNode(value=dice.choice(ODD_TEXTS))
        if isinstance(value, IntValueNode) and name in COUNTS and dice.random() < USUAL_COUNTS:
            return IntValueNode(value=str(dice.randint(1, COUNTS[name])))
        if isinstance(value, StringValueNode) and name in PLACES_IN_PAGES and dice.random() < NO_PLACE:
            return NullValueNode()
        if isinstance(value, StringValueNode) and dice.random() < ODD_VALUES:
            return StringValueNode(value=dice.choice(ODD_TEXTS))
        if isinstance(value, IntValueNode) and dice.random() < ODD_VALUES:
            return IntValueNode(value=str(dice.choice(ODD_NUMBERS)))
        return value


def _lifted(document: DocumentNode) -> tuple[DocumentNode, dict[str, Any]]:
    """The arguments of the fields of the operation itself as variables."""
    [operation] = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    root = schema().get_root_type(operation.operation)
    assert isinstance(root, GraphQLObjectType)
    variables: dict[str, Any] = {}
    declared: list[VariableDefinitionNode] = []
    selections = []
    for place, selection in enumerate(operation.selection_set.selections):
        assert isinstance(selection, FieldNode)
        arguments = []
        for argument in selection.arguments or ():
            name = f"{argument.name.value}{place}"
            kind = root.fields[selection.name.value].args[argument.name.value].type
            variables[name] = value_from_ast_untyped(argument.value)
            variable = VariableNode(name=NameNode(value=name))
            declared.append(VariableDefinitionNode(variable=variable, type=parse_type(str(kind)), directives=()))
            arguments.append(ArgumentNode(name=argument.name, value=variable))
        selections.append(
            FieldNode(
                name=selection.name,
                alias=selection.alias,
                arguments=tuple(arguments),
                directives=selection.directives,
                selection_set=selection.selection_set,
            )
        )
    lifted = OperationDefinitionNode(
        operation=operation.operation,
        name=operation.name,
        variable_definitions=tuple(declared),
        directives=(),
        selection_set=type(operation.selection_set)(selections=tuple(selections)),
    )
    return DocumentNode(definitions=(lifted,)), variables


def _literal(text: str) -> ValueNode:
    document = parse(f"{{ a(b: {text}) }}", no_location=True)
    [operation] = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    [field] = operation.selection_set.selections
    assert isinstance(field, FieldNode)
    return (field.arguments or ())[0].value
