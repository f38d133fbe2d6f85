"""Sync issues: what was entered on a device and did not simply stand, kept so that a person understands it.

An issue is a record like any other: a row, a document, a place (`user:<author>`), so it reaches its author and
whoever manages him. It says on its own what it is about: the record in words, the people by name, the names of
ids in its values, because a phone may hold none of them. Whatever a reader may not see is left out of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from backend.domain.fields import INTEGER_MAX
from backend.domain.issues import REFUSED_WAYS, IssueState, Resolution, WayOut
from backend.domain.times import instant_text
from backend.errors import Code, Problem
from backend.ids import is_id, new_id
from backend.storage.engine import Connection
from backend.storage.visibility import visible_to
from backend.sync.collections import COLLECTIONS
from backend.sync.documents import canonical
from backend.sync.kept import Kept, as_kept
from backend.sync.receipts import problem_record
from backend.sync.telling import Telling
from backend.sync.work import Work

ISSUES = "syncIssues"
HISTORY_MAX = 50
PATH_CHARACTERS_MAX = 200


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody as an issue names him; without a name it was no person, or one who is not known any more."""

    id: str
    name: str = ""


async def keep_issue(
    work: Work,
    *,
    collection: str,
    record_id: str,
    code: str,
    mutation_id: str | None = None,
    captured_at_ms: int | None = None,
    path: str | None = None,
    mine: object = None,
    theirs: object = None,
    theirs_by: str | None = None,
    base: object = None,
    ways_out: Sequence[str] = (),
    user_id: str | None = None,
) -> str:
    """Keep one entry that did not simply stand; `user_id` is whose it is. Returns the issue's id."""
    [issue_id] = await keep_issues(
        work,
        [
            Kept(
                collection,
                record_id,
                code,
                path=path,
                base=base,
                mine=mine,
                theirs=theirs,
                writer=theirs_by,
                mutation_id=mutation_id,
                captured_at_ms=captured_at_ms,
                ways_out=tuple(ways_out),
                author_id=user_id,
            )
        ],
    )
    return issue_id


async def keep_issues(work: Work, kept: Sequence[Kept]) -> list[str]:
    """Keep entries that did not simply stand; their ids, in order."""
    if not kept:
        return []
    writers = await people_of(work.conn, {one.writer for one in kept if one.writer})
    authors = await people_of(work.conn, {one.author_id or work.principal.holder for one in kept})
    told = await Telling(work.conn, work.principal).read(kept)
    rows, ids = [], []
    for one in kept:
        issue_id = new_id()
        ids.append(issue_id)
        author = authors[one.author_id or work.principal.holder]
        theirs_by = writers[one.writer] if one.writer else None
        settled = one.resolution is not None
        rows.append(
            (
                issue_id,
                author.id,
                author.name,
                work.principal.device_id if one.author_id in (None, work.principal.holder) else None,
                one.collection,
                one.record_id,
                one.mutation_id,
                one.code,
                one.path[:PATH_CHARACTERS_MAX] if one.path else None,
                _json(as_kept(one.base)),
                _json(as_kept(one.mine)),
                _json(as_kept(one.theirs)),
                theirs_by and theirs_by.id,
                theirs_by and theirs_by.name,
                await written_at_ms(work, one) if one.writer else None,
                one.theirs_rev,
                one.intent,
                one.base_rev,
                _json([problem_record(problem) for problem in one.problems]),
                _json(told.about(one)),
                _json(told.names(one)),
                _json(list(one.ways_out)),
                (IssueState.RESOLVED if settled else IssueState.OPEN).value,
                one.resolution and one.resolution.value,
                work.now_ms if settled else None,
                one.captured_at_ms,
                work.now_ms,
            )
        )
        work.touched(ISSUES, issue_id)
    await work.conn.execute_many(
        "INSERT INTO sync_issue (id, user_id, author_name, device_id, collection, record_id, mutation_id, code, field,"
        " base, mine, theirs, theirs_by, theirs_name, theirs_at, theirs_rev, intent, base_rev, problems, about, names,"
        " ways_out, state, resolution, resolved_at, captured_at, created_at)"
        f" VALUES ({', '.join('?' for _ in rows[0])})",
        rows,
    )
    return ids


