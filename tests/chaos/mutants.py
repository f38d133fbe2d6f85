"""The product, wrong in one way. Each mutant is a patch to a running process, so that nothing of it is in the product.

A mutant that no run catches is a hole in the judge. `python -m tests.chaos.hunt` plays them all.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend.storage import customers, engine
from backend.sync import changes, feed, protocol, pull, push, work
from backend.sync.places import Places
from backend.sync.work import Door


class Patches:
    """Attributes replaced, and put back."""

    def __init__(self) -> None:
        self._kept: list[tuple[Any, str, Any]] = []

    def set(self, place: Any, name: str, value: Any) -> None:
        self._kept.append((place, name, getattr(place, name)))
        setattr(place, name, value)

    def undo(self) -> None:
        while self._kept:
            place, name, value = self._kept.pop()
            setattr(place, name, value)


@dataclass(frozen=True, slots=True)
class Mutant:
    """`seen_on`: where it can be seen at all; `simulated`: whether the simulation can see it too; `prepared`: what its
    database needs before a server begins."""

    name: str
    patch: Callable[[Patches], None]
    seen_on: tuple[str, ...] = ("sqlite", "postgres")
    simulated: bool = True
    prepared: tuple[str, ...] = ()

    def apply(self) -> Patches:
        patches = Patches()
        self.patch(patches)
        return patches


def no_idempotency(patches: Patches) -> None:
    """Whatever comes is done, as often as it comes."""
    lock, save, true = push.lock_pushing_device, work.save_receipts, protocol.push
    turn = [0]

    async def any_turn(taken: Any, mutations: Sequence[Any], *args: Any, **named: Any) -> Any:
        turn[0] = mutations[0].client_seq - 1 if mutations else 0
        return await true(taken, mutations, *args, **named)

    async def pretended(*args: Any, **named: Any) -> Any:
        before = turn[0]
        return replace(await lock(*args, **named), last_client_seq=before)

    async def none_known(*_: Any) -> dict[str, Any]:
        return {}

    async def kept_anew(conn: Any, receipts: Sequence[Any], **named: Any) -> None:
        await conn.execute("DELETE FROM receipt WHERE mutation_id = ANY(?)", [r.mutation_id for r in receipts])
        await save(conn, receipts, **named)

    patches.set(push, "lock_pushing_device", pretended)
    patches.set(protocol, "push", any_turn)
    patches.set(push, "receipts_of", none_known)
    patches.set(work, "save_receipts", kept_anew)


def receipt_in_a_second_transaction(patches: Patches) -> None:
    """The work is committed first and what was answered to it a moment later."""
    save, true = work.save_receipts, work.open_work

    async def not_yet(*_: Any, **__: Any) -> None:
        return None

    def opened(where: Any, principal: Any, **named: Any) -> Any:
        return _SecondTransaction(true(where, principal, **named), where, save)

    patches.set(work, "save_receipts", not_yet)
    patches.set(work, "open_work", opened)


class _SecondTransaction:
    def __init__(self, first: Any, where: Any, save: Any) -> None:
        self._first, self._where, self._save = first, where, save

    async def __aenter__(self) -> Any:
        self._work = await self._first.__aenter__()
        return self._work

    async def __aexit__(self, *error: Any) -> Any:
        done = await self._first.__aexit__(*error)
        if error[0] is None and self._work.receipts:
            await asyncio.sleep(0.02)
            async with self._where.write() as conn:
                await self._save(conn, self._work.receipts, seq=self._work.seq, now_ms=self._work.now_ms)
        return done


def answer_before_commit(patches: Patches) -> None:
    """A push is answered as soon as it was told; the commit follows."""
    true = protocol.in_work

    async def early(where: Any, principal: Any, story: Any, *, door: Door = Door.ONLINE, **named: Any) -> Any:
        if door is not Door.PUSH:
            return await true(where, principal, story, door=door, **named)
        told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def kept(inner: Any) -> Any:
            found = await story(inner)
            await inner.leave()
            inner.touches, inner.receipts, inner.audits, inner.reseated = {}, [], [], set()
            if not told.done():
                told.set_result((found, inner))
            # long enough for a kill to come in between on a busy machine too
            await asyncio.sleep(0.3)
            return found

        running = asyncio.ensure_future(true(where, principal, kept, door=door, **named))
        await asyncio.wait([running, told], return_when=asyncio.FIRST_COMPLETED)
        _LATE.add(running)
        running.add_done_callback(_LATE.discard)
        return told.result() if told.done() else running.result()

    patches.set(protocol, "in_work", early)


_LATE: set[Any] = set()


def scope_leak(patches: Patches) -> None:
    """A rep is shown one patch too many."""
    true = pull.read_opening

    async def wide(conn: Any, principal: Any, at: int) -> Any:
        found = await true(conn, principal, at)
        rows = await conn.fetch("SELECT id FROM territory WHERE kind = 'PATCH' ORDER BY path")
        extra = [(f"territory:{row[0]}", 1, None) for row in rows[:1]]
        return found._replace(grants=[*extra, *found.grants])

    patches.set(pull, "read_opening", wide)


def write_to_another_territory(patches: Patches) -> None:
    """Who writes is not asked whether he may see it."""

    def anything(*_: Any, **__: Any) -> tuple[str, list[str]]:
        return "(1 = 1)", []

    patches.set(changes, "visible_to", anything)
    patches.set(customers, "visible_to", anything)


def no_tombstone(patches: Patches) -> None:
    """What is deleted is deleted, and no device is told."""

    def silent(_work: Any, _collection: str, _record_id: str) -> None:
        return None

    patches.set(work.Work, "deleted", silent)


def brought_back_nowhere(patches: Patches) -> None:
    """What comes back is in its table again, and stands in nobody's scope."""
    true = feed.places_of
    back: set[tuple[str, str]] = set()
    restored = work.Work.restored

    def noted(self: work.Work, collection: str, record_id: str) -> None:
        restored(self, collection, record_id)
        back.add((collection, record_id))

    async def nowhere(conn: Any, collection: str, ids: Sequence[str]) -> Any:
        found = await true(conn, collection, ids)
        for record_id in ids:
            if (collection, record_id) in back:
                found[record_id] = set()
        return found

    patches.set(work.Work, "restored", noted)
    patches.set(feed, "places_of", nowhere)


