"""Step one: what there is to work with, and what of the strategies' contacts fits into it. R26."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.arrays import BASIS_POINTS
from backend.domain.capacity import (
    CONSTRAINTS_MAX,
    HOLIDAYS_MAX,
    MINUTES_MAX,
    PERIOD_DAYS_MAX,
    SKILLS_MAX,
    WIP_MAX,
    CapacityRecord,
    Constraint,
    DropReason,
    MinutesBasis,
    Relief,
    RepTime,
    plan_contacts,
    rep_time,
    way_out,
    working_days,
)
from backend.domain.given import check_days, check_first, check_range, checked_list, checked_text
from backend.domain.lifecycle import Stage
from backend.domain.permissions import Action, Collection
from backend.domain.segments import SEGMENT_CODES
from backend.domain.strategy import Serve, strategies_of
from backend.domain.times import days_between, parse_day
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import new_id
from backend.storage.engine import Engine, Row
from backend.storage.holding import held_customers
from backend.storage.implementation import (
    CAPACITY,
    may_place,
    read_capacities,
    read_capacity_in_force,
    read_rep_days,
    scope_read,
    sees_steps,
)
from backend.sync.documents import canonical
from backend.sync.work import Work

MONEY_MAX = 10**15
SKILL_CHARACTERS_MAX, CONSTRAINT_CHARACTERS_MAX = 60, 500
ROLLOUT_SHARE_BP_DEFAULT = 1_000
WIP_DEFAULT = 3


@dataclass(frozen=True, slots=True)
class CapacityWish:
    """A capacity as somebody names it. `rep_minutes` None: reckoned from reps, their day and the working days less
    `holidays`."""

    starts_on: str
    ends_on: str
    territory_id: str | None = None
    rep_minutes: int | None = None
    holidays: Sequence[str] = ()
    rollout_share_bp: int = ROLLOUT_SHARE_BP_DEFAULT
    raisable_minutes: int = 0
    budget_minor: int = 0
    raisable_budget_minor: int = 0
    wip_max: int = WIP_DEFAULT
    skills: Sequence[str] = ()
    constraints: Sequence[Constraint] = ()


@dataclass(frozen=True, slots=True)
class Dropped:
    """A customer whose contacts do not fit; `priority` as its last score has it."""

    customer_id: str
    priority: int
    minutes: int
    reason: DropReason


@dataclass(frozen=True, slots=True)
class ContactsFound:
    """The strategies' contacts against the minutes left for customers over the rest of the period.

    `capacity` None: none holds today, so nothing is planned, and `customers_n` and `relief` are not known; `dropped`:
    the first left out, the highest priority first.
    """

    capacity: CapacityRecord | None
    from_day: str
    until_day: str
    available_minutes: int
    wanted_minutes: int
    used_minutes: int
    dropped_minutes: int
    customers_n: int | None
    taken_n: int
    dropped_n: int
    dropped: tuple[Dropped, ...]
    relief: Relief | None


async def set_capacity(work: Work, wish: CapacityWish, settings: Settings) -> str:
    """Write down what there is; returns its id. It never changes: a newer one of the same scope stands before it.

    Managers in their subtree, admins everywhere. Raises NOT_PERMITTED, and all at once NOT_FOUND (territory),
    INVALID_VALUE, OUT_OF_RANGE, TOO_LONG, TOO_MANY, EVIDENCE_MISSING where no rep works and no minutes are named.
    """
    if not work.principal.may(Action.CREATE, Collection.IMPLEMENTATION):
        raise Refused(Problem(Code.NOT_PERMITTED))
    problems: list[Problem] = []
    right = check_days(
        wish.starts_on, wish.ends_on, problems,
        least_days=1, most_days=PERIOD_DAYS_MAX, names=("startsOn", "endsOn"),
    )  # fmt: skip
    right = _check_holidays(wish.holidays, problems) and right
    for name, value, most in (
        ("raisableMinutes", wish.raisable_minutes, MINUTES_MAX),
        ("budgetMinor", wish.budget_minor, MONEY_MAX),
        ("raisableBudgetMinor", wish.raisable_budget_minor, MONEY_MAX),
        ("rolloutShareBp", wish.rollout_share_bp, BASIS_POINTS),
        ("repMinutes", wish.rep_minutes or 0, MINUTES_MAX),
    ):
        check_range(value, 0, most, name, problems)
    check_range(wish.wip_max, 1, WIP_MAX, "wipMax", problems)
    skills = checked_list(wish.skills, "skills", SKILLS_MAX, SKILL_CHARACTERS_MAX, problems)
    constraints = _constraints(wish.constraints, problems)
    found = await may_place(work.conn, work.principal, Action.CREATE, wish.territory_id)
    if not found:
        problems.append(Problem(Code.NOT_FOUND, ("territoryId",)))
    days_n, time = 0, RepTime(0, 0, 0, MinutesBasis.NOT_RECORDED)
    if right and found:
        days_n = working_days(wish.starts_on, wish.ends_on, wish.holidays)
        time = rep_time(await read_rep_days(work.conn, wish.territory_id), days_n, settings.rep_day_minutes)
        if wish.rep_minutes is not None:
            time = RepTime(wish.rep_minutes, time.reps_n, 0, MinutesBasis.GIVEN)
        elif time.basis is MinutesBasis.NOT_RECORDED:
            problems.append(Problem(Code.EVIDENCE_MISSING, ("repMinutes",)))
    refuse_if(problems)
    capacity_id = new_id()
    values: list[object] = [
        capacity_id, wish.territory_id, wish.starts_on, wish.ends_on, days_n, time.reps_n, time.assumed_n,
        time.minutes, time.basis.value, wish.rollout_share_bp, wish.raisable_minutes, wish.budget_minor,
        wish.raisable_budget_minor, settings.reporting_currency, wish.wip_max, canonical(list(skills)).decode(),
        canonical([{"kind": one.kind.value, "text": one.text} for one in constraints]).decode(), work.now_ms,
        work.principal.actor,
    ]  # fmt: skip
    await work.conn.execute(
        f"INSERT INTO capacity ({', '.join(CAPACITY)}) VALUES ({', '.join('?' for _ in CAPACITY)})", *values
    )
    work.audit("CREATE", "capacities", capacity_id)
    return capacity_id


async def list_capacities(
    engine: Engine,
    principal: Principal,
    *,
    settings: Settings,
    first: int,
    territory_id: str | None = None,
    capacity_id: str | None = None,
) -> tuple[CapacityRecord, ...]:
    """Those the caller sees, the newest first. Raises NOT_PERMITTED and OUT_OF_RANGE."""
    seen = sees_steps(principal, "c")
    if seen is None:
        raise Refused(Problem(Code.NOT_PERMITTED))
    check_first(first, settings.page_rows_max)
    where, args = ["1 = 1"], list[object]()
    for column, value in (("territory_id", territory_id), ("id", capacity_id)):
        if value is not None:
            where.append(f"c.{column} = ?")
            args.append(value)
    async with engine.read() as conn:
        return tuple(await read_capacities(conn, seen, " AND ".join(where), args, first))


async def plan_within_capacity(
    engine: Engine,
    principal: Principal,
    *,
    settings: Settings,
    today: str,
    first: int,
    territory_id: str | None = None,
) -> ContactsFound:
    """Contacts that the strategies in force want from today to the end of the capacity, by priority, as far as its
    minutes reach; who is left out and why, and whether more could be raised first.

    Without a territory: the whole organisation, for a manager the node he is seated at. Raises NOT_PERMITTED,
    NOT_FOUND (territory), REQUIRED (a manager of several) and OUT_OF_RANGE.
    """
    if sees_steps(principal, "c") is None or not (principal.reads("scores") and principal.reads("customers")):
        raise Refused(Problem(Code.NOT_PERMITTED))
    check_first(first, settings.page_rows_max)
    async with engine.read() as conn:
        node = await scope_read(conn, principal, territory_id)
        where, args = await held_customers(conn, principal, node)
        capacity = await read_capacity_in_force(conn, node, today)
        rows = await conn.fetch(
            "SELECT s.customer_id, s.segment, s.stage, s.priority FROM customer_score s JOIN customer k"
            f" ON k.id = s.customer_id WHERE {where} ORDER BY s.customer_id",
            *args,
        )
        tables = await conn.fetch("SELECT tables FROM priority_table ORDER BY created_at DESC, id DESC LIMIT 1")
    if capacity is None:
        return ContactsFound(None, today, today, 0, 0, 0, 0, None, 0, 0, (), None)
    document = orjson.loads(tables[0][0]).get("strategies") if tables else None
    return await asyncio.to_thread(_plan, capacity, rows, document, settings, today, first)


def _plan(
    capacity: CapacityRecord,
    rows: Sequence[Row],
    document: dict[str, object] | None,
    settings: Settings,
    today: str,
    first: int,
) -> ContactsFound:
    table = strategies_of(document)
    # what was worked before today is gone
    left_days = working_days(today, capacity.ends_on)
    whole_days = working_days(capacity.starts_on, capacity.ends_on)
    available = capacity.contact_minutes * left_days // whole_days if whole_days else 0
    span = days_between(today, capacity.ends_on) + 1
    need, priority = np.zeros(len(rows), dtype=np.int64), np.array([row[3] for row in rows], dtype=np.int64)
    for place, (_, segment, stage, _) in enumerate(rows):
        wanted = table.strategy(SEGMENT_CODES.index(segment), Stage[stage])
        if wanted.serve is Serve.FIELD and wanted.cadence_days:
            need[place] = span // wanted.cadence_days * settings.visit_minutes
    plan = plan_contacts(need, priority, available)
    return ContactsFound(
        capacity=capacity,
        from_day=today,
        until_day=capacity.ends_on,
        available_minutes=available,
        wanted_minutes=plan.wanted_minutes,
        used_minutes=plan.used_minutes,
        dropped_minutes=plan.dropped_minutes,
        customers_n=int((need > 0).sum()),
        taken_n=int(plan.taken.sum()),
        dropped_n=len(plan.dropped),
        dropped=tuple(
            Dropped(rows[row][0], int(priority[row]), int(need[row]), reason) for row, reason in plan.dropped[:first]
        ),
        relief=way_out(plan.dropped_minutes, capacity.raisable_minutes),
    )


def _check_holidays(holidays: Sequence[str], problems: list[Problem]) -> bool:
    if len(holidays) > HOLIDAYS_MAX:
        problems.append(Problem(Code.TOO_MANY, ("holidays",), (str(HOLIDAYS_MAX),)))
        return False
    right = True
    for place, day in enumerate(holidays):
        try:
            parse_day(day)
        except Refused as refused:
            problems += [problem.under("holidays", str(place)) for problem in refused.problems]
            right = False
    return right


def _constraints(given: Sequence[Constraint], problems: list[Problem]) -> list[Constraint]:
    if len(given) > CONSTRAINTS_MAX:
        problems.append(Problem(Code.TOO_MANY, ("constraints",), (str(CONSTRAINTS_MAX),)))
        return []
    found = []
    for place, one in enumerate(given):
        own: list[Problem] = []
        found.append(Constraint(one.kind, checked_text(one.text, "text", CONSTRAINT_CHARACTERS_MAX, own, breaks=True)))
        problems += [problem.under("constraints", str(place)) for problem in own]
    return found
