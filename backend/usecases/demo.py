"""The demo world into an empty database: all tables, then feed, places and grants, in one transaction.

One transaction, because a first start that was cut off must leave an empty database and not half a company;
nobody else is served meanwhile. The feed is written by the same `Work` as every other change, in steps of at
most 500 records, each with a clock step of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from backend.auth.principal import Principal, PrincipalKind
from backend.clock import Clock
from backend.domain.demo.frame import Table, canonical
from backend.domain.demo.world import AS_OF_DAY, SEED, SHOWN_ROLES, SignIn, World, digests, make_world
from backend.domain.permissions import Role
from backend.errors import SelvedgeError
from backend.ids import new_id
from backend.storage.engine import Connection, Engine
from backend.storage.purchases import count_anew
from backend.sync.collections import COLLECTIONS
from backend.sync.work import Door, Work

PASSWORD = "demo"
ROWS_PER_STATEMENT = 2_000
RECORDS_PER_WORK = 500
LOOKED_AT_ANEW = (4, 16)
"""After how many works the database measures the feed again: plans made for an empty one read it from end to end."""
BATCH_KIND = "demo"

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many rows and documents are done, and of how many."""


class DatabaseNotEmpty(SelvedgeError):
    """The demo world is built into an empty database only; the text says what is in the way."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load wrote: rows of tables, documents of the feed."""

    rows: int
    documents: int
    seq: int


async def load_demo(
    engine: Engine, world: World, *, password_hash: str, clock: Clock, progress: Progress | None = None
) -> Loaded:
    """Write a world; everybody in it gets the same password. All of it or nothing.

    Raises `DatabaseNotEmpty` naming the first table that holds rows. A second process waits for the first one
    and is then told so.
    """
    tell = progress or _silent
    tables = world.tables
    rows_n = sum(len(table) for table in tables)
    records = {table.name: [str(one) for one in table.columns["id"]] for table in tables}
    documents_n = sum(len(records[c.table]) for c in COLLECTIONS.values() if c.table in records)
    total = rows_n + documents_n
    started_ms = clock()
    async with engine.write() as conn:
        await _only_when_empty(conn)
        done = 0
        for table in tables:
            fixed = {"password_hash": password_hash} if table.name == "user_account" else {}
            for rows in _chunks(table, fixed):
                await conn.execute_many(_insert_sql(table, fixed), rows)
                done += len(rows)
                tell(table.name, done, total)
        await count_anew(conn, records.get("customer", []))
        await _look_anew(conn, [*(table.name for table in tables), "purchase"])
        seq = 0
        principal = _admin(world)
        for count, work in enumerate(_works(conn, principal, records, clock)):
            await work.leave()
            if count in LOOKED_AT_ANEW:
                await _look_anew(conn, ("feed", "feed_scope"))
            seq = work.seq
            done += len(work.touches)
            tell("feed", done, total)
        await _look_anew(conn, ("feed", "feed_scope", "user_scope"))
        await _note_batch(conn, world, principal, rows_n, started_ms, clock())
    return Loaded(rows_n, documents_n, seq)


async def ensure_demo(
    engine: Engine,
    *,
    profile: str = "demo",
    seed: int = SEED,
    as_of_day: str = AS_OF_DAY,
    password_hash: str,
    clock: Clock,
    progress: Progress | None = None,
) -> World | None:
    """Build the demo world where the database is empty; None, and nothing changed, where it holds anything."""
    if not await is_empty(engine):
        return None
    world = make_world(profile, seed=seed, as_of_day=as_of_day)
    try:
        await load_demo(engine, world, password_hash=password_hash, clock=clock, progress=progress)
    except DatabaseNotEmpty:
        # another process was faster
        return None
    return world


async def sign_ins_of(engine: Engine) -> list[SignIn]:
    """What `demo_sign_ins` lists, read from a database the demo world was built in; nothing from any other."""
    async with engine.read() as conn:
        if not await conn.fetch("SELECT 1 FROM import_batch WHERE kind = ? LIMIT 1", BATCH_KIND):
            return []
        rows = await conn.fetch(
            "SELECT role, email, name FROM user_account WHERE id IN"
            " (SELECT min(id) FROM user_account WHERE active AND role = ANY(?) GROUP BY role)",
            [role.value for role in SHOWN_ROLES],
        )
    found = [SignIn(Role(role), email, name) for role, email, name in rows]
    return sorted(found, key=lambda one: SHOWN_ROLES.index(one.role))


