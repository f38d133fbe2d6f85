"""Order history taken over: by row, by batch, by chunk, and taken back."""

import asyncio
import csv
import datetime
import io
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import orjson
import pytest
import xlsxwriter

from backend.auth.principal import Principal, PrincipalKind, Role
from backend.config import Settings
from backend.domain.imports import ImportState, KeptReason
from backend.domain.territories import Move
from backend.errors import Code, Refused
from backend.ids import new_id
from backend.integrations.tables import Table, read_table
from backend.storage.engine import Connection, Engine, open_engine
from backend.sync.changes import Status
from backend.sync.collections import COLLECTIONS
from backend.sync.documents import read_documents
from backend.sync.feed import DIGEST_MODULUS, digest_of, places_of
from backend.sync.pull import PullRequest, pull
from backend.sync.work import Door, Work
from backend.usecases.customers import change_customers
from backend.usecases.imports.orders import (
    ImportReport,
    Progress,
    import_orders,
    importer,
    list_imports,
    read_failed,
    read_import,
)
from backend.usecases.imports.undo import UndoReport, undo_import
from backend.usecases.imports.wishes import ImportWish
from backend.usecases.people import create_user
from backend.usecases.tasks import change_tasks
from backend.usecases.territories import grant_territory, move_customers
from backend.usecases.visits import change_visits
from tests import factories
from tests.house import NOON_MS, House, create, patch
from tests.papers.cdnow import data_folder

SETTINGS = Settings(import_chunk_rows=3)
HEADER = "customer_code,order_date,units,net_amount_usd"
HISTORY = f"""{HEADER}
C1,1997-01-01,2,29.33
C1,1997-01-18,2,29.73
C2,1997-01-02,1,0
C1,1997-01-18,1,14.96
C3,1997-03-05,4,10.01
C2,1997-02-01,1,5.00
C4,1997-02-02,1,7.5
"""
WISH = ImportWish("history.csv", "cdnow", currency="USD", kind="CONSUMER", territory="/cn/north")
WRITTEN = (
    "customer", "sales_order", "order_line", "external_id", "import_batch", "import_row", "feed", "feed_scope",
    "audit_entry", "territory_assignment",
)  # fmt: skip


def table(text: str | bytes) -> Table:
    return read_table(io.BytesIO(text.encode() if isinstance(text, str) else text), bytes_max=10_000_000)


def history(*rows: str, header: str = HEADER) -> str:
    return "\n".join((header, *rows)) + "\n"


async def run(
    house: House,
    text: str | bytes,
    wish: ImportWish = WISH,
    *,
    who: str = "manager",
    engine: Engine | None = None,
    settings: Settings = SETTINGS,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    return await import_orders(
        engine or house.engine,
        house.people[who],
        table(text),
        wish,
        settings=settings,
        clock=lambda: house.now_ms,
        failed_max=1_000,
        dry_run=dry_run,
        progress=progress,
    )


async def undo(house: House, batch_id: str, *, who: str = "manager", engine: Engine | None = None) -> UndoReport:
    return await undo_import(
        engine or house.engine, house.people[who], batch_id, settings=SETTINGS, clock=lambda: house.now_ms
    )


def batch_id(report: ImportReport) -> str:
    assert report.batch is not None
    return report.batch.id


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    """(orders created, unchanged, failed, customers created)"""
    return report.orders_created, report.rows_unchanged, report.rows_failed, report.customers_created


def failures(report: ImportReport) -> dict[int, set[tuple[Code, tuple[str, ...]]]]:
    return {row.number: {(p.code, p.path) for p in row.problems} for row in report.failed}


async def fetch(house: House, sql: str, *args: object) -> list[tuple[Any, ...]]:
    async with house.engine.read() as conn:
        return [tuple(row) for row in await conn.fetch(sql, *args)]


async def written(house: House) -> dict[str, int]:
    return {name: (await fetch(house, f"SELECT count(*) FROM {name}"))[0][0] for name in WRITTEN}


async def orders(house: House) -> list[tuple[Any, ...]]:
    return await fetch(
        house,
        "SELECT c.code, o.ordered_on, o.units, o.total_minor, o.currency FROM sales_order o"
        " JOIN customer c ON c.id = o.customer_id ORDER BY c.code, o.ordered_on, o.total_minor",
    )


async def customer_id(house: House, code: str) -> str:
    [(found,)] = await fetch(house, "SELECT id FROM customer WHERE code = ?", code)
    return str(found)


async def order_id(house: House, external: str) -> str:
    [(found,)] = await fetch(house, "SELECT record_id FROM external_id WHERE external = ?", external)
    return str(found)


async def refused(house: House, text: str | bytes, wish: ImportWish = WISH, *, who: str = "manager") -> Any:
    """The problems of a file refused as a whole, after a look that nothing at all was written."""
    before = await written(house)
    with pytest.raises(Refused) as answer:
        await run(house, text, wish, who=who)
    assert await written(house) == before
    return {(problem.code, problem.path) for problem in answer.value.problems}


async def pulled(house: House, who: str) -> dict[str, dict[str, dict[str, Any]]]:
    """What a device of theirs holds after a first sync: collection → id → document."""
    held: dict[str, dict[str, dict[str, Any]]] = {}
    cursor, complete = None, False
    while not complete:
        async with house.engine.read() as conn:
            request = PullRequest(cursor, 100)
            page = await pull(conn, house.people[who], request, secret=b"a secret", bytes_max=100_000)
        for block in page.blocks:
            rows = held.setdefault(block.collection, {})
            rows.update({row.record_id: orjson.loads(row.document) for row in block.rows})
        cursor, complete = page.cursor, page.complete
    return held


async def assert_feed_is_the_tables(engine: Engine) -> None:
    """Every document, place and checksum of customers and orders is what the tables say now."""
    async with engine.read() as conn:
        for name in ("customers", "orders"):
            ids = [row[0] for row in await conn.fetch(f"SELECT id FROM {COLLECTIONS[name].table}")]
            documents = await read_documents(conn, COLLECTIONS[name], ids)
            feed = await conn.fetch("SELECT record_id, document, digest, deleted FROM feed WHERE collection = ?", name)
            assert {row[0]: bytes(row[1]) for row in feed if not row[3]} == documents
            assert all(row[2] == digest_of(documents[row[0]]) for row in feed if not row[3])
            places = await places_of(conn, name, ids)
            standing = await conn.fetch(
                "SELECT record_id, scope FROM feed_scope WHERE collection = ? AND left_seq IS NULL", name
            )
            assert {(row[0], row[1]) for row in standing} == {(one, scope) for one in places for scope in places[one]}
            sums: Counter[str] = Counter()
            live: Counter[str] = Counter()
            for record_id, scope in standing:
                sums[scope] += digest_of(documents[record_id])
                live[scope] += 1
            for scope, total, count in await conn.fetch(
                "SELECT scope, total, live FROM scope_sum WHERE collection = ?", name
            ):
                assert (int(total, 16), count) == (sums[scope] % DIGEST_MODULUS, live[scope])


class Killed(Exception):
    """The process died."""


def dying(engine: Engine, nth: int) -> Engine:
    """An engine whose process dies in its nth writing transaction, before the commit."""
    return cast(Engine, Dying(engine, nth))


class Dying:
    def __init__(self, engine: Engine, nth: int) -> None:
        self.inner, self.left = engine, nth

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Connection]:
        async with self.inner.write() as conn:
            yield conn
            self.left -= 1
            if self.left <= 0:
                raise Killed


