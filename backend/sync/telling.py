"""What a record is recognised by and what the ids in its values are called, as far as a reader sees them."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backend.auth.principal import Principal
from backend.domain.money import parse_currency
from backend.domain.times import INSTANT_MAX_MS, instant_text, parse_day, parse_instant, parse_zone
from backend.errors import Refused
from backend.ids import is_id
from backend.storage.customers import TIMEZONE_DEFAULT
from backend.storage.engine import Connection
from backend.storage.visibility import visible_to
from backend.sync.collections import COLLECTIONS
from backend.sync.kept import Kept, sendable

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
NAMES_MAX = 100
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