async def is_empty(engine: Engine) -> bool:
    """True when nobody works here yet and nothing was imported."""
    async with engine.read() as conn:
        return await _first_used(conn) is None


_LOOKED_AT = (
    "import_batch",
    "user_account",
    "territory",
    "customer",
    "contact",
    "style",
    "season",
    "price_list",
    "feed",
)


async def _first_used(conn: Connection) -> str | None:
    for table in _LOOKED_AT:
        if await conn.fetch(f"SELECT 1 FROM {table} LIMIT 1"):
            return table
    return None


async def _only_when_empty(conn: Connection) -> None:
    # the clock's row is what every writer passes: two processes that start together take turns here
    await conn.fetch("SELECT seq FROM sync_clock WHERE id = 1 FOR UPDATE")
    used = await _first_used(conn)
    if used is None:
        return
    if await conn.fetch("SELECT 1 FROM import_batch WHERE kind = ? LIMIT 1", BATCH_KIND):
        raise DatabaseNotEmpty("the demo world is already in this database")
    raise DatabaseNotEmpty(
        f"the demo world needs an empty database, and this one has rows in {used}; name another one in"
        " SELVEDGE_DATABASE_URL"
    )


def _insert_sql(table: Table, fixed: dict[str, str]) -> str:
    names = [*table.columns, *fixed]
    listed = ", ".join(f'"{name}"' for name in names)
    return f"INSERT INTO {table.name} ({listed}) VALUES ({', '.join('?' for _ in names)})"


def _chunks(table: Table, fixed: dict[str, str]) -> Iterator[list[tuple[object, ...]]]:
    rows = list(zip(*table.columns.values(), *([value] * len(table) for value in fixed.values()), strict=True))
    for first in range(0, len(rows), ROWS_PER_STATEMENT):
        yield rows[first : first + ROWS_PER_STATEMENT]


def _works(conn: Connection, principal: Principal, records: dict[str, list[str]], clock: Clock) -> Iterator[Work]:
    """The grants of everybody first, then every record that has a document."""
    seats = Work(conn, principal, clock(), Door.JOB)
    seats.reseat(records["user_account"])
    yield seats
    for collection in COLLECTIONS.values():
        ids: Sequence[str] = records.get(collection.table, ())
        for first in range(0, len(ids), RECORDS_PER_WORK):
            work = Work(conn, principal, clock(), Door.JOB)
            for record_id in ids[first : first + RECORDS_PER_WORK]:
                work.touched(collection.name, record_id)
            yield work


async def _look_anew(conn: Connection, tables: Sequence[str]) -> None:
    """Let the database count what stands in the tables, as it otherwise does some minutes later by itself."""
    for table in tables:
        await conn.execute(f"ANALYZE {table}")


def _admin(world: World) -> Principal:
    columns = world.parts["people"][0].columns
    row = list(columns["role"]).index(Role.ADMIN.value)
    return Principal(PrincipalKind.STAFF, user_id=columns["id"][row], role=Role.ADMIN)


async def _note_batch(
    conn: Connection, world: World, principal: Principal, rows_n: int, started_ms: int, finished_ms: int
) -> None:
    """What was built, from which seed, with which digests."""
    setting = world.setting
    made = {"profile": setting.profile.name, "seed": setting.seed, "asOf": setting.as_of_day, "parts": digests(world)}
    await conn.execute(
        "INSERT INTO import_batch (id, kind, system, file_name, file_sha256, mapping, state, rows_total,"
        " rows_created, rows_unchanged, rows_failed, started_at, finished_at, started_by)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        new_id(),
        BATCH_KIND,
        "selvedge",
        "",
        "",
        canonical(made),
        "DONE",
        rows_n,
        rows_n,
        0,
        0,
        started_ms,
        finished_ms,
        principal.actor,
    )


def _silent(_doing: str, _done: int, _of: int) -> None:
    return None
