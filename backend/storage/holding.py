"""Whose customers a question about many is asked of."""

from backend.auth.principal import Principal
from backend.domain.territories import is_at_or_below
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Connection, Engine
from backend.storage.statistics import SCORED
from backend.storage.visibility import granted_keys_sql, visible_to


async def held_customers(
    conn: Connection, principal: Principal | None, territory_id: str | None
) -> tuple[str, list[object]]:
    """The predicate over `customer k`, with its arguments, for those the caller works for: those he holds, not a
    chain's head seen through one of its doors, and with `territory_id` those of that subtree only.

    `principal` None is the operator at the server itself, who sees everything. Raises NOT_FOUND for a territory
    outside the caller's scope.
    """
    nodes = await conn.fetch("SELECT id, path FROM territory")
    top = next((path for node, path in nodes if node == territory_id), None)
    below = [node for node, path in nodes if top is not None and is_at_or_below(path, top)]
    if territory_id is not None and top is None:
        raise Refused(Problem(Code.NOT_FOUND, ("territoryId",)))
    if principal is None:
        return (SCORED, []) if top is None else (f"{SCORED} AND k.territory_id = ANY(?)", [below])
    visible, args = visible_to(principal, "customers", "k")
    if top is None:
        held = f"k.territory_id IN ({granted_keys_sql('territory')})"
        where = f"{SCORED} AND {visible} AND (k.territory_id IS NULL OR {held})"
        return where, [*args, principal.holder]
    mine = {row[0] for row in await conn.fetch(granted_keys_sql("territory"), principal.holder)}
    seats = await conn.fetch(
        "SELECT t.path FROM territory_member m JOIN territory t ON t.id = m.territory_id"
        " WHERE m.user_id = ? AND m.valid_to IS NULL",
        principal.holder,
    )
    reached = [node for node in below if node in mine]
    # a region without a patch yet is its manager's, though there is nothing in it to hold
    if not reached and not any(is_at_or_below(top, seat[0]) for seat in seats):
        raise Refused(Problem(Code.NOT_FOUND, ("territoryId",)))
    return f"{SCORED} AND {visible} AND k.territory_id = ANY(?)", [*args, reached]


async def territory_named(engine: Engine, name: str) -> str:
    """The id of a territory given by its id or path; raises NOT_FOUND."""
    async with engine.read() as conn:
        rows = await conn.fetch("SELECT id FROM territory WHERE id = ? OR path = ?", name, name)
    if not rows:
        raise Refused(Problem(Code.NOT_FOUND, ("territory",)))
    return str(rows[0][0])


async def territories_below(engine: Engine, territory_id: str | None) -> frozenset[str] | None:
    """A territory with everything below it, None for all there is; raises NOT_FOUND."""
    if territory_id is None:
        return None
    async with engine.read() as conn:
        rows = await conn.fetch("SELECT id, path FROM territory")
    top = next((path for node, path in rows if node == territory_id), None)
    if top is None:
        raise Refused(Problem(Code.NOT_FOUND, ("territoryId",)))
    return frozenset(node for node, path in rows if is_at_or_below(path, top))
