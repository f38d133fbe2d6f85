"""Random histories against the reference model, and proof that simpler readings of the protocol are caught.

`SELVEDGE_TEST_HISTORIES=20000` plays more on each database; `SELVEDGE_TEST_SEED` begins elsewhere.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.storage.engine import Connection, Engine, SqliteConnection, open_engine
from backend.sync import collect, feed, pull
from backend.sync.cursor import Backfill, Cursor, Position
from backend.sync.places import Places
from tests.databases import fresh_sqlite
from tests.sync import worlds
from tests.sync.worlds import Mismatch, fast_engine, play

ASKED_FOR = int(os.environ.get("SELVEDGE_TEST_HISTORIES", "0"))
FIRST_SEED = int(os.environ.get("SELVEDGE_TEST_SEED", "0"))
MUTANT_HISTORIES_MAX = 400
PARTS = 3
"""Histories are split so that parallel workers share them."""


@pytest.mark.requirement("R4")
@pytest.mark.parametrize("part", range(PARTS))
async def test_every_phone_holds_exactly_what_its_user_may_see_on_sqlite(
    sqlite_template: Path, tmp_path: Path, part: int
) -> None:
    async with fast_engine(fresh_sqlite(sqlite_template, tmp_path)) as engine:
        await play_many(engine, range(FIRST_SEED + part, FIRST_SEED + (ASKED_FOR or 300), PARTS))


@pytest.mark.postgres
@pytest.mark.requirement("R4")
@pytest.mark.parametrize("database_source", ["postgres"], indirect=True)
async def test_every_phone_holds_exactly_what_its_user_may_see_on_postgres(engine: Engine) -> None:
    await play_many(engine, range(FIRST_SEED, FIRST_SEED + (ASKED_FOR or 60)))


async def play_many(engine: Engine, seeds: Iterable[int]) -> None:
    """Each pull is asked by one statement, too, which says the same wherever it says something."""
    pulls = at_once = 0
    for seed in seeds:
        world = await play(engine, seed)
        pulls, at_once = pulls + world.pulls, at_once + world.at_once
    assert at_once >= pulls / 20, (at_once, pulls)


# -- mutants: each reading below is simpler, and wrong -----------------------------------------------------------

Patch = Callable[[pytest.MonkeyPatch], None]


def no_backfill_of_a_gained_scope(patch: pytest.MonkeyPatch) -> None:
    true = pull._backfill_now

    def mutant(cursor: Cursor, open_scopes: Any, lost: Any, refetch: Any) -> list[Backfill]:
        first = cursor.scopes_at < 0
        return true(cursor, open_scopes if first else dict.fromkeys(open_scopes, -1), lost, refetch)

    patch.setattr(pull, "_backfill_now", mutant)


def no_backfill_on_re_grant(patch: pytest.MonkeyPatch) -> None:
    true = pull._backfill_now

    def mutant(cursor: Cursor, open_scopes: Any, lost: Any, refetch: Any) -> list[Backfill]:
        return true(cursor, {s: -1 if s in lost else at for s, at in open_scopes.items()}, lost, refetch)

    patch.setattr(pull, "_backfill_now", mutant)


def a_present_flag_instead_of_intervals(patch: pytest.MonkeyPatch) -> None:
    """Every place not present now is told as left, whenever it ended."""
    true = pull._take

    def mutant(places: Places, shapes: Any, open_scopes: Any, other: Any, page: Any) -> int:
        return true(places, shapes, dict.fromkeys(open_scopes, -1), other, page)

    patch.setattr(pull, "_take", mutant)


def seq_without_tie_break(patch: pytest.MonkeyPatch) -> None:
    true = pull._delta

    async def mutant(*args: Any) -> Position:
        return Position((await true(*args)).seq)

    patch.setattr(pull, "_delta", mutant)


def a_checkpoint_that_passes_an_undelivered_row(patch: pytest.MonkeyPatch) -> None:
    true = pull._take

    def mutant(places: Places, *args: Any) -> int:
        true(places, *args)
        return len(places)

    patch.setattr(pull, "_take", mutant)


def _with_other_places(patch: pytest.MonkeyPatch, judge: Callable[[bool, bool], bool]) -> None:
    """`judge`: of a place whether an open one stands in its scope, and in any, what is taken for the first."""
    true = pull.places_after

    async def mutant(conn: Connection, position: Position, scopes: Any, limit: int) -> Places:
        places = await true(conn, position, scopes, limit)
        judged = []
        for stands, name, record_id in zip(places.stands, places.collections, places.record_ids, strict=True):
            elsewhere = await conn.fetch(
                "SELECT 1 FROM feed_scope WHERE collection = ? AND record_id = ? AND left_seq IS NULL"
                " AND scope = ANY(?)",
                name,
                record_id,
                list(scopes),
            )
            judged.append(judge(bool(stands), bool(elsewhere)))
        return replace(places, stands=judged)

    patch.setattr(pull, "places_after", mutant)


def a_second_scope_not_left(patch: pytest.MonkeyPatch) -> None:
    """Who still sees the record by another scope is not told that it left this one."""
    _with_other_places(patch, lambda stands, elsewhere: stands or elsewhere)


def left_by_record_instead_of_place(patch: pytest.MonkeyPatch) -> None:
    """A record that left one scope is said to have left all of them."""
    true = pull._take

    def mutant(places: Places, shapes: Any, open_scopes: Any, other: Any, page: Any) -> int:
        for at in range(len(places)):
            left_seq, name, record_id = places.left_seqs[at], places.collections[at], places.record_ids[at]
            if left_seq is not None and left_seq > open_scopes[places.scopes[at]]:
                fits = all(page.leave(scope, name, record_id) for scope in sorted(open_scopes))
            else:
                fits = true(places.part(at, at + 1), shapes, open_scopes, other, page) == 1
            if not fits:
                return at
        return len(places)

    patch.setattr(pull, "_take", mutant)


def left_of_a_scope_it_came_back_to(patch: pytest.MonkeyPatch) -> None:
    _with_other_places(patch, lambda _stands, _elsewhere: False)


def a_lost_scope_not_told(patch: pytest.MonkeyPatch) -> None:
    true = pull.scopes_of
    patch.setattr(pull, "scopes_of", lambda grants, at: (true(grants, at)[0], set()))


def lost_without_having_been_held(patch: pytest.MonkeyPatch) -> None:
    """Every grant ever closed counts as lost, also one that was opened and closed between two pulls."""
    true = pull.scopes_of

    def mutant(grants: Any, at: int) -> tuple[dict[str, int], set[str]]:
        open_scopes, lost = true(grants, at)
        return open_scopes, lost - {scope for scope, granted in open_scopes.items() if granted > at}

    patch.setattr(pull, "scopes_of", mutant)


def scopes_judged_at_the_position(patch: pytest.MonkeyPatch) -> None:
    """Grants are compared with where the delta stands instead of with the last page's snapshot."""

    def mutant(position: Position, _scopes_at: int, backfill: Any, schema: int) -> Cursor:
        return Cursor(position, position.seq, backfill, schema)

    patch.setattr(pull, "Cursor", mutant)


