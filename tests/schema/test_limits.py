"""What a document may ask for: refused in one pass, however its fragments are folded."""

from typing import Any

import pytest
from graphql import OperationDefinitionNode, build_schema, get_introspection_query, parse

from backend.config import Settings
from backend.errors import Code, Refused
from backend.schema import limits as module
from backend.schema.limits import Limits

SCHEMA = build_schema("""
type Query { shops(first: Int, last: Int, after: String): ShopPage  shop(id: ID!): Shop  word: String  pair: [Shop!]!
  ranking(first: Int): Ranking }
type Ranking { items: [Shop!]! }
type ShopPage { nodes: [Shop!]!  pageInfo: PageInfo! }
type PageInfo { hasNextPage: Boolean! }
type Shop implements Node { id: ID!  name: String  parent: Shop  visits(first: Int = 20): VisitPage  notes: [Note!] }
type VisitPage { nodes: [Visit!]!  pageInfo: PageInfo! }
type Visit implements Node { id: ID!  shop: Shop }
type Note { text: String  author: Shop }
interface Node { id: ID! }
type Mutation { rename(id: ID!): Shop }
""")
SETTINGS = Settings()


def refused_measures(text: str, variables: dict[str, Any] | None = None, settings: Settings = SETTINGS) -> set[str]:
    limits = Limits(SCHEMA, settings)
    document = parse(text)
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    try:
        limits.check(document)
        limits.check_variables(document, operation, variables or {})
    except Refused as refused:
        return {problem.path[0] for problem in refused.problems if problem.code is Code.QUERY_TOO_COSTLY}
    return set()


def cost_of(text: str, variables: dict[str, Any] | None = None) -> int:
    """The least limit that lets the document through."""
    low, high = 100, 10**7
    assert refused_measures(text, variables, SETTINGS.model_copy(update={"document_cost_max": high})) == set()
    while low < high:
        middle = (low + high) // 2
        if refused_measures(text, variables, SETTINGS.model_copy(update={"document_cost_max": middle})):
            low = middle + 1
        else:
            high = middle
    return low


def nested(levels: int) -> str:
    return "{ shop(id: 1) " + "{ parent " * (levels - 2) + "{ id }" + " }" * (levels - 2) + " }"


def test_depth_counts_the_leaf() -> None:
    assert refused_measures(nested(SETTINGS.document_depth_max)) == set()
    assert refused_measures(nested(SETTINGS.document_depth_max + 1)) == {"depth"}


def test_depth_sees_through_fragments_of_both_kinds() -> None:
    inside = "parent { parent { parent { parent { parent { parent { parent { id } } } } } } }"
    text = "{ shop(id: 1) { ... on Shop { parent { ...F } } } } fragment F on Shop { parent { parent { ...G } } }"
    assert refused_measures(f"{text} fragment G on Shop {{ parent {{ {inside} }} }}") == set()
    assert refused_measures(f"{text} fragment G on Shop {{ parent {{ parent {{ parent {{ {inside} }} }} }} }}") == {
        "depth"
    }


def test_a_page_costs_its_rows_and_pages_multiply() -> None:
    # 1 + 100 × (nodes 1 + id 1)
    assert cost_of("{ shops(first: 100) { nodes { id } } }") == 201
    assert cost_of("{ shops(last: 100) { nodes { id } } }") == 201
    # 1 + 100 × (1 + 1 + 30 × (1 + 1))
    assert cost_of("{ shops(first: 100) { nodes { visits(first: 30) { nodes { id } } } } }") == 6_201


def test_a_page_of_no_stated_size_costs_its_default() -> None:
    assert cost_of("{ shops(first: 100) { nodes { visits { nodes { id } } } } }") == 1 + 100 * (2 + 20 * 2)
    assert cost_of("{ shops { nodes { visits { nodes { id } } } } }") == 1 + 50 * (2 + 20 * 2)


def test_a_page_sized_by_a_variable_costs_what_the_variable_says() -> None:
    text = "query Q($n: Int, $m: Int = 60) { shops(first: $n) { nodes { visits(first: $m) { nodes { id } } } } }"
    assert cost_of(text, {"n": 100}) == 1 + 100 * (2 + 60 * 2)
    assert cost_of(text, {"n": 100, "m": 10}) == 1 + 100 * (2 + 10 * 2)
    assert refused_measures(text, {"n": 10**9}) == {"cost"}
    assert refused_measures(text, {"n": -5, "m": 0}) == set()


def test_a_list_without_a_page_is_priced_too() -> None:
    assert cost_of("{ pair { notes { text } name id } a: pair { notes { author { name } } } }") == (
        (1 + 10 * (1 + 10 + 2)) + (1 + 10 * (1 + 10 * 2))
    )


