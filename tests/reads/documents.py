"""Documents drawn over the schema: wide, deep, with aliases, fragments, directives, pages and cursors."""

import random
from collections.abc import Sequence

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

LONG = "a_response_key_that_is_longer_than_postgresql_keeps_of_any_identifier_"
INSTANTS = ("2025-12-30T00:00:00.000Z", "2026-01-01T00:00:00.000Z", "2026-01-03T00:00:00.500Z")
SEARCHES = ("wang", "ww", "王", "ㄱㅁㅅ", "百货", "grace m", "13", "")


class Writer:
    """Writes one document after another; `cursors` are what earlier answers gave."""

    def __init__(self, schema: GraphQLSchema, ids: Sequence[str], seed: int, levels: int = 9) -> None:
        self.schema = schema
        self.ids = ids
        self.rng = random.Random(seed)
        self.levels = levels
        self.cursors: list[str] = []
        self.computed = 0.03

    def document(self, roots: Sequence[str]) -> str:
        assert self.schema.query_type is not None
        self.fragments: list[str] = []
        chosen = [self.rng.choice(roots) for _ in range(self.rng.randrange(1, 4))]
        fields = [
            f"r{number}: {self.field(name, self.schema.query_type.fields[name], self.levels)}"
            for number, name in enumerate(chosen)
        ]
        switches = "__typename @include(if: $yes) @skip(if: $no) x: __typename @include(if: $no)"
        counted = "f: styles(first: $few) { totalCount }"
        head = "query ($yes: Boolean = true, $no: Boolean = false, $few: Int = 2)"
        return "\n".join([head, "{", *fields, switches, counted, "}", *self.fragments])

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
            written = f"... on {kind.name} {{ {written} }}"
        elif draw < 0.1:
            name = f"F{len(self.fragments)}"
            self.fragments.append("")
            self.fragments[int(name[1:])] = f"fragment {name} on {kind.name} {{ {written} }}"
            written = f"...{name} __typename"
        return f"{{ {written} }}"

    def fields(self, kind: GraphQLObjectType, levels: int) -> list[str]:
        rng, found = self.rng, []
        wide = rng.random() < 0.05
        for name, field in kind.fields.items():
            leaf = is_leaf_type(get_named_type(field.type))
            computed = name in {"distanceM", "ageDays"}
            if computed and rng.random() > self.computed:
                continue
            likely = 0.9 if wide and leaf else 0.35 if leaf else 0.22
            if kind.name.endswith(("Connection", "Edge")) or kind.name in ("PageInfo", "Money"):
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
        required = isinstance(argument.type, GraphQLNonNull) and argument.default_value is None
        match name:
            case "first" | "last":
                few = rng.choice(["0", "1", "2", "3", "5", "20", "$few", "null", "-1" if rng.random() < 0.05 else "4"])
                return few if rng.random() < (0.8 if name == "first" else 0.15) else ""
            case "after" | "before":
                if not self.cursors or rng.random() > 0.07:
                    return ""
                return f'"{rng.choice(self.cursors)}"'
        if isinstance(argument.type, GraphQLNonNull) or rng.random() < 0.4:
            return self.value(name, kind, get_nullable_type(argument.type))
        assert not required or isinstance(argument.type, GraphQLNonNull)
        return ""

    def value(self, name: str, kind: object, whole: object) -> str:
        rng = self.rng
        if isinstance(whole, GraphQLList):
            items = [self.value(name, kind, None) for _ in range(rng.randrange(1, 6))]
            return f"[{', '.join(items)}]"
        if isinstance(kind, GraphQLEnumType):
            return str(rng.choice(list(kind.values)))
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
                return f'"{rng.choice(self.ids)}"'
            case "Int":
                return str(rng.choice([0, 1, 3, 312_000_000]))
            case "DateTime":
                return f'"{rng.choice(INSTANTS)}"'
            case "Date":
                return '"2026-01-01"'
            case "Boolean":
                return "true"
        return f'"{rng.choice(SEARCHES if name == "search" else ("vip", "春", "HHLH"))}"'