def backfill_of_a_lost_scope_goes_on(patch: pytest.MonkeyPatch) -> None:
    true = pull._backfill_now

    def mutant(cursor: Cursor, open_scopes: Any, lost: Any, refetch: Any) -> list[Backfill]:
        found = true(cursor, open_scopes, lost, refetch)
        return [entry for entry in cursor.backfill if entry not in found] + found

    patch.setattr(pull, "_backfill_now", mutant)


def backfill_kept_over_a_re_grant(patch: pytest.MonkeyPatch) -> None:
    """The client threw the scope away; what was sent before the loss is never sent again."""
    true = pull._backfill_now

    def mutant(cursor: Cursor, open_scopes: Any, lost: Any, refetch: Any) -> list[Backfill]:
        carried = {entry.scope: entry for entry in cursor.backfill if entry.only is None}
        return [carried.get(entry.scope, entry) for entry in true(cursor, open_scopes, lost, refetch)]

    patch.setattr(pull, "_backfill_now", mutant)


def a_base_that_counts_a_row_not_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Position, "base", property(lambda position: position.seq))


def another_epoch_taken_for_this_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cursor, "epoch", property(lambda _: _AnyEpoch()))


def a_horizon_not_compared(patch: pytest.MonkeyPatch) -> None:
    """A device that slept past what was collected is served on."""
    true = Cursor.is_expired

    def mutant(self: Cursor, clock: int, _horizon: int) -> bool:
        return true(self, clock, 0)

    patch.setattr(Cursor, "is_expired", mutant)


def collecting_above_the_horizon(patch: pytest.MonkeyPatch) -> None:
    """History goes that a device within the horizon has not seen."""
    true = worlds.history_up_to
    patch.setattr(worlds, "history_up_to", lambda seq: true(seq + 6))