def no_removal_on_revoke(patches: Patches) -> None:
    """Who loses a territory is not told so."""
    true = pull.scopes_of
    patches.set(pull, "scopes_of", lambda grants, at: (true(grants, at)[0], set()))


def cursor_skips_at_page_end(patches: Patches) -> None:
    """The row that no longer fits into a page counts as sent."""
    true = pull._take

    def skipping(places: Places, *args: Any) -> int:
        true(places, *args)
        return len(places)

    patches.set(pull, "_take", skipping)


def whole_row_overwrite(patches: Patches) -> None:
    """A change brings back the whole record as its author had it."""
    true = changes._patch
    versions: dict[str, list[tuple[int, dict[str, Any]]]] = {}

    def overwriting(collection: Any, shape: Any, change: Any, row: Any, stored: Any, *more: Any) -> Any:
        kept = versions.setdefault(change.id, [])
        if not kept or kept[-1][0] != stored.seq:
            kept.append((stored.seq, dict(row)))
        draft = true(collection, shape, change, row, stored, *more)
        old = [past for seq, past in kept if seq <= (change.base_rev or 0)]
        if old and not draft.problems:
            names = [f.name for f in collection.own_fields if not f.server_only and not f.fixed]
            back = {n: old[-1][n] for n in names if n not in change.fields and old[-1].get(n) != row.get(n)}
            back = {n: v for n, v in back.items() if n not in ("state", "repId", "assigneeId")}
            draft.after.update(back)
            draft.accepted.update(back)
        return draft

    patches.set(changes, "_patch", overwriting)


def sequence_from_nextval(patches: Patches) -> None:
    """A seq is drawn from a sequence, which nobody waits for: who draws first may commit last."""
    true = engine.for_postgres

    async def draw(conn: Any) -> int:
        ((seq,),) = await conn.fetch(
            # an episode begins high above the one before
            "SELECT CASE WHEN n.drawn > c.seq THEN n.drawn ELSE setval('chaos_seq', c.seq + 1) END"
            " FROM (SELECT nextval('chaos_seq') AS drawn) n CROSS JOIN ONLY sync_clock c"
        )
        await asyncio.sleep(0.01)
        return int(seq)

    def last_drawn(sql: str) -> str:
        """Whoever reads the clock reads what was drawn last."""
        text = true(sql)
        if "FOR UPDATE" in text:
            return text
        return _CLOCK.sub(lambda found: f"FROM {_DRAWN} {found[1] or 'sync_clock'}", text)

    patches.set(work, "step_clock", draw)
    patches.set(engine, "for_postgres", last_drawn)


