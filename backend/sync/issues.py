"""Sync issues: what was entered on a device and did not simply stand, kept so that a person understands it.

An issue is a record like any other: a row, a document, a place (`user:<author>`), so it reaches its author and
whoever manages him. It says on its own what it is about: the record in words, the people by name, the names of
ids in its values, because a phone may hold none of them. Whatever a reader may not see is left out of it.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from backend.auth.principal import Principal
from backend.domain.fields import INTEGER_MAX, Shape, field_paths
from backend.domain.issues import REFUSED_WAYS, IssueState, Resolution, WayOut, shown_value
from backend.domain.money import parse_currency
from backend.domain.times import INSTANT_MAX_MS, instant_text, parse_day, parse_instant, parse_zone
from backend.errors import Code, Problem, Refused
from backend.ids import is_id, new_id
from backend.storage.customers import TIMEZONE_DEFAULT
from backend.storage.engine import Connection
from backend.storage.visibility import visible_to
from backend.sync.collections import COLLECTIONS
from backend.sync.documents import canonical
from backend.sync.receipts import problem_record
from backend.sync.work import Work

ISSUES = "syncIssues"
KEPT_DEPTH_MAX = 20
NAMES_MAX = 100
HISTORY_MAX = 50
PATH_CHARACTERS_MAX = 200


@dataclass(frozen=True, slots=True)
class Kept:
    """What is to be kept. `writer` names who wrote the standing value as `field_seq` does: a device or a holder.

    `author_id`: whose entry it is, the principal's when absent. `resolution`: nobody has to decide, it is history.
    """

    collection: str
    record_id: str
    code: str
    path: str | None = None
    base: object = None
    mine: object = None
    theirs: object = None
    writer: str | None = None
    theirs_rev: int | None = None
    mutation_id: str | None = None
    captured_at_ms: int | None = None
    ways_out: tuple[str, ...] = ()
    author_id: str | None = None
    intent: str | None = None
    base_rev: int | None = None
    problems: tuple[Problem, ...] = ()
    resolution: Resolution | None = None


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


# -- who and when -----------------------------------------------------------------------------------------------


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


# -- what a record and its ids are called -----------------------------------------------------------------------

_LABEL_FIELDS: Mapping[str, tuple[str, ...]] = {
    "customers": ("nameZh", "nameKo", "nameEn", "timezone", "currency"),
    "contacts": ("nameZh", "nameKo", "nameEn"),
    "customerContacts": ("customerId", "contactId"),
    "visits": ("customerId", "plannedAt", "checkInAt"),
    "orders": ("customerId", "number", "orderedOn", "currency"),
    "tasks": ("customerId", "title"),
    "answers": ("customerId", "answeredAt"),
    "cases": ("customerId", "subject"),
    "judgements": ("customerId", "startsOn"),
}
"""Collection → the fields a record of it is recognised by."""

LABEL_CHARACTERS_MAX = 200
_CHECKED: Mapping[str, Callable[[str], object]] = {
    "timezone": parse_zone,
    "currency": parse_currency,
    "plannedAt": parse_instant,
    "checkInAt": parse_instant,
    "answeredAt": parse_instant,
    "orderedOn": parse_day,
    "startsOn": parse_day,
}
_MOMENTS = frozenset({"plannedAt", "checkInAt", "answeredAt"})
_PEOPLE = frozenset({"repId", "assigneeId", "createdBy"})
_CUSTOMERS = frozenset({"customerId", "parentId"})
_NAMED_TABLES: Mapping[str, tuple[str, str]] = {
    "seasonId": ("season", "id, name_zh, name_ko, name_en, code"),
    "styleId": ("style", "id, name_zh, name_ko, name_en, code"),
    "colourId": ("colour", "id, name_zh, name_ko, name_en, code"),
}
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Telling:
    """What a batch of values is about, and what the ids in them are called, as far as the principal sees it."""

    def __init__(self, conn: Connection, principal: Principal) -> None:
        self._conn = conn
        self._principal = principal
        self._records: dict[tuple[str, str], dict[str, Any]] = {}
        self._customers: dict[str, dict[str, Any]] = {}
        self._contacts: dict[str, dict[str, Any]] = {}
        self._names: dict[str, dict[str, Any]] = {}

    async def read(self, kept: Sequence[Kept]) -> "Telling":
        await self._read_records(kept)
        ids: dict[str, set[str]] = defaultdict(set)
        for one in kept:
            for name, found in self._ids_of(one):
                ids[name].add(found)
            label = self._label(one)
            ids["customerId"] |= _given(label.get("customerId"), label.get("parentId"))
            ids["contactId"] |= _given(label.get("contactId"))
        await self._read_names(ids)
        return self

    def about(self, one: Kept) -> dict[str, object]:
        """The record in words: its customer's names, its number, day or title, and the zone its moments are told in."""
        label = self._label(one)
        own = one.collection == "customers"
        customer = label if own else self._customers.get(str(label.get("customerId")), {})
        contact = label if one.collection == "contacts" else self._contacts.get(str(label.get("contactId")), {})
        moment = label.get("checkInAt") or label.get("plannedAt")
        found: dict[str, object] = {
            "customer": _names(customer),
            "contact": _names(contact),
            "at": instant_text(moment) if isinstance(moment, int) and 0 <= moment <= INSTANT_MAX_MS else None,
            "day": label.get("orderedOn"),
            "number": label.get("number"),
            "title": label.get("title"),
            "zone": customer.get("timezone") or TIMEZONE_DEFAULT,
            "currency": label.get("currency") or customer.get("currency"),
        }
        return {name: value for name, value in found.items() if value not in (None, {}, "")}

    def names(self, one: Kept) -> dict[str, object]:
        """Id → what it is called, for the ids in the values and in the path; bounded."""
        wanted = [record_id for _, record_id in self._ids_of(one) if record_id in self._names]
        return {record_id: self._names[record_id] for record_id in sorted(set(wanted))[:NAMES_MAX]}

    def _label(self, one: Kept) -> dict[str, Any]:
        """The fields a record is recognised by: as it stands, else as it was to be."""
        wanted = _LABEL_FIELDS.get(one.collection, ())
        sent = one.mine if isinstance(one.mine, Mapping) else {}
        stands = self._records.get((one.collection, one.record_id), {})
        told = {name: stands.get(name) or _plain(name, sent.get(name)) for name in wanted}
        return {name: value for name, value in told.items() if value is not None}

    def _ids_of(self, one: Kept) -> list[tuple[str, str]]:
        """(field name, id) of every id in the values and in the path."""
        found: list[tuple[str, str]] = []
        if one.path is not None:
            name, _, rest = one.path.partition(".")
            found += [("sku" if name == "lines" else name, part) for part in _UUID.findall(rest)]
            last = one.path.rpartition(".")[2]
            for value in (one.base, one.mine, one.theirs):
                found += _ids_in(value, last)
        else:
            for value in (one.base, one.mine, one.theirs):
                found += _ids_in(value, "")
        return found

    async def _read_records(self, kept: Sequence[Kept]) -> None:
        wanted: dict[str, set[str]] = defaultdict(set)
        for one in kept:
            if one.collection in _LABEL_FIELDS and is_id(one.record_id):
                wanted[one.collection].add(one.record_id)
        for name, ids in wanted.items():
            declared, fields = COLLECTIONS[name], _LABEL_FIELDS[name]
            visible, args = visible_to(self._principal, name, "t")
            columns = ", ".join(f"t.{declared.columns[found]}" for found in fields)
            rows = await self._conn.fetch(
                f"SELECT t.id, {columns} FROM {declared.table} t WHERE t.id = ANY(?) AND {visible}", sorted(ids), *args
            )
            self._records.update({(name, row[0]): dict(zip(fields, row[1:], strict=True)) for row in rows})

    async def _read_names(self, ids: Mapping[str, set[str]]) -> None:
        conn = self._conn
        customers = set().union(*(ids.get(name, set()) for name in _CUSTOMERS))
        self._customers = await self._read_seen("customers", customers)
        self._contacts = await self._read_seen("contacts", ids.get("contactId", set()))
        for found in (self._customers, self._contacts):
            self._names.update({record_id: _names(record) for record_id, record in found.items()})
        people = sorted(set().union(*(ids.get(name, set()) for name in _PEOPLE)))
        if people:
            rows = await conn.fetch("SELECT id, name FROM user_account WHERE id = ANY(?)", people)
            self._names.update({row[0]: {"name": row[1]} for row in rows})
        for field_name, (table, columns) in _NAMED_TABLES.items():
            if ids.get(field_name):
                rows = await conn.fetch(f"SELECT {columns} FROM {table} WHERE id = ANY(?)", sorted(ids[field_name]))
                self._names.update({row[0]: _named(row) for row in rows})
        if ids.get("priceListId"):
            rows = await conn.fetch("SELECT id, name FROM price_list WHERE id = ANY(?)", sorted(ids["priceListId"]))
            self._names.update({row[0]: {"name": row[1]} for row in rows})
        if ids.get("sku"):
            rows = await conn.fetch(
                "SELECT s.id, c.name_zh, c.name_ko, c.name_en, c.code, s.size FROM sku s"
                " JOIN colour c ON c.id = s.colour_id WHERE s.id = ANY(?)",
                sorted(ids["sku"]),
            )
            self._names.update({row[0]: {**_named(row), "size": row[5]} for row in rows})

    async def _read_seen(self, name: str, ids: set[str]) -> dict[str, dict[str, Any]]:
        """The named records among `ids` that the principal sees."""
        wanted = sorted(found for found in ids if is_id(found))
        if not wanted or self._principal.masked:
            # a name may be a person's
            return {}
        fields = _LABEL_FIELDS[name]
        declared = COLLECTIONS[name]
        visible, args = visible_to(self._principal, name, "t")
        columns = ", ".join(f"t.{declared.columns[found]}" for found in fields)
        rows = await self._conn.fetch(
            f"SELECT t.id, {columns} FROM {declared.table} t WHERE t.id = ANY(?) AND {visible}", wanted, *args
        )
        return {row[0]: dict(zip(fields, row[1:], strict=True)) for row in rows}


