"""Step four: what is rolled out, in which order, and what waits. R29."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.capacity import MINUTES_MAX, SKILLS_MAX, CapacityRecord, Relief, way_out
from backend.domain.given import check_first, check_range, checked_list, checked_text
from backend.domain.permissions import Action, Collection
from backend.domain.rollouts import (
    ITEMS_OPEN_MAX,
    Grades,
    RolloutPlan,
    RolloutRecord,
    RolloutState,
    Room,
    check_rollout_step,
    grade_problems,
    rank_rollout,
)
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import is_id, new_id
from backend.storage.engine import Engine
from backend.storage.implementation import (
    may_place,
    nodes_above,
    nodes_below,
    of_scope,
    read_capacity_in_force,
    scope_read,
    sees_steps,
)
from backend.storage.rollouts import COLUMNS, read_items
from backend.sync.documents import canonical
from backend.sync.work import Work

MONEY_MAX = 10**15
NAME_CHARACTERS_MAX, STRATEGY_CHARACTERS_MAX, SKILL_CHARACTERS_MAX = 120, 40, 60
TEXT_CHARACTERS_MAX = 2_000
OPEN = (RolloutState.PROPOSED.value, RolloutState.STARTED.value)


@dataclass(frozen=True, slots=True)
class RolloutWish:
    """An item as somebody proposes it; `minutes` and `budget_minor`: what it takes of the capacity."""

    name: str
    grades: Grades
    minutes: int
    budget_minor: int
    territory_id: str | None = None
    purpose: str | None = None
    strategy: str | None = None
    skills: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RankedRollout:
    """The plan, and the items it speaks of by id. `capacity` None: none holds today, so nothing is chosen.

    `raised`: ids that could be taken besides, if what can be raised were raised; `relief_*`: what to do about what
    does not fit.
    """

    capacity: CapacityRecord | None
    items: dict[str, RolloutRecord]
    plan: RolloutPlan | None
    raised: tuple[str, ...]
    relief_minutes: Relief
    relief_budget: Relief


async def propose_item(work: Work, wish: RolloutWish, settings: Settings) -> str:
    """Put an item on the list; returns its id.

    Managers in their subtree, admins everywhere. Raises NOT_PERMITTED, and all at once NOT_FOUND (territory), REQUIRED,
    TOO_LONG, INVALID_VALUE, OUT_OF_RANGE (grades 1 to 5, minutes, budget), TOO_MANY (items not done of one scope).
    """
    if not work.principal.may(Action.CREATE, Collection.IMPLEMENTATION):
        raise Refused(Problem(Code.NOT_PERMITTED))
    problems: list[Problem] = []
    name = checked_text(wish.name, "name", NAME_CHARACTERS_MAX, problems)
    purpose = checked_text(wish.purpose, "purpose", TEXT_CHARACTERS_MAX, problems, required=False, breaks=True)
    strategy = checked_text(wish.strategy, "strategy", STRATEGY_CHARACTERS_MAX, problems, required=False)
    skills = checked_list(wish.skills, "skills", SKILLS_MAX, SKILL_CHARACTERS_MAX, problems)
    problems += grade_problems(wish.grades)
    check_range(wish.minutes, 0, MINUTES_MAX, "minutes", problems)
    check_range(wish.budget_minor, 0, MONEY_MAX, "budgetMinor", problems)
    if not await may_place(work.conn, work.principal, Action.CREATE, wish.territory_id):
        problems.append(Problem(Code.NOT_FOUND, ("territoryId",)))
    # one at a time: items are counted
    await work.conn.fetch("SELECT seq FROM sync_clock WHERE id = 1 FOR UPDATE")
    for nodes in await _scopes_of(work, wish.territory_id):
        scope, args = of_scope("r", nodes)
        rows = await work.conn.fetch(
            f"SELECT COUNT(*) FROM rollout_item r WHERE r.state = ANY(?) AND {scope}", list(OPEN), *args
        )
        if rows[0][0] >= ITEMS_OPEN_MAX:
            problems.append(Problem(Code.TOO_MANY, ("items",), (str(ITEMS_OPEN_MAX),)))
            break
    refuse_if(problems)
    item_id = new_id()
    values: list[object] = [
        item_id, wish.territory_id, RolloutState.PROPOSED.value, name, purpose or None, strategy or None,
        *(grade for _, grade in wish.grades.named()), wish.minutes, wish.budget_minor, settings.reporting_currency,
        canonical(list(skills)).decode(), 0, 0, None, work.now_ms, work.principal.actor, work.now_ms,
    ]  # fmt: skip
    await work.conn.execute(
        f"INSERT INTO rollout_item ({', '.join(COLUMNS)}) VALUES ({', '.join('?' for _ in COLUMNS)})", *values
    )
    work.audit("CREATE", "rolloutItems", item_id)
    return item_id


async def start_item(work: Work, item_id: str, today: str) -> None:
    """Begin an item, or begin it again; it is counted.

    Every capacity it stands under (its node's, those above, the organisation's) must have the room. Raises
    NOT_PERMITTED, NOT_FOUND, INVALID_TRANSITION, and all at once EVIDENCE_MISSING (`capacity`: none holds today;
    `skills`: nobody has them), OUT_OF_RANGE (`minutes`, `budgetMinor`, with what is left), TOO_MANY (`wipMax`).
    """
    # one at a time: what is under way is counted
    await work.conn.fetch("SELECT seq FROM sync_clock WHERE id = 1 FOR UPDATE")
    item = await _locked(work, item_id)
    check_rollout_step(item.state, RolloutState.STARTED)
    refuse_if(await _room_problems(work, item, today))
    await _move(work, item, RolloutState.STARTED, starts=1)


async def stop_item(work: Work, item_id: str, reason: str) -> None:
    """Give an item up, for now or for good; what was begun is counted, the reason kept.

    Raises NOT_PERMITTED, NOT_FOUND, REQUIRED, TOO_LONG, INVALID_TRANSITION.
    """
    item = await _locked(work, item_id)
    problems: list[Problem] = []
    told = checked_text(reason, "reason", TEXT_CHARACTERS_MAX, problems, breaks=True)
    check_rollout_step(item.state, RolloutState.STOPPED)
    refuse_if(problems)
    await _move(work, item, RolloutState.STOPPED, stops=int(item.state is RolloutState.STARTED), reason=told)


async def finish_item(work: Work, item_id: str) -> None:
    """An item is done when it was judged: an evaluation of kind ROLL_OUT with the item's id must be closed.

    Raises NOT_PERMITTED, NOT_FOUND, INVALID_TRANSITION, EVIDENCE_MISSING (`evaluation`).
    """
    item = await _locked(work, item_id)
    check_rollout_step(item.state, RolloutState.DONE)
    if not item.judged:
        raise Refused(Problem(Code.EVIDENCE_MISSING, ("evaluation",)))
    await _move(work, item, RolloutState.DONE)


async def list_items(
    engine: Engine,
    principal: Principal,
    *,
    settings: Settings,
    first: int,
    territory_id: str | None = None,
    states: Sequence[RolloutState] = (),
    item_id: str | None = None,
) -> tuple[RolloutRecord, ...]:
    """Items the caller sees, of a subtree if one is named, the newest first. Raises NOT_PERMITTED and OUT_OF_RANGE."""
    seen = _seen(principal)
    check_first(first, settings.page_rows_max)
    async with engine.read() as conn:
        where, args = of_scope("r", None if territory_id is None else await nodes_below(conn, territory_id))
        if states:
            where, args = f"{where} AND r.state = ANY(?)", [*args, [state.value for state in states]]
        if item_id is not None:
            where, args = f"{where} AND r.id = ?", [*args, item_id]
        return tuple(await read_items(conn, seen, where, args, first))


async def ranked_rollout(
    engine: Engine, principal: Principal, *, today: str, territory_id: str | None = None
) -> RankedRollout:
    """What to roll out with the capacity that holds today for exactly this scope, and what is left out and why.

    Without a territory: the whole organisation, for a manager the node he is seated at. Raises as `scope_read`.
    """
    seen = _seen(principal)
    async with engine.read() as conn:
        node = await scope_read(conn, principal, territory_id)
        capacity = await read_capacity_in_force(conn, node, today)
        scope, args = of_scope("r", None if node is None else await nodes_below(conn, node))
        items = await read_items(conn, seen, f"{scope} AND r.state = ANY(?)", [*args, list(OPEN)], ITEMS_OPEN_MAX)
        # what was given up may be begun again, if the list has room for it
        given_up = f"{scope} AND r.state = '{RolloutState.STOPPED.value}'"
        items += await read_items(conn, seen, given_up, args, ITEMS_OPEN_MAX - len(items))
    by_id = {one.id: one for one in items}
    if capacity is None:
        return RankedRollout(None, by_id, None, (), Relief.FITS, Relief.FITS)
    return await asyncio.to_thread(_rank, capacity, by_id)


def _rank(capacity: CapacityRecord, items: dict[str, RolloutRecord]) -> RankedRollout:
    room = Room(capacity.rollout_minutes, capacity.budget_minor, capacity.wip_max, capacity.skills)
    candidates = [one.candidate for one in items.values()]
    plan = rank_rollout(candidates, room)
    more = replace(
        room,
        minutes=room.minutes + capacity.raisable_minutes,
        budget_minor=room.budget_minor + capacity.raisable_budget_minor,
    )
    raised = rank_rollout(candidates, more) if plan.left_out and more != room else plan
    missing = (
        sum(one.missing_minutes for one in plan.left_out),
        sum(one.missing_budget_minor for one in plan.left_out),
    )
    return RankedRollout(
        capacity,
        items,
        plan,
        tuple(one for one in raised.chosen if one not in plan.chosen),
        way_out(missing[0], capacity.raisable_minutes),
        way_out(missing[1], capacity.raisable_budget_minor),
    )


def _seen(principal: Principal) -> tuple[str, list[object]]:
    seen = sees_steps(principal, "r")
    if seen is None:
        raise Refused(Problem(Code.NOT_PERMITTED))
    return seen


async def _locked(work: Work, item_id: str) -> RolloutRecord:
    """The item, held until the work ends; what the caller sees but may not change is refused."""
    if not work.principal.may(Action.UPDATE, Collection.IMPLEMENTATION):
        raise Refused(Problem(Code.NOT_PERMITTED))
    wanted = [item_id] if is_id(item_id) else []
    found = await read_items(work.conn, _seen(work.principal), "r.id = ANY(?)", [wanted], 1, lock=True)
    if not found:
        raise Refused(Problem(Code.NOT_FOUND, ("itemId",)))
    if not await may_place(work.conn, work.principal, Action.UPDATE, found[0].territory_id):
        raise Refused(Problem(Code.NOT_PERMITTED))
    return found[0]


async def _scopes_of(work: Work, territory_id: str | None) -> list[list[str] | None]:
    """The nodes of every scope an item of this place counts in: its own, those above, and everything."""
    above = [] if territory_id is None else await nodes_above(work.conn, territory_id)
    return [*[await nodes_below(work.conn, node) for node in above], None]


async def _room_problems(work: Work, item: RolloutRecord, today: str) -> list[Problem]:
    """What stands against beginning it, each kind once with the least that is left."""
    wanted = item.candidate
    above: list[str | None] = [None]
    if item.territory_id is not None:
        above = [*await nodes_above(work.conn, item.territory_id), None]
    found: dict[str, Problem] = {}
    capacities = [(node, await read_capacity_in_force(work.conn, node, today)) for node in above]
    if not any(capacity for _, capacity in capacities):
        return [Problem(Code.EVIDENCE_MISSING, ("capacity",))]
    for node, capacity in capacities:
        if capacity is None:
            continue
        scope, args = of_scope("r", None if node is None else await nodes_below(work.conn, node))
        [row] = await work.conn.fetch(
            "SELECT COUNT(*), COALESCE(SUM(r.minutes), 0), COALESCE(SUM(r.budget_minor), 0) FROM rollout_item r"
            f" WHERE r.state = '{RolloutState.STARTED.value}' AND {scope}",
            *args,
        )
        minutes, budget = capacity.rollout_minutes - int(row[1]), capacity.budget_minor - int(row[2])
        if wanted.minutes > minutes:
            found["minutes"] = Problem(Code.OUT_OF_RANGE, ("minutes",), ("0", str(max(minutes, 0))))
        if wanted.budget_minor > budget:
            found["budget"] = Problem(Code.OUT_OF_RANGE, ("budgetMinor",), ("0", str(max(budget, 0))))
        if row[0] >= capacity.wip_max:
            found["wip"] = Problem(Code.TOO_MANY, ("wipMax",), (str(capacity.wip_max),))
        if lacks := sorted(set(wanted.skills) - set(capacity.skills)):
            found["skills"] = Problem(Code.EVIDENCE_MISSING, ("skills",), tuple(lacks))
    return list(found.values())


async def _move(
    work: Work, item: RolloutRecord, state: RolloutState, *, starts: int = 0, stops: int = 0, reason: str | None = None
) -> None:
    await work.conn.execute(
        "UPDATE rollout_item SET state = ?, starts_n = starts_n + ?, stops_n = stops_n + ?,"
        " reason = COALESCE(?, reason), moved_at = ? WHERE id = ?",
        state.value,
        starts,
        stops,
        reason,
        work.now_ms,
        item.id,
    )
    work.audit("UPDATE", "rolloutItems", item.id, ["state"], reason=None if reason is None else reason[:400])
