"""What one document may ask for, judged before it is validated.

Stock limiters follow every fragment spread, so a few nested fragments cost exponential time. Here each fragment is
weighed once: a weight is what a selection asks for per object it stands on, and a spread adds the weight of its
fragment. The numbers may be astronomical; computing them takes one pass.

Three steps, each bounded by the one before: what is written is counted in the text, without its being parsed, for
parsing is what costs most; the document is weighed in one pass; an operation is priced once more for the page sizes
its variables bring, and the price is kept. Source: promises.md §3.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLField,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_introspection_query,
    get_named_type,
    get_nullable_type,
    is_interface_type,
    is_list_type,
    is_object_type,
    parse,
)

from backend.config import Settings
from backend.domain.fields import INTEGER_MAX
from backend.errors import Code, Problem, Refused, refuse_if

ROWS_ASSUMED = 10
"""What a list without page arguments is priced at."""
INTROSPECTION_DEPTH_MAX = 20
"""The questions tools ask about a schema nest deeper than any about data."""
INTROSPECTION_TIMES_MAX = 2
"""So many times what the dearest question of tools costs may be asked about a schema at once."""
INTROSPECTION = frozenset({"__schema", "__type"})
WRITTEN_TIMES_MAX = 2
"""Operations with so many times the aliases or directives they may have are not parsed to find the branch with most."""
NESTING_PER_DEPTH = 3
"""Selection sets that may stand in each other, fragments included, for each level of fields allowed."""
PAGE_ARGUMENTS = ("first", "last")
BULK_ARGUMENTS = ("limit",)
"""What sizes an answer that is one page by itself."""
PRICES_PER_OPERATION_MAX = 16
"""Sets of page sizes an operation's price is kept for."""
PATH_STEPS_MAX = 50
TOKENS = re.compile(
    r"#[^\n\r]*+"
    r'|"""(?:[^"\\]++|\\.|"(?!""))*+(?:""")?'
    r'|"(?:[^"\\\n]++|\\.)*+"?'
    r"|\.\.\.|[!$&()\[\]:=@{|}]|[A-Za-z0-9_.+-]++",
    re.DOTALL,
)
"""What GraphQL's lexer makes of a text, and its comments."""
NUMBER_STARTS = frozenset("-+.0123456789")
PUNCTUATION = frozenset("!$&()[]{}:=@|") | {"..."}


@dataclass(frozen=True, slots=True)
class Weight:
    """What a selection set asks for, on one object.

    `fields`: those of the set itself, fragments opened; `depth`: fields below each other; `nesting`: selection
    sets below each other, fragments included; `aliases` and `directives`: how many, spreads counted as often as
    they are spread; `cost`: fields answered, each as often as the lists above it have rows.
    """

    fields: int = 0
    depth: int = 0
    nesting: int = 0
    aliases: int = 0
    directives: int = 0
    cost: int = 0


NOTHING = Weight()


