"""Rows written as a set stand as rows written one by one would."""

import pytest

from backend.ids import new_id
from backend.storage.batches import Form, handed_over, same_in_all, set_based
from backend.storage.engine import Connection, Engine

UPSERT = (
    "INSERT INTO scope_sum (key, scope, collection, total, live) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET total = excluded.total, live = scope_sum.live + excluded.live"
)
RENAME = "UPDATE scope_sum SET total = ?, live = ? WHERE key = ? AND collection = ?"


async def _all(conn: Connection) -> list[tuple[object, ...]]:
    rows = await conn.fetch("SELECT key, scope, collection, total, live FROM scope_sum WHERE scope = 's' ORDER BY key")
    return [tuple(row) for row in rows]


async def test_new_rows_and_rows_that_are_there_meet_in_one_call(engine: Engine) -> None:
    async with engine.write() as conn:
        await conn.execute_many(UPSERT, [(f"k{n}", "s", "c", "old", n) for n in range(6)])
        await conn.execute_many(UPSERT, [(f"k{n}", "s", "c", "new", 10) for n in range(3, 9)])
        found = await _all(conn)
    assert found == [
        *((f"k{n}", "s", "c", "old", n) for n in range(3)),
        *((f"k{n}", "s", "c", "new", n + 10) for n in range(3, 6)),
        *((f"k{n}", "s", "c", "new", 10) for n in range(6, 9)),
    ]


async def test_rows_of_one_key_are_written_in_their_order(engine: Engine) -> None:
    async with engine.write() as conn:
        await conn.execute_many(UPSERT, [("k", "s", "c", f"t{n}", 1) for n in range(6)])
        assert await _all(conn) == [("k", "s", "c", "t5", 6)]
        await conn.execute_many(RENAME, [(f"u{n}", n, "k", "c") for n in range(6)])
        assert await _all(conn) == [("k", "s", "c", "u5", 5)]


async def test_each_row_meets_its_record_and_no_other(engine: Engine) -> None:
    async with engine.write() as conn:
        await conn.execute_many(UPSERT, [(f"k{n}", "s", "c" if n % 2 else "d", "t", 0) for n in range(8)])
        await conn.execute_many(RENAME, [(f"u{n}", n, f"k{n}", "c") for n in range(12)])
        found = await _all(conn)
    assert found == [(f"k{n}", "s", "c", f"u{n}", n) if n % 2 else (f"k{n}", "s", "d", "t", 0) for n in range(8)]


async def test_null_truth_numbers_and_bytes_arrive_as_they_are(engine: Engine) -> None:
    ids = [new_id() for _ in range(5)]
    rows = [
        (f"x:{one}", "x", one, 2**40 + n, n == 2, 1, "{}", -(2**63) + n, bytes([0, n])) for n, one in enumerate(ids)
    ]
    async with engine.write() as conn:
        await conn.execute_many(
            "INSERT INTO feed (key, collection, record_id, seq, deleted, doc_version, field_seq, digest, document)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        await conn.execute_many(
            "INSERT INTO feed_scope (scope, collection, record_id, entered_seq, left_seq, seq)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [("s", "x", one, 1, None, 1) for one in ids],
        )
        found = await conn.fetch(
            "SELECT key, collection, record_id, seq, deleted, doc_version, field_seq, digest, document FROM feed"
            " WHERE collection = 'x' ORDER BY seq"
        )
        places = await conn.fetch("SELECT record_id FROM feed_scope WHERE scope = 's' AND left_seq IS NULL ORDER BY id")
    assert [(*row[:4], bool(row[4]), *row[5:8], bytes(row[8])) for row in found] == rows
    assert [row[0] for row in places] == ids, "numbers are given in the order of the rows"


async def test_what_all_rows_share_is_written_to_each(engine: Engine) -> None:
    async with engine.write() as conn:
        await conn.execute_many(UPSERT, [(f"k{n:02}", "s", "c", "t", 7) for n in range(40)])
        await conn.execute_many(RENAME, [("u", n, f"k{n:02}", "c") for n in range(30)])
        await conn.execute_many(UPSERT, [(f"k{n:02}", "s", "c", "t", 1) for n in range(20, 50)])
        found = await _all(conn)
    assert found == [
        *((f"k{n:02}", "s", "c", "u", n) for n in range(20)),
        *((f"k{n:02}", "s", "c", "t", n + 1) for n in range(20, 30)),
        *((f"k{n:02}", "s", "c", "t", 8) for n in range(30, 40)),
        *((f"k{n:02}", "s", "c", "t", 1) for n in range(40, 50)),
    ]


async def test_rows_that_are_all_alike_are_written_as_often_as_they_come(engine: Engine) -> None:
    async with engine.write() as conn:
        await conn.execute_many(
            "INSERT INTO feed_scope (scope, collection, record_id, entered_seq, left_seq, seq)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [("s", "x", "r", 1, 2, 2)] * 30,
        )
        assert await conn.fetch("SELECT count(*) FROM feed_scope WHERE scope = 's'") == [(30,)]