def tombstones_before_their_places(patch: pytest.MonkeyPatch) -> None:
    """What is removed together is judged by the record alone: a place that ended later goes with an older one."""
    true = collect.remove_some

    async def mutant(conn: Connection, wanted: Any, rows_max: int) -> int:
        if wanted.table == "feed_scope":
            await conn.execute(
                "DELETE FROM feed_scope WHERE left_seq IS NOT NULL AND record_id IN"
                " (SELECT record_id FROM feed_scope WHERE left_seq <= ?)",
                *wanted.args,
            )
        return await true(conn, wanted, rows_max)

    patch.setattr(worlds, "remove_some", mutant)


class _AnyEpoch:
    def __eq__(self, _: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def a_short_page(patch: pytest.MonkeyPatch) -> None:
    true = pull._Filler

    def mutant(limit: int, bytes_max: int) -> pull._Filler:
        return true(max(1, limit - 1), bytes_max)

    patch.setattr(pull, "_Filler", mutant)


def complete_while_a_backfill_is_open(patch: pytest.MonkeyPatch) -> None:
    true = pull.Page

    def mutant(**parts: Any) -> pull.Page:
        return true(**{**parts, "complete": parts["complete"] or parts["clock"] % 2 == 0})

    patch.setattr(pull, "Page", mutant)


def _rewritten(patch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """The writer with one statement changed."""
    true = SqliteConnection.execute_many

    async def mutant(self: SqliteConnection, sql: str, rows: Any) -> None:
        await true(self, sql.replace(old, new), rows)

    patch.setattr(SqliteConnection, "execute_many", mutant)


def closing_a_place_without_its_seq(patch: pytest.MonkeyPatch) -> None:
    _rewritten(patch, "SET left_seq = ?, seq = ?, left", "SET left_seq = ?, seq = seq + 0 * ?, left")


def a_change_that_touches_closed_places_only(patch: pytest.MonkeyPatch) -> None:
    _rewritten(patch, "UPDATE feed_scope SET seq = ? WHERE id", "UPDATE feed_scope SET seq = seq + 0 * ? WHERE id")


def a_return_that_reopens_nothing(patch: pytest.MonkeyPatch) -> None:
    _rewritten(
        patch, "UPDATE feed_scope SET left_seq = ?, seq", "UPDATE feed_scope SET left_seq = NULLIF(?, 0) + 9, seq"
    )


def places_of_what_is_gone(patch: pytest.MonkeyPatch) -> None:
    """A chain's head stays where its doors name it, though it was deleted."""
    true = feed._write_collection

    async def mutant(
        conn: Connection, collection: Any, seq: int, writer: str, touches: Any, sums: Any, watched: Any
    ) -> Any:
        async def places(inner: Connection, name: str, _: Any) -> Any:
            return await kept(inner, name, [touch.record_id for touch in touches])

        patch.setattr(feed, "places_of", places)
        return await true(conn, collection, seq, writer, touches, sums, watched)

    kept = feed.places_of
    patch.setattr(feed, "_write_collection", mutant)


def a_checksum_that_forgets_who_left(patch: pytest.MonkeyPatch) -> None:
    true = feed._Sums.add

    def mutant(self: Any, scope: str, collection: str, digest: int, count: int) -> None:
        if count >= 0:
            true(self, scope, collection, digest, count)

    patch.setattr(feed._Sums, "add", mutant)


MUTANTS: tuple[Patch, ...] = (
    no_backfill_of_a_gained_scope,
    no_backfill_on_re_grant,
    a_present_flag_instead_of_intervals,
    seq_without_tie_break,
    a_checkpoint_that_passes_an_undelivered_row,
    a_second_scope_not_left,
    left_by_record_instead_of_place,
    left_of_a_scope_it_came_back_to,
    a_lost_scope_not_told,
    lost_without_having_been_held,
    scopes_judged_at_the_position,
    backfill_of_a_lost_scope_goes_on,
    backfill_kept_over_a_re_grant,
    a_base_that_counts_a_row_not_sent,
    another_epoch_taken_for_this_one,
    a_horizon_not_compared,
    collecting_above_the_horizon,
    tombstones_before_their_places,
    a_short_page,
    complete_while_a_backfill_is_open,
    closing_a_place_without_its_seq,
    a_change_that_touches_closed_places_only,
    a_return_that_reopens_nothing,
    places_of_what_is_gone,
    a_checksum_that_forgets_who_left,
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


async def test_the_histories_play_the_same_through_the_ordinary_connection(
    sqlite_template: Path, tmp_path: Path
) -> None:
    """The inline connection of the other tests is a shortcut in time only."""
    engine = open_engine(fresh_sqlite(sqlite_template, tmp_path))
    await engine.start()
    await play_many(engine, range(5))
    await engine.close()
