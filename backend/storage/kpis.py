"""What key figures are computed from: visits made by whom, and the reps of a scope."""

from backend.auth.principal import Principal, Role
from backend.domain.forms import Measured
from backend.domain.visits import VisitState
from backend.storage.engine import Connection, Row
from backend.storage.statistics import Crowd
from backend.storage.visibility import granted_keys_sql


async def read_visits_made(conn: Connection, crowd: Crowd) -> list[Row]:
    """Rows (customer n, instant of the check-in, rep id) of completed visits up to the crowd's day."""
    return await conn.fetch(
        crowd.sql + "SELECT c.n, v.check_in_at, v.rep_id FROM visit v JOIN c ON c.id = v.customer_id"
        f" WHERE v.state = '{VisitState.COMPLETED.value}' AND v.check_in_at < c.day_ends",
        *crowd.values,
    )


async def read_wallet_shares(conn: Connection, crowd: Crowd) -> list[Row]:
    """Rows (customer n, share in per cent, instant) of what customers stated up to the crowd's day, as corrected last,
    in the order of their telling."""
    return await conn.fetch(
        crowd.sql + "SELECT c.n, m.value, a.answered_at FROM answer a JOIN c ON c.id = a.customer_id"
        f" JOIN answer_measure m ON m.answer_id = a.id AND m.measure = '{Measured.WALLET_SHARE.value}'"
        " WHERE a.answered_at < c.day_ends AND NOT EXISTS (SELECT 1 FROM answer later WHERE later.root_id = a.root_id"
        " AND (later.created_at > a.created_at OR (later.created_at = a.created_at AND later.id > a.id)))"
        " ORDER BY a.answered_at, a.id",
        *crowd.values,
    )


async def read_reps(conn: Connection, principal: Principal | None, territory_id: str | None) -> set[str]:
    """Active reps who hold a patch in what the caller holds, with `territory_id` within that subtree only.

    `principal` None is the operator, who holds everything. Whether the territory may be seen was asked before.
    """
    held, args = ("1 = 1", []) if principal is None else (
        f"m.territory_id IN ({granted_keys_sql('territory')})", [principal.holder]
    )  # fmt: skip
    within = ""
    if territory_id is not None:
        within = (
            " AND m.territory_id IN (SELECT t.id FROM territory t JOIN territory top ON top.id = ?"
            " WHERE t.path = top.path OR substr(t.path, 1, length(top.path) + 1) = top.path || '/')"
        )
        args = [*args, territory_id]
    rows = await conn.fetch(
        "SELECT DISTINCT u.id FROM user_account u JOIN territory_member m ON m.user_id = u.id"
        f" WHERE u.role = '{Role.REP.value}' AND u.active AND m.valid_to IS NULL AND {held}{within}",
        *args,
    )
    return {row[0] for row in rows}
