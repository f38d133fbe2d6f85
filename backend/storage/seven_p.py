"""What the 7P report reads of one scope: few statements, each over the whole crowd."""

from dataclasses import dataclass

import orjson

from backend.auth.principal import Principal
from backend.domain.catalogue import ArticleState
from backend.domain.evaluations import EvaluationState, SubjectKind
from backend.domain.goals import GoalRecord
from backend.domain.kpis import KpiCode
from backend.domain.territories import is_at_or_below
from backend.domain.times import add_days, day_start_ms
from backend.storage.dialects import Dialect
from backend.storage.engine import Connection, Row
from backend.storage.evaluations import sees_evaluations
from backend.storage.implementation import read_goals, sees_steps
from backend.storage.statistics import COUNTS, Crowd

EFFECTS_MAX = 100
BROKEN_COLOURS_MAX = 1_000
GOALS_MAX = 200


async def read_report_customers(conn: Connection, crowd: Crowd) -> list[Row]:
    """(id, kind, zone or None, stage or None, completeness, name zh, ko, en, parent id or None, territory id or None)
    in the order of ids, as `Crowd` numbers them."""
    return await conn.fetch(
        "SELECT k.id, k.kind, k.timezone, s.stage, k.completeness_percent, k.name_zh, k.name_ko, k.name_en,"
        " k.parent_id, k.territory_id"
        f" FROM customer k LEFT JOIN customer_score s ON s.customer_id = k.id WHERE {crowd.where} ORDER BY k.id",
        *crowd.args,
    )


async def read_report_orders(conn: Connection, crowd: Crowd) -> list[Row]:
    """(n, day, amount, currency, id) of every order that counts, up to the crowd's day."""
    return await conn.fetch(
        crowd.sql + "SELECT c.n, o.ordered_on, o.total_minor, o.currency, o.id FROM sales_order o"
        f" JOIN c ON c.id = o.customer_id WHERE {COUNTS} AND o.ordered_on <= ? ORDER BY o.ordered_on, o.id",
        *crowd.values,
        crowd.day,
    )


async def read_report_lines(conn: Connection, crowd: Crowd, since: str) -> list[Row]:
    """(n, day, currency, category or None, 1 with a style, pieces, net, at list price) of orders from a day on."""
    return await conn.fetch(
        crowd.sql + "SELECT c.n, o.ordered_on, o.currency, y.category, CASE WHEN y.id IS NULL THEN 0 ELSE 1 END,"
        " CAST(SUM(l.units) AS BIGINT), CAST(SUM(l.total_minor) AS BIGINT),"
        " CAST(SUM(l.unit_price_minor * l.units) AS BIGINT)"
        " FROM sales_order o JOIN c ON c.id = o.customer_id JOIN order_line l ON l.order_id = o.id"
        f" LEFT JOIN style y ON y.id = l.style_id WHERE {COUNTS} AND o.ordered_on >= ? AND o.ordered_on <= ?"
        " GROUP BY c.n, o.ordered_on, o.currency, y.category, CASE WHEN y.id IS NULL THEN 0 ELSE 1 END"
        " ORDER BY c.n, o.ordered_on, o.currency, y.category",
        *crowd.values,
        since,
        crowd.day,
    )


async def read_report_scores(conn: Connection, crowd: Crowd) -> list[Row]:
    """(n, segment, existing, potential, loyalty, churn, future, table version) of who has a score."""
    return await conn.fetch(
        crowd.sql + "SELECT c.n, s.segment, s.existing_value_minor, s.potential_minor, s.loyalty_hundredths,"
        " s.churn_risk_bp, s.future_value_minor, t.version FROM customer_score s JOIN c ON c.id = s.customer_id"
        " LEFT JOIN priority_table t ON t.id = s.table_id ORDER BY c.n",
        *crowd.values,
    )


