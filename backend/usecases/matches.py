"""Records that may be one: named before one is made, queued when one was, and said to be two (R32)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.domain.duplicates import Match, name_cores
from backend.domain.fields import validate
from backend.domain.given import check_first, check_range
from backend.domain.merging import MERGE_RIGHT_ON, MERGEABLE
from backend.domain.permissions import Action, may
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import is_id
from backend.storage.engine import Engine
from backend.storage.visibility import visible_to
from backend.sync.changes import load_records
from backend.sync.collections import COLLECTIONS
from backend.sync.matching import compare_alike, matches_of, name_match, save_keys
from backend.sync.work import Door, Work, in_work

RECORDS_PER_WORK = 500
Progress = Callable[[str, int], None]
"""Told (collection, records looked at so far) after each chunk."""


class MatchState(StrEnum):
    """What became of two records that may be one."""

    OPEN = "OPEN"
    MERGED = "MERGED"
    DISTINCT = "DISTINCT"


async def dismiss_match(work: Work, pair_id: str) -> None:
    """Two records that were taken for one are two: the pair is not shown again. Raises NOT_FOUND, NOT_PERMITTED."""
    rows = await work.conn.fetch("SELECT collection, first_id, second_id FROM match_pair WHERE id = ?", pair_id)
    if not rows:
        raise Refused(Problem(Code.NOT_FOUND, ("id",)))
    ((collection, *ids),) = rows
    role = work.principal.role
    if role is None or not may(role, Action.MERGE, MERGE_RIGHT_ON[collection]):
        raise Refused(Problem(Code.NOT_PERMITTED))
    if len(await load_records(work, COLLECTIONS[collection], ids, lock=False)) < len(set(ids)):
        raise Refused(Problem(Code.NOT_FOUND, ("id",)))
    await work.conn.execute(
        "UPDATE match_pair SET state = 'DISTINCT', decided_at = ?, decided_by = ? WHERE id = ? AND state = 'OPEN'",
        work.now_ms,
        work.principal.actor,
        pair_id,
    )
    work.audit("DISTINCT", collection, ids[0], (ids[1],))


async def name_pair(work: Work, collection: str, one_id: str, other_id: str) -> str:
    """Say that two records one sees are one, for whoever may merge them; the pair's id.

    Raises NOT_PERMITTED for who may change no such record, NOT_ALLOWED_VALUE, INVALID_VALUE, NOT_FOUND.
    """
    if collection not in MERGE_RIGHT_ON:
        raise Refused(Problem(Code.NOT_ALLOWED_VALUE, ("collection",), tuple(MERGE_RIGHT_ON)))
    role = work.principal.role
    if role is None or not may(role, Action.UPDATE, MERGE_RIGHT_ON[collection]):
        raise Refused(Problem(Code.NOT_PERMITTED))
    if one_id == other_id:
        raise Refused(Problem(Code.INVALID_VALUE, ("otherId",)))
    found = await load_records(work, COLLECTIONS[collection], [one_id, other_id], lock=False)
    named = (("oneId", one_id), ("otherId", other_id))
    refuse_if(Problem(Code.NOT_FOUND, (name,)) for name, record_id in named if record_id not in found)
    work.audit("MATCH", collection, one_id, (other_id,))
    return await name_match(work, collection, one_id, other_id)


async def likely_duplicates(
    engine: Engine, principal: Principal, collection: str, fields: Mapping[str, object], *, first: int, rows_max: int
) -> list[Match]:
    """The records the caller sees that a record of these fields may be one with, best first.

    For whoever may create or merge such records: others could ask for telephone numbers one by one.
    Raises NOT_PERMITTED, OUT_OF_RANGE for `first`, and what the fields say.
    """
    role = principal.role
    if role is None or not any(
        may(role, action, MERGE_RIGHT_ON[collection]) for action in (Action.CREATE, Action.MERGE)
    ):
        raise Refused(Problem(Code.NOT_PERMITTED))
    check_first(first, rows_max)
    shape = MERGEABLE[collection]
    clean, problems = validate(replace(shape, required=(), rules=()), fields, creating=False)
    refuse_if(problem.under("candidate") for problem in problems)
    if not (clean.keys() & {"phone", "email", "taxId", "latE7"} or name_cores(clean)):
        raise Refused(Problem(Code.REQUIRED, ("candidate",), ("nameZh", "nameKo", "nameEn", "phone", "email", "taxId")))
    visible, args = visible_to(principal, collection, "t")
    async with engine.read() as conn:
        return (await matches_of(conn, collection, clean, visible=visible, args=args))[:first]


async def check_queue(
    engine: Engine, principal: Principal, collection: str, *, first: int, after: str | None, rows_max: int
) -> None:
    """Refuse a question for pairs that nobody may ask so; `after` is the id of the last pair seen.

    Raises NOT_ALLOWED_VALUE, NOT_PERMITTED for whoever may not merge, and OUT_OF_RANGE for `first` together with
    CURSOR_INVALID.
    """
    if collection not in MERGE_RIGHT_ON:
        raise Refused(Problem(Code.NOT_ALLOWED_VALUE, ("collection",), tuple(MERGE_RIGHT_ON)))
    if not principal.may(Action.MERGE, MERGE_RIGHT_ON[collection]):
        raise Refused(Problem(Code.NOT_PERMITTED))
    problems: list[Problem] = []
    check_range(first, 1, rows_max, "first", problems)
    pair = "SELECT 1 FROM match_pair WHERE id = ? AND collection = ?"
    if after is not None and not (is_id(after) and await engine.fetch(pair, after, collection)):
        problems.append(Problem(Code.CURSOR_INVALID, ("after",)))
    refuse_if(problems)


async def keep_match_keys(
    engine: Engine, principal: Principal, *, clock: Clock, retries_max: int, progress: Progress | None = None
) -> int:
    """Give keys to records that have none, as those have that were there before keys were kept; how many."""
    given = 0
    for name in MERGEABLE:
        after: str | None = ""
        while after is not None:
            last = after

            async def story(work: Work, name: str = name, last: str = last) -> tuple[str | None, int]:
                return await _index(work, name, last)

            (after, count), _ = await in_work(
                engine, principal, story, clock=clock, retries_max=retries_max, door=Door.JOB
            )
            given += count
            if progress is not None and count:
                progress(name, given)
    return given


async def _index(work: Work, name: str, after: str) -> tuple[str | None, int]:
    declared = COLLECTIONS[name]
    rows = await work.conn.fetch(
        f"SELECT t.id FROM {declared.table} t WHERE t.id > ? AND NOT EXISTS"
        " (SELECT 1 FROM match_key k WHERE k.collection = ? AND k.record_id = t.id) ORDER BY t.id LIMIT ?",
        after,
        name,
        RECORDS_PER_WORK,
    )
    ids = [row[0] for row in rows]
    if not ids:
        return None, 0
    columns = ", ".join(f'"{column}"' for column in declared.columns.values())
    found = await work.conn.fetch(f"SELECT {columns} FROM {declared.table} WHERE id = ANY(?)", ids)
    records = [dict(zip(declared.columns, row, strict=True)) for row in found]
    await save_keys(work.conn, name, {str(record["id"]): record for record in records})
    return str(ids[-1]), len(ids)


async def queue_matches(
    engine: Engine, principal: Principal, *, clock: Clock, retries_max: int, progress: Progress | None = None
) -> int:
    """Compare all records that share a number or a name, and queue those that may be one; how many pairs are new."""
    new = 0
    for name in MERGEABLE:
        after: str | None = ""
        looked = 0
        while after is not None:
            last = after

            async def story(work: Work, name: str = name, last: str = last) -> tuple[str | None, int, int]:
                return await compare_alike(work, name, last, RECORDS_PER_WORK)

            (after, count, pairs), _ = await in_work(
                engine, principal, story, clock=clock, retries_max=retries_max, door=Door.JOB
            )
            looked, new = looked + count, new + pairs
            if progress is not None:
                progress(name, looked)
    return new