@pytest.mark.requirement("R11")
async def test_a_history_becomes_customers_and_orders_that_the_rep_of_the_territory_holds(house: House) -> None:
    report = await run(house, HISTORY)
    assert counts(report) == (7, 0, 0, 4)
    assert report.batch is not None
    assert (report.batch.state, report.batch.finished_at, report.repeated) == (ImportState.DONE, NOON_MS, False)
    assert await orders(house) == [
        ("C1", "1997-01-01", 2, 2933, "USD"),
        ("C1", "1997-01-18", 1, 1496, "USD"),
        ("C1", "1997-01-18", 2, 2973, "USD"),
        ("C2", "1997-01-02", 1, 0, "USD"),
        ("C2", "1997-02-01", 1, 500, "USD"),
        ("C3", "1997-03-05", 4, 1001, "USD"),
        ("C4", "1997-02-02", 1, 750, "USD"),
    ]
    await assert_feed_is_the_tables(house.engine)
    held = await pulled(house, "wei")
    assert len(held["customers"]) == 4
    assert len(held["orders"]) == 7
    order = held["orders"][await order_id(house, "C1/1997-01-01/1")]
    assert {name: order[name] for name in ("state", "source", "repId", "totalMinor", "units", "orderedOn")} == {
        "state": "DELIVERED", "source": "IMPORT", "repId": None, "totalMinor": 2933, "units": 2,
        "orderedOn": "1997-01-01",
    }  # fmt: skip
    [line] = order["lines"]
    assert (line["cells"], line["units"], line["totalMinor"], line["styleId"]) == ({"-": 2}, 2, 2933, None)
    customer = held["customers"][await customer_id(house, "C1")]
    assert {name: customer[name] for name in ("code", "nameEn", "kind", "stage", "territoryId", "timezone")} == {
        "code": "C1", "nameEn": "C1", "kind": "CONSUMER", "stage": "NEW", "territoryId": house.patches["north"],
        "timezone": "Asia/Shanghai",
    }  # fmt: skip
    assert customer["searchKeys"] == "c1"
    assert customer["customerSince"] == "1997-01-01"
    assert customer["lastOrderAt"] == "1997-01-18T04:00:00.000Z"
    theirs = await pulled(house, "na")
    assert "orders" not in theirs
    assert "customers" not in theirs


async def test_a_new_customer_belongs_to_its_territory_from_now_on(house: House) -> None:
    await run(house, HISTORY)
    rows = await fetch(
        house, "SELECT customer_id, territory_id, valid_from, valid_to, source FROM territory_assignment"
    )
    assert {row[0] for row in rows} == {row[0] for row in await fetch(house, "SELECT id FROM customer")}
    assert {row[1:] for row in rows} == {(house.patches["north"], NOON_MS, None, "IMPORT")}


async def test_one_bad_row_never_stops_the_rest(house: House) -> None:
    text = history(
        "C1,1997-01-01,2,29.33",
        "C1,1997-01-02,-2,29.33",
        ",x,1,-5",
        "C2,2126-01-01,1,1",
        "C3,1997-01-01,1,1",
        "C4,1997-01-01,1,1,extra",
        "C5,1997-01-01,1,99999999999999999",
    )
    report = await run(house, text)
    assert counts(report) == (2, 0, 5, 2)
    assert failures(report) == {
        3: {(Code.OUT_OF_RANGE, ("units",))},
        4: {
            (Code.REQUIRED, ("customerCode",)),
            (Code.INVALID_VALUE, ("orderedOn",)),
            (Code.OUT_OF_RANGE, ("netAmount",)),
        },
        5: {(Code.IN_THE_FUTURE, ("orderedOn",))},
        7: {(Code.TOO_MANY, ("columns",))},
        8: {(Code.OUT_OF_RANGE, ("netAmount",))},
    }
    assert [row[0] for row in await orders(house)] == ["C1", "C3"]
    # a customer only bad rows name is not made
    assert await fetch(house, "SELECT code FROM customer ORDER BY code") == [("C1",), ("C3",)]
    await assert_feed_is_the_tables(house.engine)


