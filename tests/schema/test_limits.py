"""What a document may ask for: refused in one pass, however its fragments are folded."""

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import graphql.validation.rules.overlapping_fields_can_be_merged as overlapping
import pytest
from graphql import (
    DefinitionNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentSpreadNode,
    Lexer,
    Node,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    Source,
    TokenKind,
    ValueNode,
    VariableDefinitionNode,
    Visitor,
    build_schema,
    get_introspection_query,
    parse,
    visit,
)

from backend.config import Settings
from backend.errors import Problem, Refused
from backend.schema import limits as module
from backend.schema.http import make_documents
from backend.schema.limits import TOKENS, Limits, Written, count_written
from backend.schema.root import build_schema as build_our_schema

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


LIMITS = Limits(SCHEMA, SETTINGS)
WIDE = SETTINGS.model_copy(
    update={
        f"document_{measure}_max": 10**6 for measure in ("characters", "tokens", "definitions", "selections", "repeats")
    }
)
"""Lets every document be weighed to its end."""


def refused_measures(text: str, variables: dict[str, Any] | None = None, settings: Settings = SETTINGS) -> set[str]:
    limits = LIMITS if settings is SETTINGS else Limits(SCHEMA, settings)
    document = parse(text)
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    try:
        limits.check_text(text)
        limits.check(document)
        limits.check_variables(document, operation, variables or {})
    except Refused as refused:
        return {str(problem.params["measure"]) for problem in refused.problems}
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
        limits = Limits(SCHEMA, WIDE)
        visited = 0
        with pytest.raises(Refused) as refused:
            limits.check(parse(text))
    assert {problem.params["measure"] for problem in refused.value.problems} & {"depth", "nesting"}
    assert visited <= 3 * size + 5


def test_a_chain_of_spreads_without_fields_is_bounded() -> None:
    def chain(size: int) -> str:
        links = " ".join(f"fragment F{n} on Shop {{ ...F{n + 1} }}" for n in range(size))
        return f"{{ shop(id: 1) {{ ...F0 }} }} {links} fragment F{size} on Shop {{ id }}"

    assert refused_measures(chain(20)) == set()
    assert refused_measures(chain(90)) == {"nesting"}
    assert refused_measures(chain(300)) == {"definitions"}
    assert refused_measures(chain(1_000), settings=WIDE) == {"nesting"}


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
        limits = Limits(SCHEMA, WIDE)
        visited = 0
        limits.check(parse(f"{operations} {fragments} fragment F30 on Shop {{ id }}"))
    assert visited <= 2 * 300 + 31


def test_a_ranking_is_priced_by_its_page_size_like_a_connection() -> None:
    asked = "{ ranking(first: 100) { items { notes { text } } } }"
    assert cost_of(asked) == cost_of("{ shops(first: 100) { nodes { notes { text } } } }")


def refusals(text: str, variables: dict[str, Any] | None = None) -> dict[str, Problem]:
    """What a text is refused for, by what was measured; the text is counted first, as in a request."""
    try:
        LIMITS.check_text(text)
        document = parse(text, max_tokens=SETTINGS.document_tokens_max)
        LIMITS.check(document)
        [operation] = [found for found in document.definitions if isinstance(found, OperationDefinitionNode)]
        LIMITS.check_variables(document, operation, variables or {})
    except Refused as refused:
        return {str(problem.params["measure"]): problem for problem in refused.problems}
    return {}


