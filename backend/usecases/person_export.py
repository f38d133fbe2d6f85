"""Everything held about one person, for the person: where it came from, what was agreed, who changed and read it.

Machine-readable, labelled in the reader's language. Every section is bounded and says so. Source: R49, promises.md §2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from backend.domain.audit import AuditAction, FieldChange
from backend.domain.messages import Catalogue, locale_of, render
from backend.domain.permissions import Action, Collection
from backend.domain.privacy import TEXTS_SEARCHED, terms_of
from backend.errors import Code, Problem, Refused
from backend.ids import is_id
from backend.storage.engine import Connection, Row
from backend.storage.visibility import visible_to
from backend.sync.collections import COLLECTIONS
from backend.sync.documents import read_documents
from backend.sync.mentions import texts_naming
from backend.sync.work import Work

FORMAT = "selvedge-person-1"
READS = (AuditAction.READ.value, AuditAction.EXPORT.value, AuditAction.DOWNLOAD.value)
RIGHT_ON: Mapping[str, Collection] = {
    "contacts": Collection.CONTACTS,
    "customers": Collection.CUSTOMERS,
    "people": Collection.USERS,
}


@dataclass(frozen=True, slots=True)
class Section:
    """One kind of what is held. `total` counts what there is, `rows` are at most as many as may be exported."""

    name: str
    rows: list[dict[str, Any]]
    total: int


async def export_person(work: Work, record_id: str, *, rows_max: int, texts: Catalogue, locale: str) -> dict[str, Any]:
    """What is held about a contact, a consumer or a colleague, as JSON; the export itself is audited.

    Raises NOT_PERMITTED without the right to export or for whoever reads masked data, NOT_FOUND outside the scope.
    """
    principal = work.principal
    open_to = [
        name for name, right in RIGHT_ON.items() if principal.may(Action.EXPORT, right) and principal.reads(name)
    ]
    if principal.masked or not open_to:
        raise Refused(Problem(Code.NOT_PERMITTED))
    name = await _collection_of(work, record_id, open_to)
    if name is None:
        raise Refused(Problem(Code.NOT_FOUND, ("id",)))
    sections = await _sections(work.conn, name, record_id, rows_max)
    rows = sum(len(section.rows) for section in sections)
    work.audit(AuditAction.EXPORT, name, record_id, changes=(FieldChange("rows", None, rows),))
    return {
        "format": FORMAT,
        "id": record_id,
        "collection": name,
        "language": locale_of(locale),
        "at": work.now_ms,
        "sections": [
            {
                "section": section.name,
                "label": render(texts, f"personExport.{section.name}", locale),
                "total": section.total,
                "more": section.total > len(section.rows),
                "rows": [[_told(texts, locale, key, value) for key, value in row.items()] for row in section.rows],
            }
            for section in sections
        ],
    }


def _told(texts: Catalogue, locale: str, key: str, value: object) -> dict[str, object]:
    return {"field": key, "label": texts[locale_of(locale)].get(f"field.{key}", key), "value": value}


async def _collection_of(work: Work, record_id: str, open_to: Sequence[str]) -> str | None:
    """In which collection the caller sees the person."""
    if not is_id(record_id):
        return None
    for name in open_to:
        declared = COLLECTIONS[name]
        visible, args = visible_to(work.principal, name, "t")
        person = " AND t.kind = 'CONSUMER'" if name == "customers" else ""
        if await work.conn.fetch(
            f"SELECT t.id FROM {declared.table} t WHERE t.id = ? AND {visible}{person}", record_id, *args
        ):
            return name
    return None


async def _sections(conn: Connection, name: str, record_id: str, rows_max: int) -> list[Section]:
    found = (await read_documents(conn, COLLECTIONS[name], [record_id]))[record_id]
    record: dict[str, Any] = orjson.loads(found)
    consent = record.pop("consentEvents", [])
    sections = [Section("record", [record], 1)]
    if name == "people":
        columns = "email, locale, home_lat_e7, home_lon_e7"
        rows = await conn.fetch(f"SELECT {columns} FROM user_account WHERE id = ?", record_id)
        record.update(dict(zip(("email", "locale", "latE7", "lonE7"), rows[0], strict=True)))
    if name == "contacts":
        sections.append(await _links(conn, record_id, rows_max))
        sections.append(Section("consent", consent[:rows_max], len(consent)))
        sections += [await _children(conn, kind, record_id, rows_max, "contact_id") for kind in ("answers", "cases")]
    if name == "customers":
        kinds = ("visits", "orders", "tasks", "answers", "cases", "judgements")
        sections += [await _children(conn, kind, record_id, rows_max) for kind in kinds]
    sections += [
        await _section(
            conn, "attachments", ("id", "kind", "fileName", "caption", "sizeBytes", "createdAt"),
            "id, kind, file_name, caption, size_bytes, created_at",
            "FROM attachment WHERE record_id = ? AND collection = ?", "created_at, id", [record_id, name], rows_max,
        ),
        await _section(
            conn, "origins", ("system", "external", "batchId"), "system, external, batch_id",
            "FROM external_id WHERE record_id = ? AND collection = ?", "system, external", [record_id, name], rows_max,
        ),
        await _section(
            conn, "merges", ("survivorId", "mergedId", "state", "at", "by"),
            "survivor_id, merged_id, state, merged_at, merged_by",
            "FROM record_merge WHERE collection = ? AND (survivor_id = ? OR merged_id = ?)", "merged_at, id",
            [name, record_id, record_id], rows_max,
        ),
        await _section(
            conn, "issues", ("id", "path", "mine", "theirs", "base", "state", "createdAt"),
            "id, field, mine, theirs, base, state, created_at",
            "FROM sync_issue WHERE record_id = ?", "created_at, id", [record_id], rows_max, json=(2, 3, 4),
        ),
        await _section(
            conn, "history", ("at", "by", "door", "action", "fields", "changes", "personalChanges"),
            "at, actor, door, action, fields_changed, changes, personal_changes",
            "FROM audit_entry WHERE record_id = ? AND NOT action = ANY(?)", "at, id", [record_id, list(READS)],
            rows_max, json=(4, 5, 6),
        ),
        # those that named the person, and those of many people at once, which may have shown this one
        await _section(
            conn, "reads", ("at", "by", "action", "recordId", "changes"), "at, actor, action, record_id, changes",
            "FROM audit_entry WHERE (record_id = ? OR record_id = '') AND collection = ? AND action = ANY(?)", "at, id",
            [record_id, name, list(READS)], rows_max, json=(4,),
        ),
        await _mentions(conn, record_id, record, rows_max),
    ]  # fmt: skip
    return sections


async def _section(
    conn: Connection,
    name: str,
    keys: Sequence[str],
    columns: str,
    rest: str,
    order: str,
    args: Sequence[object],
    rows_max: int,
    *,
    json: Sequence[int] = (),
) -> Section:
    ((total,),) = await conn.fetch(f"SELECT count(*) {rest}", *args)
    rows = await conn.fetch(f"SELECT {columns} {rest} ORDER BY {order} LIMIT ?", *args, rows_max)
    return Section(name, [_row(keys, row, json) for row in rows], int(total))


def _row(keys: Sequence[str], row: Row, json: Sequence[int]) -> dict[str, Any]:
    return {
        key: orjson.loads(value) if at in json and value is not None else value
        for at, (key, value) in enumerate(zip(keys, row, strict=True))
    }


async def _links(conn: Connection, contact_id: str, rows_max: int) -> Section:
    return await _section(
        conn,
        "links",
        ("customerId", "nameZh", "nameKo", "nameEn", "role", "createdAt"),
        "l.customer_id, c.name_zh, c.name_ko, c.name_en, l.role, l.created_at",
        "FROM customer_contact l JOIN customer c ON c.id = l.customer_id WHERE l.contact_id = ?",
        "l.created_at, l.id",
        [contact_id],
        rows_max,
    )


async def _children(conn: Connection, name: str, owner_id: str, rows_max: int, owner: str = "customer_id") -> Section:
    declared = COLLECTIONS[name]
    rest = f"FROM {declared.table} WHERE {owner} = ?"
    ((total,),) = await conn.fetch(f"SELECT count(*) {rest}", owner_id)
    ids = [row[0] for row in await conn.fetch(f"SELECT id {rest} ORDER BY id LIMIT ?", owner_id, rows_max)]
    documents = await read_documents(conn, declared, ids)
    return Section(name, [orjson.loads(documents[one]) for one in ids], int(total))


async def _mentions(conn: Connection, record_id: str, record: Mapping[str, Any], rows_max: int) -> Section:
    """Where others wrote of the person: the place, not the text, which is about others too."""
    found: list[dict[str, Any]] = []
    total = 0
    for name in TEXTS_SEARCHED:
        async for one, rows in texts_naming(conn, name, terms_of(record)):
            others = [row for row in rows if row[0] != record_id]
            found += [{"collection": name, "recordId": row[0], "field": one} for row in others[: rows_max - len(found)]]
            total += len(others)
    return Section("mentions", found, total)
