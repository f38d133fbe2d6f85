"""The five steps in their tables: who sees what of which scope, and the rows as records."""

from collections.abc import Sequence

import orjson

from backend.auth.principal import Principal, Role
from backend.domain.capacity import CapacityRecord, Constraint, ConstraintKind, MinutesBasis
from backend.domain.goals import GoalRecord
from backend.domain.kpis import KpiCode
from backend.domain.permissions import Action, Collection, Reach, reach
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Connection, Row
from backend.storage.visibility import BELOW_SEATS

CAPACITY = (
    "id", "territory_id", "starts_on", "ends_on", "working_days", "reps_n", "reps_assumed_n", "rep_minutes",
    "minutes_basis", "rollout_share_bp", "raisable_minutes", "budget_minor", "raisable_budget_minor", "currency",
    "wip_max", "skills", "constraints", "set_at", "set_by",
)  # fmt: skip
GOAL = (
    "id", "name", "metric", "territory_id", "window_days", "baseline", "target", "starts_on", "due_on", "reason",
    "judged_by", "evaluation_id", "owner_id", "set_at", "set_by", "closed_at",
)  # fmt: skip


def sees_steps(principal: Principal, alias: str) -> tuple[str, list[object]] | None:
    """The predicate "this principal sees the row `alias`" by its `territory_id`, and its arguments; None for who sees
    none. What concerns the whole organisation concerns every subtree."""
    how_far = reach(principal.role, Action.READ, Collection.IMPLEMENTATION) if principal.role else None
    if how_far is None:
        return None
    if how_far is Reach.ALL:
        return "1 = 1", []
    return f"({alias}.territory_id IS NULL OR {alias}.territory_id IN ({BELOW_SEATS}))", [principal.holder]


async def may_place(conn: Connection, principal: Principal, action: Action, territory_id: str | None) -> bool:
    """Whether the principal's right reaches a territory; the whole organisation is for whose right reaches all."""
    how_far = reach(principal.role, action, Collection.IMPLEMENTATION) if principal.role else None
    if how_far is None:
        return False
    if territory_id is None:
        return how_far is Reach.ALL
    if how_far is Reach.ALL:
        return bool(await conn.fetch("SELECT id FROM territory WHERE id = ?", territory_id))
    return bool(await conn.fetch(f"{BELOW_SEATS} AND t.id = ?", principal.holder, territory_id))


async def scope_read(conn: Connection, principal: Principal, territory_id: str | None) -> str | None:
    """The scope a question is about: the territory named; without one the whole organisation, or for who sees a part
    of it the node he is seated at.

    Raises NOT_PERMITTED, NOT_FOUND for a territory outside what the principal sees, REQUIRED where he has several.
    """
    how_far = reach(principal.role, Action.READ, Collection.IMPLEMENTATION) if principal.role else None
    if how_far is None:
        raise Refused(Problem(Code.NOT_PERMITTED))
    if territory_id is None and how_far is not Reach.ALL:
        seats = await conn.fetch(
            "SELECT m.territory_id FROM territory_member m WHERE m.user_id = ? AND m.valid_to IS NULL LIMIT 2",
            principal.holder,
        )
        if len(seats) != 1:
            raise Refused(Problem(Code.REQUIRED, ("territoryId",)))
        return str(seats[0][0])
    if not await may_place(conn, principal, Action.READ, territory_id):
        raise Refused(Problem(Code.NOT_FOUND, ("territoryId",)))
    return territory_id


async def nodes_below(conn: Connection, territory_id: str) -> list[str]:
    """The node and everything under it."""
    rows = await conn.fetch(
        "SELECT t.id FROM territory t JOIN territory top ON t.path = top.path"
        " OR substr(t.path, 1, length(top.path) + 1) = top.path || '/' WHERE top.id = ?",
        territory_id,
    )
    return [row[0] for row in rows]


async def nodes_above(conn: Connection, territory_id: str) -> list[str]:
    """The node and everything it lies under."""
    rows = await conn.fetch(
        "SELECT top.id FROM territory t JOIN territory top ON t.path = top.path"
        " OR substr(t.path, 1, length(top.path) + 1) = top.path || '/' WHERE t.id = ?",
        territory_id,
    )
    return [row[0] for row in rows]


