"""Territories: the tree, and giving a customer to another one with everything that hangs on it."""

from collections.abc import Mapping, Sequence

from backend.domain.audit import FieldChange
from backend.domain.fields import parse_text, validate
from backend.domain.permissions import Action, Collection, Role, may
from backend.domain.territories import (
    TERRITORY,
    Assignment,
    AssignmentSource,
    Move,
    TerritoryKind,
    check_moves,
    is_at_or_below,
    place_problems,
)
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import new_id
from backend.storage.customers import CHILD_TABLES
from backend.storage.engine import Connection
from backend.storage.visibility import granted_keys_sql, visible_to
from backend.sync.work import Door, Work

REASON_CHARACTERS_MAX = 300
COLLECTION_OF_TABLE = {
    "customer_contact": "customerContacts",
    "visit": "visits",
    "sales_order": "orders",
    "task": "tasks",
    "answer": "answers",
    "service_case": "cases",
    "judgement": "judgements",
    "customer_score": "scores",
}


async def move_customers(work: Work, moves: Sequence[Move], reason: str | None = None) -> int:
    """Give customers to other territories, now; returns how many moved. Old and new rep learn it by their next pull.

    Ends the open assignment, begins the new one, and takes the customer's contacts' links, visits, orders, tasks
    and scores along. Raises NOT_PERMITTED and what `check_moves` raises.
    """
    role = work.principal.role
    if work.door is not Door.JOB and (role is None or not may(role, Action.MOVE, Collection.CUSTOMERS)):
        raise Refused(Problem(Code.NOT_PERMITTED))
    current = await _lock_customers(work, [move.customer_id for move in moves])
    reason = _reason(reason)
    moved = check_moves(moves, kinds=await _territories_held(work), current=current, at_ms=work.now_ms)
    if not moved.begun:
        return 0
    await work.conn.execute_many(
        "UPDATE territory_assignment SET valid_to = ? WHERE customer_id = ? AND valid_to IS NULL",
        [(ended.valid_to_ms, ended.customer_id) for ended in moved.ended],
    )
    await work.conn.execute_many(
        "INSERT INTO territory_assignment (id, customer_id, territory_id, valid_from, source, reason, assigned_by)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (
                new_id(),
                begun.customer_id,
                begun.territory_id,
                begun.valid_from_ms,
                AssignmentSource.HUMAN.value,
                reason,
                work.principal.actor,
            )
            for begun in moved.begun
        ],
    )
    await _carry_children(work, moved.begun, current, reason)
    return len(moved.begun)


def _reason(given: str | None) -> str | None:
    try:
        return None if given is None else parse_text(given, limit=REASON_CHARACTERS_MAX)
    except Refused as refused:
        raise Refused(*(problem.under("reason") for problem in refused.problems)) from None


async def _lock_customers(work: Work, ids: Sequence[str]) -> dict[str, Assignment | None]:
    """Customer id → open assignment, for those the caller sees; the customers stay locked."""
    visible, args = visible_to(work.principal, "customers", "t")
    rows = await work.conn.fetch(
        f"SELECT t.id FROM customer t WHERE t.id = ANY(?) AND {visible} ORDER BY t.id FOR UPDATE OF t",
        sorted(set(ids)),
        *args,
    )
    found: dict[str, Assignment | None] = {row[0]: None for row in rows}
    for row in await work.conn.fetch(
        "SELECT customer_id, territory_id, valid_from FROM territory_assignment"
        " WHERE customer_id = ANY(?) AND valid_to IS NULL",
        sorted(found),
    ):
        found[row[0]] = Assignment(row[0], row[1], row[2])
    return found


async def _territories_held(work: Work) -> dict[str, str]:
    if work.door is Door.JOB:
        return dict(await work.conn.fetch("SELECT id, kind FROM territory"))
    rows = await work.conn.fetch(
        f"SELECT id, kind FROM territory WHERE id IN ({granted_keys_sql('territory')})", work.principal.holder
    )
    return dict(rows)


async def _carry_children(
    work: Work, begun: Sequence[Assignment], stood: Mapping[str, Assignment | None], reason: str | None
) -> None:
    pairs = [(one.territory_id, one.customer_id) for one in begun]
    ids = sorted({one.customer_id for one in begun})
    await work.conn.execute_many("UPDATE customer SET territory_id = ? WHERE id = ?", pairs)
    for territory_id, customer_id in pairs:
        before = stood.get(customer_id)
        moved = FieldChange("territoryId", before.territory_id if before else None, territory_id)
        work.touched("customers", customer_id, ("territoryId",))
        work.audit("MOVE", "customers", customer_id, changes=[moved], reason=reason)
    for (parent_id,) in await work.conn.fetch(
        "SELECT DISTINCT parent_id FROM customer WHERE id = ANY(?) AND parent_id IS NOT NULL", ids
    ):
        # a chain's head is seen by the reps of its doors
        work.touched("customers", parent_id, ())
    for table in CHILD_TABLES:
        key = "customer_id" if table == "customer_score" else "id"
        await work.conn.fetch(f"SELECT {key} FROM {table} WHERE customer_id = ANY(?) ORDER BY {key} FOR UPDATE", ids)
        await work.conn.execute_many(f"UPDATE {table} SET territory_id = ? WHERE customer_id = ?", pairs)
        for (record_id,) in await work.conn.fetch(f"SELECT {key} FROM {table} WHERE customer_id = ANY(?)", ids):
            work.touched(COLLECTION_OF_TABLE[table], record_id, ())
    for (contact_id,) in await work.conn.fetch(
        "SELECT DISTINCT contact_id FROM customer_contact WHERE customer_id = ANY(?)", ids
    ):
        work.touched("contacts", contact_id, ())


