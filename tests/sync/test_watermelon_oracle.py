"""WatermelonDB's pull in random histories: after every answer applied, a client holds what its user may see.

The simulated client knows nothing of the server: it takes `updated`, drops `deleted`, and keeps the timestamp. The
model of `worlds.py` says what is visible; what it said at each clock decides which ids may be told as deleted.
`SELVEDGE_TEST_HISTORIES` and `SELVEDGE_TEST_SEED` as in the oracle of the native protocol.
"""

import os
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from backend.auth.principal import Principal
from backend.errors import Refused
from backend.storage.engine import Connection, Engine
from backend.sync import watermelon
from backend.sync.watermelon import EVERYTHING, TABLES, Key, WatermelonRequest, turbo_text, watermelon_pull
from tests.databases import fresh_sqlite
from tests.sync.worlds import Mismatch, World, fast_engine

ASKED_FOR = int(os.environ.get("SELVEDGE_TEST_HISTORIES", "0"))
FIRST_SEED = int(os.environ.get("SELVEDGE_TEST_SEED", "0"))
MUTANT_HISTORIES_MAX = 250
STEPS = 40
ROWS_MAX = 10_000


@dataclass
class Client:
    """What an app holds; `at` is its last `timestamp`."""

    principal: Principal
    at: int | None = None
    rows: dict[Key, dict[str, Any]] = field(default_factory=dict)


class Field(World):
    """The organisation of `worlds.py`, with WatermelonDB on its phones."""

    def __init__(self, engine: Engine, rng: random.Random) -> None:
        super().__init__(engine, rng)
        self.clients: list[Client] = []
        self.seen: dict[str, list[tuple[int, set[Key]]]] = {}
        self.told = 0

    async def clock(self) -> int:
        async with self.engine.read() as conn:
            return int((await conn.fetch("SELECT seq FROM sync_clock"))[0][0])

    def visible(self, user_id: str) -> set[Key]:
        return {place[:2] for place in self.model.places(user_id)}

    async def note(self) -> None:
        """What everybody sees as of this clock."""
        now = await self.clock()
        for owner in [self.model.manager, *self.model.reps]:
            self.seen.setdefault(owner, []).append((now, self.visible(owner)))

    def seen_since(self, owner: str, at: int) -> set[Key]:
        """Everything visible at that clock or at any later one."""
        found: set[Key] = set()
        for clock, visible in reversed(self.seen[owner]):
            found |= visible
            if clock <= at:
                break
        return found

    async def sync(self, client: Client) -> None:
        """One pull; its answer is lost one time in six."""
        owner = client.principal.holder
        try:
            async with self.engine.read() as conn:
                page = await watermelon_pull(conn, client.principal, WatermelonRequest(client.at), rows_max=ROWS_MAX)
        except Refused as refused:
            if client.at is None or [problem.code for problem in refused.problems] != ["CURSOR_EXPIRED"]:
                raise
            self.trace.append("expired")
            client.at, client.rows = None, {}
            return
        changes = orjson.loads(page.changes)
        expected = self.visible(owner)
        self._check(client, changes, expected)
        if self.rng.random() < 1 / 6:
            self.trace.append("lost")
            return
        self._apply(client, changes, page.timestamp)
        self._compare(client, expected)

    async def turbo(self, client: Client) -> None:
        """A first sync as one text, with writes between its parts; whole only after the next pull."""
        owner = client.principal.holder

        async def still() -> None:
            if self.rng.random() < 0.15:
                await self.write()
                await self.note()

        parts = turbo_text(
            self.engine, client.principal, list(TABLES), schema_version=2, schema_oldest=1,
            chunk_rows_max=self.rng.randint(1, 4), clock=lambda: 0, still=still,
        )  # fmt: skip
        answer = orjson.loads(b"".join([part async for part in parts]))
        client.rows = {}
        self._check_once(answer["changes"])
        for name, one in answer["changes"].items():
            if one["created"] or one["deleted"]:
                raise Mismatch("a first sync creates or deletes")
            if not {(name, row["id"]) for row in one["updated"]} <= self.seen_since(owner, answer["timestamp"]):
                raise Mismatch("turbo brought what its user never saw since it began")
        self._apply(client, answer["changes"], answer["timestamp"])

    def _check(self, client: Client, changes: dict[str, Any], expected: set[Key]) -> None:
        self._check_once(changes)
        gone = {(name, record_id) for name, one in changes.items() for record_id in one["deleted"]}
        self.told += len(gone)
        if client.at is None and gone:
            raise Mismatch("a first sync takes something away")
        if client.at is not None and not gone <= self.seen_since(client.principal.holder, client.at):
            raise Mismatch("told as deleted: what its user saw at no time since the last pull")
        if gone & expected:
            raise Mismatch("told as deleted: what its user sees")
        for name, one in changes.items():
            if not {(name, row["id"]) for row in one["updated"]} <= expected:
                raise Mismatch("brought: what its user does not see")

    def _check_once(self, changes: dict[str, Any]) -> None:
        for name, one in changes.items():
            if any("id" not in row for row in one["updated"]):
                raise Mismatch(f"{name}: what is no more comes as a row of nothing")
            ids = [row["id"] for row in one["updated"]] + one["deleted"]
            if one["created"] or len(ids) != len(set(ids)):
                raise Mismatch(f"{name}: created, or an id twice")
            for row in one["updated"]:
                if any(isinstance(value, dict | list) for value in row.values()):
                    raise Mismatch(f"{name}: a value that is no scalar")

    def _apply(self, client: Client, changes: dict[str, Any], timestamp: int) -> None:
        for name, one in changes.items():
            for record_id in one["deleted"]:
                client.rows.pop((name, record_id), None)
            client.rows.update({(name, row["id"]): row for row in one["updated"]})
        client.at = timestamp

    def _compare(self, client: Client, expected: set[Key]) -> None:
        if client.rows.keys() != expected:
            more, less = client.rows.keys() - expected, expected - client.rows.keys()
            raise Mismatch(f"{client.principal.role}: holds too much {sorted(more)}, lacks {sorted(less)}")
        for key in expected:
            fields = self.model.records[key]
            held = client.rows[key]
            if {name: held.get(name) for name in fields} != fields:
                raise Mismatch(f"{key} is held as it was, not as it is")


