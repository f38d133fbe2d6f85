"""Grants: which scopes each user holds, rewritten from the tree, the memberships and the roles, and nothing else.

Rows are intervals in seq. A grant that stays is left alone: a revoke and re-grant would make every device of the
user load the scope again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from backend.domain.permissions import Action, Collection, Reach, Role, reach
from backend.domain.territories import TerritoryKind, is_at_or_below
from backend.storage.engine import Connection

EVERYONE = ("catalogue", "organisation")
SEES_EVERY_TERRITORY = frozenset({Role.SERVICE_AGENT, Role.MARKETER, Role.ANALYST, Role.BACK_OFFICE, Role.ADMIN})


@dataclass(frozen=True, slots=True)
class Organisation:
    """What grants are computed from. `held`: user or service id → ids of the nodes held now.

    `services`: id of an active service → whether it works everywhere.
    """

    roles: Mapping[str, Role]
    managers: Mapping[str, str | None]
    paths: Mapping[str, str]
    patches: frozenset[str]
    held: Mapping[str, frozenset[str]]
    services: Mapping[str, bool] = field(default_factory=dict)

    def patches_below(self, user_id: str) -> set[str]:
        """The patches at or below the nodes a user holds."""
        tops = [self.paths[node] for node in self.held.get(user_id, frozenset())]
        return {patch for patch in self.patches if any(is_at_or_below(self.paths[patch], top) for top in tops)}

    def holds_a_root(self, user_id: str) -> bool:
        return any(self.paths[node].count("/") == 1 for node in self.held.get(user_id, frozenset()))


def scopes_of(user_id: str, organisation: Organisation) -> set[str]:
    """Every scope a user holds by role, memberships and the tree; a service by its own nodes or everywhere."""
    if user_id in organisation.services:
        everywhere = organisation.services[user_id]
        patches = organisation.patches if everywhere else organisation.patches_below(user_id)
        return {*EVERYONE, *_standing_in(patches, everywhere), *_tasks_in(patches, everywhere)}
    role = organisation.roles[user_id]
    scopes = {*EVERYONE, f"user:{user_id}"}
    everywhere = role in SEES_EVERY_TERRITORY
    patches = organisation.patches if everywhere else organisation.patches_below(user_id)
    of_nobody = everywhere or (role is Role.MANAGER and organisation.holds_a_root(user_id))
    scopes |= _standing_in(patches, of_nobody)
    match reach(role, Action.READ, Collection.TASKS):
        case Reach.OWN:
            # his own queue, and what is to be done in territories he holds himself
            scopes |= _tasks_in(organisation.patches_below(user_id), False)
        case Reach.SUBTREE | Reach.ALL:
            scopes |= _tasks_in(patches, of_nobody)
    if role is Role.ADMIN:
        scopes |= {f"user:{other}" for other in organisation.roles}
    if role is Role.MANAGER:
        scopes |= {f"user:{rep}" for rep in organisation.roles if _reports_to(rep, user_id, organisation)}
    return scopes


def _standing_in(patches: Iterable[str], of_nobody: bool) -> set[str]:
    return {f"territory:{patch}" for patch in patches} | ({"unassigned"} if of_nobody else set())


def _tasks_in(patches: Iterable[str], of_nobody: bool) -> set[str]:
    return {f"tasks:{patch}" for patch in patches} | ({"unassigned_tasks"} if of_nobody else set())


def _reports_to(rep: str, manager: str, organisation: Organisation) -> bool:
    if organisation.roles[rep] is not Role.REP:
        return False
    below = organisation.patches_below(manager)
    return organisation.managers[rep] == manager or bool(organisation.patches_below(rep) & below)


async def read_organisation(conn: Connection) -> Organisation:
    users = await conn.fetch("SELECT id, role, manager_id FROM user_account WHERE active")
    nodes = await conn.fetch("SELECT id, path, kind FROM territory")
    members = await conn.fetch("SELECT user_id, territory_id FROM territory_member WHERE valid_to IS NULL")
    services = await conn.fetch("SELECT id, everywhere FROM service WHERE active")
    held: dict[str, set[str]] = {}
    worked_in = await conn.fetch("SELECT service_id, territory_id FROM service_territory")
    for user_id, territory_id in (*members, *worked_in):
        held.setdefault(user_id, set()).add(territory_id)
    return Organisation(
        roles={row[0]: Role(row[1]) for row in users},
        managers={row[0]: row[2] for row in users},
        paths={row[0]: row[1] for row in nodes},
        patches=frozenset(row[0] for row in nodes if row[2] == TerritoryKind.PATCH),
        held={user_id: frozenset(nodes_held) for user_id, nodes_held in held.items()},
        services={row[0]: bool(row[1]) for row in services},
    )


async def write_grants(conn: Connection, seq: int, now_ms: int, user_ids: Iterable[str]) -> None:
    """Close and open grants so that these users hold what the organisation gives them; run after the clock step."""
    users = sorted(set(user_ids))
    organisation = await read_organisation(conn)
    rows = await conn.fetch(
        "SELECT id, user_id, scope FROM user_scope WHERE user_id = ANY(?) AND revoked_seq IS NULL", users
    )
    wanted = {
        (user_id, scope)
        for user_id in users
        if user_id in organisation.roles or user_id in organisation.services
        for scope in scopes_of(user_id, organisation)
    }
    held = {(user_id, scope) for _, user_id, scope in rows}
    await conn.execute_many(
        "UPDATE user_scope SET revoked_seq = ?, revoked_at = ? WHERE id = ?",
        [(seq, now_ms, grant_id) for grant_id, user_id, scope in rows if (user_id, scope) not in wanted],
    )
    await conn.execute_many(
        "INSERT INTO user_scope (user_id, scope, granted_seq, granted_at) VALUES (?, ?, ?, ?)",
        [(user_id, scope, seq, now_ms) for user_id, scope in sorted(wanted - held)],
    )
