"""Variables coerced beforehand have the values, and the faults, that the library finds."""

from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    OperationDefinitionNode,
    build_schema,
    parse,
)
from graphql.execution.values import get_variable_values
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.schema.coercion import Light, coercer_of, light_operations
from backend.schema.execute import core_schema
from backend.schema.root import build_schema as build_ours

OURS = core_schema(build_ours())
OTHER = build_schema(
    """
    input Leaf { size: Int! = 3, word: String, odd: [[Int!]] = [[1], null], choice: Choice = RED }
    input Pick @oneOf { leaf: Leaf, number: Int, many: [Leaf!] }
    input Tree { pick: Pick!, leaves: [Leaf]! = [], flag: Boolean }
    input Chain { next: Chain, size: Int }
    enum Choice { RED GREEN }
    type Query { tree(tree: [Tree!]!, chain: Chain, size: Int): Int }
    """
)
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**54), 2**54),
    st.floats(allow_nan=False),
    st.text(max_size=4),
    st.just("2026-03-01T08:00:00.000Z"),
    st.just("2026-03-01"),
    st.lists(st.integers(0, 2), max_size=2),
    st.dictionaries(st.sampled_from(["id", "size", "x"]), st.integers(0, 2), max_size=2),
)


def _sent(kind: GraphQLInputType) -> st.SearchStrategy[Any]:
    """What may come for a type, mostly in its form."""
    if isinstance(kind, GraphQLNonNull):
        return _sent(kind.of_type)
    if isinstance(kind, GraphQLList):
        each = _sent(kind.of_type)
        return st.one_of(st.lists(each, max_size=3), st.lists(each, max_size=3), each, JUNK)
    if isinstance(kind, GraphQLInputObjectType):
        needed = {name: _sent(one.type) for name, one in kind.fields.items() if isinstance(one.type, GraphQLNonNull)}
        free = {name: _sent(one.type) for name, one in kind.fields.items()}
        some = st.dictionaries(st.sampled_from(sorted(free)), st.none(), min_size=1, max_size=2).flatmap(
            lambda names: st.fixed_dictionaries({name: free[name] for name in names})
        )
        whole = st.tuples(st.fixed_dictionaries(needed), some).map(lambda parts: {**parts[0], **parts[1]})
        odd = st.tuples(whole, st.dictionaries(st.just("unknown"), JUNK)).map(lambda parts: {**parts[0], **parts[1]})
        return st.one_of(whole, whole, whole, some, odd, JUNK)
    if isinstance(kind, GraphQLEnumType):
        return st.one_of(st.sampled_from(sorted(kind.values)), JUNK)
    return st.one_of(JUNK, st.integers(0, 9), st.text(max_size=3), st.just("2026-03-01T08:00:00.000Z"))


def _light(schema: Any, written: str) -> tuple[Any, Light | None]:
    document = parse(f"query Q($v: {written}, $n: Int) {{ __typename }}")
    return document, light_operations(schema, document).get("Q")


def _same(schema: Any, written: str, sent: object) -> bool:
    """Whether the value was taken; asserts that the library does with it what is done here."""
    document, light = _light(schema, written)
    assert light is not None
    whole = get_variable_values(schema, document.definitions[0].variable_definitions, {"v": sent, "n": 1})
    coerced = light.coerced({"v": sent, "n": 1})
    if isinstance(whole, list):
        assert coerced is None, whole
        return False
    assert coerced is not None
    assert coerced.coerced == {"v": whole.coerced["v"]}
    assert repr(coerced.coerced["v"]) == repr(whole.coerced["v"]), "types, and the order of fields, are the same too"
    assert coerced.sources["v"].value is sent
    return True


def _of(schema: Any, written: str) -> st.SearchStrategy[Any]:
    _, light = _light(schema, written)
    assert light is not None
    return _sent(light.variables[0][0].type)


@settings(max_examples=150)
@given(sent=_of(OTHER, "[Tree!]!"))
def test_values_and_faults_are_the_library_s(sent: object) -> None:
    _same(OTHER, "[Tree!]!", sent)


@settings(max_examples=150)
@given(sent=_of(OURS, "[SyncMutation!]!"))
def test_a_queue_s_values_and_faults_are_the_library_s(sent: object) -> None:
    _same(OURS, "[SyncMutation!]!", sent)


def test_what_is_taken_and_what_is_not() -> None:
    leaf = {"size": 1, "word": "w", "odd": 5, "choice": "GREEN"}
    assert _same(OTHER, "[Tree!]!", [{"pick": {"many": [leaf, {}]}, "leaves": [None, leaf]}])
    assert _same(OTHER, "[Tree!]!", {"pick": {"number": 1}}), "one stands for a list of one"
    wrongs: list[object] = [
        [{"pick": {"number": 1, "leaf": leaf}}],
        [{"pick": {"number": None}}],
        [{"pick": {}}],
        [{"pick": {"number": 1}, "leaves": None}],
        [{"pick": {"number": 1}, "no": 1}],
        [None],
        None,
        "text",
        [{"pick": {"leaf": {"size": "1"}}}],
        [{"pick": {"leaf": {"choice": "BLUE"}}}],
    ]
    for wrong in wrongs:
        assert not _same(OTHER, "[Tree!]!", wrong), wrong


def test_every_input_of_the_schema_is_taken_unless_it_holds_itself() -> None:
    kinds = [kind for kind in OURS.type_map.values() if isinstance(kind, GraphQLInputObjectType)]
    assert kinds
    for kind in kinds:
        assert coercer_of(kind) is not None, kind
    for written, why in (("Chain", "may be nested deeper than the stack"), ("Choice", "the library does it as fast")):
        assert _light(OTHER, written)[1] is None, why


def test_the_rest_of_an_operation_is_left_to_the_library() -> None:
    document = parse("query Q($t: [Tree!]!, $c: Chain, $n: Int) { __typename } query P { __typename }")
    light = light_operations(OTHER, document)
    assert light.keys() == {"Q"}
    lighter = light["Q"].document.definitions[0]
    assert isinstance(lighter, OperationDefinitionNode)
    assert [one.variable.name.value for one in lighter.variable_definitions or ()] == ["c", "n"]
    assert light["Q"].operation is document.definitions[0]
    assert light["Q"].coerced({"n": 1}) is None, "an absent one may have a default, or be missed"