async def play(engine: Engine, seed: int) -> Field:
    rng = random.Random(seed)
    world = Field(engine, rng)
    await world.begin()
    world.clients = [Client(phone.principal) for phone in world.phones]
    # the phones of the native protocol stay in their drawers
    await world.note()
    try:
        for _ in range(STEPS):
            chance, client = rng.random(), rng.choice(world.clients)
            if chance < 0.45:
                await world.write()
            elif chance < 0.48:
                await world.collect()
            elif chance < 0.50:
                await world.back_up()
            elif chance < 0.51:
                await world.restore()
            elif chance < 0.55:
                await world.turbo(client)
                await world.sync(client)
            else:
                await world.sync(client)
            await world.note()
        for client in world.clients:
            while client.at != await world.clock():
                await world.sync(client)
            world._compare(client, world.visible(client.principal.holder))
    except Mismatch as mismatch:
        raise Mismatch(f"seed {seed}: {mismatch}\n{' '.join(world.trace)}") from None
    return world


async def play_many(engine: Engine, seeds: Iterable[int]) -> int:
    """How many ids were told as deleted."""
    return sum([(await play(engine, seed)).told for seed in seeds])


@pytest.mark.requirement("R4")
async def test_every_app_holds_exactly_what_its_user_may_see_on_sqlite(sqlite_template: Path, tmp_path: Path) -> None:
    async with fast_engine(fresh_sqlite(sqlite_template, tmp_path)) as engine:
        told = await play_many(engine, range(FIRST_SEED, FIRST_SEED + (ASKED_FOR or 80)))
    assert told > 0