async def test_rows_of_another_currency_and_of_one_order_id_fail_alone(house: House) -> None:
    header = "customer_code,order_date,order_id,net_amount,currency"
    text = history("C1,1997-01-01,A,1.00,USD", "C1,1997-01-02,B,1000,KRW", "C1,1997-01-03,A,2.00,USD", header=header)
    report = await run(house, text, replace(WISH, currency=None))
    assert counts(report) == (1, 0, 2, 1)
    assert failures(report) == {
        3: {(Code.CURRENCY_MIXED, ("currency",))},
        4: {(Code.DUPLICATE_EXTERNAL_ID, ("orderId",))},
    }
    [(number,)] = await fetch(house, "SELECT number FROM sales_order")
    assert number == "A"


@pytest.mark.parametrize(
    ("content", "code", "path"),
    [
        (b"", Code.EMPTY_FILE, ("content",)),
        (f"{HEADER}\n".encode(), Code.EMPTY_FILE, ("content",)),
        (HISTORY.encode() + b"C\xff,1997-01-01,1,1\n", Code.NOT_UTF8, ("content", "rows", "8")),
        (HISTORY.encode() + b'C5,"1997-01-01,1,1\n', Code.INVALID_VALUE, ("content", "rows", "8")),
    ],
)
async def test_a_file_that_cannot_be_read_writes_nothing(
    house: House, content: bytes, code: Code, path: tuple[str, ...]
) -> None:
    assert await refused(house, content) == {(code, path)}


async def test_a_wish_that_cannot_be_met_writes_nothing_and_tells_all_at_once(house: House) -> None:
    wish = ImportWish("x", "a b", {"customerCode": "nope", "price": "units"}, kind="SHOP", territory="/cn/nowhere")
    assert await refused(house, HISTORY, wish) == {
        (Code.UNKNOWN_COLUMN, ("map", "customerCode")),
        (Code.UNKNOWN_COLUMN, ("map", "price")),
        (Code.INVALID_VALUE, ("system",)),
        (Code.REQUIRED, ("currency",)),
        (Code.NOT_ALLOWED_VALUE, ("kind",)),
        (Code.NOT_FOUND, ("territory",)),
    }
    assert await refused(house, "a,b\n1,2\n") == {
        (Code.REQUIRED, ("map", name)) for name in ("customerCode", "orderedOn", "netAmount")
    }


async def test_customers_go_into_a_patch_the_importer_holds(house: House) -> None:
    await _second_manager(house)
    assert await refused(house, HISTORY, WISH, who="southern") == {(Code.NOT_FOUND, ("territory",))}
    assert await refused(house, HISTORY, replace(WISH, territory="/cn")) == {(Code.NOT_ALLOWED_VALUE, ("territory",))}
    # the only patch held needs no naming
    report = await run(house, HISTORY, replace(WISH, territory=None), who="southern")
    assert counts(report) == (7, 0, 0, 4)
    assert await fetch(house, "SELECT DISTINCT territory_id FROM customer") == [(house.patches["south"],)]


async def test_without_a_territory_a_customer_waits_where_the_root_sees_it(house: House) -> None:
    await run(house, HISTORY, replace(WISH, territory=None))
    assert await fetch(house, "SELECT DISTINCT territory_id FROM sales_order") == [(None,)]
    assert len((await pulled(house, "manager"))["orders"]) == 7
    assert "orders" not in await pulled(house, "wei")


async def test_rows_may_name_their_territory(house: House) -> None:
    header = "customer_code,order_date,net_amount,territory"
    text = history("C1,1997-01-01,1,/cn/south", "C2,1997-01-01,1,", "C3,1997-01-01,1,/cn/west", header=header)
    report = await run(house, text)
    assert failures(report) == {4: {(Code.NOT_FOUND, ("territory",))}}
    assert dict(await fetch(house, "SELECT code, territory_id FROM customer")) == {
        "C1": house.patches["south"],
        "C2": house.patches["north"],
    }


@pytest.mark.parametrize("who", ["wei", "agent", "analyst"])
async def test_only_who_may_import_does(house: House, who: str) -> None:
    assert await refused(house, HISTORY, who=who) == {(Code.NOT_PERMITTED, ())}
    report = await run(house, HISTORY)
    with pytest.raises(Refused, match="NOT_PERMITTED"):
        await undo(house, batch_id(report), who=who)


async def _second_manager(house: House) -> None:
    """A manager of the south alone."""

    async def build(work: Work) -> None:
        user_id = await create_user(
            work, email="southern@haizhi.example", name="southern", role="MANAGER", password_hash="none"
        )
        device_id = new_id()
        await factories.device(work.conn, user_id=user_id, id=device_id)
        house.people["southern"] = Principal(
            PrincipalKind.STAFF, user_id=user_id, device_id=device_id, role=Role.MANAGER
        )
        await grant_territory(work, user_id, house.patches["south"])

    await house.work("system", build, door=Door.JOB)