def _ids_in(value: object, name: str) -> list[tuple[str, str]]:
    """(field name, id) of every id in a value; keys of size cells are SKUs."""
    if isinstance(value, str):
        return [(name, value)] if is_id(value) else []
    if isinstance(value, Mapping):
        found = [("sku", str(key)) for key in value if is_id(str(key))]
        return found + [one for key, entry in value.items() for one in _ids_in(entry, str(key))]
    if isinstance(value, list | tuple):
        return [one for entry in value for one in _ids_in(entry, name)]
    return []


def _given(*values: object) -> set[str]:
    return {value for value in values if isinstance(value, str)}


def _plain(name: str, value: object) -> object:
    """A field as a client sent it, where it can stand in a label; what has a form only in that form."""
    if isinstance(value, str):
        try:
            check = _CHECKED.get(name)
            return check(value) if check else sendable(value)[:LABEL_CHARACTERS_MAX]
        except Refused:
            return None
    return value if isinstance(value, int) and name in _MOMENTS else None


def _names(record: Mapping[str, Any]) -> dict[str, str]:
    names = {"zh": record.get("nameZh"), "ko": record.get("nameKo"), "en": record.get("nameEn")}
    return {language: sendable(str(name)) for language, name in names.items() if name}


def _named(row: Sequence[Any]) -> dict[str, str]:
    names = {"zh": row[1], "ko": row[2], "en": row[3], "code": row[4]}
    return {language: str(name) for language, name in names.items() if name}


