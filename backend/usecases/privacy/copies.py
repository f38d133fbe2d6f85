"""What was kept of a person beside the records: files, undo data, sync issues, receipts, origins, audit values."""

from collections.abc import Iterable, Mapping, Sequence

import orjson

from backend.domain.privacy import telling_terms
from backend.errors import Code, Problem
from backend.storage.audit import audit_open
from backend.storage.deleted import forget_deleted_copies
from backend.storage.engine import Connection
from backend.sync.issues import ISSUES
from backend.sync.matching import drop_keys
from backend.sync.receipts import ERASED_HASH, problem_record
from backend.sync.work import Work
from backend.usecases.privacy.erased import RIGHT_ON, Erased, note_gone

LOOKED_FOR_AT_ONCE = 100
"""Records of a person whose receipts are looked for in one go."""


async def take_attachments(work: Work, erased: Erased, hung_on: Mapping[str, Sequence[str]]) -> None:
    """Delete what hangs on these records; its bytes go after the commit."""
    for name, record_ids in hung_on.items():
        rows = await work.conn.fetch(
            "DELETE FROM attachment WHERE record_id = ANY(?) AND collection = ?"
            " RETURNING id, stored_sha256, preview_sha256",
            list(record_ids),
            name,
        )
        note_gone(work, "attachments", [row[0] for row in rows])
        erased.attachment_ids += [row[0] for row in rows]
        erased.digests += [digest for row in rows for digest in row[1:] if digest]
        erased.count("attachments", len(rows))
    await work.conn.execute("UPDATE stored_file SET check_at = ? WHERE sha256 = ANY(?)", work.now_ms, erased.digests)


async def forget_copies(
    work: Work,
    erased: Erased,
    collection: str,
    ids: Sequence[str],
    told: Sequence[str],
    people: Iterable[Mapping[str, object]],
) -> None:
    """What was kept beside the records: undo data, look-alikes, sync issues, receipts, origins, audit values.

    `told`: the ids of all records that told of the person.
    """
    conn = work.conn
    told = sorted({*told, *await _once_told(conn, ids)})
    merges = await conn.fetch(
        "UPDATE record_merge SET undo = '{}', state = 'ERASED' WHERE collection = ? AND state <> 'ERASED'"
        " AND (survivor_id = ANY(?) OR merged_id = ANY(?)) RETURNING id",
        collection,
        list(ids),
        list(ids),
    )
    erased.count("merges", len(merges))
    await conn.execute("DELETE FROM record_alias WHERE alias_id = ANY(?) OR record_id = ANY(?)", list(ids), list(ids))
    await drop_keys(conn, collection, list(ids))
    await conn.execute(
        "DELETE FROM match_pair WHERE collection = ? AND (first_id = ANY(?) OR second_id = ANY(?))",
        collection,
        list(ids),
        list(ids),
    )
    terms = sorted({term for person in people for term in telling_terms(person)})
    await forget_issues(work, erased, told, terms)
    await forget_receipts(work, erased, told)
    externals = await conn.fetch("DELETE FROM external_id WHERE record_id = ANY(?) RETURNING id", list(ids))
    erased.count("externalIds", len(externals))
    lines = await conn.fetch(
        "UPDATE import_row SET problems = '[]' WHERE record_id = ANY(?) AND problems <> '[]' RETURNING id", list(told)
    )
    erased.count("importRows", len(lines))
    copies, digests = await forget_deleted_copies(conn, told, work.now_ms)
    erased.count("deletedCopies", copies)
    erased.digests += digests
    await forget_audit(work, erased, told)


async def _once_told(conn: Connection, ids: Sequence[str]) -> list[str]:
    """Records that are no more and told of the person, as the audit and the copies of what was deleted remember."""
    found: set[str] = set()
    for one in ids:
        rows = await conn.fetch(
            "SELECT record_id FROM deleted_record WHERE customers LIKE ? OR rows LIKE ?"
            " UNION SELECT record_id FROM audit_entry WHERE changes LIKE ? AND NOT collection = ANY(?)",
            *[f"%{one}%"] * 3,
            list(RIGHT_ON),
        )
        found |= {row[0] for row in rows}
    return sorted(found)


async def forget_issues(work: Work, erased: Erased, told: Sequence[str], terms: Sequence[str]) -> None:
    """Issues about the person, and those whose values name an id, a number or an address of the person's."""
    said = " || ' ' || ".join(
        f"coalesce({column}, '')"
        for column in ("base", "mine", "theirs", "about", "names", "problems", "history", "resolved_value", "field")
    )
    rows = await work.conn.fetch(
        "DELETE FROM sync_issue WHERE record_id = ANY(?) RETURNING id, mutation_id", list(told)
    )
    for term in [*(one for one in erased.ids if erased.ids[one] in RIGHT_ON), *(_as_json(term) for term in terms)]:
        rows += await work.conn.fetch(
            f"DELETE FROM sync_issue WHERE {said} LIKE ? ESCAPE '!' RETURNING id, mutation_id", f"%{_escaped(term)}%"
        )
    note_gone(work, ISSUES, [row[0] for row in rows])
    erased.count(ISSUES, len(rows))
    await clear_receipts(work, erased, "mutation_id = ANY(?)", [row[1] for row in rows if row[1]])


async def forget_receipts(work: Work, erased: Erased, told: Sequence[str]) -> None:
    """Receipts of what was written to records that told of the person: that it was answered stays, what it said does
    not. No index leads there, so every receipt is looked through once for some of the records together."""
    for start in range(0, len(told), LOOKED_FOR_AT_ONCE):
        ids = told[start : start + LOOKED_FOR_AT_ONCE]
        where = " OR ".join(["records LIKE ?"] * len(ids))
        await clear_receipts(work, erased, f"({where})", *(f"%{one}%" for one in ids))


async def clear_receipts(work: Work, erased: Erased, where: str, *args: object) -> None:
    said = orjson.dumps([problem_record(Problem(Code.PERSON_ERASED, ("id",)))]).decode()
    rows = await work.conn.fetch(
        "UPDATE receipt SET body_hash = ?, problems = CASE WHEN problems = '[]' THEN '[]' ELSE ? END"
        f" WHERE body_hash <> ? AND {where} RETURNING mutation_id",
        ERASED_HASH,
        said,
        ERASED_HASH,
        *args,
    )
    erased.count("receipts", len(rows))


async def forget_audit(work: Work, erased: Erased, record_ids: Sequence[str]) -> None:
    """Who changed which field and when stays; no value of these records does, personal by declaration or not."""
    async with audit_open(work.conn):
        rows = await work.conn.fetch(
            "UPDATE audit_entry SET changes = NULL, personal_changes = NULL, reason = NULL WHERE record_id = ANY(?)"
            " AND (changes IS NOT NULL OR personal_changes IS NOT NULL OR reason IS NOT NULL) RETURNING id",
            list(record_ids),
        )
    erased.count("auditEntries", len(rows))


def _escaped(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _as_json(text: str) -> str:
    """How a text stands inside of JSON, without its quotes."""
    return orjson.dumps(text).decode()[1:-1]