async def test_a_customer_of_another_territory_is_not_found(house: House) -> None:
    await _second_manager(house)
    await run(house, HISTORY)
    more = history("C1,1998-01-01,1,1.00", "C9,1998-01-01,1,1.00")
    report = await run(house, more, replace(WISH, territory="/cn/south"), who="southern")
    assert failures(report) == {2: {(Code.NOT_FOUND, ("customerCode",))}}
    assert counts(report) == (1, 0, 1, 1)


async def test_the_same_batch_is_answered_again_without_work(house: House) -> None:
    text = HISTORY + "C9,,1,1\n"
    first = await run(house, text)
    before = await written(house)
    house.now_ms += 60_000
    again = await run(house, text, replace(WISH, file_name="renamed.csv"))
    assert again == replace(first, repeated=True)
    assert failures(again) == {9: {(Code.REQUIRED, ("orderedOn",))}}
    assert await written(house) == before


async def test_the_same_orders_in_another_file_are_unchanged(house: House) -> None:
    await run(house, HISTORY)
    clock = await fetch(house, "SELECT seq FROM sync_clock")
    longer = HISTORY + "C1,1999-01-01,1,3.00\n"
    report = await run(house, longer)
    assert counts(report) == (1, 7, 0, 0)
    last = await fetch(house, "SELECT customer_since, last_order_at FROM customer WHERE code = 'C1'")
    assert last == [("1997-01-01", _ms("1999-01-01T04:00:00+00:00"))]
    # only the chunk that had something new reached the feed
    assert (await fetch(house, "SELECT seq FROM sync_clock"))[0][0] == clock[0][0] + 1
    await assert_feed_is_the_tables(house.engine)


def _ms(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).timestamp() * 1_000)


@pytest.mark.parametrize("row", ["C1,1997-01-01,2,29.34", "C1,1997-01-01,3,29.33"])
async def test_an_order_that_came_with_other_content_stays_as_it_was(house: House, row: str) -> None:
    await run(house, HISTORY)
    report = await run(house, history(row, "C8,1997-01-01,1,1"))
    assert failures(report) == {2: {(Code.ID_TAKEN, ("orderId",))}}
    assert counts(report) == (1, 0, 1, 1)
    assert await house.row("sales_order", await order_id(house, "C1/1997-01-01/1"), "total_minor", "units") == (2933, 2)


async def test_an_order_id_taken_by_another_customer_is_refused(house: House) -> None:
    header = "customer_code,order_date,order_id,net_amount"
    await run(house, history("C1,1997-01-01,A,1.00", header=header))
    report = await run(house, history("C2,1997-01-01,A,1.00", header=header))
    assert failures(report) == {2: {(Code.ID_TAKEN, ("orderId",))}}
    # and C2, whom no order brings, is not made
    assert await fetch(house, "SELECT code FROM customer") == [("C1",)]


async def test_ids_of_two_systems_do_not_meet(house: House) -> None:
    await run(house, HISTORY)
    report = await run(house, HISTORY, replace(WISH, system="pos"))
    assert counts(report) == (7, 0, 0, 4)


async def test_a_spreadsheet_and_a_csv_of_the_same_rows_are_the_same_orders(house: House) -> None:
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file, {"in_memory": True, "default_date_format": "yyyy-mm-dd"})
    sheet = book.add_worksheet()
    header, *lines = csv.reader(io.StringIO(HISTORY))
    sheet.write_row(0, 0, header)
    for at, (code, day, units, amount) in enumerate(lines, start=1):
        sheet.write_string(at, 0, code)
        sheet.write_datetime(at, 1, datetime.date.fromisoformat(day))
        sheet.write_number(at, 2, int(units))
        sheet.write_number(at, 3, float(amount))
    book.close()
    assert counts(await run(house, file.getvalue())) == (7, 0, 0, 4)
    assert counts(await run(house, HISTORY)) == (0, 7, 0, 0)


async def test_a_dry_run_says_what_would_happen_and_writes_nothing(house: House) -> None:
    await run(house, history("C1,1997-01-01,2,29.33", "C2,1997-01-02,1,9"))
    before = await written(house)
    text = HISTORY + "C5,x,1,1\nC6,1997-01-01,1,1\nC6,1997-01-02,1,1\n"
    told: list[tuple[int, int]] = []
    rehearsed = await run(house, text, dry_run=True, progress=lambda done, total: told.append((done, total)))
    assert rehearsed.batch is None
    assert await written(house) == before
    real = await run(house, text)
    assert counts(rehearsed) == counts(real) == (7, 1, 2, 3)
    assert rehearsed.failed == real.failed
    assert failures(real) == {4: {(Code.ID_TAKEN, ("orderId",))}, 9: {(Code.INVALID_VALUE, ("orderedOn",))}}
    assert told == [(3, 10), (6, 10), (9, 10), (10, 10)]


async def test_a_run_that_was_killed_goes_on_where_it_stopped(house: House) -> None:
    text = HISTORY + "C5,x,1,1\nC6,1997-01-01,1,1\n"
    house_alone = await written(house)
    with pytest.raises(Killed):
        # the batch, two chunks, and death in the third
        await run(house, text, engine=dying(house.engine, 4))
    rows = await fetch(house, "SELECT state, rows_created, rows_failed FROM import_batch")
    assert rows == [("RUNNING", 6, 0)]
    assert len(await orders(house)) == 6
    await assert_feed_is_the_tables(house.engine)
    told: list[tuple[int, int]] = []
    report = await run(house, text, progress=lambda done, total: told.append((done, total)))
    assert told == [(6, 9), (9, 9)]
    assert counts(report) == (8, 0, 1, 5)
    assert failures(report) == {9: {(Code.INVALID_VALUE, ("orderedOn",))}}
    assert (await written(house))["sales_order"] == house_alone["sales_order"] + 8
    assert len(await fetch(house, "SELECT DISTINCT external FROM external_id")) == 8 + 5
    await assert_feed_is_the_tables(house.engine)


