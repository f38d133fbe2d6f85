"""Taking a person out of what the database holds: a contact, a consumer, a colleague who has left; in one work.

Source: promises.md §1, R49.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import orjson

from backend.domain.audit import AuditAction
from backend.domain.customers import CustomerKind
from backend.domain.names import sort_key
from backend.domain.permissions import Action, Reach, reach
from backend.domain.privacy import (
    ERASED_COLLEAGUE,
    ERASED_TEXT,
    KEPT_OF_CUSTOMER,
    MAPS_OF_CHILDREN,
    NEVER_EMPTY,
    POSITIONS_OF_VISIT,
    TEXTS_OF_CHILDREN,
    TEXTS_SEARCHED,
    ErasureReason,
    erased_customer,
    terms_of,
    without_terms,
)
from backend.errors import Code, Problem, Refused
from backend.ids import is_id, new_id
from backend.storage.engine import Connection
from backend.sync.collections import COLLECTIONS
from backend.sync.documents import JSON_KINDS, canonical
from backend.sync.issues import ISSUES
from backend.sync.mentions import FIELD_MENTIONS_MAX, save_text, texts_naming
from backend.sync.work import Door, Work
from backend.usecases.privacy.copies import forget_audit, forget_copies, take_attachments
from backend.usecases.privacy.erased import (
    CONTACTS,
    CUSTOMERS,
    PEOPLE,
    RIGHT_ON,
    Erased,
    Mention,
    note_erased,
    note_gone,
)


async def erase_person(work: Work, record_id: str, reason: ErasureReason, *, strike_mentions: bool = False) -> Erased:
    """Take everything told of a contact, a consumer, or a colleague who has left out of the database.

    Orders, visits and tasks of a consumer stay, without texts and positions, with a customer that is nobody.
    Free texts of other records that name the person are returned for somebody to look at; with `strike_mentions` the
    names, numbers and addresses are struck out of them. Erasing again does nothing.
    Raises NOT_PERMITTED, NOT_FOUND, NOT_ALLOWED_VALUE for a customer that is no person, NOT_EDITABLE for a colleague
    who has not left.
    """
    _check_may_erase(work)
    found = await _find(work, record_id)
    if found is None:
        raise Refused(Problem(Code.NOT_FOUND, ("id",)))
    collection, head = found
    _check_right(work, collection)
    erased = Erased(head, collection, new_id(), ErasureReason(reason).value, work.now_ms)
    if collection == PEOPLE:
        await _erase_colleague(work, erased)
    elif collection == CUSTOMERS:
        await _erase_consumer(work, erased, strike_mentions=strike_mentions)
    else:
        await _erase_contacts(work, erased, [head], strike_mentions=strike_mentions)
    standing = await work.conn.fetch("SELECT id FROM erased_person WHERE id = ANY(?)", sorted(erased.ids))
    new = sorted(set(erased.ids) - {row[0] for row in standing})
    erased.already = not new and not erased.counts
    await work.conn.execute_many(
        "INSERT INTO erased_person (id, collection, erasure_id, reason, erased_at, erased_by)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        [(i, erased.ids[i], erased.erasure_id, erased.reason, work.now_ms, work.principal.actor) for i in new],
    )
    if not erased.already:
        work.audit(AuditAction.ERASE, collection, head, sorted(erased.counts))
    return erased


def _check_may_erase(work: Work) -> None:
    """Whoever may erase nobody at all does not learn which ids exist."""
    if work.door is not Door.JOB and not any(_may_erase(work, collection) for collection in RIGHT_ON):
        raise Refused(Problem(Code.NOT_PERMITTED))


def _check_right(work: Work, collection: str) -> None:
    if work.door is not Door.JOB and not _may_erase(work, collection):
        raise Refused(Problem(Code.NOT_PERMITTED))


def _may_erase(work: Work, collection: str) -> bool:
    role = work.principal.role
    return role is not None and reach(role, Action.ERASE, RIGHT_ON[collection]) is Reach.ALL


async def _find(work: Work, record_id: str) -> tuple[str, str] | None:
    """(collection, the record's own id) of an id that is or was somebody's, aliases followed."""
    if not is_id(record_id):
        return None
    rows = await work.conn.fetch("SELECT collection, record_id FROM record_alias WHERE alias_id = ?", record_id)
    if rows:
        return rows[0][0], rows[0][1]
    rows = await work.conn.fetch(
        "SELECT collection, record_id FROM feed WHERE key = ANY(?) UNION ALL"
        " SELECT collection, id FROM erased_person WHERE id = ?",
        [f"{name}:{record_id}" for name in RIGHT_ON],
        record_id,
    )
    return (rows[0][0], rows[0][1]) if rows else None


# -- contacts -----------------------------------------------------------------------------------------------------


async def _erase_contacts(work: Work, erased: Erased, heads: Sequence[str], *, strike_mentions: bool) -> None:
    """The contacts with their links, attachments and every copy; devices are told that they are gone."""
    ids = await _with_aliases(work.conn, heads)
    erased.ids.update(dict.fromkeys(ids, CONTACTS))
    linked = await work.conn.fetch(
        "SELECT customer_id FROM customer_contact WHERE contact_id = ANY(?)"
        " UNION SELECT customer_id FROM answer WHERE contact_id = ANY(?)"
        " UNION SELECT customer_id FROM service_case WHERE contact_id = ANY(?)",
        ids,
        ids,
        ids,
    )
    await work.conn.fetch(
        "SELECT id FROM customer WHERE id = ANY(?) ORDER BY id FOR NO KEY UPDATE", sorted({row[0] for row in linked})
    )
    rows = await work.conn.fetch(
        "SELECT name_zh, name_ko, name_en, phone, email, channels FROM contact WHERE id = ANY(?) ORDER BY id"
        " FOR UPDATE",
        ids,
    )
    people = [_person(row) for row in rows]
    links = [row[0] for row in await work.conn.fetch("SELECT id FROM customer_contact WHERE contact_id = ANY(?)", ids)]
    await take_attachments(work, erased, {CONTACTS: ids})
    said = await _unlink_said(work, erased, ids)
    await work.conn.execute("DELETE FROM customer_contact WHERE contact_id = ANY(?)", ids)
    gone = await work.conn.fetch("DELETE FROM contact WHERE id = ANY(?) RETURNING id", ids)
    note_gone(work, "customerContacts", links)
    note_gone(work, CONTACTS, [row[0] for row in gone])
    erased.count("contacts", len(gone))
    erased.count("customerContacts", len(links))
    await forget_copies(work, erased, CONTACTS, ids, [*ids, *links, *said, *erased.attachment_ids], people)
    await _mentions(work, erased, people, strike=strike_mentions)


async def _unlink_said(work: Work, erased: Erased, contact_ids: Sequence[str]) -> list[str]:
    """What these people answered, without the words and without who said it; complaints, without whose they were.

    What was measured is a number of the customer's, and stays. Returns the ids of both.
    """
    answers = await work.conn.fetch(
        "UPDATE answer SET contact_id = NULL, said = '{}' WHERE contact_id = ANY(?) RETURNING id", list(contact_ids)
    )
    cases = await work.conn.fetch(
        "UPDATE service_case SET contact_id = NULL WHERE contact_id = ANY(?) RETURNING id", list(contact_ids)
    )
    for name, rows, fields in (("answers", answers, ("contactId", "values")), ("cases", cases, ("contactId",))):
        for (record_id,) in rows:
            work.touched(name, record_id, fields)
            note_erased(work, name, record_id, fields)
        erased.count(name, len(rows))
    return [row[0] for row in (*answers, *cases)]


def _person(row: Sequence[object]) -> dict[str, object]:
    names = ("nameZh", "nameKo", "nameEn", "phone", "email")
    channels = orjson.loads(str(row[5])) if len(row) > 5 and row[5] else {}
    return {**dict(zip(names, row[:5], strict=True)), "channels": channels}


async def _with_aliases(conn: Connection, heads: Sequence[str]) -> list[str]:
    """These ids and all that were merged into them."""
    rows = await conn.fetch("SELECT alias_id FROM record_alias WHERE record_id = ANY(?)", list(heads))
    return sorted({*heads, *(row[0] for row in rows)})


# -- consumers ----------------------------------------------------------------------------------------------------


async def _erase_consumer(work: Work, erased: Erased, *, strike_mentions: bool) -> None:
    """A customer who is a person: the record stays for its orders and says nothing of the person any more."""
    ids = await _with_aliases(work.conn, [erased.id])
    rows = await work.conn.fetch(
        "SELECT id, kind, name_zh, name_ko, name_en, phone, email FROM customer WHERE id = ANY(?) ORDER BY id"
        " FOR UPDATE",
        ids,
    )
    if work.door is not Door.JOB and any(row[1] != CustomerKind.CONSUMER for row in rows):
        raise Refused(Problem(Code.NOT_ALLOWED_VALUE, ("kind",), (CustomerKind.CONSUMER.value,)))
    erased.ids.update(dict.fromkeys(ids, CUSTOMERS))
    people = [_person(row[2:7]) for row in rows]
    children = await _neutralise_children(work, erased, ids)
    await take_attachments(work, erased, {CUSTOMERS: ids, **children})
    for row in rows:
        await _neutralise(work, erased, row[0])
    await work.conn.execute("UPDATE territory_assignment SET reason = NULL WHERE customer_id = ANY(?)", ids)
    told = [*ids, *(one for found in children.values() for one in found), *erased.attachment_ids]
    await forget_copies(work, erased, CUSTOMERS, ids, told, people)
    # a contact of nobody but a consumer is the consumer, or lives in the same household
    own = await work.conn.fetch(
        "SELECT DISTINCT l.contact_id FROM customer_contact l WHERE l.customer_id = ANY(?) AND NOT EXISTS"
        " (SELECT 1 FROM customer_contact o WHERE o.contact_id = l.contact_id AND o.customer_id <> l.customer_id)",
        ids,
    )
    if own:
        await _erase_contacts(work, erased, [row[0] for row in own], strike_mentions=strike_mentions)
    await _mentions(work, erased, people, strike=strike_mentions)


async def _neutralise(work: Work, erased: Erased, customer_id: str) -> None:
    declared = COLLECTIONS[CUSTOMERS]
    kinds = {one.name: one for one in declared.own_fields}
    kept = sorted(KEPT_OF_CUSTOMER & declared.columns.keys())
    columns = ", ".join(declared.columns[name] for name in kept)
    [row] = await work.conn.fetch(f"SELECT {columns} FROM customer WHERE id = ?", customer_id)
    wanted = erased_customer(dict(zip(kept, row, strict=True)))
    names = sorted(wanted.keys() & declared.columns.keys())
    values = [
        canonical(wanted[name]).decode()
        if kinds[name].kind in JSON_KINDS and wanted[name] is not None
        else wanted[name]
        for name in names
    ]
    changed = await work.conn.fetch(
        f"UPDATE customer SET {', '.join(f'{declared.columns[name]} = ?' for name in names)}"
        " WHERE id = ? AND (name_en IS NULL OR name_en <> ? OR phone IS NOT NULL OR search_keys <> ?) RETURNING id",
        *values,
        customer_id,
        wanted["nameEn"],
        wanted["searchKeys"],
    )
    if changed:
        told = [name for name in names if not kinds[name].server_only]
        work.touched(CUSTOMERS, customer_id, told)
        note_erased(work, CUSTOMERS, customer_id, told)
        erased.count("customers", 1)


async def _neutralise_children(work: Work, erased: Erased, customer_ids: Sequence[str]) -> dict[str, list[str]]:
    """What hangs on a consumer without texts, positions, custom values and answers; collection → all their ids."""
    children: dict[str, list[str]] = {}
    for name, texts in TEXTS_OF_CHILDREN.items():
        declared = COLLECTIONS[name]
        plain = [*texts, *(POSITIONS_OF_VISIT if name == "visits" else ())]
        maps = [one for one in MAPS_OF_CHILDREN if one in declared.columns]
        fields = [*plain, *maps]
        said = [f"{declared.columns[one]} <> '{{}}'" for one in maps]
        cleared = [f"{declared.columns[one]} = '{{}}'" for one in maps]
        for one in plain:
            column = declared.columns[one]
            struck = one in NEVER_EMPTY
            said.append(f"{column} <> '{ERASED_TEXT}'" if struck else f"{column} IS NOT NULL")
            cleared.append(f"{column} = CASE WHEN {column} IS NULL THEN NULL ELSE '{ERASED_TEXT}' END" if struck
                           else f"{column} = NULL")  # fmt: skip
        rows = await work.conn.fetch(
            f"SELECT id, CASE WHEN {' OR '.join(said)} THEN 1 ELSE 0 END FROM {declared.table}"
            " WHERE customer_id = ANY(?) ORDER BY id FOR UPDATE",
            list(customer_ids),
        )
        children[name] = [row[0] for row in rows]
        telling = [row[0] for row in rows if row[1]]
        await work.conn.execute(f"UPDATE {declared.table} SET {', '.join(cleared)} WHERE id = ANY(?)", telling)
        for record_id in telling:
            work.touched(name, record_id, fields)
            note_erased(work, name, record_id, fields)
        erased.count(name, len(telling))
    return children


# -- colleagues ---------------------------------------------------------------------------------------------------


async def _erase_colleague(work: Work, erased: Erased) -> None:
    """A colleague who has left: the account stays as the author of what was done, without name, address and home."""
    erased.ids[erased.id] = PEOPLE
    rows = await work.conn.fetch("SELECT active, name, email FROM user_account WHERE id = ? FOR UPDATE", erased.id)
    if not rows:
        return
    ((active, name, email),) = rows
    if active and work.door is not Door.JOB:
        raise Refused(Problem(Code.NOT_EDITABLE, ("active",), ("false",)))
    if active:  # a backup from before the colleague left
        await work.conn.execute("UPDATE user_account SET active = ? WHERE id = ?", False, erased.id)
        work.reseat([erased.id])
    nobody = f"{erased.id}@erased.invalid"
    if email != nobody or name != ERASED_COLLEAGUE:
        await work.conn.execute(
            "UPDATE user_account SET name = ?, sort_key = ?, email = ?, password_hash = '', home_lat_e7 = NULL,"
            " home_lon_e7 = NULL, day_minutes = NULL WHERE id = ?",
            ERASED_COLLEAGUE,
            sort_key({"zh": None, "ko": None, "en": ERASED_COLLEAGUE}, person=True),
            nobody,
            erased.id,
        )
        work.touched(PEOPLE, erased.id, ("name",))
        note_erased(work, PEOPLE, erased.id, ("name",))
        erased.count("people", 1)
    devices = await work.conn.fetch("SELECT id FROM device WHERE user_id = ? ORDER BY id FOR UPDATE", erased.id)
    device_ids = [row[0] for row in devices]
    await work.conn.execute("UPDATE device SET name = '', state_reason = NULL WHERE id = ANY(?)", device_ids)
    for table in ("refresh_family", "oidc_link", "password_reset"):
        await work.conn.execute(f"DELETE FROM {table} WHERE user_id = ?", erased.id)
    await work.conn.execute("UPDATE territory_member SET reason = NULL WHERE user_id = ?", erased.id)
    if name != ERASED_COLLEAGUE:
        await _forget_name_in_issues(work, erased)
    await forget_audit(work, erased, [erased.id, *device_ids])
    work.standings.add(erased.id)


async def _forget_name_in_issues(work: Work, erased: Erased) -> None:
    """Issues keep who said what; of a colleague who is erased they keep that it was somebody who has left."""
    rows = await work.conn.fetch(
        "SELECT id, user_id, theirs_by, resolved_by, history, names FROM sync_issue WHERE user_id = ? OR theirs_by = ?"
        " OR resolved_by = ? OR history LIKE ? OR names LIKE ? ORDER BY id FOR UPDATE",
        *[erased.id] * 3,
        *[f"%{erased.id}%"] * 2,
    )
    for issue_id, author, theirs, resolver, history, names in rows:
        told = [
            {**one, "name": ERASED_COLLEAGUE} if one.get("by") == erased.id else one for one in orjson.loads(history)
        ]
        called = orjson.loads(names)
        if erased.id in called:
            called[erased.id] = {"name": ERASED_COLLEAGUE}
        await work.conn.execute(
            "UPDATE sync_issue SET author_name = CASE WHEN ?::int = 1 THEN ? ELSE author_name END,"
            " theirs_name = CASE WHEN ?::int = 1 THEN ? ELSE theirs_name END,"
            " resolved_name = CASE WHEN ?::int = 1 THEN ? ELSE resolved_name END, history = ?, names = ? WHERE id = ?",
            *(part for who in (author, theirs, resolver) for part in (int(who == erased.id), ERASED_COLLEAGUE)),
            canonical(told).decode(),
            canonical(called).decode(),
            issue_id,
        )
        work.touched(ISSUES, issue_id, ("authorName", "theirsName", "resolvedName", "history", "names"))
    erased.count(ISSUES, len(rows))


# -- what others wrote --------------------------------------------------------------------------------------------


async def _mentions(work: Work, erased: Erased, people: Sequence[Mapping[str, object]], *, strike: bool) -> None:
    """Texts of other records that name the person; struck out, or listed for somebody to look at."""
    terms = sorted({term for person in people for term in terms_of(person)}, key=lambda term: (-len(term), term))
    for name in TEXTS_SEARCHED:
        listed: Counter[str] = Counter()
        async for one, rows in texts_naming(work.conn, name, terms):
            if strike:
                await _strike(work, erased, name, one, rows, terms)
                continue
            room = FIELD_MENTIONS_MAX - listed[one]
            erased.mentions += [Mention(name, record_id, one) for record_id, _ in rows[:room]]
            listed[one] += len(rows)


async def _strike(
    work: Work, erased: Erased, name: str, one: str, rows: Sequence[tuple[str, str]], terms: Sequence[str]
) -> None:
    for record_id, text in rows:
        await save_text(work.conn, name, one, record_id, without_terms(text, terms))
        work.touched(name, record_id, (one,))
        note_erased(work, name, record_id, (one.partition(".")[0],))
        erased.count("mentions", 1)