def test_a_refusal_says_what_it_would_cost_how_much_it_may_and_which_branch_is_the_dearest() -> None:
    text = """query ($n: Int!) { word  one: shop(id: 1) { name visits { nodes { id } } }
      many: shops(first: $n) { pageInfo { hasNextPage } nodes { name ...Calls } } }
      fragment Calls on Shop { calls: visits(first: 100) { nodes { shop { id name } } } parent { name } }"""
    problem = refusals(text, {"n": 200})["cost"]
    calls = 1 + 100 * (1 + 1 + 2)
    one, many = 1 + 1 + 1 + 20 * 2, 1 + 200 * (2 + 1 + 1 + calls + 2)
    assert problem.params == {"measure": "cost", "cost": 1 + one + many, "limit": SETTINGS.document_cost_max}
    assert problem.path == ("many", "nodes", "calls", "nodes", "shop")
    assert problem.allowed == (str(SETTINGS.document_cost_max),)
    assert refusals(text, {"n": 20}) == {}


def test_the_deepest_branch_is_named_for_its_depth() -> None:
    deep = "{ parent " * 13 + "{ id }" + " }" * 13
    problem = refusals(f"{{ shops(first: 20) {{ nodes {{ name }} }} shop(id: 1) {deep} }}")["depth"]
    assert problem.path == ("shop", *["parent"] * 13)
    assert problem.params["cost"] == 15


def test_what_many_digits_have_is_told_in_a_number_json_carries() -> None:
    fragments = " ".join(f"fragment F{n} on Shop {{ notes {{ author {{ ...F{n + 1} }} }} }}" for n in range(6))
    fans = " ".join(f"a{n}: shops(first: 2147483647) {{ nodes {{ ...F0 }} }}" for n in range(3))
    problem = refusals(f"{{ {fans} }} {fragments} fragment F6 on Shop {{ id }}")["cost"]
    assert problem.params["cost"] == 2**53 - 1


TOO_MUCH = {
    "characters": "{ word } #" + "x" * SETTINGS.document_characters_max,
    "tokens": "{ " + "w " * 40_000 + "}",
    "digits": "{ shops(first: " + "9" * 101 + ") { nodes { id } } }",
    "definitions": " ".join(f"query Q{n} {{ word }}" for n in range(300)),
    "selections": "{ shop(id: 1) { " + " ".join(f"f{n}" for n in range(2_100)) + " } }",
    "repeats": "{ shop(id: 1) { " + "id " * 110 + "} }",
    "values": '{ shop(id: [[{a: "x"}, 5]' + " 5" * 2_100 + "]) { id } }",
    "variables": "query (" + " ".join(f"$a{n}: Int" for n in range(501)) + ") { word }",
    "aliases": "{ shop(id: 1) { " + " ".join(f"a{n}: id" for n in range(201)) + "} }",
    "directives": "{ word " + "@skip(if: false) " * 201 + "}",
    "rootSelections": "{ " + " ".join(f"a{n}: word" for n in range(11)) + " }",
}


@pytest.mark.parametrize("measure", TOO_MUCH)
def test_each_limit_is_named_by_itself(measure: str) -> None:
    assert set(refusals(TOO_MUCH[measure])) == {measure}


def test_values_in_directives_defaults_and_fragments_nobody_spreads_count_too() -> None:
    many = "[" + "1 " * 2_100 + "]"
    assert set(refusals(f"{{ word @skip(if: {many}) }}")) == {"values"}
    assert set(refusals(f"query ($a: [Int] = {many}) {{ word }}")) == {"values"}
    assert set(refusals(f"{{ word }} fragment F on Query {{ shop(id: {many}) {{ id }} }}")) == {"values"}


@pytest.mark.parametrize(
    "text",
    [
        "{ word }",
        '{ shop(id: "a b # not, a comment \\" ... {") { id } } # and "this is one',
        '{ shop(id: """block "with" \\""" quotes""") { id } }',
        '# "\n{ word # {{{{\n}',
        "query Q($a: Int = -1.5e3, $b: [Int!]! = [1 2]) @d(x: 1) { ... on Query { word } ...F } fragment F on Query { w }",  # noqa: E501
        get_introspection_query(),
    ],
)
def test_the_text_is_counted_as_graphql_counts_it(text: str) -> None:
    lexer = Lexer(Source(text))
    tokens = 0
    while lexer.advance().kind is not TokenKind.EOF:
        tokens += 1
    exact = SETTINGS.model_copy(update={"document_tokens_max": tokens})
    Limits(SCHEMA, exact).check_text(text)
    with pytest.raises(Refused):
        Limits(SCHEMA, SETTINGS.model_copy(update={"document_tokens_max": tokens - 1})).check_text(text)


