"""What the declarations of entities have in common: fields by kind, relations, sort keys, filters."""

from collections.abc import Mapping

from backend.domain.customers import CustomerKind
from backend.reads.entities.entity import Beside, Column, Embedded, Filter, Kind, Many, Order, Relation, SortKey, snake
from backend.reads.selection import SortKind


def by_key_beside(beside: Beside) -> Order:
    """The order of another table's column, the highest first."""
    return Order(number_key(f"coalesce({{a}}s.{beside.column}, {beside.absent})"), descending=True, beside=beside)


def columns(kind: Kind, *names: str, personal: bool = False, **renamed: str) -> tuple[Column, ...]:
    """Fields of one kind, each kept in the column of its name in snake case or as `renamed` says."""
    return tuple(Column(name, kind, renamed.get(name, snake(name)), personal) for name in (*names, *renamed))


def custom_values(collection: str) -> Column:
    return Column("custom", Kind.JSON, "custom", custom_of=collection)


def rev(collection: str, id_column: str = "id") -> Column:
    """`seq` of the record's last change, joined from the feed; 0 before the feed knows the record."""
    sql = f"coalesce((SELECT f.seq FROM feed f WHERE f.key = '{collection}:' || {{a}}.{id_column}), 0)"
    return Column("rev", Kind.BIGINT, id_column, expression=sql)


def money(name: str, column: str) -> Embedded:
    return Embedded(
        name,
        "Money",
        (
            Column("amountMinor", Kind.BIGINT, column),
            Column("currency", Kind.TEXT, "currency"),
        ),
        unless_null=(column, "currency"),
    )


def one(name: str, entity: str, ours: str, theirs: str = "id") -> Relation:
    return Relation(name, entity, Many.ONE, ours, theirs)


def page(name: str, entity: str, theirs: str, order: str, ours: str = "id") -> Relation:
    return Relation(name, entity, Many.PAGE, ours, theirs, order)


def attached_to(collection: str) -> Relation:
    where = (f"on_{collection}",)
    return Relation("attachments", "attachments", Many.PAGE, "id", "record_id", "CREATED_AT", where)


def listing(name: str, entity: str, theirs: str, order: str, ours: str = "id") -> Relation:
    return Relation(name, entity, Many.LIST, ours, theirs, order)


def text_key(sql: str, **more: bool) -> SortKey:
    return SortKey(sql, SortKind.TEXT, **more)


def number_key(sql: str) -> SortKey:
    return SortKey(sql, SortKind.INTEGER)


ID = Kind.ID
NAMES = ("nameZh", "nameKo", "nameEn")
BY_ID = {"id": Filter("{a}.id = ?::text"), "ids": Filter("{a}.id = ANY(?)")}
FOUND, FOUND_SQLITE = "strpos({a}.search_keys, ?::text) > 0", "instr({a}.search_keys, ?) > 0"
PERSONS = ("kind", CustomerKind.CONSUMER.value)
NO_PERSON = f"{{a}}.kind <> '{CustomerKind.CONSUMER.value}'"
CUSTOM_VALUE: Mapping[str, tuple[str, str]] = {
    kind: (
        f"(SELECT CASE json_typeof(h.v) WHEN '{kind}' THEN {value} END"
        " FROM (SELECT {a}.custom::json -> ?::text AS v) h)",
        f"(SELECT CASE json_type(h.v) WHEN '{sqlite}' THEN h.v ->> '$' END FROM (SELECT {{a}}.custom -> ? AS v) h)",
    )
    for kind, value, sqlite in (
        ("number", "(h.v #>> '{}')::bigint", "integer"),
        ("string", "(h.v #>> '{}') COLLATE \"C\"", "text"),
        ("array", "h.v", "array"),
    )
}
"""What a record holds under a key, where it is of this kind as JSON names it: for PostgreSQL, for SQLite. One of
another kind counts as none: a database that is asked to make a number of it would refuse the whole statement."""
_NUMBER, _TEXT, _LIST = CUSTOM_VALUE["number"], CUSTOM_VALUE["string"], CUSTOM_VALUE["array"]
_HELD = "{a}.custom::json -> ?::text"
BY_CUSTOM = {
    "customIn": Filter(f"({_HELD})::text = ANY(?)", "({a}.custom -> ?) = ANY(?)"),
    "customHas": Filter(
        f"EXISTS (SELECT 1 FROM json_array_elements_text({_LIST[0]}) e(value) WHERE e.value = ANY(?))",
        f"EXISTS (SELECT 1 FROM json_each({_LIST[1]}) e WHERE e.value = ANY(?))",
    ),
    "customFilled": Filter(f"({_HELD}) IS NOT NULL", "({a}.custom -> ?) IS NOT NULL"),
    "customEmpty": Filter(f"({_HELD}) IS NULL", "({a}.custom -> ?) IS NULL"),
    "customNumberFrom": Filter(f"{_NUMBER[0]} >= ?::bigint", f"{_NUMBER[1]} >= ?"),
    "customNumberTo": Filter(f"{_NUMBER[0]} <= ?::bigint", f"{_NUMBER[1]} <= ?"),
    "customTextFrom": Filter(f"{_TEXT[0]} >= ?::text", f"{_TEXT[1]} >= ?"),
    "customTextTo": Filter(f"{_TEXT[0]} <= ?::text", f"{_TEXT[1]} <= ?"),
}
"""Conditions on one custom field, as `domain.custom.filter_conditions` names them: its key, then what it is compared
with. The first takes values as JSON texts, so that a number is not a text of the same digits."""


def same(name: str, column: str) -> dict[str, Filter]:
    return {name: Filter(f"{{a}}.{column} = ?::text")}


def among(name: str, column: str) -> dict[str, Filter]:
    return {name: Filter(f"{{a}}.{column} = ANY(?)")}


def between(column: str) -> dict[str, Filter]:
    return {
        "from": Filter(f"{{a}}.{column} >= ?::bigint"),
        "to": Filter(f"{{a}}.{column} < ?::bigint"),
    }