async def keep_refused(
    work: Work,
    *,
    collection: str,
    record_id: str,
    intent: str,
    base_rev: int | None,
    fields: object,
    problems: Sequence[Problem],
    fallback: str,
    mutation_id: str | None,
    captured_at_ms: int | None,
    sendable_again: bool = True,
) -> None:
    """What the server does not take stays with its author, whole; what was decided about an issue, with the issue.

    What is said of somebody erased is kept nowhere.
    """
    if tells_of_erased(problems):
        return
    if collection == ISSUES and await keep_attempt(work, record_id, fields, problems):
        return
    await keep_issues(
        work,
        [
            Kept(
                collection,
                record_id if is_id(record_id) else new_id(),
                problems[0].code.value if problems else fallback,
                path=".".join(problems[0].path) if problems else None,
                mine=fields,
                mutation_id=mutation_id if mutation_id is not None and is_id(mutation_id) else None,
                captured_at_ms=captured_at_ms,
                ways_out=REFUSED_WAYS
                if sendable_again and collection in COLLECTIONS and collection != ISSUES
                else (WayOut.DISCARD.value,),
                intent=intent,
                base_rev=base_rev if base_rev is None or abs(base_rev) <= INTEGER_MAX else None,
                problems=tuple(problems),
            )
        ],
    )


def tells_of_erased(problems: Iterable[Problem]) -> bool:
    return any(problem.code is Code.PERSON_ERASED for problem in problems)


async def keep_attempt(work: Work, issue_id: str, sent: object, problems: Sequence[Problem]) -> bool:
    """A decision that was not taken is kept in the history of its issue; False where there is none to be seen."""
    found = await read_issue(work, issue_id) if is_id(issue_id) else None
    if found is None or len(found.history) >= HISTORY_MAX:
        return False
    code = problems[0].code.value if problems else Code.DEPENDENCY_FAILED.value
    await note_history(work, found, {"sent": sent, "code": code})
    return True


@dataclass(frozen=True, slots=True)
class Issue:
    """An issue as it is kept; `mine`, `base` and `theirs` as documents carry them."""

    id: str
    author_id: str
    collection: str
    record_id: str
    code: str
    path: str | None
    base: Any
    mine: Any
    theirs: Any
    theirs_rev: int | None
    intent: str | None
    base_rev: int | None
    ways_out: tuple[str, ...]
    state: str
    resolution: str | None
    resolved_value: Any
    resolved_by: str | None
    resolved_name: str | None
    history: tuple[Mapping[str, Any], ...]


async def read_issue(work: Work, issue_id: str) -> Issue | None:
    """An issue the principal sees (his own, or that of whom he manages), held against others; None without."""
    visible, args = visible_to(work.principal, ISSUES, "t")
    rows = await work.conn.fetch(
        "SELECT t.id, t.user_id, t.collection, t.record_id, t.code, t.field, t.base, t.mine, t.theirs, t.theirs_rev,"
        " t.intent, t.base_rev, t.ways_out, t.state, t.resolution, t.resolved_value, t.resolved_by, t.resolved_name,"
        f" t.history FROM sync_issue t WHERE t.id = ? AND {visible} FOR UPDATE OF t",
        issue_id,
        *args,
    )
    if not rows:
        return None
    row = rows[0]
    base, mine, theirs, value = (None if text is None else orjson.loads(text) for text in (*row[6:9], row[15]))
    ways_out, history = tuple(orjson.loads(row[12])), tuple(orjson.loads(row[18]))
    return Issue(*[*row[:6], base, mine, theirs, *row[9:12], ways_out, *row[13:15], value, *row[16:18], history])