class _Counting(Visitor):
    """What is written, counted in the parsed document."""

    def __init__(self) -> None:
        super().__init__()
        self.written = Written()
        self.per_definition: Counter[str] = Counter()

    def enter(self, node: Node, *_: object) -> None:
        written, own = self.written, self.per_definition
        if isinstance(node, DefinitionNode):
            own.clear()
            written.definitions += 1
        elif isinstance(node, SelectionSetNode):
            named = [found for found in node.selections if isinstance(found, FieldNode | FragmentSpreadNode)]
            names = [
                (found.alias or found.name).value if isinstance(found, FieldNode) else f"...{found.name.value}"
                for found in named
            ]
            written.repeats += len(names) - len(set(names))
        elif isinstance(node, VariableDefinitionNode):
            written.variables += 1
        elif isinstance(node, ValueNode):
            written.values += 1
        if isinstance(node, SelectionNode):
            written.selections += 1
        own["aliases"] += isinstance(node, FieldNode) and node.alias is not None
        own["directives"] += isinstance(node, DirectiveNode)
        written.aliases = max(written.aliases, own["aliases"])
        written.directives = max(written.directives, own["directives"])


def counted_parsed(document: DocumentNode) -> Written:
    counting = _Counting()
    visit(document, counting)
    # a variable is no value where it is declared
    counting.written.values -= sum(
        isinstance(found, OperationDefinitionNode) and len(found.variable_definitions or ())
        for found in document.definitions
    )
    return counting.written


class _Writer:
    """Documents nobody would write, by chance, of everything the grammar has."""

    NAMES = ("a", "b", "on", "query", "fragment", "true", "null", "x_1")

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)

    def some(self, one: Any, most: int = 3, least: int = 0) -> str:
        return " ".join(one() for _ in range(self.dice.randint(least, most)))

    def name(self) -> str:
        return self.dice.choice(self.NAMES)

    def value(self, depth: int = 0) -> str:
        kinds = ["1", "-2.5e3", '"{ } ( ) @ # :"', '"""a "quoted" } word"""', "A", "true", "null", "$a"]
        if depth < 2:
            kinds += ["[" + self.some(lambda: self.value(depth + 1)) + "]"] * 2
            kinds += ["{" + self.some(lambda: f"{self.name()}: {self.value(depth + 1)}") + "}"] * 2
        return self.dice.choice(kinds)

    def arguments(self) -> str:
        said = self.some(lambda: f"{self.name()}: {self.value()}", least=1)
        return self.dice.choice(["", f"({said})"])

    def directives(self) -> str:
        return self.some(lambda: f"@{self.name()}{self.arguments()}", 2)

    def selections(self, depth: int = 0) -> str:
        return "{ " + self.some(lambda: self.selection(depth), 4, 1) + " # } @a (\n }"

    def selection(self, depth: int) -> str:
        below = self.selections(depth + 1) if depth < 2 else "{ a }"
        alias = self.dice.choice(["", "", f"{self.name()}: "])
        field = f"{alias}{self.name()}{self.arguments()} {self.directives()} {self.dice.choice(['', below])}"
        spread = f"...{self.dice.choice('FG')} {self.directives()}"
        inline = f"... {self.dice.choice(['', 'on T', 'on on'])} {self.directives()} {below}"
        return self.dice.choice([field, field, spread, inline])

    def variable(self) -> str:
        default = self.dice.choice(["", f"= {self.value().replace('$a', 'A')}"])
        return f"${self.name()}: {self.dice.choice(['Int', '[T!]!'])} {default}"

    def definition(self) -> str:
        variables = self.dice.choice(["", "(" + self.some(self.variable, least=1) + ")"])
        named = f"{self.dice.choice(['query', 'mutation'])} {self.dice.choice(['', 'Q'])}{variables}"
        start = self.dice.choice(["", f"{named} {self.directives()}", f"fragment F on T {self.directives()}"])
        return f"{start} {self.selections()}"

    def document(self) -> str:
        return self.some(self.definition, least=1)


