"""How each database writes a value as JSON text. The bytes are the same on both.

Objects and lists are put together as text: keys are literals of any length, nothing has a limit on arguments,
nested answers are never parsed again, and on PostgreSQL it costs two thirds of `json_agg(row_to_json())`.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from backend.reads.entities import Kind
from backend.storage.dialects import Dialect

MASK = "•••"


class Printer(Protocol):
    """Expressions over SQL expressions; each gives JSON text and never NULL, unless said otherwise."""

    dialect: Dialect

    def value(self, sql: str, kind: Kind, nullable: bool) -> str: ...

    def gathered(self, sql: str, only: str | None = None) -> str:
        """The texts of all rows that meet `only`, in the order of the rows, as a list."""
        ...

    def hexadecimal(self, sql: str) -> str:
        """Upper-case hexadecimal of the bytes of a text that is never NULL."""
        ...

    def as_bytes(self, sql: str) -> str:
        """The text as bytes, so that nobody decodes it on the way."""
        ...


def joined(parts: Sequence[str]) -> str:
    """`a || b || c`, halved again and again: SQLite limits how deep an expression goes."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return f"({joined(parts[:middle])} || {joined(parts[middle:])})"


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
        return f"('[' || coalesce(group_concat({sql}, ','){some}, '') || ']')"

    def hexadecimal(self, sql: str) -> str:
        return f"hex({sql})"

    def as_bytes(self, sql: str) -> str:
        return f"CAST({sql} AS BLOB)"


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
        return f"('[' || coalesce(string_agg({sql}, ','){some}, '') || ']')"

    def hexadecimal(self, sql: str) -> str:
        return f"upper(encode(convert_to({sql}, 'UTF8'), 'hex'))"

    def as_bytes(self, sql: str) -> str:
        return f"convert_to({sql}, 'UTF8')"


PRINTERS: Mapping[Dialect, Printer] = {
    Dialect.SQLITE: SqlitePrinter(),
    Dialect.POSTGRES: PostgresPrinter(),
}