_CLOCK = re.compile(r"FROM sync_clock\b(?: (?!WHERE|LEFT|JOIN)(\w+))?")
_DRAWN = "(SELECT k.id, GREATEST(k.seq, s.last_value) AS seq, k.horizon FROM sync_clock k CROSS JOIN chaos_seq s)"
A_SEQUENCE = ("CREATE SEQUENCE chaos_seq", "SELECT setval('chaos_seq', (SELECT seq FROM sync_clock WHERE id = 1))")


def staging_before_the_clock(patches: Patches) -> None:
    """Documents and places are computed before the clock's row is held."""
    true = work.Work.leave

    async def early(self: Any) -> None:
        staged: dict[str, dict[str, Any]] = {"documents": {}, "places": {}}
        for name in {collection for collection, _ in self.touches}:
            ids = [record_id for collection, record_id in self.touches if collection == name]
            staged["documents"][name] = await documents(self.conn, feed.COLLECTIONS[name], ids)
            staged["places"][name] = await places(self.conn, name, ids)
        _STAGED[asyncio.current_task()] = staged
        await asyncio.sleep(0.05)
        try:
            await true(self)
        finally:
            del _STAGED[asyncio.current_task()]

    documents, places = feed.read_documents, feed.places_of

    async def staged_documents(conn: Any, collection: Any, ids: Sequence[str]) -> Any:
        held = _STAGED.get(asyncio.current_task(), {}).get("documents", {}).get(collection.name)
        if held is None:
            return await documents(conn, collection, ids)
        return {record_id: held[record_id] for record_id in ids if record_id in held}

    async def staged_places(conn: Any, collection: str, ids: Sequence[str]) -> Any:
        held = _STAGED.get(asyncio.current_task(), {}).get("places", {}).get(collection)
        return await places(conn, collection, ids) if held is None else held

    patches.set(work.Work, "leave", early)
    patches.set(feed, "read_documents", staged_documents)
    patches.set(feed, "places_of", staged_places)


_STAGED: dict[Any, dict[str, dict[str, Any]]] = {}


def no_row_lock(patches: Patches) -> None:
    """Records are loaded without being held against other writers."""
    true = engine.PostgresConnection.fetch

    async def free(self: Any, sql: str, *args: object) -> Any:
        if "sync_clock" not in sql and "FROM device" not in sql and "FOR " in sql:
            found = await true(self, sql.partition(" FOR UPDATE")[0].partition(" FOR NO KEY")[0], *args)
            await asyncio.sleep(0.01)
            return found
        return await true(self, sql, *args)

    patches.set(engine.PostgresConnection, "fetch", free)


POSTGRES_ONLY = ("postgres",)
"""SQLite has one writer at a time: there these three cannot go wrong."""
MUTANTS: Mapping[str, Mutant] = {
    mutant.name: mutant
    for mutant in (
        Mutant("no_idempotency", no_idempotency),
        Mutant("receipt_in_a_second_transaction", receipt_in_a_second_transaction),
        Mutant("answer_before_commit", answer_before_commit, simulated=False),
        Mutant("scope_leak", scope_leak),
        Mutant("write_to_another_territory", write_to_another_territory),
        Mutant("no_tombstone", no_tombstone),
        Mutant("brought_back_nowhere", brought_back_nowhere),
        Mutant("no_removal_on_revoke", no_removal_on_revoke),
        Mutant("cursor_skips_at_page_end", cursor_skips_at_page_end),
        Mutant("whole_row_overwrite", whole_row_overwrite),
        Mutant("sequence_from_nextval", sequence_from_nextval, POSTGRES_ONLY, simulated=False, prepared=A_SEQUENCE),
        Mutant("staging_before_the_clock", staging_before_the_clock, POSTGRES_ONLY, simulated=False),
        Mutant("no_row_lock", no_row_lock, POSTGRES_ONLY, simulated=False),
    )
}