def test_a_fan_out_over_pages_is_refused_for_its_cost() -> None:
    fan = "{ shops(first: 20) { nodes " + "{ visits(first: 20) { nodes { shop " * 3 + "{ id }" + " } } }" * 3 + " } }"
    assert refused_measures(fan) == {"cost"}


def test_aliases_and_directives_are_counted_as_often_as_they_are_spread() -> None:
    text = "{ shop(id: 1) { ...A x: parent { ...A } y: parent { ...A } } } fragment A on Shop { %s }"
    aliases = " ".join(f"a{n}: name" for n in range(66))
    assert refused_measures(text % aliases) == set()
    assert refused_measures(text % (aliases + " a66: name")) == {"aliases"}
    assert refused_measures(text % ("name " + "@skip(if: false) " * 67)) == {"directives"}


def test_root_selections_are_counted_through_fragments() -> None:
    roots = " ".join(f"a{n}: word" for n in range(5))
    assert (
        refused_measures(f"{{ ...A ...B }} fragment A on Query {{ {roots} }} fragment B on Query {{ {roots} }}")
        == set()
    )
    assert refused_measures(f"{{ word ...A ... {{ ...A }} }} fragment A on Query {{ {roots} }}") == {"rootSelections"}
    assert refused_measures("mutation { " + " ".join(f"a{n}: rename(id: 1) {{ id }}" for n in range(11)) + " }") == {
        "rootSelections"
    }


def test_every_limit_exceeded_is_named_at_once() -> None:
    text = "{ " + " ".join(f"a{n}: shops(first: 200) {{ nodes {{ name id }} }}" for n in range(201)) + " }"
    assert refused_measures(text) == {"aliases", "rootSelections", "cost"}


@pytest.mark.parametrize("size", [26, 400])
def test_doubling_fragments_take_one_pass(size: int) -> None:
    """Each of them spreads the next twice: expanded, 2^size fields."""
    fragments = " ".join(
        f"fragment F{n} on Shop {{ a: parent {{ ...F{n + 1} }} b: parent {{ ...F{n + 1} }} }}" for n in range(size)
    )
    text = f"{{ shop(id: 1) {{ ...F0 }} }} {fragments} fragment F{size} on Shop {{ id }}"
    visited = 0

    selections = module._Scale._selections

    def counted(self: Any, *args: Any) -> Any:
        nonlocal visited
        visited += 1
        return selections(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module._Scale, "_selections", counted)
        assert refused_measures(text) & {"depth", "nesting"}
    assert visited <= 3 * size + 5


def test_a_chain_of_spreads_without_fields_is_bounded() -> None:
    def chain(size: int) -> str:
        links = " ".join(f"fragment F{n} on Shop {{ ...F{n + 1} }}" for n in range(size))
        return f"{{ shop(id: 1) {{ ...F0 }} }} {links} fragment F{size} on Shop {{ id }}"

    assert refused_measures(chain(20)) == set()
    assert refused_measures(chain(1_000)) == {"nesting"}


def test_a_fragment_weighed_high_up_counts_in_full_further_down() -> None:
    """The memo must not hide the depth of a fragment met first where it was shallow."""
    deep = "parent { parent { parent { parent { parent { parent { parent { id } } } } } } }"
    text = "{ shop(id: 1) { ...F x: parent { y: parent { z: parent { %s } } } } }"
    text += f" fragment F on Shop {{ {deep} }}"
    assert refused_measures(text % "...F") == set()
    assert refused_measures(text % "parent { parent { ...F } }") == set()
    assert refused_measures(text % "parent { parent { parent { ...F } } }") == {"depth"}


def test_circles_and_unknown_names_are_left_to_validation() -> None:
    assert refused_measures("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A word }") == set()
    assert refused_measures("{ ...Nowhere shop(id: 1) { nothing { more } } ... on Nothing { a } }") == set()


def test_the_question_tools_ask_about_a_schema_is_taken() -> None:
    assert refused_measures(get_introspection_query(descriptions=True, input_value_deprecation=True)) == set()


def test_many_operations_in_a_document_share_the_pass() -> None:
    fragments = " ".join(f"fragment F{n} on Shop {{ ...F{n + 1} }}" for n in range(30))
    operations = " ".join(f"query Q{n} {{ shop(id: 1) {{ ...F0 }} }}" for n in range(300))
    visited = 0
    fragment = module._Scale._selections

    def counted(self: Any, *args: Any) -> Any:
        nonlocal visited
        visited += 1
        return fragment(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module._Scale, "_selections", counted)
        assert refused_measures(f"{operations} {fragments} fragment F30 on Shop {{ id }}") == set()
    assert visited <= 2 * 300 + 31


def test_a_ranking_is_priced_by_its_page_size_like_a_connection() -> None:
    asked = "{ ranking(first: 100) { items { notes { text } } } }"
    assert cost_of(asked) == cost_of("{ shops(first: 100) { nodes { notes { text } } } }")
