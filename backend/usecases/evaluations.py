"""Did it help? Plan an evaluation before it starts, freeze its arms, close it with a lesson others are shown.

What was planned does not change afterwards: not the metric, not the window, not who was held out. A closed one
never changes at all. *Source*: R28, R30.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.customers import CustomerKind
from backend.domain.evaluation_results import judged, numbered
from backend.domain.evaluations import (
    ARM_CUSTOMERS_MIN,
    HOLDOUT_BP_MAX,
    HOLDOUT_BP_MIN,
    RATIO_P_MIN,
    RUNNING,
    EvaluationMetric,
    EvaluationRecord,
    EvaluationState,
    SubjectKind,
    arm_hashes,
    check_step,
    held_out,
)
from backend.domain.given import checked_text
from backend.domain.permissions import Action, Collection
from backend.domain.segments import SEGMENT_CODES
from backend.domain.times import add_days, local_day, parse_day
from backend.domain.visit_uplift import VisitUplift
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import is_id, new_id
from backend.storage.engine import Connection
from backend.storage.evaluations import (
    LESSONS,
    count_evaluations,
    read_arm_ids,
    read_candidates,
    read_evaluations,
    read_window,
    sees_evaluations,
)
from backend.storage.visibility import BELOW_SEATS
from backend.storage.visit_holdouts import read_programmes, uplift_from
from backend.sync.documents import canonical
from backend.sync.work import Work

NAME_CHARACTERS_MAX, SUBJECT_CHARACTERS_MAX, STRATEGY_CHARACTERS_MAX = 120, 80, 40
LESSON_CHARACTERS_MAX = 2_000
WINDOW_DAYS_MIN, WINDOW_DAYS_MAX = 7, 365
COST_MINOR_MAX = 10**15
LESSONS_SHOWN_MAX = 5
NO_STRATUM = "NONE"


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """An evaluation as somebody wants it. Days are the organisation's; the window is first to last day, both in it;
    `cost_minor`: what doing it costs, in the reporting currency; no `segments`, no `kinds`: all."""

    subject_kind: SubjectKind
    subject_id: str
    name: str
    metric: EvaluationMetric
    starts_on: str
    ends_on: str
    strategy: str | None = None
    territory_id: str | None = None
    segments: Sequence[str] = ()
    kinds: Sequence[str] = ()
    holdout_bp: int = HOLDOUT_BP_MIN
    cost_minor: int = 0
    expectation: str | None = None


@dataclass(frozen=True, slots=True)
class EvaluationList:
    """The first of those the caller sees, newest first, and what earlier ones taught: evaluation id → lessons."""

    total: int
    items: tuple[EvaluationRecord, ...]
    lessons: Mapping[str, tuple[EvaluationRecord, ...]]


async def plan_evaluation(work: Work, given: EvaluationPlan, settings: Settings) -> str:
    """Write down what will be measured, of whom and when, before it starts; returns its id.

    Raises `Refused` with every problem: NOT_PERMITTED, NOT_FOUND (a territory outside the caller's scope), REQUIRED,
    TOO_LONG, INVALID_VALUE, NOT_ALLOWED_VALUE, OUT_OF_RANGE (window, hold-out below a tenth, cost; a start that is
    not after today).
    """
    _check_right(work.principal, Action.CREATE)
    today = local_day(work.now_ms, settings.organisation_timezone)
    problems: list[Problem] = []
    name = checked_text(given.name, "name", NAME_CHARACTERS_MAX, problems)
    subject_id = checked_text(given.subject_id, "subjectId", SUBJECT_CHARACTERS_MAX, problems)
    strategy = checked_text(given.strategy, "strategy", STRATEGY_CHARACTERS_MAX, problems, required=False)
    expectation = checked_text(given.expectation, "expectation", LESSON_CHARACTERS_MAX, problems, required=False)
    problems += _window_problems(given, today)
    problems += _listed_problems(given)
    if not HOLDOUT_BP_MIN <= given.holdout_bp <= HOLDOUT_BP_MAX:
        problems.append(Problem(Code.OUT_OF_RANGE, ("holdoutBp",), (str(HOLDOUT_BP_MIN), str(HOLDOUT_BP_MAX))))
    if not 0 <= given.cost_minor <= COST_MINOR_MAX:
        problems.append(Problem(Code.OUT_OF_RANGE, ("costMinor",), ("0", str(COST_MINOR_MAX))))
    if not await _may_place(work.conn, work.principal, given.territory_id):
        problems.append(Problem(Code.NOT_FOUND, ("territoryId",)))
    refuse_if(problems)
    evaluation_id = new_id()
    await work.conn.execute(
        "INSERT INTO evaluation (id, state, subject_kind, subject_id, name, strategy, territory_id, segments, kinds,"
        " metric, starts_on, ends_on, holdout_bp, salt, cost_minor, currency, expectation, planned_at, planned_by)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        evaluation_id,
        EvaluationState.PLANNED.value,
        given.subject_kind.value,
        subject_id,
        name,
        strategy or None,
        given.territory_id,
        canonical(sorted(set(given.segments))).decode(),
        canonical(sorted(set(given.kinds))).decode(),
        given.metric.value,
        given.starts_on,
        given.ends_on,
        given.holdout_bp,
        evaluation_id,
        given.cost_minor,
        settings.reporting_currency,
        expectation or None,
        work.now_ms,
        work.principal.actor,
    )
    work.audit("CREATE", "evaluations", evaluation_id)
    return evaluation_id


async def freeze_evaluation(work: Work, evaluation_id: str, settings: Settings) -> None:
    """Draw the arms, once, from the customers as they stand now; nobody may move afterwards.

    Raises NOT_PERMITTED, NOT_FOUND, INVALID_TRANSITION (drawn already, or ended), OUT_OF_RANGE where the start has
    passed or an arm would hold fewer than `ARM_CUSTOMERS_MIN` customers, TOO_MANY above the setting.
    """
    found = await _locked(work, evaluation_id)
    check_step(found.state, EvaluationState.FROZEN)
    today = local_day(work.now_ms, settings.organisation_timezone)
    if today > found.starts_on:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("startsOn",), (f"≥ {today}",)))
    most = settings.evaluation_customers_max
    nodes = await _nodes_below(work.conn, found.territory_id)
    people = await read_candidates(work.conn, found, nodes, settings.organisation_timezone, most + 1)
    if len(people.ids) > most:
        raise Refused(Problem(Code.TOO_MANY, ("customers",), (str(most),)))
    if len(people.ids) < 2 * ARM_CUSTOMERS_MIN:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("customers",), (f"≥ {2 * ARM_CUSTOMERS_MIN}",)))
    strata = [segment or NO_STRATUM for segment in people.segments]
    hashes = arm_hashes(f"{found.subject_kind}:{found.subject_id}", people.ids, found.salt)
    control = held_out(hashes, numbered(strata), found.holdout_bp)
    control_n = int(control.sum())
    if control_n < ARM_CUSTOMERS_MIN:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("holdoutBp",), (f"≥ {ARM_CUSTOMERS_MIN}",)))
    rows = list(zip(people.ids, control.tolist(), strata, people.forecasts, strict=True))
    await work.conn.execute_many(
        "INSERT INTO evaluation_arm (id, evaluation_id, customer_id, held_out, stratum, forecast_minor)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [(new_id(), evaluation_id, *row) for row in rows],
    )
    await work.conn.execute(
        "UPDATE evaluation SET state = ?, frozen_at = ?, treated_n = ?, control_n = ? WHERE id = ?",
        EvaluationState.FROZEN.value,
        work.now_ms,
        len(people.ids) - control_n,
        control_n,
        evaluation_id,
    )
    work.audit("UPDATE", "evaluations", evaluation_id, ["state"])


async def close_evaluation(work: Work, evaluation_id: str, lesson: str, settings: Settings) -> EvaluationRecord:
    """Judge what came of it in its window, keep it with the lesson, and hand back how it stands now.

    Arms that are no longer what was planned (sample ratio, p < .001) end it as ABORTED, without an effect. Raises
    NOT_PERMITTED, NOT_FOUND, REQUIRED (a lesson), TOO_LONG, INVALID_TRANSITION for one whose arms were never drawn
    or that has ended, OUT_OF_RANGE before the window is over, NO_EXCHANGE_RATE naming the currencies.
    """
    found = await _locked(work, evaluation_id)
    problems: list[Problem] = []
    told = checked_text(lesson, "lesson", LESSON_CHARACTERS_MAX, problems, breaks=True)
    check_step(found.state, EvaluationState.CLOSED)
    today = local_day(work.now_ms, settings.organisation_timezone)
    if today <= found.ends_on:
        problems.append(Problem(Code.OUT_OF_RANGE, ("endsOn",), (f"< {today}",)))
    refuse_if(problems)
    window = await read_window(work.conn, found)
    result = judged(found, window.arms, window.orders, rates=window.rates, margin_bp=settings.default_margin_bp)
    state = EvaluationState.ABORTED if result["ratioP"] < RATIO_P_MIN else EvaluationState.CLOSED
    await _end(work, found, state, told, result)
    return (await _read(work.conn, work.principal, evaluation_id))[0]


async def drop_evaluation(work: Work, evaluation_id: str, reason: str) -> None:
    """Give it up before it was judged; the reason is kept as its lesson.

    Raises NOT_PERMITTED, NOT_FOUND, REQUIRED, TOO_LONG, INVALID_TRANSITION for one that has ended.
    """
    found = await _locked(work, evaluation_id)
    check_step(found.state, EvaluationState.DROPPED)
    problems: list[Problem] = []
    told = checked_text(reason, "reason", LESSON_CHARACTERS_MAX, problems, breaks=True)
    refuse_if(problems)
    await _end(work, found, EvaluationState.DROPPED, told, None)


async def list_evaluations(
    conn: Connection,
    principal: Principal,
    *,
    first: int,
    subject_kind: SubjectKind | None = None,
    subject_id: str | None = None,
    states: Sequence[EvaluationState] = (),
    evaluation_id: str | None = None,
) -> EvaluationList:
    """Those the caller sees, newest first, and beside each that is not over yet what earlier ones taught.

    Raises NOT_PERMITTED.
    """
    seen = _seen(principal)
    where, args = ["1 = 1"], list[object]()
    for column, value in (("subject_kind", subject_kind), ("subject_id", subject_id), ("id", evaluation_id)):
        if value is not None:
            where.append(f"e.{column} = ?")
            args.append(str(value))
    if states:
        where.append("e.state = ANY(?)")
        args.append([state.value for state in states])
    sentence = " AND ".join(where)
    items = await read_evaluations(conn, seen, where=sentence, args=args, first=first)
    return EvaluationList(
        total=await count_evaluations(conn, seen, sentence, args),
        items=tuple(items),
        lessons=await _lessons(conn, principal, [one for one in items if one.state in RUNNING]),
    )


async def lessons_for(conn: Connection, principal: Principal, evaluation_id: str) -> tuple[EvaluationRecord, ...]:
    """What earlier ones of the same kind of subject or the same strategy taught whoever plans this one."""
    found = await _read(conn, principal, evaluation_id)
    return (await _lessons(conn, principal, found))[evaluation_id]


async def arm_of(
    conn: Connection, principal: Principal, evaluation_id: str, *, held_out: bool, after: str, first: int
) -> list[str]:
    """Customers of an arm whom the caller sees, by id: whom to leave alone, or whom to treat.

    Raises NOT_PERMITTED, NOT_FOUND.
    """
    await _read(conn, principal, evaluation_id)
    return await read_arm_ids(conn, principal, evaluation_id, held_out=held_out, after=after, first=first)


async def visit_uplift_now(conn: Connection, principal: Principal, settings: Settings, now_ms: int) -> VisitUplift:
    """What a visit brings: measured on closed visit programmes once they hold enough customers, assumed until then.

    Raises NOT_PERMITTED but for those who may backtest the priority.
    """
    _check_right(principal, Action.SCORE)
    today = local_day(now_ms, settings.organisation_timezone)
    found = await read_programmes(conn, today)
    return await asyncio.to_thread(uplift_from, found, settings)


def _check_right(principal: Principal, action: Action) -> None:
    if not principal.may(action, Collection.EVALUATIONS):
        raise Refused(Problem(Code.NOT_PERMITTED))


def _seen(principal: Principal) -> tuple[str, list[object]]:
    seen = sees_evaluations(principal, "e")
    if seen is None:
        raise Refused(Problem(Code.NOT_PERMITTED))
    return seen


async def _read(
    conn: Connection, principal: Principal, evaluation_id: str, *, lock: bool = False
) -> list[EvaluationRecord]:
    seen = _seen(principal)
    wanted = [evaluation_id] if is_id(evaluation_id) else []
    found = await read_evaluations(conn, seen, where="e.id = ANY(?)", args=[wanted], first=1, lock=lock)
    if not found:
        raise Refused(Problem(Code.NOT_FOUND, ("evaluationId",)))
    return found


async def _locked(work: Work, evaluation_id: str) -> EvaluationRecord:
    """The evaluation, held until the work ends; what the caller sees but may not change is refused."""
    _check_right(work.principal, Action.UPDATE)
    (found,) = await _read(work.conn, work.principal, evaluation_id, lock=True)
    if not await _may_place(work.conn, work.principal, found.territory_id):
        raise Refused(Problem(Code.NOT_PERMITTED))
    return found


async def _may_place(conn: Connection, principal: Principal, territory_id: str | None) -> bool:
    """Whether the caller may evaluate in a territory; the whole organisation is for those who see all of it."""
    seen = sees_evaluations(principal, "e")
    everywhere = seen is not None and not seen[1]
    if territory_id is None:
        return everywhere
    if everywhere:
        rows = await conn.fetch("SELECT id FROM territory WHERE id = ?", territory_id)
    else:
        rows = await conn.fetch(f"{BELOW_SEATS} AND t.id = ?", principal.holder, territory_id)
    return bool(rows)


async def _nodes_below(conn: Connection, territory_id: str | None) -> list[str] | None:
    if territory_id is None:
        return None
    rows = await conn.fetch(
        "SELECT t.id FROM territory t JOIN territory top ON t.path = top.path"
        " OR substr(t.path, 1, length(top.path) + 1) = top.path || '/' WHERE top.id = ?",
        territory_id,
    )
    return [row[0] for row in rows]


async def _lessons(
    conn: Connection, principal: Principal, running: Sequence[EvaluationRecord]
) -> dict[str, tuple[EvaluationRecord, ...]]:
    """Per evaluation the newest lessons: those of the same strategy first, then those of the same kind of subject."""
    if not running:
        return {}
    kinds = sorted({one.subject_kind.value for one in running})
    strategies = sorted({one.strategy for one in running if one.strategy})
    ended = await read_evaluations(
        conn,
        _seen(principal),
        where=f"{LESSONS} AND (e.subject_kind = ANY(?) OR e.strategy = ANY(?))",
        args=[kinds, strategies],
        first=LESSONS_SHOWN_MAX * (len(kinds) + len(strategies)) * 4,
    )
    found = {}
    for one in running:
        same = [old for old in ended if one.strategy is not None and old.strategy == one.strategy]
        alike = [old for old in ended if old.subject_kind is one.subject_kind and old not in same]
        found[one.id] = tuple((same + alike)[:LESSONS_SHOWN_MAX])
    return found


async def _end(
    work: Work, found: EvaluationRecord, state: EvaluationState, lesson: str, result: Mapping[str, Any] | None
) -> None:
    await work.conn.execute(
        "UPDATE evaluation SET state = ?, ended_at = ?, ended_by = ?, result = ?, lesson = ? WHERE id = ?",
        state.value,
        work.now_ms,
        work.principal.actor,
        None if result is None else canonical(result).decode(),
        lesson,
        found.id,
    )
    work.audit("UPDATE", "evaluations", found.id, ["state", "lesson"])


def _window_problems(given: EvaluationPlan, today: str) -> list[Problem]:
    found = []
    for name, day in (("startsOn", given.starts_on), ("endsOn", given.ends_on)):
        try:
            parse_day(day)
        except Refused as refused:
            found += [problem.under(name) for problem in refused.problems]
    if found:
        return found
    if given.starts_on <= today:
        found.append(Problem(Code.OUT_OF_RANGE, ("startsOn",), (f"> {today}",)))
    least, most = (add_days(given.starts_on, days - 1) for days in (WINDOW_DAYS_MIN, WINDOW_DAYS_MAX))
    if not least <= given.ends_on <= most:
        found.append(Problem(Code.OUT_OF_RANGE, ("endsOn",), (least, most)))
    return found


def _listed_problems(given: EvaluationPlan) -> list[Problem]:
    known = {"segments": (given.segments, SEGMENT_CODES), "kinds": (given.kinds, tuple(CustomerKind))}
    return [
        Problem(Code.NOT_ALLOWED_VALUE, (name,), tuple(str(value) for value in allowed))
        for name, (values, allowed) in known.items()
        if not set(values) <= set(allowed)
    ]
