"""Forms as answers are judged by them."""

from collections.abc import Iterable

import orjson

from backend.domain.forms import Form, form_of
from backend.ids import is_id
from backend.storage.engine import Connection

_COLUMNS = "id, key, version, questions, retired"


async def forms_named(conn: Connection, ids: Iterable[object]) -> dict[str, Form]:
    """Those of the ids that are forms, whichever version and whether retired or not."""
    wanted = sorted({one for one in ids if isinstance(one, str) and is_id(one)})
    if not wanted:
        return {}
    rows = await conn.fetch(f"SELECT {_COLUMNS} FROM form WHERE id = ANY(?)", wanted)
    return {row[0]: _form(row) for row in rows}


async def all_forms(conn: Connection) -> list[Form]:
    """Every version of every form, by key and version."""
    return [_form(row) for row in await conn.fetch(f"SELECT {_COLUMNS} FROM form ORDER BY key, version")]


def _form(row: tuple[str, str, int, str, bool]) -> Form:
    names = ("id", "key", "version", "questions", "retired")
    return form_of({**dict(zip(names, row, strict=True)), "questions": orjson.loads(row[3])})