@pytest.mark.postgres
@pytest.mark.requirement("R4")
@pytest.mark.parametrize("database_source", ["postgres"], indirect=True)
async def test_every_app_holds_exactly_what_its_user_may_see_on_postgres(engine: Engine) -> None:
    assert await play_many(engine, range(FIRST_SEED, FIRST_SEED + (ASKED_FOR or 15))) > 0


# -- mutants: each reading below is simpler, and wrong -----------------------------------------------------------

Patch = Callable[[pytest.MonkeyPatch], None]


def _removals_rewritten(patch: pytest.MonkeyPatch, *changes: tuple[str, str]) -> None:
    true = watermelon.removed_for

    async def mutant(conn: Connection, user_id: str, since: int, tables: Any) -> list[Key]:
        return await true(_Rewriting(conn, changes), user_id, since, tables)

    patch.setattr(watermelon, "removed_for", mutant)


class _Rewriting:
    """A connection that reads each statement a little differently."""

    def __init__(self, conn: Connection, changes: Iterable[tuple[str, str]]) -> None:
        self.conn = conn
        self.changes = tuple(changes)
        self.dialect = conn.dialect

    async def fetch(self, sql: str, *args: object) -> Any:
        for old, new in self.changes:
            assert old in sql, f"{old} is not in the statement any more"
            sql = sql.replace(old, new)
        return await self.conn.fetch(sql, *args)

    async def execute(self, sql: str, *args: object) -> None:
        raise NotImplementedError

    async def execute_many(self, sql: str, rows: Any) -> None:
        raise NotImplementedError


def a_removal_at_the_clock_of_the_last_pull(patch: pytest.MonkeyPatch) -> None:
    _removals_rewritten(
        patch,
        ("p.seq > ?", "p.seq >= ?"),
        ("p.left_seq > ?", "p.left_seq >= ?"),
        ("g.revoked_seq > ?", "g.revoked_seq >= ?"),
    )


def a_removal_of_what_was_never_met(patch: pytest.MonkeyPatch) -> None:
    _removals_rewritten(patch, ("AND g.granted_seq < coalesce(p.left_seq, g.granted_seq + 1)", ""))


def a_removal_of_what_came_after_the_revocation(patch: pytest.MonkeyPatch) -> None:
    _removals_rewritten(patch, ("p.entered_seq < coalesce(g.revoked_seq, p.entered_seq + 1)", "1 = 1"))


def a_removal_of_what_is_seen_elsewhere(patch: pytest.MonkeyPatch) -> None:
    _removals_rewritten(patch, ("WHERE h.user_id = g.user_id", "WHERE 1 = 0 AND h.user_id = g.user_id"))


def a_revocation_not_told(patch: pytest.MonkeyPatch) -> None:
    _removals_rewritten(
        patch, (" AND g.revoked_seq > ? AND (p.left_seq IS NULL", " AND g.revoked_seq > 2 * ? AND (p.left_seq IS NULL")
    )


def a_closed_grant_that_saw_nothing(patch: pytest.MonkeyPatch) -> None:
    _removals_rewritten(patch, ("(g.revoked_seq IS NULL OR g.revoked_seq > ?)", "(g.revoked_seq IS NULL AND ? > 0)"))
    true = watermelon.removed_for

    async def mutant(conn: Connection, user_id: str, since: int, tables: Any) -> list[Key]:
        open_now = await conn.fetch("SELECT 1 FROM user_scope WHERE user_id = ? AND revoked_seq > ?", user_id, since)
        return [] if open_now else await true(conn, user_id, since, tables)

    patch.setattr(watermelon, "removed_for", mutant)


def no_removal(patch: pytest.MonkeyPatch) -> None:
    async def mutant(*_: Any) -> list[Key]:
        return []

    patch.setattr(watermelon, "removed_for", mutant)


