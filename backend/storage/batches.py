"""Many rows by one statement: what `execute_many` writes row by row, written as a set on PostgreSQL.

A hundred rows cost a hundred executions otherwise, each bound, run and answered by itself. Only statements of two
plain forms are rewritten, and only where the outcome is the same whatever the order of the rows.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

ROWS_MIN = 4
"""Fewer rows are written as quickly one by one."""
SAME_ROWS_MIN = 20
"""With fewer, a statement for each set of values that are the same costs more than it saves."""
TYPES = frozenset({"text", "int4", "int8", "bool", "bytea"})
"""Column types whose values can be handed over as one list each."""

SEPARATOR, SEPARATOR_SQL = "\x1f", "chr(31)"
"""Stands between texts that are handed over as one."""

_INSERT = re.compile(
    r"INSERT INTO (?P<table>\w+) \((?P<columns>[^()]+)\) VALUES \(\?(?:, \?)*\)(?P<rest>[^?]*)", re.DOTALL
)
_CONFLICT = re.compile(r"\s+ON CONFLICT \((?P<columns>[^()]+)\)\s+DO UPDATE\b")
_UPDATE = re.compile(r"UPDATE \w+ SET .+? WHERE \w+ = \?(?= AND |$)", re.DOTALL)


class Form(Enum):
    """How the values of a column are handed over."""

    SAME = 1
    """one for all rows"""
    JOINED = 2
    """texts as one text: the driver looks at each member of a list four times"""
    LIST = 3


@dataclass(frozen=True, slots=True)
class Batch:
    """`before` and `after` stand around the source of the rows; `{p1}`, `{p2}` … in them for the values of a row.

    `distinct`: places of the values that must differ from row to row, else two rows would meet in one record and
    their order would count.
    """

    before: str
    after: str
    distinct: tuple[int, ...] = ()

    def sql(self, types: Sequence[str], forms: Sequence[Form]) -> str:
        """The statement, with one argument per value, in the form of its column."""
        values, lists, names = {}, [], []
        for n, (name, form) in enumerate(zip(types, forms, strict=True), start=1):
            values[f"p{n}"] = f"${n}::{name}" if form is Form.SAME else f"u.p{n}"
            if form is not Form.SAME:
                joined = form is Form.JOINED
                lists.append(f"string_to_array(${n}::text, {SEPARATOR_SQL})" if joined else f"${n}::{name}[]")
                names.append(f"p{n}")
        source = f"unnest({', '.join(lists)}) u({', '.join(names)})"
        return f"{self.before.format_map(values)}{source}{self.after.format_map(values)}"

    def fits(self, rows: Sequence[Sequence[object]]) -> bool:
        """True when these rows come out the same by one statement."""
        if not self.distinct:
            return True
        return len({tuple(row[n] for n in self.distinct) for row in rows}) == len(rows)


def same_in_all(columns: Sequence[tuple[object, ...]]) -> tuple[bool, ...]:
    """Which values are handed over once, because every row has the same; at least one is told row by row."""
    if len(columns[0]) < SAME_ROWS_MIN:
        return (False,) * len(columns)
    # the last is looked at first: most columns are told apart by it
    found = [column[-1] == column[0] and column.count(column[0]) == len(column) for column in columns]
    if all(found):
        found[0] = False
    return tuple(found)


def handed_over(rows: Sequence[Sequence[object]], types: Sequence[str]) -> tuple[tuple[Form, ...], list[object]]:
    """The form of each column, and its values in that form."""
    forms, values = [], list[object]()
    columns = list(zip(*rows, strict=True))
    for name, is_same, column in zip(types, same_in_all(columns), columns, strict=True):
        joined = None if is_same or name != "text" else _joined(column)
        forms.append(Form.SAME if is_same else Form.LIST if joined is None else Form.JOINED)
        values.append(column[0] if is_same else list(column) if joined is None else joined)
    return tuple(forms), values


def _joined(texts: Sequence[object]) -> str | None:
    """Several texts as one; None where they could not be told apart again, or one of them is none."""
    try:
        found = SEPARATOR.join(texts)  # type: ignore[arg-type]
    except TypeError:
        return None
    return found if len(texts) > 1 and found.count(SEPARATOR) == len(texts) - 1 else None


@lru_cache(maxsize=2_000)
def set_based(sql: str) -> Batch | None:
    """How a statement that is run once per row is run once for all; None for one of another form."""
    # braces are ours
    if "{" in sql or "}" in sql:
        return None
    if found := _INSERT.fullmatch(sql):
        return _insert(found)
    # a statement inside the statement has conditions of its own
    if "SELECT" not in sql and (found := _UPDATE.match(sql)):
        return _update(sql, found.end())
    return None


def _insert(found: re.Match[str]) -> Batch | None:
    columns = [name.strip().strip('"') for name in found["columns"].split(",")]
    values = ", ".join(f"{{p{n}}}" for n in range(1, len(columns) + 1))
    before = f"INSERT INTO {found['table']} ({found['columns']}) SELECT {values} FROM "
    conflict = _CONFLICT.match(found["rest"])
    if conflict is None:
        return None if "DO UPDATE" in found["rest"] else Batch(before, found["rest"])
    target = [name.strip().strip('"') for name in conflict["columns"].split(",")]
    if not set(target) <= set(columns):
        return None
    return Batch(before, found["rest"], tuple(columns.index(name) for name in target))


def _update(sql: str, end: int) -> Batch:
    """`end`: where the comparison ends that names the record, and with it the statement's `?` for it."""
    parts = sql.split("?")
    numbered = parts[0] + "".join(f"{{p{n}}}{part}" for n, part in enumerate(parts[1:], start=1))
    record = sql[:end].count("?")
    # the first WHERE is the statement's own: `_UPDATE` takes the shortest
    head, _, condition = numbered.partition(" WHERE ")
    return Batch(f"{head} FROM ", f" WHERE {condition}", (record - 1,))