def _json(value: object) -> str:
    return canonical(value).decode()


def as_kept(value: object, depth: int = 0) -> Any:
    """A value a client sent, as documents may hold it: what no reader would print the same becomes a text."""
    if depth > KEPT_DEPTH_MAX:
        return "…"
    if isinstance(value, Mapping):
        return {sendable(str(key)): as_kept(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [as_kept(entry, depth + 1) for entry in value]
    if isinstance(value, str):
        return sendable(value)
    if isinstance(value, float) or (isinstance(value, int) and abs(value) > INTEGER_MAX):
        return str(value)
    return value


def sendable(text: str) -> str:
    """The same text without halves of surrogate pairs and NUL, which no answer and no database takes."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def base_at(shape: Shape, base: Mapping[str, object] | None, path: str) -> object:
    """What a client says stood at a path before its change: `base` by path, or in the form of the document."""
    if not base:
        return None
    if path in base:
        return base[path]
    try:
        return field_paths(shape, base).get(path, _record_at(base, path))
    except (AttributeError, KeyError, TypeError):
        return None  # what a client remembers is shown, never relied upon


def _record_at(base: Mapping[str, object], path: str) -> object:
    """A whole record of a list, for the path of one."""
    name, _, rest = path.partition(".")
    records = base.get(name)
    if not isinstance(records, list):
        return None
    return next((found for found in records if isinstance(found, Mapping) and found.get("id") == rest), None)


def lost_value(shape: Shape, one: Kept) -> Kept:
    """The same entry with its values as documents carry them."""
    if one.path is None:
        return one
    return replace(
        one,
        mine=shown_value(shape, one.path, one.mine),
        theirs=shown_value(shape, one.path, one.theirs),
        base=shown_value(shape, one.path, one.base),
    )