async def read_broken_runs(conn: Connection, crowd: Crowd, since: str) -> list[Row]:
    """Rows (style id, style code, colour code, colour id, size, still to be had, pieces the crowd bought) of every
    colour of a style that is sold of which some sizes are to be had and some are not."""
    each = "json_each(l.cells) h" if conn.dialect is Dialect.SQLITE else "json_each_text(l.cells::json) h(key, value)"
    broken = (
        "SELECT u.colour_id FROM sku u JOIN style y ON y.id = u.style_id"
        f" WHERE y.state = '{ArticleState.ACTIVE.value}' GROUP BY u.colour_id"
        f" HAVING COUNT(DISTINCT u.state) > 1 ORDER BY u.colour_id LIMIT {BROKEN_COLOURS_MAX}"
    )
    return await conn.fetch(
        crowd.sql + f", b AS ({broken}), t AS (SELECT h.key AS sku_id, SUM(CAST(h.value AS BIGINT)) AS units"
        " FROM sales_order o JOIN c ON c.id = o.customer_id JOIN order_line l ON l.order_id = o.id"
        f" JOIN b ON b.colour_id = l.colour_id CROSS JOIN {each}"
        f" WHERE {COUNTS} AND o.ordered_on >= ? AND o.ordered_on <= ? GROUP BY h.key)"
        " SELECT y.id, y.code, r.code, r.id, u.size, u.state, CAST(COALESCE(t.units, 0) AS BIGINT)"
        " FROM b JOIN colour r ON r.id = b.colour_id JOIN style y ON y.id = r.style_id JOIN sku u ON u.colour_id = r.id"
        " LEFT JOIN t ON t.sku_id = u.id ORDER BY y.code, r.code, u.position, u.id",
        *crowd.values,
        since,
        crowd.day,
    )


async def read_effects(
    conn: Connection, principal: Principal | None, crowd: Crowd, day: str
) -> list[tuple[str, str, str, dict[str, object], int]]:
    """(id, name, last day, result, cost) of campaigns that were evaluated by a day and had any of the crowd in them, as
    far as the caller sees evaluations; `principal` None is the operator, who sees all."""
    seen = ("1 = 1", []) if principal is None else sees_evaluations(principal, "e")
    if seen is None:
        return []
    rows = await conn.fetch(
        "SELECT e.id, e.name, e.ends_on, e.result, e.cost_minor FROM evaluation e"
        f" WHERE {seen[0]} AND e.subject_kind = '{SubjectKind.CAMPAIGN.value}'"
        f" AND e.state = '{EvaluationState.CLOSED.value}' AND e.ends_on <= ? AND e.result IS NOT NULL"
        " AND EXISTS (SELECT 1 FROM evaluation_arm a JOIN customer k ON k.id = a.customer_id"
        f" WHERE a.evaluation_id = e.id AND {crowd.where}) ORDER BY e.ends_on DESC, e.id LIMIT {EFFECTS_MAX}",
        *seen[1],
        day,
        *crowd.args,
    )
    return [(row[0], row[1], row[2], orjson.loads(row[3]), row[4]) for row in rows]


@dataclass(frozen=True, slots=True)
class ScopeGoal:
    """A goal of the scope or below it. `nodes`: the territories it is about, None for the whole organisation; `own`:
    set for exactly the scope."""

    goal: GoalRecord
    nodes: frozenset[str] | None
    own: bool


async def read_revenue_goals(
    conn: Connection, principal: Principal | None, territory_id: str | None, day: str, timezone: str
) -> list[ScopeGoal]:
    """Goals for revenue in force on a day, of a territory and those below it, without one of all the caller holds; as
    far as the caller sees goals, the next due first. `principal` None is the operator, who sees all.

    Who holds a part only is told no goal of the whole: his customers' orders say nothing of it. What holds everywhere
    for him is the goal of the one territory he is seated at.
    """
    seen = ("1 = 1", []) if principal is None else sees_steps(principal, "g")
    if seen is None:
        return []
    paths = {str(row[0]): str(row[1]) for row in await conn.fetch("SELECT id, path FROM territory")}
    whole = territory_id is None and not seen[1]
    own = territory_id
    if territory_id is None and principal is not None and not whole:
        seats = await conn.fetch(
            "SELECT m.territory_id FROM territory_member m WHERE m.user_id = ? AND m.valid_to IS NULL LIMIT 2",
            principal.holder,
        )
        own = str(seats[0][0]) if len(seats) == 1 else None
    where = ["g.metric = ?", "g.starts_on <= ?", "g.due_on >= ?", "g.set_at < ?"]
    ends_ms = day_start_ms(add_days(day, 1), timezone)
    args: list[object] = [KpiCode.REVENUE.value, day, day, ends_ms]
    where.append("(g.closed_at IS NULL OR g.closed_at >= ?)")
    args.append(ends_ms)
    if territory_id is not None:
        where.append("g.territory_id = ANY(?)")
        args.append(_below(paths, territory_id))
    elif not whole:
        where.append("g.territory_id IS NOT NULL")
    found = await read_goals(conn, seen, " AND ".join(where), args, GOALS_MAX)
    return [
        ScopeGoal(
            one,
            None if one.territory_id is None else frozenset(_below(paths, one.territory_id)),
            one.territory_id is None if whole else one.territory_id == own,
        )
        for one in found
    ]


def _below(paths: dict[str, str], territory_id: str) -> list[str]:
    top = paths.get(territory_id)
    return [] if top is None else [node for node, path in paths.items() if is_at_or_below(path, top)]