async def test_a_process_killed_after_its_commit_loses_and_doubles_nothing(house: House) -> None:
    def die(done: int, _total: int) -> None:
        if done == 6:
            raise Killed

    with pytest.raises(Killed):
        await run(house, HISTORY, progress=die)
    report = await run(house, HISTORY, settings=Settings(import_chunk_rows=2))
    assert counts(report) == (7, 0, 0, 4)
    assert len(await orders(house)) == 7


class Interrupted:
    """An engine whose nth writing transaction waits for something else to happen first."""

    def __init__(self, engine: Engine, nth: int, first: Callable[[], Awaitable[None]]) -> None:
        self.inner, self.left, self.first = engine, nth, first

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Connection]:
        self.left -= 1
        if self.left == 0:
            await self.first()
        async with self.inner.write() as conn:
            yield conn


async def test_rows_somebody_else_did_meanwhile_are_left_out_of_a_chunk(house: House) -> None:
    async def two_rows_more() -> None:
        with pytest.raises(Killed):
            await run(house, HISTORY, engine=dying(house.engine, 3), settings=Settings(import_chunk_rows=2))
        assert await fetch(house, "SELECT rows_created, rows_unchanged FROM import_batch") == [(5, 0)]

    # the batch, the first three rows, and before the next three somebody does two of them
    engine = cast(Engine, Interrupted(house.engine, 3, two_rows_more))
    report = await run(house, HISTORY, engine=engine)
    assert counts(report) == (7, 0, 0, 4)
    assert len(await orders(house)) == 7


async def test_a_batch_that_is_undone_meanwhile_takes_no_more_rows(house: House) -> None:
    async def undo_it() -> None:
        [(begun,)] = await fetch(house, "SELECT id FROM import_batch")
        await undo(house, begun)

    engine = cast(Engine, Interrupted(house.engine, 3, undo_it))
    with pytest.raises(Refused, match="NOT_EDITABLE"):
        await run(house, HISTORY, engine=engine)
    assert await orders(house) == []
    await assert_feed_is_the_tables(house.engine)


async def test_two_who_import_the_same_file_at_once_import_it_once(house: House, database_url: str) -> None:
    other = open_engine(database_url)
    await other.start()
    try:
        reports = await asyncio.gather(
            run(house, HISTORY), run(house, HISTORY, engine=other, settings=Settings(import_chunk_rows=2))
        )
    finally:
        await other.close()
    assert len({batch_id(report) for report in reports}) == 1
    assert len(await orders(house)) == 7
    [(state, done)] = await fetch(house, "SELECT state, rows_created FROM import_batch")
    assert (state, done) == ("DONE", 7)
    await assert_feed_is_the_tables(house.engine)


async def test_two_files_that_name_the_same_customers_at_once_make_each_once(house: House, database_url: str) -> None:
    header = "customer_code,order_date,order_id,net_amount"
    days = [f"1997-01-{day:02d}" for day in range(1, 29)]
    left = history(*(f"C{n % 7},{day},L{n},1.00" for n, day in enumerate(days)), header=header)
    right = history(*(f"C{n % 7},{day},R{n},2.00" for n, day in enumerate(reversed(days))), header=header)
    patient = Settings(import_chunk_rows=3, write_retries_max=10)
    other = open_engine(database_url)
    await other.start()
    try:
        reports = await asyncio.gather(
            run(house, left, settings=patient), run(house, right, engine=other, settings=patient)
        )
    finally:
        await other.close()
    assert [report.orders_created for report in reports] == [28, 28]
    assert sum(report.customers_created for report in reports) == 7
    assert len(await fetch(house, "SELECT id FROM customer")) == 7
    bounds = await fetch(house, "SELECT DISTINCT customer_since FROM customer WHERE code = 'C0'")
    assert bounds == [("1997-01-01",)]
    await assert_feed_is_the_tables(house.engine)


async def test_a_day_is_judged_where_the_customer_is(house: House) -> None:
    # 2026-11-22 noon in Shanghai is the evening of the 21st in New York
    header = "customer_code,order_date,net_amount,timezone"
    text = history("C1,2026-11-22,1,America/New_York", "C2,2026-11-22,1,", "C3,2026-11-23,1,", header=header)
    report = await run(house, text)
    assert failures(report) == {
        2: {(Code.IN_THE_FUTURE, ("orderedOn",))},
        4: {(Code.IN_THE_FUTURE, ("orderedOn",))},
    }
    assert await fetch(house, "SELECT ordered_on, ordered_at FROM sales_order") == [("2026-11-22", NOON_MS)]
    # an existing customer's own zone holds, whatever the row says
    await run(house, history("C4,2026-11-20,1,America/New_York", header=header))
    late = await run(house, history("C4,2026-11-22,1,", header=header))
    assert failures(late) == {2: {(Code.IN_THE_FUTURE, ("orderedOn",))}}


async def test_a_time_of_day_is_kept_and_compared(house: House) -> None:
    await run(house, history("C1,1997-01-01T18:30,1,1"))
    assert await fetch(house, "SELECT ordered_at FROM sales_order") == [(_ms("1997-01-01T10:30:00+00:00"),)]
    assert counts(await run(house, history("C1,1997-01-01,1,1.0"))) == (0, 1, 0, 0)
    assert failures(await run(house, history("C1,1997-01-01T18:31,1,1"))) == {2: {(Code.ID_TAKEN, ("orderId",))}}


