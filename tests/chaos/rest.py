"""The truth at rest, read from the tables with plain SQL, and the judgement of every device against it.

Who sees what is told here a second time, in a few lines and from the house's rules, not from the product's code.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from backend.domain.times import instant_text
from backend.storage.engine import Connection, Engine
from mobile_contract.replica import Document, Key
from tests.chaos.model import User, Violation
from tests.chaos.world import World

TABLE_OF: Mapping[str, str] = {
    "customers": "customer",
    "contacts": "contact",
    "customerContacts": "customer_contact",
    "visits": "visit",
    "orders": "sales_order",
    "tasks": "task",
    "syncIssues": "sync_issue",
    "attachments": "attachment",
}
RENAMED = {"primary": "is_primary"}
KEPT = ("base", "mine", "theirs")
LINE_COLUMNS = ("id", "styleId", "colourId", "unitPriceMinor", "discountBp", "cells", "units", "totalMinor")


def column_of(name: str) -> str:
    return RENAMED.get(name) or "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


async def read_truth(conn: Connection, fields: Mapping[str, list[str]]) -> dict[Key, Document]:
    """Every record by its tables; `fields` are those some device holds, where the table has a column of that name."""
    found: dict[Key, Document] = {}
    for collection, table in TABLE_OF.items():
        names = sorted({"id", *fields.get(collection, [])} & await _named_by(conn, table))
        columns = ", ".join(f'"{column_of(name)}"' for name in names)
        extra = _PLACED[collection]
        for row in await conn.fetch(f"SELECT {columns}, {', '.join(extra)} FROM {table}"):
            document = dict(zip(names, row, strict=False))
            document["#"] = dict(zip(extra, row[len(names) :], strict=True))
            found[collection, document["id"]] = document
    columns = ", ".join(f'"{column_of(name)}"' for name in LINE_COLUMNS)
    lines: dict[str, list[Document]] = defaultdict(list)
    for row in await conn.fetch(f"SELECT order_id, {columns} FROM order_line ORDER BY order_id, position"):
        line = dict(zip(LINE_COLUMNS, row[1:], strict=True))
        line["cells"] = json.loads(line["cells"])
        lines[row[0]].append(line)
    for (collection, record_id), document in found.items():
        if collection == "orders":
            document["lines"] = lines[record_id]
        if collection == "syncIssues":
            document.update({name: json.loads(document[name]) for name in KEPT if document.get(name) is not None})
        if collection == "customers":
            document["tags"] = json.loads(document["tags"]) if isinstance(document.get("tags"), str) else []
    return found


_PLACED: Mapping[str, tuple[str, ...]] = {
    "customers": ("territory_id", "parent_id"),
    "contacts": ("created_by",),
    "customerContacts": ("customer_id", "contact_id"),
    "visits": ("customer_id",),
    "orders": ("customer_id",),
    "tasks": ("customer_id", "assignee_id"),
    "syncIssues": ("user_id",),
    "attachments": ("collection", "record_id"),
}


async def _named_by(conn: Connection, table: str) -> set[str]:
    """Document names for which the table has a column."""
    if conn.dialect.value == "sqlite":
        rows = await conn.fetch(f"SELECT name FROM pragma_table_info('{table}')")
    else:
        rows = await conn.fetch("SELECT column_name FROM information_schema.columns WHERE table_name = ?", table)
    back = {column: name for name, column in RENAMED.items()}
    named = set()
    for (column,) in rows:
        first, *rest = str(column).split("_")
        named.add(back.get(column) or first + "".join(part.capitalize() for part in rest))
    return named


def same(shown: Any, stored: Any) -> bool:
    """Whether a document shows what a column holds."""
    if shown is None:
        return stored is None or stored == "null"
    if isinstance(shown, bool):
        return shown == bool(stored)
    if isinstance(shown, dict | list):
        return bool(shown == (json.loads(stored) if isinstance(stored, str | bytes) else stored))
    if isinstance(shown, str) and isinstance(stored, int):
        return shown == instant_text(stored)
    if isinstance(shown, str) and isinstance(stored, str) and shown != stored:
        return stored.startswith('"') and bool(shown == json.loads(stored))
    return bool(shown == stored)


class Office:
    """Who sees what by the tables: seats, the tree and where customers stand."""

    def __init__(self, truth: Mapping[Key, Document], seats: Mapping[str, set[str]], roles: Mapping[str, str]) -> None:
        self.truth, self.seats, self.roles = truth, seats, roles
        self.doors: dict[str, list[str]] = defaultdict(list)
        self.links: dict[str, list[str]] = defaultdict(list)
        for (collection, record_id), document in truth.items():
            placed = document["#"]
            if collection == "customers" and placed["parent_id"]:
                self.doors[placed["parent_id"]].append(record_id)
            if collection == "customerContacts":
                self.links[placed["contact_id"]].append(placed["customer_id"])

    def patch(self, customer_id: str | None) -> str | None:
        found = self.truth.get(("customers", customer_id or ""))
        patch: str | None = found["#"]["territory_id"] if found else None
        return patch

    def sees_work_of(self, user: User, other: str) -> bool:
        if user.id == other or user.role == "ADMIN":
            return True
        below = user.role == "MANAGER" and self.roles.get(other) == "REP"
        return below and bool(self.seats.get(user.id, set()) & self.seats.get(other, set()))

    def sees(self, user: User, key: Key) -> bool:
        collection, record_id = key
        placed, seats = self.truth[key]["#"], self.seats.get(user.id, set())
        if user.role == "ADMIN":
            return True
        match collection:
            case "attachments":
                return (holder := (placed["collection"], placed["record_id"])) in self.truth and self.sees(user, holder)
            case "syncIssues":
                return self.sees_work_of(user, placed["user_id"])
            case "customers":
                return any(self.patch(c) in seats for c in [record_id, *self.doors[record_id]])
            case "contacts":
                links = self.links[record_id]
                return (
                    any(self.patch(c) in seats for c in links)
                    if links
                    else self.sees_work_of(user, placed["created_by"])
                )
            case "tasks":
                return self.patch(placed["customer_id"]) in seats or self.sees_work_of(user, placed["assignee_id"])
            case _:
                return self.patch(placed["customer_id"]) in seats


async def judge_at_rest(world: World, engine: Engine) -> dict[str, int]:
    """Raise `Violation` for the first thing wrong; returns how much was compared."""
    fields: dict[str, set[str]] = defaultdict(set)
    for device in world.devices:
        for (collection, _), document in device.replica.documents.items():
            fields[collection].update(document)
    names = {c: sorted(f | _FOLLOWED.get(c, set())) for c, f in fields.items()}
    for collection, followed in _FOLLOWED.items():
        names.setdefault(collection, sorted(followed))
    async with engine.read() as conn:
        truth = await read_truth(conn, names)
        nodes = await conn.fetch("SELECT id, path, kind FROM territory")
        members = await conn.fetch("SELECT user_id, territory_id FROM territory_member WHERE valid_to IS NULL")
        audits = await conn.fetch(
            "SELECT device_id, action, collection, record_id, count(*) FROM audit_entry"
            " WHERE door IN ('PUSH', 'RXDB', 'WATERMELON')"
            " AND action IN ('CREATE', 'UPDATE', 'DELETE', 'RESTORE') GROUP BY device_id, action, collection, record_id"
        )
        issues = await conn.fetch("SELECT mutation_id, field, mine FROM sync_issue WHERE mutation_id IS NOT NULL")
    paths = {row[0]: row[1] for row in nodes}
    seats: dict[str, set[str]] = defaultdict(set)
    for user_id, node in members:
        seats[user_id] |= {n for n, path, kind in nodes if kind == "PATCH" and f"{path}/".startswith(f"{paths[node]}/")}
    office = Office(truth, seats, {user.id: user.role for user in world.scope.users.values()})
    compared = _judge_devices(world, office, truth)
    kept: dict[tuple[str, str | None], list[Document]] = defaultdict(list)
    for mutation_id, path, mine in issues:
        kept[mutation_id, path].append({"mine": json.loads(mine) if mine is not None else None})
    world.ledger.judge(truth, kept)
    world.ledger.judge_merges(truth, world.scope.became)
    world.ledger.judge_audit({(row[0], row[1], row[2], row[3]): row[4] for row in audits})
    return {**compared, **world.ledger.judged}


_FOLLOWED: Mapping[str, set[str]] = {
    "customers": {"nameEn", "province", "city", "district", "street", "notes", "tags", "latE7", "lonE7"},
    "contacts": {"nameEn", "nameZh", "notes"},
    "customerContacts": set(),
    "visits": {"nextStep", "notes"},
    "orders": {"poNumber", "notes"},
    "tasks": {"title", "notes"},
    "syncIssues": set(),
    "attachments": {"caption"},
}


def _judge_devices(world: World, office: Office, truth: Mapping[Key, Document]) -> dict[str, int]:
    documents = compared = 0
    for device in world.devices:
        held = {key for key in device.replica.documents if key[0] in TABLE_OF}
        visible = {key for key in truth if office.sees(device.user, key)}
        if held != visible:
            more, less = sorted(held - visible)[:5], sorted(visible - held)[:5]
            raise Violation(f"{device.name} holds too much {more}, lacks {less}")
        for key in sorted(held):
            documents += 1
            for name, shown in device.replica.documents[key].items():
                if name in truth[key] and name != "lines":
                    compared += 1
                    if not same(shown, truth[key][name]):
                        raise Violation(f"{device.name} shows {key} {name} as {shown!r}; it is {truth[key][name]!r}")
            if key[0] == "orders":
                _judge_lines(device.name, key, device.replica.documents[key]["lines"], truth[key]["lines"])
    return {"documents": documents, "values": compared}


def _judge_lines(name: str, key: Key, shown: list[Document], stored: list[Document]) -> None:
    plain = [{column: line.get(column) for column in LINE_COLUMNS} for line in shown]
    if plain != stored:
        raise Violation(f"{name} shows {key} with {plain}; its lines are {stored}")