def test_what_is_written_is_counted_in_the_text_as_in_the_parsed_document() -> None:
    told = [path.read_text() for path in Path("mobile_contract/operations").glob("*.graphql")]
    assert len(told) > 10
    for text in [*told, get_introspection_query(), *(_Writer(seed).document() for seed in range(150))]:
        tokens = [token for token in TOKENS.findall(text) if token[0] != "#"]
        assert count_written(tokens) == counted_parsed(parse(text)), text


def test_what_is_far_too_much_is_not_even_parsed() -> None:
    for measure, text in TOO_MUCH.items():
        if measure in {"aliases", "directives", "rootSelections"}:
            LIMITS.check_text(text)  # the branch that has most is named
            continue
        with pytest.raises(Refused) as refused:
            LIMITS.check_text(text)
        assert [problem.params["measure"] for problem in refused.value.problems] == [measure]
    aliases = " ".join(f"a{n}: id" for n in range(401))
    for text in (f"{{ shop(id: 1) {{ {aliases} }} }}", "{ word " + "@a " * 401 + "}"):
        with pytest.raises(Refused):
            LIMITS.check_text(text)


LONG_NUMBERS = ("9" * 5_000, "-" + "1" * 90_000, "1." + "0" * 101, "1e" + "9" * 5_000)


@pytest.mark.parametrize("number", LONG_NUMBERS)
def test_a_number_of_many_digits_is_refused_wherever_it_stands(number: str) -> None:
    """Python makes no number of so many, which must not look like a failure of ours."""
    for text in (
        f"{{ shops(first: {number}) {{ nodes {{ id }} }} }}",
        f"query ($n: Int = {number}) {{ shops(first: $n) {{ nodes {{ id }} }} }}",
        f"{{ shop(id: [{{a: {number}}}]) {{ id }} }}",
    ):
        assert set(refusals(text)) == {"digits"}
    assert refusals('{ shop(id: "' + "9" * 5_000 + '") { id } }') == {}


@pytest.fixture(scope="module")
def ours() -> Any:
    """The schema that is served."""
    return build_our_schema()


def many(part: str, times: int) -> str:
    return " ".join(part for _ in range(times))


PAIRS = {
    "in inline fragments": "{ customers(first: 1) { nodes { "
    + many("... { contacts(first: 1) { nodes { role } } }", 120)
    + " } } }",
    "in fragments": "{ customers(first: 1) { nodes { "
    + " ".join(f"...F{n}" for n in range(60))
    + " } } } "
    + " ".join(
        f"fragment F{n} on Customer {{ id nameEn kind contacts(first: 1) {{ nodes {{ role }} }} }}" for n in range(60)
    ),
}


@pytest.mark.parametrize("where", PAIRS)
def test_fields_that_must_be_compared_in_pairs_are_compared_so_often_and_no_more(where: str, ours: Any) -> None:
    """Some hundred of them cost half a second: more than all the rest of a document."""
    documents, _ = make_documents(ours, SETTINGS)
    spent: list[int] = []
    spend = overlapping.spend_complexity_budget

    def counted(rule_context: Any, cost: int) -> None:
        spent.append(cost)
        spend(rule_context, cost)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlapping, "spend_complexity_budget", counted)
        prepared = documents.prepare(PAIRS[where])
    assert prepared.document is None
    [error] = prepared.errors
    assert isinstance(error.original_error, Refused)
    [problem] = error.original_error.problems
    assert problem.params == {"measure": "comparisons", "cost": 10_001, "limit": 10_000}
    assert 10_000 < sum(spent) < 10_010