async def _shop(house: House, **fields: object) -> str:
    shop_id = new_id()
    wanted = {"nameZh": "北辰百货", "kind": "RETAILER", "code": "C1", **fields}
    [outcome] = await house.change("wei", change_customers, create(shop_id, wanted))
    assert outcome.status is Status.APPLIED, outcome.problems
    return shop_id


async def test_customers_of_ours_are_found_by_code_when_asked(house: House) -> None:
    shop = await _shop(house)
    report = await run(house, HISTORY, replace(WISH, match_codes=True))
    assert counts(report) == (7, 0, 0, 3)
    [(since, last, name)] = await fetch(
        house, "SELECT customer_since, last_order_at, name_zh FROM customer WHERE id = ?", shop
    )
    assert (since, last, name) == ("1997-01-01", _ms("1997-01-18T04:00:00+00:00"), "北辰百货")
    await assert_feed_is_the_tables(house.engine)
    # now the system's code is known, asked or not
    assert (await run(house, history("C1,1999-01-01,1,1"))).customers_created == 0
    assert len(await fetch(house, "SELECT id FROM sales_order WHERE customer_id = ?", shop)) == 4


async def test_a_code_of_ours_that_two_customers_have_is_nobodys(house: House) -> None:
    await _shop(house)
    await _shop(house)
    report = await run(house, history("C1,1997-01-01,1,1"), replace(WISH, match_codes=True))
    assert failures(report) == {2: {(Code.DUPLICATE_EXTERNAL_ID, ("customerCode",))}}


async def test_a_first_day_a_person_gave_is_not_changed(house: House) -> None:
    shop = await _shop(house, customerSince="2020-05-05")
    await run(house, HISTORY, replace(WISH, match_codes=True))
    assert await house.row("customer", shop, "customer_since") == ("2020-05-05",)


async def test_a_first_day_follows_when_older_history_comes_later(house: House) -> None:
    await run(house, HISTORY)
    await run(house, history("C1,1995-05-05,1,1"))
    shop = await customer_id(house, "C1")
    assert await house.row("customer", shop, "customer_since", "last_order_at") == (
        "1995-05-05",
        _ms("1997-01-18T04:00:00+00:00"),
    )
    await assert_feed_is_the_tables(house.engine)


async def test_a_customer_deleted_since_is_made_anew_by_its_next_orders(house: House) -> None:
    report = await run(house, history("C1,1997-01-01,1,1"))
    await fetch(house, "SELECT 1")
    shop = await customer_id(house, "C1")

    async def forget(work: Work) -> None:
        await work.conn.execute("DELETE FROM order_line")
        await work.conn.execute("DELETE FROM sales_order")
        await work.conn.execute("DELETE FROM customer WHERE id = ?", shop)

    await house.work("system", forget, door=Door.JOB)
    assert batch_id(report)
    again = await run(house, history("C1,1997-01-01,1,1", "C1,1997-02-01,1,1"))
    assert counts(again) == (2, 0, 0, 1)
    assert await customer_id(house, "C1") != shop


async def test_undoing_takes_back_what_the_batch_made_and_devices_learn_it(house: House) -> None:
    report = await run(house, HISTORY)
    undone = await undo(house, batch_id(report))
    assert (undone.orders_deleted, undone.customers_deleted, undone.kept) == (7, 4, ())
    assert (undone.batch.state, undone.batch.undone_at) == (ImportState.UNDONE, NOON_MS)
    for name in ("customer", "sales_order", "order_line", "external_id"):
        assert (await written(house))[name] == 0, name
    assert await fetch(house, "SELECT count(*) FROM territory_assignment WHERE valid_to IS NULL") == [(0,)]
    tombstones = await fetch(house, "SELECT collection, count(*) FROM feed WHERE deleted GROUP BY collection")
    assert dict(tombstones) == {"customers": 4, "orders": 7}
    await assert_feed_is_the_tables(house.engine)
    assert "orders" not in await pulled(house, "wei")
    # the same file may come again, as a batch of its own
    again = await run(house, HISTORY)
    assert counts(again) == (7, 0, 0, 4)
    assert batch_id(again) != batch_id(report)


async def test_a_device_that_was_up_to_date_gets_removals_after_an_undo(house: House) -> None:
    report = await run(house, HISTORY)
    secret = b"a secret"
    async with house.engine.read() as conn:
        page = await pull(conn, house.people["wei"], PullRequest(None, 1_000), secret=secret, bytes_max=1_000_000)
    await undo(house, batch_id(report))
    async with house.engine.read() as conn:
        request = PullRequest(page.cursor, 1_000)
        delta = await pull(conn, house.people["wei"], request, secret=secret, bytes_max=1_000_000)
    left = {block.collection: len(block.left) for block in delta.blocks}
    assert left == {"customers": 4, "orders": 7}