class Limits:
    """Holds a document to the limits of the settings. `schema` tells which fields are pages and lists."""

    def __init__(self, schema: GraphQLSchema, settings: Settings) -> None:
        self._schema = schema
        self._settings = settings
        self._prices: OrderedDict[int, _Prices] = OrderedDict()
        asked = parse(get_introspection_query(input_value_deprecation=True, specified_by_url=True))
        scale = _Scale(schema, settings, asked, None)
        [usual] = [scale.weight(found) for found in asked.definitions if isinstance(found, OperationDefinitionNode)]
        self._introspection_cost_max = usual.cost * INTROSPECTION_TIMES_MAX

    def check_text(self, text: str) -> None:
        """Before it is parsed. Raises `Refused` with QUERY_TOO_COSTLY: the first of what is written too often."""
        settings = self._settings
        if len(text) > settings.document_characters_max:
            raise Refused(_problem("characters", len(text), settings.document_characters_max))
        tokens = TOKENS.findall(text)
        if "#" in text:
            tokens = [token for token in tokens if token[0] != "#"]
        if len(tokens) > settings.document_tokens_max:
            raise Refused(_problem("tokens", len(tokens), settings.document_tokens_max))
        longest = max((len(token) for token in tokens if token[0] in NUMBER_STARTS), default=0)
        if longest > settings.document_number_characters_max:
            raise Refused(_problem("digits", longest, settings.document_number_characters_max))
        written, aliases_max = count_written(tokens), settings.document_aliases_max
        for measure, found, most, beyond in (
            ("definitions", written.definitions, settings.document_definitions_max, 1),
            ("selections", written.selections, settings.document_selections_max, 1),
            ("repeats", written.repeats, settings.document_repeats_max, 1),
            ("values", written.values, settings.document_values_max, 1),
            ("variables", written.variables, settings.document_variables_max, 1),
            ("aliases", written.aliases, aliases_max, WRITTEN_TIMES_MAX),
            ("directives", written.directives, aliases_max, WRITTEN_TIMES_MAX),
        ):
            if found > most * beyond:
                raise Refused(_problem(measure, found, most))

    def check(self, document: DocumentNode) -> None:
        """Before validation, for the document alone: pages sized by variables count as one row.

        Raises `Refused` with QUERY_TOO_COSTLY for each limit exceeded: `params` say what was measured, `allowed` is
        the limit, and the path leads to the branch that weighs most.
        """
        scale = _Scale(self._schema, self._settings, document, None)
        problems: dict[str, Problem] = {}
        try:
            # what has no braces, as definitions of types have not, was not counted in the text
            if len(document.definitions) > self._settings.document_definitions_max:
                raise _TooMuch("definitions", len(document.definitions), self._settings.document_definitions_max)
            for definition in document.definitions:
                if isinstance(definition, OperationDefinitionNode):
                    for problem in self._problems(scale, definition):
                        problems.setdefault(str(problem.params["measure"]), problem)
            # validation looks into fragments nobody spreads too
            scale.weigh_fragments()
        except _TooMuch as too_much:
            problems[too_much.measure] = _problem(too_much.measure, too_much.found, too_much.most)
        refuse_if(problems.values())

    def check_variables(
        self, document: DocumentNode, operation: OperationDefinitionNode, variables: Mapping[str, Any]
    ) -> Weight:
        """What one operation asks for, with pages at the size the variables give them. Raises as `check` does."""
        kept = self._prices.get(id(operation))
        if kept is None:
            scale = _Scale(self._schema, self._settings, document, {})
            scale.weight(operation)
            kept = self._prices[id(operation)] = _Prices(operation, tuple(sorted(scale.sizes)))
            while len(self._prices) > self._settings.document_cache_entries_max:
                self._prices.popitem(last=False)
        else:
            self._prices.move_to_end(id(operation))
        given = tuple(_size(variables[name]) if name in variables else _UNSAID for name in kept.sizes)
        known = kept.weights.get(given)
        if known is None:
            scale = _Scale(self._schema, self._settings, document, variables)
            refuse_if(self._problems(scale, operation))
            known = scale.weight(operation)
            if len(kept.weights) >= PRICES_PER_OPERATION_MAX:
                kept.weights.clear()
            kept.weights[given] = known
        return known

    def most(self, roots: Set[str]) -> tuple[int, int]:
        """The greatest depth and cost of an operation that asks for these fields at its root."""
        if roots and roots <= INTROSPECTION:
            return INTROSPECTION_DEPTH_MAX, self._introspection_cost_max
        return self._settings.document_depth_max, self._settings.document_cost_max

    def _problems(self, scale: "_Scale", operation: OperationDefinitionNode) -> list[Problem]:
        settings = self._settings
        depth_max, cost_max = self.most(scale.root_names(operation.selection_set))
        weight = scale.weight(operation)
        measured = (
            ("depth", weight.depth, depth_max),
            ("nesting", weight.nesting, depth_max * NESTING_PER_DEPTH),
            ("aliases", weight.aliases, settings.document_aliases_max),
            ("directives", weight.directives, settings.document_aliases_max),
            ("rootSelections", weight.fields, settings.root_selections_max),
            ("cost", weight.cost, cost_max),
        )
        return [
            _problem(name, found, most, scale.heaviest(operation, _MEASURES.get(name, "cost")))
            for name, found, most in measured
            if found > most
        ]