async def create_territory(work: Work, fields: dict[str, object]) -> str:
    """Add a node to the tree; returns its id. Raises NOT_PERMITTED, INVALID_VALUE and what the fields say."""
    _admin_only(work)
    given = {"id": new_id(), **fields}
    clean, problems = validate(TERRITORY, given, creating=True)
    refuse_if(problems)
    parent = await _node(work.conn, clean.get("parentId"))
    if clean.get("parentId") is not None and parent is None:
        raise Refused(Problem(Code.NOT_FOUND, ("parentId",)))
    refuse_if(place_problems(str(clean["kind"]), str(clean["path"]), parent))
    taken = await work.conn.fetch("SELECT id FROM territory WHERE id = ? OR path = ?", clean["id"], clean["path"])
    if taken:
        raise Refused(Problem(Code.ID_TAKEN, ("path",)))
    await work.conn.execute(
        "INSERT INTO territory (id, parent_id, path, kind, name_zh, name_ko, name_en, timezone, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *(clean.get(name) for name in ("id", "parentId", "path", "kind", "nameZh", "nameKo", "nameEn", "timezone")),
        work.now_ms,
    )
    territory_id = str(clean["id"])
    work.touched("territories", territory_id)
    work.audit("CREATE", "territories", territory_id)
    work.reseat(
        row[0]
        for row in await work.conn.fetch(
            "SELECT id FROM user_account WHERE active UNION ALL SELECT id FROM service WHERE active"
        )
    )
    return territory_id


async def grant_territory(work: Work, user_id: str, territory_id: str, reason: str | None = None) -> None:
    """A user holds a node of the tree from now on; raises NOT_FOUND, NOT_PERMITTED."""
    await _check_seat(work, user_id, territory_id)
    reason = _reason(reason)
    held = await work.conn.fetch(
        "SELECT id FROM territory_member WHERE user_id = ? AND territory_id = ? AND valid_to IS NULL",
        user_id,
        territory_id,
    )
    if not held:
        await work.conn.execute(
            "INSERT INTO territory_member (id, territory_id, user_id, valid_from, reason) VALUES (?, ?, ?, ?, ?)",
            new_id(),
            territory_id,
            user_id,
            work.now_ms,
            reason,
        )
        work.audit("GRANT", "territories", territory_id, (user_id,))
        await _reseat_with_managers(work, user_id)


async def revoke_territory(work: Work, user_id: str, territory_id: str) -> None:
    """A user no longer holds a node; raises NOT_FOUND, NOT_PERMITTED."""
    await _check_seat(work, user_id, territory_id)
    await work.conn.execute(
        "UPDATE territory_member SET valid_to = ? WHERE user_id = ? AND territory_id = ? AND valid_to IS NULL",
        work.now_ms,
        user_id,
        territory_id,
    )
    work.audit("REVOKE", "territories", territory_id, (user_id,))
    await _reseat_with_managers(work, user_id)


async def _check_seat(work: Work, user_id: str, territory_id: str) -> None:
    role = work.principal.role
    if work.door is not Door.JOB and (role is None or not may(role, Action.MOVE, Collection.TERRITORIES)):
        raise Refused(Problem(Code.NOT_PERMITTED))
    held = await _seats_given_by(work)
    user = await work.conn.fetch("SELECT id FROM user_account WHERE id = ? AND active FOR UPDATE", user_id)
    refuse_if(
        [
            *([] if territory_id in held else [Problem(Code.NOT_FOUND, ("territoryId",))]),
            *([] if user else [Problem(Code.NOT_FOUND, ("userId",))]),
        ]
    )


async def _seats_given_by(work: Work) -> set[str]:
    """Nodes whose every patch the caller holds, and every node for an admin."""
    rows = await work.conn.fetch("SELECT id, path, kind FROM territory")
    if work.door is Door.JOB or work.principal.role is Role.ADMIN:
        return {row[0] for row in rows}
    held = await _territories_held(work)
    patches = {row[1]: row[0] for row in rows if row[2] == TerritoryKind.PATCH}
    return {
        node
        for node, path, _ in rows
        if all(patch in held for below, patch in patches.items() if is_at_or_below(below, path))
    }


async def _reseat_with_managers(work: Work, user_id: str) -> None:
    """Managers hold `user:<id>` of the reps below them, so a rep's seat changes theirs too."""
    rows = await work.conn.fetch("SELECT id FROM user_account WHERE active AND role = 'MANAGER'")
    work.reseat([user_id, *(row[0] for row in rows)])


async def _node(conn: Connection, territory_id: object) -> dict[str, object] | None:
    rows = await conn.fetch("SELECT path, kind FROM territory WHERE id = ?", territory_id)
    return {"path": rows[0][0], "kind": rows[0][1]} if rows else None


def _admin_only(work: Work) -> None:
    role = work.principal.role
    if work.door is not Door.JOB and (role is None or not may(role, Action.CREATE, Collection.TERRITORIES)):
        raise Refused(Problem(Code.NOT_PERMITTED))