async def note_history(work: Work, issue: Issue, entry: Mapping[str, object]) -> None:
    """Add what was tried or what stood before to an issue; the oldest entries are never dropped, the list is bounded
    by refusing further attempts."""
    resolver = (await people_of(work.conn, {work.principal.holder}))[work.principal.holder]
    whole = {"at": instant_text(work.now_ms), "by": resolver.id, "name": resolver.name, **entry}
    await work.conn.execute(
        "UPDATE sync_issue SET history = ? WHERE id = ?", _json(as_kept([*issue.history, whole])), issue.id
    )
    work.touched(ISSUES, issue.id, ("history",))


async def refresh_issue(
    work: Work, issue: Issue, *, theirs: object, writer: str, theirs_rev: int, entry: Mapping[str, object]
) -> None:
    """The record has changed again: the issue says what stands now, and keeps what it said before in its history."""
    now = Kept(issue.collection, issue.record_id, issue.code, path=issue.path, theirs=theirs, writer=writer)
    who = (await people_of(work.conn, {writer}))[writer]
    rows = await work.conn.fetch("SELECT names FROM sync_issue WHERE id = ?", issue.id)
    told = await Telling(work.conn, work.principal).read([now])
    await work.conn.execute(
        "UPDATE sync_issue SET theirs = ?, theirs_by = ?, theirs_name = ?, theirs_at = ?, theirs_rev = ?, names = ?"
        " WHERE id = ?",
        _json(as_kept(theirs)),
        who.id,
        who.name,
        await written_at_ms(work, now),
        theirs_rev,
        _json({**orjson.loads(rows[0][0]), **told.names(now)}),
        issue.id,
    )
    await note_history(work, issue, {**entry, "code": Code.CONFLICT.value, "stood": issue.theirs})
    work.touched(ISSUES, issue.id, ("theirs", "theirsBy", "theirsName", "theirsAt", "theirsRev", "names"))


async def close_issue(work: Work, issue: Issue, resolution: Resolution, value: object) -> None:
    """An issue is settled; nothing of what it holds is taken away."""
    resolver = (await people_of(work.conn, {work.principal.holder}))[work.principal.holder]
    await work.conn.execute(
        "UPDATE sync_issue SET state = ?, resolution = ?, resolved_value = ?, resolved_by = ?, resolved_name = ?,"
        " resolved_at = ? WHERE id = ?",
        IssueState.RESOLVED.value,
        resolution.value,
        _json(as_kept(value)),
        resolver.id,
        resolver.name,
        work.now_ms,
        issue.id,
    )
    work.touched(ISSUES, issue.id, ("state", "resolution", "resolvedValue", "resolvedBy", "resolvedName", "resolvedAt"))
    work.audit("RESOLVE", ISSUES, issue.id, (resolution.value,))


async def people_of(conn: Connection, writers: Iterable[str]) -> dict[str, Person]:
    """Writer (a device, or the holder of an online request) → the person behind it."""
    wanted = sorted(set(writers))
    if not wanted:
        return {}
    rows = await conn.fetch(
        "SELECT d.id, u.id, u.name FROM device d JOIN user_account u ON u.id = d.user_id WHERE d.id = ANY(?)"
        " UNION ALL SELECT u.id, u.id, u.name FROM user_account u WHERE u.id = ANY(?)",
        wanted,
        wanted,
    )
    found = {writer: Person(user_id, name) for writer, user_id, name in rows}
    return {writer: found.get(writer, Person(writer)) for writer in wanted}


async def written_at_ms(work: Work, one: Kept) -> int | None:
    """When the standing value reached us, by what was noted of who wrote what; None where nothing was."""
    if one.path is None:
        return None
    rows = await work.conn.fetch(
        "SELECT at FROM audit_entry WHERE record_id = ? AND collection = ? AND (device_id = ? OR actor = ?)"
        " AND (action = 'CREATE' OR action = 'DELETE' OR fields_changed LIKE ?) ORDER BY at DESC LIMIT 1",
        one.record_id,
        one.collection,
        one.writer,
        f"staff:{one.writer}",
        f'%"{one.path.partition(".")[0]}"%',
    )
    return int(rows[0][0]) if rows else None


def _json(value: object) -> str:
    return canonical(value).decode()