async def test_nobody_writes_half(engine: Engine) -> None:
    rows = [(f"k{n}", "s", "c", "t", n) for n in range(5)]
    with pytest.raises(Exception, match=r"(?i)unique"):
        async with engine.write() as conn:
            await conn.execute_many(UPSERT.partition(" ON CONFLICT")[0], [*rows, rows[0]])
    async with engine.read() as conn:
        assert await _all(conn) == []


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        (
            "UPDATE t SET a = ?, b = ? WHERE id = ? AND (c IS NULL OR c < ?)",
            "UPDATE t SET a = u.p1, b = u.p2"
            " FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) u(p1, p2, p3, p4)"
            " WHERE id = u.p3 AND (c IS NULL OR c < u.p4)",
        ),
        (
            "INSERT INTO t (a, b) VALUES (?, ?) ON CONFLICT (a) DO NOTHING",
            "INSERT INTO t (a, b) SELECT u.p1, u.p2 FROM unnest($1::text[], $2::text[]) u(p1, p2)"
            " ON CONFLICT (a) DO NOTHING",
        ),
    ],
)
def test_the_statement_for_many(sql: str, wanted: str) -> None:
    batch = set_based(sql)
    assert batch is not None
    count = sql.count("?")
    assert batch.sql(["text"] * count, [Form.LIST] * count) == wanted


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t (a, b) VALUES (?, 0)",
        "INSERT INTO t VALUES (?, ?)",
        "INSERT INTO t (a) VALUES (?) ON CONFLICT (b) DO UPDATE SET a = excluded.a",
        "INSERT INTO t (a) VALUES (?) ON CONFLICT (a) WHERE b DO UPDATE SET a = excluded.a",
        "UPDATE t SET a = (SELECT x FROM y WHERE k = ? AND l = 1) WHERE id = ?",
        "UPDATE t SET a = ? WHERE b < ?",
        "UPDATE t SET a = ? WHERE b = ? OR c = ?",
        "DELETE FROM t WHERE id = ?",
        "INSERT INTO t (a) VALUES (?) ON CONFLICT (a) DO UPDATE SET b = '{}'",
        "UPDATE t SET a = ?, b = '{}' WHERE id = ?",
    ],
)
def test_what_is_left_to_be_written_row_by_row(sql: str) -> None:
    assert set_based(sql) is None


def test_a_value_that_is_the_same_is_handed_over_once() -> None:
    batch = set_based("UPDATE t SET a = ?, b = ? WHERE id = ?")
    assert batch is not None
    assert batch.sql(["text", "int8", "text"], [Form.SAME, Form.LIST, Form.LIST]) == (
        "UPDATE t SET a = $1::text, b = u.p2 FROM unnest($2::int8[], $3::text[]) u(p2, p3) WHERE id = u.p3"
    )
    assert same_in_all([("a",) * 20, tuple(range(20)), ("x",) * 20]) == (True, False, True)
    assert same_in_all([(*"a" * 9, "b", *"a" * 10), ("x",) * 20]) == (False, True)
    assert same_in_all([("a",) * 20, (1,) * 20]) == (False, True)
    assert same_in_all([("a",) * 19, (1,) * 19]) == (False, False)


def test_texts_are_handed_over_as_one_where_they_can_be_told_apart() -> None:
    types = ["text", "int8", "text", "text", "text"]
    rows = [(f"a{n}", n, f"b\x1f{n}", None if n else "c", "" if n else "d") for n in range(4)]
    forms, values = handed_over(rows, types)
    assert forms == (Form.JOINED, Form.LIST, Form.LIST, Form.LIST, Form.JOINED)
    assert values[0] == "a0\x1fa1\x1fa2\x1fa3"
    assert values[4] == "d\x1f\x1f\x1f"
    batch = set_based("INSERT INTO t (a, b, c, d, e) VALUES (?, ?, ?, ?, ?)")
    assert batch is not None
    assert "unnest(string_to_array($1::text, chr(31)), $2::int8[], $3::text[]," in batch.sql(types, forms)


@pytest.mark.parametrize(
    "texts",
    [
        ["", "", "", ""],
        ["a", "", "b\n", '{"c": "d\\e"}'],
        ["\x1f", "a\x1fb", "", "中,'\"{}"],
        ["NULL", "null", "\\N", " "],
    ],
)
async def test_texts_arrive_as_they_are(engine: Engine, texts: list[str]) -> None:
    async with engine.write() as conn:
        await conn.execute_many(UPSERT, [(f"k{n}", "s", "c", text, n) for n, text in enumerate(texts)])
        assert [row[3] for row in await _all(conn)] == texts