def a_grant_that_does_not_count_as_entering(patch: pytest.MonkeyPatch) -> None:
    true = watermelon.changed_for

    async def mutant(conn: Connection, user_id: str, since: int, tables: Any) -> list[Key]:
        if since == EVERYTHING:
            return await true(conn, user_id, since, tables)
        changed = ("g.granted_seq > ?", "g.granted_seq > 2 * ?")
        return await true(_Rewriting(conn, [changed]), user_id, since, tables)

    patch.setattr(watermelon, "changed_for", mutant)


def a_change_told_only_from_open_grants_of_before(patch: pytest.MonkeyPatch) -> None:
    true = watermelon.changed_for

    async def mutant(conn: Connection, user_id: str, since: int, tables: Any) -> list[Key]:
        return await true(conn, user_id, since + (since != EVERYTHING), tables)

    patch.setattr(watermelon, "changed_for", mutant)


def a_timestamp_ahead_of_its_snapshot(patch: pytest.MonkeyPatch) -> None:
    true = watermelon.WatermelonPage

    def mutant(changes: bytes, timestamp: int, *rest: Any) -> watermelon.WatermelonPage:
        return true(changes, timestamp + 1, *rest)

    patch.setattr(watermelon, "WatermelonPage", mutant)


def another_epoch_taken_for_this_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(watermelon, "pulled_at", lambda given, *_: None if not given else int(given))


def a_horizon_overlooked(patch: pytest.MonkeyPatch) -> None:
    true = watermelon.pulled_at
    patch.setattr(watermelon, "pulled_at", lambda given, clock, _: true(given, clock, 0))


def turbo_of_the_scopes_as_they_come(patch: pytest.MonkeyPatch) -> None:
    """A record that stands in two scopes is sent by both."""
    true = watermelon._standing_at

    async def mutant(conn: Connection, *args: Any) -> Any:
        return await true(_Rewriting(conn, [("o.scope < p.scope", "o.scope < p.scope AND 1 = 0")]), *args)

    patch.setattr(watermelon, "_standing_at", mutant)


def turbo_of_what_stands_now(patch: pytest.MonkeyPatch) -> None:
    """What left the scope that was to send it is sent by none."""
    true = watermelon._standing_at

    async def mutant(conn: Connection, *args: Any) -> Any:
        return await true(
            _Rewriting(conn, [("p.left_seq IS NULL OR p.left_seq > ?", "p.left_seq IS NULL AND ? > 0")]), *args
        )

    patch.setattr(watermelon, "_standing_at", mutant)


def turbo_without_looking_again(patch: pytest.MonkeyPatch) -> None:
    """What is no longer to be seen when its turn comes is sent all the same."""
    true = watermelon._standing_at

    async def mutant(conn: Connection, *args: Any) -> Any:
        return [(record_id, True) for record_id, _ in await true(conn, *args)]

    patch.setattr(watermelon, "_standing_at", mutant)


MUTANTS: tuple[Patch, ...] = (
    a_removal_at_the_clock_of_the_last_pull,
    a_removal_of_what_was_never_met,
    a_removal_of_what_came_after_the_revocation,
    a_removal_of_what_is_seen_elsewhere,
    a_revocation_not_told,
    a_closed_grant_that_saw_nothing,
    no_removal,
    a_grant_that_does_not_count_as_entering,
    a_change_told_only_from_open_grants_of_before,
    a_timestamp_ahead_of_its_snapshot,
    another_epoch_taken_for_this_one,
    a_horizon_overlooked,
    turbo_of_the_scopes_as_they_come,
    turbo_of_what_stands_now,
    turbo_without_looking_again,
)


@pytest.mark.mutants
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
async def test_the_oracle_catches(
    mutant: Patch, monkeypatch: pytest.MonkeyPatch, sqlite_template: Path, tmp_path: Path
) -> None:
    mutant(monkeypatch)
    async with fast_engine(fresh_sqlite(sqlite_template, tmp_path)) as engine:
        with pytest.raises(Mismatch):
            await play_many(engine, range(MUTANT_HISTORIES_MAX))