@dataclass(slots=True)
class Written:
    """What is written in a document, each thing once; of aliases and directives, those of the operation or fragment
    that has most. `repeats`: fields and spreads whose name stands in the same selection set already; `values`: of
    arguments and defaults, those in lists and objects and these themselves included.
    """

    definitions: int = 0
    selections: int = 0
    repeats: int = 0
    values: int = 0
    variables: int = 0
    aliases: int = 0
    directives: int = 0


def count_written(tokens: Sequence[str]) -> Written:
    """Count a text by its tokens, comments left out. Of what is no GraphQL it counts something."""
    written = Written()
    sets: list[set[str]] = []
    aliases = directives = 0
    reading = iter(range(len(tokens)))
    for at in reading:
        token = tokens[at]
        after = tokens[at + 1] if at + 1 < len(tokens) else ""
        if token == "{":
            written.definitions += not sets
            sets.append(set())
        elif token == "}":
            if sets:
                sets.pop()
            if not sets:
                aliases = directives = 0
        elif token == "(":
            _count_arguments(tokens, reading, written, are_variables=not sets and tokens[at - 2 : at - 1] != ["@"])
        elif token == "@":
            directives += 1
            written.directives = max(written.directives, directives)
            next(reading, None)
        elif token == "...":
            written.selections += 1
            if after == "on":
                next(reading, None)
                next(reading, None)
            elif after[:1].isidentifier():
                next(reading, None)
                _note(sets, token + after, written)
        elif sets and token[0].isidentifier():
            written.selections += 1
            _note(sets, token, written)
            if after == ":":
                aliases += 1
                written.aliases = max(written.aliases, aliases)
                next(reading, None)
                next(reading, None)
    return written


def _note(sets: list[set[str]], name: str, written: Written) -> None:
    if sets:
        written.repeats += name in sets[-1]
        sets[-1].add(name)


def _count_arguments(tokens: Sequence[str], reading: Iterator[int], written: Written, *, are_variables: bool) -> None:
    """From a parenthesis to the one that closes it. Of variables only what follows `=` is a value."""
    open_count, counts = 1, not are_variables
    for here in reading:
        token = tokens[here]
        if token == "(":
            open_count += 1
        elif token == ")":
            open_count -= 1
            if not open_count:
                return
        elif token == "$":
            next(reading, None)
            written.variables += are_variables
            counts = not are_variables
            written.values += counts
        elif token == "=":
            counts = True
        elif counts and (token in "[{" or (token not in PUNCTUATION and tokens[here + 1 : here + 2] != [":"])):
            written.values += 1


@dataclass(slots=True)
class _Prices:
    """What an operation costs, by the sizes of the pages its variables give. Holds the operation, whose id it has."""

    operation: OperationDefinitionNode
    sizes: tuple[str, ...]
    weights: dict[tuple[object, ...], Weight] = field(default_factory=dict)


