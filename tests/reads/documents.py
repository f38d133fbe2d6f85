"""Documents drawn over the schema: wide, deep, with aliases, fragments, directives, pages, cursors and variables."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
)

from backend.domain.custom import CustomKind
from backend.reads.entities.table import ENTITIES
from backend.schema.executor import COMPUTED_FIELDS
from tests.reads.world import CUSTOM

LONG = "a_response_key_that_is_longer_than_postgresql_keeps_of_any_identifier_"
WIDE = 64
"""As many fields at one level are called wide: databases have limits on arguments of a function near it."""
INSTANTS = ("2025-12-30T00:00:00.000Z", "2026-01-01T00:00:00.000Z", "2026-01-03T00:00:00.500Z")
SEARCHES = ("wang", "ww", "王", "ㄱㅁㅅ", "百货", "grace m", "13", "")
PARTS = frozenset(entity.typename for entity in ENTITIES.values() if entity.part_of is not None)
PAGE_LIKE = ("Connection", "Edge", "Page")
TABLES = {
    "customerId": "customer",
    "territoryId": "territory",
    "repId": "user_account",
    "assigneeId": "user_account",
    "userId": "user_account",
    "seasonId": "season",
    "deviceId": "device",
}
ROOTS = {
    "customer": "customer",
    "contact": "contact",
    "visit": "visit",
    "order": "sales_order",
    "task": "task",
    "territory": "territory",
    "syncIssue": "sync_issue",
    "importBatch": "import_batch",
    "customField": "custom_field",
}
"""Root field that takes an id → table it names a record of."""
DECLARED = (
    ("yes", "Boolean", "true"),
    ("no", "Boolean", "false"),
    ("few", "Int", "2"),
    ("after", "String", None),
    ("sort", "CustomerSort", None),
    ("found", "String", None),
)
"""Variables a document may use, with their defaults."""


class Writer:
    """Writes one document after another; `cursors` are what earlier answers gave."""

    def __init__(
        self, schema: GraphQLSchema, ids: Sequence[str], seed: int, tables: Mapping[str, Any], levels: int = 9
    ) -> None:
        self.schema = schema
        self.ids = ids
        self.tables = tables
        self.rng = random.Random(seed)
        self.levels = levels
        self.cursors: list[str] = []
        self.computed = 0.03
        self.fragments: list[str] = []
        self.root = ""
        self.records = 2
        """so many of each kind does a sweep ask for by id"""

    def document(self, roots: Sequence[str]) -> str:
        """One to three of the root fields, and what is below them."""
        query = self.schema.query_type
        assert query is not None
        self.fragments = []
        chosen = [self.rng.choice(roots) for _ in range(self.rng.choice([1, 1, 2, 3]))]
        fields = []
        for number, name in enumerate(chosen):
            self.root = name
            fields.append(f"r{number}: {self.field(name, query.fields[name], self.levels)}")
        switches = "__typename @include(if: $yes) @skip(if: $no) x: __typename @include(if: $no)"
        counted = "f: styles(first: $few) { totalCount }"
        return self._whole([*fields, switches, counted])

    def _whole(self, fields: Sequence[str]) -> str:
        """The operation, declaring the variables that it uses."""
        body = "\n".join(["{", *fields, "}", *self.fragments])
        used = [one for one in DECLARED if f"${one[0]}" in body]
        declared = ", ".join(f"${name}: {kind}{f' = {default}' if default else ''}" for name, kind, default in used)
        return f"query ({declared}) {body}" if used else body

    def variables(self, document: str) -> dict[str, Any]:
        """Values for some of the variables a document declares."""
        rng, given = self.rng, {}
        choices: dict[str, Any] = {
            "yes": [True, False],
            "no": [True, False],
            "few": [0, 1, 2, 5, None],
            "after": [None, *self.cursors[-3:]],
            "sort": ["NAME", "PRIORITY", "CREATED_AT", "LAST_ORDER_AT"],
            "found": [*SEARCHES, None],
        }
        head = document.partition("{")[0]
        for name, values in choices.items():
            if f"${name}:" in head and (rng.random() < 0.5 or name == "sort"):
                given[name] = rng.choice(values)
        return given

    def sweep(self, roots: Sequence[str], parts: int = 3) -> Iterator[str]:
        """Documents that ask for everything once: each root field with each of its arguments' values, each type with
        all its leaves, and each relation with all leaves of what it leads to."""
        query = self.schema.query_type
        assert query is not None
        for root in roots:
            field = query.fields[root]
            kind = get_named_type(field.type)
            for found in self.schema.get_possible_types(kind) if isinstance(kind, GraphQLInterfaceType) else [kind]:
                assert isinstance(found, GraphQLObjectType)
                below = list(self._below(found))
                for at in range(0, len(below), parts):
                    self.fragments, self.root = [], root
                    inner = " ".join(below[at : at + parts])
                    inner = f"... on {found.name} {{ {inner} }}" if found is not kind else inner
                    for given in self._givens(root, field, found.name):
                        yield self._whole([f"r: {root}{given} {{ {inner} }}"])
            below_all = f"{{ {self._leaves(kind)} }}"
            for given in self._each_argument(field, root):
                self.fragments, self.root = [], root
                yield self._whole([f"r: {root}({given}) {below_all}"])

    def _givens(self, root: str, field: GraphQLField, kind: str) -> list[str]:
        """Arguments to ask a root field with for a type: a record of it, each of the collections there are, or none."""
        if root == "matchQueue":
            return ['(collection: "customers")', '(collection: "contacts")']
        if "id" not in field.args:
            return [""]
        known = self.tables.get(ROOTS.get(root) or NODE_TABLES.get(kind, ""), [])
        # every table has rows by what is drawn of their nulls, and a record of a page shows them too
        return [f'(id: "{record_id}")' for record_id in known[: self.records]]

    def _below(self, kind: GraphQLObjectType) -> Iterator[str]:
        """Parts of a selection that together have every leaf, and every relation with its leaves."""
        yield self._leaves(kind)
        for name, field in kind.fields.items():
            inner = get_named_type(field.type)
            if is_leaf_type(inner) or f"{kind.name}.{name}" in COMPUTED_FIELDS:
                continue
            assert isinstance(inner, GraphQLObjectType)
            if kind.name.endswith(PAGE_LIKE):
                if inner.name != "PageInfo":
                    yield from (f"{name} {{ {part} }}" for part in self._below(inner))
            else:
                page = "(first: 3)" if "first" in field.args else ""
                yield f"{name}{page} {{ {self._leaves(inner)} }}"

    def _leaves(self, kind: object, levels: int = 2) -> str:
        """Every leaf of a type; of a page those of its records, edges and pageInfo too."""
        assert isinstance(kind, (GraphQLObjectType, GraphQLInterfaceType))
        parts = ["__typename"]
        for name, field in kind.fields.items():
            inner = get_named_type(field.type)
            if is_leaf_type(inner):
                parts += [name] if f"{kind.name}.{name}" not in COMPUTED_FIELDS else []
            elif (kind.name.endswith(PAGE_LIKE) or getattr(inner, "name", "") == "Money") and levels:
                parts.append(f"{name} {{ {self._leaves(inner, levels)} }}")
            elif kind.name in PARTS and isinstance(inner, GraphQLObjectType) and "first" not in field.args:
                # what is part of another record is found by no root field, so what it leads to is asked for here
                parts += [f"{name} {{ __typename id }}"] if f"{kind.name}.{name}" not in COMPUTED_FIELDS else []
        return " ".join(parts)

    def _each_argument(self, field: GraphQLField, root: str) -> Iterator[str]:
        """Each argument with each of its values, one at a time; each direction forwards and backwards."""
        for name, argument in field.args.items():
            kind, whole = get_named_type(argument.type), get_nullable_type(argument.type)
            required = "".join(
                f", {key}: {self.value(key, get_named_type(other.type), get_nullable_type(other.type))}"
                for key, other in field.args.items()
                if isinstance(other.type, GraphQLNonNull) and key != name and not other.default_value and key == "id"
            )
            if name in ("id", "after", "before"):
                continue
            if isinstance(kind, GraphQLEnumType) and not isinstance(whole, GraphQLList):
                for value in kind.values:
                    yield f"{name}: {value}{required}"
                    for part in ("first: 4", "last: 4") if "last" in field.args else ("first: 4",):
                        yield f"{name}: {value}, {part}{required}"
            elif isinstance(kind, GraphQLInputObjectType):
                for key, inner in kind.fields.items():
                    for _ in range(3):
                        value = self.value(key, get_named_type(inner.type), get_nullable_type(inner.type))
                        yield f"{name}: {{{key}: {value}}}{required}"
            else:
                yield f"{name}: {self.value(name, kind, whole)}{required}"

    def field(self, name: str, field: GraphQLField, levels: int) -> str:
        given = {key: self.argument(key, argument) for key, argument in field.args.items()}
        if given.get("last") or given.get("before"):
            given |= {"first": "", "after": ""} if self.rng.random() < 0.95 else {}
        arguments = ", ".join(f"{key}: {value}" for key, value in given.items() if value)
        kind = get_named_type(field.type)
        below = "" if is_leaf_type(kind) else self.selection(kind, levels - 1)
        return f"{name}{f'({arguments})' if arguments else ''}{self.directive()} {below}"

    def directive(self) -> str:
        return self.rng.choices(["", " @include(if: $yes)", " @skip(if: $no)", " @include(if: $no)"], [90, 4, 4, 2])[0]

    def selection(self, kind: object, levels: int) -> str:
        if isinstance(kind, GraphQLInterfaceType):
            kinds = self.rng.sample(list(self.schema.get_possible_types(kind)), 4)
            parts = [f"... on {found.name} {self.selection(found, levels)}" for found in kinds]
            return f"{{ __typename id {' '.join(parts)} }}"
        assert isinstance(kind, GraphQLObjectType)
        written = " ".join(self.fields(kind, levels)) or "__typename"
        draw = self.rng.random()
        if draw < 0.05:
            written = f"... on {kind.name}{self.directive()} {{ {written} }} __typename"
        elif draw < 0.1:
            name = f"F{len(self.fragments)}"
            self.fragments.append("")
            self.fragments[int(name[1:])] = f"fragment {name} on {kind.name} {{ {written} }}"
            written = f"...{name}{self.directive()} __typename"
        return f"{{ {written} }}"

    def fields(self, kind: GraphQLObjectType, levels: int) -> list[str]:
        rng, found = self.rng, []
        wide = rng.random() < 0.05
        page_like = kind.name.endswith(PAGE_LIKE)
        for name, field in kind.fields.items():
            leaf = is_leaf_type(get_named_type(field.type))
            if f"{kind.name}.{name}" in COMPUTED_FIELDS and rng.random() > self.computed:
                continue
            likely = 0.9 if wide and leaf else 0.35 if leaf else 0.22
            if page_like or kind.name in ("PageInfo", "Money"):
                likely = 0.6
            if rng.random() > likely or (not leaf and levels <= 0):
                continue
            text = self.field(name, field, levels)
            alias = rng.random()
            found.append(
                f"{LONG}{name}: {text}"
                if alias < 0.03
                else f"k{rng.randrange(99)}_{name}: {text}"
                if alias < 0.1
                else text
            )
            if wide and leaf and not field.args:
                found += [f"again_{name}: {name}", f"{LONG}{LONG}{name}: {name}"]
        if rng.random() < 0.1:
            found.append("__typename")
        rng.shuffle(found)
        return found

    def argument(self, name: str, argument: GraphQLArgument) -> str:
        rng, kind = self.rng, get_named_type(argument.type)
        required = isinstance(argument.type, GraphQLNonNull) and not argument.default_value
        match name:
            case "first" | "last":
                few = rng.choice(["0", "1", "2", "3", "5", "20", "$few", "null", "-1" if rng.random() < 0.05 else "4"])
                if isinstance(argument.type, GraphQLNonNull) and few in ("$few", "null"):
                    few = "6"
                return few if rng.random() < (0.8 if name == "first" else 0.15) else ""
            case "after" | "before":
                if not self.cursors or rng.random() > 0.12 or kind.name == "ID":
                    return ""
                return "$after" if rng.random() < 0.2 else f'"{rng.choice(self.cursors)}"'
            case "sort" if rng.random() < 0.1 and self.root == "customers":
                return "$sort"
        if required or name == "id" or rng.random() < 0.4:
            return self.value(name, kind, get_nullable_type(argument.type))
        return ""

    def value(self, name: str, kind: object, whole: object) -> str:
        rng = self.rng
        if isinstance(whole, GraphQLList):
            items = [self.value(name, kind, None) for _ in range(rng.randrange(1, 6))]
            return f"[{', '.join(items)}]"
        if isinstance(kind, GraphQLEnumType):
            return str(rng.choice(list(kind.values)))
        if getattr(kind, "name", "") == "CustomFilter":
            return self._custom()
        if isinstance(kind, GraphQLInputObjectType):
            inside = [
                f"{key}: {self.value(key, get_named_type(found.type), get_nullable_type(found.type))}"
                for key, found in kind.fields.items()
                if rng.random() < 0.25
            ]
            return "{" + ", ".join(inside) + "}"
        assert hasattr(kind, "name")
        match kind.name:
            case "ID":
                return f'"{self._id(name)}"'
            case "Int":
                return str(rng.choice([0, 1, 3, 312_000_000] if name.startswith("from") else [0, 1, 3]))
            case "DateTime":
                return f'"{rng.choice(INSTANTS)}"'
            case "Date":
                return '"2026-01-01"'
            case "Boolean":
                return rng.choice(["true", "false"])
        if name == "collection":
            return rng.choice(['"customers"', '"contacts"'])
        if name == "search" and rng.random() < 0.1:
            return "$found"
        return f'"{rng.choice(SEARCHES if name == "search" else ("vip", "春", "HHLH"))}"'

    def _custom(self) -> str:
        key, (kind, values) = self.rng.choice(list(CUSTOM.items()))
        one = self.rng.choice(values)
        written = orjson.dumps(
            one[0] if isinstance(one, list) and one else "a" if isinstance(one, list) else one
        ).decode()
        tests = [f"in: [{written}]", "isFilled: true", "isFilled: false"]
        if kind in (CustomKind.INT, CustomKind.DATE):
            tests += [f"atLeast: {written}", f"atMost: {written}"]
        return f'{{key: "{key}", {self.rng.choice(tests)}}}'

    def _id(self, name: str) -> str:
        """An id of the kind the argument names, and now and then any other."""
        table = ROOTS.get(self.root) if name == "id" else TABLES.get(name)
        if name == "parentId":
            table = "customer" if self.root == "customers" else "territory"
        known = self.tables.get(table, ()) if table else ()
        return self.rng.choice(known if known and self.rng.random() < 0.9 else self.ids)


NODE_TABLES = {
    "Customer": "customer",
    "CustomerContact": "customer_contact",
    "Contact": "contact",
    "Visit": "visit",
    "Order": "sales_order",
    "Task": "task",
    "Attachment": "attachment",
    "Territory": "territory",
    "Person": "user_account",
    "Season": "season",
    "Style": "style",
    "PriceList": "price_list",
    "CustomField": "custom_field",
}
"""Type of a node → table."""
