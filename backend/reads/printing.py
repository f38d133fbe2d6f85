"""How each database writes a value as JSON text. The bytes are the same on both.

Objects and lists are put together as text: keys are literals of any length, nothing has a limit on arguments,
nested answers are never parsed again, and on PostgreSQL it costs two thirds of `json_agg(row_to_json())`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from backend.reads.entities.entity import Kind
from backend.storage.dialects import Dialect

MASK = "•••"


SQLITE_PARSER_MAX = 98
"""SQLite's parser keeps at most 100 things open; `parser_load` counts what it keeps, give or take two."""

_TEXT = re.compile(r"'(?:[^']|'')*'")
_OPENING = re.compile(r"(\w?)\(|\)|\b(?:SELECT|FROM|WHERE|CASE|END)\b")


def parser_load(sql: str) -> int:
    """How much SQLite's parser holds at the deepest point of a statement: brackets and half-read clauses."""
    before, now, most = [1], [1], 0
    for found in _OPENING.finditer(_TEXT.sub("", sql)):
        match found.group(0):
            case ")" | "END":
                before.pop()
                now.pop()
            case "SELECT":
                now[-1] = before[-1] + 3
            case "FROM":
                now[-1] = before[-1] + 5
            case "WHERE":
                now[-1] = before[-1] + 7
            case "CASE":
                before.append(4)
                now.append(4)
            case bracket:
                before.append(3 if bracket == "(" else 4)
                now.append(before[-1])
        most = max(most, sum(now))
    return most


class Printer(Protocol):
    """Expressions over SQL expressions; each gives JSON text and never NULL, unless said otherwise."""

    dialect: Dialect

    def value(self, sql: str, kind: Kind, nullable: bool) -> str: ...

    def gathered(self, sql: str, only: str | None = None) -> str:
        """The texts of all rows that meet `only`, in the order of the rows, as a list."""
        ...

    def without_keys(self, sql: str, keys_sql: str) -> str:
        """A stored map without the keys that a further statement gives."""
        ...

    def hexadecimal(self, sql: str) -> str:
        """Upper-case hexadecimal of the bytes of a text that is never NULL."""
        ...

    def as_bytes(self, sql: str) -> str:
        """The text as bytes, so that nobody decodes it on the way."""
        ...

    def can_run(self, sql: str) -> bool:
        """False where the database would refuse to read so deep a statement."""
        ...


FLAT_PARTS_MAX = 100
"""SQLite takes expressions 1,000 deep; each level of a document adds at most this."""


def joined(parts: Sequence[str]) -> str:
    """`a || b || c`, in brackets only where there are very many."""
    if len(parts) <= FLAT_PARTS_MAX:
        return " || ".join(parts)
    groups = [f"({joined(parts[at : at + FLAT_PARTS_MAX])})" for at in range(0, len(parts), FLAT_PARTS_MAX)]
    return joined(groups)


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def masked(sql: str) -> str:
    """What `domain.permissions.mask_text` gives, in SQL."""
    return f"(substr({sql}, 1, 1) || '{MASK}')"


class SqlitePrinter:
    dialect = Dialect.SQLITE

    def value(self, sql: str, kind: Kind, nullable: bool) -> str:
        match kind:
            case Kind.TIMESTAMP:
                text = (
                    f"'\"' || strftime('%Y-%m-%dT%H:%M:%S', {sql} / 1000, 'unixepoch')"
                    f" || printf('.%03dZ\"', {sql} % 1000)"
                )
                return f"coalesce({text}, 'null')" if nullable else f"({text})"
            case Kind.BOOL:
                return f"CASE {sql} WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE 'null' END"
            case Kind.JSON | Kind.TEXTS:
                return f"coalesce({sql}, 'null')" if nullable else sql
            case _:
                return f"json_quote({sql})"

    def gathered(self, sql: str, only: str | None = None) -> str:
        some = f" FILTER (WHERE {only})" if only else ""
        return f"'[' || coalesce(group_concat({sql}, ','){some}, '') || ']'"

    def without_keys(self, sql: str, keys_sql: str) -> str:
        value = "CASE m.type WHEN 'text' THEN json_quote(m.value) WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' "
        return (
            f"(SELECT '{{' || coalesce(group_concat(json_quote(m.key) || ':' || {value}ELSE m.value END, ','), '')"
            f" || '}}' FROM json_each({sql}) m WHERE m.key NOT IN ({keys_sql}))"
        )

    def hexadecimal(self, sql: str) -> str:
        return f"hex({sql})"

    def as_bytes(self, sql: str) -> str:
        return f"CAST({sql} AS BLOB)"

    def can_run(self, sql: str) -> bool:
        return parser_load(sql) <= SQLITE_PARSER_MAX


class PostgresPrinter:
    dialect = Dialect.POSTGRES

    def value(self, sql: str, kind: Kind, nullable: bool) -> str:
        match kind:
            case Kind.TIMESTAMP:
                # seconds × 10^6 stay below 2^53 until 2255, so the interval is exact
                text = (
                    f"'\"' || to_char(timestamp 'epoch' + ({sql} / 1000) * interval '1 second',"
                    " 'YYYY-MM-DD\"T\"HH24:MI:SS')"
                    f" || '.' || lpad(({sql} % 1000)::text, 3, '0') || 'Z\"'"
                )
            case Kind.INT | Kind.BIGINT | Kind.BOOL:
                text = f"{sql}::text"
            case Kind.JSON | Kind.TEXTS:
                text = sql
            case _:
                text = f"to_json({sql})::text"
        return f"coalesce({text}, 'null')" if nullable else f"({text})"

    def gathered(self, sql: str, only: str | None = None) -> str:
        some = f" FILTER (WHERE {only})" if only else ""
        return f"'[' || coalesce(string_agg({sql}, ','){some}, '') || ']'"

    def without_keys(self, sql: str, keys_sql: str) -> str:
        return (
            "(SELECT '{' || coalesce(string_agg(to_json(m.key)::text || ':' || m.value::text, ',' ORDER BY m.place),"
            f" '') || '}}' FROM json_each({sql}::json) WITH ORDINALITY m(key, value, place)"
            f" WHERE m.key NOT IN ({keys_sql}))"
        )

    def hexadecimal(self, sql: str) -> str:
        return f"upper(encode(convert_to({sql}, 'UTF8'), 'hex'))"

    def as_bytes(self, sql: str) -> str:
        return f"convert_to({sql}, 'UTF8')"

    def can_run(self, sql: str) -> bool:
        return True


PRINTERS: Mapping[Dialect, Printer] = {
    Dialect.SQLITE: SqlitePrinter(),
    Dialect.POSTGRES: PostgresPrinter(),
}