class _Scale:
    """Weighs the operations of one document."""

    def __init__(
        self,
        schema: GraphQLSchema,
        settings: Settings,
        document: DocumentNode,
        variables: Mapping[str, Any] | None,
    ) -> None:
        self._schema = schema
        self._settings = settings
        self._variables = variables
        self._fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        self._known: dict[str, Weight] = {}
        self._operations: dict[int, Weight] = {}
        self._parts: dict[int, Weight] = {}
        self._open: set[str] = set()
        self._defaults: dict[str, Any] = {}
        self._nesting_max = max(settings.document_depth_max, INTROSPECTION_DEPTH_MAX) * NESTING_PER_DEPTH
        self.sizes: set[str] = set()
        """Variables that size a page."""

    def weigh_fragments(self) -> None:
        for name in self._fragments:
            self._fragment(name, 0)

    def weight(self, operation: OperationDefinitionNode) -> Weight:
        """What an operation asks for. Raises `_TooMuch`."""
        known = self._operations.get(id(operation))
        if known is None:
            self._defaults = {
                definition.variable.name.value: _integer(definition.default_value)
                for definition in operation.variable_definitions or ()
            }
            parent = self._schema.get_root_type(operation.operation)
            inner = self._selections(operation.selection_set, parent, 0)
            known = replace(inner, directives=inner.directives + len(operation.directives or ()))
            self._operations[id(operation)] = known
        return known

    def heaviest(self, operation: OperationDefinitionNode, measure: str) -> tuple[str, ...]:
        """The path to the branch that weighs most: at each level the field that does, as far as others hang on it."""
        path: list[str] = []
        selections: SelectionSetNode | None = operation.selection_set
        while selections is not None and len(path) < PATH_STEPS_MAX:
            branches = [found for found in self._fields_of(selections) if found.selection_set is not None]
            if not branches:
                break
            dearest = max(branches, key=lambda found: getattr(self._parts.get(id(found), NOTHING), measure))
            path.append((dearest.alias or dearest.name).value)
            selections = dearest.selection_set
        return tuple(path)

    def _fields_of(self, selections: SelectionSetNode) -> Iterable[FieldNode]:
        """The fields of a set, fragments opened, each once."""
        spread: set[str] = set()
        waiting = [selections]
        while waiting:
            for selection in waiting.pop().selections:
                if isinstance(selection, FieldNode):
                    yield selection
                elif isinstance(selection, InlineFragmentNode):
                    waiting.append(selection.selection_set)
                elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in spread:
                    spread.add(selection.name.value)
                    if fragment := self._fragments.get(selection.name.value):
                        waiting.append(fragment.selection_set)

    def root_names(self, selections: SelectionSetNode) -> set[str]:
        """Names of the fields of the operation itself."""
        return {found.name.value for found in self._fields_of(selections)}

    def _selections(self, selections: SelectionSetNode, parent: GraphQLNamedType | None, nesting: int) -> Weight:
        if nesting > self._nesting_max:
            raise _TooMuch("nesting", nesting, self._nesting_max)
        fields = depth = below = aliases = directives = cost = 0
        for selection in selections.selections:
            if isinstance(selection, FieldNode):
                part = self._field(selection, parent, nesting)
            elif isinstance(selection, InlineFragmentNode):
                named = selection.type_condition
                kind = self._schema.get_type(named.name.value) if named else parent
                part = self._selections(selection.selection_set, kind, nesting + 1)
            elif isinstance(selection, FragmentSpreadNode):
                part = self._fragment(selection.name.value, nesting + 1)
            else:
                continue
            fields += part.fields
            depth = max(depth, part.depth)
            below = max(below, part.nesting)
            aliases += part.aliases
            directives += part.directives + len(selection.directives or ())
            cost += part.cost
        return Weight(fields, depth, below + 1, aliases, directives, cost)

    def _fragment(self, name: str, nesting: int) -> Weight:
        known = self._known.get(name)
        if known is not None:
            return known
        fragment = self._fragments.get(name)
        # validation has words for a fragment that is missing or spreads itself
        if fragment is None or name in self._open:
            return NOTHING
        self._open.add(name)
        try:
            kind = self._schema.get_type(fragment.type_condition.name.value)
            weight = self._selections(fragment.selection_set, kind, nesting)
        finally:
            self._open.discard(name)
        self._known[name] = weight
        return weight

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None, nesting: int) -> Weight:
        asked = None
        if is_object_type(parent) or is_interface_type(parent):
            asked = self._schema.get_field(parent, node.name.value)
        inner = NOTHING
        if node.selection_set is not None:
            kind = get_named_type(asked.type) if asked is not None else None
            inner = self._selections(node.selection_set, kind, nesting + 1)
        weight = Weight(
            1,
            inner.depth + 1,
            inner.nesting,
            inner.aliases + (node.alias is not None),
            inner.directives,
            1 + inner.cost * self._rows(node, asked, parent),
        )
        if node.selection_set is not None:
            self._parts[id(node)] = weight
        return weight

    def _rows(self, node: FieldNode, field: GraphQLField | None, parent: GraphQLNamedType | None) -> int:
        """How many objects the field's own selection is answered for."""
        if field is None:
            return 1
        if any(name in field.args for name in PAGE_ARGUMENTS):
            return self._page_rows(node, field, PAGE_ARGUMENTS)
        if _is_bulk(get_named_type(field.type)) and BULK_ARGUMENTS[0] in field.args:
            return self._page_rows(node, field, BULK_ARGUMENTS)
        if not is_list_type(get_nullable_type(field.type)):
            return 1
        # the lists inside a page have the page's rows, which are counted already
        if _is_page(parent):
            return 1
        return len(self._schema.type_map) if _is_all_types(node, parent) else ROWS_ASSUMED

    def _page_rows(self, node: FieldNode, field: GraphQLField, sizes: tuple[str, ...]) -> int:
        asked = [self._asked(argument.value) for argument in node.arguments or () if argument.name.value in sizes]
        given = [rows for rows in asked if rows is not None]
        if not given:
            defaults = [_default(field.args[name]) for name in sizes if name in field.args]
            given = [rows for rows in defaults if rows is not None] or [self._settings.nested_page_rows_max]
        return max(1, *given)

    def _asked(self, value: object) -> int | None:
        if not isinstance(value, VariableNode):
            return _integer(value)
        if self._variables is None:
            return 1
        name = value.name.value
        self.sizes.add(name)
        found = self._variables.get(name, self._defaults.get(name))
        return found if type(found) is int else None


