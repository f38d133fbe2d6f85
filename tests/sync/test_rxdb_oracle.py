"""Random histories told to phones that run RxDB, and proof that simpler readings of its pull are caught.

Two of the readings named for it are no mutants here: a walk ended by a re-grant, and an expiry that forgets the walks.
A page tells the walks first and its position stands still until they have ended, so the delta of a scope given back
tells the rest, and no walk needs older history than the position. `test_rxdb.py` holds both to what they must give.

`SELVEDGE_TEST_HISTORIES=20000` plays more on each database; `SELVEDGE_TEST_SEED` begins elsewhere.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.storage.engine import Engine
from backend.sync import rxdb
from backend.sync.cursor import Position
from backend.sync.rxdb import Checkpoint
from tests.databases import fresh_sqlite
from tests.sync.rxdb_worlds import play_rx
from tests.sync.worlds import Mismatch, fast_engine

ASKED_FOR = int(os.environ.get("SELVEDGE_TEST_HISTORIES", "0"))
FIRST_SEED = int(os.environ.get("SELVEDGE_TEST_SEED", "0"))
MUTANT_HISTORIES = range(24, 324)
"""Begins where the rarest mutants go wrong soon."""


@pytest.mark.requirement("R4")
@pytest.mark.parametrize(("deaf", "histories"), [(False, 60), (True, 30)], ids=["hearing", "deaf while pushing"])
async def test_every_rxdb_phone_holds_exactly_what_its_user_may_see_on_sqlite(
    sqlite_template: Path, tmp_path: Path, deaf: bool, histories: int
) -> None:
    async with fast_engine(fresh_sqlite(sqlite_template, tmp_path)) as engine:
        await play_many(engine, range(FIRST_SEED, FIRST_SEED + (ASKED_FOR or histories)), deaf=deaf)


@pytest.mark.postgres
@pytest.mark.requirement("R4")
@pytest.mark.parametrize("database_source", ["postgres"], indirect=True)
async def test_every_rxdb_phone_holds_exactly_what_its_user_may_see_on_postgres(engine: Engine) -> None:
    await play_many(engine, range(FIRST_SEED, FIRST_SEED + (ASKED_FOR or 10)))
    await play_many(engine, range(FIRST_SEED, FIRST_SEED + (ASKED_FOR or 6)), deaf=True)


async def play_many(engine: Engine, seeds: Iterable[int], *, deaf: bool = False) -> None:
    for seed in seeds:
        await play_rx(engine, seed, deaf=deaf)


# -- mutants: each reading below is simpler, and wrong -----------------------------------------------------------

Patch = Callable[[pytest.MonkeyPatch], None]


def _scopes(
    patch: pytest.MonkeyPatch, judge: Callable[[Checkpoint, Checkpoint, Mapping[str, int]], Checkpoint]
) -> None:
    """`judge` is handed the checkpoint as it was, as it should be by the grants of now, and what is held."""
    true = rxdb._with_scopes_of_now

    async def mutant(reader: Any, at: Checkpoint) -> tuple[Checkpoint, dict[str, int]]:
        found, held = await true(reader, at)
        return judge(at, found, held), held

    patch.setattr(rxdb, "_with_scopes_of_now", mutant)


def no_walk(patch: pytest.MonkeyPatch) -> None:
    _scopes(patch, lambda was, found, held: replace(found, walk=was.walk))


def a_walk_from_here_instead_of_from_the_loss(patch: pytest.MonkeyPatch) -> None:
    """A scope lost again while its walk goes on forgets how far back the first loss reached."""

    def judge(was: Checkpoint, found: Checkpoint, held: Mapping[str, int]) -> Checkpoint:
        walks = (w if w in was.walk else replace(w, from_seq=was.position.seq + 1) for w in found.walk)
        return replace(found, walk=tuple(walks))

    _scopes(patch, judge)


def no_backfill_of_a_gained_scope(patch: pytest.MonkeyPatch) -> None:
    _scopes(patch, lambda was, found, held: found if was.scopes_at < 0 else replace(found, backfill=was.backfill))


def backfill_of_a_lost_scope_goes_on(patch: pytest.MonkeyPatch) -> None:
    _scopes(patch, lambda was, found, held: replace(found, backfill=tuple({*was.backfill, *found.backfill})))


def scopes_judged_at_the_position(patch: pytest.MonkeyPatch) -> None:
    true = rxdb.held_scopes

    async def mutant(conn: Any, user_id: str, at: int) -> Any:
        return await true(conn, user_id, at if at < 0 else at + 3)

    patch.setattr(rxdb, "held_scopes", mutant)


def a_short_page(patch: pytest.MonkeyPatch) -> None:
    true = rxdb._Filling
    patch.setattr(rxdb, "_Filling", lambda limit: true(max(1, limit - 1)))


def a_checkpoint_that_passes_an_undelivered_row(patch: pytest.MonkeyPatch) -> None:
    true = rxdb._take

    def mutant(*args: Any) -> bool:
        true(*args)
        return True

    patch.setattr(rxdb, "_take", mutant)


def seq_without_tie_break(patch: pytest.MonkeyPatch) -> None:
    true = rxdb._delta

    async def mutant(*args: Any) -> Position:
        return Position((await true(*args)).seq)

    patch.setattr(rxdb, "_delta", mutant)


def gone_although_still_seen_elsewhere(patch: pytest.MonkeyPatch) -> None:
    async def mutant(_self: Any, _ids: Any) -> set[str]:
        return set()

    patch.setattr(rxdb._Reader, "visible", mutant)


def gone_although_never_seen(patch: pytest.MonkeyPatch) -> None:
    true = rxdb._Reader.places

    async def mutant(*args: Any) -> Any:
        return [replace(place, met=True) for place in await true(*args)]

    patch.setattr(rxdb._Reader, "places", mutant)


def an_id_twice_in_a_page(patch: pytest.MonkeyPatch) -> None:
    """A record of two scopes takes two of the places a page has."""

    def put(self: Any, record_id: str, one: Any) -> bool:
        if self.room <= 0:
            return False
        self.found[f"{record_id}{len(self.found)}"] = one
        return True

    patch.setattr(rxdb._Filling, "put", put)


def a_kept_answer_for_any_checkpoint(patch: pytest.MonkeyPatch) -> None:
    true = rxdb._read_kept

    async def mutant(*args: Any) -> Any:
        kept = await true(*args)
        return kept and replace(kept, presented=_Any())

    patch.setattr(rxdb, "_read_kept", mutant)


class _Any:
    def __eq__(self, _: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


MUTANTS: tuple[Patch, ...] = (
    no_walk,
    a_walk_from_here_instead_of_from_the_loss,
    no_backfill_of_a_gained_scope,
    backfill_of_a_lost_scope_goes_on,
    scopes_judged_at_the_position,
    a_short_page,
    a_checkpoint_that_passes_an_undelivered_row,
    seq_without_tie_break,
    gone_although_still_seen_elsewhere,
    gone_although_never_seen,
    an_id_twice_in_a_page,
    a_kept_answer_for_any_checkpoint,
)


@pytest.mark.mutants
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
async def test_the_oracle_catches(
    mutant: Patch, monkeypatch: pytest.MonkeyPatch, sqlite_template: Path, tmp_path: Path
) -> None:
    mutant(monkeypatch)
    async with fast_engine(fresh_sqlite(sqlite_template, tmp_path)) as engine:
        with pytest.raises(Mismatch):
            await play_many(engine, MUTANT_HISTORIES)


def told_only_once(patch: pytest.MonkeyPatch) -> None:
    async def mutant(_self: Any, _moment_ms: int) -> set[str]:
        return set()

    patch.setattr(rxdb._Reader, "pushed_since", mutant)


def told_again_without_the_walks(patch: pytest.MonkeyPatch) -> None:
    """Told again from the position alone: what came and went with a scope is told once."""
    patch.setattr(rxdb, "_merged", lambda at, earlier: replace(at, position=min(at.position, earlier.position)))


@pytest.mark.mutants
@pytest.mark.parametrize("mutant", [told_only_once, told_again_without_the_walks], ids=lambda mutant: mutant.__name__)
async def test_the_oracle_of_deaf_phones_catches(
    mutant: Patch, monkeypatch: pytest.MonkeyPatch, sqlite_template: Path, tmp_path: Path
) -> None:
    mutant(monkeypatch)
    async with fast_engine(fresh_sqlite(sqlite_template, tmp_path)) as engine:
        with pytest.raises(Mismatch):
            await play_many(engine, MUTANT_HISTORIES, deaf=True)


async def test_without_kept_answers_phones_converge_all_the_same(
    monkeypatch: pytest.MonkeyPatch, sqlite_template: Path, tmp_path: Path
) -> None:
    """They spare work and expiry, nothing else: `test_rxdb.py` shows both."""

    async def forgotten(*_: Any) -> None:
        return None

    monkeypatch.setattr(rxdb, "_read_kept", forgotten)
    async with fast_engine(fresh_sqlite(sqlite_template, tmp_path)) as engine:
        await play_many(engine, range(20))