def of_scope(alias: str, nodes: Sequence[str] | None) -> tuple[str, list[object]]:
    """The predicate "belongs to these nodes"; None is everything there is."""
    return ("1 = 1", []) if nodes is None else (f"{alias}.territory_id = ANY(?)", [list(nodes)])


async def read_rep_days(conn: Connection, territory_id: str | None) -> list[int | None]:
    """Minutes of a day of every active rep who holds a patch in the scope; None where not recorded."""
    where, args = "1 = 1", list[object]()
    if territory_id is not None:
        where, args = "m.territory_id = ANY(?)", [await nodes_below(conn, territory_id)]
    rows = await conn.fetch(
        "SELECT DISTINCT u.id, u.day_minutes FROM user_account u JOIN territory_member m ON m.user_id = u.id"
        f" WHERE u.role = '{Role.REP.value}' AND u.active AND m.valid_to IS NULL AND {where} ORDER BY u.id",
        *args,
    )
    return [row[1] for row in rows]


async def read_capacities(
    conn: Connection, seen: tuple[str, Sequence[object]], where: str, args: Sequence[object], first: int
) -> list[CapacityRecord]:
    """Those seen for which `where` (over `capacity c`) holds, the newest first."""
    rows = await conn.fetch(
        f"SELECT {', '.join(f'c.{name}' for name in CAPACITY)} FROM capacity c WHERE {seen[0]} AND {where}"
        " ORDER BY c.set_at DESC, c.id DESC LIMIT ?",
        *seen[1],
        *args,
        first,
    )
    return [_capacity(row) for row in rows]


async def read_capacity_in_force(conn: Connection, territory_id: str | None, day: str) -> CapacityRecord | None:
    """The newest capacity of exactly this scope that holds on a day."""
    scope, args = _exactly(territory_id)
    found = await read_capacities(conn, ("1 = 1", ()), f"{scope} AND c.starts_on <= ? AND c.ends_on >= ?",
                                  [*args, day, day], 1)  # fmt: skip
    return found[0] if found else None


async def read_newest_capacity(conn: Connection, territory_id: str | None) -> CapacityRecord | None:
    """The newest capacity of exactly this scope, whether it holds today or not."""
    scope, args = _exactly(territory_id)
    found = await read_capacities(conn, ("1 = 1", ()), scope, args, 1)
    return found[0] if found else None


def _exactly(territory_id: str | None) -> tuple[str, list[object]]:
    return ("c.territory_id IS NULL", []) if territory_id is None else ("c.territory_id = ?", [territory_id])


def _capacity(row: Row) -> CapacityRecord:
    value = dict(zip(CAPACITY, row, strict=True))
    return CapacityRecord(
        **{name: value[name] for name in CAPACITY if name not in
           ("minutes_basis", "skills", "constraints", "set_at", "set_by")},
        minutes_basis=MinutesBasis(value["minutes_basis"]),
        skills=tuple(orjson.loads(value["skills"])),
        constraints=tuple(
            Constraint(ConstraintKind(one["kind"]), one["text"]) for one in orjson.loads(value["constraints"])
        ),
        set_at_ms=value["set_at"],
        set_by=value["set_by"],
    )  # fmt: skip


async def read_goals(
    conn: Connection,
    seen: tuple[str, Sequence[object]],
    where: str,
    args: Sequence[object],
    first: int,
    *,
    lock: bool = False,
) -> list[GoalRecord]:
    """Those seen for which `where` (over `goal g`) holds, the next due first."""
    rows = await conn.fetch(
        f"SELECT {', '.join(f'g.{name}' for name in GOAL)} FROM goal g WHERE {seen[0]} AND {where}"
        f" ORDER BY g.due_on, g.id LIMIT ?{' FOR UPDATE' if lock else ''}",
        *seen[1],
        *args,
        first,
    )
    return [_goal(row) for row in rows]


def _goal(row: Row) -> GoalRecord:
    value = dict(zip(GOAL, row, strict=True))
    return GoalRecord(
        **{name: value[name] for name in GOAL if name not in ("metric", "set_at", "closed_at")},
        metric=KpiCode(value["metric"]),
        set_at_ms=value["set_at"],
        closed_at_ms=value["closed_at"],
    )
