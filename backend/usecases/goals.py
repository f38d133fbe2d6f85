"""Goals: where to, by when, why, and how it will be judged. R6, R12."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.arrays import MONEY_MINOR_MAX
from backend.domain.given import check_days, check_first, check_range, checked_text
from backend.domain.goals import (
    GOAL_DAYS_MAX,
    GOAL_DAYS_MIN,
    WINDOW_DAYS_MAX,
    WINDOW_DAYS_MIN,
    GoalRecord,
)
from backend.domain.kpis import KpiCode
from backend.domain.permissions import Action, Collection
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import is_id, new_id
from backend.storage.engine import Engine
from backend.storage.implementation import GOAL, may_place, nodes_below, of_scope, read_goals, sees_steps
from backend.sync.work import Work

NAME_CHARACTERS_MAX, TEXT_CHARACTERS_MAX = 120, 2_000


@dataclass(frozen=True, slots=True)
class GoalWish:
    """A goal as somebody sets it; values in the unit of the figure. `owner_id` None: whoever sets it."""

    name: str
    metric: KpiCode
    baseline: int
    target: int
    starts_on: str
    due_on: str
    reason: str
    judged_by: str
    window_days: int = 91
    territory_id: str | None = None
    evaluation_id: str | None = None
    owner_id: str | None = None


async def set_goal(work: Work, wish: GoalWish, settings: Settings) -> str:
    """Write a goal down; returns its id. What was written does not change: a goal that no longer holds is closed.

    Managers in their subtree, admins everywhere. Raises NOT_PERMITTED, and all at once NOT_FOUND (territory, owner,
    evaluation), REQUIRED, TOO_LONG, INVALID_VALUE, OUT_OF_RANGE (days, window; a target that is the baseline),
    TOO_MANY open goals.
    """
    if not work.principal.may(Action.CREATE, Collection.IMPLEMENTATION):
        raise Refused(Problem(Code.NOT_PERMITTED))
    problems: list[Problem] = []
    name = checked_text(wish.name, "name", NAME_CHARACTERS_MAX, problems)
    reason = checked_text(wish.reason, "reason", TEXT_CHARACTERS_MAX, problems, breaks=True)
    judged_by = checked_text(wish.judged_by, "judgedBy", TEXT_CHARACTERS_MAX, problems, breaks=True)
    check_days(
        wish.starts_on, wish.due_on, problems,
        least_days=GOAL_DAYS_MIN, most_days=GOAL_DAYS_MAX, names=("startsOn", "dueOn"),
    )  # fmt: skip
    check_range(wish.window_days, WINDOW_DAYS_MIN, WINDOW_DAYS_MAX, "windowDays", problems)
    check_range(wish.baseline, -MONEY_MINOR_MAX, MONEY_MINOR_MAX, "baseline", problems)
    check_range(wish.target, -MONEY_MINOR_MAX, MONEY_MINOR_MAX, "target", problems)
    if wish.target == wish.baseline:
        problems.append(Problem(Code.OUT_OF_RANGE, ("target",), (f"≠ {wish.baseline}",)))
    if not await may_place(work.conn, work.principal, Action.CREATE, wish.territory_id):
        problems.append(Problem(Code.NOT_FOUND, ("territoryId",)))
    owner_id = wish.owner_id or work.principal.holder
    named = (("ownerId", owner_id, "user_account u WHERE u.active AND u.id = ?"),
             ("evaluationId", wish.evaluation_id, "evaluation e WHERE e.id = ?"))  # fmt: skip
    for field, record_id, source in named:
        if record_id is None:
            continue
        if not is_id(record_id) or not await work.conn.fetch(f"SELECT 1 FROM {source}", record_id):
            problems.append(Problem(Code.NOT_FOUND, (field,)))
    # one at a time: open goals are counted
    await work.conn.fetch("SELECT seq FROM sync_clock WHERE id = 1 FOR UPDATE")
    [row] = await work.conn.fetch("SELECT COUNT(*) FROM goal WHERE closed_at IS NULL")
    if row[0] >= settings.goals_open_max:
        problems.append(Problem(Code.TOO_MANY, ("goals",), (str(settings.goals_open_max),)))
    refuse_if(problems)
    goal_id = new_id()
    values: list[object] = [
        goal_id, name, wish.metric.value, wish.territory_id, wish.window_days, wish.baseline, wish.target,
        wish.starts_on, wish.due_on, reason, judged_by, wish.evaluation_id, owner_id, work.now_ms,
        work.principal.actor, None,
    ]  # fmt: skip
    await work.conn.execute(f"INSERT INTO goal ({', '.join(GOAL)}) VALUES ({', '.join('?' for _ in GOAL)})", *values)
    work.audit("CREATE", "goals", goal_id)
    return goal_id


async def close_goal(work: Work, goal_id: str) -> None:
    """Take a goal off the list; it is kept.

    Raises NOT_PERMITTED, NOT_FOUND, INVALID_TRANSITION for one that is closed.
    """
    if not work.principal.may(Action.UPDATE, Collection.IMPLEMENTATION):
        raise Refused(Problem(Code.NOT_PERMITTED))
    seen, wanted = _seen(work.principal), [goal_id] if is_id(goal_id) else []
    found = await read_goals(work.conn, seen, "g.id = ANY(?)", [wanted], 1, lock=True)
    if not found:
        raise Refused(Problem(Code.NOT_FOUND, ("goalId",)))
    if not await may_place(work.conn, work.principal, Action.UPDATE, found[0].territory_id):
        raise Refused(Problem(Code.NOT_PERMITTED))
    if found[0].closed_at_ms is not None:
        raise Refused(Problem(Code.INVALID_TRANSITION, ("state",)))
    await work.conn.execute("UPDATE goal SET closed_at = ? WHERE id = ?", work.now_ms, goal_id)
    work.audit("UPDATE", "goals", goal_id, ["closedAt"])


async def list_goals(
    engine: Engine,
    principal: Principal,
    *,
    settings: Settings,
    first: int,
    territory_id: str | None = None,
    goal_ids: Sequence[str] = (),
    closed: bool = False,
) -> tuple[GoalRecord, ...]:
    """Goals the caller sees, of a subtree if one is named, the next due first.

    Raises NOT_PERMITTED and OUT_OF_RANGE.
    """
    seen = _seen(principal)
    check_first(first, settings.goals_shown_max)
    async with engine.read() as conn:
        where, args = of_scope("g", None if territory_id is None else await nodes_below(conn, territory_id))
        if goal_ids:
            where, args = f"{where} AND g.id = ANY(?)", [*args, list(goal_ids)]
        elif not closed:
            where = f"{where} AND g.closed_at IS NULL"
        return tuple(await read_goals(conn, seen, where, args, first))


def _seen(principal: Principal) -> tuple[str, list[object]]:
    seen = sees_steps(principal, "g")
    if seen is None:
        raise Refused(Problem(Code.NOT_PERMITTED))
    return seen
