"""Where free texts of other records name a person: notes and captions, the texts an organisation defined itself, and
what was answered to its forms.

Found as it is written: SQLite compares without regard to case, which is not how a name is written, so that what it
finds is compared once more.
"""

from collections.abc import AsyncIterator, Sequence

import orjson

from backend.domain.answers import VALUES
from backend.domain.custom import CUSTOM, CustomKind
from backend.domain.privacy import TEXTS_SEARCHED
from backend.storage.engine import Connection
from backend.sync.collections import COLLECTIONS, column_of
from backend.sync.custom import custom_fields_of
from backend.sync.documents import canonical

FIELD_MENTIONS_MAX = 50
"""How many records per field are listed."""
_WRITTEN = frozenset({CustomKind.TEXT, CustomKind.LONG_TEXT})
_LEAST_ID = ""


async def texts_naming(
    conn: Connection, collection: str, terms: Sequence[str], *, rows_max: int = FIELD_MENTIONS_MAX
) -> AsyncIterator[tuple[str, list[tuple[str, str]]]]:
    """(field path, [(record id, its text)]) for texts of a collection that hold one of the terms, `rows_max` at once.

    A field with more comes again until none is left, so that whoever changes the texts meets each once.
    """
    declared = COLLECTIONS[collection]
    if not terms:
        return
    for field in TEXTS_SEARCHED.get(collection, ()):
        column = declared.columns.get(field, column_of(field))
        async for rows in _holding(conn, declared.table, column, terms, rows_max):
            found = [(row_id, text) for row_id, text in rows if any(term in text for term in terms)]
            if found:
                yield field, found
    # a map stands as JSON: quotes and backslashes of a term do so too
    written = [orjson.dumps(term).decode()[1:-1] for term in terms]
    for name in (one for one in (CUSTOM, VALUES) if one in declared.columns):
        keys = await _written_keys(conn, collection) if name == CUSTOM else None
        if keys == []:
            continue
        async for rows in _holding(conn, declared.table, declared.columns[name], written, rows_max):
            values = [(row_id, orjson.loads(text)) for row_id, text in rows]
            for key in sorted({key for _, held in values for key in held}) if keys is None else keys:
                told = [(row_id, held[key]) for row_id, held in values if isinstance(held.get(key), str)]
                found = [(row_id, text) for row_id, text in told if any(term in text for term in terms)]
                if found:
                    yield f"{name}.{key}", found


async def _written_keys(conn: Connection, collection: str) -> list[str]:
    """The custom fields of a collection that hold words."""
    return [one.key for one in await custom_fields_of(conn, collection) if one.kind in _WRITTEN]


async def save_text(conn: Connection, collection: str, field: str, record_id: str, text: str) -> None:
    """Put a text where `texts_naming` found one."""
    declared = COLLECTIONS[collection]
    name, _, key = field.partition(".")
    column = declared.columns.get(name, column_of(name))
    if key:
        [(held,)] = await conn.fetch(f"SELECT {column} FROM {declared.table} WHERE id = ? FOR UPDATE", record_id)
        text = canonical({**orjson.loads(held), key: text}).decode()
    await conn.execute(f"UPDATE {declared.table} SET {column} = ? WHERE id = ?", text, record_id)


async def _holding(
    conn: Connection, table: str, column: str, terms: Sequence[str], rows_max: int
) -> AsyncIterator[list[tuple[str, str]]]:
    likes = " OR ".join([f"{column} LIKE ? ESCAPE '!'"] * len(terms))
    after = _LEAST_ID
    while True:
        rows = await conn.fetch(
            f"SELECT id, {column} FROM {table} WHERE id > ? AND ({likes}) ORDER BY id LIMIT {rows_max}",
            after,
            *(f"%{_escaped(term)}%" for term in terms),
        )
        if rows:
            yield [(row[0], row[1]) for row in rows]
        if len(rows) < rows_max:
            return
        after = rows[-1][0]


def _escaped(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