class _TooMuch(Exception):
    """So much is written that it is not even weighed to the end."""

    def __init__(self, measure: str, found: int, most: int) -> None:
        super().__init__(measure)
        self.measure = measure
        self.found = found
        self.most = most


_UNSAID = object()
"""A variable that was not given: its default counts, which is not so where null was."""
_MEASURES = {"depth": "depth", "nesting": "nesting", "aliases": "aliases", "directives": "directives"}
"""Measures whose heaviest branch is another than the dearest."""


def _problem(measure: str, found: int, most: int, path: tuple[str, ...] = ()) -> Problem:
    # what fragments multiply may have more digits than JSON carries
    cost = min(found, INTEGER_MAX)
    return Problem(Code.QUERY_TOO_COSTLY, path, (str(most),), {"measure": measure, "cost": cost, "limit": most})


def _size(value: object) -> int | None:
    return value if type(value) is int else None


def _is_all_types(node: FieldNode, parent: GraphQLNamedType | None) -> bool:
    return parent is not None and parent.name == "__Schema" and node.name.value == "types"


def _integer(value: object) -> int | None:
    return int(value.value) if isinstance(value, IntValueNode) and len(value.value) <= 10 else None


def _default(argument: GraphQLArgument) -> int | None:
    if argument.default is not None:
        return _integer(argument.default.literal)
    return argument.default_value if type(argument.default_value) is int else None


PAGE_MARKS = frozenset({"pageInfo", "items"})
"""Fields of a type whose lists are as long as the `first` of the field that leads to it."""


BULK_MARKS = frozenset({"documents", "checkpoint"})
"""Fields of an answer whose `documents` are as many as the `limit` of the field that leads to it."""


def _is_page(parent: GraphQLNamedType | None) -> bool:
    return _is_bulk(parent) or (is_object_type(parent) and not PAGE_MARKS.isdisjoint(parent.fields))


def _is_bulk(kind: GraphQLNamedType | None) -> bool:
    return is_object_type(kind) and kind.fields.keys() == BULK_MARKS