def test_what_apps_are_built_with_needs_hardly_any_comparison(ours: Any) -> None:
    least = SETTINGS.model_copy(update={"document_comparisons_max": 1_000})
    documents, _ = make_documents(ours, least)
    for path in sorted(Path("mobile_contract/operations").glob("*.graphql")):
        assert documents.prepare(path.read_text()).errors == (), path
    usual = get_introspection_query(descriptions=True, input_value_deprecation=True)
    assert documents.prepare(usual).errors == ()
    parts = " ".join(f"fragment P{n} on Customer {{ id nameEn kind stage own{n}: city }}" for n in range(12))
    page = "{ customers(first: 20) { nodes { " + " ".join(f"...P{n}" for n in range(12)) + " } } } " + parts
    assert make_documents(ours, SETTINGS)[0].prepare(page).errors == ()


def test_what_no_lexer_reads_is_counted_all_the_same() -> None:
    broken = ("{", "}", "{ a(", ")", "} } { (", "(((", "@", "...", "... on", "{ a:", "{ ...on", "query ($", "$", ": :")
    for text in broken:
        LIMITS.check_text(text)
    for text in ('"', '"""', '"\\', '"""\\', "\\", "\x00", "{ word } é 漢", "." * 50, '"' * 51, '"a\n"b'):
        LIMITS.check_text(text)
    LIMITS.check_text('"' + "\\" * 90_000)
    with pytest.raises(Refused):
        LIMITS.check_text('"""' + '"' * 90_000)


def test_a_bomb_of_questions_about_the_schema_is_refused() -> None:
    usual = get_introspection_query(descriptions=True, input_value_deprecation=True)
    assert refusals(usual) == {}
    types = "types { name fields { name args { name } type { name } } }"
    assert refusals(f"{{ __schema {{ {types} }} }}") == {}
    bomb = " ".join(f"t{n}: {types}" for n in range(90))
    problem = refusals(f"{{ __schema {{ {bomb} }} }}")["cost"]
    assert problem.path[0] == "__schema"
    aliased = " ".join(f"a{n}: {body(usual)}" for n in range(3))
    assert "cost" in refusals(f"{{ {aliased} }} {usual[usual.index('fragment') :]}")


def body(document: str) -> str:
    """What stands between the braces of the first operation."""
    return document[document.index("{") + 1 : document.index("fragment")].rstrip().removesuffix("}")


def test_a_price_is_kept_for_the_sizes_it_was_made_for() -> None:
    document = parse("query ($n: Int, $id: ID!) { shops(first: $n) { nodes { id } } shop(id: $id) { name } }")
    [operation] = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    limits = Limits(SCHEMA, SETTINGS)
    weighed = 0
    weigh = module._Scale._selections

    def counted(self: Any, *args: Any) -> Any:
        nonlocal weighed
        weighed += 1
        return weigh(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module._Scale, "_selections", counted)
        costs = [limits.check_variables(document, operation, {"n": 7, "id": str(n)}).cost for n in range(50)]
        once = weighed
        assert set(costs) == {1 + 7 * 2 + 2}
        assert once <= 8, "whoever asks for the same pages is not weighed again"
        assert limits.check_variables(document, operation, {"n": 8, "id": "1"}).cost == 1 + 8 * 2 + 2
        assert limits.check_variables(document, operation, {"n": None, "id": "1"}).cost == 1 + 50 * 2 + 2
        assert weighed > once
        with pytest.raises(Refused):
            limits.check_variables(document, operation, {"n": 10**6, "id": "1"})
        for n in range(1_000):
            limits.check_variables(document, operation, {"n": n})
        assert len(limits._prices[id(operation)].weights) <= module.PRICES_PER_OPERATION_MAX