async def test_undoing_keeps_what_somebody_has_come_to_need_and_says_why(house: House) -> None:
    report = await run(house, HISTORY)
    visited, renamed, moved = [await customer_id(house, code) for code in ("C2", "C3", "C4")]
    tasked = await order_id(house, "C1/1997-01-01/1")
    wei = str(house.people["wei"].user_id)
    visit = create(new_id(), {"customerId": visited, "plannedAt": NOON_MS})
    [planned] = await house.change("wei", change_visits, visit)
    assert planned.status is Status.APPLIED
    task = create(new_id(), {"title": "call back", "relatedId": tasked, "assigneeId": wei, "dueOn": "2026-12-01"})
    [given] = await house.change("wei", change_tasks, task)
    assert given.status is Status.APPLIED, given.problems
    rev = await house.rev("customers", renamed)
    await house.change("wei", change_customers, patch(renamed, rev, nameEn="Cathy"))
    house.now_ms += 60_000
    await house.work("manager", lambda work: move_customers(work, [Move(moved, house.patches["south"])]))

    undone = await undo(house, batch_id(report))
    assert {(kept.record_id, kept.reason) for kept in undone.kept} == {
        (tasked, KeptReason.HAS_TASKS),
        (await customer_id(house, "C1"), KeptReason.HAS_ORDERS),
        (visited, KeptReason.HAS_VISITS),
        (renamed, KeptReason.CHANGED),
        (moved, KeptReason.CHANGED),
    }
    assert (undone.orders_deleted, undone.customers_deleted) == (6, 0)
    assert await orders(house) == [("C1", "1997-01-01", 2, 2933, "USD")]
    # first day and last order follow from what is left
    columns = ("customer_since", "last_order_at")
    kept = await customer_id(house, "C1")
    assert await house.row("customer", kept, *columns) == ("1997-01-01", _ms("1997-01-01T04:00:00+00:00"))
    assert await house.row("customer", visited, *columns) == (None, None)
    await assert_feed_is_the_tables(house.engine)
    # kept records still answer to their outside ids
    assert counts(await run(house, HISTORY)) == (6, 1, 0, 0)


async def test_undoing_again_takes_what_is_free_by_then(house: House) -> None:
    report = await run(house, HISTORY)
    shop = await customer_id(house, "C2")
    visit_id = new_id()
    await house.change("wei", change_visits, create(visit_id, {"customerId": shop, "plannedAt": NOON_MS}))
    assert (await undo(house, batch_id(report))).customers_deleted == 3

    async def forget(work: Work) -> None:
        await work.conn.execute("DELETE FROM visit WHERE id = ?", visit_id)

    await house.work("system", forget, door=Door.JOB)
    undone = await undo(house, batch_id(report))
    assert (undone.orders_deleted, undone.customers_deleted, undone.kept) == (0, 1, ())


async def test_undoing_leaves_a_customer_another_import_has_added_to(house: House) -> None:
    first = await run(house, HISTORY)
    second = await run(house, history("C1,1996-06-06,1,1", "C9,1996-06-06,1,1"))
    undone = await undo(house, batch_id(first))
    shop = await customer_id(house, "C1")
    assert [(kept.record_id, kept.reason) for kept in undone.kept] == [(shop, KeptReason.HAS_ORDERS)]
    assert await house.row("customer", shop, "customer_since", "last_order_at") == (
        "1996-06-06",
        _ms("1996-06-06T04:00:00+00:00"),
    )
    assert (await undo(house, batch_id(second))).customers_deleted == 1
    assert await house.row("customer", shop, "customer_since", "last_order_at") == (None, None)


async def test_undoing_leaves_customers_found_by_code_as_they_were(house: House) -> None:
    shop = await _shop(house, customerSince="2020-05-05")
    before = await house.row("customer", shop, "customer_since", "last_order_at", "name_zh", "completeness_percent")
    report = await run(house, HISTORY, replace(WISH, match_codes=True))
    undone = await undo(house, batch_id(report))
    assert (undone.orders_deleted, undone.customers_deleted, undone.kept) == (7, 3, ())
    after = await house.row("customer", shop, "customer_since", "last_order_at", "name_zh", "completeness_percent")
    assert after == before
    assert (await written(house))["external_id"] == 0


async def test_undoing_keeps_what_moved_out_of_reach(house: House) -> None:
    await _second_manager(house)
    report = await run(house, HISTORY, replace(WISH, territory="/cn/south"), who="southern")
    shop = await customer_id(house, "C4")
    house.now_ms += 60_000
    await house.work("manager", lambda work: move_customers(work, [Move(shop, house.patches["north"])]))
    undone = await undo(house, batch_id(report), who="southern")
    assert {(kept.collection, kept.reason) for kept in undone.kept} == {
        ("orders", KeptReason.OUT_OF_SCOPE),
        ("customers", KeptReason.OUT_OF_SCOPE),
    }
    assert [row[0] for row in await orders(house)] == ["C4"]


async def test_an_undo_that_was_killed_goes_on(house: House) -> None:
    report = await run(house, HISTORY)
    with pytest.raises(Killed):
        await undo(house, batch_id(report), engine=dying(house.engine, 3))
    assert len(await orders(house)) == 4
    await assert_feed_is_the_tables(house.engine)
    undone = await undo(house, batch_id(report))
    assert (undone.orders_deleted, undone.customers_deleted) == (4, 4)
    assert await orders(house) == []


async def test_an_import_that_was_cut_short_can_be_undone(house: House) -> None:
    with pytest.raises(Killed):
        await run(house, HISTORY, engine=dying(house.engine, 3))
    [(begun,)] = await fetch(house, "SELECT id FROM import_batch")
    report = await undo(house, begun)
    assert (report.orders_deleted, report.batch.rows_created) == (3, 3)
    again = await run(house, HISTORY)
    assert counts(again) == (7, 0, 0, 4)
    assert batch_id(again) != begun


