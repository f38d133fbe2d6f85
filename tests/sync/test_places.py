"""Places as they are read and put on a page, and shapes as they are told: the rules behind what is done by columns."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from backend.storage.engine import Connection, Engine
from backend.sync import places, pull
from backend.sync.collections import COLLECTIONS
from backend.sync.cursor import Position
from backend.sync.places import Places

SCOPES = ("territory:a", "territory:b")


def _places(rows: Sequence[tuple[str, int, str, str, int | None, object]], document: bytes = b"{}") -> Places:
    """Places of (scope, seq, collection, id, left, stands), each record's row beside them."""
    return Places(*zip(*[(*row, row[1], -row[1], 1, document) for row in rows], strict=True))


def _open(count: int) -> Places:
    return _places(
        [(SCOPES[n % 2], n + 1, ("visits", "tasks")[n % 3 == 0], f"id{n}", None, None) for n in range(count)]
    )


def _taken(found: Places, limit: int, bytes_max: int, *, one_by_one: bool) -> tuple[int, object, int, bool]:
    page = pull._Filler(limit, bytes_max)
    if one_by_one:
        page.put_first = lambda _: 0  # type: ignore[method-assign]
    shapes = dict.fromkeys(found.collections, 1)
    taken = pull._take(found, shapes, dict.fromkeys(SCOPES, 0), {}, page)
    return taken, page.blocks, page.taken, page.full


@pytest.mark.parametrize("limit", [1, 3, 6, 7, 20])
@pytest.mark.parametrize("bytes_max", [0, 1, 2, 9, 12, 13, 14, 1_000])
@pytest.mark.parametrize("one_left", [False, True])
def test_a_page_filled_at_once_is_the_page_filled_row_by_row(limit: int, bytes_max: int, one_left: bool) -> None:
    found = _open(7)
    if one_left:
        found = _places([*zip(*found.columns[:6], strict=True), ("territory:a", 9, "visits", "id9", 9, None)])
    at_once = _taken(found, limit, bytes_max, one_by_one=False)
    assert at_once == _taken(found, limit, bytes_max, one_by_one=True)
    assert at_once[0] >= 1


def test_what_a_client_does_not_know_is_passed_over_also_beside_what_it_knows() -> None:
    page = pull._Filler(10, 1_000)
    found = _open(4)
    assert pull._take(found, {"visits": 1}, dict.fromkeys(SCOPES, 0), {}, page) == 4
    assert {collection for _, collection in page.blocks} == {"visits"}


class _Shuffled:
    """A database that keeps no order where none is promised."""

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self.rows = rows

    async def fetch(self, _sql: str, *_args: object) -> list[tuple[Any, ...]]:
        return self.rows[3:] + self.rows[:3]


async def test_places_stand_in_order_whatever_order_the_database_has_them_in() -> None:
    wanted = _open(7)
    conn = cast(Connection, _Shuffled(list(zip(*wanted.columns, strict=True))))
    found = await places.places_after(conn, Position(0), SCOPES, 10)
    assert list(map(list, found.columns)) == list(map(list, wanted.columns))


async def test_shapes_are_told_of_every_collection(engine: Engine) -> None:
    """Of each its least and its largest, of what is not deleted; nothing of one without records."""
    name = "visits"
    now = COLLECTIONS[name].doc_version
    async with engine.write() as conn:
        for record_id, shape, deleted in (("a", now, False), ("b", now - 1, False), ("c", now + 5, True)):
            await conn.execute(
                "INSERT INTO feed (key, collection, record_id, seq, deleted, doc_version, field_seq, digest, document)"
                " VALUES (?, ?, ?, 1, ?, ?, '{}', 0, ?)",
                f"{name}:{record_id}", name, record_id, deleted, shape, b"{}",
            )  # fmt: skip
    async with engine.read() as conn:
        told = {row[0]: tuple(row[1:]) for row in await conn.fetch(pull._shapes_sql())}
        assert told == {one: (now - 1, now) if one == name else (None, None) for one in COLLECTIONS}
        assert await pull.collections_behind(conn) == {name}