async def test_a_batch_of_another_kind_is_neither_shown_nor_undone(house: House) -> None:
    done = batch_id(await run(house, HISTORY))

    async def disguise(work: Work) -> None:
        await work.conn.execute("UPDATE import_batch SET kind = 'demo'")

    await house.work("system", disguise, door=Door.JOB)
    assert (await list_imports(house.engine, house.people["manager"], first=5)).total == 0
    assert await read_import(house.engine, house.people["manager"], done) is None
    with pytest.raises(Refused, match="NOT_FOUND"):
        await undo(house, done)


async def test_imports_are_seen_by_who_made_them_and_by_the_admin(house: House) -> None:
    await _second_manager(house)
    mine = batch_id(await run(house, HISTORY + "C5,,1,1\n"))
    house.now_ms += 1_000
    theirs = batch_id(await run(house, HISTORY, replace(WISH, territory=None, system="pos"), who="southern"))
    seen = {
        who: [batch_id(report) for report in (await list_imports(house.engine, house.people[who], first=10)).imports]
        for who in ("manager", "southern", "admin")
    }
    assert seen == {"manager": [mine], "southern": [theirs], "admin": [theirs, mine]}
    for who in ("wei", "agent"):
        with pytest.raises(Refused, match="NOT_PERMITTED"):
            await list_imports(house.engine, house.people[who], first=10)
        assert await read_import(house.engine, house.people[who], mine) is None
    admin = house.people["admin"]
    page = await list_imports(house.engine, admin, first=1)
    assert ([batch_id(one) for one in page.imports], page.more, page.total) == ([theirs], True, 2)
    last = page.imports[0].batch
    assert last is not None
    behind = await list_imports(house.engine, admin, first=1, after=(last.started_at, last.id))
    assert ([batch_id(one) for one in behind.imports], behind.more) == ([mine], False)
    assert await read_import(house.engine, house.people["southern"], mine) is None
    assert await read_failed(house.engine, house.people["southern"], mine, first=10) == ()
    found = await read_import(house.engine, house.people["manager"], mine)
    assert found is not None
    assert counts(found) == (7, 0, 1, 4)
    assert [row.number for row in await read_failed(house.engine, house.people["manager"], mine, first=10)] == [9]
    assert await read_failed(house.engine, house.people["manager"], mine, first=10, after=9) == ()
    with pytest.raises(Refused, match="NOT_FOUND"):
        await undo(house, mine, who="southern")


async def test_the_command_line_imports_as_the_first_administrator_or_as_whom_it_is_told(house: House) -> None:
    assert (await importer(house.engine, None)).user_id == house.people["admin"].user_id
    chosen = await importer(house.engine, "manager@haizhi.example")
    assert (chosen.user_id, chosen.role) == (house.people["manager"].user_id, Role.MANAGER)
    with pytest.raises(Refused, match="NOT_FOUND"):
        await importer(house.engine, "nobody@haizhi.example")


async def test_every_change_of_an_import_is_audited(house: House) -> None:
    report = await run(house, HISTORY)
    await undo(house, batch_id(report))
    actor = f"staff:{house.people['manager'].user_id}"
    rows = await fetch(
        house, "SELECT collection, action, count(*) FROM audit_entry WHERE door = 'IMPORT' AND actor = ?"
        " GROUP BY collection, action", actor,
    )  # fmt: skip
    told = {(collection, action): n for collection, action, n in rows}
    assert {key: told[key] for key in told if key[1] != "UPDATE"} == {
        ("imports", "IMPORT"): 1, ("imports", "UNDO"): 1, ("customers", "CREATE"): 4, ("orders", "CREATE"): 7,
        ("customers", "DELETE"): 4, ("orders", "DELETE"): 7,
    }  # fmt: skip


def _cdnow_csv() -> tuple[str, list[Sequence[str]]]:
    lines = (data_folder() / "CDNOW_sample.txt").read_text(encoding="utf-8").split("\n")
    rows = [line.split() for line in lines if line.strip()]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER.split(","))
    for master, _, day, units, amount in rows:
        writer.writerow((f"C{master}", f"{day[:4]}-{day[4:6]}-{day[6:]}", units, amount))
    return out.getvalue(), rows


@pytest.mark.requirement("R11")
async def test_the_cdnow_sample_is_taken_over_whole(house: House) -> None:
    text, rows = _cdnow_csv()
    report = await run(house, text, settings=Settings())
    assert (report.rows_total, *counts(report)) == (6919, 6919, 0, 0, 2357)
    [(total, units, zeros)] = await fetch(
        house, "SELECT sum(total_minor), sum(units), sum(CASE WHEN total_minor = 0 THEN 1 ELSE 0 END) FROM sales_order"
    )
    cents = [round(float(row[4]) * 100) for row in rows]
    assert (total, units) == (sum(cents), sum(int(row[3]) for row in rows))
    assert zeros == cents.count(0) > 0
    per_customer = await fetch(
        house,
        "SELECT c.code, count(*), min(o.ordered_on), max(o.ordered_on), c.customer_since FROM customer c"
        " JOIN sales_order o ON o.customer_id = c.id GROUP BY c.code, c.customer_since",
    )
    expected: dict[str, list[str]] = {}
    for row in rows:
        expected.setdefault(f"C{row[0]}", []).append(f"{row[2][:4]}-{row[2][4:6]}-{row[2][6:]}")
    assert {code: (n, first, last, since) for code, n, first, last, since in per_customer} == {
        code: (len(days), min(days), max(days), min(days)) for code, days in expected.items()
    }
    await assert_feed_is_the_tables(house.engine)
    assert counts(await run(house, text.replace("\n", "\r\n"), settings=Settings())) == (0, 6919, 0, 0)
